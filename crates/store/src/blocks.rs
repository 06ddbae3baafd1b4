//! A file of blocks, each under a checksum: what backups and bundles are made of.
//!
//! ```text
//! opening    which kind of file, and of which format                             20 bytes
//! block      length u32, not 0 | SHA-256 32 | bytes                              numbers big-endian
//!  ...
//! end        0 u32 | SHA-256 32                                                  and nothing after it
//! ```
//!
//! Each SHA-256 is over the one before it (the first one: over the opening), the length and the bytes. So the last
//! one stands for the whole file, and none is read that isn't as it was written. The checksums tell damage, not
//! forgery.

use std::io::{self, Read, Write};

/// Bytes of records after which a block ends: enough to compress well.
pub(crate) const BLOCK_BYTES: usize = 1024 * 1024;

/// Largest block, compressed or not: a full one, and a record as large as there is none.
pub(crate) const BLOCK_BYTES_MAX: usize = 4 * BLOCK_BYTES;

/// Fast, and close to what the slow ones reach: most of a log is hashes and signatures.
const ZSTD_LEVEL: i32 = 3;

pub(crate) type Sha = [u8; 32];

pub(crate) const OPENING_BYTES: usize = 20;
pub(crate) type Opening = [u8; OPENING_BYTES];

/// How many bytes of the opening say which kind of file it is.
const MAGIC_BYTES: usize = 12;

/// Why blocks can't be read or written.
#[derive(Debug)]
pub(crate) enum BlockError {
    /// Another kind of file.
    Foreign,
    /// Another format.
    Newer,
    /// The end is missing.
    Short,
    /// The block that begins there is not as it was written.
    Damaged {
        at: u64,
    },
    /// Something goes on after the end, or a block can't be unpacked.
    Unsound(&'static str),
    Read(io::Error),
    Write(io::Error),
}

/// The checksum of a block, or with no bytes of the end.
fn next_sha(before: &Sha, bytes: &[u8]) -> Sha {
    use sha2::Digest as _;
    let length = bytes.len() as u32;
    let sha = sha2::Sha256::new().chain_update(before).chain_update(length.to_be_bytes());
    sha.chain_update(bytes).finalize().into()
}

fn first_sha(opening: &[u8]) -> Sha {
    use sha2::Digest as _;
    sha2::Sha256::digest(opening).into()
}

/// Packs what a block is to hold.
pub(crate) fn pack(plain: &[u8]) -> Result<Vec<u8>, BlockError> {
    zstd::bulk::compress(plain, ZSTD_LEVEL).map_err(BlockError::Write)
}

/// Gives what a block holds; never more than [`BLOCK_BYTES_MAX`].
pub(crate) fn unpack(packed: &[u8]) -> Result<Vec<u8>, BlockError> {
    zstd::bulk::decompress(packed, BLOCK_BYTES_MAX)
        .map_err(|_| BlockError::Unsound("a block can't be unpacked"))
}

pub(crate) struct BlockWriter<W> {
    sink: W,
    sha: Sha,
    written: u64,
}

impl<W: Write> BlockWriter<W> {
    pub(crate) fn begin(sink: W, opening: &Opening) -> Result<Self, BlockError> {
        let mut writer = Self { sink, sha: first_sha(opening), written: 0 };
        writer.write(opening)?;
        Ok(writer)
    }

    pub(crate) fn block(&mut self, bytes: &[u8]) -> Result<(), BlockError> {
        if bytes.is_empty() || bytes.len() > BLOCK_BYTES_MAX {
            return Err(BlockError::Unsound("a block of a size that none has"));
        }
        self.sha = next_sha(&self.sha, bytes);
        self.write(&[&(bytes.len() as u32).to_be_bytes()[..], &self.sha, bytes].concat())
    }

    /// Gives the last checksum, and how many bytes were written.
    pub(crate) fn finish(mut self) -> Result<(Sha, u64), BlockError> {
        self.sha = next_sha(&self.sha, &[]);
        self.write(&[&[0; 4][..], &self.sha].concat())?;
        self.sink.flush().map_err(BlockError::Write)?;
        Ok((self.sha, self.written))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BlockError> {
        self.written += bytes.len() as u64;
        self.sink.write_all(bytes).map_err(BlockError::Write)
    }
}

/// The blocks as they lie in the file.
pub(crate) struct BlockReader<R> {
    source: R,
    sha: Sha,
    read: u64,
}

impl<R: Read> BlockReader<R> {
    pub(crate) fn open(source: R, opening: &Opening) -> Result<Self, BlockError> {
        let mut blocks = Self { source, sha: Sha::default(), read: 0 };
        let found = blocks.take::<OPENING_BYTES>()?;
        blocks.sha = first_sha(&found);
        if found[..MAGIC_BYTES] != opening[..MAGIC_BYTES] {
            return Err(BlockError::Foreign);
        }
        // What is in blocks of earlier formats is read as well.
        let formats = MAGIC_BYTES..OPENING_BYTES;
        let is_newer = |at: usize| found[at..at + 4] > opening[at..at + 4];
        if formats.step_by(4).any(is_newer) {
            return Err(BlockError::Newer);
        }
        Ok(blocks)
    }

    /// The next block; none if it is the end.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, BlockError> {
        let at = self.read;
        let length = u32::from_be_bytes(self.take()?) as usize;
        if length > BLOCK_BYTES_MAX {
            return Err(BlockError::Damaged { at });
        }
        let sha: Sha = self.take()?;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        if sha != next_sha(&self.sha, &bytes) {
            return Err(BlockError::Damaged { at });
        }
        self.sha = sha;
        Ok((length > 0).then_some(bytes))
    }

    /// After the end: the last checksum, and how many bytes were read.
    pub(crate) fn finish(mut self) -> Result<(Sha, u64), BlockError> {
        let read = self.read;
        match self.take::<1>() {
            Ok(_) => Err(BlockError::Unsound("it goes on after its end")),
            Err(BlockError::Short) => Ok((self.sha, read)),
            Err(error) => Err(error),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BlockError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BlockError> {
        self.source.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BlockError::Short,
            _ => BlockError::Read(error),
        })?;
        self.read += bytes.len() as u64;
        Ok(())
    }
}
