//! From components to JSCalendar: what each property means. What has no meaning here is left to `kept`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Problem;
use super::lines::{Component, Line};
use super::values::{self, Clock, When};
use super::zones::Zones;
use crate::patch::NOT_OVERRIDDEN;
use crate::{Object, RANGE, THIS_AND_FUTURE, Zone};

/// A component as an object, without the overrides that other components say.
pub(super) struct Read {
    pub(super) object: Object,
    pub(super) clock: Clock,
}

/// Reads an event or a task: the component that describes the whole, and those that describe single occurrences.
/// What can't be read of it is added to `bad`; an error, if nothing can.
pub(super) fn event(
    main: &Component,
    overrides: &[&Component],
    zones: &Zones<'_>,
    bad: &mut Vec<Problem>,
) -> Result<Object, Problem> {
    zones.begin();
    let Read { mut object, clock } = component(main, zones, bad)?;
    let mut patches = match object.remove("recurrenceOverrides") {
        Some(Value::Object(patches)) => patches,
        _ => Object::new(),
    };
    for component_of in overrides {
        let Some(id) = recurrence_id(component_of, &clock, zones) else {
            bad.push(problem(component_of, "RECURRENCE-ID is no date".into()));
            continue;
        };
        match component(component_of, zones, bad) {
            Ok(other) => {
                let mut patch = patch(&object, other.object, &id);
                if goes_on(component_of) {
                    patch.insert(RANGE.into(), json!(THIS_AND_FUTURE));
                }
                patches.insert(id.clone(), Value::Object(patch));
            }
            Err(why) => bad.push(why),
        }
    }
    if !patches.is_empty() {
        object.insert("recurrenceOverrides".into(), Value::Object(patches));
    }
    if let Some(id) = recurrence_id(main, &clock, zones) {
        object.insert("recurrenceId".into(), json!(id));
    }
    zones.define(&mut object);
    Ok(object)
}

/// Which occurrence a component describes, on the clock of the series.
pub(super) fn recurrence_id(
    component: &Component,
    clock: &Clock,
    zones: &Zones<'_>,
) -> Option<String> {
    let line = component.line("RECURRENCE-ID")?;
    Some(values::local(on_clock(line, values::when(&line.value)?, clock, zones)))
}

/// Whether what it says is meant for the occurrences after it as well.
fn goes_on(component: &Component) -> bool {
    let range = component.line("RECURRENCE-ID").and_then(|line| line.param("RANGE"));
    range.is_some_and(|range| range.eq_ignore_ascii_case("THISANDFUTURE"))
}

/// What makes of an occurrence of the series what another object says.
fn patch(series: &Object, other: Object, id: &str) -> Object {
    let mut patch = Object::new();
    let start = other.get("start");
    if start.is_some_and(|start| start != id) {
        patch.insert("start".into(), json!(start));
    }
    if other.get("timeZone") != series.get("timeZone") {
        patch.insert("timeZone".into(), json!(other.get("timeZone")));
    }
    // When it starts, and where that is told, is above.
    let patched = |name: &&String| {
        let name = name.as_str();
        !NOT_OVERRIDDEN.contains(&name) && !matches!(name, "start" | "timeZone")
    };
    for name in series.keys().filter(patched) {
        if !other.contains_key(name) {
            patch.insert(name.clone(), Value::Null);
        }
    }
    for (name, value) in other.iter().filter(|(name, _)| patched(name)) {
        difference(&mut patch, name, series.get(name), value);
    }
    patch
}

/// Adds what makes one value of another, as deep as both are objects with ids.
fn difference(patch: &mut Object, path: &str, from: Option<&Value>, to: &Value) {
    match (from, to) {
        (Some(from), to) if from == to => {}
        (Some(Value::Object(from)), Value::Object(to)) if !from.is_empty() && !to.is_empty() => {
            let inside =
                |name: &str| format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
            for name in from.keys().filter(|name| !to.contains_key(*name)) {
                patch.insert(inside(name), Value::Null);
            }
            for (name, value) in to {
                difference(patch, &inside(name), from.get(name), value);
            }
        }
        _ => {
            patch.insert(path.to_owned(), to.clone());
        }
    }
}

fn problem(component: &Component, reason: String) -> Problem {
    Problem { line: component.at, reason }
}

fn component(
    component: &Component,
    zones: &Zones<'_>,
    bad: &mut Vec<Problem>,
) -> Result<Read, Problem> {
    let is_task = component.name == "VTODO";
    let mut object = Object::new();
    object.insert("@type".into(), json!(if is_task { "Task" } else { "Event" }));
    let mut reasons = Vec::new();
    let clock = times(component, zones, is_task, &mut object, &mut reasons)
        .map_err(|reason| problem(component, reason))?;
    // The organizer first: what an attendee says of itself counts, wherever it stands.
    let organizers = component.lines_of("ORGANIZER");
    for line in organizers.chain(component.lines.iter().filter(|line| line.name != "ORGANIZER")) {
        property(line, &clock, is_task, &mut object);
    }
    places(component, &mut object);
    recurrence(component, &clock, zones, &mut object, &mut reasons);
    bad.extend(reasons.into_iter().map(|reason| problem(component, reason)));
    let alerts = alarms(component).into_iter().map(|(id, _, alert)| (id, alert)).collect();
    put_map(&mut object, "alerts", alerts);
    Ok(Read { object, clock })
}

fn put_map(object: &mut Object, name: &str, map: Map<String, Value>) {
    if !map.is_empty() {
        object.insert(name.into(), Value::Object(map));
    }
}

// ---- Times ----

/// The line's local time on a clock, whatever zone the line names.
fn on_clock(line: &Line, when: When, clock: &Clock, zones: &Zones<'_>) -> jiff::civil::DateTime {
    let own = line.param("TZID").filter(|_| !when.is_utc && !when.is_date);
    let own = own.and_then(|id| zones.find(id)).map(|found| found.zone);
    match (own, &clock.zone) {
        (Some(own), Some(zone)) if own.name() != zone.name() => {
            own.to_timestamp(when.at).map_or(when.at, |at| zone.to_local(at))
        }
        _ => clock.local(when),
    }
}

fn times(
    component: &Component,
    zones: &Zones<'_>,
    is_task: bool,
    object: &mut Object,
    bad: &mut Vec<String>,
) -> Result<Clock, String> {
    let no_date = |line: &Line| format!("{} is no date: {:?}", line.name, shortened(&line.value));
    let mut when_of = |name: &str| {
        let line = component.line(name)?;
        let when = values::when(&line.value);
        if when.is_none() {
            bad.push(no_date(line));
        }
        Some((line, when?))
    };
    let first = component.line("DTSTART").or_else(|| component.line("DUE").filter(|_| is_task));
    let Some(first) = first else {
        let clock = Clock { zone: None, is_utc: false, is_date: false };
        return if is_task { Ok(clock) } else { Err("DTSTART is missing".into()) };
    };
    let start = values::when(&first.value).ok_or_else(|| no_date(first))?;
    let named = first.param("TZID").filter(|_| !start.is_date && !start.is_utc);
    let found = named.and_then(|id| zones.find(id));
    let clock = Clock {
        zone: match start.is_utc {
            true => Some(Zone::utc()),
            false => found.as_ref().map(|found| found.zone.clone()),
        },
        is_utc: start.is_utc,
        is_date: start.is_date,
    };
    if let Some((_, when)) = when_of("DTSTART") {
        object.insert("start".into(), json!(values::local(when.at)));
    }
    if start.is_utc {
        object.insert("timeZone".into(), json!("Etc/UTC"));
    } else if let Some(found) = found {
        object.insert("timeZone".into(), json!(found.id));
    }
    if start.is_date {
        object.insert("showWithoutTime".into(), json!(true));
    }
    let length = component.line("DURATION").and_then(|line| values::duration(&line.value));
    let length = length.filter(|(negative, _)| !negative).map(|(_, text)| text);
    if is_task {
        if let Some((line, due)) = when_of("DUE") {
            object.insert("due".into(), json!(values::local(on_clock(line, due, &clock, zones))));
        } else if let Some(length) = length {
            let span = length.parse().ok();
            let due = span.and_then(|span| clock.after(start.at, span));
            object.extend(due.map(|due| ("due".to_owned(), json!(values::local(due)))));
        }
    } else if let Some((line, end)) = when_of("DTEND") {
        let end = on_clock(line, end, &clock, zones);
        let span = clock.span(start.at, end).filter(|span| span.is_positive());
        object.extend(span.map(|span| ("duration".to_owned(), json!(values::write_span(span)))));
    } else if let Some(length) = length {
        object.insert("duration".into(), json!(length));
    } else if start.is_date {
        object.insert("duration".into(), json!("P1D"));
    }
    Ok(clock)
}

fn recurrence(
    component: &Component,
    clock: &Clock,
    zones: &Zones<'_>,
    object: &mut Object,
    bad: &mut Vec<String>,
) {
    for (name, member) in [("RRULE", "recurrenceRules"), ("EXRULE", "excludedRecurrenceRules")] {
        let mut rules = Vec::new();
        for line in component.lines_of(name) {
            match values::rule(&line.value, clock) {
                Some(rule) => rules.push(rule),
                None => bad.push(format!("{name} is no rule: {:?}", shortened(&line.value))),
            }
        }
        if !rules.is_empty() {
            object.insert(member.into(), Value::Array(rules));
        }
    }
    let mut overrides = Map::new();
    for (name, patch) in [("RDATE", json!({})), ("EXDATE", json!({"excluded": true}))] {
        for line in component.lines_of(name) {
            for part in line.value.split(',').filter(|part| !part.trim().is_empty()) {
                let mut patch = patch.clone();
                let (start, end) = match part.split_once('/') {
                    Some((start, end)) => (start, Some(end)),
                    None => (part, None),
                };
                let Some(when) = values::when(start) else {
                    bad.push(format!("{name} is no date: {:?}", shortened(part)));
                    continue;
                };
                let mut at = on_clock(line, when, clock, zones);
                // A day that is excluded, or added, where times are told: that of the series.
                let start =
                    object.get("start").and_then(Value::as_str).and_then(values::parse_local);
                if let (true, false, Some(start)) = (when.is_date, clock.is_date, start) {
                    at = at.date().to_datetime(start.time());
                }
                if let Some(end) = end {
                    patch["duration"] = json!(period(line, at, end, clock, zones));
                }
                overrides.insert(values::local(at), patch);
            }
        }
    }
    put_map(object, "recurrenceOverrides", overrides);
}

/// How long a period is that ends so.
fn period(
    line: &Line,
    from: jiff::civil::DateTime,
    end: &str,
    clock: &Clock,
    zones: &Zones<'_>,
) -> Option<String> {
    if let Some((false, duration)) = values::duration(end) {
        return Some(duration);
    }
    let end = on_clock(line, values::when(end)?, clock, zones);
    clock.span(from, end).map(values::write_span)
}

// ---- Properties ----

/// Names of a property's value in both standards.
type Names = &'static [(&'static str, &'static str)];

const STATUS: Names =
    &[("CONFIRMED", "confirmed"), ("TENTATIVE", "tentative"), ("CANCELLED", "cancelled")];
const PROGRESS: Names = &[
    ("NEEDS-ACTION", "needs-action"),
    ("COMPLETED", "completed"),
    ("IN-PROCESS", "in-process"),
    ("CANCELLED", "cancelled"),
];
const CLASS: Names = &[("PUBLIC", "public"), ("PRIVATE", "private"), ("CONFIDENTIAL", "secret")];
const TRANSP: Names = &[("OPAQUE", "busy"), ("TRANSPARENT", "free")];

/// Properties whose value is one of a few names, with the member that says the same.
pub(super) fn named(is_task: bool) -> [(&'static str, &'static str, Names); 3] {
    let status = match is_task {
        true => ("STATUS", "progress", PROGRESS),
        false => ("STATUS", "status", STATUS),
    };
    [status, ("CLASS", "privacy", CLASS), ("TRANSP", "freeBusyStatus", TRANSP)]
}

/// Properties whose value is a text, or a number.
pub(super) const TEXTS: [(&str, &str); 3] =
    [("SUMMARY", "title"), ("DESCRIPTION", "description"), ("COLOR", "color")];
pub(super) const NUMBERS: [(&str, &str, i64); 3] = [
    ("PRIORITY", "priority", 9),
    ("SEQUENCE", "sequence", i64::MAX),
    ("PERCENT-COMPLETE", "percentComplete", 100),
];

fn property(line: &Line, clock: &Clock, is_task: bool, object: &mut Object) {
    let value = line.value.trim();
    if let Some((_, member)) = TEXTS.iter().find(|(name, _)| *name == line.name) {
        object.entry(*member).or_insert_with(|| json!(values::text(&line.value)));
    } else if let Some((_, member, most)) = NUMBERS.iter().find(|(name, ..)| *name == line.name) {
        let number = value.parse::<i64>().ok().filter(|it| (0..=*most).contains(it));
        object.extend(number.map(|it| ((*member).to_owned(), json!(it))));
    } else if let Some((_, member, names)) = named(is_task).iter().find(|it| it.0 == line.name) {
        let found = names.iter().find(|(name, _)| value.eq_ignore_ascii_case(name));
        object.extend(found.map(|(_, it)| ((*member).to_owned(), json!(it))));
    } else {
        collected(line, clock, object);
    }
}

/// Properties that add to a map.
fn collected(line: &Line, clock: &Clock, object: &mut Object) {
    let value = line.value.trim();
    let mut add = |member: &str, id: String, value: Value| {
        if let Value::Object(map) = object.entry(member).or_insert_with(|| json!({})) {
            map.insert(id, value);
        }
    };
    match &*line.name {
        "CATEGORIES" => {
            for keyword in values::texts(&line.value) {
                let keyword = keyword.trim();
                if !keyword.is_empty() {
                    add("keywords", keyword.to_owned(), json!(true));
                }
            }
        }
        "RELATED-TO" if !value.is_empty() => {
            let relation = line.param("RELTYPE").unwrap_or("PARENT").to_ascii_lowercase();
            let related = json!({"@type": "Relation", "relation": {relation: true}});
            add("relatedTo", values::text(value), related);
        }
        "URL" if !value.is_empty() => {
            add(
                "links",
                "url".into(),
                json!({"@type": "Link", "href": value, "rel": "describedby"}),
            );
        }
        "ATTACH" if !value.is_empty() => {
            let is_inline =
                line.param("ENCODING").is_some_and(|it| it.eq_ignore_ascii_case("BASE64"));
            let kind = line.param("FMTTYPE");
            let href = match is_inline {
                true => {
                    format!("data:{};base64,{value}", kind.unwrap_or("application/octet-stream"))
                }
                false => value.to_owned(),
            };
            let mut link = json!({"@type": "Link", "href": href, "rel": "enclosure"});
            let members = [
                ("contentType", kind.map(|it| json!(it))),
                ("title", line.param("FILENAME").map(|it| json!(it))),
                (
                    "size",
                    line.param("SIZE").and_then(|it| it.parse::<u64>().ok()).map(|it| json!(it)),
                ),
            ];
            for (name, value) in members {
                if let Some(value) = value {
                    link[name] = value;
                }
            }
            add("links", id_of(line, &href), link);
        }
        "CONFERENCE" if !value.is_empty() => {
            let mut place = json!({"@type": "VirtualLocation", "uri": value});
            if let Some(label) = line.param("LABEL") {
                place["name"] = json!(label);
            }
            let features: Map<String, Value> = line
                .params_of("FEATURE")
                .map(|it| (it.to_ascii_lowercase(), json!(true)))
                .collect();
            if !features.is_empty() {
                place["features"] = Value::Object(features);
            }
            add("virtualLocations", id_of(line, value), place);
        }
        "ORGANIZER" | "ATTENDEE" if !value.is_empty() => participant(line, object),
        "COMPLETED" => {
            let when = values::when(value).filter(|it| it.is_utc || clock.is_utc);
            let at = when.map(|it| format!("{}Z", values::local(it.at)));
            object.extend(at.map(|at| ("progressUpdated".to_owned(), json!(at))));
        }
        _ => {}
    }
}

/// The id of something in a map: what the line says, or what follows from the value, so that everyone who
/// reads it gives it the same.
fn id_of(line: &Line, value: &str) -> String {
    match line.param("JSID").filter(|id| is_id(id)) {
        Some(id) => id.to_owned(),
        None => hashed(value),
    }
}

pub(super) fn hashed(value: &str) -> String {
    hex::encode(&Sha256::digest(value.as_bytes())[..4])
}

/// RFC 8984, 1.4.1.
fn is_id(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The kinds of participants.
pub(super) const KINDS: Names = &[
    ("INDIVIDUAL", "individual"),
    ("GROUP", "group"),
    ("RESOURCE", "resource"),
    ("ROOM", "location"),
];
/// What they do, apart from attending.
pub(super) const ROLES: Names =
    &[("CHAIR", "chair"), ("OPT-PARTICIPANT", "optional"), ("NON-PARTICIPANT", "informational")];
/// What they answered.
pub(super) const ANSWERS: Names = &[
    ("NEEDS-ACTION", "needs-action"),
    ("ACCEPTED", "accepted"),
    ("DECLINED", "declined"),
    ("TENTATIVE", "tentative"),
    ("DELEGATED", "delegated"),
];
/// Parameters that name other participants.
pub(super) const OTHERS: Names =
    &[("DELEGATED-TO", "delegatedTo"), ("DELEGATED-FROM", "delegatedFrom"), ("MEMBER", "memberOf")];

pub(super) fn meaning(names: Names, name: &str) -> Option<&'static str> {
    names.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, meaning)| *meaning)
}

fn participant(line: &Line, object: &mut Object) {
    let address = line.value.trim();
    let id = id_of(line, &address.to_ascii_lowercase());
    let is_organizer = line.name == "ORGANIZER";
    if is_organizer {
        object.insert("replyTo".into(), json!({"imip": address}));
    }
    let Value::Object(all) = object.entry("participants").or_insert_with(|| json!({})) else {
        return;
    };
    let known = all.entry(id).or_insert_with(
        || json!({"@type": "Participant", "sendTo": {"imip": address}, "roles": {}}),
    );
    let mut role = |role: &str| known["roles"][role] = json!(true);
    match (is_organizer, line.param("ROLE").and_then(|it| meaning(ROLES, it))) {
        (true, _) => role("owner"),
        (false, Some("informational")) => role("informational"),
        (false, other) => {
            role("attendee");
            other.into_iter().for_each(role);
        }
    }
    let mut set = |member: &str, value: Option<Value>| {
        if let Some(value) = value {
            known[member] = value;
        }
    };
    set("name", line.param("CN").map(|it| json!(it)));
    set("language", line.param("LANGUAGE").map(|it| json!(it)));
    set("email", line.param("EMAIL").map(|it| json!(it)));
    set("invitedBy", line.param("SENT-BY").map(|it| json!(hashed(&it.to_ascii_lowercase()))));
    if is_organizer {
        return;
    }
    set("kind", line.param("CUTYPE").and_then(|it| meaning(KINDS, it)).map(|it| json!(it)));
    let answer = line.param("PARTSTAT").and_then(|it| meaning(ANSWERS, it));
    set("participationStatus", answer.map(|it| json!(it)));
    let rsvp = line.param("RSVP").filter(|it| it.eq_ignore_ascii_case("TRUE"));
    set("expectReply", rsvp.map(|_| json!(true)));
    for (param, member) in OTHERS {
        let ids: BTreeMap<String, bool> = line
            .params_of(param)
            .filter(|it| !it.is_empty())
            .map(|it| (hashed(&it.to_ascii_lowercase()), true))
            .collect();
        set(member, (!ids.is_empty()).then(|| json!(ids)));
    }
}

/// The id of the place that LOCATION and GEO describe.
pub(super) const PLACE: &str = "1";

fn places(component: &Component, object: &mut Object) {
    let name = component.line("LOCATION").filter(|line| !line.value.trim().is_empty());
    let geo = component.line("GEO").and_then(|line| {
        let (lat, long) = line.value.trim().split_once(';')?;
        let number = |text: &str| text.trim().parse::<f64>().is_ok_and(f64::is_finite);
        (number(lat) && number(long)).then(|| format!("geo:{},{}", lat.trim(), long.trim()))
    });
    if name.is_none() && geo.is_none() {
        return;
    }
    let id = name.and_then(|line| line.param("JSID")).filter(|id| is_id(id)).unwrap_or(PLACE);
    let mut place = json!({"@type": "Location"});
    if let Some(line) = name {
        place["name"] = json!(values::text(&line.value));
    }
    if let Some(geo) = geo {
        place["coordinates"] = json!(geo);
    }
    object.insert("locations".into(), json!({id: place}));
}

// ---- Alarms ----

/// So many alarms of a component have a meaning; the rest is kept as it came.
const ALARMS_MAX: usize = 64;

/// The alarms of a component that have a meaning, by their ids.
pub(super) fn alarms(component: &Component) -> Vec<(String, &Component, Value)> {
    let mut found: Vec<(String, &Component, Value)> = Vec::new();
    let all = component.components.iter().filter(|it| it.name == "VALARM");
    for alarm in all.take(ALARMS_MAX) {
        let Some(alert) = alert(alarm) else { continue };
        let said = alarm.line("UID").map(|line| line.value.trim()).filter(|id| is_id(id));
        let value = |name: &str| alarm.line(name).map(|line| line.value.trim()).unwrap_or_default();
        let mut id = match said {
            Some(id) => id.to_owned(),
            None => {
                hashed(&format!("{}/{}", value("TRIGGER"), value("ACTION").to_ascii_uppercase()))
            }
        };
        while found.iter().any(|(other, ..)| *other == id) {
            id.push('_');
        }
        found.push((id, alarm, alert));
    }
    found
}

fn alert(alarm: &Component) -> Option<Value> {
    let line = alarm.line("TRIGGER")?;
    let trigger = if let Some((negative, offset)) = values::duration(&line.value) {
        let offset = if negative { format!("-{offset}") } else { offset };
        let mut trigger = json!({"@type": "OffsetTrigger", "offset": offset});
        if line.param("RELATED").is_some_and(|it| it.eq_ignore_ascii_case("END")) {
            trigger["relativeTo"] = json!("end");
        }
        trigger
    } else {
        let when = values::when(&line.value).filter(|it| it.is_utc)?;
        json!({"@type": "AbsoluteTrigger", "when": format!("{}Z", values::local(when.at))})
    };
    let mut alert = json!({"@type": "Alert", "trigger": trigger});
    if alarm.line("ACTION").is_some_and(|it| it.value.trim().eq_ignore_ascii_case("EMAIL")) {
        alert["action"] = json!("email");
    }
    let acknowledged = alarm.line("ACKNOWLEDGED").and_then(|it| values::when(&it.value));
    if let Some(at) = acknowledged.filter(|it| it.is_utc) {
        alert["acknowledged"] = json!(format!("{}Z", values::local(at.at)));
    }
    Some(alert)
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}
