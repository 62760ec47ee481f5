//! The mark of a disk that its cluster turned away (R15).
//!
//! A peer that remembers more than this disk does may be gone tomorrow, and with it the knowledge
//! that the disk forgot something; and of starts that are long past nobody is certain any more. So
//! the verdict is kept here: a marked disk never starts again.

use std::io;

use super::{Disk, DiskFile, Error};

/// The file whose presence is the mark, and whose content says why.
const NAME: &str = "quarantined";

/// The longest sentence that is kept or read, in bytes.
const SENTENCE_BYTES_MAX: usize = 4096;

/// Marks the disk for ever. A disk that is marked keeps its first sentence.
pub fn quarantine<D: Disk>(disk: &D, sentence: &str) -> Result<(), Error> {
    let file = match disk.create(NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(Error::io("make", NAME)(error)),
    };
    // The mark counts even where its sentence does not fit on a full disk.
    let sentence = &sentence[..sentence.floor_char_boundary(SENTENCE_BYTES_MAX)];
    let written = file
        .write_at(sentence.as_bytes(), 0)
        .and_then(|()| file.sync());
    disk.sync_dir()
        .map_err(Error::io("sync", "the data directory"))?;
    written.map_err(Error::io("write", NAME))
}

/// Says whether the disk may be used.
pub(super) fn check<D: Disk>(disk: &D, names: &[String]) -> Result<(), Error> {
    if !names.iter().any(|name| name == NAME) {
        return Ok(());
    }
    let read = || -> io::Result<Vec<u8>> {
        let file = disk.open(NAME)?;
        let length = usize::try_from(file.length()?).unwrap_or(usize::MAX);
        let mut sentence = vec![0; length.min(SENTENCE_BYTES_MAX)];
        file.read_at(&mut sentence, 0)?;
        Ok(sentence)
    };
    let sentence = read().map_err(Error::io("read", NAME))?;
    let sentence = String::from_utf8_lossy(&sentence).into_owned();
    Err(Error::Quarantined { sentence })
}
