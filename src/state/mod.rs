//! The replicated state machine: a revisioned key-value store in memory (S2), and the cluster-info
//! document (S6).
//!
//! ```text
//!   committed entries --> Store::apply --> Outcome, what the client is told
//!                           |     |
//!                          View  History --> events since a revision, for watches
//!                           |
//!                           +--> reads; a snapshot stream, written by any thread
//! ```
//!
//! Everything that [`Store::apply`] decides depends on the log alone: no clock, no randomness, no
//! I/O, no setting of one node. So equal logs give equal states, and [`View::hash`] proves it.
//!
//! The parts: [`Command`] is what clients replicate; [`Record`] is one key with its history in
//! numbers; `tree` is the ordered map that is copied on write; [`View`] is one frozen state;
//! [`Store`] applies; `history` remembers the latest changes; `snapshot` is a view as bytes;
//! [`ClusterInfo`] is the S6 document. Not here: when to apply, where snapshots are kept, who may
//! read.

#![deny(clippy::disallowed_methods)]

mod cluster_info;
mod command;
mod history;
mod keys;
mod record;
mod revision;
mod snapshot;
mod store;
mod tree;
mod view;

pub use cluster_info::{Address, ClusterInfo, Member};
pub use command::{
    Command, CommandError, Condition, KEY_BYTES_MAX, QUOTA_BYTES_MAX, VALUE_BYTES_MAX,
};
pub use history::{Batch, Compacted, Event, HistoryLimits};
pub use record::{Key, Record};
pub use revision::Revision;
pub use snapshot::RestoreError;
pub use store::{Outcome, Store};
pub use view::{PAGE_BYTES_MAX, Page, QUOTA_BYTES_DEFAULT, View};
