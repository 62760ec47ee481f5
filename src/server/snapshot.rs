//! `GET /v1/snapshot`: a backup of the whole state, as bytes that a new cluster can begin with.
//!
//! It is written while it is sent, as of one moment. What came is a backup only if it ends as one
//! does, which its reader checks: a stream that breaks off tells no reason.

use std::sync::Arc;

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::api::Api;
use super::kv::make_fresh;
use super::metrics::StreamKind;
use super::query::Query;
use super::reply::{Problem, Reply, bare, with};
use super::{Peer, act};

pub(super) async fn answer<B>(
    api: &Api,
    peer: Peer,
    request: &Request<B>,
) -> Result<Reply, Problem> {
    act::allow(peer, request.headers())?;
    let query = Query::parse(request.uri().query(), &["consistency"])?;
    make_fresh(&api.handle, query.is_stale()?).await?;
    let permit = Arc::clone(&api.snapshots).try_acquire_owned();
    let permit = permit.map_err(|_| Problem::overloaded("too many backups are being taken"))?;
    let reply = if request.method() == Method::HEAD {
        bare(StatusCode::OK)
    } else {
        let mut pieces = api.handle.backup().await?;
        api.streams
            .pieces(StreamKind::Snapshot, async move |stream| {
                let _permit = permit;
                while let Some(piece) = pieces.recv().await {
                    stream.send(piece).await?;
                }
                Ok(())
            })?
    };
    let bytes = HeaderValue::from_static("application/octet-stream");
    let reply = with(reply, CONTENT_TYPE, bytes);
    Ok(with(
        reply,
        CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    ))
}
