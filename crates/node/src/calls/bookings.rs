//! `fasti resource`, `book`, `bookings` and `free`

use std::fmt::Write as _;

use anyhow::{Context as _, anyhow};
use fasti_doors::path_segment;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value, json};

use super::agenda::zone_name;
use super::members;
use crate::cli::{BookArgs, BookingsArgs, FreeArgs, ResourceCall, TermsArgs};
use crate::client::Client;
use crate::print::{
    BOLD, Cell, DIM, GREEN, PLAIN, RED, YELLOW, cell, clean, plain, pretty, styled, table,
};

pub(crate) fn resource(client: &Client, call: ResourceCall, json: bool) -> anyhow::Result<String> {
    match call {
        ResourceCall::Add { name, terms, stakeholders } => {
            let mut body = wanted(&terms);
            body.insert("name".into(), json!(name));
            let ids: Vec<String> = match stakeholders.is_empty() {
                true => Vec::new(),
                false => offices(client, &stakeholders)?,
            };
            body.insert("stakeholders".into(), json!(ids));
            let answer = client.post("/v1/resources", &Value::Object(body))?;
            Ok(if json { pretty(&answer) } else { resources(&[answer]) })
        }
        ResourceCall::List => {
            let answer = client.get("/v1/resources")?;
            if json {
                return Ok(pretty(&answer));
            }
            let all = list_of(&answer, "resources");
            Ok(match all.is_empty() {
                true => "nothing to book; add something: fasti resource add NAME\n".into(),
                false => resources(all),
            })
        }
        ResourceCall::Edit { resource, name, terms, add, dismiss } => {
            let mut body = wanted(&terms);
            for (field, office) in [("add", add), ("dismiss", dismiss)] {
                if let Some(office) = office {
                    body.insert(field.into(), json!(offices(client, &[office])?[0]));
                }
            }
            if let Some(name) = name {
                body.insert("name".into(), json!(name));
            }
            let path = format!("/v1/resources/{}", path_segment(&resource));
            let (answer, _) = client.ask("PATCH", &path, None, Some(&Value::Object(body)))?;
            Ok(if json { pretty(&answer) } else { resources(&[answer]) })
        }
        ResourceCall::Accept { resource, proposal } => {
            let path = format!("/v1/resources/{}/accept", path_segment(&resource));
            let answer = client.post(&path, &json!({ "proposal": proposal }))?;
            Ok(if json { pretty(&answer) } else { resources(&[answer]) })
        }
    }
}

fn wanted(terms: &TermsArgs) -> Map<String, Value> {
    let named = [
        ("kind", terms.kind.as_ref().map(|it| json!(it))),
        ("capacity", terms.capacity.map(|it| json!(it))),
        ("before_s", terms.buffer.map(|it| json!(it))),
        ("after_s", terms.buffer.map(|it| json!(it))),
    ];
    named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The ids of offices that people name.
fn offices(client: &Client, names: &[String]) -> anyhow::Result<Vec<String>> {
    let members = client.get("/v1/members")?;
    names.iter().map(|name| Ok(members::find(&members["members"], name)?.0)).collect()
}

fn list_of<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[][..], Vec::as_slice)
}

fn resources(all: &[Value]) -> String {
    let row = |it: &Value| {
        let names = |list: &str| {
            let all = list_of(it, list).iter().map(|it| plain(&it["name"]));
            all.collect::<Vec<_>>().join(", ")
        };
        let buffer = it["terms"]["before"]
            .as_u64()
            .unwrap_or(0)
            .max(it["terms"]["after"].as_u64().unwrap_or(0));
        let proposed = list_of(it, "proposals").len();
        [
            cell(plain(&it["name"])),
            cell(plain(&it["kind"])),
            cell(it["terms"]["capacity"].to_string()),
            cell(if buffer == 0 { String::new() } else { format!("{} min", buffer.div_ceil(60)) }),
            cell(names("stakeholders")),
            match proposed {
                0 => cell(""),
                _ => styled("a change is proposed", YELLOW),
            },
            cell(plain(&it["id"])),
        ]
    };
    let names = ["NAME", "KIND", "CAPACITY", "BUFFER", "STAKEHOLDERS", "", "ID"];
    table(names, all.iter().map(row).collect())
}

pub(crate) fn book(client: &Client, args: BookArgs, json: bool) -> anyhow::Result<String> {
    let zone = zone_name(args.time_zone.as_deref());
    let mut body = json!({ "resource": args.resource, "zone": zone });
    match (args.event, args.start) {
        (Some(uid), _) => body["uid"] = json!(uid),
        (None, Some(start)) => {
            let start = if start.len() == 10 { format!("{start}T00:00:00") } else { start };
            body["event"] = json!({ "@type": "Event", "title": args.title, "start": start, "timeZone": zone,
                "duration": args.duration });
        }
        (None, None) => {}
    }
    let answer = client.post("/v1/bookings", &body)?;
    Ok(if json { pretty(&answer) } else { bookings(list_of(&answer, "bookings"), &zone) })
}

pub(crate) fn list(client: &Client, args: &BookingsArgs, json: bool) -> anyhow::Result<String> {
    let mut path = String::from("/v1/bookings?limit=1000");
    for (name, value) in [("resource", &args.resource), ("state", &args.state)] {
        if let Some(value) = value {
            let _ = write!(path, "&{name}={}", path_segment(value));
        }
    }
    let answer = client.get(&path)?;
    if json {
        return Ok(pretty(&answer));
    }
    let all = list_of(&answer, "bookings");
    let mut out = match all.is_empty() {
        true => "no bookings\n".into(),
        false => bookings(all, &zone_name(args.zone.as_deref())),
    };
    if answer["more"] == true {
        out.push_str("and more: name a resource, or a state\n");
    }
    Ok(out)
}

/// Bookings, and what is to be known of those that don't hold.
fn bookings(all: &[Value], zone: &str) -> String {
    let here = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let row = |it: &Value| {
        [
            cell(plain(&it["resource_name"])),
            cell(span(it, &here)),
            cell(plain(&it["title"])),
            cell(plain(&it["name"])),
            state(it),
        ]
    };
    let mut out =
        table(["RESOURCE", "WHEN", "TITLE", "OFFICE", "STATE"], all.iter().map(row).collect());
    for it in all.iter().filter(|it| it["state"] == "displaced") {
        let _ = writeln!(
            out,
            "\n{BOLD}{}{BOLD:#} ({}): {}",
            clean(&plain(&it["title"])),
            span(it, &here),
            clean(&plain(&it["reason"]))
        );
        for winner in list_of(it, "displaced_by") {
            let _ = writeln!(
                out,
                "  held by {} from {}",
                clean(&plain(&winner["name"])),
                span(winner, &here)
            );
        }
        for free in list_of(it, "next_free") {
            let _ = writeln!(out, "  {GREEN}free{GREEN:#} {}", span(free, &here));
        }
    }
    let _ = writeln!(out, "{DIM}times in {}{DIM:#}", clean(zone));
    out
}

fn state(it: &Value) -> Cell {
    match it["state"].as_str() {
        Some("settled") => styled("settled", GREEN),
        Some("displaced") => styled("displaced", RED),
        Some("tentative") => {
            let waits = list_of(it, "waits_for").len();
            let why = match (it["granted"] == true, waits) {
                (false, _) => "tentative, asked for".into(),
                (true, 0) => "tentative".into(),
                (true, count) => format!("tentative, waits for {count}"),
            };
            styled(why, YELLOW)
        }
        other => styled(other.unwrap_or_default(), PLAIN),
    }
}

/// From when to when, in a zone.
fn span(it: &Value, zone: &TimeZone) -> String {
    let local = |name: &str| {
        let at: Timestamp = it[name].as_str()?.parse().ok()?;
        Some(zone.to_datetime(at))
    };
    let (Some(start), Some(end)) = (local("start"), local("end")) else { return "?".into() };
    let start_text = start.strftime("%Y-%m-%d %H:%M");
    match start.date() == end.date() {
        true => format!("{start_text} - {}", end.strftime("%H:%M")),
        false => format!("{start_text} - {}", end.strftime("%Y-%m-%d %H:%M")),
    }
}

pub(crate) fn free(client: &Client, args: &FreeArgs, json: bool) -> anyhow::Result<String> {
    let name = zone_name(args.zone.as_deref());
    let zone = TimeZone::get(&name)
        .with_context(|| format!("{name:?} is no IANA time zone, such as America/Denver"))?;
    let today = zone.to_datetime(Timestamp::now()).date().to_string();
    let from = args.from.as_ref().unwrap_or(&today);
    let to = args.to.as_ref().unwrap_or(from);
    let moment = |text: &str, is_end: bool| {
        let at: DateTime = match text.len() {
            10 => {
                let day: jiff::civil::Date = text.parse()?;
                let day = if is_end { day.checked_add(1.day())? } else { day };
                day.to_datetime(Time::midnight())
            }
            _ => text.parse()?,
        };
        Ok::<_, anyhow::Error>(zone.to_timestamp(at)?.to_string())
    };
    let (from, to) = (moment(from, false)?, moment(to, true)?);
    let path = format!(
        "/v1/resources/{}/free?from={}&to={}",
        path_segment(&args.resource),
        path_segment(&from),
        path_segment(&to)
    );
    let answer = client.get(&path)?;
    if json {
        return Ok(pretty(&answer));
    }
    let all = list_of(&answer, "free");
    if all.is_empty() {
        return Err(anyhow!("it is booked all that time; ask for more days with --to"));
    }
    let mut out = String::new();
    for it in all {
        let _ = writeln!(out, "{}", span(it, &zone));
    }
    let _ = writeln!(out, "{DIM}times in {}{DIM:#}", clean(&name));
    Ok(out)
}
