//! The operator: makes what a `RememberCluster` asks for, and leads traffic to its leader.
//!
//! It elects nobody and never asks a node of this process: it hears over HTTP what nodes say of
//! themselves, and writes labels ([`route`]). Any number of operators may run at once.
//!
//! ```text
//!   RememberCluster --> validate.rs --> build/          the objects of a cluster
//!   two Secrets     --> certificates.rs                 what they should hold
//!   role streams    --> route/                          who carries the leader's label
//! ```
//!
//! None of these calls anybody: they are told what there is, and say what should be. `route` builds
//! with the pure layers as well, and bugs are planted in it as in them (`tests/mutants`).

#[cfg(feature = "full")]
pub mod build;
#[cfg(feature = "full")]
pub mod certificates;
#[cfg(feature = "full")]
mod patch;
#[cfg(feature = "full")]
mod pods;
#[cfg(feature = "full")]
mod record;
pub mod route;
#[cfg(feature = "full")]
pub mod validate;

#[cfg(feature = "full")]
pub use pods::{ClusterKey, PodView, PodViews, Pods};
#[cfg(feature = "full")]
pub use record::{Fence, Record, Records, Step, StepKind};
