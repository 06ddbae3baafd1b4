//! `fasti join`: becomes a member.

use std::path::Path;

use anyhow::{Context as _, bail};
use fasti_core::entry::Signer;
use fasti_core::join::{JoinAnswer, JoinRequest};
use fasti_core::statement::Admit;
use fasti_core::ticket::Ticket;
use fasti_store::{Meta, Store};

use crate::keys;
use crate::node::{Clock, SETTING_BOOTSTRAP};

/// Joins the ticket's network: asks the member that the ticket names, and keeps what it answers. The
/// calendar itself comes when the node runs. If anything fails on the way, the same call with the
/// same ticket goes on.
pub(crate) fn join(dir: &Path, ticket: &Ticket) -> anyhow::Result<()> {
    if Clock::start().now().wall > ticket.expires {
        bail!("the ticket has expired; ask an admin for a new one");
    }
    keys::refuse_if_taken(dir)?;
    let seed = keys::find_or_draw(dir)?;
    let signer = Signer::from_seed(&seed);
    let admit = Admit::new(&ticket.network, signer.office(), &ticket.signer());
    let request = JoinRequest { admit }.encode();
    let addresses: Vec<_> = ticket.addresses.iter().filter_map(|text| text.parse().ok()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime
        .block_on(fasti_net::join(*ticket.secret(), &addresses, request))
        .context("the office that invited can't be reached; is its node running?")?;
    let JoinAnswer(answer) = JoinAnswer::decode(&answer)
        .context("the answer can't be read: the other office runs another version of fasti")?;
    let mut bootstrap = match answer {
        Ok(members) => members,
        Err(why) => bail!("refused: {why}"),
    };
    bootstrap.remove(&signer.office());
    bootstrap.entry(ticket.sponsor).or_default().extend(ticket.addresses.iter().cloned());
    let bootstrap = postcard::to_stdvec(&bootstrap)?;
    let meta = Meta { network: ticket.network, office: signer.office(), name: ticket.name.clone() };
    Store::create(dir, &meta, &[(SETTING_BOOTSTRAP, &bootstrap)], &[])?;
    Ok(())
}
