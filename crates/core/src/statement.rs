//! What an entry says: a change of a document, a statement about who belongs to the network, or one about
//! resources.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::approval::Approval;
use crate::codec;
use crate::entry::{Signature, Signer, Verifier};
use crate::event::{self, Leaf};
use crate::ids::{DocumentId, EntryHash, NetworkId, OfficeId, TicketId};
use crate::resource::Reservation;

/// What an office may do. A set of them belongs to each member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Invites and removes.
    Admin,
    /// Approves policies.
    Approver,
    /// Publishes and edits.
    Office,
    /// Reads, and writes nothing.
    Auditor,
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "admin" => Ok(Self::Admin),
            "approver" => Ok(Self::Approver),
            "office" => Ok(Self::Office),
            "auditor" => Ok(Self::Auditor),
            _ => Err(format!("{text:?} is no role; roles are admin, approver, office and auditor")),
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Approver => "approver",
            Self::Office => "office",
            Self::Auditor => "auditor",
        })
    }
}

/// The network's first entry; its hash is the network's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The founder's name, as people call the office.
    pub name: String,
    /// Random, so that founding twice makes two networks.
    pub nonce: [u8; 16],
}

/// An admin's promise to admit whoever holds the ticket's secret key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The ticket's public key.
    pub ticket: TicketId,
    /// The name that the new member will have.
    pub name: String,
    /// The roles that it will have; sorted, never empty.
    pub roles: Vec<Role>,
    /// After this wall-clock time (milliseconds since 1970) the ticket is worth nothing.
    pub expires: i64,
}

/// A member's statement that an invited office came with its ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admit {
    /// Which ticket was used.
    pub ticket: TicketId,
    /// The new member.
    pub office: OfficeId,
    /// By the ticket's key, over network and office: so that a sponsor can't give the ticket to
    /// somebody else.
    pub proof: Signature,
}

impl Admit {
    /// Made by the newcomer, who holds the ticket's secret.
    pub fn new(network: &NetworkId, office: OfficeId, ticket: &Signer) -> Self {
        let key = ticket.office();
        Self { ticket: TicketId(key.0), office, proof: ticket.sign(&Self::claim(network, &office)) }
    }

    /// Whether the ticket's holder wanted this office admitted to this network.
    pub fn is_proved(&self, network: &NetworkId, verifier: &dyn Verifier) -> bool {
        let key = OfficeId(self.ticket.0);
        verifier.verify(&key, &Self::claim(network, &self.office), &self.proof)
    }

    fn claim(network: &NetworkId, office: &OfficeId) -> [u8; 32] {
        let mut sha = Sha256::new();
        sha.update(b"fasti/admit/1\0");
        sha.update(network.0);
        sha.update(office.0);
        sha.finalize().into()
    }
}

/// An admin's statement that an office is no member any more, for ever: who is to come back comes with a new
/// key. A member who is no admin may say it of itself, and each of the key that it succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remove {
    /// Whom.
    pub office: OfficeId,
}

/// A member's statement that it goes on under a new key, with the name and the roles that it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Succeed {
    /// The new key.
    pub office: OfficeId,
    /// By the new key, over network and old key: so that nobody can name a key of another's.
    pub proof: Signature,
}

impl Succeed {
    /// Made by who holds both keys.
    pub fn new(network: &NetworkId, old: &OfficeId, new: &Signer) -> Self {
        Self { office: new.office(), proof: new.sign(&Self::claim(network, old)) }
    }

    /// Whether the new key's holder wanted to succeed this office.
    pub fn is_proved(&self, network: &NetworkId, old: &OfficeId, verifier: &dyn Verifier) -> bool {
        verifier.verify(&self.office, &Self::claim(network, old), &self.proof)
    }

    fn claim(network: &NetworkId, old: &OfficeId) -> [u8; 32] {
        let mut sha = Sha256::new();
        sha.update(b"fasti/succeed/1\0");
        sha.update(network.0);
        sha.update(old.0);
        sha.finalize().into()
    }
}

/// A change of a document: what its author edited and nothing else. The Automerge change that it becomes
/// follows from it and from what lies under its entry, and is made by every node for itself
/// ([`crate::Document`]): so nothing that a peer could craft reaches Automerge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocumentChange {
    /// Which document.
    pub document: DocumentId,
    /// Events in the order of their uids.
    pub edits: Vec<EventEdit>,
}

/// What was edited of one event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventEdit {
    /// The event. It is created if there is none under the entry.
    pub uid: String,
    /// Fields in the order of their paths, with their new values; none for those that go.
    pub fields: Vec<(String, Option<Leaf>)>,
}

impl DocumentChange {
    /// Whether it is as [`crate::event`] has events, in its one order.
    pub(crate) fn is_sound(&self) -> bool {
        let is_sound = |edit: &EventEdit| {
            event::is_uid(&edit.uid)
                && (1..=event::FIELDS_MAX).contains(&edit.fields.len())
                && edit.fields.is_sorted_by(|a, b| a.0 < b.0)
                && edit.fields.iter().all(|(path, leaf)| {
                    event::is_path(path) && leaf.as_ref().is_none_or(Leaf::is_sound)
                })
        };
        !self.edits.is_empty()
            && self.edits.is_sorted_by(|a, b| a.uid < b.uid)
            && self.edits.iter().all(is_sound)
    }
}

/// An admin's word that an office which signed several histories was looked into, and may stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// The first entries of the histories that were looked into; sorted.
    pub histories: Vec<EntryHash>,
}

/// Most histories in a review.
pub(crate) const REVIEWED_MAX: usize = 64;

impl Review {
    /// Whether it is in its one order, and not too long.
    pub(crate) fn is_sound(&self) -> bool {
        (1..=REVIEWED_MAX).contains(&self.histories.len())
            && self.histories.is_sorted_by(|a, b| a < b)
    }
}

/// The body of an entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// Kind 0.
    Found(Found),
    /// Kind 1.
    Invite(Invite),
    /// Kind 2.
    Admit(Admit),
    /// Kind 3.
    Change(DocumentChange),
    /// Kind 4.
    Remove(Remove),
    /// Kind 5.
    Succeed(Succeed),
    /// Kinds 6 to 11.
    Reservation(Reservation),
    /// Kinds 12 to 14.
    Approval(Approval),
    /// Kind 15.
    Review(Review),
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A kind, or a document, that this version doesn't know: a later version's.
    Unknown,
    /// A known kind whose body is malformed: nobody's.
    Malformed,
}

impl Statement {
    /// Whom it would admit, if it counts.
    pub(crate) fn admits(&self) -> Option<OfficeId> {
        match self {
            Self::Admit(admit) => Some(admit.office),
            Self::Succeed(succeed) => Some(succeed.office),
            Self::Found(_)
            | Self::Invite(_)
            | Self::Change(_)
            | Self::Remove(_)
            | Self::Approval(_)
            | Self::Review(_)
            | Self::Reservation(_) => None,
        }
    }

    /// Whether it is about who belongs to the network.
    pub(crate) fn is_of_roster(&self) -> bool {
        match self {
            Self::Change(_) | Self::Approval(_) | Self::Review(_) | Self::Reservation(_) => false,
            Self::Found(_)
            | Self::Invite(_)
            | Self::Admit(_)
            | Self::Remove(_)
            | Self::Succeed(_) => true,
        }
    }

    /// The number of its kind and its body. Numbers are never reused.
    pub fn encode(&self) -> (u16, Vec<u8>) {
        let (kind, body) = match self {
            Self::Found(found) => (0, postcard::to_stdvec(found)),
            Self::Invite(invite) => (1, postcard::to_stdvec(invite)),
            Self::Admit(admit) => (2, postcard::to_stdvec(admit)),
            Self::Change(change) => (3, postcard::to_stdvec(change)),
            Self::Remove(remove) => (4, postcard::to_stdvec(remove)),
            Self::Succeed(succeed) => (5, postcard::to_stdvec(succeed)),
            Self::Reservation(it) => match it {
                Reservation::Define(it) => (6, postcard::to_stdvec(it)),
                Reservation::Describe(it) => (7, postcard::to_stdvec(it)),
                Reservation::Book(it) => (8, postcard::to_stdvec(it)),
                Reservation::Grant(it) => (9, postcard::to_stdvec(it)),
                Reservation::Propose(it) => (10, postcard::to_stdvec(it)),
                Reservation::Accept(it) => (11, postcard::to_stdvec(it)),
            },
            Self::Approval(Approval::Propose(it)) => (12, postcard::to_stdvec(it)),
            Self::Approval(Approval::Approve(it)) => (13, postcard::to_stdvec(it)),
            Self::Approval(Approval::Withdraw(it)) => (14, postcard::to_stdvec(it)),
            Self::Review(it) => (15, postcard::to_stdvec(it)),
        };
        (kind, body.unwrap_or_default())
    }

    /// Reads a body; what is left over after it makes it malformed.
    pub fn decode(kind: u16, body: &[u8]) -> Result<Self, Unreadable> {
        match kind {
            0 => exactly(body).map(Self::Found),
            1 => exactly(body).map(Self::Invite),
            2 => exactly(body).map(Self::Admit),
            3 => match postcard::take_from_bytes(body) {
                Ok((DocumentId::CALENDAR, _)) => exactly(body).map(Self::Change),
                Ok(_) => Err(Unreadable::Unknown),
                Err(_) => Err(Unreadable::Malformed),
            },
            4 => exactly(body).map(Self::Remove),
            5 => exactly(body).map(Self::Succeed),
            6 => exactly(body).map(|it| Self::Reservation(Reservation::Define(it))),
            7 => exactly(body).map(|it| Self::Reservation(Reservation::Describe(it))),
            8 => exactly(body).map(|it| Self::Reservation(Reservation::Book(it))),
            9 => exactly(body).map(|it| Self::Reservation(Reservation::Grant(it))),
            10 => exactly(body).map(|it| Self::Reservation(Reservation::Propose(it))),
            11 => exactly(body).map(|it| Self::Reservation(Reservation::Accept(it))),
            12 => exactly(body).map(|it| Self::Approval(Approval::Propose(it))),
            13 => exactly(body).map(|it| Self::Approval(Approval::Approve(it))),
            14 => exactly(body).map(|it| Self::Approval(Approval::Withdraw(it))),
            15 => exactly(body).map(Self::Review),
            _ => Err(Unreadable::Unknown),
        }
    }
}

fn exactly<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    codec::exactly(body).map_err(|_| Unreadable::Malformed)
}
