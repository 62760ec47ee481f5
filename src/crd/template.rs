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

/// The most containers, volumes and ports that are checked.
const CONTAINERS_MAX: u32 = 32;
const VOLUMES_MAX: u32 = 64;
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
    let container = json!({
        "type": "object",
        "required": ["name"],
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 63},
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
            "volumes": {
                "type": "array",
                "maxItems": VOLUMES_MAX,
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 63}},
                },
            },
            "hostNetwork": {"type": "boolean"},
            "restartPolicy": {"type": "string", "maxLength": 16},
            "terminationGracePeriodSeconds": {"type": "integer", "format": "int64"},
        },
    })
}

/// What is refused, each with a sentence that says how to mend it.
fn rules() -> Value {
    let of_ours = |place: &str| {
        format!(
            "!has(self.metadata) || !has(self.metadata.{place}) \
             || self.metadata.{place}.all(key, !key.startsWith('{GROUP}/'))"
        )
    };
    let containers = |kind: &str, demand: &str| {
        format!("!has(self.spec.{kind}) || self.spec.{kind}.all(one, {demand})")
    };
    let free = format!("port.containerPort < {PEER_PORT} || port.containerPort > {ADMIN_PORT}");
    let ports = format!("!has(one.ports) || one.ports.all(port, {free})");
    let name = format!("one.name != '{SIDECAR}'");
    let takes_port = format!(
        "no container of spec.template may have a port from {PEER_PORT} to {ADMIN_PORT}, on which \
         the sidecar of each pod listens; use other ports"
    );
    let takes_name = format!(
        "no container of spec.template may be called '{SIDECAR}', which the sidecar is; choose \
         another name"
    );
    let takes_label = |place: &str| {
        format!(
            "spec.template.metadata.{place} must have nothing that begins with '{GROUP}/': those \
             say who leads, and only the operator may set them; remove them"
        )
    };
    let volumes = format!("!one.name.startsWith('{VOLUME_PREFIX}')");
    let takes_volume = format!(
        "no volume of spec.template may have a name that begins with '{VOLUME_PREFIX}', as the \
         sidecar's have; choose another name"
    );
    let grace = "self.spec.terminationGracePeriodSeconds";
    json!([
        {"rule": of_ours("labels"), "message": takes_label("labels")},
        {"rule": of_ours("annotations"), "message": takes_label("annotations")},
        {
            "rule": "!has(self.spec.hostNetwork) || !self.spec.hostNetwork",
            "message": "spec.template.spec.hostNetwork must not be true: two pods on one machine \
                would take each other's ports; remove it",
        },
        {"rule": containers("containers", &ports), "message": takes_port},
        {"rule": containers("initContainers", &ports), "message": takes_port},
        {"rule": containers("containers", &name), "message": takes_name},
        {"rule": containers("initContainers", &name), "message": takes_name},
        {"rule": containers("volumes", &volumes), "message": takes_volume},
        {
            "rule": "!has(self.spec.restartPolicy) || self.spec.restartPolicy == 'Always'",
            "message": "spec.template.spec.restartPolicy must be Always, as in every StatefulSet; \
                remove it",
        },
        {
            "rule": format!("!has({grace}) || {grace} >= {GRACE_SECONDS_MIN}"),
            "message": format!(
                "spec.template.spec.terminationGracePeriodSeconds must be at least \
                 {GRACE_SECONDS_MIN}: a leader hands over before its pod ends; raise or remove it"
            ),
        },
    ])
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
