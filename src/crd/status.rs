//! What users are told: the status of a `RememberCluster`. Nothing in it changes by the second;
//! what does is told by the nodes' metrics.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What the operator has seen of a cluster.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct RememberClusterStatus {
    /// The generation of the spec that this was seen for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many pods there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// How many of them are ready, whether they lead or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// The labels of the cluster's pods, in the words of `kubectl get --selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Who leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderStatus>,
    /// The newest term in which a pod got the leader's label: its leader's fencing token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<i64>,
    /// How often the leader's label has moved since the cluster was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_transitions: Option<i64>,
    /// How many members have a vote. While pods are added or removed, others may be there without
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voters: Option<i32>,
    /// The pods, in the order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "members_schema")]
    pub members: Vec<MemberStatus>,
    /// How it stands with the cluster, one aspect each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// The leader whose pod has the label.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct LeaderStatus {
    /// Its pod.
    pub pod: String,
    /// Its id in the cluster, from 1.
    pub id: i64,
    /// The term in which it leads: the fencing token.
    pub term: i64,
    /// When its pod got the label.
    pub since: Time,
}

/// What the word of a member counts in: in elections and commits;
pub const VOTER: &str = "voter";
/// in nothing, while it is sent everything;
pub const LEARNER: &str = "learner";
/// in elections and commits until the change that removes it is done.
pub const LEAVING: &str = "leaving";
/// It is no member.
pub const NO_SEAT: &str = "none";

/// One pod of the cluster.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// The pod.
    pub pod: String,
    /// Its id in the cluster, from 1.
    pub id: i64,
    /// What its node says that it is: `leader`, `follower`, `candidate` or `unknown`.
    pub role: String,
    /// What its word counts in: `voter`; `learner`, who is sent everything and counts in nothing
    /// yet; `leaving`, whose word still counts while the change that removes it is under way; or
    /// `none`, who does not belong to the cluster, as before it joins and after it has left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<String>,
    /// The disk that its node runs on, in 16 hexadecimal digits: two disks of one id are two
    /// members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// Whether the pod is ready.
    pub ready: bool,
}

/// Lists of things that have a name are merged by it, not replaced as a whole; and the API server
/// gives no default for what may be missing.
fn list_by(key: &str, mut list: schemars::Schema) -> schemars::Schema {
    list.insert("x-kubernetes-list-type".to_owned(), "map".into());
    list.insert("x-kubernetes-list-map-keys".to_owned(), vec![key].into());
    list.remove("default");
    list
}

fn members_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    list_by("pod", generator.subschema_for::<Vec<MemberStatus>>())
}

fn conditions_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    list_by("type", generator.subschema_for::<Vec<Condition>>())
}
