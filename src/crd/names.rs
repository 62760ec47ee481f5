//! What things are called in Kubernetes: the only place where labels, ports and the names of a
//! cluster's objects are spelled.

/// The API group of the custom resource, and the prefix of labels and annotations.
pub const GROUP: &str = "remember.krest.io";
/// The version of the custom resource.
pub const VERSION: &str = "v1alpha1";
/// The kind of the custom resource.
pub const KIND: &str = "RememberCluster";

/// The label that says to which cluster an object belongs: the name of its `RememberCluster`.
pub const CLUSTER_LABEL: &str = "remember.krest.io/cluster";
/// The label of a pod that says what its node is: `leader`, `follower` or `candidate`. Services
/// select by it.
pub const ROLE_LABEL: &str = "remember.krest.io/role";
/// The annotation of a pod that says in which term it got its role.
pub const TERM_ANNOTATION: &str = "remember.krest.io/term";

/// The annotation of a StatefulSet that says which operator has made it.
pub const OPERATOR_ANNOTATION: &str = "remember.krest.io/operator";

/// As whom the operator applies objects on the server's side.
pub const FIELD_MANAGER: &str = "remember-operator";

/// The sidecar's container, in which the node runs.
pub const SIDECAR: &str = "remember";
/// How the names of the sidecar's volumes begin.
pub const VOLUME_PREFIX: &str = "remember-";

/// The port of a pod on which its node listens for peers.
pub const PEER_PORT: u16 = 7400;
/// The port of a pod on which its node answers clients.
pub const API_PORT: u16 = 7401;
/// The port of a pod on which its node tells its health and its metrics.
pub const ADMIN_PORT: u16 = 7402;

/// The longest name of a cluster: what the names of its pods' labels leave of 63 letters.
pub const NAME_LENGTH_MAX: usize = 52;

/// How many pods a cluster can have.
pub const REPLICAS_MAX: u64 = 9;

/// The Service that leads to the leader's pod.
#[must_use]
pub fn leader_service(cluster: &str) -> String {
    format!("{cluster}-leader")
}

/// The Service that leads to the pods that follow.
#[must_use]
pub fn followers_service(cluster: &str) -> String {
    format!("{cluster}-followers")
}

/// The headless Service that gives each pod a name.
#[must_use]
pub fn peers_service(cluster: &str) -> String {
    format!("{cluster}-peers")
}

/// The Secret with the certificates of the pods, which the sidecar of each of them mounts.
#[must_use]
pub fn tls_secret(cluster: &str) -> String {
    format!("{cluster}-tls")
}

/// The Secret with the key of the cluster's authority, which no pod mounts.
#[must_use]
pub fn authority_secret(cluster: &str) -> String {
    format!("{cluster}-ca")
}

/// The ConfigMap that is the record of a cluster: its fence and its step slot (R1, R3).
#[must_use]
pub fn record(cluster: &str) -> String {
    format!("{cluster}-record")
}

/// The ConfigMap that is the witness of a pair (R17). Only sidecars write what it holds.
#[must_use]
pub fn witness(cluster: &str) -> String {
    format!("{cluster}-witness")
}

/// The number, from 1, of the node in the pod with this name: pods are named after their
/// StatefulSet and counted from 0. `None` if it is no pod of the cluster.
#[must_use]
pub fn node_number(pod: &str, cluster: &str) -> Option<u64> {
    let ordinal = pod.strip_prefix(cluster)?.strip_prefix('-')?;
    // Other spellings of a number are other pods.
    let number: u64 = ordinal.parse().ok()?;
    (number.to_string() == ordinal).then(|| number.checked_add(1))?
}
