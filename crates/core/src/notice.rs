//! Notices: what each office says about itself right now. Signed, latest-only, and never part of the
//! calendar: an acknowledgement of everything costs a few hundred bytes, however many entries and
//! offices there are.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::codec::exactly;
use crate::entry::{Signature, Signer, Verifier};
use crate::ids::{Digest, EntryHash, Incarnation, OfficeId};
use crate::outbox::Systems;

/// Most heads that an acknowledgement lists. With more concurrent heads it lists some, which says
/// less but nothing false, and the frontier's digest says the rest to whoever holds the same.
pub const ACK_HEADS_MAX: usize = 64;

/// Largest body in bytes: what is said of external systems is the longest.
pub const NOTICE_BYTES_MAX: usize = 16 * 1024;

/// What a notice is about; each office has one latest notice for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topic {
    /// [`Acknowledgement`].
    Acknowledgement,
    /// [`Presence`].
    Presence,
    /// [`Systems`].
    Systems,
}

impl Topic {
    pub(crate) const ALL: [Self; 3] = [Self::Acknowledgement, Self::Presence, Self::Systems];
}

/// "I hold durably all that lies under these heads."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The log that the office is writing.
    pub incarnation: Incarnation,
    /// Its last sequence number in that log at that moment; 0 before its first entry.
    pub seq: u64,
    /// Whether it understands all that it holds. What it doesn't understand, what it writes next doesn't build
    /// upon.
    pub understands: bool,
    /// The digest of its frontier.
    pub digest: Digest,
    /// Its heads; at most [`ACK_HEADS_MAX`].
    pub heads: Vec<EntryHash>,
}

/// Where an office can be reached and what it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Multiaddresses, most useful first.
    pub addresses: Vec<String>,
    /// The newest merge rules that it understands.
    pub rules: u8,
    /// The program's version, for people.
    pub version: String,
    /// It relays between members that can't reach each other.
    pub relay: bool,
}

/// A notice with its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedNotice {
    /// Who says it.
    pub office: OfficeId,
    /// About what.
    pub topic: Topic,
    /// Rises with each notice of the office on the topic; the highest counts.
    pub counter: u64,
    /// The encoded [`Acknowledgement`], [`Presence`] or [`Systems`].
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// By the office, over all of the above.
    pub signature: Signature,
}

impl SignedNotice {
    /// Signs.
    pub fn new(signer: &Signer, topic: Topic, counter: u64, body: &impl Serialize) -> Self {
        let office = signer.office();
        let body = postcard::to_stdvec(body).unwrap_or_default();
        let signature = signer.sign(&digest(&office, topic, counter, &body));
        Self { office, topic, counter, body, signature }
    }

    /// Whether the office signed it and it is within limits.
    pub fn is_genuine(&self, verifier: &dyn Verifier) -> bool {
        let digest = digest(&self.office, self.topic, self.counter, &self.body);
        self.body.len() <= NOTICE_BYTES_MAX
            && verifier.verify(&self.office, &digest, &self.signature)
    }

    /// As the store keeps it.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// From the store.
    ///
    /// # Errors
    /// Bytes that [`SignedNotice::encode`] didn't make.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }

    /// The body as an acknowledgement, if it is one.
    pub fn acknowledgement(&self) -> Option<Acknowledgement> {
        (self.topic == Topic::Acknowledgement).then(|| exactly(&self.body).ok()).flatten()
    }

    /// The body as what is said of external systems, if it is that.
    pub fn systems(&self) -> Option<Systems> {
        (self.topic == Topic::Systems).then(|| exactly(&self.body).ok()).flatten()
    }

    /// The body as a presence, if it is one.
    pub fn presence(&self) -> Option<Presence> {
        (self.topic == Topic::Presence).then(|| exactly(&self.body).ok()).flatten()
    }
}

fn digest(office: &OfficeId, topic: Topic, counter: u64, body: &[u8]) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(b"fasti/notice/1\0");
    sha.update(office.0);
    sha.update([topic as u8]);
    sha.update(counter.to_be_bytes());
    sha.update(body);
    sha.finalize().into()
}
