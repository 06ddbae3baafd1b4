//! What the threads and tasks of a node know of each other: addresses, readiness, numbers for
//! operators, and the log for followers.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fasti_core::OfficeId;
use fasti_core::command::ReportView;
use fasti_core::outbox::{Agreed, Confirmed, Delivery, Subscription, SubscriptionId, Target};
use fasti_core::proof::Evidence;
use fasti_core::step::Appended;
use fasti_delivery::Deliverer;
use fasti_doors::{Metric, MetricKind, Tested};
use fasti_net as net;
use fasti_store::Store;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

/// The setting that holds the people with an app password.
const SETTING_USERS: &str = "users";
const SETTING_FEEDS: &str = "feeds";

pub(crate) struct Shared {
    office: OfficeId,
    store: Arc<Store>,
    net: net::Handle,
    deliverer: Deliverer,
    addresses: watch::Sender<Vec<String>>,
    /// Of the offices linked last time, those that a relay leads to.
    relayed: Mutex<BTreeSet<OfficeId>>,
    ready: AtomicBool,
    /// The engine's next step is to panic.
    panic_once: AtomicBool,
    /// Why the disk can't be written, if it can't.
    trouble: Mutex<Option<String>>,
    entries: AtomicU64,
    commits: AtomicU64,
    commit_micros: AtomicU64,
    failures: AtomicU64,
    /// Locked while a backup is taken.
    backups: Arc<tokio::sync::Mutex<()>>,
    /// Locked while a report is made of the store's entries: it needs as much memory as the core.
    reports: Arc<tokio::sync::Mutex<()>>,
}

impl Shared {
    /// Panics if that was asked for.
    pub(crate) fn panic_if_asked(&self) {
        assert!(!self.panic_once.swap(false, Relaxed), "a panic, as asked");
    }

    pub(crate) fn new(
        office: OfficeId,
        store: Arc<Store>,
        net: net::Handle,
        deliverer: Deliverer,
        entries: u64,
    ) -> Self {
        Self {
            office,
            store,
            net,
            deliverer,
            addresses: watch::Sender::default(),
            relayed: Mutex::default(),
            ready: AtomicBool::new(false),
            panic_once: AtomicBool::new(false),
            trouble: Mutex::new(None),
            entries: AtomicU64::new(entries),
            commits: AtomicU64::new(0),
            commit_micros: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            backups: Arc::default(),
            reports: Arc::default(),
        }
    }

    pub(crate) fn listening(&self, addresses: &[String]) {
        self.addresses.send_replace(addresses.to_vec());
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.addresses.borrow().clone()
    }

    pub(crate) fn linked(&self, peer: OfficeId, relayed: bool) {
        let mut known = self.relayed.lock().unwrap_or_else(PoisonError::into_inner);
        if relayed {
            known.insert(peer);
        } else {
            known.remove(&peer);
        }
    }

    pub(crate) async fn wait_until_listening(&self) {
        let _ = self.addresses.subscribe().wait_for(|addresses| !addresses.is_empty()).await;
    }

    pub(crate) fn ready(&self) {
        self.ready.store(true, Relaxed);
    }

    pub(crate) fn committed(&self, took: Duration) {
        self.commits.fetch_add(1, Relaxed);
        self.commit_micros.fetch_add(took.as_micros() as u64, Relaxed);
    }

    pub(crate) fn failed(&self, why: &str) {
        self.failures.fetch_add(1, Relaxed);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// The disk can be used again.
    pub(crate) fn recovered(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn appended(&self, appended: &[Appended]) {
        if let Some(last) = appended.last() {
            self.entries.store(last.index + 1, Relaxed);
        }
    }
}

/// What was agreed with systems, in the store.
pub(crate) struct Agreements(pub(crate) Arc<Store>);

impl fasti_delivery::Memory for Agreements {
    fn agreed(&self, subscription: SubscriptionId, uid: &str) -> Result<Option<Agreed>, String> {
        self.0.reader().agreed(subscription, uid).map_err(|error| error.to_string())
    }

    fn all_agreed(
        &self,
        subscription: SubscriptionId,
        each: &mut dyn FnMut(&str, Agreed),
    ) -> Result<(), String> {
        self.0.reader().all_agreed(subscription, each).map_err(|error| error.to_string())
    }
}

impl fasti_doors::Node for Shared {
    fn target_fault(&self, target: &Target) -> Option<(String, String)> {
        let fault = fasti_delivery::check(target, self.deliverer.reach()).err();
        fault.map(|it| (it.field, it.problem))
    }

    fn target_shown(&self, target: &Target) -> Value {
        fasti_delivery::shown(target)
    }

    fn delivery_shown(&self, target: &Target, delivery: &Delivery) -> (&'static str, String) {
        fasti_delivery::body(target, delivery)
    }

    fn target_problem(&self, subscription: SubscriptionId) -> Option<String> {
        self.deliverer.problem(subscription)
    }

    fn target_tested(&self, subscription: Arc<Subscription>) -> Tested {
        let deliverer = self.deliverer.clone();
        Box::pin(async move { deliverer.test(&subscription).await })
    }

    fn confirmed(
        &self,
        subscription: SubscriptionId,
        uid: Option<&str>,
        after: &str,
        limit: usize,
    ) -> io::Result<Vec<(String, Confirmed)>> {
        let reader = self.store.reader();
        let found = match uid {
            Some(uid) => {
                let row = reader.confirmed(subscription, uid);
                row.map(|it| it.into_iter().map(|row| (uid.to_owned(), row)).collect())
            }
            None => reader
                .confirmed_after(subscription, after, limit)
                .map(|rows| rows.into_iter().map(|(_, uid, row)| (uid, row)).collect()),
        };
        found.map_err(io::Error::other)
    }

    fn office(&self) -> OfficeId {
        self.office
    }

    fn addresses(&self) -> Vec<String> {
        self.addresses()
    }

    fn relayed(&self) -> BTreeSet<OfficeId> {
        self.relayed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn unready(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        trouble.or_else(|| (!self.ready.load(Relaxed)).then(|| "the node is starting".into()))
    }

    fn metrics(&self) -> Vec<Metric> {
        let counters = self.net.counters();
        let lanes = [("push", counters.push), ("sync", counters.sync)];
        let mut metrics = vec![
            gauge("fasti_entries", "Entries in the log.", self.entries.load(Relaxed) as f64),
            counter("fasti_commits_total", "Transactions.", self.commits.load(Relaxed) as f64),
            counter(
                "fasti_commit_seconds_total",
                "Time spent in transactions.",
                self.commit_micros.load(Relaxed) as f64 / 1e6,
            ),
            counter(
                "fasti_commit_failures_total",
                "Transactions that the disk refused.",
                self.failures.load(Relaxed) as f64,
            ),
            gauge("fasti_links", "Offices linked now.", counters.links as f64),
            counter("fasti_dials_total", "Dials begun.", counters.dials as f64),
            counter("fasti_dial_failures_total", "Dials failed.", counters.dial_failures as f64),
            counter("fasti_refused_total", "Connections refused.", counters.refused as f64),
            counter(
                "fasti_bad_frames_total",
                "Frames that broke the rules.",
                counters.bad_frames as f64,
            ),
            counter(
                "fasti_dropped_pushes_total",
                "Pushes not sent, to be made up for by anti-entropy.",
                counters.dropped_pushes as f64,
            ),
        ];
        for (lane, numbers) in lanes {
            let labelled = |name, help, value: u64| Metric {
                labels: vec![("lane", lane.to_owned())],
                ..counter(name, help, value as f64)
            };
            metrics.push(labelled("fasti_frames_out_total", "Frames sent.", numbers.frames_out));
            metrics.push(labelled("fasti_frames_in_total", "Frames received.", numbers.frames_in));
            metrics.push(labelled(
                "fasti_bytes_out_total",
                "Bytes of frames sent.",
                numbers.bytes_out,
            ));
            metrics.push(labelled(
                "fasti_bytes_in_total",
                "Bytes of frames received.",
                numbers.bytes_in,
            ));
        }
        metrics
    }

    fn cut(&self, offices: BTreeSet<OfficeId>) -> bool {
        let allowed = std::env::var_os("FASTI_FAULTS").is_some();
        if allowed {
            tracing::warn!(?offices, "cutting links, as asked");
            self.net.cut(offices);
        }
        allowed
    }

    fn panic_once(&self) -> bool {
        let allowed = std::env::var_os("FASTI_FAULTS").is_some();
        self.panic_once.store(allowed, Relaxed);
        allowed
    }

    fn log_end(&self) -> u64 {
        self.entries.load(Relaxed)
    }

    fn users(&self) -> io::Result<Option<Vec<u8>>> {
        self.store.reader().setting(SETTING_USERS).map_err(io::Error::other)
    }

    fn keep_users(&self, users: &[u8]) -> io::Result<()> {
        self.store.set(SETTING_USERS, users).map_err(io::Error::other)
    }

    fn feeds(&self) -> io::Result<Option<Vec<u8>>> {
        self.store.reader().setting(SETTING_FEEDS).map_err(io::Error::other)
    }

    fn keep_feeds(&self, feeds: &[u8]) -> io::Result<()> {
        self.store.set(SETTING_FEEDS, feeds).map_err(io::Error::other)
    }

    fn history(&self, from: u64, limit: usize) -> io::Result<Vec<Appended>> {
        let rows = self.store.reader().rows(from).map_err(io::Error::other)?;
        rows.take(limit)
            .map(|item| {
                let (index, row) = item.map_err(io::Error::other)?;
                Ok(Appended::of(index, &row))
            })
            .collect()
    }

    fn back_up(&self) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, String> {
        let Ok(turn) = Arc::clone(&self.backups).try_lock_owned() else {
            return Err("another backup is being taken: try again when it is done".into());
        };
        Ok(super::backups::stream(self.store.reader(), turn))
    }

    fn report(&self, evidence: &Evidence) -> io::Result<ReportView> {
        let _turn = self.reports.blocking_lock();
        let made = self.store.reader().bundle(evidence, io::sink()).map_err(io::Error::other)?;
        Ok(made.report)
    }

    fn bundle(
        &self,
        evidence: Box<Evidence>,
    ) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, String> {
        let Ok(turn) = Arc::clone(&self.reports).try_lock_owned() else {
            return Err("another bundle is being made: try again when it is done".into());
        };
        let reader = self.store.reader();
        Ok(super::pieces::stream("a bundle", turn, move |sink| {
            let made = reader.bundle(&evidence, sink)?;
            tracing::info!(entries = made.entries, "gave a bundle");
            Ok(())
        }))
    }
}

fn counter(name: &'static str, help: &'static str, value: f64) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, labels: Vec::new(), value }
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Metric {
    Metric { kind: MetricKind::Gauge, ..counter(name, help, value) }
}
