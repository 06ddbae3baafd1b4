//! What was approved, who wrote it, and who held it: now, at a moment, and as far as some entries say.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::World;
use fasti_core::command::{AsOf, Condition, PolicyReport, PolicyState, ReportQuery, ReportView};
use fasti_core::{Answer, Command, OfficeId};
use serde_json::json;

fn report(world: &mut World, at: OfficeId, as_of: AsOf) -> ReportView {
    let query = ReportQuery { policy: Some("A".into()), as_of };
    match world.ask(at, Command::Report(query)).unwrap() {
        Answer::Report(report) => report,
        other => panic!("{other:?}"),
    }
}

fn only(report: &ReportView) -> &PolicyReport {
    assert_eq!(report.policies.len(), 1);
    &report.policies[0]
}

fn holders(report: &ReportView) -> Vec<(&str, bool, bool)> {
    let view = |it: &fasti_core::command::HolderView| it.since.is_some();
    only(report).holders.iter().map(|it| (it.name.as_str(), view(it), it.entry.is_some())).collect()
}

fn approve(world: &mut World, at: OfficeId) {
    let (policy, condition) = ("A".into(), Condition::Always);
    world.ask(at, Command::Approve { policy, supersedes: Vec::new(), condition }).unwrap();
}

#[test]
fn a_report_says_what_was_approved_when_by_whom_and_who_had_it() {
    let (mut world, ids) = World::of(3);
    let [founder, second, third] = ids[..] else { unreachable!() };
    world.publish(second, "A", "2024-04-01");
    world.settle();
    world.patch(third, "policy-A", json!({"description": "by the third"}));
    world.settle();
    let drafted = world.wall();
    world.sleep(60);
    // The third office is away while it is approved.
    world.cut(third, founder);
    world.cut(third, second);
    approve(&mut world, founder);
    world.settle();
    world.sleep(60);
    let approved = world.wall();
    let heads = report(&mut world, founder, AsOf::Now).heads;
    world.sleep(60);
    world.publish(second, "B", "2024-05-01");
    world.patch(second, "policy-A", json!({"title": "Moved"}));
    world.settle();

    let now = report(&mut world, founder, AsOf::Now);
    let policy = only(&now);
    assert_eq!((policy.policy.state, policy.policy.changed), (PolicyState::Approved, true));
    assert_eq!(policy.policy.approved[0].content["title"], "A");
    let who: Vec<_> = policy.written.iter().map(|it| (it.by.office, it.fields.len() > 1)).collect();
    assert_eq!(who, [(second, true), (third, false)]);
    assert_eq!(policy.written[1].fields, ["description"]);
    let by_name = |name: &str, report: &ReportView| {
        holders(report).into_iter().find(|it| it.0 == name).map(|it| (it.1, it.2)).unwrap()
    };
    // The founder wrote it, the second has written upon it; of the third nothing is known.
    let names: Vec<String> = policy.holders.iter().map(|it| it.name.clone()).collect();
    let name_of =
        |id: OfficeId| policy.holders.iter().find(|it| it.office == id).unwrap().name.clone();
    assert_eq!(names.len(), 3);
    let [first, other, away] = [founder, second, third].map(name_of);
    assert_eq!(by_name(&first, &now), (true, true));
    assert_eq!(by_name(&other, &now), (true, true));
    assert_eq!(by_name(&away, &now), (false, false));

    let before = report(&mut world, founder, AsOf::Time(drafted));
    assert_eq!(only(&before).policy.state, PolicyState::Draft);
    assert!(only(&before).policy.content.contains_key("description"));
    let then = report(&mut world, founder, AsOf::Time(approved));
    assert_eq!(
        (only(&then).policy.state, only(&then).policy.changed),
        (PolicyState::Approved, false)
    );
    assert_eq!(only(&then).policy.title, "A");
    // As far as entries say: the same for everybody who holds them, whatever they hold besides.
    let entries = report(&mut world, founder, AsOf::Entries(heads.clone()));
    assert_eq!(only(&entries).policy, only(&then).policy);
    let elsewhere = report(&mut world, second, AsOf::Entries(heads.clone()));
    assert_eq!(elsewhere.policies, entries.policies);
    let missing = world
        .ask(third, Command::Report(ReportQuery { policy: None, as_of: AsOf::Entries(heads) }));
    assert!(missing.is_err(), "it holds no such entry: {missing:?}");

    // It comes back, and says that it holds all.
    world.link(third, founder);
    world.settle();
    let later = report(&mut world, founder, AsOf::Now);
    assert_eq!(by_name(&away, &later), (true, false));
    let then = report(&mut world, founder, AsOf::Time(approved));
    assert_eq!(by_name(&away, &then), (false, false), "not by then");
    // Once it writes, that proves it.
    world.publish(third, "C", "2024-06-01");
    world.settle();
    assert_eq!(by_name(&away, &report(&mut world, founder, AsOf::Now)), (true, true));
}
