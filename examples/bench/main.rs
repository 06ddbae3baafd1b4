//! Measures Fasti: nodes as processes with folders on disk, and the core by itself. Prints one JSON object;
//! progress goes to stderr.
//!
//! ```sh
//! cargo run --release --example bench               # all of it, some minutes
//! cargo run --release --example bench -- propagate --receivers 10
//! ```
//! Figures depend on the machine, so each run measures the machine as well: what a sync of its disk and
//! an HTTP request cost.

mod caldav;
mod deliver;
mod in_process;
mod machine;
mod network;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use fasti_tests::Fasti;
use serde_json::{Map, Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set in the environment, it makes this program the node that it starts.
const AS_NODE: &str = "FASTI_BENCH_NODE";

/// Measures Fasti; prints JSON.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure [default: all]
    #[arg(value_enum)]
    what: Vec<What>,
    /// Receivers of propagate and burst; repeat for several [default: 3 and 10]
    #[arg(long, value_name = "N")]
    receivers: Vec<usize>,
    /// The one transport that nodes listen on [default: both, and links are made on QUIC]
    #[arg(long, value_enum)]
    transport: Option<Transport>,
    /// Changes that a fresh node has to get, or that are backed up; repeat for several [default: 10000 and 100000]
    #[arg(long, value_name = "N")]
    changes: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// 300 publications, one at a time, until each is durable on every other node
    Propagate,
    /// 10,000 publications, each its own change, until all nodes hold all
    Burst,
    /// A fresh node gets everything
    Join,
    /// A node that was away gets 1,000 changes
    Rejoin,
    /// A backup of a running node, and a node that is restored from it
    Backup,
    /// 300 bookings in a network of five, one at a time, until each is settled for the office that booked
    Book,
    /// 20,000 signed deliveries to one webhook
    Deliver,
    /// 200 publications, one at a time, until the systems of ten offices have applied each
    Confirm,
    /// Calendar apps: a CalDAV door with 1,000 and 10,000 events, and Radicale with as many
    Caldav,
    /// One core by itself: applying and opening
    InProcess,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// QUIC alone
    Quic,
    /// TCP alone
    Tcp,
}

fn main() -> ExitCode {
    if std::env::var_os(AS_NODE).is_some() {
        return fasti_node::main();
    }
    match measure(&Args::parse()) {
        Ok(figures) => {
            println!("{figures:#}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> anyhow::Result<Value> {
    let fasti = match args.transport {
        None => Fasti::myself(AS_NODE)?,
        Some(Transport::Quic) => {
            Fasti::myself(AS_NODE)?.listening_on("/ip4/127.0.0.1/udp/0/quic-v1")
        }
        Some(Transport::Tcp) => Fasti::myself(AS_NODE)?.listening_on("/ip4/127.0.0.1/tcp/0"),
    };
    let wants = |what| args.what.is_empty() || args.what.contains(&what);
    let receivers = if args.receivers.is_empty() { vec![3, 10] } else { args.receivers.clone() };
    let changes =
        if args.changes.is_empty() { vec![10_000, 100_000] } else { args.changes.clone() };
    let mut figures = Map::new();
    figures.insert("machine".into(), machine::measure()?);
    let mut note = |name: &str, value: Value| {
        eprintln!("{name}: {value}");
        figures.insert(name.into(), value);
    };
    if wants(What::Propagate) {
        let all: anyhow::Result<Vec<Value>> =
            receivers.iter().map(|n| network::propagate(&fasti, *n)).collect();
        note("propagate", json!(all.context("propagate")?));
    }
    if wants(What::Burst) {
        let all: anyhow::Result<Vec<Value>> =
            receivers.iter().map(|n| network::burst(&fasti, *n)).collect();
        note("burst", json!(all.context("burst")?));
    }
    if wants(What::Join) {
        let all: anyhow::Result<Vec<Value>> =
            changes.iter().map(|n| network::join(&fasti, *n)).collect();
        note("join", json!(all.context("join")?));
    }
    if wants(What::Book) {
        note("book", network::book(&fasti).context("book")?);
    }
    if wants(What::Deliver) {
        note("deliver", deliver::throughput(&fasti).context("deliver")?);
    }
    if wants(What::Confirm) {
        note("confirm", deliver::latency(&fasti).context("confirm")?);
    }
    if wants(What::Caldav) {
        note("caldav", caldav::measure(&fasti).context("caldav")?);
    }
    if wants(What::Rejoin) {
        note("rejoin", network::rejoin(&fasti).context("rejoin")?);
    }
    if wants(What::Backup) {
        let all: anyhow::Result<Vec<Value>> =
            changes.iter().map(|n| network::backup(&fasti, *n)).collect();
        note("backup", json!(all.context("backup")?));
    }
    if wants(What::InProcess) {
        note("in_process", json!(in_process::run(&[1_000, 10_000, 100_000])?));
    }
    Ok(Value::Object(figures))
}
