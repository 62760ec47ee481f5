//! The admin port: health, metrics, and which state the node is in. Nothing secret, and nothing
//! that acts.

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use tokio::time::Instant;

use super::Peer;
use super::connection::Route;
use super::health::{Readiness, hangs, not_started};
use super::metrics::{Endpoint, Metrics, OPENMETRICS};
use super::reply::{Problem, Reply, json, text, with};
use super::router::headers_of;
use crate::node::Handle;

/// What the admin port answers from.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) handle: Handle,
    pub(super) metrics: Rc<Metrics>,
    pub(super) readiness: Rc<Readiness>,
}

/// `GET /statez`: where two nodes say the same `term` and `index`, they say the same of everything.
#[derive(Serialize)]
struct StateDocument {
    term: u64,
    index: u64,
    revision: u64,
    keys: usize,
    /// The hash of the state, in 16 hexadecimal digits: no number of JSON holds it.
    hash: String,
}

impl Route for Admin {
    async fn answer(&self, _peer: Peer, request: Request<Incoming>) -> Reply {
        let begun = Instant::now();
        let answer = match *request.method() {
            Method::GET | Method::HEAD => self.dispatch(request.uri().path()).await,
            _ => Err(Problem::not_allowed("GET, HEAD")),
        };
        let reply = answer.unwrap_or_else(Reply::from);
        self.metrics
            .answered(Endpoint::Admin, reply.status(), begun.elapsed());
        match *request.method() {
            Method::HEAD => headers_of(reply),
            _ => reply,
        }
    }
}

impl Admin {
    async fn dispatch(&self, path: &str) -> Result<Reply, Problem> {
        match path {
            "/livez" => health(hangs(&self.handle).await),
            "/startupz" => health(not_started(&self.handle)),
            "/readyz" => health(self.readiness.lacks()),
            "/statez" => Ok(json(&StateDocument::of(&self.handle))),
            "/metrics" => {
                let kind = HeaderValue::from_static(OPENMETRICS);
                Ok(with(
                    text(self.metrics.encode(&self.handle)),
                    CONTENT_TYPE,
                    kind,
                ))
            }
            _ => Err(Problem::new(
                StatusCode::NOT_FOUND,
                "no such endpoint; /livez, /startupz, /readyz, /statez and /metrics are there",
            )),
        }
    }
}

impl StateDocument {
    fn of(handle: &Handle) -> Self {
        let store = handle.store();
        let view = store.view();
        let position = view.position();
        Self {
            term: position.term.0,
            index: position.index.0,
            revision: view.revision().0,
            keys: view.len(),
            hash: format!("{:016x}", view.hash()),
        }
    }
}

fn health(lacks: Option<String>) -> Result<Reply, Problem> {
    match lacks {
        None => Ok(text("ok\n")),
        Some(sentence) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, sentence)),
    }
}
