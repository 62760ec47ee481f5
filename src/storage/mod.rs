//! The write-ahead log, snapshots and identity of one data directory (R13-R15, R22, R23).
//!
//! Blocking files and nothing else: no clock decides anything here, no runtime, no network. What
//! it stores is the engine's ([`Record`](crate::consensus::Record)) or opaque.
//!
//! ```text
//!   DataDir --open, found, recover--> Recovered   to the engine
//!                                     Snapshots   the newest state, and those on their way
//!                                     Wal         one ordered stream of records
//!                                       ^
//!   Survivor, restore: a cluster begins anew with what one disk, or a backup, holds (R14)
//!   Journal: the thread that owns the Wal, makes many writes durable with one sync, and reports
//! ```
//!
//! All of it stands on [`Disk`], which is a real directory ([`FileDisk`]) or, in tests, one that
//! loses power in mid-write. An [`Error`] says what, where, and how to mend it; damage to what was
//! durable is refused, never repaired by forgetting (R22). `layout`, `snapshot` and `identity`
//! document the bytes, each with its version.

mod data_dir;
mod disk;
mod error;
mod file_disk;
mod identity;
mod journal;
mod layout;
mod outline;
mod quarantine;
mod restoration;
mod segment;
mod snapshot;
mod snapshot_encoder;
mod snapshots;
mod spare;
mod survivor;
mod wal;

pub use data_dir::{DataDir, Opened};
pub use disk::{Disk, DiskFile, SECTOR_BYTES};
pub use error::Error;
pub use file_disk::FileDisk;
pub use identity::Identity;
pub use journal::{Completion, Job, Journal, JournalConfig};
pub use quarantine::quarantine;
pub use restoration::{NewCluster, restore};
pub use snapshot::{Snapshot, StateReader};
pub use snapshot_encoder::SnapshotEncoder;
pub use snapshots::{IncomingSnapshot, ReceivedSnapshot, SnapshotWriter, Snapshots};
pub use survivor::Survivor;
pub use wal::{NextSegment, Wal, WalConfig};
