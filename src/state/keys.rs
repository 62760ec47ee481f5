//! The keys of one tree node.
//!
//! They lie side by side in one piece of memory, so that a search touches a few cache lines and
//! not one record a comparison: with a million records that is most of what a put costs.

use super::KEY_BYTES_MAX;

/// Some keys, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    /// Where each key ends in `bytes`.
    ends: [u16; Self::MAX],
    len: usize,
}

const _: () = assert!(
    Keys::MAX * KEY_BYTES_MAX <= u16::MAX as usize,
    "every end must fit"
);

impl Keys {
    /// The most keys that fit.
    pub(super) const MAX: usize = 32;

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn at(&self, at: usize) -> &[u8] {
        &self.bytes[self.start(at)..usize::from(self.ends[at])]
    }

    /// Where `key` is, or would be.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.at(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The last key that is not larger than `key`, or the first one.
    pub(super) fn place(&self, key: &[u8]) -> usize {
        self.search(key)
            .unwrap_or_else(|above| above.saturating_sub(1))
    }

    pub(super) fn insert(&mut self, at: usize, key: &[u8]) {
        let start = self.start(at);
        self.bytes.splice(start..start, key.iter().copied());
        self.ends.copy_within(at..self.len, at + 1);
        self.ends[at] = short(start);
        self.len += 1;
        for end in &mut self.ends[at..self.len] {
            *end += short(key.len());
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        let (start, end) = (self.start(at), usize::from(self.ends[at]));
        self.bytes.drain(start..end);
        self.ends.copy_within(at + 1..self.len, at);
        self.len -= 1;
        for later in &mut self.ends[at..self.len] {
            *later -= short(end - start);
        }
    }

    /// Takes off the keys from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let start = self.start(at);
        let mut ends = [0; Self::MAX];
        let len = self.len - at;
        ends[..len].copy_from_slice(&self.ends[at..self.len]);
        for end in &mut ends[..len] {
            *end -= short(start);
        }
        self.len = at;
        let bytes = self.bytes.split_off(start);
        Self { bytes, ends, len }
    }

    /// Adds keys behind its own.
    pub(super) fn append(&mut self, more: &Self) {
        let (start, len) = (short(self.bytes.len()), self.len + more.len);
        for (end, behind) in self.ends[self.len..len].iter_mut().zip(more.ends) {
            *end = start + behind;
        }
        self.bytes.extend_from_slice(&more.bytes);
        self.len = len;
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1)
            .map_or(0, |before| usize::from(self.ends[before]))
    }
}

#[expect(
    clippy::expect_used,
    reason = "MAX keys of KEY_BYTES_MAX end within 16 bits"
)]
fn short(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("keys are short")
}
