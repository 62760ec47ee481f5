//! The names of things: newtypes, so that no function ever takes two bare integers.

use std::fmt;
use std::time::Duration;

/// Declares an ordered integer newtype with a one-letter debug form (`n3`, `t7`, `i12`).
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A member's place in the cluster: a small positive integer, stable across restarts (S6 `id`).
    NodeId, "n"
);
number!(
    /// A period with at most one leader (S4). Shown to the application as its fencing token.
    Term, "t"
);
number!(
    /// The place of an entry in the replicated log; the first entry has index 1.
    Index, "i"
);
number!(
    /// One disk's life. A wiped disk is a new incarnation and never votes as the old one (R13).
    Incarnation, "k"
);
number!(
    /// Names one start of one incarnation: how many came before, and a random number that tells two
    /// copies of one disk apart (R15). Made by [`Boot::nth`]; later starts compare as larger.
    Boot, "b"
);
number!(
    /// Names one cluster for ever; nodes of different clusters refuse each other.
    ClusterId, "c"
);
number!(
    /// The place of a [`Write`](super::Write) in the one ordered stream handed to storage.
    IoSeq, "w"
);
number!(
    /// The driver's name for one pending client request; unique within one boot.
    Ticket, "q"
);

/// The largest node id; ids are small positive integers (S6).
pub const NODE_ID_MAX: u64 = u32::MAX as u64;

/// Names a member: an id on one disk. Two disks of one id are two members, and whatever is kept,
/// counted or sent for a member is kept, counted or sent for one disk (R13).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    /// Its place in the cluster.
    pub id: NodeId,
    /// Its disk.
    pub incarnation: Incarnation,
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:016x}", self.id, self.incarnation.0)
    }
}

/// The upper half of a term: 0 in a cluster that a fixed list founded, and higher in each cluster
/// that goes on from what less than a majority of another held, so that no new beginning hands out
/// a token again (R14).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u32);

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Epoch {
    /// The epoch of a cluster that was founded by a fixed list.
    pub const FIRST: Self = Self(0);
    /// The last: its terms are the highest of 63 bits.
    pub const MAX: Self = Self(i32::MAX as u32);

    /// The term from which every member of this epoch starts. Nobody is elected in it: the first
    /// leader has the next one.
    #[must_use]
    pub fn floor(self) -> Term {
        Term(u64::from(self.0) << 32)
    }
}

impl Term {
    /// The largest term: tokens are 63-bit so that every language can hold one (R14).
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The term after this one, or `None` where the counter of this epoch is used up (R14).
    #[must_use]
    pub fn next(self) -> Option<Self> {
        let next = Self(self.0.checked_add(1)?);
        (next <= Self::MAX && next.epoch() == self.epoch()).then_some(next)
    }

    /// The epoch that this term is of.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }
}

impl Boot {
    /// The `count`-th start of a disk, counted from 1. `nonce` is random: a copy of the disk that
    /// is started as often gets another one.
    #[must_use]
    pub fn nth(count: u32, nonce: u32) -> Self {
        Self(u64::from(count) << 32 | u64::from(nonce))
    }

    /// How many starts there were, this one included.
    #[must_use]
    pub fn count(self) -> u64 {
        self.0 >> 32
    }

    /// What tells it from as many starts of a copy of the disk.
    #[must_use]
    pub fn nonce(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
        let nonce = self.0 as u32;
        nonce
    }
}

impl Index {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The index before this one; the one before the first entry is 0.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl IoSeq {
    /// The number of the write after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A place in some node's log together with the term of the entry there.
///
/// The order is Raft's "at least as up to date" (Raft 5.4.1): by term, then by index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The term of the entry at `index`; 0 for the empty log.
    pub term: Term,
    /// The entry's index; 0 for the empty log.
    pub index: Index,
}

impl Position {
    /// Before the first entry.
    pub const START: Self = Self {
        term: Term(0),
        index: Index(0),
    };
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{:?}", self.term, self.index)
    }
}

/// A point on the driver's monotonic clock: nanoseconds since an origin that the driver chose.
///
/// The core never reads a clock. Points of two nodes, or of two boots, mean nothing together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(u64);

impl Mono {
    /// A point `since_origin` after the driver's origin.
    #[must_use]
    pub fn at(since_origin: Duration) -> Self {
        Self(u64::try_from(since_origin.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `wait` after this one.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_stay_in_their_epoch_and_in_63_bits() {
        assert_eq!(Term(7).epoch(), Epoch::FIRST);
        assert_eq!(Epoch(2).floor(), Term(2 << 32));
        assert_eq!(Term((2 << 32) + 5).next(), Some(Term((2 << 32) + 6)));
        assert_eq!(Term((2 << 32) - 1).next(), None);
        assert_eq!(Term((2 << 32) - 1).epoch(), Epoch(1));
        assert_eq!(Term::MAX.epoch(), Epoch::MAX);
        assert_eq!(Term::MAX.next(), None);
        assert_eq!(Term(u64::MAX).next(), None);
    }
}
