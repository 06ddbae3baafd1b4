//! The people who book, and who decide about resources and policies: few rooms and few hours, so that they get into each
//! other's way. Leaves what must follow to `promises`.

use fasti_core::command::{
    ApprovalView, BookRequest, BookingState, BookingView, BookingsQuery, Condition, NewResource,
    PolicyView, ResourceEdit, ResourceView,
};
use fasti_core::ids::ResourceId;
use fasti_core::resource::{Description, ResourceKind, Slot, Terms};
use fasti_core::{Answer, Command, CommandError, EntryHash, OfficeId, Reply};
use serde_json::json;

use crate::clients::Asked;
use crate::oracle::{Broken, Invariant};
use crate::world::{Happening, MILLISECOND, World};

/// The first day that is booked: in April 2024.
const FIRST_DAY: i64 = 1_712_000_000 / 86_400;
/// Days that are booked: who comes first differs from day to day.
const DAYS: u64 = 3;

/// A change of stakeholders that waits for somebody.
#[derive(Clone, Debug)]
struct Waiting {
    resource: ResourceId,
    proposal: EntryHash,
    office: OfficeId,
}

/// What people know of resources.
#[derive(Default)]
pub(crate) struct Bookers {
    /// How many were asked for.
    resources: u64,
    /// Those that are in use, the latest last.
    known: Vec<ResourceId>,
    waiting: Vec<Waiting>,
}

impl World {
    // ---- Bookings ----

    /// Somebody books something somewhere, or changes what is booked or who has a say in it.
    pub(crate) fn book(&mut self) -> Result<(), Broken> {
        if !self.unkind {
            return Ok(());
        }
        self.some_time(self.scenario.clients.book_every_ms * MILLISECOND, Happening::Book);
        let at = self.dice.below(self.offices.len() as u64) as usize;
        let wanted = self.scenario.clients.resources;
        let resource = self.dice.pick(&self.bookers.known).copied();
        let Some(resource) = resource.filter(|_| self.bookers.known.len() as u64 >= wanted) else {
            return self.add_resource(at);
        };
        match self.dice.below(100) {
            0..3 => self.add_resource(at),
            3..60 => self.book_times(at, resource),
            60..75 => {
                let uid = self.booked_event();
                self.request(at, Asked::CancelBooking, Command::CancelBooking { uid })?;
                self.look(at, resource)
            }
            75..78 => {
                let terms = ResourceEdit {
                    capacity: Some(1 + self.dice.below(2) as u32),
                    after: Some(self.dice.below(2) as u32 * 900),
                    ..ResourceEdit::default()
                };
                self.edit_resource(at, resource, terms)
            }
            78..84 => {
                let add = self.dice.pick(&self.in_use()).map(|it| self.offices[*it].id);
                self.edit_resource(at, resource, ResourceEdit { add, ..ResourceEdit::default() })
            }
            84..87 => self.dismiss(resource),
            _ => self.accept(),
        }
    }

    fn request(&mut self, at: usize, asked: Asked, command: Command) -> Result<(), Broken> {
        let text = || format!("{command:?}");
        self.trace.note(self.now, at, "asked", text().as_bytes(), text);
        self.ask(at, asked, command);
        self.work(at)
    }

    /// Offices that people know.
    fn in_use(&self) -> Vec<usize> {
        let in_use = |at: &usize| self.offices[*at].started && !self.offices[*at].retired;
        (0..self.offices.len()).filter(in_use).collect()
    }

    fn add_resource(&mut self, at: usize) -> Result<(), Broken> {
        self.bookers.resources += 1;
        let (in_use, number) = (self.in_use(), self.bookers.resources);
        let count = [1, 1, 2, 2, 3][self.dice.below(5) as usize];
        let stakeholders = (0..count).filter_map(|_| self.dice.pick(&in_use).copied());
        let stakeholders: Vec<usize> = stakeholders.collect();
        let crowded = self.dice.chance(0.3);
        let buffered = self.dice.chance(0.3);
        let description = Description {
            name: format!("Room {number}"),
            kind: ResourceKind::Room,
            terms: Terms {
                capacity: 1 + u32::from(crowded),
                before: 0,
                after: u32::from(buffered) * 900,
            },
        };
        let stakeholders = stakeholders.into_iter().map(|it| self.offices[it].id).collect();
        let new = NewResource { description, stakeholders };
        self.request(at, Asked::Resource, Command::AddResource(new))
    }

    /// Which event is booked for: one of a few that are there for this, or that others edit and cancel.
    fn booked_event(&mut self) -> String {
        match self.dice.chance(0.8) {
            true => format!("booking-{}", self.dice.below(12)),
            false => format!("event-{}", self.dice.below(self.scenario.clients.events)),
        }
    }

    fn book_times(&mut self, at: usize, resource: ResourceId) -> Result<(), Broken> {
        let uid = self.booked_event();
        let count = 1 + self.dice.below(2);
        let mut slots: Vec<Slot> = (0..count)
            .map(|occurrence| {
                let day = FIRST_DAY + self.dice.below(DAYS) as i64;
                let hour = self.dice.below(self.scenario.clients.hours) as i64;
                let start = day * 86_400 + 9 * 3_600 + hour * 3_600;
                let end = start + 1_800 * (1 + self.dice.below(4) as i64);
                let occurrence = if occurrence == 0 { String::new() } else { "second".into() };
                Slot { start, end, occurrence }
            })
            .collect();
        slots.sort();
        let event = uid.starts_with("booking").then(|| {
            let event = json!({
                "@type": "Event", "title": uid, "start": "2024-04-01T09:00:00",
                "status": "confirmed",
            });
            event.as_object().cloned().unwrap_or_default()
        });
        let asked = Asked::Book { resource, slots: slots.clone() };
        let request = BookRequest { resource: resource.to_string(), uid, event, slots, zone: None };
        self.request(at, asked, Command::Book(request))?;
        self.look(at, resource)
    }

    /// The office and another one are asked for a resource's bookings.
    fn look(&mut self, at: usize, resource: ResourceId) -> Result<(), Broken> {
        let other = self.dice.below(self.offices.len() as u64) as usize;
        for at in [at, other] {
            let known = self.offices[at].disk.held.clone();
            let asked = Asked::Bookings { resource, known };
            self.ask(at, asked, Command::Bookings(all_bookings(Some(resource))));
            self.work(at)?;
        }
        Ok(())
    }

    fn edit_resource(
        &mut self,
        at: usize,
        resource: ResourceId,
        edit: ResourceEdit,
    ) -> Result<(), Broken> {
        let command = Command::EditResource { resource: resource.to_string(), edit };
        self.request(at, Asked::Resource, command)
    }

    /// An admin wishes to take somebody's say away.
    fn dismiss(&mut self, resource: ResourceId) -> Result<(), Broken> {
        let Some(admin) = self.some_admin() else { return Ok(()) };
        let named = self.shelf.reserved.resources.get(&resource).map(|it| &it.named);
        let named: Vec<OfficeId> = named.into_iter().flatten().copied().collect();
        let dismiss = self.dice.pick(&named).copied();
        let with_another = self.dice.chance(0.3);
        let in_use = self.in_use();
        let add = self.dice.pick(&in_use).filter(|_| with_another);
        let add = add.map(|it| self.offices[*it].id);
        self.edit_resource(
            admin,
            resource,
            ResourceEdit { add, dismiss, ..ResourceEdit::default() },
        )
    }

    /// Somebody accepts a change that waits for it.
    fn accept(&mut self) -> Result<(), Broken> {
        let Some(Waiting { resource, proposal, office }) =
            self.dice.pick(&self.bookers.waiting).cloned()
        else {
            return Ok(());
        };
        let at = self
            .in_use()
            .into_iter()
            .find(|at| self.promises.is_key_of(office, self.offices[*at].id));
        let Some(at) = at else { return Ok(()) };
        let resource = resource.to_string();
        self.request(at, Asked::Resource, Command::AcceptStakeholders { resource, proposal })
    }

    // ---- Policies ----

    /// Somebody proposes, approves or withdraws a policy.
    pub(crate) fn decide(&mut self) -> Result<(), Broken> {
        if !self.unkind {
            return Ok(());
        }
        self.some_time(self.scenario.clients.decide_every_ms * MILLISECOND, Happening::Decide);
        let at = self.dice.below(self.offices.len() as u64) as usize;
        let events = self.scenario.clients.events;
        let policy = format!("P-{}", self.dice.below(events));
        let condition = Condition::Always;
        let command = match self.dice.below(10) {
            0..4 => Command::Propose { policy, condition },
            4..8 => {
                let other = format!("P-{}", self.dice.below(events));
                let supersedes = match self.dice.chance(0.2) && other != policy {
                    true => vec![other],
                    false => Vec::new(),
                };
                Command::Approve { policy, supersedes, condition }
            }
            _ => Command::Withdraw { policy },
        };
        self.request(at, Asked::Decision, command)
    }

    // ---- Answers ----

    /// What people are told of resources and bookings.
    pub(crate) fn told_of_bookings(
        &mut self,
        at: usize,
        asked: Asked,
        reply: Reply,
    ) -> Result<(), Broken> {
        match (asked, reply) {
            (Asked::Resource, Ok(Answer::Resource(view))) => self.told_of_resource(at, &view),
            (Asked::Book { resource, slots }, Ok(Answer::Booked(views))) => {
                self.stats.booked += 1;
                self.answered_for(at, views.iter().map(|it| (it.entry, it.office)))?;
                self.bookings_shown(at, None, &views)?;
                self.check_booked(at, resource, &slots, &views)
            }
            (Asked::CancelBooking, Ok(Answer::Booked(views))) => {
                self.bookings_shown(at, None, &views)?;
                self.check_cancelled(at, &views)
            }
            (Asked::Bookings { resource, known }, Ok(Answer::Bookings { bookings, more })) => {
                let known = (!more).then_some((&known, Some(resource)));
                self.bookings_shown(at, known, &bookings)
            }
            (Asked::Decision, Ok(Answer::Policy(view))) => {
                self.stats.decided += 1;
                let said = signatures(&view);
                self.answered_for(at, said.into_iter())
            }
            (asked, Err(error)) => self.declined(at, &asked, &error),
            (asked, Ok(answer)) => {
                let detail = format!("office {at} answered {asked:?} by {answer:?}");
                Err(Broken::new(Invariant::AnsweredIsKept, detail))
            }
        }
    }

    fn told_of_resource(&mut self, at: usize, view: &ResourceView) -> Result<(), Broken> {
        let Bookers { known, waiting, .. } = &mut self.bookers;
        if !known.contains(&view.id) {
            known.push(view.id);
            let too_many = known.len().saturating_sub(self.scenario.clients.resources as usize);
            known.drain(..too_many);
        }
        waiting.retain(|it| known.contains(&it.resource) && it.resource != view.id);
        for proposal in &view.proposals {
            waiting.extend(proposal.waits_for.iter().map(|office| Waiting {
                resource: view.id,
                proposal: proposal.id,
                office: *office,
            }));
        }
        self.claim(at, &[EntryHash(view.id.0)], "answered for")
    }

    /// An office told somebody of these entries; those of its own count as answered.
    fn answered_for(
        &mut self,
        at: usize,
        entries: impl Iterator<Item = (EntryHash, OfficeId)>,
    ) -> Result<(), Broken> {
        let own = self.offices[at].id;
        for (entry, office) in entries {
            self.claim(at, &[entry], "answered for")?;
            let is_own = self.is_honest(at) && self.promises.is_key_of(office, own);
            let number = self.shelf.known(&entry);
            self.watch.answered.extend(number.filter(|_| is_own));
        }
        Ok(())
    }

    /// Who books is shown what it booked.
    fn check_booked(
        &self,
        at: usize,
        resource: ResourceId,
        slots: &[Slot],
        views: &[BookingView],
    ) -> Result<(), Broken> {
        let own = self.offices[at].id;
        let is_shown = |slot: &Slot| {
            views.iter().any(|it| {
                let claim = self.shelf.reserved.claims.get(&it.id);
                it.resource == resource
                    && it.state != BookingState::Cancelled
                    && self.promises.is_key_of(it.office, own)
                    && claim.is_some_and(|claim| claim.slot == *slot)
            })
        };
        match slots.iter().find(|slot| !is_shown(slot)) {
            Some(slot) if self.is_honest(at) => {
                let detail =
                    format!("office {at} booked {slot:?} of {resource}, and shows {views:?}");
                Err(Broken::new(Invariant::AnsweredIsKept, detail))
            }
            _ => Ok(()),
        }
    }

    /// Who cancels is told of nothing that is left, and what gave it up is kept.
    fn check_cancelled(&mut self, at: usize, views: &[BookingView]) -> Result<(), Broken> {
        if !self.is_honest(at) {
            return Ok(());
        }
        for view in views {
            let disk = &self.offices[at].disk;
            let releases = self.shelf.reserved.claims.get(&view.id).map(|it| &it.releases);
            let mut releases = releases.into_iter().flatten();
            let release = releases.find(|it| disk.holds(it.number)).map(|it| it.hash);
            let Some(release) = release.filter(|_| view.state == BookingState::Cancelled) else {
                let detail = format!("office {at} cancelled a booking, and it is left: {view:?}");
                return Err(Broken::new(Invariant::AnsweredIsKept, detail));
            };
            self.claim(at, &[release], "answered for")?;
        }
        Ok(())
    }

    /// People ask for what they may not have, or what is gone.
    fn declined(&self, at: usize, asked: &Asked, error: &CommandError) -> Result<(), Broken> {
        match (asked, error) {
            (Asked::Resource, CommandError::NotAllowed(_) | CommandError::Invalid { .. })
            | (Asked::CancelBooking | Asked::Decision, CommandError::NotAllowed(_)) => Ok(()),
            _ => self.refused(at, error),
        }
    }
}

/// The query for all bookings, of one resource or of all.
pub(crate) fn all_bookings(resource: Option<ResourceId>) -> BookingsQuery {
    let resource = resource.map(|it| it.to_string());
    BookingsQuery { resource, limit: 1000, ..BookingsQuery::default() }
}

/// Who signed what of a policy.
fn signatures(view: &PolicyView) -> Vec<(EntryHash, OfficeId)> {
    let all = view.approved.iter().chain(&view.proposed);
    let all = all.flat_map(|ApprovalView { by, .. }| by);
    all.map(|it| (it.entry, it.office)).collect()
}
