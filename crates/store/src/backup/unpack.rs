//! Reading a backup: gives nothing out before its checksum was found right, and knows at the end whether it was
//! whole. Needs the memory of one block, whatever the file says.

use std::io::{Read, Write};

use fasti_core::entry::Signer;
use fasti_core::row::Row;

use super::pack::Packer;
use super::{BackupError, Contents, Head, Record, opening};
use crate::blocks::{BlockReader, unpack};

/// Reads a backup to its end and says what is in it.
///
/// # Errors
/// See [`BackupError`].
pub fn check(source: impl Read) -> Result<Contents, BackupError> {
    let mut unpacker = Unpacker::open(source)?;
    while unpacker.next_block()?.is_some() {}
    unpacker.finish()
}

/// Copies a backup from which the office's key was left out, with the key; checks it meanwhile. What was written
/// is a backup only if this succeeds.
///
/// # Errors
/// See [`BackupError`]; also if the key is another office's.
pub fn seal(source: impl Read, key: [u8; 32], sink: impl Write) -> Result<Contents, BackupError> {
    let mut unpacker = Unpacker::open(source)?;
    fits(&key, &unpacker.head)?;
    let mut packer = Packer::begin(sink, &unpacker.head)?;
    while let Some(block) = unpacker.next_block()? {
        packer.pass(&block.packed)?;
    }
    unpacker.finish()?;
    packer.add(&Record::Key(key))?;
    packer.finish()
}

pub(super) struct Unpacker<R> {
    blocks: BlockReader<R>,
    pub(super) head: Head,
    entries: u64,
    key: Option<[u8; 32]>,
}

pub(super) struct Block {
    packed: Vec<u8>,
    pub(super) records: Vec<Record>,
}

impl<R: Read> Unpacker<R> {
    pub(super) fn open(source: R) -> Result<Self, BackupError> {
        let mut blocks = BlockReader::open(source, &opening())?;
        let head = blocks.next()?.ok_or_else(|| unsound("it has no head"))?;
        let head = postcard::from_bytes(&head).map_err(|_| unsound("its head can't be read"))?;
        Ok(Self { blocks, head, entries: 0, key: None })
    }

    /// The next block; none at the end.
    pub(super) fn next_block(&mut self) -> Result<Option<Block>, BackupError> {
        let Some(packed) = self.blocks.next()? else { return Ok(None) };
        let plain = unpack(&packed)?;
        let (mut rest, mut records) = (&plain[..], Vec::new());
        while !rest.is_empty() {
            let (record, after) =
                postcard::take_from_bytes(rest).map_err(|_| unsound("a record can't be read"))?;
            self.note(&record)?;
            records.push(record);
            rest = after;
        }
        Ok(Some(Block { packed, records }))
    }

    fn note(&mut self, record: &Record) -> Result<(), BackupError> {
        match record {
            Record::Entry(row) => {
                Row::decode(row).map_err(|_| unsound("an entry can't be read"))?;
                self.entries += 1;
            }
            Record::Key(key) => {
                fits(key, &self.head)?;
                self.key = Some(*key);
            }
            _ => {}
        }
        Ok(())
    }

    /// After the last block: whether that was all of it.
    pub(super) fn finish(self) -> Result<Contents, BackupError> {
        let (sha256, bytes) = self.blocks.finish()?;
        if self.entries != self.head.entries {
            let what = format!("{} entries where {} should be", self.entries, self.head.entries);
            return Err(BackupError::Unsound { what });
        }
        Ok(Contents { head: self.head, key: self.key, sha256, bytes })
    }
}

fn fits(key: &[u8; 32], head: &Head) -> Result<(), BackupError> {
    if Signer::from_seed(key).office() == head.office {
        return Ok(());
    }
    Err(unsound("the key is another office's"))
}

fn unsound(what: &str) -> BackupError {
    BackupError::Unsound { what: what.into() }
}
