//! The engine: the one thread that owns the core. It gathers whatever has come (requests, network
//! events, deadlines), lets the core handle it, and hands the step to the `committer`. What comes while
//! the disk is busy shares the next step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fasti_core::{CommandError, Core, Input, Instant, Now, OfficeId, Reply, RequestId};
use fasti_doors::Request;
use fasti_net as net;
use tokio::sync::{mpsc, oneshot};

use super::committer::{Committed, Job, Reopen};
use super::joins;

/// Inputs that share a step at most: bounds how long the first of them waits for its answer.
const INPUTS_PER_STEP: usize = 2048;

/// A snapshot is due when this many entries came since the last one, or a sixteenth of all. The tail
/// is replayed at opening, some ten thousand changes a second.
const SNAPSHOT_ENTRIES_MIN: u64 = 1000;

/// Pause between attempts to open the store again after it failed.
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

pub(crate) struct Engine {
    core: Core,
    clock: Clock,
    requests: mpsc::Receiver<Request>,
    handle: fasti_doors::Handle,
    events: mpsc::Receiver<net::Event>,
    shared: Arc<super::Shared>,
    jobs: std::sync::mpsc::SyncSender<Job>,
    committed: mpsc::UnboundedReceiver<Committed>,
    /// A step is being committed.
    busy: bool,
    callers: Callers,
    asked: RequestId,
    /// What the core is told again after it was opened anew.
    linked: BTreeSet<OfficeId>,
    addresses: Vec<String>,
    /// Entries under the last snapshot.
    snapshot: u64,
    reopen: Reopen,
}

/// What the engine starts with.
pub(crate) struct Parts {
    pub(crate) core: Core,
    pub(crate) clock: Clock,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) handle: fasti_doors::Handle,
    pub(crate) events: mpsc::Receiver<net::Event>,
    pub(crate) shared: Arc<super::Shared>,
    pub(crate) jobs: std::sync::mpsc::SyncSender<Job>,
    pub(crate) committed: mpsc::UnboundedReceiver<Committed>,
    pub(crate) snapshot: u64,
    pub(crate) reopen: Reopen,
}

enum Happened {
    Request(Request),
    Event(net::Event),
    Committed(Committed),
    Due,
    Stop,
}

impl Engine {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            core,
            clock,
            requests,
            handle,
            events,
            shared,
            jobs,
            committed,
            snapshot,
            reopen,
        } = parts;
        Self {
            core,
            clock,
            requests,
            handle,
            events,
            shared,
            jobs,
            committed,
            busy: false,
            callers: Callers::new(),
            asked: 0,
            linked: BTreeSet::new(),
            addresses: Vec::new(),
            snapshot,
            reopen,
        }
    }

    /// Runs until the network's events end, which is how the node stops; then commits what is left.
    pub(crate) fn run(mut self, runtime: &tokio::runtime::Handle) {
        loop {
            let happened = runtime.block_on(self.next());
            if !self.take(happened) {
                break;
            }
            for _ in 1..INPUTS_PER_STEP {
                let Some(happened) = self.try_next() else { break };
                if !self.take(happened) {
                    break;
                }
            }
            self.hand_over(false);
        }
        while self.busy {
            match self.committed.blocking_recv() {
                Some(committed) => drop(self.done(committed)),
                None => break,
            }
        }
        self.hand_over(true);
    }

    async fn next(&mut self) -> Happened {
        let due = self.clock.at(self.core.next_due().0);
        tokio::select! {
            biased;
            Some(committed) = self.committed.recv() => Happened::Committed(committed),
            event = self.events.recv() => event.map_or(Happened::Stop, Happened::Event),
            Some(request) = self.requests.recv() => Happened::Request(request),
            () = tokio::time::sleep_until(due) => Happened::Due,
        }
    }

    fn try_next(&mut self) -> Option<Happened> {
        if let Ok(committed) = self.committed.try_recv() {
            return Some(Happened::Committed(committed));
        }
        if let Ok(event) = self.events.try_recv() {
            return Some(Happened::Event(event));
        }
        self.requests.try_recv().ok().map(Happened::Request)
    }

    /// Lets the core have it; false if it is time to stop.
    fn take(&mut self, happened: Happened) -> bool {
        match happened {
            Happened::Request(Request { command, reply }) => {
                self.asked += 1;
                self.callers.insert(self.asked, reply);
                self.input(Input::Command(self.asked, command));
            }
            Happened::Event(event) => self.event(event),
            Happened::Committed(committed) => return self.done(committed),
            Happened::Due => self.input(Input::Tick),
            Happened::Stop => return false,
        }
        true
    }

    fn input(&mut self, input: Input) {
        self.core.handle(self.clock.now(), input);
    }

    fn event(&mut self, event: net::Event) {
        match event {
            net::Event::Listening { addresses } => {
                self.addresses = addresses.iter().map(ToString::to_string).collect();
                self.shared.listening(&self.addresses);
                self.input(Input::Listening(self.addresses.clone()));
            }
            net::Event::Connected { peer, address } => {
                tracing::debug!(%peer, %address, "linked");
                self.linked.insert(peer);
                self.input(Input::Connected(peer));
            }
            net::Event::Disconnected { peer, reason } => {
                tracing::debug!(%peer, %reason, "link lost");
                self.linked.remove(&peer);
                self.input(Input::Disconnected(peer));
            }
            net::Event::Frame { peer, lane, bytes } => {
                tracing::trace!(%peer, ?lane, bytes = bytes.len(), "frame");
                self.input(Input::Received(peer, bytes));
            }
            net::Event::Congested { peer } => {
                tracing::debug!(%peer, "pushes were dropped");
                self.input(Input::Congested(peer));
            }
            net::Event::Join { ticket, request, reply } => {
                tokio::spawn(joins::answer(self.handle.clone(), ticket, request, reply));
            }
            net::Event::Discovered { peer, addresses } => {
                tracing::debug!(%peer, ?addresses, "discovered");
            }
        }
    }

    /// Gives a step to the committer, if there is one to give and the disk is free.
    fn hand_over(&mut self, stopping: bool) {
        if self.busy {
            return;
        }
        let step = self.core.step(self.clock.now());
        let entries = self.core.entries();
        let tail = entries - self.snapshot.min(entries);
        let snapshot_due =
            tail >= SNAPSHOT_ENTRIES_MIN.max(self.snapshot / 16) || (stopping && tail > 0);
        if step.is_empty() && !snapshot_due {
            return;
        }
        let snapshot = snapshot_due.then(|| {
            self.snapshot = entries;
            (entries, self.core.document().clone())
        });
        let callers =
            step.requests().filter_map(|id| Some((id, self.callers.remove(&id)?))).collect();
        self.busy = self.jobs.send(Job { step, callers, snapshot }).is_ok();
    }

    fn done(&mut self, committed: Committed) -> bool {
        self.busy = false;
        match committed {
            Committed::Stored => true,
            Committed::Failed(error) => self.start_again(&error),
        }
    }

    /// The store refused a step: the core is ahead of the disk, so it is opened again from what is
    /// there. Until that works, whoever asks is told why it doesn't.
    fn start_again(&mut self, error: &str) -> bool {
        tracing::error!(error, "the store failed; nothing that was answered is lost, trying again");
        loop {
            for (_, caller) in std::mem::take(&mut self.callers) {
                let _ = caller.send(Err(CommandError::Storage(error.to_owned())));
            }
            while let Ok(request) = self.requests.try_recv() {
                let _ = request.reply.send(Err(CommandError::Storage(error.to_owned())));
            }
            match (self.reopen)(self.clock.now()) {
                Ok((core, snapshot)) => {
                    self.core = core;
                    self.snapshot = snapshot;
                    break;
                }
                Err(error) => tracing::error!(%error, "the store can't be opened again yet"),
            }
            if self.events.is_closed() {
                return false;
            }
            std::thread::sleep(REOPEN_PAUSE);
        }
        self.shared.recovered();
        tracing::warn!("the store works again");
        self.input(Input::Listening(self.addresses.clone()));
        for peer in self.linked.clone() {
            self.input(Input::Connected(peer));
        }
        true
    }
}
