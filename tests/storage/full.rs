//! A disk without room: nothing breaks, nothing is lost, and it goes on as soon as there is room.

use remember::storage::Error;

use crate::model::{
    CONFIG, Model, Random, any_records, at, base, entry, founding, publish, start, vote,
};
use crate::sim_disk::SimDisk;

#[test]
fn a_full_disk_takes_a_prefix_and_the_rest_once_there_is_room() {
    let mut refused = 0;
    for seed in 0..40 {
        let records = any_records(200, &mut Random(seed));
        let disk = SimDisk::new(seed);
        let mut opened = start(&disk).unwrap();
        disk.tell_room(seed % 2 == 0);
        let room = (seed % 5) * (CONFIG.segment_bytes / 2);
        disk.set_capacity(Some(disk.used() + room));
        let mut rest = &records[..];
        while !rest.is_empty() {
            match opened.wal.append(rest) {
                Ok(()) => rest = &[],
                Err(Error::Full { appended }) => {
                    refused += 1;
                    rest = &rest[appended..];
                    opened.wal.sync().unwrap();
                    // A crash now finds exactly what was taken.
                    let crashed = disk.fork(seed);
                    crashed.crash();
                    let found = Model::from(&start(&crashed).unwrap().recovered);
                    assert_eq!(found, Model::of(&records[..records.len() - rest.len()]));
                    assert!(matches!(
                        opened.wal.append(rest),
                        Err(Error::Full { appended: 0 })
                    ));
                    disk.set_capacity(Some(disk.used() + CONFIG.segment_bytes));
                }
                Err(error) => panic!("{error}"),
            }
        }
        opened.wal.sync().unwrap();
        disk.crash();
        let found = Model::from(&start(&disk).unwrap().recovered);
        assert_eq!(found, Model::of(&records));
    }
    assert!(refused > 80, "{refused}");
}

#[test]
fn a_snapshot_frees_the_room_that_a_waiting_write_needs() {
    let disk = SimDisk::new(1);
    let mut opened = start(&disk).unwrap();
    opened.wal.append(&[vote(1, 1)]).unwrap();
    let mut index = 0;
    while opened.wal.segments() < 4 {
        index += 1;
        let record = entry(1, index, &[7; 1000]);
        opened.wal.append(&[record]).unwrap();
    }
    opened.wal.sync().unwrap();
    publish(&opened, at(1, index - 1)).unwrap();
    disk.set_capacity(Some(disk.used()));
    let mut fill = || {
        loop {
            index += 1;
            let record = entry(1, index, &[8; 1000]);
            match opened.wal.append(&[record]) {
                Ok(()) => {}
                Err(Error::Full { .. }) => return index,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let waiting = fill();
    // Its base record would have to wait behind the write, so the snapshot itself must do.
    assert!(opened.wal.release(at(1, waiting - 1)).unwrap());
    opened.wal.append(&[entry(1, waiting, b"waited")]).unwrap();
    opened.wal.sync().unwrap();
    disk.crash();
    let found = Model::from(&start(&disk).unwrap().recovered);
    assert_eq!(found.last().0, waiting);
    assert!(found.base.index.0 < waiting);
}

#[test]
fn a_node_starts_on_a_full_disk_again_and_again() {
    let disk = SimDisk::new(2);
    let mut opened = start(&disk).unwrap();
    opened.wal.append(&[vote(1, 1), entry(1, 1, b"x")]).unwrap();
    opened.wal.sync().unwrap();
    disk.set_capacity(Some(0));
    for _ in 0..5 {
        disk.crash();
        let opened = start(&disk).unwrap();
        assert_eq!(opened.recovered.entries.len(), 1);
        assert!(opened.snapshots.write(at(1, 1), &founding()).is_err());
    }
    // Nothing unfinished stays behind to make it worse.
    let names = remember::storage::Disk::list(&disk).unwrap();
    assert!(names.iter().all(|n| !n.contains("unfinished")), "{names:?}");
}

#[test]
fn segments_are_used_again_and_their_old_records_stay_dead() {
    let disk = SimDisk::new(3);
    let mut opened = start(&disk).unwrap();
    opened.wal.append(&[vote(1, 1)]).unwrap();
    for index in 1..400_u64 {
        opened.wal.append(&[entry(1, index, &[b'o'; 700])]).unwrap();
        opened.wal.sync().unwrap();
        if index % 20 == 0 {
            publish(&opened, at(1, index)).unwrap();
            opened.wal.append(&[base(1, index, true)]).unwrap();
            opened.wal.sync().unwrap();
            while opened.wal.release(at(1, index)).unwrap() {}
        }
        assert!(opened.wal.segments() <= 3);
        // However the rest of a recycled segment looks, only what was written comes back.
        let crashed = disk.fork(index);
        crashed.crash();
        let found = Model::from(&start(&crashed).unwrap().recovered);
        assert_eq!(found.last().0, index);
    }
    assert!(opened.wal.sequence() > 15);
    let files = remember::storage::Disk::list(&disk).unwrap().len();
    assert!(files <= 6, "segments are recycled, not piled up: {files}");
}

/// A snapshot is published before the log says that it begins behind it. In between recovery must
/// see the last entry of the snapshot in the log, or it cannot tell that the rest belongs to it.
#[test]
fn the_segment_that_a_snapshot_ends_with_stays_until_the_log_begins_there() {
    let disk = SimDisk::new(4);
    let mut opened = start(&disk).unwrap();
    opened.wal.append(&[vote(1, 1)]).unwrap();
    let mut last = 0;
    while opened.wal.segments() == 1 {
        last += 1;
        opened.wal.append(&[entry(1, last, &[b'o'; 700])]).unwrap();
        opened.wal.sync().unwrap();
    }
    let sealed = last - 1;
    publish(&opened, at(1, sealed)).unwrap();
    while opened.wal.release(at(1, sealed)).unwrap() {}
    disk.crash();
    let mut opened = start(&disk).unwrap();
    let found = Model::from(&opened.recovered);
    assert_eq!(found.base, at(1, sealed));
    assert_eq!(
        found.last().0,
        last,
        "what stands behind the snapshot stays"
    );
    // The log says it now, and the segment may go.
    while opened.wal.release(at(1, sealed)).unwrap() {}
    assert_eq!(opened.wal.segments(), 1);
}
