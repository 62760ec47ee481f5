//! An API server in memory, as far as an operator that writes labels needs one: pods and ConfigMaps
//! of one namespace, lists and a watch, and JSON patches with their conditions.
//!
//! It demands of every write what must never be seen (R1): two pods with the leader's label, a term
//! of a pod that goes back, a fence that goes back.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub(crate) const NAMESPACE: &str = "shop";
pub(crate) const CLUSTER: &str = "store";
pub(crate) const RECORD: &str = "store-record";
const CLUSTER_LABEL: &str = "remember.krest.io/cluster";
const ROLE_LABEL: &str = "remember.krest.io/role";
const TERM_ANNOTATION: &str = "remember.krest.io/term";

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It is carried out and answered.
    Answered,
    /// It is refused with a code and a sentence.
    Refused(u16, &'static str),
    /// Nobody ever answers, and it is not carried out.
    Lost,
    /// Nobody ever answers, and it is carried out.
    AnswerLost,
}

/// The API server. Clones are of one and the same.
#[derive(Clone)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
    before: Arc<Mutex<Option<Before>>>,
}

/// Is called before each request is carried out.
type Before = Box<dyn FnMut(&str) + Send>;

struct State {
    objects: BTreeMap<(&'static str, String), Value>,
    version: u64,
    calls: Vec<String>,
    /// What has become of pods, with the version at which it did.
    news: Vec<(u64, String)>,
    watchers: Vec<mpsc::UnboundedSender<String>>,
    fate: Box<dyn FnMut(&str) -> Fate + Send>,
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        let state = State {
            objects: BTreeMap::new(),
            version: 0,
            calls: Vec::new(),
            news: Vec::new(),
            watchers: Vec::new(),
            fate: Box::new(|_| Fate::Answered),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            before: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, NAMESPACE)
    }

    /// Decides what becomes of each request from now on, by its method and path.
    pub(crate) fn decide(&self, fate: impl FnMut(&str) -> Fate + Send + 'static) {
        self.state().fate = Box::new(fate);
    }

    /// Does something before each request from now on, by its method and path.
    pub(crate) fn before(&self, act: impl FnMut(&str) + Send + 'static) {
        *self.before.lock().unwrap() = Some(Box::new(act));
    }

    /// A new pod of the cluster, in the place of one with its name.
    pub(crate) fn put_pod(&self, name: &str, uid: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "namespace": NAMESPACE, "name": name, "uid": uid,
                "labels": {CLUSTER_LABEL: CLUSTER, ROLE_LABEL: "candidate"},
                "annotations": {TERM_ANNOTATION: "0"},
            },
            "spec": {"containers": []},
            "status": {"podIP": "127.0.0.1", "phase": "Running"},
        });
        let mut state = self.state();
        if state.objects.contains_key(&("pods", name.to_owned())) {
            state.remove("pods", name);
        }
        state.put("pods", name, pod);
    }

    pub(crate) fn remove_pod(&self, name: &str) {
        self.state().remove("pods", name);
    }

    /// Changes an object by hand, as a user would.
    pub(crate) fn edit(&self, kind: &'static str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        let mut object = state.objects[&(kind, name.to_owned())].clone();
        edit(&mut object);
        state.put(kind, name, object);
    }

    /// An object, in the place of one with its name.
    pub(crate) fn put(&self, kind: &'static str, name: &str, object: Value) {
        self.state().put(kind, name, object);
    }

    pub(crate) fn object(&self, kind: &'static str, name: &str) -> Option<Value> {
        self.state().objects.get(&(kind, name.to_owned())).cloned()
    }

    /// A record whose fence says this.
    pub(crate) fn put_record(&self, fence: &str) {
        let record = json!({
            "metadata": {"namespace": NAMESPACE, "name": RECORD}, "data": {"fence": fence},
        });
        self.put("configmaps", RECORD, record);
    }

    pub(crate) fn record(&self) -> Option<Value> {
        self.object("configmaps", RECORD)
    }

    pub(crate) fn fence(&self) -> String {
        let record = self.record().unwrap();
        record["data"]["fence"].as_str().unwrap().to_owned()
    }

    /// What all pods say: name, role, term.
    pub(crate) fn labels(&self) -> Vec<String> {
        let state = self.state();
        let pods = state
            .objects
            .iter()
            .filter(|((kind, _), _)| *kind == "pods");
        let words = |pod: &Value| {
            let role = pod["metadata"]["labels"][ROLE_LABEL].as_str();
            let term = pod["metadata"]["annotations"][TERM_ANNOTATION].as_str();
            format!("{} {}", role.unwrap_or("-"), term.unwrap_or("-"))
        };
        pods.map(|((_, name), pod)| format!("{name} {}", words(pod)))
            .collect()
    }

    /// The requests that were made so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// How many of them write.
    pub(crate) fn writes(&self) -> usize {
        let calls = self.calls();
        calls.iter().filter(|call| !call.starts_with("GET")).count()
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let call = format!("{} {}", head.method, head.uri.path());
        // Others may be first.
        tokio::task::yield_now().await;
        if let Some(before) = &mut *self.before.lock().unwrap() {
            before(&call);
        }
        let fate = {
            let mut state = self.state();
            state.calls.push(call.clone());
            (state.fate)(&call)
        };
        match fate {
            Fate::Answered => self
                .state()
                .serve(&head.method, head.uri.path(), &query, &body),
            Fate::Refused(code, message) => refuse(code, message),
            Fate::Lost => pending().await,
            Fate::AnswerLost => {
                drop(
                    self.state()
                        .serve(&head.method, head.uri.path(), &query, &body),
                );
                pending().await
            }
        }
    }
}

impl State {
    fn serve(&mut self, method: &Method, path: &str, query: &str, body: &[u8]) -> Answer {
        let mut parts = path.split('/').skip_while(|part| *part != "v1").skip(1);
        let mut kind = parts.next().unwrap();
        if kind == "namespaces" {
            kind = parts.nth(1).unwrap();
        }
        let kind = match kind {
            "pods" => "pods",
            "statefulsets" => "statefulsets",
            _ => "configmaps",
        };
        let name = parts.next();
        match (method, name) {
            (&Method::GET, None) if query.contains("watch=true") => self.watch(query),
            (&Method::GET, None) => {
                assert!(query.contains("labelSelector=remember"), "{query}");
                // Whoever writes reads no cache.
                let is_cached = query.contains("resourceVersion") && path.contains("/shop/");
                assert!(!is_cached, "{query}");
                let all = self.objects.iter().filter(|((of, _), _)| *of == kind);
                let items: Vec<_> = all.map(|(_, object)| object).collect();
                let version = self.version.to_string();
                said(
                    200,
                    &json!({"metadata": {"resourceVersion": version}, "items": items}),
                )
            }
            (&Method::GET, Some(name)) => {
                let found = self.objects.get(&(kind, name.to_owned()));
                found.map_or_else(|| refuse(404, "not found"), |object| said(200, object))
            }
            (&Method::POST, None) => {
                let object: Value = serde_json::from_slice(body).unwrap();
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                if self.objects.contains_key(&(kind, name.clone())) {
                    return refuse(409, "already exists");
                }
                said(201, &self.write(kind, &name, object))
            }
            (&Method::PATCH, Some(name)) => {
                let Some(object) = self.objects.get(&(kind, name.to_owned())) else {
                    return refuse(404, "not found");
                };
                let mut object = object.clone();
                let operations: Vec<Value> = serde_json::from_slice(body).unwrap();
                if !operations.iter().all(|one| apply(&mut object, one)) {
                    let message = "the server rejected our request due to an error in our request";
                    return refuse(422, message);
                }
                said(200, &self.write(kind, name, object))
            }
            (&Method::DELETE, Some(name)) => {
                let Some(object) = self.objects.get(&(kind, name.to_owned())) else {
                    return refuse(404, "not found");
                };
                let object = object.clone();
                let asked: Value = serde_json::from_slice(body).unwrap();
                let is_other = |field: &str| {
                    let asked = &asked["preconditions"][field];
                    !asked.is_null() && *asked != object["metadata"][field]
                };
                if ["uid", "resourceVersion"].into_iter().any(is_other) {
                    return refuse(409, "something else is there");
                }
                self.remove(kind, name);
                said(200, &object)
            }
            other => panic!("nobody asks for {other:?}"),
        }
    }

    /// Takes a write of an operator, of which more is demanded than of a user.
    fn write(&mut self, kind: &'static str, name: &str, object: Value) -> Value {
        let before = self.objects.get(&(kind, name.to_owned())).cloned();
        let object = self.put(kind, name, object);
        self.demand_sound(before.as_ref(), &object);
        object
    }

    fn put(&mut self, kind: &'static str, name: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let key = (kind, name.to_owned());
        let before = self.objects.insert(key, object.clone());
        let what = if before.is_none() {
            "ADDED"
        } else {
            "MODIFIED"
        };
        self.tell(kind, what, &object);
        object
    }

    fn remove(&mut self, kind: &'static str, name: &str) {
        self.version += 1;
        let object = self.objects.remove(&(kind, name.to_owned())).unwrap();
        self.tell(kind, "DELETED", &object);
    }

    fn demand_sound(&self, before: Option<&Value>, after: &Value) {
        let leads = |pod: &&Value| pod["metadata"]["labels"][ROLE_LABEL] == "leader";
        let leaders = self.objects.values().filter(leads).count();
        assert!(leaders <= 1, "two leaders: {:#?}", self.objects);
        let number =
            |object: &Value, pointer: &str| object.pointer(pointer)?.as_str()?.parse::<u64>().ok();
        for pointer in [
            "/metadata/annotations/remember.krest.io~1term",
            "/data/fence",
        ] {
            let (before, after) = (
                before.and_then(|b| number(b, pointer)),
                number(after, pointer),
            );
            assert!(
                after.is_none() || before <= after,
                "{before:?} became {after:?}"
            );
        }
    }

    fn watch(&mut self, query: &str) -> Answer {
        let mut since = query
            .split('&')
            .filter_map(|part| part.strip_prefix("resourceVersion="));
        let since: u64 = since.next().unwrap().parse().unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        for (_, line) in self.news.iter().filter(|(at, _)| *at > since) {
            sender.send(line.clone()).unwrap();
        }
        self.watchers.push(sender);
        let frames = stream::unfold(events, async |mut events| {
            let event: String = events.recv().await?;
            Some((Ok(Frame::data(Bytes::from(event))), events))
        });
        Response::new(UnsyncBoxBody::new(StreamBody::new(frames)))
    }

    fn tell(&mut self, kind: &str, what: &str, object: &Value) {
        if kind == "pods" {
            let line = format!("{}\n", json!({"type": what, "object": object}));
            self.news.push((self.version, line.clone()));
            self.watchers
                .retain(|watcher| watcher.send(line.clone()).is_ok());
        }
    }
}

/// Carries out one operation of a JSON patch; false if it fails.
fn apply(object: &mut Value, operation: &Value) -> bool {
    let path = operation["path"].as_str().unwrap();
    let value = &operation["value"];
    match operation["op"].as_str().unwrap() {
        "test" => object.pointer(path) == Some(value),
        "add" | "replace" => {
            let (parent, last) = path.rsplit_once('/').unwrap();
            let last = last.replace("~1", "/").replace("~0", "~");
            let Some(Value::Object(parent)) = object.pointer_mut(parent) else {
                return false;
            };
            parent.insert(last, value.clone());
            true
        }
        other => panic!("nobody asks for {other}"),
    }
}

fn said(code: u16, object: &Value) -> Answer {
    let body = UnsyncBoxBody::new(Full::from(object.to_string()));
    Response::builder().status(code).body(body).unwrap()
}

fn refuse(code: u16, message: &str) -> Answer {
    let reason = match code {
        404 => "NotFound",
        409 if message == "already exists" => "AlreadyExists",
        _ => "",
    };
    said(
        code,
        &json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": code, "message": message, "reason": reason,
        }),
    )
}
