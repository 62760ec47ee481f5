//! The write-ahead log, snapshots and identity of one data directory (R13-R15, R22, R23).

mod disk;
mod error;
mod file_disk;

pub use disk::{Disk, DiskFile, SECTOR_BYTES};
pub use error::Error;
pub use file_disk::FileDisk;
