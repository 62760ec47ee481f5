//! The files of one data directory, as little of a file system as storage needs.
//!
//! Everything here blocks. [`FileDisk`](super::FileDisk) is the real one; the simulator brings its
//! own, which loses power in mid-write, so that the very same log and snapshot code meets every
//! crash that a test can think of.
//!
//! What an implementation promises, and no more: what was written is read back at once; it
//! survives a crash only after [`DiskFile::sync`] returned; until then any part of it may survive,
//! in units of [`SECTOR_BYTES`]. A created, renamed or removed name survives only after
//! [`Disk::sync_dir`] returned. After a failed sync nothing unsynced is promised, ever (R23).

use std::fmt;
use std::io;

/// What a disk writes as one: after a crash a sector holds its old or its new content.
pub const SECTOR_BYTES: u64 = SECTOR as u64;
/// The same, as the length of a slice.
pub(super) const SECTOR: usize = 512;

/// A directory without subdirectories; a cheap handle, whose clones mean the same directory.
pub trait Disk: Clone + fmt::Debug + Send + 'static {
    /// An open file of it.
    type File: DiskFile;

    /// The names in the directory, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a new, empty file; fails if the name is taken.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file to read and write.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, in the place of whatever had that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name; open files of it stay readable.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The bytes for which there is still room, as far as is known; a quota may leave less.
    fn room(&self) -> io::Result<u64>;

    /// Makes every earlier create, rename and remove durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + 'static {
    /// Its length, in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`; fails where the file is too short for that.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, and grows the file if it ends before.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes every earlier write to this file durable, its length included.
    fn sync(&self) -> io::Result<()>;
}

/// Whether an error says that there is no room: the one error that may go away by itself.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Writes zeroes from `from` up to `to`, in pieces.
pub(super) fn fill_zeroes(file: &impl DiskFile, from: u64, to: u64) -> io::Result<()> {
    static PIECE: [u8; 64 << 10] = [0; 64 << 10];
    let mut offset = from;
    while offset < to {
        let left = usize::try_from(to - offset).unwrap_or(usize::MAX);
        let piece = &PIECE[..left.min(PIECE.len())];
        file.write_at(piece, offset)?;
        offset += piece.len() as u64;
    }
    Ok(())
}
