//! The people who edit, at random offices, few events so that edits meet. What they are told is
//! remembered: an answer is a promise (invariant 3).

use std::collections::BTreeMap;

use fasti_core::command::{Condition, ConflictKind, ConflictView, Written};
use fasti_core::policy::{PolicyEvent, PolicyKind};
use fasti_core::resource::Slot;
use fasti_core::{Answer, Command, CommandError, Reply, RequestId, ResourceId};
use serde_json::{Value, json};

use crate::entries::Entries;
use crate::forge::MARK;
use crate::operators::Operation;
use crate::oracle::{Broken, Invariant};
use crate::world::{Happening, MILLISECOND, SECOND, World};

/// Part of what an office shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Status,
    Events,
    Conflicts,
    FormerMembers,
    Policies,
    Resources,
    Bookings,
    /// The status once more: whether nothing was written while the others were asked for.
    StatusAfter,
}

/// What was asked, to know what the answer is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A write, at this moment.
    Write { at: u64 },
    /// The event that was written by the request before.
    ReadBack { written: RequestId },
    /// The conflicts, to decide one.
    Conflicts,
    /// A ticket for this newcomer.
    Invite { newcomer: usize },
    /// To be let in.
    Admit { newcomer: usize },
    /// A resource to be there, or different.
    Resource,
    /// These times of a resource.
    Book { resource: ResourceId, slots: Vec<Slot> },
    /// That nothing is booked any more.
    CancelBooking,
    /// The bookings of a resource, when the office held these entries.
    Bookings { resource: ResourceId, known: Entries },
    /// A policy to be proposed, approved or withdrawn.
    Decision,
    /// All bookings, for an oracle, when the office held these entries.
    AllBookings { known: Entries },
    /// For an oracle.
    View(Part),
    /// Whether it knows that all hold all.
    Acknowledged,
    /// How far an event has come, as far as it knows.
    Reach,
    /// Part of the calendar, for what systems must have.
    Calendar(Part),
    /// Something about external systems.
    Operation(Operation),
    /// Somebody's membership to end.
    Remove,
    /// To be succeeded by a new key.
    Succeed { old: usize, new: usize },
}

/// What clients remember.
#[derive(Default)]
pub(crate) struct Clients {
    requests: RequestId,
    asked: BTreeMap<RequestId, (usize, Asked)>,
    /// The etag of a write, until it is read back.
    etags: BTreeMap<RequestId, String>,
    /// Conflicts that somebody saw.
    conflicts: Vec<ConflictView>,
    edits: u64,
}

impl Clients {
    pub(crate) fn remember(&mut self, at: usize, asked: Asked) -> RequestId {
        self.requests += 1;
        self.asked.insert(self.requests, (at, asked));
        self.requests
    }
}

impl World {
    /// Requests at a crashed office are never answered.
    pub(crate) fn forget_asked(&mut self, at: usize) {
        self.clients.asked.retain(|_, (office, _)| *office != at);
        self.watch.views.remove(&at);
    }

    /// Somebody edits something somewhere, and plans the next edit.
    pub(crate) fn edit(&mut self) -> Result<(), Broken> {
        let max = self.scenario.clients.edits_max;
        if !self.unkind || (max > 0 && self.clients.edits >= max) {
            return Ok(());
        }
        self.some_time(self.scenario.clients.edit_every_ms * MILLISECOND, Happening::Edit);
        let at = self.dice.below(self.offices.len() as u64) as usize;
        if self.offices[at].core.is_none() {
            return Ok(());
        }
        self.clients.edits += 1;
        let (uid, command) = self.command();
        let asked = match command {
            Command::Conflicts => Asked::Conflicts,
            _ => Asked::Write { at: self.now },
        };
        let text = || format!("{command:?}");
        self.trace.note(self.now, at, "asked", text().as_bytes(), text);
        let written = self.ask(at, asked, command);
        if let (Some(uid), Some(written)) = (uid, written) {
            self.ask(at, Asked::ReadBack { written }, Command::Event { uid });
        }
        self.work(at)
    }

    /// A random command, and the event that it is about if there is just one.
    fn command(&mut self) -> (Option<String>, Command) {
        if self.scenario.clients.publish_only {
            let policy = self.publication(PolicyKind::Start);
            return (None, Command::Publish(vec![policy]));
        }
        let events = self.scenario.clients.events;
        let dice = &mut self.dice;
        let uid = format!("event-{}", dice.below(events));
        let room = dice.below(4);
        let condition = if dice.chance(0.1) { Condition::Exists } else { Condition::Always };
        let object = |value: Value| value.as_object().cloned().unwrap_or_default();
        match dice.below(100) {
            0..25 => {
                let kinds = [
                    PolicyKind::Start,
                    PolicyKind::Start,
                    PolicyKind::Update,
                    PolicyKind::End,
                    PolicyKind::Cancel,
                ];
                let count = 1 + dice.below(3);
                let kinds: Vec<_> = (0..count).filter_map(|_| dice.pick(&kinds).copied()).collect();
                let policies = kinds.into_iter().map(|kind| self.publication(kind)).collect();
                (None, Command::Publish(policies))
            }
            25..50 => {
                let mut event = object(json!({
                    "@type": "Event",
                    "title": format!("Title {room}"),
                    "start": format!("2024-04-{:02}T09:00:00", 1 + dice.below(28)),
                    "duration": "PT1H",
                    "keywords": { "a": true },
                    "locations": { "1": { "@type": "Location", "name": format!("Room {room}") } },
                    "recurrenceRules": [{ "@type": "RecurrenceRule", "frequency": "weekly" }],
                }));
                if dice.chance(0.5) {
                    event.insert("example.org:x".into(), json!(dice.below(1_000_000) as i64));
                }
                (Some(uid.clone()), Command::Put { uid, event, condition })
            }
            50..85 => {
                let patch = match dice.below(6) {
                    0 => json!({ "title": format!("Title {}", dice.below(3)) }),
                    1 => json!({ "locations": { "1": { "name": format!("Room {room}") } } }),
                    2 => json!({ "locations": { format!("{room}"): { "@type": "Location" } } }),
                    3 => json!({ "priority": room, "description": Value::Null }),
                    4 => json!({ "description": "x".repeat(dice.below(2000) as usize) }),
                    _ => json!({ "keywords": { format!("k{room}"): true, "a": Value::Null } }),
                };
                (Some(uid.clone()), Command::Patch { uid, patch: object(patch), condition })
            }
            85..90 => (Some(uid.clone()), Command::Cancel { uid, condition }),
            90..95 => (None, Command::Conflicts),
            _ => match self.clients.conflicts.pop() {
                Some(conflict) => {
                    // Nobody keeps what a liar forged: it would be honestly written then.
                    let is_honest = |value: &Value| !value.to_string().contains(MARK);
                    let values = conflict.values.iter().map(|it| it.value.clone());
                    let values: Vec<Value> = values.filter(is_honest).collect();
                    let choices = conflict.choices.iter().map(|it| it.keep.clone());
                    let keeps: Vec<Value> = match conflict.kind {
                        ConflictKind::Field => values,
                        ConflictKind::Cancelled => choices.collect(),
                        // Not everybody may decide those.
                        _ => return (None, Command::Conflicts),
                    };
                    let keep = self.dice.pick(&keeps).cloned().unwrap_or(json!("neither"));
                    (None, Command::Resolve { conflict: conflict.id, keep })
                }
                None => (None, Command::Conflicts),
            },
        }
    }

    fn publication(&mut self, kind: PolicyKind) -> PolicyEvent {
        let number = match self.scenario.clients.publish_only {
            true => self.clients.edits,
            false => self.dice.below(self.scenario.clients.events),
        };
        let day = |month: u64, day: u64| format!("2024-{month:02}-{:02}", 1 + day);
        let start = day(4, self.dice.below(28));
        let end = day(9, self.dice.below(28));
        let mut payload = json!({ "policy_id": format!("P-{number}"), "start_date": start });
        if kind == PolicyKind::End || self.dice.chance(0.3) {
            payload["end_date"] = json!(end);
        }
        if self.dice.chance(0.3) {
            payload["note"] = json!({ "level": self.dice.below(5) });
        }
        let payload = payload.as_object().cloned().unwrap_or_default();
        PolicyEvent::new(kind, payload)
            .unwrap_or_else(|error| unreachable!("a sound publication: {error}"))
    }

    /// An answer has come out.
    pub(crate) fn replied(
        &mut self,
        at: usize,
        request: RequestId,
        reply: Reply,
    ) -> Result<(), Broken> {
        let Some((_, asked)) = self.clients.asked.remove(&request) else { return Ok(()) };
        let text = || format!("{asked:?}: {}", brief(&reply));
        self.trace.note(self.now, at, "answered", text().as_bytes(), text);
        match (asked, reply) {
            (Asked::Write { at: when }, Ok(Answer::Written(written))) => {
                self.wrote(at, when, &written)?;
                self.clients.etags.insert(request, written.etag);
            }
            (Asked::Write { at: when }, Ok(Answer::Published(results))) => {
                for result in results {
                    match result {
                        Ok(written) => self.wrote(at, when, &written)?,
                        Err(error) => self.refused(at, &error)?,
                    }
                }
            }
            (Asked::ReadBack { written }, reply) => self.read_back(at, written, reply)?,
            (Asked::Conflicts, Ok(Answer::Conflicts(conflicts))) => {
                // Displaced bookings are decided by booking something else.
                let fields = conflicts.into_iter().filter(|it| !it.path.starts_with("bookings/"));
                self.clients.conflicts = fields.collect();
            }
            (Asked::Invite { newcomer }, Ok(_)) => {
                self.after(MILLISECOND, Happening::Knock { newcomer });
            }
            (Asked::Invite { .. }, Err(_)) => self.after(SECOND, Happening::Invite),
            (Asked::Remove, Ok(_)) => self.stats.removals += 1,
            // People ask for what was true when they looked.
            (Asked::Remove, Err(_)) => {}
            (Asked::Succeed { old, new }, Ok(_)) => {
                self.after(0, Happening::TakeOver { old, new });
            }
            (Asked::Succeed { .. }, Err(error)) => self.refused(at, &error)?,
            (Asked::Admit { newcomer }, Ok(_)) => self.let_in(newcomer, at)?,
            (Asked::Admit { .. }, Err(_)) => {}
            (Asked::View(part), Ok(answer)) => {
                if let Some(view) = self.watch.views.get_mut(&at) {
                    match (part, answer) {
                        (Part::Status, Answer::Status(status)) => view.status = Some(*status),
                        (Part::StatusAfter, Answer::Status(status)) => view.after = Some(*status),
                        (Part::Events, Answer::Events { events, .. }) => view.events = Some(events),
                        (Part::Conflicts, Answer::Conflicts(all)) => view.conflicts = Some(all),
                        (Part::FormerMembers, Answer::FormerMembers(all)) => {
                            view.former = Some(all);
                        }
                        (Part::Policies, Answer::Policies(all)) => view.policies = Some(all),
                        (Part::Resources, Answer::Resources(all)) => view.resources = Some(all),
                        _ => {}
                    }
                }
                self.viewed(at)?;
            }
            (Asked::AllBookings { known }, Ok(Answer::Bookings { bookings, more })) => {
                self.bookings_shown(at, (!more).then_some((&known, None)), &bookings)?;
                if let Some(view) = self.watch.views.get_mut(&at) {
                    view.bookings = Some(bookings);
                }
                self.viewed(at)?;
            }
            (
                asked @ (Asked::Resource
                | Asked::Book { .. }
                | Asked::CancelBooking
                | Asked::Bookings { .. }
                | Asked::Decision),
                reply,
            ) => self.told_of_bookings(at, asked, reply)?,
            (Asked::Reach, Ok(Answer::Reach(reach))) => self.told_reach(at, reach),
            (Asked::Operation(what), reply) => self.told_operator(at, what, reply)?,
            (Asked::Calendar(part), Ok(answer)) => self.told_calendar(at, part, answer),
            (Asked::Acknowledged, Ok(Answer::Status(status))) => {
                self.told_acknowledged(at, &status)?;
            }
            (_, Err(error)) => self.refused(at, &error)?,
            (asked, Ok(answer)) => {
                let detail = format!("office {at} answered {asked:?} by {answer:?}");
                return Err(Broken::new(Invariant::AnsweredIsKept, detail));
            }
        }
        Ok(())
    }

    fn wrote(&mut self, at: usize, when: u64, written: &Written) -> Result<(), Broken> {
        self.stats.edits += 1;
        if let Some(meter) = &mut self.meter {
            meter.published(written.entry, when);
        }
        self.claim(at, &[written.entry], "answered for")?;
        let number = self.shelf.known(&written.entry);
        self.watch.answered.extend(number.filter(|_| self.is_honest(at)));
        Ok(())
    }

    /// Nothing can have come between a write and the reading that was asked for with it.
    fn read_back(&mut self, at: usize, written: RequestId, reply: Reply) -> Result<(), Broken> {
        let Some(etag) = self.clients.etags.remove(&written) else { return Ok(()) };
        match reply {
            Ok(Answer::Event(view)) if view.etag == etag => Ok(()),
            reply => {
                let detail =
                    format!("office {at} wrote an event with etag {etag} and then shows {reply:?}");
                Err(Broken::new(Invariant::AnsweredIsKept, detail))
            }
        }
    }

    /// Only these are honest reasons to refuse an honest edit.
    pub(crate) fn refused(&self, at: usize, error: &CommandError) -> Result<(), Broken> {
        match error {
            _ if !self.is_honest(at) => Ok(()),
            // It was removed, or is an admin who heard that he is none any more.
            CommandError::NotAllowed(_) if self.is_named(at, self.offices[at].id) => Ok(()),
            CommandError::UnknownEvent(_)
            | CommandError::UnknownConflict(_)
            | CommandError::UnknownPolicy(_)
            | CommandError::UnknownResource(_)
            | CommandError::UnknownSystem(_)
            | CommandError::NotOwed { .. }
            | CommandError::UnknownMember(_)
            | CommandError::Precondition { .. }
            | CommandError::Ticket(_)
            | CommandError::NotYetMember(_) => Ok(()),
            CommandError::Invalid { .. }
            | CommandError::TooLarge { .. }
            | CommandError::NotAllowed(_)
            | CommandError::Storage(_)
            | CommandError::Unavailable(_) => {
                let detail = format!("office {at} refused a sound edit: {error}");
                Err(Broken::new(Invariant::HonestRunsAreQuiet, detail))
            }
        }
    }
}

fn brief(reply: &Reply) -> String {
    match reply {
        Ok(Answer::Status(status)) => format!("{:?}", status.frontier),
        Ok(Answer::Events { events, .. }) => format!("{} events", events.len()),
        Ok(Answer::Bookings { bookings, .. } | Answer::Booked(bookings)) => {
            let states: Vec<_> = bookings.iter().map(|it| (&it.id, it.state)).collect();
            format!("{states:?}")
        }
        Ok(Answer::Policies(all)) => format!("{} policies", all.len()),
        other => format!("{other:?}"),
    }
}
