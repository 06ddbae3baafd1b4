//! The calendar as one Automerge document.
//!
//! ```text
//! root ─ events ─ 000 … 3ff      1,024 buckets, made by a genesis change that is the same everywhere
//!                  └ <uid>       one map for each event, in the bucket of the uid's hash
//!                     └ <path>   one scalar for each field (see `event`)
//! ```
//! The buckets keep maps small, so that one change costs what it changes, up to 100,000 events. Two offices
//! that create the same uid at once make two maps, of which Automerge shows one; here an event is
//! the sum of all maps under its uid, field by field, so that neither hides the other. In a field
//! the operation with the highest id wins (counter, then actor), in Automerge as across the maps.
//!
//! Offices tell each other what they edited (`EventEdit`), and every node makes the Automerge change of it
//! by itself ([`Document::derive`]). Automerge trusts its input: crafted changes that hash right panic it or
//! corrupt what it saves. So it is given none.
//!
//! Derived changes are staged and go into the document together, when there is time for it or when
//! someone reads what they touch: Automerge applies a hundred at a time for a seventh of the price, if the
//! calendar is large.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType};
use automerge::{
    ActorId, Automerge, AutomergeError, Change, ChangeHash, ExpandedChange, LoadOptions,
    ObjId as ExId, ObjType, ROOT, ReadDoc, SaveOptions, ScalarValue, Value, VerificationMode,
};
use sha2::{Digest as _, Sha256};

use crate::collection::is_calendar;
use crate::event::{Flat, Leaf};
use crate::ids::{EntryHash, LogId};
use crate::statement::EventEdit;

const BUCKETS: usize = 1024;

/// Most operations of a change. Every field of the largest event in several maps fits; without a bound, edits of
/// an event that a liar made thousands of times at once would grow with their number.
const OPERATIONS_MAX: usize = 65_536;

/// Changes that are staged at most. A batch gains nothing from being larger than some hundred, but what is
/// left for later keeps nobody waiting: this is what a node catches up after some minutes away. Whoever reads
/// right then waits for them, some 60 ms.
const STAGED_MAX: usize = 2000;

/// The hash of an Automerge change.
pub(crate) type Hash = [u8; 32];

/// The actor under which an office writes in one incarnation: 16 bytes of a hash of both, so that no
/// two logs ever share one; nor do two branches of a log.
pub(crate) fn actor(log: &LogId, branch: Option<&EntryHash>) -> ActorId {
    let mut sha = Sha256::new();
    sha.update(b"fasti/actor/1\0");
    sha.update(log.author.0);
    sha.update(log.incarnation.0.to_be_bytes());
    if let Some(start) = branch {
        sha.update(start.0);
    }
    ActorId::from(&sha.finalize()[..16])
}

/// The values of one field that nobody has overwritten: ascending, the last one wins.
pub(crate) type Values = Vec<(Leaf, ExId)>;

/// As of which changes to read; none is now.
type At<'a> = Option<&'a [ChangeHash]>;

/// An Automerge change that was made of edits.
#[derive(Debug)]
pub(crate) struct Derived {
    pub(crate) change: Change,
    /// The events that it touches.
    pub(crate) touched: BTreeMap<String, Touched>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// There was no such event.
    pub(crate) created: bool,
    /// The fields that it writes.
    pub(crate) paths: BTreeSet<String>,
}

/// The document, with changes that are derived but not yet applied.
#[derive(Clone)]
pub struct Document {
    doc: Automerge,
    buckets: Vec<ExId>,
    staged: Vec<Change>,
    staged_uids: BTreeSet<String>,
    staged_hashes: BTreeSet<Hash>,
    events: u64,
}

/// Why the document can't be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// Automerge refused a change.
    #[error(transparent)]
    Refused(#[from] AutomergeError),
    /// Automerge panicked.
    #[error("{0}")]
    Panicked(#[from] Panicked),
}

/// What was said when it panicked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Panicked(String);

/// Does what Automerge might panic at: what is well-formed for us may still meet a fault in it.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        Panicked(text.or_else(|| payload.downcast_ref().copied()).unwrap_or("a panic").to_owned())
    })
}

/// A snapshot that Automerge can't load.
#[derive(Debug, thiserror::Error)]
#[error("the document's snapshot can't be loaded")]
pub struct SnapshotError(#[source] Option<AutomergeError>);

impl Document {
    /// An empty calendar: the genesis change alone.
    pub fn new() -> Self {
        let mut doc = Automerge::new();
        // Fails only for ill-formed changes, which a test rules out for this one.
        let _ = doc.apply_changes([genesis()]);
        Self::from_doc(doc).unwrap_or_else(|| unreachable!("the genesis change makes all buckets"))
    }

    /// From what [`Document::save`] made.
    ///
    /// # Errors
    /// [`SnapshotError`]; the log then holds all that is needed to build it anew.
    pub fn load(bytes: &[u8]) -> Result<Self, SnapshotError> {
        // The snapshot's own checksum stands in the store; hashing every change again would double
        // the time.
        let options = LoadOptions::new().verification_mode(VerificationMode::DontCheck);
        let load = || Automerge::load_with_options(bytes, options);
        let loaded = caught(load).map_err(|_| SnapshotError(None))?;
        Self::from_doc(loaded.map_err(|e| SnapshotError(Some(e)))?).ok_or(SnapshotError(None))
    }

    fn from_doc(doc: Automerge) -> Option<Self> {
        let (_, events) = doc.get(ROOT, "events").ok()??;
        let mut buckets = Vec::with_capacity(BUCKETS);
        let mut count = 0;
        for at in 0..BUCKETS {
            let (_, bucket) = doc.get(&events, bucket_name(at)).ok()??;
            count += doc.keys(&bucket).filter(|uid| !is_calendar(uid)).count() as u64;
            buckets.push(bucket);
        }
        Some(Self {
            doc,
            buckets,
            staged: Vec::new(),
            staged_uids: BTreeSet::new(),
            staged_hashes: BTreeSet::new(),
            events: count,
        })
    }

    /// The document as bytes: uncompressed, which is larger on disk and much faster to load. Takes
    /// a fraction of a second at 100k events: clone the document and save it on another thread.
    pub fn save(&self) -> Vec<u8> {
        debug_assert!(self.staged.is_empty(), "saved in the middle of a step");
        self.doc.save_with_options(SaveOptions { deflate: false, ..SaveOptions::default() })
    }

    /// How many events there are, cancelled ones included.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Takes a derived change. It must be the next of its actor, with all its dependencies here.
    pub(crate) fn stage(&mut self, derived: &Derived) -> Result<(), Broken> {
        self.staged_hashes.insert(derived.change.hash().0);
        self.staged.push(derived.change.clone());
        self.staged_uids.extend(derived.touched.keys().cloned());
        let new = derived.touched.iter().filter(|(uid, it)| it.created && !is_calendar(uid));
        self.events += new.count() as u64;
        if self.staged.len() < STAGED_MAX { Ok(()) } else { self.flush() }
    }

    /// How many changes are staged.
    pub(crate) fn staged(&self) -> usize {
        self.staged.len()
    }

    /// Whether a staged change touches this event.
    pub(crate) fn is_staged(&self, uid: &str) -> bool {
        self.staged_uids.contains(uid)
    }

    /// Whether this change has been applied.
    pub(crate) fn has_change(&self, hash: &Hash) -> bool {
        self.doc.get_missing_deps(&[ChangeHash(*hash)]).is_empty()
    }

    /// Applies what is staged. If that fails, the document is not to be used any more.
    pub(crate) fn flush(&mut self) -> Result<(), Broken> {
        if self.staged.is_empty() {
            return Ok(());
        }
        self.staged_uids.clear();
        self.staged_hashes.clear();
        let changes = std::mem::take(&mut self.staged);
        let doc = &mut self.doc;
        Ok(caught(|| {
            #[cfg(test)]
            crate::faults::applying(&changes);
            doc.apply_changes(changes)
        })??)
    }

    /// The maps under a uid: ascending, the last one is what Automerge shows. Empty if there is no
    /// such event.
    pub(crate) fn maps(&self, uid: &str, at: At<'_>) -> Vec<ExId> {
        let bucket = &self.buckets[bucket_of(uid)];
        let values = match at {
            None => self.doc.get_all(bucket, uid),
            Some(heads) => self.doc.get_all_at(bucket, uid, heads),
        };
        let mut maps: Vec<_> = values.unwrap_or_default().into_iter().map(|(_, map)| map).collect();
        maps.sort();
        maps
    }

    /// The ids of the values of a field in one map.
    fn ids(&self, map: &ExId, path: &str, at: At<'_>) -> Vec<ExId> {
        let values = match at {
            None => self.doc.get_all(map, path),
            Some(heads) => self.doc.get_all_at(map, path, heads),
        };
        values.unwrap_or_default().into_iter().map(|(_, id)| id).collect()
    }

    /// All values of a field across the maps of an event.
    pub(crate) fn values(&self, maps: &[ExId], path: &str) -> Values {
        let mut values: Values = maps
            .iter()
            .flat_map(|map| self.doc.get_all(map, path).unwrap_or_default())
            .filter_map(|(value, id)| Some((leaf_of(&value)?, id)))
            .collect();
        values.sort_by(|(_, a), (_, b)| a.cmp(b));
        values
    }

    /// The winning fields of an event with the id of the operation that wrote each; none if there is
    /// no such event. Staged changes of the event must have been flushed.
    pub(crate) fn fields(&self, uid: &str) -> Option<BTreeMap<String, (Leaf, ExId)>> {
        self.fields_of(uid, None)
    }

    /// The same as it was after these changes.
    pub(crate) fn fields_at(
        &self,
        uid: &str,
        heads: &[ChangeHash],
    ) -> Option<BTreeMap<String, (Leaf, ExId)>> {
        let at = if self.doc.get_heads() == heads { None } else { Some(heads) };
        self.fields_of(uid, at)
    }

    fn fields_of(&self, uid: &str, at: At<'_>) -> Option<BTreeMap<String, (Leaf, ExId)>> {
        let maps = self.maps(uid, at);
        if maps.is_empty() {
            return None;
        }
        let mut fields: BTreeMap<String, (Leaf, ExId)> = BTreeMap::new();
        for map in &maps {
            let items = match at {
                None => self.doc.map_range(map, ..),
                Some(heads) => self.doc.map_range_at(map, .., heads),
            };
            for item in items {
                let id = item.id();
                let path = item.key.to_string();
                let newer = fields.get(&path).is_none_or(|(_, held)| *held < id);
                if newer && let Some(leaf) = leaf_of(&item.value.into_value()) {
                    fields.insert(path, (leaf, id));
                }
            }
        }
        Some(fields)
    }

    /// The winning fields of an event; none if there is no such event.
    pub(crate) fn flat(&self, uid: &str) -> Option<Flat> {
        let fields = self.fields(uid)?;
        Some(fields.into_iter().map(|(path, (leaf, _))| (path, leaf)).collect())
    }

    /// The change that an operation belongs to.
    pub(crate) fn change_of(&self, id: &ExId) -> Option<Hash> {
        self.doc.hash_for_opid(id).map(|hash| hash.0)
    }

    /// The uids of a bucket, sorted; buckets count from 0.
    pub(crate) fn uids(&self) -> BTreeSet<String> {
        let keys = self.buckets.iter().flat_map(|bucket| self.doc.keys(bucket));
        keys.collect()
    }

    /// The Automerge change that these edits are at this place: the same on every node, whatever else it
    /// holds. None if they come to nothing, or to more than [`OPERATIONS_MAX`] operations. May flush. Automerge
    /// may panic at it, which harms nothing, as it only reads.
    ///
    /// A field gets its new value over all the values that its author saw. Where the author saw several maps
    /// under the uid, it goes into the last one, and the field goes from the others.
    pub(crate) fn derive(
        &mut self,
        place: &ChangePlace,
        edits: &[EventEdit],
    ) -> Result<Result<Option<Derived>, Panicked>, Broken> {
        // Before the rest, so that if it fails, it is not for these edits.
        edits.iter().try_for_each(|edit| self.prepare(&edit.uid, &place.deps))?;
        Ok(caught(|| self.derive_prepared(place, edits)))
    }

    fn derive_prepared(&self, place: &ChangePlace, edits: &[EventEdit]) -> Option<Derived> {
        let actor = &place.actor;
        let mut operations = Vec::new();
        let mut touched = BTreeMap::new();
        let at = if self.doc.get_heads() == place.deps { None } else { Some(&place.deps[..]) };
        for EventEdit { uid, fields } in edits {
            #[cfg(test)]
            crate::faults::deriving(uid);
            let mut touch = Touched::default();
            let before = operations.len();
            let maps = self.maps(uid, at);
            let Some((winner, others)) = maps.split_last() else {
                touch.created = self.maps(uid, None).is_empty();
                let map = ObjectId::Id(OpId::new(place.start_op + before as u64, actor));
                operations.push(Op {
                    action: OpType::Make(ObjType::Map),
                    obj: object_id(&self.buckets[bucket_of(uid)]),
                    key: Key::Map(uid.as_str().into()),
                    pred: Vec::new().into(),
                    insert: false,
                });
                for (path, leaf) in fields {
                    if let Some(leaf) = leaf {
                        operations.push(op(OpType::Put(scalar(leaf)), map.clone(), path, &[]));
                    }
                }
                touch.paths.extend(fields.iter().map(|(path, _)| path.clone()));
                touched.insert(uid.clone(), touch);
                continue;
            };
            for (path, leaf) in fields {
                let there = self.ids(winner, path, at);
                let action = match leaf {
                    Some(leaf) => OpType::Put(scalar(leaf)),
                    None if there.is_empty() => continue,
                    None => OpType::Delete,
                };
                operations.push(op(action, object_id(winner), path, &there));
            }
            for map in others {
                if operations.len() > OPERATIONS_MAX {
                    return None;
                }
                for (path, _) in fields {
                    let there = self.ids(map, path, at);
                    if !there.is_empty() {
                        operations.push(op(OpType::Delete, object_id(map), path, &there));
                    }
                }
            }
            if operations.len() > before {
                touch.paths.extend(fields.iter().map(|(path, _)| path.clone()));
                touched.insert(uid.clone(), touch);
            }
        }
        if operations.is_empty() || operations.len() > OPERATIONS_MAX {
            return None;
        }
        let change = ExpandedChange {
            operations,
            actor_id: actor.clone(),
            hash: None,
            seq: place.seq,
            start_op: NonZeroU64::new(place.start_op).unwrap_or(NonZeroU64::MIN),
            time: place.time,
            message: None,
            deps: place.deps.clone(),
            extra_bytes: Vec::new(),
            author: None,
        };
        Some(Derived { change: change.into(), touched })
    }

    /// Makes sure that an event can be read as of these changes.
    fn prepare(&mut self, uid: &str, deps: &[ChangeHash]) -> Result<(), Broken> {
        // Maps never go: where there is none, there was none before, either.
        let staged = |dep: &ChangeHash| self.staged_hashes.contains(&dep.0);
        let wanted = self.staged_uids.contains(uid)
            || !self.maps(uid, None).is_empty() && deps.iter().any(staged);
        if wanted { self.flush() } else { Ok(()) }
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Document({} events, {} staged)", self.events, self.staged.len())
    }
}

/// Where a change stands among the others: follows from its entry and what lies under that.
#[derive(Clone, Debug)]
pub(crate) struct ChangePlace {
    /// Who writes.
    pub(crate) actor: ActorId,
    /// The actor's changes count from 1.
    pub(crate) seq: u64,
    /// One above the highest operation counter under `deps`.
    pub(crate) start_op: u64,
    /// The latest changes under the entry; sorted.
    pub(crate) deps: Vec<ChangeHash>,
    /// Seconds since 1970.
    pub(crate) time: i64,
}

fn op(action: OpType, obj: ObjectId, path: &str, pred: &[ExId]) -> Op {
    let pred = pred.iter().filter_map(op_id).collect::<Vec<_>>().into();
    Op { action, obj, key: Key::Map(path.into()), pred, insert: false }
}

fn op_id(id: &ExId) -> Option<OpId> {
    match id {
        ExId::Root => None,
        ExId::Id(counter, actor, _) => Some(OpId::new(*counter, actor)),
    }
}

fn object_id(id: &ExId) -> ObjectId {
    op_id(id).map_or(ObjectId::Root, ObjectId::Id)
}

fn scalar(leaf: &Leaf) -> ScalarValue {
    match leaf {
        Leaf::Bool(value) => ScalarValue::Boolean(*value),
        Leaf::Int(value) => ScalarValue::Int(*value),
        Leaf::Float(value) => ScalarValue::F64(*value),
        Leaf::Text(value) => ScalarValue::Str(value.as_str().into()),
        Leaf::Json(bytes) => ScalarValue::Bytes(bytes.clone()),
    }
}

fn leaf_of(value: &Value<'_>) -> Option<Leaf> {
    let Value::Scalar(scalar) = value else { return None };
    match scalar.as_ref() {
        ScalarValue::Boolean(value) => Some(Leaf::Bool(*value)),
        ScalarValue::Int(value) => Some(Leaf::Int(*value)),
        ScalarValue::F64(value) => Some(Leaf::Float(*value)),
        ScalarValue::Str(value) => Some(Leaf::Text(value.to_string())),
        ScalarValue::Bytes(bytes) => Some(Leaf::Json(bytes.clone())),
        _ => None,
    }
}

/// Which bucket a uid belongs to.
fn bucket_of(uid: &str) -> usize {
    let hash = Sha256::digest(uid);
    usize::from(u16::from_be_bytes([hash[0], hash[1]])) % BUCKETS
}

fn bucket_name(at: usize) -> String {
    format!("{at:03x}")
}

/// The change that makes the buckets: by the actor of zeros, at time 0, so that it is the same bytes in
/// every network.
fn genesis() -> Change {
    let actor = ActorId::from([0; 16]);
    let make = |obj: ObjectId, name: &str| Op {
        action: OpType::Make(ObjType::Map),
        obj,
        key: Key::Map(name.into()),
        pred: Vec::new().into(),
        insert: false,
    };
    let events = ObjectId::Id(OpId::new(1, &actor));
    let mut operations = vec![make(ObjectId::Root, "events")];
    operations.extend((0..BUCKETS).map(|at| make(events.clone(), &bucket_name(at))));
    ExpandedChange {
        operations,
        actor_id: actor,
        hash: None,
        seq: 1,
        start_op: NonZeroU64::MIN,
        time: 0,
        message: None,
        deps: Vec::new(),
        extra_bytes: Vec::new(),
        author: None,
    }
    .into()
}

/// The genesis change's hash.
pub(crate) fn genesis_hash() -> Hash {
    const HASH: &str = "24472b0e0c6ba2a6f2fe936b24cbfe93b84b99706e7d9d55aa4ad1d9c0377746";
    let mut hash = [0; 32];
    let _ = hex::decode_to_slice(HASH, &mut hash);
    hash
}

/// The genesis change's highest operation counter.
pub(crate) const GENESIS_MAX_OP: u64 = 1 + BUCKETS as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_genesis_change_is_the_same_everywhere() {
        assert_eq!(genesis().hash().0, genesis_hash(), "is {}", hex::encode(genesis().hash().0));
        assert_eq!(genesis().max_op(), GENESIS_MAX_OP);
    }
}
