//! Events that nobody means: they must not panic, hang or take memory without bound.

#![allow(clippy::unwrap_used)]

#[path = "support/dice.rs"]
mod dice;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fasti_calendar::{Agenda, Rule, Series, Zone, split};
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::{Map, Value, json};

use dice::Dice;

const EVENTS: usize = 1_200;
const SEED: u64 = 8984;

/// Far more than any one takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

fn number(dice: &mut Dice) -> Value {
    match dice.between(0, 5) {
        0 => dice
            .pick(&[json!(i64::MIN), json!(i64::MAX), json!(u64::MAX), json!(0), json!(0.5)])
            .clone(),
        1 => dice.between(-400, 400).into(),
        _ => dice.between(1, 31).into(),
    }
}

fn time(dice: &mut Dice) -> Value {
    json!(*dice.pick(&[
        "2024-02-29T00:00:00",
        "2024-03-10T02:30:00",
        "0000-01-01T00:00:00",
        "9999-12-31T23:59:59",
        "2024-01-01T00:00:00.999999999",
        "2024-12-31T23:59:60",
        "2024-13-01T00:00:00",
        "2024-01-01",
        "",
        "2024-01-01T00:00:00Z",
        "\u{e9}024-01-01T00:00:00",
        "-001-01-01T00:00:00",
    ]))
}

fn anything(dice: &mut Dice) -> Value {
    match dice.between(0, 6) {
        0 => Value::Null,
        1 => true.into(),
        2 => number(dice),
        3 => time(dice),
        4 => json!([]),
        5 => json!({ "a": {} }),
        _ => json!([number(dice), time(dice)]),
    }
}

fn list(dice: &mut Dice, one: impl Fn(&mut Dice) -> Value) -> Value {
    (0..dice.between(1, 6)).map(|_| one(dice)).collect::<Vec<_>>().into()
}

fn rule(dice: &mut Dice) -> Value {
    let frequencies = ["yearly", "monthly", "weekly", "daily", "hourly", "minutely", "secondly"];
    let mut rule = json!({ "frequency": *dice.pick(&frequencies) });
    for name in
        ["byMonthDay", "byYearDay", "byWeekNo", "byHour", "byMinute", "bySecond", "bySetPosition"]
    {
        if dice.chance(20) {
            let small = |dice: &mut Dice| dice.between(1, 23).into();
            rule[name] = if dice.chance(90) { list(dice, small) } else { list(dice, number) };
        }
    }
    if dice.chance(30) {
        rule["byMonth"] = list(dice, |dice| dice.between(1, 12).to_string().into());
    }
    if dice.chance(30) {
        rule["byDay"] = list(dice, |dice| json!({ "day": *dice.pick(&["mo", "sa", "su"]) }));
    }
    for (name, percent) in [("interval", 40), ("count", 30)] {
        if dice.chance(percent) {
            rule[name] = if dice.chance(80) { dice.between(1, 5000).into() } else { number(dice) };
        }
    }
    if dice.chance(10) {
        rule["until"] = time(dice);
    }
    if dice.chance(20) {
        rule["skip"] = (*dice.pick(&["omit", "backward", "forward", "sideways"])).into();
    }
    if dice.chance(5) {
        rule[*dice.pick(&["byDay", "byMonth", "firstDayOfWeek", "rscale", "@type"])] =
            anything(dice);
    }
    rule
}

fn event(dice: &mut Dice) -> Map<String, Value> {
    let mut event = Map::new();
    let mut set = |name: &str, value: Value| drop(event.insert(name.into(), value));
    set("start", if dice.chance(70) { "2024-02-29T10:00:00".into() } else { time(dice) });
    set("@type", (*dice.pick(&["Event", "Task"])).into());
    set(
        "duration",
        (*dice.pick(&[
            "PT1H",
            "P1D",
            "P9999999D",
            "PT99999999999999999999H",
            "P1Y",
            "-P1D",
            "PT631107417600S",
            "",
        ]))
        .into(),
    );
    set(
        "timeZone",
        dice.pick(&[Value::Null, "America/New_York".into(), "/own".into(), json!(1)]).clone(),
    );
    if dice.chance(30) {
        set("due", time(dice));
    }
    for name in ["recurrenceRules", "excludedRecurrenceRules"] {
        if dice.chance(60) {
            set(name, if dice.chance(95) { list(dice, rule) } else { anything(dice) });
        }
    }
    if dice.chance(40) {
        let mut overrides = Map::new();
        for _ in 0..dice.between(1, 5) {
            let key = time(dice).as_str().unwrap_or_default().to_owned();
            let pointer =
                *dice.pick(&["start", "due", "duration", "timeZone", "excluded", "a/b", "~", ""]);
            overrides.insert(
                key,
                if dice.chance(90) { json!({ pointer: anything(dice) }) } else { anything(dice) },
            );
        }
        set("recurrenceOverrides", overrides.into());
    }
    let observance = |dice: &mut Dice| {
        json!([{
            "start": time(dice), "offsetFrom": *dice.pick(&["+0100", "-23:59:59", "+99", "+0é"]),
            "offsetTo": *dice.pick(&["+0200", "-0000", "+2359"]), "recurrenceRules": list(dice, rule),
        }])
    };
    set(
        "timeZones",
        json!({ "/own": { "standard": observance(dice), "daylight": observance(dice) } }),
    );
    event
}

#[test]
fn events_that_nobody_means_end_in_time() {
    let mut dice = Dice::new(SEED);
    let zone = Zone::iana("Europe/Berlin").unwrap();
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    let ranges = [
        Timestamp::MIN..Timestamp::MAX,
        at("2024-02-01T00:00:00Z")..at("2024-04-01T00:00:00Z"),
        at("9999-12-30T00:00:00Z")..at("9999-12-30T20:00:00Z"),
        at("2025-01-01T00:00:00Z")..at("2024-01-01T00:00:00Z"),
    ];
    let mut agenda = Agenda::new();
    let mut slowest = Duration::ZERO;
    let mut found = 0;
    for n in 0..EVENTS {
        let event = event(&mut dice);
        let told = Value::from(event.clone()).to_string();
        let begin = Instant::now();
        // By itself, a rule that matches nothing is searched for until the year 9999.
        if let Some(Value::Array(rules)) = event.get("recurrenceRules")
            && n % 8 == 0
        {
            for rule in rules.iter().filter_map(|rule| Rule::from_json(rule, "").ok()) {
                let start: DateTime = "2024-02-29T10:00:00".parse().unwrap();
                found += rule.occurrences(start).take(50).count();
            }
        }
        let event = Arc::new(event);
        if let Ok(series) = Series::new(Arc::clone(&event)) {
            for range in &ranges {
                let items = series.occurrences(range.clone(), &zone, 50).occurrences;
                assert!(items.len() <= 50, "{told}");
                for item in &items {
                    assert!(item.starts_at <= item.ends_at, "{told}");
                    series.instance(item.recurrence_id);
                }
                if let Some(item) = items.get(2) {
                    let _ = split(&event, item.recurrence_id, "rest");
                }
            }
        }
        let _ = agenda.insert(&format!("{}", n % 50), event);
        let took = begin.elapsed();
        assert!(took < PATIENCE, "{took:?} for {told}");
        slowest = slowest.max(took);
    }
    let page = agenda.query(ranges[1].clone(), &zone, 100);
    assert!(page.items.len() <= 100);
    println!("{EVENTS} events, {found} occurrences of their rules; the slowest took {slowest:?}");
}
