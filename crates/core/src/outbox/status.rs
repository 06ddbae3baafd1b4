//! What an office says of its external systems: signed, latest-only, and no part of the calendar. Whoever holds it and
//! the entries knows of every event whether those systems confirmed it.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::subscription::{Filter, Pause};
use super::{Line, Outbox};
use crate::ids::EntryHash;
use crate::ledger::Ledger;
use crate::notice::ACK_HEADS_MAX;

/// Largest statement in bytes: what doesn't fit is counted.
const STATEMENT_BYTES_MAX: usize = 12 * 1024;
/// Most unconfirmed events of a system that are named.
const NAMED_MAX: usize = 32;

/// "Of all that lies under these heads my systems have confirmed what they want, apart from what is named."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Systems {
    /// At most as many as an acknowledgement has.
    pub heads: Vec<EntryHash>,
    /// By their names.
    pub systems: Vec<System>,
    /// How many there are besides, which found no room.
    pub more: u32,
}

/// An external system, as others hear of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Its name.
    pub name: String,
    /// The scheme of its URL.
    pub kind: String,
    /// What it wants.
    pub filter: Filter,
    /// From when on (milliseconds since 1970, by the clocks of who made changes).
    pub since: i64,
    /// How it fares.
    pub state: SystemState,
    /// Deliveries that are owed and being tried; a backlog counts as one.
    pub pending: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Some of both, the oldest first: the first 8 bytes of SHA-256 over an event's uid, and since when it is owed
    /// (milliseconds since 1970, the office's clock).
    pub unconfirmed: Vec<(u64, i64)>,
}

/// How a system fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemState {
    /// What is due is tried.
    Active,
    /// It fails at everything.
    Failing,
    /// Somebody paused it.
    Paused,
    /// It said that it is gone.
    Gone,
}

/// An event's short name.
pub(crate) fn name_of(uid: &str) -> u64 {
    let hash = Sha256::digest(uid.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first)
}

impl System {
    /// Since when an event is not confirmed, if it isn't: none where nobody can say.
    pub fn unconfirmed(&self, uid: &str) -> Option<Option<i64>> {
        let name = name_of(uid);
        let named = self.unconfirmed.iter().find(|it| it.0 == name);
        let all_named = self.unconfirmed.len() as u64 == self.pending + self.dead;
        match named {
            Some((_, since)) => Some(Some(*since)),
            None if all_named => None,
            None => Some(None),
        }
    }
}

impl Line {
    pub(super) fn state(&self) -> SystemState {
        match self.subscription.pause {
            Some(Pause::Asked) => SystemState::Paused,
            Some(Pause::Gone(_)) => SystemState::Gone,
            None if self.breaker.is_open() => SystemState::Failing,
            None => SystemState::Active,
        }
    }

    fn status(&self) -> System {
        let it = &self.subscription;
        let backlog = u64::from(it.backlog.is_some());
        let mut unconfirmed: Vec<(i64, &String)> =
            self.slots.iter().map(|(uid, slot)| (slot.owed.since, uid)).collect();
        if unconfirmed.len() > NAMED_MAX {
            unconfirmed.select_nth_unstable(NAMED_MAX);
            unconfirmed.truncate(NAMED_MAX);
        }
        unconfirmed.sort_unstable();
        System {
            name: it.name.clone(),
            kind: it.target.scheme().to_owned(),
            filter: it.filter.clone(),
            since: it.since,
            state: self.state(),
            pending: self.slots.len() as u64 - self.dead + backlog,
            dead: self.dead,
            unconfirmed: unconfirmed.into_iter().map(|it| (name_of(it.1), it.0)).collect(),
        }
    }
}

impl Outbox {
    /// What is to be said of all systems now; nothing where there never were any.
    pub(crate) fn systems(&self, ledger: &Ledger) -> Systems {
        let mut heads = ledger.graph.heads();
        heads.truncate(ACK_HEADS_MAX);
        let mut all: Vec<System> = self.lines.values().map(Line::status).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let count = all.len();
        let mut room = STATEMENT_BYTES_MAX;
        let fits = |it: &System| {
            let bytes = postcard::to_stdvec(it).map_or(usize::MAX, |it| it.len());
            room = room.saturating_sub(bytes);
            room > 0
        };
        let systems: Vec<System> = all.into_iter().take_while(fits).collect();
        let more = (count - systems.len()) as u32;
        Systems { heads, systems, more }
    }
}
