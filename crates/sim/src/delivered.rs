//! What external systems must have in the end: all are well, operators have seen to what was paused or given up, and then
//! each has of every event that it wants what its office shows, nothing is pending and nothing is dead. What it wants is
//! found from the filter, from the entries on the office's disk and from what its operator was promised.

use std::collections::BTreeMap;

use fasti_core::command::{
    BookingState, BookingView, BookingsQuery, EventView, EventsQuery, Object, PolicyState,
    PolicyView, ReachView,
};
use fasti_core::outbox::{Delivery, DeliveryState, SubscriptionId};
use fasti_core::row::{Row, Standing};
use fasti_core::statement::Statement;
use fasti_core::step::Appended;
use fasti_core::{Answer, Command, OfficeId};
use serde_json::{Value, json};

use crate::bookers::all_bookings;
use crate::clients::{Asked, Part};
use crate::deliveries::{Known, broken};
use crate::oracle::Broken;
use crate::world::{SECOND, World};

/// What an office shows of its calendar, one answer after the other.
#[derive(Default)]
pub(crate) struct Calendar {
    pub(crate) events: Option<Vec<EventView>>,
    pub(crate) policies: Option<Vec<PolicyView>>,
    pub(crate) bookings: Option<Vec<BookingView>>,
}

/// What entries say of an event.
struct Touched {
    /// The last one about it.
    last: usize,
    /// The last one that changed it; by whom, and when.
    changed: usize,
    office: OfficeId,
    time: i64,
    /// The last one that decided about it.
    decided: Option<usize>,
}

/// What a system should have.
struct Expected {
    event: Object,
    states: Vec<DeliveryState>,
    approval: Option<Value>,
}

impl World {
    /// Waits until all is delivered, within the longest pause between two attempts; or sooner, if operators hurry it.
    pub(crate) fn deliver_all(&mut self) -> Result<(), Broken> {
        let systems = &self.scenario.systems;
        if systems.operate_every_ms == 0 && !systems.from_start {
            return Ok(());
        }
        let hurry = self.dice.chance(0.9);
        let (round, patience) = if hurry { (3, 120) } else { (120, 4000) };
        let deadline = self.now + patience * SECOND;
        loop {
            for at in self.deliverers() {
                self.tend(at, hurry)?;
                self.ask_calendar(at)?;
            }
            let now = self.now;
            self.run_until(now + round * SECOND)?;
            match self.undelivered() {
                None => break,
                Some(problem) if self.now >= deadline => {
                    return broken(format!("{patience} s after all agreed: {problem}"));
                }
                Some(_) => {}
            }
        }
        match self.scenario.systems.from_start {
            true => self.tell_all(),
            false => Ok(()),
        }
    }

    /// Waits until every office knows that the systems of all have confirmed all. In large networks some speak for all.
    fn tell_all(&mut self) -> Result<(), Broken> {
        const PATIENCE: u64 = 600 * SECOND;
        let began = self.now;
        let stride = self.offices.len().div_ceil(64);
        loop {
            self.unaware.clear();
            for at in (0..self.offices.len()).step_by(stride) {
                let events = self.calendars.get(&at).and_then(|it| it.events.clone());
                for event in events.into_iter().flatten() {
                    let policy = event.uid.clone();
                    self.ask(at, Asked::Reach, Command::Reach { policy });
                }
                self.work(at)?;
            }
            let now = self.now;
            self.run_until(now + 5 * SECOND)?;
            match self.unaware.first() {
                None => break,
                Some((at, uid)) if self.now > began + PATIENCE => {
                    return broken(format!("office {at} was not told that all confirmed {uid}"));
                }
                Some(_) => {}
            }
        }
        self.stats.told_us = self.now - began;
        // Others may not have told it on.
        let now = self.now;
        self.run_until(now + 60 * SECOND)
    }

    /// An office shows how far an event has come.
    pub(crate) fn told_reach(&mut self, at: usize, reach: ReachView) {
        let offices = self.offices.len() as u64;
        if (reach.held_by, reach.confirmed_by) != (offices, offices) {
            self.unaware.insert((at, reach.uid));
        }
    }

    /// Offices with systems.
    fn deliverers(&self) -> Vec<usize> {
        let delivers = |at: &usize| {
            let office = &self.offices[*at];
            let systems = !office.disk.outbox().subscriptions.is_empty();
            self.is_honest(*at) && office.core.is_some() && !office.retired && systems
        };
        (0..self.offices.len()).filter(delivers).collect()
    }

    fn ask_calendar(&mut self, at: usize) -> Result<(), Broken> {
        self.calendars.insert(at, Calendar::default());
        let query = EventsQuery { limit: 1000, ..EventsQuery::default() };
        self.ask(at, Asked::Calendar(Part::Events), Command::Events(query));
        self.ask(at, Asked::Calendar(Part::Policies), Command::Policies);
        // A page of all of them may end before one that makes a difference.
        for state in [Some(BookingState::Displaced), Some(BookingState::Tentative), None] {
            let query = BookingsQuery { state, ..all_bookings(None) };
            self.ask(at, Asked::Calendar(Part::Bookings), Command::Bookings(query));
        }
        self.work(at)
    }

    /// An office shows part of its calendar.
    pub(crate) fn told_calendar(&mut self, at: usize, part: Part, answer: Answer) {
        let calendar = self.calendars.entry(at).or_default();
        match (part, answer) {
            (Part::Events, Answer::Events { events, .. }) => calendar.events = Some(events),
            (Part::Policies, Answer::Policies(all)) => calendar.policies = Some(all),
            (Part::Bookings, Answer::Bookings { bookings, .. }) => {
                calendar.bookings.get_or_insert_default().extend(bookings);
            }
            _ => {}
        }
    }

    /// What some system doesn't have as it should.
    fn undelivered(&self) -> Option<String> {
        self.deliverers().into_iter().find_map(|at| {
            let outbox = self.offices[at].disk.outbox();
            if let Some(((id, uid), owed)) = outbox.owed.first_key_value() {
                return Some(format!("office {at} owes {id} the event {uid}: {owed:?}"));
            }
            if let Some(it) = outbox.subscriptions.values().find(|it| it.backlog.is_some()) {
                return Some(format!("office {at} has not looked at all for {}", it.id));
            }
            let touched = touched(self.offices[at].disk.rows.iter().map(|row| &**row));
            let known = self.deliveries.known.iter().filter(|it| it.1.at == at);
            known.into_iter().find_map(|(id, known)| self.lacks(at, *id, known, &touched))
        })
    }

    /// What a system doesn't have as it should.
    fn lacks(
        &self,
        at: usize,
        id: SubscriptionId,
        known: &Known,
        touched: &BTreeMap<String, Touched>,
    ) -> Option<String> {
        let Some(Calendar {
            events: Some(events),
            policies: Some(policies),
            bookings: Some(bookings),
        }) = self.calendars.get(&at)
        else {
            return Some(format!("office {at} doesn't answer"));
        };
        let Some(system) = self.systems.all.get(&id) else {
            // It was never told anything.
            return None;
        };
        for view in events {
            let policy = policies.iter().find(|it| it.uid == view.uid);
            let Some(touched) = touched.get(&view.uid).filter(|it| wants(known, view, it)) else {
                continue;
            };
            let expected = match known.filter.approved {
                true => approved(view, policy),
                false => self.expected(view, policy, bookings),
            };
            // Who confirmed and forgot has had it.
            let has = match self.systems.forgetful.contains(&id) {
                true => system.newest_confirmed(&view.uid),
                false => system.copies.get(&view.uid),
            };
            let Some(has) = has.map(|it| &it.delivery) else {
                let Touched { last, .. } = touched;
                return Some(format!(
                    "{id} of office {at} was never told of {}, last changed by entry {last}, from {}, since {:?}",
                    view.uid, known.from, known.since
                ));
            };
            if let Some(what) = expected.differs(has) {
                return Some(format!(
                    "{id} of office {at} has another {what} of {}: {has:?}, not {:?} {:?} {:?}",
                    view.uid, expected.event, expected.states, expected.approval
                ));
            }
        }
        let shown = |uid: &str| events.iter().any(|it| it.uid == uid);
        let gone = |it: &Delivery| it.state == DeliveryState::Cancelled;
        let mut left = system.copies.iter().filter(|it| !shown(it.0) && !gone(&it.1.delivery));
        left.next().map(|it| format!("{id} of office {at} still has {}, which is gone", it.0))
    }

    /// An event as it stands, and how final it is once everybody holds everything.
    fn expected(
        &self,
        view: &EventView,
        policy: Option<&PolicyView>,
        bookings: &[BookingView],
    ) -> Expected {
        let faults = &self.scenario.faults;
        let booked = bookings.iter().filter(|it| it.uid == view.uid).map(|it| it.state);
        let booked: Vec<BookingState> =
            booked.filter(|it| *it != BookingState::Cancelled).collect();
        // Liars don't say what they hold, and not everybody is in touch with everybody after removals.
        let all_speak = faults.liars == 0 && !faults.removes();
        // What was settled, and holds, may be shown as tentative again: where somebody is to be dismissed, or as in "What is
        // not promised" in docs/protocol.md.
        let is_at_risk = |it: &BookingView| {
            let resource = self.shelf.reserved.resources.get(&it.resource);
            resource.is_some_and(|it| !it.dismissals.is_empty())
        };
        let mut of_event = bookings.iter().filter(|it| it.uid == view.uid);
        let is_excused = !all_speak
            || faults.forks()
            || of_event.any(|it| is_at_risk(it) || self.promises.is_excused(&it.id));
        let was_settled = is_excused.then_some(DeliveryState::Settled);
        let states = if is_cancelled(&view.event) {
            vec![DeliveryState::Cancelled]
        } else if booked.contains(&BookingState::Displaced) {
            vec![DeliveryState::Displaced]
        } else if booked.contains(&BookingState::Tentative) {
            was_settled.into_iter().chain([DeliveryState::Tentative]).collect()
        } else if all_speak || !booked.is_empty() {
            vec![DeliveryState::Settled]
        } else {
            vec![DeliveryState::Settled, DeliveryState::Tentative]
        };
        let approval = policy.filter(|it| it.state != PolicyState::Draft).map(|it| {
            let mut approval = json!({ "state": it.state, "changed": it.changed });
            if it.disputed {
                approval["disputed"] = json!(true);
            }
            if let Some(by) = &it.superseded_by {
                approval["superseded_by"] = json!(by);
            }
            approval
        });
        Expected {
            event: view.event.clone(),
            states,
            approval: Some(approval.unwrap_or(Value::Null)),
        }
    }
}

impl Expected {
    /// In what a system has something else.
    fn differs(&self, has: &Delivery) -> Option<&'static str> {
        let approval = has.approval.clone().unwrap_or(Value::Null);
        if !self.event.is_empty() && has.event != self.event {
            Some("content")
        } else if !self.states.contains(&has.state) {
            Some("state")
        } else if self.approval.as_ref().is_some_and(|it| *it != approval) {
            Some("approval")
        } else {
            None
        }
    }
}

/// A policy as it was approved.
fn approved(view: &EventView, policy: Option<&PolicyView>) -> Expected {
    let approved = policy.filter(|it| it.state == PolicyState::Approved);
    match approved.and_then(|it| it.approved.first()) {
        Some(approved) => {
            let mut event = approved.content.clone();
            event.insert("uid".into(), json!(view.uid));
            let states = match is_cancelled(&event) {
                true => vec![DeliveryState::Cancelled],
                false => {
                    vec![DeliveryState::Settled, DeliveryState::Tentative, DeliveryState::Displaced]
                }
            };
            Expected { event, states, approval: None }
        }
        None => Expected {
            event: Object::new(),
            states: vec![DeliveryState::Cancelled],
            approval: None,
        },
    }
}

/// Whether a system has to have the newest state of an event: it wants it as it is, and that came since it was there, or
/// was promised.
fn wants(known: &Known, view: &EventView, touched: &Touched) -> bool {
    let Known { filter, from, since, events, .. } = known;
    let text = |it: Option<&Value>| it.and_then(Value::as_str).unwrap_or_default().to_owned();
    let policy = view.event.get("fasti:policy").and_then(Value::as_object);
    let kind = match (is_cancelled(&view.event), policy) {
        (true, Some(_)) => "policy_cancel".to_owned(),
        (true, None) => "event_cancel".to_owned(),
        (false, Some(policy)) => text(policy.get("type")),
        (false, None) => "event_update".to_owned(),
    };
    let matches = (filter.types.is_empty() || filter.types.contains(&kind))
        && (filter.calendars.is_empty()
            || filter.calendars.contains(&text(view.event.get("fasti:calendar"))))
        && (filter.offices.is_empty() || filter.offices.contains(&touched.office));
    let came = match filter.approved {
        true => touched.decided,
        false => Some(touched.last),
    };
    let Some(came) = came else { return false };
    // Whether it had been changed since then was asked when it was looked at; what came later, and is not approved, is no
    // matter of who wants nothing else.
    let was_looked_at =
        |since: i64| since == i64::MIN || !filter.approved || touched.changed < *from;
    let promised = events.contains(&view.uid)
        || since.is_some_and(|since| touched.time >= since && was_looked_at(since));
    matches && (came >= *from || promised)
}

fn is_cancelled(event: &Object) -> bool {
    ["status", "progress"].iter().any(|it| event.get(*it) == Some(&json!("cancelled")))
}

/// What the entries on a disk say of each event, in their order.
fn touched<'a>(rows: impl Iterator<Item = &'a Row>) -> BTreeMap<String, Touched> {
    let mut all: BTreeMap<String, Touched> = BTreeMap::new();
    for (at, row) in rows.enumerate().filter(|it| it.1.standing == Standing::Applied) {
        let (office, time) = (row.entry.log.author, row.entry.link.time);
        let statement = Statement::decode(row.entry.link.kind, &row.entry.link.body);
        for uid in Appended::of(at as u64, row).uids {
            let new = Touched { last: at, changed: at, office, time, decided: None };
            let it = all.entry(uid).or_insert(new);
            it.last = at;
            if row.applied.is_some() {
                (it.changed, it.office, it.time) = (at, office, time);
            } else if let Ok(Statement::Approval(said)) = &statement
                && !matches!(said, fasti_core::approval::Approval::Propose(_))
            {
                it.decided = Some(at);
            }
        }
    }
    all
}
