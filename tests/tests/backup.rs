//! Backups of running and of stopped nodes, and nodes that are restored from them elsewhere.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use fasti_tests::{Answered, Api, Cluster, Fasti, Load, Node, Said, wait_for};
use serde_json::{Value, json};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test")).with_env("FASTI_FAULTS", "1")
}

fn says(dir: &Path, args: &[&str]) -> Said {
    let said = fasti().says(dir, args).unwrap();
    assert!(!said.err.contains("panicked"), "{args:?}: {}", said.err);
    said
}

#[track_caller]
fn does(dir: &Path, args: &[&str]) -> String {
    let said = says(dir, args);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{args:?}");
    said.out
}

/// With status 1, and these words.
#[track_caller]
fn refuses(dir: &Path, args: &[&str], words: &str) {
    let said = says(dir, args);
    assert_eq!((said.status, said.out.as_str()), (1, ""), "{args:?}: {}", said.err);
    assert!(said.err.contains(words), "{words:?} is not in: {}", said.err);
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[track_caller]
fn assert_holds(api: &Api, answered: &[Answered]) {
    let entries = api.entries().unwrap();
    for write in answered {
        assert!(entries.contains(&write.entry), "{} of {} is lost", write.entry, write.uid);
    }
}

#[track_caller]
fn assert_no_forks(cluster: &Cluster) {
    for node in &cluster.nodes {
        let status = node.api().get("/v1/status").unwrap();
        let counts = ["forks", "void", "elsewhere"].map(|name| status[name].as_u64().unwrap());
        assert_eq!(counts, [0, 0, 0], "{}", node.name);
    }
}

#[test]
fn an_office_goes_on_elsewhere_with_all_that_was_answered_before_its_backup_and_after_it() {
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver", "Boston"]).unwrap();
    let file = cluster.root().join("denver.backup");
    let load = Load::start(cluster.nodes[1].api(), "L", 4);
    wait_for("some writes", || Ok(load.count() >= 500)).unwrap();
    let before = load.answered();
    does(cluster.nodes[1].dir(), &["backup", text(&file)]);
    wait_for("more writes", || Ok(load.count() >= 2000)).unwrap();
    let answered = load.end();
    cluster.wait_until_equal().unwrap();
    let old_home = members(&cluster.nodes[0], "Denver");
    cluster.nodes[1].kill().unwrap();
    fs::remove_dir_all(cluster.nodes[1].dir()).unwrap();

    // With nobody to ask, it knows what it was before the backup.
    cluster.nodes[0].stop().unwrap();
    cluster.nodes[2].stop().unwrap();
    let elsewhere = cluster.root().join("elsewhere");
    let said = does(&elsewhere, &["restore", text(&file)]);
    assert!(said.contains("fasti run --dir") && said.contains("two nodes with one key"), "{said}");
    cluster.nodes[1] = Node::new(&fasti(), "Denver", &elsewhere);
    cluster.nodes[1].start().unwrap();
    assert_holds(cluster.nodes[1].api(), &before);
    let held = cluster.nodes[1].api().entries().unwrap();
    assert!(held.len() < answered.len(), "the backup was not taken in the midst of the load");
    let log = fs::read_to_string(cluster.nodes[1].log()).unwrap();
    assert!(log.contains("was restored from a backup of"), "{log}");
    // It may write at once, before it has heard of its later entries.
    let alone = cluster.nodes[1].api().publish("alone", "2024-04-01", "nobody hears it").unwrap();

    cluster.nodes[0].start().unwrap();
    cluster.nodes[2].start().unwrap();
    cluster.wait_until_linked().unwrap();
    cluster.nodes[1].api().publish("together", "2024-04-01", "all hear it").unwrap();
    cluster.wait_until_equal().unwrap();
    for node in &cluster.nodes {
        assert_holds(node.api(), &answered);
        assert!(node.api().entries().unwrap().contains(alone["entry"].as_str().unwrap()));
        assert!(node.api().event("policy-together").unwrap().is_some(), "{}", node.name);
    }
    assert_no_forks(&cluster);
    wait_for("Core to hear where Denver is now", || {
        let home = members(&cluster.nodes[0], "Denver");
        Ok(home != old_home && home == members(&cluster.nodes[1], "Denver"))
    })
    .unwrap();
    // Once it has written, a restart goes on with its new log as ever.
    cluster.nodes[1].stop().unwrap();
    cluster.nodes[1].start().unwrap();
    cluster.nodes[1].api().publish("again", "2024-04-01", "after a restart").unwrap();
    cluster.wait_until_equal().unwrap();
    assert_no_forks(&cluster);
}

/// Where a node says that an office can be reached.
fn members(node: &Node, name: &str) -> Value {
    let members = node.api().get("/v1/members").unwrap();
    let members = members["members"].as_array().unwrap();
    members.iter().find(|member| member["name"] == name).unwrap()["addresses"].clone()
}

#[test]
fn a_founder_that_was_killed_comes_back_from_its_folder_s_backup_with_all_its_rights() {
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver", "Boston"]).unwrap();
    cluster.nodes[0].api().publish("A", "2024-04-01", "kept").unwrap();
    cluster.wait_until_equal().unwrap();
    cluster.nodes[0].kill().unwrap();
    let dir = cluster.nodes[0].dir().to_owned();
    assert!(dir.join("node.json").exists(), "as if it still ran");
    let file = cluster.root().join("core.backup");
    does(&dir, &["backup", text(&file)]);
    fs::remove_dir_all(&dir).unwrap();
    cluster.nodes[1].api().publish("B", "2024-04-01", "meanwhile").unwrap();

    does(&dir, &["restore", text(&file)]);
    cluster.nodes[0].start().unwrap();
    cluster.nodes[0].api().publish("C", "2024-04-01", "afterwards").unwrap();
    cluster.wait_until_linked().unwrap();
    cluster.join("Austin").unwrap();
    cluster.wait_until_linked().unwrap();
    cluster.wait_until_equal().unwrap();
    for node in &cluster.nodes {
        for policy in ["A", "B", "C"] {
            let event = node.api().event(&format!("policy-{policy}")).unwrap();
            assert!(event.is_some(), "{} lacks {policy}", node.name);
        }
    }
    assert_no_forks(&cluster);
}

#[test]
fn a_damaged_backup_is_refused_before_anything_is_written() {
    let cluster = Cluster::found(&fasti(), "Core").unwrap();
    cluster.nodes[0].api().publish("A", "2024-04-01", "kept").unwrap();
    let good = cluster.root().join("good");
    does(cluster.nodes[0].dir(), &["backup", text(&good)]);
    let good = fs::read(good).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, dir) = (folder.path().join("bad"), folder.path().join("new"));
    let refused = |bytes: &[u8], words: &str| {
        fs::write(&file, bytes).unwrap();
        refuses(&dir, &["restore", text(&file)], words);
        refuses(&dir, &["restore", text(&file), "--check"], words);
        assert_eq!(names_in(folder.path()), BTreeSet::from(["bad".to_owned()]));
    };
    let every = |step: usize| (0..good.len()).step_by(good.len() / step);
    for length in every(20).chain([good.len() - 1]) {
        refused(&good[..length], "cut short");
    }
    for at in every(40).chain([good.len() - 1]) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        refused(&bad, "backup");
    }
    refused(&[&good[..], &good].concat(), "goes on after its end");
    refused(&fs::read("/proc/self/exe").unwrap(), "no backup of Fasti");
    fs::write(&file, &good).unwrap();
    assert!(does(&dir, &["restore", text(&file), "--check"]).contains("it is whole"));
}

#[test]
fn a_backup_is_for_its_owner_s_eyes_and_overwrites_nothing() {
    let mut cluster = Cluster::found(&fasti(), "Core").unwrap();
    let dir = cluster.nodes[0].dir().to_owned();
    let file = cluster.root().join("core.backup");
    let said = does(&dir, &["backup", text(&file)]);
    assert!(said.contains("office's secret key"), "{said}");
    assert_eq!(mode(&file), 0o600);
    let first = fs::read(&file).unwrap();
    refuses(&dir, &["backup", text(&file)], "--force");
    assert_eq!(fs::read(&file).unwrap(), first);
    cluster.nodes[0].api().publish("A", "2024-04-01", "more").unwrap();
    let facts: Value =
        serde_json::from_str(&does(&dir, &["backup", text(&file), "--force", "--json"])).unwrap();
    assert_eq!((&facts["name"], &facts["entries"]), (&json!("Core"), &json!(2)));
    assert_eq!(mode(&file), 0o600);
    refuses(&dir, &["backup", "/nowhere/file"], "/nowhere/file can't be written");
    refuses(&cluster.root().join("empty"), &["backup", "x"], "holds no node");

    // To stdout come its bytes alone.
    let output = fasti().output(&dir, &["backup", "-"]).unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("office's secret key"));
    let piped = cluster.root().join("piped");
    fs::write(&piped, output.stdout).unwrap();
    let check = ["restore", "--json", "--check", text(&piped)];
    let checked: Value = serde_json::from_str(&does(&dir, &check)).unwrap();
    assert_eq!((&checked["entries"], &checked["office"]), (&json!(2), &facts["office"]));

    // What goes over HTTP lacks the key.
    let api = cluster.nodes[0].api();
    assert_eq!(api.without_token("/v1/backup", None).unwrap().status, 401);
    let keyless = cluster.root().join("keyless");
    fs::write(&keyless, api.bytes("/v1/backup").unwrap()).unwrap();
    refuses(&dir, &["restore", "--check", text(&keyless)], "has no key in it");
    refuses(&cluster.root().join("x"), &["restore", text(&keyless)], "has no key in it");

    // Nor is anything overwritten on the way back.
    refuses(&dir, &["restore", text(&file)], "holds a node already");
    let other = cluster.root().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes"), "").unwrap();
    refuses(&other, &["restore", text(&file)], "is not empty");
    fs::remove_file(other.join("notes")).unwrap();
    does(&other, &["restore", text(&file)]);
    assert_eq!(mode(&other), 0o700);
    assert_eq!(names_in(&other), BTreeSet::from(["fasti.redb", "office.key"].map(String::from)));
    for name in ["fasti.redb", "office.key"] {
        assert_eq!(mode(&other.join(name)), 0o600, "{name}");
    }
    let key = |dir: &Path| fs::read(dir.join("office.key")).unwrap();
    assert_eq!(key(&other), key(&dir));
    let left = names_in(cluster.root());
    assert!(!left.iter().any(|name| name.contains("unfinished")), "{left:?}");

    // A stopped node's is read from its folder, and is the same but for its time.
    cluster.nodes[0].stop().unwrap();
    let stopped: Value =
        serde_json::from_str(&does(&dir, &["backup", text(&file), "--force", "--json"])).unwrap();
    for name in ["office", "network", "entries", "key", "version"] {
        assert_eq!(stopped[name], facts[name], "{name}");
    }
}

#[test]
fn a_backup_of_a_node_that_is_killed_meanwhile_is_none() {
    let mut cluster = Cluster::found(&fasti(), "Core").unwrap();
    // More than the pipes and buffers on the way take, in letters that can't be made shorter by much.
    let mut state = 1_u64;
    for n in 0..300 {
        let noise: String = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'0' + (state >> 40) as u8 % 75)
        })
        .take(100_000)
        .collect();
        let payload =
            json!({ "policy_id": format!("P{n}"), "start_date": "2024-04-01", "noise": noise });
        let event = json!({ "type": "policy_start", "payload": payload });
        cluster.nodes[0].api().send("POST", "/v1/publish", &event).unwrap();
    }
    let dir = cluster.nodes[0].dir().to_owned();
    let mut command = fasti().command(&dir, &["backup", "-"]);
    let mut taking =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut output = taking.stdout.take().unwrap();
    let mut taken = vec![0; 100_000];
    output.read_exact(&mut taken).unwrap();
    // Nobody reads on, so it is in the midst of it. Another one has to wait, and writes are not delayed.
    refuses(&dir, &["backup", "-"], "another backup is being taken");
    cluster.nodes[0].api().publish("meanwhile", "2024-04-01", "").unwrap();
    cluster.nodes[0].kill().unwrap();
    output.read_to_end(&mut taken).unwrap();
    let done = taking.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("no backup was made"), "{said}");
    let file = cluster.root().join("taken");
    fs::write(&file, &taken).unwrap();
    refuses(&dir, &["restore", "--check", text(&file)], "cut short");
    assert!(taken.len() > 1_000_000, "nothing was under way");
}

#[test]
fn two_nodes_with_one_key_are_told_on_every_side_and_lose_nothing() {
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver", "Boston"]).unwrap();
    let file = cluster.root().join("denver.backup");
    does(cluster.nodes[1].dir(), &["backup", text(&file)]);
    let dir = cluster.folder_of("Twin");
    does(&dir, &["restore", text(&file)]);
    let mut twin = Node::new(&fasti(), "Twin", &dir);
    twin.start().unwrap();
    cluster.nodes.push(twin);
    for (at, name) in [(1, "one"), (3, "two"), (1, "three"), (3, "four")] {
        cluster.nodes[at].api().publish(name, "2024-04-01", "").unwrap();
    }
    cluster.wait_until_equal().unwrap();
    for at in [1, 3] {
        let status = cluster.nodes[at].api().get("/v1/status").unwrap();
        assert!(status["elsewhere"].as_u64() > Some(0), "{status}");
        assert_eq!((&status["events"], &status["forks"]), (&json!(4), &json!(0)));
        assert!(does(cluster.nodes[at].dir(), &["status"]).contains("another node with its key"));
        let log = fs::read_to_string(cluster.nodes[at].log()).unwrap();
        assert!(log.contains("written elsewhere since this node started"), "{log}");
    }
    wait_for("somebody else to see two nodes with one key", || {
        let told = [0, 2].map(|at| fs::read_to_string(cluster.nodes[at].log()));
        Ok(told
            .into_iter()
            .flatten()
            .any(|log| log.contains("two nodes run with this office's key")))
    })
    .unwrap();
    // Once one of them is stopped, all is as ever.
    cluster.nodes[1].stop().unwrap();
    cluster.nodes[3].api().publish("five", "2024-04-01", "").unwrap();
    cluster.wait_until_linked().unwrap();
    cluster.wait_until_equal().unwrap();
}
