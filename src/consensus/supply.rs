//! A candidate takes a log that is fuller than its own, so that it can be elected with it.
//!
//! Where only one node reaches a majority and its log lacks what others hold, nobody can be elected
//! in Raft as it was written: nobody else is heard, and nobody votes for a log that is behind
//! (scenario 3). So a candidate that was refused for its log, and for nothing else, asks one of
//! those who refused it for what it lacks, and sounds out again.
//!
//! ```text
//!   candidate, in vain for an election timeout             a voter that knows no leader either
//!        | ---- pre-vote -------------------------------------> |
//!        | <--- no: your log is behind ------------------------ |
//!        | ---- what is behind t1:i5? ------------------------> |
//!        | <--- nothing: I may agree with you up to t1:i3 ----- |  once for each conflicting term
//!        | ---- what is behind t1:i3? ------------------------> |
//!        | <--- t2:i4 t2:i5 t2:i6 ----------------------------- |
//!     cuts t1:i4, writes
//! ```
//!
//! Nothing is acknowledged by that, and nothing is agreed on: who supplies is no leader. A later
//! leader finds the entries where they are, and counts them then.
//!
//! **Why nothing is lost.** Say that entry *e* was agreed on in term *t*: a majority acknowledged
//! it to the leader of *t*. As in Raft, every log is a part, from its start, of the log of the
//! leader of its last term, and this rule only copies such logs. (1) If every leader after *t* up
//! to a term has *e*, then each log that ends with such a term, or with *t* at *e* or behind, holds
//! *e*. (2) Whoever acknowledged *e* holds it ever after: a leader's append does not cut it, since
//! that leader has *e*; and a log that is taken here ends behind its own, so it holds *e* by (1),
//! and all that is cut lies behind *e*. That is true also of the half of it that a crash may leave.
//! (3) Whoever acknowledged *e* does so before it votes in a later term, so it refuses candidates
//! whose log ends before *e*; those of the others hold *e*, by (1). So the next leader has *e*.
//!
//! Three rules keep that, and the promises of a term:
//!
//! - What is taken ends behind the own log, in the order of Raft 5.4.1, at the moment it is taken.
//! - The term rises to the supplier's first, so that no entry is of a term above the own (R22).
//! - Who cuts its log leaves its term as well: the leader of that term may have its word for what
//!   is cut (R15), and is followed no more.
//!
//! A working leader is not disturbed: a candidate asks only where it would win but for its log, by
//! the word of a majority that hears no leader. What it lacks must still be in the other's log and
//! not only in a snapshot, and a conflict must fit into one message.

use super::role::{Candidate, RoleState};
use super::{Append, Ballot, Event, MemberId, Message, Node, Position};

impl Candidate {
    /// Whom to ask next: one after the other.
    fn next_supplier(&self) -> Option<MemberId> {
        let later = |member: &&MemberId| Some(**member) > self.supplier;
        let next = self.fuller.iter().find(later);
        next.or_else(|| self.fuller.first()).copied()
    }
}

impl Node {
    /// Asks for what the own log lacks, if that is all that a majority has against this node.
    pub(super) fn seek_supply(&mut self) {
        let alone = self.alone();
        let RoleState::Candidate(candidate) = &mut self.role else {
            return;
        };
        let hears =
            |member| candidate.grants.contains(&member) || candidate.fuller.contains(&member);
        if !self.configurations.in_force().agrees(alone, hears) {
            return;
        }
        let Some(supplier) = candidate.next_supplier() else {
            return;
        };
        candidate.supplier = Some(supplier);
        self.request_supply(supplier, self.log.last());
    }

    /// Whether it has not asked anybody in this attempt.
    pub(super) fn needs_supplier(&self) -> bool {
        matches!(&self.role, RoleState::Candidate(candidate)
            if candidate.ballot == Ballot::Pre && candidate.supplier.is_none())
    }

    fn request_supply(&mut self, from: MemberId, at: Position) {
        let term = self.term();
        self.send(from, Message::SupplyRequest { term, at });
    }

    /// A candidate asks for what is behind an entry of its log. Where a leader is known, supplying
    /// is that one's business.
    pub(super) fn supply_requested(&mut self, from: MemberId, at: Position) {
        if self.leader().is_some() || self.log.last() <= at {
            return;
        }
        let held = self.log.may_agree_at(at);
        let Some(prev) = held.filter(|prev| prev.index <= at.index) else {
            // That is forgotten under a snapshot.
            return;
        };
        let entries = if prev == at {
            self.log.from(at.index.next(), self.config.append_bytes_max)
        } else {
            Vec::new()
        };
        let supply = Append {
            term: self.term(),
            prev,
            entries,
            commit: self.commit,
        };
        self.reply(from, Message::Supply(supply));
    }

    pub(super) fn supplied(&mut self, from: MemberId, supply: Append) {
        let RoleState::Candidate(candidate) = &self.role else {
            return;
        };
        // Meanwhile another one may have been asked: over a slow link an answer takes longer.
        let wanted = candidate.ballot == Ballot::Pre && candidate.fuller.contains(&from);
        if !wanted || !supply.is_well_formed() || supply.prev.index < self.commit {
            return;
        }
        let Append {
            term,
            prev,
            entries,
            commit,
        } = supply;
        let Some(end) = entries.last().map(super::Entry::position) else {
            self.request_supply(from, self.may_agree_at(prev));
            return;
        };
        if !self.log.holds(prev) || end <= self.log.last() || self.disk_is_behind() {
            return;
        }
        let mut news = entries.iter();
        let unheld = news.position(|entry| !self.log.holds(entry.position()));
        let news = entries
            .get(unheld.unwrap_or_default()..)
            .unwrap_or_default();
        let last = self.log.last().index;
        let cuts = news.first().is_some_and(|first| first.index <= last);
        let own = Some(self.term()).filter(|_| !cuts);
        let Some(own) = own.or_else(|| self.term().next()) else {
            return;
        };
        if own.max(term) > self.term() {
            self.adopt_term(own.max(term));
        }
        self.extend_log(news);
        self.event(Event::Supplied {
            by: from.id,
            until: end,
        });
        self.role = RoleState::Candidate(Candidate {
            in_vain: true,
            ..Candidate::looking(self.now)
        });
        self.commit_to(commit.min(end.index));
    }
}
