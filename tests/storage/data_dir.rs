//! Whose directory it is, and that nothing is ever made anew beside what is left of something old.

use remember::consensus::{ClusterId, Incarnation, NodeId};
use remember::storage::{DataDir, Disk, Error, quarantine};

use crate::model::{
    CONFIG, ID, INCARNATION, at, entry, membership, membership_of, publish, start, vote,
};
use crate::sim_disk::{Fault, SimDisk};

fn open(disk: &SimDisk) -> Result<DataDir<SimDisk>, Error> {
    DataDir::open(disk.clone(), ID, INCARNATION)
}

#[test]
fn every_start_has_a_higher_boot_number() {
    let disk = SimDisk::new(1);
    for boot in 1..10 {
        let directory = open(&disk).unwrap();
        assert_eq!(directory.identity().boots.newest().count(), boot);
        assert_eq!(directory.identity().membership, None);
        disk.crash();
    }
    // The first incarnation stays, whatever is offered later.
    let directory = DataDir::open(disk, ID, Incarnation(99)).unwrap();
    assert_eq!(directory.identity().incarnation, INCARNATION);
}

#[test]
fn a_boot_number_that_was_told_is_never_told_again() {
    for at_change in 0.. {
        let mut last = 0;
        let mut reached = false;
        for seed in 0..20 {
            let disk = SimDisk::new(seed);
            let mut told = open(&disk).unwrap().identity().boots.newest().count();
            for round in 0..4 {
                disk.lose_power_at(disk.operations() + (at_change + round) % 5);
                if let Ok(directory) = open(&disk) {
                    let boot = directory.identity().boots.newest().count();
                    assert!(boot > told);
                    told = boot;
                } else {
                    reached = true;
                }
                disk.crash();
            }
            let boot = open(&disk).unwrap().identity().boots.newest().count();
            assert!(boot > told);
            last = last.max(boot);
        }
        assert!(last > 1 && reached);
        if at_change == 4 {
            return;
        }
    }
}

#[test]
fn no_start_that_was_told_is_missing_from_the_past_of_its_disk() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let mut nonce = 0;
        let mut start = |disk: &SimDisk| {
            nonce += 1;
            let directory = DataDir::open(disk.clone(), ID, Incarnation(nonce));
            directory.map(|directory| directory.identity().boots.clone())
        };
        let mut told = vec![start(&disk).unwrap().newest()];
        let copy = disk.fork(seed);
        for round in 0..20 {
            disk.lose_power_at(disk.operations() + (seed + round) % 10);
            if let Ok(boots) = start(&disk) {
                told.push(boots.newest());
            }
            disk.crash();
        }
        let boots = start(&disk).unwrap();
        assert!(told.len() > 1 && told.iter().all(|boot| !boots.lacks(*boot)));
        // A copy lacks them all, but for the one that it was taken of, however often it starts.
        for _ in 0..30 {
            let boots = start(&copy).unwrap();
            assert!(!boots.lacks(told[0]) && told[1..].iter().all(|boot| boots.lacks(*boot)));
        }
    }
}

#[test]
fn starts_that_failed_leave_a_good_identity_behind() {
    for seed in 0..500 {
        let disk = SimDisk::new(seed);
        drop(open(&disk).unwrap());
        for round in 0..4 {
            // A sync fails, and what it was for stays in the page cache: the next start reads it.
            disk.fail_next(if (seed + round) % 3 == 0 {
                Fault::Write
            } else {
                Fault::Sync
            });
            open(&disk).unwrap_err();
            disk.kill();
        }
        disk.lose_power_at(disk.operations() + seed % 9);
        drop(open(&disk));
        disk.crash();
        open(&disk).unwrap();
    }
}

#[test]
fn every_bit_of_the_identity_is_guarded() {
    let disk = SimDisk::new(2);
    start(&disk).unwrap();
    let before = open(&disk.fork(0)).unwrap().identity().clone();
    for byte in (0..8192).filter(|byte| byte % 4096 < 160 || byte % 4096 > 4080) {
        for bit in 0..8 {
            let rotten = disk.fork(byte);
            rotten.rot("identity", byte, bit);
            // The other copy is as good, down to the boot number.
            assert_eq!(*open(&rotten).unwrap().identity(), before);
        }
    }
    disk.rot("identity", 30, 1);
    disk.rot("identity", 4096 + 99, 1);
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, Error::Rotten { .. }), "{error}");
}

#[test]
fn a_directory_is_one_nodes_own() {
    let disk = SimDisk::new(3);
    start(&disk).unwrap();
    let error = DataDir::open(disk.clone(), NodeId(2), INCARNATION).unwrap_err();
    assert!(matches!(error, Error::OtherNode { .. }));
    assert!(
        error
            .to_string()
            .contains("belongs to node 1, not to node 2")
    );
    let boot = open(&disk).unwrap().identity().boots.newest().count();
    assert_eq!(boot, 2, "a start that was refused is no start");
}

#[test]
fn a_membership_is_agreed_once_and_names_this_disk() {
    let disk = SimDisk::new(4);
    let mut directory = open(&disk).unwrap();
    let other = (NodeId(2), Incarnation(2));
    let foreign = membership_of([(ID, Incarnation(1)), other]);
    let without = membership_of([other]);
    let crowd = (10..80).map(|id| (NodeId(id), Incarnation(id)));
    let crowded = membership_of(crowd.chain([(ID, INCARNATION)]));
    for bad in [foreign, without, crowded] {
        let error = directory.found(bad, CONFIG).unwrap_err();
        assert!(matches!(error, Error::Membership { .. }), "{error}");
    }
    let error = open(&disk).unwrap().recover(CONFIG).unwrap_err();
    assert!(matches!(error, Error::NotFounded), "{error}");
    let mut directory = open(&disk).unwrap();
    directory.found(membership(), CONFIG).unwrap();
    directory.found(membership(), CONFIG).unwrap();
    let mut other = membership();
    other.cluster = ClusterId(8);
    let error = directory.found(other, CONFIG).unwrap_err();
    assert!(matches!(error, Error::Founded { cluster: 7 }), "{error}");
    let recovered = directory.recover(CONFIG).unwrap().recovered;
    assert_eq!(recovered.membership, membership());
    assert_eq!((recovered.base, recovered.entries.len()), (at(0, 0), 0));
}

#[test]
fn power_lost_anywhere_in_the_first_start_leaves_a_fresh_disk_or_a_founded_one() {
    let mut begun = 0;
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        disk.lose_power_at(seed % 24);
        begun += usize::from(start(&disk).is_err());
        disk.crash();
        if seed % 3 == 0 {
            disk.lose_power_at(disk.operations() + seed % 20);
            drop(start(&disk));
            disk.crash();
        }
        let mut opened = start(&disk).unwrap();
        opened.wal.append(&[vote(1, 1)]).unwrap();
        opened.wal.sync().unwrap();
    }
    assert!(begun > 50, "{begun}");
}

#[test]
fn what_is_missing_is_named_and_nothing_is_made_anew() {
    let disk = SimDisk::new(5);
    let mut opened = start(&disk).unwrap();
    let records = [vote(1, 1), entry(1, 1, b"x"), entry(1, 2, b"y")];
    opened.wal.append(&records).unwrap();
    opened.wal.sync().unwrap();
    publish(&opened, at(1, 1)).unwrap();
    let missed = |names: &[&str]| {
        let disk = disk.fork(1);
        for name in names {
            disk.remove(name).unwrap();
        }
        let before = disk.list().unwrap();
        let error = open(&disk).unwrap_err();
        assert!(matches!(error, Error::Missing { .. }), "{error}");
        assert_eq!(disk.list().unwrap(), before, "nothing was touched");
        error.to_string()
    };
    let wal = "wal-0000000000000001";
    let snapshot = "snapshot-0000000000000001-0000000000000001";
    assert!(missed(&["identity"]).starts_with("identity is missing"));
    assert!(missed(&["identity", snapshot]).contains(wal));
    assert!(missed(&["identity", wal]).contains(snapshot));
    assert!(missed(&[wal]).starts_with("the log is missing"));
    assert!(missed(&[wal, snapshot]).starts_with("the log is missing"));
    // A log under an identity that knows no cluster is somebody's votes, not a fresh disk.
    let fresh = SimDisk::new(6);
    open(&fresh).unwrap();
    let identity = fresh.content("identity");
    let mixed = disk.fork(2);
    mixed.put("identity", &identity);
    assert!(matches!(open(&mixed), Err(Error::Missing { .. })));
    mixed.remove(snapshot).unwrap();
    let error = open(&mixed)
        .unwrap()
        .found(membership(), CONFIG)
        .unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

#[test]
fn a_disk_that_was_turned_away_never_starts_again() {
    let disk = SimDisk::new(5);
    drop(open(&disk).unwrap());
    quarantine(&disk, "node 1 lost acknowledged data").unwrap();
    quarantine(&disk, "another sentence").unwrap();
    disk.crash();
    let error = open(&disk).unwrap_err().to_string();
    assert!(error.contains("node 1 lost acknowledged data"), "{error}");
}
