//! iCalendar (RFC 5545) as JSCalendar (RFC 8984) and back. What has a meaning in both is mapped; all else is
//! kept as it came (`kept`), so that nothing is lost either way: reading what was written gives the same event,
//! and writing what was read gives the same lines.

mod kept;
mod lines;
mod reading;
mod values;
mod writing;
mod zones;

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use serde_json::{Value, json};

use self::zones::Zones;
use crate::{Object, Zone};

/// Content lines and components, for whoever looks at how an event is written.
pub use self::lines::{Component, Line};

/// The member of an event that holds what came in with it and has no meaning in JSCalendar.
pub use self::kept::KEPT;

/// What was found in a file.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Its events and tasks, each with the line where it begins.
    pub events: Vec<(usize, Object)>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// Something that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Problem {
    /// Where it begins in the file, counted from 1.
    pub line: usize,
    /// In words.
    pub reason: String,
}

/// Members that are not the event's own: who keeps it derives them.
const DERIVED: [&str; 4] = ["uid", "created", "updated", kept::KEPT];

/// A property for a member of JSCalendar that has no other form, with the member's name and its value in JSON.
const JSPROP: &str = "JSPROP";

/// Reads a file: what can't be read of it is said, and the rest is there.
pub fn read(file: &[u8]) -> Contents {
    let (components, bad) = lines::components(file);
    let mut contents = Contents::default();
    let problem = |line, reason| Problem { line, reason };
    contents.problems.extend(bad.into_iter().map(|it| problem(it.at, it.reason)));
    // Some files hold the components without a calendar around them.
    let inside: Vec<&Component> = components
        .iter()
        .flat_map(|it| match &*it.name {
            "VCALENDAR" => it.components.iter().collect(),
            _ => vec![it],
        })
        .collect();
    let mut families: BTreeMap<String, Vec<&Component>> = BTreeMap::new();
    let mut order = Vec::new();
    for component in &inside {
        match &*component.name {
            "VEVENT" | "VTODO" => {
                let uid = uid_of(component);
                if !families.contains_key(&uid) {
                    order.push(uid.clone());
                }
                families.entry(uid).or_default().push(component);
            }
            "VTIMEZONE" => {}
            other => contents.problems.push(problem(
                component.at,
                format!("{other} is neither an event nor a task, and is not kept"),
            )),
        }
    }
    let zones = Zones::of(inside.iter().copied());
    for uid in order {
        let family = families.remove(&uid).unwrap_or_default();
        match read_family(&uid, family, &zones, &mut contents.problems) {
            Ok(found) => contents.events.push(found),
            Err(problem) => contents.problems.push(problem),
        }
    }
    contents.problems.sort_by_key(|it| it.line);
    // What a file with one event says of the whole, it says of the event; of several nobody could say whose it is.
    if let ([(_, event)], [calendar]) = (contents.events.as_mut_slice(), components.as_slice()) {
        kept::keep_calendar(event, calendar);
    }
    contents
}

/// A component's UID; where it has none, one that follows from what it says, so that it is the same each time.
fn uid_of(component: &Component) -> String {
    let said = component.line("UID").map(|line| values::text(&line.value).trim().to_owned());
    said.filter(|uid| !uid.is_empty()).unwrap_or_else(|| {
        let texts: Vec<String> = component.lines.iter().map(|line| line.text.clone()).collect();
        format!("{}@no-uid", reading::hashed(&texts.join("\n")))
    })
}

fn read_family(
    uid: &str,
    mut family: Vec<&Component>,
    zones: &Zones<'_>,
    problems: &mut Vec<Problem>,
) -> Result<(usize, Object), Problem> {
    // Of several versions the last counts.
    let sequence = |it: &Component| {
        it.line("SEQUENCE").and_then(|line| line.value.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    family.sort_by_key(|it| sequence(it));
    let id = |it: &Component| it.line("RECURRENCE-ID").map(|line| line.text.clone());
    let mut seen = BTreeSet::new();
    let mut latest = Vec::new();
    for component in family.into_iter().rev() {
        if seen.insert(id(component)) {
            latest.push(component);
        } else {
            let reason =
                format!("another version of {uid:?} is in the file, and only the latest is kept");
            problems.push(Problem { line: component.at, reason });
        }
    }
    latest.sort_by_key(|it| it.at);
    // The whole; where only occurrences were sent, the first of them stands for it.
    let main = latest.iter().position(|it| it.line("RECURRENCE-ID").is_none()).unwrap_or(0);
    let main = latest.remove(main);
    Ok((main.at, read_event(uid, main, &latest, zones, problems)?))
}

fn read_event(
    uid: &str,
    main: &Component,
    overrides: &[&Component],
    zones: &Zones<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Object, Problem> {
    let mut event = Object::new();
    event.insert("uid".into(), json!(uid));
    let read = reading::event(main, overrides, zones, problems)?;
    let clock = writing::clock(&read);
    event.extend(read);
    take_members(&mut event, main);
    let mut came = kept::groups_of(main, overrides, &clock, zones);
    came.remove(&(String::new(), JSPROP.to_owned()));
    event.insert(kept::KEPT.into(), kept::keep(&came, &event));
    Ok(event)
}

/// Takes the members that are told in JSON, unless what else is told of them was changed since.
fn take_members(event: &mut Object, main: &Component) {
    let mut told = Object::new();
    for line in main.lines_of(JSPROP) {
        let name = line.param("JSPTR").unwrap_or_default().to_owned();
        if let Ok(value) = serde_json::from_str(&values::text(&line.value))
            && !name.is_empty()
            && !DERIVED.contains(&&*name)
        {
            told.insert(name, value);
        }
    }
    if told.is_empty() {
        return;
    }
    let mut whole = event.clone();
    for (name, value) in &told {
        set(&mut whole, name, value.clone());
    }
    let as_read = read_back(&whole);
    for (name, value) in told {
        if as_read.get(&name) == event.get(&name) {
            set(event, &name, value);
        }
    }
}

fn set(event: &mut Object, name: &str, value: Value) {
    match value {
        Value::Null => drop(event.shift_remove(name)),
        value => drop(event.insert(name.to_owned(), value)),
    }
}

/// What is read again of what is written of an event, without the members that are told in JSON.
fn read_back(event: &Object) -> Object {
    let components = kept::components(event, &kept::restore(event));
    let definitions = definitions(event, &components, &mut BTreeSet::new());
    let zones = Zones::of(definitions.iter());
    let Some((main, overrides)) = components.split_first() else { return Object::new() };
    let overrides: Vec<&Component> = overrides.iter().collect();
    reading::event(main, &overrides, &zones, &mut Vec::new()).unwrap_or_default()
}

/// The components of a file, whatever they are; what is none of them is left out.
pub fn components_of(file: &[u8]) -> Vec<Component> {
    lines::components(file).0
}

/// The zone that a VTIMEZONE defines: IANA's, if it has the name of one, or else as it says.
pub fn zone(definition: &Component) -> Option<Zone> {
    let name = definition.line("TZID")?.value.trim();
    Zones::of(std::iter::once(definition)).find(name).map(|it| it.zone)
}

/// An event as it is read again of what is written of it.
pub fn as_read(event: &Object) -> Object {
    let file = read(write(std::slice::from_ref(event)).as_bytes());
    file.events.into_iter().next().map(|it| it.1).unwrap_or_default()
}

/// Which members of an event another program changed between two readings of it: not those that it does not know of, and
/// lost, nor those that are derived, nor when it was written.
pub fn changed<'a>(before: &'a Object, after: &'a Object) -> BTreeSet<&'a str> {
    let without_json = read_back(before);
    let is_changed = |name: &&str| {
        let (was, is) = (before.get(*name), after.get(*name));
        match *name {
            KEPT => was.map(kept::lasting) != is.map(kept::lasting),
            name => !DERIVED.contains(&name) && was != is && is != without_json.get(name),
        }
    };
    before.keys().chain(after.keys()).map(String::as_str).filter(is_changed).collect()
}

/// Writes events and tasks as one file.
pub fn write(events: &[Object]) -> String {
    write_as(events, &[])
}

/// The same, with these properties of the whole; their values are texts.
pub fn write_as(events: &[Object], properties: &[(&str, &str)]) -> String {
    let mut calendar = Component::new("VCALENDAR");
    calendar.put("VERSION", "2.0");
    calendar.put("PRODID", "-//Fasti//Fasti//EN");
    for (name, value) in properties {
        calendar.put(name, &values::escaped(value));
    }
    if let [event] = events {
        calendar.lines.extend(kept::calendar_lines(event));
    }
    let mut named = BTreeSet::new();
    let mut all = Vec::new();
    for event in events {
        let own = components(event);
        calendar.components.extend(definitions(event, &own, &mut named));
        all.extend(own);
    }
    calendar.components.extend(all);
    let mut text = String::new();
    calendar.write(&mut text);
    text
}

fn components(event: &Object) -> Vec<Component> {
    let mut groups = kept::restore(event);
    // What these lines don't tell is told in JSON.
    let as_read = read_back(event);
    let names: BTreeSet<&String> = event.keys().chain(as_read.keys()).collect();
    for name in names.into_iter().filter(|name| !DERIVED.contains(&name.as_str())) {
        if event.get(name) != as_read.get(name) {
            let value = event.get(name).cloned().unwrap_or(Value::Null).to_string();
            let line = Line::new(JSPROP, &[("JSPTR", name)], &values::escaped(&value));
            groups.entry((String::new(), JSPROP.to_owned())).or_default().push(line.text);
        }
    }
    let stamp = |name: &str| {
        let at = event.get(name)?.as_str()?.trim_end_matches('Z');
        Some(format!("{}Z", values::date_time(values::parse_local(at)?)))
    };
    let places: BTreeSet<String> =
        groups.keys().map(|it| it.0.clone()).filter(|it| !it.contains("/alerts/")).collect();
    for place in places {
        let stamps = [("DTSTAMP", "updated"), ("LAST-MODIFIED", "updated"), ("CREATED", "created")];
        for (name, member) in stamps {
            let value = match (name, stamp(member)) {
                (_, Some(value)) => value,
                ("DTSTAMP", None) => "19700101T000000Z".to_owned(),
                _ => continue,
            };
            let key = (place.clone(), name.to_owned());
            groups.entry(key).or_insert_with(|| vec![Line::new(name, &[], &value).text]);
        }
    }
    kept::components(event, &groups)
}

/// The definitions of zones that these components of an event name, but for those that were written before.
fn definitions(
    event: &Object,
    components: &[Component],
    written: &mut BTreeSet<String>,
) -> Vec<Component> {
    let start = event.get("start").and_then(Value::as_str).and_then(values::parse_local);
    let start = start.unwrap_or(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    let own = event.get("timeZones").and_then(Value::as_object);
    let mut found = Vec::new();
    let lines = components.iter().flat_map(|it| &it.lines);
    for name in lines.filter_map(|line| line.param("TZID")) {
        if !written.insert(name.to_owned()) {
            continue;
        }
        let is_own = |it: &&Value| it.get("tzId").and_then(Value::as_str) == Some(name.trim());
        found.extend(match own.and_then(|own| own.values().find(is_own)) {
            Some(own) => zones::written(own),
            None => zones::definition_of(name, start),
        });
    }
    found
}
