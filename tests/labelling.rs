//! Every interleaving of several operators on one cluster, tried on the very [`Labelling`] (R1).
//!
//! The world is an API server with a fence and pods; operators that each label another term; pods
//! that end, and come back under their name as others or do not; one that comes late; a leader's
//! label that is stripped because its node says that it does not lead (R2); and writes that an
//! operator has given up, one by one or all that are on their way, and that are carried out
//! nevertheless, at any later time. Calls that are made at once are carried out in any order, and
//! what is said to them is taken in when all are answered, as `carry.rs` does. After every step of
//! anybody: at most one pod has the leader's label, and no term goes back.
//!
//! It is a program of its own because its worlds take hundreds of megabytes.

#![cfg(test)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use remember::consensus::Term;
use remember::operator::route::{Answer, Call, Labelling, PodRole, PodSeen};

/// Where the world is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    fence: Term,
    pods: Vec<PodSeen>,
    operators: Vec<Operator>,
    /// Calls that their operator has given up.
    astray: Vec<Call>,
    /// How often something may still happen.
    left: Left,
}

/// One operator, and what it was told of the calls that it has made at once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Operator {
    labelling: Labelling,
    told: BTreeMap<usize, Answer>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Left {
    recreations: u8,
    arrivals: u8,
    strips: u8,
    timeouts: u8,
    removals: u8,
}

fn new_pod(name: &str, life: u8) -> PodSeen {
    PodSeen {
        name: name.into(),
        uid: format!("{name}/{life}").into(),
        role: Some(PodRole::Candidate),
        term: Some(Term(0)),
    }
}

impl Operator {
    /// Its calls that nobody has answered, with their places among those made at once.
    fn unanswered(&self) -> Vec<(usize, Call)> {
        let calls = self.labelling.calls().unwrap_or_default();
        let calls = calls.into_iter().enumerate();
        calls
            .filter(|(place, _)| !self.told.contains_key(place))
            .collect()
    }

    /// Is told what became of one call, and takes all in once it is the last.
    fn told(&mut self, place: usize, answer: Answer) {
        self.told.insert(place, answer);
        if self.unanswered().is_empty() {
            let calls = self.labelling.calls().unwrap_or_default();
            for (call, answer) in calls
                .iter()
                .zip(std::mem::take(&mut self.told).into_values())
            {
                self.labelling.answered(call, answer);
            }
        }
    }

    /// Drops what it was doing, and begins anew.
    fn dropped(&mut self) {
        self.told.clear();
        for call in self.labelling.calls().unwrap_or_default() {
            self.labelling.answered(&call, Answer::Conflict);
        }
    }
}

impl World {
    /// The first lives of pods `a` and `b`, and one operator for each claim of (term, pod's uid).
    /// Every other operator has seen where the fence is.
    fn new(claims: &[(u64, &str)], left: Left) -> Self {
        let operators = claims.iter();
        Self {
            fence: Term(0),
            pods: vec![new_pod("a", 0), new_pod("b", 0)],
            operators: (operators.zip([Some(Term(0)), None].into_iter().cycle()))
                .map(|((term, uid), fence)| Operator {
                    labelling: Labelling::begin(Term(*term), Arc::from(*uid), fence),
                    told: BTreeMap::new(),
                })
                .collect(),
            astray: Vec::new(),
            left,
        }
    }

    /// The API server carries out one call.
    fn serve(&mut self, call: &Call) -> Answer {
        match call {
            Call::ReadFence => Answer::Fence(self.fence),
            Call::RaiseFence { from, to } if *from == self.fence => {
                self.fence = *to;
                Answer::Written
            }
            Call::RaiseFence { .. } => Answer::Conflict,
            Call::ListPods => Answer::Pods(self.pods.clone()),
            Call::Mark { seen, role, term } => {
                let Some(pod) = self.pods.iter_mut().find(|pod| pod.name == seen.name) else {
                    return Answer::Gone;
                };
                if pod != seen {
                    return Answer::Conflict;
                }
                (pod.role, pod.term) = (Some(*role), Some(*term));
                Answer::Written
            }
        }
    }

    /// All worlds that this one may become in one step.
    fn next(&self) -> Vec<Self> {
        let mut worlds = Vec::new();
        for (at, operator) in self.operators.iter().enumerate() {
            let unanswered = operator.unanswered();
            for (place, call) in &unanswered {
                let mut answered = self.clone();
                let answer = answered.serve(call);
                answered.operators[at].told(*place, answer);
                worlds.push(answered);
                if self.left.timeouts > 0 {
                    // It makes the same call again.
                    let mut repeats = self.clone();
                    repeats.left.timeouts -= 1;
                    repeats.astray.push(call.clone());
                    worlds.push(repeats);
                }
            }
            if self.left.timeouts > 0 && !unanswered.is_empty() {
                let mut dropped = self.clone();
                dropped.left.timeouts -= 1;
                let calls = unanswered.into_iter().map(|(_, call)| call);
                dropped.astray.extend(calls);
                dropped.operators[at].dropped();
                worlds.push(dropped);
            }
        }
        for at in 0..self.astray.len() {
            let mut late = self.clone();
            let call = late.astray.remove(at);
            late.serve(&call);
            worlds.push(late);
        }
        worlds.extend(self.with_pods_changed());
        worlds
    }

    fn with_pods_changed(&self) -> Vec<Self> {
        let mut worlds = Vec::new();
        for (at, pod) in self.pods.iter().enumerate() {
            if self.left.recreations > 0 {
                let mut world = self.clone();
                world.left.recreations -= 1;
                world.pods[at] = new_pod(&pod.name, 1 + self.left.recreations);
                worlds.push(world);
            }
            if self.left.strips > 0 && pod.role == Some(PodRole::Leader) {
                let mut world = self.clone();
                world.left.strips -= 1;
                world.pods[at].role = Some(PodRole::Follower);
                worlds.push(world);
            }
        }
        for at in 0..self.pods.len() {
            if self.left.removals > 0 {
                let mut world = self.clone();
                world.left.removals -= 1;
                world.pods.remove(at);
                worlds.push(world);
            }
        }
        if self.left.arrivals > 0 {
            let mut world = self.clone();
            world.left.arrivals -= 1;
            world.pods.push(new_pod("c", 0));
            worlds.push(world);
        }
        worlds
    }

    /// What must hold here, coming from another world.
    fn demand_sound(&self, before: &Self) {
        let leads = |pod: &&PodSeen| pod.role == Some(PodRole::Leader);
        let leaders = self.pods.iter().filter(leads).count();
        assert!(leaders <= 1, "two leaders:\n{before:#?}\nbecame\n{self:#?}");
        assert!(self.fence >= before.fence, "the fence went back: {self:#?}");
        for pod in &self.pods {
            let earlier = before.pods.iter().find(|earlier| earlier.uid == pod.uid);
            assert!(
                earlier.is_none_or(|earlier| earlier.term <= pod.term),
                "a term went back:\n{before:#?}\nbecame\n{self:#?}"
            );
        }
    }
}

/// Goes to every world that can be reached, and demands that each is sound, and that from each of
/// them all operators can still come to their ends: they never hinder each other for ever.
fn search(start: World) {
    let mut numbers = HashMap::from([(start.clone(), 0_usize)]);
    let mut open = vec![(0, start)];
    // From which world each may be reached, and in which all operators are done.
    let mut before: Vec<Vec<usize>> = vec![Vec::new()];
    let mut done = Vec::new();
    let mut labelled = 0;
    while let Some((number, world)) = open.pop() {
        let mut operators = world.operators.iter();
        if operators.all(|operator| operator.labelling.calls().is_err()) {
            let mut pods = world.pods.iter();
            labelled += usize::from(pods.any(|pod| pod.role == Some(PodRole::Leader)));
            done.push(number);
        }
        for next in world.next() {
            next.demand_sound(&world);
            let fresh = numbers.len();
            let reached = *numbers.entry(next.clone()).or_insert(fresh);
            if reached == fresh {
                before.push(Vec::new());
                open.push((fresh, next));
            }
            before[reached].push(number);
        }
    }
    let worlds = numbers.len();
    println!("{worlds} worlds; in {labelled} all operators are done and one pod leads");
    assert!(
        worlds > 10_000 && labelled > 10,
        "{worlds} worlds, {labelled} ends: no search"
    );
    let mut can_end = vec![false; worlds];
    while let Some(number) = done.pop() {
        if !std::mem::replace(&mut can_end[number], true) {
            done.append(&mut before[number]);
        }
    }
    let stuck = numbers.iter().find(|(_, number)| !can_end[**number]);
    assert_eq!(stuck, None, "from here the operators never end");
}

/// Each fault may happen once.
const EACH_FAULT_ONCE: Left = Left {
    recreations: 1,
    arrivals: 1,
    strips: 1,
    timeouts: 1,
    removals: 1,
};

#[test]
fn two_operators_in_a_world_of_every_fault_never_show_two_leaders() {
    search(World::new(&[(6, "a/0"), (7, "b/0")], EACH_FAULT_ONCE));
}

#[test]
fn three_operators_never_show_two_leaders() {
    let left = Left {
        timeouts: 0,
        ..EACH_FAULT_ONCE
    };
    search(World::new(&[(6, "a/0"), (7, "b/0"), (8, "a/0")], left));
}

#[test]
fn a_leader_whose_pod_comes_late_is_never_the_second() {
    search(World::new(&[(6, "c/0"), (7, "b/0")], EACH_FAULT_ONCE));
}

#[test]
fn two_operators_for_one_term_do_not_hinder_each_other_for_ever() {
    search(World::new(&[(6, "a/0"), (6, "a/0")], EACH_FAULT_ONCE));
}
