//! Bundles: a report that proves itself to whoever holds nothing else.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::mallory::Mallory;
use common::{World, signer};
use fasti_core::command::{AsOf, Condition, PolicyState, ReportQuery, ReportView};
use fasti_core::entry::Link;
use fasti_core::policy::PolicyEvent;
use fasti_core::proof::{Check, Evidence, ProofError, Record, Sealed, Verified};
use fasti_core::{Answer, Command, OfficeId};
use serde_json::json;

fn query(policy: Option<&str>, as_of: AsOf) -> ReportQuery {
    ReportQuery { policy: policy.map(str::to_owned), as_of }
}

fn evidence(world: &mut World, at: OfficeId, query: ReportQuery) -> Evidence {
    match world.ask(at, Command::Evidence(query)).unwrap() {
        Answer::Evidence(evidence) => *evidence,
        other => panic!("{other:?}"),
    }
}

/// As a node makes one: with the checks that everybody makes who gets it.
fn bundle(world: &mut World, at: OfficeId, query: ReportQuery) -> Vec<Record> {
    let evidence = evidence(world, at, query);
    let mut records = vec![Record::Question(evidence.question.clone(), evidence.signature)];
    let mut sealing = evidence.sealing();
    for row in world.offices[&at].disk.rows.clone() {
        records.extend(sealing.add(row));
    }
    assert!(sealing.is_done());
    records.push(sealing.finish());
    records.extend(evidence.notices.iter().cloned().map(Record::Notice));
    let mut check = Check::default();
    records.iter().for_each(|record| check.take(record.clone()).unwrap());
    let pieces: Vec<Record> = check.judge().unwrap().pieces().collect();
    records.extend(pieces);
    records
}

fn verify(records: &[Record]) -> Result<Verified, ProofError> {
    let mut check = Check::default();
    for record in records {
        check.take(record.clone())?;
    }
    check.finish()
}

fn report(world: &mut World, at: OfficeId, query: ReportQuery) -> Option<ReportView> {
    match world.ask(at, Command::Report(query)).unwrap() {
        Answer::Report(report) => Some(report),
        Answer::Evidence(_) => None,
        other => panic!("{other:?}"),
    }
}

fn approve(world: &mut World, at: OfficeId, policy: &str) {
    let (policy, condition) = (policy.into(), Condition::Always);
    world.ask(at, Command::Approve { policy, supersedes: Vec::new(), condition }).unwrap();
}

/// Two offices, a policy that is approved and edited since; and when it was approved.
fn approved() -> (World, OfficeId, OfficeId, i64) {
    let (mut world, ids) = World::of(2);
    let [founder, second] = ids[..] else { unreachable!() };
    world.publish(second, "A", "2024-04-01");
    world.settle();
    approve(&mut world, founder, "A");
    world.settle();
    let then = world.wall();
    world.sleep(60);
    world.patch(second, "policy-A", json!({"title": "Moved"}));
    world.settle();
    (world, founder, second, then)
}

/// What the report says, without who made it and when.
fn said(report: &ReportView) -> serde_json::Value {
    json!({"policies": report.policies, "heads": report.heads})
}

#[test]
fn whoever_is_no_member_finds_the_same_report_as_a_node() {
    let (mut world, founder, second, then) = approved();
    let heads = report(&mut world, second, query(None, AsOf::Time(then))).unwrap().heads;
    for as_of in [AsOf::Now, AsOf::Time(then), AsOf::Entries(heads)] {
        for at in [founder, second] {
            let asked = query(Some("A"), as_of.clone());
            let records = bundle(&mut world, at, asked.clone());
            let verified = verify(&records).unwrap();
            let shown = report(&mut world, at, asked).unwrap();
            assert_eq!(said(&verified.report), said(&shown), "{as_of:?}");
            assert_eq!((verified.question.office, verified.report.office), (at, at));
            for record in records {
                assert_eq!(Record::decode(&record.encode()).unwrap(), record);
            }
        }
    }
    let now = verify(&bundle(&mut world, founder, query(None, AsOf::Now))).unwrap();
    let policy = &now.report.policies[0];
    assert_eq!((policy.policy.state, policy.policy.changed), (PolicyState::Approved, true));
    assert!(policy.holders.iter().all(|it| it.since.is_some()));
    assert_eq!(
        (now.entries as usize, now.void, now.deferred),
        (world.offices[&founder].disk.rows.len(), 0, 0)
    );
}

#[test]
fn there_is_nothing_to_prove_of_a_time_before_the_network() {
    let (mut world, founder, ..) = approved();
    let asked = world.ask(founder, Command::Evidence(query(None, AsOf::Time(0))));
    assert!(asked.unwrap_err().to_string().contains("nothing was written by then"));
    assert_eq!(report(&mut world, founder, query(None, AsOf::Time(0))).unwrap().policies, []);
}

#[test]
fn a_run_that_goes_on_beyond_the_heads_is_cut_and_still_proved() {
    let (mut world, founder) = World::new();
    let event = |id: &str| {
        let event = json!({"type": "policy_start", "payload": {"policy_id": id, "start_date": "2024-04-01"}});
        PolicyEvent::from_json(event).unwrap()
    };
    let events = ["A", "B", "C"].map(event).to_vec();
    let Answer::Published(written) = world.ask(founder, Command::Publish(events)).unwrap() else {
        unreachable!()
    };
    let middle = written[1].as_ref().unwrap().entry;
    let records = bundle(&mut world, founder, query(None, AsOf::Entries(vec![middle])));
    let Record::Entries(sealed) = &records[1] else { panic!("{records:?}") };
    let [Sealed { run, beyond: 1 }] = &sealed[..] else { panic!("{sealed:?}") };
    assert_eq!(run.links.len(), 4);
    let verified = verify(&records).unwrap();
    assert_eq!((verified.entries, verified.report.policies.len()), (3, 2));
    // What is beyond can't be passed off as something under them.
    let mut all = records.clone();
    if let Record::Entries(sealed) = &mut all[1] {
        sealed[0].beyond = 0;
    }
    assert!(matches!(verify(&all), Err(ProofError::HeadMissing(_))), "{:?}", verify(&all));
}

#[test]
fn no_changed_byte_goes_unnoticed() {
    let (mut world, founder, ..) = approved();
    let records = bundle(&mut world, founder, query(None, AsOf::Now));
    let right = verify(&records).unwrap();
    let mut same = 0;
    for (place, record) in records.iter().enumerate() {
        let bytes = record.encode();
        // Each byte of the report costs a judging of all entries.
        let step = if matches!(record, Record::Report(_)) { 29 } else { 1 };
        for at in (0..bytes.len()).step_by(step) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            let Ok(changed) = Record::decode(&bytes) else { continue };
            let mut records = records.clone();
            records[place] = changed;
            if let Ok(found) = verify(&records) {
                assert_eq!(
                    (&found.json, &found.question),
                    (&right.json, &right.question),
                    "{place}, {at}"
                );
                same += 1;
            }
        }
    }
    // A number may be written in more than one way.
    assert!(same <= 2, "{same}");
    for place in 0..records.len() {
        let mut fewer = records.clone();
        fewer.remove(place);
        assert!(verify(&fewer).is_err(), "without {place}");
        assert!(verify(&records[..place]).is_err(), "up to {place}");
        let mut more = records.clone();
        more.insert(place, records[place].clone());
        assert!(verify(&more).is_err(), "{place} twice");
    }
}

#[test]
fn an_entry_that_is_left_out_is_missed() {
    let (mut world, founder, ..) = approved();
    let records = bundle(&mut world, founder, query(None, AsOf::Now));
    let Record::Entries(all) = &records[1] else { panic!("{records:?}") };
    let mut found = Vec::new();
    for place in 0..all.len() {
        for at in 0..all[place].run.links.len() {
            let mut sealed = all.clone();
            sealed[place].run.links.remove(at);
            if sealed[place].run.links.is_empty() {
                sealed.remove(place);
            }
            let mut records = records.clone();
            records[1] = Record::Entries(sealed);
            found.push(verify(&records).unwrap_err());
        }
    }
    assert!(found.iter().any(|it| matches!(it, ProofError::EntryNotSigned { .. })), "{found:?}");
    // A run whose end was left out, signature and all, is missed by what builds upon it, or by the heads.
    for place in 0..all.len() {
        let mut records = records.clone();
        let mut sealed = all.clone();
        sealed.remove(place);
        records[1] = Record::Entries(sealed);
        let error = verify(&records).unwrap_err();
        assert!(
            matches!(
                error,
                ProofError::Missing(_) | ProofError::NoFounding(_) | ProofError::Unsound { .. }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn a_forged_report_is_told_from_what_follows() {
    let (mut world, founder, ..) = approved();
    let mut records = bundle(&mut world, founder, query(None, AsOf::Now));
    let Some(Record::Report(piece)) = records.last_mut() else { unreachable!() };
    let text = String::from_utf8(piece.clone()).unwrap();
    *piece = text.replacen("\"state\":\"approved\"", "\"state\":\"proposed\"", 1).into_bytes();
    let error = verify(&records).unwrap_err().to_string();
    assert!(error.contains("does not follow") && error.contains("proposed"), "{error}");
}

#[test]
fn nobody_else_vouches_for_it_and_no_other_networks_entries_are_taken() {
    let (mut world, founder, second, _) = approved();
    let records = bundle(&mut world, founder, query(None, AsOf::Now));
    let Record::Question(question, signature) = records[0].clone() else { unreachable!() };
    let with = |question| {
        let mut records = records.clone();
        records[0] = Record::Question(question, signature);
        verify(&records)
    };
    for changed in [
        fasti_core::proof::Question { made: question.made + 1, ..question.clone() },
        fasti_core::proof::Question { office: second, ..question.clone() },
        fasti_core::proof::Question { as_of: AsOf::Time(i64::MAX), ..question.clone() },
        fasti_core::proof::Question { heads: question.heads[..0].to_vec(), ..question.clone() },
    ] {
        assert!(matches!(with(changed), Err(ProofError::NotSigned { .. })));
    }
    // Another network, founded by the same key.
    let (other, log, row) = fasti_core::found(&signer(1), "Core", [8; 16], world.wall()).unwrap();
    let disk =
        common::Disk { rows: vec![row], incarnation: Some(log.incarnation), ..Default::default() };
    assert_ne!(other, world.network);
    let mut world = world.copy_of(founder, 9);
    world.network = other;
    let id = world.start_again_as(1, disk);
    let foreign = bundle(&mut world, id, query(None, AsOf::Now));
    let mut mixed = foreign;
    mixed[1] = records[1].clone();
    assert!(matches!(verify(&mixed), Err(ProofError::Unsound { .. })), "{:?}", verify(&mixed));
}

#[test]
fn what_a_removal_cuts_off_later_still_counts_as_of_before() {
    let (mut world, ids) = World::of(3);
    let [founder, second, third] = ids[..] else { unreachable!() };
    world.publish(founder, "A", "2024-04-01");
    world.settle();
    // The third office changes it, and only the second hears of that.
    world.cut(founder, second);
    world.cut(founder, third);
    world.patch(third, "policy-A", json!({"title": "By the third"}));
    world.settle();
    let then = world.wall();
    world.sleep(60);
    world.ask(founder, Command::Remove { office: third }).unwrap();
    world.link(founder, second);
    world.settle();
    world.settle_for(600);
    let title = |verified: &Verified| verified.report.policies[0].policy.title.clone();
    for at in [founder, second] {
        let now = bundle(&mut world, at, query(None, AsOf::Now));
        let now = verify(&now).unwrap();
        assert_eq!((title(&now).as_str(), now.void), ("A", 1));
        let asked = query(None, AsOf::Time(then));
        // A node that judges by all that it holds can't say; it makes it of those entries alone.
        assert_eq!(report(&mut world, at, asked.clone()), None);
        let before = verify(&bundle(&mut world, at, asked)).unwrap();
        assert_eq!((title(&before).as_str(), before.void), ("By the third", 0));
    }
}

#[test]
fn a_fork_that_came_later_changes_nothing_as_of_before() {
    let (mut world, ids) = World::of(3);
    let [founder, second, third] = ids[..] else { unreachable!() };
    world.publish(founder, "A", "2024-04-01");
    world.settle();
    // Two offices edit one field at once: whose value shows hangs on the names of their logs.
    world.cut(second, founder);
    world.cut(second, third);
    world.patch(second, "policy-A", json!({"title": "second"}));
    world.patch(third, "policy-A", json!({"title": "third"}));
    world.link(second, founder);
    world.link(second, third);
    world.settle();
    approve(&mut world, founder, "A");
    world.settle();
    let then = world.wall();
    world.sleep(60);
    let asked = query(None, AsOf::Time(then));
    let before = verify(&bundle(&mut world, founder, asked.clone())).unwrap();
    assert!(report(&mut world, founder, asked.clone()).is_some());
    // The third office signs another history, from before that edit on.
    let mut mallory = Mallory::in_world_of(&mut world, &ids);
    let first = world.offices[&third].disk.rows.iter().find(|row| row.entry.log.author == third);
    let first = first.unwrap().entry.clone();
    (mallory.log, mallory.seq, mallory.prev) = (first.log, first.seq, first.prev);
    let link = Link { parents: first.link.parents, ..mallory.honest.clone() };
    mallory.write(&mut world, founder, link);
    world.settle_for(600);
    assert_eq!(world.status(founder).forks, 1);
    assert_eq!(report(&mut world, founder, asked.clone()), None);
    let after = verify(&bundle(&mut world, founder, asked)).unwrap();
    // Of what offices said that they hold, the latest is all that is kept.
    let [after, before] = [&after, &before].map(|it| &it.report.policies[0]);
    assert_eq!((&after.policy, &after.written), (&before.policy, &before.written));
    // And as of now it is the same for whoever holds it.
    let now = verify(&bundle(&mut world, founder, query(None, AsOf::Now))).unwrap();
    let elsewhere = verify(&bundle(&mut world, second, query(None, AsOf::Now))).unwrap();
    assert_eq!(said(&now.report), said(&elsewhere.report));
    let shown = report(&mut world, founder, query(None, AsOf::Now)).unwrap();
    assert_eq!(said(&now.report), said(&shown));
}
