//! Members that lie. They run the real core, with keys that everyone has admitted, so that they hold and know
//! what a member does; and between it and the network is somebody who keeps back, twists, repeats and
//! invents. What they sign is in `forge`.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use fasti_core::entry::Run;
use fasti_core::message::{Line, Message, Part};
use fasti_core::notice::{Acknowledgement, SignedNotice, Topic};
use fasti_core::row::Row;
use fasti_core::{Digest, EntryHash, Incarnation, LogId};

use crate::network::{Frame, Lane};
use crate::oracle::Broken;
use crate::world::{Happening, MILLISECOND, SECOND, World};

/// Frames that a liar remembers.
const HEARD_MAX: usize = 64;

/// What a liar has besides its node.
#[derive(Default)]
pub(crate) struct Lies {
    /// Frames that it sent or got, to be sent again.
    heard: VecDeque<Rc<Frame>>,
    /// What it wrote past its node, by incarnation.
    pub(crate) forged: BTreeMap<u64, Vec<Row>>,
    /// Fetches that it keeps going: the latest of each peer.
    drips: BTreeMap<usize, u32>,
    /// Of the notices that it makes up.
    counter: u64,
}

impl World {
    pub(crate) fn is_honest(&self, at: usize) -> bool {
        self.offices[at].lies.is_none()
    }

    /// Remembers a frame, if the office is a liar.
    pub(crate) fn overheard(&mut self, at: usize, frame: &Rc<Frame>) {
        if let Some(lies) = &mut self.offices[at].lies {
            if lies.heard.len() == HEARD_MAX {
                lies.heard.pop_front();
            }
            lies.heard.push_back(frame.clone());
        }
    }

    /// Whether an office drops a frame of its own node's.
    pub(crate) fn keeps_back(&mut self, at: usize) -> bool {
        !self.is_honest(at) && self.dice.chance(0.2)
    }

    /// What a liar makes of an answer to a fetch.
    pub(crate) fn withhold(
        &mut self,
        at: usize,
        peer: usize,
        fetch: u32,
        messages: &mut Vec<Message>,
    ) {
        let end = || Message::Chunk { fetch, last: true, bundle: Vec::new() };
        match self.dice.below(8) {
            0 => messages.clear(),
            1 => *messages = vec![end()],
            2 => {
                messages.truncate(messages.len() / 2);
                messages.push(end());
            }
            // All but some logs.
            3 | 4 => {
                for message in messages {
                    if let Message::Chunk { bundle, .. } = message {
                        bundle.retain(|_| self.dice.chance(0.7));
                    }
                }
            }
            5 => {
                messages.clear();
                if let Some(lies) = &mut self.offices[at].lies {
                    lies.drips.insert(peer, fetch);
                }
                self.drip(at, peer, fetch);
            }
            _ => {}
        }
    }

    /// Sends a chunk without anything in it, and goes on doing so.
    pub(crate) fn drip(&mut self, from: usize, to: usize, fetch: u32) {
        let current = self.offices[from].lies.as_ref().and_then(|lies| lies.drips.get(&to));
        if current != Some(&fetch) || !self.is_up(from, to) {
            return;
        }
        let chunk = Message::Chunk { fetch, last: false, bundle: Vec::new() };
        let frame = self.frame(chunk.encode());
        self.send(from, to, Lane::Sync, &frame);
        self.after(5 * SECOND, Happening::Drip { from, to, fetch });
    }

    /// A liar lies to somebody, and goes on even when all else is kind; but then it signs nothing new, as all
    /// could never hold the same.
    pub(crate) fn lie(&mut self) -> Result<(), Broken> {
        let mean = self.scenario.faults.lie_every_ms * MILLISECOND;
        let next = self.dice.within([1, 2 * mean]);
        self.after(next, Happening::Lie);
        let liars: Vec<usize> = (0..self.offices.len())
            .filter(|at| !self.is_honest(*at) && self.offices[*at].core.is_some())
            .collect();
        let Some(at) = self.dice.pick(&liars).copied() else { return Ok(()) };
        self.stats.lies += 1;
        let to =
            self.linked_with(at).into_iter().filter(|to| self.is_honest(*to)).collect::<Vec<_>>();
        let to = self.dice.pick(&to).copied();
        match (self.dice.below(12), to) {
            (0..3, _) if self.unkind => self.forge_and_tell(at),
            (3, Some(to)) => {
                self.flood(at, to);
                Ok(())
            }
            (4 | 5, Some(to)) => {
                let lines = 1 + self.dice.below(9) as usize;
                let offer = self.false_offer(at, lines);
                self.tell(at, to, offer);
                Ok(())
            }
            (6 | 7, Some(to)) => {
                let notice = self.false_acknowledgement(at);
                self.tell(at, to, Message::Notices(vec![notice]).encode());
                Ok(())
            }
            (8, Some(to)) => {
                let frame = self.garbage_frame(at);
                self.tell(at, to, frame);
                Ok(())
            }
            (_, Some(to)) => {
                self.replay(at, to);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn tell(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let frame = self.frame(bytes);
        self.send(from, to, Lane::Sync, &frame);
    }

    /// Frames of anybody's, in any order, and some of them twice.
    fn replay(&mut self, at: usize, to: usize) {
        for _ in 0..1 + self.dice.below(4) {
            let heard = self.offices[at].lies.as_ref().map_or(0, |lies| lies.heard.len());
            let which = self.dice.below(heard as u64) as usize;
            let frame = self.offices[at].lies.as_ref().and_then(|lies| lies.heard.get(which));
            let Some(frame) = frame.cloned() else { return };
            for _ in 0..1 + self.dice.below(2) {
                self.send(at, to, Lane::Sync, &frame);
            }
        }
    }

    /// Entries that don't exist, or that it will not bring.
    fn false_offer(&mut self, at: usize, lines: usize) -> Vec<u8> {
        let dice = &mut self.dice;
        let rows = &self.offices[at].disk.rows;
        let lines = (0..lines)
            .filter_map(|_| {
                let known = dice.pick(rows)?.entry.log;
                let author = known.author;
                let invented = LogId { author, incarnation: Incarnation(dice.roll()) };
                let log = if dice.chance(0.5) { known } else { invented };
                let seq = if dice.chance(0.2) { u64::MAX } else { 1 + dice.below(2_000) };
                Some(Line { log, seq, hash: EntryHash(dice.bytes()) })
            })
            .collect();
        let (boot, ask, entries) = (dice.below(3), dice.chance(0.5), dice.below(100_000));
        let part = match dice.chance(0.2) {
            true => Part { at: dice.below(3) as u32, last: dice.chance(0.5) },
            false => Part::WHOLE,
        };
        Message::Frontier { boot, ask, entries, part, lines }.encode()
    }

    /// That it holds what it doesn't, or what nobody does.
    fn false_acknowledgement(&mut self, at: usize) -> SignedNotice {
        let other = self.dice.below(self.offices.len() as u64) as usize;
        let future = self.offices[other].core.as_mut().map(|core| core.frontier());
        let digest = future.unwrap_or_else(|| Digest(self.dice.bytes()));
        let rows = &self.offices[other].disk.rows;
        let mut heads: Vec<EntryHash> = match self.dice.below(3) {
            0 => rows.last().map(|row| row.hash).into_iter().collect(),
            1 => (0..3).filter_map(|_| Some(self.dice.pick(rows)?.hash)).collect(),
            _ => vec![EntryHash(self.dice.bytes())],
        };
        heads.sort();
        let said = Acknowledgement {
            incarnation: Incarnation(1),
            seq: self.dice.below(999),
            understands: true,
            digest,
            heads,
        };
        let wall = self.clocks(at).wall.unsigned_abs();
        let office = &mut self.offices[at];
        let counter = office.lies.as_mut().map_or(0, |lies| {
            lies.counter = (lies.counter + 1).max(wall);
            lies.counter
        });
        SignedNotice::new(&office.signer, Topic::Acknowledgement, counter, &said)
    }

    /// Much at once.
    fn flood(&mut self, at: usize, to: usize) {
        self.trace.note(self.now, at, "floods", &[], || format!("office {to}"));
        match self.dice.below(6) {
            0 => {
                let offer = self.false_offer(at, 2_000);
                self.tell(at, to, offer);
            }
            1 => {
                let logs: Vec<_> =
                    self.offices[at].disk.rows.iter().map(|row| (row.entry.log, 1)).collect();
                for fetch in 0..20 {
                    let from = logs.clone();
                    let want = Message::Want { fetch, entries: u64::MAX, part: Part::WHOLE, from };
                    self.tell(at, to, want.encode());
                }
            }
            2 => {
                let notices = (0..250).map(|_| self.false_acknowledgement(at)).collect();
                self.tell(at, to, Message::Notices(notices).encode());
            }
            3 => {
                for _ in 0..50 {
                    let junk = (0..8).flat_map(|_| self.dice.bytes()).collect();
                    self.tell(at, to, junk);
                }
            }
            4 => {
                for run in self.rootless(at, 100) {
                    self.tell(at, to, Message::Push(vec![run]).encode());
                }
            }
            _ if self.unkind => {
                let entries = 50 + self.dice.below(150) as usize;
                self.forge_many(at, to, entries);
            }
            _ => {}
        }
    }

    /// Runs that build upon what nobody has: they would wait for ever.
    fn rootless(&mut self, at: usize, count: usize) -> Vec<Run> {
        let author = self.offices[at].id;
        let rows = &self.offices[at].disk.rows;
        let Some(link) = self.dice.pick(rows).map(|row| row.entry.link.clone()) else {
            return Vec::new();
        };
        // Some are large, to get at the bound in bytes.
        let size = if self.dice.chance(0.1) { 100_000 } else { 0 };
        (0..count)
            .map(|_| {
                let log = LogId { author, incarnation: Incarnation(self.dice.roll()) };
                let mut link = link.clone();
                link.body.resize(link.body.len().max(size), 0);
                let prev = EntryHash(self.dice.bytes());
                let signer = &self.offices[at].signer;
                let signature = signer.sign(&[0; 32]);
                let mut run = Run { log, first: 7, prev, links: vec![link], signature };
                if let Some(last) = run.hashes().last() {
                    run.signature = signer.sign(&last.0);
                }
                run
            })
            .collect()
    }
}
