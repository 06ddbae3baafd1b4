//! `fasti feed`

use fasti_doors::path_segment;
use serde_json::{Value, json};

use crate::cli::FeedCall;
use crate::client::Client;
use crate::print::{cell, clean, fact, plain, pretty, table, time};

pub(crate) fn call(client: &Client, call: FeedCall, json: bool) -> anyhow::Result<String> {
    match call {
        FeedCall::Add { calendar } => {
            let mut answer = client.post("/v1/feeds", &json!({ "calendar": calendar }))?;
            let url = format!("{}{}", client.http(), plain(&answer["path"]));
            answer["url"] = json!(url);
            Ok(if json { pretty(&answer) } else { fact("address", &url, false) })
        }
        FeedCall::List => list(client, json),
        FeedCall::Remove { id } => {
            let path = format!("/v1/feeds/{}", path_segment(&id));
            let (answer, _) = client.ask("DELETE", &path, None, None)?;
            let text = format!("the feed of {} has ended\n", clean(&plain(&answer["calendar"])));
            Ok(if json { pretty(&answer) } else { text })
        }
    }
}

fn list(client: &Client, json: bool) -> anyhow::Result<String> {
    let answer = client.get("/v1/feeds")?;
    let feeds = answer["feeds"].as_array().map_or(&[][..], Vec::as_slice);
    if json {
        return Ok(pretty(&answer));
    }
    if feeds.is_empty() {
        return Ok("there are no feeds; fasti feed add CALENDAR makes one\n".into());
    }
    let rows = feeds.iter().map(|feed: &Value| {
        [
            cell(plain(&feed["id"])),
            cell(plain(&feed["calendar"])),
            cell(feed["added"].as_i64().map(time).unwrap_or_default()),
        ]
    });
    Ok(table(["ID", "CALENDAR", "ADDED"], rows.collect()))
}
