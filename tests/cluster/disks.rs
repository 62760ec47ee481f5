//! Disks that are lost with a volume or with a whole machine, and volumes that outlive their
//! cluster, while a client writes: what was acknowledged is there in the end, on the disks that
//! are left.

use serde_json::{Value, json};

use crate::api::CORE;
use crate::cluster::{Cluster, say, wait_for};
use crate::hello::Hello;
use crate::helm;
use crate::workload::{STORAGE_CLASS, load_image, make_namespace};
use crate::writer::Writer;

/// A follower's volume is deleted by hand with its pod, and then the leader's. All of the cluster
/// is deleted, its volumes stay, and whoever makes it anew has it as it was. One volume of another
/// cluster among them is not taken for its own.
pub(crate) fn volumes_are_lost_kept_and_mixed_up(cluster: &Cluster) {
    helm::be_installed(cluster);
    make_namespace(cluster, "disks");
    let hello = Hello::apply_patient(cluster, "disks", "hello");
    hello.settle();
    let name = hello.cluster_id();
    assert_eq!(name.len(), 16, "the record names no cluster");
    let mut writer = Writer::begin(&hello);
    for leads in [false, true] {
        writer.goes_on();
        let leader = hello.settle().pod;
        let pods = hello.uids().into_keys();
        let pod = pods.into_iter().find(|pod| (*pod == leader) == leads);
        lose_volume(&hello, &pod.unwrap());
    }
    writer.goes_on();
    let before = hello.settle();
    assert_eq!(hello.cluster_id(), name);

    // Its leader's Service may have another address, so nobody writes meanwhile.
    writer.stop();
    hello.delete();
    assert_eq!(hello.claims().len(), 3, "volumes are kept");
    cluster.apply(&hello.manifest("1"));
    let after = hello.settle();
    assert_eq!(
        hello.cluster_id(),
        name,
        "another cluster is on its volumes"
    );
    assert!(after.term > before.term, "{after:?} after {before:?}");
    assert_eq!(after.term >> 32, before.term >> 32, "a new epoch");
    let mut more = Writer::begin_after(&hello, &writer);
    writer.finish(&hello);
    more.goes_on();
    more.stop();

    demand_refuses_a_stranger(&hello, &name);
    more.finish(&hello);
    let told = hello.event_reasons();
    assert!(!told.contains("DisksLost"), "{told:?}");
    hello.delete();
}

/// Deletes the volume of a pod for good, and the pod: another one comes on a new volume.
fn lose_volume(hello: &Hello<'_>, pod: &str) {
    say!("  {pod} loses its volume");
    let (disks, claim) = (hello.disks(), claim_of(pod));
    let uid = |claim: &Value| claim["metadata"]["uid"].clone();
    let before = uid(&seen_claim(hello, &claim));
    // Kubernetes keeps it for as long as the pod is there.
    hello.kubectl(&["delete", "persistentvolumeclaim", &claim, "--wait=false"]);
    hello.kubectl(&["delete", "pod", pod, "--wait=false"]);
    hello.await_other_disk(pod, &disks);
    assert_ne!(uid(&seen_claim(hello, &claim)), before, "no new volume");
}

/// Among its volumes is one of another cluster of the same name: that is told, and once its claim
/// and its pod are deleted, as the refusal says, all is well.
fn demand_refuses_a_stranger(hello: &Hello<'_>, name: &str) {
    let cluster = hello.cluster;
    make_namespace(cluster, "stranger");
    let stranger = Hello::apply_patient(cluster, "stranger", "hello");
    stranger.settle();
    let strangers_name = stranger.cluster_id();
    assert_ne!(strangers_name, name);
    stranger.forget();
    hello.delete();
    stranger.delete();
    let pod = "hello-0";
    exchange_volume(hello, &stranger, &claim_of(pod));
    // Its machine may be one on which another pod has its volume.
    let mut anywhere = hello.manifest("1");
    let spread = &mut anywhere["spec"]["template"]["spec"]["topologySpreadConstraints"][0];
    spread["whenUnsatisfiable"] = "ScheduleAnyway".into();
    cluster.apply(&anywhere);
    wait_for("the refusal to be told", || {
        let told = hello.condition("Stalled") == ("True".to_owned(), "DisksDiffer".to_owned());
        let seen = hello.seen().to_string();
        let names_both = [name, &strangers_name]
            .iter()
            .all(|one| seen.contains(*one));
        (told && names_both).then_some(())
    });
    let disks = hello.disks();
    let claim = claim_of(pod);
    hello.kubectl(&["delete", "persistentvolumeclaim", &claim, "--wait=false"]);
    hello.kubectl(&["delete", "pod", pod, "--wait=false"]);
    hello.await_other_disk(pod, &disks);
    hello.settle();
    assert_eq!(hello.condition("Stalled").0, "False");
    assert_eq!(hello.cluster_id(), name);
}

/// Makes a claim anew, on the volume that the other cluster has under the same name.
fn exchange_volume(hello: &Hello<'_>, stranger: &Hello<'_>, claim: &str) {
    let volume = &seen_claim(stranger, claim)["spec"]["volumeName"];
    let volume = volume.as_str().unwrap();
    for owner in [hello, stranger] {
        owner.kubectl(&["delete", "persistentvolumeclaim", claim]);
    }
    let free = r#"[{"op": "remove", "path": "/spec/claimRef"}]"#;
    let patch = [
        "patch",
        "persistentvolume",
        volume,
        "--type=json",
        "-p",
        free,
    ];
    hello.cluster.kubectl(&patch);
    hello.cluster.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim,
            "namespace": hello.namespace,
            "labels": {"remember.krest.io/cluster": hello.name},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE_CLASS,
            "volumeName": volume,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }));
}

/// A machine without power is taken for lost, as somebody says by deleting it. Where disks end with
/// their pods another one comes elsewhere by itself. A volume of that machine's holds its pod back,
/// as in every Kubernetes; that is told, and once its claim is deleted the pod comes elsewhere too.
pub(crate) fn a_machine_that_is_gone_for_good_is_replaced(cluster: &Cluster) {
    helm::be_installed(cluster);
    make_namespace(cluster, "gone");
    let volatile = Hello::apply_ephemeral(cluster, "gone", "volatile");
    let kept = Hello::apply_patient(cluster, "gone", "kept");
    let both = [&volatile, &kept];
    for hello in both {
        hello.settle();
    }
    let writers = both.map(Writer::begin);
    writers.iter().for_each(Writer::goes_on);
    let operators = helm::operator_pods(cluster);
    let has_none = |node: &String| {
        operators
            .iter()
            .all(|pod| pod["spec"]["nodeName"] != **node)
    };
    let machine = cluster.node_names().find(has_none);
    let machine = machine.expect("two operators on three machines");
    let [volatile_pod, kept_pod] = both.map(|hello| pod_on(hello, &machine));
    say!("  {machine} is gone, and with it {volatile_pod} and {kept_pod}");
    let disks = both.map(Hello::disks);
    cluster.power_off(&machine);
    cluster.kubectl(&["delete", "node", &machine]);

    volatile.await_other_disk(&volatile_pod, &disks[0]);
    say!("  {volatile_pod} votes again, from another machine");
    wait_for("the pod with the volume to wait", || {
        let pod = seen_pod(&kept, &kept_pod)?;
        let conditions = pod["status"]["conditions"].as_array()?;
        let reason = |one: &Value| one["reason"] == "Unschedulable";
        conditions.iter().any(reason).then_some(())
    });
    wait_for("that to be told", || {
        let told = kept.condition("Ready") == ("False".to_owned(), "PodsNotReady".to_owned());
        (told
            && kept
                .seen()
                .to_string()
                .contains(&format!("not ready: {kept_pod}")))
        .then_some(())
    });
    say!("  {kept_pod} waits for its volume, which is told");
    writers.iter().for_each(Writer::goes_on);
    let claim = claim_of(&kept_pod);
    kept.kubectl(&["delete", "persistentvolumeclaim", &claim]);
    kept.await_other_disk(&kept_pod, &disks[1]);
    say!("  {kept_pod} votes again, from another machine");
    writers.iter().for_each(Writer::goes_on);
    // What comes in the end is another machine of that name, on which nothing is known of pods.
    std::fs::remove_dir_all(cluster.directory().join(&machine).join("var")).unwrap();
    cluster.power_on(&machine);
    load_image(cluster);
    for (hello, writer) in both.into_iter().zip(writers) {
        hello.settle();
        writer.finish(hello);
        hello.delete();
    }
}

/// The claim of a pod's volume.
fn claim_of(pod: &str) -> String {
    format!("remember-data-{pod}")
}

fn seen_claim(hello: &Hello<'_>, claim: &str) -> Value {
    hello.ask(CORE, &format!("persistentvolumeclaims/{claim}"))
}

fn seen_pod(hello: &Hello<'_>, name: &str) -> Option<Value> {
    let pods = hello.pods().into_iter();
    pods.into_iter().find(|pod| pod["metadata"]["name"] == name)
}

/// The pod that runs on a machine.
fn pod_on(hello: &Hello<'_>, machine: &str) -> String {
    let pods = hello.pods();
    let here = pods.iter().find(|pod| pod["spec"]["nodeName"] == machine);
    let here = here.expect("one pod runs on each machine");
    here["metadata"]["name"].as_str().unwrap().to_owned()
}
