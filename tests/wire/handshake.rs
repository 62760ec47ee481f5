//! Two nodes meet: both sides of the handshake against each other, and every sentence that a
//! mismatch is told with.

use bytes::BytesMut;
use remember::consensus::{
    Boot, ClusterId, Configuration, Epoch, Hello, Incarnation, MemberId, NodeId, Position,
    Rejection, Report, Term,
};
use remember::wire::{
    Acceptor, Answer, Dialer, HandshakeError, Introduction, Kind, Member, Packet, PreambleError,
    Reason, SendError, Verdict, Versions, append_frame, limits,
};

use crate::samples::{self, fresh, member};

/// Lets two nodes meet, the bytes cut into pieces of `size`; the acceptor judges by itself.
fn meet(dialing: &Introduction, accepting: &Introduction, size: usize) -> Answer {
    let mut asked = BytesMut::new();
    let mut dialer = Dialer::new(dialing, &mut asked).unwrap();
    let mut acceptor = Acceptor::default();
    let mut theirs = None;
    for piece in asked.chunks(size) {
        assert_eq!(theirs, None, "whole before its end");
        acceptor.space().extend_from_slice(piece);
        theirs = acceptor.introduction().unwrap();
    }
    let theirs = theirs.unwrap();
    assert_eq!(theirs, *dialing);

    let mut answered = BytesMut::new();
    let verdict = accepting.judge(&theirs);
    let link = acceptor.answer(accepting, &verdict, &mut answered).unwrap();
    assert_eq!(link.is_some(), verdict == Verdict::Welcome);

    let mut answer = None;
    for piece in answered.chunks(size) {
        assert_eq!(answer, None, "whole before its end");
        dialer.space().extend_from_slice(piece);
        answer = dialer.answer().unwrap();
    }
    let answer = answer.unwrap();
    assert_eq!(answer.theirs.as_ref(), Some(accepting));
    assert_eq!(answer.verdict, verdict);
    if let Some(mut link) = link {
        link.space().extend_from_slice(&samples::stream());
        for (name, packet) in samples::packets() {
            assert_eq!(link.packet().unwrap(), Some(packet), "{name}");
        }
        assert_eq!(link.packet(), Ok(None));
        assert_eq!(link.end(), Ok(()));
    }
    answer
}

fn sentence(verdict: &Verdict) -> (Reason, &str) {
    match verdict {
        Verdict::Refused { reason, sentence } => (*reason, sentence),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn members_meet() {
    for size in [1, 7, 16, 1000] {
        let answer = meet(&member(1, 2), &member(2, 1), size);
        assert_eq!(answer.verdict, Verdict::Welcome);
        assert_eq!(answer.version, 1);
    }
}

#[test]
fn before_the_founding_they_only_take_note() {
    for (dialing, accepting) in [
        (fresh(1, 2), fresh(2, 1)),
        (fresh(1, 2), member(2, 1)),
        (member(1, 2), fresh(2, 1)),
    ] {
        let answer = meet(&dialing, &accepting, 1000);
        assert_eq!(answer.verdict, Verdict::Noted);
    }
}

/// Neither has a link by that: the one has to make durable what it was told.
#[test]
fn who_registers_is_welcomed_or_sent_on() {
    let asking = samples::registers(6, 2);
    for verdict in [samples::registered(), samples::ask_leader()] {
        let mut opening = BytesMut::new();
        let mut dialer = Dialer::new(&asking, &mut opening).unwrap();
        let mut acceptor = Acceptor::default();
        acceptor.space().extend_from_slice(&opening);
        let theirs = acceptor.introduction().unwrap().unwrap();
        assert!(theirs.registers);
        assert_eq!(theirs.name(), asking.name());
        let mut out = BytesMut::new();
        let link = acceptor.answer(&member(2, 6), &verdict, &mut out).unwrap();
        assert!(link.is_none());
        dialer.space().extend_from_slice(&out);
        assert_eq!(dialer.answer().unwrap().unwrap().verdict, verdict);
    }
}

#[test]
fn an_introduction_says_what_the_core_asks() {
    let member = member(1, 2);
    let hello = Hello {
        member: MemberId {
            id: NodeId(1),
            incarnation: Incarnation(0x0123_4567_89ab_cd01),
        },
        since: Position::START,
        boots: samples::boots(4),
        term: samples::TERM,
        durable: samples::at(6, 41),
    };
    assert_eq!(member.hello(), Some(hello.clone()));
    let membership = member.member.clone().unwrap().membership;
    assert_eq!(member.report(), Report::Member(membership.clone()));
    let again = Member::new(membership, &hello);
    assert_eq!(member.member, Some(again));

    let fresh = fresh(1, 2);
    assert_eq!(fresh.hello(), None);
    assert_eq!(fresh.report(), Report::Fresh(fresh.incarnation));
}

#[test]
fn the_wrong_node_is_told_so() {
    let answer = meet(&member(1, 3), &member(2, 1), 1000);
    assert_eq!(
        sentence(&answer.verdict),
        (
            Reason::Node,
            "node 1 looked for node 3 and met node 2, which is at 127.0.0.1:8102; correct the \
             addresses in the list of peers"
        )
    );

    // The dialer comes to the same by itself, should the acceptor not see it.
    let mut out = BytesMut::new();
    let blind = Acceptor::default();
    blind
        .answer(&member(2, 1), &Verdict::Welcome, &mut out)
        .unwrap();
    let mut dialer = Dialer::new(&member(1, 3), &mut BytesMut::new()).unwrap();
    dialer.space().extend_from_slice(&out);
    assert_eq!(dialer.answer(), Ok(Some(answer)));
}

#[test]
fn an_introduction_is_made_to_somebody() {
    assert_eq!(member(1, 2).to(NodeId(3)), member(1, 3));
    let answer = meet(&fresh(1, 2), &member(2, 9).to(NodeId(1)), 1000);
    assert_eq!(answer.verdict, Verdict::Noted);
}

#[test]
fn two_nodes_of_one_id_are_told_so() {
    let answer = meet(&member(2, 1), &member(2, 1), 1000);
    assert_eq!(
        sentence(&answer.verdict),
        (
            Reason::Node,
            "both nodes say that they are node 2, at 127.0.0.1:8102 and at 127.0.0.1:8102; give \
             each node its own id, and its own address in the list of peers"
        )
    );
}

#[test]
fn the_wrong_cluster_is_told_so() {
    let mut other = member(2, 1);
    let membership = &mut other.member.as_mut().unwrap().membership;
    membership.cluster = ClusterId(0xabad_cafe);
    let answer = meet(&member(1, 2), &other, 1000);
    assert_eq!(
        sentence(&answer.verdict),
        (
            Reason::Cluster,
            "node 2 belongs to cluster 00000000abadcafe and node 1 to cluster feedbeef00000001; \
             correct the addresses, or give the one its right data directory"
        )
    );
}

#[test]
fn a_cluster_that_was_begun_anew_is_told_from_the_one_before() {
    let mut later = member(2, 1);
    let its = later.member.as_mut().unwrap();
    its.membership.cluster = ClusterId(0xabad_cafe);
    its.membership.epoch = Epoch(4);
    its.term = Term(Epoch(4).floor().0 + 2);
    let expected = "node 1 belongs to cluster feedbeef00000001 of epoch 1, and node 2 to \
                    00000000abadcafe of epoch 4, which was begun anew (R14); to let node 1 belong \
                    to that as well, set its data directory aside and start it with an empty one \
                    and --join";
    let answer = meet(&member(1, 2), &later, 1000);
    assert_eq!(sentence(&answer.verdict), (Reason::Cluster, expected));
    let answer = meet(&later, &member(1, 2), 1000);
    assert_eq!(sentence(&answer.verdict), (Reason::Cluster, expected));

    // A cluster never changes its epoch.
    let its = later.member.as_mut().unwrap();
    its.membership.cluster = samples::cluster();
    let answer = meet(&member(1, 2), &later, 1000);
    assert_eq!(
        sentence(&answer.verdict),
        (
            Reason::Cluster,
            "nodes 2 and 1 put the one cluster feedbeef00000001 into epochs 4 and 1; one of the \
             two data directories was made by hand"
        )
    );
}

#[test]
fn a_member_is_of_the_epoch_of_its_terms() {
    let refused = |change: fn(&mut Member)| {
        let mut introduction = member(1, 2);
        change(introduction.member.as_mut().unwrap());
        let sent = introduction.append(&mut BytesMut::new());
        let told = sent.unwrap_err().to_string();
        told.strip_prefix("not sent: ").unwrap().to_owned()
    };
    let told = refused(|member| member.term = Epoch(2).floor());
    assert_eq!(
        told,
        "Introduction.member.term is 8589934592, which is not of epoch 1"
    );
    let told = refused(|member| member.membership.epoch = Epoch(1 << 31));
    assert_eq!(
        told,
        "Introduction.member.epoch is 2147483648, at most 2147483647 is allowed"
    );
    let told = refused(|member| {
        member.membership.epoch = Epoch(0);
        member.membership.settled.0 = samples::at(6, 40);
    });
    assert_eq!(
        told,
        "Introduction.member.epoch is 0, below the 1 of the configuration"
    );
}

#[test]
fn one_entry_of_one_cluster_names_the_same_members() {
    let mut other = member(2, 1);
    let (since, members) = &mut other.member.as_mut().unwrap().membership.settled;
    *members = samples::change();
    *since = samples::at(6, 40);
    let answer = meet(&member(1, 2), &other, 1000);
    assert_eq!(answer.verdict, Verdict::Welcome, "it was welcomed later");
    other.member.as_mut().unwrap().membership.settled.0 = Position::START;
    let answer = meet(&member(1, 2), &other, 1000);
    assert_eq!(
        sentence(&answer.verdict),
        (
            Reason::Cluster,
            "nodes 2 and 1 know different members of the one cluster feedbeef00000001; one of the \
             two data directories was damaged or made by hand"
        )
    );
}

#[test]
fn the_core_has_the_last_word() {
    let rejection = Rejection::OldBoot {
        id: NodeId(1),
        met: Boot::nth(9, 1),
        given: Boot::nth(4, 2),
    };
    let verdict = Verdict::from(&rejection);
    assert_eq!(
        sentence(&verdict),
        (Reason::NotAdmitted, rejection.to_string().as_str())
    );
}

#[test]
fn a_sentence_is_made_to_fit() {
    let long = "a\nb\u{7}\u{e9}".repeat(400);
    let verdict = Verdict::refused(Reason::Busy, &long);
    let (_, fitted) = sentence(&verdict);
    assert!(fitted.len() <= limits::SENTENCE_BYTES_MAX);
    assert!(fitted.starts_with("a b \u{e9}a b "));
    let by_hand = Verdict::Refused {
        reason: Reason::Busy,
        sentence: long,
    };
    let mut out = BytesMut::new();
    by_hand.append(&mut out).unwrap();
    let body = out.split_off(16).freeze();
    assert_eq!(Verdict::decode(body), Ok(verdict));
}

#[test]
fn reasons_of_later_versions_are_read() {
    let body = [8, 3, 16, 200, 1, 26, 5].into_iter().chain(*b"later");
    let verdict = Verdict::decode(body.collect());
    assert_eq!(verdict, Ok(Verdict::refused(Reason::Other, "later")));
}

fn first_bytes(bytes: &[u8]) -> HandshakeError {
    let mut acceptor = Acceptor::default();
    acceptor.space().extend_from_slice(bytes);
    let error = acceptor.introduction().unwrap_err();
    assert_eq!(
        acceptor.introduction(),
        Err(error.clone()),
        "errors are final"
    );
    assert_eq!(acceptor.ended(), error);
    error
}

#[test]
fn strangers_are_known_by_their_first_bytes() {
    let told = |bytes: &[u8]| {
        let error = first_bytes(bytes);
        let mut out = BytesMut::new();
        Acceptor::refuse(&error, &mut out).unwrap();
        assert!(out.is_empty(), "a stranger could not read it");
        error.to_string()
    };
    assert_eq!(
        told(b"GET /v1/cluster HTTP/1.1\r\n"),
        "the other side does not speak the protocol between nodes: its first bytes are \
         GET /v1/, which looks like HTTP; is this the port for peers?"
    );
    assert_eq!(
        told(&[0x16, 0x03, 0x01, 0x02]),
        "the other side does not speak the protocol between nodes: its first bytes are \
         \\x16\\x03\\x01\\x02, which is TLS; switch it on, or off, on both sides"
    );
    assert_eq!(
        told(b"remembrance"),
        "the other side does not speak the protocol between nodes: its first bytes are \
         remembra, where \"remember\" was due"
    );
}

fn preamble(min: u16, max: u16) -> BytesMut {
    let mut out = BytesMut::new();
    Versions { min, max }.append(&mut out);
    out
}

#[test]
fn the_highest_shared_version_is_spoken() {
    let range = |min, max| Versions { min, max };
    assert_eq!(range(1, 3).common(range(2, 5)), Ok(3));
    assert_eq!(range(2, 5).common(range(1, 3)), Ok(3));
    assert_eq!(range(1, 1).common(range(1, 9)), Ok(1));
    let (ours, theirs) = (range(1, 2), range(3, 4));
    let none = Err(PreambleError::Version { ours, theirs });
    assert_eq!(ours.common(theirs), none);

    let newer = {
        let mut out = preamble(1, 9);
        member(1, 2).append(&mut out).unwrap();
        out
    };
    let mut acceptor = Acceptor::default();
    acceptor.space().extend_from_slice(&newer);
    assert_eq!(acceptor.introduction(), Ok(Some(member(1, 2))));
}

#[test]
fn versions_without_overlap_are_told_so_on_both_sides() {
    let error = first_bytes(&preamble(2, 7));
    let expected = "the other side speaks wire version 2 to 7, this node 1, and they share none; \
                    upgrade the older of the two one release at a time";
    assert_eq!(error.to_string(), expected);

    // Refused in a way that every version reads: the dialer here shares a version after all.
    let mut out = BytesMut::new();
    Acceptor::refuse(&error, &mut out).unwrap();
    let mut dialer = Dialer::new(&member(1, 2), &mut BytesMut::new()).unwrap();
    dialer.space().extend_from_slice(&out);
    let answer = dialer.answer().unwrap().unwrap();
    assert_eq!(answer.theirs, None);
    assert_eq!(sentence(&answer.verdict), (Reason::Version, expected));
}

#[test]
fn a_preamble_must_make_sense() {
    for (min, max) in [(0, 1), (2, 1), (0, 0)] {
        let error = first_bytes(&preamble(min, max));
        let range = Versions { min, max };
        assert_eq!(error, HandshakeError::Preamble(PreambleError::Range(range)));
    }
    let whole = preamble(1, 1);
    for bit in 8 * 8..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = first_bytes(&damaged);
        let is_checksum = matches!(
            error,
            HandshakeError::Preamble(PreambleError::Checksum { .. })
        );
        assert!(is_checksum, "{error}");
    }
}

#[test]
fn frames_out_of_order_are_refused() {
    let mut out = preamble(1, 1);
    Verdict::Noted.append(&mut out).unwrap();
    let error = first_bytes(&out);
    let said = "Verdict came at byte 16 of the stream, where Introduction was due";
    assert_eq!(error.to_string(), said);

    let answer = |frames: &[&dyn Fn(&mut BytesMut)]| {
        let mut out = preamble(1, 1);
        for append in frames {
            append(&mut out);
        }
        let mut dialer = Dialer::new(&member(1, 2), &mut BytesMut::new()).unwrap();
        dialer.space().extend_from_slice(&out);
        let error = dialer.answer().unwrap_err();
        assert_eq!(dialer.answer(), Err(error.clone()), "errors are final");
        error
    };
    let introduction = |out: &mut BytesMut| member(2, 1).append(out).unwrap();
    let welcome = |out: &mut BytesMut| Verdict::Welcome.append(out).unwrap();
    let beat = |out: &mut BytesMut| append_frame(Kind::Beat, &[], out).unwrap();
    let error = answer(&[&welcome]);
    assert!(matches!(
        error,
        HandshakeError::Order {
            due: Kind::Introduction,
            ..
        }
    ));
    let error = answer(&[&introduction, &introduction]);
    assert!(matches!(
        error,
        HandshakeError::Order {
            due: Kind::Verdict,
            ..
        }
    ));
    assert!(matches!(
        answer(&[&introduction, &beat]),
        HandshakeError::Frame(_)
    ));
}

#[test]
fn an_early_end_is_told() {
    let mut asked = BytesMut::new();
    let dialer = Dialer::new(&member(1, 2), &mut asked).unwrap();
    assert_eq!(dialer.ended(), HandshakeError::Ended);
    for length in 0..asked.len() {
        let mut acceptor = Acceptor::default();
        acceptor.space().extend_from_slice(&asked[..length]);
        assert_eq!(acceptor.introduction(), Ok(None), "{length} bytes");
        let inside = length > 16;
        match acceptor.ended() {
            HandshakeError::Ended => assert!(!inside),
            HandshakeError::Frame(error) => assert!(inside && error.offset == 16),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_garbled_introduction_is_answered() {
    let mut out = preamble(1, 1);
    append_frame(Kind::Introduction, &[8, 1, 16, 2], &mut out).unwrap();
    let error = first_bytes(&out);
    let said = "Introduction at byte 16 of the stream: Introduction.incarnation is missing";
    assert_eq!(error.to_string(), said);
    let mut refused = BytesMut::new();
    Acceptor::refuse(&error, &mut refused).unwrap();
    let mut dialer = Dialer::new(&member(1, 2), &mut BytesMut::new()).unwrap();
    dialer.space().extend_from_slice(&refused);
    let verdict = dialer.answer().unwrap().unwrap().verdict;
    assert_eq!(sentence(&verdict), (Reason::Garbled, said));
}

type Change = fn(&mut Introduction);

#[test]
fn an_introduction_is_checked_where_it_leaves() {
    let told = |change: Change| {
        let mut introduction = member(1, 2);
        change(&mut introduction);
        let mut out = BytesMut::new();
        match introduction.append(&mut out) {
            Err(SendError::Malformed(malformed)) => {
                assert!(out.is_empty());
                malformed.to_string()
            }
            other => panic!("{other:?}"),
        }
    };
    let cases: [(&str, Change); 9] = [
        ("Introduction.id is or has node 0; ids begin with 1", |i| {
            i.id = NodeId(0);
        }),
        (
            "Introduction.expects is 4294967296, at most 4294967295 is allowed",
            |i| i.expects = NodeId(1 << 32),
        ),
        ("Introduction.api has no host", |i| i.api.host.clear()),
        ("Introduction.api has no port", |i| i.api.port = 0),
        ("Introduction.peer is not printable ASCII", |i| {
            i.peer.host = String::from("a b");
        }),
        (
            "Introduction.peer has length 254, at most 253 is allowed",
            |i| i.peer.host = "a".repeat(254),
        ),
        (
            "Introduction.member.term is 9223372036854775808, at most 9223372036854775807 is \
             allowed",
            |i| i.member.as_mut().unwrap().term.0 = 1 << 63,
        ),
        (
            "Introduction.member.configuration is or has node 0; ids begin with 1",
            |i| {
                let nobody = MemberId {
                    id: NodeId(0),
                    incarnation: Incarnation(1),
                };
                let members = &mut i.member.as_mut().unwrap().membership.settled.1;
                *members = Configuration::of_voters([nobody]);
            },
        ),
        (
            "Introduction.member.durable is of term 4294967304, above the sender's 4294967303",
            |i| i.member.as_mut().unwrap().durable = samples::at(8, 50),
        ),
    ];
    for (expected, change) in cases {
        assert_eq!(told(change), expected);
    }
}

#[test]
fn an_ill_formed_answer_leaves_nothing_behind() {
    let mut out = BytesMut::from(&b"before"[..]);
    let mut ours = member(2, 1);
    ours.api.port = 0;
    let answered = Acceptor::default().answer(&ours, &Verdict::Welcome, &mut out);
    assert!(answered.is_err());
    assert!(Dialer::new(&ours, &mut out).is_err());
    assert_eq!(out, &b"before"[..]);
}

#[test]
fn a_link_ends_with_its_first_fault() {
    let mut asked = BytesMut::new();
    Dialer::new(&member(1, 2), &mut asked).unwrap();
    let mut acceptor = Acceptor::default();
    acceptor.space().extend_from_slice(&asked);
    acceptor.introduction().unwrap().unwrap();
    let mut link = acceptor
        .answer(&member(2, 1), &Verdict::Welcome, &mut BytesMut::new())
        .unwrap()
        .unwrap();
    let mut out = BytesMut::new();
    append_frame(Kind::TimeoutNow, &[], &mut out).unwrap();
    let (_, whole) = samples::packets().remove(0);
    let Packet::Message(_) = whole else {
        panic!("the first sample is a message")
    };
    whole.append(&mut out).unwrap();
    link.space().extend_from_slice(&out);
    let error = link.packet().unwrap_err();
    let offset = asked.len();
    let said = format!("TimeoutNow at byte {offset} of the stream: TimeoutNow.term is missing");
    assert_eq!(error.to_string(), said);
    assert_eq!(link.packet(), Err(error.clone()), "errors are final");
    assert_eq!(link.end(), Err(error));
}
