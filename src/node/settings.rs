//! What a node is told before it starts, checked as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::consensus::{Config, ConfigError, NodeId};
use crate::storage::{JournalConfig, WalConfig};
use crate::tls;
use crate::wire::{self, MemberAddress, limits::LimitError};
use crate::witness::Witness;

/// The settings of one node; [`Settings::check`] says what is wrong with them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub id: NodeId,
    /// This node and those that it knows (S7: "all configured nodes"), and where each is reached;
    /// `None` until that is learned. All who are to found a cluster know all of them; a node that
    /// joins one needs to know one other.
    pub members: BTreeMap<NodeId, Option<MemberAddress>>,
    /// Whether those may be reached elsewhere later, as pods are. Where a node is that came after
    /// the founding is learned in any case, and kept in the data directory.
    pub addresses_change: bool,
    /// Whether this node founds no cluster by itself, but registers with the one that the others
    /// belong to (S7), or is told that it is among the founders of one ([`Handle::bootstrap`]).
    ///
    /// [`Handle::bootstrap`]: super::Handle::bootstrap
    pub joins: bool,
    /// The uid of the pod that this node runs in; only told on, to whoever routes to pods (R2).
    pub pod: Option<String>,
    /// The directory that is this node's alone.
    pub data_dir: PathBuf,
    /// Timings and limits of the engine.
    pub engine: Config,
    /// The log on disk.
    pub wal: WalConfig,
    /// The thread that writes it.
    pub journal: JournalConfig,
    /// A snapshot is taken when the log behind the last one outgrows this, in bytes, and the state.
    pub snapshot_log_bytes: usize,
    /// How long a client's request may take before it is answered with a failure.
    pub request_timeout: Duration,
    /// Who keeps the register by which one of two may go on alone (R17); the engine is told that
    /// there is one.
    pub witness: Option<Witness>,
    /// What this node shows to its peers, and demands of them (R11); without it links are plain.
    pub tls: Option<tls::Identity>,
}

/// Settings that cannot work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// The node is not in its own list.
    #[error("node {0} is not in the list of members; add it, with its own addresses")]
    NotAMember(NodeId),
    /// A peer whose address is neither given nor can be learned.
    #[error("node {0} has no address, and addresses do not change; say where it is reached")]
    NoAddress(NodeId),
    /// Ids start at 1.
    #[error("node ids start at 1; 0 is none")]
    ZeroId,
    /// Two members with one address.
    #[error("two members have the address {0}; each needs its own")]
    SharedAddress(String),
    /// The engine's timings or limits.
    #[error(transparent)]
    Engine(#[from] ConfigError),
    /// The engine's limits against those of the wire.
    #[error(transparent)]
    Wire(#[from] LimitError),
    /// The log.
    #[error("{0}")]
    Storage(String),
    /// The largest command does not fit in a record of the log.
    #[error(
        "a command may have {command} bytes, but the log takes records of {record} bytes; make \
         its segments longer"
    )]
    SmallRecords {
        /// The engine's limit.
        command: usize,
        /// The log's.
        record: u64,
    },
}

impl Settings {
    /// The settings of node `id` in a cluster of `members`, with every default.
    pub fn new(
        id: NodeId,
        members: BTreeMap<NodeId, MemberAddress>,
        data_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            id,
            members: members
                .into_iter()
                .map(|(id, address)| (id, Some(address)))
                .collect(),
            addresses_change: false,
            joins: false,
            pod: None,
            data_dir: data_dir.into(),
            engine: Config::default(),
            wal: WalConfig::default(),
            journal: JournalConfig::default(),
            snapshot_log_bytes: 16 << 20,
            request_timeout: Duration::from_secs(5),
            witness: None,
            tls: None,
        }
    }

    /// Says whether a node can start with these settings.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.members.contains_key(&NodeId(0)) {
            return Err(SettingsError::ZeroId);
        }
        if self.members.get(&self.id).is_none_or(Option::is_none) {
            return Err(SettingsError::NotAMember(self.id));
        }
        let unknown = self.members.iter().find(|(_, address)| address.is_none());
        if let Some((id, _)) = unknown.filter(|_| !self.addresses_change) {
            return Err(SettingsError::NoAddress(*id));
        }
        let mut seen = BTreeSet::new();
        for address in self
            .members
            .values()
            .flatten()
            .flat_map(|member| [&member.peer, &member.api])
        {
            if !seen.insert(address.to_string()) {
                return Err(SettingsError::SharedAddress(address.to_string()));
            }
        }
        self.engine.check()?;
        wire::limits::check(&self.engine)?;
        self.wal
            .check()
            .map_err(|error| SettingsError::Storage(error.to_string()))?;
        let (command, record) = (self.engine.command_bytes_max, self.wal.record_bytes_max());
        if command as u64 + 64 > record {
            return Err(SettingsError::SmallRecords { command, record });
        }
        Ok(())
    }

    /// The other members.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.members.keys().copied().filter(|id| *id != self.id)
    }
}
