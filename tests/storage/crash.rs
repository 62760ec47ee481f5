//! Power is lost at every change of the disk: what was synced is there, nothing else but a prefix.

use std::io::Read;

use proptest::prelude::*;
use remember::consensus::Record;
use remember::storage::{Error, Opened};

use crate::model::{Model, Random, any_record, any_records, publish, start, state_at};
use crate::sim_disk::{Exercised, Fault, SimDisk};

/// A node's life: what it asked of its disk, and what it was promised.
struct Life {
    opened: Opened<SimDisk>,
    random: Random,
    /// The state after each step that was begun.
    states: Vec<Model>,
    /// Up to here the steps are promised to last.
    promised: usize,
}

impl Life {
    fn begin(disk: &SimDisk, seed: u64) -> Result<Self, Error> {
        let opened = start(disk)?;
        Ok(Self {
            states: vec![Model::from(&opened.recovered)],
            opened,
            random: Random(seed),
            promised: 0,
        })
    }

    fn now(&self) -> &Model {
        self.states.last().unwrap()
    }

    fn append(&mut self, count: u64) -> Result<(), Error> {
        let mut records = Vec::new();
        for _ in 0..count {
            let record = any_record(self.states.last().unwrap(), &mut self.random);
            self.follow(&record);
            records.push(record);
        }
        self.opened.wal.append(&records)
    }

    fn follow(&mut self, record: &Record) {
        let mut state = self.now().clone();
        state.apply(record);
        self.states.push(state);
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.opened.wal.sync()?;
        self.promised = self.states.len() - 1;
        Ok(())
    }

    /// Takes a snapshot of its own, or installs one that is ahead.
    fn snapshot(&mut self, ahead: bool) -> Result<(), Error> {
        self.sync()?;
        let mut position = self.now().base;
        let length = self.now().last().0 - position.index.0;
        position.index.0 += if ahead {
            length + 1 + self.random.below(5)
        } else if length == 0 {
            return Ok(());
        } else {
            1 + self.random.below(length)
        };
        position.term = if ahead {
            self.now().hard_state.term
        } else {
            self.now().term_at(position.index)
        };
        let record = Record::Base {
            position,
            keep_log: !ahead,
        };
        self.follow(&record);
        publish(&self.opened, position)?;
        self.promised = self.states.len() - 1;
        // A full disk may need the room before the log knows of the snapshot.
        if self.random.below(2) == 0 {
            while self.opened.wal.release(position)? {}
        }
        self.opened.wal.append([&record])?;
        self.opened.wal.sync()?;
        while self.opened.wal.release(position)? {}
        Ok(())
    }

    /// Some steps, all drawn from the seed.
    fn live(&mut self, steps: u64) -> Result<(), Error> {
        for _ in 0..steps {
            match self.random.below(12) {
                0 => self.opened.wal.mark()?,
                1 => self.snapshot(false)?,
                2 if self.random.below(4) == 0 => self.snapshot(true)?,
                3..6 => {
                    let count = 1 + self.random.below(6);
                    self.append(count)?;
                }
                6 => self.opened.wal.next_segment().prepare()?,
                _ => {
                    self.append(1)?;
                    self.sync()?;
                }
            }
        }
        Ok(())
    }

    /// What came back is what was promised, or a bit more of what was begun.
    fn check(&self, opened: &Opened<SimDisk>) -> Model {
        let found = Model::from(&opened.recovered);
        let possible = &self.states[self.promised..];
        assert!(
            possible.contains(&found),
            "found {found:#?}\nwhich is none of the {} possible states, the first being {:#?}",
            possible.len(),
            possible[0],
        );
        if let Some(snapshot) = opened.snapshots.newest().unwrap() {
            assert_eq!(snapshot.position(), found.base);
            let mut state = Vec::new();
            snapshot.state().read_to_end(&mut state).unwrap();
            assert_eq!(state, state_at(found.base));
        }
        found
    }
}

/// Lives from `seed` until the power goes at change `at`, and comes back, perhaps in pieces.
/// `false` if it was never reached.
fn crash_at(seed: u64, at: u64, met: &mut Exercised) -> bool {
    let disk = SimDisk::new(seed);
    let mut life = Life::begin(&disk, seed).unwrap();
    let begun = disk.operations();
    disk.lose_power_at(begun + at);
    if life.live(40).is_ok() {
        return false;
    }
    disk.crash();
    // Half of the recoveries lose power again, anywhere.
    let mut random = Random(seed ^ at);
    for _ in 0..random.below(3) {
        disk.lose_power_at(disk.operations() + random.below(12));
        if let Ok(opened) = start(&disk) {
            life.check(&opened);
        }
        disk.crash();
    }
    let found = life.check(&start(&disk).unwrap());
    // What recovery has told lasts, even if nothing was written since (R23).
    disk.crash();
    let mut next = Life::begin(&disk, seed + 1).unwrap();
    assert_eq!(
        *next.now(),
        found,
        "recovery itself makes durable what it tells"
    );
    // And the log goes on from there.
    next.live(6).unwrap();
    next.sync().unwrap();
    disk.crash();
    next.check(&start(&disk).unwrap());
    let Exercised {
        crashes,
        sectors_dropped,
        sectors_kept,
        names_undone,
        ..
    } = disk.exercised();
    met.crashes += crashes;
    met.sectors_dropped += sectors_dropped;
    met.sectors_kept += sectors_kept;
    met.names_undone += names_undone;
    true
}

#[test]
fn power_lost_at_every_change_loses_nothing_that_was_promised() {
    let mut met = Exercised::default();
    for seed in 0..60 {
        let mut at = 0;
        while crash_at(seed, at, &mut met) {
            at += 1;
        }
        assert!(at > 40, "seed {seed} did too little: {at} changes");
    }
    assert!(met.crashes > 5000, "{met:?}");
    assert!(
        met.sectors_dropped > 1000 && met.sectors_kept > 1000,
        "{met:?}"
    );
    assert!(met.names_undone > 100, "{met:?}");
}

#[test]
fn a_killed_process_finds_all_that_it_wrote() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let mut life = Life::begin(&disk, seed).unwrap();
        life.live(30).unwrap();
        disk.kill();
        let opened = start(&disk).unwrap();
        assert_eq!(Model::from(&opened.recovered), *life.now());
        // It told what it had found only in the page cache, so that is durable now (R23).
        disk.crash();
        let opened = start(&disk).unwrap();
        assert_eq!(Model::from(&opened.recovered), *life.now());
    }
}

/// The page cache shows what a failed sync never wrote: recovery must write it again, not trust it.
#[test]
fn a_failed_sync_poisons_the_log_and_recovery_does_not_believe_the_cache() {
    let mut lost = 0;
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let mut life = Life::begin(&disk, seed).unwrap();
        life.live(10).unwrap();
        life.append(3).unwrap();
        let promised = life.promised;
        disk.fail_next(Fault::Sync);
        assert!(matches!(life.sync(), Err(Error::Io { .. })));
        assert!(matches!(life.sync(), Err(Error::Poisoned)), "no retry");
        assert!(matches!(life.append(1), Err(Error::Poisoned)));
        assert_eq!(life.promised, promised);
        if seed % 2 == 0 {
            disk.crash();
            lost += usize::from(life.check(&start(&disk).unwrap()) != *life.now());
        } else {
            disk.kill();
            let found = life.check(&start(&disk).unwrap());
            disk.crash();
            let opened = start(&disk).unwrap();
            assert_eq!(Model::from(&opened.recovered), found, "what was told lasts");
        }
    }
    assert!(lost > 10, "the fault was not met: {lost}");
}

#[test]
fn a_failed_write_poisons_the_log() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let mut life = Life::begin(&disk, seed).unwrap();
        life.live(10).unwrap();
        disk.fail_next(Fault::Write);
        assert!(matches!(life.append(3), Err(Error::Io { .. })));
        assert!(matches!(life.sync(), Err(Error::Poisoned)));
        disk.crash();
        life.check(&start(&disk).unwrap());
    }
}

#[test]
fn an_io_error_in_recovery_stops_the_start_and_harms_nothing() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let mut life = Life::begin(&disk, seed).unwrap();
        life.live(12).unwrap();
        life.append(2).unwrap();
        disk.crash();
        let fault = [Fault::Read, Fault::Write, Fault::Sync, Fault::SyncDir];
        disk.fail_next(fault[usize::try_from(seed % 4).unwrap()]);
        assert!(matches!(start(&disk), Err(Error::Io { .. })));
        disk.crash();
        life.check(&start(&disk).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    })]

    #[test]
    fn any_stream_of_records_comes_back(
        seed: u64,
        count in 1_usize..120,
        batch in 1_usize..20,
        synced in 0..=10_u64,
    ) {
        let records = any_records(count, &mut Random(seed));
        let disk = SimDisk::new(seed);
        let mut opened = start(&disk).unwrap();
        let mut promised = 0;
        let mut written = 0;
        let mut random = Random(!seed);
        for records in records.chunks(batch) {
            opened.wal.append(records).unwrap();
            written += records.len();
            if random.below(10) < synced {
                opened.wal.sync().unwrap();
                promised = written;
            }
        }
        disk.crash();
        let found = Model::from(&start(&disk).unwrap().recovered);
        let states: Vec<Model> = (promised..=count).map(|n| Model::of(&records[..n])).collect();
        prop_assert!(states.contains(&found));
        disk.crash();
        prop_assert_eq!(Model::from(&start(&disk).unwrap().recovered), found);
    }
}
