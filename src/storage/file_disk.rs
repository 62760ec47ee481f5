//! A real data directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile, Error};

/// The file whose lock says that a process uses the directory.
const LOCK: &str = "lock";

/// A directory of the file system, locked against every other process for as long as any clone
/// of this lives.
#[derive(Clone, Debug)]
pub struct FileDisk {
    opened: Arc<Opened>,
}

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    directory: File,
    /// Held for its lock, which the kernel drops when the file closes, however the process ends.
    _lock: File,
}

impl FileDisk {
    /// Opens the directory at `path`, makes it if there is none, and locks it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        let failed = |action| {
            let file = path.display().to_string();
            move |source| Error::Io {
                action,
                file,
                source,
            }
        };
        make_durably(&path).map_err(failed("make the data directory"))?;
        let directory = OpenOptions::new()
            .read(true)
            .open(&path)
            .map_err(failed("open the data directory"))?;
        let lock = writable()
            .create(true)
            .open(path.join(LOCK))
            .map_err(failed("open the lock file of"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                opened: Arc::new(Opened {
                    path,
                    directory,
                    _lock: lock,
                }),
            }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                path: path.display().to_string(),
            }),
            Err(TryLockError::Error(source)) => Err(failed("lock")(source)),
        }
    }

    /// Opens a directory as [`FileDisk::open`] does, but makes none.
    pub fn existing(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let looked = path.read_dir();
        looked.map_err(Error::io("read", &path.display().to_string()))?;
        Self::open(path)
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.opened.path
    }

    fn at(&self, name: &str) -> PathBuf {
        self.opened.path.join(name)
    }
}

/// Files are readable by their owner alone: the log holds its users' values.
fn writable() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Makes a directory and those above it, each durable in the one that holds it.
fn make_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !parent.is_dir() {
        make_durably(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    OpenOptions::new().read(true).open(parent)?.sync_all()
}

impl Disk for FileDisk {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.opened.path.read_dir()? {
            // Names that are not text are not ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        writable().create_new(true).open(self.at(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        writable().open(self.at(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.at(name))
    }

    fn room(&self) -> io::Result<u64> {
        let told = rustix::fs::fstatvfs(&self.opened.directory)?;
        Ok(if told.f_blocks == 0 {
            // A file system in memory without a limit.
            u64::MAX
        } else {
            told.f_bavail.saturating_mul(told.f_frsize)
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.opened.directory.sync_all()
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
