//! The people who subscribe external systems at their office, and pause, change, replay and remove them. Leaves what
//! must follow to `deliveries`.

use std::collections::BTreeSet;

use fasti_calendar::ical;
use fasti_core::command::{DeliveriesQuery, Object, Replay, Replayed, TakeOver};
use fasti_core::outbox::{
    Filter, NewSubscription, Secret, Start, SubscriptionEdit, SubscriptionId, Target,
};
use fasti_core::{Answer, Command, Reply};
use serde_json::json;

use crate::clients::Asked;
use crate::forge::MARK;
use crate::oracle::{Broken, Invariant};
use crate::world::{Happening, MILLISECOND, World};

/// What an operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Subscribe {
        start: Start,
    },
    /// Something that changes nothing of what is owed.
    Edit,
    Unsubscribe,
    /// This event.
    Event(SubscriptionId, String),
    /// What was given up.
    Dead,
    /// What was changed since then.
    Since(SubscriptionId, i64),
    /// What is not confirmed.
    List,
    /// Somebody wrote something at the system.
    Read,
}

impl World {
    /// Somebody does something about the systems of an office.
    pub(crate) fn operate(&mut self) -> Result<(), Broken> {
        if !self.unkind {
            return Ok(());
        }
        self.some_time(self.scenario.systems.operate_every_ms * MILLISECOND, Happening::Operate);
        let honest = |at: &usize| self.is_honest(*at) && self.offices[*at].core.is_some();
        let honest: Vec<usize> = (0..self.offices.len()).filter(honest).collect();
        let Some(at) = self.dice.pick(&honest).copied() else { return Ok(()) };
        let all = &self.offices[at].disk.outbox().subscriptions;
        let (few, all): (bool, Vec<SubscriptionId>) =
            ((all.len() as u64) < self.scenario.systems.per_office, all.keys().copied().collect());
        let Some(id) = self.dice.pick(&all).copied().filter(|_| !few) else {
            return self.subscribe(at);
        };
        let system = id.to_string();
        let (what, command) = match self.dice.below(100) {
            0..5 => return self.subscribe(at),
            5..10 => (Operation::Unsubscribe, Command::Unsubscribe { system }),
            10..40 => (Operation::Edit, self.pause(at, id)),
            40..50 => {
                let target = Some(target("elsewhere"));
                let edit = SubscriptionEdit { target, ..SubscriptionEdit::default() };
                (Operation::Edit, Command::EditSubscription { system, edit })
            }
            50..58 => {
                let filter = Some(self.filter());
                let edit = SubscriptionEdit { filter, ..SubscriptionEdit::default() };
                (Operation::Edit, Command::EditSubscription { system, edit })
            }
            58..68 => {
                let uid = self.some_event();
                let what = Replayed::Event(uid.clone());
                (Operation::Event(id, uid), Command::Replay(Replay { system, what }))
            }
            68..76 => (Operation::Dead, replay_dead(system)),
            76..84 => {
                let since = self.some_moment(at);
                let what = Replayed::Since(since);
                (Operation::Since(id, since), Command::Replay(Replay { system, what }))
            }
            84..92 => match self.said(at, id) {
                Some(said) => (Operation::Read, Command::TakeOver(said)),
                None => (Operation::List, list()),
            },
            _ => (Operation::List, list()),
        };
        self.operation(at, what, command)
    }

    fn operation(&mut self, at: usize, what: Operation, command: Command) -> Result<(), Broken> {
        let text = || format!("{command:?}");
        self.trace.note(self.now, at, "asked", text().as_bytes(), text);
        if let Command::Unsubscribe { system } = &command {
            self.deliveries.may_end(system);
        }
        self.ask(at, Asked::Operation(what), command);
        self.work(at)
    }

    /// A system that wants all.
    pub(crate) fn subscribe_to_all(&mut self, at: usize) -> Result<(), Broken> {
        self.subscribe_from(at, Start::Beginning, Filter::default())
    }

    fn subscribe(&mut self, at: usize) -> Result<(), Broken> {
        let start = match self.dice.below(4) {
            0 => Start::Now,
            1 => Start::Time(self.some_moment(at)),
            _ => Start::Beginning,
        };
        let filter = self.filter();
        self.subscribe_from(at, start, filter)
    }

    fn subscribe_from(&mut self, at: usize, start: Start, filter: Filter) -> Result<(), Broken> {
        self.stats.systems += 1;
        let name = format!("system-{}", self.stats.systems);
        let target = target(&name);
        let new = NewSubscription { name, target, filter, start, secret: Secret(vec![1; 32]) };
        self.operation(at, Operation::Subscribe { start }, Command::Subscribe(new))
    }

    /// Most systems want all.
    fn filter(&mut self) -> Filter {
        let set = |kinds: &[&str]| kinds.iter().map(|it| (*it).to_owned()).collect();
        match self.dice.below(10) {
            0 => Filter {
                types: set(&["policy_start", "policy_cancel", "event_cancel"]),
                ..Filter::default()
            },
            1 => Filter { calendars: set(&["policies"]), ..Filter::default() },
            2 | 3 => {
                let offices = self.offices.iter().filter(|it| it.started).map(|it| it.id);
                let offices: BTreeSet<_> = offices.filter(|_| self.dice.chance(0.5)).collect();
                Filter { offices, ..Filter::default() }
            }
            4 => Filter { approved: true, ..Filter::default() },
            _ => Filter::default(),
        }
    }

    fn some_event(&mut self) -> String {
        let number = self.dice.below(self.scenario.clients.events);
        match self.dice.chance(0.5) {
            true => format!("event-{number}"),
            false => format!("policy-P-{number}"),
        }
    }

    /// What a system says after somebody changed something there, of what it was told before, or of what he found.
    fn said(&mut self, at: usize, subscription: SubscriptionId) -> Option<TakeOver> {
        let system = self.systems.all.get(&subscription)?;
        let uids: Vec<&String> = system.copies.keys().collect();
        let uid = (*self.dice.pick(&uids)?).clone();
        let copy = &system.copies[&uid].delivery.event;
        // Nobody says what a liar forged: it would be honestly written then.
        if !copy.contains_key("start") || serde_json::to_string(copy).ok()?.contains(MARK) {
            return None;
        }
        let agreed = self.offices[at].disk.agreed(subscription, &uid).cloned();
        let before = agreed.filter(|_| self.dice.chance(0.8)).and_then(|it| {
            let before: Object = serde_json::from_slice(&it.receipt).ok()?;
            before.contains_key("start").then(|| (ical::as_read(&before), it.heads))
        });
        let number = self.dice.below(4);
        let mut event = ical::as_read(copy);
        let changed = match number {
            0 => ("title", json!(format!("Title {}", self.dice.below(3)))),
            1 => ("description", json!("from there")),
            _ => ("priority", json!(self.dice.below(4))),
        };
        event.insert(changed.0.into(), changed.1);
        let event = Some(event).filter(|_| !self.dice.chance(0.1));
        let receipt = serde_json::to_vec(&event.clone().unwrap_or_default()).unwrap_or_default();
        Some(TakeOver { subscription, uid, event, before, calendar: None, receipt })
    }

    /// Before everything, or lately.
    fn some_moment(&mut self, at: usize) -> i64 {
        let wall = self.clocks(at).wall;
        match self.dice.chance(0.5) {
            true => i64::MIN,
            false => wall - self.dice.below(20_000) as i64,
        }
    }

    /// What is paused, or gone, goes on; else it is paused.
    fn pause(&self, at: usize, id: SubscriptionId) -> Command {
        let subscription = self.offices[at].disk.outbox().subscriptions.get(&id);
        let paused = subscription.is_some_and(|it| it.pause.is_none());
        resume(id, paused)
    }

    /// An operator sees to it that all goes on: what is paused, what was given up, and after a backup was restored all.
    pub(crate) fn tend(&mut self, at: usize, hurry: bool) -> Result<(), Broken> {
        let outbox = self.offices[at].disk.outbox();
        let asks: Vec<(SubscriptionId, bool, bool)> = outbox
            .subscriptions
            .values()
            .map(|it| {
                let owed = || outbox.owed.iter().filter(|owed| owed.0.0 == it.id);
                let resume = it.pause.is_some() || hurry && owed().next().is_some();
                (it.id, resume, owed().any(|owed| owed.1.dead.is_some()))
            })
            .collect();
        for (id, to_resume, dead) in asks {
            if to_resume {
                self.operation(at, Operation::Edit, resume(id, false))?;
            }
            if dead {
                self.operation(at, Operation::Dead, replay_dead(id.to_string()))?;
            }
            if self.deliveries.to_replay(id) {
                let what = Replayed::Since(i64::MIN);
                let replay = Command::Replay(Replay { system: id.to_string(), what });
                self.operation(at, Operation::Since(id, i64::MIN), replay)?;
            }
        }
        self.operation(at, Operation::List, list())
    }

    /// What operators are told.
    pub(crate) fn told_operator(
        &mut self,
        at: usize,
        what: Operation,
        reply: Reply,
    ) -> Result<(), Broken> {
        match (what, reply) {
            (Operation::Subscribe { start }, Ok(Answer::Subscription(view))) => {
                self.promised_from(view.id, start);
                Ok(())
            }
            (Operation::Edit, Ok(Answer::Subscription(_)))
            | (Operation::Unsubscribe, Ok(Answer::Unsubscribed)) => Ok(()),
            (Operation::Read, Ok(Answer::TakenOver(taken))) => {
                self.stats.taken_over += u64::from(taken);
                Ok(())
            }
            (Operation::Event(id, uid), Ok(Answer::Replayed(_))) => {
                self.stats.replayed += 1;
                self.deliveries.promised(id, uid);
                Ok(())
            }
            (Operation::Dead, Ok(Answer::Replayed(count))) => {
                self.stats.replayed += count;
                Ok(())
            }
            (Operation::Since(id, since), Ok(Answer::Replayed(_))) => {
                self.stats.replayed += 1;
                self.promised_from(id, Start::Time(since));
                Ok(())
            }
            (Operation::List, Ok(Answer::Deliveries { deliveries, more })) => {
                self.check_listed(at, &deliveries, more)
            }
            (_, Err(error)) => self.refused(at, &error),
            (what, Ok(answer)) => {
                let detail = format!("office {at} answered {what:?} by {answer:?}");
                Err(Broken::new(Invariant::NothingOwedVanishes, detail))
            }
        }
    }
}

fn target(name: &str) -> Target {
    Target { url: format!("https://{name}.example/hook"), options: "{}".into() }
}

fn resume(id: SubscriptionId, paused: bool) -> Command {
    let edit = SubscriptionEdit { paused: Some(paused), ..SubscriptionEdit::default() };
    Command::EditSubscription { system: id.to_string(), edit }
}

fn replay_dead(system: String) -> Command {
    Command::Replay(Replay { system, what: Replayed::Dead { from: i64::MIN, to: i64::MAX } })
}

fn list() -> Command {
    Command::Deliveries(DeliveriesQuery { limit: 1000, ..DeliveriesQuery::default() })
}
