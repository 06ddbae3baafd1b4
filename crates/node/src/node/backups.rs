//! Backups of a running node: read from one view of the store on a thread of their own, and handed on piece by
//! piece, as fast as somebody takes them.

use std::io::{self, Write};
use std::time::Duration;

use fasti_store::{BackupError, Contents, Reader};
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::{Clock, SETTINGS_OF_THIS_MACHINE};

/// Pieces, of a mebibyte at most, that wait to be taken.
const PIECES_MAX: usize = 2;

/// Whoever takes nothing for so long gets no more: meanwhile the store can't use its old pages again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Begins one. `turn` is given back when it is done. For callers inside of a runtime.
pub(crate) fn stream(
    reader: Reader,
    turn: OwnedMutexGuard<()>,
) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    let runtime = Handle::current();
    runtime.clone().spawn_blocking(move || {
        let _turn = turn;
        let sink = Pieces { pieces: pieces.clone(), runtime };
        match take(&reader, sink) {
            Ok(contents) => tracing::info!(entries = contents.head.entries, "gave a backup"),
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::warn!("a backup broke off: {error:#}");
                let _ = pieces.blocking_send(Err(io::Error::other(format!("{error:#}"))));
            }
        }
    });
    receiver
}

/// Writes a backup without the office's key.
pub(crate) fn take(reader: &Reader, sink: impl Write) -> Result<Contents, BackupError> {
    let now = Clock::start().now().wall;
    reader.back_up(sink, now, env!("CARGO_PKG_VERSION"), &SETTINGS_OF_THIS_MACHINE)
}

struct Pieces {
    pieces: mpsc::Sender<io::Result<Vec<u8>>>,
    runtime: Handle,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = tokio::time::timeout(PATIENCE, self.pieces.send(Ok(bytes.to_vec())));
        match self.runtime.block_on(sent) {
            Ok(Ok(())) => Ok(bytes.len()),
            Ok(Err(_)) => Err(io::Error::other("nobody reads on")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads on")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
