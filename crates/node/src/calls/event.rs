//! `fasti event`

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use fasti_core::command::Object;
use fasti_doors::path_segment;
use jiff::ToSpan as _;
use jiff::civil::DateTime;
use serde_json::{Value, json};

use crate::cli::{AddArgs, Assignment, EditArgs, EventCall};
use crate::client::Client;
use crate::print::{
    Cell, GREEN, PLAIN, RED, YELLOW, card, cell, plain, pretty, styled, table, written,
};

/// The most that the node gives at a time.
const PAGE: usize = 1000;

pub(crate) fn call(client: &Client, call: EventCall, json: bool) -> anyhow::Result<String> {
    match call {
        EventCall::Add(args) => {
            let event = match &args.json_event {
                Some(file) => read_event(file)?,
                None => new_event(args),
            };
            Ok(written(&client.post("/v1/events", &event)?, json))
        }
        EventCall::Show { uid } => {
            let (event, etag) = client.ask("GET", &path(&uid), None, None)?;
            Ok(shown(&uid, &event, &etag, json))
        }
        EventCall::List { from, to } => list(client, from, to, json),
        EventCall::Edit(EditArgs { uid, assignments, merge, if_match }) => {
            let patch = match merge {
                Some(patch) => patch,
                None => merge_patch(assignments)?,
            };
            let patch = Value::Object(patch);
            let (answer, _) =
                client.ask("PATCH", &path(&uid), if_match.as_deref(), Some(&patch))?;
            Ok(written(&answer, json))
        }
        EventCall::Cancel { uid, if_match } => {
            let (event, etag) = client.ask("DELETE", &path(&uid), if_match.as_deref(), None)?;
            Ok(shown(&uid, &event, &etag, json))
        }
    }
}

/// All that the node has in a span of time, page by page.
pub(crate) fn all(
    client: &Client,
    from: Option<String>,
    to: Option<String>,
) -> anyhow::Result<Vec<Value>> {
    let mut events: Vec<Value> = Vec::new();
    let mut after = None;
    loop {
        let mut query = format!("/v1/events?limit={PAGE}");
        for (name, value) in [("from", &from), ("to", &to), ("after", &after)] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", path_segment(value)));
            }
        }
        let mut page = client.get(&query)?;
        if let Value::Array(some) = page["events"].take() {
            events.extend(some);
        }
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            return Ok(events);
        }
    }
}

/// The occurrences of all events in a span of time that has two ends: as events, which each of them is.
fn occurrences(client: &Client, from: &str, to: &str) -> anyhow::Result<Vec<Value>> {
    let (from, to) = (path_segment(from), path_segment(to));
    let mut answer =
        client.get(&format!("/v1/events?expand=true&limit=10000&from={from}&to={to}"))?;
    anyhow::ensure!(answer["more"] != true, "more than 10,000 occurrences: ask for fewer days");
    match answer["occurrences"].take() {
        Value::Array(all) => Ok(all),
        _ => Ok(Vec::new()),
    }
}

fn list(
    client: &Client,
    from: Option<String>,
    to: Option<String>,
    json: bool,
) -> anyhow::Result<String> {
    let mut events = match (from, to) {
        (Some(from), Some(to)) => occurrences(client, &from, &to)?,
        (from, to) => all(client, from, to)?,
    };
    events.sort_by(|a, b| a["event"]["start"].as_str().cmp(&b["event"]["start"].as_str()));
    if json {
        return Ok(pretty(&json!({ "events": events })));
    }
    if events.is_empty() {
        return Ok("no events\n".into());
    }
    let row = |view: &Value| {
        let event = &view["event"];
        let title = cell(event["title"].as_str().unwrap_or_default());
        [cell(start(event)), title, status(event), cell(plain(&view["uid"]))]
    };
    Ok(table(["DATE", "TITLE", "STATUS", "UID"], events.iter().map(row).collect()))
}

fn shown(uid: &str, event: &Value, etag: &str, json: bool) -> String {
    if json {
        return pretty(&json!({ "uid": uid, "etag": etag, "event": event }));
    }
    let mut facts = vec![("when", cell(when(event))), ("status", status(event))];
    if let Some(calendar) = event["fasti:calendar"].as_str() {
        facts.push(("calendar", cell(calendar)));
    }
    let told = [
        "@type",
        "uid",
        "title",
        "start",
        "duration",
        "timeZone",
        "showWithoutTime",
        "status",
        "fasti:calendar",
        // What a calendar program keeps there, line by line.
        "fasti:icalendar",
    ];
    let rest = event.as_object().into_iter().flatten();
    for (name, value) in rest.filter(|(name, _)| !told.contains(&name.as_str())) {
        facts.push((name.as_str(), cell(plain(value))));
    }
    facts.push(("uid", cell(uid)));
    facts.push(("etag", cell(etag)));
    card(event["title"].as_str().unwrap_or("(no title)"), facts)
}

/// From the first day to the last, or from when for how long and where.
fn when(event: &Value) -> String {
    let duration = event["duration"].as_str();
    if event["showWithoutTime"] == json!(true) {
        return match last_day(event) {
            Some(last) if last != start(event) => format!("{} to {last}", start(event)),
            _ => start(event),
        };
    }
    let duration = duration.map(|duration| format!(" for {duration}")).unwrap_or_default();
    let zone = event["timeZone"].as_str().unwrap_or("local time wherever one is");
    format!("{}{duration} ({zone})", start(event))
}

fn last_day(event: &Value) -> Option<String> {
    let start: DateTime = event["start"].as_str()?.parse().ok()?;
    let duration: jiff::Span = event["duration"].as_str()?.parse().ok()?;
    let last = start.checked_add(duration).ok()?.checked_sub(1.second()).ok()?;
    Some(last.date().to_string())
}

/// The day, and the time of day if it matters.
fn start(event: &Value) -> String {
    let start = event["start"].as_str().unwrap_or("?");
    match start.split_once('T') {
        Some((day, _)) if event["showWithoutTime"] == json!(true) => day.into(),
        Some((day, time)) => format!("{day} {}", time.strip_suffix(":00").unwrap_or(time)),
        None => start.into(),
    }
}

fn status(event: &Value) -> Cell {
    match event["status"].as_str() {
        Some("cancelled") => styled("cancelled", RED),
        Some("tentative") => styled("tentative", YELLOW),
        // RFC 8984, section 5.1.3: confirmed is the default.
        None | Some("confirmed") => styled("confirmed", GREEN),
        Some(other) => styled(other, PLAIN),
    }
}

fn new_event(args: AddArgs) -> Value {
    let mut event = json!({ "@type": "Event", "title": args.title });
    let mut duration = args.duration;
    let start = args.start.unwrap_or_default();
    if start.len() == 10 {
        event["start"] = json!(format!("{start}T00:00:00"));
        event["showWithoutTime"] = json!(true);
        duration = duration.or_else(|| Some("P1D".into()));
    } else {
        event["start"] = json!(start);
    }
    let named =
        [("duration", duration), ("timeZone", args.time_zone), ("fasti:calendar", args.calendar)];
    for (field, value) in named {
        if let Some(value) = value {
            event[field] = json!(value);
        }
    }
    event
}

fn read_event(file: &Path) -> anyhow::Result<Value> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.with_context(|| format!("{} can't be read", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}

/// Paths and values as one JSON Merge Patch.
fn merge_patch(assignments: Vec<Assignment>) -> Result<Object, clap::Error> {
    let mut patch = Object::new();
    for Assignment { path, value } in assignments {
        let mut object = &mut patch;
        let Some((field, parents)) = path.split_last() else { continue };
        for key in parents {
            let slot = object.entry(key).or_insert_with(|| json!({}));
            object = slot.as_object_mut().ok_or_else(|| set_twice(&path))?;
        }
        if object.insert(field.clone(), value).is_some() {
            return Err(set_twice(&path));
        }
    }
    Ok(patch)
}

fn set_twice(path: &[String]) -> clap::Error {
    let message = format!("{} is set twice, or along with what contains it\n", path.join("/"));
    clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, message)
}

pub(crate) fn path(uid: &str) -> String {
    format!("/v1/events/{}", path_segment(uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_one_patch() {
        let set = |path: &str, value: Value| Assignment {
            path: path.split('/').map(str::to_owned).collect(),
            value,
        };
        let patch = merge_patch(vec![
            set("title", json!("A")),
            set("locations/1/name", json!("Room 2")),
            set("locations/2", Value::Null),
        ]);
        let expected =
            json!({ "title": "A", "locations": { "1": { "name": "Room 2" }, "2": null } });
        assert_eq!(Value::Object(patch.unwrap()), expected);
        for [first, second] in [["a", "a"], ["a", "a/b"], ["a/b", "a"]] {
            let twice = vec![set(first, json!(1)), set(second, json!(2))];
            assert_eq!(merge_patch(twice).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn times_are_told_as_people_say_them() {
        let days = |duration| json!({ "start": "2024-04-01T00:00:00", "duration": duration, "showWithoutTime": true });
        assert_eq!(when(&days("P1D")), "2024-04-01");
        assert_eq!(when(&days("P30D")), "2024-04-01 to 2024-04-30");
        let mut call = json!({ "start": "2024-04-01T09:00:00", "duration": "PT1H", "timeZone": "America/Denver" });
        assert_eq!(when(&call), "2024-04-01 09:00 for PT1H (America/Denver)");
        call["timeZone"] = Value::Null;
        assert_eq!(when(&call), "2024-04-01 09:00 for PT1H (local time wherever one is)");
        assert_eq!(when(&json!({})), "? (local time wherever one is)");
    }
}
