//! The label path: from what nodes say to the one pod that carries the leader's label.
//!
//! ```text
//!   role streams --Reports--> verdict.rs   which claim to believe (R2)
//!                                 |
//!                              Belief
//!                                 v
//!   API server <--Call---- labelling.rs    the five steps that never show two leaders (R1)
//!              --Answer-->
//! ```
//!
//! Both are values that are told what happened and say what to do next. Whoever carries it out adds
//! no rule, so that a search can try every interleaving of several operators on the very code
//! (`tests/labelling.rs`).

mod labelling;
mod verdict;

pub use labelling::{Answer, Call, End, Labelling, PodRole, PodSeen};
pub use verdict::{Belief, Claim, Report, judge};
