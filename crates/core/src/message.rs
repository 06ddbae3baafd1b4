//! What nodes say to each other. A frame is a version byte and one postcard-encoded message; what
//! can't be read is the sender's fault and harms nobody else.

use serde::{Deserialize, Serialize};

use crate::entry::{BUNDLE_BYTES_MAX, Bundle};
use crate::ids::{Digest, EntryHash, LogId};
use crate::notice::SignedNotice;

/// The version of the wire format: the first byte of every frame.
pub const WIRE: u8 = 1;

/// The numbers of the messages that bring entries.
const PUSH: u32 = 2;
const CHUNK: u32 = 4;

/// Most bytes of such a message: a bundle and what stands before it.
const FRAME_OF_ENTRIES_MAX: usize = BUNDLE_BYTES_MAX + 1024;

/// Lines and ranges in one message, at most: some 1.3 MB. More of them go in parts.
pub const LINES_PER_FRAME: usize = 16_384;

/// Which part of a list that is too long for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// From 0.
    pub at: u32,
    /// None comes after it.
    pub last: bool,
}

impl Part {
    /// The only one.
    pub const WHOLE: Self = Self { at: 0, last: true };

    /// Cuts a list into parts; one empty part if there is nothing in it.
    pub(crate) fn cut<T: Copy>(list: &[T]) -> impl Iterator<Item = (Self, Vec<T>)> {
        let last = list.len().div_ceil(LINES_PER_FRAME).max(1) - 1;
        (0..=last).map(move |at| {
            let rest = &list[at * LINES_PER_FRAME..];
            let part = Self { at: at as u32, last: at == last };
            (part, rest[..rest.len().min(LINES_PER_FRAME)].to_vec())
        })
    }
}

/// A log up to its last entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which log.
    pub log: LogId,
    /// Its last sequence number.
    pub seq: u64,
    /// The hash of that entry.
    pub hash: EntryHash,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The in-sync check; 66 bytes or so. Sent on connecting, after gaps, and as a heartbeat. Whoever
    /// receives one that differs from their own answers with [`Message::Frontier`].
    Hello {
        /// Random at each start of the sender, who forgets nothing while it stays the same.
        boot: u64,
        /// The digest of the sender's frontier.
        frontier: Digest,
        /// The first half of the digest of the sender's notices.
        notices: [u8; 16],
    },
    /// What the sender holds: the logs that grew since the receiver was last known to hold the same,
    /// and at first all.
    Frontier {
        /// As in `Hello`.
        boot: u64,
        /// Whether the sender wants the receiver's frontier in return.
        ask: bool,
        /// How many entries the sender held when it said so; `Want` repeats it.
        entries: u64,
        /// Which of the lines these are.
        part: Part,
        /// In the order of `LogId`.
        lines: Vec<Line>,
    },
    /// New entries.
    Push(Bundle),
    /// A request for these logs, each from a sequence number on. Answered by chunks.
    Want {
        /// The sender's number for this fetch.
        fetch: u32,
        /// The number in the `Frontier` that it answers: what came to the receiver later is not part of
        /// it, as it may build upon what this request doesn't ask for.
        entries: u64,
        /// Which of the ranges these are.
        part: Part,
        /// From which number on.
        from: Vec<(LogId, u64)>,
    },
    /// Part of what was wanted: closed under causality together with what the receiver reported
    /// and the chunks before.
    Chunk {
        /// As in `Want`.
        fetch: u32,
        /// Whether it is the last of this fetch.
        last: bool,
        /// The entries.
        bundle: Bundle,
    },
    /// Notices that are newer than what the receiver is known to hold.
    Notices(Vec<SignedNotice>),
}

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Another version of the wire format.
    #[error(
        "the peer speaks version {found} of the wire format and we speak {WIRE}: upgrade the older program"
    )]
    Version {
        /// Theirs.
        found: u8,
    },
    /// Not a message.
    #[error("not a message: {0}")]
    Malformed(#[from] postcard::Error),
    /// Something after the message.
    #[error("{0} bytes too many after the message")]
    TooLong(usize),
    /// More entries than a bundle may have.
    #[error("a bundle of {size} bytes, of at most {FRAME_OF_ENTRIES_MAX}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// Nothing at all.
    #[error("an empty frame")]
    Empty,
}

impl Message {
    /// As it goes over the wire.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![WIRE]).unwrap_or_default()
    }

    /// From the wire.
    ///
    /// # Errors
    /// [`FrameError`]
    pub fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        match frame {
            [] => Err(FrameError::Empty),
            [WIRE, body @ ..] => {
                // Entries are larger in memory than in a frame: looked at before they are there.
                let (kind, _) = postcard::take_from_bytes::<u32>(body)?;
                if matches!(kind, PUSH | CHUNK) && body.len() > FRAME_OF_ENTRIES_MAX {
                    return Err(FrameError::TooLarge { size: body.len() });
                }
                match postcard::take_from_bytes(body)? {
                    (message, []) => Ok(message),
                    (_, rest) => Err(FrameError::TooLong(rest.len())),
                }
            }
            [found, ..] => Err(FrameError::Version { found: *found }),
        }
    }
}
