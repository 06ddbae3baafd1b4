//! What one core costs, without disk and network: applying remote changes at several sizes of the
//! calendar, and opening a large one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use fasti_core::entry::{Bundle, Signer};
use fasti_core::log::{Chunks, bundle};
use fasti_core::message::Message;
use fasti_core::policy::PolicyEvent;
use fasti_core::row::Row;
use fasti_core::statement::{Admit, Invite, Role};
use fasti_core::{Command, Config, Core, Input, Now, OfficeId, Stored, TicketId, Write};
use serde::Serialize;
use serde_json::json;

/// All figures of this part.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// One remote change, by itself, with so many events in the calendar.
    apply_one: Vec<AtSize>,
    /// Remote changes in chunks as a newcomer gets them, per second, from 0 events to so many.
    apply_batched: Vec<PerSecond>,
    /// Opening from a snapshot and all rows.
    open: Vec<Open>,
}

#[derive(Debug, Serialize)]
struct AtSize {
    events: u64,
    micros_p50: f64,
    micros_p99: f64,
}

#[derive(Debug, Serialize)]
struct PerSecond {
    events: u64,
    changes_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Open {
    events: u64,
    seconds: f64,
    snapshot_bytes: usize,
}

struct Office {
    core: Core,
    rows: Vec<Row>,
    now: Now,
}

impl Office {
    fn handle(&mut self, input: Input) {
        self.now.monotonic.0 += 1;
        self.now.wall += 1;
        self.core.handle(self.now, input);
    }

    fn step(&mut self) {
        let rows = &mut self.rows;
        let step = self.core.step(self.now);
        let done = step.persist(|writes| {
            for write in writes {
                if let Write::Entry { row, .. } = write {
                    rows.push(row.clone());
                }
            }
            Ok::<_, Infallible>(())
        });
        drop(done);
    }
}

/// Runs it for these sizes, ascending.
pub(crate) fn run(sizes: &[u64]) -> anyhow::Result<Figures> {
    let signer = Signer::from_seed(&[1; 32]);
    let reader = Signer::from_seed(&[2; 32]);
    let now = Now { wall: 1_700_000_000_000, ..Now::default() };
    let (network, log, row) = fasti_core::found(&signer, "Core", [3; 16], now.wall)?;
    let config = Config::new(network, signer.clone(), [4; 32]);
    let stored = Stored { incarnation: Some(log.incarnation), ..Stored::default() };
    let rows = || Ok(std::iter::once(Ok::<_, Infallible>(row.clone())));
    let core = Core::open(config, stored, rows, now)?;
    let mut author = Office { core, rows: vec![row], now };
    admit(&mut author, &reader);

    let mut config = Config::new(network, reader.clone(), [5; 32]);
    config.bootstrap = BTreeMap::from([(signer.office(), Vec::new())]);
    let none = || Ok(std::iter::empty::<Result<Row, Infallible>>());
    let core = Core::open(config, Stored::default(), none, now)?;
    let mut receiver = Office { core, rows: Vec::new(), now };
    receiver.handle(Input::Connected(signer.office()));
    receiver.step();

    let mut figures =
        Figures { apply_one: Vec::new(), apply_batched: Vec::new(), open: Vec::new() };
    let mut published = 0;
    let mut sent = 0;
    for size in sizes {
        while published < *size {
            publish(&mut author, published);
            published += 1;
            if published % 100 == 0 || published == *size {
                author.step();
            }
        }
        let mut took = Duration::ZERO;
        let count = author.rows.len() - sent;
        for bundle in chunks(&author.rows[sent..]) {
            took += receive(&mut receiver, signer.office(), bundle);
        }
        took += apply(&mut receiver);
        sent = author.rows.len();
        let changes_per_second = count as f64 / took.as_secs_f64();
        figures.apply_batched.push(PerSecond { events: *size, changes_per_second });

        let mut single = Vec::new();
        for _ in 0..50 {
            publish(&mut author, published);
            published += 1;
            author.step();
            let change = bundle(author.rows[sent..].to_vec());
            single.push(receive(&mut receiver, signer.office(), change) + apply(&mut receiver));
            sent = author.rows.len();
        }
        single.sort();
        figures.apply_one.push(AtSize {
            events: *size,
            micros_p50: single[single.len() / 2].as_secs_f64() * 1e6,
            micros_p99: single[single.len() * 99 / 100].as_secs_f64() * 1e6,
        });
        assert_eq!(
            receiver.core.frontier(),
            author.core.frontier(),
            "the receiver missed something"
        );
        figures.open.push(open(&mut receiver, network, &reader)?);
    }
    Ok(figures)
}

fn admit(author: &mut Office, newcomer: &Signer) {
    let ticket = Signer::from_seed(&[9; 32]);
    let id = TicketId(ticket.office().0);
    let invite =
        Invite { ticket: id, name: "Denver".into(), roles: vec![Role::Office], expires: i64::MAX };
    author.handle(Input::Command(1, Command::Invite(invite)));
    let network = fasti_core::NetworkId(author.rows[0].hash.0);
    let admit = Admit::new(&network, newcomer.office(), &ticket);
    author.handle(Input::Command(2, Command::Admit(admit)));
    author.step();
}

fn publish(author: &mut Office, number: u64) {
    author.handle(Input::Command(number, Command::Publish(vec![policy(number)])));
}

/// A publication as programs make them: it becomes an event of 12 fields.
fn policy(number: u64) -> PolicyEvent {
    let payload = json!({
        "policy_id": format!("YSP-{number}"), "start_date": "2024-04-01", "end_date": "2024-12-31",
        "title": format!("Youth Sports Funding {number}"), "region": "west", "budget_eur": 250_000 + number
    });
    let event = json!({"type": "policy_start", "payload": payload});
    PolicyEvent::from_json(event).unwrap_or_else(|error| panic!("{error}"))
}

fn chunks(rows: &[Row]) -> Vec<Bundle> {
    let mut chunks = Chunks::new();
    let mut bundles: Vec<Bundle> = rows.iter().filter_map(|row| chunks.add(row.clone())).collect();
    bundles.push(chunks.finish());
    bundles
}

/// From the frame to the step that would be stored.
fn receive(receiver: &mut Office, from: OfficeId, bundle: Bundle) -> Duration {
    let frame = Message::Push(bundle).encode();
    let start = Instant::now();
    receiver.handle(Input::Received(from, frame));
    receiver.step();
    start.elapsed()
}

/// What was left for later, until the document has it all.
fn apply(receiver: &mut Office) -> Duration {
    let start = Instant::now();
    receiver.core.document();
    start.elapsed()
}

fn open(
    receiver: &mut Office,
    network: fasti_core::NetworkId,
    reader: &Signer,
) -> anyhow::Result<Open> {
    let bytes = receiver.core.document().map(fasti_core::Document::save).unwrap_or_default();
    let rows: Vec<Vec<u8>> = receiver.rows.iter().map(Row::encode).collect();
    let snapshot_bytes = bytes.len();
    let start = Instant::now();
    let stored = Stored { snapshot: Some((rows.len() as u64, bytes)), ..Stored::default() };
    let config = Config::new(network, reader.clone(), [6; 32]);
    let rows = || Ok(rows.iter().map(|row| Row::decode(row)));
    let mut core = Core::open(config, stored, rows, receiver.now)?;
    let seconds = start.elapsed().as_secs_f64();
    let events = core.document().map_or(0, fasti_core::Document::events);
    Ok(Open { events, seconds, snapshot_bytes })
}
