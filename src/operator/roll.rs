//! Which pod is next to be replaced, when the pods are not as their StatefulSet says (R4).
//!
//! The StatefulSet itself replaces nothing (`OnDelete`): it knows neither votes nor leaders. Here
//! one pod at a time is chosen, and only while every other node follows the leader; the leader's is
//! the last, after it has handed over to a pod that is already as it should be. So a change of the
//! template costs one change of leader. A new pod that does not become ready, or whose node has no
//! vote on the disk that it runs on, stops it: the others stay as they are.
//!
//! Where a disk ends with its pod, a pod is only replaced if the others can go on without that disk
//! for ever. Of one or two none is: with one all is lost, and with one of two all may be, because
//! the other goes on alone only if its witness names it by then, which nobody here can know (R17).
//!
//! Only a decision: who carries it out claims the step in the cluster's record first (R3).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pods::{PodView, SidecarState};
use super::record::{Step, StepKind};
use super::route::{Belief, Report};
use crate::consensus::{Configuration, MemberId, NodeId};

/// The fewest voters of which one may lose its disk: a majority is left, and agrees on another.
const VOTERS_MIN: usize = 3;

/// The fewest pods of which one may be replaced though its disk ends with it.
const REPLICAS_MIN: u64 = 3;

/// What the decision rests on.
#[derive(Debug)]
pub(super) struct Sight<'a> {
    /// The pods that there are, by name. Those that its StatefulSet has not made are not looked at.
    pub pods: &'a BTreeMap<Arc<str>, PodView>,
    /// The uid of that StatefulSet.
    pub maker: &'a str,
    /// How many pods the StatefulSet runs.
    pub replicas: u64,
    /// The revision that they should be of; `None` while the StatefulSet has not been looked at
    /// since it changed.
    pub revision: Option<&'a str>,
    /// Whom the nodes follow.
    pub belief: &'a Belief,
    /// What they say, each of those that can be heard.
    pub reports: &'a BTreeMap<NodeId, Report>,
    /// Who belongs to the cluster, as far as that is believed.
    pub configuration: Option<&'a Configuration>,
    /// Whether something is kept on disks that end with their pods.
    pub is_lost_with_pods: bool,
    /// The last step that was claimed.
    pub step: Option<&'a Step>,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// All pods are there and as they should be.
    Done,
    /// Nothing yet, for this reason.
    Wait(String),
    /// Nothing, until a person mends this.
    Refuse(&'static str),
    /// End this pod; the StatefulSet makes a new one.
    Replace {
        /// Its name.
        pod: Arc<str>,
        /// Its uid: no other pod may be ended by that name.
        uid: Arc<str>,
    },
    /// Have the leader hand over to this node first.
    HandOver {
        /// A follower in a pod that is as it should be.
        to: NodeId,
    },
}

impl Next {
    /// Whether something is done about it in this very visit.
    pub(super) fn acts(&self) -> bool {
        matches!(self, Self::Replace { .. } | Self::HandOver { .. })
    }
}

impl Sight<'_> {
    /// Decides what is next.
    #[must_use]
    pub(super) fn next(&self) -> Next {
        let Some(revision) = self.revision else {
            return Next::Wait("the StatefulSet has changed and is being looked at".to_owned());
        };
        let is_current = |pod: &PodView| pod.revision.as_deref() == Some(revision);
        if let Some(ending) = self.own().find(|pod| pod.deleting) {
            return Next::Wait(format!("pod {} is ending", ending.name));
        }
        let is_beyond = |pod: &&PodView| pod.id.is_some_and(|id| id.0 > self.replicas);
        if let Some(beyond) = self.own().find(is_beyond) {
            return Next::Wait(format!("pod {} is about to end", beyond.name));
        }
        let (are, wanted) = (self.own().count(), self.replicas);
        if u64::try_from(are).is_ok_and(|are| are < wanted) {
            return Next::Wait(format!("{are} of {wanted} pods are there"));
        }
        let mut outdated: Vec<_> = self.own().filter(|pod| !is_current(pod)).collect();
        if let Some(claimed) = self.claimed().filter(|pod| !is_current(pod)) {
            // Another operator has chosen, for as good reasons, and may have died since.
            outdated.retain(|pod| pod.uid == claimed.uid);
        }
        if outdated.is_empty() {
            return Next::Done;
        }
        if self.is_lost_with_pods && self.replicas < REPLICAS_MIN {
            return self.replace_one_of_few(&outdated);
        }
        // A node that does not run costs nothing, and a new pod may be waiting for it.
        if let Some(lost) = outdated.iter().rev().find(|pod| self.is_lost(pod)) {
            return self.replace_lost(lost);
        }
        let mut current = self.own().filter(|pod| is_current(pod));
        if let Some(unready) = current.find(|pod| !pod.ready) {
            let name = &unready.name;
            return Next::Wait(format!("pod {name} is new and not ready yet"));
        }
        self.choose(&outdated, is_current)
    }

    /// Of one or two pods with their disks, only one goes on whose disk nothing rests.
    fn replace_one_of_few(&self, outdated: &[&PodView]) -> Next {
        match outdated.iter().find(|pod| self.counts_in_nothing(pod)) {
            Some(pod) => replace(pod),
            None => Next::Refuse(
                "not all pods are as the spec says, but what the node of each keeps would be lost \
                 with it, since there is no spec.storage, and all of it may be, since there are \
                 not three; scale to 3 and back, which replaces them, or delete a pod",
            ),
        }
    }

    /// The pods that the StatefulSet has made, in the order of their ids.
    fn own(&self) -> impl Iterator<Item = &PodView> {
        let mut own: Vec<_> = (self.pods.values())
            .filter(|pod| pod.id.is_some() && pod.maker.as_deref() == Some(self.maker))
            .collect();
        own.sort_by_key(|pod| pod.id);
        own.into_iter()
    }

    /// The pod of a step that was claimed and is not finished.
    fn claimed(&self) -> Option<&PodView> {
        let step = self.step.filter(|step| step.kind == StepKind::DeletePod)?;
        self.own().find(|pod| *pod.uid == *step.uid)
    }

    /// The follower with the highest id, and the leader if there is no other.
    fn choose(&self, outdated: &[&PodView], is_current: impl Fn(&PodView) -> bool) -> Next {
        let follower = outdated.iter().rev().find(|pod| !self.leads(pod));
        let Some(next) = follower.or_else(|| outdated.last()) else {
            return Next::Done;
        };
        if !self.can_do_without(next) {
            // Which ones, each operator hears for itself.
            let sentence = "not all other nodes have votes, follow the leader and have caught up";
            return Next::Wait(sentence.to_owned());
        }
        let others = self.own().filter(|pod| pod.uid != next.uid);
        let heir = others.filter(|pod| is_current(pod)).find_map(|pod| pod.id);
        match heir {
            Some(to) if self.leads(next) => Next::HandOver { to },
            _ => replace(next),
        }
    }

    /// A pod whose node does not run is the first to go, unless that takes a disk that is needed.
    fn replace_lost(&self, lost: &PodView) -> Next {
        if self.is_lost_with_pods && !self.can_do_without(lost) {
            return Next::Wait(format!(
                "pod {} does not run, and its disk would be lost with it while not all others have \
                 votes, follow the leader and have caught up",
                lost.name
            ));
        }
        replace(lost)
    }

    /// Whether all other nodes are there, and can do without this pod, and without its disk if that
    /// ends with it.
    fn can_do_without(&self, pod: &PodView) -> bool {
        let mut others = self.own().filter(|other| other.uid != pod.uid);
        let is_there = |other: &PodView| {
            self.votes(other) && self.follows(other) && other.sidecar == SidecarState::Ready
        };
        let voters = self.configuration.map_or(0, |it| it.voters().count());
        others.all(is_there) && (!self.is_lost_with_pods || voters >= VOTERS_MIN)
    }

    /// Whether its node has a vote on the very disk that it runs on.
    fn votes(&self, pod: &PodView) -> bool {
        let member = pod.id.and_then(|id| {
            let incarnation = self.reports.get(&id)?.incarnation;
            Some(MemberId { id, incarnation })
        });
        let settled = self.configuration.filter(|it| !it.is_joint());
        settled
            .zip(member)
            .is_some_and(|(it, member)| it.lets_vote(member))
    }

    /// Whether no disk of its node votes, by the word of those who do.
    fn counts_in_nothing(&self, pod: &PodView) -> bool {
        let is_led = matches!(self.belief, Belief::Led(_));
        self.configuration.is_some_and(|it| {
            let mut counted = it.members().filter(|member| it.counts(*member));
            is_led && counted.all(|member| Some(member.id) != pod.id)
        })
    }

    /// Whether neither we nor its kubelet know of a node that runs in it. One that we do not hear
    /// may still vote.
    fn is_lost(&self, pod: &PodView) -> bool {
        let is_heard = pod.id.is_some_and(|id| self.reports.contains_key(&id));
        !is_heard && pod.sidecar == SidecarState::Down
    }

    fn leads(&self, pod: &PodView) -> bool {
        matches!(self.belief, Belief::Led(claim) if claim.pod == pod.uid)
    }

    /// Whether its node follows the leader that the majority follows, or is it.
    fn follows(&self, pod: &PodView) -> bool {
        let Belief::Led(claim) = self.belief else {
            return false;
        };
        let report = pod.id.and_then(|id| self.reports.get(&id));
        report.is_some_and(|report| report.leader == Some(claim.id) && report.term == claim.term)
    }
}

fn replace(pod: &PodView) -> Next {
    Next::Replace {
        pod: Arc::clone(&pod.name),
        uid: Arc::clone(&pod.uid),
    }
}

#[cfg(test)]
#[path = "roll_test.rs"]
mod tests;
