//! How fast frames travel over loopback. Ignored by default, as the numbers mean something only on a quiet
//! machine: `cargo nextest run -p fasti-net --run-ignored only --no-capture speed`.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Node, QUIC, TCP, pair};
use fasti_net::{Event, Lane};

async fn round_trips(listen: &str) {
    let (mut a, mut b) = pair(&[listen]).await;
    let to = b.id;
    let echo = tokio::spawn(async move {
        loop {
            let (_, bytes) = b.frame().await;
            b.handle.push(a.id, bytes.into());
        }
    });
    let mut times = Vec::new();
    for _ in 0..5000 {
        let begun = Instant::now();
        a.handle.push(to, Bytes::from_static(&[7; 600]));
        a.frame().await;
        times.push(begun.elapsed());
    }
    echo.abort();
    times.sort_unstable();
    let [p50, p99, max] = [times[2500], times[4950], times[4999]];
    println!("{listen}: round trip of a 600-byte push: p50 {p50:?}, p99 {p99:?}, max {max:?}");
    // The median: the tail belongs to whatever else the machine does.
    assert!(p50 < Duration::from_millis(1));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed_of_a_push() {
    round_trips(TCP).await;
    round_trips(QUIC).await;
}

const BURST: u64 = 200_000;

/// Half of a queue, so that a burst is never dropped.
const WINDOW: u64 = 2048;

/// One node pushes every frame to three, as fast as the slowest of them takes it.
async fn burst(listen: &str) {
    let mut a = Node::start(1, &[listen]).await;
    let mut others = Vec::new();
    for seed in 2..5 {
        others.push(Node::start(seed, &[listen]).await);
    }
    let known: Vec<_> = others.iter().map(|it| (it.id, &it.addresses[..])).collect();
    a.know(&known);
    for node in &others {
        node.know(&[(a.id, &[])]);
    }
    for _ in &others {
        a.connected().await;
    }
    let mut received = Vec::new();
    for mut node in others {
        node.connected().await;
        let count = Arc::new(AtomicU64::new(0));
        // With its handle: a network without one stops.
        received.push((node.id, node.handle, count.clone()));
        tokio::spawn(async move {
            while let Some(event) = node.events.recv().await {
                if let Event::Frame { lane: Lane::Push, .. } = event {
                    count.fetch_add(1, Relaxed);
                }
            }
        });
    }
    let slowest = || received.iter().map(|(.., count)| count.load(Relaxed)).min().unwrap();
    let frame = Bytes::from_static(&[7; 600]);
    let begun = Instant::now();
    let mut sent = 0;
    while slowest() < BURST {
        assert!(
            begun.elapsed() < common::PATIENCE,
            "{} of {sent}: {:?}",
            slowest(),
            a.handle.counters()
        );
        while sent < BURST && sent < slowest() + WINDOW {
            for (id, ..) in &received {
                a.handle.push(*id, frame.clone());
            }
            sent += 1;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(a.handle.counters().dropped_pushes, 0);
    let rate = BURST as f64 / begun.elapsed().as_secs_f64();
    println!("{listen}: {rate:.0} frames/s of 600 bytes to each of three peers");
    assert!(rate >= 20_000.0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed_of_a_burst() {
    burst(TCP).await;
    burst(QUIC).await;
}
