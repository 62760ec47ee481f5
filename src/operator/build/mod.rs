//! The objects that a cluster consists of, made from its spec and its extent alone: the same always
//! give the same objects. Nothing is asked and nothing is sent.
//!
//! ```text
//!   RememberCluster --+--> extent.rs         how many pods run, how many may be away
//!                     +--> stateful_set.rs   the pods and their volumes; what may disrupt them
//!                     |      pod.rs            the user's pod, and beside it
//!                     |      sidecar.rs        the container in which the node runs
//!                     +--> services.rs       NAME-leader, NAME-followers, NAME-peers
//!                     +--> access.rs         what the pods may ask of the API server
//! ```
//!
//! Not here: the two Secrets, which [`super::certificates`] plans, the record in which operators
//! agree, and the witness of a pair, which only sidecars write. [`owned`] begins those like all
//! others.

mod access;
mod extent;
mod pod;
mod services;
mod sidecar;
mod stateful_set;

#[cfg(test)]
mod tests;

pub use extent::Extent;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Resource as _;
use serde_json::{Value, json};

use super::validate::{Refusal, validate};
use crate::consensus::NodeId;
use crate::crd::{CLUSTER_LABEL, FIELD_MANAGER, RememberCluster, SIDECAR};

/// What the operator gives to clusters that do not say otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Defaults {
    /// The image of the sidecar: the operator's own.
    pub image: String,
    /// When a machine fetches it; what Kubernetes does by itself if not said.
    pub image_pull_policy: Option<String>,
}

/// What part an object plays in its cluster, as its labels tell people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Component {
    /// The nodes, and what they need.
    Nodes,
    /// What leads traffic to them.
    Traffic,
    /// What they may ask, and as whom.
    Access,
    /// What operators agree on.
    Record,
    /// What one of two asks to go on alone.
    Witness,
}

impl Component {
    fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Traffic => "traffic",
            Self::Access => "access",
            Self::Record => "record",
            Self::Witness => "witness",
        }
    }
}

/// All objects of a cluster but its Secrets, its record and its witness, in the order in which to
/// make them.
pub fn build(
    cluster: &RememberCluster,
    extent: Extent,
    defaults: &Defaults,
) -> Result<Vec<Value>, Refusal> {
    validate(cluster)?;
    let mut objects = access::objects(cluster)?;
    objects.extend(services::objects(cluster)?);
    objects.push(stateful_set::disruption_budget(cluster, extent)?);
    objects.push(stateful_set::stateful_set(cluster, extent, defaults)?);
    Ok(objects)
}

/// The pod in which member `id` of a cluster runs: ordinals count from 0, ids from 1.
#[must_use]
pub fn pod_name(cluster: &str, id: NodeId) -> String {
    format!("{cluster}-{}", id.0.saturating_sub(1))
}

/// The claim of the volume of member `id`, if volumes are asked for.
#[must_use]
pub fn claim_name(cluster: &str, id: NodeId) -> String {
    format!("{}-{}", sidecar::DATA_VOLUME, pod_name(cluster, id))
}

/// Whether the pods of this StatefulSet are told of a witness.
#[must_use]
pub fn has_witness(set: &StatefulSet) -> bool {
    let pod = set.spec.template.spec.as_ref();
    let containers = pod.and_then(|pod| pod.init_containers.as_ref());
    let mut sidecars = containers.into_iter().flatten();
    let sidecar = sidecars.find(|one| one.name == SIDECAR);
    let args = sidecar.and_then(|sidecar| sidecar.args.as_ref());
    args.is_some_and(|args| args.iter().any(|arg| arg == sidecar::WITNESS_FLAG))
}

/// The beginning of any object of a cluster: its type, its name, its labels, and that it goes when
/// the cluster goes.
pub fn owned(
    cluster: &RememberCluster,
    (api_version, kind): (&str, &str),
    name: &str,
    component: Component,
) -> Result<Value, Refusal> {
    let owner = cluster.controller_owner_ref(&());
    let (Some(owner), Some(namespace)) = (owner, &cluster.metadata.namespace) else {
        return Err(Refusal {
            reason: "NotStored",
            sentence: "the cluster has no uid or no namespace: only an API server gives it both, \
                       and its objects cannot be its own without them"
                .to_owned(),
        });
    };
    let part_of = "remember";
    Ok(json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                CLUSTER_LABEL: name_of(cluster),
                "app.kubernetes.io/name": part_of,
                "app.kubernetes.io/instance": name_of(cluster),
                "app.kubernetes.io/component": component.name(),
                "app.kubernetes.io/part-of": part_of,
                "app.kubernetes.io/managed-by": FIELD_MANAGER,
            },
            "ownerReferences": [{
                "apiVersion": owner.api_version,
                "kind": owner.kind,
                "name": owner.name,
                "uid": owner.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
    }))
}

/// An object that says this in one field besides its beginning.
fn with(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}

fn name_of(cluster: &RememberCluster) -> &str {
    cluster.metadata.name.as_deref().unwrap_or_default()
}

/// The labels by which all pods of a cluster are selected, whatever else they carry.
fn selector(cluster: &RememberCluster) -> Value {
    json!({CLUSTER_LABEL: name_of(cluster)})
}
