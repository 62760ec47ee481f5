//! One file of the log: where batches are written, and where recovery finds them again.

use super::disk::{SECTOR, fill_zeroes};
use super::layout::{
    BATCH_BYTES_MAX, BATCH_HEADER_BYTES, BatchHeader, End, NotASegment, SegmentHeader, VERSION,
    decode_record, seal_records, segment_name, whole_sectors,
};
use super::{Disk, DiskFile, Error, SECTOR_BYTES};
use crate::consensus::Record;

/// The longest segment there is.
pub(super) const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// How much recovery reads or writes at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// A segment, positioned behind its last batch.
#[derive(Debug)]
pub(super) struct Segment<F> {
    file: F,
    name: String,
    header: SegmentHeader,
    seed: u32,
    /// Where the next batch goes, and the chain there.
    end: End,
    /// Up to here it is known to be durable.
    synced: u64,
    /// The highest synced offset that a batch in here quotes: damage below it is rot (R22).
    proven: u64,
    /// The end of the last batch with records.
    content: u64,
}

impl<F: DiskFile> Segment<F> {
    /// Begins a segment in a file that is as long as the header says. Nothing is durable yet.
    pub(super) fn begin(file: F, header: SegmentHeader) -> Result<Self, Error> {
        let name = segment_name(header.sequence);
        let (sector, chain) = header.encode();
        file.write_at(&sector, 0)
            .map_err(Error::io("write", &name))?;
        Ok(Self::positioned(file, header, chain))
    }

    fn positioned(file: F, header: SegmentHeader, chain: u32) -> Self {
        Self {
            file,
            name: segment_name(header.sequence),
            seed: header.seed(),
            end: End {
                offset: SECTOR_BYTES,
                chain,
            },
            synced: 0,
            proven: 0,
            content: SECTOR_BYTES,
            header,
        }
    }

    /// Opens the segment of that sequence and reads its header.
    pub(super) fn open<D: Disk<File = F>>(disk: &D, sequence: u64) -> Result<Self, Error> {
        let name = segment_name(sequence);
        let file = disk.open(&name).map_err(Error::io("open", &name))?;
        let length = file.length().map_err(Error::io("open", &name))?;
        let mut sector = [0; SECTOR];
        if length < SECTOR_BYTES {
            return Err(Error::rotten(
                &name,
                length,
                "it ends before its header does",
            ));
        }
        (file.read_at(&mut sector, 0)).map_err(Error::io("read", &name))?;
        let (header, chain) = match SegmentHeader::decode(&sector) {
            Ok(found) => found,
            Err(NotASegment::Version(found)) => {
                return Err(Error::OtherFormat {
                    file: name,
                    found,
                    supported: VERSION,
                });
            }
            Err(NotASegment::Damaged) => {
                return Err(Error::rotten(
                    &name,
                    0,
                    "its header does not match its checksum",
                ));
            }
        };
        if header.sequence != sequence {
            return Err(Error::rotten(
                &name,
                0,
                "it is another segment under this name",
            ));
        }
        if header.bytes != length || length > SEGMENT_BYTES_MAX {
            return Err(Error::rotten(
                &name,
                length,
                "its length is not what its header says",
            ));
        }
        Ok(Self::positioned(file, header, chain))
    }

    /// What the first sector says.
    pub(super) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// The name of its file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where its content ends.
    pub(super) fn end(&self) -> End {
        self.end
    }

    /// Whether a batch with that many bytes of records still fits in. A sector for the mark that
    /// proves it is left free.
    pub(super) fn has_room(&self, body_bytes: usize) -> bool {
        let batch = whole_sectors(BATCH_HEADER_BYTES + body_bytes) as u64;
        batch + SECTOR_BYTES <= self.left()
    }

    /// The bytes behind the end.
    fn left(&self) -> u64 {
        self.header.bytes - self.end.offset
    }

    /// Writes a batch, as one write. `batch` has room for the header, then the encoded records.
    pub(super) fn write(&mut self, batch: &mut Vec<u8>, records: u32) -> Result<(), Error> {
        let body_bytes = batch.len() - BATCH_HEADER_BYTES;
        assert!(body_bytes <= BATCH_BYTES_MAX && whole_sectors(batch.len()) as u64 <= self.left());
        let header = BatchHeader {
            body_bytes: u32::try_from(body_bytes).unwrap_or(u32::MAX),
            records,
            chain: self.end.chain,
            synced: self.synced,
            offset: self.end.offset,
        };
        let (bytes, crc) = header.encode(self.seed);
        batch[..BATCH_HEADER_BYTES].copy_from_slice(&bytes);
        let chain = seal_records(&mut batch[BATCH_HEADER_BYTES..], crc);
        batch.resize(whole_sectors(batch.len()), 0);
        (self.file.write_at(batch, self.end.offset)).map_err(Error::io("write", &self.name))?;
        self.end = End {
            offset: self.end.offset + batch.len() as u64,
            chain,
        };
        self.proven = self.synced;
        if records > 0 {
            self.content = self.end.offset;
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        if self.synced < self.end.offset {
            self.file.sync().map_err(Error::io("sync", &self.name))?;
            self.synced = self.end.offset;
        }
        Ok(())
    }

    /// Whether there are records that no later batch proves to be durable.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.proven < self.content
    }

    /// Goes through the batches from the beginning, hands the records to `sink`, and stops behind
    /// the last whole batch. Returns what it found there instead of another one.
    pub(super) fn scan(
        &mut self,
        mut sink: impl FnMut(Record) -> Result<(), &'static str>,
    ) -> Result<&'static str, Error> {
        let mut bytes = Vec::new();
        let mut records = Vec::new();
        loop {
            let found = match self.read_batch(&mut bytes, &mut records)? {
                Ok(found) => found,
                Err(what) => return Ok(what),
            };
            for record in records.drain(..) {
                sink(record).map_err(|what| Error::rotten(&self.name, self.end.offset, what))?;
            }
            self.end.offset += bytes.len() as u64;
            self.end.chain = found.1;
            self.proven = self.proven.max(found.0.synced);
            if found.0.records > 0 {
                self.content = self.end.offset;
            }
        }
    }

    /// Reads the batch at the end into `bytes` and `records`; its header and the chain behind it,
    /// or why there is none.
    fn read_batch(
        &self,
        bytes: &mut Vec<u8>,
        records: &mut Vec<Record>,
    ) -> Result<Result<(BatchHeader, u32), &'static str>, Error> {
        let offset = self.end.offset;
        let room = self.left();
        if room < SECTOR_BYTES {
            return Ok(Err("the segment ends"));
        }
        let read = |bytes: &mut [u8], at| {
            (self.file.read_at(bytes, at)).map_err(Error::io("read", &self.name))
        };
        bytes.resize(SECTOR, 0);
        read(bytes, offset)?;
        let Some((header, crc)) = BatchHeader::decode(bytes, self.seed, offset) else {
            return Ok(Err("no batch begins here"));
        };
        if header.chain != self.end.chain {
            return Ok(Err("a batch does not continue the one before it"));
        }
        // Only now is the length believed, and only within bounds.
        let body_bytes = header.body_bytes as usize;
        let whole = whole_sectors(BATCH_HEADER_BYTES.saturating_add(body_bytes));
        if body_bytes > BATCH_BYTES_MAX || whole as u64 > room {
            return Ok(Err("a batch is longer than its segment"));
        }
        bytes.resize(whole, 0);
        let (first, rest) = bytes.split_at_mut(SECTOR);
        read(rest, offset + first.len() as u64)?;
        let (mut body, padding) = bytes[BATCH_HEADER_BYTES..].split_at(body_bytes);
        let mut chain = crc;
        records.clear();
        while !body.is_empty() {
            let Some(record) = decode_record(&mut body, &mut chain) else {
                return Ok(Err("a record does not match its checksum"));
            };
            records.push(record);
        }
        let counted = u32::try_from(records.len()) == Ok(header.records);
        if !counted || padding.iter().any(|byte| *byte != 0) {
            return Ok(Err("a batch is not filled up as it was written"));
        }
        Ok(Ok((header, chain)))
    }

    /// Decides about what [`Segment::scan`] stopped at in the newest segment: below an offset that
    /// was known to be durable it is rot, and an error; else it is a torn write, to be cut (R22).
    pub(super) fn judge(&mut self, what: &'static str) -> Result<(), Error> {
        let end = self.end;
        let mut piece = vec![0; PIECE_BYTES];
        let mut offset = end.offset;
        while offset < self.header.bytes {
            let piece = self.read_piece(&mut piece, offset, self.header.bytes)?;
            for sector in piece.chunks(SECTOR) {
                // A header proves what was durable before it even if it stands behind damage.
                if let Some((header, _)) = BatchHeader::decode(sector, self.seed, offset) {
                    self.proven = self.proven.max(header.synced);
                    // All before it was durable, but was not what is there now: a lost write.
                    let follows_another = offset == end.offset && header.chain != end.chain;
                    if follows_another && header.synced == offset {
                        return Err(Error::rotten(&self.name, offset, what));
                    }
                }
                offset += sector.len() as u64;
            }
        }
        if self.end.offset < self.proven {
            return Err(Error::rotten(&self.name, self.end.offset, what));
        }
        Ok(())
    }

    /// Makes what was found durable, and everything behind it zero (R23).
    ///
    /// What is not proven is written again first: after a failed sync of an earlier life, the page
    /// cache may show what the disk never got and will never get by itself.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut offset = self.proven.max(SECTOR_BYTES);
        while offset < self.end.offset {
            let piece = self.read_piece(&mut piece, offset, self.end.offset)?;
            (self.file.write_at(piece, offset)).map_err(Error::io("write", &self.name))?;
            offset += piece.len() as u64;
        }
        (fill_zeroes(&self.file, self.end.offset, self.header.bytes))
            .and_then(|()| self.file.sync())
            .map_err(Error::io("clear the end of", &self.name))?;
        self.synced = self.end.offset;
        Ok(())
    }

    fn read_piece<'a>(&self, piece: &'a mut [u8], from: u64, to: u64) -> Result<&'a [u8], Error> {
        let left = usize::try_from(to - from).unwrap_or(usize::MAX);
        let length = left.min(piece.len());
        let piece = &mut piece[..length];
        (self.file.read_at(piece, from)).map_err(Error::io("read", &self.name))?;
        Ok(piece)
    }
}
