use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::consensus::Payload;
use crate::state::{Command, Condition, Store};

/// A state after `commands`, each an entry.
fn view(commands: impl IntoIterator<Item = Command>) -> View {
    let mut store = Store::default();
    for (command, index) in commands.into_iter().zip(1..) {
        let (term, index) = (Term(3), Index(index));
        store.apply(
            Position { term, index },
            &Payload::Command(command.encode()),
        );
    }
    store.view().clone()
}

fn put(key: &[u8], value: &[u8]) -> Command {
    Command::Put {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        condition: Condition::Always,
    }
}

fn small() -> View {
    view([put(b"a", b"1"), put(b"b", b"22"), put(b"a", b"")])
}

fn bytes(view: &View) -> Vec<u8> {
    let mut bytes = Vec::new();
    view.write_to(&mut bytes).unwrap();
    bytes
}

fn read(mut bytes: &[u8]) -> Result<View, RestoreError> {
    View::read_from(&mut bytes)
}

/// A state of several chunks, with a value that is larger than a chunk.
fn large() -> View {
    let small = (0..3000_u32).map(|number| put(&number.to_be_bytes(), &[7; 60]));
    view(small.chain([put(b"big", &vec![1; VALUE_BYTES_MAX])]))
}

#[test]
fn the_bytes_of_a_snapshot_are_for_ever() {
    let golden = [
        // Magic, format; term, index; revision, quota; used, count; sum.
        "726d627374617465 01000000",
        "0300000000000000 0300000000000000",
        "0400000000000000 0000000400000000",
        "0401000000000000 0200000000000000",
        "a56b1022",
        // Length and sum of the chunk; two records.
        "40000000 8d946ae3",
        "0100 00000000 0200000000000000 0400000000000000 0200000000000000 61",
        "0100 02000000 0300000000000000 0300000000000000 0100000000000000 62 3232",
        // The end, sum, hash.
        "00000000 4a3ef5b7 86146ca46fc2087d",
    ];
    let golden = golden.concat().replace(' ', "");
    let bytes = bytes(&small());
    assert_eq!(bytes.len() * 2, golden.len());
    for (at, byte) in bytes.iter().enumerate() {
        let (digits, found) = (&golden[at * 2..at * 2 + 2], format!("{byte:02x}"));
        assert_eq!(found, digits, "byte {at}");
    }
}

#[test]
fn a_snapshot_is_read_to_its_end_and_not_beyond() {
    let mut long = bytes(&small());
    long.extend_from_slice(b"more");
    let mut rest = long.as_slice();
    View::read_from(&mut rest).unwrap();
    assert_eq!(rest, b"more");
}

#[test]
fn states_of_every_size_come_back() {
    for view in [View::default(), small(), large()] {
        let back = read(&bytes(&view)).unwrap();
        assert_eq!(back.hash(), view.hash());
        assert_eq!(back.rehash(), view.hash());
        assert_eq!(bytes(&back), bytes(&view));
        assert_eq!(back.position(), view.position());
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let sound = bytes(&small());
    for bit in 0..sound.len() * 8 {
        let mut rotten = sound.clone();
        rotten[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&rotten).is_err(), "bit {bit} of {}", sound.len() * 8);
    }
}

#[test]
fn every_cut_is_found() {
    let sound = bytes(&small());
    for length in 0..sound.len() {
        let cut = read(&sound[..length]);
        assert!(
            matches!(cut, Err(RestoreError::Truncated { .. })),
            "{length}: {cut:?}"
        );
    }
}

#[test]
fn chunks_that_are_missing_repeated_or_swapped_are_found() {
    let sound = bytes(&large());
    let mut ends = vec![HEAD_BYTES + 4];
    while ends[ends.len() - 1] < sound.len() - 16 {
        let at = ends[ends.len() - 1];
        let length = u32::from_le_bytes(sound[at..at + 4].try_into().unwrap());
        ends.push(at + 8 + length as usize);
    }
    assert!(ends.len() > 4, "several chunks");
    let chunk = |number: usize| &sound[ends[number]..ends[number + 1]];
    let with = |middle: &[&[u8]]| {
        let middle = middle.concat();
        [&sound[..ends[0]], &middle, &sound[ends[2]..]].concat()
    };
    assert!(read(&with(&[chunk(0), chunk(1)])).is_ok());
    for broken in [
        with(&[chunk(0)]),
        with(&[chunk(1)]),
        with(&[chunk(1), chunk(0)]),
        with(&[chunk(0), chunk(0), chunk(1)]),
    ] {
        assert!(matches!(read(&broken), Err(RestoreError::Sum { .. })));
    }
}

#[test]
fn a_chunk_claims_no_more_memory_than_it_may() {
    let mut long = bytes(&small())[..HEAD_BYTES + 4].to_vec();
    long.extend([0xff; 8]);
    let refused = read(&long).unwrap_err().to_string();
    assert!(refused.contains("a chunk is too long"), "{refused}");
}

#[test]
fn a_failing_source_is_no_damage() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("no such luck"))
        }
    }
    assert!(matches!(
        View::read_from(&mut Broken),
        Err(RestoreError::Io(_))
    ));
}

#[test]
fn what_another_version_wrote_is_said_to_be() {
    let mut other = bytes(&small());
    other[8] = 2;
    assert!(matches!(
        read(&other),
        Err(RestoreError::Unsupported { given: 2 })
    ));
    other[0] = b'x';
    assert!(matches!(read(&other), Err(RestoreError::Foreign)));
}

/// The bytes of a snapshot whose sums are right, whatever the rest says.
fn forge(view: &View, records: &[Record], change: impl Fn(&mut [u64; 6])) -> Vec<u8> {
    let mut fields = [
        view.position.term.0,
        view.position.index.0,
        view.revision.0,
        view.quota_bytes,
        view.used_bytes,
        view.len() as u64,
    ];
    change(&mut fields);
    let mut forged = [MAGIC.as_slice(), &FORMAT.to_le_bytes()].concat();
    forged.extend(fields.map(u64::to_le_bytes).as_flattened());
    let sum = crc32c_append(0, &forged);
    forged.put_u32_le(sum);
    let mut chunk = Vec::new();
    for record in records {
        put_record(&mut chunk, record);
    }
    let sum = write_chunk(&mut forged, sum, &chunk).unwrap();
    let (end, hash) = (0_u32.to_le_bytes(), view.hash().to_le_bytes());
    forged.extend(end);
    forged.put_u32_le(crc32c_append(crc32c_append(sum, &end), &hash));
    forged.extend(hash);
    forged
}

#[test]
fn sound_sums_do_not_excuse_what_cannot_be() {
    let view = small();
    let record = |key: &[u8], value: &[u8], numbers: [u64; 3]| {
        let [created, modified, version] = numbers;
        let value = Bytes::copy_from_slice(value);
        Record::new(
            key.into(),
            value,
            Revision(created),
            Revision(modified),
            version,
        )
    };
    let (a, b) = (record(b"a", b"", [2, 4, 2]), record(b"b", b"22", [3, 3, 1]));
    let same = |_: &mut [u64; 6]| {};
    assert!(read(&forge(&view, &[a.clone(), b.clone()], same)).is_ok());

    let refused = |records: &[Record], expected: &str| {
        let said = read(&forge(&view, records, same)).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}, not {expected}");
    };
    let long = [0; KEY_BYTES_MAX + 1];
    refused(&[b.clone(), a.clone()], "out of order");
    refused(&[a.clone(), a.clone()], "out of order");
    refused(&[record(b"", b"", [2, 2, 1])], "an empty key");
    refused(&[record(&long, b"", [2, 2, 1])], "key is too long");
    refused(&[record(b"a", b"", [1, 2, 1])], "revision that never was");
    refused(&[record(b"a", b"", [3, 2, 1])], "revision that never was");
    refused(&[record(b"a", b"", [5, 5, 1])], "revision that never was");
    refused(&[record(b"a", b"", [2, 2, 0])], "version that never was");
    refused(&[record(b"a", b"", [2, 4, 1])], "version that never was");
    refused(&[record(b"a", b"", [2, 2, 2])], "version that never was");
    refused(&[record(b"a", b"", [2, 4, 4])], "version that never was");
    refused(&[record(b"a", &[0; 999], [2, 4, 2])], "more records");
    refused(
        &[a.clone(), b.clone(), record(b"c", b"", [4, 4, 1])],
        "more records",
    );
    refused(std::slice::from_ref(&a), "the head tells of more");
    refused(&[a.clone(), record(b"b", b"23", [3, 3, 1])], "with hash");

    let refused = |change: fn(&mut [u64; 6]), expected: &str| {
        let said = read(&forge(&view, &[a.clone(), b.clone()], change)).unwrap_err();
        assert!(
            said.to_string().contains(expected),
            "{said}, not {expected}"
        );
    };
    refused(|head| head[0] = 1 << 63, "beyond 63 bits");
    refused(|head| head[1] = 1 << 63, "beyond 63 bits");
    refused(|head| head[1] = 2, "more changes than entries");
    refused(|head| head[2] = 0, "more changes than entries");
    refused(|head| head[5] = 4, "more records than changes");
    refused(|head| head[3] = QUOTA_BYTES_MAX + 1, "more bytes than");
    refused(|head| head[4] = QUOTA_BYTES_MAX + 1, "more bytes than");
    refused(|head| head[3] += 1, "with hash");
    refused(|head| head[4] += 1, "the head tells of more");
}

proptest! {
    #[test]
    fn hostile_bytes_are_refused(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        kept in 0..200_usize,
    ) {
        let sound = bytes(&small());
        let kept = kept.min(sound.len());
        let hostile = [&sound[..kept], &noise].concat();
        if let Ok(view) = read(&hostile) {
            prop_assert!(hostile.starts_with(&sound), "nothing else is a snapshot");
            prop_assert_eq!(view.hash(), small().hash());
        }
        let _refused = read(&noise).unwrap_err();
    }
}
