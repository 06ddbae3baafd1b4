//! Days as numbers, and which days of a period a rule names. Days count from 1970-01-01; weekdays from
//! Monday as 0.

use super::{NDay, Skip};

/// The day with number 0 is a Thursday.
const WEEKDAY_OF_DAY_0: i32 = 3;

/// The number of a day of the Gregorian calendar, extended to before its time.
/// After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub(super) fn day_number(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a day's number: the reverse of [`day_number`].
pub(super) fn civil(day: i32) -> (i32, i32, i32) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i32::from(month <= 2), month, day)
}

pub(super) fn weekday(day: i32) -> u8 {
    (day + WEEKDAY_OF_DAY_0).rem_euclid(7) as u8
}

fn days_in_month(year: i32, month: i32) -> i32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Numbers counted from the start of something, or, negative, from its end.
#[derive(Clone, Debug)]
pub(super) struct FromBothEnds {
    from_start: [u64; 6],
    from_end: [u64; 6],
}

impl FromBothEnds {
    /// Numbers up to 366; none at all is no filter.
    pub(super) fn new(numbers: &[i32]) -> Option<Self> {
        let mut set = Self { from_start: [0; 6], from_end: [0; 6] };
        for number in numbers {
            let bit = number.unsigned_abs() as usize;
            let side = if *number > 0 { &mut set.from_start } else { &mut set.from_end };
            side[bit / 64] |= 1 << (bit % 64);
        }
        (!numbers.is_empty()).then_some(set)
    }

    /// Whether it has the nth of so many.
    fn has(&self, nth: i32, of: i32) -> bool {
        let bit = |set: &[u64; 6], at: i32| set[at as usize / 64] >> (at % 64) & 1 == 1;
        bit(&self.from_start, nth) || bit(&self.from_end, of + 1 - nth)
    }
}

/// What a rule asks of a date. Each part that is absent lets all through.
#[derive(Clone, Debug)]
pub(super) struct DateFilter {
    /// Bit n for month n.
    pub(super) months: u16,
    pub(super) weeks: Option<FromBothEnds>,
    pub(super) week_start: u8,
    pub(super) year_days: Option<FromBothEnds>,
    pub(super) month_days: Option<FromBothEnds>,
    pub(super) weekdays: Option<WeekdayFilter>,
    pub(super) skip: Skip,
}

/// The weekdays that a rule names.
#[derive(Clone, Debug)]
pub(super) struct WeekdayFilter {
    /// Bit n for weekday n, whichever it is of its kind.
    every: u8,
    nth: Vec<(u8, i32)>,
    /// Whether nth counts within the month, and not the year.
    in_month: bool,
}

impl WeekdayFilter {
    pub(super) fn new(days: &[NDay], in_month: bool) -> Option<Self> {
        let every = days
            .iter()
            .filter(|day| day.nth.is_none())
            .fold(0, |bits, day| bits | 1 << day.weekday);
        let nth = days.iter().filter_map(|day| Some((day.weekday, day.nth?))).collect();
        (!days.is_empty()).then_some(Self { every, nth, in_month })
    }

    fn has(&self, date: &Date) -> bool {
        let weekday = weekday(date.number);
        if self.every >> weekday & 1 == 1 {
            return true;
        }
        if self.nth.is_empty() {
            return false;
        }
        let (at, of) = if self.in_month {
            (date.day, days_in_month(date.year, date.month))
        } else {
            (date.day_of_year(), days_in_year(date.year))
        };
        let from_start = (at - 1) / 7 + 1;
        let from_end = -((of - at) / 7 + 1);
        self.nth
            .iter()
            .any(|(day, nth)| *day == weekday && (*nth == from_start || *nth == from_end))
    }
}

/// A date in the forms that filters look at.
struct Date {
    number: i32,
    year: i32,
    month: i32,
    day: i32,
}

impl Date {
    fn new(number: i32) -> Self {
        let (year, month, day) = civil(number);
        Self { number, year, month, day }
    }

    fn day_of_year(&self) -> i32 {
        self.number - day_number(self.year, 1, 1) + 1
    }
}

fn days_in_year(year: i32) -> i32 {
    if is_leap(year) { 366 } else { 365 }
}

/// The number of a day's week, and how many weeks the year has that the week belongs to: the year of
/// the week's fourth day (ISO 8601, for any first day of the week).
fn week_of_year(day: i32, week_start: u8) -> (i32, i32) {
    let fourth = |day: i32| day + 3 - i32::from((weekday(day) + 7 - week_start) % 7);
    let week = |fourth: i32, new_year: i32| (fourth - new_year) / 7 + 1;
    let middle = fourth(day);
    let (year, _, _) = civil(middle);
    let new_year = day_number(year, 1, 1);
    // December 28 is always in the last week.
    (week(middle, new_year), week(fourth(day_number(year, 12, 28)), new_year))
}

impl DateFilter {
    /// Whether a day passes, for periods of a week or shorter.
    pub(super) fn has(&self, number: i32) -> bool {
        let date = Date::new(number);
        self.has_month(date.month)
            && self
                .month_days
                .as_ref()
                .is_none_or(|days| days.has(date.day, days_in_month(date.year, date.month)))
            && self.has_apart_from_month(&date)
    }

    fn has_month(&self, month: i32) -> bool {
        self.months >> month & 1 == 1
    }

    fn has_apart_from_month(&self, date: &Date) -> bool {
        self.weekdays.as_ref().is_none_or(|weekdays| weekdays.has(date))
            && self
                .year_days
                .as_ref()
                .is_none_or(|days| days.has(date.day_of_year(), days_in_year(date.year)))
            && self.weeks.as_ref().is_none_or(|weeks| {
                let (week, of) = week_of_year(date.number, self.week_start);
                weeks.has(week, of)
            })
    }

    /// Adds the days of a year that pass, in their order.
    pub(super) fn days_of_year(&self, year: i32, days: &mut Vec<i32>) {
        for month in 1..=12 {
            self.days_of_month(year, month, days);
        }
    }

    /// Adds the days of a month that pass, in their order. With [`Skip::Forward`] the last can be the
    /// first of the next month.
    pub(super) fn days_of_month(&self, year: i32, month: i32, days: &mut Vec<i32>) {
        if !self.has_month(month) {
            return;
        }
        let first = day_number(year, month, 1);
        let length = days_in_month(year, month);
        for day in 1..=length {
            if self.month_days.as_ref().is_some_and(|days| !days.has(day, length)) {
                continue;
            }
            let date = Date { number: first + day - 1, year, month, day };
            // Where the month before was skipped forward, its day is there already.
            if self.has_apart_from_month(&date) && days.last() != Some(&date.number) {
                days.push(date.number);
            }
        }
        if self.has_missing_day(length) {
            let moved = match self.skip {
                Skip::Omit => return,
                Skip::Backward => first + length - 1,
                Skip::Forward => first + length,
            };
            if self.has_apart_from_month(&Date::new(moved)) && days.last() != Some(&moved) {
                days.push(moved);
            }
        }
    }

    /// Whether the rule names a day that a month of this length does not have. Such a day has no place
    /// in a year, nor in a week (RFC 8984, 4.3.3.1).
    fn has_missing_day(&self, length: i32) -> bool {
        let Some(month_days) = &self.month_days else { return false };
        self.skip != Skip::Omit
            && self.year_days.is_none()
            && self.weeks.is_none()
            && month_days.from_start[0] >> (length + 1) != 0
    }
}
