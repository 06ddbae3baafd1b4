//! Events as JSCalendar objects (RFC 8984) and as the flat fields in which they are merged. A field is
//! a leaf of the JSON tree, named by its JSON Pointer (RFC 6901) without the leading slash, as in a
//! JSCalendar PatchObject: `locations/1/name`. Arrays and empty objects are leaves: JSCalendar uses
//! maps with ids wherever parts are edited apart. Leaves merging to `document`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use sha2::{Digest as _, Sha256};

use crate::command::{CommandError, Object};

/// Longest uid in bytes: the recommendation of RFC 7986 for UIDs.
pub const UID_BYTES_MAX: usize = 255;
/// Longest path of a field in bytes.
pub const PATH_BYTES_MAX: usize = 1024;
/// Most fields of an event.
pub const FIELDS_MAX: usize = 4096;
/// How deep objects and arrays may be nested.
const DEPTH_MAX: usize = 32;

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Leaf {
    /// A boolean.
    Bool(bool),
    /// A number without a fraction.
    Int(i64),
    /// A finite number that is written with a fraction or an exponent.
    Float(f64),
    /// A string.
    Text(String),
    /// An array, an empty object, or null in a PatchObject, as canonical JSON: no spaces, keys sorted.
    Json(#[serde(with = "serde_bytes")] Vec<u8>),
}

impl Leaf {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::from(*value),
            Self::Float(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            Self::Text(value) => Value::String(value.clone()),
            Self::Json(bytes) => serde_json::from_slice(bytes).unwrap_or(Value::Null),
        }
    }

    /// Whether it is one of the values that [`flatten`] gives.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Bool(_) | Self::Int(_) | Self::Text(_) => true,
            Self::Float(value) => value.is_finite(),
            Self::Json(bytes) => serde_json::from_slice::<Value>(bytes).is_ok_and(|value| {
                let is_leaf = match &value {
                    Value::Array(_) | Value::Null => true,
                    Value::Object(object) => object.is_empty(),
                    _ => false,
                };
                is_leaf && canonical(value) == *bytes
            }),
        }
    }
}

/// An event as its fields.
pub type Flat = BTreeMap<String, Leaf>;

/// What to write: fields with their new values, or `None` for those that go.
pub type FieldEdits = BTreeMap<String, Option<Leaf>>;

fn invalid(path: &str, problem: impl Into<String>) -> CommandError {
    CommandError::Invalid { path: path.into(), problem: problem.into() }
}

fn join(prefix: &str, key: &str) -> String {
    let key = key.replace('~', "~0").replace('/', "~1");
    if prefix.is_empty() { key } else { format!("{prefix}/{key}") }
}

/// Canonical JSON: no spaces, keys sorted, arrays in their order.
pub fn canonical(mut value: Value) -> Vec<u8> {
    value.sort_all_objects();
    serde_json::to_vec(&value).unwrap_or_default()
}

fn leaf(path: &str, value: Value) -> Result<Leaf, CommandError> {
    match value {
        Value::Bool(value) => Ok(Leaf::Bool(value)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => Ok(Leaf::Int(int)),
            (None, Some(float)) if !number.is_u64() && float.is_finite() => Ok(Leaf::Float(float)),
            _ => Err(invalid(path, "the number is outside of the 64-bit range")),
        },
        Value::String(text) => Ok(Leaf::Text(text)),
        other => Ok(Leaf::Json(canonical(other))),
    }
}

/// The fields of an object. Null members are absent ones, as JSCalendar has it, but for PatchObjects.
///
/// # Errors
/// [`CommandError::Invalid`] for what no event can hold.
pub fn flatten(object: &Object) -> Result<Flat, CommandError> {
    let mut flat = Flat::new();
    flatten_into(&mut flat, "", object, 0)?;
    if flat.len() > FIELDS_MAX {
        return Err(invalid("", format!("an event has at most {FIELDS_MAX} fields")));
    }
    Ok(flat)
}

fn flatten_into(
    flat: &mut Flat,
    prefix: &str,
    object: &Object,
    depth: usize,
) -> Result<(), CommandError> {
    for (key, value) in object {
        let path = checked_path(prefix, key, depth)?;
        match value {
            Value::Null if !is_patch(&path) => {}
            Value::Object(inner) if !inner.is_empty() => {
                flatten_into(flat, &path, inner, depth + 1)?;
            }
            other => {
                check_depth(&path, other, depth)?;
                let leaf = leaf(&path, other.clone())?;
                flat.insert(path, leaf);
            }
        }
    }
    Ok(())
}

/// Whether a member is inside of a PatchObject (RFC 8984, 1.4.9), where null says that a property goes.
fn is_patch(path: &str) -> bool {
    let mut parts = path.split('/');
    matches!(parts.next(), Some("recurrenceOverrides" | "localizations")) && parts.count() >= 2
}

fn checked_path(prefix: &str, key: &str, depth: usize) -> Result<String, CommandError> {
    let path = join(prefix, key);
    if depth >= DEPTH_MAX {
        return Err(invalid(prefix, format!("nested deeper than {DEPTH_MAX} levels")));
    }
    if !is_path(&path) {
        return Err(invalid(
            prefix,
            format!(
                "property names are 1 to {PATH_BYTES_MAX} bytes with their parents', without control characters"
            ),
        ));
    }
    Ok(path)
}

fn check_depth(path: &str, value: &Value, depth: usize) -> Result<(), CommandError> {
    if depth > DEPTH_MAX {
        return Err(invalid(path, format!("nested deeper than {DEPTH_MAX} levels")));
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check_depth(path, item, depth + 1)),
        Value::Object(object) => {
            object.values().try_for_each(|item| check_depth(path, item, depth + 1))
        }
        _ => Ok(()),
    }
}

/// Whether a text can name a field.
pub(crate) fn is_path(path: &str) -> bool {
    (1..=PATH_BYTES_MAX).contains(&path.len())
        && path.split('/').count() <= DEPTH_MAX
        && path.split('/').all(|part| !part.is_empty())
        && !path.chars().any(char::is_control)
}

/// The fields that say how an event, or a task, stands.
pub(crate) const STATUSES: [&str; 2] = ["status", "progress"];

/// Which of them an event has.
pub(crate) fn status_of(event: &Object) -> &'static str {
    let is_task = event.get("@type").is_some_and(|it| it == "Task");
    STATUSES[usize::from(is_task)]
}

pub(crate) fn is_status(path: &str) -> bool {
    STATUSES.contains(&path)
}

/// Whether an event is cancelled.
pub(crate) fn takes_no_place(event: &Object) -> bool {
    event.get(status_of(event)).is_some_and(|status| status == "cancelled")
}

/// Whether a field only says how the event was written in another program.
pub(crate) fn is_kept(path: &str) -> bool {
    path.starts_with("fasti:icalendar/")
}

/// Whether a status says that an event doesn't take place.
pub(crate) fn is_cancelled(status: &Leaf) -> bool {
    matches!(status, Leaf::Text(text) if text == "cancelled")
}

/// Whether a text can name an event.
pub fn is_uid(uid: &str) -> bool {
    (1..=UID_BYTES_MAX).contains(&uid.len())
        && !uid.chars().any(char::is_control)
        && uid.trim() == uid
        && uid != "."
        && uid != ".."
}

/// The object again. Where one side made a member a leaf and the other put something into it, what is
/// inside shows: it says more.
pub fn unflatten<'a>(fields: impl IntoIterator<Item = (&'a String, &'a Leaf)>) -> Object {
    let mut object = Object::new();
    for (path, leaf) in fields {
        let mut at = &mut object;
        let mut parts = path.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
        let Some(mut key) = parts.next() else { continue };
        for next in parts {
            let slot = at.entry(key).or_insert(Value::Null);
            if !slot.is_object() {
                *slot = Value::Object(Object::new());
            }
            let Value::Object(inner) = slot else { unreachable!("made an object above") };
            at = inner;
            key = next;
        }
        let slot = at.entry(key).or_insert(Value::Null);
        // Sorted order brings a leaf before what lies under it, with few exceptions.
        if slot.as_object().is_none_or(|inner| inner.is_empty()) {
            *slot = leaf.to_json();
        }
    }
    object
}

/// An event's entity tag: equal exactly where the same is shown.
pub fn etag(event: &Object) -> String {
    let hash = Sha256::digest(canonical(Value::Object(event.clone())));
    hex::encode(&hash[..8])
}

/// The edits that make `present` into `wanted`.
pub fn replace(present: &Flat, wanted: &Flat) -> FieldEdits {
    let gone =
        present.keys().filter(|path| !wanted.contains_key(*path)).map(|path| (path.clone(), None));
    let set = wanted
        .iter()
        .filter(|(path, leaf)| present.get(*path) != Some(leaf))
        .map(|(path, leaf)| (path.clone(), Some(leaf.clone())));
    gone.chain(set).collect()
}

/// The edits that make these members of one state of an event into those of another.
///
/// # Errors
/// [`CommandError::Invalid`] for what no event can hold.
pub fn replace_members(
    names: &BTreeSet<&str>,
    present: &Object,
    wanted: &Object,
) -> Result<FieldEdits, CommandError> {
    let of = |object: &Object| {
        let members = object.iter().filter(|(name, _)| names.contains(name.as_str()));
        flatten(&members.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    Ok(replace(&of(present)?, &of(wanted)?))
}

/// Edits of another state of an event, as edits of this one: only what differs, and nothing beside what it can't stand
/// beside.
pub fn carried_over(present: &Flat, edits: &FieldEdits) -> FieldEdits {
    let mut carried = FieldEdits::new();
    for (path, leaf) in edits {
        let Some(leaf) = leaf else {
            if present.contains_key(path) {
                carried.entry(path.clone()).or_insert(None);
            }
            continue;
        };
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        let above = above.filter(|it| present.contains_key(*it)).map(str::to_owned);
        let beneath = under(present, path).map(|(path, _)| path.clone());
        for other in above.chain(beneath) {
            carried.entry(other).or_insert(None);
        }
        if present.get(path) != Some(leaf) {
            carried.insert(path.clone(), Some(leaf.clone()));
        }
    }
    carried
}

/// The edits that a JSON Merge Patch (RFC 7396) makes: only what differs, so that concurrent edits of
/// other fields survive.
///
/// # Errors
/// [`CommandError::Invalid`] for what no event can hold.
pub fn merge_patch(present: &Flat, patch: &Object) -> Result<FieldEdits, CommandError> {
    let mut edits = FieldEdits::new();
    patch_into(&mut edits, present, "", patch, 0)?;
    Ok(edits)
}

fn patch_into(
    edits: &mut FieldEdits,
    present: &Flat,
    prefix: &str,
    patch: &Object,
    depth: usize,
) -> Result<(), CommandError> {
    for (key, value) in patch {
        let path = checked_path(prefix, key, depth)?;
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                if present.contains_key(&path) {
                    edits.insert(path.clone(), None);
                }
                patch_into(edits, present, &path, inner, depth + 1)?;
            }
            // An empty patch of a member that is already an object changes nothing.
            Value::Object(_) if under(present, &path).next().is_some() => {}
            _ => {
                edits.extend(under(present, &path).map(|(path, _)| (path.clone(), None)));
                if value.is_null() {
                    if present.contains_key(&path) {
                        edits.insert(path, None);
                    }
                    continue;
                }
                check_depth(&path, value, depth)?;
                let leaf = leaf(&path, value.clone())?;
                if present.get(&path) != Some(&leaf) {
                    edits.insert(path, Some(leaf));
                }
            }
        }
    }
    Ok(())
}

/// The fields inside of a member.
fn under<'a>(flat: &'a Flat, path: &str) -> impl Iterator<Item = (&'a String, &'a Leaf)> {
    let prefix = format!("{path}/");
    flat.range(prefix.clone()..).take_while(move |(path, _)| path.starts_with(&prefix))
}

/// Checks an event against RFC 8984, as far as its properties are known; unknown ones pass. So do those
/// that stand as they stood `before` the edit: what another program let in must not keep anybody from
/// editing the rest.
///
/// # Errors
/// [`CommandError::Invalid`] naming the first property that is wrong.
pub fn validate(event: &Object, before: Option<&Object>) -> Result<(), CommandError> {
    let changed = |name: &str| before.is_none_or(|before| before.get(name) != event.get(name));
    let kind = event.get("@type").and_then(Value::as_str);
    if changed("@type") && !matches!(kind, Some("Event" | "Task")) {
        return Err(invalid("@type", "expected \"Event\" or \"Task\" (groups are not kept)"));
    }
    if changed("start") {
        match event.get("start") {
            Some(Value::String(start)) if is_local_date_time(start) => {}
            None if kind == Some("Task") => {}
            None => {
                return Err(invalid(
                    "start",
                    "missing: expected a local date-time such as \"2024-04-01T00:00:00\"",
                ));
            }
            Some(_) => {
                return Err(invalid(
                    "start",
                    "expected a local date-time such as \"2024-04-01T00:00:00\", without zone (that goes into timeZone)",
                ));
            }
        }
    }
    for (name, check, expected) in CHECKS {
        if let Some(value) = event.get(*name)
            && !value.is_null()
            && changed(name)
            && !check(value)
        {
            return Err(invalid(name, format!("expected {expected}")));
        }
    }
    Ok(())
}

type Check = (&'static str, fn(&Value) -> bool, &'static str);

/// The properties of RFC 8984 whose type a program would trip over.
const CHECKS: &[Check] = &[
    ("uid", is_text, "a string"),
    ("title", is_text, "a string"),
    ("description", is_text, "a string"),
    ("descriptionContentType", is_text, "a media type such as \"text/plain\""),
    (
        "duration",
        is_duration,
        "a duration of weeks, days, hours, minutes and seconds such as \"P1D\" or \"PT1H30M\"",
    ),
    ("due", is_local, "a local date-time such as \"2024-04-01T17:00:00\""),
    ("estimatedDuration", is_duration, "a duration such as \"PT1H30M\""),
    (
        "percentComplete",
        |value| value.as_i64().is_some_and(|n| (0..=100).contains(&n)),
        "a number from 0 to 100",
    ),
    (
        "progress",
        |value| one_of(value, &["needs-action", "in-process", "completed", "failed", "cancelled"]),
        "needs-action, in-process, completed, failed or cancelled",
    ),
    ("timeZone", is_text, "an IANA time zone such as \"America/Denver\""),
    ("showWithoutTime", Value::is_boolean, "true or false"),
    (
        "status",
        |value| one_of(value, &["confirmed", "cancelled", "tentative"]),
        "confirmed, cancelled or tentative",
    ),
    ("freeBusyStatus", |value| one_of(value, &["free", "busy"]), "free or busy"),
    (
        "privacy",
        |value| one_of(value, &["public", "private", "secret"]),
        "public, private or secret",
    ),
    (
        "priority",
        |value| value.as_i64().is_some_and(|n| (0..=9).contains(&n)),
        "a number from 0 to 9",
    ),
    ("sequence", |value| value.as_i64().is_some_and(|n| n >= 0), "a number from 0"),
    ("recurrenceRules", is_array_of_objects, "an array of RecurrenceRule objects"),
    ("excludedRecurrenceRules", is_array_of_objects, "an array of RecurrenceRule objects"),
    ("recurrenceOverrides", is_map_of_objects, "an object of PatchObjects by local date-time"),
    ("locations", is_map_of_objects, "an object of Location objects by id"),
    ("virtualLocations", is_map_of_objects, "an object of VirtualLocation objects by id"),
    ("participants", is_map_of_objects, "an object of Participant objects by id"),
    ("alerts", is_map_of_objects, "an object of Alert objects by id"),
    ("links", is_map_of_objects, "an object of Link objects by id"),
    ("keywords", is_set, "an object of true by keyword"),
    ("categories", is_set, "an object of true by category"),
];

fn is_local(value: &Value) -> bool {
    value.as_str().is_some_and(is_local_date_time)
}

fn is_text(value: &Value) -> bool {
    value.is_string()
}

fn one_of(value: &Value, allowed: &[&str]) -> bool {
    value.as_str().is_some_and(|text| allowed.contains(&text))
}

fn is_array_of_objects(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_object))
}

fn is_map_of_objects(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(Value::is_object))
}

fn is_set(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(|value| value == &Value::Bool(true)))
}

/// RFC 8984, 1.4.4: no zone, seconds always there.
fn is_local_date_time(text: &str) -> bool {
    text.len() >= 19
        && text.as_bytes()[10] == b'T'
        && text.parse::<DateTime>().is_ok()
        && !text.contains(['Z', 'z', '+', '['])
}

/// RFC 8984, 1.4.6: not negative, no months or years.
fn is_duration(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    text.starts_with('P')
        && text.parse::<jiff::Span>().is_ok_and(|span| {
            !span.is_negative() && span.get_years() == 0 && span.get_months() == 0
        })
}

/// When an event starts and ends, on its own clock; of a task, when it starts or is due. For listing by date;
/// recurrences count once.
pub fn local_span(event: &Object) -> Option<(DateTime, DateTime)> {
    let start = event.get("start").or_else(|| event.get("due"))?;
    let start: DateTime = start.as_str()?.parse().ok()?;
    let end = event
        .get("duration")
        .and_then(Value::as_str)
        .and_then(|text| text.parse::<jiff::Span>().ok())
        .and_then(|span| start.checked_add(span).ok())
        .unwrap_or(start);
    Some((start, end))
}
