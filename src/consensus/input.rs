//! Everything that can happen to a node, as one closed set.

use std::time::Duration;

use bytes::Bytes;

use super::{Answer, Change, Hello, IoSeq, MemberId, Message, NodeId, Placed, Position, Ticket};

/// One event, told to [`Node::turn`](super::Node::turn) together with the time.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Input {
    /// Nothing but time has passed. The core asks for this through `Node::deadline`.
    Tick,
    /// A peer's core said something, over a link that is `Up`.
    Message {
        /// The peer, as its link's handshake proved it.
        from: MemberId,
        /// What it said.
        message: Message,
    },
    /// A client wants `command` replicated. Answered by `Accepted`, `Refused` or `Unknown`.
    Propose {
        /// The driver's name for the request.
        ticket: Ticket,
        /// The command; not empty, at most `Config::command_bytes_max`.
        command: Bytes,
    },
    /// A client wants a linearizable read. Answered by `ReadAt`, or `Refused`.
    Read {
        /// The driver's name for the request.
        ticket: Ticket,
    },
    /// Leadership should move, if this node leads. Answered by `TransferEnded`.
    Transfer {
        /// The driver's name for the request.
        ticket: Ticket,
        /// The next leader; `None` takes the best follower.
        to: Option<NodeId>,
        /// When to give up, if sooner than after an election timeout. Whoever has little time left
        /// (R9) tries the next follower in the rest of it.
        within: Option<Duration>,
    },
    /// Who belongs to the cluster should change, if this node leads. Answered by `ChangeEnded`, or
    /// by `Unknown`.
    Change {
        /// The driver's name for the request.
        ticket: Ticket,
        /// What should change.
        change: Change,
    },
    /// The leader welcomed this node back: it belongs to the cluster again by this configuration,
    /// which is agreed on (S7).
    Welcomed(Placed),
    /// This node votes and replicates but does not stand from now on (R9, R12), or may again.
    MayStand(bool),
    /// All writes up to this one are on disk. Repeated and stale reports are harmless.
    Durable(IoSeq),
    /// The disk has no room for the oldest write, which storage keeps and tries again; or it has
    /// room again.
    DiskFull(bool),
    /// The link to a peer changed.
    Link {
        /// The peer, by where it is dialled: which disk is there, it says itself.
        peer: NodeId,
        /// How.
        event: LinkEvent,
    },
    /// A snapshot of this node's own state machine is durable and published. Its position is
    /// applied and durable in the log.
    SnapshotTaken(Position),
    /// A whole snapshot has come from the leader and is verified, restored beside the live state
    /// and ready to replace it. Answered by `InstallSnapshot`, or dropped without a word if stale.
    SnapshotReceived {
        /// The sender.
        from: MemberId,
        /// The term the sender led in.
        term: super::Term,
        /// The last entry that the snapshot covers.
        position: Position,
        /// The configuration that was in force there.
        configuration: Placed,
    },
    /// What became of a request to the witness. Each is answered once.
    Witness {
        /// Which one.
        request: u64,
        /// What became of it.
        answer: Answer,
    },
    /// A snapshot that `SendSnapshot` asked for was taken in by the receiver's core, or was not.
    SnapshotSent {
        /// The receiver.
        to: MemberId,
        /// Whether the receiver has it all.
        delivered: bool,
    },
}

/// What the shell saw of the link to a peer. It reports events and judges nothing (R18).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum LinkEvent {
    /// A handshake is done, in whichever direction the link was dialed; the peer introduced itself
    /// and [`Node::admit`](super::Node::admit) took it.
    Up(Hello),
    /// The link that this node dialed ended. Says nothing about the peer: a proxy resets healthy
    /// links. Dial again now.
    Ended,
    /// The peer's machine refused the connection: nothing listens, so its process is gone (R18).
    Refused,
    /// The connection could not be made for a local or unknown reason: accuses nobody (R18).
    Unreachable,
}
