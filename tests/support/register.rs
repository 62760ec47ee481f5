//! The witness of a pair, as it is kept for the nodes of a test.

use remember::consensus::{Answer, Ask, MemberId, Register, Word};

/// One value, changed by compare-and-set.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Kept(pub(crate) Option<Register>);

impl Kept {
    /// Does what is asked.
    pub(crate) fn carry_out(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Swap { from, to } if *from == self.0 => {
                self.0 = Some(*to);
                Answer::Swapped
            }
            Ask::Swap { .. } | Ask::Read => Answer::Holds(self.0),
        }
    }

    /// Who alone may speak for a pair.
    pub(crate) fn named(&self) -> Option<MemberId> {
        match self.0?.word {
            Word::Sole(named, _) => Some(named),
            Word::Pair(..) => None,
        }
    }
}
