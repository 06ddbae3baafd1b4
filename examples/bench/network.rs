//! Figures of real networks: processes on this machine, linked over loopback.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fasti_core::log::Chunks;
use fasti_store::Store;
use fasti_tests::{Api, Cluster, Fasti, Node};
use serde_json::{Value, json};

const PUBLISHES: u64 = 300;
const BURST: u64 = 10_000;
const MISSED: u64 = 1_000;
/// Publications in one request of a burst.
const BATCH: u64 = 100;

/// p50 and p99 in milliseconds.
pub(crate) fn percentiles(times: &mut [Duration]) -> Value {
    times.sort();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |time| (time.as_secs_f64() * 1e6).round() / 1e3)
    };
    json!({ "p50": at(50), "p99": at(99) })
}

fn cluster(fasti: &Fasti, receivers: usize) -> anyhow::Result<Cluster> {
    let names: Vec<String> = (0..=receivers).map(|at| format!("Office {at}")).collect();
    let cluster = Cluster::of(fasti, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    cluster.wait_until_equal()?;
    Ok(cluster)
}

/// One publication at a time; each counts until the last of the other nodes has told a follower
/// that it is durable there.
pub(crate) fn propagate(fasti: &Fasti, receivers: usize) -> anyhow::Result<Value> {
    let cluster = cluster(fasti, receivers)?;
    let (arrived, arrivals) = mpsc::channel();
    for node in &cluster.nodes[1..] {
        let mut stream = node.api().follow("?entries_only=true")?;
        let arrived = arrived.clone();
        std::thread::spawn(move || {
            while let Ok(entry) = stream.next_entry() {
                if entry["uids"].as_array().is_some_and(|uids| !uids.is_empty()) {
                    let _ = arrived.send(Instant::now());
                }
            }
        });
    }
    let core = cluster.nodes[0].api();
    let before = used(&cluster.nodes);
    let mut answers = Vec::new();
    let mut everywhere = Vec::new();
    for number in 0..PUBLISHES {
        let start = Instant::now();
        core.send("POST", "/v1/publish", &policy(number))?;
        answers.push(start.elapsed());
        let mut last = start;
        for _ in 0..receivers {
            last = last.max(
                arrivals
                    .recv_timeout(Duration::from_secs(30))
                    .context("a change did not arrive")?,
            );
        }
        everywhere.push(last - start);
    }
    Ok(json!({
        "receivers": receivers,
        "answered_ms": percentiles(&mut answers),
        "everywhere_ms": percentiles(&mut everywhere),
        "cpu_seconds_all_nodes": round(used(&cluster.nodes).0 - before.0),
    }))
}

/// Bookings of one's own room, which must be settled in the answer, and of another office's, which count until the
/// office that booked says that they are settled.
pub(crate) fn book(fasti: &Fasti) -> anyhow::Result<Value> {
    let cluster = cluster(fasti, 4)?;
    let [own, other] = [0, 1].map(|at| cluster.nodes[at].api());
    own.send("POST", "/v1/resources", &json!({"name": "Own room"}))?;
    other.send("POST", "/v1/resources", &json!({"name": "Other room"}))?;
    cluster.wait_until_equal()?;
    let mut stream = own.follow("?entries_only=true")?;
    let mut answers = Vec::new();
    let mut settled = Vec::new();
    for (room, is_own) in [("Own room", true), ("Other room", false)] {
        for number in 0..PUBLISHES {
            let event = json!({
                "title": "Round", "start": format!("2030-{:02}-{:02}T{:02}:00:00", number / 280 + 1, number / 10 % 28 + 1, number % 10),
                "duration": "PT1H", "timeZone": "Etc/UTC",
            });
            let start = Instant::now();
            let booked =
                own.send("POST", "/v1/bookings", &json!({"resource": room, "event": event}))?;
            let booked = &booked["bookings"][0];
            if is_own {
                anyhow::ensure!(booked["state"] == "settled", "not settled at once: {booked}");
                answers.push(start.elapsed());
                continue;
            }
            let uid = booked["uid"].as_str().context("no uid")?;
            let state = format!("/v1/bookings?uid={uid}");
            while own.get(&state)?["bookings"][0]["state"] != "settled" {
                stream.next_entry()?;
            }
            settled.push(start.elapsed());
        }
    }
    Ok(json!({
        "offices": cluster.nodes.len(),
        "own_room_settled_in_the_answer_ms": percentiles(&mut answers),
        "other_room_settled_ms": percentiles(&mut settled),
    }))
}

/// Publications as fast as one publisher can hand them in, each its own signed change.
pub(crate) fn burst(fasti: &Fasti, receivers: usize) -> anyhow::Result<Value> {
    let cluster = cluster(fasti, receivers)?;
    let before = used(&cluster.nodes);
    let target = entries(cluster.nodes[0].api())? + BURST;
    let start = Instant::now();
    publish_many(cluster.nodes[0].api(), 0..BURST)?;
    let answered = start.elapsed();
    for node in &cluster.nodes {
        wait_for_entries(node.api(), target)?;
    }
    let took = start.elapsed();
    cluster.wait_until_equal()?;
    let after = used(&cluster.nodes);
    Ok(json!({
        "receivers": receivers,
        "events_per_second": (BURST as f64 / took.as_secs_f64()).round(),
        "answered_per_second": (BURST as f64 / answered.as_secs_f64()).round(),
        "cpu_seconds_all_nodes": round(after.0 - before.0),
        "peak_rss_bytes_largest_node": after.1,
    }))
}

/// A fresh office gets all that is there.
pub(crate) fn join(fasti: &Fasti, changes: u64) -> anyhow::Result<Value> {
    let mut cluster = cluster(fasti, 0)?;
    let founder = cluster.nodes[0].api().clone();
    publish_many(&founder, 0..changes)?;
    let mut node = cluster.admit("Newcomer")?;
    let target = entries(&founder)?;
    let spawned = Instant::now();
    node.start()?;
    let ready = spawned.elapsed();
    wait_for_entries(node.api(), target)?;
    let complete = spawned.elapsed();
    let bytes = bytes_in(node.api())?;
    let usage = node.usage().context("no usage")?;
    cluster.nodes.push(node);
    cluster.wait_until_equal()?;
    Ok(json!({
        "changes": changes,
        "seconds_from_ready": round((complete - ready).as_secs_f64()),
        "seconds_from_start": round(complete.as_secs_f64()),
        "bytes_received": bytes,
        "peak_rss_bytes": usage.1,
        "cpu_seconds": round(usage.0),
    }))
}

/// An office that was away gets what it missed.
pub(crate) fn rejoin(fasti: &Fasti) -> anyhow::Result<Value> {
    let mut cluster = cluster(fasti, 3)?;
    publish_many(cluster.nodes[0].api(), 0..MISSED)?;
    cluster.wait_until_equal()?;
    cluster.nodes[3].stop()?;
    publish_many(cluster.nodes[0].api(), MISSED..2 * MISSED)?;
    let target = entries(cluster.nodes[0].api())?;
    let spawned = Instant::now();
    cluster.nodes[3].start()?;
    let ready = spawned.elapsed();
    wait_for_entries(cluster.nodes[3].api(), target)?;
    let complete = spawned.elapsed();
    let bytes = bytes_in(cluster.nodes[3].api())?;
    cluster.wait_until_equal()?;
    cluster.nodes[0].stop()?;
    let missing = compressed(&cluster.nodes[0], target - MISSED)?;
    Ok(json!({
        "changes": MISSED,
        "seconds_from_ready": round((complete - ready).as_secs_f64()),
        "seconds_from_start": round(complete.as_secs_f64()),
        "bytes_received": bytes,
        "missing_entries_compressed_bytes": missing,
        "ratio": round(bytes as f64 / missing as f64),
    }))
}

/// A backup while somebody publishes, and the node that is made from it.
pub(crate) fn backup(fasti: &Fasti, changes: u64) -> anyhow::Result<Value> {
    let mut cluster = cluster(fasti, 0)?;
    let node = &cluster.nodes[0];
    publish_many(node.api(), 0..changes)?;
    let file = cluster.root().join("backup");
    let path = file.to_str().context("a path that is no text")?;
    let slowest = |while_so: &mut dyn FnMut() -> anyhow::Result<bool>| {
        let mut slowest = Duration::ZERO;
        while while_so()? {
            let start = Instant::now();
            node.api().publish("probe", "2024-04-01", &format!("{start:?}"))?;
            slowest = slowest.max(start.elapsed());
        }
        anyhow::Ok(slowest)
    };
    let mut left = 500;
    let quiet = slowest(&mut || {
        left -= 1;
        Ok(left > 0)
    })?;
    // From here on the peak is that of the backup.
    let pid = node.pid().context("not running")?;
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
    let before = node.usage().context("no usage")?.1;
    let start = Instant::now();
    let mut taking = fasti.command(node.dir(), &["backup", path]).spawn()?;
    let busy = slowest(&mut || Ok(taking.try_wait()?.is_none()))?;
    let taken = start.elapsed();
    anyhow::ensure!(taking.wait()?.success(), "no backup was made");
    let after = node.usage().context("no usage")?.1;
    cluster.nodes[0].stop()?;

    let dir = cluster.root().join("restored");
    let start = Instant::now();
    fasti.call(&dir, &["restore", path])?;
    let restored = start.elapsed();
    let mut node = Node::new(fasti, "Restored", &dir);
    let start = Instant::now();
    node.start()?;
    Ok(json!({
        "changes": changes,
        "seconds": round(taken.as_secs_f64()),
        "bytes": std::fs::metadata(&file)?.len(),
        "rss_bytes_before": before,
        "peak_rss_bytes": after,
        "slowest_publication_ms": round(busy.as_secs_f64() * 1000.0),
        "slowest_publication_ms_without": round(quiet.as_secs_f64() * 1000.0),
        "restore_seconds": round(restored.as_secs_f64()),
        "first_start_seconds": round(start.elapsed().as_secs_f64()),
    }))
}

/// What the entries from an index on come to when compressed by themselves, at the level that the
/// network uses.
fn compressed(node: &Node, from: u64) -> anyhow::Result<usize> {
    let store = Store::open(node.dir())?;
    let mut chunks = Chunks::new();
    let mut bundles = Vec::new();
    for row in store.reader().rows(from)? {
        bundles.extend(chunks.add(row?.1));
    }
    bundles.push(chunks.finish());
    let bytes = postcard::to_stdvec(&bundles)?;
    Ok(zstd::bulk::compress(&bytes, 1)?.len())
}

fn publish_many(api: &Api, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
    let mut next = numbers.start;
    while next < numbers.end {
        let end = (next + BATCH).min(numbers.end);
        let batch: Vec<Value> = (next..end).map(policy).collect();
        let answers = api.send("POST", "/v1/publish", &Value::Array(batch))?;
        let refused =
            answers.as_array().into_iter().flatten().find(|answer| answer["entry"].is_null());
        anyhow::ensure!(refused.is_none(), "refused: {refused:?}");
        next = end;
    }
    Ok(())
}

/// A publication as programs make them: it becomes an event of some 12 fields.
fn policy(number: u64) -> Value {
    json!({"type": "policy_start", "payload": {
        "policy_id": format!("YSP-{number}"), "start_date": "2024-04-01", "end_date": "2024-12-31",
        "title": format!("Youth Sports Funding {number}"), "region": "west", "budget_eur": 250_000 + number
    }})
}

/// The numbers of `/metrics` that begin so, summed up.
fn metric(api: &Api, prefix: &str) -> anyhow::Result<f64> {
    let text = api.text("/metrics")?;
    let lines = text.lines().filter(|line| line.starts_with(prefix));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

fn entries(api: &Api) -> anyhow::Result<u64> {
    Ok(metric(api, "fasti_entries")? as u64)
}

fn bytes_in(api: &Api) -> anyhow::Result<u64> {
    Ok(metric(api, "fasti_bytes_in_total")? as u64)
}

fn wait_for_entries(api: &Api, target: u64) -> anyhow::Result<()> {
    let start = Instant::now();
    while entries(api)? < target {
        anyhow::ensure!(
            start.elapsed() < Duration::from_secs(300),
            "not all entries came within five minutes"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn used(nodes: &[Node]) -> (f64, u64) {
    let usage = nodes.iter().filter_map(Node::usage);
    usage.fold((0.0, 0), |(cpu, peak), (more, other)| (cpu + more, peak.max(other)))
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
