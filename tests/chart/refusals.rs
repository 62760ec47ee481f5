//! What the schema of the values refuses: a typing error is a mistake, and never ignored.

use serde_json::Value;

use crate::helm::{helm, helm_output, root};
use crate::objects::objects;

/// A value that is wrong, and the place that helm must complain of.
const WRONG: [(&str, &str); 18] = [
    ("replica=3", "replica"),
    ("replicas=many", "/replicas"),
    ("replicas=-1", "/replicas"),
    ("image.tagg=1", "/image"),
    ("image.repository=", "/image/repository"),
    ("image.tag=a/b", "/image/tag"),
    ("image.digest=sha256:12", "/image/digest"),
    ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
    ("imagePullSecrets={a}", "/imagePullSecrets/0"),
    ("watchNamespaces=blue", "/watchNamespaces"),
    ("watchNamespaces={Blue}", "/watchNamespaces/0"),
    ("watchNamespaces={blue,blue}", "/watchNamespaces"),
    ("log.format=xml", "/log/format"),
    ("extraEnv[0].name=REMEMBER_IMAGE", "/extraEnv/0/name"),
    ("resources.limits.memory=much", "/resources/limits/memory"),
    ("crds.enabled=perhaps", "/crds/enabled"),
    (
        "networkPolicy.apiServerPorts={0}",
        "/networkPolicy/apiServerPorts/0",
    ),
    ("tolerations[0].effect=Never", "/tolerations/0/effect"),
];

#[test]
fn wrong_values_are_refused_where_they_are_wrong() {
    for (value, place) in WRONG {
        let output = helm_output(&["template", "remember", "charts/remember", "--set", value]);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{value} is taken");
        assert!(complaint.contains(place), "{value}: {complaint}");
    }
    let labels = r"commonLabels.app\.kubernetes\.io/name=x";
    let output = helm_output(&["template", "remember", "charts/remember", "--set", labels]);
    assert!(
        !output.status.success(),
        "a label of ours can be overwritten"
    );
}

/// A release may be called what no Service may.
#[test]
fn objects_have_names_that_services_may_have() {
    let dotted = objects(&helm(&["template", "team.eu.remember", "charts/remember"]));
    let services = dotted.iter().filter(|object| object.kind() == "Service");
    let names: Vec<_> = services.map(|one| &one.0["metadata"]["name"]).collect();
    assert_eq!(names, ["team-eu-remember-operator"]);

    let refused = helm_output(&["template", "7up", "charts/remember"]);
    let complaint = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "7up is taken");
    assert!(complaint.contains("begins with a letter"), "{complaint}");
    let other = ["--set", "fullnameOverride=up"];
    helm(&[&["template", "7up", "charts/remember"], &other[..]].concat());
}

#[test]
fn the_schema_leaves_no_key_unnamed() {
    let text = std::fs::read_to_string(root().join("charts/remember/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    demand_closed("", &schema);
}

/// Every value has a description, and whatever names its keys takes no others.
fn demand_closed(path: &str, schema: &Value) {
    if let Some(keys) = schema["properties"].as_object() {
        assert_eq!(schema["additionalProperties"], false, "{path} is open");
        for (key, below) in keys {
            let path = format!("{path}/{key}");
            assert!(below["description"].is_string(), "{path} is not described");
            demand_closed(&path, below);
        }
    }
    if schema["items"].is_object() {
        demand_closed(&format!("{path}/0"), &schema["items"]);
    }
}
