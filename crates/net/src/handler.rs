//! One connection: opens our two lanes when `links` chooses the connection, acknowledges the peer's,
//! and polls all four in the connection's own task, so that a frame needs no hop between tasks.
//! Leaves to `links` which connection is the link, and to `lane` how bytes move.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fasti_core::{OfficeId, TicketId};
use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::Stream;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
};
use tokio::sync::mpsc;

use crate::config::Limits;
use crate::counters::Cells;
use crate::event::{Event, Lane};
use crate::inbox::{Inbox, Share};
use crate::join;
use crate::lane::{ReadError, Reader, Writer, acknowledged};
use crate::outbox::Outbox;
use crate::wire::Decoder;

/// How often a lane is opened before the connection is given up.
const OPEN_ATTEMPTS: u32 = 3;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) limits: Limits,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) cells: Arc<Cells>,
    pub(crate) open_timeout: Duration,
}

/// What the peer's key entitles it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Lanes.
    Member(OfficeId),
    /// One request to join, nothing else.
    Ticket(TicketId),
}

/// From `links`.
#[derive(Debug)]
pub(crate) enum Command {
    /// This connection is to be the link: open our lanes, and send what is put into this outbox.
    Open(Arc<Outbox>),
    /// The consumer knows of the link: start to read.
    Read,
}

/// To `links`.
#[derive(Debug)]
pub(crate) enum Report {
    /// The peer opened a lane: it considers this connection the link.
    PeerOpened,
    /// The peer has acknowledged both of our lanes: what is put into this outbox is sent.
    Up(Arc<Outbox>),
    /// Pushes were dropped, and the queue has drained.
    Drained,
    /// The peer sent what is no frame.
    Bad(String),
    /// A lane can't be opened, or broke.
    Broken(String),
}

pub(crate) struct Handler {
    role: Role,
    shared: Arc<Shared>,
    share: Share,
    reports: VecDeque<Report>,
    outbox: Option<Arc<Outbox>>,
    out: [Out; 2],
    up: bool,
    inn: [Option<Reader>; 2],
    reading: bool,
    join: Option<BoxFuture<'static, ()>>,
    /// Reported broken or bad: nothing more is read or written until the connection is closed.
    dead: bool,
}

/// A lane of ours on its way to being open.
enum Out {
    Idle,
    Wanted { attempt: u32 },
    Opening { attempt: u32 },
    Unacknowledged { attempt: u32, wait: BoxFuture<'static, io::Result<Stream>> },
    Open(Writer),
}

impl Handler {
    pub(crate) fn new(role: Role, shared: Arc<Shared>) -> Self {
        Self {
            role,
            share: Share::new(Arc::clone(&shared.inbox)),
            shared,
            reports: VecDeque::new(),
            outbox: None,
            out: [Out::Idle, Out::Idle],
            up: false,
            inn: [None, None],
            reading: false,
            join: None,
            dead: false,
        }
    }

    fn die(&mut self, report: Report) {
        self.dead = true;
        self.reports.push_back(report);
    }

    fn failed_to_open(&mut self, lane: Lane, attempt: u32, why: &str) {
        if attempt < OPEN_ATTEMPTS {
            tracing::debug!(?lane, attempt, why, "opening the lane again");
            self.out[lane.index()] = Out::Wanted { attempt: attempt + 1 };
        } else {
            self.die(Report::Broken(format!("{lane:?} lane not acknowledged: {why}")));
        }
    }

    /// The next stream to ask for.
    fn wanted(&mut self) -> Option<Lane> {
        Lane::ALL.into_iter().find(|lane| {
            let out = &mut self.out[lane.index()];
            let Out::Wanted { attempt } = *out else {
                return false;
            };
            *out = Out::Opening { attempt };
            true
        })
    }

    fn poll_acknowledgements(&mut self, cx: &mut Context<'_>) {
        for lane in Lane::ALL {
            let out = &mut self.out[lane.index()];
            if let Out::Unacknowledged { attempt, wait } = out {
                let attempt = *attempt;
                match wait.poll_unpin(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(stream)) => *out = Out::Open(Writer::new(stream, lane)),
                    Poll::Ready(Err(error)) => {
                        self.failed_to_open(lane, attempt, &error.to_string());
                    }
                }
            }
        }
        if !self.up
            && let Some(outbox) = &self.outbox
            && self.out.iter().all(|out| matches!(out, Out::Open(_)))
        {
            self.up = true;
            self.reports.push_back(Report::Up(outbox.clone()));
        }
    }

    fn poll_writers(&mut self, cx: &mut Context<'_>) {
        let (true, Some(outbox)) = (self.up, &self.outbox) else {
            return;
        };
        let mut broken = None;
        for out in &mut self.out {
            if let Out::Open(writer) = out
                && let Poll::Ready(Err(error)) = writer.poll(outbox, &self.shared.cells, cx)
            {
                broken = Some(error);
            }
        }
        if outbox.drained() {
            self.reports.push_back(Report::Drained);
        }
        if let Some(error) = broken {
            self.die(Report::Broken(format!("writing: {error}")));
        }
    }

    fn poll_readers(&mut self, cx: &mut Context<'_>) {
        let Role::Member(peer) = self.role else {
            return;
        };
        let shared = &self.shared;
        let event = |lane, bytes, room| Event::Frame { peer, lane, bytes, room };
        let mut ended = None;
        for lane in &mut self.inn {
            let Some(reader) = lane else { continue };
            let error = match reader.poll_acknowledge(cx) {
                Poll::Ready(Ok(())) if self.reading => {
                    match reader.poll(&self.share, &shared.events, &shared.cells, event, cx) {
                        Poll::Ready(error) => error,
                        Poll::Pending => continue,
                    }
                }
                Poll::Ready(Err(error)) => ReadError::Io(error),
                Poll::Ready(Ok(())) | Poll::Pending => continue,
            };
            if reader.unused() && !matches!(error, ReadError::Unwanted) {
                // An opener that missed our acknowledgement gives the stream up and opens another.
                *lane = None;
            } else {
                ended = Some(error);
            }
        }
        match ended {
            None => {}
            Some(ReadError::Bad(bad)) => self.die(Report::Bad(bad.to_string())),
            Some(error) => self.die(Report::Broken(format!("reading: {error}"))),
        }
    }

    fn accept(&mut self, stream: Stream, protocol: Protocol) {
        match (protocol, self.role) {
            (Protocol::Lane(lane), Role::Member(_)) => {
                let limits = &self.shared.limits;
                let decoder = Decoder::new(limits.frame_bytes_max, limits.inflated_bytes_max);
                // A second stream for the lane means that the acknowledgement of the first got lost,
                // and so that nothing was sent on it.
                self.inn[lane.index()] = Some(Reader::new(stream, lane, decoder));
                self.reports.push_back(Report::PeerOpened);
            }
            (Protocol::Join, Role::Ticket(ticket)) if self.join.is_none() => {
                let answer = join::answer(stream, ticket, self.shared.clone());
                self.join = Some(answer.boxed());
            }
            (Protocol::Lane(_) | Protocol::Join, Role::Member(_) | Role::Ticket(_)) => drop(stream),
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Command;
    type ToBehaviour = Report;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Lane;

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        let upgrade = match self.role {
            Role::Member(_) => Upgrade(&[Protocol::Lane(Lane::Push), Protocol::Lane(Lane::Sync)]),
            Role::Ticket(_) => Upgrade(&[Protocol::Join]),
        };
        SubstreamProtocol::new(upgrade, ()).with_timeout(self.shared.open_timeout)
    }

    fn on_behaviour_event(&mut self, command: Command) {
        match command {
            Command::Open(outbox) => {
                if self.outbox.is_none() {
                    self.outbox = Some(outbox);
                    self.out = [Out::Wanted { attempt: 1 }, Out::Wanted { attempt: 1 }];
                }
            }
            Command::Read => self.reading = true,
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade, (), Lane>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                info: (),
            }) => self.accept(stream, protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, _),
                info: lane,
            }) => {
                let out = &mut self.out[lane.index()];
                if let Out::Opening { attempt } = *out {
                    let wait = acknowledged(stream, self.shared.open_timeout).boxed();
                    *out = Out::Unacknowledged { attempt, wait };
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: lane, error }) => {
                let why = match error {
                    StreamUpgradeError::Timeout => "timed out".to_owned(),
                    StreamUpgradeError::NegotiationFailed => "not spoken by the peer".to_owned(),
                    StreamUpgradeError::Io(error) => error.to_string(),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                if let Out::Opening { attempt } = self.out[lane.index()] {
                    self.failed_to_open(lane, attempt, &why);
                }
            }
            _ => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Upgrade, Lane, Report>> {
        if !self.dead && self.reports.is_empty() {
            self.poll_acknowledgements(cx);
            self.poll_writers(cx);
            if !self.dead {
                self.poll_readers(cx);
            }
            if let Some(join) = &mut self.join
                && join.poll_unpin(cx).is_ready()
            {
                self.join = None;
            }
        }
        if let Some(report) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        if !self.dead
            && let Some(lane) = self.wanted()
        {
            let upgrade = match lane {
                Lane::Push => Upgrade(&[Protocol::Lane(Lane::Push)]),
                Lane::Sync => Upgrade(&[Protocol::Lane(Lane::Sync)]),
            };
            let protocol =
                SubstreamProtocol::new(upgrade, lane).with_timeout(self.shared.open_timeout);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }
}

impl Drop for Handler {
    /// However the connection ended, nobody waits for room on it any longer.
    fn drop(&mut self) {
        if let Some(outbox) = &self.outbox {
            outbox.close();
        }
    }
}

/// What a stream is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    Lane(Lane),
    Join,
}

impl AsRef<str> for Protocol {
    fn as_ref(&self) -> &str {
        match self {
            Self::Lane(Lane::Push) => "/fasti/push/1",
            Self::Lane(Lane::Sync) => "/fasti/sync/1",
            Self::Join => join::PROTOCOL,
        }
    }
}

/// Negotiates one of these protocols and hands out the bare stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upgrade(&'static [Protocol]);

impl UpgradeInfo for Upgrade {
    type Info = Protocol;
    type InfoIter = std::iter::Copied<std::slice::Iter<'static, Protocol>>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().copied()
    }
}

impl InboundUpgrade<Stream> for Upgrade {
    type Output = (Stream, Protocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: Protocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Upgrade {
    type Output = (Stream, Protocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: Protocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
