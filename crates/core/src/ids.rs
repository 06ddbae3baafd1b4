//! Names of things: offices, logs, entries, networks, documents.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares a 32-byte identifier that people see as 64 hex digits and the wire as its bytes.
macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; 32]>::deserialize(deserializer).map(Self)
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            /// The first eight digits: enough to tell two apart in a log.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|source| ParseIdError {
                    what: stringify!($name),
                    source,
                })?;
                Ok(Self(bytes))
            }
        }
    };
}

bytes32! {
    /// An office's Ed25519 public key. Its libp2p PeerId is made of the same key.
    OfficeId
}
bytes32! {
    /// SHA-256 over an entry's encoded header and body; what its author signs.
    EntryHash
}
bytes32! {
    /// A network: the hash of the founder's first entry, so that the id itself proves the founder.
    NetworkId
}
bytes32! {
    /// The public half of a ticket's one-use key.
    TicketId
}
bytes32! {
    /// A resource: the hash of the entry that defined it.
    ResourceId
}
bytes32! {
    /// SHA-256 over a whole frontier: equal exactly where two nodes hold the same entries.
    Digest
}

/// A text that is not 64 hex digits where an id was expected.
#[derive(Debug, thiserror::Error)]
#[error("{what} is 64 hex digits")]
pub struct ParseIdError {
    what: &'static str,
    source: hex::FromHexError,
}

/// One unbroken run of an office's log. A node that can't be sure of its last sequence number (new,
/// restored, copied) draws a new one at random instead of risking to use a number twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0 >> 32)
    }
}

/// One hash-chained log: an office in one of its incarnations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// Whose log it is.
    pub author: OfficeId,
    /// Which of the author's logs.
    pub incarnation: Incarnation,
}

/// Which Automerge document a change belongs to. There is one so far; the wire names it so that
/// calendars can be split into volumes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DocumentId(pub u16);

impl DocumentId {
    /// The calendar that every office holds.
    pub const CALENDAR: Self = Self(0);
}
