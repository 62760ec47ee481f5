//! Whatever is well formed comes back as it went.

use bytes::{Bytes, BytesMut};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use remember::consensus::{
    Append, AppendOutcome, AppendReply, Ballot, Beat, BeatReply, Configuration, Entry, Forward,
    ForwardReply, Incarnation, Index, MemberId, Message, NodeId, Payload, Position, Refusal, Seat,
    Term, Verdict as Vote, VoteReply, VoteRequest,
};
use remember::wire::{
    Decoder, Delivery, Introduction, Packet, Phase, Reason, Snapshot, Verdict, check, limits,
};

use crate::samples;

fn term() -> impl Strategy<Value = Term> {
    (0..=Term::MAX.0).prop_map(Term)
}

fn led_term() -> impl Strategy<Value = Term> {
    (1..=Term::MAX.0).prop_map(Term)
}

fn index() -> impl Strategy<Value = Index> {
    (0..=limits::INDEX_MAX).prop_map(Index)
}

/// A position that a node in `term` may have, with `room` entries behind it.
fn position(term: Term, room: u64) -> BoxedStrategy<Position> {
    if term.0 == 0 {
        return Just(Position::START).boxed();
    }
    let filled = (1..=term.0, 1..=limits::INDEX_MAX - room).prop_map(|(term, index)| Position {
        term: Term(term),
        index: Index(index),
    });
    prop_oneof![1 => Just(Position::START), 4 => filled].boxed()
}

fn command() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 1..300).prop_map(Bytes::from)
}

fn ballot() -> impl Strategy<Value = Ballot> {
    prop_oneof![Just(Ballot::Pre), Just(Ballot::Real)]
}

fn vote_request() -> impl Strategy<Value = Message> {
    let parts = led_term().prop_flat_map(|term| (Just(term), position(Term(term.0 - 1), 0)));
    (ballot(), parts, any::<u64>()).prop_map(|(ballot, (term, last), round)| {
        Message::VoteRequest(VoteRequest {
            ballot,
            term,
            last,
            round,
        })
    })
}

fn vote_reply() -> impl Strategy<Value = Message> {
    let votes = prop::sample::select(vec![
        Vote::Granted,
        Vote::HasLeader,
        Vote::LogBehind,
        Vote::VotedForOther,
        Vote::StaleTerm,
        Vote::Held,
    ]);
    (ballot(), any::<u64>(), term(), votes).prop_map(|(ballot, round, term, verdict)| {
        Message::VoteReply(VoteReply {
            ballot,
            round,
            term,
            verdict,
        })
    })
}

/// Up to eight members, at least one of which votes.
fn configuration() -> impl Strategy<Value = Payload> {
    let member = (1..=limits::NODE_ID_MAX, any::<u64>()).prop_map(|(id, incarnation)| MemberId {
        id: NodeId(id),
        incarnation: Incarnation(incarnation),
    });
    let seat = (
        0..=Term::MAX.0,
        0..=limits::INDEX_MAX,
        any::<(bool, bool)>(),
    );
    let seat = seat.prop_map(|(term, index, (votes, outgoing))| Seat {
        since: Position {
            term: Term(term),
            index: Index(index),
        },
        votes,
        outgoing,
    });
    let register = option::of((1..=limits::INDEX_MAX).prop_map(Index));
    (btree_map(member, seat, 1..=8), register).prop_map(|(mut seats, register)| {
        if let Some(mut first) = seats.first_entry() {
            first.get_mut().votes = true;
        }
        let configuration = Configuration::new(seats).unwrap();
        Payload::Configuration(configuration.with_register(register))
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Noop),
        command().prop_map(Payload::Command),
        configuration(),
    ]
}

/// Entries behind `prev` whose terms rise now and then, up to `term`.
fn entries(prev: Position, term: Term, drawn: Vec<(bool, Payload)>) -> Vec<Entry> {
    let mut at = prev;
    let mut behind = Vec::new();
    for (rises, payload) in drawn {
        let rise = if rises {
            (term.0 - at.term.0).div_ceil(2)
        } else {
            0
        };
        at.term = Term((at.term.0 + rise).max(1));
        at.index = at.index.next();
        behind.push(Entry {
            term: at.term,
            index: at.index,
            payload,
        });
    }
    behind
}

fn supply_request() -> impl Strategy<Value = Message> {
    let place = led_term().prop_flat_map(|term| (Just(term), position(term, 0)));
    place.prop_map(|(term, at)| Message::SupplyRequest { term, at })
}

fn appended() -> impl Strategy<Value = Append> {
    let place = led_term().prop_flat_map(|term| (Just(term), position(term, 40)));
    let drawn = vec((any::<bool>(), payload()), 0..40);
    (place, drawn, index()).prop_map(|((term, prev), drawn, commit)| Append {
        term,
        prev,
        entries: entries(prev, term, drawn),
        commit,
    })
}

fn append_reply() -> impl Strategy<Value = Message> {
    let conflict = |term| {
        (position(term, 0), 0..=limits::INDEX_MAX).prop_map(|(hint, above)| {
            let rejected = Index(hint.index.0.max(above));
            AppendOutcome::Conflict { rejected, hint }
        })
    };
    term()
        .prop_flat_map(move |term| {
            let matched = index().prop_map(AppendOutcome::Matched);
            (Just(term), prop_oneof![matched, conflict(term)])
        })
        .prop_map(|(term, outcome)| Message::AppendReply(AppendReply { term, outcome }))
}

fn beat() -> impl Strategy<Value = Message> {
    let alive = btree_set(1..=limits::NODE_ID_MAX, 0..=limits::MEMBERS_MAX);
    (led_term(), any::<u64>(), index(), 0..=64_u32, alive).prop_map(
        |(term, round, commit, tickets, alive)| {
            Message::Beat(Beat {
                term,
                round,
                commit,
                tickets,
                alive: alive.into_iter().map(NodeId).collect(),
            })
        },
    )
}

fn forward_reply() -> impl Strategy<Value = Message> {
    let refusals = prop::sample::select(vec![
        Refusal::NotLeader,
        Refusal::HandingOver,
        Refusal::Busy,
        Refusal::Storage,
    ]);
    let place = led_term().prop_flat_map(|term| (Just(term), position(term, 0)));
    (any::<u64>(), place, refusals).prop_map(|(batch, (term, first), refusal)| {
        let taken = first != Position::START;
        let outcome = if taken { Ok(first) } else { Err(refusal) };
        Message::ForwardReply(ForwardReply {
            batch,
            term,
            outcome,
        })
    })
}

fn message() -> impl Strategy<Value = Message> {
    let forward =
        (any::<u64>(), led_term(), vec(command(), 1..40)).prop_map(|(batch, term, commands)| {
            Message::Forward(Forward {
                batch,
                term,
                commands,
            })
        });
    let beat_reply = (term(), any::<u64>(), any::<bool>()).prop_map(|(term, round, can_stand)| {
        Message::BeatReply(BeatReply {
            term,
            round,
            can_stand,
        })
    });
    let read_request = (any::<u64>(), led_term())
        .prop_map(|(request, term)| Message::ReadRequest { request, term });
    let read_reply =
        (any::<u64>(), term(), option::of(index())).prop_map(|(request, term, index)| {
            Message::ReadReply {
                request,
                term,
                index,
            }
        });
    prop_oneof![
        vote_request(),
        vote_reply(),
        appended().prop_map(Message::Append),
        append_reply(),
        beat(),
        beat_reply,
        led_term().prop_map(|term| Message::TimeoutNow { term }),
        supply_request(),
        appended().prop_map(Message::Supply),
        (led_term(), 0..=limits::INDEX_MAX).prop_map(|(term, commit)| Message::Commit {
            term,
            commit: Index(commit),
        }),
        forward,
        forward_reply(),
        read_request,
        read_reply,
    ]
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let size = 0..=limits::INDEX_MAX;
    let covered = led_term()
        .prop_flat_map(|term| (Just(term), position(term, 0)))
        .prop_filter("covers something", |(_, at)| *at != Position::START)
        .boxed();
    let deliveries = vec![Delivery::Coming, Delivery::Whole, Delivery::Failed];
    let delivery = prop::sample::select(deliveries);
    prop_oneof![
        (covered.clone(), size.clone()).prop_map(|((term, position), total_bytes)| {
            Snapshot::Begin {
                term,
                position,
                total_bytes,
            }
        }),
        (size.clone(), command()).prop_map(|(offset, data)| Snapshot::Chunk { offset, data }),
        any::<u32>().prop_map(|checksum| Snapshot::End { checksum }),
        (covered, size, delivery).prop_map(|((_, position), received, delivery)| {
            Snapshot::Ack {
                position,
                received,
                delivery,
            }
        }),
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    let messages = message().prop_map(Packet::Message);
    prop_oneof![4 => messages, 1 => snapshot().prop_map(Packet::Snapshot)]
}

fn introduction() -> impl Strategy<Value = Introduction> {
    let ids = (1..=limits::NODE_ID_MAX, 1..=limits::NODE_ID_MAX);
    let host = "[!-~]{1,253}";
    let stand = led_term().prop_flat_map(|term| (Just(term), position(term, 0)));
    let voters = btree_set(1..=limits::NODE_ID_MAX, 1..=limits::MEMBERS_MAX);
    let member = option::of((stand, voters, any::<u64>(), 1..=300_u32));
    (ids, any::<u64>(), host, host, 1..=u16::MAX, member).prop_map(
        |((id, expects), random, api, peer, port, member)| {
            let mut introduction = samples::member(1, 2);
            introduction.id = NodeId(id);
            introduction.expects = NodeId(expects);
            introduction.incarnation.0 = random;
            introduction.api.host = api;
            introduction.peer.host = peer;
            introduction.peer.port = port;
            let kept = introduction.member.take();
            introduction.member = member.zip(kept).map(|(drawn, mut member)| {
                let ((term, durable), voters, cluster, boot) = drawn;
                member.term = term;
                member.durable = durable;
                member.boots = samples::boots(boot);
                member.membership.cluster.0 = cluster;
                member.membership.epoch = term.epoch();
                let voters = voters.into_iter().map(|id| MemberId {
                    id: NodeId(id),
                    incarnation: Incarnation(random ^ id),
                });
                member.membership.settled = (durable, Configuration::of_voters(voters));
                member
            });
            introduction
        },
    )
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn packets(packets in vec(packet(), 1..8)) {
        let mut out = BytesMut::new();
        for packet in &packets {
            packet.append(&mut out).unwrap();
        }
        let mut decoder = Decoder::new(Phase::Link, 1);
        decoder.space().extend_from_slice(&out);
        for packet in packets {
            let frame = decoder.frame().unwrap().unwrap();
            prop_assert_eq!(Packet::decode(frame).unwrap(), packet);
        }
        prop_assert_eq!(decoder.end(), Ok(()));
    }

    #[test]
    fn messages_are_well_formed(message in message()) {
        prop_assert_eq!(check(&message), Ok(()));
    }

    #[test]
    fn introductions(introduction in introduction()) {
        let mut out = BytesMut::new();
        introduction.append(&mut out).unwrap();
        let body = out.split_off(16).freeze();
        prop_assert_eq!(Introduction::decode(body), Ok(introduction));
    }

    #[test]
    fn verdicts(sentence in ".*", code in 0..7_usize) {
        let reasons = [
            Reason::Version,
            Reason::Garbled,
            Reason::Node,
            Reason::Cluster,
            Reason::NotAdmitted,
            Reason::Busy,
            Reason::Other,
        ];
        let verdict = Verdict::refused(reasons[code], &sentence);
        let mut out = BytesMut::new();
        verdict.append(&mut out).unwrap();
        let body = out.split_off(16).freeze();
        prop_assert_eq!(Verdict::decode(body), Ok(verdict));
    }
}
