//! `fasti user`: people's app passwords.

use fasti_doors::path_segment;
use serde_json::json;

use crate::cli::UserCall;
use crate::client::Client;
use crate::print::{cell, clean, fact, plain, pretty, table, time};

pub(crate) fn call(client: &Client, call: UserCall, json: bool) -> anyhow::Result<String> {
    match call {
        UserCall::Add { name } => {
            let answer = client.post("/v1/users", &json!({ "name": name }))?;
            Ok(if json {
                pretty(&answer)
            } else {
                fact("password", &plain(&answer["password"]), false)
            })
        }
        UserCall::List => list(client, json),
        UserCall::Remove { name } => {
            let path = format!("/v1/users/{}", path_segment(&name));
            let (answer, _) = client.ask("DELETE", &path, None, None)?;
            let text = format!("{} has no password any more\n", clean(&name));
            Ok(if json { pretty(&answer) } else { text })
        }
    }
}

fn list(client: &Client, json: bool) -> anyhow::Result<String> {
    let answer = client.get("/v1/users")?;
    let users = answer["users"].as_array().map_or(&[][..], Vec::as_slice);
    if json {
        return Ok(pretty(&answer));
    }
    if users.is_empty() {
        return Ok("nobody has an app password; fasti user add NAME gives one\n".into());
    }
    let rows = users.iter().map(|user| {
        [cell(plain(&user["name"])), cell(user["added"].as_i64().map(time).unwrap_or_default())]
    });
    Ok(table(["NAME", "ADDED"], rows.collect()))
}
