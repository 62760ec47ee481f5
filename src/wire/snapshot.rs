//! A snapshot on its way to a follower that the log no longer reaches.
//!
//! It goes over the leader's link: one `Begin`, chunks in order without a gap, one `End`. The
//! follower answers with an `Ack` on its own link to the leader, as often as it likes, so that the
//! leader knows how much to have under way. A new `Begin` voids what came of the one before it.

use bytes::{Bytes, BytesMut};

use super::check::{led_term, position as check_position};
use super::frame::append_body;
use super::malformed::{Malformed, at_most, required};
use super::message::{parse, position};
use super::send_error::SendError;
use super::{Kind, TooLarge, body, limits};
use crate::consensus::{Position, Term};

/// A part of a snapshot's transfer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Snapshot {
    /// A snapshot follows.
    Begin {
        /// The leader's term.
        term: Term,
        /// The last entry that the snapshot covers.
        position: Position,
        /// Its size.
        total_bytes: u64,
    },
    /// A piece of it.
    Chunk {
        /// Where the piece belongs, in bytes; pieces come in order and without a gap.
        offset: u64,
        /// The piece: not empty, at most [`limits::CHUNK_BYTES_MAX`].
        data: Bytes,
    },
    /// That was all of it.
    End {
        /// The CRC32C of all bytes.
        checksum: u32,
    },
    /// The receiver's answer, on its own link to the sender.
    Ack {
        /// Which snapshot.
        position: Position,
        /// How many bytes of it have come.
        received: u64,
        /// What became of it.
        delivery: Delivery,
    },
}

/// What became of a snapshot at its receiver.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Delivery {
    /// More is awaited.
    Coming,
    /// It came whole and is verified.
    Whole,
    /// It will not be taken; to be sent again, it begins anew.
    Failed,
}

impl Delivery {
    fn code(self) -> u32 {
        match self {
            Self::Coming => 1,
            Self::Whole => 2,
            Self::Failed => 3,
        }
    }

    fn of(code: u32) -> Result<Self, Malformed> {
        match code {
            1 => Ok(Self::Coming),
            2 => Ok(Self::Whole),
            3 => Ok(Self::Failed),
            _ => {
                let fault = format!("is {code}, which stands for nothing");
                Err(Malformed::new("SnapshotAck.delivery", fault))
            }
        }
    }
}

impl Snapshot {
    /// Appends it as one frame.
    pub(super) fn append(&self, out: &mut BytesMut) -> Result<(), SendError> {
        self.check()?;
        self.encode(out)?;
        Ok(())
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), TooLarge> {
        match self {
            Self::Begin {
                term,
                position,
                total_bytes,
            } => {
                let begin = body::SnapshotBegin {
                    term: term.0,
                    position: Some((*position).into()),
                    total_bytes: *total_bytes,
                };
                append_body(Kind::SnapshotBegin, &begin, out)
            }
            Self::Chunk { offset, data } => {
                let (offset, data) = (*offset, data.clone());
                append_body(
                    Kind::SnapshotChunk,
                    &body::SnapshotChunk { offset, data },
                    out,
                )
            }
            Self::End { checksum } => {
                let checksum = Some(*checksum);
                append_body(Kind::SnapshotEnd, &body::SnapshotEnd { checksum }, out)
            }
            Self::Ack {
                position,
                received,
                delivery,
            } => {
                let ack = body::SnapshotAck {
                    position: Some((*position).into()),
                    received: *received,
                    delivery: delivery.code(),
                };
                append_body(Kind::SnapshotAck, &ack, out)
            }
        }
    }

    /// Reads a body; `None` if `kind` is not one of a snapshot.
    pub(super) fn decode(kind: Kind, bytes: Bytes) -> Option<Result<Self, Malformed>> {
        let snapshot = match kind {
            Kind::SnapshotBegin => {
                parse("SnapshotBegin", bytes).and_then(|twin: body::SnapshotBegin| {
                    Ok(Self::Begin {
                        term: Term(twin.term),
                        position: position(twin.position, "SnapshotBegin.position")?,
                        total_bytes: twin.total_bytes,
                    })
                })
            }
            Kind::SnapshotChunk => {
                parse("SnapshotChunk", bytes).map(|twin: body::SnapshotChunk| Self::Chunk {
                    offset: twin.offset,
                    data: twin.data,
                })
            }
            Kind::SnapshotEnd => parse("SnapshotEnd", bytes).and_then(|twin: body::SnapshotEnd| {
                let checksum = required(twin.checksum, "SnapshotEnd.checksum")?;
                Ok(Self::End { checksum })
            }),
            Kind::SnapshotAck => parse("SnapshotAck", bytes).and_then(|twin: body::SnapshotAck| {
                Ok(Self::Ack {
                    position: position(twin.position, "SnapshotAck.position")?,
                    received: twin.received,
                    delivery: Delivery::of(twin.delivery)?,
                })
            }),
            _ => return None,
        };
        Some(snapshot.and_then(|snapshot| snapshot.check().map(|()| snapshot)))
    }

    /// Sizes stay below [`limits::INDEX_MAX`] too, so that an offset and a length can be added.
    fn check(&self) -> Result<(), Malformed> {
        match self {
            Self::Begin {
                term,
                position,
                total_bytes,
            } => {
                led_term(*term, "SnapshotBegin.term")?;
                covers("SnapshotBegin.position", *position, *term)?;
                at_most(*total_bytes, limits::INDEX_MAX, "SnapshotBegin.total_bytes")
            }
            Self::Chunk { offset, data } => {
                at_most(*offset, limits::INDEX_MAX, "SnapshotChunk.offset")?;
                if data.is_empty() {
                    return Err(Malformed::missing("SnapshotChunk.data"));
                }
                super::check::count(data.len(), limits::CHUNK_BYTES_MAX, "SnapshotChunk.data")
            }
            Self::End { .. } => Ok(()),
            Self::Ack {
                position, received, ..
            } => {
                covers("SnapshotAck.position", *position, Term::MAX)?;
                at_most(*received, limits::INDEX_MAX, "SnapshotAck.received")
            }
        }
    }
}

/// Refuses the position of a snapshot that covers nothing, or that term `now` cannot hold.
fn covers(field: &'static str, position: Position, now: Term) -> Result<(), Malformed> {
    if position == Position::START {
        return Err(Malformed::new(field, "is before every entry"));
    }
    check_position(position, now, field)
}
