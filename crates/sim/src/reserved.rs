//! What entries say of resources, taken apart without the core's help: what the oracle of bookings goes by. It knows of
//! every entry that any office has stored, whether it counts there or not.

use std::collections::{BTreeMap, BTreeSet};

use fasti_core::resource::{Propose, Reservation, Slot, Terms};
use fasti_core::row::Row;
use fasti_core::statement::Statement;
use fasti_core::{EntryHash, OfficeId, ResourceId};
use sha2::{Digest as _, Sha256};

use crate::entries::Entries;

/// A resource.
pub(crate) struct Resource {
    /// Who has a say, may have had one or may come to have one.
    pub(crate) named: BTreeSet<OfficeId>,
    /// Those of them that had one from the start.
    pub(crate) founders: BTreeSet<OfficeId>,
    /// Never more bookings at a time than this,
    pub(crate) capacity_max: u32,
    /// and each takes this much before and after it, or more.
    pub(crate) before_min: u32,
    pub(crate) after_min: u32,
    /// Entries about it.
    pub(crate) about: Entries,
    /// By whom.
    pub(crate) by: BTreeMap<OfficeId, Entries>,
    /// Wishes to take somebody's say away: in which entry, and whose.
    pub(crate) dismissals: Vec<(u32, OfficeId)>,
}

/// A time that was claimed.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) resource: ResourceId,
    pub(crate) author: OfficeId,
    pub(crate) slot: Slot,
    /// Entries that give it up, and their authors.
    pub(crate) releases: Vec<Release>,
}

/// That a claim is given up.
#[derive(Clone)]
pub(crate) struct Release {
    pub(crate) number: u32,
    pub(crate) hash: EntryHash,
    pub(crate) author: OfficeId,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Reserved {
    pub(crate) resources: BTreeMap<ResourceId, Resource>,
    /// By the names that nodes show.
    pub(crate) claims: BTreeMap<String, Claim>,
}

impl Reserved {
    /// Takes an entry that is new.
    pub(crate) fn note(&mut self, number: u32, row: &Row) {
        let author = row.entry.log.author;
        let said = Statement::decode(row.entry.link.kind, &row.entry.link.body);
        let Ok(Statement::Reservation(said)) = said else { return };
        if let Reservation::Define(define) = &said {
            let founders: BTreeSet<OfficeId> = define.stakeholders.iter().copied().collect();
            let Terms { capacity, before, after } = define.description.terms;
            let resource = Resource {
                named: founders.clone(),
                founders,
                capacity_max: capacity,
                before_min: before,
                after_min: after,
                about: Entries::default(),
                by: BTreeMap::new(),
                dismissals: Vec::new(),
            };
            self.resources.insert(ResourceId(row.hash.0), resource);
        }
        let id = match &said {
            Reservation::Define(_) => ResourceId(row.hash.0),
            Reservation::Describe(it) => it.resource,
            Reservation::Book(it) => it.resource,
            Reservation::Grant(it) => it.resource,
            Reservation::Propose(it) => it.resource,
            Reservation::Accept(it) => it.resource,
        };
        let Some(resource) = self.resources.get_mut(&id) else { return };
        resource.about.insert(number);
        resource.by.entry(author).or_default().insert(number);
        match said {
            Reservation::Describe(it) => {
                let Terms { capacity, before, after } = it.description.terms;
                resource.capacity_max = resource.capacity_max.max(capacity);
                resource.before_min = resource.before_min.min(before);
                resource.after_min = resource.after_min.min(after);
            }
            Reservation::Propose(Propose { add, dismiss, .. }) => {
                resource.named.extend(add);
                resource.dismissals.extend(dismiss.map(|gone| (number, gone)));
            }
            Reservation::Book(it) => {
                for released in &it.releases {
                    if let Some(claim) = self.claims.get_mut(&name(&released.entry, released.slot))
                    {
                        claim.releases.push(Release { number, hash: row.hash, author });
                    }
                }
                for (at, slot) in (0..).zip(it.claims) {
                    let claim = Claim { resource: id, author, slot, releases: Vec::new() };
                    self.claims.insert(name(&row.hash, at), claim);
                }
            }
            Reservation::Define(_) | Reservation::Grant(_) | Reservation::Accept(_) => {}
        }
    }
}

/// How nodes call a claim: see "Merging" in docs/protocol.md for the names of conflicts.
fn name(entry: &EntryHash, slot: u32) -> String {
    let sha = Sha256::new().chain_update(entry.to_string()).chain_update([0]);
    hex::encode(&sha.chain_update(slot.to_string()).finalize()[..6])
}
