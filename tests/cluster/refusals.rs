//! What the rules of the definition let through and cannot be made nevertheless: it is told, it
//! harms nobody, and once it is mended the cluster goes on.

use serde_json::json;

use crate::api::CORE;
use crate::cluster::{Cluster, wait_for};
use crate::hello::Hello;
use crate::helm;
use crate::workload::make_namespace;

pub(crate) fn what_cannot_be_made_is_told_and_mended(cluster: &Cluster) {
    helm::be_installed(cluster);
    make_namespace(cluster, "refused");
    // Somebody else's, under a name that the cluster needs.
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "hello-leader", "namespace": "refused"},
        "spec": {"selector": {"app": "of-somebody-else"}, "ports": [{"port": 80}]},
    }));
    let hello = Hello::apply_patient(cluster, "refused", "hello");
    let refused = |reason: &str, because: &str| {
        wait_for(reason, || {
            let told = hello.condition("Stalled") == ("True".to_owned(), reason.to_owned());
            let seen = hello.seen().to_string();
            (told && seen.contains(because)).then_some(())
        });
    };
    refused("NameTaken", "Service hello-leader is there already");
    let service = hello.ask(CORE, "services/hello-leader");
    assert_eq!(service["spec"]["selector"]["app"], "of-somebody-else");
    hello.kubectl(&["delete", "service", "hello-leader"]);

    // A field that no pod has.
    let mut odd = hello.manifest("1");
    odd["spec"]["template"]["spec"]["containers"][0]["imagePullPolicyy"] = json!("Never");
    cluster.apply(&odd);
    refused("Invalid", "imagePullPolicyy");
    assert!(
        hello.pods().is_empty(),
        "pods of a template that is refused"
    );

    cluster.apply(&hello.manifest("1"));
    hello.settle();
    assert_eq!(hello.condition("Stalled").0, "False");
    hello.delete();
}
