//! Who belongs to the network: a fold over the statements, each judged by what lies under it. Which removals
//! count, and which entries of removed members, doesn't follow from what lies under them alone: that is
//! `removal`'s.

use std::collections::{BTreeMap, BTreeSet};

use crate::approval::Approval;
use crate::entry::Verifier;
use crate::graph::{Graph, Index};
use crate::ids::{EntryHash, NetworkId, OfficeId, TicketId};
use crate::resource::Reservation;
use crate::row::Void;
use crate::statement::{Admit, Found, Invite, Remove, Role, Statement, Succeed};

/// Longest name of an office in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// The roles of those who write.
const WRITERS: [Role; 3] = [Role::Admin, Role::Approver, Role::Office];

/// Who is or was a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) roles: Vec<Role>,
    /// The entries that admitted it, by hash, with what each gives: more than one if two sponsors did so
    /// without knowing of each other.
    admissions: BTreeMap<EntryHash, Admission>,
    /// The entries that removed it.
    pub(crate) removals: BTreeMap<EntryHash, Removal>,
    pub(crate) shared_ticket: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Admission {
    at: Index,
    name: String,
    roles: Vec<Role>,
    rank: Rank,
    /// Whose key it succeeds.
    predecessor: Option<OfficeId>,
}

/// A removal that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) at: Index,
    pub(crate) by: OfficeId,
    pub(crate) time: i64,
}

/// Seniority, for admins who remove each other at once: how many invitations lie between the founder and
/// the office, when the last of them was written, and its hash. All of it is said by who invited, who is
/// senior itself, so that nobody can make himself more senior than he is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    depth: u32,
    time: i64,
    invite: EntryHash,
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

    /// The first of the entries that removed it, as their authors' clocks have it.
    pub(crate) fn removal(&self) -> Option<&Removal> {
        self.removals.values().min_by_key(|it| (it.time, it.by))
    }

    /// Where it was admitted.
    pub(crate) fn admissions(&self) -> impl Iterator<Item = Index> {
        self.admissions.values().map(|admission| admission.at)
    }
}

#[derive(Clone, Debug, Default)]
struct TicketState {
    /// The entries that promised it, by hash.
    invites: BTreeMap<EntryHash, Promise>,
    used_by: BTreeSet<OfficeId>,
    used_at: Vec<Index>,
}

#[derive(Clone, Debug)]
struct Promise {
    at: Index,
    by: OfficeId,
    /// Of who is admitted by it.
    rank: Rank,
    invite: Invite,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    members: BTreeMap<OfficeId, Member>,
    removed: BTreeMap<OfficeId, Member>,
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

    /// Those who were members and are no more.
    pub(crate) fn removed(&self) -> &BTreeMap<OfficeId, Member> {
        &self.removed
    }

    /// Who is a member, or was.
    pub(crate) fn known(&self, office: &OfficeId) -> Option<&Member> {
        self.members.get(office).or_else(|| self.removed.get(office))
    }

    pub(crate) fn is_named(&self, office: &OfficeId) -> bool {
        self.named.contains(office)
    }

    /// Whether an office goes on under a new key that this is.
    pub(crate) fn succeeds(&self, new: &OfficeId, old: &OfficeId) -> bool {
        let admissions = self.known(new).into_iter().flat_map(|it| it.admissions.values());
        admissions.into_iter().any(|it| it.predecessor == Some(*old))
    }

    /// The office as others knew it first, whatever key it writes under: the one that this key succeeds, by an
    /// admission under these, and so on.
    pub(crate) fn origin(&self, graph: &Graph, office: OfficeId, parents: &[Index]) -> OfficeId {
        let mut found = office;
        // One that succeeds itself, over others, is nobody's.
        for _ in 0..=self.members.len() + self.removed.len() {
            let admissions = self.known(&found).into_iter().flat_map(|it| it.admissions.values());
            let succeeds = |it: &Admission| {
                let under = || graph.is_under(it.at, parents);
                it.predecessor.filter(|_| under())
            };
            match admissions.into_iter().find_map(succeeds) {
                Some(predecessor) => found = predecessor,
                None => return found,
            }
        }
        office
    }

    /// The keys that an office has or had, by all that is known.
    pub(crate) fn keys(&self, origin: &OfficeId) -> BTreeSet<OfficeId> {
        let mut keys = BTreeSet::from([*origin]);
        loop {
            let all = self.members.iter().chain(&self.removed);
            let succeeds = |it: &Member| {
                let mut admissions = it.admissions.values();
                admissions.any(|it| it.predecessor.is_some_and(|old| keys.contains(&old)))
            };
            let new: Vec<OfficeId> = all
                .filter(|(office, it)| !keys.contains(*office) && succeeds(it))
                .map(|it| *it.0)
                .collect();
            if new.is_empty() {
                return keys;
            }
            keys.extend(new);
        }
    }

    /// The members that have a place in the network, where others connect with them. All do, but for new keys
    /// of one office: it could have any number, from histories that it writes side by side, or as each new
    /// key may have one. Of keys that succeed the same one the first by hash has a place; and where a new key
    /// has one beside the old key, which it has to remove, no third has.
    pub(crate) fn places(&self) -> BTreeSet<OfficeId> {
        let all = || self.members.iter().chain(&self.removed);
        let succeeded = |it: &Admission| it.predecessor;
        let old_keys: BTreeSet<OfficeId> =
            all().flat_map(|(_, it)| it.admissions.values().filter_map(succeeded)).collect();
        let mut first: BTreeMap<OfficeId, (EntryHash, OfficeId)> = BTreeMap::new();
        for (office, member) in all() {
            if self.members.contains_key(office) || old_keys.contains(office) {
                for (hash, admission) in &member.admissions {
                    if let Some(old) = admission.predecessor {
                        let this = (*hash, *office);
                        first.entry(old).and_modify(|it| *it = this.min(*it)).or_insert(this);
                    }
                }
            }
        }
        let is_member = |office: &OfficeId| self.members.contains_key(office);
        let is_beside = |old: &OfficeId| {
            let mut admissions =
                self.members.get(old).into_iter().flat_map(|it| it.admissions.values());
            is_member(old) && admissions.all(|it| it.predecessor.as_ref().is_some_and(is_member))
        };
        let has_place = |office: &OfficeId, it: &Admission| match &it.predecessor {
            None => true,
            Some(old) => first.get(old).is_some_and(|it| it.1 == *office) && !is_beside(old),
        };
        self.members
            .iter()
            .filter(|(office, member)| member.admissions.values().any(|it| has_place(office, it)))
            .map(|(office, _)| *office)
            .collect()
    }

    /// The keys that an office has left and that are members still.
    pub(crate) fn old_keys(&self, office: &OfficeId) -> BTreeSet<OfficeId> {
        let admissions = self.known(office).into_iter().flat_map(|it| it.admissions.values());
        let old = admissions.filter_map(|it| it.predecessor);
        old.filter(|old| self.members.contains_key(old)).collect()
    }

    // ---- Judging ----

    /// Whether a statement may be made where it stands, by what lies under it. Only that counts, so
    /// that all nodes judge alike.
    pub(crate) fn judge(&self, ground: &Ground<'_>, claim: &Claim<'_>) -> Result<(), Void> {
        let may = |roles: &[Role]| match self.ranks(ground.graph, claim, roles).next() {
            Some(_) => Ok(()),
            None => Err(Void::NotAllowed),
        };
        match claim.statement {
            // Its hash is the network's id: nothing else can be it, wherever it comes in the log.
            Statement::Found(_) if claim.hash.0 == ground.network.0 => Ok(()),
            Statement::Found(_) => Err(Void::SecondFounding),
            Statement::Invite(invite) => {
                may(&[Role::Admin])?;
                is_sound(invite).then_some(()).ok_or(Void::Malformed)
            }
            Statement::Admit(admit) => {
                may(&WRITERS)?;
                self.check_admit(ground, admit, claim.parents, claim.time)
                    .map_err(|_| Void::BadAdmission)
            }
            Statement::Change(_) => may(&WRITERS),
            Statement::Approval(it) if !it.is_sound() => Err(Void::Malformed),
            Statement::Approval(Approval::Approve(_)) => may(&[Role::Approver]),
            // Who may withdraw also depends on who proposed: see `Ledger::may`.
            Statement::Approval(_) => may(&WRITERS),
            // Only an admin takes a say away.
            Statement::Reservation(Reservation::Propose(it)) if it.dismiss.is_some() => {
                may(&[Role::Admin])
            }
            Statement::Reservation(_) => may(&WRITERS),
            Statement::Review(it) if !it.is_sound() => Err(Void::Malformed),
            Statement::Review(_) => may(&[Role::Admin]),
            Statement::Remove(remove) => self.check_remove(ground.graph, claim, remove),
            Statement::Succeed(succeed) => {
                may(&WRITERS)?;
                // One is enough: else one office could make itself as many as it likes.
                let good = !self.has_successor(ground.graph, &claim.author, claim.parents)
                    && !self.is_known_under(ground.graph, &succeed.office, claim.parents)
                    && succeed.is_proved(ground.network, &claim.author, ground.verifier);
                good.then_some(()).ok_or(Void::BadAdmission)
            }
        }
    }

    /// How senior the author is by each of its admissions under the entry that gives one of these roles.
    fn ranks(
        &self,
        graph: &Graph,
        claim: &Claim<'_>,
        roles: &[Role],
    ) -> impl Iterator<Item = Rank> {
        let admissions =
            self.known(&claim.author).into_iter().flat_map(|it| it.admissions.values());
        let gives = |it: &&Admission| it.roles.iter().any(|role| roles.contains(role));
        let under = |it: &&Admission| {
            graph.is_known_under(claim.branch, it.at) || graph.is_under(it.at, claim.parents)
        };
        admissions.filter(gives).filter(under).map(|it| it.rank)
    }

    /// Whether the author is an admin where it says this.
    pub(crate) fn is_admin(&self, graph: &Graph, claim: &Claim<'_>) -> bool {
        self.ranks(graph, claim, &[Role::Admin]).next().is_some()
    }

    /// How senior the author of a removal is: the most that an admission under it says.
    pub(crate) fn rank(&self, graph: &Graph, claim: &Claim<'_>) -> Option<Rank> {
        self.ranks(graph, claim, &[Role::Admin])
            .min()
            .or_else(|| self.ranks(graph, claim, &WRITERS).min())
    }

    fn check_remove(&self, graph: &Graph, claim: &Claim<'_>, remove: &Remove) -> Result<(), Void> {
        let is_admin = self.is_admin(graph, claim);
        if is_admin && remove.office == claim.author {
            // Two who left at once might leave nobody.
            return Err(Void::NotAllowed);
        }
        let author = self.known(&claim.author);
        let mut admissions = author.into_iter().flat_map(|it| it.admissions.values());
        // A new key may remove the old one, if all that the old one may is left to it.
        let of_old = self.known(&remove.office).into_iter().flat_map(|it| it.admissions.values());
        let roles: BTreeSet<Role> = of_old
            .filter(|it| graph.is_under(it.at, claim.parents))
            .flat_map(|it| it.roles.iter().copied())
            .collect();
        let own = remove.office == claim.author
            || admissions.any(|it| {
                it.predecessor == Some(remove.office)
                    && graph.is_under(it.at, claim.parents)
                    && roles.iter().all(|role| it.roles.contains(role))
            });
        let writes = || self.ranks(graph, claim, &WRITERS).next().is_some();
        if !(is_admin || own && writes()) {
            return Err(Void::NotAllowed);
        }
        let known = self.is_known_under(graph, &remove.office, claim.parents);
        known.then_some(()).ok_or(Void::NoEffect)
    }

    /// Whether an office goes on under a new key by something under these.
    pub(crate) fn has_successor(
        &self,
        graph: &Graph,
        office: &OfficeId,
        parents: &[Index],
    ) -> bool {
        self.members.iter().chain(&self.removed).any(|(id, other)| {
            let mut admissions = other.admissions.values();
            admissions.any(|it| it.predecessor == Some(*office) && graph.is_under(it.at, parents))
                && !self.is_removed_under(graph, id, parents)
        })
    }

    /// Whether an office was admitted by something under these.
    fn is_known_under(&self, graph: &Graph, office: &OfficeId, parents: &[Index]) -> bool {
        let mut admissions = self.known(office).into_iter().flat_map(Member::admissions);
        admissions.any(|at| graph.is_under(at, parents))
    }

    /// Whether an office was removed by something under these.
    fn is_removed_under(&self, graph: &Graph, office: &OfficeId, parents: &[Index]) -> bool {
        let removed = self.removed.get(office);
        let mut removals = removed.into_iter().flat_map(|it| it.removals.values());
        removals.any(|removal| graph.is_under(removal.at, parents))
    }

    /// The admissions of an entry's author that lie under it: asked again for each entry of its log.
    /// The admins, as others knew them first, who may have said something that doesn't lie over this: all but those who
    /// were admitted by what does.
    pub(crate) fn admins_beside(&self, graph: &Graph, at: Index) -> BTreeSet<OfficeId> {
        let tips: Vec<Index> = graph.tips().collect();
        let is_beside =
            |it: &Admission| it.roles.contains(&Role::Admin) && !graph.is_under(at, &[it.at]);
        let beside = self.members.iter().filter(|(_, it)| it.admissions.values().any(is_beside));
        beside.map(|(office, _)| self.origin(graph, *office, &tips)).collect()
    }

    pub(crate) fn admissions_under(
        &self,
        graph: &Graph,
        author: &OfficeId,
        branch: Option<u32>,
        parents: &[Index],
    ) -> Vec<Index> {
        let admissions = self.known(author).into_iter().flat_map(Member::admissions);
        let new = admissions.filter(|at| !graph.is_known_under(branch, *at));
        new.filter(|at| graph.is_under(*at, parents)).collect()
    }

    /// Whether an entry on top of these, written at this time, may admit: its ticket must be known and
    /// unused under it, and not expired, and whoever made it not removed. Uses of one ticket that don't know
    /// of each other all count, as nobody could order them without taking a member away again; people
    /// are shown.
    pub(crate) fn check_admit(
        &self,
        ground: &Ground<'_>,
        admit: &Admit,
        parents: &[Index],
        time: i64,
    ) -> Result<(), TicketFault> {
        let graph = ground.graph;
        let ticket = self.tickets.get(&admit.ticket).ok_or(TicketFault::Unknown)?;
        let promise = ticket.promise_under(graph, parents).ok_or(TicketFault::Unknown)?;
        if time > promise.invite.expires {
            return Err(TicketFault::Expired);
        }
        if ticket.used_at.iter().any(|used| graph.is_under(*used, parents)) {
            return Err(TicketFault::Used);
        }
        if self.is_removed_under(graph, &promise.by, parents) {
            return Err(TicketFault::Revoked);
        }
        if !admit.is_proved(ground.network, ground.verifier) {
            return Err(TicketFault::NotProved);
        }
        if self.is_removed_under(graph, &admit.office, parents) {
            return Err(TicketFault::Removed);
        }
        // Another ticket gives a member nothing, and nobody may take a role away by handing one in.
        if self.is_known_under(graph, &admit.office, parents) {
            return Err(TicketFault::Member);
        }
        Ok(())
    }

    // ---- Folding ----

    /// Lets a statement that was found good take effect.
    pub(crate) fn fold(&mut self, graph: &Graph, claim: &Claim<'_>, at: Index) {
        match claim.statement {
            Statement::Found(found) => self.found(claim, found, at),
            Statement::Invite(invite) => self.invite(graph, claim, invite, at),
            Statement::Admit(admit) => self.admit(graph, claim, admit, at),
            Statement::Remove(remove) => self.remove(claim, remove, at),
            Statement::Succeed(succeed) => self.succeed(graph, claim, succeed, at),
            Statement::Change(_)
            | Statement::Approval(_)
            | Statement::Review(_)
            | Statement::Reservation(_) => {}
        }
    }

    /// Whether the author is an approver where it says this.
    pub(crate) fn is_approver(&self, graph: &Graph, claim: &Claim<'_>) -> bool {
        self.ranks(graph, claim, &[Role::Approver]).next().is_some()
    }

    /// Notes whom a statement would admit, even if it counts for nothing.
    pub(crate) fn name(&mut self, office: OfficeId) {
        self.named.insert(office);
    }

    fn office(&mut self, office: OfficeId) -> &mut Member {
        match self.removed.get_mut(&office) {
            Some(removed) => removed,
            None => self.members.entry(office).or_default(),
        }
    }

    fn found(&mut self, claim: &Claim<'_>, found: &Found, at: Index) {
        self.named.insert(claim.author);
        let roles = vec![Role::Admin, Role::Approver, Role::Office];
        let rank = Rank { depth: 0, time: claim.time, invite: claim.hash };
        let admission = Admission { at, name: found.name.clone(), roles, rank, predecessor: None };
        self.office(claim.author).add(claim.hash, admission);
    }

    fn invite(&mut self, graph: &Graph, claim: &Claim<'_>, invite: &Invite, at: Index) {
        let Some(inviter) = self.ranks(graph, claim, &[Role::Admin]).min() else { return };
        let rank = Rank { depth: inviter.depth + 1, time: claim.time, invite: claim.hash };
        let promise = Promise { at, by: claim.author, rank, invite: invite.clone() };
        self.tickets.entry(invite.ticket).or_default().invites.insert(claim.hash, promise);
    }

    fn admit(&mut self, graph: &Graph, claim: &Claim<'_>, admit: &Admit, at: Index) {
        let Some(ticket) = self.tickets.get_mut(&admit.ticket) else { return };
        let Some(promise) = ticket.promise_under(graph, claim.parents).cloned() else { return };
        ticket.used_by.insert(admit.office);
        ticket.used_at.push(at);
        let shared =
            if ticket.used_by.len() > 1 { ticket.used_by.clone() } else { BTreeSet::new() };
        let Invite { name, roles, .. } = promise.invite;
        let admission = Admission { at, name, roles, rank: promise.rank, predecessor: None };
        self.office(admit.office).add(claim.hash, admission);
        for office in shared {
            self.office(office).shared_ticket = true;
        }
    }

    fn remove(&mut self, claim: &Claim<'_>, remove: &Remove, at: Index) {
        let removal = Removal { at, by: claim.author, time: claim.time };
        // Even if what admitted it counts for nothing: something that comes later may admit it as well.
        let member = self.members.remove(&remove.office).unwrap_or_default();
        let removed = self.removed.entry(remove.office).or_insert(member);
        removed.removals.insert(claim.hash, removal);
    }

    fn succeed(&mut self, graph: &Graph, claim: &Claim<'_>, succeed: &Succeed, at: Index) {
        let Some(rank) = self.rank(graph, claim) else { return };
        let Some(member) = self.known(&claim.author) else { return };
        let under: Vec<&Admission> =
            member.admissions.values().filter(|it| graph.is_under(it.at, claim.parents)).collect();
        let name = under.first().map(|first| first.name.clone()).unwrap_or_default();
        let roles: BTreeSet<Role> = under.iter().flat_map(|it| it.roles.iter().copied()).collect();
        let roles = roles.into_iter().collect();
        let admission = Admission { at, name, roles, rank, predecessor: Some(claim.author) };
        self.office(succeed.office).add(claim.hash, admission);
    }

    // ---- Tickets ----

    /// Whether this office was admitted with this ticket.
    pub(crate) fn is_used_by(&self, ticket: &TicketId, office: &OfficeId) -> bool {
        self.tickets.get(ticket).is_some_and(|ticket| ticket.used_by.contains(office))
    }

    /// Tickets that someone may still come with. Used ones stay for whoever used them, whose first
    /// answer may have been lost.
    pub(crate) fn open_tickets(&self, now: i64) -> BTreeSet<TicketId> {
        let open = |promise: &Promise| {
            promise.invite.expires >= now && !self.removed.contains_key(&promise.by)
        };
        self.tickets
            .iter()
            .filter(|(_, ticket)| ticket.invites.values().any(open))
            .map(|(id, _)| *id)
            .collect()
    }
}

impl TicketState {
    fn promise_under(&self, graph: &Graph, parents: &[Index]) -> Option<&Promise> {
        self.invites.values().find(|promise| graph.is_under(promise.at, parents))
    }
}

/// A statement and where it stands.
pub(crate) struct Claim<'a> {
    pub(crate) author: OfficeId,
    pub(crate) hash: EntryHash,
    /// The branch that its entry makes longer, if it does.
    pub(crate) branch: Option<u32>,
    pub(crate) parents: &'a [Index],
    pub(crate) time: i64,
    pub(crate) statement: &'a Statement,
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
    Revoked,
    NotProved,
    Member,
    Removed,
}

impl TicketFault {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "no admin of this network has made it",
            Self::Expired => "it has expired",
            Self::Used => "it has been used",
            Self::Revoked => "the admin who made it was removed since",
            Self::Member => "its holder is a member already",
            Self::Removed => {
                "its holder was removed from the network: to come back, join with a new folder, and so a new key"
            }
            Self::NotProved => "its key did not sign the request",
        }
    }
}
