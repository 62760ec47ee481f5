//! The user's own pod in a spec.
//!
//! Kubernetes' own description of a pod is larger than what `kubectl apply` can carry, so only what
//! is checked here is declared, and everything else is preserved as it was written (R6). Whether
//! the rest makes sense is for the API server to say, when it is asked to try the StatefulSet made
//! of it.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::names::{ADMIN_PORT, GROUP, PEER_PORT, SIDECAR, VOLUME_PREFIX};

/// The most containers, volumes, mounts and ports that are checked.
const CONTAINERS_MAX: u32 = 32;
const VOLUMES_MAX: u32 = 64;
const MOUNTS_MAX: u32 = 64;
const PORTS_MAX: u32 = 64;
/// The most labels, and the most annotations.
const LABELS_MAX: u32 = 64;
/// The shortest time that a pod may be given to end: a leader hands over in it (R9).
const GRACE_SECONDS_MIN: u32 = 5;

/// A pod as the user wrote it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(transparent)]
pub struct Template(Value);

/// A template that is no pod.
#[derive(Debug, thiserror::Error)]
#[error("spec.template is not a pod: {0}")]
pub struct TemplateError(#[from] serde_json::Error);

impl Template {
    /// The pod by Kubernetes' own types. Fields that they do not know are not in it.
    pub fn pod(&self) -> Result<PodTemplateSpec, TemplateError> {
        Ok(PodTemplateSpec::deserialize(&self.0)?)
    }

    /// The pod with every field that was written.
    #[must_use]
    pub fn written(&self) -> &Value {
        &self.0
    }
}

impl From<Value> for Template {
    fn from(written: Value) -> Self {
        Self(written)
    }
}

impl JsonSchema for Template {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "The pod of your application, as in a StatefulSet. The operator adds \
                the sidecar that elects.",
            "required": ["spec"],
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-validations": rules(),
            "properties": {
                "metadata": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {
                        "labels": texts("Labels that the pods have, beside our own."),
                        "annotations": texts("Annotations that the pods have, beside our own."),
                    },
                },
                "spec": pod_schema(),
            },
        })
    }
}

fn texts(description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "maxProperties": LABELS_MAX,
        "additionalProperties": {"type": "string"},
    })
}

/// The parts of a pod that rules speak of.
fn pod_schema() -> Value {
    let named = |most: u32| {
        json!({
            "type": "array",
            "maxItems": most,
            "items": {
                "type": "object",
                "required": ["name"],
                "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 63}},
            },
        })
    };
    let container = json!({
        "type": "object",
        "required": ["name"],
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 63},
            "volumeMounts": named(MOUNTS_MAX),
            "ports": {
                "type": "array",
                "maxItems": PORTS_MAX,
                "items": {
                    "type": "object",
                    "required": ["containerPort"],
                    "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {
                        "containerPort": {
                            "type": "integer", "format": "int32", "minimum": 1, "maximum": 65535,
                        },
                    },
                },
            },
        },
    });
    let containers = |least: u32| {
        json!({
            "type": "array",
            "minItems": least,
            "maxItems": CONTAINERS_MAX,
            "items": container,
        })
    };
    json!({
        "type": "object",
        "required": ["containers"],
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "containers": containers(1),
            "initContainers": containers(0),
            "volumes": named(VOLUMES_MAX),
            "hostNetwork": {"type": "boolean"},
            "hostPID": {"type": "boolean"},
            "shareProcessNamespace": {"type": "boolean"},
            "restartPolicy": {"type": "string", "maxLength": 16},
            "terminationGracePeriodSeconds": {"type": "integer", "format": "int64"},
        },
    })
}

/// What is refused, each with a sentence that says how to mend it.
fn rules() -> Value {
    Value::Array([rules_of_metadata(), rules_of_containers(), rules_of_pod()].concat())
}

fn rule(rule: impl Into<String>, message: impl Into<String>) -> Value {
    json!({"rule": rule.into(), "message": message.into()})
}

fn rules_of_metadata() -> Vec<Value> {
    let of_ours = |place: &str| {
        let demand = format!(
            "!has(self.metadata) || !has(self.metadata.{place}) \
             || self.metadata.{place}.all(key, !key.startsWith('{GROUP}/'))"
        );
        let message = format!(
            "spec.template.metadata.{place} must have nothing that begins with '{GROUP}/': those \
             say who leads, and only the operator may set them; remove them"
        );
        rule(demand, message)
    };
    ["labels", "annotations"].map(of_ours).to_vec()
}

/// What must hold for each container, and each volume.
fn rules_of_containers() -> Vec<Value> {
    let of_each = |kind: &str, demand: &str, message: &str| {
        let demand = format!("!has(self.spec.{kind}) || self.spec.{kind}.all(one, {demand})");
        rule(demand, message)
    };
    let free = format!("port.containerPort < {PEER_PORT} || port.containerPort > {ADMIN_PORT}");
    let ports = format!("!has(one.ports) || one.ports.all(port, {free})");
    let takes_port = format!(
        "no container of spec.template may have a port from {PEER_PORT} to {ADMIN_PORT}, on which \
         the sidecar of each pod listens; use other ports"
    );
    let name = format!("one.name != '{SIDECAR}'");
    let takes_name = format!(
        "no container of spec.template may be called '{SIDECAR}', which the sidecar is; choose \
         another name"
    );
    let mounts = format!(
        "!has(one.volumeMounts) \
         || one.volumeMounts.all(mount, !mount.name.startsWith('{VOLUME_PREFIX}'))"
    );
    let takes_mount = format!(
        "no container of spec.template may mount a volume whose name begins with \
         '{VOLUME_PREFIX}': keys and votes are in those, for the sidecar alone; mount another"
    );
    let volumes = format!("!one.name.startsWith('{VOLUME_PREFIX}')");
    let takes_volume = format!(
        "no volume of spec.template may have a name that begins with '{VOLUME_PREFIX}', as the \
         sidecar's have; choose another name"
    );
    vec![
        of_each("containers", &ports, &takes_port),
        of_each("initContainers", &ports, &takes_port),
        of_each("containers", &name, &takes_name),
        of_each("initContainers", &name, &takes_name),
        of_each("containers", &mounts, &takes_mount),
        of_each("initContainers", &mounts, &takes_mount),
        of_each("volumes", &volumes, &takes_volume),
    ]
}

/// What must hold for the pod as a whole.
fn rules_of_pod() -> Vec<Value> {
    let not_true = |field: &str, why: &str| {
        let demand = format!("!has(self.spec.{field}) || !self.spec.{field}");
        let message = format!("spec.template.spec.{field} must not be true: {why}; remove it");
        rule(demand, message)
    };
    let takes_ports = "two pods on one machine would take each other's ports";
    let reads_keys = "your application could read the sidecar's keys and votes by /proc";
    let grace = "self.spec.terminationGracePeriodSeconds";
    vec![
        not_true("hostNetwork", takes_ports),
        not_true("hostPID", reads_keys),
        not_true("shareProcessNamespace", reads_keys),
        rule(
            "!has(self.spec.restartPolicy) || self.spec.restartPolicy == 'Always'",
            "spec.template.spec.restartPolicy must be Always, as in every StatefulSet; remove it",
        ),
        rule(
            format!("!has({grace}) || {grace} >= {GRACE_SECONDS_MIN}"),
            format!(
                "spec.template.spec.terminationGracePeriodSeconds must be at least \
                 {GRACE_SECONDS_MIN}: a leader hands over before its pod ends; raise or remove it"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_declared_is_preserved() {
        let written = json!({"spec": {"containers": [{"name": "app", "image": "a:1", "new": 1}]}});
        let template: Template = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&template).unwrap(), written);
        let pod = template.pod().unwrap();
        assert_eq!(pod.spec.unwrap().containers.len(), 1);
    }

    #[test]
    fn a_template_of_the_wrong_shape_is_an_error_and_no_panic() {
        let template = Template::from(json!({"spec": {"containers": 7}}));
        let error = template.pod().unwrap_err().to_string();
        assert!(error.starts_with("spec.template is not a pod: "), "{error}");
    }
}
