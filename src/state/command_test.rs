use proptest::prelude::*;

use super::*;
use crate::consensus::Config;

fn put(key: &[u8], value: &[u8], condition: Condition) -> Command {
    Command::Put {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        condition,
    }
}

fn delete(key: &[u8], condition: Condition) -> Command {
    let key = Bytes::copy_from_slice(key);
    Command::Delete { key, condition }
}

#[test]
fn the_bytes_of_a_command_are_for_ever() {
    let golden: [(Command, &[u8]); 6] = [
        (
            put(b"a", b"bc", Condition::Always),
            b"\x01\x1a\x07\x0a\x01a\x12\x02bc",
        ),
        (
            put(b"a", b"", Condition::ABSENT),
            b"\x01\x1a\x05\x0a\x01a\x18\x00",
        ),
        (
            put(b"a", b"b", Condition::Modified(Revision(300))),
            b"\x01\x1a\x09\x0a\x01a\x12\x01b\x18\xac\x02",
        ),
        (delete(b"a", Condition::Always), b"\x01\x22\x03\x0a\x01a"),
        (
            delete(b"a", Condition::Modified(Revision(7))),
            b"\x01\x22\x05\x0a\x01a\x10\x07",
        ),
        (
            Command::SetQuota { bytes: 1 << 20 },
            b"\x01\x2a\x04\x08\x80\x80\x40",
        ),
    ];
    for (command, bytes) in golden {
        assert_eq!(command.encode(), bytes, "{command:?}");
        assert_eq!(
            Command::decode(&Bytes::from_static(bytes)).unwrap(),
            command
        );
    }
}

#[test]
fn decoding_copies_neither_key_nor_value() {
    let bytes = put(b"key", b"value", Condition::Always).encode();
    let Ok(Command::Put { key, value, .. }) = Command::decode(&bytes) else {
        panic!("a put");
    };
    let within = bytes.as_ptr_range();
    assert!(within.contains(&key.as_ptr()) && within.contains(&value.as_ptr()));
}

#[test]
fn what_another_version_wrote_is_told_from_what_nobody_wrote() {
    let decode = |bytes: &'static [u8]| Command::decode(&Bytes::from_static(bytes));
    assert_eq!(decode(b""), Err(CommandError::Empty));
    assert_eq!(decode(b"\x01"), Err(CommandError::NoAction));
    for given in (0..=u8::MAX).filter(|given| *given != FORMAT) {
        let bytes = Bytes::from(vec![given, 0x1a, 0x00]);
        let unsupported = CommandError::Unsupported { given };
        assert_eq!(Command::decode(&bytes), Err(unsupported));
    }
    // A session (tag 1) in front of a put, a second key in it, a number longer than needed.
    for bytes in [
        b"\x01\x08\x05\x1a\x03\x0a\x01a".as_slice(),
        b"\x01\x1a\x06\x0a\x01a\x0a\x01b",
        b"\x01\x22\x06\x0a\x01a\x10\x87\x00",
    ] {
        let refused = decode(bytes);
        assert!(
            matches!(refused, Err(CommandError::NotCanonical { .. })),
            "{refused:?}"
        );
    }
    let cut = decode(b"\x01\x1a\x07\x0a\x01a\x12\x02b");
    assert!(matches!(cut, Err(CommandError::Encoding(_))), "{cut:?}");
}

#[test]
fn limits_hold_to_the_byte() {
    let refusal = |command: &Command| {
        let checked = command.check();
        assert_eq!(Command::decode(&command.encode()).map(drop), checked);
        checked.err()
    };
    let key = vec![b'k'; KEY_BYTES_MAX + 1];
    let value = vec![b'v'; VALUE_BYTES_MAX + 1];
    let (fit_key, fit_value) = (&key[1..], &value[1..]);
    let longest = put(fit_key, fit_value, Condition::Modified(Revision(u64::MAX)));
    assert_eq!(refusal(&longest), None);
    assert!(
        longest.encode().len() <= Config::default().command_bytes_max,
        "the engine must take the longest command"
    );
    let bytes = KEY_BYTES_MAX + 1;
    let too_long = Some(CommandError::KeyTooLong { bytes });
    assert_eq!(refusal(&put(&key, b"", Condition::Always)), too_long);
    assert_eq!(refusal(&delete(&key, Condition::Always)), too_long);
    let bytes = VALUE_BYTES_MAX + 1;
    let too_long = Some(CommandError::ValueTooLong { bytes });
    assert_eq!(refusal(&put(fit_key, &value, Condition::Always)), too_long);
    let empty = Some(CommandError::EmptyKey);
    assert_eq!(refusal(&put(b"", b"v", Condition::Always)), empty);
    assert_eq!(refusal(&delete(b"", Condition::Always)), empty);
    let bytes = QUOTA_BYTES_MAX;
    assert_eq!(refusal(&Command::SetQuota { bytes }), None);
    let bytes = bytes + 1;
    let too_large = Some(CommandError::QuotaTooLarge { bytes });
    assert_eq!(refusal(&Command::SetQuota { bytes }), too_large);
}

fn commands() -> impl Strategy<Value = Command> {
    let key = || prop::collection::vec(any::<u8>(), 1..40).prop_map(Bytes::from);
    let value = prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    let condition = || any::<Option<u64>>().prop_map(Condition::from);
    prop_oneof![
        (key(), value, condition()).prop_map(|(key, value, condition)| Command::Put {
            key,
            value,
            condition
        }),
        (key(), condition()).prop_map(|(key, condition)| Command::Delete { key, condition }),
        (0..=QUOTA_BYTES_MAX).prop_map(|bytes| Command::SetQuota { bytes }),
    ]
}

proptest! {
    #[test]
    fn every_command_comes_back(command in commands()) {
        prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
    }

    #[test]
    fn hostile_bytes_are_refused_or_are_a_command(
        command in commands(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = command.encode().to_vec();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        for bytes in [Bytes::from(bytes), Bytes::from(noise)] {
            if let Ok(command) = Command::decode(&bytes) {
                prop_assert_eq!(command.check(), Ok(()));
                prop_assert_eq!(command.encode().len(), bytes.len());
                prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
            }
        }
    }
}
