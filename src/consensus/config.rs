//! The timings and limits of a node.

use std::time::Duration;

/// Timings and limits; [`Config::check`] says what is wrong with one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// How often a leader beats.
    pub heartbeat: Duration,
    /// How long a follower hears nothing before it may agree that the leader is gone. It waits one
    /// to two of these, drawn anew for each leader, before it stands itself (S5). A leader that no
    /// quorum answered for one of these steps down.
    pub election_timeout: Duration,
    /// How long at most a less preferred candidate waits for a preferred one (S9).
    pub preference_wait: Duration,
    /// How old the oldest write may grow before the disk counts as stalled.
    pub disk_stall: Duration,
    /// The largest command, in bytes.
    pub command_bytes_max: usize,
    /// The most entry bytes in one [`Append`](super::Append). One entry always fits.
    pub append_bytes_max: usize,
    /// The most entry bytes sent to one follower and not acknowledged.
    pub inflight_bytes_max: usize,
    /// The most entry bytes of a leader that are not committed, and of a follower that are not
    /// durable; beyond it proposals are refused and appends dropped. Also the most bytes of
    /// commands that a follower has passed on and that are not answered.
    pub pending_bytes_max: usize,
    /// The most proposals or reads of this node that wait for a leader's answer.
    pub waiting_max: usize,
    /// Entry bytes that stay in memory behind a snapshot, so that a follower a little behind
    /// needs no snapshot.
    pub retained_bytes: usize,
    /// Whether a leader lets learners vote by itself once they have caught up (S7).
    pub promotes: bool,
    /// After how long a silence of a voter its leader lets it go, or gives its place to a learner
    /// (S10, R16); `None`: never. At least [`Config::DEAD_AFTER_TIMEOUTS_MIN`] election timeouts.
    pub dead_after: Option<Duration>,
    /// Whether there is a witness, by which one of two voters may go on alone (R17).
    pub witness: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            election_timeout: Duration::from_millis(300),
            preference_wait: Duration::from_millis(10),
            disk_stall: Duration::from_secs(1),
            command_bytes_max: (1 << 20) + (64 << 10),
            append_bytes_max: 256 << 10,
            inflight_bytes_max: 4 << 20,
            pending_bytes_max: 32 << 20,
            waiting_max: 16_384,
            retained_bytes: 4 << 20,
            promotes: false,
            dead_after: None,
            witness: false,
        }
    }
}

/// A [`Config`] that cannot work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Followers would suspect a leader that beats on time.
    #[error(
        "the election timeout ({election:?}) must be at least 3 heartbeats ({heartbeat:?} each); \
         raise the one or lower the other"
    )]
    TimeoutTooShort {
        /// The given election timeout.
        election: Duration,
        /// The given heartbeat.
        heartbeat: Duration,
    },
    /// Voters would leave that are only slow to answer.
    #[error(
        "a voter must be silent for at least {} election timeouts ({election:?} each) before it \
         counts as dead, not for {dead_after:?}; raise the one or lower the other",
        Config::DEAD_AFTER_TIMEOUTS_MIN
    )]
    DeadTooSoon {
        /// The given time of silence.
        dead_after: Duration,
        /// The given election timeout.
        election: Duration,
    },
    /// A zero duration or limit.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// A limit that its content does not fit in.
    #[error("{inner} must not be larger than {outer}")]
    Exceeds {
        /// What does not fit.
        inner: &'static str,
        /// Where it does not fit.
        outer: &'static str,
    },
}

impl Config {
    /// How many election timeouts at least a voter is silent before it counts as dead: enough for a
    /// restart, and for an election in which it takes no part.
    pub const DEAD_AFTER_TIMEOUTS_MIN: u32 = 10;

    /// Says whether the timings and limits can work together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let zero = [
            (self.heartbeat.is_zero(), "heartbeat"),
            (self.preference_wait.is_zero(), "preference wait"),
            (self.disk_stall.is_zero(), "disk stall limit"),
            (self.command_bytes_max == 0, "command size limit"),
            (self.append_bytes_max == 0, "append size limit"),
            (self.waiting_max == 0, "limit of waiting requests"),
        ];
        if let Some((_, name)) = zero.into_iter().find(|(is_zero, _)| *is_zero) {
            return Err(ConfigError::Zero(name));
        }
        if self.election_timeout < self.heartbeat * 3 {
            return Err(ConfigError::TimeoutTooShort {
                election: self.election_timeout,
                heartbeat: self.heartbeat,
            });
        }
        if let Some(dead_after) = self.dead_after
            && dead_after < self.election_timeout * Self::DEAD_AFTER_TIMEOUTS_MIN
        {
            return Err(ConfigError::DeadTooSoon {
                dead_after,
                election: self.election_timeout,
            });
        }
        let nested = [
            (
                self.preference_wait > self.election_timeout,
                "preference wait",
                "election timeout",
            ),
            (
                self.append_bytes_max > self.inflight_bytes_max,
                "append size",
                "bytes in flight",
            ),
            (
                self.inflight_bytes_max > self.pending_bytes_max,
                "bytes in flight",
                "pending bytes",
            ),
        ];
        match nested.into_iter().find(|(exceeds, ..)| *exceeds) {
            Some((_, inner, outer)) => Err(ConfigError::Exceeds { inner, outer }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_dead_who_is_only_slow() {
        let least = Config::default().election_timeout * Config::DEAD_AFTER_TIMEOUTS_MIN;
        let with = |dead_after| Config {
            dead_after: Some(dead_after),
            ..Config::default()
        };
        assert_eq!(with(least).check(), Ok(()));
        let refused = with(least / 2).check();
        let refused = refused.expect_err("it is too short").to_string();
        assert!(
            refused.contains("at least 10 election timeouts"),
            "{refused}"
        );
        assert_eq!(Config::default().dead_after, None, "nobody leaves unasked");
    }
}
