//! The objects that a cluster consists of, made from its spec alone.

use crate::consensus::NodeId;

/// The pod in which member `id` of a cluster runs: ordinals count from 0, ids from 1.
#[must_use]
pub fn pod_name(cluster: &str, id: NodeId) -> String {
    format!("{cluster}-{}", id.0.saturating_sub(1))
}
