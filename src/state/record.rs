//! One key with its value and its revisions.

use std::sync::Arc;

use bytes::Bytes;
use twox_hash::XxHash3_64;

use super::Revision;

/// A key, shared by the records and events that name it.
pub type Key = Arc<[u8]>;

/// One key as it stands at some revision. Never changed: a put makes a new one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The key; never empty.
    pub key: Key,
    /// The value; may be empty.
    pub value: Bytes,
    /// The revision at which the key began to exist.
    pub created: Revision,
    /// The revision of its latest change.
    pub modified: Revision,
    /// How many puts the key has seen since it exists; 1 when it was created.
    pub version: u64,
    hash: u64,
}

impl Record {
    /// What every record counts against the quota beside its key and value, in bytes: about what
    /// it costs in memory, so that many small records stay within the quota too. Part of the
    /// replicated behaviour, so it is for ever.
    pub const OVERHEAD_BYTES: u64 = 128;

    /// A record, with the hash of all its content.
    pub(super) fn new(
        key: Key,
        value: Bytes,
        created: Revision,
        modified: Revision,
        version: u64,
    ) -> Self {
        let hash = content_hash(&key, &value, created, modified, version);
        Self {
            key,
            value,
            created,
            modified,
            version,
            hash,
        }
    }

    /// What it counts against the quota and wherever else sizes are limited, in bytes.
    pub fn size_bytes(&self) -> u64 {
        size_bytes(&self.key, &self.value)
    }

    /// The hash of all its content, computed when it was made.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The hash of all its content, computed now.
    pub(super) fn rehash(&self) -> u64 {
        content_hash(
            &self.key,
            &self.value,
            self.created,
            self.modified,
            self.version,
        )
    }
}

/// What a record of `key` and `value` counts, in bytes.
pub(super) fn size_bytes(key: &[u8], value: &[u8]) -> u64 {
    Record::OVERHEAD_BYTES + key.len() as u64 + value.len() as u64
}

fn content_hash(
    key: &[u8],
    value: &[u8],
    created: Revision,
    modified: Revision,
    version: u64,
) -> u64 {
    hash_words([
        XxHash3_64::oneshot(key),
        XxHash3_64::oneshot(value),
        created.0,
        modified.0,
        version,
    ])
}

/// XXH3-64 (seed 0) of some numbers, each as eight little-endian bytes: the same on every platform
/// and for ever.
pub(super) fn hash_words<const N: usize>(words: [u64; N]) -> u64 {
    XxHash3_64::oneshot(words.map(u64::to_le_bytes).as_flattened())
}
