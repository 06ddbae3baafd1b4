//! Nodes that are killed at any moment, under load: what was answered is kept, and reaches everyone.
#![allow(missing_docs, clippy::unwrap_used)]

use fasti_tests::{Answered, Api, Cluster, Fasti, Load, wait_for};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test")).with_env("FASTI_FAULTS", "1")
}

/// Moments to kill at, counted in answered writes: after few, and in the midst of many.
const MOMENTS: [usize; 5] = [1, 40, 13, 90, 27];

#[track_caller]
fn assert_holds(api: &Api, answered: &[Answered]) {
    let entries = api.entries().unwrap();
    for write in answered {
        assert!(entries.contains(&write.entry), "{} of {} is lost", write.entry, write.uid);
    }
    for write in answered.iter().rev().take(50) {
        assert!(api.event(&write.uid).unwrap().is_some(), "{} is not shown", write.uid);
    }
}

#[test]
fn a_publisher_that_is_killed_again_and_again_loses_nothing_that_it_answered() {
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver"]).unwrap();
    let mut answered = Vec::new();
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        let load = Load::start(cluster.nodes[0].api(), &format!("R{round}"), 4);
        wait_for("some writes", || Ok(load.count() >= moment)).unwrap();
        cluster.nodes[0].kill().unwrap();
        answered.extend(load.end());
        cluster.nodes[0].start().unwrap();
        assert_holds(cluster.nodes[0].api(), &answered);
    }
    let later = cluster.nodes[1].api().publish("afterwards", "2024-04-01", "Denver's").unwrap();
    wait_for("Denver's policy", || {
        Ok(cluster.nodes[0].api().event(later["uid"].as_str().unwrap())?.is_some())
    })
    .unwrap();
    cluster.wait_until_equal().unwrap();
    for node in &cluster.nodes {
        assert_holds(node.api(), &answered);
        let status = node.api().get("/v1/status").unwrap();
        assert_eq!((&status["forks"], &status["void"]), (&0.into(), &0.into()), "{}", node.name);
    }
}

#[test]
fn a_receiver_that_is_killed_again_and_again_gets_everything() {
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver"]).unwrap();
    let load = Load::start(cluster.nodes[0].api(), "L", 3);
    let mut own = Vec::new();
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        let before = load.count();
        wait_for("some writes", || Ok(load.count() >= before + moment)).unwrap();
        let denver = &mut cluster.nodes[1];
        // Its own word counts as well, while it takes what others write.
        let written = denver.api().publish(&format!("D{round}"), "2024-04-01", "Denver's").unwrap();
        let text = |field: &str| written[field].as_str().unwrap().to_owned();
        own.push(Answered { uid: text("uid"), entry: text("entry") });
        denver.kill().unwrap();
        denver.start().unwrap();
    }
    let answered = load.end();
    cluster.wait_until_equal().unwrap();
    for node in &cluster.nodes {
        assert_holds(node.api(), &answered);
        assert_holds(node.api(), &own);
    }
}

#[test]
fn what_a_node_answered_alone_reaches_everyone_once_it_is_back() {
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver", "Boston"]).unwrap();
    cluster.divide(&[&[0], &[1, 2]]).unwrap();
    let load = Load::start(cluster.nodes[0].api(), "alone", 3);
    wait_for("some writes", || Ok(load.count() >= 30)).unwrap();
    cluster.nodes[0].kill().unwrap();
    let answered = load.end();
    for node in &cluster.nodes[1..] {
        assert!(node.api().event(&answered[0].uid).unwrap().is_none(), "the line was not cut");
        node.api().publish(&format!("by-{}", node.name), "2024-04-01", "meanwhile").unwrap();
    }
    cluster.nodes[0].start().unwrap();
    cluster.divide(&[&[0, 1, 2]]).unwrap();
    cluster.wait_until_equal().unwrap();
    for node in &cluster.nodes {
        assert_holds(node.api(), &answered);
        assert!(node.api().event("policy-by-Boston").unwrap().is_some());
    }
}
