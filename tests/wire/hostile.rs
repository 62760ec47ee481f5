//! Bytes that no honest node sends, in numbers: a fuzzer whose seed repeats every input.
//!
//! `REMEMBER_FUZZ_INPUTS=10000000` runs more, `REMEMBER_FUZZ_SEED` others. An input that breaks a
//! promise is printed in the form of `tests/corpus/wire`, where it stays once it is mended.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bytes::{BufMut, Bytes, BytesMut};
use remember::wire::{
    Acceptor, Decoder, Dialer, Frame, HEADER_BYTES, Introduction, Kind, Packet, Phase, Reason,
    Verdict, append_frame, limits,
};

use crate::corpus::{assert_bounded, number, replay};
use crate::random::Random;
use crate::{hex, samples, stream};

/// Where hostile bytes arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Surface {
    /// On a link that is up.
    Link,
    /// At a node that was dialed.
    Acceptor,
    /// At a node that dialed.
    Dialer,
}

impl Surface {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Link, "link"),
        (Self::Acceptor, "acceptor"),
        (Self::Dialer, "dialer"),
    ];
}

/// What a node makes of the bytes, in a sentence that does not depend on how they are cut.
fn outcome(surface: Surface, bytes: &[u8], piece: usize) -> String {
    match surface {
        Surface::Link => link(bytes, piece),
        Surface::Acceptor => acceptor(bytes, piece),
        Surface::Dialer => dialer(bytes, piece),
    }
}

fn link(bytes: &[u8], piece: usize) -> String {
    let mut decoder = Decoder::new(Phase::Link, 1);
    let mut packets = 0;
    for piece in bytes.chunks(piece) {
        decoder.space().extend_from_slice(piece);
        bounded(decoder.space(), limits::BATCH_BYTES_MAX);
        loop {
            match decoder.frame() {
                Ok(Some(frame)) => match packet(frame) {
                    Ok(()) => packets += 1,
                    Err(said) => return format!("{packets} packets, then {said}"),
                },
                Ok(None) => break,
                Err(error) => return format!("{packets} packets, then {error}"),
            }
        }
    }
    match decoder.end() {
        Ok(()) => format!("{packets} packets"),
        Err(error) => format!("{packets} packets, then {error}"),
    }
}

/// A packet that is taken is well formed: it could be sent on, and would be the same.
fn packet(frame: Frame) -> Result<(), String> {
    let (offset, kind) = (frame.offset, frame.kind);
    let packet = Packet::decode(frame)
        .map_err(|malformed| format!("{kind:?} at byte {offset} of the stream: {malformed}"))?;
    let mut out = BytesMut::new();
    packet.append(&mut out).expect("what came may go");
    let again = Frame {
        offset,
        kind,
        body: out.freeze().slice(HEADER_BYTES..),
    };
    assert_eq!(Packet::decode(again), Ok(packet));
    Ok(())
}

fn acceptor(bytes: &[u8], piece: usize) -> String {
    let mut acceptor = Acceptor::default();
    for piece in bytes.chunks(piece) {
        acceptor.space().extend_from_slice(piece);
        bounded(acceptor.space(), Kind::Introduction.body_bytes_max());
        match acceptor.introduction() {
            Ok(Some(theirs)) => {
                again(&theirs);
                let ours = samples::member(2, theirs.id.0);
                let verdict = ours.judge(&theirs);
                let mut out = BytesMut::new();
                acceptor.answer(&ours, &verdict, &mut out).unwrap();
                return match verdict {
                    Verdict::Refused { sentence, .. } => format!("refused: {sentence}"),
                    other => format!("{other:?}"),
                };
            }
            Ok(None) => {}
            Err(error) => {
                Acceptor::refuse(&error, &mut BytesMut::new()).unwrap();
                return strangers_aside(error.to_string());
            }
        }
    }
    acceptor.ended().to_string()
}

fn dialer(bytes: &[u8], piece: usize) -> String {
    let ours = samples::member(1, 2);
    let mut dialer = Dialer::new(&ours, &mut BytesMut::new()).unwrap();
    for piece in bytes.chunks(piece) {
        dialer.space().extend_from_slice(piece);
        bounded(dialer.space(), Kind::Introduction.body_bytes_max());
        match dialer.answer() {
            Ok(Some(answer)) => {
                let welcome = answer.verdict == Verdict::Welcome;
                assert!(!welcome || answer.theirs.is_some());
                if let Some(theirs) = &answer.theirs {
                    again(theirs);
                    ours.judge(theirs);
                }
                let mut out = BytesMut::new();
                answer.verdict.append(&mut out).unwrap();
                return match answer.verdict {
                    Verdict::Refused { sentence, .. } => format!("refused: {sentence}"),
                    other => format!("{other:?}"),
                };
            }
            Ok(None) => {}
            Err(error) => return strangers_aside(error.to_string()),
        }
    }
    dialer.ended().to_string()
}

/// A stranger is known at its first wrong byte, so how many of its bytes are quoted depends on
/// the cut.
fn strangers_aside(said: String) -> String {
    match said.split_once("its first bytes are ") {
        Some((before, _)) => format!("{before}..."),
        None => said,
    }
}

/// An introduction that is taken could be sent on, and would be the same.
fn again(introduction: &Introduction) {
    let mut out = BytesMut::new();
    introduction.append(&mut out).expect("what came may go");
    let body = out.freeze().slice(HEADER_BYTES..);
    assert_eq!(Introduction::decode(body).as_ref(), Ok(introduction));
}

/// The read buffer never has more room than the largest frame and a read, twice.
fn bounded(buffer: &BytesMut, body_bytes_max: usize) {
    let most = 2 * (HEADER_BYTES + body_bytes_max + limits::LINK_READ_BYTES);
    assert!(buffer.capacity() <= most, "{} bytes", buffer.capacity());
}

/// What inputs are made from.
struct Seeds {
    streams: Vec<(Surface, Vec<u8>)>,
    bodies: Vec<(Kind, Bytes)>,
}

impl Seeds {
    fn new() -> Self {
        let mut streams = vec![(Surface::Link, samples::stream())];
        for (_, packet) in samples::packets() {
            let mut out = BytesMut::new();
            packet.append(&mut out).unwrap();
            streams.push((Surface::Link, out.to_vec()));
        }
        for ours in [samples::fresh(1, 2), samples::member(1, 2)] {
            let mut out = BytesMut::new();
            Dialer::new(&ours, &mut out).unwrap();
            streams.push((Surface::Acceptor, out.to_vec()));
        }
        for verdict in [
            Verdict::Welcome,
            Verdict::Noted,
            Verdict::refused(Reason::NotAdmitted, "no"),
        ] {
            let mut out = BytesMut::new();
            let ours = samples::member(2, 1);
            Acceptor::default()
                .answer(&ours, &verdict, &mut out)
                .unwrap();
            streams.push((Surface::Dialer, out.to_vec()));
        }
        let mut bodies = Vec::new();
        for (surface, stream) in &streams {
            let (phase, start) = match surface {
                Surface::Link => (Phase::Link, 0),
                _ => (Phase::Handshake, 16),
            };
            let (frames, _) = stream::decode(phase, [&stream[start..]]);
            let frames = frames.into_iter();
            bodies.extend(frames.map(|(_, kind, body)| (kind, Bytes::from(body))));
        }
        Self { streams, bodies }
    }

    /// One hostile input: noise, damaged streams, headers that lie with a right checksum, and
    /// damaged bodies with right checksums, which only the decoding of bodies can refuse.
    fn input(&self, random: &mut Random) -> (Surface, Vec<u8>) {
        match random.below(8) {
            0 => {
                let length = random.below(200);
                let (surface, _) = *random.of(&Surface::ALL);
                (surface, random.bytes(length))
            }
            1 => (Surface::Link, self.lying_header(random)),
            2 | 3 => {
                let (surface, bytes) = random.of(&self.streams);
                let mut bytes = bytes.clone();
                mutate(&mut bytes, random);
                (*surface, bytes)
            }
            _ => self.sealed_body(random),
        }
    }

    fn lying_header(&self, random: &mut Random) -> Vec<u8> {
        let (kind, body) = random.of(&self.bodies);
        let length = match random.below(3) {
            0 => u32::try_from(body.len()).unwrap(),
            1 => u32::try_from(kind.body_bytes_max() + random.below(3) - 1).unwrap(),
            _ => u32::try_from(random.next() >> 32).unwrap(),
        };
        let code = match random.below(3) {
            0 => u16::try_from(random.below(40)).unwrap(),
            _ => kind.code(),
        };
        let reserved = u16::from(random.below(16) == 0);
        let mut bytes = stream::header(length, code, reserved, crc32c::crc32c(body));
        bytes.put_slice(body);
        bytes
    }

    fn sealed_body(&self, random: &mut Random) -> (Surface, Vec<u8>) {
        let (kind, body) = random.of(&self.bodies);
        let mut damaged = body.to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut damaged, random);
        }
        let mut out = BytesMut::new();
        let surface = match kind {
            Kind::Introduction => *random.of(&[Surface::Acceptor, Surface::Dialer]),
            Kind::Verdict => Surface::Dialer,
            _ => Surface::Link,
        };
        if surface != Surface::Link {
            remember::wire::Versions::OURS.append(&mut out);
        }
        if *kind == Kind::Verdict && random.below(4) > 0 {
            samples::member(2, 1).append(&mut out).unwrap();
        }
        damaged.truncate(kind.body_bytes_max());
        append_frame(*kind, &damaged, &mut out).unwrap();
        if *kind == Kind::Introduction && surface == Surface::Dialer {
            Verdict::Welcome.append(&mut out).unwrap();
        }
        (surface, out.to_vec())
    }
}

/// One change for the worse.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    const EDGES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0x8f, 0xfe, 0xff];
    let at = random.below(bytes.len() + 1);
    let until = at + random.below((bytes.len() - at).min(24) + 1);
    match random.below(9) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        2 if at < bytes.len() => bytes[at] = *random.of(&EDGES),
        3 if at < bytes.len() => bytes[at] = random.byte(),
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..until)),
        6 => {
            let twice = bytes[at..until].to_vec();
            bytes.splice(at..at, twice);
        }
        7 => {
            let length = random.below(12);
            let noise = random.bytes(length);
            bytes.splice(at..until, noise);
        }
        _ => {
            // A number of ten bytes: the largest there is, or one too large.
            let mut number = vec![0xff; 9];
            number.push(*random.of(&[0x01, 0x7f, 0xff]));
            bytes.splice(at..until.min(at + 1), number);
        }
    }
}

#[test]
fn every_recorded_input_is_answered_as_recorded() {
    replay("corpus/wire", 20, |recorded| {
        let named = recorded.surface.as_str();
        let surface = Surface::ALL.into_iter().find(|(_, name)| *name == named);
        let (surface, _) = surface.unwrap_or_else(|| panic!("{named}: where?"));
        let bytes = hex::read(&recorded.input);
        let said = outcome(surface, &bytes, bytes.len().max(1));
        for piece in 1..=bytes.len() {
            assert_eq!(outcome(surface, &bytes, piece), said, "cut into {piece}");
        }
        said
    });
}

#[test]
fn no_input_breaks_a_promise() {
    let inputs = number("REMEMBER_FUZZ_INPUTS", 200_000);
    let mut random = Random(number("REMEMBER_FUZZ_SEED", 1));
    let seeds = Seeds::new();
    let (mut taken, mut refused) = (0_u64, 0_u64);
    for _ in 0..inputs {
        let (surface, bytes) = seeds.input(&mut random);
        let piece = 1 + random.below(64);
        let found = catch_unwind(AssertUnwindSafe(|| {
            let whole = outcome(surface, &bytes, bytes.len().max(1));
            assert_eq!(outcome(surface, &bytes, piece), whole, "cut into {piece}");
            whole
        }));
        let said = found.unwrap_or_else(|panic| {
            println!(
                "# surface: {surface:?}, pieces of {piece}\n{}",
                hex::write(&bytes)
            );
            resume_unwind(panic)
        });
        let fine = said.ends_with("packets") || ["Welcome", "Noted"].contains(&said.as_str());
        *if fine { &mut taken } else { &mut refused } += 1;
    }
    println!("{inputs} inputs: {taken} made sense, {refused} were refused");
    if inputs >= 10_000 {
        assert!(
            taken > inputs / 100,
            "the inputs never reach beyond the first check"
        );
        assert!(refused > inputs / 2, "the inputs are not hostile");
    }
    assert_bounded();
}
