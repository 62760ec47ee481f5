//! Who left as dead of late, as the leader knows that let them go (R16).
//!
//! A member that comes and goes would change the voters each time. So one that left as dead counts
//! again no sooner than a while later: as long as it had to be silent at first, then twice as long
//! each time, up to an hour; after a day without that it is forgotten. The leader of one term
//! remembers it, and nobody else: whoever leads next begins anew, which costs a change more at
//! worst. To agree on it would be a change as well.
//!
//! Nobody is kept from the place of a voter that is lost, nor from a vote that a person asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{MEMBERS_MAX, MemberId, Mono};

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_hours(1);
/// When a member is as good as any other again.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// Those who left as dead.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Lapses(BTreeMap<MemberId, Lapse>);

/// How often one of them has, and when it last did.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Lapse {
    count: u32,
    last: Mono,
}

impl Lapses {
    /// A member leaves as dead. Beyond as many as a cluster has, whose leaving is longest ago is
    /// forgotten.
    pub(super) fn add(&mut self, member: MemberId, now: Mono) {
        self.0
            .retain(|_, lapse| now.since(lapse.last) < FORGOTTEN_AFTER);
        let before = self.0.get(&member).map_or(0, |lapse| lapse.count);
        let lapse = Lapse {
            count: before.saturating_add(1),
            last: now,
        };
        self.0.insert(member, lapse);
        if self.0.len() > MEMBERS_MAX {
            let oldest = self.0.iter().min_by_key(|(_, lapse)| lapse.last);
            let oldest = oldest.map(|(member, _)| *member);
            self.0.retain(|member, _| Some(*member) != oldest);
        }
    }

    /// Whether a member left so lately that it does not count again yet; `first` is the first wait.
    pub(super) fn holds_back(&self, member: MemberId, first: Duration, now: Mono) -> bool {
        self.0.get(&member).is_some_and(|lapse| {
            let doubled = 2_u32.saturating_pow(lapse.count - 1);
            now.since(lapse.last) < first.saturating_mul(doubled).min(WAIT_MAX.max(first))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Incarnation, NodeId};

    const FIRST: Duration = Duration::from_secs(5);

    fn member(id: u64) -> MemberId {
        MemberId {
            id: NodeId(id),
            incarnation: Incarnation(id),
        }
    }

    fn at(seconds: u64) -> Mono {
        Mono::at(Duration::from_secs(seconds))
    }

    /// How many seconds after `left` it counts again.
    fn wait(lapses: &Lapses, left: u64) -> u64 {
        let holds = |after: &u64| lapses.holds_back(member(1), FIRST, at(left + after));
        (0..10_000).find(|after| !holds(after)).unwrap()
    }

    #[test]
    fn the_wait_doubles_up_to_an_hour_and_is_forgotten_after_a_day() {
        let mut lapses = Lapses::default();
        assert_eq!(wait(&lapses, 0), 0);
        let mut now = 100;
        let mut waits = Vec::new();
        for _ in 0..12 {
            lapses.add(member(1), at(now));
            waits.push(wait(&lapses, now));
            now += 10_000;
        }
        let doubled = [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560];
        assert_eq!(waits[..10], doubled);
        assert_eq!(waits[10..], [3600, 3600]);
        for _ in 0..40 {
            lapses.add(member(1), at(now));
        }
        assert_eq!(wait(&lapses, now), 3600, "however often");
        now += 24 * 3600;
        lapses.add(member(1), at(now));
        assert_eq!(wait(&lapses, now), 5);
        let longer = WAIT_MAX * 2;
        assert!(
            lapses.holds_back(member(1), longer, at(now + 7199)),
            "the first wait is kept"
        );
        assert!(!lapses.holds_back(member(1), longer, at(now + 7200)));
    }

    #[test]
    fn no_more_are_remembered_than_a_cluster_has() {
        let mut lapses = Lapses::default();
        let last = MEMBERS_MAX as u64 + 10;
        for id in 1..=last {
            lapses.add(member(id), at(id));
        }
        assert_eq!(lapses.0.len(), MEMBERS_MAX);
        assert!(lapses.0.contains_key(&member(last)) && !lapses.0.contains_key(&member(10)));
    }
}
