//! What users ask for: the spec of a `RememberCluster`, and the rules that refuse mistakes in it.
//!
//! The documentation of each field here is what `kubectl explain` prints.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{RememberClusterStatus, Template};

/// The pods of an application that elect one leader among them.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "remember.krest.io",
    version = "v1alpha1",
    kind = "RememberCluster",
    namespaced,
    shortname = "rmc",
    category = "all",
    status = "RememberClusterStatus",
    derive = "PartialEq",
    doc = "One leader for a replicated application: elected in milliseconds, fenced by a token.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Leader",
        type_ = "string",
        json_path = ".status.leader.pod",
        description = "The pod that leads"
    ),
    printcolumn(
        name = "Term",
        type_ = "integer",
        json_path = ".status.term",
        description = "The newest term, which is the leader's fencing token"
    ),
    printcolumn(
        name = "Members",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "How many pods are wanted"
    ),
    printcolumn(
        name = "Voters",
        type_ = "integer",
        json_path = ".status.voters",
        description = "How many members have a vote"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "How many pods are ready"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Quorum",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"QuorumAvailable\")].status",
        description = "Whether a majority of the members can be reached",
        priority = 1
    ),
    printcolumn(
        name = "Traffic",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"TrafficRouted\")].status",
        description = "Whether the leader's Service leads to the leader",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.size() <= 52").message(
        "metadata.name must have at most 52 letters, because the names of the cluster's pods and \
         Services are made of it; choose a shorter one"
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message(
        "metadata.name must begin with a small letter, end with a small letter or a digit, and \
         have only those and '-' in between, because Services are named after it"
    ),
    validation = Rule::new("self.metadata.name != 'default'").message(
        "metadata.name must not be 'default', as the ServiceAccount of all pods of the namespace \
         is called, whose place the cluster's own would take; choose another name"
    ),
    validation = Rule::new("has(self.spec.storage) == has(oldSelf.spec.storage)").message(
        "spec.storage can be neither added nor removed: what pods keep would be lost with their \
         disks; make another cluster and move to it"
    ),
    validation = Rule::new("has(self.spec.witness) || self.spec.replicas != 2").message(
        "spec.replicas must not be 2 without spec.witness: two members need both votes, as three \
         need two, and then none may be lost; add witness: ConfigMap, which lets either go on \
         without the other, or choose 1 or 3"
    ),
    validation = Rule::new(
        "has(self.spec.witness) || !has(oldSelf.spec.witness) || !has(oldSelf.status) \
         || !has(oldSelf.status.voters) || oldSelf.status.voters != 2"
    ).message(
        "spec.witness cannot be removed while two members have votes: without it neither could go \
         on once the other is lost; scale to 1 or 3, and remove it when status.voters says so"
    )
)]
pub struct RememberClusterSpec {
    /// How many pods there are, each with a vote: 1 to 9. An odd number is best, because an even
    /// one survives no more failures than the odd one below it; but for 2, which need a witness and
    /// then survive the loss of either. It can be changed at any time, also by `kubectl scale`: new
    /// pods get a vote once they have caught up, and those with the highest numbers give it back
    /// before they end.
    #[schemars(range(min = 1, max = 9))]
    pub replicas: i32,

    /// The pod of your application, as in a StatefulSet. The operator adds the sidecar that
    /// elects.
    pub template: Template,

    /// The volume on which each pod's node keeps its votes and its log. Without it, they are in an
    /// emptyDir of the pod: they survive that containers end, and not that the pod is deleted. Then
    /// its successor gets everything from the others, and takes its place. If half of the pods or
    /// more are deleted at once, the others cannot go on by themselves; if all are, everything is
    /// lost, and the cluster begins a new epoch. It can be neither added nor removed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.size == oldSelf.size \
        && has(self.storageClassName) == has(oldSelf.storageClassName) \
        && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)"
    ).message(
        "spec.storage.size and storageClassName cannot be changed: the volumes are made with the \
         pods; resize a volume by its PersistentVolumeClaim, if its class allows that"
    ))]
    pub storage: Option<Storage>,

    /// What lets one of two members go on without the other: needed for 2 replicas, and of use for
    /// no other number. It is asked when one of two has lost the other, and when both are there
    /// again. It can be added at any time, which replaces the pods one after the other, and removed
    /// at any time but while two members have votes. ConfigMap is the only choice: NAME-witness in
    /// the cluster's namespace, which the operator makes and only sidecars write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "witness_schema")]
    pub witness: Option<Witness>,

    /// The Services NAME-leader and NAME-followers.
    #[serde(default)]
    pub service: Service,

    /// How soon a leader is missed.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self.timeoutMs >= 3 * self.heartbeatMs").message(
        "spec.election.timeoutMs must be at least three times heartbeatMs, or followers would miss \
         a leader that beats on time; raise the one or lower the other"
    ))]
    pub election: Election,

    /// The container that the operator adds to each pod.
    #[serde(default)]
    pub sidecar: Sidecar,

    /// While this is true, the operator changes nothing about this cluster but the labels that
    /// route traffic: for repairs by hand.
    #[serde(default)]
    pub paused: bool,
}

impl RememberClusterSpec {
    /// Whether the disk of a pod's node ends with the pod.
    #[must_use]
    pub fn is_ephemeral(&self) -> bool {
        self.storage.is_none()
    }
}

/// The volume of one pod's node.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[x_kube(validation = Rule::new(
    "isQuantity(string(self.size)) && quantity(string(self.size)).isGreaterThan(quantity('0'))"
).message("spec.storage.size must be an amount of bytes above 0, such as 1Gi"))]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// How large each volume is. A log and the snapshots of a small state fit well into 1Gi.
    pub size: Quantity,

    /// The class of storage that provides the volumes; the default class of Kubernetes if not
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// What becomes of the volumes when the cluster is deleted.
    #[serde(default)]
    pub when_deleted: VolumePolicy,
}

/// What becomes of volumes that nobody uses any more.
#[derive(
    schemars::JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug,
)]
pub enum VolumePolicy {
    /// They stay, with all that is on them.
    #[default]
    Retain,
    /// They are deleted.
    Delete,
}

/// What lets one of two members go on without the other.
#[derive(schemars::JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Witness {
    /// The ConfigMap NAME-witness of the cluster's namespace: the operator makes it, the sidecars
    /// alone write what it holds, and it goes with the cluster.
    ConfigMap,
}

/// What is not there is left out, and never null: the rules ask whether it is there.
fn witness_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    generator.subschema_for::<Witness>()
}

/// The Services that lead to the leader, and to those that follow.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// The ports of your application that they have; on no other port they reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(
        validation = Rule::new("self.all(one, self.exists_one(other, other.name == one.name))")
            .message("the names of spec.service.ports must differ from each other")
    )]
    #[x_kube(
        validation = Rule::new("self.all(one, self.exists_one(other, other.port == one.port))")
            .message("the numbers of spec.service.ports must differ from each other")
    )]
    pub ports: Vec<ServicePort>,
}

/// One port of the Services.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[x_kube(validation = Rule::new(
    "has(self.targetPort) ? self.targetPort < 7400 || self.targetPort > 7402 \
     : self.port < 7400 || self.port > 7402"
).message(
    "spec.service.ports must not lead to a port from 7400 to 7402, on which the sidecar of each \
     pod listens; lead them to a port of your application by targetPort"
))]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// What it is called: small letters, digits, and '-' in between.
    // A DNS label, which may be all digits: only the names of a container's ports may not.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// The port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The port of the application's container; that of the Service if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub target_port: Option<i32>,
    /// What is spoken there, such as `http` or `kubernetes.io/h2c`, for those who want to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub app_protocol: Option<String>,
}

/// How soon a leader is missed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Election {
    /// How often a leader beats, in milliseconds.
    #[serde(default = "heartbeat_ms")]
    #[schemars(range(min = 10, max = 10_000))]
    pub heartbeat_ms: i32,
    /// How long a follower hears nothing before it may stand, in milliseconds; it waits one to two
    /// of these, by chance. A leader whose process has ended is missed much sooner, at once.
    #[serde(default = "timeout_ms")]
    #[schemars(range(min = 100, max = 60_000))]
    pub timeout_ms: i32,
}

impl Default for Election {
    fn default() -> Self {
        Self {
            heartbeat_ms: heartbeat_ms(),
            timeout_ms: timeout_ms(),
        }
    }
}

fn heartbeat_ms() -> i32 {
    50
}

fn timeout_ms() -> i32 {
    300
}

/// The container that the operator adds to each pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Its image; that of the operator if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// What it asks for of the machine, and what it may use; a little memory and no limit of
    /// processor time if not given. A limit of processor time delays beats, and so costs leaders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

#[cfg(test)]
mod tests {
    use kube::Resource as _;

    use super::super::{GROUP, KIND, NAME_LENGTH_MAX, VERSION};
    use super::*;

    #[test]
    fn the_definition_uses_the_names_of_the_house() {
        assert_eq!(RememberCluster::group(&()), GROUP);
        assert_eq!(RememberCluster::version(&()), VERSION);
        assert_eq!(RememberCluster::kind(&()), KIND);
        let definition = crate::crd::definition_yaml().unwrap();
        let rule = format!("self.metadata.name.size() <= {NAME_LENGTH_MAX}");
        assert!(definition.contains(&rule), "{rule} is not in\n{definition}");
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let least = serde_json::json!({
            "replicas": 3, "storage": {"size": "1Gi"},
            "template": {"spec": {"containers": [{"name": "app", "image": "app:1"}]}},
        });
        let spec: RememberClusterSpec = serde_json::from_value(least).unwrap();
        assert_eq!(spec.election.timeout_ms, 300);
        let storage = spec.storage.clone().unwrap();
        assert_eq!(storage.when_deleted, VolumePolicy::Retain);
        assert!(!spec.paused && !spec.is_ephemeral());
    }
}
