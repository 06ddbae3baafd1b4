//! Who belongs to the network: a fold over the statements, each judged by what lies under it, so that
//! all nodes find the same. Membership only grows here, and so needs no order.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::Verifier;
use crate::graph::{Graph, Index};
use crate::ids::{EntryHash, NetworkId, OfficeId, TicketId};
use crate::statement::{Admit, Found, Invite, Role};

/// Longest name of an office in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) roles: Vec<Role>,
    /// The entries that admitted it, by hash, with what each gives: more than one if two sponsors did so
    /// without knowing of each other.
    admissions: BTreeMap<EntryHash, Admission>,
    pub(crate) shared_ticket: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Admission {
    at: Index,
    name: String,
    roles: Vec<Role>,
}

impl Member {
    /// Adds an admission. What the member is for people is the sum of all, so that the order of arrival
    /// decides nothing: the name of the first by hash, and every role that one gives.
    fn add(&mut self, hash: EntryHash, admission: Admission) {
        self.admissions.insert(hash, admission);
        self.name =
            self.admissions.values().next().map(|first| first.name.clone()).unwrap_or_default();
        let roles: BTreeSet<Role> = self
            .admissions
            .values()
            .flat_map(|admission| admission.roles.iter().copied())
            .collect();
        self.roles = roles.into_iter().collect();
    }
}

#[derive(Clone, Debug, Default)]
struct TicketState {
    /// The entries that promised it, by hash.
    invites: BTreeMap<EntryHash, (Index, Invite)>,
    used_by: BTreeSet<OfficeId>,
    used_at: Vec<Index>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    members: BTreeMap<OfficeId, Member>,
    tickets: BTreeMap<TicketId, TicketState>,
    /// Everyone whom an entry that is held would admit, rightly or not. Entries of others are not taken
    /// from anybody, so that strangers can't fill our disk.
    named: BTreeSet<OfficeId>,
}

impl Roster {
    pub(crate) fn members(&self) -> &BTreeMap<OfficeId, Member> {
        &self.members
    }

    pub(crate) fn member(&self, office: &OfficeId) -> Option<&Member> {
        self.members.get(office)
    }

    pub(crate) fn is_named(&self, office: &OfficeId) -> bool {
        self.named.contains(office)
    }

    /// An entry speaks of this office as of a member.
    pub(crate) fn name(&mut self, office: OfficeId) {
        self.named.insert(office);
    }

    pub(crate) fn found(&mut self, author: OfficeId, found: &Found, hash: EntryHash, at: Index) {
        self.named.insert(author);
        let roles = vec![Role::Admin, Role::Approver, Role::Office];
        let admission = Admission { at, name: found.name.clone(), roles };
        self.members.entry(author).or_default().add(hash, admission);
    }

    /// Which admissions of an office give it one of these roles in an entry on top of these. Only what
    /// lies under the entry counts, so that all nodes judge alike.
    pub(crate) fn may(&self, graph: &Graph, by: &Author<'_>, roles: &[Role]) -> bool {
        let Some(member) = self.members.get(&by.office) else { return false };
        let gives =
            |admission: &&Admission| admission.roles.iter().any(|role| roles.contains(role));
        member.admissions.values().filter(gives).any(|admission| {
            graph.is_known_under(by.branch, admission.at)
                || graph.is_under(admission.at, by.parents)
        })
    }

    /// The admissions of an office that lie under an entry: asked again for each entry of its log.
    pub(crate) fn admissions_under(&self, graph: &Graph, by: &Author<'_>) -> Vec<Index> {
        let Some(member) = self.members.get(&by.office) else { return Vec::new() };
        let new = member.admissions.values().filter(|it| !graph.is_known_under(by.branch, it.at));
        new.map(|it| it.at).filter(|at| graph.is_under(*at, by.parents)).collect()
    }

    pub(crate) fn invite(&mut self, invite: Invite, hash: EntryHash, at: Index) {
        self.tickets.entry(invite.ticket).or_default().invites.insert(hash, (at, invite));
    }

    /// Whether an entry on top of these, written at this time, may admit: its ticket must be known and
    /// unused under it, and not expired. Uses of one ticket that don't know of each other all
    /// count, as nobody could order them without taking a member away again; people are shown.
    pub(crate) fn check_admit(
        &self,
        ledger: &Ground<'_>,
        admit: &Admit,
        parents: &[Index],
        time: i64,
    ) -> Result<(), TicketFault> {
        let graph = ledger.graph;
        let ticket = self.tickets.get(&admit.ticket).ok_or(TicketFault::Unknown)?;
        let invite = ticket.invite_under(graph, parents).ok_or(TicketFault::Unknown)?;
        if time > invite.expires {
            return Err(TicketFault::Expired);
        }
        if ticket.used_at.iter().any(|used| graph.is_under(*used, parents)) {
            return Err(TicketFault::Used);
        }
        if !admit.is_proved(ledger.network, ledger.verifier) {
            return Err(TicketFault::NotProved);
        }
        // Another ticket gives a member nothing, and nobody may take a role away by handing one in.
        let known = self.members.get(&admit.office);
        if known.is_some_and(|it| it.admissions.values().any(|it| graph.is_under(it.at, parents))) {
            return Err(TicketFault::Member);
        }
        Ok(())
    }

    /// Takes an admission that was found good.
    pub(crate) fn admit(
        &mut self,
        graph: &Graph,
        admit: &Admit,
        parents: &[Index],
        hash: EntryHash,
        at: Index,
    ) {
        self.named.insert(admit.office);
        let Some(ticket) = self.tickets.get_mut(&admit.ticket) else { return };
        let Some(invite) = ticket.invite_under(graph, parents).cloned() else { return };
        ticket.used_by.insert(admit.office);
        ticket.used_at.push(at);
        let shared =
            if ticket.used_by.len() > 1 { ticket.used_by.clone() } else { BTreeSet::new() };
        let admission = Admission { at, name: invite.name, roles: invite.roles };
        self.members.entry(admit.office).or_default().add(hash, admission);
        for office in shared {
            if let Some(member) = self.members.get_mut(&office) {
                member.shared_ticket = true;
            }
        }
    }

    /// Whether this office was admitted with this ticket.
    pub(crate) fn is_used_by(&self, ticket: &TicketId, office: &OfficeId) -> bool {
        self.tickets.get(ticket).is_some_and(|ticket| ticket.used_by.contains(office))
    }

    /// Tickets that someone may still come with. Used ones stay for whoever used them, whose first
    /// answer may have been lost.
    pub(crate) fn open_tickets(&self, now: i64) -> BTreeSet<TicketId> {
        self.tickets
            .iter()
            .filter(|(_, ticket)| ticket.invites.values().any(|(_, invite)| invite.expires >= now))
            .map(|(id, _)| *id)
            .collect()
    }
}

impl TicketState {
    fn invite_under(&self, graph: &Graph, parents: &[Index]) -> Option<&Invite> {
        let mut invites = self.invites.values();
        invites.find(|(at, _)| graph.is_under(*at, parents)).map(|(_, invite)| invite)
    }
}

/// Who wrote an entry, and on top of what.
pub(crate) struct Author<'a> {
    pub(crate) office: OfficeId,
    /// The branch that the entry makes longer, if it does.
    pub(crate) branch: Option<u32>,
    pub(crate) parents: &'a [Index],
}

/// What judging a statement needs besides the roster.
pub(crate) struct Ground<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) network: &'a NetworkId,
    pub(crate) verifier: &'a dyn Verifier,
}

/// Whether an invitation is well-formed.
pub(crate) fn is_sound(invite: &Invite) -> bool {
    is_name(&invite.name) && !invite.roles.is_empty() && invite.roles.is_sorted_by(|a, b| a < b)
}

/// Whether a text can name an office.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// What is wrong with a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TicketFault {
    Unknown,
    Expired,
    Used,
    NotProved,
    Member,
}

impl TicketFault {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "no admin of this network has made it",
            Self::Expired => "it has expired",
            Self::Used => "it has been used",
            Self::Member => "its holder is a member already",
            Self::NotProved => "its key did not sign the request",
        }
    }
}
