//! Histories that members could sign: entries properly hashed, chained and signed, on top of whatever, with
//! whatever in them.

use std::collections::BTreeMap;

use fasti_core::entry::{Link, Run};
use fasti_core::row::Row;
use fasti_core::{EntryHash, Incarnation, LogId, NetworkId};

use crate::network::{office, signer};

/// Entries that exist, whoever holds them.
pub(crate) struct History {
    network: NetworkId,
    known: Vec<EntryHash>,
    /// Each log's latest history.
    logs: BTreeMap<LogId, Vec<EntryHash>>,
}

impl History {
    pub(crate) fn of(network: NetworkId, rows: &[Row]) -> Self {
        let mut history = Self { network, known: Vec::new(), logs: BTreeMap::new() };
        for row in rows {
            history.note(row.entry.log, row.hash);
        }
        history
    }

    fn note(&mut self, log: LogId, hash: EntryHash) {
        self.known.push(hash);
        self.logs.entry(log).or_default().push(hash);
    }

    /// An entry, counted from the latest.
    pub(crate) fn known(&self, back: usize) -> EntryHash {
        self.known[self.known.len() - 1 - back % self.known.len()]
    }

    /// A run that goes on with an author's log, or where it was some entries ago: a fork then.
    pub(crate) fn run(&self, author: u8, incarnation: u64, back: usize, links: Vec<Link>) -> Run {
        let log = LogId { author: office(author), incarnation: Incarnation(incarnation) };
        let held = self.logs.get(&log).map_or(&[][..], Vec::as_slice);
        let held = &held[..held.len().saturating_sub(back)];
        let prev = held.last().copied().unwrap_or(EntryHash(self.network.0));
        let signature = signer(author).sign(&[0; 32]);
        let mut run = Run { log, first: held.len() as u64 + 1, prev, links, signature };
        sign(&mut run, author);
        run
    }

    /// Goes on from there.
    pub(crate) fn add(&mut self, run: &Run) {
        let log = self.logs.entry(run.log).or_default();
        log.truncate(usize::try_from(run.first).unwrap_or(usize::MAX).saturating_sub(1));
        for hash in run.hashes() {
            self.note(run.log, hash);
        }
    }
}

/// Signs whatever a run says now.
pub(crate) fn sign(run: &mut Run, author: u8) {
    if let Some(last) = run.hashes().last() {
        run.signature = signer(author).sign(&last.0);
    }
}
