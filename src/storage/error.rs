//! What can be wrong with a data directory, each with what, where and how to mend it.

use std::io;

use crate::consensus::{Epoch, Incarnation, NodeId, Position};

/// Why storage could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system failed. After a failed write or sync the node stops and starts again from
    /// what is on disk (R23).
    #[error("could not {action} {file}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// Which file of the data directory.
        file: String,
        /// What the file system said.
        source: io::Error,
    },
    /// There is no room for another segment of the log. Nothing is lost: the first `appended`
    /// records are in the log, and the others can be appended as soon as there is room.
    #[error("the disk of the data directory is full; free some space or enlarge the volume")]
    Full {
        /// How many of the given records were appended before there was no room.
        appended: usize,
    },
    /// An earlier write or sync failed, so nothing that this log says can be trusted (R23).
    #[error("the log failed earlier and takes no more writes; start the node again")]
    Poisoned,
    /// A record that no segment has room for.
    #[error("a record of {bytes} bytes is larger than the log takes ({limit} bytes)")]
    RecordTooLarge {
        /// Its size.
        bytes: u64,
        /// The largest size.
        limit: u64,
    },
    /// Records in an order that a correct node never writes. Nothing was written.
    #[error("the log cannot hold such records: {0}; this is a defect of the program, report it")]
    Disorder(&'static str),
    /// What was durable is damaged (R22).
    #[error(
        "{file} is damaged at byte {offset}: {what}. It was durable, so cutting it off could lose \
         votes and acknowledged writes, and this node does not start. Check the disk; then give \
         the node an undamaged copy of its newest data directory, or leave it out of the cluster. \
         Do not delete single files"
    )]
    Rotten {
        /// Which file of the data directory.
        file: String,
        /// Where, in bytes from its beginning.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
    /// A file of another version of the format, or none of ours.
    #[error(
        "{file} has format version {found}, this program reads version {supported}; run the \
         version of the program that wrote it"
    )]
    OtherFormat {
        /// Which file of the data directory.
        file: String,
        /// Its version.
        found: u32,
        /// The version known here.
        supported: u32,
    },
    /// Another process uses the data directory.
    #[error(
        "{path} is in use by another process; stop that one, or give this node a data directory \
         of its own"
    )]
    Locked {
        /// The directory.
        path: String,
    },
    /// The directory belongs to another node.
    #[error(
        "this data directory belongs to node {found}, not to node {wanted}; start it with \
         id {found}, or give node {wanted} its own data directory"
    )]
    OtherNode {
        /// Whose directory it is.
        found: NodeId,
        /// Who wants it.
        wanted: NodeId,
    },
    /// Files that belong together are not all there.
    #[error(
        "{what} is missing from the data directory, but {beside} is there; a node that forgot \
         its votes must not vote, so it does not start. Give it back its whole, newest data \
         directory, or start with an empty one as a new node"
    )]
    Missing {
        /// What is not there.
        what: String,
        /// What says that it should be.
        beside: String,
    },
    /// The cluster has turned this disk away, and it must not vote again (R15).
    #[error(
        "this data directory was turned away by its cluster and is not used again: {sentence} \
         (its file \"quarantined\" says so)"
    )]
    Quarantined {
        /// What the cluster said.
        sentence: String,
    },
    /// The node is a member of a cluster and cannot be founded into another.
    #[error(
        "this node already belongs to cluster {cluster}; a new cluster needs an empty data \
         directory"
    )]
    Founded {
        /// Its cluster.
        cluster: u64,
    },
    /// The node has no cluster yet.
    #[error("this node belongs to no cluster yet; found one before its log is opened")]
    NotFounded,
    /// The log has a term of a later epoch than the cluster: somebody began to recover this disk
    /// into that epoch, and did not get to the end (R14).
    #[error(
        "this data directory is on its way from epoch {from} into epoch {to}, because `remember \
         recover` did not get to its end; run that again with --epoch {to}, or a later one"
    )]
    BetweenEpochs {
        /// The epoch of its cluster.
        from: Epoch,
        /// The epoch of its log.
        to: Epoch,
    },
    /// The epoch is not above all that the disk knows (R14).
    #[error(
        "epoch {epoch} cannot be begun with this data directory: it is of epoch {known} already, \
         and tokens must never come again; choose one from {} to {}", known.0.saturating_add(1),
        Epoch::MAX
    )]
    EpochUsed {
        /// The one that was asked for.
        epoch: Epoch,
        /// The latest one that the disk knows.
        known: Epoch,
    },
    /// Nothing of any cluster was ever kept in the directory.
    #[error("this data directory belongs to no cluster; there is nothing in it to recover")]
    NothingHeld,
    /// A backup was being restored into the directory, and that did not get to its end.
    #[error(
        "a backup was being restored into this data directory, and that did not get to its end; \
         run `remember snapshot restore` again, or remove the directory"
    )]
    HalfRestored,
    /// A backup is restored into an empty directory only.
    #[error(
        "the data directory is not empty: {file} is there; nothing was changed, restore into one \
         that is new"
    )]
    NotEmpty {
        /// One of the files that are there.
        file: String,
    },
    /// A membership that does not name this disk, or is too large.
    #[error(
        "the membership does not fit this disk (node {id}, incarnation {incarnation:016x}): {what}"
    )]
    Membership {
        /// This node.
        id: NodeId,
        /// This disk.
        incarnation: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A piece of a snapshot that does not follow on what came before.
    #[error("the snapshot goes on at byte {expected}, but a piece for byte {given} came")]
    OutOfPlace {
        /// Where the next piece belongs.
        expected: u64,
        /// Where the given one belongs.
        given: u64,
    },
    /// A snapshot of something else, or larger, than was announced.
    #[error("the snapshot that came is not the one announced ({announced:?}): {what}")]
    OtherSnapshot {
        /// The announced position.
        announced: Position,
        /// What differs.
        what: &'static str,
    },
    /// A setting that cannot work.
    #[error("{0}")]
    Setting(&'static str),
}

impl Error {
    /// For `map_err`: an I/O error of `file`, tried as `action`.
    pub(super) fn io(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self + use<> {
        let file = file.to_owned();
        move |source| Self::Io {
            action,
            file,
            source,
        }
    }

    /// What was durable is damaged.
    pub(super) fn rotten(file: &str, offset: u64, what: &'static str) -> Self {
        Self::Rotten {
            file: file.to_owned(),
            offset,
            what,
        }
    }

    /// A membership that this disk cannot take.
    pub(super) fn membership(id: NodeId, incarnation: Incarnation, what: &'static str) -> Self {
        Self::Membership {
            id,
            incarnation: incarnation.0,
            what,
        }
    }
}
