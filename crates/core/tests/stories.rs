//! What offices live through, told with a core each.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{RELAY, World, signer};
use fasti_core::command::{Condition, EventsQuery};
use fasti_core::{Answer, Command, CommandError, Input, OfficeId};
use serde_json::json;

#[test]
fn a_policy_published_at_one_office_is_at_every_office() {
    let (mut world, ids) = World::of(5);
    let written = world.publish(ids[0], "YSP-2024", "2024-04-01");
    world.deliver();
    for id in &ids {
        let view = world.event(*id, "policy-YSP-2024").unwrap();
        assert_eq!(view.event["start"], "2024-04-01T00:00:00");
        assert_eq!(view.event["title"], "YSP-2024");
        assert_eq!(view.etag, written.etag);
    }
    world.settle();
    world.assert_agreed();
}

#[test]
fn everybody_hears_who_is_a_relay_and_where() {
    let (mut world, ids) = World::of(3);
    let relay = world.join(ids[0], RELAY, "Relay");
    world.link(ids[0], relay);
    world.settle();
    for at in ["/ip4/198.51.100.1/tcp/1", "/ip4/198.51.100.2/tcp/1"] {
        world.input(relay, Input::Listening(vec![format!("{at}/p2p/12D3KooW")]));
        world.settle();
        for id in &ids {
            // The others are linked with the first office, and not with the relay.
            assert_eq!(world.relays[id], [(relay, vec![at.to_owned()])].into());
        }
        assert!(world.relays[&relay].is_empty(), "it is none to itself");
    }
}

#[test]
fn denver_edits_offline_in_another_field_than_boston_and_both_edits_stay() {
    let (mut world, ids) = World::of(3);
    world.publish(ids[0], "A", "2024-04-01");
    world.settle();
    world.cut(ids[0], ids[1]);
    world.cut(ids[1], ids[2]);
    world.patch(ids[1], "policy-A", json!({"description": "from Denver"}));
    world.patch(ids[2], "policy-A", json!({"title": "from Boston"}));
    world.link(ids[0], ids[1]);
    world.link(ids[1], ids[2]);
    world.settle();
    let view = world.event(ids[0], "policy-A").unwrap();
    assert_eq!(view.event["description"], "from Denver");
    assert_eq!(view.event["title"], "from Boston");
    assert_eq!(world.conflicts(ids[0]), []);
    world.assert_agreed();
}

#[test]
fn one_field_edited_two_ways_has_one_winner_everywhere_until_someone_decides() {
    let (mut world, ids) = World::of(3);
    world.publish(ids[0], "A", "2024-04-01");
    world.settle();
    world.cut(ids[0], ids[1]);
    world.cut(ids[1], ids[2]);
    world.patch(ids[1], "policy-A", json!({"title": "Denver's"}));
    world.patch(ids[2], "policy-A", json!({"title": "Boston's"}));
    world.link(ids[0], ids[1]);
    world.link(ids[1], ids[2]);
    world.settle();
    world.assert_agreed();
    let conflicts = world.conflicts(ids[0]);
    assert_eq!(conflicts.len(), 1);
    let conflict = &conflicts[0];
    assert_eq!((conflict.uid.as_str(), conflict.path.as_str()), ("policy-A", "title"));
    let shown = world.event(ids[0], "policy-A").unwrap().event["title"].clone();
    assert_eq!(conflict.values[0].value, shown);
    assert_eq!(conflict.values.len(), 2);

    // The loser's value is chosen, at a third office, and after a restart that must not forget it.
    world.restart(ids[2]);
    world.settle();
    let keep = conflict.values[1].value.clone();
    let resolve = Command::Resolve { conflict: conflict.id.clone(), keep: keep.clone() };
    world.ask(ids[2], resolve).unwrap();
    world.settle();
    world.assert_agreed();
    assert_eq!(world.conflicts(ids[0]), []);
    assert_eq!(world.event(ids[1], "policy-A").unwrap().event["title"], keep);
}

#[test]
fn the_same_value_written_twice_is_no_conflict() {
    let (mut world, ids) = World::of(2);
    world.publish(ids[0], "A", "2024-04-01");
    world.settle();
    world.cut(ids[0], ids[1]);
    world.patch(ids[0], "policy-A", json!({"title": "same"}));
    world.patch(ids[1], "policy-A", json!({"title": "same"}));
    world.link(ids[0], ids[1]);
    world.settle();
    world.assert_agreed();
    assert_eq!(world.conflicts(ids[0]), []);
}

#[test]
fn two_offices_that_create_the_same_event_at_once_hide_nothing_of_each_other() {
    let (mut world, ids) = World::of(2);
    world.cut(ids[0], ids[1]);
    let event = |extra: &str| json!({"title": "T", "start": "2024-04-01T00:00:00", extra: extra});
    world.put(ids[0], "E", event("description"));
    world.put(ids[1], "E", event("color"));
    world.link(ids[0], ids[1]);
    world.settle();
    world.assert_agreed();
    let view = world.event(ids[0], "E").unwrap();
    assert_eq!(view.event["description"], "description");
    assert_eq!(view.event["color"], "color");
    assert_eq!(world.conflicts(ids[0]), []);
    assert_eq!(world.status(ids[0]).events, 1);
    // Fields of either map can be edited and removed afterwards.
    world.patch(ids[0], "E", json!({"description": null, "color": "red", "title": "U"}));
    world.settle();
    world.assert_agreed();
    let view = world.event(ids[1], "E").unwrap();
    assert!(!view.event.contains_key("description"));
    assert_eq!((&view.event["color"], &view.event["title"]), (&json!("red"), &json!("U")));
}

#[test]
fn two_offices_that_create_the_same_event_differently_get_a_conflict() {
    let (mut world, ids) = World::of(2);
    world.cut(ids[0], ids[1]);
    world.put(ids[0], "E", json!({"title": "Core's", "start": "2024-04-01T00:00:00"}));
    world.put(ids[1], "E", json!({"title": "Denver's", "start": "2024-04-01T00:00:00"}));
    world.link(ids[0], ids[1]);
    world.settle();
    world.assert_agreed();
    assert_eq!(world.conflicts(ids[0]).len(), 1);
    let id = world.conflicts(ids[0])[0].id.clone();
    world.ask(ids[1], Command::Resolve { conflict: id, keep: json!("ours") }).unwrap();
    world.settle();
    world.assert_agreed();
    assert_eq!(world.conflicts(ids[0]), []);
    assert_eq!(world.event(ids[0], "E").unwrap().event["title"], "ours");
}

#[test]
fn cancelling_is_a_status_and_keeps_an_edit_that_raced_it() {
    let (mut world, ids) = World::of(2);
    world.publish(ids[0], "A", "2024-04-01");
    world.settle();
    world.cut(ids[0], ids[1]);
    world
        .ask(ids[0], Command::Cancel { uid: "policy-A".into(), condition: Condition::Always })
        .unwrap();
    world.patch(ids[1], "policy-A", json!({"description": "new"}));
    world.link(ids[0], ids[1]);
    world.settle();
    world.assert_agreed();
    let view = world.event(ids[1], "policy-A").unwrap();
    assert_eq!(view.event["status"], "cancelled");
    assert_eq!(view.event["description"], "new");
}

#[test]
fn an_office_that_lost_every_push_catches_up_and_is_known_to_have_everything() {
    let (mut world, ids) = World::of(3);
    for n in 0..50 {
        world.publish(ids[n % 2], &format!("P{n}"), "2024-04-01");
        world.lose_mail();
    }
    assert_ne!(world.status(ids[0]).frontier, world.status(ids[2]).frontier);
    world.settle();
    world.assert_agreed();
    assert_eq!(world.status(ids[2]).events, 50);
}

#[test]
fn pushes_that_come_in_the_wrong_order_wait_for_what_is_missing() {
    let (mut world, ids) = World::of(2);
    world.publish(ids[0], "first", "2024-04-01");
    world.lose_mail();
    world.publish(ids[0], "second", "2024-04-01");
    world.deliver();
    assert_eq!(world.status(ids[1]).events, 0);
    world.settle();
    assert_eq!(world.status(ids[1]).events, 2);
    world.assert_agreed();
}

#[test]
fn a_newcomer_gets_thousands_of_events_in_bounded_chunks_and_can_pass_them_on() {
    let (mut world, founder) = World::new();
    let count = 3000;
    for n in 0..count {
        world.publish(founder, &format!("P{n}"), "2024-04-01");
    }
    let second = world.join(founder, 2, "Denver");
    world.link(founder, second);
    world.settle();
    assert_eq!(world.status(second).events, count);
    // The third gets it from the second alone, whose rows inside of chunks have no signatures.
    assert!(world.offices[&second].disk.rows.iter().any(|row| row.signature.is_none()));
    let third = world.join(founder, 3, "Boston");
    world.settle();
    world.cut(founder, second);
    world.put(second, "own", json!({"start": "2024-04-01T00:00:00"}));
    world.restart(third);
    world.link(second, third);
    world.settle();
    assert_eq!(world.status(third).frontier, world.status(second).frontier);
    world.link(founder, second);
    world.link(founder, third);
    world.settle();
    world.assert_agreed();
}

#[test]
fn an_in_sync_check_costs_less_than_200_bytes() {
    let (mut world, ids) = World::of(2);
    world.publish(ids[0], "A", "2024-04-01");
    world.settle();
    world.bytes.clear();
    world.input(ids[0], Input::Congested(ids[1]));
    world.deliver();
    assert_eq!(world.bytes.keys().copied().collect::<Vec<_>>(), ["hello"]);
    assert!(world.bytes["hello"] <= 100, "{:?}", world.bytes);
}

#[test]
fn a_restarted_office_goes_on_where_it_was() {
    let (mut world, ids) = World::of(3);
    world.publish(ids[1], "A", "2024-04-01");
    world.settle();
    let before = world.status(ids[1]);
    world.restart(ids[1]);
    let after = world.status(ids[1]);
    assert_eq!(after.frontier, before.frontier);
    assert_eq!(after.events, 1);
    world.publish(ids[1], "B", "2024-05-01");
    world.settle();
    world.assert_agreed();
    assert_eq!(world.status(ids[0]).events, 2);
}

#[test]
fn a_ticket_is_good_once_and_until_it_expires() {
    let (mut world, ids) = World::of(2);
    let (first, second) = (signer(50).office(), signer(51).office());
    let ticket = signer(60);
    let error = world.admit(ids[0], &ticket, first).unwrap_err();
    assert_eq!(error, CommandError::Ticket("no admin of this network has made it"));
    let expires = world.wall() + 1000;
    world.invite(ids[0], &ticket, "Denver", expires).unwrap();
    world.settle();
    // Another member may take it in, twice if the first answer got lost, but for one office only.
    world.pass(-60_000);
    world.admit(ids[1], &ticket, first).unwrap();
    world.admit(ids[1], &ticket, first).unwrap();
    let error = world.admit(ids[1], &ticket, second).unwrap_err();
    assert_eq!(error, CommandError::Ticket("it has been used"));
    let late = signer(61);
    let expires = world.wall() + 1000;
    world.invite(ids[0], &late, "Late", expires).unwrap();
    world.pass(2000);
    let error = world.admit(ids[0], &late, second).unwrap_err();
    assert_eq!(error, CommandError::Ticket("it has expired"));
}

#[test]
fn a_ticket_used_in_both_halves_of_a_divided_network_is_shown_to_people() {
    let (mut world, ids) = World::of(2);
    let ticket = signer(60);
    world.invite(ids[0], &ticket, "Denver", i64::MAX).unwrap();
    world.settle();
    world.cut(ids[0], ids[1]);
    world.admit(ids[0], &ticket, signer(50).office()).unwrap();
    world.admit(ids[1], &ticket, signer(51).office()).unwrap();
    world.link(ids[0], ids[1]);
    world.settle();
    for id in ids {
        let shared =
            world.status(id).members.into_iter().filter(|member| member.shared_ticket).count();
        assert_eq!(shared, 2);
    }
}

#[test]
fn only_admins_invite_and_strangers_write_nothing() {
    let (mut world, ids) = World::of(2);
    let error = world.invite(ids[1], &signer(60), "Denver", i64::MAX).unwrap_err();
    assert!(matches!(error, CommandError::NotAllowed(_)), "{error}");
}

#[test]
fn bad_edits_are_refused_with_what_would_be_right() {
    let (mut world, ids) = World::of(1);
    let id = ids[0];
    world.publish(id, "A", "2024-04-01");
    let mut error = |patch| world.try_patch(id, "policy-A", patch).unwrap_err().to_string();
    assert_eq!(
        error(json!({"status": "maybe"})),
        "\"status\": expected confirmed, cancelled or tentative"
    );
    assert!(error(json!({"start": "2024-04-31T00:00:00"})).contains("local date-time"));
    assert!(error(json!({"start": null})).contains("missing"));
    assert!(error(json!({"duration": "P1M"})).contains("duration"));
    assert!(error(json!({"x": 18446744073709551615u64})).contains("64-bit"));
    let long = "x".repeat(200_000);
    assert!(error(json!({"description": long})).contains("at most 131072"));
    assert_eq!(world.status(id).entries, 2);
    let error = world.try_patch(id, "nothing", json!({})).unwrap_err();
    assert_eq!(error, CommandError::UnknownEvent("nothing".into()));
    let condition = Condition::Matches(vec!["old".into()]);
    let stale = Command::Cancel { uid: "policy-A".into(), condition };
    assert!(matches!(
        world.ask(id, stale).unwrap_err(),
        CommandError::Precondition { now: Some(_) }
    ));
}

#[test]
fn unknown_and_nested_properties_survive_every_round_trip() {
    let (mut world, ids) = World::of(2);
    let event = json!({
        "@type": "Event", "title": "T", "start": "2024-04-01T09:00:00", "timeZone": "America/Denver",
        "duration": "PT1H30M", "priority": 3, "x/y~z": {"deep": {"er": [1, {"b": 2, "a": null}], "f": 1.5}},
        "participants": {"1": {"@type": "Participant", "roles": {"owner": true}}},
        "recurrenceRules": [{"@type": "RecurrenceRule", "frequency": "weekly"}], "empty": {}
    });
    world.put(ids[0], "E", event.clone());
    world.settle();
    let mut view = world.event(ids[1], "E").unwrap().event;
    for derived in ["uid", "created", "updated"] {
        assert!(view.remove(derived).is_some());
    }
    assert_eq!(serde_json::Value::Object(view), event);
    // Putting the same again writes nothing.
    let entries = world.status(ids[1]).entries;
    world.put(ids[1], "E", event);
    assert_eq!(world.status(ids[1]).entries, entries);
}

#[test]
fn events_are_listed_by_date_in_pages() {
    let (mut world, ids) = World::of(1);
    for day in 1..=9 {
        world.publish(ids[0], &format!("P{day}"), &format!("2024-04-0{day}"));
    }
    let mut query = EventsQuery {
        from: Some("2024-04-03T00:00:00".into()),
        to: Some("2024-04-08T00:00:00".into()),
        limit: 3,
        after: None,
    };
    let mut seen = Vec::new();
    loop {
        let Answer::Events { events, more } =
            world.ask(ids[0], Command::Events(query.clone())).unwrap()
        else {
            panic!()
        };
        seen.extend(events.iter().map(|view| view.uid.clone()));
        query.after = seen.last().cloned();
        if !more {
            break;
        }
    }
    assert_eq!(seen, ["policy-P3", "policy-P4", "policy-P5", "policy-P6", "policy-P7"]);
}

#[test]
fn a_policy_is_moved_ended_and_cancelled_by_what_is_published_about_it() {
    use fasti_core::policy::PolicyEvent;
    let (mut world, ids) = World::of(1);
    let mut publish = |value| {
        let event = PolicyEvent::from_json(value)?;
        match world.ask(ids[0], Command::Publish(vec![event]))? {
            Answer::Published(mut written) => written.remove(0),
            other => panic!("{other:?}"),
        }
    };
    let payload = |extra: serde_json::Value| {
        let mut payload = json!({"policy_id": "A", "budget": {"eur": 5}});
        payload.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        payload
    };
    let error =
        publish(json!({"type": "policy_update", "payload": payload(json!({}))})).unwrap_err();
    assert!(matches!(error, CommandError::UnknownEvent(_)));
    publish(
        json!({"type": "policy_start", "payload": payload(json!({"start_date": "2024-04-01"}))}),
    )
    .unwrap();
    publish(json!({"type": "policy_end", "payload": payload(json!({"end_date": "2024-04-30"}))}))
        .unwrap();
    publish(json!({"specversion": "1.0", "id": "1", "source": "/core", "type": "policy_start", "data": payload(json!({"start_date": "2024-04-02"}))})).unwrap();
    let error = publish(
        json!({"type": "policy_end", "payload": payload(json!({"end_date": "2024-03-30"}))}),
    )
    .unwrap_err();
    assert!(error.to_string().contains("before its start"), "{error}");
    let view = world.event(ids[0], "policy-A").unwrap().event;
    assert_eq!(
        (&view["start"], &view["duration"]),
        (&json!("2024-04-02T00:00:00"), &json!("P29D"))
    );
    assert_eq!(view["fasti:policy"]["payload"]["budget"]["eur"], 5);
    assert_eq!(view["status"], "confirmed");
}

#[test]
fn an_office_restored_from_an_old_backup_goes_on_with_what_the_others_kept() {
    let (mut world, ids) = World::of(3);
    world.publish(ids[1], "A", "2024-04-01");
    world.settle();
    let backup = world.offices[&ids[1]].disk.clone();
    world.publish(ids[1], "B", "2024-04-01");
    world.patch(ids[1], "policy-A", json!({ "title": "after the backup" }));
    world.settle();
    // The disk dies, and the backup is put in its place. The first write comes before anyone is linked.
    world.restore(ids[1], backup);
    world.publish(ids[1], "C", "2024-04-01");
    world.settle();
    world.assert_agreed();
    let status = world.status(ids[1]);
    assert_eq!((status.events, status.forks), (3, 0));
    assert_eq!(world.event(ids[1], "policy-A").unwrap().event["title"], "after the backup");
    assert_eq!(logs_of(&world, ids[1]), 1, "it waited for the others, and went on with its log");
}

#[test]
fn a_restored_office_that_is_cut_off_begins_a_new_log() {
    let (mut world, ids) = World::of(3);
    world.publish(ids[1], "A", "2024-04-01");
    world.settle();
    let backup = world.offices[&ids[1]].disk.clone();
    world.publish(ids[1], "B", "2024-04-01");
    world.settle();
    for other in [ids[0], ids[2]] {
        world.cut(ids[1], other);
    }
    world.restore(ids[1], backup);
    world.publish(ids[1], "C", "2024-04-01");
    for other in [ids[0], ids[2]] {
        world.link(ids[1], other);
    }
    world.settle();
    world.assert_agreed();
    let status = world.status(ids[1]);
    assert_eq!((status.events, status.forks), (3, 0));
    assert_eq!(logs_of(&world, ids[1]), 2);
}

/// Its first entry had no parent, and counted for nothing.
#[test]
fn a_founder_that_was_copied_before_it_wrote_anything_begins_a_new_log() {
    let (mut world, denver) = World::new();
    let mut copy = world.offices[&denver].disk.clone();
    copy.incarnation = None;
    world.restore(denver, copy);
    world.publish(denver, "A", "2024-04-01");
    assert_eq!(logs_of(&world, denver), 2);
    assert!(world.event(denver, "policy-A").is_some());
    assert_eq!(world.alarms(denver), [] as [String; 0]);
}

#[test]
fn a_restored_office_waits_for_entries_of_its_own_that_it_has_heard_of() {
    let (mut world, ids) = World::of(3);
    world.publish(ids[1], "A", "2024-04-01");
    world.settle();
    let backup = world.offices[&ids[1]].disk.clone();
    world.cut(ids[0], ids[2]);
    world.cut(ids[1], ids[2]);
    world.publish(ids[1], "B", "2024-04-01");
    world.settle();
    world.cut(ids[0], ids[1]);
    world.restore(ids[1], backup);
    // The first that it hears from is as far behind as itself; the second is not.
    world.link(ids[1], ids[2]);
    world.settle();
    world.link(ids[0], ids[1]);
    // Greetings, and what each holds: the entries themselves are still on their way.
    for _ in 0..5 {
        world.deliver_one();
    }
    assert_eq!(world.status(ids[1]).events, 1);
    world.publish(ids[1], "C", "2024-04-01");
    world.link(ids[0], ids[2]);
    world.settle();
    world.assert_agreed();
    assert_eq!(world.status(ids[1]).events, 3);
}

#[test]
fn two_copies_of_one_office_lose_nothing_and_part_for_good() {
    let (mut world, ids) = World::of(3);
    world.publish(ids[1], "A", "2024-04-01");
    world.settle();
    let copy = world.offices[&ids[1]].disk.clone();
    let others = [ids[0], ids[2]];
    // One copy writes while it is cut off, the other one while it is linked, under the same number.
    others.iter().for_each(|other| world.cut(ids[1], *other));
    world.publish(ids[1], "from-one", "2024-04-01");
    world.patch(ids[1], "policy-A", json!({ "title": "one" }));
    let written = world.offices[&ids[1]].disk.clone();
    world.restore(ids[1], copy);
    others.iter().for_each(|other| world.link(ids[1], *other));
    world.publish(ids[1], "from-the-other", "2024-04-01");
    world.settle();
    world.restore(ids[1], written);
    world.settle();
    let agreed = |world: &mut World, events: u64| {
        for id in &ids {
            let status = world.status(*id);
            assert_eq!((status.events, status.forks, status.void), (events, 1, 0), "{id:?}");
            assert_eq!(status.frontier, world.status(ids[0]).frontier);
            assert_eq!(world.event(*id, "policy-A").unwrap().event["title"], "one");
            for uid in ["policy-from-one", "policy-from-the-other"] {
                assert!(world.event(*id, uid).is_some(), "{id:?} lacks {uid}");
            }
        }
    };
    agreed(&mut world, 3);
    assert!(world.alarms(ids[0]).iter().any(|alarm| alarm.contains("two different histories")));
    world.publish(ids[1], "afterwards", "2024-04-01");
    world.settle();
    agreed(&mut world, 4);
    assert_eq!(logs_of(&world, ids[1]), 2, "what comes afterwards is in a log of its own");
}

/// How many logs an office has written, as itself holds them.
fn logs_of(world: &World, id: OfficeId) -> usize {
    let rows = &world.offices[&id].disk.rows;
    let logs = rows.iter().map(|row| row.entry.log).filter(|log| log.author == id);
    logs.collect::<std::collections::BTreeSet<_>>().len()
}
