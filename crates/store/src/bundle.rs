//! A bundle: one file with a report and all that proves it to whoever is no member. What is in it, and how it is
//! checked, is the core's ([`fasti_core::proof`]); here is the file.
//!
//! It is a file of blocks (`blocks`) that opens with `"fasti report" | BUNDLE_FORMAT u32 | 0 u32`, numbers big-endian.
//! Each block is postcard of one [`Record`] after another, compressed with zstd. The format changes with what a report
//! says, as it is compared byte for byte.

use std::io::{Read, Write};

use fasti_core::proof::{Check, Evidence, ProofError, Record, Verified};

use crate::blocks::{
    BLOCK_BYTES, BLOCK_BYTES_MAX, BlockError, BlockReader, BlockWriter, OPENING_BYTES, Opening,
    pack, unpack,
};
use crate::error::ReadError;
use crate::reader::Reader;

/// The format of bundles that this version writes and reads.
pub const BUNDLE_FORMAT: u32 = 1;

const MAGIC: [u8; 12] = *b"fasti report";

/// Why a bundle could not be made, or proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Something else.
    #[error("this is no bundle that `fasti report --format bundle` wrote")]
    Foreign,
    /// Made by a later version.
    #[error(
        "it is of a format that this version of fasti doesn't know: check it with the version that made it, or a later one"
    )]
    Newer,
    /// The end is missing.
    #[error("it is cut short: ask for it again")]
    Short,
    /// The bytes are not those that were written.
    #[error("it was damaged on its way, {at} bytes after its beginning: ask for it again")]
    Damaged {
        /// Where the block begins that is not as it was.
        at: u64,
    },
    /// The bytes are those that were written, and wrong.
    #[error("nobody's fasti wrote this: {0}")]
    Unsound(&'static str),
    /// It says what is not so.
    #[error("it proves nothing: {0}")]
    Proof(#[from] ProofError),
    /// Where it comes from.
    #[error("it can't be read")]
    Read(#[source] std::io::Error),
    /// Where it goes to.
    #[error("it can't be written: is there enough room?")]
    Write(#[source] std::io::Error),
    /// The store that it is made from.
    #[error(transparent)]
    Store(#[from] ReadError),
}

impl From<BlockError> for BundleError {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Foreign => Self::Foreign,
            BlockError::Newer => Self::Newer,
            BlockError::Short => Self::Short,
            BlockError::Damaged { at } => Self::Damaged { at },
            BlockError::Unsound(what) => Self::Unsound(what),
            BlockError::Read(error) => Self::Read(error),
            BlockError::Write(error) => Self::Write(error),
        }
    }
}

fn opening() -> Opening {
    let mut opening = [0; OPENING_BYTES];
    opening[..12].copy_from_slice(&MAGIC);
    opening[12..16].copy_from_slice(&BUNDLE_FORMAT.to_be_bytes());
    opening
}

impl Reader {
    /// Writes a bundle, and gives the report in it. Takes the time and the memory of judging all of its entries anew.
    ///
    /// # Errors
    /// See [`BundleError`]. What was written until then is no bundle.
    pub fn bundle(&self, evidence: &Evidence, sink: impl Write) -> Result<Verified, BundleError> {
        let mut packer =
            Packer { blocks: BlockWriter::begin(sink, &opening())?, block: Vec::new() };
        let mut check = Check::default();
        let mut take = |record: Record| {
            packer.add(&record)?;
            Ok::<_, BundleError>(check.take(record)?)
        };
        take(Record::Question(evidence.question.clone(), evidence.signature))?;
        let mut sealing = evidence.sealing();
        for item in self.rows(0)? {
            if sealing.is_done() {
                break;
            }
            sealing.add(item?.1).map_or(Ok(()), &mut take)?;
        }
        take(sealing.finish())?;
        evidence.notices.iter().cloned().map(Record::Notice).try_for_each(take)?;
        let pieces: Vec<Record> = check.judge()?.pieces().collect();
        for piece in pieces {
            packer.add(&piece)?;
            check.take(piece)?;
        }
        packer.finish()?;
        Ok(check.finish()?)
    }
}

/// Checks a bundle, trusting nothing but the network's id that it is found to be about. Needs no store.
///
/// # Errors
/// See [`BundleError`].
pub fn check_bundle(source: impl Read) -> Result<Verified, BundleError> {
    let mut blocks = BlockReader::open(source, &opening())?;
    let mut check = Check::default();
    while let Some(packed) = blocks.next()? {
        let plain = unpack(&packed)?;
        let mut rest = &plain[..];
        while !rest.is_empty() {
            let (record, after) =
                Record::take(rest).map_err(|_| BundleError::Unsound("a record can't be read"))?;
            check.take(record)?;
            rest = after;
        }
    }
    blocks.finish()?;
    Ok(check.finish()?)
}

struct Packer<W> {
    blocks: BlockWriter<W>,
    /// Records of the next block.
    block: Vec<u8>,
}

impl<W: Write> Packer<W> {
    fn add(&mut self, record: &Record) -> Result<(), BundleError> {
        let bytes = record.encode();
        if bytes.len() > BLOCK_BYTES_MAX {
            return Err(BundleError::Proof(ProofError::TooLarge));
        }
        if self.block.len() + bytes.len() > BLOCK_BYTES_MAX {
            self.end_block()?;
        }
        self.block.extend_from_slice(&bytes);
        if self.block.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), BundleError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let packed = pack(&std::mem::take(&mut self.block))?;
        Ok(self.blocks.block(&packed)?)
    }

    fn finish(mut self) -> Result<(), BundleError> {
        self.end_block()?;
        self.blocks.finish()?;
        Ok(())
    }
}
