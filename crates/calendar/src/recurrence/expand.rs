//! Expansion: the local date-times of a rule, lazily, one period at a time.
//!
//! A period's candidates are never listed: they are the product of its days and of the hours, minutes
//! and seconds that the rule names, and are found by their place in it. So a yearly rule for each second
//! takes no more memory than one for each year.

use std::borrow::Cow;
use std::collections::VecDeque;

use jiff::civil::DateTime;
use serde_json::json;

use crate::Object;

use super::dates::{DateFilter, FromBothEnds, WeekdayFilter, civil, day_number, weekday};
use super::{Frequency, NDay, Rule, Skip};

const DAY: i64 = 86_400;

/// Periods that are searched for one occurrence before it is held that there is none. Twice what a
/// daily rule has until the year 9999, so that only rules that match nothing end by it.
const EMPTY_PERIODS_MAX: u32 = 6_000_000;

/// A rule made ready for one start: with what it leaves unsaid, and in the form that is fast to test.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    frequency: Frequency,
    interval: i64,
    /// Seconds since 1970 on the local clock, without regard to zones, as all moments here.
    start: i64,
    /// The fraction of a second that all occurrences share.
    nanos: i32,
    /// The unit that the start lies in: the year, the month counted from year 0, the first day of the
    /// week, or days, hours, minutes or seconds since 1970.
    first_unit: i64,
    dates: DateFilter,
    hours: Vec<u8>,
    minutes: Vec<u8>,
    seconds: Vec<u8>,
    positions: Vec<i32>,
    count: Option<u64>,
    /// The first moment that is too late for an occurrence.
    limit: i64,
    /// Whether the interval never meets the times of the day that the rule names.
    is_empty: bool,
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
    fn unit_start(&self, unit: i64) -> i64 {
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
    fn period_at(&self, at: i64) -> i64 {
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
    fn unit_step(&self) -> i64 {
        if self.frequency == Frequency::Weekly { self.interval * 7 } else { self.interval }
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
}

impl Implied {
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

fn unit_seconds(frequency: Frequency) -> i64 {
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

fn moment(at: DateTime) -> i64 {
    let day = day_number(at.year().into(), at.month().into(), at.day().into());
    let second = i64::from(at.hour()) * 3600 + i64::from(at.minute()) * 60 + i64::from(at.second());
    i64::from(day) * DAY + second
}

fn date_time(moment: i64, nanos: i32) -> DateTime {
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

/// The occurrences of a rule in their order: an iterator that computes as far as it is asked.
#[derive(Clone, Debug)]
pub struct Expansion<'a> {
    plan: Cow<'a, Plan>,
    /// Candidates before this are not looked at.
    lower: i64,
    /// Occurrences before this are counted, and not given.
    from: i64,
    /// Nothing from here on is given.
    limit: i64,
    /// Whether the start is still to be given.
    start_is_due: bool,
    /// How many occurrences the count still allows.
    left: Option<u64>,
    /// How many more periods may be searched.
    periods_left: u64,
    /// The period to load next, counted from the start's.
    next_period: i64,
    period: Period,
    /// Occurrences that a skip moved into the month after their own.
    moved: VecDeque<i64>,
}

/// The candidates of one period: the product of its days and times, of which `picks` says the places
/// where the rule has positions.
#[derive(Clone, Debug, Default)]
struct Period {
    days: Vec<i32>,
    hour: Option<u8>,
    minute: Option<u8>,
    second: Option<u8>,
    picks: Vec<i64>,
    at: i64,
    len: i64,
    /// Where the period after it begins, if candidates may lie there.
    end: i64,
}

impl<'a> Expansion<'a> {
    pub(super) fn new(plan: Plan, starts_with_start: bool) -> Self {
        Self::over(Cow::Owned(plan), starts_with_start)
    }

    /// Over a plan that is kept elsewhere.
    pub(crate) fn of(plan: &'a Plan, starts_with_start: bool) -> Self {
        Self::over(Cow::Borrowed(plan), starts_with_start)
    }

    fn over(plan: Cow<'a, Plan>, starts_with_start: bool) -> Self {
        Self {
            lower: plan.start + i64::from(starts_with_start),
            from: plan.start,
            limit: plan.limit,
            start_is_due: starts_with_start,
            left: plan.count,
            periods_left: u64::MAX,
            next_period: 0,
            period: Period::default(),
            moved: VecDeque::new(),
            plan,
        }
    }

    /// Only those in `from..to`. To be said before the first is taken.
    pub(crate) fn between(mut self, from: DateTime, to: DateTime) -> Self {
        let nanos = self.plan.nanos;
        self.from = moment(from) + i64::from(nanos < from.subsec_nanosecond());
        let to = moment(to) + i64::from(nanos < to.subsec_nanosecond());
        self.limit = self.limit.min(to);
        if self.plan.start >= to {
            self.left = Some(0);
        } else if self.from > self.plan.start && self.plan.count.is_none() {
            self.start_is_due = false;
            self.lower = self.from;
            // A skip may move a day into the period after its own.
            self.next_period = (self.plan.period_at(self.lower) - 1).max(0);
        }
        self
    }

    /// Gives up after so many periods: then [`gave_up`](Self::gave_up).
    pub(crate) fn searching(mut self, periods: u64) -> Self {
        self.periods_left = periods;
        self
    }

    pub(crate) fn gave_up(&self) -> bool {
        self.periods_left == 0
    }

    /// How many more periods may be searched.
    pub(crate) fn periods_left(&self) -> u64 {
        self.periods_left
    }

    /// The next candidate, from the start on.
    fn next_candidate(&mut self) -> Option<i64> {
        let mut empty = 0;
        loop {
            let own = self.peek();
            match (self.moved.front().copied(), own) {
                (Some(moved), Some(own)) if own <= moved => {
                    if own == moved {
                        self.moved.pop_front();
                    }
                    self.period.at += 1;
                    return Some(own);
                }
                (Some(moved), _) => {
                    self.moved.pop_front();
                    return Some(moved);
                }
                (None, Some(own)) => {
                    self.period.at += 1;
                    return Some(own);
                }
                (None, None) => {
                    empty += 1;
                    if empty > EMPTY_PERIODS_MAX || !self.load() {
                        return None;
                    }
                }
            }
        }
    }

    /// The period's next candidate that lies within the period. Those that a skip moved out of it wait
    /// in `moved` for their place among those of the next period, which is loaded for that.
    fn peek(&mut self) -> Option<i64> {
        let own = self.period.peek(&self.plan)?;
        if own < self.period.end {
            return Some(own);
        }
        if !self.moved.is_empty() {
            return None;
        }
        let late = self.period.at..self.period.len;
        self.moved = late.map(|at| self.period.candidate(&self.plan, at)).collect();
        self.period.at = self.period.len;
        self.load();
        self.period.peek(&self.plan).filter(|own| *own < self.period.end)
    }

    /// Loads the next period that may have candidates. False where there is none before the limit.
    fn load(&mut self) -> bool {
        let plan = &*self.plan;
        if plan.is_empty || self.periods_left == 0 {
            return false;
        }
        self.periods_left -= 1;
        // The offset can't overflow: periods end at the limit, and an interval has its maximum.
        let unit = plan.first_unit + self.next_period * plan.unit_step();
        let begins = match plan.frequency {
            Frequency::Yearly if unit > 9999 => return false,
            Frequency::Monthly if unit >= 120_000 => return false,
            _ => plan.unit_start(unit),
        };
        if begins >= self.limit {
            return false;
        }
        self.next_period += 1;

        let period = &mut self.period;
        period.days.clear();
        period.picks.clear();
        period.at = 0;
        period.end = i64::MAX;
        match plan.frequency {
            Frequency::Yearly => plan.dates.days_of_year(unit as i32, &mut period.days),
            Frequency::Monthly => {
                let (year, month) = (unit.div_euclid(12) as i32, unit.rem_euclid(12) as i32 + 1);
                plan.dates.days_of_month(year, month, &mut period.days);
                if plan.dates.skip == Skip::Forward {
                    period.end = plan.unit_start(unit + 1);
                }
            }
            Frequency::Weekly => {
                let first = unit as i32;
                period.days.extend((first..first + 7).filter(|day| plan.dates.has(*day)));
            }
            Frequency::Daily => {
                period.days.extend(Some(unit as i32).filter(|day| plan.dates.has(*day)));
            }
            Frequency::Hourly | Frequency::Minutely | Frequency::Secondly => {
                let day = begins.div_euclid(DAY);
                let second = begins.rem_euclid(DAY);
                let skip_to = if !plan.dates.has(day as i32) {
                    Some((day + 1) * DAY)
                } else {
                    plan.time_after(second).map(|time| day * DAY + time)
                };
                if let Some(moment) = skip_to {
                    let units = moment.div_euclid(unit_seconds(plan.frequency)) - plan.first_unit;
                    self.next_period = (units + plan.interval - 1).div_euclid(plan.interval);
                    period.len = 0;
                    return true;
                }
                period.days.push(day as i32);
                period.hour = Some((second / 3600) as u8);
                period.minute =
                    (plan.frequency > Frequency::Hourly).then_some((second / 60 % 60) as u8);
                period.second =
                    (plan.frequency > Frequency::Minutely).then_some((second % 60) as u8);
            }
        }
        period.len = period.product(plan);
        if !plan.positions.is_empty() {
            let len = period.len;
            let place = |position: &i32| {
                let position = i64::from(*position);
                if position > 0 { position - 1 } else { len + position }
            };
            let places = plan.positions.iter().map(place);
            period.picks.extend(places.filter(|place| (0..len).contains(place)));
            period.picks.sort_unstable();
            period.picks.dedup();
            period.len = period.picks.len() as i64;
        }
        period.at = period.first_from(plan, self.lower);
        true
    }
}

impl Plan {
    /// For periods of less than a day, where the one at this second of the day does not pass: the next
    /// second of the day at which one may.
    fn time_after(&self, second: i64) -> Option<i64> {
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

impl Period {
    fn peek(&self, plan: &Plan) -> Option<i64> {
        (self.at < self.len).then(|| self.candidate(plan, self.at))
    }

    fn times<'p>(&'p self, plan: &'p Plan) -> [&'p [u8]; 3] {
        let or =
            |one: &'p Option<u8>, all: &'p [u8]| one.as_ref().map_or(all, std::slice::from_ref);
        [
            or(&self.hour, &plan.hours),
            or(&self.minute, &plan.minutes),
            or(&self.second, &plan.seconds),
        ]
    }

    fn product(&self, plan: &Plan) -> i64 {
        let times: i64 = self.times(plan).iter().map(|values| values.len() as i64).product();
        times * self.days.len() as i64
    }

    /// The nth candidate.
    fn candidate(&self, plan: &Plan, nth: i64) -> i64 {
        let mut place = if plan.positions.is_empty() { nth } else { self.picks[nth as usize] };
        let [hours, minutes, seconds] = self.times(plan);
        let mut digit = |values: &[u8]| {
            let value = values[(place % values.len() as i64) as usize];
            place /= values.len() as i64;
            i64::from(value)
        };
        let (second, minute, hour) = (digit(seconds), digit(minutes), digit(hours));
        i64::from(self.days[place as usize]) * DAY + hour * 3600 + minute * 60 + second
    }

    /// The place of the first candidate that is not before a moment.
    fn first_from(&self, plan: &Plan, moment: i64) -> i64 {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = (low + high) / 2;
            if self.candidate(plan, middle) < moment {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Iterator for Expansion<'_> {
    type Item = DateTime;

    fn next(&mut self) -> Option<DateTime> {
        loop {
            if self.left == Some(0) {
                return None;
            }
            let candidate = if std::mem::take(&mut self.start_is_due) {
                Some(self.plan.start)
            } else {
                self.next_candidate().filter(|candidate| *candidate < self.limit)
            };
            let Some(candidate) = candidate else {
                self.left = Some(0);
                return None;
            };
            self.left = self.left.map(|left| left - 1);
            if candidate >= self.from {
                return Some(date_time(candidate, self.plan.nanos));
            }
        }
    }
}
