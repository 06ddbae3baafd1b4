//! `fasti report`: the node makes it, in any of its shapes.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
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
        (ReportFormat::Bundle, _) => "bundle",
    };
    let path = path(format, args);
    match format {
        "json" => Ok(pretty(&client.get(&path)?)),
        _ => client.text(&path),
    }
}

/// Writes it to standard output as it comes.
pub(crate) fn bundle(client: &Client, args: &ReportArgs) -> anyhow::Result<String> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        bail!(
            "a bundle is nothing to read on a terminal: fasti report --format bundle > report.fasti"
        );
    }
    let Some(mut stream) = client.stream(&path("bundle", args))? else {
        // Says what to do.
        return client.text("/v1/status");
    };
    io::copy(&mut stream, &mut out).context(
        "the bundle broke off, so that what was written of it proves nothing; the node's log says why",
    )?;
    out.flush()?;
    Ok(String::new())
}

fn path(format: &str, args: &ReportArgs) -> String {
    let mut path = format!("/v1/report?format={format}");
    for (name, value) in [("policy", &args.policy), ("as_of", &args.as_of)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", path_segment(value)));
        }
    }
    path
}
