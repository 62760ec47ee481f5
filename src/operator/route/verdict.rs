//! Which claim to leadership to believe (R2).
//!
//! A node claims to lead once its own no-op is committed. That alone proves nothing to an operator:
//! one node with a fault may say "leader, term 2^60" and would poison the fence for ever. So a
//! claim counts when it is agreed among the voters that they follow it, in its very term, and then
//! the label goes to the very pod that made it.
//!
//! Who votes, the nodes say as well. A configuration is believed once it is agreed among its own
//! voters that they have it or a newer one, unless a majority of the voters of an older one says
//! that there is none newer: a change needs a majority of those before it, and whoever has it in
//! its log never forgets that. So one node with a fault cannot say that it is the only voter. One
//! of a pair can: the other does not outvote it, and it may be alone in fact (R17).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::consensus::{
    ClusterId, Configuration, Incarnation, MemberId, NodeId, Placed, Position, Term,
};

/// That a node leads: made by itself, once the first entry of its term is committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The cluster that it leads, by the name that was drawn when it was founded.
    pub cluster: ClusterId,
    /// The term, with the epoch in its upper half: the fencing token.
    pub term: Term,
    /// Who leads.
    pub id: NodeId,
    /// On which disk.
    pub incarnation: Incarnation,
    /// In which pod, by its uid.
    pub pod: Arc<str>,
}

/// What one node said last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The pod that was asked, by its uid.
    pub pod: Arc<str>,
    /// The newest term that it knows.
    pub term: Term,
    /// Whom it follows, or itself if it leads; `None` while it knows no leader.
    pub leader: Option<NodeId>,
    /// Its own claim, if it leads and has established that.
    pub claim: Option<Claim>,
    /// Its disk.
    pub incarnation: Incarnation,
    /// The cluster that its disk belongs to; `None` while it is fresh.
    pub cluster: Option<ClusterId>,
    /// The newest configuration in its log, agreed on or not.
    pub seats: Option<Placed>,
    /// How it stands with its witness; `None` if it was told of none.
    pub witness: Option<Witness>,
}

/// What a node says of the witness that it was told of (R17).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Witness {
    /// It has answered the last request.
    Answers,
    /// It has not, or none yet.
    Silent,
}

/// What the reports say, taken together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Belief {
    /// A majority follows this claim.
    Led(Claim),
    /// A majority says that it knows no leader.
    Leaderless,
    /// Too few nodes can be heard, they differ, or their leader claims nothing yet: nothing may be
    /// changed.
    Unknown,
}

/// What is believed of who belongs to the cluster, and of who leads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The newest configuration that is agreed on, as far as is heard; the cluster that it is of.
    pub seated: Option<(ClusterId, Placed)>,
    /// Who leads.
    pub belief: Belief,
}

/// What nodes that can be heard right now say of themselves. A report is taken for the node that it
/// came from, whatever it says.
pub type Reports = BTreeMap<NodeId, Report>;

/// Judges what is reported.
#[must_use]
pub fn judge(reports: &Reports) -> Verdict {
    let mut clusters: Vec<_> = reports.values().filter_map(|one| one.cluster).collect();
    clusters.sort_unstable();
    clusters.dedup();
    let verdicts = clusters.into_iter().filter_map(|cluster| {
        let hearing = Hearing { cluster, reports };
        let seated = hearing.seated()?.clone();
        let voices = seated.1.members().filter(|one| hearing.of(*one).is_some());
        let voices = voices.count();
        let belief = hearing.belief(&seated.1);
        let seated = Some((cluster, seated));
        Some((voices, Verdict { seated, belief }))
    });
    // Of two clusters, which one name must not have, the one with more voices is believed, lest one
    // node with a fault names another; of as many, the one with the higher token is the later.
    verdicts
        .max_by_key(|(voices, verdict)| (*voices, rank(&verdict.belief)))
        .map_or(NOBODY, |(_, verdict)| verdict)
}

/// What is believed while nothing is heard.
const NOBODY: Verdict = Verdict {
    seated: None,
    belief: Belief::Unknown,
};

fn rank(belief: &Belief) -> Option<Term> {
    match belief {
        Belief::Led(claim) => Some(claim.term),
        Belief::Leaderless | Belief::Unknown => None,
    }
}

/// What is heard of one cluster.
#[derive(Clone, Copy)]
struct Hearing<'a> {
    cluster: ClusterId,
    reports: &'a Reports,
}

impl<'a> Hearing<'a> {
    /// What this very member says, on its own disk.
    fn of(self, member: MemberId) -> Option<&'a Report> {
        let report = self.reports.get(&member.id)?;
        let is_its = report.incarnation == member.incarnation;
        (is_its && report.cluster == Some(self.cluster)).then_some(report)
    }

    /// The newest configuration that is agreed on.
    fn seated(self) -> Option<&'a Placed> {
        let all = self.reports.values();
        let all = all.filter(|report| report.cluster == Some(self.cluster));
        let all: Vec<&Placed> = all.filter_map(|report| report.seats.as_ref()).collect();
        let has = |member: MemberId, is: &dyn Fn(Position) -> bool| {
            let seats = self.of(member).and_then(|report| report.seats.as_ref());
            seats.is_some_and(|(since, _)| is(*since))
        };
        // One voice alone objects to nothing: it may be the one with a fault.
        let objects = |before: &Configuration, since: Position| {
            let knows_none = |voter| has(voter, &|known| known < since);
            before.is_agreed(knows_none)
                && before.voters().filter(|one| knows_none(*one)).count() > 1
        };
        let is_agreed = |(since, seats): &Placed| {
            seats.is_agreed(|voter| has(voter, &|known| known >= *since))
                && !(all.iter()).any(|(earlier, before)| earlier < since && objects(before, *since))
        };
        let agreed = all.iter().copied().filter(|placed| is_agreed(placed));
        agreed.max_by_key(|(since, _)| *since)
    }

    /// Who leads, by the word of these voters.
    fn belief(self, voters: &Configuration) -> Belief {
        let claims = voters.members().filter_map(|member| {
            let report = self.of(member).filter(|_| voters.counts(member))?;
            let claim = report.claim.as_ref()?;
            // Nobody claims for another, nor for another's pod.
            let is_own = claim.id == member.id && claim.pod == report.pod;
            is_own.then_some(claim)
        });
        let is_followed = |claim: &&Claim| {
            let follows =
                |report: &Report| report.leader == Some(claim.id) && report.term == claim.term;
            voters.is_agreed(|voter| self.of(voter).is_some_and(follows))
        };
        let believed = claims.filter(is_followed).max_by_key(|claim| claim.term);
        if let Some(claim) = believed {
            return Belief::Led(claim.clone());
        }
        let knows_none = |report: &Report| report.leader.is_none();
        if voters.is_agreed(|voter| self.of(voter).is_some_and(knows_none)) {
            Belief::Leaderless
        } else {
            Belief::Unknown
        }
    }
}

#[cfg(test)]
#[path = "verdict_test.rs"]
mod tests;
