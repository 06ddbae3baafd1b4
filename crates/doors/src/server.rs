//! The HTTP server: hyper with limits, because anyone who reaches the port may talk to it before
//! they show a token. axum's own `serve` has no limits on time or connections.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::Handle;
use crate::routes::{Door, router};

/// Connections at a time; further ones wait to be accepted. Each costs some 100 kB at most, besides
/// the body that it sends.
const CONNECTIONS_MAX: usize = 512;

/// How long a client may take for a request's head, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a request's head, and of what is buffered of its body.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long requests under way may take once the server stops: a commit takes milliseconds, a slow
/// upload is cut off.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a connection that could not be accepted: the usual cause, too many open files, passes.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves the doors until `shutdown` completes; then takes no more connections, ends event streams,
/// and returns when the requests under way are answered, after some seconds at the latest.
///
/// `token` is what callers have to show.
///
/// # Errors
/// If the listener can't be used.
pub async fn serve(
    listener: std::net::TcpListener,
    handle: Handle,
    token: &str,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (stop, stopping) = watch::channel(false);
    let router = router(Door { handle, token: token.into(), stopping });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(BUFFER_BYTES_MAX);
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
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "no HTTP connection can be accepted for now");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // An event must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        connections.spawn(async move {
            let _slot = slot;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP connection failed");
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

/// Answers one request as [`serve`] does, without a socket and its limits. A stream ends after what there is to
/// say at once. For tests.
#[cfg(feature = "fake")]
pub async fn respond(
    handle: Handle,
    token: &str,
    request: axum::extract::Request,
) -> axum::response::Response {
    use hyper::service::Service as _;
    let (_, stopping) = watch::channel(false);
    let router = router(Door { handle, token: token.into(), stopping });
    match TowerToHyperService::new(router).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
