//! For those who operate the node: is it alive, is it ready, and its numbers for Prometheus.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use crate::problem::Problem;
use crate::routes::Door;
use crate::{Metric, MetricKind};

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
    (content_type, exposition(&door.handle.node().metrics()))
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
