//! Finding what was edited two ways, as changes come in.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::{Changed, Ledger};
use crate::collection::is_calendar;
use crate::event;
use crate::graph::Index;
use crate::ids::EntryHash;
use crate::step::Write;

/// How many of the entries that changed an event are looked at for the latest ones.
const LATEST_LOOKED_AT: usize = 64;

impl Ledger {
    pub(super) fn find_conflicts(&mut self, uid: &str, changed: Changed) {
        let cancelled = self.is_cancelled_at_once(uid, &changed);
        self.note_conflict(uid, "", cancelled);
        let maps = self.document.maps(uid, None);
        // How an event was written elsewhere is no question for people.
        let paths = changed.paths.iter().filter(|path| !event::is_kept(path));
        for path in paths {
            let values = self.document.values(&maps, path);
            let open = values.windows(2).any(|pair| pair[0].0 != pair[1].0);
            self.note_conflict(uid, path, open);
        }
    }

    /// Whether an event is cancelled, and was edited by somebody who did not know that.
    fn is_cancelled_at_once(&self, uid: &str, changed: &Changed) -> bool {
        let cancelled_by = self.cancelled_by(uid);
        if cancelled_by.is_empty() {
            return false;
        }
        // Only an entry about that ends it, or makes earlier ones count that didn't.
        let anew = changed.paths.iter().any(|path| event::is_status(path));
        let entries = if anew { self.history_of(uid) } else { &changed.by };
        let was_open = !anew && self.conflicts.contains(&(uid.to_owned(), String::new()));
        was_open || entries.iter().any(|at| self.is_beside(*at, &cancelled_by))
    }

    fn note_conflict(&mut self, uid: &str, path: &str, open: bool) {
        let key = (uid.to_owned(), path.to_owned());
        let changed =
            if open { self.conflicts.insert(key.clone()) } else { self.conflicts.remove(&key) };
        if changed {
            let (uid, path) = key;
            self.writes.push(Write::Conflict { uid, path, open });
        }
    }

    /// Some events by uid, after this one.
    pub(crate) fn events_after(&self, uid: &str, limit: usize) -> BTreeSet<String> {
        let after = (Bound::Excluded(uid), Bound::Unbounded);
        let uids = self.history.range::<str, _>(after).map(|it| it.0.to_string());
        uids.filter(|uid| !is_calendar(uid)).take(limit).collect()
    }

    /// All events, by uid.
    pub(crate) fn uids(&self) -> impl Iterator<Item = &str> {
        self.history.keys().map(AsRef::as_ref)
    }

    /// The entries that changed an event, in the order in which they came.
    pub(crate) fn history_of(&self, uid: &str) -> &[Index] {
        self.history.get(uid).map_or(&[], Vec::as_slice)
    }

    /// The entries that changed an event and lie under no other that did: sorted. Of those who did at once, of late, at
    /// least.
    pub(crate) fn latest_of(&self, uid: &str) -> Vec<EntryHash> {
        let mut latest: Vec<Index> = Vec::new();
        for at in self.history_of(uid).iter().rev().take(LATEST_LOOKED_AT) {
            if !self.graph.is_under(*at, &latest) {
                latest.push(*at);
            }
        }
        let mut hashes: Vec<_> = latest.into_iter().map(|at| self.graph.node(at).hash).collect();
        hashes.sort();
        hashes
    }

    /// Whether none of these entries lies under this one, or over it.
    pub(crate) fn is_beside(&self, at: Index, others: &[Index]) -> bool {
        let knows = |a: Index, b: Index| a >= b && self.graph.is_under(b, &[a]);
        others.iter().all(|other| !knows(at, *other) && !knows(*other, at))
    }

    /// The entries by which an event is cancelled.
    pub(crate) fn cancelled_by(&self, uid: &str) -> Vec<Index> {
        let maps = self.document.maps(uid, None);
        let cancelled = |path| {
            let values = self.document.values(&maps, path);
            // What shows counts.
            let shows = values.last().is_some_and(|(leaf, _)| event::is_cancelled(leaf));
            let values =
                values.into_iter().filter(move |(leaf, _)| shows && event::is_cancelled(leaf));
            values.filter_map(|(_, id)| self.graph.index_by_change(&self.document.change_of(&id)?))
        };
        event::STATUSES.into_iter().flat_map(cancelled).collect()
    }
}
