//! Puts a node's network together: keys, transport, libp2p behaviours, listeners. Leaves running it to
//! `driver`.

use std::io;
use std::num::NonZeroU8;
use std::sync::Arc;

use fasti_core::OfficeId;
use libp2p::allow_block_list::{self, AllowedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{self, NetworkBehaviour, Swarm};
use libp2p::{Multiaddr, PeerId, TransportError, autonat, dcutr, identify, mdns, ping, relay};
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::counters::Cells;
use crate::driver::Driver;
use crate::event::Event;
use crate::handle::{Handle, Outboxes, Wishes};
use crate::handler::Shared;
use crate::identity::{self, BadKey};
use crate::inbox::Inbox;
use crate::links::Links;
use crate::relays::{self, Served};
use crate::{addresses, transport};

/// As many addresses of a peer as are dialled.
const DIALS: NonZeroU8 =
    NonZeroU8::new((addresses::DIRECT_MAX + addresses::RELAYED_MAX) as u8).unwrap();

/// The network could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The secret key is no Ed25519 key.
    #[error("the office's key is damaged; restore the data folder from a backup")]
    Key(#[from] BadKey),
    /// Another process has the port.
    #[error(
        "{address} is in use by another process: stop it, or listen on another port (0 picks a free one)"
    )]
    InUse {
        /// The address.
        address: Multiaddr,
    },
    /// It is not possible to listen there.
    #[error(
        "can't listen on {address}: expected an address of this machine such as /ip4/0.0.0.0/tcp/7411 or /ip4/0.0.0.0/udp/7411/quic-v1"
    )]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the system says.
        source: io::Error,
    },
    /// Encryption could not be set up.
    #[error("can't set up encryption")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Starts the network in a task of its own. It admits nobody until told whom.
///
/// # Errors
/// See [`StartError`]: a key that is none, or an address that can't be listened on.
pub async fn start(config: Config) -> Result<(Handle, mpsc::Receiver<Event>), StartError> {
    let keys = identity::keypair(config.key)?;
    let local = keys.public().to_peer_id();
    let office = keys.clone().try_into_ed25519().map(|keys| OfficeId(keys.public().to_bytes()));
    let office = office.map_err(|error| StartError::Transport(error.into()))?;
    let (transport, client) = transport::build(&keys, config.silence(), config.limits.streams)
        .map_err(|error| StartError::Transport(error.into()))?;

    let (events, receiver) = mpsc::channel(config.limits.events_max.max(1));
    let cells = Arc::new(Cells::default());
    let shared = Arc::new(Shared {
        events: events.clone(),
        inbox: Arc::new(Inbox::new(&config.limits)),
        limits: config.limits.clone(),
        cells: cells.clone(),
        open_timeout: config.open_timeout,
    });
    let links = Links::new(office, shared, config.duplicate_grace);
    let served = Served::default();
    let behaviour = Behaviour::new(&config, &keys, links, client, &served);
    // All addresses of a peer at once; `transport` says which transport waits for the other.
    let settings = swarm::Config::with_tokio_executor().with_dial_concurrency_factor(DIALS);
    let mut swarm = Swarm::new(transport, behaviour, local, settings);
    listen(&mut swarm, &config.listen)?;

    let (wishes, wished) = watch::channel(Wishes::default());
    let outboxes = Arc::<Outboxes>::default();
    let handle = Handle {
        wishes: Arc::new(wishes),
        outboxes: outboxes.clone(),
        cells: cells.clone(),
        limits: Arc::new(config.limits.clone()),
    };
    let driver = Driver::new(&config, swarm, wished, events, outboxes, cells, served);
    tokio::spawn(driver.run());
    Ok((handle, receiver))
}

fn listen(swarm: &mut Swarm<Behaviour>, addresses: &[Multiaddr]) -> Result<(), StartError> {
    let any = |port| Multiaddr::empty().with(Protocol::Ip4([0, 0, 0, 0].into())).with(port);
    let defaults = [any(Protocol::Tcp(0)), any(Protocol::Udp(0)).with(Protocol::QuicV1)];
    for address in if addresses.is_empty() { &defaults } else { addresses } {
        let address = address.clone();
        let result = transport::probe(&address).and_then(|()| {
            swarm.listen_on(address.clone()).map_err(|error| match error {
                TransportError::Other(error) => error,
                TransportError::MultiaddrNotSupported(_) => io::ErrorKind::Unsupported.into(),
            })
        });
        match result {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(StartError::InUse { address });
            }
            Err(source) => return Err(StartError::Listen { address, source }),
        }
    }
    Ok(())
}

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    /// First: strangers are refused before anything is spent on them.
    pub(crate) allowed: allow_block_list::Behaviour<AllowedPeers>,
    limits: connection_limits::Behaviour,
    pub(crate) links: Links,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    /// Tells whether others can dial us; on relays, dials others to tell them.
    pub(crate) autonat: autonat::Behaviour,
    relay_client: relay::client::Behaviour,
    relay: Toggle<relay::Behaviour>,
    /// Makes direct connections of relayed ones.
    dcutr: dcutr::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Behaviour {
    fn new(
        config: &Config,
        keys: &libp2p::identity::Keypair,
        links: Links,
        relay_client: relay::client::Behaviour,
        served: &Served,
    ) -> Self {
        let local: PeerId = keys.public().to_peer_id();
        let limits = &config.limits;
        let ping = ping::Config::new()
            .with_interval(config.ping_interval)
            .with_timeout(config.unanswered_max());
        let identify = identify::Config::new("/fasti/1".into(), keys.public())
            .with_agent_version(agent_version())
            .with_push_listen_addr_updates(true)
            // What we dial is chosen by `addresses`.
            .with_cache_size(0);
        let relay = config.relay.then(|| {
            let mut relay = relay::Behaviour::new(local, served.settings(limits));
            relay.set_status(Some(relay::Status::Enable));
            relay
        });
        let mdns = config.mdns.then(|| {
            mdns::tokio::Behaviour::new(mdns::Config::default(), local)
                .inspect_err(|error| tracing::warn!(%error, "no discovery on the local network"))
                .ok()
        });
        Self {
            allowed: allow_block_list::Behaviour::default(),
            limits: connection_limits::Behaviour::new(
                ConnectionLimits::default()
                    .with_max_pending_incoming(Some(limits.pending_in))
                    .with_max_pending_outgoing(Some(limits.pending_out))
                    .with_max_established_per_peer(Some(limits.per_peer))
                    .with_max_established(Some(limits.connections)),
            ),
            links,
            ping: ping::Behaviour::new(ping),
            identify: identify::Behaviour::new(identify),
            autonat: autonat::Behaviour::new(local, relays::dial_back(config)),
            relay_client,
            relay: relay.into(),
            dcutr: dcutr::Behaviour::new(local),
            mdns: mdns.flatten().into(),
        }
    }
}

/// The program, and what tells this start from others: by that a peer sees that we have lost whatever
/// connection it still holds for ours.
fn agent_version() -> String {
    format!("fasti/{} {:016x}", env!("CARGO_PKG_VERSION"), crate::driver::random())
}
