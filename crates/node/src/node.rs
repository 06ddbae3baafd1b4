//! The running node: wires core, store, net and doors.
//!
//! ```text
//!  doors ──requests──►
//!                      engine (core, store) ──► outlets: replies, pushes, chunks, streams
//!  net ────events────►
//! ```
//! `engine` is a thread; doors and net are tasks of one tokio runtime.

mod backups;
mod chunks;
mod engine;
mod joins;
mod outlets;
mod pieces;
mod shared;
mod snapshots;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fasti_core::entry::Signer;
use fasti_core::{Command, CommandError, Config, Core, Kept, Now, OfficeId, Stored};
use fasti_delivery::{Deliverer, Reach};
use fasti_doors::{Guard, Handle};
use fasti_net as net;
use fasti_store::Store;

use crate::NodeFile;
use crate::calls::login;
use crate::certificate::Certificate;
use crate::keys;
use crate::print;
use crate::rotate::{self, SETTING_PREDECESSOR};
pub(crate) use backups::take as take_backup;
pub(crate) use engine::Clock;
pub(crate) use shared::{Agreements, Shared};

use engine::{Engine, Opening, Wires};
use outlets::Outlets;

/// The setting that holds the members that a newcomer starts with.
pub(crate) const SETTING_BOOTSTRAP: &str = "bootstrap";

/// The setting that tells the store's file from copies of it.
const SETTING_FILE: &str = "file";

/// The setting that says of when the backup was that this store was made from: milliseconds, as text.
pub(crate) const SETTING_RESTORED: &str = "restored";

/// Settings that mean nothing elsewhere, and are left out of backups.
const SETTINGS_OF_THIS_MACHINE: [&str; 2] = [SETTING_FILE, SETTING_RESTORED];

/// How a node is run.
pub(crate) struct Settings {
    pub(crate) dir: PathBuf,
    pub(crate) listen: Vec<net::Multiaddr>,
    pub(crate) announce: Vec<net::Multiaddr>,
    pub(crate) relay: bool,
    pub(crate) reach: Reach,
    pub(crate) http: Http,
    /// Whether someone sits at a terminal, who wants to know where the page is.
    pub(crate) greet: bool,
}

/// How HTTP is served.
pub(crate) struct Http {
    pub(crate) address: SocketAddr,
    /// Names that it is known by.
    pub(crate) names: Vec<String>,
    /// The files of the operator's certificate and its key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) behind_proxy: bool,
}

/// How often the certificate's files are looked at: two calls to the system, and a renewal is used long
/// before the old one ends.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);

/// Runs a node until `stop` completes.
pub(crate) async fn run(settings: Settings, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let Settings { dir, listen, announce, relay, http, reach, greet } = settings;
    keys::keep_private(&dir)?;
    let mut store = Store::open(&dir)?;
    rotate::use_successor(&mut store, &dir)?;
    let store = Arc::new(store);
    begin_anew_if_copied(&store, &dir)?;
    tell_if_restored(&store)?;
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
    let (core, snapshot) = open(&store, &signer, relay, clock.now(), Kept::default())?;
    tracing::info!(
        office = %core.office(),
        name = store.meta().name,
        network = %store.meta().network,
        entries = core.entries(),
        millis = started.elapsed().as_millis() as u64,
        "opened"
    );

    let certificate = http.certificate(&dir)?;
    let tls = certificate.as_ref().map(Certificate::server_config).transpose()?;
    let address = http.address;
    let listener = TcpListener::bind(address)
        .with_context(|| format!("{address} can't be used for HTTP: is it in use by another program or node? choose another with --http, or --http 127.0.0.1:0 for any free one"))?;
    let mut config = net::Config::new(*seed);
    config.listen = listen;
    config.announce = announce;
    config.relay = relay;
    config.mdns = std::env::var_os("FASTI_NO_MDNS").is_none();
    let (network, events) = net::start(config).await?;

    let memory = Arc::new(Agreements(Arc::clone(&store)));
    let (deliverer, reports) = Deliverer::new(reach, memory);
    let shared = Arc::new(Shared::new(
        core.office(),
        Arc::clone(&store),
        network.clone(),
        deliverer.clone(),
        core.entries(),
    ));
    let (handle, doors) = Handle::new(Arc::clone(&shared) as Arc<dyn fasti_doors::Node>);
    let runtime = tokio::runtime::Handle::current();
    let outlets = Outlets {
        shared: Arc::clone(&shared),
        deliverer: deliverer.clone(),
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
        reports,
        events,
        outlets,
        handle: handle.clone(),
        reopen: Box::new(move |now, opening| match opening {
            Opening::Failed => {
                disk.reopen()?;
                open(&disk, &signer, relay, now, Kept::default())
            }
            Opening::Judging(kept) => open(&disk, &signer, relay, now, kept),
        }),
    };
    let engine = std::thread::Builder::new().name("engine".into()).spawn(move || {
        let _whole = AllOrNothing;
        Engine::new(wires, core, snapshot).run();
    })?;

    let token = keys::find_or_draw_token(&dir)?;
    let address = listener.local_addr()?;
    shared.wait_until_listening().await;
    let mut file = NodeFile {
        http: url(address, certificate.is_some()),
        certificate: certificate.as_ref().map(|certificate| certificate.fingerprint()),
        token: token.to_string(),
        listen: shared.addresses(),
        pid: std::process::id(),
    };
    file.write(&dir).with_context(|| format!("node.json can't be written to {}", dir.display()))?;
    shared.ready();
    if relay {
        warn_if_out_of_reach(&shared.addresses());
    }
    if let Some(old) = store.reader().setting(SETTING_PREDECESSOR)? {
        tokio::spawn(remove_predecessor(old, handle.clone(), Arc::clone(&store)));
    }
    let fingerprint = certificate.as_ref().map(|certificate| certificate.fingerprint_for_people());
    tracing::info!(http = file.http, fingerprint, listen = ?shared.addresses(), "ready");
    if greet {
        let dir = dir.clone();
        // It asks over HTTP, which is served below.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = login::greet(&dir) {
                tracing::warn!(%error, "no link into the page can be printed");
            }
        });
    }
    let guard = Guard {
        token: token.as_str().into(),
        tls,
        names: http.names,
        behind_proxy: http.behind_proxy,
    };
    let served = tokio::select! {
        served = fasti_doors::serve(listener, handle, guard, stop) => served,
        never = renew(certificate.as_deref(), &mut file, &dir) => match never {},
    };

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

impl Http {
    /// The certificate, if there is to be TLS: always, but for this machine itself and for a proxy.
    fn certificate(&self, dir: &Path) -> anyhow::Result<Option<Arc<Certificate>>> {
        let ip = self.address.ip().to_canonical();
        match &self.tls {
            Some((certificate, key)) => Certificate::load(certificate, key).map(Some),
            None if self.behind_proxy || ip.is_loopback() => {
                if !ip.is_loopback() {
                    tracing::warn!(
                        "HTTP is in clear at {}, for a proxy that ends TLS: let a firewall admit the proxy alone",
                        self.address
                    );
                }
                Ok(None)
            }
            None => {
                let here = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
                let bound = (!ip.is_unspecified()).then(|| ip.to_string());
                let told = self.names.iter().map(|name| without_port(name).to_owned());
                let names: Vec<String> = here.into_iter().chain(bound).chain(told).collect();
                Certificate::own(dir, &names).map(Some)
            }
        }
    }
}

fn without_port(name: &str) -> &str {
    // An IPv6 address has colons of its own.
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    let host = if host.contains(':') && !host.ends_with(']') { name } else { host };
    host.trim_matches(['[', ']'])
}

/// Where callers on this machine find it.
fn url(mut address: SocketAddr, tls: bool) -> String {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("http{}://{address}", if tls { "s" } else { "" })
}

/// Watches for a renewed certificate, and tells callers on this machine.
async fn renew(
    certificate: Option<&Certificate>,
    file: &mut NodeFile,
    dir: &Path,
) -> std::convert::Infallible {
    let Some(certificate) = certificate else { return std::future::pending().await };
    loop {
        tokio::time::sleep(RENEWAL_INTERVAL).await;
        if certificate.renew() {
            file.certificate = Some(certificate.fingerprint());
            if let Err(error) = file.write(dir) {
                tracing::warn!(%error, "node.json can't be written: calls on this machine don't trust the new certificate");
            }
        }
    }
}

/// A relay is for offices elsewhere. In a private network its private address may well do, but not this
/// machine's own.
fn warn_if_out_of_reach(addresses: &[String]) {
    let addresses = addresses.iter().filter_map(|it| it.parse().ok());
    if addresses.clone().all(|it: net::Multiaddr| net::is_loopback(&it)) {
        tracing::warn!(
            "as a relay this office is of no use: it listens on this machine only; choose other addresses with --listen"
        );
    } else if addresses.clone().all(|it| net::is_local(&it)) {
        tracing::warn!(
            "as a relay this office is of use in its own network only, as it has no public address; if a router forwards its port, give the outer address with --announce"
        );
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

/// A store that was made from a backup has no incarnation until it is written to.
fn tell_if_restored(store: &Store) -> anyhow::Result<()> {
    let reader = store.reader();
    let Some(time) = reader.setting(SETTING_RESTORED)? else { return Ok(()) };
    if reader.incarnation()?.is_none() {
        let time = String::from_utf8_lossy(&time).parse().map_or_else(|_| "?".into(), print::time);
        tracing::info!(
            "this node was restored from a backup of {time}: it fetches what came later from the others, and \
             what is written from now on goes into a new log"
        );
    }
    Ok(())
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
fn open(
    store: &Store,
    signer: &Signer,
    relay: bool,
    now: Now,
    kept: Kept,
) -> anyhow::Result<(Core, u64)> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let mut config = Config::new(store.meta().network, signer.clone(), seed);
    config.relay = relay;
    config.bootstrap = bootstrap(store)?;
    let reader = store.reader();
    let stored = Stored { kept, ..snapshots::load(&reader)? };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_here_find_it_wherever_it_listens() {
        let url = |address: &str, tls| url(address.parse().unwrap(), tls);
        assert_eq!(url("127.0.0.1:1", false), "http://127.0.0.1:1");
        assert_eq!(url("0.0.0.0:1", true), "https://127.0.0.1:1");
        assert_eq!(url("[::]:1", true), "https://[::1]:1");
        assert_eq!(url("192.0.2.1:1", true), "https://192.0.2.1:1");
    }

    #[test]
    fn certificates_have_names_without_ports() {
        for (told, name) in [
            ("calendar.example.org", "calendar.example.org"),
            ("intra:8443", "intra"),
            ("192.0.2.1:1", "192.0.2.1"),
            ("[2001:db8::1]:1", "2001:db8::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
        ] {
            assert_eq!(without_port(told), name, "{told}");
        }
    }
}
