//! Where each log's entries lie in the local log. Kept in memory, made from the rows when the file is
//! opened: as a table it would be a third of what a commit writes, since the logs of a busy network lie
//! in as many pages as there are offices, and it would say nothing that the rows don't.

use std::collections::BTreeMap;

use fasti_core::LogId;
use fasti_core::row::Row;

use crate::error::CommitError;

/// The sequence numbers of each log with their local indices; 16 bytes an entry.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The number of entries.
    next: u64,
    logs: BTreeMap<LogId, Log>,
}

/// The places of one log: sequence number and index. The indices ascend; and the sequence numbers as well, as
/// an entry comes after the one before it in its log, unless the log has two histories.
#[derive(Debug, Default)]
struct Log {
    places: Vec<(u64, u64)>,
    forked: bool,
}

impl Log {
    fn add(&mut self, place: (u64, u64)) {
        self.forked |= self.places.last().is_some_and(|last| place.0 <= last.0);
        self.places.push(place);
    }
}

impl Places {
    /// How many entries there are, which is the next one's index.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The local indices of a log's entries from a sequence number on, below `end`; ascending.
    pub(crate) fn indices(&self, log: &LogId, seq: u64, end: u64) -> impl Iterator<Item = u64> {
        let log = self.logs.get(log);
        let mut places = log.map_or(&[][..], |log| &log.places);
        if log.is_some_and(|log| !log.forked) {
            places = &places[places.partition_point(|place| place.0 < seq)..];
        }
        let places = &places[..places.partition_point(|place| place.1 < end)];
        places.iter().filter(move |place| place.0 >= seq).map(|place| place.1)
    }

    /// Adds the rows that a transaction brought.
    pub(crate) fn extend(&mut self, added: Self) {
        self.next = self.next.max(added.next);
        for (log, added) in added.logs {
            let log = self.logs.entry(log).or_default();
            added.places.into_iter().for_each(|place| log.add(place));
        }
    }

    /// Takes a row that comes after `self` and `added` into `added`, or checks that it is one of theirs
    /// that comes again.
    pub(crate) fn admit(&self, added: &mut Self, index: u64, row: &Row) -> Result<(), CommitError> {
        let next = self.next.max(added.next);
        let (log, seq) = (&row.entry.log, row.entry.seq);
        if index > next {
            return Err(CommitError::Gap { expected: next, found: index });
        }
        if index < next {
            let there = self.seq_at(log, index).or_else(|| added.seq_at(log, index));
            return if there == Some(seq) { Ok(()) } else { Err(CommitError::Misplaced { index }) };
        }
        added.logs.entry(*log).or_default().add((seq, index));
        added.next = next + 1;
        Ok(())
    }

    fn seq_at(&self, log: &LogId, index: u64) -> Option<u64> {
        let places = &self.logs.get(log)?.places;
        let at = places.binary_search_by_key(&index, |place| place.1).ok()?;
        Some(places[at].0)
    }
}
