//! The guard before Automerge. Automerge panics on, or is corrupted by, crafted changes that hash right;
//! so a change is applied only if it is exactly what an honest program could have written at its place:
//! every check here is a function of the change and of what lies under its entry, so that all nodes
//! decide alike. Leaves signatures and membership to whoever calls it.

use std::collections::{BTreeMap, BTreeSet};

use automerge::legacy::{Key, ObjectId, OpType};
use automerge::{Change, ObjType, ScalarValue};

use crate::columns;
use crate::document::{ChangePlace, Document, ex_id, object_id};
use crate::event::{FIELDS_MAX, Leaf, is_path, is_uid};

/// Most operations in one change: every field of the largest event, written and removed.
const OPS_MAX: usize = 2 * FIELDS_MAX + 1;

/// A change that may be applied.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) change: Change,
    /// The events that it touches, with the fields that it writes; for a new event none, as
    /// nothing can be in conflict in it.
    pub(crate) touched: BTreeMap<String, Touched>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// The change makes the event's map, and there was none.
    pub(crate) created: bool,
    /// The change makes a map beside those of others who created the same event at once.
    pub(crate) beside: bool,
    /// The fields that it writes.
    pub(crate) paths: BTreeSet<String>,
}

/// Checks the bytes of a change. May flush the document.
pub(crate) fn check(
    document: &mut Document,
    bytes: &[u8],
    place: &ChangePlace,
) -> Result<Checked, &'static str> {
    // An uncompressed change chunk: magic bytes, checksum, type 1. Type 2 is a deflated one, which can
    // inflate to anything.
    if bytes.len() < 9 || bytes[..4] != [0x85, 0x6f, 0x4a, 0x83] || bytes[8] != 1 {
        return Err("not an uncompressed change chunk");
    }
    columns::check(bytes)?;
    // What is known to make Automerge panic is caught above; what is not must not end a node either.
    // Nothing is shared with what unwinds.
    let (change, expanded) = std::panic::catch_unwind(|| decode(bytes, place))
        .unwrap_or(Err("Automerge can't cope with it"))?;
    let touched = check_operations(document, &expanded, place)?;
    Ok(Checked { change, touched })
}

fn decode(
    bytes: &[u8],
    place: &ChangePlace,
) -> Result<(Change, automerge::ExpandedChange), &'static str> {
    let change = Change::from_bytes(bytes.to_vec()).map_err(|_| "not a change")?;
    if change.raw_bytes() != bytes {
        return Err("something besides the change");
    }
    check_place(&change, place)?;
    let expanded = change.decode();
    if expanded.author.is_some() || expanded.message.is_some() || !expanded.extra_bytes.is_empty() {
        return Err("a message, an author or extra bytes");
    }
    let operations = expanded.operations.len();
    if !(1..=OPS_MAX).contains(&operations) {
        return Err("too many operations, or none");
    }
    // Also catches a wrong checksum, columns out of order, and whatever else is not canonical.
    let again: Change = expanded.clone().into();
    if again.raw_bytes() != bytes {
        return Err("not canonically encoded");
    }
    Ok((change, expanded))
}

fn check_place(change: &Change, place: &ChangePlace) -> Result<(), &'static str> {
    if *change.actor_id() != place.actor {
        return Err("another actor");
    }
    if change.seq() != place.seq {
        return Err("not the next change of its actor");
    }
    if change.start_op().get() != place.start_op {
        return Err("operation counters don't follow the dependencies");
    }
    if change.deps() != place.deps {
        return Err("dependencies are not the latest changes under the entry");
    }
    if change.timestamp() != place.time {
        return Err("another time than the entry's");
    }
    Ok(())
}

fn check_operations(
    document: &mut Document,
    change: &automerge::ExpandedChange,
    place: &ChangePlace,
) -> Result<BTreeMap<String, Touched>, &'static str> {
    let mut touched: BTreeMap<String, Touched> = BTreeMap::new();
    // Maps that this change makes, by the counter of the operation that does.
    let mut made: BTreeMap<u64, String> = BTreeMap::new();
    // Every key at most once, so that predecessors never lie in the change itself.
    let mut written: BTreeSet<(&ObjectId, &str)> = BTreeSet::new();
    for (counter, op) in (place.start_op..).zip(&change.operations) {
        let Key::Map(key) = &op.key else { return Err("a list operation") };
        if op.insert || !written.insert((&op.obj, key)) {
            return Err("a field written twice");
        }
        match &op.action {
            OpType::Make(ObjType::Map) => {
                let beside =
                    check_new_event(document, &op.obj, key, !op.pred.is_empty(), &place.deps)?;
                made.insert(counter, key.to_string());
                let touched = touched.entry(key.to_string()).or_default();
                touched.created = !beside;
                touched.beside = beside;
            }
            OpType::Put(_) | OpType::Delete => {
                if !is_path(key) {
                    return Err("not a field's path");
                }
                if let OpType::Put(value) = &op.action {
                    check_value(value)?;
                }
                let ObjectId::Id(map) = &op.obj else { return Err("a field outside of an event") };
                if *map.actor() == place.actor && map.counter() >= place.start_op {
                    let uid = made.get(&map.counter()).ok_or("an unknown object")?;
                    if matches!(op.action, OpType::Delete) || !op.pred.is_empty() {
                        return Err("predecessors in a new event");
                    }
                    touched.entry(uid.clone()).or_default().paths.insert(key.to_string());
                } else {
                    let uid = check_edit(document, op, map, key, &place.deps)?;
                    touched.entry(uid).or_default().paths.insert(key.to_string());
                }
            }
            OpType::Make(_) | OpType::Increment(_) | OpType::MarkBegin(_) | OpType::MarkEnd(_) => {
                return Err("a kind of operation that no event needs");
            }
        }
    }
    Ok(touched)
}

/// An event may be created where there is none under the change. There is none there if there is none
/// here, as maps never go; if there is one here, it must be a concurrent one. Says whether there is.
fn check_new_event(
    document: &mut Document,
    bucket: &ObjectId,
    uid: &str,
    has_predecessors: bool,
    deps: &[automerge::ChangeHash],
) -> Result<bool, &'static str> {
    if !is_uid(uid) {
        return Err("not a uid");
    }
    if object_id(document.bucket_at(uid)) != *bucket {
        return Err("an event outside of its bucket");
    }
    if has_predecessors {
        return Err("an event made over another");
    }
    if document.is_staged(uid) {
        document.flush().map_err(|_| "the changes before it can't be applied")?;
    }
    let beside = !document.maps(uid, None).is_empty();
    if beside {
        flush_for(document, deps)?;
        if !document.maps(uid, Some(deps)).is_empty() {
            return Err("an event that exists already");
        }
    }
    Ok(beside)
}

/// Reading the document as of these changes needs all of them applied.
fn flush_for(document: &mut Document, deps: &[automerge::ChangeHash]) -> Result<(), &'static str> {
    if deps.iter().any(|dep| document.is_staged_change(&dep.0)) {
        document.flush().map_err(|_| "the changes before it can't be applied")?;
    }
    Ok(())
}

fn check_edit(
    document: &mut Document,
    op: &automerge::legacy::Op,
    map: &automerge::legacy::OpId,
    path: &str,
    deps: &[automerge::ChangeHash],
) -> Result<String, &'static str> {
    let map = ex_id(map);
    if document.uid_of(&map).is_none() {
        document.flush().map_err(|_| "the changes before it can't be applied")?;
    }
    flush_for(document, deps)?;
    let uid = document.uid_of(&map).ok_or("an unknown object")?;
    if document.is_staged(&uid) {
        document.flush().map_err(|_| "the changes before it can't be applied")?;
    }
    if !document.maps(&uid, Some(deps)).contains(&map) {
        return Err("an object from outside of the change's past");
    }
    let mut there: Vec<_> = document.ids(&map, path, Some(deps));
    there.sort();
    let mut pred: Vec<_> = op.pred.iter().map(ex_id).collect();
    pred.sort();
    if there != pred {
        return Err("predecessors are not what is there");
    }
    if matches!(op.action, OpType::Delete) && pred.is_empty() {
        return Err("a removal of nothing");
    }
    Ok(uid)
}

fn check_value(value: &ScalarValue) -> Result<(), &'static str> {
    match value {
        ScalarValue::Boolean(_) | ScalarValue::Int(_) | ScalarValue::Str(_) => Ok(()),
        ScalarValue::F64(value) if value.is_finite() => Ok(()),
        ScalarValue::Bytes(bytes) if Leaf::is_canonical_json(bytes) => Ok(()),
        _ => Err("a value that no field holds"),
    }
}
