//! A new key for an office: `fasti rotate-key`, and what the node's next start makes of it.
//!
//! 1. The call draws the new key (`office.key.next`) and has the running node write that it succeeds the old one.
//! 2. Once another member holds that entry, the call makes the key ready (`office.key.successor`): before, nobody
//!    would know the new key.
//! 3. The next start puts it in the old one's place, and removes the old one from the network.
//!
//! A crash in between leaves the old key in use, or goes on at the next start.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fasti_core::entry::Signer;
use fasti_core::statement::Succeed;
use fasti_core::{NetworkId, OfficeId};
use fasti_store::Store;
use serde_json::{Value, json};

use crate::client::Client;
use crate::keys;
use crate::print::pretty;

const NEXT: &str = "office.key.next";
const SUCCESSOR: &str = "office.key.successor";

/// The setting that holds the key that is to be removed from the network.
pub(crate) const SETTING_PREDECESSOR: &str = "predecessor";

/// How long the call waits for another member to hold the entry.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn rotate(dir: &Path, client: &Client, json: bool) -> anyhow::Result<String> {
    if dir.join(SUCCESSOR).exists() {
        bail!("a new key is ready already: restart the node, which then uses it");
    }
    let seed = keys::find_or_draw_as(dir, NEXT)?;
    let signer = Signer::from_seed(&seed);
    let status = client.get("/v1/status")?;
    let id = |field: &str| status[field].as_str().unwrap_or_default();
    let old: OfficeId = id("office").parse().ok().context("the node's answer can't be read")?;
    let network: NetworkId =
        id("network").parse().ok().context("the node's answer can't be read")?;
    let new = signer.office().to_string();
    let is_member = |status: &Value| {
        let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
        members.iter().any(|member| member["office"] == new.as_str())
    };
    if !is_member(&status) {
        let proof = hex::encode(Succeed::new(&network, &old, &signer).proof.to_bytes());
        client.post("/v1/successor", &json!({ "office": new, "proof": proof }))?;
    }
    let end = Instant::now() + PATIENCE;
    while !is_held(&client.get("/v1/status")?, &new) {
        if Instant::now() > end {
            bail!(
                "no other member has received the new key yet: see that this node is connected (fasti status), \
                 then repeat this call; until then the old key stays in use"
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    fs::rename(dir.join(NEXT), dir.join(SUCCESSOR))?;
    Ok(if json {
        pretty(&json!({ "office": new, "predecessor": old.to_string() }))
    } else {
        format!("the new key is ready; restart the node to use it\noffice  {new}\n")
    })
}

/// Whether a member besides this office holds all that it holds, or there is none.
fn is_held(status: &Value, new: &str) -> bool {
    let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
    let mut others =
        members.iter().filter(|it| it["self"] != true && it["office"] != new).peekable();
    others.peek().is_none() || others.any(|it| it["acknowledged"] == true)
}

/// At the node's start: puts a key that is ready in the place of the old one.
pub(crate) fn use_successor(store: &mut Store, dir: &Path) -> anyhow::Result<()> {
    if !dir.join(SUCCESSOR).exists() {
        return Ok(());
    }
    let seed = keys::read_as(dir, SUCCESSOR)?;
    let new = Signer::from_seed(&seed).office();
    let old = store.meta().office;
    if new != old {
        store.succeed(new, &[(SETTING_PREDECESSOR, &old.0)])?;
        tracing::info!(office = %new, predecessor = %old, "this office goes on under a new key");
    }
    keys::replace(dir, SUCCESSOR)
}
