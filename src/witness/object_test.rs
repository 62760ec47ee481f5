//! The register in an object, against an API server in memory.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::{Object, Witness, text};
use crate::consensus::{
    Answer, Ask, ClusterId, Incarnation, Index, MemberId, NodeId, Register, Word,
};

const CLUSTER: ClusterId = ClusterId(0xc1);
const NAME: &str = "store-witness";

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Answered,
    Refused(u16),
    /// It is carried out, and nobody ever hears of it.
    AnswerLost,
    /// It is answered with what is no object.
    Nonsense,
    /// Before it is carried out, somebody else changes the object.
    Late,
}

/// One ConfigMap.
struct Server {
    object: Option<Value>,
    version: u64,
    /// What becomes of the next requests, by their method.
    fates: Vec<(Method, Fate)>,
    calls: Vec<String>,
}

#[derive(Clone)]
struct FakeApi(Arc<Mutex<Server>>);

impl FakeApi {
    fn holding(data: &Value) -> Self {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": data, "binaryData": {"b": "AA=="},
            "metadata": {
                "name": NAME, "namespace": "shop", "uid": "u-1", "resourceVersion": "1",
                "labels": {"kept": "yes"}, "ownerReferences": [],
            },
        });
        Self(Arc::new(Mutex::new(Server {
            object: Some(object),
            version: 1,
            fates: Vec::new(),
            calls: Vec::new(),
        })))
    }

    fn witness(&self) -> Witness {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Witness::Object(Object::new(Client::new(service, "shop"), "shop", NAME))
    }

    fn decide(&self, method: Method, fate: Fate) {
        self.0.lock().unwrap().fates.push((method, fate));
    }

    fn register(&self) -> Value {
        let server = self.0.lock().unwrap();
        server.object.as_ref().unwrap()["data"]["register"].clone()
    }

    fn set(&self, held: Register) {
        let mut server = self.0.lock().unwrap();
        server.change(|object| {
            object["data"]["register"] = text::write(CLUSTER, Some(held)).into();
        });
    }

    fn writes(&self) -> usize {
        let server = self.0.lock().unwrap();
        let writes = server.calls.iter().filter(|call| call.starts_with("PUT "));
        writes.count()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let reply = self
            .0
            .lock()
            .unwrap()
            .serve(&head.method, head.uri.path(), &body);
        match reply {
            Some(reply) => reply,
            None => pending().await,
        }
    }
}

impl Server {
    fn change(&mut self, edit: impl FnOnce(&mut Value)) {
        self.version += 1;
        let object = self.object.as_mut().unwrap();
        edit(object);
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
    }

    fn serve(&mut self, method: &Method, path: &str, body: &[u8]) -> Option<Response<Body>> {
        assert_eq!(path, format!("/api/v1/namespaces/shop/configmaps/{NAME}"));
        self.calls.push(format!("{method} {path}"));
        let at = self.fates.iter().position(|(of, _)| of == method);
        let fate = at.map_or(Fate::Answered, |at| self.fates.remove(at).1);
        match fate {
            Fate::Refused(code) => return Some(refusal(code)),
            Fate::Nonsense => return Some(reply(200, "<html>".to_owned())),
            Fate::Late => self.change(|object| object["data"]["more"] = "x".into()),
            Fate::Answered | Fate::AnswerLost => {}
        }
        let Some(known) = &self.object else {
            return Some(refusal(404));
        };
        if *method == Method::PUT {
            let mut sent: Value = serde_json::from_slice(body).unwrap();
            if sent["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"] {
                return Some(refusal(409));
            }
            // It changes the register, and nothing else.
            let register = sent["data"]["register"].take();
            let mut expected = known.clone();
            expected["data"]["register"] = Value::Null;
            assert_eq!(sent, expected);
            self.change(|object| object["data"]["register"] = register);
        } else {
            assert_eq!(*method, Method::GET);
        }
        let told = self.object.as_ref().unwrap().to_string();
        (fate != Fate::AnswerLost).then(|| reply(200, told))
    }
}

fn reply(code: u16, text: String) -> Response<Body> {
    let body = Body::from(Bytes::from(text));
    Response::builder().status(code).body(body).unwrap()
}

fn refusal(code: u16) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "message": "so it is", "reason": "",
    });
    reply(code, status.to_string())
}

fn sole(number: u64) -> Register {
    let member = MemberId {
        id: NodeId(1),
        incarnation: Incarnation(0xa1),
    };
    Register {
        number,
        word: Word::Sole(member, Index(5)),
        made: Index(4),
    }
}

fn swap(from: Option<Register>, to: Register) -> Ask {
    Ask::Swap { from, to }
}

/// Runs a test whose clock moves while all wait.
fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(test);
}

#[test]
fn an_object_without_the_key_was_never_written_and_is_changed_in_that_alone() {
    run(async {
        for data in [json!({"other": "stays"}), Value::Null, json!({})] {
            let api = FakeApi::holding(&data);
            let witness = api.witness();
            let ask = async |ask| witness.ask(CLUSTER, &ask).await.unwrap();
            assert_eq!(ask(Ask::Read).await, Answer::Holds(None));
            assert_eq!(ask(swap(None, sole(1))).await, Answer::Swapped);
            let text = "cluster 00000000000000c1, 1: sole 1.00000000000000a1 @ 5, made 4";
            assert_eq!(api.register(), text);
            assert_eq!(ask(Ask::Read).await, Answer::Holds(Some(sole(1))));
            assert_eq!(ask(swap(Some(sole(1)), sole(2))).await, Answer::Swapped);
            assert_eq!(ask(swap(None, sole(1))).await, Answer::Holds(Some(sole(2))));
            assert_eq!(api.writes(), 2);
        }
    });
}

#[test]
fn who_comes_second_is_told_what_it_holds_and_asks_no_second_time() {
    run(async {
        let api = FakeApi::holding(&json!({}));
        let witness = api.witness();
        api.set(sole(1));
        api.decide(Method::PUT, Fate::Late);
        let answer = witness.ask(CLUSTER, &swap(Some(sole(1)), sole(2))).await;
        assert_eq!(answer, Ok(Answer::Holds(Some(sole(1)))));
        assert_eq!(api.writes(), 1);
    });
}

#[test]
fn what_is_not_certain_is_told_as_a_sentence_and_asked_no_second_time() {
    run(async {
        for (method, fate, part) in [
            (Method::GET, Fate::Refused(404), "there is no such object"),
            (Method::GET, Fate::Refused(403), "`get` and `update`"),
            (Method::GET, Fate::Refused(500), "500: so it is"),
            (Method::GET, Fate::AnswerLost, "within 3 s"),
            (Method::GET, Fate::Nonsense, "cannot be asked"),
            (Method::PUT, Fate::Refused(404), "there is no such object"),
            (Method::PUT, Fate::Refused(422), "422: so it is"),
            (Method::PUT, Fate::Refused(429), "429: so it is"),
            (Method::PUT, Fate::Refused(500), "500: so it is"),
            (Method::PUT, Fate::Refused(503), "503: so it is"),
            (Method::PUT, Fate::Refused(504), "504: so it is"),
            (Method::PUT, Fate::AnswerLost, "within 3 s"),
            (Method::PUT, Fate::Nonsense, "cannot be asked"),
        ] {
            let api = FakeApi::holding(&json!({}));
            let witness = api.witness();
            api.set(sole(1));
            api.decide(method.clone(), fate);
            let asked = witness.ask(CLUSTER, &swap(Some(sole(1)), sole(2))).await;
            let sentence = asked.unwrap_err();
            assert!(sentence.contains(part), "{method} {fate:?}: {sentence}");
            assert_eq!(api.writes(), usize::from(method == Method::PUT), "{fate:?}");
        }
    });
}

#[test]
fn an_object_that_is_gone_is_not_one_that_was_never_written() {
    run(async {
        let api = FakeApi::holding(&json!({}));
        let witness = api.witness();
        api.0.lock().unwrap().object = None;
        for ask in [Ask::Read, swap(None, sole(1))] {
            let sentence = witness.ask(CLUSTER, &ask).await.unwrap_err();
            assert!(sentence.contains("there is no such object"), "{sentence}");
        }
        assert_eq!(api.writes(), 0);
    });
}

#[test]
fn what_is_no_register_of_this_cluster_says_no() {
    run(async {
        let foreign = text::write(ClusterId(0xc2), Some(sole(1)));
        let long = "x".repeat(1 << 20);
        for (data, part) in [
            (json!({"register": ""}), "is no register"),
            (json!({"register": "7"}), "is no register"),
            (json!({"register": 7}), "is no text"),
            (json!({"register": null}), "is no text"),
            (json!({"register": foreign}), "of cluster 00000000000000c2"),
            (json!({"register": long}), "1048576 bytes"),
        ] {
            let api = FakeApi::holding(&data);
            let witness = api.witness();
            for ask in [Ask::Read, swap(None, sole(1)), swap(Some(sole(1)), sole(2))] {
                let sentence = witness.ask(CLUSTER, &ask).await.unwrap_err();
                assert!(sentence.contains(part), "{sentence}");
            }
            assert_eq!(api.writes(), 0);
        }
    });
}
