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
        witness: None,
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

#[test]
fn one_of_a_pair_that_went_on_alone_is_believed() {
    let (pair, alone) = (since(3, &[1, 2]), since(9, &[2]));
    let led = with(&alone, leads(2, 8));
    assert_eq!(
        led_by(&belief([(2, led.clone())])),
        Some(2),
        "the other is gone"
    );
    // It is back, or was only cut off, and knows no better; nor does one voice object.
    for stale in [
        leaderless(1, 7),
        leads(1, 7),
        follows(1, 7, 2),
        leaderless(1, 9),
    ] {
        let said = verdict([(1, with(&pair, stale.clone())), (2, led.clone())]);
        assert_eq!(led_by(&said.belief), Some(2), "{stale:?}");
        assert_eq!(said.seated, Some((CLUSTER, alone.clone())));
    }
    // The one that was left is not believed by its own word, in no term.
    for term in [7, 9] {
        let left = with(&pair, leads(1, term));
        assert_eq!(belief([(1, left)]), Belief::Unknown);
    }
    // Nor is one that is on its way there: its step needs both still, by the word of others.
    let (at, _) = since(8, &[2]);
    let seats = [(1, false), (2, true)].map(|(id, votes)| {
        let seat = crate::consensus::Seat {
            votes,
            outgoing: true,
            ..Default::default()
        };
        (member(id), seat)
    });
    let joint = (at, Configuration::new(seats.into()).unwrap());
    assert_eq!(belief([(2, with(&joint, leads(2, 8)))]), Belief::Unknown);
}

/// What both say of themselves, at each stage of the life of a pair: who has which configuration,
/// and who leads in which term. Each that took no part in a stage says what it said before.
fn stages() -> Vec<[(Placed, u64, Option<u64>); 2]> {
    let (pair, later) = (since(3, &[1, 2]), since(12, &[1, 2]));
    let (second, first) = (since(9, &[2]), since(15, &[1]));
    let both = |seats: &Placed, term, leader| {
        let said = (seats.clone(), term, Some(leader));
        [said.clone(), said]
    };
    let cut_off = |seats: &Placed, term| (seats.clone(), term, None);
    vec![
        both(&pair, 7, 1),
        [(pair.clone(), 7, Some(1)), (second.clone(), 8, Some(2))],
        [cut_off(&pair, 7), (second, 8, Some(2))],
        both(&later, 8, 2),
        [(first.clone(), 10, Some(1)), (later.clone(), 8, Some(2))],
        [(first, 10, Some(1)), cut_off(&later, 8)],
        both(&since(18, &[1, 2]), 10, 1),
    ]
}

/// Whatever of their past the two say, or one of them, nobody is believed that never led, nor
/// anybody by one voice but who is alone by its own; and who is alone now is believed as soon as it
/// is heard.
#[test]
fn through_the_life_of_a_pair_only_its_leaders_are_believed() {
    let said = |id: u64, (seats, term, leader): &(Placed, u64, Option<u64>)| {
        let report = if *leader == Some(id) {
            leads(id, *term)
        } else {
            report(id, *term, *leader)
        };
        (id, with(seats, report))
    };
    let stages = stages();
    let leaders = [(7, 1), (8, 2), (10, 1)];
    let mut believed = 0;
    for (now, [first, second]) in stages.iter().enumerate() {
        let past = || (0..=now).map(Some).chain([None]);
        for (one, two) in past().flat_map(|one| past().map(move |two| (one, two))) {
            let heard = one.map(|at| said(1, &stages[at][0]));
            let heard: Vec<_> = heard
                .into_iter()
                .chain(two.map(|at| said(2, &stages[at][1])))
                .collect();
            let Belief::Led(claim) = belief(heard.clone()) else {
                continue;
            };
            believed += 1;
            assert!(
                leaders.contains(&(claim.term.0, claim.id.0)),
                "{claim:?} of {heard:?}"
            );
            let alone = |at: Option<usize>, id: usize| {
                at.is_some_and(|at| stages[at][id].0.1.voters().count() == 1)
            };
            assert!(
                heard.len() == 2 || alone(one, 0) || alone(two, 1),
                "{heard:?}"
            );
        }
        for (id, current) in [(1, first), (2, second)] {
            if current.0.1.voters().count() > 1 || current.2 != Some(id) {
                continue;
            }
            for other in past() {
                let mut heard = vec![said(id, current)];
                let at = usize::from(id == 1);
                heard.extend(other.map(|other| said(3 - id, &stages[other][at])));
                assert_eq!(led_by(&belief(heard.clone())), Some(id), "{heard:?}");
            }
        }
    }
    assert!(believed > 20, "{believed}");
}
