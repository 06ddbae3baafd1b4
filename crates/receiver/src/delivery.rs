//! What a delivery says, and what to make of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An event in JSCalendar (RFC 8984).
pub type Event = Map<String, Value>;

/// A delivery: a CloudEvent 1.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Names the message, as the header `webhook-id` does: the same at every attempt.
    pub id: String,
    /// `/fasti/` and the ids of the network and of the office that delivers.
    pub source: String,
    /// What kind of change it was: `policy_start`, `policy_update`, `policy_end`, `policy_cancel`, `event_update` or
    /// `event_cancel`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When that state came about at the office that delivers (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The event.
    pub data: Data,
    /// What else the CloudEvent says.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// An event as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// Names the event.
    pub uid: String,
    /// Rises with every state of the event; below 2^53.
    pub version: u64,
    /// How final it is.
    pub state: State,
    /// JSCalendar.
    pub event: Event,
    /// Of a policy: where its approval stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Of a policy: what its publisher said, such as `policy_id`, `start_date` and `end_date`; and whatever else there is.
    #[serde(flatten)]
    pub policy: Map<String, Value>,
}

/// How final a state is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// An office may have said something else at the same time, or a booking may still be displaced.
    Tentative,
    /// Everybody holds it, and what is booked stays booked.
    Settled,
    /// A booking of it lost its place.
    Displaced,
    /// It doesn't take place.
    Cancelled,
    /// One that this crate doesn't know yet.
    #[serde(untagged)]
    Other(String),
}

impl State {
    /// As it is delivered.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tentative => "tentative",
            Self::Settled => "settled",
            Self::Displaced => "displaced",
            Self::Cancelled => "cancelled",
            Self::Other(state) => state,
        }
    }
}

/// Where the approval of a policy stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// `draft`, `proposed`, `approved`, `superseded` or `withdrawn`.
    pub state: String,
    /// Whether the policy was edited since it was approved.
    #[serde(default)]
    pub changed: bool,
    /// Whether approvers decided differently at the same time.
    #[serde(default)]
    pub disputed: bool,
    /// The policy that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// What else is said of it.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What a delivery is to a receiver that holds some version of the event. All three are to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// To be applied.
    New,
    /// It was applied before; whatever confirmed it got lost.
    Repeat,
    /// Something newer was applied: to apply this would go backwards.
    Stale,
}

impl Data {
    /// What this is to whoever holds that version of the event, or none. Ask and apply in one transaction, or two
    /// deliveries that come at once may both be new.
    pub fn news(&self, known: Option<u64>) -> News {
        match known {
            Some(known) if known == self.version => News::Repeat,
            Some(known) if known > self.version => News::Stale,
            _ => News::New,
        }
    }
}

/// The body of an answer that says which version of the event is applied now: that of the delivery, or the newer one that
/// was there.
pub fn confirm(version: u64) -> String {
    format!(r#"{{"status":"ok","applied":"{version}"}}"#)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent() -> Value {
        json!({
            "specversion": "1.0",
            "id": "0123456789ab-7",
            "source": "/fasti/n/o",
            "type": "policy_update",
            "subject": "policy-YSP-2024",
            "time": "2024-04-01T08:00:00Z",
            "datacontenttype": "application/json",
            "traceparent": "00-1-2-01",
            "data": {
                "uid": "policy-YSP-2024",
                "version": 1_764_304_000_000_007_u64,
                "state": "settled",
                "event": { "@type": "Event", "x:other": [1, { "a": null }] },
                "approval": { "state": "approved", "changed": true, "disputed": false, "since": 4 },
                "policy_id": "YSP-2024",
                "start_date": "2024-04-01",
                "budget": 12000.5,
            },
        })
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let delivery: Delivery = serde_json::from_value(sent()).unwrap();
        assert_eq!(delivery.data.policy["budget"], 12000.5);
        assert_eq!(delivery.data.state, State::Settled);
        assert_eq!(delivery.data.approval.as_ref().unwrap().more["since"], 4);
        assert_eq!(delivery.more["traceparent"], "00-1-2-01");
        assert_eq!(serde_json::to_value(&delivery).unwrap(), sent());
    }

    #[test]
    fn a_state_of_the_future_is_no_error() {
        let mut sent = sent();
        sent["data"]["state"] = json!("waitlisted");
        let delivery: Delivery = serde_json::from_value(sent.clone()).unwrap();
        assert_eq!(delivery.data.state, State::Other("waitlisted".into()));
        assert_eq!(delivery.data.state.as_str(), "waitlisted");
        assert_eq!(serde_json::to_value(&delivery).unwrap(), sent);
    }

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in [State::Tentative, State::Settled, State::Displaced, State::Cancelled] {
            assert_eq!(serde_json::from_value::<State>(json!(state.as_str())).unwrap(), state);
            assert_eq!(serde_json::to_value(&state).unwrap(), state.as_str());
        }
    }

    #[test]
    fn versions_only_rise() {
        let data = serde_json::from_value::<Delivery>(sent()).unwrap().data;
        let version = data.version;
        assert_eq!(data.news(None), News::New);
        assert_eq!(data.news(Some(version - 1)), News::New);
        assert_eq!(data.news(Some(version)), News::Repeat);
        assert_eq!(data.news(Some(version + 1)), News::Stale);
    }
}
