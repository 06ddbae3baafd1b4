//! Reading what is stored. Rows come in batches, each from a read transaction of its own: a reader that
//! waits long between two of them (for a slow peer, say) keeps no old pages from being reused, and
//! a log of any length needs the memory of one batch.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::ReadError;
use crate::places::Places;
use crate::snapshot::{self, Snapshot};
use crate::tables::{
    self, CONFLICTS, ENTRIES, FORKS, META, META_INCARNATION, META_JUDGE_AGAIN, META_NUMBERING,
    NOTICES, SETTINGS,
};
use fasti_core::notice::SignedNotice;
use fasti_core::row::Row;
use fasti_core::{Incarnation, LogId};
use redb::ReadTransaction;

/// Most rows of a batch. Beginning a transaction costs as much as reading a row or two.
const BATCH_ROWS: usize = 256;

/// Bytes of encoded rows after which a batch ends.
const BATCH_BYTES: usize = 512 * 1024;

/// Reads a store, beside its commits and on any thread. Clones are cheap. What it reads is what was
/// durable when it looked.
#[derive(Clone)]
pub struct Reader {
    disk: Arc<Disk>,
}

/// The latest notice of each office on each topic.
pub type Notices = Vec<SignedNotice>;

/// The uid and the path of each field that is in conflict; sorted.
pub type Conflicts = Vec<(String, String)>;

/// The places of logs at which histories part.
pub type Forks = Vec<(LogId, u64)>;

impl Reader {
    pub(crate) fn new(disk: Arc<Disk>) -> Self {
        Self { disk }
    }

    /// How many entries the local log has.
    ///
    /// # Errors
    /// See [`ReadError`]; likewise for all that follow.
    pub fn entries(&self) -> Result<u64, ReadError> {
        self.disk.places(Places::next)
    }

    /// The local log from an index on, in order, up to its end at the time of this call. For loading
    /// (from 0) and for followers, who take as many as they like.
    ///
    /// # Errors
    /// A row that is missing or can't be read comes as an error, and ends it.
    pub fn rows(&self, from: u64) -> Result<Rows, ReadError> {
        let end = self.entries()?;
        Ok(Rows::new(self.clone(), Wanted::Range(from.min(end)..end)))
    }

    /// Of each of these logs the rows from a sequence number on whose local index is below `end`, in
    /// the order of the local log: what a peer asked for. A log that isn't known has no rows. Keeps
    /// eight bytes in memory for each row to come.
    pub fn rows_of(&self, from: &[(LogId, u64)], end: u64) -> Result<Rows, ReadError> {
        // A peer that names a log twice gets it once.
        let mut first = BTreeMap::new();
        for (log, seq) in from {
            let first = first.entry(*log).or_insert(*seq);
            *first = (*first).min(*seq);
        }
        let mut indices: Vec<u64> = self.disk.places(|places| {
            first.iter().flat_map(|(log, seq)| places.indices(log, *seq, end)).collect()
        })?;
        indices.sort_unstable();
        Ok(Rows::new(self.clone(), Wanted::Listed(indices.into_iter())))
    }

    /// The notices.
    pub fn notices(&self) -> Result<Notices, ReadError> {
        notices(&self.read()?)
    }

    /// The open conflicts.
    pub fn conflicts(&self) -> Result<Conflicts, ReadError> {
        conflicts(&self.read()?)
    }

    /// The incarnation under which the node last wrote; `None` before its first.
    pub fn incarnation(&self) -> Result<Option<Incarnation>, ReadError> {
        incarnation(&self.read()?)
    }

    /// What indices of the log are numbered as; `None` in a copy, or where it was made from a backup.
    pub fn numbering(&self) -> Result<Option<u64>, ReadError> {
        number(&self.read()?, META_NUMBERING)
    }

    /// The places of logs at which histories part.
    pub fn forks(&self) -> Result<Forks, ReadError> {
        forks(&self.read()?)
    }

    /// Whether all entries are to be judged again.
    pub fn judge_again(&self) -> Result<bool, ReadError> {
        judge_again(&self.read()?)
    }

    /// The saved document. `None` if there is none, or if it is damaged (which is logged), or if it
    /// covers entries that aren't there: in all these cases the log makes it again.
    pub fn snapshot(&self) -> Result<Option<Snapshot>, ReadError> {
        let txn = self.disk.read()?;
        let entries = self.entries()?;
        Ok(snapshot::read(&txn)?.filter(|snapshot| snapshot.entries <= entries))
    }

    /// A setting by its name.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let table = self.disk.read()?.open_table(SETTINGS).map_err(ReadError::storage)?;
        let value = table.get(name).map_err(ReadError::storage)?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    pub(crate) fn read(&self) -> Result<ReadTransaction, ReadError> {
        self.disk.read()
    }
}

pub(crate) fn notices(txn: &ReadTransaction) -> Result<Notices, ReadError> {
    let table = txn.open_table(NOTICES).map_err(ReadError::storage)?;
    let mut notices = Vec::new();
    for item in table.range::<&[u8; 33]>(..).map_err(ReadError::storage)? {
        let (_, bytes) = item.map_err(ReadError::storage)?;
        let notice = postcard::from_bytes(bytes.value())
            .map_err(|_| ReadError::Damaged { what: "a notice can't be read".into() })?;
        notices.push(notice);
    }
    Ok(notices)
}

pub(crate) fn conflicts(txn: &ReadTransaction) -> Result<Conflicts, ReadError> {
    let table = txn.open_table(CONFLICTS).map_err(ReadError::storage)?;
    let mut conflicts = Vec::new();
    for item in table.range::<(&str, &str)>(..).map_err(ReadError::storage)? {
        let (key, _) = item.map_err(ReadError::storage)?;
        let (uid, path) = key.value();
        conflicts.push((uid.to_owned(), path.to_owned()));
    }
    Ok(conflicts)
}

pub(crate) fn incarnation(txn: &ReadTransaction) -> Result<Option<Incarnation>, ReadError> {
    Ok(number(txn, META_INCARNATION)?.map(Incarnation))
}

fn number(txn: &ReadTransaction, key: &str) -> Result<Option<u64>, ReadError> {
    let table = txn.open_table(META).map_err(ReadError::storage)?;
    let Some(value) = table.get(key).map_err(ReadError::storage)? else {
        return Ok(None);
    };
    let value = value
        .value()
        .try_into()
        .map_err(|_| ReadError::Damaged { what: format!("meta: {key} has the wrong length") })?;
    Ok(Some(u64::from_be_bytes(value)))
}

pub(crate) fn forks(txn: &ReadTransaction) -> Result<Forks, ReadError> {
    let table = txn.open_table(FORKS).map_err(ReadError::storage)?;
    let mut forks = Vec::new();
    for item in table.range::<&tables::PlaceKey>(..).map_err(ReadError::storage)? {
        let (place, _) = item.map_err(ReadError::storage)?;
        forks.push(tables::place_of(place.value()));
    }
    Ok(forks)
}

pub(crate) fn judge_again(txn: &ReadTransaction) -> Result<bool, ReadError> {
    let table = txn.open_table(META).map_err(ReadError::storage)?;
    let value = table.get(META_JUDGE_AGAIN).map_err(ReadError::storage)?;
    Ok(value.is_some_and(|value| value.value() == [1]))
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({})", self.disk.path().display())
    }
}

/// Rows of the local log with their indices, in ascending order. Ends after an error.
#[derive(Debug)]
pub struct Rows {
    reader: Reader,
    wanted: Wanted,
    batch: VecDeque<Result<(u64, Row), ReadError>>,
}

/// What is still to be read.
#[derive(Debug)]
enum Wanted {
    Range(Range<u64>),
    Listed(std::vec::IntoIter<u64>),
}

impl Rows {
    fn new(reader: Reader, wanted: Wanted) -> Self {
        Self { reader, wanted, batch: VecDeque::new() }
    }

    fn fill(&mut self) -> Result<(), ReadError> {
        let table = self.reader.disk.read()?.open_table(ENTRIES).map_err(ReadError::storage)?;
        let mut batch = Batch { rows: &mut self.batch, bytes: 0 };
        match &mut self.wanted {
            Wanted::Range(range) => {
                let mut stored = table.range(range.clone()).map_err(ReadError::storage)?;
                while !batch.is_full()
                    && let Some(index) = range.next()
                {
                    let item = stored.next().transpose().map_err(ReadError::storage)?;
                    match item.filter(|(key, _)| key.value() == index) {
                        Some((_, bytes)) => batch.add(index, bytes.value())?,
                        None => return Err(missing(index)),
                    }
                }
            }
            Wanted::Listed(indices) => {
                while !batch.is_full()
                    && let Some(index) = indices.next()
                {
                    match table.get(index).map_err(ReadError::storage)? {
                        Some(bytes) => batch.add(index, bytes.value())?,
                        None => return Err(missing(index)),
                    }
                }
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        match &self.wanted {
            Wanted::Range(range) => range.is_empty(),
            Wanted::Listed(indices) => indices.as_slice().is_empty(),
        }
    }
}

impl Iterator for Rows {
    type Item = Result<(u64, Row), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.batch.is_empty()
            && !self.is_done()
            && let Err(error) = self.fill()
        {
            // What was read before the error comes before it, and nothing after it.
            self.wanted = Wanted::Range(0..0);
            self.batch.push_back(Err(error));
        }
        self.batch.pop_front()
    }
}

struct Batch<'a> {
    rows: &'a mut VecDeque<Result<(u64, Row), ReadError>>,
    bytes: usize,
}

impl Batch<'_> {
    fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    fn add(&mut self, index: u64, bytes: &[u8]) -> Result<(), ReadError> {
        let row =
            Row::decode(bytes).map_err(|_| ReadError::Entry { index, problem: "can't be read" })?;
        self.bytes += bytes.len();
        self.rows.push_back(Ok((index, row)));
        Ok(())
    }
}

fn missing(index: u64) -> ReadError {
    ReadError::Entry { index, problem: "is missing" }
}
