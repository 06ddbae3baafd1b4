//! Both ends of `/fasti/join/1`: one request and one answer, between someone who holds a ticket's key
//! and an office that knows the ticket. What they say is the core's.
//!
//! Request and answer are each a u32 length (little endian) and that many bytes. An end of stream in
//! place of the answer is a refusal.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use fasti_core::TicketId;
use futures::future::BoxFuture;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{self, ConnectionId, DialError, NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, ping, relay};
use tokio::sync::oneshot;

use crate::config::Config;
use crate::event::Event;
use crate::handler::Shared;
use crate::identity::{self, BadKey};
use crate::{resolve, transport};

pub(crate) const PROTOCOL: &str = "/fasti/join/1";

/// All attempts together. A joining person waits before a terminal; past half a minute the network is
/// the problem, and they should read why.
const TIME_MAX: Duration = Duration::from_secs(30);

/// What an office may answer, in bytes. The roster of a thousand offices is well below.
const ANSWER_MAX: usize = 16 << 20;

/// Joining failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The ticket's secret is no key.
    #[error("the ticket's key is damaged; copy the whole ticket again")]
    Ticket(#[from] BadKey),
    /// There is nothing to dial.
    #[error("the ticket names no address; ask for a new one from an office that is running")]
    NoAddress,
    /// This machine can't open connections at all.
    #[error("can't set up encryption")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No address led to an answer.
    #[error("no office answered:{}", Reasons(.0))]
    Failed(Vec<(Multiaddr, String)>),
}

struct Reasons<'a>(&'a [(Multiaddr, String)]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(address, why)| write!(f, "\n  {address}: {why}"))
    }
}

/// Asks to become a member: connects to these addresses (each with `/p2p/<office>`) at once, with the
/// ticket's key as our identity, sends `request` to the first office that can be reached, and
/// returns its answer. Further offices are asked only where one gives no answer. At most 30 s
/// once names are resolved.
///
/// # Errors
/// See [`JoinError`]; [`JoinError::Failed`] says for each address why.
pub async fn join(
    ticket_secret: [u8; 32],
    addresses: &[Multiaddr],
    request: Vec<u8>,
) -> Result<Vec<u8>, JoinError> {
    let keys = identity::keypair(ticket_secret)?;
    let settings = Config::new(ticket_secret);
    let (transport, relay) = transport::build(&keys, settings.silence(), settings.limits.streams)
        .map_err(|error| JoinError::Transport(error.into()))?;
    let streams = libp2p_stream::Behaviour::new();
    let control = streams.new_control();
    let ping = ping::Config::new().with_interval(settings.ping_interval);
    let behaviour = Joining { streams, ping: ping::Behaviour::new(ping), relay };
    let mut attempt = Attempt {
        control,
        swarm: Swarm::new(
            transport,
            behaviour,
            keys.public().to_peer_id(),
            swarm::Config::with_tokio_executor(),
        ),
        request,
        dialling: Vec::new(),
        reached: VecDeque::new(),
        failed: Vec::new(),
    };
    let resolved = futures::future::join_all(addresses.iter().map(resolve::resolve)).await;
    for (address, resolved) in addresses.iter().zip(resolved) {
        if resolved.is_empty() {
            attempt.failed.push((address.clone(), "the host's name is not known".to_owned()));
        }
        for address in resolved {
            attempt.dial(&address);
        }
    }
    if attempt.dialling.is_empty() && attempt.failed.is_empty() {
        return Err(JoinError::NoAddress);
    }
    let answer = tokio::time::timeout(TIME_MAX, attempt.run()).await;
    if let Ok(Some(answer)) = answer {
        return Ok(answer);
    }
    let late = attempt.dialling.into_iter().map(|(_, address)| address);
    let late = late.chain(attempt.reached.into_iter().map(|(_, address)| address));
    attempt.failed.extend(late.map(|address| (address, "no answer in time".to_owned())));
    Err(JoinError::Failed(attempt.failed))
}

#[derive(NetworkBehaviour)]
struct Joining {
    streams: libp2p_stream::Behaviour,
    /// Without it nothing is said while the office decides, and either side takes the other for dead.
    ping: ping::Behaviour,
    /// For offices behind NAT, whose tickets name a relay.
    relay: relay::client::Behaviour,
}

struct Attempt {
    control: libp2p_stream::Control,
    swarm: Swarm<Joining>,
    request: Vec<u8>,
    dialling: Vec<(ConnectionId, Multiaddr)>,
    /// Connected, and not asked yet. The one in front is being asked.
    reached: VecDeque<(PeerId, Multiaddr)>,
    failed: Vec<(Multiaddr, String)>,
}

impl Attempt {
    fn dial(&mut self, address: &Multiaddr) {
        let Some(Protocol::P2p(peer)) = address.iter().last() else {
            self.failed.push((address.clone(), "names no office (/p2p/...)".to_owned()));
            return;
        };
        let dial = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .override_dial_concurrency_factor(NonZeroU8::MIN)
            .addresses(vec![address.clone()])
            .build();
        let id = dial.connection_id();
        match self.swarm.dial(dial) {
            Ok(()) => self.dialling.push((id, address.clone())),
            Err(error) => self.failed.push((address.clone(), why(&error))),
        }
    }

    /// `None`: nothing is left to try.
    async fn run(&mut self) -> Option<Vec<u8>> {
        let mut asking: Option<BoxFuture<'static, Result<Vec<u8>, String>>> = None;
        loop {
            if asking.is_none() {
                match self.reached.front() {
                    Some((peer, _)) => {
                        asking =
                            Some(ask(self.control.clone(), *peer, self.request.clone()).boxed());
                    }
                    None if self.dialling.is_empty() => return None,
                    None => {}
                }
            }
            let answer = async {
                match &mut asking {
                    Some(asking) => asking.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = answer => {
                    asking = None;
                    match answer {
                        Ok(answer) => return Some(answer),
                        Err(why) => self.failed.extend(
                            self.reached.pop_front().map(|(_, address)| (address, why)),
                        ),
                    }
                }
                event = self.swarm.select_next_some() => self.happened(event),
            }
        }
    }

    fn happened(&mut self, event: SwarmEvent<JoiningEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { connection_id, peer_id, .. } => {
                if let Some(address) = self.dialled(connection_id) {
                    self.reached.push_back((peer_id, address));
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(address) = self.dialled(connection_id) {
                    self.failed.push((address, why(&error)));
                }
            }
            _ => {}
        }
    }

    fn dialled(&mut self, id: ConnectionId) -> Option<Multiaddr> {
        let at = self.dialling.iter().position(|(dialled, _)| *dialled == id)?;
        Some(self.dialling.swap_remove(at).1)
    }
}

async fn ask(
    mut control: libp2p_stream::Control,
    peer: PeerId,
    request: Vec<u8>,
) -> Result<Vec<u8>, String> {
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData => error.to_string(),
        _ => format!(
            "refused: the office doesn't know the ticket, or it is used or expired ({error})"
        ),
    };
    let opened = control.open_stream(peer, StreamProtocol::new(PROTOCOL)).await;
    let mut stream = opened.map_err(|error| refused(io::Error::other(error)))?;
    write(&mut stream, &request).await.map_err(refused)?;
    read(&mut stream, ANSWER_MAX).await.map_err(refused)
}

/// The deepest cause for each address: that is where "connection refused" stands.
fn why(error: &DialError) -> String {
    let DialError::Transport(errors) = error else {
        return error.to_string();
    };
    let deepest = |error: &(dyn std::error::Error + 'static)| {
        let mut error = error;
        while let Some(source) = error.source() {
            error = source;
        }
        error.to_string()
    };
    errors.iter().map(|(_, error)| deepest(error)).collect::<Vec<_>>().join("; ")
}

/// The office's side: reads the request, hands it to the consumer, writes the answer.
pub(crate) async fn answer(mut stream: Stream, ticket: TicketId, shared: Arc<Shared>) {
    let exchange = async {
        let request = read(&mut stream, shared.limits.join_bytes_max).await?;
        let (reply, answer) = oneshot::channel();
        let event = Event::Join { ticket, request, reply };
        shared.events.send(event).await.map_err(io::Error::other)?;
        // A dropped reply is a refusal; so is the end of the stream.
        if let Ok(answer) = answer.await {
            write(&mut stream, &answer).await?;
        }
        stream.close().await
    };
    match tokio::time::timeout(shared.limits.join_time_max, exchange).await {
        Ok(Ok(())) => tracing::debug!(%ticket, "answered a request to join"),
        Ok(Err(error)) => tracing::info!(%ticket, %error, "a request to join broke off"),
        Err(_) => tracing::info!(%ticket, "a request to join took too long"),
    }
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&len.to_le_bytes()).await?;
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn read(stream: &mut Stream, max: usize) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).await?;
    let len = u32::from_le_bytes(len) as usize;
    if len > max {
        let what = format!("{len} bytes announced, at most {max} allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    // Grows with what arrives, not with what was announced.
    let mut bytes = Vec::new();
    stream.take(len as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}
