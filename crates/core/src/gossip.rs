//! How entries and notices get around: pushing what is new, comparing frontiers, fetching what is
//! missing. It never decides what an entry counts for: that is `ledger`'s.
//!
//! The state for each linked peer is small: since when it has known as much as we do, and which
//! notices it has seen. One fetch runs at a time; it asks one peer for all that is missing, so that
//! what comes is closed under causality and nothing is sent twice.

use std::collections::BTreeMap;

use crate::entry::{Bundle, Run};
use crate::graph::Index;
use crate::ids::{EntryHash, LogId, OfficeId};
use crate::ledger::{Ledger, Refused};
use crate::message::{Line, Message};
use crate::notice::{ACK_HEADS_MAX, Acknowledgement, Presence, SignedNotice, Topic};
use crate::notices::Board;
use crate::overlay::{self, Overlay};
use crate::pending::Pending;
use crate::step::Effect;
use crate::time::{Dice, Instant, MILLISECOND, Now, SECOND};

/// How often a node compares frontiers with one of its peers, in turn, when nothing calls for it. Ten
/// seconds: what a lost push costs at worst, for 66 bytes.
const HEARTBEAT: u64 = 10 * SECOND;
/// How long what arrives out of order may wait for what is missing, before the sender is asked.
/// Longer than the pushes of one burst take to sort themselves out.
const GAP_PATIENCE: u64 = 100 * MILLISECOND;
/// A fetch that brings nothing for so long has failed.
const FETCH_PATIENCE: u64 = 10 * SECOND;
/// A peer whose fetch failed is left alone for so long, and for twice as long each time it fails again,
/// up to some 30 seconds.
const FETCH_PAUSE: u64 = SECOND / 2;
/// Notices are collected for so long in a small network, and for [`NOTICE_DELAY_PER_MEMBER`] for each
/// member in a large one, where every office hears every other's: the load per office stays the same.
/// Up to twice as much is added by chance: one change makes every office acknowledge, and if all did
/// so at the same moment, the next change would have to wait behind that.
const NOTICE_DELAY: u64 = 100 * MILLISECOND;
const NOTICE_DELAY_PER_MEMBER: u64 = 10 * MILLISECOND;
/// After notices went out, the next ones wait for so long. Whoever waits for an acknowledgement gets it soon
/// when little happens; when much happens, one speaks for many changes. Each costs its author a sync of
/// the disk, and every other office a signature to check.
const NOTICE_PAUSE: u64 = SECOND;
/// Notices that are not ours are stored with the next entries, or after so long.
const SAVE_DELAY: u64 = 5 * SECOND;
/// Notices in one frame: some 50 kB.
const NOTICES_PER_FRAME: usize = 200;
/// Entries of a run of ours are pushed in frames; a run never exceeds a chunk.
const LINES_MAX: usize = 100_000;

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
    offers: Vec<Line>,
    /// The number of its entries when it said so.
    offered_at: u64,
    /// Fetches that failed in a row.
    failures: u32,
    /// Things that it sent and that were refused.
    refusals: u64,
    /// Don't fetch from it before.
    pause: Instant,
    /// Wall clock of its last frame.
    last_seen: i64,
}

#[derive(Debug)]
struct Fetch {
    from: OfficeId,
    number: u32,
    deadline: Instant,
}

/// A deadline and why it is there.
type Due = (Instant, &'static str);

pub(crate) struct Gossip {
    pub(crate) board: Board,
    pub(crate) overlay: Overlay,
    peers: BTreeMap<OfficeId, Peer>,
    last_seen: BTreeMap<OfficeId, i64>,
    pending: Pending,
    fetch: Option<Fetch>,
    fetches: u32,
    boot: u64,
    dice: Dice,
    heartbeat_due: Instant,
    heartbeat_last: Option<OfficeId>,
    gap: Option<(Instant, OfficeId)>,
    notices_due: Option<Instant>,
    notices_pause: Instant,
    save_due: Option<Instant>,
    /// How many entries we held when we last acknowledged.
    acknowledged: Option<Index>,
    addresses: Vec<String>,
    version: String,
    effects: Vec<Effect>,
}

impl Gossip {
    pub(crate) fn new(seed: u64, version: String, now: Now) -> Self {
        let mut dice = Dice(seed);
        let boot = dice.next();
        Self {
            board: Board::default(),
            overlay: Overlay::default(),
            peers: BTreeMap::new(),
            last_seen: BTreeMap::new(),
            pending: Pending::default(),
            fetch: None,
            fetches: 0,
            boot,
            heartbeat_due: now.monotonic.after(dice.below(HEARTBEAT)),
            heartbeat_last: None,
            dice,
            gap: None,
            notices_due: Some(now.monotonic),
            notices_pause: now.monotonic,
            save_due: None,
            acknowledged: None,
            addresses: Vec::new(),
            version,
            effects: Vec::new(),
        }
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = OfficeId> {
        self.peers.keys().copied()
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

    // ---- Links ----

    pub(crate) fn connected(&mut self, ledger: &mut Ledger, now: Now, peer: OfficeId) {
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

    /// Frames to this peer were dropped: compare.
    pub(crate) fn congested(&mut self, ledger: &mut Ledger, peer: OfficeId) {
        if self.peers.contains_key(&peer) {
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
            Message::Frontier { boot, ask, entries, lines } => {
                self.note_boot(from, boot);
                self.offered(ledger, now, from, entries, lines);
                let told = self.peers.get(&from).and_then(|peer| peer.told);
                if ask && told != Some(ledger.graph.len()) {
                    self.tell(ledger, from, false);
                }
            }
            Message::Push(bundle) => {
                self.take(ledger, now, from, bundle);
            }
            Message::Want { fetch, entries, from: ranges } => {
                let held = |(log, _): &(LogId, u64)| ledger.graph.log(log).is_some();
                let ranges = ranges.into_iter().filter(held).take(LINES_MAX).collect();
                let end = u64::from(ledger.graph.len()).min(entries);
                self.effects.push(Effect::Serve { to: from, fetch, from: ranges, end });
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
            let Peer { last_seen, refusals, .. } = *peer;
            *peer = Peer { boot: Some(boot), last_seen, refusals, ..Peer::default() };
        }
    }

    fn compare(&mut self, ledger: &mut Ledger, from: OfficeId, frontier: crate::ids::Digest) {
        if frontier == ledger.graph.digest() {
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.base = ledger.graph.len();
                peer.offers.clear();
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
        let message = Message::Frontier { boot: self.boot, ask, entries, lines };
        self.send(to, &message);
    }

    fn offered(
        &mut self,
        ledger: &mut Ledger,
        now: Now,
        from: OfficeId,
        entries: u64,
        lines: Vec<Line>,
    ) {
        let lines = lines.into_iter().take(LINES_MAX);
        let lacking: Vec<Line> = lines.filter(|line| lacks(ledger, line)).collect();
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.offers = lacking;
            peer.offered_at = entries;
        }
        self.fetch_next(ledger, now);
    }

    // ---- Pushing ----

    /// To whom to push what is new: the successors on the rings, and peers who have no place there
    /// (yet), such as a newcomer. All peers, if so few successors are linked that it would hardly get on.
    fn audience(&self) -> Vec<OfficeId> {
        let Overlay { neighbours, successors } = &self.overlay;
        let wanted = |peer: &OfficeId| successors.contains(peer) || !neighbours.contains(peer);
        let audience: Vec<_> = self.peers().filter(wanted).collect();
        if audience.len() < 2 { self.peers().collect() } else { audience }
    }

    /// Pushes entries of our own.
    pub(crate) fn publish(&mut self, runs: Vec<Run>) {
        let to = if runs.is_empty() { Vec::new() } else { self.audience() };
        for run in runs {
            self.effects
                .push(Effect::Push { to: to.clone(), frame: Message::Push(vec![run]).encode() });
        }
    }

    /// Takes a pushed bundle, and those that waited for it, and passes on what was new.
    fn take(&mut self, ledger: &mut Ledger, now: Now, from: OfficeId, bundle: Bundle) {
        let mut ready = vec![(from, bundle)];
        while let Some((from, bundle)) = ready.pop() {
            let held = held(ledger, &bundle);
            match ledger.accept(&bundle) {
                Ok(0) => {}
                Ok(_) => {
                    ready.extend(self.woken(&bundle));
                    self.forward(ledger, from, bundle, &held);
                }
                Err(refused) => self.refused(ledger, now, from, bundle, refused),
            }
        }
        if self.pending.is_empty() {
            self.gap = None;
        }
    }

    fn woken(&mut self, bundle: &Bundle) -> Vec<(OfficeId, Bundle)> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let hashes: Vec<EntryHash> = bundle.iter().flat_map(Run::hashes).collect();
        hashes.iter().flat_map(|hash| self.pending.arrived(hash)).collect()
    }

    /// In a mesh the author has told everyone; on rings it goes on, but not back.
    fn forward(&mut self, ledger: &Ledger, from: OfficeId, bundle: Bundle, held: &[u64]) {
        if ledger.roster.members().len() <= overlay::MESH_MAX {
            return;
        }
        let mut to = self.audience();
        to.retain(|peer| *peer != from);
        if !to.is_empty() {
            // What was held has been passed on before.
            let new = bundle.into_iter().zip(held).filter_map(|(run, held)| run.after(*held));
            self.effects.push(Effect::Push { to, frame: Message::Push(new.collect()).encode() });
        }
    }

    fn refused(
        &mut self,
        ledger: &mut Ledger,
        now: Now,
        from: OfficeId,
        bundle: Bundle,
        why: Refused,
    ) {
        match why {
            Refused::Missing(hashes) => {
                let Some(hash) = hashes.first() else { return };
                // Without room it is dropped; the comparison that is due anyway brings it again.
                self.pending.wait(*hash, from, bundle);
                self.gap_soon(now, from);
            }
            Refused::UnknownAuthor(_) => self.gap_soon(now, from),
            Refused::Fork(log, seq) => ledger.note_fork(log, seq, &bundle),
            Refused::Bad(what) => {
                self.complain(
                    ledger,
                    from,
                    &format!("refused entries that came from {from}: {what}"),
                );
            }
        }
    }

    /// Tells operators of something that a peer sent, ever more rarely: the first, second, fourth time.
    pub(crate) fn complain(&mut self, ledger: &mut Ledger, from: OfficeId, what: &str) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.refusals += 1;
        if peer.refusals.is_power_of_two() {
            ledger.alarms.push(format!("{what} ({} such things so far)", peer.refusals));
        }
    }

    fn gap_soon(&mut self, now: Now, from: OfficeId) {
        self.gap.get_or_insert((now.monotonic.after(GAP_PATIENCE), from));
    }

    // ---- Fetching ----

    /// Starts a fetch from a peer that offers something we still lack, unless one is under way.
    fn fetch_next(&mut self, ledger: &Ledger, now: Now) {
        if self.fetch.is_some() {
            return;
        }
        for peer in self.peers.values_mut() {
            peer.offers.retain(|line| lacks(ledger, line));
        }
        // The peer that offers most, so that one fetch brings most.
        let best = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.offers.is_empty() && peer.pause <= now.monotonic)
            .max_by_key(|(_, peer)| {
                let length =
                    |log: &LogId| ledger.graph.log(log).map_or(0, |log| log.entries.len() as u64);
                // A peer may claim any numbers.
                let lacking = |line: &Line| line.seq.saturating_sub(length(&line.log));
                peer.offers.iter().map(lacking).fold(0, u64::saturating_add)
            })
            .map(|(office, _)| *office);
        let Some(from) = best else { return };
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let wanted = peer
            .offers
            .iter()
            .map(|line| {
                (
                    line.log,
                    ledger.graph.log(&line.log).map_or(0, |log| log.entries.len() as u64) + 1,
                )
            })
            .collect();
        self.fetches = self.fetches.wrapping_add(1);
        let number = self.fetches;
        self.fetch = Some(Fetch { from, number, deadline: now.monotonic.after(FETCH_PATIENCE) });
        let entries = peer.offered_at;
        self.send(from, &Message::Want { fetch: number, entries, from: wanted });
    }

    fn chunk(
        &mut self,
        ledger: &mut Ledger,
        now: Now,
        from: OfficeId,
        number: u32,
        last: bool,
        bundle: Bundle,
    ) {
        let ours =
            self.fetch.as_ref().is_some_and(|fetch| fetch.from == from && fetch.number == number);
        if !ours {
            // Of a fetch that we gave up, but perhaps still good.
            self.take(ledger, now, from, bundle);
            return;
        }
        let held = held(ledger, &bundle);
        match ledger.accept(&bundle) {
            Ok(count) => {
                if count > 0 {
                    for (from, bundle) in self.woken(&bundle) {
                        self.take(ledger, now, from, bundle);
                    }
                    self.forward(ledger, from, bundle, &held);
                }
                if let Some(fetch) = &mut self.fetch {
                    fetch.deadline = now.monotonic.after(FETCH_PATIENCE);
                }
                if last {
                    self.fetch_done(ledger, now, from);
                }
            }
            Err(why) => {
                if !matches!(why, Refused::Missing(_)) {
                    self.refused(ledger, now, from, bundle, why);
                }
                self.fetch_failed(ledger, now, from);
            }
        }
    }

    fn fetch_done(&mut self, ledger: &mut Ledger, now: Now, from: OfficeId) {
        self.fetch = None;
        if let Some(peer) = self.peers.get_mut(&from) {
            // What is lacking now is newer, or was withheld; either way the next comparison tells.
            peer.offers.clear();
            peer.failures = 0;
        }
        self.hello(ledger, from);
        self.fetch_next(ledger, now);
        self.notices_soon(ledger, now);
    }

    fn fetch_failed(&mut self, ledger: &mut Ledger, now: Now, from: OfficeId) {
        self.fetch = None;
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.failures += 1;
            peer.pause = now.monotonic.after(FETCH_PAUSE << peer.failures.min(6));
        }
        self.fetch_next(ledger, now);
    }

    // ---- Notices ----

    /// Notices go out together, a little later.
    pub(crate) fn notices_soon(&mut self, ledger: &Ledger, now: Now) {
        let members = ledger.roster.members().len();
        let delay = if members <= overlay::MESH_MAX {
            NOTICE_DELAY
        } else {
            NOTICE_DELAY_PER_MEMBER * members as u64
        };
        if self.notices_due.is_none() {
            let from = now.monotonic.max(self.notices_pause);
            self.notices_due = Some(from.after(delay + self.dice.below(2 * delay)));
        }
    }

    /// Says where we can be reached, if that is new.
    pub(crate) fn listening(&mut self, ledger: &Ledger, now: Now, addresses: Vec<String>) {
        self.addresses = addresses;
        self.say_presence(ledger, now);
        self.notices_soon(ledger, now);
    }

    fn say_presence(&mut self, ledger: &Ledger, now: Now) {
        let presence = Presence {
            addresses: self.addresses.iter().take(16).cloned().collect(),
            rules: crate::entry::RULES,
            version: self.version.clone(),
        };
        let held =
            self.board.about(&ledger.office(), Topic::Presence).and_then(SignedNotice::presence);
        if held.as_ref() != Some(&presence) {
            self.board.say(&ledger.signer, Topic::Presence, &presence, now.wall);
        }
    }

    fn acknowledge(&mut self, ledger: &mut Ledger, now: Now) {
        let held = ledger.graph.len();
        if self.acknowledged == Some(held) || !ledger.is_member() {
            return;
        }
        self.acknowledged = Some(held);
        let digest = ledger.graph.digest();
        let own = ledger.own;
        let seq = own.and_then(|log| ledger.graph.last(&log)).map_or(0, |node| node.seq);
        let mut heads = ledger.graph.heads();
        heads.truncate(ACK_HEADS_MAX);
        let incarnation = own.map_or(crate::ids::Incarnation(0), |log| log.incarnation);
        let statement = Acknowledgement { incarnation, seq, digest, heads };
        self.board.say(&ledger.signer, Topic::Acknowledgement, &statement, now.wall);
    }

    fn take_notices(
        &mut self,
        ledger: &Ledger,
        now: Now,
        from: OfficeId,
        notices: Vec<SignedNotice>,
    ) {
        let mesh = ledger.roster.members().len() <= overlay::MESH_MAX;
        let before = self.board.version();
        let caught_up = self.peers.get(&from).is_some_and(|peer| peer.notices_seen == before);
        let mut learnt = false;
        for notice in notices.into_iter().take(NOTICES_PER_FRAME) {
            if ledger.roster.member(&notice.office).is_some() {
                learnt |= self.board.learn(notice, &*ledger.verifier);
            }
        }
        if !learnt {
            return;
        }
        self.save_due.get_or_insert(now.monotonic.after(SAVE_DELAY));
        // What it told us it need not be told.
        if let Some(peer) = self.peers.get_mut(&from)
            && caught_up
        {
            peer.notices_seen = self.board.version();
        }
        if !mesh {
            self.notices_soon(ledger, now);
        }
    }

    fn compare_notices(&mut self, ledger: &Ledger, now: Now, from: OfficeId, theirs: [u8; 16]) {
        let version = self.board.version();
        let equal = theirs == self.board.digest();
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if equal {
            peer.notices_seen = version;
            peer.notices_differ = (0, version);
            return;
        }
        let (times, at) = peer.notices_differ;
        peer.notices_differ = (if at == version { times + 1 } else { 1 }, version);
        // In a mesh each office tells its own; only here is it seen that a third one's is missing.
        let mesh = ledger.roster.members().len() <= overlay::MESH_MAX;
        if mesh || peer.notices_differ.0 > 2 {
            peer.notices_differ = (0, version);
            self.send_notices(ledger, &[from], 0, false);
        } else {
            self.notices_soon(ledger, now);
        }
    }

    /// Sends notices, encoded once for all who get them.
    fn send_notices(&mut self, ledger: &Ledger, to: &[OfficeId], since: u64, own_only: bool) {
        let own = ledger.office();
        let notices: Vec<&SignedNotice> = self
            .board
            .since(since)
            .filter(|notice| !own_only || notice.office == own)
            .filter(|notice| to != [notice.office])
            .collect();
        let frames = notices.chunks(NOTICES_PER_FRAME).map(|frame| {
            let frame = Message::Notices(frame.iter().copied().cloned().collect()).encode();
            Effect::Push { to: to.to_vec(), frame }
        });
        self.effects.extend(frames);
        let version = self.board.version();
        for peer in to {
            if let Some(peer) = self.peers.get_mut(peer) {
                peer.notices_seen = version;
            }
        }
    }

    fn flush_notices(&mut self, ledger: &mut Ledger, now: Now) {
        self.acknowledge(ledger, now);
        self.notices_pause = now.monotonic.after(NOTICE_PAUSE);
        let version = self.board.version();
        let mesh = ledger.roster.members().len() <= overlay::MESH_MAX;
        let mut behind: BTreeMap<u64, Vec<OfficeId>> = BTreeMap::new();
        for office in self.audience() {
            let seen = self.peers.get(&office).map_or(version, |peer| peer.notices_seen);
            if seen < version {
                behind.entry(seen).or_default().push(office);
            }
        }
        for (seen, offices) in behind {
            self.send_notices(ledger, &offices, seen, mesh && seen > 0);
        }
        self.save_due.get_or_insert(now.monotonic.after(SAVE_DELAY));
    }

    // ---- Time ----

    /// The next moment at which something is due, and what.
    pub(crate) fn next_due(&self) -> Due {
        let due = [
            Some((self.heartbeat_due, "heartbeat")),
            self.gap.map(|(due, _)| (due, "a gap is not filling")),
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

    /// When a peer whose fetch failed may be asked again.
    fn fetch_pause(&self) -> Option<Due> {
        if self.fetch.is_some() {
            return None;
        }
        let offering = self.peers.values().filter(|peer| !peer.offers.is_empty());
        offering.map(|peer| (peer.pause, "fetch again")).min()
    }

    pub(crate) fn tick(&mut self, ledger: &mut Ledger, now: Now) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now.monotonic);
        if is_due(Some(self.heartbeat_due)) {
            self.heartbeat(ledger, now);
        }
        if let Some((due, from)) = self.gap
            && due <= now.monotonic
        {
            self.gap = None;
            if self.peers.contains_key(&from) {
                self.hello(ledger, from);
            } else {
                self.pending.clear();
            }
        }
        if let Some(fetch) = &self.fetch
            && fetch.deadline <= now.monotonic
        {
            let from = fetch.from;
            self.fetch_failed(ledger, now, from);
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

    /// Notices to be stored with this step: all of them if entries are stored anyway, or one of ours is
    /// about to be sent, or it is time.
    pub(crate) fn take_unsaved(&mut self, now: Now, writing: bool) -> Vec<crate::step::Write> {
        if writing
            || self.board.has_own_unsaved()
            || self.save_due.is_some_and(|due| due <= now.monotonic)
        {
            self.save_due = None;
            self.board.take_unsaved()
        } else {
            Vec::new()
        }
    }

    /// What we hold may have changed since we last said what we hold.
    pub(crate) fn note_progress(&mut self, ledger: &Ledger, now: Now) {
        if self.acknowledged != Some(ledger.graph.len()) {
            self.notices_soon(ledger, now);
        }
    }
}

/// How many entries of each run's log are held.
fn held(ledger: &Ledger, bundle: &Bundle) -> Vec<u64> {
    let length = |run: &Run| ledger.graph.log(&run.log).map_or(0, |log| log.entries.len() as u64);
    bundle.iter().map(length).collect()
}

/// Whether a peer's line says more than we hold. One that contradicts us is a fork, which the entries
/// will prove when they come.
fn lacks(ledger: &Ledger, line: &Line) -> bool {
    let length = ledger.graph.log(&line.log).map_or(0, |log| log.entries.len() as u64);
    line.seq > length && !ledger.forks.contains_key(&line.log)
}
