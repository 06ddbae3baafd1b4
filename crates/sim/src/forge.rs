//! What liars sign past their nodes: edits with a mark that can be found again, on top of all they hold or of what
//! was long ago (backdated, as if they had not heard that they were removed), in logs of their own; removals;
//! entries on top of other liars', to vouch for them. They tell whoever is linked with them, and other
//! liars, who pass it on as their own nodes would.

use std::rc::Rc;

use fasti_core::entry::{Entry, Link, RULES};
use fasti_core::event::Leaf;
use fasti_core::log::bundle;
use fasti_core::message::Message;
use fasti_core::row::{Row, Standing};
use fasti_core::statement::{DocumentChange, EventEdit, Remove, Statement};
use fasti_core::{DocumentId, EntryHash, Incarnation, Input, LogId};

use crate::network::Lane;
use crate::oracle::Broken;
use crate::standing::named;
use crate::world::World;

/// The incarnations of logs that go on with all there is, and with what was long ago.
const OPEN: u64 = 1;
const BACKDATED: u64 = 2;

/// How many of the latest entries are told with each new one: whoever missed more finds them with others.
const TOLD: usize = 30;

/// What a forged value begins with; a number follows.
pub(crate) const MARK: &str = "forged-";

impl World {
    /// Forges something and tells somebody.
    pub(crate) fn forge_and_tell(&mut self, at: usize) -> Result<(), Broken> {
        let incarnation = if self.dice.chance(0.5) { OPEN } else { BACKDATED };
        let removes = self.offices[at].admin
            && self.removals < self.scenario.faults.removals_max
            && self.dice.chance(0.2);
        let statement = if removes {
            self.removals += 1;
            let whom = self.dice.below(self.offices.len() as u64) as usize;
            Statement::Remove(Remove { office: self.offices[whom].id })
        } else {
            self.marked_change(at)
        };
        let Some(parents) = self.ground(at, incarnation) else { return Ok(()) };
        self.forge(at, incarnation, statement, parents);
        let rows = self.forged(at, incarnation, TOLD);
        let frame = Message::Push(bundle(rows)).encode();
        self.trace.note(self.now, at, "forges", &frame, || format!("in its log {incarnation}"));
        // Other liars' nodes take it as if it came from whom they are linked with.
        let liars: Vec<usize> = (0..self.offices.len()).filter(|it| !self.is_honest(*it)).collect();
        for liar in liars {
            let carrier = self.linked_with(liar).first().copied();
            if let Some(carrier) = carrier
                && (liar == at || self.dice.chance(0.5))
            {
                let id = self.offices[carrier].id;
                self.input(liar, Input::Received(id, frame.clone()))?;
            }
        }
        let frame = self.frame(frame);
        for to in self.linked_with(at) {
            if self.dice.chance(0.4) {
                self.send(at, to, Lane::Push, &frame);
            }
        }
        Ok(())
    }

    /// Tells one office of many small entries at once.
    pub(crate) fn forge_many(&mut self, at: usize, to: usize, count: usize) {
        for _ in 0..count {
            let statement = self.marked_change(at);
            // Only the first needs any: the rest build upon each other.
            let new = self.forged(at, OPEN, 1).is_empty();
            let parents = if new { self.ground(at, OPEN) } else { Some(Vec::new()) };
            let Some(parents) = parents else { return };
            self.forge(at, OPEN, statement, parents);
        }
        let rows = self.forged(at, OPEN, count + TOLD);
        let frame = self.frame(Message::Push(bundle(rows)).encode());
        self.send(at, to, Lane::Push, &frame);
    }

    /// The last entries of one of a liar's own logs.
    fn forged(&self, at: usize, incarnation: u64, count: usize) -> Vec<Row> {
        let lies = self.offices[at].lies.as_ref();
        let rows = lies.and_then(|lies| lies.forged.get(&incarnation));
        rows.map_or(Vec::new(), |rows| rows[rows.len().saturating_sub(count)..].to_vec())
    }

    /// What a forged entry builds upon; none if the liar holds nothing that would do.
    fn ground(&mut self, at: usize, incarnation: u64) -> Option<Vec<EntryHash>> {
        let others: Vec<EntryHash> = (0..self.offices.len())
            .filter(|other| *other != at)
            .filter_map(|other| self.offices[other].lies.as_ref())
            .filter_map(|lies| Some(lies.forged.get(&BACKDATED)?.last()?.hash))
            .collect();
        let rows = &self.offices[at].disk.rows;
        let mut parents = match incarnation {
            OPEN => heads(rows),
            _ => {
                let id = self.offices[at].id;
                let removes =
                    |row: &Rc<Row>| named(std::slice::from_ref(row)).any(|office| office == id);
                let before = rows.iter().take_while(|row| !removes(row)).count();
                let from = self.base.min(before);
                let old = self.dice.within([from.saturating_sub(1) as u64, before as u64 - 1]);
                rows.get(old as usize).map(|row| row.hash).into_iter().collect()
            }
        };
        if let Some(other) = self.dice.pick(&others).copied()
            && self.dice.chance(0.3)
        {
            parents.push(other);
        }
        parents.sort();
        parents.dedup();
        (!parents.is_empty()).then_some(parents)
    }

    /// Adds an entry to one of a liar's own logs.
    fn forge(
        &mut self,
        at: usize,
        incarnation: u64,
        statement: Statement,
        mut parents: Vec<EntryHash>,
    ) {
        let wall = self.clocks(at).wall;
        let network = self.network;
        let office = &mut self.offices[at];
        let Some(lies) = &mut office.lies else { return };
        let rows = lies.forged.entry(incarnation).or_default();
        let prev = rows.last().map_or(EntryHash(network.0), |row| row.hash);
        parents.retain(|hash| *hash != prev);
        let time = if incarnation == OPEN { wall } else { wall - 86_400_000 };
        let (kind, body) = statement.encode();
        let log = LogId { author: office.id, incarnation: Incarnation(incarnation) };
        let link = Link { rules: RULES, parents, time, person: "".into(), kind, body };
        let entry = Entry { log, seq: rows.len() as u64 + 1, prev, link };
        let hash = entry.hash();
        let signature = Some(office.signer.sign(&hash.0));
        rows.push(Row { hash, signature, standing: Standing::Applied, applied: None, entry });
    }

    /// A sound edit with a mark of its own.
    fn marked_change(&mut self, at: usize) -> Statement {
        self.forged += 1;
        let title = format!("{MARK}{}.", self.forged);
        let text = |text: &str| Some(Leaf::Text(text.to_owned()));
        let uid = match self.dice.chance(0.5) {
            true => format!("event-{}", self.dice.below(self.scenario.clients.events)),
            false => format!("liar-{at}"),
        };
        let fields = vec![
            ("@type".to_owned(), text("Event")),
            ("start".to_owned(), text("2024-04-01T09:00:00")),
            ("title".to_owned(), text(&title)),
        ];
        let edits = vec![EventEdit { uid, fields }];
        Statement::Change(DocumentChange { document: DocumentId::CALENDAR, edits })
    }
}

/// Entries that nothing else builds upon.
fn heads(rows: &[Rc<Row>]) -> Vec<EntryHash> {
    let mut heads: std::collections::BTreeSet<EntryHash> =
        rows.iter().map(|row| row.hash).collect();
    for row in rows {
        heads.remove(&row.entry.prev);
        for parent in &row.entry.link.parents {
            heads.remove(parent);
        }
    }
    heads.into_iter().collect()
}
