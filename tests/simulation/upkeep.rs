//! What leaders change by themselves, held against what they may: worked out anew, from sizes and
//! from what became of the machines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use remember::consensus::{Config, Configuration, MemberId, NodeId, Seat, Term, Upkeep};

use super::rng::Rng;
use super::tally::Counted;
use super::world::World;

/// Lets leaders change something by themselves, in five of six cases.
pub(crate) fn draw_upkeep(config: &mut Config, rng: &mut Rng) {
    let both = (true, true);
    let choices = [
        (false, false),
        both,
        both,
        both,
        (true, false),
        (false, true),
    ];
    let (promotes, lets_go) = rng.pick(&choices);
    let soon = rng.millis(1000, 3000);
    let least = config.election_timeout * Config::DEAD_AFTER_TIMEOUTS_MIN;
    config.promotes = promotes;
    config.dead_after = lets_go.then(|| soon.max(least));
}

impl World {
    /// A leader has begun to change the voters by itself.
    pub(crate) fn changed_by_itself(
        &mut self,
        id: NodeId,
        why: Upkeep,
        promoted: &BTreeSet<MemberId>,
        removed: &BTreeSet<MemberId>,
    ) {
        self.count(match why {
            Upkeep::CaughtUp => Counted::LetVote,
            Upkeep::Replaced => Counted::PlacesTaken,
            Upkeep::Dead => Counted::DeadLetGo,
            Upkeep::Alone => Counted::WentOnAlone,
        });
        let leader = self.name(id);
        let configuration = self.member(id).node.configuration().clone();
        assert!(
            !removed.contains(&leader) && configuration.is_joint(),
            "{id:?} removes itself, or changes nothing: {configuration:?}"
        );
        let before = size(&configuration, |seat| seat.outgoing);
        let after = size(&configuration, |seat| seat.votes);
        let is_named = self.oracle.registers.named_by(&configuration) == Some(leader);
        if why == Upkeep::Alone {
            assert!((before, after) == (2, 1) && is_named, "{id:?} is not alone");
            return;
        }
        let odd = after % 2 == 1 || (is_named && (before, after) == (1, 2));
        let grows = removed.is_empty() && odd && after <= before + 2;
        assert!(
            grows || stays_or_helps(before, after),
            "{id:?} lets {before} voters become {after}: {promoted:?} come, {removed:?} go"
        );
        self.count_lapses(self.status(id).term, removed);
        let gone = removed
            .iter()
            .filter(|member| !self.is_there(**member))
            .count() as u64;
        self.tally.count_many(Counted::GoneLetGo, gone);
    }

    /// Any of those whose places are taken may have left as dead.
    fn count_lapses(&mut self, term: Term, removed: &BTreeSet<MemberId>) {
        if self.lapses.0 != term {
            self.lapses = (term, BTreeMap::new());
        }
        for member in removed {
            *self.lapses.1.entry(*member).or_default() += 1;
        }
    }

    /// How long leaders may need until there is nothing left that they change by themselves.
    pub(crate) fn upkeep_lasts(&self) -> Duration {
        let dead_after = self.plan.config.dead_after.unwrap_or_default();
        // Each time that one has left doubles the time until it counts again.
        let most = self.lapses.1.values().copied().max().unwrap_or(1);
        let longest = dead_after * 2_u32.saturating_pow(most - 1);
        // Their clocks may run slow.
        longest + longest / 10
    }

    /// Once nothing goes wrong any more, learners vote and the dead have left, as far as sizes
    /// allow.
    pub(crate) fn demand_upkeep(&self, configuration: &Configuration) {
        let is_there = |member: &MemberId| self.is_there(*member);
        let voters = size(configuration, |seat| seat.votes);
        let lost = configuration.voters().filter(|it| !is_there(it)).count();
        let learners = configuration
            .members()
            .filter(|member| !configuration.counts(*member));
        let ready = if self.plan.config.promotes {
            learners.filter(is_there).count()
        } else {
            0
        };
        // A single voter lets one learner vote, if the witness names it.
        let single = voters % 2 == 1 && !(voters == 1 && self.has_register());
        let left_undone = if lost == 0 {
            ready > usize::from(single)
        } else {
            let most = ready.min(lost);
            let mut sizes = (0..=most).map(|taken| voters - lost + taken);
            let knows = self.plan.config.dead_after.is_some();
            knows && sizes.any(|after| stays_or_helps(voters, after))
        };
        assert!(
            !left_undone,
            "of {voters} voters {lost} are lost, {ready} could vote: {configuration:?}"
        );
    }
}

/// Whether so many voters can take the place of so many: none fewer, or at least three that need
/// fewer votes.
fn stays_or_helps(before: usize, after: usize) -> bool {
    after == before || (after >= 3 && after / 2 < before / 2)
}

fn size(configuration: &Configuration, counts: fn(&Seat) -> bool) -> usize {
    let seats = configuration.seats();
    seats.filter(|(_, seat)| counts(seat)).count()
}
