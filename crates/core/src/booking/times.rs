//! Times that claims take, so that those which overlap a span are found without a look at all others: by how long
//! they are, in powers of two, and then by their beginning.

use std::collections::BTreeMap;

/// A claim: a place among the bookings of its resource, and which of that one's slots. Local, as is the order of the
/// bookings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) book: u32,
    pub(crate) slot: u32,
}

/// Seconds from the first to the one after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Span {
    pub(crate) fn overlaps(self, other: Span) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Such spans are at most `1 << class` seconds long.
    fn class(self) -> u32 {
        self.end.saturating_sub(self.start).unsigned_abs().next_power_of_two().trailing_zeros()
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Times(BTreeMap<u32, BTreeMap<(i64, Key), i64>>);

impl Times {
    pub(crate) fn add(&mut self, key: Key, span: Span) {
        self.0.entry(span.class()).or_default().insert((span.start, key), span.end);
    }

    pub(crate) fn remove(&mut self, key: Key, span: Span) {
        if let Some(times) = self.0.get_mut(&span.class()) {
            times.remove(&(span.start, key));
            if times.is_empty() {
                self.0.remove(&span.class());
            }
        }
    }

    /// Those that overlap, in no order that means anything.
    pub(crate) fn overlapping(&self, span: Span) -> impl Iterator<Item = (Key, Span)> {
        self.0.iter().flat_map(move |(class, times)| {
            let early = span.start.saturating_sub(1 << class);
            let lowest = |start| (start, Key { book: 0, slot: 0 });
            times
                .range(lowest(early)..lowest(span.end))
                .map(|((start, key), end)| (*key, Span { start: *start, end: *end }))
                .filter(move |(_, it)| it.overlaps(span))
        })
    }
}
