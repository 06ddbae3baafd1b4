//! The real binary as a client of a stand-in for the node.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use fasti_core::command::{ConflictKind, ConflictValue, ConflictView};
use fasti_core::ticket::Ticket;
use fasti_core::{CommandError, EntryHash, OfficeId};
use fasti_doors::fake::Fake;
use fasti_node::NodeFile;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with a running node.
struct Office {
    fake: Fake,
    dir: TempDir,
}

impl Office {
    fn start() -> Self {
        let office = Self { fake: Fake::start(), dir: tempfile::tempdir().unwrap() };
        let node = NodeFile {
            http: format!("http://{}", office.fake.address),
            certificate: None,
            token: Fake::TOKEN.into(),
            listen: Vec::new(),
            pid: std::process::id(),
        };
        node.write(office.dir.path()).unwrap();
        office
    }

    /// Calls `fasti`; returns its exit status and what it printed to stdout and stderr.
    fn call(&self, args: &[&str], stdin: &str) -> (i32, String, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fasti"))
            .args(args)
            .arg("--dir")
            .arg(self.dir.path())
            .env("HTTP_PROXY", "http://127.0.0.1:1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        let (status, out, err) = self.call(args, "");
        assert_eq!((status, err.as_str()), (0, ""), "{out}");
        out
    }

    #[track_caller]
    fn says_json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[args, &["--json"]].concat())).unwrap()
    }

    #[track_caller]
    fn refuses(&self, args: &[&str], status: i32, words: &str) {
        let (found, out, err) = self.call(args, "");
        assert_eq!((found, out.as_str()), (status, ""), "{err}");
        assert!(err.starts_with("error: ") && err.contains(words), "{err}");
    }
}

#[test]
fn a_policy_is_published_and_shown() {
    let denver = Office::start();
    let start = ["publish", "policy_start", "--policy", "YSP-2024", "--start", "2024-04-01"];
    let written = denver.says(&[&start[..], &["--end", "2024-06-30", "--title", "Youth"]].concat());
    assert!(written.starts_with("policy-YSP-2024 written in entry 0000"), "{written}");
    let data = r#"{"budget":12000}"#;
    let update = ["publish", "policy_update", "--policy", "YSP-2024", "--data", data];
    assert_eq!(denver.says_json(&update)["uid"], "policy-YSP-2024");

    let card = denver.says(&["event", "show", "policy-YSP-2024"]);
    for line in [
        "Youth",
        "  when          2024-04-01 to 2024-06-30",
        "  status        confirmed",
        "  calendar      policies",
        "  uid           policy-YSP-2024",
        "  etag          v2",
    ] {
        assert!(card.lines().any(|found| found == line), "{line} in\n{card}");
    }
    let shown = denver.says_json(&["event", "show", "policy-YSP-2024"]);
    assert_eq!(shown["event"]["fasti:policy"]["payload"]["budget"], 12000);

    denver.refuses(&["publish", "policy_end", "--policy", "X"], 1, "end_date");
    denver.refuses(&["publish", "policy_update", "--policy", "X"], 1, "there is no event");
    denver.refuses(&["publish", "policy_begin", "--policy", "X"], 2, "policy_start");
}

#[test]
fn events_are_added_listed_edited_and_cancelled() {
    let denver = Office::start();
    let add =
        ["event", "add", "--title", "Retreat", "--start", "2024-05-06", "--calendar", "Denver"];
    let uid = denver.says_json(&add)["uid"].as_str().unwrap().to_owned();
    let call =
        r#"{"uid":"call/1","title":"Call","start":"2024-04-01T09:00:00","status":"tentative"}"#;
    let (status, _, _) = denver.call(&["event", "add", "--json-event", "-"], call);
    assert_eq!(status, 0);
    let list = denver.says(&["event", "list"]);
    let expected = format!(
        "DATE              TITLE    STATUS     UID\n\
         2024-04-01 09:00  Call     tentative  call/1\n\
         2024-05-06        Retreat  confirmed  {uid}\n"
    );
    assert_eq!(list, expected);
    assert_eq!(denver.says(&["event", "list", "--from", "2024-06-01"]), "no events\n");

    let etag = denver.says_json(&["event", "show", "call/1"])["etag"].as_str().unwrap().to_owned();
    let edit = ["event", "edit", "call/1", "locations/1/name=Room 2", "status=null"];
    denver.says(&[&edit[..], &["--if-match", &etag]].concat());
    let call = denver.says_json(&["event", "show", "call/1"])["event"].clone();
    assert_eq!(call["locations"], json!({ "1": { "name": "Room 2" } }));
    assert_eq!(call.get("status"), None);
    denver.refuses(&["event", "edit", "call/1", "a=1", "--if-match", &etag], 1, "read it again");
    denver.refuses(&["event", "edit", "call/1", "a=1", "a/b=2"], 2, "set twice");

    let cancelled = denver.says_json(&["event", "cancel", "call/1"]);
    assert_eq!(cancelled["event"]["status"], "cancelled");
    denver.refuses(&["event", "show", "none"], 1, "fasti event list");
}

#[test]
fn long_lists_are_read_page_by_page() {
    let denver = Office::start();
    let policy = |n| {
        let payload = json!({ "policy_id": format!("P{n}"), "start_date": "2024-04-01" });
        json!({ "type": "policy_start", "payload": payload })
    };
    let batch: Value = (0..1001).map(policy).collect();
    ureq::post(format!("http://{}/v1/publish", denver.fake.address))
        .header("authorization", format!("Bearer {}", Fake::TOKEN))
        .header("content-type", "application/json")
        .send(batch.to_string())
        .unwrap();
    assert_eq!(denver.says_json(&["event", "list"])["events"].as_array().unwrap().len(), 1001);
}

#[test]
fn the_network_is_shown() {
    let denver = Office::start();
    let status = denver.says_json(&["status"]);
    assert_eq!(status["frontier"], "ff".repeat(32));
    for field in ["office", "network", "events", "peers", "conflicts"] {
        assert!(!status[field].is_null(), "{field}");
    }
    for field in ["office", "connected", "acknowledged", "behind", "last_seen"] {
        assert!(status["members"][0].get(field).is_some(), "{field}");
    }
    assert_eq!(status["deliveries"], json!({ "pending": 2, "dead": 1 }));
    let status = denver.says(&["status"]);
    assert!(status.starts_with("Denver\n  office"), "{status}");
    assert!(status.contains("2 pending, 1 dead"), "{status}");
    let members = denver.says(&["members"]);
    assert!(status.ends_with(&members));
    let boston = members.lines().nth(2).unwrap();
    for word in ["Boston", "office", "away", "3 behind", "not since start"] {
        assert!(boston.contains(word), "{boston}");
    }
}

#[test]
fn a_ticket_is_all_that_an_invitation_prints() {
    let denver = Office::start();
    let ticket = denver.says(&["invite", "--office", "Boston", "--role", "admin", "--ttl", "1h"]);
    assert_eq!(ticket.lines().count(), 1);
    assert_eq!(Ticket::from_text(&ticket).unwrap().name, "Boston");
    denver.fake.fail_next(CommandError::NotAllowed("only admins invite; ask Denver".into()));
    denver.refuses(&["invite", "--office", "Boston"], 1, "ask Denver");
}

#[test]
fn a_conflict_is_shown_and_decided() {
    let denver = Office::start();
    assert_eq!(denver.says(&["conflicts"]), "nothing needs a decision\n");
    denver.says(&["publish", "policy_start", "--policy", "A", "--start", "2024-04-01"]);
    let value = |value: &str, name: &str| ConflictValue {
        value: json!(value),
        what: "written as well".into(),
        office: OfficeId([1; 32]),
        name: name.into(),
        person: None,
        time: 1_711_929_600_000,
        entry: EntryHash([2; 32]),
    };
    denver.fake.open_conflict(ConflictView {
        id: "c1".into(),
        kind: ConflictKind::Field,
        problem: "title was edited two ways".into(),
        uid: "policy-A".into(),
        title: "A".into(),
        path: "title".into(),
        values: vec![value("One", "Denver"), value("Two\u{1b}[2J", "Boston")],
        choices: Vec::new(),
    });
    let conflicts = denver.says(&["conflicts"]);
    assert!(conflicts.contains("\"One\""), "{conflicts}");
    assert!(conflicts.contains("decide: fasti conflicts resolve c1 --keep VALUE\n"), "{conflicts}");
    assert!(!conflicts.contains('\u{1b}'), "{conflicts}");
    denver.says(&["conflicts", "resolve", "c1", "--keep", "Two"]);
    assert_eq!(denver.says_json(&["event", "show", "policy-A"])["event"]["title"], "Two");
    denver.refuses(&["conflicts", "resolve", "c1", "--keep", "Two"], 1, "fasti conflicts");
}

#[test]
fn without_a_node_a_call_says_how_to_start_one() {
    let mut denver = Office::start();
    denver.fake.stop();
    denver.refuses(&["status"], 1, "start it: fasti run --dir");
    NodeFile::remove(denver.dir.path()).unwrap();
    denver.refuses(&["status"], 1, "start it: fasti run --dir");
    denver.refuses(&["status", "--nonsense"], 2, "--nonsense");
}

#[test]
fn another_nodes_token_is_refused_with_a_hint() {
    let denver = Office::start();
    let mut node = NodeFile::read(denver.dir.path()).unwrap();
    node.token = "old".into();
    node.write(denver.dir.path()).unwrap();
    denver.refuses(&["status"], 1, "node.json");
}

#[test]
fn a_backup_that_breaks_off_leaves_no_file_and_nothing_of_what_was_there() {
    let office = Office::start();
    office.says(&["init", "--office", "Denver"]);
    let file = office.dir.path().join("kept");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "the one before").unwrap();
    // A whole one, as the running node would give it: that of the folder, without the key at its end.
    let node = office.dir.path().join("node.json");
    let running = std::fs::read(&node).unwrap();
    std::fs::remove_file(&node).unwrap();
    let whole = office.dir.path().join("whole");
    office.says(&["backup", whole.to_str().unwrap()]);
    let whole = std::fs::read(whole).unwrap();
    std::fs::write(&node, running).unwrap();
    let names = || {
        let names = std::fs::read_dir(office.dir.path()).unwrap();
        names.map(|name| name.unwrap().file_name()).collect::<std::collections::BTreeSet<_>>()
    };
    let before = names();
    let half = || Ok(whole[..whole.len() / 2].to_vec());
    let cut = || Err(std::io::Error::other("the disk is gone"));
    let zeros = || Ok(vec![0; whole.len()]);
    let otherwise = || Ok(b"<html>a proxy has something to say</html>".to_vec());
    for (pieces, words) in [
        (vec![half(), cut()], "disconnected"),
        // Ended in good order, as far as HTTP can tell.
        (vec![half()], "cut short"),
        (vec![half(), zeros()], "damaged"),
        (vec![otherwise()], "no backup of Fasti"),
        (vec![cut()], "the disk is gone"),
        (vec![], "stopping"),
    ] {
        office.fake.set_backup(pieces);
        let (status, out, err) = office.call(&["backup", path, "--force"], "");
        assert_eq!((status, out.as_str()), (1, ""), "{err}");
        assert!(err.contains("no backup was made") && err.contains(words), "{words}: {err}");
        assert_eq!(std::fs::read(&file).unwrap(), b"the one before");
        assert_eq!(names(), before, "{words}");
    }
}
