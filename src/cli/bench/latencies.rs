//! How long many things took, in constant memory.

use std::time::Duration;

/// Steps within each power of two, as a power of two itself: a value is off by 0.4 % at most.
const STEPS: u32 = 8;

/// Values of up to 2^40 ns, a quarter of an hour, are told apart.
const BUCKETS: usize = ((40 - STEPS + 1) << STEPS) as usize;

/// A histogram of times.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
            max: Duration::ZERO,
        }
    }
}

impl Latencies {
    pub(super) fn add(&mut self, time: Duration) {
        let bucket = bucket(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.max = self.max.max(time);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn max(&self) -> Duration {
        self.max
    }

    /// The time that `percent` of all did not exceed; zero if there are none.
    pub(super) fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        });
        at.map_or(Duration::ZERO, |at| {
            Duration::from_nanos(highest(at)).min(self.max)
        })
    }
}

fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(STEPS + 1);
    let (power, step) = (u64::from(shift), value >> shift);
    usize::try_from((power << STEPS) + step).unwrap_or(usize::MAX)
}

/// The largest value in a bucket.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> STEPS).saturating_sub(1);
    let step = bucket - (shift << STEPS);
    ((step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_ends_near_it() {
        let mut value = 1;
        while value < 1 << 39 {
            let highest = highest(bucket(value));
            assert!(highest >= value, "{value}");
            assert!(highest - value <= value >> STEPS, "{value} {highest}");
            assert_eq!(bucket(highest + 1), bucket(value) + 1, "{value}");
            value += 1 + value / 37;
        }
    }

    #[test]
    fn percentiles_are_of_what_came() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(99), Duration::ZERO);
        for n in 1..=100 {
            latencies.add(Duration::from_nanos(n));
        }
        assert_eq!(latencies.percentile(50), Duration::from_nanos(50));
        assert_eq!(latencies.percentile(99), Duration::from_nanos(99));
        assert_eq!(latencies.percentile(100), Duration::from_nanos(100));
        assert_eq!(latencies.max(), Duration::from_nanos(100));
        latencies.add(Duration::from_hours(5));
        assert_eq!(latencies.percentile(100), highest_time());
        assert_eq!(latencies.count(), 101);
    }

    fn highest_time() -> Duration {
        Duration::from_nanos(highest(BUCKETS - 1))
    }
}
