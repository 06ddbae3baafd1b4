//! Leaving the network, and going on in it under a new key: told to the real binary.
#![allow(missing_docs, clippy::unwrap_used)]

use fasti_tests::{Cluster, Fasti, Node, wait_for};
use serde_json::{Value, json};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test")).with_env("FASTI_FAULTS", "1")
}

fn status(node: &Node) -> Value {
    node.api().get("/v1/status").unwrap()
}

fn names(node: &Node) -> Vec<String> {
    let members = status(node)["members"].as_array().unwrap().clone();
    members.iter().map(|member| member["name"].as_str().unwrap().to_owned()).collect()
}

fn links(node: &Node) -> Vec<String> {
    let peers = status(node)["peers"].as_array().unwrap().clone();
    peers.iter().map(|peer| peer.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_removed_office_is_cut_off_at_once_and_gets_nothing_in_any_more() {
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver", "Boston"]).unwrap();
    let boston = cluster.nodes[2].office.clone();
    cluster.nodes[2].api().publish("A", "2024-04-01", "before").unwrap();
    cluster.wait_until_equal().unwrap();
    let refused = cluster.fasti().says(cluster.nodes[1].dir(), &["remove", "Boston"]).unwrap();
    assert_eq!(refused.status, 1);
    assert!(refused.err.contains("only admins remove others"), "{}", refused.err);
    let said = cluster.fasti().call(cluster.nodes[0].dir(), &["remove", "Boston"]).unwrap();
    assert_eq!(said, "Boston is no member any more");
    for node in &cluster.nodes[..2] {
        wait_for("Boston to be cut off", || {
            Ok(names(node).len() == 2 && !links(node).contains(&boston))
        })
        .unwrap();
        assert!(node.api().event("policy-A").unwrap().is_some(), "what it had written is gone");
    }
    // It heard of it before it was cut off, and says so.
    let boston_dir = cluster.nodes[2].dir().to_owned();
    wait_for("Boston to know", || {
        let publish = ["publish", "policy_start", "--policy", "B", "--start", "2024-04-01"];
        let said = cluster.fasti().says(&boston_dir, &publish)?;
        Ok(said.status == 1 && said.err.contains("was removed from the network by Core"))
    })
    .unwrap();
    // Nor can it come back.
    cluster.nodes[2].stop().unwrap();
    cluster.nodes[2].start().unwrap();
    cluster.nodes[0].api().publish("C", "2024-04-01", "after").unwrap();
    wait_for("Denver to hear of it", || Ok(cluster.nodes[1].api().event("policy-C")?.is_some()))
        .unwrap();
    assert!(cluster.nodes[2].api().event("policy-C").unwrap().is_none());
    assert!(links(&cluster.nodes[2]).is_empty());
    let former = cluster.fasti().call(cluster.nodes[1].dir(), &["members", "--former"]).unwrap();
    assert!(former.contains("Boston") && former.contains("Core"), "{former}");
}

/// What was written behind the network's back counts for nothing: neither directly nor through others.
#[test]
fn what_a_removed_office_wrote_apart_does_not_get_in_through_another() {
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver", "Boston"]).unwrap();
    cluster.divide(&[&[0], &[1, 2]]).unwrap();
    cluster.nodes[2].api().publish("A", "2024-04-01", "apart").unwrap();
    wait_for("Denver to have it", || Ok(cluster.nodes[1].api().event("policy-A")?.is_some()))
        .unwrap();
    cluster.fasti().call(cluster.nodes[0].dir(), &["remove", "Boston"]).unwrap();
    // Denver passes it on, and learns of the removal.
    cluster.divide(&[&[0, 1], &[2]]).unwrap();
    wait_for("Denver to know of the removal", || Ok(names(&cluster.nodes[1]).len() == 2)).unwrap();
    cluster.nodes[2].kill().unwrap();
    cluster.wait_until_equal().unwrap();
    for node in &cluster.nodes[..2] {
        assert!(node.api().event("policy-A").unwrap().is_none(), "{} shows it", node.name);
        assert_eq!(status(node)["void"], 1);
        let former = node.api().get("/v1/members/former").unwrap();
        assert_eq!(former["members"][0]["cut"], 1, "{former}");
    }
    cluster.nodes[1].api().publish("B", "2024-04-01", "goes on").unwrap();
    cluster.wait_until_equal().unwrap();
}

#[test]
fn an_auditor_reads_everything_and_writes_nothing() {
    let mut cluster = Cluster::of(&fasti(), &["Core"]).unwrap();
    let core = cluster.nodes[0].dir().to_owned();
    let invite = ["invite", "--office", "Audit", "--role", "auditor"];
    let ticket = cluster.fasti().call(&core, &invite).unwrap();
    let dir = cluster.folder_of("Audit");
    cluster.fasti().call(&dir, &["join", &ticket]).unwrap();
    let mut audit = Node::new(cluster.fasti(), "Audit", &dir);
    audit.start().unwrap();
    cluster.nodes.push(audit);
    cluster.nodes[0].api().publish("A", "2024-04-01", "to be read").unwrap();
    cluster.wait_until_equal().unwrap();
    let audit = &cluster.nodes[1];
    assert!(audit.api().event("policy-A").unwrap().is_some());
    for call in [
        &["publish", "policy_start", "--policy", "B", "--start", "2024-04-01"][..],
        &["invite", "--office", "Friend"],
        &["remove", "Core"],
        &["rotate-key"],
    ] {
        let said = cluster.fasti().says(&dir, call).unwrap();
        assert_eq!(said.status, 1, "{call:?}");
        assert!(said.err.contains("auditor"), "{call:?}: {}", said.err);
    }
}

#[test]
fn an_office_goes_on_under_a_new_key() {
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver", "Boston"]).unwrap();
    let old = cluster.nodes[1].office.clone();
    let dir = cluster.nodes[1].dir().to_owned();
    let thief = cluster.root().join("stolen.key");
    std::fs::copy(dir.join("office.key"), &thief).unwrap();
    cluster.nodes[1].api().publish("A", "2024-04-01", "under the old key").unwrap();
    let said = cluster.fasti().call(&dir, &["rotate-key", "--json"]).unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["predecessor"], json!(old));
    let again = cluster.fasti().says(&dir, &["rotate-key"]).unwrap();
    assert!(again.err.contains("restart the node"), "{}", again.err);
    cluster.nodes[1].stop().unwrap();
    cluster.nodes[1].start().unwrap();
    let new = status(&cluster.nodes[1])["office"].as_str().unwrap().to_owned();
    assert_eq!(said["office"], json!(new));
    for node in &cluster.nodes {
        wait_for("the old key to be gone", || {
            let offices = status(node)["members"].as_array().unwrap().clone();
            let has = |office: &str| offices.iter().any(|member| member["office"] == office);
            Ok(has(&new) && !has(&old) && offices.len() == 3)
        })
        .unwrap();
    }
    cluster.wait_until_linked().unwrap();
    cluster.nodes[1].api().publish("B", "2024-04-01", "under the new key").unwrap();
    cluster.wait_until_equal().unwrap();
    for node in &cluster.nodes {
        assert!(node.api().event("policy-B").unwrap().is_some());
        assert_eq!(status(node)["void"], 0);
    }
    // Neither file is left for others to find.
    assert!(!dir.join("office.key.next").exists() && !dir.join("office.key.successor").exists());
    let key = std::fs::read_to_string(dir.join("office.key")).unwrap();
    assert_ne!(key, std::fs::read_to_string(thief).unwrap());
}
