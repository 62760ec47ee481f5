//! The HTTP surface of a node: what applications, operators and people ask it.
//!
//! ```text
//!   TCP --> listener --> connection --> router --> kv, listing, key_watch, role_watch, leader,
//!           (limits)     (hyper)    |          snapshot
//!                                   \-> admin ---> health, metrics
//!                                             \--> Handle, the node itself
//! ```
//!
//! A witness has one port of its own, with another router (`witness`).
//!
//! Two ports: the API, which acts and may be secured, and the admin port, which has nothing secret
//! and nothing that acts. Everything runs on the node's one thread. Whatever a client can make
//! grow has a limit in [`Limits`]: connections, event streams, bytes held for those who read or
//! send slowly.
//!
//! Not here: what a request means (`state`), how it is replicated (`node`), who may connect
//! ([`Transport`]).

mod act;
mod admin;
mod api;
mod body;
mod bootstrap;
mod connection;
mod events;
mod health;
mod key_watch;
mod kv;
mod leader;
mod limits;
mod listener;
mod listing;
mod members;
mod metrics;
mod pages;
mod query;
mod quota;
mod reply;
mod role_watch;
mod router;
mod snapshot;
mod standing;
mod transport;
mod witness;

#[cfg(test)]
mod tests;

pub use limits::Limits;
pub use listener::Server;
pub use transport::{Certified, Mutual, Peer, Plain, Transport};
pub use witness::WitnessServer;
