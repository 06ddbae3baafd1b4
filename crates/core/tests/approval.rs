//! Policies are proposed, approved, changed, superseded and withdrawn, also in two parts of a divided network at
//! once, and every node says the same of them.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::mallory::Mallory;
use common::{World, signer};
use fasti_core::approval::{self, Approval, Approve, Propose, Withdraw};
use fasti_core::command::{Condition, PolicyState, PolicyView};
use fasti_core::statement::{Invite, Role, Statement};
use fasti_core::{Answer, Command, CommandError, OfficeId, Reply, TicketId};
use serde_json::json;

/// The founder, who is an approver, and one more approver and one office that isn't.
fn world() -> (World, [OfficeId; 3]) {
    let (mut world, founder) = World::new();
    let mut join = |seed: u8, roles: &[Role]| {
        let ticket = signer(seed + 100);
        let invite = Invite {
            ticket: TicketId(ticket.office().0),
            name: format!("Office {seed}"),
            roles: roles.to_vec(),
            expires: i64::MAX,
        };
        world.ask(founder, Command::Invite(invite)).unwrap();
        let id = world.start_with(founder, seed, &ticket);
        world.link(id, founder);
        world.settle();
        id
    };
    let second = join(2, &[Role::Approver, Role::Office]);
    let office = join(3, &[Role::Office]);
    world.link(second, office);
    world.settle();
    world.publish(office, "A", "2024-04-01");
    world.settle();
    (world, [founder, second, office])
}

#[track_caller]
fn policy(world: &mut World, at: OfficeId) -> PolicyView {
    is_policy(world.ask(at, Command::Policy { policy: "A".into() }))
}

#[track_caller]
fn is_policy(reply: Reply) -> PolicyView {
    match reply.unwrap() {
        Answer::Policy(policy) => *policy,
        other => panic!("{other:?}"),
    }
}

fn propose(world: &mut World, at: OfficeId) -> Reply {
    world.ask(at, Command::Propose { policy: "A".into(), condition: Condition::Always })
}

fn approve(world: &mut World, at: OfficeId, supersedes: &[&str]) -> Reply {
    let supersedes = supersedes.iter().map(|it| (*it).to_owned()).collect();
    let condition = Condition::Always;
    world.ask(at, Command::Approve { policy: "A".into(), supersedes, condition })
}

fn withdraw(world: &mut World, at: OfficeId) -> Reply {
    world.ask(at, Command::Withdraw { policy: "A".into() })
}

/// All say the same of the policy, however they came to know it.
#[track_caller]
fn agreed(world: &mut World, all: &[OfficeId]) -> PolicyView {
    world.settle();
    let first = policy(world, all[0]);
    for other in all {
        assert_eq!(policy(world, *other), first);
        world.restart(*other);
        assert_eq!(policy(world, *other), first);
    }
    world.settle();
    first
}

#[test]
fn a_policy_lives_from_draft_to_approval_and_a_change_shows_everywhere() {
    let (mut world, all) = world();
    let [founder, second, office] = all;
    assert_eq!(policy(&mut world, second).state, PolicyState::Draft);
    propose(&mut world, office).unwrap();
    let proposed = agreed(&mut world, &all);
    assert_eq!(proposed.state, PolicyState::Proposed);
    assert_eq!(proposed.proposed[0].by[0].office, office);
    let refused = approve(&mut world, office, &[]).unwrap_err();
    assert!(matches!(&refused, CommandError::NotAllowed(why) if why.contains("only approvers")));

    let approved = is_policy(approve(&mut world, second, &[]));
    assert_eq!((approved.state, approved.changed), (PolicyState::Approved, false));
    let approved = agreed(&mut world, &all);
    assert_eq!(approved.approved[0].by[0].name, "Office 2");
    assert_eq!(approved.approved[0].content["title"], "A");
    assert!(approved.proposed.is_empty() && !approved.approved[0].content.contains_key("updated"));

    world.patch(office, "policy-A", json!({"title": "Moved"}));
    let changed = agreed(&mut world, &all);
    assert_eq!((changed.state, changed.changed), (PolicyState::Approved, true));
    assert_eq!((&*changed.title, &changed.approved[0].content["title"]), ("Moved", &json!("A")));
    // What is as it was approved is not changed.
    world.patch(office, "policy-A", json!({"title": "A"}));
    assert!(!agreed(&mut world, &all).changed);
    world.patch(office, "policy-A", json!({"title": "Moved"}));
    world.settle();
    approve(&mut world, founder, &[]).unwrap();
    let again = agreed(&mut world, &all);
    assert_eq!((again.changed, again.approved.len()), (false, 1));
    assert_eq!(again.approved[0].content["title"], "Moved");
}

#[test]
fn only_what_was_seen_is_approved() {
    let (mut world, [founder, _, office]) = world();
    let seen = policy(&mut world, founder).etag;
    world.patch(office, "policy-A", json!({"title": "Moved"}));
    world.settle();
    let condition = Condition::Matches(vec![seen]);
    let reply = world
        .ask(founder, Command::Approve { policy: "A".into(), supersedes: Vec::new(), condition });
    assert!(matches!(reply, Err(CommandError::Precondition { .. })), "{reply:?}");
    assert_eq!(policy(&mut world, founder).state, PolicyState::Draft);
}

#[test]
fn what_was_proposed_or_approved_can_be_withdrawn() {
    let (mut world, all) = world();
    let [founder, _, office] = all;
    assert!(withdraw(&mut world, founder).is_err(), "there is nothing to withdraw");
    propose(&mut world, office).unwrap();
    world.settle();
    withdraw(&mut world, office).unwrap();
    assert_eq!(agreed(&mut world, &all).state, PolicyState::Withdrawn);
    propose(&mut world, founder).unwrap();
    approve(&mut world, founder, &[]).unwrap();
    world.settle();
    // It has proposed before, and may withdraw that; but not here what an approver approved.
    withdraw(&mut world, founder).unwrap();
    assert_eq!(agreed(&mut world, &all).state, PolicyState::Withdrawn);
    approve(&mut world, founder, &[]).unwrap();
    assert_eq!(agreed(&mut world, &all).state, PolicyState::Approved);
}

#[test]
fn a_policy_takes_the_place_of_another() {
    let (mut world, all) = world();
    let [founder, second, office] = all;
    world.publish(office, "B", "2024-05-01");
    world.settle();
    let b = Command::Approve {
        policy: "B".into(),
        supersedes: Vec::new(),
        condition: Condition::Always,
    };
    world.ask(second, b).unwrap();
    world.settle();
    approve(&mut world, founder, &["B"]).unwrap();
    world.settle();
    let b = is_policy(world.ask(office, Command::Policy { policy: "B".into() }));
    assert_eq!((b.state, b.superseded_by.as_deref()), (PolicyState::Superseded, Some("A")));
    assert_eq!(agreed(&mut world, &all).state, PolicyState::Approved);
    let unknown = approve(&mut world, founder, &["C"]).unwrap_err();
    assert!(matches!(unknown, CommandError::UnknownPolicy(_)));
    assert!(approve(&mut world, founder, &["A"]).is_err());
}

/// Found by the simulator: each node named the one that it had heard of first.
#[test]
fn a_policy_that_two_take_the_place_of_says_the_same_everywhere() {
    let (mut world, all) = world();
    let [founder, second, office] = all;
    world.publish(office, "B", "2024-05-01");
    world.publish(office, "C", "2024-05-01");
    world.settle();
    world.cut(founder, second);
    world.cut(founder, office);
    for (at, policy) in [(founder, "B"), (second, "C")] {
        let (supersedes, condition) = (vec!["A".into()], Condition::Always);
        world.ask(at, Command::Approve { policy: policy.into(), supersedes, condition }).unwrap();
    }
    world.link(founder, second);
    world.link(founder, office);
    assert_eq!(agreed(&mut world, &all).state, PolicyState::Superseded);
}

#[test]
fn two_approvers_in_a_divided_network_come_to_the_same() {
    for other_title in [false, true] {
        let (mut world, all) = world();
        let [founder, second, office] = all;
        world.cut(founder, second);
        world.cut(founder, office);
        if other_title {
            world.patch(office, "policy-A", json!({"title": "Theirs"}));
            world.settle();
        }
        approve(&mut world, founder, &[]).unwrap();
        approve(&mut world, second, &[]).unwrap();
        world.settle();
        world.link(founder, second);
        world.link(founder, office);
        let view = agreed(&mut world, &all);
        assert_eq!(view.state, PolicyState::Approved);
        assert_eq!(view.disputed, other_title);
        let signatures: usize = view.approved.iter().map(|it| it.by.len()).sum();
        assert_eq!((view.approved.len(), signatures), (1 + usize::from(other_title), 2));
        if other_title {
            // One of them looks, and decides.
            approve(&mut world, founder, &[]).unwrap();
            let view = agreed(&mut world, &all);
            assert_eq!((view.disputed, view.changed, view.approved.len()), (false, false, 1));
            assert_eq!(view.approved[0].content["title"], "Theirs");
        }
    }
}

#[test]
fn an_approval_and_a_withdrawal_at_once_are_disputed() {
    let (mut world, all) = world();
    let [founder, second, office] = all;
    approve(&mut world, founder, &[]).unwrap();
    world.settle();
    world.cut(founder, second);
    world.cut(founder, office);
    world.patch(office, "policy-A", json!({"title": "Theirs"}));
    world.settle();
    withdraw(&mut world, founder).unwrap();
    approve(&mut world, second, &[]).unwrap();
    world.link(founder, second);
    world.link(founder, office);
    let view = agreed(&mut world, &all);
    assert_eq!((view.state, view.disputed), (PolicyState::Approved, true));
    withdraw(&mut world, second).unwrap();
    let view = agreed(&mut world, &all);
    assert_eq!((view.state, view.disputed), (PolicyState::Withdrawn, false));
}

/// A member that is no approver, and writes what it likes.
#[test]
fn what_is_no_approvers_to_say_counts_for_nothing() {
    let (mut world, ids) = World::of(3);
    world.publish(ids[0], "A", "2024-04-01");
    world.settle();
    world
        .ask(
            ids[0],
            Command::Approve {
                policy: "A".into(),
                supersedes: Vec::new(),
                condition: Condition::Always,
            },
        )
        .unwrap();
    world.settle();
    let mut mallory = Mallory::in_world_of(&mut world, &ids);
    let before = policy(&mut world, ids[1]);
    let uid = "policy-A".to_owned();
    let good = approval::content(&serde_json::from_value(json!({"title": "x"})).unwrap());
    let lies = [
        Approval::Approve(Approve {
            uid: uid.clone(),
            content: good.clone(),
            supersedes: Vec::new(),
        }),
        Approval::Withdraw(Withdraw { uid: uid.clone() }),
        Approval::Propose(Propose { uid: uid.clone(), content: b"{ \"title\":\"x\"}".to_vec() }),
        Approval::Propose(Propose { uid, content: b"[]".to_vec() }),
        Approval::Propose(Propose { uid: " a".into(), content: good }),
    ];
    for (count, lie) in lies.into_iter().enumerate() {
        let link = mallory.saying(&Statement::Approval(lie));
        mallory.write(&mut world, ids[0], link);
        assert_eq!(world.status(ids[0]).void, count as u64 + 1);
    }
    world.settle();
    for id in &ids[..2] {
        assert_eq!(policy(&mut world, *id), before);
    }
}
