//! How long an agenda takes: 10,000 events, a tenth of them recurring, asked for a month at a time.
//!
//! `cargo run --release -p fasti-calendar --example agenda`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use fasti_calendar::{Agenda, Zone};
use jiff::ToSpan as _;
use jiff::civil::date;
use serde_json::{Value, json};

const EVENTS: u64 = 10_000;
/// How often each month is asked for.
const RUNS: usize = 15;

/// What recurring events mostly are, and some that are dear.
fn rule(n: u64) -> Value {
    let day = ["mo", "tu", "we", "th", "fr"][(n % 5) as usize];
    match n % 10 {
        0..=3 => json!({ "frequency": "weekly" }),
        4 => json!({ "frequency": "weekly", "interval": 2, "byDay": [{ "day": day }] }),
        5 => json!({ "frequency": "daily", "count": 200 + n % 300 }),
        6 => {
            json!({ "frequency": "weekly", "byDay": [{ "day": "mo" }, { "day": "we" }, { "day": "fr" }] })
        }
        7 => json!({ "frequency": "monthly", "byDay": [{ "day": day, "nthOfPeriod": 2 }] }),
        8 => json!({ "frequency": "monthly", "byMonthDay": [-1] }),
        _ => json!({ "frequency": "yearly" }),
    }
}

fn event(n: u64) -> Value {
    // Spread over six years without any order.
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    let start = date(2021, 1, 1)
        .at((7 + mixed % 12) as i8, 0, 0, 0)
        .checked_add(((mixed / 12 % 2190) as i64).days())
        .expect("it is far from the end of time");
    let zone = ["America/Denver", "Europe/Berlin", "America/New_York"][(n % 3) as usize];
    let mut event = json!({
        "@type": "Event", "uid": format!("event-{n}"), "title": "Meeting", "start": start.to_string(),
        "duration": "PT1H", "timeZone": zone,
    });
    if n.is_multiple_of(10) {
        event["recurrenceRules"] = json!([rule(n / 10)]);
    }
    event
}

fn main() {
    let events: Vec<_> = (0..EVENTS)
        .map(|n| match event(n) {
            Value::Object(event) => (format!("event-{n}"), Arc::new(event)),
            _ => unreachable!("made an object above"),
        })
        .collect();
    let begin = Instant::now();
    let mut agenda = Agenda::new();
    for (uid, event) in &events {
        agenda.insert(uid, Arc::clone(event)).expect("it has a start");
    }
    println!("{EVENTS} events put in: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);

    let zone = Zone::iana("America/Denver").expect("it is built in");
    // Each month's median, so that what else the machine does meanwhile doesn't show.
    let mut months: Vec<(f64, usize)> = (0..72)
        .map(|month| {
            let first = date(2021 + month / 12, (month % 12 + 1) as i8, 1).at(0, 0, 0, 0);
            let next = first.checked_add(1.month()).expect("it is far from the end of time");
            let at = |local| zone.to_timestamp(local).expect("it is far from the ends of time");
            let range = at(first)..at(next);
            let mut found = 0;
            let mut millis: Vec<f64> = (0..RUNS)
                .map(|_| {
                    let begin = Instant::now();
                    found = black_box(agenda.query(range.clone(), &zone, usize::MAX)).items.len();
                    begin.elapsed().as_secs_f64() * 1e3
                })
                .collect();
            millis.sort_by(f64::total_cmp);
            (millis[RUNS / 2], found)
        })
        .collect();
    months.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (median, slowest) = (months[months.len() / 2], months[months.len() - 1]);
    println!(
        "a month of them, in the median: {:.2} ms for {} occurrences; the slowest: {:.2} ms for {}",
        median.0, median.1, slowest.0, slowest.1,
    );

    let begin = Instant::now();
    for (uid, event) in events.iter().step_by(10) {
        agenda.insert(uid, Arc::clone(event)).expect("it has a start");
    }
    let micros = begin.elapsed().as_secs_f64() * 1e6 / (EVENTS / 10) as f64;
    println!("a recurring event replaced: {micros:.1} µs");
}
