//! Backups of a running node, read from one view of the store.

use std::io::{self, Write};

use fasti_store::{BackupError, Contents, Reader};
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::{Clock, SETTINGS_OF_THIS_MACHINE, pieces};

/// Begins one. `turn` is given back when it is done. For callers inside of a runtime.
pub(crate) fn stream(
    reader: Reader,
    turn: OwnedMutexGuard<()>,
) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    pieces::stream("a backup", turn, move |sink| {
        let contents = take(&reader, sink)?;
        tracing::info!(entries = contents.head.entries, "gave a backup");
        Ok(())
    })
}

/// Writes a backup without the office's key.
pub(crate) fn take(reader: &Reader, sink: impl Write) -> Result<Contents, BackupError> {
    let now = Clock::start().now().wall;
    reader.back_up(sink, now, env!("CARGO_PKG_VERSION"), &SETTINGS_OF_THIS_MACHINE)
}
