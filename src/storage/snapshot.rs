//! One snapshot file: an opaque stream of state with the position it covers and the configuration
//! in force there, or a later one that is agreed on; format version 3.
//!
//! The same bytes lie on disk and travel to followers, so nothing in them names a node or a disk.
//! Integers are little-endian, CRCs are CRC-32C.
//!
//! ```text
//!   header   8 magic "rmbr-snp"   4 version   4 length n   8 term   8 index
//!            n configuration: 8 term and 8 index of its entry, then as in the log
//!            4 CRC of all before
//!   chunk    4 length n, 1 to 65,536   4 CRC   n state            any number of them
//!   end      4 zero                    4 CRC   8 bytes of state   4 CRC of all the state
//! ```
//!
//! The CRC of a chunk covers its length and state and continues the CRC before it, the header's
//! first; the one of the end covers the two sums. Chunks can neither be swapped nor left out.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::layout::{
    self, Fields, configuration_bytes, decode_configuration, encode_configuration, encode_position,
};
use super::{DiskFile, Error};
use crate::consensus::{Placed, Position};

/// The version of the format.
pub(super) const VERSION: u32 = 3;
/// Bytes before the configuration.
const HEADER_BYTES: usize = 32;
/// The longest configuration, in bytes; a longer one is not believed.
const CONFIGURATION_BYTES_MAX: usize = 16 + layout::CONFIGURATION_BYTES_MAX;
/// Bytes before the state of a chunk.
pub(super) const CHUNK_HEADER_BYTES: usize = 8;
/// The most state in one chunk.
pub(super) const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Bytes of the end.
const END_BYTES: usize = 20;

const MAGIC: &[u8; 8] = b"rmbr-snp";

/// The header's bytes and its CRC, where the chain begins.
pub(super) fn encode_header(position: Position, (since, configuration): &Placed) -> (Vec<u8>, u32) {
    let length = 16 + configuration_bytes(configuration.seats().len());
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    encode_position(position, &mut bytes);
    encode_position(*since, &mut bytes);
    encode_configuration(configuration, &mut bytes);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    (bytes, crc)
}

/// What a header says: the position, the configuration, and the CRC. `length` bytes of it are the
/// configuration's.
fn decode_header(header: &[u8]) -> Option<(Position, Placed, u32)> {
    let (covered, crc) = header.split_last_chunk::<4>()?;
    let mut fields = Fields(covered.get(16..)?);
    let position = fields.position()?;
    let since = fields.position()?;
    let placed = (since, decode_configuration(&mut fields)?);
    let (encoded, crc_due) = encode_header(position, &placed);
    let is_sound = encoded == header && crc_due.to_le_bytes() == *crc;
    is_sound.then_some((position, placed, crc_due))
}

/// Fills in the header of a chunk, whose state stands behind room for it; returns the chain.
pub(super) fn seal_chunk(chunk: &mut [u8], chain: u32) -> u32 {
    let length = u32::try_from(chunk.len() - CHUNK_HEADER_BYTES).unwrap_or(u32::MAX);
    chunk[..4].copy_from_slice(&length.to_le_bytes());
    let crc = chunk_crc(chain, length, &chunk[CHUNK_HEADER_BYTES..]);
    chunk[4..8].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// The end of a snapshot.
pub(super) fn encode_end(state: StateSum, chain: u32) -> [u8; END_BYTES] {
    let mut bytes = [0; END_BYTES];
    bytes[8..16].copy_from_slice(&state.bytes.to_le_bytes());
    bytes[16..20].copy_from_slice(&state.crc.to_le_bytes());
    let crc = chunk_crc(chain, 0, &bytes[8..20]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn chunk_crc(chain: u32, length: u32, content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(chain, &length.to_le_bytes()), content)
}

/// What all the state so far sums up to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct StateSum {
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

impl StateSum {
    pub(super) fn add(&mut self, state: &[u8]) {
        self.bytes += state.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, state);
    }
}

/// A snapshot that was published or received, opened. It stays readable if a newer one replaces it.
#[derive(Debug)]
pub struct Snapshot<F> {
    file: F,
    name: String,
    position: Position,
    configuration: Placed,
    bytes: u64,
    /// Where the first chunk begins, and the CRC before it.
    begins: u64,
    chain: u32,
}

impl Snapshot<File> {
    /// Opens one that lies somewhere else than in a data directory, such as a backup.
    pub fn open_at(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(Error::io("open", &name))?;
        Self::open(file, &name)
    }
}

impl<F: DiskFile> Snapshot<F> {
    /// Reads the header.
    pub(super) fn open(file: F, name: &str) -> Result<Self, Error> {
        let bytes = file.length().map_err(Error::io("open", name))?;
        if bytes < (HEADER_BYTES + END_BYTES) as u64 {
            return Err(Error::rotten(name, bytes, "the snapshot is cut off"));
        }
        let mut header = vec![0; HEADER_BYTES];
        (file.read_at(&mut header, 0)).map_err(Error::io("read", name))?;
        let damaged = || Error::rotten(name, 0, "the header of the snapshot is damaged");
        let mut fields = Fields(&header[MAGIC.len()..]);
        let (version, length) = (fields.u32().unwrap_or(0), fields.u32().unwrap_or(0));
        if header.starts_with(MAGIC) && version != VERSION {
            return Err(Error::OtherFormat {
                file: name.to_owned(),
                found: version,
                supported: VERSION,
            });
        }
        let length = length as usize;
        if length > CONFIGURATION_BYTES_MAX {
            return Err(damaged());
        }
        header.resize(HEADER_BYTES + length + 4, 0);
        if bytes < (header.len() + END_BYTES) as u64 {
            return Err(Error::rotten(name, bytes, "the snapshot is cut off"));
        }
        (file.read_at(&mut header, 0)).map_err(Error::io("read", name))?;
        let (position, configuration, chain) = decode_header(&header).ok_or_else(damaged)?;
        Ok(Self {
            file,
            name: name.to_owned(),
            position,
            configuration,
            bytes,
            begins: header.len() as u64,
            chain,
        })
    }

    /// The last entry that it covers.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The configuration that is in force there.
    pub fn configuration(&self) -> &Placed {
        &self.configuration
    }

    /// The length of the file, which is what a follower is sent, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `buffer` with bytes of the file from `offset`, as they are: the receiver verifies
    /// them.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), Error> {
        (self.file.read_at(buffer, offset)).map_err(Error::io("read", &self.name))
    }

    /// The state from its beginning, verified on the way.
    pub fn state(&self) -> StateReader<'_, F> {
        StateReader {
            snapshot: self,
            offset: self.begins,
            chain: self.chain,
            sum: StateSum::default(),
            chunk: Vec::new(),
            taken: 0,
            ahead: Vec::new(),
            ended: false,
        }
    }

    /// Reads all of it, to know that it is whole.
    pub(super) fn verify(&self) -> Result<(), Error> {
        let mut state = self.state();
        while !state.ended {
            state.look_ahead()?;
        }
        Ok(())
    }
}

/// Reads the state of a [`Snapshot`], and verifies one part more than it gives out: who has its
/// last byte knows that all of the file is good, even if the state tells its own end and nobody
/// asks for what follows. Damage is an [`io::ErrorKind::InvalidData`] that carries
/// [`Error::Rotten`]. Never restore from a part.
#[derive(Debug)]
pub struct StateReader<'a, F> {
    snapshot: &'a Snapshot<F>,
    offset: u64,
    chain: u32,
    sum: StateSum,
    /// What is given out, and how much of it was.
    chunk: Vec<u8>,
    taken: usize,
    /// The chunk behind it; none once the end was read.
    ahead: Vec<u8>,
    ended: bool,
}

impl<F: DiskFile> StateReader<'_, F> {
    /// Goes on to the next chunk, once what is behind it has passed as well.
    fn next_chunk(&mut self) -> Result<(), Error> {
        std::mem::swap(&mut self.chunk, &mut self.ahead);
        self.taken = self.chunk.len();
        self.ahead.clear();
        if !self.ended {
            self.look_ahead()?;
        }
        self.taken = 0;
        Ok(())
    }

    /// Reads the chunk behind all that was read, or the end.
    fn look_ahead(&mut self) -> Result<(), Error> {
        let mut header = [0; CHUNK_HEADER_BYTES];
        self.fill(&mut header)?;
        let mut fields = Fields(&header);
        let (length, crc) = (fields.u32().unwrap_or(0), fields.u32().unwrap_or(0));
        if length as usize > CHUNK_BYTES_MAX {
            return Err(self.rotten("a chunk of the snapshot is too long"));
        }
        if length == 0 {
            return self.check_end(crc);
        }
        let mut chunk = std::mem::take(&mut self.ahead);
        chunk.resize(length as usize, 0);
        self.fill(&mut chunk)?;
        if chunk_crc(self.chain, length, &chunk) != crc {
            return Err(self.rotten("a chunk of the snapshot does not match its checksum"));
        }
        self.chain = crc;
        self.sum.add(&chunk);
        self.ahead = chunk;
        Ok(())
    }

    fn check_end(&mut self, crc: u32) -> Result<(), Error> {
        let mut sums = [0; END_BYTES - CHUNK_HEADER_BYTES];
        self.fill(&mut sums)?;
        let expected = encode_end(self.sum, self.chain);
        if chunk_crc(self.chain, 0, &sums) != crc || expected[CHUNK_HEADER_BYTES..] != sums {
            return Err(self.rotten("the snapshot does not match the sums at its end"));
        }
        if self.offset != self.snapshot.bytes {
            return Err(self.rotten("the snapshot goes on behind its end"));
        }
        self.ahead.clear();
        self.ended = true;
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        if self.snapshot.bytes - self.offset < buffer.len() as u64 {
            return Err(self.rotten("the snapshot is cut off"));
        }
        self.snapshot.read_at(buffer, self.offset)?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    fn rotten(&self, what: &'static str) -> Error {
        Error::rotten(&self.snapshot.name, self.offset, what)
    }
}

impl<F: DiskFile> Read for StateReader<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let is_over = |reader: &Self| reader.ended && reader.ahead.is_empty();
        while self.taken == self.chunk.len() && !is_over(self) && !buffer.is_empty() {
            // A reader that failed stays failed: the chunk that did not pass is never given out.
            self.next_chunk().map_err(|error| match error {
                Error::Io { .. } => io::Error::other(error),
                damage => io::Error::new(io::ErrorKind::InvalidData, damage),
            })?;
        }
        let count = buffer.len().min(self.chunk.len() - self.taken);
        buffer[..count].copy_from_slice(&self.chunk[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}
