//! What entries say about resources (rooms, people, vehicles) and their bookings: how it lies in bodies, and
//! whether it is well-formed. Leaves to `booking` what follows from it.

use serde::{Deserialize, Serialize};

use crate::event;
use crate::ids::{EntryHash, OfficeId, ResourceId};
use crate::roster::is_name;

/// Most offices that a resource waits for. Each makes a booking final later, and the resource easier to stall.
pub const STAKEHOLDERS_MAX: usize = 16;
/// Most bookings side by side: seats of the largest hall.
pub const CAPACITY_MAX: u32 = 1000;
/// Longest time before or after a booking: a week, in seconds.
pub const BUFFER_MAX: u32 = 7 * 86_400;
/// Most intervals, and most releases, that an entry carries: three years of every day.
pub const CLAIMS_MAX: usize = 1000;
/// Longest interval: a leap year and a day, in seconds.
pub const SPAN_MAX: i64 = 367 * 86_400;
/// Most requests that an entry grants.
pub const GRANTS_MAX: usize = 256;
/// Longest recurrence id in bytes: a local date-time with its zone fits.
pub const OCCURRENCE_BYTES_MAX: usize = 64;
/// 1970 to 9999, in seconds.
const TIMES: std::ops::RangeInclusive<i64> = 0..=253_402_300_799;

/// What a resource is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceKind {
    /// A place.
    Room,
    /// Somebody's time.
    Person,
    /// Something that drives.
    Vehicle,
}

/// What a claim is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Terms {
    /// How many bookings there may be at a time.
    pub capacity: u32,
    /// Seconds that a booking takes before it begins.
    pub before: u32,
    /// Seconds that it takes after it ends.
    pub after: u32,
}

/// What people may edit of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// As people call it.
    pub name: String,
    /// What it is.
    pub kind: ResourceKind,
    /// Bind later claims only.
    pub terms: Terms,
}

impl Description {
    /// Whether it is within the limits.
    pub fn is_sound(&self) -> bool {
        let Terms { capacity, before, after } = self.terms;
        is_name(&self.name)
            && (1..=CAPACITY_MAX).contains(&capacity)
            && before <= BUFFER_MAX
            && after <= BUFFER_MAX
    }
}

/// A new resource; the entry's hash is its name for nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Define {
    /// What it is.
    pub description: Description,
    /// Whose word counts; strictly ascending, not empty.
    pub stakeholders: Vec<OfficeId>,
}

/// A stakeholder's statement that a resource is another than it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Describe {
    /// Which.
    pub resource: ResourceId,
    /// What it is from now on.
    pub description: Description,
}

/// A time that an event takes of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot {
    /// Its first second (since 1970, UTC).
    pub start: i64,
    /// The second after its last.
    pub end: i64,
    /// The recurrence id of the occurrence; empty if the event doesn't recur.
    pub occurrence: String,
}

/// Names a claim: the place of its slot in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClaimId {
    /// The entry of the [`Book`].
    pub entry: EntryHash,
    /// Which of its claims.
    pub slot: u32,
}

/// Claims time of a resource for an event, or gives it up; a move does both, and gives up first. Of a stakeholder
/// it counts where it stands, of anybody else once a stakeholder grants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Of which.
    pub resource: ResourceId,
    /// For which event.
    pub uid: String,
    /// What is given up; strictly ascending.
    pub releases: Vec<ClaimId>,
    /// What is claimed; strictly ascending.
    pub claims: Vec<Slot>,
}

/// A stakeholder's word that others' bookings count from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Of which resource.
    pub resource: ResourceId,
    /// The entries of the [`Book`]s, in the order in which they count.
    pub requests: Vec<EntryHash>,
}

/// Who is to have a say in a resource. Without `dismiss` a stakeholder proposes it, with it an admin. It counts once
/// the stakeholders have accepted it, without the one to be dismissed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propose {
    /// Of which resource.
    pub resource: ResourceId,
    /// Who becomes one.
    pub add: Option<OfficeId>,
    /// Who is one no more.
    pub dismiss: Option<OfficeId>,
}

/// A stakeholder's consent to a [`Propose`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// Of which resource.
    pub resource: ResourceId,
    /// The proposal's entry.
    pub proposal: EntryHash,
}

/// What an entry may say of resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// Kind 6.
    Define(Define),
    /// Kind 7.
    Describe(Describe),
    /// Kind 8.
    Book(Book),
    /// Kind 9.
    Grant(Grant),
    /// Kind 10.
    Propose(Propose),
    /// Kind 11.
    Accept(Accept),
}

impl Reservation {
    /// Which resource must be known where this is said.
    pub fn resource(&self) -> Option<ResourceId> {
        match self {
            Self::Define(_) => None,
            Self::Describe(it) => Some(it.resource),
            Self::Book(it) => Some(it.resource),
            Self::Grant(it) => Some(it.resource),
            Self::Propose(it) => Some(it.resource),
            Self::Accept(it) => Some(it.resource),
        }
    }

    /// Whether it is within the limits and in its one order.
    pub fn is_sound(&self) -> bool {
        match self {
            Self::Define(Define { description, stakeholders }) => {
                description.is_sound()
                    && (1..=STAKEHOLDERS_MAX).contains(&stakeholders.len())
                    && stakeholders.is_sorted_by(|a, b| a < b)
            }
            Self::Describe(it) => it.description.is_sound(),
            Self::Book(Book { uid, claims, releases, .. }) => {
                event::is_uid(uid)
                    && !(claims.is_empty() && releases.is_empty())
                    && claims.len() <= CLAIMS_MAX
                    && releases.len() <= CLAIMS_MAX
                    && claims.is_sorted_by(|a, b| a < b)
                    && releases.is_sorted_by(|a, b| a < b)
                    && claims.iter().all(Slot::is_sound)
            }
            Self::Grant(it) => (1..=GRANTS_MAX).contains(&it.requests.len()),
            Self::Propose(Propose { add, dismiss, .. }) => add != dismiss,
            Self::Accept(_) => true,
        }
    }
}

impl Slot {
    /// Whether it is a time that can be booked.
    pub fn is_sound(&self) -> bool {
        TIMES.contains(&self.start)
            && TIMES.contains(&self.end)
            && self.start < self.end
            && self.end - self.start <= SPAN_MAX
            && self.occurrence.len() <= OCCURRENCE_BYTES_MAX
            && !self.occurrence.chars().any(char::is_control)
    }
}
