//! Who belongs to the cluster, and whether a peer is who it was.
//!
//! A member is an id **and** a disk. A node that comes back on another disk, or on an older copy of
//! its own, has forgotten votes and acknowledgements that others rely on, so it does not speak for
//! the member that it was: it is turned away with a sentence (R13, R15), or joins as another one.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Boot, ClusterId, Configuration, Entry, Epoch, HardState, Hello, Incarnation, MemberId, NodeId,
    Payload, Placed, Position, Record, Term,
};

/// The cluster's name and epoch, and a configuration of it that is agreed on: what every member
/// knows from its first start, durably.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Membership {
    /// The cluster's name.
    pub cluster: ClusterId,
    /// The epoch that all its terms are of (R14). It never changes: a later one is another cluster.
    pub epoch: Epoch,
    /// The configuration with which it was founded, or with which this member was welcomed.
    pub settled: Placed,
}

/// Why a peer, or this node itself, is turned away.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Rejection {
    /// Not one of the voters.
    #[error(
        "node {id} is not a member of this cluster; start it with --join to let it become one, or \
         with the id and the data directory of a member"
    )]
    Stranger {
        /// Who.
        id: NodeId,
    },
    /// A member that the cluster goes on without: it left, or its place went to another disk.
    #[error(
        "node {id} does not belong to this cluster any more; its data directory serves nobody, \
         start it with --join to let it join again"
    )]
    Removed {
        /// Who.
        id: NodeId,
    },
    /// A voter on another disk than the one that its votes are on (R13).
    #[error(
        "node {id} came without its disk: the cluster knows incarnation {known:016x} of it, this \
         is {given:016x}; an empty disk cannot vote for a member, give the node its old data \
         directory back, or start it with --join to let it take that member's place"
    )]
    OtherDisk {
        /// Who.
        id: NodeId,
        /// The incarnation among the voters.
        known: u64,
        /// The incarnation that came.
        given: u64,
    },
    /// A disk that says it is fresh, and was met as a member's: an older copy of it (R15).
    #[error(
        "node {id} came with a disk that has forgotten that it is a member's: it is an old copy; \
         give the node its newest data directory, or an empty one"
    )]
    Forgetful {
        /// Who.
        id: NodeId,
    },
    /// A disk whose past lacks a start that was met: an older copy of it, or another one (R15).
    #[error(
        "node {id} runs on an old copy of its disk: this is its start number {}, but a start \
         number {} was met that is not in its past; give it its newest data directory",
        given.count(),
        met.count()
    )]
    OldBoot {
        /// Who.
        id: NodeId,
        /// The newest boot that was met.
        met: Boot,
        /// The boot that came.
        given: Boot,
    },
    /// A disk that lost what it had acknowledged (R15).
    #[error(
        "node {id} lost acknowledged data: it had acknowledged {acked:?}, its disk ends at \
         {given:?} in term {term}; its data directory is an old copy, or was damaged"
    )]
    LostData {
        /// Who.
        id: NodeId,
        /// The last position it had acknowledged as durable.
        acked: Position,
        /// The end of its log now.
        given: Position,
        /// Its term now.
        term: Term,
    },
}

impl Membership {
    /// A cluster that begins anew with what the disk of this member holds, up to `last`; it is the
    /// only voter (R14). Whoever is welcomed later is fed all of that as agreed on.
    ///
    /// # Panics
    /// If `last` is of that epoch already, or of a later one.
    pub fn anew(cluster: ClusterId, epoch: Epoch, member: MemberId, last: Position) -> Self {
        assert!(
            last.term.epoch() < epoch,
            "no epoch is begun twice (R14): {epoch:?} behind {last:?}"
        );
        // Nobody is elected in that term, so no other log has another entry there; and it is higher
        // than the one of any configuration before.
        let since = Position {
            term: epoch.floor(),
            index: last.index.next(),
        };
        Self {
            cluster,
            epoch,
            settled: (since, Configuration::of_one(member, since)),
        }
    }

    /// What stands in the log of a cluster that begins anew, behind all that its disk held.
    pub fn first_records(&self) -> [Record; 2] {
        let (since, configuration) = &self.settled;
        let entry = Entry {
            term: since.term,
            index: since.index,
            payload: Payload::Configuration(configuration.clone()),
        };
        // The term precedes its entries, so that an entry on disk implies its term (scenario 17).
        let hard_state = HardState {
            term: self.epoch.floor(),
            vote: None,
        };
        [Record::HardState(hard_state), Record::Entry(entry)]
    }

    /// A new cluster of these voters.
    ///
    /// # Panics
    /// If there are none.
    pub fn founding(
        cluster: ClusterId,
        epoch: Epoch,
        voters: impl IntoIterator<Item = MemberId>,
    ) -> Self {
        Self {
            cluster,
            epoch,
            settled: (Position::START, Configuration::of_voters(voters)),
        }
    }
}

impl Configuration {
    /// Whether a peer belongs to the cluster.
    pub fn admit(&self, peer: MemberId) -> Result<(), Rejection> {
        if self.names(peer) {
            return Ok(());
        }
        let MemberId { id, incarnation } = peer;
        match self.members().find(|member| member.id == id) {
            None => Err(Rejection::Stranger { id }),
            Some(known) => Err(Rejection::OtherDisk {
                id,
                known: known.incarnation.0,
                given: incarnation.0,
            }),
        }
    }
}

impl Hello {
    /// Judges a peer's past by the newest boot of it that was met (R15).
    ///
    /// A start that is older than all that the peer keeps of its past accuses nobody
    /// ([`super::Boots::KEPT_MAX`]): a node that has restarted ever so often while this one was
    /// away must not be lost. What that lets in is a copy that was started as often before it met
    /// anybody who knew better.
    pub fn check_past(&self, met: Option<Boot>) -> Result<(), Rejection> {
        match met {
            Some(met) if self.boots.lacks(met) => Err(Rejection::OldBoot {
                id: self.member.id,
                met,
                given: self.boots.newest(),
            }),
            _ => Ok(()),
        }
    }
}

/// What a configured node says of itself before the cluster is founded.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Report {
    /// Its disk is fresh and carries this incarnation.
    Fresh(Incarnation),
    /// It belongs to a cluster.
    Member(Membership),
}

/// What a node with a fresh disk is to do.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Founding {
    /// Go on asking: these nodes have not answered. If none is missing, the node with the smallest
    /// id is about to found the cluster.
    Wait(BTreeSet<NodeId>),
    /// Make this membership durable, then start as a voter.
    Join(Membership),
    /// Stop and say why.
    Refused(Rejection),
}

/// Decides the first start (R13): a cluster is founded only when **all** configured nodes report
/// fresh disks, and only by the one with the smallest id, so that no two foundings exist. Every
/// other node joins a membership that names its own disk.
///
/// `reports` holds the latest word of each peer and this node's own; `name` is a random name for
/// the cluster, used if this node founds it.
pub fn found(
    me: NodeId,
    configured: &BTreeSet<NodeId>,
    reports: &BTreeMap<NodeId, Report>,
    name: ClusterId,
) -> Founding {
    let fresh = |id: &NodeId| match reports.get(id) {
        Some(Report::Fresh(incarnation)) => Some(*incarnation),
        _ => None,
    };
    let members = reports.values().find_map(|report| match report {
        Report::Member(membership) => Some(membership),
        Report::Fresh(_) => None,
    });
    if let (Some(membership), Some(incarnation)) = (members, fresh(&me)) {
        let own = MemberId {
            id: me,
            incarnation,
        };
        return match membership.settled.1.admit(own) {
            Ok(()) => Founding::Join(membership.clone()),
            Err(rejection) => Founding::Refused(rejection),
        };
    }
    let voters: BTreeMap<_, _> = configured
        .iter()
        .filter_map(|id| Some((*id, fresh(id)?)))
        .collect();
    if voters.len() == configured.len() && configured.first() == Some(&me) {
        let voters = voters.iter();
        let voters = voters.map(|(&id, &incarnation)| MemberId { id, incarnation });
        return Founding::Join(Membership::founding(name, Epoch::FIRST, voters));
    }
    Founding::Wait(
        configured
            .iter()
            .copied()
            .filter(|id| !voters.contains_key(id))
            .collect(),
    )
}
