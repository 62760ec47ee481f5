//! The rights that the chart gives: exactly those that are listed here, wherever it gives them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::objects::{Object, objects};
use crate::rendered;

/// What the operator may do: group/resource, and the verbs.
const OPERATOR: [(&str, &str); 14] = [
    // To update them it hands on only: to the nodes of a pair, for their witness alone (R17).
    ("/configmaps", "create get list patch update watch"),
    ("/pods", "delete get list patch watch"),
    // It knows their names, and must not see those of others.
    ("/secrets", "create get patch update"),
    ("/persistentvolumeclaims", "get"),
    ("/serviceaccounts", "create get list patch watch"),
    ("/services", "create delete get list patch watch"),
    ("apps/statefulsets", "create get list patch watch"),
    ("events.k8s.io/events", "create patch"),
    ("policy/poddisruptionbudgets", "create get list patch watch"),
    (
        "rbac.authorization.k8s.io/rolebindings",
        "create get list patch watch",
    ),
    (
        "rbac.authorization.k8s.io/roles",
        "create get list patch watch",
    ),
    ("remember.krest.io/rememberclusters", "get list watch"),
    ("remember.krest.io/rememberclusters/finalizers", "update"),
    ("remember.krest.io/rememberclusters/status", "patch"),
];

/// The rights of a role, one line a resource.
fn rights(role: &Object) -> BTreeSet<(String, String)> {
    let words = |value: &Value| -> Vec<String> {
        let words = value.as_array().unwrap().iter();
        words
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role.0["rules"].as_array().unwrap() {
        let mut verbs = words(&rule["verbs"]);
        verbs.sort();
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                let right = (format!("{group}/{resource}"), verbs.join(" "));
                assert!(rights.insert(right), "{role} says {resource} twice");
            }
        }
    }
    rights
}

fn roles(values: &[&str], kind: &str) -> Vec<Object> {
    let all = objects(&rendered(values)).into_iter();
    let operators = all.filter(|object| {
        object.kind() == kind && object.0["metadata"]["name"] == "remember-operator"
    });
    operators.collect()
}

#[test]
fn the_operator_may_do_what_it_needs_and_nothing_else() {
    let listed = OPERATOR.map(|(resource, verbs)| (resource.to_owned(), verbs.to_owned()));
    let listed = BTreeSet::from(listed);
    let everywhere = roles(&[], "ClusterRole");
    assert_eq!(everywhere.len(), 1);
    assert_eq!(rights(&everywhere[0]), listed);
    assert_eq!(roles(&[], "Role").len(), 0);

    let two = ["--set", "watchNamespaces={blue,green}"];
    let in_two = roles(&two, "Role");
    let places: Vec<_> = in_two
        .iter()
        .map(|role| &role.0["metadata"]["namespace"])
        .collect();
    assert_eq!(places, ["blue", "green"]);
    assert!(in_two.iter().all(|role| rights(role) == listed));
    assert_eq!(roles(&two, "ClusterRole").len(), 0);
    assert_eq!(roles(&two, "ClusterRoleBinding").len(), 0);
}

#[test]
fn rights_are_given_to_the_operator_s_account_and_to_nobody_else() {
    for (values, kind) in [
        (&[][..], "ClusterRoleBinding"),
        (&["--set", "watchNamespaces={blue}"][..], "RoleBinding"),
    ] {
        let bindings = roles(values, kind);
        assert_eq!(bindings.len(), 1);
        let subjects = bindings[0].0["subjects"].as_array().unwrap();
        assert_eq!(subjects.len(), 1);
        assert_eq!(subjects[0]["name"], "remember-operator");
        assert_eq!(subjects[0]["namespace"], "remember-system");
    }
    assert!(roles(&["--set", "rbac.create=false"], "ClusterRole").is_empty());
}

#[test]
fn users_rights_extend_to_clusters_by_the_roles_that_they_have() {
    let all = objects(&rendered(&[]));
    let of_users = |label: &str| -> Vec<_> {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{label}");
        let roles = all.iter();
        let roles = roles.filter(|role| role.0["metadata"]["labels"][&label] == "true");
        roles.flat_map(rights).collect()
    };
    let may =
        |resource: &str, verbs: &str| (format!("remember.krest.io/{resource}"), verbs.to_owned());
    let change = "create delete deletecollection get list patch update watch";
    let viewers = [
        may("rememberclusters", "get list watch"),
        may("rememberclusters/status", "get list watch"),
    ];
    let editors = [
        may("rememberclusters", change),
        may("rememberclusters/scale", change),
    ];
    assert_eq!(of_users("view"), viewers);
    assert_eq!(of_users("edit"), editors);
    assert_eq!(of_users("admin"), editors);
}
