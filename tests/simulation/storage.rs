//! The storage half of the shell: one ordered stream of writes, each made durable with whatever
//! waits beside it, and the errors that a disk answers with.

use std::io::ErrorKind;
use std::time::Duration;

use remember::consensus::{Input, IoSeq, NodeId, Position, Record, Write};
use remember::storage::{Error, ReceivedSnapshot};

use super::machine::Gone;
use super::sim_disk::SimDisk;
use super::tally::Counted;
use super::world::{Deed, World, tell};

/// How often a disk in trouble is tried again.
const POLL: Duration = Duration::from_millis(20);

/// The one ordered stream of writes, and how far it is.
#[derive(Default)]
pub(crate) struct WalQueue {
    /// What the core has asked for and storage has not begun.
    waiting: std::collections::VecDeque<Job>,
    /// What storage has begun.
    group: Option<Group>,
    /// Whether storage is about to look at the queue.
    due: bool,
    /// Whether the core knows that there is no room.
    full: bool,
    /// The newest number that the core has given out.
    last: IoSeq,
}

/// One piece of the ordered stream.
pub(crate) enum Job {
    /// Records.
    Write(Write),
    /// A snapshot to publish and to begin the log with.
    Install {
        seq: IoSeq,
        position: Position,
        keep_log: bool,
        received: Box<ReceivedSnapshot<SimDisk>>,
    },
}

/// What becomes durable together.
struct Group {
    records: Vec<Record>,
    /// How many of the records are in the log.
    appended: usize,
    last: IoSeq,
}

impl Group {
    /// Whether all of it is in the log.
    fn is_written(&self) -> bool {
        self.appended == self.records.len()
    }
}

impl WalQueue {
    /// Whether something was written that is not durable yet.
    pub(crate) fn is_writing(&self) -> bool {
        self.group.is_some()
    }

    /// Takes the next group: a snapshot alone, or all writes up to the next snapshot.
    fn next_group(&mut self) -> Option<(Group, Option<Box<ReceivedSnapshot<SimDisk>>>)> {
        let mut group = Group {
            records: Vec::new(),
            appended: 0,
            last: IoSeq(0),
        };
        while let Some(job) = self.waiting.pop_front() {
            match job {
                Job::Write(write) => {
                    group.last = write.seq;
                    group.records.extend(write.records);
                }
                Job::Install {
                    seq,
                    position,
                    keep_log,
                    received,
                } if group.records.is_empty() => {
                    group.last = seq;
                    group.records.push(Record::Base { position, keep_log });
                    return Some((group, Some(received)));
                }
                install @ Job::Install { .. } => {
                    self.waiting.push_front(install);
                    break;
                }
            }
        }
        (!group.records.is_empty()).then_some((group, None))
    }
}

impl World {
    /// The core asks for something to be made durable.
    pub(crate) fn queue_job(&mut self, id: NodeId, job: Job) {
        let wal = &mut self.member(id).wal;
        let seq = match &job {
            Job::Write(write) => write.seq,
            Job::Install { seq, .. } => *seq,
        };
        assert_eq!(seq, wal.last.next(), "writes are numbered without a gap");
        wal.last = seq;
        wal.waiting.push_back(job);
        self.expect_writing(id, Duration::ZERO);
    }

    fn expect_writing(&mut self, id: NodeId, delay: Duration) {
        let delay = delay + self.rng.micros(1, 20);
        let wal = &mut self.member(id).wal;
        if !std::mem::replace(&mut wal.due, true) {
            self.process_after(id, delay, Deed::Write);
        }
    }

    /// Storage writes a group, as far as there is room.
    pub(crate) fn write_group(&mut self, id: NodeId) {
        let machine = self.machine_mut(id);
        let wal = &mut machine.member_mut().expect("it writes").wal;
        wal.due = false;
        let mut published = Ok(true);
        if wal.group.is_none() {
            let Some((group, received)) = wal.next_group() else {
                return;
            };
            wal.group = Some(group);
            if let Some(received) = received {
                published = received.publish();
            }
        } else if wal.group.as_ref().is_some_and(Group::is_written) {
            return;
        }
        let result = published.and_then(|_| self.append_group(id));
        match result {
            Ok(()) => {
                let (low, high) = self.plan.sync_micros;
                let delay = self.rng.micros(low, high);
                self.process_after(id, delay, Deed::Synced);
            }
            Err(error @ Error::Full { .. }) => {
                tell!(self, "{id:?}: {error}");
                let wal = &mut self.member(id).wal;
                if !std::mem::replace(&mut wal.full, true) {
                    self.count(Counted::DiskFullNoticed);
                    self.input(id, Input::DiskFull(true));
                }
                match self.machine_mut(id).disk.release() {
                    Ok(_) => self.expect_writing(id, POLL),
                    Err(error) => self.storage_failed(id, &error),
                }
            }
            Err(error) => self.storage_failed(id, &error),
        }
    }

    fn append_group(&mut self, id: NodeId) -> Result<(), Error> {
        let machine = self.machine_mut(id);
        let wal = &mut machine.member_mut().expect("it writes").wal;
        let mut group = wal.group.take().expect("a group is begun");
        let result = machine.disk.write(group.records[group.appended..].iter());
        match &result {
            Ok(()) => group.appended = group.records.len(),
            Err(Error::Full { appended }) => group.appended += appended,
            Err(_) => {}
        }
        machine.member_mut().expect("it writes").wal.group = Some(group);
        result
    }

    /// The group is on the platter: the core is told, and the next group begins.
    pub(crate) fn synced(&mut self, id: NodeId) {
        if self.machine(id).stalled_until > self.now {
            self.process_after(id, POLL, Deed::Synced);
            return;
        }
        if let Err(error) = self.machine_mut(id).disk.sync() {
            self.storage_failed(id, &error);
            return;
        }
        let wal = &mut self.member(id).wal;
        let seq = wal.group.take().expect("a group was written").last;
        let was_full = std::mem::replace(&mut wal.full, false);
        self.oracle.durable(self.name(id), seq);
        self.input(id, Input::Durable(seq));
        if was_full {
            self.input(id, Input::DiskFull(false));
        }
        self.tidy(id);
    }

    fn tidy(&mut self, id: NodeId) {
        let mut rng = self.rng.fork();
        match self.machine_mut(id).disk.tidy(&mut rng) {
            Ok(released) => {
                self.tally
                    .count_many(Counted::SegmentsReleased, u64::from(released));
                self.expect_writing(id, Duration::ZERO);
            }
            Err(error) => self.storage_failed(id, &error),
        }
    }

    /// A disk failed, or the power did while it was used: the process ends.
    pub(crate) fn storage_failed(&mut self, id: NodeId, error: &Error) {
        tell!(self, "{id:?} stops: {error}");
        if self.machine(id).disk.is_dead() {
            self.count(Counted::MidWrite);
            self.lose_power_for_a_while(id);
            return;
        }
        assert!(is_io(error), "storage fails without a fault: {error}");
        self.count(Counted::IoErrors);
        self.stop(id, false);
        self.restart_later(id);
    }

    /// A start has failed: it is tried again, unless the disk has rotten.
    pub(crate) fn start_failed(&mut self, id: NodeId, error: &Error) {
        tell!(self, "{id:?} does not start: {error}");
        let machine = self.machine_mut(id);
        if machine.disk.is_dead() {
            self.count(Counted::RecoveryCrashes);
            self.lose_power_for_a_while(id);
        } else if is_io(error) {
            machine.disk.kill();
            self.count(Counted::IoErrors);
            self.restart_later(id);
        } else if matches!(error, Error::Quarantined { .. }) {
            assert_eq!(machine.gone, Some(Gone::OldCopy), "{id:?}: {error}");
            machine.disk.kill();
            machine.gone = Some(Gone::Refused);
            self.count(Counted::Quarantined);
        } else if let Error::BetweenEpochs { to, .. } = error {
            assert!(machine.is_to_begin(*to), "{id:?}: {error}");
            machine.disk.kill();
            self.count(Counted::BetweenEpochs);
        } else {
            assert!(
                machine.rotted,
                "{id:?} does not start without a fault: {error}"
            );
            machine.disk.kill();
            machine.gone = Some(Gone::Rotten);
            self.count(Counted::RotFound);
        }
    }
}

/// Whether the file system failed, and nothing is known to be damaged.
pub(crate) fn is_io(error: &Error) -> bool {
    is_full(error)
        || matches!(error, Error::Io { source, .. } if source.kind() != ErrorKind::InvalidData)
}

/// Whether there was no room.
pub(crate) fn is_full(error: &Error) -> bool {
    match error {
        Error::Full { .. } => true,
        Error::Io { source, .. } => source.kind() == ErrorKind::StorageFull,
        _ => false,
    }
}
