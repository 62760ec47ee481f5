//! The three roles of S1, each with the state that only it has.

use std::collections::{BTreeMap, BTreeSet};

use super::claim::Claim;
use super::lapses::Lapses;
use super::progress::{Pace, Progress};
use super::read::Reads;
use super::transfer::Transfer;
use super::{Ballot, Index, MemberId, Mono, NodeId, Suspicion, Term, Ticket};

/// What a node is right now.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum RoleState {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Leader),
}

/// Follows a leader, or waits for the one it has just helped to elect.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Follower {
    /// Whom it follows, once it has heard from it in this term.
    pub(super) leader: Option<MemberId>,
    /// The votes the leader won with; 0 until its first beat.
    pub(super) tickets: u32,
    /// Whom the leader hears.
    pub(super) alive: Vec<NodeId>,
    /// The last word of the leader, or the start of the wait for one.
    pub(super) contact: Mono,
    /// Silence for this long makes this node stand (S5).
    pub(super) patience: std::time::Duration,
    /// What else says that the leader is gone (R18).
    pub(super) evidence: Option<Suspicion>,
    /// Whether the silent leader has been probed (S8).
    pub(super) probed: bool,
    /// The log is known to be the leader's up to here.
    pub(super) matched: Index,
    /// What was last acknowledged to the leader.
    pub(super) acknowledged: Index,
    /// The leader waits for an answer although nothing new became durable.
    pub(super) owes_reply: bool,
    /// The leader's commit index when it was first heard (R8).
    pub(super) leader_commit: Option<Index>,
}

impl Follower {
    /// The leader's claim as far as this follower knows it.
    pub(super) fn claim(&self, term: Term) -> Option<Claim> {
        Some(Claim {
            term,
            tickets: self.tickets,
            leader: self.leader?,
        })
    }
}

/// Stands for election, or sounds out whether it could.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Candidate {
    /// Sounding out, or in earnest.
    pub(super) ballot: Ballot,
    /// Names the attempt; replies to another do not count (scenario 10).
    pub(super) round: u64,
    /// Who said yes; itself among them in a pre-vote, and in a vote once its own is durable.
    pub(super) grants: BTreeSet<MemberId>,
    /// Who said no for good, in earnest only.
    pub(super) denials: BTreeSet<MemberId>,
    /// Whether it has sounded out for an election timeout already, and was not elected. Only then
    /// may it have its log filled up; the rest of this is empty before.
    pub(super) in_vain: bool,
    /// Who knows no leader either, and has a log that is fuller than its own.
    pub(super) fuller: BTreeSet<MemberId>,
    /// Who of those was asked last for what this log lacks.
    pub(super) supplier: Option<MemberId>,
    /// When it began to ask.
    pub(super) asked_at: Mono,
    /// When a majority first agreed, in a pre-vote.
    pub(super) agreed_at: Option<Mono>,
    /// When to ask again those who have not answered.
    pub(super) ask_at: Mono,
    /// When an attempt in earnest is given up.
    pub(super) give_up_at: Mono,
}

/// Leads its term.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Leader {
    /// The votes it won with (S6).
    pub(super) tickets: u32,
    /// Its own no-op: nothing commits before it does (Raft 5.4.2).
    pub(super) noop: Index,
    /// Every other voter.
    pub(super) followers: BTreeMap<MemberId, Progress>,
    /// The newest beat, and when the next one is due.
    pub(super) round: u64,
    pub(super) beat_at: Mono,
    /// When to send again what may be lost; beats for reads do not put it off.
    pub(super) retry_at: Mono,
    /// When recent beats were sent, oldest first.
    pub(super) rounds_sent: std::collections::VecDeque<(u64, Mono)>,
    /// Reads that wait for a quorum to confirm this leader.
    pub(super) reads: Reads,
    /// A hand-over in progress.
    pub(super) transfer: Option<Transfer>,
    /// Whom the last hand-over went to in vain; others are tried first.
    pub(super) spurned: Option<MemberId>,
    /// Who asked for the change that is under way.
    pub(super) change: Option<Ticket>,
    /// Whether what it appends is agreed on in time.
    pub(super) pace: Pace,
    /// Who left as dead in this term.
    pub(super) lapses: Lapses,
}
