//! What takes place when: asked again as events change, and at other nodes.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::World;
use fasti_core::command::{AgendaQuery, OccurrenceView};
use fasti_core::{Answer, Command, CommandError, OfficeId};
use serde_json::json;

fn ask(world: &mut World, at: OfficeId, from: &str, to: &str) -> Vec<OccurrenceView> {
    let (from, to) = (format!("{from}T00:00:00"), format!("{to}T00:00:00"));
    let query = AgendaQuery { from, to, zone: "America/Denver".into(), limit: 1000 };
    match world.ask(at, Command::Agenda(query)).unwrap() {
        Answer::Agenda { occurrences, more: false } => occurrences,
        other => panic!("{other:?}"),
    }
}

fn starts(all: &[OccurrenceView]) -> Vec<&str> {
    all.iter().map(|it| it.start.as_str()).collect()
}

#[test]
fn occurrences_are_found_as_events_come_move_and_go() {
    let (mut world, ids) = World::of(2);
    let [one, two] = ids[..] else { unreachable!() };
    world.publish(one, "A", "2024-04-02");
    world.put(
        one,
        "round",
        json!({"@type": "Event", "title": "Round", "start": "2024-04-01T17:00:00", "timeZone": "Europe/Berlin",
            "duration": "PT1H", "locations": {"1": {"@type": "Location", "name": "Hall"}},
            "recurrenceRules": [{"@type": "RecurrenceRule", "frequency": "daily", "count": 4}],
            "recurrenceOverrides": {
                "2024-04-03T17:00:00": {"excluded": true},
                "2024-04-04T17:00:00": {"title": "Outside", "locations": null}}}),
    );
    world.settle();
    for at in [one, two] {
        let all = ask(&mut world, at, "2024-04-01", "2024-05-01");
        assert_eq!(
            starts(&all),
            [
                "2024-04-01T09:00:00",
                "2024-04-02T00:00:00",
                "2024-04-02T09:00:00",
                "2024-04-04T09:00:00"
            ]
        );
        assert_eq!(
            (&all[0].event["title"], &all[3].event["title"]),
            (&json!("Round"), &json!("Outside"))
        );
        // What an occurrence has not, is a null in its patch, and stays.
        assert!(all[0].event.contains_key("locations") && !all[3].event.contains_key("locations"));
        assert_eq!(all[3].recurrence_id.as_deref(), Some("2024-04-04T17:00:00"));
        assert_eq!(all[1].recurrence_id, None);
    }
    // Kept as events change, wherever they are changed.
    world.patch(two, "round", json!({"start": "2024-04-10T17:00:00", "recurrenceOverrides": null}));
    world.patch(one, "policy-A", json!({"start": "2024-06-01T00:00:00"}));
    world.settle();
    for at in [one, two] {
        let all = ask(&mut world, at, "2024-04-01", "2024-05-01");
        assert_eq!((all.len(), &*all[0].start), (4, "2024-04-10T09:00:00"));
        let before = all;
        world.restart(at);
        assert_eq!(ask(&mut world, at, "2024-04-01", "2024-05-01"), before);
    }
}

#[test]
fn a_range_that_makes_no_sense_is_refused() {
    let (mut world, ids) = World::of(1);
    for (from, zone, path) in
        [("2024-04-01T00:00:00", "Denver", "zone"), ("yesterday", "America/Denver", "from")]
    {
        let (from, to) = (from.to_owned(), "2024-04-02T00:00:00".to_owned());
        let query = AgendaQuery { from, to, zone: zone.into(), limit: 10 };
        let error = world.ask(ids[0], Command::Agenda(query)).unwrap_err();
        assert!(matches!(&error, CommandError::Invalid { path: at, .. } if at == path), "{error}");
    }
}
