//! `fasti agenda`

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use fasti_doors::path_segment;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use crate::cli::AgendaArgs;
use crate::client::Client;
use crate::print::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW, clean, pretty};

/// Where the output is no terminal.
const WIDTH: usize = 100;
/// Times are told on days up to this one after the first.
const DAYS: i64 = 6;
/// The most that the node gives at a time.
const LIMIT: usize = 10_000;

pub(crate) fn agenda(client: &Client, args: &AgendaArgs, json: bool) -> anyhow::Result<String> {
    let zone = zone_name(args.zone.as_deref());
    let here = TimeZone::get(&zone).unwrap_or(TimeZone::UTC);
    let today = here.to_datetime(Timestamp::now()).date();
    let from = args.from.clone().unwrap_or_else(|| today.to_string());
    let first = from.get(..10).and_then(|day| day.parse::<Date>().ok()).unwrap_or(today);
    let to = match &args.to {
        Some(to) => to.clone(),
        None => first.checked_add(DAYS.days())?.to_string(),
    };
    let mut query = format!("/v1/events?expand=true&limit={LIMIT}");
    for (name, value) in [("from", &from), ("to", &to), ("zone", &zone)] {
        let _ = write!(query, "&{name}={}", path_segment(value));
    }
    let mut answer = client.get(&query)?;
    let all = answer["occurrences"].take();
    let is_wanted = |it: &&Value| {
        let calendar = it["event"]["fasti:calendar"].as_str();
        args.calendar.is_none() || calendar == args.calendar.as_deref()
    };
    let all: Vec<&Value> =
        all.as_array().map_or(&[][..], Vec::as_slice).iter().filter(is_wanted).collect();
    if json {
        let facts = json!({ "zone": zone, "from": from, "to": to, "occurrences": all, "more": answer["more"] });
        return Ok(pretty(&facts));
    }
    let marks = Marks::of(client)?;
    let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0));
    let mut out = days(&all, first, &marks, width);
    if out.is_empty() {
        let _ = writeln!(out, "nothing from {from} to {to}");
    }
    if answer["more"] == true {
        let _ = writeln!(out, "and more: ask for fewer days");
    }
    let _ = writeln!(out, "{DIM}times in {}{DIM:#}", clean(&zone));
    Ok(out)
}

/// The zone that was named, or this machine's.
pub(crate) fn zone_name(named: Option<&str>) -> String {
    match named {
        Some(zone) => zone.to_owned(),
        None => TimeZone::system().iana_name().unwrap_or("UTC").to_owned(),
    }
}

/// What is to be seen of events besides when they are.
struct Marks {
    conflicts: BTreeSet<String>,
    changed: BTreeSet<String>,
    approved: BTreeSet<String>,
}

impl Marks {
    fn of(client: &Client) -> anyhow::Result<Self> {
        let uids = |all: &Value, wanted: fn(&Value) -> bool| {
            let all = all.as_array().map_or(&[][..], Vec::as_slice).iter();
            all.filter(|it| wanted(it))
                .filter_map(|it| Some(it["uid"].as_str()?.to_owned()))
                .collect()
        };
        let policies = client.get("/v1/policies")?["policies"].take();
        Ok(Self {
            // Of a policy that was edited since it was approved just that is said.
            conflicts: uids(&client.get("/v1/conflicts")?["conflicts"], |it| {
                it["kind"] != "approval"
            }),
            changed: uids(&policies, |it| it["changed"] == true),
            approved: uids(&policies, |it| it["state"] == "approved"),
        })
    }
}

/// Occurrences under the days on which they begin; what began before, under the first.
fn days(all: &[&Value], first: Date, marks: &Marks, width: usize) -> String {
    let mut by_day: BTreeMap<Date, Vec<(bool, &Value)>> = BTreeMap::new();
    for it in all {
        let start = local(&it["start"]).map_or(first, |at| at.date());
        let is_of_days = it["event"]["showWithoutTime"] == true;
        by_day.entry(start.max(first)).or_default().push((!is_of_days, it));
    }
    let mut out = String::new();
    for (day, mut all) in by_day {
        // Whole days first; the rest is in its order already.
        all.sort_by_key(|(has_time, _)| *has_time);
        let _ = writeln!(out, "{BOLD}{}{BOLD:#}", day.strftime("%A, %-d %B %Y"));
        for (_, it) in all {
            out.push_str(&line(it, day, marks, width));
        }
        out.push('\n');
    }
    out
}

fn line(it: &Value, day: Date, marks: &Marks, width: usize) -> String {
    let event = &it["event"];
    let uid = it["uid"].as_str().unwrap_or_default();
    let when = when(it, day);
    let text = |name: &str| clean(event[name].as_str().unwrap_or_default()).replace('\n', " ");
    let mut notes = Vec::new();
    match event["status"].as_str() {
        Some("cancelled") => notes.push(("cancelled", RED)),
        Some("tentative") => notes.push(("tentative", YELLOW)),
        _ => {}
    }
    if event["@type"] == "Task" {
        notes.push((if event["progress"] == "completed" { "done" } else { "to do" }, PLAIN));
    }
    match (marks.changed.contains(uid), marks.approved.contains(uid)) {
        (true, _) => notes.push(("changed since approval", YELLOW)),
        (false, true) => notes.push(("approved", GREEN)),
        (false, false) => {}
    }
    if marks.conflicts.contains(uid) {
        notes.push(("conflict", RED));
    }
    let length: usize = notes.iter().map(|(note, _)| note.chars().count() + 2).sum();
    // A terminal too narrow for notes beside the title has them below it.
    let room = width.saturating_sub(17 + length);
    let below = room < 12 && length > 0;
    let title = shortened(&text("title"), if below { width.saturating_sub(17) } else { room });
    let mut out = format!("  {when:<13}  {title}");
    let place = event["locations"].as_object().and_then(|it| it.values().next());
    let place = place.and_then(|it| it["name"].as_str()).map(clean).unwrap_or_default();
    let used = 17 + title.chars().count() + length;
    if !place.is_empty() && used + place.chars().count() + 2 <= width {
        let _ = write!(out, "  {DIM}{place}{DIM:#}");
    }
    if below {
        let _ = write!(out, "\n               ");
    }
    for (note, style) in notes {
        let _ = write!(out, "  {style}{note}{style:#}");
    }
    out.push('\n');
    out
}

/// From when to when, as far as it is on this day.
fn when(it: &Value, day: Date) -> String {
    let (Some(start), Some(end)) = (local(&it["start"]), local(&it["end"])) else {
        return String::new();
    };
    let midnight = day.to_datetime(jiff::civil::Time::midnight());
    if it["event"]["showWithoutTime"] == true {
        let last = end.checked_sub(1.second()).map_or(day, |at| at.date());
        return match last > day {
            true => format!("until {}", last.strftime("%-d %b")),
            false => "all day".into(),
        };
    }
    let from = if start < midnight { "...".into() } else { start.strftime("%H:%M").to_string() };
    match (start == end, end.date() == day) {
        (true, _) => from,
        (false, true) => format!("{from} - {}", end.strftime("%H:%M")),
        (false, false) => format!("{from} - ..."),
    }
}

fn shortened(text: &str, room: usize) -> String {
    match text.chars().count() > room {
        true => text.chars().take(room.saturating_sub(3)).chain("...".chars()).collect(),
        false => text.to_owned(),
    }
}

fn local(value: &Value) -> Option<DateTime> {
    value.as_str()?.parse().ok()
}
