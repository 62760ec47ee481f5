//! The consensus engine: who leads, and what is agreed (S1-S5, S9-S12).
//!
//! A deterministic state machine that does no I/O. It is told what happened and what time it is,
//! and answers with what is to be done:
//!
//! ```text
//!   messages, requests, durable writes,            writes, messages, committed entries,
//!   link events, time                              answers, events
//!          |                                                    ^
//!          +--> Node::turn(now, inputs, &mut outputs) ----------+
//!          <--- Node::deadline(): call again by then
//! ```
//!
//! It knows no clock, no randomness but a seed, no files, no sockets, no threads and no encoding.
//! Storage is an output: one ordered stream of writes, whose completion is a number. The order
//! "durable before told" (Raft 5.2, 5.3) is kept in here, so no driver can break it.
//!
//! The parts: [`Node`] routes each input; `election` wins and loses terms; `suspicion` decides
//! when a leader is thought gone; `append` is the follower's log, `replication` the leader's;
//! `supply` lets a candidate have what its log lacks; `progress` is one follower as the leader sees
//! it; `read` confirms linearizable reads;
//! `forward` passes requests to the leader; `transfer` hands over; `configuration` says who belongs
//! and what they agree on, `change` changes that, and `upkeep` does so by itself; `witness` lets
//! one of two go on alone; `identity` judges who comes, and `boots` tells a disk from its copies;
//! [`Presence`] tells a member that was let go from one that somebody removed.

#![deny(clippy::disallowed_methods)]

mod append;
mod boots;
mod change;
mod claim;
mod config;
mod configuration;
mod configurations;
mod durability;
mod election;
mod entry;
mod event;
mod forward;
mod id;
mod identity;
mod input;
mod lapses;
mod log;
mod message;
mod node;
mod output;
mod presence;
mod progress;
mod quorum;
mod read;
mod register;
mod replication;
mod rng;
mod role;
mod snapshot;
mod status;
mod supply;
mod suspicion;
mod transfer;
mod upkeep;
mod witness;

pub use boots::Boots;
pub use change::{Change, ChangeRefusal, MEMBERS_MAX, REMOVED_MAX};
pub use config::{Config, ConfigError};
pub use configuration::{Configuration, Seat};
pub use configurations::Placed;
pub use entry::{Entry, Payload};
pub use event::{Event, Role, StepDown, Suspicion, Upkeep};
pub use id::{
    Boot, ClusterId, Epoch, Incarnation, Index, IoSeq, MemberId, Mono, NODE_ID_MAX, NodeId,
    Position, Term, Ticket,
};
pub use identity::{Founding, Membership, Rejection, Report, found};
pub use input::{Input, LinkEvent};
pub use message::{
    Append, AppendOutcome, AppendReply, Ballot, Beat, BeatReply, ENTRIES_MAX, Forward,
    ForwardReply, Hello, Message, Refusal, Verdict, VoteReply, VoteRequest,
};
pub use node::Node;
pub use output::{HardState, Output, PeerRecord, Record, Write};
pub use presence::Presence;
pub use register::{Answer, Ask, Register, Word};
pub use status::{Recovered, Status};
