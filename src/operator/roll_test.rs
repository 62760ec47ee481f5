//! Worlds of pods, and which of them is next.

use std::collections::BTreeSet;

use super::*;
use crate::consensus::{ClusterId, Incarnation, Term};
use crate::operator::record::StepKind;
use crate::operator::route::Claim;

/// Three pods of the newest revision whose nodes follow the first, which may then be changed.
#[derive(Clone)]
struct World {
    pods: BTreeMap<Arc<str>, PodView>,
    reports: BTreeMap<NodeId, Report>,
    belief: Belief,
    voters: BTreeSet<MemberId>,
    is_lost_with_pods: bool,
    step: Option<Step>,
}

fn name(id: u64) -> Arc<str> {
    format!("store-{}", id - 1).into()
}

fn uid(id: u64, life: &str) -> Arc<str> {
    format!("uid-{id}-{life}").into()
}

fn pod(id: u64, life: &str, revision: &str) -> PodView {
    PodView {
        uid: uid(id, life),
        revision: Some(revision.into()),
        ..PodView::of_store(id)
    }
}

fn disk(id: u64, disk: u64) -> MemberId {
    MemberId {
        id: NodeId(id),
        incarnation: Incarnation(disk),
    }
}

fn first_disk(id: u64) -> MemberId {
    disk(id, 1)
}

fn step(id: u64, life: &str) -> Step {
    Step {
        kind: StepKind::DeletePod,
        pod: name(id).to_string(),
        uid: uid(id, life).to_string(),
        generation: None,
    }
}

impl World {
    fn of(revisions: [&str; 3]) -> Self {
        let mut world = Self {
            pods: BTreeMap::new(),
            reports: BTreeMap::new(),
            belief: Belief::Unknown,
            voters: (1..=3).map(first_disk).collect(),
            is_lost_with_pods: false,
            step: None,
        };
        for (id, revision) in (1..).zip(revisions) {
            world.pods.insert(name(id), pod(id, "first", revision));
        }
        world.lead(1);
        world
    }

    /// All nodes follow this one.
    fn lead(&mut self, leader: u64) {
        let term = Term(7);
        self.belief = self.led_by(leader);
        for (id, pod) in (1..).zip(self.pods.values()) {
            let before = self.reports.get(&NodeId(id));
            let report = Report {
                pod: Arc::clone(&pod.uid),
                term,
                leader: Some(NodeId(leader)),
                claim: None,
                incarnation: before.map_or(Incarnation(1), |before| before.incarnation),
                cluster: Some(ClusterId(1)),
                seats: None,
                witness: None,
            };
            self.reports.insert(NodeId(id), report);
        }
    }

    fn led_by(&self, leader: u64) -> Belief {
        Belief::Led(Claim {
            cluster: ClusterId(1),
            term: Term(7),
            id: NodeId(leader),
            incarnation: Incarnation(1),
            pod: Arc::clone(&self.pods[&name(leader)].uid),
        })
    }

    fn pod(&mut self, id: u64) -> &mut PodView {
        self.pods.get_mut(&name(id)).unwrap()
    }

    /// Its process has ended, and Kubernetes knows.
    fn lose(&mut self, id: u64) {
        self.pod(id).ready = false;
        self.pod(id).sidecar = SidecarState::Down;
        self.reports.remove(&NodeId(id));
    }

    fn next(&self) -> Next {
        self.next_of(Some("new"), 3)
    }

    fn next_of(&self, revision: Option<&str>, replicas: u64) -> Next {
        let voters = self.voters.iter().copied();
        let configuration = (!self.voters.is_empty()).then(|| Configuration::of_voters(voters));
        let sight = Sight {
            pods: &self.pods,
            maker: "set",
            replicas,
            revision,
            belief: &self.belief,
            reports: &self.reports,
            configuration: configuration.as_ref(),
            is_lost_with_pods: self.is_lost_with_pods,
            step: self.step.as_ref(),
        };
        sight.next()
    }

    /// A pod of the newest revision, on a disk of its own, which does not vote yet.
    fn begin_anew(&mut self, id: u64) {
        self.pods.insert(name(id), pod(id, "second", "new"));
        self.pod(id).sidecar = SidecarState::Running;
        self.pod(id).ready = false;
        let report = self.reports.get_mut(&NodeId(id)).unwrap();
        report.incarnation = Incarnation(2);
    }

    /// It takes its own place again.
    fn vote_again(&mut self, id: u64) {
        self.voters.remove(&first_disk(id));
        self.voters.insert(disk(id, 2));
        self.pod(id).sidecar = SidecarState::Ready;
        self.pod(id).ready = true;
    }

    fn waits(&self) -> String {
        match self.next() {
            Next::Wait(why) => why,
            other => panic!("{other:?} instead of waiting"),
        }
    }
}

fn replace(id: u64) -> Next {
    Next::Replace {
        pod: name(id),
        uid: uid(id, "first"),
    }
}

#[test]
fn pods_that_are_as_they_should_be_are_left_alone() {
    assert_eq!(World::of(["new", "new", "new"]).next(), Next::Done);
}

#[test]
fn followers_go_first_and_the_leader_last_after_it_has_handed_over() {
    let mut world = World::of(["old", "old", "old"]);
    let mut told = Vec::new();
    let mut leader = 1;
    loop {
        match world.next() {
            Next::Replace { pod, uid } => {
                let id = world.pods[&pod].id.unwrap().0;
                assert_ne!(id, leader, "the leader's pod is replaced");
                assert_eq!(world.pods[&pod].uid, uid);
                world.pods.insert(pod, self::pod(id, "second", "new"));
                world.lead(leader);
                told.push(format!("replace {id}"));
            }
            Next::HandOver { to } => {
                leader = to.0;
                world.lead(leader);
                told.push(format!("lead {to}"));
            }
            Next::Done => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, ["replace 3", "replace 2", "lead 2", "replace 1"]);
}

#[test]
fn a_leader_without_followers_is_replaced_as_it_is() {
    let mut world = World::of(["old", "old", "old"]);
    world.pods.retain(|other, _| **other == *name(1));
    world.voters = BTreeSet::from([first_disk(1)]);
    assert_eq!(world.next_of(Some("new"), 1), replace(1));
}

#[test]
fn nothing_is_replaced_while_another_pod_is_away() {
    let mut world = World::of(["old", "old", "old"]);
    world.reports.remove(&NodeId(2));
    assert!(world.waits().contains("caught up"), "{}", world.waits());
    let mut world = World::of(["old", "old", "old"]);
    world.pod(2).deleting = true;
    assert!(world.waits().contains("is ending"));
    let mut world = World::of(["old", "old", "old"]);
    world.pods.remove(&name(2));
    assert!(world.waits().contains("2 of 3 pods"));
}

#[test]
fn a_follower_of_an_older_term_is_away() {
    let mut world = World::of(["old", "old", "old"]);
    world.reports.get_mut(&NodeId(2)).unwrap().term = Term(6);
    assert!(world.waits().contains("caught up"));
    let mut world = World::of(["old", "old", "old"]);
    world.belief = Belief::Leaderless;
    assert!(world.waits().contains("caught up"));
    // As is one that still takes in what it has missed.
    let mut world = World::of(["old", "old", "old"]);
    world.pod(2).sidecar = SidecarState::Running;
    assert!(world.waits().contains("caught up"));
}

#[test]
fn pods_that_somebody_else_has_made_are_left_alone() {
    let mut world = World::of(["new", "new", "new"]);
    let mut copy = pod(4, "copy", "old");
    (copy.maker, copy.ready, copy.sidecar) = (None, false, SidecarState::Down);
    world.pods.insert(name(4), copy);
    assert_eq!(world.next(), Next::Done);
    // Nor do they stand in for one that is missing.
    world.pods.remove(&name(3));
    assert!(world.waits().contains("2 of 3 pods"));
}

#[test]
fn a_template_by_which_no_pod_started_can_be_corrected() {
    let mut world = World::of(["bad", "bad", "bad"]);
    for id in 1..=3 {
        world.lose(id);
    }
    world.belief = Belief::Unknown;
    let mut told = Vec::new();
    while let Next::Replace { pod, .. } = world.next() {
        let id = world.pods[&pod].id.unwrap().0;
        let mut new = self::pod(id, "second", "new");
        // It is not ready before the others are there too.
        (new.ready, new.sidecar) = (false, SidecarState::Running);
        world.pods.insert(pod, new);
        told.push(id);
    }
    assert_eq!(told, [3, 2, 1]);
}

#[test]
fn a_new_pod_that_does_not_become_ready_stops_it() {
    let mut world = World::of(["old", "old", "new"]);
    world.pod(3).ready = false;
    assert!(world.waits().contains("store-2 is new"));
    // Until its own template is corrected: then it is the first to go.
    let mut world = World::of(["old", "old", "bad"]);
    world.pod(3).ready = false;
    assert_eq!(world.next(), replace(3));
}

#[test]
fn a_lost_pod_is_the_first_whoever_else_is_away() {
    let mut world = World::of(["old", "old", "old"]);
    world.lose(1);
    world.belief = Belief::Unknown;
    assert_eq!(world.next(), replace(1));
    world.lose(2);
    assert_eq!(world.next(), replace(2));
}

#[test]
fn one_that_is_not_heard_may_vote_as_long_as_it_runs() {
    let mut world = World::of(["old", "old", "old"]);
    world.reports.clear();
    world.belief = Belief::Unknown;
    for id in 1..=3 {
        world.pod(id).ready = false;
    }
    assert!(world.waits().contains("caught up"));
}

#[test]
fn a_claimed_step_is_carried_on_and_no_other_begun() {
    let mut world = World::of(["old", "old", "old"]);
    world.step = Some(step(2, "first"));
    assert_eq!(world.next(), replace(2));
    // Nor is one begun while that cannot go on.
    world.reports.remove(&NodeId(3));
    assert!(world.waits().contains("caught up"));
    // It is finished when its very pod is gone.
    let mut world = World::of(["old", "new", "old"]);
    world.step = Some(step(2, "before"));
    assert_eq!(world.next(), replace(3));
    // Or when its pod is as it should be after all.
    world.step = Some(step(2, "first"));
    assert_eq!(world.next(), replace(3));
}

#[test]
fn a_pod_whose_node_has_no_vote_stops_it() {
    let mut world = World::of(["old", "old", "old"]);
    world.voters.remove(&first_disk(2));
    assert!(world.waits().contains("have votes"));
    // Nor does the vote of another disk count for it.
    world.voters.insert(disk(2, 9));
    assert!(world.waits().contains("have votes"));
    world.voters = (1..=3).map(first_disk).collect();
    assert_eq!(world.next(), replace(3));
    world.voters.clear();
    assert!(world.waits().contains("have votes"));
}

#[test]
fn pods_that_are_about_to_end_come_first() {
    let mut world = World::of(["old", "old", "old"]);
    world.pods.insert(name(4), pod(4, "first", "old"));
    assert!(world.waits().contains("store-3 is about to end"));
    world.pod(4).deleting = true;
    assert!(world.waits().contains("store-3 is ending"));
}

#[test]
fn a_step_of_another_kind_holds_up_no_roll() {
    let mut world = World::of(["old", "old", "old"]);
    world.step = Some(Step {
        kind: StepKind::LowerReplicas,
        ..step(2, "first")
    });
    assert_eq!(world.next(), replace(3));
}

#[test]
fn a_disk_that_ends_with_its_pod_is_replaced_before_the_next_ends() {
    let mut world = World::of(["old", "old", "old"]);
    world.is_lost_with_pods = true;
    let mut told = Vec::new();
    let mut leader = 1;
    loop {
        match world.next() {
            Next::Replace { pod, .. } => {
                let id = world.pods[&pod].id.unwrap().0;
                world.begin_anew(id);
                world.lead(leader);
                // There is no next, if there is any left.
                let is_last = id == 1;
                assert_eq!(matches!(world.next(), Next::Wait(_)), !is_last);
                // Nor while its kubelet says that it is ready, and it has no vote.
                world.pod(id).sidecar = SidecarState::Ready;
                world.pod(id).ready = true;
                assert_eq!(matches!(world.next(), Next::Wait(_)), !is_last);
                world.vote_again(id);
                told.push(format!("replace {id}"));
            }
            Next::HandOver { to } => {
                leader = to.0;
                world.lead(leader);
                told.push(format!("lead {to}"));
            }
            Next::Done => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, ["replace 3", "replace 2", "lead 2", "replace 1"]);
}

#[test]
fn a_disk_that_is_needed_does_not_end_with_its_pod() {
    // A node that does not run keeps its disk all the same.
    let mut world = World::of(["old", "old", "old"]);
    world.is_lost_with_pods = true;
    world.lose(2);
    assert_eq!(world.next(), replace(2), "the others can do without it");
    world.lose(3);
    assert!(world.waits().contains("its disk would be lost with it"));
    world.belief = Belief::Unknown;
    assert!(world.waits().contains("its disk would be lost with it"));
    // Of two who vote, none may lose its disk.
    let mut world = World::of(["old", "old", "old"]);
    world.is_lost_with_pods = true;
    world.pods.remove(&name(3));
    world.voters.remove(&first_disk(3));
    let refused = world.next_of(Some("new"), 2);
    assert!(matches!(refused, Next::Refuse(why) if why.contains("scale to 3 and back")));
    world.lose(2);
    assert_eq!(world.next_of(Some("new"), 2), refused);
    // But where the other has gone on alone, nothing rests on it.
    world.voters.remove(&first_disk(2));
    assert_eq!(world.next_of(Some("new"), 2), replace(2));
    world.belief = Belief::Unknown;
    assert_eq!(world.next_of(Some("new"), 2), refused);
    world.lead(1);
    // Nor one alone, whether it runs or not.
    world.pods.remove(&name(2));
    assert_eq!(world.next_of(Some("new"), 1), refused);
    world.lose(1);
    assert_eq!(world.next_of(Some("new"), 1), refused);
    assert_eq!(
        World::of(["new", "new", "new"]).next_of(Some("new"), 3),
        Next::Done
    );
}

#[test]
fn nothing_is_done_by_a_revision_that_is_not_settled() {
    let world = World::of(["old", "old", "old"]);
    assert!(matches!(world.next_of(None, 3), Next::Wait(_)));
}

#[test]
fn of_a_pair_with_volumes_one_goes_once_the_other_votes_and_follows() {
    let mut world = World::of(["old", "old", "new"]);
    world.pods.remove(&name(3));
    world.voters.remove(&first_disk(3));
    let next = |world: &World| world.next_of(Some("new"), 2);
    assert_eq!(next(&world), replace(2));
    world.pods.insert(name(2), pod(2, "second", "new"));
    // The first went on alone meanwhile: its pod stays until the second has its vote again.
    world.voters.remove(&first_disk(2));
    assert!(matches!(next(&world), Next::Wait(_)));
    world.voters.insert(first_disk(2));
    world.lead(1);
    assert_eq!(next(&world), Next::HandOver { to: NodeId(2) });
    world.lead(2);
    assert_eq!(next(&world), replace(1));
}
