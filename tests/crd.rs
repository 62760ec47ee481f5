//! The definition of the custom resource is the one that this program prints: in `crds/`, and in
//! the chart, which can read no file outside of itself. The examples keep to it.

#![cfg(test)]

use std::process::Command;

use kube::CustomResourceExt as _;
use remember::crd::RememberCluster;
use serde_json::Value;

/// What `kubectl apply` can carry in its annotation (R6).
const APPLY_BYTES_MAX: usize = 262_144;

/// Where the definition is kept.
const COPIES: [&str; 2] = [
    "crds/remembercluster.yaml",
    "charts/remember/files/remembercluster.yaml",
];

#[test]
fn the_definitions_in_the_repository_are_fresh() {
    let printed = Command::new(env!("CARGO_BIN_EXE_remember"))
        .arg("crd")
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test");
    for path in COPIES {
        let file = std::path::Path::new(&root).join(path);
        if std::env::var_os("REMEMBER_BLESS").is_some() {
            std::fs::write(&file, &printed).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap();
        assert!(
            kept == printed,
            "{path} is not what `remember crd` prints: run REMEMBER_BLESS=1 cargo test --test crd, \
             and review the difference; then do the same with `make chart`"
        );
    }
    assert!(
        printed.len() < APPLY_BYTES_MAX / 2,
        "{} bytes",
        printed.len()
    );
}

/// One of the manifests that users begin with.
fn example<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test");
    let file = std::path::Path::new(&root)
        .join("manifests/examples")
        .join(name);
    let text = std::fs::read_to_string(file).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_examples_run_the_image_of_this_version() {
    for name in [
        "minimal.yaml",
        "ephemeral.yaml",
        "pair.yaml",
        "complete.yaml",
    ] {
        let cluster: RememberCluster = example(name);
        let pod = cluster.spec.template.pod().unwrap();
        let image = pod.spec.unwrap().containers[0].image.clone();
        let own = format!("remember:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(image, Some(own), "{name}");
    }
}

#[test]
fn the_complete_example_has_every_field_of_the_definition() {
    let definition = serde_json::to_value(RememberCluster::crd()).unwrap();
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let written: Value = example("complete.yaml");
    demand_all(
        "spec",
        definition.pointer(schema).unwrap(),
        &written["spec"],
    );
}

/// Demands that each field which the schema names is written. What Kubernetes itself defines, a pod
/// and its resources, is not ours to explain.
fn demand_all(path: &str, schema: &Value, written: &Value) {
    for (field, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{field}");
        let value = &written[field];
        assert!(!value.is_null(), "{path} is missing in complete.yaml");
        if !["template", "resources"].contains(&field.as_str()) {
            demand_all(&path, below, value);
        }
        if value.is_array() {
            demand_all(&format!("{path}[0]"), &below["items"], &value[0]);
        }
    }
}
