//! The oracle of bookings (invariant 4). What an office calls settled is a promise, and this is what follows from it:
//!
//! - Say an office calls a claim settled while it holds the entries H. Whatever decided that lies in H: the order of
//!   operations up to the one that decided the claim, and the acknowledgements that cover it. So the claim is held by that
//!   office from then on, and by every office that holds all of H, until somebody gives it up who may.
//! - Somebody who holds all there is would hold every claim that was ever called settled, anywhere. So those that nobody
//!   has given up fit beside each other.
//! - What one office shows as held fits, settled or not.
//! - What is shown as cancelled was given up by an entry that is held, of its author's or of somebody who has a say; and what
//!   its author gave up is shown so.
//!
//! "What is not promised" in docs/protocol.md excuses what hangs on a promise that was broken, and nothing else: see
//! [`Excuse`]. Leaves to `reserved` what entries say, and to `oracle` that equal frontiers show equal bookings.

use std::collections::{BTreeMap, BTreeSet};

use fasti_core::command::{BookingState, BookingView};
use fasti_core::{OfficeId, ResourceId};

use crate::entries::Entries;
use crate::oracle::{Broken, Invariant};
use crate::reserved::{Claim, Resource};
use crate::world::World;

/// With what a claim was called settled.
struct Ground {
    at: usize,
    /// What the office held.
    held: Entries,
    /// What of that was about the resource, and counted.
    counted: Entries,
}

/// Why a settled claim may be displaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excuse {
    /// Somebody who is named for the resource signed two histories, or lost entries with its disk; or is a liar.
    BrokenWord,
    /// Its ground has an operation by somebody who was dismissed with nobody's consent, as nobody else had a say; and
    /// who dismissed it didn't know that.
    DismissedAlone,
    /// Its ground has an operation that a removal cut off; or that was cut off then, and counts again.
    CutOff,
}

/// What was promised.
#[derive(Default)]
pub(crate) struct Promises {
    /// Claims that were called settled.
    settled: BTreeMap<String, Vec<Ground>>,
    /// Those that were excused at some office,
    excused: BTreeSet<String>,
    /// and were indeed displaced there.
    displaced: BTreeSet<String>,
    /// Who breaks promises, by the first of its keys.
    broken: BTreeSet<OfficeId>,
    /// The key before each new one.
    before: BTreeMap<OfficeId, OfficeId>,
}

impl Promises {
    /// An office has another key.
    pub(crate) fn succeeded(&mut self, old: OfficeId, new: OfficeId) {
        self.before.insert(new, old);
    }

    /// The first key of an office.
    fn first_key(&self, mut key: OfficeId) -> OfficeId {
        while let Some(before) = self.before.get(&key) {
            key = *before;
        }
        key
    }

    /// Whether two keys are of one office.
    pub(crate) fn is_key_of(&self, key: OfficeId, other: OfficeId) -> bool {
        self.first_key(key) == self.first_key(other)
    }

    /// An office lies, signs two histories, or forgets what it acknowledged.
    pub(crate) fn breaks_word(&mut self, office: OfficeId) {
        let office = self.first_key(office);
        self.broken.insert(office);
    }

    /// Whether a claim that was called settled may be displaced somewhere.
    pub(crate) fn is_excused(&self, claim: &str) -> bool {
        self.excused.contains(claim)
    }

    /// How many claims were called settled, how many of them may be displaced, and how many were.
    pub(crate) fn counts(&self) -> [u64; 3] {
        [self.settled.len(), self.excused.len(), self.displaced.len()].map(|it| it as u64)
    }
}

fn broken(detail: String) -> Result<(), Broken> {
    Err(Broken::new(Invariant::SettledIsKept, detail))
}

/// Whether a node shows the claim as having its time.
fn holds(view: &BookingView) -> bool {
    match view.state {
        BookingState::Settled => true,
        // One that counts and is neither displaced nor given up.
        BookingState::Tentative => view.granted,
        BookingState::Displaced | BookingState::Cancelled => false,
    }
}

impl Resource {
    /// Whether these claims are more than ever fit at some moment.
    fn is_exceeded<'a>(&self, claims: impl Iterator<Item = &'a Claim>) -> bool {
        let (before, after) = (i64::from(self.before_min), i64::from(self.after_min));
        let mut edges: Vec<(i64, i64)> = claims
            .flat_map(|it| [(it.slot.start - before, 1), (it.slot.end + after, -1)])
            .collect();
        edges.sort_unstable();
        let mut now = 0;
        edges.into_iter().any(|(_, change)| {
            now += change;
            now > i64::from(self.capacity_max)
        })
    }
}

impl World {
    /// An office shows bookings: those of one resource or of all, or of one event. What it is known to have held when it
    /// found them is `known`, if all of them are there.
    pub(crate) fn bookings_shown(
        &mut self,
        at: usize,
        known: Option<(&Entries, Option<ResourceId>)>,
        bookings: &[BookingView],
    ) -> Result<(), Broken> {
        if !self.is_honest(at) {
            return Ok(());
        }
        self.check_room(at, bookings)?;
        self.check_given_up(at, known.map(|it| it.0), bookings)?;
        if let Some((known, only)) = known {
            self.check_kept(at, known, only, bookings)?;
        }
        for view in bookings.iter().filter(|it| it.state == BookingState::Settled) {
            self.note_settled(at, view)?;
        }
        Ok(())
    }

    /// Never more is held than fits, in what one office shows.
    fn check_room(&self, at: usize, bookings: &[BookingView]) -> Result<(), Broken> {
        let mut held: BTreeMap<ResourceId, Vec<&Claim>> = BTreeMap::new();
        for view in bookings.iter().filter(|it| holds(it)) {
            let Some(claim) = self.shelf.reserved.claims.get(&view.id) else {
                return broken(format!("office {at} shows {view:?}, which nobody wrote"));
            };
            held.entry(view.resource).or_default().push(claim);
        }
        for (id, claims) in held {
            let resource = self.shelf.reserved.resources.get(&id);
            if resource.is_some_and(|it| it.is_exceeded(claims.into_iter())) {
                return broken(format!("office {at} shows more bookings of {id} than it takes"));
            }
        }
        Ok(())
    }

    /// Who may gives up what is shown as given up, and what its author gave up is.
    fn check_given_up(
        &self,
        at: usize,
        known: Option<&Entries>,
        bookings: &[BookingView],
    ) -> Result<(), Broken> {
        let disk = &self.offices[at].disk;
        let promises = &self.promises;
        for view in bookings {
            let Some(claim) = self.shelf.reserved.claims.get(&view.id) else { continue };
            let Some(resource) = self.shelf.reserved.resources.get(&claim.resource) else {
                continue;
            };
            let author = promises.first_key(claim.author);
            let may = |by: &OfficeId| {
                let by = promises.first_key(*by);
                by == author || resource.named.iter().any(|it| promises.first_key(*it) == by)
            };
            let cancelled = view.state == BookingState::Cancelled;
            if cancelled
                && !claim.releases.iter().any(|it| disk.holds(it.number) && may(&it.author))
            {
                return broken(format!(
                    "nobody gave up what office {at} shows as cancelled: {view:?}"
                ));
            }
            let gave_up = claim.releases.iter().any(|it| {
                let counts = !disk.void.has(it.number);
                counts
                    && it.author == claim.author
                    && known.is_some_and(|known| known.has(it.number))
            });
            if gave_up && !cancelled {
                return broken(format!("its author gave up what office {at} shows: {view:?}"));
            }
        }
        Ok(())
    }

    /// What was called settled by somebody who held no more is held here.
    fn check_kept(
        &mut self,
        at: usize,
        known: &Entries,
        only: Option<ResourceId>,
        bookings: &[BookingView],
    ) -> Result<(), Broken> {
        let views: BTreeMap<&str, &BookingView> =
            bookings.iter().map(|view| (view.id.as_str(), view)).collect();
        let disk = &self.offices[at].disk;
        let (mut excused, mut displaced) = (Vec::new(), Vec::new());
        for (id, grounds) in &self.promises.settled {
            let Some(claim) = self.shelf.reserved.claims.get(id) else { continue };
            if only.is_some_and(|only| only != claim.resource) {
                continue;
            }
            let view = views.get(id.as_str());
            // That those who may have given it up is seen to by itself.
            let is_kept = view.is_some_and(|it| holds(it) || it.state == BookingState::Cancelled);
            for ground in grounds.iter().filter(|it| known.has_all(&it.held)) {
                if self.excuse(claim, ground, &disk.held, &disk.void).is_some() {
                    excused.push(id.clone());
                    displaced.extend((!is_kept).then(|| id.clone()));
                    continue;
                }
                self.stats.kept += 1;
                if !is_kept {
                    let by = ground.at;
                    return broken(format!(
                        "office {by} called a booking settled, office {at} holds all that {by} held then, and shows {view:?}"
                    ));
                }
            }
        }
        self.promises.excused.extend(excused);
        self.promises.displaced.extend(displaced);
        Ok(())
    }

    /// Remembers a promise: beside those that were made before, and nobody has given up, it has to fit.
    fn note_settled(&mut self, at: usize, view: &BookingView) -> Result<(), Broken> {
        let Self { shelf, promises, offices, .. } = self;
        let reserved = &shelf.reserved;
        let Some(resource) = reserved.resources.get(&view.resource) else { return Ok(()) };
        let disk = &offices[at].disk;
        let held = disk.held.clone();
        let counted = resource.about.and(&held).without(&disk.void);
        let grounds = promises.settled.entry(view.id.clone()).or_default();
        let is_new = grounds.is_empty();
        let says_no_more = |it: &Ground| held.has_all(&it.held) && counted.has_all(&it.counted);
        if !grounds.iter().any(says_no_more) {
            grounds.push(Ground { at, held, counted });
        }
        if !is_new {
            return Ok(());
        }
        let standing = self.standing_promises(view.resource);
        let resource = &self.shelf.reserved.resources[&view.resource];
        if resource.is_exceeded(standing.into_iter()) {
            return broken(format!(
                "office {at} calls {view:?} settled, and others that overlap it were called so, too many for the resource"
            ));
        }
        Ok(())
    }

    /// Claims of a resource that were called settled, that nobody has given up, and that have no excuse anywhere.
    fn standing_promises(&self, resource: ResourceId) -> Vec<&Claim> {
        let reserved = &self.shelf.reserved;
        let stands = |id: &String, grounds: &[Ground]| {
            let claim = reserved.claims.get(id)?;
            let has_excuse = |ground: &Ground| {
                let honest = self.offices.iter().filter(|it| it.lies.is_none());
                let mut disks = honest.map(|it| &it.disk);
                disks.any(|it| self.excuse(claim, ground, &it.held, &it.void).is_some())
            };
            let stands = claim.resource == resource
                && claim.releases.is_empty()
                && !grounds.iter().all(has_excuse);
            stands.then_some(claim)
        };
        self.promises.settled.iter().filter_map(|(id, grounds)| stands(id, grounds)).collect()
    }

    /// Whether a claim that was called settled may be displaced where these entries are held, of which those that are void
    /// count for nothing.
    fn excuse(
        &self,
        claim: &Claim,
        ground: &Ground,
        held: &Entries,
        void: &Entries,
    ) -> Option<Excuse> {
        let promises = &self.promises;
        let resource = self.shelf.reserved.resources.get(&claim.resource)?;
        let first = |key: &OfficeId| promises.first_key(*key);
        if resource.named.iter().any(|it| promises.broken.contains(&first(it))) {
            return Some(Excuse::BrokenWord);
        }
        let cut_off = resource.about.and(&ground.held).without(&ground.counted);
        if void.has_any(&ground.counted) || !void.has_all(&cut_off) {
            return Some(Excuse::CutOff);
        }
        let was_alone = |(number, gone): &(u32, OfficeId)| {
            let gone = first(gone);
            // A founder whom nobody ever wished to dismiss has its say still.
            let stays = |it: &OfficeId| {
                let mut dismissed = resource.dismissals.iter().map(|it| first(&it.1));
                dismissed.all(|gone| gone != first(it))
            };
            let others = resource.founders.iter().any(stays);
            let mut wrote = resource.by.iter().filter(|(by, _)| first(by) == gone);
            !others && held.has(*number) && {
                let under = self.shelf.under(*number);
                wrote.any(|it| !under.has_all(&it.1.and(&ground.counted)))
            }
        };
        resource.dismissals.iter().any(was_alone).then_some(Excuse::DismissedAlone)
    }
}
