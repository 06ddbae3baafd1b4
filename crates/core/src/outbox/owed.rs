//! What is owed to a system: of each event its newest state, until that is confirmed or given up. When to try again.

use serde::{Deserialize, Serialize};

use crate::ids::EntryHash;
use crate::time::{Dice, SECOND};

/// The first pause after a failure; each further one is half as long again, so that what a target refuses by chance is
/// through within minutes even after a dozen failures. The same for whole targets.
const PAUSE: u64 = SECOND / 2;
/// The longest pause between two attempts: a system that comes back is noticed within the hour.
const PAUSE_MAX: u64 = 3600 * SECOND;
/// The longest pause of a target as a whole: what is new wants to be tried sooner.
const TARGET_PAUSE_MAX: u64 = 600 * SECOND;
/// A target that fails so often in a row, whatever it is given, gets one attempt at a time until one succeeds.
const FAILURES_MAX: u32 = 16;
/// A delivery that could not be confirmed for so long waits for somebody to replay it: a long weekend, and a day to
/// mend what is broken. Milliseconds.
pub(crate) const GIVE_UP_AFTER: i64 = 5 * 86_400_000;
/// Longest text that is kept of what a target said.
pub(crate) const PROBLEM_BYTES_MAX: usize = 300;

/// How final an event's state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Not all offices are known to hold it: one of them may have said something else at the same time. Of an event
    /// with bookings: not all of them are settled.
    Tentative,
    /// All offices hold it; all its bookings are settled.
    Settled,
    /// A booking of it is displaced.
    Displaced,
    /// It doesn't take place.
    Cancelled,
}

impl DeliveryState {
    /// As systems are told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tentative => "tentative",
            Self::Settled => "settled",
            Self::Displaced => "displaced",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An event's newest state, owed to a system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// Rises with every state of the event.
    pub version: u64,
    /// What kind of change made it due.
    pub kind: String,
    /// When this state came about (milliseconds since 1970, our clock).
    pub made: i64,
    /// Since when the system has not confirmed what it was owed; an older state, it may be.
    pub since: i64,
    /// How often this state was tried.
    pub attempts: u32,
    /// When it is tried again (milliseconds since 1970).
    pub next: i64,
    /// Why the last attempt failed.
    pub problem: String,
    /// When it was given up.
    pub dead: Option<i64>,
}

impl Owed {
    pub(crate) fn new(version: u64, kind: &str, wall: i64) -> Self {
        let (kind, problem) = (kind.to_owned(), String::new());
        Self {
            version,
            kind,
            made: wall,
            since: wall,
            attempts: 0,
            next: wall,
            problem,
            dead: None,
        }
    }

    /// As the store keeps it.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// From the store.
    ///
    /// # Errors
    /// Bytes that [`Owed::encode`] didn't make.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        crate::codec::exactly(bytes)
    }
}

/// The newest state that a system confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// Which.
    pub version: u64,
    /// What kind of change.
    pub kind: String,
    /// How final it was.
    pub state: DeliveryState,
    /// When (milliseconds since 1970, our clock).
    pub at: i64,
    /// How many attempts it took.
    pub attempts: u32,
    /// The version that the system says it applied, if it says so.
    pub applied: Option<String>,
}

impl Confirmed {
    /// As the store keeps it.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// From the store.
    ///
    /// # Errors
    /// Bytes that [`Confirmed::encode`] didn't make.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        crate::codec::exactly(bytes)
    }
}

/// An event as this node and a system had it both, of systems that are read as well: what is different there from then on
/// was changed there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// The latest entries that had changed it.
    pub heads: Vec<EntryHash>,
    /// For whoever delivers: where it is there, and how it was.
    #[serde(with = "serde_bytes")]
    pub receipt: Vec<u8>,
}

impl Agreed {
    /// As the store keeps it.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// From the store.
    ///
    /// # Errors
    /// Bytes that [`Agreed::encode`] didn't make.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        crate::codec::exactly(bytes)
    }
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The system has it.
    Confirmed {
        /// The version that it says it applied.
        applied: Option<String>,
        /// See [`Agreed::receipt`]; empty where nothing has to be known later.
        receipt: Vec<u8>,
    },
    /// It doesn't, or nobody knows.
    Failed {
        /// Why, for people.
        reason: String,
        /// The target as a whole wants to be left alone for so long (microseconds).
        retry_after: Option<u64>,
    },
    /// The target will never take anything again.
    Gone {
        /// Why, for people.
        reason: String,
    },
}

/// How long until the next attempt, after so many (exponential backoff with equal jitter: M. Brooker, "Exponential
/// Backoff and Jitter", 2015).
pub(crate) fn pause(attempts: u32, dice: &mut Dice) -> u64 {
    jitter(grown(attempts, PAUSE_MAX), dice)
}

fn grown(times: u32, max: u64) -> u64 {
    let longer = (1..times.min(64)).fold(PAUSE, |pause, _| pause.saturating_mul(3) / 2);
    longer.min(max)
}

fn jitter(pause: u64, dice: &mut Dice) -> u64 {
    pause / 2 + dice.below(pause / 2 + 1)
}

/// Whether a target as a whole is worth a try.
#[derive(Clone, Debug, Default)]
pub(crate) struct Breaker {
    /// Failures since the last success.
    failures: u32,
    /// How often it was given a pause since then.
    pauses: u32,
}

impl Breaker {
    /// One attempt at a time is enough.
    pub(crate) fn is_open(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Notes a failure; gives how long to leave the target alone, if at all.
    pub(crate) fn failed(&mut self, dice: &mut Dice) -> Option<u64> {
        self.failures = self.failures.saturating_add(1);
        self.is_open().then(|| {
            self.pauses = self.pauses.saturating_add(1);
            jitter(grown(self.pauses, TARGET_PAUSE_MAX), dice)
        })
    }
}

/// Longest Retry-After that is heeded: as for our own pauses.
pub(crate) fn heeded(retry_after: u64) -> u64 {
    retry_after.min(PAUSE_MAX)
}
