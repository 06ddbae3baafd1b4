//! Fetching: asking one peer for all that is missing, so that what comes is closed under causality and nothing
//! is sent twice.

use std::collections::BTreeMap;

use super::{Due, Fetch, Gossip};
use crate::entry::{Bundle, Run};
use crate::ids::{LogId, OfficeId};
use crate::ledger::{Ledger, Refused};
use crate::message::{Line, Message, Part};
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
        part: Part,
        lines: Vec<Line>,
    ) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.offered_at = entries;
        if peer.offers.add(part, lines.into_iter().filter(|line| lacks(ledger, line))) {
            let own = ledger.office();
            self.heard_of_ourselves |= peer.offers.list.iter().all(|line| line.log.author != own);
            self.fetch_next(ledger, now);
        }
    }

    /// Starts a fetch from a peer that offers something we still lack, unless one is under way.
    pub(super) fn fetch_next(&mut self, ledger: &Ledger, now: Now) {
        if self.fetch.is_some() {
            return;
        }
        for peer in self.peers.values_mut() {
            peer.offers.list.retain(|line| lacks(ledger, line));
        }
        // Of those that failed least the peer that offers most, so that one fetch brings most.
        let best = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.offers_some() && peer.pause <= now.monotonic)
            .max_by_key(|(_, peer)| {
                // A peer may claim any numbers.
                let lacking = |line: &Line| line.seq.saturating_sub(ledger.graph.length(&line.log));
                let offered = peer.offers.list.iter().map(lacking).fold(0, u64::saturating_add);
                (std::cmp::Reverse(peer.failures), offered)
            })
            .map(|(office, _)| *office);
        let Some(from) = best else { return };
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let mut wanted: BTreeMap<LogId, u64> = BTreeMap::new();
        for line in &peer.offers.list {
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
        let wanted: Vec<_> = wanted.into_iter().collect();
        self.fetches = self.fetches.wrapping_add(1);
        let number = self.fetches;
        let deadline = now.monotonic.after(FETCH_PATIENCE);
        let end = now.monotonic.after(FETCH_LASTS);
        self.fetch = Some(Fetch { from, number, deadline, end });
        let entries = peer.offered_at;
        let parts = Part::cut(&wanted).map(|(part, from)| Message::Want {
            fetch: number,
            entries,
            part,
            from,
        });
        self.send_all(from, parts);
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
        if !self.affords(ledger, now, from) {
            self.fetch_failed(ledger, now, from);
            return;
        }
        let held = self.held(ledger, &bundle);
        match ledger.accept(&bundle) {
            Ok(taken) => {
                if !taken.is_empty() {
                    self.charge(now, from, &taken);
                    for (from, bundle) in self.woken(&bundle) {
                        self.take(ledger, now, from, bundle);
                    }
                    self.forward(from, bundle, &held);
                    if let Some(fetch) = &mut self.fetch {
                        fetch.deadline = now.monotonic.after(FETCH_PATIENCE).min(fetch.end);
                    }
                }
                if last {
                    self.fetch_done(ledger, now, from);
                }
            }
            Err(Refused::Missing(_) | Refused::UnknownAuthor(_)) => {
                // What should have followed what we hold doesn't: there is another history, which may have admitted
                // somebody before the part that was asked for.
                if let Some(peer) = self.peers.get_mut(&from) {
                    let stray =
                        |run: &&Run| run.first > 1 && ledger.graph.index(&run.prev).is_none();
                    let before = peer.strays.len();
                    peer.strays.extend(bundle.iter().filter(stray).map(|run| run.log));
                    if peer.strays.len() == before {
                        // It is not in this chunk, whose entries build upon it.
                        peer.strays.extend(peer.offers.list.iter().map(|line| line.log));
                    }
                }
                self.fetch_failed(ledger, now, from);
            }
            // It is no fault of whoever brings it.
            Err(Refused::Fork) => self.fetch_later(ledger, now, from),
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
        peer.offers.list.retain(|line| lacks(ledger, line));
        self.heard_of_ourselves |=
            peer.offers.list.iter().all(|line| line.log.author != ledger.office());
        if !peer.offers.list.is_empty() {
            peer.strays.extend(peer.offers.list.iter().map(|line| line.log));
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
        self.fetch_later(ledger, now, from);
    }

    /// There is nothing to blame a peer for, but others come first, and then it again.
    fn fetch_later(&mut self, ledger: &mut Ledger, now: Now, from: OfficeId) {
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
        let offering = self.peers.values().filter(|peer| peer.offers_some());
        offering.map(|peer| (peer.pause, "fetch again")).min()
    }
}

/// Whether a peer's line says more than we hold: further entries, or another history.
fn lacks(ledger: &Ledger, line: &Line) -> bool {
    ledger.graph.index(&line.hash).is_none()
}
