//! An office's own scheduling system, as small as one can be: an HTTP service with a calendar in SQLite. It takes what its
//! Fasti node delivers, and can say what it wants changed.
//!
//! ```sh
//! export FASTI_SECRET=whsec_$(head -c 32 /dev/urandom | base64)
//! cargo run --release --example office -- --listen 127.0.0.1:8400 --db office.db --dir ~/.local/share/fasti
//! echo $FASTI_SECRET | fasti subscribe office http://127.0.0.1:8400/fasti --secret -
//! curl http://127.0.0.1:8400/events
//! curl http://127.0.0.1:8400/events/policy-YSP-2024 --json '{"description": "Seen by our scheduling system"}'
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod node;
mod secrets;
mod store;
#[cfg(test)]
mod tests;
mod web;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use fasti_receiver::Secret;
use tokio::net::TcpListener;

use node::Node;
use secrets::Secrets;
use store::Store;
use web::{Chaos, Office};

/// Shows how an office's own system works with Fasti: takes deliveries, and posts changes.
#[derive(Debug, Parser)]
struct Args {
    /// Where to listen; port 0 picks a free one. The URL is printed once it listens
    #[arg(long, default_value = "127.0.0.1:8400", value_name = "ADDR")]
    listen: String,
    /// The database
    #[arg(long, default_value = "office.db", value_name = "FILE")]
    db: PathBuf,
    /// The subscription's secret; with a comma, several of which each is good
    #[arg(
        long,
        env = "FASTI_SECRET",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = Secret::from_text,
        value_name = "whsec_…"
    )]
    secret: Vec<Secret>,
    /// A file with such secrets, one a line; read again where a signature is by none that is known
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The folder of the node that changes are posted to
    #[arg(long, value_name = "DIR", conflicts_with_all = ["node", "token_file"])]
    dir: Option<PathBuf>,
    /// The node's HTTP API, in place of its folder
    #[arg(long, value_name = "http://…", requires = "token_file")]
    node: Option<String>,
    /// A file with the node's token
    #[arg(long, value_name = "FILE", requires = "node")]
    token_file: Option<PathBuf>,
    /// How many of the deliveries fail, from 0 to 1: half of those before they are applied, half only say so
    #[arg(long, default_value_t = 0.0, value_parser = share, value_name = "SHARE")]
    fail_rate: f64,
    /// How long to wait before each answer to a delivery
    #[arg(long, default_value_t = 0, value_name = "MS")]
    delay_ms: u64,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

#[tokio::main]
pub(crate) async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let secrets = Secrets::new(args.secret, args.secret_file)?;
    let store = Store::open(&args.db)
        .with_context(|| format!("{} can't be opened as a database", args.db.display()))?;
    let office = Office {
        secrets,
        store,
        node: Node::new(args.dir, args.node.zip(args.token_file)),
        chaos: Chaos { fail_rate: args.fail_rate, delay: Duration::from_millis(args.delay_ms) },
        counts: web::Counts::default(),
    };
    let listener = TcpListener::bind(&args.listen)
        .await
        .with_context(|| format!("can't listen at {}; try --listen 127.0.0.1:0", args.listen))?;
    println!("http://{}", listener.local_addr()?);
    web::serve(listener, Arc::new(office)).await
}
