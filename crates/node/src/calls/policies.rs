//! `fasti policies`, `propose`, `approve` and `withdraw`

use fasti_doors::path_segment;
use serde_json::Value;

use crate::client::Client;
use crate::print::{
    Cell, GREEN, PLAIN, RED, YELLOW, card, cell, plain, pretty, signer, styled, table, time,
};

pub(crate) fn list(client: &Client, json: bool) -> anyhow::Result<String> {
    let answer = client.get("/v1/policies")?;
    if json {
        return Ok(pretty(&answer));
    }
    let policies = answer["policies"].as_array().map_or(&[][..], Vec::as_slice);
    if policies.is_empty() {
        return Ok(
            "no policies; publish one: fasti publish policy_start --policy ID --start DATE\n"
                .into(),
        );
    }
    let row = |policy: &Value| {
        let signed = signatures(policy).into_iter().next();
        let (by, when) = signed.unwrap_or_default();
        [
            cell(plain(&policy["policy"])),
            state(policy),
            cell(plain(&policy["title"])),
            cell(by),
            cell(when),
        ]
    };
    let names = ["POLICY", "STATE", "TITLE", "SIGNED BY", "AT"];
    Ok(table(names, policies.iter().map(row).collect()))
}

pub(crate) fn show(client: &Client, policy: &str, json: bool) -> anyhow::Result<String> {
    let answer = client.get(&format!("/v1/policies/{}", path_segment(policy)))?;
    Ok(shown(&answer, json))
}

/// Says something of a policy, and shows what comes of it.
pub(crate) fn say(
    client: &Client,
    what: &str,
    policy: &str,
    if_match: Option<String>,
    body: &Value,
    json: bool,
) -> anyhow::Result<String> {
    let path = format!("/v1/policies/{}/{what}", path_segment(policy));
    let (answer, _) = client.ask("POST", &path, if_match.as_deref(), Some(body))?;
    Ok(shown(&answer, json))
}

fn shown(policy: &Value, json: bool) -> String {
    if json {
        return pretty(policy);
    }
    let mut facts = vec![("state", state(policy))];
    for (by, when) in signatures(policy) {
        facts.push(("signed", cell(format!("by {by} at {when}"))));
    }
    if policy["changed"] == true {
        for (field, was, is) in changes(policy) {
            facts.push(("changed", cell(format!("{field}: approved {was}, now {is}"))));
        }
    }
    if let Some(by) = policy["superseded_by"].as_str() {
        facts.push(("superseded by", cell(by)));
    }
    facts.push(("policy", cell(plain(&policy["policy"]))));
    facts.push(("etag", cell(plain(&policy["etag"]))));
    card(policy["title"].as_str().unwrap_or("(no title)"), facts)
}

fn state(policy: &Value) -> Cell {
    let state = policy["state"].as_str().unwrap_or_default();
    if policy["disputed"] == true {
        return styled(format!("{state}, disputed"), RED);
    }
    match (state, policy["changed"] == true) {
        ("approved", true) => styled("approved, changed since", YELLOW),
        ("approved", false) => styled("approved", GREEN),
        ("proposed", _) => styled("proposed", YELLOW),
        (other, _) => styled(other, PLAIN),
    }
}

/// Who signed what stands, and when.
fn signatures(policy: &Value) -> Vec<(String, String)> {
    let of = |name: &str| policy[name].as_array().map_or(&[][..], Vec::as_slice);
    let standing = if of("approved").is_empty() { of("proposed") } else { of("approved") };
    let by = standing.iter().flat_map(|it| it["by"].as_array().into_iter().flatten());
    by.map(|it| (signer(it), it["time"].as_i64().map(time).unwrap_or_default())).collect()
}

/// What differs between what was approved and what stands now, by the names of the event's members.
fn changes(policy: &Value) -> Vec<(String, String, String)> {
    let (was, is) = (&policy["approved"][0]["content"], &policy["content"]);
    let names = [was, is].into_iter().flat_map(|it| it.as_object().into_iter().flatten());
    let mut names: Vec<&String> = names.map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let differs = names.into_iter().filter(|name| was[*name] != is[*name]);
    differs.map(|name| (name.clone(), plain(&was[name]), plain(&is[name]))).collect()
}
