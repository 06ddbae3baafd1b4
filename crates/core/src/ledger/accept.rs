//! Taking others' entries: a bundle is taken whole or not at all. Leaves to `ledger` what each entry counts
//! for.

use std::collections::{BTreeMap, BTreeSet};

use super::Ledger;
use crate::entry::{Bundle, Entry, Run, Signature, check_bundle, first_prev};
use crate::graph::NextInLog;
use crate::ids::{EntryHash, OfficeId};
use crate::row::Row;
use crate::statement::{Statement, Unreadable};
use crate::step::Write;

/// Why a bundle was not taken. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is malformed, or not signed by who it says: the sender's fault.
    Bad(&'static str),
    /// Nothing that we hold speaks of this author as a member.
    UnknownAuthor(OfficeId),
    /// Entries that it builds upon are missing; at least these.
    Missing(Vec<EntryHash>),
    /// It brings a fork, and there was one just now: to be asked for again later.
    Fork,
}

/// What was taken of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) author: OfficeId,
    /// What its new entries need on the disk, or about that.
    pub(crate) bytes: u64,
    /// Histories of its log that begin there.
    pub(crate) histories: u64,
}

/// The part of a run that we don't hold.
struct New {
    author: OfficeId,
    entries: Vec<(EntryHash, Entry)>,
    signature: Signature,
}

impl New {
    fn cost(&self) -> Taken {
        let bytes =
            |entry: &Entry| (entry.link.body.len() + 32 * entry.link.parents.len() + 64) as u64;
        let bytes = self.entries.iter().map(|(_, entry)| bytes(entry)).sum();
        Taken { author: self.author, bytes, histories: 0 }
    }
}

impl Ledger {
    /// Takes a bundle whole, or says why not. Gives what was new.
    pub(crate) fn accept(&mut self, bundle: &Bundle) -> Result<Vec<Taken>, Refused> {
        check_bundle(bundle).map_err(Refused::Bad)?;
        self.seal();
        let mut runs = Vec::new();
        for run in bundle {
            run.check_shape().map_err(Refused::Bad)?;
            self.check_ground(run)?;
            runs.extend(self.new_of(run)?);
        }
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        self.check_authors(&runs)?;
        self.check_chains(&runs)?;
        if !self.takes_forks && self.brings_fork(&runs) {
            return Err(Refused::Fork);
        }
        let order = self.order(&runs)?;
        let mut taken: Vec<Taken> = runs.iter().map(New::cost).collect();
        let mut places: Vec<_> =
            runs.into_iter().map(|run| (run.entries.into_iter(), run.signature)).collect();
        for place in order {
            let (rest, signature) = &mut places[place];
            let Some((hash, entry)) = rest.next() else { continue };
            let signature = (rest.len() == 0).then_some(*signature);
            self.note_twin(hash, &entry);
            let before = self.graph.histories();
            self.append(hash, entry, signature);
            taken[place].histories += (self.graph.histories() - before) as u64;
        }
        Ok(taken)
    }

    /// Takes runs that whoever signed them vouches for, whole or not at all, and gives their rows. None of it is judged:
    /// that takes all of it (`proof`).
    pub(crate) fn gather(&mut self, bundle: Vec<Run>) -> Result<Vec<Row>, Refused> {
        check_bundle(&bundle).map_err(Refused::Bad)?;
        self.stale = true;
        let mut runs = Vec::new();
        for run in bundle {
            run.check_shape().map_err(Refused::Bad)?;
            self.check_ground(&run)?;
            let (author, signature, hashes) = (run.log.author, run.signature, run.hashes());
            if hashes.iter().any(|hash| self.graph.index(hash).is_some()) {
                return Err(Refused::Bad("an entry twice"));
            }
            let entries = run.into_entries(hashes).collect();
            runs.push(New { author, entries, signature });
        }
        self.check_chains(&runs)?;
        let order = self.order(&runs)?;
        let mut entries: Vec<_> = runs.into_iter().map(|run| run.entries.into_iter()).collect();
        for place in order {
            if let Some((hash, entry)) = entries[place].next() {
                self.append(hash, entry, None);
            }
        }
        let rows = std::mem::take(&mut self.writes).into_iter().filter_map(|write| match write {
            Write::Entry { row, .. } => Some(row),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// How far a run is held: the sequence number of the last of its first entries that are.
    pub(crate) fn held_of(&self, run: &Run) -> u64 {
        if run.first > self.graph.length(&run.log) {
            return run.first.saturating_sub(1);
        }
        let held = run.hashes().iter().take_while(|hash| self.graph.index(hash).is_some()).count();
        run.first.saturating_sub(1) + held as u64
    }

    /// Others may hold entries of ours that we lack, after a restore; but none that is younger than this start.
    fn note_twin(&mut self, hash: EntryHash, entry: &Entry) {
        if entry.log.author != self.office() || entry.link.time <= self.opened {
            return;
        }
        self.elsewhere += 1;
        if self.elsewhere == 1 {
            self.alarms.push(format!(
                "entry {hash} of this office was written elsewhere since this node started: another node runs \
                 with its key, from a copied folder or a restored backup; stop one of the two for good (or set \
                 this machine's clock, if it is slow)"
            ));
        }
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

    /// The entries of a run that we don't hold, if there are any and its signature is good.
    fn new_of(&self, run: &Run) -> Result<Option<New>, Refused> {
        let hashes = run.hashes();
        let held = hashes.iter().take_while(|hash| self.graph.index(hash).is_some()).count();
        let Some(end) = hashes.last().filter(|_| held < hashes.len()) else { return Ok(None) };
        if !self.verifier.verify(&run.log.author, &end.0, &run.signature) {
            return Err(Refused::Bad("a signature is wrong"));
        }
        let entries = run.clone().into_entries(hashes).skip(held).collect();
        Ok(Some(New { author: run.log.author, entries, signature: run.signature }))
    }

    /// What is new must follow, in its log, what is held or new itself.
    fn check_chains(&self, runs: &[New]) -> Result<(), Refused> {
        let mut places = BTreeMap::new();
        for (hash, entry) in runs.iter().flat_map(|run| &run.entries) {
            if places.insert(*hash, (entry.log, entry.seq)).is_some() {
                return Err(Refused::Bad("an entry twice"));
            }
        }
        for (hash, entry) in runs.iter().filter_map(|run| run.entries.first()) {
            if entry.seq == 1 {
                let founding = hash.0 == self.network.0;
                if entry.prev != first_prev((!founding).then_some(self.network)) {
                    return Err(Refused::Bad("a log of another network"));
                }
                continue;
            }
            let held = self.graph.index(&entry.prev).map(|index| {
                let node = self.graph.node(index);
                (self.graph.log_of(node), node.seq)
            });
            match held.or_else(|| places.get(&entry.prev).copied()) {
                None => return Err(Refused::Missing(vec![entry.prev])),
                Some(before) if before == (entry.log, entry.seq - 1) => {}
                Some(_) => return Err(Refused::Bad("an entry that follows none of its log")),
            }
        }
        Ok(())
    }

    /// Whether something new stands where another entry does, at a place where no fork is known.
    fn brings_fork(&self, runs: &[New]) -> bool {
        let mut places = BTreeSet::new();
        runs.iter().flat_map(|run| &run.entries).any(|(_, entry)| {
            let prev = (entry.seq > 1).then(|| self.graph.index(&entry.prev));
            let next = match prev {
                Some(None) => None,
                Some(prev) => Some(self.graph.next_in_log(&entry.log, entry.seq, prev)),
                None => Some(self.graph.next_in_log(&entry.log, entry.seq, None)),
            };
            // Two that are new and follow the same one are a fork as well.
            next == Some(NextInLog::Forks)
                || next != Some(NextInLog::Begins)
                    && !places.insert((entry.log, entry.seq, entry.prev))
        })
    }

    /// Every author must be spoken of as a member, in what we hold or in the bundle. Where something of a
    /// later version is held, it may have admitted anybody: what builds upon it is held with it.
    fn check_authors(&self, runs: &[New]) -> Result<(), Refused> {
        let is_unknown = |office: &OfficeId| !self.roster.is_named(office);
        let authors = || runs.iter().filter_map(|run| Some(run.entries.first()?.1.log.author));
        if self.graph.deferred > 0 || !authors().any(|office| is_unknown(&office)) {
            return Ok(());
        }
        let mut named = BTreeSet::new();
        for (hash, entry) in runs.iter().flat_map(|run| &run.entries) {
            match Statement::decode(entry.link.kind, &entry.link.body) {
                Ok(statement) => named.extend(statement.admits()),
                Err(Unreadable::Unknown) => return Ok(()),
                Err(Unreadable::Malformed) => {}
            }
            if hash.0 == self.network.0 {
                named.insert(entry.log.author);
            }
        }
        match authors().find(|office| is_unknown(office) && !named.contains(office)) {
            Some(office) => Err(Refused::UnknownAuthor(office)),
            None => Ok(()),
        }
    }

    /// An order of the entries in which parents come before children: whose run is next. Each run is taken as far
    /// as it goes, and again once what it waits for is there: whoever signed them can't make that long.
    fn order(&self, runs: &[New]) -> Result<Vec<usize>, Refused> {
        let inside: BTreeSet<EntryHash> =
            runs.iter().flat_map(|run| &run.entries).map(|(hash, _)| *hash).collect();
        let mut missing = BTreeSet::new();
        for (_, entry) in runs.iter().flat_map(|run| &run.entries) {
            let absent =
                |hash: &&EntryHash| !inside.contains(hash) && self.graph.index(hash).is_none();
            missing.extend(entry.link.parents.iter().filter(absent));
        }
        if !missing.is_empty() {
            return Err(Refused::Missing(missing.into_iter().collect()));
        }
        let mut done = BTreeSet::new();
        // Of each run the next entry, and how many of its parents were looked at.
        let mut next = vec![(0, 0); runs.len()];
        let mut waiting: BTreeMap<EntryHash, Vec<usize>> = BTreeMap::new();
        let mut ready: Vec<usize> = (0..runs.len()).rev().collect();
        let mut order = Vec::with_capacity(inside.len());
        while let Some(place) = ready.pop() {
            let (at, checked) = &mut next[place];
            while let Some((hash, entry)) = runs[place].entries.get(*at) {
                let parents = std::iter::once(&entry.prev).chain(&entry.link.parents);
                let is_done =
                    |parent: &EntryHash| !inside.contains(parent) || done.contains(parent);
                let lacking =
                    parents.skip(*checked).inspect(|_| *checked += 1).find(|it| !is_done(it));
                if let Some(parent) = lacking {
                    waiting.entry(*parent).or_default().push(place);
                    break;
                }
                done.insert(*hash);
                order.push(place);
                (*at, *checked) = (*at + 1, 0);
                ready.extend(waiting.remove(hash).unwrap_or_default());
            }
        }
        if order.len() == inside.len() {
            Ok(order)
        } else {
            Err(Refused::Bad("entries that lie under each other"))
        }
    }
}
