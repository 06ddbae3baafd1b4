//! The causal graph: which entries are held, how they lie on each other, and what follows from that: the
//! frontier, the heads, who lies under whom. Entries have local indices in the order in which they came,
//! parents always before children. Leaves what entries say to `roster` and `document`.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::document::Hash;
use crate::ids::{Digest, EntryHash, LogId};
use crate::message::Line;
use crate::row::{Applied, Row, Standing};

/// A local index.
pub(crate) type Index = u32;

/// What the graph keeps of an entry.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) hash: EntryHash,
    /// Which log: a place in `Graph::logs`.
    pub(crate) log: u32,
    pub(crate) seq: u64,
    /// The author's previous entry and the parents.
    pub(crate) parents: Box<[Index]>,
    /// Milliseconds since 1970, by the author's clock.
    pub(crate) time: i64,
    pub(crate) standing: Standing,
    /// For applied changes: hash and highest operation counter.
    pub(crate) change: Option<(Hash, u64)>,
}

/// One log, without a gap from 1.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) id: LogId,
    /// The entry with seq n is at n - 1.
    pub(crate) entries: Vec<Index>,
    /// How many of them are applied changes.
    pub(crate) changes: u64,
    /// Entries of other logs that are known to lie under this log's last one: they lie under all
    /// later ones too, and need not be looked for again.
    under: BTreeSet<Index>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    by_hash: BTreeMap<EntryHash, Index>,
    by_change: BTreeMap<Hash, Index>,
    logs: Vec<Log>,
    log_places: BTreeMap<LogId, u32>,
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
        self.by_change.get(hash).map(|index| self.node(*index))
    }

    pub(crate) fn log(&self, id: &LogId) -> Option<&Log> {
        self.log_places.get(id).map(|place| &self.logs[*place as usize])
    }

    pub(crate) fn log_id(&self, node: &Node) -> LogId {
        self.logs[node.log as usize].id
    }

    pub(crate) fn logs(&self) -> impl Iterator<Item = &Log> {
        self.log_places.values().map(|place| &self.logs[*place as usize])
    }

    /// The last entry of a log.
    pub(crate) fn last(&self, id: &LogId) -> Option<&Node> {
        self.log(id)?.entries.last().map(|index| self.node(*index))
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

    /// Adds an entry whose parents are here.
    pub(crate) fn append(&mut self, row: &Row, parents: Box<[Index]>) -> Index {
        let index = self.len();
        let place = *self.log_places.entry(row.entry.log).or_insert_with(|| {
            self.logs.push(Log {
                id: row.entry.log,
                entries: Vec::new(),
                changes: 0,
                under: BTreeSet::new(),
            });
            self.logs.len() as u32 - 1
        });
        for parent in &parents {
            self.heads.remove(parent);
        }
        self.heads.insert(index);
        self.logs[place as usize].entries.push(index);
        self.by_hash.insert(row.hash, index);
        self.nodes.push(Node {
            hash: row.hash,
            log: place,
            seq: row.entry.seq,
            parents,
            time: row.entry.link.time,
            standing: row.standing,
            change: None,
        });
        self.note_standing(index, row.standing, row.applied.as_ref());
        self.digest = None;
        index
    }

    /// A deferred entry has been understood.
    pub(crate) fn understood(&mut self, index: Index, row: &Row) {
        self.deferred -= 1;
        self.nodes[index as usize].standing = row.standing;
        self.note_standing(index, row.standing, row.applied.as_ref());
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
            self.logs[node.log as usize].changes += 1;
            self.by_change.insert(applied.change, index);
        }
    }

    /// Whether an entry has been found under this log before.
    pub(crate) fn is_known_under(&self, log: &LogId, old: Index) -> bool {
        self.log(log).is_some_and(|log| log.under.contains(&old))
    }

    /// Remembers that these lie under this log's last entry.
    pub(crate) fn remember_under(&mut self, log: &LogId, old: Vec<Index>) {
        if let Some(place) = self.log_places.get(log) {
            self.logs[*place as usize].under.extend(old);
        }
    }

    /// Whether `old` is under one of `tips`, or is one.
    pub(crate) fn is_under(&self, old: Index, tips: &[Index]) -> bool {
        let target = self.node(old);
        let mut seen = BTreeSet::new();
        // Nothing with a lower index can have it in its past.
        let mut walk: Vec<Index> = tips.iter().copied().filter(|tip| *tip >= old).collect();
        while let Some(at) = walk.pop() {
            let node = self.node(at);
            if node.log == target.log && node.seq >= target.seq {
                // A log is a chain: its later entries lie over all its earlier ones. With this a walk down
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
        if found.len() > 1 {
            // Heads don't lie under each other; what was found beneath them may.
            let all: Vec<_> = found.iter().copied().collect();
            found.retain(|old| {
                let later: Vec<_> = all.iter().copied().filter(|other| other > old).collect();
                !self.is_under(*old, &later)
            });
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
        for log in self.logs() {
            let Line { log, seq, hash } = self.line(log);
            sha.update(log.author.0);
            sha.update(log.incarnation.0.to_be_bytes());
            sha.update(seq.to_be_bytes());
            sha.update(hash.0);
        }
        let digest = Digest(sha.finalize().into());
        self.digest = Some(digest);
        digest
    }

    fn line(&self, log: &Log) -> Line {
        let last = log.entries.last().map(|index| self.node(*index));
        Line {
            log: log.id,
            seq: log.entries.len() as u64,
            hash: last.map_or(EntryHash([0; 32]), |node| node.hash),
        }
    }

    /// The lines of the logs that grew from this index on; sorted.
    pub(crate) fn lines_since(&self, index: Index) -> Vec<Line> {
        if index == 0 {
            return self.logs().map(|log| self.line(log)).collect();
        }
        let grown: BTreeSet<u32> = self.nodes[(index as usize).min(self.nodes.len())..]
            .iter()
            .map(|node| node.log)
            .collect();
        let mut lines: Vec<_> =
            grown.into_iter().map(|place| self.line(&self.logs[place as usize])).collect();
        lines.sort_by_key(|line| line.log);
        lines
    }
}
