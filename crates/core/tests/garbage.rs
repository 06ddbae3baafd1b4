//! Bytes that nobody meant: no frame, however it was damaged, and no change that a member signs,
//! panics a node or keeps it from going on. Seeded: a failure names what replays it.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::World;
use common::mallory::{Dice, Mallory, shown};
use fasti_core::entry::Run;
use fasti_core::message::{Message, Part};
use fasti_core::row::Row;
use fasti_core::{Input, LogId, OfficeId};
use serde_json::json;

/// A run of one log as its author pushed it.
fn run_of(rows: &[Row]) -> Run {
    let first = &rows[0].entry;
    let links = rows.iter().map(|row| row.entry.link.clone()).collect();
    let signature = rows.last().unwrap().signature.unwrap();
    Run { log: first.log, first: first.seq, prev: first.prev, links, signature }
}

/// A frame of each kind, as an honest peer would send them.
fn frames(world: &mut World, from: OfficeId) -> Vec<Vec<u8>> {
    let frontier = world.status(from).frontier;
    let disk = &world.offices[&from].disk;
    let log = disk.rows.iter().map(|row| row.entry.log).find(|log| log.author == from).unwrap();
    let own: Vec<Row> = disk.rows.iter().filter(|row| row.entry.log == log).cloned().collect();
    let line = |row: &Row| fasti_core::message::Line {
        log: row.entry.log,
        seq: row.entry.seq,
        hash: row.hash,
    };
    let stranger = LogId { author: OfficeId([5; 32]), ..log };
    [
        Message::Hello { boot: 1, frontier, notices: [0; 16] },
        Message::Frontier {
            boot: 1,
            ask: true,
            entries: 3,
            part: Part::WHOLE,
            lines: own.iter().map(line).collect(),
        },
        Message::Push(vec![run_of(&own[own.len() - 1..])]),
        Message::Want {
            fetch: 1,
            entries: 3,
            part: Part::WHOLE,
            from: vec![(log, 1), (stranger, 7)],
        },
        Message::Chunk { fetch: 1, last: true, bundle: vec![run_of(&own)] },
        Message::Notices(disk.notices.values().cloned().collect()),
    ]
    .iter()
    .map(Message::encode)
    .collect()
}

#[test]
fn damaged_frames_harm_nobody() {
    let (mut world, ids) = World::of(2);
    for n in 0..5 {
        world.publish(ids[1], &format!("P{n}"), "2024-04-01");
    }
    world.settle();
    // Boston has written more than the first office has heard, so that good frames have work to do.
    world.publish(ids[1], "last", "2024-04-01");
    world.lose_mail();
    let frames = frames(&mut world, ids[1]);
    let mut dice = Dice(20);
    for turn in 0..6000 {
        let mut frame = frames[turn % frames.len()].clone();
        dice.mutate(&mut frame);
        world.input(ids[0], Input::Received(ids[1], frame));
        // What it answers to garbage is as hard to read as anything.
        if turn % 100 == 0 {
            world.deliver();
        }
    }
    world.deliver();
    world.publish(ids[0], "afterwards", "2024-04-01");
    world.settle();
    assert_eq!(shown(&mut world, ids[0]), shown(&mut world, ids[1]));
    assert_eq!(world.status(ids[1]).events, 7);
}

#[test]
fn signed_garbage_counts_for_the_same_everywhere() {
    let (mut world, ids) = World::of(3);
    world.publish(ids[0], "A", "2024-04-01");
    world.settle();
    let mut mallory = Mallory::in_world_of(&mut world, &ids);
    let honest = mallory.honest.body.clone();
    let mut dice = Dice(3);
    for _ in 0..3000 {
        let mut body = honest.clone();
        dice.mutate(&mut body);
        let link = mallory.with_body(body);
        mallory.write(&mut world, ids[0], link);
    }
    world.settle();
    world.patch(ids[0], "policy-A", json!({ "color": "red" }));
    world.settle();
    assert_eq!(shown(&mut world, ids[0]), shown(&mut world, ids[1]));
    let entries = world.status(ids[0]).entries;
    world.restart(ids[1]);
    world.settle();
    assert_eq!(world.status(ids[1]).entries, entries);
    assert_eq!(shown(&mut world, ids[0]), shown(&mut world, ids[1]));
}
