//! What to do about the labels of a cluster now (R1, R2).
//!
//! It sees what is believed, what the pods were last seen to say, and what each node says of
//! itself, and names one act. It does nothing itself, and remembers nothing: whoever carries the
//! act out asks again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Belief, Claim, PodRole, PodSeen, Report};
use crate::consensus::NodeId;

/// How long a majority must have said that nobody leads before the label is taken off a pod that
/// says nothing itself.
pub const LEADERLESS_MAX: Duration = Duration::from_secs(10);

/// One act.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// The labels are as they should be, or nobody knows how they should be.
    Nothing,
    /// Label the pod that made this claim, by the five steps.
    Label(Claim),
    /// Take the leader's label off this pod.
    Strip(PodSeen),
}

/// Names the act. `leaderless` is how long a majority has said, without a break, that it knows no
/// leader.
#[must_use]
pub fn decide(
    belief: &Belief,
    pods: &[PodSeen],
    reports: &BTreeMap<NodeId, Report>,
    leaderless: Duration,
) -> Act {
    if let Belief::Led(claim) = belief {
        return if is_right(claim, pods) || is_overtaken(claim, pods) {
            Act::Nothing
        } else {
            Act::Label(claim.clone())
        };
    }
    let is_over = *belief == Belief::Leaderless && leaderless >= LEADERLESS_MAX;
    let mut labelled = (pods.iter()).filter(|pod| pod.role == Some(PodRole::Leader));
    let stale = labelled.find(|pod| is_over || leads_no_more(pod, reports));
    stale.map_or(Act::Nothing, |pod| Act::Strip(pod.clone()))
}

/// Whether every pod already says what the claim makes of it.
fn is_right(claim: &Claim, pods: &[PodSeen]) -> bool {
    pods.iter().all(|pod| {
        let role = if pod.uid == claim.pod {
            PodRole::Leader
        } else {
            PodRole::Follower
        };
        pod.is(role, claim.term)
    })
}

/// Whether somebody labels for a later term: what is believed here is behind.
fn is_overtaken(claim: &Claim, pods: &[PodSeen]) -> bool {
    pods.iter().any(|pod| pod.term > Some(claim.term))
}

/// Whether the node in the pod itself says so. One that was elected again, and has not established
/// its claim yet, is as good a place for traffic as any.
fn leads_no_more(pod: &PodSeen, reports: &BTreeMap<NodeId, Report>) -> bool {
    let mut own = reports.iter().filter(|(_, report)| report.pod == pod.uid);
    own.any(|(id, report)| report.leader != Some(*id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{ClusterId, Incarnation, Term};

    const LONG: Duration = LEADERLESS_MAX;
    const SHORT: Duration = Duration::from_millis(9_999);

    fn pod(name: &str, role: PodRole, term: u64) -> PodSeen {
        PodSeen {
            name: name.into(),
            uid: format!("uid-{name}").into(),
            role: Some(role),
            term: Some(Term(term)),
        }
    }

    fn claim(pod: &str, term: u64) -> Claim {
        Claim {
            cluster: ClusterId(1),
            term: Term(term),
            id: NodeId(1),
            incarnation: Incarnation(1),
            pod: format!("uid-{pod}").into(),
        }
    }

    fn led(pod: &str, term: u64) -> Belief {
        Belief::Led(claim(pod, term))
    }

    fn says(pod: &str, leader: Option<u64>) -> Report {
        Report {
            pod: format!("uid-{pod}").into(),
            term: Term(7),
            leader: leader.map(NodeId),
            claim: None,
            incarnation: Incarnation(1),
            cluster: Some(ClusterId(1)),
            seats: None,
            witness: None,
        }
    }

    fn with_leader() -> Vec<PodSeen> {
        vec![pod("a", PodRole::Leader, 7), pod("b", PodRole::Follower, 7)]
    }

    fn decided(belief: &Belief, pods: &[PodSeen], leaderless: Duration) -> Act {
        decide(belief, pods, &BTreeMap::new(), leaderless)
    }

    #[test]
    fn nothing_is_written_while_all_is_as_it_should_be() {
        assert_eq!(
            decided(&led("a", 7), &with_leader(), SHORT),
            Act::Nothing,
            "the very labels"
        );
    }

    #[test]
    fn whatever_differs_has_the_leader_labelled() {
        let mut spoiled = with_leader();
        spoiled[1].role = None;
        let mut joined = with_leader();
        joined.push(pod("c", PodRole::Candidate, 0));
        let mut two = with_leader();
        two[1].role = Some(PodRole::Leader);
        let unmade = vec![
            pod("a", PodRole::Candidate, 0),
            pod("b", PodRole::Candidate, 0),
        ];
        for pods in [spoiled, joined, two, unmade] {
            let act = decided(&led("a", 7), &pods, SHORT);
            assert_eq!(act, Act::Label(claim("a", 7)), "{pods:?}");
        }
        let moved = decided(&led("b", 8), &with_leader(), SHORT);
        assert_eq!(moved, Act::Label(claim("b", 8)));
        let anew = decided(&led("a", 8), &with_leader(), SHORT);
        assert_eq!(anew, Act::Label(claim("a", 8)));
    }

    #[test]
    fn who_is_behind_a_later_term_does_nothing() {
        let act = decided(&led("b", 6), &with_leader(), SHORT);
        assert_eq!(act, Act::Nothing);
    }

    #[test]
    fn a_pod_that_says_that_it_leads_no_more_is_stripped_at_once() {
        let pods = with_leader();
        for (said, act) in [
            (Some(2), Act::Strip(pods[0].clone())),
            (None, Act::Strip(pods[0].clone())),
            (Some(1), Act::Nothing),
        ] {
            let reports = BTreeMap::from([(NodeId(1), says("a", said))]);
            for belief in [Belief::Unknown, Belief::Leaderless] {
                let decided = decide(&belief, &pods, &reports, Duration::ZERO);
                assert_eq!(decided, act, "{said:?}");
            }
        }
    }

    #[test]
    fn what_another_pod_says_strips_nobody_at_once() {
        let reports = BTreeMap::from([
            (NodeId(1), says("the-pod-before-a", None)),
            (NodeId(2), says("b", None)),
        ]);
        let act = decide(
            &Belief::Unknown,
            &with_leader(),
            &reports,
            Duration::from_hours(1),
        );
        assert_eq!(act, Act::Nothing);
    }

    #[test]
    fn a_silent_leader_keeps_its_label_until_a_majority_has_been_without_one_for_long() {
        let pods = with_leader();
        assert_eq!(decided(&Belief::Leaderless, &pods, SHORT), Act::Nothing);
        let act = decided(&Belief::Leaderless, &pods, LONG);
        assert_eq!(act, Act::Strip(pods[0].clone()));
        assert_eq!(decided(&Belief::Leaderless, &pods[1..], LONG), Act::Nothing);
    }

    #[test]
    fn without_a_majority_nothing_changes() {
        assert_eq!(
            decided(&Belief::Unknown, &with_leader(), LONG),
            Act::Nothing
        );
    }
}
