//! Bugs that the simulator found, each told small: what happened must not happen again.
#![allow(clippy::unwrap_used)]

mod common;

use common::World;
use fasti_core::message::{Line, Message, Part};
use fasti_core::{EntryHash, Incarnation, Input, LogId};
use serde_json::json;

/// Garbage, seed 1: the numbers of two lines were added up, and the sum overflowed.
#[test]
fn a_peer_that_claims_entries_up_to_2_to_the_64_stops_nobody() {
    let (mut world, ids) = World::of(3);
    let line = |author, incarnation| Line {
        log: LogId { author, incarnation: Incarnation(incarnation) },
        seq: u64::MAX,
        hash: EntryHash([9; 32]),
    };
    let lines = vec![line(ids[0], 1), line(ids[0], 2), line(ids[1], 1)];
    let frame =
        Message::Frontier { boot: 7, ask: true, entries: u64::MAX, part: Part::WHOLE, lines }
            .encode();
    world.input(ids[2], Input::Received(ids[1], frame));
    world.settle();
    world.publish(ids[2], "P-1", "2024-04-01");
    world.settle();
    world.assert_agreed();
}

/// Calm, seed 5: the caller got an etag that the event never had, and the next edit on top of it failed.
#[test]
fn an_edit_that_only_removes_fields_is_answered_with_the_etag_that_shows() {
    let (mut world, ids) = World::of(1);
    let event = json!({"@type": "Event", "title": "T", "start": "2024-04-01T09:00:00"});
    world.put(ids[0], "e", event);
    world.patch(ids[0], "e", json!({"description": "D"}));
    world.pass(5000);
    world.patch(ids[0], "e", json!({"title": "U"}));
    world.pass(5000);
    let written = world.patch(ids[0], "e", json!({"description": null}));
    assert_eq!(written.etag, world.event(ids[0], "e").unwrap().etag);
}
