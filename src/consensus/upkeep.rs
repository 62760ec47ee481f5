//! What a leader changes by itself: learners come to vote, and the dead leave (S7, S10, R16).
//!
//! ```text
//!   learners, caught up, by two ------------------> voters          sizes stay odd
//!   learner, caught up  --- takes the place of ---> silent voter of its id, or dead voter
//!   dead voters ----------------------------------> gone            if fewer votes are needed then
//! ```
//!
//! Each such change passes the checks of one that a person asks for. So all who vote after it are
//! heard and have caught up (R5), and whoever is not leaves with it, or nothing changes: there is
//! no choice of who leaves, only of how many places are taken. The rest, whom the leader does hear,
//! are a majority of those before as well, or it would have stepped down. So the change can be
//! agreed on by those who are there. That they agree on anything shows in the log of the leader: as
//! long as what it appends is not agreed on in time, it changes nothing. One whose disk hangs may
//! be just the one that is needed, and then nothing is agreed on that it could be behind.
//!
//! A leader counts the silence of a voter from its own election on. What was silent before may have
//! been so to another leader only; to count from then on is only slower, and where leaders change
//! more often than voters may be silent, nobody leaves. One that left as dead and comes back waits
//! longer than any other learner ([`super::lapses`]), but not for the place of one that is lost.
//!
//! Nobody's request is overtaken: those of a turn are taken in before, one change is made at a
//! time, and none while leadership is handed over. Nor is there one while the disk of this leader
//! stalls.

use std::collections::BTreeSet;

use super::progress::Progress;
use super::quorum::majority;
use super::role::{Leader, RoleState};
use super::{Change, Configuration, Event, MemberId, Mono, Node, Seat, Upkeep};

/// The fewest voters that a cluster shrinks to by itself: two are no better than one without a
/// witness (R16, R17).
const VOTERS_MIN: usize = 3;

/// What a member is to the changes that its leader makes by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// A voter that is heard and has caught up. The leader itself always is.
    Firm,
    /// A silent voter whose id has come back on another disk, which is ready.
    Succeeded,
    /// A voter that was silent for too long.
    Dead,
    /// Any other voter. It can neither be relied on nor leave.
    Unsure,
    /// A learner that may vote from now on.
    Ready,
    /// A learner that may, but only in the place of one that is lost: it left as dead of late.
    Held,
    /// Any other learner.
    Learning,
}

/// How many members there are of each standing, where no voter is [`Standing::Unsure`].
#[derive(Clone, Copy, Default, Debug)]
struct Muster {
    firm: usize,
    succeeded: usize,
    dead: usize,
    ready: usize,
    held: usize,
}

impl Muster {
    /// How many learners are to vote once all are gone who are succeeded or dead; `None` if nothing
    /// is to change.
    fn promotions(self, may_be_a_pair: bool) -> Option<usize> {
        let lost = self.succeeded + self.dead;
        let before = self.firm + lost;
        if lost == 0 {
            // One alone makes an even size odd, and an odd one even, which helps nobody (R16).
            // A pair with a witness survives the loss of either (R17).
            let one = before.is_multiple_of(2) || (before == 1 && self.ready == 1 && may_be_a_pair);
            let wanted = if one { 1 } else { 2 };
            return (self.ready >= wanted).then_some(wanted);
        }
        // Whoever is only silent leaves its place to its own id. The dead leave theirs to anybody,
        // or, where those who are left need fewer votes than all did, to nobody.
        let helps = |taken: usize| {
            let after = self.firm + taken;
            taken == lost || (after >= VOTERS_MIN && majority(after) < majority(before))
        };
        let most = (self.ready + self.held).min(lost);
        (self.succeeded..=most).rev().find(|taken| helps(*taken))
    }
}

impl Node {
    /// Begins the next change that nobody has to ask for, if there is one.
    pub(super) fn keep_members(&mut self) {
        let Some((promoted, removed)) = self.next_change() else {
            return;
        };
        let why = match (promoted.is_empty(), removed.is_empty()) {
            (_, true) => Upkeep::CaughtUp,
            (false, false) => Upkeep::Replaced,
            (true, false) => Upkeep::Dead,
        };
        let dead: Vec<_> = (removed.iter().copied())
            .filter(|member| self.is_dead(*member))
            .collect();
        let begins = self.change_by_itself(why, promoted, removed);
        if let RoleState::Leader(leader) = &mut self.role
            && begins
        {
            for member in dead {
                leader.lapses.add(member, self.now);
            }
        }
    }

    /// Whether a voter was silent for so long that it leaves.
    fn is_dead(&self, voter: MemberId) -> bool {
        let follower = self
            .leading()
            .and_then(|leader| leader.followers.get(&voter));
        let silence = follower.map(|follower| self.now.since(follower.heard));
        silence.is_some_and(|silence| self.config.dead_after.is_some_and(|limit| silence >= limit))
    }

    /// Begins a change that nobody asks for, if it passes what one must that somebody asks for;
    /// whether it did.
    pub(super) fn change_by_itself(
        &mut self,
        why: Upkeep,
        promoted: BTreeSet<MemberId>,
        removed: BTreeSet<MemberId>,
    ) -> bool {
        let change = Change::Vote {
            promoted: promoted.clone(),
            removed: removed.clone(),
        };
        let Ok(next) = self.judge_change(&change) else {
            return false;
        };
        self.appoint(next);
        self.event(Event::ChangesVoters {
            why,
            promoted,
            removed,
        });
        true
    }

    /// Who is to vote, and who is to leave. Runs with every turn: it looks at each member, and
    /// gathers them only if something is to change.
    fn next_change(&self) -> Option<(BTreeSet<MemberId>, BTreeSet<MemberId>)> {
        let leader = self.leading()?;
        let acts = self.config.promotes || self.config.dead_after.is_some();
        let agrees = leader.pace.keeps_up(self.config.election_timeout, self.now);
        if !acts || !agrees || self.storage_stalled {
            return None;
        }
        let view = View {
            node: self,
            leader,
            present: self.changeable(leader).ok()?,
        };
        let promotions = view.muster()?.promotions(self.may_become_a_pair())?;
        let ready = view.all_of(&[Standing::Ready, Standing::Held]);
        let mut ready: Vec<_> = ready.collect();
        ready.sort_by_key(|learner| (view.precedence(*learner), view.is_held(*learner)));
        let promoted = ready.into_iter().take(promotions).collect();
        let removed = view.all_of(&[Standing::Succeeded, Standing::Dead]);
        Some((promoted, removed.collect()))
    }
}

/// The members as their leader sees them.
#[derive(Clone, Copy)]
struct View<'a> {
    node: &'a Node,
    leader: &'a Leader,
    present: &'a Configuration,
}

impl<'a> View<'a> {
    /// Counts the members; `None` while a voter is unsure.
    fn muster(self) -> Option<Muster> {
        let mut muster = Muster::default();
        for (member, seat) in self.present.seats() {
            match self.standing(member, seat) {
                Standing::Firm => muster.firm += 1,
                Standing::Succeeded => muster.succeeded += 1,
                Standing::Dead => muster.dead += 1,
                Standing::Unsure => return None,
                Standing::Ready => muster.ready += 1,
                Standing::Held => muster.held += 1,
                Standing::Learning => {}
            }
        }
        Some(muster)
    }

    fn all_of(self, standings: &'a [Standing]) -> impl Iterator<Item = MemberId> + 'a {
        let seats = self.present.seats();
        let wanted = seats.filter(move |(member, seat)| {
            let standing = self.standing(*member, *seat);
            standings.contains(&standing)
        });
        wanted.map(|(member, _)| member)
    }

    fn standing(self, member: MemberId, seat: Seat) -> Standing {
        let Some(follower) = self.leader.followers.get(&member) else {
            return Standing::Firm;
        };
        match seat.votes {
            true if self.node.is_fit(member, follower) => Standing::Firm,
            true if self.node.is_dead(member) => Standing::Dead,
            true if self.has_heir(member) => Standing::Succeeded,
            true => Standing::Unsure,
            false if self.is_ready(member, follower) && self.is_held(member) => Standing::Held,
            false if self.is_ready(member, follower) => Standing::Ready,
            false => Standing::Learning,
        }
    }

    /// Whether a learner may vote: it has caught up, and all other disks of its id are silent. Two
    /// that speak for one id are a mistake, which no leader settles.
    fn is_ready(self, learner: MemberId, follower: &Progress) -> bool {
        self.node.config.promotes
            && self.node.is_fit(learner, follower)
            && !self.others_of(learner).any(|(other, _)| {
                let follower = self.leader.followers.get(&other);
                follower.is_none_or(|follower| !self.node.is_silent(other, follower))
            })
    }

    /// Whether a learner left as dead of late.
    fn is_held(self, learner: MemberId) -> bool {
        let first = self.node.config.dead_after.unwrap_or_default();
        (self.leader.lapses).holds_back(learner, first, self.now())
    }

    /// Whether a voter's id is there on another disk that may vote, so that its own is silent.
    fn has_heir(self, voter: MemberId) -> bool {
        let mut others = self.others_of(voter).filter(|(_, seat)| !seat.votes);
        others.any(|(other, seat)| {
            matches!(self.standing(other, seat), Standing::Ready | Standing::Held)
        })
    }

    /// Those who have a place to take come first, and of them those for whom alone it is kept.
    fn precedence(self, learner: MemberId) -> usize {
        let places =
            self.others_of(learner)
                .map(|(other, seat)| match self.standing(other, seat) {
                    Standing::Succeeded => 0,
                    Standing::Dead => 1,
                    Standing::Firm
                    | Standing::Unsure
                    | Standing::Ready
                    | Standing::Held
                    | Standing::Learning => 2,
                });
        places.min().unwrap_or(2)
    }

    /// The other disks of this member's id.
    fn others_of(self, member: MemberId) -> impl Iterator<Item = (MemberId, Seat)> + 'a {
        let all = self.present.seats_of(member.id);
        all.filter(move |(other, _)| *other != member)
    }

    fn now(self) -> Mono {
        self.node.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promotions(firm: usize, succeeded: usize, dead: usize, ready: usize) -> Option<usize> {
        let muster = Muster {
            firm,
            succeeded,
            dead,
            ready,
            held: 0,
        };
        muster.promotions(false)
    }

    #[test]
    fn sizes_stay_odd_while_they_grow() {
        let with = |voters, ready| promotions(voters, 0, 0, ready);
        assert_eq!([with(1, 1), with(3, 1), with(5, 1)], [None; 3]);
        assert_eq!([with(1, 2), with(3, 2), with(5, 9)], [Some(2); 3]);
        assert_eq!([with(2, 1), with(4, 1), with(4, 2)], [Some(1); 3]);
        assert_eq!([with(2, 0), with(3, 0)], [None; 2]);
    }

    #[test]
    fn the_dead_leave_where_that_helps_and_never_to_two() {
        let without = |firm, dead| promotions(firm, 0, dead, 0);
        assert_eq!([without(3, 2), without(4, 3), without(5, 2)], [Some(0); 3]);
        assert_eq!([without(3, 1), without(5, 1), without(4, 2)], [Some(0); 3]);
        assert_eq!([without(4, 1), without(6, 1), without(2, 1)], [None; 3]);
        // A leader that hears so few has stepped down. If not, it would be left without anybody.
        assert_eq!([without(1, 1), without(1, 2), without(2, 2)], [None; 3]);
    }

    #[test]
    fn places_are_taken_as_far_as_learners_go_and_sizes_allow() {
        assert_eq!(promotions(2, 0, 1, 3), Some(1));
        assert_eq!(promotions(3, 0, 2, 2), Some(2));
        assert_eq!(promotions(3, 0, 1, 1), Some(1), "four stay four");
        // Of two dead of five one could be replaced; four would need as many votes as five.
        assert_eq!(promotions(3, 0, 2, 1), Some(0));
        assert_eq!(promotions(4, 0, 3, 1), Some(1));
        assert_eq!(
            promotions(4, 0, 3, 2),
            Some(1),
            "six would need as many as seven"
        );
    }

    #[test]
    fn who_is_only_silent_leaves_its_place_to_its_own_id() {
        assert_eq!(promotions(2, 1, 0, 1), Some(1));
        assert_eq!(
            promotions(3, 1, 1, 1),
            None,
            "the other is dead, four are left"
        );
        assert_eq!(promotions(4, 1, 2, 2), Some(1));
        assert_eq!(promotions(3, 1, 1, 2), Some(2));
    }

    #[test]
    fn who_is_held_back_takes_a_place_and_makes_none() {
        let held = |firm, dead, ready, held| {
            let muster = Muster {
                firm,
                dead,
                ready,
                held,
                ..Muster::default()
            };
            muster.promotions(false)
        };
        assert_eq!(
            [held(3, 0, 0, 2), held(3, 0, 1, 1), held(4, 0, 0, 1)],
            [None; 3]
        );
        assert_eq!(held(3, 0, 2, 2), Some(2));
        assert_eq!([held(2, 1, 0, 1), held(3, 2, 1, 1)], [Some(1), Some(2)]);
    }
}
