//! Taking others' entries: a bundle is taken whole or not at all. Leaves to `ledger` what each entry counts
//! for.

use std::collections::{BTreeMap, BTreeSet};

use super::Ledger;
use crate::entry::{Bundle, Entry, Run, first_prev};
use crate::ids::{EntryHash, LogId, OfficeId};
use crate::statement::{Statement, Unreadable};

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

impl Ledger {
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

    /// Every author must be spoken of as a member, in what we hold or in the bundle. Where something of a
    /// later version is held, it may have admitted anybody: what builds upon it is held with it.
    fn check_authors(
        &self,
        entries: &BTreeMap<LogId, Vec<(EntryHash, Entry)>>,
    ) -> Result<(), Refused> {
        let is_unknown = |office: &OfficeId| !self.roster.is_named(office);
        if self.graph.deferred > 0 || !entries.keys().any(|log| is_unknown(&log.author)) {
            return Ok(());
        }
        let mut named = BTreeSet::new();
        for (hash, entry) in entries.values().flatten() {
            match Statement::decode(entry.link.kind, &entry.link.body) {
                Ok(Statement::Admit(admit)) => {
                    named.insert(admit.office);
                }
                Err(Unreadable::Unknown) => return Ok(()),
                Ok(_) | Err(Unreadable::Malformed) => {}
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
}
