//! The swarm task: takes over wishes, dials whom `redial` names, watches pings, and passes events on.
//! It never waits for anything else than its inputs, and is not on the way of frames.

mod places;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use fasti_core::OfficeId;
use futures::StreamExt;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{self, ConnectionId, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, autonat, dcutr, identify, mdns, ping};
use tokio::sync::{mpsc, watch};

use crate::admission::{Admission, Changes};
use crate::config::Config;
use crate::counters::Cells;
use crate::event::Event;
use crate::handle::{Outboxes, Wishes};
use crate::links::LinkEvent;
use crate::redial::Redial;
use crate::relays::{Relays, Served};
use crate::start::{Behaviour, BehaviourEvent};
use crate::{addresses, identity, resolve};

/// How often what only time tells is looked at: small against the 8 s of a dead link.
const TICK: Duration = Duration::from_millis(250);

/// With this many events waiting for the consumer, nothing new is taken from the swarm.
const UNSENT_MAX: usize = 1024;

/// Addresses of one peer that we listen to: a host has a handful of interfaces, a liar has millions.
const ADDRESSES_MAX: usize = 16;

pub(crate) struct Driver {
    local: PeerId,
    swarm: Swarm<Behaviour>,
    wished: watch::Receiver<Wishes>,
    events: mpsc::Sender<Event>,
    /// What the consumer has no room for yet, and the link that may be read once it was told.
    unsent: VecDeque<(Event, Option<(PeerId, ConnectionId)>)>,
    outboxes: Arc<Outboxes>,
    cells: Arc<Cells>,
    admission: Admission,
    redial: Redial,
    /// Where to ask for a place; `None` on a relay, which needs none.
    relays: Option<Relays>,
    /// Whom to give one.
    served: Served,
    announce: Vec<Multiaddr>,
    /// What relays could dial us at.
    reached_at: VecDeque<Multiaddr>,
    /// When each connection last answered a ping. libp2p forgives a first failure, so the answers are
    /// watched and not the failures.
    answered: BTreeMap<ConnectionId, (PeerId, Instant)>,
    unanswered_max: Duration,
    /// The addresses that the consumer was last told of each peer.
    told: BTreeMap<PeerId, Vec<Multiaddr>>,
    listening: Vec<Multiaddr>,
    /// Dials whose names have become addresses.
    resolved: mpsc::UnboundedSender<(PeerId, Vec<Multiaddr>)>,
    to_dial: mpsc::UnboundedReceiver<(PeerId, Vec<Multiaddr>)>,
}

impl Driver {
    pub(crate) fn new(
        config: &Config,
        swarm: Swarm<Behaviour>,
        wished: watch::Receiver<Wishes>,
        events: mpsc::Sender<Event>,
        outboxes: Arc<Outboxes>,
        cells: Arc<Cells>,
        served: Served,
    ) -> Self {
        let (resolved, to_dial) = mpsc::unbounded_channel();
        let local = *swarm.local_peer_id();
        Self {
            local,
            swarm,
            wished,
            events,
            unsent: VecDeque::new(),
            outboxes,
            cells,
            admission: Admission::default(),
            redial: Redial::new(config.redial_backoff_min, config.redial_backoff_max),
            relays: (!config.relay).then(|| Relays::new(local, config.dial_back_patience)),
            served,
            announce: config.announce.clone(),
            reached_at: VecDeque::new(),
            answered: BTreeMap::new(),
            unanswered_max: config.unanswered_max(),
            told: BTreeMap::new(),
            listening: Vec::new(),
            resolved,
            to_dial,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        let events = self.events.clone();
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let room = self.unsent.len() < UNSENT_MAX;
            let due = self.redial.next_due().map(tokio::time::Instant::from_std);
            tokio::select! {
                changed = self.wished.changed() => {
                    if changed.is_err() || self.wished.borrow().shutdown {
                        break;
                    }
                    self.take_wishes();
                }
                permit = events.reserve(), if !self.unsent.is_empty() => {
                    let Ok(permit) = permit else { break };
                    if let Some((event, link)) = self.unsent.pop_front() {
                        permit.send(event);
                        if let Some((peer, connection)) = link {
                            self.swarm.behaviour_mut().links.read(peer, connection);
                        }
                    }
                }
                () = async { tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)).await },
                    if due.is_some() => self.dial_due(),
                Some((peer, addresses)) = self.to_dial.recv() => self.dial(peer, addresses),
                _ = tick.tick() => self.tick(),
                event = self.swarm.select_next_some(), if room => self.happened(event),
            }
        }
        self.say_goodbye().await;
    }

    fn take_wishes(&mut self) {
        let wishes = self.wished.borrow_and_update().clone();
        let now = Instant::now();
        let swarm = &self.swarm;
        let changes = self.admission.update(&wishes, |peer| swarm.is_connected(peer), now);
        let links = &mut self.swarm.behaviour_mut().links;
        links.admit(self.admission.members.clone(), self.admission.tickets.clone());
        // Whom we couldn't reach because we refused them ourselves.
        let hurry = changes.allow.clone();
        self.apply(changes);
        self.served.replace(self.admission.members.keys().copied().collect());
        let mut neighbours = self.peers(wishes.neighbours);
        let relays = self.peers(wishes.relays);
        if let Some(it) = &mut self.relays {
            it.know(relays);
            neighbours.extend(it.wanted());
        }
        let links = &self.swarm.behaviour().links;
        self.redial.want(neighbours, |peer| links.is_connected(peer), now);
        for peer in hurry {
            self.redial.hurry(&peer, now);
        }
    }

    /// The offices but us, as libp2p names them.
    fn peers(
        &self,
        offices: BTreeMap<OfficeId, Vec<Multiaddr>>,
    ) -> BTreeMap<PeerId, Vec<Multiaddr>> {
        let peers = offices.into_iter();
        let peers = peers.filter_map(|(id, at)| Some((identity::peer_id(&id).ok()?, at)));
        peers.filter(|(peer, _)| *peer != self.local).collect()
    }

    fn apply(&mut self, changes: Changes) {
        let allowed = &mut self.swarm.behaviour_mut().allowed;
        for peer in changes.disallow {
            allowed.disallow_peer(peer);
            self.told.remove(&peer);
        }
        for peer in changes.allow {
            allowed.allow_peer(peer);
        }
    }

    fn dial_due(&mut self) {
        let now = Instant::now();
        for (peer, addresses) in self.redial.take_due(now) {
            if !self.admission.members.contains_key(&peer) {
                self.redial.failed(&peer, now, random());
                continue;
            }
            if addresses.iter().any(resolve::has_name) {
                let resolved = self.resolved.clone();
                tokio::spawn(async move {
                    let addresses = resolve::resolve_all(&addresses).await;
                    // Bounded by the number of neighbours: each has one dial under way.
                    let _ = resolved.send((peer, addresses));
                });
            } else {
                self.dial(peer, addresses);
            }
        }
    }

    fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let mut addresses = addresses;
        addresses.extend(self.told.get(&peer).into_iter().flatten().cloned());
        let addresses = addresses::to_dial(addresses, &peer, &self.local);
        let dial = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        Cells::one(&self.cells.dials);
        match self.swarm.dial(dial) {
            Ok(()) => {}
            // Connected already, or about to be: the end of that brings it back here.
            Err(swarm::DialError::DialPeerConditionFalse(_))
                if self.swarm.behaviour().links.is_connected(&peer) => {}
            Err(error) => {
                tracing::debug!(%peer, %error, "not dialled");
                Cells::one(&self.cells.dial_failures);
                self.redial.failed(&peer, Instant::now(), random());
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let silent: Vec<_> = self
            .answered
            .iter()
            .filter(|(_, (_, at))| now.saturating_duration_since(*at) >= self.unanswered_max)
            .map(|(connection, (peer, _))| (*peer, *connection))
            .collect();
        for (peer, connection) in silent {
            tracing::info!(%peer, "pings unanswered: closing the connection");
            self.answered.remove(&connection);
            self.swarm.behaviour_mut().links.silent(peer, connection);
        }
        self.swarm.behaviour_mut().links.tick(now);
        let swarm = &self.swarm;
        let changes = self.admission.tick(now, |peer| swarm.is_connected(peer));
        self.apply(changes);
        self.see_to_places(now);
    }

    fn happened(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.behaved(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                Cells::one(&self.cells.connections);
                self.cells.open.fetch_add(1, Relaxed);
                self.answered.insert(connection_id, (peer_id, Instant::now()));
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                self.answered.remove(&connection_id);
                self.cells.open.fetch_sub(1, Relaxed);
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                tracing::debug!(%peer, %error, "dial failed");
                Cells::one(&self.cells.dial_failures);
                if !self.swarm.behaviour().links.is_connected(&peer) {
                    self.redial.failed(&peer, Instant::now(), random());
                }
            }
            SwarmEvent::IncomingConnectionError { peer_id, send_back_addr, error, .. } => {
                Cells::one(&self.cells.refused);
                tracing::debug!(?peer_id, from = %send_back_addr, %error, "inbound connection refused");
            }
            SwarmEvent::NewListenAddr { listener_id, .. } => {
                if let Some(relay) = self.relays.as_mut().and_then(|it| it.granted(listener_id)) {
                    tracing::info!(%relay, "others reach this office through a relay now");
                }
                self.tell_listening();
            }
            SwarmEvent::ExpiredListenAddr { .. }
            | SwarmEvent::ExternalAddrConfirmed { .. }
            | SwarmEvent::ExternalAddrExpired { .. } => self.tell_listening(),
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener"),
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.listener_closed(listener_id, &addresses, reason);
                self.tell_listening();
            }
            _ => {}
        }
    }

    fn behaved(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Links(event) => self.linked(event),
            BehaviourEvent::Ping(ping::Event { connection, result, .. }) => {
                if result.is_ok()
                    && let Some((_, at)) = self.answered.get_mut(&connection)
                {
                    *at = Instant::now();
                }
            }
            BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                connection_id,
            }) => {
                let links = &mut self.swarm.behaviour_mut().links;
                links.identified(peer_id, connection_id, info.agent_version);
                self.discovered(peer_id, info.listen_addrs);
            }
            BehaviourEvent::Identify(_) => {}
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                let mut by_peer = BTreeMap::<_, Vec<_>>::new();
                for (peer, address) in found {
                    by_peer.entry(peer).or_default().push(address);
                }
                for (peer, addresses) in by_peer {
                    self.redial.hurry(&peer, Instant::now());
                    self.discovered(peer, addresses);
                }
            }
            BehaviourEvent::Mdns(mdns::Event::Expired(_)) => {}
            BehaviourEvent::Autonat(autonat::Event::OutboundProbe(event)) => {
                self.dialled_back(event);
            }
            BehaviourEvent::Autonat(_) => {}
            BehaviourEvent::RelayClient(event) => tracing::debug!(?event, "a relay"),
            BehaviourEvent::Relay(event) => Self::relayed(&event),
            // The holder of a ticket asks, and is gone before anything else.
            BehaviourEvent::Dcutr(dcutr::Event { remote_peer_id: peer, result })
                if self.admission.members.contains_key(&peer) =>
            {
                match result {
                    Ok(_) => tracing::info!(%peer, "a direct connection in place of a relayed one"),
                    Err(error) => tracing::info!(%peer, %error, "only through a relay"),
                }
            }
            BehaviourEvent::Dcutr(_) => {}
        }
    }

    fn linked(&mut self, event: LinkEvent) {
        let now = Instant::now();
        match event {
            LinkEvent::Up { peer, office, connection, address, relayed, outbox } => {
                tracing::debug!(%peer, %office, %address, relayed, "link up");
                self.redial.linked(&peer, now);
                self.redial.hurry_through(&peer, now);
                if let Some(relays) = self.relays.as_mut().filter(|_| !relayed) {
                    relays.linked(peer, address.clone(), now);
                }
                self.cells.links.fetch_add(1, Relaxed);
                self.outboxes.insert(office, outbox);
                let event = Event::Connected { peer: office, address, relayed };
                self.unsent.push_back((event, Some((peer, connection))));
            }
            LinkEvent::Down { peer, office, reason } => {
                if let Some(relays) = &mut self.relays {
                    relays.lost(&peer);
                    if relays.is_relay(&peer) {
                        self.forget_reached_at();
                    }
                }
                tracing::info!(%office, %reason, "link down");
                self.cells.links.fetch_sub(1, Relaxed);
                self.outboxes.remove(&office);
                self.tell(Event::Disconnected { peer: office, reason });
            }
            LinkEvent::Alone { peer, misbehaved: true, .. } => {
                self.redial.penalise(&peer, now, random());
            }
            LinkEvent::Alone { peer, was_up: true, .. } => self.redial.lost(&peer, now, random()),
            LinkEvent::Alone { peer, .. } => self.redial.failed(&peer, now, random()),
            LinkEvent::Drained { office } => self.tell(Event::Congested { peer: office }),
        }
    }

    fn discovered(&mut self, peer: PeerId, mut addresses: Vec<Multiaddr>) {
        let Some(&office) = self.admission.members.get(&peer) else {
            return;
        };
        addresses.truncate(ADDRESSES_MAX);
        addresses.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        if self.told.get(&peer) != Some(&addresses) {
            self.told.insert(peer, addresses.clone());
            self.tell(Event::Discovered { peer: office, addresses });
        }
    }

    fn tell(&mut self, event: Event) {
        self.unsent.push_back((event, None));
    }

    /// Closes all connections in order. Bounded by how long a muxer may take to close.
    async fn say_goodbye(mut self) {
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error only says that it is not connected any more.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(2), closed).await.is_err() {
            tracing::debug!("some connections didn't close in time");
        }
    }
}

/// For jitter only. A system without randomness still redials, in step with others like it.
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}
