//! The pods of a cluster, watched through the API server: where each node is, and whether the
//! application beside it is ready (R12).
//!
//! Pods are named after their StatefulSet, `store-0`, `store-1`, ..., and node ids begin at 1, so
//! that pod `store-0` is node 1. Of addresses, what the watch tells is only ever added: a pod that
//! ends, and an API server that answers nothing, take none away (R10). A pod that comes back has
//! another address, and that is told. An application is ready for as long as its pod says so, and
//! Kubernetes does not say of the pod itself that it is not, as it does once the machine is lost;
//! while the API server answers nothing, the last word stays.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1;
use kube::core::{ApiResource, Object};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Config, ResourceExt as _};
use serde::Deserialize;
use tracing::{info, warn};

use crate::consensus::NodeId;
use crate::crd::{API_PORT, CLUSTER_LABEL, PEER_PORT, SIDECAR, node_number};
use crate::wire::{Address, MemberAddress, limits};

/// Why pods cannot be watched at all.
#[derive(Debug, thiserror::Error)]
pub enum PodsError {
    /// The pod's own account, or the address of the API server, is not where it should be.
    #[error(
        "this pod has no account to ask the API server with ({0}); set \
         automountServiceAccountToken, and give the account leave to list pods"
    )]
    NoAccount(#[from] kube::config::InClusterError),
    /// No client can be made of them.
    #[error("no client for the API server: {0}")]
    NoClient(#[from] kube::Error),
}

/// What is new of one node's pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodNews {
    /// The node that runs in the pod.
    pub id: NodeId,
    /// Where it is; `None` while it has no address, or never will have one again.
    pub address: Option<MemberAddress>,
    /// Whether all containers of the application beside the node are ready. A pod in which there
    /// is nothing but the node lacks nothing.
    pub is_app_ready: bool,
}

/// The part of a pod that is read here. To read all of it takes a megabyte of code alone, which
/// would be in the memory of every pod.
type Pod = Object<PodSpec, PodStatus>;

#[derive(Deserialize, Clone, Default, Debug)]
struct PodSpec {
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Deserialize, Clone, Debug)]
struct Container {
    name: String,
}

#[derive(Deserialize, Clone, Default, Debug)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(default)]
    container_statuses: Vec<ContainerStatus>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize, Clone, Debug)]
struct ContainerStatus {
    name: String,
    ready: bool,
}

#[derive(Deserialize, Clone, Debug)]
struct Condition {
    #[serde(rename = "type")]
    of: String,
    status: String,
}

/// A client of the API server with the pod's own account, which asks each thing once: who wants to
/// ask again does so itself.
///
/// # Errors
/// If the account is missing or unusable.
pub fn pod_client() -> Result<Client, PodsError> {
    let mut config = Config::incluster()?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// Watches the pods of `cluster` for ever, and tells what is new of each. Errors of the API server
/// are logged, and it is asked again.
pub async fn watch_pods(
    client: Client,
    namespace: &str,
    cluster: &str,
    mut tell: impl FnMut(PodNews),
) {
    let resource = ApiResource::erase::<v1::Pod>(&());
    let pods = Api::<Pod>::namespaced_with(client, namespace, &resource);
    let ours = watcher::Config::default().labels(&format!("{CLUSTER_LABEL}={cluster}"));
    let mut seen = pin!(watcher(pods, ours).default_backoff());
    let mut roster = Roster::new(cluster);
    let mut is_heard = true;
    loop {
        match seen.try_next().await {
            Ok(Some(event)) => {
                if !is_heard && !matches!(event, Event::Init) {
                    info!("the API server answers again");
                    is_heard = true;
                }
                roster.take(event).into_iter().for_each(&mut tell);
            }
            // The watch has no end.
            Ok(None) => return,
            Err(error) => {
                if is_heard {
                    warn!(%error, "the API server tells nothing of pods; what is known stays");
                }
                is_heard = false;
            }
        }
    }
}

/// The pods that there are, as they were told last. Pods change for many reasons, and what a peer
/// says itself is fresher than what is told of it again; so only news are passed on.
struct Roster {
    cluster: String,
    /// By node, with the uid of the pod.
    known: BTreeMap<NodeId, (Option<String>, PodNews)>,
    /// Whose pods stand in the list that is being told.
    listed: BTreeSet<NodeId>,
}

impl Roster {
    fn new(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            known: BTreeMap::new(),
            listed: BTreeSet::new(),
        }
    }

    fn take(&mut self, event: Event<Pod>) -> Vec<PodNews> {
        match event {
            Event::Apply(pod) => self.seen(&pod).into_iter().collect(),
            Event::Delete(pod) => self.deleted(&pod).into_iter().collect(),
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(pod) => {
                self.listed
                    .extend(node_of_pod(&pod.name_any(), &self.cluster));
                self.seen(&pod).into_iter().collect()
            }
            // Whatever is not in the list was deleted while nobody watched.
            Event::InitDone => {
                let gone = |id: &NodeId| !self.listed.contains(id);
                let gone: Vec<_> = self.known.keys().copied().filter(gone).collect();
                gone.into_iter().filter_map(|id| self.forget(id)).collect()
            }
        }
    }

    fn seen(&mut self, pod: &Pod) -> Option<PodNews> {
        let news = news_of(pod, &self.cluster)?;
        let told = (pod.uid(), news.clone());
        let before = self.known.insert(news.id, told.clone());
        (before != Some(told)).then_some(news)
    }

    fn deleted(&mut self, pod: &Pod) -> Option<PodNews> {
        let id = node_of_pod(&pod.name_any(), &self.cluster)?;
        let (uid, _) = self.known.get(&id)?;
        // Another pod may have its name by now.
        if *uid == pod.uid() {
            self.forget(id)
        } else {
            None
        }
    }

    /// The pod of a node is gone, and the application with it.
    fn forget(&mut self, id: NodeId) -> Option<PodNews> {
        self.known.remove(&id)?;
        Some(PodNews {
            id,
            address: None,
            is_app_ready: false,
        })
    }
}

fn news_of(pod: &Pod, cluster: &str) -> Option<PodNews> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    let has_ended = matches!(phase, Some("Failed" | "Succeeded"));
    let host = status.and_then(|status| status.pod_ip.as_ref());
    let host = host.filter(|ip| !ip.is_empty() && !has_ended);
    Some(PodNews {
        id: node_of_pod(&pod.name_any(), cluster)?,
        address: host.map(|host| pod_address(host)),
        is_app_ready: !has_ended && is_app_ready(pod),
    })
}

/// Whether every container but the node's own is ready, in a pod that is to stay.
fn is_app_ready(pod: &Pod) -> bool {
    let containers = pod.spec.containers.iter();
    let containers = containers.map(|container| &container.name);
    let mut app = containers.filter(|name| *name != SIDECAR);
    let statuses = pod.status.iter();
    let statuses: Vec<_> = statuses
        .flat_map(|status| &status.container_statuses)
        .collect();
    let is_ready = |name: &String| {
        let mut statuses = statuses.iter();
        statuses.any(|status| status.name == *name && status.ready)
    };
    pod.metadata.deletion_timestamp.is_none() && app.all(is_ready) && !is_taken_out(pod)
}

/// Whether the pod is not ready though all its containers are. Kubernetes says so where a machine
/// has gone silent, whose last words of the containers stay, and where a readiness gate is shut. No
/// Service leads to such a pod any more. If a container is not ready, that itself says enough: the
/// node's own must not count as the application's.
fn is_taken_out(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| &status.conditions);
    let is_said = |of, status| {
        let mut conditions = conditions.clone();
        conditions.any(|condition| condition.of == of && condition.status == status)
    };
    is_said("Ready", "False") && is_said("ContainersReady", "True")
}

/// Where the node in a pod with this address is reached.
#[must_use]
pub fn pod_address(host: &str) -> MemberAddress {
    let at = |port| Address {
        host: host.to_owned(),
        port,
    };
    MemberAddress {
        peer: at(PEER_PORT),
        api: at(API_PORT),
    }
}

/// The id of the node in the pod with this name; `None` if it is no pod of the cluster.
#[must_use]
pub fn node_of_pod(pod: &str, cluster: &str) -> Option<NodeId> {
    let id = node_number(pod, cluster)?;
    (id <= limits::NODE_ID_MAX).then_some(NodeId(id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, status: &serde_json::Value) -> Pod {
        let pod = json!({"metadata": {"name": name}, "spec": {}, "status": status});
        serde_json::from_value(pod).unwrap()
    }

    /// The pod of node 1, with these containers in it, each ready or not.
    fn running(uid: &str, containers: &[(&str, bool)]) -> Pod {
        let names = containers.iter().map(|(name, _)| json!({"name": name}));
        let statuses = containers.iter().map(|(name, ready)| {
            json!({"name": name, "ready": ready, "image": "", "imageID": "", "restartCount": 0})
        });
        let pod = json!({
            "metadata": {"name": "store-0", "uid": uid},
            "spec": {"containers": names.collect::<Vec<_>>()},
            "status": {
                "phase": "Running", "podIP": "10.1.2.3",
                "containerStatuses": statuses.collect::<Vec<_>>(),
            },
        });
        serde_json::from_value(pod).unwrap()
    }

    fn is_ready(pod: &Pod) -> bool {
        news_of(pod, "store").unwrap().is_app_ready
    }

    #[test]
    fn pods_are_numbered_from_0_and_nodes_from_1() {
        assert_eq!(node_of_pod("store-0", "store"), Some(NodeId(1)));
        assert_eq!(node_of_pod("store-12", "store"), Some(NodeId(13)));
        for other in [
            "store",
            "store-",
            "store-x",
            "store-01",
            "store-+1",
            "storage-1",
            "store-9-1",
        ] {
            assert_eq!(node_of_pod(other, "store"), None, "{other}");
        }
        assert_eq!(node_of_pod(&format!("store-{}", u64::MAX), "store"), None);
    }

    #[test]
    fn a_pod_is_reached_where_it_says_and_not_before() {
        let running = pod("store-1", &json!({"phase": "Running", "podIP": "10.1.2.3"}));
        let news = news_of(&running, "store").unwrap();
        assert_eq!(news.id, NodeId(2));
        let address = news.address.unwrap();
        assert_eq!(address.peer.to_string(), "10.1.2.3:7400");
        assert_eq!(address.api.to_string(), "10.1.2.3:7401");
        for status in [
            json!({"phase": "Pending"}),
            json!({"phase": "Pending", "podIP": ""}),
            json!({"phase": "Failed", "podIP": "10.1.2.3"}),
        ] {
            let news = news_of(&pod("store-1", &status), "store").unwrap();
            assert_eq!(news.address, None, "{status}");
        }
    }

    #[test]
    fn an_application_is_ready_once_all_its_containers_are() {
        assert!(is_ready(&running("a", &[("app", true), ("log", true)])));
        assert!(!is_ready(&running("a", &[("app", true), ("log", false)])));
        let mut starting = running("a", &[("app", true), ("log", true)]);
        let status = starting.status.as_mut().unwrap();
        status.container_statuses.pop();
        assert!(!is_ready(&starting), "one has no status yet");
        starting.status = None;
        assert!(!is_ready(&starting));
    }

    #[test]
    fn the_node_itself_is_no_application() {
        assert!(is_ready(&running("a", &[("remember", false)])));
        assert!(is_ready(&running(
            "a",
            &[("app", true), ("remember", false)]
        )));
        assert!(!is_ready(&running(
            "a",
            &[("app", false), ("remember", true)]
        )));
    }

    #[test]
    fn an_application_on_a_silent_machine_is_not_ready() {
        let conditions = |ready: &str, containers: &str| {
            let mut pod = running("a", &[("app", true), ("remember", true)]);
            let conditions = json!([
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "ContainersReady", "status": containers},
            ]);
            pod.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
            pod
        };
        assert!(is_ready(&conditions("True", "True")));
        assert!(!is_ready(&conditions("False", "True")));
        // The node beside it is not ready, which is no fault of the application.
        assert!(is_ready(&conditions("False", "False")));
        // And it is told.
        let mut roster = Roster::new("store");
        roster.take(Event::Apply(conditions("True", "True")));
        let told = roster.take(Event::Apply(conditions("False", "True")));
        assert!(!told[0].is_app_ready);
    }

    #[test]
    fn an_application_that_ends_with_its_pod_is_not_ready() {
        let mut ending = running("a", &[("app", true)]);
        ending.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert!(!is_ready(&ending));
        for phase in ["Failed", "Succeeded"] {
            let mut ended = running("a", &[("app", true)]);
            ended.status.as_mut().unwrap().phase = Some(phase.to_owned());
            assert!(!is_ready(&ended), "{phase}");
        }
    }

    #[test]
    fn only_news_are_told() {
        let mut roster = Roster::new("store");
        let ready = || running("a", &[("app", true)]);
        assert_eq!(roster.take(Event::Init), []);
        let told = roster.take(Event::InitApply(ready()));
        assert_eq!(told, [news_of(&ready(), "store").unwrap()]);
        assert_eq!(roster.take(Event::InitDone), []);
        assert_eq!(roster.take(Event::Apply(ready())), []);
        let told = roster.take(Event::Apply(running("a", &[("app", false)])));
        assert!(!told[0].is_app_ready);
        // Another pod by that name, at the same address: the peer may have said something else.
        let told = roster.take(Event::Apply(running("b", &[("app", false)])));
        assert_eq!(told.len(), 1);
        let stranger = pod(
            "stores-0",
            &json!({"phase": "Running", "podIP": "10.1.2.3"}),
        );
        assert_eq!(roster.take(Event::Apply(stranger)), []);
    }

    #[test]
    fn a_pod_that_is_deleted_takes_its_application_with_it() {
        let mut roster = Roster::new("store");
        let ready = |uid| running(uid, &[("app", true)]);
        let gone = [PodNews {
            id: NodeId(1),
            address: None,
            is_app_ready: false,
        }];
        roster.take(Event::Apply(ready("a")));
        assert_eq!(roster.take(Event::Delete(ready("a"))), gone);
        roster.take(Event::Apply(ready("b")));
        assert_eq!(roster.take(Event::Delete(ready("a"))), [], "b lives");
        // Deleted while nobody watched.
        assert_eq!(roster.take(Event::Init), []);
        assert_eq!(roster.take(Event::InitDone), gone);
        assert_eq!(roster.take(Event::Delete(ready("b"))), []);
    }
}
