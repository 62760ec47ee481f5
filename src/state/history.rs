//! The latest changes, for watches.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Key, Record, Revision};

/// A batch ends with the event that reaches this many bytes.
const BATCH_BYTES_MAX: u64 = 1 << 20;

/// The most events that one call looks at, wanted or not.
const SCANNED_MAX: usize = 4096;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A key has a new value; it was created if its version is 1.
    Put(Arc<Record>),
    /// A key is gone.
    Deleted {
        /// Which.
        key: Key,
        /// The revision of this change.
        revision: Revision,
    },
}

/// How much of the past is kept for watches. A node's own choice, not replicated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HistoryLimits {
    /// The most events. The newest one is always kept.
    pub events: usize,
    /// The most bytes that all events count, each as [`Record::size_bytes`]. The newest one is
    /// always kept.
    pub bytes: u64,
}

/// Some changes, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The changes that were asked for.
    pub events: Vec<Event>,
    /// Where to go on.
    pub next: Revision,
    /// Whether the store has changes at `next` or later, so that it is worth asking again at
    /// once.
    pub more: bool,
}

/// The changes asked for are no longer all known: list the keys and watch from there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the changes before revision {oldest} are no longer kept; list the keys, then watch from the \
     revision behind that of the list"
)]
pub struct Compacted {
    /// From here on every change is known.
    pub oldest: Revision,
}

/// The newest changes without a gap.
#[derive(Clone, Debug)]
pub(super) struct History {
    limits: HistoryLimits,
    /// Consecutive in their revisions, the newest has the revision before `next`.
    events: VecDeque<Event>,
    bytes: u64,
    /// Every change since then is in `events`.
    oldest: Revision,
    next: Revision,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            events: 1 << 16,
            bytes: 16 << 20,
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self::behind(Revision::START, HistoryLimits::default())
    }
}

impl Event {
    /// Whose change it is.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(record) => &record.key,
            Self::Deleted { key, .. } => key,
        }
    }

    /// The revision of the change.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(record) => record.modified,
            Self::Deleted { revision, .. } => *revision,
        }
    }

    fn size_bytes(&self) -> u64 {
        match self {
            Self::Put(record) => record.size_bytes(),
            Self::Deleted { key, .. } => super::record::size_bytes(key, &[]),
        }
    }
}

impl History {
    /// A history that begins behind `revision`. Behind the very first one nothing is missing.
    pub(super) fn behind(revision: Revision, limits: HistoryLimits) -> Self {
        let next = revision.next();
        let oldest = match revision {
            Revision::START => Revision::ABSENT,
            _ => next,
        };
        Self {
            limits,
            events: VecDeque::new(),
            bytes: 0,
            oldest,
            next,
        }
    }

    pub(super) fn limits(&self) -> HistoryLimits {
        self.limits
    }

    /// Adds the newest change and forgets the oldest ones beyond the limits.
    pub(super) fn push(&mut self, event: Event) {
        assert_eq!(event.revision(), self.next, "a history has no gap");
        self.next = self.next.next();
        self.bytes += event.size_bytes();
        self.events.push_back(event);
        while self.events.len() > 1
            && (self.events.len() > self.limits.events || self.bytes > self.limits.bytes)
            && let Some(event) = self.events.pop_front()
        {
            self.bytes -= event.size_bytes();
            self.oldest = event.revision().next();
        }
    }

    /// See [`Store::events_since`](super::Store::events_since).
    pub(super) fn since(
        &self,
        from: Revision,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Batch, Compacted> {
        let oldest = self.oldest;
        if from < oldest {
            return Err(Compacted { oldest });
        }
        // A watch from before the first change of all waits for that one.
        let first = Revision(self.next.0 - self.events.len() as u64);
        let from = from.max(first);
        let skipped = usize::try_from(from.0 - first.0).unwrap_or(usize::MAX);
        let mut batch = Batch {
            events: Vec::new(),
            next: from,
            more: false,
        };
        let mut bytes = 0;
        for event in self.events.iter().skip(skipped).take(SCANNED_MAX) {
            batch.next = event.revision().next();
            if event.key().starts_with(prefix) {
                bytes += event.size_bytes();
                batch.events.push(event.clone());
            }
            if batch.events.len() >= limit.max(1) || bytes >= BATCH_BYTES_MAX {
                break;
            }
        }
        batch.more = batch.next < self.next;
        Ok(batch)
    }
}

#[cfg(test)]
#[path = "history_test.rs"]
mod tests;
