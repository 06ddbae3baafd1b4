//! Against the NATS server itself, with JetStream.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::TcpStream;
use std::process::Command;

use common::{
    Certificate, Process, Subscriber, arrived, delivery, free_port, peer, program, refused,
    wait_for,
};
use fasti_core::outbox::Target;
use fasti_delivery::Reach;
use serde_json::{Value, json};
use tempfile::TempDir;

const TOKEN: &str = "s3cret";

struct Nats {
    home: TempDir,
    port: u16,
    server: Option<Process>,
}

impl Nats {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut new = Self { home, port: free_port(), server: None };
        new.restart().await;
        new
    }

    /// On the same port, with what it had.
    async fn restart(&mut self) {
        self.start_with(&[]).await;
    }

    async fn start_with(&mut self, more: &[&str]) {
        let (home, port) = (self.home.path(), self.port);
        let mut command = Command::new(program("/usr/sbin/nats-server"));
        command
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "--auth", TOKEN, "-js", "-sd"])
            .arg(home.join("streams"))
            .args(more);
        let log = home.join("nats.log");
        self.server = Some(Process::start(&mut command, &log));
        wait_for("NATS", &log, async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    }

    fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    fn url(&self, subject: &str) -> String {
        format!("nats://{TOKEN}@127.0.0.1:{}/{subject}", self.port)
    }

    fn plain(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    async fn stream(&self, name: &str, subjects: &str) {
        peer(&["nats_stream", &self.plain(), name, subjects, TOKEN]).await;
    }

    async fn read(&self, name: &str) -> Vec<Value> {
        peer(&["nats_read", &self.plain(), name, TOKEN]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_is_in_a_stream_once_and_what_is_not_says_why() {
    let nats = Nats::start().await;
    nats.stream("fasti", "fasti.>").await;

    let mut subscriber = Subscriber::new(&nats.url("fasti.{calendar}.{type}"), &json!({}));
    assert_eq!(subscriber.test().await.unwrap(), "stream fasti takes fasti.test.event_update");
    // What was confirmed and is sent again, as after a crash of ours, is there once.
    subscriber.confirmed(delivery("a\nb", 1)).await;
    subscriber.confirmed(delivery("a\nb", 1)).await;
    subscriber.confirmed(delivery("a\nb", 2)).await;
    let messages = nats.read("fasti").await;
    let [first, second] = &messages[..] else { panic!("expected two messages: {messages:?}") };
    assert_eq!(first["subject"], "fasti.policies.event_update");
    assert_eq!(first["headers"]["Nats-Msg-Id"], first["event"]["id"]);
    assert_eq!(first["headers"]["content-type"], "application/cloudevents+json");
    assert_eq!(first["headers"]["fasti-uid"], "a%0Ab");
    assert_eq!(first["event"]["subject"], "a\nb");
    assert_eq!(second["headers"]["fasti-version"], "2");

    // A subject that no stream takes: that is said, and once one does it works.
    let mut missing = Subscriber::new(&nats.url("later.{uid}"), &json!({}));
    let problem = missing.failure(delivery("c.*", 3)).await;
    assert!(problem.contains("no stream takes later.c%2E%2A: add one"), "{problem}");
    assert!(missing.test().await.unwrap_err().contains("no stream takes later.test"));
    nats.stream("later", "later.*").await;
    missing.confirmed(delivery("c.*", 3)).await;
    assert_eq!(nats.read("later").await.len(), 1);

    // Who may not come in.
    for login in ["", "wrong@", "user:wrong@"] {
        let url = format!("nats://{login}127.0.0.1:{}/fasti.x", nats.port);
        let mut intruder = Subscriber::new(&url, &json!({}));
        let problem = intruder.failure(delivery("d", 4)).await;
        assert_eq!(problem, "the server refuses the user or the password");
    }

    // Where a node may not go.
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("nats://{TOKEN}@{host}:{}/fasti.x", nats.port);
        let mut outside = Subscriber::within(Reach::Public, &url, &json!({}));
        let problem = outside.failure(delivery("e", 5)).await;
        assert!(problem.contains("is a private address"), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_loses_nothing() {
    let mut nats = Nats::start().await;
    nats.stream("fasti", "fasti.>").await;
    let mut subscriber = Subscriber::new(&nats.url("fasti.all"), &json!({}));
    let mut killed = None;
    let mut restarted = false;
    subscriber
        .deliver_all(600, async |confirmed, failed| {
            if confirmed >= 200 && killed.is_none() {
                nats.kill();
                killed = Some(failed);
            }
            if killed.is_some_and(|before| failed >= before + 40) && !restarted {
                nats.restart().await;
                restarted = true;
            }
        })
        .await;
    assert!(restarted);
    let most = arrived(&nats.read("fasti").await, 600);
    assert_eq!(most, 1, "what was stored and not confirmed is known by its id");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_who_can_prove_his_name_is_told_anything() {
    let mut nats = Nats::start().await;
    nats.stream("fasti", "fasti.>").await;
    nats.kill();
    let Certificate { ca, certificate, key } = Certificate::new(nats.home.path());
    let [certificate, key] = [certificate, key].map(|it| it.display().to_string());
    nats.start_with(&["--tls", "--tlscert", &certificate, "--tlskey", &key]).await;

    let url = |host: &str| format!("tls://{TOKEN}@{host}:{}/fasti.all", nats.port);
    let mut subscriber = Subscriber::new(&url("localhost"), &json!({ "ca": ca }));
    subscriber.confirmed(delivery("a", 1)).await;
    for (url, options) in [
        (url("localhost"), json!({})),
        // The certificate is for another name.
        (url("127.0.0.1"), json!({ "ca": ca })),
    ] {
        let problem = Subscriber::new(&url, &options).failure(delivery("b", 2)).await;
        assert!(problem.contains("certificate"), "{problem}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    let url = format!("nats://127.0.0.1:{}/fasti.all", free_port());
    let mut alone = Subscriber::new(&url, &json!({}));
    let problem = alone.failure(delivery("a", 1)).await;
    assert!(problem.contains("can not be reached") && problem.contains("refused"), "{problem}");
}

#[test]
fn what_is_wrong_is_said_when_it_is_asked_for() {
    for wrong in ["", "/", "/fasti.*", "/fasti.>", "/a..b", "/a.b.", "/a b", "/{id}"] {
        let problem = refused(Reach::Any, &format!("nats://nats.example.org{wrong}"), &json!({}));
        assert!(problem.starts_with("callback_url: expected"), "{wrong}: {problem}");
    }
    assert!(refused(Reach::Any, "tls://a/x", &json!({ "ca": "x" })).starts_with("ca"));
    let url = "tls://u:hunter2@nats.example.org/fasti".to_owned();
    let target = Target { url, options: "{}".into() };
    let shown = format!("{} {}", target.shown(), fasti_delivery::shown(&target));
    assert!(shown.contains("\"subject\":\"fasti\"") && !shown.contains("hunter2"), "{shown}");
}
