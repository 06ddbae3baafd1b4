//! Pushing: entries go to neighbours as soon as they are durable here. What comes out of its order waits in
//! `pending`; what is lost is found by comparing.

use super::Gossip;
use crate::entry::{Bundle, Run};
use crate::ids::{EntryHash, OfficeId};
use crate::ledger::{Ledger, Refused, Taken};
use crate::message::Message;
use crate::overlay::Overlay;
use crate::step::Effect;
use crate::time::{Instant, MILLISECOND, Now, SECOND};

/// How long what arrives out of order may wait for what is missing, before the sender is asked.
/// Longer than the pushes of one burst take to sort themselves out.
const GAP_PATIENCE: u64 = 100 * MILLISECOND;

/// What is taken from a peer: so much at once (a hundred thousand events that an office imports), and then so much a
/// second, which is more than people and programs write in the long run. Who writes more fills its own disk, and
/// those of others no faster than that.
const BYTES_AT_ONCE: u64 = 64 << 20;
const BYTES_PER_SECOND: u64 = 256 << 10;
/// What others wrote counts for less, as whoever was away gets all that they wrote from one peer.
const OTHERS_SHARE: u64 = 16;
/// A history that it begins counts for as much as so many bytes: each costs every node a line in each comparison for
/// ever. Who is started again begins one at most.
const BYTES_PER_HISTORY: u64 = 1 << 20;

/// How much of that a peer has used up: in bytes for each of the units of time in a second, so that nothing is lost
/// in rounding.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowance {
    used: u64,
    at: Instant,
}

impl Allowance {
    /// Whether some of it is left; if not, since when there is again.
    fn check(&mut self, now: Instant) -> Result<(), Instant> {
        let passed = now.0.saturating_sub(self.at.0);
        self.used = self.used.saturating_sub(passed.saturating_mul(BYTES_PER_SECOND));
        self.at = now;
        match self.used.saturating_sub(BYTES_AT_ONCE * SECOND) {
            0 => Ok(()),
            over => Err(now.after(over.div_ceil(BYTES_PER_SECOND))),
        }
    }

    fn charge(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes.saturating_mul(SECOND));
    }
}

impl Gossip {
    /// Whether more is taken from a peer now. If not, what it sends is not looked at, and asked for again later.
    pub(super) fn affords(&mut self, ledger: &mut Ledger, now: Now, from: OfficeId) -> bool {
        let checked = self.taken.get_mut(&from).map(|it| it.check(now.monotonic));
        let Some(Err(until)) = checked else { return true };
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.pause = peer.pause.max(until);
        }
        self.complain(
            ledger,
            from,
            &format!("office {from} sends more than is taken from it, and waits"),
        );
        false
    }

    /// What was taken from a peer is paid for afterwards: only then is it known what was new.
    pub(super) fn charge(&mut self, now: Now, from: OfficeId, taken: &[Taken]) {
        let cost = |it: &Taken| match it.author == from {
            true => it.bytes + it.histories * BYTES_PER_HISTORY,
            false => it.bytes / OTHERS_SHARE,
        };
        let allowance = self.taken.entry(from).or_default();
        // Time that passed before counts for nothing that comes now.
        let _ = allowance.check(now.monotonic);
        allowance.charge(taken.iter().map(cost).sum());
    }

    /// To whom to push what is new: the successors on the rings, and peers who have no place there
    /// (yet), such as a newcomer. All peers, if so few successors are linked that it would hardly get on.
    pub(super) fn audience(&self) -> Vec<OfficeId> {
        let Overlay { neighbours, successors, .. } = &self.overlay;
        let wanted = |peer: &OfficeId| successors.contains(peer) || !neighbours.contains(peer);
        let audience: Vec<_> = self.peers().filter(wanted).collect();
        if audience.len() < 2 { self.peers().collect() } else { audience }
    }

    /// Pushes entries of our own.
    pub(crate) fn publish(&mut self, runs: Vec<Run>) {
        let to = if runs.is_empty() { Vec::new() } else { self.audience() };
        for run in runs {
            self.effects
                .push(Effect::Push { to: to.clone(), frame: Message::Push(vec![run]).encode() });
        }
    }

    /// Takes a pushed bundle, and those that waited for it, and passes on what was new.
    pub(super) fn take(&mut self, ledger: &mut Ledger, now: Now, from: OfficeId, bundle: Bundle) {
        if !self.affords(ledger, now, from) {
            return;
        }
        let mut refused_any = false;
        let mut ready = vec![(from, bundle)];
        while let Some((from, bundle)) = ready.pop() {
            let held = self.held(ledger, &bundle);
            match ledger.accept(&bundle) {
                Ok(taken) if taken.is_empty() => {}
                Ok(taken) => {
                    self.charge(now, from, &taken);
                    ready.extend(self.woken(&bundle));
                    self.forward(from, bundle, &held);
                }
                Err(refused) => {
                    refused_any = true;
                    self.refused(ledger, now, from, bundle, refused);
                }
            }
        }
        if self.pending.is_empty() && !refused_any {
            self.gaps.clear();
        }
    }

    pub(super) fn woken(&mut self, bundle: &Bundle) -> Vec<(OfficeId, Bundle)> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let hashes: Vec<EntryHash> = bundle.iter().flat_map(Run::hashes).collect();
        hashes.iter().flat_map(|hash| self.pending.arrived(hash)).collect()
    }

    /// How far each run is held, for [`Gossip::forward`].
    pub(super) fn held(&self, ledger: &Ledger, bundle: &Bundle) -> Vec<u64> {
        match self.overlay.mesh {
            true => Vec::new(),
            false => bundle.iter().map(|run| ledger.held_of(run)).collect(),
        }
    }

    /// In a mesh the author has told everyone; on rings it goes on, but not back.
    pub(super) fn forward(&mut self, from: OfficeId, bundle: Bundle, held: &[u64]) {
        if self.overlay.mesh {
            return;
        }
        let mut to = self.audience();
        to.retain(|peer| *peer != from);
        if !to.is_empty() {
            // What was held has been passed on before.
            let new = bundle.into_iter().zip(held).filter_map(|(run, held)| run.after(*held));
            self.effects.push(Effect::Push { to, frame: Message::Push(new.collect()).encode() });
        }
    }

    pub(super) fn refused(
        &mut self,
        ledger: &mut Ledger,
        now: Now,
        from: OfficeId,
        bundle: Bundle,
        why: Refused,
    ) {
        match why {
            Refused::Missing(hashes) => {
                let Some(hash) = hashes.first() else { return };
                // Without room it is dropped; the comparison that is due anyway brings it again.
                self.pending.wait(*hash, from, bundle);
                self.gap_soon(now, from);
            }
            // Either way the next comparison brings it again.
            Refused::UnknownAuthor(_) => self.gap_soon(now, from),
            Refused::Fork => {}
            Refused::Bad(what) => {
                self.complain(
                    ledger,
                    from,
                    &format!("refused entries that came from {from}: {what}"),
                );
            }
        }
    }

    /// Tells operators of something that a peer sent, ever more rarely: the first, second, fourth time.
    pub(crate) fn complain(&mut self, ledger: &mut Ledger, from: OfficeId, what: &str) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.refusals += 1;
        if peer.refusals.is_power_of_two() {
            ledger.alarms.push(format!("{what} ({} such things so far)", peer.refusals));
        }
    }

    pub(super) fn gap_soon(&mut self, now: Now, from: OfficeId) {
        self.gaps.entry(from).or_insert(now.monotonic.after(GAP_PATIENCE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_taken_at_once_and_then_so_much_a_second() {
        let mut allowance = Allowance::default();
        let start = Instant(1_000_000);
        for _ in 0..64 {
            allowance.check(start).unwrap();
            allowance.charge(1 << 20);
        }
        allowance.check(start).unwrap();
        allowance.charge(1 << 20);
        let until = allowance.check(start).unwrap_err();
        assert_eq!(until, start.after(4 * SECOND));
        assert!(allowance.check(Instant(until.0 - 1)).is_err());
        allowance.check(until).unwrap();
        allowance.charge(1);
        assert!(allowance.check(until).is_err());
        // After minutes of silence all of it is there again, and no more.
        let later = until.after(3_000 * SECOND);
        allowance.check(later).unwrap();
        allowance.charge((64 << 20) + 1);
        assert!(allowance.check(later).is_err());
    }
}
