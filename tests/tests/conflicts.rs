//! What needs a person, of several kinds, with real nodes: it is on one list, is told live, and is decided by what
//! the list says.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use fasti_tests::{Cluster, Fasti, wait_for};
use serde_json::{Value, json};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test")).with_env("FASTI_FAULTS", "1")
}

#[track_caller]
fn says(dir: &Path, args: &[&str]) -> String {
    fasti().prints(dir, args)
}

fn conflicts(dir: &Path) -> Vec<Value> {
    let all: Value = serde_json::from_str(&says(dir, &["conflicts", "--json"])).unwrap();
    all["conflicts"].as_array().unwrap().clone()
}

/// Waits until each lists just this kind, and gives the conflict.
fn only(dirs: &[PathBuf], kind: &str) -> Value {
    let is_listed = |dir: &PathBuf| {
        let all = conflicts(dir);
        all.len() == 1 && all[0]["kind"] == kind
    };
    wait_for(kind, || Ok(dirs.iter().all(is_listed))).unwrap();
    let found = conflicts(&dirs[0]).remove(0);
    assert_eq!(conflicts(&dirs[1]), std::slice::from_ref(&found));
    found
}

/// Decides as the list says, and waits until it is decided everywhere.
fn decide(dirs: &[PathBuf], at: usize, conflict: &Value, keep: &str) {
    let list = says(&dirs[at], &["conflicts"]);
    let call = list.lines().find_map(|line| line.strip_prefix("decide: fasti ")).unwrap();
    let args: Vec<&str> =
        call.split(' ').map(|arg| if arg == "VALUE" { keep } else { arg }).collect();
    assert_eq!(args[2], conflict["id"]);
    says(&dirs[at], &args);
    wait_for("the decision", || Ok(dirs.iter().all(|dir| conflicts(dir).is_empty()))).unwrap();
}

#[test]
fn each_kind_is_listed_everywhere_told_live_and_decided_at_one_office_for_all() {
    let cluster = Cluster::of(&fasti(), &["Core", "Denver"]).unwrap();
    let dirs = [0, 1].map(|at| cluster.nodes[at].dir().to_owned());
    let [core, denver] = &dirs;
    let mut stream = cluster.nodes[1].api().stream().unwrap();
    let mut told = move || loop {
        let message = stream.next_message().unwrap();
        if message.kind == "conflicts" {
            return message.data;
        }
    };
    assert_eq!(told(), json!({ "open": [], "changed": [] }));

    // Edited since it was approved.
    says(
        core,
        &["publish", "policy_start", "--policy", "A", "--start", "2024-04-01", "--title", "A"],
    );
    says(core, &["approve", "A"]);
    cluster.wait_until_equal().unwrap();
    says(denver, &["event", "edit", "policy-A", "title=B"]);
    let conflict = only(&dirs, "approval");
    assert_eq!(told()["changed"], json!([conflict]));
    let list = says(denver, &["conflicts"]);
    assert!(list.contains("title: \"B\"  Denver") && list.contains("approved, version"), "{list}");
    assert!(list.contains("restore  the approved version shows again"), "{list}");
    decide(&dirs, 1, &conflict, "restore");
    assert_eq!(told(), json!({ "open": [], "changed": [] }));
    assert!(says(core, &["event", "show", "policy-A"]).contains("A"));

    // Two want one room.
    says(core, &["resource", "add", "Room 1"]);
    let book = |title: &str| {
        ["book", "Room 1", "--start", "2024-05-06T09:00", "--duration", "PT1H", "--title", title]
            .map(str::to_owned)
    };
    let book = |dir: &Path, title: &str| {
        let args = book(title);
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        args.extend(["--time-zone", "America/Denver"]);
        says(dir, &args);
    };
    book(core, "Round");
    cluster.wait_until_equal().unwrap();
    book(denver, "Visit");
    let conflict = only(&dirs, "booking");
    let list = says(denver, &["conflicts"]);
    assert!(list.contains("title: \"Round\"") && list.contains("holds the time"), "{list}");
    let next = conflict["choices"][0]["keep"].as_str().unwrap();
    assert_eq!(next, "2024-05-06T16:00:00Z");
    let refused = fasti()
        .says(core, &["conflicts", "resolve", conflict["id"].as_str().unwrap(), "--keep", next]);
    let refused = refused.unwrap();
    assert!(refused.status == 1 && refused.err.contains("only Denver"), "{refused:?}");
    decide(&dirs, 1, &conflict, next);
    let moved = says(core, &["bookings", "Room 1", "--zone", "America/Denver"]);
    assert!(moved.contains("2024-05-06 10:00 - 11:00  Visit"), "{moved}");

    // Cancelled on one side of a divided network, edited on the other.
    cluster.divide(&[&[0], &[1]]).unwrap();
    says(core, &["publish", "policy_cancel", "--policy", "A"]);
    says(denver, &["event", "edit", "policy-A", "description=in room 1"]);
    cluster.divide(&[&[0, 1]]).unwrap();
    wait_for("two conflicts", || Ok(conflicts(denver).len() == 2)).unwrap();
    cluster.wait_until_equal().unwrap();
    let kinds: Vec<Value> = conflicts(core).iter().map(|it| it["kind"].clone()).collect();
    assert_eq!(kinds, ["cancelled", "approval"]);
    let id = conflicts(core)[0]["id"].as_str().unwrap().to_owned();
    says(denver, &["conflicts", "resolve", &id, "--keep", "confirmed"]);
    let conflict = only(&dirs, "approval");
    decide(&dirs, 0, &conflict, "approve");
    let event = says(core, &["event", "show", "policy-A"]);
    assert!(event.contains("in room 1") && !event.contains("cancelled"), "{event}");
}
