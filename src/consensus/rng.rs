//! The one source of chance: a small generator that starts from the driver's seed.
//!
//! Elections need timeouts that differ between nodes and rounds (S5), nothing more; this is not
//! for secrets. The sequence is SplitMix64, so a seed gives the same run for ever.

use std::time::Duration;

/// A deterministic generator.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A duration from `least` up to, but not including, twice that.
    pub(super) fn between_one_and_two(&mut self, least: Duration) -> Duration {
        let span = u64::try_from(least.as_nanos()).unwrap_or(u64::MAX).max(1);
        least + Duration::from_nanos(self.next() % span)
    }
}
