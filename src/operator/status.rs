//! What users are told of a cluster: its status, from what is seen (S6 for the whole cluster).
//!
//! Any number of operators write it, and they must not take turns at contradicting each other. So
//! almost all of it is taken from what every operator sees alike, the pods and their labels. What
//! the nodes say is taken from their streams; an operator that hears too few of them says so once,
//! and does not insist: another may hear more.
//!
//! Nothing here asks anybody. Events are the differences between one status and the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::build::pod_name;
use super::pods::PodView;
use super::route::{Belief, PodRole, Routed, View};
use super::witness::Heard;
use super::{roll, scale};
use crate::consensus::{Configuration, MemberId, NodeId, Seat};
use crate::crd::{
    CLUSTER_LABEL, ConditionKind, Conditions, LEARNER, LEAVING, LeaderStatus, MemberStatus,
    NO_SEAT, RememberCluster, RememberClusterStatus, VOTER, witness,
};

/// What is seen of one cluster.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    /// What is asked for, and what was told before.
    pub cluster: &'a RememberCluster,
    /// The pods that there are, by name.
    pub pods: &'a BTreeMap<Arc<str>, PodView>,
    /// What their nodes say.
    pub view: &'a View,
    /// What became of the work on its objects.
    pub work: &'a Work,
    /// Whether the leader's label should have moved long since.
    pub(super) is_late: bool,
    /// Whether the object that is the witness of a pair is gone.
    pub(super) has_lost_witness: bool,
    /// Whether to say so if too few nodes are heard.
    pub tells_unknown: bool,
    /// The time.
    pub now: Time,
}

/// How far the operator has come with the objects of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// It was told to leave them alone.
    Paused,
    /// They are as the spec says.
    Applied {
        /// What is next with the members.
        scaling: scale::Next,
        /// What is next with the pods.
        rolling: roll::Next,
    },
    /// They cannot be made of this spec: a person has to mend it.
    Refused {
        /// One word.
        reason: &'static str,
        /// What is wrong, where, and how to mend it.
        sentence: String,
        /// Whether it quotes the API server, which may say it in other words each time.
        is_quoted: bool,
    },
    /// Something failed that may pass, and is tried again: one word.
    Failed(&'static str),
}

impl Work {
    /// Somebody else has changed something that all else rests on.
    pub(super) fn outrun() -> Self {
        Self::Applied {
            scaling: scale::Next::Retry("the StatefulSet has just been changed".to_owned()),
            rolling: roll::Next::Done,
        }
    }

    /// Why a person is needed: in one word, and in a sentence.
    fn stalled(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Refused {
                reason, sentence, ..
            } => Some((reason, sentence)),
            Self::Applied {
                scaling: scale::Next::Stalled(sentence),
                ..
            } => Some(("ScaleRefused", sentence)),
            Self::Applied {
                rolling: roll::Next::Refuse(sentence),
                ..
            } => Some(("RollRefused", sentence)),
            Self::Applied { .. } | Self::Paused | Self::Failed(_) => None,
        }
    }
}

/// The status of a cluster as it should read now.
#[must_use]
pub(super) fn status(seen: &Seen<'_>) -> RememberClusterStatus {
    let before = seen.cluster.status.clone().unwrap_or_default();
    let name = seen.cluster.metadata.name.as_deref().unwrap_or_default();
    let leader = seen.leader(before.leader.as_ref());
    let is_new = |leader: &LeaderStatus| before.term.is_none_or(|term| leader.term > term);
    let moved = leader.as_ref().is_some_and(is_new);
    let transitions = match (before.leader_transitions, moved) {
        (None, true) => Some(0),
        (Some(count), true) => Some(count.saturating_add(1)),
        (count, false) => count,
    };
    RememberClusterStatus {
        observed_generation: seen.cluster.metadata.generation,
        replicas: Some(count(seen.own())),
        ready_replicas: Some(count(seen.own().filter(|pod| pod.ready))),
        selector: Some(format!("{CLUSTER_LABEL}={name}")),
        term: leader.as_ref().map(|leader| leader.term).max(before.term),
        leader,
        leader_transitions: transitions,
        voters: seen.voters().or(before.voters),
        members: seen.members(name, &before.members),
        conditions: seen.conditions(&before.conditions),
    }
}

fn count<'a>(pods: impl Iterator<Item = &'a PodView>) -> i32 {
    i32::try_from(pods.count()).unwrap_or(i32::MAX)
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Seen<'_> {
    /// The pods that its StatefulSet has made, and not those that only have its label.
    fn own(&self) -> impl Iterator<Item = &PodView> {
        let is_own = |pod: &&PodView| pod.id.is_some() && pod.maker.is_some();
        self.pods.values().filter(is_own)
    }

    fn wanted(&self) -> u64 {
        u64::try_from(self.cluster.spec.replicas).unwrap_or(0)
    }

    /// The pods that should be ready and are not, whether or not they are there.
    fn unready(&self) -> Vec<String> {
        let is_ready = |id: &NodeId| self.own().any(|pod| pod.id == Some(*id) && pod.ready);
        let unready = (1..=self.wanted()).map(NodeId).filter(|id| !is_ready(id));
        let cluster = self.cluster.metadata.name.as_deref().unwrap_or_default();
        unready.map(|id| pod_name(cluster, id)).collect()
    }

    fn voters(&self) -> Option<i32> {
        let configuration = self.view.configuration()?;
        i32::try_from(configuration.voters().count()).ok()
    }

    /// The one pod with the leader's label.
    fn labelled(&self) -> Option<&PodView> {
        let mut labelled = self.pods.values();
        let labelled = labelled.find(|pod| pod.role == Some(PodRole::Leader));
        labelled.filter(|pod| pod.id.is_some() && pod.term.is_some())
    }

    fn leader(&self, before: Option<&LeaderStatus>) -> Option<LeaderStatus> {
        let pod = self.labelled()?;
        let leader = LeaderStatus {
            pod: pod.name.to_string(),
            id: number(pod.id?.0),
            term: number(pod.term?.0),
            since: self.now.clone(),
        };
        let is_same =
            |before: &&LeaderStatus| (&before.pod, before.term) == (&leader.pod, leader.term);
        Some(before.filter(is_same).cloned().unwrap_or(leader))
    }

    /// Those who are wanted, those whose pods are there, and those who belong to the cluster.
    fn members(&self, cluster: &str, before: &[MemberStatus]) -> Vec<MemberStatus> {
        let named = self.view.configuration().into_iter();
        let named = named
            .flat_map(Configuration::members)
            .map(|member| member.id);
        let there = self.own().filter_map(|pod| pod.id);
        let ids: BTreeSet<_> = (1..=self.wanted())
            .map(NodeId)
            .chain(there)
            .chain(named)
            .collect();
        let member = |id: NodeId| {
            let pod = self.own().find(|pod| pod.id == Some(id));
            let role = pod
                .and_then(|pod| pod.role)
                .map_or("unknown", PodRole::name);
            let name = pod_name(cluster, id);
            let before = before.iter().find(|before| before.pod == name);
            let (seat, incarnation) = self.seat(id, before);
            MemberStatus {
                pod: name,
                id: number(id.0),
                role: role.to_owned(),
                seat,
                incarnation,
                ready: pod.is_some_and(|pod| pod.ready),
            }
        };
        ids.into_iter().map(member).collect()
    }

    /// What the word of a node counts in, and its disk: as it was told before, where nobody knows.
    fn seat(&self, id: NodeId, before: Option<&MemberStatus>) -> (Option<String>, Option<String>) {
        let Some(configuration) = self.view.configuration() else {
            return before.map_or((None, None), |before| {
                (before.seat.clone(), before.incarnation.clone())
            });
        };
        let heard = self.view.reports.get(&id).map(|report| MemberId {
            id,
            incarnation: report.incarnation,
        });
        let seats = || configuration.seats().filter(|(member, _)| member.id == id);
        let of = |member: MemberId| {
            let seat = seats().find(|(other, _)| *other == member);
            (member, seat.map(|(_, seat)| seat))
        };
        // Of one that is not heard, the disk that votes, if it has several.
        let known = || seats().max_by_key(|(_, seat)| seat.votes || seat.outgoing);
        let found = heard
            .map(of)
            .or_else(|| known().map(|(member, seat)| (member, Some(seat))));
        let seat = seat_name(found.and_then(|(_, seat)| seat));
        let disk = found.map(|(member, _)| format!("{:016x}", member.incarnation.0));
        (Some(seat.to_owned()), disk)
    }

    fn conditions(&self, before: &[Condition]) -> Vec<Condition> {
        let generation = self.cluster.metadata.generation;
        let mut told = Conditions::since(before, generation, self.now.clone());
        self.say_work(&mut told);
        let is_led = self.say_leader(&mut told);
        let is_routed = self.say_traffic(&mut told);
        let is_stalled = self.work.stalled().is_some();
        let wanted = self.wanted();
        let unready = self.unready();
        let (is, reason, sentence) = match (is_led, is_routed) {
            _ if is_stalled => (
                Some(false),
                "Stalled",
                "a person is needed; see the condition Stalled".to_owned(),
            ),
            (None, _) => (
                None,
                "Unheard",
                "too few nodes are heard to say who leads".to_owned(),
            ),
            (Some(false), _) => (Some(false), "NoLeader", "no node leads".to_owned()),
            (_, false) => (
                Some(false),
                "NotRouted",
                "a node leads, but traffic does not reach it; see the condition TrafficRouted"
                    .to_owned(),
            ),
            _ if !unready.is_empty() => (
                Some(false),
                "PodsNotReady",
                format!(
                    "it is led and reached; not all {wanted} pods are ready; not ready: {}",
                    unready.join(", ")
                ),
            ),
            _ => (
                Some(true),
                "Led",
                format!("it is led and reached; all {wanted} pods are ready"),
            ),
        };
        told.say(ConditionKind::Ready, is, reason, &sentence);
        if self.cluster.spec.witness.is_some() {
            told.tell_of(ConditionKind::WitnessReady, before);
            self.say_witness(&mut told);
        }
        told.told()
    }

    fn say_work(&self, told: &mut Conditions) {
        let (reconciling, reason, sentence) = match self.work {
            Work::Paused => (
                false,
                "Paused",
                "spec.paused is true: nothing but labels is changed".to_owned(),
            ),
            Work::Applied { scaling, rolling } => progress(scaling, rolling),
            Work::Refused { .. } => (
                false,
                "Refused",
                "it is as far as the spec allows; see the condition Stalled".to_owned(),
            ),
            // Only what every operator says alike, and each time: the log has the rest.
            Work::Failed(reason) => (
                true,
                *reason,
                "something failed, and is tried again; see the log of the operator".to_owned(),
            ),
        };
        told.say(
            ConditionKind::Reconciling,
            Some(reconciling),
            reason,
            &sentence,
        );
        match (self.work.stalled(), self.work) {
            // Said once for each spec.
            (
                Some((reason, _)),
                Work::Refused {
                    is_quoted: true, ..
                },
            ) if told.has_said(ConditionKind::Stalled, reason) => {}
            (Some((reason, sentence)), _) => {
                told.say(ConditionKind::Stalled, Some(true), reason, sentence);
            }
            (None, _) => told.say(
                ConditionKind::Stalled,
                Some(false),
                "NotStalled",
                "no person is needed",
            ),
        }
    }

    /// Whether the nodes have a leader; `None` if nobody can say.
    fn say_leader(&self, told: &mut Conditions) -> Option<bool> {
        let heard = self.view.reports.len();
        let voters = self.cluster.spec.replicas;
        let heard = format!("{heard} of {voters} nodes are heard");
        let (led, reason, sentence) = match &self.view.belief {
            Belief::Led(claim) => {
                let sentence = format!("node {} leads in term {}", claim.id, claim.term);
                (Some(true), "Led", sentence)
            }
            Belief::Leaderless => (
                Some(false),
                "NoLeader",
                "a majority of the nodes knows no leader".to_owned(),
            ),
            Belief::Unknown if self.tells_unknown => (
                None,
                "Unheard",
                format!("{heard}, which is no majority that agrees"),
            ),
            // What was told before stays: another operator may hear more.
            Belief::Unknown => return told.is(ConditionKind::LeaderElected),
        };
        told.say(ConditionKind::LeaderElected, led, reason, &sentence);
        let (quorum, reason) = match led {
            Some(_) => (Some(true), "Heard"),
            None => (None, "Unheard"),
        };
        // Only numbers that do not differ from operator to operator.
        let sentence = match led {
            Some(_) => "a majority of the nodes is heard".to_owned(),
            None => heard,
        };
        told.say(ConditionKind::QuorumAvailable, quorum, reason, &sentence);
        led
    }

    /// Whether one of two could go on alone now, by the word of those who vote (R17).
    fn say_witness(&self, told: &mut Conditions) {
        let object = witness(self.cluster.metadata.name.as_deref().unwrap_or_default());
        let no = Some(false);
        let (is, reason, sentence) = match Heard::of_voters(self.view) {
            _ if self.has_lost_witness => (
                no,
                "WitnessMissing",
                format!(
                    "ConfigMap {object} is not there, and is made again once nothing holds that \
                     up; see the conditions Reconciling and Stalled"
                ),
            ),
            // What was told before stays: another operator may hear more.
            Heard::Nobody => return,
            Heard::Untold(who) => (
                no,
                "WitnessSilent",
                format!(
                    "{} is in a pod that is older than spec.witness",
                    scale::nodes(&who)
                ),
            ),
            Heard::Silent(who) => (
                no,
                "WitnessSilent",
                format!(
                    "ConfigMap {object} is no witness to {}: its log says why; see whether its \
                     account may get and update it, and whether it reaches the API server",
                    scale::nodes(&who)
                ),
            ),
            Heard::Answers => (
                Some(true),
                "WitnessAnswers",
                format!("ConfigMap {object} answers all who have votes and are heard"),
            ),
        };
        told.say(ConditionKind::WitnessReady, is, reason, &sentence);
    }

    fn say_traffic(&self, told: &mut Conditions) -> bool {
        let labelled = self.labelled();
        let (routed, reason, sentence) = match (labelled, &self.view.routed) {
            (_, Routed::Denied { why }) => (
                false,
                "Denied",
                format!("the leader's label cannot be moved: {why}"),
            ),
            (None, _) => (
                false,
                "NoLeader",
                "no pod has the leader's label".to_owned(),
            ),
            (Some(pod), _) if !pod.ready => (
                false,
                "LeaderNotReady",
                format!(
                    "pod {} leads, but is not ready, so no Service leads to it",
                    pod.name
                ),
            ),
            (Some(pod), _) if self.is_late => (
                false,
                "Late",
                format!(
                    "pod {} has the leader's label and leads no more: labels cannot be written, or \
                     a pod or the record names a higher term; see the log of the operator",
                    pod.name
                ),
            ),
            (Some(pod), _) => (
                true,
                "Routed",
                format!("pod {} has the leader's label, and no other has", pod.name),
            ),
        };
        told.say(
            ConditionKind::TrafficRouted,
            Some(routed),
            reason,
            &sentence,
        );
        routed
    }
}

/// What is being done, in one word and in a sentence: steps before what is waited for.
fn progress(scaling: &scale::Next, rolling: &roll::Next) -> (bool, &'static str, String) {
    match (scaling, rolling) {
        (_, roll::Next::Replace { pod, .. }) => {
            (true, "Rolling", format!("pod {pod} is being replaced"))
        }
        (_, roll::Next::HandOver { to }) => (
            true,
            "Rolling",
            format!("the leader hands over to node {to} before its pod is replaced"),
        ),
        (scale::Next::Stalled(_), _) | (_, roll::Next::Refuse(_)) => (
            false,
            "Refused",
            "it is as far as it can be; see the condition Stalled".to_owned(),
        ),
        // Each operator asks for itself, and may be told something else.
        (scale::Next::Retry(what), _) | (scale::Next::Done, roll::Next::Wait(what)) => {
            (true, "Waiting", what.clone())
        }
        (scale::Next::Done, roll::Next::Done) => (
            false,
            "Applied",
            "all objects, members and pods are as the spec says".to_owned(),
        ),
        (scaling, _) => (true, "Scaling", scaling.sentence().unwrap_or_default()),
    }
}

/// What a seat is called; that of one who does not belong to the cluster, as well.
fn seat_name(seat: Option<Seat>) -> &'static str {
    match seat {
        Some(seat) if seat.votes => VOTER,
        Some(seat) if seat.outgoing => LEAVING,
        Some(_) => LEARNER,
        None => NO_SEAT,
    }
}

#[cfg(test)]
#[path = "status_test.rs"]
mod tests;
