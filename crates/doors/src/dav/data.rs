//! `calendar-data` (RFC 4791, section 9.6): an event as it is, or as the report wants it: expanded, or in part.

use std::collections::BTreeMap;

use fasti_calendar::ical::{Component, Line, components_of};
use fasti_calendar::{Anchor, Occurrence, Series, Zone};
use jiff::Timestamp;
use jiff::civil::DateTime;

use super::filter::{BadFilter, TimeRange, time_range};
use super::shelf::{Item, Shelf};
use super::xml::{CALDAV, Element};

/// Most occurrences of one event in an answer.
pub(crate) const INSTANCES_MAX: usize = 5000;

/// How an event is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    expand: Option<TimeRange>,
    limit: Option<TimeRange>,
    part: Option<Part>,
}

/// Which parts of a component are wanted.
#[derive(Clone, Debug, Default)]
struct Part {
    name: String,
    /// None for all of them.
    props: Option<BTreeMap<String, bool>>,
    /// None for all of them.
    comps: Option<Vec<Part>>,
}

/// More occurrences than an answer may have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Wanted {
    pub(crate) fn read(element: &Element) -> Result<Self, BadFilter> {
        let is_told = |name, known: &str| {
            element.attribute(name).is_none_or(|it| it.eq_ignore_ascii_case(known))
        };
        if !is_told("content-type", "text/calendar") || !is_told("version", "2.0") {
            return Err(BadFilter::UnsupportedData);
        }
        let range = |name| element.child(CALDAV, name).map(time_range).transpose();
        Ok(Self {
            expand: range("expand")?,
            limit: range("limit-recurrence-set")?,
            part: element.child(CALDAV, "comp").map(|it| Part::of(it, 0)),
        })
    }

    /// The event as it is wanted.
    pub(crate) fn of(&self, item: &Item, shelf: &Shelf, zone: &Zone) -> Result<String, TooMany> {
        if self.expand.is_none() && self.limit.is_none() && self.part.is_none() {
            return Ok(item.text().to_owned());
        }
        let Some(mut calendar) = components_of(item.text().as_bytes()).into_iter().next() else {
            return Ok(item.text().to_owned());
        };
        let series = shelf.agenda().series(&item.uid);
        if let (Some(range), Some(series)) = (&self.expand, series) {
            calendar = expanded(&calendar, series, range, zone)?;
        } else if let (Some(range), Some(series)) = (&self.limit, series) {
            limit(&mut calendar, series, range, zone);
        }
        if let Some(part) = &self.part {
            part.take(&mut calendar);
        }
        let mut text = String::new();
        calendar.write(&mut text);
        Ok(text)
    }
}

impl Part {
    fn of(element: &Element, depth: usize) -> Self {
        let name = |it: &Element| it.attribute("name").unwrap_or_default().to_ascii_uppercase();
        let all = |name| element.child(CALDAV, name).is_some();
        let inside = |name: &'static str| element.elements().filter(move |it| it.is(CALDAV, name));
        let props = inside("prop").map(|it| (name(it), it.attribute("novalue") == Some("yes")));
        // No calendar is deeper than this.
        let comps = inside("comp").filter(|_| depth < 4).map(|it| Self::of(it, depth + 1));
        Self {
            name: name(element),
            props: (!all("allprop")).then(|| props.collect()),
            comps: (!all("allcomp")).then(|| comps.collect()),
        }
    }

    fn take(&self, component: &mut Component) {
        if let Some(props) = &self.props {
            component.lines.retain_mut(|line| match props.get(&line.name) {
                Some(true) => {
                    *line = Line::new(&line.name, &[], "");
                    true
                }
                Some(false) => true,
                None => false,
            });
        }
        if let Some(comps) = &self.comps {
            component.components.retain_mut(|inner| {
                let part = comps.iter().find(|it| it.name == inner.name);
                part.inspect(|part| part.take(inner)).is_some()
            });
        }
    }
}

/// Which occurrence a component is of, by the start that the rules give it.
pub(crate) fn recurrence_id(component: &Component, zone: Option<&Zone>) -> Option<DateTime> {
    let value = component.line("RECURRENCE-ID")?.value.trim();
    let parse = |text: &str| DateTime::strptime("%Y%m%dT%H%M%S", text).ok();
    match value.strip_suffix('Z') {
        Some(text) => {
            let at = Zone::utc().to_timestamp(parse(text)?)?;
            Some(zone.map_or_else(|| Zone::utc().to_local(at), |zone| zone.to_local(at)))
        }
        None => parse(value).or_else(|| parse(&format!("{value}T000000"))),
    }
}

/// Lines that say when, which are written anew.
const WHEN: [&str; 9] =
    ["DTSTART", "DTEND", "DUE", "DURATION", "RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID"];

/// Each occurrence in a range as an event of its own (RFC 4791, section 9.6.5).
fn expanded(
    calendar: &Component,
    series: &Series,
    range: &TimeRange,
    zone: &Zone,
) -> Result<Component, TooMany> {
    let found = series.occurrences(range.clone(), zone, INSTANCES_MAX);
    if found.is_partial {
        return Err(TooMany);
    }
    let own_zone = found.occurrences.first().map(|it| it.zone.clone());
    let of_series = || calendar.components.iter().filter(|it| it.name != "VTIMEZONE");
    let main = of_series().find(|it| it.line("RECURRENCE-ID").is_none());
    let overrides: BTreeMap<DateTime, &Component> =
        of_series().filter_map(|it| Some((recurrence_id(it, own_zone.as_ref())?, it))).collect();
    // What holds for all that come after as well, unless they have their own.
    let is_onward = |it: &Component| {
        let line = it.line("RECURRENCE-ID");
        line.is_some_and(|it| {
            it.param("RANGE").is_some_and(|it| it.eq_ignore_ascii_case("THISANDFUTURE"))
        })
    };
    let onwards: BTreeMap<DateTime, &Component> =
        overrides.iter().filter(|it| is_onward(it.1)).map(|(id, it)| (*id, *it)).collect();
    let mut out = Component::new(&calendar.name);
    out.lines.clone_from(&calendar.lines);
    for occurrence in &found.occurrences {
        let id = occurrence.recurrence_id;
        let onward = || onwards.range(..=id).next_back().map(|it| *it.1);
        let Some(base) = overrides.get(&id).copied().or_else(onward).or(main) else {
            continue;
        };
        out.components.push(instance(base, occurrence, series.is_recurring()));
    }
    Ok(out)
}

fn instance(base: &Component, occurrence: &Occurrence, is_recurring: bool) -> Component {
    let is_day = base
        .line("DTSTART")
        .or(base.line("DUE"))
        .is_some_and(|line| line.param("VALUE").is_some_and(|it| it.eq_ignore_ascii_case("DATE")));
    let is_floating = occurrence.anchor == Anchor::Floating;
    let when = |name: &str, local: DateTime, at: Timestamp| match (is_day, is_floating) {
        (true, _) => Line::new(name, &[("VALUE", "DATE")], &local.strftime("%Y%m%d").to_string()),
        (false, true) => Line::new(name, &[], &local.strftime("%Y%m%dT%H%M%S").to_string()),
        (false, false) => {
            let utc = Zone::utc().to_local(at);
            Line::new(name, &[], &utc.strftime("%Y%m%dT%H%M%SZ").to_string())
        }
    };
    let mut lines = Vec::new();
    let is_task = base.name == "VTODO";
    if !is_task || base.line("DTSTART").is_some() {
        lines.push(when("DTSTART", occurrence.start, occurrence.starts_at));
    }
    let has_end = ["DTEND", "DUE", "DURATION"].iter().any(|name| base.line(name).is_some());
    if has_end {
        let name = if is_task { "DUE" } else { "DTEND" };
        lines.push(when(name, occurrence.end, occurrence.ends_at));
    }
    if is_recurring {
        let id = occurrence.recurrence_id;
        let at = occurrence.zone.to_timestamp(id).unwrap_or(occurrence.starts_at);
        lines.push(when("RECURRENCE-ID", id, at));
    }
    lines.extend(base.lines.iter().filter(|it| !WHEN.contains(&it.name.as_str())).cloned());
    let mut instance = Component::new(&base.name);
    instance.lines = lines;
    instance.components.clone_from(&base.components);
    instance
}

/// Leaves overrides out that have nothing to do with a range (RFC 4791, section 9.6.6).
fn limit(calendar: &mut Component, series: &Series, range: &TimeRange, zone: &Zone) {
    let found = series.occurrences(range.clone(), zone, INSTANCES_MAX);
    let own_zone = found.occurrences.first().map_or_else(|| zone.clone(), |it| it.zone.clone());
    calendar.components.retain(|it| {
        let Some(id) = recurrence_id(it, Some(&own_zone)) else { return true };
        let is_there = found.occurrences.iter().any(|it| it.recurrence_id == id);
        let was_there = own_zone.to_timestamp(id).is_some_and(|at| range.contains(&at));
        is_there || was_there || found.is_partial
    });
}
