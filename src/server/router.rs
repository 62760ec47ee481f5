//! The API port: which endpoint a request is for.

use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::time::Instant;

use super::api::Api;
use super::body::Body;
use super::connection::Route;
use super::metrics::Endpoint;
use super::reply::{Problem, Reply};
use super::{
    Peer, bootstrap, key_watch, kv, leader, listing, members, pages, quota, role_watch, snapshot,
};

impl Route for Api {
    async fn answer(&self, peer: Peer, request: Request<Incoming>) -> Reply {
        let begun = Instant::now();
        let endpoint = endpoint(request.uri().path());
        let head = request.method() == Method::HEAD;
        let allowed = pages::refuse(&self.handle, peer, request.uri(), request.headers());
        let answer = match allowed {
            Ok(()) => self.dispatch(endpoint, peer, request).await,
            Err(problem) => Err(problem),
        };
        let reply = answer.unwrap_or_else(Reply::from);
        self.metrics
            .answered(endpoint, reply.status(), begun.elapsed());
        if head { headers_of(reply) } else { reply }
    }
}

fn endpoint(path: &str) -> Endpoint {
    if path.starts_with(kv::PATH) {
        return Endpoint::Key;
    }
    match path {
        "/v1/kv" => Endpoint::Keys,
        "/v1/leader" => Endpoint::Leader,
        "/v1/cluster" => Endpoint::Cluster,
        "/v1/members" => Endpoint::Members,
        "/v1/watch" => Endpoint::RoleWatch,
        "/v1/quota" => Endpoint::Quota,
        "/v1/snapshot" => Endpoint::Snapshot,
        "/v1/leader/transfer" => Endpoint::Transfer,
        "/v1/bootstrap" => Endpoint::Bootstrap,
        _ => Endpoint::Unknown,
    }
}

impl Api {
    async fn dispatch(
        &self,
        endpoint: Endpoint,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Result<Reply, Problem> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match endpoint {
            Endpoint::Key => kv::answer(self, request).await,
            Endpoint::Quota => quota::answer(self, peer, request).await,
            Endpoint::Transfer if request.method() == Method::POST => {
                leader::transfer(self, peer, request).await
            }
            Endpoint::Bootstrap if request.method() == Method::POST => {
                bootstrap::answer(self, peer, request).await
            }
            Endpoint::Transfer | Endpoint::Bootstrap => Err(Problem::not_allowed("POST")),
            Endpoint::Members if request.method() == Method::POST => {
                members::change(self, peer, request).await
            }
            Endpoint::Members if !is_read => Err(Problem::not_allowed("GET, HEAD, POST")),
            Endpoint::Admin | Endpoint::Unknown => Err(Problem::new(
                StatusCode::NOT_FOUND,
                "no such endpoint; /v1/cluster, /v1/leader, /v1/leader/transfer, /v1/members, \
                 /v1/watch, /v1/bootstrap, /v1/kv, /v1/kv/{key}, /v1/quota and /v1/snapshot are \
                 there",
            )),
            _ if !is_read => Err(Problem::not_allowed("GET, HEAD")),
            Endpoint::Cluster => leader::cluster(self, request.uri()),
            Endpoint::Leader => leader::leader(self, request.uri()),
            Endpoint::Members => members::members(self, request.uri()),
            Endpoint::RoleWatch => role_watch::answer(self, request.uri()),
            Endpoint::Keys if key_watch::is_meant(request.uri()) => {
                key_watch::answer(self, &request)
            }
            Endpoint::Keys => listing::answer(self, request.uri()).await,
            Endpoint::Snapshot => snapshot::answer(self, peer, &request).await,
        }
    }
}

/// The reply to a HEAD request: everything but the body.
pub(super) fn headers_of(mut reply: Reply) -> Reply {
    let body = std::mem::replace(reply.body_mut(), Body::EMPTY);
    if let Some(len) = body.len() {
        reply
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    reply
}
