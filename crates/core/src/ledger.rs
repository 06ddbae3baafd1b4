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
use crate::entry::{Entry, RULES, Run, Signer, Verifier};
use crate::graph::{Graph, Index, NextInLog};
use crate::ids::{EntryHash, LogId, NetworkId, OfficeId};
use crate::roster::{Author, Ground, Roster, is_sound};
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
    /// A fork was found that changes where earlier entries stand: nothing is judged any more, and all is to
    /// be judged anew from the disk.
    pub(crate) stale: bool,
    /// Whether forks that are not known yet are taken now: each costs a judging of all there is.
    pub(crate) takes_forks: bool,
    /// The log that we write.
    pub(crate) own: Option<LogId>,
    /// When this node was opened: wall clock, milliseconds since 1970.
    pub(crate) opened: i64,
    /// Entries of ours that were written since then, and not here: another node has our key.
    pub(crate) elsewhere: u64,
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

/// Where an entry stands in its log.
struct Spot {
    /// The branch that it makes longer, if it does.
    extends: Option<u32>,
    /// Where the branch begins, if at a fork.
    start: Option<EntryHash>,
    /// The applied changes before it in the branch.
    changes: u64,
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
            stale: false,
            takes_forks: true,
            own: None,
            opened: i64::MAX,
            elsewhere: 0,
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
        let (index, parents) = self.stored_parents(&row)?;
        let statement = Statement::decode(row.entry.link.kind, &row.entry.link.body).ok();
        // A snapshot lacks what was deferred when it was saved, and understood since.
        if row.standing == Standing::Applied
            && let (Some(Statement::Change(change)), Some(applied)) = (&statement, &row.applied)
            && !(in_snapshot && self.document.has_change(&applied.change))
        {
            let place = self.place(&row.entry, row.hash, &parents);
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

    /// Takes a stored row, and finds anew what it counts for.
    pub(crate) fn judge_again(&mut self, mut row: Row) -> Result<(), String> {
        let (index, parents) = self.stored_parents(&row)?;
        let (standing, applied, statement) = self.judge(&row.entry, row.hash, &parents);
        let changed = (row.standing, &row.applied) != (standing, &applied);
        let was_deferred = row.standing == Standing::Deferred;
        row.standing = standing;
        row.applied = applied;
        let admissions = self.admissions_under(&row.entry, row.hash, &parents);
        self.graph.append(&row, parents.clone());
        self.graph.remember_under(index, admissions);
        self.fold(statement.as_ref(), standing, &row.entry, row.hash, index, &parents);
        if was_deferred && standing != Standing::Deferred {
            self.appended.push(Appended::of(u64::from(index), &row));
        }
        if changed {
            self.writes.push(Write::Entry { index: u64::from(index), row });
        }
        Ok(())
    }

    fn stored_parents(&self, row: &Row) -> Result<(Index, Box<[Index]>), String> {
        let index = self.graph.len();
        let parents = self.parents_of(&row.entry).ok_or_else(|| {
            format!("the entry with index {index} has parents that are not there")
        })?;
        Ok((index, parents))
    }

    /// Finishes judging again: these were the conflicts before.
    pub(crate) fn judged_again(&mut self, before: Vec<(String, String)>) {
        self.settle_all();
        for (uid, path) in before {
            if !self.conflicts.contains(&(uid.clone(), path.clone())) {
                self.writes.push(Write::Conflict { uid, path, open: false });
            }
        }
        self.writes.push(Write::JudgeAgain(false));
    }

    /// Finishes opening: reads again what an older version could not.
    pub(crate) fn reloaded(&mut self, deferred: Vec<(Index, Row)>) -> Result<(), String> {
        self.flush()?;
        for (index, mut row) in deferred {
            let parents = self.graph.node(index).parents.clone();
            let (standing, applied, statement) = self.judge(&row.entry, row.hash, &parents);
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
        self.note_fork(&entry, &parents);
        let (standing, applied, statement) = if self.stale {
            (Standing::Deferred, None, None)
        } else {
            self.judge(&entry, hash, &parents)
        };
        let admissions = self.admissions_under(&entry, hash, &parents);
        let row = Row { hash, signature, standing, applied, entry };
        let index = self.graph.append(&row, parents.clone());
        self.graph.remember_under(index, admissions);
        self.fold(statement.as_ref(), standing, &row.entry, hash, index, &parents);
        // What is not judged yet is told once it is.
        if !self.stale {
            self.appended.push(Appended::of(u64::from(index), &row));
        }
        self.writes.push(Write::Entry { index: u64::from(index), row });
    }

    fn admissions_under(&self, entry: &Entry, hash: EntryHash, parents: &[Index]) -> Vec<Index> {
        let branch = self.spot(entry, hash, parents).extends;
        let author = Author { office: entry.log.author, branch, parents };
        self.roster.admissions_under(&self.graph, &author)
    }

    /// Where an entry would go in its log.
    fn next_in_log(&self, entry: &Entry, parents: &[Index]) -> NextInLog {
        let prev = (entry.seq > 1).then(|| parents.first().copied()).flatten();
        self.graph.next_in_log(&entry.log, entry.seq, prev)
    }

    /// Where an entry stands in its log, whether it is here already (a deferred one) or is about to be.
    fn spot(&self, entry: &Entry, hash: EntryHash, parents: &[Index]) -> Spot {
        let in_branch = |place: u32, extends| {
            let branch = self.graph.branch_at(place);
            Spot { extends, start: branch.start, changes: branch.changes }
        };
        if let Some(index) = self.graph.index(&hash) {
            return in_branch(self.graph.node(index).branch, None);
        }
        match self.next_in_log(entry, parents) {
            NextInLog::GoesOn(place) => in_branch(place, Some(place)),
            NextInLog::Founds => Spot { extends: None, start: None, changes: 0 },
            NextInLog::Begins | NextInLog::Forks => {
                Spot { extends: None, start: Some(hash), changes: 0 }
            }
        }
    }

    /// Its author signed another entry for the same place. What follows the other one stands in a branch of
    /// its own from now on, and with it all that builds upon that.
    fn note_fork(&mut self, entry: &Entry, parents: &[Index]) {
        if self.next_in_log(entry, parents) != NextInLog::Forks {
            return;
        }
        let Entry { log, seq, .. } = *entry;
        let first = !self.graph.forks().contains_key(&log);
        self.writes.push(Write::Fork { log, seq });
        self.writes.push(Write::JudgeAgain(true));
        self.stale = true;
        if first {
            self.alarms.push(format!(
                "office {} signed two different histories (incarnation {:?}, entry {seq}): its disk was \
                 copied or restored, or its key is in other hands; both are kept",
                log.author, log.incarnation
            ));
        }
    }

    /// Decides what an entry counts for, and stages its change if it has one.
    fn judge(
        &mut self,
        entry: &Entry,
        hash: EntryHash,
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
        let spot = self.spot(entry, hash, parents);
        let author = Author { office: entry.log.author, branch: spot.extends, parents };
        let may = |roles: &[Role]| self.roster.may(&self.graph, &author, roles);
        let verdict = match &statement {
            // Its hash is the network's id: nothing else can be it, wherever it comes in the log.
            Statement::Found(_) if hash.0 == self.network.0 => Ok(None),
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
                let place = self.place(entry, hash, parents);
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

    /// Where the change of an entry stands.
    fn place(&self, entry: &Entry, hash: EntryHash, parents: &[Index]) -> ChangePlace {
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
        let spot = self.spot(entry, hash, parents);
        ChangePlace {
            actor: document::actor(&entry.log, spot.start.as_ref()),
            seq: spot.changes + 1,
            start_op: max_op + 1,
            deps,
            time: entry.link.time.div_euclid(1000),
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

    /// How much waits to be stored.
    pub(crate) fn unstored(&self) -> usize {
        self.writes.len()
    }

    /// Looks for conflicts in events that were touched. New events can have none: their changes may stay
    /// staged until someone reads.
    pub(crate) fn finish(&mut self) -> Finished {
        self.seal();
        if !self.dirty.is_empty() && !self.stale {
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
