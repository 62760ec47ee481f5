//! What every pod was at every revision of etcd, from the first to the last: the only place where
//! nobody can miss that two pods were labelled leader at once (R1).
//!
//! A watch of the API server ends with it, and an audit log has no order but that of its lines.
//! etcd's own watch sees each change once, in order, and goes on while the API server is gone. Its
//! values are Kubernetes' protobuf, of which a few fields are read here.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::Message as _;
use serde_json::Value;

use crate::cluster::Cluster;

/// What a stored object begins with, before its protobuf.
const MAGIC: &[u8] = b"k8s\0";

/// The history while it is written.
pub(crate) struct History {
    watch: Child,
    file: PathBuf,
}

/// What was found in it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Found {
    /// How many changes of pods there were.
    pub(crate) changes: usize,
    /// How often a pod got the leader's label, or that of a later term.
    pub(crate) leaders: usize,
}

/// One pod at one revision.
#[derive(Clone, PartialEq, Eq, Debug)]
struct PodThen {
    cluster: String,
    uid: String,
    role: String,
    term: u64,
}

impl History {
    /// Watches all pods from the first revision on.
    pub(crate) fn begin(cluster: &Cluster) -> Self {
        let file = cluster.directory().join("log/pods.history");
        let (first, last) = (
            BASE64.encode("/registry/pods/"),
            BASE64.encode("/registry/pods0"),
        );
        let request = serde_json::json!({"create_request": {
            "key": first, "range_end": last, "start_revision": "1",
        }});
        let watch = cluster
            .enter("control")
            .args(["curl", "-sN", "http://127.0.0.1:2379/v3/watch", "-d"])
            .arg(request.to_string())
            .stdout(File::create(&file).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { watch, file }
    }

    /// Reads all of it so far, and demands what must hold at every revision: at most one pod of a
    /// cluster is labelled leader, and no leader's term is below one before.
    pub(crate) fn check(&mut self) -> Found {
        let ended = self.watch.try_wait().unwrap();
        assert!(ended.is_none(), "the history ended too early: {ended:?}");
        let text = std::fs::read_to_string(&self.file).unwrap();
        // Only the last line may still be written.
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        let mut world = World::default();
        let mut is_begun = false;
        for line in whole.lines() {
            let told: Value = serde_json::from_str(line).expect("a line of etcd");
            let result = &told["result"];
            let compacted = &result["compact_revision"];
            let goes_on = told.get("error").is_none() && result["canceled"] != true;
            let is_complete = compacted.is_null() || compacted == "0";
            assert!(goes_on && is_complete, "etcd says {told}");
            is_begun |= result["created"] == true;
            for event in result["events"].as_array().into_iter().flatten() {
                world.change(event);
            }
        }
        assert!(is_begun, "etcd never began the watch");
        world.found
    }
}

impl Drop for History {
    fn drop(&mut self) {
        // One that has ended with its cluster cannot be killed, and need not be.
        drop(self.watch.kill());
        drop(self.watch.wait());
    }
}

/// All pods at one revision.
#[derive(Default)]
struct World {
    pods: HashMap<String, PodThen>,
    /// The newest term of a leader's label, of each cluster.
    terms: BTreeMap<String, u64>,
    found: Found,
}

impl World {
    fn change(&mut self, event: &Value) {
        let stored = &event["kv"];
        let bytes = |field: &str| {
            BASE64
                .decode(stored[field].as_str().unwrap_or_default())
                .unwrap()
        };
        let key = String::from_utf8(bytes("key")).unwrap();
        self.found.changes += 1;
        let before = self.pods.remove(&key);
        if event["type"] == "DELETE" {
            return;
        }
        let Some(pod) = PodThen::read(&bytes("value")) else {
            return;
        };
        let namespace = key.split('/').nth(3).unwrap().to_owned();
        let cluster = format!("{namespace}/{}", pod.cluster);
        self.pods.insert(key.clone(), pod.clone());
        let same = before.filter(|before| before.uid == pod.uid);
        if let Some(before) = &same {
            assert!(
                pod.term >= before.term,
                "{key}: term {} after {} at {stored}",
                pod.term,
                before.term
            );
        }
        let is_leader = |pod: &PodThen| pod.role == "leader";
        if !is_leader(&pod) {
            return;
        }
        let here = |(other, _): &(&String, &PodThen)| other.split('/').nth(3) == Some(&namespace);
        let leaders: Vec<_> = (self.pods.iter().filter(here))
            .filter(|(_, other)| is_leader(other) && other.cluster == pod.cluster)
            .collect();
        assert!(
            leaders.len() == 1,
            "at revision {} there are several leaders: {leaders:?}",
            stored["mod_revision"]
        );
        let newest = self.terms.entry(cluster.clone()).or_default();
        assert!(
            pod.term >= *newest,
            "the leader's label of {cluster} goes from term {newest} back to {}",
            pod.term
        );
        *newest = pod.term;
        if !same.is_some_and(|before| is_leader(&before) && before.term == pod.term) {
            self.found.leaders += 1;
        }
    }
}

impl PodThen {
    /// A pod of a cluster; `None` for any other.
    fn read(value: &[u8]) -> Option<Self> {
        let stored = Stored::decode(value.strip_prefix(MAGIC).expect("protobuf")).unwrap();
        let pod = PodObject::decode(stored.raw.as_slice()).unwrap();
        let meta = pod.metadata.unwrap_or_default();
        let cluster = meta.labels.get("remember.krest.io/cluster")?.clone();
        let role = meta.labels.get("remember.krest.io/role");
        let term = meta.annotations.get("remember.krest.io/term");
        Some(Self {
            cluster,
            uid: meta.uid,
            role: role.cloned().unwrap_or_default(),
            term: term.and_then(|term| term.parse().ok()).unwrap_or(0),
        })
    }
}

/// `runtime.Unknown`, in which Kubernetes stores everything.
#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodObject {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    annotations: BTreeMap<String, String>,
}
