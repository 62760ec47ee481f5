//! The frame: what surrounds every body on a link.
//!
//! ```text
//!   offset  size  what                                    (all numbers little-endian)
//!        0     4  length of the body in bytes
//!        4     2  kind of the body
//!        6     2  zero, reserved
//!        8     4  CRC32C of the body
//!       12     4  CRC32C of the twelve bytes before
//!       16     -  the body
//! ```
//!
//! The header has its own checksum so that a damaged length is found at once, rather than waited
//! for. The length is held against the limit of its kind before a byte of the body is awaited.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::limits;

/// The size of a frame's header, in bytes.
pub const HEADER_BYTES: usize = 16;

/// What a frame's body is. The numbers are for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u16)]
pub enum Kind {
    /// [`Introduction`](super::Introduction), the first frame of both sides.
    Introduction = 1,
    /// [`Verdict`](super::Verdict), the acceptor's last frame.
    Verdict = 2,
    /// [`consensus::Message::VoteRequest`](crate::consensus::Message::VoteRequest)
    VoteRequest = 16,
    /// [`consensus::Message::VoteReply`](crate::consensus::Message::VoteReply)
    VoteReply = 17,
    /// [`consensus::Message::Append`](crate::consensus::Message::Append)
    Append = 18,
    /// [`consensus::Message::AppendReply`](crate::consensus::Message::AppendReply)
    AppendReply = 19,
    /// [`consensus::Message::Beat`](crate::consensus::Message::Beat)
    Beat = 20,
    /// [`consensus::Message::BeatReply`](crate::consensus::Message::BeatReply)
    BeatReply = 21,
    /// [`consensus::Message::TimeoutNow`](crate::consensus::Message::TimeoutNow)
    TimeoutNow = 22,
    /// [`consensus::Message::Forward`](crate::consensus::Message::Forward)
    Forward = 23,
    /// [`consensus::Message::ForwardReply`](crate::consensus::Message::ForwardReply)
    ForwardReply = 24,
    /// [`consensus::Message::ReadRequest`](crate::consensus::Message::ReadRequest)
    ReadRequest = 25,
    /// [`consensus::Message::ReadReply`](crate::consensus::Message::ReadReply)
    ReadReply = 26,
    /// [`consensus::Message::Commit`](crate::consensus::Message::Commit)
    Commit = 27,
    /// [`consensus::Message::SupplyRequest`](crate::consensus::Message::SupplyRequest)
    SupplyRequest = 28,
    /// [`consensus::Message::Supply`](crate::consensus::Message::Supply)
    Supply = 29,
    /// [`Snapshot::Begin`](super::Snapshot::Begin)
    SnapshotBegin = 32,
    /// [`Snapshot::Chunk`](super::Snapshot::Chunk)
    SnapshotChunk = 33,
    /// [`Snapshot::End`](super::Snapshot::End)
    SnapshotEnd = 34,
    /// [`Snapshot::Ack`](super::Snapshot::Ack)
    SnapshotAck = 35,
}

/// When a kind of frame may come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// While the peers introduce themselves.
    Handshake,
    /// Once the link is up.
    Link,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "before the link is up",
            Self::Link => "once the link is up",
        })
    }
}

impl Kind {
    /// Every kind of this wire version.
    pub const ALL: [Self; 20] = [
        Self::Introduction,
        Self::Verdict,
        Self::VoteRequest,
        Self::VoteReply,
        Self::Append,
        Self::AppendReply,
        Self::Beat,
        Self::BeatReply,
        Self::TimeoutNow,
        Self::Forward,
        Self::ForwardReply,
        Self::ReadRequest,
        Self::ReadReply,
        Self::Commit,
        Self::SupplyRequest,
        Self::Supply,
        Self::SnapshotBegin,
        Self::SnapshotChunk,
        Self::SnapshotEnd,
        Self::SnapshotAck,
    ];

    /// The number that stands for it in a header.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The kind that a number stands for.
    pub fn of(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The longest body, in bytes. Small bodies have room for fields of later versions.
    pub fn body_bytes_max(self) -> usize {
        match self {
            Self::Introduction => 8 << 10,
            Self::Verdict => limits::WELCOME_BYTES_MAX,
            Self::Append | Self::Supply | Self::Forward => limits::BATCH_BYTES_MAX,
            Self::Beat => 1 << 10,
            Self::SnapshotChunk => limits::CHUNK_BYTES_MAX.saturating_add(64),
            _ => 256,
        }
    }

    /// When it may come.
    pub fn phase(self) -> Phase {
        match self {
            Self::Introduction | Self::Verdict => Phase::Handshake,
            _ => Phase::Link,
        }
    }
}

/// One frame of a stream, its checksum verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Where in the stream its header began, in bytes.
    pub offset: u64,
    /// What its body is.
    pub kind: Kind,
    /// The body: a slice of the buffer it was read into.
    pub body: Bytes,
}

/// A body longer than its kind allows; nothing was written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind:?} of {length} bytes is too long, at most {} are allowed", .kind.body_bytes_max())]
pub struct TooLarge {
    /// What it is.
    pub kind: Kind,
    /// Its length, in bytes.
    pub length: usize,
}

/// What is wrong with a stream of frames, and where. It is final: the link must be closed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("frame at byte {offset} of the stream: {fault}")]
pub struct FrameError {
    /// Where in the stream the frame's header began, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub fault: FrameFault,
}

/// What is wrong with a frame.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameFault {
    /// The header is damaged, or is none.
    #[error("its header has checksum {found:08x}, {computed:08x} is right; the stream is damaged")]
    HeaderChecksum {
        /// The checksum that came.
        found: u32,
        /// The checksum of what came.
        computed: u32,
    },
    /// The reserved bytes are not zero.
    #[error("its reserved bytes are {0:04x}, not zero, in wire version {1}")]
    Reserved(u16, u16),
    /// No such kind in the negotiated version.
    #[error("its kind {0} does not exist in wire version {1}")]
    UnknownKind(u16, u16),
    /// A kind that may not come now.
    #[error("{0:?} has no place {1}")]
    OutOfPhase(Kind, Phase),
    /// A body longer than its kind allows.
    #[error(transparent)]
    TooLarge(TooLarge),
    /// The body is damaged.
    #[error("its body has checksum {found:08x}, {computed:08x} is right; the stream is damaged")]
    BodyChecksum {
        /// The checksum that came.
        found: u32,
        /// The checksum of what came.
        computed: u32,
    },
    /// The stream ended inside the frame.
    #[error("the stream ended inside it, {missing} bytes too early")]
    Truncated {
        /// How many bytes of the header or, if that is whole, of the body did not come.
        missing: usize,
    },
}

/// A header whose checksum and limits hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) length: usize,
    pub(super) body_checksum: u32,
}

impl Header {
    /// Reads a header under a negotiated `version`.
    pub(super) fn parse(bytes: [u8; HEADER_BYTES], version: u16) -> Result<Self, FrameFault> {
        let [
            l0,
            l1,
            l2,
            l3,
            k0,
            k1,
            r0,
            r1,
            b0,
            b1,
            b2,
            b3,
            h0,
            h1,
            h2,
            h3,
        ] = bytes;
        let found = u32::from_le_bytes([h0, h1, h2, h3]);
        let computed = crc32c::crc32c(&[l0, l1, l2, l3, k0, k1, r0, r1, b0, b1, b2, b3]);
        if found != computed {
            return Err(FrameFault::HeaderChecksum { found, computed });
        }
        let reserved = u16::from_le_bytes([r0, r1]);
        if reserved != 0 {
            return Err(FrameFault::Reserved(reserved, version));
        }
        let code = u16::from_le_bytes([k0, k1]);
        let kind = Kind::of(code).ok_or(FrameFault::UnknownKind(code, version))?;
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if length > kind.body_bytes_max() {
            return Err(FrameFault::TooLarge(TooLarge { kind, length }));
        }
        Ok(Self {
            kind,
            length,
            body_checksum: u32::from_le_bytes([b0, b1, b2, b3]),
        })
    }
}

/// Appends a frame with a body that is already bytes. Many frames in one buffer are one write.
pub fn append_frame(kind: Kind, body: &[u8], out: &mut BytesMut) -> Result<(), TooLarge> {
    append_with(kind, body.len(), out, |out| out.put_slice(body))
}

/// Appends a frame around an encoded twin.
pub(super) fn append_body(
    kind: Kind,
    body: &impl prost::Message,
    out: &mut BytesMut,
) -> Result<(), TooLarge> {
    append_with(kind, body.encoded_len(), out, |out| body.encode_raw(out))
}

fn append_with(
    kind: Kind,
    length: usize,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut),
) -> Result<(), TooLarge> {
    let short = u32::try_from(length).ok();
    let Some(short) = short.filter(|_| length <= kind.body_bytes_max()) else {
        return Err(TooLarge { kind, length });
    };
    let start = out.len();
    out.reserve(HEADER_BYTES.saturating_add(length));
    out.put_bytes(0, HEADER_BYTES);
    write(out);
    let frame = out.get_mut(start..);
    let Some((header, body)) = frame.and_then(<[u8]>::split_first_chunk_mut) else {
        unreachable!("the header's place was put there above");
    };
    assert_eq!(body.len(), length, "a body is as long as it said");
    *header = header_bytes(short, kind, crc32c::crc32c(body));
    Ok(())
}

fn header_bytes(length: u32, kind: Kind, body_checksum: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let mut fields = &mut header[..12];
    fields.put_u32_le(length);
    fields.put_u16_le(kind.code());
    fields.put_u16_le(0);
    fields.put_u32_le(body_checksum);
    let checksum = crc32c::crc32c(&header[..12]);
    (&mut header[12..]).put_u32_le(checksum);
    header
}
