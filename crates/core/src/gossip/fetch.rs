//! Fetching: asking one peer for all that is missing, so that what comes is closed under causality and nothing
//! is sent twice.

use std::collections::BTreeMap;

use super::{Due, Fetch, Gossip, LINES_MAX};
use crate::entry::{Bundle, Run};
use crate::ids::{LogId, OfficeId};
use crate::ledger::{Ledger, Refused};
use crate::message::{Line, Message};
use crate::time::{Now, SECOND};

/// A fetch that brings nothing for so long has failed.
const FETCH_PATIENCE: u64 = 10 * SECOND;
/// A fetch goes on for so long; what is still missing then is asked of whoever else offers something. A liar could
/// bring one entry at a time for ever, and nobody else is asked meanwhile.
const FETCH_LASTS: u64 = 30 * SECOND;
/// A peer whose fetch failed is left alone for so long, and for twice as long each time it fails again,
/// up to some 30 seconds.
const FETCH_PAUSE: u64 = SECOND / 2;

impl Gossip {
    pub(super) fn offered(
        &mut self,
        ledger: &mut Ledger,
        now: Now,
        from: OfficeId,
        entries: u64,
        lines: Vec<Line>,
    ) {
        let lines = lines.into_iter().take(LINES_MAX);
        let lacking: Vec<Line> = lines.filter(|line| lacks(ledger, line)).collect();
        let own = ledger.office();
        self.heard_of_ourselves |= lacking.iter().all(|line| line.log.author != own);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.offers = lacking;
            peer.offered_at = entries;
        }
        self.fetch_next(ledger, now);
    }

    /// Starts a fetch from a peer that offers something we still lack, unless one is under way.
    pub(super) fn fetch_next(&mut self, ledger: &Ledger, now: Now) {
        if self.fetch.is_some() {
            return;
        }
        for peer in self.peers.values_mut() {
            peer.offers.retain(|line| lacks(ledger, line));
        }
        // Of those that failed least the peer that offers most, so that one fetch brings most.
        let best = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.offers.is_empty() && peer.pause <= now.monotonic)
            .max_by_key(|(_, peer)| {
                // A peer may claim any numbers.
                let lacking = |line: &Line| line.seq.saturating_sub(ledger.graph.length(&line.log));
                let offered = peer.offers.iter().map(lacking).fold(0, u64::saturating_add);
                (std::cmp::Reverse(peer.failures), offered)
            })
            .map(|(office, _)| *office);
        let Some(from) = best else { return };
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let mut wanted: BTreeMap<LogId, u64> = BTreeMap::new();
        for line in &peer.offers {
            let from = if peer.strays.contains(&line.log) {
                1
            } else if let Some(fork) = ledger.graph.first_fork(&line.log) {
                fork
            } else if line.seq <= ledger.graph.length(&line.log) {
                // Another history: where it parts nobody knows before its entries are there.
                1
            } else {
                ledger.graph.length(&line.log) + 1
            };
            wanted.entry(line.log).and_modify(|least| *least = from.min(*least)).or_insert(from);
        }
        let wanted = wanted.into_iter().collect();
        self.fetches = self.fetches.wrapping_add(1);
        let number = self.fetches;
        let deadline = now.monotonic.after(FETCH_PATIENCE);
        let end = now.monotonic.after(FETCH_LASTS);
        self.fetch = Some(Fetch { from, number, deadline, end });
        let entries = peer.offered_at;
        self.send(from, &Message::Want { fetch: number, entries, from: wanted });
    }

    pub(super) fn chunk(
        &mut self,
        ledger: &mut Ledger,
        now: Now,
        from: OfficeId,
        number: u32,
        last: bool,
        bundle: Bundle,
    ) {
        let ours =
            self.fetch.as_ref().is_some_and(|fetch| fetch.from == from && fetch.number == number);
        if !ours {
            // Of a fetch that we gave up, but perhaps still good.
            self.take(ledger, now, from, bundle);
            return;
        }
        if !self.affords(ledger, now, from, &bundle) {
            self.fetch_failed(ledger, now, from);
            return;
        }
        let held = self.held(ledger, &bundle);
        match ledger.accept(&bundle) {
            Ok(count) => {
                if count > 0 {
                    for (from, bundle) in self.woken(&bundle) {
                        self.take(ledger, now, from, bundle);
                    }
                    self.forward(ledger, from, bundle, &held);
                    if let Some(fetch) = &mut self.fetch {
                        fetch.deadline = now.monotonic.after(FETCH_PATIENCE).min(fetch.end);
                    }
                }
                if last {
                    self.fetch_done(ledger, now, from);
                }
            }
            Err(Refused::Missing(_)) => {
                // What should have followed what we hold doesn't: there is another history.
                if let Some(peer) = self.peers.get_mut(&from) {
                    let stray =
                        |run: &&Run| run.first > 1 && ledger.graph.index(&run.prev).is_none();
                    let before = peer.strays.len();
                    peer.strays.extend(bundle.iter().filter(stray).map(|run| run.log));
                    if peer.strays.len() == before {
                        // It is not in this chunk, whose entries build upon it.
                        peer.strays.extend(peer.offers.iter().map(|line| line.log));
                    }
                }
                self.fetch_failed(ledger, now, from);
            }
            Err(why) => {
                self.refused(ledger, now, from, bundle, why);
                self.fetch_failed(ledger, now, from);
            }
        }
    }

    /// The peer has sent all that was asked for. What it offered and didn't bring may be part of a history
    /// that parts earlier than was thought; or it lied.
    pub(super) fn fetch_done(&mut self, ledger: &mut Ledger, now: Now, from: OfficeId) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.offers.retain(|line| lacks(ledger, line));
        self.heard_of_ourselves |=
            peer.offers.iter().all(|line| line.log.author != ledger.office());
        if !peer.offers.is_empty() {
            peer.strays.extend(peer.offers.iter().map(|line| line.log));
            self.fetch_failed(ledger, now, from);
            return;
        }
        peer.strays.clear();
        peer.failures = 0;
        self.fetch = None;
        self.hello(ledger, from);
        self.fetch_next(ledger, now);
        self.notices_soon(ledger, now);
    }

    pub(super) fn fetch_failed(&mut self, ledger: &mut Ledger, now: Now, from: OfficeId) {
        self.fetch = None;
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.failures += 1;
            peer.pause = peer.pause.max(now.monotonic.after(FETCH_PAUSE << peer.failures.min(6)));
        }
        self.fetch_next(ledger, now);
    }

    /// A fetch brings nothing, or goes on for too long.
    pub(super) fn fetch_late(&mut self, ledger: &mut Ledger, now: Now) {
        let Some(Fetch { from, deadline, end, .. }) = self.fetch else { return };
        if deadline < end {
            return self.fetch_failed(ledger, now, from);
        }
        // There is nothing to blame it for: others come first, and then it again.
        self.fetch = None;
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.pause = peer.pause.max(now.monotonic.after(2 * FETCH_PAUSE));
        }
        self.fetch_next(ledger, now);
    }

    /// When a peer whose fetch failed may be asked again.
    pub(super) fn fetch_pause(&self) -> Option<Due> {
        if self.fetch.is_some() {
            return None;
        }
        let offering = self.peers.values().filter(|peer| !peer.offers.is_empty());
        offering.map(|peer| (peer.pause, "fetch again")).min()
    }
}

/// Whether a peer's line says more than we hold: further entries, or another history.
fn lacks(ledger: &Ledger, line: &Line) -> bool {
    ledger.graph.index(&line.hash).is_none()
}
