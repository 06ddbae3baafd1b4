//! What people and programs get wrong: they are told what to do, and the node goes on.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fasti_tests::{Cluster, Fasti, wait_for};
use serde_json::{Value, json};

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"))
}

/// The call fails with this status, prints nothing else than an error, and names the remedy.
#[track_caller]
fn refused(dir: &Path, args: &[&str], status: i32, remedy: &str) {
    let said = fasti().says(dir, args).unwrap();
    assert_eq!((said.status, said.out.as_str()), (status, ""), "{args:?}: {}", said.err);
    assert!(said.err.contains(remedy), "{args:?} says: {}", said.err);
    assert!(!said.err.contains("panicked"), "{}", said.err);
}

const RUN: [&str; 5] = ["run", "--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"];

#[test]
fn wrong_usage_has_status_2_and_says_what_is_right() {
    let dir = tempfile::tempdir().unwrap();
    for (line, remedy) in [
        ("", "Usage"),
        ("dance", "Usage"),
        ("init", "--office"),
        ("run --http nowhere", "--http"),
        ("run --log-format loud", "human"),
        ("invite --office B --role king", "admin, approver, office and auditor"),
        ("invite --office B --ttl soon", "24h"),
        ("publish policy_begin --policy A", "policy_start"),
        ("publish policy_start --policy A --start 2024-02-30", "--start"),
        ("event add --title A --start tomorrow", "2024-05-06"),
        ("event edit a title", "PATH=VALUE"),
        ("conflicts resolve a", "--keep"),
        ("status --loud", "--loud"),
    ] {
        let args: Vec<&str> = line.split_whitespace().collect();
        refused(dir.path(), &args, 2, remedy);
    }
}

#[test]
fn tickets_that_are_not_good_let_nobody_in() {
    let mut cluster = Cluster::found(&fasti(), "Core").unwrap();
    let core = cluster.nodes[0].dir().to_owned();
    let invite = |args: &[&str]| {
        fasti().call(&core, &[&["invite", "--office", "Denver"], args].concat()).unwrap()
    };
    let ticket = invite(&[]);
    let dir = cluster.folder_of("Denver");
    refused(&dir, &["join", "garbage"], 1, "fasti invite");
    let (front, back) = ticket.split_at(ticket.len() / 2);
    let other = if back.starts_with('A') { "B" } else { "A" };
    let damaged = format!("{front}{other}{}", &back[1..]);
    refused(&dir, &["join", &damaged], 1, "copy");
    refused(&dir, &["join", &ticket[..ticket.len() - 9]], 1, "copy");
    refused(&dir, &["join", ""], 1, "fasti invite");

    let expiring: Value = serde_json::from_str(&invite(&["--ttl", "1s", "--json"])).unwrap();
    let expires = u128::from(expiring["expires"].as_u64().unwrap());
    wait_for("the ticket to expire", || {
        Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() > expires)
    })
    .unwrap();
    let expired = expiring["ticket"].as_str().unwrap();
    refused(&dir, &["join", expired], 1, "ask an admin for a new one");

    // Nothing of this spoiled the folder, or the ticket.
    fasti().call(&dir, &["join", &ticket]).unwrap();
    refused(&dir, &["join", &ticket], 1, "already belongs to an office");
    refused(&dir, &["init", "--office", "Mine"], 1, "--dir");
    let elsewhere = cluster.folder_of("Elsewhere");
    refused(&elsewhere, &["join", &ticket], 1, "it has been used; ask an admin for a new one");

    let unused = invite(&[]);
    cluster.nodes[0].stop().unwrap();
    refused(&elsewhere, &["join", &unused], 1, "is its node running?");
    refused(&core, &["invite", "--office", "Boston"], 1, "start it: fasti run");
    cluster.nodes[0].start().unwrap();
    fasti().call(&elsewhere, &["join", &unused]).unwrap();
}

#[test]
fn a_node_that_can_not_start_says_why() {
    let mut cluster = Cluster::found(&fasti(), "Core").unwrap();
    let core = cluster.nodes[0].dir().to_owned();
    refused(&cluster.folder_of("Nobody"), &RUN, 1, "fasti init");
    refused(&core, &["init", "--office", "Again"], 1, "another folder");
    refused(&core, &RUN, 1, "stop the other `fasti`");
    assert!(cluster.nodes[0].api().get("/v1/status").is_ok());
    fasti().call(&core, &["status"]).unwrap();

    cluster.nodes[0].stop().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let http = format!("127.0.0.1:{port}");
    refused(&core, &["run", "--http", &http, "--listen", RUN[4]], 1, "--http");
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    refused(&core, &["run", "--http", "127.0.0.1:0", "--listen", &listen], 1, "another port");
    refused(&core, &["run", "--http", "127.0.0.1:0", "--listen", "here"], 1, "/ip4/");
    refused(&core, &[&RUN[..], &["--log", "=="]].concat(), 1, "--log");
    assert!(!core.join("node.json").exists());
    cluster.nodes[0].start().unwrap();
}

/// Asks, and gives status and problem.
fn ask(cluster: &Cluster, method: &str, path: &str, body: &str) -> (u16, Value) {
    let headers = [("content-type", "application/json")];
    let answer = cluster.nodes[0].api().ask(method, path, &headers, body).unwrap();
    (answer.status, answer.body)
}

#[test]
fn programs_are_told_what_is_wrong_with_their_requests() {
    let cluster = Cluster::found(&fasti(), "Core").unwrap();
    let core = cluster.nodes[0].api();
    core.publish("A", "2024-04-01", "stays").unwrap();
    let before = core.get("/v1/status").unwrap()["entries"].clone();
    let event = |more: Value| {
        let mut event = json!({ "uid": "e", "title": "E", "start": "2024-05-06T09:00:00" });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event.to_string()
    };
    let long = "x".repeat(300_000);
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let table: [(&str, &str, String, u16, &str); 25] = [
        ("GET", "/v1/events/none", String::new(), 404, "fasti event list"),
        ("DELETE", "/v1/events/none", String::new(), 404, "there is no event"),
        ("PATCH", "/v1/events/none", "{}".into(), 404, "there is no event"),
        ("GET", "/v1/events?limit=0", String::new(), 400, "1 to 1000"),
        ("GET", "/v1/events?color=red", String::new(), 400, "color"),
        ("GET", "/v1/events?from=tomorrow", String::new(), 400, "from"),
        ("POST", "/v1/events", "{".into(), 400, "JSON"),
        ("POST", "/v1/events", String::new(), 400, "JSON"),
        ("POST", "/v1/events", "[]".into(), 400, "object"),
        ("POST", "/v1/events", deep, 400, "JSON"),
        ("POST", "/v1/events", event(json!({ "start": "tomorrow" })), 422, "start"),
        ("POST", "/v1/events", event(json!({ "start": 5 })), 422, "start"),
        ("POST", "/v1/events", event(json!({ "duration": "P1M" })), 422, "duration"),
        ("POST", "/v1/events", event(json!({ "uid": 7 })), 422, "uid"),
        ("POST", "/v1/events", event(json!({ "uid": " a" })), 422, "uid"),
        ("POST", "/v1/events", event(json!({ "status": "maybe" })), 422, "status"),
        ("POST", "/v1/events", event(json!({ "description": long })), 413, "split"),
        ("PUT", "/v1/events/e", event(json!({ "uid": "f" })), 422, "uid"),
        ("POST", "/v1/publish", "{}".into(), 422, "type"),
        (
            "POST",
            "/v1/publish",
            json!({ "type": "policy_start", "payload": [] }).to_string(),
            422,
            "payload",
        ),
        ("POST", "/v1/conflicts/none/resolve", "{\"keep\":1}".into(), 404, "fasti conflicts"),
        ("POST", "/v1/conflicts/none/resolve", "{}".into(), 422, "keep"),
        ("POST", "/v1/invite", "{\"name\":\"\"}".into(), 422, "name"),
        ("PUT", "/v1/faults", "{\"cut\":[]}".into(), 403, "FASTI_FAULTS"),
        ("GET", "/v2", String::new(), 404, "/v1/openapi.json"),
    ];
    for (method, path, body, status, remedy) in table {
        let (found, problem) = ask(&cluster, method, path, &body);
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert_eq!(found, status, "{method} {path} {body:.100}: {detail}");
        assert!(detail.contains(remedy), "{method} {path} {body:.100}: {detail}");
        if status == 422 {
            assert!(problem["path"].is_string() || path.ends_with("resolve"), "{problem}");
        }
    }
    let (status, problem) = ask(&cluster, "POST", "/v1/publish", &"x".repeat(9 << 20));
    assert_eq!(status, 413, "{problem}");
    for (method, path) in [("POST", "/v1/status"), ("DELETE", "/v1/publish"), ("GET", "/v1/invite")]
    {
        assert_eq!(ask(&cluster, method, path, "").0, 405, "{method} {path}");
    }
    let text = core.ask("POST", "/v1/publish", &[("content-type", "text/plain")], "hello").unwrap();
    assert_eq!(text.status, 415);
    assert_eq!(core.get("/v1/status").unwrap()["entries"], before);
    assert_eq!(core.event("policy-A").unwrap().unwrap()["title"], "stays");
}

#[test]
fn only_those_with_the_token_get_in() {
    let cluster = Cluster::found(&fasti(), "Core").unwrap();
    let core = cluster.nodes[0].api();
    for path in ["/v1/status", "/v1/events", "/v1/stream", "/v1/openapi.json", "/metrics"] {
        for token in [None, Some("Bearer wrong"), Some("Basic wrong"), Some("")] {
            let answer = core.without_token(path, token).unwrap();
            assert_eq!(answer.status, 401, "{path} {token:?}");
            assert!(answer.body["detail"].as_str().unwrap().contains("node.json"));
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(core.without_token(path, None).unwrap().status, 200);
    }
}

#[test]
fn an_edit_of_what_has_changed_meanwhile_is_refused() {
    let cluster = Cluster::found(&fasti(), "Core").unwrap();
    let (core, dir) = (cluster.nodes[0].api(), cluster.nodes[0].dir());
    core.publish("A", "2024-04-01", "first").unwrap();
    let etag = core.ask("GET", "/v1/events/policy-A", &[], "").unwrap().etag;
    core.publish("A", "2024-04-01", "second").unwrap();
    let quoted = format!("\"{etag}\"");
    let headers = [("if-match", quoted.as_str()), ("content-type", "application/json")];
    let path = "/v1/events/policy-A";
    for (method, body) in [("PATCH", "{\"title\":\"third\"}"), ("DELETE", "")] {
        let answer = core.ask(method, path, &headers, body).unwrap();
        assert_eq!(answer.status, 412, "{method}");
        assert_ne!(answer.body["etag"], json!(etag));
    }
    let unquoted = core.ask("DELETE", path, &[("if-match", &etag)], "").unwrap();
    assert_eq!(unquoted.status, 400);
    refused(
        dir,
        &["event", "edit", "policy-A", "title=x", "--if-match", &etag],
        1,
        "read it again",
    );
    refused(dir, &["event", "show", "nothing"], 1, "fasti event list");
    refused(dir, &["event", "cancel", "nothing"], 1, "fasti event list");
    refused(dir, &["publish", "policy_end", "--policy", "A"], 1, "end_date");
    refused(dir, &["publish", "policy_update", "--policy", "none"], 1, "there is no event");
    assert_eq!(core.event("policy-A").unwrap().unwrap()["title"], "second");
}
