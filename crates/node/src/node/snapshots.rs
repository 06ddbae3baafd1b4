//! Snapshots of the document, so that opening doesn't replay the whole log. Written on a thread of
//! their own from a copy, compressed; a snapshot that fails costs time at the next start and nothing else.

use std::sync::Arc;
use std::thread::JoinHandle;

use fasti_core::{Document, Kept, Stored};
use fasti_store::{Reader, Store};

/// Fast, and already a twentieth of the size.
const ZSTD_LEVEL: i32 = 1;

/// Largest document that is loaded: some millions of events.
const DOCUMENT_BYTES_MAX: usize = 4 << 30;

/// Saves snapshots, one at a time.
#[derive(Default)]
pub(crate) struct Snapshots(Option<JoinHandle<()>>);

impl Snapshots {
    /// Whether the one before is done.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Saves one beside what goes on.
    pub(crate) fn save(&mut self, store: &Arc<Store>, entries: u64, document: Document) {
        let store = Arc::clone(store);
        let thread = std::thread::Builder::new().name("snapshot".into());
        self.0 = thread.spawn(move || save(&store, entries, &document)).ok();
    }

    /// Waits until the last one is done.
    pub(crate) fn wait(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

fn save(store: &Store, entries: u64, document: &Document) {
    let saved = zstd::bulk::compress(&document.save(), ZSTD_LEVEL)
        .map_err(anyhow::Error::from)
        .and_then(|bytes| Ok(store.save_snapshot(entries, &bytes)?));
    match saved {
        Ok(()) => tracing::debug!(entries, "saved a snapshot"),
        Err(error) => tracing::warn!("a snapshot could not be saved: {error:#}"),
    }
}

/// What a node finds on its disk, apart from the rows.
pub(crate) fn load(reader: &Reader) -> anyhow::Result<Stored> {
    let snapshot = reader.snapshot()?.and_then(|snapshot| {
        let bytes = unpack(&snapshot.bytes);
        if bytes.is_none() {
            tracing::warn!("the snapshot can't be unpacked; the document is built from the log");
        }
        Some((snapshot.entries, bytes?))
    });
    Ok(Stored {
        snapshot,
        notices: reader.notices()?,
        conflicts: reader.conflicts()?,
        incarnation: reader.incarnation()?,
        numbering: reader.numbering()?,
        forks: reader.forks()?,
        judge_again: reader.judge_again()?,
        outbox: reader.outbox()?,
        kept: Kept::default(),
    })
}

/// The document's bytes again; none if they are damaged.
fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    let size = zstd::zstd_safe::get_frame_content_size(bytes).ok()??;
    let size = usize::try_from(size).ok().filter(|size| *size <= DOCUMENT_BYTES_MAX)?;
    zstd::bulk::decompress(bytes, size).ok()
}
