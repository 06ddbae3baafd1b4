//! `fasti members`, `fasti invite`, `fasti status`: the network and how this node stands in it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::InviteArgs;
use crate::client::Client;
use crate::print::{
    Cell, GREEN, PLAIN, RED, YELLOW, ago, card, cell, fact, plain, pretty, styled, table,
};

pub(crate) fn invite(client: &Client, args: &InviteArgs, json: bool) -> anyhow::Result<String> {
    let roles: Vec<String> = args.roles.iter().map(ToString::to_string).collect();
    let asked = json!({ "name": args.office, "roles": roles, "ttl_s": args.ttl });
    let answer = client.post("/v1/invite", &asked)?;
    Ok(if json { pretty(&answer) } else { fact("ticket", &plain(&answer["ticket"]), false) })
}

pub(crate) fn list(client: &Client, json: bool) -> anyhow::Result<String> {
    let answer = client.get("/v1/members")?;
    Ok(if json { pretty(&answer) } else { roster(&answer["members"]) })
}

pub(crate) fn status(client: &Client, json: bool) -> anyhow::Result<String> {
    let status = client.get("/v1/status")?;
    if json {
        return Ok(pretty(&status));
    }
    let number = |field: &str| status[field].as_u64().unwrap_or_default();
    let deliveries = &status["deliveries"];
    let dead = deliveries["dead"].as_u64().unwrap_or_default();
    let mut facts = vec![
        ("office", cell(plain(&status["office"]))),
        ("network", cell(plain(&status["network"]))),
        ("frontier", cell(plain(&status["frontier"]))),
        (
            "calendar",
            cell(
                counted(number("events"), "event", "events")
                    + ", "
                    + &counted(number("entries"), "entry", "entries"),
            ),
        ),
        (
            "deliveries",
            styled(
                format!("{} pending, {dead} dead", deliveries["pending"]),
                if dead > 0 { RED } else { PLAIN },
            ),
        ),
    ];
    // What an operator has to do something about, and only then.
    let troubles = [
        ("conflicts", YELLOW, "need a decision: fasti conflicts"),
        ("deferred", RED, "entries come from a later version: upgrade this node"),
        ("void", YELLOW, "entries count for nothing"),
        (
            "elsewhere",
            RED,
            "entries of this office come from another node with its key: stop one of the two",
        ),
        ("forks", RED, "logs have two histories: a copied folder, a restored backup, or a liar"),
    ];
    for (field, style, what) in troubles {
        if number(field) > 0 {
            facts.push((field, styled(format!("{} {what}", number(field)), style)));
        }
    }
    Ok(card(&plain(&status["name"]), facts) + "\n" + &roster(&status["members"]))
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn roster(members: &Value) -> String {
    let now = Timestamp::now();
    let rows = members.as_array().map_or(&[][..], Vec::as_slice).iter();
    let names = ["NAME", "ROLES", "LINK", "HOLDS", "LAST SEEN", "VERSION", "OFFICE"];
    table(names, rows.map(|member| row(member, now)).collect())
}

fn row(member: &Value, now: Timestamp) -> [Cell; 7] {
    let is = |field: &str| member[field] == json!(true);
    let roles = member["roles"].as_array().map_or(&[][..], Vec::as_slice);
    let roles: Vec<String> = roles.iter().map(plain).collect();
    let link = match (is("self"), is("connected")) {
        (true, _) => cell("this node"),
        (false, true) => styled("connected", GREEN),
        (false, false) => styled("away", YELLOW),
    };
    let holds = if is("acknowledged") {
        styled("all", GREEN)
    } else {
        styled(format!("{} behind", member["behind"]), YELLOW)
    };
    let seen = match member["last_seen"].as_i64() {
        _ if is("self") => "now".into(),
        Some(time) => ago(time, now),
        None => "not since start".into(),
    };
    let name = plain(&member["name"]);
    let name = if is("shared_ticket") {
        styled(format!("{name} (ticket used twice!)"), RED)
    } else {
        cell(name)
    };
    [
        name,
        cell(roles.join(",")),
        link,
        holds,
        cell(seen),
        cell(member["version"].as_str().unwrap_or("?")),
        cell(plain(&member["office"])),
    ]
}
