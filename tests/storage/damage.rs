//! Rot and garbage: what was durable is refused when it is damaged, never cut off in silence (R22).

use remember::consensus::{Incarnation, NodeId};
use remember::storage::{DataDir, Disk, Error, WalConfig};

use crate::model::{
    CONFIG, ID, INCARNATION, Model, Random, any_records, at, entry, publish, start, vote,
};
use crate::sim_disk::SimDisk;

/// What a log says without changing the disk it is on.
fn look(disk: &SimDisk) -> Result<Model, Error> {
    let directory = DataDir::open(disk.clone(), ID, INCARNATION)?;
    Ok(Model::from(&directory.recover(CONFIG)?.recovered))
}

fn segments(disk: &SimDisk) -> Vec<String> {
    let names = disk.list().unwrap().into_iter();
    names.filter(|n| n.starts_with("wal-0")).collect()
}

/// How far a segment is filled: behind that there are only zeroes.
fn filled(disk: &SimDisk, name: &str) -> u64 {
    let content = disk.content(name);
    let end = content.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    end.next_multiple_of(512)
}

/// Every bit that is set or not in `range` of a segment, flipped one by one.
fn flip_each(
    disk: &SimDisk,
    name: &str,
    range: std::ops::Range<u64>,
    mut check: impl FnMut(u64, Result<Model, Error>),
) {
    for byte in range {
        for bit in 0..8 {
            let rotten = disk.fork(byte);
            rotten.rot(name, byte, bit);
            check(byte, look(&rotten));
        }
    }
}

fn is_refused(found: &Result<Model, Error>) -> bool {
    matches!(found, Err(Error::Rotten { .. } | Error::OtherFormat { .. }))
}

/// A log of two segments, the older one nearly empty, for one that tries every bit.
fn two_segments() -> (SimDisk, Model) {
    let disk = SimDisk::new(1);
    let mut opened = start(&disk).unwrap();
    let mut append = |records: &[_]| {
        opened.wal.append(records).unwrap();
        opened.wal.sync().unwrap();
    };
    append(&[vote(1, 1), entry(1, 1, b"first")]);
    append(&[entry(1, 2, &[0; 900])]);
    append(&[entry(1, 3, b""), vote(2, 2), entry(2, 3, b"in its place")]);
    append(&[entry(2, 4, &[1; 7000])]);
    append(&[entry(2, 5, &[2; 7000])]);
    append(&[entry(2, 6, b"last but one")]);
    append(&[entry(2, 7, b"last")]);
    assert_eq!(opened.wal.segments(), 2);
    let model = look(&disk.fork(0)).unwrap();
    assert_eq!(model.last().0, 7);
    (disk, model)
}

#[test]
fn every_bit_of_a_sealed_segment_is_guarded() {
    let (disk, model) = two_segments();
    let name = &segments(&disk)[0];
    let mut refused = 0;
    let filled = filled(&disk, name);
    let mut check = |byte, found: Result<Model, Error>| {
        assert!(is_refused(&found), "byte {byte}: {found:?}");
        refused += 1;
    };
    flip_each(&disk, name, 0..filled, &mut check);
    assert_eq!(refused, filled * 8);
    // Behind its end there is nothing to guard.
    flip_each(&disk, name, filled..filled + 64, |_, found| {
        assert_eq!(found.unwrap(), model);
    });
}

#[test]
fn every_bit_of_the_proven_part_is_guarded_and_only_the_last_batch_may_be_cut() {
    let (disk, model) = two_segments();
    let name = &segments(&disk)[1];
    let filled = filled(&disk, name);
    let mut shorter = model.clone();
    shorter.log.pop_last();
    let check = |last: u64| {
        let shorter = shorter.clone();
        move |byte: u64, found: Result<Model, Error>| {
            if byte < last {
                assert!(is_refused(&found), "byte {byte}: {found:?}");
            } else {
                assert_eq!(found.unwrap(), shorter, "byte {byte}");
            }
        }
    };
    flip_each(&disk, name, 0..1600, check(filled - 512));
    flip_each(&disk, name, filled - 1024..filled, check(filled - 512));
    flip_each(&disk, name, filled..filled + 64, |_, found| {
        assert_eq!(found.unwrap(), model);
    });
}

#[test]
fn a_mark_leaves_nothing_to_be_cut() {
    let (disk, model) = two_segments();
    let mut opened = start(&disk).unwrap();
    opened.wal.mark().unwrap();
    let operations = disk.operations();
    opened.wal.mark().unwrap();
    assert_eq!(disk.operations(), operations, "it is marked already");
    let name = &segments(&disk)[1];
    let mark = filled(&disk, name) - 512;
    flip_each(&disk, name, mark - 512..mark + 512, |byte, found| {
        if byte < mark {
            assert!(is_refused(&found), "byte {byte}: {found:?}");
        } else {
            assert_eq!(found.unwrap(), model, "the mark itself says nothing");
        }
    });
}

#[test]
fn damage_says_where_it_is_and_how_to_mend_it() {
    let (disk, _) = two_segments();
    let name = segments(&disk)[0].clone();
    disk.rot(&name, 1024 + 45, 3);
    let error = look(&disk).unwrap_err();
    let Error::Rotten { file, offset, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((file.as_str(), *offset), (name.as_str(), 1024));
    let said = error.to_string();
    assert!(said.contains("undamaged copy"), "{said}");
    // It stays refused: a start that fails mends nothing in secret.
    disk.crash();
    assert!(matches!(look(&disk), Err(Error::Rotten { .. })));
}

#[test]
fn lost_misplaced_and_foreign_segments_are_refused() {
    let (disk, _) = two_segments();
    let names = segments(&disk);
    let refused = |change: &dyn Fn(&SimDisk)| {
        let disk = disk.fork(1);
        change(&disk);
        look(&disk).unwrap_err()
    };
    let gone = refused(&|disk| disk.remove(&names[0]).unwrap());
    assert!(matches!(gone, Error::Rotten { .. }), "{gone}");
    let gone = refused(&|disk| {
        disk.remove(&names[0]).unwrap();
        disk.remove(&names[1]).unwrap();
    });
    assert!(matches!(gone, Error::Missing { .. }), "{gone}");
    let swapped = refused(&|disk| {
        let (first, second) = (disk.content(&names[0]), disk.content(&names[1]));
        disk.put(&names[0], &second);
        disk.put(&names[1], &first);
    });
    assert!(matches!(swapped, Error::Rotten { .. }), "{swapped}");
    let hole = refused(&|disk| disk.rename(&names[1], "wal-0000000000000003").unwrap());
    assert!(matches!(hole, Error::Missing { .. }), "{hole}");
    let cut = refused(&|disk| disk.edit(&names[1], |content| content.truncate(5000)));
    assert!(matches!(cut, Error::Rotten { .. }), "{cut}");
    let foreign = refused(&|disk| {
        let other = SimDisk::new(5);
        let mut directory = DataDir::open(other.clone(), ID, Incarnation(5)).unwrap();
        let membership = crate::model::membership_of([(ID, Incarnation(5))]);
        directory.found(membership, CONFIG).unwrap();
        disk.put(&names[0], &other.content(&names[0]));
    });
    assert!(foreign.to_string().contains("another disk"), "{foreign}");
}

#[test]
fn a_later_format_is_named() {
    let (disk, _) = two_segments();
    let name = segments(&disk)[0].clone();
    disk.edit(&name, |content| {
        content[8] = 4;
        let crc = crc32c::crc32c(&content[..52]);
        content[52..56].copy_from_slice(&crc.to_le_bytes());
    });
    let error = look(&disk).unwrap_err();
    assert!(
        matches!(
            error,
            Error::OtherFormat {
                found: 4,
                supported: 3,
                ..
            }
        ),
        "{error}"
    );
}

/// Whatever is in the files: an answer, soon, and never a panic or a huge allocation.
#[test]
fn garbage_is_survived() {
    let mut refused = 0;
    let mut good = SimDisk::new(0);
    for seed in 0..3000 {
        let mut random = Random(seed);
        if seed % 100 == 0 {
            good = SimDisk::new(seed);
            let mut opened = start(&good).unwrap();
            let records = any_records(60, &mut random);
            opened.wal.append(&records).unwrap();
            opened.wal.mark().unwrap();
            let model = Model::of(&records);
            let last = model.last();
            publish(&opened, at(model.term_at(last).0, last.0)).unwrap();
        }
        let disk = good.fork(seed);
        let names = disk.list().unwrap();
        let name = &names[usize::try_from(random.below(names.len() as u64)).unwrap()];
        let kind = random.below(5);
        let mut content = disk.content(name);
        let place = usize::try_from(random.below(content.len() as u64)).unwrap();
        match kind {
            0 => content.truncate(place),
            1 => {
                let garbage = random.bytes(1 + random.clone().below(2000));
                content.extend_from_slice(&garbage);
            }
            2 => {
                let garbage = random.bytes(1024);
                let end = (place + garbage.len()).min(content.len());
                content[place..end].copy_from_slice(&garbage[..end - place]);
            }
            3 => content = random.bytes(random.clone().below(20_000)),
            _ => content.fill(u8::try_from(random.below(256)).unwrap()),
        }
        disk.put(name, &content);
        refused += usize::from(look(&disk).is_err());
    }
    assert!(refused > 1500, "{refused}");
}

/// A disk that drops a write and says nothing leaves whole, well-formed, older sectors.
#[test]
fn a_write_that_never_happened_is_refused() {
    let (disk, _) = two_segments();
    let twin = disk.fork(1);
    let name = segments(&disk)[1].clone();
    let place = usize::try_from(filled(&disk, &name)).unwrap();
    for (disk, said) in [(&disk, b"one"), (&twin, b"two")] {
        let mut opened = start(disk).unwrap();
        opened.wal.append(&[entry(2, 8, said)]).unwrap();
        opened.wal.sync().unwrap();
        opened.wal.append(&[entry(2, 9, b"same")]).unwrap();
        opened.wal.sync().unwrap();
    }
    let other = twin.content(&name)[place..place + 512].to_vec();
    disk.edit(&name, |content| {
        content[place..place + 512].copy_from_slice(&other);
    });
    let found = look(&disk);
    assert!(is_refused(&found), "{found:?}");
}

/// Of two batches that nobody synced the first is torn and the second is whole: both must go, for
/// ever, although the second would fit behind what is written in the place of the first.
#[test]
fn recovery_clears_what_it_cuts_off() {
    let mut torn = 0;
    for seed in 0..300 {
        let (disk, model) = two_segments();
        let disk = disk.fork(seed);
        let mut opened = start(&disk).unwrap();
        opened.wal.append(&[entry(2, 8, &[8; 900])]).unwrap();
        opened.wal.append(&[entry(2, 9, &[9; 900])]).unwrap();
        disk.crash();
        let name = segments(&disk)[1].clone();
        let before = filled(&disk, &name);
        let found = Model::from(&start(&disk).unwrap().recovered);
        torn += usize::from(found == model && before > filled(&disk, &name));
        disk.crash();
        let length = disk.content(&name).len() as u64;
        let end = filled(&disk, &name);
        let again = look(&disk).unwrap();
        assert_eq!(again, found);
        assert!(end < length);
        // Nothing behind the end but zeroes, and the end is where the last batch ends.
        let batches = [0, 1024, 2048];
        let base = filled(&two_segments().0, &name);
        assert!(batches.map(|b| base + b).contains(&end), "{end} of {base}");
    }
    assert!(torn > 30, "{torn}");
}

#[test]
fn a_value_that_looks_like_a_log_is_only_a_value() {
    let disk = SimDisk::new(9);
    let mut opened = start(&disk).unwrap();
    opened.wal.append(&[vote(1, 1)]).unwrap();
    opened.wal.sync().unwrap();
    // A value that holds a copy of the log itself, batch for batch, at every sector.
    let copy = disk.content(&segments(&disk)[0])[..2048].to_vec();
    for shift in 0..16 {
        let mut value = vec![0; shift * 32];
        value.extend_from_slice(&copy);
        let index = shift as u64 + 1;
        opened.wal.append(&[entry(1, index, &value)]).unwrap();
    }
    for seed in 0..300 {
        let crashed = disk.fork(seed);
        crashed.crash();
        look(&crashed).unwrap();
    }
}

#[test]
fn what_no_correct_node_writes_is_not_written() {
    let disorders: [&[_]; 7] = [
        &[vote(1, 1), vote(1, 2)],
        &[vote(2, 0), vote(1, 0)],
        &[entry(1, 1, b"before its term")],
        &[vote(1, 0), entry(1, 2, b"gap")],
        &[vote(1, 0), entry(1, 0, b"zero")],
        &[vote(1, 0), entry(1, 1, b""), crate::model::base(1, 2, true)],
        &[vote(1, 0), crate::model::base(2, 9, false)],
    ];
    for records in disorders {
        let disk = SimDisk::new(1);
        let mut opened = start(&disk).unwrap();
        let error = opened.wal.append(records).unwrap_err();
        assert!(matches!(error, Error::Disorder(_)), "{error}");
        assert!(matches!(opened.wal.sync(), Err(Error::Poisoned)));
        assert_eq!(look(&disk).unwrap(), Model::default());
    }
}

#[test]
fn a_record_that_is_too_large_is_refused_alone() {
    let disk = SimDisk::new(1);
    let mut opened = start(&disk).unwrap();
    opened.wal.append(&[vote(1, 1)]).unwrap();
    let limit = usize::try_from(CONFIG.record_bytes_max()).unwrap();
    let fitting = limit - 32;
    let error = opened.wal.append(&[entry(1, 1, &vec![1; limit])]);
    assert!(matches!(error, Err(Error::RecordTooLarge { .. })));
    opened
        .wal
        .append(&[entry(1, 1, &vec![1; fitting])])
        .unwrap();
    opened.wal.sync().unwrap();
    assert_eq!(look(&disk).unwrap().last().0, 1);
    for bytes in [0, 512, 16 << 10 | 1, (1 << 30) + 512, u64::MAX] {
        let config = WalConfig {
            segment_bytes: bytes,
        };
        assert!(config.check().is_err());
    }
    let other = DataDir::open(disk, NodeId(2), INCARNATION);
    assert!(matches!(other, Err(Error::OtherNode { .. })));
}
