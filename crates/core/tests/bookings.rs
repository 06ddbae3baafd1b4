//! Stories of rooms that offices book, each at its own node.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::World;
use fasti_core::command::{
    BookRequest, BookingState, BookingView, BookingsQuery, NewResource, ResourceEdit, ResourceView,
};
use fasti_core::resource::{Description, ResourceKind, Slot, Terms};
use fasti_core::{Answer, Command, CommandError, OfficeId};
use serde_json::{Value, json};

const HOUR: i64 = 3600;
/// 2030-01-01T00:00:00Z.
const DAY: i64 = 1_893_456_000;

fn described(name: &str) -> Description {
    let terms = Terms { capacity: 1, before: 0, after: 0 };
    Description { name: name.into(), kind: ResourceKind::Room, terms }
}

fn add(world: &mut World, at: OfficeId, name: &str, stakeholders: &[OfficeId]) -> ResourceView {
    let stakeholders = stakeholders.to_vec();
    let new = NewResource { description: described(name), stakeholders };
    match world.ask(at, Command::AddResource(new)).unwrap() {
        Answer::Resource(view) => view,
        other => panic!("{other:?}"),
    }
}

fn edit(world: &mut World, at: OfficeId, name: &str, edit: ResourceEdit) -> ResourceView {
    match world.ask(at, Command::EditResource { resource: name.into(), edit }).unwrap() {
        Answer::Resource(view) => view,
        other => panic!("{other:?}"),
    }
}

fn slot(from: i64, to: i64) -> Slot {
    Slot { start: DAY + from * HOUR, end: DAY + to * HOUR, occurrence: String::new() }
}

/// It takes no time of its own, so that it keeps what is booked for it.
fn event(title: &str) -> Value {
    json!({"title": title, "start": "2030-01-01T09:00:00", "timeZone": "Etc/UTC"})
}

/// Books some hours, and gives what became of each.
fn book(
    world: &mut World,
    at: OfficeId,
    room: &str,
    uid: &str,
    hours: &[(i64, i64)],
) -> Vec<BookingView> {
    let Value::Object(event) = event(uid) else { unreachable!() };
    let request = BookRequest {
        resource: room.into(),
        uid: uid.into(),
        event: Some(event),
        slots: hours.iter().map(|(from, to)| slot(*from, *to)).collect(),
        zone: None,
    };
    match world.ask(at, Command::Book(request)).unwrap() {
        Answer::Booked(all) => all,
        other => panic!("{other:?}"),
    }
}

fn cancel(world: &mut World, at: OfficeId, uid: &str) {
    world.ask(at, Command::CancelBooking { uid: uid.into() }).unwrap();
}

fn bookings(world: &mut World, at: OfficeId, uid: &str) -> Vec<BookingView> {
    let query = BookingsQuery { uid: Some(uid.into()), limit: 100, ..BookingsQuery::default() };
    match world.ask(at, Command::Bookings(query)).unwrap() {
        Answer::Bookings { bookings, .. } => bookings,
        other => panic!("{other:?}"),
    }
}

fn states(world: &mut World, at: OfficeId, uid: &str) -> Vec<BookingState> {
    bookings(world, at, uid).into_iter().map(|it| it.state).collect()
}

fn entries(world: &mut World, at: OfficeId) -> u64 {
    world.status(at).entries
}

use BookingState::{Cancelled, Displaced, Settled, Tentative};

#[test]
fn ones_own_room_is_settled_before_the_answer_even_offline() {
    let (mut world, ids) = World::of(2);
    let (denver, boston) = (ids[0], ids[1]);
    add(&mut world, denver, "Room 1", &[]);
    world.settle();
    world.cut(denver, boston);
    let booked = book(&mut world, denver, "Room 1", "standup", &[(9, 10)]);
    assert_eq!((booked[0].state, &booked[0].title[..]), (Settled, "standup"));
    assert_eq!(booked[0].start, "2030-01-01T09:00:00Z");
    // Whoever hears of it knows at once that it is final.
    world.link(denver, boston);
    world.settle();
    assert_eq!(states(&mut world, boston, "standup"), [Settled]);
}

#[test]
fn the_second_booking_of_an_hour_is_displaced_and_told_by_whom_and_what_is_free() {
    let (mut world, ids) = World::of(2);
    let denver = ids[0];
    add(&mut world, denver, "Room 1", &[]);
    book(&mut world, denver, "Room 1", "standup", &[(9, 10)]);
    let second = book(&mut world, denver, "Room 1", "review", &[(9, 11)]).remove(0);
    assert_eq!(second.state, Displaced);
    assert_eq!(second.displaced_by[0].uid, "standup");
    assert!(second.reason.contains("booked before"), "{}", second.reason);
    assert_eq!(second.next_free[0].start, "2030-01-01T10:00:00Z");
    assert_eq!(second.next_free[0].end, "2030-01-01T12:00:00Z");
    world.settle();
    let conflicts = world.conflicts(ids[1]);
    assert_eq!((conflicts.len(), &conflicts[0].uid[..]), (1, "review"));
    assert_eq!(conflicts[0].values[0].value["uid"], "standup");
    assert_eq!(world.status(ids[1]).conflicts, 1);
    // When the first goes, the second gets its time.
    cancel(&mut world, denver, "standup");
    assert_eq!(states(&mut world, denver, "review"), [Settled]);
    assert_eq!(states(&mut world, denver, "standup"), [Cancelled]);
    assert_eq!(world.event(denver, "standup").unwrap().event["status"], "cancelled");
    assert_eq!(world.conflicts(denver), []);
}

#[test]
fn another_offices_room_is_asked_for_and_granted_by_its_node() {
    let (mut world, ids) = World::of(3);
    let (denver, boston, austin) = (ids[0], ids[1], ids[2]);
    add(&mut world, denver, "Room 1", &[]);
    world.settle();
    world.cut(boston, denver);
    world.cut(boston, austin);
    let asked = book(&mut world, boston, "Room 1", "visit", &[(9, 10), (11, 12)]);
    assert_eq!((asked[0].state, asked[0].granted), (Tentative, false));
    assert_eq!(asked[0].waits_for, [denver]);
    // Asked for later, and granted before.
    let own = book(&mut world, denver, "Room 1", "standup", &[(11, 13)]);
    assert_eq!(own[0].state, Settled);
    world.link(boston, denver);
    world.settle();
    for id in [denver, boston] {
        assert_eq!(states(&mut world, id, "visit"), [Settled, Displaced]);
    }
    // Nothing goes round in circles.
    let before = entries(&mut world, denver);
    world.settle();
    assert_eq!(entries(&mut world, denver), before);
    // What was asked for can be given back, by asking.
    cancel(&mut world, boston, "visit");
    cancel(&mut world, boston, "visit");
    world.settle();
    assert_eq!(states(&mut world, denver, "visit"), [Cancelled, Cancelled]);
    assert_eq!(book(&mut world, denver, "Room 1", "lunch", &[(9, 10)])[0].state, Settled);
}

#[test]
fn what_was_asked_for_while_the_stakeholder_was_down_is_granted_when_it_starts() {
    let (mut world, ids) = World::of(2);
    let (denver, boston) = (ids[0], ids[1]);
    add(&mut world, denver, "Room 1", &[]);
    world.settle();
    // It has the request on its disk, but was stopped before it could say anything.
    world.cut(denver, boston);
    book(&mut world, boston, "Room 1", "visit", &[(9, 10)]);
    let mut disk = world.offices[&denver].disk.clone();
    disk.rows = world.offices[&boston].disk.rows.clone();
    world.restore(denver, disk);
    world.link(denver, boston);
    world.settle();
    assert_eq!(states(&mut world, boston, "visit"), [Settled]);
    world.restart(denver);
    let before = entries(&mut world, denver);
    world.settle();
    assert_eq!(entries(&mut world, denver), before);
    assert_eq!(states(&mut world, denver, "visit"), [Settled]);
}

#[test]
fn a_shared_van_is_settled_once_both_offices_have_acknowledged() {
    let (mut world, ids) = World::of(3);
    let (denver, boston, austin) = (ids[0], ids[1], ids[2]);
    add(&mut world, denver, "Van", &[denver, boston]);
    world.settle();
    world.cut(denver, boston);
    world.cut(boston, austin);
    let first = book(&mut world, denver, "Van", "move", &[(9, 12)]);
    assert_eq!((first[0].state, &first[0].waits_for[..]), (Tentative, &[boston][..]));
    let second = book(&mut world, boston, "Van", "trip", &[(11, 14)]);
    assert_eq!(second[0].state, Tentative);
    world.link(denver, boston);
    world.link(boston, austin);
    world.settle();
    world.assert_agreed();
    // One of the two holds, everywhere the same, and for good.
    let of_denver = states(&mut world, denver, "move");
    for id in ids {
        let states = [states(&mut world, id, "move"), states(&mut world, id, "trip")].concat();
        assert!(states.contains(&Settled) && states.contains(&Displaced), "{states:?}");
        assert_eq!(states[0], of_denver[0]);
    }
}

#[test]
fn a_move_gives_up_the_old_time_and_a_capacity_binds_later_bookings() {
    let (mut world, ids) = World::of(1);
    let denver = ids[0];
    add(&mut world, denver, "Room 1", &[]);
    book(&mut world, denver, "Room 1", "standup", &[(9, 10)]);
    let moved = book(&mut world, denver, "Room 1", "standup", &[(9, 11)]);
    let states: Vec<_> = moved.iter().map(|it| (it.state, &it.end[11..13])).collect();
    assert_eq!(states, [(Cancelled, "10"), (Settled, "11")]);
    // The same again is nothing new.
    let before = entries(&mut world, denver);
    book(&mut world, denver, "Room 1", "standup", &[(9, 11)]);
    assert_eq!(entries(&mut world, denver), before);
    let two = ResourceEdit { capacity: Some(2), after: Some(1800), ..ResourceEdit::default() };
    edit(&mut world, denver, "Room 1", two);
    assert_eq!(book(&mut world, denver, "Room 1", "second", &[(9, 10)])[0].state, Settled);
    assert_eq!(book(&mut world, denver, "Room 1", "third", &[(9, 10)])[0].state, Displaced);
    let free = Command::Free { resource: "Room 1".into(), from: DAY, to: DAY + 24 * HOUR };
    let Answer::Free { free, .. } = world.ask(denver, free).unwrap() else { panic!() };
    let free: Vec<_> = free.iter().map(|it| (&it.start[11..16], &it.end[11..16])).collect();
    assert_eq!(free, [("00:00", "08:30"), ("10:30", "00:00")]);
    // However an event is cancelled, its booking goes with it.
    world.patch(denver, "second", json!({"status": "cancelled"}));
    assert_eq!(bookings(&mut world, denver, "third")[0].state, Settled);
}

#[test]
fn a_new_stakeholder_counts_once_all_have_accepted_it() {
    let (mut world, ids) = World::of(3);
    let (denver, boston, austin) = (ids[0], ids[1], ids[2]);
    add(&mut world, denver, "Van", &[denver, boston]);
    world.settle();
    let add = ResourceEdit { add: Some(austin), ..ResourceEdit::default() };
    let refused = Command::EditResource { resource: "Van".into(), edit: add.clone() };
    assert!(matches!(world.ask(austin, refused), Err(CommandError::NotAllowed(_))));
    let view = edit(&mut world, denver, "Van", add);
    assert_eq!((view.stakeholders.len(), &view.proposals[0].waits_for[..]), (2, &[boston][..]));
    world.settle();
    let (resource, proposal) = ("Van".to_owned(), view.proposals[0].id);
    let accept = Command::AcceptStakeholders { resource, proposal };
    assert!(matches!(world.ask(austin, accept.clone()), Err(CommandError::NotAllowed(_))));
    world.ask(boston, accept).unwrap();
    world.settle();
    // It books without asking now, and is waited for.
    let booked = book(&mut world, austin, "Van", "trip", &[(9, 10)]);
    assert!(booked[0].granted && booked[0].state == Tentative);
    world.settle();
    for id in ids {
        assert_eq!(states(&mut world, id, "trip"), [Settled]);
    }
}

/// Found by the simulator: they were listed in the order in which they had come.
#[test]
fn what_two_stakeholders_propose_side_by_side_is_listed_alike_everywhere() {
    let (mut world, ids) = World::of(4);
    let [a, b, c, d] = ids[..] else { unreachable!() };
    add(&mut world, a, "Van", &[a, b]);
    world.settle();
    world.cut(a, b);
    for (at, new) in [(a, c), (b, d)] {
        edit(&mut world, at, "Van", ResourceEdit { add: Some(new), ..ResourceEdit::default() });
    }
    world.link(a, b);
    world.settle();
    let proposals = |world: &mut World, at| match world.ask(at, Command::Resources).unwrap() {
        Answer::Resources(all) => all[0].proposals.clone(),
        other => panic!("{other:?}"),
    };
    let of_a = proposals(&mut world, a);
    assert_eq!(of_a.len(), 2);
    assert_eq!(of_a, proposals(&mut world, b));
}

/// What a dead office booked and nobody has heard of is void; what somebody has heard of stays.
#[test]
fn a_dead_office_is_dismissed_and_the_van_goes_on() {
    let (mut world, ids) = World::of(3);
    let (denver, boston, austin) = (ids[0], ids[1], ids[2]);
    add(&mut world, denver, "Van", &[boston, austin]);
    world.settle();
    book(&mut world, austin, "Van", "known", &[(9, 10)]);
    world.settle();
    for id in [denver, boston] {
        world.cut(austin, id);
    }
    let unheard = book(&mut world, austin, "Van", "unheard", &[(11, 12)]);
    assert_eq!(unheard[0].state, Tentative);
    book(&mut world, boston, "Van", "trip", &[(11, 12)]);
    world.settle();
    assert_eq!(states(&mut world, boston, "trip"), [Tentative]);
    let dismiss = ResourceEdit { dismiss: Some(austin), ..ResourceEdit::default() };
    let refused = Command::EditResource { resource: "Van".into(), edit: dismiss.clone() };
    assert!(matches!(world.ask(boston, refused), Err(CommandError::NotAllowed(_))));
    let view = edit(&mut world, denver, "Van", dismiss);
    world.settle();
    let (resource, proposal) = ("Van".to_owned(), view.proposals[0].id);
    world.ask(boston, Command::AcceptStakeholders { resource, proposal }).unwrap();
    world.settle();
    for id in [denver, boston] {
        assert_eq!(states(&mut world, id, "trip"), [Settled]);
        assert_eq!(states(&mut world, id, "known"), [Settled]);
    }
    // It comes back, and sees what became of it; what it books from now on is granted.
    world.link(austin, denver);
    world.link(austin, boston);
    world.settle();
    world.assert_agreed();
    for id in [denver, boston, austin] {
        let view = bookings(&mut world, id, "unheard").remove(0);
        assert_eq!(view.state, Displaced);
        assert!(view.reason.contains("book again"), "{}", view.reason);
        assert_eq!(states(&mut world, id, "trip"), [Settled]);
    }
    book(&mut world, austin, "Van", "again", &[(12, 13)]);
    world.settle();
    assert_eq!(states(&mut world, austin, "again"), [Settled]);
}

/// A room of an office that is gone has to go to somebody.
#[test]
fn the_only_stakeholder_is_dismissed_and_the_admin_takes_over() {
    let (mut world, ids) = World::of(2);
    let (denver, boston) = (ids[0], ids[1]);
    add(&mut world, boston, "Room 2", &[]);
    world.settle();
    world.cut(denver, boston);
    book(&mut world, denver, "Room 2", "visit", &[(9, 10)]);
    assert_eq!(states(&mut world, denver, "visit"), [Tentative]);
    let dismiss = ResourceEdit { dismiss: Some(boston), ..ResourceEdit::default() };
    let view = edit(&mut world, denver, "Room 2", dismiss);
    assert_eq!(view.stakeholders[0].office, denver);
    // It grants what it had asked for itself.
    world.settle();
    assert_eq!(states(&mut world, denver, "visit"), [Settled]);
}

/// Two nodes with one key: what they booked side by side is displaced, on all nodes, and can be booked again.
#[test]
fn what_a_copied_office_books_is_displaced_everywhere() {
    let (mut world, ids) = World::of(3);
    let (denver, boston) = (ids[0], ids[1]);
    add(&mut world, boston, "Room 2", &[]);
    world.settle();
    let copy = world.offices[&boston].disk.clone();
    let others = [denver, ids[2]];
    others.iter().for_each(|other| world.cut(boston, *other));
    assert_eq!(book(&mut world, boston, "Room 2", "first", &[(9, 10)])[0].state, Settled);
    let written = world.offices[&boston].disk.clone();
    world.restore(boston, copy);
    others.iter().for_each(|other| world.link(boston, *other));
    assert_eq!(book(&mut world, boston, "Room 2", "second", &[(9, 10)])[0].state, Settled);
    world.settle();
    world.restore(boston, written);
    world.settle();
    for id in ids {
        assert_eq!(states(&mut world, id, "first"), [Displaced]);
        assert_eq!(states(&mut world, id, "second"), [Displaced]);
    }
    assert_eq!(book(&mut world, boston, "Room 2", "third", &[(9, 10)])[0].state, Settled);
}

/// What a stakeholder granted in both of its histories is asked of it again. (Found by the simulator: every node that
/// took the second history stopped.)
#[test]
fn what_a_copied_office_grants_twice_is_granted_again() {
    let (mut world, ids) = World::of(3);
    let [denver, boston, austin] = ids[..] else { unreachable!() };
    add(&mut world, boston, "Room 2", &[]);
    world.settle();
    let copy = world.offices[&boston].disk.clone();
    world.cut(boston, denver);
    world.cut(boston, austin);
    book(&mut world, denver, "Room 2", "visit", &[(9, 10)]);
    world.settle();
    world.cut(denver, austin);
    world.link(boston, denver);
    world.settle();
    assert_eq!(states(&mut world, denver, "visit"), [Settled]);
    world.cut(boston, denver);
    world.restore(boston, copy);
    world.link(boston, austin);
    world.settle();
    assert_eq!(states(&mut world, austin, "visit"), [Settled]);
    world.link(boston, denver);
    world.link(denver, austin);
    world.settle();
    for id in ids {
        let shown = bookings(&mut world, id, "visit");
        assert!(shown[0].granted && shown[0].state == Settled, "{shown:?}");
    }
}

/// Every node opened anew, with all judged again or not, shows the same.
#[test]
fn bookings_are_the_same_after_opening_and_after_judging_again() {
    let (mut world, ids) = World::of(2);
    let (denver, boston) = (ids[0], ids[1]);
    add(&mut world, denver, "Room 1", &[]);
    world.settle();
    book(&mut world, denver, "Room 1", "a", &[(9, 10), (11, 12)]);
    book(&mut world, boston, "Room 1", "b", &[(9, 10), (13, 14)]);
    world.settle();
    cancel(&mut world, denver, "a");
    world.settle();
    let before = [bookings(&mut world, boston, "a"), bookings(&mut world, boston, "b")];
    world.restart(boston);
    assert_eq!([bookings(&mut world, boston, "a"), bookings(&mut world, boston, "b")], before);
    let mut disk = world.offices[&boston].disk.clone();
    disk.judge_again = true;
    world.restore(boston, disk);
    world.settle();
    assert_eq!([bookings(&mut world, boston, "a"), bookings(&mut world, boston, "b")], before);
}

/// An office that was removed has no bookings any more that nobody built upon.
#[test]
fn what_a_removed_office_booked_unheard_drops_out() {
    let (mut world, ids) = World::of(3);
    let (denver, boston, austin) = (ids[0], ids[1], ids[2]);
    add(&mut world, denver, "Room 1", &[]);
    world.settle();
    world.cut(boston, denver);
    world.cut(austin, denver);
    book(&mut world, boston, "Room 1", "visit", &[(9, 10)]);
    world.settle();
    assert_eq!(states(&mut world, austin, "visit"), [Tentative]);
    world.cut(austin, boston);
    world.ask(denver, Command::Remove { office: boston }).unwrap();
    world.link(austin, denver);
    world.settle();
    assert_eq!(bookings(&mut world, austin, "visit"), []);
    assert_eq!(book(&mut world, denver, "Room 1", "own", &[(9, 10)])[0].state, Settled);
}

#[test]
fn what_can_not_be_booked_is_refused_with_what_to_do() {
    let (mut world, ids) = World::of(1);
    let denver = ids[0];
    add(&mut world, denver, "Room 1", &[]);
    let request = |resource: &str, from, to| BookRequest {
        resource: resource.into(),
        uid: "e".into(),
        event: None,
        slots: vec![slot(from, to)],
        zone: None,
    };
    let mut ask = |request| world.ask(denver, Command::Book(request)).unwrap_err().to_string();
    assert!(ask(request("Room 9", 9, 10)).contains("resource list"));
    assert!(ask(request("Room 1", 10, 10)).contains("end after it begins"));
    assert!(ask(request("Room 1", 9, 10)).contains("no event"));
    let again = NewResource { description: described("Room 1"), stakeholders: vec![] };
    let again = world.ask(denver, Command::AddResource(again)).unwrap_err().to_string();
    assert!(again.contains("already"), "{again}");
    assert_eq!(entries(&mut world, denver), 2);
}

mod hostile {
    use super::*;
    use common::mallory::Mallory;
    use fasti_core::entry::Link;
    use fasti_core::resource::{
        Accept, Book, ClaimId, Define, Describe, Grant, Propose, Reservation,
    };
    use fasti_core::statement::Statement;
    use fasti_core::{EntryHash, ResourceId};

    /// Three offices, of which the third lies, and the first has a room.
    fn world() -> (World, Vec<OfficeId>, ResourceId, Mallory) {
        let (mut world, ids) = World::of(3);
        world.publish(ids[0], "A", "2024-04-01");
        let room = add(&mut world, ids[0], "Room 1", &[]).id;
        world.settle();
        let mallory = Mallory::in_world_of(&mut world, &ids);
        (world, ids, room, mallory)
    }

    fn say(world: &mut World, mallory: &mut Mallory, to: OfficeId, said: Reservation) -> EntryHash {
        let link = mallory.saying(&Statement::Reservation(said));
        mallory.write(world, to, link)
    }

    #[test]
    fn what_is_beyond_the_bounds_is_void() {
        let (mut world, ids, resource, mut mallory) = world();
        let slot = |start, end| Slot { start, end, occurrence: String::new() };
        let book = |claims| Book { resource, uid: "e".into(), releases: vec![], claims };
        let nowhere = ResourceId([9; 32]);
        let me = mallory.id;
        let huge = Description { name: "x".repeat(201), ..described("") };
        let many = |count: i64| (0..count).map(|at| slot(at, at + 1)).collect::<Vec<_>>();
        let bad = vec![
            Reservation::Book(book(vec![])),
            Reservation::Book(book(many(1001))),
            Reservation::Book(book(vec![slot(5, 5)])),
            Reservation::Book(book(vec![slot(-5, 5)])),
            Reservation::Book(book(vec![slot(0, i64::MAX)])),
            Reservation::Book(book(vec![slot(5, 6), slot(1, 2)])),
            Reservation::Book(book(vec![slot(5, 6), slot(5, 6)])),
            Reservation::Book(Book { resource: nowhere, ..book(many(1)) }),
            Reservation::Book(Book { uid: " a".into(), ..book(many(1)) }),
            Reservation::Grant(Grant { resource, requests: vec![] }),
            Reservation::Grant(Grant { resource, requests: vec![EntryHash([1; 32]); 257] }),
            Reservation::Propose(Propose { resource, add: None, dismiss: None }),
            // Mallory is no admin.
            Reservation::Propose(Propose { resource, add: Some(me), dismiss: Some(ids[0]) }),
            Reservation::Define(Define { description: huge, stakeholders: vec![me] }),
            Reservation::Define(Define { description: described("x"), stakeholders: vec![] }),
        ];
        let count = bad.len() as u64;
        for said in bad {
            say(&mut world, &mut mallory, ids[0], said);
        }
        for body in [vec![], vec![0xff; 100]] {
            let link = Link { kind: 8, body, ..mallory.honest.clone() };
            mallory.write(&mut world, ids[0], link);
        }
        world.settle();
        assert_eq!(world.status(ids[0]).void, count + 2);
        assert_eq!(bookings(&mut world, ids[1], "e"), []);
        assert_eq!(book_one(&mut world, ids[0]), Settled);
    }

    fn book_one(world: &mut World, at: OfficeId) -> BookingState {
        book(world, at, "Room 1", "own", &[(9, 10)])[0].state
    }

    /// Who has no say grants nothing to himself, describes nothing, gives nobody a say, and takes nothing from others.
    #[test]
    fn who_has_no_say_changes_nothing() {
        let (mut world, ids, resource, mut mallory) = world();
        assert_eq!(book_one(&mut world, ids[0]), Settled);
        world.cut(ids[0], ids[1]);
        let me = mallory.id;
        let own = bookings(&mut world, ids[0], "own")[0].entry;
        // The second office hears it; the first, which would grant it, doesn't.
        let book = Book {
            resource,
            uid: "mine".into(),
            releases: vec![ClaimId { entry: own, slot: 0 }],
            claims: vec![slot(9, 10), slot(12, 13)],
        };
        let to = ids[1];
        let request = say(&mut world, &mut mallory, to, Reservation::Book(book));
        let all = [
            Reservation::Grant(Grant { resource, requests: vec![request] }),
            Reservation::Describe(Describe { resource, description: described("Mine") }),
            Reservation::Propose(Propose { resource, add: Some(me), dismiss: None }),
            Reservation::Accept(Accept { resource, proposal: request }),
        ];
        for said in all {
            say(&mut world, &mut mallory, to, said);
        }
        world.settle();
        let view = bookings(&mut world, to, "mine");
        assert!(view.iter().all(|it| it.state == Tentative && !it.granted), "{view:?}");
        world.link(ids[0], ids[1]);
        world.settle();
        // It was a request, and is granted as one.
        for id in &ids[..2] {
            assert_eq!(states(&mut world, *id, "mine"), [Displaced, Settled]);
            assert_eq!(states(&mut world, *id, "own"), [Settled]);
        }
        let Answer::Resources(all) = world.ask(to, Command::Resources).unwrap() else { panic!() };
        assert_eq!((all.len(), &all[0].description.name[..]), (1, "Room 1"));
        assert_eq!(all[0].stakeholders.len(), 1);
        assert_eq!(all[0].proposals, []);
    }

    /// Requests by the hundred are granted in a few entries, and once.
    #[test]
    fn a_flood_of_requests_is_granted_in_few_entries() {
        let (mut world, ids, resource, mallory) = world();
        world.cut(ids[0], ids[1]);
        let mut links = Vec::new();
        for at in 0..600 {
            let claims = (0..20).map(|it| slot(at * 20 + it, at * 20 + it + 1)).collect();
            let book = Book { resource, uid: "flood".into(), releases: vec![], claims };
            links.push(mallory.saying(&Statement::Reservation(Reservation::Book(book))));
        }
        let run = mallory.run(links);
        mallory.push(&mut world, ids[1], run);
        let before = entries(&mut world, ids[1]);
        world.link(ids[0], ids[1]);
        world.settle();
        let after = entries(&mut world, ids[0]);
        assert_eq!(after, before + 3, "4,000 claims, of 200 requests, fit into each");
        world.restart(ids[0]);
        world.settle();
        assert_eq!(entries(&mut world, ids[0]), after);
        let query = BookingsQuery { limit: 100, ..BookingsQuery::default() };
        let Answer::Bookings { bookings, more } =
            world.ask(ids[0], Command::Bookings(query)).unwrap()
        else {
            panic!()
        };
        assert!(more && bookings.len() == 100);
        assert!(bookings.iter().all(|it| it.state == Settled));
    }
}

/// An office that goes on under a new key has the same say, and its rooms settle as before.
#[test]
fn an_office_with_a_new_key_has_the_same_say() {
    let (mut world, ids) = World::of(2);
    let (denver, boston) = (ids[0], ids[1]);
    add(&mut world, denver, "Van", &[denver, boston]);
    world.settle();
    book(&mut world, boston, "Van", "before", &[(9, 10)]);
    world.settle();
    let new = common::signer(77);
    let succeed = fasti_core::statement::Succeed::new(&world.network, &boston, &new);
    world.ask(boston, Command::Succeed(succeed)).unwrap();
    world.settle();
    let disk = world.offices[&boston].disk.clone();
    let renewed = world.start_again_as(77, disk);
    world.offices.remove(&boston);
    world.link(renewed, denver);
    world.settle();
    world.ask(renewed, Command::Remove { office: boston }).unwrap();
    world.settle();
    let booked = book(&mut world, renewed, "Van", "after", &[(11, 12)]);
    assert!(booked[0].granted);
    world.settle();
    for id in [denver, renewed] {
        assert_eq!(states(&mut world, id, "before"), [Settled]);
        assert_eq!(states(&mut world, id, "after"), [Settled]);
    }
    cancel(&mut world, renewed, "before");
    world.settle();
    assert_eq!(states(&mut world, denver, "before"), [Cancelled]);
}
