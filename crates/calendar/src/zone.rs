//! Time zones: those of the IANA, from the data that is built in, and those that an event brings along
//! (RFC 8984, 4.7.2).

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use jiff::civil::{DateTime, date};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use serde_json::Value;

use crate::Object;
use crate::recurrence::{Rule, local_date_time};

/// The data that is built in, and never the machine's: all nodes of one version agree.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Until when the changes of a custom zone are known. From then on its last offset stays.
const CUSTOM_END: DateTime = date(2200, 1, 1).at(0, 0, 0, 0);
/// Most changes of offset that a custom zone has: five centuries of two a year, several times.
const CUSTOM_CHANGES_MAX: usize = 5_000;
/// Most periods that the rules of a custom zone are searched for them, together.
const CUSTOM_PERIODS_MAX: u64 = 100_000;

/// A time zone: how local times and moments belong together.
#[derive(Clone, Debug)]
pub struct Zone(Arc<Named>);

#[derive(Debug)]
struct Named {
    name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Iana(TimeZone),
    Custom(Custom),
}

impl Zone {
    /// Coordinated Universal Time.
    pub fn utc() -> Self {
        Self::named("Etc/UTC", Kind::Iana(TimeZone::UTC))
    }

    /// A zone of the IANA database by its name, such as `America/Denver`. `None` where it has none so
    /// named.
    pub fn iana(name: &str) -> Option<Self> {
        Some(Self::named(name, Kind::Iana(DATABASE.get(name).ok()?)))
    }

    /// When clocks change in a zone of the IANA database, with its name as it is spelt there.
    pub(crate) fn iana_changes(name: &str) -> Option<(String, TimeZone)> {
        let zone = DATABASE.get(name).ok()?;
        Some((zone.iana_name()?.to_owned(), zone))
    }

    /// A zone of an event's `timeZones`, by its name there, which begins with a slash.
    pub(crate) fn custom(name: &str, event: &Object) -> Option<Self> {
        let zone = event.get("timeZones")?.get(name)?;
        Some(Self::named(name, Kind::Custom(Custom::from_json(zone)?)))
    }

    fn named(name: &str, kind: Kind) -> Self {
        Self(Arc::new(Named { name: name.to_owned(), kind }))
    }

    /// Its name, as events have it in `timeZone`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The moment of a local time. Of one that occurs twice it is the first; one that is skipped is
    /// taken with the offset from before (RFC 8984, 1.4.4). `None` at the ends of time.
    pub fn to_timestamp(&self, local: DateTime) -> Option<Timestamp> {
        self.place(local).map(|(at, _)| at)
    }

    /// The moment of a local time, and what the clocks show then: another time only where they skip it.
    pub(crate) fn place(&self, local: DateTime) -> Option<(Timestamp, DateTime)> {
        match &self.0.kind {
            Kind::Iana(zone) => {
                let ambiguous = zone.to_ambiguous_timestamp(local);
                let is_skipped = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
                let at = ambiguous.compatible().ok()?;
                Some((at, if is_skipped { zone.to_datetime(at) } else { local }))
            }
            Kind::Custom(zone) => {
                let at = zone.offset_at_local(local).to_timestamp(local).ok()?;
                Some((at, zone.offset_at(at).to_datetime(at)))
            }
        }
    }

    /// The local time of a moment.
    pub fn to_local(&self, at: Timestamp) -> DateTime {
        match &self.0.kind {
            Kind::Iana(zone) => zone.to_datetime(at),
            Kind::Custom(zone) => zone.offset_at(at).to_datetime(at),
        }
    }
}

/// A zone made of rules for standard and daylight saving time.
#[derive(Debug)]
struct Custom {
    first: Offset,
    /// In the order of time.
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    at: Timestamp,
    /// The local time from which on `after` holds: a local time that occurs twice is meant the first
    /// time, one that is skipped has the offset from before.
    from_local: DateTime,
    after: Offset,
}

impl Custom {
    /// Reads a TimeZone object. `None` where a part of it that matters can't be read.
    fn from_json(zone: &Value) -> Option<Self> {
        let mut onsets: Vec<(Timestamp, Offset, Offset)> = Vec::new();
        let mut periods = CUSTOM_PERIODS_MAX;
        for rule in ["standard", "daylight"]
            .iter()
            .filter_map(|name| zone.get(name))
            .filter_map(Value::as_array)
            .flatten()
        {
            let before = offset(rule.get("offsetFrom")?.as_str()?)?;
            let after = offset(rule.get("offsetTo")?.as_str()?)?;
            for local in onsets_of(rule, CUSTOM_CHANGES_MAX - onsets.len(), &mut periods)? {
                onsets.push((before.to_timestamp(local).ok()?, before, after));
            }
        }
        onsets.sort_unstable_by_key(|(at, before, after)| (*at, before.seconds(), after.seconds()));
        let first = onsets.first()?.1;
        let mut before = first;
        let mut from_local = DateTime::MIN;
        let changes = onsets.into_iter().map(|(at, _, after)| {
            // Never backwards, so that they can be searched.
            from_local = from_local.max(before.to_datetime(at)).max(after.to_datetime(at));
            before = after;
            Change { at, from_local, after }
        });
        let changes = changes.collect();
        Some(Self { first, changes })
    }

    fn offset_at(&self, at: Timestamp) -> Offset {
        self.offset_after(self.changes.partition_point(|change| change.at <= at))
    }

    fn offset_at_local(&self, local: DateTime) -> Offset {
        self.offset_after(self.changes.partition_point(|change| change.from_local <= local))
    }

    fn offset_after(&self, changes: usize) -> Offset {
        changes.checked_sub(1).map_or(self.first, |last| self.changes[last].after)
    }
}

/// The local times at which a TimeZoneRule sets in: its start, its recurrences and the additions to
/// them.
fn onsets_of(rule: &Value, max: usize, periods: &mut u64) -> Option<Vec<DateTime>> {
    let start = local_date_time(rule.get("start")?.as_str()?)?;
    let mut onsets = vec![start];
    for rule in rule.get("recurrenceRules").and_then(Value::as_array).into_iter().flatten() {
        let rule = Rule::from_json(rule, "").ok()?;
        let mut expansion =
            rule.occurrences_between(start, start, CUSTOM_END.max(start)).searching(*periods);
        onsets.extend(expansion.by_ref().take(max));
        *periods = expansion.periods_left();
    }
    if let Some(Value::Object(overrides)) = rule.get("recurrenceOverrides") {
        onsets.extend(overrides.keys().filter_map(|key| local_date_time(key)));
    }
    onsets.sort_unstable();
    onsets.dedup();
    onsets.truncate(max);
    Some(onsets)
}

/// An offset from UTC: `-0700`, `+01:00`, and perhaps with seconds.
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    if !matches!(digits.len(), 4 | 6) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number =
        |at: usize| digits.get(at..at + 2).map_or(Some(0), |pair| pair.parse::<i32>().ok());
    let (hours, minutes, seconds) = (number(0)?, number(2)?, number(4)?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60 + seconds)).ok()
}
