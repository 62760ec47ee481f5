//! The one source of chance of a run: a seed in, the same numbers out, for ever.

use std::time::Duration;

/// SplitMix64: small, fast, and good enough to choose faults with.
#[derive(Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream of numbers that belongs to `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5DEE_CE66_D1CE_4E5B)
    }

    /// Another stream of numbers, drawn from this one.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.number())
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number in `0..limit`; `limit` must not be 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A place in something of length `len`, which must not be 0.
    pub(crate) fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// One of `choices`, which must not be empty.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.place(choices.len())]
    }

    /// True in `per_mille` of 1000 cases.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// A duration of `low..=high` microseconds.
    pub(crate) fn micros(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.between(low, high))
    }

    /// A duration of `low..=high` milliseconds, in steps of a microsecond.
    pub(crate) fn millis(&mut self, low: u64, high: u64) -> Duration {
        self.micros(low * 1000, high * 1000)
    }

    /// Some of `items`, between `low` and `high` many, in their order.
    pub(crate) fn some<T: Copy>(&mut self, items: &[T], low: usize, high: usize) -> Vec<T> {
        let high = high.min(items.len());
        let mut wanted = low.min(high) + self.place(high - low.min(high) + 1);
        let mut left = items.len();
        let mut chosen = Vec::with_capacity(wanted);
        for item in items {
            if self.place(left) < wanted {
                chosen.push(*item);
                wanted -= 1;
            }
            left -= 1;
        }
        chosen
    }
}

/// Scrambles a number so that neighbours have nothing in common.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
