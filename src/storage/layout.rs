//! The bytes of the log, format version 3. All integers are little-endian; [`super::Wal`] says
//! what they mean together.
//!
//! ```text
//! segment file "wal-<sequence, 16 hex digits>":
//!   sector 0      segment header       8 magic "rmbr-wal"   8 incarnation    8 end of the segment
//!                                      4 version            8 sequence         before this one
//!                                      4 zero               8 file length    4 chain there
//!                                                                            4 CRC; zeroes
//!   sector 1...   batches, each from a sector's beginning, filled up with zeroes
//!   then          zeroes, or what is left from an earlier use of the file
//!
//! batch:          header, 40 bytes     4 magic "btch"       4 chain before   4 zero
//!                                      4 bytes of records   8 synced offset  4 CRC
//!                                      4 count of records   8 own offset
//!                 records              4 length n   1 kind   n body   4 CRC
//! ```
//!
//! Every CRC is a CRC-32C. The one of a segment header covers what is before it. The one of a batch
//! header continues a seed made of incarnation and sequence, so nothing of another disk or of an
//! earlier use of the file passes. The one of a record continues the CRC before it: the batch
//! header's, or the last record's. The last CRC of a batch is the *chain* that the next header
//! quotes; a batch without records passes on its header's (R22).
//!
//! ```text
//! kind 1  hard state     8 term    1 has voted   8 id, 8 incarnation of who got the vote
//!      2  no-op entry    8 term    8 index
//!      3  command entry  8 term    8 index       the command
//!      4  base           8 term    8 index       1 keep log
//!      5  peer           8 id      8 incarnation 8 boot, 0 if the peer is forgotten
//!      6  configuration  8 term    8 index       8 by which entry its register was made, or 0
//!         entry                                  33 per member:
//!                                                  8 id, 8 incarnation, 8 and 8 since which entry,
//!                                                  1: 1 if it votes, 2 if it is outgoing, 3 both
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

use super::disk::SECTOR;
use crate::consensus::{
    Boot, Configuration, Entry, HardState, Incarnation, Index, MEMBERS_MAX, MemberId, NodeId,
    Payload, PeerRecord, Position, Record, Seat, Term,
};

/// The version of the format.
pub(super) const VERSION: u32 = 3;
/// Bytes of a batch header.
pub(super) const BATCH_HEADER_BYTES: usize = 40;
/// Bytes that a record costs beside its body.
const RECORD_OVERHEAD_BYTES: usize = 9;
/// The most bytes of records in one batch; a longer one is not believed.
pub(super) const BATCH_BYTES_MAX: usize = (4 << 20) + (64 << 10);

/// Bytes of a member with its seat.
const SEAT_BYTES: usize = 33;
/// Bytes of what is in a configuration beside its members.
const REGISTER_BYTES: usize = 8;
/// The most bytes of a configuration.
pub(super) const CONFIGURATION_BYTES_MAX: usize = configuration_bytes(MEMBERS_MAX);
const SEGMENT_MAGIC: &[u8; 8] = b"rmbr-wal";
const BATCH_MAGIC: &[u8; 4] = b"btch";

/// Takes integers from the front of bytes that may be too short.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// Either of two values; a third is damage.
    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn member(&mut self) -> Option<MemberId> {
        Some(MemberId {
            id: NodeId(self.u64()?),
            incarnation: Incarnation(self.u64()?),
        })
    }

    pub(super) fn position(&mut self) -> Option<Position> {
        Some(Position {
            term: Term(self.u64()?),
            index: Index(self.u64()?),
        })
    }
}

/// The name of a segment's file.
pub(super) fn segment_name(sequence: u64) -> String {
    format!("wal-{sequence:016x}")
}

/// The sequence of a segment's file, if it is one's name.
pub(super) fn segment_sequence(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("wal-")?;
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(sequence) == name).then_some(sequence)
}

/// Rounds up to whole sectors.
pub(super) fn whole_sectors(bytes: usize) -> usize {
    bytes.next_multiple_of(SECTOR)
}

/// Where the content of a segment ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct End {
    /// Behind the last batch.
    pub(super) offset: u64,
    /// The last CRC.
    pub(super) chain: u32,
}

/// What the first sector of a segment says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    /// The disk that the log belongs to.
    pub(super) incarnation: Incarnation,
    /// Consecutive.
    pub(super) sequence: u64,
    /// The length of the file.
    pub(super) bytes: u64,
    /// Where the segment before this one ends; all of that one was durable before this one began.
    pub(super) before: End,
}

/// Why a sector is not the header of a segment.
pub(super) enum NotASegment {
    /// Its version.
    Version(u32),
    /// What is wrong with it.
    Damaged,
}

impl SegmentHeader {
    /// The header's sector and its CRC, where the chain of the segment begins.
    pub(super) fn encode(&self) -> ([u8; SECTOR], u32) {
        let mut bytes = Vec::with_capacity(SECTOR);
        bytes.extend_from_slice(SEGMENT_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        bytes.extend_from_slice(&self.incarnation.0.to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.bytes.to_le_bytes());
        bytes.extend_from_slice(&self.before.offset.to_le_bytes());
        bytes.extend_from_slice(&self.before.chain.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut sector = [0; SECTOR];
        sector[..bytes.len()].copy_from_slice(&bytes);
        (sector, crc)
    }

    /// Reads a header and its CRC.
    pub(super) fn decode(sector: &[u8; SECTOR]) -> Result<(Self, u32), NotASegment> {
        let mut fields = Fields(sector);
        if fields.take().as_ref() != Some(SEGMENT_MAGIC) {
            return Err(NotASegment::Damaged);
        }
        let mut read = || {
            let version = fields.u32()?;
            fields.u32()?;
            let header = Self {
                incarnation: Incarnation(fields.u64()?),
                sequence: fields.u64()?,
                bytes: fields.u64()?,
                before: End {
                    offset: fields.u64()?,
                    chain: fields.u32()?,
                },
            };
            Some((version, header))
        };
        let (version, header) = read().ok_or(NotASegment::Damaged)?;
        let (encoded, crc) = header.encode();
        if encoded == *sector && header.sequence < u64::MAX {
            Ok((header, crc))
        } else if version != VERSION && is_intact(sector) {
            Err(NotASegment::Version(version))
        } else {
            Err(NotASegment::Damaged)
        }
    }

    /// What the CRCs of this segment's batches begin with.
    pub(super) fn seed(&self) -> u32 {
        let incarnation = crc32c::crc32c(&self.incarnation.0.to_le_bytes());
        crc32c::crc32c_append(incarnation, &self.sequence.to_le_bytes())
    }
}

/// Whether the CRC of a segment header of any version holds.
fn is_intact(sector: &[u8; SECTOR]) -> bool {
    let (covered, rest) = sector.split_at(52);
    Fields(rest).u32() == Some(crc32c::crc32c(covered))
}

/// What a batch says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BatchHeader {
    /// Bytes of the records.
    pub(super) body_bytes: u32,
    /// How many they are; none in a mark.
    pub(super) records: u32,
    /// The chain before this batch.
    pub(super) chain: u32,
    /// Up to here the segment was known to be durable when this was written (R22).
    pub(super) synced: u64,
    /// Where the batch stands.
    pub(super) offset: u64,
}

impl BatchHeader {
    /// The header's bytes and its CRC.
    pub(super) fn encode(&self, seed: u32) -> ([u8; BATCH_HEADER_BYTES], u32) {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        bytes[0..4].copy_from_slice(BATCH_MAGIC);
        bytes[4..8].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.records.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.chain.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.synced.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.offset.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads the header of a batch that stands at `offset` of a segment with this seed, and its
    /// CRC. Anything else is `None`: zeroes, damage, another use of the file.
    pub(super) fn decode(bytes: &[u8], seed: u32, offset: u64) -> Option<(Self, u32)> {
        let bytes = bytes.first_chunk::<BATCH_HEADER_BYTES>()?;
        let mut fields = Fields(bytes);
        fields.u32()?;
        let header = Self {
            body_bytes: fields.u32()?,
            records: fields.u32()?,
            chain: fields.u32()?,
            synced: fields.u64()?,
            offset: fields.u64()?,
        };
        let (encoded, crc) = header.encode(seed);
        let believable = header.offset == offset && header.synced <= offset;
        (encoded == *bytes && believable).then_some((header, crc))
    }
}

/// The bytes that a record takes.
pub(super) fn record_bytes(record: &Record) -> usize {
    RECORD_OVERHEAD_BYTES
        + match record {
            Record::HardState(_) => 25,
            Record::Base { .. } => 17,
            Record::Peer(_) => 24,
            Record::Entry(entry) => match &entry.payload {
                Payload::Noop => 16,
                Payload::Command(command) => 16 + command.len(),
                Payload::Configuration(configuration) => {
                    16 + configuration_bytes(configuration.seats().len())
                }
            },
        }
}

/// Adds a record to `to`, without its CRC, for which it leaves room.
///
/// A record of more than 4 GiB does not exist: the log refuses it long before.
pub(super) fn encode_record(record: &Record, to: &mut Vec<u8>) {
    let start = to.len();
    let body = record_bytes(record) - RECORD_OVERHEAD_BYTES;
    to.extend_from_slice(&u32::try_from(body).unwrap_or(u32::MAX).to_le_bytes());
    match record {
        Record::HardState(HardState { term, vote }) => {
            to.push(1);
            to.extend_from_slice(&term.0.to_le_bytes());
            to.push(u8::from(vote.is_some()));
            match vote {
                Some(member) => encode_member(*member, to),
                None => to.extend_from_slice(&[0; 16]),
            }
        }
        Record::Entry(entry) => {
            to.push(match &entry.payload {
                Payload::Noop => 2,
                Payload::Command(_) => 3,
                Payload::Configuration(_) => 6,
            });
            encode_position(entry.position(), to);
            match &entry.payload {
                Payload::Noop => {}
                Payload::Command(command) => to.extend_from_slice(command),
                Payload::Configuration(configuration) => {
                    encode_configuration(configuration, to);
                }
            }
        }
        Record::Base { position, keep_log } => {
            to.push(4);
            encode_position(*position, to);
            to.push(u8::from(*keep_log));
        }
        Record::Peer(peer) => {
            to.push(5);
            encode_member(peer.member, to);
            to.extend_from_slice(&peer.boot.0.to_le_bytes());
        }
    }
    to.extend_from_slice(&[0; 4]);
    debug_assert_eq!(to.len() - start, record_bytes(record));
}

fn encode_member(member: MemberId, to: &mut Vec<u8>) {
    to.extend_from_slice(&member.id.0.to_le_bytes());
    to.extend_from_slice(&member.incarnation.0.to_le_bytes());
}

/// The bytes that a configuration of so many members takes.
pub(super) const fn configuration_bytes(members: usize) -> usize {
    REGISTER_BYTES + SEAT_BYTES * members
}

/// Adds a configuration to `to`.
pub(super) fn encode_configuration(configuration: &Configuration, to: &mut Vec<u8>) {
    let register = configuration.register().unwrap_or(Position::START.index);
    to.extend_from_slice(&register.0.to_le_bytes());
    for (member, seat) in configuration.seats() {
        encode_member(member, to);
        encode_position(seat.since, to);
        to.push(u8::from(seat.votes) | u8::from(seat.outgoing) << 1);
    }
}

/// Reads a configuration, to the last byte; its seats stand in order, each once.
pub(super) fn decode_configuration(fields: &mut Fields<'_>) -> Option<Configuration> {
    let register = Some(Index(fields.u64()?)).filter(|made| *made > Position::START.index);
    let mut seats = BTreeMap::new();
    while !fields.0.is_empty() {
        let member = fields.member()?;
        let since = fields.position()?;
        let seat = match fields.u8()? {
            counts @ 0..=3 => Seat {
                since,
                votes: counts & 1 != 0,
                outgoing: counts & 2 != 0,
            },
            _ => return None,
        };
        let is_in_order = seats
            .last_key_value()
            .is_none_or(|(last, _)| *last < member);
        if !is_in_order || seats.len() == MEMBERS_MAX {
            return None;
        }
        seats.insert(member, seat);
    }
    Some(Configuration::new(seats)?.with_register(register))
}

pub(super) fn encode_position(position: Position, to: &mut Vec<u8>) {
    to.extend_from_slice(&position.term.0.to_le_bytes());
    to.extend_from_slice(&position.index.0.to_le_bytes());
}

/// Fills in the CRCs of the records in `body`, which continue `chain`; returns the last.
pub(super) fn seal_records(mut body: &mut [u8], mut chain: u32) -> u32 {
    while let Some(length) = Fields(body).u32() {
        let covered = length as usize + RECORD_OVERHEAD_BYTES - 4;
        let (record, rest) = body.split_at_mut(covered + 4);
        let (covered, crc) = record.split_at_mut(covered);
        chain = crc32c::crc32c_append(chain, covered);
        crc.copy_from_slice(&chain.to_le_bytes());
        body = rest;
    }
    chain
}

/// Takes the next record from `body` if its CRC continues `chain`, and moves both behind it.
pub(super) fn decode_record(body: &mut &[u8], chain: &mut u32) -> Option<Record> {
    let length = usize::try_from(Fields(body).u32()?).ok()?;
    let (covered, rest) = body.split_at_checked(length.checked_add(RECORD_OVERHEAD_BYTES - 4)?)?;
    let mut fields = Fields(rest);
    let crc = crc32c::crc32c_append(*chain, covered);
    if fields.u32()? != crc {
        return None;
    }
    *body = fields.0;
    *chain = crc;
    decode_body(&covered[4..])
}

/// Reads kind and body of a record.
fn decode_body(bytes: &[u8]) -> Option<Record> {
    let mut fields = Fields(bytes);
    let record = match fields.u8()? {
        1 => {
            let term = Term(fields.u64()?);
            let voted = fields.flag()?;
            let member = fields.member()?;
            Record::HardState(HardState {
                term,
                vote: voted.then_some(member),
            })
        }
        kind @ (2 | 3 | 6) => {
            let Position { term, index } = fields.position()?;
            let payload = match kind {
                2 => Payload::Noop,
                3 => Payload::Command(Bytes::copy_from_slice(std::mem::take(&mut fields.0))),
                _ => Payload::Configuration(decode_configuration(&mut fields)?),
            };
            Record::Entry(Entry {
                term,
                index,
                payload,
            })
        }
        4 => Record::Base {
            position: fields.position()?,
            keep_log: fields.flag()?,
        },
        5 => Record::Peer(PeerRecord {
            member: fields.member()?,
            boot: Boot(fields.u64()?),
        }),
        _ => return None,
    };
    fields.0.is_empty().then_some(record)
}
