//! What a store should hold: the plainest thing that could be right, to compare with.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use fasti_core::notice::Topic;
use fasti_core::outbox::{Agreed, Confirmed, StoredOutbox, SubscriptionId};
use fasti_core::{Incarnation, LogId, OfficeId, Write};
use fasti_store::{Snapshot, Store};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub rows: Vec<Vec<u8>>,
    pub notices: BTreeMap<(OfficeId, Topic), u64>,
    pub conflicts: BTreeSet<(String, String)>,
    pub incarnation: Option<Incarnation>,
    pub forks: BTreeSet<(LogId, u64)>,
    pub numbering: Option<u64>,
    pub judge_again: bool,
    pub snapshot: Option<Snapshot>,
    pub bootstrap: Option<Vec<u8>>,
    pub outbox: StoredOutbox,
    pub confirmed: BTreeMap<(SubscriptionId, String), Confirmed>,
    pub agreed: BTreeMap<(SubscriptionId, String), Agreed>,
}

/// One call to a store.
#[derive(Clone, Debug)]
pub enum Act {
    Commit(Vec<Write>),
    Snapshot(usize),
    Bootstrap(&'static [u8]),
}

impl Model {
    pub fn play(&mut self, act: &Act) {
        match act {
            Act::Commit(writes) => writes.iter().for_each(|write| self.write(write)),
            // What was made before all is judged again is not kept.
            Act::Snapshot(_) if self.judge_again => {}
            Act::Snapshot(bytes) => self.snapshot = Some(self.snapshot_of(*bytes)),
            Act::Bootstrap(bytes) => self.bootstrap = Some(bytes.to_vec()),
        }
    }

    /// The same on a store.
    pub fn play_on(&self, store: &Store, act: &Act) -> Result<(), fasti_store::CommitError> {
        match act {
            Act::Commit(writes) => store.commit(writes),
            Act::Snapshot(bytes) => {
                let snapshot = self.snapshot_of(*bytes);
                store.save_snapshot(snapshot.entries, &snapshot.bytes)
            }
            Act::Bootstrap(bytes) => store.set("bootstrap", bytes),
        }
    }

    fn snapshot_of(&self, length: usize) -> Snapshot {
        let entries = self.rows.len() as u64;
        Snapshot { entries, bytes: (0..length).map(|at| (at as u64 ^ entries) as u8).collect() }
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Entry { index, row } => {
                self.rows.truncate(self.rows.len().max(*index as usize));
                match self.rows.get_mut(*index as usize) {
                    Some(old) => *old = row.encode(),
                    None => self.rows.push(row.encode()),
                }
            }
            Write::Notice(notice) => {
                self.notices.insert((notice.office, notice.topic), notice.counter);
            }
            Write::Conflict { uid, path, open } => {
                let key = (uid.clone(), path.clone());
                if *open {
                    self.conflicts.insert(key)
                } else {
                    self.conflicts.remove(&key)
                };
            }
            Write::Numbering(numbering) => self.numbering = Some(*numbering),
            Write::Incarnation(incarnation) => self.incarnation = Some(*incarnation),
            Write::Fork { log, seq } => {
                self.forks.insert((*log, *seq));
            }
            Write::JudgeAgain(again) => {
                self.judge_again = *again;
                if *again {
                    self.snapshot = None;
                }
            }
            Write::Confirmed(id, uid, row) => {
                self.confirmed.insert((*id, uid.clone()), row.clone());
            }
            Write::Agreed(id, uid, agreed) => {
                self.agreed.insert((*id, uid.clone()), agreed.clone());
            }
            Write::Unsubscribed(id) => {
                self.agreed.retain(|key, _| key.0 != *id);
                self.confirmed.retain(|key, _| key.0 != *id);
                self.outbox.keep(write);
            }
            Write::Subscription(_)
            | Write::Owed(..)
            | Write::Watched(..)
            | Write::Held(..)
            | Write::Version(_) => {
                self.outbox.keep(write);
            }
        }
    }

    /// All that a store holds, read in every way that there is.
    pub fn of(store: &Store) -> Result<Self, Box<dyn Error>> {
        let reader = store.reader();
        let mut model = Self {
            notices: reader
                .notices()?
                .into_iter()
                .map(|notice| ((notice.office, notice.topic), notice.counter))
                .collect(),
            conflicts: reader.conflicts()?.into_iter().collect(),
            incarnation: reader.incarnation()?,
            numbering: reader.numbering()?,
            forks: reader.forks()?.into_iter().collect(),
            judge_again: reader.judge_again()?,
            snapshot: reader.snapshot()?,
            bootstrap: reader.setting("bootstrap")?,
            outbox: reader.outbox()?,
            confirmed: BTreeMap::new(),
            agreed: BTreeMap::new(),
            rows: Vec::new(),
        };
        for id in model.outbox.subscriptions.keys() {
            for (id, uid, row) in reader.confirmed_after(*id, "", usize::MAX)? {
                if reader.confirmed(id, &uid)?.as_ref() != Some(&row) {
                    return Err("a confirmation differs when asked for by its event".into());
                }
                model.confirmed.insert((id, uid), row);
            }
            let of_it = &mut model.agreed;
            reader.all_agreed(*id, |uid, agreed| {
                of_it.insert((*id, uid.to_owned()), agreed);
            })?;
            for ((id, uid), agreed) in of_it.iter() {
                if reader.agreed(*id, uid)?.as_ref() != Some(agreed) {
                    return Err("what was agreed differs when asked for by its event".into());
                }
            }
        }
        let mut logs = BTreeSet::new();
        for item in reader.rows(0)? {
            let (index, row) = item?;
            if index != model.rows.len() as u64 {
                return Err(format!("row {index} where {} was next", model.rows.len()).into());
            }
            logs.insert((row.entry.log, 0));
            model.rows.push(row.encode());
        }
        let logs: Vec<_> = logs.into_iter().collect();
        for (at, item) in reader.rows_of(&logs, u64::MAX)?.enumerate() {
            let (index, row) = item?;
            if index != at as u64 || model.rows.get(at) != Some(&row.encode()) {
                return Err(format!("row {index} differs when read by its log").into());
            }
        }
        if reader.entries()? != model.rows.len() as u64 {
            return Err("a count is wrong".into());
        }
        Ok(model)
    }
}
