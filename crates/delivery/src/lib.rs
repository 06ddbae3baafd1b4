//! Every way out to external systems. The core says what is to be tried, and when; here it is tried once, and said what
//! came of it. Nothing is kept here but connections: whatever is lost, the core tries again.
//!
//! A target's URL says what kind of system it is (see [`check`]).

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
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
use std::sync::{Arc, Mutex, PoisonError};

use fasti_core::outbox::{Attempt, Outcome, Subscription, SubscriptionId, Target, Tried};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

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

/// A system, and what there is of connections with it.
enum System {
    Webhook(Box<Webhook>),
    RabbitMq(Box<RabbitMq>),
    Nats(Box<Nats>),
    Kafka(Box<Kafka>),
    Folder(Folder),
}

impl System {
    fn new(target: &Target, reach: Reach) -> Result<Self, TargetError> {
        match target.scheme() {
            "http" | "https" => Webhook::new(target, reach).map(|it| Self::Webhook(Box::new(it))),
            "amqp" | "amqps" => RabbitMq::new(target, reach).map(|it| Self::RabbitMq(Box::new(it))),
            "nats" | "tls" => Nats::new(target, reach).map(|it| Self::Nats(Box::new(it))),
            "kafka" | "kafka+tls" => Kafka::new(target, reach).map(|it| Self::Kafka(Box::new(it))),
            "file" => Folder::new(target, reach).map(Self::Folder),
            _ => Err(TargetError::url(format!(
                "expected a URL such as https://crm.example.org/fasti (a webhook), {} (RabbitMQ), \
                 {} (NATS JetStream), {} (Kafka) or {} (a folder)",
                rabbitmq::EXAMPLE,
                nats::EXAMPLE,
                kafka::EXAMPLE,
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
            Self::Folder(it) => it.deliver(attempt).await,
        }
    }

    async fn test(&self, subscription: &Subscription) -> Result<String, String> {
        match self {
            Self::Webhook(it) => it.test(subscription).await,
            Self::RabbitMq(it) => it.test().await,
            Self::Nats(it) => it.test().await,
            Self::Kafka(it) => it.test().await,
            Self::Folder(it) => it.test().await,
        }
    }

    fn shown(&self) -> Value {
        match self {
            Self::Webhook(it) => it.shown(),
            Self::RabbitMq(it) => it.shown(),
            Self::Nats(it) => it.shown(),
            Self::Kafka(it) => it.shown(),
            Self::Folder(it) => it.shown(),
        }
    }
}

/// Checks that a target can be delivered to, as far as that can be said without asking it.
///
/// # Errors
/// [`TargetError`]
pub fn check(target: &Target, reach: Reach) -> Result<(), TargetError> {
    System::new(target, reach).map(drop)
}

/// How a target is reached, without what is secret in that.
pub fn shown(target: &Target) -> Value {
    System::new(target, Reach::Any).map_or(Value::Null, |it| it.shown())
}

/// Delivers. Cheap to clone.
#[derive(Clone)]
pub struct Deliverer(Arc<Inner>);

struct Inner {
    runtime: Handle,
    reach: Reach,
    tried: mpsc::UnboundedSender<Tried>,
    systems: Mutex<BTreeMap<SubscriptionId, Known>>,
}

struct Known {
    target: Target,
    system: Arc<System>,
}

impl Deliverer {
    /// One that tells what came of each attempt. There are never more of these under way than the core allows. They run
    /// where this is called, which must be within a tokio runtime.
    pub fn new(reach: Reach) -> (Self, mpsc::UnboundedReceiver<Tried>) {
        let (tried, results) = mpsc::unbounded_channel();
        let systems = Mutex::default();
        let runtime = Handle::current();
        (Self(Arc::new(Inner { runtime, reach, tried, systems })), results)
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
                let (uid, version) = (attempt.delivery.uid, attempt.delivery.version);
                let subscription = attempt.subscription.id;
                let _ = deliverer.0.tried.send(Tried { subscription, uid, version, outcome });
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

    fn system(&self, subscription: &Subscription) -> Result<Arc<System>, TargetError> {
        let Subscription { id, target, .. } = subscription;
        let mut systems = self.0.systems.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = systems.get(id).filter(|known| known.target == *target) {
            return Ok(Arc::clone(&known.system));
        }
        let system = Arc::new(System::new(target, self.0.reach)?);
        systems.insert(*id, Known { target: target.clone(), system: Arc::clone(&system) });
        Ok(system)
    }

    /// Forgets the connections with a system.
    pub fn forget(&self, subscription: SubscriptionId) {
        self.0.systems.lock().unwrap_or_else(PoisonError::into_inner).remove(&subscription);
    }
}
