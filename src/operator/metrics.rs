//! What an operator counts of itself, in the OpenMetrics text format.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

/// From 1 ms to 32 s, each bucket twice the one before.
const SECONDS_BUCKETS: (f64, f64, u16) = (0.001, 2.0, 16);

/// The media type of the text.
pub(super) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    reconciles: Family<Outcome, Counter>,
    reconcile: Histogram,
    labelled: Histogram,
    clusters: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("remember_operator");
        let seconds = || {
            let (first, factor, count) = SECONDS_BUCKETS;
            Histogram::new(exponential_buckets(first, factor, count))
        };
        let metrics = Self {
            reconciles: Family::default(),
            reconcile: seconds(),
            labelled: seconds(),
            clusters: Gauge::default(),
            registry: Registry::default(),
        };
        let m = &metrics;
        registry.register("reconciles", "Visits to clusters", m.reconciles.clone());
        registry.register_with_unit(
            "reconcile",
            "How long a visit takes",
            Unit::Seconds,
            m.reconcile.clone(),
        );
        registry.register_with_unit(
            "label",
            "From a leader that is believed here to its pod's label, whoever wrote that",
            Unit::Seconds,
            m.labelled.clone(),
        );
        registry.register(
            "clusters",
            "Clusters that are looked after",
            m.clusters.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }
}

impl Metrics {
    /// A visit that began then has ended, or failed for this reason.
    pub(super) fn reconcile_ends(&self, begun: Instant, failed: Option<&'static str>) {
        self.reconcile.observe(begun.elapsed().as_secs_f64());
        let result = failed.unwrap_or("ok");
        self.reconciles.get_or_create(&Outcome { result }).inc();
    }

    /// A leader's pod has its label, so long after its leader was believed.
    pub(super) fn labelled(&self, after: Duration) {
        self.labelled.observe(after.as_secs_f64());
    }

    /// So many clusters are looked after.
    pub(super) fn clusters(&self, count: usize) {
        self.clusters.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// All of it as text.
    pub(super) fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a string fails only where a metric cannot be encoded at all.
        if text::encode(&mut out, &self.registry).is_err() {
            out.clear();
        }
        out
    }
}
