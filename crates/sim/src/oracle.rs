//! What must hold, and the watching for it. Numbers are those of the invariants in the project's design.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use fasti_core::command::EventsQuery;
use fasti_core::command::{ConflictView, EventView, StatusView};
use fasti_core::message::Message;
use fasti_core::notice::Topic;
use fasti_core::{Command, Digest, Write};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::clients::{Asked, Part};
use crate::disk::Disk;
use crate::network::TAG_NOTICES;
use crate::world::{SECOND, World};

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// 1: nodes with equal frontiers have equal documents, conflicts and rosters.
    EqualFrontiersShowTheSame,
    /// 2: after the faults all members hold the same within a bound, and know it of each other.
    AllAgreeInTheEnd,
    /// 3: what was answered survives any crash and reaches everyone; acknowledgements claim only what
    /// is durable.
    AnsweredIsKept,
    /// 6: nothing that comes from outside stops a node or makes it talk for ever.
    NothingStopsANode,
    /// Honest offices never see an alarm, a void entry or a fork.
    HonestRunsAreQuiet,
}

impl std::fmt::Display for Invariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EqualFrontiersShowTheSame => "invariant 1 (equal frontiers show the same)",
            Self::AllAgreeInTheEnd => "invariant 2 (all agree in the end)",
            Self::AnsweredIsKept => "invariant 3 (what was answered is kept)",
            Self::NothingStopsANode => "invariant 6 (nothing stops a node)",
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

/// Three answers that one office gave in one step.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) status: Option<StatusView>,
    pub(crate) events: Option<Vec<EventView>>,
    pub(crate) conflicts: Option<Vec<ConflictView>>,
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
    elsewhere: BTreeSet<u32>,
    /// Offices asked for a view that have not answered yet.
    pub(crate) views: BTreeMap<usize, View>,
    /// What each office asked lately doesn't know of the others.
    acknowledged: BTreeMap<usize, Option<String>>,
    /// Whether garbage was sent, which honest nodes may raise alarms about.
    pub(crate) garbage: bool,
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
        self.work(at)
    }

    /// Compares what an office shows with what others showed at the same frontier.
    pub(crate) fn viewed(&mut self, at: usize) -> Result<(), Broken> {
        let complete = self.watch.views.get(&at).is_some_and(|view| {
            view.status.is_some() && view.events.is_some() && view.conflicts.is_some()
        });
        if !complete {
            return Ok(());
        }
        let Some(View { status: Some(status), events, conflicts }) = self.watch.views.remove(&at)
        else {
            return Ok(());
        };
        let members: Vec<_> = status
            .members
            .iter()
            .map(|member| (member.office, &member.name, &member.roles, member.shared_ticket))
            .collect();
        let text = json!({
            "events": events, "conflicts": conflicts, "members": members,
            "counts": [status.events, status.entries, status.conflicts],
        })
        .to_string();
        let hash: [u8; 32] = Sha256::digest(&text).into();
        self.trace.note(self.now, at, "shows", &hash, || {
            format!("{} entries, {:?}", status.entries, status.frontier)
        });
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
        if self.offices.len() <= 64 && (status.deferred, status.void, forks) != (0, 0, 0) {
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

    /// Whether all offices are up and hold the same; if not, why not.
    pub(crate) fn disagreement(&mut self) -> Option<String> {
        let mut first: Option<(Digest, u64)> = None;
        for at in 0..self.offices.len() {
            if !self.offices[at].started {
                continue;
            }
            let Some(core) = &mut self.offices[at].core else {
                return Some(format!("office {at} is down"));
            };
            let (digest, entries) = (core.frontier(), core.entries());
            let (expected, expected_entries) = *first.get_or_insert((digest, entries));
            if digest != expected {
                return Some(format!(
                    "office {at} holds {entries} entries and office 0 {expected_entries}, at other frontiers"
                ));
            }
        }
        None
    }

    /// Asks offices whether they know that all hold what they hold; in large networks some of them.
    pub(crate) fn ask_acknowledged(&mut self) -> Result<(), Broken> {
        self.watch.acknowledged.clear();
        let stride = self.offices.len().div_ceil(64);
        for at in (0..self.offices.len()).step_by(stride) {
            if self.offices[at].started {
                self.watch.acknowledged.insert(at, Some("has not said what it knows".into()));
                self.ask(at, Asked::Acknowledged, Command::Status);
                self.work(at)?;
            }
        }
        Ok(())
    }

    /// What an office knows about the others.
    pub(crate) fn told_acknowledged(&mut self, at: usize, status: &StatusView) {
        let behind = status.members.iter().find(|member| !member.acknowledged).map(|member| {
            let peer = self.places.get(&member.office);
            format!("doesn't know that office {peer:?} holds all, but {} entries", member.behind)
        });
        self.watch.acknowledged.insert(at, behind);
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
        self.watch.elsewhere.extend(gone);
        let others = self.offices.iter().enumerate().filter(|(other, _)| *other != at);
        let disks: Vec<&Disk> = others.map(|(_, it)| &it.disk).chain([backup]).collect();
        self.watch.elsewhere.retain(|number| disks.iter().any(|disk| disk.holds(*number)));
    }

    /// At the end every office holds what any was seen to claim.
    pub(crate) fn check_everywhere(&self) -> Result<(), Broken> {
        let claimed = self.watch.claimed.values().flatten().chain(&self.watch.elsewhere);
        let claimed: BTreeSet<u32> = claimed.copied().collect();
        for (at, office) in self.offices.iter().enumerate().filter(|(_, office)| office.started) {
            if claimed.iter().any(|number| !office.disk.holds(*number)) {
                let detail = format!("office {at} never got an entry that another answered for");
                return Err(Broken::new(Invariant::AnsweredIsKept, detail));
            }
        }
        Ok(())
    }

    // ---- 6 and honesty ----

    /// An operator is told something.
    pub(crate) fn alarmed(&mut self, at: usize, text: String) -> Result<(), Broken> {
        self.trace.note(self.now, at, "alarm", text.as_bytes(), || text.clone());
        // What a peer sends may be refused aloud; anything else is our own doing.
        let about_peer = text.starts_with("refused entries that came from")
            || text.starts_with("a frame from")
            || text.contains("was refused");
        // A clock that jumped back makes what is fetched after a restore look younger than the start.
        let about_fork = text.contains("signed two different histories")
            || text.contains("was written elsewhere");
        if self.watch.garbage && about_peer || self.scenario.faults.forks() && about_fork {
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
