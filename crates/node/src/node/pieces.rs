//! What a node writes on a thread of its own, handed on piece by piece, as fast as somebody takes them: backups and
//! bundles.

use std::io::{self, Write};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, mpsc};

/// Pieces, of a few mebibytes at most, that wait to be taken.
const PIECES_MAX: usize = 2;

/// Whoever takes nothing for so long gets no more: a backup that is being taken keeps the store from using its old
/// pages again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Begins to write; what fails there is the last piece. `turn` is given back when it is done. For callers inside of a
/// runtime.
pub(crate) fn stream(
    what: &'static str,
    turn: OwnedMutexGuard<()>,
    write: impl FnOnce(Pieces) -> anyhow::Result<()> + Send + 'static,
) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    let runtime = Handle::current();
    runtime.clone().spawn_blocking(move || {
        let _turn = turn;
        if let Err(error) = write(Pieces { pieces: pieces.clone(), runtime }) {
            tracing::warn!("{what} broke off: {error:#}");
            let _ = pieces.blocking_send(Err(io::Error::other(format!("{error:#}"))));
        }
    });
    receiver
}

/// Where it is written to.
pub(crate) struct Pieces {
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
