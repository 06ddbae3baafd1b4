//! Who holds and who waits: what the operations on a resource come to, one after the other. Each step can be undone,
//! so that an operation that belongs further ahead costs what comes after it, and not all.

use std::collections::BTreeMap;

use super::mutation::{Mutation, is};
use super::times::{Key, Span, Times};
use crate::ids::OfficeId;
use crate::resource::Terms;

/// Most claims of one office that hold or wait on one resource, those of the past among them: 30 years of nine a day. So
/// that a member can't take a resource's time, and every node's memory, for ever.
pub(crate) const OPEN_MAX: u32 = 100_000;
/// Most claims that wait for overlapping times. Each is tried again whenever something frees its place.
pub(crate) const WAITING_MAX: usize = 64;

/// A place in the order.
pub(crate) type Position = u32;

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It has its time since the operation at this place: its own, or what freed its place.
    Held(Position),
    /// Others were there first; it is tried again when they go.
    Waits,
    /// It is displaced for good.
    Out(Why),
    /// It was given up.
    Released,
}

/// Why a claim is displaced for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its author has too many.
    TooMany,
    /// Too many wait for its time.
    Crowded,
    /// Its author signed two histories.
    Fork,
    /// Its author was dismissed by some who didn't know it.
    Void,
}

/// Who claims, numbered here: cheaper to keep and to count by than an office's id.
type Author = u32;

/// A claim that came up in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// Where.
    pub(crate) at: Position,
    author: Author,
    /// The time that it takes, with what it needs before and after.
    pub(crate) span: Span,
    capacity: u32,
    pub(crate) state: State,
}

/// Claims by their keys, which are places in lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(Vec<Vec<Option<Claimed>>>);

impl Claims {
    pub(crate) fn get(&self, key: &Key) -> Option<&Claimed> {
        self.0.get(key.book as usize)?.get(key.slot as usize)?.as_ref()
    }

    fn contains_key(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &Claimed)> {
        let numbered = |book: usize, slot: usize| Key { book: book as u32, slot: slot as u32 };
        self.0.iter().enumerate().flat_map(move |(book, slots)| {
            let slots = slots.iter().enumerate();
            slots.filter_map(move |(slot, it)| Some((numbered(book, slot), it.as_ref()?)))
        })
    }

    fn insert(&mut self, key: Key, claimed: Claimed) -> Option<Claimed> {
        let (book, slot) = (key.book as usize, key.slot as usize);
        if self.0.len() <= book {
            self.0.resize_with(book + 1, Vec::new);
        }
        let slots = &mut self.0[book];
        if slots.len() <= slot {
            slots.resize(slot + 1, None);
        }
        slots[slot].replace(claimed)
    }

    fn remove(&mut self, key: Key) -> Option<Claimed> {
        self.0.get_mut(key.book as usize)?.get_mut(key.slot as usize)?.take()
    }
}

impl std::ops::Index<&Key> for Claims {
    type Output = Claimed;

    fn index(&self, key: &Key) -> &Claimed {
        match self.get(key) {
            Some(claimed) => claimed,
            None => unreachable!("a claim that came up"),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) terms: Terms,
    pub(crate) claims: Claims,
    pub(crate) holding: Times,
    waiting: Times,
    authors: BTreeMap<OfficeId, Author>,
    /// Claims that hold or wait, by author.
    open: Vec<u32>,
    /// What each operation changed: how it was before.
    undo: Vec<Undo>,
    changes: Vec<(Key, Option<Claimed>)>,
}

/// Before an operation: how many changes there were, and the terms.
#[derive(Clone, Copy, Debug)]
struct Undo {
    changes: u32,
    terms: Terms,
}

/// What an operation's part does.
pub(crate) enum Act<'a> {
    /// Nothing.
    Nothing,
    /// Later claims have other terms.
    Terms(Terms),
    /// Claims are given up; one that has not come up yet never will.
    Release(&'a [(Key, OfficeId, Span)]),
    /// A time is claimed.
    Claim(Key, OfficeId, Span),
    /// A claim is displaced wherever it stands.
    Displace(Key, OfficeId, Span, Why),
}

impl Held {
    pub(crate) fn new(terms: Terms) -> Self {
        Self {
            terms,
            claims: Claims::default(),
            holding: Times::default(),
            waiting: Times::default(),
            authors: BTreeMap::new(),
            open: Vec::new(),
            undo: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// How many operations' parts it has taken.
    pub(crate) fn len(&self) -> usize {
        self.undo.len()
    }

    /// Takes the next one.
    pub(crate) fn apply(&mut self, act: &Act<'_>) {
        let at = self.undo.len() as Position;
        self.undo.push(Undo { changes: self.changes.len() as u32, terms: self.terms });
        match *act {
            Act::Nothing => {}
            Act::Terms(terms) => self.terms = terms,
            Act::Release(keys) => {
                for (key, author, span) in keys {
                    self.release(*key, *author, *span, at);
                }
            }
            Act::Claim(key, author, span) => self.claim(key, author, span, at),
            Act::Displace(key, author, span, why) => {
                if !self.claims.contains_key(&key) {
                    let author = self.author(author);
                    self.enter(key, author, span, at, State::Out(why));
                }
            }
        }
    }

    /// Undoes the last one.
    pub(crate) fn undo(&mut self) {
        let Some(Undo { changes, terms }) = self.undo.pop() else { return };
        self.terms = terms;
        while self.changes.len() > changes as usize
            && let Some((key, before)) = self.changes.pop()
        {
            self.put(key, before);
        }
    }

    /// A claim that came up before (two stakeholders granted it) stays where it is.
    fn claim(&mut self, key: Key, author: OfficeId, span: Span, at: Position) {
        if self.claims.contains_key(&key) {
            return;
        }
        let (author, taken) = (self.author(author), self.taken(span));
        let state = if self.open[author as usize] >= OPEN_MAX {
            State::Out(Why::TooMany)
        } else if self.is_free(taken, self.terms.capacity) {
            State::Held(at)
        } else if self.waiting.overlapping(taken).take(WAITING_MAX).count() < WAITING_MAX {
            State::Waits
        } else {
            State::Out(Why::Crowded)
        };
        self.enter(key, author, span, at, state);
    }

    /// New numbers are not undone: they mean nothing by themselves.
    fn author(&mut self, office: OfficeId) -> Author {
        let next = self.open.len() as Author;
        let author = *self.authors.entry(office).or_insert(next);
        if author == next {
            self.open.push(0);
        }
        author
    }

    fn enter(&mut self, key: Key, author: Author, span: Span, at: Position, state: State) {
        let capacity = self.terms.capacity;
        self.set(key, Claimed { at, author, span: self.taken(span), capacity, state });
    }

    /// With what is needed before and after.
    pub(crate) fn taken(&self, span: Span) -> Span {
        let Terms { before, after, .. } = self.terms;
        Span { start: span.start - i64::from(before), end: span.end + i64::from(after) }
    }

    /// Whether no moment of it is taken so many times.
    pub(crate) fn is_free(&self, span: Span, capacity: u32) -> bool {
        let mut taken = self.holding.overlapping(span);
        if capacity == 1 {
            return taken.next().is_none();
        }
        let mut edges: Vec<(i64, i32)> =
            taken.flat_map(|(_, it)| [(it.start.max(span.start), 1), (it.end, -1)]).collect();
        // Ends come before beginnings at the same moment.
        edges.sort_unstable();
        let mut now = 0;
        edges.into_iter().all(|(_, change)| {
            now += change;
            now < capacity as i32
        })
    }

    /// The times within these in which a booking may lie, with what it needs before and after: the longest ones.
    pub(crate) fn free(&self, within: Span) -> Vec<Span> {
        let Terms { capacity, before, after } = self.terms;
        let all = self.taken(within);
        let taken = self.holding.overlapping(all);
        let mut edges: Vec<(i64, i64)> =
            taken.flat_map(|(_, it)| [(it.start.max(all.start), 1), (it.end, -1)]).collect();
        edges.push((all.end, i64::from(capacity)));
        edges.sort_unstable();
        let (mut free, mut now, mut since) = (Vec::new(), 0, Some(all.start));
        for (at, change) in edges {
            now += change;
            let is_full = now >= i64::from(capacity);
            match since {
                Some(start) if is_full => {
                    let span =
                        Span { start: start + i64::from(before), end: at - i64::from(after) };
                    if span.start < span.end {
                        free.push(span);
                    }
                    since = None;
                }
                None if !is_full => since = Some(at),
                _ => {}
            }
        }
        free
    }

    fn release(&mut self, key: Key, author: OfficeId, span: Span, at: Position) {
        let Some(claimed) = self.claims.get(&key).copied() else {
            // Who asked for both had them granted the other way round.
            let author = self.author(author);
            return self.enter(key, author, span, at, State::Released);
        };
        if claimed.state == State::Released {
            return;
        }
        self.set(key, Claimed { state: State::Released, ..claimed });
        if is(Mutation::ReviveBeforeHeld) {
            return self.place_all_anew(at);
        }
        if !matches!(claimed.state, State::Held(_)) {
            return;
        }
        // Those that wait are tried in their order, and never push anyone out.
        let mut waiting: Vec<(Position, Key)> = self
            .waiting
            .overlapping(claimed.span)
            .map(|it| (self.claims[&it.0].at, it.0))
            .collect();
        waiting.sort_unstable();
        for (_, key) in waiting {
            let it = self.claims[&key];
            if self.is_free(it.span, it.capacity) {
                self.set(key, Claimed { state: State::Held(at), ..it });
            }
        }
    }

    /// The mistake of [`Mutation::ReviveBeforeHeld`].
    fn place_all_anew(&mut self, at: Position) {
        let mut all: Vec<(Position, Key)> = self
            .claims
            .iter()
            .filter(|(_, it)| matches!(it.state, State::Held(_) | State::Waits))
            .map(|(key, it)| (it.at, key))
            .collect();
        all.sort_unstable();
        for (_, key) in &all {
            let it = self.claims[key];
            self.set(*key, Claimed { state: State::Waits, ..it });
        }
        for (_, key) in all {
            let it = self.claims[&key];
            if self.is_free(it.span, it.capacity) {
                self.set(key, Claimed { state: State::Held(at), ..it });
            }
        }
    }

    fn set(&mut self, key: Key, claimed: Claimed) {
        let before = self.put(key, Some(claimed));
        self.changes.push((key, before));
    }

    fn put(&mut self, key: Key, claimed: Option<Claimed>) -> Option<Claimed> {
        let before = match claimed {
            Some(claimed) => self.claims.insert(key, claimed),
            None => self.claims.remove(key),
        };
        for (it, adds) in [(before, false), (claimed, true)] {
            let Some(it) = it else { continue };
            let times = match it.state {
                State::Held(_) => &mut self.holding,
                State::Waits => &mut self.waiting,
                State::Out(_) | State::Released => continue,
            };
            let open = &mut self.open[it.author as usize];
            if adds {
                times.add(key, it.span);
                *open += 1;
            } else {
                times.remove(key, it.span);
                *open = open.saturating_sub(1);
            }
        }
        before
    }
}
