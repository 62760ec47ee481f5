//! The pods of all clusters, from one watch of the API server.
//!
//! ```text
//!   watch of pods with the cluster's label --> Pods --+--> of(cluster)   its pods, as a value
//!                                                     +--> changes()     whose pods are others now
//! ```
//!
//! Of each pod only what somebody asks for is kept ([`PodView`]): an operator of many clusters has
//! little memory. What is seen here may be late. Whoever writes looks again, at the API server
//! itself (R1).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::backoff::Backoff;
use super::route::{PodRole, PodSeen};
use crate::consensus::{NodeId, Term};
use crate::crd::{CLUSTER_LABEL, ROLE_LABEL, SIDECAR, TERM_ANNOTATION, node_number};

/// The label by which a StatefulSet says of which revision of its template a pod is.
const REVISION_LABEL: &str = "controller-revision-hash";

/// How long one watch lasts, in seconds: a connection that has died without a sign ends with it.
const WATCH_SECONDS: u32 = 30;

/// How many pods the API server lists at once: what one answer takes of memory.
const PAGE_PODS: u32 = 100;

/// Which `RememberCluster`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClusterKey {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is known of a pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodView {
    /// Its name, which a later pod may have again.
    pub name: Arc<str>,
    /// Its uid, which no other pod ever has.
    pub uid: Arc<str>,
    /// Its address; `None` before it has one, and once it never will again.
    pub ip: Option<Arc<str>>,
    /// The node in it; `None` if it is no pod of the cluster's StatefulSet.
    pub id: Option<NodeId>,
    /// What its label says; `None` if somebody has removed or spoiled it.
    pub role: Option<PodRole>,
    /// The term in which that was written; `None` likewise.
    pub term: Option<Term>,
    /// Whether Kubernetes takes it for ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The revision of the template that it was made of.
    pub revision: Option<Arc<str>>,
    /// The uid of what has made it, and would make it anew.
    pub maker: Option<Arc<str>>,
    /// What its kubelet says of the node in it.
    pub sidecar: SidecarState,
    /// The machine on which it runs.
    pub node: Option<Arc<str>>,
}

/// How it stands with the container in which a pod's node runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SidecarState {
    /// It does not run.
    Down,
    /// It runs, and has not caught up.
    Running,
    /// It has caught up since it started (R8).
    Ready,
}

/// The pods of one cluster, by their names.
pub type PodViews = Arc<BTreeMap<Arc<str>, PodView>>;

/// The pods of all clusters. Clones are of one and the same.
#[derive(Clone, Debug, Default)]
pub struct Pods(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    clusters: Mutex<Clusters>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Clusters {
    views: BTreeMap<ClusterKey, watch::Sender<PodViews>>,
    /// Whose pods have changed since somebody asked: each cluster once.
    changed: BTreeSet<ClusterKey>,
}

impl PodView {
    /// What there is to know of a pod, and whose it is; `None` if it is of no cluster.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<(ClusterKey, Self)> {
        let seen = pod_seen(&pod.metadata)?;
        let cluster = label(&pod.metadata, CLUSTER_LABEL)?;
        let key = ClusterKey {
            namespace: pod.metadata.namespace.as_deref()?.into(),
            name: cluster.into(),
        };
        let status = pod.status.as_ref();
        let has_ended = |phase: &str| matches!(phase, "Failed" | "Succeeded");
        let ip = status
            .filter(|status| !status.phase.as_deref().is_some_and(has_ended))
            .and_then(|status| status.pod_ip.as_deref())
            .filter(|ip| !ip.is_empty());
        let ready = status
            .and_then(|status| status.conditions.as_ref())
            .is_some_and(|all| {
                all.iter()
                    .any(|one| one.type_ == "Ready" && one.status == "True")
            });
        let spec = pod.spec.as_ref();
        let view = Self {
            ip: ip.map(Arc::from),
            id: node_number(&seen.name, cluster).map(NodeId),
            role: seen.role,
            term: seen.term,
            name: seen.name,
            uid: seen.uid,
            ready,
            deleting: pod.metadata.deletion_timestamp.is_some(),
            revision: label(&pod.metadata, REVISION_LABEL).map(Arc::from),
            maker: maker(&pod.metadata).map(Arc::from),
            sidecar: sidecar(pod),
            node: spec
                .and_then(|spec| spec.node_name.as_deref())
                .map(Arc::from),
        };
        Some((key, view))
    }

    /// The part of it that labels are about.
    #[must_use]
    pub fn seen(&self) -> PodSeen {
        PodSeen {
            name: Arc::clone(&self.name),
            uid: Arc::clone(&self.uid),
            role: self.role,
            term: self.term,
        }
    }
}

/// What a pod's metadata say of its role; `None` if it has no name or no uid, as no pod that the
/// API server shows.
pub(super) fn pod_seen(metadata: &ObjectMeta) -> Option<PodSeen> {
    let term = metadata.annotations.as_ref();
    let term = term.and_then(|all| all.get(TERM_ANNOTATION));
    Some(PodSeen {
        name: metadata.name.as_deref()?.into(),
        uid: metadata.uid.as_deref()?.into(),
        role: label(metadata, ROLE_LABEL).and_then(PodRole::parse),
        term: term.and_then(|term| parse_term(term)),
    })
}

/// The uid of the controller of an object.
fn maker(metadata: &ObjectMeta) -> Option<&str> {
    let owners = metadata.owner_references.iter().flatten();
    let mut makers = owners.filter(|owner| owner.controller == Some(true));
    makers.next().map(|owner| owner.uid.as_str())
}

fn sidecar(pod: &Pod) -> SidecarState {
    let statuses = pod.status.iter();
    let mut statuses = statuses.flat_map(|status| status.init_container_statuses.iter().flatten());
    let Some(told) = statuses.find(|status| status.name == SIDECAR) else {
        return SidecarState::Down;
    };
    let is_running = told
        .state
        .as_ref()
        .is_some_and(|state| state.running.is_some());
    match (is_running, told.ready) {
        (false, _) => SidecarState::Down,
        (true, false) => SidecarState::Running,
        (true, true) => SidecarState::Ready,
    }
}

/// Reads a term that was written as the operator writes it. Any other spelling is none: a
/// condition on what was seen has to spell it again.
pub(super) fn parse_term(text: &str) -> Option<Term> {
    let term = Term(text.parse().ok()?);
    (term <= Term::MAX && term.to_string() == text).then_some(term)
}

fn label<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(name).map(String::as_str)
}

impl Pods {
    /// The pods of one cluster, now and whenever they change.
    #[must_use]
    pub fn of(&self, cluster: &ClusterKey) -> watch::Receiver<PodViews> {
        let mut clusters = self.clusters();
        // Whoever looked at a cluster that is gone has gone as well.
        let is_used =
            |pods: &mut watch::Sender<PodViews>| !pods.is_closed() || !pods.borrow().is_empty();
        clusters.views.retain(|_, pods| is_used(pods));
        let views = clusters.views.entry(cluster.clone()).or_default();
        views.subscribe()
    }

    /// The clusters whose pods have changed, each as soon as somebody asks, and once however
    /// often that was. For one listener: two would share the news.
    pub fn changes(&self) -> impl Stream<Item = ClusterKey> + Send + 'static + use<> {
        stream::unfold(self.clone(), async |pods| {
            loop {
                let changed = pods.clusters().changed.pop_first();
                if let Some(cluster) = changed {
                    return Some((cluster, pods));
                }
                // News between there and here are kept for whoever waits next.
                pods.0.changed.notified().await;
            }
        })
    }

    /// Watches the pods of a namespace, or of all, for ever. Errors of the API server are logged,
    /// and it is asked again; what is known stays.
    pub async fn watch(&self, client: Client, namespace: Option<&str>) {
        let api = match namespace {
            Some(namespace) => Api::<Pod>::namespaced(client, namespace),
            None => Api::all(client),
        };
        let of_clusters = watcher::Config::default()
            .labels(CLUSTER_LABEL)
            .page_size(PAGE_PODS)
            .timeout(WATCH_SECONDS);
        let mut events = pin!(watcher(api, of_clusters).backoff(Backoff::of_watch()));
        let mut listed = Vec::new();
        let mut is_heard = true;
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    if !is_heard {
                        info!("the API server tells of pods again");
                    }
                    is_heard = true;
                    self.take(event, namespace, &mut listed);
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

    /// Takes in what a watch of one namespace tells, or of all.
    fn take(
        &self,
        event: watcher::Event<Pod>,
        namespace: Option<&str>,
        listed: &mut Vec<(ClusterKey, PodView)>,
    ) {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(pod) => listed.extend(PodView::of(&pod)),
            watcher::Event::InitDone => self.replace_all(namespace, std::mem::take(listed)),
            watcher::Event::Apply(pod) => {
                if let Some((cluster, view)) = PodView::of(&pod) {
                    self.put(&cluster, view);
                }
            }
            watcher::Event::Delete(pod) => {
                if let Some((cluster, view)) = PodView::of(&pod) {
                    self.remove(&cluster.namespace, &view);
                }
            }
        }
    }

    /// These are all pods of a namespace, or of all.
    fn replace_all(&self, namespace: Option<&str>, listed: Vec<(ClusterKey, PodView)>) {
        let mut all = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (cluster, view) in listed {
            let pods = all.entry(cluster).or_default();
            pods.insert(Arc::clone(&view.name), view);
        }
        let mut clusters = self.clusters();
        let is_there = |key: &&ClusterKey| namespace.is_none_or(|one| one == &*key.namespace);
        let known: Vec<_> = clusters.views.keys().filter(is_there).cloned().collect();
        for cluster in known {
            // Whose pods are all gone is told so.
            all.entry(cluster).or_default();
        }
        for (cluster, pods) in all {
            clusters.set(&cluster, pods);
        }
        self.0.changed.notify_one();
    }

    fn put(&self, cluster: &ClusterKey, view: PodView) {
        let mut clusters = self.clusters();
        // A pod whose label is another now has left the cluster that it was in.
        clusters.remove_from_others(cluster, &view);
        let mut pods = clusters.pods(cluster);
        pods.insert(Arc::clone(&view.name), view);
        clusters.set(cluster, pods);
        self.0.changed.notify_one();
    }

    fn remove(&self, namespace: &Arc<str>, view: &PodView) {
        let nowhere = ClusterKey {
            namespace: Arc::clone(namespace),
            name: "".into(),
        };
        self.clusters().remove_from_others(&nowhere, view);
        self.0.changed.notify_one();
    }

    fn clusters(&self) -> MutexGuard<'_, Clusters> {
        // What it holds is whole between any two statements.
        let clusters = self.0.clusters.lock();
        clusters.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clusters {
    fn pods(&self, cluster: &ClusterKey) -> BTreeMap<Arc<str>, PodView> {
        let pods = self.views.get(cluster);
        pods.map_or_else(BTreeMap::new, |pods| BTreeMap::clone(&pods.borrow()))
    }

    /// Sets the pods of a cluster, tells of it if they are others, and forgets a cluster that has
    /// none and that nobody looks at.
    fn set(&mut self, cluster: &ClusterKey, pods: BTreeMap<Arc<str>, PodView>) {
        let is_empty = pods.is_empty();
        let views = self.views.entry(cluster.clone()).or_default();
        let is_changed = views.send_if_modified(|known| {
            let is_changed = **known != pods;
            if is_changed {
                *known = Arc::new(pods);
            }
            is_changed
        });
        if is_empty && views.is_closed() {
            self.views.remove(cluster);
        }
        if is_changed {
            self.changed.insert(cluster.clone());
        }
    }

    /// Removes this very pod from every cluster of its namespace but one.
    fn remove_from_others(&mut self, cluster: &ClusterKey, view: &PodView) {
        let first = ClusterKey {
            namespace: Arc::clone(&cluster.namespace),
            name: "".into(),
        };
        let others = self.views.range(&first..);
        let others = others.take_while(|(other, _)| other.namespace == cluster.namespace);
        let others = others.filter(|(other, pods)| {
            let is_there = |known: &PodView| known.uid == view.uid;
            *other != cluster && pods.borrow().get(&view.name).is_some_and(is_there)
        });
        let others: Vec<_> = others.map(|(other, _)| other.clone()).collect();
        for other in others {
            let mut pods = self.pods(&other);
            pods.remove(&view.name);
            self.set(&other, pods);
        }
    }
}

#[cfg(test)]
impl PodView {
    /// A pod of the cluster `store`: ready, and labelled as a follower in term 7.
    pub(super) fn of_store(id: u64) -> Self {
        Self {
            name: format!("store-{}", id - 1).into(),
            uid: format!("uid-{id}").into(),
            ip: Some("10.0.0.1".into()),
            id: Some(NodeId(id)),
            role: Some(PodRole::Follower),
            term: Some(Term(7)),
            ready: true,
            deleting: false,
            revision: None,
            node: None,
            maker: Some("set".into()),
            sidecar: SidecarState::Ready,
        }
    }
}

#[cfg(test)]
#[path = "pods_test.rs"]
mod tests;
