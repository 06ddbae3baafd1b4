//! `fasti run`: the node itself.

use std::path::Path;

use crate::cli::RunArgs;

/// Runs the node until it is told to stop.
pub(crate) fn run(_dir: &Path, _args: &RunArgs) -> anyhow::Result<()> {
    anyhow::bail!("run is not built yet")
}
