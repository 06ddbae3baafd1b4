//! The saved document: opaque bytes in pieces, with how many entries they cover and a checksum over
//! the whole.

use redb::{ReadTransaction, WriteTransaction};
use sha2::{Digest as _, Sha256};

use crate::error::{CommitError, ReadError};
use crate::tables::SNAPSHOT;

/// Bytes of a piece. redb keeps a value in one run of pages whose length is a power of two, so a piece
/// leaves room for the page's header: a round mebibyte would take two.
const PIECE_BYTES: usize = 1024 * 1024 - 4096;

/// The document as it was saved.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// How many entries of the local log are in it: those with a lower index.
    pub entries: u64,
    /// What was given to [`crate::Store::save_snapshot`].
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot({} entries, {} bytes)", self.entries, self.bytes.len())
    }
}

/// What lies under key 0.
pub(crate) struct Head {
    entries: u64,
    length: u64,
    sha256: [u8; 32],
}

impl Head {
    pub(crate) fn new(entries: u64, bytes: &[u8]) -> Self {
        Self { entries, length: bytes.len() as u64, sha256: Sha256::digest(bytes).into() }
    }

    fn encode(&self) -> Vec<u8> {
        [&self.entries.to_be_bytes()[..], &self.length.to_be_bytes(), &self.sha256].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (entries, rest) = bytes.split_first_chunk()?;
        let (length, sha256) = rest.split_first_chunk()?;
        Some(Self {
            entries: u64::from_be_bytes(*entries),
            length: u64::from_be_bytes(*length),
            sha256: sha256.try_into().ok()?,
        })
    }
}

/// Replaces what was saved before.
pub(crate) fn write(txn: &WriteTransaction, head: &Head, bytes: &[u8]) -> Result<(), CommitError> {
    let mut table = txn.open_table(SNAPSHOT).map_err(CommitError::storage)?;
    table.retain(|_, _| false).map_err(CommitError::storage)?;
    table.insert(0, head.encode().as_slice()).map_err(CommitError::storage)?;
    for (number, piece) in (1..).zip(bytes.chunks(PIECE_BYTES)) {
        table.insert(number, piece).map_err(CommitError::storage)?;
    }
    Ok(())
}

/// Reads it; `None` if none was saved, or if it is not what was saved. The latter is no error, as the
/// document can be made again from the log, but it goes to the program's log.
pub(crate) fn read(txn: &ReadTransaction) -> Result<Option<Snapshot>, ReadError> {
    let table = txn.open_table(SNAPSHOT).map_err(ReadError::storage)?;
    let Some(head) = table.get(0).map_err(ReadError::storage)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let mut sha = Sha256::new();
    for piece in table.range(1..).map_err(ReadError::storage)? {
        let (_, piece) = piece.map_err(ReadError::storage)?;
        sha.update(piece.value());
        bytes.extend_from_slice(piece.value());
    }
    let sha256: [u8; 32] = sha.finalize().into();
    match Head::decode(head.value()) {
        Some(head) if head.length == bytes.len() as u64 && head.sha256 == sha256 => {
            Ok(Some(Snapshot { entries: head.entries, bytes }))
        }
        _ => {
            tracing::warn!("the saved document is damaged and is made again from the log");
            Ok(None)
        }
    }
}
