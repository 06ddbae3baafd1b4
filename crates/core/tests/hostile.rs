//! A member that lies: whatever it signs is refused, or counts for nothing at every node alike, and
//! stops neither the others nor its own good entries.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::mallory::{Mallory, shown};
use common::{World, signer};
use fasti_core::command::ConflictKind;
use fasti_core::entry::{BUNDLE_BYTES_MAX, ENTRIES_MAX, Link, RULES, Run};
use fasti_core::event::Leaf;
use fasti_core::message::{FrameError, Line, Message, Part};
use fasti_core::statement::{Admit, EventEdit, Found, Invite, Role, Statement};
use fasti_core::{EntryHash, Incarnation, Input, LogId, OfficeId, TicketId};
use serde_json::json;

fn world_with_mallory() -> (World, Vec<OfficeId>, Mallory) {
    let (mut world, ids) = World::of(3);
    world.publish(ids[0], "A", "2024-04-01");
    world.settle();
    let mallory = Mallory::in_world_of(&mut world, &ids);
    (world, ids, mallory)
}

/// The two honest offices hold and show the same, with so many entries that count for nothing.
#[track_caller]
fn assert_agreed(world: &mut World, ids: &[OfficeId], void: u64) {
    world.settle();
    let first = shown(world, ids[0]);
    assert_eq!(first, shown(world, ids[1]));
    assert_eq!(first["void"], void);
}

type Lie = Box<dyn Fn(&mut Vec<EventEdit>)>;

/// Every rule for edits, broken once.
fn lies() -> Vec<(&'static str, Lie)> {
    fn field(path: &str, leaf: Option<Leaf>) -> Lie {
        let path = path.to_owned();
        Box::new(move |edits| edits[0].fields = vec![(path.clone(), leaf.clone())])
    }
    fn value(leaf: Leaf) -> Lie {
        field("title", Some(leaf))
    }
    fn uid(uid: &str) -> Lie {
        let uid = uid.to_owned();
        Box::new(move |edits| edits[0].uid.clone_from(&uid))
    }
    let json = |text: &[u8]| value(Leaf::Json(text.to_vec()));
    vec![
        ("no events", Box::new(|edits| edits.clear())),
        ("no fields", Box::new(|edits| edits[0].fields.clear())),
        ("an event twice", Box::new(|edits| edits.push(edits[0].clone()))),
        ("a field twice", {
            Box::new(|edits| {
                let field = edits[0].fields[0].clone();
                edits[0].fields.push(field);
            })
        }),
        ("fields out of order", {
            let [a, b] = ["b", "a"].map(|path| (path.to_owned(), Some(Leaf::Bool(true))));
            Box::new(move |edits| edits[0].fields = vec![a.clone(), b.clone()])
        }),
        ("too many fields", {
            Box::new(|edits| {
                let field = |n| (format!("x{n:05}"), Some(Leaf::Bool(true)));
                edits[0].fields = (0..5000).map(field).collect();
            })
        }),
        ("an empty uid", uid("")),
        ("a uid with a space before it", uid(" a")),
        ("a long uid", uid(&"a".repeat(256))),
        ("no path", field("", Some(Leaf::Bool(true)))),
        ("a path without end", field(&"a/".repeat(4000), Some(Leaf::Bool(true)))),
        ("a path with an empty part", field("a//b", Some(Leaf::Bool(true)))),
        ("no number", value(Leaf::Float(f64::NAN))),
        ("an infinite number", value(Leaf::Float(f64::INFINITY))),
        ("bytes that are no JSON", json(&[0xff])),
        ("JSON with spaces", json(b"[ 1]")),
        ("JSON that is another leaf", json(b"1")),
        ("deep JSON", json(&[b'['; 60_000])),
        ("a removal of nothing", field("nothing", None)),
    ]
}

#[test]
fn edits_that_break_the_rules_count_for_nothing_and_stop_nobody() {
    let (mut world, ids, mut mallory) = world_with_mallory();
    let before = shown(&mut world, ids[0])["events"].clone();
    let mut void = 0;
    for (name, lie) in lies() {
        let mut edits = mallory.edits();
        lie(&mut edits);
        let link = mallory.editing(edits);
        mallory.write(&mut world, ids[0], link);
        void += 1;
        assert_eq!(world.status(ids[0]).void, void, "{name}");
    }
    assert_eq!(shown(&mut world, ids[0])["events"], before);
    assert_agreed(&mut world, &ids, void);

    // What an honest program would have written in the first place is still good, on top of the lies.
    let honest = mallory.honest.clone();
    mallory.write(&mut world, ids[0], honest);
    assert_agreed(&mut world, &ids, void);
    assert_eq!(world.event(ids[1], "policy-A").unwrap().event["title"], "Mallory's");
    // And it is all the same after a restart, and for a newcomer.
    world.restart(ids[1]);
    assert_agreed(&mut world, &ids, void);
    let newcomer = world.join(ids[0], 9, "Newcomer");
    world.link(ids[1], newcomer);
    world.settle();
    assert_eq!(shown(&mut world, newcomer), shown(&mut world, ids[1]));
    assert_eq!(world.alarms(ids[1]), &[] as &[String]);
}

#[test]
fn one_change_may_edit_several_events() {
    let (mut world, ids, mut mallory) = world_with_mallory();
    let mut edits = mallory.edits();
    for uid in ["x", "y"] {
        let fields = vec![("title".to_owned(), Some(Leaf::Text(format!("new {uid}"))))];
        edits.push(EventEdit { uid: uid.into(), fields });
    }
    let link = mallory.editing(edits);
    mallory.write(&mut world, ids[0], link);
    assert_agreed(&mut world, &ids, 0);
    for (uid, title) in [("policy-A", "Mallory's"), ("x", "new x"), ("y", "new y")] {
        assert_eq!(world.event(ids[1], uid).unwrap().event["title"], title);
    }
    world.restart(ids[1]);
    assert_agreed(&mut world, &ids, 0);
}

#[test]
fn statements_that_are_not_the_authors_to_make_count_for_nothing() {
    let (mut world, ids, mut mallory) = world_with_mallory();
    let (ticket, friend) = (signer(77), signer(78).office());
    let invite = Invite {
        ticket: TicketId(ticket.office().0),
        name: "Friend".into(),
        roles: vec![Role::Admin],
        expires: i64::MAX,
    };
    let admit = Admit::new(&world.network, friend, &ticket);
    let garbage = |kind| Link { kind, body: vec![0xff; 40], ..mallory.honest.clone() };
    let trailing = {
        let mut link = mallory.honest.clone();
        link.body.push(0);
        link
    };
    let links = [
        mallory.saying(&Statement::Found(Found { name: "Mine".into(), nonce: [1; 16] })),
        mallory.saying(&Statement::Invite(invite)),
        mallory.saying(&Statement::Admit(admit)),
        garbage(0),
        garbage(1),
        garbage(2),
        garbage(3),
        trailing,
    ];
    let void = links.len() as u64;
    for link in links {
        mallory.write(&mut world, ids[0], link);
    }
    let honest = mallory.honest.clone();
    mallory.write(&mut world, ids[0], honest);
    assert_agreed(&mut world, &ids, void);
    assert_eq!(world.status(ids[1]).members.len(), 3);
    assert_eq!(world.event(ids[1], "policy-A").unwrap().event["title"], "Mallory's");
}

#[test]
fn entries_that_are_not_properly_signed_and_chained_are_refused() {
    let (mut world, ids, mut mallory) = world_with_mallory();
    let good = mallory.run(vec![mallory.honest.clone()]);
    let before = shown(&mut world, ids[0]);
    let mut bad = Vec::new();
    let mut add = |name: &'static str, signed: bool, edit: &dyn Fn(&mut fasti_core::entry::Run)| {
        let mut run = good.clone();
        edit(&mut run);
        if signed {
            mallory.sign(&mut run);
        }
        bad.push((name, run));
    };
    let (other, parents) = (signer(1), vec![EntryHash([2; 32]), EntryHash([1; 32])]);
    add("changed after signing", false, &|run| run.links[0].time += 1);
    add("signed by someone else", false, &|run| {
        run.signature = other.sign(&run.hashes()[0].0);
    });
    add("by someone else", true, &|run| run.log.author = other.office());
    add("by a stranger", true, &|run| run.log.author = signer(99).office());
    add("on another past", true, &|run| run.prev = EntryHash([3; 32]));
    add("without entries", true, &|run| run.links.clear());
    add("at place 0", true, &|run| run.first = 0);
    add("at the last place", true, &|run| run.first = u64::MAX);
    add("at the last place but one", true, &|run| run.first = u64::MAX - 1);
    add("far ahead", true, &|run| run.first = u64::MAX - 2);
    add("with unsorted parents", true, &|run| run.links[0].parents = parents.clone());
    add("with a parent twice", true, &|run| run.links[0].parents = vec![EntryHash([1; 32]); 2]);
    add("too large", true, &|run| run.links[0].body = vec![0; 200_000]);
    add("of a person with a long name", true, &|run| run.links[0].person = "x".repeat(65).into());
    add("of a person whose name breaks lines", true, &|run| run.links[0].person = "a\nb".into());
    add("with too many parents", true, &|run| {
        run.links[0].parents = (0..5000u16)
            .map(|n| EntryHash([[n as u8, (n >> 8) as u8]; 16].as_flattened().try_into().unwrap()))
            .collect();
        run.links[0].parents.sort();
    });
    for (name, run) in bad {
        mallory.push(&mut world, ids[0], run);
        assert_eq!(shown(&mut world, ids[0]), before, "{name}");
    }
    let honest = mallory.honest.clone();
    mallory.write(&mut world, ids[0], honest);
    assert_agreed(&mut world, &ids, 0);
    assert_eq!(world.event(ids[1], "policy-A").unwrap().event["title"], "Mallory's");
}

#[test]
fn fields_that_make_no_sense_are_shown_stop_no_other_edit_and_can_be_mended() {
    let (mut world, ids, mut mallory) = world_with_mallory();
    let mut edits = mallory.edits();
    edits[0].fields.extend(
        [
            ("fasti:policy", Leaf::Bool(true)),
            ("fasti:policy/payload/budget", Leaf::Int(i64::MIN)),
            ("locations", Leaf::Text("nowhere".into())),
            ("locations/1", Leaf::Int(1)),
            ("locations/1/name", Leaf::Text("Room".into())),
            ("priority", Leaf::Float(f64::MAX)),
            ("recurrenceRules", Leaf::Json(b"[{\"count\":-1}]".to_vec())),
            ("timeZone", Leaf::Text("Nowhere/At All".into())),
            ("uid", Leaf::Text("policy-B".into())),
        ]
        .map(|(path, leaf)| (path.to_owned(), Some(leaf))),
    );
    edits[0].fields.sort_by(|a, b| a.0.cmp(&b.0));
    let link = mallory.editing(edits);
    mallory.write(&mut world, ids[0], link);
    assert_agreed(&mut world, &ids, 0);
    assert_eq!(world.event(ids[1], "policy-A").unwrap().uid, "policy-A");
    world.publish(ids[0], "A", "2024-05-01");
    assert_agreed(&mut world, &ids, 0);
    assert_eq!(world.event(ids[1], "policy-A").unwrap().event["start"], "2024-05-01T00:00:00");
    let mended =
        json!({ "locations": null, "recurrenceRules": null, "timeZone": null, "priority": 1 });
    world.patch(ids[1], "policy-A", mended);
    assert_agreed(&mut world, &ids, 0);
    assert_eq!(world.event(ids[0], "policy-A").unwrap().event["priority"], 1);
}

#[test]
fn a_member_with_two_histories_is_shown_once_and_both_count() {
    let (mut world, ids, mut mallory) = world_with_mallory();
    let mut other = mallory.run(vec![mallory.honest.clone(); 2]);
    other.links[0].time += 1000;
    mallory.sign(&mut other);
    let honest = mallory.honest.clone();
    mallory.write(&mut world, ids[0], honest.clone());
    for _ in 0..3 {
        mallory.push(&mut world, ids[0], other.clone());
        let mut later = other.clone();
        later.links.push(honest.clone());
        mallory.sign(&mut later);
        mallory.push(&mut world, ids[0], later);
    }
    assert_eq!(world.status(ids[0]).forks, 1);
    let alarms = world.alarms(ids[0]).iter().filter(|alarm| alarm.contains("two different"));
    assert_eq!(alarms.count(), 1, "{:?}", world.alarms(ids[0]));
    world.publish(ids[0], "B", "2024-05-01");
    world.publish(ids[1], "C", "2024-05-01");
    world.settle();
    assert_eq!(shown(&mut world, ids[0]), shown(&mut world, ids[1]));
    let status = world.status(ids[1]);
    assert_eq!((status.events, status.forks, status.void), (3, 1, 0));
    assert_eq!(honest.rules, RULES);
}

/// Mallory tells one half of the network one thing and the other half another one; each builds upon what it
/// heard.
fn two_halves() -> (World, Vec<OfficeId>) {
    let (mut world, ids, mut mallory) = world_with_mallory();
    world.cut(ids[0], ids[1]);
    let title = |mallory: &Mallory, title: &str| {
        let fields = vec![("title".to_owned(), Some(Leaf::Text(title.into())))];
        mallory.editing(vec![EventEdit { uid: "policy-A".into(), fields }])
    };
    let other = mallory.run(vec![title(&mallory, "to Boston"), title(&mallory, "to Boston again")]);
    mallory.push(&mut world, ids[1], other);
    let link = title(&mallory, "to Denver");
    mallory.write(&mut world, ids[0], link);
    world.publish(ids[0], "B", "2024-05-01");
    world.patch(ids[0], "policy-A", json!({ "color": "red" }));
    world.publish(ids[1], "C", "2024-05-01");
    world.patch(ids[1], "policy-A", json!({ "title": "over it" }));
    (world, ids)
}

fn assert_halves_agree(world: &mut World, ids: &[OfficeId]) {
    world.settle();
    let first = shown(world, ids[0]);
    for id in ids {
        assert_eq!(first, shown(world, *id));
        let status = world.status(*id);
        assert_eq!((status.events, status.forks, status.void), (3, 1, 0), "{id:?}");
        let event = world.event(*id, "policy-A").unwrap().event;
        assert_eq!((event["color"].as_str(), status.conflicts), (Some("red"), 2));
        let conflicts = world.conflicts(*id);
        let [conflict, fork] = &conflicts[..] else { panic!("{conflicts:?}") };
        assert_eq!((fork.kind, fork.values.len()), (ConflictKind::Fork, 2));
        let mut values: Vec<_> = conflict.values.iter().map(|it| it.value.clone()).collect();
        values.sort_by_key(ToString::to_string);
        assert_eq!(values, ["over it", "to Denver"]);
    }
}

#[test]
fn two_halves_that_heard_different_histories_still_hear_each_other() {
    let (mut world, ids) = two_halves();
    world.link(ids[0], ids[1]);
    assert_halves_agree(&mut world, &ids[..2]);
    // So it is after a restart, for a newcomer, and for whatever comes later.
    world.restart(ids[1]);
    let newcomer = world.join(ids[0], 9, "Newcomer");
    world.link(ids[1], newcomer);
    assert_halves_agree(&mut world, &[ids[0], ids[1], newcomer]);
    world.patch(newcomer, "policy-B", json!({ "title": "goes on" }));
    assert_halves_agree(&mut world, &[ids[0], ids[1], newcomer]);
    assert_eq!(world.event(ids[1], "policy-B").unwrap().event["title"], "goes on");
}

#[test]
fn a_fork_that_is_found_just_before_a_crash_is_put_in_order_at_the_next_start() {
    let (mut world, ids) = two_halves();
    // What was stored with the fork is all there is: the core that found it never opened again.
    let mut other = two_halves().0;
    other.link(ids[0], ids[1]);
    other.settle();
    world.link(ids[0], ids[1]);
    world.settle();
    let disk = world.offices[&ids[1]].disk.clone();
    let half_done = before_judging(&disk);
    world.offices.get_mut(&ids[1]).unwrap().disk = half_done;
    world.restart(ids[1]);
    assert_halves_agree(&mut world, &ids[..2]);
    assert_eq!(shown(&mut world, ids[0]), shown(&mut other, ids[0]));
}

/// As a disk is when a fork was stored and nothing was judged again yet.
fn before_judging(disk: &common::Disk) -> common::Disk {
    let mut disk = disk.clone();
    disk.judge_again = true;
    for row in &mut disk.rows {
        row.standing = fasti_core::row::Standing::Deferred;
        row.applied = None;
    }
    disk
}

/// What Mallory says once in each of so many logs, all on top of the same entry.
fn side_by_side(
    mallory: &Mallory,
    world: &World,
    count: u64,
    say: impl Fn(u64) -> Link,
) -> Vec<Run> {
    let key = signer(3);
    let run = |n| {
        let log = LogId { author: mallory.id, incarnation: Incarnation(1000 + n) };
        let link = Link { parents: vec![mallory.prev], ..say(n) };
        let prev = EntryHash(world.network.0);
        let mut run = Run { log, first: 1, prev, links: vec![link], signature: key.sign(&[0; 32]) };
        run.signature = key.sign(&run.hashes()[0].0);
        run
    };
    (0..count).map(run).collect()
}

#[test]
fn thousands_of_entries_side_by_side_stop_nobody() {
    let (mut world, ids, mallory) = world_with_mallory();
    let say = |n| Link { time: mallory.honest.time + n as i64, ..mallory.honest.clone() };
    // More than an entry may have parents.
    let frame = Message::Push(side_by_side(&mallory, &world, 4200, say)).encode();
    world.input(ids[0], Input::Received(mallory.id, frame));
    world.publish(ids[0], "B", "2024-05-01");
    world.settle();
    world.publish(ids[1], "C", "2024-05-01");
    assert_agreed(&mut world, &ids, 0);
    assert_eq!(world.status(ids[0]).events, 3);
    assert_eq!(world.alarms(ids[1]), &[] as &[String]);
}

#[test]
fn who_begins_one_history_after_the_other_is_not_listened_to_for_long() {
    let (mut world, ids, mallory) = world_with_mallory();
    let before = world.status(ids[0]).entries;
    let say = |n| Link { time: mallory.honest.time + n as i64, ..mallory.honest.clone() };
    for run in side_by_side(&mallory, &world, 200, say) {
        mallory.push(&mut world, ids[0], run);
    }
    let taken = world.status(ids[0]).entries - before;
    assert!((60..=70).contains(&taken), "{taken} of 200 at once");
    let alarms = world.alarms(ids[0]);
    assert!(alarms[0].contains("sends more than is taken from it"), "{alarms:?}");
    // Others bring them all the same.
    let rest = side_by_side(&mallory, &world, 200, say);
    world.input(ids[0], Input::Received(ids[1], Message::Push(rest).encode()));
    assert_eq!(world.status(ids[0]).entries - before, 200);
}

/// More than fit into one frame: a frontier and what is asked for come in parts.
#[test]
fn a_network_with_more_histories_than_a_frame_can_tell_of_lets_newcomers_in() {
    let (mut world, ids, mallory) = world_with_mallory();
    let nothing = mallory.saying(&Statement::Found(Found { name: "x".into(), nonce: [0; 16] }));
    let say = |n| Link { time: n as i64, ..nothing.clone() };
    let runs = side_by_side(&mallory, &world, 20_000, say);
    for half in runs.chunks(10_000) {
        let frame = Message::Push(half.to_vec()).encode();
        world.input(ids[0], Input::Received(mallory.id, frame));
        // Until so much is forgiven.
        world.sleep(50_000);
    }
    world.settle();
    assert_eq!(world.status(ids[1]).void, 20_000);
    let late = world.join(ids[0], 9, "Late");
    world.link(late, ids[1]);
    world.settle();
    assert_agreed(&mut world, &[ids[0], late], 20_000);
}

#[test]
fn an_edit_of_an_event_that_was_made_many_times_over_is_bounded() {
    let (mut world, ids, mut mallory) = world_with_mallory();
    let fields = |value| (0..4096).map(|n| (format!("{n:04}"), Some(Leaf::Int(value)))).collect();
    let edit = |mallory: &Mallory, value| {
        mallory.editing(vec![EventEdit { uid: "x".into(), fields: fields(value) }])
    };
    let runs = side_by_side(&mallory, &world, 17, |n| edit(&mallory, n as i64));
    let mut parents: Vec<_> = runs.iter().map(|run| run.hashes()[0]).collect();
    parents.sort();
    for run in runs {
        mallory.push(&mut world, ids[0], run);
    }
    assert_eq!(world.status(ids[0]).void, 0);
    // One value for each field, and the values in sixteen other maps to be removed: too many.
    let link = Link { parents, ..edit(&mallory, -1) };
    mallory.write(&mut world, ids[0], link);
    assert_eq!(world.status(ids[0]).void, 1);
    assert_agreed(&mut world, &ids, 1);
}

#[test]
fn a_history_that_parts_before_large_entries_is_fetched_all_the_same() {
    let (mut world, ids, mut mallory) = world_with_mallory();
    world.cut(ids[0], ids[1]);
    let title = |mallory: &Mallory, title: String| {
        let fields = vec![("title".to_owned(), Some(Leaf::Text(title)))];
        mallory.editing(vec![EventEdit { uid: "policy-A".into(), fields }])
    };
    let one = mallory.run((0..5).map(|n| title(&mallory, format!("one {n}"))).collect());
    mallory.push(&mut world, ids[1], one);
    // The other history goes on after so much that builds upon its beginning that it is in another chunk.
    let link = title(&mallory, "other".into());
    mallory.write(&mut world, ids[0], link);
    for n in 0..8 {
        let event = json!({"start": "2024-01-01T00:00:00", "description": "x".repeat(100_000)});
        world.put(ids[0], &format!("large{n}"), event);
    }
    for n in 1..8 {
        let link = title(&mallory, format!("other {n}"));
        mallory.write(&mut world, ids[0], link);
    }
    world.link(ids[0], ids[1]);
    assert_agreed(&mut world, &ids, 0);
    assert_eq!(world.status(ids[1]).forks, 1);
}

#[test]
fn forks_that_come_one_after_the_other_wait_for_each_other() {
    let (mut world, ids, mut mallory) = world_with_mallory();
    let mut others = Vec::new();
    for n in 0..4 {
        let mut other = mallory.run(vec![mallory.honest.clone()]);
        other.links[0].time += 1000 + n;
        mallory.sign(&mut other);
        others.push(other);
        let honest = mallory.honest.clone();
        mallory.write(&mut world, ids[0], honest);
    }
    for other in others {
        mallory.push(&mut world, ids[0], other.clone());
        mallory.push(&mut world, ids[1], other);
    }
    // The second one waits until the first is digested.
    let alarms = world.alarms(ids[0]).iter().filter(|alarm| alarm.contains("two different"));
    assert_eq!(alarms.count(), 1);
    world.publish(ids[0], "B", "2024-05-01");
    for _ in 0..4 {
        world.settle();
    }
    assert_agreed(&mut world, &ids, 0);
    assert_eq!(world.event(ids[1], "policy-B").unwrap().event["title"], "B");
}

/// Found by the simulator: what admits somebody lies in the part of the other history that isn't asked for at first.
#[test]
fn another_history_that_admits_somebody_is_fetched_all_the_same() {
    let (mut world, ids) = World::of(3);
    let [denver, boston, _] = ids[..] else { unreachable!() };
    world.publish(denver, "A", "2024-04-01");
    let ticket = signer(150);
    world.invite(denver, &ticket, "Late", i64::MAX).unwrap();
    world.settle();
    let mallory = Mallory::in_world_of(&mut world, &ids);
    world.cut(denver, boston);
    // One history admits, and goes on; the other doesn't.
    let late = signer(50).office();
    let admit = mallory.saying(&Statement::Admit(Admit::new(&world.network, late, &ticket)));
    let links = vec![admit, mallory.honest.clone(), mallory.honest.clone()];
    mallory.push(&mut world, denver, mallory.run(links));
    mallory.push(&mut world, boston, mallory.run(vec![mallory.honest.clone()]));
    assert_eq!(world.start_with(denver, 50, &ticket), late);
    world.link(late, denver);
    world.settle();
    world.publish(late, "B", "2024-05-01");
    world.settle();
    world.link(denver, boston);
    for _ in 0..4 {
        world.settle();
    }
    assert_agreed(&mut world, &ids, 0);
    assert!(world.event(boston, "policy-B").is_some());
}

/// Found by the simulator: each chunk put off the end of a fetch, whatever was in it, and one fetch runs at a
/// time.
#[test]
fn a_fetch_that_a_liar_never_ends_keeps_nobody_from_the_others() {
    for brings_something in [false, true] {
        let (mut world, ids, mut mallory) = world_with_mallory();
        let [denver, boston, _] = ids[..] else { unreachable!() };
        world.cut(denver, boston);
        world.restart(denver);
        world.patch(boston, "policy-A", json!({"description": "Boston's"}));
        // Mallory offers much, and Denver asks for it.
        world.input(denver, Input::Connected(mallory.id));
        let line = Line { log: mallory.log, seq: u64::MAX, hash: EntryHash([7; 32]) };
        let offer = Message::Frontier {
            boot: 1,
            ask: false,
            entries: 9,
            part: Part::WHOLE,
            lines: vec![line],
        };
        world.input(denver, Input::Received(mallory.id, offer.encode()));
        world.link(denver, boston);
        let mut waited = 0;
        while world.event(denver, "policy-A").unwrap().event["description"] != "Boston's" {
            assert!(
                waited < 60,
                "Denver still waits for Mallory (who brings something: {brings_something})"
            );
            let bundle = if brings_something {
                let run = mallory.run(vec![mallory.honest.clone()]);
                mallory.seq += 1;
                mallory.prev = run.hashes()[0];
                vec![run]
            } else {
                Vec::new()
            };
            let chunk = Message::Chunk { fetch: 1, last: false, bundle };
            world.input(denver, Input::Received(mallory.id, chunk.encode()));
            world.settle_for(5);
            waited += 5;
        }
    }
}

/// 800,000 entries without a body fitted into a frame of 4 MB, and taking them cost 0.7 GB and 20 s.
#[test]
fn a_bundle_of_more_entries_than_a_chunk_may_have_is_refused() {
    let (mut world, ids, mallory) = world_with_mallory();
    let before = shown(&mut world, ids[0]);
    let empty = Link { body: Vec::new(), parents: Vec::new(), kind: 4, ..mallory.honest.clone() };
    let mut run = mallory.run(vec![mallory.honest.clone()]);
    run.links.extend(vec![empty; ENTRIES_MAX]);
    mallory.sign(&mut run);
    mallory.push(&mut world, ids[0], run.clone());
    assert_eq!(shown(&mut world, ids[0]), before);
    let alarms = world.alarms(ids[0]).to_vec();
    assert!(alarms.iter().any(|alarm| alarm.contains("too many entries")), "{alarms:?}");
    // Larger ones are not even taken apart.
    run.links = vec![run.links[1].clone(); BUNDLE_BYTES_MAX / 8];
    let frame = Message::Push(vec![run.clone()]).encode();
    assert!(matches!(Message::decode(&frame), Err(FrameError::TooLarge { .. })), "{}", frame.len());
    // As many as allowed are taken, and can be passed on.
    run.links = vec![mallory.honest.clone()];
    run.links.resize(
        ENTRIES_MAX - 1,
        Link { kind: 4, body: Vec::new(), parents: Vec::new(), ..mallory.honest.clone() },
    );
    mallory.sign(&mut run);
    mallory.push(&mut world, ids[0], run);
    assert_agreed(&mut world, &ids, ENTRIES_MAX as u64 - 2);
}

/// Each run builds upon the one after it, so that the first can be taken last. To look through all of them for each
/// one kept a node busy for minutes.
#[test]
fn runs_in_the_wrong_order_are_taken_together() {
    let (mut world, ids, mallory) = world_with_mallory();
    let mut bundle: Vec<Run> = Vec::new();
    let mut parent = mallory.prev;
    for incarnation in 1..=2000 {
        let link =
            Link { parents: vec![parent], kind: 4, body: Vec::new(), ..mallory.honest.clone() };
        let mut run = mallory.run(vec![link]);
        run.log.incarnation = Incarnation(incarnation);
        (run.first, run.prev) = (1, EntryHash(world.network.0));
        mallory.sign(&mut run);
        parent = run.hashes()[0];
        bundle.insert(0, run);
    }
    let frame = Message::Push(bundle).encode();
    world.input(ids[0], Input::Received(mallory.id, frame));
    assert_agreed(&mut world, &ids, 2000);
}

/// Found by the simulator: it took its own old word from a peer, and passed it on.
#[test]
fn an_office_whose_disk_was_restored_takes_back_what_it_acknowledged_before() {
    let (mut world, ids) = World::of(3);
    let [denver, boston, mallory] = ids[..] else { unreachable!() };
    let backup = world.offices[&denver].disk.clone();
    world.publish(boston, "A", "2024-04-01");
    world.settle();
    let notices: Vec<_> = world.offices[&mallory].disk.notices.values().cloned().collect();
    let before = notices.iter().find(|it| it.office == denver && it.acknowledgement().is_some());
    let before = before.unwrap().clone();
    world.cut(denver, boston);
    world.cut(denver, mallory);
    world.restore(denver, backup);
    world.input(denver, Input::Connected(mallory));
    let told = Message::Notices(vec![before.clone()]).encode();
    world.input(denver, Input::Received(mallory, told));
    let disk = &world.offices[&denver].disk;
    let said = disk.notices.values().find(|it| it.office == denver && it.topic == before.topic);
    let said = said.unwrap();
    assert!(said.counter > before.counter, "nobody would hear it over what was said before");
    let held = |hash: &EntryHash| disk.rows.iter().any(|row| row.hash == *hash);
    assert!(said.acknowledgement().unwrap().heads.iter().all(held), "it doesn't hold that");
}

/// Found by the simulator: what a restored office acknowledged, by a clock that had been set back, was older to the
/// others than what it had said before.
#[test]
fn an_office_whose_disk_and_clock_were_set_back_is_heard_again() {
    let (mut world, ids) = World::of(3);
    let [denver, boston, _] = ids[..] else { unreachable!() };
    let backup = world.offices[&denver].disk.clone();
    world.publish(boston, "A", "2024-04-01");
    world.settle();
    world.pass(-3_600_000);
    world.restore(denver, backup);
    world.publish(boston, "B", "2024-05-01");
    world.settle_for(45);
    world.assert_agreed();
}
