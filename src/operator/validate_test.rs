//! Specs that are older than the rules of the API server, or that no rule of its can see through.

use serde_json::{Value, json};

use super::*;
use crate::crd::ROLE_LABEL;

fn good() -> Value {
    json!({
        "apiVersion": "remember.krest.io/v1alpha1", "kind": "RememberCluster",
        "metadata": {"name": "blue", "namespace": "shop"},
        "spec": {
            "replicas": 3,
            "storage": {"size": "1Gi", "storageClassName": "fast"},
            "service": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
            "sidecar": {},
            "template": {
                "metadata": {"labels": {"app": "store"}},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            },
        },
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut cluster = good();
    let (parent, field) = field.rsplit_once('/').unwrap();
    let parent = cluster.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) => list[field.parse::<usize>().unwrap()] = value,
        parent => parent[field] = value,
    }
    cluster
}

fn judge(cluster: Value) -> Result<(), Refusal> {
    validate(&serde_json::from_value(cluster).unwrap())
}

/// The list of containers with the application alone, which has this as well.
fn app(more: Value) -> Value {
    let mut app = json!({"name": "app", "image": "app:1"});
    let Value::Object(more) = more else {
        panic!("{more} is no object")
    };
    app.as_object_mut().unwrap().extend(more);
    json!([app])
}

/// Each value of a field is refused for this reason and in such words.
fn demand_refusals(wrong: &[(&str, Value, &str, &str)]) {
    for (field, value, reason, words) in wrong {
        let shown = format!("{field}: {value}");
        let refusal = judge(with(field, value.clone())).expect_err(&shown);
        assert_eq!(refusal.reason, *reason, "{shown}: {refusal}");
        assert!(refusal.sentence.contains(words), "{shown}: {refusal}");
    }
}

#[test]
fn good_specs_pass() {
    assert_eq!(judge(good()), Ok(()));
    for (field, value) in [
        ("/metadata/name", json!("a".repeat(NAME_LENGTH_MAX))),
        ("/spec/replicas", json!(9)),
        (
            "/spec/election",
            json!({"heartbeatMs": 100, "timeoutMs": 300}),
        ),
        ("/spec/service", json!({})),
        ("/spec/witness", json!("ConfigMap")),
        ("/spec/storage", Value::Null),
        ("/spec/storage/size", json!("1e9")),
        ("/spec/storage/size", json!("0.5Gi")),
        ("/spec/storage/size", json!("+5M")),
        ("/spec/template/metadata", Value::Null),
        (
            "/spec/template/metadata/labels",
            json!({"remember.krest.iox/a": "b", "a": "b"}),
        ),
        ("/spec/template/spec/unknown", json!({"a": 1})),
        ("/spec/template/spec/hostPID", json!(false)),
        ("/spec/template/spec/shareProcessNamespace", json!(false)),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "a", "secret": {"secretName": "green-tls"}}]),
        ),
        (
            "/spec/template/spec/terminationGracePeriodSeconds",
            json!(5),
        ),
    ] {
        assert_eq!(judge(with(field, value)), Ok(()), "{field}");
    }
}

#[test]
#[rustfmt::skip]
fn bad_specs_are_refused_with_a_reason_and_a_sentence() {
    let port = |name: &str, port: i32| json!({"name": name, "port": port});
    let wrong = [
        ("/metadata/name", json!("a".repeat(NAME_LENGTH_MAX + 1)), "NameInvalid", "at most 52"),
        ("/metadata/name", json!("1st"), "NameInvalid", "begins with a small letter"),
        ("/metadata/name", json!("a.b"), "NameInvalid", "\"a.b\""),
        ("/metadata/name", json!("a-"), "NameInvalid", "ends with"),
        ("/metadata/name", json!(""), "NameInvalid", "cannot begin"),
        ("/metadata/name", json!("default"), "NameInvalid", "ServiceAccount"),
        ("/metadata/namespace", json!("a_b"), "NameInvalid", "no certificate can name"),
        ("/spec/replicas", json!(0), "ReplicasInvalid", "from 1 to 9"),
        ("/spec/replicas", json!(10), "ReplicasInvalid", "from 1 to 9"),
        ("/spec/election", json!({"heartbeatMs": 9}), "ElectionInvalid", "heartbeatMs 9"),
        ("/spec/election", json!({"timeoutMs": 60_001}), "ElectionInvalid", "100 to 60000"),
        ("/spec/election", json!({"heartbeatMs": 101}), "ElectionInvalid", "three times"),
        ("/spec/storage/size", json!("banana"), "StorageInvalid", "\"banana\""),
        ("/spec/storage/size", json!("-1Gi"), "StorageInvalid", "above 0"),
        ("/spec/storage/size", json!("0.0"), "StorageInvalid", "above 0"),
        ("/spec/storage/size", json!("1.2.3"), "StorageInvalid", "above 0"),
        ("/spec/storage/size", json!("1GB"), "StorageInvalid", "above 0"),
        ("/spec/storage/storageClassName", json!(""), "StorageInvalid", "default class"),
        ("/spec/service/ports/0", port("a", 0), "ServiceInvalid", "\"a\": port and targetPort"),
        ("/spec/service/ports/0", port("a", 7401), "ServiceInvalid", "by targetPort"),
        ("/spec/service/ports/0/targetPort", json!(7402), "ServiceInvalid", "port 7402"),
        ("/spec/service/ports", json!([port("a", 1), port("a", 2)]), "ServiceInvalid", "same name"),
        ("/spec/service/ports", json!([port("a", 1), port("b", 1)]), "ServiceInvalid", "same port"),
        ("/spec/sidecar/image", json!(" "), "SidecarInvalid", "image is empty"),
        ("/spec/template", json!({}), "TemplateInvalid", "spec is missing"),
        ("/spec/template", json!({"spec": {"containers": 7}}), "TemplateInvalid", "not a pod"),
        ("/spec/template/spec/containers", json!([]), "TemplateInvalid", "is empty"),
        ("/spec/template/metadata/labels", json!({ROLE_LABEL: "leader"}),
            "TemplateInvalid", "labels has remember.krest.io/role"),
        ("/spec/template/metadata/annotations", json!({"remember.krest.io/new": "7"}),
            "TemplateInvalid", "annotations has remember.krest.io/new"),
        ("/spec/template/spec/hostNetwork", json!(true), "TemplateInvalid", "hostNetwork"),
        ("/spec/template/spec/restartPolicy", json!("Never"), "TemplateInvalid", "Always"),
        ("/spec/template/spec/terminationGracePeriodSeconds", json!(4),
            "TemplateInvalid", "at least 5"),
        ("/spec/template/spec/volumes", json!([{"name": "remember-data"}]),
            "TemplateInvalid", "volumes has remember-data"),
        ("/spec/template/spec/containers/0/name", json!("remember"),
            "TemplateInvalid", "choose another name"),
        ("/spec/template/spec/initContainers", json!([{"name": "remember"}]),
            "TemplateInvalid", "choose another name"),
        ("/spec/template/spec/containers", app(json!({"ports": [{"containerPort": 7402}]})),
            "TemplateInvalid", "from 7400 to 7402"),
        ("/spec/template/spec/containers",
            app(json!({"volumeMounts": [{"name": "remember-tls", "mountPath": "/keys"}]})),
            "TemplateInvalid", "for the sidecar alone"),
    ];
    demand_refusals(&wrong);
}

#[test]
fn a_pair_needs_a_witness_whether_it_has_volumes_or_not() {
    for storage in [json!({"size": "1Gi"}), Value::Null] {
        let mut pair = with("/spec/replicas", json!(2));
        pair["spec"]["storage"] = storage;
        let refusal = judge(pair.clone()).unwrap_err();
        assert_eq!(refusal.reason, "ReplicasInvalid");
        assert!(refusal.sentence.contains("witness: ConfigMap"), "{refusal}");
        pair["spec"]["witness"] = json!("ConfigMap");
        assert_eq!(judge(pair), Ok(()));
    }
}

#[test]
#[rustfmt::skip]
fn the_clusters_own_keys_are_kept_from_the_application() {
    demand_refusals(&[
        ("/spec/template/spec/shareProcessNamespace", json!(true),
            "TemplateInvalid", "shareProcessNamespace is true"),
        ("/spec/template/spec/hostPID", json!(true), "TemplateInvalid", "hostPID is true"),
        ("/spec/template/spec/volumes", json!([{"name": "a", "secret": {"secretName": "blue-ca"}}]),
            "TemplateInvalid", "volume \"a\" takes the Secret blue-ca"),
        ("/spec/template/spec/volumes",
            json!([{"name": "a", "projected": {"sources": [{"secret": {"name": "blue-tls"}}]}}]),
            "TemplateInvalid", "volume \"a\" takes the Secret blue-tls"),
        ("/spec/template/spec/containers",
            app(json!({"envFrom": [{"secretRef": {"name": "blue-tls"}}]})),
            "TemplateInvalid", "envFrom of container \"app\" takes the Secret blue-tls"),
        ("/spec/template/spec/initContainers", json!([{"name": "i", "env": [{"name": "KEY",
            "valueFrom": {"secretKeyRef": {"name": "blue-ca", "key": "ca.key"}}}]}]),
            "TemplateInvalid", "env of container \"i\" takes the Secret blue-ca"),
    ]);
}
