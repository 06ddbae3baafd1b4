//! All about one resource: who has a say, what was booked and asked for, the order in which it counts, and what comes
//! of it.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::held::{Act, Held, State, Why};
use super::mutation::{Mutation, is};
use super::order::{Number, Order, Part};
use super::past::{Clock, Past, has};
use super::stakes::{Place, Proposal, Stakes};
use super::times::{Key, Span};
use crate::graph::Index;
use crate::ids::{EntryHash, OfficeId, ResourceId};
use crate::resource::{
    Book, CLAIMS_MAX, ClaimId, Define, Description, GRANTS_MAX, Reservation, Slot,
};

/// A booking, or the request for one.
#[derive(Clone, Debug)]
pub(crate) struct Booked {
    pub(crate) hash: EntryHash,
    pub(crate) place: Place,
    pub(crate) author: OfficeId,
    pub(crate) uid: String,
    pub(crate) slots: Box<[Slot]>,
    releases: Box<[Key]>,
    /// Which operations make it count: itself, or the grants.
    by: Vec<Number>,
}

/// An operation, besides what the order knows of it.
#[derive(Clone, Debug)]
struct Operation {
    author: OfficeId,
    place: Place,
    what: What,
    /// What lies under it, if its author had no say from the beginning.
    clock: Option<Clock>,
    /// Its claims, in the order of its parts.
    claims: Box<[Key]>,
    /// Its author signed another history beside it.
    forked: bool,
    /// It was dismissed with its author.
    void: bool,
}

#[derive(Clone, Debug)]
enum What {
    Describe(Box<Description>),
    /// Of the author's own.
    Book(u32),
    Grant(Box<[u32]>),
    /// A proposal, or consent to one.
    Stakes,
}

/// A resource with all that was said of it.
#[derive(Clone, Debug)]
pub(crate) struct Docket {
    pub(crate) id: ResourceId,
    pub(crate) defined: Place,
    pub(crate) description: Description,
    first: Description,
    pub(crate) stakes: Stakes,
    books: Vec<Booked>,
    by_hash: BTreeMap<EntryHash, u32>,
    by_uid: BTreeMap<String, Vec<u32>>,
    /// What their authors, or who has a say, gave up, granted or not.
    given_up: BTreeSet<Key>,
    operations: Vec<Operation>,
    /// Those that describe the resource.
    describes: Vec<Number>,
    order: Order,
    held: Held,
    /// An author's operations, by branch: to see histories side by side.
    histories: BTreeMap<OfficeId, BTreeMap<u32, Vec<Number>>>,
    /// Requests that nobody has granted.
    asked: BTreeSet<u32>,
    /// From here on it is to be done anew.
    stale_from: usize,
    /// Rises when who holds is found anew.
    pub(crate) revision: u64,
}

/// The part of an operation that comes before its claims, and where there are none.
const FIRST: i64 = i64::MIN;
const DAY: i64 = 86_400;

/// Most claims that a grant makes count.
const GRANTED_CLAIMS_MAX: usize = 4 * CLAIMS_MAX;
/// How often an office grants a request: more than once only where what it wrote before doesn't count, as it signed
/// two histories.
const GRANTED_TIMES_MAX: usize = 4;

impl Docket {
    pub(crate) fn new(
        id: ResourceId,
        defined: Place,
        define: &Define,
        founders: BTreeSet<OfficeId>,
    ) -> Self {
        let description = define.description.clone();
        Self {
            id,
            defined,
            first: description.clone(),
            held: Held::new(description.terms),
            description,
            stakes: Stakes { founders, proposals: Vec::new() },
            books: Vec::new(),
            by_hash: BTreeMap::new(),
            by_uid: BTreeMap::new(),
            given_up: BTreeSet::new(),
            operations: Vec::new(),
            describes: Vec::new(),
            order: Order::default(),
            histories: BTreeMap::new(),
            asked: BTreeSet::new(),
            stale_from: usize::MAX,
            revision: 0,
        }
    }

    /// Takes what an entry says of the resource. Counts are those of what lies under it alone.
    pub(crate) fn take(
        &mut self,
        said: &Reservation,
        author: OfficeId,
        hash: EntryHash,
        place: Place,
        past: &Past,
    ) {
        let clock = &past.clock;
        let members = self.stakes.members_under(clock);
        let has_say = members.contains(&author);
        let (what, claims) = match said {
            Reservation::Define(_) => return,
            Reservation::Describe(it) if has_say => {
                (What::Describe(Box::new(it.description.clone())), Vec::new())
            }
            Reservation::Book(it) => {
                let number = self.note(it, author, hash, place, has_say, past);
                if !has_say {
                    self.asked.insert(number);
                    return;
                }
                self.books[number as usize].by.push(self.operations.len() as Number);
                (What::Book(number), self.claims_of(&[number]))
            }
            Reservation::Grant(it) if has_say => {
                let requests = self.granted(&it.requests, &author, past);
                for request in &requests {
                    self.books[*request as usize].by.push(self.operations.len() as Number);
                    self.asked.remove(request);
                }
                let claims = self.claims_of(&requests);
                (What::Grant(requests.into()), claims)
            }
            Reservation::Propose(it) => {
                if self.stakes.propose(it, author, hash, place, clock).is_none() {
                    return;
                }
                (What::Stakes, Vec::new())
            }
            Reservation::Accept(it) if has_say => {
                if self.stakes.accept(it.proposal, author, place, clock).is_none() {
                    return;
                }
                (What::Stakes, Vec::new())
            }
            Reservation::Describe(_) | Reservation::Grant(_) | Reservation::Accept(_) => return,
        };
        self.operate(what, claims, author, hash, place, clock);
    }

    /// Which requests a grant makes count. Each office grants one a few times, and not too much at once, so that few
    /// bytes can't cost all nodes much memory.
    fn granted(&self, requests: &[EntryHash], author: &OfficeId, past: &Past) -> Vec<u32> {
        let mut granted = Vec::new();
        let mut claims = 0;
        for book in requests.iter().filter_map(|hash| self.by_hash.get(hash)) {
            let booked = &self.books[*book as usize];
            let good = past.has(booked.place.at)
                && self.may_grant(booked, author, |it| past.has(it.at))
                && !granted.contains(book)
                && claims + booked.slots.len() <= GRANTED_CLAIMS_MAX;
            if good {
                claims += booked.slots.len();
                granted.push(*book);
            }
        }
        granted
    }

    /// Whether a booking is a request that the office has not granted too often.
    fn may_grant(
        &self,
        booked: &Booked,
        office: &OfficeId,
        is_under: impl Fn(Place) -> bool,
    ) -> bool {
        let mut by = booked.by.iter().map(|number| &self.operations[*number as usize]);
        let granted = by.clone().filter(|it| it.author == *office && is_under(it.place));
        !by.any(|it| matches!(it.what, What::Book(_))) && granted.count() < GRANTED_TIMES_MAX
    }

    /// Whether there are requests that nobody has granted.
    pub(crate) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The requests that an office may grant next.
    pub(crate) fn next_grant(&self, office: &OfficeId) -> Vec<EntryHash> {
        let mut claims = 0;
        let fits = |book: &&Booked| {
            claims += book.slots.len();
            claims <= GRANTED_CLAIMS_MAX
        };
        let asked = self.asked.iter().map(|it| self.book(*it));
        let asked = asked.filter(|it| self.may_grant(it, office, |_| true));
        asked.take(GRANTS_MAX).take_while(fits).map(|it| it.hash).collect()
    }

    fn note(
        &mut self,
        book: &Book,
        author: OfficeId,
        hash: EntryHash,
        place: Place,
        has_say: bool,
        past: &Past,
    ) -> u32 {
        // Everyone gives up his own, and who has a say also what others have.
        let key = |id: &ClaimId| {
            let book = *self.by_hash.get(&id.entry)?;
            let other = &self.books[book as usize];
            let good = (id.slot as usize) < other.slots.len()
                && (has_say || other.author == author)
                && past.has(other.place.at);
            good.then_some(Key { book, slot: id.slot })
        };
        let releases: Box<[Key]> = book.releases.iter().filter_map(key).collect();
        self.given_up.extend(&releases);
        let (uid, slots) = (book.uid.clone(), book.claims.clone().into());
        let number = self.books.len() as u32;
        self.books.push(Booked { hash, place, author, uid, slots, releases, by: Vec::new() });
        self.by_hash.insert(hash, number);
        self.by_uid.entry(book.uid.clone()).or_default().push(number);
        number
    }

    /// The claims of bookings, each with the priority of its day.
    fn claims_of(&self, books: &[u32]) -> Vec<Key> {
        let slots = |book: &u32| 0..self.books[*book as usize].slots.len() as u32;
        books.iter().flat_map(|book| slots(book).map(|slot| Key { book: *book, slot })).collect()
    }

    fn operate(
        &mut self,
        what: What,
        claims: Vec<Key>,
        author: OfficeId,
        hash: EntryHash,
        place: Place,
        clock: &Clock,
    ) {
        // Priorities are those of days; there are few.
        let mut days: BTreeMap<i64, u64> = BTreeMap::new();
        let mut of_day =
            |day: i64| *days.entry(day).or_insert_with(|| priority(&self.id, day, &author));
        let mut claims: Vec<(u64, Key)> = claims
            .into_iter()
            .map(|key| (of_day(self.slot(key).start.div_euclid(DAY)), key))
            .collect();
        claims.sort_by_key(|it| it.0);
        let gives_up = |book: &u32| !self.books[*book as usize].releases.is_empty();
        let first = match &what {
            What::Describe(_) | What::Stakes => true,
            What::Book(book) => gives_up(book),
            What::Grant(books) => books.iter().any(gives_up),
        };
        let first = (first || claims.is_empty()).then(|| of_day(FIRST));
        let parts: Box<[u64]> = first.into_iter().chain(claims.iter().map(|it| it.0)).collect();
        let claims: Box<[Key]> = claims.into_iter().map(|it| it.1).collect();
        let number = self.order.add(place, hash, clock, parts);
        let late = !self.stakes.founders.contains(&author);
        let stakes = matches!(what, What::Stakes);
        let known = late.then(|| clock.clone());
        if matches!(what, What::Describe(_)) {
            self.describes.push(number);
        }
        let (forked, void) = (false, false);
        let operation = Operation { author, place, what, clock: known, claims, forked, void };
        self.operations.push(operation);
        self.note_history(number, author, place, clock);
        if stakes || self.stakes.proposals.iter().any(|it| it.dismiss.is_some()) {
            self.find_void(if stakes { 0 } else { number });
        }
    }

    /// Notes what its author wrote beside it, in another history: then none of that counts as one's word.
    fn note_history(&mut self, number: Number, author: OfficeId, place: Place, clock: &Clock) {
        let histories = self.histories.entry(author).or_default();
        let mut beside = Vec::new();
        for (branch, numbers) in histories.iter().filter(|it| *it.0 != place.branch) {
            let unknown = |it: &&Number| !has(clock, *branch, self.order.place(**it).at);
            beside.extend(numbers.iter().rev().take_while(unknown).copied());
        }
        histories.entry(place.branch).or_default().push(number);
        let itself = (!beside.is_empty()).then_some(number);
        beside.extend(itself);
        beside.retain(|it| !std::mem::replace(&mut self.operations[*it as usize].forked, true));
        for it in beside {
            self.change_from(it);
            self.ask_again(it);
        }
    }

    /// Finds what counts for nothing, as its author was dismissed.
    fn find_void(&mut self, from: Number) {
        for number in from..self.operations.len() as Number {
            let it = &self.operations[number as usize];
            let void = self.stakes.is_void(&it.author, it.place, it.clock.as_ref());
            if void != it.void {
                self.operations[number as usize].void = void;
                self.change_from(number);
                self.ask_again(number);
            }
        }
    }

    /// What a grant made count may have to be granted again.
    fn ask_again(&mut self, number: Number) {
        let What::Grant(books) = &self.operations[number as usize].what else { return };
        let open: Vec<u32> =
            books.iter().copied().filter(|it| !self.counts(self.book(*it))).collect();
        self.asked.extend(open);
    }

    /// What an operation does has changed.
    fn change_from(&mut self, number: Number) {
        if let Some(start) = self.order.start(number) {
            self.stale_from = self.stale_from.min(start as usize);
        }
    }

    // ---- What comes of it ----

    /// Makes sure that all operations have come to what they come to.
    pub(crate) fn refresh(&mut self) {
        if self.order.is_complete() && self.stale_from == usize::MAX {
            return;
        }
        let from = self.order.first_change().min(self.stale_from);
        self.stale_from = usize::MAX;
        self.revision += 1;
        while self.held.len() > from {
            self.held.undo();
            self.order.pop();
        }
        self.order.extend();
        for at in self.held.len()..self.order.sequence().len() {
            let Part { number, part } = self.order.sequence()[at];
            self.apply(number, part);
        }
        let counts = self.describes.iter().filter(|it| !self.operations[**it as usize].void);
        let last = counts.max_by_key(|it| self.order.end(**it));
        let last = last.and_then(|it| match &self.operations[*it as usize].what {
            What::Describe(it) => Some((**it).clone()),
            _ => None,
        });
        self.description = last.unwrap_or_else(|| self.first.clone());
    }

    fn apply(&mut self, number: Number, part: u32) {
        let Operation { what, claims, forked, void, .. } = &self.operations[number as usize];
        let parts = self.order.parts(number);
        let claim = (part as usize + claims.len()).checked_sub(parts);
        let Some(claim) = claim else {
            let keys = match what {
                _ if *void => Vec::new(),
                What::Describe(it) => return self.held.apply(&Act::Terms(it.terms)),
                What::Book(book) => self.releases(&[*book]),
                What::Grant(books) => self.releases(books),
                What::Stakes => Vec::new(),
            };
            return self.held.apply(&match keys[..] {
                [] => Act::Nothing,
                _ => Act::Release(&keys),
            });
        };
        let key = claims[claim];
        let (author, span) = (self.books[key.book as usize].author, self.span(key));
        let act = match what {
            What::Book(_) if *void => Act::Displace(key, author, span, Why::Void),
            What::Book(_) if *forked => Act::Displace(key, author, span, Why::Fork),
            // It can be granted again.
            What::Grant(_) if *void || *forked => Act::Nothing,
            _ => Act::Claim(key, author, span),
        };
        self.held.apply(&act);
    }

    fn releases(&self, books: &[u32]) -> Vec<(Key, OfficeId, Span)> {
        let keys = books.iter().flat_map(|book| &self.books[*book as usize].releases);
        keys.map(|key| (*key, self.books[key.book as usize].author, self.span(*key))).collect()
    }

    pub(crate) fn slot(&self, key: Key) -> &Slot {
        &self.books[key.book as usize].slots[key.slot as usize]
    }

    pub(crate) fn span(&self, key: Key) -> Span {
        let Slot { start, end, .. } = *self.slot(key);
        Span { start, end }
    }

    pub(crate) fn book(&self, number: u32) -> &Booked {
        &self.books[number as usize]
    }

    pub(crate) fn books(&self) -> &[Booked] {
        &self.books
    }

    /// The bookings of an event.
    pub(crate) fn of_event(&self, uid: &str) -> impl Iterator<Item = u32> {
        self.by_uid.get(uid).into_iter().flatten().copied()
    }

    /// The claims of a booking.
    pub(crate) fn keys(&self, book: u32) -> impl Iterator<Item = Key> + use<> {
        (0..self.book(book).slots.len() as u32).map(move |slot| Key { book, slot })
    }

    /// Whether a claim was given up, or is about to be.
    pub(crate) fn is_given_up(&self, key: Key) -> bool {
        self.given_up.contains(&key)
            || self.held.claims.get(&key).is_some_and(|it| it.state == State::Released)
    }

    /// The claims that others displace, and that nobody gave up.
    pub(crate) fn displaced(&self) -> impl Iterator<Item = Key> {
        let is_displaced = |state: State| matches!(state, State::Waits | State::Out(_));
        let all = self.held.claims.iter().filter(move |(_, it)| is_displaced(it.state));
        all.map(|(key, _)| key).filter(|key| !self.is_given_up(*key))
    }

    /// Whether a claim is displaced for good.
    pub(crate) fn is_out(&self, key: Key) -> bool {
        self.held.claims.get(&key).is_some_and(|it| matches!(it.state, State::Out(_)))
    }

    /// Whether somebody gave up an occurrence of an event without booking another time for it.
    pub(crate) fn was_given_up(&self, uid: &str, author: &OfficeId, occurrence: &str) -> bool {
        let gives_up = |key: Key| {
            let mut books = self.of_event(uid).map(|book| self.book(book));
            books.any(|book| book.slots.is_empty() && book.releases.contains(&key))
        };
        let claimed = self.of_event(uid).filter(|book| self.book(*book).author == *author);
        let mut keys = claimed.flat_map(|book| self.keys(book));
        keys.any(|key| self.slot(key).occurrence == occurrence && gives_up(key))
    }

    /// How a claim is named on every node.
    pub(crate) fn id(&self, key: Key) -> ClaimId {
        ClaimId { entry: self.book(key.book).hash, slot: key.slot }
    }

    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// Who has a say, by all that is held.
    pub(crate) fn members(&self) -> BTreeSet<OfficeId> {
        self.stakes.members_still(|_| true)
    }

    /// Whether an office was dismissed, for ever.
    pub(crate) fn was_dismissed(&self, office: &OfficeId) -> bool {
        let mut proposals = self.stakes.proposals.iter();
        proposals.any(|it| it.dismiss == Some(*office) && it.is_complete())
    }

    /// Whether a booking counts: its author had a say, or a stakeholder granted it.
    pub(crate) fn counts(&self, book: &Booked) -> bool {
        book.by.iter().any(|number| {
            let it = &self.operations[*number as usize];
            matches!(it.what, What::Book(_)) || !(it.void || it.forked)
        })
    }

    /// The operation by which a claim came up, or that decided it: where its entry is.
    pub(crate) fn entry_at(&self, position: u32) -> Option<Place> {
        let part = self.order.sequence().get(position as usize)?;
        Some(self.order.place(part.number))
    }

    // ---- What is final ----

    /// How far the sequence is final: nothing can come before its end any more, or change what comes there.
    /// `covers` says whether an office acknowledges an entry that is held here, and all that it wrote before is.
    ///
    /// That is so as far as everyone who has a say has acknowledged it *all*: whoever writes afterwards builds upon it.
    /// Where somebody took over alone, it takes as well that all `admins` acknowledge that, who might do the same.
    pub(crate) fn settled(
        &self,
        covers: &dyn Fn(&OfficeId, Index) -> bool,
        admins: &dyn Fn(Index) -> BTreeSet<OfficeId>,
    ) -> Settled {
        let sequence = self.order.sequence();
        // Of each office the first in the sequence that it doesn't cover.
        let limit = |office: &OfficeId| {
            let open = |it: &Part| {
                let operation = &self.operations[it.number as usize];
                !operation.void && !covers(office, operation.place.at)
            };
            sequence.iter().position(open).unwrap_or(sequence.len())
        };
        let of_founder = |office: &OfficeId| (*office, limit(office));
        let mut limits: BTreeMap<_, _> = self.stakes.founders.iter().map(of_founder).collect();
        let mut relieved = self.relieved(&limits, covers);
        let mut reached: BTreeSet<Place> = BTreeSet::new();
        let mut settled = Settled::default();
        for (at, it) in sequence.iter().enumerate() {
            let operation = &self.operations[it.number as usize];
            if matches!(operation.what, What::Stakes) {
                if !is(Mutation::NoAdmins) {
                    settled.waits_for.extend(self.unknown_to(operation.place, covers, admins));
                }
                reached.insert(operation.place);
                for office in self.stakes.members_still(|place| reached.contains(&place)) {
                    let is_late = is(Mutation::NewcomerTooLate)
                        && !self.operations.iter().any(|it| it.author == office);
                    if !is_late {
                        limits.entry(office).or_insert_with(|| limit(&office));
                    }
                }
                relieved = self.relieved(&limits, covers);
            }
            let waited = || limits.iter().filter(|it| !relieved.contains(it.0));
            settled.waits_for.extend(waited().filter(|it| *it.1 <= at).map(|it| *it.0));
            let is_at_risk = || {
                let waited = waited().map(|it| *it.0).collect();
                self.stakes.is_at_risk(&operation.author, operation.place, &waited)
            };
            let is_safe = operation.void || is(Mutation::NoRisk) || !is_at_risk();
            if !settled.waits_for.is_empty() || !is_safe {
                break;
            }
            settled.until = at + 1;
        }
        settled
    }

    /// Which admins have not acknowledged that somebody took over alone here.
    fn unknown_to(
        &self,
        place: Place,
        covers: &dyn Fn(&OfficeId, Index) -> bool,
        admins: &dyn Fn(Index) -> BTreeSet<OfficeId>,
    ) -> BTreeSet<OfficeId> {
        let mut proposals = self.stakes.proposals.iter();
        let Some(taken) = proposals.find(|it| it.place == place && it.is_alone()) else {
            return BTreeSet::new();
        };
        let mut admins = admins(place.at);
        admins.retain(|it| taken.dismiss != Some(*it) && !covers(it, place.at));
        admins
    }

    /// Whom nobody waits for any more: who was dismissed, if all others that are waited for know it.
    fn relieved(
        &self,
        waited: &BTreeMap<OfficeId, usize>,
        covers: &dyn Fn(&OfficeId, Index) -> bool,
    ) -> BTreeSet<OfficeId> {
        let complete = || {
            let complete = self.stakes.proposals.iter().filter(|it| it.is_complete());
            complete.filter_map(|it| Some((it, it.dismiss?)))
        };
        let gone: BTreeSet<OfficeId> = complete().map(|it| it.1).collect();
        let is_known = |proposal: &Proposal| {
            let mut others = waited.keys().filter(|it| !gone.contains(*it));
            others.all(|other| proposal.places().all(|it| covers(other, it.at)))
        };
        complete().filter(|(proposal, _)| is_known(proposal)).map(|it| it.1).collect()
    }

    /// Whether a claim is settled: it holds, and what decided that is final. (Its own operation comes before that.)
    pub(crate) fn is_settled(&self, settled: &Settled, key: Key) -> bool {
        self.held.claims.get(&key).is_some_and(|it| match it.state {
            State::Held(_) if is(Mutation::NoDecider) => (it.at as usize) < settled.until,
            State::Held(decider) => (decider as usize) < settled.until,
            State::Waits | State::Out(_) | State::Released => false,
        })
    }
}

/// See [`Docket::settled`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) until: usize,
    /// Whose acknowledgement is missing for what comes next.
    pub(crate) waits_for: BTreeSet<OfficeId>,
}

/// Who comes first of those that don't know of each other: nobody can choose it by what is in an entry, and no office
/// is first every day.
fn priority(resource: &ResourceId, day: i64, author: &OfficeId) -> u64 {
    let mut sha = Sha256::new();
    sha.update(b"fasti/priority/1\0");
    sha.update(resource.0);
    sha.update(day.to_be_bytes());
    sha.update(author.0);
    let hash: [u8; 32] = sha.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first)
}
