//! A delivery as a CloudEvent (1.0, JSON), as all systems get it that have no format of their own.

use fasti_core::outbox::{Delivery, DeliveryState};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Names the message: the same at every attempt, and of a replay as well. Without dots, which part what is signed.
pub(crate) fn id(delivery: &Delivery) -> String {
    let office = delivery.source.1.to_string();
    format!("{}-{}", &office[..office.len().min(12)], delivery.version)
}

/// What is in `data`: what the publisher said of a policy stands beside what Fasti says, and never in its place.
pub(crate) fn data(delivery: &Delivery) -> Map<String, Value> {
    let mut data = Map::new();
    data.insert("uid".into(), json!(delivery.uid));
    data.insert("version".into(), json!(delivery.version));
    data.insert("state".into(), json!(delivery.state.as_str()));
    data.insert("event".into(), Value::Object(delivery.event.clone()));
    if let Some(approval) = &delivery.approval {
        data.insert("approval".into(), approval.clone());
    }
    for (name, value) in delivery.policy.iter().flatten() {
        data.entry(name).or_insert_with(|| value.clone());
    }
    data
}

/// The event as it is written for calendar programs: those that are cancelled for this system alone too, as a policy that is
/// no longer approved.
pub(crate) fn as_told(delivery: &Delivery) -> Map<String, Value> {
    let mut event = delivery.event.clone();
    if delivery.state == DeliveryState::Cancelled {
        cancel(&mut event);
    }
    event
}

pub(crate) fn is_cancelled(event: &Map<String, Value>) -> bool {
    ["status", "progress"].iter().any(|it| event.get(*it) == Some(&json!("cancelled")))
}

pub(crate) fn cancel(event: &mut Map<String, Value>) {
    let name = match event.get("@type").and_then(Value::as_str) {
        Some("Task") => "progress",
        _ => "status",
    };
    event.insert(name.into(), json!("cancelled"));
}

/// The CloudEvent.
pub(crate) fn cloud_event(delivery: &Delivery) -> Value {
    let (network, office) = delivery.source;
    json!({
        "specversion": "1.0",
        "id": id(delivery),
        "source": format!("/fasti/{network}/{office}"),
        "type": delivery.kind,
        "subject": delivery.uid,
        "time": time(delivery.made),
        "datacontenttype": "application/json",
        "data": data(delivery),
    })
}

fn time(millis: i64) -> String {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}
