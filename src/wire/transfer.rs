//! A snapshot that is coming in: whether each part is the one that was due.
//!
//! It keeps no bytes; the receiver writes each piece where it likes once it has passed here.

use super::limits;
use crate::consensus::{Position, Term};

/// The state of one incoming snapshot, begun by a [`Snapshot::Begin`](super::Snapshot::Begin).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    term: Term,
    position: Position,
    total_bytes: u64,
    received: u64,
    checksum: u32,
}

/// Why an incoming snapshot is given up. It must begin anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransferError {
    /// A piece is not the next one.
    #[error("a piece for byte {given} of the snapshot came where byte {due} was due")]
    Gap {
        /// Where the piece belongs.
        given: u64,
        /// Where the next piece belongs.
        due: u64,
    },
    /// More came than was announced.
    #[error("the snapshot grew to {received} bytes, {total_bytes} were announced")]
    TooLong {
        /// How many bytes came.
        received: u64,
        /// How many were announced.
        total_bytes: u64,
    },
    /// Less came than was announced.
    #[error("the snapshot ended after {received} bytes, {total_bytes} were announced")]
    TooShort {
        /// How many bytes came.
        received: u64,
        /// How many were announced.
        total_bytes: u64,
    },
    /// What came is not what was sent.
    #[error("the snapshot has checksum {computed:08x}, {given:08x} was sent; it was damaged")]
    Checksum {
        /// The sender's checksum.
        given: u32,
        /// The checksum of what came.
        computed: u32,
    },
}

impl Transfer {
    /// A snapshot of `total_bytes` that covers everything up to `position`, sent by the leader of
    /// `term`. Whether there is room for it is the caller's to ask first.
    pub fn new(term: Term, position: Position, total_bytes: u64) -> Self {
        Self {
            term,
            position,
            total_bytes,
            received: 0,
            checksum: 0,
        }
    }

    /// The term that the sender leads.
    pub fn term(&self) -> Term {
        self.term
    }

    /// The last entry that the snapshot covers.
    pub fn position(&self) -> Position {
        self.position
    }

    /// How many bytes have come.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes a piece of a [`Snapshot::Chunk`](super::Snapshot::Chunk) into account.
    pub fn piece(&mut self, offset: u64, data: &[u8]) -> Result<(), TransferError> {
        if offset != self.received {
            let (given, due) = (offset, self.received);
            return Err(TransferError::Gap { given, due });
        }
        let length = u64::try_from(data.len()).unwrap_or(limits::INDEX_MAX);
        let received = self.received.saturating_add(length);
        if received > self.total_bytes {
            let total_bytes = self.total_bytes;
            return Err(TransferError::TooLong {
                received,
                total_bytes,
            });
        }
        self.received = received;
        self.checksum = crc32c::crc32c_append(self.checksum, data);
        Ok(())
    }

    /// Says whether all of it came as it was sent; `checksum` is that of
    /// [`Snapshot::End`](super::Snapshot::End).
    pub fn end(&self, checksum: u32) -> Result<(), TransferError> {
        if self.received != self.total_bytes {
            return Err(TransferError::TooShort {
                received: self.received,
                total_bytes: self.total_bytes,
            });
        }
        if self.checksum != checksum {
            return Err(TransferError::Checksum {
                given: checksum,
                computed: self.checksum,
            });
        }
        Ok(())
    }
}
