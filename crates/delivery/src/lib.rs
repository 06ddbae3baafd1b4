//! Every way out to external systems. The core says what is to be tried, and when; here it is tried once, and said what
//! came of it. Nothing is kept here but connections: whatever is lost, the core tries again.
//!
//! A target's URL says what kind of system it is (see [`check`]).

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod caldav;
mod envelope;
mod folder;
mod http;
mod kafka;
mod link;
mod nats;
mod rabbitmq;
mod reach;
mod tls;
mod tunnel;
mod webhook;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fasti_core::Reply;
use fasti_core::command::TakeOver;
use fasti_core::outbox::{
    Agreed, Attempt, Delivery, Outcome, Subscription, SubscriptionId, Target, Tried,
};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::caldav::{CalDav, Reading};
use crate::folder::Folder;
use crate::kafka::Kafka;
use crate::nats::Nats;
use crate::rabbitmq::RabbitMq;
pub use crate::reach::Reach;
use crate::webhook::Webhook;

/// Why a target can't be delivered to, as whoever asks for it is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct TargetError {
    /// `callback_url`, or a field of the options.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl TargetError {
    pub(crate) fn new(field: &str, problem: impl Into<String>) -> Self {
        Self { field: field.to_owned(), problem: problem.into() }
    }

    pub(crate) fn url(problem: impl Into<String>) -> Self {
        Self::new("callback_url", problem)
    }
}

/// What the deliverer has to say.
#[derive(Debug)]
pub enum Report {
    /// What came of an attempt.
    Tried(Tried),
    /// What a system says of an event, for [`Command::TakeOver`](fasti_core::Command::TakeOver); and who waits for the answer.
    Read(TakeOver, oneshot::Sender<Reply>),
}

/// What is kept of what was agreed with systems that are read as well. Errors are for people.
pub trait Memory: Send + Sync + 'static {
    /// Of an event.
    ///
    /// # Errors
    /// The disk's; likewise below.
    fn agreed(&self, subscription: SubscriptionId, uid: &str) -> Result<Option<Agreed>, String>;

    /// Of all events.
    ///
    /// # Errors
    /// As above.
    fn all_agreed(
        &self,
        subscription: SubscriptionId,
        each: &mut dyn FnMut(&str, Agreed),
    ) -> Result<(), String>;
}

/// Nothing is agreed.
impl Memory for () {
    fn agreed(&self, _: SubscriptionId, _: &str) -> Result<Option<Agreed>, String> {
        Ok(None)
    }

    fn all_agreed(&self, _: SubscriptionId, _: &mut dyn FnMut(&str, Agreed)) -> Result<(), String> {
        Ok(())
    }
}

/// A system, and what there is of connections with it.
enum System {
    CalDav(Arc<CalDav>),
    Webhook(Box<Webhook>),
    RabbitMq(Box<RabbitMq>),
    Nats(Box<Nats>),
    Kafka(Box<Kafka>),
    Folder(Folder),
}

impl System {
    fn new(target: &Target, reach: Reach, memory: &Arc<dyn Memory>) -> Result<Self, TargetError> {
        match target.scheme() {
            "http" | "https" => Webhook::new(target, reach).map(|it| Self::Webhook(Box::new(it))),
            "amqp" | "amqps" => RabbitMq::new(target, reach).map(|it| Self::RabbitMq(Box::new(it))),
            "nats" | "tls" => Nats::new(target, reach).map(|it| Self::Nats(Box::new(it))),
            "kafka" | "kafka+tls" => Kafka::new(target, reach).map(|it| Self::Kafka(Box::new(it))),
            "caldav" | "caldavs" => {
                CalDav::new(target, reach, Arc::clone(memory)).map(|it| Self::CalDav(Arc::new(it)))
            }
            "file" => Folder::new(target, reach).map(Self::Folder),
            _ => Err(TargetError::url(format!(
                "expected a URL such as https://crm.example.org/fasti (a webhook), {} (RabbitMQ), \
                 {} (NATS JetStream), {} (Kafka), {} (a calendar) or {} (a folder)",
                rabbitmq::EXAMPLE,
                nats::EXAMPLE,
                kafka::EXAMPLE,
                caldav::EXAMPLE,
                folder::EXAMPLE
            ))),
        }
    }

    async fn deliver(&self, attempt: &Attempt) -> Outcome {
        match self {
            Self::Webhook(it) => it.deliver(attempt).await,
            Self::RabbitMq(it) => it.deliver(attempt).await,
            Self::Nats(it) => it.deliver(attempt).await,
            Self::Kafka(it) => it.deliver(attempt).await,
            Self::CalDav(it) => it.deliver(attempt).await,
            Self::Folder(it) => it.deliver(attempt).await,
        }
    }

    async fn test(&self, subscription: &Subscription) -> Result<String, String> {
        match self {
            Self::Webhook(it) => it.test(subscription).await,
            Self::RabbitMq(it) => it.test().await,
            Self::Nats(it) => it.test().await,
            Self::Kafka(it) => it.test().await,
            Self::CalDav(it) => it.test().await,
            Self::Folder(it) => it.test().await,
        }
    }

    fn shown(&self) -> Value {
        match self {
            Self::Webhook(it) => it.shown(),
            Self::RabbitMq(it) => it.shown(),
            Self::Nats(it) => it.shown(),
            Self::Kafka(it) => it.shown(),
            Self::CalDav(it) => it.shown(),
            Self::Folder(it) => it.shown(),
        }
    }
}

/// Checks that a target can be delivered to, as far as that can be said without asking it.
///
/// # Errors
/// [`TargetError`]
pub fn check(target: &Target, reach: Reach) -> Result<(), TargetError> {
    System::new(target, reach, &nothing()).map(drop)
}

/// A delivery as it is sent to a target: the type of its content, and that.
pub fn body(target: &Target, delivery: &Delivery) -> (&'static str, String) {
    match target.scheme() {
        "caldav" | "caldavs" => ("text/calendar", caldav::written(delivery)),
        "file" => ("text/calendar", folder::written(delivery)),
        _ => (link::CONTENT_TYPE, envelope::cloud_event(delivery).to_string()),
    }
}

/// How a target is reached, without what is secret in that.
pub fn shown(target: &Target) -> Value {
    System::new(target, Reach::Any, &nothing()).map_or(Value::Null, |it| it.shown())
}

fn nothing() -> Arc<dyn Memory> {
    Arc::new(())
}

/// Delivers. Cheap to clone.
#[derive(Clone)]
pub struct Deliverer(Arc<Inner>);

struct Inner {
    runtime: Handle,
    reach: Reach,
    memory: Arc<dyn Memory>,
    reports: mpsc::UnboundedSender<Report>,
    systems: Mutex<BTreeMap<SubscriptionId, Known>>,
}

struct Known {
    target: Target,
    system: Arc<System>,
    /// Reads it meanwhile.
    reading: Option<AbortHandle>,
}

impl Known {
    fn stop_reading(&mut self) {
        if let Some(task) = self.reading.take() {
            task.abort();
        }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.stop_reading();
    }
}

impl Deliverer {
    /// One that tells what came of each attempt, and what it reads. There are never more attempts under way than the core
    /// allows, and one thing that was read for each system. They run where this is called, which must be within a tokio
    /// runtime.
    pub fn new(reach: Reach, memory: Arc<dyn Memory>) -> (Self, mpsc::UnboundedReceiver<Report>) {
        let (reports, results) = mpsc::unbounded_channel();
        let systems = Mutex::default();
        let runtime = Handle::current();
        (Self(Arc::new(Inner { runtime, reach, memory, reports, systems })), results)
    }

    /// To which addresses it delivers.
    pub fn reach(&self) -> Reach {
        self.0.reach
    }

    /// Tries these, each in a task of its own.
    pub fn deliver(&self, attempts: Vec<Attempt>) {
        for attempt in attempts {
            let deliverer = self.clone();
            self.0.runtime.spawn(async move {
                let outcome = match deliverer.system(&attempt.subscription) {
                    Ok(system) => system.deliver(&attempt).await,
                    Err(error) => Outcome::Failed { reason: error.to_string(), retry_after: None },
                };
                if let Outcome::Failed { reason, .. } | Outcome::Gone { reason } = &outcome {
                    let system = &attempt.subscription.name;
                    let (event, attempt) = (&attempt.delivery.uid, attempt.delivery.attempt);
                    tracing::debug!(system, event, attempt, reason, "not delivered");
                }
                let Attempt { number, subscription, delivery, heads } = attempt;
                let (subscription, uid) = (subscription.id, delivery.uid);
                let tried = Tried { number, subscription, uid, heads, outcome };
                let _ = deliverer.0.reports.send(Report::Tried(tried));
            });
        }
    }

    /// Asks a system whether it could be delivered to, with a message that says so; gives what it answered.
    ///
    /// # Errors
    /// Why it could not, for people.
    pub async fn test(&self, subscription: &Subscription) -> Result<String, String> {
        let system = self.system(subscription).map_err(|error| error.to_string())?;
        system.test(subscription).await
    }

    /// Takes note of all subscriptions: reads the systems that are read as well, unless they are paused, and forgets those that
    /// are no more.
    pub fn subscriptions(&self, all: &[Arc<Subscription>]) {
        let is_same = |id: &SubscriptionId, known: &Known| {
            all.iter().any(|it| it.id == *id && it.target == known.target)
        };
        self.systems().retain(|id, known| is_same(id, known));
        for subscription in all.iter().filter(|it| it.target.scheme().starts_with("caldav")) {
            // What is wrong with it the next attempt will say.
            let Ok(system) = self.system(subscription) else { continue };
            let System::CalDav(dav) = &*system else { continue };
            let mut systems = self.systems();
            let Some(known) = systems.get_mut(&subscription.id) else { continue };
            if subscription.pause.is_some() {
                known.stop_reading();
            } else if known.reading.is_none() {
                let (dav, subscription) = (Arc::clone(dav), Arc::clone(subscription));
                let reading = Reading::new(dav, subscription, self.0.reports.clone());
                known.reading = Some(self.0.runtime.spawn(reading.run()).abort_handle());
            }
        }
    }

    /// Why a system can't be read, of those that are.
    pub fn problem(&self, subscription: SubscriptionId) -> Option<String> {
        match &*self.systems().get(&subscription)?.system {
            System::CalDav(it) => it.problem(),
            _ => None,
        }
    }

    fn system(&self, subscription: &Subscription) -> Result<Arc<System>, TargetError> {
        let Subscription { id, target, .. } = subscription;
        let mut systems = self.systems();
        let known = systems.get(id);
        if let Some(known) = known.filter(|known| known.target == *target) {
            return Ok(Arc::clone(&known.system));
        }
        let (target, reading) = (target.clone(), None);
        let system = Arc::new(System::new(&target, self.0.reach, &self.0.memory)?);
        // An attempt from before the subscription was changed leaves alone what came after it.
        if known.is_none() {
            systems.insert(*id, Known { target, system: Arc::clone(&system), reading });
        }
        Ok(system)
    }

    fn systems(&self) -> MutexGuard<'_, BTreeMap<SubscriptionId, Known>> {
        self.0.systems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
