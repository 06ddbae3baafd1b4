//! An external system: it takes deliveries as a good receiver does, and fails as often as it is told to.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use fasti_receiver::{Message, News, Receiver, Secret, confirm};
use serde_json::Value;
use tokio::sync::oneshot;

/// What a system holds, and what came.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// The newest state of each event: its version, how final it is, and the event.
    pub events: BTreeMap<String, (u64, String, Value)>,
    /// Requests that were signed well, those that were then failed among them.
    pub requests: u64,
    /// Requests that were answered with an error.
    pub failed: u64,
    /// States that had been applied before.
    pub repeats: u64,
    /// States that came after a newer one of their event.
    pub stale: u64,
    /// Requests that were not signed as they should be.
    pub refused: u64,
}

struct Inner {
    receiver: Receiver,
    /// So many of a thousand requests fail.
    failing: u64,
    dice: u64,
    taken: Taken,
}

/// An external system of a test. It stops when it is dropped.
pub struct System {
    /// Where it takes deliveries.
    pub url: String,
    secret: String,
    inner: Arc<Mutex<Inner>>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl System {
    /// Starts one on a free port, of whose requests so many in a thousand fail.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn start(failing: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}/fasti", listener.local_addr()?);
        let secret = Secret::new([7; 32]);
        let text = secret.to_text();
        let receiver = Receiver::new([secret]);
        let inner = Inner { receiver, failing, dice: 1, taken: Taken::default() };
        let inner = Arc::new(Mutex::new(inner));
        let router = Router::new().route("/fasti", post(take)).with_state(Arc::clone(&inner));
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                let server = std::future::IntoFuture::into_future(axum::serve(listener, router));
                tokio::select! {
                    _ = server => {}
                    _ = stopped => {}
                }
            });
        };
        let server = std::thread::Builder::new().name("system".into()).spawn(serve);
        let server = Some(server.context("no thread for a system")?);
        Ok(Self { url, secret: text, inner, stop: Some(stop), server })
    }

    /// What deliveries to it are to be signed with.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// So many of a thousand requests fail from now on.
    pub fn fail(&self, failing: u64) {
        self.inner().failing = failing;
    }

    /// What it has taken so far.
    pub fn taken(&self) -> Taken {
        self.inner().taken.clone()
    }

    /// Whether it has some state of an event.
    pub fn has(&self, uid: &str) -> bool {
        self.inner().taken.events.contains_key(uid)
    }

    /// How many events it has, and how many of them in a state that can't change by itself.
    pub fn count(&self) -> (usize, usize) {
        let events = &self.inner().taken.events;
        (events.len(), events.values().filter(|it| it.1 != "tentative").count())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for System {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

async fn take(
    State(inner): State<Arc<Mutex<Inner>>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let state = match inner.receiver.read(header, &body, now as i64) {
        Ok(Message::State(delivery)) => delivery.data,
        Ok(Message::Test) => return (StatusCode::OK, String::new()),
        Err(refused) => {
            inner.taken.refused += 1;
            return (StatusCode::UNAUTHORIZED, refused.to_string());
        }
    };
    inner.taken.requests += 1;
    // A linear congruential generator (Knuth's MMIX): half of those that fail have applied it before.
    inner.dice = inner.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    let fails = (inner.dice >> 33) % 1000 < inner.failing;
    let applies = !fails || inner.dice >> 63 == 0;
    let known = inner.taken.events.get(&state.uid).map(|it| it.0);
    match state.news(known) {
        News::New if applies => {
            let told = serde_json::to_value(state.state).unwrap_or_default();
            let told = told.as_str().unwrap_or_default().to_owned();
            let event = Value::Object(state.event.clone().into_iter().collect());
            inner.taken.events.insert(state.uid.clone(), (state.version, told, event));
        }
        News::New => {}
        News::Repeat => inner.taken.repeats += 1,
        News::Stale => inner.taken.stale += 1,
    }
    if fails {
        inner.taken.failed += 1;
        return (StatusCode::SERVICE_UNAVAILABLE, "as it was told to".into());
    }
    (StatusCode::OK, confirm(state.version.max(known.unwrap_or(0))))
}
