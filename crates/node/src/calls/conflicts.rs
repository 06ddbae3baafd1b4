//! `fasti conflicts`

use std::fmt::Write as _;

use fasti_doors::path_segment;
use serde_json::{Value, json};

use crate::cli::ConflictsCall;
use crate::client::Client;
use crate::print::{BOLD, cell, clean, plain, pretty, styled, table, time, written};

pub(crate) fn call(
    client: &Client,
    call: Option<ConflictsCall>,
    json: bool,
) -> anyhow::Result<String> {
    match call {
        None => list(client, json),
        Some(ConflictsCall::Resolve { id, keep }) => {
            let path = format!("/v1/conflicts/{}/resolve", path_segment(&id));
            Ok(written(&client.post(&path, &json!({ "keep": keep }))?, json))
        }
    }
}

fn list(client: &Client, json: bool) -> anyhow::Result<String> {
    let answer = client.get("/v1/conflicts")?;
    if json {
        return Ok(pretty(&answer));
    }
    let conflicts = answer["conflicts"].as_array().map_or(&[][..], Vec::as_slice);
    if conflicts.is_empty() {
        return Ok("nothing needs a decision\n".into());
    }
    let mut out = String::new();
    for conflict in conflicts {
        let said = |field: &str| clean(&plain(&conflict[field]));
        let (id, title, path) = (said("id"), said("title"), said("path"));
        let _ = writeln!(out, "{BOLD}{title}: {path}{BOLD:#}  (event {})", said("uid"));
        let values = conflict["values"].as_array().map_or(&[][..], Vec::as_slice);
        let rows = values.iter().enumerate().map(|(place, value)| row(place == 0, value)).collect();
        out.push_str(&table(["VALUE", "OFFICE", "WRITTEN", ""], rows));
        let _ = writeln!(out, "decide: fasti conflicts resolve {id} --keep VALUE\n");
    }
    out.pop();
    Ok(out)
}

fn row(shows: bool, value: &Value) -> [crate::print::Cell; 4] {
    [
        // As JSON, which --keep takes: so "3" and 3 look different.
        styled(value["value"].to_string(), if shows { BOLD } else { crate::print::PLAIN }),
        cell(plain(&value["name"])),
        cell(value["time"].as_i64().map(time).unwrap_or_default()),
        cell(if shows { "shows until someone decides" } else { "" }),
    ]
}
