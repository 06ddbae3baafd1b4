//! Who is whose neighbour. A pure function of the roster, so that both ends agree without talking.
//!
//! Up to [`MESH_MAX`] members everyone is everyone's neighbour: one hop. Above, the members stand on
//! [`RINGS`] rings, each in an order of its own (by a hash of ring and office), and each is a neighbour
//! of those beside it on every ring. The union of a few random rings is a random regular graph: it
//! is connected however large it is, stays so with many nodes gone, and its diameter grows with the
//! logarithm (Law and Siu, "Distributed construction of random expander networks", 2003). A change
//! is passed to all neighbours but the one it came from, so an office gets one copy less than it has
//! neighbours. A tree with lazy repairs (Plumtree) would save copies of a few hundred bytes, and pay
//! with timers, per-message state and slower delivery whenever the tree is broken.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::ids::OfficeId;

/// Up to this many members everyone is linked with everyone: 29 idle links cost a node nothing that
/// one would notice, and every change takes a single hop.
pub const MESH_MAX: usize = 30;

/// Rings in larger networks; twice as many neighbours.
pub const RINGS: u8 = 3;

/// The neighbours of an office among the members.
pub fn neighbours(members: &BTreeSet<OfficeId>, office: &OfficeId) -> BTreeSet<OfficeId> {
    let mut found: BTreeSet<OfficeId> = BTreeSet::new();
    if members.len() <= MESH_MAX {
        found.extend(members);
    } else if members.contains(office) {
        for ring in 0..RINGS {
            let mut order: Vec<([u8; 32], &OfficeId)> =
                members.iter().map(|member| (place(ring, member), member)).collect();
            order.sort();
            if let Some(at) = order.iter().position(|(_, member)| *member == office) {
                found.insert(*order[(at + 1) % order.len()].1);
                found.insert(*order[(at + order.len() - 1) % order.len()].1);
            }
        }
    }
    found.remove(office);
    found
}

fn place(ring: u8, office: &OfficeId) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(b"fasti/ring/1\0");
    sha.update([ring]);
    sha.update(office.0);
    sha.finalize().into()
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

    #[test]
    fn small_networks_are_meshes() {
        let members = offices(30);
        for office in &members {
            assert_eq!(neighbours(&members, office).len(), 29);
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
}
