//! The snapshots of one data directory: the newest one, and those being written or received.
//!
//! A snapshot is written beside under a name that recovery removes, made durable, and only then
//! given its name. There is never a moment without a whole one, and never a half one under the
//! name of a whole one. Handles are cheap to clone and may be used from several threads.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::snapshot::Snapshot;
use super::{Disk, DiskFile, Error, SnapshotEncoder};
use crate::consensus::{Index, Placed, Position, Term};

/// How much is written before it is synced, in bytes: a flood of dirty pages would make the log
/// wait behind it.
const SYNC_BYTES: u64 = 4 << 20;

const DIRECTORY: &str = "the data directory";

/// All snapshots of one data directory.
#[derive(Clone, Debug)]
pub struct Snapshots<D> {
    disk: D,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    newest: Mutex<Option<Position>>,
    /// Makes the names of unfinished files differ.
    unfinished: AtomicU64,
}

/// The file name of a published snapshot.
fn published_name(position: Position) -> String {
    format!(
        "snapshot-{:016x}-{:016x}",
        position.index.0, position.term.0
    )
}

/// The position of a published snapshot, if it is one's name.
pub(super) fn published_position(name: &str) -> Option<Position> {
    let (index, term) = name.strip_prefix("snapshot-")?.split_once('-')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let position = Position {
        term: Term(number(term)?),
        index: Index(number(index)?),
    };
    (published_name(position) == name).then_some(position)
}

const UNFINISHED: &str = "unfinished-";

impl<D: Disk> Snapshots<D> {
    /// Finds the newest snapshot, checks its header, and removes what is unfinished or older. The
    /// names in the directory must be durable already.
    pub(super) fn open(disk: D) -> Result<Self, Error> {
        let names = disk.list().map_err(Error::io("list", DIRECTORY))?;
        let mut published: Vec<Position> =
            names.iter().filter_map(|n| published_position(n)).collect();
        published.sort_unstable_by_key(|position| position.index);
        let newest = published.pop();
        let snapshots = Self {
            disk,
            shared: Arc::new(Shared {
                newest: Mutex::new(newest),
                unfinished: AtomicU64::new(0),
            }),
        };
        snapshots.newest()?;
        let older = published.into_iter().map(published_name);
        let unfinished = names.into_iter().filter(|n| n.starts_with(UNFINISHED));
        for name in older.chain(unfinished) {
            (snapshots.disk.remove(&name)).map_err(Error::io("remove", &name))?;
        }
        Ok(snapshots)
    }

    /// What the newest snapshot covers.
    pub fn newest_position(&self) -> Option<Position> {
        *self.lock()
    }

    /// Opens the newest snapshot, to restore from it or to send it.
    pub fn newest(&self) -> Result<Option<Snapshot<D::File>>, Error> {
        let newest = self.lock();
        let Some(position) = *newest else {
            return Ok(None);
        };
        let name = published_name(position);
        let file = self.disk.open(&name).map_err(Error::io("open", &name))?;
        let snapshot = Snapshot::open(file, &name)?;
        if snapshot.position() != position {
            return Err(Error::rotten(
                &name,
                16,
                "it is another snapshot under this name",
            ));
        }
        Ok(Some(snapshot))
    }

    /// Begins a snapshot of this node's own state as it is behind the entry at `position`, where
    /// that configuration is in force.
    pub fn write(
        &self,
        position: Position,
        configuration: &Placed,
    ) -> Result<SnapshotWriter<D>, Error> {
        let unfinished = self.begin()?;
        let name = unfinished.name.clone();
        let encoder = SnapshotEncoder::begin(unfinished, position, configuration)
            .map_err(Error::io("write", &name))?;
        Ok(SnapshotWriter {
            encoder,
            name,
            position,
        })
    }

    /// Begins to receive the snapshot of `position`, a file of that many bytes. It is for the
    /// caller to bound `bytes` and how many are received at once.
    pub fn receive(&self, position: Position, bytes: u64) -> Result<IncomingSnapshot<D>, Error> {
        Ok(IncomingSnapshot {
            unfinished: self.begin()?,
            position,
            bytes,
        })
    }

    fn begin(&self) -> Result<Unfinished<D>, Error> {
        let number = self.shared.unfinished.fetch_add(1, Ordering::Relaxed);
        let name = format!("{UNFINISHED}{number}");
        let file = self.disk.create(&name).map_err(Error::io("make", &name))?;
        Ok(Unfinished {
            snapshots: self.clone(),
            file: Some(file),
            name,
            written: 0,
            synced: 0,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Position>> {
        (self.shared.newest.lock()).unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that becomes a snapshot, or is removed when it is dropped.
#[derive(Debug)]
struct Unfinished<D: Disk> {
    snapshots: Snapshots<D>,
    /// Gone once it is published.
    file: Option<D::File>,
    name: String,
    written: u64,
    synced: u64,
}

impl<D: Disk> Unfinished<D> {
    fn file(&self) -> io::Result<&D::File> {
        self.file
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        if self.written - self.synced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync()?;
        self.synced = self.written;
        Ok(())
    }

    /// Gives the synced file its name, durably, unless a newer snapshot is there already. Says
    /// whether it did.
    fn publish(mut self, position: Position) -> Result<bool, Error> {
        let snapshots = self.snapshots.clone();
        let mut newest = snapshots.lock();
        if newest.is_some_and(|newest| newest.index >= position.index) {
            return Ok(false);
        }
        let name = published_name(position);
        let disk = &snapshots.disk;
        disk.rename(&self.name, &name)
            .map_err(Error::io("publish", &name))?;
        self.file = None;
        disk.sync_dir().map_err(Error::io("sync", DIRECTORY))?;
        if let Some(older) = newest.replace(position).map(published_name) {
            disk.remove(&older).map_err(Error::io("remove", &older))?;
        }
        Ok(true)
    }
}

impl<D: Disk> Drop for Unfinished<D> {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // What cannot be removed now is removed at the next start.
            drop(self.snapshots.disk.remove(&self.name));
        }
    }
}

/// The bytes of a snapshot come here one after the other.
impl<D: Disk> Write for Unfinished<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a snapshot. Nothing is seen of it before [`SnapshotWriter::finish`]; dropped, or after
/// an error, it leaves nothing behind.
#[derive(Debug)]
pub struct SnapshotWriter<D: Disk> {
    encoder: SnapshotEncoder<Unfinished<D>>,
    name: String,
    position: Position,
}

impl<D: Disk> SnapshotWriter<D> {
    /// Makes the snapshot durable and publishes it. `false` says that a newer one was published
    /// meanwhile, and this one is gone.
    pub fn finish(self) -> Result<bool, Error> {
        let failed = Error::io("write", &self.name);
        let synced = self.encoder.finish().and_then(|mut unfinished| {
            unfinished.sync()?;
            Ok(unfinished)
        });
        synced.map_err(failed)?.publish(self.position)
    }
}

/// Adds state. After an error the writer is only good to be dropped.
impl<D: Disk> Write for SnapshotWriter<D> {
    fn write(&mut self, state: &[u8]) -> io::Result<usize> {
        self.encoder.write(state)
    }

    /// Does nothing: a snapshot is durable whole or not at all.
    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

/// A snapshot on its way from the leader. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct IncomingSnapshot<D: Disk> {
    unfinished: Unfinished<D>,
    position: Position,
    bytes: u64,
}

impl<D: Disk> IncomingSnapshot<D> {
    /// How many bytes have come; the next piece begins there.
    pub fn received(&self) -> u64 {
        self.unfinished.written
    }

    /// Adds the next piece of the file, which must begin where the last one ended.
    pub fn append(&mut self, offset: u64, piece: &[u8]) -> Result<(), Error> {
        let expected = self.received();
        if offset != expected {
            return Err(Error::OutOfPlace {
                expected,
                given: offset,
            });
        }
        if piece.len() as u64 > self.bytes.saturating_sub(expected) {
            return Err(self.other("it is longer"));
        }
        let failed = Error::io("write", &self.unfinished.name);
        self.unfinished.add(piece).map_err(failed)
    }

    /// Makes it durable and verifies all of it.
    pub fn finish(mut self) -> Result<ReceivedSnapshot<D>, Error> {
        if self.received() != self.bytes {
            return Err(self.other("it is shorter"));
        }
        let name = self.unfinished.name.clone();
        self.unfinished.sync().map_err(Error::io("sync", &name))?;
        let disk = &self.unfinished.snapshots.disk;
        let file = disk.open(&name).map_err(Error::io("open", &name))?;
        let snapshot = Snapshot::open(file, &name)?;
        if snapshot.position() != self.position {
            return Err(self.other("it covers another position"));
        }
        snapshot.verify()?;
        Ok(ReceivedSnapshot {
            snapshot,
            unfinished: self.unfinished,
        })
    }

    fn other(&self, what: &'static str) -> Error {
        Error::OtherSnapshot {
            announced: self.position,
            what,
        }
    }
}

/// A verified snapshot of the leader that is not published yet. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct ReceivedSnapshot<D: Disk> {
    snapshot: Snapshot<D::File>,
    unfinished: Unfinished<D>,
}

impl<D: Disk> ReceivedSnapshot<D> {
    /// Its content, to be restored beside the live state.
    pub fn snapshot(&self) -> &Snapshot<D::File> {
        &self.snapshot
    }

    /// Publishes it, durably: a part of the ordered stream of writes. All writes before must be
    /// durable already, and the [`Base`](crate::consensus::Record::Base) record comes next. Says
    /// whether it did; not if a newer one is there.
    pub fn publish(self) -> Result<bool, Error> {
        self.unfinished.publish(self.snapshot.position())
    }
}
