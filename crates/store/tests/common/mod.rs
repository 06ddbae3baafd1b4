//! A disk that fails on cue, and stories to tell it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test crate uses some of it

pub mod disk;
pub mod model;

use fasti_core::entry::{Entry, Link, Signature, Signer};
use fasti_core::notice::{SignedNotice, Topic};
use fasti_core::outbox::{
    Agreed, Confirmed, DeliveryState, Filter, Owed, Secret, Subscription, SubscriptionId, Target,
};
use fasti_core::row::{Row, Standing};
use fasti_core::{EntryHash, Incarnation, LogId, NetworkId, OfficeId, Write};
use fasti_store::Meta;

pub const DENVER: OfficeId = OfficeId([0xd0; 32]);
pub const BOSTON: OfficeId = OfficeId([0xb0; 32]);

pub fn meta() -> Meta {
    Meta { network: NetworkId([1; 32]), office: DENVER, name: "Denver".into() }
}

pub fn log(author: OfficeId) -> LogId {
    LogId { author, incarnation: Incarnation(7) }
}

/// An entry with a body of `bytes` bytes.
pub fn entry(index: u64, author: OfficeId, seq: u64, bytes: usize) -> Write {
    let link = Link {
        rules: 1,
        parents: vec![],
        time: 0,
        person: "".into(),
        kind: 1,
        body: vec![seq as u8; bytes],
    };
    let entry = Entry { log: log(author), seq, prev: EntryHash([0; 32]), link };
    let signature = Some(Signature::from_bytes(&[9; 64]));
    let hash = entry.hash();
    Write::Entry {
        index,
        row: Row { hash, signature, standing: Standing::Applied, applied: None, entry },
    }
}

/// The same entry, found to be of a kind that isn't known yet.
pub fn deferred(mut write: Write) -> Write {
    if let Write::Entry { row, .. } = &mut write {
        row.standing = Standing::Deferred;
    }
    write
}

pub fn notice(seed: u8, topic: Topic, counter: u64) -> Write {
    Write::Notice(SignedNotice::new(&Signer::from_seed(&[seed; 32]), topic, counter, &counter))
}

pub fn conflict(uid: &str, path: &str, open: bool) -> Write {
    Write::Conflict { uid: uid.into(), path: path.into(), open }
}

pub fn fork(author: OfficeId, seq: u64) -> Write {
    Write::Fork { log: log(author), seq }
}

pub fn subscription(id: u64, name: &str) -> Subscription {
    let target = Target { url: "https://crm.example/hook".into(), options: "{}".into() };
    Subscription {
        id: SubscriptionId(id),
        name: name.into(),
        target,
        filter: Filter::default(),
        secrets: vec![Secret(vec![7; 32])],
        rotation_ends: 0,
        created: 1,
        since: 1,
        backlog: None,
        pause: None,
    }
}

pub fn subscribed(id: u64, name: &str) -> Write {
    Write::Subscription(Box::new(subscription(id, name)))
}

pub fn owed(id: u64, uid: &str, version: u64) -> Write {
    let (kind, problem) = ("policy_start".into(), "503".into());
    let owed = Owed { version, kind, made: 1, since: 1, attempts: 2, next: 9, problem, dead: None };
    Write::Owed(SubscriptionId(id), uid.into(), Some(owed))
}

pub fn owed_no_more(id: u64, uid: &str) -> Write {
    Write::Owed(SubscriptionId(id), uid.into(), None)
}

pub fn confirmed(id: u64, uid: &str, version: u64) -> Write {
    let row = Confirmed {
        version,
        kind: "policy_start".into(),
        state: DeliveryState::Settled,
        at: 5,
        attempts: 3,
        applied: Some(version.to_string()),
    };
    Write::Confirmed(SubscriptionId(id), uid.into(), row)
}

pub fn agreed(id: u64, uid: &str, receipt: &[u8]) -> Write {
    let agreed = Agreed { heads: vec![EntryHash([3; 32])], receipt: receipt.to_vec() };
    Write::Agreed(SubscriptionId(id), uid.into(), agreed)
}

pub fn watched(uid: &str, state: Option<DeliveryState>) -> Write {
    Write::Watched(uid.into(), state)
}
