//! The causal graph: which entries are held, how they lie on each other, and what follows from that: the
//! frontier, the heads, who lies under whom. Entries have local indices in the order in which they came,
//! parents always before children. Leaves what entries say to `roster` and `document`.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::document::Hash;
use crate::entry::Entry;
use crate::ids::{Digest, EntryHash, Incarnation, LogId, OfficeId};
use crate::message::Line;
use crate::row::{Applied, Row, Standing};

/// A local index.
pub(crate) type Index = u32;

/// What the graph keeps of an entry.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) hash: EntryHash,
    /// Which branch: a place in `Graph::branches`.
    pub(crate) branch: u32,
    pub(crate) seq: u64,
    /// The author's previous entry and the parents.
    pub(crate) parents: Box<[Index]>,
    /// Milliseconds since 1970, by the author's clock.
    pub(crate) time: i64,
    /// Who of the author's people asked for it, if it was one of them.
    pub(crate) person: Option<Box<str>>,
    pub(crate) standing: Standing,
    /// For applied changes: hash and highest operation counter.
    pub(crate) change: Option<(Hash, u64)>,
}

/// A chain of entries of one log. A log is one branch, unless its author signed more than one history:
/// where these part (a *fork*), each goes on in a branch of its own.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) log: LogId,
    /// The first entry's hash, if the branch begins at a fork.
    pub(crate) start: Option<EntryHash>,
    last: Index,
    /// Other branches go on from its last entry.
    parted: bool,
    /// How many of its entries are applied changes.
    pub(crate) changes: u64,
    /// Entries of other logs that are known to lie under its last one: they lie under all later ones
    /// too, and need not be looked for again.
    under: BTreeSet<Index>,
}

/// What is known of a log as a whole.
#[derive(Clone, Debug, Default)]
struct Log {
    branches: Vec<u32>,
    /// The highest sequence number.
    length: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    by_hash: BTreeMap<EntryHash, Index>,
    by_change: BTreeMap<Hash, Index>,
    branches: Vec<Branch>,
    logs: BTreeMap<LogId, Log>,
    /// The sequence numbers at which logs fork: two entries there follow the same one.
    forks: BTreeMap<LogId, BTreeSet<u64>>,
    /// Entries without children.
    heads: BTreeSet<Index>,
    /// Entries that are understood, without children that are: what our own entries build upon.
    tips: BTreeSet<Index>,
    /// Entries of each kind of standing that needs attention.
    pub(crate) deferred: u64,
    pub(crate) void: u64,
    digest: Option<Digest>,
}

impl Graph {
    pub(crate) fn len(&self) -> Index {
        self.nodes.len() as Index
    }

    pub(crate) fn node(&self, index: Index) -> &Node {
        &self.nodes[index as usize]
    }

    pub(crate) fn index(&self, hash: &EntryHash) -> Option<Index> {
        self.by_hash.get(hash).copied()
    }

    pub(crate) fn by_change(&self, hash: &Hash) -> Option<&Node> {
        self.index_by_change(hash).map(|index| self.node(index))
    }

    pub(crate) fn index_by_change(&self, hash: &Hash) -> Option<Index> {
        self.by_change.get(hash).copied()
    }

    /// The first entries of the histories of a log that part at this place.
    pub(crate) fn histories_at(&self, log: &LogId, seq: u64) -> Vec<Index> {
        let branches = self.logs.get(log).into_iter().flat_map(|log| &log.branches);
        let starts = branches.filter_map(|it| self.index(&self.branch_at(*it).start?));
        starts.filter(|at| self.node(*at).seq == seq).collect()
    }

    /// How many histories all logs have.
    pub(crate) fn histories(&self) -> usize {
        self.branches.len()
    }

    /// How long a log is, along its longest branch.
    pub(crate) fn length(&self, log: &LogId) -> u64 {
        self.logs.get(log).map_or(0, |log| log.length)
    }

    pub(crate) fn log_of(&self, node: &Node) -> LogId {
        self.branch_at(node.branch).log
    }

    pub(crate) fn branch_at(&self, place: u32) -> &Branch {
        &self.branches[place as usize]
    }

    /// The last entry of a log, if it has one history.
    pub(crate) fn last(&self, log: &LogId) -> Option<&Node> {
        match self.logs.get(log)?.branches[..] {
            [branch] => Some(self.node(self.branches[branch as usize].last)),
            _ => None,
        }
    }

    /// Takes forks that were found before: to be told before their entries come.
    pub(crate) fn know_forks(&mut self, forks: impl IntoIterator<Item = (LogId, u64)>) {
        for (log, seq) in forks {
            self.forks.entry(log).or_default().insert(seq);
        }
    }

    /// The lowest place at which a log forks.
    pub(crate) fn first_fork(&self, log: &LogId) -> Option<u64> {
        self.forks.get(log)?.first().copied()
    }

    pub(crate) fn forks(&self) -> &BTreeMap<LogId, BTreeSet<u64>> {
        &self.forks
    }

    /// Where what an entry builds upon is, if all of it is here: the one before it in its log comes first.
    pub(crate) fn parents_of(&self, entry: &Entry) -> Option<Box<[Index]>> {
        let own = (entry.seq > 1).then_some(&entry.prev);
        own.into_iter().chain(&entry.link.parents).map(|hash| self.index(hash)).collect()
    }

    /// The last entries of an office's logs: all that it wrote lies under them.
    pub(crate) fn last_of(&self, office: OfficeId) -> impl Iterator<Item = Index> {
        let log = |incarnation| LogId { author: office, incarnation: Incarnation(incarnation) };
        let logs = self.logs.range(log(0)..=log(u64::MAX));
        let branches = logs.flat_map(|(_, log)| &log.branches);
        branches.map(|place| self.branches[*place as usize].last)
    }

    /// Where an entry goes that follows this one in its log: a branch that it makes longer, or a new one.
    pub(crate) fn next_in_log(&self, log: &LogId, seq: u64, prev: Option<Index>) -> NextInLog {
        if self.forks.get(log).is_some_and(|forks| forks.contains(&seq)) {
            return NextInLog::Begins;
        }
        match prev.map(|prev| (prev, self.node(prev).branch)) {
            Some((prev, place)) => {
                let branch = &self.branches[place as usize];
                if branch.last == prev && !branch.parted {
                    NextInLog::GoesOn(place)
                } else {
                    NextInLog::Forks
                }
            }
            None if self.logs.contains_key(log) => NextInLog::Forks,
            None => NextInLog::Founds,
        }
    }

    /// Heads as hashes, sorted.
    pub(crate) fn heads(&self) -> Vec<EntryHash> {
        let mut heads: Vec<_> = self.heads.iter().map(|index| self.node(*index).hash).collect();
        heads.sort();
        heads
    }

    /// What an entry of ours builds upon.
    pub(crate) fn tips(&self) -> impl Iterator<Item = Index> {
        self.tips.iter().copied()
    }

    /// Adds an entry whose parents are here; the one before it in the log is the first of them.
    pub(crate) fn append(&mut self, row: &Row, parents: Box<[Index]>) -> Index {
        let index = self.len();
        let Entry { log, seq, .. } = row.entry;
        let prev = (seq > 1).then(|| parents.first().copied()).flatten();
        let next = self.next_in_log(&log, seq, prev);
        if next == NextInLog::Forks {
            self.know_forks([(log, seq)]);
        }
        let branch = match next {
            NextInLog::GoesOn(branch) => branch,
            NextInLog::Founds => self.begin(log, None),
            NextInLog::Begins | NextInLog::Forks => self.begin(log, Some(row.hash)),
        };
        if let Some(prev) = prev {
            let before = self.node(prev).branch;
            let parts = before != branch && self.branches[before as usize].last == prev;
            self.branches[before as usize].parted |= parts;
        }
        self.branches[branch as usize].last = index;
        let known = self.logs.entry(log).or_default();
        known.length = known.length.max(seq);
        for parent in &parents {
            self.heads.remove(parent);
        }
        self.heads.insert(index);
        self.by_hash.insert(row.hash, index);
        self.nodes.push(Node {
            hash: row.hash,
            branch,
            seq,
            parents,
            time: row.entry.link.time,
            person: Some(&row.entry.link.person).filter(|it| !it.is_empty()).cloned(),
            standing: row.standing,
            change: None,
        });
        self.note_standing(index, row.standing, row.applied.as_ref());
        self.digest = None;
        index
    }

    fn begin(&mut self, log: LogId, start: Option<EntryHash>) -> u32 {
        let place = self.branches.len() as u32;
        self.branches.push(Branch {
            log,
            start,
            last: 0,
            parted: false,
            changes: 0,
            under: BTreeSet::new(),
        });
        self.logs.entry(log).or_default().branches.push(place);
        place
    }

    fn note_standing(&mut self, index: Index, standing: Standing, applied: Option<&Applied>) {
        match standing {
            Standing::Deferred => {
                self.deferred += 1;
                return;
            }
            Standing::Void(_) => self.void += 1,
            Standing::Applied => {}
        }
        for parent in &self.nodes[index as usize].parents {
            self.tips.remove(parent);
        }
        self.tips.insert(index);
        if let Some(applied) = applied {
            let node = &mut self.nodes[index as usize];
            node.change = Some((applied.change, applied.max_op));
            self.branches[node.branch as usize].changes += 1;
            self.by_change.insert(applied.change, index);
        }
    }

    /// Whether an entry has been found under a branch before.
    pub(crate) fn is_known_under(&self, branch: Option<u32>, old: Index) -> bool {
        branch.is_some_and(|place| self.branches[place as usize].under.contains(&old))
    }

    /// Remembers that these lie under this entry, which is the last one of its branch.
    pub(crate) fn remember_under(&mut self, index: Index, old: Vec<Index>) {
        let branch = self.node(index).branch;
        self.branches[branch as usize].under.extend(old);
    }

    /// Whether `old` is under one of `tips`, or is one.
    pub(crate) fn is_under(&self, old: Index, tips: &[Index]) -> bool {
        let target = self.node(old);
        let mut seen = BTreeSet::new();
        // Nothing with a lower index can have it in its past.
        let mut walk: Vec<Index> = tips.iter().copied().filter(|tip| *tip >= old).collect();
        while let Some(at) = walk.pop() {
            let node = self.node(at);
            if node.branch == target.branch && node.seq >= target.seq {
                // A branch is a chain: its later entries lie over all its earlier ones. With this a walk down
                // to an office's admission, by one who writes often, is a few steps and not thousands.
                return true;
            }
            walk.extend(node.parents.iter().copied().filter(|p| *p >= old && seen.insert(*p)));
        }
        false
    }

    /// The latest applied changes under (or at) these entries, as indices: what a change on top of them
    /// depends on.
    pub(crate) fn latest_changes(&self, tips: &[Index]) -> Vec<Index> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut walk = tips.to_vec();
        while let Some(at) = walk.pop() {
            let node = self.node(at);
            if node.change.is_some() {
                found.insert(at);
            } else {
                walk.extend(node.parents.iter().copied().filter(|parent| seen.insert(*parent)));
            }
        }
        // Heads don't lie under each other; what was found beneath them may. So the highest is one of the latest; and of
        // the others what isn't met on the way down from there, to the lowest.
        let mut walk: BTreeSet<Index> = found.last().copied().into_iter().collect();
        let mut open: BTreeSet<Index> =
            found.iter().copied().filter(|it| !walk.contains(it)).collect();
        while let Some(lowest) = open.first().copied()
            && let Some(at) = walk.pop_last()
        {
            walk.extend(self.node(at).parents.iter().copied().filter(|parent| *parent >= lowest));
            while let Some(next) = open.last().copied()
                && walk.last().is_none_or(|at| *at <= next)
            {
                open.remove(&next);
                if !walk.insert(next) {
                    found.remove(&next);
                }
            }
        }
        found.into_iter().collect()
    }

    /// Which of the entries lie under these heads (or are them): true at their index. O(entries).
    pub(crate) fn under(&self, heads: &[Index]) -> Vec<bool> {
        let mut under = vec![false; self.nodes.len()];
        for head in heads {
            under[*head as usize] = true;
        }
        for index in (0..self.nodes.len()).rev() {
            if under[index] {
                for parent in &self.nodes[index].parents {
                    under[*parent as usize] = true;
                }
            }
        }
        under
    }

    /// The digest of the frontier: SHA-256 over its lines, sorted by log.
    pub(crate) fn digest(&mut self) -> Digest {
        if let Some(digest) = self.digest {
            return digest;
        }
        let mut sha = Sha256::new();
        sha.update(b"fasti/frontier/1\0");
        for Line { log, seq, hash } in self.lines_since(0) {
            sha.update(log.author.0);
            sha.update(log.incarnation.0.to_be_bytes());
            sha.update(seq.to_be_bytes());
            sha.update(hash.0);
        }
        let digest = Digest(sha.finalize().into());
        self.digest = Some(digest);
        digest
    }

    /// The lines of the logs that grew from this index on: one for each history. Sorted by log, then by
    /// sequence number, then by hash.
    pub(crate) fn lines_since(&self, index: Index) -> Vec<Line> {
        let place = |node: &Node| node.branch;
        let grown: BTreeSet<u32> = match index {
            0 => (0..self.branches.len() as u32).collect(),
            _ => self.nodes[(index as usize).min(self.nodes.len())..].iter().map(place).collect(),
        };
        let branches = grown.into_iter().map(|place| &self.branches[place as usize]);
        let mut lines: Vec<_> = branches
            .filter(|branch| !branch.parted)
            .map(|branch| {
                let Node { seq, hash, .. } = *self.node(branch.last);
                Line { log: branch.log, seq, hash }
            })
            .collect();
        lines.sort_by_key(|line| (line.log, line.seq, line.hash));
        lines
    }
}

/// See [`Graph::next_in_log`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextInLog {
    /// It is the log's first entry.
    Founds,
    /// It makes this branch longer.
    GoesOn(u32),
    /// It begins a branch at a fork that is known.
    Begins,
    /// Another entry stands in its place: a fork that was not known.
    Forks,
}
