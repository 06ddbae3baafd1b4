//! Edits, imports, bookings, approvals and decisions, in any order, in a network that falls apart and comes together:
//! in the end every node shows the same, and goes on to do so however it comes by it.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::mallory::Dice;
use common::{World, signer};
use fasti_core::command::{
    AsOf, BookRequest, BookingsQuery, Condition, EventsQuery, NewResource, ReportQuery,
};
use fasti_core::resource::{Description, ResourceKind, Terms};
use fasti_core::statement::{Invite, Role};
use fasti_core::{Answer, Command, OfficeId, TicketId};
use serde_json::{Value, json};

const OFFICES: u8 = 4;
const UIDS: [&str; 4] = ["policy-A", "policy-B", "round", "visit"];

/// A founder who is an approver, another approver, and two more, all linked.
fn world() -> (World, Vec<OfficeId>) {
    let (mut world, founder) = World::new();
    let mut ids = vec![founder];
    for seed in 2..=OFFICES {
        let ticket = signer(seed + 100);
        let roles = if seed == 2 { vec![Role::Approver, Role::Office] } else { vec![Role::Office] };
        let (name, expires) = (format!("Office {seed}"), i64::MAX);
        let ticket_id = TicketId(ticket.office().0);
        let invite = Invite { ticket: ticket_id, name, roles, expires };
        world.ask(founder, Command::Invite(invite)).unwrap();
        let id = world.start_with(founder, seed, &ticket);
        for other in &ids {
            world.link(id, *other);
        }
        world.settle();
        ids.push(id);
    }
    let terms = Terms { capacity: 1, before: 0, after: 600 };
    for (name, stakeholders) in [("Room", vec![ids[2]]), ("Van", vec![ids[1], ids[3]])] {
        let description = Description { name: name.into(), kind: ResourceKind::Room, terms };
        let new = NewResource { description, stakeholders };
        world.ask(founder, Command::AddResource(new)).unwrap();
    }
    world.settle();
    (world, ids)
}

fn pick<'a, T: ?Sized>(dice: &mut Dice, all: &[&'a T]) -> &'a T {
    all[dice.roll(all.len())]
}

/// What one office asks next.
fn command(world: &mut World, dice: &mut Dice, at: OfficeId) -> Command {
    let uid = pick(dice, &UIDS).to_owned();
    let policy = pick(dice, &["A", "B"]).to_owned();
    let hour = 9 + dice.roll(3);
    let time = format!("2030-01-0{}T{hour:02}:00:00", 1 + dice.roll(2));
    let condition = Condition::Always;
    match dice.roll(16) {
        0 => {
            let event = json!({"type": "policy_start", "payload": {"policy_id": policy, "start_date": "2030-01-01"}});
            Command::Publish(vec![fasti_core::policy::PolicyEvent::from_json(event).unwrap()])
        }
        1..=3 => {
            let patch = match dice.roll(4) {
                0 => json!({ "title": format!("title {}", dice.roll(3)) }),
                1 => json!({ "start": time, "duration": "PT1H", "timeZone": "America/Denver" }),
                2 => json!({ "status": pick(dice, &["confirmed", "cancelled", "tentative"]) }),
                _ => json!({ "description": null }),
            };
            let Value::Object(patch) = patch else { unreachable!() };
            Command::Patch { uid, patch, condition }
        }
        4..=5 => {
            let text = format!(
                "BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTART;TZID=America/Denver:203001{:02}T{hour:02}0000\r\n\
                 DURATION:PT1H\r\nSUMMARY:imported {}\r\nX-ROOM:{}\r\nEND:VEVENT\r\n",
                1 + dice.roll(2),
                dice.roll(3),
                dice.roll(3)
            );
            let event = fasti_calendar::ical::read(text.as_bytes()).events.remove(0).1;
            Command::Put { uid, event, condition }
        }
        6 => Command::Cancel { uid, condition },
        7..=9 => {
            let event = json!({"title": format!("{uid} booked"), "start": time, "duration": "PT1H", "timeZone": "America/Denver"});
            let event = (dice.roll(3) > 0).then(|| event.as_object().unwrap().clone());
            let (resource, slots) = (pick(dice, &["Room", "Van"]).to_owned(), Vec::new());
            Command::Book(BookRequest { resource, uid, event, slots, zone: None })
        }
        10 => Command::CancelBooking { uid },
        11 => Command::Propose { policy, condition },
        12 => Command::Approve { policy, supersedes: Vec::new(), condition },
        13 if dice.roll(3) == 0 => Command::Withdraw { policy },
        _ => {
            let conflicts = world.conflicts(at);
            if conflicts.is_empty() {
                return Command::Cancel { uid, condition };
            }
            let conflict = &conflicts[dice.roll(conflicts.len())];
            let choice = &conflict.choices[dice.roll(conflict.choices.len())];
            Command::Resolve { conflict: conflict.id.clone(), keep: choice.keep.clone() }
        }
    }
}

/// All that an office shows, but for its own name and clock.
fn shown(world: &mut World, at: OfficeId) -> Vec<String> {
    let limit = 1000;
    let all = [
        Command::Events(EventsQuery { limit, ..EventsQuery::default() }),
        Command::Conflicts,
        Command::Policies,
        Command::Resources,
        Command::Bookings(BookingsQuery { limit, ..BookingsQuery::default() }),
    ];
    let mut shown: Vec<String> =
        all.into_iter().map(|it| format!("{:#?}", world.ask(at, it).unwrap())).collect();
    if let Answer::Report(mut report) =
        world.ask(at, Command::Report(ReportQuery { policy: None, as_of: AsOf::Now })).unwrap()
    {
        (report.office, report.made) = (OfficeId([0; 32]), 0);
        report.name.clear();
        // By which entry is known of all; when else it was said is a matter of each node's notices.
        for holder in report.policies.iter_mut().flat_map(|it| &mut it.holders) {
            holder.since = holder.entry.and(holder.since);
        }
        shown.push(format!("{report:#?}"));
    }
    shown
}

/// Says where they differ.
#[track_caller]
fn assert_same(one: &[String], two: &[String]) {
    for (one, two) in one.iter().zip(two) {
        let differing = one.lines().zip(two.lines()).find(|(one, two)| one != two);
        assert!(one == two, "{differing:?} in\n{one}\n\n{two}");
    }
    assert_eq!(one.len(), two.len());
}

/// No two that hold a time overlap by more than there is room for, and all are final once everybody knows all.
fn assert_sound(world: &mut World, at: OfficeId) {
    use fasti_core::command::BookingState::{Settled, Tentative};
    let query = BookingsQuery { limit: 1000, ..BookingsQuery::default() };
    let Answer::Bookings { bookings, .. } = world.ask(at, Command::Bookings(query)).unwrap() else {
        panic!("no bookings")
    };
    assert!(bookings.iter().all(|it| it.state != Tentative), "{bookings:#?}");
    let held: Vec<_> = bookings.iter().filter(|it| it.state == Settled).collect();
    for (place, one) in held.iter().enumerate() {
        for two in &held[place + 1..] {
            let apart =
                one.resource != two.resource || one.end <= two.start || two.end <= one.start;
            assert!(apart, "{one:#?} {two:#?}");
        }
    }
}

fn play(seed: u64) -> usize {
    let mut dice = Dice(seed);
    let (mut world, ids) = world();
    let mut done = 0;
    for _ in 0..3 + dice.roll(4) {
        for (place, one) in ids.iter().enumerate() {
            for two in &ids[place + 1..] {
                match dice.roll(2) {
                    0 => world.cut(*one, *two),
                    _ => world.link(*one, *two),
                }
            }
        }
        for _ in 0..2 + dice.roll(10) {
            let at = ids[dice.roll(ids.len())];
            let command = command(&mut world, &mut dice, at);
            done += usize::from(world.ask(at, command).is_ok());
            if dice.roll(3) == 0 {
                world.deliver();
            }
        }
        if dice.roll(3) == 0 {
            let at = ids[dice.roll(ids.len())];
            world.restart(at);
        }
        world.settle_for(1);
    }
    for (place, one) in ids.iter().enumerate() {
        for two in &ids[place + 1..] {
            world.link(*one, *two);
        }
    }
    // Bookings that follow events and grants take some rounds.
    world.settle_for(120);
    world.assert_agreed();
    let first = shown(&mut world, ids[0]);
    for id in &ids {
        assert_same(&shown(&mut world, *id), &first);
    }
    assert_sound(&mut world, ids[0]);
    // So it is for one that was opened again, for one that judges all anew, and for one that comes late.
    world.restart(ids[0]);
    world.offices.get_mut(&ids[1]).unwrap().disk.judge_again = true;
    world.restart(ids[1]);
    let late = world.join(ids[0], OFFICES + 1, "Late");
    for id in &ids {
        world.link(ids[0], *id);
        world.link(ids[1], *id);
        world.link(late, *id);
    }
    world.settle_for(120);
    let first = shown(&mut world, late);
    for id in &ids {
        assert_same(&shown(&mut world, *id), &first);
    }
    assert_sound(&mut world, late);
    done
}

/// `FASTI_SEEDS=5000 cargo nextest run -p fasti-core --test interleavings` for more of them.
#[test]
fn any_interleaving_shows_the_same_everywhere() {
    let seeds = std::env::var("FASTI_SEEDS").map_or(60, |seeds| seeds.parse().unwrap());
    let mut done = 0;
    for seed in 0..seeds {
        let played = std::panic::catch_unwind(|| play(seed));
        done += played.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(done as u64 > seeds * 5, "hardly anything was carried out: {done}");
}
