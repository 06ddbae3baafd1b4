//! The ledger: what a node holds and what follows from it. Takes entries, its own and others', through
//! one and the same gate, which is here; `accept` takes bundles apart, `write` makes entries, `conflicts` finds what was edited two ways. Keeps graph,
//! roster and document in step, and notes what has to be stored. Knows nothing of peers: `gossip` brings
//! bundles and asks what is missing.

mod accept;
mod conflicts;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use automerge::ChangeHash;

use crate::agenda::EventIndex;
use crate::approval::{Approval, Approvals};
use crate::booking::Bookings;
use crate::document::{self, Broken, ChangePlace, Derived, Document};
use crate::entry::{Entry, Run, Signer, Verifier};
use crate::graph::{Graph, Index, NextInLog};
use crate::ids::{EntryHash, Incarnation, LogId, NetworkId, OfficeId};
use crate::removal::{Verdict, understood};
use crate::roster::{Claim, Ground, Roster};
use crate::row::{Applied, Release, Row, Standing, Void};
use crate::statement::{EventEdit, Statement};
use crate::step::{Appended, Write};
pub(crate) use accept::{Refused, Taken};
pub(crate) use write::TooLarge;

pub(crate) struct Ledger {
    pub(crate) network: NetworkId,
    pub(crate) signer: Signer,
    pub(crate) verifier: Arc<dyn Verifier>,
    pub(crate) graph: Graph,
    pub(crate) roster: Roster,
    pub(crate) approvals: Approvals,
    /// When events take place, for whoever asks for a range: see `agenda`.
    pub(crate) agenda: EventIndex,
    pub(crate) bookings: Bookings,
    /// Events that were changed since their bookings were looked at.
    pub(crate) unfollowed: BTreeSet<String>,
    pub(crate) document: Document,
    /// Fields that were edited two ways; with an empty path, events that were cancelled and edited at once.
    pub(crate) conflicts: BTreeSet<(String, String)>,
    /// Policies of which what was approved isn't what shows, or isn't one.
    pub(crate) contested: BTreeSet<String>,
    /// Policies that may have become, or ceased to be, one of those.
    watched: BTreeSet<String>,
    /// Histories beside others of which an admin said that they were looked into.
    pub(crate) reviewed: BTreeSet<EntryHash>,
    /// The entries that changed each event.
    pub(crate) history: BTreeMap<Arc<str>, Vec<Index>>,
    /// The events by the last of these.
    pub(crate) latest: BTreeSet<(Index, Arc<str>)>,
    /// See [`Write::Numbering`].
    pub(crate) numbering: u64,
    /// Something came that changes what earlier entries count for (a fork, a removal): nothing is judged any
    /// more, and all is to be judged anew from the disk.
    pub(crate) stale: bool,
    /// The same, but it may wait for the end of the pause: what came was not said by an admin, and
    /// judging all there is costs too much to be at everyone's disposal.
    pub(crate) judging_due: bool,
    /// Whether forks that are not known yet are taken now: each costs a judging of all there is.
    pub(crate) takes_forks: bool,
    /// What was found before everything is judged again; only while that is being done.
    verdict: Option<Verdict>,
    /// Entries that are cut off by a removal (see `removal`), by author.
    cut: BTreeMap<OfficeId, BTreeSet<Index>>,
    /// How entries lie to those.
    lies: BTreeMap<OfficeId, Lie>,
    /// Some of them are about membership.
    cut_statements: bool,
    /// Events that changed while everything was judged again.
    changed: BTreeSet<String>,
    /// The same, of the last time.
    pub(crate) rejudged: BTreeSet<String>,
    /// Entries at which this program failed.
    pub(crate) quarantined: BTreeSet<Index>,
    /// Changes are applied one by one, to find the one at which it fails.
    pub(crate) carefully: bool,
    /// The log that we write.
    pub(crate) own: Option<LogId>,
    /// The log in which was written last what somebody wrote who did not know all of it.
    pub(crate) aside: Option<Incarnation>,
    /// Whose command is being carried out: of what is written meanwhile, and nothing else.
    pub(crate) person: String,
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
    /// Events that were changed in this step, apart from new ones: they may be in conflict.
    dirty: BTreeMap<String, Changed>,
    /// Whether members or tickets changed.
    pub(crate) roster_changed: bool,
    pub(crate) alarms: Vec<String>,
}

/// What was changed of an event.
#[derive(Default)]
struct Changed {
    paths: BTreeSet<String>,
    /// By which entries.
    by: Vec<Index>,
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

/// How entries lie to what was cut off of a removed office's. Kept for all of them, as to look for it anew for each
/// entry would cost as much as there are entries.
#[derive(Default)]
struct Lie {
    /// Which lie over something that is cut off.
    above: Vec<bool>,
    /// Which lie over each of the removals.
    over: BTreeMap<Index, Vec<bool>>,
}

impl Lie {
    /// Whether an entry on top of these lies over what is cut off, and not over a removal.
    fn vouches(
        &mut self,
        graph: &Graph,
        cut: &BTreeSet<Index>,
        removals: impl Iterator<Item = Index>,
        parents: &[Index],
    ) -> bool {
        extend(&mut self.above, graph, |at| cut.contains(&at));
        let is_above = parents.iter().any(|at| self.above[*at as usize]);
        let mut knows = true;
        for removal in removals {
            let over = self.over.entry(removal).or_default();
            extend(over, graph, |at| at == removal);
            knows &= parents.iter().any(|at| over[*at as usize]);
        }
        is_above && !knows
    }
}

/// Finds of the entries that are new whether they are one of these, or lie over one.
fn extend(found: &mut Vec<bool>, graph: &Graph, is: impl Fn(Index) -> bool) {
    for at in found.len() as Index..graph.len() {
        let over = graph.node(at).parents.iter().any(|parent| found[*parent as usize]);
        found.push(over || is(at));
    }
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
            approvals: Approvals::default(),
            agenda: EventIndex::default(),
            bookings: Bookings::default(),
            unfollowed: BTreeSet::new(),
            document: Document::new(),
            conflicts: BTreeSet::new(),
            contested: BTreeSet::new(),
            watched: BTreeSet::new(),
            reviewed: BTreeSet::new(),
            history: BTreeMap::new(),
            latest: BTreeSet::new(),
            numbering: 0,
            stale: false,
            judging_due: false,
            takes_forks: true,
            verdict: None,
            cut: BTreeMap::new(),
            lies: BTreeMap::new(),
            cut_statements: false,
            changed: BTreeSet::new(),
            rejudged: BTreeSet::new(),
            quarantined: BTreeSet::new(),
            carefully: false,
            own: None,
            aside: None,
            person: String::new(),
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

    pub(crate) fn number_anew(&mut self, numbering: u64) {
        self.numbering = numbering;
        self.writes.push(Write::Numbering(numbering));
    }

    /// Takes a stored row; its change goes into the document unless the snapshot has it. Afterwards the ledger may
    /// be stale.
    pub(crate) fn reload(&mut self, row: Row, in_snapshot: bool) -> Result<(), String> {
        let (index, parents) = self.stored_parents(&row)?;
        let statement = Statement::decode(row.entry.link.kind, &row.entry.link.body).ok();
        // A snapshot lacks what was deferred when it was saved, and understood since.
        if row.standing == Standing::Applied
            && let (Some(Statement::Change(change)), Some(applied)) = (&statement, &row.applied)
            && !(in_snapshot && self.document.has_change(&applied.change))
        {
            let place = self.place(&row.entry, row.hash, &parents);
            match self
                .document
                .derive(&place, &change.edits)
                .and_then(|it| it.map_err(Broken::from))
            {
                Ok(Some(derived)) if derived.change.hash().0 == applied.change => {
                    if let Err(error) = self.document.stage(&derived) {
                        self.broken(error);
                    }
                }
                Ok(_) => {
                    return Err(format!(
                        "the change in the entry with index {index} is not the one that was applied"
                    ));
                }
                Err(error) => self.broken(error),
            }
        }
        self.take(&row, parents, statement.as_ref());
        Ok(())
    }

    /// What is found out about all entries together, before each is judged again.
    pub(crate) fn expect(&mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
    }

    /// Takes a stored row, and finds anew what it counts for.
    pub(crate) fn judge_again(&mut self, mut row: Row) -> Result<(), String> {
        let (index, parents) = self.stored_parents(&row)?;
        if row.standing == Standing::Void(Void::Quarantined(Release::THIS)) {
            self.quarantined.insert(index);
        }
        let (standing, applied, statement) = self.judge(&row.entry, row.hash, &parents);
        let changed = (row.standing, &row.applied) != (standing, &applied);
        let was_deferred = row.standing == Standing::Deferred;
        let before = std::mem::replace(&mut row.applied, applied);
        row.standing = standing;
        self.take(&row, parents, statement.as_ref());
        if was_deferred && standing != Standing::Deferred {
            self.appended.push(Appended::of(u64::from(index), &row));
        } else if changed {
            let uids = [&before, &row.applied].into_iter().flatten().flat_map(|it| &it.uids);
            self.changed.extend(uids.cloned());
            self.changed.extend(Appended::of(u64::from(index), &row).uids);
        }
        if changed {
            self.writes.push(Write::Entry { index: u64::from(index), row });
        }
        Ok(())
    }

    fn stored_parents(&self, row: &Row) -> Result<(Index, Box<[Index]>), String> {
        let index = self.graph.len();
        let parents = self.graph.parents_of(&row.entry).ok_or_else(|| {
            format!("the entry with index {index} has parents that are not there")
        })?;
        Ok((index, parents))
    }

    /// Finishes judging again: these were the conflicts before.
    pub(crate) fn judged_again(&mut self, before: &[(String, String)]) {
        self.verdict = None;
        self.carefully = false;
        for (uid, path) in before.iter().filter(|it| !self.conflicts.contains(*it)).cloned() {
            self.writes.push(Write::Conflict { uid, path, open: false });
        }
        // Followers hear of it with what led to it, which they have not heard of yet.
        let changed = std::mem::take(&mut self.changed);
        self.rejudged.extend(changed.iter().cloned());
        if let Some(last) = self.appended.last_mut() {
            last.uids.extend(changed);
            last.uids.sort();
            last.uids.dedup();
        }
        self.writes.push(Write::JudgeAgain(false));
    }

    /// Whether a row that another version could not judge, or failed at, may be judged now.
    pub(crate) fn understands(&self, row: &Row) -> bool {
        match row.standing {
            Standing::Deferred => {
                let parents = self.graph.parents_of(&row.entry).unwrap_or_default();
                understood(&row.entry, &parents, &self.graph).is_some()
            }
            Standing::Void(Void::Quarantined(release)) => release != Release::THIS,
            _ => false,
        }
    }

    /// Applies what is staged. If it can't be, the document is to be built anew.
    pub(crate) fn flush(&mut self) {
        if let Err(error) = self.document.flush() {
            self.broken(error);
        }
    }

    fn broken(&mut self, error: Broken) {
        self.alarms.push(not_built(error));
        self.judge_now();
    }

    /// An entry that made this program fail counts for nothing here, until a version that can take it judges it.
    fn quarantine(&mut self, index: Index, why: &dyn std::fmt::Display) {
        self.quarantined.insert(index);
        self.alarms.push(format!(
            "an entry (index {index}) makes this version fail, and is left out; please report this: {why}"
        ));
    }

    // ---- Any entry ----

    /// Adds an entry whose parents are here.
    fn append(
        &mut self,
        hash: EntryHash,
        entry: Entry,
        signature: Option<crate::entry::Signature>,
    ) {
        let Some(parents) = self.graph.parents_of(&entry) else {
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
        if !self.stale {
            self.note_vouching(&entry, &parents);
        }
        let row = Row { hash, signature, standing, applied, entry };
        let index = self.take(&row, parents, statement.as_ref());
        // What is not judged yet is told once it is.
        if !self.stale {
            self.appended.push(Appended::of(u64::from(index), &row));
        }
        self.writes.push(Write::Entry { index: u64::from(index), row });
    }

    /// Takes what was judged into graph and roster.
    fn take(&mut self, row: &Row, parents: Box<[Index]>, statement: Option<&Statement>) -> Index {
        let author = row.entry.log.author;
        let branch = self.spot(&row.entry, row.hash, &parents).extends;
        let admissions = self.roster.admissions_under(&self.graph, &author, branch, &parents);
        let index = self.graph.append(row, parents);
        self.graph.remember_under(index, admissions);
        let Some(statement) = statement else { return index };
        if let Some(office) = statement.admits() {
            self.roster.name(office);
        }
        if row.standing == Standing::Void(Void::Removed) {
            self.cut.entry(author).or_default().insert(index);
            self.cut_statements |= statement.is_of_roster();
        }
        if row.standing != Standing::Applied {
            return index;
        }
        for uid in row.applied.iter().flat_map(|it| &it.uids) {
            let uid_held: Arc<str> = uid.as_str().into();
            let history = self.history.entry(Arc::clone(&uid_held)).or_default();
            if let Some(before) = history.last() {
                self.latest.remove(&(*before, Arc::clone(&uid_held)));
            }
            history.push(index);
            self.latest.insert((index, uid_held));
            if self.approvals.knows(uid) {
                self.watched.insert(uid.clone());
            }
        }
        let Self { graph, roster, approvals, bookings, .. } = self;
        match statement {
            Statement::Change(_) => {}
            Statement::Approval(said) => {
                approvals.fold(graph, author, said, index);
                self.watched.extend(said.uids().cloned());
            }
            Statement::Review(review) => self.reviewed.extend(&review.histories),
            Statement::Reservation(said) => {
                let origin = |office| roster.origin(graph, office, &[index]);
                bookings.take(graph, index, author, said, origin);
            }
            of_roster => {
                let parents = &graph.node(index).parents;
                let claim = claim(&row.entry, row.hash, branch, parents, of_roster);
                roster.fold(graph, &claim, index);
                self.roster_changed = true;
            }
        }
        index
    }

    /// Whether what counts of membership depends on the order in which removals are decided.
    fn is_contested(&self) -> bool {
        let removed = self.roster.removed();
        let mut removals = removed.values().flat_map(|it| it.removals.values());
        self.cut_statements
            || removals.any(|removal| {
                let of_author = removed.get(&removal.by).into_iter();
                let mut of_author = of_author.flat_map(|it| it.removals.values());
                of_author.any(|later| !self.graph.is_under(removal.at, &[later.at]))
            })
    }

    /// How many of an office's entries are cut off.
    pub(crate) fn cut_of(&self, office: &OfficeId) -> u64 {
        self.cut.get(office).map_or(0, |cut| cut.len() as u64)
    }

    /// An entry of somebody who didn't know of a removal, on top of what that cut off, may let it count again.
    fn note_vouching(&mut self, entry: &Entry, parents: &[Index]) {
        let Self { graph, roster, cut, lies, .. } = self;
        let vouches =
            cut.iter().filter(|(office, _)| **office != entry.log.author).any(|(office, cut)| {
                let removed = roster.removed().get(office).into_iter();
                let removals = removed.flat_map(|it| it.removals.values()).map(|it| it.at);
                lies.entry(*office).or_default().vouches(graph, cut, removals, parents)
            });
        if vouches {
            self.judge_soon();
        }
    }

    /// All is to be judged again.
    fn judge_now(&mut self) {
        if !self.stale {
            self.stale = true;
            self.writes.push(Write::JudgeAgain(true));
        }
    }

    /// All is to be judged again when it is time for that: a crash before makes it at once.
    fn judge_soon(&mut self) {
        if !self.judging_due {
            self.judging_due = true;
            self.writes.push(Write::JudgeAgain(true));
        }
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
        self.judge_now();
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
        let statement = match understood(entry, parents, &self.graph) {
            Some(Some(statement)) => statement,
            Some(None) => return (Standing::Void(Void::Malformed), None, None),
            // Whom it may admit counts as named, so that what they write can be held as well.
            None => {
                let statement = Statement::decode(entry.link.kind, &entry.link.body).ok();
                return (Standing::Deferred, None, statement);
            }
        };
        let branch = self.spot(entry, hash, parents).extends;
        let claim = claim(entry, hash, branch, parents, &statement);
        let verdict = self.may(&claim).and_then(|()| match &statement {
            Statement::Reservation(said) => {
                self.bookings.judge(&self.graph, said, branch, parents).map(|()| None)
            }
            Statement::Change(change) if !change.is_sound() => Err(Void::Malformed),
            Statement::Change(change) => {
                let place = self.place(entry, hash, parents);
                self.edit(&place, &change.edits).map(Some)
            }
            Statement::Remove(remove) if self.verdict.is_none() => {
                // What it cuts off has counted until now.
                let stray = |at| !self.graph.is_under(at, parents);
                if self.graph.last_of(remove.office).any(stray) {
                    // At once if an admin wants somebody gone; it is not at everyone's disposal.
                    let is_gone = self.roster.removed().contains_key(&remove.office);
                    if self.roster.is_admin(&self.graph, &claim) && !is_gone {
                        self.judge_now();
                    } else {
                        self.judge_soon();
                    }
                }
                Ok(None)
            }
            _ => Ok(None),
        });
        match verdict {
            _ if self.stale => (Standing::Deferred, None, None),
            Ok(applied) => (Standing::Applied, applied, Some(statement)),
            // Whom a void admission names still counts as named: see `Roster::named`.
            Err(why) => (Standing::Void(why), None, Some(statement)),
        }
    }

    /// Whether its author may say this there.
    fn may(&mut self, claim: &Claim<'_>) -> Result<(), Void> {
        let at = self.graph.len();
        let is_removal = matches!(claim.statement, Statement::Remove(_));
        let allowed =
            self.roster.judge(&self.ground(), claim).and_then(|()| self.may_withdraw(claim));
        if let Some(verdict) = &self.verdict {
            return match is_removal {
                true if verdict.counting.contains(&at) => Ok(()),
                true => allowed.and(Err(Void::Removed)),
                false if verdict.cut.contains(&at) => allowed.and(Err(Void::Removed)),
                false => allowed,
            };
        }
        let removed = self.roster.removed().contains_key(&claim.author);
        if is_removal {
            match (&allowed, removed) {
                // It may change the order in which others are decided.
                (Ok(()), false) if self.is_contested() => self.judge_soon(),
                // The removal of its author, or of who admitted him, may be void because of this one.
                (Ok(()), true) => self.judge_soon(),
                (Err(_), _) if self.is_contested() => self.judge_soon(),
                _ => {}
            }
        }
        if removed { allowed.and(Err(Void::Removed)) } else { allowed }
    }

    /// Approvers withdraw anything, others what they proposed.
    fn may_withdraw(&self, claim: &Claim<'_>) -> Result<(), Void> {
        let Statement::Approval(Approval::Withdraw(withdraw)) = claim.statement else {
            return Ok(());
        };
        let (graph, author) = (&self.graph, &claim.author);
        let may = self.roster.is_approver(graph, claim)
            || self.approvals.has_proposed(graph, author, &withdraw.uid, claim.parents);
        may.then_some(()).ok_or(Void::NotAllowed)
    }

    pub(crate) fn ground(&self) -> Ground<'_> {
        Ground { graph: &self.graph, network: &self.network, verifier: &*self.verifier }
    }

    /// The latest changes under these entries: what a change on top of them depends on, sorted.
    pub(crate) fn changes_under(&self, heads: &[Index]) -> Vec<ChangeHash> {
        let latest = self.graph.latest_changes(heads).into_iter();
        let hash = |index| self.graph.node(index).change.map(|(hash, _)| ChangeHash(hash));
        let mut deps: Vec<ChangeHash> = latest.filter_map(hash).collect();
        if deps.is_empty() {
            deps.push(ChangeHash(document::genesis_hash()));
        }
        deps.sort();
        deps
    }

    /// Where the change of an entry stands.
    fn place(&self, entry: &Entry, hash: EntryHash, parents: &[Index]) -> ChangePlace {
        let deps = self.changes_under(parents);
        let op = |hash: &ChangeHash| self.graph.by_change(&hash.0)?.change.map(|(_, op)| op);
        let max_op = deps.iter().filter_map(op).max().unwrap_or(document::GENESIS_MAX_OP);
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
    fn edit(&mut self, place: &ChangePlace, edits: &[EventEdit]) -> Result<Applied, Void> {
        let index = self.graph.len();
        if self.quarantined.contains(&index) {
            return Err(Void::Quarantined(Release::THIS));
        }
        let derived = match self.document.derive(place, edits) {
            Ok(Ok(derived)) => derived.ok_or(Void::NoEffect)?,
            Ok(Err(panic)) => {
                self.quarantine(index, &panic);
                return Err(Void::Quarantined(Release::THIS));
            }
            Err(error) => {
                self.broken(error);
                return Err(Void::NoEffect);
            }
        };
        let mut staged = self.document.stage(&derived);
        if self.carefully {
            staged = staged.and_then(|()| self.document.flush());
        }
        if let Err(error) = staged {
            if self.carefully {
                self.quarantine(index, &error);
            }
            self.broken(error);
        }
        let Derived { change, touched } = derived;
        let applied = Applied {
            change: change.hash().0,
            max_op: change.max_op(),
            uids: touched.keys().cloned().collect(),
        };
        for (uid, touched) in touched {
            self.agenda.changed(&uid);
            if self.bookings.of_event(&uid).next().is_some() {
                self.unfollowed.insert(uid.clone());
            }
            if !touched.created {
                let changed = self.dirty.entry(uid).or_default();
                changed.paths.extend(touched.paths);
                changed.by.push(index);
            }
        }
        Ok(applied)
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
        if !(self.dirty.is_empty() || self.stale) {
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
        self.flush();
        for (uid, changed) in std::mem::take(&mut self.dirty) {
            self.find_conflicts(&uid, changed);
        }
        for uid in std::mem::take(&mut self.watched) {
            match self.is_contested_policy(&uid) {
                true => self.contested.insert(uid),
                false => self.contested.remove(&uid),
            };
        }
    }

    /// Makes sure that the event can be read as it stands.
    pub(crate) fn settle(&mut self, uid: &str) {
        if self.document.is_staged(uid) {
            self.flush();
        }
    }
}

/// An entry's statement as the roster judges it.
fn claim<'a>(
    entry: &Entry,
    hash: EntryHash,
    branch: Option<u32>,
    parents: &'a [Index],
    statement: &'a Statement,
) -> Claim<'a> {
    Claim { author: entry.log.author, hash, branch, parents, time: entry.link.time, statement }
}

fn not_built(error: Broken) -> String {
    format!("the document can't be built: {error}")
}
