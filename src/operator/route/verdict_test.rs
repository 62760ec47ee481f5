use super::*;
use crate::consensus::Index;

const CLUSTER: ClusterId = ClusterId(1);

fn member(id: u64) -> MemberId {
    MemberId {
        id: NodeId(id),
        incarnation: Incarnation(100 + id),
    }
}

/// These voters, since the entry with this index.
fn since(index: u64, voters: &[u64]) -> Placed {
    let voters = voters.iter().copied().map(member);
    let at = Position {
        term: Term(u64::from(index > 0)),
        index: Index(index),
    };
    (at, Configuration::of_voters(voters))
}

fn report(id: u64, term: u64, leader: Option<u64>) -> Report {
    Report {
        pod: format!("pod-{id}").into(),
        term: Term(term),
        leader: leader.map(NodeId),
        claim: None,
        incarnation: member(id).incarnation,
        cluster: Some(CLUSTER),
        seats: Some(since(0, &[1, 2, 3])),
    }
}

fn follows(id: u64, term: u64, leader: u64) -> Report {
    report(id, term, Some(leader))
}

fn leads(id: u64, term: u64) -> Report {
    let said = follows(id, term, id);
    let claim = Claim {
        cluster: CLUSTER,
        term: Term(term),
        id: NodeId(id),
        incarnation: said.incarnation,
        pod: Arc::clone(&said.pod),
    };
    Report {
        claim: Some(claim),
        ..said
    }
}

fn leaderless(id: u64, term: u64) -> Report {
    report(id, term, None)
}

fn with(seats: &Placed, said: Report) -> Report {
    Report {
        seats: Some(seats.clone()),
        ..said
    }
}

fn verdict(reports: impl IntoIterator<Item = (u64, Report)>) -> Verdict {
    let reports = reports.into_iter();
    judge(&reports.map(|(id, said)| (NodeId(id), said)).collect())
}

fn belief(reports: impl IntoIterator<Item = (u64, Report)>) -> Belief {
    verdict(reports).belief
}

fn led_by(belief: &Belief) -> Option<u64> {
    match belief {
        Belief::Led(claim) => Some(claim.id.0),
        Belief::Leaderless | Belief::Unknown => None,
    }
}

#[test]
fn a_claim_that_a_majority_follows_is_believed() {
    let belief = belief([(1, leads(1, 7)), (2, follows(2, 7, 1))]);
    assert_eq!(led_by(&belief), Some(1));
}

#[test]
fn one_node_with_a_fault_convinces_nobody() {
    let wild = leads(3, 1 << 60);
    let others = [(1, leads(1, 7)), (2, follows(2, 7, 1))];
    let all = others.into_iter().chain([(3, wild.clone())]);
    assert_eq!(led_by(&belief(all)), Some(1));
    assert_eq!(belief([(3, wild)]), Belief::Unknown);
}

#[test]
fn nobody_claims_for_another() {
    let mut forged = leads(1, 7);
    forged.leader = Some(NodeId(1));
    let forged = Report {
        incarnation: member(2).incarnation,
        ..forged
    };
    let said = belief([(2, forged), (3, follows(3, 7, 1))]);
    assert_eq!(said, Belief::Unknown);
}

#[test]
fn nobody_has_another_s_pod_labelled() {
    let mut forged = leads(1, 7);
    forged.pod = "pod-3".into();
    let said = belief([(1, forged), (2, follows(2, 7, 1))]);
    assert_eq!(said, Belief::Unknown);
}

#[test]
fn a_leader_that_is_followed_and_claims_nothing_yet_is_not_labelled() {
    let said = belief([1, 2, 3].map(|id| (id, follows(id, 7, 1))));
    assert_eq!(said, Belief::Unknown);
}

#[test]
fn a_majority_without_a_leader_is_leaderless_and_a_minority_is_not() {
    let said = belief([(2, leaderless(2, 7)), (3, leaderless(3, 8))]);
    assert_eq!(said, Belief::Leaderless);
    assert_eq!(belief([(3, leaderless(3, 8))]), Belief::Unknown);
}

#[test]
fn strangers_and_other_disks_do_not_count() {
    let strangers = [
        (1, leads(1, 7)),
        (8, follows(8, 7, 1)),
        (9, follows(9, 7, 1)),
    ];
    assert_eq!(belief(strangers), Belief::Unknown);
    let new_disk = Report {
        incarnation: Incarnation(1),
        ..follows(2, 7, 1)
    };
    assert_eq!(belief([(1, leads(1, 7)), (2, new_disk)]), Belief::Unknown);
}

#[test]
fn nobody_is_believed_before_the_founding() {
    let fresh = |id| Report {
        cluster: None,
        seats: None,
        ..leaderless(id, 0)
    };
    let said = verdict([1, 2, 3].map(|id| (id, fresh(id))));
    assert_eq!(said.belief, Belief::Unknown);
    assert_eq!(said.seated, None);
}

#[test]
fn a_configuration_is_believed_once_its_own_voters_have_it() {
    let five = since(9, &[1, 2, 3, 4, 5]);
    let all = [1, 2, 3, 4, 5].map(|id| (id, follows(id, 7, 1)));
    let some_have = |count: u64| {
        let all = all.clone().into_iter();
        verdict(all.map(|(id, said)| (id, if id <= count { with(&five, said) } else { said })))
    };
    let before = since(0, &[1, 2, 3]);
    assert_eq!(some_have(2).seated, Some((CLUSTER, before)));
    assert_eq!(some_have(3).seated, Some((CLUSTER, five.clone())));
    assert_eq!(some_have(5).seated, Some((CLUSTER, five)));
}

#[test]
fn a_leader_that_is_left_alone_is_believed() {
    // Two of three had it in their logs, or it would not have been agreed on; one never heard.
    let one = since(9, &[1]);
    let said = [
        (1, with(&one, leads(1, 7))),
        (2, with(&one, leaderless(2, 7))),
        (3, leaderless(3, 7)),
    ];
    assert_eq!(led_by(&belief(said)), Some(1));
}

#[test]
fn a_node_with_a_fault_is_not_the_only_voter() {
    let alone = since(1 << 40, &[3]);
    let wild = with(&alone, leads(3, 1 << 60));
    let said = verdict([(1, leads(1, 7)), (2, follows(2, 7, 1)), (3, wild.clone())]);
    assert_eq!(led_by(&said.belief), Some(1));
    let said = verdict([(1, leaderless(1, 7)), (2, leaderless(2, 7)), (3, wild)]);
    assert_eq!(said.belief, Belief::Leaderless);
    assert_eq!(said.seated, Some((CLUSTER, since(0, &[1, 2, 3]))));
}

#[test]
fn a_node_with_a_fault_does_not_object_by_an_older_configuration() {
    let real = since(9, &[1, 2, 3]);
    let alone = with(&since(0, &[3]), leads(3, 1 << 60));
    let others = [with(&real, leads(1, 7)), with(&real, follows(2, 7, 1))];
    let said = verdict((1..).zip(others).chain([(3, alone)]));
    assert_eq!(led_by(&said.belief), Some(1));
    assert_eq!(said.seated, Some((CLUSTER, real)));
}

/// A node that leads another cluster, of which it is the only member, in this term.
fn elsewhere(term: u64) -> Report {
    let mut said = Report {
        cluster: Some(ClusterId(2)),
        seats: Some(since(0, &[3])),
        ..leads(3, term)
    };
    said.claim.as_mut().unwrap().cluster = ClusterId(2);
    said
}

#[test]
fn a_node_with_a_fault_does_not_name_another_cluster() {
    let said = verdict([
        (1, leads(1, 7)),
        (2, follows(2, 7, 1)),
        (3, elsewhere(1 << 60)),
    ]);
    assert_eq!(led_by(&said.belief), Some(1));
}

#[test]
fn of_two_clusters_with_as_many_voices_the_later_epoch_is_believed() {
    let alone = with(&since(0, &[1]), leads(1, 7));
    let said = verdict([(1, alone), (3, elsewhere(2 << 32))]);
    assert_eq!(led_by(&said.belief), Some(3));
    // Those of whom no majority is there have no voice.
    let said = verdict([(1, leads(1, 7)), (3, elsewhere(2 << 32))]);
    assert_eq!(led_by(&said.belief), Some(3));
}
