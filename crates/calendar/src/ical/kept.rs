//! What came in beside its meaning. An event that was read from iCalendar keeps the lines that would not be
//! written so: unknown properties and parameters, and known ones that are written otherwise. It keeps them
//! in groups (see `writing`), each with what would have been written at that time; as long as the same would be
//! written, the lines of the group come out as they came in. So an edit rewrites only what it changed,
//! and each group merges by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::lines::{self, Component, Line};
use super::reading;
use super::values::Clock;
use super::writing::{self, Groups};
use super::zones::Zones;
use crate::Object;

/// The member of an event that holds what came in: by place and group the lines, and what would have been written.
pub const KEPT: &str = "fasti:icalendar";
/// What would have been written of the whole: its hash.
const WHOLE: &str = "whole";
/// Groups that say when something was written, and by what: new with each edit.
const STAMPS: [&str; 2] = ["DTSTAMP", "LAST-MODIFIED"];

/// The lines of components as they came in.
pub(super) fn groups_of(
    main: &Component,
    overrides: &[&Component],
    clock: &Clock,
    zones: &Zones<'_>,
) -> Groups {
    let mut groups = Groups::new();
    add(&mut groups, "", main);
    for component in overrides {
        if let Some(id) = reading::recurrence_id(component, clock, zones) {
            add(&mut groups, &id, component);
        }
    }
    groups
}

fn add(groups: &mut Groups, place: &str, component: &Component) {
    for line in &component.lines {
        let key = (place.to_owned(), writing::group(&line.name).to_owned());
        groups.entry(key).or_default().push(line.text.clone());
    }
    let alarms = reading::alarms(component);
    for (id, alarm, _) in &alarms {
        add(groups, &writing::place(place, id), alarm);
    }
    let is_alarm = |it: &Component| alarms.iter().any(|(_, alarm, _)| std::ptr::eq(*alarm, it));
    for other in component.components.iter().filter(|it| !is_alarm(it)) {
        let key = (place.to_owned(), format!("BEGIN:{}", other.name));
        groups.entry(key).or_default().extend(other.texts());
    }
}

/// The place of lines that stand in the calendar around an event.
const CALENDAR: &str = "calendar";
/// Such lines that say how this file is written, and not what is in it.
const OF_THE_FILE: [&str; 4] = ["VERSION", "PRODID", "CALSCALE", "METHOD"];

/// Keeps the lines that stand in the calendar around an event.
pub(super) fn keep_calendar(event: &mut Object, calendar: &Component) {
    let Some(kept) = event.get_mut(KEPT).and_then(Value::as_object_mut) else { return };
    if calendar.name != "VCALENDAR" {
        return;
    }
    for line in calendar.lines.iter().filter(|it| !OF_THE_FILE.contains(&it.name.as_str())) {
        let lines = kept.entry(format!("{CALENDAR}#{}", line.name)).or_insert(json!([[], []]));
        if let Some(came) = lines[0].as_array_mut() {
            came.push(json!(line.text));
        }
    }
}

/// The lines that stood in the calendar around an event.
pub(super) fn calendar_lines(event: &Object) -> Vec<Line> {
    let kept = event.get(KEPT).and_then(Value::as_object).into_iter().flatten();
    let mut lines = Vec::new();
    for (key, value) in kept {
        let Some((CALENDAR, group)) = key.split_once('#') else { continue };
        let came = value.get(0).and_then(Value::as_array).into_iter().flatten();
        let came = came.filter_map(Value::as_str).filter(|line| is_line("", line));
        lines.extend(came.filter_map(Line::parse).filter(|it| it.name == group));
    }
    lines
}

/// What of it does not change when a program writes the event anew.
pub(super) fn lasting(kept: &Value) -> BTreeMap<&String, &Value> {
    let is_lasting = |key: &str| {
        let group = key.split_once('#').map_or(key, |it| it.1);
        key != WHOLE && !STAMPS.contains(&group)
    };
    kept.as_object().into_iter().flatten().filter(|it| is_lasting(it.0)).collect()
}

/// Whether an occurrence came in a component of its own.
pub(super) fn has_place(event: &Object, id: &str) -> bool {
    let kept = event.get(KEPT).and_then(Value::as_object);
    kept.is_some_and(|kept| kept.keys().any(|key| key.split_once('#').is_some_and(|it| it.0 == id)))
}

fn hash(groups: &Groups) -> String {
    let mut sha = Sha256::new();
    for ((place, group), lines) in groups {
        sha.update(json!([place, group, lines]).to_string());
    }
    hex::encode(&sha.finalize()[..8])
}

/// What an event has to keep of these lines.
pub(super) fn keep(came: &Groups, event: &Object) -> Value {
    // That an occurrence came in a component of its own is seen by what is kept of it.
    let mut kept = Object::new();
    for (place, _) in came.keys().filter(|(place, _)| !place.is_empty() && !place.contains('/')) {
        kept.insert(format!("{place}#"), json!([[], []]));
    }
    let mut event = event.clone();
    event.insert(KEPT.into(), Value::Object(kept.clone()));
    let written = writing::groups(&event);
    let nothing = Vec::new();
    for key in came.keys().chain(written.keys()).collect::<BTreeSet<_>>() {
        let came = came.get(key).unwrap_or(&nothing);
        let written = written.get(key).unwrap_or(&nothing);
        // A component that came without a UID is written with the one that it was given.
        let is_new_uid = key.1 == "UID" && came.is_empty();
        if came != written && !is_new_uid {
            kept.insert(name(key), json!([came, written]));
        }
    }
    kept.insert(WHOLE.into(), json!(hash(&written)));
    Value::Object(kept)
}

fn name((place, group): &(String, String)) -> String {
    format!("{place}#{group}")
}

/// The lines of an event: as they came in, where they say what it says now.
pub(super) fn restore(event: &Object) -> Groups {
    let written = writing::groups(event);
    let Some(kept) = event.get(KEPT).and_then(Value::as_object) else { return written };
    let is_as_it_came = kept.get(WHOLE).and_then(Value::as_str) == Some(&*hash(&written));
    let places: BTreeSet<String> = written.keys().map(|(place, _)| place.clone()).collect();
    let mut groups = written;
    for (key, lines) in kept {
        let Some((place, group)) = key.split_once('#').filter(|it| !it.1.is_empty()) else {
            continue;
        };
        let is_stale = STAMPS.contains(&group) && !is_as_it_came;
        // An occurrence or an alarm that is gone takes what belongs to it with it.
        if is_stale || !places.contains(place) {
            continue;
        }
        let list = |at: usize| -> Option<Vec<String>> {
            let lines = lines.get(at)?.as_array()?.iter();
            lines.map(|line| line.as_str().map(str::to_owned)).collect()
        };
        let (Some(came), Some(before)) = (list(0), list(1)) else { continue };
        // Others may have written anything into the event: it must not end the component.
        if !came.iter().all(|line| is_line(group, line)) {
            continue;
        }
        let key = (place.to_owned(), group.to_owned());
        let now = groups.remove(&key).unwrap_or_default();
        let lines = match (now == before, came.len() == before.len()) {
            (true, _) => came,
            // Of a list, such as of participants, what is as it was stays.
            (false, true) => now
                .into_iter()
                .map(|line| match before.iter().position(|it| *it == line) {
                    Some(place) => came[place].clone(),
                    None => line,
                })
                .collect(),
            (false, false) => now,
        };
        if !lines.is_empty() {
            groups.insert(key, lines);
        }
    }
    groups
}

fn is_line(group: &str, line: &str) -> bool {
    let parsed = Line::parse(line);
    let is_whole = !line.chars().any(|c| c == '\r' || c == '\n');
    let boundary = parsed.as_ref().is_some_and(|it| matches!(&*it.name, "BEGIN" | "END"));
    is_whole && parsed.is_some() && (!boundary || group.starts_with("BEGIN:"))
}

/// The order of lines that people are used to; all others follow, by name.
const ORDER: [&str; 12] = [
    "UID",
    "RECURRENCE-ID",
    "DTSTAMP",
    "CREATED",
    "LAST-MODIFIED",
    "SEQUENCE",
    "DTSTART",
    "DTEND",
    "RRULE",
    "RDATE",
    "EXDATE",
    "SUMMARY",
];

/// Puts the lines of an event together: the whole first, then its occurrences.
pub(super) fn components(event: &Object, groups: &Groups) -> Vec<Component> {
    let kind = if event.get("@type") == Some(&json!("Task")) { "VTODO" } else { "VEVENT" };
    let mut found: BTreeMap<&str, Component> = BTreeMap::new();
    for wants_alarms in [false, true] {
        let mut by_place: BTreeMap<&str, Vec<(&str, &Vec<String>)>> = BTreeMap::new();
        for ((place, group), lines) in groups {
            if place.contains("/alerts/") == wants_alarms {
                by_place.entry(place).or_default().push((group, lines));
            }
        }
        for (place, mut all) in by_place {
            let rank = |group: &str| {
                let known = ORDER.iter().position(|it| *it == group).unwrap_or(ORDER.len());
                (group.starts_with("BEGIN:"), known)
            };
            all.sort_by_key(|(group, _)| rank(group));
            let mut component = Component::new(if wants_alarms { "VALARM" } else { kind });
            for (group, lines) in all {
                if group.starts_with("BEGIN:") {
                    let (inside, _) = lines::components(lines.join("\n").as_bytes());
                    component.components.extend(inside);
                } else {
                    component.lines.extend(lines.iter().filter_map(|line| Line::parse(line)));
                }
            }
            match place.split_once("/alerts/") {
                None => drop(found.insert(place, component)),
                Some((of, _)) => {
                    if let Some(of) = found.get_mut(of) {
                        of.components.push(component);
                    }
                }
            }
        }
    }
    found.into_values().collect()
}
