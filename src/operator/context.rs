//! What all visits share: clients, settings, and what is known of each cluster in this process.
//!
//! Nothing here must survive: an operator that is started anew finds everything again by looking.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::apply::Applier;
use super::build::Defaults;
use super::certificates::{self, Held};
use super::error::Trouble;
use super::metrics::Metrics;
use super::pods::{ClusterKey, PodViews, Pods};
use super::record::Records;
use super::route::{
    Belief, Carrier, Claim, Dial, Routed, Router, RouterHandle, View, Wiring, over_tls,
};
use super::stamp::Stamp;
use super::validate::Refusal;
use crate::crd::RememberCluster;
use crate::tls::Connector;

/// As what the operator reports events.
const REPORTER: &str = "remember-operator";
/// How long too few nodes are heard before that is told, and how long it is not told again:
/// another operator may hear more, and would contradict.
const UNHEARD_FOR: Duration = Duration::from_secs(10);
const TOLD_FOR: Duration = Duration::from_mins(10);
/// How long a label may be on its way before that is told.
const LATE_AFTER: Duration = Duration::from_secs(2);

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
    /// What this operator is like, and since when it runs.
    pub(super) stamp: Stamp,
    /// Whose view has changed, and so is to be visited.
    changed: mpsc::Sender<ClusterKey>,
    known: Mutex<BTreeMap<ClusterKey, Known>>,
}

/// What is known of one cluster.
#[derive(Default)]
struct Known {
    routing: Option<Routing>,
    failures: u32,
    /// When it was told that too few nodes are heard.
    told_unheard: Option<Instant>,
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
            stamp: Stamp::new(&settings.defaults, SystemTime::now()),
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
        let metrics = Arc::clone(&self.metrics);
        let handle = Router::spawn(Wiring {
            cluster: key.clone(),
            carrier: Carrier::new(self.client.clone(), key, self.records(cluster, key)),
            pods: self.pods.of(key),
            dial,
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

    /// The claim of the leader that is believed in.
    pub(super) fn claim(&self, key: &ClusterKey) -> Option<Claim> {
        match self.view(key).belief {
            Belief::Led(claim) => Some(claim),
            Belief::Leaderless | Belief::Unknown => None,
        }
    }

    /// Whether all that can be told of its leader has been: whoever is heard agrees, and the label
    /// is where it should be.
    pub(super) fn is_settled(&self, key: &ClusterKey) -> bool {
        let view = self.view(key);
        view.belief != Belief::Unknown && view.routed != Routed::Pending
    }

    /// Whether the leader's label should have moved long since.
    pub(super) fn is_late(&self, key: &ClusterKey) -> bool {
        let view = self.view(key);
        view.routed == Routed::Pending && view.believed_since.elapsed() >= LATE_AFTER
    }

    /// Whether it is to be told that too few nodes are heard: that has lasted, and was not told
    /// lately.
    pub(super) fn may_tell_unheard(&self, key: &ClusterKey) -> bool {
        let view = self.view(key);
        let mut known = self.known();
        let known = known.entry(key.clone()).or_default();
        if view.belief != Belief::Unknown {
            known.told_unheard = None;
            return false;
        }
        let is_told = |told: Instant| told.elapsed() < TOLD_FOR;
        !known.told_unheard.is_some_and(is_told) && view.believed_since.elapsed() >= UNHEARD_FOR
    }

    /// It has been told.
    pub(super) fn told_unheard(&self, key: &ClusterKey) {
        if self.may_tell_unheard(key)
            && let Some(known) = self.known().get_mut(key)
        {
            known.told_unheard = Some(Instant::now());
        }
    }

    /// Whether this very refusal was the last one that was told.
    pub(super) fn was_refused(&self, key: &ClusterKey, refusal: &Refusal) -> bool {
        let known = self.known();
        known
            .get(key)
            .is_some_and(|known| known.refused.as_ref() == Some(refusal))
    }

    /// This refusal has been told.
    pub(super) fn refused(&self, key: &ClusterKey, refusal: &Refusal) {
        let mut known = self.known();
        known.entry(key.clone()).or_default().refused = Some(refusal.clone());
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
pub(in crate::operator) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Context");
        shown.field("settings", &self.settings);
        shown.finish_non_exhaustive()
    }
}
