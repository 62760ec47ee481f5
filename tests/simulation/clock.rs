//! One machine's monotonic clock: it drifts and jumps forward, and never goes back.

use std::time::Duration;

use remember::consensus::Mono;

/// A clock that runs at its own rate from the point where it was last set.
pub(crate) struct Clock {
    /// The true time at which `shown` was right.
    anchor: Duration,
    /// What the clock showed then.
    shown: Duration,
    /// How fast it runs, in millionths of true speed.
    rate: u32,
}

/// True speed.
const EXACT: u32 = 1_000_000;

impl Clock {
    /// A clock that shows `shown` at the start of the run and runs at `rate` millionths.
    pub(crate) fn new(shown: Duration, rate: u32) -> Self {
        Self {
            anchor: Duration::ZERO,
            shown,
            rate,
        }
    }

    /// What it shows at the true time `now`.
    pub(crate) fn read(&self, now: Duration) -> Mono {
        Mono::at(self.shown_at(now))
    }

    /// The true time at which it will have reached `point`, at the earliest `now`.
    pub(crate) fn when(&self, point: Mono, now: Duration) -> Duration {
        let ahead = point.since(Mono::at(self.shown)) * EXACT / self.rate;
        (self.anchor + ahead + Duration::from_nanos(2)).max(now)
    }

    /// Jumps forward, as a clock does that was suspended.
    pub(crate) fn jump(&mut self, now: Duration, by: Duration) {
        self.shown = self.shown_at(now) + by;
        self.anchor = now;
    }

    /// Runs at `rate` millionths from now on.
    pub(crate) fn run_at(&mut self, now: Duration, rate: u32) {
        self.jump(now, Duration::ZERO);
        self.rate = rate;
    }

    fn shown_at(&self, now: Duration) -> Duration {
        self.shown + now.saturating_sub(self.anchor) * self.rate / EXACT
    }
}
