//! From JSCalendar to content lines, in groups: the lines that say one thing together.

use std::collections::BTreeMap;

use jiff::Span;
use jiff::civil::DateTime;
use serde_json::{Value, json};

use super::kept;
use super::lines::Line;
use super::reading::{ANSWERS, KINDS, NUMBERS, OTHERS, PLACE, ROLES, TEXTS, hashed, named};
use super::values::{self, Clock};
use super::zones;
use crate::{Object, RANGE, THIS_AND_FUTURE, Zone};

/// Lines by the component that they stand in (see [`Place`]) and the thing that they say.
pub(super) type Groups = BTreeMap<(String, String), Vec<String>>;

/// Names a component of an event: the occurrence that it describes, and the alarm in it; empty for the whole.
pub(super) fn place(occurrence: &str, alarm: &str) -> String {
    match alarm {
        "" => occurrence.to_owned(),
        alarm => format!("{occurrence}/alerts/{alarm}"),
    }
}

/// The thing that a line says: most often its name. What ends an event is one thing, however it is said.
pub(super) fn group(name: &str) -> &str {
    match name {
        "DURATION" | "DUE" => "DTEND",
        other => other,
    }
}

/// The clock of an event's local times.
pub(super) fn clock(object: &Object) -> Clock {
    let id = object.get("timeZone").and_then(Value::as_str);
    let is_date = object.get("showWithoutTime") == Some(&Value::Bool(true)) && id.is_none();
    let is_utc = matches!(id, Some("Etc/UTC" | "UTC"));
    let zone = match is_utc {
        true => Some(Zone::utc()),
        false => id.and_then(|id| zones::of_event(object, id)),
    };
    Clock { zone, is_utc, is_date }
}

/// The lines of an event, with those of its overrides.
pub(super) fn groups(event: &Object) -> Groups {
    let mut groups = Groups::new();
    let clock = clock(event);
    let mut whole = Writer { groups: &mut groups, place: String::new() };
    whole.component(event, &clock, None);
    whole.recurrence(event, &clock);
    let id = event.get("recurrenceId").and_then(Value::as_str).and_then(values::parse_local);
    if let Some(id) = id {
        whole.time("RECURRENCE-ID", id, &clock, event);
    }
    let overrides = event.get("recurrenceOverrides").and_then(Value::as_object);
    for (id, patch) in overrides.into_iter().flatten() {
        let Some(patch) = patch.as_object().filter(|it| is_component(event, id, it)) else {
            continue;
        };
        let Some(at) = values::parse_local(id) else { continue };
        let occurrence = patched(event, id, patch);
        let own = self::clock(&occurrence);
        let mut part = Writer { groups: &mut groups, place: id.clone() };
        part.component(&occurrence, &own, Some((at, &clock, event)));
    }
    groups
}

/// Whether an occurrence has a component of its own: not if it is gone, or only added, unless it came in one.
fn is_component(event: &Object, id: &str, patch: &Object) -> bool {
    let is_gone = patch.get("excluded") == Some(&Value::Bool(true));
    let is_added = patch.keys().all(|name| name == "duration");
    !is_gone && (!is_added || kept::has_place(event, id))
}

/// An occurrence as its patch has it.
fn patched(event: &Object, id: &str, patch: &Object) -> Object {
    let mut occurrence = event.clone();
    for name in ["recurrenceRules", "excludedRecurrenceRules", "recurrenceOverrides"] {
        occurrence.remove(name);
    }
    occurrence.insert("start".into(), json!(id));
    for (path, value) in patch {
        let mut parts: Vec<String> =
            path.split('/').map(|it| it.replace("~1", "/").replace("~0", "~")).collect();
        let Some(last) = parts.pop() else { continue };
        let mut at = Some(&mut occurrence);
        for part in parts {
            at = at.and_then(|it| it.get_mut(&part)).and_then(Value::as_object_mut);
        }
        if let Some(at) = at {
            match value {
                Value::Null => drop(at.shift_remove(&last)),
                value => drop(at.insert(last, value.clone())),
            }
        }
    }
    occurrence
}

struct Writer<'a> {
    groups: &'a mut Groups,
    place: String,
}

impl Writer<'_> {
    fn line(&mut self, name: &str, params: &[(&str, &str)], value: &str) {
        let line = Line::new(name, params, value);
        let key = (self.place.clone(), group(name).to_owned());
        self.groups.entry(key).or_default().push(line.text);
    }

    /// A line that tells a time on a clock.
    fn time(&mut self, name: &str, at: DateTime, clock: &Clock, object: &Object) {
        self.time_with(None, name, at, clock, object);
    }

    fn time_with(
        &mut self,
        param: Option<(&str, &str)>,
        name: &str,
        at: DateTime,
        clock: &Clock,
        object: &Object,
    ) {
        let id = object.get("timeZone").and_then(Value::as_str);
        let tzid = id.map(|id| zones::tzid(object, id)).unwrap_or_default();
        let clocks = match (clock.is_date, clock.is_utc) {
            (true, _) => Some(("VALUE", "DATE")),
            (false, true) => None,
            (false, false) => Some(("TZID", &*tzid)),
        };
        let params: Vec<_> = param.into_iter().chain(clocks).collect();
        self.line(name, &params, &clock.write(at));
    }

    fn component(
        &mut self,
        object: &Object,
        clock: &Clock,
        of: Option<(DateTime, &Clock, &Object)>,
    ) {
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let is_task = text("@type") == Some("Task");
        self.line("UID", &[], &values::escaped(text("uid").unwrap_or_default()));
        if let Some((at, clock, series)) = of {
            let goes_on = object.get(RANGE).is_some_and(|range| range == THIS_AND_FUTURE);
            let range = goes_on.then_some(("RANGE", "THISANDFUTURE"));
            self.time_with(range, "RECURRENCE-ID", at, clock, series);
        }
        self.times(object, clock, is_task);
        for (name, member) in TEXTS {
            if let Some(text) = text(member) {
                self.line(name, &[], &values::escaped(text));
            }
        }
        for (name, member, _) in NUMBERS {
            if let Some(number) = object.get(member).and_then(Value::as_i64) {
                self.line(name, &[], &number.to_string());
            }
        }
        for (name, member, names) in named(is_task) {
            let value = text(member);
            if let Some((value, _)) = names.iter().find(|(_, it)| value == Some(it)) {
                self.line(name, &[], value);
            }
        }
        if let Some(at) =
            text("progressUpdated").and_then(|at| values::parse_local(at.trim_end_matches('Z')))
        {
            self.line("COMPLETED", &[], &format!("{}Z", values::date_time(at)));
        }
        self.maps(object);
        self.participants(object);
        let alerts = object.get("alerts").and_then(Value::as_object);
        for (id, alert) in alerts.into_iter().flatten() {
            let mut alarm = Writer { groups: &mut *self.groups, place: place(&self.place, id) };
            alarm.alarm(id, alert);
        }
    }

    fn times(&mut self, object: &Object, clock: &Clock, is_task: bool) {
        let local =
            |name: &str| object.get(name).and_then(Value::as_str).and_then(values::parse_local);
        let start = local("start");
        if let Some(start) = start {
            self.time("DTSTART", start, clock, object);
        }
        if let (true, Some(due)) = (is_task, local("due")) {
            self.time("DUE", due, clock, object);
        }
        let duration = object.get("duration").and_then(Value::as_str).filter(|_| !is_task);
        let (Some(start), Some(duration)) = (start, duration) else { return };
        let end = duration.parse::<Span>().ok().and_then(|span| clock.after(start, span));
        // An end says less than a duration: whether days or hours pass.
        let says_the_same = |end: &DateTime| {
            clock.span(start, *end).filter(|it| it.is_positive()).map(values::write_span).as_deref()
                == Some(duration)
                && (!clock.is_date || *end == end.date().to_datetime(start.time()))
        };
        match end.filter(says_the_same) {
            Some(end) => self.time("DTEND", end, clock, object),
            None => self.line("DURATION", &[], duration),
        }
    }

    fn recurrence(&mut self, event: &Object, clock: &Clock) {
        for (name, member) in [("RRULE", "recurrenceRules"), ("EXRULE", "excludedRecurrenceRules")]
        {
            for rule in event.get(member).and_then(Value::as_array).into_iter().flatten() {
                if let Some(text) = rule.as_object().and_then(|it| values::write_rule(it, clock)) {
                    self.line(name, &[], &text);
                }
            }
        }
        let overrides = event.get("recurrenceOverrides").and_then(Value::as_object);
        for (id, patch) in overrides.into_iter().flatten() {
            let (Some(at), Some(patch)) = (values::parse_local(id), patch.as_object()) else {
                continue;
            };
            if patch.get("excluded") == Some(&Value::Bool(true)) {
                self.time("EXDATE", at, clock, event);
            } else if !is_component(event, id, patch) {
                match patch.get("duration").and_then(Value::as_str) {
                    None => self.time("RDATE", at, clock, event),
                    Some(duration) => {
                        let id =
                            event.get("timeZone").and_then(Value::as_str).filter(|_| !clock.is_utc);
                        let tzid = id.map(|id| zones::tzid(event, id)).unwrap_or_default();
                        let period = format!("{}/{duration}", clock.write(at));
                        self.line("RDATE", &[("VALUE", "PERIOD"), ("TZID", &tzid)], &period);
                    }
                }
            }
        }
    }

    fn maps(&mut self, object: &Object) {
        let map = |name: &str| object.get(name).and_then(Value::as_object).into_iter().flatten();
        for (keyword, _) in map("keywords") {
            self.line("CATEGORIES", &[], &values::escaped(keyword));
        }
        for (uid, related) in map("relatedTo") {
            let relations = related.get("relation").and_then(Value::as_object);
            let relation =
                relations.and_then(|it| it.keys().next()).map(|it| it.to_ascii_uppercase());
            let relation = relation.filter(|it| it != "PARENT").unwrap_or_default();
            self.line("RELATED-TO", &[("RELTYPE", &relation)], &values::escaped(uid));
        }
        // One place has a line; more of them are told otherwise.
        for (id, place) in map("locations").take(1) {
            let jsid = if id == PLACE { "" } else { id };
            if let Some(name) = place.get("name").and_then(Value::as_str) {
                self.line("LOCATION", &[("JSID", jsid)], &values::escaped(name));
            }
            let geo = place.get("coordinates").and_then(Value::as_str);
            if let Some(geo) = geo.and_then(|it| it.strip_prefix("geo:")) {
                self.line("GEO", &[], &geo.replacen(',', ";", 1));
            }
        }
        for (id, place) in map("virtualLocations") {
            let text = |name: &str| place.get(name).and_then(Value::as_str).unwrap_or_default();
            let features = place.get("features").and_then(Value::as_object);
            let features: Vec<String> = features
                .into_iter()
                .flat_map(|it| it.keys())
                .map(|it| it.to_ascii_uppercase())
                .collect();
            let jsid = if *id == hashed(text("uri")) { "" } else { id };
            let mut params = vec![("VALUE", "URI")];
            params.extend(features.iter().map(|it| ("FEATURE", it.as_str())));
            params.extend([("LABEL", text("name")), ("JSID", jsid)]);
            self.line("CONFERENCE", &params, text("uri"));
        }
        for (id, link) in map("links") {
            let text = |name: &str| link.get(name).and_then(Value::as_str).unwrap_or_default();
            let href = text("href");
            if id == "url" {
                self.line("URL", &[], href);
                continue;
            }
            let jsid = if *id == hashed(href) { "" } else { id };
            let size = link.get("size").and_then(Value::as_u64).map(|it| it.to_string());
            let inline = href.strip_prefix("data:").and_then(|it| it.split_once(";base64,"));
            let (encoding, kind, value) = match inline {
                Some((kind, data)) => (["BASE64", "BINARY"], kind, data),
                None => (["", ""], text("contentType"), href),
            };
            let params = [
                ("FMTTYPE", kind),
                ("ENCODING", encoding[0]),
                ("VALUE", encoding[1]),
                ("FILENAME", text("title")),
                ("SIZE", size.as_deref().unwrap_or_default()),
                ("JSID", jsid),
            ];
            self.line("ATTACH", &params, value);
        }
    }

    fn participants(&mut self, object: &Object) {
        let Some(all) = object.get("participants").and_then(Value::as_object) else { return };
        let address = |it: &Value| it.get("sendTo")?.get("imip")?.as_str().map(str::to_owned);
        let address_of = |id: &String| all.get(id).and_then(address);
        for (id, it) in all {
            let Some(address) = address(it) else { continue };
            let text = |name: &str| it.get(name).and_then(Value::as_str).unwrap_or_default();
            let role = |name: &str| it.get("roles").and_then(|roles| roles.get(name)).is_some();
            let jsid = if *id == hashed(&address.to_ascii_lowercase()) { "" } else { id };
            let sent_by = address_of(&text("invitedBy").to_owned()).unwrap_or_default();
            let common = [
                ("CN", text("name")),
                ("LANGUAGE", text("language")),
                ("EMAIL", text("email")),
                ("SENT-BY", &*sent_by),
            ];
            if role("owner") {
                self.line("ORGANIZER", &[&common[..], &[("JSID", jsid)]].concat(), &address);
            }
            if !role("attendee") && !role("informational") {
                continue;
            }
            let name_of = |names: &[(&'static str, &str)], value: &str| {
                names.iter().find(|(_, it)| *it == value).map(|(name, _)| *name).unwrap_or_default()
            };
            let chosen = ROLES.iter().find(|(_, it)| role(it)).map(|(name, _)| *name);
            let expects = it.get("expectReply") == Some(&Value::Bool(true));
            let mut params = vec![
                ("CUTYPE", name_of(KINDS, text("kind"))),
                ("ROLE", chosen.unwrap_or_default()),
                ("PARTSTAT", name_of(ANSWERS, text("participationStatus"))),
                ("RSVP", if expects { "TRUE" } else { "" }),
            ];
            let others: Vec<(&str, String)> = OTHERS
                .iter()
                .flat_map(|(param, member)| {
                    let ids = it.get(*member).and_then(Value::as_object);
                    ids.into_iter()
                        .flat_map(|it| it.keys())
                        .filter_map(|id| Some((*param, address_of(id)?)))
                })
                .collect();
            params.extend(others.iter().map(|(param, address)| (*param, address.as_str())));
            params.extend(common);
            params.push(("JSID", jsid));
            self.line("ATTENDEE", &params, &address);
        }
    }

    fn alarm(&mut self, id: &str, alert: &Value) {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let trigger = alert.get("trigger");
        let member = |name: &str| text(trigger.and_then(|it| it.get(name)));
        let utc = |text: &str| {
            let at = values::parse_local(text.trim_end_matches('Z'))?;
            Some(format!("{}Z", values::date_time(at)))
        };
        let action =
            if text(alert.get("action")).as_deref() == Some("email") { "EMAIL" } else { "DISPLAY" };
        self.line("ACTION", &[], action);
        if let Some(offset) = member("offset") {
            let related = if member("relativeTo").as_deref() == Some("end") { "END" } else { "" };
            self.line("TRIGGER", &[("RELATED", related)], &offset);
        } else if let Some(when) = member("when").and_then(|it| utc(&it)) {
            self.line("TRIGGER", &[("VALUE", "DATE-TIME")], &when);
        }
        if let Some(at) = text(alert.get("acknowledged")).and_then(|it| utc(&it)) {
            self.line("ACKNOWLEDGED", &[], &at);
        }
        // What a program shows that doesn't know the event.
        self.line("DESCRIPTION", &[], "Reminder");
        // RFC 9074.
        self.line("UID", &[], id);
    }
}
