//! Pushing: entries go to neighbours as soon as they are durable here. What comes out of its order waits in
//! `pending`; what is lost is found by comparing.

use super::Gossip;
use crate::entry::{Bundle, Run};
use crate::ids::{EntryHash, OfficeId};
use crate::ledger::{Ledger, Refused};
use crate::message::Message;
use crate::overlay::{self, Overlay};
use crate::step::Effect;
use crate::time::{Instant, MILLISECOND, Now, SECOND};

/// How long what arrives out of order may wait for what is missing, before the sender is asked.
/// Longer than the pushes of one burst take to sort themselves out.
const GAP_PATIENCE: u64 = 100 * MILLISECOND;

/// What is taken from a peer of entries that are its own: so much at once (a hundred thousand events that an
/// office imports), and then so much a second, which is more than people and programs write in the long run. Who
/// writes more fills its own disk, and those of others no faster than that.
const OWN_BYTES_AT_ONCE: u64 = 64 << 20;
const OWN_BYTES_PER_SECOND: u64 = 256 << 10;

/// How much of that a peer has used up: in bytes for each of the units of time in a second, so that nothing is lost
/// in rounding.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    used: u64,
    at: Instant,
}

impl Allowance {
    /// Takes so much of it, or says when it may be asked again.
    fn take(&mut self, now: Instant, bytes: u64) -> Result<(), Instant> {
        let passed = now.0.saturating_sub(self.at.0);
        self.used = self.used.saturating_sub(passed.saturating_mul(OWN_BYTES_PER_SECOND));
        self.at = now;
        let wanted = self.used + bytes * SECOND;
        let over = wanted.saturating_sub(OWN_BYTES_AT_ONCE * SECOND);
        if over > 0 && self.used > 0 {
            return Err(now.after(over.div_ceil(OWN_BYTES_PER_SECOND)));
        }
        self.used = wanted;
        Ok(())
    }
}

impl Gossip {
    /// Whether more of a peer's own entries is taken from it now. If not, they are not looked at, and asked for again
    /// later.
    pub(super) fn affords(
        &mut self,
        ledger: &mut Ledger,
        now: Now,
        from: OfficeId,
        bundle: &Bundle,
    ) -> bool {
        let new = |run: &&Run| run.log.author == from && ledger.held_of(run) < run.last();
        let links = bundle.iter().filter(new).flat_map(|run| &run.links);
        let bytes = links.map(|link| (link.body.len() + 32 * link.parents.len() + 64) as u64).sum();
        let Some(peer) = self.peers.get_mut(&from).filter(|_| bytes > 0) else { return true };
        let taken = self.taken.entry(from).or_default().take(now.monotonic, bytes);
        let Err(until) = taken else { return true };
        peer.pause = peer.pause.max(until);
        self.complain(
            ledger,
            from,
            &format!("office {from} writes more than is taken from it, and waits"),
        );
        false
    }

    /// To whom to push what is new: the successors on the rings, and peers who have no place there
    /// (yet), such as a newcomer. All peers, if so few successors are linked that it would hardly get on.
    pub(super) fn audience(&self) -> Vec<OfficeId> {
        let Overlay { neighbours, successors } = &self.overlay;
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
        if !self.affords(ledger, now, from, &bundle) {
            return;
        }
        let mut refused_any = false;
        let mut ready = vec![(from, bundle)];
        while let Some((from, bundle)) = ready.pop() {
            let held = self.held(ledger, &bundle);
            match ledger.accept(&bundle) {
                Ok(0) => {}
                Ok(_) => {
                    ready.extend(self.woken(&bundle));
                    self.forward(ledger, from, bundle, &held);
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
        match is_mesh(ledger) {
            true => Vec::new(),
            false => bundle.iter().map(|run| ledger.held_of(run)).collect(),
        }
    }

    /// In a mesh the author has told everyone; on rings it goes on, but not back.
    pub(super) fn forward(
        &mut self,
        ledger: &Ledger,
        from: OfficeId,
        bundle: Bundle,
        held: &[u64],
    ) {
        if is_mesh(ledger) {
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

fn is_mesh(ledger: &Ledger) -> bool {
    ledger.roster.members().len() <= overlay::MESH_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_taken_at_once_and_then_so_much_a_second() {
        let mut allowance = Allowance::default();
        let start = Instant(1_000_000);
        for _ in 0..64 {
            allowance.take(start, 1 << 20).unwrap();
        }
        let until = allowance.take(start, 1 << 20).unwrap_err();
        assert_eq!(until, start.after(4 * SECOND));
        assert!(allowance.take(Instant(until.0 - 1), 1 << 20).is_err());
        allowance.take(until, 1 << 20).unwrap();
        assert!(allowance.take(until, 1 << 20).is_err());
        // After minutes of silence all of it is there again, and no more.
        let later = until.after(300 * SECOND);
        for _ in 0..64 {
            allowance.take(later, 1 << 20).unwrap();
        }
        assert!(allowance.take(later, 1 << 20).is_err());
    }
}
