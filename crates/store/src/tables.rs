//! The tables: their names, types and keys. The drawing is in the crate's documentation.

use fasti_core::notice::{SignedNotice, Topic};
use fasti_core::{Incarnation, LogId, NetworkId, OfficeId};
use redb::{ReadTransaction, ReadableTable as _, TableDefinition, TableError, WriteTransaction};

use crate::error::{CommitError, ReadError};
use crate::outbox;

/// The format that this program writes: which tables there are and what is in them. A file of a
/// higher one is refused.
pub const FORMAT: u32 = 3;

/// The oldest format that this program opens.
pub const FORMAT_OLDEST: u32 = 3;

/// Never changes its name and types: a file of any format is asked here for its format.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(crate) const SETTINGS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("settings");
pub(crate) const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
pub(crate) const NOTICES: TableDefinition<'_, &[u8; 33], &[u8]> = TableDefinition::new("notices");
pub(crate) const CONFLICTS: TableDefinition<'_, (&str, &str), ()> =
    TableDefinition::new("conflicts");
pub(crate) const FORKS: TableDefinition<'_, &PlaceKey, ()> = TableDefinition::new("forks");
pub(crate) const SNAPSHOT: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("snapshot");

pub(crate) const META_FORMAT: &str = "format";
pub(crate) const META_INCARNATION: &str = "incarnation";
pub(crate) const META_NUMBERING: &str = "numbering";
pub(crate) const META_JUDGE_AGAIN: &str = "judge again";
const META_NETWORK: &str = "network";
const META_OFFICE: &str = "office";
const META_NAME: &str = "name";

/// A place in a log.
pub(crate) type PlaceKey = [u8; 48];

pub(crate) fn place_key(log: &LogId, seq: u64) -> PlaceKey {
    let mut key = [0; 48];
    key[..32].copy_from_slice(&log.author.0);
    key[32..40].copy_from_slice(&log.incarnation.0.to_be_bytes());
    key[40..].copy_from_slice(&seq.to_be_bytes());
    key
}

pub(crate) fn place_of(key: &PlaceKey) -> (LogId, u64) {
    let (mut author, mut incarnation, mut seq) = ([0; 32], [0; 8], [0; 8]);
    author.copy_from_slice(&key[..32]);
    incarnation.copy_from_slice(&key[32..40]);
    seq.copy_from_slice(&key[40..]);
    let incarnation = Incarnation(u64::from_be_bytes(incarnation));
    (LogId { author: OfficeId(author), incarnation }, u64::from_be_bytes(seq))
}

pub(crate) fn notice_key(notice: &SignedNotice) -> [u8; 33] {
    let mut key = [0; 33];
    key[..32].copy_from_slice(&notice.office.0);
    key[32] = match notice.topic {
        Topic::Acknowledgement => 0,
        Topic::Presence => 1,
        Topic::Systems => 2,
    };
    key
}

/// What a store is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The network that the office belongs to.
    pub network: NetworkId,
    /// The office whose store it is.
    pub office: OfficeId,
    /// The office's name, for people.
    pub name: String,
}

/// Makes all tables, so that readers always find them, and says what the store is of.
pub(crate) fn lay_out(txn: &WriteTransaction, meta: &Meta) -> Result<(), CommitError> {
    put_meta(txn, meta)?;
    let made = || -> Result<(), TableError> {
        txn.open_table(SETTINGS)?;
        txn.open_table(ENTRIES)?;
        txn.open_table(NOTICES)?;
        txn.open_table(CONFLICTS)?;
        txn.open_table(FORKS)?;
        txn.open_table(SNAPSHOT)?;
        outbox::lay_out(txn)
    };
    made().map_err(CommitError::storage)
}

/// Says what the store is of.
pub(crate) fn put_meta(txn: &WriteTransaction, meta: &Meta) -> Result<(), CommitError> {
    let mut table = txn.open_table(META).map_err(CommitError::storage)?;
    for (key, value) in [
        (META_FORMAT, &FORMAT.to_be_bytes()[..]),
        (META_NETWORK, &meta.network.0),
        (META_OFFICE, &meta.office.0),
        (META_NAME, meta.name.as_bytes()),
    ] {
        table.insert(key, value).map_err(CommitError::storage)?;
    }
    Ok(())
}

pub(crate) fn is_to_be_judged_again(txn: &WriteTransaction) -> Result<bool, CommitError> {
    let table = txn.open_table(META).map_err(CommitError::storage)?;
    let value = table.get(META_JUDGE_AGAIN).map_err(CommitError::storage)?;
    Ok(value.is_some_and(|value| value.value() == [1]))
}

/// The format of a file; `None` if it is not a store of Fasti.
pub(crate) fn read_format(txn: &ReadTransaction) -> Result<Option<u32>, ReadError> {
    let table = match txn.open_table(META) {
        Ok(table) => table,
        Err(TableError::Storage(error)) => return Err(ReadError::storage(error)),
        Err(_) => return Ok(None),
    };
    let format = table.get(META_FORMAT).map_err(ReadError::storage)?;
    Ok(format.and_then(|value| Some(u32::from_be_bytes(value.value().try_into().ok()?))))
}

pub(crate) fn read_meta(txn: &ReadTransaction) -> Result<Meta, ReadError> {
    let table = txn.open_table(META).map_err(ReadError::storage)?;
    let field = |key: &str| {
        let value = table.get(key).map_err(ReadError::storage)?;
        value.map(|value| value.value().to_vec()).ok_or_else(|| damaged(key))
    };
    let id = |key| field(key)?.try_into().map_err(|_| damaged(key));
    let name = String::from_utf8(field(META_NAME)?).map_err(|_| damaged(META_NAME))?;
    Ok(Meta { network: NetworkId(id(META_NETWORK)?), office: OfficeId(id(META_OFFICE)?), name })
}

fn damaged(key: &str) -> ReadError {
    ReadError::Damaged { what: format!("meta: {key} is missing or has the wrong length") }
}
