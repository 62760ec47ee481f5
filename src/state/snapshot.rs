//! A view as bytes.
//!
//! ```text
//!   head    "rmbstate"  format u32  term u64  index u64  revision u64  quota u64  used u64
//!           count u64  sum u32
//!   chunk   length u32, not 0  sum u32  records                          any number of times
//!   tail    0 u32  sum u32  hash u64
//!   record  key length u16  value length u32  created u64  modified u64  version u64  key  value
//! ```
//!
//! Numbers are little-endian. The records are in order of their keys and none spans two chunks,
//! so writer and reader need the memory of one chunk. Each sum is the CRC-32C of everything up to
//! the end of its own head, chunk or tail, sums left out: a chunk that is missing, repeated or out
//! of place is found as surely as a flipped bit. The hash is [`View::hash`]: what was read is what
//! was written, or it is refused.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use crc32c::crc32c_append;

use super::record::Record;
use super::{KEY_BYTES_MAX, Key, QUOTA_BYTES_MAX, Revision, VALUE_BYTES_MAX, View};
use crate::consensus::{Index, Position, Term};

const MAGIC: [u8; 8] = *b"rmbstate";
const FORMAT: u32 = 1;
const HEAD_BYTES: usize = 8 + 4 + 6 * 8;
const RECORD_HEAD_BYTES: usize = 2 + 4 + 3 * 8;

/// A chunk is closed by the record that reaches this length.
const CHUNK_BYTES: usize = 64 << 10;
const CHUNK_BYTES_MAX: usize = CHUNK_BYTES + RECORD_HEAD_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX;

/// Why bytes are no snapshot of a state.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The source failed.
    #[error("the snapshot cannot be read: {0}")]
    Io(#[source] io::Error),
    /// The source ended early.
    #[error("the snapshot ends early, after {records} of its records; copy it again")]
    Truncated {
        /// The records that were read.
        records: u64,
    },
    /// Something else.
    #[error("not a snapshot of a state: it does not begin with \"rmbstate\"")]
    Foreign,
    /// The format of another version of this program.
    #[error(
        "a snapshot of format {given}, this version knows {FORMAT} only; \
         use the version that wrote it, or a newer one"
    )]
    Unsupported {
        /// Its format.
        given: u32,
    },
    /// Bytes that are not what was written.
    #[error("the snapshot is damaged behind its record {records}: the sum differs; copy it again")]
    Sum {
        /// The records that were read before.
        records: u64,
    },
    /// Sound bytes that no version of this program would write.
    #[error("the snapshot is malformed behind its record {records}: {what}; take another one")]
    Malformed {
        /// The records that were read before.
        records: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// All records are sound, but they are not the state that was written.
    #[error("the snapshot holds a state with hash {found:016x}, not {stated:016x} as it says")]
    Hash {
        /// The hash in the tail.
        stated: u64,
        /// The hash of what was read.
        found: u64,
    },
}

impl View {
    /// Writes it all. Meant for a thread that may take its time; `out` is best buffered.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.put_slice(&MAGIC);
        head.put_u32_le(FORMAT);
        head.put_u64_le(self.position.term.0);
        head.put_u64_le(self.position.index.0);
        head.put_u64_le(self.revision.0);
        head.put_u64_le(self.quota_bytes);
        head.put_u64_le(self.used_bytes);
        head.put_u64_le(self.len() as u64);
        let mut sum = crc32c_append(0, &head);
        out.write_all(&head)?;
        out.write_all(&sum.to_le_bytes())?;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES * 2);
        for record in self.records.range(&[]) {
            put_record(&mut chunk, record);
            if chunk.len() >= CHUNK_BYTES {
                sum = write_chunk(out, sum, &chunk)?;
                chunk.clear();
            }
        }
        if !chunk.is_empty() {
            sum = write_chunk(out, sum, &chunk)?;
        }
        let (end, hash) = (0_u32.to_le_bytes(), self.hash().to_le_bytes());
        sum = crc32c_append(crc32c_append(sum, &end), &hash);
        out.write_all(&end)?;
        out.write_all(&sum.to_le_bytes())?;
        out.write_all(&hash)
    }

    /// Reads what [`write_to`](Self::write_to) wrote, up to its end and not beyond. Meant for a
    /// thread that may take its time; `source` is best buffered.
    ///
    /// Whatever the bytes are, it takes no more memory than one chunk and what the head says the
    /// records count, which is at most [`QUOTA_BYTES_MAX`].
    pub fn read_from(source: &mut impl Read) -> Result<Self, RestoreError> {
        let mut reader = Reader {
            source,
            sum: 0,
            records: 0,
        };
        let head = reader.head()?;
        let mut view = Self {
            position: head.position,
            revision: head.revision,
            quota_bytes: head.quota_bytes,
            ..Self::default()
        };
        let mut chunk = Vec::new();
        let mut last = Key::default();
        let stated = loop {
            if let Some(hash) = reader.next(&mut chunk)? {
                break hash;
            }
            let mut rest = chunk.as_slice();
            while !rest.is_empty() {
                let record = take_record(&mut rest).ok_or_else(|| reader.malformed("cut off"))?;
                check_record(&record, &last, &view, &head)
                    .map_err(|what| reader.malformed(what))?;
                last = record.key.clone();
                view.insert(Arc::new(record));
                reader.records += 1;
            }
        };
        if view.used_bytes != head.used_bytes || reader.records != head.count {
            return Err(reader.malformed("the head tells of more records"));
        }
        match view.hash() {
            found if found == stated => Ok(view),
            found => Err(RestoreError::Hash { stated, found }),
        }
    }
}

fn write_chunk(out: &mut impl Write, sum: u32, chunk: &[u8]) -> io::Result<u32> {
    #[expect(
        clippy::expect_used,
        reason = "a chunk is at most CHUNK_BYTES_MAX long"
    )]
    let length = u32::try_from(chunk.len())
        .expect("a chunk is short")
        .to_le_bytes();
    let sum = crc32c_append(crc32c_append(sum, &length), chunk);
    out.write_all(&length)?;
    out.write_all(&sum.to_le_bytes())?;
    out.write_all(chunk)?;
    Ok(sum)
}

#[expect(
    clippy::expect_used,
    reason = "keys and values are at most 1 KiB and 1 MiB long"
)]
fn put_record(chunk: &mut Vec<u8>, record: &Record) {
    chunk.put_u16_le(u16::try_from(record.key.len()).expect("a key is short"));
    chunk.put_u32_le(u32::try_from(record.value.len()).expect("a value is short"));
    chunk.put_u64_le(record.created.0);
    chunk.put_u64_le(record.modified.0);
    chunk.put_u64_le(record.version);
    chunk.put_slice(&record.key);
    chunk.put_slice(&record.value);
}

/// Takes one record off the front, or nothing if it is not whole.
fn take_record(rest: &mut &[u8]) -> Option<Record> {
    let key_bytes = usize::from(rest.try_get_u16_le().ok()?);
    let value_bytes = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    let created = Revision(rest.try_get_u64_le().ok()?);
    let modified = Revision(rest.try_get_u64_le().ok()?);
    let version = rest.try_get_u64_le().ok()?;
    let (key, behind) = rest.split_at_checked(key_bytes)?;
    let (value, behind) = behind.split_at_checked(value_bytes)?;
    *rest = behind;
    let value = Bytes::copy_from_slice(value);
    Some(Record::new(key.into(), value, created, modified, version))
}

/// Says what is wrong with the next record of a view that is being read.
fn check_record(record: &Record, last: &Key, view: &View, head: &Head) -> Result<(), &'static str> {
    let (created, modified) = (record.created, record.modified);
    let wrong = [
        (record.key.is_empty(), "an empty key"),
        (record.key.len() > KEY_BYTES_MAX, "a key is too long"),
        (record.value.len() > VALUE_BYTES_MAX, "a value is too long"),
        (record.key <= *last, "a key is out of order"),
        (
            created <= Revision::START || created > modified || modified > head.revision,
            "a revision that never was",
        ),
        (
            record.version == 0
                || record.version > modified.0 - created.0.min(modified.0) + 1
                || (record.version == 1) != (created == modified),
            "a version that never was",
        ),
        (
            view.len() as u64 >= head.count
                || record.size_bytes() > head.used_bytes - view.used_bytes,
            "more records than the head tells of",
        ),
    ];
    match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, what)) => Err(what),
        None => Ok(()),
    }
}

/// What the head says.
struct Head {
    position: Position,
    revision: Revision,
    quota_bytes: u64,
    used_bytes: u64,
    count: u64,
}

impl Head {
    fn check(&self) -> Result<(), &'static str> {
        let index = self.position.index.0;
        let wrong = [
            (
                self.position.term > Term::MAX || index > i64::MAX as u64,
                "a position beyond 63 bits",
            ),
            (
                self.revision < Revision::START || self.revision.0 - 1 > index,
                "more changes than entries",
            ),
            (
                self.count >= self.revision.0.max(1),
                "more records than changes",
            ),
            (
                self.quota_bytes > QUOTA_BYTES_MAX || self.used_bytes > QUOTA_BYTES_MAX,
                "more bytes than any quota allows",
            ),
        ];
        match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, what)) => Err(what),
            None => Ok(()),
        }
    }
}

/// A source, and how far it was read.
struct Reader<'a, R> {
    source: &'a mut R,
    /// Of everything so far.
    sum: u32,
    records: u64,
}

impl<R: Read> Reader<'_, R> {
    fn head(&mut self) -> Result<Head, RestoreError> {
        let magic: [u8; 8] = self.take()?;
        if magic != MAGIC {
            return Err(RestoreError::Foreign);
        }
        let format: [u8; 4] = self.take()?;
        let given = u32::from_le_bytes(format);
        if given != FORMAT {
            return Err(RestoreError::Unsupported { given });
        }
        let fields: [u8; 6 * 8] = self.take()?;
        let stated = self.take()?;
        self.check_sum(stated, &[&magic, &format, &fields])?;
        let mut fields = fields.as_slice();
        let head = Head {
            position: Position {
                term: Term(fields.get_u64_le()),
                index: Index(fields.get_u64_le()),
            },
            revision: Revision(fields.get_u64_le()),
            quota_bytes: fields.get_u64_le(),
            used_bytes: fields.get_u64_le(),
            count: fields.get_u64_le(),
        };
        head.check().map_err(|what| self.malformed(what))?;
        Ok(head)
    }

    /// Reads the next chunk into `chunk`, or returns the hash in the tail.
    fn next(&mut self, chunk: &mut Vec<u8>) -> Result<Option<u64>, RestoreError> {
        let length: [u8; 4] = self.take()?;
        let stated = self.take()?;
        let bytes = u32::from_le_bytes(length) as usize;
        if bytes == 0 {
            let hash: [u8; 8] = self.take()?;
            self.check_sum(stated, &[&length, &hash])?;
            return Ok(Some(u64::from_le_bytes(hash)));
        }
        if bytes > CHUNK_BYTES_MAX {
            return Err(self.malformed("a chunk is too long"));
        }
        chunk.resize(bytes, 0);
        self.fill(chunk)?;
        self.check_sum(stated, &[&length, chunk])?;
        Ok(None)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], RestoreError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RestoreError> {
        let records = self.records;
        self.source
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => RestoreError::Truncated { records },
                _ => RestoreError::Io(error),
            })
    }

    fn check_sum(&mut self, stated: [u8; 4], parts: &[&[u8]]) -> Result<(), RestoreError> {
        self.sum = parts
            .iter()
            .fold(self.sum, |sum, part| crc32c_append(sum, part));
        let records = self.records;
        if self.sum == u32::from_le_bytes(stated) {
            Ok(())
        } else {
            Err(RestoreError::Sum { records })
        }
    }

    fn malformed(&self, what: &'static str) -> RestoreError {
        let records = self.records;
        RestoreError::Malformed { records, what }
    }
}

#[cfg(test)]
#[path = "snapshot_test.rs"]
mod tests;
