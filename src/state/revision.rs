//! The store-wide count of changes.

use std::fmt;

/// Names one state of the store. Every change of a key raises it by one; nothing else does.
///
/// The empty store is at [`Revision::START`], so 0 never names a state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The modification revision of a key that does not exist.
    pub const ABSENT: Self = Self(0);

    /// The revision of a store that nothing was ever written to. The first change has the next.
    pub const START: Self = Self(1);

    /// The largest revision: 63 bits, so that every language can hold one.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
