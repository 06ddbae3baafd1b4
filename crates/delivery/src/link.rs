//! What the targets with a lasting connection have in common: a connection that is made when it is first wanted and
//! made anew once it is broken, time limits, and what is sent.

use std::sync::Arc;
use std::time::Duration;

use fasti_core::outbox::{Delivery, Outcome};
use tokio::sync::Mutex;

use crate::{TargetError, envelope};

const TIMEOUT_S_MAX: u64 = 60;
/// How long an answer is waited for, if nothing else is asked for.
pub(crate) const TIMEOUT_S: u64 = 15;
/// The content type of what is sent: the whole CloudEvent is in the body ("structured mode").
pub(crate) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// A connection. The target's own client never redials behind our back: what is tried, and when, is the core's to say.
pub(crate) struct Link<T>(Mutex<Option<Arc<T>>>);

impl<T> Default for Link<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Link<T> {
    /// The connection, which is made if there is none that `works`. Those who want one at the same time wait for it.
    pub(crate) async fn get(
        &self,
        works: impl Fn(&T) -> bool,
        connect: impl AsyncFnOnce() -> Result<T, String>,
    ) -> Result<Arc<T>, String> {
        let mut link = self.0.lock().await;
        if let Some(known) = link.as_ref().filter(|it| works(it)) {
            return Ok(Arc::clone(known));
        }
        // What is broken is let go first, so that a server's limit doesn't count it.
        *link = None;
        let new = Arc::new(connect().await?);
        *link = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Makes it anew for the next who wants it.
    pub(crate) async fn forget(&self, broken: &Arc<T>) {
        let mut link = self.0.lock().await;
        if link.as_ref().is_some_and(|known| Arc::ptr_eq(known, broken)) {
            *link = None;
        }
    }
}

/// What is sent of a delivery.
pub(crate) struct Message {
    /// The same at every attempt.
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn new(delivery: &Delivery) -> Self {
        let body = envelope::cloud_event(delivery).to_string().into_bytes();
        Self { id: envelope::id(delivery), body }
    }
}

/// From seconds as they were given.
pub(crate) fn timeout(seconds: u64) -> Result<Duration, TargetError> {
    match seconds {
        1..=TIMEOUT_S_MAX => Ok(Duration::from_secs(seconds)),
        _ => Err(TargetError::new("timeout_s", format!("expected 1 to {TIMEOUT_S_MAX} seconds"))),
    }
}

/// What comes of it, within a time.
pub(crate) async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let seconds = timeout.as_secs();
    tokio::time::timeout(timeout, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {seconds} s")))
}

pub(crate) fn outcome(result: Result<(), String>) -> Outcome {
    match result {
        Ok(()) => Outcome::Confirmed { applied: None, receipt: Vec::new() },
        Err(reason) => Outcome::Failed { reason, retry_after: None },
    }
}
