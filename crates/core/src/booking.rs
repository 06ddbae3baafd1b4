//! Bookings of resources, final without an arbiter. `docs/protocol.md` has the rule, and why it is sound.
//!
//! - Of each resource a few offices are *stakeholders*: only what they write are operations on it. Who else books asks,
//!   and a stakeholder's node grants it.
//! - All operations on a resource have one order (`order`), which later ones only extend. A claim is held if there is
//!   room beside those held before it (`held`).
//! - What all stakeholders have acknowledged (`cover`) is *settled*: nothing can come before it any more.
//!
//! Follows, but for what is settled, from the entries that are held and not from their order of arrival. Leaves to
//! `roster` who is a member, and to `ledger` which entries count at all.

mod cover;
mod docket;
mod held;
#[cfg(test)]
mod measure;
#[cfg_attr(not(feature = "mutations"), allow(unreachable_pub))]
pub mod mutation;
mod order;
mod past;
#[cfg(test)]
mod small_worlds;
mod stakes;
mod times;

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use self::cover::cover;
pub(crate) use self::docket::{Docket, Settled};
pub(crate) use self::held::{OPEN_MAX, State, Why};
use self::past::Pasts;
use self::stakes::Place;
pub(crate) use self::times::{Key, Span};
use crate::graph::{Graph, Index};
use crate::ids::{EntryHash, OfficeId, ResourceId};
use crate::resource::{Propose, Reservation};
use crate::row::Void;

/// Most resources that a history defines.
const RESOURCES_MAX: u32 = 1000;

#[derive(Default)]
pub(crate) struct Bookings {
    pasts: Pasts,
    dockets: BTreeMap<ResourceId, Docket>,
    /// How many resources each branch has defined.
    defined: BTreeMap<u32, u32>,
    /// Where an event has bookings.
    by_uid: BTreeMap<String, BTreeSet<ResourceId>>,
    /// Resources with requests that nobody has granted.
    asked: BTreeSet<ResourceId>,
}

impl Bookings {
    /// Whether this may be said on top of these, whoever says it.
    pub(crate) fn judge(
        &self,
        graph: &Graph,
        said: &Reservation,
        branch: Option<u32>,
        parents: &[Index],
    ) -> Result<(), Void> {
        if !said.is_sound() {
            return Err(Void::Malformed);
        }
        let Some(resource) = said.resource() else {
            let defined = branch.and_then(|branch| self.defined.get(&branch));
            let full = defined.is_some_and(|defined| *defined >= RESOURCES_MAX);
            return if full { Err(Void::NotAllowed) } else { Ok(()) };
        };
        let known = self.dockets.get(&resource).is_some_and(|docket| {
            let at = docket.defined.at;
            self.pasts.is_known_under(branch, at) || graph.is_under(at, parents)
        });
        known.then_some(()).ok_or(Void::NoEffect)
    }

    /// Takes the entry with this index. `origin` gives the office behind a key, as of that entry.
    pub(crate) fn take(
        &mut self,
        graph: &Graph,
        at: Index,
        author: OfficeId,
        said: &Reservation,
        origin: impl Fn(OfficeId) -> OfficeId,
    ) {
        let node = graph.node(at);
        let place = Place { branch: node.branch, at };
        let past = self.pasts.advance(graph, at);
        let Some(resource) = said.resource() else {
            if let Reservation::Define(define) = said {
                let id = ResourceId(node.hash.0);
                let founders = define.stakeholders.iter().map(|it| origin(*it)).collect();
                self.dockets.insert(id, Docket::new(id, place, define, founders));
                *self.defined.entry(place.branch).or_default() += 1;
            }
            return;
        };
        let Some(docket) = self.dockets.get_mut(&resource) else { return };
        if let Reservation::Book(book) = said {
            self.by_uid.entry(book.uid.clone()).or_default().insert(resource);
        }
        let author = origin(author);
        match said {
            Reservation::Propose(Propose { add, dismiss, .. }) => {
                let (add, dismiss) = (add.map(&origin), dismiss.map(&origin));
                let said = Reservation::Propose(Propose { resource, add, dismiss });
                docket.take(&said, author, node.hash, place, past);
            }
            _ => docket.take(said, author, node.hash, place, past),
        }
        match docket.is_asked() {
            true => self.asked.insert(resource),
            false => self.asked.remove(&resource),
        };
    }

    pub(crate) fn dockets(&self) -> impl Iterator<Item = &Docket> {
        self.dockets.values()
    }

    pub(crate) fn docket(&self, id: &ResourceId) -> Option<&Docket> {
        self.dockets.get(id)
    }

    /// Makes sure that all has come to what it comes to.
    pub(crate) fn refresh(&mut self) {
        for docket in self.dockets.values_mut() {
            docket.refresh();
        }
    }

    /// On which resources an event has bookings.
    pub(crate) fn of_event(&self, uid: &str) -> impl Iterator<Item = ResourceId> {
        self.by_uid.get(uid).into_iter().flatten().copied()
    }

    /// Whether there are requests that nobody has granted.
    pub(crate) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// What an office may grant next, of one resource on which it has a say.
    pub(crate) fn next_grant(&self, office: &OfficeId) -> Option<(ResourceId, Vec<EntryHash>)> {
        let dockets = self.asked.iter().filter_map(|id| self.dockets.get(id));
        let mut dockets = dockets.filter(|docket| docket.members().contains(office));
        dockets.find_map(|docket| {
            let requests = docket.next_grant(office);
            (!requests.is_empty()).then_some((docket.id, requests))
        })
    }
}
