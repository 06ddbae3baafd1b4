//! Stories of links: how they come up, carry frames, break and heal.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Node, QUIC, TCP, chooser_and_follower, config, eventually, linked, office, pair};
use fasti_net::{Config, DownReason, Event, Lane, Limits, Multiaddr, SendError, StartError, start};

async fn frames_arrive_in_order(listen: &[&str]) {
    let (mut a, mut b) = pair(listen).await;
    for n in 0..500 {
        a.push(&b, format!("push {n}"));
    }
    for n in 0..500 {
        assert_eq!(b.frame().await, (Lane::Push, format!("push {n}").into_bytes()));
    }
    let range = |n: u8| Bytes::from(vec![n; 200_000]);
    let sender = tokio::spawn({
        let (handle, to) = (b.handle.clone(), a.id);
        async move {
            for n in 0..20 {
                handle.sync(to, range(n)).await.unwrap();
            }
        }
    });
    for n in 0..20 {
        assert_eq!(a.frame().await, (Lane::Sync, range(n).to_vec()));
    }
    sender.await.unwrap();
    let counters = b.handle.counters();
    assert_eq!((counters.sync.frames_out, counters.push.frames_in, counters.links), (20, 500, 1));
    assert!(counters.sync.bytes_out < 100_000, "compressed: {counters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_arrive_in_order_over_tcp() {
    frames_arrive_in_order(&[TCP]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_arrive_in_order_over_quic() {
    frames_arrive_in_order(&[QUIC]).await;
}

/// How these two are linked, the first with these addresses of the second.
async fn linked_at(a: &mut Node, b: &Node, addresses: &[Multiaddr]) -> Multiaddr {
    b.know(&[(a.id, &[])]);
    a.know(&[(b.id, addresses)]);
    a.until(|event| match event {
        Event::Connected { address, .. } => Some(address),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_local_network_tcp_comes_first_and_quic_where_it_fails() {
    let tcp = Node::start(3, &[TCP]).await;
    let closed = tcp.addresses.clone();
    tcp.handle.shutdown().await;

    let mut a = Node::start(1, &[TCP, QUIC]).await;
    let b = Node::start(2, &[TCP, QUIC]).await;
    let address = linked_at(&mut a, &b, &b.addresses).await;
    assert!(address.to_string().contains("/tcp/"), "{address}");

    let mut c = Node::start(4, &[QUIC]).await;
    let d = Node::start(5, &[QUIC]).await;
    let mut closed = closed[0].clone();
    closed.pop();
    let address = linked_at(&mut c, &d, &[&[closed], &d.addresses[..]].concat()).await;
    assert!(address.to_string().contains("/quic-v1"), "{address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused() {
    let mut a = Node::start(1, &[TCP]).await;
    let b = Node::start(2, &[TCP]).await;
    a.know(&[]);
    b.know(&[(a.id, &a.addresses)]);
    eventually(|| a.handle.counters().refused >= 2).await;
    assert_eq!((a.handle.counters().links, b.handle.counters().links), (0, 0));
    assert!(a.events.try_recv().is_err(), "and the consumer hears nothing of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_tells_where_else_it_listens() {
    let mut a = Node::start(1, &[TCP]).await;
    let b = Node::start(2, &[TCP, QUIC]).await;
    b.know(&[(a.id, &a.addresses)]);
    a.know(&[(b.id, &[])]);
    // Often before the link is up.
    let found = a.until(|event| match event {
        Event::Discovered { peer, addresses } => Some((peer, addresses)),
        _ => None,
    });
    let (peer, addresses) = found.await;
    assert_eq!((peer, addresses.len()), (b.id, b.addresses.len()), "{addresses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_find_each_other_on_a_lan() {
    // Multicast DNS asks on every interface but loopback.
    let lan = UdpSocket::bind("0.0.0.0:0").unwrap();
    if lan.connect("224.0.0.251:5353").is_err() || lan.local_addr().unwrap().ip().is_loopback() {
        println!("SKIPPED: this machine has no network to find anybody on");
        return;
    }
    let anywhere = |seed| Config { mdns: true, ..config(seed, &["/ip4/0.0.0.0/tcp/0"]) };
    let mut a = Node::with(anywhere(1)).await;
    let mut b = Node::with(anywhere(2)).await;
    for (node, other) in [(&a, b.id), (&b, a.id)] {
        node.know(&[(other, &[])]);
        node.handle.neighbours(BTreeMap::from([(other, Vec::new())]));
    }
    linked(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_is_disconnected_at_once() {
    let (mut a, mut b) = pair(&[TCP]).await;
    let begun = Instant::now();
    a.know(&[]);
    assert_eq!(a.disconnected().await, DownReason::NotAdmitted);
    b.disconnected().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(matches!(a.handle.sync(b.id, Bytes::new()).await, Err(SendError::Gone(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn dials_that_cross_leave_one_link_and_lose_nothing() {
    for round in 0..20 {
        let mut a = Node::start(1, &[TCP, QUIC]).await;
        let mut b = Node::start(2, &[TCP, QUIC]).await;
        a.handle.admit([b.id].into(), BTreeSet::new());
        b.handle.admit([a.id].into(), BTreeSet::new());
        a.want(&[(b.id, &b.addresses)]);
        b.want(&[(a.id, &a.addresses)]);
        // Each sends as soon as it may, whatever becomes of the second connection meanwhile.
        let talk = async |me: &mut Node, you: fasti_core::OfficeId| {
            me.connected().await;
            for n in 0..100 {
                me.handle.push(you, format!("{n}").into());
            }
            for n in 0..100 {
                assert_eq!(me.frame().await.1, format!("{n}").into_bytes());
            }
        };
        let (a_id, b_id) = (a.id, b.id);
        tokio::join!(talk(&mut a, b_id), talk(&mut b, a_id));
        eventually(|| a.handle.counters().open == 1 && b.handle.counters().open == 1).await;
        let (ca, cb) = (a.handle.counters(), b.handle.counters());
        println!("round {round}: {} connections seen", ca.connections.max(cb.connections));
        a.push(&b, "still here");
        b.push(&a, "so am I");
        assert_eq!(b.frame().await.1, b"still here");
        assert_eq!(a.frame().await.1, b"so am I");
    }
}

/// A node that can be killed: its sockets close, and nobody says goodbye.
fn mortal(config: Config) -> (tokio::runtime::Runtime, tokio::task::JoinHandle<Node>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let node = runtime.spawn(Node::with(config));
    (runtime, node)
}

async fn killed_and_restarted(listen: &str, survivor: u8, victim: u8) {
    // Time tells nothing here: only that the victim says that it was started anew.
    let never = Duration::from_secs(3600);
    let patient = Config { duplicate_grace: never, ..config(survivor, &[listen]) };
    let mut a = Node::with(patient).await;
    let (runtime, node) = mortal(config(victim, &[listen]));
    let mut b = node.await.unwrap();
    a.know(&[(b.id, &b.addresses)]);
    b.know(&[(a.id, &a.addresses)]);
    linked(&mut a, &mut b).await;
    let mut again = config(victim, &[]);
    again.listen = b
        .addresses
        .iter()
        .map(|it| {
            let mut it = it.clone();
            it.pop();
            it
        })
        .collect();
    runtime.shutdown_background();
    drop(b);
    let (runtime, node) = loop {
        let (runtime, node) = mortal(again.clone());
        match node.await {
            Ok(node) => break (runtime, node),
            Err(_) => runtime.shutdown_background(),
        }
    };
    let mut b = node;
    b.know(&[(a.id, &a.addresses)]);
    let begun = Instant::now();
    linked(&mut a, &mut b).await;
    println!("{listen}: linked again after {:?}", begun.elapsed());
    a.push(&b, "welcome back");
    assert_eq!(b.frame().await.1, b"welcome back");
    runtime.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_linked_again_over_tcp() {
    let (chooser, follower) = chooser_and_follower();
    killed_and_restarted(TCP, chooser, follower).await;
    killed_and_restarted(TCP, follower, chooser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_linked_again_over_quic() {
    let (chooser, follower) = chooser_and_follower();
    killed_and_restarted(QUIC, chooser, follower).await;
    killed_and_restarted(QUIC, follower, chooser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_splits_and_heals() {
    let mut a = Node::start(1, &[TCP, QUIC]).await;
    let mut b = Node::start(2, &[TCP, QUIC]).await;
    a.know(&[(b.id, &b.addresses)]);
    b.know(&[(a.id, &a.addresses)]);
    linked(&mut a, &mut b).await;
    a.handle.cut([b.id].into());
    assert_eq!(a.disconnected().await, DownReason::NotAdmitted);
    b.disconnected().await;
    // The other side keeps trying, in vain.
    let before = a.handle.counters().refused;
    eventually(|| a.handle.counters().refused > before).await;
    assert_eq!(a.handle.counters().links, 0);
    a.handle.cut(BTreeSet::new());
    linked(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_drops_at_once_and_reports_it_when_it_has_drained() {
    let limits = Limits { push_frames_max: 64, events_max: 8, ..Limits::default() };
    let (one, two) = chooser_and_follower();
    let mut a = Node::with(Config { limits: limits.clone(), ..config(one, &[TCP]) }).await;
    let mut b = Node::with(Config { limits, ..config(two, &[TCP]) }).await;
    a.know(&[(b.id, &[])]);
    b.know(&[(a.id, &a.addresses)]);
    linked(&mut a, &mut b).await;
    // Nobody takes B's events: its queue fills, then the stream's window, then A's queue.
    let frame = Bytes::from(vec![1; 16 << 10]);
    let mut slowest = Duration::ZERO;
    let begun = Instant::now();
    while a.handle.counters().dropped_pushes < 100 {
        assert!(begun.elapsed() < common::PATIENCE);
        let one = Instant::now();
        a.handle.push(b.id, frame.clone());
        slowest = slowest.max(one.elapsed());
        tokio::task::yield_now().await;
    }
    println!("{} frames until full; slowest push {slowest:?}", a.handle.counters().push.frames_out);
    assert!(!a.events.try_recv().is_ok_and(|event| matches!(event, Event::Congested { .. })));
    let drain = tokio::spawn(async move { while b.events.recv().await.is_some() {} });
    let from = a.until(|event| match event {
        Event::Congested { peer } => Some(peer),
        Event::Disconnected { .. } => panic!("a slow consumer is no reason to part"),
        _ => None,
    });
    assert_eq!(from.await, office(two));
    drain.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    for listen in [TCP, QUIC] {
        let a = Node::start(1, &[listen]).await;
        let mut taken = a.addresses[0].clone();
        taken.pop();
        let error =
            start(Config { listen: vec![taken.clone()], ..config(2, &[]) }).await.unwrap_err();
        assert!(matches!(&error, StartError::InUse { address } if *address == taken), "{error}");
        println!("{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_says_goodbye() {
    let (a, mut b) = pair(&[QUIC]).await;
    let begun = Instant::now();
    a.handle.shutdown().await;
    b.disconnected().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "not by time-out: {:?}", begun.elapsed());
}
