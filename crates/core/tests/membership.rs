//! What a member may do to membership, and what it may not.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{World, signer};
use fasti_core::entry::{Entry, Link, Run};
use fasti_core::message::Message;
use fasti_core::statement::{Admit, Invite, Role};
use fasti_core::{Answer, Command, EntryHash, Incarnation, Input, LogId, TicketId};
use serde_json::json;

/// A member's entry that built upon nothing, from an office whose id sorted before the founder's, came
/// first in a newcomer's chunk: the founding entry was void there, and with it everything.
#[test]
fn an_entry_that_builds_upon_nothing_is_refused_and_spoils_no_newcomer() {
    let (mut world, founder) = World::new();
    let seed = (2..50_u8).find(|seed| signer(*seed).office() < founder).unwrap();
    let mallory = world.join(founder, seed, "Mallory");
    world.link(founder, mallory);
    world.settle();
    let author = signer(seed);
    let log = LogId { author: author.office(), incarnation: Incarnation(5) };
    let link =
        Link { rules: 1, parents: vec![], time: 0, person: "".into(), kind: 3, body: vec![] };
    let prev = EntryHash(world.network.0);
    let hash = Entry { log, seq: 1, prev, link: link.clone() }.hash();
    let run = Run { log, first: 1, prev, links: vec![link], signature: author.sign(&hash.0) };
    world.input(founder, Input::Received(mallory, Message::Push(vec![run]).encode()));
    world.settle();
    assert!(
        world.alarms(founder)[0].contains("builds upon nothing"),
        "{:?}",
        world.alarms(founder)
    );
    let newcomer = world.join(founder, 60, "Denver");
    world.link(founder, newcomer);
    world.settle();
    let status = world.status(newcomer);
    assert_eq!((status.void, status.members.len()), (0, 3));
    assert_eq!(status.frontier, world.status(founder).frontier);
}

/// Handing in another ticket in a member's name took its roles away, and what it had written before
/// counted or not by what had come first.
#[test]
fn nobody_takes_a_members_roles_away_with_another_ticket() {
    let (mut world, ids) = World::of(3);
    let (founder, denver, boston) = (ids[0], ids[1], ids[2]);
    world.cut(founder, denver);
    world.cut(founder, boston);
    world.publish(denver, "E", "2024-04-01");
    for n in 0..10 {
        let ticket = signer(200 + n);
        let id = TicketId(ticket.office().0);
        let roles = vec![Role::Auditor];
        let invite = Invite { ticket: id, name: "Demoted".into(), roles, expires: i64::MAX };
        world.ask(founder, Command::Invite(invite)).unwrap();
        let admit = Admit::new(&world.network, denver, &ticket);
        // The office may come back with its key after it lost its disk; its roles stay what they were.
        let entries = world.status(founder).entries;
        world.ask(founder, Command::Admit(admit)).unwrap();
        assert_eq!(world.status(founder).entries, entries);
    }
    world.link(founder, boston);
    world.link(founder, denver);
    world.settle();
    world.assert_agreed();
    assert_eq!(world.status(founder).events, 1);
    world.patch(denver, "policy-E", json!({"title": "still mine"}));
}

/// Two sponsors in a divided network admit one office with two tickets: it is both.
#[test]
fn an_office_admitted_twice_at_once_has_the_roles_of_both() {
    let (mut world, ids) = World::of(2);
    let tickets = [(signer(200), Role::Approver), (signer(201), Role::Office)];
    for (ticket, role) in &tickets {
        let id = TicketId(ticket.office().0);
        let (name, roles) = (role.to_string(), vec![*role]);
        world
            .ask(ids[0], Command::Invite(Invite { ticket: id, name, roles, expires: i64::MAX }))
            .unwrap();
    }
    world.settle();
    world.cut(ids[0], ids[1]);
    let newcomer = signer(50).office();
    for ((ticket, _), sponsor) in tickets.iter().zip(&ids) {
        world.admit(*sponsor, ticket, newcomer).unwrap();
    }
    world.link(ids[0], ids[1]);
    world.settle();
    for id in ids {
        let Answer::Members(members) = world.ask(id, Command::Members).unwrap() else { panic!() };
        let member = members.into_iter().find(|member| member.office == newcomer).unwrap();
        assert_eq!(member.roles, [Role::Approver, Role::Office]);
    }
}
