//! What the replicated log holds.

use bytes::Bytes;

use super::{Configuration, Index, Position, Term};

/// One entry of the replicated log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: Term,
    /// Its place in the log; the first entry has index 1.
    pub index: Index,
    /// What it carries.
    pub payload: Payload,
}

/// The content of an [`Entry`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Payload {
    /// What a new leader appends first, so that entries of earlier terms can commit (Raft 8).
    Noop,
    /// An opaque command for the replicated state machine (S2). Never empty.
    Command(Bytes),
    /// Who belongs to the cluster from here on.
    Configuration(Configuration),
}

impl Entry {
    /// The bytes that every entry costs beside its command, wherever sizes are counted.
    pub const OVERHEAD_BYTES: usize = 24;

    /// The entry's place and term.
    pub fn position(&self) -> Position {
        Position {
            term: self.term,
            index: self.index,
        }
    }

    /// What the entry counts against the limits on queues, messages and the log, in bytes.
    pub fn size_bytes(&self) -> usize {
        Self::OVERHEAD_BYTES
            + match &self.payload {
                Payload::Noop => 0,
                Payload::Command(command) => command.len(),
                Payload::Configuration(configuration) => configuration.size_bytes(),
            }
    }
}
