//! A core with its rows in memory: takes frames, is opened again from its rows, and says all that it shows.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use fasti_core::command::EventsQuery;
use fasti_core::entry::{Bundle, Signer};
use fasti_core::log::Chunks;
use fasti_core::message::Message;
use fasti_core::notice::{SignedNotice, Topic};
use fasti_core::outbox::StoredOutbox;
use fasti_core::row::Row;
use fasti_core::{
    Answer, Command, Config, Core, Effect, Incarnation, Input, Instant, Kept, LogId, NetworkId,
    Now, OfficeId, OpenError, Reply, Stored, Write,
};
use serde_json::{Value, json};

/// What a core wrote.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) rows: Vec<Row>,
    pub(crate) notices: BTreeMap<(OfficeId, Topic), SignedNotice>,
    pub(crate) conflicts: BTreeSet<(String, String)>,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) numbering: Option<u64>,
    pub(crate) forks: BTreeSet<(LogId, u64)>,
    pub(crate) judge_again: bool,
    pub(crate) outbox: StoredOutbox,
    pub(crate) snapshot: Option<(u64, Vec<u8>)>,
}

/// When all begins.
pub(crate) const START: i64 = 1_704_067_200_000;

pub(crate) struct Node {
    pub(crate) disk: Disk,
    core: Core,
    network: NetworkId,
    signer: Signer,
    now: Now,
    peer: Option<OfficeId>,
    replies: BTreeMap<u64, Reply>,
    requests: u64,
    /// How often all was judged again.
    pub(crate) reopened: u64,
}

impl Node {
    /// Opens one; what it hears comes from this peer.
    pub(crate) fn open(
        network: NetworkId,
        signer: Signer,
        disk: Disk,
        peer: Option<OfficeId>,
    ) -> Result<Self, OpenError<Infallible>> {
        let now = Now { monotonic: Instant(0), wall: START };
        let core = open(network, &signer, &disk, now)?;
        let mut node = Self {
            disk,
            core,
            network,
            signer,
            now,
            peer,
            replies: BTreeMap::new(),
            requests: 0,
            reopened: 0,
        };
        node.step();
        node.connect();
        Ok(node)
    }

    fn connect(&mut self) {
        if let Some(peer) = self.peer {
            self.input(Input::Connected(peer));
        }
    }

    /// Stops it and opens it again from what it stored.
    pub(crate) fn reopen(&mut self) {
        self.core = open(self.network, &self.signer, &self.disk, self.now)
            .unwrap_or_else(|error| panic!("what was stored doesn't load: {error}"));
        self.step();
        self.connect();
    }

    /// The same, with all judged again.
    pub(crate) fn judge_again(&mut self) {
        self.disk.judge_again = true;
        self.disk.snapshot = None;
        self.reopen();
    }

    /// The same, from the document and not from the changes.
    pub(crate) fn reopen_from_snapshot(&mut self) {
        let document = self.core.document().expect("a document").save();
        self.disk.snapshot = Some((self.disk.rows.len() as u64, document));
        self.reopen();
    }

    pub(crate) fn push(&mut self, bundle: Bundle) {
        self.receive(Message::Push(bundle).encode());
    }

    pub(crate) fn receive(&mut self, frame: Vec<u8>) {
        if let Some(peer) = self.peer {
            self.input(Input::Received(peer, frame));
        }
    }

    fn input(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.step();
    }

    /// Lets so many seconds pass, with everything that is due in them.
    pub(crate) fn pass(&mut self, seconds: u64) {
        let end = self.now.monotonic.after(seconds * 1_000_000);
        loop {
            let due = self.core.next_due().0.max(self.now.monotonic);
            let passed = due.min(end).0 - self.now.monotonic.0;
            self.now.monotonic = self.now.monotonic.after(passed);
            self.now.wall += (passed / 1000) as i64;
            if due >= end {
                return;
            }
            self.input(Input::Tick);
        }
    }

    pub(crate) fn ask(&mut self, command: Command) -> Reply {
        self.requests += 1;
        let request = self.requests;
        self.input(Input::Command(request, command));
        // A write waits until it is known which log to write it to.
        if !self.replies.contains_key(&request) {
            self.pass(2);
        }
        self.replies.remove(&request).expect("an answer")
    }

    fn step(&mut self) {
        let Self { core, disk, now, .. } = self;
        let effects = core.step(*now).persist(|writes| {
            writes.iter().for_each(|write| disk.write(write.clone()));
            Ok::<_, Infallible>(())
        });
        for effect in effects.unwrap_or_else(|never| match never {}) {
            match effect {
                Effect::Reply(request, reply) => {
                    self.replies.insert(request, reply);
                }
                Effect::Alarm(text) => assert_no_fault(&text),
                Effect::Reopen { unanswered, .. } => {
                    self.reopened += 1;
                    self.reopen();
                    for (request, command) in unanswered {
                        self.input(Input::Command(request, command));
                    }
                }
                Effect::Push { .. }
                | Effect::Sync { .. }
                | Effect::Serve { .. }
                | Effect::Admit { .. }
                | Effect::Neighbours(_)
                | Effect::Relays(_)
                | Effect::Appended(_)
                | Effect::Subscriptions(_)
                | Effect::Deliver(_) => {}
            }
        }
    }

    pub(crate) fn entries(&self) -> u64 {
        self.core.entries()
    }

    /// All that it holds, as it serves it to others.
    pub(crate) fn chunks(&self) -> Vec<Bundle> {
        let mut chunks = Chunks::new();
        let mut bundles: Vec<Bundle> =
            self.disk.rows.iter().filter_map(|row| chunks.add(row.clone())).collect();
        bundles.push(chunks.finish());
        bundles
    }

    /// Everything that it shows: equal where the same is held.
    pub(crate) fn shown(&mut self) -> Value {
        let Ok(Answer::Status(status)) = self.ask(Command::Status) else { panic!("no status") };
        let query = EventsQuery { limit: 1000, ..Default::default() };
        let Ok(Answer::Events { events, .. }) = self.ask(Command::Events(query)) else {
            panic!("no events")
        };
        let Ok(Answer::Conflicts(conflicts)) = self.ask(Command::Conflicts) else {
            panic!("no conflicts")
        };
        let Ok(Answer::FormerMembers(former)) = self.ask(Command::FormerMembers) else {
            panic!("no former members")
        };
        let members: Vec<_> = status
            .members
            .iter()
            .map(|it| (&it.office, &it.name, &it.roles, it.shared_ticket))
            .collect();
        json!({
            "frontier": status.frontier, "entries": status.entries, "void": status.void,
            "deferred": status.deferred, "forks": status.forks, "count": status.events,
            "events": events, "conflicts": conflicts, "members": members, "former": former,
        })
    }
}

impl Disk {
    fn write(&mut self, write: Write) {
        match write {
            Write::Entry { index, row } if (index as usize) < self.rows.len() => {
                self.rows[index as usize] = row;
            }
            Write::Entry { index, row } => {
                assert_eq!(index as usize, self.rows.len(), "a gap in the local log");
                self.rows.push(row);
            }
            Write::Notice(notice) => {
                self.notices.insert((notice.office, notice.topic), notice);
            }
            Write::Conflict { uid, path, open: true } => {
                self.conflicts.insert((uid, path));
            }
            Write::Conflict { uid, path, open: false } => {
                self.conflicts.remove(&(uid, path));
            }
            Write::Numbering(numbering) => self.numbering = Some(numbering),
            Write::Incarnation(incarnation) => self.incarnation = Some(incarnation),
            Write::Fork { log, seq } => {
                self.forks.insert((log, seq));
            }
            Write::Subscription(_)
            | Write::Unsubscribed(_)
            | Write::Owed(..)
            | Write::Confirmed(..)
            | Write::Agreed(..)
            | Write::Watched(..)
            | Write::Held(..)
            | Write::Version(_) => self.outbox.keep(&write),
            Write::JudgeAgain(judge_again) => {
                self.judge_again = judge_again;
                if judge_again {
                    self.snapshot = None;
                }
            }
        }
    }
}

fn open(
    network: NetworkId,
    signer: &Signer,
    disk: &Disk,
    now: Now,
) -> Result<Core, OpenError<Infallible>> {
    let config = Config::new(network, signer.clone(), [7; 32]);
    let stored = Stored {
        snapshot: disk.snapshot.clone(),
        notices: disk.notices.values().cloned().collect(),
        conflicts: disk.conflicts.iter().cloned().collect(),
        incarnation: disk.incarnation,
        numbering: disk.numbering,
        forks: disk.forks.iter().copied().collect(),
        judge_again: disk.judge_again,
        outbox: disk.outbox.clone(),
        kept: Kept::default(),
    };
    Core::open(config, stored, || Ok(disk.rows.iter().cloned().map(Ok)), now)
}

/// Alarms about peers are as they should be; those about ourselves are finds.
fn assert_no_fault(alarm: &str) {
    for words in ["please report", "can't be built", "can't be loaded", "doesn't understand itself"]
    {
        assert!(!alarm.contains(words), "{alarm}");
    }
}

/// Says what is shown differently, and how.
#[track_caller]
pub(crate) fn assert_same(found: &Value, expected: &Value, what: &str) {
    let parts = expected.as_object().into_iter().flatten();
    let different: Vec<String> = parts
        .filter(|(name, part)| found[name.as_str()] != **part)
        .map(|(name, part)| format!("{name}:\n  {part}\n  {}", found[name.as_str()]))
        .collect();
    assert!(different.is_empty(), "{what}: expected and found\n{}", different.join("\n"));
}
