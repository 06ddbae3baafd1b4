//! Chunks: cutting what a peer wants out of the stored log. Pure, so that the production shell (which
//! reads redb on a thread of its own) and the simulator ship exactly the same.
//!
//! Inside a bundle only each run's last entry is signed. Entries of one bundle lie side by side in a
//! receiver's log, so at the places where bundles met every run ends signed, and only there may a later
//! chunk end. A bundle never outgrows [`CHUNK_BYTES_MAX`] on its way through many nodes, as
//! a chunk that would is cut at the place before.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::{BODY_BYTES_MAX, Bundle, Run};
use crate::ids::LogId;
use crate::row::Row;

/// Bytes of entries in a chunk. Large enough that a round trip is worth it and that zstd and
/// Automerge's batches gain (some 500 changes), small enough to start applying at once; always room for
/// the largest entry.
pub const CHUNK_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(CHUNK_BYTES_MAX > BODY_BYTES_MAX + 1024);

/// Cuts rows, given in local order, into bundles.
#[derive(Debug, Default)]
pub struct Chunks {
    rows: Vec<Row>,
    /// Bytes of `rows`.
    bytes: usize,
    /// The same up to the last place where it may be cut.
    cut: usize,
    cut_bytes: usize,
    /// Logs whose latest row is not signed.
    open: BTreeSet<LogId>,
}

impl Chunks {
    /// Starts empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next row, and gives a bundle if one is full.
    pub fn add(&mut self, row: Row) -> Option<Bundle> {
        let bytes = row_bytes(&row);
        let full = self.cut > 0 && self.bytes + bytes > CHUNK_BYTES_MAX;
        let chunk = full.then(|| self.take_cut());
        let log = row.entry.log;
        if row.signature.is_some() {
            self.open.remove(&log);
        } else {
            self.open.insert(log);
        }
        self.rows.push(row);
        self.bytes += bytes;
        if self.open.is_empty() {
            self.cut = self.rows.len();
            self.cut_bytes = self.bytes;
        }
        chunk
    }

    /// Gives the rest. Rows after the last signed place stay out: nobody could check them.
    pub fn finish(mut self) -> Bundle {
        self.take_cut()
    }

    fn take_cut(&mut self) -> Bundle {
        let rest = self.rows.split_off(self.cut);
        let rows = std::mem::replace(&mut self.rows, rest);
        self.bytes -= self.cut_bytes;
        self.cut = 0;
        self.cut_bytes = 0;
        bundle(rows)
    }
}

fn row_bytes(row: &Row) -> usize {
    row.entry.link.body.len() + 32 * row.entry.link.parents.len() + 16
}

/// Groups rows by log. Each log's last row must be signed, and its rows consecutive.
pub fn bundle(rows: impl IntoIterator<Item = Row>) -> Bundle {
    let mut runs: BTreeMap<
        LogId,
        (u64, crate::ids::EntryHash, Vec<crate::entry::Link>, Option<crate::entry::Signature>),
    > = BTreeMap::new();
    for row in rows {
        let run = runs
            .entry(row.entry.log)
            .or_insert_with(|| (row.entry.seq, row.entry.prev, Vec::new(), None));
        run.2.push(row.entry.link);
        run.3 = row.signature;
    }
    runs.into_iter()
        .filter_map(|(log, (first, prev, links, signature))| {
            Some(Run { log, first, prev, links, signature: signature? })
        })
        .collect()
}
