//! How final events are: whether anything that is not known here can still stand beside what was said last.

use std::collections::{BTreeMap, BTreeSet};

use super::owed::DeliveryState;
use crate::booking::cover;
use crate::command::BookingState;
use crate::gossip::Gossip;
use crate::graph::Index;
use crate::ids::{LogId, OfficeId};
use crate::ledger::Ledger;
use crate::notice::{SignedNotice, Topic};
use crate::statement::Role;
use crate::views;

/// What was found of some events.
pub(super) struct Finality {
    bookings: BTreeMap<String, BTreeSet<BookingState>>,
    /// Entries that changed an event last and that all offices hold.
    held: BTreeSet<Index>,
    /// There is nobody else who writes.
    alone: bool,
}

impl Finality {
    /// Of events that were changed just now: what changed them is not known to others yet.
    pub(super) fn of_new(ledger: &Ledger, gossip: &Gossip, uids: &BTreeSet<String>) -> Self {
        let states = views::bookings::states(ledger, gossip, uids.iter());
        let bookings = states.into_iter().map(|(uid, it)| (uid.to_owned(), it)).collect();
        let alone = others(ledger).next().is_none();
        Self { bookings, held: BTreeSet::new(), alone }
    }

    /// Of any events; what was held by all once, as far as these say, still is. O(entries) for each office.
    pub(super) fn of_all(
        ledger: &Ledger,
        gossip: &Gossip,
        before: &BTreeMap<LogId, u64>,
        uids: &BTreeSet<String>,
    ) -> Self {
        let entries: BTreeSet<Index> = uids.iter().filter_map(|uid| last(ledger, uid)).collect();
        let was_held = |at: &Index| {
            place(ledger, *at)
                .is_some_and(|(log, seq)| before.get(&log).is_some_and(|it| *it >= seq))
        };
        let (mut held, mut open): (BTreeSet<_>, BTreeSet<_>) =
            entries.into_iter().partition(was_held);
        for office in others(ledger) {
            if open.is_empty() {
                break;
            }
            let said = |key: &OfficeId| {
                let said = gossip.board.about(key, Topic::Acknowledgement);
                said.and_then(SignedNotice::acknowledgement)
            };
            let covered = cover(&ledger.graph, &BTreeSet::from([*office]), said);
            open.retain(|at| covered[*at as usize]);
        }
        held.append(&mut open);
        Self { held, ..Self::of_new(ledger, gossip, uids) }
    }

    /// How far logs are held by all, where that is more than before.
    pub(super) fn news(
        &self,
        ledger: &Ledger,
        before: &BTreeMap<LogId, u64>,
    ) -> BTreeMap<LogId, u64> {
        let mut news = BTreeMap::new();
        for (log, seq) in self.held.iter().filter_map(|at| place(ledger, *at)) {
            let furthest = news.entry(log).or_insert(seq);
            *furthest = seq.max(*furthest);
        }
        news.retain(|log, seq| before.get(log).is_none_or(|it| it < seq));
        news
    }

    /// An event that is not cancelled.
    pub(super) fn of(&self, ledger: &Ledger, uid: &str) -> DeliveryState {
        let settled = match self.bookings.get(uid) {
            Some(states) if states.contains(&BookingState::Displaced) => {
                return DeliveryState::Displaced;
            }
            Some(states) => !states.contains(&BookingState::Tentative),
            None => self.alone || last(ledger, uid).is_some_and(|at| self.held.contains(&at)),
        };
        if settled { DeliveryState::Settled } else { DeliveryState::Tentative }
    }
}

/// The last entry that changed an event, or decided on it.
pub(super) fn last(ledger: &Ledger, uid: &str) -> Option<Index> {
    ledger.history_of(uid).last().copied().max(ledger.approvals.last(uid))
}

/// Where an entry stands in its log, if that has one history.
fn place(ledger: &Ledger, at: Index) -> Option<(LogId, u64)> {
    let node = ledger.graph.node(at);
    let log = ledger.graph.log_of(node);
    ledger.graph.last(&log).map(|_| (log, node.seq))
}

/// The other offices that write.
fn others(ledger: &Ledger) -> impl Iterator<Item = &OfficeId> {
    let own = ledger.office();
    let members = ledger.roster.members().iter();
    members
        .filter(move |(office, it)| **office != own && it.roles != [Role::Auditor])
        .map(|it| it.0)
}
