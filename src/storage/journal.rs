//! The thread that owns the log.
//!
//! ```text
//!   engine's driver --Job--> bounded queue --> this thread: gather, one write, one sync
//!          ^                                         |
//!          +-------------- Completion -------------+   from a callback, on this thread
//! ```
//!
//! *Group commit*: everything that waits is made durable together. If there was company last time,
//! the thread lingers for an instant before it takes a batch, because more is about to come; a
//! single client never waits for that. Segments are prepared on a short-lived second thread, old
//! ones go after the report, and proof of what is durable is written when there is nothing to do,
//! so none of this delays a commit.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle, park_timeout};
use std::time::{Duration, Instant};

use super::{Disk, Error, ReceivedSnapshot, Snapshots, Wal};
use crate::consensus::{IoSeq, Position, Record, Write};

/// Writes that are made durable together at most; bounds the memory that they hold.
const GROUP_MAX: usize = 1024;
/// Records that are made durable together at most, roughly.
const GROUP_RECORDS_MAX: usize = 8192;

/// One step of the ordered stream.
#[derive(Debug)]
pub enum Job<D: Disk> {
    /// Make these records durable.
    Write(Write),
    /// Publish a snapshot of the leader and let the log begin behind it.
    Install {
        /// Its place in the stream.
        seq: IoSeq,
        /// The last entry that it covers.
        position: Position,
        /// Whether the log behind `position` stays.
        keep_log: bool,
        /// The snapshot.
        snapshot: Box<ReceivedSnapshot<D>>,
    },
}

/// What the thread tells.
#[derive(Debug)]
pub enum Completion {
    /// All jobs up to this one are on disk.
    Durable(IoSeq),
    /// There is no room for the oldest job, which is kept and tried again; or there is again.
    DiskFull(bool),
    /// The log failed and the thread has ended: the node must stop, and start again from what is
    /// on disk (R23). Nothing follows.
    Failed(Error),
}

/// How the thread behaves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct JournalConfig {
    /// Jobs that wait at most.
    pub queue: usize,
    /// How long to linger for more if the last batch was of more than one write.
    pub linger: Duration,
    /// How long nothing comes before the log is marked and old segments go.
    pub idle: Duration,
    /// How often a full disk is tried again.
    pub retry: Duration,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            queue: 4096,
            linger: Duration::from_micros(150),
            idle: Duration::from_millis(100),
            retry: Duration::from_secs(1),
        }
    }
}

/// A handle on the thread. Dropped, it lets the thread finish what is queued and end by itself.
#[derive(Debug)]
pub struct Journal<D: Disk> {
    jobs: SyncSender<Job<D>>,
    closing: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl<D: Disk> Journal<D> {
    /// Starts the thread. `report` is called on it and must not block.
    pub fn start(
        wal: Wal<D>,
        snapshots: Snapshots<D>,
        config: JournalConfig,
        report: impl FnMut(Completion) + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(config.queue);
        let closing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            wal,
            snapshots,
            config,
            queue,
            closing: Arc::clone(&closing),
            report,
            group: Vec::new(),
            next: None,
            had_company: false,
            has_chores: true,
            prepared: 0,
            preparing: None,
        };
        let thread = Builder::new()
            .name("wal".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self {
            jobs,
            closing,
            thread,
        })
    }

    /// Queues a job; gives it back if the queue is full, or if the thread has ended.
    pub fn submit(&self, job: Job<D>) -> Result<(), TrySendError<Job<D>>> {
        self.jobs.try_send(job)
    }

    /// Waits until everything queued is durable and proven to be, and the thread has ended. Does
    /// not wait for room on a full disk.
    pub fn close(self) {
        self.closing.store(true, Ordering::Release);
        drop(self.jobs);
        self.thread.thread().unpark();
        // A thread that panicked has told so itself.
        drop(self.thread.join());
    }
}

/// The thread's own.
struct Writer<D: Disk, R> {
    wal: Wal<D>,
    snapshots: Snapshots<D>,
    config: JournalConfig,
    queue: Receiver<Job<D>>,
    closing: Arc<AtomicBool>,
    report: R,
    /// The writes that are made durable together.
    group: Vec<Write>,
    /// A job taken from the queue that did not belong to the group.
    next: Option<Job<D>>,
    /// Whether the last group was of more than one write.
    had_company: bool,
    /// Whether something may be left to do in idle times.
    has_chores: bool,
    /// The segment for which a next one was asked for, and who makes that.
    prepared: u64,
    preparing: Option<JoinHandle<()>>,
}

/// Why the thread ends.
enum End {
    /// Nobody wants it any more.
    Closed,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<D: Disk, R: FnMut(Completion)> Writer<D, R> {
    fn run(mut self) {
        let end = self.work();
        let result = match end {
            End::Closed => self.wal.mark(),
            End::Failed(error) => Err(error),
        };
        if let Err(error) = result {
            (self.report)(Completion::Failed(error));
        }
        // When this thread has ended, nobody holds the data directory any more.
        if let Some(preparing) = self.preparing.take() {
            drop(preparing.join());
        }
    }

    fn work(&mut self) -> End {
        loop {
            if let Err(end) = self.step() {
                return end;
            }
        }
    }

    /// One job with all that can be done together with it, or one chore.
    fn step(&mut self) -> Result<(), End> {
        match self.next_job()? {
            Some(Job::Write(write)) => {
                self.gather(write);
                self.commit()?;
            }
            Some(Job::Install {
                seq,
                position,
                keep_log,
                snapshot,
            }) => {
                // Everything before is durable: each step ends with a sync.
                snapshot.publish()?;
                self.group.push(Write {
                    seq,
                    records: vec![Record::Base { position, keep_log }],
                });
                self.commit()?;
            }
            None => return Ok(self.do_chore()?),
        }
        self.has_chores = true;
        self.prepare_segment();
        self.release()?;
        Ok(())
    }

    /// Waits for a job; `None` if there are chores and nothing came for a while.
    fn next_job(&mut self) -> Result<Option<Job<D>>, End> {
        if let Some(job) = self.next.take() {
            return Ok(Some(job));
        }
        if !self.has_chores {
            return self.queue.recv().map(Some).map_err(|_| End::Closed);
        }
        match self.queue.recv_timeout(self.config.idle) {
            Ok(job) => Ok(Some(job)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(End::Closed),
        }
    }

    /// Takes everything that waits together with `first`, and what comes within the linger.
    fn gather(&mut self, first: Write) {
        let until = (self.had_company).then(|| Instant::now() + self.config.linger);
        let mut records = first.records.len();
        self.group.push(first);
        while self.group.len() < GROUP_MAX && records < GROUP_RECORDS_MAX {
            let job = self.queue.try_recv().ok().or_else(|| {
                let left = until?.saturating_duration_since(Instant::now());
                self.queue.recv_timeout(left).ok()
            });
            match job {
                Some(Job::Write(write)) => {
                    records += write.records.len();
                    self.group.push(write);
                }
                other => {
                    self.next = other;
                    break;
                }
            }
        }
        self.had_company = self.group.len() > 1;
    }

    /// Makes the group durable and reports it.
    fn commit(&mut self) -> Result<(), End> {
        let mut appended = 0;
        let mut was_full = false;
        loop {
            let records = self.group.iter().flat_map(|write| &write.records);
            match self.wal.append(records.skip(appended)) {
                Ok(()) => break,
                Err(Error::Full { appended: more }) => {
                    appended += more;
                    if !was_full {
                        was_full = true;
                        (self.report)(Completion::DiskFull(true));
                    }
                    self.wait_for_room()?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.wal.sync()?;
        if let Some(write) = self.group.last() {
            (self.report)(Completion::Durable(write.seq));
        }
        if was_full {
            (self.report)(Completion::DiskFull(false));
        }
        self.group.clear();
        Ok(())
    }

    /// A new snapshot may have made old segments needless; otherwise somebody must make room.
    fn wait_for_room(&mut self) -> Result<(), End> {
        if self.release()? {
            return Ok(());
        }
        if !self.closing.load(Ordering::Acquire) {
            park_timeout(self.config.retry);
        }
        if self.closing.load(Ordering::Acquire) {
            return Err(End::Closed);
        }
        Ok(())
    }

    /// Lets one segment go that the newest snapshot covers.
    fn release(&mut self) -> Result<bool, Error> {
        match self.snapshots.newest_position() {
            Some(position) => self.wal.release(position),
            None => Ok(false),
        }
    }

    /// Has the next segment made as soon as the last one was taken.
    fn prepare_segment(&mut self) {
        let sequence = self.wal.sequence();
        if self.prepared == sequence {
            return;
        }
        self.prepared = sequence;
        let next = self.wal.next_segment();
        // Nobody waits for it, and whatever fails here fails again when the log needs the segment.
        let prepare = move || drop(next.prepare());
        self.preparing = Builder::new()
            .name("wal-spare".to_owned())
            .spawn(prepare)
            .ok();
    }

    /// One thing that can wait: a segment to release, or else the proof of what is durable.
    fn do_chore(&mut self) -> Result<(), Error> {
        if !self.release()? {
            self.prepare_segment();
            self.wal.mark()?;
            self.has_chores = false;
        }
        Ok(())
    }
}
