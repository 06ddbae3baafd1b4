//! Time as an argument.

/// A moment on the node's monotonic clock: microseconds since some fixed moment. All deadlines are on
/// it, so that a wall clock that jumps disturbs none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub u64);

impl Instant {
    /// That much later.
    pub fn after(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

/// One second in the unit of [`Instant`].
pub const SECOND: u64 = 1_000_000;
/// One millisecond in the unit of [`Instant`].
pub const MILLISECOND: u64 = 1_000;

/// The two clocks at the moment of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Instant,
    /// For people, and for whether a ticket has expired: milliseconds since 1970.
    pub wall: i64,
}

/// Small deterministic random numbers for jitter and choices that no adversary profits from (SplitMix64;
/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
