//! One simulated node: a core that is driven as production drives it. Inputs that come while the disk is
//! busy wait and share the next step (group commit); what a step wants to tell the world comes out
//! when its commit is durable; a crash loses all the rest.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fasti_core::entry::Signer;
use fasti_core::log::Chunks;
use fasti_core::message::Message;
use fasti_core::{
    Command, Config, Core, Effect, Input, Instant, Kept, Load, LogId, Now, OfficeId, RequestId,
    Stored, TicketId, Write,
};

use crate::disk::Disk;
use crate::liars::Lies;
use crate::mutation::{Mutation, Trust, doctored, shuffle};
use crate::network::Lane;
use crate::oracle::{Broken, Invariant};
use crate::world::{Happening, MILLISECOND, World};

/// The wall clock at the start: some day in November 2023, in milliseconds.
const WALL_START: i64 = 1_700_000_000_000;

/// A step whose writes are on their way to the disk.
pub(crate) struct Commit {
    writes: Vec<Write>,
    effects: Vec<Effect>,
}

/// A node.
pub(crate) struct Office {
    pub(crate) id: OfficeId,
    pub(crate) signer: Signer,
    /// None while it is down.
    pub(crate) core: Option<Core>,
    /// Counts crashes: what was on its way from an earlier process hears of it no more.
    pub(crate) process: u32,
    /// Counts starts and crashes, so that what was planned for an earlier life is void.
    pub(crate) life: u32,
    pub(crate) disk: Disk,
    /// For a lying disk: as it was before the latest transaction.
    disk_before: Disk,
    /// As it was some time ago.
    pub(crate) backup: Disk,
    pub(crate) inbox: Vec<Input>,
    pub(crate) commit: Option<Commit>,
    /// When the next `Due` is planned for.
    due: Option<u64>,
    slow: bool,
    /// How far the wall clock is off, in milliseconds.
    pub(crate) clock_off: i64,
    /// Whom it wants to be linked with.
    pub(crate) wanted: BTreeSet<usize>,
    /// Whom it lets connect.
    pub(crate) admits: BTreeSet<OfficeId>,
    pub(crate) tickets: BTreeSet<TicketId>,
    /// Admitted as an admin, as far as people know.
    pub(crate) admin: bool,
    /// What it needs to lie, if it does.
    pub(crate) lies: Option<Lies>,
    /// What its core was last seen to keep.
    load: Load,
    /// For a mutation.
    pub(crate) trust: Trust,
    /// It goes on under another key, and never starts again.
    pub(crate) retired: bool,
    /// Whom a newcomer knows from its sponsor.
    pub(crate) bootstrap: BTreeSet<OfficeId>,
    /// It has been started once.
    pub(crate) started: bool,
}

impl Office {
    /// Whether it holds something that changes what earlier entries count for, and has not judged them again yet, or
    /// what it found is not on its disk.
    pub(crate) fn judging_due(&self) -> bool {
        self.load.judging_due || self.disk.judges_again()
    }
}

impl World {
    /// Puts an office into the world, switched off.
    pub(crate) fn add_office(&mut self, signer: Signer, disk: Disk) -> usize {
        let place = self.offices.len();
        let id = signer.office();
        let slow = self.dice.chance(self.scenario.disk.slow);
        let skew = self.scenario.clock.skew_seconds * 1000;
        let clock_off = self.dice.below(2 * skew + 1) as i64 - skew as i64;
        self.places.insert(id, place);
        self.offices.push(Office {
            id,
            signer,
            core: None,
            process: 0,
            life: 0,
            disk_before: Disk::default(),
            backup: Disk::default(),
            disk,
            inbox: Vec::new(),
            commit: None,
            due: None,
            slow,
            clock_off,
            wanted: BTreeSet::new(),
            admits: BTreeSet::new(),
            tickets: BTreeSet::new(),
            admin: false,
            lies: None,
            load: Load::default(),
            trust: Trust::default(),
            retired: false,
            bootstrap: BTreeSet::new(),
            started: false,
        });
        place
    }

    /// The two clocks of an office.
    pub(crate) fn clocks(&self, at: usize) -> Now {
        let wall = WALL_START + (self.now / MILLISECOND) as i64 + self.offices[at].clock_off;
        Now { monotonic: Instant(self.now), wall }
    }

    /// Starts an office from its disk.
    pub(crate) fn open(&mut self, at: usize) -> Result<(), Broken> {
        self.open_with(at, Kept::default())
    }

    fn open_with(&mut self, at: usize, kept: Kept) -> Result<(), Broken> {
        if self.offices[at].core.is_some() || self.offices[at].retired {
            return Ok(());
        }
        let now = self.clocks(at);
        let seed = self.dice.bytes();
        let office = &self.offices[at];
        let mut config = Config::new(self.network, office.signer.clone(), seed);
        config.verifier = self.memo.clone();
        config.bootstrap = office.bootstrap.iter().map(|it| (*it, Vec::new())).collect();
        let mut stored = Stored { kept, ..office.disk.stored() };
        self.mutation.forget(&mut stored.outbox);
        let rows = &office.disk.rows;
        // Whoever judges again reads them all together first, and then one by one.
        let doctored = match self.mutation.doctors() && stored.judge_again {
            true => Cell::new(Some(doctored(self.mutation, rows))),
            false => Cell::new(None),
        };
        let rows = || {
            let bad = doctored.take();
            let good = rows.iter().skip(bad.as_ref().map_or(0, Vec::len));
            let good = good.map(|row| (**row).clone());
            Ok(bad.into_iter().flatten().chain(good).map(Ok::<_, Infallible>))
        };
        let opened = catch_unwind(AssertUnwindSafe(|| Core::open(config, stored, rows, now)));
        let core = match opened {
            Ok(Ok(core)) => core,
            Ok(Err(error)) => {
                let detail = format!("office {at} can't be opened from its disk: {error}");
                return Err(Broken::new(Invariant::AnsweredIsKept, detail));
            }
            Err(panic) => return Err(Broken::panic(at, &*panic)),
        };
        self.trace.note(self.now, at, "starts", &[], || format!("with {} entries", core.entries()));
        let office = &mut self.offices[at];
        office.core = Some(core);
        office.life += 1;
        office.started = true;
        office.due = None;
        self.check_restart(at)?;
        let id = self.offices[at].id;
        self.input(at, Input::Listening(vec![format!("/memory/{id:?}")]))
    }

    /// Opens the core of a running office again from its disk, as it asked for; links stay.
    fn reopen(
        &mut self,
        at: usize,
        unanswered: Vec<(RequestId, Command)>,
        kept: Kept,
    ) -> Result<(), Broken> {
        let office = &mut self.offices[at];
        let inbox = std::mem::take(&mut office.inbox);
        office.core = None;
        self.open_with(at, kept)?;
        for peer in self.linked_with(at) {
            let peer = self.offices[peer].id;
            self.input(at, Input::Connected(peer))?;
        }
        let unanswered = unanswered.into_iter().map(|(id, command)| Input::Command(id, command));
        unanswered.chain(inbox).try_for_each(|input| self.input(at, input))
    }

    /// Takes away all that is not durable. A commit under way is wholly there or wholly not.
    pub(crate) fn crash(&mut self, at: usize) -> Result<(), Broken> {
        let office = &mut self.offices[at];
        office.core = None;
        office.life += 1;
        office.process += 1;
        office.inbox.clear();
        office.wanted.clear();
        office.admits.clear();
        office.tickets.clear();
        let under_way = office.commit.take();
        if self.mutation == Mutation::LyingDisk {
            office.disk = std::mem::take(&mut office.disk_before);
        } else if let Some(commit) = under_way
            && self.dice.chance(0.5)
        {
            self.commit(at, &commit.writes)?;
        }
        self.stats.crashes += 1;
        self.trace.note(self.now, at, "crashes", &[], String::new);
        self.drop_links(at);
        self.forget_asked(at);
        Ok(())
    }

    /// Gives an office an input, at once or when its disk is free.
    pub(crate) fn input(&mut self, at: usize, input: Input) -> Result<(), Broken> {
        if self.offices[at].core.is_none() {
            return Ok(());
        }
        self.offices[at].inbox.push(input);
        self.work(at)
    }

    pub(crate) fn due(&mut self, at: usize, life: u32) -> Result<(), Broken> {
        if self.offices[at].life != life {
            return Ok(());
        }
        self.offices[at].due = None;
        self.input(at, Input::Tick)
    }

    /// Takes a step, unless the disk is busy.
    pub(crate) fn work(&mut self, at: usize) -> Result<(), Broken> {
        if self.offices[at].commit.is_some() {
            return Ok(());
        }
        let now = self.clocks(at);
        let office = &mut self.offices[at];
        let mut inputs = std::mem::take(&mut office.inbox);
        let Some(core) = &mut office.core else { return Ok(()) };
        if self.mutation == Mutation::HashOrder {
            inputs = shuffle(inputs);
        }
        let fragile = self.mutation == Mutation::PanicOnGarbage;
        self.stats.steps += 1;
        let count = inputs.len();
        let mut inputs = inputs.into_iter();
        let taken = catch_unwind(AssertUnwindSafe(|| {
            while !core.is_stale()
                && let Some(input) = inputs.next()
            {
                if fragile && let Input::Received(_, frame) = &input {
                    assert!(Message::decode(frame).is_ok(), "this frame can't be");
                }
                core.handle(now, input);
            }
            (core.step(now), core.next_due(), core.load())
        }));
        let (step, (due, _), load) = taken.map_err(|panic| Broken::panic(at, &*panic))?;
        self.offices[at].inbox = inputs.collect();
        let mut writes = Vec::new();
        let effects = step.persist(|step| {
            writes = step.to_vec();
            Ok::<_, Infallible>(())
        });
        let effects = effects.unwrap_or_else(|never| match never {});
        self.offices[at].load = load;
        self.check_load(at, count, &effects, load)?;
        self.plan_due(at, due);
        if writes.is_empty() {
            return self.release(at, effects);
        }
        self.note_written(at, &writes);
        let disk = &self.scenario.disk;
        let range = if self.offices[at].slow { disk.slow_us } else { disk.commit_us };
        let takes = self.dice.within(range);
        let life = self.offices[at].life;
        self.after(takes, Happening::Durable { at, life });
        let early = self.mutation == Mutation::AckBeforeDurable;
        let (now, later) = if early { (effects, Vec::new()) } else { (Vec::new(), effects) };
        self.offices[at].commit = Some(Commit { writes, effects: later });
        self.release(at, now)
    }

    /// Plans the core's next deadline, unless an earlier one is planned.
    fn plan_due(&mut self, at: usize, due: Instant) {
        // A deadline in the past is now; a millisecond on, so that time passes whatever a core says.
        let due = due.0.max(self.now + MILLISECOND);
        let office = &mut self.offices[at];
        if office.due.is_none_or(|planned| planned > due || planned <= self.now) {
            office.due = Some(due);
            let life = office.life;
            self.after(due - self.now, Happening::Due { at, life });
        }
    }

    /// A commit is durable: its effects come out, and whatever waited is next.
    pub(crate) fn durable(&mut self, at: usize, life: u32) -> Result<(), Broken> {
        if self.offices[at].life != life {
            return Ok(());
        }
        let Some(Commit { writes, effects }) = self.offices[at].commit.take() else {
            return Ok(());
        };
        let office = &mut self.offices[at];
        if self.mutation == Mutation::LyingDisk {
            office.disk_before = office.disk.clone();
        }
        self.commit(at, &writes)?;
        self.stats.commits += 1;
        let now = self.now;
        self.trace.note(now, at, "durable", &(writes.len() as u64).to_le_bytes(), || {
            format!("{} writes", writes.len())
        });
        self.note_durable(at, &writes);
        self.release(at, effects)?;
        if self.offices[at].inbox.is_empty() { Ok(()) } else { self.work(at) }
    }

    fn commit(&mut self, at: usize, writes: &[Write]) -> Result<(), Broken> {
        self.check_transaction(at, writes)?;
        self.offices[at]
            .disk
            .commit(&mut self.shelf, writes, self.mutation)
            .map_err(|detail| Broken::new(Invariant::AnsweredIsKept, detail))?;
        self.note_transaction(at, writes);
        Ok(())
    }

    /// Carries out effects.
    fn release(&mut self, at: usize, effects: Vec<Effect>) -> Result<(), Broken> {
        // What a peer wants replaces what it wanted before.
        let last_want: BTreeMap<OfficeId, u32> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Serve { to, fetch, .. } => Some((*to, *fetch)),
                _ => None,
            })
            .collect();
        for effect in effects {
            match effect {
                Effect::Reply(request, reply) => self.replied(at, request, reply)?,
                Effect::Push { to, frame } => {
                    self.check_claims(at, &frame)?;
                    let frame = self.frame(frame);
                    for peer in to {
                        if let Some(peer) = self.places.get(&peer).copied()
                            && !self.keeps_back(at)
                        {
                            self.send(at, peer, Lane::Push, &frame);
                        }
                    }
                }
                Effect::Sync { to, frames } => {
                    if let Some(peer) = self.places.get(&to).copied() {
                        for frame in frames {
                            let frame = self.frame(frame);
                            self.send(at, peer, Lane::Sync, &frame);
                        }
                    }
                }
                Effect::Serve { to, fetch, from, end } if last_want.get(&to) == Some(&fetch) => {
                    self.serve(at, &to, fetch, from, end);
                }
                Effect::Serve { .. } => {}
                Effect::Admit { members, tickets } => {
                    self.offices[at].tickets = tickets;
                    self.admit(at, members);
                }
                Effect::Neighbours(neighbours) => {
                    self.want(at, neighbours.into_keys().collect());
                }
                // Everybody reaches everybody here, or nobody does.
                Effect::Relays(_) | Effect::Appended(_) | Effect::Subscriptions(_) => {}
                Effect::Deliver(attempts) => self.attempt_all(at, attempts)?,
                Effect::Alarm(text) => self.alarmed(at, text)?,
                Effect::Reopen { unanswered, kept } => self.reopen(at, unanswered, kept)?,
            }
        }
        Ok(())
    }

    /// Cuts chunks out of the stored log, as production does.
    fn serve(
        &mut self,
        at: usize,
        to: &OfficeId,
        fetch: u32,
        mut from: Vec<(LogId, u64)>,
        end: u64,
    ) {
        let Some(peer) = self.places.get(to).copied() else { return };
        if self.mutation == Mutation::SkipRange && !from.is_empty() {
            from.remove(0);
        }
        let from: BTreeMap<LogId, u64> = from.into_iter().collect();
        let mut chunks = Chunks::new();
        let mut messages = Vec::new();
        for row in self.offices[at].disk.rows.iter().take(end as usize) {
            if from.get(&row.entry.log).is_some_and(|seq| row.entry.seq >= *seq)
                && let Some(bundle) = chunks.add((**row).clone())
            {
                messages.push(Message::Chunk { fetch, last: false, bundle });
            }
        }
        messages.push(Message::Chunk { fetch, last: true, bundle: chunks.finish() });
        if !self.is_honest(at) {
            self.withhold(at, peer, fetch, &mut messages);
        }
        for message in messages {
            let frame = self.frame(message.encode());
            self.send(at, peer, Lane::Sync, &frame);
        }
    }

    /// Puts a request to an office; what became of it comes to [`World::replied`].
    pub(crate) fn ask(
        &mut self,
        at: usize,
        asked: crate::clients::Asked,
        command: fasti_core::Command,
    ) -> Option<RequestId> {
        self.offices[at].core.as_ref()?;
        let request = self.clients.remember(at, asked);
        self.offices[at].inbox.push(Input::Command(request, command));
        Some(request)
    }
}
