//! External systems: what they are told and what they do about it. Each has moods: it is down, slow, full, refuses one
//! event, says that it is gone, answers twice, forgets what it confirmed, or its answers are lost. It applies what it is
//! told as a good receiver does: nothing that is older than what it has, and nothing twice. Leaves who subscribes them
//! to `operators`, and what must follow to `deliveries`.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fasti_core::Input;
use fasti_core::outbox::{Attempt, Delivery, Outcome, SubscriptionId, Tried};

use crate::oracle::Broken;
use crate::world::{Happening, MILLISECOND, SECOND, World};

/// How a system is for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Nobody answers.
    Down,
    /// It fails at everything.
    Failing,
    /// It asks to be left alone.
    Full,
    Slow,
    /// It refuses this event.
    Picky(String),
    /// It says that it takes nothing any more, whatever it is told.
    Gone,
    /// It answers twice.
    Stutters,
    /// It applies what it is told, and its answer is lost.
    Mute,
    /// What was given up arrives after all.
    Late,
    /// It confirms, and forgets.
    Forgets,
}

/// A system.
pub(crate) struct System {
    mood: Mood,
    until: u64,
    /// What it has of each event.
    pub(crate) copies: BTreeMap<String, Rc<Attempt>>,
    /// Which versions it said that it has.
    pub(crate) confirmed: BTreeMap<String, BTreeMap<u64, Rc<Attempt>>>,
}

impl Default for System {
    fn default() -> Self {
        let (copies, confirmed) = (BTreeMap::new(), BTreeMap::new());
        Self { mood: Mood::Well, until: 0, copies, confirmed }
    }
}

impl System {
    /// Takes what is newer than what it has; says whether it is.
    fn apply(&mut self, attempt: &Rc<Attempt>) -> bool {
        let Delivery { uid, version, .. } = &attempt.delivery;
        let is_new = self.copies.get(uid).is_none_or(|it| it.delivery.version < *version);
        if is_new {
            self.copies.insert(uid.clone(), attempt.clone());
        }
        is_new
    }

    fn confirm(&mut self, attempt: &Rc<Attempt>) {
        let Delivery { uid, version, .. } = &attempt.delivery;
        self.confirmed.entry(uid.clone()).or_default().insert(*version, attempt.clone());
    }

    /// The newest state that it said it has.
    pub(crate) fn newest_confirmed(&self, uid: &str) -> Option<&Rc<Attempt>> {
        self.confirmed.get(uid)?.last_key_value().map(|it| it.1)
    }
}

/// An attempt that is under way.
#[derive(Clone)]
pub(crate) struct Reach {
    at: usize,
    /// Which start of the process it is of.
    process: u32,
    attempt: Rc<Attempt>,
    /// Whether it is applied.
    keeps: bool,
    /// What the office hears of it.
    says: Option<Outcome>,
    twice: bool,
    slow: bool,
}

/// All systems, by the subscription.
#[derive(Default)]
pub(crate) struct Systems {
    pub(crate) all: BTreeMap<SubscriptionId, System>,
    /// Systems that confirmed something they forgot.
    pub(crate) forgetful: BTreeSet<SubscriptionId>,
    /// What arrived as older than what the system had.
    pub(crate) stale: u64,
}

fn failed(reason: &str) -> Outcome {
    Outcome::Failed { reason: reason.into(), retry_after: None }
}

impl World {
    /// An office tries to tell its systems something.
    pub(crate) fn attempt_all(&mut self, at: usize, attempts: Vec<Attempt>) -> Result<(), Broken> {
        for attempt in attempts {
            let attempt = Rc::new(attempt);
            self.check_attempt(at, &attempt)?;
            self.stats.deliveries += 1;
            self.attempt(at, attempt);
        }
        Ok(())
    }

    fn attempt(&mut self, at: usize, attempt: Rc<Attempt>) {
        let id = attempt.subscription.id;
        let Delivery { uid, version, .. } = &attempt.delivery;
        let mood = self.mood(id, uid);
        let text = || format!("{id} of {uid} {version}, which is {mood:?}");
        self.trace.note(self.now, at, "tells", text().as_bytes(), text);
        let process = self.offices[at].process;
        let receipt = serde_json::to_vec(&attempt.delivery.event).unwrap_or_default();
        let good = Outcome::Confirmed { applied: None, receipt };
        let mut reach = Reach {
            at,
            process,
            attempt,
            keeps: true,
            says: Some(good),
            twice: false,
            slow: false,
        };
        let refused = |reason: &str| (false, Some(failed(reason)));
        (reach.keeps, reach.says) = match &mood {
            Mood::Well => (true, reach.says),
            Mood::Down => refused("connection refused"),
            Mood::Failing => refused("500"),
            Mood::Full => {
                let retry_after = Some(self.dice.within([SECOND, 20 * SECOND]));
                (false, Some(Outcome::Failed { reason: "429".into(), retry_after }))
            }
            Mood::Picky(event) if event == &reach.attempt.delivery.uid => refused("422"),
            Mood::Picky(_) => (true, reach.says),
            Mood::Gone => (false, Some(Outcome::Gone { reason: "410".into() })),
            Mood::Slow => {
                reach.slow = true;
                (true, reach.says)
            }
            Mood::Stutters => {
                reach.twice = true;
                match self.dice.chance(0.5) {
                    true => refused("503"),
                    false => (true, reach.says),
                }
            }
            Mood::Mute => (true, Some(failed("timed out"))),
            Mood::Late => {
                let patience = self.dice.within([SECOND, 3 * SECOND]);
                self.after(patience, self.heard(&reach, failed("timed out")));
                reach.slow = true;
                (true, None)
            }
            Mood::Forgets => (false, reach.says),
        };
        let takes = self.way(reach.slow);
        self.after(takes, Happening::Arrives(Box::new(reach)));
    }

    fn heard(&self, reach: &Reach, outcome: Outcome) -> Happening {
        let Attempt { number, subscription, delivery, heads } = (*reach.attempt).clone();
        let (subscription, uid) = (subscription.id, delivery.uid);
        let tried = Tried { number, subscription, uid, heads, outcome };
        Happening::Heard { at: reach.at, process: reach.process, tried: Box::new(tried) }
    }

    /// How long something takes to get to a system, or back.
    fn way(&mut self, slow: bool) -> u64 {
        match slow {
            true => self.dice.within([SECOND, 10 * SECOND]),
            false => self.dice.within([MILLISECOND, 150 * MILLISECOND]),
        }
    }

    /// How a system is now. All are well in the end.
    fn mood(&mut self, id: SubscriptionId, uid: &str) -> Mood {
        if !self.unkind {
            return Mood::Well;
        }
        if self.systems.all.entry(id).or_default().until > self.now {
            return self.systems.all[&id].mood.clone();
        }
        let unwell = self.dice.chance(self.scenario.systems.unwell);
        let mood = match self.dice.below(12) {
            _ if !unwell => Mood::Well,
            0..2 => Mood::Down,
            2 => Mood::Failing,
            3 => Mood::Full,
            4 => Mood::Slow,
            5 => Mood::Picky(uid.to_owned()),
            6 => Mood::Gone,
            7 => Mood::Stutters,
            8..10 => Mood::Mute,
            10 => Mood::Late,
            _ => Mood::Forgets,
        };
        let lasts = self.dice.within([SECOND, 15 * SECOND]);
        let now = self.now;
        let system = self.systems.all.entry(id).or_default();
        system.mood = mood.clone();
        system.until = now + lasts;
        mood
    }

    /// An attempt gets to its system.
    pub(crate) fn arrives(&mut self, mut reach: Reach) -> Result<(), Broken> {
        // The process that sent it is gone: so may be what it had sent.
        let id = reach.attempt.subscription.id;
        let is_over = self.offices[reach.at].process != reach.process;
        if is_over && (self.deliveries.was_restored(id) || self.dice.chance(0.5)) {
            return Ok(());
        }
        let system = self.systems.all.entry(id).or_default();
        let is_new = !reach.keeps || system.apply(&reach.attempt);
        self.systems.stale += u64::from(!is_new);
        if matches!(reach.says, Some(Outcome::Confirmed { .. })) {
            system.confirm(&reach.attempt);
            if !reach.keeps {
                self.systems.forgetful.insert(id);
            }
        }
        let Delivery { uid, version, .. } = &reach.attempt.delivery;
        let text = || format!("{id}: {uid} {version}: {:?}, {}", reach.says, reach.keeps && is_new);
        self.trace.note(self.now, reach.at, "arrives", text().as_bytes(), text);
        let Some(says) = reach.says.take() else { return Ok(()) };
        let heard = self.heard(&reach, says.clone());
        let takes = self.way(reach.slow);
        self.after(takes, heard);
        if reach.twice {
            let heard = self.heard(&reach, says);
            let later = self.dice.within([0, 2 * SECOND]);
            self.after(takes + later, heard);
        }
        Ok(())
    }

    /// An office hears what came of an attempt, if it is still the process that made it.
    pub(crate) fn heard_back(
        &mut self,
        at: usize,
        process: u32,
        tried: Tried,
    ) -> Result<(), Broken> {
        if self.offices[at].process != process || self.offices[at].core.is_none() {
            return Ok(());
        }
        self.stats.confirmed += u64::from(matches!(tried.outcome, Outcome::Confirmed { .. }));
        self.deliveries.landed(&tried);
        self.input(at, Input::Tried(tried))
    }
}
