//! What of a cluster's objects does not follow from its spec alone: how many pods run while members
//! come and go, and how many may be away at once.

use crate::consensus::{Configuration, Seat};
use crate::crd::{REPLICAS_MAX, RememberCluster};

/// How far a cluster reaches at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// How many pods its StatefulSet runs: those that are wanted, and those that must not end yet.
    pub pods: u64,
    /// How many pods whoever empties machines may end at once.
    pub disruptions: u64,
}

impl Extent {
    /// From the pods that its StatefulSet runs, and who belongs to the cluster, as far as that is
    /// known.
    #[must_use]
    pub fn of(
        cluster: &RememberCluster,
        running: Option<u64>,
        configuration: Option<&Configuration>,
    ) -> Self {
        let wanted = u64::try_from(cluster.spec.replicas).unwrap_or(0);
        let needed = configuration.map_or(0, |it| last_needed(it).min(REPLICAS_MAX));
        Self {
            pods: wanted.max(running.unwrap_or(0)).max(needed),
            disruptions: disruptions(cluster, configuration),
        }
    }
}

/// The last member with a vote: nobody's pod may end before it has given that back (R5). Where
/// somebody has lowered the StatefulSet by hand, it is raised again.
fn last_needed(configuration: &Configuration) -> u64 {
    let counted = configuration
        .seats()
        .filter(|(_, seat)| seat.votes || seat.outgoing);
    counted.map(|(member, _)| member.id.0).max().unwrap_or(0)
}

/// So many that a majority of those with votes stays (R4). A disk that comes back with its pod may
/// be away where there is no majority without it, or its machine could never be emptied: that costs
/// time. One that ends with its pod may not, and of those only one at a time.
fn disruptions(cluster: &RememberCluster, configuration: Option<&Configuration>) -> u64 {
    let spare = |voters: usize| u64::try_from(voters.saturating_sub(1) / 2).unwrap_or(0);
    let spare = match configuration {
        Some(configuration) => {
            let count = |counts: fn(Seat) -> bool| {
                configuration
                    .seats()
                    .filter(|(_, seat)| counts(*seat))
                    .count()
            };
            let by_voters = spare(count(|seat| seat.votes));
            match count(|seat| seat.outgoing) {
                0 => by_voters,
                outgoing => by_voters.min(spare(outgoing)),
            }
        }
        None => spare(last_told(cluster)),
    };
    if cluster.spec.is_ephemeral() {
        spare.min(1)
    } else {
        spare.max(1)
    }
}

/// How many had votes when somebody knew that; as many as are wanted, where nobody ever did.
fn last_told(cluster: &RememberCluster) -> usize {
    let told = cluster.status.as_ref().and_then(|status| status.voters);
    usize::try_from(told.unwrap_or(cluster.spec.replicas)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::consensus::{Incarnation, MemberId, NodeId};
    use crate::crd::RememberClusterStatus;

    fn cluster(replicas: i32, is_ephemeral: bool) -> RememberCluster {
        let mut cluster = json!({
            "apiVersion": "remember.krest.io/v1alpha1", "kind": "RememberCluster",
            "metadata": {"name": "store", "namespace": "shop"},
            "spec": {
                "replicas": replicas,
                "template": {"spec": {"containers": [{"name": "app", "image": "app:1"}]}},
            },
        });
        if !is_ephemeral {
            cluster["spec"]["storage"] = json!({"size": "1Gi"});
        }
        serde_json::from_value(cluster).unwrap()
    }

    fn configuration(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Configuration {
        let mut seats = BTreeMap::<_, Seat>::new();
        let member = |id: &u64| MemberId {
            id: NodeId(*id),
            incarnation: Incarnation(*id),
        };
        for id in voters {
            seats.entry(member(id)).or_default().votes = true;
        }
        for id in outgoing {
            seats.entry(member(id)).or_default().outgoing = true;
        }
        for id in learners {
            seats.entry(member(id)).or_default();
        }
        Configuration::new(seats).unwrap()
    }

    #[test]
    fn no_pod_ends_before_its_member_has_no_vote() {
        let pods = |wanted, running, of: Option<&Configuration>| {
            Extent::of(&cluster(wanted, false), running, of).pods
        };
        let (three, five) = (
            configuration(&[1, 2, 3], &[], &[4, 5]),
            configuration(&[1, 2, 3, 4, 5], &[], &[]),
        );
        assert_eq!(pods(3, None, None), 3);
        assert_eq!(pods(5, Some(3), Some(&three)), 5, "raised at once");
        assert_eq!(
            pods(3, Some(5), Some(&five)),
            5,
            "lowered by a step that is claimed"
        );
        assert_eq!(
            pods(3, Some(5), Some(&three)),
            5,
            "lowered by a step that is claimed"
        );
        assert_eq!(pods(3, Some(5), None), 5, "nobody knows who votes");
        assert_eq!(pods(3, Some(3), Some(&five)), 5, "lowered by hand");
        let leaving = configuration(&[1, 2, 3], &[1, 2, 3, 4, 5], &[]);
        assert_eq!(pods(3, Some(3), Some(&leaving)), 5);
        assert_eq!(pods(3, Some(3), Some(&three)), 3, "a learner's pod may end");
        let odd = configuration(&[1, 2, 1000], &[], &[]);
        assert_eq!(pods(3, Some(3), Some(&odd)), REPLICAS_MAX);
    }

    #[test]
    fn a_majority_of_those_with_votes_stays() {
        let of = |is_ephemeral, voters: &[u64], outgoing: &[u64]| {
            let configuration = configuration(voters, outgoing, &[8, 9]);
            Extent::of(&cluster(3, is_ephemeral), None, Some(&configuration)).disruptions
        };
        let sizes: [&[u64]; 6] = [
            &[1],
            &[1, 2],
            &[1, 2, 3],
            &[1, 2, 3, 4],
            &[1, 2, 3, 4, 5],
            &[1, 2, 3, 4, 5, 6, 7],
        ];
        assert_eq!(
            sizes.map(|voters| of(false, voters, &[])),
            [1, 1, 1, 1, 2, 3]
        );
        assert_eq!(
            sizes.map(|voters| of(true, voters, &[])),
            [0, 0, 1, 1, 1, 1]
        );
        // While both sizes count, the smaller one decides.
        assert_eq!(of(false, sizes[2], sizes[4]), 1);
        assert_eq!(of(false, sizes[4], sizes[2]), 1);
    }

    #[test]
    fn whoever_does_not_hear_keeps_to_what_was_told() {
        let mut grows = cluster(5, false);
        assert_eq!(Extent::of(&grows, Some(3), None).disruptions, 2);
        grows.status = Some(RememberClusterStatus {
            voters: Some(3),
            ..RememberClusterStatus::default()
        });
        assert_eq!(Extent::of(&grows, Some(3), None).disruptions, 1);
    }
}
