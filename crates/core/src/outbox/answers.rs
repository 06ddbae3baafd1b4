//! What people ask of subscriptions and deliveries.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::subscription::{self, Backlog, NewSubscription, Pause, Start, SubscriptionEdit};
use super::{
    DeliveryState, Line, Outbox, Owed, SUBSCRIPTIONS_MAX, Slot, Standing, Subscription,
    SubscriptionId,
};
use crate::command::{
    Answer, CommandError, Deliveries, DeliveriesQuery, DeliveryStatus, DeliveryView, Replay,
    Replayed, Reply, SubscriptionView,
};
use crate::gossip::Gossip;
use crate::ledger::Ledger;
use crate::step::Write;
use crate::time::{Instant, Now};

/// Most deliveries on one page.
const PAGE_MAX: usize = 1000;

impl Outbox {
    /// By its name, or its id.
    fn find(&self, system: &str) -> Result<SubscriptionId, CommandError> {
        let is_it = |it: &&Subscription| it.name == system || it.id.to_string() == system;
        let mut all = self.lines.values().map(|it| &*it.subscription);
        let found = all.find(is_it).map(|it| it.id);
        found.ok_or_else(|| CommandError::UnknownSystem(system.to_owned()))
    }

    /// A subscription as whoever delivers needs it.
    pub(crate) fn subscription(&self, system: &str) -> Result<Arc<Subscription>, CommandError> {
        Ok(Arc::clone(&self.lines[&self.find(system)?].subscription))
    }

    pub(crate) fn subscriptions(&self) -> Vec<SubscriptionView> {
        let mut views: Vec<SubscriptionView> = self.lines.values().map(view).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    pub(crate) fn subscribe(
        &mut self,
        now: Now,
        new: NewSubscription,
    ) -> Result<SubscriptionView, CommandError> {
        subscription::check(&new.name, &new.filter)?;
        self.check_is_free(&new.name)?;
        if self.lines.len() >= SUBSCRIPTIONS_MAX {
            let problem =
                format!("this node has {SUBSCRIPTIONS_MAX} subscriptions, which is the most");
            return Err(CommandError::NotAllowed(problem));
        }
        let mut id = SubscriptionId(self.dice.next() >> 16);
        while self.lines.contains_key(&id) {
            id = SubscriptionId(self.dice.next() >> 16);
        }
        let backlog = |since| Some(Backlog { after: String::new(), since });
        let (since, backlog) = match new.start {
            Start::Now => (now.wall, None),
            Start::Beginning => (i64::MIN, backlog(i64::MIN)),
            Start::Time(since) => (since, backlog(since)),
        };
        let subscription = Subscription {
            id,
            name: new.name,
            target: new.target,
            filter: new.filter,
            secrets: vec![new.secret],
            rotation_ends: 0,
            created: now.wall,
            since,
            backlog,
            pause: None,
        };
        self.writes.push(Write::Subscription(Box::new(subscription.clone())));
        let line = Line::new(subscription);
        let view = view(&line);
        self.lines.insert(id, line);
        Ok(view)
    }

    fn check_is_free(&self, name: &str) -> Result<(), CommandError> {
        match self.find(name) {
            Ok(_) => Err(CommandError::Invalid {
                path: "name".into(),
                problem: format!(
                    "there is a subscription {name:?} already; `fasti subscriptions` lists them"
                ),
            }),
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn edit(
        &mut self,
        now: Now,
        system: &str,
        edit: SubscriptionEdit,
    ) -> Result<SubscriptionView, CommandError> {
        let id = self.find(system)?;
        let before = &self.lines[&id].subscription;
        let name = edit.name.as_ref().unwrap_or(&before.name);
        subscription::check(name, edit.filter.as_ref().unwrap_or(&before.filter))?;
        if *name != before.name {
            self.check_is_free(name)?;
        }
        let Some(line) = self.lines.get_mut(&id) else {
            return Err(CommandError::UnknownSystem(system.to_owned()));
        };
        let it = Arc::make_mut(&mut line.subscription);
        // Whatever is different, it is worth a new try.
        let anew = edit.target.is_some() || edit.paused == Some(false);
        it.name = edit.name.unwrap_or_else(|| it.name.clone());
        it.target = edit.target.unwrap_or_else(|| it.target.clone());
        let filter = edit.filter.unwrap_or_else(|| it.filter.clone());
        let told_anew = filter.approved != it.filter.approved;
        it.filter = filter;
        it.pause = match edit.paused {
            Some(paused) => paused.then_some(Pause::Asked),
            None => it.pause.take(),
        };
        if let Some((secret, until)) = edit.secret {
            it.secrets.insert(0, secret);
            it.secrets.truncate(2);
            it.rotation_ends = until;
        }
        self.writes.push(Write::Subscription(Box::new(it.clone())));
        if told_anew {
            self.version_anew(now, id);
        }
        let Some(line) = self.lines.get_mut(&id) else {
            return Err(CommandError::UnknownSystem(system.to_owned()));
        };
        if anew {
            line.breaker.succeeded();
            line.rests_until = Instant::default();
            line.problem.clear();
            line.hurry(now);
        }
        Ok(view(line))
    }

    /// What a system is owed says something else from now on: under another version, as it may know this one.
    fn version_anew(&mut self, now: Now, id: SubscriptionId) {
        let Some(line) = self.lines.get(&id) else { return };
        let uids: Vec<String> = line.slots.keys().cloned().collect();
        for uid in uids {
            self.version = self.next_version(now);
            let Some(line) = self.lines.get_mut(&id) else { return };
            let Some(slot) = line.slots.get(&uid) else { continue };
            let (owed, due) = (Owed { version: self.version, ..slot.owed.clone() }, slot.due);
            self.writes.push(Write::Version(self.version));
            self.writes.push(Write::Owed(id, uid.clone(), Some(owed.clone())));
            line.put(&uid, owed, due);
        }
    }

    pub(crate) fn unsubscribe(&mut self, system: &str) -> Result<(), CommandError> {
        let id = self.find(system)?;
        self.lines.remove(&id);
        self.writes.push(Write::Unsubscribed(id));
        Ok(())
    }

    /// Delivers again; gives how many are owed by that at once.
    pub(crate) fn replay(
        &mut self,
        ledger: &mut Ledger,
        gossip: &Gossip,
        now: Now,
        replay: Replay,
    ) -> Result<u64, CommandError> {
        let id = self.find(&replay.system)?;
        let Some(line) = self.lines.get_mut(&id) else { return Ok(0) };
        match replay.what {
            Replayed::Event(uid) => {
                ledger.settle(&uid);
                if let Some(slot) = line.slots.get(&uid) {
                    let owed = revived(&slot.owed, now);
                    self.writes.push(Write::Owed(id, uid.clone(), Some(owed.clone())));
                    line.put(&uid, owed, now.monotonic);
                } else if ledger.history_of(&uid).is_empty() {
                    return Err(CommandError::UnknownEvent(uid));
                } else {
                    let uids = BTreeSet::from([uid.clone()]);
                    ledger.settle_all();
                    ledger.bookings.refresh();
                    // As others were told, until all are told that it is more final now.
                    let state = self.watched.get(&uid).copied();
                    let state = match state {
                        Some(state) => state,
                        None => self.look_at(ledger, gossip, &uids).of(ledger, &uid),
                    };
                    let standing = Standing::of(ledger, &uid, state);
                    self.owe(id, &uid, &standing, now);
                    self.acknowledged(now);
                }
                Ok(1)
            }
            Replayed::Dead { from, to } => {
                let is_wanted = |it: &Owed| it.dead.is_some() && (from..to).contains(&it.made);
                let dead = line.slots.iter().filter(|it| is_wanted(&it.1.owed));
                let dead: Vec<(String, Owed)> =
                    dead.map(|it| (it.0.clone(), revived(&it.1.owed, now))).collect();
                let count = dead.len() as u64;
                for (uid, owed) in dead {
                    self.writes.push(Write::Owed(id, uid.clone(), Some(owed.clone())));
                    line.put(&uid, owed, now.monotonic);
                }
                Ok(count)
            }
            Replayed::Since(since) => {
                let it = Arc::make_mut(&mut line.subscription);
                // What was asked for before, and not looked at yet, is still wanted.
                let before = it.backlog.as_ref().map_or(since, |before| before.since);
                it.backlog = Some(Backlog { after: String::new(), since: since.min(before) });
                it.since = it.since.min(since);
                self.writes.push(Write::Subscription(Box::new(it.clone())));
                Ok(0)
            }
        }
    }

    /// What is not confirmed, by subscription and event, and whether there is more.
    pub(crate) fn deliveries(
        &self,
        query: &DeliveriesQuery,
    ) -> Result<(Vec<DeliveryView>, bool), CommandError> {
        let only = query.system.as_ref().map(|it| self.find(it)).transpose()?;
        let limit = query.limit.clamp(1, PAGE_MAX);
        let mut page = Vec::new();
        for (id, line) in self.lines.iter().filter(|it| only.is_none_or(|only| only == *it.0)) {
            let after = match &query.after {
                Some((subscription, _)) if id < subscription => continue,
                Some((subscription, uid)) if id == subscription => Bound::Excluded(uid.as_str()),
                _ => Bound::Unbounded,
            };
            for (uid, slot) in line.slots.range::<str, _>((after, Bound::Unbounded)) {
                let view = self.delivery(line, uid, slot);
                let is_wanted = query.uid.as_ref().is_none_or(|it| it == uid)
                    && query.status.is_none_or(|it| it == view.status);
                if is_wanted && page.len() == limit {
                    return Ok((page, true));
                } else if is_wanted {
                    page.push(view);
                }
            }
        }
        Ok((page, false))
    }

    /// What is owed to a system of an event, as it would be tried now.
    pub(crate) fn as_tried(&self, ledger: &mut Ledger, system: &str, uid: &str) -> Reply {
        let line = &self.lines[&self.find(system)?];
        let not_owed = || CommandError::NotOwed { system: system.to_owned(), uid: uid.to_owned() };
        let owed = &line.slots.get(uid).ok_or_else(not_owed)?.owed;
        ledger.settle(uid);
        let state = self.watched.get(uid).copied().unwrap_or(DeliveryState::Settled);
        let source = (ledger.network, ledger.office());
        let standing = Standing::of(ledger, uid, state);
        let delivery = standing.delivery(source, &line.subscription, uid, owed);
        Ok(Answer::Delivery(Arc::clone(&line.subscription), Box::new(delivery)))
    }

    fn delivery(&self, line: &Line, uid: &str, slot: &Slot) -> DeliveryView {
        let Owed { version, kind, since, attempts, next, problem, dead, .. } = &slot.owed;
        let is_dead = dead.is_some();
        DeliveryView {
            subscription: line.subscription.id,
            system: line.subscription.name.clone(),
            uid: uid.to_owned(),
            version: *version,
            kind: kind.clone(),
            status: if is_dead { DeliveryStatus::Dead } else { DeliveryStatus::Pending },
            state: self.watched.get(uid).copied().unwrap_or(DeliveryState::Settled),
            attempts: *attempts,
            since: Some(*since),
            next: (!is_dead).then_some(*next),
            confirmed_at: None,
            applied: None,
            problem: (!problem.is_empty()).then(|| problem.clone()),
        }
    }

    /// How many are pending, and how many were given up.
    pub(crate) fn count(&self) -> Deliveries {
        let mut count = Deliveries::default();
        for line in self.lines.values() {
            count.dead += line.dead;
            count.pending += line.slots.len() as u64 - line.dead;
        }
        count
    }
}

/// To be tried at once.
fn revived(owed: &Owed, now: Now) -> Owed {
    let since = if owed.dead.is_some() { now.wall } else { owed.since };
    Owed { dead: None, attempts: 0, next: now.wall, since, ..owed.clone() }
}

impl Line {
    /// What waits for its next attempt needn't wait any more.
    fn hurry(&mut self, now: Now) {
        let waiting = std::mem::take(&mut self.ready);
        for (due, uid) in waiting {
            let due = due.min(now.monotonic);
            if let Some(slot) = self.slots.get_mut(&uid) {
                slot.due = due;
            }
            self.ready.insert((due, uid));
        }
    }
}

fn view(line: &Line) -> SubscriptionView {
    let Subscription { id, name, target, filter, created, backlog, pause, .. } =
        &*line.subscription;
    let problem = match pause {
        Some(Pause::Gone(reason)) => reason.clone(),
        _ => line.problem.clone(),
    };
    SubscriptionView {
        id: *id,
        name: name.clone(),
        url: target.shown(),
        options: target.options.clone(),
        filter: filter.clone(),
        state: line.state(),
        problem: (!problem.is_empty()).then_some(problem),
        pending: line.slots.len() as u64 - line.dead,
        dead: line.dead,
        unconfirmed_since: line.slots.values().map(|it| it.owed.since).min(),
        backlog: backlog.is_some(),
        created: *created,
        confirmed: line.confirmed,
        failed: line.failed,
    }
}
