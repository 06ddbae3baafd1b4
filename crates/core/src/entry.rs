//! Entries: the signed, hash-chained records that travel between offices, and the runs of them that
//! go over the wire under one signature. Leaves to `graph` how entries lie together and to
//! `statement` what is in them.

pub use ed25519_dalek::Signature;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ids::{EntryHash, LogId, NetworkId, OfficeId};

/// The merge rules that this program writes and understands. An entry says under which rules it was
/// made; one made under later rules is held and passed on but not applied, so that a network of mixed
/// versions never disagrees about what it shows: the older node shows less and says that it must
/// be upgraded.
pub const RULES: u8 = 1;

/// Largest body of an entry in bytes. A chunk always has room for one, and a policy with a hundred
/// fields of a paragraph each fits.
pub const BODY_BYTES_MAX: usize = 128 * 1024;

/// Longest name of a person in bytes.
pub const PERSON_BYTES_MAX: usize = 64;

/// Most parents of an entry: one for each log that may be concurrent, far above any network's size.
pub const PARENTS_MAX: usize = 4096;

/// Most entries of a bundle: an honest one has no more, as chunks count 16 bytes for each ([`crate::log`]). Without
/// a bound 800,000 without a body fit into 4 MB, and taking them cost 0.7 GB and 20 s.
pub const ENTRIES_MAX: usize = 16 * 1024;

/// Most bytes of a bundle, by a count that is never below what they are when encoded ([`check_bundle`]). An honest
/// one has less, if each of its entries is a run of its own; and it fits into a frame (4 MiB) whoever passes it on.
pub const BUNDLE_BYTES_MAX: usize = 4_000_000;

const ENTRY_DOMAIN: &[u8] = b"fasti/entry/1\0";
const SIGN_DOMAIN: &[u8] = b"fasti/sign/1\0";

/// What an author adds to their log, apart from its position in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The merge rules under which it was made: [`RULES`].
    pub rules: u8,
    /// The heads of what the author held, without the author's own previous entry; sorted.
    pub parents: Vec<EntryHash>,
    /// The author's wall clock, milliseconds since 1970. Shown to people; decides nothing but whether
    /// a ticket had expired.
    pub time: i64,
    /// Who of the author's people asked for it; empty where it was a program, or whoever runs the node. The author's
    /// word for it is all that there is.
    pub person: Box<str>,
    /// What the body is: see [`crate::statement::Kind`].
    pub kind: u16,
    /// The encoded statement or change.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// A link in its place: one entry of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose log.
    pub log: LogId,
    /// Its place in the log, from 1.
    pub seq: u64,
    /// The hash of the entry before it in the log; for the first, [`first_prev`].
    pub prev: EntryHash,
    /// What was added.
    pub link: Link,
}

impl Entry {
    /// What identifies the entry: SHA-256 over a domain and its postcard encoding.
    pub fn hash(&self) -> EntryHash {
        hash(&self.log, self.seq, &self.prev, &self.link)
    }
}

fn hash(log: &LogId, seq: u64, prev: &EntryHash, link: &Link) -> EntryHash {
    let mut sha = Sha256::new();
    sha.update(ENTRY_DOMAIN);
    let bytes = postcard::to_stdvec(&(log, seq, prev, link)).unwrap_or_default();
    sha.update(&bytes);
    EntryHash(sha.finalize().into())
}

/// The `prev` of a log's first entry: the network's id, so that no entry can be replayed into another
/// network. The founding entry itself, whose hash is that id, has zeros.
pub fn first_prev(network: Option<NetworkId>) -> EntryHash {
    EntryHash(network.map_or([0; 32], |network| network.0))
}

/// Consecutive entries of one log. The signature is over the last entry's hash and so, by the chain of
/// hashes, over all of them and everything before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Whose log.
    pub log: LogId,
    /// The first link's place in the log.
    pub first: u64,
    /// The hash of the entry before the first link.
    pub prev: EntryHash,
    /// The entries, in order; never empty.
    pub links: Vec<Link>,
    /// By the author, over the last entry's hash.
    pub signature: Signature,
}

impl Run {
    /// The place of its last entry. A run that is not in shape may claim any place.
    pub fn last(&self) -> u64 {
        self.first.saturating_add(self.links.len() as u64).saturating_sub(1)
    }

    /// The hash of each of its entries.
    pub fn hashes(&self) -> Vec<EntryHash> {
        let mut prev = self.prev;
        let mut seq = self.first;
        self.links
            .iter()
            .map(|link| {
                prev = hash(&self.log, seq, &prev, link);
                seq = seq.wrapping_add(1);
                prev
            })
            .collect()
    }

    /// The part of it after this place in the log, if there is one.
    pub(crate) fn after(mut self, seq: u64) -> Option<Self> {
        if self.first > seq {
            return Some(self);
        }
        let known = usize::try_from(seq + 1 - self.first).ok()?;
        if known >= self.links.len() {
            return None;
        }
        self.prev = *self.hashes().get(known - 1)?;
        self.first = seq + 1;
        self.links.drain(..known);
        Some(self)
    }

    /// Whether its shape is within the limits; says what is not.
    pub fn check_shape(&self) -> Result<(), &'static str> {
        if self.links.is_empty() || self.first == 0 {
            return Err("a run without entries");
        }
        if self.first.checked_add(self.links.len() as u64).is_none() {
            return Err("sequence numbers beyond 2^64");
        }
        for link in &self.links {
            if link.body.len() > BODY_BYTES_MAX {
                return Err("an entry's body is too large");
            }
            if !is_person(&link.person) {
                return Err("an entry's person has no name for people");
            }
            if link.parents.len() > PARENTS_MAX {
                return Err("an entry has too many parents");
            }
            if !link.parents.is_sorted_by(|a, b| a < b) {
                return Err("an entry's parents are not sorted");
            }
        }
        Ok(())
    }

    /// Its entries one by one, given [`Run::hashes`].
    pub(crate) fn into_entries(
        self,
        hashes: Vec<EntryHash>,
    ) -> impl Iterator<Item = (EntryHash, Entry)> {
        let Self { log, first, mut prev, links, .. } = self;
        // In this order, so that nobody asks for the number after the last one.
        links.into_iter().zip(first..).zip(hashes).map(move |((link, seq), hash)| {
            let entry = Entry { log, seq, prev, link };
            prev = hash;
            (hash, entry)
        })
    }
}

/// Whether a text can name a person, or nobody.
pub fn is_person(name: &str) -> bool {
    name.len() <= PERSON_BYTES_MAX && !name.chars().any(char::is_control)
}

/// A set of runs that is taken whole or not at all: what an author wrote in one step, or one chunk of
/// anti-entropy. Because every run in it ends with a signature, a holder can always pass on what it
/// holds (see [`crate::log`]).
pub type Bundle = Vec<Run>;

/// Whether a bundle is within the limits, apart from its runs; says what is not.
pub(crate) fn check_bundle(bundle: &[Run]) -> Result<(), &'static str> {
    let links = || bundle.iter().flat_map(|run| &run.links);
    if links().count() > ENTRIES_MAX {
        return Err("a bundle of too many entries");
    }
    let bytes: usize = links()
        .map(|link| link.body.len() + link.person.len() + 32 * link.parents.len() + 24)
        .sum();
    if bytes + 200 * bundle.len() > BUNDLE_BYTES_MAX {
        return Err("a bundle of too many bytes");
    }
    Ok(())
}

/// An office's secret key.
#[derive(Clone)]
pub struct Signer(SigningKey);

impl Signer {
    /// From the 32-byte Ed25519 seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn office(&self) -> OfficeId {
        OfficeId(self.0.verifying_key().to_bytes())
    }

    /// Signs a 32-byte hash.
    pub fn sign(&self, hash: &[u8; 32]) -> Signature {
        self.0.sign(&[SIGN_DOMAIN, hash].concat())
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({:?})", self.office())
    }
}

/// Checks signatures. A trait because checking is a pure function that costs more than all the rest
/// of accepting an entry: a simulator of a thousand offices remembers the answers.
pub trait Verifier: Send + Sync {
    /// Whether `office` signed `hash`.
    fn verify(&self, office: &OfficeId, hash: &[u8; 32], signature: &Signature) -> bool;
}

/// Ed25519 with strict verification (no malleable signatures, no weak keys).
#[derive(Clone, Copy, Debug, Default)]
pub struct Ed25519;

impl Verifier for Ed25519 {
    fn verify(&self, office: &OfficeId, hash: &[u8; 32], signature: &Signature) -> bool {
        VerifyingKey::from_bytes(&office.0)
            .and_then(|key| key.verify_strict(&[SIGN_DOMAIN, hash].concat(), signature))
            .is_ok()
    }
}
