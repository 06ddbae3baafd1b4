//! `fasti init`: founds a network.

use std::path::Path;

use fasti_core::entry::Signer;
use fasti_core::{NetworkId, Write};
use fasti_store::{Meta, Store};

use crate::keys;

/// Makes this office the first member of a new network.
pub(crate) fn init(dir: &Path, office: &str) -> anyhow::Result<NetworkId> {
    fasti_core::check_name(office)?;
    keys::refuse_if_taken(dir)?;
    let seed = keys::find_or_draw(dir)?;
    let signer = Signer::from_seed(&seed);
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce)?;
    let wall = crate::node::Clock::start().now().wall;
    let (network, log, row) = fasti_core::found(&signer, office, nonce, wall)?;
    let meta = Meta { network, office: signer.office(), name: office.to_owned() };
    let writes = [Write::Incarnation(log.incarnation), Write::Entry { index: 0, row }];
    Store::create(dir, &meta, &[], &writes)?;
    Ok(network)
}
