//! The bytes of wire version 1, for ever. `REMEMBER_BLESS=1` records them; a change of a recorded
//! file is a change of the protocol.

use bytes::BytesMut;
use remember::wire::{
    Acceptor, Decoder, Dialer, Introduction, Packet, Phase, Reason, Verdict, Versions,
};

use crate::{hex, samples};

fn compare(name: &str, bytes: &[u8]) {
    let path = hex::folder("golden/wire").join(name).with_extension("hex");
    if hex::bless() {
        std::fs::write(&path, hex::write(bytes)).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; record it with REMEMBER_BLESS=1",
            path.display()
        )
    });
    assert_eq!(hex::write(bytes), recorded, "{name} looks different now");
}

#[test]
fn every_packet_has_its_recorded_bytes() {
    for (name, packet) in samples::packets() {
        let mut out = BytesMut::new();
        packet.append(&mut out).unwrap();
        compare(name, &out);

        let mut decoder = Decoder::new(Phase::Link, Versions::OURS.max);
        decoder.space().extend_from_slice(&out);
        let frame = decoder.frame().unwrap().unwrap();
        assert_eq!(Packet::decode(frame).unwrap(), packet, "{name}");
        assert_eq!(decoder.end(), Ok(()));
    }
}

#[test]
fn every_kind_of_frame_has_a_sample() {
    let mut decoder = Decoder::new(Phase::Link, Versions::OURS.max);
    decoder.space().extend_from_slice(&samples::stream());
    let mut seen = std::collections::BTreeSet::new();
    while let Some(frame) = decoder.frame().unwrap() {
        seen.insert(frame.kind);
    }
    let all = remember::wire::Kind::ALL.into_iter();
    let of_links: Vec<_> = all.filter(|kind| kind.phase() == Phase::Link).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), of_links);
}

fn asked(name: &str, ours: &Introduction) {
    let mut out = BytesMut::new();
    Dialer::new(ours, &mut out).unwrap();
    compare(name, &out);
    let mut acceptor = Acceptor::default();
    acceptor.space().extend_from_slice(&out);
    assert_eq!(acceptor.introduction().unwrap().as_ref(), Some(ours));
}

fn answered(name: &str, verdict: &Verdict) {
    let ours = samples::member(2, 1);
    let mut out = BytesMut::new();
    let acceptor = Acceptor::default();
    acceptor.answer(&ours, verdict, &mut out).unwrap();
    compare(name, &out);
    let mut dialer = Dialer::new(&samples::member(1, 2), &mut BytesMut::new()).unwrap();
    dialer.space().extend_from_slice(&out);
    let answer = dialer.answer().unwrap().unwrap();
    assert_eq!(answer.version, 1);
    assert_eq!(answer.theirs, Some(ours));
    assert_eq!(answer.verdict, *verdict);
}

#[test]
fn the_handshake_has_its_recorded_bytes() {
    asked("dialer-fresh", &samples::fresh(1, 2));
    asked("dialer-member", &samples::member(1, 2));
    asked("dialer-registers", &samples::registers(1, 2));
    answered("acceptor-welcome", &Verdict::Welcome);
    answered("acceptor-noted", &Verdict::Noted);
    let sentence = "node 1 is not a voter of this cluster";
    answered(
        "acceptor-refused",
        &Verdict::refused(Reason::NotAdmitted, sentence),
    );
    answered("acceptor-registered", &samples::registered());
    answered("acceptor-ask-leader", &samples::ask_leader());
}
