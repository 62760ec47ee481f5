//! One file of the simulated disk.

use super::SECTOR;

/// The content of a file: as reads see it, and as a crash leaves it.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What reads and writes see.
    pub(super) cache: Vec<u8>,
    /// What survives.
    pub(super) platter: Vec<u8>,
    /// The sectors in which they may differ.
    pub(super) dirty: Sectors,
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
        self.dirty.add(first, (end - 1) / SECTOR);
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

/// A set of sectors, one bit each: segments are filled as a whole, over and over.
#[derive(Clone, Debug, Default)]
pub(super) struct Sectors(Vec<u64>);

impl Sectors {
    fn add(&mut self, first: usize, last: usize) {
        if self.0.len() <= last / BITS {
            self.0.resize(last / BITS + 1, 0);
        }
        for word in first / BITS..=last / BITS {
            let low = first.saturating_sub(word * BITS);
            let high = (last - word * BITS).min(BITS - 1);
            self.0[word] |= (u64::MAX >> (BITS - 1 - high)) & (u64::MAX << low);
        }
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let words = self.0.iter().enumerate();
        words.flat_map(|(word, bits)| {
            let is_in = move |bit: &usize| bits >> bit & 1 == 1;
            (0..BITS).filter(is_in).map(move |bit| word * BITS + bit)
        })
    }
}

const BITS: usize = 64;
