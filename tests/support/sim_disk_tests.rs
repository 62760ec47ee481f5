//! The simulated disk's own tests; they run in every test program that uses it.

use super::*;

fn read(file: &SimFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// A disk with a durable file of four sectors of ones.
fn ones(seed: u64) -> (SimDisk, SimFile) {
    let disk = SimDisk::new(seed);
    let file = disk.create("file").unwrap();
    file.write_at(&[1; 4 * SECTOR], 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    (disk, file)
}

#[test]
fn a_crash_tears_what_is_not_synced_and_nothing_else() {
    let mut met = Exercised::default();
    for seed in 0..200 {
        let (disk, file) = ones(seed);
        file.write_at(&[2; SECTOR + 200], 700).unwrap();
        let before = read(&file);
        disk.crash();
        assert!(file.length().is_err(), "files of before a crash are dead");
        let after = disk.content("file");
        for (sector, now) in after.chunks(SECTOR).enumerate() {
            let new = &before[sector * SECTOR..][..now.len()];
            assert!(now == new || now == [1; SECTOR], "a sector is old or new");
        }
        met.sectors_dropped += disk.exercised().sectors_dropped;
        met.sectors_kept += disk.exercised().sectors_kept;
    }
    assert!(met.sectors_dropped > 0 && met.sectors_kept > 0);
}

#[test]
fn a_name_is_undecided_until_the_directory_is_synced() {
    let outcomes: BTreeSet<Vec<String>> = (0..200)
        .map(|seed| {
            let (disk, file) = ones(seed);
            disk.rename("file", "renamed").unwrap();
            disk.create("other").unwrap();
            disk.crash();
            drop(file);
            disk.list().unwrap()
        })
        .collect();
    assert_eq!(outcomes.len(), 4, "each change happened, or not");

    let (disk, _file) = ones(1);
    disk.remove("file").unwrap();
    disk.sync_dir().unwrap();
    disk.crash();
    assert!(disk.list().unwrap().is_empty());
    assert_eq!(disk.used(), 0);
}

#[test]
fn a_failed_sync_drops_the_data_and_goes_on_showing_it() {
    let mut dropped = 0;
    for seed in 0..20 {
        let (disk, file) = ones(seed);
        file.write_at(&[2; 4 * SECTOR], 0).unwrap();
        disk.fail_next(Fault::Sync);
        assert!(file.sync().is_err());
        file.sync().unwrap();
        assert!(read(&file) == [2; 4 * SECTOR], "the cache still shows it");
        disk.crash();
        dropped += usize::from(disk.content("file").contains(&1));
        assert_eq!(disk.exercised().errors, 1);
    }
    assert!(
        dropped > 0,
        "a later sync that succeeds brings nothing back"
    );
}

#[test]
fn power_is_lost_at_a_number_and_a_kill_loses_nothing() {
    let (disk, file) = ones(4);
    disk.lose_power_at(disk.operations() + 1);
    file.write_at(&[2; 8], 0).unwrap();
    assert!(file.sync().is_err() && file.length().is_err() && disk.list().is_err());
    let killed = disk.fork(9);
    disk.crash();
    assert_eq!(disk.list().unwrap(), ["file"]);
    killed.lose_power_at(u64::MAX);
    killed.kill();
    assert_eq!(killed.content("file")[..9], [2, 2, 2, 2, 2, 2, 2, 2, 1]);
}

#[test]
fn room_ends_at_the_capacity() {
    let (disk, file) = ones(5);
    disk.set_capacity(Some(disk.used() + 100));
    assert_eq!(disk.room().unwrap(), 100);
    disk.tell_room(false);
    assert_eq!(disk.room().unwrap(), u64::MAX);
    let error = file.write_at(&[3; 200], 4 * SECTOR_BYTES).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    file.write_at(&[3; 8], 0).unwrap();
    disk.set_capacity(None);
    file.write_at(&[3; 200], 4 * SECTOR_BYTES).unwrap();
    assert_eq!(disk.exercised().refusals, 1);
    disk.fail_next(Fault::Write);
    assert!(file.write_at(&[3; 8], 0).is_err());
    disk.fail_next(Fault::Read);
    assert!(file.read_at(&mut [0], 0).is_err());
    disk.fail_next(Fault::SyncDir);
    assert!(disk.sync_dir().is_err());
    disk.fail_next(Fault::Write);
    disk.forget_faults();
    file.write_at(&[3; 8], 0).unwrap();
}

#[test]
fn bits_rot_and_stalls_show() {
    let (disk, _file) = ones(6);
    disk.rot("file", 5, 1);
    assert_eq!(disk.content("file")[5], 3);
    disk.put("planted", b"x");
    disk.crash();
    assert_eq!(disk.content("planted"), b"x");
    assert_eq!(disk.content("file")[5], 3);
    disk.set_stalled(true);
    assert!(disk.is_stalled());
    assert_eq!(disk.exercised().crashes, 1);
}
