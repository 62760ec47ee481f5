//! The leader of a cluster moves whatever becomes of the one before, and traffic moves with it.
//!
//! A client writes all the while; in the end each write that was acknowledged is there. The history
//! of all pods is judged at the end of all stories.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cluster::{Cluster, demand, output_of, say, wait_for};
use crate::half_api::HalfApi;
use crate::hello::{Hello, Leader, is_ready, on, watch_for};
use crate::helm;
use crate::pair;
use crate::processes::apps;
use crate::workload::make_namespace;
use crate::writer::Writer;

/// How long it is watched that nothing happens.
const QUIET: Duration = Duration::from_secs(3);
/// How long no API server answers.
const OUTAGE: Duration = Duration::from_mins(1);
/// How long no sidecar may be seen to lead before that is more than a slow look.
const UNSEEN: Duration = Duration::from_secs(10);

/// Something that is done to a leader; it returns the next one.
type Fault = fn(&Hello<'_>, &Leader) -> Leader;

/// What is done to a leader, by name.
const FAULTS: &[(&str, Fault)] = &[
    ("its pod is deleted", pod_is_deleted),
    ("its sidecar is killed", sidecar_is_killed),
    ("its sidecar is frozen", sidecar_is_frozen),
    ("its app fails its probe", app_fails),
    ("its machine's link is cut", link_is_cut),
    ("its machine is drained", machine_is_drained),
    ("its machine has no power", machine_has_no_power),
];

/// One leader after the other is lost in another way.
pub(crate) fn the_leader_moves_through_every_fault(cluster: &Cluster) {
    helm::be_installed(cluster);
    make_namespace(cluster, "faults");
    let hello = Hello::apply(cluster, "faults", "hello");
    let mut leader = hello.settle();
    let writer = Writer::begin(&hello);
    for (what, fault) in FAULTS {
        writer.goes_on();
        say!("  {what}: {} in term {}", leader.pod, leader.term);
        let next = fault(&hello, &leader);
        assert!(next.term > leader.term, "{next:?} after {leader:?}");
        writer.goes_on();
        leader = hello.settle();
    }
    writer.finish(&hello);
    hello.delete();
}

fn pod_is_deleted(hello: &Hello<'_>, leader: &Leader) -> Leader {
    hello.kubectl(&["delete", "pod", &leader.pod, "--wait=false"]);
    hello.next_leader(leader)
}

fn sidecar_is_killed(hello: &Hello<'_>, leader: &Leader) -> Leader {
    hello.node_of(&leader.pod).signal(Signal::KILL);
    hello.next_leader(leader)
}

/// It does not know that it has been followed: woken up, it must not get anything back.
fn sidecar_is_frozen(hello: &Hello<'_>, leader: &Leader) -> Leader {
    let frozen = hello.node_of(&leader.pod);
    frozen.signal(Signal::STOP);
    let next = hello.next_leader(leader);
    frozen.signal(Signal::CONT);
    watch_for(QUIET, || {
        // Somebody may be elected meanwhile, if this machine is busy; nobody in an earlier term.
        let now = hello.leader_seen();
        let is_later = |now: &Leader| now.term > next.term || *now == next;
        assert!(
            now.as_ref().is_none_or(is_later),
            "{now:?} labelled after {next:?}"
        );
    });
    next
}

fn app_fails(hello: &Hello<'_>, leader: &Leader) -> Leader {
    let app = apps(hello.cluster, &hello.namespace);
    let app = app
        .iter()
        .find(|app| app.pod == leader.pod)
        .expect("the app runs");
    app.signal(Signal::STOP);
    let next = hello.next_leader(leader);
    app.signal(Signal::CONT);
    next
}

fn link_is_cut(hello: &Hello<'_>, leader: &Leader) -> Leader {
    demand(hello.cluster.tool("cable").args(["pull", &leader.node]));
    let next = hello.next_leader(leader);
    demand(hello.cluster.tool("cable").args(["plug", &leader.node]));
    next
}

fn machine_is_drained(hello: &Hello<'_>, leader: &Leader) -> Leader {
    hello.cluster.kubectl(&[
        "drain",
        &leader.node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--timeout=90s",
    ]);
    let next = hello.next_leader(leader);
    hello.cluster.kubectl(&["uncordon", &leader.node]);
    next
}

fn machine_has_no_power(hello: &Hello<'_>, leader: &Leader) -> Leader {
    let node = &leader.node;
    hello.cluster.power_off(node);
    let next = hello.next_leader(leader);
    hello.cluster.power_on(node);
    next
}

/// While no API server answers, the nodes elect as ever; the label follows once there is one. And
/// no operator is needed for that: all of them are killed meanwhile. Traffic follows the label by
/// way of kube-proxy, which only asks again after up to a minute: this is not waited for. Of a pair
/// nobody leads alone in that time.
pub(crate) fn the_api_server_is_not_needed_to_elect(cluster: &Cluster) {
    helm::be_installed(cluster);
    let (pair, leads_pair) = pair::begin(cluster);
    make_namespace(cluster, "outage");
    let hello = Hello::apply_patient(cluster, "outage", "hello");
    let before = hello.settle();
    cluster.stop_api();
    hello.node_of(&before.pod).signal(Signal::KILL);
    let elected = wait_for("a leader among the sidecars", || {
        told_leader(&hello).filter(|(_, term)| *term > before.term)
    });
    for operator in crate::processes::operators(cluster) {
        operator.signal(Signal::KILL);
    }
    let begun = Instant::now();
    pair::wait_without_witness(&pair, &leads_pair);
    demand_stays(&hello, &elected, OUTAGE.saturating_sub(begun.elapsed()));
    cluster.start_api();
    let after = hello.next_label(&before);
    assert_eq!(
        (after.pod.as_str(), after.term),
        (elected.0.as_str(), elected.1)
    );
    hello.settle_labels();
    // Kubernetes takes most of a minute for that, so soon after the outage.
    hello.forget();
    pair.forget();
}

/// Watches, by the word of the sidecars themselves, that nobody else leads.
fn demand_stays(hello: &Hello<'_>, leader: &(String, u64), time: Duration) {
    let mut seen = Instant::now();
    watch_for(time, || match told_leader(hello) {
        Some(now) => {
            assert_eq!(now, *leader, "the leader changed while nothing happened");
            seen = Instant::now();
        }
        None => assert!(seen.elapsed() < UNSEEN, "no sidecar leads any more"),
    });
}

/// Who leads, by the sidecars' own word: the pod and the term. `None` if that is not seen, as when
/// an answer is late.
pub(crate) fn told_leader(hello: &Hello<'_>) -> Option<(String, u64)> {
    let nodes = crate::processes::nodes(hello.cluster, &hello.namespace);
    let nodes = nodes
        .iter()
        .filter(|node| node.pod.starts_with(&hello.name));
    nodes.clone().find_map(|node| {
        // In its own network, where it speaks without TLS.
        let output =
            output_of(
                node.enter()
                    .args(["curl", "-sfm1", "http://127.0.0.1:7401/v1/leader"]),
            );
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let is_leader = told["self"] == true;
        is_leader.then(|| Some((node.pod.clone(), told["term"].as_u64()?)))?
    })
}

/// All operators end at once: nothing changes but labels, and those catch up.
pub(crate) fn operators_may_end(cluster: &Cluster) {
    helm::be_installed(cluster);
    make_namespace(cluster, "orphan");
    let hello = Hello::apply_patient(cluster, "orphan", "hello");
    let before = hello.settle();
    cluster.kubectl(&[
        "-n",
        helm::NAMESPACE,
        "scale",
        "deployment",
        "-l",
        "app.kubernetes.io/component=operator",
        "--replicas=0",
    ]);
    wait_for("the operators to end", || {
        helm::operator_pods(cluster).is_empty().then_some(())
    });
    hello.node_of(&before.pod).signal(Signal::KILL);
    let elected = wait_for("a leader among the sidecars", || {
        told_leader(&hello).filter(|(_, term)| *term > before.term)
    });
    wait_for("all pods to be ready", || {
        (hello.pods().iter().filter(|pod| is_ready(pod)).count() == 3).then_some(())
    });
    assert_eq!(
        hello.leader_seen().as_ref(),
        Some(&before),
        "who moved the label?"
    );
    helm::install(cluster, &[]);
    let after = hello.next_leader(&before);
    assert_eq!((after.pod, after.term), elected);
    hello.settle();
    hello.delete();
}

/// An API server that answers every other call by 500 changes nothing about who leads, and only
/// delays the label of the next one.
pub(crate) fn half_of_all_calls_may_fail(cluster: &Cluster) {
    helm::be_installed(cluster);
    make_namespace(cluster, "half");
    let hello = Hello::apply_patient(cluster, "half", "hello");
    let before = hello.settle();
    let half = HalfApi::begin(cluster);
    let same = (before.pod.clone(), before.term);
    demand_stays(&hello, &same, Duration::from_secs(20));
    hello.node_of(&before.pod).signal(Signal::KILL);
    hello.next_leader(&before);
    let calls = half.calls();
    assert!(calls.failed > 0 && calls.passed > 0, "{calls:?}");
    drop(half);
    hello.settle();
    hello.forget();
}

/// Pulls nothing, but says what the network of a machine is: so that a cut is a cut.
pub(crate) fn a_pulled_cable_cuts(cluster: &Cluster) {
    let ping = |node: &str| {
        let curl = ["curl", "-sm1", "-o", "/dev/null", "http://172.30.0.1:6443"];
        output_of(cluster.enter(node).args(curl)).status.success()
    };
    assert!(ping("n2"));
    demand(cluster.tool("cable").args(["pull", "n2"]));
    assert!(!ping("n2"), "n2 is reached by a cable that is pulled");
    assert!(ping("n1"));
    demand(cluster.tool("cable").args(["plug", "n2"]));
    assert!(ping("n2"));
    on(cluster, "n2", &["true"]);
}
