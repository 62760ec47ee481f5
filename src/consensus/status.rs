//! What a node says of itself when asked, and what it starts from.

use super::{
    Boots, Entry, HardState, Index, MemberId, Membership, NodeId, PeerRecord, Placed, Position,
    Role, Term,
};

/// Everything that recovery brings back from a data directory, or a first start makes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Recovered {
    /// This node, on this disk.
    pub member: MemberId,
    /// The starts of this disk; the newest is this one, already durable (R15).
    pub boots: Boots,
    /// The cluster, and who belonged to it when this node first did.
    pub membership: Membership,
    /// The durable term and vote.
    pub hard_state: HardState,
    /// What the newest snapshot covers; everything up to here is committed and already in the
    /// state machine.
    pub base: Position,
    /// The configuration that the newest snapshot came with, if there is one.
    pub configuration: Option<Placed>,
    /// The durable log behind `base`, consecutive.
    pub entries: Vec<Entry>,
    /// What is remembered of the peers.
    pub peers: Vec<PeerRecord>,
}

/// A node's own view of itself and of its cluster; cheap to take.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// Its role (S1).
    pub role: Role,
    /// Its term (S4).
    pub term: Term,
    /// The leader it knows in this term.
    pub leader: Option<NodeId>,
    /// The votes that leader won with; 0 while unknown (S6).
    pub tickets: u32,
    /// The members that the leader hears, itself among them, by id; without a leader only this
    /// node (S6).
    pub alive: Vec<NodeId>,
    /// Whether this node leads and its own no-op is committed (R2).
    pub established: bool,
    /// Whether this node leads but is handing over.
    pub handing_over: bool,
    /// Everything up to here is agreed.
    pub commit: Index,
    /// Everything up to here is on this node's disk.
    pub durable: Index,
    /// The end of this node's log.
    pub last: Position,
    /// What the newest snapshot covers.
    pub base: Position,
    /// Entry bytes behind `base`; a driver takes a snapshot when they grow too many.
    pub log_bytes: usize,
    /// The known leader's commit index when it was first heard: a node that has applied this much
    /// has caught up (R8).
    pub leader_commit: Option<Index>,
    /// Whether the own disk is stalled or full.
    pub storage_stalled: bool,
}
