//! The starts of one disk, by which its copies are told apart (R15).
//!
//! ```text
//!   this disk   1.a  2.b  3.c  4.d          count and nonce of each start
//!   a copy of it     2.b  3.x  4.y  5.z     taken at 2.b, and started more often since
//! ```
//!
//! Both tell their past at every handshake. Whoever has met `3.c` or `4.d` finds them missing in
//! the past of the copy, however often that was started.

use super::Boot;

/// The starts of one disk: the one that is going on, and those before it as far as they are kept.
///
/// Starts are counted without a gap, so only their nonces are kept.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Boots {
    newest: Boot,
    /// The nonces of the starts before, the oldest first: all of them, up to `KEPT_MAX - 1`.
    earlier: Vec<u32>,
}

impl Boots {
    /// How many starts are kept, the newest included; older ones are forgotten.
    pub const KEPT_MAX: usize = 256;

    /// The past of a fresh disk: its first start. `nonce` is random.
    #[must_use]
    pub fn first(nonce: u32) -> Self {
        Self {
            newest: Boot::nth(1, nonce),
            earlier: Vec::new(),
        }
    }

    /// One start more; `None` where starts cannot be counted any further. `nonce` is random: a copy
    /// of the disk that is started as often gets another one.
    #[must_use]
    pub fn next(&self, nonce: u32) -> Option<Self> {
        let count = u32::try_from(self.newest.count() + 1).ok()?;
        let nonces = self.earlier.iter().copied();
        let mut earlier: Vec<_> = nonces.chain([self.newest.nonce()]).collect();
        if earlier.len() == Self::KEPT_MAX {
            earlier.remove(0);
        }
        Some(Self {
            newest: Boot::nth(count, nonce),
            earlier,
        })
    }

    /// How many nonces are kept beside the newest start.
    #[must_use]
    pub fn kept_before(newest: Boot) -> usize {
        let before = usize::try_from(newest.count().saturating_sub(1));
        before.unwrap_or(usize::MAX).min(Self::KEPT_MAX - 1)
    }

    /// The past that ends with `newest`, from the nonces of the starts before, the oldest first.
    /// `None` if there are not [as many as are kept](Self::kept_before), or it ends with no start.
    #[must_use]
    pub fn of(newest: Boot, earlier: Vec<u32>) -> Option<Self> {
        let whole = newest.count() > 0 && earlier.len() == Self::kept_before(newest);
        whole.then_some(Self { newest, earlier })
    }

    /// The start that is going on.
    #[must_use]
    pub fn newest(&self) -> Boot {
        self.newest
    }

    /// The nonces of the starts before the newest, the oldest first.
    #[must_use]
    pub fn earlier(&self) -> &[u32] {
        &self.earlier
    }

    /// Whether this disk certainly never had that start. Of starts older than the oldest that is
    /// kept, nothing is certain.
    #[must_use]
    pub fn lacks(&self, boot: Boot) -> bool {
        let Some(age) = self.newest.count().checked_sub(boot.count()) else {
            return true;
        };
        if age == 0 {
            return self.newest != boot;
        }
        let place = usize::try_from(age)
            .ok()
            .and_then(|age| self.earlier.len().checked_sub(age));
        place.is_some_and(|place| self.earlier[place] != boot.nonce())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that was started once for each nonce.
    fn started(nonces: impl IntoIterator<Item = u32>) -> Boots {
        let mut nonces = nonces.into_iter();
        let first = Boots::first(nonces.next().unwrap());
        nonces.fold(first, |boots, nonce| boots.next(nonce).unwrap())
    }

    #[test]
    fn a_copy_lacks_every_start_since_it_was_taken() {
        let original = started([1, 2, 3, 4]);
        for count in 0..10 {
            let copy = started([1, 2].into_iter().chain(100..100 + count));
            assert!(!copy.lacks(Boot::nth(1, 1)) && !copy.lacks(Boot::nth(2, 2)));
            assert!(copy.lacks(Boot::nth(3, 3)) && copy.lacks(Boot::nth(4, 4)));
            assert_eq!(original.lacks(copy.newest()), count > 0);
        }
        for (count, nonce) in [(1, 1), (2, 2), (3, 3), (4, 4)] {
            assert!(!original.lacks(Boot::nth(count, nonce)));
            assert!(original.lacks(Boot::nth(count, nonce + 1)));
        }
    }

    #[test]
    fn nothing_is_said_of_starts_that_are_forgotten() {
        let many = u32::try_from(Boots::KEPT_MAX).unwrap();
        let boots = started(1..=many);
        assert!(boots.lacks(Boot::nth(1, 77)) && !boots.lacks(Boot::nth(1, 1)));
        let boots = boots.next(many + 1).unwrap();
        assert_eq!(boots.earlier().len(), Boots::KEPT_MAX - 1);
        assert!(!boots.lacks(Boot::nth(1, 77)));
        assert!(boots.lacks(Boot::nth(2, 77)) && !boots.lacks(Boot::nth(2, 2)));
    }

    #[test]
    fn a_past_is_whole_or_none() {
        let boots = started(1..=5);
        let (newest, earlier) = (boots.newest(), boots.earlier().to_vec());
        assert_eq!(Boots::of(newest, earlier.clone()), Some(boots));
        assert_eq!(Boots::of(newest, earlier[1..].to_vec()), None);
        assert_eq!(Boots::of(Boot::nth(4, 4), earlier), None);
        assert_eq!(Boots::of(Boot(5), Vec::new()), None);
        let last = Boot::nth(u32::MAX, 0);
        let boots = Boots::of(last, vec![0; Boots::KEPT_MAX - 1]).unwrap();
        assert_eq!(boots.next(0), None, "starts are not counted any further");
    }
}
