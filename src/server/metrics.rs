//! What a node counts of itself, in the OpenMetrics text format.
//!
//! Counters and histograms are looked up once and then only raised. What the node knows anyway is
//! read when someone asks.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::consensus::Role;
use crate::node::Handle;

/// The media type of the text.
pub(super) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From 0.1 ms to 6.5 s, each bucket twice the one before.
const LATENCY_BUCKETS: (f64, f64, u16) = (0.0001, 2.0, 17);

/// What a request was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Endpoint {
    Cluster,
    Leader,
    Transfer,
    Bootstrap,
    Members,
    RoleWatch,
    Key,
    Keys,
    Quota,
    Snapshot,
    Admin,
    Unknown,
}

/// What a long answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StreamKind {
    /// Role changes.
    Role,
    /// Key changes.
    Keys,
    /// A long list.
    List,
    /// A backup.
    Snapshot,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Answered {
    endpoint: &'static str,
    code: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfEndpoint {
    endpoint: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfPort {
    port: &'static str,
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    /// By endpoint.
    served: [Served; Endpoint::ALL.len()],
    streams: Family<OfKind, Gauge>,
    connections: Family<OfPort, Gauge>,
    leader_changes: Counter,
    node: NodeGauges,
}

/// What was answered at one endpoint.
#[derive(Debug)]
struct Served {
    latency: Histogram,
    codes: RefCell<Vec<(StatusCode, Counter)>>,
}

type Number = Gauge<u64, AtomicU64>;

/// What the node knows anyway.
#[derive(Debug, Default)]
struct NodeGauges {
    term: Number,
    role: Number,
    is_leader: Number,
    commit: Number,
    durable: Number,
    applied: Number,
    revision: Number,
    log: Number,
    state: Number,
    quota: Number,
    keys: Number,
    alive: Number,
}

impl Endpoint {
    const ALL: [Self; 12] = [
        Self::Cluster,
        Self::Leader,
        Self::Transfer,
        Self::Bootstrap,
        Self::Members,
        Self::RoleWatch,
        Self::Key,
        Self::Keys,
        Self::Quota,
        Self::Snapshot,
        Self::Admin,
        Self::Unknown,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Cluster => "/v1/cluster",
            Self::Leader => "/v1/leader",
            Self::Transfer => "/v1/leader/transfer",
            Self::Bootstrap => "/v1/bootstrap",
            Self::Members => "/v1/members",
            Self::RoleWatch => "/v1/watch",
            Self::Key => "/v1/kv/{key}",
            Self::Keys => "/v1/kv",
            Self::Quota => "/v1/quota",
            Self::Snapshot => "/v1/snapshot",
            Self::Admin => "admin",
            Self::Unknown => "unknown",
        }
    }
}

impl StreamKind {
    pub(super) const ALL: [Self; 4] = [Self::Role, Self::Keys, Self::List, Self::Snapshot];
    pub(super) const COUNT: usize = Self::ALL.len();

    fn name(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Keys => "keys",
            Self::List => "list",
            Self::Snapshot => "snapshot",
        }
    }
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("remember");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that runs", version);
        let node = NodeGauges::register(&mut registry);
        let leader_changes = Counter::default();
        let help = "Leaders that this node has seen come";
        registry.register("leader_changes", help, leader_changes.clone());
        let requests = Family::default();
        registry.register("requests", "Requests answered", requests.clone());
        let latency =
            Family::<OfEndpoint, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                let (start, factor, count) = LATENCY_BUCKETS;
                Histogram::new(exponential_buckets(start, factor, count))
            });
        let help = "Time from a request's head to the head of its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, latency.clone());
        let streams = Family::default();
        registry.register(
            "streams",
            "Event streams, long lists and backups open now",
            streams.clone(),
        );
        let connections = Family::default();
        registry.register(
            "connections",
            "HTTP connections open now",
            connections.clone(),
        );
        let served = Endpoint::ALL.map(|endpoint| {
            let endpoint = endpoint.name();
            Served {
                latency: latency.get_or_create_owned(&OfEndpoint { endpoint }),
                codes: RefCell::default(),
            }
        });
        Self {
            registry,
            requests,
            served,
            streams,
            connections,
            leader_changes,
            node,
        }
    }

    /// A request was answered.
    pub(super) fn answered(&self, endpoint: Endpoint, code: StatusCode, took: Duration) {
        let served = &self.served[endpoint as usize];
        served.latency.observe(took.as_secs_f64());
        let mut codes = served.codes.borrow_mut();
        if let Some((_, counter)) = codes.iter().find(|(known, _)| *known == code) {
            counter.inc();
            return;
        }
        let counter = self.requests.get_or_create_owned(&Answered {
            endpoint: endpoint.name(),
            code: code.as_u16(),
        });
        counter.inc();
        codes.push((code, counter));
    }

    /// How many streams of one kind are open.
    pub(super) fn streams(&self, kind: StreamKind) -> Gauge {
        let kind = kind.name();
        self.streams.get_or_create_owned(&OfKind { kind })
    }

    /// How many connections a port has.
    pub(super) fn connections(&self, port: &'static str, open: usize) {
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        self.connections.get_or_create(&OfPort { port }).set(open);
    }

    /// A leader, or the same one in a new term, was seen.
    pub(super) fn leader_changed(&self) {
        self.leader_changes.inc();
    }

    /// Everything as text, as of now.
    pub(super) fn encode(&self, handle: &Handle) -> String {
        self.node.read(handle);
        let mut encoded = String::new();
        match text::encode(&mut encoded, &self.registry) {
            Ok(()) => encoded,
            Err(error) => format!("# {error}\n"),
        }
    }
}

impl NodeGauges {
    fn register(registry: &mut Registry) -> Self {
        let node = Self::default();
        let plain: [(&str, &str, &Number); 9] = [
            ("term", "The term that the node is in", &node.term),
            ("role", "1 leader, 2 follower, 3 candidate", &node.role),
            (
                "is_leader",
                "1 if the node is the established leader",
                &node.is_leader,
            ),
            (
                "members_alive",
                "Members that the leader hears, itself included",
                &node.alive,
            ),
            (
                "commit_index",
                "The last entry known to be agreed",
                &node.commit,
            ),
            (
                "durable_index",
                "The last entry on the node's disk",
                &node.durable,
            ),
            (
                "applied_index",
                "The last entry in the node's state",
                &node.applied,
            ),
            (
                "applied_revision",
                "The last change in the node's state",
                &node.revision,
            ),
            ("state_keys", "Keys in the state", &node.keys),
        ];
        for (name, help, gauge) in plain {
            registry.register(name, help, gauge.clone());
        }
        let bytes: [(&str, &str, &Number); 3] = [
            ("log", "Entries behind the newest snapshot", &node.log),
            (
                "state",
                "What the state counts against its quota",
                &node.state,
            ),
            ("state_quota", "What the state may grow to", &node.quota),
        ];
        for (name, help, gauge) in bytes {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        }
        node
    }

    fn read(&self, handle: &Handle) {
        let status = handle.status();
        self.term.set(status.term.0);
        self.role.set(match status.role {
            Role::Leader => 1,
            Role::Follower => 2,
            Role::Candidate => 3,
        });
        let leads = status.role == Role::Leader && status.established;
        self.is_leader.set(leads.into());
        self.alive
            .set(status.leader.map_or(0, |_| status.alive.len() as u64));
        self.commit.set(status.commit.0);
        self.durable.set(status.durable.0);
        self.log.set(status.log_bytes as u64);
        let store = handle.store();
        let view = store.view();
        self.applied.set(view.position().index.0);
        self.revision.set(view.revision().0);
        self.state.set(view.used_bytes());
        self.quota.set(view.quota_bytes());
        self.keys.set(view.len() as u64);
    }
}
