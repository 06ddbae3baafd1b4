//! External systems and what is owed to them, as people see it.

use serde::Serialize;

use super::Object;
use crate::ids::{EntryHash, OfficeId};
use crate::outbox::{DeliveryState, Filter, SubscriptionId, SystemState};

/// A subscription and how it fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubscriptionView {
    /// Its name for programs.
    #[serde(serialize_with = "as_text")]
    pub id: SubscriptionId,
    /// Its name for people.
    pub name: String,
    /// Where to, without what is secret in it.
    pub url: String,
    /// How, as it was given: JSON text, without what is secret in it. For whoever delivers to say.
    #[serde(skip)]
    pub options: String,
    /// What it wants.
    #[serde(flatten)]
    pub filter: Filter,
    /// How it fares.
    pub state: SystemState,
    /// What went wrong last, until something goes well.
    pub problem: Option<String>,
    /// Deliveries that are owed and being tried.
    pub pending: u64,
    /// Deliveries that were given up, and wait to be replayed.
    pub dead: u64,
    /// Since when the oldest of both has not been confirmed (milliseconds since 1970).
    pub unconfirmed_since: Option<i64>,
    /// Whether events that were there before the subscription are still to be looked at.
    pub backlog: bool,
    /// When it was made (milliseconds since 1970).
    pub created: i64,
    /// Attempts since the node started that were confirmed.
    pub confirmed: u64,
    /// Attempts since the node started that failed.
    pub failed: u64,
}

/// Something that is owed to a system, or that it confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveryView {
    /// The subscription.
    #[serde(serialize_with = "as_text")]
    pub subscription: SubscriptionId,
    /// Its name.
    pub system: String,
    /// The event.
    pub uid: String,
    /// Its version.
    pub version: u64,
    /// What kind of change.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How final the state is that was told, or is to be.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when the system owes an answer (milliseconds since 1970); none once it gave it.
    pub since: Option<i64>,
    /// When it is tried next (milliseconds since 1970).
    pub next: Option<i64>,
    /// When it was confirmed (milliseconds since 1970).
    pub confirmed_at: Option<i64>,
    /// The version that the system says it applied.
    pub applied: Option<String>,
    /// Why the last attempt failed.
    pub problem: Option<String>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStatus {
    /// Owed, and being tried.
    Pending,
    /// The system has it.
    Confirmed,
    /// Given up, and waiting to be replayed.
    Dead,
}

/// What an external system says of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct TakeOver {
    /// Which system.
    pub subscription: SubscriptionId,
    /// The event.
    pub uid: String,
    /// As the system has it; none if it is there no more.
    pub event: Option<Object>,
    /// As both sides had it before, and the heads that were kept with that; none if nobody knows.
    pub before: Option<(Object, Vec<EntryHash>)>,
    /// The calendar that it belongs to, if it is new here.
    pub calendar: Option<String>,
    /// See [`Agreed::receipt`](crate::outbox::Agreed::receipt).
    pub receipt: Vec<u8>,
}

/// Which deliveries that are not confirmed to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveriesQuery {
    /// Of the system with this name or id.
    pub system: Option<String>,
    /// Of this event.
    pub uid: Option<String>,
    /// Only pending ones, or only dead ones.
    pub status: Option<DeliveryStatus>,
    /// Only after this one: where the page before ended.
    pub after: Option<(SubscriptionId, String)>,
    /// How many at most.
    pub limit: usize,
}

/// What is to be delivered again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// To the system with this name or id.
    pub system: String,
    /// What.
    pub what: Replayed,
}

/// What is to be delivered again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// An event, confirmed or not.
    Event(String),
    /// What was given up, of what came about in a range (milliseconds since 1970).
    Dead {
        /// From this moment on.
        from: i64,
        /// Before this one.
        to: i64,
    },
    /// All events that it wants that were changed since then (milliseconds since 1970, by the clocks of who changed
    /// them), confirmed or not.
    Since(i64),
}

/// Something that an external system has not confirmed, as its office says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnconfirmedView {
    /// Whose node delivers to it.
    pub office: OfficeId,
    /// That office's name.
    pub office_name: String,
    /// The system's name.
    pub system: String,
    /// How it fares.
    pub state: SystemState,
    /// The event; none if it is not held here.
    pub uid: Option<String>,
    /// Since when (milliseconds since 1970, that office's clock).
    pub since: i64,
}

/// An external system, as its office says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SystemView {
    /// Whose node delivers to it.
    pub office: OfficeId,
    /// That office's name.
    pub office_name: String,
    /// Its name.
    pub name: String,
    /// The scheme of its URL.
    pub kind: String,
    /// How it fares.
    pub state: SystemState,
    /// Deliveries that are owed and being tried.
    pub pending: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Since when the oldest of both has not been confirmed (milliseconds since 1970, that office's clock).
    pub unconfirmed_since: Option<i64>,
}

/// How far an event has come, as it stands here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReachView {
    /// The event.
    pub uid: String,
    /// Its title.
    pub title: String,
    /// The last entry that changed it, or decided on it.
    pub entry: EntryHash,
    /// How many offices are known to hold that.
    pub held_by: u64,
    /// How many external systems are known to have confirmed it.
    pub confirmed_by: u64,
    /// How many it concerns.
    pub systems: u64,
    /// All members.
    pub offices: Vec<OfficeReach>,
}

/// An office, and how far an event has come there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OfficeReach {
    /// Its key.
    pub office: OfficeId,
    /// Its name.
    pub name: String,
    /// Whether it only reads.
    pub auditor: bool,
    /// Whether it is known to hold it.
    pub holds: bool,
    /// Its external systems that want it.
    pub systems: Vec<SystemReach>,
    /// How many it has besides, of which it says nothing more.
    pub more_systems: u32,
}

/// An external system, and how far an event has come there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SystemReach {
    /// Its name.
    pub name: String,
    /// The scheme of its URL.
    pub kind: String,
    /// How it fares.
    pub state: SystemState,
    /// Whether it confirmed the event.
    pub status: SystemStatus,
    /// Since when it has not (milliseconds since 1970, its office's clock).
    pub since: Option<i64>,
}

/// Whether a system confirmed an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemStatus {
    /// Its office says so.
    Confirmed,
    /// Its office says that it has not.
    Pending,
    /// Its office has said nothing of it yet.
    Unknown,
}

fn as_text<S: serde::Serializer>(id: &SubscriptionId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}
