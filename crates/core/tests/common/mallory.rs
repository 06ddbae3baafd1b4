//! A member that lies: writes what an honest program would write, then changes it, and signs the result
//! with a key that everyone has admitted.

use fasti_core::OfficeId;
use fasti_core::entry::{Entry, Link, Run, Signer};
use fasti_core::message::Message;
use fasti_core::row::Row;
use fasti_core::statement::{DocumentChange, EventEdit, Statement};
use fasti_core::{DocumentId, EntryHash, Input, LogId};
use serde_json::{Value, json};

use super::World;

pub struct Mallory {
    pub id: OfficeId,
    signer: Signer,
    pub log: LogId,
    pub seq: u64,
    pub prev: EntryHash,
    /// What an honest program would write next.
    pub honest: Link,
}

impl Mallory {
    /// Takes over the third of three offices, after it has written an honest edit of `policy-A` that
    /// nobody has seen: with `prepare` first.
    pub fn in_world_of(world: &mut World, ids: &[OfficeId]) -> Self {
        let id = ids[2];
        world.patch(id, "policy-A", json!({"description": "seen by all"}));
        world.settle();
        for other in &ids[..2] {
            world.cut(id, *other);
        }
        world.patch(id, "policy-A", json!({"title": "Mallory's"}));
        let Row { entry, .. } = world.offices[&id].disk.rows.last().unwrap().clone();
        for other in &ids[..2] {
            world.input(*other, Input::Connected(id));
        }
        let signer = world.offices[&id].signer.clone();
        let Entry { log, seq, prev, link } = entry;
        Self { id, signer, log, seq, prev, honest: link }
    }

    /// What was honestly edited.
    pub fn edits(&self) -> Vec<EventEdit> {
        match Statement::decode(self.honest.kind, &self.honest.body).unwrap() {
            Statement::Change(change) => change.edits,
            other => panic!("{other:?}"),
        }
    }

    /// The honest link with other edits in it.
    pub fn editing(&self, edits: Vec<EventEdit>) -> Link {
        self.saying(&Statement::Change(DocumentChange { document: DocumentId::CALENDAR, edits }))
    }

    /// The honest link with another body.
    pub fn with_body(&self, body: Vec<u8>) -> Link {
        Link { body, ..self.honest.clone() }
    }

    /// The honest link with another statement in it.
    pub fn saying(&self, statement: &Statement) -> Link {
        let (kind, body) = statement.encode();
        Link { kind, body, ..self.honest.clone() }
    }

    /// A properly signed run that goes on where the log is.
    pub fn run(&self, links: Vec<Link>) -> Run {
        let signature = self.signer.sign(&[0; 32]);
        let mut run = Run { log: self.log, first: self.seq, prev: self.prev, links, signature };
        self.sign(&mut run);
        run
    }

    /// Signs whatever a run says now.
    pub fn sign(&self, run: &mut Run) {
        if let Some(last) = run.hashes().last() {
            run.signature = self.signer.sign(&last.0);
        }
    }

    /// Adds an entry to the log for good, and tells one office.
    pub fn write(&mut self, world: &mut World, to: OfficeId, link: Link) -> EntryHash {
        let run = self.run(vec![link]);
        self.seq += 1;
        self.prev = run.hashes()[0];
        self.push(world, to, run);
        self.prev
    }

    /// Tells one office, whatever it is.
    pub fn push(&self, world: &mut World, to: OfficeId, run: Run) {
        world.input(to, Input::Received(self.id, Message::Push(vec![run]).encode()));
    }
}

/// Pseudo-random numbers from a seed: SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }

    /// Flips bits, overwrites, cuts or repeats.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(3) {
            let at = self.roll(bytes.len().max(1));
            match self.roll(5) {
                _ if bytes.is_empty() => bytes.push(self.roll(256) as u8),
                0 => bytes.truncate(at),
                1 => bytes[at] = self.roll(256) as u8,
                2 => bytes.insert(at, [0, 0x7f, 0x80, 0xff][self.roll(4)]),
                _ => bytes[at] ^= 1 << self.roll(8),
            }
        }
    }
}

/// Everything that two offices show: equal where they hold the same.
pub fn shown(world: &mut World, id: OfficeId) -> Value {
    let status = world.status(id);
    let query = fasti_core::command::EventsQuery { limit: 10_000, ..Default::default() };
    let events = match world.ask(id, fasti_core::Command::Events(query)).unwrap() {
        fasti_core::Answer::Events { events, .. } => events,
        other => panic!("{other:?}"),
    };
    let conflicts = world.conflicts(id);
    json!({ "frontier": status.frontier, "entries": status.entries, "void": status.void,
        "deferred": status.deferred, "events": events, "conflicts": conflicts })
}
