//! Folders that are not as the node left them, and disks that are full: the node says what to do, and
//! loses nothing that it answered.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use fasti_tests::{Cluster, Fasti, Node, wait_for};
use redb::{Database, TableDefinition};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_fasti-under-test");
const RUN: [&str; 5] = ["run", "--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"];

#[track_caller]
fn refuses_to_run(dir: &Path, remedies: &[&str]) {
    let said = Fasti::new(BINARY).says(dir, &RUN).unwrap();
    assert_eq!(said.status, 1, "{}", said.err);
    for remedy in remedies {
        assert!(said.err.contains(remedy), "{remedy:?} is not in: {}", said.err);
    }
    assert!(!said.err.contains("panicked"), "{}", said.err);
    assert!(!dir.join("node.json").exists());
}

/// A founder that has stopped, with some policies.
fn stopped() -> Cluster {
    let mut cluster = Cluster::found(&Fasti::new(BINARY), "Core").unwrap();
    for n in 0..20 {
        cluster.nodes[0].api().publish(&format!("P{n}"), "2024-04-01", "kept").unwrap();
    }
    cluster.nodes[0].stop().unwrap();
    cluster
}

#[test]
fn a_store_that_is_not_as_it_was_left_is_told_apart() {
    let mut cluster = stopped();
    let dir = cluster.nodes[0].dir().to_owned();
    let file = dir.join("fasti.redb");
    let good = fs::read(&file).unwrap();
    let restore = "restore the folder from a backup";

    fs::write(&file, "a shopping list").unwrap();
    refuses_to_run(&dir, &["is not a store of Fasti", "move the file away"]);
    fs::write(&file, "").unwrap();
    refuses_to_run(&dir, &["fasti.redb"]);
    for length in [good.len() / 2, 4096, 700] {
        fs::write(&file, &good[..length]).unwrap();
        refuses_to_run(&dir, &["is damaged", restore]);
    }
    let mut zeroed = good.clone();
    zeroed[8192..].fill(0);
    fs::write(&file, &zeroed).unwrap();
    refuses_to_run(&dir, &["damaged", restore]);

    fs::write(&file, &good).unwrap();
    let format = |version: u32| {
        let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
        let database = Database::open(&file).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(meta).unwrap().insert("format", &version.to_be_bytes()[..]).unwrap();
        txn.commit().unwrap();
    };
    format(99);
    refuses_to_run(&dir, &["format 99", "upgrade the program"]);
    format(1);
    refuses_to_run(&dir, &["format 1", "join again"]);
    fs::write(&file, &good).unwrap();
    cluster.nodes[0].start().unwrap();
    assert_eq!(cluster.nodes[0].api().get("/v1/status").unwrap()["events"], 20);
}

#[test]
fn a_key_that_is_missing_or_anothers_is_told() {
    let mut cluster = stopped();
    let dir = cluster.nodes[0].dir().to_owned();
    let key = dir.join("office.key");
    let good = fs::read(&key).unwrap();
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    fs::remove_file(&key).unwrap();
    refuses_to_run(&dir, &["office.key", "restore it from a backup"]);
    for garbage in [&b"garbage"[..], b"", &[0xff; 64]] {
        fs::write(&key, garbage).unwrap();
        refuses_to_run(&dir, &["office.key", "restore it from a backup"]);
    }
    fs::write(&key, "11".repeat(32)).unwrap();
    refuses_to_run(&dir, &["another office's", "same backup"]);
    fs::write(&key, good).unwrap();
    cluster.nodes[0].start().unwrap();
    assert_eq!(cluster.nodes[0].api().get("/v1/status").unwrap()["events"], 20);
}

/// Bounds how large the process's files may get, as a full disk would; none lifts the bound.
fn bound_files(node: &Node, bytes: Option<u64>) -> bool {
    let bound = bytes.map_or("unlimited".into(), |bytes| bytes.to_string());
    let pid = node.pid().unwrap().to_string();
    let done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bound}:")]).status();
    done.is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_and_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    // Without this a file that is too large ends the process, which a full disk wouldn't.
    let wrapper = folder.path().join("fasti");
    fs::write(&wrapper, format!("#!/bin/sh\ntrap '' XFSZ\nexec {BINARY} \"$@\"\n")).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o700)).unwrap();
    let mut cluster = Cluster::of(&Fasti::new(&wrapper), &["Core", "Denver"]).unwrap();
    let core = &cluster.nodes[0];
    core.api().publish("P0", "2024-04-01", "before").unwrap();
    let size = fs::metadata(core.dir().join("fasti.redb")).unwrap().len();
    if !bound_files(core, Some(size)) {
        println!("skipped: prlimit (util-linux) can't bound the node's files here");
        return;
    }
    let mut answered = Vec::new();
    let publish = |n: usize| {
        let payload = json!({ "policy_id": format!("P{n}"), "start_date": "2024-04-01",
            "description": "x".repeat(50_000) });
        let body = json!({ "type": "policy_start", "payload": payload }).to_string();
        core.api().ask("POST", "/v1/publish", &[("content-type", "application/json")], &body)
    };
    let mut refusal = None;
    for n in 0..2000 {
        let answer = publish(n).unwrap();
        if answer.status != 201 {
            refusal = Some(answer);
            break;
        }
        answered.push(answer.body["entry"].as_str().unwrap().to_owned());
    }
    let refusal = refusal.unwrap();
    assert_eq!(refusal.status, 507, "{}", refusal.body);
    let detail = refusal.body["detail"].as_str().unwrap();
    assert!(detail.contains("disk is full") && detail.contains("free some space"), "{detail}");
    // Denver goes on writing: the full node can't take it, and must not fall over it.
    cluster.nodes[1].api().publish("Denver", "2024-04-01", "meanwhile").unwrap();
    for n in 2000..2003 {
        assert_eq!(publish(n).unwrap().status, 507);
    }
    // Reads work as soon as the node has opened its store again, and until then say the same.
    wait_for("reads to work", || {
        let read = core.api().ask("GET", "/v1/events/policy-P0", &[], "")?;
        assert!(read.status == 200 || read.status == 507, "{} {}", read.status, read.body);
        Ok(read.status == 200)
    })
    .unwrap();
    let said = Fasti::new(BINARY)
        .says(
            core.dir(),
            &[
                "publish",
                "policy_start",
                "--policy",
                "A",
                "--start",
                "2024-04-01",
                "--data",
                &json!({ "description": "x".repeat(50_000) }).to_string(),
            ],
        )
        .unwrap();
    assert!(said.status == 1 && said.err.contains("free some space"), "{}", said.err);

    assert!(bound_files(core, None));
    wait_for("the node to write again", || Ok(publish(3000)?.status == 201)).unwrap();
    cluster.wait_until_equal().unwrap();
    for node in &cluster.nodes {
        let entries = node.api().entries().unwrap();
        assert!(answered.iter().all(|entry| entries.contains(entry)), "{}", node.name);
    }
    assert!(core.api().event("policy-Denver").unwrap().is_some());
    cluster.nodes[0].stop().unwrap();
    cluster.nodes[0].start().unwrap();
    let entries = cluster.nodes[0].api().entries().unwrap();
    assert!(answered.iter().all(|entry| entries.contains(entry)));
}
