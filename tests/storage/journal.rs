//! The journal's thread: order, group commit, a full disk, a failing one, and the end.

use std::sync::mpsc::{Receiver, TrySendError, channel};
use std::time::Duration;

use remember::consensus::{Index, IoSeq, Record, Write};
use remember::storage::{Completion, Disk, Error, Job, Journal, JournalConfig, Snapshots};

use crate::model::{Model, Random, any_records, at, entry, founding, publish, start, vote};
use crate::sim_disk::{Fault, SimDisk};

/// Long enough that only a lost report takes it.
const PATIENCE: Duration = Duration::from_mins(1);

fn config() -> JournalConfig {
    JournalConfig {
        idle: Duration::from_millis(1),
        retry: Duration::from_millis(1),
        ..JournalConfig::default()
    }
}

fn journal(disk: &SimDisk) -> (Journal<SimDisk>, Receiver<Completion>, Snapshots<SimDisk>) {
    let opened = start(disk).unwrap();
    let (send, reports) = channel();
    let report = move |report| send.send(report).unwrap();
    let snapshots = opened.snapshots.clone();
    let journal = Journal::start(opened.wal, opened.snapshots, config(), report).unwrap();
    (journal, reports, snapshots)
}

fn submit(journal: &Journal<SimDisk>, seq: u64, records: Vec<Record>) {
    let mut job = Job::Write(Write {
        seq: IoSeq(seq),
        records,
    });
    while let Err(refused) = journal.submit(job) {
        let TrySendError::Full(again) = refused else {
            panic!("the journal has ended");
        };
        job = again;
        std::thread::yield_now();
    }
}

/// Waits until everything up to `seq` is durable; the reports before that.
fn await_durable(reports: &Receiver<Completion>, seq: u64) -> Vec<Completion> {
    let mut seen = Vec::new();
    loop {
        let report = reports.recv_timeout(PATIENCE).unwrap();
        let done = matches!(report, Completion::Durable(durable) if durable == IoSeq(seq));
        seen.push(report);
        if done {
            return seen;
        }
    }
}

#[test]
fn what_is_reported_is_durable_and_groups_share_a_sync() {
    let records = any_records(600, &mut Random(1));
    let disk = SimDisk::new(1);
    let opened = start(&disk).unwrap();
    let (send, reports) = channel();
    let before = disk.clone();
    // A copy of the disk from the very moment of the report: a sync right behind it comes too late.
    let report = move |report| send.send((report, before.fork(1))).unwrap();
    let journal = Journal::start(opened.wal, opened.snapshots, config(), report).unwrap();
    for (n, record) in records.iter().enumerate() {
        submit(&journal, n as u64 + 1, vec![record.clone()]);
    }
    let mut last = IoSeq(0);
    let mut count = 0;
    while last < IoSeq(600) {
        let (report, crashed) = reports.recv_timeout(PATIENCE).unwrap();
        let Completion::Durable(seq) = report else {
            panic!("nothing is wrong with this disk");
        };
        assert!(seq > last, "reports go up");
        last = seq;
        count += 1;
        // The power goes right after the report.
        crashed.crash();
        let found = Model::from(&start(&crashed).unwrap().recovered);
        let promised = usize::try_from(seq.0).unwrap();
        let mut possible = promised..=600;
        assert!(
            possible.any(|n| found == Model::of(&records[..n])),
            "{promised} records were told durable, and not all of them are"
        );
    }
    assert!(
        count < 600,
        "writes were made durable together: {count} syncs"
    );
    journal.close();
    disk.crash();
    let found = Model::from(&start(&disk).unwrap().recovered);
    assert_eq!(found, Model::of(&records));
}

#[test]
fn closing_makes_everything_durable_and_proves_it() {
    let disk = SimDisk::new(2);
    let (journal, reports, _) = journal(&disk);
    submit(&journal, 1, vec![vote(1, 1)]);
    submit(&journal, 2, vec![entry(1, 1, b"last words")]);
    journal.close();
    await_durable(&reports, 2);
    assert!(reports.recv().is_err(), "nothing follows");
    // Rot in the last batch cannot pass for a torn write.
    let name = "wal-0000000000000001";
    let content = disk.content(name);
    let place = content.windows(4).position(|w| w == b"last").unwrap();
    disk.rot(name, place as u64, 0);
    assert!(matches!(start(&disk), Err(Error::Rotten { .. })));
}

#[test]
fn a_full_disk_is_told_once_and_waited_for() {
    let disk = SimDisk::new(3);
    let (journal, reports, _) = journal(&disk);
    submit(&journal, 1, vec![vote(1, 1)]);
    await_durable(&reports, 1);
    disk.set_capacity(Some(0));
    let mut sent = 1;
    let mut index = 0;
    let reports_full = loop {
        sent += 1;
        index += 1;
        submit(&journal, sent, vec![entry(1, index, &[1; 3000])]);
        match reports.recv_timeout(PATIENCE).unwrap() {
            Completion::Durable(seq) => assert_eq!(seq, IoSeq(sent)),
            Completion::DiskFull(full) => break full,
            Completion::Failed(error) => panic!("{error}"),
        }
    };
    assert!(reports_full);
    disk.set_capacity(None);
    let seen = await_durable(&reports, sent);
    assert_eq!(seen.len(), 1, "{seen:?}");
    let after = reports.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(after, Completion::DiskFull(false)));
    journal.close();
    disk.crash();
    let found = Model::from(&start(&disk).unwrap().recovered);
    assert_eq!(found.last(), Index(index));
}

#[test]
fn a_write_larger_than_the_room_goes_on_where_it_stopped() {
    for seed in 0..10 {
        let records = any_records(150, &mut Random(seed));
        let disk = SimDisk::new(seed);
        let (journal, reports, _) = journal(&disk);
        disk.set_capacity(Some(0));
        submit(&journal, 1, records.clone());
        let full = reports.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(full, Completion::DiskFull(true)), "{full:?}");
        disk.set_capacity(None);
        await_durable(&reports, 1);
        journal.close();
        disk.crash();
        let found = Model::from(&start(&disk).unwrap().recovered);
        assert_eq!(found, Model::of(&records));
    }
}

#[test]
fn a_snapshot_makes_room_for_a_waiting_write() {
    let disk = SimDisk::new(4);
    let (journal, reports, snapshots) = journal(&disk);
    submit(&journal, 1, vec![vote(1, 1)]);
    for index in 1..30 {
        submit(&journal, index + 1, vec![entry(1, index, &[1; 3000])]);
    }
    await_durable(&reports, 30);
    disk.set_capacity(Some(disk.used() + 4000));
    let mut index = 29;
    loop {
        index += 1;
        submit(&journal, index + 1, vec![entry(1, index, &[1; 3000])]);
        match reports.recv_timeout(PATIENCE).unwrap() {
            Completion::DiskFull(true) => break,
            Completion::Durable(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let mut writer = snapshots.write(at(1, 20), &founding()).unwrap();
    std::io::Write::write_all(&mut writer, b"small").unwrap();
    assert!(writer.finish().unwrap());
    await_durable(&reports, index + 1);
    journal.close();
}

#[test]
fn closing_does_not_wait_for_room() {
    let disk = SimDisk::new(5);
    let (journal, reports, _) = journal(&disk);
    submit(&journal, 1, vec![vote(1, 1)]);
    await_durable(&reports, 1);
    disk.set_capacity(Some(0));
    for index in 1..40 {
        submit(&journal, index + 1, vec![entry(1, index, &[1; 3000])]);
    }
    while !matches!(
        reports.recv_timeout(PATIENCE),
        Ok(Completion::DiskFull(true))
    ) {}
    journal.close();
    assert!(
        reports.recv().is_err(),
        "no write was claimed to be durable"
    );
    disk.crash();
    start(&disk).unwrap();
}

#[test]
fn a_failing_disk_ends_the_journal() {
    for fault in [Fault::Write, Fault::Sync] {
        let disk = SimDisk::new(6);
        let (journal, reports, _) = journal(&disk);
        submit(&journal, 1, vec![vote(1, 1)]);
        await_durable(&reports, 1);
        // The fault is for the log, not for the spare that is made beside it.
        while !disk.list().unwrap().iter().any(|name| name == "wal-spare") {
            std::thread::yield_now();
        }
        disk.fail_next(fault);
        // An idle chore may meet the fault first; it ends the journal as well.
        let job = Job::Write(Write {
            seq: IoSeq(2),
            records: vec![entry(1, 1, b"never durable")],
        });
        drop(journal.submit(job));
        let failed = reports.recv_timeout(PATIENCE).unwrap();
        assert!(
            matches!(failed, Completion::Failed(Error::Io { .. })),
            "{failed:?}"
        );
        assert!(reports.recv().is_err(), "nothing follows");
        let refused = journal.submit(Job::Write(Write {
            seq: IoSeq(3),
            records: vec![entry(1, 2, b"x")],
        }));
        assert!(matches!(refused, Err(TrySendError::Disconnected(_))));
        journal.close();
    }
}

#[test]
fn a_snapshot_is_installed_in_its_place_in_the_stream() {
    let leader = SimDisk::new(7);
    let mut opened = start(&leader).unwrap();
    opened.wal.append(&[vote(3, 1)]).unwrap();
    publish(&opened, at(3, 50)).unwrap();
    let sent = opened.snapshots.newest().unwrap().unwrap();
    let mut bytes = vec![0; usize::try_from(sent.bytes()).unwrap()];
    sent.read_at(&mut bytes, 0).unwrap();

    let disk = SimDisk::new(8);
    let (journal, reports, snapshots) = journal(&disk);
    submit(&journal, 1, vec![vote(3, 0), entry(1, 1, b"void soon")]);
    let mut incoming = snapshots.receive(at(3, 50), sent.bytes()).unwrap();
    incoming.append(0, &bytes).unwrap();
    let job = Job::Install {
        seq: IoSeq(2),
        position: at(3, 50),
        keep_log: false,
        snapshot: Box::new(incoming.finish().unwrap()),
    };
    journal.submit(job).unwrap();
    submit(&journal, 3, vec![entry(3, 51, b"behind it")]);
    await_durable(&reports, 3);
    journal.close();
    disk.crash();
    let recovered = start(&disk).unwrap().recovered;
    assert_eq!(recovered.base, at(3, 50));
    assert_eq!(recovered.entries.len(), 1);
    assert_eq!(snapshots.newest_position(), Some(at(3, 50)));
}
