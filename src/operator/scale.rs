//! How a cluster comes to have as many members as its spec says (R4, R5).
//!
//! ```text
//!   up     StatefulSet raised -> nodes join as learners -> votes by pairs, the last of an even
//!                                                          number because it is asked for here
//!   down   leader asked to let all go who are too many -> agreed -> StatefulSet lowered by one,
//!                                                                   and again
//! ```
//!
//! It looks at what is there and not at what was begun: another number in the midst of it, an
//! operator that ends, or somebody who changes the StatefulSet by hand, is only another sight. To
//! raise the StatefulSet harms nobody, and is done with the other objects
//! ([`Extent`](super::build::Extent)); to lower it is a step that is claimed (R3), and is not taken
//! while anybody with a vote would go with it.
//!
//! A voter whose pod runs on another disk is no matter of this: its leader replaces it by itself.
//! Whether those who stay have caught up is judged by the leader as well, which alone can know. Two
//! are wanted with a witness only, and nobody leaves for that before it answers those who stay
//! (R17).
//!
//! Only a decision: [`super::scaler`] carries it out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::build::pod_name;
use super::pods::{PodView, SidecarState};
use super::record::{Step, StepKind};
use super::route::{Belief, Report};
use super::witness::Heard;
use crate::consensus::{Configuration, NodeId};

/// How many members need a witness.
const PAIR: u64 = 2;

/// What the decision rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    /// What the cluster is called.
    pub cluster: &'a str,
    /// How many members there should be: those with the ids from 1 to here.
    pub wanted: u64,
    /// How many pods the StatefulSet should run.
    pub running: u64,
    /// The revision that its pods should be of; `None` while it is not settled.
    pub revision: Option<&'a str>,
    /// The uid of that StatefulSet: only its pods are looked at.
    pub maker: &'a str,
    /// The pods that there are, by name.
    pub pods: &'a BTreeMap<Arc<str>, PodView>,
    /// Whom the nodes follow.
    pub belief: &'a Belief,
    /// What they say, each of those that can be heard.
    pub reports: &'a BTreeMap<NodeId, Report>,
    /// Whether what a node keeps ends with its pod.
    pub is_ephemeral: bool,
    /// Who belongs to the cluster, as far as that is believed.
    pub configuration: Option<&'a Configuration>,
    /// The last step that was claimed.
    pub step: Option<&'a Step>,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// There are as many members as there should be, each with a vote.
    Done,
    /// Nothing yet, for this reason; what is waited for tells of itself.
    Wait(String),
    /// Something was asked for in vain, and is asked for again in a moment.
    Retry(String),
    /// Nothing, until a person mends this, or whatever is missing comes by itself (R5).
    Stalled(String),
    /// Ask the leader to change the members, in one step.
    Change {
        /// The ids of learners that are to vote.
        promote: BTreeSet<u64>,
        /// The ids of members that are to go.
        remove: BTreeSet<u64>,
    },
    /// Have the StatefulSet run one pod less.
    Lower {
        /// The pod that ends.
        pod: Arc<str>,
        /// Its uid; empty if it is not there.
        uid: Arc<str>,
        /// How many pods stay.
        to: u64,
    },
}

/// What an id counts in, whichever disk it is on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Place {
    votes: bool,
    learns: bool,
}

impl Next {
    /// Whether something is done about it in this very visit.
    pub(super) fn acts(&self) -> bool {
        matches!(self, Self::Change { .. } | Self::Lower { .. })
    }

    /// What is told of it; `None` if there is nothing to tell.
    #[must_use]
    pub(super) fn sentence(&self) -> Option<String> {
        match self {
            Self::Done => None,
            Self::Wait(sentence) | Self::Retry(sentence) | Self::Stalled(sentence) => {
                Some(sentence.clone())
            }
            Self::Change { promote, remove } => {
                let told = [
                    ("to get a vote", promote),
                    ("to leave, before its pod ends", remove),
                ];
                let told = told.into_iter().filter(|(_, ids)| !ids.is_empty());
                let told: Vec<_> = told
                    .map(|(what, ids)| format!("{what}: {}", nodes(ids)))
                    .collect();
                Some(told.join("; "))
            }
            Self::Lower { pod, .. } => Some(format!("pod {pod} has no seat any more, and ends")),
        }
    }
}

impl Sight<'_> {
    /// Decides what is next.
    #[must_use]
    pub(super) fn next(&self) -> Next {
        let (Belief::Led(_), Some(configuration)) = (self.belief, self.configuration) else {
            if self.running == self.wanted {
                // How it comes to its first leader, or to its next, is no matter of scale.
                return Next::Done;
            }
            let (are, wanted) = (self.running, self.wanted);
            let sentence = "and no leader is known who could change the members";
            return Next::Wait(format!(
                "{wanted} pods are wanted instead of {are}, {sentence}"
            ));
        };
        if configuration.is_joint() {
            return Next::Wait("a change of the members is under way".to_owned());
        }
        let places = places(configuration);
        let gone: BTreeSet<_> = places
            .keys()
            .copied()
            .filter(|id| *id > self.wanted)
            .collect();
        if gone.iter().any(|id| places[id].votes) {
            return self.remove(&places, gone);
        }
        if self.running > self.wanted {
            // A learner counts in nothing, and would only join again while its pod runs.
            return self.lower();
        }
        if !gone.is_empty() {
            return self.forget(gone);
        }
        self.grow(&places)
    }

    /// Has those leave who are too many, all in one step (R5).
    fn remove(&self, places: &BTreeMap<u64, Place>, remove: BTreeSet<u64>) -> Next {
        let stay = || places.iter().filter(|(id, _)| **id <= self.wanted);
        let voters: Vec<_> = stay()
            .filter(|(_, it)| it.votes)
            .map(|(id, _)| *id)
            .collect();
        let learners = stay().filter(|(_, it)| it.learns && !it.votes);
        let learners: Vec<_> = learners.map(|(id, _)| *id).collect();
        let mut missing = least(self.wanted).saturating_sub(voters.len());
        let becomes_even = (voters.len() + missing).is_multiple_of(2);
        if missing > 0 && becomes_even && learners.len() > missing {
            missing += 1;
        }
        if learners.len() < missing {
            return Next::Stalled(self.too_few(voters.len(), &remove));
        }
        if self.wanted == PAIR
            && let Some(not_yet) = self.without_witness(&remove)
        {
            return not_yet;
        }
        let promote = learners.into_iter().take(missing).collect();
        let is_away = |id: &u64| {
            let pod = self.pod(*id);
            pod.is_none_or(|pod| pod.deleting || pod.sidecar != SidecarState::Ready)
        };
        match voters.into_iter().find(is_away) {
            Some(away) => Next::Stalled(format!(
                "{} cannot leave: node {away} would be needed then, but pod {} is not there or has \
                 not caught up; see why, or set spec.replicas back. It goes on as soon as that is \
                 mended",
                nodes(&remove),
                self.pod_name(away),
            )),
            None => Next::Change { promote, remove },
        }
    }

    fn too_few(&self, voters: usize, remove: &BTreeSet<u64>) -> String {
        let (gone, wanted) = (nodes(remove), self.wanted);
        format!(
            "{gone} cannot leave: of the {wanted} who are to stay only {voters} have votes, and \
             too few others have joined; see why their pods do not, or set spec.replicas to \
             another number. It goes on as soon as they have"
        )
    }

    /// Why two cannot be left yet: each has to be able to go on without the other (R17).
    fn without_witness(&self, remove: &BTreeSet<u64>) -> Option<Next> {
        let leader = match self.belief {
            Belief::Led(claim) => Some(claim.id),
            Belief::Leaderless | Belief::Unknown => None,
        };
        let asked = (1..=PAIR).map(NodeId).chain(leader);
        let gone = nodes(remove);
        let is_unheard = |id: &u64| !self.reports.contains_key(&NodeId(*id));
        let unheard: BTreeSet<_> = (1..=PAIR).filter(is_unheard).collect();
        match Heard::of(asked, self.reports) {
            Heard::Answers if unheard.is_empty() => None,
            Heard::Answers | Heard::Nobody => Some(Next::Wait(format!(
                "{gone} leaves once the witness answers those who stay; not heard of: {}",
                nodes(&unheard)
            ))),
            Heard::Untold(who) => Some(Next::Wait(format!(
                "{gone} leaves once the pods of {} are replaced, which have no witness yet",
                nodes(&who)
            ))),
            Heard::Silent(who) => Some(Next::Stalled(format!(
                "{gone} cannot leave: the two who stay need the witness, which does not answer {}; \
                 see the condition WitnessReady, or set spec.replicas to 1 or 3. It goes on as \
                 soon as that is mended",
                nodes(&who)
            ))),
        }
    }

    /// Has the last pod end, if nothing else ends at the moment.
    fn lower(&self) -> Next {
        let Some(revision) = self.revision else {
            return Next::Wait("the StatefulSet has changed and is being looked at".to_owned());
        };
        let is_replaced = |pod: &&PodView| {
            let claimed = self.step.filter(|step| step.kind == StepKind::DeletePod);
            let is_claimed = claimed.is_some_and(|step| *step.uid == *pod.uid);
            is_claimed && pod.revision.as_deref() != Some(revision)
        };
        if let Some(pod) = self.own().find(is_replaced) {
            return Next::Wait(format!("pod {} is being replaced", pod.name));
        }
        // Once its end has begun, the next may follow: neither counts in anything.
        let is_beyond = |pod: &&PodView| pod.id.is_some_and(|id| id.0 > self.running);
        if let Some(pod) = self.own().filter(is_beyond).find(|pod| !pod.deleting) {
            return Next::Wait(format!("pod {} is about to end", pod.name));
        }
        let uid = self.pod(self.running).map(|pod| Arc::clone(&pod.uid));
        Next::Lower {
            pod: self.pod_name(self.running).into(),
            uid: uid.unwrap_or_default(),
            to: self.running.saturating_sub(1),
        }
    }

    /// Has learners struck off the list whose pods are gone.
    fn forget(&self, remove: BTreeSet<u64>) -> Next {
        match remove.iter().find_map(|id| self.pod(*id)) {
            Some(pod) => Next::Wait(format!("pod {} is ending", pod.name)),
            None => Next::Change {
                promote: BTreeSet::new(),
                remove,
            },
        }
    }

    /// Sees who has no vote yet.
    fn grow(&self, places: &BTreeMap<u64, Place>) -> Next {
        let place = |id: u64| places.get(&id).copied().unwrap_or_default();
        let all = || 1..=self.wanted;
        let are =
            |is: fn(Place) -> bool| -> BTreeSet<_> { all().filter(|id| is(place(*id))).collect() };
        let voters = are(|it| it.votes);
        let learners = are(|it| it.learns && !it.votes);
        let returning = are(|it| it.learns && it.votes);
        let absent = are(|it| !it.learns && !it.votes);
        if !returning.is_empty() {
            let who = nodes(&returning);
            return Next::Wait(format!("learning to take its own place again: {who}"));
        }
        if voters.len() == all().count() {
            return Next::Done;
        }
        // The leader promotes learners by itself where that makes the size odd.
        if learners.len() == 1 && absent.is_empty() && self.wanted.is_multiple_of(2) {
            return self.complete(&voters, learners);
        }
        let mut told = vec![format!(
            "{} of {} members have a vote",
            voters.len(),
            self.wanted
        )];
        if !learners.is_empty() {
            told.push(format!("learning: {}", nodes(&learners)));
        }
        if !absent.is_empty() {
            told.push(format!("expected to join: {}", nodes(&absent)));
        }
        Next::Wait(told.join(", "))
    }

    /// Sees to the last vote of an even number, which no leader gives by itself but that of a pair,
    /// once its witness names it (R17). One that was told of no witness is asked all the same where
    /// it keeps its disk: its pod is replaced only when the other has a vote. Where the disk ends
    /// with the pod neither of two is ever replaced, and such a pair would outlive no loss.
    fn complete(&self, voters: &BTreeSet<u64>, learners: BTreeSet<u64>) -> Next {
        let asks = Heard::of(voters.iter().copied().map(NodeId), self.reports);
        let waits = |why: &str| Next::Wait(format!("{} gets a vote {why}", nodes(&learners)));
        match asks {
            Heard::Answers if self.wanted == PAIR => waits("once it has caught up"),
            Heard::Silent(_) if self.wanted == PAIR => {
                waits("once the witness answers; see the condition WitnessReady")
            }
            Heard::Untold(who) if self.wanted == PAIR && self.is_ephemeral => {
                Next::Stalled(format!(
                    "{} gets no vote: the pods of {} have no witness yet, and without spec.storage \
                     none of two is replaced; scale to 3 first, and then to 2",
                    nodes(&learners),
                    nodes(&who)
                ))
            }
            _ => Next::Change {
                promote: learners,
                remove: BTreeSet::new(),
            },
        }
    }

    /// The pods that the StatefulSet has made.
    fn own(&self) -> impl Iterator<Item = &PodView> {
        let own = self.pods.values();
        own.filter(|pod| pod.id.is_some() && pod.maker.as_deref() == Some(self.maker))
    }

    fn pod(&self, id: u64) -> Option<&PodView> {
        self.own().find(|pod| pod.id == Some(NodeId(id)))
    }

    fn pod_name(&self, id: u64) -> String {
        pod_name(self.cluster, NodeId(id))
    }
}

/// How many of those who stay must have votes when the others leave: a majority of those who are
/// wanted (R5), and two only where no more are wanted (R16).
fn least(wanted: u64) -> usize {
    match usize::try_from(wanted).unwrap_or(usize::MAX) {
        wanted @ 0..=2 => wanted,
        wanted => (wanted / 2 + 1).max(3),
    }
}

/// Every id that the configuration names.
fn places(configuration: &Configuration) -> BTreeMap<u64, Place> {
    let mut places = BTreeMap::<_, Place>::new();
    for (member, seat) in configuration.seats() {
        let place = places.entry(member.id.0).or_default();
        if seat.votes || seat.outgoing {
            place.votes = true;
        } else {
            place.learns = true;
        }
    }
    places
}

/// Nodes in words.
pub(super) fn nodes(ids: &BTreeSet<u64>) -> String {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    match ids.as_slice() {
        [] => "nobody".to_owned(),
        [one] => format!("node {one}"),
        [others @ .., last] => format!("nodes {} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
#[path = "scale_test.rs"]
mod tests;
