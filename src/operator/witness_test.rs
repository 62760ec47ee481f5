//! What nodes say of their witness; and its object, on an API server that knows no other.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::consensus::{ClusterId, Incarnation, MemberId, Position, Term};
use crate::operator::Settings;
use crate::operator::build::{Defaults, Extent, build};
use crate::operator::context::lock;
use crate::operator::metrics::Metrics;
use crate::operator::pods::Pods;

fn report(witness: Option<Witness>) -> Report {
    Report {
        pod: Arc::from("pod"),
        term: Term(7),
        leader: None,
        claim: None,
        incarnation: Incarnation(1),
        cluster: None,
        seats: None,
        witness,
    }
}

#[test]
fn one_that_does_not_answer_is_enough_and_one_that_is_not_heard_says_nothing() {
    let heard = |said: &[(u64, Option<Witness>)]| {
        let reports = said.iter().map(|(id, said)| (NodeId(*id), report(*said)));
        Heard::of([1, 2].map(NodeId), &reports.collect())
    };
    let (answers, silent) = (Some(Witness::Answers), Some(Witness::Silent));
    assert_eq!(heard(&[]), Heard::Nobody);
    assert_eq!(heard(&[(3, silent)]), Heard::Nobody);
    assert_eq!(heard(&[(1, answers)]), Heard::Answers);
    assert_eq!(heard(&[(1, answers), (2, answers)]), Heard::Answers);
    assert_eq!(
        heard(&[(1, answers), (2, silent)]),
        Heard::Silent([2].into())
    );
    assert_eq!(heard(&[(1, None), (2, silent)]), Heard::Untold([1].into()));
}

/// An API server with one object, and what was written to it.
#[derive(Default)]
struct Api {
    object: Mutex<Option<Value>>,
    /// The cluster that is recorded, if one is.
    recorded: Mutex<Option<u64>>,
    /// Each write: what was done, and with what.
    written: Mutex<Vec<(Method, Value)>>,
    /// What somebody else makes just before this operator does.
    overtaken_by: Mutex<Option<Value>>,
}

impl Api {
    fn answer(&self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        if *method != Method::GET {
            lock(&self.written).push((method.clone(), body.clone()));
        }
        if path.ends_with("/events") {
            return (201, body);
        }
        if path.ends_with("/pair-record") {
            let founding = |name: u64| {
                json!({"cluster": format!("{name:016x}"), "epoch": 2, "voters": []}).to_string()
            };
            let founding = lock(&self.recorded).map(founding);
            let data = json!({"fence": "7", "founding": founding.unwrap_or_default()});
            return (
                200,
                json!({"metadata": {"name": "pair-record"}, "data": data}),
            );
        }
        let mut object = lock(&self.object);
        if *method == Method::POST
            && let Some(faster) = lock(&self.overtaken_by).take()
        {
            *object = Some(faster);
        }
        let refused = |code: u16, reason: &str| {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": reason, "reason": reason, "code": code,
            });
            (code, status)
        };
        match (method.as_str(), &mut *object) {
            ("GET", Some(found)) => (200, found.clone()),
            ("POST", Some(_)) => refused(409, "AlreadyExists"),
            ("POST", none) => (201, none.insert(body).clone()),
            ("PATCH", Some(found)) if body.is_array() => {
                let path = body[0]["path"].as_str().unwrap();
                if found.pointer(path) != Some(&body[0]["value"]) {
                    return refused(422, "Invalid");
                }
                assert_eq!(body[1], json!({"op": "remove", "path": path}));
                found["data"].as_object_mut().unwrap().remove("register");
                (200, found.clone())
            }
            ("PATCH", Some(found)) => {
                // What an application does not name stays as it is.
                for (field, value) in body.as_object().unwrap() {
                    found[field] = value.clone();
                }
                (200, found.clone())
            }
            _ => refused(404, "NotFound"),
        }
    }

    fn writes(&self) -> Vec<(Method, Value)> {
        std::mem::take(&mut *lock(&self.written))
    }
}

fn context(api: &Arc<Api>) -> Context {
    let api = Arc::clone(api);
    let service = tower::service_fn(move |request: Request<Body>| {
        let api = Arc::clone(&api);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (code, said) = api.answer(&head.method, head.uri.path(), body);
            let answer = Response::builder().status(code);
            let answer = answer.header("content-type", "application/json");
            let said = Full::new(Bytes::from(said.to_string()));
            Ok::<_, Infallible>(answer.body(said).unwrap())
        }
    });
    let settings = Settings {
        defaults: defaults(),
        namespaces: Vec::new(),
        instance: None,
    };
    let (changed, _) = mpsc::channel(1);
    let client = Client::new(service, "shop");
    let metrics = Arc::new(Metrics::default());
    Context::new(client, settings, Pods::default(), metrics, changed)
}

fn defaults() -> Defaults {
    Defaults {
        image: "remember:1".to_owned(),
        image_pull_policy: None,
    }
}

fn pair() -> RememberCluster {
    let pair = json!({
        "apiVersion": "remember.krest.io/v1alpha1", "kind": "RememberCluster",
        "metadata": {"name": "pair", "namespace": "shop", "uid": "ours"},
        "spec": {
            "replicas": 2, "witness": "ConfigMap", "storage": {"size": "1Gi"},
            "template": {"spec": {"containers": [{"name": "app", "image": "app:1"}]}},
        },
    });
    serde_json::from_value(pair).unwrap()
}

fn key() -> ClusterKey {
    ClusterKey {
        namespace: "shop".into(),
        name: "pair".into(),
    }
}

/// Nodes are heard that are of this cluster.
fn seated_in(cluster: u64) -> View {
    let voter = MemberId {
        id: NodeId(1),
        incarnation: Incarnation(1),
    };
    let configuration = Configuration::of_voters([voter]);
    let mut view = View::at(tokio::time::Instant::now());
    view.seated = Some((ClusterId(cluster), (Position::default(), configuration)));
    view.no_majority_since = None;
    view
}

/// The StatefulSet that is made of a cluster.
fn set(cluster: &RememberCluster) -> StatefulSet {
    let extent = Extent {
        pods: 2,
        disruptions: 1,
    };
    let mut objects = build(cluster, extent, &defaults()).unwrap();
    serde_json::from_value(objects.pop().unwrap()).unwrap()
}

#[tokio::test]
async fn the_witness_is_made_once_and_what_it_holds_is_never_written() {
    let (api, pair) = (Arc::new(Api::default()), pair());
    let (context, set, view) = (context(&api), set(&pair), seated_in(0xc1));
    keep(&pair, &key(), None, &view, &context).await.unwrap();
    let written = api.writes();
    let kinds: Vec<_> = written.iter().map(|(method, _)| method.as_str()).collect();
    assert_eq!(kinds, ["POST", "PATCH"], "{written:?}");
    assert_eq!(written[0].1["metadata"]["name"], "pair-witness");
    let owner = &written[0].1["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], "ours", "it goes with its cluster");
    assert!(written.iter().all(|(_, body)| body.get("data").is_none()));
    // Its members write it, and somebody takes its label off.
    let held = json!({"register": "cluster 00000000000000c1, 1: pair"});
    if let Some(object) = &mut *lock(&api.object) {
        object["data"] = held.clone();
        object["metadata"]["labels"] = json!({});
    }
    keep(&pair, &key(), Some(&set), &view, &context)
        .await
        .unwrap();
    let written = api.writes();
    assert_eq!(written.len(), 1, "{written:?}");
    assert!(written[0].0 == Method::PATCH && written[0].1.get("data").is_none());
    assert_eq!(lock(&api.object).as_ref().unwrap()["data"], held);
    // Where all is as it should be nothing is written, whatever they write.
    lock(&api.object).as_mut().unwrap()["data"] = json!({"register": "2: sole"});
    keep(&pair, &key(), Some(&set), &view, &context)
        .await
        .unwrap();
    assert_eq!(api.writes(), []);
}

#[tokio::test]
async fn one_that_is_gone_is_made_again_and_told_by_whoever_makes_it() {
    let (api, pair) = (Arc::new(Api::default()), pair());
    let (context, set, view) = (context(&api), set(&pair), seated_in(0xc1));
    keep(&pair, &key(), Some(&set), &view, &context)
        .await
        .unwrap();
    let told = |written: Vec<(Method, Value)>| {
        let reasons = written.into_iter().filter_map(|(_, body)| {
            let reason = body["reason"].as_str()?;
            Some(reason.to_owned())
        });
        reasons.collect::<Vec<_>>()
    };
    assert_eq!(told(api.writes()), ["WitnessMadeAgain"]);
    let made = lock(&api.object).take();
    *lock(&api.overtaken_by) = made;
    keep(&pair, &key(), Some(&set), &view, &context)
        .await
        .unwrap();
    assert_eq!(told(api.writes()), Vec::<String>::new());
    // One whose pods were never told of a witness has lost none.
    lock(&api.object).take();
    let mut without = pair.clone();
    (without.spec.replicas, without.spec.witness) = (3, None);
    let never = self::set(&without);
    keep(&pair, &key(), Some(&never), &view, &context)
        .await
        .unwrap();
    assert_eq!(told(api.writes()), Vec::<String>::new());
    // And where none is asked for, none is.
    lock(&api.object).take();
    keep(&without, &key(), Some(&never), &view, &context)
        .await
        .unwrap();
    assert!(api.writes().is_empty() && lock(&api.object).is_none());
}

#[tokio::test]
async fn what_it_holds_of_an_earlier_cluster_is_taken_out_and_nothing_else() {
    let (api, pair) = (Arc::new(Api::default()), pair());
    let (context, set) = (context(&api), set(&pair));
    let mut unheard = seated_in(0xc2);
    unheard.no_majority_since = Some(unheard.believed_since);
    keep(&pair, &key(), Some(&set), &unheard, &context)
        .await
        .unwrap();
    let held = |text: &str| {
        lock(&api.object).as_mut().unwrap()["data"] = json!({"register": text, "more": "kept"});
    };
    let is_left = || !lock(&api.object).as_ref().unwrap()["data"]["register"].is_null();
    held("cluster 00000000000000c1, 7: sole 1.00000000000000a1 @ 9, made 8");
    keep(&pair, &key(), Some(&set), &unheard, &context)
        .await
        .unwrap();
    assert!(is_left(), "nobody knows of which cluster the nodes are");
    keep(&pair, &key(), Some(&set), &seated_in(0xc1), &context)
        .await
        .unwrap();
    assert!(is_left(), "it is their own");
    for recorded in [None, Some(0xc1)] {
        *lock(&api.recorded) = recorded;
        keep(&pair, &key(), Some(&set), &seated_in(0xc2), &context)
            .await
            .unwrap();
        assert!(is_left(), "a disk of another cluster is heard alone");
    }
    *lock(&api.recorded) = Some(0xc2);
    keep(&pair, &key(), Some(&set), &seated_in(0xc2), &context)
        .await
        .unwrap();
    assert!(!is_left());
    let data = lock(&api.object).as_ref().unwrap()["data"].clone();
    assert_eq!(data, json!({"more": "kept"}));
    // What says of no cluster that it is of that one is for a person to judge.
    for text in ["7: sole", "cluster x, 7: sole", "cluster c1"] {
        held(text);
        keep(&pair, &key(), Some(&set), &seated_in(0xc2), &context)
            .await
            .unwrap();
        assert!(is_left(), "{text}");
    }
    // Nor is anything taken out that was written since it was seen.
    let objects = kube::Api::<ConfigMap>::namespaced(context.client.clone(), "shop");
    empty(&objects, &key(), "pair-witness", "cluster c1, before")
        .await
        .unwrap();
    assert!(is_left());
}
