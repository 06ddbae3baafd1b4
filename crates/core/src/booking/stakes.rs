//! Whose word counts for a resource. All of it follows from what lies under an entry, but for one thing: what a
//! dismissed office wrote and nobody who dismissed it knew counts for nothing, and that is so once all have accepted
//! its dismissal, wherever they stand.

use std::collections::BTreeSet;

use super::mutation::{Mutation, is};
use super::past::{Clock, has};
use crate::graph::Index;
use crate::ids::{EntryHash, OfficeId};
use crate::resource::{Propose, STAKEHOLDERS_MAX};

/// Most proposals under one that still counts: each is looked at for each entry about its resource.
const PROPOSALS_MAX: usize = 64;

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) branch: u32,
    pub(crate) at: Index,
}

impl Place {
    pub(crate) fn is_under(self, clock: &Clock) -> bool {
        has(clock, self.branch, self.at)
    }
}

/// A stakeholder's consent.
#[derive(Clone, Debug)]
pub(crate) struct Consent {
    pub(crate) office: OfficeId,
    pub(crate) place: Place,
    /// What its office knew.
    clock: Clock,
}

/// A change of the stakeholders that somebody proposed.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    pub(crate) hash: EntryHash,
    pub(crate) place: Place,
    pub(crate) add: Option<OfficeId>,
    pub(crate) dismiss: Option<OfficeId>,
    /// Who has to accept it.
    pub(crate) required: BTreeSet<OfficeId>,
    pub(crate) consents: Vec<Consent>,
    /// Where no stakeholder has to accept it, what its author knew stands for what they knew.
    alone: Option<Clock>,
}

impl Proposal {
    /// Whether all have accepted it, as far as these places go and by consents that count.
    fn is_accepted(
        &self,
        reaches: impl Fn(Place) -> bool,
        counts: impl Fn(&Consent) -> bool,
    ) -> bool {
        let accepts = |office: &OfficeId| {
            let mut consents = self.consents.iter().filter(|it| it.office == *office);
            consents.any(|it| reaches(it.place) && counts(it))
        };
        reaches(self.place) && self.required.iter().all(accepts)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.is_accepted(|_| true, |_| true)
    }

    /// Whether nobody has to accept it, as the only one who had a say is dismissed: of those who may do that, each must
    /// know of it before anything is final for whoever takes over, as another may do so at the same time.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone.is_some()
    }

    /// What it takes to know that it is complete.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        std::iter::once(self.place).chain(self.consents.iter().map(|it| it.place))
    }

    /// Whether somebody who counts knew this entry of the dismissed office's when dismissing it.
    pub(crate) fn knew(&self, place: Place) -> bool {
        let mut clocks = self.consents.iter().map(|it| &it.clock).chain(&self.alone);
        clocks.any(|clock| place.is_under(clock))
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Stakes {
    /// Who had a say from the beginning.
    pub(crate) founders: BTreeSet<OfficeId>,
    pub(crate) proposals: Vec<Proposal>,
}

impl Stakes {
    /// Who has a say, as far as these places go. Who was dismissed never has one again.
    pub(crate) fn members(&self, counts: impl Fn(Place) -> bool) -> BTreeSet<OfficeId> {
        self.members_by(|it| match is(Mutation::NewcomerTooEarly) && it.dismiss.is_none() {
            true => counts(it.place),
            false => it.is_accepted(&counts, |_| true),
        })
    }

    /// Who has a say where an entry stands that has this under it.
    pub(crate) fn members_under(&self, clock: &Clock) -> BTreeSet<OfficeId> {
        self.members(|place| place.is_under(clock))
    }

    /// The same, without consents that turned out to be void.
    pub(crate) fn members_still(&self, reaches: impl Fn(Place) -> bool) -> BTreeSet<OfficeId> {
        self.members_by(|it| {
            it.is_accepted(&reaches, |by| {
                it.dismiss.is_some() || !self.was_unknown(&by.office, by.place)
            })
        })
    }

    fn members_by(&self, is_accepted: impl Fn(&Proposal) -> bool) -> BTreeSet<OfficeId> {
        let mut members = self.founders.clone();
        let accepted: Vec<_> = self.proposals.iter().filter(|it| is_accepted(it)).collect();
        members.extend(accepted.iter().filter_map(|it| it.add));
        for gone in accepted.iter().filter_map(|it| it.dismiss) {
            members.remove(&gone);
        }
        members
    }

    /// Takes a proposal, if its author may make it there; says which one it is.
    pub(crate) fn propose(
        &mut self,
        propose: &Propose,
        by: OfficeId,
        hash: EntryHash,
        place: Place,
        clock: &Clock,
    ) -> Option<usize> {
        let members = self.members_under(clock);
        let Propose { add, dismiss, .. } = *propose;
        let adds = add.is_none_or(|it| {
            !members.contains(&it) && (dismiss.is_some() || members.len() < STAKEHOLDERS_MAX)
        });
        let known = self.proposals.iter().filter(|it| it.place.is_under(clock)).count();
        let leaves = members.len() + usize::from(add.is_some()) > 1;
        let may = match dismiss {
            // Its author is an admin. Somebody has to be left.
            Some(gone) => members.contains(&gone) && leaves,
            None => members.contains(&by),
        };
        if !(adds && may) || known >= PROPOSALS_MAX {
            return None;
        }
        let is_member = members.contains(&by) && dismiss != Some(by);
        let mut required = members;
        required.retain(|office| Some(*office) != dismiss);
        let alone = required.is_empty().then(|| clock.clone());
        let consent = Consent { office: by, place, clock: clock.clone() };
        let consents = if is_member { vec![consent] } else { Vec::new() };
        self.proposals.push(Proposal { hash, place, add, dismiss, required, consents, alone });
        Some(self.proposals.len() - 1)
    }

    /// Takes a consent; says to which proposal. One that lies on top of another of the same office's says nothing new.
    pub(crate) fn accept(
        &mut self,
        hash: EntryHash,
        office: OfficeId,
        place: Place,
        clock: &Clock,
    ) -> Option<usize> {
        let index = self.proposals.iter().position(|it| it.hash == hash)?;
        let proposal = &mut self.proposals[index];
        let again =
            proposal.consents.iter().any(|it| it.office == office && it.place.is_under(clock));
        if !proposal.required.contains(&office) || !proposal.place.is_under(clock) || again {
            return None;
        }
        proposal.consents.push(Consent { office, place, clock: clock.clone() });
        Some(index)
    }

    /// Whether an entry counts for nothing: its author was dismissed by some who didn't know it, or has its say by a
    /// consent of such an author's.
    pub(crate) fn is_void(&self, office: &OfficeId, place: Place, clock: Option<&Clock>) -> bool {
        self.was_unknown(office, place)
            || clock.is_some_and(|clock| {
                !self.members_still(|place| place.is_under(clock)).contains(office)
            })
    }

    fn was_unknown(&self, office: &OfficeId, place: Place) -> bool {
        let mut dismissals = self.proposals.iter().filter(|it| it.dismiss == Some(*office));
        dismissals.any(|it| it.is_complete() && !it.knew(place))
    }

    /// Whether it may yet turn out so, although those who have a say (`waited`) acknowledge the entry: some of those
    /// who dismiss it may have said so already, not knowing it, and the others need not have known it either.
    pub(crate) fn is_at_risk(
        &self,
        office: &OfficeId,
        place: Place,
        waited: &BTreeSet<OfficeId>,
    ) -> bool {
        let mut dismissals = self.proposals.iter().filter(|it| it.dismiss == Some(*office));
        dismissals.any(|it| {
            let open = |office: &&OfficeId| {
                waited.contains(*office) && !it.consents.iter().any(|c| c.office == **office)
            };
            !it.is_complete() && !it.knew(place) && !it.required.iter().any(|it| open(&it))
        })
    }
}
