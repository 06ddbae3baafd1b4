//! "This and all that follow": an event cut in two at one of its occurrences, so that the second part can
//! be edited by itself (RFC 8984, 4.1.3).

use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::{SignedDuration, ToSpan as _};
use serde_json::{Value, json};

use crate::Object;
use crate::occurrences::{Series, SeriesError};
use crate::recurrence::{Rule, local_date_time};

/// Occurrences of both parts that are compared with those of the whole before it is said that they are
/// the same.
const COMPARED: usize = 200;

/// Why an event can't be split there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// It says no time.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// It has no such occurrence.
    #[error("expected one of the event's recurrence ids, found {0}")]
    NoOccurrence(DateTime),
    /// Nothing comes before it: the whole event can be edited instead.
    #[error("expected an occurrence after the first, found {0}")]
    IsFirst(DateTime),
    /// Two events can't say what the rules of the one say, as where one of several rules has its own
    /// step, or what it says can't be read whole.
    #[error("expected rules that go on in the same way from {0}")]
    NotTheSame(DateTime),
}

/// Splits an event at a recurrence id: the first part ends before it; the second, under a uid of its
/// own, starts there, and has the overrides from there on. The parts are linked by `relatedTo`: the
/// first part's `next` is the second, whose `first` is the first of all.
///
/// # Errors
/// [`SplitError`] where it is not an occurrence after the first, or where the parts would not have the
/// same occurrences as the whole.
pub fn split(
    event: &Object,
    recurrence_id: DateTime,
    uid_after: &str,
) -> Result<(Object, Object), SplitError> {
    let whole = Series::new(Arc::new(event.clone()))?;
    let start = whole.first();
    let just_it = recurrence_id..just_after(recurrence_id);
    if whole.recurrence_ids(just_it, 1).0.is_empty() {
        return Err(SplitError::NoOccurrence(recurrence_id));
    }
    if recurrence_id <= start {
        return Err(SplitError::IsFirst(recurrence_id));
    }
    if !whole.problems().is_empty() {
        return Err(SplitError::NotTheSame(recurrence_id));
    }

    let mut before = event.clone();
    let mut after = event.clone();
    for (name, starts_with_start) in [("recurrenceRules", true), ("excludedRecurrenceRules", false)]
    {
        let mut parts = Parts { start, at: recurrence_id, ..Parts::default() };
        for rule in event.get(name).and_then(Value::as_array).into_iter().flatten() {
            parts.add(rule, starts_with_start);
        }
        put(&mut before, name, parts.before.into());
        put(&mut after, name, parts.after.into());
    }
    let (earlier, later): (Object, Object) = event
        .get("recurrenceOverrides")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, patch)| (key.clone(), patch.clone()))
        .partition(|(key, _)| local_date_time(key).is_some_and(|id| id < recurrence_id));
    put(&mut before, "recurrenceOverrides", earlier.into());
    put(&mut after, "recurrenceOverrides", later.into());

    start_at(&mut after, start, recurrence_id);
    relate(&mut before, &mut after, uid_after);
    if !have_the_same(&whole, &before, &after, recurrence_id)? {
        return Err(SplitError::NotTheSame(recurrence_id));
    }
    Ok((before, after))
}

#[derive(Default)]
struct Parts {
    start: DateTime,
    at: DateTime,
    before: Vec<Value>,
    after: Vec<Value>,
}

impl Parts {
    fn add(&mut self, json: &Value, starts_with_start: bool) {
        let (Ok(rule), Some(object)) = (Rule::from_json(json, ""), json.as_object()) else {
            return;
        };
        let last = self.at.saturating_sub(1.second());
        let mut first = object.clone();
        first.shift_remove("count");
        if rule.until().is_none_or(|until| until > last) {
            first.insert("until".into(), last.to_string().into());
        }

        let mut second = object.clone();
        if let Some(count) = rule.count() {
            let all = if starts_with_start {
                rule.occurrences(self.start)
            } else {
                rule.exclusions(self.start)
            };
            let used = all.take_while(|id| *id < self.at).count() as u64;
            second.insert("count".into(), (count - used).into());
            if used == count {
                first = object.clone();
            }
        }
        say_what_is_implied(&mut second, &rule, self.start, self.at);
        self.before.push(first.into());
        let is_over = rule.until().is_some_and(|until| until < self.at)
            || second.get("count").is_some_and(|count| count == 0);
        if !is_over {
            self.after.push(second.into());
        }
    }
}

/// Writes out what a rule took from its start, where it would take something else from the new one: a
/// rule for the 31st, moved to the last day of shorter months, must not go on for the 28th.
fn say_what_is_implied(json: &mut Object, rule: &Rule, old: DateTime, new: DateTime) {
    let implied = rule.implied(old);
    if implied == rule.implied(new) {
        return;
    }
    json.extend(implied);
}

/// Sets the start, and for tasks what hangs on it.
fn start_at(event: &mut Object, old: DateTime, new: DateTime) {
    let moved = |value: &Value| {
        let time = local_date_time(value.as_str()?)?;
        time.checked_add(new.duration_since(old)).ok()
    };
    for name in ["start", "due"] {
        if let Some(time) = event.get(name).and_then(moved) {
            event.insert(name.into(), time.to_string().into());
        }
    }
}

/// RFC 8984, 4.1.3: the part before gets a `next`, the part after the `first` of all. What came next
/// before comes after the new part now.
fn relate(before: &mut Object, after: &mut Object, uid_after: &str) {
    let uid = before.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned();
    let related = |event: &Object, relation: &str| {
        let all = event.get("relatedTo").and_then(Value::as_object)?;
        let has =
            |item: &Value| item.get("relation").and_then(|r| r.get(relation)) == Some(&true.into());
        all.iter().find(|(_, item)| has(item)).map(|(uid, _)| uid.clone())
    };
    let first = related(before, "first").unwrap_or(uid);
    if let Some(next) = related(before, "next")
        && let Some(Value::Object(relations)) = before.get_mut("relatedTo")
    {
        relations.shift_remove(&next);
    }
    after.insert("uid".into(), uid_after.into());
    set_relation(before, uid_after, "next");
    set_relation(after, &first, "first");
}

fn set_relation(event: &mut Object, uid: &str, relation: &str) {
    let all = event.entry("relatedTo").or_insert_with(|| json!({}));
    if !all.is_object() {
        *all = json!({});
    }
    let item = &mut all[uid];
    if !item.is_object() {
        *item = json!({ "@type": "Relation" });
    }
    if !item["relation"].is_object() {
        item["relation"] = json!({});
    }
    item["relation"][relation] = true.into();
}

fn put(event: &mut Object, name: &str, value: Value) {
    let is_empty = match &value {
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    };
    if is_empty {
        event.shift_remove(name);
    } else {
        event.insert(name.into(), value);
    }
}

/// Whether the parts have what the whole has: all before, and as much as is compared from there on.
fn have_the_same(
    whole: &Series,
    before: &Object,
    after: &Object,
    at: DateTime,
) -> Result<bool, SplitError> {
    let ids = |series: &Series, from, to, max| series.recurrence_ids(from..to, max);
    let before = Series::new(Arc::new(before.clone()))?;
    let after = Series::new(Arc::new(after.clone()))?;
    let earliest = DateTime::MIN;
    let near = at.saturating_sub(SignedDuration::from_hours(24 * 366 * 2));
    Ok(ids(whole, earliest, at, COMPARED) == ids(&before, earliest, at, COMPARED)
        && ids(whole, near, at, COMPARED * 10) == ids(&before, near, at, COMPARED * 10)
        && ids(&before, at, DateTime::MAX, 1).0.is_empty()
        && ids(&after, earliest, at, 1).0.is_empty()
        && ids(whole, at, DateTime::MAX, COMPARED) == ids(&after, at, DateTime::MAX, COMPARED))
}

fn just_after(at: DateTime) -> DateTime {
    at.saturating_add(1.nanosecond())
}
