//! The chart, as `helm` sees it: what it renders, what it refuses, and that the files made from it
//! are fresh. `make chart` builds helm and runs this; no Kubernetes is needed.
//!
//! ```text
//!   REMEMBER_BLESS=1 make chart       takes what is rendered as expected; review the diff
//! ```
//!
//! Whether an API server takes what is rendered, and whether the operator works with these rights,
//! is for `make cluster` to say.

#![cfg(test)]

mod helm;
mod objects;
mod refusals;
mod rights;

use serde_json::json;

use helm::{helm, helm_output, root};
use objects::{Object, objects};

/// Renders the chart with some values.
fn rendered(values: &[&str]) -> String {
    let mut arguments = vec![
        "template",
        "remember",
        "charts/remember",
        "--namespace",
        "remember-system",
    ];
    arguments.extend(values);
    helm(&arguments)
}

/// What a Kubernetes with the Prometheus operator has, beside the rest.
const MONITORS: [&str; 4] = [
    "--api-versions",
    "monitoring.coreos.com/v1/PodMonitor",
    "--api-versions",
    "monitoring.coreos.com/v1/ServiceMonitor",
];

/// The ways in which the chart is installed, by the names of their golden files.
fn ways() -> Vec<(&'static str, Vec<&'static str>)> {
    let everything = [&MONITORS[..], &["--values", "tests/chart/everything.yaml"]].concat();
    vec![
        ("default", vec![]),
        ("namespaces", vec!["--set", "watchNamespaces={blue,green}"]),
        ("everything", everything),
        ("least", vec!["--values", "tests/chart/least.yaml"]),
    ]
}

/// Demands that a file in the repository is what was made now, and writes it if that is asked for.
fn demand_fresh(path: &str, made: &str) {
    let file = root().join(path);
    if std::env::var_os("REMEMBER_BLESS").is_some() {
        std::fs::write(&file, made).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == made,
        "{path} is not what is made now: if that is meant, run REMEMBER_BLESS=1 make chart, and \
         review the difference:\n{made}"
    );
}

#[test]
fn the_chart_has_no_faults_that_helm_knows_of() {
    let said = helm(&["lint", "--strict", "charts/remember"]);
    assert!(said.contains("0 chart(s) failed"), "{said}");
}

#[test]
fn what_is_rendered_is_as_it_was_agreed() {
    for (name, values) in ways() {
        // The definition is compared elsewhere, and would hide the rest.
        let without_definition = [&values[..], &["--set", "crds.enabled=false"]].concat();
        let golden = format!("tests/golden/chart/{name}.yaml");
        demand_fresh(&golden, &rendered(&without_definition));
    }
}

#[test]
fn the_same_values_render_the_same_bytes() {
    for (name, values) in ways() {
        assert!(rendered(&values) == rendered(&values), "{name}");
    }
}

#[test]
fn every_object_has_the_labels_and_the_place_of_its_release() {
    for (way, values) in ways() {
        let objects = objects(&rendered(&values));
        assert!(objects.len() >= 3, "{way}: {}", objects.len());
        for object in objects {
            let labels = &object.0["metadata"]["labels"];
            for label in [
                "name",
                "instance",
                "version",
                "component",
                "part-of",
                "managed-by",
            ] {
                let key = format!("app.kubernetes.io/{label}");
                assert!(labels[key].is_string(), "{way}: {object} has no {label}");
            }
            let place = object.0["metadata"]["namespace"].as_str();
            let allowed: &[_] = match object.kind() {
                "ClusterRole" | "ClusterRoleBinding" | "CustomResourceDefinition" => &[None],
                "Role" | "RoleBinding" => &[Some("blue"), Some("green")],
                _ => &[Some("remember-system")],
            };
            assert!(allowed.contains(&place), "{way}: {object} is in {place:?}");
        }
    }
}

#[test]
fn no_two_objects_are_one() {
    for (way, values) in ways() {
        let mut names: Vec<_> = objects(&rendered(&values))
            .iter()
            .map(Object::to_string)
            .collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{way}: {names:?}");
    }
}

#[test]
fn every_pod_is_as_restricted_as_kubernetes_knows_how() {
    for (way, values) in ways() {
        let objects = objects(&rendered(&values));
        let pods: Vec<_> = objects.iter().filter_map(Object::pod).collect();
        assert_eq!(pods.len(), 2, "{way}: the operator's and that of helm test");
        for pod in pods {
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{way}");
            let profile = &pod["securityContext"]["seccompProfile"]["type"];
            assert_eq!(profile, "RuntimeDefault", "{way}");
            for container in pod["containers"].as_array().unwrap() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{way}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{way}");
                assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{way}");
                let limits = &container["resources"]["limits"];
                assert!(limits["memory"].is_string() && limits["cpu"].is_null());
            }
        }
    }
}

#[test]
fn sidecars_have_the_operator_s_image_unless_another_is_named() {
    let digest = format!("image.digest=sha256:{}", "0123456789abcdef".repeat(4));
    let cases: [(&[&str], &str, &str); 4] = [
        (&[], "remember:0.1.0", "remember:0.1.0"),
        (&["--set", "image.tag=v7"], "remember:v7", "remember:v7"),
        (
            &["--set", "sidecar.image=mirror.example/r:1"],
            "remember:0.1.0",
            "mirror.example/r:1",
        ),
        (
            &["--set", &digest, "--set", "image.repository=r.example/r"],
            "r.example/r@sha256:0123456789abcdef",
            "r.example/r@sha256:0123456789abcdef",
        ),
    ];
    for (values, operator, sidecar) in cases {
        let objects = objects(&rendered(values));
        let pod = objects.iter().find_map(Object::pod_of_deployment).unwrap();
        let container = &pod["containers"][0];
        let image = container["image"].as_str().unwrap();
        assert!(image.starts_with(operator), "{image}");
        let env = container["env"].as_array().unwrap();
        let told = env.iter().find(|one| one["name"] == "REMEMBER_IMAGE");
        let told = told.unwrap()["value"].as_str().unwrap();
        assert!(told.starts_with(sidecar), "{told}");
    }
}

#[test]
fn monitors_are_only_for_those_who_have_the_prometheus_operator() {
    let wanted = [
        "--set",
        "podMonitor.enabled=true,serviceMonitor.enabled=true",
    ];
    let count = |values: &[&str]| {
        let objects = objects(&rendered(values));
        let monitors = objects
            .iter()
            .filter(|object| object.kind().ends_with("Monitor"));
        monitors.count()
    };
    assert_eq!(count(&wanted), 0);
    assert_eq!(count(&MONITORS), 0);
    assert_eq!(count(&[&wanted[..], &MONITORS].concat()), 2);
}

/// Uninstalling the operator leaves everybody's clusters alone (R7).
#[test]
fn the_definition_outlives_the_release_unless_that_is_unwanted() {
    let definition = |values: &[&str]| {
        let all = objects(&rendered(values));
        all.into_iter()
            .find(|object| object.kind() == "CustomResourceDefinition")
    };
    let policy =
        |object: &Object| object.0["metadata"]["annotations"]["helm.sh/resource-policy"].clone();
    assert_eq!(policy(&definition(&[]).unwrap()), "keep");
    let unkept = definition(&["--set", "crds.keep=false"]).unwrap();
    assert!(policy(&unkept).is_null());
    assert!(definition(&["--set", "crds.enabled=false"]).is_none());
    // It is the one of the repository but for its metadata.
    let kept = std::fs::read_to_string(root().join("crds/remembercluster.yaml")).unwrap();
    let kept = objects(&kept).remove(0);
    assert_eq!(unkept.0["spec"], kept.0["spec"]);
    assert_eq!(unkept.0["metadata"]["name"], kept.0["metadata"]["name"]);
}

#[test]
fn the_manifest_for_kubectl_is_fresh() {
    let head = "# The operator of Remember, for `kubectl apply --server-side -f`. Made of \
                charts/remember by\n# `REMEMBER_BLESS=1 make chart`, with its default values.\n#\n\
                # To remove it, and leave the clusters and their definition alone:\n\
                #   kubectl delete -f install.yaml -l \
                'app.kubernetes.io/component!=definition'\n\
                # Without the -l every RememberCluster would be deleted together with the \
                definition.\n";
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: remember-system\n  \
                     labels:\n    app.kubernetes.io/part-of: remember\n    \
                     pod-security.kubernetes.io/enforce: restricted\n";
    let made = format!("{head}{namespace}{}", rendered(&["--skip-tests"]));
    demand_fresh("manifests/install.yaml", &made);
    let objects = objects(&made);
    assert_eq!(objects[0].kind(), "Namespace");
    assert!(objects.iter().all(|object| object.kind() != "Pod"));
    // By this label, removing the rest leaves the definition, and so all clusters (R7).
    for object in &objects {
        let component = &object.0["metadata"]["labels"]["app.kubernetes.io/component"];
        let is_definition = object.kind() == "CustomResourceDefinition";
        assert_eq!(component == "definition", is_definition, "{object}");
    }
}

#[test]
fn the_chart_is_of_the_program_s_version() {
    let said = helm(&["show", "chart", "charts/remember"]);
    let chart = objects(&said).remove(0);
    assert_eq!(chart.0["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_value_is_told_what_it_is() {
    let text = std::fs::read_to_string(root().join("charts/remember/values.yaml")).unwrap();
    let mut comment = String::new();
    for line in text.lines() {
        let bare = line.trim_start();
        if let Some(words) = bare.strip_prefix('#') {
            // Of several lines, the first names the key.
            if comment.is_empty() {
                comment = words.trim_start().to_owned();
            }
            continue;
        }
        // Amounts of resources say themselves what they are.
        let is_amount = ["requests", "limits", "cpu", "memory"]
            .iter()
            .any(|key| bare.starts_with(&format!("{key}:")));
        if let Some((key, _)) = bare.split_once(':').filter(|_| !is_amount) {
            let is_told = comment.starts_with(&format!("{key}: "));
            assert!(
                is_told,
                "the comment above `{line}` does not begin with its key"
            );
        }
        comment.clear();
    }
}

#[test]
fn a_subchart_s_globals_are_no_mistake() {
    assert!(
        helm_output(&["template", "a", "charts/remember", "--set", "global.x=1"])
            .status
            .success()
    );
}
