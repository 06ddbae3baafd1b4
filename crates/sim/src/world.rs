//! The world of a run: the virtual clock, the queue of what will happen, the offices and the links. Leaves
//! what each happening means to `office`, `network`, `clients` and `faults`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::sync::Arc;

use fasti_core::outbox::Tried;
use fasti_core::{NetworkId, OfficeId, TicketId};
use serde::Serialize;

use crate::bookers::Bookers;
use crate::clients::Clients;
use crate::delivered::Calendar;
use crate::deliveries::Deliveries;
use crate::dice::Dice;
use crate::disk::Shelf;
use crate::faults::Partition;
use crate::measure::Meter;
use crate::memo::Memo;
use crate::mutation::Mutation;
use crate::network::{Frame, Link};
use crate::office::Office;
use crate::oracle::{Broken, Watch};
use crate::promises::Promises;
use crate::scenario::Scenario;
use crate::systems::{Reach, Systems};
use crate::trace::Trace;

/// One second of simulated time.
pub(crate) const SECOND: u64 = 1_000_000;
/// One millisecond of simulated time.
pub(crate) const MILLISECOND: u64 = 1_000;

/// Something that will happen. Offices and link ends are numbers: their places in `World::offices`.
pub(crate) enum Happening {
    /// A frame arrives over the link's connection with this number.
    Arrive { from: usize, to: usize, epoch: u32, frame: Rc<Frame> },
    /// A dialler learns that its connection stands.
    Established { at: usize, peer: usize, epoch: u32 },
    /// An end notices, if it is still so, that it hears nothing any more.
    Silence { at: usize, peer: usize, epoch: u32 },
    /// An end learns that the other one is gone.
    Gone { at: usize, peer: usize, epoch: u32 },
    /// An office tries to connect.
    Dial { from: usize, to: usize },
    /// A commit is durable, if the office still runs in this life.
    Durable { at: usize, life: u32 },
    /// A deadline of the core.
    Due { at: usize, life: u32 },
    /// An office comes back.
    Restart { at: usize },
    /// Somebody edits.
    Edit,
    /// Somebody books, or changes what is booked.
    Book,
    /// Somebody decides about a policy.
    Decide,
    /// Somebody does something about external systems.
    Operate,
    /// An attempt to deliver gets to a system.
    Arrives(Box<Reach>),
    /// What came of it gets back, if the process still runs.
    Heard { at: usize, process: u32, tried: Box<Tried> },
    /// An office crashes.
    Crash,
    /// The network divides ...
    Divide { planned: bool },
    /// ... and heals.
    Heal { partition: u64 },
    /// A frame that no honest peer would send.
    Garbage,
    /// A member signs another entry for a place of its log.
    Equivocate,
    /// A liar lies.
    Lie,
    /// A liar keeps a fetch going and brings nothing.
    Drip { from: usize, to: usize, fetch: u32 },
    /// Somebody is removed.
    Remove,
    /// An office draws a new key.
    Rotate,
    /// It goes on under it, if others have heard of it.
    TakeOver { old: usize, new: usize },
    /// A wall clock jumps.
    Jump,
    /// Somebody is invited.
    Invite,
    /// A newcomer knocks at a member's door with its ticket.
    Knock { newcomer: usize },
    /// Some offices are compared.
    Compare,
    /// An office saves its document.
    Snapshot,
}

struct Planned {
    at: u64,
    number: u64,
    what: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What a run amounted to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Simulated time in microseconds.
    pub simulated_us: u64,
    /// How many things happened.
    pub happenings: u64,
    /// Steps of cores.
    pub steps: u64,
    /// Transactions.
    pub commits: u64,
    /// Frames sent.
    pub frames: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Bytes of notices among them: presence, what is held, how systems fare.
    pub notices: u64,
    /// Edits that were answered as written.
    pub edits: u64,
    /// Bookings that were answered as written.
    pub booked: u64,
    /// Proposals, approvals and withdrawals that were answered as written.
    pub decided: u64,
    /// Claims that somebody called settled.
    pub settled: u64,
    /// How often such a claim was looked for where it has to be held.
    pub kept: u64,
    /// Settled claims that may be displaced, as somebody broke a promise on which they hang.
    pub excused: u64,
    /// Those that were.
    pub displaced: u64,
    /// Subscriptions of external systems that were asked for.
    pub systems: u64,
    /// Attempts to deliver.
    pub deliveries: u64,
    /// Those whose confirmation came back.
    pub confirmed: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Deliveries, events and times that were asked for again.
    pub replayed: u64,
    /// What systems said of events and offices took over.
    pub taken_over: u64,
    /// Deliveries that came later than what is newer.
    pub stale: u64,
    /// Crashes.
    pub crashes: u64,
    /// Offices that came in the course of the run.
    pub joined: u64,
    /// Removals that were answered as done.
    pub removals: u64,
    /// Offices that went on under a new key.
    pub rotated: u64,
    /// Lies told.
    pub lies: u64,
    /// Entries that a removal cuts off at the end.
    pub cut: u64,
    /// Forged entries that count at the end: of liars who were not removed, or as others had built upon them.
    pub stayed: u64,
    /// Entries in the log at the end.
    pub entries: u64,
    /// How long all needed to agree after the faults, in simulated microseconds.
    pub healed_us: u64,
    /// How long it took from when all systems had confirmed all until every office knew that, in simulated microseconds.
    pub told_us: u64,
}

pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) mutation: Mutation,
    /// Microseconds since the start.
    pub(crate) now: u64,
    queue: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    pub(crate) dice: Dice,
    pub(crate) trace: Trace,
    pub(crate) stats: Stats,
    pub(crate) network: NetworkId,
    pub(crate) memo: Arc<Memo>,
    pub(crate) shelf: Shelf,
    pub(crate) offices: Vec<Office>,
    pub(crate) places: BTreeMap<OfficeId, usize>,
    pub(crate) links: BTreeMap<(usize, usize), Link>,
    pub(crate) partitions: BTreeMap<u64, Partition>,
    /// Whether faults and edits still happen.
    pub(crate) unkind: bool,
    pub(crate) clients: Clients,
    pub(crate) bookers: Bookers,
    pub(crate) promises: Promises,
    pub(crate) systems: Systems,
    pub(crate) deliveries: Deliveries,
    /// What offices showed of their calendars in the end.
    pub(crate) calendars: BTreeMap<usize, Calendar>,
    /// Offices that don't know yet that the systems of all confirmed an event.
    pub(crate) unaware: BTreeSet<(usize, String)>,
    /// Tickets that were made, and for which newcomer.
    pub(crate) tickets: BTreeMap<TicketId, usize>,
    pub(crate) watch: Watch,
    pub(crate) meter: Option<Meter>,
    /// Frames from honest offices to honest ones.
    pub(crate) honest_frames: u64,
    /// Removals that were asked for.
    pub(crate) removals: u64,
    /// How many entries all had at the start.
    pub(crate) base: usize,
    /// Counts what liars write, each with a mark of its own.
    pub(crate) forged: u64,
}

impl World {
    pub(crate) fn new(scenario: &Scenario, seed: u64, mutation: Mutation) -> Self {
        Self {
            scenario: scenario.clone(),
            mutation,
            now: 0,
            queue: BinaryHeap::new(),
            planned: 0,
            dice: Dice::new(seed),
            trace: Trace::default(),
            stats: Stats::default(),
            network: NetworkId([0; 32]),
            memo: Arc::new(Memo::default()),
            shelf: Shelf::default(),
            offices: Vec::new(),
            places: BTreeMap::new(),
            links: BTreeMap::new(),
            partitions: BTreeMap::new(),
            unkind: true,
            clients: Clients::default(),
            bookers: Bookers::default(),
            promises: Promises::default(),
            systems: Systems::default(),
            deliveries: Deliveries::default(),
            calendars: BTreeMap::new(),
            unaware: BTreeSet::new(),
            tickets: BTreeMap::new(),
            watch: Watch::default(),
            meter: None,
            honest_frames: 0,
            removals: 0,
            base: 0,
            forged: 0,
        }
    }

    /// Plans something for so much later.
    pub(crate) fn after(&mut self, micros: u64, what: Happening) {
        let at = self.now + micros;
        self.planned += 1;
        self.queue.push(Reverse(Planned { at, number: self.planned, what }));
    }

    /// Plans the next of something that happens at random moments with this mean interval (0: never).
    pub(crate) fn some_time(&mut self, mean: u64, what: Happening) {
        if mean > 0 && self.unkind {
            // Uniform up to twice the mean: no logarithms, whose last bits differ between platforms.
            let delay = self.dice.within([1, 2 * mean]);
            self.after(delay, what);
        }
    }

    /// Lets everything happen up to (and at) this moment.
    pub(crate) fn run_until(&mut self, end: u64) -> Result<(), Broken> {
        while let Some(Reverse(next)) = self.queue.peek()
            && next.at <= end
        {
            let Some(Reverse(Planned { at, what, .. })) = self.queue.pop() else { break };
            self.now = at;
            self.stats.happenings += 1;
            self.happen(what)?;
        }
        self.now = end;
        self.stats.simulated_us = end;
        Ok(())
    }

    fn happen(&mut self, what: Happening) -> Result<(), Broken> {
        match what {
            Happening::Arrive { from, to, epoch, frame } => self.arrive(from, to, epoch, &frame),
            Happening::Established { at, peer, epoch } => self.established(at, peer, epoch),
            Happening::Silence { at, peer, epoch } => self.silence(at, peer, epoch),
            Happening::Gone { at, peer, epoch } => self.gone(at, peer, epoch),
            Happening::Dial { from, to } => self.dial(from, to),
            Happening::Durable { at, life } => self.durable(at, life),
            Happening::Due { at, life } => self.due(at, life),
            Happening::Restart { at } => self.open(at),
            Happening::Edit => self.edit(),
            Happening::Book => self.book(),
            Happening::Decide => self.decide(),
            Happening::Operate => self.operate(),
            Happening::Arrives(reach) => self.arrives(*reach),
            Happening::Heard { at, process, tried } => self.heard_back(at, process, *tried),
            Happening::Crash => self.crash_someone(),
            Happening::Divide { planned } => {
                self.divide(planned);
                Ok(())
            }
            Happening::Heal { partition } => {
                self.partitions.remove(&partition);
                Ok(())
            }
            Happening::Garbage => self.garbage(),
            Happening::Jump => {
                self.jump();
                Ok(())
            }
            Happening::Invite => self.invite(),
            Happening::Knock { newcomer } => self.knock(newcomer),
            Happening::Equivocate => self.equivocate(),
            Happening::Lie => self.lie(),
            Happening::Drip { from, to, fetch } => {
                self.drip(from, to, fetch);
                Ok(())
            }
            Happening::Remove => self.remove_someone(),
            Happening::Rotate => self.rotate(),
            Happening::TakeOver { old, new } => self.take_over(old, new),
            Happening::Compare => self.compare_some(),
            Happening::Snapshot => {
                self.snapshot();
                Ok(())
            }
        }
    }
}
