//! What must hold, and the watching for it. Numbers are those of the invariants in the project's design.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use fasti_core::command::EventsQuery;
use fasti_core::command::{
    BookingState, BookingView, ConflictView, EventView, FormerMemberView, PolicyView, ResourceView,
    StatusView,
};
use fasti_core::message::Message;
use fasti_core::notice::Topic;
use fasti_core::{Command, Digest, Effect, Load, OfficeId, Write};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::bookers::all_bookings;
use crate::clients::{Asked, Part};
use crate::disk::Disk;
use crate::network::TAG_NOTICES;
use crate::world::{SECOND, World};

/// Frames that a step may send because of one input: what it asks in return, to whom it passes on what was new; and
/// others that are due.
const FRAMES_PER_INPUT: usize = 4;
const FRAMES_PER_STEP: usize = 16;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// 1: nodes with equal frontiers have equal documents, conflicts, bookings, policies and rosters.
    EqualFrontiersShowTheSame,
    /// 2: after the faults all members hold the same within a bound, and know it of each other.
    AllAgreeInTheEnd,
    /// 3: what was answered survives any crash and reaches everyone; acknowledgements claim only what
    /// is durable.
    AnsweredIsKept,
    /// 4: what was called settled is held, and never more than fits.
    SettledIsKept,
    /// 5: what is owed to an external system is confirmed, pending or dead, and in the end it has what its office
    /// shows.
    NothingOwedVanishes,
    /// 6: nothing that comes from outside stops a node or makes it talk for ever.
    NothingStopsANode,
    /// 7: what a removed member writes later changes nothing; who is not removed stays a member, with what it
    /// wrote; an admin always remains.
    RemovedCountsForNothing,
    /// Honest offices never see an alarm, a void entry or a fork.
    HonestRunsAreQuiet,
}

impl std::fmt::Display for Invariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EqualFrontiersShowTheSame => "invariant 1 (equal frontiers show the same)",
            Self::AllAgreeInTheEnd => "invariant 2 (all agree in the end)",
            Self::AnsweredIsKept => "invariant 3 (what was answered is kept)",
            Self::SettledIsKept => "invariant 4 (what is settled is held)",
            Self::NothingOwedVanishes => "invariant 5 (nothing owed vanishes)",
            Self::NothingStopsANode => "invariant 6 (nothing stops a node)",
            Self::RemovedCountsForNothing => "invariant 7 (who was removed counts for nothing)",
            Self::HonestRunsAreQuiet => "honest runs raise no alarm",
        })
    }
}

/// That something did not hold.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) invariant: Invariant,
    pub(crate) detail: String,
}

impl Broken {
    pub(crate) fn new(invariant: Invariant, detail: String) -> Self {
        Self { invariant, detail }
    }

    pub(crate) fn panic(at: usize, panic: &(dyn Any + Send)) -> Self {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        Self::new(Invariant::NothingStopsANode, format!("office {at} panicked: {text}"))
    }
}

/// Answers that one office gave one after the other.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) status: Option<StatusView>,
    pub(crate) events: Option<Vec<EventView>>,
    pub(crate) conflicts: Option<Vec<ConflictView>>,
    pub(crate) former: Option<Vec<FormerMemberView>>,
    pub(crate) policies: Option<Vec<PolicyView>>,
    pub(crate) resources: Option<Vec<ResourceView>>,
    pub(crate) bookings: Option<Vec<BookingView>>,
    pub(crate) after: Option<StatusView>,
}

/// What has been seen so far.
#[derive(Default)]
pub(crate) struct Watch {
    /// What each frontier showed, to whoever was asked first.
    shown: BTreeMap<Digest, (usize, [u8; 32], String)>,
    /// For each office the entries (by number) that it was seen to acknowledge, and those that it told
    /// a caller are written.
    claimed: BTreeMap<usize, BTreeSet<u32>>,
    /// Entries that an office claimed, lost with its disk, and others have.
    elsewhere: BTreeMap<usize, BTreeSet<u32>>,
    /// Entries that honest offices told a caller are written.
    pub(crate) answered: BTreeSet<u32>,
    /// Offices asked for a view that have not answered yet.
    pub(crate) views: BTreeMap<usize, View>,
    /// What each office asked lately doesn't know of the others.
    acknowledged: BTreeMap<usize, Option<String>>,
    /// Whether garbage was sent, which honest nodes may raise alarms about.
    pub(crate) garbage: bool,
}

impl Watch {
    /// An office goes on under another key, with what it had.
    pub(crate) fn moved(&mut self, old: usize, new: usize) {
        let claimed = self.claimed.remove(&old).unwrap_or_default();
        self.claimed.insert(new, claimed);
        let elsewhere = self.elsewhere.remove(&old).unwrap_or_default();
        self.elsewhere.insert(new, elsewhere);
    }
}

impl World {
    // ---- 1 ----

    /// Asks an office for all that it shows.
    pub(crate) fn ask_view(&mut self, at: usize) -> Result<(), Broken> {
        if self.offices[at].core.is_none() {
            return Ok(());
        }
        self.watch.views.insert(at, View::default());
        let query = EventsQuery { limit: 1000, ..EventsQuery::default() };
        self.ask(at, Asked::View(Part::Status), Command::Status);
        self.ask(at, Asked::View(Part::Events), Command::Events(query));
        self.ask(at, Asked::View(Part::Conflicts), Command::Conflicts);
        self.ask(at, Asked::View(Part::FormerMembers), Command::FormerMembers);
        self.ask(at, Asked::View(Part::Policies), Command::Policies);
        self.ask(at, Asked::View(Part::Resources), Command::Resources);
        let known = self.offices[at].disk.held.clone();
        let bookings = Command::Bookings(all_bookings(None));
        self.ask(at, Asked::AllBookings { known }, bookings);
        self.ask(at, Asked::View(Part::StatusAfter), Command::Status);
        self.work(at)
    }

    /// Compares what an office shows with what others showed at the same frontier.
    pub(crate) fn viewed(&mut self, at: usize) -> Result<(), Broken> {
        let complete = self.watch.views.get(&at).is_some_and(|view| {
            view.status.is_some()
                && view.events.is_some()
                && view.conflicts.is_some()
                && view.former.is_some()
                && view.policies.is_some()
                && view.resources.is_some()
                && view.bookings.is_some()
                && view.after.is_some()
        });
        if !complete {
            return Ok(());
        }
        let view = self.watch.views.remove(&at);
        let Some(mut view) = view else { return Ok(()) };
        let Some(status) = view.status.take() else { return Ok(()) };
        // A write that had waited came in between: these are not of one moment.
        let after = view.after.take();
        let is_of_one_moment = after.is_some_and(|after| after.frontier == status.frontier);
        if !self.is_honest(at) || !is_of_one_moment {
            return Ok(());
        }
        let members: Vec<_> = status
            .members
            .iter()
            .map(|member| (member.office, &member.name, &member.roles, member.shared_ticket))
            .collect();
        let bookings = view.bookings.take().into_iter().flatten();
        let bookings: Vec<BookingView> = bookings.map(without_acknowledgements).collect();
        let text = json!({
            "events": view.events, "conflicts": view.conflicts, "members": members,
            "former": view.former, "bookings": bookings, "resources": view.resources,
            "counts": [status.events, status.entries, status.conflicts],
        })
        .to_string();
        self.check_standing(at, status.entries, &text)?;
        // What an approval says was approved goes on to be shown, whatever becomes of what it was written by.
        let text = text + &json!(view.policies).to_string();
        let hash: [u8; 32] = Sha256::digest(&text).into();
        self.trace.note(self.now, at, "shows", &hash, || {
            format!("{} entries, {:?}", status.entries, status.frontier)
        });
        self.check_admins(at, &status.members)?;
        self.check_believed(at, &status)?;
        if self.offices[at].judging_due() {
            return Ok(());
        }
        let keep = if self.offices.len() <= 64 { text.clone() } else { String::new() };
        let (other, seen, before) =
            self.watch.shown.entry(status.frontier).or_insert((at, hash, keep));
        if *seen != hash {
            let detail = format!(
                "offices {other} and {at} are both at frontier {:?} and differ: {}",
                status.frontier,
                difference(before, &text)
            );
            return Err(Broken::new(Invariant::EqualFrontiersShowTheSame, detail));
        }
        let forks = if self.scenario.faults.forks() { 0 } else { status.forks };
        let removes = self.scenario.faults.removes() || self.scenario.faults.liars > 0;
        let void = if removes { 0 } else { status.void };
        if self.offices.len() <= 64 && (status.deferred, void, forks) != (0, 0, 0) {
            let detail = format!(
                "office {at} has {} deferred and {} void entries and {} forks",
                status.deferred, status.void, status.forks
            );
            return Err(Broken::new(Invariant::HonestRunsAreQuiet, detail));
        }
        Ok(())
    }

    /// Asks a few offices for what they show, and plans to do so again.
    pub(crate) fn compare_some(&mut self) -> Result<(), Broken> {
        for _ in 0..3 {
            let at = self.dice.below(self.offices.len() as u64) as usize;
            self.ask_view(at)?;
        }
        self.some_time(2 * SECOND, crate::world::Happening::Compare);
        Ok(())
    }

    // ---- 2 ----

    /// Whether all honest offices are up, and those that could be in touch hold the same; if not, why not.
    pub(crate) fn disagreement(&mut self) -> Option<String> {
        for circle in self.circles() {
            let mut first: Option<(usize, Digest, u64)> = None;
            for at in circle {
                let office = &mut self.offices[at];
                let judging_due = office.judging_due();
                let Some(core) = office.core.as_mut().filter(|core| !core.is_stale()) else {
                    return Some(format!("office {at} is down"));
                };
                if judging_due {
                    return Some(format!("office {at} has yet to judge what it holds"));
                }
                let (digest, entries) = (core.frontier(), core.entries());
                let (other, expected, held) = *first.get_or_insert((at, digest, entries));
                if digest != expected {
                    return Some(format!(
                        "office {at} holds {entries} entries and office {other} {held}, at other frontiers"
                    ));
                }
            }
        }
        None
    }

    /// Asks offices whether they know that all hold what they hold; in large networks some of them.
    pub(crate) fn ask_acknowledged(&mut self) -> Result<(), Broken> {
        self.watch.acknowledged.clear();
        let stride = self.offices.len().div_ceil(64);
        for at in (0..self.offices.len()).step_by(stride) {
            let office = &self.offices[at];
            if self.is_honest(at) && office.started && !office.retired {
                self.watch.acknowledged.insert(at, Some("has not said what it knows".into()));
                self.ask(at, Asked::Acknowledged, Command::Status);
                self.work(at)?;
            }
        }
        Ok(())
    }

    /// What an office knows about the others: those honest ones that it could be in touch with.
    pub(crate) fn told_acknowledged(
        &mut self,
        at: usize,
        status: &StatusView,
    ) -> Result<(), Broken> {
        let in_touch = |office: &OfficeId| {
            let peer = self.places.get(office).copied();
            peer.is_none_or(|peer| {
                let honest = self.is_honest(peer) && !self.offices[peer].retired;
                honest && (peer == at || self.admits(peer, at) && self.admits(at, peer))
            })
        };
        let mut behind =
            status.members.iter().filter(|it| !it.acknowledged && in_touch(&it.office));
        let behind = behind.next().map(|member| {
            let peer = self.places.get(&member.office);
            format!(
                "doesn't know that office {peer:?} holds all, but lacks {} entries",
                member.behind
            )
        });
        self.watch.acknowledged.insert(at, behind);
        self.check_believed(at, status)
    }

    /// Nobody believes of an honest office that it holds more than it does, whatever liars say or repeat.
    fn check_believed(&self, at: usize, status: &StatusView) -> Result<(), Broken> {
        if !self.is_honest(at) || self.scenario.faults.restore > 0.0 {
            return Ok(());
        }
        // What came later in the same step was not there when it answered.
        let rows = self.offices[at].disk.rows.iter().take(status.entries as usize);
        let seen = rows.filter_map(|row| self.shelf.known(&row.hash));
        for member in status.members.iter().filter(|member| member.acknowledged) {
            let Some(peer) = self.places.get(&member.office).copied() else { continue };
            let lacks = || !self.offices[peer].disk.holds_all(seen.clone());
            if peer != at && self.is_honest(peer) && !self.offices[peer].retired && lacks() {
                let detail = format!("office {at} believes that {peer} holds all, and it doesn't");
                return Err(Broken::new(Invariant::AnsweredIsKept, detail));
            }
        }
        Ok(())
    }

    /// Who does not know that all hold all.
    pub(crate) fn unacknowledged(&self) -> Option<String> {
        let known = self.watch.acknowledged.iter();
        known.filter_map(|(at, problem)| Some(format!("office {at} {}", problem.as_ref()?))).next()
    }

    // ---- 3 ----

    /// An office has told somebody that it holds these entries: it had better.
    pub(crate) fn claim(
        &mut self,
        at: usize,
        hashes: &[fasti_core::EntryHash],
        what: &str,
    ) -> Result<(), Broken> {
        if !self.is_honest(at) {
            return Ok(());
        }
        for hash in hashes {
            let number = self.shelf.known(hash);
            let Some(number) = number.filter(|number| self.offices[at].disk.holds(*number)) else {
                let detail = format!("office {at} {what} entry {hash:?}, which is not on its disk");
                return Err(Broken::new(Invariant::AnsweredIsKept, detail));
            };
            self.watch.claimed.entry(at).or_default().insert(number);
        }
        Ok(())
    }

    /// Looks into a frame that is about to leave for the office's own acknowledgement.
    pub(crate) fn check_claims(&mut self, at: usize, frame: &[u8]) -> Result<(), Broken> {
        // Reading them all again would be most of the work of a thousand offices: there, some.
        let skip = self.offices.len() > 64 && !self.stats.commits.is_multiple_of(16);
        if skip || frame.get(1) != Some(&TAG_NOTICES) {
            return Ok(());
        }
        let Ok(Message::Notices(notices)) = Message::decode(frame) else { return Ok(()) };
        let own = self.offices[at].id;
        for notice in notices {
            if notice.office == own
                && notice.topic == Topic::Acknowledgement
                && let Some(said) = notice.acknowledgement()
            {
                self.claim(at, &said.heads, "acknowledges")?;
            }
        }
        Ok(())
    }

    /// After a restart all that was claimed must still be there.
    pub(crate) fn check_restart(&mut self, at: usize) -> Result<(), Broken> {
        let disk = &self.offices[at].disk;
        let lost = self.watch.claimed.get(&at).into_iter().flatten().find(|n| !disk.holds(**n));
        match lost {
            None => Ok(()),
            Some(_) => {
                let detail =
                    format!("office {at} lost an entry in a crash that it had answered for");
                Err(Broken::new(Invariant::AnsweredIsKept, detail))
            }
        }
    }

    /// An office gets an older disk: what it claimed since and nobody else has is lost, as it would be with
    /// any program. The rest must be everywhere in the end.
    pub(crate) fn forget_claims(&mut self, at: usize, backup: &Disk) {
        let claimed = self.watch.claimed.remove(&at).unwrap_or_default();
        let (kept, gone): (BTreeSet<u32>, BTreeSet<u32>) =
            claimed.into_iter().partition(|number| backup.holds(*number));
        self.watch.claimed.insert(at, kept);
        let elsewhere = self.watch.elsewhere.entry(at).or_default();
        elsewhere.extend(gone);
        let others = self.offices.iter().enumerate().filter(|(other, _)| *other != at);
        let others = others.filter(|(_, it)| it.lies.is_none() && !it.retired);
        let disks: Vec<&Disk> = others.map(|(_, it)| &it.disk).chain([backup]).collect();
        for elsewhere in self.watch.elsewhere.values_mut() {
            elsewhere.retain(|number| disks.iter().any(|disk| disk.holds(*number)));
        }
    }

    /// At the end every office holds what any that it could be in touch with was seen to claim.
    pub(crate) fn check_everywhere(&self) -> Result<(), Broken> {
        // Whoever had what a restored disk lacks may have been removed with it.
        let removes = self.scenario.faults.removes();
        for circle in self.circles() {
            let claimed = circle.iter().filter_map(|at| self.watch.claimed.get(at));
            let elsewhere = circle.iter().filter_map(|at| self.watch.elsewhere.get(at));
            let claimed = claimed.chain(elsewhere.filter(|_| !removes));
            let claimed: BTreeSet<u32> = claimed.flatten().copied().collect();
            for at in &circle {
                let disk = &self.offices[*at].disk;
                if claimed.iter().any(|number| !disk.holds(*number)) {
                    let detail =
                        format!("office {at} never got an entry that another answered for");
                    return Err(Broken::new(Invariant::AnsweredIsKept, detail));
                }
            }
        }
        Ok(())
    }

    // ---- 6 and honesty ----

    /// What a node keeps for its peers' sake, and what it sends because of one input, is within the limits of
    /// docs/protocol.md.
    pub(crate) fn check_load(
        &mut self,
        at: usize,
        inputs: usize,
        effects: &[Effect],
        load: Load,
    ) -> Result<(), Broken> {
        if !self.is_honest(at) || self.offices.len() > 64 {
            return Ok(());
        }
        let offices = self.offices.len();
        let sent = effects.iter().filter(|it| matches!(it, Effect::Push { .. })).count();
        let bounds = [
            ("bundles that wait", load.waiting, 4096),
            ("bytes that wait", load.waiting_bytes, 8 << 20),
            ("lines that were offered", load.offered, 100_000 * offices),
            ("notices", load.notices, 3 * offices),
            ("frames sent in a step", sent, FRAMES_PER_STEP + FRAMES_PER_INPUT * inputs),
        ];
        match bounds.into_iter().find(|(_, found, max)| found > max) {
            None => Ok(()),
            Some((what, found, max)) => {
                let detail = format!("office {at}: {found} {what}, {max} at most");
                Err(Broken::new(Invariant::NothingStopsANode, detail))
            }
        }
    }

    /// An operator is told something.
    pub(crate) fn alarmed(&mut self, at: usize, text: String) -> Result<(), Broken> {
        self.trace.note(self.now, at, "alarm", text.as_bytes(), || text.clone());
        // What a peer sends may be refused aloud; anything else is our own doing.
        let about_peer = text.starts_with("refused entries that came from")
            || text.starts_with("a frame from")
            || text.contains("was refused")
            || text.contains("writes more than is taken from it");
        // A clock that jumped back makes what is fetched after a restore look younger than the start.
        let about_fork = text.contains("signed two different histories")
            || text.contains("was written elsewhere");
        let faults = &self.scenario.faults;
        // Liars must not bring honest offices into disrepute.
        let mut liars = self.offices.iter().filter(|office| office.lies.is_some());
        let about_liar = liars.any(|liar| text.contains(&liar.id.to_string()));
        let fork_is_known =
            faults.forks() && (about_liar || faults.liars == 0 || faults.restore > 0.0);
        if about_peer && (self.watch.garbage || about_liar)
            || about_fork && fork_is_known
            || !self.is_honest(at)
        {
            return Ok(());
        }
        let detail = format!("office {at}: {text}");
        Err(Broken::new(Invariant::HonestRunsAreQuiet, detail))
    }

    /// Remembers when an office's own entries were written, for the measurements.
    pub(crate) fn note_written(&mut self, at: usize, writes: &[Write]) {
        let Some(meter) = &mut self.meter else { return };
        for write in writes {
            if let Write::Entry { row, .. } = write
                && row.entry.log.author == self.offices[at].id
            {
                meter.written(row.hash, self.now);
            }
        }
    }

    /// The same for when entries became durable.
    pub(crate) fn note_durable(&mut self, at: usize, writes: &[Write]) {
        let Some(meter) = &mut self.meter else { return };
        for write in writes {
            if let Write::Entry { row, .. } = write
                && row.entry.log.author != self.offices[at].id
            {
                meter.applied(row.hash, self.now);
            }
        }
    }
}

/// What follows of a booking from the entries that are held: all but whose acknowledgement was heard.
fn without_acknowledgements(mut view: BookingView) -> BookingView {
    if view.state == BookingState::Settled {
        view.state = BookingState::Tentative;
    }
    view.waits_for.clear();
    view
}

/// Where two texts begin to differ.
fn difference(a: &str, b: &str) -> String {
    let at = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let start = at.saturating_sub(120);
    let part = |text: &str| {
        let bytes = text.as_bytes();
        let end = (at + 120).min(bytes.len());
        String::from_utf8_lossy(&bytes[start.min(end)..end]).into_owned()
    };
    format!("…{}…\n  against …{}…", part(a), part(b))
}
