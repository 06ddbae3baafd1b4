//! The engine: the one thread that owns the core and writes the disk. It gathers whatever has come
//! (requests, network events, deadlines), lets the core handle it, makes the step durable and has its
//! effects carried out by `outlets`. What comes while the disk is busy shares the next step.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fasti_core::{
    Command, CommandError, Core, Input, Instant, Kept, Now, OfficeId, Reply, RequestId, Write,
};
use fasti_delivery::Report;
use fasti_doors::Request;
use fasti_net as net;
use fasti_store::{CommitError, Store};
use tokio::sync::{mpsc, oneshot};

use super::joins;
use super::outlets::Outlets;
use super::snapshots::Snapshots;

/// Inputs that share a step at most: bounds how long the first of them waits for its answer.
const INPUTS_PER_STEP: usize = 2048;

/// No input is added to a step that writes as much as this: bounds the memory of a step. Beyond it a larger
/// transaction costs the disk no less for each entry.
const WRITES_PER_STEP: usize = 1000;

/// A snapshot is due when this many entries came since the last one, or a sixteenth of all, and there is
/// nothing else to do. The tail is replayed at opening, some ten thousand changes a second.
const SNAPSHOT_ENTRIES_MIN: u64 = 1000;

/// With so many times as much it is due whatever there is to do.
const SNAPSHOT_OVERDUE: u64 = 8;

/// Pause between attempts to open the store again after it failed; and, once it is open, before what comes over
/// the network is taken again. A disk that is still full would refuse that at once, again and again, and nobody
/// could read meanwhile.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// Time for the core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn now(self) -> Now {
        let monotonic = Instant(self.0.elapsed().as_micros() as u64);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic, wall: wall.as_millis() as i64 }
    }

    /// When a moment of the core comes, in tokio's time.
    fn at(self, instant: Instant) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.0 + Duration::from_micros(instant.0))
    }
}

/// Callers that wait for a reply, by the number of their request.
pub(crate) type Callers = BTreeMap<RequestId, oneshot::Sender<Reply>>;

/// Why the core is opened again.
#[derive(Debug)]
pub(crate) enum Opening {
    /// The disk failed: it is read anew from the beginning.
    Failed,
    /// All entries are to be judged again.
    Judging(Kept),
}

/// Opens the core again from the store; gives it with the entries under its snapshot.
pub(crate) type Reopen = Box<dyn FnMut(Now, Opening) -> anyhow::Result<(Core, u64)> + Send>;

/// What the engine is connected with.
pub(crate) struct Wires {
    pub(crate) clock: Clock,
    pub(crate) store: Arc<Store>,
    pub(crate) shared: Arc<super::Shared>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) events: mpsc::Receiver<net::Event>,
    /// What came of deliveries, never more than are under way; and what was read.
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    pub(crate) outlets: Outlets,
    /// For answering newcomers.
    pub(crate) handle: fasti_doors::Handle,
    pub(crate) reopen: Reopen,
}

pub(crate) struct Engine {
    wires: Wires,
    core: Core,
    callers: Callers,
    asked: RequestId,
    /// Whose turn it is if several wait.
    turn: usize,
    /// What the core is told again after it was opened anew.
    linked: BTreeSet<OfficeId>,
    addresses: Vec<String>,
    snapshots: Snapshots,
    /// Entries under the last snapshot.
    snapshot: u64,
    /// The disk failed a moment ago: until then nothing is taken from the network.
    quiet_until: Option<tokio::time::Instant>,
}

impl Wires {
    fn is_idle(&self) -> bool {
        self.events.is_empty() && self.requests.is_empty() && self.reports.is_empty()
    }
}

enum Happened {
    Request(Request),
    Event(net::Event),
    Report(Report),
    Due,
    Stop,
}

impl Engine {
    /// With a core, and the number of entries under its snapshot.
    pub(crate) fn new(wires: Wires, core: Core, snapshot: u64) -> Self {
        Self {
            wires,
            core,
            callers: Callers::new(),
            asked: 0,
            turn: 0,
            linked: BTreeSet::new(),
            addresses: Vec::new(),
            snapshots: Snapshots::default(),
            snapshot,
            quiet_until: None,
        }
    }

    /// Runs until the network's events end, which is how the node stops.
    pub(crate) fn run(mut self) {
        let runtime = self.wires.runtime.clone();
        let mut going = true;
        while going {
            let happened = self.try_next().unwrap_or_else(|| {
                let due = self.wires.clock.at(self.core.next_due().0);
                runtime.block_on(self.next(due))
            });
            if let Err(error) = self.turn(happened, &mut going)
                && !self.start_again(&error)
            {
                return;
            }
        }
        self.snapshots.wait();
        if self.core.entries() > self.snapshot {
            self.save_snapshot();
            self.snapshots.wait();
        }
    }

    /// One step: what happened, what waits beside it, and what follows. Whatever fails on the way, a panic
    /// included, has told nobody anything that is not on the disk: so the core is opened again from there, and whoever
    /// sent what it failed at harms only who waited in the same step.
    fn turn(&mut self, first: Happened, going: &mut bool) -> Result<(), String> {
        let work = || {
            *going = self.take(first);
            for _ in 1..INPUTS_PER_STEP {
                if !*going || self.core.unstored() >= WRITES_PER_STEP || self.core.is_stale() {
                    break;
                }
                let Some(happened) = self.try_next() else { break };
                *going = self.take(happened);
            }
            self.wires.shared.panic_if_asked();
            self.step()?;
            if self.wires.is_idle() {
                self.core.idle();
                self.save_snapshot_if_due(1);
            }
            Ok(())
        };
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            // The document may be what it failed at: it is not to be loaded as it was saved.
            let anew = self.wires.store.commit(&[Write::JudgeAgain(true)]);
            let stored = anew.map_or_else(|error| format!(" ({error})"), |()| String::new());
            Err(format!("the program failed, which it must not; please report this{stored}"))
        })
    }

    async fn next(&mut self, due: tokio::time::Instant) -> Happened {
        let quiet = self.is_quiet();
        // Nor is the core told the time, as it would have something to say, and to store.
        let due = self.quiet_until.unwrap_or(due);
        let Wires { events, requests, reports, .. } = &mut self.wires;
        tokio::select! {
            event = events.recv(), if !quiet => event.map_or(Happened::Stop, Happened::Event),
            Some(request) = requests.recv() => Happened::Request(request),
            Some(report) = reports.recv() => Happened::Report(report),
            () = tokio::time::sleep_until(due) => Happened::Due,
        }
    }

    fn is_quiet(&mut self) -> bool {
        self.quiet_until = self.quiet_until.filter(|until| *until > tokio::time::Instant::now());
        self.quiet_until.is_some()
    }

    /// What waits already, by turns: nothing can keep the others waiting for ever.
    fn try_next(&mut self) -> Option<Happened> {
        let quiet = self.is_quiet();
        let Wires { events, requests, reports, .. } = &mut self.wires;
        self.turn += 1;
        (0..3).find_map(|at| match (self.turn + at) % 3 {
            0 if quiet => None,
            0 => events.try_recv().ok().map(Happened::Event),
            1 => requests.try_recv().ok().map(Happened::Request),
            _ => reports.try_recv().ok().map(Happened::Report),
        })
    }

    /// Lets the core have it; false if it is time to stop.
    fn take(&mut self, happened: Happened) -> bool {
        match happened {
            Happened::Request(Request { command, reply }) => self.ask(command, reply),
            Happened::Event(net::Event::Frame { peer, lane, bytes, room }) => {
                tracing::trace!(%peer, ?lane, bytes = bytes.len(), "frame");
                self.input(Input::Received(peer, bytes));
                drop(room);
            }
            Happened::Event(event) => {
                if let Some(input) = self.event(event) {
                    self.input(input);
                }
            }
            Happened::Report(Report::Tried(tried)) => self.input(Input::Tried(tried)),
            Happened::Report(Report::Read(said, reply)) => {
                self.ask(Command::TakeOver(said), reply);
            }
            Happened::Due => self.input(Input::Tick),
            Happened::Stop => return false,
        }
        true
    }

    fn ask(&mut self, command: Command, reply: oneshot::Sender<Reply>) {
        self.asked += 1;
        self.callers.insert(self.asked, reply);
        self.input(Input::Command(self.asked, command));
    }

    fn input(&mut self, input: Input) {
        self.core.handle(self.wires.clock.now(), input);
    }

    /// Keeps what has to outlive the core, and says what it is told.
    fn event(&mut self, event: net::Event) -> Option<Input> {
        match event {
            net::Event::Listening { addresses } => {
                self.addresses = addresses.iter().map(ToString::to_string).collect();
                self.wires.shared.listening(&self.addresses);
                Some(Input::Listening(self.addresses.clone()))
            }
            net::Event::Connected { peer, address, relayed } => {
                tracing::debug!(%peer, %address, relayed, "linked");
                self.linked.insert(peer);
                self.wires.shared.linked(peer, relayed);
                Some(Input::Connected(peer))
            }
            net::Event::Disconnected { peer, reason } => {
                tracing::debug!(%peer, %reason, "link lost");
                self.linked.remove(&peer);
                Some(Input::Disconnected(peer))
            }
            // What is not taken is lost.
            net::Event::Frame { .. } => None,
            net::Event::Congested { peer } => {
                tracing::debug!(%peer, "pushes were dropped");
                Some(Input::Congested(peer))
            }
            net::Event::Join { ticket, request, reply } => {
                let answer = joins::answer(self.wires.handle.clone(), ticket, request, reply);
                self.wires.runtime.spawn(answer);
                None
            }
            net::Event::Discovered { peer, addresses } => {
                tracing::debug!(%peer, ?addresses, "discovered");
                None
            }
        }
    }

    /// Makes what has come durable, then carries out what follows from it.
    fn step(&mut self) -> Result<(), String> {
        let Wires { clock, store, shared, outlets, .. } = &mut self.wires;
        let persisted = self.core.step(clock.now()).persist(|writes| {
            let started = std::time::Instant::now();
            store.commit(writes)?;
            shared.committed(started.elapsed());
            Ok(())
        });
        let effects =
            persisted.map_err(|error: CommitError| format!("{:#}", anyhow::Error::from(error)))?;
        if let Some((unanswered, kept)) = outlets.carry_out(effects, &mut self.callers) {
            // What it saves is of the core that goes.
            self.snapshots.wait();
            self.open_again(Opening::Judging(kept)).map_err(|error| format!("{error:#}"))?;
            for (request, command) in unanswered {
                self.input(Input::Command(request, command));
            }
            return self.step();
        }
        self.save_snapshot_if_due(SNAPSHOT_OVERDUE);
        Ok(())
    }

    /// Opens the core again from what is stored, and tells it who is there.
    fn open_again(&mut self, opening: Opening) -> anyhow::Result<()> {
        (self.core, self.snapshot) = (self.wires.reopen)(self.wires.clock.now(), opening)?;
        self.input(Input::Listening(self.addresses.clone()));
        for peer in self.linked.clone() {
            self.input(Input::Connected(peer));
        }
        Ok(())
    }

    fn save_snapshot_if_due(&mut self, patience: u64) {
        let tail = self.core.entries().saturating_sub(self.snapshot);
        let due = SNAPSHOT_ENTRIES_MIN.max(self.snapshot / 16) * patience;
        if tail >= due && self.snapshots.is_idle() {
            self.save_snapshot();
        }
    }

    fn save_snapshot(&mut self) {
        if let Some(document) = self.core.document().cloned() {
            self.snapshot = self.core.entries();
            self.snapshots.save(&self.wires.store, self.snapshot, document);
        }
    }

    /// A step failed, in most cases as the store refused it: the core is ahead of the disk, so it is opened again from what is
    /// there. Until that works, whoever asks is told why it doesn't. False if it is time to stop.
    fn start_again(&mut self, error: &str) -> bool {
        tracing::error!(error, "a step failed; nothing that was answered is lost, trying again");
        self.wires.shared.failed(error);
        for (_, caller) in std::mem::take(&mut self.callers) {
            let _ = caller.send(Err(CommandError::Storage(error.to_owned())));
        }
        let runtime = self.wires.runtime.clone();
        self.quiet_until = None;
        // What it saves is of the core that goes.
        self.snapshots.wait();
        let mut retry = tokio::time::Instant::now();
        loop {
            match runtime.block_on(self.next(retry)) {
                Happened::Request(request) => {
                    let _ = request.reply.send(Err(CommandError::Storage(error.to_owned())));
                }
                // It is tried again, or read again.
                Happened::Report(_) => {}
                // Frames are lost; comparing frontiers makes up for it.
                Happened::Event(event) => drop(self.event(event)),
                Happened::Stop => return false,
                Happened::Due => match self.open_again(Opening::Failed) {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::error!(
                            error = format!("{error:#}"),
                            "the store can't be opened again yet"
                        );
                        retry = tokio::time::Instant::now() + REOPEN_PAUSE;
                    }
                },
            }
        }
        self.wires.shared.recovered();
        tracing::warn!("the node works again");
        self.quiet_until = Some(tokio::time::Instant::now() + REOPEN_PAUSE);
        true
    }
}
