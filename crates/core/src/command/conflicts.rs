//! What needs a person, and what can be done about it.

use serde::Serialize;
use serde_json::Value;

use crate::ids::{EntryHash, OfficeId};

/// What needs a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConflictKind {
    /// A field was edited two ways.
    Field,
    /// An event was cancelled, and edited by somebody who did not know that.
    Cancelled,
    /// A booking is displaced.
    Booking,
    /// A policy was edited since it was approved.
    Approval,
    /// Approvers who did not know of each other decided differently about a policy.
    Dispute,
    /// An office signed two histories.
    Fork,
}

/// Something that stays on the list, at all offices, until somebody decides it at one of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConflictView {
    /// Names it on every node, for as long as it is open.
    pub id: String,
    /// What kind of thing it is.
    pub kind: ConflictKind,
    /// What is the matter, in a sentence.
    pub problem: String,
    /// The event; empty for a fork.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The event's title, for people; of a fork the office's name.
    pub title: String,
    /// The field, if it is about one, as a JSON Pointer without the leading slash (`locations/1/name`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What was said. The first is what shows, or holds, everywhere until someone decides.
    pub values: Vec<ConflictValue>,
    /// What can be decided.
    pub choices: Vec<ChoiceView>,
}

/// One side of a conflict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConflictValue {
    /// What was written: the field's value; of several fields, an object with the value of each. Null where there
    /// would be none.
    pub value: Value,
    /// What it is, in a few words.
    pub what: String,
    /// Who wrote it.
    pub office: OfficeId,
    /// The office's name.
    pub name: String,
    /// Who of its people, if the office says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// When, by the author's clock (milliseconds since 1970).
    pub time: i64,
    /// In which entry.
    pub entry: EntryHash,
}

/// A way to decide.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChoiceView {
    /// What to answer; see [`super::Command::Resolve`].
    pub keep: Value,
    /// What that does, in a sentence.
    pub does: String,
}
