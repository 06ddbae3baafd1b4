//! What a system is told: an event as it stands, what kind of change that is, and how final it is.

use std::sync::Arc;

use serde_json::{Value, json};

use super::finality;
use super::owed::{DeliveryState, Outcome, Owed};
use super::status::System;
use super::subscription::{Facts, Subscription, SubscriptionId};
use crate::command::{Object, PolicyState};
use crate::graph::Index;
use crate::ids::{EntryHash, NetworkId, OfficeId};
use crate::ledger::Ledger;
use crate::views;

/// A state of an event, on its way to a system.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The network and the office that deliver.
    pub source: (NetworkId, OfficeId),
    /// The event.
    pub uid: String,
    /// Rises with every state of the event, as this office tells it; below 2^53.
    pub version: u64,
    /// What kind of change it was: of policies as it was published, else `event_update` or `event_cancel`.
    pub kind: String,
    /// How final the state is.
    pub state: DeliveryState,
    /// When it came about here (milliseconds since 1970).
    pub made: i64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// JSCalendar.
    pub event: Object,
    /// Of a policy: what its publisher said, as `policy_id`, `start_date`, `end_date` and whatever else.
    pub policy: Option<Object>,
    /// Of a policy: where its approval stands.
    pub approval: Option<Value>,
}

/// Whom an event concerns, as it stands.
pub(crate) struct Concern {
    /// The last entry that changed it, or decided on it.
    pub(crate) entry: Index,
    standing: Standing,
}

impl Concern {
    /// None if there is no such event.
    pub(crate) fn of(ledger: &Ledger, uid: &str) -> Option<Self> {
        let entry = finality::last(ledger, uid)?;
        Some(Self { entry, standing: Standing::of(ledger, uid, DeliveryState::Tentative) })
    }

    pub(crate) fn is_of(&self, system: &System) -> bool {
        self.standing.changed >= system.since && system.filter.matches(&self.standing.facts(true))
    }
}

/// A delivery that is to be tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Tells it from all others, those of a core that was opened before among them.
    pub number: u64,
    /// To whom, and how.
    pub subscription: Arc<Subscription>,
    /// What.
    pub delivery: Delivery,
    /// The latest entries that changed the event, when this was made of it.
    pub heads: Vec<EntryHash>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Tried {
    /// See [`Attempt::number`].
    pub number: u64,
    /// To whom.
    pub subscription: SubscriptionId,
    /// The event.
    pub uid: String,
    /// See [`Attempt::heads`].
    pub heads: Vec<EntryHash>,
    /// What came of it.
    pub outcome: Outcome,
}

/// An event as it is to be told, before it is known to whom.
pub(super) struct Standing {
    pub(super) event: Object,
    pub(super) kind: String,
    pub(super) state: DeliveryState,
    /// How final it is, cancelled or not.
    finality: DeliveryState,
    /// Nobody who counts has changed it.
    gone: bool,
    /// Who changed it last.
    office: OfficeId,
    /// When it was changed last, by that office's clock.
    pub(super) changed: i64,
    policy: Option<Object>,
    approval: Option<Value>,
    /// The version that was approved: for those who want nothing else.
    approved: Option<Object>,
}

impl Standing {
    /// As it stands; so final it is unless it is cancelled. An event that was there and is not, as those who wrote it did not count, is cancelled.
    pub(super) fn of(ledger: &Ledger, uid: &str, finality: DeliveryState) -> Self {
        let gone = || {
            let gone = json!({ "@type": "Event", "uid": uid, "status": "cancelled" });
            gone.as_object().cloned().unwrap_or_default()
        };
        let event = views::event(ledger, uid).map_or_else(gone, |it| it.event);
        let last = ledger.history_of(uid).last();
        let (office, changed) = last.map_or((ledger.office(), 0), |at| {
            let node = ledger.graph.node(*at);
            (ledger.graph.log_of(node).author, node.time)
        });
        let gone = last.is_none();
        let policy = event.get("fasti:policy").and_then(Value::as_object);
        let kind = match (is_cancelled(&event), policy) {
            (true, Some(_)) => "policy_cancel",
            (true, None) => "event_cancel",
            (false, Some(policy)) => text(policy, "type").unwrap_or("policy_update"),
            (false, None) => "event_update",
        };
        let kind = kind.to_owned();
        let policy = policy.map(|it| published(it, &event));
        let (approval, approved) = approval(ledger, uid);
        let state = match is_cancelled(&event) {
            true => DeliveryState::Cancelled,
            false => finality,
        };
        Self { event, kind, state, finality, gone, office, changed, policy, approval, approved }
    }

    pub(super) fn facts(&self, decided: bool) -> Facts<'_> {
        let calendar = text(&self.event, "fasti:calendar").unwrap_or_default();
        let decided = decided && self.approval.is_some();
        let Self { kind, office, gone, .. } = self;
        Facts { kind, calendar, office: *office, approved: decided, gone: *gone }
    }

    /// How final it is for one system: who wants what is approved is told that something is cancelled where that was
    /// approved, or nothing is.
    pub(super) fn state_for(&self, subscription: &Subscription) -> DeliveryState {
        match &self.approved {
            _ if !subscription.filter.approved => self.state,
            Some(approved) if !is_cancelled(approved) => self.finality,
            _ => DeliveryState::Cancelled,
        }
    }

    /// Whether what was approved is what stands.
    pub(super) fn is_approved_as_is(&self) -> bool {
        self.approval.as_ref().is_some_and(|it| it["changed"] == json!(false))
    }

    /// For one system.
    pub(super) fn delivery(
        &self,
        source: (NetworkId, OfficeId),
        subscription: &Subscription,
        uid: &str,
        owed: &Owed,
    ) -> Delivery {
        let mut event = self.event.clone();
        if let (true, Some(approved)) = (subscription.filter.approved, &self.approved) {
            event = approved.clone();
            event.insert("uid".into(), json!(uid));
        }
        Delivery {
            source,
            uid: uid.to_owned(),
            version: owed.version,
            kind: owed.kind.clone(),
            state: self.state_for(subscription),
            made: owed.made,
            attempt: owed.attempts + 1,
            event,
            policy: self.policy.clone(),
            approval: self.approval.clone(),
        }
    }
}

fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

fn is_cancelled(event: &Object) -> bool {
    // Tasks have a progress instead of a status (RFC 8984, 5.2.5).
    text(event, "status") == Some("cancelled") || text(event, "progress") == Some("cancelled")
}

/// What the publisher said, in the words of a publication.
fn published(policy: &Object, event: &Object) -> Object {
    let mut said = Object::new();
    for (name, of) in [("policy_id", "id"), ("start_date", "start"), ("end_date", "end")] {
        said.extend(policy.get(of).map(|it| (name.to_owned(), it.clone())));
    }
    said.extend(event.get("title").map(|it| ("title".to_owned(), it.clone())));
    for (name, value) in policy.get("payload").and_then(Value::as_object).into_iter().flatten() {
        said.entry(name).or_insert_with(|| value.clone());
    }
    said
}

fn approval(ledger: &Ledger, uid: &str) -> (Option<Value>, Option<Object>) {
    if !ledger.approvals.knows(uid) {
        return (None, None);
    }
    let Some(view) = ledger.policy_now(uid) else { return (None, None) };
    let mut approval = json!({ "state": view.state, "changed": view.changed });
    if view.disputed {
        approval["disputed"] = json!(true);
    }
    if let Some(by) = &view.superseded_by {
        approval["superseded_by"] = json!(by);
    }
    let stands = view.state == PolicyState::Approved;
    let approved = view.approved.into_iter().next().filter(|_| stands).map(|it| it.content);
    (Some(approval), approved)
}
