//! What a node answers about resources and bookings. Who holds follows from the entries that are held; what is settled
//! also from which acknowledgements were heard.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::json;

use super::{name, title};
use crate::booking::{Docket, Key, OPEN_MAX, Settled, Span, State, Why, cover};
use crate::command::{
    BookingState, BookingView, BookingsQuery, ChoiceView, ConflictKind, ConflictView, FreeView,
    ProposalView, ResourceView, StakeholderView, WinnerView,
};
use crate::conflict;
use crate::gossip::Gossip;
use crate::graph::Index;
use crate::ids::{OfficeId, ResourceId};
use crate::ledger::Ledger;
use crate::notice::{SignedNotice, Topic};

/// Most bookings on one page.
pub(crate) const BOOKINGS_MAX: usize = 1000;
/// How many winners, and how many free times, a displaced booking names.
const NAMED_MAX: usize = 3;
/// How far ahead free times are looked for: a quarter of a year.
const AHEAD: i64 = 92 * 86_400;

/// What the offices are known to hold that have a say anywhere: true at an entry's index.
struct Covers<'a> {
    ledger: &'a Ledger,
    gossip: &'a Gossip,
    own: OfficeId,
    known: BTreeMap<OfficeId, Vec<bool>>,
}

impl<'a> Covers<'a> {
    fn new(ledger: &'a Ledger, gossip: &'a Gossip) -> Self {
        Self { ledger, gossip, own: ledger.origin(), known: BTreeMap::new() }
    }

    /// How far the bookings of a resource are settled.
    fn settled(&mut self, docket: &Docket) -> Settled {
        let Self { ledger, gossip, own, known } = self;
        let admins = |at: Index| ledger.roster.admins_beside(&ledger.graph, at);
        let proposals = || docket.stakes.proposals.iter();
        let added = proposals().filter_map(|it| it.add);
        let knowing = proposals().filter(|it| it.is_alone()).flat_map(|it| admins(it.place.at));
        for office in docket.stakes.founders.iter().copied().chain(added).chain(knowing) {
            known.entry(office).or_insert_with(|| {
                let acknowledged = |key: &OfficeId| {
                    let said = gossip.board.about(key, Topic::Acknowledgement);
                    said.and_then(SignedNotice::acknowledgement)
                };
                cover(&ledger.graph, &ledger.roster.keys(&office), acknowledged)
            });
        }
        // What we answer is on our disk before anyone hears it: that is our acknowledgement.
        let covers = |office: &OfficeId, at: Index| {
            office == own || known.get(office).is_some_and(|it| it[at as usize])
        };
        docket.settled(&covers, &admins)
    }
}

pub(crate) fn resource(ledger: &Ledger, id: &ResourceId) -> Option<ResourceView> {
    ledger.bookings.docket(id).map(|docket| resource_view(ledger, docket))
}

/// All resources, by name.
pub(crate) fn resources(ledger: &Ledger) -> Vec<ResourceView> {
    let mut all: Vec<ResourceView> =
        ledger.bookings.dockets().map(|docket| resource_view(ledger, docket)).collect();
    all.sort_by(|a, b| (&a.description.name, a.id).cmp(&(&b.description.name, b.id)));
    all
}

fn resource_view(ledger: &Ledger, docket: &Docket) -> ResourceView {
    let members = docket.members();
    let stakeholder = |office: &OfficeId| {
        let mut keys = ledger.roster.keys(office).into_iter();
        let member = keys.any(|key| ledger.roster.member(&key).is_some());
        StakeholderView { office: *office, name: name(ledger, office), member }
    };
    let open = docket.stakes.proposals.iter().filter(|it| !it.is_complete());
    let proposals = open.map(|it| {
        let has_said = |office: &&OfficeId| it.consents.iter().any(|by| by.office == **office);
        let waits_for = it.required.iter().filter(|office| !has_said(office)).copied().collect();
        ProposalView { id: it.hash, add: it.add, dismiss: it.dismiss, waits_for }
    });
    // They lie in the order in which they came, which differs between nodes.
    let mut proposals: Vec<ProposalView> = proposals.collect();
    proposals.sort_by_key(|it| it.id);
    ResourceView {
        id: docket.id,
        description: docket.description.clone(),
        stakeholders: members.iter().map(stakeholder).collect(),
        proposals,
    }
}

/// A page of bookings, and whether there are more.
pub(crate) fn bookings(
    ledger: &Ledger,
    gossip: &Gossip,
    only: Option<ResourceId>,
    query: &BookingsQuery,
) -> (Vec<BookingView>, bool) {
    let limit = query.limit.clamp(1, BOOKINGS_MAX);
    let mut covers = Covers::new(ledger, gossip);
    let mut page = Vec::new();
    let dockets = ledger.bookings.dockets().filter(|it| only.is_none_or(|only| only == it.id));
    for docket in dockets {
        let settled = covers.settled(docket);
        let is_wanted = |key: &Key| {
            let slot = docket.slot(*key);
            let uid = &docket.book(key.book).uid;
            query.uid.as_ref().is_none_or(|it| it == uid)
                && query.from.is_none_or(|from| slot.end > from)
                && query.to.is_none_or(|to| slot.start < to)
                && query.state.is_none_or(|it| it == state(docket, &settled, *key))
        };
        let mut keys: Vec<Key> = keys(docket, query.uid.as_deref()).filter(is_wanted).collect();
        keys.sort_by_key(|key| (docket.slot(*key), docket.id(*key)));
        for key in keys {
            if page.len() == limit {
                return (page, true);
            }
            page.push(booking(ledger, docket, &settled, key));
        }
    }
    (page, false)
}

/// The states of the bookings of events; those that were given up are left out.
pub(crate) fn states<'a>(
    ledger: &Ledger,
    gossip: &Gossip,
    uids: impl Iterator<Item = &'a String> + Clone,
) -> BTreeMap<&'a str, BTreeSet<BookingState>> {
    let mut covers = Covers::new(ledger, gossip);
    let mut states: BTreeMap<&str, BTreeSet<BookingState>> = BTreeMap::new();
    for docket in ledger.bookings.dockets() {
        let mut settled = None;
        for uid in uids.clone() {
            for key in keys(docket, Some(uid)) {
                let settled = settled.get_or_insert_with(|| covers.settled(docket));
                let state = state(docket, settled, key);
                if state != BookingState::Cancelled {
                    states.entry(uid).or_default().insert(state);
                }
            }
        }
    }
    states
}

fn keys<'a>(docket: &'a Docket, uid: Option<&str>) -> impl Iterator<Item = Key> + use<'a> {
    let books: Vec<u32> = match uid {
        Some(uid) => docket.of_event(uid).collect(),
        None => (0..docket.books().len() as u32).collect(),
    };
    books.into_iter().flat_map(|book| docket.keys(book))
}

fn state(docket: &Docket, settled: &Settled, key: Key) -> BookingState {
    if docket.is_given_up(key) {
        return BookingState::Cancelled;
    }
    match docket.held().claims.get(&key).map(|it| it.state) {
        Some(State::Held(_)) if docket.is_settled(settled, key) => BookingState::Settled,
        Some(State::Held(_)) | None => BookingState::Tentative,
        Some(State::Waits | State::Out(_)) => BookingState::Displaced,
        Some(State::Released) => BookingState::Cancelled,
    }
}

fn booking(ledger: &Ledger, docket: &Docket, settled: &Settled, key: Key) -> BookingView {
    let booked = docket.book(key.book);
    let slot = docket.slot(key);
    let state = state(docket, settled, key);
    let granted = docket.counts(booked);
    let waits_for = match state {
        BookingState::Tentative if !granted => docket.members(),
        BookingState::Tentative => settled.waits_for.clone(),
        _ => BTreeSet::new(),
    };
    let (mut displaced_by, mut reason, mut next_free) = (Vec::new(), String::new(), Vec::new());
    if state == BookingState::Displaced {
        displaced_by = winners(ledger, docket, key);
        reason = why(ledger, docket, key);
        next_free = fits(docket, docket.span(key));
    }
    BookingView {
        id: id(docket, key),
        resource: docket.id,
        resource_name: docket.description.name.clone(),
        uid: booked.uid.clone(),
        title: title(ledger, &booked.uid),
        occurrence: slot.occurrence.clone(),
        start: utc(slot.start),
        end: utc(slot.end),
        office: booked.author,
        name: name(ledger, &booked.author),
        entry: booked.hash,
        state,
        granted,
        waits_for: waits_for.into_iter().collect(),
        displaced_by,
        reason,
        next_free,
    }
}

pub(crate) fn id(docket: &Docket, key: Key) -> String {
    let claim = docket.id(key);
    conflict::id(&claim.entry.to_string(), &claim.slot.to_string())
}

/// Who holds a time that a claim wants, first those who came first.
fn holders(docket: &Docket, key: Key) -> Vec<(Key, Span)> {
    let Some(claimed) = docket.held().claims.get(&key) else { return Vec::new() };
    let mut holders: Vec<(Key, Span)> = docket.held().holding.overlapping(claimed.span).collect();
    holders.sort_by_key(|it| docket.held().claims[&it.0].at);
    holders.truncate(NAMED_MAX);
    holders
}

fn winners(ledger: &Ledger, docket: &Docket, key: Key) -> Vec<WinnerView> {
    let winner = |(key, span): (Key, Span)| {
        let booked = docket.book(key.book);
        WinnerView {
            uid: booked.uid.clone(),
            office: booked.author,
            name: name(ledger, &booked.author),
            entry: booked.hash,
            start: utc(span.start),
            end: utc(span.end),
        }
    };
    holders(docket, key).into_iter().map(winner).collect()
}

fn why(ledger: &Ledger, docket: &Docket, key: Key) -> String {
    let Some(claimed) = docket.held().claims.get(&key) else { return String::new() };
    match claimed.state {
        State::Waits => {
            let place = docket.entry_at(claimed.at);
            let under = |at: u32| {
                let other = docket.entry_at(at);
                other.zip(place).is_some_and(|(it, of)| ledger.graph.is_under(it.at, &[of.at]))
            };
            let mut holders = holders(docket, key).into_iter();
            let knew = holders.any(|(it, _)| under(docket.held().claims[&it].at));
            match knew {
                true => "the time was booked before; it gets it if it becomes free".into(),
                false => "it was booked elsewhere at the same time, and that office comes first on this \
                          day; it gets it if it becomes free"
                    .into(),
            }
        }
        State::Out(Why::TooMany) => {
            format!("its office has {OPEN_MAX} bookings of this resource, which is the most")
        }
        State::Out(Why::Crowded) => "too many wait for this time already; book another one".into(),
        State::Out(Why::Fork) => {
            "its office wrote two histories (a copied or restored disk); it has to book again".into()
        }
        State::Out(Why::Void) => {
            "its office lost its say in the resource before others knew of the booking; it has to book \
             again"
                .into()
        }
        State::Held(_) | State::Released => String::new(),
    }
}

/// Where a booking of this length fits next.
fn fits(docket: &Docket, span: Span) -> Vec<FreeView> {
    let length = span.end - span.start;
    let ahead = Span { start: span.start, end: span.end + AHEAD };
    let free = docket.held().free(ahead).into_iter().filter(|it| it.end - it.start >= length);
    free.take(NAMED_MAX)
        .map(|it| FreeView { start: utc(it.start), end: utc(it.start + length) })
        .collect()
}

pub(crate) fn free_view(span: &Span) -> FreeView {
    FreeView { start: utc(span.start), end: utc(span.end) }
}

/// A displaced booking as a conflict: who holds the time comes first, who wants it last.
pub(crate) fn displaced(ledger: &Ledger, docket: &Docket, key: Key) -> ConflictView {
    let resource = &docket.description.name;
    let value = |of: Key| {
        let booked = docket.book(of.book);
        let span = docket.span(of);
        let value = json!({
            "title": title(ledger, &booked.uid), "uid": booked.uid,
            "start": utc(span.start), "end": utc(span.end),
        });
        let what = if of == key { "displaced" } else { "holds the time" };
        ledger.conflict_value(booked.place.at, value, what)
    };
    let sides = holders(docket, key).into_iter().map(|it| it.0).chain([key]);
    let booked = docket.book(key.book);
    let name = name(ledger, &booked.author);
    let mut choices = Vec::new();
    if ledger.can_move(docket, key) {
        choices.extend(fits(docket, docket.span(key)).into_iter().map(|free| ChoiceView {
            does: format!("{name} moves the event there, and books {resource} for it (for {name})"),
            keep: json!(free.start),
        }));
    }
    choices.push(ChoiceView {
        keep: json!("cancel"),
        does: format!(
            "{resource} is given up for this time; the event stays (for {name}, and who has a say in \
             {resource})"
        ),
    });
    ConflictView {
        id: id(docket, key),
        kind: ConflictKind::Booking,
        problem: format!("{resource}: {}", why(ledger, docket, key)),
        title: title(ledger, &booked.uid),
        uid: booked.uid.clone(),
        path: String::new(),
        values: sides.map(value).collect(),
        choices,
    }
}

fn utc(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}
