//! Stories of external systems, and what they are told.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::World;
use fasti_core::command::{
    BookRequest, DeliveriesQuery, DeliveryStatus, DeliveryView, NewResource, Replay, Replayed,
    SubscriptionView, SystemStatus,
};
use fasti_core::outbox::{
    Attempt, DeliveryState, Filter, NewSubscription, Outcome, Secret, Start, SubscriptionEdit,
    SystemState, Target, Tried,
};
use fasti_core::resource::{Description, ResourceKind, Slot, Terms};
use fasti_core::{Answer, Command, CommandError, Input, OfficeId, Reply};
use serde_json::json;

const DAY_S: u64 = 86_400;

fn new(name: &str) -> NewSubscription {
    NewSubscription {
        name: name.into(),
        target: Target { url: format!("https://{name}.example/hook"), options: "{}".into() },
        filter: Filter::default(),
        start: Start::Now,
        secret: Secret(vec![7; 32]),
    }
}

fn is_subscription(reply: Reply) -> SubscriptionView {
    match reply.unwrap() {
        Answer::Subscription(view) => *view,
        other => panic!("{other:?}"),
    }
}

fn subscribe(world: &mut World, at: OfficeId, new: NewSubscription) -> SubscriptionView {
    is_subscription(world.ask(at, Command::Subscribe(new)))
}

fn edit(world: &mut World, at: OfficeId, system: &str, edit: SubscriptionEdit) -> SubscriptionView {
    is_subscription(world.ask(at, Command::EditSubscription { system: system.into(), edit }))
}

fn shown(world: &mut World, at: OfficeId, system: &str) -> SubscriptionView {
    match world.ask(at, Command::Subscriptions).unwrap() {
        Answer::Subscriptions(all) => all.into_iter().find(|it| it.name == system).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn replay(world: &mut World, at: OfficeId, system: &str, what: Replayed) -> u64 {
    match world.ask(at, Command::Replay(Replay { system: system.into(), what })).unwrap() {
        Answer::Replayed(count) => count,
        other => panic!("{other:?}"),
    }
}

fn deliveries(world: &mut World, at: OfficeId, query: DeliveriesQuery) -> Vec<DeliveryView> {
    match world.ask(at, Command::Deliveries(DeliveriesQuery { limit: 1000, ..query })).unwrap() {
        Answer::Deliveries { deliveries, .. } => deliveries,
        other => panic!("{other:?}"),
    }
}

/// What is on its way.
fn sent(world: &mut World) -> Vec<Attempt> {
    std::mem::take(&mut world.attempts).into_iter().map(|it| it.1).collect()
}

/// What one system is told, as event and version, with whatever it is told meanwhile.
fn answer(world: &mut World, at: OfficeId, attempt: &Attempt, outcome: Outcome) {
    let tried = Tried {
        number: attempt.number,
        subscription: attempt.subscription.id,
        uid: attempt.delivery.uid.clone(),
        heads: attempt.heads.clone(),
        outcome,
    };
    world.input(at, Input::Tried(tried));
}

fn confirmed() -> Outcome {
    Outcome::Confirmed { applied: None, receipt: Vec::new() }
}

fn failed(reason: &str) -> Outcome {
    Outcome::Failed { reason: reason.into(), retry_after: None }
}

/// Lets all that is sent be confirmed until nothing is owed; gives it in order.
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

fn told(attempts: &[Attempt]) -> Vec<(&str, DeliveryState)> {
    attempts.iter().map(|it| (it.delivery.uid.as_str(), it.delivery.state)).collect()
}

#[test]
fn a_system_is_told_of_a_policy_and_again_once_all_offices_hold_it() {
    let (mut world, offices) = World::of(3);
    let [denver, boston, _] = offices[..] else { unreachable!() };
    subscribe(&mut world, denver, new("crm"));
    world.publish(denver, "YSP", "2030-04-01");
    let first = sent(&mut world).remove(0);
    let delivery = &first.delivery;
    assert_eq!(delivery.uid, "policy-YSP");
    assert_eq!((delivery.kind.as_str(), delivery.attempt), ("policy_start", 1));
    assert_eq!(delivery.state, DeliveryState::Tentative);
    assert_eq!(delivery.event["start"], "2030-04-01T00:00:00");
    assert_eq!(
        delivery.policy.clone().map(serde_json::Value::Object),
        Some(json!({"policy_id": "YSP", "start_date": "2030-04-01", "title": "YSP"}))
    );
    let status = world.status(denver);
    assert_eq!((status.deliveries.pending, status.deliveries.dead), (1, 0));
    answer(&mut world, denver, &first, confirmed());
    assert_eq!(world.status(denver).deliveries.pending, 0);
    // The others acknowledge it.
    let then = confirm_all(&mut world, denver);
    assert_eq!(told(&then), [("policy-YSP", DeliveryState::Settled)]);
    assert!(then[0].delivery.version > delivery.version);
    // What another office writes is told as well.
    world.patch(boston, "policy-YSP", json!({"title": "Youth sports"}));
    let then = confirm_all(&mut world, denver);
    assert_eq!(then[0].delivery.event["title"], "Youth sports");
    assert_eq!(then.last().unwrap().delivery.state, DeliveryState::Settled);
    world.patch(denver, "policy-YSP", json!({"status": "cancelled"}));
    let then = confirm_all(&mut world, denver);
    assert_eq!(told(&then), [("policy-YSP", DeliveryState::Cancelled)]);
    assert_eq!(then[0].delivery.kind, "policy_cancel");
}

#[test]
fn where_nobody_else_writes_all_is_settled_at_once() {
    let (mut world, denver) = World::new();
    subscribe(&mut world, denver, new("crm"));
    world.publish(denver, "YSP", "2030-04-01");
    assert_eq!(told(&confirm_all(&mut world, denver)), [("policy-YSP", DeliveryState::Settled)]);
}

#[test]
fn a_newer_state_takes_the_place_of_one_that_failed_and_none_overtakes_another() {
    let (mut world, denver) = World::new();
    subscribe(&mut world, denver, new("crm"));
    world.publish(denver, "YSP", "2030-04-01");
    let first = sent(&mut world).remove(0);
    // While it is on its way the event changes twice.
    world.patch(denver, "policy-YSP", json!({"title": "Two"}));
    world.patch(denver, "policy-YSP", json!({"title": "Three"}));
    assert!(sent(&mut world).is_empty());
    answer(&mut world, denver, &first, failed("503"));
    let next = sent(&mut world).remove(0);
    assert_eq!(next.delivery.event["title"], "Three");
    assert_eq!(next.delivery.attempt, 1);
    // Of what is no longer the newest a confirmation says nothing, nor does a repeated one.
    answer(&mut world, denver, &first, confirmed());
    assert_eq!(world.status(denver).deliveries.pending, 1);
    answer(&mut world, denver, &next, confirmed());
    answer(&mut world, denver, &next, confirmed());
    assert_eq!(world.status(denver).deliveries.pending, 0);
    assert!(confirm_all(&mut world, denver).is_empty());
}

#[test]
fn what_fails_is_tried_again_ever_more_rarely_and_given_up_after_days() {
    let (mut world, denver) = World::new();
    subscribe(&mut world, denver, new("crm"));
    world.publish(denver, "YSP", "2030-04-01");
    let (mut attempts, begin) = (Vec::new(), world.wall());
    while world.wall() < begin + 6 * DAY_S as i64 * 1000 {
        for attempt in sent(&mut world) {
            attempts.push(world.wall() - begin);
            answer(&mut world, denver, &attempt, failed("connection refused"));
        }
        world.settle_for(if attempts.len() < 5 { 1 } else { 60 });
    }
    let pauses: Vec<i64> = attempts.windows(2).map(|it| it[1] - it[0]).collect();
    assert!((250..1500).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses.iter().all(|it| *it <= 3_661_000), "{pauses:?}");
    assert!((100..400).contains(&attempts.len()), "{}", attempts.len());
    let dead = deliveries(&mut world, denver, DeliveriesQuery::default());
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].status, dead[0].next), (DeliveryStatus::Dead, None));
    assert_eq!(dead[0].problem.as_deref(), Some("connection refused"));
    assert_eq!(world.status(denver).deliveries.dead, 1);
    assert_eq!(shown(&mut world, denver, "crm").state, SystemState::Failing);
    // A system that is back is told of what is new, and of what was given up when somebody asks.
    world.publish(denver, "OTHER", "2030-05-01");
    let new = confirm_all(&mut world, denver);
    assert_eq!(told(&new), [("policy-OTHER", DeliveryState::Settled)]);
    let all = Replayed::Dead { from: 0, to: i64::MAX };
    assert_eq!(replay(&mut world, denver, "crm", all.clone()), 1);
    let again = confirm_all(&mut world, denver);
    assert_eq!(told(&again), [("policy-YSP", DeliveryState::Settled)]);
    assert_eq!(replay(&mut world, denver, "crm", all), 0);
    assert_eq!(world.status(denver).deliveries, Default::default());
}

#[test]
fn a_target_that_fails_at_everything_gets_one_attempt_at_a_time_and_harms_no_other() {
    let (mut world, denver) = World::new();
    subscribe(&mut world, denver, new("down"));
    subscribe(&mut world, denver, new("up"));
    for policy in 0..100 {
        world.publish(denver, &format!("P{policy}"), "2030-04-01");
    }
    let (mut tries, mut good) = (0, 0);
    for _ in 0..600 {
        let attempts = sent(&mut world);
        for attempt in attempts {
            if attempt.subscription.name == "up" {
                good += 1;
                answer(&mut world, denver, &attempt, confirmed());
            } else {
                tries += 1;
                answer(&mut world, denver, &attempt, failed("500"));
            }
        }
        world.settle_for(1);
    }
    assert_eq!(good, 100);
    assert!((20..80).contains(&tries), "{tries}");
    let down = shown(&mut world, denver, "down");
    assert_eq!((down.state, down.pending), (SystemState::Failing, 100));
    // One success, and all goes on.
    world.settle_for(700);
    let all = confirm_all(&mut world, denver);
    let events: BTreeSet<&str> = all.iter().map(|it| it.delivery.uid.as_str()).collect();
    assert_eq!(events.len(), 100);
    assert_eq!(shown(&mut world, denver, "down").state, SystemState::Active);
}

#[test]
fn who_asks_for_a_pause_gets_it_and_who_is_gone_is_left_alone() {
    let (mut world, denver) = World::new();
    subscribe(&mut world, denver, new("crm"));
    world.publish(denver, "YSP", "2030-04-01");
    let first = sent(&mut world).remove(0);
    let minute = Outcome::Failed { reason: "429".into(), retry_after: Some(60_000_000) };
    answer(&mut world, denver, &first, minute);
    world.settle_for(55);
    assert!(sent(&mut world).is_empty());
    world.settle_for(10);
    let again = sent(&mut world).remove(0);
    assert_eq!(again.delivery.attempt, 2);
    answer(&mut world, denver, &again, Outcome::Gone { reason: "410".into() });
    let view = shown(&mut world, denver, "crm");
    assert_eq!((view.state, view.problem.as_deref()), (SystemState::Gone, Some("410")));
    world.settle_for(DAY_S);
    assert!(sent(&mut world).is_empty());
    edit(&mut world, denver, "crm", SubscriptionEdit { paused: Some(true), ..Default::default() });
    assert_eq!(shown(&mut world, denver, "crm").state, SystemState::Paused);
    world.patch(denver, "policy-YSP", json!({"title": "New"}));
    assert!(sent(&mut world).is_empty());
    edit(&mut world, denver, "crm", SubscriptionEdit { paused: Some(false), ..Default::default() });
    let all = confirm_all(&mut world, denver);
    assert_eq!(told(&all), [("policy-YSP", DeliveryState::Settled)]);
    assert_eq!(all[0].delivery.event["title"], "New");
}

#[test]
fn nothing_owed_is_lost_when_the_node_stops() {
    let (mut world, offices) = World::of(2);
    let denver = offices[0];
    subscribe(&mut world, denver, new("crm"));
    world.publish(denver, "A", "2030-04-01");
    world.publish(denver, "B", "2030-04-02");
    let before = sent(&mut world);
    answer(&mut world, denver, &before[0], confirmed());
    answer(&mut world, denver, &before[1], failed("503"));
    world.restart(denver);
    let after = confirm_all(&mut world, denver);
    let events: Vec<&str> = after.iter().map(|it| it.delivery.uid.as_str()).collect();
    // B is tried again, and both are told to be settled.
    assert!(events.contains(&"policy-A") && events.contains(&"policy-B"), "{events:?}");
    let last = |uid: &str| after.iter().rfind(|it| it.delivery.uid == uid).unwrap();
    assert_eq!(last("policy-A").delivery.state, DeliveryState::Settled);
    assert_eq!(last("policy-B").delivery.state, DeliveryState::Settled);
    let versions: Vec<u64> = before.iter().chain(&after).map(|it| it.delivery.version).collect();
    assert!(last("policy-A").delivery.version > versions[0]);
    // Once told, once confirmed, it is over.
    world.restart(denver);
    assert!(confirm_all(&mut world, denver).is_empty());
    // The clock is set back; versions rise all the same.
    world.pass(-10 * DAY_S as i64 * 1000);
    world.patch(denver, "policy-A", json!({"title": "Later"}));
    let later = confirm_all(&mut world, denver);
    assert!(later[0].delivery.version > *versions.iter().max().unwrap());
}

#[test]
fn a_system_begins_where_it_wants() {
    let (mut world, denver) = World::new();
    for policy in 0..300 {
        world.publish(denver, &format!("P{policy:03}"), "2030-04-01");
    }
    world.settle_for(100);
    let middle = world.wall();
    world.publish(denver, "LATE", "2030-04-01");
    world.settle_for(10);
    subscribe(&mut world, denver, new("now"));
    subscribe(&mut world, denver, NewSubscription { start: Start::Time(middle), ..new("since") });
    subscribe(&mut world, denver, NewSubscription { start: Start::Beginning, ..new("all") });
    let attempts = confirm_all(&mut world, denver);
    let of = |name: &str| {
        let of = attempts.iter().filter(|it| it.subscription.name == name);
        of.map(|it| it.delivery.uid.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("now"), [""; 0]);
    assert_eq!(of("since"), ["policy-LATE"]);
    assert_eq!(of("all").len(), 301);
    assert_eq!(of("all").into_iter().collect::<BTreeSet<_>>().len(), 301);
    // The newest state of one, or of all since then, again.
    assert_eq!(replay(&mut world, denver, "now", Replayed::Event("policy-P007".into())), 1);
    let one = confirm_all(&mut world, denver);
    assert_eq!(one[0].delivery.uid, "policy-P007");
    replay(&mut world, denver, "now", Replayed::Since(middle));
    let since = confirm_all(&mut world, denver);
    assert_eq!(told(&since), [("policy-LATE", DeliveryState::Settled)]);
    let unknown = Replayed::Event("nowhere".into());
    let unknown = Replay { system: "now".into(), what: unknown };
    let unknown = world.ask(denver, Command::Replay(unknown)).unwrap_err();
    assert!(matches!(unknown, CommandError::UnknownEvent(_)), "{unknown}");
}

#[test]
fn a_long_backlog_is_owed_a_part_at_a_time() {
    let (mut world, denver) = World::new();
    for policy in 0..1500 {
        world.publish(denver, &format!("P{policy:04}"), "2030-04-01");
    }
    subscribe(&mut world, denver, NewSubscription { start: Start::Beginning, ..new("slow") });
    world.settle_for(5);
    let view = shown(&mut world, denver, "slow");
    assert!(view.backlog && (1000..1200).contains(&view.pending), "{view:?}");
    world.attempts.clear();
    world.restart(denver);
    let all = confirm_all(&mut world, denver);
    let events: BTreeSet<&str> = all.iter().map(|it| it.delivery.uid.as_str()).collect();
    assert_eq!(events.len(), 1500);
    assert!(!shown(&mut world, denver, "slow").backlog);
}

#[test]
fn systems_are_told_what_they_ask_for() {
    let (mut world, offices) = World::of(2);
    let [denver, boston] = offices[..] else { unreachable!() };
    let filtered = |name: &str, filter: Filter| NewSubscription { filter, ..new(name) };
    let set = |it: &str| BTreeSet::from([it.to_owned()]);
    let starts = Filter { types: set("policy_start"), ..Filter::default() };
    let holidays = Filter { calendars: set("holidays"), ..Filter::default() };
    let bostons = Filter { offices: BTreeSet::from([boston]), ..Filter::default() };
    subscribe(&mut world, denver, filtered("starts", starts));
    subscribe(&mut world, denver, filtered("holidays", holidays));
    subscribe(&mut world, denver, filtered("bostons", bostons));
    world.publish(denver, "YSP", "2030-04-01");
    world.put(denver, "labor", json!({"title": "Labor Day", "start": "2030-09-02T00:00:00", "showWithoutTime": true, "fasti:calendar": "holidays"}));
    world.settle_for(2);
    world.patch(boston, "policy-YSP", json!({"title": "By Boston"}));
    world.settle_for(2);
    world.patch(denver, "policy-YSP", json!({"status": "cancelled"}));
    let attempts = confirm_all(&mut world, denver);
    let of = |name: &str| {
        let of = attempts.iter().filter(|it| it.subscription.name == name);
        of.map(|it| it.delivery.uid.as_str()).collect::<BTreeSet<_>>()
    };
    assert_eq!(of("starts"), BTreeSet::from(["policy-YSP"]));
    assert_eq!(of("holidays"), BTreeSet::from(["labor"]));
    assert_eq!(of("bostons"), BTreeSet::from(["policy-YSP"]));
}

#[test]
fn who_wants_what_is_approved_is_told_that_and_nothing_else() {
    let (mut world, denver) = World::new();
    let filter = Filter { approved: true, ..Filter::default() };
    subscribe(&mut world, denver, NewSubscription { filter, ..new("ledger") });
    world.publish(denver, "YSP", "2030-04-01");
    assert!(confirm_all(&mut world, denver).is_empty());
    let approve = |policy: &str| Command::Approve {
        policy: policy.into(),
        supersedes: Vec::new(),
        condition: Default::default(),
    };
    world.ask(denver, approve("YSP")).unwrap();
    let told_first = confirm_all(&mut world, denver);
    assert_eq!(told(&told_first), [("policy-YSP", DeliveryState::Settled)]);
    assert_eq!(told_first[0].delivery.event["title"], "YSP");
    assert_eq!(
        told_first[0].delivery.approval,
        Some(json!({"state": "approved", "changed": false}))
    );
    world.patch(denver, "policy-YSP", json!({"title": "Not approved"}));
    assert!(confirm_all(&mut world, denver).is_empty());
    replay(&mut world, denver, "ledger", Replayed::Event("policy-YSP".into()));
    let again = confirm_all(&mut world, denver);
    assert_eq!(again[0].delivery.event["title"], "YSP");
    world.ask(denver, Command::Withdraw { policy: "YSP".into() }).unwrap();
    assert_eq!(told(&confirm_all(&mut world, denver)), [("policy-YSP", DeliveryState::Cancelled)]);
}

/// A hall on which these have a say.
fn add_hall(world: &mut World, at: OfficeId, stakeholders: Vec<OfficeId>) {
    let terms = Terms { capacity: 1, before: 0, after: 0 };
    let description = Description { name: "Hall".into(), kind: ResourceKind::Room, terms };
    world.ask(at, Command::AddResource(NewResource { description, stakeholders })).unwrap();
    world.settle();
}

/// Books the hall, always for the same hour.
fn book(world: &mut World, at: OfficeId, uid: &str) {
    let event = json!({"title": uid, "start": "2030-01-01T09:00:00", "timeZone": "Etc/UTC"});
    let start = 1_893_456_000 + 9 * 3600;
    let slots = vec![Slot { start, end: start + 3600, occurrence: String::new() }];
    let request = BookRequest {
        resource: "Hall".into(),
        uid: uid.into(),
        event: event.as_object().cloned(),
        slots,
        zone: None,
    };
    world.ask(at, Command::Book(request)).unwrap();
}

/// Who books for the hall lost its disk, and what it had booked: it signs two histories.
#[test]
fn a_settled_booking_that_is_displaced_after_all_is_told_to_be() {
    let (mut world, offices) = World::of(2);
    let [denver, boston] = offices[..] else { unreachable!() };
    add_hall(&mut world, denver, vec![denver]);
    subscribe(&mut world, boston, new("crm"));
    let backup = world.offices[&denver].disk.clone();
    book(&mut world, denver, "first");
    let first = confirm_all(&mut world, boston);
    assert_eq!(told(&first).last(), Some(&("first", DeliveryState::Settled)));
    world.cut(denver, boston);
    world.restore(denver, backup);
    book(&mut world, denver, "second");
    world.link(denver, boston);
    let then = confirm_all(&mut world, boston);
    assert!(told(&then).contains(&("first", DeliveryState::Displaced)), "{:?}", told(&then));
    world.restart(boston);
    assert!(confirm_all(&mut world, boston).is_empty());
}

#[test]
fn a_booking_that_is_displaced_is_told_to_be() {
    let (mut world, offices) = World::of(2);
    let [denver, boston] = offices[..] else { unreachable!() };
    add_hall(&mut world, denver, vec![denver, boston]);
    for (at, name) in [(denver, "denver's"), (boston, "boston's")] {
        subscribe(&mut world, at, new(name));
    }
    world.cut(denver, boston);
    for (at, uid) in [(denver, "d"), (boston, "b")] {
        book(&mut world, at, uid);
    }
    let states = |world: &mut World| {
        world.settle_for(2);
        let attempts = sent(world);
        for attempt in &attempts {
            for at in [denver, boston] {
                answer(world, at, attempt, confirmed());
            }
        }
        attempts.iter().map(|it| it.delivery.state).collect::<BTreeSet<_>>()
    };
    assert_eq!(states(&mut world), BTreeSet::from([DeliveryState::Tentative]));
    world.link(denver, boston);
    let mut last = std::collections::BTreeMap::new();
    for _ in 0..10 {
        world.settle_for(1);
        for attempt in sent(&mut world) {
            last.insert(
                (attempt.subscription.name.clone(), attempt.delivery.uid.clone()),
                attempt.delivery.state,
            );
            for at in [denver, boston] {
                answer(&mut world, at, &attempt, confirmed());
            }
        }
    }
    // One of both holds it, for good, and both offices' systems were told the same.
    for system in ["denver's", "boston's"] {
        let of = |uid: &str| last[&(system.to_owned(), uid.to_owned())];
        let both = BTreeSet::from([of("d"), of("b")]);
        assert_eq!(both, BTreeSet::from([DeliveryState::Settled, DeliveryState::Displaced]));
    }
    let of = |system: &str| last[&(system.to_owned(), "d".to_owned())];
    assert_eq!(of("denver's"), of("boston's"));
}

#[test]
fn secrets_are_shown_to_who_delivers_alone_and_rotate() {
    let (mut world, denver) = World::new();
    let target =
        Target { url: "amqp://bob:hush@mq.example/%2f?key=hush".into(), options: "{}".into() };
    let view = subscribe(&mut world, denver, NewSubscription { target, ..new("mq") });
    assert_eq!(view.url, "amqp://bob@mq.example/%2f");
    assert!(!format!("{view:?}").contains("hush"));
    let until = world.wall() + 1000;
    let secret = Some((Secret(vec![8; 32]), until));
    edit(&mut world, denver, "mq", SubscriptionEdit { secret, ..Default::default() });
    let Answer::Target(it) = world.ask(denver, Command::Target { system: "mq".into() }).unwrap()
    else {
        unreachable!()
    };
    assert!(!format!("{it:?}").contains("hush"));
    assert_eq!(it.secrets(until - 1), [Secret(vec![8; 32]), Secret(vec![7; 32])]);
    assert_eq!(it.secrets(until), [Secret(vec![8; 32])]);
}

#[test]
fn names_are_one_of_a_kind_and_what_is_removed_is_owed_nothing() {
    let (mut world, denver) = World::new();
    subscribe(&mut world, denver, new("crm"));
    let twice = world.ask(denver, Command::Subscribe(new("crm"))).unwrap_err();
    assert!(twice.to_string().contains("already"), "{twice}");
    let bad = world.ask(denver, Command::Subscribe(new(" crm"))).unwrap_err();
    assert!(bad.to_string().contains("1 to 64 bytes"), "{bad}");
    world.publish(denver, "YSP", "2030-04-01");
    let on_its_way = sent(&mut world).remove(0);
    world.ask(denver, Command::Unsubscribe { system: "crm".into() }).unwrap();
    answer(&mut world, denver, &on_its_way, confirmed());
    assert_eq!(world.status(denver).deliveries, Default::default());
    let gone = world.ask(denver, Command::Unsubscribe { system: "crm".into() }).unwrap_err();
    assert!(gone.to_string().contains("fasti subscriptions"), "{gone}");
    for at in 0..64 {
        subscribe(&mut world, denver, new(&format!("s{at}")));
    }
    let full = world.ask(denver, Command::Subscribe(new("one more"))).unwrap_err();
    assert!(full.to_string().contains("64"), "{full}");
}

#[test]
fn every_office_hears_which_systems_confirmed_a_policy_and_which_have_not() {
    let (mut world, offices) = World::of(3);
    let [denver, boston, austin] = offices[..] else { unreachable!() };
    subscribe(&mut world, denver, new("crm"));
    subscribe(&mut world, boston, new("rooms"));
    let filter = Filter { calendars: BTreeSet::from(["holidays".into()]), ..Filter::default() };
    subscribe(&mut world, boston, NewSubscription { filter, ..new("holidays") });
    world.settle_for(5);
    let reach = |world: &mut World, at| match world.ask(at, Command::Reach { policy: "YSP".into() })
    {
        Ok(Answer::Reach(reach)) => reach,
        other => panic!("{other:?}"),
    };
    assert!(world.ask(austin, Command::Reach { policy: "YSP".into() }).is_err());
    world.publish(denver, "YSP", "2030-04-01");
    let now = reach(&mut world, denver);
    assert_eq!((now.held_by, now.confirmed_by, now.systems), (1, 0, 2));
    // Denver's is told and confirms; Boston's takes none of it.
    for _ in 0..10 {
        world.settle_for(1);
        for attempt in sent(&mut world) {
            match attempt.subscription.name.as_str() {
                "crm" => answer(&mut world, denver, &attempt, confirmed()),
                _ => answer(&mut world, boston, &attempt, failed("503")),
            }
        }
    }
    for at in [denver, boston, austin] {
        let now = reach(&mut world, at);
        assert_eq!((now.held_by, now.confirmed_by, now.systems), (3, 1, 2), "{now:?}");
        let of = |name: &str| {
            let mut all = now.offices.iter().flat_map(|it| &it.systems);
            all.find(|it| it.name == name).unwrap()
        };
        assert_eq!(of("crm").status, SystemStatus::Confirmed);
        assert_eq!(of("rooms").status, SystemStatus::Pending);
        assert!(of("rooms").since.is_some());
    }
    // It is known to all, and outlives a restart; and once Boston's has it, that is known as well.
    world.restart(austin);
    assert_eq!(reach(&mut world, austin).confirmed_by, 1);
    let systems = world.status(austin).systems;
    let named: Vec<_> = systems.iter().map(|it| (it.name.as_str(), it.pending)).collect();
    assert!(named.contains(&("rooms", 1)) && named.contains(&("holidays", 0)), "{named:?}");
    for _ in 0..10 {
        world.settle_for(10);
        for attempt in sent(&mut world) {
            answer(&mut world, boston, &attempt, confirmed());
        }
    }
    let now = reach(&mut world, austin);
    assert_eq!((now.held_by, now.confirmed_by, now.systems), (3, 2, 2), "{now:?}");
    // What is changed is to be confirmed again, and nobody claims to know what was not said.
    world.cut(denver, austin);
    world.cut(boston, austin);
    world.patch(austin, "policy-YSP", json!({"title": "Alone"}));
    let now = reach(&mut world, austin);
    assert_eq!((now.held_by, now.confirmed_by, now.systems), (1, 0, 2), "{now:?}");
}
