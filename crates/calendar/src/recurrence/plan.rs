//! A rule made ready for one start: what it leaves unsaid is said, and what is asked of each candidate is
//! in the form that is fast to test.

use jiff::civil::DateTime;
use serde_json::json;

use crate::Object;

use super::dates::{DateFilter, FromBothEnds, WeekdayFilter, civil, day_number, weekday};
use super::{Frequency, NDay, Rule, Skip};

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;

/// A rule made ready for one start: with what it leaves unsaid, and in the form that is fast to test.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(super) frequency: Frequency,
    pub(super) interval: i64,
    /// Seconds since 1970 on the local clock, without regard to zones, as all moments here.
    pub(super) start: i64,
    /// The fraction of a second that all occurrences share.
    pub(super) nanos: i32,
    /// The unit that the start lies in: the year, the month counted from year 0, the first day of the
    /// week, or days, hours, minutes or seconds since 1970.
    pub(super) first_unit: i64,
    pub(super) dates: DateFilter,
    pub(super) hours: Vec<u8>,
    pub(super) minutes: Vec<u8>,
    pub(super) seconds: Vec<u8>,
    pub(super) positions: Vec<i32>,
    pub(super) count: Option<u64>,
    /// The first moment that is too late for an occurrence.
    pub(super) limit: i64,
    /// Whether the interval never meets the times of the day that the rule names.
    pub(super) is_empty: bool,
}

impl Plan {
    pub(crate) fn new(rule: &Rule, start: DateTime) -> Self {
        let moment = moment(start);
        let day = moment.div_euclid(DAY);
        let nanos = start.subsec_nanosecond();
        let frequency = rule.frequency;
        let implied = Implied::new(rule, start);

        let hours = implied.hours.map_or_else(|| all_or(&rule.hours, 24), |hour| vec![hour]);
        let minutes =
            implied.minutes.map_or_else(|| all_or(&rule.minutes, 60), |minute| vec![minute]);
        let mut seconds =
            implied.seconds.map_or_else(|| all_or(&rule.seconds, 60), |second| vec![second]);
        seconds.retain(|second| *second < 60);

        let month_days = implied.month_day.map_or_else(|| rule.month_days.clone(), |day| vec![day]);
        let weekdays = implied
            .weekday
            .map_or_else(|| rule.days.clone(), |weekday| vec![NDay { weekday, nth: None }]);
        let months = implied.months.unwrap_or(rule.months);
        let in_month = frequency == Frequency::Monthly || rule.months != 0;
        let is_long = frequency <= Frequency::Monthly;

        let mut plan = Self {
            frequency,
            interval: rule.interval,
            start: moment,
            nanos,
            first_unit: match frequency {
                Frequency::Yearly => i64::from(start.year()),
                Frequency::Monthly => i64::from(start.year()) * 12 + i64::from(start.month()) - 1,
                Frequency::Weekly => {
                    day - i64::from((weekday(day as i32) + 7 - rule.week_start) % 7)
                }
                _ => moment.div_euclid(unit_seconds(frequency)),
            },
            dates: DateFilter {
                months: if months == 0 { !0 } else { months },
                weeks: FromBothEnds::new(&rule.weeks),
                week_start: rule.week_start,
                year_days: FromBothEnds::new(&rule.year_days),
                month_days: FromBothEnds::new(&month_days),
                weekdays: WeekdayFilter::new(&weekdays, in_month),
                skip: if is_long { rule.skip } else { Skip::Omit },
            },
            hours,
            minutes,
            seconds,
            positions: rule.positions.clone(),
            count: rule.count,
            limit: moment_after_all(),
            is_empty: false,
        };
        if let Some(until) = rule.until {
            plan.end_with(until);
        }
        plan.is_empty = plan.seconds.is_empty() || !plan.meets_times();
        plan
    }

    pub(crate) fn count(&self) -> Option<u64> {
        self.count
    }

    /// A local time after which it has no occurrence but its start; `None` where it goes on without end,
    /// or its count was not yet looked up.
    pub(crate) fn end(&self) -> Option<DateTime> {
        let is_open = self.count.is_some() || self.limit >= moment_after_all();
        (!is_open).then(|| date_time(self.limit.max(self.start), self.nanos))
    }

    /// Ends it with an occurrence that is known to be its last, instead of with a count.
    pub(crate) fn end_with(&mut self, last: DateTime) {
        self.count = None;
        self.limit =
            self.limit.min(moment(last) + i64::from(self.nanos <= last.subsec_nanosecond()));
    }

    /// Whether periods of less than a day can ever begin at a time that the rule names. With an interval
    /// they come to some times of the day only: those that are equal modulo what the interval and the day
    /// have in common.
    fn meets_times(&self) -> bool {
        if self.frequency <= Frequency::Daily {
            return true;
        }
        let unit = unit_seconds(self.frequency);
        let common = gcd(self.interval, DAY / unit);
        let phase = self.first_unit.rem_euclid(common);
        (0..DAY / unit).filter(|at| at % common == phase).any(|at| self.has_time(at * unit))
    }

    /// Whether the period that begins at a second of the day passes by hour, minute and second.
    fn has_time(&self, second_of_day: i64) -> bool {
        let has = |values: &[u8], at: i64| values.binary_search(&(at as u8)).is_ok();
        has(&self.hours, second_of_day / 3600)
            && (self.frequency < Frequency::Minutely || has(&self.minutes, second_of_day / 60 % 60))
            && (self.frequency < Frequency::Secondly || has(&self.seconds, second_of_day % 60))
    }

    /// The first moment of a unit, as [`first_unit`](Self::first_unit) counts them.
    pub(super) fn unit_start(&self, unit: i64) -> i64 {
        match self.frequency {
            Frequency::Yearly => i64::from(day_number(unit as i32, 1, 1)) * DAY,
            Frequency::Monthly => {
                let (year, month) = (unit.div_euclid(12) as i32, unit.rem_euclid(12) as i32 + 1);
                i64::from(day_number(year, month, 1)) * DAY
            }
            Frequency::Weekly => unit * DAY,
            _ => unit * unit_seconds(self.frequency),
        }
    }

    /// Which period from the start's on holds a moment or comes next after it.
    pub(super) fn period_at(&self, at: i64) -> i64 {
        let unit = match self.frequency {
            Frequency::Yearly => i64::from(civil(at.div_euclid(DAY) as i32).0),
            Frequency::Monthly => {
                let (year, month, _) = civil(at.div_euclid(DAY) as i32);
                i64::from(year) * 12 + i64::from(month) - 1
            }
            Frequency::Weekly => at.div_euclid(DAY),
            _ => at.div_euclid(unit_seconds(self.frequency)),
        };
        (unit - self.first_unit).max(0) / self.unit_step()
    }

    /// How far apart two periods are, in units.
    pub(super) fn unit_step(&self) -> i64 {
        if self.frequency == Frequency::Weekly { self.interval * 7 } else { self.interval }
    }

    /// For periods of less than a day, where the one at this second of the day does not pass: the next
    /// second of the day at which one may.
    pub(super) fn time_after(&self, second: i64) -> Option<i64> {
        let next = |values: &[u8], at: i64| {
            values
                .get(values.partition_point(|value| i64::from(*value) < at))
                .map(|v| i64::from(*v))
        };
        let (hour, minute) = (second / 3600, second / 60 % 60);
        match next(&self.hours, hour) {
            None => return Some(DAY),
            Some(found) if found > hour => return Some(found * 3600),
            Some(_) => {}
        }
        if self.frequency >= Frequency::Minutely {
            match next(&self.minutes, minute) {
                None => return Some((hour + 1) * 3600),
                Some(found) if found > minute => return Some(hour * 3600 + found * 60),
                Some(_) => {}
            }
        }
        if self.frequency == Frequency::Secondly {
            let minute_start = second - second % 60;
            match next(&self.seconds, second % 60) {
                None => return Some(minute_start + 60),
                Some(found) if found > second % 60 => return Some(minute_start + found),
                Some(_) => {}
            }
        }
        None
    }
}

/// What a rule leaves to be taken from its start (RFC 8984, 4.3.3.1).
pub(super) struct Implied {
    hours: Option<u8>,
    minutes: Option<u8>,
    seconds: Option<u8>,
    weekday: Option<u8>,
    month_day: Option<i32>,
    months: Option<u16>,
}

impl Implied {
    pub(super) fn new(rule: &Rule, start: DateTime) -> Self {
        let no_days = rule.days.is_empty();
        let no_month_days = rule.month_days.is_empty();
        let no_weeks = rule.weeks.is_empty();
        let is_yearly = rule.frequency == Frequency::Yearly && rule.year_days.is_empty();
        let takes_weekday = match rule.frequency {
            Frequency::Weekly => no_days,
            Frequency::Yearly => is_yearly && !no_weeks && no_month_days && no_days,
            _ => false,
        };
        let takes_month_day = match rule.frequency {
            Frequency::Monthly => no_days && no_month_days,
            Frequency::Yearly => is_yearly && no_month_days && no_weeks && no_days,
            _ => false,
        };
        let takes_month = is_yearly && rule.months == 0 && no_weeks && (!no_month_days || no_days);
        let day = moment(start).div_euclid(DAY) as i32;
        let takes = |below: Frequency, values: &[u8]| rule.frequency < below && values.is_empty();
        Self {
            hours: takes(Frequency::Hourly, &rule.hours).then_some(start.hour() as u8),
            minutes: takes(Frequency::Minutely, &rule.minutes).then_some(start.minute() as u8),
            seconds: takes(Frequency::Secondly, &rule.seconds).then_some(start.second() as u8),
            weekday: takes_weekday.then(|| weekday(day)),
            month_day: takes_month_day.then(|| i32::from(start.day())),
            months: takes_month.then(|| 1 << start.month()),
        }
    }

    /// As properties of a rule.
    pub(super) fn to_json(&self) -> Object {
        const NAMES: [&str; 7] = ["mo", "tu", "we", "th", "fr", "sa", "su"];
        let day = |weekday: u8| json!([{ "@type": "NDay", "day": NAMES[usize::from(weekday)] }]);
        [
            ("byMonth", self.months.map(|bits| json!([bits.trailing_zeros().to_string()]))),
            ("byMonthDay", self.month_day.map(|day| json!([day]))),
            ("byDay", self.weekday.map(day)),
            ("byHour", self.hours.map(|hour| json!([hour]))),
            ("byMinute", self.minutes.map(|minute| json!([minute]))),
            ("bySecond", self.seconds.map(|second| json!([second]))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }
}

fn all_or(values: &[u8], all: u8) -> Vec<u8> {
    if values.is_empty() { (0..all).collect() } else { values.to_vec() }
}

pub(super) fn unit_seconds(frequency: Frequency) -> i64 {
    match frequency {
        Frequency::Secondly => 1,
        Frequency::Minutely => 60,
        Frequency::Hourly => 3600,
        _ => DAY,
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(super) fn moment(at: DateTime) -> i64 {
    let day = day_number(at.year().into(), at.month().into(), at.day().into());
    let second = i64::from(at.hour()) * 3600 + i64::from(at.minute()) * 60 + i64::from(at.second());
    i64::from(day) * DAY + second
}

pub(super) fn date_time(moment: i64, nanos: i32) -> DateTime {
    let (year, month, day) = civil(moment.div_euclid(DAY) as i32);
    let second = moment.rem_euclid(DAY);
    DateTime::constant(
        year as i16,
        month as i8,
        day as i8,
        (second / 3600) as i8,
        (second / 60 % 60) as i8,
        (second % 60) as i8,
        nanos,
    )
}

fn moment_after_all() -> i64 {
    i64::from(day_number(10_000, 1, 1)) * DAY
}
