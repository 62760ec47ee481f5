//! Snapshots: whole or not at all.

use std::io::{Read, Write};

use remember::storage::{Disk, Error, Opened, Snapshots};

use crate::model::{Random, at, base, entry, founding, publish, start, state_at, vote};
use crate::sim_disk::{Fault, SimDisk};

/// A node whose log holds 20 entries.
fn node(seed: u64) -> (SimDisk, Opened<SimDisk>) {
    let disk = SimDisk::new(seed);
    let mut opened = start(&disk).unwrap();
    opened.wal.append(&[vote(1, 1)]).unwrap();
    for index in 1..=20 {
        opened.wal.append(&[entry(1, index, b"x")]).unwrap();
    }
    opened.wal.sync().unwrap();
    (disk, opened)
}

fn file(disk: &SimDisk) -> String {
    let names = disk.list().unwrap();
    let mut snapshots = names.into_iter().filter(|n| n.starts_with("snapshot-"));
    let name = snapshots.next().unwrap();
    assert_eq!(snapshots.next(), None, "one is kept");
    name
}

fn unfinished(disk: &SimDisk) -> usize {
    let names = disk.list().unwrap();
    names.iter().filter(|n| n.contains("unfinished")).count()
}

fn state(snapshots: &Snapshots<SimDisk>) -> std::io::Result<Vec<u8>> {
    let mut state = Vec::new();
    let snapshot = snapshots.newest().unwrap().unwrap();
    snapshot.state().read_to_end(&mut state)?;
    Ok(state)
}

#[test]
fn states_of_every_size_come_back() {
    let (disk, opened) = node(1);
    let chunk = 64 << 10;
    for (n, length) in [0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk + 77]
        .into_iter()
        .enumerate()
    {
        let position = at(1, n as u64 + 1);
        let content = Random(length).bytes(length);
        let mut writer = opened.snapshots.write(position, &founding()).unwrap();
        for piece in content.chunks(1000) {
            writer.write_all(piece).unwrap();
        }
        assert_ne!(opened.snapshots.newest_position(), Some(position));
        assert!(writer.finish().unwrap());
        assert_eq!(opened.snapshots.newest_position(), Some(position));
        let crashed = disk.fork(length);
        crashed.crash();
        let again = start(&crashed).unwrap();
        assert_eq!(again.recovered.base, position);
        assert_eq!(again.recovered.entries.len(), 20 - n - 1);
        assert!(state(&again.snapshots).unwrap() == content);
        file(&crashed);
    }
}

#[test]
fn an_older_snapshot_never_replaces_a_newer_one() {
    let (disk, opened) = node(2);
    let mut older = opened.snapshots.write(at(1, 5), &founding()).unwrap();
    older.write_all(b"older").unwrap();
    publish(&opened, at(1, 7)).unwrap();
    assert!(!older.finish().unwrap());
    assert_eq!(opened.snapshots.newest_position(), Some(at(1, 7)));
    assert_eq!((unfinished(&disk), file(&disk).len()), (0, 42));
}

#[test]
fn a_reader_goes_on_while_a_newer_snapshot_replaces_its_file() {
    let (disk, opened) = node(3);
    publish(&opened, at(1, 5)).unwrap();
    let reading = opened.snapshots.newest().unwrap().unwrap();
    publish(&opened, at(1, 9)).unwrap();
    file(&disk);
    let mut state = Vec::new();
    reading.state().read_to_end(&mut state).unwrap();
    assert_eq!(state, state_at(at(1, 5)));
}

#[test]
fn every_bit_of_a_snapshot_is_guarded() {
    let (disk, opened) = node(4);
    publish(&opened, at(1, 5)).unwrap();
    let name = file(&disk);
    let length = disk.content(&name).len() as u64;
    for byte in 0..length {
        for bit in 0..8 {
            let rotten = disk.fork(byte);
            rotten.rot(&name, byte, bit);
            // The header is read at the start, the rest when the state is restored.
            match start(&rotten) {
                Ok(opened) => {
                    let error = state(&opened.snapshots).unwrap_err();
                    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
                }
                Err(Error::Rotten { file, .. } | Error::OtherFormat { file, .. }) => {
                    assert_eq!(file, name);
                }
                Err(error) => panic!("byte {byte}: {error}"),
            }
        }
    }
    // A state that tells its own end is read no further than that, and what follows is guarded,
    // too.
    for byte in length - 20..length {
        let rotten = disk.fork(byte);
        rotten.rot(&name, byte, 7);
        let snapshot = start(&rotten).unwrap().snapshots.newest().unwrap();
        let mut whole = state_at(at(1, 5));
        let read = snapshot.unwrap().state().read_exact(&mut whole);
        assert!(read.is_err(), "byte {byte}");
    }
    for length in 0..length {
        let cut = disk.fork(length);
        cut.edit(&name, |content| {
            content.truncate(usize::try_from(length).unwrap());
        });
        assert!(start(&cut).is_err() || state(&start(&cut).unwrap().snapshots).is_err());
    }
    let longer = disk.fork(0);
    longer.edit(&name, |content| content.push(0));
    assert!(state(&start(&longer).unwrap().snapshots).is_err());
}

#[test]
fn a_lost_snapshot_is_missed() {
    let (disk, mut opened) = node(5);
    publish(&opened, at(1, 5)).unwrap();
    opened.wal.append(&[base(1, 5, true)]).unwrap();
    opened.wal.sync().unwrap();
    disk.remove(&file(&disk)).unwrap();
    let error = start(&disk).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(error.to_string().contains("snapshot"), "{error}");
}

#[test]
fn a_snapshot_travels_and_is_installed() {
    let (_, leader) = node(6);
    publish(&leader, at(1, 15)).unwrap();
    let sent = leader.snapshots.newest().unwrap().unwrap();
    for keep_log in [false, true] {
        let disk = SimDisk::new(7);
        let mut follower = start(&disk).unwrap();
        follower.wal.append(&[vote(2, 0)]).unwrap();
        let held = if keep_log { 17 } else { 3 };
        for index in 1..=held {
            follower.wal.append(&[entry(1, index, b"x")]).unwrap();
        }
        follower.wal.sync().unwrap();
        let mut incoming = (follower.snapshots)
            .receive(sent.position(), sent.bytes())
            .unwrap();
        while incoming.received() < sent.bytes() {
            let offset = incoming.received();
            let mut piece = vec![0; 700.min(usize::try_from(sent.bytes() - offset).unwrap())];
            sent.read_at(&mut piece, offset).unwrap();
            incoming.append(offset, &piece).unwrap();
            let again = incoming.append(offset, &piece);
            assert!(matches!(again, Err(Error::OutOfPlace { .. })));
        }
        let received = incoming.finish().unwrap();
        let mut state = Vec::new();
        let mut reader = received.snapshot().state();
        reader.read_to_end(&mut state).unwrap();
        assert_eq!(state, state_at(at(1, 15)));
        assert!(received.publish().unwrap());
        // The power goes before the base record is written.
        disk.crash();
        let again = start(&disk).unwrap();
        assert_eq!(again.recovered.base, at(1, 15));
        let kept = if keep_log { 2 } else { 0 };
        assert_eq!(again.recovered.entries.len(), kept);
        assert_eq!(again.wal.base(), at(1, 15));
    }
}

#[test]
fn a_log_that_contradicts_the_snapshot_goes() {
    let (disk, opened) = node(8);
    drop(opened);
    let mut opened = start(&disk).unwrap();
    opened.wal.append(&[vote(5, 0)]).unwrap();
    opened.wal.sync().unwrap();
    publish(&opened, at(4, 15)).unwrap();
    disk.crash();
    let again = start(&disk).unwrap();
    assert_eq!(again.recovered.base, at(4, 15));
    assert!(again.recovered.entries.is_empty());
}

#[test]
fn what_comes_damaged_short_or_long_is_refused_and_leaves_nothing() {
    let (_, leader) = node(9);
    publish(&leader, at(1, 15)).unwrap();
    let sent = leader.snapshots.newest().unwrap().unwrap();
    let mut bytes = vec![0; usize::try_from(sent.bytes()).unwrap()];
    sent.read_at(&mut bytes, 0).unwrap();
    let (disk, follower) = node(10);
    let receive = |position, announced, bytes: &[u8]| -> Result<(), Error> {
        let mut incoming = follower.snapshots.receive(position, announced)?;
        incoming.append(0, bytes)?;
        incoming.finish().map(drop)
    };
    let length = bytes.len() as u64;
    receive(at(1, 15), length, &bytes).unwrap();
    let error = receive(at(1, 14), length, &bytes).unwrap_err();
    assert!(matches!(error, Error::OtherSnapshot { .. }), "{error}");
    let error = receive(at(1, 15), length + 1, &bytes).unwrap_err();
    assert!(matches!(error, Error::OtherSnapshot { .. }), "{error}");
    let error = receive(at(1, 15), length - 1, &bytes).unwrap_err();
    assert!(matches!(error, Error::OtherSnapshot { .. }), "{error}");
    for place in (0..bytes.len()).step_by(7) {
        bytes[place] ^= 4;
        let error = receive(at(1, 15), length, &bytes).unwrap_err();
        assert!(
            matches!(error, Error::Rotten { .. } | Error::OtherFormat { .. }),
            "{error}"
        );
        bytes[place] ^= 4;
    }
    assert!(receive(at(1, 15), 0, &[]).is_err());
    assert_eq!(unfinished(&disk), 0);
    assert_eq!(follower.snapshots.newest_position(), None);
}

#[test]
fn a_snapshot_that_fails_leaves_the_old_one_and_no_litter() {
    let (disk, opened) = node(11);
    publish(&opened, at(1, 5)).unwrap();
    for fault in [Fault::Write, Fault::Sync] {
        disk.fail_next(fault);
        assert!(publish(&opened, at(1, 9)).is_err());
        assert_eq!(unfinished(&disk), 0);
    }
    disk.set_capacity(Some(disk.used() + 700));
    assert!(publish(&opened, at(1, 9)).is_err());
    assert_eq!(unfinished(&disk), 0);
    disk.set_capacity(None);
    assert_eq!(opened.snapshots.newest_position(), Some(at(1, 5)));
    assert_eq!(state(&opened.snapshots).unwrap(), state_at(at(1, 5)));
    // What a power loss leaves unfinished goes at the next start.
    let mut writer = opened.snapshots.write(at(1, 9), &founding()).unwrap();
    writer.write_all(&vec![1; 200_000]).unwrap();
    disk.sync_dir().unwrap();
    disk.crash();
    assert_eq!(unfinished(&disk), 1);
    let again = start(&disk).unwrap();
    assert_eq!(unfinished(&disk), 0);
    assert_eq!(again.snapshots.newest_position(), Some(at(1, 5)));
    drop(writer);
}

#[test]
fn two_may_be_written_at_once() {
    let (disk, opened) = node(12);
    let mut first = opened.snapshots.write(at(1, 4), &founding()).unwrap();
    let mut second = opened.snapshots.write(at(1, 6), &founding()).unwrap();
    first.write_all(b"first").unwrap();
    second.write_all(b"second").unwrap();
    assert!(first.finish().unwrap());
    assert!(second.finish().unwrap());
    assert_eq!(state(&opened.snapshots).unwrap(), b"second");
    assert_eq!((unfinished(&disk), file(&disk).len()), (0, 42));
}
