//! What a node tells of itself: material for logs, metrics and scenario scripts, never a duty.

use std::collections::BTreeSet;

use super::{Ballot, Index, MemberId, NodeId, Position, Term};

/// The three roles of S1. A node that knows no leader and follows none is a candidate (S7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Leads its term.
    Leader,
    /// Follows a leader, or has just given its vote.
    Follower,
    /// Looks for a leader, or stands for election.
    Candidate,
}

/// Why a leader is thought to be gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Suspicion {
    /// Nothing was heard for the drawn election timeout.
    Silence,
    /// Its address refuses connections (R18).
    Refused,
    /// Its address is answered by a newer boot (R18).
    Restarted,
}

/// Why a leader stopped leading.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StepDown {
    /// A higher term was heard of (S3, S5).
    HigherTerm,
    /// No quorum answered for an election timeout (check-quorum).
    NoQuorum,
}

/// Why a leader changes the voters although nobody asks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Upkeep {
    /// Learners have caught up (S7).
    CaughtUp,
    /// Learners have caught up, and voters are silent whose places they take. Whoever is dead
    /// besides leaves with those.
    Replaced,
    /// Voters were silent for too long (S10, R16).
    Dead,
    /// The other of a pair is lost, and the witness lets this one go on alone (R17).
    Alone,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// The role, the term or the known leader changed.
    RoleChanged {
        /// The role now.
        role: Role,
        /// The term now.
        term: Term,
        /// The leader known now.
        leader: Option<NodeId>,
    },
    /// The own no-op of this leader is committed: from here on it may claim leadership (R2).
    Established {
        /// The term it leads.
        term: Term,
    },
    /// The leader is thought to be gone.
    Suspected {
        /// Who.
        leader: NodeId,
        /// Why.
        why: Suspicion,
    },
    /// This node asks for votes.
    Stands {
        /// Sounding out, or in earnest.
        ballot: Ballot,
        /// The term it would lead.
        term: Term,
    },
    /// This node stopped leading.
    SteppedDown {
        /// The term it led.
        term: Term,
        /// Why.
        why: StepDown,
    },
    /// Leadership is being handed to `to`.
    HandingOver {
        /// The next leader.
        to: NodeId,
    },
    /// This leader has begun to change the voters by itself.
    ChangesVoters {
        /// Why.
        why: Upkeep,
        /// Learners that are to vote.
        promoted: BTreeSet<MemberId>,
        /// Voters that are to belong to the cluster no longer.
        removed: BTreeSet<MemberId>,
    },
    /// The witness of a pair has confirmed that this node may go on alone (R17).
    Alone,
    /// Uncommitted entries of another leader were dropped from the log, from here on.
    Truncated {
        /// The first dropped index.
        from: Index,
    },
    /// This candidate's log was behind, and has been filled up from the log of another.
    Supplied {
        /// Whose log it is now.
        by: NodeId,
        /// Up to here.
        until: Position,
    },
    /// The own disk no longer keeps up, or does again.
    StorageStalled(bool),
}
