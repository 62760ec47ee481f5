//! The operator comes, changes and goes; clusters stay.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api::{CORE, POLICY, path};
use crate::cluster::{Cluster, demand, root, wait_for};
use crate::hello::{Hello, Leader, is_ready, watch_for};
use crate::helm::{self, RELEASE, helm};
use crate::stories;
use crate::workload::make_namespace;

/// By `kubectl apply -f manifests/install.yaml`: a cluster gets its leader. Removed as its head
/// says, the operator leaves a cluster that goes on leading (R7).
pub(crate) fn install_yaml_installs(cluster: &Cluster) {
    let manifest = root().join("manifests/install.yaml");
    // Only that nobody here can fetch the image: it is on the machines already.
    let text = std::fs::read_to_string(&manifest).unwrap();
    let file = cluster.directory().join("install.yaml");
    std::fs::write(&file, text.replace("IfNotPresent", "Never")).unwrap();
    let file = file.to_str().unwrap();
    let install = || {
        // What it defines takes a moment until it can be used, as with every definition.
        cluster.kubectl(&["apply", "--server-side", "-f", file]);
        wait_for("the operators to be ready", || {
            let pods = helm::operator_pods(cluster);
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            (ready == 2).then_some(())
        });
    };
    let remove = |which: &str| {
        let which = format!("app.kubernetes.io/component{which}");
        cluster.kubectl(&["delete", "-f", file, "-l", &which, "--wait=true"]);
    };
    install();
    make_namespace(cluster, "plain");
    let hello = Hello::apply_patient(cluster, "plain", "hello");
    let before = hello.settle();
    remove("!=definition");
    let operators = helm::operator_pods(cluster);
    assert!(operators.is_empty(), "{operators:?} outlive their removal");
    assert_eq!(hello.seen()["metadata"]["deletionTimestamp"], Value::Null);
    assert_eq!(hello.leader_seen().as_ref(), Some(&before));
    hello.reach(&before);
    install();
    assert_eq!(hello.settle(), before);
    hello.delete();
    remove("!=definition");
    remove("=definition");
}

/// By Helm: installed, upgraded and removed under a cluster that goes on leading (R7).
pub(crate) fn helm_installs_upgrades_and_removes(cluster: &Cluster) {
    helm::install(cluster, &[]);
    demand(&mut helm(cluster, &["test", RELEASE, "--timeout", "60s"]));
    make_namespace(cluster, "helm");
    let hello = Hello::apply_patient(cluster, "helm", "hello");
    let before = hello.settle();
    helm::install(cluster, &["log.filter=debug"]);
    let after = hello.settle();
    assert_eq!(after, before, "an upgrade of the operator moved the leader");
    demand(&mut helm(cluster, &["uninstall", RELEASE, "--wait"]));
    wait_for("the operators to end", || {
        helm::operator_pods(cluster).is_empty().then_some(())
    });
    assert_eq!(
        hello.leader_seen(),
        Some(before.clone()),
        "the cluster goes on"
    );
    hello.reach(&before);
    helm::install(cluster, &[]);
    assert_eq!(hello.settle(), before);
    hello.delete();
}

/// Two clusters of one name in two namespaces have nothing to do with each other.
pub(crate) fn namespaces_keep_clusters_apart(cluster: &Cluster) {
    helm::be_installed(cluster);
    let hellos = ["left", "right"].map(|namespace| {
        make_namespace(cluster, namespace);
        // Its Services are called as our own variables begin.
        Hello::apply_patient(cluster, namespace, "remember")
    });
    let before = hellos.clone().map(|hello| hello.settle());
    let [left, right] = &hellos;
    hand_over_as_told(left, &before[0]);
    assert_eq!(right.settle(), before[1]);
    left.delete();
    assert_eq!(right.settle(), before[1]);
    right.delete();
}

/// As docs/operations.md says it: any node of the cluster says who leads, and passes on to the
/// leader that it is to hand over.
fn hand_over_as_told(hello: &Hello<'_>, leader: &Leader) {
    let pods = hello.pods();
    let names = pods
        .iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str());
    let follower = names.clone().find(|name| *name != leader.pod).unwrap();
    let ask = |command: &str| {
        let remember = ["-c", "remember", "--", "/remember", command];
        hello.kubectl(&[&["exec", follower][..], &remember].concat())
    };
    let told = ask("status");
    assert!(
        told.contains(&format!(" follower  {} ", leader.term)),
        "{told}"
    );
    let moved = ask("transfer");
    let next = hello.next_leader(leader);
    assert!(
        moved.contains(&format!("leads in term {}, ", next.term)),
        "{moved}"
    );
}

/// Whatever somebody changes or removes is repaired, and nothing else is written: in a quiet
/// while none of our accounts writes anything.
pub(crate) fn drift_is_repaired_and_quiet_is_quiet(cluster: &Cluster) {
    helm::be_installed(cluster);
    make_namespace(cluster, "drift");
    let hello = Hello::apply_patient(cluster, "drift", "hello");
    let leader = hello.settle();
    hello.kubectl(&["delete", "service", "hello-leader", "--wait=true"]);
    hello.kubectl(&["delete", "poddisruptionbudget", "hello"]);
    hello.kubectl(&["delete", "configmap", "hello-record"]);
    hello.kubectl(&[
        "label",
        "pod",
        &leader.pod,
        "remember.krest.io/role=follower",
        "--overwrite",
    ]);
    hello.kubectl(&[
        "patch",
        "service",
        "hello-followers",
        "--type=merge",
        "-p",
        r#"{"spec":{"selector":{"remember.krest.io/role":"leader"}}}"#,
    ]);
    let again = hello.settle();
    assert_eq!(
        again, leader,
        "labels were written by hand, nobody was elected"
    );
    wait_for("the followers' Service to select followers", || {
        let service = hello.ask(CORE, "services/hello-followers");
        (service["spec"]["selector"]["remember.krest.io/role"] == "follower").then_some(())
    });
    for (group, object) in [
        (POLICY, "poddisruptionbudgets/hello"),
        (CORE, "configmaps/hello-record"),
    ] {
        let path = path(group, "drift", object);
        wait_for(object, || cluster.find(&path));
    }
    let mut written = writes(cluster);
    wait_for("what follows from the repairs to be written", || {
        watch_for(Duration::from_secs(5), || {});
        let before = std::mem::replace(&mut written, writes(cluster));
        (before.len() == written.len()).then_some(())
    });
    let until = Instant::now() + Duration::from_mins(1);
    for story in stories::ELSEWHERE {
        stories::tell(cluster, story);
    }
    watch_for(until.saturating_duration_since(Instant::now()), || {});
    let since: Vec<_> = writes(cluster).split_off(written.len());
    assert!(since.is_empty(), "written in a quiet minute: {since:#?}");
    hello.delete();
}

/// What our own accounts have written so far, by the audit log.
fn writes(cluster: &Cluster) -> Vec<String> {
    let log = std::fs::read_to_string(cluster.directory().join("log/audit.log")).unwrap();
    let ours = |event: &Value| {
        let user = event["user"]["username"].as_str().unwrap_or_default();
        let names = [
            "system:serviceaccount:remember-system:",
            "system:serviceaccount:drift:",
        ];
        event["stage"] == "ResponseComplete" && names.iter().any(|name| user.starts_with(name))
    };
    let events = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    events
        .filter(ours)
        .map(|event: Value| format!("{} {}", event["verb"], event["requestURI"]))
        .collect()
}

/// A template that changes replaces all pods, one at a time, and costs one change of leader (R4).
pub(crate) fn a_new_template_costs_one_change_of_leader(cluster: &Cluster) {
    helm::be_installed(cluster);
    make_namespace(cluster, "rolling");
    let hello = Hello::apply_patient(cluster, "rolling", "hello");
    let before = hello.settle();
    let transitions = hello.seen()["status"]["leaderTransitions"].clone();
    let after = hello.roll("2");
    assert!(after.term > before.term);
    let seen = hello.seen();
    let moved =
        seen["status"]["leaderTransitions"].as_i64().unwrap() - transitions.as_i64().unwrap();
    assert_eq!(moved, 1, "{seen}");
    hello.delete();
}

/// The account of a cluster's pods may find peers, and nothing else that any account may not.
pub(crate) fn pods_may_find_peers_and_nothing_else(cluster: &Cluster) {
    helm::be_installed(cluster);
    make_namespace(cluster, "rights");
    let hello = Hello::apply(cluster, "rights", "hello");
    hello.settle();
    assert_eq!(rights(&hello), ["pods [] [] [get list watch]"]);
    hello.delete();
}

/// What the account of a cluster's pods may beside what any account may.
pub(crate) fn rights(hello: &Hello<'_>) -> Vec<String> {
    let namespace = &hello.namespace;
    let of_account = |account: &str| {
        let whom = format!("--as=system:serviceaccount:{namespace}:{account}");
        let group = format!("--as-group=system:serviceaccounts:{namespace}");
        let list = ["-n", namespace, "auth", "can-i", "--list", "--no-headers"];
        let groups = [
            "--as-group=system:serviceaccounts",
            "--as-group=system:authenticated",
        ];
        let whom = [whom.as_str(), group.as_str()];
        let text = hello.cluster.kubectl(&[&list[..], &whom, &groups].concat());
        let mut lines: Vec<_> = text.lines().map(normal).collect();
        lines.sort();
        lines
    };
    let bare = of_account("default");
    let own = of_account(&hello.name).into_iter();
    own.filter(|one| !bare.contains(one)).collect()
}

/// A line without its columns' widths.
fn normal(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
