//! Lines that are cut and nodes that are away: everyone shows the same in the end.
#![allow(missing_docs, clippy::unwrap_used)]

use fasti_tests::{Api, Cluster, Fasti, wait_for};
use serde_json::{Value, json};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test")).with_env("FASTI_FAULTS", "1")
}

fn patch(api: &Api, patch: &Value) {
    api.send("PATCH", "/v1/events/policy-A", patch).unwrap();
}

#[test]
fn two_halves_edit_apart_and_show_the_same_once_they_meet() {
    let cluster = Cluster::of(&fasti(), &["Core", "Denver", "Boston", "Austin"]).unwrap();
    let api = |at: usize| cluster.nodes[at].api();
    api(0).publish("A", "2024-04-01", "Together").unwrap();
    cluster.wait_until_equal().unwrap();

    cluster.divide(&[&[0, 1], &[2, 3]]).unwrap();
    patch(api(0), &json!({ "title": "The west's", "description": "from the west" }));
    patch(api(3), &json!({ "title": "The east's", "color": "red" }));
    for (here, other, theirs) in [(1, "description", "color"), (2, "color", "description")] {
        wait_for("the edit in this half", || {
            Ok(api(here).event("policy-A")?.is_some_and(|event| event[other].is_string()))
        })
        .unwrap();
        assert!(api(here).event("policy-A").unwrap().unwrap()[theirs].is_null());
    }

    cluster.divide(&[&[0, 1, 2, 3]]).unwrap();
    cluster.wait_until_equal().unwrap();
    let event = api(0).event("policy-A").unwrap().unwrap();
    let conflicts = api(0).get("/v1/conflicts").unwrap();
    assert_eq!((&event["description"], &event["color"]), (&json!("from the west"), &json!("red")));
    assert_eq!(conflicts["conflicts"].as_array().unwrap().len(), 1);
    assert_eq!(conflicts["conflicts"][0]["path"], "title");
    assert_eq!(conflicts["conflicts"][0]["values"][0]["value"], event["title"]);
    for node in &cluster.nodes {
        assert_eq!(node.api().event("policy-A").unwrap().unwrap(), event, "{}", node.name);
        assert_eq!(node.api().get("/v1/conflicts").unwrap(), conflicts, "{}", node.name);
    }

    // The one that lost is chosen, in a third office, on the command line.
    let id = conflicts["conflicts"][0]["id"].as_str().unwrap();
    let keep = conflicts["conflicts"][0]["values"][1]["value"].as_str().unwrap();
    let resolve = ["conflicts", "resolve", id, "--keep", keep];
    cluster.fasti().call(cluster.nodes[2].dir(), &resolve).unwrap();
    cluster.wait_until_equal().unwrap();
    for node in &cluster.nodes {
        assert_eq!(node.api().get("/v1/conflicts").unwrap(), json!({ "conflicts": [] }));
        assert_eq!(node.api().event("policy-A").unwrap().unwrap()["title"], keep);
    }
    let again = cluster.fasti().says(cluster.nodes[1].dir(), &resolve).unwrap();
    assert_eq!(again.status, 1);
    assert!(again.err.contains("fasti conflicts"), "{}", again.err);
}

#[test]
fn a_node_that_was_away_for_five_hundred_changes_catches_up() {
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver", "Boston"]).unwrap();
    cluster.nodes[2].stop().unwrap();
    let policy = |n: usize| {
        let payload = json!({ "policy_id": format!("P{}", n % 300), "start_date": "2024-04-01",
            "title": format!("change {n}") });
        json!({ "type": "policy_start", "payload": payload })
    };
    for from in [0, 250] {
        let batch: Value = (from..from + 250).map(policy).collect();
        cluster.nodes[from % 2].api().send("POST", "/v1/publish", &batch).unwrap();
        cluster.wait_until_equal().unwrap();
    }
    cluster.nodes[2].start().unwrap();
    cluster.wait_until_equal().unwrap();
    let boston = cluster.nodes[2].api();
    assert_eq!(boston.get("/v1/status").unwrap()["events"], 300);
    assert_eq!(boston.event("policy-P199").unwrap().unwrap()["title"], "change 499");
    wait_for("everyone to know that Boston has it", || {
        let status = cluster.nodes[0].api().get("/v1/status")?;
        let members = status["members"].as_array().unwrap();
        Ok(members.iter().all(|member| member["behind"] == 0))
    })
    .unwrap();
}

#[test]
fn a_node_that_is_asked_to_stop_does_so_in_good_order() {
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver"]).unwrap();
    let dir = cluster.nodes[0].dir().to_owned();
    assert!(dir.join("node.json").exists());
    cluster.nodes[0].api().publish("A", "2024-04-01", "before the end").unwrap();
    // Somebody who listens must not keep it from stopping.
    let mut listener = cluster.nodes[0].api().stream().unwrap();
    cluster.nodes[0].stop().unwrap();
    assert!(!dir.join("node.json").exists());
    while listener.next_entry().is_ok() {}
    let status = cluster.fasti().says(&dir, &["status"]).unwrap();
    assert_eq!(status.status, 1);
    assert!(status.err.contains("no node is running"), "{}", status.err);
    cluster.nodes[0].start().unwrap();
    assert!(cluster.nodes[0].api().event("policy-A").unwrap().is_some());
    cluster.wait_until_equal().unwrap();
}

/// A fault in the program costs who asked at that moment, and nothing else: what was answered is there, and the node
/// goes on without being started again.
#[test]
fn a_panic_in_a_step_is_survived() {
    let cluster = Cluster::of(&fasti(), &["Core", "Denver"]).unwrap();
    let core = &cluster.nodes[0];
    core.api().publish("A", "2024-04-01", "before").unwrap();
    let pid = core.pid();
    core.api().send("PUT", "/v1/faults", &json!({ "cut": [], "panic": true })).unwrap();
    // The next step fails, whoever's it is.
    let lost = core.api().publish("B", "2024-04-01", "perhaps");
    wait_for("it to work again", || Ok(core.api().publish("C", "2024-04-01", "after").is_ok()))
        .unwrap();
    let log = std::fs::read_to_string(core.log()).unwrap();
    assert!(log.contains("the program failed, which it must not"), "{lost:?} {log}");
    assert_eq!(core.pid(), pid);
    cluster.wait_until_equal().unwrap();
    for node in &cluster.nodes {
        assert!(node.api().event("policy-A").unwrap().is_some());
        assert!(node.api().event("policy-C").unwrap().is_some());
        assert_eq!(node.api().event("policy-B").unwrap().is_some(), lost.is_ok());
    }
}
