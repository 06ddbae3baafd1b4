//! Where deliveries don't go, and targets that are none.

use fasti_core::outbox::{Outcome, Target};
use fasti_delivery::{Reach, check, shown};
use serde_json::{Value, json};

use crate::sent::{confirmed, deliver, deliver_within, subscription};
use crate::server::{Server, answer};

#[tokio::test]
async fn this_machine_is_not_public_however_it_is_written() {
    let server = Server::http(|| Some(answer(200, &[], ""))).await;
    let port = server.address.port();
    assert_eq!(deliver(subscription(&server.url(), json!({})), 7).await, confirmed(None));
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "user@127.0.0.1",
    ] {
        let target = subscription(&format!("http://{host}:{port}/"), json!({}));
        match deliver_within(Reach::Public, target, 7).await {
            Outcome::Failed { reason, .. } if reason.contains("private") => {}
            // Some resolvers know no names like these, which is as good.
            Outcome::Failed { reason, .. }
                if reason.contains("lookup") || reason.contains("dns") =>
            {
                assert!(!["127.0.0.1", "localhost", "[::1]"].contains(&host), "{host}: {reason}");
            }
            other => panic!("{host}: {other:?}"),
        }
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn metadata_services_of_clouds_are_never_asked() {
    for host in ["169.254.169.254", "[fe80::1]", "0.0.0.0", "[::]"] {
        let target = subscription(&format!("http://{host}/latest/meta-data"), json!({}));
        match deliver(target, 7).await {
            Outcome::Failed { reason, .. } => {
                assert!(reason.contains("no address that deliveries go to"), "{host}: {reason}");
            }
            other => panic!("{host}: {other:?}"),
        }
    }
}

fn target(url: &str, options: &Value) -> Target {
    Target { url: url.into(), options: options.to_string() }
}

#[test]
fn what_is_no_target_is_told_at_once() {
    let url = "https://crm.example.org/fasti";
    for (url, options, field) in [
        ("crm.example.org/fasti", json!({}), "callback_url"),
        ("gopher://crm.example.org/", json!({}), "callback_url"),
        ("http:///fasti", json!({}), "callback_url"),
        ("http://crm example.org/", json!({}), "callback_url"),
        (url, json!({ "ca": "no certificate" }), "ca"),
        (
            url,
            json!({ "ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" }),
            "ca",
        ),
        (url, json!({ "timeout_s": 0 }), "timeout_s"),
        (url, json!({ "timeout_s": 61 }), "timeout_s"),
        (url, json!({ "timeout": 5 }), "options"),
        (url, json!({ "headers": { "webhook-id": "1" } }), "headers"),
        (url, json!({ "headers": { "Host": "1" } }), "headers"),
        (url, json!({ "headers": { "a b": "1" } }), "headers"),
        (url, json!({ "headers": { "a": "1\r\nb: 2" } }), "headers"),
    ] {
        let error = check(&target(url, &options), Reach::Any);
        let error = error.expect_err(&format!("{url} {options}"));
        assert_eq!(error.field, field, "{url} {options}: {error}");
    }
    assert!(check(&target(url, &json!({})), Reach::Public).is_ok());
}

#[test]
fn how_it_is_reached_is_shown_without_secrets() {
    let options = json!({ "headers": { "X-Api-Key": "k1" }, "timeout_s": 5 });
    let shown = shown(&target("https://crm.example.org/fasti", &options));
    assert_eq!(shown, json!({ "timeout_s": 5, "ca": null, "headers": ["X-Api-Key"] }));
}
