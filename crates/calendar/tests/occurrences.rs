//! When events take place: zones and their changes, durations, exclusions, overrides, and splitting.

#![allow(clippy::unwrap_used)]

#[path = "support/dice.rs"]
mod dice;

use std::ops::Range;
use std::sync::Arc;

use fasti_calendar::{
    Agenda, Anchor, Found, Object, Occurrence, Problem, Series, SeriesError, SplitError, Zone,
    split,
};
use jiff::civil::DateTime;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use dice::Dice;

fn object(json: Value) -> Object {
    json.as_object().cloned().unwrap()
}

fn series(json: Value) -> Series {
    Series::new(Arc::new(object(json))).unwrap()
}

fn sound(json: Value) -> Series {
    let series = series(json);
    assert_eq!(series.problems(), &[]);
    series
}

fn range(from: &str, to: &str) -> Range<Timestamp> {
    let at = |text: &str| text.parse().unwrap();
    at(from)..at(to)
}

fn year(year: i32) -> Range<Timestamp> {
    range(&format!("{year}-01-01T00:00:00Z"), &format!("{}-01-01T00:00:00Z", year + 1))
}

fn within(series: &Series, range: Range<Timestamp>) -> Vec<Occurrence> {
    let found = series.occurrences(range, &Zone::iana("America/Denver").unwrap(), 1000);
    assert!(!found.is_partial);
    found.occurrences
}

/// As `recurrence id: local start to local end`, without what is the same.
fn told(items: &[Occurrence]) -> Vec<String> {
    items
        .iter()
        .map(|item| format!("{}: {} to {}", item.recurrence_id, item.start, item.end))
        .collect()
}

fn moments(items: &[Occurrence]) -> Vec<String> {
    items.iter().map(|item| format!("{} to {}", item.starts_at, item.ends_at)).collect()
}

fn daily(start: &str, duration: &str, count: u32) -> Value {
    json!({
        "@type": "Event", "start": start, "duration": duration, "timeZone": "America/New_York",
        "recurrenceRules": [{ "frequency": "daily", "count": count }],
    })
}

#[test]
fn a_skipped_time_is_taken_with_the_offset_from_before() {
    let items = within(&sound(daily("2024-03-09T02:30:00", "PT1H", 3)), year(2024));
    assert_eq!(
        told(&items),
        [
            "2024-03-09T02:30:00: 2024-03-09T02:30:00 to 2024-03-09T03:30:00",
            "2024-03-10T02:30:00: 2024-03-10T03:30:00 to 2024-03-10T04:30:00",
            "2024-03-11T02:30:00: 2024-03-11T02:30:00 to 2024-03-11T03:30:00",
        ]
    );
    assert_eq!(items[1].starts_at.to_string(), "2024-03-10T07:30:00Z");
}

#[test]
fn a_repeated_time_is_meant_the_first_time() {
    let items = within(&sound(daily("2024-11-03T01:30:00", "PT1H", 1)), year(2024));
    assert_eq!(moments(&items), ["2024-11-03T05:30:00Z to 2024-11-03T06:30:00Z"]);
    // An hour later the clocks show the same again.
    assert_eq!(items[0].end.to_string(), "2024-11-03T01:30:00");
}

#[test]
fn days_are_as_long_as_the_zone_makes_them_and_hours_are_exact() {
    for (duration, end) in [
        ("P1D", "2024-03-10T12:00:00"),
        ("PT24H", "2024-03-10T13:00:00"),
        ("P1DT1H", "2024-03-10T13:00:00"),
        ("P1W", "2024-03-16T12:00:00"),
        ("PT0.5S", "2024-03-09T12:00:00.5"),
    ] {
        let items = within(&sound(daily("2024-03-09T12:00:00", duration, 1)), year(2024));
        assert_eq!(items[0].end.to_string(), end, "{duration}");
    }
}

#[test]
fn until_is_on_the_clock_of_the_zone() {
    let last = |until: &str| {
        let mut event = daily("2024-03-08T23:00:00", "PT1H", 1);
        event["recurrenceRules"] = json!([{ "frequency": "daily", "until": until }]);
        within(&sound(event), year(2024)).last().map(|item| item.starts_at.to_string()).unwrap()
    };
    // In UTC this is on the 11th, by the offset of the new day.
    assert_eq!(last("2024-03-10T23:00:00"), "2024-03-11T03:00:00Z");
    assert_eq!(last("2024-03-10T22:59:59"), "2024-03-10T04:00:00Z");
}

#[test]
fn a_range_has_what_overlaps_it() {
    let series = sound(daily("2024-06-01T10:00:00", "PT2H", 3));
    let count = |from: &str, to: &str| within(&series, range(from, to)).len();
    assert_eq!(count("2024-06-01T16:00:00Z", "2024-06-01T17:00:00Z"), 0);
    assert_eq!(count("2024-06-01T15:59:59Z", "2024-06-01T17:00:00Z"), 1);
    assert_eq!(count("2024-06-01T13:00:00Z", "2024-06-01T14:00:00Z"), 0);
    assert_eq!(count("2024-06-01T13:00:00Z", "2024-06-01T14:00:01Z"), 1);
    let point = sound(daily("2024-06-01T10:00:00", "PT0S", 1));
    assert_eq!(within(&point, range("2024-06-01T14:00:00Z", "2024-06-01T15:00:00Z")).len(), 1);
    assert_eq!(within(&point, range("2024-06-01T13:00:00Z", "2024-06-01T14:00:00Z")).len(), 0);
    let long = sound(json!({
        "start": "2020-01-01T00:00:00", "duration": "P400D", "timeZone": "Etc/UTC",
        "recurrenceRules": [{ "frequency": "yearly" }],
    }));
    assert_eq!(within(&long, range("2023-01-20T00:00:00Z", "2023-01-21T00:00:00Z")).len(), 2);
}

#[test]
fn overrides_move_add_and_exclude() {
    let mut event = daily("2024-06-01T10:00:00", "PT1H", 5);
    event["title"] = "Stand-up".into();
    event["recurrenceOverrides"] = json!({
        "2024-06-02T10:00:00": { "excluded": true },
        "2024-06-03T10:00:00": { "start": "2024-07-15T12:00:00", "duration": "PT3H", "title": "Long" },
        "2024-06-20T08:00:00": {},
        "2024-06-21T08:00:00": { "timeZone": "Europe/Berlin", "title": null, "uid": "not mine" },
    });
    let series = sound(event);
    assert_eq!(
        told(&within(&series, range("2024-06-01T00:00:00Z", "2024-07-01T00:00:00Z"))),
        [
            "2024-06-01T10:00:00: 2024-06-01T10:00:00 to 2024-06-01T11:00:00",
            "2024-06-04T10:00:00: 2024-06-04T10:00:00 to 2024-06-04T11:00:00",
            "2024-06-05T10:00:00: 2024-06-05T10:00:00 to 2024-06-05T11:00:00",
            "2024-06-20T08:00:00: 2024-06-20T08:00:00 to 2024-06-20T09:00:00",
            "2024-06-21T08:00:00: 2024-06-21T08:00:00 to 2024-06-21T09:00:00",
        ]
    );
    let july = within(&series, range("2024-07-01T00:00:00Z", "2024-08-01T00:00:00Z"));
    assert_eq!(told(&july), ["2024-06-03T10:00:00: 2024-07-15T12:00:00 to 2024-07-15T15:00:00"]);
    assert!(july[0].is_override);

    let instance = series.instance("2024-06-03T10:00:00".parse().unwrap());
    let wanted = json!({
        "@type": "Event", "start": "2024-07-15T12:00:00", "duration": "PT3H", "title": "Long",
        "timeZone": "America/New_York", "recurrenceId": "2024-06-03T10:00:00",
        "recurrenceIdTimeZone": "America/New_York",
    });
    assert_eq!(Value::from(instance), wanted);
    let instance = series.instance("2024-06-21T08:00:00".parse().unwrap());
    assert_eq!((instance.get("title"), instance.get("uid")), (None, None));
    assert_eq!(instance["timeZone"], "Europe/Berlin");
}

#[test]
fn excluded_rules_take_away_and_additions_come_back() {
    let event = json!({
        "start": "2024-06-03T10:00:00", "timeZone": "Etc/UTC",
        "recurrenceRules": [{ "frequency": "daily", "count": 7 }, { "frequency": "weekly", "count": 3 }],
        "excludedRecurrenceRules": [{ "frequency": "weekly", "byDay": [{ "day": "sa" }, { "day": "su" }] }],
        "recurrenceOverrides": { "2024-06-09T10:00:00": {} },
    });
    let days: Vec<_> =
        within(&sound(event), year(2024)).iter().map(|item| item.start.day()).collect();
    assert_eq!(days, [3, 4, 5, 6, 7, 9, 10, 17]);
}

#[test]
fn floating_and_unknown_zones_are_in_the_default_zone_and_say_so() {
    let mut event =
        json!({ "start": "2024-06-03T00:00:00", "duration": "P1D", "showWithoutTime": true });
    let items = within(&sound(event.clone()), year(2024));
    assert_eq!(moments(&items), ["2024-06-03T06:00:00Z to 2024-06-04T06:00:00Z"]);
    assert_eq!((items[0].anchor, items[0].zone.name()), (Anchor::Floating, "America/Denver"));
    event["timeZone"] = "Customer/Standard Time".into();
    let unknown = series(event);
    assert_eq!(within(&unknown, year(2024))[0].anchor, Anchor::UnknownZone);
    assert_eq!(
        unknown.problems()[0].to_string(),
        "timeZone: expected a time zone of the IANA, or one of timeZones, found \"Customer/Standard Time\""
    );
}

#[test]
fn a_zone_that_the_event_brings_is_as_the_iana_has_it() {
    let rule = |month: &str, nth: i32| json!([{ "frequency": "yearly", "byMonth": [month], "byDay": [{ "day": "su", "nthOfPeriod": nth }] }]);
    let event = json!({
        "start": "2010-01-01T00:30:00", "timeZone": "/here", "duration": "P1D",
        "recurrenceRules": [{ "frequency": "hourly" }],
        "timeZones": { "/here": {
            "@type": "TimeZone", "tzId": "Here",
            "standard": [{
                "@type": "TimeZoneRule", "start": "2007-11-04T02:00:00", "offsetFrom": "-0600",
                "offsetTo": "-0700", "recurrenceRules": rule("11", 1),
            }],
            "daylight": [{
                "@type": "TimeZoneRule", "start": "2007-03-11T02:00:00", "offsetFrom": "-07:00",
                "offsetTo": "-06:00", "recurrenceRules": rule("3", 2),
            }],
        } },
    });
    let here = sound(event.clone());
    let mut event = event;
    event["timeZone"] = "America/Denver".into();
    let denver = sound(event);
    for from in [
        "2010-03-13T00:00:00Z",
        "2030-03-09T00:00:00Z",
        "2030-11-02T00:00:00Z",
        "2090-11-04T00:00:00Z",
    ] {
        let from: Timestamp = from.parse().unwrap();
        let days = from..from.checked_add(72.hours()).unwrap();
        let here = within(&here, days.clone());
        assert_eq!(here[0].anchor, Anchor::Zone);
        // Those of three days, and those of the day before that still last.
        assert!((95..=97).contains(&here.len()));
        let denver = within(&denver, days);
        assert_eq!(moments(&here), moments(&denver));
        assert_eq!(told(&here), told(&denver));
    }
}

#[test]
fn tasks_take_until_they_are_due() {
    let rules = json!([{ "frequency": "daily", "count": 2 }]);
    let task = |mut more: Value| {
        more["@type"] = "Task".into();
        more["timeZone"] = "Etc/UTC".into();
        more["recurrenceRules"] = rules.clone();
        more
    };
    let both = sound(task(json!({ "start": "2024-06-03T08:00:00", "due": "2024-06-03T17:00:00" })));
    assert_eq!(
        moments(&within(&both, year(2024))),
        [
            "2024-06-03T08:00:00Z to 2024-06-03T17:00:00Z",
            "2024-06-04T08:00:00Z to 2024-06-04T17:00:00Z"
        ]
    );
    assert_eq!(both.instance("2024-06-04T08:00:00".parse().unwrap())["due"], "2024-06-04T17:00:00");
    let due = sound(task(json!({ "due": "2024-06-03T17:00:00" })));
    assert_eq!(
        moments(&within(&due, year(2024))),
        [
            "2024-06-03T17:00:00Z to 2024-06-03T17:00:00Z",
            "2024-06-04T17:00:00Z to 2024-06-04T17:00:00Z"
        ]
    );
    assert_eq!(Series::new(Arc::new(object(task(json!({}))))).unwrap_err(), SeriesError::Start);
}

#[test]
fn what_is_wrong_takes_away_only_itself() {
    let series = series(json!({
        "start": "2024-06-03T08:00:00", "timeZone": "Etc/UTC", "duration": "an hour",
        "recurrenceRules": [{ "frequency": "daily", "count": 2 }, { "frequency": "fortnightly" }],
        "recurrenceOverrides": {
            "2024-06-04T08:00:00": { "title": "x", "locations/1/name": "y" },
            "tomorrow": {}, "2024-06-08T08:00:00": 1,
        },
    }));
    assert_eq!(within(&series, year(2024)).len(), 2);
    let problems: Vec<_> = series.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "duration: expected a duration such as \"P1D\" or \"PT1H30M\"",
            "recurrenceRules/1/frequency: expected one of \"yearly\", \"monthly\", \"weekly\", \"daily\", \
             \"hourly\", \"minutely\", \"secondly\", found \"fortnightly\"",
            "recurrenceOverrides/2024-06-04T08:00:00: the patch does not fit the event",
            "recurrenceOverrides/tomorrow: expected a PatchObject by a local date-time",
            "recurrenceOverrides/2024-06-08T08:00:00: expected a PatchObject by a local date-time",
        ]
    );
}

#[test]
fn more_than_is_asked_for_or_can_be_looked_at_is_told() {
    let all = Timestamp::MIN..Timestamp::MAX;
    let every = |excluded: Value| {
        series(json!({
            "start": "2024-01-01T00:00:00", "recurrenceRules": [{ "frequency": "secondly" }],
            "excludedRecurrenceRules": excluded,
        }))
    };
    let Found { occurrences, is_partial } =
        every(json!([])).occurrences(all.clone(), &Zone::utc(), 50);
    assert_eq!((occurrences.len(), is_partial), (50, true));
    let nothing = every(json!([{ "frequency": "secondly" }])).occurrences(all, &Zone::utc(), 50);
    assert_eq!((nothing.occurrences.len(), nothing.is_partial), (0, true));
    let long = series(json!({
        "start": "2024-01-01T00:00:00", "recurrenceRules": [{ "frequency": "secondly", "count": u64::MAX }],
    }));
    assert!(matches!(long.problems(), [Problem::LongCount { .. }]));
}

#[test]
fn this_and_all_that_follow_become_an_event_of_their_own() {
    let mut event = daily("2024-01-31T10:00:00", "PT1H", 12);
    event["uid"] = "whole".into();
    event["recurrenceRules"] = json!([{ "frequency": "monthly", "skip": "backward", "count": 12 }]);
    event["recurrenceOverrides"] = json!({
        "2024-02-29T10:00:00": { "title": "February" }, "2024-06-30T10:00:00": { "excluded": true },
    });
    let at: DateTime = "2024-04-30T10:00:00".parse().unwrap();
    let (before, after) = split(&object(event.clone()), at, "rest").unwrap();
    assert_eq!(
        Value::from(before.clone()),
        json!({
            "@type": "Event", "uid": "whole", "start": "2024-01-31T10:00:00", "duration": "PT1H",
            "timeZone": "America/New_York",
            "recurrenceRules": [
                { "frequency": "monthly", "skip": "backward", "until": "2024-04-30T09:59:59" },
            ],
            "recurrenceOverrides": { "2024-02-29T10:00:00": { "title": "February" } },
            "relatedTo": { "rest": { "@type": "Relation", "relation": { "next": true } } },
        })
    );
    assert_eq!(
        Value::from(after.clone()),
        json!({
            "@type": "Event", "uid": "rest", "start": "2024-04-30T10:00:00", "duration": "PT1H",
            "timeZone": "America/New_York",
            "recurrenceRules": [{
                "frequency": "monthly", "skip": "backward", "count": 9, "byMonthDay": [31], "byHour": [10],
                "byMinute": [0], "bySecond": [0],
            }],
            "recurrenceOverrides": { "2024-06-30T10:00:00": { "excluded": true } },
            "relatedTo": { "whole": { "@type": "Relation", "relation": { "first": true } } },
        })
    );
    let all = range("2024-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    let mut parts = within(&sound(before.into()), all.clone());
    parts.extend(within(&sound(after.clone().into()), all.clone()));
    assert_eq!(told(&parts), told(&within(&sound(event), all)));

    // Once more, further on: the first stays the first.
    let (middle, last) = split(&after, "2024-08-31T10:00:00".parse().unwrap(), "end").unwrap();
    assert_eq!(last["relatedTo"]["whole"]["relation"], json!({ "first": true }));
    assert_eq!(middle["relatedTo"]["end"]["relation"], json!({ "next": true }));
}

#[test]
fn what_can_not_be_split_is_refused() {
    let at = |text: &str| -> DateTime { text.parse().unwrap() };
    let event = object(daily("2024-06-01T10:00:00", "PT1H", 5));
    let error = |event: &Object, id| split(event, id, "b").unwrap_err();
    let (first, none) = (at("2024-06-01T10:00:00"), at("2024-06-01T11:00:00"));
    assert_eq!(error(&event, first), SplitError::IsFirst(first));
    assert_eq!(error(&event, none), SplitError::NoOccurrence(none));
    // The second rule has its own step, which a new start would shift.
    let mut two = event;
    two.insert(
        "recurrenceRules".into(),
        json!([{ "frequency": "daily" }, { "frequency": "hourly", "interval": 7, "byHour": [3] }]),
    );
    let id = at("2024-06-04T10:00:00");
    assert_eq!(error(&two, id), SplitError::NotTheSame(id));
}

fn some_event(dice: &mut Dice) -> Value {
    let start = jiff::civil::date(2024, 1, 1)
        .at(dice.between(0, 23) as i8, 0, 0, 0)
        .checked_add(dice.between(0, 700).days())
        .unwrap();
    let mut event = json!({
        "start": start.to_string(),
        "duration": *dice.pick(&["PT0S", "PT1H", "P1D", "P3D", "P90D", "P2000D"]),
        "timeZone": *dice.pick(&[Value::Null, "Pacific/Kiritimati".into(), "America/Adak".into(), "/none".into()]),
    });
    if dice.chance(40) {
        let frequency = *dice.pick(&["yearly", "monthly", "weekly", "daily"]);
        let mut rule = json!({ "frequency": frequency, "interval": dice.between(1, 5) });
        if dice.chance(50) {
            rule["count"] = dice.between(1, 30).into();
        }
        event["recurrenceRules"] = json!([rule]);
    }
    if dice.chance(20) {
        let moved = start.checked_add(dice.between(-3000, 3000).days()).unwrap();
        event["recurrenceOverrides"] = json!({ start.to_string(): { "start": moved.to_string() } });
    }
    event
}

#[test]
fn an_agenda_has_what_its_events_have_whatever_was_put_in_and_out() {
    let mut dice = Dice::new(7);
    let zone = Zone::iana("Asia/Tokyo").unwrap();
    let mut agenda = Agenda::new();
    let mut events = std::collections::BTreeMap::new();
    let mut found_most = 0;
    for round in 0..400 {
        let uid = format!("event-{}", dice.between(0, 120));
        if dice.chance(25) {
            assert_eq!(agenda.remove(&uid), events.remove(&uid).is_some());
        } else {
            let event = Arc::new(object(some_event(&mut dice)));
            agenda.insert(&uid, Arc::clone(&event)).unwrap();
            events.insert(uid, Series::new(event).unwrap());
        }
        let from: Timestamp = "2022-01-01T00:00:00Z".parse().unwrap();
        let from = from.checked_add((dice.between(0, 2500) * 24).hours()).unwrap();
        let range = from..from.checked_add((dice.between(1, 40) * 24).hours()).unwrap();
        let mut wanted: Vec<_> = events
            .iter()
            .flat_map(|(uid, series)| {
                let found = series.occurrences(range.clone(), &zone, 1000).occurrences;
                found.into_iter().map(move |item| (item.starts_at, uid.clone(), item.recurrence_id))
            })
            .collect();
        wanted.sort();
        let told = |max| {
            let page = agenda.query(range.clone(), &zone, max);
            let key = |item: &fasti_calendar::AgendaItem| {
                (item.occurrence.starts_at, item.uid.to_string(), item.occurrence.recurrence_id)
            };
            (page.items.iter().map(key).collect::<Vec<_>>(), page.is_partial)
        };
        assert_eq!(told(1000), (wanted.clone(), false), "round {round}");
        let is_more = wanted.len() > 3;
        wanted.truncate(3);
        let (some, is_partial) = told(3);
        found_most = found_most.max(wanted.len());
        assert_eq!(is_partial, is_more);
        assert_eq!(some, wanted);
    }
    assert_eq!((agenda.len(), found_most), (events.len(), 3));
}
