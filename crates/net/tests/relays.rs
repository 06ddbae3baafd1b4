//! Stories of relays, over loopback. What NAT does to links is told in `tests/tests/nat.rs`.
//!
//! An office that can't be dialled is one that listens at 127.0.0.2: what it dials leaves from 127.0.0.1, and
//! there others look for it. Only Linux has that address.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use bytes::Bytes;
use common::{Node, TCP, config, key, linked, ticket};
use fasti_net::{Config, Event, Lane, Multiaddr, peer_id};
use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{noise, ping, relay, tcp, yamux};

const APART: &str = "/ip4/127.0.0.2/tcp/0";

async fn relay(seed: u8) -> Node {
    Node::with(Config { relay: true, ..config(seed, &[TCP]) }).await
}

/// Where this node tells others to come through a relay, once it does.
async fn through_relay(node: &mut Node) -> Multiaddr {
    let relayed = |at: &Multiaddr| at.iter().any(|part| part == Protocol::P2pCircuit);
    node.until(|event| match event {
        Event::Listening { addresses } => addresses.into_iter().find(relayed),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_both_lanes_travel_through_a_relay() {
    let (mut r, mut a, mut b) =
        (relay(3).await, Node::start(1, &[APART]).await, Node::start(2, &[APART]).await);
    r.know(&[(a.id, &[]), (b.id, &[])]);
    b.know(&[(a.id, &[]), (r.id, &r.addresses)]);
    b.handle.relays([(r.id, r.addresses.clone())].into());
    linked(&mut r, &mut b).await;
    let at = through_relay(&mut b).await;
    a.know(&[(b.id, &[at]), (r.id, &r.addresses)]);
    for node in [&mut a, &mut b] {
        let relayed = node.until(|event| match event {
            Event::Connected { peer, relayed, .. } if peer != r.id => Some(relayed),
            _ => None,
        });
        assert!(relayed.await);
    }
    let frame = async |node: &mut Node, from| {
        node.until(|event| match event {
            Event::Frame { peer, lane, bytes, .. } if peer == from => Some((lane, bytes)),
            Event::Connected { peer, .. } | Event::Disconnected { peer, .. } if peer == from => {
                panic!("the link has changed")
            }
            _ => None,
        })
        .await
    };
    for n in 0..500 {
        a.push(&b, format!("push {n}"));
    }
    for n in 0..500 {
        assert_eq!(frame(&mut b, a.id).await, (Lane::Push, format!("push {n}").into_bytes()));
    }
    // More than any of the limits that libp2p has for circuits by default.
    let range = |n: u8| {
        let mut random = u64::from(n) + 1;
        let bytes = (0..200_000).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 56) as u8
        });
        Bytes::from(bytes.collect::<Vec<_>>())
    };
    let sender = tokio::spawn({
        let (handle, to) = (b.handle.clone(), a.id);
        async move {
            for n in 0..20 {
                handle.sync(to, range(n)).await.unwrap();
            }
        }
    });
    for n in 0..20 {
        assert_eq!(frame(&mut a, b.id).await, (Lane::Sync, range(n).to_vec()));
    }
    sender.await.unwrap();
    assert!(b.handle.counters().sync.bytes_out > 3_000_000, "{:?}", b.handle.counters());

    r.handle.shutdown().await;
    let (to_a, to_b) = (a.id, b.id);
    for (node, other) in [(&mut a, to_b), (&mut b, to_a)] {
        let lost = node.until(|event| match event {
            Event::Disconnected { peer, .. } if peer == other => Some(()),
            _ => None,
        });
        lost.await;
    }
}

#[derive(NetworkBehaviour)]
struct Asking {
    relay: relay::client::Behaviour,
    ping: ping::Behaviour,
}

/// Asks for a place at the relay with this key; whether it got one.
async fn gets_a_place(seed: u8, relay: &Multiaddr) -> bool {
    let mut swarm: Swarm<Asking> = libp2p::SwarmBuilder::with_existing_identity(key(seed))
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_, relay| Asking { relay, ping: ping::Behaviour::default() })
        .unwrap()
        .build();
    swarm.listen_on(relay.clone().with(Protocol::P2pCircuit)).unwrap();
    let answer = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { .. } => return true,
                SwarmEvent::ListenerClosed { .. } => return false,
                _ => {}
            }
        }
    };
    tokio::time::timeout(common::PATIENCE, answer).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_members_get_a_place_at_a_relay() {
    let r = relay(3).await;
    let member = common::office(1);
    r.handle.admit([member].into(), [ticket(4)].into());
    assert!(gets_a_place(1, &r.addresses[0]).await);
    assert!(!gets_a_place(4, &r.addresses[0]).await, "the holder of a ticket");
    assert!(!gets_a_place(5, &r.addresses[0]).await, "a stranger");
    r.handle.admit(BTreeSet::new(), BTreeSet::new());
    assert!(!gets_a_place(1, &r.addresses[0]).await, "a former member");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_relay_gives_nobody_a_place() {
    let a = Node::start(3, &[TCP]).await;
    a.handle.admit([common::office(1)].into(), BTreeSet::new());
    assert!(!gets_a_place(1, &a.addresses[0]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_joins_through_the_relay_of_its_sponsor() {
    let (mut r, mut sponsor) = (relay(3).await, Node::start(1, &[APART]).await);
    r.handle.admit([sponsor.id].into(), [ticket(4)].into());
    sponsor.handle.admit([r.id].into(), [ticket(4)].into());
    sponsor.want(&[(r.id, &r.addresses)]);
    sponsor.handle.relays([(r.id, r.addresses.clone())].into());
    linked(&mut r, &mut sponsor).await;
    let at = through_relay(&mut sponsor).await;
    let last = at.iter().last();
    assert_eq!(last, Some(Protocol::P2p(peer_id(&sponsor.id).unwrap())));
    let joining =
        tokio::spawn(async move { fasti_net::join([4; 32], &[at], b"let me in".to_vec()).await });
    let (asked, reply) = sponsor
        .until(|event| match event {
            Event::Join { ticket: from, request, reply } if from == ticket(4) => {
                Some((request, reply))
            }
            _ => None,
        })
        .await;
    assert_eq!(asked, b"let me in");
    reply.send(b"welcome".to_vec()).unwrap();
    assert_eq!(joining.await.unwrap().unwrap(), b"welcome");
}
