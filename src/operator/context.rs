//! What all visits share: clients, settings, and what is known of each cluster in this process.
//!
//! Nothing here must survive: an operator that is started anew finds everything again by looking.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::apply::Applier;
use super::build::Defaults;
use super::certificates::{self, Held};
use super::error::Trouble;
use super::metrics::Metrics;
use super::pods::{ClusterKey, PodView, PodViews, Pods};
use super::record::Records;
use super::route::{Belief, Carrier, Dial, Router, RouterHandle, View, Wiring, over_tls, stagger};
use super::validate::Refusal;
use crate::consensus::Term;
use crate::crd::RememberCluster;
use crate::tls::Connector;

/// As what the operator reports events.
const REPORTER: &str = "remember-operator";
/// How long too few nodes are heard before that is told.
const UNHEARD_FOR: Duration = Duration::from_secs(10);

/// What an operator is told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the pods of clusters get where their specs say nothing.
    pub defaults: Defaults,
    /// The namespaces whose clusters it looks after; all if there is none here.
    pub namespaces: Vec<String>,
    /// What this very operator is called in events: its pod.
    pub instance: Option<String>,
}

/// What all visits share.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) applier: Applier,
    pub(super) pods: Pods,
    pub(super) recorder: Recorder,
    pub(super) metrics: Arc<Metrics>,
    /// Whose view has changed, and so is to be visited.
    changed: mpsc::Sender<ClusterKey>,
    known: Mutex<BTreeMap<ClusterKey, Known>>,
}

/// What is known of one cluster.
#[derive(Default)]
struct Known {
    routing: Option<Routing>,
    failures: u32,
    /// Whether it has been told that too few nodes are heard, since they were.
    told_unheard: bool,
    refused: Option<Refusal>,
}

/// A router that runs, and what it was made for.
struct Routing {
    /// The uid of the cluster: one that is deleted and made again is another.
    uid: String,
    handle: RouterHandle,
    dial: Dial,
    held: Held,
    connector: Arc<Mutex<Connector>>,
}

impl Context {
    /// Also where it says whom to visit.
    pub(super) fn new(
        client: Client,
        settings: Settings,
        pods: Pods,
        metrics: Arc<Metrics>,
        changed: mpsc::Sender<ClusterKey>,
    ) -> Self {
        let reporter = Reporter {
            controller: REPORTER.to_owned(),
            instance: settings.instance.clone(),
        };
        Self {
            applier: Applier::new(client.clone()),
            recorder: Recorder::new(client.clone(), reporter),
            client,
            settings,
            pods,
            metrics,
            changed,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<ClusterKey, Known>> {
        lock(&self.known)
    }

    /// Sees to it that traffic of this cluster is routed, with the certificates that its Secrets
    /// hold.
    pub(super) fn route(
        &self,
        cluster: &RememberCluster,
        key: &ClusterKey,
        held: Held,
    ) -> Result<(), Trouble> {
        let uid = cluster.uid().unwrap_or_default();
        let mut known = self.known();
        let known = known.entry(key.clone()).or_default();
        let before = known.routing.as_ref().filter(|routing| routing.uid == uid);
        // A connector has a certificate of its own, which is made with some effort.
        if before.is_some_and(|routing| routing.held == held) {
            return Ok(());
        }
        let unfit = |error: &dyn fmt::Display| Trouble::Certificates(error.to_string());
        let connector = certificates::connector(&held).map_err(|error| unfit(&error))?;
        if let Some(routing) = known.routing.as_mut().filter(|routing| routing.uid == uid) {
            *lock(&routing.connector) = connector;
            routing.held = held;
            return Ok(());
        }
        let connector = Arc::new(Mutex::new(connector));
        let newest = Arc::clone(&connector);
        let name = certificates::cluster_name(cluster).map_err(|error| unfit(&error))?;
        let dial = over_tls(move || Some(lock(&newest).clone()), name);
        known.routing = Some(Routing {
            handle: self.start(cluster, key, Arc::clone(&dial)),
            uid,
            dial,
            held,
            connector,
        });
        Ok(())
    }

    /// Starts to route the traffic of a cluster.
    fn start(&self, cluster: &RememberCluster, key: &ClusterKey, dial: Dial) -> RouterHandle {
        let operator = self.settings.instance.as_deref().unwrap_or_default();
        let metrics = Arc::clone(&self.metrics);
        let handle = Router::spawn(Wiring {
            cluster: key.clone(),
            voters: u64::try_from(cluster.spec.replicas).unwrap_or(0),
            carrier: Carrier::new(self.client.clone(), key, self.records(cluster, key)),
            pods: self.pods.of(key),
            dial,
            stagger: stagger(operator, key),
            labelled: Arc::new(move |after| metrics.labelled(after)),
        });
        let (changed, key) = (self.changed.clone(), key.clone());
        let mut views = handle.views();
        tokio::spawn(async move {
            while views.changed().await.is_ok() && changed.send(key.clone()).await.is_ok() {}
        });
        handle
    }

    /// The record of a cluster.
    pub(super) fn records(&self, cluster: &RememberCluster, key: &ClusterKey) -> Records {
        Records::new(
            self.client.clone(),
            key.clone(),
            cluster.controller_owner_ref(&()).unwrap_or_default(),
        )
    }

    /// Its pods, as they are watched.
    pub(super) fn pods(&self, key: &ClusterKey) -> PodViews {
        Arc::clone(&self.pods.of(key).borrow())
    }

    /// Forgets all clusters but these.
    pub(super) fn retain(&self, is_there: impl Fn(&ClusterKey) -> bool) {
        let mut known = self.known();
        let gone: Vec<_> = known.keys().filter(|key| !is_there(key)).cloned().collect();
        for key in &gone {
            known.remove(key);
            self.applier.forget(&key.namespace, &key.name);
        }
        self.metrics.clusters(known.len());
    }

    /// What the nodes of a cluster say.
    pub(super) fn view(&self, key: &ClusterKey) -> View {
        let known = self.known();
        let routing = known.get(key).and_then(|known| known.routing.as_ref());
        routing.map_or_else(
            || View::at(Instant::now()),
            |routing| routing.handle.views().borrow().clone(),
        )
    }

    /// How its nodes are dialled.
    pub(super) fn dial(&self, key: &ClusterKey) -> Option<Dial> {
        let known = self.known();
        let routing = known.get(key)?.routing.as_ref()?;
        Some(Arc::clone(&routing.dial))
    }

    /// The highest term that is to be seen on its pods, or heard from its leader.
    pub(super) fn newest_term(&self, key: &ClusterKey) -> Option<Term> {
        let on_pods = |pod: &PodView| pod.term;
        let on_pods = self.pods(key).values().filter_map(on_pods).max();
        let claimed = match self.view(key).belief {
            Belief::Led(claim) => Some(claim.term),
            Belief::Leaderless | Belief::Unknown => None,
        };
        on_pods.max(claimed)
    }

    /// Whether too few nodes are heard.
    pub(super) fn is_unheard(&self, key: &ClusterKey) -> bool {
        self.view(key).belief == Belief::Unknown
    }

    /// Whether that is to be told: it has lasted, and has not been told since it began.
    pub(super) fn may_tell_unheard(&self, key: &ClusterKey) -> bool {
        let view = self.view(key);
        let mut known = self.known();
        let known = known.entry(key.clone()).or_default();
        if view.belief != Belief::Unknown {
            known.told_unheard = false;
            return false;
        }
        let since = view.no_majority_since.map(|since| since.elapsed());
        !known.told_unheard && since >= Some(UNHEARD_FOR)
    }

    /// It has been told.
    pub(super) fn told_unheard(&self, key: &ClusterKey) {
        if self.may_tell_unheard(key)
            && let Some(known) = self.known().get_mut(key)
        {
            known.told_unheard = true;
        }
    }

    /// Whether this very refusal was the last one; it is from now on.
    pub(super) fn refused_before(&self, key: &ClusterKey, refusal: &Refusal) -> bool {
        let mut known = self.known();
        let known = known.entry(key.clone()).or_default();
        known.refused.replace(refusal.clone()).as_ref() == Some(refusal)
    }

    /// Counts a visit that failed; how many did, one after the other, before it.
    pub(super) fn failed(&self, key: &ClusterKey) -> u32 {
        let mut known = self.known();
        let failures = &mut known.entry(key.clone()).or_default().failures;
        *failures = failures.saturating_add(1);
        failures.saturating_sub(1)
    }

    /// A visit went well.
    pub(super) fn succeeded(&self, key: &ClusterKey) {
        if let Some(known) = self.known().get_mut(key) {
            known.failures = 0;
            known.refused = None;
        }
    }
}

/// What these locks guard is whole after every statement, whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Context");
        shown.field("settings", &self.settings);
        shown.finish_non_exhaustive()
    }
}
