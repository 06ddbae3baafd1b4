//! One peer, possibly several connections: which of them is the link. Leaves streams to `handler`,
//! dialling to `redial` and `driver`.
//!
//! Two offices that dial each other at the same moment get two connections. If both sides picked by a
//! rule of their own, each could pick what the other closes. So one side decides: the office with
//! the smaller id, the *chooser*. It opens its lanes on the connection it wants; the *follower*
//! takes the opening of lanes as the decision, opens its own there and closes the rest. Frames only
//! ever flow on a connection that both have settled on, so that none is lost to a duplicate.
//!
//! The chooser keeps the connection it has, unless the follower has lost it (a crash that UDP didn't tell
//! us about): on a newer connection it says of itself that it was started anew, or the newer one stays
//! open for `Config::duplicate_grace`, which a follower that knew the first would have closed.
//!
//! Offices behind NAT are first linked through a relay, and then get a direct connection where they can. It
//! wins: the chooser takes it and closes the relayed one.
//!
//! A link is down when its connection is closed, and only then does the next one come up: that
//! keeps the order `Connected`, frames, `Disconnected` without any counting.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use fasti_core::{OfficeId, TicketId};
use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler,
    THandlerInEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use crate::event::DownReason;
use crate::handler::{Command, Handler, Report, Role, Shared};
use crate::outbox::Outbox;

/// After a bad frame the peer's own dials are refused for this long.
const BAN: Duration = Duration::from_secs(5);

/// To the driver.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    Up {
        peer: PeerId,
        office: OfficeId,
        connection: ConnectionId,
        address: Multiaddr,
        relayed: bool,
        outbox: Arc<Outbox>,
    },
    Down {
        peer: PeerId,
        office: OfficeId,
        reason: DownReason,
    },
    /// The last connection to this peer is closed.
    Alone {
        peer: PeerId,
        was_up: bool,
        misbehaved: bool,
    },
    Drained {
        office: OfficeId,
    },
}

#[derive(Debug, thiserror::Error)]
#[error("neither a member nor the holder of a ticket, or cut, or paused after a bad frame")]
struct NotAdmitted;

pub(crate) struct Links {
    local: OfficeId,
    shared: Arc<Shared>,
    grace: Duration,
    members: BTreeMap<PeerId, OfficeId>,
    tickets: BTreeMap<PeerId, TicketId>,
    banned: BTreeMap<PeerId, Instant>,
    peers: BTreeMap<PeerId, Peer>,
    /// Of members that were connected.
    starts: BTreeMap<PeerId, Starts>,
    actions: VecDeque<ToSwarm<LinkEvent, Command>>,
    waker: Option<Waker>,
}

struct Peer {
    office: OfficeId,
    connections: BTreeMap<ConnectionId, Connection>,
    /// The connection that is the link, or becomes it.
    chosen: Option<ConnectionId>,
    /// What becomes the link once `chosen` is closed.
    next: Option<ConnectionId>,
    up: bool,
    /// Why we closed `chosen`, if it was us.
    reason: Option<DownReason>,
}

/// What told the last two starts of a peer from each other.
#[derive(Default)]
struct Starts {
    last: Option<String>,
    before: Option<String>,
    /// That two nodes run with its key.
    told: bool,
}

struct Connection {
    address: Multiaddr,
    relayed: bool,
    since: Instant,
    /// What tells this start of the peer from its others, once it has said so.
    start: Option<String>,
    closing: bool,
}

impl Peer {
    fn chosen_is_relayed(&self) -> bool {
        self.chosen.is_some_and(|id| self.connections.get(&id).is_some_and(|it| it.relayed))
    }
}

impl Links {
    pub(crate) fn new(local: OfficeId, shared: Arc<Shared>, grace: Duration) -> Self {
        Self {
            local,
            shared,
            grace,
            members: BTreeMap::new(),
            tickets: BTreeMap::new(),
            banned: BTreeMap::new(),
            peers: BTreeMap::new(),
            starts: BTreeMap::new(),
            actions: VecDeque::new(),
            waker: None,
        }
    }

    /// Who may open what from now on. Closing the connections of others is the allow list's part;
    /// here they only get their reason.
    pub(crate) fn admit(
        &mut self,
        members: BTreeMap<PeerId, OfficeId>,
        tickets: BTreeMap<PeerId, TicketId>,
    ) {
        for (peer, it) in &mut self.peers {
            if !members.contains_key(peer) {
                it.reason = Some(DownReason::NotAdmitted);
            }
        }
        self.starts.retain(|peer, _| members.contains_key(peer));
        self.members = members;
        self.tickets = tickets;
    }

    /// The consumer has been told of the link: frames may flow to it.
    pub(crate) fn read(&mut self, peer: PeerId, connection: ConnectionId) {
        self.notify(peer, connection, Command::Read);
    }

    /// Closes a connection whose pings fail.
    pub(crate) fn silent(&mut self, peer: PeerId, connection: ConnectionId) {
        self.close(peer, connection, DownReason::Silent);
    }

    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// Settles what only time tells.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.banned.retain(|_, until| *until > now);
        let patience = self.shared.open_timeout * 3;
        let mut switch = Vec::new();
        let mut useless = Vec::new();
        for (peer, it) in &self.peers {
            for (id, connection) in &it.connections {
                if connection.closing || it.chosen == Some(*id) || it.next == Some(*id) {
                    continue;
                }
                let age = now.saturating_duration_since(connection.since);
                if self.local < it.office
                    && it.chosen.is_some()
                    && it.next.is_none()
                    && age >= self.grace
                {
                    switch.push((*peer, *id));
                } else if age >= patience {
                    useless.push((*peer, *id));
                }
            }
        }
        for (peer, id) in switch {
            tracing::debug!(%peer, "the peer keeps a second connection: it has lost the first");
            self.take(peer, id);
        }
        for (peer, id) in useless {
            self.close(peer, id, DownReason::Lost("never became a link".into()));
        }
    }

    fn role(&self, peer: &PeerId) -> Result<Role, ConnectionDenied> {
        if self.banned.contains_key(peer) {
            return Err(ConnectionDenied::new(NotAdmitted));
        }
        let member = self.members.get(peer).copied().map(Role::Member);
        member
            .or_else(|| self.tickets.get(peer).copied().map(Role::Ticket))
            .ok_or_else(|| ConnectionDenied::new(NotAdmitted))
    }

    fn established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let Some(&office) = self.members.get(&peer) else {
            return;
        };
        let it = self.peers.entry(peer).or_insert_with(|| Peer {
            office,
            connections: BTreeMap::new(),
            chosen: None,
            next: None,
            up: false,
            reason: None,
        });
        let address = endpoint.get_remote_address().clone();
        let relayed = endpoint.is_relayed();
        let upgrade = !relayed && it.next.is_none() && it.chosen_is_relayed();
        let since = Instant::now();
        let connection = Connection { address, relayed, since, start: None, closing: false };
        it.connections.insert(id, connection);
        let chooser = self.local < office;
        if upgrade {
            // The follower waits for the chooser to see it too.
            if chooser {
                self.take(peer, id);
            }
        } else if it.chosen.is_some() {
            // Our own dial came too late. An inbound one may be news: see `tick`.
            if endpoint.is_dialer() {
                self.close(peer, id, DownReason::Replaced);
            }
        } else if chooser {
            self.choose(peer, id);
        }
    }

    /// The peer said on this connection what tells its start from its others.
    pub(crate) fn identified(&mut self, peer: PeerId, id: ConnectionId, start: String) {
        self.note_start(peer, &start);
        let Some(it) = self.peers.get_mut(&peer) else { return };
        let Some(connection) = it.connections.get_mut(&id) else { return };
        let closing = connection.closing;
        connection.start = Some(start);
        let start_of = |id: &ConnectionId| it.connections.get(id)?.start.as_ref();
        let before = it.chosen.as_ref().and_then(start_of);
        let restarted = before.is_some() && before != start_of(&id);
        if restarted && !closing && self.local < it.office {
            tracing::debug!(%peer, "the peer was started anew");
            self.take(peer, id);
        }
    }

    /// A start that was over can't come back, unless it was not over: then two nodes run with one key.
    fn note_start(&mut self, peer: PeerId, start: &str) {
        let Some(&office) = self.members.get(&peer) else { return };
        let starts = self.starts.entry(peer).or_default();
        if starts.last.as_deref() == Some(start) {
            return;
        }
        if starts.before.as_deref() == Some(start) && !std::mem::replace(&mut starts.told, true) {
            tracing::warn!(%office, "two nodes run with this office's key: one of them has to be stopped for good");
        }
        starts.before = starts.last.replace(start.to_owned());
    }

    /// Makes this connection the link, now or when the one before it is closed.
    fn take(&mut self, peer: PeerId, id: ConnectionId) {
        let Some(it) = self.peers.get_mut(&peer) else {
            return;
        };
        if it.chosen == Some(id) || it.next == Some(id) {
            return;
        }
        let others: Vec<_> = it.connections.keys().copied().filter(|other| *other != id).collect();
        if it.chosen.is_some() {
            it.next = Some(id);
        } else {
            self.choose(peer, id);
        }
        for other in others {
            self.close(peer, other, DownReason::Replaced);
        }
    }

    fn choose(&mut self, peer: PeerId, id: ConnectionId) {
        let Some(it) = self.peers.get_mut(&peer) else {
            return;
        };
        it.chosen = Some(id);
        it.reason = None;
        let outbox = Arc::new(Outbox::new(&self.shared.limits));
        self.notify(peer, id, Command::Open(outbox));
    }

    fn closed(&mut self, peer: PeerId, id: ConnectionId, cause: Option<String>) {
        let Some(it) = self.peers.get_mut(&peer) else {
            return;
        };
        it.connections.remove(&id);
        if it.next == Some(id) {
            it.next = None;
        }
        let mut was_up = false;
        let mut misbehaved = false;
        if it.chosen == Some(id) {
            it.chosen = None;
            was_up = std::mem::take(&mut it.up);
            let by_peer = || DownReason::Lost(cause.unwrap_or_else(|| "closed".into()));
            let reason = it.reason.take().unwrap_or_else(by_peer);
            misbehaved = matches!(reason, DownReason::BadFrame(_));
            if was_up {
                let office = it.office;
                self.actions.push_back(ToSwarm::GenerateEvent(LinkEvent::Down {
                    peer,
                    office,
                    reason,
                }));
            }
        }
        if it.connections.is_empty() {
            self.peers.remove(&peer);
            let alone = LinkEvent::Alone { peer, was_up, misbehaved };
            self.actions.push_back(ToSwarm::GenerateEvent(alone));
        } else if it.chosen.is_none() {
            let newest = it.connections.iter().rev().find(|(_, it)| !it.closing).map(|(id, _)| *id);
            let chooser = self.local < it.office;
            if let Some(id) = it.next.take().or(newest.filter(|_| chooser)) {
                self.choose(peer, id);
            }
        }
        self.wake();
    }

    fn reported(&mut self, peer: PeerId, id: ConnectionId, report: Report) {
        let Some(it) = self.peers.get_mut(&peer) else {
            return;
        };
        let office = it.office;
        match report {
            Report::PeerOpened => {
                if self.local > office {
                    self.take(peer, id);
                }
            }
            Report::Drained => {
                self.actions.push_back(ToSwarm::GenerateEvent(LinkEvent::Drained { office }));
            }
            Report::Bad(what) => {
                tracing::warn!(%peer, %office, what, "bad frame: closing the connection");
                self.banned.insert(peer, Instant::now() + BAN);
                Self::count_bad(&self.shared);
                self.close(peer, id, DownReason::BadFrame(what));
            }
            Report::Broken(why) => self.close(peer, id, DownReason::Lost(why)),
            Report::Up(outbox) => {
                if it.chosen == Some(id)
                    && let Some(connection) = it.connections.get(&id)
                {
                    it.up = true;
                    self.actions.push_back(ToSwarm::GenerateEvent(LinkEvent::Up {
                        peer,
                        office,
                        connection: id,
                        address: connection.address.clone(),
                        relayed: connection.relayed,
                        outbox,
                    }));
                }
            }
        }
        self.wake();
    }

    fn count_bad(shared: &Shared) {
        crate::counters::Cells::one(&shared.cells.bad_frames);
    }

    fn close(&mut self, peer: PeerId, id: ConnectionId, reason: DownReason) {
        if let Some(it) = self.peers.get_mut(&peer) {
            if it.chosen == Some(id) {
                it.reason.get_or_insert(reason);
            }
            if let Some(connection) = it.connections.get_mut(&id) {
                connection.closing = true;
            }
        }
        let connection = CloseConnection::One(id);
        self.actions.push_back(ToSwarm::CloseConnection { peer_id: peer, connection });
        self.wake();
    }

    fn notify(&mut self, peer_id: PeerId, connection: ConnectionId, event: Command) {
        let handler = NotifyHandler::One(connection);
        self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event });
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Links {
    type ConnectionHandler = Handler;
    type ToSwarm = LinkEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::new(self.role(&peer)?, self.shared.clone()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::new(self.role(&peer)?, self.shared.clone()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => self.established(peer_id, connection_id, endpoint),
            FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id, connection_id, cause, ..
            }) => self.closed(peer_id, connection_id, cause.map(ToString::to_string)),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, report: Report) {
        self.reported(peer, id, report);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<LinkEvent, THandlerInEvent<Self>>> {
        match self.actions.pop_front() {
            Some(action) => Poll::Ready(action),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
