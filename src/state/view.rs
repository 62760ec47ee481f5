//! One state of the store, frozen.

use std::sync::Arc;

use bytes::Bytes;

use super::record::{Record, hash_words, size_bytes};
use super::tree::Tree;
use super::{Command, Condition, Outcome, Revision};
use crate::consensus::Position;

/// The quota of a new store, in bytes; [`Command::SetQuota`] changes it.
pub const QUOTA_BYTES_DEFAULT: u64 = 64 << 20;

/// A page ends with the record that reaches this many bytes.
pub const PAGE_BYTES_MAX: u64 = 2 << 20;

/// Everything that replicas agree on after one entry of the log, and nothing else.
///
/// A clone costs a few reference counts, whatever the size of the state, and later changes of the
/// store do not reach it: it is what a snapshot is written from, on another thread. A view holds
/// its records in memory. Dropping the last one that holds them frees them one by one, so a large
/// view is dropped where time does not matter.
#[derive(Clone, Debug)]
pub struct View {
    pub(super) records: Tree,
    pub(super) position: Position,
    pub(super) revision: Revision,
    pub(super) quota_bytes: u64,
    pub(super) used_bytes: u64,
    /// The sum of the hashes of all records, modulo 2^64: it does not depend on their order, and a
    /// change costs one subtraction and one addition.
    pub(super) sum: u64,
}

/// One piece of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The state it was read from.
    pub revision: Revision,
    /// The records, by key.
    pub records: Vec<Arc<Record>>,
    /// Whether there are records behind the last of these.
    pub more: bool,
}

impl Default for View {
    fn default() -> Self {
        Self {
            records: Tree::default(),
            position: Position::START,
            revision: Revision::START,
            quota_bytes: QUOTA_BYTES_DEFAULT,
            used_bytes: 0,
            sum: 0,
        }
    }
}

impl View {
    /// The last entry that was applied.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The revision of the latest change.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What all records count together, in bytes; see [`Record::size_bytes`].
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// What they may grow to, in bytes (R21).
    pub fn quota_bytes(&self) -> u64 {
        self.quota_bytes
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record of a key.
    pub fn find(&self, key: &[u8]) -> Option<&Arc<Record>> {
        self.records.find(key)
    }

    /// The records whose keys begin with `prefix` and are larger than `after`, in order: at most
    /// `limit` of them (at least one), and no more behind the one that reaches
    /// [`PAGE_BYTES_MAX`]. The next page is behind the last key of this one.
    pub fn list(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Page {
        let from = after.map_or(prefix, |after| after.max(prefix));
        let mut rest = self
            .records
            .range(from)
            .skip_while(|record| after.is_some_and(|after| *record.key <= *after))
            .take_while(|record| record.key.starts_with(prefix));
        let mut bytes = 0;
        let mut records = Vec::new();
        while records.len() < limit.max(1) && bytes < PAGE_BYTES_MAX {
            let Some(record) = rest.next() else { break };
            bytes += record.size_bytes();
            records.push(Arc::clone(record));
        }
        Page {
            revision: self.revision,
            records,
            more: rest.next().is_some(),
        }
    }

    /// A number that is equal wherever the state after the same entry is equal (S2). It is the
    /// same on every platform, survives a snapshot, and costs nothing to ask for.
    pub fn hash(&self) -> u64 {
        self.hash_with(self.sum)
    }

    /// The same number computed from every byte of every record: it finds a state that was damaged
    /// in memory. Takes as long as reading all of it.
    pub fn rehash(&self) -> u64 {
        let sum =
            (self.records.range(&[])).fold(0, |sum: u64, record| sum.wrapping_add(record.rehash()));
        self.hash_with(sum)
    }

    fn hash_with(&self, sum: u64) -> u64 {
        hash_words([
            self.position.term.0,
            self.position.index.0,
            self.revision.0,
            self.quota_bytes,
            self.used_bytes,
            self.len() as u64,
            sum,
        ])
    }

    /// Does what a command says, or does nothing and says why. Returns the record that it added or
    /// took out with the outcome.
    pub(super) fn execute(&mut self, command: Command) -> (Outcome, Option<Arc<Record>>) {
        match command {
            Command::Put {
                key,
                value,
                condition,
            } => self.put(&key, &value, condition),
            Command::Delete { key, condition } => self.delete(&key, condition),
            Command::SetQuota { bytes } => {
                self.quota_bytes = bytes;
                (Outcome::QuotaSet, None)
            }
        }
    }

    fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        condition: Condition,
    ) -> (Outcome, Option<Arc<Record>>) {
        let found = self.records.find(key);
        let current = found.map_or(Revision::ABSENT, |record| record.modified);
        if !condition.holds(current) {
            return (Outcome::CompareFailed { current }, None);
        }
        let replaced_bytes = found.map_or(0, |record| record.size_bytes());
        let grown_bytes = size_bytes(key, value);
        let used_bytes = self.used_bytes - replaced_bytes + grown_bytes;
        if used_bytes > self.quota_bytes && used_bytes > self.used_bytes {
            return (Outcome::QuotaExceeded, None);
        }
        let revision = self.revision.next();
        // Copied, because what came may be a slice of something much larger.
        let value = Bytes::copy_from_slice(value);
        let record = Arc::new(match found {
            Some(old) => {
                let (key, created, version) = (old.key.clone(), old.created, old.version + 1);
                Record::new(key, value, created, revision, version)
            }
            None => Record::new(key.into(), value, revision, revision, 1),
        });
        self.insert(Arc::clone(&record));
        self.revision = revision;
        let created = record.version == 1;
        (Outcome::Put { revision, created }, Some(record))
    }

    fn delete(&mut self, key: &[u8], condition: Condition) -> (Outcome, Option<Arc<Record>>) {
        let found = self.records.find(key);
        let current = found.map_or(Revision::ABSENT, |record| record.modified);
        if !condition.holds(current) {
            return (Outcome::CompareFailed { current }, None);
        }
        let Some(record) = self.records.remove(key) else {
            return (Outcome::NotFound, None);
        };
        self.used_bytes -= record.size_bytes();
        self.sum = self.sum.wrapping_sub(record.hash());
        self.revision = self.revision.next();
        let revision = self.revision;
        (Outcome::Deleted { revision }, Some(record))
    }

    /// Adds a record, or replaces the one of the same key, and keeps the accounts.
    pub(super) fn insert(&mut self, record: Arc<Record>) {
        self.used_bytes += record.size_bytes();
        self.sum = self.sum.wrapping_add(record.hash());
        if let Some(old) = self.records.insert(record) {
            self.used_bytes -= old.size_bytes();
            self.sum = self.sum.wrapping_sub(old.hash());
        }
    }
}
