//! Commands on resources and bookings: from what people ask to what is said of resources. Leaves to `booking` what
//! becomes of it, and to `calendar` the events.

use std::sync::Arc;

use fasti_calendar::{Occurrence, Series, Zone};
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::{Value, json};

use crate::booking::{Docket, Key, Span};
use crate::calendar::{Context, check_uid, invalid};
use crate::command::{BookRequest, CommandError, Condition, NewResource, Object, ResourceEdit};
use crate::entry::BODY_BYTES_MAX;
use crate::event;
use crate::ids::{EntryHash, OfficeId, ResourceId};
use crate::ledger::{Ledger, TooLarge};
use crate::resource::{
    Accept, Book, CLAIMS_MAX, ClaimId, Define, Describe, Description, Propose, Reservation,
    STAKEHOLDERS_MAX, Slot, Terms,
};
use crate::roster::is_name;
use crate::statement::{Role, Statement};
use crate::views;

/// How far ahead a series is booked: 400 days, in seconds.
const HORIZON: i64 = 400 * 86_400;
/// The time zone in which an event without one is booked: a member of the event.
const ZONE: &str = "fasti:zone";
/// How far apart the ends of a question about free time may be: what is free must fit into an answer.
const FREE_SPAN_MAX: i64 = 367 * 86_400;

impl Ledger {
    fn reserve(&mut self, context: Context, said: Reservation) -> Result<EntryHash, CommandError> {
        self.write(&Statement::Reservation(said), context.fresh, context.time)
            .map_err(|TooLarge(size)| CommandError::TooLarge { size, max: BODY_BYTES_MAX })
    }

    /// The resource that people mean: by its id, or by its name if only one has it.
    pub(crate) fn resource(&mut self, named: &str) -> Result<ResourceId, CommandError> {
        self.bookings.refresh();
        if let Ok(id) = named.parse::<ResourceId>()
            && self.bookings.docket(&id).is_some()
        {
            return Ok(id);
        }
        let mut found = self.bookings.dockets().filter(|it| it.description.name == named);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.id),
            (None, _) => {
                Err(CommandError::UnknownResource(format!("there is no resource {named:?}")))
            }
            (Some(_), Some(_)) => Err(CommandError::UnknownResource(format!(
                "there are several resources {named:?}: name one by its id"
            ))),
        }
    }

    fn docket(&self, id: &ResourceId) -> Result<&Docket, CommandError> {
        let unknown = || CommandError::UnknownResource(format!("there is no resource {id}"));
        self.bookings.docket(id).ok_or_else(unknown)
    }

    fn check_member(&self, path: &str, office: &OfficeId) -> Result<(), CommandError> {
        match self.roster.member(office) {
            Some(member) if member.roles == [Role::Auditor] => {
                let problem = "an auditor writes nothing, and so can't have a say".into();
                Err(invalid(path, problem))
            }
            Some(_) => Ok(()),
            None => Err(CommandError::UnknownMember(office.to_string())),
        }
    }

    pub(crate) fn add_resource(
        &mut self,
        context: Context,
        new: NewResource,
    ) -> Result<ResourceId, CommandError> {
        let NewResource { description, mut stakeholders } = new;
        check_description(&description)?;
        if stakeholders.is_empty() {
            stakeholders.push(self.office());
        }
        stakeholders.sort();
        stakeholders.dedup();
        if stakeholders.len() > STAKEHOLDERS_MAX {
            let problem = format!("at most {STAKEHOLDERS_MAX} offices can have a say");
            return Err(invalid("stakeholders", problem));
        }
        for office in &stakeholders {
            self.check_member("stakeholders", office)?;
        }
        self.bookings.refresh();
        if self.bookings.dockets().any(|it| it.description.name == description.name) {
            let problem = format!("there is a resource {:?} already", description.name);
            return Err(invalid("name", problem));
        }
        let define = Define { description, stakeholders };
        let hash = self.reserve(context, Reservation::Define(define))?;
        let id = ResourceId(hash.0);
        self.docket(&id).map(|_| id).map_err(|_| {
            CommandError::NotAllowed("this office has defined as many resources as it may".into())
        })
    }

    pub(crate) fn edit_resource(
        &mut self,
        context: Context,
        named: &str,
        edit: ResourceEdit,
    ) -> Result<ResourceId, CommandError> {
        let resource = self.resource(named)?;
        let docket = self.docket(&resource)?;
        let members = docket.members();
        let own = self.origin();
        let ResourceEdit { name, kind, capacity, before, after, mut add, dismiss } = edit;
        let old = docket.description.clone();
        let description = Description {
            name: name.unwrap_or_else(|| old.name.clone()),
            kind: kind.unwrap_or(old.kind),
            terms: Terms {
                capacity: capacity.unwrap_or(old.terms.capacity),
                before: before.unwrap_or(old.terms.before),
                after: after.unwrap_or(old.terms.after),
            },
        };
        check_description(&description)?;
        let describes = description != old;
        if (describes || add.is_some() && dismiss.is_none()) && !members.contains(&own) {
            return Err(CommandError::NotAllowed(
                "only offices that have a say in a resource change it; `fasti resource list` shows them".into(),
            ));
        }
        if let Some(gone) = &dismiss {
            let admin = self.roster.member(&self.office());
            if !admin.is_some_and(|it| it.roles.contains(&Role::Admin)) {
                return Err(CommandError::NotAllowed(
                    "only admins take an office's say away; `fasti members` shows who is one"
                        .into(),
                ));
            }
            if !members.contains(gone) {
                return Err(invalid("dismiss", "this office has no say in the resource".into()));
            }
            if members.len() == 1 && add.is_none() {
                add = Some(own);
            }
        }
        if let Some(new) = &add {
            self.check_member("add", new)?;
            let docket = self.docket(&resource)?;
            if docket.was_dismissed(new) {
                let problem = "this office was dismissed, and can't get a say again; define the resource anew".into();
                return Err(invalid("add", problem));
            }
            let left = members.len() - usize::from(dismiss.is_some());
            if members.contains(new) || left >= STAKEHOLDERS_MAX {
                let problem = format!(
                    "it has a say already, or {STAKEHOLDERS_MAX} others have, which is the most"
                );
                return Err(invalid("add", problem));
            }
        }
        if describes {
            self.reserve(context, Reservation::Describe(Describe { resource, description }))?;
        }
        if add.is_some() || dismiss.is_some() {
            self.reserve(context, Reservation::Propose(Propose { resource, add, dismiss }))?;
        }
        self.bookings.refresh();
        Ok(resource)
    }

    pub(crate) fn accept_stakeholders(
        &mut self,
        context: Context,
        named: &str,
        proposal: EntryHash,
    ) -> Result<ResourceId, CommandError> {
        let resource = self.resource(named)?;
        let own = self.origin();
        let docket = self.docket(&resource)?;
        let found = docket.stakes.proposals.iter().find(|it| it.hash == proposal);
        let Some(found) = found else {
            return Err(invalid("proposal", "there is no such proposal for this resource".into()));
        };
        if !found.required.contains(&own) {
            return Err(CommandError::NotAllowed(
                "this proposal doesn't wait for this office's consent".into(),
            ));
        }
        if !found.consents.iter().any(|it| it.office == own) {
            self.reserve(context, Reservation::Accept(Accept { resource, proposal }))?;
            self.bookings.refresh();
        }
        Ok(resource)
    }

    /// Books for an event: claims what isn't claimed yet, and gives up what is no longer wanted.
    pub(crate) fn book(
        &mut self,
        context: Context,
        request: BookRequest,
    ) -> Result<String, CommandError> {
        let BookRequest { resource, uid, event, mut slots, zone } = request;
        check_uid(&uid)?;
        let resource = self.resource(&resource)?;
        slots.sort();
        slots.dedup();
        check_slots(&slots)?;
        let of_event = slots.is_empty();
        let mut times = Times { slots, from: i64::MIN };
        if of_event {
            let mut event = match &event {
                Some(event) => event.clone(),
                None => self.event_of(&uid)?,
            };
            if let Some(zone) = &zone {
                event.insert(ZONE.into(), json!(zone));
            }
            times = Times::of(&event, context.time)?;
        }
        let zone = zone.filter(|_| of_event);
        match (event, zone) {
            (Some(mut event), zone) => {
                event.extend(
                    zone.filter(|_| is_floating(&event)).map(|zone| (ZONE.into(), json!(zone))),
                );
                self.put(context, &uid, event, &Condition::Always).map(|_| ())?;
            }
            (None, Some(zone)) if is_floating(&self.event_of(&uid)?) => {
                let patch = Object::from_iter([(ZONE.to_owned(), json!(zone))]);
                self.patch(context, &uid, patch, &Condition::Always).map(|_| ())?;
            }
            (None, _) => self.event_of(&uid).map(|_| ())?,
        }
        self.claim(context, resource, &uid, times, true)?;
        Ok(uid)
    }

    fn event_of(&mut self, uid: &str) -> Result<Object, CommandError> {
        self.settle(uid);
        let view = views::event(self, uid);
        view.map(|view| view.event).ok_or_else(|| CommandError::UnknownEvent(uid.to_owned()))
    }

    /// Makes these times what this office has booked for an event. What a person gave up before is claimed again only
    /// if one asks for it.
    fn claim(
        &mut self,
        context: Context,
        resource: ResourceId,
        uid: &str,
        times: Times,
        is_asked: bool,
    ) -> Result<(), CommandError> {
        self.bookings.refresh();
        let own = self.origin();
        let docket = self.docket(&resource)?;
        let Times { slots: mut claims, from } = times;
        let mut releases: Vec<ClaimId> = Vec::new();
        for key in live(docket, uid, |author| *author == own) {
            let slot = docket.slot(key);
            match claims.binary_search(slot) {
                // Nothing but a new claim helps one that is displaced for good.
                Ok(_) if is_asked && docket.is_out(key) => releases.push(docket.id(key)),
                Ok(place) => drop(claims.remove(place)),
                Err(_) if slot.end > from => releases.push(docket.id(key)),
                Err(_) => {}
            }
        }
        if !is_asked {
            claims.retain(|slot| !docket.was_given_up(uid, &own, &slot.occurrence));
        }
        releases.sort();
        releases.truncate(CLAIMS_MAX);
        if !(claims.is_empty() && releases.is_empty()) {
            let book = Book { resource, uid: uid.to_owned(), releases, claims };
            self.reserve(context, Reservation::Book(book))?;
        }
        self.bookings.refresh();
        Ok(())
    }

    // ---- Bookings follow their events ----

    /// Makes what this office has booked for an event follow it, wherever it was moved; and books what has come within
    /// reach of a series.
    pub(crate) fn follow(&mut self, context: Context, uid: &str) -> Result<(), CommandError> {
        self.unfollowed.remove(uid);
        let own = self.origin();
        let has_booked = |id: &ResourceId| {
            let docket = self.bookings.docket(id);
            docket.is_some_and(|it| live(it, uid, |author| *author == own).next().is_some())
        };
        let resources: Vec<ResourceId> = self.bookings.of_event(uid).filter(has_booked).collect();
        if resources.is_empty() {
            return Ok(());
        }
        // One whose authors don't count any more keeps what it has: they may count again.
        let Ok(event) = self.event_of(uid) else { return Ok(()) };
        if event::takes_no_place(&event) {
            return self.release(context, uid);
        }
        // An event that takes no time any more keeps what it has.
        let Ok(times) = Times::of(&event, context.time) else { return Ok(()) };
        let mut all = resources.into_iter();
        all.try_for_each(|resource| self.claim(context, resource, uid, times.clone(), false))
    }

    /// Looks again at all events for which this office has booked.
    pub(crate) fn follow_all(&mut self) {
        let own = self.origin();
        let booked = self.bookings.dockets().flat_map(|docket| {
            let own = docket.books().iter().filter(|it| it.author == own);
            own.map(|it| it.uid.clone())
        });
        let booked: Vec<String> = booked.collect();
        self.unfollowed.extend(booked);
    }

    // ---- What is displaced ----

    /// Whether a displaced claim can be moved by moving its event.
    pub(crate) fn can_move(&self, docket: &Docket, key: Key) -> bool {
        let event = views::event(self, &docket.book(key.book).uid);
        event.is_some_and(|view| {
            let event = &view.event;
            event.get("showWithoutTime") != Some(&json!(true)) && zone_of(event).is_some()
        })
    }

    /// Gives up a displaced claim, or moves its event to where there is room.
    pub(crate) fn decide_booking(
        &mut self,
        context: Context,
        resource: &ResourceId,
        key: Key,
        keep: &str,
    ) -> Result<String, CommandError> {
        let own = self.origin();
        let docket = self.docket(resource)?;
        let booked = docket.book(key.book);
        let (uid, slot, claim) = (booked.uid.clone(), docket.slot(key).clone(), docket.id(key));
        let is_own = booked.author == own;
        let by = views::name(self, &booked.author);
        if keep == "cancel" {
            if !is_own && !docket.members().contains(&own) {
                return Err(CommandError::NotAllowed(format!(
                    "only {by}, which booked, or who has a say in the resource gives that up"
                )));
            }
            let (releases, claims) = (vec![claim], Vec::new());
            let book = Book { resource: *resource, uid: uid.clone(), releases, claims };
            self.reserve(context, Reservation::Book(book))?;
            self.bookings.refresh();
            return Ok(uid);
        }
        if !is_own {
            return Err(CommandError::NotAllowed(format!(
                "only {by}, which booked, moves its booking; \"cancel\" gives it up, for those who have a say \
                 in the resource"
            )));
        }
        let event = self.event_of(&uid)?;
        let zone = zone_of(&event).unwrap_or_else(Zone::utc);
        let at: Timestamp = keep.parse().map_err(|_| {
            invalid("keep", "expected a moment such as 2024-04-01T09:00:00Z".into())
        })?;
        let start = json!(local(zone.to_local(at)));
        let mut patch = Object::from_iter([("start".to_owned(), start)]);
        if !slot.occurrence.is_empty() {
            let occurrences = json!({ (slot.occurrence): patch });
            patch = Object::from_iter([("recurrenceOverrides".to_owned(), occurrences)]);
        }
        self.patch(context, &uid, patch, &Condition::Always)?;
        Ok(uid)
    }

    /// Gives up all that an event has booked by this office, or that it has a say in.
    pub(crate) fn release(&mut self, context: Context, uid: &str) -> Result<(), CommandError> {
        self.bookings.refresh();
        let own = self.origin();
        let resources: Vec<ResourceId> = self.bookings.of_event(uid).collect();
        for resource in resources {
            let docket = self.docket(&resource)?;
            let has_say = docket.members().contains(&own);
            let keys = live(docket, uid, |author| has_say || *author == own);
            let mut all: Vec<ClaimId> = keys.map(|key| docket.id(key)).collect();
            all.sort();
            for releases in all.chunks(CLAIMS_MAX) {
                let (releases, claims) = (releases.to_vec(), Vec::new());
                let book = Book { resource, uid: uid.to_owned(), releases, claims };
                self.reserve(context, Reservation::Book(book))?;
            }
        }
        self.bookings.refresh();
        Ok(())
    }

    /// Gives up what an event has booked, and cancels it.
    pub(crate) fn cancel_booking(
        &mut self,
        context: Context,
        uid: &str,
    ) -> Result<(), CommandError> {
        self.release(context, uid)?;
        let is_live = |id: ResourceId| {
            self.bookings.docket(&id).is_some_and(|it| live(it, uid, |_| true).next().is_some())
        };
        if self.bookings.of_event(uid).any(is_live) {
            return Err(CommandError::NotAllowed(
                "only the office that booked gives that up, or one that has a say in the resource"
                    .into(),
            ));
        }
        match self.cancel(context, uid, &Condition::Always) {
            Ok(_) => Ok(()),
            Err(CommandError::UnknownEvent(_)) if self.bookings.of_event(uid).next().is_some() => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// When a resource is free.
    pub(crate) fn free(
        &mut self,
        named: &str,
        from: i64,
        to: i64,
    ) -> Result<(ResourceId, Vec<Span>), CommandError> {
        let id = self.resource(named)?;
        let slot = Slot { start: from, end: to, occurrence: String::new() };
        if !slot.is_sound() {
            let days = FREE_SPAN_MAX / 86_400;
            let problem = format!("from and to are moments in order, at most {days} days apart");
            return Err(invalid("to", problem));
        }
        Ok((id, self.docket(&id)?.held().free(Span { start: from, end: to })))
    }
}

/// When an event takes place.
#[derive(Clone)]
struct Times {
    /// Sorted.
    slots: Vec<Slot>,
    /// What ends no later is left alone.
    from: i64,
}

impl Times {
    /// Each occurrence; of a series those that come next.
    fn of(event: &Object, now: i64) -> Result<Self, CommandError> {
        let series = Series::new(Arc::new(event.clone()))
            .map_err(|error| invalid("event", format!("it has no time to be booked: {error}")))?;
        let zone = event.get(ZONE).and_then(Value::as_str).unwrap_or("UTC");
        let zone = Zone::iana(zone).ok_or_else(|| {
            invalid("zone", format!("{zone:?} is no IANA time zone, such as America/Denver"))
        })?;
        let is_series = series.is_recurring();
        let now = now.div_euclid(1000);
        let moment = |at: i64| Timestamp::from_second(at).unwrap_or(Timestamp::MAX);
        let (range, from) = match is_series {
            true => (moment(now)..moment(now.saturating_add(HORIZON)), now),
            false => (Timestamp::MIN..Timestamp::MAX, i64::MIN),
        };
        let slot = |it: Occurrence| Slot {
            start: it.starts_at.as_second(),
            end: it.ends_at.as_second(),
            occurrence: if is_series { local(it.recurrence_id) } else { String::new() },
        };
        let found = series.occurrences(range, &zone, CLAIMS_MAX).occurrences;
        let mut slots: Vec<Slot> = found.into_iter().map(slot).filter(Slot::is_sound).collect();
        slots.sort();
        slots.dedup();
        if slots.is_empty() {
            let problem = "it takes no time, or more than 367 days, or none that is still to come: give it \
                           a duration";
            return Err(invalid("event", problem.into()));
        }
        Ok(Self { slots, from })
    }
}

fn local(at: DateTime) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// Whether an event takes place at different moments, depending on where the reader is.
fn is_floating(event: &Object) -> bool {
    event.get("timeZone").is_none_or(Value::is_null)
}

/// The zone in which an event starts, if it isn't one of the event's own.
fn zone_of(event: &Object) -> Option<Zone> {
    let name = if is_floating(event) { event.get(ZONE) } else { event.get("timeZone") };
    Zone::iana(name.and_then(Value::as_str).unwrap_or("UTC"))
}

/// The claims of an event that nobody has given up.
fn live(
    docket: &Docket,
    uid: &str,
    is_wanted: impl Fn(&OfficeId) -> bool,
) -> impl Iterator<Item = Key> {
    let books = docket.of_event(uid).filter(move |it| is_wanted(&docket.book(*it).author));
    books.flat_map(|book| docket.keys(book)).filter(|key| !docket.is_given_up(*key))
}

fn check_description(description: &Description) -> Result<(), CommandError> {
    use crate::resource::{BUFFER_MAX, CAPACITY_MAX};
    if description.is_sound() {
        return Ok(());
    }
    if !is_name(&description.name) {
        return Err(invalid("name", "a name is 1 to 200 bytes without control characters".into()));
    }
    Err(invalid(
        "capacity",
        format!("a capacity is 1 to {CAPACITY_MAX}, and a buffer at most {BUFFER_MAX} seconds"),
    ))
}

fn check_slots(slots: &[Slot]) -> Result<(), CommandError> {
    if slots.len() > CLAIMS_MAX {
        let problem = format!("at most {CLAIMS_MAX} times are booked at once; book the rest later");
        return Err(invalid("slots", problem));
    }
    match slots.iter().find(|slot| !slot.is_sound()) {
        Some(slot) => {
            let problem = format!(
                "{} to {} can't be booked: it must end after it begins, and within 367 days",
                slot.start, slot.end
            );
            Err(invalid("slots", problem))
        }
        None => Ok(()),
    }
}
