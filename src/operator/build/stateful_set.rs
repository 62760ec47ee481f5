//! The StatefulSet that makes the pods and their volumes, and what may disrupt those.

use serde_json::{Value, json};

use super::{Component, Defaults, name_of, owned, pod, selector, sidecar, with};
use crate::crd::{RememberCluster, VolumePolicy, peers_service};
use crate::operator::validate::Refusal;

/// The pods, all at once: none of them can found the cluster without the others. They are replaced
/// by the operator, one at a time and the leader last, never by the StatefulSet (R4, R8).
pub(super) fn stateful_set(
    cluster: &RememberCluster,
    defaults: &Defaults,
) -> Result<Value, Refusal> {
    let name = name_of(cluster);
    let set = owned(cluster, ("apps/v1", "StatefulSet"), name, Component::Nodes)?;
    let when_deleted = match cluster.spec.storage.when_deleted {
        VolumePolicy::Retain => "Retain",
        VolumePolicy::Delete => "Delete",
    };
    let spec = json!({
        "replicas": cluster.spec.replicas,
        "serviceName": peers_service(name),
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "persistentVolumeClaimRetentionPolicy": {
            "whenDeleted": when_deleted,
            "whenScaled": "Retain",
        },
        "selector": {"matchLabels": selector(cluster)},
        "template": pod::template(cluster, defaults),
        "volumeClaimTemplates": [claim(cluster)],
    });
    Ok(with(set, "spec", spec))
}

/// What the volume of each pod is made of. It has the cluster's label, so that what stays of a
/// cluster can be found.
fn claim(cluster: &RememberCluster) -> Value {
    let storage = &cluster.spec.storage;
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

/// Whoever empties machines may take one pod at a time. With one pod, that is the whole cluster: no
/// number would both protect it and let its machine ever be emptied.
pub(super) fn disruption_budget(cluster: &RememberCluster) -> Result<Value, Refusal> {
    let kind = ("policy/v1", "PodDisruptionBudget");
    let budget = owned(cluster, kind, name_of(cluster), Component::Nodes)?;
    let spec = json!({
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector(cluster)},
    });
    Ok(with(budget, "spec", spec))
}
