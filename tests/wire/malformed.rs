//! Messages that no honest core makes: each is refused by field, where it leaves and where it
//! comes. And bodies that a later version may make: a field more does no harm.

use bytes::{BufMut, Bytes, BytesMut};
use remember::consensus::{
    AppendOutcome, AppendReply, Beat, BeatReply, ConfigError, Configuration, ForwardReply,
    Incarnation, Index, MemberId, Message, NodeId, Payload, Position, Refusal, Term,
};
use remember::wire::{
    Decoder, Delivery, Frame, Kind, Malformed, Packet, Phase, SendError, Snapshot, check, limits,
};

use crate::samples::{self, append, at, beat, entry, forward};

/// The sentence for a message that is not well formed.
fn told(message: Message) -> String {
    let malformed = check(&message).unwrap_err();
    let mut out = BytesMut::new();
    let refused = Packet::Message(message).append(&mut out);
    assert_eq!(refused, Err(SendError::Malformed(malformed.clone())));
    assert!(out.is_empty());
    malformed.to_string()
}

fn appended(change: impl FnOnce(&mut remember::consensus::Append)) -> String {
    let mut append = append();
    change(&mut append);
    told(Message::Append(append))
}

#[test]
fn entries_follow_each_other() {
    let cases = [
        (
            "Append.entries are not consecutive: 43 after 41",
            appended(|append| drop(append.entries.remove(0))),
        ),
        (
            "Append.entries are not consecutive: 42 after 40",
            appended(|append| append.prev = at(6, 40)),
        ),
        (
            "Append.entries go back in term: 4294967302 at index 44, after 4294967303",
            appended(|append| append.entries[2] = entry(6, 44, None)),
        ),
        (
            "Append.entries have term 0 at index 1, which nobody leads",
            appended(|append| {
                append.prev = Position::START;
                append.entries.truncate(1);
                append.entries[0].term = Term(0);
                append.entries[0].index = Index(1);
            }),
        ),
        (
            "Append.entries are of term 4294967304, above the leader's 4294967303",
            appended(|append| append.entries[2] = entry(8, 44, None)),
        ),
    ];
    for (expected, found) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn appends() {
    let cases = [
        (
            "Append.entries has an empty command",
            appended(|append| append.entries[0] = entry(6, 42, Some(b""))),
        ),
        (
            "Append.term is missing",
            appended(|append| append.term = Term(0)),
        ),
        (
            "Append.term is 9223372036854775808, at most 9223372036854775807 is allowed",
            appended(|append| append.term = Term(1 << 63)),
        ),
        (
            "Append.prev is of term 4294967304, above the sender's 4294967303",
            appended(|append| append.prev = at(8, 41)),
        ),
        (
            "Append.prev is t0:i41; only the start of a log has a zero, and then two",
            appended(|append| append.prev.term = Term(0)),
        ),
        (
            "Append.commit is 4611686018427387905, at most 4611686018427387904 is allowed",
            appended(|append| append.commit = Index(limits::INDEX_MAX + 1)),
        ),
        (
            "Append.entries is 4611686018427387905, at most 4611686018427387904 is allowed",
            appended(|append| {
                append.prev = at(6, limits::INDEX_MAX);
                append.entries = vec![entry(6, limits::INDEX_MAX + 1, None)];
            }),
        ),
        (
            "Append.entries has length 16385, at most 16384 is allowed",
            appended(|append| {
                append.entries = (42..42 + 16_385)
                    .map(|index| entry(6, index, None))
                    .collect();
            }),
        ),
        (
            "Append.entries has a command of 2097153 bytes, at most 2097152 are allowed",
            appended(|append| {
                let long = Bytes::from(vec![1; limits::COMMAND_BYTES_MAX + 1]);
                append.entries[0].payload = Payload::Command(long);
            }),
        ),
        (
            "Append.entries.configuration has length 65, at most 64 is allowed",
            appended(|append| append.entries[0].payload = members(1..=65)),
        ),
        (
            "Append.entries.configuration is or has node 0; ids begin with 1",
            appended(|append| append.entries[0].payload = members(0..=2)),
        ),
    ];
    for (expected, found) in cases {
        assert_eq!(found, expected);
    }
}

fn members(ids: std::ops::RangeInclusive<u64>) -> Payload {
    let members = ids.map(|id| MemberId {
        id: NodeId(id),
        incarnation: Incarnation(id),
    });
    Payload::Configuration(Configuration::of_voters(members))
}

#[test]
fn what_is_supplied_is_checked_like_an_append() {
    let mut supply = append();
    supply.entries[2] = entry(8, 44, None);
    assert_eq!(
        told(Message::Supply(supply)),
        "Append.entries are of term 4294967304, above the leader's 4294967303"
    );
}

#[test]
fn beats() {
    let told = |change: &dyn Fn(&mut Beat)| {
        let mut beat = beat();
        change(&mut beat);
        told(Message::Beat(beat))
    };
    let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    for disorder in [ids(&[2, 1]), ids(&[1, 1])] {
        let said = told(&|beat| beat.alive.clone_from(&disorder));
        assert_eq!(said, "Beat.alive is not in rising order");
    }
    assert_eq!(
        told(&|beat| beat.alive = (1..=65).map(NodeId).collect()),
        "Beat.alive has length 65, at most 64 is allowed"
    );
    assert_eq!(
        told(&|beat| beat.alive = ids(&[0, 1])),
        "Beat.alive is or has node 0; ids begin with 1"
    );
    assert_eq!(
        told(&|beat| beat.tickets = 65),
        "Beat.tickets is 65, at most 64 is allowed"
    );
    assert_eq!(told(&|beat| beat.term = Term(0)), "Beat.term is missing");
}

#[test]
fn forwards() {
    let told = |change: &dyn Fn(&mut Vec<Bytes>)| {
        let mut forward = forward();
        change(&mut forward.commands);
        told(Message::Forward(forward))
    };
    assert_eq!(told(&Vec::clear), "Forward.commands is missing");
    assert_eq!(
        told(&|commands| commands.push(Bytes::new())),
        "Forward.commands has an empty command"
    );
    assert_eq!(
        told(&|commands| commands.resize(16_385, Bytes::from_static(b"x"))),
        "Forward.commands has length 16385, at most 16384 is allowed"
    );
}

#[test]
fn answers_and_requests() {
    let term = samples::TERM;
    let conflict = AppendOutcome::Conflict {
        rejected: Index(41),
        hint: at(5, 42),
    };
    let outcome = conflict;
    assert_eq!(
        told(Message::AppendReply(AppendReply { term, outcome })),
        "AppendReply.conflict.hint is at 42, above the rejected 41"
    );
    let outcome = Ok(Position::START);
    assert_eq!(
        told(Message::ForwardReply(ForwardReply {
            batch: 1,
            term,
            outcome
        })),
        "ForwardReply.first is before every entry"
    );
    let (_, request) = samples::messages().remove(0);
    let Message::VoteRequest(mut request) = request else {
        panic!("the first sample asks for a vote")
    };
    request.last.term = request.term;
    assert_eq!(
        told(Message::VoteRequest(request)),
        "VoteRequest.last already has an entry of the term that is asked for"
    );
    let request = 1;
    let term = Term(0);
    assert_eq!(
        told(Message::ReadRequest { request, term }),
        "ReadRequest.term is missing"
    );
}

/// Each message has one part beyond its limit, and the error names it.
fn each_is_named<const N: usize>(cases: [(&str, Message); N]) {
    for (field, message) in cases {
        let malformed = check(&message).expect_err(field);
        assert_eq!(malformed.field, field, "{message:?}");
    }
}

#[test]
fn replies_have_their_limits() {
    let huge = Term(Term::MAX.0 + 1);
    let far = Index(limits::INDEX_MAX + 1);
    let term = samples::TERM;
    let beyond = Position { term, index: far };
    let later = at(8, 40);
    let half = at(6, 0);
    let reply = |term, outcome| Message::AppendReply(AppendReply { term, outcome });
    let refused = |rejected, hint| AppendOutcome::Conflict { rejected, hint };
    let matched = AppendOutcome::Matched;
    let taken = |term, outcome| {
        Message::ForwardReply(ForwardReply {
            batch: 1,
            term,
            outcome,
        })
    };
    let rejected = "AppendReply.conflict.rejected";
    let hint = "AppendReply.conflict.hint";
    each_is_named([
        ("AppendReply.term", reply(huge, matched(Index(1)))),
        ("AppendReply.matched", reply(term, matched(far))),
        (rejected, reply(term, refused(far, at(5, 1)))),
        (hint, reply(term, refused(Index(41), later))),
        (hint, reply(term, refused(Index(41), half))),
        (hint, reply(term, refused(Index(41), beyond))),
        ("ForwardReply.term", taken(huge, Err(Refusal::Busy))),
        ("ForwardReply.first", taken(term, Ok(later))),
        ("ForwardReply.first", taken(term, Ok(beyond))),
    ]);
}

#[test]
fn numbers_have_their_limits() {
    let huge = Term(Term::MAX.0 + 1);
    let far = Index(limits::INDEX_MAX + 1);
    let request = 1;
    let read = |term, index| Message::ReadReply {
        request,
        term,
        index,
    };
    let ask = |term| Message::ReadRequest { request, term };
    let heard = |term, round| {
        Message::BeatReply(BeatReply {
            term,
            round,
            can_stand: true,
        })
    };
    let beat = |change: fn(&mut Beat)| {
        let mut beat = beat();
        change(&mut beat);
        Message::Beat(beat)
    };
    let stranger = NodeId(limits::NODE_ID_MAX + 1);
    let alive = Message::Beat(Beat {
        alive: vec![stranger],
        ..self::beat()
    });
    each_is_named([
        ("ReadReply.term", read(huge, None)),
        ("ReadReply.index", read(samples::TERM, Some(far))),
        ("ReadRequest.term", ask(huge)),
        ("SupplyRequest.at", samples::supply_request(at(8, 40))),
        ("TimeoutNow.term", Message::TimeoutNow { term: huge }),
        ("TimeoutNow.term", Message::TimeoutNow { term: Term(0) }),
        (
            "Commit.term",
            Message::Commit {
                term: huge,
                commit: far,
            },
        ),
        (
            "Commit.commit",
            Message::Commit {
                term: samples::TERM,
                commit: far,
            },
        ),
        ("BeatReply.term", heard(huge, 1)),
        ("Beat.term", beat(|beat| beat.term.0 = 1 << 63)),
        ("Beat.commit", beat(|beat| beat.commit.0 = 1 << 63)),
        ("Beat.alive", alive),
    ]);
}

#[test]
fn votes_have_their_limits() {
    for (name, message) in samples::messages() {
        let (field, message) = match message {
            Message::VoteReply(mut reply) => {
                reply.term.0 = 1 << 63;
                ("VoteReply.term", Message::VoteReply(reply))
            }
            Message::VoteRequest(mut request) => {
                request.term.0 = 1 << 63;
                ("VoteRequest.term", Message::VoteRequest(request))
            }
            _ => continue,
        };
        assert_eq!(check(&message).expect_err(name).field, field);
    }
}

#[test]
fn snapshots_have_their_limits() {
    let term = samples::TERM;
    let far = limits::INDEX_MAX + 1;
    let begin = |term, position, total_bytes| Snapshot::Begin {
        term,
        position,
        total_bytes,
    };
    let chunk = |offset, length| Snapshot::Chunk {
        offset,
        data: Bytes::from(vec![1; length]),
    };
    let ack = |position, received| Snapshot::Ack {
        position,
        received,
        delivery: Delivery::Coming,
    };
    let cases = [
        ("SnapshotBegin.term", begin(Term(0), at(6, 40), 1)),
        ("SnapshotBegin.position", begin(term, at(8, 40), 1)),
        ("SnapshotBegin.position", begin(term, Position::START, 1)),
        ("SnapshotBegin.total_bytes", begin(term, at(6, 40), far)),
        ("SnapshotChunk.offset", chunk(far, 1)),
        ("SnapshotChunk.data", chunk(0, 0)),
        ("SnapshotChunk.data", chunk(0, limits::CHUNK_BYTES_MAX + 1)),
        ("SnapshotAck.position", ack(Position::START, 1)),
        ("SnapshotAck.received", ack(at(6, 40), far)),
    ];
    for (field, snapshot) in cases {
        let mut out = BytesMut::new();
        match Packet::Snapshot(snapshot).append(&mut out) {
            Err(SendError::Malformed(malformed)) => assert_eq!(malformed.field, field),
            other => panic!("{field}: {other:?}"),
        }
        assert!(out.is_empty());
    }
    let largest = Packet::Snapshot(chunk(limits::INDEX_MAX, limits::CHUNK_BYTES_MAX));
    let mut out = BytesMut::new();
    largest.append(&mut out).unwrap();
    assert_eq!(decode(Kind::SnapshotChunk, &out[16..]), Ok(largest));
}

fn decode(kind: Kind, body: &[u8]) -> Result<Packet, Malformed> {
    let body = Bytes::copy_from_slice(body);
    Packet::decode(Frame {
        offset: 0,
        kind,
        body,
    })
}

#[test]
fn bodies_without_their_parts() {
    let cases: [(Kind, &[u8], &str); 9] = [
        (Kind::VoteRequest, &[], "VoteRequest.ballot is missing"),
        (
            Kind::VoteRequest,
            &[8, 3],
            "VoteRequest.ballot is 3, which stands for nothing",
        ),
        (Kind::VoteRequest, &[8, 1], "VoteRequest.last is missing"),
        (Kind::VoteReply, &[8, 1], "VoteReply.verdict is missing"),
        (Kind::AppendReply, &[], "AppendReply.outcome is missing"),
        (
            Kind::AppendReply,
            &[8, 1, 16, 1, 26, 0],
            "AppendReply.outcome is both matched and a conflict",
        ),
        (
            Kind::ForwardReply,
            &[8, 1],
            "ForwardReply.outcome is missing",
        ),
        (
            Kind::ForwardReply,
            &[26, 0, 32, 1],
            "ForwardReply.outcome is both a position and a refusal",
        ),
        (Kind::SnapshotEnd, &[], "SnapshotEnd.checksum is missing"),
    ];
    for (kind, body, expected) in cases {
        assert_eq!(decode(kind, body).unwrap_err().to_string(), expected);
    }
    let unparsable = decode(Kind::Beat, &[8]).unwrap_err();
    assert_eq!(unparsable.field, "Beat");
}

/// Two bytes on the wire may not become dozens in memory: elements are counted before they are
/// made.
#[test]
fn a_bomb_of_empty_elements_is_counted_first() {
    // Its last field cannot be parsed, so whoever parses first says something else.
    let bomb = |tag: u8, count: usize| [[tag << 3 | 2, 0].repeat(count), vec![0x0a, 0]].concat();
    let most = limits::BATCH_BYTES_MAX / 2 - 1;
    assert_eq!(
        decode(Kind::Append, &bomb(4, most))
            .unwrap_err()
            .to_string(),
        "Append.entries has length 2097151, at most 16384 is allowed"
    );
    assert_eq!(
        decode(Kind::Forward, &bomb(3, most))
            .unwrap_err()
            .to_string(),
        "Forward.commands has length 2097151, at most 16384 is allowed"
    );
    let full = remember::consensus::Forward {
        commands: vec![Bytes::from_static(b"x"); limits::COMMANDS_MAX],
        ..forward()
    };
    let full = Packet::Message(Message::Forward(full));
    let mut out = BytesMut::new();
    full.append(&mut out).unwrap();
    assert_eq!(decode(Kind::Forward, &out[16..]), Ok(full));
}

/// A later version may say more; a reader of this one takes what it knows.
#[test]
fn a_field_of_a_later_version_is_skipped() {
    let mut extras = Vec::new();
    extras.put_slice(&[0xf8, 0x01, 0x96, 0x01]); // field 31, a number
    extras.put_slice(&[0xfa, 0x01, 3, b'n', b'e', b'w']); // field 31, bytes
    extras.put_slice(&[0xf9, 0x01, 1, 2, 3, 4, 5, 6, 7, 8]); // field 31, eight bytes
    extras.put_slice(&[0xfd, 0x01, 1, 2, 3, 4]); // field 31, four bytes
    for (name, packet) in samples::packets() {
        let mut out = BytesMut::new();
        packet.append(&mut out).unwrap();
        let mut decoder = Decoder::new(Phase::Link, 1);
        decoder.space().extend_from_slice(&out);
        let frame = decoder.frame().unwrap().unwrap();
        for body in [
            [&frame.body[..], &extras[..]].concat(),
            [&extras[..], &frame.body[..]].concat(),
        ] {
            assert_eq!(decode(frame.kind, &body).as_ref(), Ok(&packet), "{name}");
        }
    }
}

/// The costliest append that a core within the limits may make: all numbers long, as many entries
/// as there may be, and the largest command as the last of them.
#[test]
fn the_largest_append_fits() {
    let term = Term::MAX;
    let mut first = limits::INDEX_MAX - limits::ENTRIES_MAX as u64;
    let prev = Position {
        term,
        index: Index(first),
    };
    let mut behind = |payload| {
        first += 1;
        let index = Index(first);
        remember::consensus::Entry {
            term,
            index,
            payload,
        }
    };
    let mut entries: Vec<_> = (1..limits::ENTRIES_MAX)
        .map(|_| behind(Payload::Noop))
        .collect();
    let size: usize = entries
        .iter()
        .map(remember::consensus::Entry::size_bytes)
        .sum();
    assert_eq!(size, limits::APPEND_BYTES_MAX);
    let largest = Bytes::from(vec![1; limits::COMMAND_BYTES_MAX]);
    entries.push(behind(Payload::Command(largest)));
    let append = remember::consensus::Append {
        term,
        prev,
        entries,
        commit: Index(limits::INDEX_MAX),
    };
    let packet = Packet::Message(Message::Append(append));
    let mut out = BytesMut::new();
    packet.append(&mut out).unwrap();
    assert_eq!(decode(Kind::Append, &out[16..]), Ok(packet));
}

#[test]
fn the_default_settings_of_the_core_fit() -> Result<(), ConfigError> {
    let config = remember::consensus::Config::default();
    config.check()?;
    assert_eq!(limits::check(&config), Ok(()));
    let larger = remember::consensus::Config {
        command_bytes_max: limits::COMMAND_BYTES_MAX + 1,
        ..config
    };
    assert_eq!(
        limits::check(&larger).unwrap_err().to_string(),
        "the command size limit is 2097153, but peers take at most 2097152; lower it"
    );
    Ok(())
}
