//! Policy events: what a publisher says, and the edit of the calendar that it means. A policy is one
//! event of the calendar, `policy-<ID>`, which every publication about it changes field by field, so
//! that two offices that publish different things about it at once keep both.

use jiff::civil::Date;
use serde_json::{Value, json};

use crate::command::{CommandError, Object};

/// The calendar that policies are in.
pub const POLICIES: &str = "policies";

/// What happened to the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// It begins on a day. Makes the event, or moves it.
    Start,
    /// Something about it changed.
    Update,
    /// It ends on a day.
    End,
    /// It won't take place.
    Cancel,
}

impl PolicyKind {
    const ALL: [Self; 4] = [Self::Start, Self::Update, Self::End, Self::Cancel];

    /// As publishers write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "policy_start",
            Self::Update => "policy_update",
            Self::End => "policy_end",
            Self::Cancel => "policy_cancel",
        }
    }
}

impl std::str::FromStr for PolicyKind {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            invalid(
                "type",
                format!(
                    "{text:?} is not one of policy_start, policy_update, policy_end, policy_cancel"
                ),
            )
        })
    }
}

/// A publication about a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyEvent {
    /// What happened.
    pub kind: PolicyKind,
    /// The publisher's number for the policy, such as `YSP-2024`.
    pub policy: String,
    /// Its first day.
    pub start: Option<Date>,
    /// Its last day.
    pub end: Option<Date>,
    /// What people call it.
    pub title: Option<String>,
    /// Whatever else the publisher says; kept as it is.
    pub data: Object,
}

impl PolicyEvent {
    /// From `{"type", "payload": {"policy_id", "start_date", ...}}`, or from a CloudEvent 1.0 in JSON,
    /// where the payload is called `data`.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] naming the field.
    pub fn from_json(value: Value) -> Result<Self, CommandError> {
        let Value::Object(mut envelope) = value else {
            return Err(invalid("", "expected a JSON object with \"type\" and \"payload\"".into()));
        };
        let is_cloud_event = envelope.contains_key("specversion");
        if is_cloud_event {
            if envelope.get("specversion") != Some(&json!("1.0")) {
                return Err(invalid("specversion", "only CloudEvents 1.0 are understood".into()));
            }
            for required in ["id", "source"] {
                let text = envelope.get(required).and_then(Value::as_str);
                if text.is_none_or(str::is_empty) {
                    return Err(invalid(required, "CloudEvents require a non-empty string".into()));
                }
            }
        }
        let payload_key = if is_cloud_event { "data" } else { "payload" };
        let kind = match envelope.get("type") {
            Some(Value::String(kind)) => kind.parse()?,
            _ => return Err(invalid("type", "missing; for example \"policy_start\"".into())),
        };
        let Some(Value::Object(payload)) = envelope.remove(payload_key) else {
            return Err(invalid(payload_key, "expected an object such as {\"policy_id\": \"YSP-2024\", \"start_date\": \"2024-04-01\"}".into()));
        };
        Self::new(kind, payload).map_err(|error| match error {
            CommandError::Invalid { path, problem } => {
                invalid(&format!("{payload_key}/{path}"), problem)
            }
            other => other,
        })
    }

    /// From the fields of a payload.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] naming the field.
    pub fn new(kind: PolicyKind, mut payload: Object) -> Result<Self, CommandError> {
        let policy = match payload.shift_remove("policy_id") {
            Some(Value::String(id)) if is_policy_id(&id) => id,
            Some(_) => {
                return Err(invalid(
                    "policy_id",
                    "expected 1 to 200 letters, digits, '-', '_', '.' or ':'".into(),
                ));
            }
            None => return Err(invalid("policy_id", "missing; for example \"YSP-2024\"".into())),
        };
        let start = take_date(&mut payload, "start_date")?;
        let end = take_date(&mut payload, "end_date")?;
        let title = match payload.shift_remove("title") {
            None | Some(Value::Null) => None,
            Some(Value::String(title)) => Some(title),
            Some(_) => return Err(invalid("title", "expected a string".into())),
        };
        if kind == PolicyKind::Start && start.is_none() {
            return Err(invalid(
                "start_date",
                "missing: a policy_start needs the day, such as \"2024-04-01\"".into(),
            ));
        }
        if kind == PolicyKind::End && end.is_none() {
            return Err(invalid(
                "end_date",
                "missing: a policy_end needs the day, such as \"2024-12-31\"".into(),
            ));
        }
        if let (Some(start), Some(end)) = (start, end)
            && end < start
        {
            return Err(invalid("end_date", format!("{end} is before the start, {start}")));
        }
        Ok(Self { kind, policy, start, end, title, data: payload })
    }

    /// The event that it is about.
    pub fn uid(&self) -> String {
        uid(&self.policy)
    }

    /// What it changes, as a JSON Merge Patch, given the event as it is now.
    ///
    /// # Errors
    /// [`CommandError::UnknownEvent`] for anything but a start, if there is no such policy;
    /// [`CommandError::Invalid`] if it would end before it starts.
    pub fn patch(&self, present: Option<&Object>) -> Result<Object, CommandError> {
        let mut patch = Object::new();
        match present {
            None if self.kind != PolicyKind::Start => {
                return Err(CommandError::UnknownEvent(self.uid()));
            }
            None => {
                patch.insert("@type".into(), json!("Event"));
                patch.insert("title".into(), json!(self.title.as_deref().unwrap_or(&self.policy)));
                patch.insert("showWithoutTime".into(), json!(true));
                patch.insert("fasti:calendar".into(), json!(POLICIES));
            }
            Some(_) => {
                if let Some(title) = &self.title {
                    patch.insert("title".into(), json!(title));
                }
            }
        }
        let known = |field: &str| {
            present
                .and_then(|event| event.get("fasti:policy")?.get(field)?.as_str())
                .and_then(|day| day.parse::<Date>().ok())
        };
        let start = self.start.or_else(|| known("start"));
        let end = self.end.or_else(|| known("end"));
        let mut policy = Object::new();
        policy.insert("id".into(), json!(self.policy));
        policy.insert("type".into(), json!(self.kind.as_str()));
        if let Some(start) = self.start {
            policy.insert("start".into(), json!(start.to_string()));
            patch.insert("start".into(), json!(format!("{start}T00:00:00")));
        }
        if let Some(end) = self.end {
            policy.insert("end".into(), json!(end.to_string()));
        }
        if let Some(start) = start {
            patch.insert("duration".into(), json!(days(start, end)?));
        }
        if !self.data.is_empty() {
            policy.insert("payload".into(), Value::Object(self.data.clone()));
        }
        patch.insert("fasti:policy".into(), Value::Object(policy));
        let status = if self.kind == PolicyKind::Cancel { "cancelled" } else { "confirmed" };
        // An update of a cancelled policy doesn't bring it back: only a new start does.
        if matches!(self.kind, PolicyKind::Start | PolicyKind::Cancel) {
            patch.insert("status".into(), json!(status));
        }
        Ok(patch)
    }
}

/// The event of a policy with this number.
pub(crate) fn uid(id: &str) -> String {
    format!("policy-{id}")
}

/// The number of a policy, by its event.
pub(crate) fn id_of(uid: &str) -> Option<&str> {
    uid.strip_prefix("policy-").filter(|id| is_policy_id(id))
}

/// The duration of whole days from the first to the last, which counts; one day if there is no end.
fn days(start: Date, end: Option<Date>) -> Result<String, CommandError> {
    let Some(end) = end else { return Ok("P1D".into()) };
    if end < start {
        return Err(invalid(
            "end_date",
            format!("the policy would end on {end}, before its start on {start}"),
        ));
    }
    let days = start.until(end).map_or(0, |span| span.get_days());
    Ok(format!("P{}D", days + 1))
}

fn is_policy_id(id: &str) -> bool {
    (1..=200).contains(&id.len())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'))
}

fn take_date(payload: &mut Object, field: &str) -> Result<Option<Date>, CommandError> {
    match payload.shift_remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() == 10 => match text.parse() {
            Ok(date) => Ok(Some(date)),
            Err(_) => Err(not_a_date(field)),
        },
        Some(_) => Err(not_a_date(field)),
    }
}

fn not_a_date(field: &str) -> CommandError {
    invalid(field, "expected a day that exists, as YYYY-MM-DD".into())
}

fn invalid(path: &str, problem: String) -> CommandError {
    CommandError::Invalid { path: path.into(), problem }
}
