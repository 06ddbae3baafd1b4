//! Deliveries: how many a second to one system, and how soon a publication is confirmed by the systems of many offices.

use std::time::{Duration, Instant};

use anyhow::bail;
use fasti_tests::{Cluster, Fasti, Node, System, wait_for};
use serde_json::{Value, json};

use crate::network::percentiles;

/// Events of which each is delivered once.
const EVENTS: usize = 20_000;
const BATCH: usize = 500;
const OFFICES: usize = 10;
const PUBLICATIONS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(300);

fn subscribe(fasti: &Fasti, node: &Node, system: &System) -> anyhow::Result<()> {
    let args = ["subscribe", "Schedule", &system.url, "--secret", system.secret()];
    fasti.call(node.dir(), &args).map(drop)
}

/// One system that is fast, and owed much.
pub(crate) fn throughput(fasti: &Fasti) -> anyhow::Result<Value> {
    let cluster = Cluster::found(fasti, "Core")?;
    let node = &cluster.nodes[0];
    let system = System::start(0)?;
    subscribe(fasti, node, &system)?;
    fasti.call(node.dir(), &["subscriptions", "pause", "Schedule"])?;
    for first in (0..EVENTS).step_by(BATCH) {
        let batch: Vec<Value> = (first..first + BATCH)
            .map(|at| {
                json!({"specversion": "1.0", "id": at.to_string(), "source": "/bench", "type": "policy_start",
                    "data": {"policy_id": format!("P{at}"), "start_date": "2024-04-01", "title": format!("Policy {at}")}})
            })
            .collect();
        node.api().publish_batch(&batch)?;
    }
    let before = node.usage();
    let began = Instant::now();
    fasti.call(node.dir(), &["subscriptions", "resume", "Schedule"])?;
    while system.count().0 < EVENTS {
        if began.elapsed() > PATIENCE {
            bail!("{} of {EVENTS} came", system.count().0);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let seconds = began.elapsed().as_secs_f64();
    let node_seconds = node.usage().zip(before).map(|(after, before)| after.0 - before.0);
    let confirmed = || {
        let status = node.api().get("/v1/status")?;
        Ok(status["deliveries"]["pending"] == json!(0))
    };
    wait_for("all to be confirmed", confirmed)?;
    let taken = system.taken();
    Ok(json!({
        "deliveries": EVENTS,
        "a_second": (EVENTS as f64 / seconds).round(),
        "until_confirmed_a_second": (EVENTS as f64 / began.elapsed().as_secs_f64()).round(),
        "processor_seconds_of_the_node": node_seconds,
        "repeats": taken.repeats,
        "stale": taken.stale,
    }))
}

/// A network of which each office has a system.
pub(crate) fn latency(fasti: &Fasti) -> anyhow::Result<Value> {
    let mut names = vec!["Core".to_owned()];
    names.extend((1..=OFFICES).map(|at| format!("Office {at}")));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cluster = Cluster::of(fasti, &names)?;
    let systems: Vec<System> = (0..OFFICES).map(|_| System::start(0)).collect::<Result<_, _>>()?;
    for (node, system) in cluster.nodes[1..].iter().zip(&systems) {
        subscribe(fasti, node, system)?;
    }
    let (mut published, mut applied) = (Vec::new(), Vec::new());
    for at in 0..PUBLICATIONS {
        let uid = format!("policy-P{at}");
        let began = Instant::now();
        cluster.nodes[0].api().publish(&format!("P{at}"), "2024-04-01", "Policy")?;
        published.push(began.elapsed());
        while !systems.iter().all(|system| system.has(&uid)) {
            if began.elapsed() > PATIENCE {
                bail!("publication {at} did not come to all systems");
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        applied.push(began.elapsed());
        // What follows from the last one (acknowledgements, and that it is settled) is over.
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(json!({
        "offices": OFFICES,
        "published_ms": percentiles(&mut published),
        "applied_by_all_systems_ms": percentiles(&mut applied),
    }))
}
