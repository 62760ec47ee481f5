//! Requests that act on the cluster itself, or take all that it holds: who may make them, how their
//! body is read, and what is said where another node has to be asked.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Request, StatusCode};
use serde::de::DeserializeOwned;

use super::Peer;
use super::api::Api;
use super::kv::collect;
use super::limits::Share;
use super::query::Query;
use super::reply::Problem;
use crate::state::Member;

/// The longest body of such a request, in bytes.
const BODY_BYTES_MAX: usize = 4 << 10;

/// Only whoever is on this machine or has a certificate may ask, and no web page in their browser.
pub(super) fn allow(peer: Peer, headers: &HeaderMap) -> Result<(), Problem> {
    let refused = if !peer.may_act() {
        "this is taken from the node's own machine, or with a client certificate; ask over \
         loopback, or by https://"
    } else if headers.contains_key(header::ORIGIN) {
        "web pages may not ask for this; send the request without Origin"
    } else {
        return Ok(());
    };
    Err(Problem::new(StatusCode::FORBIDDEN, refused))
}

/// The headers and the body of such a request, once it is known that it may be made.
pub(super) async fn body(
    api: &Api,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<(HeaderMap, Bytes, Share), Problem> {
    let (head, body) = request.into_parts();
    allow(peer, &head.headers)?;
    Query::parse(head.uri.query(), &[])?;
    let (text, share) = collect(api, body, BODY_BYTES_MAX).await?;
    Ok((head.headers, text, share))
}

/// Reads a body of JSON that looks like `example`.
pub(super) fn read<T: DeserializeOwned>(
    headers: &HeaderMap,
    text: &[u8],
    example: &str,
) -> Result<T, Problem> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the body with Content-Type: application/json",
        ));
    }
    serde_json::from_slice(text)
        .map_err(|error| Problem::bad_request(format!("the body is not like {example}: {error}")))
}

/// Sends whoever asks to the leader.
pub(super) fn not_leading(api: &Api) -> Problem {
    let sentence = match api.handle.cluster_info().leader {
        Some(Member { id, ip, port }) => {
            format!("this node does not lead; ask node {id} at {ip}:{port}")
        }
        None => "this node does not lead, and it knows no leader".to_owned(),
    };
    Problem::new(StatusCode::CONFLICT, sentence)
}
