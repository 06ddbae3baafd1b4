//! The ledger: what a node holds and what follows from it. Takes entries, its own and others', through
//! one and the same gate; keeps graph, roster and document in step, and notes what has to be stored.
//! Knows nothing of peers: `gossip` brings bundles and asks what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use automerge::{AutomergeError, Change, ChangeHash};

use crate::document::{self, ChangePlace, Document};
use crate::entry::{BODY_BYTES_MAX, Bundle, Entry, Link, RULES, Run, Signer, Verifier, first_prev};
use crate::event::FieldEdits;
use crate::graph::{Graph, Index};
use crate::guard;
use crate::ids::{DocumentId, EntryHash, Incarnation, LogId, NetworkId, OfficeId};
use crate::roster::{Ground, Roster, is_sound};
use crate::row::{Applied, Row, Standing, Void};
use crate::statement::{DocumentChange, Role, Statement, Unreadable};
use crate::step::{Appended, Write};

/// Own entries that wait for a signature are signed at this many bytes, so that no run outgrows a
/// chunk; a signature per 64 kB costs nothing.
const RUN_BYTES_MAX: usize = 64 * 1024;

/// Why a bundle was not taken. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is malformed, or not signed by who it says: the sender's fault.
    Bad(&'static str),
    /// Nothing that we hold speaks of this author as a member.
    UnknownAuthor(OfficeId),
    /// Entries that it builds upon are missing; at least these.
    Missing(Vec<EntryHash>),
    /// It contradicts what we hold of the same log.
    Fork(LogId, u64),
}

/// An event that was touched in this step.
#[derive(Debug, Default)]
struct Dirty {
    paths: BTreeSet<String>,
    /// More than one map may hold the event now.
    all: bool,
}

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
    dirty: BTreeMap<String, Dirty>,
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
        let parents = self
            .parents_of(&row.entry)
            .map_err(|_| format!("the entry with index {index} has parents that are not there"))?;
        let statement = Statement::decode(row.entry.link.kind, &row.entry.link.body).ok();
        // A snapshot lacks what was deferred when it was saved, and understood since.
        if row.standing == Standing::Applied
            && let (Some(Statement::Change(change)), Some(applied)) = (&statement, &row.applied)
            && !(in_snapshot && self.document.has_change(&applied.change))
        {
            let change = Change::from_bytes(change.bytes.clone())
                .map_err(|_| format!("the change in the entry with index {index} is damaged"))?;
            let created = applied
                .uids
                .iter()
                .filter(|uid| {
                    !self.document.is_staged(uid) && self.document.maps(uid, None).is_empty()
                })
                .count();
            self.stage(change, applied.uids.clone(), created as u64)?;
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

    fn stage(&mut self, change: Change, uids: Vec<String>, created: u64) -> Result<(), String> {
        self.document.stage(change, uids, created).map_err(not_built)
    }

    fn flush(&mut self) -> Result<(), String> {
        self.document.flush().map_err(not_built)
    }

    // ---- Others' entries ----

    /// Takes a bundle whole, or says why not. How many entries were new?
    pub(crate) fn accept(&mut self, bundle: &Bundle) -> Result<usize, Refused> {
        self.seal();
        let mut entries: BTreeMap<LogId, Vec<(EntryHash, Entry)>> = BTreeMap::new();
        let mut signatures = BTreeMap::new();
        for run in bundle {
            run.check_shape().map_err(Refused::Bad)?;
            self.check_ground(run)?;
            let new = self.new_of(run)?;
            if new.is_empty() {
                continue;
            }
            if entries.insert(run.log, new).is_some() {
                return Err(Refused::Bad("two runs of one log"));
            }
            signatures.insert(run.log, run.signature);
        }
        if entries.is_empty() {
            return Ok(0);
        }
        self.check_authors(&entries)?;
        let order = self.order(&entries)?;
        let mut places: BTreeMap<LogId, std::vec::IntoIter<(EntryHash, Entry)>> =
            entries.into_iter().map(|(log, entries)| (log, entries.into_iter())).collect();
        let count = order.len();
        for log in order {
            let Some(rest) = places.get_mut(&log) else { continue };
            let Some((hash, entry)) = rest.next() else { continue };
            let signature = if rest.len() == 0 { signatures.get(&log).copied() } else { None };
            self.append(hash, entry, signature);
        }
        Ok(count)
    }

    /// All but the founding entry build upon it, if only from afar: what builds upon nothing can't have
    /// been written by a member.
    fn check_ground(&self, run: &Run) -> Result<(), Refused> {
        let rootless =
            run.first == 1 && run.links.first().is_some_and(|link| link.parents.is_empty());
        if rootless && run.hashes().first() != Some(&EntryHash(self.network.0)) {
            return Err(Refused::Bad("an entry that builds upon nothing"));
        }
        Ok(())
    }

    /// The entries of a run that we don't hold, if its signature is good and it fits.
    fn new_of(&self, run: &Run) -> Result<Vec<(EntryHash, Entry)>, Refused> {
        let held = self.graph.log(&run.log);
        let length = held.map_or(0, |log| log.entries.len() as u64);
        let known = |seq: u64| held.map(|log| self.graph.node(log.entries[seq as usize - 1]).hash);
        let hashes = run.hashes();
        let last = run.last();
        if last <= length {
            let same = known(last) == hashes.last().copied();
            return if same { Ok(Vec::new()) } else { self.fork(run, &hashes, last) };
        }
        let Some(end) = hashes.last() else { return Ok(Vec::new()) };
        if !self.verifier.verify(&run.log.author, &end.0, &run.signature) {
            return Err(Refused::Bad("a signature is wrong"));
        }
        if run.first > length + 1 {
            return Err(Refused::Missing(vec![run.prev]));
        }
        // Where the run meets what we hold.
        let meets = (length + 1 - run.first) as usize;
        let (ours, theirs) = match length {
            0 => {
                let founding = hashes.first() == Some(&EntryHash(self.network.0));
                (first_prev((!founding).then_some(self.network)), run.prev)
            }
            _ => {
                let theirs = if meets == 0 { run.prev } else { hashes[meets - 1] };
                (known(length).unwrap_or(theirs), theirs)
            }
        };
        if ours != theirs {
            return if length == 0 {
                Err(Refused::Bad("a log of another network"))
            } else {
                Err(Refused::Fork(run.log, length))
            };
        }
        Ok(run.clone().into_entries(hashes).skip(meets).collect())
    }

    /// A run that lies wholly inside of what we hold, and differs.
    fn fork(
        &self,
        run: &Run,
        hashes: &[EntryHash],
        seq: u64,
    ) -> Result<Vec<(EntryHash, Entry)>, Refused> {
        match hashes.last() {
            Some(end) if self.verifier.verify(&run.log.author, &end.0, &run.signature) => {
                Err(Refused::Fork(run.log, seq))
            }
            _ => Err(Refused::Bad("a signature is wrong")),
        }
    }

    /// Every author must be spoken of as a member, in what we hold or in the bundle.
    fn check_authors(
        &self,
        entries: &BTreeMap<LogId, Vec<(EntryHash, Entry)>>,
    ) -> Result<(), Refused> {
        let is_unknown = |office: &OfficeId| !self.roster.is_named(office);
        if !entries.keys().any(|log| is_unknown(&log.author)) {
            return Ok(());
        }
        let mut named = BTreeSet::new();
        for (hash, entry) in entries.values().flatten() {
            if let Ok(Statement::Admit(admit)) =
                Statement::decode(entry.link.kind, &entry.link.body)
            {
                named.insert(admit.office);
            }
            if hash.0 == self.network.0 {
                named.insert(entry.log.author);
            }
        }
        match entries.keys().find(|log| is_unknown(&log.author) && !named.contains(&log.author)) {
            Some(log) => Err(Refused::UnknownAuthor(log.author)),
            None => Ok(()),
        }
    }

    /// An order of the entries in which parents come before children: whose log is next. Logs are
    /// taken in turns by id, as far as each goes.
    fn order(
        &self,
        entries: &BTreeMap<LogId, Vec<(EntryHash, Entry)>>,
    ) -> Result<Vec<LogId>, Refused> {
        let inside: BTreeSet<EntryHash> =
            entries.values().flatten().map(|(hash, _)| *hash).collect();
        let mut missing = BTreeSet::new();
        for (_, entry) in entries.values().flatten() {
            let absent =
                |hash: &&EntryHash| !inside.contains(hash) && self.graph.index(hash).is_none();
            missing.extend(entry.link.parents.iter().filter(absent));
        }
        if !missing.is_empty() {
            return Err(Refused::Missing(missing.into_iter().collect()));
        }
        let mut done = BTreeSet::new();
        let mut next: BTreeMap<LogId, usize> = BTreeMap::new();
        let mut order = Vec::with_capacity(inside.len());
        loop {
            let before = order.len();
            for (log, list) in entries {
                let at = next.entry(*log).or_default();
                while let Some((hash, entry)) = list.get(*at) {
                    let ready =
                        |parent: &EntryHash| !inside.contains(parent) || done.contains(parent);
                    if !entry.link.parents.iter().all(ready) {
                        break;
                    }
                    done.insert(*hash);
                    order.push(*log);
                    *at += 1;
                }
            }
            if order.len() == inside.len() {
                return Ok(order);
            }
            if order.len() == before {
                return Err(Refused::Bad("entries that lie under each other"));
            }
        }
    }

    // ---- Any entry ----

    fn parents_of(&self, entry: &Entry) -> Result<Box<[Index]>, Refused> {
        let own = (entry.seq > 1).then_some(&entry.prev);
        own.into_iter()
            .chain(&entry.link.parents)
            .map(|hash| self.graph.index(hash).ok_or_else(|| Refused::Missing(vec![*hash])))
            .collect()
    }

    /// Adds an entry whose parents are here.
    fn append(
        &mut self,
        hash: EntryHash,
        entry: Entry,
        signature: Option<crate::entry::Signature>,
    ) {
        let Ok(parents) = self.parents_of(&entry) else {
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
            Err(Unreadable::UnknownKind) => return (Standing::Deferred, None, None),
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
            Statement::Change(change) if change.document != DocumentId::CALENDAR => {
                return (Standing::Deferred, None, None);
            }
            Statement::Change(_) if !may(&[Role::Admin, Role::Approver, Role::Office]) => {
                Err(Void::NotAllowed)
            }
            Statement::Change(change) => {
                let place = self.place(&entry.log, parents, entry.link.time);
                self.check(&change.bytes, &place).map(Some).map_err(|_| Void::BadChange)
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

    /// Passes a change through the guard into the document.
    fn check(&mut self, bytes: &[u8], place: &ChangePlace) -> Result<Applied, &'static str> {
        let checked = guard::check(&mut self.document, bytes, place)?;
        let applied = Applied {
            change: checked.change.hash().0,
            max_op: checked.change.max_op(),
            uids: checked.touched.keys().cloned().collect(),
        };
        let created = checked.touched.values().filter(|touched| touched.created).count() as u64;
        if let Err(why) = self.stage(checked.change, applied.uids.clone(), created) {
            self.alarms.push(why);
        }
        for (uid, touched) in checked.touched {
            if touched.created {
                continue;
            }
            let dirty = self.dirty.entry(uid).or_default();
            dirty.all |= touched.beside;
            dirty.paths.extend(touched.paths);
        }
        Ok(applied)
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

    // ---- Our own entries ----

    /// Whether this office is a member as far as it knows.
    pub(crate) fn is_member(&self) -> bool {
        self.roster.member(&self.office()).is_some()
    }

    /// The log that we write; a new incarnation if there is none yet.
    fn own_log(&mut self, fresh: Incarnation) -> LogId {
        let author = self.office();
        *self.own.get_or_insert_with(|| {
            self.writes.push(Write::Incarnation(fresh));
            LogId { author, incarnation: fresh }
        })
    }

    /// Writes the edits of an event. Nothing is written if the change would be too large.
    pub(crate) fn write_edits(
        &mut self,
        uid: &str,
        edits: &FieldEdits,
        fresh: Incarnation,
        time: i64,
    ) -> Result<EntryHash, TooLarge> {
        let log = self.own_log(fresh);
        let tips: Vec<Index> = self.graph.tips().collect();
        let place = self.place(&log, &tips, time);
        self.settle(uid);
        let change = self.document.build(&place, uid, edits);
        let statement = Statement::Change(DocumentChange {
            document: DocumentId::CALENDAR,
            bytes: change.raw_bytes().to_vec(),
        });
        self.write(&statement, fresh, time)
    }

    /// Makes sure that all events can be read as they stand, and their conflicts.
    pub(crate) fn settle_all(&mut self) {
        if let Err(why) = self.flush() {
            self.alarms.push(why);
        }
        for (uid, dirty) in std::mem::take(&mut self.dirty) {
            self.find_conflicts(uid, dirty);
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

    /// Writes an entry of ours on top of all that we hold and understand.
    pub(crate) fn write(
        &mut self,
        statement: &Statement,
        fresh: Incarnation,
        time: i64,
    ) -> Result<EntryHash, TooLarge> {
        let (kind, body) = statement.encode();
        if body.len() > BODY_BYTES_MAX {
            return Err(TooLarge(body.len()));
        }
        let log = self.own_log(fresh);
        let last = self.graph.last(&log);
        let seq = last.map_or(0, |node| node.seq) + 1;
        let prev = match last {
            Some(node) => node.hash,
            None if self.graph.len() == 0 => first_prev(None),
            None => first_prev(Some(self.network)),
        };
        let mut parents: Vec<_> =
            self.graph.tips().map(|index| self.graph.node(index).hash).collect();
        parents.retain(|hash| *hash != prev);
        parents.sort();
        let size = body.len() + 32 * parents.len();
        let entry =
            Entry { log, seq, prev, link: Link { rules: RULES, parents, time, kind, body } };
        let hash = entry.hash();
        self.append(hash, entry, None);
        self.unsigned_bytes += size;
        if let Some(Write::Entry { row, .. }) = self.writes.last() {
            if row.standing == Standing::Deferred {
                self.alarms.push(
                    "this node writes under rules that it doesn't understand itself: upgrade it"
                        .into(),
                );
            }
            if let Standing::Void(why) = row.standing {
                self.alarms
                    .push(format!("our own entry {hash} is void ({why:?}); please report this"));
            }
            self.unsigned.push(row.clone());
        }
        if self.unsigned_bytes >= RUN_BYTES_MAX {
            self.seal();
        }
        Ok(hash)
    }

    /// Signs what we have written and not yet signed.
    fn seal(&mut self) {
        let rows = std::mem::take(&mut self.unsigned);
        self.unsigned_bytes = 0;
        let Some(last) = rows.last().map(|row| row.hash) else { return };
        let signature = self.signer.sign(&last.0);
        let signed = self.writes.iter_mut().rev().find_map(|write| match write {
            Write::Entry { row, .. } if row.hash == last => Some(row),
            _ => None,
        });
        if let Some(row) = signed {
            row.signature = Some(signature);
        }
        if let Some(first) = rows.first() {
            let Entry { log, seq, prev, .. } = first.entry;
            let links = rows.into_iter().map(|row| row.entry.link).collect();
            self.fresh.push(Run { log, first: seq, prev, links, signature });
        }
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

    fn find_conflicts(&mut self, uid: String, mut dirty: Dirty) {
        let maps = self.document.maps(&uid, None);
        if dirty.all {
            dirty.paths.extend(self.document.flat(&uid).unwrap_or_default().into_keys());
        }
        for path in dirty.paths {
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

/// A body of this many bytes doesn't fit into an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge(pub(crate) usize);

fn not_built(error: AutomergeError) -> String {
    format!("the document can't be built: {error}")
}
