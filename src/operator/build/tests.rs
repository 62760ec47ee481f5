//! The objects of a few clusters as they were reviewed (`tests/golden/operator`); and what has to
//! hold of every other one.

use std::fmt::Debug;
use std::path::PathBuf;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;

/// The smallest, one that says everything, one whose disks end with its pods, and a pair.
const CLUSTERS: [&str; 4] = ["minimal", "full", "ephemeral", "pair"];

fn folder() -> PathBuf {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test");
    PathBuf::from(root).join("tests/golden/operator")
}

fn cluster(name: &str) -> RememberCluster {
    let file = folder().join(format!("{name}.yaml"));
    serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// The smallest cluster with another pod.
fn cluster_of(pod: &Value) -> RememberCluster {
    let mut cluster = cluster("minimal");
    cluster.spec.template = json!({"spec": pod}).into();
    cluster
}

fn defaults() -> Defaults {
    Defaults {
        image: "remember:1".to_owned(),
        image_pull_policy: None,
    }
}

/// Where nothing is known but the spec.
fn extent(cluster: &RememberCluster) -> Extent {
    Extent::of(cluster, None, None, None)
}

fn built(cluster: &RememberCluster) -> Vec<Value> {
    build(cluster, extent(cluster), &defaults()).unwrap()
}

fn names(objects: &[Value]) -> Vec<String> {
    let name = |object: &Value| {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        format!("{}/{}", kind.as_str().unwrap(), name.as_str().unwrap())
    };
    objects.iter().map(name).collect()
}

fn stateful_set(cluster: &RememberCluster) -> Value {
    built(cluster).pop().unwrap()
}

/// The pod's spec in the StatefulSet.
fn pod(cluster: &RememberCluster) -> Value {
    stateful_set(cluster)["spec"]["template"]["spec"].take()
}

#[test]
fn the_objects_are_those_that_were_reviewed() {
    for name in CLUSTERS {
        let objects = built(&cluster(name));
        assert_eq!(objects, built(&cluster(name)), "the same every time");
        let text = objects
            .iter()
            .map(|object| format!("---\n{}", serde_saphyr::to_string(object).unwrap()));
        let text: String = text.collect();
        let file = folder().join(format!("{name}.objects.yaml"));
        if std::env::var_os("REMEMBER_BLESS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            kept == text,
            "{} is not what is built now: run with REMEMBER_BLESS=1, and review the difference",
            file.display()
        );
    }
}

#[test]
fn kubernetes_knows_every_field() {
    #[track_caller]
    fn demand<T: DeserializeOwned + Serialize + Debug>(object: &Value) {
        let typed: T = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(&serde_json::to_value(&typed).unwrap(), object);
    }
    for name in CLUSTERS {
        for object in &built(&cluster(name)) {
            match object["kind"].as_str().unwrap() {
                "StatefulSet" => demand::<StatefulSet>(object),
                "Service" => demand::<Service>(object),
                "ServiceAccount" => demand::<ServiceAccount>(object),
                "Role" => demand::<Role>(object),
                "RoleBinding" => demand::<RoleBinding>(object),
                "PodDisruptionBudget" => demand::<PodDisruptionBudget>(object),
                other => panic!("{other} is not tried"),
            }
        }
    }
}

#[test]
fn every_object_goes_with_its_cluster_and_can_be_found() {
    let store = cluster("full");
    for object in built(&store) {
        let metadata = &object["metadata"];
        assert_eq!(metadata["namespace"], "shop");
        assert_eq!(metadata["labels"][CLUSTER_LABEL], "store");
        let owner = &metadata["ownerReferences"][0];
        assert_eq!(owner["uid"], json!(store.metadata.uid));
        assert_eq!(owner["controller"], true);
    }
    let mut unstored = store.clone();
    unstored.metadata.uid = None;
    let refusal = build(&unstored, extent(&unstored), &defaults()).unwrap_err();
    assert_eq!(refusal.reason, "NotStored");
    let mut wrong = store;
    wrong.spec.replicas = 0;
    let refusal = build(&wrong, extent(&wrong), &defaults()).unwrap_err();
    assert_eq!(refusal.reason, "ReplicasInvalid");
}

#[test]
fn there_is_what_the_spec_asks_for_and_no_more() {
    let least = [
        "ServiceAccount/blue",
        "Role/blue",
        "RoleBinding/blue",
        "Service/blue-peers",
        "PodDisruptionBudget/blue",
        "StatefulSet/blue",
    ];
    assert_eq!(names(&built(&cluster("minimal"))), least);
    let all = [
        "Role/store",
        "RoleBinding/store",
        "Service/store-peers",
        "Service/store-leader",
        "Service/store-followers",
        "PodDisruptionBudget/store",
        "StatefulSet/store",
    ];
    assert_eq!(names(&built(&cluster("full"))), all);
}

#[test]
fn an_account_of_the_users_is_kept_and_gets_our_role() {
    let container = json!([{"name": "app", "image": "app:1"}]);
    for (pod, account, is_ours) in [
        (json!({"containers": container}), "blue", true),
        (
            json!({"containers": container, "serviceAccountName": ""}),
            "blue",
            true,
        ),
        (
            json!({"containers": container, "serviceAccountName": "own"}),
            "own",
            false,
        ),
        (
            json!({"containers": container, "serviceAccount": "old"}),
            "old",
            false,
        ),
    ] {
        let cluster = cluster_of(&pod);
        let objects = built(&cluster);
        let is_made = names(&objects).contains(&"ServiceAccount/blue".to_owned());
        assert_eq!(is_made, is_ours, "{account}");
        let binding = objects.iter().find(|one| one["kind"] == "RoleBinding");
        assert_eq!(binding.unwrap()["subjects"][0]["name"], account);
        let pod = self::pod(&cluster);
        let without = pod.get("automountServiceAccountToken");
        assert_eq!(without, is_ours.then_some(&Value::Bool(false)));
        if is_ours {
            assert_eq!(pod["serviceAccountName"], "blue");
        }
    }
}

#[test]
fn what_the_user_wrote_stays_as_it_was_written() {
    let written = json!({
        "containers": [{"name": "app", "image": "app:1", "newField": {"a": [1, null]}}],
        "initContainers": [{"name": "first", "image": "app:1"}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "automountServiceAccountToken": true,
        "topologySpreadConstraints": [],
        "securityContext": {"fsGroup": 7, "fsGroupChangePolicy": "Always", "runAsUser": 0},
        "anotherField": "kept",
        "enableServiceLinks": null,
    });
    let pod = pod(&cluster_of(&written));
    for (field, value) in written.as_object().unwrap() {
        match field.as_str() {
            "initContainers" => assert_eq!(pod[field][1], value[0]),
            "volumes" => assert_eq!(pod[field][0], value[0]),
            _ => assert_eq!(&pod[field], value, "{field}"),
        }
    }
    let cluster = cluster_of(&json!({
        "containers": [{"name": "app"}], "affinity": {}, "volumes": null, "securityContext": null,
    }));
    let pod = self::pod(&cluster);
    assert_eq!(
        pod.get("topologySpreadConstraints"),
        None,
        "the user has placed them"
    );
    assert_eq!(pod["securityContext"]["fsGroup"], 65_532);
    assert_eq!(pod["volumes"].as_array().unwrap().len(), 2);
}

#[test]
fn no_pod_begins_with_a_role_to_which_traffic_goes() {
    let template = stateful_set(&cluster("full"))["spec"]["template"].take();
    let metadata = &template["metadata"];
    let labels = json!({
        "app": "store",
        "remember.krest.io/cluster": "store",
        "remember.krest.io/role": "candidate",
    });
    assert_eq!(metadata["labels"], labels);
    let annotations = json!({"example.com/owner": "shop", "remember.krest.io/term": "0"});
    assert_eq!(metadata["annotations"], annotations);
}

#[test]
fn the_sidecar_starts_first_and_alone_holds_keys_and_a_token() {
    for name in CLUSTERS {
        let pod = pod(&cluster(name));
        let sidecar = &pod["initContainers"][0];
        assert_eq!(
            (&sidecar["name"], &sidecar["restartPolicy"]),
            (&json!("remember"), &json!("Always"))
        );
        let mounted = |container: &Value| container["volumeMounts"].to_string();
        assert!(mounted(sidecar).contains("remember-tls"));
        let others = pod["initContainers"].as_array().unwrap().iter().skip(1);
        for other in others.chain(pod["containers"].as_array().unwrap()) {
            assert!(!mounted(other).contains("remember-"), "{other}");
        }
        let secrets = pod["volumes"].to_string();
        assert!(
            !secrets.contains(&crate::crd::authority_secret(name)),
            "{secrets}"
        );
        assert_eq!(sidecar.get("envFrom"), None);
        assert_eq!(sidecar["resources"]["limits"].get("cpu"), None);
    }
}

#[test]
fn an_image_is_fetched_as_the_operator_is_told() {
    let sidecar = |cluster: &RememberCluster, policy: Option<&str>| {
        let defaults = Defaults {
            image_pull_policy: policy.map(str::to_owned),
            ..defaults()
        };
        let mut set = build(cluster, extent(cluster), &defaults)
            .unwrap()
            .pop()
            .unwrap();
        set["spec"]["template"]["spec"]["initContainers"][0].take()
    };
    let own = sidecar(&cluster("minimal"), Some("Never"));
    assert_eq!(
        (&own["image"], &own["imagePullPolicy"]),
        (&json!("remember:1"), &json!("Never"))
    );
    let users = sidecar(&cluster("full"), None);
    assert_eq!(users["image"], "registry.example/remember@sha256:0000");
    assert_eq!(users.get("imagePullPolicy"), None);
}

#[test]
fn another_number_of_pods_makes_no_other_pod() {
    let mut store = cluster("full");
    let of = |store: &RememberCluster, pods| {
        let extent = Extent {
            pods,
            disruptions: 2,
        };
        let objects = build(store, extent, &defaults()).unwrap();
        let budget = objects
            .iter()
            .find(|one| one["kind"] == "PodDisruptionBudget")
            .unwrap();
        assert_eq!(budget["spec"]["maxUnavailable"], 2);
        objects.last().unwrap()["spec"].clone()
    };
    let five = of(&store, 5);
    assert_eq!(five["replicas"], 5);
    store.spec.replicas = 3;
    let three = of(&store, 3);
    assert_eq!(three["replicas"], 3);
    assert_eq!(
        of(&store, 4)["replicas"],
        4,
        "those who leave have not left yet"
    );
    assert_eq!(five["template"], three["template"]);
}

#[test]
fn without_storage_the_disk_is_one_of_the_pod() {
    let mut blue = cluster("minimal");
    blue.spec.storage = None;
    let set = stateful_set(&blue);
    for field in [
        "volumeClaimTemplates",
        "persistentVolumeClaimRetentionPolicy",
    ] {
        assert_eq!(set["spec"].get(field), None, "{field}");
    }
    let volumes = set["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .unwrap()
        .clone();
    let data = json!({"name": "remember-data", "emptyDir": {}});
    assert!(volumes.contains(&data), "{volumes:?}");
}

#[test]
fn only_with_a_witness_nodes_are_told_of_one_and_may_write_it() {
    let rules = |cluster: &RememberCluster| {
        let objects = built(cluster);
        let role = objects.iter().find(|one| one["kind"] == "Role").unwrap();
        role["rules"].as_array().unwrap().clone()
    };
    let has_it = |cluster: &RememberCluster| {
        has_witness(&serde_json::from_value(stateful_set(cluster)).unwrap())
    };
    let mut pair = cluster("pair");
    assert!(has_it(&pair));
    let args = pod(&pair)["initContainers"][0]["args"].clone();
    let args = args.as_array().unwrap();
    assert_eq!(args[args.len() - 2..], ["--witness-object", "pair-witness"]);
    let right = json!({
        "apiGroups": [""], "resources": ["configmaps"],
        "resourceNames": ["pair-witness"], "verbs": ["get", "update"],
    });
    assert_eq!(rules(&pair)[1..], [right]);
    // Nothing of the rest writes what it holds, nor even names it.
    let written = built(&pair);
    assert!(
        written.iter().all(|one| one["kind"] != "ConfigMap"),
        "{written:?}"
    );
    pair.spec.replicas = 3;
    pair.spec.witness = None;
    assert!(!has_it(&pair));
    assert_eq!(rules(&pair).len(), 1);
}
