//! Nodes for stories: each on free ports of the loopback interface, without mDNS.

#![allow(dead_code, unreachable_pub)]

pub mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use fasti_core::{OfficeId, TicketId};
use fasti_net::{Config, Event, Handle, Lane, Multiaddr, start};
use libp2p::identity::Keypair;
use tokio::sync::mpsc;

/// Above all that a story may take, on a machine that does other things as well.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

pub struct Node {
    pub id: OfficeId,
    pub handle: Handle,
    pub events: mpsc::Receiver<Event>,
    pub addresses: Vec<Multiaddr>,
}

pub fn key(seed: u8) -> Keypair {
    Keypair::ed25519_from_bytes([seed; 32]).unwrap()
}

pub fn office(seed: u8) -> OfficeId {
    OfficeId(key(seed).try_into_ed25519().unwrap().public().to_bytes())
}

pub fn ticket(seed: u8) -> TicketId {
    TicketId(office(seed).0)
}

/// Two seeds, the first with the smaller office id: the one that decides between connections.
pub fn chooser_and_follower() -> (u8, u8) {
    if office(1) < office(2) { (1, 2) } else { (2, 1) }
}

pub fn config(seed: u8, listen: &[&str]) -> Config {
    Config {
        listen: listen.iter().map(|it| it.parse().unwrap()).collect(),
        mdns: false,
        ..Config::new([seed; 32])
    }
}

impl Node {
    pub async fn start(seed: u8, listen: &[&str]) -> Self {
        Self::with(config(seed, listen)).await
    }

    pub async fn with(config: Config) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let id = office(config.key[0]);
        let wanted = config.listen.len();
        let (handle, events) = start(config).await.unwrap();
        let mut node = Self { id, handle, events, addresses: Vec::new() };
        while node.addresses.len() < wanted {
            node.addresses = node
                .until(|event| match event {
                    Event::Listening { addresses } => Some(addresses),
                    _ => None,
                })
                .await;
        }
        node
    }

    /// Admits these, and wants to be linked with those that have addresses.
    pub fn know(&self, others: &[(OfficeId, &[Multiaddr])]) {
        self.handle.admit(others.iter().map(|(id, _)| *id).collect(), BTreeSet::new());
        self.want(others);
    }

    pub fn want(&self, others: &[(OfficeId, &[Multiaddr])]) {
        let wanted = others.iter().filter(|(_, at)| !at.is_empty());
        self.handle
            .neighbours(wanted.map(|(id, at)| (*id, at.to_vec())).collect::<BTreeMap<_, _>>());
    }

    /// The next event that fits; those before it are dropped.
    pub async fn until<T>(&mut self, fits: impl FnMut(Event) -> Option<T>) -> T {
        self.within(PATIENCE, fits).await
    }

    pub async fn within<T>(
        &mut self,
        time: Duration,
        mut fits: impl FnMut(Event) -> Option<T>,
    ) -> T {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if let Some(found) = fits(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(time, search).await.expect("it happens in time")
    }

    pub async fn connected(&mut self) -> OfficeId {
        self.until(|event| match event {
            Event::Connected { peer, .. } => Some(peer),
            _ => None,
        })
        .await
    }

    pub async fn disconnected(&mut self) -> fasti_net::DownReason {
        self.until(|event| match event {
            Event::Disconnected { reason, .. } => Some(reason),
            _ => None,
        })
        .await
    }

    /// The next frame. A lost or second link on the way fails the story.
    pub async fn frame(&mut self) -> (Lane, Vec<u8>) {
        self.until(|event| match event {
            Event::Frame { lane, bytes, .. } => Some((lane, bytes)),
            Event::Connected { .. } | Event::Disconnected { .. } => panic!("{event:?}"),
            _ => None,
        })
        .await
    }

    pub fn push(&self, to: &Self, text: impl Into<String>) {
        self.handle.push(to.id, Bytes::from(text.into()));
    }
}

pub async fn linked(a: &mut Node, b: &mut Node) {
    let (peer_of_a, peer_of_b) = tokio::join!(a.connected(), b.connected());
    assert_eq!((peer_of_a, peer_of_b), (b.id, a.id));
}

/// Two that are linked; the second dialled.
pub async fn pair(listen: &[&str]) -> (Node, Node) {
    let (one, two) = chooser_and_follower();
    let mut a = Node::start(one, listen).await;
    let mut b = Node::start(two, listen).await;
    a.know(&[(b.id, &[])]);
    b.know(&[(a.id, &a.addresses)]);
    linked(&mut a, &mut b).await;
    (a, b)
}

/// Waits for what no event tells.
pub async fn eventually(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it comes true in time");
}
