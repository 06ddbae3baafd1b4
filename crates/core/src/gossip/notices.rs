//! Notices: when to say what we hold and where we are, and passing on what others say.

use std::collections::BTreeMap;

use super::Gossip;
use crate::ids::OfficeId;
use crate::ledger::Ledger;
use crate::message::Message;
use crate::notice::{ACK_HEADS_MAX, Acknowledgement, Presence, SignedNotice, Topic};
use crate::outbox::Systems;
use crate::step::Effect;
use crate::time::{MILLISECOND, Now, SECOND};

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

impl Gossip {
    /// Notices go out together, a little later.
    pub(crate) fn notices_soon(&mut self, ledger: &Ledger, now: Now) {
        let delay = match self.overlay.mesh {
            true => NOTICE_DELAY,
            false => NOTICE_DELAY_PER_MEMBER * ledger.roster.members().len() as u64,
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
            addresses: self.addresses.iter().take(16).map(|it| bare(it)).collect(),
            rules: crate::entry::RULES,
            version: self.version.clone(),
            relay: self.relay,
        };
        let held =
            self.board.about(&ledger.office(), Topic::Presence).and_then(SignedNotice::presence);
        if held.as_ref() != Some(&presence) {
            self.board.say(&ledger.signer, Topic::Presence, &presence, now.wall);
        }
    }

    /// Says how the external systems fare, if that is new.
    pub(crate) fn say_systems(&mut self, ledger: &Ledger, now: Now, systems: &Systems) {
        let held =
            self.board.about(&ledger.office(), Topic::Systems).and_then(SignedNotice::systems);
        let is_new = held.as_ref() != Some(systems);
        // Who never had any says nothing.
        if is_new && (held.is_some() || !systems.systems.is_empty()) && ledger.is_member() {
            self.board.say(&ledger.signer, Topic::Systems, systems, now.wall);
            self.notices_soon(ledger, now);
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
        let understands = ledger.graph.deferred == 0;
        let statement = Acknowledgement { incarnation, seq, understands, digest, heads };
        let said = self.board.about(&ledger.office(), Topic::Acknowledgement);
        if said.and_then(SignedNotice::acknowledgement).as_ref() == Some(&statement) {
            return;
        }
        self.board.say(&ledger.signer, Topic::Acknowledgement, &statement, now.wall);
    }

    pub(super) fn take_notices(
        &mut self,
        ledger: &mut Ledger,
        now: Now,
        from: OfficeId,
        notices: Vec<SignedNotice>,
    ) {
        let mesh = self.overlay.mesh;
        let before = self.board.version();
        let caught_up = self.peers.get(&from).is_some_and(|peer| peer.notices_seen == before);
        let mut learnt = false;
        let mut own = false;
        // Of many with the same subject the latest counts, and only that is looked at.
        let latest: BTreeMap<_, _> = {
            let mut notices: Vec<_> = notices.into_iter().take(NOTICES_PER_FRAME).collect();
            notices.sort_by_key(|notice| notice.counter);
            notices.into_iter().map(|notice| ((notice.office, notice.topic), notice)).collect()
        };
        for notice in latest.into_values() {
            if ledger.roster.member(&notice.office).is_some() {
                let is_own = notice.office == ledger.office();
                let is_new = self.board.learn(notice, &*ledger.verifier);
                learnt |= is_new;
                own |= is_new && is_own;
            }
        }
        if own {
            // We said it before our disk was restored, and may not hold any more what it says: we say what is so now,
            // and over it.
            self.acknowledged = None;
            self.acknowledge(ledger, now);
            self.say_presence(ledger, now);
            self.heard_own = true;
            self.notices_soon(ledger, now);
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

    pub(super) fn compare_notices(
        &mut self,
        ledger: &Ledger,
        now: Now,
        from: OfficeId,
        theirs: [u8; 16],
    ) {
        let version = self.board.version();
        let equal = theirs == self.board.digest();
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if equal {
            peer.notices_seen = version;
            peer.notices_differ = (0, version);
            return;
        }
        let (times, at) = peer.notices_differ;
        let times = if at == version { times + 1 } else { 1 };
        peer.notices_differ = (times, version);
        let mesh = self.overlay.mesh;
        if times > 2 {
            // That what a third office acknowledged is missing is seen only here.
            peer.notices_differ = (0, version);
            self.send_notices(&[from], 0, |_| true);
        } else if mesh {
            // Each office tells what it acknowledged: if all told all, whoever comes back would get each of
            // them many times. But where a third one is, it may know from nobody else; nor what it said itself, if
            // it lost that with its disk: with a clock that was set back it isn't heard before it says more.
            let told = [ledger.office(), from];
            let wanted =
                |it: &SignedNotice| told.contains(&it.office) || it.topic == Topic::Presence;
            self.send_notices(&[from], 0, wanted);
        } else {
            self.notices_soon(ledger, now);
        }
    }

    /// Sends notices, encoded once for all who get them.
    fn send_notices(
        &mut self,
        to: &[OfficeId],
        since: u64,
        wanted: impl Fn(&SignedNotice) -> bool,
    ) {
        let notices: Vec<&SignedNotice> =
            self.board.since(since).filter(|notice| wanted(notice)).collect();
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

    pub(super) fn flush_notices(&mut self, ledger: &mut Ledger, now: Now) {
        self.acknowledge(ledger, now);
        self.notices_pause = now.monotonic.after(NOTICE_PAUSE);
        let version = self.board.version();
        let mesh = self.overlay.mesh;
        let mut behind: BTreeMap<u64, Vec<OfficeId>> = BTreeMap::new();
        for office in self.audience() {
            let seen = self.peers.get(&office).map_or(version, |peer| peer.notices_seen);
            if seen < version {
                behind.entry(seen).or_default().push(office);
            }
        }
        let own = ledger.office();
        for (seen, offices) in behind {
            let wanted = |it: &SignedNotice| {
                (!mesh || seen == 0 || it.office == own) && offices != [it.office]
            };
            self.send_notices(&offices, seen, wanted);
        }
        self.save_due.get_or_insert(now.monotonic.after(SAVE_DELAY));
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

/// An address without the office's own name at its end, which the notice says anyway.
fn bare(address: &str) -> String {
    match address.rsplit_once("/p2p/") {
        Some((bare, name)) if !name.contains('/') => bare.to_owned(),
        _ => address.to_owned(),
    }
}
