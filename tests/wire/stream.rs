//! Streams cut into pieces: what comes of them never depends on the cuts, and no announced length
//! is believed before it is checked.

use remember::wire::{
    Decoder, FrameError, FrameFault, HEADER_BYTES, Kind, Packet, Phase, TooLarge, append_frame,
    limits,
};

use bytes::{BufMut, BytesMut};
use remember::consensus::{Message, Payload};

use crate::samples;

/// Everything that came of a stream: frames, then how it ended.
pub(crate) type Outcome = (Vec<(u64, Kind, Vec<u8>)>, Result<(), FrameError>);

/// Feeds `pieces` to a decoder, and holds it to its promise about memory.
pub(crate) fn decode<'a>(phase: Phase, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = Decoder::new(phase, 1);
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.space().extend_from_slice(piece);
        loop {
            match decoder.frame() {
                Ok(Some(frame)) => frames.push((frame.offset, frame.kind, frame.body.to_vec())),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.frame(), Err(error.clone()), "errors are final");
                    assert_eq!(decoder.end(), Err(error.clone()));
                    return (frames, Err(error));
                }
            }
        }
    }
    (frames, decoder.end())
}

/// A header with the right checksum and whatever else.
pub(crate) fn header(length: u32, kind: u16, reserved: u16, body_checksum: u32) -> Vec<u8> {
    let mut header = Vec::new();
    header.put_u32_le(length);
    header.put_u16_le(kind);
    header.put_u16_le(reserved);
    header.put_u32_le(body_checksum);
    header.put_u32_le(crc32c::crc32c(&header));
    header
}

#[test]
fn pieces_do_not_matter() {
    let stream = samples::stream();
    let whole = decode(Phase::Link, [&stream[..]]);
    assert_eq!(whole.0.len(), samples::packets().len());
    assert_eq!(whole.1, Ok(()));
    for size in [1, 2, 3, 15, 16, 17, 100] {
        assert_eq!(
            decode(Phase::Link, stream.chunks(size)),
            whole,
            "pieces of {size}"
        );
    }
}

#[test]
fn every_truncation_is_told_from_a_clean_end() {
    let stream = samples::stream();
    let (frames, _) = decode(Phase::Link, [&stream[..]]);
    let starts: Vec<_> = frames.iter().map(|(offset, ..)| *offset).collect();
    for length in 0..stream.len() {
        let (cut, end) = decode(Phase::Link, [&stream[..length]]);
        assert_eq!(cut[..], frames[..cut.len()]);
        if starts.contains(&(length as u64)) {
            assert_eq!(end, Ok(()));
        } else {
            let error = end.unwrap_err();
            assert_eq!(error.offset, starts[cut.len()]);
            assert!(matches!(error.fault, FrameFault::Truncated { missing } if missing > 0));
        }
    }
}

#[test]
fn every_flipped_bit_is_found_at_its_frame() {
    let stream = samples::stream();
    let (frames, _) = decode(Phase::Link, [&stream[..]]);
    for bit in 0..stream.len() * 8 {
        let mut damaged = stream.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (read, end) = decode(Phase::Link, [&damaged[..]]);
        let error = end.expect_err("a flipped bit never passes");
        let hit = frames
            .iter()
            .rposition(|(offset, ..)| *offset <= (bit / 8) as u64);
        assert_eq!(read[..], frames[..hit.unwrap()]);
        assert_eq!(error.offset, frames[hit.unwrap()].0);
        let is_checksum = matches!(
            error.fault,
            FrameFault::HeaderChecksum { .. } | FrameFault::BodyChecksum { .. }
        );
        assert!(is_checksum, "{error}");
    }
}

fn fault(phase: Phase, bytes: &[u8]) -> FrameFault {
    decode(phase, [bytes]).1.unwrap_err().fault
}

#[test]
fn headers_that_lie_are_refused_before_their_bodies() {
    for kind in Kind::ALL {
        let most = u32::try_from(kind.body_bytes_max()).unwrap();
        for length in [most + 1, u32::MAX] {
            let header = header(length, kind.code(), 0, 0);
            let length = length as usize;
            let expected = FrameFault::TooLarge(TooLarge { kind, length });
            assert_eq!(fault(kind.phase(), &header), expected);
        }
        let other = match kind.phase() {
            Phase::Handshake => Phase::Link,
            Phase::Link => Phase::Handshake,
        };
        let header = header(0, kind.code(), 0, 0);
        assert_eq!(fault(other, &header), FrameFault::OutOfPhase(kind, other));
    }
    for code in (0..=u16::MAX).filter(|code| Kind::of(*code).is_none()) {
        let expected = FrameFault::UnknownKind(code, 1);
        assert_eq!(fault(Phase::Link, &header(0, code, 0, 0)), expected);
    }
    let reserved = header(0, Kind::Beat.code(), 0x100, 0);
    assert_eq!(
        fault(Phase::Link, &reserved),
        FrameFault::Reserved(0x100, 1)
    );
}

#[test]
fn the_buffer_holds_what_was_announced_and_no_more() {
    for kind in Kind::ALL {
        let most = kind.body_bytes_max();
        let mut decoder = Decoder::new(kind.phase(), 1);
        let before = decoder.space().capacity();
        let length = u32::try_from(most).unwrap();
        decoder
            .space()
            .put_slice(&header(length, kind.code(), 0, 0));
        assert_eq!(decoder.frame(), Ok(None));
        let after = decoder.space().capacity();
        assert!(after >= most);
        let read = match kind.phase() {
            Phase::Handshake => limits::HANDSHAKE_READ_BYTES,
            Phase::Link => limits::LINK_READ_BYTES,
        };
        assert!(before <= 2 * read, "{kind:?}: {before}");
        assert!(
            after <= 2 * (HEADER_BYTES + most.max(read)),
            "{kind:?}: {after}"
        );
    }
}

#[test]
fn the_room_of_a_large_frame_is_given_back() {
    let mut out = BytesMut::new();
    append_frame(Kind::Append, &vec![0; limits::BATCH_BYTES_MAX], &mut out).unwrap();
    let mut decoder = Decoder::new(Phase::Link, 1);
    for piece in out.chunks(limits::LINK_READ_BYTES) {
        assert_eq!(decoder.frame(), Ok(None));
        decoder.space().extend_from_slice(piece);
    }
    let frame = decoder.frame().unwrap().unwrap();
    assert_eq!(frame.body.len(), limits::BATCH_BYTES_MAX);
    drop(frame);
    let kept = decoder.space().capacity();
    assert!(kept <= limits::KEPT_BYTES_MAX, "{kept} bytes");
}

#[test]
fn a_frame_too_long_is_not_written() {
    for kind in Kind::ALL {
        let most = kind.body_bytes_max();
        let mut out = BytesMut::from(&b"before"[..]);
        let length = most + 1;
        let refused = append_frame(kind, &vec![0; length], &mut out);
        assert_eq!(refused, Err(TooLarge { kind, length }));
        assert_eq!(out, &b"before"[..]);
        append_frame(kind, &vec![0; most], &mut out).unwrap();
        let (frames, end) = decode(kind.phase(), [&out[6..]]);
        assert_eq!((frames.len(), end), (1, Ok(())));
    }
}

#[test]
fn bodies_are_slices_of_the_read_buffer() {
    let mut decoder = Decoder::new(Phase::Link, 1);
    decoder.space().extend_from_slice(&samples::stream());
    let mut commands = 0;
    while let Some(frame) = decoder.frame().unwrap() {
        let body = frame.body.as_ptr_range();
        let inside = |bytes: &[u8]| {
            let bytes = bytes.as_ptr_range();
            assert!(body.start <= bytes.start && bytes.end <= body.end, "copied");
        };
        match Packet::decode(frame).unwrap() {
            Packet::Message(Message::Append(append)) => {
                for entry in &append.entries {
                    if let Payload::Command(command) = &entry.payload {
                        inside(command);
                        commands += 1;
                    }
                }
            }
            Packet::Message(Message::Forward(forward)) => {
                forward.commands.iter().for_each(|command| inside(command));
                commands += forward.commands.len();
            }
            Packet::Snapshot(remember::wire::Snapshot::Chunk { data, .. }) => {
                inside(&data);
                commands += 1;
            }
            _ => {}
        }
    }
    assert_eq!(commands, 6);
}
