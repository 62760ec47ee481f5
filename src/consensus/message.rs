//! What one node's core says to another's.
//!
//! Messages may be lost, repeated and reordered; the core never depends on their arrival. What a
//! message must never do is outlive the boot it was sent to: the link drops it then, because each
//! link begins with a [`Hello`] that names both boots.

use bytes::Bytes;

use super::{Boots, Entry, Index, MemberId, NodeId, Position, Term};

/// The most entries in one [`Append`], and the most commands in one [`Forward`].
pub const ENTRIES_MAX: usize = 4096;

/// A message between two voters of one cluster.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Message {
    /// A candidate asks for a vote or, before it bumps its term, whether it would get one.
    VoteRequest(VoteRequest),
    /// The answer to a [`VoteRequest`].
    VoteReply(VoteReply),
    /// The leader extends the receiver's log (Raft 5.3).
    Append(Append),
    /// The receiver's log agrees with the leader's, or does not.
    AppendReply(AppendReply),
    /// The leader lives, and this is what it knows. Never carries entries, so nothing delays it.
    Beat(Beat),
    /// A beat was heard.
    BeatReply(BeatReply),
    /// The leader's commit index, when no `Append` is about to carry it. Never answered.
    Commit {
        /// The leader's term.
        term: Term,
        /// Everything up to here is agreed.
        commit: Index,
    },
    /// The leader asks the receiver, whose log is complete, to stand at once (Raft 3.10).
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// A candidate that is not elected for its log asks for what is behind an entry of it.
    SupplyRequest {
        /// The asking node's own term.
        term: Term,
        /// An entry of its log.
        at: Position,
    },
    /// The answer to a `SupplyRequest`, from a node that knows no leader either: its own term and
    /// commit index, and what is behind the entry that was asked for. If it has another one there,
    /// `entries` is empty, and `prev` the last one of its own that the asking log may have.
    Supply(Append),
    /// A follower passes its clients' commands to the leader (S12). Sent at most once (R20).
    Forward(Forward),
    /// The leader's answer to a [`Forward`].
    ForwardReply(ForwardReply),
    /// A follower asks for an index that covers every write acknowledged before now (ReadIndex).
    ReadRequest {
        /// The asking node's name for this request, unique across its boots.
        request: u64,
        /// The term in which the asking node knows the receiver as leader.
        term: Term,
    },
    /// The leader's answer to a `ReadRequest`, given once a quorum confirmed its leadership.
    ReadReply {
        /// Which request.
        request: u64,
        /// The answering node's term.
        term: Term,
        /// The index to wait for; `None` if the receiver does not lead in the asked term.
        index: Option<Index>,
    },
}

impl Message {
    /// The term that the message speaks of.
    pub fn term(&self) -> Term {
        match self {
            Self::VoteRequest(request) => request.term,
            Self::VoteReply(reply) => reply.term,
            Self::Append(append) | Self::Supply(append) => append.term,
            Self::AppendReply(reply) => reply.term,
            Self::Beat(beat) => beat.term,
            Self::BeatReply(reply) => reply.term,
            Self::Forward(forward) => forward.term,
            Self::ForwardReply(reply) => reply.term,
            Self::Commit { term, .. }
            | Self::TimeoutNow { term }
            | Self::SupplyRequest { term, .. }
            | Self::ReadRequest { term, .. }
            | Self::ReadReply { term, .. } => *term,
        }
    }
}

/// Whether votes are asked for in earnest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ballot {
    /// A pre-vote binds nobody and changes no term (Raft 9.6).
    Pre,
    /// A vote: at most one a term and node, durable before it is told (Raft 5.2).
    Real,
}

/// Asks for a vote.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct VoteRequest {
    /// In earnest, or to sound out.
    pub ballot: Ballot,
    /// The term to be led: the sender's own if `Real`, the one after it if `Pre`.
    pub term: Term,
    /// The end of the sender's log.
    pub last: Position,
    /// The sender's name for this attempt, unique across its boots; replies to another do not
    /// count.
    pub round: u64,
}

/// Answers a [`VoteRequest`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct VoteReply {
    /// As in the request.
    pub ballot: Ballot,
    /// As in the request.
    pub round: u64,
    /// The answering node's own term.
    pub term: Term,
    /// Yes, or why not.
    pub verdict: Verdict,
}

/// What a voter says to a candidate. Anything but `Granted` says why not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// The vote is the candidate's.
    Granted,
    /// The voter hears a leader; it notes the pre-vote and may grant it later without being asked
    /// again.
    HasLeader,
    /// The candidate's log lacks entries that the voter has (Raft 5.4.1).
    LogBehind,
    /// The voter gave this term's vote to another.
    VotedForOther,
    /// The candidate's term is not above the voter's.
    StaleTerm,
    /// A preferred candidate is standing; the pre-vote is held for at most one round (S9).
    Held,
}

/// Extends the receiver's log; in a [`Message::Supply`] it says of the sender what it says of the
/// leader otherwise.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Append {
    /// The leader's term.
    pub term: Term,
    /// The entry right before `entries`, which the receiver must hold.
    pub prev: Position,
    /// Consecutive, from `prev.index + 1`. May be empty.
    pub entries: Vec<Entry>,
    /// The leader's commit index.
    pub commit: Index,
}

impl Append {
    /// Whether the entries follow `prev` without a gap, in terms that never fall and do not exceed
    /// the leader's. Anything else did not come from a leader's log (scenario 28).
    pub fn is_well_formed(&self) -> bool {
        let mut at = self.prev;
        self.entries.len() <= ENTRIES_MAX
            && self.prev.term <= self.term
            && self.entries.iter().all(|entry| {
                let follows = entry.index.previous() == at.index && entry.index > at.index;
                let rises = at.term <= entry.term && entry.term <= self.term;
                at = entry.position();
                follows && rises
            })
    }
}

/// Answers an [`Append`], at once or when its entries are durable.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AppendReply {
    /// The answering node's own term.
    pub term: Term,
    /// Whether the logs agree.
    pub outcome: AppendOutcome,
}

/// Whether the receiver's log agrees with the leader's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AppendOutcome {
    /// Up to here the receiver's log is the leader's, **durably**. Never more than is on disk.
    Matched(Index),
    /// The receiver does not hold `prev`.
    Conflict {
        /// The index of the refused `prev`.
        rejected: Index,
        /// The receiver's last entry, at or below `rejected`, that may still agree.
        hint: Position,
    },
}

/// The leader lives.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Beat {
    /// The leader's term.
    pub term: Term,
    /// Counts the beats of one term; the reply names it, which dates the reply.
    pub round: u64,
    /// The leader's commit index.
    pub commit: Index,
    /// The votes the leader won with (S6, S11).
    pub tickets: u32,
    /// All members that the leader has heard within one election timeout, itself among them, by
    /// id (S6 `aliveFollowers`).
    pub alive: Vec<NodeId>,
}

/// A beat was heard.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BeatReply {
    /// The answering node's own term.
    pub term: Term,
    /// Which beat.
    pub round: u64,
    /// Whether the answering node could take over: it may stand, and its disk keeps up.
    pub can_stand: bool,
}

/// Commands for the leader, from the clients of a follower.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Forward {
    /// The sender's name for the batch, rising across its boots.
    pub batch: u64,
    /// The term in which the sender knows the receiver as leader.
    pub term: Term,
    /// The commands, in order.
    pub commands: Vec<Bytes>,
}

/// What became of a [`Forward`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ForwardReply {
    /// Which batch.
    pub batch: u64,
    /// The answering node's own term.
    pub term: Term,
    /// The position of the first command, the others following it without a gap; or why **none**
    /// of them was appended.
    pub outcome: Result<Position, Refusal>,
}

/// Why the core refused a request. Nothing was written, so asking again is safe.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Refusal {
    /// No leader is known, or the asked node does not lead in the asked term.
    NotLeader,
    /// The leader is handing over; the next one takes the request.
    HandingOver,
    /// Too much is waiting to become durable or agreed; ask again later.
    Busy,
    /// The storage of the leader is stalled or full.
    Storage,
}

/// How a node introduces itself at the start of every link, and how it is judged by (R13, R15).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Hello {
    /// Who, on which disk.
    pub member: MemberId,
    /// With which entry it became a member, as far as it knows; since then it is named without a
    /// break.
    pub since: Position,
    /// The starts of that disk, this one and those before it.
    pub boots: Boots,
    /// The node's term.
    pub term: Term,
    /// The end of the node's durable log.
    pub durable: Position,
}
