//! Servers that are not ours, started on free ports of loopback with a folder of their own, and ended with the test.

#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod switch;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fasti_core::ids::{NetworkId, OfficeId};
use fasti_core::outbox::{
    Attempt, Delivery, DeliveryState, Outcome, Secret, Subscription, SubscriptionId, Target, Tried,
};
use fasti_delivery::{Deliverer, Reach, Report};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Before a wait is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A port that nobody listens at.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback is there");
    listener.local_addr().expect("it is bound").port()
}

/// A program that was installed.
pub(crate) fn program(path: &str) -> PathBuf {
    let found = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|all| std::env::split_paths(&all).collect::<Vec<_>>())
        .chain([PathBuf::from("/")])
        .map(|folder| folder.join(path.trim_start_matches('/')))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("NOT TESTED: {path} is missing; .ci/test installs it: run that"))
}

/// A running program, killed at the end of the test at the latest.
pub(crate) struct Process(Child);

impl Process {
    /// What it says goes to a file, which is shown where waiting for it fails.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log is written");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log);
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// As a crash does, without a chance to tidy up.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks again until it is so.
pub(crate) async fn wait_for(what: &str, log: &Path, is_so: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        let said = || fs::read_to_string(log).unwrap_or_default();
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}:\n{}", said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Calls a function of `peers.py`; gives the lines of JSON that it wrote.
pub(crate) async fn peer(arguments: &[&str]) -> Vec<Value> {
    let (python, script) = (python().await, folder().join("peers.py"));
    let mut command = Command::new(python.join("bin/python"));
    command.arg(script).args(arguments).stderr(Stdio::inherit());
    let shown = format!("{arguments:?}");
    let output =
        blocking(move || command.output()).await.expect("the Python that was installed starts");
    assert!(output.status.success(), "{shown} failed: see above");
    let lines = String::from_utf8(output.stdout).expect("it answers in UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("it answers in JSON")).collect()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it does not panic")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common")
}

/// A Python with the packages of requirements.txt.
pub(crate) async fn python() -> PathBuf {
    blocking(installed).await
}

fn installed() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("delivery-peers");
    fasti_python::environment(&home, &folder().join("requirements.txt"))
}

/// A subscription that wants all.
pub(crate) fn subscription(url: &str, options: &Value) -> Arc<Subscription> {
    Arc::new(Subscription {
        id: SubscriptionId(7),
        name: "A system".into(),
        target: Target { url: url.to_owned(), options: options.to_string() },
        filter: Default::default(),
        secrets: vec![Secret(vec![1; 32])],
        rotation_ends: 0,
        created: 0,
        since: 0,
        backlog: None,
        pause: None,
    })
}

/// A system that is delivered to.
pub(crate) struct Subscriber {
    pub(crate) subscription: Arc<Subscription>,
    deliverer: Deliverer,
    results: mpsc::UnboundedReceiver<Report>,
}

impl Subscriber {
    pub(crate) fn new(url: &str, options: &Value) -> Self {
        Self::within(Reach::Any, url, options)
    }

    pub(crate) fn within(reach: Reach, url: &str, options: &Value) -> Self {
        let subscription = subscription(url, options);
        fasti_delivery::check(&subscription.target, reach)
            .unwrap_or_else(|error| panic!("{error}"));
        let (deliverer, results) = Deliverer::new(reach, Arc::new(()));
        Self { subscription, deliverer, results }
    }

    pub(crate) async fn test(&self) -> Result<String, String> {
        self.deliverer.test(&self.subscription).await
    }

    pub(crate) fn send(&self, delivery: Delivery) {
        let subscription = Arc::clone(&self.subscription);
        self.deliverer.deliver(vec![Attempt {
            number: 1,
            subscription,
            delivery,
            heads: Vec::new(),
        }]);
    }

    pub(crate) async fn next(&mut self) -> Tried {
        let next = tokio::time::timeout(PATIENCE, self.results.recv()).await;
        match next.expect("an attempt ends").expect("the deliverer is there") {
            Report::Tried(tried) => tried,
            read @ Report::Read(..) => panic!("nothing is to be read: {read:?}"),
        }
    }

    /// One attempt.
    pub(crate) async fn deliver(&mut self, delivery: Delivery) -> Outcome {
        self.send(delivery);
        self.next().await.outcome
    }

    pub(crate) async fn confirmed(&mut self, delivery: Delivery) {
        let outcome = self.deliver(delivery).await;
        assert!(matches!(outcome, Outcome::Confirmed { .. }), "{outcome:?}");
    }

    /// Why it failed.
    pub(crate) async fn failure(&mut self, delivery: Delivery) -> String {
        match self.deliver(delivery).await {
            Outcome::Failed { reason, .. } => reason,
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    /// Delivers so many events, some at once, each until it is confirmed; tells `during` how many were, and how often
    /// it failed.
    pub(crate) async fn deliver_all(
        &mut self,
        count: usize,
        mut during: impl AsyncFnMut(usize, usize),
    ) {
        const AT_ONCE: usize = 16;
        let mut waiting: Vec<usize> = (0..count).rev().collect();
        let (mut confirmed, mut failed, mut under_way) = (0, 0, 0);
        while confirmed < count {
            while under_way < AT_ONCE
                && let Some(number) = waiting.pop()
            {
                // Of all events each state has a version of its own.
                self.send(delivery(&format!("event-{number}"), number as u64 + 1));
                under_way += 1;
            }
            let tried = self.next().await;
            under_way -= 1;
            match tried.outcome {
                Outcome::Confirmed { .. } => confirmed += 1,
                _ => {
                    failed += 1;
                    let number = tried.uid.trim_start_matches("event-").parse();
                    waiting.insert(0, number.expect("one of ours"));
                    // As the core does, which would wait for longer.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            during(confirmed, failed).await;
        }
    }
}

/// A state of an event.
pub(crate) fn delivery(uid: &str, version: u64) -> Delivery {
    let event = json!({
        "@type": "Event",
        "uid": uid,
        "title": format!("Version {version}"),
        "start": "2026-12-01T09:00:00",
        "timeZone": "Europe/Berlin",
        "duration": "PT1H",
        "fasti:calendar": "policies",
    });
    Delivery {
        source: (NetworkId([1; 32]), OfficeId([2; 32])),
        uid: uid.to_owned(),
        version,
        kind: "event_update".into(),
        state: DeliveryState::Settled,
        made: 1_780_000_000_000,
        attempt: 1,
        event: event.as_object().expect("an object").clone(),
        policy: None,
        approval: None,
    }
}

/// A certificate for localhost with its key, in files, and the authority that it is believed for.
pub(crate) struct Certificate {
    pub(crate) ca: String,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    pub(crate) fn new(home: &Path) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Its own name: a certificate by one of the same name looks self-signed to some.
        authority.distinguished_name.push(DnType::CommonName, "An authority");
        let authority_key = KeyPair::generate().expect("a key");
        let ca = authority.self_signed(&authority_key).expect("a certificate").pem();
        let issuer = Issuer::new(authority, authority_key);
        let own = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".into()]).expect("a name");
        let signed = params.signed_by(&own, &issuer).expect("a certificate");
        let (certificate, key) = (home.join("tls.pem"), home.join("tls.key"));
        fs::write(&certificate, signed.pem()).expect("it can be written");
        fs::write(&key, own.serialize_pem()).expect("it can be written");
        Self { ca, certificate, key }
    }

    pub(crate) fn server(&self) -> ServerConfig {
        let chain = CertificateDer::pem_file_iter(&self.certificate).expect("it was written");
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider);
        let server = server.with_safe_default_protocol_versions().expect("they are there");
        server.with_no_client_auth().with_single_cert(chain, key).expect("they belong together")
    }
}

/// How often each of so many events arrived; all of them did.
pub(crate) fn arrived(messages: &[Value], count: usize) -> usize {
    let mut times = BTreeMap::<&str, usize>::new();
    for message in messages {
        let uid = message["event"]["subject"].as_str().expect("an event's uid");
        *times.entry(uid).or_default() += 1;
    }
    let lost: Vec<usize> =
        (0..count).filter(|it| !times.contains_key(&*format!("event-{it}"))).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    times.values().copied().max().unwrap_or_default()
}

/// What is wrong with a target.
pub(crate) fn refused(reach: Reach, url: &str, options: &Value) -> String {
    let target = Target { url: url.to_owned(), options: options.to_string() };
    fasti_delivery::check(&target, reach).expect_err("it is refused").to_string()
}
