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
use super::{Limits, Peer, act};

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
    wait: Duration,
    /// What it takes at least each second, from then on.
    bytes_per_second_min: u64,
}

impl Pace {
    pub(super) fn within_limits(limits: &Limits) -> Self {
        Self {
            wait: limits.body_wait,
            bytes_per_second_min: limits.snapshot_bytes_per_second_min,
        }
    }

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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::sync::watch;

    use super::super::events::Streams;
    use super::super::metrics::Metrics;
    use super::super::tests::run;
    use super::*;

    const PIECES: usize = 64;
    const PIECE: &[u8] = &[b'x'; 64 << 10];

    /// How many bytes of a backup, all of which could be sent at once, a client gets that takes so
    /// many of them each second.
    async fn taken_at(bytes_per_second: u64, limits: &Limits) -> usize {
        let (sender, pieces) = mpsc::channel(PIECES);
        for _ in 0..PIECES {
            sender.try_send(Bytes::from_static(PIECE)).unwrap();
        }
        drop(sender);
        let (_stop, stopped) = watch::channel(None);
        let streams = Streams::new(limits, &Metrics::new(), stopped);
        let pace = Pace::within_limits(limits);
        let run = async move |stream| send(pieces, &stream, pace).await;
        let reply = streams.pieces(StreamKind::Snapshot, run).unwrap();
        let (mut body, mut taken) = (reply.into_body(), 0);
        while let Some(frame) = body.frame().await {
            let bytes = frame.unwrap().into_data().unwrap().len();
            taken += bytes;
            let milliseconds = bytes as u64 * 1000 / bytes_per_second;
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
        taken
    }

    #[test]
    fn whoever_trickles_is_cut_off_and_whoever_is_only_slow_is_not() {
        run(async {
            let limits = Limits::default();
            let least = limits.snapshot_bytes_per_second_min;
            let whole = PIECES * PIECE.len();
            assert_eq!(taken_at(least * 2, &limits).await, whole);
            let trickled = taken_at(least / 8, &limits).await;
            assert!(trickled < whole / 4, "{trickled} of {whole} bytes");
        });
    }
}
