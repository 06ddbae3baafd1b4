//! Recurrence rules of JSCalendar (RFC 8984, 4.3.3): which local date-times they mean. A rule knows no
//! time zone: what its date-times are on the world's clock is for `occurrences` to say.
//!
//! Where RFC 8984 is silent, RFC 5545, 3.3.10 decides: a day with `nthOfPeriod` in a yearly rule counts
//! within its month where the rule has `byMonth`.

mod dates;
mod expand;
mod parse;
mod plan;

use jiff::civil::DateTime;
use serde_json::Value;

use crate::Object;

pub use expand::Expansion;
pub(crate) use parse::local_date_time;
pub(crate) use plan::Plan;

/// What is wrong with a recurrence rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: expected {expected}, found {found}")]
pub struct RuleError {
    /// The property, as a JSON Pointer without the leading slash, such as `recurrenceRules/0/byDay`.
    pub path: String,
    /// What it may be.
    pub expected: String,
    /// What it is, shortened.
    pub found: String,
}

/// How often a rule's periods come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Frequency {
    /// Years.
    Yearly,
    /// Months.
    Monthly,
    /// Weeks, from the rule's first day of the week.
    Weekly,
    /// Days.
    Daily,
    /// Hours.
    Hourly,
    /// Minutes.
    Minutely,
    /// Seconds.
    Secondly,
}

/// What becomes of a day that its month does not have, such as February 30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Omit,
    Backward,
    Forward,
}

/// A day of the week, counted from Monday as 0, and which of its kind in the period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NDay {
    weekday: u8,
    nth: Option<i32>,
}

/// A recurrence rule whose properties are all within their ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    frequency: Frequency,
    interval: i64,
    skip: Skip,
    week_start: u8,
    days: Vec<NDay>,
    month_days: Vec<i32>,
    /// Bit n for month n, from 1; 0 where the rule doesn't say.
    months: u16,
    year_days: Vec<i32>,
    weeks: Vec<i32>,
    hours: Vec<u8>,
    minutes: Vec<u8>,
    seconds: Vec<u8>,
    positions: Vec<i32>,
    count: Option<u64>,
    until: Option<DateTime>,
}

impl Rule {
    /// Reads a RecurrenceRule. `path` is where it stands, for errors: `recurrenceRules/0`.
    ///
    /// # Errors
    /// [`RuleError`] naming the first property that is wrong.
    pub fn from_json(value: &Value, path: &str) -> Result<Self, RuleError> {
        parse::rule(value, path)
    }

    /// How often its periods come.
    pub fn frequency(&self) -> Frequency {
        self.frequency
    }

    /// After how many occurrences it ends.
    pub fn count(&self) -> Option<u64> {
        self.count
    }

    /// The local date-time after which it has no occurrences.
    pub fn until(&self) -> Option<DateTime> {
        self.until
    }

    /// Its occurrences in their order, from `start` on. The start is the first of them, and counts, also
    /// where it does not match the rule (RFC 8984, 4.3.3). They end with the year 9999 at the latest, and
    /// where a rule matches nothing, after a bounded search.
    pub fn occurrences(&self, start: DateTime) -> Expansion<'static> {
        Expansion::new(Plan::new(self, start), true)
    }

    /// Those of its [`occurrences`](Self::occurrences) in `from..to`. What lies before is jumped over
    /// where the rule has no count, else stepped through.
    pub fn occurrences_between(
        &self,
        start: DateTime,
        from: DateTime,
        to: DateTime,
    ) -> Expansion<'static> {
        Expansion::new(Plan::new(self, start), true).between(from, to)
    }

    /// What it leaves to be taken from its start (RFC 8984, 4.3.3.1), as the properties that would say the
    /// same.
    pub(crate) fn implied(&self, start: DateTime) -> Object {
        plan::Implied::new(self, start).to_json()
    }

    /// The date-times that the rule takes away where it is one of `excludedRecurrenceRules`: the start is
    /// among them only where it matches the rule.
    pub fn exclusions(&self, start: DateTime) -> Expansion<'static> {
        Expansion::new(Plan::new(self, start), false)
    }
}
