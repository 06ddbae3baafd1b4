//! The acts of the play, in order.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fasti_tests::{Cluster, Fasti, Node, Stream, wait_for};
use serde_json::{Value, json};

use crate::show::{Show, millis, millis_fact};

pub(crate) const UID: &str = "policy-YSP-2024";
const PATH: &str = "/v1/events/policy-YSP-2024";
const BURST: usize = 300;

pub(crate) fn start(show: &mut Show, fasti: &Fasti, names: &[String]) -> anyhow::Result<Cluster> {
    show.act(&format!("The core platform and {} offices start", names.len() - 1));
    let began = Instant::now();
    let mut cluster = Cluster::found(fasti, &names[0])?;
    show.aside(&format!("{} founds the network", names[0]));
    for name in &names[1..] {
        let node = cluster.join(name)?;
        show.aside(&format!(
            "{name} joins with a one-use ticket (process {})",
            node.pid().unwrap_or(0)
        ));
    }
    cluster.wait_until_linked()?;
    cluster.wait_until_equal()?;
    let took = began.elapsed();
    show.verdict(
        true,
        &format!("{} nodes, each linked with all others, after {}", names.len(), millis(took)),
    );
    show.fact("nodes", names.len());
    Ok(cluster)
}

pub(crate) fn publish(show: &mut Show, cluster: &Cluster) -> anyhow::Result<()> {
    show.act("YSP-2024 is published on the core platform: policy_start, 2024-04-01");
    let (core, offices) = cluster.nodes.split_first().context("no nodes")?;
    let streams: Vec<Stream> =
        offices.iter().map(|office| office.api().stream()).collect::<anyhow::Result<_>>()?;
    let began = Instant::now();
    let (answered, arrived) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let waiting: Vec<_> =
            streams.into_iter().map(|stream| scope.spawn(move || arrival(stream, began))).collect();
        core.api().publish("YSP-2024", "2024-04-01", "Youth Sports Funding")?;
        let answered = began.elapsed();
        let arrived: anyhow::Result<Vec<Duration>> = waiting
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a follower panicked")))
            .collect();
        Ok((answered, arrived?))
    })?;
    show.aside(&format!(
        "answered after {}: signed, and safe on the core platform's disk",
        millis(answered)
    ));
    let mut rows = vec![["office", "its calendar shows", "on", "after"].map(String::from).to_vec()];
    for (office, arrived) in offices.iter().zip(&arrived) {
        let event = office.api().event(UID)?.context("an office without the policy")?;
        let start = text(&event, "start");
        rows.push(vec![
            office.name.clone(),
            text(&event, "title"),
            start[..10.min(start.len())].into(),
            millis(*arrived),
        ]);
    }
    show.table(&rows);
    show.aside(
        "the time from the request to the change, checked and stored, on the office's event stream",
    );
    show.fact("publish_ms", arrived.iter().map(|time| millis_fact(*time)).collect::<Vec<_>>());
    Ok(())
}

/// When the policy comes over an event stream.
fn arrival(mut stream: Stream, began: Instant) -> anyhow::Result<Duration> {
    loop {
        let message = stream.next_message()?;
        if message.kind == "event" && message.data["uid"] == UID {
            return Ok(began.elapsed());
        }
    }
}

/// The last two offices are on the other side.
fn sides(cluster: &Cluster) -> (Vec<usize>, Vec<usize>) {
    let all: Vec<usize> = (0..cluster.nodes.len()).collect();
    let (near, far) = all.split_at(all.len() - 2);
    (near.to_vec(), far.to_vec())
}

pub(crate) fn divide_and_edit(show: &mut Show, cluster: &Cluster) -> anyhow::Result<()> {
    let (near, far) = sides(cluster);
    let (here, there) = (&cluster.nodes[near[near.len() - 1]], &cluster.nodes[far[0]]);
    show.act(&format!(
        "{} and {} are cut off, and both sides edit the policy",
        there.name, cluster.nodes[far[1]].name
    ));
    cluster.divide(&[&near, &far])?;
    wait_for("the links to be cut", || {
        for at in &far {
            if linked(&cluster.nodes[*at])? != 1 {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    edit(
        show,
        here,
        &json!({"title": "Youth Sports Grants", "description": "Funds go to clubs with youth teams."}),
    )?;
    edit(
        show,
        there,
        &json!({"title": "Funding for Young Athletes", "fasti:policy": {"payload": {"budget": 250_000}}}),
    )?;
    for (side, of) in [("on this side", &near), ("on the other", &far)] {
        let node = &cluster.nodes[of[of.len() - 1]];
        wait_for("an edit to be on its side", || {
            Ok(node.api().event(UID)?.is_some_and(|event| event["title"] != "Youth Sports Funding"))
        })?;
        let event = node.api().event(UID)?.context("no policy")?;
        show.say(&format!("{side}, {} now shows {:?}", node.name, text(&event, "title")));
    }
    Ok(())
}

pub(crate) fn edit(show: &Show, node: &Node, patch: &Value) -> anyhow::Result<()> {
    node.api().send("PATCH", PATH, patch)?;
    show.aside(&format!("{} edits {}", node.name, patch));
    Ok(())
}

fn linked(node: &Node) -> anyhow::Result<usize> {
    let status = node.api().get("/v1/status")?;
    Ok(status["peers"].as_array().map_or(0, Vec::len))
}

pub(crate) fn heal(show: &mut Show, cluster: &Cluster) -> anyhow::Result<()> {
    show.act("The links are healed");
    let all: Vec<usize> = (0..cluster.nodes.len()).collect();
    let began = Instant::now();
    cluster.divide(&[&all])?;
    cluster.wait_until_linked()?;
    let relinked = began.elapsed();
    cluster.wait_until_equal()?;
    let equal = began.elapsed();
    show.aside(&format!(
        "all links are up after {}, all frontiers are equal after {}",
        millis(relinked),
        millis(equal)
    ));
    show.fact("heal_ms", millis_fact(equal));
    let node = cluster.nodes.last().context("no nodes")?;
    let event = node.api().event(UID)?.context("no policy")?;
    show.say("Edits of different fields are merged; every office shows");
    show.say(&format!("  description  {:?}", text(&event, "description")));
    show.say(&format!("  budget       {}", event["fasti:policy"]["payload"]["budget"]));
    show.say(&format!("  title        {:?}", text(&event, "title")));
    let conflicts = node.api().get("/v1/conflicts")?;
    let list = conflicts["conflicts"].as_array().cloned().unwrap_or_default();
    show.say("The title was edited on both sides. One wins everywhere, and a conflict stays until someone decides:");
    let mut rows = vec![["conflict", "field", "value", "by", ""].map(String::from).to_vec()];
    for conflict in &list {
        for (at, value) in conflict["values"].as_array().into_iter().flatten().enumerate() {
            let shown = if at == 0 { "shown" } else { "" };
            rows.push(vec![
                text(conflict, "id"),
                text(conflict, "path"),
                value["value"].to_string(),
                text(value, "name"),
                shown.into(),
            ]);
        }
    }
    show.table(&rows);
    for other in &cluster.nodes {
        anyhow::ensure!(
            other.api().get("/v1/conflicts")? == conflicts,
            "{} lists other conflicts",
            other.name
        );
    }
    show.verdict(true, "the same list on every node");
    show.fact("conflicts", list.len());
    Ok(())
}

pub(crate) fn kill_in_a_burst(show: &mut Show, cluster: &mut Cluster) -> anyhow::Result<()> {
    let last = cluster.nodes.len() - 1;
    let victim_name = cluster.nodes[last].name.clone();
    show.act(&format!("{victim_name} is killed (SIGKILL) in the middle of a burst"));
    let core = cluster.nodes[0].api().clone();
    let victim = cluster.nodes[last].api().clone();
    let answered = AtomicUsize::new(0);
    let from_core = std::thread::scope(|scope| -> anyhow::Result<_> {
        let publishing = scope.spawn(|| {
            (0..BURST)
                .filter(|n| {
                    core.publish(&format!("BURST-{n}"), "2024-06-01", &format!("Burst {n}")).is_ok()
                })
                .count()
        });
        // The victim publishes as well: what it answered must survive it.
        scope.spawn(|| {
            let publish =
                |n| victim.publish(&format!("LAST-WORDS-{n}"), "2024-07-01", "Last words");
            while publish(answered.load(Relaxed)).is_ok() {
                answered.fetch_add(1, Relaxed);
            }
        });
        wait_for("the burst to be under way", || Ok(answered.load(Relaxed) >= BURST / 10))?;
        cluster.nodes[last].kill()?;
        Ok(publishing.join().unwrap_or(0))
    })?;
    let from_victim = answered.into_inner();
    show.aside(&format!("the core platform answered {from_core} of {BURST} publications, {victim_name} {from_victim} before it died"));
    let began = Instant::now();
    cluster.nodes[last].start()?;
    let ready = began.elapsed();
    cluster.wait_until_linked()?;
    cluster.wait_until_equal()?;
    let equal = began.elapsed();
    show.aside(&format!(
        "restarted: ready after {}, level with the others after {}",
        millis(ready),
        millis(equal)
    ));
    let mut lost = BURST - from_core;
    for n in 0..from_victim {
        lost +=
            usize::from(cluster.nodes[0].api().event(&format!("policy-LAST-WORDS-{n}"))?.is_none());
    }
    show.verdict(lost == 0, &format!("{lost} answered publications were lost"));
    anyhow::ensure!(lost == 0, "answered publications were lost");
    show.fact("restart_ms", millis_fact(equal));
    show.fact("answered", from_core + from_victim);
    show.fact("lost", lost);
    Ok(())
}

pub(crate) fn compare(show: &mut Show, cluster: &Cluster) -> anyhow::Result<bool> {
    show.act("What every node holds in the end");
    // Acknowledgements follow the entries by a tenth of a second.
    let known = wait_for("everyone to know that everyone has everything", || {
        for node in &cluster.nodes {
            let status = node.api().get("/v1/status")?;
            let members = status["members"].as_array().context("a status without members")?;
            if !members.iter().all(|member| member["acknowledged"] == true) {
                return Ok(false);
            }
        }
        Ok(true)
    });
    let mut rows = vec![
        ["office", "frontier", "entries", "events", "conflicts", "acknowledged by"]
            .map(String::from)
            .to_vec(),
    ];
    let mut frontiers = Vec::new();
    for node in &cluster.nodes {
        let status = node.api().get("/v1/status")?;
        let members = status["members"].as_array().context("a status without members")?;
        let acknowledged = members.iter().filter(|member| member["acknowledged"] == true).count();
        let frontier = text(&status, "frontier");
        rows.push(vec![
            node.name.clone(),
            frontier.chars().take(16).collect(),
            status["entries"].to_string(),
            status["events"].to_string(),
            status["conflicts"].to_string(),
            format!("{acknowledged} of {}", members.len()),
        ]);
        frontiers.push(frontier);
    }
    show.table(&rows);
    let equal = frontiers.windows(2).all(|pair| pair[0] == pair[1]);
    show.verdict(equal, if equal { "all frontiers are equal" } else { "the frontiers differ" });
    if let Err(error) = &known {
        show.verdict(false, &format!("{error:#}"));
    }
    show.fact("frontiers", frontiers);
    show.fact("equal", equal);
    Ok(equal && known.is_ok())
}

pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}
