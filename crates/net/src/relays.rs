//! Where an office that can't be dialled asks for a place: at relays of the roster with which it is linked.
//! Pure: time and randomness come as arguments, asking is the driver's. And what a relay grants to whom.
//!
//! **Who needs a place.** A relay stands where the others can reach it, so it is asked whether it can dial us
//! (AutoNAT). If it can, so can the others, and no place is asked for there. If it can't, or says nothing for
//! [`crate::Config::dial_back_patience`], a place is: one that wasn't needed costs next to nothing, one
//! that is missing keeps offices apart. What one relay says counts for that relay alone: to one in the same
//! building everybody is reachable.
//!
//! AutoNAT v1 and not v2, because v1 closes the connection that it dials back on as soon as it stands. v2
//! talks on it, and meanwhile it would look like the new connection of a peer that has lost its link (see
//! `links`). Its rule that only global addresses count is off: in a private network of offices all are local.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, autonat, relay};

use crate::addresses::bare;
use crate::config::{Config, Limits};
use crate::redial::pause;

/// Relays at which we hold a place, and with which we want to be linked: one may be starting again.
const PLACES: usize = 2;

/// Pauses between attempts to get a place that was refused or lost while the relay is there.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What has to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Ask this relay to dial us.
    Ask(PeerId),
    /// It is not to be asked any more.
    Forget(PeerId),
    /// Ask this relay for a place. `asked` or `refused` must follow.
    Reserve(PeerId, Multiaddr),
    /// Give a place up.
    Release(ListenerId),
}

pub(crate) struct Relays {
    local: PeerId,
    patience: Duration,
    known: BTreeMap<PeerId, Relay>,
    /// Direct links: since when and where.
    links: BTreeMap<PeerId, (Instant, Multiaddr)>,
    acts: Vec<Act>,
}

#[derive(Default)]
struct Relay {
    addresses: Vec<Multiaddr>,
    /// It is among those that AutoNAT asks.
    asked: bool,
    /// Whether it could dial us. That it couldn't is remembered while the link is down, so that the place
    /// is taken again at once.
    reaches_us: Option<bool>,
    place: Place,
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    None,
    Asked(ListenerId),
    Held(ListenerId),
}

impl Relays {
    pub(crate) fn new(local: PeerId, patience: Duration) -> Self {
        Self { local, patience, known: BTreeMap::new(), links: BTreeMap::new(), acts: Vec::new() }
    }

    /// Replaces the list of relays.
    pub(crate) fn know(&mut self, relays: BTreeMap<PeerId, Vec<Multiaddr>>) {
        let Self { known, acts, .. } = self;
        known.retain(|peer, relay| {
            let stays = relays.contains_key(peer);
            if !stays && let Place::Held(id) = relay.place {
                acts.push(Act::Release(id));
            }
            if !stays && relay.asked {
                acts.push(Act::Forget(*peer));
            }
            stays
        });
        for (peer, addresses) in relays {
            known.entry(peer).or_default().addresses = addresses;
        }
    }

    /// Those to be linked with even if they are no neighbours.
    pub(crate) fn wanted(&self) -> BTreeMap<PeerId, Vec<Multiaddr>> {
        let wanted = self.in_turn().into_iter().take(PLACES);
        wanted.filter_map(|id| Some((id, self.known.get(&id)?.addresses.clone()))).collect()
    }

    pub(crate) fn is_relay(&self, peer: &PeerId) -> bool {
        self.known.contains_key(peer)
    }

    pub(crate) fn linked(&mut self, peer: PeerId, address: Multiaddr, now: Instant) {
        self.links.insert(peer, (now, address));
        if let Some(relay) = self.known.get_mut(&peer) {
            (relay.failures, relay.not_before) = (0, None);
        }
    }

    pub(crate) fn lost(&mut self, peer: &PeerId) {
        self.links.remove(peer);
        if let Some(relay) = self.known.get_mut(peer)
            && relay.reaches_us == Some(true)
        {
            relay.reaches_us = None;
        }
    }

    /// This relay could dial us, or could not.
    pub(crate) fn dialled_back(&mut self, peer: &PeerId, reached: bool) {
        if let Some(relay) = self.known.get_mut(peer) {
            relay.reaches_us = Some(reached);
        }
    }

    pub(crate) fn asked(&mut self, peer: &PeerId, id: ListenerId) {
        if let Some(relay) = self.known.get_mut(peer) {
            relay.place = Place::Asked(id);
        }
    }

    pub(crate) fn refused(&mut self, peer: &PeerId, now: Instant, random: u64) {
        if let Some(relay) = self.known.get_mut(peer) {
            relay.place = Place::None;
            relay.not_before = Some(now + pause(PAUSE_MIN, PAUSE_MAX, relay.failures, random));
            relay.failures = relay.failures.saturating_add(1);
        }
    }

    /// The place is ours; gives the relay.
    pub(crate) fn granted(&mut self, id: ListenerId) -> Option<PeerId> {
        let asked = |place| place == Place::Asked(id);
        let (peer, relay) = self.known.iter_mut().find(|(_, it)| asked(it.place))?;
        relay.place = Place::Held(id);
        relay.failures = 0;
        Some(*peer)
    }

    /// A place was refused, lost or given up; gives the relay.
    pub(crate) fn closed(&mut self, id: ListenerId, now: Instant, random: u64) -> Option<PeerId> {
        let ours = |place| place == Place::Asked(id) || place == Place::Held(id);
        let peer = self.known.iter().find(|(_, it)| ours(it.place)).map(|(peer, _)| *peer)?;
        self.refused(&peer, now, random);
        Some(peer)
    }

    /// What is due.
    pub(crate) fn acts(&mut self, now: Instant) -> Vec<Act> {
        let mut acts = std::mem::take(&mut self.acts);
        let mut places = self.known.values().filter(|it| it.place != Place::None).count();
        for peer in self.in_turn() {
            let link = self.links.get(&peer);
            let Some(relay) = self.known.get_mut(&peer) else { continue };
            match (link, relay.asked) {
                (Some(_), false) => acts.push(Act::Ask(peer)),
                (None, true) => acts.push(Act::Forget(peer)),
                (Some(_), true) | (None, false) => {}
            }
            relay.asked = link.is_some();
            // Not one that is only asked for: libp2p would fail on the answer.
            if relay.reaches_us == Some(true)
                && let Place::Held(id) = relay.place
            {
                acts.push(Act::Release(id));
            }
            let Some((since, address)) = link else { continue };
            let needed = match relay.reaches_us {
                Some(reaches) => !reaches,
                None => now.saturating_duration_since(*since) >= self.patience,
            };
            let ready = relay.not_before.is_none_or(|from| from <= now);
            if needed && ready && relay.place == Place::None && places < PLACES {
                places += 1;
                let at = relay.addresses.first().unwrap_or(address).clone();
                let at = bare(at, &peer).with(Protocol::P2p(peer)).with(Protocol::P2pCircuit);
                acts.push(Act::Reserve(peer, at));
            }
        }
        acts
    }

    /// All relays, beginning after ourselves on the ring of names: so offices spread over them.
    fn in_turn(&self) -> Vec<PeerId> {
        let (before, after): (Vec<PeerId>, Vec<PeerId>) =
            self.known.keys().partition(|peer| **peer < self.local);
        after.into_iter().chain(before).collect()
    }
}

/// The members, who alone may hold a place. Whoever is connected may ask for a circuit: members, and holders
/// of tickets, who come to join.
#[derive(Clone, Default)]
pub(crate) struct Served(Arc<RwLock<BTreeSet<PeerId>>>);

impl Served {
    pub(crate) fn replace(&self, members: BTreeSet<PeerId>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = members;
    }

    fn has(&self, peer: &PeerId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(peer)
    }

    /// What is granted, as libp2p has it: who gets a place is one of its limiters of rates.
    pub(crate) fn settings(&self, limits: &Limits) -> relay::Config {
        let served = self.clone();
        let settings = relay::Config {
            max_reservations: limits.relay_reservations,
            max_reservations_per_peer: limits.per_peer as usize,
            reservation_duration: limits.relay_reservation_time,
            reservation_rate_limiters: vec![Box::new(MembersOnly(served))],
            max_circuits: limits.relay_circuits,
            max_circuits_per_peer: limits.relay_circuits_per_peer,
            max_circuit_duration: limits.relay_circuit_time,
            max_circuit_bytes: limits.relay_circuit_bytes,
            circuit_src_rate_limiters: Vec::new(),
        };
        // Thirty neighbours that are all away are redialled twice a second together.
        settings
            .circuit_src_per_peer(CIRCUITS_AT_ONCE, CIRCUIT_EVERY)
            .reservation_rate_per_peer(PLACES_AT_ONCE, PLACE_EVERY)
    }
}

/// Circuits that one office may ask for at once, and how soon it may ask for one more.
const CIRCUITS_AT_ONCE: NonZeroU32 = NonZeroU32::new(256).unwrap();
const CIRCUIT_EVERY: Duration = Duration::from_millis(100);

/// The same for places; an office needs one for each connection.
const PLACES_AT_ONCE: NonZeroU32 = NonZeroU32::new(30).unwrap();
const PLACE_EVERY: Duration = Duration::from_secs(10);

struct MembersOnly(Served);

impl relay::RateLimiter for MembersOnly {
    fn try_next(&mut self, peer: PeerId, _: &Multiaddr, _: Instant) -> bool {
        self.0.has(&peer)
    }
}

/// How relays dial back, and how they are asked to.
pub(crate) fn dial_back(config: &Config) -> autonat::Config {
    autonat::Config {
        // A relay tries our addresses one after the other.
        timeout: Duration::from_secs(60),
        // Whom to ask is known only later: it is looked for every second.
        boot_delay: Duration::from_secs(1),
        retry_interval: Duration::from_secs(1),
        throttle_server_period: Duration::from_secs(10),
        // Twice the same answer, then every quarter of an hour.
        confidence_max: 1,
        refresh_interval: Duration::from_secs(15 * 60),
        // Only relays, see `Relays`.
        use_connected: false,
        only_global_ips: false,
        // One takes up to half a minute; all of them together must leave room for dials of our own.
        throttle_clients_period: Duration::from_secs(30),
        throttle_clients_global_max: if config.relay {
            config.limits.pending_out as usize / 4
        } else {
            0
        },
        throttle_clients_peer_max: 3,
        max_peer_addresses: 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    fn peer(seed: u8) -> PeerId {
        crate::identity::keypair([seed; 32]).unwrap().public().to_peer_id()
    }

    fn at(seed: u8) -> Multiaddr {
        format!("/ip4/198.51.100.{seed}/tcp/1").parse().unwrap()
    }

    fn knowing(relays: &[u8]) -> Relays {
        let mut it = Relays::new(peer(1), PATIENCE);
        it.know(relays.iter().map(|seed| (peer(*seed), vec![at(*seed)])).collect());
        it
    }

    /// The relays that are asked for places.
    fn reserving(acts: &[Act]) -> Vec<PeerId> {
        let reserve = |act: &Act| if let Act::Reserve(peer, _) = act { Some(*peer) } else { None };
        acts.iter().filter_map(reserve).collect()
    }

    #[test]
    fn whom_a_relay_reaches_needs_no_place_there() {
        let mut relays = knowing(&[2]);
        let now = Instant::now();
        relays.linked(peer(2), at(2), now);
        assert_eq!(relays.acts(now), [Act::Ask(peer(2))]);
        relays.dialled_back(&peer(2), true);
        assert_eq!(relays.acts(now + 10 * PATIENCE), []);
        // What it said counts as long as the link.
        relays.lost(&peer(2));
        assert_eq!(relays.acts(now), [Act::Forget(peer(2))]);
        relays.linked(peer(2), at(2), now);
        assert_eq!(reserving(&relays.acts(now + PATIENCE)), [peer(2)]);
    }

    #[test]
    fn a_relay_that_says_nothing_is_asked_for_a_place_that_is_given_up_if_it_was_not_needed() {
        let mut relays = knowing(&[2]);
        let now = Instant::now();
        relays.linked(peer(2), at(2), now);
        assert_eq!(reserving(&relays.acts(now + PATIENCE / 2)), []);
        let through = format!("{}/p2p/{}/p2p-circuit", at(2), peer(2)).parse().unwrap();
        assert_eq!(relays.acts(now + PATIENCE), [Act::Reserve(peer(2), through)]);
        let id = ListenerId::next();
        relays.asked(&peer(2), id);
        relays.dialled_back(&peer(2), true);
        assert_eq!(relays.acts(now + PATIENCE), [], "not before it is granted");
        assert_eq!(relays.granted(id), Some(peer(2)));
        assert_eq!(relays.acts(now + PATIENCE), [Act::Release(id)]);
    }

    #[test]
    fn a_lost_place_is_taken_again_as_soon_as_the_relay_is_back() {
        let mut relays = knowing(&[2]);
        let mut now = Instant::now();
        relays.linked(peer(2), at(2), now);
        relays.dialled_back(&peer(2), false);
        assert_eq!(reserving(&relays.acts(now)), [peer(2)], "without waiting");
        for _ in 0..3 {
            let id = ListenerId::next();
            relays.asked(&peer(2), id);
            relays.granted(id);
            relays.lost(&peer(2));
            assert_eq!(relays.closed(id, now, 0), Some(peer(2)));
            assert_eq!(reserving(&relays.acts(now)), []);
            relays.linked(peer(2), at(2), now);
            assert_eq!(reserving(&relays.acts(now)), [peer(2)]);
        }
        // While the relay is there and refuses, it is asked ever less often.
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let id = ListenerId::next();
            relays.asked(&peer(2), id);
            relays.closed(id, now, 0);
            let from = now;
            while reserving(&relays.acts(now)).is_empty() {
                now += Duration::from_millis(250);
            }
            pauses.push(now - from);
        }
        assert!(pauses.is_sorted() && pauses[0] <= PAUSE_MIN, "{pauses:?}");
        assert!(pauses[9] >= PAUSE_MAX / 2 && pauses[9] <= PAUSE_MAX, "{pauses:?}");
    }

    #[test]
    fn two_places_are_enough_and_a_third_relay_takes_over() {
        let mut relays = knowing(&[2, 3, 4]);
        let now = Instant::now();
        for seed in [2, 3, 4] {
            relays.linked(peer(seed), at(seed), now);
            relays.dialled_back(&peer(seed), false);
        }
        let first = reserving(&relays.acts(now));
        let mut sorted = first.clone();
        sorted.sort();
        assert_eq!(sorted, relays.wanted().into_keys().collect::<Vec<_>>());
        assert_eq!(sorted.len(), 2);
        let ids: Vec<_> = first.iter().map(|_| ListenerId::next()).collect();
        for (peer, id) in first.iter().zip(&ids) {
            relays.asked(peer, *id);
            relays.granted(*id);
        }
        assert_eq!(reserving(&relays.acts(now)), []);
        relays.lost(&first[0]);
        relays.closed(ids[0], now, 0);
        let next = reserving(&relays.acts(now));
        assert_eq!(next.len(), 1);
        assert!(!first.contains(&next[0]));
    }

    #[test]
    fn who_is_no_relay_any_more_loses_our_place() {
        let mut relays = knowing(&[2]);
        let now = Instant::now();
        relays.linked(peer(2), at(2), now);
        relays.dialled_back(&peer(2), false);
        relays.acts(now);
        let id = ListenerId::next();
        relays.asked(&peer(2), id);
        relays.granted(id);
        relays.know(BTreeMap::new());
        assert_eq!(relays.acts(now), [Act::Release(id), Act::Forget(peer(2))]);
    }
}
