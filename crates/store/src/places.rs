//! Where each log's entries lie in the local log. Kept in memory, made from the rows when the file is
//! opened: as a table it would be a third of what a commit writes, since the logs of a busy network lie
//! in as many pages as there are offices, and it would say nothing that the rows don't.

use std::collections::BTreeMap;

use fasti_core::LogId;
use fasti_core::row::Row;

use crate::error::CommitError;

/// The sequence numbers of each log with their local indices; 16 bytes an entry. Both ascend, as an
/// entry comes after the one before it in its log.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The number of entries.
    next: u64,
    logs: BTreeMap<LogId, Vec<(u64, u64)>>,
}

impl Places {
    /// How many entries there are, which is the next one's index.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The local indices of a log's entries from a sequence number on, below `end`; ascending.
    pub(crate) fn indices(
        &self,
        log: &LogId,
        seq: u64,
        end: u64,
    ) -> impl ExactSizeIterator<Item = u64> {
        let places = self.logs.get(log).map_or(&[][..], Vec::as_slice);
        let places = &places[places.partition_point(|place| place.0 < seq)..];
        let places = &places[..places.partition_point(|place| place.1 < end)];
        places.iter().map(|place| place.1)
    }

    /// Adds the rows that a transaction brought.
    pub(crate) fn extend(&mut self, added: Self) {
        self.next = self.next.max(added.next);
        for (log, places) in added.logs {
            self.logs.entry(log).or_default().extend(places);
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
        let fits = if index < next {
            self.find(log, seq).or_else(|| added.find(log, seq)) == Some(index)
        } else {
            added.last_seq(log).or_else(|| self.last_seq(log)) < Some(seq)
        };
        if !fits {
            return Err(CommitError::Misplaced { index });
        }
        if index == next {
            added.logs.entry(*log).or_default().push((seq, index));
            added.next = next + 1;
        }
        Ok(())
    }

    fn find(&self, log: &LogId, seq: u64) -> Option<u64> {
        let places = self.logs.get(log)?;
        let at = places.binary_search_by_key(&seq, |place| place.0).ok()?;
        Some(places[at].1)
    }

    fn last_seq(&self, log: &LogId) -> Option<u64> {
        self.logs.get(log)?.last().map(|place| place.0)
    }
}
