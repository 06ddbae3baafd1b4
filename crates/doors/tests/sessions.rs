//! The web page and its sessions: how they begin and end, and that no other page can use them.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod common;

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use common::{Got, json, send};
use fasti_doors::fake::Fake;
use serde_json::json;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const JSON: (&str, &str) = ("content-type", "application/json");
const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");
const START: &str =
    r#"{"type":"policy_start","payload":{"policy_id":"A","start_date":"2024-04-01"}}"#;

/// Without any credentials but those given.
fn ask(fake: &Fake, request: &str, headers: &[(&str, &str)], body: &str) -> Got {
    let (method, path) = request.split_once(' ').unwrap();
    let mut builder =
        ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", fake.address));
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let mut response = common::agent().run(builder.body(body.to_owned()).unwrap()).unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.body_mut().read_to_string().unwrap();
    Got { status, headers, text }
}

/// Logs in; gives the cookie as a browser sends it.
fn log_in(fake: &Fake, shown: &serde_json::Value) -> String {
    let got = ask(fake, "POST /v1/session", &[JSON, OWN], &shown.to_string());
    assert_eq!(got.status, 201, "{}", got.text);
    let set = got.header("set-cookie");
    for part in ["; Path=/", "; HttpOnly", "; SameSite=Strict", "; Max-Age="] {
        assert!(set.contains(part), "{set}");
    }
    assert_eq!(got.header("cache-control"), "no-store");
    set.split(';').next().unwrap().to_owned()
}

fn ann(fake: &Fake) -> serde_json::Value {
    let got = json(fake, "POST /v1/users", &json!({ "name": "ann" }).to_string());
    json!({ "name": "ann", "password": got.json()["password"] })
}

fn as_whom(fake: &Fake, cookie: &str) -> serde_json::Value {
    ask(fake, "GET /v1/session", &[("cookie", cookie), OWN], "").json()["caller"].clone()
}

#[test]
fn a_person_logs_in_reads_writes_and_logs_out() {
    let fake = Fake::start();
    let ann = ann(&fake);
    // Strangers learn nothing from it.
    assert_eq!(ask(&fake, "GET /v1/session", &[], "").json(), json!({ "caller": null }));
    let cookie = log_in(&fake, &ann);
    let session = ask(&fake, "GET /v1/session", &[("cookie", &cookie)], "").json();
    assert_eq!((&session["caller"], &session["name"]), (&json!("person"), &json!("ann")));
    let with = [("cookie", &*cookie), JSON, OWN];
    assert_eq!(ask(&fake, "POST /v1/publish", &with, START).status, 201);
    assert_eq!(ask(&fake, "GET /v1/events/policy-A", &with, "").status, 200);
    ask(&fake, "GET /v1/users", &with, "").assert_problem(403, "operator-only", "token");
    let out = ask(&fake, "DELETE /v1/session", &with, "");
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(as_whom(&fake, &cookie), json!(null));
    ask(&fake, "GET /v1/events", &with, "").assert_problem(401, "unauthorized", "node.json");
}

#[test]
fn the_operator_logs_in_with_the_token_or_a_link_that_is_good_once() {
    let fake = Fake::start();
    let cookie = log_in(&fake, &json!({ "token": Fake::TOKEN }));
    assert_eq!(as_whom(&fake, &cookie), json!("operator"));
    let link = json(&fake, "POST /v1/session/link", "").json();
    let code = link["path"].as_str().unwrap().strip_prefix("/#/login/").unwrap();
    let cookie = log_in(&fake, &json!({ "code": code }));
    let users = ask(&fake, "GET /v1/users", &[("cookie", &cookie), OWN], "");
    assert_eq!(users.status, 200);
    let again = ask(&fake, "POST /v1/session", &[JSON], &json!({ "code": code }).to_string());
    again.assert_problem(401, "link-not-valid", "fasti login");
    let ann = log_in(&fake, &ann(&fake));
    let hers = ask(&fake, "POST /v1/session/link", &[("cookie", &ann), OWN, JSON], "");
    hers.assert_problem(403, "operator-only", "token");
}

#[test]
fn who_is_not_known_gets_no_session_and_guesses_are_counted() {
    let fake = Fake::start();
    ann(&fake);
    for wrong in [json!({}), json!({ "name": "ann" }), json!({ "token": "x", "name": "ann" })] {
        let got = ask(&fake, "POST /v1/session", &[JSON], &wrong.to_string());
        got.assert_problem(400, "malformed", "password");
    }
    for wrong in
        [json!({ "token": "x" }), json!({ "code": "x" }), json!({ "name": "ann", "password": "x" })]
    {
        let wrong = wrong.to_string();
        let guess = |_: &usize| ask(&fake, "POST /v1/session", &[JSON], &wrong).status == 429;
        assert!((0..50).find(guess).is_some(), "nobody stops guesses of {wrong}");
    }
}

#[test]
fn a_session_ends_with_the_password_that_began_it_even_if_there_is_another() {
    let fake = Fake::start();
    let cookie = log_in(&fake, &ann(&fake));
    let stream = ureq::http::Request::builder()
        .uri(format!("http://{}/v1/stream", fake.address))
        .header("cookie", &cookie)
        .body(())
        .unwrap();
    let mut stream = common::agent().run(stream).unwrap();
    assert_eq!(stream.status(), 200);
    assert_eq!(send(&fake, "DELETE /v1/users/ann", &[], "").status, 200);
    // It ends, as otherwise this would never return.
    stream.body_mut().as_reader().read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(as_whom(&fake, &cookie), json!(null));
    ann(&fake);
    assert_eq!(as_whom(&fake, &cookie), json!(null));
}

#[test]
fn a_stream_ends_when_its_session_does() {
    let fake = Fake::start();
    let cookie = log_in(&fake, &json!({ "token": Fake::TOKEN }));
    let stream = ureq::http::Request::builder()
        .uri(format!("http://{}/v1/stream", fake.address))
        .header("cookie", &cookie)
        .body(())
        .unwrap();
    let mut stream = common::agent().run(stream).unwrap();
    assert_eq!(ask(&fake, "DELETE /v1/session", &[("cookie", &cookie), OWN], "").status, 204);
    stream.body_mut().as_reader().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn another_page_can_not_use_a_session() {
    let fake = Fake::start();
    let cookie = log_in(&fake, &json!({ "token": Fake::TOKEN }));
    let here = format!("http://{}", fake.address);
    let own = ("origin", &*here);
    let other = ("origin", "http://127.0.0.1:1");
    let post = |more: &[(&str, &str)]| {
        ask(&fake, "POST /v1/publish", &[&[("cookie", &*cookie), JSON], more].concat(), START)
    };
    for theirs in [
        // Says nothing: no browser, or a very old one.
        &[][..],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site")],
        &[other],
        &[OWN, other],
        &[("sec-fetch-site", "same-site"), own],
        &[("origin", "null")],
    ] {
        post(theirs).assert_problem(403, "foreign-origin", "page");
    }
    for ours in [&[OWN][..], &[own], &[OWN, own]] {
        assert_eq!(post(ours).status, 201, "{ours:?}");
    }
    let get = |more: &[(&str, &str)]| {
        ask(&fake, "GET /v1/events", &[&[("cookie", &*cookie)], more].concat(), "")
    };
    for theirs in [("sec-fetch-site", "same-site"), ("sec-fetch-site", "cross-site"), other] {
        get(&[theirs]).assert_problem(403, "foreign-origin", "page");
    }
    for ours in [&[][..], &[OWN], &[("sec-fetch-site", "none")]] {
        assert_eq!(get(ours).status, 200, "{ours:?}");
    }
    // Nor can it log someone in.
    let shown = json!({ "token": Fake::TOKEN }).to_string();
    for theirs in [("sec-fetch-site", "cross-site"), other] {
        let got = ask(&fake, "POST /v1/session", &[JSON, theirs], &shown);
        got.assert_problem(403, "foreign-origin", "page");
    }
}

#[test]
fn a_proxy_with_tls_gets_a_cookie_for_tls() {
    let fake = Fake::start();
    let https = format!("https://{}", fake.address);
    let headers = [JSON, ("origin", &*https)];
    let shown = json!({ "token": Fake::TOKEN }).to_string();
    let got = ask(&fake, "POST /v1/session", &headers, &shown);
    let set = got.header("set-cookie");
    assert!(set.starts_with("__Host-fasti-") && set.contains("; Secure"), "{set}");
    assert_eq!(as_whom(&fake, set.split(';').next().unwrap()), json!("operator"));
}

#[test]
fn with_tls_only_a_cookie_for_tls_is_given_and_taken() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    let fake = Fake::start_with(|guard| guard.tls = Some(Arc::new(server)));
    let say = |request: String| {
        let name = "localhost".try_into().unwrap();
        let connection = rustls::ClientConnection::new(Arc::clone(&client), name).unwrap();
        let stream = std::net::TcpStream::connect(fake.address).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // Not every server says goodbye; what it said before counts.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    };
    let shown = json!({ "token": Fake::TOKEN }).to_string();
    let answer = say(format!(
        "POST /v1/session HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{shown}",
        shown.len()
    ));
    let set = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(set.starts_with("__Host-fasti-") && set.contains("; Secure"), "{set}");
    let cookie = set.split(';').next().unwrap();
    let who = |cookie: &str| {
        say(format!(
            "GET /v1/session HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncookie: {cookie}\r\n\r\n"
        ))
    };
    assert!(who(cookie).contains(r#""caller":"operator""#));
    // Anybody on the way can set cookies without that mark.
    assert!(who(cookie.strip_prefix("__Host-").unwrap()).contains(r#""caller":null"#));
}

#[test]
fn the_page_is_served_to_anyone_and_asked_for_again_only_if_it_changed() {
    let fake = Fake::start();
    let page = ask(&fake, "GET /", &[], "");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.text.contains("<style") && !page.text.contains("://"), "{}", page.text);
    for part in page.text.split(['"', '\'']).filter(|part| part.starts_with("/assets/")) {
        let file = ask(&fake, &format!("GET {part}"), &[], "");
        assert_eq!(file.status, 200, "{part}");
        let fresh = [("if-none-match", file.header("etag"))];
        assert_eq!(ask(&fake, &format!("GET {part}"), &fresh, "").status, 304);
        let packed = ask(&fake, &format!("HEAD {part}"), &[("accept-encoding", "br, gzip")], "");
        assert_eq!(packed.header("content-encoding"), "gzip", "{part}");
    }
    ask(&fake, "GET /assets/none", &[], "").assert_problem(404, "unknown-path", "none");
    // Pages within the page are behind the #: whatever else isn't there is no page.
    ask(&fake, "GET /calendar", &[], "").assert_problem(404, "unknown-path", "openapi");
}

#[test]
fn a_page_that_is_not_known_is_not_asked_by_the_browser_itself() {
    let fake = Fake::start();
    let challenge = |headers: &[(&str, &str)]| {
        let got = ask(&fake, "GET /v1/events", headers, "");
        assert_eq!(got.status, 401);
        got.headers
            .get_all("www-authenticate")
            .iter()
            .any(|it| it.to_str().unwrap().starts_with("Basic"))
    };
    assert!(challenge(&[]), "a calendar app needs it");
    assert!(!challenge(&[("sec-fetch-mode", "cors")]));
    assert!(!challenge(&[("x-requested-with", "fasti")]));
    let page = [JSON, ("x-requested-with", "fasti")];
    let wrong = json!({ "name": "ann", "password": "x" }).to_string();
    let got = ask(&fake, "POST /v1/session", &page, &wrong);
    assert_eq!((got.status, got.header("www-authenticate")), (401, "Bearer realm=\"fasti\""));
}
