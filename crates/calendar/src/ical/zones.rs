//! Time zones of a file: IANA's by their names, others as the file defines them (VTIMEZONE), and the
//! definitions that a written file needs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::lines::{Component, Line};
use super::values::{self, Clock};
use crate::{Object, Zone};

/// The zones that a file's times may name.
pub(super) struct Zones<'a> {
    defined: BTreeMap<&'a str, &'a Component>,
    /// Those that were named and have no other definition.
    used: RefCell<BTreeSet<String>>,
}

/// What a TZID stands for.
pub(super) struct Named {
    /// As JSCalendar names it: with a slash at the front if it is the event's own.
    pub(super) id: String,
    pub(super) zone: Zone,
}

/// IANA's zone that a name means: itself, or at the end of a longer one, as some programs write it.
pub(crate) fn iana(name: &str) -> Option<(String, TimeZone)> {
    let is_noise = |c: char| c.is_control() || c.is_whitespace() || c == '"';
    let parts: Vec<&str> = name.trim_matches(is_noise).split('/').collect();
    // Longest first: America/Argentina/Ushuaia. One word alone is a zone only if it is the whole name.
    let shortest = if parts.len() > 1 { 2 } else { 1 };
    (0..=parts.len().saturating_sub(shortest))
        .find_map(|from| Zone::iana_changes(&parts[from..].join("/")))
}

impl<'a> Zones<'a> {
    pub(super) fn of(components: impl Iterator<Item = &'a Component>) -> Self {
        let defined = components
            .filter(|it| it.name == "VTIMEZONE")
            .filter_map(|it| Some((it.line("TZID")?.value.trim(), it)))
            .collect();
        Self { defined, used: RefCell::default() }
    }

    pub(super) fn find(&self, name: &str) -> Option<Named> {
        if let Some((id, _)) = iana(name) {
            return Some(Named { zone: Zone::iana(&id)?, id });
        }
        let (name, id) = (name.trim(), own_id(name));
        let zone = definition(name, self.defined.get(name)?)?;
        let around = json!({"timeZones": {id.clone(): zone}});
        let zone = Zone::custom(&id, around.as_object()?)?;
        self.used.borrow_mut().insert(name.to_owned());
        Some(Named { id, zone })
    }

    /// Begins with another event.
    pub(super) fn begin(&self) {
        self.used.borrow_mut().clear();
    }

    /// Adds the definitions of the zones of its own that an event's lines named.
    pub(super) fn define(&self, object: &mut Object) {
        let mut zones = Object::new();
        for name in self.used.borrow().iter() {
            if let Some(zone) = self.defined.get(&**name).and_then(|it| definition(name, it)) {
                zones.insert(own_id(name), zone);
            }
        }
        if !zones.is_empty() {
            object.insert("timeZones".into(), Value::Object(zones));
        }
    }
}

fn own_id(name: &str) -> String {
    format!("/{}", name.trim().trim_start_matches('/'))
}

/// The observances of a zone: whether it is daylight saving time, and what it says.
fn observances(component: &Component) -> impl Iterator<Item = (bool, &Component)> {
    let kinds = component.components.iter();
    kinds
        .filter(|it| matches!(&*it.name, "STANDARD" | "DAYLIGHT"))
        .map(|it| (it.name == "DAYLIGHT", it))
}

fn offset(line: Option<&Line>) -> Option<Offset> {
    let text = line?.value.trim();
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.trim_start_matches(['+', '-']);
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<i32>().ok();
    let seconds = number(4, 6).unwrap_or(0);
    Offset::from_seconds(sign * (number(0, 2)? * 3600 + number(2, 4)? * 60 + seconds)).ok()
}

/// A TimeZone object (RFC 8984, 4.7.2).
fn definition(name: &str, component: &Component) -> Option<Value> {
    let clock = Clock { zone: None, is_utc: false, is_date: false };
    let mut zone = json!({"@type": "TimeZone", "tzId": name.trim()});
    for (daylight, it) in observances(component) {
        let text = |offset: Offset| {
            let seconds = offset.seconds();
            let (sign, seconds) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
            let text = format!("{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
            if seconds % 60 == 0 { text } else { format!("{text}:{:02}", seconds % 60) }
        };
        let start = values::when(&it.line("DTSTART")?.value)?.at;
        let mut rule = json!({
            "@type": "TimeZoneRule",
            "start": values::local(start),
            "offsetFrom": text(offset(it.line("TZOFFSETFROM"))?),
            "offsetTo": text(offset(it.line("TZOFFSETTO"))?),
        });
        let rules: Vec<Value> =
            it.lines_of("RRULE").filter_map(|line| values::rule(&line.value, &clock)).collect();
        if !rules.is_empty() {
            rule["recurrenceRules"] = Value::Array(rules);
        }
        for line in it.lines_of("RDATE") {
            for when in line.value.split(',').filter_map(values::when) {
                rule["recurrenceOverrides"][values::local(when.at)] = json!({});
            }
        }
        for line in it.lines_of("TZNAME") {
            rule["names"][values::text(&line.value)] = json!(true);
        }
        let member = if daylight { "daylight" } else { "standard" };
        match &mut zone[member] {
            Value::Array(all) => all.push(rule),
            none => *none = json!([rule]),
        }
    }
    Some(zone)
}

/// The zone that an event names: one of IANA's, or as it defines one.
pub(super) fn of_event(object: &Object, id: &str) -> Option<Zone> {
    if id.starts_with('/') { Zone::custom(id, object) } else { Zone::iana(id) }
}

/// The TZID of a zone that an event names.
pub(super) fn tzid(object: &Object, id: &str) -> String {
    let own = object.get("timeZones").and_then(|it| it.get(id)).and_then(|it| it.get("tzId"));
    own.and_then(Value::as_str).unwrap_or(id).to_owned()
}

// ---- Writing ----

/// The definition of a zone that an event has of its own.
pub(super) fn written(definition: &Value) -> Option<Component> {
    let clock = Clock { zone: None, is_utc: false, is_date: false };
    let mut zone = Component::new("VTIMEZONE");
    zone.put("TZID", definition.get("tzId")?.as_str()?);
    for (name, member) in [("STANDARD", "standard"), ("DAYLIGHT", "daylight")] {
        for rule in definition.get(member).and_then(Value::as_array).into_iter().flatten() {
            let mut part = Component::new(name);
            let text = |member: &str| rule.get(member).and_then(Value::as_str);
            let digits = |text: &str| text.chars().filter(|c| *c != ':').collect::<String>();
            part.put("DTSTART", &values::date_time(values::parse_local(text("start")?)?));
            part.put("TZOFFSETFROM", &digits(text("offsetFrom")?));
            part.put("TZOFFSETTO", &digits(text("offsetTo")?));
            for rule in rule.get("recurrenceRules").and_then(Value::as_array).into_iter().flatten()
            {
                if let Some(text) = rule.as_object().and_then(|it| values::write_rule(it, &clock)) {
                    part.put("RRULE", &text);
                }
            }
            let dates = rule.get("recurrenceOverrides").and_then(Value::as_object);
            for date in dates.into_iter().flat_map(|it| it.keys()) {
                part.put("RDATE", &values::date_time(values::parse_local(date)?));
            }
            let names = rule.get("names").and_then(Value::as_object);
            for name in names.into_iter().flat_map(|it| it.keys()) {
                part.put("TZNAME", &values::escaped(name));
            }
            zone.components.push(part);
        }
    }
    Some(zone)
}

/// When clocks change in a zone.
struct Change {
    /// On the clock before it.
    at: DateTime,
    from: Offset,
    to: Offset,
    name: String,
    daylight: bool,
}

/// Years for which the changes of an IANA zone are written out, from the first one that is asked for; the last
/// rules go on for ever where they have become regular.
const YEARS: i64 = 12;

/// The definition of one of IANA's zones under this name, from this local time on.
pub(super) fn definition_of(name: &str, from: DateTime) -> Option<Component> {
    let (_, zone) = iana(name)?;
    let mut component = Component::new("VTIMEZONE");
    component.put("TZID", name);
    let start = zone.to_timestamp(from).ok()?.checked_sub((24 * 366).hours()).ok()?;
    let changes = changes(&zone, start);
    let info = zone.to_offset_info(start);
    let mut part =
        observance(info.dst().is_dst(), info.abbreviation(), info.offset(), info.offset());
    part.lines.insert(0, Line::new("DTSTART", &[], "19700101T000000"));
    component.components.push(part);
    let mut done = vec![false; changes.len()];
    for at in 0..changes.len() {
        if done[at] {
            continue;
        }
        let first = &changes[at];
        let mut part = observance(first.daylight, &first.name, first.from, first.to);
        part.lines.insert(0, Line::new("DTSTART", &[], &values::date_time(first.at)));
        // The same change in the years after it, on the same weekday of the month.
        let same = |it: &Change| {
            (it.from, it.to, it.at.time(), it.at.month(), it.at.weekday())
                == (first.from, first.to, first.at.time(), first.at.month(), first.at.weekday())
        };
        for nth in nths(first.at) {
            let run: Vec<usize> = (at..changes.len())
                .filter(|it| {
                    !done[*it] && same(&changes[*it]) && nths(changes[*it].at).contains(&nth)
                })
                .collect();
            let years = run.len() as i64;
            if years >= YEARS - 1 {
                let day = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
                    [first.at.weekday().to_monday_zero_offset() as usize];
                let rule = format!("FREQ=YEARLY;BYMONTH={};BYDAY={nth}{day}", first.at.month());
                part.put("RRULE", &rule);
                run.into_iter().for_each(|it| done[it] = true);
                break;
            }
        }
        component.components.push(part);
    }
    Some(component)
}

/// Which of its weekday in the month a day is, counted from the front and from the back.
fn nths(at: DateTime) -> Vec<i8> {
    let front = (at.day() - 1) / 7 + 1;
    match at.day() + 7 > at.date().days_in_month() {
        true => vec![-1, front],
        false => vec![front],
    }
}

fn changes(zone: &TimeZone, start: Timestamp) -> Vec<Change> {
    let end = start.checked_add((24 * 366 * YEARS).hours()).unwrap_or(Timestamp::MAX);
    let mut before = zone.to_offset(start);
    let mut changes = Vec::new();
    for change in zone.following(start).take_while(|it| it.timestamp() < end) {
        if change.offset() != before {
            changes.push(Change {
                at: before.to_datetime(change.timestamp()),
                from: before,
                to: change.offset(),
                name: change.abbreviation().to_owned(),
                daylight: change.dst().is_dst(),
            });
        }
        before = change.offset();
    }
    changes
}

fn observance(daylight: bool, name: &str, from: Offset, to: Offset) -> Component {
    let mut part = Component::new(if daylight { "DAYLIGHT" } else { "STANDARD" });
    let text = |offset: Offset| {
        let (sign, seconds) =
            (if offset.is_negative() { '-' } else { '+' }, offset.seconds().abs());
        let text = format!("{sign}{:02}{:02}", seconds / 3600, seconds / 60 % 60);
        if seconds % 60 == 0 { text } else { format!("{text}{:02}", seconds % 60) }
    };
    part.put("TZOFFSETFROM", &text(from));
    part.put("TZOFFSETTO", &text(to));
    part.put("TZNAME", name);
    part
}
