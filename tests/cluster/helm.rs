//! Helm, and the operator as it installs it.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::api::{APPS, CORE, path};
use crate::cluster::{Cluster, demand, root, wait_for};

/// Where the operator is.
pub(crate) const NAMESPACE: &str = "remember-system";
/// What the release is called, and so the operator's objects.
pub(crate) const RELEASE: &str = "remember";

/// A command of Helm's, for this cluster.
pub(crate) fn helm(cluster: &Cluster, arguments: &[&str]) -> Command {
    let directory = cluster.directory();
    let cache = directory.parent().expect("a directory in the cache");
    let mut command = Command::new(cache.join("helm/helm"));
    command
        // What is in the home of whoever runs this has no part in it.
        .env("HELM_CACHE_HOME", directory.join("helm/cache"))
        .env("HELM_CONFIG_HOME", directory.join("helm/config"))
        .env("HELM_DATA_HOME", directory.join("helm/data"))
        .arg("--kubeconfig")
        .arg(directory.join("kubeconfig"))
        .args(["--namespace", NAMESPACE])
        .args(arguments);
    command
}

/// Installs the operator, or makes it what these values say, and waits until it is ready.
pub(crate) fn install(cluster: &Cluster, values: &[&str]) {
    let chart = root().join("charts/remember");
    let mut arguments = vec![
        "upgrade",
        "--install",
        RELEASE,
        chart.to_str().unwrap(),
        "--create-namespace",
        "--wait",
        "--timeout",
        "120s",
        "--set",
        "image.pullPolicy=Never",
    ];
    for value in values {
        arguments.extend(["--set", value]);
    }
    demand(&mut helm(cluster, &arguments));
    wait_for("the operators to be ready", || {
        (ready_operators(cluster) == 2).then_some(())
    });
    let machines = operator_pods(cluster).into_iter();
    let machines: BTreeSet<_> = machines
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| pod["spec"]["nodeName"].to_string())
        .collect();
    assert!(
        machines.len() > 1,
        "all operators are on one machine: {machines:?}"
    );
}

/// Sees to it that the operator is there, however it came.
pub(crate) fn be_installed(cluster: &Cluster) {
    if ready_operators(cluster) < 2 {
        install(cluster, &[]);
    }
}

fn ready_operators(cluster: &Cluster) -> i64 {
    let deployments = cluster.list(&path(APPS, NAMESPACE, "deployments"), None);
    let ready = deployments.into_iter().map(|one| {
        let is_seen = one["status"]["observedGeneration"] == one["metadata"]["generation"];
        let updated = one["status"]["updatedReplicas"].as_i64().unwrap_or(0);
        let ready = one["status"]["readyReplicas"].as_i64().unwrap_or(0);
        if is_seen { updated.min(ready) } else { 0 }
    });
    ready.sum()
}

/// The operator's pods.
pub(crate) fn operator_pods(cluster: &Cluster) -> Vec<Value> {
    let label = "app.kubernetes.io/component=operator";
    cluster.list(&path(CORE, NAMESPACE, "pods"), Some(label))
}
