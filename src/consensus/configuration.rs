//! Who belongs to the cluster, and what is agreed among them.
//!
//! *Agreed* means: by a majority of the voters and, while a change of them is under way, by a
//! majority of the voters before it as well (joint consensus, Raft 6). Of two, the one that its
//! witness lets go on alone is both (R17). Elections, commits, reads and the leader's check of its
//! quorum all ask here, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use super::{Incarnation, Index, MemberId, NodeId, Position, quorum};

/// The members of a cluster and what each of them counts in. At least one of them votes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Configuration {
    seats: BTreeMap<MemberId, Seat>,
    register: Option<Index>,
}

/// What a member counts in. A learner is fed, and counts in nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Seat {
    /// With which entry it got one; since then it is named without a break.
    pub since: Position,
    /// Its word counts in elections and commits.
    pub votes: bool,
    /// Its word counts as well for as long as a change is under way: it voted before that.
    pub outgoing: bool,
}

impl Configuration {
    /// What a member and its seat count against limits of bytes.
    const SEAT_BYTES: usize = 64;

    /// These seats; `None` if nobody among them votes.
    pub fn new(seats: BTreeMap<MemberId, Seat>) -> Option<Self> {
        let has_voters = seats.values().any(|seat| seat.votes);
        let register = None;
        has_voters.then_some(Self { seats, register })
    }

    /// All of them vote from the beginning, and no change is under way.
    ///
    /// # Panics
    /// If there are none.
    pub fn of_voters(voters: impl IntoIterator<Item = MemberId>) -> Self {
        let voter = Seat {
            votes: true,
            ..Seat::default()
        };
        let seats = voters.into_iter().map(|member| (member, voter)).collect();
        #[expect(clippy::expect_used, reason = "the caller's word")]
        Self::new(seats).expect("a cluster has voters")
    }

    /// One voter, named by the entry at `since`.
    pub(super) fn of_one(voter: MemberId, since: Position) -> Self {
        let seat = Seat {
            since,
            votes: true,
            ..Seat::default()
        };
        let seats = BTreeMap::from([(voter, seat)]);
        let register = None;
        Self { seats, register }
    }

    /// The same, with the register that was made by this entry, or none.
    #[must_use]
    pub fn with_register(self, register: Option<Index>) -> Self {
        Self { register, ..self }
    }

    /// By which entry the register was made that a pair goes by (R17). It stays the same through
    /// all changes until another one is made; a cluster begins without one.
    pub fn register(&self) -> Option<Index> {
        self.register
    }

    /// All members by id, each with its seat.
    pub fn seats(&self) -> impl ExactSizeIterator<Item = (MemberId, Seat)> + '_ {
        self.seats.iter().map(|(member, seat)| (*member, *seat))
    }

    /// The members of this id, each on a disk of its own, with their seats.
    pub(super) fn seats_of(&self, id: NodeId) -> impl Iterator<Item = (MemberId, Seat)> + '_ {
        let on = |incarnation| MemberId { id, incarnation };
        let all = on(Incarnation(0))..=on(Incarnation(u64::MAX));
        self.seats.range(all).map(|(member, seat)| (*member, *seat))
    }

    /// What it counts against limits of bytes.
    pub fn size_bytes(&self) -> usize {
        Self::SEAT_BYTES * self.seats.len()
    }

    /// Everybody who belongs to the cluster, by id.
    pub fn members(&self) -> impl Iterator<Item = MemberId> + '_ {
        self.seats.keys().copied()
    }

    /// With which entry this member got its seat.
    pub fn since(&self, member: MemberId) -> Option<Position> {
        self.seats.get(&member).map(|seat| seat.since)
    }

    /// Whether the cluster has this member.
    pub fn names(&self, member: MemberId) -> bool {
        self.seats.contains_key(&member)
    }

    /// Those whose word counts in elections and commits.
    pub fn voters(&self) -> impl Iterator<Item = MemberId> + '_ {
        let voters = self.seats.iter().filter(|(_, seat)| seat.votes);
        voters.map(|(member, _)| *member)
    }

    /// Whether a change of the voters is under way.
    pub fn is_joint(&self) -> bool {
        self.seats.values().any(|seat| seat.outgoing)
    }

    /// Whether this member votes, now and after a change that is under way.
    pub fn lets_vote(&self, member: MemberId) -> bool {
        self.seats.get(&member).is_some_and(|seat| seat.votes)
    }

    /// With one learner more, named by the entry at `since`. It takes the place of learners on
    /// earlier disks of its id.
    pub(super) fn with_learner(&self, member: MemberId, since: Position) -> Self {
        let mut seats = self.seats.clone();
        seats.retain(|other, seat| other.id != member.id || seat.votes || seat.outgoing);
        let seat = Seat {
            since,
            ..Seat::default()
        };
        seats.insert(member, seat);
        let register = self.register;
        Self { seats, register }
    }

    /// The step to other voters: joint, unless only learners go.
    pub(super) fn with_voters(
        &self,
        promoted: &BTreeSet<MemberId>,
        removed: &BTreeSet<MemberId>,
    ) -> Self {
        let mut next = self.clone();
        for (member, seat) in &mut next.seats {
            seat.outgoing = seat.votes;
            seat.votes = (seat.votes || promoted.contains(member)) && !removed.contains(member);
        }
        next.seats
            .retain(|member, seat| seat.votes || seat.outgoing || !removed.contains(member));
        let is_change = next.seats.values().any(|seat| seat.votes != seat.outgoing);
        if is_change { next } else { next.settled() }
    }

    /// The end of a change: who leaves has left.
    pub(super) fn settled(&self) -> Self {
        let mut seats = self.seats.clone();
        seats.retain(|_, seat| seat.votes || !seat.outgoing);
        for seat in seats.values_mut() {
            seat.outgoing = false;
        }
        let register = self.register;
        Self { seats, register }
    }

    /// Whether the word of this member counts in anything, so that it may stand for election. Those
    /// who leave may: the one with the longest log may be one of them.
    pub fn counts(&self, member: MemberId) -> bool {
        let seat = self.seats.get(&member);
        seat.is_some_and(|seat| seat.votes || seat.outgoing)
    }

    /// The two voters, if there are two and no change is under way.
    pub fn pair(&self) -> Option<[MemberId; 2]> {
        let pair = self.pair_of(|seat| seat.votes);
        pair.filter(|_| !self.is_joint())
    }

    /// The two voters before the change that is under way, if there were two.
    pub(super) fn outgoing_pair(&self) -> Option<[MemberId; 2]> {
        self.pair_of(|seat| seat.outgoing)
    }

    /// Whether this member is one of two in a set that counts.
    pub(super) fn pairs(&self, member: MemberId) -> bool {
        let sets = [self.pair_of(|seat| seat.votes), self.outgoing_pair()];
        sets.into_iter()
            .flatten()
            .any(|pair| pair.contains(&member))
    }

    /// Whether nobody else votes, and no change is under way.
    pub(super) fn is_only(&self, member: MemberId) -> bool {
        !self.is_joint() && self.voters().eq([member])
    }

    fn counted(&self, counts: fn(&Seat) -> bool) -> impl Iterator<Item = MemberId> {
        let counted = self.seats.iter().filter(move |(_, seat)| counts(seat));
        counted.map(|(member, _)| *member)
    }

    fn pair_of(&self, counts: fn(&Seat) -> bool) -> Option<[MemberId; 2]> {
        let mut counted = self.counted(counts);
        let pair = [counted.next()?, counted.next()?];
        counted.next().is_none().then_some(pair)
    }

    /// The largest value that is agreed on: a majority of each set that counts has reached it. Of
    /// two, one that goes on `alone` speaks for both.
    pub(super) fn reached<T: Ord + Copy>(
        &self,
        alone: Option<MemberId>,
        value: impl Fn(MemberId) -> T,
    ) -> T {
        let of = |counts: fn(&Seat) -> bool| {
            let pair = alone.and_then(|_| self.pair_of(counts));
            if let Some(alone) = alone.filter(|it| pair.is_some_and(|pair| pair.contains(it))) {
                return Some(value(alone));
            }
            let mut values: Vec<_> = self.counted(counts).map(&value).collect();
            (!values.is_empty()).then(|| quorum::reached_by_majority(&mut values))
        };
        let Some(by_voters) = of(|seat| seat.votes) else {
            unreachable!("a cluster has voters")
        };
        of(|seat| seat.outgoing).map_or(by_voters, |by_outgoing| by_outgoing.min(by_voters))
    }

    /// Whether what these members say is agreed.
    pub fn is_agreed(&self, says: impl Fn(MemberId) -> bool) -> bool {
        self.agrees(None, says)
    }

    /// The same, where this one of two may be alone.
    pub(super) fn agrees(&self, alone: Option<MemberId>, says: impl Fn(MemberId) -> bool) -> bool {
        self.reached(alone, says)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn member(id: u64) -> MemberId {
        MemberId {
            id: NodeId(id),
            incarnation: Incarnation(id),
        }
    }

    fn joint(voters: &[u64], outgoing: &[u64]) -> Configuration {
        let mut seats: BTreeMap<_, Seat> = BTreeMap::new();
        for id in voters {
            seats.entry(member(*id)).or_default().votes = true;
        }
        for id in outgoing {
            seats.entry(member(*id)).or_default().outgoing = true;
        }
        Configuration::new(seats).unwrap()
    }

    fn agrees(configuration: &Configuration, ids: &[u64]) -> bool {
        configuration.is_agreed(|member| ids.contains(&member.id.0))
    }

    #[test]
    fn a_change_needs_a_majority_of_both_sets() {
        let three = Configuration::of_voters([1, 2, 3].map(member));
        assert!(agrees(&three, &[1, 3]) && !agrees(&three, &[2, 4, 5]));
        let change = joint(&[3, 4, 5], &[1, 2, 3]);
        assert!(agrees(&change, &[2, 3, 4]) && agrees(&change, &[1, 2, 4, 5]));
        assert!(!agrees(&change, &[3, 4, 5]) && !agrees(&change, &[1, 2, 3]));
        let one = joint(&[1], &[1, 2, 3]);
        assert!(agrees(&one, &[1, 2]) && !agrees(&one, &[2, 3]) && !agrees(&one, &[1]));
    }

    /// Whoever comes or goes, the register stays the one that it was.
    #[test]
    fn every_change_keeps_the_register() {
        let made = Some(Index(7));
        let three = Configuration::of_voters([1, 2, 3].map(member));
        assert_eq!(three.register(), None);
        let three = three.with_register(made);
        let four = three.with_learner(member(4), Position::START);
        let joint = four.with_voters(&[member(4)].into(), &[member(1), member(2)].into());
        assert!(joint.is_joint());
        let learners_go = four.with_voters(&[].into(), &[member(4)].into());
        for changed in [&four, &joint, &joint.settled(), &learners_go] {
            assert_eq!(changed.register(), made);
        }
    }

    /// A second disk of an id is another member: what the one says does not count for the other.
    #[test]
    fn another_disk_is_nobody() {
        let three = Configuration::of_voters([1, 2, 3].map(member));
        let other = MemberId {
            incarnation: Incarnation(99),
            ..member(1)
        };
        assert!(three.names(member(1)) && !three.names(other) && !three.counts(other));
        assert!(!three.is_agreed(|said| said == member(2) || said == other));
    }

    proptest! {
        /// Two majorities meet, within a configuration and between it and one before or after it.
        #[test]
        fn majorities_meet(
            before in prop::collection::btree_set(1..8_u64, 1..6),
            after in prop::collection::btree_set(1..8_u64, 1..6),
            one in prop::collection::btree_set(1..8_u64, 0..8),
            other in prop::collection::btree_set(1..8_u64, 0..8),
        ) {
            let list = |ids: &BTreeSet<u64>| ids.iter().copied().collect::<Vec<_>>();
            let (before, after) = (list(&before), list(&after));
            let both = joint(&after, &before);
            let ends = [joint(&before, &[]), joint(&after, &[]), both.clone()];
            for end in &ends {
                if agrees(end, &list(&one)) && agrees(&both, &list(&other)) {
                    prop_assert!(!one.is_disjoint(&other));
                }
            }
        }
    }
}
