//! The shell around the engine: one thread, one runtime, real sockets, real time and a real disk.
//!
//! ```text
//!             one thread                                          its own threads
//!   dialer (one a peer)   <-- outbox --+                          the log (storage::Journal)
//!   acceptor, one reader a peer -------+-- driver -- engine       a snapshot being written
//!   Handle (server, command line) -----+      |                   a snapshot being restored
//!                                             +-- state machine
//! ```
//!
//! `run` puts a node together and takes it apart; `founding` and `joining` are its first start;
//! `driver` is the one loop; `peers` are the others, `dialing` chooses them, `dialer`, `acceptor`
//! and `outbox` are the links to them, and `addresses` where they lead to; `snapshots` moves
//! snapshots, and `aside` keeps what takes long off the thread;
//! `fitness` and `abstention` keep a node without its application from leading;
//! `witness` asks the register of a pair;
//! `backup` is its state as a file, and `recovery` what its disk is worth without the others;
//! `waiting` are its clients; [`Handle`] is their way in. No rule of consensus lives here: the
//! engine decides, this carries out.

mod abstention;
mod acceptor;
mod addresses;
mod aside;
mod backup;
mod context;
mod dialer;
mod dialing;
mod driver;
#[cfg(test)]
pub(crate) mod fake;
mod fitness;
mod founding;
mod handle;
mod joining;
mod outbox;
mod peers;
mod recovery;
mod run;
mod settings;
mod snapshot_receiver;
mod snapshot_sender;
mod snapshots;
mod task;
mod waiting;
mod witness;

pub use backup::{Backup, BackupError, Restore};
pub use driver::Stopped;
pub use fitness::{Apps, heed_apps};
pub use handle::{Failure, Handle, NotFounded, Phase, Unchanged};
pub use recovery::{Held, Recovery};
pub use run::{NodeError, Running, start};
pub use settings::{Settings, SettingsError};
pub use witness::WitnessState;
