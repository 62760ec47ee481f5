//! Everything a node asks of its driver, as one closed set.
//!
//! The driver carries the outputs out in order and needs no rule of its own: what must not be said
//! before a write is durable is not in the outputs before [`Input::Durable`](super::Input::Durable)
//! came.

use super::{
    Ask, Boot, ChangeRefusal, Entry, Epoch, Event, Index, IoSeq, MemberId, Message, NodeId,
    Position, Refusal, Term, Ticket,
};

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Output {
    /// Make these records durable, in this order, after all earlier writes; then say
    /// `Input::Durable(seq)`. Later writes may be made durable together with it.
    Write(Write),
    /// Send at once. Losing it is allowed, delaying a `Beat` behind an `Append` is not.
    Send {
        /// The receiver.
        to: MemberId,
        /// What to say.
        message: Message,
    },
    /// Apply these committed entries to the state machine: consecutive, each once a boot.
    Apply(Vec<Entry>),
    /// The command of `ticket` is in the leader's log at `position`. It is agreed when the entry
    /// applied at that index has that term. If that has another, the command was **not** written,
    /// and neither was it if any entry of a later term is applied before it. If a snapshot is
    /// installed over its place, what became of it is unknown.
    Accepted {
        /// The proposal.
        ticket: Ticket,
        /// Where it stands.
        position: Position,
    },
    /// Nothing was written, and asking again is safe.
    Refused {
        /// The proposal or read.
        ticket: Ticket,
        /// Why.
        refusal: Refusal,
    },
    /// The command of `ticket` was sent to a leader that was lost: it may or may not be written,
    /// and must not be sent again (R20). A change that it began may or may not be done.
    Unknown {
        /// The proposal or change.
        ticket: Ticket,
    },
    /// The read may be answered from the state machine as soon as `index` is applied.
    ReadAt {
        /// The read.
        ticket: Ticket,
        /// The index to wait for.
        index: Index,
    },
    /// A transfer is over.
    TransferEnded {
        /// The transfer.
        ticket: Ticket,
        /// Whether this node is no longer the leader of the term in which it was asked.
        moved: bool,
    },
    /// A change of the cluster is agreed on and done, or nothing was changed.
    ChangeEnded {
        /// The change.
        ticket: Ticket,
        /// Why nothing was changed.
        outcome: Result<(), ChangeRefusal>,
    },
    /// Send the newest snapshot to a follower that the log no longer reaches; answer with
    /// `Input::SnapshotSent`.
    SendSnapshot {
        /// The follower.
        to: MemberId,
        /// The leader's term, to be told with it.
        term: Term,
    },
    /// Replace the state machine by the snapshot of `Input::SnapshotReceived` and make it the
    /// base of the log, as part of the ordered stream: publish the snapshot, then write
    /// [`Record::Base`], then say `Input::Durable(seq)`.
    InstallSnapshot {
        /// Its place in the stream.
        seq: IoSeq,
        /// The last entry that the snapshot covers.
        position: Position,
        /// Whether the log behind `position` stays; if not, every entry of the log is void.
        keep_log: bool,
    },
    /// End the links with this member, in both directions: it was removed. Whoever dials next is
    /// judged anew.
    Part(MemberId),
    /// Ask the witness of a pair (R17), and answer with `Input::Witness`: once, and within a few
    /// election timeouts, as `Answer::Unknown` if nothing is certain by then. Only one request is
    /// under way at a time. It may be tried again while nobody was asked; what may have been done
    /// is not done again.
    Witness {
        /// Names it.
        request: u64,
        /// What to ask.
        ask: Ask,
    },
    /// Dial this peer now: it may be gone, and a refused connection would tell (S8).
    Probe(NodeId),
    /// End this node and say why: it should stand for election, and no term is left in its epoch.
    /// The next number is the first token of another cluster (R14).
    Exhausted(Epoch),
    /// Something worth telling an operator, a log or a metric. Carries no duty.
    Event(Event),
}

/// A batch of records with its place in the one ordered stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Write {
    /// Its place; consecutive.
    pub seq: IoSeq,
    /// Not empty.
    pub records: Vec<Record>,
}

/// One record of the write-ahead log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Record {
    /// The node's term and vote; replaces the one before it.
    HardState(HardState),
    /// An entry. One at or below the last index voids that entry and all behind it.
    Entry(Entry),
    /// The log begins behind `position`, which a published snapshot covers.
    Base {
        /// The last entry that the snapshot covers.
        position: Position,
        /// Whether entries behind `position` stay; if not, every entry before this record is void.
        keep_log: bool,
    },
    /// What is known of a peer; replaces the record of the same member before it (R15).
    Peer(PeerRecord),
}

/// What a voter must never forget (Raft 5.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct HardState {
    /// The highest term seen.
    pub term: Term,
    /// Who got this node's vote in that term.
    pub vote: Option<MemberId>,
}

/// What a node durably remembers of a peer (R15).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PeerRecord {
    /// Who, on which disk.
    pub member: MemberId,
    /// The newest start of that disk that was heard of; 0 says that it is forgotten.
    pub boot: Boot,
}
