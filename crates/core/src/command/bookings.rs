//! What people ask about resources and bookings, and what they are answered.

use serde::{Deserialize, Serialize};

use super::Object;
use crate::ids::{EntryHash, OfficeId, ResourceId};
use crate::resource::{Description, ResourceKind, Slot};

/// A resource that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewResource {
    /// What it is.
    pub description: Description,
    /// The offices whose word counts; none: this one alone.
    pub stakeholders: Vec<OfficeId>,
}

/// What is to be different about a resource; the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceEdit {
    /// Its name.
    pub name: Option<String>,
    /// What it is.
    pub kind: Option<ResourceKind>,
    /// How many bookings it takes at a time; of later ones.
    pub capacity: Option<u32>,
    /// Seconds before each later booking.
    pub before: Option<u32>,
    /// Seconds after it.
    pub after: Option<u32>,
    /// Who gets a say. All that have one must accept that.
    pub add: Option<OfficeId>,
    /// Who is to have none any more; for admins. The others that have one must accept that. If nobody else has one,
    /// this office (or the one above) takes over, and bookings that nobody has heard of yet are void.
    pub dismiss: Option<OfficeId>,
}

/// What is to be booked. What the event has booked of the resource, and isn't in `slots`, is given up.
#[derive(Clone, Debug, PartialEq)]
pub struct BookRequest {
    /// The resource's name or id.
    pub resource: String,
    /// The event.
    pub uid: String,
    /// The event, to be put first; none: it is there.
    pub event: Option<Object>,
    /// When. None: whenever the event takes place, and from then on the booking follows it.
    pub slots: Vec<Slot>,
    /// The IANA time zone in which an event without one is booked; UTC if there is none.
    pub zone: Option<String>,
}

/// Which bookings to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookingsQuery {
    /// Only of this resource, by name or id.
    pub resource: Option<String>,
    /// Only of this event.
    pub uid: Option<String>,
    /// Only those that end after this moment (seconds since 1970).
    pub from: Option<i64>,
    /// Only those that begin before this moment.
    pub to: Option<i64>,
    /// Only those in this state.
    pub state: Option<BookingState>,
    /// How many at most.
    pub limit: usize,
}

/// What a booking is, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BookingState {
    /// It holds its time, or asks for it, and may yet be displaced.
    Tentative,
    /// It holds its time, whatever anyone else has written or will write.
    Settled,
    /// Others hold its time.
    Displaced,
    /// It was given up.
    Cancelled,
}

/// A resource as it stands here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceView {
    /// Its name for programs.
    pub id: ResourceId,
    /// What it is.
    #[serde(flatten)]
    pub description: Description,
    /// Whose word counts.
    pub stakeholders: Vec<StakeholderView>,
    /// Changes of those that are not accepted by all yet.
    pub proposals: Vec<ProposalView>,
}

/// An office whose word counts for a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StakeholderView {
    /// Its key.
    pub office: OfficeId,
    /// Its name.
    pub name: String,
    /// Whether it is a member: nothing settles any more without one that is none.
    pub member: bool,
}

/// A change of the stakeholders that was proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProposalView {
    /// Names it, for accepting it.
    pub id: EntryHash,
    /// Who is to get a say.
    pub add: Option<OfficeId>,
    /// Who is to have none any more.
    pub dismiss: Option<OfficeId>,
    /// Who has to accept it yet.
    pub waits_for: Vec<OfficeId>,
}

/// A booking of one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BookingView {
    /// Names it on every node.
    pub id: String,
    /// The resource.
    pub resource: ResourceId,
    /// Its name.
    pub resource_name: String,
    /// The event.
    pub uid: String,
    /// Its title.
    pub title: String,
    /// The recurrence id of the occurrence; empty if the event doesn't recur.
    pub occurrence: String,
    /// From when on (UTC).
    pub start: String,
    /// Until when.
    pub end: String,
    /// Who booked.
    pub office: OfficeId,
    /// The office's name.
    pub name: String,
    /// In which entry.
    pub entry: EntryHash,
    /// What it is.
    pub state: BookingState,
    /// Of a tentative one: whether a stakeholder has granted it, if that is needed.
    pub granted: bool,
    /// Of a tentative one: whose word is missing.
    pub waits_for: Vec<OfficeId>,
    /// Of a displaced one: who holds its time.
    pub displaced_by: Vec<WinnerView>,
    /// Of a displaced one: why, in a sentence.
    pub reason: String,
    /// Of a displaced one: where it would fit next.
    pub next_free: Vec<FreeView>,
}

/// Who holds a time that others want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WinnerView {
    /// The event.
    pub uid: String,
    /// Who booked.
    pub office: OfficeId,
    /// The office's name.
    pub name: String,
    /// In which entry.
    pub entry: EntryHash,
    /// From when on (UTC), with what it needs before.
    pub start: String,
    /// Until when, with what it needs after.
    pub end: String,
}

/// A time that is free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FreeView {
    /// From when on (UTC).
    pub start: String,
    /// Until when.
    pub end: String,
}
