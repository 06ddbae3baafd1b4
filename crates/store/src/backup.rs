//! A backup: one file with all that an office needs to go on elsewhere. Here is the format; `pack` writes it,
//! `unpack` reads and checks it, `content` takes it from a store and makes a store of it.
//!
//! It is a file of blocks (`blocks`) that opens with `"fasti backup" | BACKUP_FORMAT u32 | FORMAT of the store u32`,
//! numbers big-endian. The first block is the [`Head`] in postcard; the others are postcard of one [`Record`] after
//! another, compressed with zstd.
//!
//! The checksums tell damage, not forgery: whoever can make a backup of an office has its key.
//!
//! What is deliberately absent: the saved document, which follows from the log (the first start takes longer for
//! it), the incarnation as something to go on with, and what was delivered: see `outbox`.

mod content;
mod pack;
mod unpack;

use std::io;

use fasti_core::notice::SignedNotice;
use fasti_core::{Incarnation, LogId, NetworkId, OfficeId};
use serde::{Deserialize, Serialize};

use crate::blocks::{BlockError, OPENING_BYTES, Opening};
use crate::error::{CommitError, CreateError, ReadError};
use crate::tables::FORMAT;

/// The format of the file around the store's rows, whose own is [`FORMAT`].
pub const BACKUP_FORMAT: u32 = 1;

const MAGIC: [u8; 12] = *b"fasti backup";

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The network.
    pub network: NetworkId,
    /// The office.
    pub office: OfficeId,
    /// The office's name, for people.
    pub name: String,
    /// The incarnation in which it wrote. For people: whoever is restored never goes on with it.
    pub incarnation: Option<Incarnation>,
    /// How many entries it holds.
    pub entries: u64,
    /// When it was taken, in milliseconds since 1970.
    pub time: i64,
    /// The version of the program that took it.
    pub version: String,
}

/// One thing in a backup. The order of the variants is the format.
#[derive(Serialize, Deserialize)]
enum Record {
    Setting {
        name: String,
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
    },
    Notice(SignedNotice),
    Conflict {
        uid: String,
        path: String,
    },
    Fork {
        log: LogId,
        seq: u64,
    },
    JudgeAgain,
    /// The next row of the local log, as the store keeps it.
    Entry(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The office's secret key.
    Key([u8; 32]),
    /// As the store keeps it.
    Subscription(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// What was found in a backup that was read to its end and is whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    /// What it is of.
    pub head: Head,
    /// The office's secret key, unless it was left out.
    pub key: Option<[u8; 32]>,
    /// Its last checksum: equal for equal files.
    pub sha256: [u8; 32],
    /// Its length in bytes.
    pub bytes: u64,
}

impl std::fmt::Debug for Contents {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").field("head", &self.head).finish_non_exhaustive()
    }
}

/// Why a backup could not be taken, or can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something else.
    #[error("this is no backup of Fasti")]
    Foreign,
    /// Made by a later version.
    #[error(
        "the backup was made by a later version of fasti, or its first bytes are damaged: upgrade this one"
    )]
    Newer,
    /// The end is missing.
    #[error("the backup is cut short: use another one, or another copy of it")]
    Short,
    /// The bytes are not those that were written.
    #[error(
        "the backup is damaged {at} bytes after its beginning: use another one, or another copy of it"
    )]
    Damaged {
        /// Where the block begins that is not as it was.
        at: u64,
    },
    /// The bytes are those that were written, and wrong.
    #[error(
        "the backup holds what doesn't fit together ({what}): use another one, and please report this"
    )]
    Unsound {
        /// What was found.
        what: String,
    },
    /// Where it comes from.
    #[error("the backup can't be read")]
    Read(#[source] io::Error),
    /// Where it goes to.
    #[error("the backup can't be written: is there enough room?")]
    Write(#[source] io::Error),
    /// The store that it is taken of.
    #[error(transparent)]
    Store(#[from] ReadError),
}

/// Why no store could be made of a backup.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The new store.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// Writing to it.
    #[error("the new store can't be filled")]
    Commit(#[from] CommitError),
}

pub use unpack::{check, seal};

fn opening() -> Opening {
    let mut opening = [0; OPENING_BYTES];
    opening[..12].copy_from_slice(&MAGIC);
    opening[12..16].copy_from_slice(&BACKUP_FORMAT.to_be_bytes());
    opening[16..].copy_from_slice(&FORMAT.to_be_bytes());
    opening
}

impl From<BlockError> for BackupError {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Foreign => Self::Foreign,
            BlockError::Newer => Self::Newer,
            BlockError::Short => Self::Short,
            BlockError::Damaged { at } => Self::Damaged { at },
            BlockError::Unsound(what) => Self::Unsound { what: what.into() },
            BlockError::Read(error) => Self::Read(error),
            BlockError::Write(error) => Self::Write(error),
        }
    }
}
