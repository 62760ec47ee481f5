//! One follower, as its leader sees it.
//!
//! ```text
//!            acknowledged           refused, or nothing heard for too long
//!   Probe ------------------> Replicate ------------------> Probe
//!     |                                                       ^
//!     +-- needs what the log forgot --> Snapshot -- sent -----+
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use super::{Index, Mono};

/// How far a follower is, and how it is being fed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Progress {
    /// The follower's log is the leader's up to here, durably.
    pub(super) matched: Index,
    /// The next entry to send.
    pub(super) next: Index,
    /// How it is being fed.
    pub(super) feed: Feed,
    /// Appends sent and not acknowledged: the last index and the bytes of each.
    inflight: VecDeque<(Index, usize)>,
    inflight_bytes: usize,
    /// The last time that an acknowledgement moved `matched`, or that there was none to wait for.
    moved: Mono,
    /// The commit index last told to it.
    pub(super) commit_told: Index,
    /// The newest beat that it answered.
    pub(super) round: u64,
    /// When that beat was sent: the follower heard this leader no earlier than this.
    pub(super) heard: Mono,
    /// Whether it said with that answer that it could take over.
    pub(super) can_stand: bool,
    /// Whether it keeps up with what is agreed.
    pace: Pace,
}

/// Whether something that moves on reaches in time what another had reached, round after round
/// (Raft 4.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Pace {
    /// How far the other was when the present round began, and when that was.
    goal: Index,
    since: Mono,
    /// Whether the goal of the round before was reached in time.
    kept_up: bool,
}

impl Pace {
    pub(super) fn new(goal: Index, now: Mono) -> Self {
        Self {
            goal,
            since: now,
            kept_up: false,
        }
    }

    /// Begins a new round, to where the other is by now, once the goal of this one is `reached`.
    pub(super) fn count(&mut self, reached: Index, ahead: Index, patience: Duration, now: Mono) {
        if reached >= self.goal {
            self.kept_up = now.since(self.since) <= patience;
            self.goal = ahead;
            self.since = now;
        }
    }

    /// Whether it took no more than `patience` the last time, and takes no more now.
    pub(super) fn keeps_up(&self, patience: Duration, now: Mono) -> bool {
        self.kept_up && now.since(self.since) <= patience
    }
}

/// How a follower is being fed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Feed {
    /// Looking for where the logs agree: one append at a time.
    Probe {
        /// Whether one is on its way.
        asked: bool,
    },
    /// Entries are sent ahead of their acknowledgement, within limits.
    Replicate,
    /// A snapshot is on its way.
    Snapshot {
        /// It covers at least everything up to here.
        base: Index,
    },
}

impl Progress {
    /// A follower of a new leader whose log ends right before `next`.
    pub(super) fn new(next: Index, now: Mono) -> Self {
        Self {
            matched: Index(0),
            next,
            feed: Feed::Probe { asked: false },
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            moved: now,
            commit_told: Index(0),
            round: 0,
            heard: now,
            can_stand: false,
            pace: Pace::new(next.previous(), now),
        }
    }

    /// Begins a new round of catching up, to what is agreed by now, if it is there.
    pub(super) fn count_round(&mut self, commit: Index, patience: Duration, now: Mono) {
        self.pace.count(self.matched, commit, patience, now);
    }

    /// Whether it acknowledges within `patience` what is agreed.
    pub(super) fn keeps_up(&self, patience: Duration, now: Mono) -> bool {
        self.pace.keeps_up(patience, now)
    }

    /// Starts over from what is known for certain, or from `next` if that is later.
    pub(super) fn probe(&mut self, next: Index) {
        self.feed = Feed::Probe { asked: false };
        self.next = next.max(self.matched.next());
        self.inflight.clear();
        self.inflight_bytes = 0;
        // Told again with whatever goes out next: the follower may have restarted.
        self.commit_told = Index(0);
    }

    /// An append with entries up to `last` was sent.
    pub(super) fn sent(&mut self, last: Index, bytes: usize, now: Mono) {
        if self.inflight.is_empty() {
            self.moved = now;
        }
        if self.feed == Feed::Replicate {
            self.next = last.next();
        }
        self.inflight.push_back((last, bytes));
        self.inflight_bytes += bytes;
    }

    /// The follower has everything up to `index` on disk.
    pub(super) fn acknowledged(&mut self, index: Index, now: Mono) {
        if index > self.matched {
            self.matched = index;
            self.moved = now;
        }
        while let Some((_, bytes)) = self.inflight.pop_front_if(|(last, _)| *last <= index) {
            self.inflight_bytes -= bytes;
        }
        self.next = self.next.max(self.matched.next());
        if matches!(self.feed, Feed::Probe { .. }) && index.next() >= self.next {
            // The logs agree where the probe asked; what it carried is on its way to the disk.
            self.feed = Feed::Replicate;
            self.next = self
                .inflight
                .back()
                .map_or(self.next, |(last, _)| last.next());
        }
    }

    /// Whether another append may be sent ahead of its acknowledgement.
    pub(super) fn has_room(&self, bytes_max: usize) -> bool {
        self.inflight_bytes < bytes_max
    }

    /// Once a beat: sends again what may be lost, a probe at once and entries after `patience`.
    pub(super) fn retry(&mut self, patience: Duration, now: Mono) {
        match &mut self.feed {
            Feed::Probe { .. } => self.probe(self.next),
            Feed::Replicate => {
                if !self.inflight.is_empty() && now.since(self.moved) > patience {
                    self.probe(self.matched.next());
                }
            }
            Feed::Snapshot { .. } => {}
        }
    }
}
