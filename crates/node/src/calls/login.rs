//! `fasti login`: a link into the web page, without a password to type.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::client::Client;
use crate::print::{fact, plain};

pub(crate) fn login(client: &Client, json: bool) -> anyhow::Result<String> {
    Ok(fact("link", &link(client)?, json))
}

/// What `fasti run` says to whoever started it: where the page is, and how to get in.
pub(crate) fn greet(dir: &Path) -> anyhow::Result<()> {
    let client = Client::open(dir)?;
    let link = link(&client)?;
    let minutes = LINK_TTL_MINUTES;
    let (page, login) = (client.http(), "fasti login");
    writeln!(
        anstream::stdout(),
        "Page:   {page}/\nLog in: {link}\n        (once, within {minutes} minutes; {login} prints another)"
    )?;
    Ok(())
}

const LINK_TTL_MINUTES: u64 = fasti_doors::LINK_TTL.as_secs() / 60;

fn link(client: &Client) -> anyhow::Result<String> {
    let answer: Value = client.post("/v1/session/link", &json!({}))?;
    Ok(format!("{}{}", client.http(), plain(&answer["path"])))
}
