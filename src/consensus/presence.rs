//! Whether this node was there of late: whether its leader heard it, by that leader's own word.
//!
//! It decides what a member does that hears of its removal (S7). Whoever was there was removed
//! because somebody wanted that; whoever was not has been let go as dead, and may come back.
//!
//! To have heard a leader proves nothing. One that a node cannot answer still reaches it; and beats
//! that waited while the process was stopped, the machine slept or the network was cut are read
//! later as though they were new. So what counts is that a leader says it hears this node, and of
//! what it says right behind a pause, or a time without a leader, nothing does. That it takes a
//! node in is such a word, and the first one: until its beats have come round to name the node, a
//! few heartbeats later, it has heard it all the same. Of two the other may go on alone sooner than
//! anybody leaves as dead, so this says nothing of that (R17). Not here: what a node does then, and
//! any clock.

use std::time::Duration;

use super::Term;

/// A loop that turns later than so many election timeouts after the turn before did not run.
const PAUSED_TIMEOUTS: u32 = 2;
/// What is heard within so many behind a pause may have waited for its end.
const STALE_TIMEOUTS: u32 = 1;
/// Whoever was heard within so many was there. Nobody leaves as dead who was silent for less
/// ([`DEAD_AFTER_TIMEOUTS_MIN`](super::Config::DEAD_AFTER_TIMEOUTS_MIN)).
const THERE_TIMEOUTS: u32 = 5;

/// The presence of one node. Its times are those of one clock that runs on whatever stops, the
/// process or the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Presence {
    election_timeout: Duration,
    turned: Duration,
    /// When it last had a leader.
    led: Duration,
    /// Until when nothing counts.
    stale_until: Duration,
    /// When a leader last said that it hears this node, and of which term it was; `None` for the
    /// one that has taken it in, which has not heard it over a link yet.
    heard: Option<(Duration, Option<Term>)>,
}

impl Presence {
    /// That of a node that starts.
    pub fn new(election_timeout: Duration, now: Duration) -> Self {
        Self {
            election_timeout,
            turned: now,
            led: now,
            stale_until: now,
            heard: None,
        }
    }

    /// Takes in that the loop turned, and whether the leader of a term hears this node, if there is
    /// a leader.
    pub fn turned(&mut self, now: Duration, word: Option<(Term, bool)>) {
        let returns = word.is_some() && self.is_long_after(self.led, now);
        if self.paused(now) || returns {
            self.heard = None;
            self.stale_until = now + self.election_timeout * STALE_TIMEOUTS;
        }
        self.turned = now;
        if word.is_some() {
            self.led = now;
        }
        match word {
            Some((term, true)) if now >= self.stale_until => {
                self.heard = Some((now, Some(term)));
            }
            // One that was just elected has heard nobody yet, which says nothing.
            Some((term, false)) if self.heard.is_some_and(|(_, of)| of == Some(term)) => {
                self.heard = None;
            }
            _ => {}
        }
    }

    /// A leader has taken this node in, so it has heard it; what this node hears from now on is no
    /// older than that. A learner leaves as dead for no silence, so whoever removes it meanwhile
    /// wants it gone.
    pub fn welcomed(&mut self, now: Duration) {
        self.led = now;
        self.stale_until = now;
        self.heard = Some((now, None));
    }

    /// Whether this node was there a moment ago.
    pub fn was_there(&self, now: Duration) -> bool {
        let recent = self.election_timeout * THERE_TIMEOUTS;
        let heard = |(at, _)| now.saturating_sub(at) < recent;
        !self.paused(now) && self.heard.is_some_and(heard)
    }

    fn paused(&self, now: Duration) -> bool {
        self.is_long_after(self.turned, now)
    }

    fn is_long_after(&self, before: Duration, now: Duration) -> bool {
        now.saturating_sub(before) > self.election_timeout * PAUSED_TIMEOUTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(300);

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A node that its leader heard at each of these turns.
    fn heard(turns: impl IntoIterator<Item = u64>) -> Presence {
        let mut presence = Presence::new(TIMEOUT, at(0));
        for turn in turns {
            presence.turned(at(turn), Some((Term(1), true)));
        }
        presence
    }

    #[test]
    fn who_was_heard_a_moment_ago_was_there() {
        let mut presence = heard((0..1000).step_by(50));
        assert!(presence.was_there(at(1000)));
        // Nobody leads for a moment, then somebody who has heard nobody yet.
        presence.turned(at(1300), None);
        presence.turned(at(1400), Some((Term(2), false)));
        assert!(presence.was_there(at(1400)));
        for turn in (1500..3000).step_by(100) {
            presence.turned(at(turn), None);
        }
        assert!(!presence.was_there(at(3000)), "that was long ago");
        assert!(!Presence::new(TIMEOUT, at(0)).was_there(at(1)));
    }

    #[test]
    fn who_hears_and_is_not_heard_was_not_there() {
        let mut presence = heard((0..1000).step_by(50));
        presence.turned(at(1000), Some((Term(1), false)));
        assert!(!presence.was_there(at(1000)));
    }

    #[test]
    fn what_waited_while_the_process_was_stopped_is_no_news() {
        let mut presence = heard((0..1000).step_by(50));
        assert!(!presence.was_there(at(6000)), "before the first turn, too");
        for turn in [6000, 6001, 6299] {
            presence.turned(at(turn), Some((Term(1), true)));
            assert!(!presence.was_there(at(turn)), "at {turn} ms");
        }
        // It was not let go, and is there again.
        presence.turned(at(6300), Some((Term(1), true)));
        assert!(presence.was_there(at(6300)));
    }

    /// What a cut network held back comes all at once when it is whole again.
    #[test]
    fn what_a_cut_held_back_is_no_news() {
        let mut presence = heard((0..1000).step_by(50));
        for turn in (1000..5000).step_by(100) {
            presence.turned(at(turn), None);
        }
        presence.turned(at(5000), Some((Term(1), true)));
        presence.turned(at(5030), Some((Term(1), true)));
        assert!(!presence.was_there(at(5030)));
        presence.turned(at(5300), Some((Term(1), true)));
        assert!(presence.was_there(at(5300)));
    }

    /// A person may remove it again before any beat names it.
    #[test]
    fn who_was_just_taken_in_is_there() {
        let mut back = heard((0..1000).step_by(50));
        for turn in (1000..6000).step_by(100) {
            back.turned(at(turn), None);
        }
        let mut new = Presence::new(TIMEOUT, at(5990));
        for presence in [&mut back, &mut new] {
            presence.welcomed(at(6010));
            assert!(presence.was_there(at(6010)));
            // Of those whom its leader hears over a link, it is none yet.
            presence.turned(at(6020), Some((Term(1), false)));
            presence.turned(at(6120), Some((Term(1), false)));
            assert!(presence.was_there(at(6120)));
            presence.turned(at(6220), Some((Term(1), true)));
            presence.turned(at(6320), Some((Term(1), false)));
            assert!(!presence.was_there(at(6320)), "it is heard no more");
        }
    }

    #[test]
    fn who_was_taken_in_and_never_heard_since_was_not_there() {
        let mut presence = Presence::new(TIMEOUT, at(0));
        presence.welcomed(at(0));
        for turn in (100..2000).step_by(100) {
            presence.turned(at(turn), Some((Term(1), false)));
        }
        assert!(!presence.was_there(at(2000)));
        let mut paused = Presence::new(TIMEOUT, at(0));
        paused.welcomed(at(0));
        paused.turned(at(1000), Some((Term(1), true)));
        assert!(!paused.was_there(at(1000)));
    }
}
