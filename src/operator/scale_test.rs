//! Worlds of members and pods, and what is next with them.

use super::*;
use crate::consensus::{ClusterId, Incarnation, MemberId, Seat, Term};
use crate::operator::route::{Claim, Witness};

/// What a member's word counts in.
#[derive(Clone, Copy)]
enum Is {
    Voter,
    Learner,
}

/// A cluster whose pods are all there, and whose nodes follow the first.
#[derive(Clone)]
struct World {
    wanted: u64,
    running: u64,
    pods: BTreeMap<Arc<str>, PodView>,
    /// Who belongs to it: by id and disk.
    members: BTreeMap<(u64, u64), Is>,
    is_joint: bool,
    belief: Belief,
    reports: BTreeMap<NodeId, Report>,
    is_ephemeral: bool,
    step: Option<Step>,
}

fn uid(id: u64) -> Arc<str> {
    format!("uid-{id}").into()
}

fn pod(id: u64) -> PodView {
    PodView {
        revision: Some("new".into()),
        ..PodView::of_store(id)
    }
}

fn claim() -> Claim {
    Claim {
        cluster: ClusterId(1),
        term: Term(7),
        id: NodeId(1),
        incarnation: Incarnation(1),
        pod: uid(1),
    }
}

fn led() -> Belief {
    Belief::Led(claim())
}

/// What a node says whose witness answers.
fn report(id: u64) -> Report {
    Report {
        pod: uid(id),
        term: Term(7),
        leader: Some(NodeId(1)),
        claim: None,
        incarnation: Incarnation(1),
        cluster: Some(ClusterId(1)),
        seats: None,
        witness: Some(Witness::Answers),
    }
}

fn ids(ids: &[u64]) -> BTreeSet<u64> {
    ids.iter().copied().collect()
}

fn change(promote: &[u64], remove: &[u64]) -> Next {
    Next::Change {
        promote: ids(promote),
        remove: ids(remove),
    }
}

fn lower(id: u64) -> Next {
    Next::Lower {
        pod: pod(id).name,
        uid: uid(id),
        to: id - 1,
    }
}

impl World {
    /// So many pods are wanted and there, these vote, and these learn.
    fn of(wanted: u64, voters: &[u64], learners: &[u64]) -> Self {
        let there = voters.iter().chain(learners).copied().max().unwrap_or(0);
        let running = there.max(wanted);
        let pods = (1..=running).map(pod);
        let member = |is: Is| move |id: &u64| ((*id, 1), is);
        let voters = voters.iter().map(member(Is::Voter));
        Self {
            wanted,
            running,
            pods: pods.map(|pod| (Arc::clone(&pod.name), pod)).collect(),
            members: voters
                .chain(learners.iter().map(member(Is::Learner)))
                .collect(),
            is_joint: false,
            belief: led(),
            reports: (1..=9).map(|id| (NodeId(id), report(id))).collect(),
            is_ephemeral: false,
            step: None,
        }
    }

    /// Its node was told of a witness or not, and hears from it or not.
    fn asks(&mut self, id: u64, witness: Option<Witness>) {
        self.reports.get_mut(&NodeId(id)).unwrap().witness = witness;
    }

    fn pod(&mut self, id: u64) -> &mut PodView {
        self.pods.get_mut(&pod(id).name).unwrap()
    }

    /// A pod is there no more, or was never made.
    fn lose(&mut self, id: u64) {
        self.pods.remove(&pod(id).name);
    }

    fn configuration(&self) -> Option<Configuration> {
        let seat = |((id, disk), is): (&(u64, u64), &Is)| {
            let member = MemberId {
                id: NodeId(*id),
                incarnation: Incarnation(*disk),
            };
            let votes = matches!(is, Is::Voter);
            let seat = Seat {
                votes,
                outgoing: votes && self.is_joint,
                ..Seat::default()
            };
            (member, seat)
        };
        Configuration::new(self.members.iter().map(seat).collect())
    }

    fn next(&self) -> Next {
        self.next_of(Some("new"))
    }

    fn next_of(&self, revision: Option<&str>) -> Next {
        let configuration = self.configuration();
        let sight = Sight {
            cluster: "store",
            wanted: self.wanted,
            running: self.running,
            revision,
            maker: "set",
            pods: &self.pods,
            belief: &self.belief,
            reports: &self.reports,
            is_ephemeral: self.is_ephemeral,
            configuration: configuration.as_ref(),
            step: self.step.as_ref(),
        };
        sight.next()
    }

    #[track_caller]
    fn waits(&self, words: &str) {
        match self.next() {
            Next::Wait(why) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?} instead of waiting"),
        }
    }

    #[track_caller]
    fn stalls(&self, words: &str) {
        match self.next() {
            Next::Stalled(why) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?} instead of stalling"),
        }
    }

    /// Does what is next, as leader and StatefulSet would, until nothing is next; what was done.
    fn play(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        for _ in 0..100 {
            let next = self.next();
            if next == Next::Done {
                return done;
            }
            assert!(self.carry_out(&next), "nothing comes of {next:?}");
            if next.acts() {
                done.push(next.sentence().unwrap());
            }
        }
        panic!("no end: {done:?}");
    }

    /// Whether anything comes of it.
    fn carry_out(&mut self, next: &Next) -> bool {
        match next {
            Next::Change { promote, remove } => {
                self.members.retain(|(id, _), _| !remove.contains(id));
                let promoted = |id: &u64| promote.contains(id);
                for ((_, _), is) in self.members.iter_mut().filter(|((id, _), _)| promoted(id)) {
                    *is = Is::Voter;
                }
                true
            }
            Next::Lower { pod, uid, to } => {
                assert_eq!(self.pods.remove(pod).map(|pod| pod.uid).as_ref(), Some(uid));
                self.running = *to;
                true
            }
            Next::Wait(_) => self.join_or_vote(),
            Next::Done | Next::Retry(_) | Next::Stalled(_) => false,
        }
    }

    /// What nodes and their leader do by themselves: join, and get votes so that sizes stay odd, or
    /// two, since there is a witness.
    fn join_or_vote(&mut self) -> bool {
        let known: BTreeSet<_> = self.members.keys().map(|(id, _)| *id).collect();
        if let Some(id) = (1..=self.running).find(|id| !known.contains(id)) {
            self.members.insert((id, 1), Is::Learner);
            return true;
        }
        let voters = self
            .members
            .values()
            .filter(|is| matches!(is, Is::Voter))
            .count();
        let learners = self
            .members
            .values_mut()
            .filter(|is| matches!(is, Is::Learner));
        let learners: Vec<_> = learners.collect();
        let alone = voters.is_multiple_of(2) || (voters, learners.len()) == (1, 1);
        let due = if alone { 1 } else { 2 };
        let are_due = learners.len() >= due;
        for learner in learners.into_iter().take(due).filter(|_| are_due) {
            *learner = Is::Voter;
        }
        are_due
    }

    /// Another number is wanted; the StatefulSet is raised with the other objects.
    fn want(&mut self, wanted: u64) {
        self.wanted = wanted;
        for id in self.running + 1..=wanted {
            self.pods.insert(pod(id).name, pod(id));
        }
        self.running = self.running.max(wanted);
    }
}

#[test]
fn a_cluster_that_is_as_it_should_be_is_left_alone() {
    for size in 1..=9 {
        let all: Vec<_> = (1..=size).collect();
        assert_eq!(World::of(size, &all, &[]).next(), Next::Done, "{size}");
    }
}

#[test]
fn up_and_down_and_up_again() {
    let mut world = World::of(3, &[1, 2, 3], &[]);
    world.want(5);
    assert_eq!(
        world.play(),
        Vec::<String>::new(),
        "nodes join by themselves"
    );
    assert_eq!(world.members.len(), 5);
    world.want(3);
    let done = world.play();
    let expected = [
        "to leave, before its pod ends: nodes 4 and 5",
        "pod store-4 has no seat any more, and ends",
        "pod store-3 has no seat any more, and ends",
    ];
    assert_eq!(done, expected);
    world.want(1);
    let expected = [
        "to leave, before its pod ends: nodes 2 and 3",
        "pod store-2 has no seat any more, and ends",
        "pod store-1 has no seat any more, and ends",
    ];
    assert_eq!(world.play(), expected);
    world.want(3);
    assert_eq!(world.play(), Vec::<String>::new());
    assert_eq!((world.running, world.members.len()), (3, 3));
}

/// From any size to any other, with another number wanted at any moment in between.
#[test]
fn every_number_is_reached_from_every_other_and_from_the_midst() {
    let mut lowered = 0;
    for (before, between, after) in
        (1..=9).flat_map(|a| (1..=9).flat_map(move |b| (1..=9).map(move |c| (a, b, c))))
    {
        for steps in 0..6 {
            let all: Vec<_> = (1..=before).collect();
            let mut world = World::of(before, &all, &[]);
            world.want(between);
            for _ in 0..steps {
                let next = world.next();
                world.carry_out(&next);
            }
            world.want(after);
            lowered += world.play().len();
            let members = world.members.iter();
            let voters = members.filter(|(_, is)| matches!(is, Is::Voter));
            let voters: Vec<_> = voters.map(|((id, _), _)| *id).collect();
            let expected: Vec<_> = (1..=after).collect();
            assert_eq!(
                voters, expected,
                "{before}, {steps} steps to {between}, {after}"
            );
            assert_eq!(world.running, after);
        }
    }
    assert!(lowered > 1000, "{lowered} steps");
}

#[test]
fn the_last_of_an_even_number_gets_its_vote_when_it_is_asked_for() {
    assert_eq!(World::of(4, &[1, 2, 3], &[4]).next(), change(&[4], &[]));
    // Of several, and where the size would become odd, the leader sees to it.
    World::of(6, &[1, 2, 3], &[4, 5, 6]).waits("learning: nodes 4, 5 and 6");
    World::of(3, &[1, 2], &[3]).waits("2 of 3 members have a vote");
    // One that is not there yet may come before it, or with it.
    let mut world = World::of(4, &[1, 2], &[3]);
    world.waits("expected to join: node 4");
    world.members.insert((4, 1), Is::Learner);
    world.waits("learning: nodes 3 and 4");
}

#[test]
fn nobody_ends_before_it_has_no_vote_and_that_is_agreed() {
    let mut world = World::of(3, &[1, 2, 3, 4, 5], &[]);
    assert_eq!(world.next(), change(&[], &[4, 5]));
    world.is_joint = true;
    world.waits("under way");
    world.is_joint = false;
    world.belief = Belief::Leaderless;
    world.waits("3 pods are wanted instead of 5");
    world.belief = Belief::Unknown;
    world.waits("no leader is known");
    world.belief = led();
    world.members.clear();
    world.waits("no leader is known");
}

#[test]
fn pods_end_one_at_a_time() {
    let mut world = World::of(5, &[1, 2, 3], &[]);
    world.wanted = 3;
    assert_eq!(world.next(), lower(5));
    world.running = 4;
    world.waits("store-4 is about to end");
    world.pod(5).deleting = true;
    assert_eq!(world.next(), lower(4));
    // One that is not there is not waited for.
    world.lose(4);
    let Next::Lower { uid, to, .. } = world.next() else {
        panic!("{:?}", world.next());
    };
    assert_eq!((&*uid, to), ("", 3));
    // Nor does any end while it is not known how they should be.
    assert!(matches!(world.next_of(None), Next::Wait(_)));
}

#[test]
fn no_pod_ends_while_another_is_replaced() {
    let mut world = World::of(5, &[1, 2, 3], &[]);
    world.wanted = 3;
    let claim = |kind| {
        Some(Step {
            kind,
            pod: pod(2).name.to_string(),
            uid: uid(2).to_string(),
            generation: None,
        })
    };
    world.step = claim(StepKind::DeletePod);
    assert_eq!(world.next(), lower(5), "it is as it should be after all");
    world.pod(2).revision = Some("old".into());
    world.waits("store-1 is being replaced");
    world.step = claim(StepKind::LowerReplicas);
    assert_eq!(world.next(), lower(5), "that is over");
}

#[test]
fn learners_that_are_too_many_leave_with_their_pods() {
    // While its pod runs, it would only come back.
    let mut world = World::of(3, &[1, 2, 3], &[4]);
    assert_eq!(world.next(), lower(4));
    world.running = 3;
    world.waits("store-3 is ending");
    world.lose(4);
    assert_eq!(world.next(), change(&[], &[4]));
}

#[test]
fn those_who_stay_have_to_be_there() {
    let mut world = World::of(3, &[1, 2, 3, 4, 5], &[]);
    world.pod(2).sidecar = SidecarState::Running;
    world.stalls("node 2 would be needed then, but pod store-1 is not there");
    world.pod(2).sidecar = SidecarState::Ready;
    world.pod(2).deleting = true;
    world.stalls("node 2 would be needed");
    world.lose(2);
    world.stalls("node 2 would be needed");
    // Those who leave need not be, nor another's pod count for one.
    let mut world = World::of(3, &[1, 2, 3, 4, 5], &[]);
    world.lose(5);
    assert_eq!(world.next(), change(&[], &[4, 5]));
    world.pod(3).maker = Some("somebody else".into());
    world.stalls("node 3 would be needed");
}

#[test]
fn fewer_than_a_majority_are_never_left() {
    World::of(4, &[1, 2, 5], &[]).stalls("of the 4 who are to stay only 2 have votes");
    World::of(1, &[2, 3, 4], &[]).stalls("only 0 have votes");
    World::of(3, &[1, 4, 5], &[2]).stalls("only 1 have votes");
    World::of(6, &[1, 2, 3, 7, 8], &[]).stalls("only 3 have votes");
    World::of(2, &[1, 3, 4], &[]).stalls("only 1 have votes");
    // Unless others vote in the same step.
    for (wanted, voters, learners, promote, remove) in [
        (3, &[1, 2, 4][..], &[3][..], &[3][..], &[4][..]),
        (1, &[2, 3, 4], &[1], &[1], &[2, 3, 4]),
        (3, &[1, 4, 5], &[2, 3], &[2, 3], &[4, 5]),
        (6, &[1, 2, 3, 7, 8], &[4, 5], &[4, 5], &[7, 8]),
        (6, &[1, 2, 3, 7, 8], &[4], &[4], &[7, 8]),
        (2, &[1, 3, 4], &[2], &[2], &[3, 4]),
        (2, &[1, 3], &[2], &[2], &[3]),
    ] {
        let world = World::of(wanted, voters, learners);
        assert_eq!(
            world.next(),
            change(promote, remove),
            "{voters:?} to {wanted}"
        );
    }
}

#[test]
fn two_are_left_once_the_witness_answers_them() {
    let mut world = World::of(2, &[1, 2, 3], &[]);
    assert_eq!(world.next(), change(&[], &[3]));
    world.asks(2, Some(Witness::Silent));
    world.stalls("node 3 cannot leave: the two who stay need the witness, which does not answer");
    // Their pods are replaced meanwhile.
    world.asks(1, None);
    world.waits("node 3 leaves once the pods of node 1 are replaced");
    // Whoever leads has to be told of it as well, or it refuses.
    let mut world = World::of(2, &[1, 2, 3], &[]);
    world.asks(3, None);
    assert_eq!(world.next(), change(&[], &[3]));
    world.belief = Belief::Led(Claim {
        id: NodeId(3),
        pod: uid(3),
        ..claim()
    });
    world.waits("pods of node 3 are replaced");
    world.reports.clear();
    world.waits("once the witness answers");
    // That the witness answers one of them says nothing of the other.
    for id in [1, 2] {
        let mut world = World::of(2, &[1, 2, 3], &[]);
        world.reports.remove(&NodeId(id));
        world.waits(&format!("not heard of: node {id}"));
        world.asks(3 - id, Some(Witness::Silent));
        world.stalls(&format!("which does not answer node {}", 3 - id));
    }
    let mut world = World::of(2, &[1, 2, 3], &[]);
    world.reports.remove(&NodeId(3));
    assert_eq!(world.next(), change(&[], &[3]), "it goes anyway");
    // No other number asks for it.
    let mut world = World::of(1, &[1, 2], &[]);
    world.asks(1, Some(Witness::Silent));
    assert_eq!(world.next(), change(&[], &[2]));
}

#[test]
fn one_becomes_two_once_its_witness_answers() {
    let mut world = World::of(2, &[1], &[2]);
    world.waits("node 2 gets a vote once it has caught up");
    assert_eq!(world.play(), Vec::<String>::new(), "its leader does that");
    let mut world = World::of(2, &[1], &[2]);
    world.asks(1, Some(Witness::Silent));
    world.waits("once the witness answers");
    // Its pod can only be replaced beside another that votes.
    world.asks(1, None);
    assert_eq!(world.next(), change(&[2], &[]));
    // Where its disk would end with it, it never is beside one other, but beside two.
    world.is_ephemeral = true;
    world.stalls("node 2 gets no vote: the pods of node 1 have no witness yet");
    let mut three = World::of(3, &[1], &[2, 3]);
    three.is_ephemeral = true;
    three.asks(1, None);
    three.waits("learning: nodes 2 and 3");
    let mut four = World::of(4, &[1, 2, 3], &[4]);
    four.is_ephemeral = true;
    four.asks(1, None);
    assert_eq!(four.next(), change(&[4], &[]));
    // Either of two is back, and a third comes: as ever.
    World::of(2, &[2], &[1]).waits("node 1 gets a vote");
    World::of(3, &[1, 2], &[3]).waits("2 of 3 members have a vote");
}

#[test]
fn a_voter_on_another_disk_is_a_matter_of_its_leader() {
    let mut world = World::of(3, &[1, 2, 3], &[]);
    world.members.insert((3, 2), Is::Learner);
    world.waits("to take its own place again: node 3");
    // Nobody is asked to promote it beside its own earlier disk.
    let mut world = World::of(4, &[1, 2, 3], &[4]);
    world.members.insert((3, 2), Is::Learner);
    world.waits("to take its own place again: node 3");
}

#[test]
fn a_statefulset_that_was_changed_by_hand_is_put_right() {
    // Raised: the pods that are too many end again.
    let mut world = World::of(3, &[1, 2, 3], &[]);
    world.running = 5;
    world.pods.insert(pod(4).name, pod(4));
    world.pods.insert(pod(5).name, pod(5));
    assert_eq!(world.play().len(), 2);
    // Lowered: `Extent` raises it, and nobody is asked to leave.
    let mut world = World::of(5, &[1, 2, 3, 4, 5], &[]);
    world.lose(5);
    assert_eq!(world.next(), Next::Done);
}
