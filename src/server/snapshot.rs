//! `GET /v1/snapshot`: a backup of the whole state, as bytes that a new cluster can begin with.
//!
//! It is written while it is sent, as of one moment. What came is a backup only if it ends as one
//! does, which its reader checks: a stream that breaks off tells no reason. While one is taken it
//! costs a thread and the records that there were, so whoever takes it too slowly is cut off.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::api::Api;
use super::events::{Gone, Stream};
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
        let pieces = api.handle.backup().await?;
        let pace = api.snapshot_pace;
        api.streams
            .pieces(StreamKind::Snapshot, async move |stream| {
                let _permit = permit;
                send(pieces, &stream, pace).await
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

/// How slow whoever takes a backup may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long it may do nothing.
    pub(super) wait: Duration,
    /// What it takes at least each second, from then on.
    pub(super) bytes_per_second_min: u64,
}

impl Pace {
    /// How long it may take for the first so many bytes.
    fn within(self, bytes: u64) -> Duration {
        let milliseconds = bytes.saturating_mul(1000) / self.bytes_per_second_min.max(1);
        self.wait + Duration::from_millis(milliseconds)
    }
}

async fn send(mut pieces: mpsc::Receiver<Bytes>, stream: &Stream, pace: Pace) -> Result<(), Gone> {
    let (begun, mut bytes) = (Instant::now(), 0_u64);
    while let Some(piece) = pieces.recv().await {
        bytes += piece.len() as u64;
        let due = begun + pace.within(bytes);
        let Ok(sent) = timeout_at(due, stream.send(piece)).await else {
            tracing::warn!(bytes, "a backup is cut off: its client takes it too slowly");
            return Err(Gone);
        };
        sent?;
    }
    Ok(())
}
