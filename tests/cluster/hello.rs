//! The example as stories see it: a RememberCluster of `remember hello`, its pods, its leader, and
//! its Services as a client in the cluster reaches them.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{APPS, CORE, POLICY, REMEMBER, RIGHTS, path};
use crate::cluster::{Cluster, demand, has, output_of, say, wait_for};
use crate::processes::{self, PodProcess};
use crate::workload::{STORAGE_CLASS, image, unprivileged, unprivileged_pod};

/// One RememberCluster.
#[derive(Clone, Debug)]
pub(crate) struct Hello<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: String,
    pub(crate) name: String,
    timeout_ms: u32,
    /// How many pods it has, as the story goes.
    replicas: Cell<usize>,
    is_ephemeral: bool,
    has_witness: bool,
}

/// How long a leader may be silent: the default, and what a stall of a busy machine does not reach,
/// for stories in which nobody may be elected.
const TIMEOUT_MS: u32 = 300;
const PATIENT_TIMEOUT_MS: u32 = 1500;

/// What a cluster is made of but for its volumes, which may outlive it: pods last, because they
/// come back until their StatefulSet is gone.
const PARTS: [(&str, &str); 9] = [
    (APPS, "statefulsets"),
    (CORE, "services"),
    (CORE, "serviceaccounts"),
    (RIGHTS, "roles"),
    (RIGHTS, "rolebindings"),
    (CORE, "configmaps"),
    (CORE, "secrets"),
    (POLICY, "poddisruptionbudgets"),
    (CORE, "pods"),
];

/// The leader, by the label of its pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Leader {
    pub(crate) pod: String,
    pub(crate) term: u64,
    /// The machine that its pod is on.
    pub(crate) node: String,
}

impl<'a> Hello<'a> {
    /// Asks for three pods, without waiting for them.
    pub(crate) fn apply(cluster: &'a Cluster, namespace: &str, name: &str) -> Self {
        Self::of(cluster, namespace, name, TIMEOUT_MS).applied()
    }

    /// The same, with pods that do not take a stall of this machine for the end of their leader.
    pub(crate) fn apply_patient(cluster: &'a Cluster, namespace: &str, name: &str) -> Self {
        Self::of(cluster, namespace, name, PATIENT_TIMEOUT_MS).applied()
    }

    /// The same, with disks that end with their pods.
    pub(crate) fn apply_ephemeral(cluster: &'a Cluster, namespace: &str, name: &str) -> Self {
        let mut hello = Self::of(cluster, namespace, name, PATIENT_TIMEOUT_MS);
        hello.is_ephemeral = true;
        hello.applied()
    }

    /// The same, with pods that miss their leader as soon as by default.
    pub(crate) fn apply_ephemeral_with_defaults(
        cluster: &'a Cluster,
        namespace: &str,
        name: &str,
    ) -> Self {
        let mut hello = Self::of(cluster, namespace, name, TIMEOUT_MS);
        hello.is_ephemeral = true;
        hello.applied()
    }

    /// Asks for two pods and their witness (R17).
    pub(crate) fn apply_pair(cluster: &'a Cluster, namespace: &str, name: &str) -> Self {
        let mut hello = Self::of(cluster, namespace, name, PATIENT_TIMEOUT_MS);
        hello.replicas.set(2);
        hello.has_witness = true;
        hello.applied()
    }

    fn of(cluster: &'a Cluster, namespace: &str, name: &str, timeout_ms: u32) -> Self {
        Self {
            cluster,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            timeout_ms,
            replicas: Cell::new(3),
            is_ephemeral: false,
            has_witness: false,
        }
    }

    fn applied(self) -> Self {
        self.cluster.apply(&self.manifest("1"));
        self
    }

    /// The resource; `version` only makes one template differ from another.
    pub(crate) fn manifest(&self, version: &str) -> Value {
        let from_pod = |variable: &str, field: &str| {
            let source = json!({"fieldRef": {"fieldPath": field}});
            json!({"name": variable, "valueFrom": source})
        };
        let mut manifest = json!({
            "apiVersion": "remember.krest.io/v1alpha1", "kind": "RememberCluster",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "replicas": self.replicas.get(),
                "election": {"timeoutMs": self.timeout_ms},
                "storage": {"size": "1Gi", "storageClassName": STORAGE_CLASS},
                "service": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
                "template": {
                    "metadata": {"annotations": {"example.com/version": version}},
                    "spec": {
                        "terminationGracePeriodSeconds": 10,
                        "securityContext": unprivileged_pod(),
                        "containers": [{
                            "name": "app",
                            "image": image(),
                            "imagePullPolicy": "Never",
                            "args": ["hello"],
                            "env": [
                                from_pod("REMEMBER_POD_NAME", "metadata.name"),
                                from_pod("REMEMBER_POD_NAMESPACE", "metadata.namespace"),
                            ],
                            "ports": [{"name": "http", "containerPort": 8080}],
                            "readinessProbe": {
                                "httpGet": {"path": "/healthz", "port": 8080},
                                "periodSeconds": 1, "failureThreshold": 2,
                            },
                            "securityContext": unprivileged(),
                        }],
                        "topologySpreadConstraints": [{
                            "maxSkew": 1,
                            "topologyKey": "kubernetes.io/hostname",
                            "whenUnsatisfiable": "DoNotSchedule",
                            "labelSelector": {
                                "matchLabels": {"remember.krest.io/cluster": self.name},
                            },
                        }],
                    },
                },
            },
        });
        if self.is_ephemeral {
            manifest["spec"]["storage"].take();
        }
        if self.has_witness {
            manifest["spec"]["witness"] = "ConfigMap".into();
        }
        manifest
    }

    /// How many pods it has, as the story goes.
    pub(crate) fn replicas(&self) -> usize {
        self.replicas.get()
    }

    /// Asks for another number of pods, as people do, without waiting for them.
    pub(crate) fn scale(&self, replicas: usize) {
        let resource = format!("remembercluster/{}", self.name);
        self.kubectl(&["scale", &resource, &format!("--replicas={replicas}")]);
        self.replicas.set(replicas);
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster
            .kubectl(&[&["-n", &self.namespace], arguments].concat())
    }

    /// The resource as it is now.
    pub(crate) fn seen(&self) -> Value {
        self.ask(REMEMBER, &format!("rememberclusters/{}", self.name))
    }

    /// An object in its namespace, which must be there: `services/hello-leader`.
    pub(crate) fn ask(&self, group: &str, object: &str) -> Value {
        self.cluster.ask(&path(group, &self.namespace, object))
    }

    /// All objects of a kind that belong to it.
    pub(crate) fn own(&self, group: &str, kind: &str) -> Vec<Value> {
        let of = format!("remember.krest.io/cluster={}", self.name);
        let path = path(group, &self.namespace, kind);
        self.cluster.list(&path, Some(&of))
    }

    /// Whether a condition of it is told, and with which reason.
    pub(crate) fn condition(&self, kind: &str) -> (String, String) {
        let seen = self.seen();
        let conditions = seen["status"]["conditions"].as_array();
        let told = conditions.into_iter().flatten();
        let told = told.clone().find(|told| told["type"] == kind);
        let text = |field: &str| {
            let text = told.and_then(|told| told[field].as_str());
            text.unwrap_or_default().to_owned()
        };
        (text("status"), text("reason"))
    }

    pub(crate) fn pods(&self) -> Vec<Value> {
        self.own(CORE, "pods")
    }

    /// The one pod with the leader's label, if there is one.
    pub(crate) fn leader_seen(&self) -> Option<Leader> {
        let pods = self.pods();
        let label = |pod: &&Value| pod["metadata"]["labels"]["remember.krest.io/role"] == "leader";
        let leaders: Vec<_> = pods.iter().filter(label).collect();
        assert!(leaders.len() <= 1, "several leaders: {leaders:?}");
        let meta = &leaders.first()?["metadata"];
        let term = &meta["annotations"]["remember.krest.io/term"];
        Some(Leader {
            pod: meta["name"].as_str().unwrap().to_owned(),
            term: term.as_str().unwrap().parse().unwrap(),
            node: leaders[0]["spec"]["nodeName"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        })
    }

    /// Waits for the label of a leader in a later term than that of `before`.
    pub(crate) fn next_label(&self, before: &Leader) -> Leader {
        wait_for("the leader's label to move", || {
            self.leader_seen().filter(|now| now.term > before.term)
        })
    }

    /// Waits for a leader in a later term than that of `before`, to which its Service leads.
    pub(crate) fn next_leader(&self, before: &Leader) -> Leader {
        let begun = Instant::now();
        let next = self.next_label(before);
        let labelled = begun.elapsed();
        self.reach(&next);
        say!(
            "    {} after {}: label seen after {:.1} s, answered after {:.1} s",
            next.pod,
            before.pod,
            labelled.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
        next
    }

    /// Rolls it to another template, and waits for that: never two pods are missing (R4).
    pub(crate) fn roll(&self, version: &str) -> Leader {
        self.cluster.apply(&self.manifest(version));
        wait_for("all pods to be new", || {
            let (pods, all) = (self.pods(), self.replicas.get());
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            assert!(ready + 1 >= all, "several pods are missing at once");
            let is_new =
                |pod: &&Value| pod["metadata"]["annotations"]["example.com/version"] == version;
            (pods.iter().filter(is_new).count() == all).then_some(())
        });
        self.settle()
    }

    /// Waits until clients of the leader's Service are answered by this leader, on all machines but
    /// one, which may be the one that is cut off.
    pub(crate) fn reach(&self, leader: &Leader) {
        wait_for("the leader's Service to lead to the leader", || {
            let is_it =
                |told: &Value| told["pod"] == leader.pod.as_str() && told["role"] == "leader";
            let led = self.ask_leader("/").filter(is_it).count();
            (led + 1 >= self.cluster.node_names().count()).then_some(())
        });
    }

    /// Waits until all its pods are ready, one leads, the status says so, and traffic gets there.
    pub(crate) fn settle(&self) -> Leader {
        let leader = self.settle_labels();
        self.reach(&leader);
        leader
    }

    /// Waits until all its pods are ready, one leads, and the status says so.
    pub(crate) fn settle_labels(&self) -> Leader {
        wait_for("all pods to be ready, one of which leads", || {
            let pods = self.pods();
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            let are_all = ready == self.replicas.get() && pods.len() == ready;
            (are_all && self.condition("Ready").0 == "True").then_some(())
        });
        wait_for("the status to name the leader that is seen", || {
            let leader = self.leader_seen()?;
            let status = &self.seen()["status"];
            let is_told =
                status["leader"]["pod"] == leader.pod.as_str() && status["term"] == leader.term;
            is_told.then_some(leader)
        })
    }

    /// What the app behind the leader's Service answers to one machine after the other: one that is
    /// cut off still sends to the leader that it knew, if that is cut off with it.
    fn ask_leader(&self, path: &str) -> impl Iterator<Item = Value> {
        let url = format!("http://{}{path}", self.leader_address());
        self.cluster.node_names().filter_map(move |node| {
            let mut curl = self.cluster.enter(&node);
            let output = output_of(curl.args(["curl", "-sfm2", &url]));
            serde_json::from_slice(&output.stdout).ok()
        })
    }

    /// The address of the leader's Service.
    pub(crate) fn leader_address(&self) -> String {
        let service = self.ask(CORE, &format!("services/{}-leader", self.name));
        service["spec"]["clusterIP"].as_str().unwrap().to_owned()
    }

    /// The sidecar's process in a pod.
    pub(crate) fn node_of(&self, pod: &str) -> PodProcess {
        let nodes = processes::nodes(self.cluster, &self.namespace);
        let node = nodes.into_iter().find(|node| node.pod == pod);
        node.unwrap_or_else(|| panic!("no node runs in {pod}"))
    }

    /// Deletes it, if it is there, and does not wait for that.
    pub(crate) fn forget(&self) {
        let options = ["--wait=false", "--ignore-not-found"];
        self.kubectl(&[&["delete", "remembercluster", &self.name], &options[..]].concat());
    }

    /// Deletes it, and waits until nothing is left of it but volumes.
    pub(crate) fn delete(&self) {
        self.forget();
        wait_for("everything of it to be gone", || {
            let mut kinds = PARTS.iter();
            let are_gone = kinds.all(|(group, kind)| self.own(group, kind).is_empty());
            are_gone.then_some(())
        });
    }
}

/// Whether a pod is ready and not ending.
pub(crate) fn is_ready(pod: &Value) -> bool {
    has(pod, "Ready") && pod["metadata"]["deletionTimestamp"].is_null()
}

/// Runs a command on the machine, or in the control plane, that must succeed.
pub(crate) fn on(cluster: &Cluster, place: &str, command: &[&str]) -> String {
    demand(cluster.enter(place).args(command))
}

/// Sleeps; for what must *not* happen in that time.
pub(crate) fn watch_for(time: Duration, mut check: impl FnMut()) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        check();
        std::thread::sleep(Duration::from_millis(100));
    }
}
