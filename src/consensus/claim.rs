//! A claim to leadership, and the order among claims (S11).
//!
//! "More tickets wins; at equal tickets the smaller id wins." Since every node gives one durable
//! vote a term, two claims of one term cannot exist, so the order only ever decides by term. It is
//! written out whole, and asserted, because a violation means that votes were lost.

use std::cmp::Ordering;

use super::{MemberId, Term};

/// That a node leads a term, and with how many votes it won.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Claim {
    pub(super) term: Term,
    pub(super) tickets: u32,
    pub(super) leader: MemberId,
}

impl Ord for Claim {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.term, self.tickets, other.leader).cmp(&(other.term, other.tickets, self.leader))
    }
}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Claim {
    /// Asserts that a claim heard now may replace the one followed so far (S11): it wins, and by
    /// its term alone.
    pub(super) fn assert_replaces(&self, followed: &Self) {
        assert!(
            self.leader == followed.leader || self.term != followed.term,
            "election safety: {self:?} and {followed:?} claim one term"
        );
        assert!(
            self >= followed,
            "{self:?} loses to {followed:?} and is not followed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Incarnation, NodeId};

    fn claim(term: u64, tickets: u32, leader: u64) -> Claim {
        Claim {
            term: Term(term),
            tickets,
            leader: MemberId {
                id: NodeId(leader),
                incarnation: Incarnation(0),
            },
        }
    }

    #[test]
    fn term_then_tickets_then_the_smaller_id() {
        assert!(claim(2, 3, 5) > claim(1, 5, 1));
        assert!(claim(2, 4, 5) > claim(2, 3, 1));
        assert!(claim(2, 3, 1) > claim(2, 3, 5));
    }

    #[test]
    #[should_panic(expected = "election safety")]
    fn two_claims_of_one_term_stop_the_node() {
        claim(2, 4, 1).assert_replaces(&claim(2, 3, 2));
    }
}
