//! Expansion: the local date-times of a rule, lazily, one period at a time.
//!
//! A period's candidates are never listed: they are the product of its days and of the hours, minutes
//! and seconds that the rule names, and are found by their place in it. So a yearly rule for each second
//! takes no more memory than one for each year.

use std::borrow::Cow;
use std::collections::VecDeque;

use jiff::civil::DateTime;

use super::plan::{DAY, Plan, date_time, moment, unit_seconds};
use super::{Frequency, Skip};

/// Periods that are searched for one occurrence before it is held that there is none. Twice what a
/// daily rule has until the year 9999, so that only rules that match nothing end by it.
const EMPTY_PERIODS_MAX: u32 = 6_000_000;

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
