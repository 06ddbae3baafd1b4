//! How entries and notices get around: pushing what is new (`push`), comparing frontiers (here), fetching
//! what is missing (`fetch`), saying what we hold (`notices`). It never decides what an entry counts for:
//! that is `ledger`'s.
//!
//! The state for each linked peer is small: since when it has known as much as we do, and which
//! notices it has seen. One fetch runs at a time.

mod fetch;
mod notices;
mod parts;
mod push;

use std::collections::{BTreeMap, BTreeSet};

use self::parts::Parts;
pub(crate) use self::push::Allowance;
use crate::board::Board;
use crate::graph::Index;
use crate::ids::{LogId, OfficeId};
use crate::ledger::Ledger;
use crate::machine::Load;
use crate::message::{Line, Message, Part};
use crate::overlay::Overlay;
use crate::pending::Pending;
use crate::step::Effect;
use crate::time::{Dice, Instant, Now, SECOND};

/// How often a node compares frontiers with one of its peers, in turn, when nothing calls for it. Ten
/// seconds: what a lost push costs at worst, for 66 bytes.
const HEARTBEAT: u64 = 10 * SECOND;
#[derive(Debug, Default)]
struct Peer {
    /// The number of its current start.
    boot: Option<u64>,
    /// It holds all our entries below this index.
    base: Index,
    /// It has seen all our notices up to this version.
    notices_seen: u64,
    /// Heartbeats in a row whose notices differed while ours stood still.
    notices_differ: (u32, u64),
    /// How many entries we held when we last sent it lines.
    told: Option<Index>,
    /// What it holds and we lacked when it said so.
    offers: Parts<Line>,
    /// The number of its entries when it said so.
    offered_at: u64,
    /// What it asks for, until all of it is here.
    wants: Parts<(LogId, u64)>,
    /// Logs of which its last fetch brought what doesn't follow what we hold.
    strays: BTreeSet<LogId>,
    /// Fetches that failed in a row.
    failures: u32,
    /// Things that it sent and that were refused.
    refusals: u64,
    /// Don't fetch from it before.
    pause: Instant,
    /// Wall clock of its last frame.
    last_seen: i64,
}

impl Peer {
    /// Whether something may be fetched from it.
    fn offers_some(&self) -> bool {
        self.offers.whole && !self.offers.list.is_empty()
    }
}

#[derive(Debug)]
struct Fetch {
    from: OfficeId,
    number: u32,
    /// It has to bring something by then.
    deadline: Instant,
    /// The latest that the deadline may become.
    end: Instant,
}

/// A deadline and why it is there.
type Due = (Instant, &'static str);

pub(crate) struct Gossip {
    pub(crate) board: Board,
    pub(crate) overlay: Overlay,
    peers: BTreeMap<OfficeId, Peer>,
    last_seen: BTreeMap<OfficeId, i64>,
    /// What was taken from members: see `push`.
    pub(crate) taken: BTreeMap<OfficeId, Allowance>,
    pending: Pending,
    fetch: Option<Fetch>,
    fetches: u32,
    /// Somebody was seen to hold no entries of ours that we lack.
    heard_of_ourselves: bool,
    boot: u64,
    dice: Dice,
    heartbeat_due: Instant,
    heartbeat_last: Option<OfficeId>,
    /// Whom to ask for what is missing, and when.
    gaps: BTreeMap<OfficeId, Instant>,
    notices_due: Option<Instant>,
    notices_pause: Instant,
    /// We heard what we said before our disk was restored.
    pub(crate) heard_own: bool,
    save_due: Option<Instant>,
    /// How many entries we held when we last acknowledged.
    acknowledged: Option<Index>,
    addresses: Vec<String>,
    version: String,
    relay: bool,
    effects: Vec<Effect>,
}

impl Gossip {
    pub(crate) fn new(
        seed: u64,
        version: String,
        relay: bool,
        taken: BTreeMap<OfficeId, Allowance>,
        now: Now,
    ) -> Self {
        let mut dice = Dice(seed);
        let boot = dice.next();
        Self {
            board: Board::default(),
            overlay: Overlay::default(),
            peers: BTreeMap::new(),
            last_seen: BTreeMap::new(),
            taken,
            pending: Pending::default(),
            fetch: None,
            fetches: 0,
            heard_of_ourselves: false,
            boot,
            heartbeat_due: now.monotonic.after(dice.below(HEARTBEAT)),
            heartbeat_last: None,
            dice,
            gaps: BTreeMap::new(),
            // Whoever is there to hear them makes them due.
            notices_due: None,
            notices_pause: now.monotonic,
            heard_own: false,
            save_due: None,
            acknowledged: None,
            addresses: Vec::new(),
            version,
            relay,
            effects: Vec::new(),
        }
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = OfficeId> {
        self.peers.keys().copied()
    }

    /// For [`crate::Core::load`].
    pub(crate) fn load(&self) -> Load {
        let (waiting, waiting_bytes) = self.pending.load();
        let offered = self.peers.values().map(|peer| peer.offers.list.len()).sum();
        Load { waiting, waiting_bytes, offered, notices: self.board.len(), judging_due: false }
    }

    /// Whether somebody was seen to hold no entries of ours that we lack, and nobody else offers any.
    pub(crate) fn heard_of_ourselves(&self, ledger: &Ledger) -> bool {
        let own = ledger.office();
        let mut offers = self.peers.values().flat_map(|peer| &peer.offers.list);
        self.heard_of_ourselves
            && !offers
                .any(|line| line.log.author == own && ledger.graph.index(&line.hash).is_none())
    }

    pub(crate) fn is_connected(&self, office: &OfficeId) -> bool {
        self.peers.contains_key(office)
    }

    /// When we last heard from an office: wall clock, milliseconds since 1970.
    pub(crate) fn last_seen(&self, office: &OfficeId) -> Option<i64> {
        let linked = self.peers.get(office).map(|peer| peer.last_seen);
        linked.or_else(|| self.last_seen.get(office).copied())
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn send(&mut self, to: OfficeId, message: &Message) {
        self.effects.push(Effect::Push { to: vec![to], frame: message.encode() });
    }

    /// Sends what may be in parts: one alone as any other message, more of them as fast as the peer takes them.
    fn send_all(&mut self, to: OfficeId, parts: impl Iterator<Item = Message>) {
        let mut frames: Vec<_> = parts.map(|part| part.encode()).collect();
        self.effects.push(match frames.len() {
            1 => Effect::Push { to: vec![to], frame: frames.remove(0) },
            _ => Effect::Sync { to, frames },
        });
    }

    // ---- Links ----

    pub(crate) fn connected(&mut self, ledger: &mut Ledger, now: Now, peer: OfficeId) {
        if ledger.roster.removed().contains_key(&peer) {
            return;
        }
        let state = self.peers.entry(peer).or_default();
        state.last_seen = now.wall;
        self.hello(ledger, peer);
        self.notices_soon(ledger, now);
    }

    pub(crate) fn disconnected(&mut self, ledger: &mut Ledger, now: Now, peer: OfficeId) {
        if let Some(state) = self.peers.remove(&peer) {
            self.last_seen.insert(peer, state.last_seen);
        }
        if self.fetch.as_ref().is_some_and(|fetch| fetch.from == peer) {
            self.fetch = None;
            self.fetch_next(ledger, now);
        }
    }

    /// These are no members any more: what they said is forgotten, and nothing more is heard of them.
    pub(crate) fn forget<'a>(&mut self, offices: impl Iterator<Item = &'a OfficeId>) {
        for office in offices {
            self.board.forget(office);
            self.taken.remove(office);
            self.peers.remove(office);
            if self.fetch.as_ref().is_some_and(|fetch| fetch.from == *office) {
                self.fetch = None;
            }
        }
    }

    /// Frames to this peer were dropped: compare.
    pub(crate) fn congested(&mut self, ledger: &mut Ledger, peer: OfficeId) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.told = None;
            self.hello(ledger, peer);
        }
    }

    fn hello(&mut self, ledger: &mut Ledger, peer: OfficeId) {
        let hello = Message::Hello {
            boot: self.boot,
            frontier: ledger.graph.digest(),
            notices: self.board.digest(),
        };
        self.send(peer, &hello);
    }

    // ---- Messages ----

    pub(crate) fn received(
        &mut self,
        ledger: &mut Ledger,
        now: Now,
        from: OfficeId,
        message: Message,
    ) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.last_seen = now.wall;
        match message {
            Message::Hello { boot, frontier, notices } => {
                self.note_boot(from, boot);
                self.compare(ledger, from, frontier);
                self.compare_notices(ledger, now, from, notices);
            }
            Message::Frontier { boot, ask, entries, part, lines } => {
                self.note_boot(from, boot);
                self.offered(ledger, now, from, entries, part, lines);
                let told = self.peers.get(&from).and_then(|peer| peer.told);
                if ask && part.last && told != Some(ledger.graph.len()) {
                    self.tell(ledger, from, false);
                }
            }
            Message::Push(bundle) => {
                self.take(ledger, now, from, bundle);
            }
            Message::Want { fetch, entries, part, from: ranges } => {
                let held = |(log, _): &(LogId, u64)| ledger.graph.length(log) > 0;
                if peer.wants.add(part, ranges.into_iter().filter(held)) {
                    let ranges = std::mem::take(&mut peer.wants).list;
                    let end = u64::from(ledger.graph.len()).min(entries);
                    self.effects.push(Effect::Serve { to: from, fetch, from: ranges, end });
                }
            }
            Message::Chunk { fetch, last, bundle } => {
                self.chunk(ledger, now, from, fetch, last, bundle);
            }
            Message::Notices(notices) => self.take_notices(ledger, now, from, notices),
        }
    }

    fn note_boot(&mut self, from: OfficeId, boot: u64) {
        if let Some(peer) = self.peers.get_mut(&from)
            && peer.boot != Some(boot)
        {
            let Peer { last_seen, refusals, failures, pause, .. } = *peer;
            let boot = Some(boot);
            *peer = Peer { boot, last_seen, refusals, failures, pause, ..Peer::default() };
        }
    }

    fn compare(&mut self, ledger: &mut Ledger, from: OfficeId, frontier: crate::ids::Digest) {
        if frontier == ledger.graph.digest() {
            self.heard_of_ourselves = true;
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.base = ledger.graph.len();
                peer.offers = Parts::default();
            }
        } else {
            self.tell(ledger, from, true);
        }
    }

    /// Sends what of our frontier the peer may not know.
    fn tell(&mut self, ledger: &Ledger, to: OfficeId, ask: bool) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        peer.told = Some(ledger.graph.len());
        let lines = ledger.graph.lines_since(peer.base);
        let entries = u64::from(ledger.graph.len());
        let boot = self.boot;
        let parts = Part::cut(&lines).map(|(part, lines)| Message::Frontier {
            boot,
            ask,
            entries,
            part,
            lines,
        });
        self.send_all(to, parts);
    }

    // ---- Time ----

    /// The next moment at which something is due, and what.
    pub(crate) fn next_due(&self) -> Due {
        let due = [
            Some((self.heartbeat_due, "heartbeat")),
            self.gaps.values().min().map(|due| (*due, "a gap is not filling")),
            self.fetch.as_ref().map(|fetch| (fetch.deadline, "a fetch brings nothing")),
            self.fetch_pause(),
            self.notices_due.map(|due| (due, "notices")),
            self.save_due.filter(|_| self.board.has_unsaved()).map(|due| (due, "store notices")),
        ];
        due.into_iter()
            .flatten()
            .min_by_key(|(due, _)| *due)
            .unwrap_or((self.heartbeat_due, "heartbeat"))
    }

    pub(crate) fn tick(&mut self, ledger: &mut Ledger, now: Now) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now.monotonic);
        if is_due(Some(self.heartbeat_due)) {
            self.heartbeat(ledger, now);
        }
        let due = self.gaps.extract_if(.., |_, due| *due <= now.monotonic);
        for (from, _) in due.collect::<Vec<_>>() {
            if self.peers.contains_key(&from) {
                self.hello(ledger, from);
            } else if self.gaps.is_empty() {
                self.pending.clear();
            }
        }
        if let Some(fetch) = &self.fetch
            && fetch.deadline <= now.monotonic
        {
            self.fetch_late(ledger, now);
        }
        if is_due(self.fetch_pause().map(|(due, _)| due)) {
            self.fetch_next(ledger, now);
        }
        if is_due(self.notices_due) {
            self.notices_due = None;
            self.flush_notices(ledger, now);
        }
    }

    fn heartbeat(&mut self, ledger: &mut Ledger, now: Now) {
        let jitter = self.dice.below(HEARTBEAT / 5);
        self.heartbeat_due = now.monotonic.after(HEARTBEAT - HEARTBEAT / 10 + jitter);
        let after = self.heartbeat_last.and_then(|last| {
            self.peers.range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded)).next()
        });
        let next = after.or_else(|| self.peers.iter().next()).map(|(office, _)| *office);
        self.heartbeat_last = next;
        if let Some(peer) = next {
            self.hello(ledger, peer);
        }
    }
}
