//! The five steps by which a pod becomes the labelled leader of a term (R1).
//!
//! 1. Raise the fence of the cluster's record to the term; stop if it is higher. Where it was last
//!    seen is good enough to begin with: raising it from anywhere else conflicts.
//! 2. List the pods, from the API server itself and no cache.
//! 3. Read the fence again; stop if it has moved.
//! 4. Write role and term on **every other pod**, labelled or not, on all of them at once.
//! 5. Only then write them on the leader's.
//!
//! Each write holds only if the pod is still as step 2 saw it: the same pod, role and term.
//! Whatever conflicts starts the sequence over, with a look at the fence. So whoever acts for a
//! lower term finds that the fence has moved, or that the pod which it wants to label was written
//! by a higher one; in no version of the pods are there two leaders.

use std::sync::Arc;

use crate::consensus::Term;

/// What the label of a pod says that its node is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PodRole {
    /// Its node leads, and traffic is for it.
    Leader,
    /// Its node follows.
    Follower,
    /// Nobody has said yet: what a pod begins with.
    Candidate,
}

impl PodRole {
    /// The value of the label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
        }
    }

    /// Reads the value of the label; `None` if it says nothing of the kind.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Leader, Self::Follower, Self::Candidate];
        all.into_iter().find(|role| role.name() == name)
    }
}

/// A pod as a list from the API server shows it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PodSeen {
    /// Its name, which a later pod may have again.
    pub name: Arc<str>,
    /// Its uid, which no other pod ever has.
    pub uid: Arc<str>,
    /// What its label says; `None` if somebody has removed or spoiled it.
    pub role: Option<PodRole>,
    /// The term in which it was written; `None` likewise.
    pub term: Option<Term>,
}

impl PodSeen {
    /// Whether it says exactly this.
    #[must_use]
    pub fn is(&self, role: PodRole, term: Term) -> bool {
        (self.role, self.term) == (Some(role), Some(term))
    }
}

/// What to ask of the API server next. A call without an answer may still be carried out, at any
/// later time: make the same call again, or tell [`Answer::Conflict`], for nothing is known.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    /// Read the fence in the cluster's record.
    ReadFence,
    /// Set the fence to `to`, if it is still at `from`.
    RaiseFence {
        /// Where it was seen last.
        from: Term,
        /// The term that is to be labelled.
        to: Term,
    },
    /// List all pods of the cluster, those that are ending among them.
    ListPods,
    /// Write role and term on a pod, if it is still as it was seen.
    Mark {
        /// The pod as it was seen.
        seen: PodSeen,
        /// What its label is to say.
        role: PodRole,
        /// The term that is written beside it.
        term: Term,
    },
}

/// What the API server said.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// The fence that was asked for.
    Fence(Term),
    /// The pods that were asked for.
    Pods(Vec<PodSeen>),
    /// It is written.
    Written,
    /// Something else was there than what was seen, or nobody knows.
    Conflict,
    /// The pod, or the record, is not there.
    Gone,
    /// Someone refuses the call itself, such as an admission policy or the rules of who may do
    /// what; trying again at once will not help.
    Denied(String),
}

/// How a labelling ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// The leader's pod has the label, and no other pod has.
    Labelled,
    /// A later term is being labelled, or was.
    Overtaken(Term),
    /// No other pod has the label, and the leader's pod is gone.
    LeaderGone,
    /// The record of the cluster, which holds the fence, is gone: it has to be made anew, from the
    /// highest term that is to be seen.
    NoRecord,
    /// The API server refuses a call itself, so nothing was labelled (`TrafficRouted=False`).
    Denied {
        /// The pod that must not be written to; `None` if it is the record, or the list.
        pod: Option<Arc<str>>,
        /// What the API server said.
        why: String,
    },
}

/// One attempt to label the leader of one term. Conflicts start it over as often as there are any:
/// whoever carries it out limits that.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Labelling {
    term: Term,
    leader: Arc<str>,
    step: Step,
    /// Whether its raise of the fence came too late, until the fence is known to be elsewhere.
    is_late: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Step {
    ReadFence,
    Raise {
        from: Term,
    },
    List,
    ReadFenceAgain {
        pods: Vec<PodSeen>,
    },
    /// All others that are left, and only then the leader, if its pod is there.
    Mark {
        others: Vec<PodSeen>,
        leader: Option<PodSeen>,
    },
    Ended(End),
}

impl Labelling {
    /// Begins to label the pod with this uid as the leader of a term. `fence` is where the fence
    /// was seen last, if it was.
    #[must_use]
    pub fn begin(term: Term, leader: Arc<str>, fence: Option<Term>) -> Self {
        let below = fence.filter(|fence| *fence < term);
        Self {
            term,
            leader,
            step: below.map_or(Step::ReadFence, |from| Step::Raise { from }),
            is_late: false,
        }
    }

    /// What to ask of the API server now: one call, or several in any order or at once.
    ///
    /// # Errors
    /// [`End`] once there is nothing left to ask.
    pub fn calls(&self) -> Result<Vec<Call>, End> {
        let mark = |seen: &PodSeen, role| Call::Mark {
            seen: seen.clone(),
            role,
            term: self.term,
        };
        match &self.step {
            Step::ReadFence | Step::ReadFenceAgain { .. } => Ok(vec![Call::ReadFence]),
            Step::Raise { from } => Ok(vec![Call::RaiseFence {
                from: *from,
                to: self.term,
            }]),
            Step::List => Ok(vec![Call::ListPods]),
            Step::Mark { others, leader } if others.is_empty() => {
                let leader = leader.iter();
                Ok(leader.map(|leader| mark(leader, PodRole::Leader)).collect())
            }
            Step::Mark { others, .. } => {
                let others = others.iter();
                Ok(others.map(|other| mark(other, PodRole::Follower)).collect())
            }
            Step::Ended(end) => Err(end.clone()),
        }
    }

    /// Whether another operator has just raised the fence to this very term. It is writing the
    /// labels now, and two at once make each other's writes conflict: it may be left alone for a
    /// while.
    #[must_use]
    pub fn is_outrun(&self) -> bool {
        self.is_late && self.step == Step::List
    }

    /// Takes in what the API server said to one of [`Labelling::calls`]. What is said to a call
    /// that is not wanted any more changes nothing.
    pub fn answered(&mut self, call: &Call, answer: Answer) {
        if !self.calls().is_ok_and(|calls| calls.contains(call)) {
            return;
        }
        let step = std::mem::replace(&mut self.step, Step::ReadFence);
        self.is_late |= matches!((&step, &answer), (Step::Raise { .. }, Answer::Conflict));
        self.step = match (step, answer) {
            (Step::Raise { .. }, Answer::Written) => Step::List,
            (Step::List, Answer::Pods(pods)) => Step::ReadFenceAgain { pods },
            (Step::ReadFenceAgain { pods }, Answer::Fence(fence)) if fence == self.term => {
                self.others_first(pods)
            }
            (Step::ReadFence | Step::ReadFenceAgain { .. }, Answer::Fence(fence)) => {
                self.below(fence)
            }
            (Step::Mark { others, leader }, answer) => self.marked(others, leader, call, answer),
            (_, Answer::Denied(why)) => Step::Ended(End::Denied { pod: None, why }),
            (Step::ReadFence | Step::Raise { .. } | Step::ReadFenceAgain { .. }, Answer::Gone) => {
                Step::Ended(End::NoRecord)
            }
            // Whatever else is said, nothing is known: from the start.
            _ => Step::ReadFence,
        };
        self.is_late &= matches!(self.step, Step::ReadFence | Step::List);
    }

    /// Step 1: where the fence is, it decides who goes on.
    fn below(&self, fence: Term) -> Step {
        match fence.cmp(&self.term) {
            std::cmp::Ordering::Less => Step::Raise { from: fence },
            std::cmp::Ordering::Equal => Step::List,
            std::cmp::Ordering::Greater => Step::Ended(End::Overtaken(fence)),
        }
    }

    /// Step 4 begins: who is to be written to, and who is already as it should be.
    fn others_first(&self, pods: Vec<PodSeen>) -> Step {
        // Whoever writes to pods has raised the fence before. A later term here, below which the
        // fence is, means that the record was lost: no term on a pod goes back all the same.
        let latest = pods.iter().filter_map(|pod| pod.term).max();
        if let Some(latest) = latest.filter(|latest| *latest > self.term) {
            return Step::Ended(End::Overtaken(latest));
        }
        let is_leader = |pod: &PodSeen| pod.uid == self.leader;
        let (leaders, mut others): (Vec<_>, Vec<_>) = pods.into_iter().partition(is_leader);
        others.retain(|pod| !pod.is(PodRole::Follower, self.term));
        self.left(others, leaders.into_iter().next())
    }

    /// Steps 4 and 5 go on: one of `others`, or the leader if none is left, was written to.
    fn marked(
        &self,
        mut others: Vec<PodSeen>,
        leader: Option<PodSeen>,
        call: &Call,
        answer: Answer,
    ) -> Step {
        let Call::Mark { seen, role, .. } = call else {
            return Step::Mark { others, leader };
        };
        match answer {
            Answer::Gone if *role == PodRole::Leader => Step::Ended(End::LeaderGone),
            Answer::Written if *role == PodRole::Leader => Step::Ended(End::Labelled),
            Answer::Written | Answer::Gone => {
                others.retain(|other| other.uid != seen.uid);
                self.left(others, leader)
            }
            Answer::Denied(why) => Step::Ended(End::Denied {
                pod: Some(Arc::clone(&seen.name)),
                why,
            }),
            // Somebody else has written to it: nothing is known, from the start.
            Answer::Conflict | Answer::Fence(_) | Answer::Pods(_) => Step::ReadFence,
        }
    }

    /// What is left to be written to.
    fn left(&self, others: Vec<PodSeen>, leader: Option<PodSeen>) -> Step {
        if !others.is_empty() {
            return Step::Mark { others, leader };
        }
        match leader {
            None => Step::Ended(End::LeaderGone),
            Some(leader) if leader.is(PodRole::Leader, self.term) => Step::Ended(End::Labelled),
            leader => Step::Mark { others, leader },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, role: PodRole, term: u64) -> PodSeen {
        PodSeen {
            name: name.into(),
            uid: format!("uid-of-{name}").into(),
            role: Some(role),
            term: Some(Term(term)),
        }
    }

    fn begin(leader: &str, fence: Option<Term>) -> Labelling {
        Labelling::begin(Term(7), leader.into(), fence)
    }

    /// Gives one answer to whatever is asked.
    fn answer(labelling: &mut Labelling, answer: &Answer) {
        for call in labelling.calls().unwrap() {
            labelling.answered(&call, answer.clone());
        }
    }

    /// Answers call after call, and tells who was written to, in order.
    fn run(labelling: &mut Labelling, fence: u64, pods: &[PodSeen]) -> (Vec<String>, End) {
        let mut written = Vec::new();
        loop {
            let calls = match labelling.calls() {
                Err(end) => return (written, end),
                Ok(calls) => calls,
            };
            for call in calls {
                let answer = match &call {
                    Call::ReadFence if written.is_empty() => Answer::Fence(Term(fence)),
                    Call::ReadFence => Answer::Fence(labelling.term),
                    Call::RaiseFence { .. } => {
                        written.push("fence".to_owned());
                        Answer::Written
                    }
                    Call::ListPods => Answer::Pods(pods.to_vec()),
                    Call::Mark { seen, role, .. } => {
                        written.push(format!("{} {}", seen.name, role.name()));
                        Answer::Written
                    }
                };
                labelling.answered(&call, answer);
            }
        }
    }

    #[test]
    fn the_leader_is_written_last_and_all_others_before() {
        let pods = [
            pod("a", PodRole::Leader, 6),
            pod("b", PodRole::Candidate, 0),
            pod("c", PodRole::Follower, 6),
        ];
        let mut labelling = begin("uid-of-b", None);
        let (written, end) = run(&mut labelling, 6, &pods);
        assert_eq!(written, ["fence", "a follower", "c follower", "b leader"]);
        assert_eq!(end, End::Labelled);
    }

    #[test]
    fn a_higher_fence_stops_it_before_anything_is_written() {
        let mut labelling = begin("uid-of-a", None);
        let (written, end) = run(&mut labelling, 8, &[pod("a", PodRole::Candidate, 0)]);
        assert!(written.is_empty(), "{written:?}");
        assert_eq!(end, End::Overtaken(Term(8)));
    }

    #[test]
    fn where_the_fence_was_seen_spares_a_look_and_is_not_believed() {
        let raise = |from| {
            let (from, to) = (Term(from), Term(7));
            Ok(vec![Call::RaiseFence { from, to }])
        };
        let mut labelling = begin("uid-of-a", Some(Term(5)));
        assert_eq!(labelling.calls(), raise(5));
        answer(&mut labelling, &Answer::Conflict);
        answer(&mut labelling, &Answer::Fence(Term(6)));
        assert_eq!(labelling.calls(), raise(6));
        answer(&mut labelling, &Answer::Written);
        assert!(!labelling.is_outrun(), "it was the first to raise it");
        for no_lower in [7, 8] {
            let labelling = begin("uid-of-a", Some(Term(no_lower)));
            assert_eq!(labelling.calls(), Ok(vec![Call::ReadFence]));
        }
    }

    #[test]
    fn who_finds_the_fence_raised_to_its_own_term_is_outrun() {
        let mut labelling = begin("uid-of-a", Some(Term(5)));
        answer(&mut labelling, &Answer::Conflict);
        assert!(!labelling.is_outrun(), "nobody knows to which term");
        answer(&mut labelling, &Answer::Fence(Term(7)));
        assert!(labelling.is_outrun());
        answer(&mut labelling, &Answer::Pods(Vec::new()));
        assert!(!labelling.is_outrun());
        let mut labelling = begin("uid-of-a", None);
        answer(&mut labelling, &Answer::Fence(Term(7)));
        assert!(!labelling.is_outrun(), "it may have been raised long ago");
    }

    #[test]
    fn an_answer_that_comes_too_late_changes_nothing() {
        let pods = [pod("a", PodRole::Leader, 6), pod("b", PodRole::Follower, 6)];
        let mut labelling = begin("uid-of-c", Some(Term(6)));
        answer(&mut labelling, &Answer::Written);
        answer(&mut labelling, &Answer::Pods(pods.to_vec()));
        answer(&mut labelling, &Answer::Fence(Term(7)));
        let marks = labelling.calls().unwrap();
        assert_eq!(marks.len(), 2);
        labelling.answered(&marks[0], Answer::Conflict);
        labelling.answered(&marks[1], Answer::Denied("a policy".to_owned()));
        assert_eq!(labelling.calls(), Ok(vec![Call::ReadFence]));
    }

    #[test]
    fn a_later_term_on_a_pod_stops_it_though_the_record_forgot_that() {
        let pods = [pod("a", PodRole::Leader, 9), pod("b", PodRole::Follower, 9)];
        let mut labelling = begin("uid-of-b", None);
        let (written, end) = run(&mut labelling, 6, &pods);
        assert_eq!(written, ["fence"]);
        assert_eq!(end, End::Overtaken(Term(9)));
    }

    #[test]
    fn without_a_record_or_leave_it_ends_and_says_so() {
        let mut labelling = begin("uid-of-b", None);
        answer(&mut labelling, &Answer::Gone);
        assert_eq!(labelling.calls(), Err(End::NoRecord));
        let mut labelling = begin("uid-of-b", None);
        answer(&mut labelling, &Answer::Denied("no such right".to_owned()));
        let why = "no such right".to_owned();
        assert_eq!(labelling.calls(), Err(End::Denied { pod: None, why }));
    }

    #[test]
    fn what_is_as_it_should_be_is_not_written_again() {
        let pods = [pod("a", PodRole::Leader, 7), pod("b", PodRole::Follower, 7)];
        let mut labelling = begin("uid-of-a", None);
        let (written, end) = run(&mut labelling, 7, &pods);
        assert!(written.is_empty(), "{written:?}");
        assert_eq!(end, End::Labelled);
    }

    #[test]
    fn who_may_not_be_stripped_keeps_everybody_from_the_label() {
        let mut labelling = begin("uid-of-b", None);
        answer(&mut labelling, &Answer::Fence(Term(7)));
        let pods = vec![pod("a", PodRole::Leader, 6), pod("b", PodRole::Follower, 6)];
        answer(&mut labelling, &Answer::Pods(pods));
        answer(&mut labelling, &Answer::Fence(Term(7)));
        answer(&mut labelling, &Answer::Denied("a policy".to_owned()));
        let denied = End::Denied {
            pod: Some("a".into()),
            why: "a policy".to_owned(),
        };
        assert_eq!(labelling.calls(), Err(denied));
    }
}
