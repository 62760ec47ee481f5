//! A cluster begins anew with one disk, or with a backup, in a later epoch (R14): the power may go
//! at any moment, nothing that was held is ever lost, and no node starts on half of it.

use remember::consensus::{
    ClusterId, Configuration, Epoch, Incarnation, MemberId, Membership, NodeId, Payload, Recovered,
    Term,
};
use remember::storage::{DataDir, Disk, Error, NewCluster, Opened, Snapshot, Survivor, restore};

use crate::model::{
    CONFIG, ID, INCARNATION, Model, Random, any_records, at, base, change, entry, founding,
    membership, publish, start, state_at, vote,
};
use crate::sim_disk::{SimDisk, SimFile};

const CLUSTER: ClusterId = ClusterId(0xbeef);
const ME: MemberId = MemberId {
    id: ID,
    incarnation: INCARNATION,
};

fn open(disk: &SimDisk) -> Result<Survivor<SimDisk>, Error> {
    Survivor::open(disk.clone(), Incarnation(1), CONFIG)
}

fn recover(disk: &SimDisk, epoch: u32) -> Result<Membership, Error> {
    open(disk)?.begin(CLUSTER, Epoch(epoch))
}

/// Starts the node that the disk belongs to.
fn start_again(disk: &SimDisk) -> Result<Opened<SimDisk>, Error> {
    DataDir::open(disk.clone(), ID, Incarnation(1))?.recover(CONFIG)
}

/// A disk whose node has led, and was in the midst of a change that nobody agreed on.
fn used() -> SimDisk {
    let disk = SimDisk::new(1);
    let mut opened = start(&disk).unwrap();
    let records = [
        vote(3, 1),
        entry(3, 1, b"a"),
        entry(3, 2, b"b"),
        change(3, 3),
    ];
    opened.wal.append(&records).unwrap();
    opened.wal.sync().unwrap();
    publish(&opened, at(3, 1)).unwrap();
    opened.wal.append(&[base(3, 1, true)]).unwrap();
    opened.wal.sync().unwrap();
    disk
}

/// Whether a disk is the only voter of the new cluster, and holds all that it held.
fn check_recovered(recovered: &Recovered, before: &Recovered, epoch: u32) {
    let Membership {
        cluster,
        epoch: begun,
        settled: (since, configuration),
    } = &recovered.membership;
    assert_eq!((*cluster, *begun), (CLUSTER, Epoch(epoch)));
    let members: Vec<_> = configuration.seats().collect();
    assert!(members.len() == 1 && members[0].0 == ME && members[0].1.votes);
    assert_eq!(recovered.base, before.base);
    let (first, rest) = recovered.entries.split_last().unwrap();
    assert_eq!(rest, before.entries, "the log is kept, all of it");
    assert_eq!(first.position(), *since);
    assert_eq!(first.term, Epoch(epoch).floor());
    assert_eq!(first.payload, Payload::Configuration(configuration.clone()));
    assert_eq!(recovered.hard_state.term, Epoch(epoch).floor());
    assert_eq!(recovered.hard_state.vote, None);
    assert_eq!(recovered.member, ME, "the log belongs to this disk");
}

#[test]
fn a_disk_goes_on_alone_with_all_that_it_held() {
    let disk = used();
    let before = start_again(&disk.fork(1)).unwrap().recovered;
    let survivor = open(&disk).unwrap();
    assert_eq!(survivor.epoch_min(), Epoch(1));
    assert_eq!(survivor.held().recovered.entries, before.entries);
    drop(survivor);
    let looked_at = start_again(&disk.fork(2)).unwrap().recovered;
    assert_eq!(
        looked_at.membership,
        membership(),
        "looking changes nothing"
    );
    recover(&disk, 7).unwrap();
    let opened = start_again(&disk).unwrap();
    check_recovered(&opened.recovered, &before, 7);
    let snapshot = opened.snapshots.newest().unwrap().unwrap();
    assert_eq!(snapshot.position(), at(3, 1));
    // And once more, when that one is lost again.
    let before = opened.recovered.clone();
    drop(opened);
    recover(&disk, 8).unwrap();
    check_recovered(&start_again(&disk).unwrap().recovered, &before, 8);
}

#[test]
fn no_epoch_is_begun_that_the_disk_may_have_seen() {
    let disk = used();
    let refused = |epoch| {
        let error = recover(&disk, epoch).unwrap_err();
        assert!(matches!(error, Error::EpochUsed { .. }), "{error}");
        error.to_string()
    };
    assert!(refused(0).contains("is of epoch 0 already"));
    assert!(refused(1 << 31).contains("from 1 to 2147483647"));
    recover(&disk, 5).unwrap();
    for epoch in [0, 4, 5] {
        let error = recover(&disk, epoch).unwrap_err();
        assert!(error.to_string().contains("from 6 to"), "{error}");
    }
    let last = Epoch::MAX.0;
    recover(&disk, last).unwrap();
    let recovered = start_again(&disk).unwrap().recovered;
    assert_eq!(recovered.membership.epoch, Epoch::MAX);
    let error = recover(&disk, last).unwrap_err();
    assert!(matches!(error, Error::EpochUsed { .. }), "{error}");
}

#[test]
fn nothing_is_recovered_where_nothing_is() {
    let empty = SimDisk::new(1);
    let error = open(&empty).unwrap_err();
    assert!(matches!(error, Error::NothingHeld), "{error}");
    assert_eq!(
        empty.list().unwrap(),
        Vec::<String>::new(),
        "nor is anything made"
    );
    let fresh = SimDisk::new(2);
    drop(DataDir::open(fresh.clone(), ID, INCARNATION).unwrap());
    let error = open(&fresh).unwrap_err();
    assert!(matches!(error, Error::NothingHeld), "{error}");
    let headless = used();
    headless.remove("identity").unwrap();
    let error = open(&headless).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

/// A node between the two epochs would lead its old cluster alone, by its new configuration.
#[test]
fn power_lost_anywhere_leaves_the_old_member_or_the_new_one_or_nobody() {
    let (mut old, mut nobody, mut new) = (0, 0, 0);
    let used = used();
    let before = start_again(&used.fork(9)).unwrap().recovered;
    let mut is_over = false;
    for step in 0.. {
        for seed in 0..20 {
            let disk = used.fork(seed);
            let survivor = open(&disk).unwrap();
            disk.lose_power_at(disk.operations() + step);
            is_over = survivor.begin(CLUSTER, Epoch(2)).is_ok();
            disk.crash();
            match start_again(&disk.fork(seed)) {
                Ok(opened) if opened.recovered.membership == membership() => {
                    assert_eq!(opened.recovered.entries, before.entries);
                    assert_eq!(opened.recovered.hard_state, before.hard_state);
                    assert!(!is_over);
                    old += 1;
                }
                Ok(opened) => {
                    check_recovered(&opened.recovered, &before, 2);
                    new += 1;
                    continue;
                }
                Err(Error::BetweenEpochs { from, to }) => {
                    assert_eq!((from, to), (Epoch(0), Epoch(2)));
                    nobody += 1;
                    let error = recover(&disk, 1).unwrap_err();
                    assert!(error.to_string().contains("from 2 to"), "{error}");
                }
                Err(error) => panic!("{error}"),
            }
            // The same again leads out of it, and so does a later one.
            let later = disk.fork(seed);
            recover(&disk, 2).unwrap();
            check_recovered(&start_again(&disk).unwrap().recovered, &before, 2);
            recover(&later, 3).unwrap();
            let recovered = start_again(&later).unwrap().recovered;
            assert_eq!(recovered.membership.epoch, Epoch(3));
            assert!(recovered.entries.starts_with(&before.entries));
        }
        if is_over {
            break;
        }
    }
    assert!(old > 10 && nobody > 20 && new > 20, "{old} {nobody} {new}");
}

#[test]
fn logs_of_all_kinds_are_kept_whole() {
    for seed in 0..100 {
        let mut random = Random(seed);
        let disk = SimDisk::new(seed);
        let mut opened = start(&disk).unwrap();
        let records = any_records(1 + usize::try_from(random.below(60)).unwrap(), &mut random);
        opened.wal.append(&records).unwrap();
        opened.wal.sync().unwrap();
        drop(opened);
        let known = Model::of(&records);
        recover(&disk, 1).unwrap();
        let recovered = start_again(&disk).unwrap().recovered;
        let mut kept = Model::from(&recovered);
        assert!(
            kept.log
                .pop_last()
                .is_some_and(|(_, last)| last.term == Epoch(1).floor())
        );
        assert_eq!(kept.log, known.log);
    }
}

/// A backup of the state that [`state_at`] makes, in a cluster of that epoch.
fn backup(epoch: u32) -> Snapshot<SimFile> {
    let disk = SimDisk::new(5);
    let opened = start(&disk).unwrap();
    let mut position = at(4, 300);
    position.term = Term(Epoch(epoch).floor().0 + 4);
    publish(&opened, position).unwrap();
    opened.snapshots.newest().unwrap().unwrap()
}

fn new_cluster(epoch: u32) -> NewCluster {
    NewCluster {
        cluster: CLUSTER,
        epoch: Epoch(epoch),
        member: ME,
    }
}

fn restore_to(disk: &SimDisk, backup: &Snapshot<SimFile>, epoch: u32) -> Result<Membership, Error> {
    restore(disk, backup, new_cluster(epoch), CONFIG, |_| ())
}

fn check_restored(disk: &SimDisk, backup: &Snapshot<SimFile>) {
    let opened = start_again(disk).unwrap();
    let (recovered, position) = (&opened.recovered, backup.position());
    assert_eq!(recovered.base, position);
    assert_eq!(recovered.entries.len(), 1);
    assert_eq!(recovered.entries[0].index, position.index.next());
    assert_eq!(recovered.entries[0].term, Epoch(3).floor());
    assert_eq!(recovered.membership.cluster, CLUSTER);
    assert!(recovered.membership.settled.0 > position);
    assert_eq!(recovered.configuration, Some(founding()));
    let snapshot = opened.snapshots.newest().unwrap().unwrap();
    let mut state = Vec::new();
    std::io::copy(&mut snapshot.state(), &mut state).unwrap();
    assert_eq!(state, state_at(position));
}

#[test]
fn a_backup_is_restored_into_an_empty_directory_and_a_later_epoch() {
    let backup = backup(2);
    let disk = SimDisk::new(6);
    for epoch in [0, 2, 1 << 31] {
        let error = restore_to(&disk, &backup, epoch).unwrap_err();
        assert!(matches!(error, Error::EpochUsed { .. }), "{error}");
        assert_eq!(disk.list().unwrap().len(), 0, "nothing is made before that");
    }
    let mut copied = Vec::new();
    restore(&disk, &backup, new_cluster(3), CONFIG, |bytes| {
        copied.push(bytes);
    })
    .unwrap();
    assert_eq!(copied.last(), Some(&backup.bytes()));
    check_restored(&disk, &backup);
    let before = disk.list().unwrap();
    for taken in [disk, used(), with_one_file()] {
        let before = taken.list().unwrap();
        let error = restore_to(&taken, &backup, 4).unwrap_err();
        assert!(matches!(error, Error::NotEmpty { .. }), "{error}");
        assert_eq!(taken.list().unwrap(), before, "what is there stays");
    }
    assert!(!before.contains(&"restoring".to_owned()));
}

/// Somebody's directory that has nothing to do with us.
fn with_one_file() -> SimDisk {
    let disk = SimDisk::new(8);
    disk.put("holiday.jpg", b"sun");
    disk
}

#[test]
fn power_lost_anywhere_in_a_restoration_lets_no_node_start_and_is_mended_by_another() {
    let backup = backup(2);
    let (mut refused, mut begun) = (0, 0);
    let mut is_over = false;
    for step in 0.. {
        for seed in 0..10 {
            let disk = SimDisk::new(seed);
            disk.lose_power_at(step);
            is_over = restore_to(&disk, &backup, 3).is_ok();
            disk.crash();
            let names = disk.list().unwrap();
            if names.iter().any(|name| name == "identity") {
                check_restored(&disk, &backup);
                continue;
            }
            if !names.is_empty() {
                begun += 1;
                let error = start_again(&disk).unwrap_err();
                assert!(matches!(error, Error::HalfRestored), "{names:?}: {error}");
                refused += 1;
            }
            restore_to(&disk, &backup, 3).unwrap();
            check_restored(&disk, &backup);
        }
        if is_over {
            break;
        }
    }
    assert!(refused > 50 && begun == refused, "{refused} of {begun}");
}

#[test]
fn a_damaged_backup_is_never_published() {
    let disk = SimDisk::new(5);
    let opened = start(&disk).unwrap();
    publish(&opened, at(4, 300)).unwrap();
    let name = disk.list().unwrap();
    let name = name
        .iter()
        .find(|name| name.starts_with("snapshot-"))
        .unwrap();
    for byte in [60, 200, 900, 1500] {
        disk.edit(name, |content| content[byte] ^= 1);
        let Ok(Some(damaged)) = opened.snapshots.newest() else {
            disk.edit(name, |content| content[byte] ^= 1);
            continue;
        };
        let fresh = SimDisk::new(9);
        let error = restore_to(&fresh, &damaged, 3).unwrap_err();
        assert!(matches!(error, Error::Rotten { .. }), "{error}");
        let error = start_again(&fresh).unwrap_err();
        assert!(matches!(error, Error::HalfRestored), "{error}");
        disk.edit(name, |content| content[byte] ^= 1);
    }
}

/// The first entry of a new beginning names nobody but the disk that it was made of.
#[test]
fn nobody_of_before_votes() {
    let begun = Membership::anew(CLUSTER, Epoch(1), ME, at(3, 9));
    let (since, configuration) = begun.settled;
    assert_eq!(configuration.since(ME), Some(since));
    assert_eq!(configuration, {
        let seat = remember::consensus::Seat {
            since,
            votes: true,
            outgoing: false,
        };
        Configuration::new([(ME, seat)].into()).unwrap()
    });
    assert!(!configuration.members().any(|member| member.id == NodeId(2)));
}
