//! Links between offices. A link has two ends, and each believes for itself whether it stands: after a
//! crash or a partition one end may talk into the void for seconds before a ping fails. Frames on one
//! connection keep their order and arrive once, unless the scenario is worse than TCP and QUIC are.

use std::collections::BTreeSet;
use std::rc::Rc;

use fasti_core::ids::EntryHash;
use fasti_core::message::Message;
use fasti_core::{Input, OfficeId};

use crate::mutation::Mutation;
use crate::oracle::Broken;
use crate::world::{Happening, MILLISECOND, SECOND, World};

/// The place of each kind in [`Message`], which postcard writes as the first byte after the version.
const TAG_HELLO: u8 = 0;
pub(crate) const TAG_PUSH: u8 = 2;
pub(crate) const TAG_NOTICES: u8 = 5;

/// How long until an end notices that it hears nothing: a ping every few seconds, and its patience.
const SILENCE_US: [u64; 2] = [2 * SECOND, 8 * SECOND];
/// How long until an end learns that the other one crashed: at once where the machine still answers for
/// it, as for a partition where it doesn't.
const GONE_US: [u64; 2] = [MILLISECOND, 8 * SECOND];
/// When a failed dial is tried again.
const REDIAL_US: [u64; 2] = [300 * MILLISECOND, 4 * SECOND];

/// Which lane a frame takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// At once or not at all.
    Push,
    /// Waits for its turn.
    Sync,
}

/// A frame under way.
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    /// The entries that it pushes, if somebody counts.
    pub(crate) pushed: Vec<EntryHash>,
}

impl Frame {
    pub(crate) fn tag(&self) -> Option<u8> {
        self.bytes.get(1).copied()
    }

    /// What kind of message it is, for the trace.
    pub(crate) fn kind(&self) -> &'static str {
        match self.tag() {
            Some(0) => "hello",
            Some(1) => "frontier",
            Some(2) => "push",
            Some(3) => "want",
            Some(4) => "chunk",
            Some(5) => "notices",
            _ => "garbage",
        }
    }
}

/// A link, up or not. Its ends are the lower office (0) and the higher (1).
#[derive(Default)]
pub(crate) struct Link {
    /// Counts connections.
    pub(crate) epoch: u32,
    /// Whether each end believes that it stands.
    pub(crate) up: [bool; 2],
    /// Whether each end has a dial planned.
    dialling: [bool; 2],
    /// One way, in microseconds.
    latency: u64,
    /// From each end: when its line is free, and the latest arrival of what it sent.
    line_free: [u64; 2],
    last_arrival: [u64; 2],
}

fn key(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// Which end of its link with `peer` an office is.
fn end(office: usize, peer: usize) -> usize {
    usize::from(office > peer)
}

impl World {
    pub(crate) fn link(&mut self, a: usize, b: usize) -> &mut Link {
        let Self { links, dice, scenario, .. } = self;
        links.entry(key(a, b)).or_insert_with(|| {
            let [low, high] = scenario.network.latency_ms;
            let latency = dice.within([low * MILLISECOND, high * MILLISECOND]);
            Link { latency, ..Link::default() }
        })
    }

    /// Whether an office believes to be linked with a peer.
    pub(crate) fn is_up(&self, at: usize, peer: usize) -> bool {
        self.links.get(&key(at, peer)).is_some_and(|link| link.up[end(at, peer)])
    }

    /// Whom an office believes itself linked with.
    pub(crate) fn linked_with(&self, at: usize) -> Vec<usize> {
        (0..self.offices.len()).filter(|peer| *peer != at && self.is_up(at, *peer)).collect()
    }

    /// Whether frames from one to the other vanish now.
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.partitions.values().any(|partition| partition.cuts(from, to))
    }

    // ---- Frames ----

    /// Sends a frame, if the office believes that the link stands.
    pub(crate) fn send(&mut self, from: usize, to: usize, lane: Lane, frame: &Rc<Frame>) {
        if !self.is_up(from, to) {
            return;
        }
        self.stats.frames += 1;
        self.honest_frames += u64::from(self.is_honest(from) && self.is_honest(to));
        self.overheard(from, frame);
        self.stats.bytes += frame.bytes.len() as u64;
        if frame.kind() == "notices" {
            self.stats.notices += frame.bytes.len() as u64;
        }
        let now = self.now;
        self.trace.note(now, from, "send", &frame.bytes, || {
            format!("{} of {} bytes to {to}", frame.kind(), frame.bytes.len())
        });
        let (loss, congestion, duplicate, reorder) = match self.unkind {
            true => {
                let network = &self.scenario.network;
                (network.loss, network.congestion, network.duplicate, network.reorder)
            }
            false => (0.0, 0.0, 0.0, 0.0),
        };
        if lane == Lane::Push && self.dice.chance(congestion) {
            let peer = self.offices[to].id;
            self.offices[from].inbox.push(Input::Congested(peer));
            // Taken with whatever comes next, or by the tick that this plans.
            let life = self.offices[from].life;
            self.after(MILLISECOND, Happening::Due { at: from, life });
            return;
        }
        if self.is_cut(from, to) || self.dice.chance(loss) {
            return;
        }
        let overtaken = self.dice.chance(reorder);
        let copies = 1 + usize::from(self.dice.chance(duplicate));
        for _ in 0..copies {
            let late = if overtaken { self.dice.within([1, 300 * MILLISECOND]) } else { 0 };
            let (arrival, epoch) = self.arrival(from, to, frame.bytes.len() as u64, late);
            let frame = frame.clone();
            self.after(arrival - now, Happening::Arrive { from, to, epoch, frame });
        }
    }

    /// When a frame that is sent now arrives.
    fn arrival(&mut self, from: usize, to: usize, bytes: u64, late: u64) -> (u64, u32) {
        let jitter = self.scenario.network.jitter_ms * MILLISECOND;
        let jitter = if jitter > 0 { self.dice.below(jitter) } else { 0 };
        let bandwidth = self.scenario.network.bandwidth;
        let now = self.now;
        let end = end(from, to);
        let link = self.link(from, to);
        let taken = (bytes * SECOND).checked_div(bandwidth).unwrap_or(0);
        link.line_free[end] = link.line_free[end].max(now) + taken;
        let arrival = (link.line_free[end] + link.latency + jitter).max(link.last_arrival[end]);
        if late == 0 {
            link.last_arrival[end] = arrival;
        }
        (arrival + late, link.epoch)
    }

    pub(crate) fn arrive(
        &mut self,
        from: usize,
        to: usize,
        epoch: u32,
        frame: &Rc<Frame>,
    ) -> Result<(), Broken> {
        if self.links.get(&key(from, to)).is_none_or(|link| link.epoch != epoch)
            || !self.is_up(to, from)
        {
            // Nobody is there any more: the sender's next ping fails at the latest.
            let delay = self.dice.within(GONE_US);
            self.after(delay, Happening::Gone { at: from, peer: to, epoch });
            return Ok(());
        }
        self.overheard(to, frame);
        if let Some(meter) = &mut self.meter {
            meter.pushed(to, &frame.pushed);
        }
        if self.mutation == Mutation::Chatter && frame.tag() == Some(TAG_HELLO) {
            self.send(to, from, Lane::Push, frame);
        }
        self.deliver(from, to, frame.bytes.clone())
    }

    /// Hands a frame to an office, honest or not.
    pub(crate) fn deliver(&mut self, from: usize, to: usize, bytes: Vec<u8>) -> Result<(), Broken> {
        let peer = self.offices[from].id;
        if self.mutation != Mutation::TrustLast {
            return self.input(to, Input::Received(peer, bytes));
        }
        let mut frames = self.offices[to].trust.read(bytes).into_iter();
        let first = frames.next().unwrap_or_default();
        self.input(to, Input::Received(peer, first))?;
        for frame in frames {
            for other in self.linked_with(to) {
                let other = self.offices[other].id;
                self.input(to, Input::Received(other, frame.clone()))?;
            }
        }
        Ok(())
    }

    /// The entries that a frame pushes, if somebody counts.
    pub(crate) fn frame(&self, bytes: Vec<u8>) -> Rc<Frame> {
        let mut frame = Frame { bytes, pushed: Vec::new() };
        if self.meter.is_some()
            && frame.tag() == Some(TAG_PUSH)
            && let Ok(Message::Push(bundle)) = Message::decode(&frame.bytes)
        {
            frame.pushed = bundle.iter().flat_map(|run| run.hashes()).collect();
        }
        Rc::new(frame)
    }

    // ---- Connections ----

    /// An office wants to be linked with others than before.
    pub(crate) fn want(&mut self, at: usize, wanted: Vec<OfficeId>) {
        let wanted = wanted.iter().filter_map(|id| self.places.get(id).copied()).collect();
        let before = std::mem::replace(&mut self.offices[at].wanted, wanted);
        for peer in self.offices[at].wanted.clone() {
            self.plan_dial(at, peer, [MILLISECOND, 50 * MILLISECOND]);
        }
        for peer in before {
            let unwanted = |a: usize, b: usize, world: &Self| !world.offices[a].wanted.contains(&b);
            if unwanted(at, peer, self) && unwanted(peer, at, self) {
                let epoch = self.link(at, peer).epoch;
                self.after(0, Happening::Gone { at, peer, epoch });
                self.after(0, Happening::Gone { at: peer, peer: at, epoch });
            }
        }
    }

    /// Whether an office lets another connect. Liars talk to anybody.
    pub(crate) fn admits(&self, at: usize, peer: usize) -> bool {
        !self.is_honest(at) || self.offices[at].admits.contains(&self.offices[peer].id)
    }

    /// Whom an office lets connect has changed: links with others go down at once.
    pub(crate) fn admit(&mut self, at: usize, members: BTreeSet<OfficeId>) {
        self.offices[at].admits = members;
        for peer in self.linked_with(at) {
            if !self.admits(at, peer) {
                let epoch = self.link(at, peer).epoch;
                self.after(0, Happening::Gone { at, peer, epoch });
            }
        }
    }

    fn plan_dial(&mut self, from: usize, to: usize, within: [u64; 2]) {
        let side = end(from, to);
        let link = self.link(from, to);
        if !link.up[side] && !link.dialling[side] {
            link.dialling[side] = true;
            let delay = self.dice.within(within);
            self.after(delay, Happening::Dial { from, to });
        }
    }

    pub(crate) fn dial(&mut self, from: usize, to: usize) -> Result<(), Broken> {
        let (near, far) = (end(from, to), end(to, from));
        self.link(from, to).dialling[near] = false;
        let caller = &self.offices[from];
        if caller.core.is_none() || !caller.wanted.contains(&to) || self.is_up(from, to) {
            return Ok(());
        }
        let answers = self.offices[to].core.is_some()
            && self.admits(from, to)
            && self.admits(to, from)
            && !self.is_cut(from, to)
            && !self.is_cut(to, from);
        if !answers {
            self.plan_dial(from, to, REDIAL_US);
            return Ok(());
        }
        let stale = self.is_up(to, from);
        let now = self.now;
        let link = self.link(from, to);
        link.epoch += 1;
        link.up[far] = true;
        link.last_arrival = [now + link.latency; 2];
        link.line_free = [now; 2];
        let (epoch, latency) = (link.epoch, link.latency);
        self.after(latency, Happening::Established { at: from, peer: to, epoch });
        let id = self.offices[from].id;
        if stale {
            self.input(to, Input::Disconnected(id))?;
        }
        self.trace.note(now, to, "connected", &id.0, || format!("with {from}, who dialled"));
        self.input(to, Input::Connected(id))
    }

    pub(crate) fn established(&mut self, at: usize, peer: usize, epoch: u32) -> Result<(), Broken> {
        let side = end(at, peer);
        let link = self.link(at, peer);
        if link.epoch != epoch || link.up[side] || self.offices[at].core.is_none() {
            return Ok(());
        }
        self.link(at, peer).up[side] = true;
        let id = self.offices[peer].id;
        let now = self.now;
        self.trace.note(now, at, "connected", &id.0, || format!("with {peer}"));
        self.input(at, Input::Connected(id))
    }

    /// Plans that both ends of a cut link find out.
    pub(crate) fn fall_silent(&mut self) {
        let cut: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| link.up != [false; 2])
            .map(|((a, b), link)| (*a, *b, link.epoch))
            .filter(|(a, b, _)| self.is_cut(*a, *b) || self.is_cut(*b, *a))
            .collect();
        for (a, b, epoch) in cut {
            for (at, peer) in [(a, b), (b, a)] {
                let delay = self.dice.within(SILENCE_US);
                self.after(delay, Happening::Silence { at, peer, epoch });
            }
        }
    }

    pub(crate) fn silence(&mut self, at: usize, peer: usize, epoch: u32) -> Result<(), Broken> {
        if self.is_cut(at, peer) || self.is_cut(peer, at) {
            return self.gone(at, peer, epoch);
        }
        Ok(())
    }

    pub(crate) fn gone(&mut self, at: usize, peer: usize, epoch: u32) -> Result<(), Broken> {
        if !self.is_up(at, peer) || self.link(at, peer).epoch != epoch {
            return Ok(());
        }
        self.link(at, peer).up[end(at, peer)] = false;
        let other = self.is_up(peer, at);
        if other && !self.is_cut(at, peer) {
            // Closing tells the other end, if it can hear.
            let latency = self.link(at, peer).latency;
            self.after(latency, Happening::Gone { at: peer, peer: at, epoch });
        }
        let id = self.offices[peer].id;
        let now = self.now;
        self.trace.note(now, at, "gone", &id.0, || format!("the link with {peer}"));
        if self.offices[at].wanted.contains(&peer) {
            self.plan_dial(at, peer, REDIAL_US);
        }
        self.input(at, Input::Disconnected(id))
    }

    /// An office has crashed: its ends are gone with it, and the others find out.
    pub(crate) fn drop_links(&mut self, crashed: usize) {
        let peers: Vec<usize> = self
            .links
            .keys()
            .filter(|(a, b)| *a == crashed || *b == crashed)
            .map(|(a, b)| if *a == crashed { *b } else { *a })
            .collect();
        for peer in peers {
            let side = end(crashed, peer);
            let link = self.link(crashed, peer);
            link.up[side] = false;
            let epoch = link.epoch;
            let delay = self.dice.within(GONE_US);
            self.after(delay, Happening::Gone { at: peer, peer: crashed, epoch });
        }
    }
}
