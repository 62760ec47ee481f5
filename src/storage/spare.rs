//! The next segment of the log, ready before it is needed.

use super::disk::{fill_zeroes, is_full};
use super::{Disk, DiskFile, Error};

/// A file full of zeroes that waits to become a segment. Writing into blocks that exist and are
/// initialised saves the file system a journal commit with every sync, and makes the disk tell
/// that it is full while a whole segment is still free.
#[derive(Debug)]
pub(super) struct Spare<D> {
    disk: D,
    bytes: u64,
    ready: bool,
}

impl<D: Disk> Spare<D> {
    /// The spare's name once it is ready.
    pub(super) const NAME: &'static str = "wal-spare";
    /// Its name while it is made.
    const UNFINISHED: &'static str = "wal-spare-unfinished";

    /// Finds out what an earlier life left. `names` are the files there are.
    pub(super) fn open(disk: D, bytes: u64, names: &[String]) -> Result<Self, Error> {
        let has = |name: &str| names.iter().any(|other| other == name);
        if has(Self::UNFINISHED) {
            remove(&disk, Self::UNFINISHED)?;
        }
        let mut ready = has(Self::NAME);
        if ready && length(&disk, Self::NAME)? != bytes {
            remove(&disk, Self::NAME)?;
            ready = false;
        }
        Ok(Self { disk, bytes, ready })
    }

    /// Makes the spare if there is none. [`Error::Full`] leaves nothing behind and may be tried
    /// again.
    pub(super) fn ensure(&mut self) -> Result<(), Error> {
        if self.ready {
            return Ok(());
        }
        // The last room is left to snapshots, which are what frees segments.
        let room = self.disk.room();
        if room.map_err(Error::io("measure", "the data directory"))? < self.bytes {
            return Err(Error::Full { appended: 0 });
        }
        if let Err(error) = self.make() {
            let full = matches!(&error, Error::Io { source, .. } if is_full(source));
            // Gives the room back. If that fails too, the next attempt says so.
            let removed = remove(&self.disk, Self::UNFINISHED);
            return match removed {
                Ok(()) if full => Err(Error::Full { appended: 0 }),
                _ => Err(error),
            };
        }
        self.ready = true;
        Ok(())
    }

    fn make(&self) -> Result<(), Error> {
        let name = Self::UNFINISHED;
        let file = (self.disk.create(name)).map_err(Error::io("make", name))?;
        fill_zeroes(&file, 0, self.bytes).map_err(Error::io("fill", name))?;
        file.sync().map_err(Error::io("sync", name))?;
        drop(file);
        self.adopt(name)
    }

    /// Makes a file of the right length the spare.
    fn adopt(&self, name: &str) -> Result<(), Error> {
        (self.disk.rename(name, Self::NAME)).map_err(Error::io("rename", name))?;
        self.disk
            .sync_dir()
            .map_err(Error::io("sync", "the data directory"))
    }

    /// Takes a released segment of `bytes` in as the spare, or removes it if there is one.
    pub(super) fn recycle(&mut self, name: &str, bytes: u64) -> Result<(), Error> {
        if self.ready || bytes != self.bytes {
            return discard(&self.disk, name);
        }
        self.adopt(name)?;
        self.ready = true;
        Ok(())
    }

    /// Says that the spare was renamed and is a segment now.
    pub(super) fn used(&mut self) {
        self.ready = false;
    }
}

/// Removes a file, durably.
pub(super) fn discard<D: Disk>(disk: &D, name: &str) -> Result<(), Error> {
    remove(disk, name)?;
    disk.sync_dir()
        .map_err(Error::io("sync", "the data directory"))
}

fn remove<D: Disk>(disk: &D, name: &str) -> Result<(), Error> {
    disk.remove(name).map_err(Error::io("remove", name))
}

fn length<D: Disk>(disk: &D, name: &str) -> Result<u64, Error> {
    (disk.open(name))
        .and_then(|file| file.length())
        .map_err(Error::io("open", name))
}
