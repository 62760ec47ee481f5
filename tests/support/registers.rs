//! The registers of a pair, of which there is to be one: by mistake nodes may be given two.

use remember::consensus::{Configuration, MemberId};

use super::register::Kept;

/// The one that all are to have, and the one that some have instead.
#[derive(Clone, Default, Debug)]
pub(crate) struct Registers {
    pub(crate) common: Kept,
    pub(crate) other: Kept,
}

impl Registers {
    /// The one that a node has.
    pub(crate) fn of(&mut self, has_the_other: bool) -> &mut Kept {
        if has_the_other {
            &mut self.other
        } else {
            &mut self.common
        }
    }

    /// Who alone may speak for a pair, by the register that this configuration says is agreed on.
    pub(crate) fn named_by(&self, configuration: &Configuration) -> Option<MemberId> {
        let agreed = configuration.register()?;
        let kept = [&self.common, &self.other];
        let mut kept = kept.into_iter().filter(|kept| {
            let held = kept.0;
            held.is_some_and(|held| held.made == agreed)
        });
        let first = kept.next();
        assert!(kept.next().is_none(), "two registers made by {agreed:?}");
        first.and_then(Kept::named)
    }
}
