//! Reading a backup: gives nothing out before its checksum was found right, and knows at the end whether it was
//! whole. Needs the memory of one block, whatever the file says.

use std::io::{self, Read, Write};

use fasti_core::entry::Signer;
use fasti_core::row::Row;

use super::pack::Packer;
use super::{
    BLOCK_BYTES_MAX, BackupError, Contents, Head, MAGIC, Record, Sha, first_sha, next_sha,
};

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
    blocks: Blocks<R>,
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
        let mut blocks = Blocks::open(source)?;
        let head = blocks.next()?.ok_or_else(|| unsound("it has no head"))?;
        let head = postcard::from_bytes(&head).map_err(|_| unsound("its head can't be read"))?;
        Ok(Self { blocks, head, entries: 0, key: None })
    }

    /// The next block; none at the end.
    pub(super) fn next_block(&mut self) -> Result<Option<Block>, BackupError> {
        let Some(packed) = self.blocks.next()? else { return Ok(None) };
        let plain = zstd::bulk::decompress(&packed, BLOCK_BYTES_MAX)
            .map_err(|_| unsound("a block can't be unpacked"))?;
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
    pub(super) fn finish(mut self) -> Result<Contents, BackupError> {
        if !self.blocks.is_at_end()? {
            return Err(unsound("it goes on after its end"));
        }
        if self.entries != self.head.entries {
            let what = format!("{} entries where {} should be", self.entries, self.head.entries);
            return Err(BackupError::Unsound { what });
        }
        let Blocks { sha, read, .. } = self.blocks;
        Ok(Contents { head: self.head, key: self.key, sha256: sha, bytes: read })
    }
}

/// The blocks as they lie in the file.
struct Blocks<R> {
    source: R,
    sha: Sha,
    read: u64,
}

impl<R: Read> Blocks<R> {
    fn open(source: R) -> Result<Self, BackupError> {
        let mut blocks = Self { source, sha: Sha::default(), read: 0 };
        let opening = blocks.take::<20>()?;
        if !opening.starts_with(&MAGIC) {
            return Err(BackupError::Foreign);
        }
        // Later versions read older formats here.
        if opening != super::opening() {
            return Err(BackupError::Newer);
        }
        blocks.sha = first_sha(&opening);
        Ok(blocks)
    }

    /// The next block; none if it is the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        let at = self.read;
        let length = u32::from_be_bytes(self.take()?) as usize;
        if length > BLOCK_BYTES_MAX {
            return Err(BackupError::Damaged { at });
        }
        let sha: Sha = self.take()?;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        if sha != next_sha(&self.sha, &bytes) {
            return Err(BackupError::Damaged { at });
        }
        self.sha = sha;
        Ok((length > 0).then_some(bytes))
    }

    fn is_at_end(&mut self) -> Result<bool, BackupError> {
        match self.take::<1>() {
            Ok(_) => Ok(false),
            Err(BackupError::Short) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        self.source.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::Short,
            _ => BackupError::Read(error),
        })?;
        self.read += bytes.len() as u64;
        Ok(())
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
