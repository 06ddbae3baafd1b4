//! Where this office can be reached: what it listens at, what relays could dial, its places at relays, and
//! telling others of all that. Leaves to `relays` which relays to ask for what.

use std::time::Instant;

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, autonat, relay};

use super::{Driver, random};
use crate::addresses;
use crate::event::Event;
use crate::relays::Act;

/// Addresses that we believe relays to have dialled: a host has few, a liar has millions.
const REACHED_MAX: usize = 4;

impl Driver {
    /// Asks relays whether they can dial us, and for places where they can't.
    pub(super) fn see_to_places(&mut self, now: Instant) {
        let Some(relays) = &mut self.relays else { return };
        for act in relays.acts(now) {
            let autonat = &mut self.swarm.behaviour_mut().autonat;
            match act {
                Act::Ask(relay) => autonat.add_server(relay, None),
                Act::Forget(relay) => autonat.remove_server(&relay),
                Act::Reserve(relay, at) => match self.swarm.listen_on(at) {
                    Ok(id) => relays.asked(&relay, id),
                    Err(error) => {
                        tracing::debug!(%relay, %error, "can't ask for a place");
                        relays.refused(&relay, now, random());
                    }
                },
                Act::Release(id) => {
                    self.swarm.remove_listener(id);
                }
            }
        }
    }

    /// A relay answered whether it can dial us.
    pub(super) fn dialled_back(&mut self, event: autonat::OutboundProbeEvent) {
        use autonat::{OutboundProbeError, OutboundProbeEvent, ResponseError};
        let Some(relays) = &mut self.relays else { return };
        match event {
            OutboundProbeEvent::Response { peer, address, .. } => {
                let at = addresses::bare(address.clone(), &self.local);
                // With QUIC a NAT may have let it in only as it knows the relay from our own dials. TCP dials
                // leave from other ports.
                let proven = at.iter().any(|part| matches!(part, Protocol::Tcp(_)))
                    || self.swarm.listeners().any(|own| *own == at);
                tracing::debug!(%peer, %address, proven, "a relay could dial us");
                relays.dialled_back(&peer, proven);
                if !self.reached_at.contains(&address) {
                    self.reached_at.push_back(address);
                }
                if self.reached_at.len() > REACHED_MAX
                    && let Some(oldest) = self.reached_at.pop_front()
                {
                    self.swarm.remove_external_address(&oldest);
                }
            }
            OutboundProbeEvent::Error {
                peer: Some(peer),
                error: OutboundProbeError::Response(ResponseError::DialError),
                ..
            } => {
                tracing::debug!(%peer, "a relay couldn't dial us");
                relays.dialled_back(&peer, false);
                self.forget_reached_at();
            }
            OutboundProbeEvent::Error { .. } | OutboundProbeEvent::Request { .. } => {}
        }
    }

    /// Addresses that don't hold any more, as far as we know. AutoNAT then asks again soon.
    pub(super) fn forget_reached_at(&mut self) {
        for address in std::mem::take(&mut self.reached_at) {
            self.swarm.remove_external_address(&address);
        }
    }

    pub(super) fn relayed(event: &relay::Event) {
        match event {
            relay::Event::ReservationReqDenied { src_peer_id: peer, status } => {
                tracing::info!(%peer, ?status, "a place at this relay was refused");
            }
            relay::Event::CircuitReqAccepted { src_peer_id: from, dst_peer_id: to } => {
                tracing::debug!(%from, %to, "relaying");
            }
            event => tracing::debug!(?event, "as a relay"),
        }
    }

    pub(super) fn listener_closed<E: std::fmt::Display>(
        &mut self,
        id: ListenerId,
        addresses: &[Multiaddr],
        reason: Result<(), E>,
    ) {
        let now = Instant::now();
        let relay = self.relays.as_mut().and_then(|it| it.closed(id, now, random()));
        match (relay, reason) {
            (Some(relay), Ok(())) => tracing::info!(%relay, "no place at this relay any more"),
            (Some(relay), Err(error)) => tracing::info!(%relay, %error, "no place at this relay"),
            (None, Ok(())) => {}
            (None, Err(error)) => tracing::error!(?addresses, %error, "a listener closed"),
        }
    }

    pub(super) fn tell_listening(&mut self) {
        if self.relays.is_none() {
            self.tell_clients();
        }
        // Those through relays stand among the listeners, with the addresses that the relay names.
        let confirmed = self.swarm.external_addresses().filter(|it| !addresses::is_relayed(it));
        let all = self.announce.iter().chain(confirmed).chain(self.swarm.listeners()).cloned();
        let addresses = addresses::to_tell(all, &self.local);
        if addresses != self.listening {
            self.listening.clone_from(&addresses);
            self.tell(Event::Listening { addresses });
        }
    }

    /// Where others reach those who have a place at us: what libp2p takes for our external addresses.
    fn tell_clients(&mut self) {
        let all = self.announce.iter().chain(self.swarm.listeners());
        let all: Vec<_> = all.cloned().collect();
        let anywhere = |it: &&Multiaddr| !addresses::is_loopback(it);
        let alone = !all.iter().any(|it| anywhere(&it));
        let wanted: Vec<_> = all.iter().filter(|it| alone || anywhere(it)).cloned().collect();
        let known: Vec<_> = self.swarm.external_addresses().cloned().collect();
        for gone in known.iter().filter(|it| !wanted.contains(it)) {
            self.swarm.remove_external_address(gone);
        }
        for new in wanted.into_iter().filter(|it| !known.contains(it)) {
            self.swarm.add_external_address(new);
        }
    }
}
