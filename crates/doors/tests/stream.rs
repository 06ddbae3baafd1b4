//! The event stream and the server's limits, over real connections.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{agent, json as send_json, send};
use fasti_core::command::{ConflictKind, ConflictView};
use fasti_doors::fake::Fake;
use serde_json::{Value, json};

/// A client of the stream.
struct Client {
    lines: Box<dyn Iterator<Item = std::io::Result<String>> + Send>,
    last_id: Option<u64>,
}

impl Client {
    fn open(fake: &Fake, query: &str, last_event_id: Option<u64>) -> Self {
        let mut request = agent()
            .get(format!("http://{}/v1/stream{query}", fake.address))
            .header("authorization", format!("Bearer {}", Fake::TOKEN));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let response = request.call().unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let reader = BufReader::new(response.into_body().into_reader());
        Self { lines: Box::new(reader.lines()), last_id: last_event_id }
    }

    /// The next message about an event or an entry: its name and its data; none at the end.
    fn message(&mut self) -> Option<(String, Value)> {
        loop {
            let (name, data) = self.any_message()?;
            if name != "conflicts" {
                return Some((name, data));
            }
        }
    }

    /// What is said of conflicts next.
    fn conflicts(&mut self) -> Value {
        loop {
            let (name, data) = self.any_message().expect("the stream goes on");
            if name == "conflicts" {
                return data;
            }
        }
    }

    fn any_message(&mut self) -> Option<(String, Value)> {
        let (mut name, mut data) = (String::new(), None);
        loop {
            let line = self.lines.next()?.ok()?;
            match line.split_once(':') {
                Some(("event", text)) => name = text.trim().into(),
                Some(("data", text)) => data = Some(serde_json::from_str(text).unwrap()),
                Some(("id", text)) => self.last_id = Some(text.trim().parse().unwrap()),
                _ if line.is_empty() && data.is_some() => return data.map(|data| (name, data)),
                _ => {}
            }
        }
    }

    /// The index of the next entry.
    fn entry(&mut self) -> u64 {
        loop {
            let (name, data) = self.message().expect("the stream goes on");
            if name == "entry" {
                assert_eq!(self.last_id, data["index"].as_u64());
                return data["index"].as_u64().unwrap();
            }
        }
    }
}

#[test]
fn conflicts_are_told_at_the_beginning_and_whenever_they_change() {
    let fake = Fake::start();
    let open = |id: &str, problem: &str| {
        fake.open_conflict(ConflictView {
            id: id.into(),
            kind: ConflictKind::Field,
            problem: problem.into(),
            uid: "a".into(),
            title: String::new(),
            path: "title".into(),
            values: vec![],
            choices: vec![],
        });
    };
    send_json(&fake, "POST /v1/events", r#"{"uid":"a","title":"One"}"#);
    open("c1", "one");
    let mut client = Client::open(&fake, "", None);
    let told = client.conflicts();
    assert_eq!((&told["open"], &told["changed"][0]["problem"]), (&json!(["c1"]), &json!("one")));
    open("c2", "two");
    send_json(&fake, "PATCH /v1/events/a", r#"{"color":"red"}"#);
    let told = client.conflicts();
    assert_eq!((&told["open"], &told["changed"][0]["id"]), (&json!(["c1", "c2"]), &json!("c2")));
    assert_eq!(told["changed"].as_array().unwrap().len(), 1, "what was told is not told again");
    // An edit that changes nothing about them says nothing of them; a decision does.
    send_json(&fake, "PATCH /v1/events/a", r#"{"color":"blue"}"#);
    send_json(&fake, "POST /v1/conflicts/c1/resolve", r#"{"keep":"Two"}"#);
    assert_eq!(client.conflicts(), json!({ "open": ["c2"], "changed": [] }));
    // Who comes again knows what is open now, whatever was decided in between.
    drop(client);
    send_json(&fake, "POST /v1/conflicts/c2/resolve", r#"{"keep":"Two"}"#);
    let mut again = Client::open(&fake, "", Some(1));
    assert_eq!(again.conflicts(), json!({ "open": [], "changed": [] }));
}

#[test]
fn a_change_is_shown_as_it_stands_then_its_entry() {
    let fake = Fake::start();
    send_json(&fake, "POST /v1/events", r#"{"uid":"a","title":"Before"}"#);
    let mut client = Client::open(&fake, "", None);
    let written = send_json(&fake, "POST /v1/events", r#"{"uid":"b","title":"After"}"#).json();
    let (name, shown) = client.message().unwrap();
    assert_eq!((name.as_str(), &shown["event"]["title"]), ("event", &"After".into()));
    for field in ["uid", "etag", "entry"] {
        assert_eq!(shown[field], written[field]);
    }
    let (name, entry) = client.message().unwrap();
    assert_eq!(name, "entry");
    assert_eq!(entry["entry"], written["entry"]);
    assert_eq!(entry["office"], "aa".repeat(32));
    assert_eq!((&entry["index"], &entry["uids"][0]), (&1.into(), &"b".into()));
    assert_eq!(client.last_id, Some(1));
}

#[test]
fn a_client_resumes_where_it_was_cut_off() {
    let fake = Fake::start();
    (0..1000).for_each(|_| fake.append(&["nothing"]));
    let mut cut = Client::open(&fake, "?from=990", None);
    assert_eq!((cut.entry(), cut.entry()), (990, 991));
    let mut resumed = Client::open(&fake, "", cut.last_id);
    // Live entries come while it still reads the history.
    (0..500).for_each(|_| fake.append(&[]));
    for index in 992..1500 {
        assert_eq!(resumed.entry(), index);
    }
    // Cut off before anything happened: the first message says where that was.
    let mut idle = Client::open(&fake, "", None);
    fake.append(&[]);
    assert_eq!(idle.entry(), 1500);
    // An id from another log: everything of this one.
    assert_eq!(Client::open(&fake, "", Some(1_000_000)).entry(), 0);
    let wrong = send(&fake, "GET /v1/stream", &[("last-event-id", "x")], "");
    wrong.assert_problem(400, "malformed", "Last-Event-ID");
}

#[test]
fn a_client_is_told_where_it_begins() {
    let fake = Fake::start();
    fake.append(&[]);
    let mut client = Client::open(&fake, "", None);
    let lines: Vec<String> = client.lines.by_ref().take(2).map(Result::unwrap).collect();
    assert!(lines.contains(&"id: 0".into()), "{lines:?}");
    assert!(lines.contains(&"retry: 1000".into()), "{lines:?}");
}

#[test]
fn an_event_touched_often_is_shown_once_a_page() {
    let fake = Fake::start();
    send_json(&fake, "POST /v1/events", r#"{"uid":"a"}"#);
    (0..9).for_each(|_| fake.append(&["a"]));
    let mut client = Client::open(&fake, "?from=0", None);
    let names: Vec<String> = (0..11).map(|_| client.message().unwrap().0).collect();
    assert_eq!(names.iter().filter(|name| *name == "event").count(), 1);
    assert_eq!(names[9], "event", "before the last entry that touched it");
}

#[test]
fn a_client_that_lags_gets_everything_a_little_later() {
    const ENTRIES: u64 = 60_000;
    let fake = Fake::start();
    let mut slow = Client::open(&fake, "", None);
    // More than the sockets' buffers and the live log hold.
    (0..ENTRIES).for_each(|_| fake.append(&["nothing"]));
    for index in 0..ENTRIES {
        assert_eq!(slow.entry(), index);
    }
    fake.append(&[]);
    assert_eq!(slow.entry(), ENTRIES);
}

#[test]
fn streams_end_when_the_server_stops() {
    let mut fake = Fake::start();
    let mut client = Client::open(&fake, "", None);
    fake.append(&[]);
    client.entry();
    let (done, stopped) = mpsc::channel();
    std::thread::spawn(move || {
        fake.stop();
        done.send(()).unwrap();
    });
    assert!(client.message().is_none());
    stopped.recv_timeout(Duration::from_secs(4)).expect("it stops without waiting for streams");
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let fake = Fake::start();
    let mut endless = TcpStream::connect(fake.address).unwrap();
    write!(endless, "GET /healthz HTTP/1.1\r\n").unwrap();
    let began = Instant::now();
    let line = [b"x: ".as_slice(), &[b'y'; 8000], b"\r\n"].concat();
    // The server answers 431 or hangs up; either way it reads no more than its limit.
    while endless.write_all(&line).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "it reads for ever");
    }
    let mut answer = Vec::new();
    let _ = endless.read_to_end(&mut answer);
    assert_eq!(send(&fake, "GET /healthz", &[], "").status, 200);
}
