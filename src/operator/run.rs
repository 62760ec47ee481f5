//! Watches clusters, their objects and their pods, and has each cluster visited when something of
//! it changes.
//!
//! Objects are watched by their metadata and by the label of a cluster, so that what else there is
//! in Kubernetes costs this process nothing.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt as _};
use futures_util::{FutureExt as _, Stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::controller::{Config, Error as ControllerError};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::admin;
use super::backoff::Backoff;
use super::context::{Context, Settings};
use super::metrics::Metrics;
use super::pods::{ClusterKey, Pods};
use super::reconcile::{Watched, after_failure, reconcile};
use crate::crd::CLUSTER_LABEL;

/// How many clusters are visited at once.
const VISITS_MAX: u16 = 4;
/// How long changes are gathered before a visit.
const GATHER: Duration = Duration::from_millis(100);
/// How many clusters may wait to be told that their views have changed.
const CHANGES_MAX: usize = 1024;
/// How long one watch of clusters lasts, in seconds: a connection that has died without a sign ends
/// with it.
const WATCH_SECONDS: u32 = 60;
/// How long all namespaces may take until their clusters are told.
const ALL_WITHIN: Duration = Duration::from_secs(20);
/// How often clusters that are gone are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// Why an operator cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No address or credentials of an API server.
    #[error("no API server is known ({0}); run in a pod with an account, or set KUBECONFIG")]
    NoServer(#[from] kube::config::InferConfigError),
    /// No client can be made of them.
    #[error("no client for the API server: {0}")]
    NoClient(#[from] kube::Error),
}

/// Looks after clusters until `stop` comes, and answers at `admin` for itself.
///
/// # Errors
/// If there is no API server to ask. One that does not answer is waited for.
pub async fn run(
    settings: Settings,
    admin: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let config = kube::Config::infer().await?;
    info!(server = %config.cluster_url, "asking the API server");
    let client = Client::try_from(config)?;
    let metrics = Arc::new(Metrics::default());
    let (ready, is_ready) = watch::channel(false);
    let stop = stop.shared();
    let serving = admin::serve(admin, Arc::clone(&metrics), is_ready);
    let looking_after = async {
        let (changed, news) = mpsc::channel(CHANGES_MAX);
        let pods = Pods::default();
        let context = Context::new(client, settings, pods, metrics, changed);
        look_after(Arc::new(context), news, ready, stop).await;
    };
    tokio::select! {
        () = serving => {}
        () = looking_after => {}
    }
    Ok(())
}

/// One controller for all namespaces, or one for each that is named.
async fn look_after(
    context: Arc<Context>,
    news: mpsc::Receiver<ClusterKey>,
    ready: watch::Sender<bool>,
    stop: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) {
    let namespaces = &context.settings.namespaces;
    let scopes: Vec<_> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.iter().cloned().map(Some).collect()
    };
    let moved = context.pods.changes().boxed();
    let news = futures_util::stream::select(tokio_stream(news), moved);
    let (wakers, waking): (Vec<_>, Vec<_>) = (scopes.iter())
        .map(|_| mpsc::channel::<ClusterKey>(CHANGES_MAX))
        .unzip();
    let mut stores = Vec::new();
    let mut visits = Vec::new();
    let mut watches = Vec::new();
    for (scope, wake) in scopes.iter().zip(waking) {
        watches.push(context.pods.watch(context.client.clone(), scope.as_deref()));
        let (store, visiting) =
            visit_scope(Arc::clone(&context), scope.as_deref(), wake, stop.clone());
        stores.push(store);
        visits.push(visiting);
    }
    let spreading = spread(news, &scopes, &wakers);
    let told = watch::Sender::new(0);
    let sweeps = scopes.iter().zip(&stores);
    let sweeps = sweeps.map(|(scope, store)| sweep(&context, scope.as_deref(), store, &told));
    let sweeping = futures_util::future::join_all(sweeps);
    let announcing = announce(told.clone(), scopes.len(), ready);
    tokio::select! {
        () = spreading => {}
        _ = sweeping => {}
        () = announcing => {}
        _ = futures_util::future::join_all(watches) => {}
        _ = futures_util::future::join_all(visits) => {}
    }
}

/// A channel as a stream.
fn tokio_stream(news: mpsc::Receiver<ClusterKey>) -> BoxStream<'static, ClusterKey> {
    futures_util::stream::unfold(news, async |mut news| {
        news.recv().await.map(|key| (key, news))
    })
    .boxed()
}

/// Wakes the controller of the namespace that a change is in.
async fn spread(
    news: impl Stream<Item = ClusterKey>,
    scopes: &[Option<String>],
    wakers: &[mpsc::Sender<ClusterKey>],
) {
    let mut news = std::pin::pin!(news);
    while let Some(key) = news.next().await {
        let concerns =
            |scope: &Option<String>| scope.as_ref().is_none_or(|one| **one == *key.namespace);
        if let Some(at) = scopes.iter().position(concerns)
            && let Some(waker) = wakers.get(at)
            && waker.send(key).await.is_err()
        {
            return;
        }
    }
}

/// Forgets the clusters of one scope that are gone, once all that there are have been told.
async fn sweep(
    context: &Context,
    scope: Option<&str>,
    store: &Store<Watched>,
    told: &watch::Sender<usize>,
) {
    if store.wait_until_ready().await.is_err() {
        return;
    }
    told.send_modify(|count| *count += 1);
    loop {
        context.retain(|key| {
            let one = ObjectRef::new(&key.name).within(&key.namespace);
            let is_here = scope.is_none_or(|scope| scope == &*key.namespace);
            !is_here || store.get(&one).is_some()
        });
        tokio::time::sleep(SWEEP).await;
    }
}

/// Says that the operator is ready once the clusters of all scopes are known; or those of any, if
/// the others keep silent for long: one namespace that is gone must not hold up all.
async fn announce(told: watch::Sender<usize>, scopes: usize, ready: watch::Sender<bool>) {
    let mut told = told.subscribe();
    let all = told.wait_for(|count| *count == scopes);
    if tokio::time::timeout(ALL_WITHIN, all).await.is_err() {
        warn!("not all namespaces have been told of yet; see whether each is there, with its Role");
        drop(told.wait_for(|count| *count > 0).await);
    }
    ready.send_replace(true);
    info!("the clusters are known");
    std::future::pending::<()>().await;
}

/// The kinds of objects that a cluster is made of and that are mended where they differ, each in
/// the namespace of its cluster.
fn kinds_of_parts() -> [ApiResource; 7] {
    [
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<Role>(&()),
        ApiResource::erase::<RoleBinding>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
    ]
}

/// Has the clusters of one scope visited, until it is told to stop.
fn visit_scope<S: Future<Output = ()> + Send + Sync + 'static>(
    context: Arc<Context>,
    scope: Option<&str>,
    wake: mpsc::Receiver<ClusterKey>,
    stop: S,
) -> (Store<Watched>, impl Future<Output = ()> + use<S>) {
    let client = context.client.clone();
    let watched = watcher::Config::default().timeout(WATCH_SECONDS);
    let ours = watched.clone().labels(CLUSTER_LABEL);
    let clusters = match scope {
        Some(namespace) => Api::<Watched>::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let parts = |kind: &ApiResource| match scope {
        Some(namespace) => Api::<DynamicObject>::namespaced_with(client.clone(), namespace, kind),
        None => Api::all_with(client.clone(), kind),
    };
    let visited = Config::default().concurrency(VISITS_MAX).debounce(GATHER);
    let woken = tokio_stream(wake).map(|key| ObjectRef::new(&key.name).within(&key.namespace));
    let mut controller = Controller::new(clusters, watched)
        .with_config(visited)
        .trigger_backoff(Backoff::of_watch())
        .reconcile_on(woken)
        .graceful_shutdown_on(stop);
    for kind in kinds_of_parts() {
        controller = controller.owns_with(parts(&kind), kind, ours.clone());
    }
    let store = controller.store();
    let visiting = async move {
        let visits = controller.run(reconcile, after_failure, context);
        visits
            .for_each(async |visit| match visit {
                Ok((cluster, _)) => debug!(cluster = cluster.name, "visited"),
                // Said where it happened, or of a cluster that is gone.
                Err(ControllerError::ReconcilerFailed(..) | ControllerError::ObjectNotFound(_)) => {
                }
                Err(error) => warn!(%error, "the API server tells nothing new; it is asked again"),
            })
            .await;
    };
    (store, visiting)
}
