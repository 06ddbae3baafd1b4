//! Durations of JSCalendar (RFC 8984, 1.4.6): weeks and days are as long as the zone's clocks make
//! them, hours and less are exact.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Span, Timestamp, ToSpan as _};

use crate::zone::Zone;

/// A duration that is not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Duration {
    /// Added first, on the local clock.
    days: i32,
    /// Added then.
    exact: SignedDuration,
}

impl Duration {
    /// Reads such as `P1DT2H`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let span = text.starts_with('P').then(|| text.parse::<Span>().ok())??;
        if span.is_negative() || span.get_years() != 0 || span.get_months() != 0 {
            return None;
        }
        let seconds = i64::from(span.get_hours())
            .checked_mul(3600)?
            .checked_add(span.get_minutes().checked_mul(60)?)?
            .checked_add(span.get_seconds())?;
        let fraction = SignedDuration::from_millis(span.get_milliseconds())
            .checked_add(SignedDuration::from_micros(span.get_microseconds()))?
            .checked_add(SignedDuration::from_nanos(span.get_nanoseconds()))?;
        Some(Self {
            days: span.get_weeks().checked_mul(7)?.checked_add(span.get_days())?,
            exact: SignedDuration::from_secs(seconds).checked_add(fraction)?,
        })
    }

    /// What lies between two local times, in whole days and a rest of hours; nothing where the second is
    /// the earlier one.
    pub(crate) fn between(from: DateTime, to: DateTime) -> Self {
        let exact = to.duration_since(from).max(SignedDuration::ZERO);
        let days = exact.as_secs() / 86_400;
        Self { days: days as i32, exact: exact - SignedDuration::from_secs(days * 86_400) }
    }

    /// When it ends.
    pub(crate) fn end(
        &self,
        start: DateTime,
        starts_at: Timestamp,
        zone: &Zone,
    ) -> Option<Timestamp> {
        let nominal = match self.days {
            0 => starts_at,
            days => zone.to_timestamp(start.checked_add(days.days()).ok()?)?,
        };
        nominal.checked_add(self.exact).ok()
    }

    /// No shorter than it ever is, in seconds.
    pub(crate) fn seconds_max(&self) -> i64 {
        // A day is longer than 24 hours by what the clocks are set back, which was never a day.
        let days = if self.days == 0 { 0 } else { i64::from(self.days) + 1 };
        (days * 86_400).saturating_add(self.exact.as_secs()).saturating_add(1)
    }
}
