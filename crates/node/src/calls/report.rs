//! `fasti report`: the node makes it, in any of its shapes.

use fasti_doors::path_segment;

use crate::cli::{ReportArgs, ReportFormat};
use crate::client::Client;
use crate::print::pretty;

pub(crate) fn report(client: &Client, args: &ReportArgs, json: bool) -> anyhow::Result<String> {
    let format = match (args.format, json) {
        (ReportFormat::Json, _) | (ReportFormat::Text, true) => "json",
        (ReportFormat::Text, false) => "text",
        (ReportFormat::Csv, _) => "csv",
        (ReportFormat::Html, _) => "html",
    };
    let mut path = format!("/v1/report?format={format}");
    for (name, value) in [("policy", &args.policy), ("as_of", &args.as_of)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", path_segment(value)));
        }
    }
    match format {
        "json" => Ok(pretty(&client.get(&path)?)),
        _ => client.text(&path),
    }
}
