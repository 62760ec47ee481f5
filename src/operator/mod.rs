//! The operator: makes what a `RememberCluster` asks for, and leads traffic to its leader.
//!
//! ```text
//!   run.rs        watches clusters, objects and pods, and has each cluster visited
//!     reconcile.rs    a visit: observe -> validate -> build -> apply -> report
//!       validate.rs, build/   objects from a spec; no client, no clock
//!       certificates.rs       who gets which; secrets.rs carries it out
//!       apply.rs              writes what is not yet so
//!       ownership.rs, stamp.rs   and is ours to write, and nobody else's
//!       founding.rs           whose cluster the pods are; founder.rs carries it out
//!       scale.rs              who is to join or to leave; scaler.rs carries it out
//!       roll.rs               which pod is next; roller.rs carries it out
//!       witness.rs            what one of two may ask to go on alone
//!       ask.rs                what the leader has to do itself
//!       status.rs, events.rs  what users are told
//!     route/          a task a cluster: whom to believe, whom to label
//!     record.rs       the one object by which operators agree (R1, R3)
//! ```
//!
//! It elects nobody and never asks a node of this process: it hears over HTTP what nodes say of
//! themselves, and writes labels ([`route`]). Any number of operators may run at once: they do the
//! same, and where that would do harm, the record says whose turn it is. None of them is needed for
//! an election.
//!
//! `route` decides and calls nobody, so it builds with the pure layers, and bugs are planted in it
//! as in them (`tests/mutants`).

#[cfg(feature = "full")]
mod admin;
#[cfg(feature = "full")]
mod apply;
#[cfg(feature = "full")]
mod ask;
#[cfg(feature = "full")]
mod backoff;
#[cfg(feature = "full")]
pub mod build;
#[cfg(feature = "full")]
pub mod certificates;
#[cfg(feature = "full")]
mod context;
#[cfg(feature = "full")]
mod error;
#[cfg(feature = "full")]
mod events;
#[cfg(feature = "full")]
mod founder;
#[cfg(feature = "full")]
mod founding;
#[cfg(feature = "full")]
mod metrics;
#[cfg(feature = "full")]
mod ownership;
#[cfg(feature = "full")]
mod patch;
#[cfg(feature = "full")]
mod pods;
#[cfg(feature = "full")]
mod reconcile;
#[cfg(feature = "full")]
mod record;
#[cfg(feature = "full")]
mod roll;
#[cfg(feature = "full")]
mod roller;
pub mod route;
#[cfg(feature = "full")]
mod run;
#[cfg(feature = "full")]
mod scale;
#[cfg(feature = "full")]
mod scaler;
#[cfg(feature = "full")]
mod secrets;
#[cfg(feature = "full")]
mod stamp;
#[cfg(feature = "full")]
mod status;
#[cfg(feature = "full")]
pub mod validate;
#[cfg(feature = "full")]
mod witness;

#[cfg(feature = "full")]
pub use context::Settings;
#[cfg(feature = "full")]
pub use founding::{Disk, Founder, Founding, Hex, Voter};
#[cfg(feature = "full")]
pub use pods::{ClusterKey, PodView, PodViews, Pods, SidecarState};
#[cfg(feature = "full")]
pub use record::{Fence, Record, Records, Step, StepKind};
#[cfg(feature = "full")]
pub use run::{RunError, run};
