//! For those who operate the node: is it alive, is it ready, and its numbers for Prometheus.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use fasti_core::command::{StatusView, SubscriptionView};
use fasti_core::outbox::SystemState;
use fasti_core::{Answer, Command};
use jiff::Timestamp;

use crate::problem::Problem;
use crate::routes::Door;
use crate::{Metric, MetricKind, Node};

/// The process answers: that is all.
pub(crate) async fn healthy() -> &'static str {
    "ok\n"
}

/// Whether to send work here.
pub(crate) async fn ready(State(door): State<Door>) -> Result<&'static str, Problem> {
    match door.handle.node().unready() {
        None => Ok("ready\n"),
        Some(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", why)),
    }
}

pub(crate) async fn metrics(State(door): State<Door>) -> impl IntoResponse {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    let mut metrics = door.handle.node().metrics();
    // What the core would have to say is missing while it can't be asked: the rest is needed all the more then.
    if let Ok(Answer::Status(status)) = door.handle.ask(Command::Status).await {
        metrics.extend(of_network(&status));
    }
    if let Ok(Answer::Subscriptions(all)) = door.handle.ask(Command::Subscriptions).await {
        metrics.extend(of_systems(&all, door.handle.node()));
    }
    (content_type, exposition(&metrics))
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Metric {
    Metric { name, help, kind: MetricKind::Gauge, labels: Vec::new(), value }
}

fn of_network(status: &StatusView) -> Vec<Metric> {
    let mut metrics = vec![
        gauge("fasti_events", "Events in the calendar.", status.events as f64),
        gauge("fasti_conflicts", "What needs a person.", status.conflicts as f64),
        gauge("fasti_forks", "Logs with two histories.", status.forks as f64),
        gauge(
            "fasti_deferred_entries",
            "Entries that a later version of the program wrote: upgrade this one.",
            status.deferred as f64,
        ),
    ];
    let behind = "Entries held here that a member has not acknowledged.";
    metrics.extend(status.members.iter().filter(|it| !it.this).map(|it| Metric {
        labels: vec![("office", it.name.clone())],
        ..gauge("fasti_member_behind_entries", behind, it.behind as f64)
    }));
    let connected = "Whether there is a link with a member.";
    metrics.extend(status.members.iter().filter(|it| !it.this).map(|it| Metric {
        labels: vec![("office", it.name.clone())],
        ..gauge("fasti_member_connected", connected, f64::from(u8::from(it.connected)))
    }));
    metrics
}

fn of_systems(all: &[SubscriptionView], node: &dyn Node) -> Vec<Metric> {
    let now = Timestamp::now().as_millisecond();
    let systems: Vec<_> = all.iter().map(|it| (&it.name, numbers(it, node, now))).collect();
    let mut metrics = Vec::new();
    for at in 0..NUMBERS {
        metrics.extend(systems.iter().map(|(system, numbers)| {
            let (name, help, kind, value) = numbers[at];
            Metric { name, help, kind, labels: vec![("system", (*system).clone())], value }
        }));
    }
    metrics
}

const NUMBERS: usize = 7;

fn numbers(
    it: &SubscriptionView,
    node: &dyn Node,
    now: i64,
) -> [(&'static str, &'static str, MetricKind, f64); NUMBERS] {
    let oldest = it.unconfirmed_since.map_or(0, |since| (now - since).max(0)) as f64 / 1000.0;
    let active = f64::from(u8::from(it.state == SystemState::Active));
    let readable = f64::from(u8::from(node.target_problem(it.id).is_none()));
    let (gauge, counter) = (MetricKind::Gauge, MetricKind::Counter);
    [
        ("fasti_deliveries_pending", "Deliveries that a system is owed.", gauge, it.pending as f64),
        (
            "fasti_deliveries_dead",
            "Deliveries that were given up: see fasti replay.",
            gauge,
            it.dead as f64,
        ),
        (
            "fasti_deliveries_oldest_seconds",
            "For how long a system has not confirmed the oldest one that it is owed.",
            gauge,
            oldest,
        ),
        (
            "fasti_system_active",
            "0 where a system fails at everything, is paused, or gone.",
            gauge,
            active,
        ),
        (
            "fasti_system_readable",
            "0 where what was changed at a system can't be read, of those that are read as well.",
            gauge,
            readable,
        ),
        (
            "fasti_deliveries_confirmed_total",
            "Attempts that were confirmed.",
            counter,
            it.confirmed as f64,
        ),
        ("fasti_deliveries_failed_total", "Attempts that failed.", counter, it.failed as f64),
    ]
}

/// Prometheus' text format, version 0.0.4.
fn exposition(metrics: &[Metric]) -> String {
    let mut text = String::new();
    let mut name = "";
    for metric in metrics {
        if metric.name != name {
            name = metric.name;
            let kind = match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
            };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", escaped(metric.help));
        }
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value).replace('"', "\\\"")))
            .collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "{name}{labels} {}", metric.value);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_prometheus_reads_them() {
        let behind = |name: &str, value| Metric {
            name: "fasti_member_behind",
            help: "Entries not acknowledged.",
            kind: MetricKind::Gauge,
            labels: vec![("office", name.into())],
            value,
        };
        assert_eq!(
            exposition(&[behind("Denver \"HQ\"", 3.0), behind("Boston", 0.5)]),
            "# HELP fasti_member_behind Entries not acknowledged.\n\
             # TYPE fasti_member_behind gauge\n\
             fasti_member_behind{office=\"Denver \\\"HQ\\\"\"} 3\n\
             fasti_member_behind{office=\"Boston\"} 0.5\n"
        );
    }
}
