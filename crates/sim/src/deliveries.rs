//! The oracle of deliveries (invariant 5): every delivery owed is confirmed or listed as pending or dead; none vanishes,
//! none goes backwards. It watches each transaction, each attempt and each list that people are shown; what systems must
//! have in the end is left to `delivered`. That
//!
//! - a change that a system wants is owed to it in the transaction of the change,
//! - what is owed ends by a confirmation of that version, or by the system's removal, and nothing else,
//! - versions rise; nothing is sent that is not stored as owed; of an event one attempt is under way at a time,
//! - one version says one thing; and what was settled, and is as it was, is settled still,
//! - what is stored as owed is listed, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fasti_core::command::{DeliveryStatus, DeliveryView};
use fasti_core::outbox::{
    Attempt, DeliveryState, Filter, Start, StoredOutbox, SubscriptionId, Tried,
};
use fasti_core::row::{Row, Standing};
use fasti_core::statement::Statement;
use fasti_core::step::Appended;
use fasti_core::{OfficeId, Write};

use crate::disk::Disk;
use crate::office::Office;
use crate::oracle::{Broken, Invariant};
use crate::world::World;

/// What is owed of an event to a system.
type Key = (SubscriptionId, String);

/// A subscription, and what its operator was promised.
pub(crate) struct Known {
    /// Whose.
    pub(crate) at: usize,
    pub(crate) filter: Filter,
    /// It was there as it is when the entry with this local index came, and all that came later.
    pub(crate) from: usize,
    /// It is told of all that was changed since then,
    pub(crate) since: Option<i64>,
    /// and of these.
    pub(crate) events: BTreeSet<String>,
    /// A backup took the place of what was known of it.
    restored: bool,
    to_replay: bool,
}

/// The latest attempt to tell something.
struct Last {
    /// How many entries the office had, and in which life.
    entries: usize,
    life: u32,
    attempt: Rc<Attempt>,
}

/// What was seen of deliveries.
#[derive(Default)]
pub(crate) struct Deliveries {
    pub(crate) known: BTreeMap<SubscriptionId, Known>,
    /// Somebody wants them to end.
    ending: BTreeSet<String>,
    /// In which life of which office, and which attempt.
    under_way: BTreeMap<Key, (usize, u32, u64)>,
    last: BTreeMap<Key, Last>,
    /// What each office owed before its latest transaction.
    before: BTreeMap<usize, BTreeMap<Key, u64>>,
}

impl Deliveries {
    pub(crate) fn may_end(&mut self, system: &str) {
        self.ending.insert(system.to_owned());
    }

    pub(crate) fn promised(&mut self, id: SubscriptionId, uid: String) {
        if let Some(known) = self.known.get_mut(&id) {
            known.events.insert(uid);
        }
    }

    /// An operator has to deliver all again.
    pub(crate) fn to_replay(&self, id: SubscriptionId) -> bool {
        self.known.get(&id).is_some_and(|it| it.to_replay)
    }

    pub(crate) fn was_restored(&self, id: SubscriptionId) -> bool {
        self.known.get(&id).is_some_and(|it| it.restored)
    }

    /// An office is told what came of an attempt.
    pub(crate) fn landed(&mut self, tried: &Tried) {
        let key = (tried.subscription, tried.uid.clone());
        if self.under_way.get(&key).is_some_and(|it| it.2 == tried.number) {
            self.under_way.remove(&key);
        }
    }
}

pub(crate) fn broken(detail: String) -> Result<(), Broken> {
    Err(Broken::new(Invariant::NothingOwedVanishes, detail))
}

/// Which events an entry is about.
fn events(row: &Row) -> Vec<String> {
    Appended::of(0, row).uids
}

/// Whether this is known to be wanted without a look at the event: by who changed it last.
fn is_wanted(filter: &Filter, by: OfficeId) -> bool {
    let Filter { types, calendars, offices, approved } = filter;
    types.is_empty()
        && calendars.is_empty()
        && !approved
        && (offices.is_empty() || offices.contains(&by))
}

/// Who changed an event last, of those whose changes count.
fn last_author(rows: &[&Row], uid: &str) -> Option<OfficeId> {
    let changed =
        |row: &&&Row| row.applied.as_ref().is_some_and(|it| it.uids.iter().any(|it| it == uid));
    rows.iter().rev().find(changed).map(|row| row.entry.log.author)
}

impl World {
    // ---- Transactions ----

    /// Looks at a transaction that is about to become durable.
    pub(crate) fn check_transaction(&mut self, at: usize, writes: &[Write]) -> Result<(), Broken> {
        let outbox = self.offices[at].disk.outbox();
        let before = outbox.owed.iter().map(|(key, it)| (key.clone(), it.version)).collect();
        let mut after = outbox.clone();
        let mut owed = BTreeSet::new();
        for write in writes {
            self.check_write(at, &after, write)?;
            match write {
                Write::Owed(id, uid, Some(_)) => drop(owed.insert((*id, uid.clone()))),
                Write::Unsubscribed(id) => owed.retain(|key| key.0 != *id),
                _ => {}
            }
            after.keep(write);
        }
        self.check_owed(at, writes, &after, &owed)?;
        let was_dead = |key: &Key| {
            self.offices[at].disk.outbox().owed.get(key).is_some_and(|it| it.dead.is_some())
        };
        let dead = after.owed.iter().filter(|it| it.1.dead.is_some() && !was_dead(it.0)).count();
        self.stats.dead += dead as u64;
        self.deliveries.before.insert(at, before);
        Ok(())
    }

    fn check_write(&self, at: usize, before: &StoredOutbox, write: &Write) -> Result<(), Broken> {
        let confirmed = |id: &SubscriptionId, uid: &str, version: u64| {
            let system = self.systems.all.get(id)?;
            system.confirmed.get(uid)?.get(&version)
        };
        match write {
            Write::Owed(id, uid, now) => {
                let Some(was) = before.owed.get(&(*id, uid.clone())) else { return Ok(()) };
                // Of what came while nobody could look whether it is wanted: see `Outbox::note_unseen`.
                let unseen = was.kind.is_empty();
                match now {
                    Some(now) if now.version < was.version => broken(format!(
                        "office {at} owes {id} version {} of {uid} in place of {}",
                        now.version, was.version
                    )),
                    None if !unseen && confirmed(id, uid, was.version).is_none() => {
                        broken(format!(
                            "office {at} no longer owes {id} version {} of {uid}, which was not confirmed",
                            was.version
                        ))
                    }
                    _ => Ok(()),
                }
            }
            Write::Confirmed(id, uid, row) => match confirmed(id, uid, row.version) {
                None => broken(format!("office {at} says that {id} confirmed {uid} as {row:?}")),
                Some(it) if (it.delivery.state, &it.delivery.kind) != (row.state, &row.kind) => {
                    let Attempt { delivery, .. } = &**it;
                    let said = (delivery.state, &delivery.kind);
                    broken(format!("office {at} told {id} of {uid} {said:?}, and keeps {row:?}"))
                }
                Some(_) => Ok(()),
            },
            Write::Unsubscribed(id) if !self.deliveries.ending.contains(&id.to_string()) => {
                broken(format!("office {at} forgets {id}, which nobody asked for"))
            }
            _ => Ok(()),
        }
    }

    /// What systems want of the entries in a transaction is owed to them by it.
    fn check_owed(
        &self,
        at: usize,
        writes: &[Write],
        after: &StoredOutbox,
        owed: &BTreeSet<Key>,
    ) -> Result<(), Broken> {
        let disk = &self.offices[at].disk;
        if after.subscriptions.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<&Row> = disk.rows.iter().map(|row| &**row).collect();
        let mut changed: BTreeSet<String> = BTreeSet::new();
        for write in writes {
            let Write::Entry { index, row } = write else { continue };
            match rows.get_mut(*index as usize) {
                Some(before) => *before = row,
                None => {
                    rows.push(row);
                    let counts = row.standing == Standing::Applied;
                    changed.extend(events(row).into_iter().filter(|_| counts));
                }
            }
        }
        for uid in changed {
            let Some(by) = last_author(&rows, &uid) else { continue };
            let wanting = after.subscriptions.values().filter(|it| is_wanted(&it.filter, by));
            for subscription in wanting {
                let key = (subscription.id, uid.clone());
                let version = after.owed.get(&key).map(|it| it.version);
                let told = self.deliveries.last.get(&key).map(|it| it.attempt.delivery.version);
                if !owed.contains(&key) || version <= told {
                    return broken(format!(
                        "office {at} stores a change of {uid}, of which {} was told {told:?}, and owes it {version:?}",
                        subscription.id
                    ));
                }
            }
        }
        Ok(())
    }

    /// A transaction is durable.
    pub(crate) fn note_transaction(&mut self, at: usize, writes: &[Write]) {
        let from = self.offices[at].disk.rows.len();
        for write in writes {
            match write {
                Write::Subscription(it) => {
                    let known = self.deliveries.known.get(&it.id);
                    if known.is_none_or(|known| known.filter != it.filter) {
                        let restored = known.is_some_and(|it| it.restored);
                        let known = Known {
                            at,
                            filter: it.filter.clone(),
                            from,
                            since: None,
                            events: BTreeSet::new(),
                            restored,
                            to_replay: restored,
                        };
                        self.deliveries.known.insert(it.id, known);
                    }
                }
                Write::Unsubscribed(id) => drop(self.deliveries.known.remove(id)),
                _ => {}
            }
        }
    }

    /// An operator was told that a system will be told of what was there before.
    pub(crate) fn promised_from(&mut self, id: SubscriptionId, start: Start) {
        let Some(known) = self.deliveries.known.get_mut(&id) else { return };
        let since = match start {
            Start::Now => return,
            Start::Beginning => i64::MIN,
            Start::Time(since) => since,
        };
        known.since = Some(known.since.map_or(since, |before| before.min(since)));
        known.to_replay &= since != i64::MIN;
    }

    /// An office gets an older disk. What its systems were told since then is void: they are emptied, and told all again
    /// when somebody asks for it.
    pub(crate) fn forget_deliveries(&mut self, at: usize, backup: &Disk) {
        let Deliveries { known, last, .. } = &mut self.deliveries;
        known.retain(|_, it| it.at != at);
        for (id, it) in &backup.outbox().subscriptions {
            let (filter, from) = (it.filter.clone(), backup.rows.len());
            let (since, events) = (None, BTreeSet::new());
            let it = Known { at, filter, from, since, events, restored: true, to_replay: true };
            known.insert(*id, it);
            last.retain(|key, _| key.0 != *id);
            self.systems.all.remove(id);
        }
    }

    /// An office goes on under another key, with what it had.
    pub(crate) fn move_deliveries(&mut self, old: usize, new: usize) {
        for known in self.deliveries.known.values_mut().filter(|it| it.at == old) {
            known.at = new;
        }
    }

    // ---- Attempts ----

    /// An attempt is made: of what is stored as owed, none beside it, and nothing that was told already in a later version.
    pub(crate) fn check_attempt(&mut self, at: usize, attempt: &Rc<Attempt>) -> Result<(), Broken> {
        let Office { life, disk, .. } = &self.offices[at];
        let (id, delivery) = (attempt.subscription.id, &attempt.delivery);
        let (uid, version) = (&delivery.uid, delivery.version);
        let key = (id, uid.clone());
        let stored = disk.outbox().owed.get(&key);
        if !stored.is_some_and(|it| it.version == version && it.dead.is_none()) {
            return broken(format!(
                "office {at} tells {id} version {version} of {uid}, and has stored {stored:?}"
            ));
        }
        let under_way = self.deliveries.under_way.get(&key);
        if under_way.is_some_and(|it| (it.0, it.1) == (at, *life)) {
            return broken(format!(
                "office {at} tells {id} version {version} of {uid} while another is under way"
            ));
        }
        if let Some(last) = self.deliveries.last.get(&key) {
            let before = &last.attempt.delivery;
            if version < before.version {
                return broken(format!(
                    "office {at} tells {id} version {version} of {uid} after {}",
                    before.version
                ));
            }
            let says = |it: &Rc<Attempt>| {
                (it.delivery.event.clone(), it.delivery.state, it.delivery.approval.clone())
            };
            if version == before.version && says(attempt) != says(&last.attempt) {
                return broken(format!(
                    "office {at} tells {id} two things as one: {delivery:?} and {before:?}"
                ));
            }
            let states = (before.state, delivery.state);
            if states == (DeliveryState::Settled, DeliveryState::Tentative)
                && last.life == *life
                && !disk.rows[last.entries..].iter().any(|row| may_open(row, uid))
                && !is_booked(disk, uid)
            {
                return broken(format!(
                    "office {at} told {id} that {uid} is settled, and now that it isn't"
                ));
            }
        }
        let last = Last { entries: disk.rows.len(), life: *life, attempt: attempt.clone() };
        self.deliveries.under_way.insert(key.clone(), (at, *life, attempt.number));
        self.deliveries.last.insert(key, last);
        Ok(())
    }

    // ---- Lists ----

    /// What is not confirmed, as people are shown it. It was gathered in the course of the latest step.
    pub(crate) fn check_listed(
        &self,
        at: usize,
        deliveries: &[DeliveryView],
        more: bool,
    ) -> Result<(), Broken> {
        let now = &self.offices[at].disk.outbox().owed;
        let empty = BTreeMap::new();
        let before = self.deliveries.before.get(&at).unwrap_or(&empty);
        let listed: BTreeMap<Key, DeliveryStatus> =
            deliveries.iter().map(|it| ((it.subscription, it.uid.clone()), it.status)).collect();
        if let Some(key) =
            listed.keys().find(|key| !before.contains_key(*key) && !now.contains_key(*key))
        {
            return broken(format!("office {at} lists {key:?}, which it doesn't owe"));
        }
        // What was owed again by the same step may have been confirmed before it was asked for.
        let stayed = now.iter().filter(|it| before.get(it.0) == Some(&it.1.version));
        match stayed.map(|it| it.0).find(|key| !listed.contains_key(*key)) {
            Some(key) if !more => broken(format!("office {at} owes {key:?}, and doesn't list it")),
            _ => Ok(()),
        }
    }
}

/// Whether an entry may be why an event is no longer settled: it is about it, or about who belongs to the network.
fn may_open(row: &Row, uid: &str) -> bool {
    match Statement::decode(row.entry.link.kind, &row.entry.link.body) {
        Ok(Statement::Change(_) | Statement::Approval(_) | Statement::Reservation(_)) => {
            events(row).iter().any(|it| it == uid)
        }
        _ => true,
    }
}

fn is_booked(disk: &Disk, uid: &str) -> bool {
    disk.rows.iter().any(|row| row.applied.is_none() && events(row).iter().any(|it| it == uid))
}
