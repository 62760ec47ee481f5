//! Nodes in pods find each other, and go on without the API server (R10). No operator takes part.

use rustix::process::Signal;
use serde_json::Value;

use crate::api::{CORE, path};
use crate::cluster::{Cluster, demand, output_of, wait_for};
use crate::hello::is_ready;
use crate::processes::nodes;
use crate::workload::{make_namespace, run_bare_nodes};

const NAMESPACE: &str = "discovery";
const NAME: &str = "bare";

/// Pods elect one leader, keep what was written while each is replaced by one with another address,
/// and lose and find their leader while no API server answers.
pub(crate) fn pods_find_each_other(cluster: &Cluster) {
    make_namespace(cluster, NAMESPACE);
    run_bare_nodes(cluster, NAMESPACE, NAME);
    let pods = Pods { cluster };
    wait_for("three ready pods", || (pods.ready() == 3).then_some(()));
    let before = pods.leader();
    pods.write("kept", "through it all");

    let address = pods.address(&before.pod);
    cluster.kubectl(&[
        "-n",
        NAMESPACE,
        "delete",
        "pod",
        &before.pod,
        "--grace-period=1",
    ]);
    let after = wait_for("a leader in a later term", || {
        pods.leader_seen().filter(|now| now.term > before.term)
    });
    assert_eq!(pods.read("kept"), "through it all");
    wait_for("the pod to be back elsewhere", || {
        let moved = pods
            .address_seen(&before.pod)
            .is_some_and(|now| now != address);
        (moved && pods.ready() == 3).then_some(())
    });

    // Nobody is left to tell where the others are, but what each has kept.
    cluster.stop_api();
    pods.kill_all();
    let last = wait_for("a leader without an API server", || {
        pods.leader_seen().filter(|now| now.term > after.term)
    });
    wait_for("three nodes that hear each other", || {
        (pods.alive() == 3).then_some(())
    });
    cluster.start_api();
    wait_for("all pods to be ready again", || {
        (pods.ready() == 3).then_some(())
    });
    assert!(pods.leader().term >= last.term);
    assert_eq!(pods.read("kept"), "through it all");
    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]);
}

/// The pods of this story.
struct Pods<'a> {
    cluster: &'a Cluster,
}

#[derive(Clone, Debug)]
struct Leader {
    pod: String,
    term: u64,
}

impl Pods<'_> {
    fn all(&self) -> Vec<Value> {
        self.cluster.list(&path(CORE, NAMESPACE, "pods"), None)
    }

    fn ready(&self) -> usize {
        self.all().iter().filter(|pod| is_ready(pod)).count()
    }

    fn address_seen(&self, pod: &str) -> Option<String> {
        let pods = self.all();
        let pod = pods.iter().find(|one| one["metadata"]["name"] == pod)?;
        pod["status"]["podIP"].as_str().map(str::to_owned)
    }

    fn address(&self, pod: &str) -> String {
        self.address_seen(pod).expect("the pod has an address")
    }

    /// Asks the nodes themselves, from a machine of the cluster, without the API server.
    fn leader_seen(&self) -> Option<Leader> {
        nodes(self.cluster, NAMESPACE).iter().find_map(|node| {
            let url = format!("http://{}:7401/v1/leader", node.address);
            let output = output_of(self.cluster.enter("n1").args(["curl", "-sfm1", &url]));
            let told: Value = serde_json::from_slice(&output.stdout).ok()?;
            (told["self"] == true).then(|| {
                let id = told["leader"]["id"].as_u64().unwrap();
                Leader {
                    pod: format!("{NAME}-{}", id - 1),
                    term: told["term"].as_u64().unwrap(),
                }
            })
        })
    }

    fn leader(&self) -> Leader {
        wait_for("a leader", || self.leader_seen())
    }

    fn write(&self, key: &str, value: &str) {
        let url = self.url(key);
        demand(
            self.cluster
                .enter("n1")
                .args(["curl", "-sfm5", "-X", "PUT", "-d", value, &url]),
        );
    }

    fn read(&self, key: &str) -> String {
        let url = self.url(key);
        demand(self.cluster.enter("n1").args(["curl", "-sfm5", &url]))
    }

    fn url(&self, key: &str) -> String {
        let node = nodes(self.cluster, NAMESPACE).pop().expect("a pod");
        format!("http://{}:7401/v1/kv/{key}", node.address)
    }

    /// Ends the processes of all nodes with SIGKILL, from outside of their pods.
    fn kill_all(&self) {
        let nodes = nodes(self.cluster, NAMESPACE);
        assert_eq!(nodes.len(), 3, "{nodes:?}");
        for node in nodes {
            node.signal(Signal::KILL);
        }
    }

    /// How many nodes the leader hears, itself among them.
    fn alive(&self) -> usize {
        let told = nodes(self.cluster, NAMESPACE).iter().find_map(|node| {
            let url = format!("http://{}:7401/v1/cluster", node.address);
            let output = output_of(self.cluster.enter("n1").args(["curl", "-sfm1", &url]));
            let told: Value = serde_json::from_slice(&output.stdout).ok()?;
            (told["status"] == 1).then_some(told)
        });
        told.map_or(0, |told| {
            told["aliveFollowers"].as_array().map_or(0, Vec::len)
        })
    }
}
