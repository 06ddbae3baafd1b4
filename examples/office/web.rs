//! The office's HTTP: deliveries in, its calendar out, its own changes on to the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use fasti_receiver::{Message, News, confirm};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

use super::node::Node;
use super::secrets::Secrets;
use super::store::Store;

/// The largest body: many times an event.
const BODY_BYTES_MAX: usize = 4 << 20;

pub(crate) struct Office {
    pub(crate) secrets: Secrets,
    pub(crate) store: Store,
    pub(crate) node: Node,
    pub(crate) chaos: Chaos,
    pub(crate) counts: Counts,
}

/// What goes wrong on purpose.
pub(crate) struct Chaos {
    pub(crate) fail_rate: f64,
    pub(crate) delay: Duration,
}

/// What came since the start.
#[derive(Default)]
pub(crate) struct Counts {
    applied: AtomicU64,
    repeated: AtomicU64,
    stale: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

pub(crate) async fn serve(listener: TcpListener, office: Arc<Office>) -> anyhow::Result<()> {
    let app = Router::new()
        .route("/fasti", post(deliver))
        .route("/events", get(events))
        .route("/events/{uid}", post(change))
        .route("/counts", get(counts))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(office);
    // An answer is one small packet, which must not wait for the next.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    Ok(axum::serve(listener, app).with_graceful_shutdown(stop).await?)
}

/// Takes a delivery.
async fn deliver(State(office): State<Arc<Office>>, headers: HeaderMap, body: Bytes) -> Response {
    let counts = &office.counts;
    let delivery = match office.secrets.read(&headers, &body, now()) {
        Ok(Message::State(delivery)) => delivery,
        Ok(Message::Test) => return Json(json!({ "status": "ok" })).into_response(),
        Err(refused) => {
            counts.refused.fetch_add(1, Relaxed);
            let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
            return (status, refused.to_string()).into_response();
        }
    };
    if !office.chaos.delay.is_zero() {
        tokio::time::sleep(office.chaos.delay).await;
    }
    let failure = office.chaos.failure();
    if failure == Some(Failure::BeforeApplied) {
        counts.failed.fetch_add(1, Relaxed);
        return (StatusCode::SERVICE_UNAVAILABLE, "fails at random").into_response();
    }
    let stored = match office.store.apply(delivery).await {
        Ok(stored) => stored,
        Err(error) => {
            counts.failed.fetch_add(1, Relaxed);
            anstream::eprintln!("error: {error:#}");
            let problem = format!("it can't be stored: {error:#}");
            return (StatusCode::INTERNAL_SERVER_ERROR, problem).into_response();
        }
    };
    let count = match stored.news {
        News::New => &counts.applied,
        News::Repeat => &counts.repeated,
        News::Stale => &counts.stale,
    };
    count.fetch_add(1, Relaxed);
    if failure == Some(Failure::AfterApplied) {
        counts.failed.fetch_add(1, Relaxed);
        return (StatusCode::BAD_GATEWAY, "applied it, and fails at random").into_response();
    }
    ([(CONTENT_TYPE, "application/json")], confirm(stored.version)).into_response()
}

/// The calendar.
async fn events(State(office): State<Arc<Office>>) -> Response {
    match blocking(move || office.store.all()).await {
        Ok(all) => Json(all).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

/// Asks the node for a change. What comes of it is delivered, as any change is: only then it is in the calendar here.
async fn change(
    State(office): State<Arc<Office>>,
    Path(uid): Path<String>,
    body: Bytes,
) -> Response {
    let Ok(patch) = serde_json::from_slice::<Map<String, Value>>(&body) else {
        let expected = "expected a JSON merge patch, such as {\"title\": \"Another\"}";
        return (StatusCode::BAD_REQUEST, expected).into_response();
    };
    let patch = Value::Object(patch).to_string();
    match blocking(move || office.node.patch(&uid, patch)).await {
        Ok((status, body)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            (status, [(CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

async fn counts(State(office): State<Arc<Office>>) -> Json<Value> {
    let Counts { applied, repeated, stale, refused, failed } = &office.counts;
    let count = |it: &AtomicU64| it.load(Relaxed);
    Json(json!({
        "applied": count(applied),
        "repeated": count(repeated),
        "stale": count(stale),
        "refused": count(refused),
        "failed": count(failed),
    }))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    spawn_blocking(work).await?
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The delivery is lost.
    BeforeApplied,
    /// The answer is lost.
    AfterApplied,
}

impl Chaos {
    fn failure(&self) -> Option<Failure> {
        if self.fail_rate <= 0.0 {
            return None;
        }
        let dice = f64::from(getrandom::u32().unwrap_or(0)) / (f64::from(u32::MAX) + 1.0);
        match dice / self.fail_rate {
            part if part < 0.5 => Some(Failure::BeforeApplied),
            part if part < 1.0 => Some(Failure::AfterApplied),
            _ => None,
        }
    }
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
