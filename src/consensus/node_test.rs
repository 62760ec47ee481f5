//! Epochs: a node never leaves the one of its cluster, whatever it is told (R14). And how many of
//! those who were removed it remembers (R15).

use std::time::Duration;

use super::*;
use crate::consensus::{
    Ballot, Change, ClusterId, Configuration, Epoch, Incarnation, Membership, PeerRecord,
    REMOVED_MAX, Record, Ticket, Write,
};

const EPOCH: Epoch = Epoch(3);

fn member(id: u64) -> MemberId {
    MemberId {
        id: NodeId(id),
        incarnation: Incarnation(id),
    }
}

/// Node 1 on a disk that knows this term, in a cluster of so many voters.
fn started(term: Term, voters: u64) -> Node {
    remembering(Vec::new(), term, voters)
}

/// The same, whose disk remembers these peers.
fn remembering(peers: Vec<PeerRecord>, term: Term, voters: u64) -> Node {
    let recovered = Recovered {
        member: member(1),
        boots: Boots::first(7),
        membership: Membership::founding(ClusterId(9), EPOCH, (1..=voters).map(member)),
        hard_state: HardState { term, vote: None },
        base: Position::START,
        configuration: None,
        entries: Vec::new(),
        peers,
    };
    Node::new(recovered, Config::default(), 5, Mono::default()).unwrap()
}

/// Lets it turn, each of its writes durable at once, until nothing happens any more.
fn turn(node: &mut Node, input: Input) -> Vec<Output> {
    let mut inputs = vec![input];
    let mut all = Vec::new();
    while !inputs.is_empty() {
        let mut out = Vec::new();
        node.turn(Mono::at(Duration::from_mins(1)), inputs, &mut out);
        let durable = |output: &Output| match output {
            Output::Write(Write { seq, .. }) => Some(Input::Durable(*seq)),
            _ => None,
        };
        inputs = out.iter().filter_map(durable).collect();
        all.append(&mut out);
    }
    all
}

#[test]
fn the_first_leader_of_an_epoch_has_a_higher_term_than_any_before() {
    let used = Term(EPOCH.floor().0 - 1);
    let mut node = started(used, 1);
    assert_eq!(
        node.hello().term,
        EPOCH.floor(),
        "it is told from the start"
    );
    let out = turn(&mut node, Input::Tick);
    let status = node.status();
    assert_eq!(status.term, Term(EPOCH.floor().0 + 1));
    assert!(status.established && out.len() > 1);
    let records = out.iter().filter_map(|output| match output {
        Output::Write(write) => Some(&write.records),
        _ => None,
    });
    let first = records.flatten().next();
    assert!(matches!(first, Some(Record::HardState(state)) if state.term == status.term));
}

#[test]
fn a_term_of_another_epoch_is_never_taken_over() {
    let term = Term(EPOCH.floor().0 + 20);
    for other in [Epoch(0), Epoch(2), Epoch(4), Epoch::MAX] {
        let mut node = started(term, 2);
        let asked = VoteRequest {
            ballot: Ballot::Real,
            term: Term(other.floor().0 + 90),
            last: Position::START,
            round: 1,
        };
        let message = Message::VoteRequest(asked.clone());
        let from = member(2);
        let out = turn(&mut node, Input::Message { from, message });
        let is_answer = |output: &Output| {
            matches!(
                output,
                Output::Send {
                    message: Message::VoteReply(_),
                    ..
                }
            )
        };
        assert!(!out.iter().any(is_answer), "{out:?}");
        let snapshot = Input::SnapshotReceived {
            from,
            term: asked.term,
            position: Position {
                term,
                index: Index(9),
            },
            configuration: (Position::START, Configuration::of_voters([member(2)])),
        };
        turn(&mut node, snapshot);
        assert_eq!((node.status().term, node.status().leader), (term, None));
        let message = Message::VoteRequest(VoteRequest {
            term: Term(term.0 + 1),
            ..asked
        });
        let out = turn(&mut node, Input::Message { from, message });
        assert!(out.iter().any(is_answer), "its own epoch goes on: {out:?}");
    }
}

#[test]
fn a_node_ends_where_the_terms_of_its_epoch_are_used_up() {
    let last = Term(Epoch(EPOCH.0 + 1).floor().0 - 1);
    let mut node = started(Term(last.0 - 1), 1);
    let out = turn(&mut node, Input::Tick);
    assert_eq!(node.status().term, last, "{out:?}");
    let mut node = started(last, 1);
    let out = turn(&mut node, Input::Tick);
    assert!(out.contains(&Output::Exhausted(EPOCH)), "{out:?}");
    assert_eq!(node.status().term, last);
    // Nor is it told to stand by a leader.
    let mut node = started(last, 2);
    let from = member(2);
    let beat = Message::Commit {
        term: last,
        commit: Index(0),
    };
    turn(
        &mut node,
        Input::Message {
            from,
            message: beat,
        },
    );
    let message = Message::TimeoutNow { term: last };
    let out = turn(&mut node, Input::Message { from, message });
    assert!(out.contains(&Output::Exhausted(EPOCH)), "{out:?}");
}

#[test]
#[should_panic(expected = "no term is of an epoch")]
fn a_disk_with_a_term_beyond_its_epoch_does_not_start() {
    started(Epoch(EPOCH.0 + 1).floor(), 1);
}

#[test]
fn as_many_of_the_removed_are_remembered_as_the_limit_says() {
    let boot = Boot::nth(1, 7);
    let record = |id: u64| PeerRecord {
        member: member(id),
        boot,
    };
    let limit = REMOVED_MAX as u64;
    let removed = (2..limit + 5).map(record).collect();
    let mut node = remembering(removed, EPOCH.floor(), 1);
    turn(&mut node, Input::Tick);
    // The first of them comes back, and any change shows who is too many.
    let change = Input::Change {
        ticket: Ticket(1),
        change: Change::Learn(member(2)),
    };
    let out = turn(&mut node, change);
    let records = out.iter().filter_map(|output| match output {
        Output::Write(write) => Some(&write.records),
        _ => None,
    });
    let forgotten: Vec<_> = records
        .flatten()
        .filter_map(|record| match record {
            Record::Peer(peer) => Some((peer.member, peer.boot)),
            _ => None,
        })
        .collect();
    let nobody = Boot::default();
    assert_eq!(forgotten, [(member(3), nobody), (member(4), nobody)]);
    assert!(!node.has_met(member(3)) && !node.has_met(member(4)));
    assert!((5..limit + 5).all(|id| node.has_met(member(id))));
    assert!(node.has_met(member(2)), "it is a member again");
}
