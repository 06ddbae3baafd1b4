//! The core's answers as JSON.

use fasti_core::command::{ConflictView, MemberView, StatusView, Written};
use serde::Serialize;
use serde_json::{Value, json};

// The core's ids serialise as arrays of bytes; people and programs get the hex digits that
// `Display` gives and `FromStr` reads, so the fields that hold ids are written over.

/// What became of a write.
pub(crate) fn written(written: &Written) -> Value {
    let mut value = to_value(written);
    value["entry"] = json!(written.entry.to_string());
    value
}

pub(crate) fn member(member: &MemberView) -> Value {
    let mut value = to_value(member);
    value["office"] = json!(member.office.to_string());
    value
}

pub(crate) fn status(status: &StatusView) -> Value {
    let mut value = to_value(status);
    value["office"] = json!(status.office.to_string());
    value["network"] = json!(status.network.to_string());
    value["frontier"] = json!(status.frontier.to_string());
    value["peers"] = status.peers.iter().map(ToString::to_string).collect();
    value["members"] = status.members.iter().map(member).collect();
    value
}

pub(crate) fn conflict(conflict: &ConflictView) -> Value {
    let mut view = to_value(conflict);
    for (shown, value) in conflict.values.iter().enumerate() {
        view["values"][shown]["office"] = json!(value.office.to_string());
        view["values"][shown]["entry"] = json!(value.entry.to_string());
    }
    view
}

/// Views hold nothing that JSON can't: no maps with keys that aren't strings.
fn to_value(view: &impl Serialize) -> Value {
    serde_json::to_value(view).unwrap_or_default()
}
