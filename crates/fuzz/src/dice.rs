//! Random numbers: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
//! 2014).

/// A source of random numbers that a seed determines.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below this one, which is not 0.
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.roll(at + 1));
        }
    }

    /// Flips bits, overwrites, inserts, cuts.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(3) {
            let at = self.roll(bytes.len().max(1));
            match self.roll(6) {
                _ if bytes.is_empty() => bytes.push(self.roll(256) as u8),
                0 => bytes.truncate(at),
                1 => bytes[at] = self.roll(256) as u8,
                2 => bytes.insert(at, [0, 1, 0x7f, 0x80, 0xff][self.roll(5)]),
                3 => bytes[at] = bytes[at].wrapping_add([1, 255][self.roll(2)]),
                _ => bytes[at] ^= 1 << self.roll(8),
            }
        }
    }
}
