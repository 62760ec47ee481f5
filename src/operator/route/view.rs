//! How it stands with the routing of a cluster: what its status and its Events tell users.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Belief, PodRole, Report};
use crate::consensus::{ClusterId, Configuration, NodeId, Placed, Term};
use crate::operator::PodView;

/// Where traffic is led.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Routed {
    /// To this pod, and nobody is known to lead but it.
    Labelled {
        /// The pod's name.
        pod: Arc<str>,
        /// Its uid.
        uid: Arc<str>,
        /// Its node.
        id: NodeId,
        /// The term in which it got the label.
        term: Term,
    },
    /// The label is on its way to the leader.
    Pending,
    /// The API server refuses to have it written (`TrafficRouted=False`).
    Denied {
        /// What it said.
        why: String,
    },
    /// Nowhere: no pod has the label, and nobody is known to lead.
    Nobody,
}

/// How it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// What is believed of who leads.
    pub belief: Belief,
    /// Who belongs to the cluster, and to which: the last that a majority was heard to agree on.
    pub seated: Option<(ClusterId, Placed)>,
    /// What each node that can be heard says of itself.
    pub reports: BTreeMap<NodeId, Report>,
    /// Since when that is believed.
    pub believed_since: Instant,
    /// Where traffic is led.
    pub routed: Routed,
    /// Since when no majority of the nodes can be heard.
    pub no_majority_since: Option<Instant>,
    /// Since when a majority says that nobody leads.
    pub leaderless_since: Option<Instant>,
}

impl View {
    /// Before anything is heard.
    #[must_use]
    pub fn at(now: Instant) -> Self {
        Self {
            belief: Belief::Unknown,
            seated: None,
            reports: BTreeMap::new(),
            believed_since: now,
            routed: Routed::Nobody,
            no_majority_since: Some(now),
            leaderless_since: None,
        }
    }
}

impl View {
    /// Who belongs to the cluster, while a majority is heard that agrees on that. Of several
    /// operators one that hears nobody knows nothing newer than what it knew last.
    #[must_use]
    pub fn configuration(&self) -> Option<&Configuration> {
        let seated = self.seated.as_ref();
        let seated = seated.filter(|_| self.no_majority_since.is_none());
        seated.map(|(_, (_, seats))| seats)
    }
}

impl Routed {
    /// Where traffic is led, as the pods were last seen. `denied` is what the API server said if
    /// it refused the last attempt to change that.
    pub(super) fn of<'a>(
        belief: &Belief,
        pods: impl Iterator<Item = &'a PodView>,
        denied: Option<&str>,
    ) -> Self {
        if let Some(why) = denied {
            return Self::Denied {
                why: why.to_owned(),
            };
        }
        let labelled = pods.filter(|pod| pod.role == Some(PodRole::Leader));
        let labelled: Vec<_> = labelled.take(2).collect();
        let claim = match belief {
            Belief::Led(claim) => Some(claim),
            Belief::Leaderless | Belief::Unknown => None,
        };
        match labelled.as_slice() {
            [] if claim.is_none() => Self::Nobody,
            [pod] => match (pod.id, pod.term) {
                (Some(id), Some(term))
                    if claim.is_none_or(|claim| claim.pod == pod.uid && claim.term == term) =>
                {
                    Self::Labelled {
                        pod: Arc::clone(&pod.name),
                        uid: Arc::clone(&pod.uid),
                        id,
                        term,
                    }
                }
                _ => Self::Pending,
            },
            _ => Self::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{ClusterId, Incarnation};
    use crate::operator::route::Claim;

    fn pod(id: u64, role: PodRole) -> PodView {
        PodView {
            role: Some(role),
            ..PodView::of_store(id)
        }
    }

    fn led(id: u64, term: u64) -> Belief {
        Belief::Led(Claim {
            cluster: ClusterId(1),
            term: Term(term),
            id: NodeId(id),
            incarnation: Incarnation(1),
            pod: format!("uid-{id}").into(),
        })
    }

    fn routed(belief: &Belief, leaders: &[u64]) -> Routed {
        let role = |id| {
            if leaders.contains(&id) {
                PodRole::Leader
            } else {
                PodRole::Follower
            }
        };
        let pods: Vec<_> = (1..=3).map(|id| pod(id, role(id))).collect();
        Routed::of(belief, pods.iter(), None)
    }

    #[test]
    fn one_label_leads_to_its_pod_and_two_or_a_wrong_one_nowhere_yet() {
        let expected = Routed::Labelled {
            pod: "store-1".into(),
            uid: "uid-2".into(),
            id: NodeId(2),
            term: Term(7),
        };
        assert_eq!(routed(&led(2, 7), &[2]), expected);
        assert_eq!(routed(&Belief::Unknown, &[2]), expected);
        assert_eq!(routed(&led(2, 8), &[2]), Routed::Pending);
        assert_eq!(routed(&led(1, 7), &[2]), Routed::Pending);
        assert_eq!(routed(&led(2, 7), &[1, 2]), Routed::Pending);
        assert_eq!(routed(&led(2, 7), &[]), Routed::Pending);
        assert_eq!(routed(&Belief::Leaderless, &[]), Routed::Nobody);
    }

    #[test]
    fn what_is_denied_is_told_whatever_the_labels_say() {
        let why = "a policy".to_owned();
        let routed = Routed::of(&led(2, 7), [].into_iter(), Some(&why));
        assert_eq!(routed, Routed::Denied { why });
    }
}
