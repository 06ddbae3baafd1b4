//! Bugs made on purpose. Each is one that a change of the program could bring; the suite must find
//! each within a few seeds, or its oracles are worth nothing.

#![expect(clippy::disallowed_types, reason = "HashOrder is the bug that the ban is there for")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use fasti_core::message::{Message, Part};
use fasti_core::outbox::StoredOutbox;
use fasti_core::row::Row;
use fasti_core::statement::Statement;
use fasti_core::{EntryHash, Input, OfficeId};

use crate::standing::named;

/// A bug to run with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// None.
    #[default]
    None,
    /// Effects come out before the writes are durable: the classic lost write (invariant 3).
    AckBeforeDurable,
    /// The disk says that a transaction is durable and loses the latest one in a crash (invariant 3).
    LyingDisk,
    /// Whoever serves a fetch leaves out the first of the ranges that were asked for (invariant 2).
    SkipRange,
    /// Inputs that share a step are taken in the order of a hash map: the same seed gives another trace
    /// in another process.
    HashOrder,
    /// Rows about conflicts are not stored, so that a restarted node shows fewer (invariant 1).
    ForgetConflicts,
    /// Where logs fork is not stored: after a restart what it shows depends on which history came first
    /// (invariant 1).
    ForgetForks,
    /// A node panics over a frame that isn't one (invariant 6).
    PanicOnGarbage,
    /// What a removed member wrote counts where it came before the removal did (invariant 7).
    RemovedCount,
    /// What others built upon before they knew of a removal loses its ground (invariant 7).
    NoVouching,
    /// Of admins who remove each other, the junior one stays (invariant 7).
    NoSeniority,
    /// A node believes that whoever ended a fetch has brought all that anybody had offered (invariant 2).
    TrustLast,
    /// A node answers whatever it can't read by a greeting, which is answered in turn: the network
    /// never falls silent (invariant 6).
    Chatter,
    /// What is owed is forgotten in a restart (invariant 5).
    ForgetOwed,
    /// Which events were told to be tentative is forgotten in a restart: nobody is told that they are settled (invariant 5).
    ForgetWatched,
    /// Versions begin anew in a restart, where the clock has them (invariant 5).
    VersionsFallBack,
    /// A confirmation of an older state ends what is owed of the newer one (invariant 5).
    #[cfg(feature = "mutations")]
    ConfirmOld,
    /// A newer state is sent while the older one is on its way (invariant 5).
    #[cfg(feature = "mutations")]
    Overtake,
    /// Bookings are settled though entries of a stakeholder's from before its acknowledgement are missing (invariant 4).
    #[cfg(feature = "mutations")]
    SettleOverGap,
    /// A booking is settled when it is acknowledged, though what freed its place isn't (invariant 4).
    #[cfg(feature = "mutations")]
    SettleWithoutDecider,
    /// A new stakeholder is waited for once it has written something (invariant 4).
    #[cfg(feature = "mutations")]
    NewcomerTooLate,
    /// A new stakeholder's entries count from the proposal on (invariant 4).
    #[cfg(feature = "mutations")]
    NewcomerTooEarly,
    /// Bookings that wait push out those that hold and came later (invariant 4).
    #[cfg(feature = "mutations")]
    ReviveBeforeHeld,
    /// What an office wrote that is being dismissed counts as safe (invariant 4).
    #[cfg(feature = "mutations")]
    NoRisk,
}

impl Mutation {
    /// The mistake that cores make over bookings.
    #[cfg(feature = "mutations")]
    pub(crate) fn in_bookings(self) -> Option<fasti_core::booking_mutation::Mutation> {
        use fasti_core::booking_mutation::Mutation as Mistake;
        match self {
            Self::SettleOverGap => Some(Mistake::NoGapCheck),
            Self::SettleWithoutDecider => Some(Mistake::NoDecider),
            Self::NewcomerTooLate => Some(Mistake::NewcomerTooLate),
            Self::NewcomerTooEarly => Some(Mistake::NewcomerTooEarly),
            Self::ReviveBeforeHeld => Some(Mistake::ReviveBeforeHeld),
            Self::NoRisk => Some(Mistake::NoRisk),
            _ => None,
        }
    }

    /// The mistake that cores make over deliveries.
    #[cfg(feature = "mutations")]
    pub(crate) fn in_deliveries(self) -> Option<fasti_core::outbox_mutation::Mutation> {
        use fasti_core::outbox_mutation::Mutation as Mistake;
        match self {
            Self::ConfirmOld => Some(Mistake::ConfirmOld),
            Self::Overtake => Some(Mistake::Overtake),
            _ => None,
        }
    }

    /// What a core doesn't find on its disk.
    pub(crate) fn forget(self, stored: &mut StoredOutbox) {
        match self {
            Self::ForgetOwed => stored.owed.clear(),
            Self::ForgetWatched => stored.watched.clear(),
            Self::VersionsFallBack => stored.version = 0,
            _ => {}
        }
    }

    /// What the program has to be built with to make it.
    pub(crate) fn features(self) -> &'static str {
        #[cfg(feature = "mutations")]
        if self.in_bookings().is_some() || self.in_deliveries().is_some() {
            return " --features mutations";
        }
        ""
    }

    /// Whether removals are judged by something else than what is there: see [`doctored`].
    pub(crate) fn doctors(self) -> bool {
        matches!(self, Self::RemovedCount | Self::NoVouching | Self::NoSeniority)
    }
}

/// What a core that judges all its entries again, with a bug, takes for them when it looks for what removals cut off.
pub(crate) fn doctored(mutation: Mutation, rows: &[Rc<Row>]) -> Vec<Row> {
    let gone: BTreeSet<OfficeId> = named(rows).collect();
    // What an entry is built upon, once those of removed members are left out.
    let mut through: BTreeMap<EntryHash, Vec<EntryHash>> = BTreeMap::new();
    let mut before: BTreeMap<OfficeId, Vec<EntryHash>> = BTreeMap::new();
    let doctor = |row: &Rc<Row>| {
        let mut row = (**row).clone();
        let (author, link) = (row.entry.log.author, &mut row.entry.link);
        match (mutation, Statement::decode(link.kind, &link.body)) {
            (Mutation::RemovedCount, Ok(Statement::Remove(remove))) => {
                link.parents.extend(before.get(&remove.office).into_iter().flatten());
            }
            (Mutation::NoVouching, _) => {
                let stay = |it: &EntryHash| through.get(it).cloned().unwrap_or_else(|| vec![*it]);
                link.parents = link.parents.iter().flat_map(stay).collect();
                if gone.contains(&author) {
                    let mut ground = link.parents.clone();
                    ground.extend(through.get(&row.entry.prev).into_iter().flatten());
                    ground.sort();
                    ground.dedup();
                    through.insert(row.hash, ground);
                }
            }
            (Mutation::NoSeniority, Ok(Statement::Invite(_))) => {
                // The times are equal at the start, and then the hash decides.
                let mut first = [0; 8];
                first.copy_from_slice(&row.hash.0[..8]);
                link.time = -((u64::from_be_bytes(first) >> 1) as i64);
            }
            _ => {}
        }
        before.entry(author).or_default().push(row.hash);
        row
    };
    rows.iter().map(doctor).collect()
}

/// What a trusting node remembers.
#[derive(Default)]
pub(crate) struct Trust {
    offered: BTreeSet<EntryHash>,
    brought: BTreeSet<EntryHash>,
}

impl Trust {
    /// A frame as a trusting node reads it, and what it hears then from all its peers.
    pub(crate) fn read(&mut self, frame: Vec<u8>) -> Vec<Vec<u8>> {
        match Message::decode(&frame) {
            Ok(Message::Frontier { boot, ask, entries, part, mut lines }) => {
                lines.retain(|line| !self.brought.contains(&line.hash));
                self.offered.extend(lines.iter().map(|line| line.hash));
                vec![Message::Frontier { boot, ask, entries, part, lines }.encode()]
            }
            // The chunk, and then nobody offers anything any more.
            Ok(Message::Chunk { last: true, .. }) => {
                self.brought.append(&mut self.offered);
                let (part, lines) = (Part::WHOLE, Vec::new());
                let nothing = Message::Frontier { boot: 0, ask: false, entries: 0, part, lines };
                vec![frame, nothing.encode()]
            }
            _ => vec![frame],
        }
    }
}

/// The inputs in the order of a hash map with random keys.
pub(crate) fn shuffle(inputs: Vec<Input>) -> Vec<Input> {
    let map: HashMap<usize, Input> = inputs.into_iter().enumerate().collect();
    map.into_values().collect()
}
