//! Linearizable reads without a clock (ReadIndex, Raft 6.4).
//!
//! A read is answered from a state that covers everything acknowledged before it came. The leader
//! notes its commit index, and a majority's answers to one beat sent after that prove that it was
//! still the leader. All reads that come while a beat is on its way share the next one. Reads wait
//! until the leader's own no-op is committed: before that it does not know what is agreed
//! (scenario 44).

use super::role::RoleState;
use super::{Index, MemberId, Message, Node, Output, Refusal, Term, Ticket};

/// Reads that wait for their leader to be confirmed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Reads {
    waiting: Vec<Reader>,
    confirming: Option<Confirming>,
}

/// Who asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Reader {
    Client(Ticket),
    Follower(MemberId, u64),
}

/// Reads that the answers to one beat will confirm.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Confirming {
    round: u64,
    index: Index,
    readers: Vec<Reader>,
}

impl Node {
    pub(super) fn read(&mut self, ticket: Ticket) {
        let limit = self.config.waiting_max;
        match &mut self.role {
            RoleState::Leader(leader) if leader.reads.waiting.len() < limit => {
                leader.reads.waiting.push(Reader::Client(ticket));
            }
            RoleState::Leader(_) => self.refuse(ticket, Refusal::Busy),
            RoleState::Follower(_) => self.queue_read(ticket),
            RoleState::Candidate(_) => self.refuse(ticket, Refusal::NotLeader),
        }
    }

    pub(super) fn read_requested(&mut self, from: MemberId, request: u64, term: Term) {
        let (own_term, limit) = (self.term(), self.config.waiting_max);
        match &mut self.role {
            RoleState::Leader(leader) if own_term == term && leader.reads.waiting.len() < limit => {
                leader.reads.waiting.push(Reader::Follower(from, request));
            }
            _ => {
                let reply = Message::ReadReply {
                    request,
                    term: own_term,
                    index: None,
                };
                self.reply(from, reply);
            }
        }
    }

    /// Starts to confirm what waits, unless a beat for earlier reads is still on its way.
    pub(super) fn flush_reads(&mut self) {
        // A majority may be smaller than it was, and nobody be left to answer.
        self.confirm_reads();
        let commit = self.commit;
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let reads = &mut leader.reads;
        if reads.waiting.is_empty() || reads.confirming.is_some() || commit < leader.noop {
            return;
        }
        let readers = std::mem::take(&mut reads.waiting);
        reads.confirming = Some(Confirming {
            round: leader.round + 1,
            index: commit,
            readers,
        });
        self.beat();
        self.confirm_reads();
    }

    /// Answers the reads whose beat, or a later one, a majority has answered.
    pub(super) fn confirm_reads(&mut self) {
        let Some(leader) = self.leading() else {
            return;
        };
        // The newest beat that is answered by as many as agree on an entry.
        let reached = self.reached(leader, leader.round, |progress| progress.round);
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let confirmed = leader
            .reads
            .confirming
            .take_if(|reads| reads.round <= reached);
        let Some(Confirming { index, readers, .. }) = confirmed else {
            return;
        };
        for reader in readers {
            self.answer_read(reader, Some(index));
        }
    }

    /// The leadership is over: nobody confirms these reads any more.
    pub(super) fn refuse_reads(&mut self, reads: Reads) {
        let confirming = reads.confirming.into_iter().flat_map(|reads| reads.readers);
        for reader in confirming.chain(reads.waiting) {
            self.answer_read(reader, None);
        }
    }

    /// Tells a reader the index to wait for, or that nobody confirmed its read.
    fn answer_read(&mut self, reader: Reader, index: Option<Index>) {
        match (reader, index) {
            (Reader::Client(ticket), Some(index)) => {
                self.outbox.push(Output::ReadAt { ticket, index });
            }
            (Reader::Client(ticket), None) => self.refuse(ticket, Refusal::NotLeader),
            (Reader::Follower(to, request), index) => {
                let term = self.term();
                self.reply(
                    to,
                    Message::ReadReply {
                        request,
                        term,
                        index,
                    },
                );
            }
        }
    }
}
