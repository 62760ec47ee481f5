//! The StatefulSet that makes the pods and their volumes, and what may disrupt those.

use serde_json::{Value, json};

use super::{Component, Defaults, Extent, name_of, owned, pod, selector, sidecar, with};
use crate::crd::{RememberCluster, Storage, VolumePolicy, peers_service};
use crate::operator::validate::Refusal;

/// The pods, all at once: none of them can found the cluster without the others. They are replaced
/// by the operator, one at a time and the leader last, never by the StatefulSet (R4, R8).
pub(super) fn stateful_set(
    cluster: &RememberCluster,
    extent: Extent,
    defaults: &Defaults,
) -> Result<Value, Refusal> {
    let name = name_of(cluster);
    let set = owned(cluster, ("apps/v1", "StatefulSet"), name, Component::Nodes)?;
    let mut spec = json!({
        "replicas": extent.pods,
        "serviceName": peers_service(name),
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "selector": {"matchLabels": selector(cluster)},
        "template": pod::template(cluster, defaults),
    });
    if let Some(storage) = &cluster.spec.storage {
        let when_deleted = match storage.when_deleted {
            VolumePolicy::Retain => "Retain",
            VolumePolicy::Delete => "Delete",
        };
        // A member that has left comes back on its disk, if it comes back.
        spec["persistentVolumeClaimRetentionPolicy"] =
            json!({"whenDeleted": when_deleted, "whenScaled": "Retain"});
        spec["volumeClaimTemplates"] = json!([claim(cluster, storage)]);
    }
    Ok(with(set, "spec", spec))
}

/// What the volume of each pod is made of. It has the cluster's label, so that what stays of a
/// cluster can be found.
fn claim(cluster: &RememberCluster, storage: &Storage) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": storage.size}},
    });
    if let Some(class) = &storage.storage_class_name {
        spec["storageClassName"] = class.as_str().into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": sidecar::DATA_VOLUME, "labels": selector(cluster)},
        "spec": spec,
    })
}

/// How many pods whoever empties machines may take at once. Whatever is not ready counts as away,
/// so that a pod without a vote never stands in for one with a vote.
pub(super) fn disruption_budget(
    cluster: &RememberCluster,
    extent: Extent,
) -> Result<Value, Refusal> {
    let kind = ("policy/v1", "PodDisruptionBudget");
    let budget = owned(cluster, kind, name_of(cluster), Component::Nodes)?;
    let spec = json!({
        "maxUnavailable": extent.disruptions,
        "selector": {"matchLabels": selector(cluster)},
    });
    Ok(with(budget, "spec", spec))
}
