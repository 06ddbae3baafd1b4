//! What rules mean, told by examples: those of RFC 5545, 3.8.5.3, as JSCalendar, and the corners.

#![allow(clippy::unwrap_used)]

use fasti_calendar::{Rule, RuleError};
use jiff::civil::DateTime;
use serde_json::{Value, json};

fn rule(json: Value) -> Rule {
    Rule::from_json(&json, "recurrenceRules/0").unwrap()
}

fn time(text: &str) -> DateTime {
    text.parse().unwrap()
}

/// The first occurrences as text, one more than wanted, so that an end shows.
fn first(start: &str, json: Value, n: usize) -> Vec<String> {
    rule(json).occurrences(time(start)).take(n).map(|at| at.to_string()).collect()
}

/// Dates written short: `1997-09 2 16 30; 1998-01 5`.
fn dates(text: &str) -> Vec<String> {
    let mut dates = Vec::new();
    for month in text.split(';') {
        let mut words = month.split_whitespace();
        let month = words.next().unwrap();
        dates.extend(words.map(|day| format!("{month}-{day:0>2}T09:00:00")));
    }
    dates
}

fn day(day: &str) -> Value {
    json!({ "@type": "NDay", "day": day })
}

fn nth(nth: i32, day: &str) -> Value {
    json!({ "@type": "NDay", "day": day, "nthOfPeriod": nth })
}

/// Compares the first occurrences; a list that is whole ends with `end`.
fn expect(start: &str, json: Value, wanted: &str) {
    let (wanted, is_whole) = match wanted.strip_suffix(" end") {
        Some(wanted) => (wanted, true),
        None => (wanted, false),
    };
    let wanted = dates(wanted);
    let mut found = first(start, json.clone(), wanted.len() + usize::from(is_whole));
    if !is_whole {
        found.truncate(wanted.len());
    }
    assert_eq!(found, wanted, "{json}");
}

const SEPTEMBER_2: &str = "1997-09-02T09:00:00";

#[test]
fn the_examples_of_rfc_5545_by_days_and_weeks() {
    expect(
        SEPTEMBER_2,
        json!({ "frequency": "daily", "count": 10 }),
        "1997-09 2 3 4 5 6 7 8 9 10 11 end",
    );
    let until = json!({ "frequency": "daily", "until": "1997-12-24T00:00:00" });
    assert_eq!(first(SEPTEMBER_2, until, 1000).len(), 113);
    expect(
        SEPTEMBER_2,
        json!({ "frequency": "daily", "interval": 2 }),
        "1997-09 2 4 6 8 10 12 14 16 18 20 22 24 26 28 30; 1997-10 2 4",
    );
    expect(
        SEPTEMBER_2,
        json!({ "frequency": "daily", "interval": 10, "count": 5 }),
        "1997-09 2 12 22; 1997-10 2 12 end",
    );
    let january = |frequency: &str, more: Value| {
        let mut rule =
            json!({ "frequency": frequency, "byMonth": ["1"], "until": "2000-01-31T09:00:00" });
        rule.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        first("1998-01-01T09:00:00", rule, 1000)
    };
    let all = ["mo", "tu", "we", "th", "fr", "sa", "su"].map(day);
    assert_eq!(january("daily", json!({})).len(), 93);
    assert_eq!(january("daily", json!({})), january("yearly", json!({ "byDay": all })));
    expect(
        SEPTEMBER_2,
        json!({ "frequency": "weekly", "count": 10 }),
        "1997-09 2 9 16 23 30; 1997-10 7 14 21 28; 1997-11 4 end",
    );
    let until = json!({ "frequency": "weekly", "until": "1997-12-24T00:00:00" });
    assert_eq!(first(SEPTEMBER_2, until, 1000).len(), 17);
    expect(
        SEPTEMBER_2,
        json!({ "frequency": "weekly", "interval": 2, "firstDayOfWeek": "su" }),
        "1997-09 2 16 30; 1997-10 14 28; 1997-11 11 25; 1997-12 9 23; 1998-01 6 20",
    );
    expect(
        SEPTEMBER_2,
        json!({
            "frequency": "weekly", "count": 10, "firstDayOfWeek": "su",
            "byDay": [day("tu"), day("th")],
        }),
        "1997-09 2 4 9 11 16 18 23 25 30; 1997-10 2 end",
    );
    expect(
        "1997-09-01T09:00:00",
        json!({
            "frequency": "weekly", "interval": 2, "until": "1997-12-23T23:59:59",
            "firstDayOfWeek": "su", "byDay": [day("mo"), day("we"), day("fr")],
        }),
        "1997-09 1 3 5 15 17 19 29; 1997-10 1 3 13 15 17 27 29 31; 1997-11 10 12 14 24 26 28; \
         1997-12 8 10 12 22 end",
    );
    expect(
        SEPTEMBER_2,
        json!({
            "frequency": "weekly", "interval": 2, "count": 8, "firstDayOfWeek": "su",
            "byDay": [day("tu"), day("th")],
        }),
        "1997-09 2 4 16 18 30; 1997-10 2 14 16 end",
    );
    let from = |first_day: &str| {
        json!({
            "frequency": "weekly", "interval": 2, "count": 4, "firstDayOfWeek": first_day,
            "byDay": [day("tu"), day("su")],
        })
    };
    expect("1997-08-05T09:00:00", from("mo"), "1997-08 5 10 19 24 end");
    expect("1997-08-05T09:00:00", from("su"), "1997-08 5 17 19 31 end");
}

#[test]
fn the_examples_of_rfc_5545_by_months() {
    expect(
        "1997-09-05T09:00:00",
        json!({ "frequency": "monthly", "count": 10, "byDay": [nth(1, "fr")] }),
        "1997-09 5; 1997-10 3; 1997-11 7; 1997-12 5; 1998-01 2; 1998-02 6; 1998-03 6; 1998-04 3; \
         1998-05 1; 1998-06 5 end",
    );
    expect(
        "1997-09-05T09:00:00",
        json!({ "frequency": "monthly", "until": "1997-12-24T00:00:00", "byDay": [nth(1, "fr")] }),
        "1997-09 5; 1997-10 3; 1997-11 7; 1997-12 5 end",
    );
    expect(
        "1997-09-07T09:00:00",
        json!({
            "frequency": "monthly", "interval": 2, "count": 10,
            "byDay": [nth(1, "su"), nth(-1, "su")],
        }),
        "1997-09 7 28; 1997-11 2 30; 1998-01 4 25; 1998-03 1 29; 1998-05 3 31 end",
    );
    expect(
        "1997-09-22T09:00:00",
        json!({ "frequency": "monthly", "count": 6, "byDay": [nth(-2, "mo")] }),
        "1997-09 22; 1997-10 20; 1997-11 17; 1997-12 22; 1998-01 19; 1998-02 16 end",
    );
    expect(
        "1997-09-28T09:00:00",
        json!({ "frequency": "monthly", "byMonthDay": [-3] }),
        "1997-09 28; 1997-10 29; 1997-11 28; 1997-12 29; 1998-01 29; 1998-02 26",
    );
    expect(
        SEPTEMBER_2,
        json!({ "frequency": "monthly", "count": 10, "byMonthDay": [2, 15] }),
        "1997-09 2 15; 1997-10 2 15; 1997-11 2 15; 1997-12 2 15; 1998-01 2 15 end",
    );
    expect(
        "1997-09-30T09:00:00",
        json!({ "frequency": "monthly", "count": 10, "byMonthDay": [1, -1] }),
        "1997-09 30; 1997-10 1 31; 1997-11 1 30; 1997-12 1 31; 1998-01 1 31; 1998-02 1 end",
    );
    expect(
        "1997-09-10T09:00:00",
        json!({
            "frequency": "monthly", "interval": 18, "count": 10,
            "byMonthDay": [10, 11, 12, 13, 14, 15],
        }),
        "1997-09 10 11 12 13 14 15; 1999-03 10 11 12 13 end",
    );
    expect(
        SEPTEMBER_2,
        json!({ "frequency": "monthly", "interval": 2, "byDay": [day("tu")] }),
        "1997-09 2 9 16 23 30; 1997-11 4 11 18 25; 1998-01 6 13 20 27; 1998-03 3 10 17 24 31",
    );
    // The example excludes its start, which is no Friday the 13th, and which counts otherwise.
    expect(
        SEPTEMBER_2,
        json!({ "frequency": "monthly", "byDay": [day("fr")], "byMonthDay": [13] }),
        "1997-09 2; 1998-02 13; 1998-03 13; 1998-11 13; 1999-08 13; 2000-10 13",
    );
    expect(
        "1997-09-13T09:00:00",
        json!({
            "frequency": "monthly", "byDay": [day("sa")], "byMonthDay": [7, 8, 9, 10, 11, 12, 13],
        }),
        "1997-09 13; 1997-10 11; 1997-11 8; 1997-12 13; 1998-01 10; 1998-02 7; 1998-03 7; \
         1998-04 11; 1998-05 9; 1998-06 13",
    );
    expect(
        "1997-09-04T09:00:00",
        json!({
            "frequency": "monthly", "count": 3, "bySetPosition": [3],
            "byDay": [day("tu"), day("we"), day("th")],
        }),
        "1997-09 4; 1997-10 7; 1997-11 6 end",
    );
    expect(
        "1997-09-29T09:00:00",
        json!({
            "frequency": "monthly", "bySetPosition": [-2],
            "byDay": [day("mo"), day("tu"), day("we"), day("th"), day("fr")],
        }),
        "1997-09 29; 1997-10 30; 1997-11 27; 1997-12 30; 1998-01 29; 1998-02 26; 1998-03 30",
    );
    expect(
        "2007-01-15T09:00:00",
        json!({ "frequency": "monthly", "count": 5, "byMonthDay": [15, 30] }),
        "2007-01 15 30; 2007-02 15; 2007-03 15 30 end",
    );
}

#[test]
fn the_examples_of_rfc_5545_by_years() {
    expect(
        "1997-06-10T09:00:00",
        json!({ "frequency": "yearly", "count": 10, "byMonth": ["6", "7"] }),
        "1997-06 10; 1997-07 10; 1998-06 10; 1998-07 10; 1999-06 10; 1999-07 10; 2000-06 10; \
         2000-07 10; 2001-06 10; 2001-07 10 end",
    );
    expect(
        "1997-03-10T09:00:00",
        json!({ "frequency": "yearly", "interval": 2, "count": 10, "byMonth": ["1", "2", "3"] }),
        "1997-03 10; 1999-01 10; 1999-02 10; 1999-03 10; 2001-01 10; 2001-02 10; 2001-03 10; \
         2003-01 10; 2003-02 10; 2003-03 10 end",
    );
    expect(
        "1997-01-01T09:00:00",
        json!({ "frequency": "yearly", "interval": 3, "count": 10, "byYearDay": [1, 100, 200] }),
        "1997-01 1; 1997-04 10; 1997-07 19; 2000-01 1; 2000-04 9; 2000-07 18; 2003-01 1; \
         2003-04 10; 2003-07 19; 2006-01 1 end",
    );
    expect(
        "1997-05-19T09:00:00",
        json!({ "frequency": "yearly", "byDay": [nth(20, "mo")] }),
        "1997-05 19; 1998-05 18; 1999-05 17",
    );
    expect(
        "1997-05-12T09:00:00",
        json!({ "frequency": "yearly", "byWeekNo": [20], "byDay": [day("mo")] }),
        "1997-05 12; 1998-05 11; 1999-05 17",
    );
    expect(
        "1997-03-13T09:00:00",
        json!({ "frequency": "yearly", "byMonth": ["3"], "byDay": [day("th")] }),
        "1997-03 13 20 27; 1998-03 5 12 19 26; 1999-03 4 11 18 25",
    );
    expect(
        "1997-06-05T09:00:00",
        json!({ "frequency": "yearly", "byMonth": ["6", "7", "8"], "byDay": [day("th")] }),
        "1997-06 5 12 19 26; 1997-07 3 10 17 24 31; 1997-08 7 14 21 28; 1998-06 4 11 18 25",
    );
    expect(
        "1996-11-05T09:00:00",
        json!({
            "frequency": "yearly", "interval": 4, "byMonth": ["11"], "byDay": [day("tu")],
            "byMonthDay": [2, 3, 4, 5, 6, 7, 8],
        }),
        "1996-11 5; 2000-11 7; 2004-11 2",
    );
}

#[test]
fn the_examples_of_rfc_5545_within_days() {
    assert_eq!(
        first(
            SEPTEMBER_2,
            json!({ "frequency": "hourly", "interval": 3, "until": "1997-09-02T17:00:00" }),
            9
        ),
        ["1997-09-02T09:00:00", "1997-09-02T12:00:00", "1997-09-02T15:00:00"]
    );
    let times = |json: Value, n: usize| -> Vec<String> {
        first(SEPTEMBER_2, json, n).iter().map(|at| at[8..16].to_owned()).collect()
    };
    assert_eq!(
        times(json!({ "frequency": "minutely", "interval": 15, "count": 6 }), 9),
        ["02T09:00", "02T09:15", "02T09:30", "02T09:45", "02T10:00", "02T10:15"]
    );
    assert_eq!(
        times(json!({ "frequency": "minutely", "interval": 90, "count": 4 }), 9),
        ["02T09:00", "02T10:30", "02T12:00", "02T13:30"]
    );
    let hours: Vec<u8> = (9..=16).collect();
    let daily = json!({ "frequency": "daily", "byHour": hours, "byMinute": [0, 20, 40] });
    let minutely = json!({ "frequency": "minutely", "interval": 20, "byHour": hours });
    assert_eq!(times(daily.clone(), 25)[22..], ["02T16:20", "02T16:40", "03T09:00"]);
    assert_eq!(times(daily, 1000), times(minutely, 1000));
}

#[test]
fn the_start_is_first_and_counts_even_where_it_does_not_match() {
    let fridays = json!({ "frequency": "weekly", "byDay": [day("fr")], "count": 3 });
    expect(SEPTEMBER_2, fridays.clone(), "1997-09 2 5 12 end");
    let excluded: Vec<_> = rule(fridays).exclusions(time(SEPTEMBER_2)).collect();
    let wanted: Vec<DateTime> = dates("1997-09 5 12 19").iter().map(|at| time(at)).collect();
    assert_eq!(excluded, wanted);
    expect(
        SEPTEMBER_2,
        json!({ "frequency": "daily", "until": "1990-01-01T00:00:00" }),
        "1997-09 2 end",
    );
}

#[test]
fn what_a_rule_leaves_unsaid_is_taken_from_the_start() {
    expect(
        "2024-05-17T09:00:00",
        json!({ "frequency": "yearly", "byMonthDay": [1, 17] }),
        "2024-05 17; 2025-05 1 17; 2026-05 1",
    );
    expect(
        "2024-05-17T09:00:00",
        json!({ "frequency": "yearly", "byWeekNo": [20] }),
        "2024-05 17; 2025-05 16; 2026-05 15",
    );
    let fraction = first("2024-05-17T09:00:00.5", json!({ "frequency": "daily" }), 2);
    assert_eq!(fraction, ["2024-05-17T09:00:00.5", "2024-05-18T09:00:00.5"]);
}

#[test]
fn leap_days_come_when_the_calendar_has_them() {
    let yearly = json!({ "frequency": "yearly" });
    expect("2096-02-29T09:00:00", yearly, "2096-02 29; 2104-02 29; 2108-02 29");
    let last = json!({ "frequency": "yearly", "byYearDay": [366], "interval": 100 });
    expect("2000-12-31T09:00:00", last, "2000-12 31; 2400-12 31; 2800-12 31");
    let end = json!({ "frequency": "yearly", "interval": 3000 });
    expect("2000-02-29T09:00:00", end, "2000-02 29; 8000-02 29 end");
}

#[test]
fn days_that_a_month_lacks_are_omitted_or_moved() {
    let monthly = |skip: &str| json!({ "frequency": "monthly", "skip": skip });
    let start = "2023-01-31T09:00:00";
    expect(start, monthly("omit"), "2023-01 31; 2023-03 31; 2023-05 31");
    expect(start, monthly("backward"), "2023-01 31; 2023-02 28; 2023-03 31; 2023-04 30");
    expect(start, monthly("forward"), "2023-01 31; 2023-03 1 31; 2023-05 1 31; 2023-07 1");
    let twice = json!({ "frequency": "monthly", "skip": "forward", "byMonthDay": [1, 30, 31] });
    expect(start, twice, "2023-01 31; 2023-02 1; 2023-03 1 30 31; 2023-04 1 30; 2023-05 1 30 31");
    let sparse =
        json!({ "frequency": "monthly", "skip": "forward", "interval": 12, "byMonthDay": [31] });
    expect("2023-02-01T09:00:00", sparse, "2023-02 1; 2023-03 1; 2024-03 1; 2025-03 1");
    let sparse =
        json!({ "frequency": "monthly", "skip": "forward", "interval": 2, "byMonthDay": [31] });
    expect("2023-02-01T09:00:00", sparse, "2023-02 1; 2023-03 1; 2023-05 1; 2023-07 1; 2023-08 31");
    let birthday = |skip: &str| json!({ "frequency": "yearly", "skip": skip });
    expect("2024-02-29T09:00:00", birthday("backward"), "2024-02 29; 2025-02 28; 2026-02 28");
    expect("2024-02-29T09:00:00", birthday("forward"), "2024-02 29; 2025-03 1; 2026-03 1");
}

#[test]
fn moved_days_keep_their_place_among_the_times_of_the_next_month() {
    let json = json!({
        "frequency": "monthly", "skip": "forward", "byMonthDay": [1, 30], "byHour": [8, 20],
        "bySetPosition": [1, -1],
    });
    let found = first("2023-02-01T08:00:00", json, 6);
    let wanted = ["02-01T08", "03-01T08", "03-01T20", "03-30T20", "04-01T08", "04-30T20"];
    assert_eq!(found, wanted.map(|at| format!("2023-{at}:00:00")));
}

#[test]
fn rules_that_match_nothing_end() {
    for (json, n) in [
        (json!({ "frequency": "yearly", "byMonth": ["2"], "byMonthDay": [30] }), 1),
        (json!({ "frequency": "daily", "byMonth": ["2"], "byMonthDay": [30] }), 1),
        (json!({ "frequency": "secondly", "byMonth": ["2"], "byMonthDay": [30] }), 1),
        (json!({ "frequency": "secondly", "interval": 2, "bySecond": [1] }), 1),
        (json!({ "frequency": "minutely", "interval": 1440, "byHour": [10] }), 1),
        (json!({ "frequency": "hourly", "interval": 48, "byHour": [10] }), 1),
        (json!({ "frequency": "daily", "bySecond": [60] }), 1),
        (json!({ "frequency": "weekly", "bySetPosition": [8] }), 1),
        (json!({ "frequency": "yearly", "interval": 1_000_000_000_000_u64 }), 1),
        (json!({ "frequency": "secondly", "interval": u64::MAX }), 1),
    ] {
        assert_eq!(rule(json.clone()).occurrences(time(SEPTEMBER_2)).count(), n, "{json}");
    }
}

#[test]
fn a_year_of_seconds_takes_no_room() {
    let all = |n: u8| (0..n).collect::<Vec<_>>();
    let all_days = ["mo", "tu", "we", "th", "fr", "sa", "su"].map(day);
    let json = json!({
        "frequency": "yearly", "byDay": all_days,
        "byHour": all(24), "byMinute": all(60), "bySecond": all(60), "bySetPosition": [-1, 2, 31_536_000],
    });
    let found = first("2023-01-01T00:00:00", json, 5);
    assert_eq!(
        found,
        [
            "2023-01-01T00:00:00",
            "2023-01-01T00:00:01",
            "2023-12-31T23:59:59",
            "2024-01-01T00:00:01",
            "2024-12-30T23:59:59",
        ]
    );
}

#[test]
fn a_later_range_is_what_stepping_there_would_find() {
    for json in [
        json!({ "frequency": "yearly", "interval": 3, "byMonth": ["2", "9"], "byMonthDay": [29, 3] }),
        json!({ "frequency": "monthly", "interval": 5, "skip": "forward", "byMonthDay": [31] }),
        json!({ "frequency": "weekly", "interval": 3, "byDay": [day("su"), day("mo")] }),
        json!({ "frequency": "daily", "interval": 11, "byHour": [0, 12, 23] }),
        json!({ "frequency": "hourly", "interval": 17, "byDay": [day("tu")] }),
        json!({ "frequency": "daily", "interval": 3, "count": 400 }),
    ] {
        let rule = rule(json.clone());
        let start = time(SEPTEMBER_2);
        let all: Vec<_> =
            rule.occurrences(start).take_while(|at| *at < time("2004-01-01T00:00:00")).collect();
        for from in [start, time("1997-09-02T09:00:01"), time("1999-03-01T09:00:00"), all[7]] {
            for days in [0, 1, 40, 400] {
                let to = from.checked_add(jiff::Span::new().days(days)).unwrap();
                let found: Vec<_> = rule.occurrences_between(start, from, to).collect();
                let wanted: Vec<_> =
                    all.iter().copied().filter(|at| (from..to).contains(at)).collect();
                assert_eq!(found, wanted, "{json} from {from} for {days} days");
            }
        }
    }
    // What a skip moved into the range comes from the period before it.
    let moved = rule(json!({ "frequency": "monthly", "skip": "forward" }));
    let march = time("2023-03-01T00:00:00")..time("2023-03-02T00:00:00");
    let start = time("2023-01-31T09:00:00");
    let found: Vec<_> = moved.occurrences_between(start, march.start, march.end).collect();
    assert_eq!(found, [time("2023-03-01T09:00:00")]);
    let century = rule(json!({ "frequency": "secondly" }));
    let from = time("9999-12-31T23:59:58");
    assert_eq!(century.occurrences_between(time(SEPTEMBER_2), from, DateTime::MAX).count(), 2);
}

#[test]
fn errors_name_the_property_and_what_it_may_be() {
    for (json, wanted) in [
        (json!([]), "r: expected a RecurrenceRule object, found a list"),
        (
            json!({}),
            "r/frequency: expected one of \"yearly\", \"monthly\", \"weekly\", \"daily\", \"hourly\", \"minutely\", \"secondly\", found nothing",
        ),
        (
            json!({ "frequency": "daily", "rscale": "hebrew" }),
            "r/rscale: expected \"gregorian\", the only one known, found \"hebrew\"",
        ),
        (
            json!({ "frequency": "daily", "interval": 0 }),
            "r/interval: expected a whole number from 1, found 0",
        ),
        (
            json!({ "frequency": "daily", "byMonth": ["5L"] }),
            "r/byMonth/0: expected a month as a string, \"1\" to \"12\" (leap months, with L, are not Gregorian), found \"5L\"",
        ),
        (
            json!({ "frequency": "daily", "byMonthDay": [1, 0] }),
            "r/byMonthDay/1: expected 1 to 31 or -31 to -1, found 0",
        ),
        (
            json!({ "frequency": "daily", "byHour": [] }),
            "r/byHour: expected a list with at least one item, found a list",
        ),
        (
            json!({ "frequency": "weekly", "byDay": [{ "day": "mo", "nthOfPeriod": 2 }] }),
            "r/byDay/0/nthOfPeriod: expected none, as the frequency is neither monthly nor yearly, found 2",
        ),
        (
            json!({ "frequency": "daily", "count": 2, "until": "2024-01-01T00:00:00" }),
            "r/until: expected no until beside a count, found \"2024-01-01T00:00:00\"",
        ),
        (
            json!({ "frequency": "daily", "until": "2024-01-01T00:00:00Z" }),
            "r/until: expected a local date-time such as \"2024-04-01T00:00:00\", without zone, found \"2024-01-01T00:00:00Z\"",
        ),
    ] {
        let error: RuleError = Rule::from_json(&json, "r").unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
}
