//! Fasti on one machine: the core platform and some offices as real nodes, processes with folders of
//! their own, linked over libp2p on loopback. Publishes a policy, cuts two offices off, lets both sides
//! edit, heals, kills an office in the middle of a burst, and shows that all end with the same. Each office has a
//! scheduling system of its own, a process with a database, which its node delivers to; one of them is killed as well.
//!
//! ```sh
//! cargo run --release --example cluster
//! ```

mod acts;
mod menu;
#[path = "../office/main.rs"]
mod office;
mod show;
mod systems;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use fasti_tests::{Cluster, Fasti};

use show::Show;
use systems::Systems;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set in the environment, it makes this program the node that it starts.
const AS_NODE: &str = "FASTI_CLUSTER_NODE";

/// The same, for an office's scheduling system.
const AS_SYSTEM: &str = "FASTI_CLUSTER_SYSTEM";

/// Shows Fasti at work: a network of real nodes on this machine.
#[derive(Debug, Parser)]
struct Args {
    /// Offices beside the core platform; two of them will be cut off
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=29), value_name = "N")]
    offices: u8,
    /// Leave the nodes running, with a link to each office's page; on a terminal, ask what is to happen between two of them
    #[arg(long)]
    keep: bool,
    /// Print what was measured as one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    if std::env::var_os(AS_NODE).is_some() {
        return fasti_node::main();
    }
    if std::env::var_os(AS_SYSTEM).is_some() {
        return office::main();
    }
    match play(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Plays all acts; true if all nodes end with the same frontier and nothing was lost.
fn play(args: &Args) -> anyhow::Result<bool> {
    let mut show = Show::new(args.json);
    let names = names(args.offices);
    let fasti = Fasti::myself(AS_NODE)?.with_env("FASTI_FAULTS", "1");

    let mut cluster = acts::start(&mut show, &fasti, &names)?;
    let mut systems = Systems::start(&mut show, &cluster)?;
    acts::publish(&mut show, &cluster)?;
    systems.show(&mut show, &cluster)?;
    acts::divide_and_edit(&mut show, &cluster)?;
    acts::heal(&mut show, &cluster)?;
    systems.kill_one(&mut show, &cluster)?;
    acts::kill_in_a_burst(&mut show, &mut cluster)?;
    let good = acts::compare(&mut show, &cluster)?;
    let good = systems.compare(&mut show, &cluster)? && good;
    if args.keep {
        menu::show_pages(&mut show, &cluster)?;
        if !args.json && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            menu::run(&mut show, &cluster)?;
        }
    }
    finish(&mut show, cluster, args.keep);
    show.done();
    Ok(good)
}

fn finish(show: &mut Show, mut cluster: Cluster, keep: bool) {
    if !keep {
        for node in &mut cluster.nodes {
            if let Err(error) = node.stop() {
                show.say(&format!("{error:#}"));
            }
        }
        return;
    }
    let dirs: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| (node.name.clone(), node.dir().to_owned(), node.pid()))
        .collect();
    let root = cluster.keep();
    show.kept(&root, &dirs);
}

fn names(offices: u8) -> Vec<String> {
    const KNOWN: [&str; 8] =
        ["Denver", "Boston", "Austin", "Seattle", "Chicago", "Atlanta", "Miami", "Portland"];
    let name = |at: usize| {
        KNOWN.get(at).map_or_else(|| format!("Office {}", at + 1), |name| (*name).to_owned())
    };
    std::iter::once("Core platform".to_owned()).chain((0..usize::from(offices)).map(name)).collect()
}
