//! How an entry lies on disk: with what was found out about it, so that opening a folder verifies
//! and decodes nothing twice.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, Signature};
use crate::ids::EntryHash;

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It counts.
    Applied,
    /// It was made under rules or of a kind that this version doesn't know, or after such an entry.
    /// Held and passed on; read again by the next version.
    Deferred,
    /// It is properly signed but not well-formed, which every node finds alike from the entry and what
    /// lies under it. Held and passed on, so that nobody's log has a hole; changes nothing.
    Void(Void),
}

/// Why an entry counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Void {
    /// The body can't be read.
    Malformed,
    /// The author was not a member when writing it, or may not write.
    NotAllowed,
    /// Its edits come to nothing (the fields that they remove are not there), or to too many operations; or it
    /// removes nobody.
    NoEffect,
    /// Another founding entry.
    SecondFounding,
    /// The ticket was unknown, expired, used, revoked or not proved; or the new key was.
    BadAdmission,
    /// Its author was removed: see [`crate::statement::Remove`].
    Removed,
    /// It made this release of the program fail: see `Ledger::quarantine`.
    Quarantined(Release),
}

/// A release of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Release(u16, u16, u16);

impl Release {
    /// The one that runs.
    pub const THIS: Self = Self(
        number(env!("CARGO_PKG_VERSION_MAJOR")),
        number(env!("CARGO_PKG_VERSION_MINOR")),
        number(env!("CARGO_PKG_VERSION_PATCH")),
    );
}

const fn number(digits: &str) -> u16 {
    match u16::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("a part of the version is no number"),
    }
}

/// What the document needs to know of an applied change without decoding it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The Automerge change's hash.
    pub change: [u8; 32],
    /// Its highest operation counter.
    pub max_op: u64,
    /// The uids of the events that it touched; sorted.
    pub uids: Vec<String>,
}

/// One entry of the local log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The entry's hash.
    pub hash: EntryHash,
    /// The author's signature over it. The entries inside a run have none: the next signed entry of
    /// the same log speaks for them.
    pub signature: Option<Signature>,
    /// What became of it.
    pub standing: Standing,
    /// For applied changes.
    pub applied: Option<Applied>,
    /// The entry.
    pub entry: Entry,
}

impl Row {
    /// As the store keeps it.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// From the store.
    ///
    /// # Errors
    /// Bytes that [`Row::encode`] didn't make: a damaged disk.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}
