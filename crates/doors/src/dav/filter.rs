//! The filter of a `calendar-query` (RFC 4791, sections 9.7 to 9.9): reading it, and whether an event fits it.

use std::ops::Range;

use fasti_calendar::ical::{self, Component, Line, components_of};
use fasti_calendar::{Occurrence, Series, Zone};
use jiff::civil::DateTime;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use super::data::recurrence_id;
use super::shelf::{Item, Shelf};
use super::xml::{CALDAV, Element};

/// How deep component filters may be nested.
const DEPTH_MAX: usize = 8;
/// Occurrences of a task that are looked at: more than can lie at the edges of a range only.
const EDGES_MAX: usize = 16;
/// Occurrences of one event that are looked at for their alarms.
const ALARMED_MAX: usize = 1000;
/// Most repetitions of an alarm that are looked at.
const REPEATS_MAX: i32 = 1000;
/// How far from its occurrence an alarm is looked for.
const ALARM_REACH: SignedDuration = SignedDuration::from_hours(24 * 60);

/// A range of time; unbounded where it was not said.
pub(crate) type TimeRange = Range<Timestamp>;

/// Why a filter is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadFilter {
    /// It can't be read: for people.
    Malformed(String),
    /// RFC 4791, section 7.5.1.
    UnsupportedCollation(String),
    /// Events in another form than iCalendar 2.0.
    UnsupportedData,
}

/// What is asked of a component.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CompFilter {
    pub(crate) name: String,
    is_not_defined: bool,
    pub(crate) time: Option<TimeRange>,
    props: Vec<PropFilter>,
    pub(crate) comps: Vec<CompFilter>,
}

#[derive(Debug, PartialEq, Eq)]
struct PropFilter {
    name: String,
    is_not_defined: bool,
    time: Option<TimeRange>,
    text: Option<TextMatch>,
    params: Vec<ParamFilter>,
}

#[derive(Debug, PartialEq, Eq)]
struct ParamFilter {
    name: String,
    is_not_defined: bool,
    text: Option<TextMatch>,
}

#[derive(Debug, PartialEq, Eq)]
struct TextMatch {
    text: String,
    collation: Collation,
    negate: bool,
}

/// RFC 4790, and RFC 5051.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collation {
    AsciiCasemap,
    Octet,
    UnicodeCasemap,
}

pub(crate) const COLLATIONS: [&str; 3] = ["i;ascii-casemap", "i;octet", "i;unicode-casemap"];

impl CompFilter {
    /// From `filter`: what is asked of VCALENDAR.
    pub(crate) fn read(filter: &Element) -> Result<Self, BadFilter> {
        let malformed = |text: &str| BadFilter::Malformed(text.to_owned());
        let mut inside = filter.elements().filter(|it| it.is(CALDAV, "comp-filter"));
        let whole = inside.next().ok_or_else(|| malformed("filter has no comp-filter"))?;
        let whole = Self::of(whole, 0)?;
        // RFC 4791, section 9.9: it has no meaning there.
        if whole.time.is_some() {
            return Err(malformed(
                "a time-range stands in the comp-filter of a VEVENT, VTODO or VALARM",
            ));
        }
        if whole.name != "VCALENDAR" || inside.next().is_some() {
            return Err(malformed("filter begins with one comp-filter for VCALENDAR"));
        }
        Ok(whole)
    }

    fn of(element: &Element, depth: usize) -> Result<Self, BadFilter> {
        if depth > DEPTH_MAX {
            return Err(BadFilter::Malformed("comp-filters are nested too deep".into()));
        }
        let mut filter = Self { name: name_of(element)?, ..Self::default() };
        for it in element.elements().filter(|it| it.name.space == CALDAV) {
            match it.name.local.as_str() {
                "is-not-defined" => filter.is_not_defined = true,
                "time-range" => filter.time = Some(time_range(it)?),
                "prop-filter" => filter.props.push(PropFilter::of(it)?),
                "comp-filter" => filter.comps.push(Self::of(it, depth + 1)?),
                _ => {}
            }
        }
        Ok(filter)
    }

    /// Whether it asks for a kind of component, and of this for nothing but a time.
    pub(crate) fn is_plain(&self) -> bool {
        self.props.is_empty()
            && self.time.is_none()
            && !self.is_not_defined
            && self
                .comps
                .iter()
                .all(|it| it.props.is_empty() && it.comps.is_empty() && !it.is_not_defined)
            && self.comps.iter().all(|it| it.name == "VEVENT" || it.name == "VTODO")
    }

    /// Whether an event fits.
    pub(crate) fn fits(&self, item: &Item, shelf: &Shelf, zone: &Zone) -> bool {
        let calendar = match components_of(item.text().as_bytes()).into_iter().next() {
            Some(calendar) if !self.is_plain() => Some(calendar),
            // Which kind it is says enough.
            _ => None,
        };
        let series = shelf.agenda().series(&item.uid);
        let look = Look { item, series, zone, calendar: calendar.as_ref(), owner: None };
        match &calendar {
            Some(calendar) => self.holds(&[calendar], &look),
            None => self.comps.iter().all(|it| {
                it.name == kind_of(item) && it.time.as_ref().is_none_or(|at| look.is_in(at))
            }),
        }
    }

    /// Whether one of these components, which have its name, is as it says.
    fn holds(&self, candidates: &[&Component], look: &Look<'_>) -> bool {
        if self.is_not_defined {
            return candidates.is_empty();
        }
        if candidates.is_empty() {
            return false;
        }
        // That of events and tasks is of the series that all of their components are together.
        let in_time = match (&self.time, &*self.name) {
            (None, _) | (Some(_), "VCALENDAR") => true,
            (Some(range), "VEVENT" | "VTODO") => look.is_in(range),
            (Some(range), "VALARM") => look.is_alarmed(candidates, range),
            (Some(_), _) => false,
        };
        let fits = |it: &&Component| {
            let inner = Look { owner: Some(it), ..*look };
            self.props.iter().all(|filter| filter.holds(it, look))
                && self.comps.iter().all(|filter| {
                    let inside = it.components.iter().filter(|it| it.name == filter.name);
                    filter.holds(&inside.collect::<Vec<_>>(), &inner)
                })
        };
        in_time && candidates.iter().any(fits)
    }
}

pub(crate) fn kind_of(item: &Item) -> &'static str {
    if item.is_task() { "VTODO" } else { "VEVENT" }
}

/// Whose components are looked at.
#[derive(Clone, Copy)]
struct Look<'a> {
    item: &'a Item,
    series: Option<&'a Series>,
    zone: &'a Zone,
    calendar: Option<&'a Component>,
    /// The component that those which are looked at are in.
    owner: Option<&'a Component>,
}

/// A range that tasks are found in by an index which, as for events, leaves its end out: a task may be in a range that
/// ends when it is due (RFC 4791, section 9.9).
pub(crate) fn with_edges(range: &TimeRange) -> TimeRange {
    let by = SignedDuration::from_secs(1);
    let (start, end) = (range.start.checked_sub(by), range.end.checked_add(by));
    start.unwrap_or(range.start)..end.unwrap_or(range.end)
}

/// The table of RFC 4791, section 9.9, for tasks with a start or a due time.
fn is_task_in(item: &Item, at: &Occurrence, range: &TimeRange) -> bool {
    let (start, end) = (range.start, range.end);
    let (from, to) = (at.starts_at, at.ends_at);
    match (item.event.contains_key("start"), item.event.contains_key("due")) {
        // In JSCalendar it is due then, too.
        (true, true) if start == to && from < to => {
            let calendars = components_of(item.text().as_bytes());
            calendars.iter().flat_map(|it| &it.components).any(|it| it.line("DURATION").is_some())
        }
        (true, true) => (start < to || start <= from) && (end > from || end >= to),
        (true, false) => start <= from && end > from,
        (false, _) => start < to && end >= to,
    }
}

impl Look<'_> {
    fn is_in(&self, range: &TimeRange) -> bool {
        match self.series {
            Some(series) if self.item.is_task() => {
                let found = series.occurrences(with_edges(range), self.zone, EDGES_MAX);
                let is_in = |it: &Occurrence| is_task_in(self.item, it, range);
                found.is_partial || found.occurrences.iter().any(is_in)
            }
            Some(series) => {
                let found = series.occurrences(range.clone(), self.zone, 1);
                found.is_partial || !found.occurrences.is_empty()
            }
            None => is_undated_in(self.item, range),
        }
    }

    /// The zone that a line names.
    fn zone_of(&self, line: &Line) -> Option<Zone> {
        let name = line.param("TZID")?;
        let mut inside = self.calendar?.components.iter();
        let is_it = |it: &&Component| {
            it.name == "VTIMEZONE" && it.line("TZID").is_some_and(|line| line.value == name)
        };
        inside.find(is_it).and_then(ical::zone).or_else(|| Zone::iana(name))
    }

    fn is_alarmed(&self, alarms: &[&Component], range: &TimeRange) -> bool {
        let near = |at: Timestamp, by: SignedDuration| at.checked_add(by).unwrap_or(at);
        let around = near(range.start, -ALARM_REACH)..near(range.end, ALARM_REACH);
        let found = self.series.map(|it| it.occurrences(around, self.zone, ALARMED_MAX));
        let mut found = found.map(|it| it.occurrences).unwrap_or_default();
        found.retain(|it| self.is_owners(it));
        alarms.iter().any(|alarm| {
            let Some(trigger) = alarm.line("TRIGGER") else { return false };
            let rings =
                |first: Timestamp| repeats(alarm).any(|by| range.contains(&near(first, by)));
            if let Some(at) = moment(&trigger.value, self.zone) {
                return rings(at);
            }
            let Some(after) = duration(&trigger.value) else { return false };
            let related = trigger.param("RELATED");
            let from_end = related.is_some_and(|it| it.eq_ignore_ascii_case("END"));
            found.iter().any(|it| {
                let base = if from_end { it.ends_at } else { it.starts_at };
                base.checked_add(after).is_ok_and(rings)
            })
        })
    }

    /// Whether an occurrence is of the component that is looked into: that of the series has nothing to say of those that
    /// have their own.
    fn is_owners(&self, occurrence: &Occurrence) -> bool {
        let is_of = |it: &Component| {
            recurrence_id(it, Some(&occurrence.zone)) == Some(occurrence.recurrence_id)
        };
        match self.owner {
            Some(owner) if owner.line("RECURRENCE-ID").is_some() => is_of(owner),
            _ => !self.calendar.iter().flat_map(|it| &it.components).any(is_of),
        }
    }
}

/// How long after its trigger an alarm rings: at once, and as often again as it says.
fn repeats(alarm: &Component) -> impl Iterator<Item = SignedDuration> {
    let count = alarm.line("REPEAT").and_then(|it| it.value.trim().parse::<i32>().ok());
    let pause = alarm.line("DURATION").and_then(|it| duration(&it.value)).unwrap_or_default();
    (0..=count.unwrap_or(0).clamp(0, REPEATS_MAX)).map(move |at| pause.saturating_mul(at))
}

/// RFC 5545, 3.3.6: its days and weeks are of hours, as far as anybody can tell.
fn duration(value: &str) -> Option<SignedDuration> {
    let span = value.trim().parse::<Span>().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

/// RFC 4791, section 9.9, for tasks without a start and without a due time.
pub(crate) fn is_undated_in(item: &Item, range: &TimeRange) -> bool {
    let calendars = components_of(item.text().as_bytes());
    let task = calendars.iter().flat_map(|it| &it.components).find(|it| it.name == "VTODO");
    let moment = |name: &str| utc(task?.line(name)?.value.trim());
    let completed = moment("COMPLETED");
    // Where nobody said when it was made, this node says when it came: that is not what is asked.
    let came = item.member("created").and_then(|it| it.parse::<Timestamp>().ok());
    let created =
        moment("CREATED").filter(|at| came.map(|it| it.as_second()) != Some(at.as_second()));
    let (first, last) = match (completed, created) {
        (Some(a), Some(b)) => (a.min(b), a.max(b)),
        (Some(at), None) => (at, at),
        (None, Some(created)) => return range.end > created,
        (None, None) => return true,
    };
    range.start <= last && range.end >= first
}

impl PropFilter {
    fn of(element: &Element) -> Result<Self, BadFilter> {
        let child = |name| element.child(CALDAV, name);
        let params = element.elements().filter(|it| it.is(CALDAV, "param-filter"));
        Ok(Self {
            name: name_of(element)?,
            is_not_defined: child("is-not-defined").is_some(),
            time: child("time-range").map(time_range).transpose()?,
            text: child("text-match").map(TextMatch::of).transpose()?,
            params: params.map(ParamFilter::of).collect::<Result<_, _>>()?,
        })
    }

    fn holds(&self, component: &Component, look: &Look<'_>) -> bool {
        let mut lines = component.lines_of(&self.name).peekable();
        if self.is_not_defined {
            return lines.peek().is_none();
        }
        lines.any(|line| {
            let in_time = self.time.as_ref().is_none_or(|range| {
                let zone = look.zone_of(line);
                let zone = zone.as_ref().unwrap_or(look.zone);
                moment(&line.value, zone).is_some_and(|at| range.contains(&at))
            });
            in_time
                && self.text.as_ref().is_none_or(|it| it.holds(&unescaped(&line.value)))
                && self.params.iter().all(|it| it.holds(line))
        })
    }
}

impl ParamFilter {
    fn of(element: &Element) -> Result<Self, BadFilter> {
        Ok(Self {
            name: name_of(element)?,
            is_not_defined: element.child(CALDAV, "is-not-defined").is_some(),
            text: element.child(CALDAV, "text-match").map(TextMatch::of).transpose()?,
        })
    }

    fn holds(&self, line: &Line) -> bool {
        let mut values = line.params_of(&self.name).peekable();
        if self.is_not_defined {
            return values.peek().is_none();
        }
        match &self.text {
            None => values.peek().is_some(),
            Some(text) => values.any(|value| text.holds(value)),
        }
    }
}

impl TextMatch {
    fn of(element: &Element) -> Result<Self, BadFilter> {
        let collation = match element.attribute("collation") {
            None | Some("default" | "i;ascii-casemap") => Collation::AsciiCasemap,
            Some("i;octet") => Collation::Octet,
            Some("i;unicode-casemap") => Collation::UnicodeCasemap,
            Some(other) => return Err(BadFilter::UnsupportedCollation(other.to_owned())),
        };
        let negate = element.attribute("negate-condition") == Some("yes");
        Ok(Self { text: element.text(), collation, negate })
    }

    fn holds(&self, value: &str) -> bool {
        let found = match self.collation {
            Collation::Octet => value.contains(&self.text),
            Collation::AsciiCasemap => {
                value.to_ascii_lowercase().contains(&self.text.to_ascii_lowercase())
            }
            Collation::UnicodeCasemap => value.to_lowercase().contains(&self.text.to_lowercase()),
        };
        found != self.negate
    }
}

fn name_of(element: &Element) -> Result<String, BadFilter> {
    let name = element.attribute("name").filter(|it| !it.is_empty());
    name.map(str::to_ascii_uppercase)
        .ok_or_else(|| BadFilter::Malformed(format!("{} has no name", element.name.local)))
}

/// `time-range`, and what has its form: UTC, with a start, an end or both.
pub(crate) fn time_range(element: &Element) -> Result<TimeRange, BadFilter> {
    let malformed = || {
        BadFilter::Malformed(format!(
            "{} has a start, an end, or both, in UTC such as 20240401T000000Z, the end after the start",
            element.name.local
        ))
    };
    let moment = |name: &str, default: Timestamp| match element.attribute(name) {
        None => Ok(default),
        Some(text) => utc(text).ok_or_else(malformed),
    };
    let has_one = element.attribute("start").or(element.attribute("end")).is_some();
    // Far enough, and room is left for what is reckoned with it.
    let (first, last) =
        (Timestamp::constant(-62_000_000_000, 0), Timestamp::constant(253_000_000_000, 0));
    let range = moment("start", first)?..moment("end", last)?;
    if has_one && range.start < range.end { Ok(range) } else { Err(malformed()) }
}

fn utc(text: &str) -> Option<Timestamp> {
    let local: DateTime = DateTime::strptime("%Y%m%dT%H%M%S", text.strip_suffix('Z')?).ok()?;
    Zone::utc().to_timestamp(local)
}

/// A DATE-TIME or a DATE as a moment.
fn moment(value: &str, zone: &Zone) -> Option<Timestamp> {
    let value = value.trim();
    if let Some(at) = utc(value) {
        return Some(at);
    }
    let local = DateTime::strptime("%Y%m%dT%H%M%S", value)
        .or_else(|_| DateTime::strptime("%Y%m%dT%H%M%S", format!("{value}T000000")));
    zone.to_timestamp(local.ok()?)
}

/// A TEXT as people read it (RFC 5545, 3.3.11).
fn unescaped(value: &str) -> String {
    let (mut text, mut chars) = (String::new(), value.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => text.push('\n'),
                Some(c) => text.push(c),
                None => text.push('\\'),
            },
            c => text.push(c),
        }
    }
    text
}
