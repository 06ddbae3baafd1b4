//! What needs a person, of each kind: it is on everybody's list, says what can be done, and what is decided at one
//! office is decided at all.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::World;
use common::mallory::Mallory;
use fasti_core::command::{
    BookRequest, BookingState, BookingView, BookingsQuery, Condition, ConflictKind, ConflictView,
    NewResource,
};
use fasti_core::resource::{Description, ResourceKind, Terms};
use fasti_core::{Answer, Command, CommandError, OfficeId, Reply};
use serde_json::{Value, json};

fn apart(world: &mut World, ids: &[OfficeId]) {
    world.settle();
    world.cut(ids[0], ids[1]);
}

fn together(world: &mut World, ids: &[OfficeId]) {
    world.link(ids[0], ids[1]);
    world.settle();
    world.assert_agreed();
}

/// The one conflict, which is the same at all offices.
#[track_caller]
fn only(world: &mut World, ids: &[OfficeId]) -> ConflictView {
    let conflicts = world.conflicts(ids[0]);
    for id in ids {
        assert_eq!(world.conflicts(*id), conflicts);
        assert_eq!(world.status(*id).conflicts, 1);
    }
    let [conflict] = &conflicts[..] else { panic!("{conflicts:#?}") };
    conflict.clone()
}

fn resolve(world: &mut World, at: OfficeId, conflict: &ConflictView, keep: &Value) -> Reply {
    let resolve = Command::Resolve { conflict: conflict.id.clone(), keep: keep.clone() };
    let reply = world.ask(at, resolve);
    world.settle();
    reply
}

#[track_caller]
fn assert_none(world: &mut World, ids: &[OfficeId]) {
    for id in ids {
        assert_eq!(world.conflicts(*id), []);
        assert_eq!(world.status(*id).conflicts, 0);
    }
    world.assert_agreed();
}

fn keeps(conflict: &ConflictView) -> Vec<Value> {
    conflict.choices.iter().map(|it| it.keep.clone()).collect()
}

fn whats(conflict: &ConflictView) -> Vec<&str> {
    conflict.values.iter().map(|it| &it.what[..]).collect()
}

// ---- Fields ----

#[test]
fn a_field_offers_its_values_and_takes_any_other() {
    for keep in ["Denver's", "Boston's", "both"] {
        let (mut world, ids) = World::of(2);
        world.publish(ids[0], "A", "2024-04-01");
        apart(&mut world, &ids);
        world.patch(ids[0], "policy-A", json!({"title": "Denver's"}));
        world.patch(ids[1], "policy-A", json!({"title": "Boston's"}));
        together(&mut world, &ids);
        let conflict = only(&mut world, &ids);
        assert_eq!((conflict.kind, &conflict.path[..]), (ConflictKind::Field, "title"));
        assert_eq!(whats(&conflict), ["shows until someone decides", "written as well"]);
        assert_eq!(keeps(&conflict)[0], conflict.values[0].value);
        resolve(&mut world, ids[1], &conflict, &json!(keep)).unwrap();
        assert_none(&mut world, &ids);
        assert_eq!(world.event(ids[0], "policy-A").unwrap().event["title"], keep);
    }
}

// ---- Cancelled events ----

fn cancel(world: &mut World, at: OfficeId, uid: &str) {
    world.ask(at, Command::Cancel { uid: uid.into(), condition: Condition::Always }).unwrap();
}

#[test]
fn an_edit_of_an_event_that_was_cancelled_meanwhile_is_kept_and_shown() {
    for (keep, status) in [("cancelled", "cancelled"), ("confirmed", "confirmed")] {
        let (mut world, ids) = World::of(2);
        world.publish(ids[0], "A", "2024-04-01");
        apart(&mut world, &ids);
        cancel(&mut world, ids[0], "policy-A");
        world.patch(ids[1], "policy-A", json!({"description": "in room 5"}));
        together(&mut world, &ids);
        let conflict = only(&mut world, &ids);
        assert_eq!((conflict.kind, &conflict.uid[..]), (ConflictKind::Cancelled, "policy-A"));
        assert_eq!(whats(&conflict), ["cancelled", "edited, not knowing that"]);
        assert_eq!(conflict.values[0].value, json!({"status": "cancelled"}));
        assert_eq!(conflict.values[1].value, json!({"description": "in room 5"}));
        assert_eq!(conflict.values[1].office, ids[1]);
        assert_eq!(keeps(&conflict), ["cancelled", "confirmed"]);
        let other = resolve(&mut world, ids[0], &conflict, &json!("maybe")).unwrap_err();
        assert!(other.to_string().contains("\"confirmed\""), "{other}");
        resolve(&mut world, ids[1], &conflict, &json!(keep)).unwrap();
        assert_none(&mut world, &ids);
        let event = world.event(ids[0], "policy-A").unwrap().event;
        assert_eq!(
            (&event["status"], &event["description"]),
            (&json!(status), &json!("in room 5"))
        );
        // So it is after a restart.
        world.restart(ids[1]);
        assert_none(&mut world, &ids[1..]);
    }
}

#[test]
fn who_knows_that_an_event_is_cancelled_may_edit_it() {
    let (mut world, ids) = World::of(2);
    world.publish(ids[0], "A", "2024-04-01");
    world.settle();
    cancel(&mut world, ids[0], "policy-A");
    world.settle();
    world.patch(ids[1], "policy-A", json!({"description": "called off"}));
    world.settle();
    assert_none(&mut world, &ids);
}

#[test]
fn two_who_cancel_at_once_agree() {
    let (mut world, ids) = World::of(2);
    world.publish(ids[0], "A", "2024-04-01");
    apart(&mut world, &ids);
    cancel(&mut world, ids[0], "policy-A");
    cancel(&mut world, ids[1], "policy-A");
    together(&mut world, &ids);
    assert_none(&mut world, &ids);
}

#[test]
fn a_removed_field_of_a_cancelled_event_is_told_as_well_and_it_stays_open_over_a_restart() {
    let (mut world, ids) = World::of(2);
    world.publish(ids[0], "A", "2024-04-01");
    world.patch(ids[0], "policy-A", json!({"description": "in room 5"}));
    apart(&mut world, &ids);
    world.patch(ids[1], "policy-A", json!({"description": null}));
    cancel(&mut world, ids[0], "policy-A");
    together(&mut world, &ids);
    world.restart(ids[0]);
    world.link(ids[0], ids[1]);
    world.settle();
    let conflict = only(&mut world, &ids);
    assert_eq!((conflict.values[1].office, &conflict.values[1].value), (ids[1], &json!({})));
    // Another edit ends nothing; another word on whether it takes place does.
    world.patch(ids[0], "policy-A", json!({"description": "in room 6"}));
    world.settle();
    assert_eq!(only(&mut world, &ids).id, conflict.id);
    cancel_again(&mut world, ids[1]);
    assert_none(&mut world, &ids);
}

fn cancel_again(world: &mut World, at: OfficeId) {
    for status in ["confirmed", "cancelled"] {
        world.patch(at, "policy-A", json!({ "status": status }));
    }
    world.settle();
}

#[test]
fn a_task_is_cancelled_by_its_progress() {
    let (mut world, ids) = World::of(2);
    world.put(ids[0], "t", json!({"@type": "Task", "title": "Count chairs"}));
    apart(&mut world, &ids);
    cancel(&mut world, ids[0], "t");
    world.patch(ids[1], "t", json!({"description": "and tables"}));
    together(&mut world, &ids);
    let conflict = only(&mut world, &ids);
    assert_eq!(keeps(&conflict), ["cancelled", "needs-action"]);
    resolve(&mut world, ids[0], &conflict, &json!("needs-action")).unwrap();
    assert_none(&mut world, &ids);
    let event = world.event(ids[1], "t").unwrap().event;
    assert_eq!((&event["progress"], event.get("status")), (&json!("needs-action"), None));
}

// ---- Policies ----

fn approve(world: &mut World, at: OfficeId) {
    let (policy, supersedes) = ("A".into(), Vec::new());
    let condition = Condition::Always;
    world.ask(at, Command::Approve { policy, supersedes, condition }).unwrap();
}

#[test]
fn a_policy_that_was_edited_since_it_was_approved_is_approved_again_or_restored() {
    for (keep, title) in [("approve", "later"), ("restore", "A")] {
        let (mut world, ids) = World::of(2);
        world.publish(ids[1], "A", "2024-04-01");
        world.settle();
        approve(&mut world, ids[0]);
        world.settle();
        assert_none(&mut world, &ids);
        world.patch(ids[1], "policy-A", json!({"title": "later", "color": "red"}));
        world.settle();
        let conflict = only(&mut world, &ids);
        assert_eq!(conflict.kind, ConflictKind::Approval);
        assert_eq!(keeps(&conflict), ["approve", "restore"]);
        let [now, then] = &conflict.values[..] else { panic!("{conflict:?}") };
        assert_eq!(now.value, json!({"color": "red", "title": "later"}));
        assert_eq!(then.value, json!({"color": null, "title": "A"}));
        assert_eq!((now.office, then.office), (ids[1], ids[0]));
        // Only approvers approve; everybody edits.
        let refused = resolve(&mut world, ids[1], &conflict, &json!("approve"));
        assert!(matches!(refused, Err(CommandError::NotAllowed(_))), "{refused:?}");
        let who = if keep == "approve" { ids[0] } else { ids[1] };
        resolve(&mut world, who, &conflict, &json!(keep)).unwrap();
        assert_none(&mut world, &ids);
        assert_eq!(world.event(ids[0], "policy-A").unwrap().event["title"], title);
        world.restart(ids[0]);
        assert_none(&mut world, &ids[..1]);
    }
}

#[test]
fn an_edit_beside_an_approval_is_on_the_list_whatever_came_first() {
    let (mut world, ids) = World::of(2);
    world.publish(ids[0], "A", "2024-04-01");
    apart(&mut world, &ids);
    approve(&mut world, ids[0]);
    world.patch(ids[1], "policy-A", json!({"title": "at the same time"}));
    together(&mut world, &ids);
    assert_eq!(only(&mut world, &ids).values[0].value, json!({"title": "at the same time"}));
    world.restart(ids[1]);
    let conflict = only(&mut world, &ids[1..]);
    resolve(&mut world, ids[0], &conflict, &json!("restore")).unwrap();
    world.link(ids[0], ids[1]);
    world.settle();
    assert_none(&mut world, &ids);
}

/// Two approvers, and what each does apart from the other.
fn dispute(withdraws: bool) -> (World, [OfficeId; 2]) {
    let (mut world, founder) = World::new();
    let ticket = common::signer(102);
    let invite = fasti_core::statement::Invite {
        ticket: fasti_core::TicketId(ticket.office().0),
        name: "Approver".into(),
        roles: vec![fasti_core::statement::Role::Approver, fasti_core::statement::Role::Office],
        expires: i64::MAX,
    };
    world.ask(founder, Command::Invite(invite)).unwrap();
    let second = world.start_with(founder, 2, &ticket);
    let ids = [founder, second];
    world.link(founder, second);
    world.publish(founder, "A", "2024-04-01");
    world.settle();
    if withdraws {
        approve(&mut world, founder);
    }
    apart(&mut world, &ids);
    world.patch(founder, "policy-A", json!({"title": "one"}));
    approve(&mut world, founder);
    if withdraws {
        world.ask(second, Command::Withdraw { policy: "A".into() }).unwrap();
    } else {
        world.patch(second, "policy-A", json!({"color": "red"}));
        approve(&mut world, second);
    }
    together(&mut world, &ids);
    (world, ids)
}

#[test]
fn approvers_who_decided_differently_at_once_are_asked_which_it_is() {
    for pick in [0, 1] {
        let (mut world, ids) = dispute(false);
        let conflict = only(&mut world, &ids);
        assert_eq!((conflict.kind, conflict.choices.len()), (ConflictKind::Dispute, 3));
        let keep = keeps(&conflict)[pick].clone();
        let chosen = conflict.values.iter().find(|it| it.what.contains(keep.as_str().unwrap()));
        let title = chosen.unwrap().value["title"].clone();
        resolve(&mut world, ids[1], &conflict, &keep).unwrap();
        assert_none(&mut world, &ids);
        assert_eq!(world.event(ids[0], "policy-A").unwrap().event["title"], title);
    }
}

#[test]
fn an_approval_beside_a_withdrawal_is_asked_as_well() {
    for pick in [0, 1] {
        let (mut world, ids) = dispute(true);
        let conflict = only(&mut world, &ids);
        assert!(whats(&conflict).contains(&"withdrawn"), "{conflict:?}");
        let keep = keeps(&conflict)[pick].clone();
        resolve(&mut world, ids[0], &conflict, &keep).unwrap();
        assert_none(&mut world, &ids);
    }
}

// ---- Bookings ----

fn room(world: &mut World, at: OfficeId) {
    let terms = Terms { capacity: 1, before: 0, after: 0 };
    let description = Description { name: "Room 1".into(), kind: ResourceKind::Room, terms };
    world.ask(at, Command::AddResource(NewResource { description, stakeholders: vec![] })).unwrap();
}

fn book(world: &mut World, at: OfficeId, uid: &str, event: &Value) -> Vec<BookingView> {
    let Value::Object(event) = event.clone() else { unreachable!() };
    let (resource, uid) = ("Room 1".into(), uid.into());
    let event = Some(event);
    let zone = Some("America/Denver".into());
    match world.ask(at, Command::Book(BookRequest { resource, uid, event, slots: vec![], zone })) {
        Ok(Answer::Booked(all)) => all,
        other => panic!("{other:?}"),
    }
}

fn bookings(world: &mut World, at: OfficeId, uid: &str) -> Vec<(BookingState, String)> {
    let query = BookingsQuery { uid: Some(uid.into()), limit: 1000, ..BookingsQuery::default() };
    match world.ask(at, Command::Bookings(query)).unwrap() {
        Answer::Bookings { bookings, .. } => {
            bookings.into_iter().map(|it| (it.state, it.start)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn at(hour: &str) -> Value {
    json!({"title": "Talk", "start": format!("2030-01-01T{hour}"), "duration": "PT1H", "timeZone": "America/Denver"})
}

use BookingState::{Cancelled, Displaced, Settled, Tentative};

#[test]
fn a_displaced_booking_is_moved_or_given_up() {
    for pick in [0, usize::MAX] {
        let (mut world, ids) = World::of(2);
        room(&mut world, ids[0]);
        world.settle();
        book(&mut world, ids[0], "first", &at("09:00:00"));
        world.settle();
        book(&mut world, ids[1], "second", &at("09:00:00"));
        world.settle();
        let conflict = only(&mut world, &ids);
        assert_eq!((conflict.kind, &conflict.uid[..]), (ConflictKind::Booking, "second"));
        assert_eq!(whats(&conflict), ["holds the time", "displaced"]);
        let keeps = keeps(&conflict);
        assert_eq!(keeps[0], "2030-01-01T17:00:00Z");
        assert_eq!(*keeps.last().unwrap(), "cancel");
        let keep = keeps.get(pick).unwrap_or_else(|| keeps.last().unwrap());
        resolve(&mut world, ids[1], &conflict, keep).unwrap();
        assert_none(&mut world, &ids);
        let after = bookings(&mut world, ids[0], "second");
        let event = world.event(ids[0], "second").unwrap().event;
        if pick == 0 {
            let moved = (Settled, "2030-01-01T17:00:00Z".to_owned());
            assert_eq!(after, [(Cancelled, "2030-01-01T16:00:00Z".to_owned()), moved]);
            assert_eq!(event["start"], "2030-01-01T10:00:00");
        } else {
            assert_eq!(after, [(Cancelled, "2030-01-01T16:00:00Z".to_owned())]);
            assert_eq!(event["start"], "2030-01-01T09:00:00");
        }
    }
}

#[test]
fn an_occurrence_that_is_displaced_is_moved_or_given_up_alone() {
    for pick in ["move", "cancel"] {
        let (mut world, ids) = World::of(2);
        room(&mut world, ids[0]);
        world.settle();
        book(&mut world, ids[0], "first", &at("09:00:00"));
        let mut series = at("09:00:00");
        series["start"] = json!("2029-12-31T09:00:00");
        series["recurrenceRules"] = json!([{"frequency": "daily", "count": 3}]);
        world.pass(1_893_000_000_000 - world.wall());
        book(&mut world, ids[0], "second", &series);
        world.settle();
        let conflict = only(&mut world, &ids);
        let refused = resolve(&mut world, ids[1], &conflict, &keeps(&conflict)[0]).unwrap_err();
        assert!(refused.to_string().contains("which booked"), "{refused}");
        let held = |world: &mut World| {
            let held = bookings(world, ids[0], "second").into_iter().filter(|it| it.0 == Settled);
            held.map(|it| it.1).collect::<Vec<String>>()
        };
        if pick == "cancel" {
            resolve(&mut world, ids[0], &conflict, &json!("cancel")).unwrap();
            // It isn't booked again, whatever becomes of the series.
            world.patch(ids[0], "second", json!({"duration": "PT30M"}));
            world.settle();
            assert_none(&mut world, &ids);
            assert_eq!(held(&mut world), ["2029-12-31T16:00:00Z", "2030-01-02T16:00:00Z"]);
            continue;
        }
        resolve(&mut world, ids[0], &conflict, &keeps(&conflict)[0]).unwrap();
        assert_none(&mut world, &ids);
        let all = ["2029-12-31T16:00:00Z", "2030-01-01T17:00:00Z", "2030-01-02T16:00:00Z"];
        assert_eq!(held(&mut world), all);
    }
}

#[test]
fn a_booking_follows_its_event_wherever_it_is_moved_and_cancelled() {
    let (mut world, ids) = World::of(2);
    room(&mut world, ids[0]);
    book(&mut world, ids[0], "talk", &at("09:00:00"));
    world.settle();
    // By another door of the same office; by another office, through the node of the one that booked.
    for (who, start) in [(ids[0], "11:00:00"), (ids[1], "13:00:00")] {
        world.patch(who, "talk", json!({ "start": format!("2030-01-01T{start}") }));
        world.settle();
        let expected = if who == ids[0] { "2030-01-01T18:00:00Z" } else { "2030-01-01T20:00:00Z" };
        for id in &ids {
            let held = bookings(&mut world, *id, "talk");
            let held: Vec<_> = held.iter().filter(|it| it.0 != Cancelled).collect();
            assert_eq!(held, [&(Settled, expected.to_owned())]);
        }
    }
    cancel(&mut world, ids[1], "talk");
    world.settle();
    assert!(bookings(&mut world, ids[1], "talk").iter().all(|it| it.0 == Cancelled));
    let entries = world.status(ids[0]).entries;
    world.restart(ids[0]);
    assert_eq!(world.status(ids[0]).entries, entries, "nothing is left to do");
}

#[test]
fn a_series_is_booked_as_time_goes_on() {
    const DAY: u64 = 86_400;
    let (mut world, ids) = World::of(1);
    room(&mut world, ids[0]);
    let mut series = at("09:00:00");
    series["start"] = json!("2030-01-01T09:00:00");
    series["recurrenceRules"] = json!([{"frequency": "weekly"}]);
    world.pass(1_893_456_000_000 - world.wall());
    let first = book(&mut world, ids[0], "series", &series);
    assert!((57..=58).contains(&first.len()), "{}", first.len());
    let booked = |world: &mut World| {
        let all = bookings(world, ids[0], "series");
        all.into_iter().filter(|it| it.0 == Settled).count()
    };
    world.sleep(8 * DAY);
    world.settle();
    assert_eq!(booked(&mut world), first.len() + 1);
    // What has passed is kept.
    world.patch(ids[0], "series", json!({"duration": "PT2H"}));
    let all = bookings(&mut world, ids[0], "series");
    let kept = all.iter().filter(|it| it.0 == Settled && it.1.as_str() < "2030-01-08").count();
    assert_eq!((kept, booked(&mut world)), (1, first.len() + 1));
}

#[test]
fn what_floats_is_booked_in_the_zone_that_was_given() {
    let (mut world, ids) = World::of(1);
    room(&mut world, ids[0]);
    let event = json!({"title": "Fair", "start": "2030-01-01T00:00:00", "duration": "P1D", "showWithoutTime": true});
    book(&mut world, ids[0], "fair", &event);
    let expected = [(Settled, "2030-01-01T07:00:00Z".to_owned())];
    assert_eq!(bookings(&mut world, ids[0], "fair"), expected);
    world.patch(ids[0], "fair", json!({"title": "The fair"}));
    assert_eq!(bookings(&mut world, ids[0], "fair"), expected);
    // A day has no better hour: another day is for people to find.
    book(&mut world, ids[0], "other", &event);
    assert_eq!(keeps(&only(&mut world, &ids)), ["cancel"]);
    assert_eq!(bookings(&mut world, ids[0], "other")[0].0, Displaced);
    assert_ne!(bookings(&mut world, ids[0], "other")[0].0, Tentative);
}

// ---- Forks ----

#[test]
fn an_office_that_signed_two_histories_is_looked_into_or_removed_by_an_admin() {
    for keep in ["both", "remove"] {
        let (mut world, ids) = World::of(3);
        world.publish(ids[0], "A", "2024-04-01");
        world.settle();
        let mut mallory = Mallory::in_world_of(&mut world, &ids);
        let ids = &ids[..2];
        let mut other = mallory.run(vec![mallory.honest.clone()]);
        other.links[0].time += 1000;
        mallory.sign(&mut other);
        let honest = mallory.honest.clone();
        mallory.write(&mut world, ids[0], honest);
        mallory.push(&mut world, ids[0], other);
        world.settle();
        // Both histories wrote the title alike.
        let conflict = only(&mut world, ids);
        assert_eq!((conflict.kind, conflict.values.len()), (ConflictKind::Fork, 2));
        assert_eq!(keeps(&conflict), ["both", "remove"]);
        let refused = resolve(&mut world, ids[1], &conflict, &json!(keep));
        assert!(matches!(refused, Err(CommandError::NotAllowed(_))), "{refused:?}");
        resolve(&mut world, ids[0], &conflict, &json!(keep)).unwrap();
        world.settle_for(60);
        for id in ids {
            assert_eq!(world.conflicts(*id), []);
        }
    }
}
