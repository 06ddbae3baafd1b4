//! Many events by when they take place: kept up as they change, and asked for a range of time.
//!
//! Each event lies under the span in which anything of it can take place, among the spans of about its
//! length: a question looks only at those that begin early enough to reach into its range and not after
//! it. Recurring events lie there once, with the span from their first to their last occurrence, and are
//! expanded for the range that is asked for: so an event without end takes no more room than another.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

use crate::Object;
use crate::occurrences::{Occurrence, Series, SeriesError};
use crate::zone::Zone;

/// Where an event lies: its length as a power of two in seconds, and its first second.
type Place = (u8, i64);

/// The length of events without end. Greater than any other's.
const OPEN: u8 = 64;

/// An index of events.
#[derive(Clone, Debug, Default)]
pub struct Agenda {
    events: BTreeMap<Arc<str>, Entry>,
    /// The events of each length, by when they begin.
    spans: BTreeMap<u8, BTreeSet<(i64, Arc<str>)>>,
}

#[derive(Clone, Debug)]
struct Entry {
    series: Series,
    place: Place,
}

/// An occurrence, and whose it is.
#[derive(Clone, Debug)]
pub struct AgendaItem {
    /// The event.
    pub uid: Arc<str>,
    /// One of its occurrences.
    pub occurrence: Occurrence,
}

/// What an [`Agenda`] has in a range.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the order of their starts, and then of their events' uids.
    pub items: Vec<AgendaItem>,
    /// Whether there are, or may be, more.
    pub is_partial: bool,
}

impl Agenda {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether it has no event.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Puts an event in, in place of what it had under this uid.
    ///
    /// # Errors
    /// [`SeriesError`] where the event has no time; then there is none under this uid.
    pub fn insert(&mut self, uid: &str, event: Arc<Object>) -> Result<&Series, SeriesError> {
        self.remove(uid);
        let series = Series::new(event)?;
        let (first, last) = series.envelope();
        let length = last.map_or(OPEN, |last| ceil_log2(last.abs_diff(first)));
        let uid: Arc<str> = uid.into();
        self.spans.entry(length).or_default().insert((first, Arc::clone(&uid)));
        let entry = Entry { series, place: (length, first) };
        Ok(&self.events.entry(uid).insert_entry(entry).into_mut().series)
    }

    /// Takes an event out. Whether it was there.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some((uid, entry)) = self.events.remove_entry(uid) else { return false };
        let (length, first) = entry.place;
        if let Some(spans) = self.spans.get_mut(&length) {
            spans.remove(&(first, uid));
            if spans.is_empty() {
                self.spans.remove(&length);
            }
        }
        true
    }

    /// An event, ready to say when it takes place.
    pub fn series(&self, uid: &str) -> Option<&Series> {
        self.events.get(uid).map(|entry| &entry.series)
    }

    /// The events with an occurrence that overlaps a range of time; also those with so many that it can't be told.
    pub fn events(&self, range: Range<Timestamp>, default_zone: &Zone) -> Vec<&Arc<str>> {
        let mut events = Vec::new();
        for uid in self.candidates(&range) {
            let Some((uid, entry)) = self.events.get_key_value(uid) else { continue };
            let mut is_there = false;
            let is_partial =
                entry.series.each_occurrence(range.clone(), default_zone, 1, |_| is_there = true);
            if is_there || is_partial {
                events.push(uid);
            }
        }
        events
    }

    /// The occurrences that overlap a range of time, the earliest `max` of them. `default_zone` is for
    /// events without a zone.
    pub fn query(&self, range: Range<Timestamp>, default_zone: &Zone, max: usize) -> Page {
        let mut page = Page::default();
        for uid in self.candidates(&range) {
            let Some((uid, entry)) = self.events.get_key_value(uid) else { continue };
            // One more than asked for: whether there are more must come out.
            page.is_partial |= entry.series.each_occurrence(
                range.clone(),
                default_zone,
                max.saturating_add(1),
                |occurrence| page.items.push(AgendaItem { uid: Arc::clone(uid), occurrence }),
            );
            if page.items.len() > HELD_MAX.max(max.saturating_mul(4)) {
                page.cut(max);
            }
        }
        page.cut(max);
        page
    }

    /// The events whose span reaches into a range.
    fn candidates(&self, range: &Range<Timestamp>) -> impl Iterator<Item = &str> {
        let (from, to) = (range.start.as_second(), range.end.as_second());
        self.spans.iter().flat_map(move |(length, spans)| {
            let longest = if *length >= 62 { i64::MAX } else { 1_i64 << length };
            let earliest = from.saturating_sub(longest);
            spans
                .range((earliest, "".into())..)
                .take_while(move |(first, _)| *first <= to)
                .map(|(_, uid)| uid.as_ref())
        })
    }
}

/// How many occurrences are held before those that come too late are dropped.
const HELD_MAX: usize = 10_000;

impl Page {
    /// Keeps the earliest.
    fn cut(&mut self, max: usize) {
        self.items.sort_by(|a, b| {
            let key =
                |item: &AgendaItem| (item.occurrence.starts_at, item.occurrence.recurrence_id);
            (key(a).0, &a.uid, key(a).1).cmp(&(key(b).0, &b.uid, key(b).1))
        });
        if self.items.len() > max {
            self.items.truncate(max);
            self.is_partial = true;
        }
    }
}

fn ceil_log2(length: u64) -> u8 {
    (64 - length.saturating_sub(1).leading_zeros()) as u8
}
