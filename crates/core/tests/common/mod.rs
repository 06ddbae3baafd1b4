//! A few offices in one process: each a core with its rows in memory, linked by queues that deliver
//! at once. The simulator has the unkind world; here stories are told.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

pub mod mallory;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;

use fasti_core::command::{ConflictView, EventView, StatusView, Written};
use fasti_core::entry::Signer;
use fasti_core::log::Chunks;
use fasti_core::message::Message;
use fasti_core::notice::SignedNotice;
use fasti_core::outbox::{Agreed, Attempt, Confirmed, StoredOutbox, SubscriptionId};
use fasti_core::policy::PolicyEvent;
use fasti_core::row::Row;
use fasti_core::statement::{Admit, Invite, Role};
use fasti_core::{
    Answer, Command, CommandError, Config, Core, Effect, Incarnation, Input, Instant, LogId,
    NetworkId, Now, OfficeId, Reply, Stored, TicketId, Write,
};
use serde_json::{Value, json};

#[derive(Clone, Default)]
pub struct Disk {
    pub rows: Vec<Row>,
    pub notices: BTreeMap<(OfficeId, u8), SignedNotice>,
    pub conflicts: BTreeSet<(String, String)>,
    pub incarnation: Option<Incarnation>,
    pub numbering: Option<u64>,
    pub forks: BTreeSet<(LogId, u64)>,
    pub judge_again: bool,
    pub outbox: StoredOutbox,
    pub confirmed: BTreeMap<(SubscriptionId, String), Confirmed>,
    pub agreed: BTreeMap<(SubscriptionId, String), Agreed>,
}

pub struct Office {
    pub core: Core,
    pub disk: Disk,
    pub signer: Signer,
    /// Whom it lets connect.
    pub admits: BTreeSet<OfficeId>,
    seed: u8,
    alarms: Vec<String>,
}

/// The office with this seed is a relay.
pub const RELAY: u8 = 250;

pub struct World {
    pub network: NetworkId,
    pub offices: BTreeMap<OfficeId, Office>,
    links: BTreeSet<(OfficeId, OfficeId)>,
    mail: VecDeque<(OfficeId, OfficeId, Vec<u8>)>,
    now: Now,
    requests: u64,
    replies: BTreeMap<u64, Reply>,
    /// Deliveries that were to be tried, by office.
    pub attempts: VecDeque<(OfficeId, Attempt)>,
    /// The relays that each office was told of last.
    pub relays: BTreeMap<OfficeId, BTreeMap<OfficeId, Vec<String>>>,
    /// Bytes of frames by kind of message.
    pub bytes: BTreeMap<&'static str, usize>,
}

pub fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Hello { .. } => "hello",
        Message::Frontier { .. } => "frontier",
        Message::Push(_) => "push",
        Message::Want { .. } => "want",
        Message::Chunk { .. } => "chunk",
        Message::Notices(_) => "notices",
    }
}

impl World {
    /// A network founded by office 1.
    pub fn new() -> (Self, OfficeId) {
        let now = Now { monotonic: Instant(0), wall: 1_700_000_000_000 };
        let founder = signer(1);
        let (network, log, row) = fasti_core::found(&founder, "Core", [7; 16], now.wall).unwrap();
        let mut world = Self {
            network,
            offices: BTreeMap::new(),
            links: BTreeSet::new(),
            mail: VecDeque::new(),
            now,
            requests: 0,
            replies: BTreeMap::new(),
            attempts: VecDeque::new(),
            bytes: BTreeMap::new(),
            relays: BTreeMap::new(),
        };
        let disk = Disk { rows: vec![row], incarnation: Some(log.incarnation), ..Disk::default() };
        let id = world.open(1, disk, BTreeMap::new());
        (world, id)
    }

    /// A network of this many offices, all linked.
    pub fn of(count: u8) -> (Self, Vec<OfficeId>) {
        let (mut world, founder) = Self::new();
        let mut ids = vec![founder];
        for seed in 2..=count {
            let id = world.join(founder, seed, &format!("Office {seed}"));
            for other in &ids {
                world.link(*other, id);
            }
            world.settle();
            ids.push(id);
        }
        world.settle();
        (world, ids)
    }

    fn open(
        &mut self,
        seed: u8,
        disk: Disk,
        bootstrap: BTreeMap<OfficeId, Vec<String>>,
    ) -> OfficeId {
        let signer = signer(seed);
        let mut random = [0; 32];
        random[0] = seed;
        random[1..9].copy_from_slice(&self.requests.to_le_bytes());
        let mut config = Config::new(self.network, signer.clone(), random);
        config.bootstrap = bootstrap;
        config.relay = seed == RELAY;
        let stored = Stored {
            notices: disk.notices.values().cloned().collect(),
            conflicts: disk.conflicts.iter().cloned().collect(),
            incarnation: disk.incarnation,
            numbering: disk.numbering,
            forks: disk.forks.iter().copied().collect(),
            judge_again: disk.judge_again,
            outbox: disk.outbox.clone(),
            ..Stored::default()
        };
        let rows = || Ok(disk.rows.iter().cloned().map(Ok::<_, Infallible>));
        let core = Core::open(config, stored, rows, self.now).unwrap();
        let id = core.office();
        let admits = BTreeSet::new();
        self.offices.insert(id, Office { core, disk, signer, admits, seed, alarms: Vec::new() });
        self.step(id);
        id
    }

    /// Stops an office and starts it again from its disk.
    pub fn restart(&mut self, id: OfficeId) {
        let office = self.offices.remove(&id).unwrap();
        let links: Vec<_> =
            self.links.iter().copied().filter(|(a, b)| *a == id || *b == id).collect();
        for (a, b) in &links {
            let other = if *a == id { *b } else { *a };
            self.links.remove(&(*a, *b));
            self.input(other, Input::Disconnected(id));
        }
        self.requests += 1;
        self.open(office.seed, office.disk, BTreeMap::new());
        for (a, b) in links {
            self.link(a, b);
        }
    }

    /// Stops an office, puts another disk into it, and starts it again.
    pub fn restore(&mut self, id: OfficeId, disk: Disk) {
        self.offices.get_mut(&id).unwrap().disk = disk;
        self.restart(id);
    }

    /// Opens an office again from its disk, with its links as they are.
    fn reopen(&mut self, id: OfficeId, unanswered: Vec<(u64, Command)>) {
        let Office { disk, seed, alarms, .. } = self.offices.remove(&id).unwrap();
        self.requests += 1;
        self.open(seed, disk, BTreeMap::new());
        let office = self.offices.get_mut(&id).unwrap();
        office.alarms = [alarms, std::mem::take(&mut office.alarms)].concat();
        for (a, b) in self.links.clone() {
            if a == id || b == id {
                self.input(id, Input::Connected(if a == id { b } else { a }));
            }
        }
        for (request, command) in unanswered {
            self.input(id, Input::Command(request, command));
        }
    }

    pub fn invite(&mut self, admin: OfficeId, ticket: &Signer, name: &str, expires: i64) -> Reply {
        let invite = Invite {
            ticket: TicketId(ticket.office().0),
            name: name.into(),
            roles: vec![Role::Office],
            expires,
        };
        self.ask(admin, Command::Invite(invite))
    }

    pub fn admit(&mut self, sponsor: OfficeId, ticket: &Signer, office: OfficeId) -> Reply {
        let admit = Admit::new(&self.network, office, ticket);
        self.ask(sponsor, Command::Admit(admit))
    }

    /// Invites, admits and starts an office, which knows only its sponsor.
    pub fn join(&mut self, sponsor: OfficeId, seed: u8, name: &str) -> OfficeId {
        let ticket = signer(seed.wrapping_add(100));
        self.invite(sponsor, &ticket, name, i64::MAX).unwrap();
        self.start_with(sponsor, seed, &ticket)
    }

    /// Admits and starts an office that comes with a ticket.
    pub fn start_with(&mut self, sponsor: OfficeId, seed: u8, ticket: &Signer) -> OfficeId {
        self.admit(sponsor, ticket, signer(seed).office()).unwrap();
        self.open(seed, Disk::default(), BTreeMap::from([(sponsor, Vec::new())]))
    }

    /// Starts an office with another's disk, under its own key.
    pub fn start_again_as(&mut self, seed: u8, disk: Disk) -> OfficeId {
        self.open(seed, Disk { incarnation: None, numbering: None, ..disk }, BTreeMap::new())
    }

    /// A world of one office with another's disk, and none of its memory.
    pub fn copy_of(&self, id: OfficeId, seed: u8) -> Self {
        let mut world = Self {
            network: self.network,
            offices: BTreeMap::new(),
            links: BTreeSet::new(),
            mail: VecDeque::new(),
            now: self.now,
            requests: 0,
            replies: BTreeMap::new(),
            attempts: VecDeque::new(),
            relays: BTreeMap::new(),
            bytes: BTreeMap::new(),
        };
        let Disk { rows, .. } = self.offices[&id].disk.clone();
        world.open(seed, Disk { rows, ..Disk::default() }, BTreeMap::new());
        world
    }

    pub fn link(&mut self, a: OfficeId, b: OfficeId) {
        if a != b && self.links.insert((a.min(b), a.max(b))) {
            self.input(a, Input::Connected(b));
            self.input(b, Input::Connected(a));
        }
    }

    pub fn cut(&mut self, a: OfficeId, b: OfficeId) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            self.mail.retain(|(from, to, _)| (*from, *to) != (a, b) && (*from, *to) != (b, a));
            self.input(a, Input::Disconnected(b));
            self.input(b, Input::Disconnected(a));
        }
    }

    pub fn input(&mut self, id: OfficeId, input: Input) {
        let now = self.now;
        if let Some(office) = self.offices.get_mut(&id) {
            office.core.handle(now, input);
            self.step(id);
        }
    }

    fn step(&mut self, id: OfficeId) {
        let now = self.now;
        let office = self.offices.get_mut(&id).unwrap();
        let disk = &mut office.disk;
        let step = office.core.step(now);
        let effects = step
            .persist(|writes| {
                for write in writes {
                    disk.outbox.keep(write);
                    match write.clone() {
                        Write::Entry { index, row } if (index as usize) < disk.rows.len() => {
                            disk.rows[index as usize] = row;
                        }
                        Write::Entry { index, row } => {
                            assert_eq!(index as usize, disk.rows.len());
                            disk.rows.push(row);
                        }
                        Write::Notice(notice) => {
                            disk.notices.insert((notice.office, notice.topic as u8), notice);
                        }
                        Write::Conflict { uid, path, open: true } => {
                            disk.conflicts.insert((uid, path));
                        }
                        Write::Conflict { uid, path, open: false } => {
                            disk.conflicts.remove(&(uid, path));
                        }
                        Write::Numbering(numbering) => disk.numbering = Some(numbering),
                        Write::Incarnation(incarnation) => disk.incarnation = Some(incarnation),
                        Write::Fork { log, seq } => {
                            disk.forks.insert((log, seq));
                        }
                        Write::JudgeAgain(again) => disk.judge_again = again,
                        Write::Confirmed(id, uid, row) => {
                            disk.confirmed.insert((id, uid), row);
                        }
                        Write::Agreed(id, uid, agreed) => {
                            disk.agreed.insert((id, uid), agreed);
                        }
                        Write::Subscription(_)
                        | Write::Unsubscribed(_)
                        | Write::Owed(..)
                        | Write::Watched(..)
                        | Write::Held(..)
                        | Write::Version(_) => {}
                    }
                }
                Ok::<_, Infallible>(())
            })
            .unwrap();
        for effect in effects {
            match effect {
                Effect::Reply(request, reply) => {
                    self.replies.insert(request, reply);
                }
                Effect::Push { to, frame } => {
                    for to in to {
                        self.mail.push_back((id, to, frame.clone()));
                    }
                }
                Effect::Sync { to, frames } => {
                    self.mail.extend(frames.into_iter().map(|frame| (id, to, frame)));
                }
                Effect::Serve { to, fetch, from, end } => {
                    let from: BTreeMap<_, _> = from.into_iter().collect();
                    let rows = &self.offices[&id].disk.rows[..end as usize];
                    let mut chunks = Chunks::new();
                    let mut send = |bundle, last| {
                        let chunk = Message::Chunk { fetch, last, bundle };
                        self.mail.push_back((id, to, chunk.encode()));
                    };
                    for row in rows.iter().filter(|row| {
                        from.get(&row.entry.log).is_some_and(|seq| row.entry.seq >= *seq)
                    }) {
                        if let Some(bundle) = chunks.add(row.clone()) {
                            send(bundle, false);
                        }
                    }
                    send(chunks.finish(), true);
                }
                Effect::Deliver(attempts) => {
                    self.attempts.extend(attempts.into_iter().map(|attempt| (id, attempt)));
                }
                Effect::Alarm(text) => self.offices.get_mut(&id).unwrap().alarms.push(text),
                Effect::Reopen { unanswered, .. } => self.reopen(id, unanswered),
                Effect::Relays(relays) => drop(self.relays.insert(id, relays)),
                Effect::Admit { members, .. } => {
                    self.offices.get_mut(&id).unwrap().admits = members;
                }
                Effect::Neighbours(_) | Effect::Appended(_) | Effect::Subscriptions(_) => {}
            }
        }
    }

    /// Delivers everything that is under way.
    pub fn deliver(&mut self) {
        while self.deliver_one() {}
    }

    /// Delivers what was sent first; false if nothing is under way.
    pub fn deliver_one(&mut self) -> bool {
        let Some((from, to, frame)) = self.mail.pop_front() else { return false };
        if self.links.contains(&(from.min(to), from.max(to))) {
            *self.bytes.entry(kind(&Message::decode(&frame).unwrap())).or_default() += frame.len();
            self.input(to, Input::Received(from, frame));
        }
        true
    }

    /// Forgets what is under way.
    pub fn lose_mail(&mut self) {
        self.mail.clear();
    }

    /// Lets half a minute pass, with everything that is due in it.
    pub fn settle(&mut self) {
        self.settle_for(30);
    }

    /// Lets so many seconds pass, with everything that is due in them.
    pub fn settle_for(&mut self, seconds: u64) {
        let end = self.now.monotonic.after(seconds * 1_000_000);
        loop {
            self.deliver();
            let due = self.offices.iter().map(|(id, office)| (office.core.next_due().0, *id)).min();
            match due {
                Some((at, id)) if at <= end => {
                    self.elapse_to(at);
                    self.input(id, Input::Tick);
                }
                _ => break,
            }
        }
        self.elapse_to(end);
    }

    fn elapse_to(&mut self, at: Instant) {
        let passed = at.0.saturating_sub(self.now.monotonic.0);
        self.now.monotonic = self.now.monotonic.after(passed);
        self.now.wall += (passed / 1000) as i64;
    }

    /// As if all slept for so long.
    pub fn sleep(&mut self, seconds: u64) {
        self.elapse_to(self.now.monotonic.after(seconds * 1_000_000));
    }

    /// On the wall clock alone.
    pub fn pass(&mut self, millis: i64) {
        self.now.wall += millis;
    }

    pub fn wall(&self) -> i64 {
        self.now.wall
    }

    pub fn ask(&mut self, id: OfficeId, command: Command) -> Reply {
        self.requests += 1;
        let request = self.requests;
        self.input(id, Input::Command(request, command));
        // A write may wait until it is known which log to write it to.
        while !self.replies.contains_key(&request) {
            self.deliver();
            if self.replies.contains_key(&request) {
                break;
            }
            let due = self.offices[&id].core.next_due().0;
            self.elapse_to(due);
            self.input(id, Input::Tick);
        }
        self.replies.remove(&request).unwrap()
    }

    pub fn publish(&mut self, id: OfficeId, policy: &str, day: &str) -> Written {
        let event = json!({"type": "policy_start", "payload": {"policy_id": policy, "start_date": day, "title": policy}});
        match self.ask(id, Command::Publish(vec![PolicyEvent::from_json(event).unwrap()])).unwrap()
        {
            Answer::Published(mut written) => written.remove(0).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub fn try_patch(
        &mut self,
        id: OfficeId,
        uid: &str,
        patch: Value,
    ) -> Result<Written, CommandError> {
        let patch = patch.as_object().unwrap().clone();
        let command = Command::Patch { uid: uid.into(), patch, condition: Default::default() };
        self.ask(id, command).map(|answer| match answer {
            Answer::Written(written) => written,
            other => panic!("{other:?}"),
        })
    }

    pub fn patch(&mut self, id: OfficeId, uid: &str, patch: Value) -> Written {
        self.try_patch(id, uid, patch).unwrap()
    }

    pub fn put(&mut self, id: OfficeId, uid: &str, event: Value) -> Written {
        let event = event.as_object().unwrap().clone();
        match self
            .ask(id, Command::Put { uid: uid.into(), event, condition: Default::default() })
            .unwrap()
        {
            Answer::Written(written) => written,
            other => panic!("{other:?}"),
        }
    }

    pub fn event(&mut self, id: OfficeId, uid: &str) -> Option<EventView> {
        match self.ask(id, Command::Event { uid: uid.into() }) {
            Ok(Answer::Event(view)) => Some(view),
            Err(CommandError::UnknownEvent(_)) => None,
            other => panic!("{other:?}"),
        }
    }

    pub fn conflicts(&mut self, id: OfficeId) -> Vec<ConflictView> {
        match self.ask(id, Command::Conflicts).unwrap() {
            Answer::Conflicts(conflicts) => conflicts,
            other => panic!("{other:?}"),
        }
    }

    pub fn status(&mut self, id: OfficeId) -> StatusView {
        match self.ask(id, Command::Status).unwrap() {
            Answer::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    pub fn alarms(&self, id: OfficeId) -> &[String] {
        &self.offices[&id].alarms
    }

    /// Asserts that all offices hold and show the same, and know it of each other.
    pub fn assert_agreed(&mut self) {
        let ids: Vec<_> = self.offices.keys().copied().collect();
        let first = self.status(ids[0]);
        for id in &ids {
            let status = self.status(*id);
            assert_eq!(
                status.frontier, first.frontier,
                "{id:?} holds something else than {:?}",
                ids[0]
            );
            assert_eq!(self.conflicts(*id), self.conflicts(ids[0]));
            let all = |world: &mut Self, id| match world
                .ask(
                    id,
                    Command::Events(fasti_core::command::EventsQuery {
                        limit: 1000,
                        ..Default::default()
                    }),
                )
                .unwrap()
            {
                Answer::Events { events, .. } => events,
                other => panic!("{other:?}"),
            };
            assert_eq!(all(self, *id), all(self, ids[0]));
            for member in status.members {
                assert!(member.acknowledged, "{id:?} doesn't know that {} holds all", member.name);
            }
            assert_eq!(self.alarms(*id), &[] as &[String]);
        }
    }
}
