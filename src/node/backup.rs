//! Backups: the whole state as a file, and a cluster that begins with one (R14).
//!
//! A backup is a snapshot as storage writes it: it holds the state behind one entry of the log, and
//! who belonged to the cluster there, both under checksums. It names neither the cluster nor any
//! disk, so whatever begins with it is another cluster, in a later epoch.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::aside::in_a_thread;
use super::handle::{Failure, Handle, Request};
use super::run::random;
use crate::consensus::{ClusterId, Epoch, Incarnation, MemberId, Membership, NodeId, Placed};
use crate::state::{RestoreError, View};
use crate::storage::{self, FileDisk, NewCluster, Snapshot, SnapshotEncoder, WalConfig};

/// Pieces of a backup that wait for whoever takes it.
const PIECES_MAX: usize = 2;

/// The state at one moment.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) view: View,
    pub(super) configuration: Placed,
}

impl Handle {
    /// The state as it is now, as the pieces of a backup; possibly stale, unless the caller has
    /// [caught up](Self::catch_up) before. It is written by a thread of its own, which waits while
    /// the pieces are not taken, and ends when they are dropped; until then the records that the
    /// state had stay in memory. It is for the caller to bound how many are taken at once.
    ///
    /// # Errors
    /// If the node is ending, does not answer in time, or has no thread for it.
    pub async fn backup(&self) -> Result<mpsc::Receiver<Bytes>, Failure> {
        let (reply, frozen) = oneshot::channel();
        let frozen = async {
            let sent = self.requests.send(Request::Freeze(reply)).await;
            sent.map_err(|_| Failure::Stopping)?;
            frozen.await.map_err(|_| Failure::Stopping)
        };
        let frozen = timeout(self.shared.request_timeout, frozen).await;
        let frozen = frozen.map_err(|_| Failure::NotTaken("the node is overloaded"))??;
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let write = move || {
            // Whoever took the pieces may have gone away; then nobody misses the rest.
            drop(write(&frozen, Pieces(sender)));
        };
        if in_a_thread("backup", write) {
            return Ok(pieces);
        }
        Err(Failure::NotTaken("there is no thread for it"))
    }
}

fn write(frozen: &Frozen, out: Pieces) -> io::Result<()> {
    let position = frozen.view.position();
    let mut encoder = SnapshotEncoder::begin(out, position, &frozen.configuration)?;
    frozen.view.write_to(&mut encoder)?;
    encoder.finish().map(drop)
}

/// Where the thread puts what it writes.
struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        let sent = self.0.blocking_send(piece);
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a file is no backup, or nothing can begin with it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is damaged, or something else.
    #[error(
        "{file} is no backup, or is damaged: at byte {offset}, {what}; use another copy of it, or \
         another backup"
    )]
    Damaged {
        /// Which file.
        file: String,
        /// Where, in bytes from its beginning.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
    /// Its state cannot be read, although its bytes are as they were written.
    #[error("{file} cannot be used: {source}")]
    State {
        /// Which file.
        file: String,
        /// Why.
        source: RestoreError,
    },
    /// The file, or the new data directory, cannot be used.
    #[error("{0}")]
    Storage(storage::Error),
    /// No random number can be had.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<storage::Error> for BackupError {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::Rotten { file, offset, what } => Self::Damaged { file, offset, what },
            other => Self::Storage(other),
        }
    }
}

/// A backup, all of which was read and found whole.
#[derive(Debug)]
pub struct Backup {
    snapshot: Snapshot<std::fs::File>,
    view: View,
}

/// Where a backup is to go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restore {
    /// The data directory; made if it is not there, and must be empty.
    pub data_dir: PathBuf,
    /// The node that it is to be of.
    pub id: NodeId,
    /// The epoch of the new cluster: above every one that the one before was ever in.
    pub epoch: Epoch,
    /// The log that is begun.
    pub wal: WalConfig,
}

impl Backup {
    /// Reads all of a backup.
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        let snapshot = Snapshot::open_at(path)?;
        let read = View::read_from(&mut snapshot.state());
        let view = read.map_err(|source| fault(path, source))?;
        if view.position() != snapshot.position() {
            return Err(BackupError::Damaged {
                file: path.display().to_string(),
                offset: 0,
                what: "its head names another entry than its state",
            });
        }
        Ok(Self { snapshot, view })
    }

    /// The state in it.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Who belonged to the cluster, and with which entry that came.
    pub fn configuration(&self) -> &Placed {
        self.snapshot.configuration()
    }

    /// The latest epoch that it knows.
    pub fn epoch(&self) -> Epoch {
        let (since, _) = self.configuration();
        self.view.position().term.max(since.term).epoch()
    }

    /// How long the file is, in bytes.
    pub fn bytes(&self) -> u64 {
        self.snapshot.bytes()
    }

    /// Makes the data directory of the only voter of a new cluster, which begins with this backup.
    /// After a crash at any point it may be done again. `progress` is told how many bytes are
    /// copied.
    pub fn restore(
        &self,
        to: &Restore,
        progress: impl FnMut(u64),
    ) -> Result<Membership, BackupError> {
        let new = NewCluster {
            cluster: ClusterId(random()?),
            epoch: to.epoch,
            member: MemberId {
                id: to.id,
                incarnation: Incarnation(random()?),
            },
        };
        // Before anything is made.
        new.check(&self.snapshot)?;
        let disk = FileDisk::open(&to.data_dir)?;
        let restored = storage::restore(&disk, &self.snapshot, new, to.wal, progress);
        Ok(restored?)
    }
}

/// What storage says of the bytes, or else what the state says of itself.
fn fault(path: &Path, source: RestoreError) -> BackupError {
    let file = path.display().to_string();
    if let RestoreError::Io(error) = source {
        let is_damage = error.kind() == io::ErrorKind::InvalidData;
        let damage = error.downcast::<storage::Error>();
        return match damage {
            Ok(damage) if is_damage => damage.into(),
            Ok(other) => BackupError::Storage(other),
            Err(error) => BackupError::Io(error),
        };
    }
    BackupError::State { file, source }
}
