//! A newcomer's walk along the command line, with two real nodes: each call once for people and once
//! for programs.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use fasti_tests::{Cluster, Fasti, wait_for};
use serde_json::{Value, json};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test")).with_env("FASTI_FAULTS", "1")
}

#[track_caller]
fn says(dir: &Path, args: &[&str]) -> String {
    let out = fasti().prints(dir, args);
    assert!(!out.contains('\u{1b}'), "colours where nobody sees them: {out}");
    out
}

#[track_caller]
fn says_json(dir: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&says(dir, &[args, &["--json"]].concat())).unwrap()
}

#[test]
fn a_network_is_founded_and_joined() {
    let fasti = fasti();
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let network = says(&one, &["init", "--office", "Core"]);
    assert_eq!(network.trim().len(), 64);
    assert_eq!(
        says_json(&two, &["init", "--office", "Other"])["network"].as_str().unwrap().len(),
        64
    );
    // Only the owner may look into it.
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o700);

    let mut cluster = Cluster::found(&fasti, "Core").unwrap();
    let core = cluster.nodes[0].dir().to_owned();
    let ticket =
        says(&core, &["invite", "--office", "Denver", "--role", "approver", "--ttl", "1h"]);
    assert_eq!(ticket.lines().count(), 1);
    let other = says_json(&core, &["invite", "--office", "Boston"]);
    assert!(other["ticket"].is_string() && other["expires"].is_u64(), "{other}");
    let denver = cluster.folder_of("Denver");
    says(&denver, &["join", ticket.trim()]);
    let boston = cluster.folder_of("Boston");
    let joined = says(&boston, &["join", other["ticket"].as_str().unwrap(), "--json"]);
    assert!(serde_json::from_str::<Value>(&joined).unwrap()["network"].is_string(), "{joined}");
    let mut node = fasti_tests::Node::new(&fasti, "Denver", &denver);
    node.start().unwrap();
    cluster.nodes.push(node);
    cluster.wait_until_equal().unwrap();

    let members = says(&denver, &["members"]);
    assert!(members.lines().next().unwrap().starts_with("NAME"), "{members}");
    for name in ["Core", "Denver", "Boston"] {
        assert!(members.contains(name), "{members}");
    }
    let members = says_json(&denver, &["members"]);
    let roles: Vec<_> =
        members["members"].as_array().unwrap().iter().map(|m| &m["roles"]).collect();
    assert!(roles.contains(&&json!(["approver"])), "{members}");
    assert_eq!(says_json(&denver, &["status"])["office"], json!(cluster.nodes[1].office));
}

#[test]
fn the_four_kinds_of_policy_events_are_published() {
    let cluster = Cluster::of(&fasti(), &["Core", "Denver"]).unwrap();
    let (core, denver) = (cluster.nodes[0].dir(), cluster.nodes[1].dir());
    let publish = ["publish", "policy_start", "--policy", "YSP-2024"];
    let title = ["--start", "2024-04-01", "--title", "Youth sports"];
    let said = says(core, &[&publish[..], &title].concat());
    assert!(said.starts_with("policy-YSP-2024 written in entry "), "{said}");
    let update =
        ["publish", "policy_update", "--policy", "YSP-2024", "--data", "{\"budget\":12000}"];
    let written = says_json(core, &update);
    assert_eq!(written["uid"], "policy-YSP-2024");
    assert_eq!(written["entry"].as_str().unwrap().len(), 64);
    cluster.wait_until_equal().unwrap();
    // Another office goes on where the first one was.
    says(denver, &["publish", "policy_end", "--policy", "YSP-2024", "--end", "2024-12-31"]);
    cluster.wait_until_equal().unwrap();
    let event = says_json(core, &["event", "show", "policy-YSP-2024"])["event"].clone();
    assert_eq!(event["fasti:policy"]["payload"]["budget"], 12000);
    assert_eq!((&event["title"], &event["duration"]), (&json!("Youth sports"), &json!("P275D")));
    says(core, &["publish", "policy_cancel", "--policy", "YSP-2024"]);
    cluster.wait_until_equal().unwrap();
    let card = says(denver, &["event", "show", "policy-YSP-2024"]);
    assert!(card.contains("cancelled") && card.contains("2024-04-01 to 2024-12-31"), "{card}");
}

#[test]
fn events_are_added_shown_listed_edited_and_cancelled() {
    let cluster = Cluster::of(&fasti(), &["Core", "Denver"]).unwrap();
    let (core, denver) = (cluster.nodes[0].dir(), cluster.nodes[1].dir());
    let add = ["event", "add", "--title", "Retreat", "--start", "2024-05-06", "--duration", "P2D"];
    let uid = says_json(core, &add)["uid"].as_str().unwrap().to_owned();
    says(core, &["event", "add", "--title", "Call", "--start", "2024-05-07T09:00"]);
    cluster.wait_until_equal().unwrap();
    let list = says(denver, &["event", "list", "--from", "2024-05-01", "--to", "2024-05-31"]);
    let titles: Vec<_> =
        list.lines().filter(|l| l.contains("Retreat") || l.contains("Call")).collect();
    assert!(titles.len() == 2 && titles[0].contains("Retreat"), "{list}");
    assert_eq!(says_json(denver, &["event", "list"])["events"].as_array().unwrap().len(), 2);
    says(denver, &["event", "edit", &uid, "locations/1/name=Room 2", "title=All hands"]);
    let shown = says_json(denver, &["event", "show", &uid]);
    assert_eq!(shown["event"]["locations"]["1"]["name"], "Room 2");
    let etag = shown["etag"].as_str().unwrap();
    assert!(
        says_json(denver, &["event", "edit", &uid, "color=red", "--if-match", etag])["etag"]
            .is_string()
    );
    assert!(says(denver, &["event", "cancel", &uid]).contains("cancelled"));
    cluster.wait_until_equal().unwrap();
    assert_eq!(says_json(core, &["event", "show", &uid])["event"]["status"], "cancelled");
    assert_eq!(says_json(core, &["event", "cancel", &uid])["event"]["status"], "cancelled");
}

#[test]
fn a_conflict_is_decided_by_what_the_list_says() {
    let cluster = Cluster::of(&fasti(), &["Core", "Denver"]).unwrap();
    let (core, denver) = (cluster.nodes[0].dir(), cluster.nodes[1].dir());
    assert_eq!(says(core, &["conflicts"]), "nothing needs a decision\n");
    assert_eq!(says_json(core, &["conflicts"]), json!({ "conflicts": [] }));
    says(core, &["publish", "policy_start", "--policy", "A", "--start", "2024-04-01"]);
    cluster.wait_until_equal().unwrap();
    cluster.divide(&[&[0], &[1]]).unwrap();
    says(core, &["event", "edit", "policy-A", "title=One"]);
    says(denver, &["event", "edit", "policy-A", "title=Two"]);
    cluster.divide(&[&[0, 1]]).unwrap();
    wait_for("the conflict", || {
        Ok(says_json(core, &["status"])["conflicts"] == 1
            && says_json(denver, &["status"])["conflicts"] == 1)
    })
    .unwrap();
    assert!(says(core, &["status"]).contains("need a decision: fasti conflicts"));
    let list = says(core, &["conflicts"]);
    let line = list.lines().find_map(|line| line.strip_prefix("decide: fasti ")).unwrap();
    let args: Vec<&str> =
        line.split(' ').map(|arg| if arg == "VALUE" { "Two" } else { arg }).collect();
    says(core, &args);
    wait_for("the decision", || Ok(says(denver, &["conflicts"]) == "nothing needs a decision\n"))
        .unwrap();
    assert_eq!(says_json(denver, &["event", "show", "policy-A"])["event"]["title"], "Two");
}

#[test]
fn status_has_all_that_is_promised() {
    let cluster = Cluster::of(&fasti(), &["Core", "Denver"]).unwrap();
    let core = cluster.nodes[0].dir();
    let status = says_json(core, &["status"]);
    for (field, length) in [("office", 64), ("network", 64), ("frontier", 64)] {
        assert_eq!(status[field].as_str().map(str::len), Some(length), "{field}");
    }
    assert!(status["events"].is_u64() && status["conflicts"].is_u64());
    assert_eq!(status["peers"], json!([cluster.nodes[1].office]));
    assert!(status["deliveries"]["pending"].is_u64() && status["deliveries"]["dead"].is_u64());
    for member in status["members"].as_array().unwrap() {
        assert_eq!(member["office"].as_str().map(str::len), Some(64));
        assert!(member["connected"].is_boolean() && member["acknowledged"].is_boolean());
        assert!(member["behind"].is_u64() && member.get("last_seen").is_some(), "{member}");
    }
    assert!(says(core, &["status"]).starts_with("Core\n  office"));
}
