//! The ledger: what a node holds and what follows from it. Takes entries, its own and others', through
//! one and the same gate, which is here; `accept` takes bundles apart, `write` makes entries. Keeps graph,
//! roster and document in step, and notes what has to be stored. Knows nothing of peers: `gossip` brings
//! bundles and asks what is missing.

mod accept;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use automerge::{AutomergeError, ChangeHash};

use crate::document::{self, ChangePlace, Derived, Document};
use crate::entry::{Bundle, Entry, RULES, Run, Signer, Verifier};
use crate::graph::{Graph, Index};
use crate::ids::{EntryHash, LogId, NetworkId, OfficeId};
use crate::roster::{Ground, Roster, is_sound};
use crate::row::{Applied, Row, Standing, Void};
use crate::statement::{EventEdit, Role, Statement, Unreadable};
use crate::step::{Appended, Write};
pub(crate) use accept::Refused;
pub(crate) use write::TooLarge;

pub(crate) struct Ledger {
    pub(crate) network: NetworkId,
    pub(crate) signer: Signer,
    pub(crate) verifier: Arc<dyn Verifier>,
    pub(crate) graph: Graph,
    pub(crate) roster: Roster,
    pub(crate) document: Document,
    pub(crate) conflicts: BTreeSet<(String, String)>,
    pub(crate) forks: BTreeMap<LogId, u64>,
    /// The log that we write.
    pub(crate) own: Option<LogId>,
    /// Rows of ours that have no signature yet, the last ones of `rows`' own log.
    unsigned: Vec<Row>,
    unsigned_bytes: usize,
    /// Since the last step: what to store, to push, to tell followers.
    writes: Vec<Write>,
    fresh: Vec<Run>,
    appended: Vec<Appended>,
    /// Fields that were written in this step, apart from those of new events: they may be in conflict.
    dirty: BTreeMap<String, BTreeSet<String>>,
    /// Whether members or tickets changed.
    pub(crate) roster_changed: bool,
    pub(crate) alarms: Vec<String>,
}

/// What a finished step leaves behind.
#[derive(Default)]
pub(crate) struct Finished {
    pub(crate) writes: Vec<Write>,
    /// Runs of our own, to be pushed.
    pub(crate) fresh: Vec<Run>,
    pub(crate) appended: Vec<Appended>,
}

impl Ledger {
    pub(crate) fn new(network: NetworkId, signer: Signer, verifier: Arc<dyn Verifier>) -> Self {
        Self {
            network,
            signer,
            verifier,
            graph: Graph::default(),
            roster: Roster::default(),
            document: Document::new(),
            conflicts: BTreeSet::new(),
            forks: BTreeMap::new(),
            own: None,
            unsigned: Vec::new(),
            unsigned_bytes: 0,
            writes: Vec::new(),
            fresh: Vec::new(),
            appended: Vec::new(),
            dirty: BTreeMap::new(),
            roster_changed: true,
            alarms: Vec::new(),
        }
    }

    pub(crate) fn office(&self) -> OfficeId {
        self.signer.office()
    }

    // ---- Opening ----

    /// Takes a stored row; its change goes into the document unless the snapshot has it.
    pub(crate) fn reload(&mut self, row: Row, in_snapshot: bool) -> Result<(), String> {
        let index = self.graph.len();
        let parents = self.parents_of(&row.entry).ok_or_else(|| {
            format!("the entry with index {index} has parents that are not there")
        })?;
        let statement = Statement::decode(row.entry.link.kind, &row.entry.link.body).ok();
        // A snapshot lacks what was deferred when it was saved, and understood since.
        if row.standing == Standing::Applied
            && let (Some(Statement::Change(change)), Some(applied)) = (&statement, &row.applied)
            && !(in_snapshot && self.document.has_change(&applied.change))
        {
            let place = self.place(&row.entry.log, &parents, row.entry.link.time);
            let derived = self.document.derive(&place, &change.edits).map_err(not_built)?;
            let same = |derived: &Derived| derived.change.hash().0 == applied.change;
            let derived = derived.filter(same).ok_or_else(|| {
                format!(
                    "the change in the entry with index {index} is not the one that was applied"
                )
            })?;
            self.document.stage(&derived).map_err(not_built)?;
        }
        self.graph.append(&row, parents.clone());
        self.fold(statement.as_ref(), row.standing, &row.entry, row.hash, index, &parents);
        Ok(())
    }

    /// Finishes opening: reads again what an older version could not.
    pub(crate) fn reloaded(&mut self, deferred: Vec<(Index, Row)>) -> Result<(), String> {
        self.flush()?;
        for (index, mut row) in deferred {
            let parents = self.graph.node(index).parents.clone();
            let (standing, applied, statement) = self.judge(&row.entry, &parents);
            if standing == Standing::Deferred {
                continue;
            }
            row.standing = standing;
            row.applied = applied;
            self.graph.understood(index, &row);
            self.fold(statement.as_ref(), standing, &row.entry, row.hash, index, &parents);
            self.writes.push(Write::Entry { index: u64::from(index), row });
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        self.document.flush().map_err(not_built)
    }

    // ---- Any entry ----

    /// Where the entries under it are, if all are here.
    fn parents_of(&self, entry: &Entry) -> Option<Box<[Index]>> {
        let own = (entry.seq > 1).then_some(&entry.prev);
        own.into_iter().chain(&entry.link.parents).map(|hash| self.graph.index(hash)).collect()
    }

    /// Adds an entry whose parents are here.
    fn append(
        &mut self,
        hash: EntryHash,
        entry: Entry,
        signature: Option<crate::entry::Signature>,
    ) {
        let Some(parents) = self.parents_of(&entry) else {
            self.alarms
                .push(format!("entry {hash} was taken without its parents; please report this"));
            return;
        };
        let (standing, applied, statement) = self.judge(&entry, &parents);
        let admissions = self.roster.admissions_under(&self.graph, &entry.log, &parents);
        let row = Row { hash, signature, standing, applied, entry };
        let index = self.graph.append(&row, parents.clone());
        self.graph.remember_under(&row.entry.log, admissions);
        self.fold(statement.as_ref(), standing, &row.entry, hash, index, &parents);
        self.appended.push(Appended::of(u64::from(index), &row));
        self.writes.push(Write::Entry { index: u64::from(index), row });
    }

    /// Decides what an entry counts for, and stages its change if it has one.
    fn judge(
        &mut self,
        entry: &Entry,
        parents: &[Index],
    ) -> (Standing, Option<Applied>, Option<Statement>) {
        let void = |why| (Standing::Void(why), None, None);
        let deferred = |index: &Index| self.graph.node(*index).standing == Standing::Deferred;
        let statement = Statement::decode(entry.link.kind, &entry.link.body);
        if entry.link.rules > RULES || parents.iter().any(deferred) {
            // Whom it may admit counts as named, so that what they write can be held as well.
            return (Standing::Deferred, None, statement.ok());
        }
        let statement = match statement {
            Ok(statement) => statement,
            Err(Unreadable::Unknown) => return (Standing::Deferred, None, None),
            Err(Unreadable::Malformed) => return void(Void::Malformed),
        };
        let may = |roles: &[Role]| self.roster.may(&self.graph, &entry.log, parents, roles);
        let verdict = match &statement {
            // Its hash is the network's id: nothing else can be it, wherever it comes in the log.
            Statement::Found(_) if entry.hash().0 == self.network.0 => Ok(None),
            Statement::Found(_) => Err(Void::SecondFounding),
            Statement::Invite(_) if !may(&[Role::Admin]) => Err(Void::NotAllowed),
            Statement::Invite(invite) if !is_sound(invite) => Err(Void::Malformed),
            Statement::Invite(_) => Ok(None),
            Statement::Admit(_) if !may(&[Role::Admin, Role::Approver, Role::Office]) => {
                Err(Void::NotAllowed)
            }
            Statement::Admit(admit) => self
                .roster
                .check_admit(&self.ground(), admit, parents, entry.link.time)
                .map(|()| None)
                .map_err(|_| Void::BadTicket),
            Statement::Change(_) if !may(&[Role::Admin, Role::Approver, Role::Office]) => {
                Err(Void::NotAllowed)
            }
            Statement::Change(change) if !change.is_sound() => Err(Void::Malformed),
            Statement::Change(change) => {
                let place = self.place(&entry.log, parents, entry.link.time);
                self.edit(&place, &change.edits).map(Some).ok_or(Void::NoEffect)
            }
        };
        match verdict {
            Ok(applied) => (Standing::Applied, applied, Some(statement)),
            // Whom a void admission names still counts as named: see `Roster::named`.
            Err(why) => (Standing::Void(why), None, Some(statement)),
        }
    }

    pub(crate) fn ground(&self) -> Ground<'_> {
        Ground { graph: &self.graph, network: &self.network, verifier: &*self.verifier }
    }

    /// Where a change by this log on top of these entries stands.
    fn place(&self, log: &LogId, parents: &[Index], time: i64) -> ChangePlace {
        let latest = self.graph.latest_changes(parents);
        let mut deps = Vec::with_capacity(latest.len());
        let mut max_op = document::GENESIS_MAX_OP;
        for index in latest {
            if let Some((hash, op)) = self.graph.node(index).change {
                deps.push(ChangeHash(hash));
                max_op = max_op.max(op);
            }
        }
        if deps.is_empty() {
            deps.push(ChangeHash(document::genesis_hash()));
        }
        deps.sort();
        ChangePlace {
            actor: document::actor(log),
            seq: self.graph.log(log).map_or(0, |log| log.changes) + 1,
            start_op: max_op + 1,
            deps,
            time: time.div_euclid(1000),
        }
    }

    /// Makes a change of edits, for the document; none if they come to nothing.
    fn edit(&mut self, place: &ChangePlace, edits: &[EventEdit]) -> Option<Applied> {
        let derived = self.document.derive(place, edits);
        let staged = derived.and_then(|derived| {
            derived.iter().try_for_each(|derived| self.document.stage(derived))?;
            Ok(derived)
        });
        let Derived { change, touched } = match staged {
            Ok(derived) => derived?,
            Err(error) => {
                self.alarms.push(not_built(error));
                return None;
            }
        };
        let applied = Applied {
            change: change.hash().0,
            max_op: change.max_op(),
            uids: touched.keys().cloned().collect(),
        };
        for (uid, touched) in touched {
            if !touched.created {
                self.dirty.entry(uid).or_default().extend(touched.paths);
            }
        }
        Some(applied)
    }

    /// Lets a statement about membership take effect.
    fn fold(
        &mut self,
        statement: Option<&Statement>,
        standing: Standing,
        entry: &Entry,
        hash: EntryHash,
        index: Index,
        parents: &[Index],
    ) {
        if let Some(Statement::Admit(admit)) = statement {
            self.roster.name(admit.office);
        }
        if standing != Standing::Applied {
            return;
        }
        match statement {
            Some(Statement::Found(found)) => {
                self.roster.found(entry.log.author, found, hash, index);
            }
            Some(Statement::Invite(invite)) => self.roster.invite(invite.clone(), hash, index),
            Some(Statement::Admit(admit)) => {
                self.roster.admit(&self.graph, admit, parents, hash, index);
            }
            Some(Statement::Change(_)) | None => return,
        }
        self.roster_changed = true;
    }

    // ---- The end of a step ----

    /// Remembers a contradiction, once for each log.
    pub(crate) fn note_fork(&mut self, log: LogId, seq: u64, proof: &Bundle) {
        if self.forks.contains_key(&log) {
            return;
        }
        self.forks.insert(log, seq);
        let proof = postcard::to_stdvec(proof).unwrap_or_default();
        self.writes.push(Write::Fork { log, seq, proof });
        self.alarms.push(format!(
            "office {} signed two different histories (incarnation {:?}, entry {seq}): its disk was \
             copied or restored, or its key is in other hands",
            log.author, log.incarnation
        ));
    }

    /// How much waits to be stored.
    pub(crate) fn unstored(&self) -> usize {
        self.writes.len()
    }

    /// Looks for conflicts in events that were touched. New events can have none: their changes may stay
    /// staged until someone reads.
    pub(crate) fn finish(&mut self) -> Finished {
        self.seal();
        if !self.dirty.is_empty() {
            self.settle_all();
        }
        Finished {
            writes: std::mem::take(&mut self.writes),
            fresh: std::mem::take(&mut self.fresh),
            appended: std::mem::take(&mut self.appended),
        }
    }

    /// Makes sure that all events can be read as they stand, and their conflicts.
    pub(crate) fn settle_all(&mut self) {
        if let Err(why) = self.flush() {
            self.alarms.push(why);
        }
        for (uid, paths) in std::mem::take(&mut self.dirty) {
            self.find_conflicts(uid, paths);
        }
    }

    /// Makes sure that the event can be read as it stands.
    pub(crate) fn settle(&mut self, uid: &str) {
        if self.document.is_staged(uid)
            && let Err(why) = self.flush()
        {
            self.alarms.push(why);
        }
    }

    fn find_conflicts(&mut self, uid: String, paths: BTreeSet<String>) {
        let maps = self.document.maps(&uid, None);
        for path in paths {
            let values = self.document.values(&maps, &path);
            let open = values.windows(2).any(|pair| pair[0].0 != pair[1].0);
            let key = (uid.clone(), path);
            let changed =
                if open { self.conflicts.insert(key.clone()) } else { self.conflicts.remove(&key) };
            if changed {
                let (uid, path) = key;
                self.writes.push(Write::Conflict { uid, path, open });
            }
        }
    }
}

fn not_built(error: AutomergeError) -> String {
    format!("the document can't be built: {error}")
}
