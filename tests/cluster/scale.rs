//! Pods come and go, with their disks and without, while a client writes: what was acknowledged is
//! there in the end, and each step is told.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::api::POLICY;
use crate::cluster::{Cluster, wait_for};
use crate::hello::{Hello, is_ready, watch_for};
use crate::helm;
use crate::workload::make_namespace;
use crate::writer::Writer;

/// How long it is watched that a refusal is one.
const QUIET: Duration = Duration::from_secs(3);

/// 3 -> 5 -> 3 -> 1 -> 3 by `kubectl scale`. Those who stay are not replaced, and a pod that comes
/// back finds its volume.
pub(crate) fn pods_come_and_go_and_nothing_is_lost(cluster: &Cluster) {
    helm::be_installed(cluster);
    make_namespace(cluster, "scale");
    let hello = Hello::apply_patient(cluster, "scale", "hello");
    hello.settle();
    let founders = hello.uids();
    let writer = Writer::begin(&hello);
    writer.goes_on();

    hello.scale_to(5, &writer);
    demand_disruptions(&hello, 2);
    assert_eq!(hello.claims().len(), 5);
    // That they had come before they voted is told only where somebody looked in between.
    let told = hello.event_reasons();
    assert!(told.contains("MemberPromoted"), "{told:?}");

    hello.scale_to(3, &writer);
    demand_disruptions(&hello, 1);
    let told = hello.event_reasons();
    for reason in ["Scaling", "MemberRemoved"] {
        assert!(told.contains(reason), "{reason} is missing: {told:?}");
    }
    assert_eq!(hello.uids(), founders, "a pod that stays was replaced");
    assert_eq!(hello.claims().len(), 5, "volumes are kept");

    // Two are refused without a witness, and nothing changes.
    let resource = "remembercluster/hello";
    let pair = cluster.kubectl_output(&["-n", "scale", "scale", resource, "--replicas=2"]);
    let said = String::from_utf8_lossy(&pair.stderr).into_owned();
    assert!(
        said.contains("must not be 2 without spec.witness"),
        "{said}"
    );

    hello.scale_to(1, &writer);
    demand_disruptions(&hello, 1);
    hello.scale_to(3, &writer);
    assert_eq!(hello.claims().len(), 5, "they came back on their volumes");
    assert_eq!(hello.condition("Stalled").0, "False");

    // Whoever is needed and not there holds up those who would leave (R5).
    hello.scale_to(5, &writer);
    demand_stalls_without(&hello);
    writer.goes_on();
    hello.scale_to(3, &writer);
    writer.finish(&hello);
    hello.delete();
}

/// Every pod is deleted, one after the other, the leader's among them, and rolled; each time its
/// node begins on an empty disk.
pub(crate) fn disks_that_end_with_their_pods_lose_nothing(cluster: &Cluster) {
    helm::be_installed(cluster);
    make_namespace(cluster, "ephemeral");
    let hello = Hello::apply_ephemeral(cluster, "ephemeral", "hello");
    let first = hello.settle();
    assert_eq!(hello.claims(), BTreeSet::new());
    let founders = hello.disks();
    let writer = Writer::begin(&hello);
    for pod in founders.keys() {
        writer.goes_on();
        let before = hello.disks();
        hello.kubectl(&["delete", "pod", pod, "--wait=false"]);
        hello.await_other_disk(pod, &before);
        hello.settle();
    }
    let second = hello.disks();
    assert!(
        founders.iter().all(|(pod, disk)| second[pod] != *disk),
        "{founders:?} {second:?}"
    );
    // The same by the operator, one at a time, and the leader last.
    writer.goes_on();
    let last = hello.roll("2");
    assert!(last.term > first.term);
    let third = hello.disks();
    assert!(
        second.iter().all(|(pod, disk)| third[pod] != *disk),
        "{second:?} {third:?}"
    );
    writer.goes_on();
    writer.finish(&hello);
    demand_new_epoch_without_disks(&hello, last.term);
    hello.delete();
}

/// All pods are gone at once, and so are all disks: the cluster begins anew, empty, with tokens
/// above all earlier ones, and says what is lost (R14).
fn demand_new_epoch_without_disks(hello: &Hello<'_>, before: u64) {
    let epoch = |term: u64| term >> 32;
    assert_eq!(epoch(before), 1);
    let old = hello.disks();
    hello.kubectl(&["delete", "pod", "--all", "--grace-period=0", "--force"]);
    wait_for("all nodes to vote on other disks", || {
        let now = hello.disks();
        let are_new = now.len() == 3 && now.iter().all(|(pod, disk)| old[pod] != *disk);
        (are_new && hello.all_vote()).then_some(())
    });
    let after = hello.settle().term;
    assert_eq!(epoch(after), 2, "{after} after {before}");
    let told = hello.event_reasons();
    assert!(told.contains("DisksLost"), "{told:?}");
}

/// The machine of a pod that would have to stay is away: nobody leaves until it is back.
fn demand_stalls_without(hello: &Hello<'_>) {
    let leader = hello.settle();
    let pods = hello.pods();
    let stays = pods.iter().find_map(|pod| {
        let name = pod["metadata"]["name"].as_str()?;
        (["hello-0", "hello-1", "hello-2"].contains(&name) && name != leader.pod).then_some(name)
    });
    let stays = stays.expect("two pods stay and do not lead");
    let node = hello.node_of(stays);
    node.signal(rustix::process::Signal::STOP);
    wait_for("the pod to be unready", || {
        let pods = hello.pods();
        let pod = pods.iter().find(|pod| pod["metadata"]["name"] == stays);
        pod.is_none_or(|pod| !is_ready(pod)).then_some(())
    });
    hello.scale(3);
    wait_for("the refusal to be told", || {
        let told = hello.condition("Stalled") == ("True".to_owned(), "ScaleRefused".to_owned());
        (told && hello.seen().to_string().contains(stays)).then_some(())
    });
    watch_for(QUIET, || {
        assert_eq!(hello.pods().len(), 5, "a pod has ended all the same");
    });
    // Its kubelet may have ended it meanwhile, and another run in its place.
    let nodes = crate::processes::nodes(hello.cluster, &hello.namespace);
    if nodes.contains(&node) {
        node.signal(rustix::process::Signal::CONT);
    }
}

/// Waits until so many pods may be taken at once (R4).
pub(crate) fn demand_disruptions(hello: &Hello<'_>, count: usize) {
    wait_for("the disruption budget to follow the voters", || {
        let budget = hello.ask(POLICY, &format!("poddisruptionbudgets/{}", hello.name));
        (budget["spec"]["maxUnavailable"] == count).then_some(())
    });
}
