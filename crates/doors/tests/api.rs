//! The HTTP API over real connections, with a stand-in for the node behind it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod common;

use common::{json, send};
use fasti_core::command::{ChoiceView, ConflictKind, ConflictValue, ConflictView};
use fasti_core::ticket::Ticket;
use fasti_core::{CommandError, EntryHash, OfficeId};
use fasti_doors::fake::{Fake, OFFICE};
use serde_json::{Value, json};

const START: &str =
    r#"{"type":"policy_start","payload":{"policy_id":"YSP-2024","start_date":"2024-04-01"}}"#;

#[test]
fn a_policy_is_published_and_read_back() {
    let fake = Fake::start();
    let published = json(&fake, "POST /v1/publish", START);
    assert_eq!(published.status, 201);
    let written = published.json();
    assert_eq!(written["uid"], "policy-YSP-2024");
    assert_eq!(written["entry"].as_str().unwrap().len(), 64);
    assert_eq!(published.header("etag"), format!("\"{}\"", written["etag"].as_str().unwrap()));

    let read = send(&fake, "GET /v1/events/policy-YSP-2024", &[], "");
    assert_eq!(read.status, 200);
    assert_eq!(read.header("content-type"), "application/jscalendar+json;type=event");
    assert_eq!(read.header("etag"), published.header("etag"));
    assert_eq!(read.json()["start"], "2024-04-01T00:00:00");

    // Again, and it is updated: 201 all the same, as publishers expect of a publication.
    let update = r#"{"type":"policy_update","payload":{"policy_id":"YSP-2024","title":"Youth"}}"#;
    assert_eq!(json(&fake, "POST /v1/publish", update).status, 201);
    let unknown = r#"{"type":"policy_end","payload":{"policy_id":"X","end_date":"2024-12-31"}}"#;
    json(&fake, "POST /v1/publish", unknown).assert_problem(404, "unknown-event", "policy-X");
}

#[test]
fn cloud_events_are_taken_structured_and_binary() {
    let fake = Fake::start();
    let data = r#"{"policy_id":"A","start_date":"2024-04-01"}"#;
    let event = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/erp","type":"policy_start","data":{data}}}"#
    );
    for media_type in ["application/cloudevents+json; charset=utf-8", "application/json"] {
        let got = send(&fake, "POST /v1/publish", &[("content-type", media_type)], &event);
        assert_eq!(got.status, 201, "{}", got.text);
    }
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "2"),
        ("ce-source", "/erp"),
        ("ce-type", "policy_start"),
        ("content-type", "application/json"),
    ];
    assert_eq!(send(&fake, "POST /v1/publish", &binary, data).json()["uid"], "policy-A");
    let without_id = [binary[0], binary[4]];
    send(&fake, "POST /v1/publish", &without_id, data).assert_problem(422, "invalid", "id");
    // A foreign page can send a body without a type.
    send(&fake, "POST /v1/publish", &binary[..4], data).assert_problem(
        415,
        "media-type",
        "no type",
    );
}

#[test]
fn a_batch_is_published_as_far_as_it_can_be() {
    let fake = Fake::start();
    let good = json(&fake, "POST /v1/publish", &format!("[{START},{START}]"));
    assert_eq!(good.status, 201);
    assert_eq!(good.json().as_array().unwrap().len(), 2);

    let update = r#"{"type":"policy_update","payload":{"policy_id":"none"}}"#;
    let mixed = format!(r#"[{{"type":"nonsense"}},{START},{update}]"#);
    let mixed = json(&fake, "POST /v1/publish", &mixed);
    assert_eq!(mixed.status, 207);
    let items = mixed.json();
    let statuses: Vec<&Value> =
        items.as_array().unwrap().iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, [422, 201, 404]);
    assert_eq!(items[0]["path"], "type");
    assert_eq!(items[1]["uid"], "policy-YSP-2024");

    let batch = [("content-type", "application/cloudevents-batch+json")];
    send(&fake, "POST /v1/publish", &batch, START).assert_problem(400, "malformed", "array");
    fake.fail_next(CommandError::Storage("disk full".into()));
    json(&fake, "POST /v1/publish", &format!("[{START}]")).assert_problem(507, "storage", "full");
}

#[test]
fn what_of_a_batch_was_published_is_told_even_if_the_disk_fills_up() {
    let fake = Fake::start();
    fake.fail_after(1, CommandError::Storage("disk full".into()));
    let got = json(&fake, "POST /v1/publish", &format!("[{}]", vec![START; 1500].join(",")));
    assert_eq!(got.status, 207);
    let items = got.json();
    let with = |status: u16| {
        items.as_array().unwrap().iter().filter(|item| item["status"] == status).count()
    };
    assert_eq!((with(201), with(507)), (1000, 500));
}

#[test]
fn lost_updates_are_refused() {
    let fake = Fake::start();
    let path = "/v1/events/retreat%2F1";
    let put = |headers: &[(&str, &str)], body: &str| {
        let json = [("content-type", "application/json")];
        send(&fake, &format!("PUT {path}"), &[headers, &json].concat(), body)
    };
    let first = put(&[("if-none-match", "*")], r#"{"title":"Retreat"}"#);
    assert_eq!((first.status, first.json()["uid"].clone()), (201, json!("retreat/1")));
    put(&[("if-none-match", "*")], "{}").assert_problem(412, "precondition-failed", "etag is now");
    let etag = first.header("etag");

    let second = put(&[("if-match", etag)], r#"{"title":"Retreat","color":"red"}"#);
    assert_eq!(second.status, 200);
    let stale = put(&[("if-match", etag)], "{}");
    stale.assert_problem(412, "precondition-failed", "read it again");
    assert_eq!(stale.json()["etag"], second.json()["etag"]);
    put(&[("if-match", "unquoted")], "{}").assert_problem(400, "malformed", "double quotes");

    let merge = [("content-type", "application/merge-patch+json"), ("if-match", "*")];
    let patched = send(&fake, &format!("PATCH {path}"), &merge, r#"{"color":null}"#);
    assert_eq!(patched.status, 200);
    let none = send(&fake, "PATCH /v1/events/none", &merge, "{}");
    none.assert_problem(412, "precondition-failed", "no such event");

    let fresh = [("if-none-match", patched.header("etag"))];
    let read = send(&fake, &format!("GET {path}"), &fresh, "");
    assert_eq!((read.status, read.text.as_str()), (304, ""));

    let cancelled = send(&fake, &format!("DELETE {path}"), &[], "");
    assert_eq!(cancelled.status, 200);
    assert_eq!(cancelled.json()["status"], "cancelled");
    assert_eq!(cancelled.json().get("color"), None);
    send(&fake, "DELETE /v1/events/none", &[], "").assert_problem(404, "unknown-event", "none");
}

#[test]
fn events_are_created_with_a_uid_of_their_own_or_a_random_one() {
    let fake = Fake::start();
    let random = json(&fake, "POST /v1/events", r#"{"title":"A"}"#);
    assert_eq!(random.status, 201);
    let uid = random.json()["uid"].as_str().unwrap().to_owned();
    assert_eq!(random.header("location"), format!("/v1/events/{uid}"));
    assert_eq!(send(&fake, &format!("GET {}", random.header("location")), &[], "").status, 200);

    assert_eq!(json(&fake, "POST /v1/events", r#"{"uid":"b"}"#).status, 201);
    json(&fake, "POST /v1/events", r#"{"uid":"b"}"#).assert_problem(409, "exists", "PATCH");
    json(&fake, "POST /v1/events", r#"{"uid":7}"#).assert_problem(422, "invalid", "uid");
}

#[test]
fn events_are_listed_in_pages() {
    let fake = Fake::start();
    for (uid, start) in
        [("a", "2024-04-01T09:00:00"), ("b", "2024-04-30T09:00:00"), ("c", "2024-06-01T00:00:00")]
    {
        json(&fake, "POST /v1/events", &json!({ "uid": uid, "start": start }).to_string());
    }
    let uids = |query: &str| -> (Vec<String>, Value) {
        let page = send(&fake, &format!("GET /v1/events{query}"), &[], "").json();
        let uid = |event: &Value| event["uid"].as_str().unwrap().to_owned();
        (page["events"].as_array().unwrap().iter().map(uid).collect(), page["next"].clone())
    };
    assert_eq!(uids(""), (vec!["a".into(), "b".into(), "c".into()], Value::Null));
    assert_eq!(uids("?limit=2"), (vec!["a".into(), "b".into()], json!("b")));
    assert_eq!(uids("?limit=2&after=b"), (vec!["c".into()], Value::Null));
    assert_eq!(uids("?from=2024-04-02&to=2024-04-30").0, ["b"]);
    assert_eq!(uids("?to=2024-04-30T09:00:00").0, ["a"]);
    for (query, words) in [
        ("?from=tomorrow", "2024-04-01"),
        ("?limit=0", "1 to 1000"),
        ("?expand=true&from=2024-04-01", "takes from and to"),
        ("?expand=true&from=2024-04-01&to=2024-04-30&limit=10001", "1 to 10000"),
        ("?zone=UTC", "expand=true"),
        ("?form=2024-04-01", "form"),
    ] {
        let got = send(&fake, &format!("GET /v1/events{query}"), &[], "");
        got.assert_problem(400, "malformed", words);
    }
}

#[test]
fn nobody_comes_in_without_the_token() {
    let fake = Fake::start();
    for authorization in
        ["", "Bearer", "Bearer wrong", "Basic ZmFrZS10b2tlbg==", "Bearer fake-token2"]
    {
        let got = send(&fake, "GET /v1/status", &[("authorization", authorization)], "");
        got.assert_problem(401, "unauthorized", "node.json");
        assert!(got.header("www-authenticate").starts_with("Bearer"));
    }
    let lower = [("authorization", "bearer fake-token")];
    assert_eq!(send(&fake, "GET /v1/status", &lower, "").status, 200);
    let none = [("authorization", "")];
    assert_eq!(send(&fake, "GET /healthz", &none, "").status, 200);
    assert_eq!(send(&fake, "GET /readyz", &none, "").status, 200);
    assert_eq!(send(&fake, "GET /metrics", &none, "").status, 401);
    fake.set_ready(false);
    let got = send(&fake, "GET /readyz", &none, "");
    got.assert_problem(503, "not-ready", "being read");
    assert_eq!(got.header("retry-after"), "1");
}

#[test]
fn bodies_are_limited_in_type_and_size() {
    let fake = Fake::start();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for request in ["POST /v1/publish", "POST /v1/events", "PUT /v1/events/a", "PATCH /v1/events/a"]
    {
        send(&fake, request, &form, START).assert_problem(415, "media-type", "application/json");
        json(&fake, request, "{").assert_problem(400, "malformed", "JSON");
        let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(256 * 1024));
        json(&fake, request, &long).assert_problem(413, "too-large", "262144 bytes");
    }
    json(&fake, "PUT /v1/events/a", "[]").assert_problem(400, "malformed", "object");
    // 400 KiB: too long for an event, not for a batch.
    let items = vec![START; 5_000].join(",");
    assert_eq!(json(&fake, "POST /v1/publish", &format!("[{items}]")).status, 201);
    let one = [("content-type", "application/cloudevents+json")];
    let got = send(&fake, "POST /v1/publish", &one, &format!("[{items}]"));
    got.assert_problem(413, "too-large", "262144");
}

#[test]
fn what_the_core_refuses_is_told_with_its_remedy() {
    let fake = Fake::start();
    let expected = [
        (CommandError::Invalid { path: "start".into(), problem: "no".into() }, 422, "invalid"),
        (CommandError::TooLarge { size: 9, max: 8 }, 413, "too-large"),
        (CommandError::NotAllowed("ask an admin".into()), 403, "not-allowed"),
        (CommandError::Ticket("expired"), 403, "ticket-not-valid"),
        (CommandError::Storage("full".into()), 507, "storage"),
        (CommandError::NotYetMember("Denver".into()), 503, "not-yet-member"),
        (CommandError::Unavailable("busy".into()), 503, "unavailable"),
    ];
    for (error, status, name) in expected {
        let words = error.to_string();
        fake.fail_next(error);
        let got = json(&fake, "PUT /v1/events/a", "{}");
        got.assert_problem(status, name, &words);
        assert_eq!(got.header("retry-after"), if status == 503 { "1" } else { "" });
    }
    send(&fake, "GET /v2", &[], "").assert_problem(404, "unknown-path", "openapi");
    let got = send(&fake, "DELETE /v1/status", &[], "");
    got.assert_problem(405, "method-not-allowed", "Allow");
    assert_eq!(got.header("allow"), "GET,HEAD");
}

#[test]
fn an_invitation_is_a_ticket_to_this_node() {
    let fake = Fake::start();
    let body = r#"{"name":"Boston","roles":["office","admin","office"],"ttl_s":60}"#;
    let got = json(&fake, "POST /v1/invite", body);
    assert_eq!(got.status, 201);
    let ticket = Ticket::from_text(got.json()["ticket"].as_str().unwrap()).unwrap();
    assert_eq!((ticket.name.as_str(), ticket.sponsor), ("Boston", OFFICE));
    assert_eq!(ticket.network.0, [0xee; 32]);
    assert_eq!(ticket.addresses, ["/ip4/127.0.0.1/udp/4001/quic-v1"]);
    assert_eq!(got.json()["expires"], ticket.expires);
    let other = json(&fake, "POST /v1/invite", body).json();
    assert_ne!(Ticket::from_text(other["ticket"].as_str().unwrap()).unwrap().id(), ticket.id());

    json(&fake, "POST /v1/invite", r#"{"roles":[]}"#).assert_problem(400, "malformed", "name");
    let forever = r#"{"name":"B","ttl_s":99999999}"#;
    json(&fake, "POST /v1/invite", forever).assert_problem(422, "invalid", "ttl_s");
}

#[test]
fn the_node_tells_how_it_stands() {
    let fake = Fake::start();
    let status = send(&fake, "GET /v1/status", &[], "").json();
    assert_eq!(status["office"], "aa".repeat(32));
    assert_eq!(status["network"], "ee".repeat(32));
    assert_eq!(status["frontier"], "ff".repeat(32));
    assert_eq!(status["peers"], json!(["bb".repeat(32)]));
    assert_eq!(status["deliveries"], json!({ "pending": 2, "dead": 1 }));
    let members = send(&fake, "GET /v1/members", &[], "").json();
    assert_eq!(members["members"], status["members"]);
    assert_eq!(members["members"][1]["office"], "bb".repeat(32));
    assert_eq!(members["members"][1]["behind"], 3);
    let links: Vec<_> = (0..3).map(|at| &members["members"][at]["link"]).collect();
    assert_eq!(links, [&json!(null), &json!(null), &json!("relayed")]);
    let metrics = send(&fake, "GET /metrics", &[], "");
    assert!(metrics.text.contains("\nfasti_events 0\n"), "{}", metrics.text);
    assert!(metrics.text.contains("\nfasti_entries 0\n"), "{}", metrics.text);
}

#[test]
fn a_conflict_is_decided_once() {
    let fake = Fake::start();
    json(&fake, "POST /v1/events", r#"{"uid":"a","title":"One"}"#);
    let value = |value: &str| ConflictValue {
        value: json!(value),
        what: "written as well".into(),
        office: OfficeId([0xbb; 32]),
        name: "Boston".into(),
        person: None,
        time: 0,
        entry: EntryHash([0xcc; 32]),
    };
    fake.open_conflict(ConflictView {
        id: "c1".into(),
        kind: ConflictKind::Field,
        problem: "title was edited two ways".into(),
        uid: "a".into(),
        title: "One".into(),
        path: "title".into(),
        values: vec![value("One"), value("Two")],
        choices: vec![ChoiceView { keep: json!("One"), does: "it shows".into() }],
    });
    let conflicts = send(&fake, "GET /v1/conflicts", &[], "").json();
    assert_eq!(conflicts["conflicts"][0]["values"][1]["office"], "bb".repeat(32));
    assert_eq!(conflicts["conflicts"][0]["values"][1]["entry"], "cc".repeat(32));
    assert_eq!(conflicts["conflicts"][0]["choices"][0]["keep"], "One");
    let resolve = "POST /v1/conflicts/c1/resolve";
    json(&fake, resolve, "{}").assert_problem(422, "invalid", "keep");
    assert_eq!(json(&fake, resolve, r#"{"keep":"Two"}"#).json()["uid"], "a");
    assert_eq!(send(&fake, "GET /v1/events/a", &[], "").json()["title"], "Two");
    json(&fake, resolve, r#"{"keep":null}"#).assert_problem(404, "unknown-conflict", "c1");
}

#[test]
fn a_backup_is_streamed_to_whoever_has_the_token() {
    let fake = Fake::start();
    fake.set_backup(vec![Ok(b"one ".to_vec()), Ok(b"two".to_vec())]);
    let stranger = send(&fake, "GET /v1/backup", &[("authorization", "Bearer no")], "");
    stranger.assert_problem(401, "unauthorized", "the token");
    let got = send(&fake, "GET /v1/backup", &[], "");
    assert_eq!((got.status, got.text.as_str()), (200, "one two"));
    send(&fake, "GET /v1/backup", &[], "").assert_problem(503, "unavailable", "stopping");

    let broken = || Err(std::io::Error::other("the disk is gone"));
    fake.set_backup(vec![broken()]);
    send(&fake, "GET /v1/backup", &[], "").assert_problem(507, "storage", "the disk is gone");
    // What fails later breaks off, so that no client takes the answer for a whole one.
    fake.set_backup(vec![Ok(b"one ".to_vec()), broken()]);
    let request = ureq::http::Request::builder()
        .uri(format!("http://{}/v1/backup", fake.address))
        .header("authorization", format!("Bearer {}", Fake::TOKEN))
        .body(())
        .unwrap();
    let read = common::agent().run(request).and_then(|mut answer| answer.body_mut().read_to_vec());
    assert!(read.is_err(), "{read:?}");
}
