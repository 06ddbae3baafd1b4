//! Who is whose neighbour, and who pushes to whom. A pure function of the roster, so that both ends
//! agree without talking.
//!
//! Up to [`MESH_MAX`] members everyone is everyone's neighbour: one hop. Above, the members stand on
//! [`RINGS`] rings, each in an order of its own (by a hash of ring and office), and each is a neighbour
//! of those beside it on every ring. The union of a few random rings is a random regular graph: it
//! is connected however large it is, stays so with many nodes gone, and its diameter grows with the
//! logarithm (Law and Siu, "Distributed construction of random expander networks", 2003).
//!
//! What is new is pushed one way round: to the next office on each ring, by everyone to whom it is new. So
//! every office gets a change from each of its [`RINGS`] predecessors, never more often, and any of
//! them will do. Along both directions of a link two offices would mostly send each other what the other
//! has just got, too: three rings pushed both ways cost 5 copies for the speed that four rings
//! have with 4. What all predecessors failed to bring, the comparison of frontiers does, which
//! goes over all links. A tree with lazy repairs (Plumtree) would save copies of a few hundred bytes, and
//! pay with timers, per-message state and slower delivery whenever the tree is broken.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::ids::OfficeId;

/// Up to this many members everyone is linked with everyone: 29 idle links cost a node nothing that
/// one would notice, and every change takes a single hop.
pub const MESH_MAX: usize = 30;

/// Rings in larger networks: as many pushed copies of each change, and twice as many neighbours. On
/// links of 10 to 100 ms four bring a change to 99 of 100 of 1,000 offices in under 350 ms.
pub const RINGS: u8 = 4;

/// An office's place among the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Everyone is linked with everyone.
    pub mesh: bool,
    /// Whom to be linked with.
    pub neighbours: BTreeSet<OfficeId>,
    /// To whom of them to push what is new.
    pub successors: BTreeSet<OfficeId>,
}

impl Default for Overlay {
    fn default() -> Self {
        Self { mesh: true, neighbours: BTreeSet::new(), successors: BTreeSet::new() }
    }
}

impl Overlay {
    /// Of this office among these members. Costs a hash for each member and ring.
    pub fn new<'a>(
        members: impl ExactSizeIterator<Item = &'a OfficeId> + Clone,
        office: &OfficeId,
    ) -> Self {
        let mut found = Self::default();
        if members.len() <= MESH_MAX {
            found.neighbours.extend(members);
            found.neighbours.remove(office);
            found.successors = found.neighbours.clone();
            return found;
        }
        found.mesh = false;
        if !members.clone().any(|member| member == office) {
            return found;
        }
        for ring in 0..RINGS {
            let own = place(ring, office);
            // How far round the ring each is from here: the nearest is the next, the farthest the one
            // before.
            let mut ends = None;
            for member in members.clone().filter(|member| *member != office) {
                let far = (distance(&own, &place(ring, member)), member);
                let (nearest, farthest) = *ends.get_or_insert((far, far));
                ends = Some((nearest.min(far), farthest.max(far)));
            }
            let Some(((_, next), (_, before))) = ends else { continue };
            found.neighbours.extend([*next, *before]);
            found.successors.insert(*next);
        }
        found
    }
}

fn place(ring: u8, office: &OfficeId) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(b"fasti/ring/1\0");
    sha.update([ring]);
    sha.update(office.0);
    sha.finalize().into()
}

/// From one place on to another, the one way round: which of two is farther is all that counts.
fn distance(from: &[u8; 32], to: &[u8; 32]) -> (bool, [u8; 32]) {
    (to < from, *to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offices(count: u16) -> BTreeSet<OfficeId> {
        (0..count)
            .map(|at| {
                let mut id = [0; 32];
                id[..2].copy_from_slice(&at.to_be_bytes());
                OfficeId(id)
            })
            .collect()
    }

    fn neighbours(members: &BTreeSet<OfficeId>, office: &OfficeId) -> BTreeSet<OfficeId> {
        Overlay::new(members.iter(), office).neighbours
    }

    #[test]
    fn small_networks_are_meshes() {
        let members = offices(30);
        for office in &members {
            assert_eq!(neighbours(&members, office).len(), 29);
            assert_eq!(Overlay::new(members.iter(), office).successors.len(), 29);
        }
    }

    #[test]
    fn large_networks_are_connected_and_both_ends_agree() {
        let members = offices(300);
        let mut reached = BTreeSet::new();
        let mut walk = vec![*members.first().unwrap()];
        while let Some(at) = walk.pop() {
            if reached.insert(at) {
                for neighbour in neighbours(&members, &at) {
                    assert!(neighbours(&members, &neighbour).contains(&at));
                    walk.push(neighbour);
                }
            }
        }
        assert_eq!(reached.len(), 300);
    }

    #[test]
    fn in_large_networks_everyone_is_pushed_to_once_on_each_ring() {
        let members = offices(300);
        let mut pushed: std::collections::BTreeMap<OfficeId, usize> = Default::default();
        for office in &members {
            for successor in Overlay::new(members.iter(), office).successors {
                *pushed.entry(successor).or_default() += 1;
            }
        }
        assert!(pushed.values().all(|count| (1..=usize::from(RINGS)).contains(count)));
        assert!(pushed.values().sum::<usize>() > 300 * 39 / 10);
    }
}
