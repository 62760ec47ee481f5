//! Which pod is next to be replaced, when the pods are not as their StatefulSet says (R4).
//!
//! The StatefulSet itself replaces nothing (`OnDelete`): it knows neither votes nor leaders. Here
//! one pod at a time is chosen, and only while every other node follows the leader; the leader's is
//! the last, after it has handed over to a pod that is already as it should be. So a change of the
//! template costs one change of leader. A new pod that does not become ready stops it: the others
//! stay as they are.
//!
//! Only a decision: who carries it out claims the step in the cluster's record first (R3).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pods::PodView;
use super::record::Step;
use super::route::{Belief, Report};
use crate::consensus::NodeId;

/// What the decision rests on.
#[derive(Debug)]
pub(super) struct Sight<'a> {
    /// The pods that there are, by name.
    pub pods: &'a BTreeMap<Arc<str>, PodView>,
    /// How many there should be.
    pub replicas: usize,
    /// The revision that they should be of; `None` while the StatefulSet has not been looked at
    /// since it changed.
    pub revision: Option<&'a str>,
    /// Whom the nodes follow.
    pub belief: &'a Belief,
    /// What they say, each of those that can be heard.
    pub reports: &'a BTreeMap<NodeId, Report>,
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

impl Sight<'_> {
    /// Decides what is next.
    #[must_use]
    pub(super) fn next(&self) -> Next {
        let Some(revision) = self.revision else {
            return Next::Wait("the StatefulSet has changed and is being looked at".to_owned());
        };
        let is_current = |pod: &PodView| pod.revision.as_deref() == Some(revision);
        if let Some(ending) = self.pods.values().find(|pod| pod.deleting) {
            return Next::Wait(format!("pod {} is ending", ending.name));
        }
        if self.pods.len() < self.replicas {
            let (are, wanted) = (self.pods.len(), self.replicas);
            return Next::Wait(format!("{are} of {wanted} pods are there"));
        }
        let mut outdated: Vec<_> = self.pods.values().filter(|pod| !is_current(pod)).collect();
        if let Some(claimed) = self.claimed() {
            // Another operator has chosen, for as good reasons, and may have died since.
            outdated.retain(|pod| pod.uid == claimed.uid);
        }
        if outdated.is_empty() {
            return Next::Done;
        }
        let mut current = self.pods.values().filter(|pod| is_current(pod));
        if let Some(unready) = current.find(|pod| !pod.ready) {
            let name = &unready.name;
            return Next::Wait(format!("pod {name} is new and not ready yet"));
        }
        self.choose(outdated, is_current)
    }

    /// The pod of a step that was claimed and is not finished.
    fn claimed(&self) -> Option<&PodView> {
        let step = self.step?;
        self.pods.values().find(|pod| *pod.uid == *step.uid)
    }

    fn choose(&self, mut outdated: Vec<&PodView>, is_current: impl Fn(&PodView) -> bool) -> Next {
        // A node that nobody hears costs nothing; then those with the highest ids.
        outdated.sort_by_key(|pod| (self.is_lost(pod), pod.id));
        let Some(last) = outdated.last() else {
            return Next::Done;
        };
        let next = if self.is_lost(last) {
            last
        } else {
            let follower = outdated.iter().rev().find(|pod| !self.leads(pod));
            follower.unwrap_or(last)
        };
        let others = || self.pods.values().filter(|pod| pod.uid != next.uid);
        let is_away = |pod: &&PodView| !self.follows(pod);
        if !self.is_lost(next)
            && let Some(away) = others().find(is_away)
        {
            let name = &away.name;
            return Next::Wait(format!("the node of pod {name} does not follow a leader"));
        }
        let heir = others()
            .filter(|pod| is_current(pod))
            .find_map(|pod| pod.id);
        match heir {
            Some(to) if self.leads(next) => Next::HandOver { to },
            _ => Next::Replace {
                pod: Arc::clone(&next.name),
                uid: Arc::clone(&next.uid),
            },
        }
    }

    /// Whether neither we nor Kubernetes hear anything good of it. One that we do not hear may
    /// still vote, as long as it is ready.
    fn is_lost(&self, pod: &PodView) -> bool {
        let is_heard = pod.id.is_some_and(|id| self.reports.contains_key(&id));
        !is_heard && !pod.ready
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

#[cfg(test)]
#[path = "roll_test.rs"]
mod tests;
