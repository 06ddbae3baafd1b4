//! Against RabbitMQ itself.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use common::{
    Certificate, Process, Subscriber, arrived, delivery, free_port, peer, program, refused,
    wait_for,
};
use fasti_core::outbox::{Outcome, Target};
use fasti_delivery::Reach;
use serde_json::json;
use tempfile::TempDir;

/// A broker with a folder of its own, and the port mapper that Erlang wants.
struct RabbitMq {
    home: TempDir,
    port: u16,
    ports: [u16; 3],
    certificate: Certificate,
    broker: Option<Process>,
    _mapper: Process,
}

impl RabbitMq {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port(), free_port()];
        let certificate = Certificate::new(home.path());
        let mut mapper = Command::new(program("epmd"));
        mapper.args(["-port", &ports[0].to_string(), "-address", "127.0.0.1"]);
        let mapper = Process::start(&mut mapper, &home.path().join("epmd.log"));
        let (port, broker) = (free_port(), None);
        let mut new = Self { home, port, ports, certificate, broker, _mapper: mapper };
        new.restart().await;
        new
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// On the same port, with what it had.
    async fn restart(&mut self) {
        let path = |name: &str| self.path(name).display().to_string();
        let port = self.port;
        for folder in ["home", "mnesia", "log"] {
            fs::create_dir_all(self.path(folder)).unwrap();
        }
        fs::write(self.path("plugins"), "[].\n").unwrap();
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nvm_memory_high_watermark.absolute = 512MB\n\
             disk_free_limit.absolute = 1MB\nlog.console = true\nlog.file = false\n\
             listeners.ssl.1 = 127.0.0.1:{}\nssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\nssl_options.verify = verify_none\n",
            self.ports[2],
            self.certificate.certificate.display(),
            self.certificate.key.display(),
        );
        fs::write(self.path("rabbitmq.conf"), config).unwrap();
        // Not the wrapper in sbin, which wants to be root.
        let mut command = Command::new(program("/usr/lib/rabbitmq/bin/rabbitmq-server"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", path("home"))
            .env("ERL_EPMD_PORT", self.ports[0].to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("fasti{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", self.ports[1].to_string())
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", path("none.config"))
            .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
            .env("RABBITMQ_PID_FILE", path("pid"))
            // The script becomes the broker, so that killing it kills that.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
            )
            .arg("-noinput");
        let log = self.path("rabbitmq.log");
        self.broker = Some(Process::start(&mut command, &log));
        // It answers to what begins a connection.
        wait_for("RabbitMQ", &log, async || {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
            let asked = stream.write_all(b"AMQP\0\0\x09\x01");
            asked.and_then(|()| stream.read_exact(&mut [0])).is_ok()
        })
        .await;
    }

    fn kill(&mut self) {
        self.broker.take().unwrap().kill();
    }

    fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port)
    }

    async fn declare(&self, exchange: &str, queue: &str, key: &str) {
        peer(&["rabbitmq_declare", &self.url(), exchange, queue, key]).await;
    }

    async fn read(&self, queue: &str) -> Vec<serde_json::Value> {
        peer(&["rabbitmq_read", &self.url(), queue]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_is_in_a_queue_and_what_is_not_says_why() {
    let rabbit = RabbitMq::start().await;
    rabbit.declare("fasti", "inbox", "policies.#").await;

    // To an exchange that binds a queue.
    let options = json!({ "exchange": "fasti", "routing_key": "{calendar}.{type}" });
    let mut bound = Subscriber::new(&rabbit.url(), &options);
    assert_eq!(bound.test().await.unwrap(), "exchange fasti is there");
    bound.confirmed(delivery("a.b", 1 << 40)).await;
    let [message] = &rabbit.read("inbox").await[..] else { panic!("expected one message") };
    assert_eq!(message["event"]["type"], "event_update");
    assert_eq!(message["event"]["data"]["event"]["title"], format!("Version {}", 1_u64 << 40));
    assert_eq!(message["id"], message["event"]["id"]);
    assert_eq!(message["type"], "application/cloudevents+json");
    assert_eq!((&message["mode"], &message["key"]), (&json!(2), &json!("policies.event_update")));
    assert_eq!(message["headers"], json!({ "fasti-uid": "a.b", "fasti-version": 1_u64 << 40 }));

    // To a queue by name.
    let mut queue = Subscriber::new(&rabbit.url(), &json!({ "routing_key": "inbox" }));
    assert_eq!(queue.test().await.unwrap(), "queue inbox is there");
    queue.confirmed(delivery("b", 2)).await;
    assert_eq!(rabbit.read("inbox").await.len(), 1);

    // Over TLS, with an authority that the system doesn't know.
    let url = format!("amqps://guest:guest@localhost:{}", rabbit.ports[2]);
    let options = json!({ "routing_key": "inbox", "ca": rabbit.certificate.ca });
    Subscriber::new(&url, &options).confirmed(delivery("b", 3)).await;
    assert_eq!(rabbit.read("inbox").await.len(), 1);
    let mut wary = Subscriber::new(&url, &json!({ "routing_key": "inbox" }));
    let problem = wary.failure(delivery("b", 4)).await;
    assert!(problem.contains("certificate"), "{problem}");

    // What no queue takes, beside what one does: each is told of its own.
    let options = json!({ "exchange": "fasti", "routing_key": "{uid}" });
    let mut mixed = Subscriber::new(&rabbit.url(), &options);
    rabbit.declare("fasti", "taken", "taken-#").await;
    rabbit.declare("fasti", "taken", "taken").await;
    for round in 0..50_u64 {
        for at in 0..8 {
            let uid = if (round + at) % 2 == 0 { "taken" } else { "stray" };
            mixed.send(delivery(uid, round * 8 + at + 1));
        }
        for _ in 0..8 {
            let tried = mixed.next().await;
            match tried.outcome {
                Outcome::Confirmed { .. } => assert_eq!(tried.uid, "taken"),
                Outcome::Failed { reason, .. } => {
                    assert_eq!(tried.uid, "stray", "{reason}");
                    assert!(reason.contains("bind one to the exchange fasti"), "{reason}");
                }
                Outcome::Gone { reason } => panic!("{reason}"),
            }
        }
    }
    assert_eq!(rabbit.read("taken").await.len(), 200);

    // What isn't there: that is said, and once it is there it is found.
    let mut missing = Subscriber::new(&rabbit.url(), &json!({ "exchange": "later" }));
    for problem in [missing.test().await.unwrap_err(), missing.failure(delivery("c", 3)).await] {
        assert!(
            problem.contains("no exchange 'later'") && problem.contains("declare"),
            "{problem}"
        );
    }
    rabbit.declare("later", "late", "#").await;
    missing.confirmed(delivery("c", 3)).await;
    assert_eq!(rabbit.read("late").await.len(), 1);
    let mut missing = Subscriber::new(&rabbit.url(), &json!({ "routing_key": "nowhere" }));
    let problem = missing.failure(delivery("c", 4)).await;
    assert!(problem.contains("no queue nowhere: declare it"), "{problem}");
    assert!(missing.test().await.unwrap_err().contains("no queue 'nowhere'"));

    // A key that is too long for the protocol.
    let problem = mixed.failure(delivery(&"x".repeat(300), 5)).await;
    assert!(problem.contains("longer than AMQP allows"), "{problem}");

    // Who may not come in.
    let url = format!("amqp://guest:wrong@127.0.0.1:{}", rabbit.port);
    let mut intruder = Subscriber::new(&url, &json!({ "routing_key": "inbox" }));
    let problem = intruder.failure(delivery("d", 6)).await;
    assert!(problem.contains("check the password of guest"), "{problem}");
    assert!(!problem.contains("wrong"), "{problem}");
    let nowhere =
        Subscriber::new(&format!("{}/none", rabbit.url()), &json!({ "routing_key": "q" }));
    let problem = nowhere.test().await.unwrap_err();
    assert!(problem.contains("check the vhost"), "{problem}");

    // Where a node may not go.
    let options = json!({ "routing_key": "inbox" });
    let mut outside = Subscriber::within(Reach::Public, &rabbit.url(), &options);
    let problem = outside.failure(delivery("e", 7)).await;
    assert!(problem.contains("127.0.0.1 is a private address"), "{problem}");
}

/// With `FASTI_DELIVERIES` as many as it says instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_loses_nothing() {
    let count = std::env::var("FASTI_DELIVERIES").map_or(400, |count| count.parse().unwrap());
    let mut rabbit = RabbitMq::start().await;
    rabbit.declare("", "inbox", "").await;
    let options = json!({ "routing_key": "inbox" });
    let mut subscriber = Subscriber::new(&rabbit.url(), &options);
    let mut killed = None;
    let mut restarted = false;
    subscriber
        .deliver_all(count, async |confirmed, failed| {
            if confirmed >= count / 4 && killed.is_none() {
                rabbit.kill();
                killed = Some(failed);
            }
            // What was under way is answered, and so is what is tried while nobody is there.
            if killed.is_some_and(|before| failed >= before + 40) && !restarted {
                rabbit.restart().await;
                restarted = true;
            }
        })
        .await;
    assert!(restarted);
    arrived(&rabbit.read("inbox").await, count);
}

#[tokio::test]
async fn nobody_listens() {
    let url = format!("amqp://127.0.0.1:{}", free_port());
    let mut alone = Subscriber::new(&url, &json!({ "exchange": "fasti" }));
    let problem = alone.failure(delivery("a", 1)).await;
    assert!(problem.contains("can not be reached") && problem.contains("refused"), "{problem}");
    assert_eq!(alone.test().await.unwrap_err(), problem);
}

#[test]
fn what_is_wrong_is_said_when_it_is_asked_for() {
    let check = |url: &str, options| refused(Reach::Any, url, &options);
    let url = "amqp://rabbit.example.org";
    assert!(check(url, json!({})).starts_with("exchange: expected an exchange"));
    let options = json!({ "exchange": "x", "routing_key": "{id}" });
    assert!(check(url, options).starts_with("routing_key: expected no other braces"));
    assert!(check(url, json!({ "exchange": "x", "timeout_s": 0 })).starts_with("timeout_s"));
    assert!(check(url, json!({ "exchange": "x", "ca": "none" })).starts_with("ca"));
    assert!(check("amqp://a,b", json!({ "exchange": "x" })).contains("one host"));
    assert!(check("amqp://a?exchange=x", json!({})).contains("goes into the options"));
    let url = "amqps://u:hunter2@rabbit.example.org/office".to_owned();
    let target = Target { url, options: json!({ "exchange": "x" }).to_string() };
    let shown = format!("{} {}", target.shown(), fasti_delivery::shown(&target));
    assert!(shown.contains("\"routing_key\":\"{type}\"") && !shown.contains("hunter2"), "{shown}");
}
