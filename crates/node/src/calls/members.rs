//! `fasti members`, `invite`, `remove`, `status`: the network and how this node stands in it.

use anyhow::bail;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::systems;
use crate::cli::InviteArgs;
use crate::client::Client;
use crate::print::{
    Cell, GREEN, PLAIN, RED, YELLOW, ago, card, cell, fact, plain, pretty, styled, table,
};

/// Shorter beginnings of ids are more likely to be mistyped names.
const ID_LEN_MIN: usize = 6;

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

pub(crate) fn former(client: &Client, json: bool) -> anyhow::Result<String> {
    let answer = client.get("/v1/members/former")?;
    if json {
        return Ok(pretty(&answer));
    }
    let now = Timestamp::now();
    let names = ["NAME", "ROLES", "REMOVED", "BY", "CUT OFF", "OFFICE"];
    let rows = answer["members"].as_array().map_or(&[][..], Vec::as_slice).iter().map(|member| {
        let cut = member["cut"].as_u64().unwrap_or_default();
        [
            cell(plain(&member["name"])),
            cell(roles(member)),
            cell(member["removed"].as_i64().map_or_else(String::new, |time| ago(time, now))),
            cell(plain(&member["removed_by_name"])),
            styled(counted(cut, "entry", "entries"), if cut > 0 { YELLOW } else { PLAIN }),
            cell(plain(&member["office"])),
        ]
    });
    let rows: Vec<_> = rows.collect();
    Ok(if rows.is_empty() { "nobody was removed\n".into() } else { table(names, rows) })
}

pub(crate) fn remove(client: &Client, who: &str, json: bool) -> anyhow::Result<String> {
    let members = client.get("/v1/members")?;
    let (office, name) = find(&members["members"], who)?;
    client.ask("DELETE", &format!("/v1/members/{office}"), None, None)?;
    Ok(if json {
        pretty(&json!({ "office": office, "name": name }))
    } else {
        format!("{name} is no member any more\n")
    })
}

/// The one member of this name, or whose id begins so.
pub(crate) fn find(members: &Value, who: &str) -> anyhow::Result<(String, String)> {
    let all = members.as_array().map_or(&[][..], Vec::as_slice).iter();
    let of = |member: &Value| (plain(&member["office"]), plain(&member["name"]));
    let all: Vec<(String, String)> = all.map(of).collect();
    let by_name: Vec<_> = all.iter().filter(|(_, name)| name == who).collect();
    let by_id = || all.iter().filter(|(id, _)| who.len() >= ID_LEN_MIN && id.starts_with(who));
    let found = if by_name.is_empty() { by_id().collect() } else { by_name };
    match found[..] {
        [one] => Ok(one.clone()),
        [] => bail!("there is no member {who:?}; `fasti members` lists them"),
        _ => {
            let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
            bail!("several members are called {who:?}; say which by id: {}", ids.join(", "))
        }
    }
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
    let systems = systems::of_all(&status["systems"]);
    Ok(card(&plain(&status["name"]), facts) + "\n" + &roster(&status["members"]) + &systems)
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

fn roles(member: &Value) -> String {
    let roles = member["roles"].as_array().map_or(&[][..], Vec::as_slice);
    roles.iter().map(plain).collect::<Vec<_>>().join(",")
}

fn row(member: &Value, now: Timestamp) -> [Cell; 7] {
    let is = |field: &str| member[field] == json!(true);
    let link = match (is("self"), is("connected")) {
        (true, _) => cell("this node"),
        (false, true) if member["link"] == "relayed" => styled("relayed", GREEN),
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
        cell(roles(member)),
        link,
        holds,
        cell(seen),
        cell(member["version"].as_str().unwrap_or("?")),
        cell(plain(&member["office"])),
    ]
}
