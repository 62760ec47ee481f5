//! What must hold in every story, whatever it expects: these rules cannot be blessed away.
//!
//! The ledger sees all disks at once, which no node can. It remembers who led, who voted and what
//! was agreed, and stops the story at the first contradiction.

use std::collections::BTreeMap;

use remember::consensus::{
    Configuration, Entry, HardState, Incarnation, Index, MemberId, NodeId, Payload, Position,
    Status, Term, Ticket,
};

use super::majority::is_agreed;

/// All that the cluster has promised so far.
#[derive(Default)]
pub(crate) struct Ledger {
    leaders: BTreeMap<Term, MemberId>,
    votes: BTreeMap<(Incarnation, Term), MemberId>,
    agreed: BTreeMap<Index, (Term, Payload)>,
    acked: Index,
    floors: BTreeMap<Ticket, Index>,
    views: BTreeMap<NodeId, View>,
    /// The highest term that anybody led before the cluster began anew, if it did.
    spent: Term,
}

/// What one boot of a node said last.
struct View {
    term: Term,
    commit: Index,
}

impl Ledger {
    /// One durable vote a term and disk (Raft 5.2).
    pub(crate) fn record_vote(
        &mut self,
        disk: Incarnation,
        state: HardState,
    ) -> Result<(), String> {
        let Some(vote) = state.vote else {
            return Ok(());
        };
        let before = *self.votes.entry((disk, state.term)).or_insert(vote);
        if before == vote {
            Ok(())
        } else {
            Err(format!(
                "UNSAFE: one disk voted for {before:?} and {vote:?} in {:?}",
                state.term
            ))
        }
    }

    /// Whether this disk durably voted so.
    pub(crate) fn voted(&self, disk: Incarnation, term: Term, vote: MemberId) -> bool {
        self.votes.get(&(disk, term)) == Some(&vote)
    }

    /// The cluster goes on with what one disk holds (R14): of what was agreed on, that much stays
    /// so for ever, and no token comes again.
    pub(crate) fn record_recovery(&mut self, holds: impl Fn(Position) -> bool) {
        self.agreed.retain(|index, (term, _)| {
            let (term, index) = (*term, *index);
            holds(Position { term, index })
        });
        let last = self.agreed.keys().next_back().copied();
        self.acked = self.acked.min(last.unwrap_or_default());
        self.floors.clear();
        self.spent = self.leaders.keys().next_back().copied().unwrap_or_default();
    }

    /// At most one leader a term, with the durable votes of a quorum (S4, S5, S10).
    pub(crate) fn record_leader(
        &mut self,
        leader: MemberId,
        term: Term,
        configuration: &Configuration,
        named: Option<MemberId>,
    ) -> Result<(), String> {
        if term <= self.spent {
            let spent = self.spent;
            return Err(format!(
                "UNSAFE: {:?} leads {term:?}, and {spent:?} was led before the cluster began anew",
                leader.id
            ));
        }
        let before = *self.leaders.entry(term).or_insert(leader);
        if before != leader {
            return Err(format!(
                "UNSAFE: {:?} and {:?} both lead {term:?}",
                before.id, leader.id
            ));
        }
        let gave_it = |voter: MemberId| self.voted(voter.incarnation, term, leader);
        if is_agreed(configuration, named, gave_it) {
            return Ok(());
        }
        let votes = configuration.members().filter(|it| gave_it(*it)).count();
        Err(format!(
            "UNSAFE: {:?} leads {term:?} with {votes} durable votes",
            leader.id
        ))
    }

    /// Everything applied is on the disks of a quorum, and the same everywhere (S2).
    pub(crate) fn record_applied(&mut self, entry: &Entry, is_held: bool) -> Result<(), String> {
        let position = entry.position();
        let told = (entry.term, entry.payload.clone());
        let before = self
            .agreed
            .entry(entry.index)
            .or_insert_with(|| told.clone());
        if *before != told {
            let before = before.0;
            return Err(format!(
                "UNSAFE: {position:?} is applied, {before:?} was agreed"
            ));
        }
        if is_held {
            Ok(())
        } else {
            Err(format!(
                "UNSAFE: {position:?} is applied and not on the disks of a majority"
            ))
        }
    }

    /// A client was told that its write at `index` is agreed.
    pub(crate) fn record_ack(&mut self, index: Index) {
        self.acked = self.acked.max(index);
    }

    /// A client asks for a read, which must see everything acknowledged before.
    pub(crate) fn record_read(&mut self, ticket: Ticket) {
        self.floors.insert(ticket, self.acked);
    }

    /// A read was answered from the state at `applied`.
    pub(crate) fn check_read(&self, ticket: Ticket, applied: Index) -> Result<(), String> {
        match self.floors.get(&ticket) {
            Some(&floor) if applied < floor => Err(format!(
                "UNSAFE: {ticket:?} reads {applied:?}, though {floor:?} was acknowledged before it"
            )),
            _ => Ok(()),
        }
    }

    /// A node starts anew: what it says now is not compared with what it said before.
    pub(crate) fn forget_view(&mut self, id: NodeId) {
        self.views.remove(&id);
    }

    /// Within one boot, term and commit never go back; nothing is called durable that is not.
    pub(crate) fn check_status(
        &mut self,
        status: &Status,
        durable: Position,
    ) -> Result<(), String> {
        let Status {
            id, term, commit, ..
        } = *status;
        if status.durable > durable.index {
            let said = status.durable;
            return Err(format!(
                "UNSAFE: {id:?} says {said:?} is durable, {durable:?} is"
            ));
        }
        if let Some(view) = self.views.get(&id)
            && (term < view.term || commit < view.commit)
        {
            return Err(format!(
                "UNSAFE: {id:?} went back from {:?} {:?} to {term:?} {commit:?}",
                view.term, view.commit
            ));
        }
        self.views.insert(id, View { term, commit });
        Ok(())
    }
}
