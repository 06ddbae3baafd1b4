//! TCP (Noise, yamux) and QUIC, and streams through relays (Noise, yamux), authenticated by the office's key.
//! Knows nothing of members.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use libp2p::core::transport::{
    Boxed, DialOpts, ListenerId, PortUse, TransportError, TransportEvent,
};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, Transport, noise, quic, relay, tcp, yamux};
use tokio::time::{Instant, Sleep};

use crate::addresses::is_local;

/// A dial and its handshakes may take this long: several round trips of a satellite link.
const HANDSHAKE: Duration = Duration::from_secs(8);

/// What a closing connection may still spend on saying goodbye. A link that died under load has full
/// buffers, and the goodbye would wait for the kernel to give up (a quarter of an hour for TCP),
/// with libp2p counting the peer as connected all the while.
const GOODBYE: Duration = Duration::from_millis(500);

/// QUIC is dialled so much later than TCP at addresses of the local network: nothing speaks for it there, and
/// TCP costs a node a third less for each frame, as the kernel does what QUIC does here.
const QUIC_WAITS: Duration = Duration::from_millis(100);

/// TCP is dialled so much later than QUIC elsewhere (the delay of RFC 8305): QUIC gets through NAT, and loses
/// no time on another lane's lost packets.
const TCP_WAITS: Duration = Duration::from_millis(250);

/// Relays are used so much later than anything direct: a round trip around the world, twice.
const RELAY_WAITS: Duration = Duration::from_millis(600);

/// The transport, and what asks relays for the streams that it takes for connections.
///
/// `silence`: a connection on which nothing at all was heard for this long is dead. QUIC has that
/// built in; for TCP see [`Heard`]. Both sides ping, so that a live one is never silent.
pub(crate) fn build(
    keys: &Keypair,
    silence: Duration,
    streams: u32,
) -> Result<(Boxed<(PeerId, StreamMuxerBox)>, relay::client::Behaviour), noise::Error> {
    // A push is one small write: waiting to fill a segment would cost up to 40 ms.
    let tcp = tcp::Config::new().nodelay(true);
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(streams as usize);
    let tcp = tcp::tokio::Transport::new(tcp)
        .map(move |stream, _| Heard::new(stream, silence))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keys)?)
        .multiplex(yamux.clone())
        .timeout(HANDSHAKE)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Brief::new(muxer))))
        .boxed();
    let wait = |local| if local { Duration::ZERO } else { TCP_WAITS };
    let tcp = Waiting { inner: tcp, wait, port: |_| PortUse::New };

    let (relayed, client) = relay::client::new(keys.public().to_peer_id());
    let relayed = relayed
        .map(move |stream, _| Heard::new(stream, silence))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keys)?)
        .multiplex(yamux)
        .timeout(HANDSHAKE)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Brief::new(muxer))))
        .boxed();
    let relayed = Waiting { inner: relayed, wait: |_| RELAY_WAITS, port: |asked| asked.port_use };

    let mut config = quic::Config::new(keys);
    config.handshake_timeout = HANDSHAKE;
    // Three chances to be heard before the other side gives up.
    let keep_alive = silence / 4;
    config.keep_alive_interval = keep_alive;
    // QUIC restarts its idle timer with the first packet sent after one was received (RFC 9000,
    // 10.1), and that is at the latest the next keep-alive: together they are `silence`.
    let idle = silence - keep_alive;
    config.max_idle_timeout = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
    config.max_concurrent_stream_limit = streams;
    let quic = quic::tokio::Transport::new(config)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Brief::new(muxer))))
        .boxed();
    let wait = |local| if local { QUIC_WAITS } else { Duration::ZERO };
    let quic = Waiting { inner: quic, wait, port: quic_port };

    // Relays first: to the others an address through one looks like one of the relay.
    let direct = quic.or_transport(tcp).map(|either, _| either.into_inner());
    let all = relayed.or_transport(direct).map(|either, _| either.into_inner());
    Ok((all.boxed(), client))
}

/// Whether someone else has this port. libp2p binds with `SO_REUSEPORT`, with which two processes of
/// one user share a port without an error and each sees half of the connections.
pub(crate) fn probe(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => {
            TcpListener::bind(SocketAddr::new(ip, port)).map(drop)
        }
        Some(Protocol::Udp(port)) if port != 0 => {
            UdpSocket::bind(SocketAddr::new(ip, port)).map(drop)
        }
        _ => Ok(()),
    }
}

/// A transport that waits before it dials, so that another one is linked first where it gets through. All
/// addresses of a peer are dialled side by side.
struct Waiting<T> {
    inner: T,
    /// For how long, given whether the address is local.
    wait: fn(bool) -> Duration,
    /// TCP takes a port of its own for each dial: with the listening port at both ends, two dials that cross
    /// become one connection in which both believe to be the client. (So there are no holes punched with
    /// TCP.) For QUIC see `quic_port`.
    port: fn(&DialOpts) -> PortUse,
}

/// QUIC tells connections apart by their ids, so dials leave from the listening port: a NAT then has a hole
/// for it, and an endpoint of its own would have megabytes of buffers. Not so a relay's that tries
/// whether we can be dialled from outside of such a hole: that one asks for a port of its own. And to a new
/// port for the one that listens while holes are punched libp2p understands that it sends from the
/// listening port until the other one's dial arrives.
fn quic_port(asked: &DialOpts) -> PortUse {
    match asked.role {
        Endpoint::Dialer => asked.port_use,
        Endpoint::Listener => PortUse::New,
    }
}

impl<T> Transport for Waiting<T>
where
    T: Transport + Unpin,
    T::Dial: Send + 'static,
{
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, Result<T::Output, T::Error>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<T::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<T::Error>> {
        let wait = (self.wait)(is_local(&address));
        let port_use = (self.port)(&options);
        let dial = self.inner.dial(address, DialOpts { port_use, ..options })?;
        Ok(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            dial.await
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

/// A muxer whose closing takes at most [`GOODBYE`].
struct Brief<M> {
    muxer: M,
    goodbye: Option<BoxFuture<'static, ()>>,
}

impl<M> Brief<M> {
    fn new(muxer: M) -> Self {
        Self { muxer, goodbye: None }
    }
}

impl<M> StreamMuxer for Brief<M>
where
    M: StreamMuxer + Unpin,
    M::Error: Send + Sync + 'static,
{
    type Substream = M::Substream;
    type Error = io::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Self::Substream>> {
        Pin::new(&mut self.muxer).poll_inbound(cx).map_err(io::Error::other)
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Self::Substream>> {
        Pin::new(&mut self.muxer).poll_outbound(cx).map_err(io::Error::other)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(closed) = Pin::new(&mut this.muxer).poll_close(cx) {
            return Poll::Ready(closed.map_err(io::Error::other));
        }
        let goodbye = this.goodbye.get_or_insert_with(|| tokio::time::sleep(GOODBYE).boxed());
        goodbye.poll_unpin(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.muxer).poll(cx).map_err(io::Error::other)
    }
}

/// A TCP stream that fails when nothing was heard on it for a while. What counts is what arrives and not
/// whether a ping was answered: on a slow line a ping waits behind megabytes of a range in the socket's
/// buffer, and a link that is busy must not pass for dead.
struct Heard<S> {
    stream: S,
    silence: Duration,
    last: Instant,
    check: Pin<Box<Sleep>>,
}

impl<S> Heard<S> {
    fn new(stream: S, silence: Duration) -> Self {
        let last = Instant::now();
        Self { stream, silence, last, check: Box::pin(tokio::time::sleep_until(last + silence)) }
    }

    /// Called with whatever waits, as a connection with full buffers may wait for writing only. The
    /// timer is moved when it fires and not with every read: that keeps reads cheap.
    fn waiting<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.check.poll_unpin(cx).is_ready() {
            let due = self.last + self.silence;
            if due <= Instant::now() {
                let what = format!("nothing heard for {:?}", self.silence);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)));
            }
            self.check.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() {
            return self.waiting(cx);
        }
        self.last = Instant::now();
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_pending() { self.waiting(cx) } else { written }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() { self.waiting(cx) } else { flushed }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
