//! The label path: from what nodes say to the one pod that carries the leader's label.
//!
//! ```text
//!   nodes ----events----> streams.rs       one role stream a pod
//!                             | Reports
//!                             v
//!                         verdict.rs       which claim to believe (R2)
//!                             | Belief
//!                             v
//!   watch of pods ------> decision.rs      what to do about the labels now
//!                             | Act
//!                             v
//!                         router.rs        one a cluster: does it, and tells how it stands
//!                             |
//!                             v
//!   API server <--Call--- labelling.rs     the five steps that never show two leaders (R1)
//!              --Answer-> carry.rs         ... as requests
//! ```
//!
//! `verdict`, `decision` and `labelling` are values that are told what happened and say what to do
//! next. Whoever carries it out adds no rule, so that a search can try every interleaving of
//! several operators on the very code (`tests/labelling.rs`).

#[cfg(feature = "full")]
mod carry;
mod decision;
#[cfg(feature = "full")]
mod events;
mod labelling;
#[cfg(feature = "full")]
mod router;
#[cfg(feature = "full")]
mod streams;
mod verdict;
#[cfg(feature = "full")]
mod view;

#[cfg(feature = "full")]
pub use carry::{Carrier, Fault, GaveUp, OUTRUN_WAIT, ROUNDS_MAX};
pub use decision::{Act, LEADERLESS_MAX, decide};
pub use labelling::{Answer, Call, End, Labelling, PodRole, PodSeen};
#[cfg(feature = "full")]
pub use router::{Router, RouterHandle, Wiring};
#[cfg(feature = "full")]
pub use streams::{Dial, Target, over_tls};
pub use verdict::{Belief, Claim, Report, Reports, Verdict, Witness, judge};
#[cfg(feature = "full")]
pub use view::{Routed, View};
