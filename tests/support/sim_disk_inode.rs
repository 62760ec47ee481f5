//! One file of the simulated disk.

use std::collections::BTreeSet;

use super::SECTOR;

/// The content of a file: as reads see it, and as a crash leaves it.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What reads and writes see.
    pub(super) cache: Vec<u8>,
    /// What survives.
    pub(super) platter: Vec<u8>,
    /// The sectors in which they may differ.
    pub(super) dirty: BTreeSet<usize>,
    /// Open files that hold it.
    pub(super) open: usize,
}

impl Inode {
    /// Writes to the cache; a gap behind the end reads as zeroes.
    pub(super) fn put(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        let first = offset.min(self.cache.len()) / SECTOR;
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache[offset..end].copy_from_slice(bytes);
        self.dirty.extend(first..=(end - 1) / SECTOR);
    }

    /// Copies one sector from the cache to the platter.
    pub(super) fn store(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.cache.len());
        if self.platter.len() < to {
            self.platter.resize(to, 0);
        }
        self.platter[from..to].copy_from_slice(&self.cache[from..to]);
    }
}
