//! Chunks: cutting what a peer wants out of the stored log. Pure, so that the production shell (which
//! reads redb on a thread of its own) and the simulator ship exactly the same.
//!
//! Inside a bundle only each run's last entry is signed. Entries of one bundle lie side by side in a
//! receiver's log, so at the places where bundles met every run ends signed, and only there may a later
//! chunk end. A bundle never outgrows [`CHUNK_BYTES_MAX`] on its way through many nodes, as
//! a chunk that would is cut at the place before.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::{BODY_BYTES_MAX, Bundle, ENTRIES_MAX, Entry, Link, Run, Signature};
use crate::ids::{EntryHash, LogId};
use crate::row::Row;

/// Bytes of entries in a chunk. Large enough that a round trip is worth it and that zstd and
/// Automerge's batches gain (some 500 changes), small enough to start applying at once; always room for
/// the largest entry.
pub const CHUNK_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(CHUNK_BYTES_MAX > BODY_BYTES_MAX + 1024);

/// What an entry counts for besides its body and its parents.
const ENTRY_BYTES: usize = 16;
const _: () = assert!(CHUNK_BYTES_MAX / ENTRY_BYTES <= ENTRIES_MAX);

/// Cuts rows, given in local order, into bundles.
#[derive(Debug, Default)]
pub struct Chunks {
    rows: Vec<Row>,
    /// Bytes of `rows`.
    bytes: usize,
    /// The same up to the last place where it may be cut.
    cut: usize,
    cut_bytes: usize,
    /// Entries that are not signed, and on which none of their log has followed.
    open: BTreeSet<EntryHash>,
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
        self.open.remove(&row.entry.prev);
        if row.signature.is_none() {
            self.open.insert(row.hash);
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
    let link = &row.entry.link;
    link.body.len() + link.person.len() + 32 * link.parents.len() + ENTRY_BYTES
}

/// Makes runs of rows: one for each chain of entries. Each chain's last row must be signed.
pub fn bundle(rows: impl IntoIterator<Item = Row>) -> Bundle {
    struct Chain {
        log: LogId,
        first: u64,
        prev: EntryHash,
        links: Vec<Link>,
        signature: Option<Signature>,
    }
    let mut chains: Vec<Chain> = Vec::new();
    // By their last entry: which chain.
    let mut ends: BTreeMap<EntryHash, usize> = BTreeMap::new();
    for Row { hash, signature, entry, .. } in rows {
        let Entry { log, seq, prev, link } = entry;
        let place = ends.remove(&prev).unwrap_or_else(|| {
            chains.push(Chain { log, first: seq, prev, links: Vec::new(), signature: None });
            chains.len() - 1
        });
        ends.insert(hash, place);
        chains[place].links.push(link);
        chains[place].signature = signature;
    }
    chains.sort_by_key(|chain| (chain.log, chain.first));
    let runs = chains.into_iter().filter_map(|chain| {
        let Chain { log, first, prev, links, signature } = chain;
        Some(Run { log, first, prev, links, signature: signature? })
    });
    runs.collect()
}
