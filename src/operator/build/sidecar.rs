//! The container in which the node of each pod runs, and its volumes. It meets the level
//! `restricted` of Kubernetes' pod security standards, whatever the user's own containers do.

use serde_json::{Value, json};

use super::{Defaults, name_of};
use crate::crd::{
    ADMIN_PORT, API_PORT, PEER_PORT, RememberCluster, SIDECAR, Sidecar, tls_secret, witness,
};

/// The volume with the node's votes and its log.
pub(super) const DATA_VOLUME: &str = "remember-data";
/// The volume with the certificates of the cluster's pods.
const TLS_VOLUME: &str = "remember-tls";
/// The volume with the pod's account. It has the place where every client of the API server looks,
/// and Kubernetes mounts no other token there.
const TOKEN_VOLUME: &str = "remember-token";

/// The flag that tells a node of the witness of a pair.
pub(super) const WITNESS_FLAG: &str = "--witness-object";

/// As whom the node runs: nobody of the machine.
pub(super) const GROUP_ID: i64 = 65_532;
const USER_ID: i64 = 65_532;

/// How many seconds a node may take to recover its log and to found the cluster with all others,
/// whose machines may have to be made first, until it is started anew.
const STARTUP_SECONDS_MAX: u32 = 600;
/// How many seconds a leader is given to hand over, in which its node goes on (R9). The shortest
/// time that a pod may be given to end is longer.
const HAND_OVER_SECONDS: u32 = 2;
/// For how many seconds a token is valid. The kubelet renews it in time.
const TOKEN_SECONDS: u32 = 3_607;

/// How much memory the node may use if nobody says. A state may have 64 MiB by its quota
/// (`QUOTA_BYTES_DEFAULT` of the state, R21), and as much again while it is written to a snapshot
/// or taken from one; bodies of requests and streams hold up to 128 MiB at once, the log behind
/// the snapshot and what watches remember 16 MiB each, and once more on the way to peers. That
/// makes 320 MiB; the rest is for the program, and for what an allocator leaves unused. Whoever
/// raises the quota raises this by three times as much.
const MEMORY_LIMIT: &str = "512Mi";

/// The sidecar, a container that starts before the user's and ends after them.
pub(super) fn container(cluster: &RememberCluster, defaults: &Defaults) -> Value {
    let Sidecar { image, resources } = &cluster.spec.sidecar;
    let resources = resources.as_ref().map(|resources| json!(resources));
    let mut container = json!({
        "name": SIDECAR,
        "restartPolicy": "Always",
        "image": image.as_ref().unwrap_or(&defaults.image),
        "args": args(cluster),
        "env": [
            from_pod("REMEMBER_POD_NAME", "metadata.name"),
            from_pod("REMEMBER_POD_NAMESPACE", "metadata.namespace"),
            from_pod("REMEMBER_POD_UID", "metadata.uid"),
            from_pod("REMEMBER_POD_IP", "status.podIP"),
            set("REMEMBER_TLS_CERT", &of_pod("crt")),
            set("REMEMBER_TLS_KEY", &of_pod("key")),
            set("REMEMBER_TLS_CA", "/etc/remember/tls/ca.crt"),
            // Whoever asks from within the pod asks this node, and needs no flags for that.
            set("REMEMBER_ENDPOINT", &loopback()),
        ],
        "ports": [
            port("remember-peer", PEER_PORT),
            port("remember-api", API_PORT),
            port("remember-admin", ADMIN_PORT),
        ],
        "startupProbe": probe("/startupz", 1, STARTUP_SECONDS_MAX),
        "livenessProbe": probe("/livez", 5, 3),
        "readinessProbe": probe("/readyz", 1, 3),
        "lifecycle": {"preStop": {"exec": {"command": hand_over()}}},
        "resources": resources.unwrap_or_else(default_resources),
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER_ID,
            "runAsGroup": GROUP_ID,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": DATA_VOLUME, "mountPath": "/var/lib/remember"},
            {"name": TLS_VOLUME, "mountPath": "/etc/remember/tls", "readOnly": true},
            {
                "name": TOKEN_VOLUME,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                "readOnly": true,
            },
        ],
    });
    if let Some(policy) = &defaults.image_pull_policy {
        container["imagePullPolicy"] = policy.as_str().into();
    }
    container
}

/// What the node is told, which does not depend on how many nodes there are: to add one replaces
/// none. Its directory is one below the volume's own, which may hold what the file system keeps
/// there.
fn args(cluster: &RememberCluster) -> Vec<String> {
    let election = &cluster.spec.election;
    let flags = [
        ("--cluster", name_of(cluster).to_owned()),
        ("--data-dir", "/var/lib/remember/data".to_owned()),
        ("--heartbeat-ms", election.heartbeat_ms.to_string()),
        ("--election-timeout-ms", election.timeout_ms.to_string()),
    ];
    let of_witness = cluster.spec.witness;
    let of_witness = of_witness.map(|_| (WITNESS_FLAG, witness(name_of(cluster))));
    let flags = flags.into_iter().chain(of_witness);
    let flags = flags.flat_map(|(flag, value)| [flag.to_owned(), value]);
    std::iter::once("node".to_owned()).chain(flags).collect()
}

/// By a command inside the pod: the kubelet itself has no certificate to ask with (R9).
fn hand_over() -> Vec<String> {
    vec![
        "/remember".to_owned(),
        "transfer".to_owned(),
        "--leaving".to_owned(),
        "--endpoint".to_owned(),
        loopback(),
        "--timeout".to_owned(),
        HAND_OVER_SECONDS.to_string(),
    ]
}

/// No limit of processor time: one delays beats, and so costs leaders (R21).
fn default_resources() -> Value {
    json!({
        "requests": {"cpu": "10m", "memory": "32Mi"},
        "limits": {"memory": MEMORY_LIMIT},
    })
}

/// Where the node answers to its own pod.
fn loopback() -> String {
    format!("127.0.0.1:{API_PORT}")
}

/// A file of the pod's certificate: these are called after the pod (R11).
fn of_pod(ending: &str) -> String {
    format!("/etc/remember/tls/$(REMEMBER_POD_NAME).{ending}")
}

fn set(variable: &str, value: &str) -> Value {
    json!({"name": variable, "value": value})
}

fn from_pod(variable: &str, field: &str) -> Value {
    json!({"name": variable, "valueFrom": {"fieldRef": {"fieldPath": field}}})
}

fn port(name: &str, number: u16) -> Value {
    json!({"name": name, "containerPort": number, "protocol": "TCP"})
}

/// None of them asks who leads (R8).
fn probe(path: &str, period_seconds: u32, failures: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": ADMIN_PORT},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    })
}

/// The volumes of the sidecar that are not claimed: also that of its data, if that may end with the
/// pod. What is secret in them is for the pod's group only, and no other container mounts it.
pub(super) fn volumes(cluster: &RememberCluster) -> Vec<Value> {
    let token = json!({"path": "token", "expirationSeconds": TOKEN_SECONDS});
    let root = json!({"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]});
    let namespace = json!({"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}});
    let mut volumes = vec![
        json!({
            "name": TLS_VOLUME,
            "secret": {"secretName": tls_secret(name_of(cluster)), "defaultMode": 0o440},
        }),
        json!({
            "name": TOKEN_VOLUME,
            "projected": {"defaultMode": 0o440, "sources": [
                {"serviceAccountToken": token},
                {"configMap": root},
                {"downwardAPI": {"items": [namespace]}},
            ]},
        }),
    ];
    if cluster.spec.is_ephemeral() {
        volumes.push(json!({"name": DATA_VOLUME, "emptyDir": {}}));
    }
    volumes
}
