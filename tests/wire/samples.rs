//! One of everything that nodes say, with every field set.

use bytes::{Bytes, BytesMut};
use remember::consensus::{
    Append, AppendOutcome, AppendReply, Ballot, Beat, BeatReply, Boots, ClusterId, Configuration,
    Entry, Epoch, Forward, ForwardReply, Incarnation, Index, MemberId, Membership, Message, NodeId,
    Payload, Position, Refusal, Seat, Term, Verdict as Vote, VoteReply, VoteRequest,
};
use remember::wire::{
    Address, Contact, Delivery, Introduction, Member, Packet, Snapshot, Verdict, Welcome,
};

/// The seventh term of the first epoch (R14).
pub(crate) const TERM: Term = Term((1 << 32) + 7);

pub(crate) fn at(term: u64, index: u64) -> Position {
    Position {
        term: Term((1 << 32) + term),
        index: Index(index),
    }
}

pub(crate) fn entry(term: u64, index: u64, command: Option<&'static [u8]>) -> Entry {
    Entry {
        term: Term((1 << 32) + term),
        index: Index(index),
        payload: command.map_or(Payload::Noop, |command| {
            Payload::Command(Bytes::from_static(command))
        }),
    }
}

pub(crate) fn append() -> Append {
    Append {
        term: TERM,
        prev: at(6, 41),
        entries: vec![
            entry(6, 42, Some(b"put colour blue")),
            entry(7, 43, None),
            entry(7, 44, Some(b"delete colour")),
        ],
        commit: Index(43),
    }
}

/// Node 2 gives way to node 3, and node 4 learns.
pub(crate) fn change() -> Configuration {
    let seat = |id, since, votes, outgoing| {
        let member = MemberId {
            id: NodeId(id),
            incarnation: Incarnation(0x0123_4567_89ab_cd00 + id),
        };
        let seat = Seat {
            since,
            votes,
            outgoing,
        };
        (member, seat)
    };
    let seats = [
        seat(1, Position::START, true, true),
        seat(2, at(5, 12), false, true),
        seat(3, at(6, 40), true, false),
        seat(4, at(7, 44), false, false),
    ];
    let configuration = Configuration::new(seats.into()).unwrap();
    configuration.with_register(Some(Index(41)))
}

/// One of every message and answer, by the name of its golden file.
pub(crate) fn messages() -> Vec<(&'static str, Message)> {
    [elections(), log(), clients()].concat()
}

fn elections() -> Vec<(&'static str, Message)> {
    let request = |ballot, round| {
        Message::VoteRequest(VoteRequest {
            ballot,
            term: TERM,
            last: at(6, 41),
            round,
        })
    };
    let reply = |ballot, verdict| {
        Message::VoteReply(VoteReply {
            ballot,
            round: 3,
            term: TERM,
            verdict,
        })
    };
    vec![
        ("vote-request-pre", request(Ballot::Pre, 2)),
        ("vote-request-real", request(Ballot::Real, 3)),
        ("vote-reply-granted", reply(Ballot::Real, Vote::Granted)),
        ("vote-reply-held", reply(Ballot::Pre, Vote::Held)),
        (
            "commit",
            Message::Commit {
                term: TERM,
                commit: Index(7),
            },
        ),
        ("timeout-now", Message::TimeoutNow { term: TERM }),
        ("supply-request", supply_request(at(6, 40))),
        ("supply", Message::Supply(append())),
    ]
}

fn log() -> Vec<(&'static str, Message)> {
    let empty = Append {
        entries: Vec::new(),
        ..append()
    };
    let mut changed = append();
    changed.entries[2].payload = Payload::Configuration(change());
    let reply = |outcome| {
        Message::AppendReply(AppendReply {
            term: TERM,
            outcome,
        })
    };
    let matched = AppendOutcome::Matched(Index(44));
    let conflict = AppendOutcome::Conflict {
        rejected: Index(41),
        hint: at(5, 39),
    };
    let heard = BeatReply {
        term: TERM,
        round: 1000,
        can_stand: true,
    };
    vec![
        ("append", Message::Append(append())),
        ("append-configuration", Message::Append(changed)),
        ("append-empty", Message::Append(empty)),
        ("append-reply-matched", reply(matched)),
        ("append-reply-conflict", reply(conflict)),
        ("beat", Message::Beat(beat())),
        ("beat-reply", Message::BeatReply(heard)),
    ]
}

pub(crate) fn supply_request(at: Position) -> Message {
    Message::SupplyRequest { term: TERM, at }
}

fn clients() -> Vec<(&'static str, Message)> {
    let reply = |outcome| {
        Message::ForwardReply(ForwardReply {
            batch: 11,
            term: TERM,
            outcome,
        })
    };
    let request = 17;
    let term = TERM;
    let read = |index| Message::ReadReply {
        request,
        term,
        index,
    };
    vec![
        ("forward", Message::Forward(forward())),
        ("forward-reply-taken", reply(Ok(at(7, 45)))),
        ("forward-reply-refused", reply(Err(Refusal::HandingOver))),
        ("read-request", Message::ReadRequest { request, term }),
        ("read-reply", read(Some(Index(44)))),
        ("read-reply-none", read(None)),
    ]
}

pub(crate) fn beat() -> Beat {
    Beat {
        term: TERM,
        round: 1000,
        commit: Index(43),
        tickets: 3,
        alive: vec![NodeId(1), NodeId(2), NodeId(5)],
    }
}

pub(crate) fn forward() -> Forward {
    Forward {
        batch: 11,
        term: TERM,
        commands: vec![
            Bytes::from_static(b"put colour red"),
            Bytes::from_static(b"put shape round"),
        ],
    }
}

/// One of every part of a snapshot's transfer.
pub(crate) fn snapshots() -> Vec<(&'static str, Snapshot)> {
    let position = at(6, 40);
    vec![
        (
            "snapshot-begin",
            Snapshot::Begin {
                term: TERM,
                position,
                total_bytes: 300_000,
            },
        ),
        (
            "snapshot-chunk",
            Snapshot::Chunk {
                offset: 262_144,
                data: Bytes::from_static(b"state"),
            },
        ),
        (
            "snapshot-end",
            Snapshot::End {
                checksum: 0x1234_abcd,
            },
        ),
        (
            "snapshot-ack",
            Snapshot::Ack {
                position,
                received: 300_000,
                delivery: Delivery::Whole,
            },
        ),
    ]
}

/// One of everything that a link carries.
pub(crate) fn packets() -> Vec<(&'static str, Packet)> {
    let messages = messages().into_iter();
    let snapshots = snapshots().into_iter();
    messages
        .map(|(name, message)| (name, Packet::Message(message)))
        .chain(snapshots.map(|(name, snapshot)| (name, Packet::Snapshot(snapshot))))
        .collect()
}

/// Everything that a link carries, as one stream.
pub(crate) fn stream() -> Vec<u8> {
    let mut out = BytesMut::new();
    for (_, packet) in packets() {
        packet.append(&mut out).unwrap();
    }
    out.to_vec()
}

pub(crate) fn fresh(id: u64, expects: u64) -> Introduction {
    let address = |base| Address {
        host: String::from("127.0.0.1"),
        port: base + u16::try_from(id).unwrap(),
    };
    Introduction {
        id: NodeId(id),
        expects: NodeId(expects),
        incarnation: Incarnation(0x0123_4567_89ab_cd00 + id),
        api: address(8000),
        peer: address(8100),
        member: None,
        registers: false,
    }
}

/// A disk that was started so often.
pub(crate) fn boots(count: u32) -> Boots {
    let nonce = |start| 0x0bad_0000 + start;
    let later = (2..=count).map(nonce);
    later.fold(Boots::first(nonce(1)), |boots, nonce| {
        boots.next(nonce).unwrap()
    })
}

pub(crate) fn member(id: u64, expects: u64) -> Introduction {
    let voters = (1..=5).map(|id| MemberId {
        id: NodeId(id),
        incarnation: fresh(id, expects).incarnation,
    });
    Introduction {
        member: Some(Member {
            membership: Membership::founding(cluster(), Epoch(1), voters),
            since: Position::START,
            boots: boots(4),
            term: TERM,
            durable: at(6, 41),
        }),
        ..fresh(id, expects)
    }
}

/// The cluster of them all.
pub(crate) fn cluster() -> ClusterId {
    ClusterId(0xfeed_beef_0000_0001)
}

/// One that wants to belong to the cluster.
pub(crate) fn registers(id: u64, expects: u64) -> Introduction {
    Introduction {
        registers: true,
        ..fresh(id, expects)
    }
}

fn contact(id: u64) -> Contact {
    (NodeId(id), fresh(id, id).address())
}

/// The word to a new member.
pub(crate) fn registered() -> Verdict {
    let membership = Membership {
        cluster: cluster(),
        epoch: Epoch(1),
        settled: (at(7, 43), change()),
    };
    let contacts = vec![contact(2), contact(3)];
    Verdict::Registered(Box::new(Welcome {
        membership,
        contacts,
    }))
}

/// The word of a follower to a node that registers.
pub(crate) fn ask_leader() -> Verdict {
    Verdict::AskLeader(Box::new(contact(3)))
}
