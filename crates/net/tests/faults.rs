//! Stories of dead links, liars and slow ends.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::raw::{PUSH, Raw, SYNC};
use common::{Node, QUIC, TCP, chooser_and_follower, config, eventually, linked, office};
use fasti_net::{Config, DownReason, Event, Lane, Multiaddr};
use futures::AsyncWriteExt;
use libp2p::multiaddr::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

fn socket(address: &Multiaddr) -> SocketAddr {
    let mut parts = address.iter();
    let Some(Protocol::Ip4(ip)) = parts.next() else { panic!("{address}") };
    match parts.next() {
        Some(Protocol::Tcp(port) | Protocol::Udp(port)) => (ip, port).into(),
        _ => panic!("{address}"),
    }
}

/// A way to a node that can fall silent: it stays open, and forwards nothing more.
struct Way {
    address: Multiaddr,
    silent: Arc<AtomicBool>,
}

async fn tcp_way(node: &Node) -> Way {
    let silent = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (to, quiet) = (socket(&node.addresses[0]), silent.clone());
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(to).await.unwrap();
            let ((nr, nw), (fr, fw)) = (near.into_split(), far.into_split());
            for (mut from, mut to) in [(nr, fw), (fr, nw)] {
                let quiet = quiet.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 16384];
                    while let Ok(n @ 1..) = from.read(&mut buffer).await {
                        if quiet.load(SeqCst) {
                            // Keeps both sockets open, as a dead router does.
                            std::future::pending::<()>().await;
                        }
                        if to.write_all(&buffer[..n]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    let address = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    Way { address, silent }
}

/// For one dialler.
async fn udp_way(node: &Node) -> Way {
    let silent = Arc::new(AtomicBool::new(false));
    let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = near.local_addr().unwrap().port();
    far.connect(socket(&node.addresses[0])).await.unwrap();
    let quiet = silent.clone();
    tokio::spawn(async move {
        let (mut there, mut back) = ([0; 65536], [0; 65536]);
        let mut dialler = None;
        loop {
            tokio::select! {
                Ok((n, from)) = near.recv_from(&mut there) => {
                    dialler = Some(from);
                    if !quiet.load(SeqCst) {
                        let _ = far.send(&there[..n]).await;
                    }
                }
                Ok(n) = far.recv(&mut back) => {
                    if let Some(dialler) = dialler.filter(|_| !quiet.load(SeqCst)) {
                        let _ = near.send_to(&back[..n], dialler).await;
                    }
                }
            }
        }
    });
    let address = format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().unwrap();
    Way { address, silent }
}

async fn noticed(mut a: Node, mut b: Node, way: Way, busy: bool) {
    a.know(&[(b.id, &[])]);
    b.know(&[(a.id, std::slice::from_ref(&way.address))]);
    linked(&mut a, &mut b).await;
    way.silent.store(true, SeqCst);
    let begun = Instant::now();
    if busy {
        // Fills every buffer on the way, so that even the goodbye can't be written.
        while a.handle.counters().dropped_pushes == 0 {
            a.handle.push(b.id, vec![1; 64 << 10].into());
            tokio::task::yield_now().await;
        }
    }
    let (at_a, at_b) = tokio::join!(a.disconnected(), b.disconnected());
    println!("noticed after {:?}: {at_a}; {at_b}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    way.silent.store(false, SeqCst);
    linked(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_tcp_link_is_noticed_and_mended() {
    let (a, b) = (Node::start(1, &[TCP]).await, Node::start(2, &[TCP]).await);
    let way = tcp_way(&a).await;
    noticed(a, b, way, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_tcp_link_with_full_buffers_is_noticed_and_mended() {
    let (a, b) = (Node::start(1, &[TCP]).await, Node::start(2, &[TCP]).await);
    let way = tcp_way(&a).await;
    noticed(a, b, way, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_quic_link_is_noticed_and_mended() {
    let (a, b) = (Node::start(1, &[QUIC]).await, Node::start(2, &[QUIC]).await);
    let way = udp_way(&a).await;
    noticed(a, b, way, false).await;
}

/// A member who may send anything: it is the chooser, so that it opens the lanes.
async fn rogue() -> (Node, Raw) {
    rogue_at(config(chooser_and_follower().1, &[TCP])).await
}

async fn rogue_at(honest: Config) -> (Node, Raw) {
    let (rogue, _) = chooser_and_follower();
    let node = Node::with(honest).await;
    node.know(&[(office(rogue), &[])]);
    let mut raw = Raw::dial(rogue, &node.addresses[0]).await;
    raw.accept_lanes();
    (node, raw)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_talks_and_answers_no_ping_is_closed() {
    let quick = Duration::from_millis(100);
    let honest = config(chooser_and_follower().1, &[TCP]);
    let honest = Config { ping_interval: quick, ping_timeout: quick, ..honest };
    let (mut node, mut raw) = rogue_at(honest).await;
    let mut push = raw.lane(PUSH).await;
    let _sync = raw.lane(SYNC).await;
    node.connected().await;
    let talk = tokio::spawn(async move {
        let mut tick = tokio::time::interval(quick / 4);
        loop {
            tick.tick().await;
            if push.write_all(&frame(0, 2, b"hm")).await.is_err() || push.flush().await.is_err() {
                break;
            }
        }
    });
    assert_eq!(node.disconnected().await, DownReason::Silent);
    talk.await.unwrap();
}

fn frame(coding: u8, len: usize, body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(len).unwrap().to_le_bytes().to_vec();
    frame.push(coding);
    frame.extend_from_slice(body);
    frame
}

/// Highest resident memory of this process so far, in kB. Each story is a process of its own under
/// nextest.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn bad_frame_closes(bytes: Vec<u8>, why: &str) {
    let (mut node, mut raw) = rogue().await;
    let _push = raw.lane(PUSH).await;
    let mut sync = raw.lane(SYNC).await;
    node.connected().await;
    sync.write_all(&frame(0, 5, b"hello")).await.unwrap();
    sync.flush().await.unwrap();
    assert_eq!(node.frame().await, (Lane::Sync, b"hello".to_vec()));
    let before = peak_kb();
    // The node may close before it has read all.
    let _ = sync.write_all(&bytes).await;
    let _ = sync.flush().await;
    let reason = node.disconnected().await;
    assert!(matches!(&reason, DownReason::BadFrame(it) if it.contains(why)), "{reason}");
    raw.closed().await;
    assert!(peak_kb() - before < 64 << 10, "{} kB more", peak_kb() - before);
    assert_eq!(node.handle.counters().bad_frames, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_length_closes_the_connection() {
    bad_frame_closes(frame(0, u32::MAX as usize, &[0; 100_000]), "announced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_coding_closes_the_connection() {
    bad_frame_closes(frame(7, 1, b"x"), "unknown coding").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_closes_the_connection_and_fills_no_memory() {
    let zeros = std::io::repeat(0).take(4 << 30);
    let bomb = zstd::stream::encode_all(zeros, 1).unwrap();
    println!("4 GiB in {} bytes", bomb.len());
    bad_frame_closes(frame(1, bomb.len(), &bomb), "inflates past").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_misbehaved_may_come_back_later() {
    let (mut node, mut raw) = rogue().await;
    let _push = raw.lane(PUSH).await;
    let mut sync = raw.lane(SYNC).await;
    node.connected().await;
    sync.write_all(&frame(9, 0, b"")).await.unwrap();
    sync.flush().await.unwrap();
    node.disconnected().await;
    let (rogue, _) = chooser_and_follower();
    let begun = Instant::now();
    // Refused for a while, then a link again.
    loop {
        let mut raw = Raw::dial(rogue, &node.addresses[0]).await;
        raw.accept_lanes();
        if let Ok(push) = raw.try_lane(PUSH).await {
            let sync = raw.lane(SYNC).await;
            node.connected().await;
            drop((push, sync));
            break;
        }
    }
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(node.handle.counters().refused > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opener_whose_acknowledgement_got_lost_opens_again() {
    let (mut node, mut raw) = rogue().await;
    let missed = raw.lane(PUSH).await;
    let _sync = raw.lane(SYNC).await;
    node.connected().await;
    // The node reads by now, and sees the end of a lane that carried nothing.
    drop(missed);
    let mut push = raw.lane(PUSH).await;
    push.write_all(&frame(0, 2, b"ok")).await.unwrap();
    push.flush().await.unwrap();
    assert_eq!(node.frame().await, (Lane::Push, b"ok".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_don_t_grow_the_node() {
    let (node, mut raw) = rogue().await;
    let mut kept = Vec::new();
    for _ in 0..1000 {
        match tokio::time::timeout(Duration::from_secs(1), raw.control.open_stream(raw.to, PUSH))
            .await
        {
            Ok(Ok(stream)) => kept.push(stream),
            _ => break,
        }
    }
    println!("{} streams before the node had enough", kept.len());
    assert!(node.handle.counters().open <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_the_join_and_nothing_else() {
    let node = Node::start(1, &[TCP]).await;
    node.handle.admit([].into(), [common::ticket(9)].into());
    let mut raw = Raw::dial(9, &node.addresses[0]).await;
    let refused = raw.control.open_stream(raw.to, PUSH).await.unwrap_err();
    assert!(matches!(refused, libp2p_stream::OpenStreamError::UnsupportedProtocol(_)), "{refused}");
    assert_eq!(node.handle.counters().links, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_with_a_ticket() {
    for listen in [TCP, QUIC] {
        let mut node = Node::start(1, &[listen]).await;
        node.handle.admit([].into(), [common::ticket(9)].into());
        let addresses = node.addresses.clone();
        let joining =
            tokio::spawn(
                async move { fasti_net::join([9; 32], &addresses, b"let me in".into()).await },
            );
        let reply = node
            .until(|event| match event {
                Event::Join { ticket, request, reply } => {
                    assert_eq!((ticket, &request[..]), (common::ticket(9), &b"let me in"[..]));
                    Some(reply)
                }
                _ => None,
            })
            .await;
        // The ticket is used up before its holder has the answer, which must get through all the same.
        node.handle.admit([office(2)].into(), [].into());
        reply.send(vec![5; 300_000]).unwrap();
        assert_eq!(joining.await.unwrap().unwrap(), vec![5; 300_000]);
    }
}

/// Over TCP, as QUIC keeps its connections alive by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_takes_longer_than_a_dead_link_is_answered() {
    let quick = Duration::from_millis(100);
    let honest = Config { ping_interval: quick, ping_timeout: quick, ..config(1, &[TCP]) };
    let mut node = Node::with(honest).await;
    node.handle.admit([].into(), [common::ticket(9)].into());
    let addresses = node.addresses.clone();
    let joining =
        tokio::spawn(async move { fasti_net::join([9; 32], &addresses, Vec::new()).await });
    let reply = node.until(|event| match event {
        Event::Join { reply, .. } => Some(reply),
        _ => None,
    });
    let reply = reply.await;
    // The consumer's disk is slow.
    tokio::time::sleep(quick * 10).await;
    reply.send(vec![5]).unwrap();
    assert_eq!(joining.await.unwrap().unwrap(), [5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_fails_says_why_for_each_address() {
    let node = Node::start(1, &[TCP]).await;
    node.handle.admit([].into(), [].into());
    let gone: Multiaddr = node.addresses[0]
        .iter()
        .map(|part| if let Protocol::Tcp(_) = part { Protocol::Tcp(1) } else { part })
        .collect();
    let addresses = [node.addresses[0].clone(), gone];
    let error = fasti_net::join([9; 32], &addresses, b"let me in".into()).await.unwrap_err();
    println!("{error}");
    let text = error.to_string();
    assert!(text.contains("doesn't know the ticket"), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
    let none = fasti_net::join([9; 32], &[], Vec::new()).await.unwrap_err();
    assert!(matches!(none, fasti_net::JoinError::NoAddress));
    eventually(|| node.handle.counters().refused > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_can_be_refused_by_the_consumer() {
    let mut node = Node::start(1, &[TCP]).await;
    node.handle.admit([].into(), [common::ticket(9)].into());
    let addresses = node.addresses.clone();
    let joining =
        tokio::spawn(async move { fasti_net::join([9; 32], &addresses, Vec::new()).await });
    node.until(|event| matches!(event, Event::Join { .. }).then_some(())).await;
    let error = joining.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}
