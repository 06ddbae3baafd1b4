//! How fast changes get around, and how many copies of each an office receives.

use std::collections::BTreeMap;

use fasti_core::EntryHash;
use serde::Serialize;

/// Counts while a run goes on.
#[derive(Default)]
pub(crate) struct Meter {
    numbers: BTreeMap<EntryHash, u32>,
    /// When each entry was published, by number.
    since: Vec<u64>,
    /// For each pair of entry and other office: from publication until applied and durable.
    delays: Vec<u32>,
    /// Pushed copies for each pair of entry and office.
    copies: BTreeMap<(u32, u32), u8>,
}

/// What was measured. Times in milliseconds of simulated time.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Changes published.
    pub changes: usize,
    /// Pairs of change and office that it reached.
    pub reached: usize,
    /// From the publisher's request until the change is applied and durable elsewhere: median.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Pushed copies of a change that an office received, on average over those that received any.
    pub copies_mean: f64,
    /// At most.
    pub copies_max: u8,
}

impl Meter {
    /// An office has written an entry of its own.
    pub(crate) fn written(&mut self, hash: EntryHash, now: u64) {
        let next = self.numbers.len() as u32;
        if *self.numbers.entry(hash).or_insert(next) == next {
            self.since.push(now);
        }
    }

    /// An entry's writer was asked for it at this moment.
    pub(crate) fn published(&mut self, hash: EntryHash, asked: u64) {
        if let Some(number) = self.numbers.get(&hash) {
            let since = &mut self.since[*number as usize];
            *since = asked.min(*since);
        }
    }

    /// An entry is durable at an office that didn't write it.
    pub(crate) fn applied(&mut self, hash: EntryHash, now: u64) {
        if let Some(number) = self.numbers.get(&hash) {
            let delay = now.saturating_sub(self.since[*number as usize]);
            self.delays.push(u32::try_from(delay).unwrap_or(u32::MAX));
        }
    }

    /// A pushed frame has arrived.
    pub(crate) fn pushed(&mut self, at: usize, hashes: &[EntryHash]) {
        for hash in hashes {
            if let Some(number) = self.numbers.get(hash) {
                let copies = self.copies.entry((*number, at as u32)).or_default();
                *copies = copies.saturating_add(1);
            }
        }
    }

    /// What came of it.
    pub(crate) fn figures(mut self) -> Figures {
        self.delays.sort_unstable();
        let reached = self.delays.len();
        let quantile = |per_mille: usize| {
            let at = (reached * per_mille / 1000).min(reached.saturating_sub(1));
            self.delays.get(at).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
        };
        let copies: u64 = self.copies.values().map(|copies| u64::from(*copies)).sum();
        Figures {
            changes: self.since.len(),
            reached,
            p50_ms: quantile(500),
            p99_ms: quantile(990),
            max_ms: quantile(1000),
            copies_mean: copies as f64 / self.copies.len().max(1) as f64,
            copies_max: self.copies.values().copied().max().unwrap_or(0),
        }
    }
}
