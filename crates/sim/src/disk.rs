//! A simulated disk: what survives a crash. Rows are shared between offices, as a thousand of them hold
//! the same ones.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fasti_core::ids::EntryHash;
use fasti_core::notice::{SignedNotice, Topic};
use fasti_core::outbox::{Agreed, StoredOutbox, SubscriptionId};
use fasti_core::row::{Row, Standing};
use fasti_core::{Incarnation, Kept, LogId, OfficeId, Stored, Write};

use crate::entries::Entries;
use crate::mutation::Mutation;
use crate::reserved::Reserved;

/// Every row of the world once, and a number for each entry.
#[derive(Default)]
pub(crate) struct Shelf {
    rows: BTreeMap<(EntryHash, bool), Rc<Row>>,
    numbers: BTreeMap<EntryHash, u32>,
    /// What each is built upon.
    links: Vec<Vec<u32>>,
    /// What they say of resources.
    pub(crate) reserved: Reserved,
}

impl Shelf {
    fn number(&mut self, row: &Row) -> u32 {
        if let Some(number) = self.numbers.get(&row.hash) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(row.hash, number);
        let parents = row.entry.link.parents.iter().chain([&row.entry.prev]);
        self.links.push(parents.filter_map(|hash| self.numbers.get(hash).copied()).collect());
        self.reserved.note(number, row);
        number
    }

    /// What lies under an entry, itself among it.
    pub(crate) fn under(&self, number: u32) -> Entries {
        let mut under = Entries::default();
        let mut walk = vec![number];
        while let Some(at) = walk.pop() {
            if !under.has(at) {
                under.insert(at);
                walk.extend(&self.links[at as usize]);
            }
        }
        under
    }

    /// The number of an entry that some office has stored.
    pub(crate) fn known(&self, hash: &EntryHash) -> Option<u32> {
        self.numbers.get(hash).copied()
    }

    fn share(&mut self, row: &Row) -> Rc<Row> {
        let key = (row.hash, row.signature.is_some());
        match self.rows.get(&key) {
            Some(held) if **held == *row => held.clone(),
            _ => {
                let row = Rc::new(row.clone());
                self.rows.insert(key, row.clone());
                row
            }
        }
    }
}

/// What an office has made durable.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) rows: Vec<Rc<Row>>,
    /// Which entries are there.
    pub(crate) held: Entries,
    /// Which of them count for nothing.
    pub(crate) void: Entries,
    notices: BTreeMap<(OfficeId, Topic), SignedNotice>,
    conflicts: BTreeSet<(String, String)>,
    incarnation: Option<Incarnation>,
    numbering: Option<u64>,
    forks: BTreeSet<(LogId, u64)>,
    judge_again: bool,
    outbox: StoredOutbox,
    agreed: BTreeMap<(SubscriptionId, String), Agreed>,
    snapshot: Option<(u64, Vec<u8>)>,
}

impl Disk {
    /// Makes one transaction durable.
    ///
    /// # Errors
    /// A row that leaves a gap.
    pub(crate) fn commit(
        &mut self,
        shelf: &mut Shelf,
        writes: &[Write],
        mutation: Mutation,
    ) -> Result<(), String> {
        for write in writes {
            match write {
                Write::Entry { index, row } => {
                    let number = shelf.number(row);
                    let counts = row.standing == Standing::Applied;
                    let row = shelf.share(row);
                    let (index, rows) = (*index as usize, self.rows.len());
                    if index > rows {
                        return Err(format!("row {index} is written where {rows} is the next"));
                    } else if index == rows {
                        self.rows.push(row);
                    } else {
                        self.rows[index] = row;
                    }
                    self.held.insert(number);
                    match counts {
                        true => self.void.remove(number),
                        false => self.void.insert(number),
                    }
                }
                Write::Notice(notice) => {
                    self.notices.insert((notice.office, notice.topic), notice.clone());
                }
                Write::Conflict { .. } if mutation == Mutation::ForgetConflicts => {}
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
                Write::Fork { .. } if mutation == Mutation::ForgetForks => {}
                Write::Fork { log, seq } => {
                    self.forks.insert((*log, *seq));
                }
                Write::Agreed(id, uid, agreed) => {
                    self.agreed.insert((*id, uid.clone()), agreed.clone());
                }
                Write::Unsubscribed(id) => {
                    self.agreed.retain(|key, _| key.0 != *id);
                    self.outbox.keep(write);
                }
                Write::Subscription(_)
                | Write::Owed(..)
                | Write::Confirmed(..)
                | Write::Watched(..)
                | Write::Held(..)
                | Write::Version(_) => self.outbox.keep(write),
                Write::JudgeAgain(again) => {
                    self.judge_again = *again;
                    if *again {
                        self.snapshot = None;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the entry with this number is there.
    pub(crate) fn holds(&self, number: u32) -> bool {
        self.held.has(number)
    }

    /// Whether the entries with these numbers are all there.
    pub(crate) fn holds_all(&self, mut numbers: impl Iterator<Item = u32>) -> bool {
        numbers.all(|number| self.holds(number))
    }

    /// Subscriptions, and what is owed to them.
    pub(crate) fn outbox(&self) -> &StoredOutbox {
        &self.outbox
    }

    /// How an office and a system had an event both.
    pub(crate) fn agreed(&self, id: SubscriptionId, uid: &str) -> Option<&Agreed> {
        self.agreed.get(&(id, uid.to_owned()))
    }

    /// The node can't know any more which log it was writing.
    pub(crate) fn judges_again(&self) -> bool {
        self.judge_again
    }

    pub(crate) fn forget_incarnation(&mut self) {
        self.incarnation = None;
        self.numbering = None;
    }

    /// Keeps the document as it is after so many entries, unless all is to be judged again: it was made before.
    pub(crate) fn save_snapshot(&mut self, covered: u64, document: Vec<u8>) {
        if !self.judge_again {
            self.snapshot = Some((covered, document));
        }
    }

    /// What a core is opened from, besides the rows.
    pub(crate) fn stored(&self) -> Stored {
        Stored {
            snapshot: self.snapshot.clone(),
            notices: self.notices.values().cloned().collect(),
            conflicts: self.conflicts.iter().cloned().collect(),
            incarnation: self.incarnation,
            numbering: self.numbering,
            forks: self.forks.iter().copied().collect(),
            judge_again: self.judge_again,
            outbox: self.outbox.clone(),
            kept: Kept::default(),
        }
    }
}
