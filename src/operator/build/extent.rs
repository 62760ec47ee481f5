//! What of a cluster's objects does not follow from its spec alone: how many pods run while members
//! come and go, and how many may be away at once.

use crate::consensus::{Configuration, Seat};
use crate::crd::{ConditionKind, REPLICAS_MAX, RememberCluster};

/// How far a cluster reaches at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// How many pods its StatefulSet runs: those that are wanted, and those that must not end yet.
    pub pods: u64,
    /// How many pods whoever empties machines may end at once.
    pub disruptions: u64,
}

impl Extent {
    /// From the pods that its StatefulSet runs, who belongs to the cluster, and whether the witness
    /// answers those who vote, each as far as that is known.
    #[must_use]
    pub fn of(
        cluster: &RememberCluster,
        running: Option<u64>,
        configuration: Option<&Configuration>,
        witness_answers: Option<bool>,
    ) -> Self {
        let wanted = u64::try_from(cluster.spec.replicas).unwrap_or(0);
        let needed = configuration.map_or(0, |it| last_needed(it).min(REPLICAS_MAX));
        Self {
            pods: wanted.max(running.unwrap_or(0)).max(needed),
            disruptions: disruptions(cluster, configuration, witness_answers),
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
/// time. One that ends with its pod may not, and of those only one at a time. Of a pair with a
/// witness one may be away as long as that answers: the other goes on alone (R17).
fn disruptions(
    cluster: &RememberCluster,
    configuration: Option<&Configuration>,
    witness_answers: Option<bool>,
) -> u64 {
    let count = |it: &Configuration, counts: fn(Seat) -> bool| {
        it.seats().filter(|(_, seat)| counts(*seat)).count()
    };
    let spare = |voters: usize| u64::try_from(voters.saturating_sub(1) / 2).unwrap_or(0);
    let voters = configuration.map_or_else(
        || last_told(cluster),
        |configuration| count(configuration, |seat| seat.votes),
    );
    let spare = match configuration.map_or(0, |it| count(it, |seat| seat.outgoing)) {
        0 => spare(voters),
        outgoing => spare(voters).min(spare(outgoing)),
    };
    if cluster.spec.is_ephemeral() {
        return spare.min(1);
    }
    let goes_on_alone = || witness_answers.unwrap_or_else(|| answered_last(cluster));
    if voters == 2 && cluster.spec.witness.is_some() && !goes_on_alone() {
        return 0;
    }
    spare.max(1)
}

/// How many had votes when somebody knew that; as many as are wanted, where nobody ever did.
fn last_told(cluster: &RememberCluster) -> usize {
    let told = cluster.status.as_ref().and_then(|status| status.voters);
    usize::try_from(told.unwrap_or(cluster.spec.replicas)).unwrap_or(0)
}

/// Whether the witness answered when somebody knew that.
fn answered_last(cluster: &RememberCluster) -> bool {
    let told = cluster.status.iter().flat_map(|status| &status.conditions);
    let mut told = told.filter(|told| told.type_ == ConditionKind::WitnessReady.name());
    told.any(|told| told.status == "True")
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
            Extent::of(&cluster(wanted, false), running, of, None).pods
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
            Extent::of(&cluster(3, is_ephemeral), None, Some(&configuration), None).disruptions
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
        assert_eq!(Extent::of(&grows, Some(3), None, None).disruptions, 2);
        grows.status = Some(RememberClusterStatus {
            voters: Some(3),
            ..RememberClusterStatus::default()
        });
        assert_eq!(Extent::of(&grows, Some(3), None, None).disruptions, 1);
    }

    #[test]
    fn one_of_a_pair_may_be_away_as_long_as_its_witness_answers() {
        let mut pair = cluster(2, false);
        let two = configuration(&[1, 2], &[], &[]);
        let of = |pair: &RememberCluster, configuration: Option<&Configuration>, answers| {
            Extent::of(pair, Some(2), configuration, answers).disruptions
        };
        pair.spec.witness = Some(crate::crd::Witness::ConfigMap);
        assert_eq!(of(&pair, Some(&two), Some(true)), 1);
        assert_eq!(of(&pair, Some(&two), Some(false)), 0);
        // Nobody was ever told that it answers.
        assert_eq!(of(&pair, Some(&two), None), 0);
        assert_eq!(of(&pair, None, None), 0);
        // The pair is complete again only with the second vote.
        let alone = configuration(&[2], &[], &[1]);
        assert_eq!(of(&pair, Some(&alone), Some(false)), 1);
        let three = configuration(&[1, 2, 3], &[], &[]);
        assert_eq!(of(&pair, Some(&three), Some(false)), 1);
        // Where nobody is heard, what was told last counts, for all operators alike.
        let mut told = crate::crd::Conditions::since(&[], None, now());
        told.tell_of(ConditionKind::WitnessReady, &[]);
        told.say(
            ConditionKind::WitnessReady,
            Some(true),
            "WitnessAnswers",
            "",
        );
        pair.status = Some(RememberClusterStatus {
            voters: Some(2),
            conditions: told.told(),
            ..RememberClusterStatus::default()
        });
        assert_eq!(of(&pair, None, None), 1);
        // A disk that ends with its pod is taken by nobody who only empties a machine.
        pair.spec.storage = None;
        assert_eq!(of(&pair, Some(&two), Some(true)), 0);
    }

    fn now() -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
        let now = k8s_openapi::jiff::Timestamp::from_second(1).unwrap();
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now)
    }
}
