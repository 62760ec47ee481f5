//! Remember gives a replicated application one leader a term, hands it a fencing token, and keeps
//! a small replicated state beside it.
//!
//! The library is built in layers, and the arrows only ever point down:
//!
//! ```text
//!   wire     what nodes say to each other: frames, versions, golden bytes
//!   storage  the write-ahead log, snapshots and identity of one data directory
//!   state    the replicated key-value state machine and the cluster-info document
//!      \        |        /
//!           consensus       who leads, what is agreed; told the time, returns what to do
//! ```
//!
//! These four, and the operator's `route`, build with `--no-default-features`: no runtime, no
//! Kubernetes, no clock.

#[cfg(feature = "full")]
pub mod cli;
pub mod consensus;
#[cfg(feature = "full")]
pub mod crd;
#[cfg(feature = "full")]
pub mod discovery;
#[cfg(feature = "full")]
pub mod node;
pub mod operator;
#[cfg(feature = "full")]
pub mod server;
pub mod state;
pub mod storage;
#[cfg(feature = "full")]
pub mod tls;
pub mod wire;
#[cfg(feature = "full")]
pub mod witness;
