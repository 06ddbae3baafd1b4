//! Offices of two versions in one network: what the older program doesn't understand it holds and passes
//! on, and its own work goes on; once upgraded, it reads again what it held.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::convert::Infallible;

use common::mallory::{Mallory, shown};
use common::{World, signer};
use fasti_core::entry::{Link, RULES};
use fasti_core::row::{Row, Standing};
use fasti_core::statement::{Admit, Statement};
use fasti_core::{Config, Core, DocumentId, Input, OfficeId, Stored, Write};
use serde_json::json;

/// Three offices, of which the third is upgraded and begins to write what the others don't know.
fn world_with_a_newer_office() -> (World, Vec<OfficeId>, Mallory) {
    let (mut world, ids) = World::of(3);
    world.publish(ids[0], "A", "2024-04-01");
    world.settle();
    let newer = Mallory::in_world_of(&mut world, &ids);
    (world, ids, newer)
}

/// What the newer office writes: later rules, a new kind, another document.
fn later(newer: &Mallory) -> [Link; 3] {
    let other = postcard::to_stdvec(&(DocumentId(7), [1; 30])).unwrap();
    [
        Link { rules: RULES + 1, ..newer.honest.clone() },
        Link { kind: 40, body: vec![1; 10], ..newer.honest.clone() },
        newer.with_body(other),
    ]
}

#[test]
fn what_a_later_version_writes_is_held_and_passed_on_and_not_applied() {
    for which in 0..3 {
        let (mut world, ids, mut newer) = world_with_a_newer_office();
        let before = shown(&mut world, ids[0])["events"].clone();
        let link = later(&newer)[which].clone();
        newer.write(&mut world, ids[0], link);
        // What comes after it in the same log is of this version, but builds upon it.
        let honest = newer.honest.clone();
        newer.write(&mut world, ids[0], honest);
        world.settle();
        for id in &ids[..2] {
            let status = world.status(*id);
            assert_eq!((status.deferred, status.void), (2, 0), "{which}");
            assert_eq!(shown(&mut world, *id)["events"], before);
        }
        assert_eq!(shown(&mut world, ids[0]), shown(&mut world, ids[1]));

        // The older offices go on, beside what they don't understand.
        world.patch(ids[0], "policy-A", json!({ "description": "goes on" }));
        world.publish(ids[1], "B", "2024-05-01");
        world.settle();
        let newcomer = world.join(ids[0], 9, "Newcomer");
        world.link(ids[1], newcomer);
        world.settle();
        for id in [ids[0], ids[1], newcomer] {
            assert_eq!(world.status(id).deferred, 2);
            assert!(world.event(id, "policy-B").is_some());
            let event = world.event(id, "policy-A").unwrap().event;
            assert_eq!(event["description"], "goes on");
            assert_eq!(event["title"], "A");
        }
        // And so they do after a restart.
        world.restart(ids[1]);
        world.patch(ids[1], "policy-B", json!({ "title": "again" }));
        world.settle();
        assert_eq!(shown(&mut world, ids[0]), shown(&mut world, ids[1]));
        assert_eq!(world.status(ids[0]).deferred, 2);
        assert_eq!(world.event(ids[0], "policy-B").unwrap().event["title"], "again");
    }
}

/// Rows as a program left them to which everything by this office from this number on was new.
fn as_an_older_version_left_them(rows: &[Row], author: OfficeId, from: u64) -> Vec<Row> {
    let older = |mut row: Row| {
        if row.entry.log.author == author && row.entry.seq >= from {
            row.standing = Standing::Deferred;
            row.applied = None;
        }
        row
    };
    rows.iter().cloned().map(older).collect()
}

/// Opens a core from rows, and gives what its first step writes.
fn open(world: &World, seed: u8, stored: Stored, rows: &[Row]) -> (Core, Vec<Write>) {
    let now = fasti_core::Now { monotonic: fasti_core::Instant(0), wall: world.wall() };
    let config = Config::new(world.network, signer(seed), [seed; 32]);
    let rows = || Ok(rows.iter().cloned().map(Ok::<_, Infallible>));
    let mut core = Core::open(config, stored, rows, now).unwrap();
    let mut written = Vec::new();
    let step = core.step(now);
    step.persist(|writes| {
        written = writes.to_vec();
        Ok::<_, Infallible>(())
    })
    .unwrap();
    (core, written)
}

fn title(core: &mut Core, uid: &str) -> serde_json::Value {
    let now = fasti_core::Now { monotonic: fasti_core::Instant(1), wall: 0 };
    core.handle(now, Input::Command(1, fasti_core::Command::Event { uid: uid.into() }));
    for effect in core.step(now).persist(|_| Ok::<_, Infallible>(())).unwrap() {
        if let fasti_core::Effect::Reply(1, Ok(fasti_core::Answer::Event(view))) = effect {
            return view.event["title"].clone();
        }
    }
    panic!("there is no {uid}")
}

/// The second office holds two edits by the third, which it understands; and what it knew before.
fn upgraded() -> (World, Vec<Row>, Vec<Row>) {
    let (mut world, ids) = World::of(3);
    world.publish(ids[0], "A", "2024-04-01");
    world.settle();
    world.patch(ids[2], "policy-A", json!({ "title": "first" }));
    world.patch(ids[2], "policy-A", json!({ "title": "second" }));
    world.settle();
    let rows = world.offices[&ids[1]].disk.rows.clone();
    let older = as_an_older_version_left_them(&rows, ids[2], 1);
    assert_eq!(older.iter().filter(|row| row.standing == Standing::Deferred).count(), 2);
    (world, rows, older)
}

#[test]
fn an_upgraded_office_reads_again_what_it_held() {
    let (world, rows, older) = upgraded();
    let (mut core, writes) = open(&world, 2, Stored::default(), &older);
    assert_eq!(title(&mut core, "policy-A"), "second");
    let mut mended = older;
    for write in writes {
        if let Write::Entry { index, row } = write {
            mended[index as usize] = row;
        }
    }
    assert_eq!(mended, rows);
    let (mut again, writes) = open(&world, 2, Stored::default(), &mended);
    assert!(!writes.iter().any(|write| matches!(write, Write::Entry { .. })));
    assert_eq!(title(&mut again, "policy-A"), "second");
}

#[test]
fn a_snapshot_from_before_the_upgrade_does_not_hide_what_was_understood_since() {
    let (world, rows, older) = upgraded();
    // The snapshot that the older program saved: it covers all rows, and has not applied two of them.
    let applied: Vec<Row> =
        older.iter().filter(|row| row.standing != Standing::Deferred).cloned().collect();
    let (mut core, _) = open(&world, 2, Stored::default(), &applied);
    let snapshot = core.document().unwrap().save();
    let stored =
        || Stored { snapshot: Some((rows.len() as u64, snapshot.clone())), ..Stored::default() };
    let (mut upgraded, _) = open(&world, 2, stored(), &older);
    assert_eq!(title(&mut upgraded, "policy-A"), "second");
    // Stopped before it saved another snapshot, and started again.
    let (mut again, _) = open(&world, 2, stored(), &rows);
    assert_eq!(title(&mut again, "policy-A"), "second");
}

/// The third office admits another one in a way that this version can't read, and that one writes.
fn admitted_by(admission: impl FnOnce(&Mallory, Admit) -> Link) {
    let (mut world, ids, mut newer) = world_with_a_newer_office();
    let ticket = signer(120);
    world.invite(ids[0], &ticket, "Late", i64::MAX).unwrap();
    world.settle();
    let late = signer(121);
    let admit = Admit::new(&world.network, late.office(), &ticket);
    let link = admission(&newer, admit);
    let admission = newer.write(&mut world, ids[0], link);
    // Its entries come later, in a bundle of their own.
    let log = fasti_core::LogId { author: late.office(), ..newer.log };
    let link = Link { parents: vec![admission], ..newer.honest.clone() };
    let prev = fasti_core::entry::first_prev(Some(world.network));
    let signature = late.sign(&[0; 32]);
    let mut run = fasti_core::entry::Run { log, first: 1, prev, links: vec![link], signature };
    run.signature = late.sign(&run.hashes()[0].0);
    newer.push(&mut world, ids[0], run);
    world.publish(ids[0], "B", "2024-05-01");
    world.settle();
    assert_eq!(world.status(ids[0]).deferred, 2);
    assert_eq!(shown(&mut world, ids[0]), shown(&mut world, ids[1]));
    assert!(world.event(ids[1], "policy-B").is_some());
}

#[test]
fn an_office_admitted_under_later_rules_is_heard() {
    admitted_by(|newer, admit| Link { rules: RULES + 1, ..newer.saying(&Statement::Admit(admit)) });
}

#[test]
fn an_office_admitted_in_a_way_that_is_new_is_heard() {
    admitted_by(|newer, admit| Link {
        kind: 41,
        body: postcard::to_stdvec(&admit).unwrap(),
        ..newer.honest.clone()
    });
}
