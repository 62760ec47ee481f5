//! Where a node stands in its cluster: what the streams of roles tell.

use serde::Serialize;

use crate::consensus::{ClusterId, Configuration, NodeId, Position, Role, Term};
use crate::node::{Handle, WitnessState};
use crate::state::Member;

/// Where a node stands in its cluster, as role streams tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    id: NodeId,
    role: Role,
    pub(super) term: Term,
    pub(super) leader: Option<NodeId>,
    established: bool,
    /// None until it is founded.
    cluster: Option<ClusterId>,
    /// With which entry the newest configuration came that this node has.
    seated: Option<Position>,
    witness: Option<WitnessState>,
}

/// The same in JSON.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    id: u64,
    role: &'static str,
    term: u64,
    /// The leader's fencing token; null without a leader.
    token: Option<u64>,
    leader: Option<Member>,
    established: bool,
    /// What a claim to lead is made with, for whoever routes by it (R2): the name of the cluster,
    /// null until it is founded; the disk that this node votes on; and the uid of its pod, null
    /// outside of pods.
    cluster: Option<String>,
    incarnation: String,
    pod: Option<&'a str>,
    /// The newest configuration in the node's log, agreed on or not: only by what a majority says
    /// can be told which one is. Null until the cluster is founded.
    seats: Option<Seats>,
    /// Whether the witness of a pair answers the node (R17): `answers` or `silent`; null if it has
    /// none.
    witness: Option<&'static str>,
}

/// A configuration.
#[derive(Serialize)]
struct Seats {
    term: u64,
    index: u64,
    members: Vec<SeatDocument>,
}

/// A member of it.
#[derive(Serialize)]
struct SeatDocument {
    id: u64,
    incarnation: String,
    votes: bool,
    /// Whether it voted before the change that is under way.
    outgoing: bool,
}

impl Standing {
    pub(super) fn of(handle: &Handle) -> Self {
        let status = handle.status();
        Self {
            id: status.id,
            role: status.role,
            term: status.term,
            leader: status.leader,
            established: status.established,
            cluster: handle.cluster(),
            seated: handle.configuration().map(|(since, _)| since),
            witness: handle.witness(),
        }
    }

    pub(super) fn document(self, handle: &Handle) -> Document<'_> {
        let leader = handle.cluster_info().leader;
        Document {
            id: self.id.0,
            role: role_name(self.role),
            term: self.term.0,
            token: self.leader.map(|_| self.term.0),
            leader: leader.filter(|leader| self.leader == Some(NodeId(leader.id))),
            established: self.established,
            cluster: self.cluster.map(|cluster| hex(cluster.0)),
            incarnation: hex(handle.incarnation().0),
            pod: handle.pod(),
            seats: handle.configuration().map(|seated| Seats::of(&seated)),
            witness: self.witness.map(witness_name),
        }
    }
}

impl Seats {
    fn of((since, configuration): &(Position, Configuration)) -> Self {
        let members = configuration.seats().map(|(member, seat)| SeatDocument {
            id: member.id.0,
            incarnation: hex(member.incarnation.0),
            votes: seat.votes,
            outgoing: seat.outgoing,
        });
        Self {
            term: since.term.0,
            index: since.index.0,
            members: members.collect(),
        }
    }
}

/// Not as a number: most languages round those above 2^53.
fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn witness_name(state: WitnessState) -> &'static str {
    match state {
        WitnessState::Answers => "answers",
        WitnessState::Silent => "silent",
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
