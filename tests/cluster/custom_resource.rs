//! The custom resource on a real API server: its rules are written in CEL, which only an API server
//! reads as users' API servers do.

use serde_json::{Value, json};

use crate::api::{REMEMBER, path};
use crate::cluster::{Cluster, root, wait_for};
use crate::workload::make_namespace;

const NAMESPACE: &str = "refusals";

/// Good specs are taken and completed; bad ones are refused with a sentence that says why.
pub(crate) fn bad_specs_are_refused_with_a_sentence(cluster: &Cluster) {
    install_definition(cluster);
    make_namespace(cluster, NAMESPACE);
    let bad = bad_specs();
    assert!(bad.len() >= 20, "{} bad specs", bad.len());
    demand_refusals(cluster, "bad", bad);
    cluster.apply(&good("good"));
    let made = cluster.ask(&path(REMEMBER, NAMESPACE, "rememberclusters/good"));
    assert_eq!(
        made["spec"]["election"],
        json!({"heartbeatMs": 50, "timeoutMs": 300})
    );
    assert_eq!(made["spec"]["storage"]["whenDeleted"], "Retain");
    // What nobody declared is kept as it was written.
    let container = &made["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/");
    demand_refusals(cluster, "good", bad_changes());
    demand_scales(cluster);
    demand_without_storage(cluster);
    let table = cluster.kubectl(&["-n", NAMESPACE, "get", "rememberclusters"]);
    let head: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    let columns = [
        "NAME", "LEADER", "TERM", "MEMBERS", "VOTERS", "READY", "AGE",
    ];
    assert_eq!(head, columns);
    let explained = cluster.kubectl(&["explain", "remembercluster.spec.election.timeoutMs"]);
    assert!(
        explained.contains("How long a follower hears nothing"),
        "{explained}"
    );
    cluster.kubectl(&["delete", "namespace", NAMESPACE]);
}

/// By `kubectl scale`, as by a change of the spec: to any number, but to two with a witness only,
/// which nobody removes from two.
fn demand_scales(cluster: &Cluster) {
    let scale = |replicas: &str| {
        let scale = ["-n", NAMESPACE, "scale", "remembercluster/good", replicas];
        let scaled = cluster.kubectl_output(&scale);
        String::from_utf8_lossy(&scaled.stderr).into_owned()
    };
    let pair = "spec.replicas must not be 2 without spec.witness";
    assert!(scale("--replicas=2").contains(pair));
    for replicas in ["--replicas=5", "--replicas=1"] {
        assert_eq!(scale(replicas), "", "{replicas}");
    }
    assert!(scale("--replicas=2").contains(pair));
    let mut witnessed = good("good");
    set(&mut witnessed, "/spec/witness", json!("ConfigMap"));
    cluster.apply(&witnessed);
    assert_eq!(scale("--replicas=2"), "");
    let mut alone = good("good");
    set(&mut alone, "/spec/replicas", json!(2));
    let said = cluster.refusal(&alone);
    assert!(said.contains(pair), "{said}");
    // Nor as long as two vote, whatever is wanted.
    let tell_voters = |voters: u8| {
        let status = json!({"status": {"voters": voters}}).to_string();
        let good = ["-n", NAMESPACE, "patch", "remembercluster", "good"];
        let patch = ["--subresource=status", "--type=merge", "-p", &status];
        cluster.kubectl(&[&good[..], &patch].concat());
    };
    tell_voters(2);
    let said = cluster.refusal(&good("good"));
    assert!(
        said.contains("spec.witness cannot be removed while two"),
        "{said}"
    );
    assert_eq!(scale("--replicas=3"), "");
    tell_voters(3);
    cluster.apply(&good("good"));
}

/// Without storage: a pair needs a witness as well, and no storage comes later.
fn demand_without_storage(cluster: &Cluster) {
    let mut resource = good("ephemeral");
    set(&mut resource, "/spec/storage", Value::Null);
    let refused = |mut resource: Value, field, value, sentence: &str| {
        set(&mut resource, field, value);
        let said = cluster.refusal(&resource);
        assert!(said.contains(sentence), "{said}");
    };
    let pair = "spec.replicas must not be 2 without spec.witness";
    refused(resource.clone(), "/spec/replicas", json!(2), pair);
    cluster.apply(&resource);
    refused(resource.clone(), "/spec/replicas", json!(2), pair);
    let fixed = "spec.storage can be neither added nor removed";
    refused(
        resource.clone(),
        "/spec/storage",
        json!({"size": "1Gi"}),
        fixed,
    );
    refused(good("good"), "/spec/storage", Value::Null, fixed);
    set(&mut resource, "/spec/witness", json!("ConfigMap"));
    set(&mut resource, "/spec/replicas", json!(2));
    cluster.apply(&resource);
}

/// Each change of a good resource is refused with its sentence.
fn demand_refusals(cluster: &Cluster, name: &str, wrong: Vec<Wrong>) {
    let said: Vec<_> = (wrong.into_iter())
        .filter_map(|(field, value, sentence)| {
            let mut resource = good(name);
            set(&mut resource, field, value);
            let said = cluster.refusal(&resource);
            let is_said = said.contains(sentence);
            (!is_said).then(|| format!("{resource}\n  was told: {said}\n  and not: {sentence}"))
        })
        .collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
}

/// As a user would, by a plain `kubectl apply`, which carries no more than 262,144 bytes (R6).
fn install_definition(cluster: &Cluster) {
    let definition = root().join("crds");
    cluster.kubectl(&["apply", "-f", definition.to_str().unwrap()]);
    wait_for("the definition", || {
        // Not only the API server has to know it, but kubectl as well.
        let kinds = cluster.kubectl_output(&["get", "rememberclusters", "-A"]);
        kinds.status.success().then_some(())
    });
}

fn good(name: &str) -> Value {
    json!({
        "apiVersion": "remember.krest.io/v1alpha1", "kind": "RememberCluster",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": 3,
            "storage": {"size": "1Gi"},
            "service": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
            "template": {
                "metadata": {"labels": {"app": "store"}},
                "spec": {"containers": [{
                    "name": "app",
                    "image": "app:1",
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
                }]},
            },
        },
    })
}

/// A field of a good resource, the value that makes it bad (null removes the field), and the
/// sentence that the resource is then refused with.
type Wrong = (&'static str, Value, &'static str);

#[rustfmt::skip]
fn bad_specs() -> Vec<Wrong> {
    let port = |name: &str, port: u16| json!({"name": name, "port": port});
    vec![
        ("/spec/replicas", json!(0), "should be greater than or equal to 1"),
        ("/spec/replicas", json!(10), "should be less than or equal to 9"),
        ("/spec/replicas", json!("three"), "must be of type integer"),
        ("/spec/replicas", Value::Null, "spec.replicas: Required value"),
        ("/spec/template", Value::Null, "spec.template: Required value"),
        ("/spec/replica", json!(3), "unknown field \"spec.replica\""),
        ("/metadata/name", json!("a".repeat(53)), "at most 52 letters"),
        ("/metadata/name", json!("1st"), "must begin with a small letter"),
        ("/metadata/name", json!("a.b"), "must begin with a small letter"),
        ("/metadata/name", json!("default"), "metadata.name must not be 'default'"),
        ("/spec/election", json!({"heartbeatMs": 100, "timeoutMs": 299}),
            "at least three times heartbeatMs"),
        ("/spec/election", json!({"heartbeatMs": 1}), "should be greater than or equal to 10"),
        ("/spec/replicas", json!(2), "spec.replicas must not be 2 without spec.witness"),
        ("/spec/witness", json!("Lease"), "Unsupported value: \"Lease\""),
        ("/spec/storage/whenDeleted", json!("Keep"), "Unsupported value: \"Keep\""),
        ("/spec/storage/size", json!("banana"), "must be an amount of bytes above 0"),
        ("/spec/storage/size", json!("-1Gi"), "must be an amount of bytes above 0"),
        ("/spec/storage/size", json!(0), "must be an amount of bytes above 0"),
        ("/spec/service/ports", json!([port("HTTP", 1)]), "should match"),
        ("/spec/service/ports", json!([port("a", 7401)]),
            "lead them to a port of your application"),
        ("/spec/service/ports", json!([{"name": "a", "port": 80, "targetPort": 7400}]),
            "lead them to a port of your application"),
        ("/spec/service/ports", json!([port("a", 1), port("a", 2)]),
            "names of spec.service.ports must differ"),
        ("/spec/service/ports", json!([port("a", 1), port("b", 1)]),
            "numbers of spec.service.ports must differ"),
        ("/spec/template/metadata/labels", json!({"remember.krest.io/role": "leader"}),
            "labels must have nothing that begins with 'remember.krest.io/'"),
        ("/spec/template/metadata/annotations", json!({"remember.krest.io/term": "7"}),
            "annotations must have nothing that begins with 'remember.krest.io/'"),
        ("/spec/template/spec/hostNetwork", json!(true), "hostNetwork must not be true"),
        ("/spec/template/spec/containers/0/ports", json!([{"containerPort": 7401}]),
            "on which the sidecar of each pod listens"),
        ("/spec/template/spec/initContainers",
            json!([{"name": "i", "image": "i", "ports": [{"containerPort": 7400}]}]),
            "on which the sidecar of each pod listens"),
        ("/spec/template/spec/containers/0/name", json!("remember"), "may be called 'remember'"),
        ("/spec/template/spec/volumes", json!([{"name": "remember-data", "emptyDir": {}}]),
            "begins with 'remember-'"),
        ("/spec/template/spec/hostPID", json!(true), "hostPID must not be true"),
        ("/spec/template/spec/shareProcessNamespace", json!(true),
            "shareProcessNamespace must not be true"),
        ("/spec/template/spec/containers/0/volumeMounts",
            json!([{"name": "remember-tls", "mountPath": "/keys"}]),
            "may mount a volume whose name begins with 'remember-'"),
        ("/spec/template/spec/initContainers",
            json!([{"name": "i", "image": "i",
                "volumeMounts": [{"name": "remember-data", "mountPath": "/data"}]}]),
            "may mount a volume whose name begins with 'remember-'"),
        ("/spec/template/spec/restartPolicy", json!("Never"), "restartPolicy must be Always"),
        ("/spec/template/spec/terminationGracePeriodSeconds", json!(0),
            "terminationGracePeriodSeconds must be at least 5"),
        ("/spec/template/spec/containers", json!([]), "should have at least 1 items"),
        ("/spec/template/spec/containers/0/ports", json!([{"containerPort": 65536}]),
            "should be less than or equal to 65535"),
    ]
}

fn bad_changes() -> Vec<Wrong> {
    let fixed = "spec.storage.size and storageClassName cannot be changed";
    vec![
        (
            "/spec/replicas",
            json!(2),
            "spec.replicas must not be 2 without spec.witness",
        ),
        ("/spec/storage/size", json!("2Gi"), fixed),
        ("/spec/storage/storageClassName", json!("other"), fixed),
    ]
}

/// Sets or removes one field of an object that is there.
fn set(resource: &mut Value, field: &str, value: Value) {
    let (parent, name) = field.rsplit_once('/').unwrap();
    let parent = resource.pointer_mut(parent).unwrap();
    let parent = parent.as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(name);
    } else {
        parent.insert(name.to_owned(), value);
    }
}

impl Cluster {
    /// What the API server says to a resource that it must refuse.
    fn refusal(&self, resource: &Value) -> String {
        let file = self.directory().join("refused.json");
        std::fs::write(&file, resource.to_string()).unwrap();
        let apply = ["apply", "-f", file.to_str().unwrap()];
        let output = self.kubectl_output(&apply);
        assert!(!output.status.success(), "it was taken: {resource}");
        String::from_utf8(output.stderr).unwrap()
    }
}
