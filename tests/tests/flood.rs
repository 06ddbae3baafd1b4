//! A member that floods the others with all that a member can send: they stay small, and work on.
//!
//! FASTI_SOAK_SECONDS=600 cargo nextest run -p fasti-tests --test flood --no-capture
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fasti_core::entry::{Link, RULES, Run, Signer};
use fasti_core::event::Leaf;
use fasti_core::message::{Line, Message, Part};
use fasti_core::notice::{Presence, SignedNotice, Topic};
use fasti_core::statement::{DocumentChange, EventEdit, Statement};
use fasti_core::{DocumentId, EntryHash, Incarnation, LogId, NetworkId, OfficeId};
use fasti_net as net;
use fasti_tests::{Cluster, Fasti, Node, wait_for};

/// What a node may take at most while it is flooded: the core's allowance for the entries of one office, several
/// times over in Automerge and in transactions, the net's inbox, a frame for each lane, a snapshot.
const BYTES_MAX: u64 = 1 << 30;

fn fasti() -> Fasti {
    Fasti::new(env!("CARGO_BIN_EXE_fasti-under-test"))
}

/// Who floods: a member's key, and what it needs to write entries that are properly signed.
struct Flooder {
    signer: Signer,
    log: LogId,
    seq: u64,
    prev: EntryHash,
    parents: Vec<EntryHash>,
    noise: u64,
}

impl Flooder {
    fn noise(&mut self) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        self.noise
    }

    fn text(&mut self, bytes: usize) -> String {
        (0..bytes / 16).map(|_| format!("{:016x}", self.noise())).collect()
    }

    fn hash(&mut self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&self.noise().to_le_bytes()));
        hash
    }

    /// A sound entry of this size.
    fn entry(&mut self, bytes: usize) -> Message {
        let value = Some(Leaf::Text(self.text(bytes)));
        let uid = format!("flood-{}", self.seq % 50);
        let edits = vec![EventEdit { uid, fields: vec![("title".into(), value)] }];
        let change = DocumentChange { document: DocumentId::CALENDAR, edits };
        let (kind, body) = Statement::Change(change).encode();
        let parents = std::mem::take(&mut self.parents);
        let links = vec![Link { rules: RULES, parents, time: 0, person: "".into(), kind, body }];
        let (log, first, prev) = (self.log, self.seq, self.prev);
        let mut run = Run { log, first, prev, links, signature: self.signer.sign(&[0; 32]) };
        let hash = run.hashes()[0];
        run.signature = self.signer.sign(&hash.0);
        (self.seq, self.prev) = (self.seq + 1, hash);
        Message::Push(vec![run])
    }

    /// The next thing to send, and whether as bulk.
    fn next(&mut self) -> (Vec<u8>, bool) {
        match self.noise() % 8 {
            0 => (self.entry(100_000).encode(), false),
            1 | 2 => (self.entry(64).encode(), false),
            3 => (self.text(1 << 20).into_bytes(), true),
            // Inflates to the most that a frame may.
            4 => (vec![0; (16 << 20) - 1], true),
            5 => {
                let log = |n| LogId { author: OfficeId([9; 32]), incarnation: Incarnation(n) };
                let from = (0..50_000).map(|n| (log(n), 1)).chain([(self.log, 1)]).collect();
                (
                    Message::Want { fetch: 1, entries: u64::MAX, part: Part::WHOLE, from }.encode(),
                    true,
                )
            }
            6 => {
                let lines = (0..50_000).map(|_| Line {
                    log: LogId { author: OfficeId(self.hash()), incarnation: Incarnation(1) },
                    seq: u64::MAX,
                    hash: EntryHash(self.hash()),
                });
                let lines = lines.collect();
                let (part, entries) = (Part::WHOLE, u64::MAX);
                let message = Message::Frontier { boot: 1, ask: true, entries, part, lines };
                (message.encode(), true)
            }
            _ => {
                let addresses = vec![self.text(3000)];
                let body = Presence { addresses, rules: RULES, version: "9".into(), relay: false };
                let counter = (1 << 60) + self.seq;
                let notice =
                    |n| SignedNotice::new(&self.signer, Topic::Presence, counter + n, &body);
                (Message::Notices((0..200).map(notice).collect()).encode(), false)
            }
        }
    }
}

fn peak(node: &Node) -> u64 {
    node.usage().unwrap().1
}

#[test]
fn a_flooding_member_harms_nobody_but_itself() {
    let seconds = std::env::var("FASTI_SOAK_SECONDS").map_or(15, |text| text.parse().unwrap());
    let mut cluster = Cluster::of(&fasti(), &["Core", "Denver", "Mallory"]).unwrap();
    let status = cluster.nodes[0].api().get("/v1/status").unwrap();
    let network: NetworkId = status["network"].as_str().unwrap().parse().unwrap();
    let entries = cluster.nodes[0].api().entries().unwrap();
    let mut mallory = cluster.nodes.pop().unwrap();
    mallory.stop().unwrap();
    let key = std::fs::read_to_string(mallory.dir().join("office.key")).unwrap();
    let mut seed = [0; 32];
    hex::decode_to_slice(key.trim(), &mut seed).unwrap();
    let signer = Signer::from_seed(&seed);
    let log = LogId { author: signer.office(), incarnation: Incarnation(0xbad) };
    let mut parents: Vec<EntryHash> = entries.iter().map(|text| text.parse().unwrap()).collect();
    parents.sort();
    let mut flooder =
        Flooder { signer, log, seq: 1, prev: EntryHash(network.0), parents, noise: 88_172_645 };
    let before: Vec<u64> = cluster.nodes.iter().map(peak).collect();

    let targets: BTreeMap<OfficeId, Vec<net::Multiaddr>> = cluster
        .nodes
        .iter()
        .map(|node| {
            let listen = fasti_node::NodeFile::read(node.dir()).unwrap().listen;
            (node.office.parse().unwrap(), listen.iter().map(|it| it.parse().unwrap()).collect())
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let thread = std::thread::spawn({
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut config = net::Config::new(seed);
                config.mdns = false;
                config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
                let (handle, mut events) = net::start(config).await.unwrap();
                handle.admit(targets.keys().copied().collect(), Default::default());
                handle.neighbours(targets.clone());
                tokio::spawn(async move { while events.recv().await.is_some() {} });
                while !stop.load(Relaxed) {
                    let (frame, bulk) = flooder.next();
                    let frame = Bytes::from(frame);
                    sent.fetch_add(frame.len() as u64, Relaxed);
                    for office in targets.keys() {
                        if bulk {
                            let send = handle.sync(*office, frame.clone());
                            let _ = tokio::time::timeout(Duration::from_millis(100), send).await;
                        } else {
                            handle.push(*office, frame.clone());
                        }
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
    });

    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut published = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        published += 1;
        let policy = format!("P{published}");
        let began = Instant::now();
        cluster.nodes[0].api().publish(&policy, "2024-04-01", "through the flood").unwrap();
        wait_for("Denver to have it", || {
            Ok(cluster.nodes[1].api().event(&format!("policy-{policy}"))?.is_some())
        })
        .unwrap();
        slowest = slowest.max(began.elapsed());
    }
    stop.store(true, Relaxed);
    thread.join().unwrap();
    let after: Vec<u64> = cluster.nodes.iter().map(peak).collect();
    let mib = |bytes: &[u64]| bytes.iter().map(|it| it >> 20).collect::<Vec<_>>();
    println!(
        "{seconds} s, {} MiB sent to each; {published} publications, the slowest in {slowest:?}; peak memory {:?} -> {:?} MiB",
        sent.load(Relaxed) >> 20,
        mib(&before),
        mib(&after),
    );
    assert!(sent.load(Relaxed) > 16 << 20, "that was no flood");
    assert!(after.iter().all(|bytes| *bytes < BYTES_MAX), "{:?} MiB", mib(&after));
    // They say who it is, and the admin ends it.
    let log = std::fs::read_to_string(cluster.nodes[0].log()).unwrap();
    assert!(log.contains(&mallory.office), "nobody was told");
    cluster.fasti().call(cluster.nodes[0].dir(), &["remove", "Mallory"]).unwrap();
    cluster.wait_until_equal().unwrap();
}
