//! What addresses say: which are told to others and in what order, and which of a peer's are dialled. Leaves
//! names to `resolve`, and dialling to `driver`.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Direct addresses of one peer that we dial, or tell: a host has a handful of interfaces, a liar has
/// millions.
pub(crate) const DIRECT_MAX: usize = 12;

/// The same for those through relays: two relays with two addresses each.
pub(crate) const RELAYED_MAX: usize = 4;

/// Addresses of a relay that we tell: whoever is linked with it needs none, and others try both at once.
const PER_RELAY_MAX: usize = 2;

/// Whether an address is of this machine or of a network around it.
pub fn is_local(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Some(Protocol::Ip6(ip)) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
        _ => false,
    }
}

/// Whether an address is of this machine alone.
pub fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The relay that an address leads through.
pub(crate) fn relay_of(address: &Multiaddr) -> Option<PeerId> {
    let mut parts = address.iter().take_while(|part| *part != Protocol::P2pCircuit);
    let relay = parts.find_map(|part| match part {
        Protocol::P2p(peer) => Some(peer),
        _ => None,
    });
    relay.filter(|_| is_relayed(address))
}

/// Without the peer's own name at the end.
pub(crate) fn bare(mut address: Multiaddr, peer: &PeerId) -> Multiaddr {
    if address.iter().last() == Some(Protocol::P2p(*peer)) {
        address.pop();
    }
    address
}

/// What of these addresses of ours is told to others, each ending in our name: what anybody can dial
/// before what leads through a relay, before what only neighbours can.
pub(crate) fn to_tell(all: impl Iterator<Item = Multiaddr>, local: &PeerId) -> Vec<Multiaddr> {
    let mut all: Vec<_> = all.map(|it| bare(it, local)).collect();
    all.sort_by_cached_key(|it| (is_loopback(it), is_local(it), is_relayed(it), it.to_string()));
    all.dedup();
    let chosen = choose(all, PER_RELAY_MAX);
    chosen.into_iter().map(|it| it.with(Protocol::P2p(*local))).collect()
}

/// What of these addresses of a peer is dialled: one for each relay, as its addresses all lead over the
/// one connection that we have with it.
pub(crate) fn to_dial(all: Vec<Multiaddr>, peer: &PeerId, local: &PeerId) -> Vec<Multiaddr> {
    let mut wanted: Vec<Multiaddr> = Vec::new();
    for address in all.into_iter().map(|it| bare(it, peer)) {
        let idle = match relay_of(&address) {
            // Nobody is behind itself, and we are no way to others for ourselves.
            Some(relay) => relay == *local || relay == *peer,
            None => is_relayed(&address),
        };
        if !idle && !wanted.contains(&address) {
            wanted.push(address);
        }
    }
    choose(wanted, 1)
}

/// The first ones, within the limits.
fn choose(all: Vec<Multiaddr>, per_relay: usize) -> Vec<Multiaddr> {
    let (mut direct, mut relays) = (0, Vec::new());
    all.into_iter()
        .filter(|address| match relay_of(address) {
            None => {
                direct += 1;
                direct <= DIRECT_MAX
            }
            Some(relay) => {
                let same = relays.iter().filter(|it| **it == relay).count();
                let fits = same < per_relay && relays.len() < RELAYED_MAX;
                relays.extend(fits.then_some(relay));
                fits
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(seed: u8) -> PeerId {
        crate::identity::keypair([seed; 32]).unwrap().public().to_peer_id()
    }

    fn texts(addresses: &[Multiaddr]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_anybody_can_dial_is_told_first() {
        let (local, relay) = (peer(1), peer(2));
        let through = format!("/ip4/198.51.100.7/tcp/1/p2p/{relay}/p2p-circuit");
        let listening = [
            "/ip4/127.0.0.1/tcp/1".to_owned(),
            "/ip4/192.168.1.2/tcp/1".to_owned(),
            format!("{through}/p2p/{local}"),
            format!("/ip4/198.51.100.9/tcp/1/p2p/{local}"),
            "/ip4/198.51.100.9/tcp/1".to_owned(),
        ];
        let told = to_tell(listening.iter().map(|it| it.parse().unwrap()), &local);
        let expected =
            ["/ip4/198.51.100.9/tcp/1", &through, "/ip4/192.168.1.2/tcp/1", "/ip4/127.0.0.1/tcp/1"];
        assert_eq!(texts(&told), expected.map(|it| format!("{it}/p2p/{local}")));
    }

    #[test]
    fn a_relay_is_dialled_through_once_and_never_by_itself() {
        let (local, relay, other) = (peer(1), peer(2), peer(3));
        let through = |relay, port| format!("/ip4/198.51.100.7/tcp/{port}/p2p/{relay}/p2p-circuit");
        let said = [
            through(relay, 1),
            through(relay, 2),
            through(local, 1),
            through(other, 1),
            "/ip4/198.51.100.7/tcp/1/p2p-circuit".to_owned(),
            format!("/ip4/10.0.0.1/tcp/1/p2p/{other}"),
            "/ip4/10.0.0.1/tcp/1".to_owned(),
        ];
        let said = said.iter().map(|it| it.parse().unwrap()).collect();
        let dialled = to_dial(said, &other, &local);
        assert_eq!(texts(&dialled), [through(relay, 1), "/ip4/10.0.0.1/tcp/1".to_owned()]);
    }

    #[test]
    fn a_liar_makes_us_dial_a_handful() {
        let (local, liar) = (peer(1), peer(2));
        let direct = (1..1000).map(|port| format!("/ip4/10.0.0.1/tcp/{port}"));
        let relayed =
            (10..200).map(|seed| format!("/ip4/10.0.0.1/tcp/1/p2p/{}/p2p-circuit", peer(seed)));
        let said = direct.chain(relayed).map(|it| it.parse().unwrap()).collect();
        assert_eq!(to_dial(said, &liar, &local).len(), DIRECT_MAX + RELAYED_MAX);
    }
}
