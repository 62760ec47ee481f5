//! Why a node does not stand for election, beyond what its engine knows.
//!
//! There are two reasons, and neither ends the other: a node that leaves does not stand again in
//! this life (R9), whatever becomes of its application; and one whose application is not ready does
//! not stand for as long as that lasts (R12). The engine is only told what follows from both.

use crate::consensus::Input;

/// The reasons that hold now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Abstention {
    is_leaving: bool,
    is_unfit: bool,
}

impl Abstention {
    /// The node is about to end. Nothing takes that back.
    pub(super) fn leave(&mut self) -> Input {
        self.is_leaving = true;
        self.input()
    }

    /// Whether the node is fit to lead, as far as its application goes.
    pub(super) fn fit(&mut self, is_fit: bool) -> Input {
        self.is_unfit = !is_fit;
        self.input()
    }

    fn input(self) -> Input {
        Input::MayStand(!self.is_leaving && !self.is_unfit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDS: Input = Input::MayStand(true);
    const ABSTAINS: Input = Input::MayStand(false);

    #[test]
    fn an_application_that_comes_back_lets_its_node_stand_again() {
        let mut abstention = Abstention::default();
        assert_eq!(abstention.fit(false), ABSTAINS);
        assert_eq!(abstention.fit(true), STANDS);
    }

    #[test]
    fn whoever_leaves_does_not_stand_again_whatever_its_application_does() {
        let mut abstention = Abstention::default();
        assert_eq!(abstention.leave(), ABSTAINS);
        assert_eq!(abstention.fit(true), ABSTAINS);
        assert_eq!(abstention.fit(false), ABSTAINS);
        assert_eq!(abstention.fit(true), ABSTAINS);
    }
}
