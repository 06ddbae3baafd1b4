//! Sets of entries, by the numbers that the shelf has for them: a bit for each.

/// A set of entries.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Entries(Vec<u64>);

impl Entries {
    pub(crate) fn insert(&mut self, number: u32) {
        let word = number as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    pub(crate) fn remove(&mut self, number: u32) {
        if let Some(word) = self.0.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    pub(crate) fn has(&self, number: u32) -> bool {
        self.word(number as usize / 64) & (1 << (number % 64)) != 0
    }

    fn word(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or(0)
    }

    /// Whether all of the other's are in this one.
    pub(crate) fn has_all(&self, other: &Self) -> bool {
        other.0.iter().enumerate().all(|(at, word)| word & !self.word(at) == 0)
    }

    /// Whether one of the other's is in this one.
    pub(crate) fn has_any(&self, other: &Self) -> bool {
        other.0.iter().enumerate().any(|(at, word)| word & self.word(at) != 0)
    }

    /// What is in both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().enumerate().map(|(at, word)| word & other.word(at)).collect())
    }

    /// What is in this one alone.
    pub(crate) fn without(&self, other: &Self) -> Self {
        Self(self.0.iter().enumerate().map(|(at, word)| word & !other.word(at)).collect())
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} entries", self.0.iter().map(|word| word.count_ones()).sum::<u32>())
    }
}
