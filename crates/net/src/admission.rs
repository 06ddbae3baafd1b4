//! From wishes to lists: which libp2p peers may connect, as a member or as a ticket's holder.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fasti_core::{OfficeId, TicketId};
use libp2p::PeerId;

use crate::handle::Wishes;
use crate::identity;

#[derive(Default)]
pub(crate) struct Admission {
    pub(crate) members: BTreeMap<PeerId, OfficeId>,
    pub(crate) tickets: BTreeMap<PeerId, TicketId>,
    /// Who may not open anything new any more (`links` doesn't know them), but whose connection stays for a
    /// moment: holders of used tickets, who wait for the answer that made the ticket used; and those who
    /// were members, to whom what ended that is on its way. What they send is nobody's business any more.
    retiring: BTreeMap<PeerId, Instant>,
    listed: BTreeSet<PeerId>,
}

/// What has to change on the allow list.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) allow: Vec<PeerId>,
    pub(crate) disallow: Vec<PeerId>,
}

impl Admission {
    /// Takes over new wishes. Keys that are no keys are nobody's, and skipped.
    pub(crate) fn update(
        &mut self,
        wishes: &Wishes,
        connected: impl Fn(&PeerId) -> bool,
        now: Instant,
    ) -> Changes {
        let members = wishes.members.iter().filter(|office| !wishes.cut.contains(office));
        let members: BTreeMap<_, _> =
            members.filter_map(|id| Some((identity::peer_of(&id.0).ok()?, *id))).collect();
        for (peer, office) in &self.members {
            if !members.contains_key(peer) && !wishes.cut.contains(office) && connected(peer) {
                self.retiring.insert(*peer, now + FAREWELL);
            }
        }
        self.retiring.retain(|peer, _| !members.contains_key(peer));
        self.members = members;
        let tickets = wishes.tickets.iter();
        let tickets: BTreeMap<_, _> =
            tickets.filter_map(|id| Some((identity::peer_of(&id.0).ok()?, *id))).collect();
        for peer in self.tickets.keys() {
            if !tickets.contains_key(peer) && connected(peer) {
                self.retiring.insert(*peer, now + RETIRE);
            }
        }
        self.tickets = tickets;
        self.list()
    }

    /// Ends the grace of used tickets.
    pub(crate) fn tick(&mut self, now: Instant, connected: impl Fn(&PeerId) -> bool) -> Changes {
        let before = self.retiring.len();
        self.retiring.retain(|peer, until| *until > now && connected(peer));
        if self.retiring.len() == before { Changes::default() } else { self.list() }
    }

    fn list(&mut self) -> Changes {
        let peers = self.members.keys().chain(self.tickets.keys()).chain(self.retiring.keys());
        let wanted: BTreeSet<_> = peers.copied().collect();
        let changes = Changes {
            allow: wanted.difference(&self.listed).copied().collect(),
            disallow: self.listed.difference(&wanted).copied().collect(),
        };
        self.listed = wanted;
        changes
    }
}

/// How long the holder of a used ticket may take to read its answer.
const RETIRE: Duration = Duration::from_secs(10);

/// How long what was queued for a member may take to reach it once it is none.
const FAREWELL: Duration = Duration::from_millis(500);
