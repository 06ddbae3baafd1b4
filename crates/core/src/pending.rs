//! Bundles that came before what they build upon. Bounded, for each peer and in all: what doesn't fit is
//! dropped and fetched again later.

use std::collections::BTreeMap;

use crate::entry::Bundle;
use crate::ids::{EntryHash, OfficeId};

/// Most bundles that wait. A neighbour whose stream broke for a moment is some hundreds ahead.
pub(crate) const PENDING_MAX: usize = 4096;
/// Most bytes of bundles that wait.
pub(crate) const PENDING_BYTES_MAX: usize = 8 << 20;
/// What one peer may have of both: so that who sends what never fits leaves room for the others.
const PEER_SHARE: usize = 4;

#[derive(Default)]
pub(crate) struct Pending {
    bundles: BTreeMap<u64, (OfficeId, Bundle, usize)>,
    /// By one of the hashes that each waits for; when it comes, the bundle is tried again.
    waiting: BTreeMap<EntryHash, Vec<u64>>,
    next: u64,
    bytes: usize,
    /// Bundles and bytes by who sent them.
    peers: BTreeMap<OfficeId, (usize, usize)>,
}

impl Pending {
    /// Keeps a bundle until an entry comes; false if there is no room.
    pub(crate) fn wait(&mut self, for_hash: EntryHash, from: OfficeId, bundle: Bundle) -> bool {
        let size = size(&bundle);
        let (held, bytes) = self.peers.get(&from).copied().unwrap_or_default();
        if self.bundles.len() >= PENDING_MAX
            || self.bytes + size > PENDING_BYTES_MAX
            || held >= PENDING_MAX / PEER_SHARE
            || bytes + size > PENDING_BYTES_MAX / PEER_SHARE
        {
            return false;
        }
        let waiting = self.waiting.entry(for_hash).or_default();
        if waiting.iter().any(|id| self.bundles.get(id).is_some_and(|(_, held, _)| *held == bundle))
        {
            return true;
        }
        waiting.push(self.next);
        self.bundles.insert(self.next, (from, bundle, size));
        self.next += 1;
        self.bytes += size;
        self.peers.insert(from, (held + 1, bytes + size));
        true
    }

    /// The bundles that waited for an entry.
    pub(crate) fn arrived(&mut self, hash: &EntryHash) -> Vec<(OfficeId, Bundle)> {
        let ids = self.waiting.remove(hash).unwrap_or_default();
        let mut ready = Vec::new();
        for id in ids {
            if let Some((from, bundle, size)) = self.bundles.remove(&id) {
                self.bytes -= size;
                if let Some((held, bytes)) = self.peers.get_mut(&from) {
                    *held -= 1;
                    *bytes -= size;
                }
                ready.push((from, bundle));
            }
        }
        ready
    }

    /// How many bundles wait, and their size in bytes.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.bundles.len(), self.bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bundles.is_empty()
    }

    /// Forgets all: a comparison of frontiers will bring what is missing, in order.
    pub(crate) fn clear(&mut self) {
        *self = Self { next: self.next, ..Self::default() };
    }
}

fn size(bundle: &Bundle) -> usize {
    let links = bundle.iter().flat_map(|run| &run.links);
    200 * bundle.len()
        + links.map(|link| link.body.len() + 32 * link.parents.len() + 64).sum::<usize>()
}
