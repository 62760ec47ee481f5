//! The user's pod with the sidecar in it. Every field that the user wrote stays as it is, those
//! that no type here knows as well; what is added to the pod as a whole is added where the user
//! said nothing.

use serde_json::{Map, Value, json};

use super::access::users_account;
use super::sidecar::{GROUP_ID, container, volumes};
use super::{Defaults, name_of, selector};
use crate::crd::{CLUSTER_LABEL, ROLE_LABEL, RememberCluster, TERM_ANNOTATION};

/// The pod, as the StatefulSet makes it.
pub(super) fn template(cluster: &RememberCluster, defaults: &Defaults) -> Value {
    let mut template = as_map(Some(cluster.spec.template.written().clone()));
    let mut metadata = as_map(template.remove("metadata"));
    mark(&mut metadata, name_of(cluster));
    let mut spec = as_map(template.remove("spec"));
    complete(&mut spec, cluster);
    // The first to start, so that all others start beside a node.
    let mut first = vec![container(cluster, defaults)];
    first.extend(as_list(spec.remove("initContainers")));
    spec.insert("initContainers".to_owned(), first.into());
    let mut all = as_list(spec.remove("volumes"));
    all.extend(volumes(cluster));
    spec.insert("volumes".to_owned(), all.into());
    template.insert("metadata".to_owned(), metadata.into());
    template.insert("spec".to_owned(), spec.into());
    template.into()
}

/// No pod begins as a leader or a follower: an operator says who is what, and can only change what
/// is there (R1).
fn mark(metadata: &mut Map<String, Value>, cluster: &str) {
    let mut labels = as_map(metadata.remove("labels"));
    labels.insert(CLUSTER_LABEL.to_owned(), cluster.into());
    labels.insert(ROLE_LABEL.to_owned(), "candidate".into());
    let mut annotations = as_map(metadata.remove("annotations"));
    annotations.insert(TERM_ANNOTATION.to_owned(), "0".into());
    metadata.insert("labels".to_owned(), labels.into());
    metadata.insert("annotations".to_owned(), annotations.into());
}

/// What the pod as a whole needs for the sidecar's sake. Whatever could keep the user's own
/// containers from running, such as that none of them may be root, is left to the user.
fn complete(spec: &mut Map<String, Value>, cluster: &RememberCluster) {
    let mut security = as_map(spec.remove("securityContext"));
    // Without a group of the pod the sidecar could write to no volume, and read no Secret.
    say(&mut security, "fsGroup", json!(GROUP_ID));
    say(
        &mut security,
        "fsGroupChangePolicy",
        json!("OnRootMismatch"),
    );
    spec.insert("securityContext".to_owned(), security.into());
    if users_account(cluster).is_none() {
        spec.insert("serviceAccountName".to_owned(), name_of(cluster).into());
        // The sidecar mounts a token of its own; the user's containers need none.
        say(spec, "automountServiceAccountToken", json!(false));
    }
    let says = |field: &str| spec.get(field).is_some_and(|value| !value.is_null());
    if !says("affinity") && !says("topologySpreadConstraints") {
        let apart = json!([{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(cluster)},
        }]);
        spec.insert("topologySpreadConstraints".to_owned(), apart);
    }
}

/// Says something where nothing was said.
fn say(object: &mut Map<String, Value>, field: &str, value: Value) {
    if object.get(field).is_none_or(Value::is_null) {
        object.insert(field.to_owned(), value);
    }
}

/// What should be an object, which nothing is as well: [`crate::operator::validate`] has refused
/// all else.
fn as_map(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn as_list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}
