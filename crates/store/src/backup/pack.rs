//! Writing a backup: gathers records into blocks. Needs the memory of one block.

use std::io::{self, Write};

use super::{BackupError, Contents, Head, Record, opening};
use crate::blocks::{BLOCK_BYTES, BLOCK_BYTES_MAX, BlockWriter, pack};

pub(super) struct Packer<W> {
    blocks: BlockWriter<W>,
    head: Head,
    /// Records of the next block.
    block: Vec<u8>,
    key: Option<[u8; 32]>,
}

impl<W: Write> Packer<W> {
    pub(super) fn begin(sink: W, head: &Head) -> Result<Self, BackupError> {
        let mut blocks = BlockWriter::begin(sink, &opening())?;
        blocks.block(&encode(head)?)?;
        Ok(Self { blocks, head: head.clone(), block: Vec::new(), key: None })
    }

    pub(super) fn add(&mut self, record: &Record) -> Result<(), BackupError> {
        if let Record::Key(key) = record {
            self.key = Some(*key);
        }
        let bytes = encode(record)?;
        if self.block.len() + bytes.len() > BLOCK_BYTES_MAX {
            self.end_block()?;
        }
        self.block.extend_from_slice(&bytes);
        if self.block.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    /// Writes a block as it came from another backup with the same head and the same blocks before it.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        Ok(self.blocks.block(bytes)?)
    }

    pub(super) fn finish(mut self) -> Result<Contents, BackupError> {
        self.end_block()?;
        let (sha256, bytes) = self.blocks.finish()?;
        Ok(Contents { head: self.head, key: self.key, sha256, bytes })
    }

    fn end_block(&mut self) -> Result<(), BackupError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let bytes = pack(&std::mem::take(&mut self.block))?;
        self.pass(&bytes)
    }
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, BackupError> {
    match postcard::to_stdvec(value) {
        Ok(bytes) if bytes.len() <= BLOCK_BYTES_MAX => Ok(bytes),
        Ok(bytes) => Err(unsound(format!("a record of {} bytes", bytes.len()))),
        Err(error) => Err(BackupError::Write(io::Error::other(error))),
    }
}

fn unsound(what: String) -> BackupError {
    BackupError::Unsound { what }
}
