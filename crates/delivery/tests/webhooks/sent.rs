//! What is delivered here, and to whom.

use std::sync::Arc;
use std::time::Duration;

use fasti_core::outbox::{
    Attempt, Delivery, DeliveryState, Filter, Outcome, Secret, Subscription, SubscriptionId, Target,
};
use fasti_core::{NetworkId, OfficeId};
use fasti_delivery::{Deliverer, Reach, Report};
use serde_json::{Value, json};

pub(crate) const UID: &str = "policy-YSP-2024";

/// Bytes of a secret.
pub(crate) fn secret(byte: u8) -> Secret {
    Secret(vec![byte; 32])
}

pub(crate) fn subscription(url: &str, options: Value) -> Subscription {
    Subscription {
        id: SubscriptionId(1),
        name: "NMB-Office-1".into(),
        target: Target { url: url.into(), options: options.to_string() },
        filter: Filter::default(),
        secrets: vec![secret(1)],
        rotation_ends: 0,
        created: 0,
        since: 0,
        backlog: None,
        pause: None,
    }
}

pub(crate) fn delivery(version: u64) -> Delivery {
    let object = |it: Value| it.as_object().unwrap().clone();
    Delivery {
        source: (NetworkId([1; 32]), OfficeId([2; 32])),
        uid: UID.into(),
        version,
        kind: "policy_start".into(),
        state: DeliveryState::Settled,
        made: 1_764_304_000_123,
        attempt: 1,
        event: object(json!({ "@type": "Event", "uid": UID, "title": "Jeunesse & sport" })),
        policy: Some(object(json!({ "policy_id": "YSP-2024", "version": "the publisher's" }))),
        approval: Some(json!({ "state": "approved", "changed": false })),
    }
}

/// Delivers once, as a node does.
pub(crate) async fn deliver(subscription: Subscription, version: u64) -> Outcome {
    deliver_within(Reach::Any, subscription, version).await
}

pub(crate) async fn deliver_within(
    reach: Reach,
    subscription: Subscription,
    version: u64,
) -> Outcome {
    let (deliverer, mut tried) = Deliverer::new(reach, Arc::new(()));
    let subscription = Arc::new(subscription);
    deliverer.deliver(vec![Attempt {
        number: version,
        subscription,
        delivery: delivery(version),
        heads: Vec::new(),
    }]);
    let tried = tokio::time::timeout(Duration::from_secs(90), tried.recv()).await;
    let Some(Report::Tried(tried)) = tried.expect("an outcome in time") else {
        panic!("nothing is to be read");
    };
    assert_eq!((tried.uid.as_str(), tried.number), (UID, version));
    tried.outcome
}

/// Why it failed, and for how long the target wants to be left alone.
pub(crate) async fn failure(subscription: Subscription) -> (String, Option<u64>) {
    match deliver(subscription, 7).await {
        Outcome::Failed { reason, retry_after } => (reason, retry_after),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn confirmed(applied: Option<&str>) -> Outcome {
    Outcome::Confirmed { applied: applied.map(str::to_owned), receipt: Vec::new() }
}
