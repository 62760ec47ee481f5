//! What the witness of a pair holds, and how it is asked (R17).
//!
//! The witness is a register that somebody else keeps: one value, changed by compare-and-set only.
//! It knows no time and never expires. Each change raises its number, so that no value ever comes
//! again, and a change that was asked for long ago finds another value than it was made from. Which
//! register it is stays as it is: the entry by which it was made.

use super::{Index, MemberId};

/// A value of the register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Register {
    /// How often it was changed. From 1 on.
    pub number: u64,
    /// What it says.
    pub word: Word,
    /// By which entry it was made: no other register was. Whoever has agreed on another one goes by
    /// that and by nothing that this one says ([`Configuration::register`]).
    ///
    /// [`Configuration::register`]: super::Configuration::register
    pub made: Index,
}

/// What the register says. The index is that of the newest configuration in the log of whoever
/// wrote it: what is known of an earlier one says nothing about this.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Word {
    /// These two agree on everything together, and either may ask to go on alone.
    Pair([MemberId; 2], Index),
    /// Only this one may ask.
    Sole(MemberId, Index),
}

/// What is asked of the register.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Ask {
    /// What it holds.
    Read,
    /// To hold `to`, if it holds exactly `from`; `None` says that it was never written.
    Swap {
        /// What it has to hold.
        from: Option<Register>,
        /// What it is to hold.
        to: Register,
    },
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// It holds this: what was to be read, or what was found in the place of `from`, so that
    /// nothing was changed. `None` says that it was never written.
    Holds(Option<Register>),
    /// It held `from` and holds `to` now. Whoever is not certain of that says `Unknown`.
    Swapped,
    /// It cannot be reached or read, or holds what nobody understands; it may or may not hold `to`.
    Unknown,
}

impl Register {
    /// The first value of one that is made by the entry at `made`, in the place of what was found;
    /// `None` where no number is left.
    pub(super) fn first(found: Option<Self>, word: Word, made: Index) -> Option<Self> {
        let number = found.map_or(0, |found| found.number).checked_add(1)?;
        Some(Self { number, word, made })
    }

    /// The value after this one; `None` where no number is left.
    pub(super) fn next(self, word: Word) -> Option<Self> {
        Self::first(Some(self), word, self.made)
    }
}
