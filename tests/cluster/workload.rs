//! What stories put on the cluster: volumes, namespaces, and a StatefulSet of bare nodes.

use std::fs;

use serde_json::{Value, json};

use crate::cluster::{Cluster, root};

/// The class of the volumes that [`provide_volumes`] makes.
pub(crate) const STORAGE_CLASS: &str = "local";

/// The image that the stories load.
pub(crate) fn image() -> String {
    format!("remember:{}", env!("CARGO_PKG_VERSION"))
}

/// Gives that image to all machines.
pub(crate) fn load_image(cluster: &Cluster) {
    cluster.load(&root().join("target/image/remember.tar"));
}

/// Makes `count` volumes on each node, for whoever claims them first. They are directories of the
/// machine; what is on them stays until the cluster ends.
pub(crate) fn provide_volumes(cluster: &Cluster, count: usize) {
    cluster.apply(&json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }));
    let mut volumes = Vec::new();
    for node in cluster.node_names() {
        for number in 0..count {
            let path = cluster
                .directory()
                .join(&node)
                .join(format!("volumes/{number}"));
            fs::create_dir_all(&path).unwrap();
            volumes.push(json!({
                "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": {"name": format!("{node}-{number}")},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": STORAGE_CLASS,
                    "local": {"path": path},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{
                        "key": "kubernetes.io/hostname", "operator": "In", "values": [node],
                    }]}]}},
                },
            }));
        }
    }
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": volumes}));
}

/// A namespace in which only unprivileged pods may run.
pub(crate) fn make_namespace(cluster: &Cluster, name: &str) {
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }));
    // Pods need it, and it comes a moment later.
    crate::cluster::wait_for("the namespace's account", || {
        let account = [
            "-n",
            name,
            "get",
            "serviceaccount",
            "default",
            "--ignore-not-found",
        ];
        (!cluster.kubectl(&account).is_empty()).then_some(())
    });
}

/// What a container may, in such a namespace.
pub(crate) fn unprivileged() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// What a pod is, in such a namespace.
pub(crate) fn unprivileged_pod() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// Three nodes in pods that find each other by the API server, without any operator.
pub(crate) fn run_bare_nodes(cluster: &Cluster, namespace: &str, name: &str) {
    let account = json!({"name": name, "namespace": namespace});
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": account,
    }));
    cluster.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": account,
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
    }));
    cluster.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": account,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }));
    cluster.apply(&stateful_set(namespace, name));
}

fn stateful_set(namespace: &str, name: &str) -> Value {
    let labels = json!({"remember.krest.io/cluster": name});
    let from_pod = |variable: &str, field: &str| {
        let source = json!({"fieldRef": {"fieldPath": field}});
        json!({"name": variable, "valueFrom": source})
    };
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": 7402}, "periodSeconds": 1});
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 3,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": name,
                    "securityContext": unprivileged_pod(),
                    "containers": [{
                        "name": "remember",
                        "image": image(),
                        "imagePullPolicy": "Never",
                        "args": [
                            "node", "--cluster", name, "--replicas", "3", "--data-dir", "/data",
                            "--allow-plain", "--listen-admin", "0.0.0.0:7402",
                        ],
                        "env": [
                            from_pod("REMEMBER_POD_NAME", "metadata.name"),
                            from_pod("REMEMBER_POD_NAMESPACE", "metadata.namespace"),
                            from_pod("REMEMBER_POD_IP", "status.podIP"),
                        ],
                        "startupProbe": probe("/startupz"),
                        "livenessProbe": probe("/livez"),
                        "readinessProbe": probe("/readyz"),
                        "securityContext": unprivileged(),
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }],
                    "topologySpreadConstraints": [{
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "DoNotSchedule",
                        "labelSelector": {"matchLabels": labels},
                    }],
                },
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": STORAGE_CLASS,
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }],
        },
    })
}
