//! The running node: wires core, store, net and doors.
//!
//! ```text
//!  doors ──requests──►
//!                      engine (core, store) ──► outlets: replies, pushes, chunks, streams
//!  net ────events────►
//! ```
//! `engine` is a thread; doors and net are tasks of one tokio runtime.

mod chunks;
mod engine;
mod joins;
mod outlets;
mod shared;
mod snapshots;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fasti_core::entry::Signer;
use fasti_core::{Command, CommandError, Config, Core, Now, OfficeId, Stored};
use fasti_doors::Handle;
use fasti_net as net;
use fasti_store::Store;

use crate::NodeFile;
use crate::keys;
use crate::rotate::{self, SETTING_PREDECESSOR};
pub(crate) use engine::Clock;
pub(crate) use shared::Shared;

use engine::{Engine, Opening, Wires};
use outlets::Outlets;

/// The setting that holds the members that a newcomer starts with.
pub(crate) const SETTING_BOOTSTRAP: &str = "bootstrap";

/// The setting that tells the store's file from copies of it.
const SETTING_FILE: &str = "file";

/// How a node is run.
pub(crate) struct Settings {
    pub(crate) dir: PathBuf,
    pub(crate) listen: Vec<net::Multiaddr>,
    pub(crate) http: SocketAddr,
}

/// Runs a node until `stop` completes.
pub(crate) async fn run(settings: Settings, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let Settings { dir, listen, http } = settings;
    let mut store = Store::open(&dir)?;
    rotate::use_successor(&mut store, &dir)?;
    let store = Arc::new(store);
    begin_anew_if_copied(&store, &dir)?;
    let seed = keys::read(&dir)?;
    let signer = Signer::from_seed(&seed);
    if signer.office() != store.meta().office {
        bail!(
            "the key in {} is another office's than the store's: restore both from the same backup",
            dir.display()
        );
    }
    let clock = Clock::start();
    let started = std::time::Instant::now();
    let (core, snapshot) = open(&store, &signer, clock.now(), false)?;
    tracing::info!(
        office = %core.office(),
        name = store.meta().name,
        network = %store.meta().network,
        entries = core.entries(),
        millis = started.elapsed().as_millis() as u64,
        "opened"
    );

    let listener = TcpListener::bind(http)
        .with_context(|| format!("{http} can't be used for HTTP: is it in use by another program or node? choose another with --http, or --http 127.0.0.1:0 for any free one"))?;
    let mut config = net::Config::new(seed);
    config.listen = listen;
    config.mdns = std::env::var_os("FASTI_NO_MDNS").is_none();
    let (network, events) = net::start(config).await?;

    let shared =
        Arc::new(Shared::new(core.office(), Arc::clone(&store), network.clone(), core.entries()));
    let (handle, doors) = Handle::new(Arc::clone(&shared) as Arc<dyn fasti_doors::Node>);
    let runtime = tokio::runtime::Handle::current();
    let outlets = Outlets {
        shared: Arc::clone(&shared),
        net: network.clone(),
        server: chunks::Server::new(Arc::clone(&store), network.clone(), runtime.clone()),
        appended: doors.appended,
    };
    let disk = Arc::clone(&store);
    let wires = Wires {
        clock,
        store: Arc::clone(&store),
        shared: Arc::clone(&shared),
        runtime,
        requests: doors.requests,
        events,
        outlets,
        handle: handle.clone(),
        reopen: Box::new(move |now, opening| match opening {
            Opening::Failed => {
                disk.reopen()?;
                open(&disk, &signer, now, false)
            }
            Opening::Judging { settled } => open(&disk, &signer, now, settled),
        }),
    };
    let engine = std::thread::Builder::new().name("engine".into()).spawn(move || {
        let _whole = AllOrNothing;
        Engine::new(wires, core, snapshot).run();
    })?;

    let token = keys::find_or_draw_token(&dir)?;
    let address = listener.local_addr()?;
    shared.wait_until_listening().await;
    let file = NodeFile {
        http: format!("http://{address}"),
        token: token.clone(),
        listen: shared.addresses(),
        pid: std::process::id(),
    };
    file.write(&dir).with_context(|| format!("node.json can't be written to {}", dir.display()))?;
    shared.ready();
    tracing::info!(http = %address, listen = ?shared.addresses(), "ready");
    if let Some(old) = store.reader().setting(SETTING_PREDECESSOR)? {
        tokio::spawn(remove_predecessor(old, handle.clone(), Arc::clone(&store)));
    }
    let served = fasti_doors::serve(listener, handle, &token, stop).await;

    tracing::info!("stopping");
    let _ = NodeFile::remove(&dir);
    network.shutdown().await;
    drop(network);
    let _ = tokio::task::spawn_blocking(move || engine.join()).await?;
    tracing::info!("stopped");
    served.context("the HTTP server failed")
}

/// Removes the key that this office used before, as soon as this node can write.
async fn remove_predecessor(old: Vec<u8>, handle: Handle, store: Arc<Store>) {
    let Ok(old) = <[u8; 32]>::try_from(old) else { return };
    loop {
        match handle.ask(Command::Remove { office: OfficeId(old) }).await {
            Ok(_) => tracing::info!("the old key is worth nothing any more"),
            // Somebody else did.
            Err(CommandError::NotAllowed(_) | CommandError::UnknownMember(_)) => {}
            Err(error) => {
                tracing::debug!(%error, "the old key can't be removed yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        }
        if let Err(error) = store.set(SETTING_PREDECESSOR, &[]) {
            tracing::warn!(%error, "the store can't be written");
        }
        return;
    }
}

/// Ends the process if its thread panics: half a node would answer probes and nothing else, for ever.
/// What is durable is whole, so whoever supervises it can start it again at once.
struct AllOrNothing;

impl Drop for AllOrNothing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "the node ends because of a fault in it; start it again, and please report this"
            );
            std::process::exit(101);
        }
    }
}

/// A store that was copied or restored may lack entries of its log that others have. Others are asked before
/// the first write; but where the file is seen to be another one, a new incarnation is begun at once.
fn begin_anew_if_copied(store: &Store, dir: &Path) -> anyhow::Result<()> {
    let Some(file) = identity(&dir.join("fasti.redb")) else { return Ok(()) };
    let known = store.reader().setting(SETTING_FILE)?;
    if known.as_deref() == Some(file.as_bytes()) {
        return Ok(());
    }
    if known.is_some() && store.reader().incarnation()?.is_some() {
        tracing::info!(
            "this folder was copied or restored: what is written from now on goes into a new log"
        );
        store.forget_incarnation()?;
    }
    Ok(store.set(SETTING_FILE, file.as_bytes())?)
}

/// What tells a file from its copies on this machine. Elsewhere nothing does.
#[cfg(unix)]
fn identity(file: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let file = file.metadata().ok()?;
    Some(format!("{}:{}", file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Path) -> Option<String> {
    None
}

/// Opens the core from the store; gives it with the number of entries under the snapshot.
fn open(store: &Store, signer: &Signer, now: Now, settled: bool) -> anyhow::Result<(Core, u64)> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let mut config = Config::new(store.meta().network, signer.clone(), seed);
    config.bootstrap = bootstrap(store)?;
    let reader = store.reader();
    let stored = Stored { settled, ..snapshots::load(&reader)? };
    let covered = stored.snapshot.as_ref().map_or(0, |(entries, _)| *entries);
    let rows = || Ok(reader.rows(0)?.map(|item| item.map(|(_, row)| row)));
    Ok((Core::open(config, stored, rows, now)?, covered))
}

fn bootstrap(store: &Store) -> anyhow::Result<BTreeMap<OfficeId, Vec<String>>> {
    let Some(bytes) = store.reader().setting(SETTING_BOOTSTRAP)? else {
        return Ok(BTreeMap::new());
    };
    postcard::from_bytes(&bytes).context("the first members' addresses in the store are damaged")
}

/// Checks that a folder's node can be run at all, for errors before any log line.
pub(crate) fn check_folder(dir: &Path) -> anyhow::Result<()> {
    if dir.join("fasti.redb").exists() {
        return Ok(());
    }
    bail!(
        "{} holds no node yet: begin with `fasti init --office NAME` or `fasti join TICKET`, or say where it is with --dir",
        dir.display()
    )
}
