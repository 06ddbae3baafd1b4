//! `fasti subscribe`, `subscriptions`, `deliveries` and `replay`

use std::fmt::Write as _;

use anyhow::{Context as _, anyhow};
use fasti_doors::path_segment;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::members;
use crate::cli::{
    DeliveriesArgs, FilterArgs, ReplayArgs, Secret, Status, SubscribeArgs, SubscriptionsCall,
};
use crate::client::Client;
use crate::print::{
    BOLD, Cell, DIM, GREEN, PLAIN, RED, YELLOW, ago, card, cell, clean, plain, pretty, styled,
    table, time,
};

pub(crate) fn subscribe(
    client: &Client,
    args: SubscribeArgs,
    json: bool,
) -> anyhow::Result<String> {
    let mut body = wanted(client, &args.filter)?;
    body.insert("name".into(), json!(args.name));
    body.insert("callback_url".into(), json!(args.url));
    body.insert("approved".into(), json!(args.approved));
    body.insert("start".into(), json!(args.from));
    if let Some(Secret(secret)) = args.secret {
        let secret = if secret == "-" { crate::read_line()?.trim().to_owned() } else { secret };
        body.insert("secret".into(), json!(secret));
    }
    let answer = client.post("/v1/subscriptions", &Value::Object(body))?;
    Ok(if json { pretty(&answer) } else { with_secret(&answer) })
}

/// What filters and options come to in a request.
fn wanted(client: &Client, args: &FilterArgs) -> anyhow::Result<Map<String, Value>> {
    let mut body = Map::new();
    for (name, values) in [("types", &args.types), ("calendars", &args.calendars)] {
        if let Some(values) = values {
            body.insert(name.into(), json!(values));
        }
    }
    if let Some(offices) = &args.offices {
        let all = client.get("/v1/members")?;
        let ids = offices.iter().map(|name| Ok(members::find(&all["members"], name)?.0));
        body.insert("offices".into(), json!(ids.collect::<anyhow::Result<Vec<_>>>()?));
    }
    let mut options = args.options().map_err(|error| anyhow!(error))?;
    if let Some(file) = &args.ca {
        let pem = std::fs::read_to_string(file);
        options["ca"] = json!(pem.with_context(|| format!("{} can't be read", file.display()))?);
    }
    if options != json!({}) {
        body.insert("options".into(), options);
    }
    Ok(body)
}

fn with_secret(answer: &Value) -> String {
    let [name, secret, url] = ["name", "secret", "url"].map(|it| plain(&answer[it]));
    let mut out = format!("{} is delivered to {}\n", clean(&name), clean(&url));
    // Others have a log-in of their own, and check no signatures.
    if url.starts_with("http") {
        let _ = writeln!(out, "secret, which is not shown again:\n{secret}");
    }
    out
}

pub(crate) fn call(
    client: &Client,
    call: Option<SubscriptionsCall>,
    json: bool,
) -> anyhow::Result<String> {
    let path = |name: &str| format!("/v1/subscriptions/{}", path_segment(name));
    let edited = |name: &str, body: Map<String, Value>| {
        let (answer, _) = client.ask("PATCH", &path(name), None, Some(&Value::Object(body)))?;
        anyhow::Ok(if json { pretty(&answer) } else { shown(&answer) })
    };
    match call {
        None => list(client, json),
        Some(SubscriptionsCall::Show { name }) => {
            let answer = client.get(&path(&name))?;
            Ok(if json { pretty(&answer) } else { shown(&answer) })
        }
        Some(SubscriptionsCall::Edit { name, new_name, url, filter, approved }) => {
            let mut body = wanted(client, &filter)?;
            let others = [
                ("name", new_name.map(|it| json!(it))),
                ("callback_url", url.map(|it| json!(it))),
                ("approved", approved.map(|it| json!(it))),
            ];
            let others = others.into_iter().filter_map(|(field, it)| Some((field.into(), it?)));
            body.extend(others);
            edited(&name, body)
        }
        Some(SubscriptionsCall::Pause { name }) => {
            edited(&name, Map::from_iter([("paused".into(), json!(true))]))
        }
        Some(SubscriptionsCall::Resume { name }) => {
            edited(&name, Map::from_iter([("paused".into(), json!(false))]))
        }
        Some(SubscriptionsCall::Remove { name }) => {
            client.ask("DELETE", &path(&name), None, None)?;
            let text = format!("nothing is delivered to {} any more\n", clean(&name));
            Ok(if json { pretty(&json!({ "name": name })) } else { text })
        }
        Some(SubscriptionsCall::Test { name }) => {
            let answer = client.post(&format!("{}/test", path(&name)), &json!({}))?;
            if answer["delivered"] != json!(true) {
                return Err(anyhow!("not delivered: {}", plain(&answer["problem"])));
            }
            let text = format!("delivered; it answered {}\n", clean(&plain(&answer["answer"])));
            Ok(if json { pretty(&answer) } else { text })
        }
        Some(SubscriptionsCall::Rotate { name }) => {
            let answer = client.post(&format!("{}/rotate", path(&name)), &json!({}))?;
            let until = answer["old_secret_until"].as_i64().map(time).unwrap_or_default();
            let text = format!("the old secret is good until {until}\n{}", with_secret(&answer));
            Ok(if json { pretty(&answer) } else { text })
        }
    }
}

fn list(client: &Client, json: bool) -> anyhow::Result<String> {
    let answer = client.get("/v1/subscriptions")?;
    if json {
        return Ok(pretty(&answer));
    }
    let all = all(&answer["subscriptions"]);
    if all.is_empty() {
        return Ok("nothing is delivered; begin with: fasti subscribe NAME URL\n".into());
    }
    let row = |it: &Value| {
        let problem = it["problem"].as_str().unwrap_or_default();
        [
            cell(plain(&it["name"])),
            state(it),
            cell(plain(&it["pending"])),
            dead(it),
            cell(since(&it["unconfirmed_since"])),
            cell(plain(&it["url"])),
            styled(problem, YELLOW),
        ]
    };
    let names = ["NAME", "STATE", "PENDING", "DEAD", "UNCONFIRMED", "URL", ""];
    Ok(table(names, all.iter().map(row).collect()))
}

fn all(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn state(subscription: &Value) -> Cell {
    let state = plain(&subscription["state"]);
    let style = match state.as_str() {
        "active" => GREEN,
        "failing" | "gone" => RED,
        _ => YELLOW,
    };
    styled(state, style)
}

fn dead(subscription: &Value) -> Cell {
    match subscription["dead"].as_u64() {
        Some(0) | None => cell("0"),
        Some(dead) => styled(dead.to_string(), RED),
    }
}

/// How long ago; nothing if never.
fn since(milliseconds: &Value) -> String {
    milliseconds.as_i64().map(|it| ago(it, Timestamp::now())).unwrap_or_default()
}

fn shown(it: &Value) -> String {
    let listed = |name: &str| {
        let values: Vec<String> = all(&it[name]).iter().map(plain).collect();
        cell(if values.is_empty() { "all".into() } else { values.join(", ") })
    };
    let approved = it["approved"] == json!(true);
    let mut facts = vec![
        ("state", state(it)),
        ("url", cell(plain(&it["url"]))),
        ("types", listed("types")),
        ("calendars", listed("calendars")),
        ("offices", listed("offices")),
        ("policies", cell(if approved { "only as they were approved" } else { "as they stand" })),
        ("pending", cell(plain(&it["pending"]))),
        ("dead", dead(it)),
        ("confirmed", cell(format!("{} since the node started", plain(&it["confirmed"])))),
        ("failed", cell(format!("{} attempts since the node started", plain(&it["failed"])))),
        ("options", cell(it["options"].to_string())),
        ("id", cell(plain(&it["id"]))),
    ];
    if it["backlog"] == json!(true) {
        facts.push(("backlog", cell("what was there before is still being looked at")));
    }
    if let Some(problem) = it["problem"].as_str() {
        facts.push(("problem", styled(problem, YELLOW)));
    }
    card(&plain(&it["name"]), facts)
}

pub(crate) fn deliveries(
    client: &Client,
    args: &DeliveriesArgs,
    json: bool,
) -> anyhow::Result<String> {
    if let Some(office) = &args.office {
        return of_office(client, office, json);
    }
    if let (true, Some(system), Some(event)) = (args.body, &args.system, &args.event) {
        let (system, event) = (path_segment(system), path_segment(event));
        let answer = client.get(&format!("/v1/deliveries/{system}/{event}"))?;
        return Ok(if json { pretty(&answer) } else { body(&answer) });
    }
    let mut query = format!("?limit={}", args.limit);
    let status = args.status.map(|it| match it {
        Status::Pending => "pending",
        Status::Confirmed => "confirmed",
        Status::Dead => "dead",
    });
    let wanted =
        [("system", args.system.as_deref()), ("uid", args.event.as_deref()), ("status", status)];
    for (name, value) in wanted.into_iter().filter_map(|(name, it)| Some((name, it?))) {
        let _ = write!(query, "&{name}={}", path_segment(value));
    }
    let answer = client.get(&format!("/v1/deliveries{query}"))?;
    if json {
        return Ok(pretty(&answer));
    }
    let deliveries = all(&answer["deliveries"]);
    if deliveries.is_empty() && args.status.is_none() && args.event.is_none() {
        return Ok("all is confirmed; --status confirmed shows it\n".into());
    }
    let mut out = table(
        ["SYSTEM", "EVENT", "TYPE", "STATUS", "STATE", "ATTEMPTS", "WHEN", ""],
        deliveries.iter().map(row).collect(),
    );
    if !answer["next"].is_null() {
        let _ = writeln!(out, "{DIM}there are more: --limit{DIM:#}");
    }
    Ok(out)
}

/// What is sent, fit to be read.
fn body(answer: &Value) -> String {
    let body = plain(&answer["body"]);
    match serde_json::from_str::<Value>(&body) {
        Ok(body) => pretty(&body),
        Err(_) => body,
    }
}

fn of_office(client: &Client, office: &str, json: bool) -> anyhow::Result<String> {
    let answer = client.get(&format!("/v1/deliveries?office={}", path_segment(office)))?;
    if json {
        return Ok(pretty(&answer));
    }
    let deliveries = all(&answer["deliveries"]);
    if deliveries.is_empty() {
        return Ok("all is confirmed, as far as its node has said\n".into());
    }
    let row = |it: &Value| {
        let event = it["uid"].as_str().unwrap_or("not held here");
        [cell(plain(&it["system"])), cell(event), state(it), cell(since(&it["since"]))]
    };
    let mut out =
        table(["SYSTEM", "EVENT", "STATE", "UNCONFIRMED"], deliveries.iter().map(row).collect());
    match answer["more"].as_u64() {
        Some(0) | None => {}
        Some(more) => {
            let _ = writeln!(out, "{DIM}and {more} more, which its node doesn't name{DIM:#}");
        }
    }
    Ok(out)
}

fn row(it: &Value) -> [Cell; 8] {
    let now = Timestamp::now();
    let status = plain(&it["status"]);
    let style = match status.as_str() {
        "confirmed" => GREEN,
        "dead" => RED,
        _ => PLAIN,
    };
    let when = match (it["confirmed_at"].as_i64(), it["since"].as_i64()) {
        (Some(at), _) | (None, Some(at)) => ago(at, now),
        (None, None) => String::new(),
    };
    [
        styled(plain(&it["system"]), BOLD),
        cell(plain(&it["uid"])),
        cell(plain(&it["type"])),
        styled(status, style),
        cell(plain(&it["state"])),
        cell(plain(&it["attempts"])),
        cell(when),
        styled(it["problem"].as_str().unwrap_or_default(), YELLOW),
    ]
}

pub(crate) fn replay(client: &Client, args: &ReplayArgs, json: bool) -> anyhow::Result<String> {
    let wanted =
        [("uid", &args.event), ("since", &args.since), ("from", &args.from), ("to", &args.to)];
    let wanted =
        wanted.into_iter().filter_map(|(name, it)| Some((name.to_owned(), json!(it.as_ref()?))));
    let path = format!("/v1/subscriptions/{}/replay", path_segment(&args.system));
    let answer = client.post(&path, &Value::Object(wanted.collect()))?;
    if json {
        return Ok(pretty(&answer));
    }
    Ok(match answer["replayed"].as_u64() {
        _ if args.since.is_some() => "all of it is delivered again, one after the other\n".into(),
        Some(1) => "1 delivery is tried again\n".into(),
        count => format!("{} deliveries are tried again\n", count.unwrap_or(0)),
    })
}

/// `fasti status --policy`
pub(crate) fn reach(client: &Client, policy: &str, json: bool) -> anyhow::Result<String> {
    let answer = client.get(&format!("/v1/status?policy={}", path_segment(policy)))?;
    let reach = &answer["policy"];
    if json {
        return Ok(pretty(reach));
    }
    let offices = all(&reach["offices"]);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{BOLD}{}{BOLD:#}\nheld by {} of {} offices, confirmed by {} of {} systems",
        clean(&plain(&reach["title"])),
        reach["held_by"],
        offices.len(),
        reach["confirmed_by"],
        reach["systems"],
    );
    let rows: Vec<[Cell; 4]> = offices.iter().flat_map(office_rows).collect();
    out.push_str(&table(["OFFICE", "HOLDS IT", "SYSTEM", "CONFIRMED"], rows));
    Ok(out)
}

fn office_rows(office: &Value) -> Vec<[Cell; 4]> {
    let holds = match office["holds"] == json!(true) {
        true => styled("yes", GREEN),
        false => styled("not known to", YELLOW),
    };
    let name = cell(plain(&office["name"]));
    let systems = all(&office["systems"]);
    if systems.is_empty() {
        return vec![[name, holds, cell(""), cell("")]];
    }
    let mut first = Some((name, holds));
    let row = |system: &Value| {
        let (name, holds) = first.take().unwrap_or((cell(""), cell("")));
        let status = plain(&system["status"]);
        let confirmed = match status.as_str() {
            "confirmed" => styled("yes", GREEN),
            "pending" => styled(format!("not yet, due {}", since(&system["since"])), YELLOW),
            _ => styled("not known", YELLOW),
        };
        [name, holds, cell(plain(&system["name"])), confirmed]
    };
    systems.iter().map(row).collect()
}

/// The external systems of all offices; nothing where there are none.
pub(crate) fn of_all(systems: &Value) -> String {
    let systems = all(systems);
    if systems.is_empty() {
        return String::new();
    }
    let row = |it: &Value| {
        [
            cell(plain(&it["name"])),
            cell(plain(&it["office_name"])),
            cell(plain(&it["kind"])),
            state(it),
            cell(plain(&it["pending"])),
            dead(it),
            cell(since(&it["unconfirmed_since"])),
        ]
    };
    let names = ["SYSTEM", "OFFICE", "KIND", "STATE", "PENDING", "DEAD", "UNCONFIRMED"];
    format!("\n{}", table(names, systems.iter().map(row).collect()))
}
