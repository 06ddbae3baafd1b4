//! What is owed to external systems. Each subscription has a line: of every event that it wants the newest state, until
//! the system confirms that. Rows are written in the transaction of the change that makes them due, so that a crash
//! loses none; a newer state takes the place of an older one that waits, so that a system that is down for days is
//! owed each event once. Leaves how a system is reached to `fasti-delivery`.
//!
//! - One attempt for an event of a line is under way at a time, so that no state overtakes another.
//! - After a failure an event waits longer each time; a target that fails at everything is left alone as a whole.
//! - How final an event is may change without anybody writing: tentative ones are watched.

mod answers;
mod delivery;
mod finality;
#[cfg(not(feature = "mutations"))]
#[allow(unreachable_pub)]
mod mutation;
#[cfg(feature = "mutations")]
pub mod mutation;
mod owed;
mod status;
mod subscription;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use self::delivery::Concern;
use self::delivery::Standing;
pub use self::delivery::{Attempt, Delivery, Tried};
use self::finality::Finality;
pub use self::owed::{Agreed, Confirmed, DeliveryState, Outcome, Owed};
use self::owed::{Breaker, GIVE_UP_AFTER, PROBLEM_BYTES_MAX, heeded};
pub(crate) use self::status::name_of;
pub use self::status::{System, SystemState, Systems};
pub use self::subscription::{
    Backlog, Filter, NewSubscription, Pause, SUBSCRIPTIONS_MAX, Secret, Start, Subscription,
    SubscriptionEdit, SubscriptionId, Target,
};
use crate::collection::is_calendar;
use crate::command::{CommandError, TakeOver};
use crate::gossip::Gossip;
use crate::graph::Index;
use crate::ids::{EntryHash, LogId, ResourceId};
use crate::ledger::Ledger;
use crate::step::{Appended, Write};
use crate::time::{Dice, Instant, MILLISECOND, Now, SECOND};

/// Attempts of a line that are under way at once: enough to keep a fast receiver busy while the disk syncs, and few
/// enough for a slow one.
const FLYING_MAX: usize = 32;
/// So many events of a backlog are owed at a time; the rest stays where it is, which needs no memory.
const BACKLOG_OWED_MAX: usize = 1000;
/// Events of backlogs that are looked at in a step.
const BACKLOG_STEP: usize = 128;
/// After watched events were looked at they are left alone for so long: it costs a walk over the entries.
const WATCH_PAUSE: u64 = 200 * MILLISECOND;
/// How often it is looked for what to give up.
const SWEEP_EVERY: u64 = 3600 * SECOND;
/// The longest wait that is taken over from the disk: the clock may have been set back.
const WAIT_MAX: u64 = 3600 * SECOND;

/// The kind of a change that could not be looked at when it came.
const UNSEEN: &str = "";

/// What a node finds on its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredOutbox {
    /// All subscriptions.
    pub subscriptions: BTreeMap<SubscriptionId, Subscription>,
    /// What is owed, by subscription and event.
    pub owed: BTreeMap<(SubscriptionId, String), Owed>,
    /// How final events were told to be that weren't final.
    pub watched: BTreeMap<String, DeliveryState>,
    /// How far all offices are known to have held each log once.
    pub held: BTreeMap<LogId, u64>,
    /// The last version that was given.
    pub version: u64,
}

impl StoredOutbox {
    /// Takes a write, as a store does.
    pub fn keep(&mut self, write: &Write) {
        match write {
            Write::Subscription(it) => drop(self.subscriptions.insert(it.id, (**it).clone())),
            Write::Unsubscribed(id) => {
                self.subscriptions.remove(id);
                self.owed.retain(|key, _| key.0 != *id);
            }
            Write::Owed(id, uid, Some(owed)) => {
                self.owed.insert((*id, uid.clone()), owed.clone());
            }
            Write::Owed(id, uid, None) => drop(self.owed.remove(&(*id, uid.clone()))),
            Write::Watched(uid, Some(state)) => drop(self.watched.insert(uid.clone(), *state)),
            Write::Watched(uid, None) => drop(self.watched.remove(uid)),
            Write::Held(log, seq) => drop(self.held.insert(*log, *seq)),
            Write::Version(version) => self.version = *version,
            _ => {}
        }
    }
}

/// What is owed to a system of an event.
struct Slot {
    owed: Owed,
    /// When it is to be tried, unless it is dead.
    due: Instant,
    flying: Option<Flight>,
}

/// A state that is on its way.
#[derive(Clone)]
struct Flight {
    number: u64,
    version: u64,
    kind: String,
    state: DeliveryState,
}

/// A subscription with what is owed to it.
struct Line {
    subscription: Arc<Subscription>,
    slots: BTreeMap<String, Slot>,
    /// Those that are neither on their way nor dead, by when they are due.
    ready: BTreeSet<(Instant, String)>,
    flying: usize,
    dead: u64,
    breaker: Breaker,
    /// Nothing is tried before.
    rests_until: Instant,
    /// What went wrong last, until something goes well.
    problem: String,
    /// Since the node started: attempts that were confirmed, and that failed.
    confirmed: u64,
    failed: u64,
}

pub(crate) struct Outbox {
    lines: BTreeMap<SubscriptionId, Line>,
    version: u64,
    /// Events that were told of and are not final, as they were told to be.
    watched: BTreeMap<String, DeliveryState>,
    /// How far all offices held each log once. What they say of it later may be less, as only the latest is kept.
    held: BTreeMap<LogId, u64>,
    /// Events with a displaced booking, by resource and its revision when they were looked for.
    displaced: BTreeMap<ResourceId, (u64, BTreeSet<String>)>,
    /// Whether they were looked for since the core was opened.
    looked: bool,
    watch_due: Option<Instant>,
    watch_pause: Instant,
    sweep_due: Instant,
    dice: Dice,
    writes: Vec<Write>,
    /// Whether there is something to be said of systems since it was said last.
    news: bool,
    /// Whether subscriptions are other than they were when they were last told.
    changed: bool,
}

impl Line {
    fn new(subscription: Subscription) -> Self {
        Self {
            subscription: Arc::new(subscription),
            slots: BTreeMap::new(),
            ready: BTreeSet::new(),
            flying: 0,
            dead: 0,
            breaker: Breaker::default(),
            rests_until: Instant::default(),
            problem: String::new(),
            confirmed: 0,
            failed: 0,
        }
    }

    /// Keeps what is owed of an event, in place of what was.
    fn put(&mut self, uid: &str, owed: Owed, due: Instant) {
        let flying = self.take(uid).and_then(|it| it.flying);
        match (owed.dead, &flying) {
            (Some(_), _) => self.dead += 1,
            (None, None) => drop(self.ready.insert((due, uid.to_owned()))),
            (None, Some(_)) if mutation::is(mutation::Mutation::Overtake) => {
                self.ready.insert((due, uid.to_owned()));
            }
            (None, Some(_)) => {}
        }
        self.flying += usize::from(flying.is_some());
        self.slots.insert(uid.to_owned(), Slot { owed, due, flying });
    }

    fn take(&mut self, uid: &str) -> Option<Slot> {
        let (uid, slot) = self.slots.remove_entry(uid)?;
        self.dead -= u64::from(slot.owed.dead.is_some());
        self.flying -= usize::from(slot.flying.is_some());
        self.ready.remove(&(slot.due, uid));
        Some(slot)
    }

    /// What is to be tried next.
    fn next(&mut self, now: Now) -> Option<String> {
        let most = if self.breaker.is_open() { 1 } else { FLYING_MAX };
        if self.subscription.pause.is_some()
            || now.monotonic < self.rests_until
            || self.flying >= most
        {
            return None;
        }
        let uid = self.ready.first().filter(|(due, _)| *due <= now.monotonic)?.1.clone();
        self.ready.pop_first();
        Some(uid)
    }

    /// An event's state is on its way.
    fn launch(&mut self, number: u64, delivery: &Delivery) {
        if let Some(slot) = self.slots.get_mut(&delivery.uid) {
            let Delivery { version, kind, state, .. } = delivery;
            let (version, kind, state) = (*version, kind.clone(), *state);
            slot.flying = Some(Flight { number, version, kind, state });
            self.flying += 1;
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let most = if self.breaker.is_open() { 1 } else { FLYING_MAX };
        let idle = self.subscription.pause.is_none() && self.flying < most;
        self.ready.first().filter(|_| idle).map(|it| it.0.max(self.rests_until))
    }

    fn wants_backlog(&self) -> bool {
        let Subscription { backlog, pause, .. } = &*self.subscription;
        backlog.is_some() && pause.is_none() && self.slots.len() < BACKLOG_OWED_MAX
    }
}

impl Outbox {
    pub(crate) fn new(stored: StoredOutbox, seed: u64, now: Now) -> Self {
        let line = |it: (SubscriptionId, Subscription)| (it.0, Line::new(it.1));
        let mut outbox = Self {
            lines: stored.subscriptions.into_iter().map(line).collect(),
            version: stored.version,
            watched: stored.watched,
            held: stored.held,
            displaced: BTreeMap::new(),
            looked: false,
            watch_due: Some(now.monotonic),
            watch_pause: now.monotonic,
            sweep_due: now.monotonic,
            dice: Dice(seed),
            writes: Vec::new(),
            news: false,
            changed: true,
        };
        for ((subscription, uid), owed) in stored.owed {
            let wait = u64::try_from(owed.next.saturating_sub(now.wall)).unwrap_or(0);
            let due = now.monotonic.after(wait.saturating_mul(MILLISECOND).min(WAIT_MAX));
            if let Some(line) = outbox.lines.get_mut(&subscription) {
                line.put(&uid, owed, due);
            }
        }
        outbox
    }

    /// What others hold may be known better now.
    pub(crate) fn acknowledged(&mut self, now: Now) {
        if !self.watched.is_empty() && !self.lines.is_empty() {
            let due = now.monotonic.max(self.watch_pause);
            self.watch_due.get_or_insert(due);
        }
    }

    /// Takes what was appended in a step, and gives what is to be tried.
    pub(crate) fn advance(
        &mut self,
        ledger: &mut Ledger,
        gossip: &Gossip,
        now: Now,
        appended: &[Appended],
    ) -> Vec<Attempt> {
        if self.lines.is_empty() {
            return Vec::new();
        }
        // What others hear of systems says how far it goes.
        self.news |= !appended.is_empty();
        if ledger.stale {
            self.note_unseen(now, appended);
            return Vec::new();
        }
        self.take_changes(ledger, gossip, now, appended);
        if self.watch_due.is_some_and(|due| due <= now.monotonic) {
            self.look_again(ledger, gossip, now);
        }
        self.take_backlogs(ledger, gossip, now);
        if self.sweep_due <= now.monotonic {
            self.sweep_due = now.monotonic.after(SWEEP_EVERY);
            self.sweep(now);
        }
        self.launch(ledger, now)
    }

    fn take_changes(
        &mut self,
        ledger: &mut Ledger,
        gossip: &Gossip,
        now: Now,
        appended: &[Appended],
    ) {
        let rejudged = std::mem::take(&mut ledger.rejudged);
        if appended.is_empty() && rejudged.is_empty() && std::mem::replace(&mut self.looked, true) {
            return;
        }
        // Whether what is approved changed.
        let mut changed: BTreeMap<&String, bool> =
            rejudged.iter().filter(|uid| !is_calendar(uid)).map(|it| (it, true)).collect();
        for entry in appended {
            for uid in entry.uids.iter().filter(|uid| !is_calendar(uid)) {
                *changed.entry(uid).or_default() |=
                    ledger.approvals.is_decision(uid, entry.index as Index);
            }
        }
        self.acknowledged(now);
        let uids = changed.keys().map(|uid| (*uid).clone()).collect();
        ledger.settle_all();
        ledger.bookings.refresh();
        let finality = Finality::of_new(ledger, gossip, &uids);
        for (uid, decided) in changed {
            let state = finality.of(ledger, uid);
            self.tell(ledger, now, uid, state, decided);
        }
        // An entry about a resource may displace others, and names none of them.
        for uid in self.newly_displaced(ledger).difference(&uids) {
            if self.watched.get(uid) != Some(&DeliveryState::Displaced) {
                self.tell(ledger, now, uid, DeliveryState::Displaced, true);
            }
        }
    }

    /// Events with a booking that is displaced, and was not when this was asked last.
    fn newly_displaced(&mut self, ledger: &Ledger) -> BTreeSet<String> {
        let mut new = BTreeSet::new();
        for docket in ledger.bookings.dockets() {
            let (revision, before) = self.displaced.entry(docket.id).or_default();
            if *revision != docket.revision {
                let now = docket.displaced().map(|key| docket.book(key.book).uid.clone());
                let now: BTreeSet<String> = now.collect();
                new.extend(now.difference(before).cloned());
                (*revision, *before) = (docket.revision, now);
            }
        }
        new
    }

    /// All is to be judged again, and nobody can say what has changed: each system is owed a look at it afterwards.
    fn note_unseen(&mut self, now: Now, appended: &[Appended]) {
        let uids = appended.iter().flat_map(|entry| &entry.uids);
        for uid in uids.filter(|uid| !is_calendar(uid)) {
            self.version = self.next_version(now);
            for (id, line) in &mut self.lines {
                let mut owed = Owed::new(self.version, UNSEEN, now.wall);
                if let Some(before) = line.slots.get(uid).map(|slot| &slot.owed) {
                    owed = Owed { version: self.version, ..before.clone() };
                }
                self.writes.push(Write::Owed(*id, uid.clone(), Some(owed.clone())));
                line.put(uid, owed, now.monotonic);
            }
            self.writes.push(Write::Version(self.version));
            // So is whatever is new; else it would be told to be final until somebody looks.
            if !self.watched.contains_key(uid) {
                self.watch(uid, DeliveryState::Tentative, true);
            }
        }
    }

    /// Looks whether events that were not final have become so.
    fn look_again(&mut self, ledger: &mut Ledger, gossip: &Gossip, now: Now) {
        self.watch_due = None;
        self.watch_pause = now.monotonic.after(WATCH_PAUSE);
        let uids: BTreeSet<String> = self.watched.keys().cloned().collect();
        ledger.settle_all();
        ledger.bookings.refresh();
        let finality = self.look_at(ledger, gossip, &uids);
        for (uid, before) in self.watched.clone() {
            let state = finality.of(ledger, &uid);
            if state != before {
                self.tell(ledger, now, &uid, state, true);
            }
        }
    }

    /// Finds how final events are, and remembers it.
    fn look_at(&mut self, ledger: &Ledger, gossip: &Gossip, uids: &BTreeSet<String>) -> Finality {
        let finality = Finality::of_all(ledger, gossip, &self.held, uids);
        for (log, seq) in finality.news(ledger, &self.held) {
            self.held.insert(log, seq);
            self.writes.push(Write::Held(log, seq));
        }
        finality
    }

    /// An event has a new state: it is owed to all who want it.
    fn tell(&mut self, ledger: &Ledger, now: Now, uid: &str, state: DeliveryState, decided: bool) {
        let standing = Standing::of(ledger, uid, state);
        let facts = standing.facts(decided);
        let version = self.next_version(now);
        let mut wanted = false;
        for (id, line) in &mut self.lines {
            let before = line.slots.get(uid).map(|slot| &slot.owed);
            let mut owed = Owed::new(version, facts.kind, now.wall);
            if let Some(before) = before {
                owed.since = before.since;
                // What made it due still does, and its newest state is told.
                if !line.subscription.filter.matches(&facts) {
                    (owed.kind, owed.dead) = (before.kind.clone(), before.dead);
                }
            } else if !line.subscription.filter.matches(&facts) {
                continue;
            }
            wanted = true;
            self.writes.push(Write::Owed(*id, uid.to_owned(), Some(owed.clone())));
            line.put(uid, owed, now.monotonic);
        }
        if wanted {
            self.version = version;
            self.writes.push(Write::Version(version));
        }
        self.watch(uid, standing.state, wanted);
    }

    /// Rises over all that were given before, whatever became of the disk that they were kept on, as it follows the
    /// clock: in microseconds, as no node tells more states than there are.
    fn next_version(&self, now: Now) -> u64 {
        let wall = u64::try_from(now.wall).unwrap_or(0);
        (self.version + 1).max(wall.saturating_mul(1000))
    }

    fn watch(&mut self, uid: &str, state: DeliveryState, wanted: bool) {
        let is_final = matches!(state, DeliveryState::Settled | DeliveryState::Cancelled);
        let before = self.watched.get(uid).copied();
        if is_final && before.is_some() {
            self.watched.remove(uid);
            self.writes.push(Write::Watched(uid.to_owned(), None));
        } else if !is_final && before != Some(state) && (wanted || before.is_some()) {
            self.watched.insert(uid.to_owned(), state);
            self.writes.push(Write::Watched(uid.to_owned(), Some(state)));
        }
    }

    /// Makes some more of the events that were there before the subscription owed.
    fn take_backlogs(&mut self, ledger: &mut Ledger, gossip: &Gossip, now: Now) {
        let ids: Vec<SubscriptionId> =
            self.lines.iter().filter(|it| it.1.wants_backlog()).map(|it| *it.0).collect();
        for id in ids {
            let Some(line) = self.lines.get_mut(&id) else { continue };
            let Some(backlog) = line.subscription.backlog.clone() else { continue };
            let uids: BTreeSet<String> = ledger.events_after(&backlog.after, BACKLOG_STEP);
            ledger.settle_all();
            ledger.bookings.refresh();
            let finality = self.look_at(ledger, gossip, &uids);
            for uid in &uids {
                // As others were told, until all are told that it is more final now.
                let watched = self.watched.get(uid).copied();
                let state = watched.unwrap_or_else(|| finality.of(ledger, uid));
                let standing = Standing::of(ledger, uid, state);
                let line = &self.lines[&id];
                let is_wanted = standing.changed >= backlog.since
                    && !line.slots.contains_key(uid)
                    && line.subscription.filter.matches(&standing.facts(true));
                if is_wanted {
                    self.owe(id, uid, &standing, now);
                }
            }
            let Some(line) = self.lines.get_mut(&id) else { continue };
            let subscription = Arc::make_mut(&mut line.subscription);
            let last = uids.into_iter().next_back();
            subscription.backlog = last.map(|after| Backlog { after, ..backlog });
            self.writes.push(Write::Subscription(Box::new(subscription.clone())));
        }
    }

    /// Owes a state to one system.
    fn owe(&mut self, id: SubscriptionId, uid: &str, standing: &Standing, now: Now) {
        self.version = self.next_version(now);
        let owed = Owed::new(self.version, &standing.kind, now.wall);
        self.writes.push(Write::Version(self.version));
        self.writes.push(Write::Owed(id, uid.to_owned(), Some(owed.clone())));
        if let Some(line) = self.lines.get_mut(&id) {
            line.put(uid, owed, now.monotonic);
        }
        let is_new = !self.watched.contains_key(uid);
        self.watch(uid, standing.state, true);
        // To others it was to be told as final, which is another thing than what is known now.
        if is_new && self.watched.contains_key(uid) {
            let version = self.version;
            for (other, line) in self.lines.iter_mut().filter(|it| *it.0 != id) {
                let Some(slot) = line.slots.get(uid) else { continue };
                let (owed, due) = (Owed { version, ..slot.owed.clone() }, slot.due);
                self.writes.push(Write::Owed(*other, uid.to_owned(), Some(owed.clone())));
                line.put(uid, owed, due);
            }
        }
    }

    /// Gives up what could not be delivered for so long.
    fn sweep(&mut self, now: Now) {
        for (id, line) in &mut self.lines {
            let is_old = |slot: &Slot| {
                let owed = &slot.owed;
                owed.dead.is_none() && slot.flying.is_none() && gives_up(owed, now)
            };
            let old = line.slots.iter().filter(|it| is_old(it.1));
            let old: Vec<String> = old.map(|it| it.0.clone()).collect();
            for uid in old {
                let Some(mut owed) = line.slots.get(&uid).map(|slot| slot.owed.clone()) else {
                    continue;
                };
                owed.dead = Some(now.wall);
                self.writes.push(Write::Owed(*id, uid.clone(), Some(owed.clone())));
                line.put(&uid, owed, now.monotonic);
            }
        }
    }

    fn launch(&mut self, ledger: &mut Ledger, now: Now) -> Vec<Attempt> {
        let source = (ledger.network, ledger.office());
        let mut attempts = Vec::new();
        for line in self.lines.values_mut() {
            while let Some(uid) = line.next(now) {
                ledger.settle(&uid);
                let state = self.watched.get(&uid).copied().unwrap_or(DeliveryState::Settled);
                let standing = Standing::of(ledger, &uid, state);
                let subscription = Arc::clone(&line.subscription);
                let Some(slot) = line.slots.get_mut(&uid) else { continue };
                if slot.owed.kind == UNSEEN {
                    let facts = standing.facts(true);
                    if !subscription.filter.matches(&facts) {
                        line.take(&uid);
                        self.writes.push(Write::Owed(subscription.id, uid, None));
                        continue;
                    }
                    facts.kind.clone_into(&mut slot.owed.kind);
                    let named = Some(slot.owed.clone());
                    self.writes.push(Write::Owed(subscription.id, uid.clone(), named));
                }
                let delivery = standing.delivery(source, &subscription, &uid, &slot.owed);
                let number = self.dice.next();
                line.launch(number, &delivery);
                // What was approved is not what was said last, and nobody keeps what was known then.
                let is_latest = !subscription.filter.approved || standing.is_approved_as_is();
                let heads = if is_latest { ledger.latest_of(&uid) } else { Vec::new() };
                attempts.push(Attempt { number, subscription, delivery, heads });
            }
        }
        attempts
    }

    /// Takes what came of an attempt.
    pub(crate) fn tried(&mut self, now: Now, tried: Tried) {
        let Tried { number, subscription: id, uid, heads, outcome } = tried;
        let Some(line) = self.lines.get_mut(&id) else { return };
        let Some(slot) = line.slots.get_mut(&uid) else { return };
        // Whatever came of attempts from before the core was opened again, the same is tried again.
        let Some(flight) = slot.flying.take_if(|it| it.number == number) else { return };
        line.flying -= 1;
        let Flight { version, kind, state, .. } = flight;
        let (mut owed, is_newest) = (slot.owed.clone(), slot.owed.version == version);
        let mut due = now.monotonic;
        match outcome {
            Outcome::Confirmed { applied, receipt } => {
                line.breaker.succeeded();
                line.problem.clear();
                line.confirmed += 1;
                let attempts = owed.attempts + 1;
                let applied = applied.map(|it| shortened(it, PROBLEM_BYTES_MAX));
                let row = Confirmed { version, kind, state, at: now.wall, attempts, applied };
                self.writes.push(Write::Confirmed(id, uid.clone(), row));
                if !receipt.is_empty() {
                    let agreed = Agreed { heads, receipt };
                    self.writes.push(Write::Agreed(id, uid.clone(), agreed));
                }
                if is_newest || mutation::is(mutation::Mutation::ConfirmOld) {
                    line.take(&uid);
                    self.writes.push(Write::Owed(id, uid, None));
                    return;
                }
                owed.since = owed.made;
            }
            Outcome::Failed { reason, retry_after } => {
                line.failed += 1;
                line.problem = shortened(reason, PROBLEM_BYTES_MAX);
                let rest = line.breaker.failed(&mut self.dice).max(retry_after.map(heeded));
                line.rests_until = line.rests_until.max(now.monotonic.after(rest.unwrap_or(0)));
                // A newer state is tried at once, as nobody knows that it is refused.
                if is_newest {
                    owed.attempts = owed.attempts.saturating_add(1);
                    owed.problem.clone_from(&line.problem);
                    let pause = owed::pause(owed.attempts, &mut self.dice);
                    owed.next = now.wall.saturating_add((pause / MILLISECOND) as i64);
                    due = now.monotonic.after(pause);
                    owed.dead = gives_up(&owed, now).then_some(now.wall);
                }
            }
            Outcome::Gone { reason } => {
                line.failed += 1;
                line.problem = shortened(reason, PROBLEM_BYTES_MAX);
                let subscription = Arc::make_mut(&mut line.subscription);
                subscription.pause = Some(Pause::Gone(line.problem.clone()));
                self.writes.push(Write::Subscription(Box::new(subscription.clone())));
            }
        }
        self.writes.push(Write::Owed(id, uid.clone(), Some(owed.clone())));
        line.put(&uid, owed, due);
    }

    /// Whether what a system says of an event can be taken over: not while a state of it is on its way there.
    pub(crate) fn may_take_over(
        &self,
        subscription: SubscriptionId,
        uid: &str,
    ) -> Result<bool, CommandError> {
        let line = self.lines.get(&subscription);
        let line = line.ok_or_else(|| CommandError::UnknownSystem(subscription.to_string()))?;
        Ok(line.slots.get(uid).is_none_or(|slot| slot.flying.is_none()))
    }

    pub(crate) fn took_over(&mut self, it: TakeOver, heads: Vec<EntryHash>) {
        let agreed = Agreed { heads, receipt: it.receipt };
        self.writes.push(Write::Agreed(it.subscription, it.uid, agreed));
    }

    /// All subscriptions, if one has changed since that was asked last.
    pub(crate) fn take_subscriptions(&mut self) -> Option<Vec<Arc<Subscription>>> {
        let all = || self.lines.values().map(|line| Arc::clone(&line.subscription)).collect();
        std::mem::take(&mut self.changed).then(all)
    }

    /// When [`Outbox::advance`] has something to do.
    pub(crate) fn next_due(&self) -> Option<(Instant, &'static str)> {
        if self.lines.is_empty() {
            return None;
        }
        let attempts = self.lines.values().filter_map(Line::next_due);
        let backlogs = self.lines.values().filter(|it| it.wants_backlog());
        let attempts = attempts.chain(backlogs.map(|_| Instant::default()));
        let due = attempts.map(|due| (due, "a delivery is due"));
        let watch = self.watch_due.map(|due| (due, "look whether events are final"));
        let sweep = Some((self.sweep_due, "give up deliveries"));
        due.chain(watch).chain(sweep).min_by_key(|it| it.0)
    }

    /// Whether there is something to be said of systems since that was asked last.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    pub(crate) fn take_writes(&mut self) -> Vec<Write> {
        self.news |= !self.writes.is_empty();
        let of_them = |it: &Write| matches!(it, Write::Subscription(_) | Write::Unsubscribed(_));
        self.changed |= self.writes.iter().any(of_them);
        std::mem::take(&mut self.writes)
    }
}

fn gives_up(owed: &Owed, now: Now) -> bool {
    now.wall.saturating_sub(owed.since) >= GIVE_UP_AFTER
}

fn shortened(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}
