//! The one order in which the operations on a resource count. It is topological: nothing comes before what lies under
//! it. Among what is ready a fixed priority decides, that of resource, day and author. So whatever is added later comes
//! after all that lies under it, and nothing before that moves: that is what makes a booking final.
//!
//! An operation may have parts: what it does first (a release, new terms), and its claims, each by its day. They are
//! ready together, and what lies on top of the operation comes after all of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::stakes::Place;
use crate::graph::Index;
use crate::ids::EntryHash;

/// Which operation, in the order in which they came here.
pub(crate) type Number = u32;

/// What is ordered.
#[derive(Clone, Debug)]
struct Node {
    place: Place,
    hash: EntryHash,
    /// The last operations under it of other branches, where those before it in its own don't have them.
    after: Box<[Place]>,
    /// The priority of each of its parts, which are taken in their order.
    parts: Box<[u64]>,
    /// In its branch.
    nth: u32,
}

/// A part of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    pub(crate) number: Number,
    pub(crate) part: u32,
}

#[derive(Clone, Debug, Default)]
struct Chain {
    numbers: Vec<Number>,
    /// How far it is ordered: operations, and parts of the next one.
    next: u32,
    part: u32,
    /// What its last operation knows of other branches.
    seen: BTreeMap<u32, Index>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    nodes: Vec<Node>,
    chains: BTreeMap<u32, Chain>,
    sequence: Vec<Part>,
    /// Of each operation the places of its first and its last part in the sequence, once they have one.
    starts: Vec<Option<u32>>,
    ends: Vec<Option<u32>>,
    /// Those that came since all were ordered.
    new: Vec<Number>,
}

/// The next part of a branch: by priority, then by hash, which decides only between histories of one author.
type Ready = (u64, EntryHash, u32);

impl Order {
    /// Takes an operation; those under it must be here. `parts` are their priorities, in their order; not empty.
    pub(crate) fn add(
        &mut self,
        place: Place,
        hash: EntryHash,
        clock: &BTreeMap<u32, Index>,
        parts: Box<[u64]>,
    ) -> Number {
        let number = self.nodes.len() as Number;
        let others: Vec<u32> =
            self.chains.keys().copied().filter(|it| *it != place.branch).collect();
        let chain = self.chains.entry(place.branch).or_default();
        let mut after = Vec::new();
        for branch in others {
            let Some(at) = clock.get(&branch).copied() else { continue };
            let seen = chain.seen.entry(branch).or_default();
            if at > *seen {
                *seen = at;
                after.push(Place { branch, at });
            }
        }
        let nth = chain.numbers.len() as u32;
        chain.numbers.push(number);
        self.nodes.push(Node { place, hash, after: after.into(), parts, nth });
        self.starts.push(None);
        self.ends.push(None);
        self.new.push(number);
        number
    }

    /// Where its entry is.
    pub(crate) fn place(&self, number: Number) -> Place {
        self.nodes[number as usize].place
    }

    /// How many parts it has.
    pub(crate) fn parts(&self, number: Number) -> usize {
        self.nodes[number as usize].parts.len()
    }

    /// Where its first part is in the sequence.
    pub(crate) fn start(&self, number: Number) -> Option<u32> {
        self.starts[number as usize]
    }

    /// Whether all are in the sequence.
    pub(crate) fn is_complete(&self) -> bool {
        self.new.is_empty()
    }

    /// Where its last part is in the sequence.
    pub(crate) fn end(&self, number: Number) -> Option<u32> {
        self.ends[number as usize]
    }

    pub(crate) fn sequence(&self) -> &[Part] {
        &self.sequence
    }

    /// Where the sequence may have to change because of what is new.
    pub(crate) fn first_change(&self) -> usize {
        let mut first = self.sequence.len();
        for number in &self.new {
            let node = &self.nodes[*number as usize];
            // What builds upon something that is new comes after it.
            let Some(from) = self.ready_from(node) else { continue };
            let least = (node.parts[0], node.hash);
            let comes_first = |it: &Part| {
                let other = &self.nodes[it.number as usize];
                least < (other.parts[it.part as usize], other.hash)
            };
            if from < first
                && let Some(at) = self.sequence[from..first].iter().position(comes_first)
            {
                first = from + at;
            }
        }
        first
    }

    /// The place in the sequence from which an operation is ready, if all under it is ordered.
    fn ready_from(&self, node: &Node) -> Option<usize> {
        let end = |number: Number| Some(self.ends[number as usize]? as usize + 1);
        let own = &self.chains[&node.place.branch];
        let mut from = match node.nth.checked_sub(1) {
            Some(before) => end(own.numbers[before as usize])?,
            None => 0,
        };
        for after in &node.after {
            if let Some(last) = self.last_until(*after) {
                from = from.max(end(last)?);
            }
        }
        Some(from)
    }

    /// The last operation of a branch until there.
    fn last_until(&self, place: Place) -> Option<Number> {
        let numbers = &self.chains.get(&place.branch)?.numbers;
        let count = numbers.partition_point(|it| self.nodes[*it as usize].place.at <= place.at);
        numbers.get(count.checked_sub(1)?).copied()
    }

    /// Takes the last part back out of the sequence, until all are ordered again.
    pub(crate) fn pop(&mut self) -> Option<Part> {
        let Part { number, part } = self.sequence.pop()?;
        let node = &self.nodes[number as usize];
        if let Some(chain) = self.chains.get_mut(&node.place.branch) {
            (chain.next, chain.part) = (node.nth, part);
        }
        self.ends[number as usize] = None;
        if part == 0 {
            self.starts[number as usize] = None;
        }
        Some(Part { number, part })
    }

    /// Orders all that is not ordered yet, after what is.
    pub(crate) fn extend(&mut self) {
        self.new.clear();
        let mut ready = BinaryHeap::new();
        // By the branch that has to come further: which branches wait for that.
        let mut waiting: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let branches: Vec<u32> = self.chains.keys().copied().collect();
        for branch in branches {
            self.queue(branch, &mut ready, &mut waiting);
        }
        while let Some(Reverse((_, _, branch))) = ready.pop() {
            let Some(chain) = self.chains.get_mut(&branch) else { continue };
            let number = chain.numbers[chain.next as usize];
            let part = chain.part;
            chain.part += 1;
            if part == 0 {
                self.starts[number as usize] = Some(self.sequence.len() as u32);
            }
            let done = chain.part as usize == self.nodes[number as usize].parts.len();
            if done {
                (chain.next, chain.part) = (chain.next + 1, 0);
                self.ends[number as usize] = Some(self.sequence.len() as u32);
            }
            self.sequence.push(Part { number, part });
            self.queue(branch, &mut ready, &mut waiting);
            if done {
                for branch in waiting.remove(&branch).unwrap_or_default() {
                    self.queue(branch, &mut ready, &mut waiting);
                }
            }
        }
    }

    /// Puts a branch where it belongs: among those that are ready, or that wait for another one.
    fn queue(
        &self,
        branch: u32,
        ready: &mut BinaryHeap<Reverse<Ready>>,
        waiting: &mut BTreeMap<u32, Vec<u32>>,
    ) {
        let Some(chain) = self.chains.get(&branch) else { return };
        let Some(number) = chain.numbers.get(chain.next as usize) else { return };
        let node = &self.nodes[*number as usize];
        let is_open = |it: &&Place| {
            let other = self.chains.get(&it.branch);
            let next = other.and_then(|other| other.numbers.get(other.next as usize));
            next.is_some_and(|next| self.nodes[*next as usize].place.at <= it.at)
        };
        match node.after.iter().find(is_open) {
            Some(open) => waiting.entry(open.branch).or_default().push(branch),
            None => {
                ready.push(Reverse((node.parts[chain.part as usize], node.hash, branch)));
            }
        }
    }
}
