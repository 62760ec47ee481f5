//! The write-ahead log: one ordered stream of [`Record`]s, on disk before anything is told.
//!
//! The stream is cut into *batches*, which are written and checked whole, and the batches into
//! *segments*, which are files of one length, filled with zeroes when they are made and used again
//! when a snapshot covers all that they hold. Every segment begins with the records that say what
//! all before it came to, so that old segments can go. `layout` knows the bytes.
//!
//! What recovery may cut off (R22, R23):
//!
//! ```text
//!   segment n            segment n + 1: its header quotes the end of n
//!   +---+---+---+---+    +---+---+---+---+~~~~+
//!   | B | B | B | 0 |    | B | B | B | B | torn?     the header of each batch quotes the highest
//!   +---+---+---+---+    +---+---+---+---+~~~~+      offset known to be durable before it
//!   \__ durable, all of it __________/^ \_ not quoted: damage is a torn write, and is cut
//!       damage is rot: refuse
//! ```
//!
//! A batch that was synced but that no later one proves is the only place where rot would pass for
//! a torn write. [`Wal::mark`] closes that window whenever there is nothing else to do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::layout::{
    BATCH_HEADER_BYTES, End, SegmentHeader, encode_record, record_bytes, segment_name,
    segment_sequence,
};
use super::outline::{Outline, Replay};
use super::segment::{SEGMENT_BYTES_MAX, Segment};
use super::spare::{Spare, discard};
use super::{Disk, Error, SECTOR_BYTES};
use crate::consensus::{HardState, Incarnation, Index, Position, Record};

/// The sizes of a log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WalConfig {
    /// The length of a segment, in bytes: whole sectors, from 16 KiB to 1 GiB. Segments of other
    /// lengths are still read.
    pub segment_bytes: u64,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
        }
    }
}

impl WalConfig {
    /// The largest record that the log takes, in bytes; a command may be 32 bytes shorter.
    pub fn record_bytes_max(self) -> u64 {
        (self.segment_bytes / 2).min(4 << 20)
    }

    /// Batches grow up to this, unless a single record is larger.
    fn batch_bytes(self) -> u64 {
        (self.segment_bytes / 4).min(1 << 20)
    }

    /// Says whether such a log can work.
    pub fn check(&self) -> Result<(), Error> {
        let bytes = self.segment_bytes;
        if (16 << 10..=SEGMENT_BYTES_MAX).contains(&bytes) && bytes.is_multiple_of(SECTOR_BYTES) {
            return Ok(());
        }
        Err(Error::Setting(
            "the length of a log segment must be a multiple of 512 bytes from 16 KiB to 1 GiB",
        ))
    }
}

/// The log of one data directory. Not to be used from two threads at once; see
/// [`Journal`](super::Journal) for the thread that owns it.
#[derive(Debug)]
pub struct Wal<D: Disk> {
    disk: D,
    incarnation: Incarnation,
    config: WalConfig,
    /// Older segments, oldest first.
    sealed: VecDeque<Sealed>,
    /// The segment that is written.
    segment: Segment<D::File>,
    /// The highest entry in it.
    highest: Index,
    outline: Outline,
    /// The base that is durable in the log.
    durable_base: Position,
    spare: Arc<Mutex<Spare<D>>>,
    /// Room for one batch, used again and again.
    batch: Vec<u8>,
    poisoned: bool,
}

/// A segment that is full.
#[derive(Debug)]
struct Sealed {
    name: String,
    bytes: u64,
    /// The highest entry in it.
    highest: Index,
}

/// Prepares the next segment of a [`Wal`], on a thread of its own if need be.
#[derive(Clone, Debug)]
pub struct NextSegment<D> {
    spare: Arc<Mutex<Spare<D>>>,
}

impl<D: Disk> NextSegment<D> {
    /// Makes it, if it is not there. [`Error::Full`] means that there is no room now; any other
    /// error will meet the log again when it needs the segment.
    pub fn prepare(&self) -> Result<(), Error> {
        lock(&self.spare).ensure()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Disk> Wal<D> {
    /// Makes a new, empty log. There must be no segment in the directory.
    pub(super) fn create(
        disk: D,
        incarnation: Incarnation,
        config: WalConfig,
    ) -> Result<Self, Error> {
        config.check()?;
        let names = disk
            .list()
            .map_err(Error::io("list", "the data directory"))?;
        let mut spare = Spare::open(disk.clone(), config.segment_bytes, &names)?;
        let outline = Outline::from_start();
        let header = SegmentHeader {
            incarnation,
            sequence: 1,
            bytes: config.segment_bytes,
            before: End::default(),
        };
        let segment = start_segment(&disk, &mut spare, header, &outline)?;
        Ok(Self {
            disk,
            incarnation,
            config,
            sealed: VecDeque::new(),
            segment,
            highest: Index(0),
            durable_base: outline.base,
            outline,
            spare: Arc::new(Mutex::new(spare)),
            batch: Vec::new(),
            poisoned: false,
        })
    }

    /// Brings the log back, with its entries. When it returns, everything that it read is durable.
    pub(super) fn recover(
        disk: D,
        incarnation: Incarnation,
        config: WalConfig,
    ) -> Result<(Self, Replay), Error> {
        config.check()?;
        let names = disk
            .list()
            .map_err(Error::io("list", "the data directory"))?;
        let mut sequences: Vec<u64> = names.iter().filter_map(|n| segment_sequence(n)).collect();
        sequences.sort_unstable();
        check_consecutive(&sequences)?;

        let mut replay = Replay::default();
        let mut sealed = VecDeque::new();
        let mut newest: Option<(Segment<D::File>, &'static str, Index)> = None;
        for &sequence in &sequences {
            let mut segment = Segment::open(&disk, sequence)?;
            if segment.header().incarnation != incarnation {
                let what = "it belongs to the log of another disk";
                return Err(Error::rotten(segment.name(), 0, what));
            }
            if let Some((before, what, highest)) = newest {
                if before.end() != segment.header().before {
                    return Err(Error::rotten(before.name(), before.end().offset, what));
                }
                sealed.push_back(Sealed {
                    name: before.name().to_owned(),
                    bytes: before.header().bytes,
                    highest,
                });
            } else if sequence == 1 {
                replay.outline = Outline::from_start();
            }
            let mut highest = Index(0);
            let what = segment.scan(|record| {
                if let Record::Entry(entry) = &record {
                    highest = highest.max(entry.index);
                }
                replay.apply(record)
            })?;
            newest = Some((segment, what, highest));
        }
        let Some((mut segment, what, highest)) = newest else {
            return Err(missing("the log"));
        };
        segment.judge(what)?;
        segment.settle()?;
        let spare = Spare::open(disk.clone(), config.segment_bytes, &names)?;
        let wal = Self {
            disk,
            incarnation,
            config,
            sealed,
            segment,
            highest,
            durable_base: replay.outline.base,
            outline: replay.outline.clone(),
            spare: Arc::new(Mutex::new(spare)),
            batch: Vec::new(),
            poisoned: false,
        };
        Ok((wal, replay))
    }

    /// The durable or soon durable term and vote.
    pub fn hard_state(&self) -> HardState {
        self.outline.hard_state
    }

    /// Where the log begins.
    pub fn base(&self) -> Position {
        self.outline.base
    }

    /// How many segments there are, the one that is written included.
    pub fn segments(&self) -> usize {
        self.sealed.len() + 1
    }

    /// The number of the segment that is written; they count up from 1.
    pub fn sequence(&self) -> u64 {
        self.segment.header().sequence
    }

    /// The largest record that the log takes, in bytes.
    pub fn record_bytes_max(&self) -> u64 {
        self.config.record_bytes_max()
    }

    /// The next segment, to be prepared before it is needed.
    pub fn next_segment(&self) -> NextSegment<D> {
        NextSegment {
            spare: Arc::clone(&self.spare),
        }
    }

    /// Adds records behind all before; durable only after [`Wal::sync`].
    ///
    /// They are written as one batch, or as few as possible if they are many. [`Error::Full`] says
    /// how many are in the log; append the others later. After any other error the log is
    /// poisoned, and only another recovery tells what is on disk (R23).
    pub fn append<'a, R>(&mut self, records: R) -> Result<(), Error>
    where
        R: IntoIterator<Item = &'a Record>,
        R::IntoIter: Clone,
    {
        let mut rest = records.into_iter();
        self.guard(|wal| {
            let mut appended = 0;
            loop {
                let batch = rest.clone();
                let count = wal.encode(&mut rest)?;
                if count == 0 {
                    return Ok(());
                }
                match wal.write(batch.take(count), count) {
                    Err(Error::Full { .. }) => return Err(Error::Full { appended }),
                    done => done?,
                }
                appended += count;
            }
        })
    }

    /// Makes everything appended so far durable.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.guard(Self::sync_segment)
    }

    /// Proves everything appended so far to be durable, so that damage to it can never pass for a
    /// torn write (R22). Costs two syncs; does nothing if nothing came since the last time.
    pub fn mark(&mut self) -> Result<(), Error> {
        self.guard(|wal| {
            if wal.segment.is_ambiguous() {
                wal.sync_segment()?;
                wal.batch.clear();
                wal.batch.resize(BATCH_HEADER_BYTES, 0);
                wal.segment.write(&mut wal.batch, 0)?;
            }
            wal.sync_segment()
        })
    }

    /// Lets the oldest segment go if a **published** snapshot at `position` covers all its entries:
    /// it becomes the next segment, or is removed. Says whether it did; there may be more.
    ///
    /// Before the base record of the snapshot is durable, the entry at `position` itself stays:
    /// recovery has to see that the log behind it belongs to it.
    pub fn release(&mut self, position: Position) -> Result<bool, Error> {
        self.guard(|wal| {
            let Some(oldest) = wal.sealed.front() else {
                return Ok(false);
            };
            let is_covered = oldest.highest < position.index
                || oldest.highest <= position.index.min(wal.durable_base.index);
            if !is_covered {
                return Ok(false);
            }
            // A spare that is being made this moment is not waited for.
            match wal.spare.try_lock() {
                Ok(mut spare) => spare.recycle(&oldest.name, oldest.bytes)?,
                Err(TryLockError::Poisoned(spare)) => {
                    spare.into_inner().recycle(&oldest.name, oldest.bytes)?;
                }
                Err(TryLockError::WouldBlock) => discard(&wal.disk, &oldest.name)?,
            }
            wal.sealed.pop_front();
            Ok(true)
        })
    }

    fn sync_segment(&mut self) -> Result<(), Error> {
        self.segment.sync()?;
        self.durable_base = self.outline.base;
        Ok(())
    }

    /// Runs a step, and trusts nothing any more if it fails.
    fn guard<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        let result = step(self);
        self.poisoned = match &result {
            Ok(_) | Err(Error::Full { .. } | Error::RecordTooLarge { .. }) => false,
            Err(_) => true,
        };
        result
    }

    /// Takes as many records from `rest` as make a batch, and encodes them; says how many.
    fn encode<'a>(
        &mut self,
        rest: &mut (impl Iterator<Item = &'a Record> + Clone),
    ) -> Result<usize, Error> {
        let limit = self.config.record_bytes_max();
        self.batch.clear();
        self.batch.resize(BATCH_HEADER_BYTES, 0);
        let mut count = 0;
        loop {
            let mut ahead = rest.clone();
            let Some(record) = ahead.next() else {
                return Ok(count);
            };
            let bytes = record_bytes(record) as u64;
            if bytes > limit {
                return Err(Error::RecordTooLarge { bytes, limit });
            }
            if count > 0 && self.batch.len() as u64 + bytes > self.config.batch_bytes() {
                return Ok(count);
            }
            encode_record(record, &mut self.batch);
            *rest = ahead;
            count += 1;
        }
    }

    /// Writes the encoded batch, which is of these records.
    fn write<'a>(
        &mut self,
        records: impl Iterator<Item = &'a Record>,
        count: usize,
    ) -> Result<(), Error> {
        if !self.segment.has_room(self.batch.len() - BATCH_HEADER_BYTES) {
            self.rotate()?;
        }
        for record in records {
            self.outline.admit(record).map_err(Error::Disorder)?;
            if let Record::Entry(entry) = record {
                self.highest = self.highest.max(entry.index);
            }
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.segment.write(&mut self.batch, count)?;
        // A rare giant leaves no mark on the memory that the log keeps.
        self.batch.shrink_to((1 << 20) + (64 << 10));
        Ok(())
    }

    /// Goes on in another segment.
    fn rotate(&mut self) -> Result<(), Error> {
        let mut spare = lock(&self.spare);
        spare.ensure()?;
        self.segment.sync()?;
        self.durable_base = self.outline.base;
        let before = self.segment.header();
        let header = SegmentHeader {
            incarnation: self.incarnation,
            sequence: before.sequence + 1,
            bytes: self.config.segment_bytes,
            before: self.segment.end(),
        };
        self.sealed.push_back(Sealed {
            name: self.segment.name().to_owned(),
            bytes: before.bytes,
            highest: self.highest,
        });
        self.segment = start_segment(&self.disk, &mut spare, header, &self.outline)?;
        self.highest = Index(0);
        Ok(())
    }
}

/// Makes the spare the segment of that header. It begins with what the log came to, and is durable
/// before it has its name.
fn start_segment<D: Disk>(
    disk: &D,
    spare: &mut Spare<D>,
    header: SegmentHeader,
    outline: &Outline,
) -> Result<Segment<D::File>, Error> {
    spare.ensure()?;
    let spare_name = Spare::<D>::NAME;
    let file = disk
        .open(spare_name)
        .map_err(Error::io("open", spare_name))?;
    let name = segment_name(header.sequence);
    let mut segment = Segment::begin(file, header)?;
    let mut batch = vec![0; BATCH_HEADER_BYTES];
    let mut count = 0;
    for record in outline.records() {
        encode_record(&record, &mut batch);
        count += 1;
    }
    segment.write(&mut batch, count)?;
    segment.sync()?;
    disk.rename(spare_name, &name)
        .map_err(Error::io("rename", &name))?;
    spare.used();
    disk.sync_dir()
        .map_err(Error::io("sync", "the data directory"))?;
    Ok(segment)
}

/// A segment in the middle that is not there is not a torn write.
fn check_consecutive(sequences: &[u64]) -> Result<(), Error> {
    match sequences.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        Some(pair) => Err(missing(&segment_name(pair[0] + 1))),
        None => Ok(()),
    }
}

fn missing(what: &str) -> Error {
    Error::Missing {
        what: what.to_owned(),
        beside: "the rest of the log and the node's identity".to_owned(),
    }
}
