//! RecurrenceRule objects read from JSON. All ranges are checked here; the expansion trusts them.

use jiff::civil::DateTime;
use serde_json::{Map, Value};

use super::{Frequency, NDay, Rule, RuleError, Skip};

/// A greater interval reaches past the year 9999 from anywhere, even in seconds.
const INTERVAL_MAX: u64 = 1_000_000_000_000;

/// Characters of a wrong value that an error shows.
const FOUND_CHARS_MAX: usize = 60;

struct Reader<'a> {
    object: &'a Map<String, Value>,
    path: &'a str,
}

pub(super) fn rule(value: &Value, path: &str) -> Result<Rule, RuleError> {
    let Value::Object(object) = value else {
        return Err(error(path, "a RecurrenceRule object", value));
    };
    let reader = Reader { object, path };
    reader.fixed("@type", "RecurrenceRule")?;
    reader.fixed("rscale", "gregorian")?;

    let frequency = reader
        .word("frequency", FREQUENCIES)?
        .ok_or_else(|| error(&reader.at("frequency"), &one_of(FREQUENCIES), &Value::Null))?;
    let rule = Rule {
        frequency,
        interval: reader.positive("interval")?.unwrap_or(1).min(INTERVAL_MAX) as i64,
        skip: reader.word("skip", SKIPS)?.unwrap_or(Skip::Omit),
        week_start: reader.word("firstDayOfWeek", WEEKDAYS)?.unwrap_or(0),
        days: reader.days(frequency)?,
        month_days: reader.numbers_around_zero("byMonthDay", 31)?,
        months: reader.months()?,
        year_days: reader.numbers_around_zero("byYearDay", 366)?,
        weeks: reader.numbers_around_zero("byWeekNo", 53)?,
        hours: reader.numbers_from_zero("byHour", 23)?,
        minutes: reader.numbers_from_zero("byMinute", 59)?,
        // 60 is for leap seconds, which no local date-time here has: it never matches.
        seconds: reader.numbers_from_zero("bySecond", 60)?,
        positions: reader.numbers_around_zero("bySetPosition", i32::MAX)?,
        count: reader.positive("count")?,
        until: reader.until()?,
    };
    if rule.count.is_some() && rule.until.is_some() {
        return Err(error(&reader.at("until"), "no until beside a count", &object["until"]));
    }
    Ok(rule)
}

impl Reader<'_> {
    fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    /// A member, where null is as good as absent.
    fn member(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn fixed(&self, name: &str, only: &str) -> Result<(), RuleError> {
        match self.member(name) {
            None => Ok(()),
            Some(Value::String(text)) if text == only => Ok(()),
            Some(other) => {
                Err(error(&self.at(name), &format!("\"{only}\", the only one known"), other))
            }
        }
    }

    fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, RuleError> {
        let Some(value) = self.member(name) else { return Ok(None) };
        words
            .iter()
            .find(|(word, _)| value == word)
            .map(|(_, meaning)| Some(*meaning))
            .ok_or_else(|| error(&self.at(name), &one_of(words), value))
    }

    fn positive(&self, name: &str) -> Result<Option<u64>, RuleError> {
        let Some(value) = self.member(name) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if number > 0 => Ok(Some(number)),
            _ => Err(error(&self.at(name), "a whole number from 1", value)),
        }
    }

    fn until(&self) -> Result<Option<DateTime>, RuleError> {
        let Some(value) = self.member("until") else { return Ok(None) };
        value.as_str().and_then(local_date_time).map(Some).ok_or_else(|| {
            let expected = "a local date-time such as \"2024-04-01T00:00:00\", without zone";
            error(&self.at("until"), expected, value)
        })
    }

    /// The items of a list with their paths; none where it is absent.
    fn items(&self, name: &str) -> Result<Vec<(String, &Value)>, RuleError> {
        match self.member(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) if !items.is_empty() => Ok(items
                .iter()
                .enumerate()
                .map(|(n, item)| (format!("{}/{n}", self.at(name)), item))
                .collect()),
            Some(other) => Err(error(&self.at(name), "a list with at least one item", other)),
        }
    }

    /// Numbers from -max to max without 0, sorted, each once.
    fn numbers_around_zero(&self, name: &str, max: i32) -> Result<Vec<i32>, RuleError> {
        self.numbers(name, &format!("1 to {max} or -{max} to -1"), |number| {
            i32::try_from(number).ok().filter(|n| *n != 0 && n.unsigned_abs() <= max.unsigned_abs())
        })
    }

    /// Numbers from 0 to max, sorted, each once.
    fn numbers_from_zero(&self, name: &str, max: u8) -> Result<Vec<u8>, RuleError> {
        self.numbers(name, &format!("0 to {max}"), |number| {
            u8::try_from(number).ok().filter(|n| *n <= max)
        })
    }

    fn numbers<T: Ord>(
        &self,
        name: &str,
        expected: &str,
        check: impl Fn(i64) -> Option<T>,
    ) -> Result<Vec<T>, RuleError> {
        let mut numbers = Vec::new();
        for (path, item) in self.items(name)? {
            let number = item.as_i64().and_then(&check);
            numbers.push(number.ok_or_else(|| error(&path, expected, item))?);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    fn months(&self) -> Result<u16, RuleError> {
        let mut months = 0;
        for (path, item) in self.items("byMonth")? {
            let month = item
                .as_str()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse::<u16>().ok())
                .filter(|month| (1..=12).contains(month))
                .ok_or_else(|| {
                    let expected = "a month as a string, \"1\" to \"12\" (leap months, with L, are not Gregorian)";
                    error(&path, expected, item)
                })?;
            months |= 1 << month;
        }
        Ok(months)
    }

    fn days(&self, frequency: Frequency) -> Result<Vec<NDay>, RuleError> {
        let mut days: Vec<NDay> = Vec::new();
        for (path, item) in self.items("byDay")? {
            let Value::Object(object) = item else {
                return Err(error(&path, "an NDay object such as {\"day\": \"mo\"}", item));
            };
            let reader = Reader { object, path: &path };
            reader.fixed("@type", "NDay")?;
            let weekday = reader
                .word("day", WEEKDAYS)?
                .ok_or_else(|| error(&reader.at("day"), &one_of(WEEKDAYS), &Value::Null))?;
            let nth = reader.nth(frequency)?;
            let day = NDay { weekday, nth };
            if !days.contains(&day) {
                days.push(day);
            }
        }
        Ok(days)
    }

    fn nth(&self, frequency: Frequency) -> Result<Option<i32>, RuleError> {
        let Some(value) = self.member("nthOfPeriod") else { return Ok(None) };
        let path = self.at("nthOfPeriod");
        if frequency > Frequency::Monthly {
            return Err(error(
                &path,
                "none, as the frequency is neither monthly nor yearly",
                value,
            ));
        }
        match value.as_i64() {
            Some(nth) if nth != 0 && (-53..=53).contains(&nth) => Ok(Some(nth as i32)),
            _ => Err(error(&path, "1 to 53 or -53 to -1", value)),
        }
    }
}

const FREQUENCIES: &[(&str, Frequency)] = &[
    ("yearly", Frequency::Yearly),
    ("monthly", Frequency::Monthly),
    ("weekly", Frequency::Weekly),
    ("daily", Frequency::Daily),
    ("hourly", Frequency::Hourly),
    ("minutely", Frequency::Minutely),
    ("secondly", Frequency::Secondly),
];

const SKIPS: &[(&str, Skip)] =
    &[("omit", Skip::Omit), ("backward", Skip::Backward), ("forward", Skip::Forward)];

const WEEKDAYS: &[(&str, u8)] =
    &[("mo", 0), ("tu", 1), ("we", 2), ("th", 3), ("fr", 4), ("sa", 5), ("su", 6)];

fn one_of<T>(words: &[(&str, T)]) -> String {
    let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    format!("one of {}", words.join(", "))
}

fn error(path: &str, expected: &str, found: &Value) -> RuleError {
    let found = match found {
        Value::Null => "nothing".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => other.to_string().chars().take(FOUND_CHARS_MAX).collect(),
    };
    RuleError { path: path.to_owned(), expected: expected.to_owned(), found }
}

/// A LocalDateTime (RFC 8984, 1.4.4): `2024-04-01T00:00:00`, and perhaps a fraction.
pub(crate) fn local_date_time(text: &str) -> Option<DateTime> {
    let bytes = text.as_bytes();
    let is_sound = bytes.len() >= 19
        && bytes[..19].iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            10 => *byte == b'T',
            13 | 16 => *byte == b':',
            _ => byte.is_ascii_digit(),
        })
        && (bytes.len() == 19 || (bytes.len() > 20 && bytes[19] == b'.'))
        && bytes.iter().skip(20).all(u8::is_ascii_digit)
        && &bytes[17..19] != b"60";
    if is_sound { text.parse().ok() } else { None }
}
