//! The requests of this node's clients that are not answered yet.
//!
//! A proposal is answered by what happens at its place in the log: applied there, it is done; if
//! another entry takes the place, it was certainly not written.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::oneshot;

use super::handle::{Answer, Attempt, Changed, Unchanged};
use crate::consensus::{ChangeRefusal, Index, Position, Refusal, Term, Ticket};
use crate::state::Outcome;

type Proposal = oneshot::Sender<Answer<Outcome>>;
type Read = oneshot::Sender<Answer<()>>;
type Transfer = oneshot::Sender<bool>;
type Change = oneshot::Sender<Changed>;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    named: u64,
    proposals: HashMap<Ticket, Proposal>,
    reads: HashMap<Ticket, Read>,
    transfers: HashMap<Ticket, Transfer>,
    changes: HashMap<Ticket, Change>,
    /// The term of the last entry that was applied.
    term: Term,
    /// Proposals that have a place in the log.
    placed: BTreeMap<Index, Vec<(Term, Proposal)>>,
    /// Reads that wait for an index to be applied.
    confirmed: BTreeMap<Index, Vec<Read>>,
}

impl Waiting {
    fn name(&mut self) -> Ticket {
        self.named += 1;
        Ticket(self.named)
    }

    pub(super) fn proposal(&mut self, reply: Proposal) -> Ticket {
        let ticket = self.name();
        self.proposals.insert(ticket, reply);
        ticket
    }

    pub(super) fn read(&mut self, reply: Read) -> Ticket {
        let ticket = self.name();
        self.reads.insert(ticket, reply);
        ticket
    }

    pub(super) fn transfer(&mut self, reply: Transfer) -> Ticket {
        let ticket = self.name();
        self.transfers.insert(ticket, reply);
        ticket
    }

    pub(super) fn change(&mut self, reply: Change) -> Ticket {
        let ticket = self.name();
        self.changes.insert(ticket, reply);
        ticket
    }

    /// The proposal stands in the leader's log; `applied` is how far this node is.
    pub(super) fn accepted(&mut self, ticket: Ticket, position: Position, applied: Index) {
        let Some(reply) = self.proposals.remove(&ticket) else {
            return;
        };
        if position.index <= applied {
            // Its outcome went by before its place was known.
            tell(reply, Err(Attempt::Unknown));
        } else {
            self.placed
                .entry(position.index)
                .or_default()
                .push((position.term, reply));
        }
    }

    pub(super) fn refused(&mut self, ticket: Ticket, refusal: Refusal) {
        if let Some(reply) = self.proposals.remove(&ticket) {
            tell(reply, Err(Attempt::Refused(refusal)));
        } else if let Some(reply) = self.reads.remove(&ticket) {
            tell(reply, Err(Attempt::Refused(refusal)));
        }
    }

    pub(super) fn unknown(&mut self, ticket: Ticket) {
        if let Some(reply) = self.proposals.remove(&ticket) {
            tell(reply, Err(Attempt::Unknown));
        } else if let Some(reply) = self.changes.remove(&ticket) {
            tell(reply, Err(Unchanged::Unknown));
        }
    }

    pub(super) fn change_ended(&mut self, ticket: Ticket, outcome: Result<(), ChangeRefusal>) {
        if let Some(reply) = self.changes.remove(&ticket) {
            tell(reply, outcome.map_err(Unchanged::Refused));
        }
    }

    /// The read may be answered from the state behind `index`; `applied` is how far this node is.
    pub(super) fn read_at(&mut self, ticket: Ticket, index: Index, applied: Index) {
        let Some(reply) = self.reads.remove(&ticket) else {
            return;
        };
        if index <= applied {
            tell(reply, Ok(()));
        } else {
            self.confirmed.entry(index).or_default().push(reply);
        }
    }

    pub(super) fn transfer_ended(&mut self, ticket: Ticket, moved: bool) {
        if let Some(reply) = self.transfers.remove(&ticket) {
            tell(reply, moved);
        }
    }

    /// The entry at `position` was applied.
    pub(super) fn applied(&mut self, position: Position, outcome: &Outcome) {
        if position.term > self.term {
            self.term = position.term;
            self.overwritten_by(position.term);
        }
        for (term, reply) in self.placed.remove(&position.index).into_iter().flatten() {
            if term == position.term {
                tell(reply, Ok(outcome.clone()));
            } else {
                tell(reply, Err(Attempt::Overwritten));
            }
        }
    }

    /// An entry of a new term was applied: terms never fall along a log, so what an earlier leader
    /// put here or behind is not in it. It matters where nothing more comes to be applied.
    fn overwritten_by(&mut self, term: Term) {
        for placed in self.placed.values_mut() {
            for (_, reply) in placed.extract_if(.., |(placed_in, _)| *placed_in < term) {
                tell(reply, Err(Attempt::Overwritten));
            }
        }
        self.placed.retain(|_, placed| !placed.is_empty());
    }

    /// Everything up to `index` is applied; reads that waited for it are answered.
    pub(super) fn applied_to(&mut self, index: Index) {
        while let Some(reads) = self.confirmed.first_entry().filter(|at| *at.key() <= index) {
            for reply in reads.remove() {
                tell(reply, Ok(()));
            }
        }
    }

    /// A snapshot took the place of everything up to `index`: what became of single entries there
    /// is not known.
    pub(super) fn skipped_to(&mut self, index: Index) {
        while let Some(placed) = self.placed.first_entry().filter(|at| *at.key() <= index) {
            for (_, reply) in placed.remove() {
                tell(reply, Err(Attempt::Unknown));
            }
        }
        self.applied_to(index);
    }

    /// Forgets those who no longer wait, which matters while nothing is applied.
    pub(super) fn forget_closed(&mut self) {
        for placed in self.placed.values_mut() {
            placed.retain(|(_, reply)| !reply.is_closed());
        }
        self.placed.retain(|_, placed| !placed.is_empty());
        for reads in self.confirmed.values_mut() {
            reads.retain(|reply| !reply.is_closed());
        }
        self.confirmed.retain(|_, reads| !reads.is_empty());
    }
}

/// The one who asked may have gone away.
fn tell<T>(reply: oneshot::Sender<T>, answer: T) {
    drop(reply.send(answer));
}
