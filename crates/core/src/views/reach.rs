//! How far an event has come: which offices hold it, and which of their external systems confirmed it.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::{
    CommandError, OfficeReach, ReachView, SystemReach, SystemStatus, SystemView, UnconfirmedView,
};
use crate::gossip::Gossip;
use crate::graph::{Graph, Index};
use crate::ids::{EntryHash, OfficeId};
use crate::ledger::Ledger;
use crate::notice::{SignedNotice, Topic};
use crate::outbox::{self, Concern, System, Systems};
use crate::statement::Role;

/// All external systems, by office, as their offices say.
pub(crate) fn systems(ledger: &Ledger, gossip: &Gossip) -> Vec<SystemView> {
    let mut all = Vec::new();
    for (office, member) in ledger.roster.members() {
        let said = said(gossip, office).map_or_else(Vec::new, |it| it.systems);
        all.extend(said.into_iter().map(|it| SystemView {
            office: *office,
            office_name: member.name.clone(),
            unconfirmed_since: it.unconfirmed.iter().map(|it| it.1).min(),
            name: it.name,
            kind: it.kind,
            state: it.state,
            pending: it.pending,
            dead: it.dead,
        }));
    }
    all
}

fn said(gossip: &Gossip, office: &OfficeId) -> Option<Systems> {
    gossip.board.about(office, Topic::Systems).and_then(SignedNotice::systems)
}

/// What the systems of an office have not confirmed, as far as it says; and how many more there are.
pub(crate) fn unconfirmed(
    ledger: &Ledger,
    gossip: &Gossip,
    office: &str,
) -> Result<(Vec<UnconfirmedView>, u64), CommandError> {
    let mut members = ledger.roster.members().iter();
    let found = members.find(|(key, it)| it.name == office || key.to_string() == office);
    let (key, member) = found.ok_or_else(|| CommandError::UnknownMember(office.to_owned()))?;
    let systems = said(gossip, key).map_or_else(Vec::new, |it| it.systems);
    let named: BTreeSet<u64> =
        systems.iter().flat_map(|it| &it.unconfirmed).map(|it| it.0).collect();
    let mut uids = BTreeMap::new();
    if !named.is_empty() {
        let all = ledger.uids().map(|uid| (outbox::name_of(uid), uid));
        uids.extend(all.filter(|it| named.contains(&it.0)));
    }
    let (mut views, mut more) = (Vec::new(), 0);
    for it in systems {
        more += (it.pending + it.dead).saturating_sub(it.unconfirmed.len() as u64);
        views.extend(it.unconfirmed.iter().map(|(name, since)| UnconfirmedView {
            office: *key,
            office_name: member.name.clone(),
            system: it.name.clone(),
            state: it.state,
            uid: uids.get(name).map(|uid| (*uid).to_owned()),
            since: *since,
        }));
    }
    Ok((views, more))
}

/// Who holds an event as it stands here, and who confirmed it.
pub(crate) fn reach(ledger: &Ledger, gossip: &Gossip, uid: &str) -> Option<ReachView> {
    let concern = Concern::of(ledger, uid)?;
    let over = over(&ledger.graph, concern.entry);
    let own = ledger.office();
    let mut offices = Vec::new();
    for (office, member) in ledger.roster.members() {
        let acknowledged = gossip.board.about(office, Topic::Acknowledgement);
        let acknowledged = acknowledged.and_then(SignedNotice::acknowledgement);
        let wrote = ledger.graph.last_of(*office).any(|at| over[at as usize]);
        let holds = *office == own
            || wrote
            || acknowledged.is_some_and(|it| covers(&ledger.graph, &over, &it.heads));
        let status = said(gossip, office);
        let mut systems = Vec::new();
        for system in status.iter().flat_map(|it| &it.systems) {
            let heard = status.as_ref().is_some_and(|it| covers(&ledger.graph, &over, &it.heads));
            if concern.is_of(system) {
                systems.push(system_reach(system, heard, uid));
            }
        }
        offices.push(OfficeReach {
            office: *office,
            name: member.name.clone(),
            auditor: member.roles == [Role::Auditor],
            holds,
            systems,
            more_systems: status.map_or(0, |it| it.more),
        });
    }
    let all = || offices.iter().flat_map(|it| &it.systems);
    Some(ReachView {
        uid: uid.to_owned(),
        title: super::title(ledger, uid),
        entry: ledger.graph.node(concern.entry).hash,
        held_by: offices.iter().filter(|it| it.holds).count() as u64,
        confirmed_by: all().filter(|it| it.status == SystemStatus::Confirmed).count() as u64,
        systems: all().count() as u64,
        offices,
    })
}

fn system_reach(system: &System, heard: bool, uid: &str) -> SystemReach {
    let (status, since) = match (heard, system.unconfirmed(uid)) {
        (_, Some(Some(since))) => (SystemStatus::Pending, Some(since)),
        (false, _) | (true, Some(None)) => (SystemStatus::Unknown, None),
        (true, None) => (SystemStatus::Confirmed, None),
    };
    SystemReach {
        name: system.name.clone(),
        kind: system.kind.clone(),
        state: system.state,
        status,
        since,
    }
}

/// Which entries lie over this one, or are it.
fn over(graph: &Graph, entry: Index) -> Vec<bool> {
    let mut over = vec![false; graph.len() as usize];
    over[entry as usize] = true;
    for at in entry + 1..graph.len() {
        over[at as usize] = graph.node(at).parents.iter().any(|it| over[*it as usize]);
    }
    over
}

fn covers(graph: &Graph, over: &[bool], heads: &[EntryHash]) -> bool {
    heads.iter().filter_map(|it| graph.index(it)).any(|at| over[at as usize])
}
