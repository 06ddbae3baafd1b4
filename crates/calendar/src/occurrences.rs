//! When an event takes place: its recurrence rules, exclusions and overrides (RFC 8984, 4.3) put on the
//! clock of its time zone. Which date-times a rule means is in `recurrence`, many events at once are in
//! `agenda`.
//!
//! What is wrong in a part of an event takes away that part only, and is told in
//! [`Series::problems`]: an event that can't be read whole shall still be seen.

mod reading;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::duration::Duration;
use crate::patch::{PatchError, apply_override};
use crate::recurrence::{Expansion, Plan, RuleError, local_date_time};
use crate::zone::Zone;
use crate::{Object, RANGE};

use reading::{Times, onwards, overrides, plans};

/// How many occurrences of an event are stepped through, and periods searched, to find the end of rules
/// with a count, or for one answer. Two and a half centuries of days.
const STEPS_MAX: u64 = 100_000;

/// Local times of a window are this far wider than its moments: the greatest step of a zone's clocks is
/// a day, and an hour is for good measure.
const SLACK: SignedDuration = SignedDuration::from_hours(25);

/// How far apart a local time and a moment with the same digits in UTC can be, in any zone, and more.
const ZONE_SECONDS_MAX: i64 = 26 * 3600;

/// Why an event has no occurrences at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// It does not say when it starts (nor when it is due, for a Task).
    #[error("start: expected a local date-time such as \"2024-04-01T00:00:00\"")]
    Start,
}

/// A part of an event that was left out, because it can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A rule that is wrong; its occurrences are missing.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// More rules than are heeded.
    #[error("{path}: expected at most {max} rules, found {found}")]
    ManyRules {
        /// The property.
        path: String,
        /// The most.
        max: usize,
        /// How many there are.
        found: usize,
    },
    /// A rule whose count is not reached by stepping through it; it ends before.
    #[error("{path}: expected a count that is reached within {max} steps")]
    LongCount {
        /// The rule.
        path: String,
        /// The most steps.
        max: u64,
    },
    /// A key of the overrides that is no local date-time, or no object beneath it.
    #[error("recurrenceOverrides/{key}: expected a PatchObject by a local date-time")]
    Override {
        /// The key.
        key: String,
    },
    /// An override whose patch is refused; the occurrence is as the others.
    #[error("recurrenceOverrides/{key}: the patch does not fit the event")]
    Patch {
        /// The key.
        key: String,
        /// Why it is refused.
        source: PatchError,
    },
    /// A zone that is not known; local times are taken in the default zone.
    #[error("{path}: expected a time zone of the IANA, or one of timeZones, found \"{name}\"")]
    Zone {
        /// The property.
        path: String,
        /// The zone that is asked for.
        name: String,
    },
    /// A time or duration that can't be read; it is taken for absent.
    #[error("{path}: expected {expected}")]
    Time {
        /// The property.
        path: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// What puts an occurrence on the world's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The time zone of the event.
    Zone,
    /// The default zone, as the event has none: it takes place at the same local time everywhere.
    Floating,
    /// The default zone, as the event's is not known.
    UnknownZone,
}

/// One occurrence of an event.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// Which one it is: the local start it has by the rules, even where an override moves it.
    pub recurrence_id: DateTime,
    /// When it starts, in `zone`.
    pub start: DateTime,
    /// When it ends, in `zone`.
    pub end: DateTime,
    /// The moment at which it starts.
    pub starts_at: Timestamp,
    /// The moment at which it ends: from here on it is over. Equal to `starts_at` where it takes no time.
    pub ends_at: Timestamp,
    /// The zone of `start` and `end`.
    pub zone: Zone,
    /// Why it is that zone.
    pub anchor: Anchor,
    /// Whether an override changes or adds it.
    pub is_override: bool,
}

/// What an event has in a range.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// In the order of their starts.
    pub occurrences: Vec<Occurrence>,
    /// Whether there are, or may be, more than were asked for or can be looked at.
    pub is_partial: bool,
}

/// When and where an event or an occurrence is, as far as its own properties say.
#[derive(Clone, Debug)]
struct Placement {
    start: DateTime,
    duration: Duration,
    /// None for the default zone.
    zone: Option<Zone>,
    anchor: Anchor,
}

#[derive(Clone, Debug)]
enum Override {
    Excluded,
    Changed(Placement),
}

/// An event made ready to say when it takes place.
#[derive(Clone, Debug)]
pub struct Series {
    event: Arc<Object>,
    placement: Placement,
    rules: Vec<Plan>,
    exclusions: Vec<Plan>,
    overrides: BTreeMap<DateTime, Override>,
    /// Overrides that hold for the occurrences after them as well, until the next such one: where they place theirs.
    onwards: BTreeMap<DateTime, Placement>,
    /// Where the event is itself an occurrence of another: which one.
    recurrence_id: Option<DateTime>,
    problems: Vec<Problem>,
}

impl Series {
    /// Reads what an event or a task says of its times.
    ///
    /// # Errors
    /// [`SeriesError`] where it has no start. What else is wrong is in [`problems`](Self::problems).
    pub fn new(event: Arc<Object>) -> Result<Self, SeriesError> {
        let mut problems = Vec::new();
        let times = Times { event: &event, patch: None, path: String::new() };
        let placement = times.placement(None, &mut problems).ok_or(SeriesError::Start)?;
        let mut steps = STEPS_MAX;
        let mut plans = |name: &str, starts_with_start: bool| {
            plans(&event, name, placement.start, starts_with_start, &mut steps, &mut problems)
        };
        let rules = plans("recurrenceRules", true);
        let exclusions = plans("excludedRecurrenceRules", false);
        let overrides = overrides(&event, &placement, &mut problems);
        let onwards = onwards(&event, &overrides);
        let recurrence_id =
            event.get("recurrenceId").and_then(Value::as_str).and_then(local_date_time);
        let mut series = Self {
            event,
            placement,
            rules,
            exclusions,
            overrides,
            onwards,
            recurrence_id,
            problems,
        };
        series.place_added();
        Ok(series)
    }

    /// The local start of the first occurrence.
    pub(crate) fn first(&self) -> DateTime {
        self.placement.start
    }

    /// The event itself.
    pub fn event(&self) -> &Arc<Object> {
        &self.event
    }

    /// What was left out, as it can't be understood.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether it has more than its one occurrence.
    pub fn is_recurring(&self) -> bool {
        !self.rules.is_empty() || !self.overrides.is_empty()
    }

    /// The occurrences that overlap a range of time, at most `max` of them. Those that take no time are
    /// in the range where it holds their start. `default_zone` is for events without a zone.
    pub fn occurrences(&self, range: Range<Timestamp>, default_zone: &Zone, max: usize) -> Found {
        let mut found = Found::default();
        // One more than asked for: whether there are more must come out.
        let enough = max.saturating_add(1);
        found.is_partial =
            self.each_occurrence(range, default_zone, enough, |item| found.occurrences.push(item));
        found.occurrences.sort_by_key(|item| (item.starts_at, item.recurrence_id));
        found.is_partial |= found.occurrences.len() > max;
        found.occurrences.truncate(max);
        found
    }

    /// Gives each of [`occurrences`](Self::occurrences): the overrides, and then the others in their
    /// order, of these at most `enough`. Whether that is not all.
    pub(crate) fn each_occurrence(
        &self,
        range: Range<Timestamp>,
        default_zone: &Zone,
        enough: usize,
        mut give: impl FnMut(Occurrence),
    ) -> bool {
        let inside = |id, placement: &Placement, is_override| {
            let item = placement.occurrence(id, is_override, default_zone);
            item.filter(|item| overlaps(item, &range))
        };

        for (id, change) in &self.overrides {
            if let Override::Changed(placement) = change
                && placement.is_near(&range)
                && let Some(item) = inside(*id, placement, true)
            {
                give(item);
            }
        }

        let zone = self.placement.zone.as_ref().unwrap_or(default_zone);
        let mut placement = self.placement.clone();
        let (back, ahead) = self.reach();
        let from = zone.to_local(range.start).saturating_sub(SLACK).saturating_sub(ahead);
        let to = zone.to_local(range.end).saturating_add(SLACK).saturating_add(back);
        let mut regular = self.regular(from, to);
        let mut given = 0;
        for id in regular.by_ref() {
            match self.onwards.is_empty() {
                true => placement.start = id,
                false => placement = self.placed(id),
            }
            let Some(item) = inside(self.recurrence_id.unwrap_or(id), &placement, false) else {
                continue;
            };
            if given == enough {
                return true;
            }
            given += 1;
            give(item);
        }
        regular.gave_up()
    }

    /// Occurrences that are only added follow such an override like those of the rules.
    fn place_added(&mut self) {
        if self.onwards.is_empty() {
            return;
        }
        let is_added = |id: &&DateTime| self.patch(**id).is_some_and(Object::is_empty);
        let added: Vec<DateTime> = self.overrides.keys().filter(is_added).copied().collect();
        for id in added {
            let placement = self.placed(id);
            self.overrides.insert(id, Override::Changed(placement));
        }
    }

    /// The override that an occurrence without one of its own follows.
    fn onward(&self, id: DateTime) -> Option<(&DateTime, &Placement)> {
        self.onwards.range(..=id).next_back()
    }

    /// When and where an occurrence is that has no override of its own.
    fn placed(&self, id: DateTime) -> Placement {
        match self.onward(id) {
            Some((of, placement)) => {
                let start = id.saturating_add(placement.start.duration_since(*of));
                Placement { start, ..placement.clone() }
            }
            None => Placement { start: id, ..self.placement.clone() },
        }
    }

    /// How far before the time that the rules say an occurrence may begin, and how far after it may end.
    fn reach(&self) -> (SignedDuration, SignedDuration) {
        let longest = SignedDuration::from_secs(self.placement.duration.seconds_max());
        let mut reach = (SignedDuration::ZERO, longest);
        for (of, placement) in &self.onwards {
            let shift = placement.start.duration_since(*of);
            let longest = SignedDuration::from_secs(placement.duration.seconds_max());
            // Zones are at most a day apart.
            reach.0 = reach.0.max(-shift + SLACK);
            reach.1 = reach.1.max(shift + longest + SLACK);
        }
        reach
    }

    /// The recurrence ids of a range of local times, in their order, at most `max`; and whether these
    /// are all.
    pub(crate) fn recurrence_ids(
        &self,
        range: Range<DateTime>,
        max: usize,
    ) -> (Vec<DateTime>, bool) {
        let mut regular = self.regular(range.start, range.end);
        let mut ids: Vec<_> = regular.by_ref().take(max + 1).collect();
        let changed = self.overrides.range(range);
        ids.extend(changed.filter(|(_, o)| matches!(o, Override::Changed(_))).map(|(id, _)| *id));
        ids.sort_unstable();
        let is_all = !regular.gave_up() && ids.len() <= max;
        ids.truncate(max);
        (ids, is_all)
    }

    /// An occurrence as an event of its own (RFC 8984, 4.3.5): with its recurrence id, without the
    /// rules, and with what an override changes. A patch that does not fit is left out, as a whole.
    pub fn instance(&self, recurrence_id: DateTime) -> Object {
        let mut event = template(&self.event);
        if !self.is_recurring() {
            return event;
        }
        let text = recurrence_id.to_string();
        let start =
            if is_task(&self.event) && !self.event.contains_key("start") { "due" } else { "start" };
        if start == "start"
            && let Some(due) =
                self.event.get("due").and_then(Value::as_str).and_then(local_date_time)
            && let Ok(due) = recurrence_id.checked_add(due.duration_since(self.placement.start))
        {
            event.insert("due".into(), due.to_string().into());
        }
        event.insert(start.into(), text.clone().into());
        event.insert("recurrenceId".into(), text.into());
        if let Some(zone) = self.event.get("timeZone") {
            event.insert("recurrenceIdTimeZone".into(), zone.clone());
        }
        // Where a patch is refused, that is among the problems.
        let own = self.patch(recurrence_id);
        if let Some(patch) = own.filter(|patch| !patch.is_empty()) {
            let _ = apply_override(&mut event, patch);
        } else if let Some((of, _)) = self.onward(recurrence_id)
            && let Some(patch) = self.patch(*of)
        {
            let _ = apply_override(&mut event, patch);
            event.insert("start".into(), self.placed(recurrence_id).start.to_string().into());
        }
        event.shift_remove(RANGE);
        event
    }

    /// The patch of an override.
    fn patch(&self, recurrence_id: DateTime) -> Option<&Object> {
        let overrides = self.event.get("recurrenceOverrides").and_then(Value::as_object);
        let mut overrides = overrides.into_iter().flatten();
        let of_id = |(key, _): &(&String, &Value)| local_date_time(key) == Some(recurrence_id);
        overrides.find(of_id).and_then(|(_, patch)| patch.as_object())
    }

    /// Seconds since 1970 before which nothing of it takes place in any zone, and after which nothing
    /// does, unless it goes on without end.
    pub(crate) fn envelope(&self) -> (i64, Option<i64>) {
        let mut from = i64::MAX;
        let mut to = i64::MIN;
        let mut include = |start: DateTime, duration: &Duration| {
            let start = utc_seconds(start);
            from = from.min(start - ZONE_SECONDS_MAX);
            to = to.max(start.saturating_add(duration.seconds_max() + ZONE_SECONDS_MAX));
        };
        include(self.placement.start, &self.placement.duration);
        for change in self.overrides.values() {
            if let Override::Changed(placement) = change {
                include(placement.start, &placement.duration);
            }
        }
        let (back, ahead) = self.reach();
        from = from.saturating_sub(back.as_secs());
        for rule in &self.rules {
            match rule.end() {
                Some(end) => {
                    let end = utc_seconds(end).saturating_add(ahead.as_secs());
                    to = to.max(end.saturating_add(ZONE_SECONDS_MAX));
                }
                None => return (from, None),
            }
        }
        (from, Some(to))
    }

    /// The occurrences of a range of local starts that no override is about.
    fn regular(&self, from: DateTime, to: DateTime) -> Regular<'_> {
        let single = (self.rules.is_empty() && (from..to).contains(&self.placement.start))
            .then_some(self.placement.start);
        Regular {
            single,
            rules: Merged::new(&self.rules, true, from..to),
            exclusions: Merged::new(&self.exclusions, false, from..to),
            overrides: &self.overrides,
            steps_left: STEPS_MAX,
        }
    }
}

struct Regular<'a> {
    single: Option<DateTime>,
    rules: Merged<'a>,
    exclusions: Merged<'a>,
    overrides: &'a BTreeMap<DateTime, Override>,
    steps_left: u64,
}

impl Regular<'_> {
    fn gave_up(&self) -> bool {
        self.steps_left == 0 || self.rules.gave_up() || self.exclusions.gave_up()
    }
}

impl Iterator for Regular<'_> {
    type Item = DateTime;

    fn next(&mut self) -> Option<DateTime> {
        loop {
            let id = self.single.take().or_else(|| self.rules.next())?;
            self.steps_left = self.steps_left.checked_sub(1)?;
            while self.exclusions.peek().is_some_and(|excluded| excluded < id) {
                self.exclusions.next();
                self.steps_left = self.steps_left.checked_sub(1)?;
            }
            if self.exclusions.peek() != Some(id) && !self.overrides.contains_key(&id) {
                return Some(id);
            }
        }
    }
}

/// The date-times of several rules in their order, each once.
struct Merged<'a> {
    streams: Vec<(Option<DateTime>, Expansion<'a>)>,
    gave_up: bool,
}

impl<'a> Merged<'a> {
    fn new(plans: &'a [Plan], starts_with_start: bool, range: Range<DateTime>) -> Self {
        let periods = STEPS_MAX / plans.len().max(1) as u64;
        let streams = plans.iter().map(|plan| {
            let stream = Expansion::of(plan, starts_with_start);
            let mut stream = stream.between(range.start, range.end).searching(periods);
            (stream.next(), stream)
        });
        let streams: Vec<_> = streams.collect();
        let gave_up = streams.iter().any(|(_, stream)| stream.gave_up());
        Self { streams, gave_up }
    }

    fn peek(&self) -> Option<DateTime> {
        self.streams.iter().filter_map(|(head, _)| *head).min()
    }

    fn gave_up(&self) -> bool {
        self.gave_up
    }
}

impl Iterator for Merged<'_> {
    type Item = DateTime;

    fn next(&mut self) -> Option<DateTime> {
        let next = self.peek()?;
        for (head, stream) in &mut self.streams {
            if *head == Some(next) {
                *head = stream.next();
                self.gave_up |= stream.gave_up();
            }
        }
        Some(next)
    }
}

impl Placement {
    fn occurrence(
        &self,
        recurrence_id: DateTime,
        is_override: bool,
        default_zone: &Zone,
    ) -> Option<Occurrence> {
        let zone = self.zone.as_ref().unwrap_or(default_zone);
        // Not as it is written: of a time that the zone skips, what its clocks show.
        let (starts_at, start) = zone.place(self.start)?;
        let ends_at = self.duration.end(self.start, starts_at, zone)?.max(starts_at);
        Some(Occurrence {
            recurrence_id,
            start,
            end: zone.to_local(ends_at),
            starts_at,
            ends_at,
            zone: zone.clone(),
            anchor: self.anchor,
            is_override,
        })
    }

    /// Whether it can overlap a range, in whatever zone: cheaper to say than whether it does.
    fn is_near(&self, range: &Range<Timestamp>) -> bool {
        let start = utc_seconds(self.start);
        let end = start.saturating_add(self.duration.seconds_max());
        end.saturating_add(ZONE_SECONDS_MAX) >= range.start.as_second()
            && start - ZONE_SECONDS_MAX <= range.end.as_second()
    }
}

fn overlaps(item: &Occurrence, range: &Range<Timestamp>) -> bool {
    item.starts_at < range.end && (item.ends_at > range.start || item.starts_at >= range.start)
}

/// The seconds since 1970 of a local time, were it UTC.
fn utc_seconds(local: DateTime) -> i64 {
    local.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0)).as_secs()
}

fn is_task(event: &Object) -> bool {
    event.get("@type").is_some_and(|kind| kind == "Task")
}

/// An event without what makes it recur.
fn template(event: &Object) -> Object {
    let recurring = ["recurrenceRules", "excludedRecurrenceRules", "recurrenceOverrides"];
    let kept = event.iter().filter(|(name, _)| !recurring.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}
