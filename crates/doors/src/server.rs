//! The HTTP server: hyper with limits, because anyone who reaches the port may talk to it before
//! they show a token. axum's own `serve` has no limits on time or connections. Where the certificate for
//! TLS comes from is the node's affair.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::Handle;
use crate::auth::Peer;
use crate::routes::{Door, router};

/// Connections at a time; further ones wait to be accepted. Each costs some 100 kB at most, besides
/// the body that it sends.
const CONNECTIONS_MAX: usize = 512;

/// How long a client may take for TLS's handshake: two round trips over the worst line.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take for a request's head, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a request's head, and of what is buffered of its body.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long requests under way may take once the server stops: a commit takes milliseconds, a slow
/// upload is cut off.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a connection that could not be accepted: the usual cause, too many open files, passes.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What guards the doors.
#[derive(Clone)]
pub struct Guard {
    /// What the operator has to show.
    pub token: Arc<str>,
    /// None for plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// Names, besides `localhost`, under which browsers may ask for this node.
    pub names: Vec<String>,
    /// Whether all requests come through a proxy, which says in `X-Forwarded-For` from where.
    pub behind_proxy: bool,
}

impl std::fmt::Debug for Guard {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Serves the doors until `shutdown` completes; then takes no more connections, ends event streams,
/// and returns when the requests under way are answered, after some seconds at the latest.
///
/// # Errors
/// If the listener can't be used, or what [`crate::Node::users`] gives can't be read.
pub async fn serve(
    listener: std::net::TcpListener,
    handle: Handle,
    guard: Guard,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (stop, stopping) = watch::channel(false);
    let ending = stopping.clone();
    let router = router(Door::new(handle, &guard, stopping)?);
    let tls = guard.tls.map(TlsAcceptor::from);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok((stream, address)) => (stream, Peer(address.ip())),
            Err(error) => {
                tracing::warn!(%error, "no HTTP connection can be accepted for now");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // An event must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let (router, tls, watcher) = (router.clone(), tls.clone(), graceful.watcher());
        let mut ending = ending.clone();
        connections.spawn(async move {
            let _slot = slot;
            let Some(tls) = tls else { return converse(stream, peer, router, watcher).await };
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
            let shaken = tokio::select! {
                shaken = handshake => shaken,
                _ = ending.wait_for(|ending| *ending) => return,
            };
            match shaken {
                Ok(Ok(stream)) => converse(stream, peer, router, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        });
    }
    drop(listener);
    stop.send_replace(true);
    if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some HTTP requests were cut off because they took too long to finish");
    }
    Ok(())
}

/// Answers the requests of one connection.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: axum::Router,
    watcher: Watcher,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "an HTTP connection failed");
    }
}

/// Answers one request as [`serve`] does, without a socket and its limits. A stream ends after what there is to
/// say at once. For tests.
#[cfg(feature = "fake")]
pub async fn respond(
    handle: Handle,
    guard: Guard,
    mut request: axum::extract::Request,
) -> io::Result<axum::response::Response> {
    let (_, stopping) = watch::channel(false);
    let router = router(Door::new(handle, &guard, stopping)?);
    request.extensions_mut().insert(Peer(std::net::Ipv4Addr::LOCALHOST.into()));
    match TowerToHyperService::new(router).call(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}
