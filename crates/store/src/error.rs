//! What can go wrong, each with its remedy: these texts are what an operator reads.

use std::io;
use std::path::PathBuf;

/// Why a store could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Nothing is overwritten.
    #[error("{} already exists: this folder belongs to an office; choose another", path.display())]
    Exists {
        /// The file that is in the way.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("{} can't be created: check the folder's owner, its permissions and the free space", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The first writes.
    #[error("the new store can't be filled")]
    Commit(#[from] CommitError),
    /// Made, but then not to be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No office lives in this folder.
    #[error("there is no store at {}: run `fasti init` or `fasti join` first, or name another folder", path.display())]
    Missing {
        /// The file that was expected.
        path: PathBuf,
    },
    /// A file of that name, made by something else.
    #[error("{} is not a store of Fasti: name another folder, or move the file away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The bytes are not those that were written.
    #[error(
        "{} is damaged ({what}): restore the folder from a backup, or move it away and join again \
         as a new office; the other offices hold whatever had reached them",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Written by a later version of this program. Nothing was changed.
    #[error(
        "the store has format {found}, and this program understands formats up to {newest}: \
         upgrade the program"
    )]
    Newer {
        /// The file's format.
        found: u32,
        /// [`crate::FORMAT`].
        newest: u32,
    },
    /// Written by a version so old that this one doesn't know how to read it.
    #[error(
        "the store has format {found}, and this program understands formats from {oldest} on: open \
         it once with a version in between, or join again as a new office"
    )]
    Older {
        /// The file's format; 0 for an older file format of redb itself.
        found: u32,
        /// [`crate::FORMAT_OLDEST`].
        oldest: u32,
    },
    /// Another process, or another [`crate::Store`] in this one, has it open.
    #[error("{} is in use: stop the other `fasti` that runs on this folder first", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Its owner is someone else.
    #[error("{} may not be read and written by this user: check its owner and permissions", path.display())]
    Denied {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Opening writes a little, as a repair does.
    #[error("{} can't be opened, as the disk is full: make room", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The disk failed.
    #[error("{} can't be opened: check the disk", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// Why writes were not stored.
///
/// After [`CommitError::Full`] or [`CommitError::Failed`] it is not known whether the transaction is on
/// the disk: it is so wholly or not at all. The store takes no more writes until
/// [`crate::Store::reopen`], after which its readers say what is there.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// No room.
    #[error("the disk is full: make room; everything stored before is still there")]
    Full(#[source] Box<redb::Error>),
    /// The disk failed.
    #[error("the disk failed to store a change: check it; everything stored before is still there")]
    Failed(#[source] Box<redb::Error>),
    /// An earlier commit failed. Nothing of this one was stored.
    #[error("an earlier change could not be stored, and the store has not been reopened since")]
    NotReopened,
    /// Entries are numbered without gaps. Nothing was stored. A fault of the caller.
    #[error("entry {found} came where {expected} was next")]
    Gap {
        /// The next index, or the last that may be replaced.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A row may only be replaced by one for the same place of the same log. Nothing was stored. A
    /// fault of the caller.
    #[error("entry {index} would be replaced by another entry")]
    Misplaced {
        /// The index.
        index: u64,
    },
}

/// Why something stored could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A row that is lost or unreadable.
    #[error(
        "entry {index} of the local log {problem}: the store is damaged; restore the folder from a \
         backup, or move it away and join again as a new office"
    )]
    Entry {
        /// The local index.
        index: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Something else that is lost or unreadable.
    #[error(
        "the store is damaged ({what}): restore the folder from a backup, or move it away and join \
         again as a new office"
    )]
    Damaged {
        /// What, and how.
        what: String,
    },
    /// The store was closed, or could not be reopened.
    #[error("the store is closed")]
    Closed,
    /// The disk failed.
    #[error("the store can't be read: check the disk")]
    Failed(#[source] Box<redb::Error>),
}

impl CommitError {
    pub(crate) fn storage(error: impl Into<redb::Error>) -> Self {
        let error = error.into();
        match &error {
            redb::Error::Io(io) if is_full(io) => Self::Full(Box::new(error)),
            _ => Self::Failed(Box::new(error)),
        }
    }

    /// Whether the store has to be reopened: the disk is at fault, not the caller.
    pub fn needs_reopen(&self) -> bool {
        match self {
            Self::Full(_) | Self::Failed(_) | Self::NotReopened => true,
            Self::Gap { .. } | Self::Misplaced { .. } => false,
        }
    }
}

impl ReadError {
    pub(crate) fn storage(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Corrupted(what) => Self::Damaged { what },
            redb::Error::TableDoesNotExist(table) => {
                Self::Damaged { what: format!("table {table} is missing") }
            }
            redb::Error::DatabaseClosed => Self::Closed,
            error => Self::Failed(Box::new(error)),
        }
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
