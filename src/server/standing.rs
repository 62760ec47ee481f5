//! Where a node stands in its cluster: what the streams of roles tell.

use serde::Serialize;

use crate::consensus::{NodeId, Role, Status, Term};
use crate::node::Handle;
use crate::state::Member;

/// Where a node stands in its cluster, as role streams tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    id: NodeId,
    role: Role,
    pub(super) term: Term,
    pub(super) leader: Option<NodeId>,
    established: bool,
}

/// The same in JSON.
#[derive(Serialize)]
pub(super) struct Document {
    id: u64,
    role: &'static str,
    term: u64,
    /// The leader's fencing token; null without a leader.
    token: Option<u64>,
    leader: Option<Member>,
    established: bool,
}

impl Standing {
    pub(super) fn of(status: &Status) -> Self {
        Self {
            id: status.id,
            role: status.role,
            term: status.term,
            leader: status.leader,
            established: status.established,
        }
    }

    pub(super) fn document(self, handle: &Handle) -> Document {
        let leader = handle.cluster_info().leader;
        Document {
            id: self.id.0,
            role: role_name(self.role),
            term: self.term.0,
            token: self.leader.map(|_| self.term.0),
            leader: leader.filter(|leader| self.leader == Some(NodeId(leader.id))),
            established: self.established,
        }
    }
}

/// The role as text, the same word everywhere.
pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
    }
}
