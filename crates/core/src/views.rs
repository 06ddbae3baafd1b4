//! What a node answers: events, conflicts, members, status. Pure functions of the ledger and of who is
//! linked, so that equal frontiers give equal answers.

pub(crate) mod bookings;
pub(crate) mod reach;

use std::collections::BTreeSet;

use automerge::ObjId as ExId;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::collection::is_calendar;
use crate::command::{
    Deliveries, EventView, EventsQuery, FormerMemberView, MemberView, Object, SignatureView,
    StatusView, WrittenView,
};
use crate::event;
use crate::gossip::Gossip;
use crate::graph::{Index, Node};
use crate::ids::OfficeId;
use crate::ledger::Ledger;
use crate::notice::{SignedNotice, Topic};
use crate::roster::Member;

/// Most events on one page.
pub(crate) const PAGE_MAX: usize = 1000;

/// An event as it stands; what is staged for it must have been applied.
pub(crate) fn event(ledger: &Ledger, uid: &str) -> Option<EventView> {
    let fields = ledger.document.fields(uid)?;
    let latest = fields.values().map(|(_, id)| id).max();
    let updated = latest.and_then(|id| time_of(ledger, id));
    // The map that was made first: the same on every node that knows it.
    let first = ledger.document.maps(uid, None).into_iter().next();
    let created = first.and_then(|id| time_of(ledger, &id));
    let flat: event::Flat = fields.into_iter().map(|(path, (leaf, _))| (path, leaf)).collect();
    let mut event = event::unflatten(&flat);
    let updated = updated.or(created).unwrap_or(0);
    complete(&mut event, uid, created.map(utc), updated);
    Some(EventView { uid: uid.to_owned(), etag: event::etag(&event), event })
}

/// Adds the members that are derived from the log: an event's uid and when it was made and changed.
pub(crate) fn complete(event: &mut Object, uid: &str, created: Option<Value>, updated: i64) {
    event.insert("uid".into(), json!(uid));
    event.insert("created".into(), created.unwrap_or_else(|| utc(updated)));
    event.insert("updated".into(), utc(updated));
}

/// An event's title, for people.
pub(crate) fn title(ledger: &Ledger, uid: &str) -> String {
    let maps = ledger.document.maps(uid, None);
    let title = ledger.document.values(&maps, "title").pop();
    title.and_then(|(leaf, _)| Some(leaf.to_json().as_str()?.to_owned())).unwrap_or_default()
}

/// A UTCDateTime of RFC 8984, in whole seconds.
fn utc(millis: i64) -> Value {
    let seconds = Timestamp::from_second(millis.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH);
    json!(seconds.to_string())
}

fn node_of<'a>(ledger: &'a Ledger, id: &ExId) -> Option<&'a Node> {
    ledger.graph.by_change(&ledger.document.change_of(id)?)
}

fn time_of(ledger: &Ledger, id: &ExId) -> Option<i64> {
    node_of(ledger, id).map(|node| node.time)
}

/// A page of events by uid, and whether there are more.
pub(crate) fn events(ledger: &Ledger, query: &EventsQuery) -> (Vec<EventView>, bool) {
    let parse = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    let (from, to) = (parse(&query.from), parse(&query.to));
    let limit = query.limit.clamp(1, PAGE_MAX);
    let mut page = Vec::new();
    for uid in ledger.document.uids() {
        if is_calendar(&uid) || query.after.as_ref().is_some_and(|after| uid <= *after) {
            continue;
        }
        let Some(view) = event(ledger, &uid) else { continue };
        if from.is_some() || to.is_some() {
            let Some((start, end)) = event::local_span(&view.event) else { continue };
            let over = from.is_some_and(|from| end <= from && start < from);
            if over || to.is_some_and(|to| start >= to) {
                continue;
            }
        }
        if page.len() == limit {
            return (page, true);
        }
        page.push(view);
    }
    (page, false)
}

/// The latest edits of an event by when they were written, and whether there are more; none if there is no such event.
pub(crate) fn history(
    ledger: &Ledger,
    uid: &str,
    limit: usize,
) -> Option<(Vec<WrittenView>, bool)> {
    let all = ledger.history_of(uid);
    let first = all.len().saturating_sub(limit.clamp(1, PAGE_MAX));
    let edits = all[first..].iter().map(|at| {
        let node = ledger.graph.node(*at);
        let own = node.change.map(|(change, _)| change);
        // As it was right after this entry: what the entry wrote shows in that.
        let fields = ledger.document.fields_at(uid, &ledger.changes_under(&[*at]));
        let fields = fields.unwrap_or_default().into_iter();
        let fields = fields.filter(|(_, (_, id))| ledger.document.change_of(id) == own);
        WrittenView {
            by: signature(ledger, ledger.graph.log_of(node).author, node),
            fields: fields.map(|(path, _)| path).collect(),
        }
    });
    let mut edits: Vec<WrittenView> = edits.collect();
    // Nodes hold entries in the order in which they came.
    edits.sort_by_key(|it| (it.by.time, it.by.entry));
    (!edits.is_empty()).then_some((edits, first > 0))
}

/// Who wrote an entry.
pub(crate) fn signature(ledger: &Ledger, office: OfficeId, node: &Node) -> SignatureView {
    SignatureView {
        office,
        name: name(ledger, &office),
        person: node.person.as_deref().map(str::to_owned),
        time: node.time,
        entry: node.hash,
    }
}

pub(crate) fn name(ledger: &Ledger, office: &OfficeId) -> String {
    ledger.roster.known(office).map(|member| member.name.clone()).unwrap_or_default()
}

/// Those who were members, by their keys.
pub(crate) fn former_members(ledger: &Ledger) -> Vec<FormerMemberView> {
    let former = ledger.roster.removed().iter().filter_map(|(office, member)| {
        member.admissions().next()?;
        let removal = member.removal()?;
        Some(FormerMemberView {
            office: *office,
            name: member.name.clone(),
            roles: member.roles.clone(),
            removed_by: removal.by,
            removed_by_name: name(ledger, &removal.by),
            removed: removal.time,
            cut: ledger.cut_of(office),
        })
    });
    former.collect()
}

/// How an office came to be no member, in a sentence for people.
pub(crate) fn was_removed(ledger: &Ledger, member: &Member) -> String {
    let Some(removal) = member.removal() else { return String::new() };
    let when = utc(removal.time);
    let when = when.as_str().unwrap_or_default();
    let (who, by) = (&member.name, name(ledger, &removal.by));
    format!(
        "{who} was removed from the network by {by} on {when}; to come back it needs a new ticket, and a \
         new folder to join in"
    )
}

pub(crate) fn members(ledger: &mut Ledger, gossip: &Gossip, wall: i64) -> Vec<MemberView> {
    let digest = ledger.graph.digest();
    let heads: BTreeSet<_> = ledger.graph.heads().into_iter().collect();
    let own = ledger.office();
    let ledger = &*ledger;
    let mut known: Vec<(BTreeSet<Index>, u64)> = Vec::new();
    let mut behind = |acked: BTreeSet<Index>| {
        // Offices at the same heads are as far behind as each other: walk once.
        if let Some((_, count)) = known.iter().find(|(heads, _)| *heads == acked) {
            return *count;
        }
        let under = ledger.graph.under(&acked.iter().copied().collect::<Vec<_>>());
        let count = under.iter().filter(|under| !**under).count() as u64;
        known.push((acked, count));
        count
    };
    ledger
        .roster
        .members()
        .iter()
        .map(|(office, member)| {
            let this = *office == own;
            let ack = gossip
                .board
                .about(office, Topic::Acknowledgement)
                .and_then(SignedNotice::acknowledgement);
            let behind = match &ack {
                _ if this => 0,
                Some(ack)
                    if ack.digest == digest
                        || heads.iter().all(|head| ack.heads.contains(head)) =>
                {
                    0
                }
                Some(ack) => {
                    behind(ack.heads.iter().filter_map(|head| ledger.graph.index(head)).collect())
                }
                None => u64::from(ledger.graph.len()),
            };
            let presence =
                gossip.board.about(office, Topic::Presence).and_then(SignedNotice::presence);
            let (addresses, relay, version) = match presence {
                Some(it) => (it.addresses, it.relay, Some(it.version)),
                None => (Vec::new(), false, None),
            };
            MemberView {
                office: *office,
                name: member.name.clone(),
                roles: member.roles.clone(),
                this,
                connected: this || gossip.is_connected(office),
                acknowledged: behind == 0,
                behind,
                last_seen: if this { Some(wall) } else { gossip.last_seen(office) },
                addresses,
                relay,
                version,
                shared_ticket: member.shared_ticket,
            }
        })
        .collect()
}

pub(crate) fn status(
    ledger: &mut Ledger,
    gossip: &Gossip,
    wall: i64,
    deliveries: Deliveries,
) -> StatusView {
    let members = members(ledger, gossip, wall);
    let office = ledger.office();
    StatusView {
        office,
        name: name(ledger, &office),
        network: ledger.network,
        frontier: ledger.graph.digest(),
        events: ledger.document.events(),
        entries: u64::from(ledger.graph.len()),
        peers: gossip.peers().collect(),
        members,
        conflicts: ledger.conflicts_open(),
        deferred: ledger.graph.deferred,
        void: ledger.graph.void,
        forks: ledger.graph.forks().len() as u64,
        elsewhere: ledger.elsewhere,
        systems: reach::systems(ledger, gossip),
        deliveries,
    }
}
