//! The binary `fasti`: runs a node, and calls the running one.
//!
//! `cli` has the command line, parsed into types; each call is a function of its own in `calls`, which
//! returns the text to print; `client` finds the running node and speaks HTTP with it.

mod backup;
mod calls;
mod certificate;
pub mod cli;
mod client;
mod init;
mod join;
mod keys;
mod manual;
mod node;
mod node_file;
mod pin;
mod print;
mod restore;
mod rotate;
mod run;
mod verify;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use etcetera::BaseStrategy as _;
use fasti_core::ticket::Ticket;

pub use node_file::NodeFile;

use cli::{Call, Cli, Secret};
use client::Client;
use print::{BOLD_RED, clean};

/// Does what the command line asks: status 0 on success, 1 on failure, 2 on wrong usage.
pub fn main() -> ExitCode {
    let done =
        call(Cli::parse()).and_then(|text| print(&text).context("the answer can't be printed"));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(usage) = error.downcast_ref::<clap::Error>() {
                usage.exit();
            }
            // The message, its causes, and what to do: all of it on one or few lines.
            let text = clean(&format!("{error:#}"));
            anstream::eprintln!("{BOLD_RED}error:{BOLD_RED:#} {text}");
            ExitCode::FAILURE
        }
    }
}

/// Does the call; returns what to print.
fn call(cli: Cli) -> anyhow::Result<String> {
    let dir = match (cli.dir, &cli.call) {
        (Some(dir), _) => dir,
        // They need none, and who builds a package has no home folder.
        (None, Call::Completions { .. } | Call::Man(_) | Call::Verify(_)) => PathBuf::new(),
        (None, _) => default_dir()?,
    };
    let json = cli.json;
    let client = || Client::open(&dir);
    match cli.call {
        Call::Init(args) => {
            let network = init::init(&dir, &args.office)?.to_string();
            Ok(print::fact("network", &network, json))
        }
        Call::Join { ticket: Secret(ticket) } => {
            let ticket = Ticket::from_text(&if ticket == "-" { read_line()? } else { ticket })?;
            join::join(&dir, &ticket)?;
            let (name, network) = (&ticket.name, ticket.network.to_string());
            Ok(if json {
                print::pretty(&serde_json::json!({ "network": network, "name": name }))
            } else {
                let (name, dir) = (clean(name), dir.display());
                format!(
                    "{name} is a member of network {network} now\nstart its node: fasti run --dir {dir}\n"
                )
            })
        }
        Call::Run(args) => run::run(&dir, &args).map(|()| String::new()),
        Call::Invite(args) => calls::members::invite(&client()?, &args, json),
        Call::Members { former: false } => calls::members::list(&client()?, json),
        Call::Members { former: true } => calls::members::former(&client()?, json),
        Call::Remove { office } => calls::members::remove(&client()?, &office, json),
        Call::RotateKey => rotate::rotate(&dir, &client()?, json),
        Call::Status { policy: None } => calls::members::status(&client()?, json),
        Call::Status { policy: Some(policy) } => calls::systems::reach(&client()?, &policy, json),
        Call::Publish(args) => calls::publish::publish(&client()?, args, json),
        Call::Event { call } => calls::event::call(&client()?, call, json),
        Call::Resource { call } => calls::bookings::resource(&client()?, call, json),
        Call::Book(args) => calls::bookings::book(&client()?, args, json),
        Call::Bookings(args) => calls::bookings::list(&client()?, &args, json),
        Call::Free(args) => calls::bookings::free(&client()?, &args, json),
        Call::Agenda(args) => calls::agenda::agenda(&client()?, &args, json),
        Call::Policies { policy: None } => calls::policies::list(&client()?, json),
        Call::Policies { policy: Some(policy) } => calls::policies::show(&client()?, &policy, json),
        Call::Propose(args) => {
            let body = serde_json::json!({});
            calls::policies::say(&client()?, "propose", &args.policy, args.if_match, &body, json)
        }
        Call::Approve { args, supersedes } => {
            let body = serde_json::json!({ "supersedes": supersedes });
            calls::policies::say(&client()?, "approve", &args.policy, args.if_match, &body, json)
        }
        Call::Withdraw { policy } => {
            let body = serde_json::json!({});
            calls::policies::say(&client()?, "withdraw", &policy, None, &body, json)
        }
        Call::Report(args) if args.format == cli::ReportFormat::Bundle => {
            calls::report::bundle(&client()?, &args)
        }
        Call::Verify(args) => verify::verify(&args, json),
        Call::Report(args) => calls::report::report(&client()?, &args, json),
        Call::Import(args) => calls::ical::import(client, &args, json),
        Call::Export(args) => calls::ical::export(&client()?, &args, json),
        Call::Backup(args) => backup::backup(&dir, &args, json),
        Call::Restore(args) => restore::restore(&dir, &args, json),
        Call::Conflicts { call } => calls::conflicts::call(&client()?, call, json),
        Call::Subscribe(args) => calls::systems::subscribe(&client()?, *args, json),
        Call::Subscriptions { call } => calls::systems::call(&client()?, call, json),
        Call::Deliveries(args) => calls::systems::deliveries(&client()?, &args, json),
        Call::Replay(args) => calls::systems::replay(&client()?, &args, json),
        Call::User { call } => calls::user::call(&client()?, call, json),
        Call::Completions { shell } => manual::completions(shell),
        Call::Man(args) => manual::man(&args, json),
    }
}

/// A secret that must not stand among the arguments, which everyone on the machine can see.
fn read_line() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("the ticket can't be read from standard input")?;
    Ok(line)
}

fn default_dir() -> anyhow::Result<PathBuf> {
    let folders = etcetera::base_strategy::choose_native_strategy()
        .context("there is no home folder to keep the node's data in; say where with --dir")?;
    Ok(folders.data_dir().join("fasti"))
}

/// Prints without colour where nobody sees it, and ends quietly where nobody reads on (`| head`).
fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
