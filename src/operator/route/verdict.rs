//! Which claim to leadership to believe (R2).
//!
//! A node claims to lead once its own no-op is committed. That alone proves nothing to an operator:
//! one node with a fault may say "leader, term 2^60" and would poison the fence for ever. So a
//! claim counts when a majority of the voters say that they follow it, in its very term, and then
//! the label goes to the very pod that made it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::consensus::{ClusterId, Incarnation, NodeId, Term};

/// That a node leads: made by itself, once the first entry of its term is committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The cluster that it leads, by the name that was drawn when it was founded.
    pub cluster: ClusterId,
    /// The term, with the epoch in its upper half: the fencing token.
    pub term: Term,
    /// Who leads.
    pub id: NodeId,
    /// On which disk.
    pub incarnation: Incarnation,
    /// In which pod, by its uid.
    pub pod: Arc<str>,
}

/// What one node said last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The pod that was asked, by its uid.
    pub pod: Arc<str>,
    /// The newest term that it knows.
    pub term: Term,
    /// Whom it follows, or itself if it leads; `None` while it knows no leader.
    pub leader: Option<NodeId>,
    /// Its own claim, if it leads and has established that.
    pub claim: Option<Claim>,
}

/// What the reports say, taken together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Belief {
    /// A majority follows this claim.
    Led(Claim),
    /// A majority says that it knows no leader.
    Leaderless,
    /// Too few nodes can be heard, they differ, or their leader claims nothing yet: nothing may be
    /// changed.
    Unknown,
}

/// Judges what is reported by nodes that can be heard right now. Only the reports of `voters`
/// count; a report is taken for the node that it came from, whatever it says.
#[must_use]
pub fn judge(voters: &[NodeId], reports: &BTreeMap<NodeId, Report>) -> Belief {
    let majority = voters.len() / 2 + 1;
    let heard = || voters.iter().filter_map(|voter| reports.get(voter));
    let claims = voters.iter().filter_map(|voter| {
        let report = reports.get(voter)?;
        let claim = report.claim.as_ref()?;
        // Nobody claims for another, nor for another's pod.
        let is_own = claim.id == *voter && claim.pod == report.pod;
        is_own.then_some(claim)
    });
    let followed = |claim: &Claim| {
        let follows =
            |report: &&Report| report.leader == Some(claim.id) && report.term == claim.term;
        heard().filter(follows).count()
    };
    let believed = claims
        .filter(|claim| followed(claim) >= majority)
        .max_by_key(|claim| claim.term);
    if let Some(claim) = believed {
        return Belief::Led(claim.clone());
    }
    let without = heard().filter(|report| report.leader.is_none()).count();
    if without >= majority {
        Belief::Leaderless
    } else {
        Belief::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOTERS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn follows(term: u64, leader: u64) -> Report {
        Report {
            pod: "another".into(),
            term: Term(term),
            leader: Some(NodeId(leader)),
            claim: None,
        }
    }

    fn leads(term: u64, id: u64) -> Report {
        let claim = Claim {
            cluster: ClusterId(1),
            term: Term(term),
            id: NodeId(id),
            incarnation: Incarnation(1),
            pod: format!("pod-{id}").into(),
        };
        Report {
            pod: Arc::clone(&claim.pod),
            claim: Some(claim),
            ..follows(term, id)
        }
    }

    fn leaderless(term: u64) -> Report {
        Report {
            pod: "another".into(),
            term: Term(term),
            leader: None,
            claim: None,
        }
    }

    fn judged(reports: [Option<Report>; 3]) -> Belief {
        let reports = VOTERS.into_iter().zip(reports);
        let reports = reports.filter_map(|(id, report)| Some((id, report?)));
        judge(&VOTERS, &reports.collect())
    }

    fn led_by(belief: &Belief) -> Option<u64> {
        match belief {
            Belief::Led(claim) => Some(claim.id.0),
            Belief::Leaderless | Belief::Unknown => None,
        }
    }

    #[test]
    fn a_claim_that_a_majority_follows_is_believed() {
        let belief = judged([Some(leads(7, 1)), Some(follows(7, 1)), None]);
        assert_eq!(led_by(&belief), Some(1));
    }

    #[test]
    fn one_node_with_a_fault_convinces_nobody() {
        let wild = leads(1 << 60, 3);
        let belief = judged([Some(leads(7, 1)), Some(follows(7, 1)), Some(wild.clone())]);
        assert_eq!(led_by(&belief), Some(1));
        assert_eq!(judged([None, None, Some(wild)]), Belief::Unknown);
    }

    #[test]
    fn nobody_claims_for_another() {
        let mut forged = leads(7, 1);
        forged.leader = Some(NodeId(1));
        let belief = judged([None, Some(forged), Some(follows(7, 1))]);
        assert_eq!(belief, Belief::Unknown);
    }

    #[test]
    fn nobody_has_another_s_pod_labelled() {
        let mut forged = leads(7, 1);
        forged.pod = "pod-3".into();
        let belief = judged([Some(forged), Some(follows(7, 1)), None]);
        assert_eq!(belief, Belief::Unknown);
    }

    #[test]
    fn a_leader_that_is_followed_and_claims_nothing_yet_is_not_labelled() {
        let belief = judged([
            Some(follows(7, 1)),
            Some(follows(7, 1)),
            Some(follows(7, 1)),
        ]);
        assert_eq!(belief, Belief::Unknown);
    }

    #[test]
    fn a_majority_without_a_leader_is_leaderless_and_a_minority_is_not() {
        let belief = judged([None, Some(leaderless(7)), Some(leaderless(8))]);
        assert_eq!(belief, Belief::Leaderless);
        assert_eq!(judged([None, None, Some(leaderless(8))]), Belief::Unknown);
    }

    #[test]
    fn strangers_do_not_count() {
        let reports = BTreeMap::from([
            (NodeId(1), leads(7, 1)),
            (NodeId(8), follows(7, 1)),
            (NodeId(9), follows(7, 1)),
        ]);
        assert_eq!(judge(&VOTERS, &reports), Belief::Unknown);
    }
}
