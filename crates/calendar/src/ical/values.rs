//! Property values (RFC 5545, 3.3) as JSCalendar has them, and back.

use std::fmt::Write as _;

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, ToSpan as _, Unit};
use serde_json::{Map, Value, json};

use crate::{Object, Zone};

/// A date, or a date-time: local, or in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct When {
    pub(crate) at: DateTime,
    pub(crate) is_date: bool,
    pub(crate) is_utc: bool,
}

/// The clock that local times of an event are told on.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// None: a floating time, or a date.
    pub(crate) zone: Option<Zone>,
    pub(crate) is_utc: bool,
    pub(crate) is_date: bool,
}

pub(crate) fn when(text: &str) -> Option<When> {
    let text = text.trim();
    let (local, is_utc) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, true),
        None => (text, false),
    };
    let number = |from: usize, to: usize| {
        let digits = local.get(from..to).filter(|it| it.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<i16>().ok()
    };
    let date = Date::new(number(0, 4)?, number(4, 6)? as i8, number(6, 8)? as i8).ok()?;
    if local.len() == 8 {
        return Some(When { at: date.to_datetime(Time::midnight()), is_date: true, is_utc: false });
    }
    if local.len() != 15 || !local[8..9].eq_ignore_ascii_case("t") {
        return None;
    }
    // A leap second is the one before.
    let second = number(13, 15)?.min(59);
    let time = Time::new(number(9, 11)? as i8, number(11, 13)? as i8, second as i8, 0).ok()?;
    Some(When { at: date.to_datetime(time), is_date: false, is_utc })
}

impl Clock {
    /// On this clock.
    pub(crate) fn local(&self, when: When) -> DateTime {
        match (&self.zone, when.is_utc) {
            (Some(zone), true) if !self.is_utc => {
                Zone::utc().to_timestamp(when.at).map_or(when.at, |at| zone.to_local(at))
            }
            _ => when.at,
        }
    }

    /// As a value of a property that is told on this clock.
    pub(crate) fn write(&self, at: DateTime) -> String {
        match self.is_date {
            true => date(at.date()),
            false if self.is_utc => format!("{}Z", date_time(at)),
            false => date_time(at),
        }
    }

    /// As the end of a recurrence, which is in UTC where the zone is known.
    pub(crate) fn write_until(&self, at: DateTime) -> String {
        let in_utc = |zone: &Zone| Some(Zone::utc().to_local(zone.to_timestamp(at)?));
        match (&self.zone, self.is_date) {
            (_, true) => date(at.date()),
            (zone, false) => match zone.as_ref().and_then(in_utc) {
                Some(at) => format!("{}Z", date_time(at)),
                None => date_time(at),
            },
        }
    }

    /// How long it is from one local time to another: days as people count them, and the rest as it passes.
    pub(crate) fn span(&self, from: DateTime, to: DateTime) -> Option<Span> {
        let Some(zone) = &self.zone else { return from.until((Unit::Day, to)).ok() };
        let end = zone.to_timestamp(to)?;
        let days = from.date().until((Unit::Day, to.date())).ok()?.get_days();
        // One day less where the last one isn't whole.
        [days, days - 1].into_iter().find_map(|days| {
            let whole = zone.to_timestamp(from.checked_add(days.days()).ok()?)?;
            let rest = end.as_second() - whole.as_second();
            (rest >= 0).then(|| days.days().seconds(rest))
        })
    }

    /// The local time after a span.
    pub(crate) fn after(&self, from: DateTime, span: Span) -> Option<DateTime> {
        let Some(zone) = &self.zone else { return from.checked_add(span).ok() };
        let days = i64::from(span.get_days()) + 7 * i64::from(span.get_weeks());
        let whole = zone.to_timestamp(from.checked_add(days.days()).ok()?)?;
        let rest =
            i64::from(span.get_hours()) * 3600 + span.get_minutes() * 60 + span.get_seconds();
        Some(zone.to_local(whole.checked_add(rest.seconds()).ok()?))
    }
}

pub(crate) fn date(date: Date) -> String {
    format!("{:04}{:02}{:02}", date.year(), date.month(), date.day())
}

pub(crate) fn date_time(at: DateTime) -> String {
    format!("{}T{:02}{:02}{:02}", date(at.date()), at.hour(), at.minute(), at.second())
}

/// A LocalDateTime of RFC 8984.
pub(crate) fn local(at: DateTime) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

pub(crate) fn parse_local(text: &str) -> Option<DateTime> {
    text.parse().ok()
}

// ---- Durations ----

/// A duration, with its sign, as both standards write it; none if it is no duration.
pub(crate) fn duration(text: &str) -> Option<(bool, String)> {
    let text = text.trim();
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let span: Span = rest.parse().ok()?;
    let whole = !span.is_negative() && span.get_years() == 0 && span.get_months() == 0;
    (whole && rest.starts_with('P')).then(|| (negative, rest.to_owned()))
}

/// As short as it can be said.
pub(crate) fn write_span(span: Span) -> String {
    let (days, seconds) = (
        i64::from(span.get_days()),
        i64::from(span.get_hours()) * 3600 + span.get_minutes() * 60 + span.get_seconds(),
    );
    let mut text = "P".to_owned();
    if days != 0 {
        let _ = write!(text, "{days}D");
    }
    if seconds != 0 || days == 0 {
        text.push('T');
        let parts = [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M'), (seconds % 60, 'S')];
        for (count, unit) in parts {
            if count != 0 || seconds == 0 && unit == 'S' {
                let _ = write!(text, "{count}{unit}");
            }
        }
    }
    text
}

// ---- Text ----

pub(crate) fn text(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            c => plain.push(c),
        }
    }
    plain
}

/// The values of a list, which commas part that have no backslash before them.
pub(crate) fn texts(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in value.chars() {
        match c {
            ',' if !escaped => parts.push(String::new()),
            c => {
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
        escaped = c == '\\' && !escaped;
    }
    parts.iter().map(|part| text(part)).collect()
}

pub(crate) fn escaped(plain: &str) -> String {
    let mut value = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '\\' | ';' | ',' => value.extend(['\\', c]),
            '\n' => value.push_str("\\n"),
            '\r' => {}
            c => value.push(c),
        }
    }
    value
}

// ---- Recurrence rules ----

const FREQUENCIES: [&str; 7] =
    ["yearly", "monthly", "weekly", "daily", "hourly", "minutely", "secondly"];

/// The parts of a rule that are lists of numbers.
const NUMBERS: [(&str, &str); 7] = [
    ("BYMONTHDAY", "byMonthDay"),
    ("BYYEARDAY", "byYearDay"),
    ("BYWEEKNO", "byWeekNo"),
    ("BYHOUR", "byHour"),
    ("BYMINUTE", "byMinute"),
    ("BYSECOND", "bySecond"),
    ("BYSETPOS", "bySetPosition"),
];

/// A RecurrenceRule; none if it is no rule.
pub(crate) fn rule(value: &str, clock: &Clock) -> Option<Value> {
    let mut rule = Map::new();
    rule.insert("@type".into(), json!("RecurrenceRule"));
    for part in value.trim().split(';').filter(|part| !part.trim().is_empty()) {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim().to_ascii_uppercase(), value.trim());
        let (name, value) = match &*name {
            "FREQ" => ("frequency", {
                let value = value.to_ascii_lowercase();
                FREQUENCIES.contains(&&*value).then(|| json!(value))?
            }),
            "INTERVAL" => ("interval", json!(value.parse::<u32>().ok().filter(|it| *it > 0)?)),
            "COUNT" => ("count", json!(value.parse::<u32>().ok().filter(|it| *it > 0)?)),
            "UNTIL" => ("until", {
                let until = when(value)?;
                // The whole last day, where the rule tells times and this only a day.
                let end = Time::constant(23, 59, 59, 0);
                match until.is_date && !clock.is_date {
                    true => json!(local(until.at.date().to_datetime(end))),
                    false => json!(local(clock.local(until))),
                }
            }),
            "WKST" => ("firstDayOfWeek", json!(day(value)?)),
            "RSCALE" => ("rscale", json!(value.to_ascii_lowercase())),
            "SKIP" => ("skip", json!(value.to_ascii_lowercase())),
            "BYMONTH" => ("byMonth", {
                let months = value.split(',').map(|it| it.trim().to_ascii_uppercase());
                json!(months.map(|it| it.trim_start_matches('0').to_owned()).collect::<Vec<_>>())
            }),
            "BYDAY" => ("byDay", {
                let days: Option<Vec<Value>> = value.split(',').map(nth_day).collect();
                json!(days?)
            }),
            other => {
                let (_, name) = NUMBERS.iter().find(|(name, _)| *name == other)?;
                let numbers = value.split(',').map(|it| it.trim().parse::<i32>());
                (*name, json!(numbers.collect::<Result<Vec<_>, _>>().ok()?))
            }
        };
        rule.insert(name.into(), value);
    }
    // Where iCalendar means all months RFC 8984 means that of the start.
    let is_yearly = rule.get("frequency").is_some_and(|it| it == "yearly");
    let has = |name: &str| rule.contains_key(name);
    let of_all_months = is_yearly
        && has("byMonthDay")
        && !["byMonth", "byWeekNo", "byYearDay"].into_iter().any(has);
    if of_all_months {
        let months: Vec<String> = (1..=12).map(|month| month.to_string()).collect();
        rule.insert("byMonth".into(), json!(months));
    }
    rule.contains_key("frequency").then(|| Value::Object(rule))
}

fn day(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    ["mo", "tu", "we", "th", "fr", "sa", "su"].contains(&&*text).then_some(text)
}

fn nth_day(text: &str) -> Option<Value> {
    let text = text.trim();
    let at = text.len().checked_sub(2)?;
    let (nth, name) = (text.get(..at)?, day(text.get(at..)?)?);
    let mut found = json!({"@type": "NDay", "day": name});
    if !nth.is_empty() {
        found["nthOfPeriod"] = json!(nth.parse::<i32>().ok().filter(|it| *it != 0)?);
    }
    Some(found)
}

/// The value of RRULE; none for what has no form there.
pub(crate) fn write_rule(rule: &Object, clock: &Clock) -> Option<String> {
    let mut parts = Vec::new();
    let upper = |value: &Value| value.as_str().map(str::to_ascii_uppercase);
    let list = |value: &Value, one: fn(&Value) -> Option<String>| {
        let items: Option<Vec<String>> = value.as_array()?.iter().map(one).collect();
        Some(items?.join(","))
    };
    let number = |value: &Value| value.as_i64().map(|it| it.to_string());
    let order = [
        "rscale",
        "frequency",
        "until",
        "count",
        "interval",
        "byMonth",
        "byWeekNo",
        "byYearDay",
        "byMonthDay",
        "byDay",
        "byHour",
        "byMinute",
        "bySecond",
        "bySetPosition",
        "firstDayOfWeek",
        "skip",
    ];
    for name in order {
        let Some(value) = rule.get(name) else { continue };
        let (name, text) = match name {
            "rscale" => ("RSCALE", upper(value)?),
            "frequency" => ("FREQ", upper(value)?),
            "until" => ("UNTIL", clock.write_until(parse_local(value.as_str()?)?)),
            "count" => ("COUNT", number(value)?),
            "interval" => ("INTERVAL", number(value)?),
            "byDay" => (
                "BYDAY",
                list(value, |day| {
                    let nth = day.get("nthOfPeriod").and_then(Value::as_i64);
                    let nth = nth.map(|it| it.to_string()).unwrap_or_default();
                    Some(nth + &day.get("day")?.as_str()?.to_ascii_uppercase())
                })?,
            ),
            "byMonth" => ("BYMONTH", list(value, |it| Some(it.as_str()?.to_owned()))?),
            "firstDayOfWeek" => ("WKST", upper(value)?),
            "skip" => ("SKIP", upper(value)?),
            other => {
                let (name, _) = NUMBERS.iter().find(|(_, name)| *name == other)?;
                (*name, list(value, |it| it.as_i64().map(|it| it.to_string()))?)
            }
        };
        parts.push(format!("{name}={text}"));
    }
    Some(parts.join(";"))
}
