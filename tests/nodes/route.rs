//! The label path from end to end: whole nodes over mutual TLS, two operators that hear them, and
//! an API server that demands of every write that no two pods lead and no term goes back (R1, R2).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use remember::operator::Pods;
use remember::operator::route::{Belief, Dial, Routed, Router, RouterHandle, View, Wiring};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cluster::{Cluster, on_one_thread};
use crate::fake_api::{FakeApi, Fate};
use crate::route_carry::{carrier, store};
use crate::tls_desk::Desk;

/// Three nodes, their pods, and two operators.
struct Stage {
    api: FakeApi,
    nodes: Cluster,
    operators: Vec<Operator>,
}

struct Operator {
    router: RouterHandle,
    watch: JoinHandle<()>,
    labelled: Arc<Mutex<Vec<Duration>>>,
}

impl Stage {
    async fn set(name: &str) -> Self {
        let desk = Desk::new(name);
        let nodes = desk.cluster(&format!("route-{name}"), 3).await;
        let api = FakeApi::new();
        for n in 0..3 {
            api.put_pod(&format!("store-{n}"), &format!("u{n}"));
        }
        let operator = || Operator::start(&api, dial(&nodes, &desk));
        let operators = [operator(), operator()];
        Self {
            api,
            operators: operators.into(),
            nodes,
        }
    }

    fn views(&self) -> watch::Receiver<View> {
        self.operators[0].router.views()
    }

    /// Waits until this node's pod alone has the leader's label and the others follow in its term.
    async fn routed_to(&self, id: u64) -> u64 {
        loop {
            let term = self.nodes.handle(id).status().term;
            let role = |other| if other == id { "leader" } else { "follower" };
            let expected = (1..=3).map(|id| format!("store-{} {} {term}", id - 1, role(id)));
            if self.api.labels() == expected.collect::<Vec<_>>() {
                return term.0;
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    async fn end(self) {
        for operator in self.operators {
            operator.router.stop().await;
            operator.watch.abort();
        }
        self.nodes.end().await;
    }
}

impl Operator {
    fn start(api: &FakeApi, dial: Dial) -> Self {
        let pods = Pods::default();
        let (watched, client) = (pods.clone(), api.client());
        let watch = tokio::spawn(async move { watched.watch(client, None).await });
        let labelled = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&labelled);
        let router = Router::spawn(Wiring {
            cluster: store(),
            carrier: carrier(api),
            pods: pods.of(&store()),
            dial,
            labelled: Arc::new(move |after| told.lock().unwrap().push(after)),
        });
        Self {
            router,
            watch,
            labelled,
        }
    }
}

/// The nodes are not at the port of pods, and are of the cluster `blue`.
fn dial(nodes: &Cluster, desk: &Desk) -> Dial {
    let addresses: BTreeMap<u64, SocketAddr> = (1..=3).map(|id| (id, nodes.api(id))).collect();
    let connector = desk.connector();
    Arc::new(move |target| {
        let (at, connector) = (addresses[&target.id.0], connector.clone());
        async move {
            let tcp = TcpStream::connect(at).await?;
            let member = format!("{}.blue.remember", target.id);
            connector.connect(tcp, &member).await
        }
        .boxed()
    })
}

#[test]
fn the_label_follows_the_leader() {
    on_one_thread(async {
        let mut stage = Stage::set("follows").await;
        let first = stage.nodes.leader().await;
        let term = stage.routed_to(first).await;
        let is_measured = |one: &Operator| !one.labelled.lock().unwrap().is_empty();
        while !stage.operators.iter().any(is_measured) {
            sleep(Duration::from_millis(2)).await;
        }

        stage.nodes.stop(first).await;
        let second = stage.nodes.leader().await;
        let next = stage.routed_to(second).await;
        assert!(
            second != first && next > term,
            "{first} {term}, {second} {next}"
        );

        stage.nodes.restart(first).await;
        let third = (1..=3).find(|id| ![first, second].contains(id)).unwrap();
        stage.nodes.hand_over(third).await;
        assert!(stage.routed_to(third).await > next);
        let term = stage.nodes.handle(third).status().term;
        let is_told = |view: &View| match &view.routed {
            Routed::Labelled { id, term: told, .. } => (id.0, *told) == (third, term),
            _ => false,
        };
        let mut views = stage.views();
        let view = views.wait_for(is_told).await.unwrap().clone();
        assert!(matches!(view.belief, Belief::Led(_)), "{view:?}");
        assert_eq!(view.no_majority_since, None);
        stage.end().await;
    });
}

#[test]
fn labels_that_somebody_spoils_are_mended_and_a_refusal_is_told() {
    on_one_thread(async {
        let stage = Stage::set("spoiled").await;
        let leader = stage.nodes.leader().await;
        stage.routed_to(leader).await;
        let pod = format!("store-{}", leader - 1);
        let spoil = || {
            stage.api.edit("pods", &pod, |pod| {
                pod["metadata"]["labels"]["remember.krest.io/role"] = "boss".into();
            });
        };
        spoil();
        stage.routed_to(leader).await;

        let refuse = "pods is forbidden: ValidatingAdmissionPolicy 'p' denied request";
        stage.api.decide(move |call| {
            if call.starts_with("PATCH") {
                Fate::Refused(403, refuse)
            } else {
                Fate::Answered
            }
        });
        spoil();
        let mut views = stage.views();
        let is_denied = |view: &View| matches!(view.routed, Routed::Denied { .. });
        let view = views.wait_for(is_denied).await.unwrap().clone();
        let Routed::Denied { why } = view.routed else {
            unreachable!("waited for");
        };
        assert!(why.contains(refuse) && why.contains(&pod), "{why}");

        stage.api.decide(|_| Fate::Answered);
        stage.routed_to(leader).await;
        let is_labelled = |view: &View| matches!(view.routed, Routed::Labelled { .. });
        assert!(views.wait_for(is_labelled).await.is_ok());
        stage.end().await;
    });
}

#[test]
fn a_leader_that_is_left_alone_loses_the_label() {
    on_one_thread(async {
        let mut stage = Stage::set("alone").await;
        let leader = stage.nodes.leader().await;
        let term = stage.routed_to(leader).await;
        for id in (1..=3).filter(|id| *id != leader) {
            stage.nodes.stop(id).await;
        }
        let stripped = format!("store-{} follower {term}", leader - 1);
        while !stage.api.labels().contains(&stripped) {
            sleep(Duration::from_millis(2)).await;
        }
        let mut views = stage.views();
        let is_nobody = |view: &View| view.routed == Routed::Nobody;
        let view = views.wait_for(is_nobody).await.unwrap().clone();
        assert_eq!(view.belief, Belief::Unknown);
        assert!(view.no_majority_since.is_some());
        stage.end().await;
    });
}

#[test]
fn a_pod_in_the_place_of_another_is_not_taken_for_it() {
    on_one_thread(async {
        let stage = Stage::set("other").await;
        let leader = stage.nodes.leader().await;
        stage.routed_to(leader).await;
        let pod = format!("store-{}", leader - 1);
        // What answers at the new pod's address says that it is in the old one.
        stage.api.put_pod(&pod, "another");
        let mut views = stage.views();
        let is_unheard = |view: &View| view.reports.len() == 2;
        let view = views.wait_for(is_unheard).await.unwrap().clone();
        assert_eq!(view.belief, Belief::Unknown);
        let expected = format!("{pod} candidate 0");
        assert!(
            stage.api.labels().contains(&expected),
            "{:?}",
            stage.api.labels()
        );
        stage.end().await;
    });
}
