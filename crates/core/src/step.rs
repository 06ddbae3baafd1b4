//! The durability order as a type: what a step wants to tell the world comes out only through
//! persisting what it wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::command::{Command, Reply};
use crate::gossip::Allowance;
use crate::ids::{EntryHash, Incarnation, LogId, OfficeId, TicketId};
use crate::notice::SignedNotice;
use crate::outbox::{
    Agreed, Attempt, Confirmed, DeliveryState, Owed, Subscription, SubscriptionId,
};
use crate::resource::Reservation;
use crate::row::Row;
use crate::statement::Statement;

/// Something to be stored. All writes of a step belong into one transaction.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all writes are entries")]
pub enum Write {
    /// An entry at its place in the local log. The same index again replaces the row (a deferred entry
    /// that was understood at last).
    Entry {
        /// Counts from 0 without gaps; a parent's is lower than its child's.
        index: u64,
        /// The row.
        row: Row,
    },
    /// The latest notice of an office on a topic replaces the one before.
    Notice(SignedNotice),
    /// A field that was edited two ways, or (`None`) no longer is.
    Conflict {
        /// The event.
        uid: String,
        /// The field: its path in the event.
        path: String,
        /// Whether it is in conflict.
        open: bool,
    },
    /// The incarnation under which this node writes.
    Incarnation(Incarnation),
    /// Indices of the local log stand for what they stood for before as long as this is the same. A copy of the disk, or
    /// a backup, has none.
    Numbering(u64),
    /// An author signed two different entries for one place. Both are in the log.
    Fork {
        /// Which log.
        log: LogId,
        /// Which place.
        seq: u64,
    },
    /// A subscription, in place of the one before with its id.
    Subscription(Box<Subscription>),
    /// A subscription is no more, nor what was owed to it, confirmed by it and agreed with it.
    Unsubscribed(SubscriptionId),
    /// What is owed to a system of an event; nothing any more (`None`).
    Owed(SubscriptionId, String, Option<Owed>),
    /// The newest state of an event that a system confirmed.
    Confirmed(SubscriptionId, String, Confirmed),
    /// How both sides had an event last, of systems that are read as well.
    Agreed(SubscriptionId, String, Agreed),
    /// How final an event was told to be; nothing is kept once it is final (`None`).
    Watched(String, Option<DeliveryState>),
    /// How far all offices are known to have held a log once: nothing that they write can stand beside that any more.
    Held(LogId, u64),
    /// The last version that a delivery was given.
    Version(u64),
    /// Whether all entries are to be judged again when the node is opened next; if so, the snapshot is void.
    JudgeAgain(bool),
}

/// The caller's number for a command or query; the reply carries it.
pub type RequestId = u64;

/// Something to be done once the step's writes are durable.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answer a caller.
    Reply(RequestId, Reply),
    /// Send a frame on the push lane: at once or not at all.
    Push {
        /// To whom (several, so that the frame is encoded once).
        to: Vec<OfficeId>,
        /// The encoded [`crate::message::Message`].
        frame: Vec<u8>,
    },
    /// Read these ranges from the store and send them as chunks on the sync lane (see
    /// [`crate::log::Chunks`]).
    Serve {
        /// To whom.
        to: OfficeId,
        /// The peer's number for this fetch; the chunks carry it.
        fetch: u32,
        /// Each log from which sequence number on; the order is the peer's.
        from: Vec<(LogId, u64)>,
        /// Entries with this local index or a higher one are not part of it.
        end: u64,
    },
    /// Send these frames on the sync lane, one after the other. If the ones before have not left yet, they may be
    /// dropped: the next comparison brings them again.
    Sync {
        /// To whom.
        to: OfficeId,
        /// Encoded messages.
        frames: Vec<Vec<u8>>,
    },
    /// Who may connect: members, and holders of tickets that are still open.
    Admit {
        /// Members, without ourselves.
        members: BTreeSet<OfficeId>,
        /// Open tickets.
        tickets: BTreeSet<TicketId>,
    },
    /// Whom to be linked with, and where each says it can be reached.
    Neighbours(BTreeMap<OfficeId, Vec<String>>),
    /// The members that are relays, neighbours or not, and where each says it can be reached.
    Relays(BTreeMap<OfficeId, Vec<String>>),
    /// Entries that became part of the local log, for whoever follows it.
    Appended(Vec<Appended>),
    /// Try these; tell what came of each with [`Input::Tried`].
    ///
    /// [`Input::Tried`]: crate::Input::Tried
    Deliver(Vec<Attempt>),
    /// All subscriptions, as they are now: for whoever delivers, to read the systems that are read, and to forget those that
    /// are no more.
    Subscriptions(Vec<Arc<Subscription>>),
    /// Something that an operator should know, once.
    Alarm(String),
    /// Open the core again from what is stored, before it is given anything else: what earlier entries
    /// count for has changed. The last effect of its step.
    Reopen {
        /// To be put to the core again.
        unanswered: Vec<(RequestId, Command)>,
        /// For [`crate::Stored::kept`].
        kept: Kept,
    },
}

/// What a core that is opened again goes on with, and which is not on the disk.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Nobody can hold more of this node's log than it does.
    pub(crate) settled: bool,
    /// What was taken from peers.
    pub(crate) taken: BTreeMap<OfficeId, Allowance>,
}

/// An entry of the local log, as followers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its local index.
    pub index: u64,
    /// Its hash.
    pub hash: EntryHash,
    /// Its author.
    pub author: OfficeId,
    /// When, by the author's clock (milliseconds since 1970).
    pub time: i64,
    /// Who of its author's people asked for it; empty for none of them.
    pub person: String,
    /// The uids of the events that it touched, or says something of.
    pub uids: Vec<String>,
}

impl Appended {
    /// The entry of a stored row.
    pub fn of(index: u64, row: &Row) -> Self {
        let link = &row.entry.link;
        let uids = match (&row.applied, Statement::decode(link.kind, &link.body)) {
            (Some(applied), _) => applied.uids.clone(),
            (None, Ok(Statement::Approval(said))) => said.uids().cloned().collect(),
            (None, Ok(Statement::Reservation(Reservation::Book(book)))) => vec![book.uid],
            (None, _) => Vec::new(),
        };
        Self {
            index,
            hash: row.hash,
            author: row.entry.log.author,
            time: row.entry.link.time,
            person: row.entry.link.person.to_string(),
            uids,
        }
    }
}

/// What one or more inputs led to. Its effects are inside until [`Step::persist`] has made its
/// writes durable: a change that a peer may have seen is on our disk, and an answer is kept.
#[derive(Debug, Default)]
#[must_use = "a step's writes must be persisted and its effects carried out"]
pub struct Step {
    pub(crate) writes: Vec<Write>,
    pub(crate) effects: Vec<Effect>,
}

impl Step {
    /// Hands out the writes, and the effects only if `commit` made them durable.
    ///
    /// # Errors
    /// Whatever `commit` says. The effects are lost then, and the core is ahead of the disk: drop it
    /// and open it again from what is stored.
    pub fn persist<E>(
        self,
        commit: impl FnOnce(&[Write]) -> Result<(), E>,
    ) -> Result<Vec<Effect>, E> {
        if !self.writes.is_empty() {
            commit(&self.writes)?;
        }
        Ok(self.effects)
    }

    /// Whether there is nothing to write and nothing to do.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.effects.is_empty()
    }

    /// The requests that this step would answer: who has to be told if it can't be persisted.
    pub fn requests(&self) -> impl Iterator<Item = RequestId> {
        self.effects.iter().flat_map(|effect| match effect {
            Effect::Reply(request, _) => vec![*request],
            Effect::Reopen { unanswered, .. } => unanswered.iter().map(|it| it.0).collect(),
            _ => Vec::new(),
        })
    }
}
