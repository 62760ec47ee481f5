//! What is seen, and what is told of it.

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::consensus::{ClusterId, Incarnation, Position, Term};
use crate::operator::events::{News, news};
use crate::operator::route::{Claim, Report, Witness};

struct World {
    cluster: RememberCluster,
    pods: BTreeMap<Arc<str>, PodView>,
    view: View,
    work: Work,
    has_lost_witness: bool,
}

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn pod(id: u64, role: PodRole, term: u64) -> PodView {
    PodView {
        role: Some(role),
        term: Some(Term(term)),
        ..PodView::of_store(id)
    }
}

fn rolls(rolling: roll::Next) -> Work {
    Work::Applied {
        scaling: scale::Next::Done,
        rolling,
    }
}

fn scales(scaling: scale::Next) -> Work {
    Work::Applied {
        scaling,
        rolling: roll::Next::Done,
    }
}

fn applied() -> Work {
    rolls(roll::Next::Done)
}

fn member(id: u64, disk: u64) -> MemberId {
    MemberId {
        id: NodeId(id),
        incarnation: Incarnation(disk),
    }
}

impl World {
    fn led_by(leader: u64, term: u64) -> Self {
        let cluster = json!({
            "apiVersion": "remember.krest.io/v1alpha1", "kind": "RememberCluster",
            "metadata": {"name": "store", "namespace": "shop", "generation": 3},
            "spec": {
                "replicas": 3, "storage": {"size": "1Gi"},
                "template": {"spec": {"containers": [{"name": "app", "image": "app:1"}]}},
            },
        });
        let role = |id| {
            if id == leader {
                PodRole::Leader
            } else {
                PodRole::Follower
            }
        };
        let pods = (1..=3).map(|id| pod(id, role(id), term));
        let mut world = Self {
            cluster: serde_json::from_value(cluster).unwrap(),
            pods: pods.map(|pod| (Arc::clone(&pod.name), pod)).collect(),
            view: View::at(tokio::time::Instant::now()),
            work: applied(),
            has_lost_witness: false,
        };
        world.view.belief = Belief::Led(Claim {
            cluster: ClusterId(1),
            term: Term(term),
            id: NodeId(leader),
            incarnation: Incarnation(1),
            pod: format!("uid-{leader}").into(),
        });
        for id in 1..=3 {
            let report = Report {
                pod: format!("uid-{id}").into(),
                term: Term(term),
                leader: Some(NodeId(leader)),
                claim: None,
                incarnation: Incarnation(1),
                cluster: Some(ClusterId(1)),
                seats: None,
                witness: None,
            };
            world.view.reports.insert(NodeId(id), report);
        }
        world.seat(&[1, 2, 3], &[]);
        world
    }

    /// Who belongs to it, each on the disk that its node reports.
    fn seat(&mut self, voters: &[u64], learners: &[u64]) {
        let seat = |votes| Seat {
            votes,
            ..Seat::default()
        };
        let voters = voters.iter().map(|id| (member(*id, 1), seat(true)));
        let learners = learners.iter().map(|id| (member(*id, 1), seat(false)));
        let seats = voters.chain(learners).collect();
        self.believe(Configuration::new(seats));
    }

    fn believe(&mut self, configuration: Option<Configuration>) {
        let unheard = configuration.is_none().then_some(self.view.believed_since);
        self.view.no_majority_since = unheard;
        self.view.seated = configuration.map(|it| (ClusterId(1), (Position::default(), it)));
    }

    fn label(&mut self, id: u64, role: PodRole, term: u64) {
        let pod = pod(id, role, term);
        self.pods.insert(Arc::clone(&pod.name), pod);
    }

    /// Tells the status at some second, and keeps it as the one before.
    fn tell(&mut self, second: i64) -> RememberClusterStatus {
        self.tell_with(second, false)
    }

    fn tell_with(&mut self, second: i64, tells_unknown: bool) -> RememberClusterStatus {
        let told = status(&Seen {
            cluster: &self.cluster,
            pods: &self.pods,
            view: &self.view,
            work: &self.work,
            is_late: false,
            has_lost_witness: self.has_lost_witness,
            tells_unknown,
            now: at(second),
        });
        self.cluster.status = Some(told.clone());
        told
    }
}

fn told(status: &RememberClusterStatus, kind: ConditionKind) -> (String, String) {
    let told = status
        .conditions
        .iter()
        .find(|told| told.type_ == kind.name());
    let told = told.unwrap();
    (told.status.clone(), told.reason.clone())
}

fn yes(reason: &str) -> (String, String) {
    ("True".to_owned(), reason.to_owned())
}

fn no(reason: &str) -> (String, String) {
    ("False".to_owned(), reason.to_owned())
}

#[test]
fn a_cluster_that_is_led_and_reached_is_ready() {
    let mut world = World::led_by(2, 7);
    let status = world.tell(1);
    let leader = status.leader.clone().unwrap();
    assert_eq!(
        (leader.pod.as_str(), leader.id, leader.term),
        ("store-1", 2, 7)
    );
    assert_eq!((status.term, status.leader_transitions), (Some(7), Some(0)));
    assert_eq!((status.replicas, status.ready_replicas), (Some(3), Some(3)));
    assert_eq!(
        status.selector.as_deref(),
        Some("remember.krest.io/cluster=store")
    );
    let roles: Vec<_> = status.members.iter().map(|one| one.role.as_str()).collect();
    assert_eq!(roles, ["follower", "leader", "follower"]);
    assert_eq!(told(&status, ConditionKind::Ready), yes("Led"));
    assert_eq!(told(&status, ConditionKind::TrafficRouted), yes("Routed"));
    assert_eq!(told(&status, ConditionKind::Stalled), no("NotStalled"));
    // Nothing changes while nothing happens: there is nothing to write.
    assert_eq!(world.tell(60), status);
}

#[test]
fn a_new_leader_counts_once_and_is_told_once() {
    let mut world = World::led_by(1, 7);
    let before = world.tell(1);
    world.label(1, PodRole::Follower, 9);
    world.label(3, PodRole::Leader, 9);
    let after = world.tell(2);
    assert_eq!(after.leader_transitions, Some(1));
    assert_eq!(after.leader.as_ref().unwrap().since, at(2));
    let said = news(&before, &after);
    assert_eq!(
        said,
        [News {
            is_warning: false,
            reason: "LeaderChanged".to_owned(),
            note: "pod store-2 leads in term 9, after pod store-0, and has the traffic".to_owned(),
        }]
    );
    // A label that is gone and comes back in the same term is no other leader.
    world.label(3, PodRole::Follower, 9);
    let without = world.tell(3);
    assert_eq!((without.leader.clone(), without.term), (None, Some(9)));
    world.label(3, PodRole::Leader, 9);
    let again = world.tell(4);
    assert_eq!(again.leader_transitions, Some(1));
    assert_eq!(news(&without, &again), []);
}

#[test]
fn too_few_voices_are_told_once_and_not_insisted_on() {
    let mut world = World::led_by(1, 7);
    let before = world.tell(1);
    world.view.belief = Belief::Unknown;
    world.view.reports.clear();
    // An operator that cannot hear leaves standing what another says.
    assert_eq!(world.tell(2), before);
    let unheard = world.tell_with(3, true);
    assert_eq!(told(&unheard, ConditionKind::QuorumAvailable).0, "Unknown");
    assert_eq!(told(&unheard, ConditionKind::LeaderElected).0, "Unknown");
    assert_eq!(told(&unheard, ConditionKind::Ready).0, "Unknown");
    let reasons: Vec<_> = news(&before, &unheard)
        .into_iter()
        .map(|one| one.reason)
        .collect();
    assert_eq!(reasons, ["QuorumUnknown"]);
}

#[test]
fn why_it_is_not_ready_is_said() {
    let mut world = World::led_by(1, 7);
    world.pods.get_mut("store-0").unwrap().ready = false;
    let status = world.tell(1);
    assert_eq!(
        told(&status, ConditionKind::TrafficRouted),
        no("LeaderNotReady")
    );
    assert_eq!(told(&status, ConditionKind::Ready), no("NotRouted"));

    let mut world = World::led_by(1, 7);
    world.pods.get_mut("store-1").unwrap().ready = false;
    world.pods.remove("store-2");
    let status = world.tell(1);
    assert_eq!(told(&status, ConditionKind::Ready), no("PodsNotReady"));
    let mut said = status.conditions.iter();
    assert!(said.any(|told| told.message.ends_with("not ready: store-1, store-2")));

    let mut world = World::led_by(1, 7);
    world.view.belief = Belief::Leaderless;
    world.label(1, PodRole::Follower, 7);
    let status = world.tell(1);
    assert_eq!(told(&status, ConditionKind::LeaderElected), no("NoLeader"));
    assert_eq!(told(&status, ConditionKind::QuorumAvailable), yes("Heard"));
    assert_eq!(told(&status, ConditionKind::Ready), no("NoLeader"));

    let mut world = World::led_by(1, 7);
    let why = "a policy".to_owned();
    world.view.routed = Routed::Denied { why };
    let status = world.tell(1);
    assert_eq!(told(&status, ConditionKind::TrafficRouted), no("Denied"));
}

#[test]
fn a_refusal_is_told_with_its_sentence_and_so_is_its_end() {
    let mut world = World::led_by(1, 7);
    let before = world.tell(1);
    let sentence = "spec.template is no pod; correct it".to_owned();
    world.work = Work::Refused {
        reason: "Template",
        sentence: sentence.clone(),
        is_quoted: false,
    };
    let refused = world.tell(2);
    assert_eq!(told(&refused, ConditionKind::Stalled), yes("Template"));
    assert_eq!(told(&refused, ConditionKind::Ready), no("Stalled"));
    let said = news(&before, &refused);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].is_warning && said[0].note == sentence, "{said:?}");
    world.work = applied();
    let mended = world.tell(3);
    let reasons: Vec<_> = news(&refused, &mended)
        .into_iter()
        .map(|one| one.reason)
        .collect();
    assert_eq!(reasons, ["Mended"]);
}

/// One node more may be lost each time; in what words an API server refuses is no news.
#[test]
fn a_refusal_is_told_anew_with_what_has_changed_but_for_another_wording() {
    for (is_quoted, told) in [(false, "two are lost"), (true, "one is lost")] {
        let mut world = World::led_by(1, 7);
        let refusal = |sentence: &str| Work::Refused {
            reason: "QuorumLost",
            sentence: sentence.to_owned(),
            is_quoted,
        };
        world.work = refusal("one is lost");
        world.cluster.status = Some(world.tell(1));
        world.work = refusal("two are lost");
        let conditions = world.tell(2).conditions;
        let stalled = conditions.iter().find(|one| one.type_ == "Stalled");
        assert_eq!(stalled.unwrap().message, told);
    }
}

#[test]
fn each_pod_that_is_replaced_is_told() {
    let mut world = World::led_by(1, 7);
    let before = world.tell(1);
    let replaced = |pod: &str| {
        rolls(roll::Next::Replace {
            pod: pod.into(),
            uid: "uid".into(),
        })
    };
    world.work = replaced("store-2");
    let first = world.tell(2);
    world.work = rolls(roll::Next::Wait("pod store-2 is ending".to_owned()));
    let waits = world.tell(3);
    world.work = replaced("store-1");
    let second = world.tell(4);
    assert_eq!(reasons(&before, &first), ["Rolling"]);
    assert_eq!(reasons(&first, &waits), Vec::<String>::new());
    assert_eq!(reasons(&waits, &second), ["Rolling"]);
}

/// The pod, what its word counts in, and its disk.
fn seats(status: &RememberClusterStatus) -> Vec<(&str, &str, &str)> {
    fn text(text: Option<&String>) -> &str {
        text.map_or("", String::as_str)
    }
    let members = status.members.iter();
    let told = members.map(|one| {
        let (seat, disk) = (one.seat.as_ref(), one.incarnation.as_ref());
        (one.pod.as_str(), text(seat), text(disk))
    });
    told.collect()
}

fn reasons(before: &RememberClusterStatus, after: &RememberClusterStatus) -> Vec<String> {
    let news = news(before, after).into_iter();
    news.map(|one| one.reason).collect()
}

#[test]
fn each_member_is_told_with_its_seat_and_its_disk() {
    let mut world = World::led_by(1, 7);
    let before = world.tell(1);
    let disk = "0000000000000001";
    let three = [
        ("store-0", "voter", disk),
        ("store-1", "voter", disk),
        ("store-2", "voter", disk),
    ];
    assert_eq!(seats(&before), three);
    assert_eq!(before.voters, Some(3));
    assert_eq!(
        news(&RememberClusterStatus::default(), &before).len(),
        1,
        "only its leader"
    );
    // A pod that has not joined, and a learner whose pod is not to be seen.
    world.cluster.spec.replicas = 5;
    world.label(4, PodRole::Candidate, 0);
    world.seat(&[1, 2, 3], &[5]);
    let learns = world.tell(2);
    assert_eq!(
        seats(&learns)[3..],
        [("store-3", "none", ""), ("store-4", "learner", disk)]
    );
    assert_eq!((learns.voters, learns.replicas), (Some(3), Some(4)));
    assert_eq!(reasons(&before, &learns), ["MemberJoined"]);
    world.seat(&[1, 2, 3, 4, 5], &[]);
    let five = world.tell(3);
    assert_eq!(
        reasons(&learns, &five),
        ["MemberPromoted", "MemberPromoted"]
    );
    // Nobody knows: what was told stays.
    world.believe(None);
    world.view.reports.clear();
    let unknown = world.tell(4);
    assert_eq!((seats(&unknown), unknown.voters), (seats(&five), Some(5)));
    // Those who leave are told as long as they are there, and their end once.
    world.cluster.spec.replicas = 3;
    world.seat(&[1, 2, 3], &[]);
    let leaves = world.tell(5);
    assert_eq!(seats(&leaves)[3..], [("store-3", "none", "")]);
    assert_eq!(reasons(&five, &leaves), ["MemberRemoved", "MemberRemoved"]);
    world.pods.remove("store-3");
    let left = world.tell(6);
    assert_eq!(seats(&left), three);
    assert_eq!(reasons(&leaves, &left), Vec::<String>::new());
}

#[test]
fn of_a_node_with_two_disks_the_one_that_runs_is_told() {
    let mut world = World::led_by(1, 7);
    let before = world.tell(1);
    let voter = Seat {
        votes: true,
        ..Seat::default()
    };
    let both = [member(1, 1), member(2, 1), member(3, 1)].map(|one| (one, voter));
    let both = both.into_iter().chain([(member(3, 2), Seat::default())]);
    world.believe(Configuration::new(both.collect()));
    world.view.reports.get_mut(&NodeId(3)).unwrap().incarnation = Incarnation(2);
    let joins = world.tell(2);
    assert_eq!(seats(&joins)[2], ("store-2", "learner", "0000000000000002"));
    assert_eq!(reasons(&before, &joins), ["MemberJoined"]);
    world.view.reports.remove(&NodeId(3));
    assert_eq!(
        seats(&world.tell(3))[2],
        ("store-2", "voter", "0000000000000001")
    );
    let outgoing_only = Seat {
        outgoing: true,
        ..Seat::default()
    };
    let changing = [(member(1, 1), voter), (member(2, 1), outgoing_only)];
    world.believe(Configuration::new(changing.into()));
    assert_eq!(seats(&world.tell(4))[1].1, "leaving");
}

#[test]
fn scaling_is_told_step_by_step_and_what_holds_it_up() {
    let mut world = World::led_by(1, 7);
    let before = world.tell(1);
    world.work = scales(scale::Next::Lower {
        pod: "store-4".into(),
        uid: "uid-5".into(),
        to: 4,
    });
    let first = world.tell(2);
    assert_eq!(told(&first, ConditionKind::Reconciling), yes("Scaling"));
    assert_eq!(reasons(&before, &first), ["Scaling"]);
    // What one operator was answered is told, and is no event: another may be answered otherwise.
    world.work = scales(scale::Next::Retry(
        "the leader was asked, but it is busy".to_owned(),
    ));
    let again = world.tell(3);
    assert_eq!(told(&again, ConditionKind::Reconciling), yes("Waiting"));
    assert_eq!(reasons(&first, &again), Vec::<String>::new());
    world.work = scales(scale::Next::Stalled("node 4 cannot leave".to_owned()));
    let stalled = world.tell(4);
    assert_eq!(told(&stalled, ConditionKind::Stalled), yes("ScaleRefused"));
    assert_eq!(told(&stalled, ConditionKind::Ready), no("Stalled"));
    assert_eq!(reasons(&again, &stalled), ["ScaleRefused"]);
    // Another node that is missing is another sentence.
    world.work = scales(scale::Next::Stalled("node 5 cannot leave".to_owned()));
    let other = world.tell(5);
    assert_eq!(reasons(&stalled, &other), ["ScaleRefused"]);
    world.work = rolls(roll::Next::Refuse("there is no spec.storage"));
    let refused = world.tell(6);
    assert_eq!(told(&refused, ConditionKind::Stalled), yes("RollRefused"));
    world.work = applied();
    let done = world.tell(7);
    assert_eq!(told(&done, ConditionKind::Reconciling), no("Applied"));
    assert_eq!(reasons(&refused, &done), ["Mended"]);
    // A roll that goes on beside it is told first.
    let work = Work::Applied {
        scaling: scale::Next::Wait("expected to join: node 4".to_owned()),
        rolling: roll::Next::HandOver { to: NodeId(2) },
    };
    world.work = work;
    assert_eq!(
        told(&world.tell(8), ConditionKind::Reconciling),
        yes("Rolling")
    );
}

#[test]
fn how_it_stands_with_the_witness_is_told_by_those_who_vote() {
    let mut world = World::led_by(1, 7);
    let kind = ConditionKind::WitnessReady;
    let has = |status: &RememberClusterStatus| {
        let mut told = status.conditions.iter();
        told.any(|told| told.type_ == kind.name())
    };
    assert!(!has(&world.tell(1)));
    world.cluster.spec.replicas = 2;
    world.cluster.spec.witness = Some(crate::crd::Witness::ConfigMap);
    world.pods.remove("store-2");
    world.view.reports.remove(&NodeId(3));
    world.seat(&[1, 2], &[]);
    // That their pods are not replaced yet is no warning.
    let untold = world.tell(2);
    assert_eq!(told(&untold, kind), no("WitnessSilent"));
    assert_eq!(told(&untold, ConditionKind::Ready), yes("Led"));
    for report in world.view.reports.values_mut() {
        report.witness = Some(Witness::Answers);
    }
    let answers = world.tell(3);
    assert_eq!(told(&answers, kind), yes("WitnessAnswers"));
    assert_eq!(reasons(&untold, &answers), ["WitnessAnswers"]);
    world.view.reports.get_mut(&NodeId(2)).unwrap().witness = Some(Witness::Silent);
    let silent = world.tell(4);
    let news = news(&answers, &silent);
    assert!(news.len() == 1 && news[0].is_warning, "{news:?}");
    let note = &news[0].note;
    assert!(
        note.contains("ConfigMap store-witness is no witness to node 2"),
        "{note}"
    );
    assert_eq!(
        told(&silent, ConditionKind::Ready),
        yes("Led"),
        "it is led all the same"
    );
    // Who has no vote is not asked.
    world.seat(&[1], &[2]);
    assert_eq!(told(&world.tell(5), kind), yes("WitnessAnswers"));
    world.has_lost_witness = true;
    world.work = Work::Paused;
    assert_eq!(told(&world.tell(6), kind), no("WitnessMissing"));
    // Nobody is heard: what was told stays.
    world.has_lost_witness = false;
    world.believe(None);
    world.view.reports.clear();
    assert_eq!(told(&world.tell(7), kind), no("WitnessMissing"));
    world.cluster.spec.witness = None;
    assert!(!has(&world.tell(8)));
}
