//! One machine of the cluster: its clock, its disk, and the process that may run on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use remember::consensus::{
    Boot, Change, ClusterId, Epoch, Incarnation, Index, Input, MemberId, Membership, Node, NodeId,
    Position, Report, Term, Ticket,
};
use remember::state::View;
use remember::storage::ReceivedSnapshot;
use remember::wire::{Address, Introduction, Member as Introduced};

use super::clock::Clock;
use super::disk::Disk;
use super::epochs::Recovery;
use super::replacing::Aside;
use super::replica::Replica;
use super::sim_disk::SimDisk;
use super::snapshots::Incoming;
use super::storage::WalQueue;
use super::world::Event;

/// Names one start of one process, unique in a run; what was meant for another start is void.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Life(pub(crate) u64);

/// A machine.
pub(crate) struct Machine {
    /// The node that lives here.
    pub(crate) id: NodeId,
    /// Its clock.
    pub(crate) clock: Clock,
    /// Its data directory.
    pub(crate) disk: Disk,
    /// The name of that, once it is known; 0 before.
    pub(crate) incarnation: Incarnation,
    /// Nothing becomes durable on it before this time.
    pub(crate) stalled_until: Duration,
    /// Whether a bit of its disk has flipped, so that it may be refused at any start.
    pub(crate) rotted: bool,
    /// A copy of its disk, and the boot that it was taken of.
    pub(crate) copy: Option<(Disk, Boot)>,
    /// Whether its disk came when there was a cluster already, so that it founds none.
    pub(crate) spare: bool,
    /// The epoch of the cluster that its disk belongs to, or is to.
    pub(crate) epoch: Epoch,
    /// What its disk is to begin, if it is.
    pub(crate) recovery: Option<Recovery>,
    /// A disk that was in it before, or is to be again.
    pub(crate) aside: Option<Aside>,
    /// Whether it has power.
    pub(crate) powered: bool,
    /// Why it never comes back, if it does not.
    pub(crate) gone: Option<Gone>,
    /// What runs.
    pub(crate) process: Option<Process>,
}

/// Why a machine never comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gone {
    /// Its disk was wiped, so that it must be refused (R13).
    Wiped,
    /// Its disk is an old copy, so that every peer must refuse it, however often it is started
    /// (R15).
    OldCopy,
    /// It was refused.
    Refused,
    /// Its disk has rotten, and recovery found out (R22).
    Rotten,
    /// Somebody has ended it, because another cluster is to go on in the place of its own (R14).
    Ended,
}

/// A running process.
pub(crate) struct Process {
    /// Which start this is.
    pub(crate) life: Life,
    /// Whether it is stopped like by SIGSTOP.
    pub(crate) paused: bool,
    /// What happened to it while it was stopped.
    pub(crate) deferred: Vec<Event>,
    /// What it is at.
    pub(crate) stage: Stage,
}

/// What a process is at.
pub(crate) enum Stage {
    /// Looking for the other nodes of a cluster that is not founded yet (R13).
    Founding(Box<Founder>),
    /// A voter.
    Member(Box<Member>),
}

/// A process that has no cluster yet.
pub(crate) struct Founder {
    /// Its disk.
    pub(crate) incarnation: Incarnation,
    /// The name that it would give a cluster.
    pub(crate) name: ClusterId,
    /// What the others said, and it itself.
    pub(crate) reports: BTreeMap<NodeId, Report>,
    /// What it is making durable.
    pub(crate) joining: bool,
}

/// A process that is a voter: the shell around one core.
pub(crate) struct Member {
    /// The core.
    pub(crate) node: Node,
    /// The cluster, to be told to those that look for it.
    pub(crate) membership: Membership,
    /// What the core has not been told yet.
    pub(crate) inbox: VecDeque<Input>,
    /// Whether a turn is coming.
    pub(crate) turn_due: bool,
    /// How many turns in a row asked for another one at once, with nothing to say.
    pub(crate) spins: u32,
    /// When the next wake-up comes.
    pub(crate) wake: Option<Duration>,
    /// The links that this node dials.
    pub(crate) links: BTreeMap<NodeId, Link>,
    /// What storage still has to do.
    pub(crate) wal: WalQueue,
    /// The state machine.
    pub(crate) replica: Replica,
    /// Whether a snapshot is being made.
    pub(crate) snapshotting: bool,
    /// A snapshot that is coming.
    pub(crate) incoming: Option<Incoming>,
    /// Snapshots that came and wait for the core's word.
    pub(crate) staged: Vec<(View, Box<ReceivedSnapshot<SimDisk>>)>,
    /// Clients that wait.
    pub(crate) requests: Requests,
    /// Whether it was told not to stand.
    pub(crate) retired: bool,
    /// What it has asked the witness and was not answered.
    pub(crate) asked_witness: Option<u64>,
}

/// The dialled half of a pair's two links.
#[derive(Default)]
pub(crate) struct Link {
    /// The session that is up.
    pub(crate) session: Option<usize>,
    /// How many attempts to dial are under way.
    pub(crate) dialing: u32,
}

/// Clients' requests by how far they are; the number is the client's operation.
#[derive(Default)]
pub(crate) struct Requests {
    /// The last ticket given out.
    pub(crate) last: Ticket,
    /// The core has not answered.
    pub(crate) asked: BTreeMap<Ticket, usize>,
    /// Accepted, and not applied yet.
    pub(crate) accepted: BTreeMap<Index, Vec<(usize, Term)>>,
    /// Reads that wait for an index.
    pub(crate) reads: BTreeMap<Index, Vec<usize>>,
    /// Transfers under way.
    pub(crate) transfers: BTreeSet<Ticket>,
    /// Changes of the members under way.
    pub(crate) changes: BTreeMap<Ticket, Change>,
}

impl Member {
    /// How it introduces itself to `peer`.
    pub(crate) fn introduction(&self, peer: NodeId) -> Introduction {
        let hello = self.node.hello();
        let MemberId { id, incarnation } = hello.member;
        let address = Address {
            host: String::new(),
            port: 0,
        };
        Introduction {
            id,
            expects: peer,
            incarnation,
            api: address.clone(),
            peer: address,
            member: Some(Introduced::new(self.membership.clone(), &hello)),
            registers: false,
        }
    }
}

impl Requests {
    /// A fresh ticket.
    pub(crate) fn ticket(&mut self) -> Ticket {
        self.last.0 += 1;
        self.last
    }

    /// How many operations wait here.
    pub(crate) fn open(&self) -> usize {
        let accepted = self.accepted.values().map(Vec::len).sum::<usize>();
        let reads = self.reads.values().map(Vec::len).sum::<usize>();
        self.asked.len() + accepted + reads
    }
}

impl Machine {
    /// The member that it is, or is to be.
    pub(crate) fn name(&self) -> MemberId {
        MemberId {
            id: self.id,
            incarnation: self.incarnation,
        }
    }

    /// The life of the running process.
    pub(crate) fn life(&self) -> Option<Life> {
        self.process.as_ref().map(|process| process.life)
    }

    /// The voter that runs here, paused or not.
    pub(crate) fn member(&self) -> Option<&Member> {
        match &self.process.as_ref()?.stage {
            Stage::Member(member) => Some(member),
            Stage::Founding(_) => None,
        }
    }

    /// The voter that runs here, paused or not, to be changed.
    pub(crate) fn member_mut(&mut self) -> Option<&mut Member> {
        match &mut self.process.as_mut()?.stage {
            Stage::Member(member) => Some(member),
            Stage::Founding(_) => None,
        }
    }

    /// The process that looks for its cluster.
    pub(crate) fn founder_mut(&mut self) -> Option<&mut Founder> {
        match &mut self.process.as_mut()?.stage {
            Stage::Founding(founder) => Some(founder),
            Stage::Member(_) => None,
        }
    }

    /// Whether a process runs and is not paused.
    pub(crate) fn responds(&self) -> bool {
        self.process.as_ref().is_some_and(|process| !process.paused)
    }

    /// The end of the state machine here.
    pub(crate) fn applied(&self) -> Position {
        self.member()
            .map_or(Position::START, |member| member.replica.applied())
    }
}
