//! `fasti conflicts`

use std::fmt::Write as _;

use fasti_doors::path_segment;
use serde_json::{Value, json};

use crate::cli::ConflictsCall;
use crate::client::Client;
use crate::print::{BOLD, PLAIN, cell, clean, plain, pretty, signer, styled, table, time};

pub(crate) fn call(
    client: &Client,
    call: Option<ConflictsCall>,
    json: bool,
) -> anyhow::Result<String> {
    match call {
        None => list(client, json),
        Some(ConflictsCall::Resolve { id, keep }) => {
            let path = format!("/v1/conflicts/{}/resolve", path_segment(&id));
            let written = client.post(&path, &json!({ "keep": keep }))?;
            Ok(if json {
                pretty(&written)
            } else {
                format!("decided, in entry {}\n", plain(&written["entry"]))
            })
        }
    }
}

fn list(client: &Client, json: bool) -> anyhow::Result<String> {
    let answer = client.get("/v1/conflicts")?;
    if json {
        return Ok(pretty(&answer));
    }
    let conflicts = all(&answer["conflicts"]);
    if conflicts.is_empty() {
        return Ok("nothing needs a decision\n".into());
    }
    let mut out = String::new();
    for conflict in conflicts {
        let said = |field: &str| clean(&plain(&conflict[field]));
        let about = match conflict["uid"].as_str() {
            Some(uid) => format!("  (event {})", clean(uid)),
            None => String::new(),
        };
        let _ = writeln!(out, "{BOLD}{}{BOLD:#}{about}", said("title"));
        let _ = writeln!(out, "{}", said("problem"));
        let values = all(&conflict["values"]).iter().enumerate();
        let rows = values.map(|(place, value)| row(place == 0, value)).collect();
        out.push_str(&table(["VALUE", "OFFICE", "WRITTEN", ""], rows));
        let _ = writeln!(out, "decide: fasti conflicts resolve {} --keep VALUE", said("id"));
        // Of a field any value can be kept, and those above say enough.
        if conflict["kind"] != "field" {
            let choices = all(&conflict["choices"]).iter();
            let rows = choices
                .map(|it| [cell(format!("  {}", plain(&it["keep"]))), cell(plain(&it["does"]))]);
            out.push_str(&table(["  VALUE", "WHAT IT DOES"], rows.collect()));
        }
        out.push('\n');
    }
    out.pop();
    Ok(out)
}

fn all(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn row(shows: bool, value: &Value) -> [crate::print::Cell; 4] {
    let style = if shows { BOLD } else { PLAIN };
    [
        styled(shown(&value["value"]), style),
        cell(signer(value)),
        cell(value["time"].as_i64().map(time).unwrap_or_default()),
        cell(plain(&value["what"])),
    ]
}

/// As JSON, which --keep takes: so "3" and 3 look different. Of several fields each by its name.
fn shown(value: &Value) -> String {
    let Value::Object(fields) = value else { return value.to_string() };
    // A title says more.
    let fields = fields.iter().filter(|(path, _)| *path != "uid" || !fields.contains_key("title"));
    let fields: Vec<_> = fields.map(|(path, value)| format!("{path}: {value}")).collect();
    fields.join(", ")
}
