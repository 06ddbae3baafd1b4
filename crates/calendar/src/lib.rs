//! What a calendar event means: JSCalendar (RFC 8984), when its occurrences are, and how it is written in
//! iCalendar (RFC 5545). Pure functions of JSON and text: no clock, no files, and time zones from the
//! IANA data that is built in, so that every node of one version gives the same answers.

mod agenda;
mod duration;
pub mod ical;
mod occurrences;
mod patch;
mod recurrence;
mod split;
mod zone;

use serde_json::{Map, Value};

pub use agenda::{Agenda, AgendaItem, Page};
pub use occurrences::{Anchor, Found, Occurrence, Problem, Series, SeriesError};
pub use patch::{PatchError, apply_patch};
pub use recurrence::{Expansion, Frequency, Rule, RuleError};
pub use split::{SplitError, split};
pub use zone::Zone;

/// An event in JSCalendar: a JSON object.
pub type Object = Map<String, Value>;

/// The member of an override that says whether it holds for the occurrences after it as well (RFC 5545, 3.2.13), which
/// JSCalendar can't say: [`THIS_AND_FUTURE`].
pub(crate) const RANGE: &str = "fasti:range";
pub(crate) const THIS_AND_FUTURE: &str = "thisAndFuture";
