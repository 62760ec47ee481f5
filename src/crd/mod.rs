//! The custom resource `RememberCluster`: what users write, what they are told, and how the two are
//! described to Kubernetes. It talks to nothing.
//!
//! ```text
//!   cluster.rs  spec     what users ask for ----+
//!   template.rs            their own pod        +--> definition.rs --> crds/*.yaml
//!   status.rs   status   what they are told ----+
//!   condition.rs           in words of one kind
//!   names.rs    labels, ports, names of objects: node and operator meet here
//! ```
//!
//! Mistakes are refused by the API server itself, with the sentences that stand beside each field,
//! before anything is built on them (R6).

#[expect(
    unreachable_pub,
    reason = "a derived twin of each type is as public as it"
)]
mod cluster;
mod condition;
mod definition;
mod names;
#[expect(
    unreachable_pub,
    reason = "a derived twin of each type is as public as it"
)]
mod status;
mod template;

pub use cluster::{
    Election, RememberCluster, RememberClusterSpec, Service, ServicePort, Sidecar, Storage,
    VolumePolicy, Witness,
};
pub use condition::{ConditionKind, Conditions};
pub use definition::{DefinitionError, definition_yaml};
pub use names::*;
pub use status::{
    LEARNER, LEAVING, LeaderStatus, MemberStatus, NO_SEAT, RememberClusterStatus, VOTER,
};
pub use template::{Template, TemplateError};
