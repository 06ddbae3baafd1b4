//! What people and programs ask of a node, and what it answers. Every door speaks these.

mod bookings;
mod conflicts;
mod outbox;

pub use bookings::{
    BookRequest, BookingState, BookingView, BookingsQuery, FreeView, NewResource, ProposalView,
    ResourceEdit, ResourceView, StakeholderView, WinnerView,
};
pub use conflicts::{ChoiceView, ConflictKind, ConflictValue, ConflictView};
pub use outbox::{
    DeliveriesQuery, DeliveryStatus, DeliveryView, OfficeReach, ReachView, Replay, Replayed,
    SubscriptionView, SystemReach, SystemStatus, SystemView, TakeOver, UnconfirmedView,
};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::collection::Place;
use crate::ids::{EntryHash, NetworkId, OfficeId, ResourceId};
use crate::outbox::{Delivery, NewSubscription, Subscription, SubscriptionEdit};
use crate::policy::PolicyEvent;
use crate::proof::Evidence;
use crate::statement::{Admit, Invite, Role, Succeed};

/// An event in JSCalendar (RFC 8984): a JSON object.
pub type Object = Map<String, Value>;

/// What is asked of the core.
#[derive(Clone, Debug)]
pub enum Command {
    /// What one of this office's people asks, who is named in what is written: the same, and its answer.
    By {
        /// See [`crate::entry::Link::person`].
        person: String,
        /// What is asked.
        command: Box<Command>,
    },
    /// Publish policy events: one change each, in order, answered together with
    /// [`Reply::Published`]. If one can't be published the others still are.
    Publish(Vec<PolicyEvent>),
    /// Create or replace an event; only what differs is written. Answered with [`Reply::Written`].
    Put {
        /// Which; the event's own `uid`, if it has one, must be the same.
        uid: String,
        /// The whole event.
        event: Object,
        /// When to write at all.
        condition: Condition,
    },
    /// Change an event with a JSON Merge Patch (RFC 7396). Answered with [`Reply::Written`].
    Patch {
        /// Which.
        uid: String,
        /// What to set, and with null what to remove.
        patch: Object,
        /// When to write at all.
        condition: Condition,
    },
    /// Set an event's status to cancelled. Answered with [`Reply::Written`].
    Cancel {
        /// Which.
        uid: String,
        /// When to write at all.
        condition: Condition,
    },
    /// Write what somebody's calendar app says of an event. Answered with [`Answer::Written`].
    Save(Save),
    /// Cancel an event, and take it out of its calendar. Answered with [`Answer::Written`].
    Discard {
        /// Which.
        uid: String,
        /// When to write at all.
        condition: Condition,
    },
    /// Say what a calendar is called, its color and the like. Answered with [`Answer::Written`].
    EditCalendar {
        /// Its id.
        calendar: String,
        /// A JSON Merge Patch of a Group (RFC 8984, 5.3); none if the calendar is to be no more.
        patch: Option<Object>,
    },
    /// What changed since. Answered with [`Answer::Changes`].
    Changes {
        /// The index of the first entry of the local log that counts.
        since: u64,
        /// How many at most, if they are of several entries.
        limit: usize,
    },
    /// What left a calendar since. Answered with [`Answer::Departed`].
    Departed {
        /// Its id.
        calendar: String,
        /// The index of the first entry of the local log that counts.
        since: u64,
        /// Only events whose last change is at this index or a later one.
        from: u64,
    },
    /// Write what an external system says of an event. Answered with [`Answer::TakenOver`].
    TakeOver(TakeOver),
    /// Decide a conflict, by an entry on top of all that was said. Answered with [`Reply::Written`].
    Resolve {
        /// The conflict's id.
        conflict: String,
        /// One of the conflict's choices; of a field's also any other value.
        keep: Value,
    },
    /// Promise membership to the holder of a ticket; for admins. Answered with [`Reply::Invited`].
    Invite(Invite),
    /// Admit the office that came with a ticket. Answered with [`Reply::Admitted`].
    Admit(Admit),
    /// End an office's membership, for ever; for admins, and for any office that leaves. Answered with
    /// [`Answer::Removed`].
    Remove {
        /// Whom.
        office: OfficeId,
    },
    /// Let a new key have what this office has. Answered with [`Answer::Admitted`].
    Succeed(Succeed),
    /// Ask approvers to approve a policy as it stands. Answered with [`Answer::Policy`].
    Propose {
        /// The policy's number, or an event's uid.
        policy: String,
        /// Only if the event is as the caller saw it.
        condition: Condition,
    },
    /// Approve a policy as it stands; for approvers. Answered with [`Answer::Policy`].
    Approve {
        /// The policy's number, or an event's uid.
        policy: String,
        /// Policies that it takes the place of.
        supersedes: Vec<String>,
        /// Only if the event is as the caller saw it.
        condition: Condition,
    },
    /// End what was proposed or approved; for approvers, and for who proposed it. Answered with [`Answer::Policy`].
    Withdraw {
        /// The policy's number, or an event's uid.
        policy: String,
    },
    /// A policy and its approval. Answered with [`Answer::Policy`].
    Policy {
        /// The policy's number, or an event's uid.
        policy: String,
    },
    /// All policies. Answered with [`Answer::Policies`].
    Policies,
    /// Which versions were approved, and who held them. Answered with [`Answer::Report`].
    Report(ReportQuery),
    /// All that the answer to such a question follows from. Answered with [`Answer::Evidence`].
    Evidence(ReportQuery),
    /// Define something that can be booked. Answered with [`Answer::Resource`].
    AddResource(NewResource),
    /// Change it. Answered with [`Answer::Resource`].
    EditResource {
        /// Its name or id.
        resource: String,
        /// What is to be different.
        edit: ResourceEdit,
    },
    /// Accept a change of who has a say. Answered with [`Answer::Resource`].
    AcceptStakeholders {
        /// The resource's name or id.
        resource: String,
        /// The proposal: see [`ProposalView::id`].
        proposal: EntryHash,
    },
    /// Book times of a resource for an event. Answered with [`Answer::Booked`].
    Book(BookRequest),
    /// Give up all that an event has booked, and cancel the event. Answered with [`Answer::Booked`].
    CancelBooking {
        /// The event.
        uid: String,
    },
    /// Answered with [`Answer::Resources`].
    Resources,
    /// Bookings, by resource and time. Answered with [`Answer::Bookings`].
    Bookings(BookingsQuery),
    /// When a resource is free. Answered with [`Answer::Free`].
    Free {
        /// Its name or id.
        resource: String,
        /// From this moment on (seconds since 1970).
        from: i64,
        /// Until this moment.
        to: i64,
    },
    /// One event. Answered with [`Reply::Event`].
    Event {
        /// Which.
        uid: String,
    },
    /// Who edited an event, and when. Answered with [`Answer::History`].
    History {
        /// Which.
        uid: String,
        /// How many edits at most: the latest.
        limit: usize,
    },
    /// A page of events, by uid. Answered with [`Reply::Events`].
    Events(EventsQuery),
    /// The occurrences of all events in a range. Answered with [`Answer::Agenda`].
    Agenda(AgendaQuery),
    /// Answered with [`Reply::Conflicts`].
    Conflicts,
    /// Answered with [`Reply::Members`].
    Members,
    /// Answered with [`Answer::FormerMembers`].
    FormerMembers,
    /// Answered with [`Reply::Status`].
    Status,
    /// Owe an external system what it wants from now on. Answered with [`Answer::Subscription`].
    Subscribe(NewSubscription),
    /// All subscriptions of this node. Answered with [`Answer::Subscriptions`].
    Subscriptions,
    /// Change a subscription. Answered with [`Answer::Subscription`].
    EditSubscription {
        /// Its name or id.
        system: String,
        /// What is to be different.
        edit: SubscriptionEdit,
    },
    /// Owe a system nothing any more. Answered with [`Answer::Unsubscribed`].
    Unsubscribe {
        /// The subscription's name or id.
        system: String,
    },
    /// A subscription with its secrets, for whoever delivers. Answered with [`Answer::Target`].
    Target {
        /// Its name or id.
        system: String,
    },
    /// How far a policy has come. Answered with [`Answer::Reach`].
    Reach {
        /// The policy's number, or an event's uid.
        policy: String,
    },
    /// Deliver again. Answered with [`Answer::Replayed`].
    Replay(Replay),
    /// Deliveries that are not confirmed. Answered with [`Answer::Deliveries`].
    Deliveries(DeliveriesQuery),
    /// One of them, as it would be tried now. Answered with [`Answer::Delivery`].
    Delivery {
        /// The subscription's name or id.
        system: String,
        /// The event.
        uid: String,
    },
    /// What the systems of an office have not confirmed, as far as it says. Answered with [`Answer::Unconfirmed`].
    Unconfirmed {
        /// Its name or key.
        office: String,
    },
}

/// A precondition on an event's present state (RFC 9110, `If-Match` and `If-None-Match`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// None.
    #[default]
    Always,
    /// Only if the event exists.
    Exists,
    /// Only if the event doesn't exist.
    Absent,
    /// Only if the event's `etag` is one of these.
    Matches(Vec<String>),
}

/// An event as a calendar app has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Save {
    /// Which.
    pub uid: String,
    /// As [`fasti_calendar::ical::read`] gives it: with the uid that the app knows it by.
    pub event: Object,
    /// Where it is to be.
    pub place: Place,
    /// When to write at all. What was taken out of its calendar is absent.
    pub condition: Condition,
}

/// Which events to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsQuery {
    /// Only events whose uid sorts after this one: where the page before ended.
    pub after: Option<String>,
    /// Only events that end after this local date-time (`2024-04-01T00:00:00`; not before it starts).
    pub from: Option<String>,
    /// Only events that start before this local date-time.
    pub to: Option<String>,
    /// How many at most.
    pub limit: usize,
}

/// Which occurrences to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgendaQuery {
    /// Only occurrences that end after this local date-time (`2024-04-01T00:00:00`) in `zone`; not before they start.
    pub from: String,
    /// Only occurrences that start before this one.
    pub to: String,
    /// The reader's time zone, such as `America/Denver`: of the range, and of events without one.
    pub zone: String,
    /// How many at most.
    pub limit: usize,
}

/// What to report on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportQuery {
    /// One policy, by its number or its event's uid; or all of them.
    pub policy: Option<String>,
    /// As of when.
    pub as_of: AsOf,
}

/// What counts as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AsOf {
    /// All that the node holds.
    Now,
    /// What was written until then, by the clocks of those who wrote it (milliseconds since 1970).
    Time(i64),
    /// These entries, and all that lies under them.
    Entries(Vec<EntryHash>),
}

/// The answer to a [`Command`].
pub type Reply = Result<Answer, CommandError>;

/// What was found or done.
#[derive(Clone, Debug)]
pub enum Answer {
    /// One result for each event, in order.
    Published(Vec<Result<Written, CommandError>>),
    /// An event was written, or already was as wanted.
    Written(Written),
    /// The ticket is good.
    Invited {
        /// The network that it leads to.
        network: NetworkId,
    },
    /// The office is a member.
    Admitted,
    /// The office is no member any more.
    Removed,
    /// The resource as it stands now.
    Resource(ResourceView),
    /// By name.
    Resources(Vec<ResourceView>),
    /// The event's bookings as they stand now.
    Booked(Vec<BookingView>),
    /// As asked.
    Bookings {
        /// By resource and time.
        bookings: Vec<BookingView>,
        /// Whether there are more.
        more: bool,
    },
    /// When a booking with what the resource needs before and after it fits.
    Free {
        /// The resource.
        resource: ResourceId,
        /// In order.
        free: Vec<FreeView>,
    },
    /// As asked.
    Event(EventView),
    /// As asked.
    History {
        /// The edits that count, with the fields that each wrote; those that it took away are not named.
        edits: Vec<WrittenView>,
        /// Whether there are earlier ones.
        more: bool,
    },
    /// As asked.
    Events {
        /// By uid.
        events: Vec<EventView>,
        /// Whether there are more after the last.
        more: bool,
    },
    /// As asked.
    Agenda {
        /// By their starts.
        occurrences: Vec<OccurrenceView>,
        /// Whether there are, or may be, more.
        more: bool,
    },
    /// As asked.
    Changes {
        /// In the order of their last changes.
        changes: Vec<ChangedView>,
        /// Whether there are more.
        more: bool,
        /// The index that the next entry will have.
        end: u64,
        /// Whether this office may write.
        may_write: bool,
        /// Indices stand for what they stood for before as long as this is the same.
        numbering: u64,
    },
    /// As asked: the names, each with the index of the last entry that changed the event.
    Departed(Vec<(u64, String)>),
    /// As it stands now.
    Policy(Box<PolicyView>),
    /// As asked.
    Policies(Vec<PolicyView>),
    /// As asked.
    Report(ReportView),
    /// What a report is to be made of, see [`crate::proof`]; also where one was asked for, and what is held besides
    /// those entries may have changed what they count for here.
    Evidence(Box<Evidence>),
    /// As asked.
    Conflicts(Vec<ConflictView>),
    /// As asked.
    Members(Vec<MemberView>),
    /// As asked.
    FormerMembers(Vec<FormerMemberView>),
    /// As asked.
    Status(Box<StatusView>),
    /// As it stands now.
    Subscription(Box<SubscriptionView>),
    /// By name.
    Subscriptions(Vec<SubscriptionView>),
    /// It is no more.
    Unsubscribed,
    /// As asked.
    Target(Arc<Subscription>),
    /// False if it was not, as a state of the event is on its way to the system: what that has may be another thing by
    /// now.
    TakenOver(bool),
    /// As far as this node has heard.
    Reach(ReachView),
    /// How many deliveries are owed by that at once; of a backlog none.
    Replayed(u64),
    /// As asked.
    Delivery(Arc<Subscription>, Box<Delivery>),
    /// As asked.
    Unconfirmed {
        /// By system, the oldest first.
        deliveries: Vec<UnconfirmedView>,
        /// How many there are besides, which it doesn't name.
        more: u64,
    },
    /// As asked.
    Deliveries {
        /// By subscription and event.
        deliveries: Vec<DeliveryView>,
        /// Whether there are more.
        more: bool,
    },
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The event.
    pub uid: String,
    /// The entry that holds the change, or the last one that touched the event if nothing had to be
    /// changed.
    pub entry: EntryHash,
    /// The event's new entity tag.
    pub etag: String,
    /// Whether it is new.
    #[serde(skip)]
    pub created: bool,
}

/// An event as it stands here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventView {
    /// Its uid.
    pub uid: String,
    /// Changes with every change of the event; equal on all nodes that show the same.
    pub etag: String,
    /// JSCalendar.
    pub event: Object,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedView {
    /// The index of the last entry that changed it.
    pub at: u64,
    /// Where it is; none if it is in no calendar.
    pub place: Option<Place>,
    /// Which calendar it tells of, if it is no event.
    pub calendar: Option<CalendarView>,
    /// As it stands.
    pub view: EventView,
}

/// Which calendar is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarView {
    /// Its id.
    pub id: String,
    /// Somebody said that it is no more.
    pub is_removed: bool,
}

/// One occurrence of an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OccurrenceView {
    /// Its event.
    pub uid: String,
    /// The event's etag.
    pub etag: String,
    /// Which occurrence of the event it is, by its rules; none if there is only one.
    pub recurrence_id: Option<String>,
    /// When it starts: local date-time in the reader's zone; as the event has it, if it is a matter of days.
    pub start: String,
    /// When it ends.
    pub end: String,
    /// The same as a moment, in UTC.
    pub starts_at: String,
    /// The same as a moment, in UTC.
    pub ends_at: String,
    /// JSCalendar, as this occurrence has it.
    pub event: Object,
}

/// The life of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyState {
    /// Nothing was said of it.
    Draft,
    /// Somebody asked for approval.
    Proposed,
    /// An approver signed it.
    Approved,
    /// Another policy was approved in its place.
    Superseded,
    /// What was proposed or approved was withdrawn.
    Withdrawn,
}

/// A policy and its approval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyView {
    /// The publisher's number for it, or the uid of its event.
    pub policy: String,
    /// Its event.
    pub uid: String,
    /// The event's title, as it stands now.
    pub title: String,
    /// The event's etag, as it stands now.
    pub etag: String,
    /// What would be approved, as it stands now.
    pub content: Object,
    /// Names that: equal exactly where the same is said.
    pub version: String,
    /// Where it stands.
    pub state: PolicyState,
    /// Whether it was edited since it was approved.
    pub changed: bool,
    /// Whether approvers who did not know of each other decided differently: one should approve or withdraw again.
    pub disputed: bool,
    /// What is approved: one version, unless it is disputed.
    pub approved: Vec<ApprovalView>,
    /// What is proposed and not decided.
    pub proposed: Vec<ApprovalView>,
    /// The policy that took its place.
    pub superseded_by: Option<String>,
}

/// A version of a policy, and who signed it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApprovalView {
    /// As [`PolicyView::version`].
    pub version: String,
    /// JSCalendar, without what is derived from the log.
    pub content: Object,
    /// Who signed it, earliest first by their clocks.
    pub by: Vec<SignatureView>,
}

/// Who said something, and where the proof is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignatureView {
    /// The office, which is its key.
    pub office: OfficeId,
    /// Its name.
    pub name: String,
    /// Who of its people, if the office says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// When, by its clock (milliseconds since 1970).
    pub time: i64,
    /// In which entry.
    pub entry: EntryHash,
}

/// Which versions of policies were approved, and who held them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportView {
    /// The network.
    pub network: NetworkId,
    /// The office whose node made it.
    pub office: OfficeId,
    /// Its name.
    pub name: String,
    /// When, by its clock (milliseconds since 1970).
    pub made: i64,
    /// As was asked.
    pub as_of: AsOf,
    /// The entries that all of it lies under, so that others can find the same: see [`AsOf::Entries`].
    pub heads: Vec<EntryHash>,
    /// By their events' uids.
    pub policies: Vec<PolicyReport>,
}

/// A policy as it stood.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyReport {
    /// Its approval.
    #[serde(flatten)]
    pub policy: PolicyView,
    /// Who wrote what of the version that was approved.
    pub written: Vec<WrittenView>,
    /// The offices that were members, and since when each is known to have held the approval.
    pub holders: Vec<HolderView>,
}

/// An entry, and the fields that it wrote.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenView {
    /// Who wrote it, when, and in which entry.
    #[serde(flatten)]
    pub by: SignatureView,
    /// JSON Pointers without the leading slash.
    pub fields: Vec<String>,
}

/// An office, and since when it is known to have held something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HolderView {
    /// The office.
    pub office: OfficeId,
    /// Its name.
    pub name: String,
    /// Since when at the latest, by its own clock (milliseconds since 1970); none if nothing says so.
    pub since: Option<i64>,
    /// Its first entry that lies over it, which proves it; without one its signed acknowledgement does.
    pub entry: Option<EntryHash>,
}

/// A member as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberView {
    /// Its key.
    pub office: OfficeId,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// Whether it is this node.
    #[serde(rename = "self")]
    pub this: bool,
    /// Whether we are linked with it now; true for ourselves.
    pub connected: bool,
    /// Whether it holds all that we hold, by its own signed word.
    pub acknowledged: bool,
    /// How many of the entries that we hold it has not acknowledged.
    pub behind: u64,
    /// When we last heard from it (milliseconds since 1970, our clock); none if never since the start.
    pub last_seen: Option<i64>,
    /// Where it says it can be reached.
    pub addresses: Vec<String>,
    /// Whether it says that it is a relay.
    pub relay: bool,
    /// The version that it runs, by its own word.
    pub version: Option<String>,
    /// Set where two offices came with one ticket, in different parts of a divided network: an admin
    /// should look at who they are.
    pub shared_ticket: bool,
}

/// Who was a member and is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FormerMemberView {
    /// Its key.
    pub office: OfficeId,
    /// Its name.
    pub name: String,
    /// What it might do.
    pub roles: Vec<Role>,
    /// Who removed it; itself if it left.
    pub removed_by: OfficeId,
    /// That office's name.
    pub removed_by_name: String,
    /// When, by that office's clock (milliseconds since 1970).
    pub removed: i64,
    /// Entries of its that count for nothing, as whoever removed it had not seen them and nobody had built upon
    /// them.
    pub cut: u64,
}

/// A node at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusView {
    /// This office.
    pub office: OfficeId,
    /// Its name.
    pub name: String,
    /// The network.
    pub network: NetworkId,
    /// The digest of the frontier: equal on two nodes exactly if they hold the same entries.
    pub frontier: crate::ids::Digest,
    /// Events in the calendar.
    pub events: u64,
    /// Entries in the log.
    pub entries: u64,
    /// Linked offices.
    pub peers: Vec<OfficeId>,
    /// All members.
    pub members: Vec<MemberView>,
    /// Open conflicts.
    pub conflicts: u64,
    /// Entries that are held but not understood: if not 0, this node must be upgraded.
    pub deferred: u64,
    /// Entries that are held but count for nothing.
    pub void: u64,
    /// Logs whose authors signed two histories.
    pub forks: u64,
    /// Entries of this office that were written since this node started, and not by it: if not 0, two nodes have
    /// its key.
    pub elsewhere: u64,
    /// Deliveries to external systems.
    pub deliveries: Deliveries,
    /// All external systems of all offices, as those say.
    pub systems: Vec<SystemView>,
}

/// Deliveries to external systems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliveries {
    /// Owed and being tried.
    pub pending: u64,
    /// Given up, waiting to be replayed.
    pub dead: u64,
}

/// Why a command was not carried out. The texts are for the people who gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such event.
    #[error("there is no event {0:?}; GET /v1/events or `fasti event list` shows those that are")]
    UnknownEvent(String),
    /// No such policy.
    #[error("there is no policy {0:?}; `fasti policies` lists them")]
    UnknownPolicy(String),
    /// No such conflict.
    #[error("there is no open conflict {0:?}; `fasti conflicts` lists them")]
    UnknownConflict(String),
    /// The precondition failed.
    #[error("{}", precondition(now))]
    Precondition {
        /// The present etag; none if there is no such event.
        now: Option<String>,
    },
    /// The event is no valid JSCalendar.
    #[error("{path:?}: {problem}")]
    Invalid {
        /// Where, as a JSON Pointer without the leading slash.
        path: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// It doesn't fit into one entry.
    #[error("the change takes {size} bytes and at most {max} fit into an entry; split it up")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// No such resource, or more than one.
    #[error("{0}; `fasti resource list` shows those that are")]
    UnknownResource(String),
    /// No such external system.
    #[error("there is no subscription {0:?}; `fasti subscriptions` lists those of this node")]
    UnknownSystem(String),
    /// Nothing of an event is owed to a system.
    #[error(
        "nothing of event {uid:?} is owed to {system:?}; `fasti deliveries` lists what is, and `fasti replay` delivers it again"
    )]
    NotOwed {
        /// The system.
        system: String,
        /// The event.
        uid: String,
    },
    /// No such member.
    #[error("there is no member {0:?}; `fasti members` lists them")]
    UnknownMember(String),
    /// The caller's office may not do this.
    #[error("{0}")]
    NotAllowed(String),
    /// The ticket is not good.
    #[error("the ticket is not valid: {0}; ask an admin for a new one")]
    Ticket(&'static str),
    /// The node is not a member of its network yet: it has not received the entry that admits it.
    #[error(
        "this node has not yet received its admission from the network; it connects to {0} or another member by itself, try again in a moment"
    )]
    NotYetMember(String),
    /// The disk refused. Whether the write is on it nobody knows before it is read again.
    #[error(
        "not confirmed, as the disk failed: {0}; free some space or repair the disk, and look before you repeat: it may have been written all the same"
    )]
    Storage(String),
    /// The node is going down or too busy.
    #[error("the node is not available: {0}")]
    Unavailable(String),
}

fn precondition(now: &Option<String>) -> String {
    match now {
        Some(etag) => format!(
            "the event is not as the caller believes: its etag is now {etag:?}; read it again, then repeat the edit"
        ),
        None => "there is no such event; leave out the precondition to create it".into(),
    }
}
