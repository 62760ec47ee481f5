//! What is tried on the cluster, in this order.

use std::process::Command;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::api::{CORE, path};
use crate::cluster::{Cluster, demand, has, say, wait_for};
use crate::workload::{image, make_namespace, unprivileged, unprivileged_pod};
use crate::{
    custom_resource, discovery, disks, faults, install, leftovers, pair, refusals, scale, unrest,
};

/// A story on a cluster that stands, which panics where the cluster does not do what it must: its
/// name, and how many leaders the history of all pods must show for it at least: each time that the
/// label goes to a pod, or on to a later term.
pub(crate) type Story = (&'static str, fn(&Cluster), usize);

/// The clusters that stories are told on, side by side, and what is told on each, in this order.
const CLUSTERS: [(Cluster, &[Story]); 2] = [
    (Cluster::named("test", 26443, 3), MEMBERS),
    (Cluster::named("second", 26446, 3), OUTAGES),
];

/// What becomes of members, with their disks and their machines.
const MEMBERS: &[Story] = &[
    ("all_nodes_are_ready", all_nodes_are_ready, 0),
    (
        "the_image_runs_unprivileged",
        the_image_runs_unprivileged,
        0,
    ),
    (
        "drift_is_repaired_and_quiet_is_quiet",
        install::drift_is_repaired_and_quiet_is_quiet,
        2,
    ),
    (
        "pods_may_find_peers_and_nothing_else",
        install::pods_may_find_peers_and_nothing_else,
        1,
    ),
    (
        "pods_come_and_go_and_nothing_is_lost",
        scale::pods_come_and_go_and_nothing_is_lost,
        1,
    ),
    (
        "disks_that_end_with_their_pods_lose_nothing",
        scale::disks_that_end_with_their_pods_lose_nothing,
        2,
    ),
    (
        "volumes_are_lost_kept_and_mixed_up",
        disks::volumes_are_lost_kept_and_mixed_up,
        5,
    ),
    (
        "a_pair_survives_the_loss_of_either",
        pair::a_pair_survives_the_loss_of_either,
        3,
    ),
    (
        "a_machine_that_is_gone_for_good_is_replaced",
        disks::a_machine_that_is_gone_for_good_is_replaced,
        2,
    ),
];

/// What operators do, and what happens without them, without a leader, without the API server.
const OUTAGES: &[Story] = &[
    ("up_twice_is_up_once", up_twice_is_up_once, 0),
    ("a_pulled_cable_cuts", faults::a_pulled_cable_cuts, 0),
    (
        "a_node_without_power_comes_back",
        a_node_without_power_comes_back,
        0,
    ),
    ("pods_find_each_other", discovery::pods_find_each_other, 0),
    // It leaves the definition behind, which Helm would not take over.
    (
        "bad_specs_are_refused_with_a_sentence",
        custom_resource::bad_specs_are_refused_with_a_sentence,
        0,
    ),
    ("install_yaml_installs", install::install_yaml_installs, 1),
    (
        "helm_installs_upgrades_and_removes",
        install::helm_installs_upgrades_and_removes,
        1,
    ),
    (
        "namespaces_keep_clusters_apart",
        install::namespaces_keep_clusters_apart,
        3,
    ),
    (
        "what_cannot_be_made_is_told_and_mended",
        refusals::what_cannot_be_made_is_told_and_mended,
        1,
    ),
    (
        "a_new_template_costs_one_change_of_leader",
        install::a_new_template_costs_one_change_of_leader,
        2,
    ),
    (
        "the_leader_moves_through_every_fault",
        faults::the_leader_moves_through_every_fault,
        8,
    ),
    ("operators_may_end", faults::operators_may_end, 2),
    (
        "half_of_all_calls_may_fail",
        faults::half_of_all_calls_may_fail,
        2,
    ),
    // The last ones: Kubernetes takes a minute and more to be itself again after that.
    (
        "scaling_outlives_operators_and_the_api_server",
        unrest::scaling_outlives_operators_and_the_api_server,
        1,
    ),
    (
        "the_api_server_is_not_needed_to_elect",
        faults::the_api_server_is_not_needed_to_elect,
        2,
    ),
];

/// Stories of other clusters: they are told in a minute in which nothing may happen on this one.
pub(crate) const ELSEWHERE: &[Story] = &[
    ("nothing_outlives_its_owner", nothing_outlives_its_owner, 0),
    (
        "down_cleans_up_after_a_dead_keeper",
        down_cleans_up_after_a_dead_keeper,
        0,
    ),
];

/// The stories with one of these words in their name, by cluster; all but those of other clusters,
/// if no word is given.
pub(crate) fn chosen(words: &str) -> Vec<(Cluster, Vec<&'static Story>)> {
    let named = |stories: &'static [Story]| {
        let named = stories.iter().filter(|(name, ..)| is_wanted(words, name));
        named.collect::<Vec<_>>()
    };
    let mut chosen = CLUSTERS.map(|(cluster, stories)| (cluster, named(stories)));
    if !words.is_empty() {
        chosen[0].1.extend(named(ELSEWHERE));
    }
    let chosen = chosen.into_iter();
    chosen.filter(|(_, stories)| !stories.is_empty()).collect()
}

/// Whether one of these words, between commas, is in this name.
pub(crate) fn is_wanted(words: &str, name: &str) -> bool {
    words.split(',').any(|word| name.contains(word))
}

/// Tells one story; says how many leaders it must have had.
pub(crate) fn tell(cluster: &Cluster, (name, story, leaders): &Story) -> usize {
    let begun = Instant::now();
    story(cluster);
    say!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
    *leaders
}

fn up_twice_is_up_once(cluster: &Cluster) {
    let uid = |cluster: &Cluster| {
        cluster.ask("/api/v1/namespaces/kube-system")["metadata"]["uid"].clone()
    };
    let before = uid(cluster);
    cluster.up(None);
    assert_eq!(
        uid(cluster),
        before,
        "the second `up` started another cluster"
    );
}

fn all_nodes_are_ready(cluster: &Cluster) {
    let nodes = cluster.list("/api/v1/nodes", None);
    assert_eq!(nodes.len(), 3);
    for node in &nodes {
        assert!(has(node, "Ready"), "{node}");
        assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1.37.2");
    }
}

fn the_image_runs_unprivileged(cluster: &Cluster) {
    make_namespace(cluster, "restricted");
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "version", "namespace": "restricted"},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": unprivileged_pod(),
            "containers": [{
                "name": "remember",
                "image": image(),
                "imagePullPolicy": "Never",
                "args": ["version"],
                "securityContext": unprivileged(),
            }],
        },
    }));
    wait_for("the pod to succeed", || {
        let pod = cluster.ask(&path(CORE, "restricted", "pods/version"));
        assert_ne!(pod["status"]["phase"], "Failed", "{pod}");
        (pod["status"]["phase"] == "Succeeded").then_some(())
    });
    let said = cluster.kubectl(&["-n", "restricted", "logs", "version"]);
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "it said {said}");
    cluster.kubectl(&["delete", "namespace", "restricted", "--wait=false"]);
}

fn a_node_without_power_comes_back(cluster: &Cluster) {
    demand(cluster.tool("component").args(["stop", "n3"]));
    let left = demand(
        cluster
            .tool("enter")
            .args(["control", "sh", "-c", "cat /proc/*/cmdline"]),
    );
    assert!(left.contains("hostname-override=n2"), "node 2 runs on");
    assert!(
        !left.contains("hostname-override=n3"),
        "a kubelet without power"
    );
    wait_for("node 3 to be missed", || {
        (!has(&cluster.ask("/api/v1/nodes/n3"), "Ready")).then_some(())
    });
    demand(cluster.tool("component").args(["start", "n3"]));
    wait_for("node 3 to come back", || {
        has(&cluster.ask("/api/v1/nodes/n3"), "Ready").then_some(())
    });
}

/// Whoever runs the tests may be killed: what they started ends with them.
fn nothing_outlives_its_owner(_: &Cluster) {
    let other = Cluster::named("owned", 26444, 1);
    let mut owner = Owner(Command::new("sleep").arg("600").spawn().unwrap());
    other.up(Some(owner.0.id()));
    assert!(
        !leftovers::of(&other).is_empty(),
        "what is looked for is there to be seen"
    );
    owner.end();
    // Its files stay, for whoever wants to know why; everything else must go.
    wait_for("the cluster to end", || {
        let left = leftovers::of(&other);
        left.iter()
            .all(|line| line.starts_with("directory"))
            .then_some(())
    });
    other.down();
    assert_eq!(leftovers::of(&other), Vec::<String>::new());
}

/// A process that a cluster is to end with.
struct Owner(std::process::Child);

impl Owner {
    fn end(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.end();
    }
}

fn down_cleans_up_after_a_dead_keeper(_: &Cluster) {
    let other = Cluster::named("kept", 26445, 1);
    other.up(Some(std::process::id()));
    let keeper = std::fs::read_to_string(other.directory().join("keeper.pid")).unwrap();
    let keeper = Pid::from_raw(keeper.trim().parse().unwrap()).unwrap();
    kill_process(keeper, Signal::KILL).unwrap();
    wait_for("the processes to end", || {
        let left = leftovers::of(&other);
        left.iter()
            .all(|line| !line.starts_with("process"))
            .then_some(())
    });
    other.down();
    assert_eq!(leftovers::of(&other), Vec::<String>::new());
}
