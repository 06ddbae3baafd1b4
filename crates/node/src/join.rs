//! `fasti join`: becomes a member.

use std::path::Path;

use fasti_core::ticket::Ticket;

/// Joins the ticket's network.
pub(crate) fn join(_dir: &Path, _ticket: Ticket) -> anyhow::Result<()> {
    anyhow::bail!("join is not built yet")
}
