//! Who gets in and who doesn't: tokens, people with app passwords, guesses, foreign pages, slow clients.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Got, json, send};
use data_encoding::BASE64;
use fasti_doors::fake::Fake;
use serde_json::json;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const START: &str =
    r#"{"type":"policy_start","payload":{"policy_id":"A","start_date":"2024-04-01"}}"#;
const JSON: (&str, &str) = ("content-type", "application/json");

fn add(fake: &Fake, name: &str) -> String {
    let got = json(fake, "POST /v1/users", &json!({ "name": name }).to_string());
    assert_eq!(got.status, 201, "{}", got.text);
    got.json()["password"].as_str().unwrap().to_owned()
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{name}:{password}").as_bytes()))
}

/// As whoever has these credentials, from an address that a proxy tells.
fn from(fake: &Fake, source: &str, request: &str, authorization: &str) -> Got {
    let headers = [("authorization", authorization), ("x-forwarded-for", source), JSON];
    send(fake, request, &headers, START)
}

/// Guesses until there is a wait, and says how often that took.
fn guess_until_told_to_wait(fake: &Fake, source: &str, authorization: &str) -> usize {
    for guesses in 0..50 {
        let got = from(fake, source, "GET /v1/status", authorization);
        if got.status == 429 {
            got.assert_problem(429, "too-many-attempts", "try again in");
            let wait: u64 = got.header("retry-after").parse().unwrap();
            assert!((1..=300).contains(&wait), "{wait}");
            return guesses;
        }
        got.assert_problem(401, "unauthorized", "node.json");
    }
    panic!("nobody stops guesses");
}

#[test]
fn a_person_may_do_what_an_office_may_and_no_more() {
    let fake = Fake::start();
    let ann = basic("ann", &add(&fake, "ann"));
    let as_ann = |request: &str| send(&fake, request, &[("authorization", &ann), JSON], START);
    assert_eq!(as_ann("POST /v1/publish").status, 201);
    for path in ["events", "events/policy-A", "members", "status", "conflicts", "openapi.json"] {
        assert_eq!(as_ann(&format!("GET /v1/{path}")).status, 200, "{path}");
    }
    for request in [
        "GET /v1/users",
        "POST /v1/users",
        "DELETE /v1/users/ann",
        "POST /v1/invite",
        "PUT /v1/faults",
    ] {
        as_ann(request).assert_problem(403, "operator-only", "node.json");
    }
    let users = send(&fake, "GET /v1/users", &[], "").json();
    assert_eq!(users["users"][0]["name"], "ann");
    assert!(users["users"][0]["added"].is_i64());
    assert_eq!(users["users"][0].as_object().unwrap().len(), 2, "{users}");
}

#[test]
fn passwords_are_typed_as_people_type_them() {
    let fake = Fake::start();
    let (ann, zoe) = (add(&fake, "ann"), add(&fake, "Zoë Müller"));
    let status = |name: &str, password: &str| {
        send(&fake, "GET /v1/status", &[("authorization", &basic(name, password))], "").status
    };
    assert_eq!(status("ann", &ann), 200);
    assert_eq!(status("ann", &ann.replace('-', " ").to_uppercase()), 200);
    assert_eq!(status("Zoë Müller", &zoe), 200);
    assert_eq!(status("ann", &zoe), 401);
    assert_eq!(status("Ann", &ann), 401);
    assert_eq!(status("", ""), 401);
}

#[test]
fn a_password_that_was_taken_back_ends_at_once() {
    let fake = Fake::start();
    let ann = basic("ann", &add(&fake, "ann"));
    let bob = basic("bob", &add(&fake, "bob"));
    let status = |who: &str| send(&fake, "GET /v1/status", &[("authorization", who)], "").status;
    assert_eq!((status(&ann), status(&bob)), (200, 200));
    let mut stream = TcpStream::connect(fake.address).unwrap();
    write!(stream, "GET /v1/stream HTTP/1.1\r\nhost: localhost\r\nauthorization: {ann}\r\n\r\n")
        .unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    assert_eq!(send(&fake, "DELETE /v1/users/ann", &[], "").json()["name"], "ann");
    assert_eq!((status(&ann), status(&bob)), (401, 200));
    // The end of a body in chunks.
    let mut text = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    while !text.ends_with("\r\n0\r\n\r\n") {
        let mut some = [0; 512];
        let length = stream.read(&mut some).unwrap();
        assert!(length > 0, "cut off: {text}");
        text.push_str(&String::from_utf8_lossy(&some[..length]));
    }

    send(&fake, "DELETE /v1/users/ann", &[], "").assert_problem(404, "unknown-user", "list");
    assert_ne!(basic("ann", &add(&fake, "ann")), ann);
    assert_eq!(status(&ann), 401);
}

#[test]
fn names_that_cannot_be_sent_or_are_taken_are_refused() {
    let fake = Fake::start();
    add(&fake, "ann");
    json(&fake, "POST /v1/users", r#"{"name":"ann"}"#).assert_problem(409, "exists", "remove");
    for name in ["", " ann", "ann ", "a:b", "a\nb", &"a".repeat(65)] {
        let body = json!({ "name": name }).to_string();
        json(&fake, "POST /v1/users", &body).assert_problem(422, "invalid", "1 to 64 bytes");
    }
    json(&fake, "POST /v1/users", r#"{"name":"bob","password":"1234"}"#).assert_problem(
        400,
        "malformed",
        "password",
    );
}

#[test]
fn guesses_are_told_to_wait_and_whoever_is_right_is_not() {
    let fake = Fake::start_with(|guard| guard.behind_proxy = true);
    let (ann, bob) = (basic("ann", &add(&fake, "ann")), basic("bob", &add(&fake, "bob")));
    let status = |source: &str, who: &str| from(&fake, source, "GET /v1/status", who).status;
    assert_eq!(status("192.0.2.1", &ann), 200);

    // At a name: from everywhere, but where its owner is known. What was made up before the proxy's own
    // word is no other source.
    let guesses =
        guess_until_told_to_wait(&fake, "198.51.100.7, 203.0.113.9", &basic("bob", "guess"));
    assert!(guesses >= 5, "people mistype: {guesses}");
    assert_eq!(status("198.51.100.8, 203.0.113.9", &bob), 429);
    assert_eq!(status("203.0.113.10", &bob), 429);
    assert_eq!(status("203.0.113.10", &ann), 200);
    guess_until_told_to_wait(&fake, "203.0.113.20", &basic("ann", "guess"));
    assert_eq!(status("192.0.2.1", &ann), 200);

    // Names that don't exist are no other case, or they would be told from those that do.
    guess_until_told_to_wait(&fake, "203.0.113.30", &basic("nobody", "guess"));
    assert_eq!(status("203.0.113.31", &basic("nobody", "guess")), 429);

    // At the token: the right one is heard from the same place all the same.
    let guesses = guess_until_told_to_wait(&fake, "203.0.113.40", "Bearer guess");
    assert!(guesses >= 5);
    assert_eq!(status("203.0.113.40", &format!("Bearer {}", Fake::TOKEN)), 200);
    assert_eq!(status("203.0.113.40", "Bearer guess"), 429);
    let carl = basic("carl", &add(&fake, "carl"));
    assert_eq!(status("203.0.113.40", &carl), 429);
    assert_eq!(status("203.0.113.41", &carl), 200);
}

#[test]
fn without_a_proxy_nobody_says_where_they_are() {
    let fake = Fake::start();
    guess_until_told_to_wait(&fake, "203.0.113.9", "Bearer guess");
    assert_eq!(from(&fake, "203.0.113.10", "GET /v1/status", "Bearer guess").status, 429);
    assert_eq!(send(&fake, "GET /v1/status", &[], "").status, 200);
}

#[test]
fn many_requests_with_one_right_password_all_pass() {
    let fake = Fake::start();
    let ann = basic("ann", &add(&fake, "ann"));
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let got = send(&fake, "GET /v1/status", &[("authorization", &ann)], "");
                assert_eq!(got.status, 200, "{}", got.text);
            });
        }
    });
}

#[test]
fn a_foreign_page_changes_nothing() {
    let fake = Fake::start_with(|guard| guard.names = vec!["calendar.example.org".into()]);
    let own = format!("http://{}", fake.address);
    let publish = |headers: &[(&str, &str)]| {
        send(&fake, "POST /v1/publish", &[headers, &[JSON]].concat(), START)
    };
    for headers in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("origin", "http://localhost:1")],
        &[("origin", "http://calendar.example.org.evil.example")],
        &[("origin", "ftp://calendar.example.org")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site"), ("origin", &own)],
    ] {
        publish(headers).assert_problem(403, "foreign-origin", "--http-name");
    }
    assert_eq!(send(&fake, "GET /v1/status", &[], "").json()["entries"], 0);
    for headers in [
        &[("origin", own.as_str())][..],
        &[("origin", "https://calendar.example.org")],
        &[("origin", "https://CALENDAR.example.org"), ("host", "calendar.example.org")],
        &[("sec-fetch-site", "same-origin"), ("origin", &own)],
        &[("sec-fetch-site", "none")],
    ] {
        assert_eq!(publish(headers).status, 201, "{headers:?}");
    }
    // Links lead here from everywhere.
    let link = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
    let got = send(&fake, "GET /v1/status", &link, "");
    assert_eq!(got.status, 200);
    assert!(got.headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
    let preflight = [link[1], ("access-control-request-method", "POST")];
    let got = send(&fake, "OPTIONS /v1/publish", &preflight, "");
    assert_eq!(got.status, 405);
    assert!(got.headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
}

#[test]
fn a_name_that_was_made_to_lead_here_is_refused() {
    let fake = Fake::start_with(|guard| {
        guard.names = vec!["calendar.example.org".into(), "intra:8080".into()];
    });
    let status = |host: &str| send(&fake, "GET /healthz", &[("host", host)], "").status;
    for host in [
        "localhost:8377",
        "LOCALHOST",
        "127.0.0.1:1",
        "[::1]:8377",
        "calendar.example.org",
        "calendar.example.org:443",
        "intra:8080",
    ] {
        assert_eq!(status(host), 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example:8377", "127.0.0.1.evil.example", "intra"] {
        assert_eq!(status(host), 421, "{host}");
    }
    send(&fake, "GET /v1/status", &[("host", "evil.example")], "").assert_problem(
        421,
        "unknown-host",
        "--http-name",
    );
}

#[test]
fn every_answer_carries_what_browsers_need_to_know() {
    let fake = Fake::start();
    for (request, headers, status) in [
        ("GET /v1/status", &[][..], 200),
        ("GET /healthz", &[], 200),
        ("GET /nothing", &[], 404),
        ("DELETE /v1/status", &[], 405),
        ("GET /v1/status", &[("authorization", "Bearer no")], 401),
        ("GET /v1/status", &[("host", "evil.example")], 421),
    ] {
        let got = send(&fake, request, headers, "");
        assert_eq!(got.status, status, "{request}");
        assert_eq!(got.header("x-content-type-options"), "nosniff", "{request}");
        assert_eq!(got.header("referrer-policy"), "no-referrer", "{request}");
        let policy = got.header("content-security-policy");
        assert!(policy.contains("default-src 'self'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        if [200, 401].contains(&status) && request.contains("/v1/") {
            assert_eq!(got.header("cache-control"), "no-store", "{request}");
        }
    }
    let refused = send(&fake, "GET /v1/status", &[("authorization", "")], "");
    let asked: Vec<_> = refused.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(asked, ["Bearer realm=\"fasti\"", "Basic realm=\"fasti\", charset=\"UTF-8\""]);
}

/// A server with TLS: those who connect and say nothing, or nonsense, are let go.
#[test]
fn whoever_is_slow_at_tls_is_let_go() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let fake = Fake::start_with(|guard| guard.tls = Some(Arc::new(config)));

    let mut plain = TcpStream::connect(fake.address).unwrap();
    let mut silent = TcpStream::connect(fake.address).unwrap();
    for stream in [&plain, &silent] {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    }
    let start = Instant::now();
    write!(plain, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "answered in clear");
    // A record that is never finished.
    silent.write_all(&[0x16, 3, 1]).unwrap();
    let _ = silent.read_to_end(&mut answer);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}
