//! `fasti run`: the node itself.

use std::path::Path;

use anyhow::Context as _;
use fasti_delivery::Reach;
use fasti_net::Multiaddr;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::{LogFormat, RunArgs};
use crate::node::{self, Http, Settings};

/// Where a node listens unless told otherwise: a fixed port, so that others find it again after both
/// sides restarted, and that a firewall can be told of.
const LISTEN: [&str; 2] = ["/ip4/0.0.0.0/udp/8378/quic-v1", "/ip4/0.0.0.0/tcp/8378"];

/// Runs the node until it is told to stop.
pub(crate) fn run(dir: &Path, args: &RunArgs) -> anyhow::Result<()> {
    node::check_folder(dir)?;
    start_logging(args)?;
    let given = args.listen.iter().map(String::as_str);
    let texts: Vec<&str> = if args.listen.is_empty() { LISTEN.to_vec() } else { given.collect() };
    let listen = addresses("--listen", LISTEN[0], texts)?;
    let announce = args.announce.iter().map(String::as_str);
    let announce = addresses("--announce", "/dns4/office.example.org/tcp/8378", announce)?;
    let http = Http {
        address: args.http,
        names: args.http_names.clone(),
        tls: args.tls_cert.clone().zip(args.tls_key.clone()),
        behind_proxy: args.http_behind_proxy,
    };
    let reach = if args.public_targets_only { Reach::Public } else { Reach::Any };
    let relay = args.relay;
    let greet = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let settings = Settings { dir: dir.to_owned(), listen, announce, relay, http, reach, greet };
    // The work is the engine's, which has a thread of its own: here bytes are moved, and each hop from one
    // thread to another would cost more than what it shares out.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        node::run(settings, stop).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    done
}

fn addresses<'a>(
    option: &str,
    example: &str,
    texts: impl IntoIterator<Item = &'a str>,
) -> anyhow::Result<Vec<Multiaddr>> {
    let parse = |text: &str| {
        let wrong = || format!("{text:?} is no multiaddress; {option} takes such as {example}");
        text.parse().with_context(wrong)
    };
    texts.into_iter().map(parse).collect()
}

fn start_logging(args: &RunArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log).with_context(|| {
        format!("{:?} is no log filter; --log takes such as info or fasti_net=debug,info", args.log)
    })?;
    // It logs messages that a broker returns, with what is in them.
    let filter = filter.add_directive("lapin=error".parse()?);
    // A log that can't be written, as its disk is full, must not end the node: the complaint about it, on the
    // same stderr, would panic.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    match args.log_format {
        LogFormat::Human => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr())
                && std::env::var_os("NO_COLOR").is_none();
            lines.with_ansi(colour).init();
        }
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
