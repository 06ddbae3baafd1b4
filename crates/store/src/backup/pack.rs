//! Writing a backup: gathers records into blocks. Needs the memory of one block.

use std::io::{self, Write};

use super::{
    BLOCK_BYTES, BLOCK_BYTES_MAX, BackupError, Contents, Head, Record, Sha, first_sha, next_sha,
    opening,
};

/// Fast, and close to what the slow ones reach: most of a log is hashes and signatures.
const ZSTD_LEVEL: i32 = 3;

pub(super) struct Packer<W> {
    sink: W,
    head: Head,
    sha: Sha,
    written: u64,
    /// Records of the next block.
    block: Vec<u8>,
    key: Option<[u8; 32]>,
}

impl<W: Write> Packer<W> {
    pub(super) fn begin(sink: W, head: &Head) -> Result<Self, BackupError> {
        let opening = opening();
        let (sha, head) = (first_sha(&opening), head.clone());
        let mut packer = Self { sink, head, sha, written: 0, block: Vec::new(), key: None };
        packer.write(&opening)?;
        let head = encode(&packer.head)?;
        packer.pass(&head)?;
        Ok(packer)
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
        if bytes.is_empty() || bytes.len() > BLOCK_BYTES_MAX {
            return Err(unsound(format!("a block of {} bytes", bytes.len())));
        }
        self.sha = next_sha(&self.sha, bytes);
        self.write(&[&(bytes.len() as u32).to_be_bytes()[..], &self.sha, bytes].concat())
    }

    pub(super) fn finish(mut self) -> Result<Contents, BackupError> {
        self.end_block()?;
        self.sha = next_sha(&self.sha, &[]);
        self.write(&[&[0; 4][..], &self.sha].concat())?;
        self.sink.flush().map_err(BackupError::Write)?;
        let Self { head, key, sha, written, .. } = self;
        Ok(Contents { head, key, sha256: sha, bytes: written })
    }

    fn end_block(&mut self) -> Result<(), BackupError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let bytes = zstd::bulk::compress(&self.block, ZSTD_LEVEL).map_err(BackupError::Write)?;
        self.block.clear();
        self.pass(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.written += bytes.len() as u64;
        self.sink.write_all(bytes).map_err(BackupError::Write)
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
