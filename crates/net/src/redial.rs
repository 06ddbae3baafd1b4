//! When to dial whom: for ever, with exponential backoff and jitter. Pure: time and randomness come
//! as arguments, dialling is the driver's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use crate::addresses::relay_of;

/// A link that held for so long is a good one.
const STEADY: Duration = Duration::from_secs(10);

/// After a bad frame the pause starts here instead of at the minimum.
const PENALTY_FAILURES: u32 = 6;

pub(crate) struct Redial {
    min: Duration,
    max: Duration,
    peers: BTreeMap<PeerId, Neighbour>,
}

struct Neighbour {
    addresses: Vec<Multiaddr>,
    failures: u32,
    /// When the last link came up.
    since: Option<Instant>,
    /// Links in a row that didn't hold.
    unsteady: u32,
    /// `None` while connected or being dialled.
    due: Option<Instant>,
}

impl Redial {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), peers: BTreeMap::new() }
    }

    /// Replaces the wanted neighbours. New ones, and unreachable ones with new addresses, are due
    /// at once; `connected` ones when they get lost.
    pub(crate) fn want(
        &mut self,
        wanted: BTreeMap<PeerId, Vec<Multiaddr>>,
        connected: impl Fn(&PeerId) -> bool,
        now: Instant,
    ) {
        self.peers.retain(|peer, _| wanted.contains_key(peer));
        for (peer, addresses) in wanted {
            match self.peers.get_mut(&peer) {
                Some(known) => {
                    let news = addresses.iter().any(|address| !known.addresses.contains(address));
                    known.addresses = addresses;
                    if news && known.due.is_some() {
                        known.failures = 0;
                        known.due = Some(now);
                    }
                }
                None => {
                    let due = (!connected(&peer)).then_some(now);
                    self.peers.insert(
                        peer,
                        Neighbour { addresses, failures: 0, since: None, unsteady: 0, due },
                    );
                }
            }
        }
    }

    /// Whom to dial now. They are under way until `failed`, `lost` or `linked` is called.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let due = self.peers.iter_mut().filter(|(_, it)| it.due.is_some_and(|due| due <= now));
        due.map(|(peer, it)| {
            it.due = None;
            (*peer, it.addresses.clone())
        })
        .collect()
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.peers.values().filter_map(|it| it.due).min()
    }

    /// A dial failed, or a connection ended before it became a link. `random` is uniform.
    pub(crate) fn failed(&mut self, peer: &PeerId, now: Instant, random: u64) {
        let (min, max) = (self.min, self.max);
        if let Some(it) = self.peers.get_mut(peer) {
            let pause = pause(min, max, it.failures, random);
            it.failures = it.failures.saturating_add(1);
            it.due = Some(now + pause);
        }
    }

    /// A link went down. The first attempt is made at once: most losses are restarts. But links that are lost
    /// again and again are pushed out by another node with our key, or the peer's, which comes back as fast.
    pub(crate) fn lost(&mut self, peer: &PeerId, now: Instant, random: u64) {
        let (min, max) = (self.min, self.max);
        if let Some(it) = self.peers.get_mut(peer) {
            let held = it.since.map_or(STEADY, |since| now.saturating_duration_since(since));
            it.unsteady = if held >= STEADY { 0 } else { it.unsteady.saturating_add(1) };
            let pause = match it.unsteady.checked_sub(2) {
                None => Duration::ZERO,
                Some(losses) => pause(min, max, losses, random),
            };
            it.due = Some(now + pause);
        }
    }

    /// The peer misbehaved: the link goes down, and there is no hurry to see it again.
    pub(crate) fn penalise(&mut self, peer: &PeerId, now: Instant, random: u64) {
        if let Some(it) = self.peers.get_mut(peer) {
            it.failures = it.failures.max(PENALTY_FAILURES);
        }
        self.failed(peer, now, random);
    }

    pub(crate) fn linked(&mut self, peer: &PeerId, now: Instant) {
        if let Some(it) = self.peers.get_mut(peer) {
            it.failures = 0;
            it.since = Some(now);
            it.due = None;
        }
    }

    /// A relay can be reached again: try those that may be behind it.
    pub(crate) fn hurry_through(&mut self, relay: &PeerId, now: Instant) {
        let behind = |it: &Neighbour| it.addresses.iter().any(|at| relay_of(at) == Some(*relay));
        let peers = self.peers.iter().filter(|(_, it)| behind(it)).map(|(peer, _)| *peer);
        for peer in peers.collect::<Vec<_>>() {
            self.hurry(&peer, now);
        }
    }

    /// What kept the peer away is gone: try now.
    pub(crate) fn hurry(&mut self, peer: &PeerId, now: Instant) {
        if let Some(it) = self.peers.get_mut(peer)
            && it.due.is_some()
        {
            it.failures = 0;
            it.due = Some(now);
        }
    }
}

/// Between half and all of `min * 2^failures`, at most `max`: the jitter keeps offices that lost
/// each other at one moment from dialling at one moment for ever.
pub(crate) fn pause(min: Duration, max: Duration, failures: u32, random: u64) -> Duration {
    let full = min.saturating_mul(1 << failures.min(20)).min(max);
    let half = full / 2;
    let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_micros(random % spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denver() -> (PeerId, BTreeMap<PeerId, Vec<Multiaddr>>) {
        let peer = crate::identity::keypair([1; 32]).unwrap().public().to_peer_id();
        (peer, BTreeMap::from([(peer, vec!["/ip4/10.0.0.1/tcp/1".parse().unwrap()])]))
    }

    #[test]
    fn pauses_double_to_the_limit_and_a_link_resets_them() {
        let (peer, wanted) = denver();
        let (min, max) = (Duration::from_millis(200), Duration::from_secs(30));
        let mut redial = Redial::new(min, max);
        let mut now = Instant::now();
        redial.want(wanted, |_| false, now);
        let mut full = min;
        for random in (0..40).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            assert_eq!(redial.take_due(now).len(), 1);
            assert!(redial.take_due(now).is_empty(), "under way");
            redial.failed(&peer, now, random);
            let due = redial.next_due().unwrap();
            assert!(due - now >= full / 2 && due - now <= full, "{:?} of {full:?}", due - now);
            full = (full * 2).min(max);
            now = due;
        }
        redial.take_due(now);
        redial.linked(&peer, now);
        redial.lost(&peer, now, 0);
        assert_eq!(redial.next_due(), Some(now), "the first attempt is made at once");
    }

    #[test]
    fn links_that_never_hold_are_made_ever_more_seldom_until_one_does() {
        let (peer, wanted) = denver();
        let (min, max) = (Duration::from_millis(200), Duration::from_secs(30));
        let mut redial = Redial::new(min, max);
        let mut now = Instant::now();
        redial.want(wanted, |_| false, now);
        let mut lose = |held: Duration| {
            assert_eq!(redial.take_due(now).len(), 1);
            redial.linked(&peer, now);
            now += held;
            redial.lost(&peer, now, 0);
            let pause = redial.next_due().unwrap() - now;
            now += pause;
            pause
        };
        let short = Duration::from_millis(5);
        let pauses: Vec<_> = (0..12).map(|_| lose(short).as_millis()).collect();
        assert_eq!(pauses[..5], [0, 100, 200, 400, 800]);
        assert_eq!(pauses[11], 15_000);
        assert_eq!(lose(STEADY), Duration::ZERO);
    }

    #[test]
    fn a_new_address_of_an_unreachable_peer_is_tried_at_once() {
        let (peer, mut wanted) = denver();
        let mut redial = Redial::new(Duration::from_secs(1), Duration::from_secs(60));
        let now = Instant::now();
        redial.want(wanted.clone(), |_| false, now);
        redial.take_due(now);
        redial.failed(&peer, now, 0);
        redial.want(wanted.clone(), |_| false, now);
        assert!(redial.take_due(now).is_empty(), "nothing new");
        wanted.entry(peer).or_default().push("/ip4/10.0.0.2/tcp/1".parse().unwrap());
        redial.want(wanted, |_| false, now);
        assert_eq!(redial.take_due(now).len(), 1);
    }
}
