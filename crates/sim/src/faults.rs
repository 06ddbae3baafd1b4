//! What goes wrong: crashes, partitions, garbage, clock jumps; and newcomers, who come when it suits them.

use std::collections::BTreeSet;

use fasti_core::entry::Signer;
use fasti_core::event::Leaf;
use fasti_core::message::{Line, Message, Part};
use fasti_core::row::Row;
use fasti_core::statement::{Admit, Invite, Role, Statement};
use fasti_core::{Command, EntryHash, TicketId};

use crate::clients::Asked;
use crate::oracle::Broken;
use crate::world::{Happening, MILLISECOND, SECOND, World};

/// Part of the offices on one side, the rest on the other.
pub(crate) struct Partition {
    one_side: BTreeSet<usize>,
    /// Frames still get through from the rest to the one side.
    one_way: bool,
}

impl Partition {
    pub(crate) fn cuts(&self, from: usize, to: usize) -> bool {
        match (self.one_side.contains(&from), self.one_side.contains(&to)) {
            (true, false) => true,
            (false, true) => !self.one_way,
            _ => false,
        }
    }
}

impl World {
    /// Plans the first of everything that the scenario has.
    pub(crate) fn plan_faults(&mut self) {
        let scenario = self.scenario.clone();
        let faults = &scenario.faults;
        if scenario.clients.edit_every_ms > 0 {
            self.after(scenario.clients.from_second * SECOND, Happening::Edit);
        }
        self.some_time(scenario.clients.book_every_ms * MILLISECOND, Happening::Book);
        self.some_time(scenario.clients.decide_every_ms * MILLISECOND, Happening::Decide);
        self.some_time(scenario.systems.operate_every_ms * MILLISECOND, Happening::Operate);
        self.some_time(faults.crash_every_seconds * SECOND, Happening::Crash);
        self.some_time(
            faults.partition_every_seconds * SECOND,
            Happening::Divide { planned: false },
        );
        self.some_time(faults.garbage_every_ms * MILLISECOND, Happening::Garbage);
        self.some_time(faults.equivocate_every_seconds * SECOND, Happening::Equivocate);
        self.some_time(faults.remove_every_seconds * SECOND, Happening::Remove);
        self.some_time(faults.rotate_every_seconds * SECOND, Happening::Rotate);
        self.some_time(faults.lie_every_ms * MILLISECOND, Happening::Lie);
        self.some_time(scenario.clock.jump_every_seconds * SECOND, Happening::Jump);
        self.some_time(scenario.disk.snapshot_seconds * SECOND, Happening::Snapshot);
        self.some_time(2 * SECOND, Happening::Compare);
        for _ in 0..faults.joins {
            let moment = self.dice.below(scenario.seconds * SECOND * 3 / 4);
            self.after(moment, Happening::Invite);
        }
        if faults.divide_seconds > 0 {
            self.after(faults.divide_at_second * SECOND, Happening::Divide { planned: true });
        }
        self.watch.garbage = faults.garbage_every_ms > 0;
    }

    /// The world becomes kind: no more faults, and everyone up.
    pub(crate) fn relent(&mut self) -> Result<(), Broken> {
        self.unkind = false;
        self.partitions.clear();
        for at in 0..self.offices.len() {
            if self.offices[at].started {
                self.open(at)?;
            }
        }
        Ok(())
    }

    pub(crate) fn someone_up(&mut self) -> Option<usize> {
        let up: Vec<usize> =
            (0..self.offices.len()).filter(|at| self.offices[*at].core.is_some()).collect();
        self.dice.pick(&up).copied()
    }

    pub(crate) fn crash_someone(&mut self) -> Result<(), Broken> {
        if !self.unkind {
            return Ok(());
        }
        self.some_time(self.scenario.faults.crash_every_seconds * SECOND, Happening::Crash);
        // Half of the crashes hit an office in the middle of a commit, if there is one.
        let busy: Vec<usize> =
            (0..self.offices.len()).filter(|at| self.offices[*at].commit.is_some()).collect();
        let prefer_busy = self.dice.chance(0.5);
        let victim = match self.dice.pick(&busy) {
            Some(busy) if prefer_busy => Some(*busy),
            _ => self.someone_up(),
        };
        let Some(at) = victim else { return Ok(()) };
        self.crash(at)?;
        let restore = self.scenario.faults.restore;
        if restore > 0.0 {
            if self.dice.chance(restore) {
                self.restore(at);
            }
            let other = self.dice.below(self.offices.len() as u64) as usize;
            self.offices[other].backup = self.offices[other].disk.clone();
        }
        let [low, high] = self.scenario.faults.down_ms;
        let down = self.dice.within([low * MILLISECOND, high * MILLISECOND]);
        self.after(down, Happening::Restart { at });
        Ok(())
    }

    /// Puts an office's backup in place of its disk, if it has one. Half of the time the node can tell that
    /// the file is another one. (Whom it admitted since, and nobody heard of yet, is no member any more: no
    /// scenario has both.)
    fn restore(&mut self, at: usize) {
        let mut backup = self.offices[at].backup.clone();
        if backup.rows.is_empty() {
            return;
        }
        if self.dice.chance(0.5) {
            backup.forget_incarnation();
        }
        self.forget_claims(at, &backup);
        self.forget_deliveries(at, &backup);
        if backup.rows.len() < self.offices[at].disk.rows.len() {
            self.promises.breaks_word(self.offices[at].id);
        }
        self.trace.note(self.now, at, "restored", &[], || format!("{} entries", backup.rows.len()));
        self.offices[at].disk = backup;
    }

    /// A member signs another entry for a place of its log, and tells one peer of it.
    pub(crate) fn equivocate(&mut self) -> Result<(), Broken> {
        if !self.unkind {
            return Ok(());
        }
        self.some_time(
            self.scenario.faults.equivocate_every_seconds * SECOND,
            Happening::Equivocate,
        );
        let at = self.dice.below(self.offices.len() as u64) as usize;
        if self.scenario.faults.liars > 0 && self.is_honest(at) {
            return Ok(());
        }
        let office = &self.offices[at];
        let own = office.disk.rows.iter().rev();
        let own = own.filter(|row| row.entry.log.author == office.id && row.entry.seq > 1);
        let latest: Vec<_> = own.take(5).cloned().collect();
        let Some(row) = self.dice.pick(&latest) else { return Ok(()) };
        let mut other = row.entry.clone();
        other.link.time += 1;
        if let Ok(Statement::Change(mut change)) =
            Statement::decode(other.link.kind, &other.link.body)
        {
            for (path, leaf) in change.edits.iter_mut().flat_map(|edit| &mut edit.fields) {
                if let Some(Leaf::Text(text)) = leaf
                    && path == "title"
                {
                    text.push_str(", or not");
                }
            }
            other.link.body = Statement::Change(change).encode().1;
        }
        let signature = Some(self.offices[at].signer.sign(&other.hash().0));
        let row = Row { hash: other.hash(), signature, entry: other, ..(**row).clone() };
        // Whoever doesn't hold the one yet holds the other first.
        let lacks = |to: &usize| {
            let rows = &self.offices[*to].disk.rows;
            !rows
                .iter()
                .any(|held| held.entry.log == row.entry.log && held.entry.seq == row.entry.seq)
        };
        let up = |to: &usize| self.offices[*to].core.is_some();
        let (lacking, others): (Vec<usize>, Vec<usize>) =
            (0..self.offices.len()).filter(up).partition(lacks);
        let to = self.dice.pick(if lacking.is_empty() { &others } else { &lacking }).copied();
        let Some(to) = to else { return Ok(()) };
        let Some(from) = self.dice.pick(&self.linked_with(to)).copied() else { return Ok(()) };
        let frame = Message::Push(fasti_core::log::bundle([row])).encode();
        self.promises.breaks_word(self.offices[at].id);
        self.trace.note(self.now, at, "equivocates", &frame, || format!("to {to}, over {from}"));
        self.deliver(from, to, frame)
    }

    pub(crate) fn divide(&mut self, planned: bool) {
        if !self.unkind {
            return;
        }
        let faults = self.scenario.faults.clone();
        let offices = self.offices.len();
        let (one_side, one_way, lasts): (BTreeSet<usize>, bool, u64) = if planned {
            let half = (0..offices / 2).collect();
            (half, false, faults.divide_seconds * SECOND)
        } else {
            let every = faults.partition_every_seconds * SECOND;
            self.some_time(every, Happening::Divide { planned: false });
            let some = 1 + self.dice.below(offices as u64 - 1);
            let side = (0..some).map(|_| self.dice.below(offices as u64) as usize).collect();
            let [low, high] = faults.partition_ms;
            let lasts = self.dice.within([low * MILLISECOND, high * MILLISECOND]);
            (side, self.dice.chance(faults.one_way), lasts)
        };
        let text = || format!("{one_side:?} on one side, one-way: {one_way}, for {lasts} us");
        self.trace.note(self.now, 0, "divided", text().as_bytes(), text);
        let partition = self.partitions.last_key_value().map_or(0, |(last, _)| last + 1);
        self.partitions.insert(partition, Partition { one_side, one_way });
        self.after(lasts, Happening::Heal { partition });
        self.fall_silent();
    }

    pub(crate) fn jump(&mut self) {
        self.some_time(self.scenario.clock.jump_every_seconds * SECOND, Happening::Jump);
        let range = self.scenario.clock.jump_seconds * 1000;
        let by = self.dice.below(2 * range + 1) as i64 - range as i64;
        let at = self.dice.below(self.offices.len() as u64) as usize;
        self.offices[at].clock_off += by;
        self.trace.note(self.now, at, "clock", &by.to_le_bytes(), || format!("jumps by {by} ms"));
    }

    pub(crate) fn snapshot(&mut self) {
        self.some_time(self.scenario.disk.snapshot_seconds * SECOND, Happening::Snapshot);
        let Some(at) = self.someone_up() else { return };
        let office = &mut self.offices[at];
        // Only between a persisted step and the next input, as the core asks.
        if office.commit.is_none()
            && let Some(core) = &mut office.core
        {
            if let Some(bytes) = core.document().map(fasti_core::Document::save) {
                office.disk.save_snapshot(core.entries(), bytes);
            }
            self.trace.note(self.now, at, "snapshot", &[], String::new);
        }
    }

    // ---- Garbage ----

    /// A peer sends what no honest program would.
    pub(crate) fn garbage(&mut self) -> Result<(), Broken> {
        if !self.unkind {
            return Ok(());
        }
        self.some_time(self.scenario.faults.garbage_every_ms * MILLISECOND, Happening::Garbage);
        let up: Vec<(usize, usize)> = self
            .links
            .iter()
            .filter(|(_, link)| link.up == [true; 2])
            .map(|(ends, _)| *ends)
            .collect();
        let Some((mut from, mut to)) = self.dice.pick(&up).copied() else { return Ok(()) };
        if self.dice.chance(0.5) {
            (from, to) = (to, from);
        }
        let frame = self.garbage_frame(from);
        self.trace.note(self.now, to, "garbage", &frame, || format!("from {from}"));
        self.deliver(from, to, frame)
    }

    pub(crate) fn garbage_frame(&mut self, from: usize) -> Vec<u8> {
        let rows = &self.offices[from].disk.rows;
        let bundle = fasti_core::log::bundle(
            self.dice.pick(rows).filter(|row| row.signature.is_some()).map(|row| (**row).clone()),
        );
        let log = self.dice.pick(rows).map(|row| row.entry.log);
        let dice = &mut self.dice;
        let sound = match (dice.below(5), log) {
            (0, _) => Message::Push(bundle).encode(),
            (1, _) => Message::Chunk { fetch: dice.below(5) as u32, last: true, bundle }.encode(),
            (2, Some(log)) => {
                let lines = (0..1 + dice.below(3))
                    .map(|_| Line {
                        log,
                        seq: u64::MAX - dice.below(2),
                        hash: EntryHash(dice.bytes()),
                    })
                    .collect();
                Message::Frontier {
                    boot: dice.below(3),
                    ask: dice.chance(0.5),
                    entries: dice.below(99),
                    part: Part { at: dice.below(2) as u32, last: dice.chance(0.9) },
                    lines,
                }
                .encode()
            }
            (3, Some(log)) => {
                let from = vec![(log, dice.within([u64::MAX - 2, u64::MAX])), (log, 0)];
                let (fetch, entries) = (dice.below(5) as u32, dice.below(99));
                Message::Want { fetch, entries, part: Part::WHOLE, from }.encode()
            }
            _ => {
                let length = dice.below(300) as usize;
                (0..length).map(|_| dice.roll() as u8).collect()
            }
        };
        self.damage(sound)
    }

    /// Leaves a frame as it is, cuts it off, or flips a few bits.
    fn damage(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        let length = frame.len() as u64;
        match self.dice.below(4) {
            0 => {}
            1 => frame.truncate(self.dice.below(length + 1) as usize),
            _ => {
                for _ in 0..1 + self.dice.below(3) {
                    let place = self.dice.below(length) as usize;
                    if let Some(byte) = frame.get_mut(place) {
                        *byte ^= 1 << self.dice.below(8);
                    }
                }
            }
        }
        frame
    }

    // ---- Newcomers ----

    /// An admin invites somebody, when one is up.
    pub(crate) fn invite(&mut self) -> Result<(), Broken> {
        if !self.unkind {
            return Ok(());
        }
        let Some(admin) = self.some_admin() else {
            self.after(SECOND, Happening::Invite);
            return Ok(());
        };
        let signer = Signer::from_seed(&self.dice.bytes());
        let newcomer = self.add_office(signer, crate::disk::Disk::default());
        let ticket = TicketId(ticket_key(newcomer).office().0);
        self.tickets.insert(ticket, newcomer);
        let is_admin = self.scenario.admins > 1 && self.dice.chance(0.3);
        self.offices[newcomer].admin = is_admin;
        let invite = Invite {
            ticket,
            name: format!("Newcomer {newcomer}"),
            roles: if is_admin { vec![Role::Admin, Role::Office] } else { vec![Role::Office] },
            expires: i64::MAX,
        };
        self.ask(admin, Asked::Invite { newcomer }, Command::Invite(invite));
        self.work(admin)
    }

    /// A newcomer asks a member who knows of the ticket to let it in, and asks again later.
    pub(crate) fn knock(&mut self, newcomer: usize) -> Result<(), Broken> {
        if self.offices[newcomer].started || !self.unkind {
            return Ok(());
        }
        self.after(3 * SECOND, Happening::Knock { newcomer });
        let key = ticket_key(newcomer);
        let ticket = TicketId(key.office().0);
        let doors: Vec<usize> = (0..self.offices.len())
            .filter(|at| {
                let office = &self.offices[*at];
                office.core.is_some() && office.tickets.contains(&ticket)
            })
            .collect();
        let Some(at) = self.dice.pick(&doors).copied() else { return Ok(()) };
        let admit = Admit::new(&self.network, self.offices[newcomer].id, &key);
        self.ask(at, Asked::Admit { newcomer }, Command::Admit(admit));
        self.work(at)
    }

    /// A newcomer was let in: it starts with an empty disk, and knows its sponsor and whom that named.
    pub(crate) fn let_in(&mut self, newcomer: usize, sponsor: usize) -> Result<(), Broken> {
        if self.offices[newcomer].started {
            return Ok(());
        }
        let mut told = self.offices[sponsor].admits.clone();
        told.insert(self.offices[sponsor].id);
        told.remove(&self.offices[newcomer].id);
        self.offices[newcomer].bootstrap = told;
        self.stats.joined += 1;
        self.open(newcomer)
    }
}

/// The key of the ticket for this newcomer.
pub(crate) fn ticket_key(newcomer: usize) -> Signer {
    let mut seed = [0xa5; 32];
    seed[..8].copy_from_slice(&(newcomer as u64).to_le_bytes());
    Signer::from_seed(&seed)
}
