//! What a replay costs. Prints numbers and asserts none: `cargo test --release -p fasti-core --lib
//! booking::measure -- --ignored --nocapture`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Bookings, Docket};
use crate::entry::{Entry, Link};
use crate::graph::{Graph, Index};
use crate::ids::{EntryHash, Incarnation, LogId, OfficeId};
use crate::resource::{Book, Define, Description, Reservation, ResourceKind, Slot, Terms};
use crate::row::{Row, Standing};

const HOUR: i64 = 3600;

struct Log {
    office: OfficeId,
    seq: u64,
    last: Option<Index>,
}

struct Node {
    graph: Graph,
    bookings: Bookings,
    entries: u64,
}

impl Node {
    /// Writes on top of these, and of what is last in the log.
    fn write(&mut self, log: &mut Log, parents: &[Index], said: &Reservation) -> EntryHash {
        self.entries += 1;
        log.seq += 1;
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&self.entries.to_be_bytes());
        let hash = EntryHash(hash);
        let mut all: Vec<Index> = log.last.into_iter().collect();
        all.extend(parents.iter().filter(|it| Some(**it) != log.last));
        let of = LogId { author: log.office, incarnation: Incarnation(1) };
        let prev = log.last.map_or(EntryHash([0; 32]), |last| self.graph.node(last).hash);
        let link =
            Link { rules: 1, parents: vec![], time: 0, person: "".into(), kind: 0, body: vec![] };
        let entry = Entry { log: of, seq: log.seq, prev, link };
        let row = Row { hash, signature: None, standing: Standing::Applied, applied: None, entry };
        let at = self.graph.append(&row, all.into());
        log.last = Some(at);
        self.bookings.take(&self.graph, at, log.office, said, |it| it);
        hash
    }
}

fn booked(resource: EntryHash, hour: i64) -> Reservation {
    let start = 1_900_000_800 + hour * HOUR;
    let claims = vec![Slot { start, end: start + HOUR, occurrence: String::new() }];
    let resource = crate::ids::ResourceId(resource.0);
    Reservation::Book(Book { resource, uid: format!("e{hour}"), releases: vec![], claims })
}

fn new(offices: &[OfficeId]) -> (Node, EntryHash, Index) {
    let mut node = Node { graph: Graph::default(), bookings: Bookings::default(), entries: 0 };
    let terms = Terms { capacity: 1, before: 0, after: 0 };
    let description = Description { name: "Van".into(), kind: ResourceKind::Vehicle, terms };
    let define = Reservation::Define(Define { description, stakeholders: offices.to_vec() });
    let mut founder = Log { office: OfficeId([9; 32]), seq: 0, last: None };
    let resource = node.write(&mut founder, &[], &define);
    (node, resource, 0)
}

fn docket(node: &Node) -> &Docket {
    node.bookings.dockets().next().unwrap()
}

#[test]
#[ignore = "measures"]
fn what_a_booking_and_a_merge_cost() {
    for count in [10_000_i64, 100_000] {
        let offices = [OfficeId([1; 32]), OfficeId([2; 32])];
        let (mut node, resource, root) = new(&offices);
        let mut logs = offices.map(|office| Log { office, seq: 0, last: None });
        let [a, b] = &mut logs;
        for hour in 0..count / 2 {
            node.write(a, &[root], &booked(resource, hour));
        }
        node.bookings.refresh();
        let before = Instant::now();
        node.write(a, &[root], &booked(resource, count / 2));
        node.bookings.refresh();
        let one = before.elapsed();
        // The other office booked as many, half of them at the same hours, and knew nothing of these.
        let before = Instant::now();
        for hour in 0..count / 2 {
            node.write(b, &[root], &booked(resource, hour + count / 4));
        }
        let taken = before.elapsed();
        let before = Instant::now();
        node.bookings.refresh();
        let merged = before.elapsed();
        let lasts = [a.last.unwrap(), b.last.unwrap()];
        // Knowing of all that, for the first time; and then again.
        let before = Instant::now();
        node.write(a, &lasts, &booked(resource, 2 * count));
        let known = before.elapsed();
        node.bookings.refresh();
        let first = before.elapsed();
        let before = Instant::now();
        for at in 0..100 {
            node.write(a, &[], &booked(resource, 2 * count + 1 + at));
            node.bookings.refresh();
        }
        let after = before.elapsed() / 100;
        // Not knowing of those, so that they belong far back in the order.
        let before = Instant::now();
        for at in 0..100 {
            node.write(b, &[], &booked(resource, 2 * count + at));
            node.bookings.refresh();
        }
        let beside = before.elapsed() / 100;
        let before = Instant::now();
        let covers = |office: &OfficeId, at: Index| *office == offices[0] || at < lasts[1];
        let settled = docket(&node).settled(&covers, &|_| BTreeSet::new());
        println!(
            "{count} bookings of one resource: one more {one:?}; {} of another office taken in {taken:?}, \
             put in order in {merged:?}; the next one {first:?} ({known:?} of that to see what it \
             knows), those after it {after:?} each; one beside them {beside:?}; what is settled found in {:?} (until {}); {} displaced",
            count / 2,
            before.elapsed(),
            settled.until,
            docket(&node).displaced().count(),
        );
    }
}

/// As many as may wait for one hour, and more: each that goes lets the others try.
#[test]
#[ignore = "measures"]
fn what_a_crowd_costs() {
    let office = OfficeId([1; 32]);
    let (mut node, resource, root) = new(&[office]);
    let mut log = Log { office, seq: 0, last: None };
    let mut books = Vec::new();
    for _ in 0..10_000 {
        books.push(node.write(&mut log, &[root], &booked(resource, 1)));
    }
    let before = Instant::now();
    node.bookings.refresh();
    let all = before.elapsed();
    let before = Instant::now();
    for book in &books {
        let releases = vec![crate::resource::ClaimId { entry: *book, slot: 0 }];
        let resource = crate::ids::ResourceId(resource.0);
        let book = Book { resource, uid: "e".into(), releases, claims: vec![] };
        node.write(&mut log, &[root], &Reservation::Book(book));
        node.bookings.refresh();
    }
    println!("10,000 for one hour: {all:?}; each of them gone again: {:?}", before.elapsed());
}
