//! How long to wait before something is tried again: longer each time, and by chance a little
//! less, so that many who failed together do not come back together.

use std::time::Duration;

use kube::runtime::utils::Backoff as Pace;

/// How long a watch of the API server waits before it asks again, at first and at most. The label
/// of a leader that was elected meanwhile waits for this as well.
const WATCH: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// Waits that double from a first one up to a longest.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// That of a watch.
    pub(super) fn of_watch() -> Self {
        Self::new(WATCH.0, WATCH.1)
    }

    /// How long to wait now: between half of this turn's wait and all of it.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        // A machine without randomness waits for the whole time.
        let chance = getrandom::u32().map_or(255, |chance| chance % 256);
        wait / 2 + wait / 2 * chance / 255
    }

    /// Something has worked: begin from the first again.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.wait())
    }
}

impl Pace for Backoff {
    fn reset(&mut self) {
        Self::reset(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_again() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(first, longest);
        for expected in [100, 200, 400, 800, 1600, 2000, 2000] {
            let expected = Duration::from_millis(expected);
            let wait = backoff.wait();
            assert!(wait >= expected / 2 && wait <= expected, "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
    }
}
