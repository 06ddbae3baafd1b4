//! What is sent, and what is made of the answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fasti_core::outbox::Outcome;
use fasti_delivery::{Deliverer, Reach};
use fasti_receiver::{Message, Receiver, Secret, State};
use hyper::Version;
use serde_json::json;
use tokio::net::TcpListener;

use crate::sent::{UID, confirmed, deliver, failure, secret, subscription};
use crate::server::{Asked, Server, answer, endless};

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// Reads what was sent with these secrets, as a receiver does.
fn read(asked: &Asked, secrets: &[u8]) -> Result<Message, fasti_receiver::Refused> {
    let header = |name: &str| asked.headers.get(name).and_then(|it| it.to_str().ok());
    let secrets = secrets.iter().map(|it| Secret::new(secret(*it).0));
    Receiver::new(secrets).read(header, &asked.body, now())
}

#[tokio::test]
async fn a_receiver_reads_what_is_sent() {
    let server = Server::http(|| Some(answer(200, &[], r#"{"status":"ok","applied":"7"}"#))).await;
    assert_eq!(deliver(subscription(&server.url(), json!({})), 7).await, confirmed(Some("7")));
    let asked = server.asked().remove(0);
    assert_eq!((asked.method.as_str(), asked.version), ("POST", Version::HTTP_11));
    assert_eq!(asked.uri, "/fasti?a=b");
    assert_eq!(asked.headers["host"], server.address.to_string());
    assert_eq!(asked.headers["content-type"], "application/cloudevents+json");
    let Message::State(delivery) = read(&asked, &[1]).unwrap() else { panic!() };
    assert_eq!(delivery.id, asked.headers["webhook-id"].to_str().unwrap());
    assert_eq!(delivery.kind, "policy_start");
    assert_eq!(delivery.time.as_deref(), Some("2025-11-28T04:26:40.123Z"));
    assert_eq!(delivery.more["specversion"], "1.0");
    assert_eq!(delivery.more["subject"], UID);
    let data = delivery.data;
    assert_eq!((data.uid.as_str(), data.version, data.state), (UID, 7, State::Settled));
    assert_eq!(data.event["title"], "Jeunesse & sport");
    assert_eq!(data.policy["policy_id"], "YSP-2024");
    assert_eq!(data.approval.unwrap().state, "approved");
}

#[tokio::test]
async fn while_the_secret_is_rotated_old_and_new_receivers_can_read() {
    let server = Server::http(|| Some(answer(204, &[], ""))).await;
    let mut rotating = subscription(&server.url(), json!({}));
    rotating.secrets = vec![secret(2), secret(1)];
    rotating.rotation_ends = (now() + 3600) * 1000;
    assert_eq!(deliver(rotating.clone(), 7).await, confirmed(None));
    rotating.rotation_ends = (now() - 3600) * 1000;
    assert_eq!(deliver(rotating, 8).await, confirmed(None));
    let asked = server.asked();
    for secrets in [&[1][..], &[2], &[3, 1], &[1, 2]] {
        assert!(read(&asked[0], secrets).is_ok(), "{secrets:?}");
    }
    assert!(read(&asked[0], &[3]).is_err());
    assert!(read(&asked[1], &[2]).is_ok() && read(&asked[1], &[1]).is_err());
}

#[tokio::test]
async fn a_test_is_sent_as_one() {
    let server = Server::http(|| Some(answer(200, &[], "welcome\n"))).await;
    let (deliverer, _tried) = Deliverer::new(Reach::Any, Arc::new(()));
    let said = deliverer.test(&subscription(&server.url(), json!({}))).await;
    assert_eq!(said.unwrap(), "200 OK: welcome");
    assert_eq!(read(&server.asked()[0], &[1]).unwrap(), Message::Test);
}

#[tokio::test]
async fn what_was_applied_is_read_from_the_answer() {
    let numbered = Server::http(|| Some(answer(201, &[], r#"{"applied":7}"#))).await;
    assert_eq!(deliver(subscription(&numbered.url(), json!({})), 7).await, confirmed(Some("7")));
    let silent = Server::http(|| Some(answer(202, &[], "<p>thanks</p>"))).await;
    assert_eq!(deliver(subscription(&silent.url(), json!({})), 7).await, confirmed(None));
}

#[tokio::test]
async fn https_is_spoken_with_whom_the_options_trust() {
    for (protocols, version) in
        [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11)]
    {
        let (server, ca) =
            Server::https(protocols, || Some(answer(200, &[], r#"{"applied":"7"}"#))).await;
        let trusted = subscription(&server.https_url(), json!({ "ca": ca }));
        assert_eq!(deliver(trusted, 7).await, confirmed(Some("7")));
        let asked = server.asked().remove(0);
        assert_eq!(asked.version, version);
        assert!(read(&asked, &[1]).is_ok());
        // Another authority, and the system's.
        let (_, other) = Server::https(protocols, || None).await;
        for options in [json!({ "ca": other }), json!({})] {
            let (reason, _) = failure(subscription(&server.https_url(), options)).await;
            assert!(reason.contains("certificate"), "{reason}");
        }
        // The certificate is for a name, not for an address.
        let address = format!("https://{}/fasti", server.address);
        let (reason, _) = failure(subscription(&address, json!({ "ca": ca }))).await;
        assert!(reason.contains("certificate"), "{reason}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn redirects_are_named_and_not_followed() {
    let server = Server::http(|| {
        Some(answer(308, &[("location", "https://elsewhere.example/fasti")], "moved"))
    })
    .await;
    let (reason, retry_after) = failure(subscription(&server.url(), json!({}))).await;
    assert!(
        reason.contains("308") && reason.contains("https://elsewhere.example/fasti"),
        "{reason}"
    );
    assert_eq!((server.asked().len(), retry_after), (1, None));
}

#[tokio::test]
async fn a_receiver_that_is_gone_says_so() {
    let server = Server::http(|| Some(answer(410, &[], "the office has closed"))).await;
    let outcome = deliver(subscription(&server.url(), json!({})), 7).await;
    assert_eq!(outcome, Outcome::Gone { reason: "410 Gone: the office has closed".into() });
}

#[tokio::test]
async fn a_receiver_says_when_to_come_again() {
    let busy = Server::http(|| Some(answer(429, &[("retry-after", "120")], ""))).await;
    let (reason, retry_after) = failure(subscription(&busy.url(), json!({}))).await;
    assert_eq!((reason.as_str(), retry_after), ("429 Too Many Requests", Some(120_000_000)));

    let down = Server::http(|| {
        let at = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(600));
        Some(answer(503, &[("retry-after", &at)], "back soon"))
    })
    .await;
    let (reason, retry_after) = failure(subscription(&down.url(), json!({}))).await;
    assert_eq!(reason, "503 Service Unavailable: back soon");
    let seconds = retry_after.unwrap() / 1_000_000;
    assert!((500..=600).contains(&seconds), "{seconds}");

    // What is past, or no time, asks for nothing.
    for header in ["soon", "-5", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let server = Server::http(move || Some(answer(503, &[("retry-after", header)], ""))).await;
        let (_, retry_after) = failure(subscription(&server.url(), json!({}))).await;
        assert_eq!(retry_after.unwrap_or(0), 0, "{header}");
    }
    let broken = Server::http(|| Some(answer(500, &[("retry-after", "120")], "oh"))).await;
    assert_eq!(failure(subscription(&broken.url(), json!({}))).await.1, None);
}

#[tokio::test]
async fn a_receiver_that_is_silent_is_given_up() {
    let server = Server::http(|| None).await;
    let (reason, _) = failure(subscription(&server.url(), json!({ "timeout_s": 1 }))).await;
    assert_eq!(reason, "no answer within 1 s");
    assert_eq!(server.asked().len(), 1);
}

/// It was confirmed: to deliver it again and again, because the rest of an answer never comes, would help nobody.
#[tokio::test]
async fn a_status_counts_without_the_rest_of_the_answer() {
    let server = Server::http(|| Some(endless(200, r#"{"applied":"7"}"#))).await;
    let slow = subscription(&server.url(), json!({ "timeout_s": 1 }));
    assert_eq!(deliver(slow, 7).await, confirmed(Some("7")));
}

#[tokio::test]
async fn of_a_long_answer_the_beginning_is_read() {
    let long = Server::http(|| Some(answer(200, &[], vec![b'7'; 8 << 20]))).await;
    assert_eq!(deliver(subscription(&long.url(), json!({})), 7).await, confirmed(None));
    let failing = Server::http(|| Some(answer(500, &[], vec![b'x'; 8 << 20]))).await;
    let (reason, _) = failure(subscription(&failing.url(), json!({}))).await;
    assert!(reason.starts_with("500 Internal Server Error: xxxx"), "{reason}");
    assert!(reason.len() < 200, "{reason}");
}

#[tokio::test]
async fn where_nobody_listens_that_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/fasti", listener.local_addr().unwrap());
    drop(listener);
    let (reason, _) = failure(subscription(&url, json!({}))).await;
    assert!(reason.contains("refused"), "{reason}");
}

#[tokio::test]
async fn a_login_in_the_url_is_sent_as_basic_auth_and_never_shown() {
    let server = Server::http(|| Some(answer(403, &[], ""))).await;
    let url = format!("http://denver:p%40ss:w%C3%B6rd@{}/fasti", server.address);
    let (reason, _) = failure(subscription(&url, json!({}))).await;
    assert!(!reason.contains("ss:w"), "{reason}");
    let asked = server.asked().remove(0);
    // denver:p@ss:wörd
    assert_eq!(asked.headers["authorization"], "Basic ZGVudmVyOnBAc3M6d8O2cmQ=");
    assert_eq!(asked.headers["host"], server.address.to_string());
    assert_eq!(asked.uri, "/fasti");
}

#[tokio::test]
async fn headers_of_the_options_are_sent() {
    let server = Server::http(|| Some(answer(200, &[], ""))).await;
    let options = json!({ "headers": { "X-Api-Key": "k1", "authorization": "Bearer b" } });
    assert_eq!(deliver(subscription(&server.url(), options), 7).await, confirmed(None));
    let asked = server.asked().remove(0);
    assert_eq!(asked.headers["x-api-key"], "k1");
    assert_eq!(asked.headers["authorization"], "Bearer b");
    assert!(read(&asked, &[1]).is_ok());
}
