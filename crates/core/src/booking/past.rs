//! What lies under the entries about resources: for each history that has such entries, which entries lie under
//! its last one. So that the question costs a look, and each history walks over each entry once, however often it
//! books.

use std::collections::BTreeMap;

use crate::graph::{Graph, Index};

/// What lies under an entry, of the entries about resources: for each branch the last of them. A branch is a chain, so
/// that all before it lie under it too.
pub(crate) type Clock = BTreeMap<u32, Index>;

/// Whether a clock has an entry of this branch.
pub(crate) fn has(clock: &Clock, branch: u32, at: Index) -> bool {
    clock.get(&branch).is_some_and(|last| *last >= at)
}

#[derive(Default)]
pub(crate) struct Pasts {
    /// Entries about resources.
    entries: Bits,
    branches: BTreeMap<u32, Past>,
}

/// What lies under the last entry about resources of a branch, or is it.
#[derive(Default)]
pub(crate) struct Past {
    under: Bits,
    pub(crate) clock: Clock,
}

impl Past {
    pub(crate) fn has(&self, at: Index) -> bool {
        self.under.has(at)
    }
}

impl Pasts {
    /// Takes an entry about resources, the last one of its branch, and gives what lies under it.
    pub(crate) fn advance(&mut self, graph: &Graph, at: Index) -> &Past {
        let branch = graph.node(at).branch;
        let past = self.branches.entry(branch).or_default();
        let mut walk: Vec<Index> = graph.node(at).parents.to_vec();
        while let Some(below) = walk.pop() {
            if !past.under.add(below) {
                continue;
            }
            let node = graph.node(below);
            if self.entries.has(below) {
                let last = past.clock.entry(node.branch).or_default();
                *last = below.max(*last);
            }
            walk.extend(node.parents.iter().copied().filter(|parent| !past.under.has(*parent)));
        }
        self.entries.add(at);
        past
    }

    /// Whether an entry was found under an earlier one of a branch.
    pub(crate) fn is_known_under(&self, branch: Option<u32>, at: Index) -> bool {
        branch.and_then(|branch| self.branches.get(&branch)).is_some_and(|past| past.has(at))
    }
}

#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn has(&self, at: Index) -> bool {
        self.0.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Whether it is new.
    fn add(&mut self, at: Index) -> bool {
        let place = at as usize / 64;
        if self.0.len() <= place {
            self.0.resize(place + 1, 0);
        }
        let bit = 1 << (at % 64);
        let new = self.0[place] & bit == 0;
        self.0[place] |= bit;
        new
    }
}
