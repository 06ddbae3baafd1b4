//! Stories of faults in deliveries that the simulator found.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::World;
use fasti_core::command::{Replay, Replayed};
use fasti_core::outbox::{
    Attempt, DeliveryState, Filter, NewSubscription, Outcome, Secret, Start, SubscriptionEdit,
    Target, Tried,
};
use fasti_core::{Command, Input, OfficeId};
use serde_json::json;

fn new(name: &str, start: Start) -> NewSubscription {
    NewSubscription {
        name: name.into(),
        target: Target { url: format!("https://{name}.example/hook"), options: "{}".into() },
        filter: Filter::default(),
        start,
        secret: Secret(vec![7; 32]),
    }
}

fn edit(world: &mut World, at: OfficeId, edit: SubscriptionEdit) {
    world.ask(at, Command::EditSubscription { system: "crm".into(), edit }).unwrap();
}

fn replay(world: &mut World, at: OfficeId, what: Replayed) {
    world.ask(at, Command::Replay(Replay { system: "crm".into(), what })).unwrap();
}

fn sent(world: &mut World) -> Vec<Attempt> {
    std::mem::take(&mut world.attempts).into_iter().map(|it| it.1).collect()
}

fn answer(world: &mut World, at: OfficeId, attempt: &Attempt, outcome: Outcome) {
    let Attempt { number, subscription, delivery, heads } = attempt.clone();
    let (subscription, uid) = (subscription.id, delivery.uid);
    world.input(at, Input::Tried(Tried { number, subscription, uid, heads, outcome }));
}

fn confirmed() -> Outcome {
    Outcome::Confirmed { applied: None, receipt: Vec::new() }
}

fn confirm_all(world: &mut World, at: OfficeId) -> Vec<Attempt> {
    let mut all = Vec::new();
    loop {
        world.settle_for(1);
        let attempts = sent(world);
        if attempts.is_empty() {
            return all;
        }
        for attempt in &attempts {
            answer(world, at, attempt, confirmed());
        }
        all.extend(attempts);
    }
}

/// It kept how final the event was when the answer came, and what kind the newer change was.
#[test]
fn what_is_kept_as_confirmed_is_what_was_told() {
    let (mut world, denver) = World::new();
    world.ask(denver, Command::Subscribe(new("crm", Start::Now))).unwrap();
    world.publish(denver, "YSP", "2030-04-01");
    let first = sent(&mut world).remove(0);
    world.patch(denver, "policy-YSP", json!({"status": "cancelled"}));
    answer(&mut world, denver, &first, confirmed());
    let kept = |world: &World| {
        let key = (first.subscription.id, "policy-YSP".to_owned());
        let row = world.offices[&denver].disk.confirmed[&key].clone();
        (row.version, row.kind, row.state)
    };
    let told = (first.delivery.version, "policy_start".to_owned(), DeliveryState::Settled);
    assert_eq!(kept(&world), told);
    confirm_all(&mut world, denver);
    let (_, kind, state) = kept(&world);
    assert_eq!((kind.as_str(), state), ("policy_cancel", DeliveryState::Cancelled));
}

/// The later one took the place of the earlier one, which reached further back.
#[test]
fn who_asks_twice_for_the_past_while_nothing_is_delivered_gets_both() {
    let (mut world, denver) = World::new();
    world.publish(denver, "EARLY", "2030-04-01");
    world.settle_for(100);
    let middle = world.wall();
    world.publish(denver, "LATE", "2030-04-01");
    world.ask(denver, Command::Subscribe(new("crm", Start::Now))).unwrap();
    edit(&mut world, denver, SubscriptionEdit { paused: Some(true), ..Default::default() });
    replay(&mut world, denver, Replayed::Since(i64::MIN));
    replay(&mut world, denver, Replayed::Since(middle));
    edit(&mut world, denver, SubscriptionEdit { paused: Some(false), ..Default::default() });
    assert_eq!(confirm_all(&mut world, denver).len(), 2);
}

/// It was told that it is tentative, and then that it is settled once more.
#[test]
fn a_settled_event_that_is_delivered_again_is_settled_still() {
    let (mut world, offices) = World::of(2);
    let denver = offices[0];
    world.ask(denver, Command::Subscribe(new("crm", Start::Now))).unwrap();
    world.publish(denver, "YSP", "2030-04-01");
    world.publish(denver, "OTHER", "2030-04-01");
    confirm_all(&mut world, denver);
    // The node has just looked what is final, and leaves that alone for a moment.
    world.patch(denver, "policy-OTHER", json!({"title": "Other"}));
    world.patch(denver, "policy-OTHER", json!({"title": "Yet another"}));
    sent(&mut world);
    replay(&mut world, denver, Replayed::Event("policy-YSP".into()));
    let states: Vec<DeliveryState> = sent(&mut world).iter().map(|it| it.delivery.state).collect();
    assert_eq!(states, [DeliveryState::Settled]);
}

/// The retry said something else under the same version, which a system that had got the first attempt took for known.
#[test]
fn who_wants_only_what_is_approved_from_now_on_is_told_under_another_version() {
    let (mut world, denver) = World::new();
    world.ask(denver, Command::Subscribe(new("crm", Start::Now))).unwrap();
    world.publish(denver, "YSP", "2030-04-01");
    let first = sent(&mut world).remove(0);
    let lost = Outcome::Failed { reason: "timed out".into(), retry_after: None };
    answer(&mut world, denver, &first, lost);
    let filter = Some(Filter { approved: true, ..Filter::default() });
    edit(&mut world, denver, SubscriptionEdit { filter, ..Default::default() });
    let then = confirm_all(&mut world, denver).remove(0);
    assert_eq!(then.delivery.state, DeliveryState::Cancelled);
    assert!(then.delivery.version > first.delivery.version);
}

/// It was told that the policy is cancelled, with the content that is approved.
#[test]
fn a_cancellation_that_nobody_approved_is_not_told_to_who_wants_what_is_approved() {
    let (mut world, denver) = World::new();
    let filter = Filter { approved: true, ..Filter::default() };
    let new = NewSubscription { filter, ..new("crm", Start::Now) };
    world.ask(denver, Command::Subscribe(new)).unwrap();
    world.publish(denver, "YSP", "2030-04-01");
    let (supersedes, condition) = (Vec::new(), Default::default());
    world.ask(denver, Command::Approve { policy: "YSP".into(), supersedes, condition }).unwrap();
    confirm_all(&mut world, denver);
    world.patch(denver, "policy-YSP", json!({"status": "cancelled"}));
    replay(&mut world, denver, Replayed::Event("policy-YSP".into()));
    let told = confirm_all(&mut world, denver).remove(0).delivery;
    assert_eq!(
        (told.event["status"].as_str(), told.state),
        (Some("confirmed"), DeliveryState::Settled)
    );
}

/// It ended the attempt that was made after that, and the next one was made beside it.
#[test]
fn what_came_of_an_attempt_from_before_the_core_was_opened_again_says_nothing_of_the_next() {
    let (mut world, denver) = World::new();
    world.ask(denver, Command::Subscribe(new("crm", Start::Now))).unwrap();
    world.publish(denver, "YSP", "2030-04-01");
    let before = sent(&mut world).remove(0);
    world.restart(denver);
    world.settle_for(1);
    let after = sent(&mut world).remove(0);
    assert_eq!(after.delivery.version, before.delivery.version);
    let late = Outcome::Failed { reason: "timed out".into(), retry_after: None };
    answer(&mut world, denver, &before, late);
    world.patch(denver, "policy-YSP", json!({"title": "New"}));
    world.settle_for(5);
    assert_eq!(sent(&mut world).len(), 0);
    answer(&mut world, denver, &after, confirmed());
    assert_eq!(sent(&mut world).remove(0).delivery.event["title"], "New");
}
