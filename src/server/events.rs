//! Server-sent events, and other bodies that are made while they are sent.
//!
//! Each is a task that hands pieces to its connection and waits while the client does not read, so
//! a slow client costs one or two pieces and holds nobody up. The task ends with the client, with
//! the server, or when it is done.

use std::fmt::Display;
use std::fmt::Write as _;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::Limits;
use super::body::Body;
use super::limits::Budget;
use super::metrics::{Metrics, StreamKind};
use super::reply::{Problem, Reply, with};

/// Pieces are made up to about this many bytes; one event may be longer.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// Opens streams as long as there are not too many.
#[derive(Debug)]
pub(super) struct Streams {
    free: Arc<Semaphore>,
    budget: Budget,
    keep_alive: [Duration; StreamKind::COUNT],
    stop: watch::Receiver<Option<Instant>>,
    open: [Gauge; StreamKind::COUNT],
}

/// Where one task puts its pieces.
#[derive(Debug)]
pub(super) struct Stream {
    pieces: mpsc::Sender<Bytes>,
    budget: Budget,
    keep_alive: Duration,
    _permit: OwnedSemaphorePermit,
    _open: Open,
}

/// The client is gone; there is nobody to send to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gone;

/// Counts one stream while it is open.
#[derive(Debug)]
struct Open(Gauge);

/// What fills one stream.
pub(super) trait Run: AsyncFnOnce(Stream) -> Result<(), Gone> + 'static {}

impl<F: AsyncFnOnce(Stream) -> Result<(), Gone> + 'static> Run for F {}

impl Streams {
    pub(super) fn new(
        limits: &Limits,
        metrics: &Metrics,
        stop: watch::Receiver<Option<Instant>>,
    ) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limits.streams_max)),
            budget: Budget::new(limits.buffered_bytes_max),
            keep_alive: StreamKind::ALL.map(|kind| match kind {
                StreamKind::Role => limits.keep_alive_roles,
                StreamKind::Keys | StreamKind::List | StreamKind::Snapshot => limits.keep_alive,
            }),
            stop,
            open: StreamKind::ALL.map(|kind| metrics.streams(kind)),
        }
    }

    /// Answers with server-sent events, until `run` ends or the server stops.
    pub(super) fn events(&self, kind: StreamKind, run: impl Run) -> Result<Reply, Problem> {
        let mut stop = self.stop.clone();
        let stopped = async move { drop(stop.wait_for(Option::is_some).await) };
        let reply = self.open(kind, run, stopped)?;
        let events = HeaderValue::from_static("text/event-stream");
        let reply = with(reply, CONTENT_TYPE, events);
        let uncached = HeaderValue::from_static("no-store");
        Ok(with(reply, CACHE_CONTROL, uncached))
    }

    /// Answers with a long body, until `run` ends.
    pub(super) fn pieces(&self, kind: StreamKind, run: impl Run) -> Result<Reply, Problem> {
        self.open(kind, run, pending())
    }

    /// Whether no stream is open and none holds anything.
    #[cfg(test)]
    pub(super) fn is_idle(&self, limits: &Limits) -> bool {
        self.free.available_permits() == limits.streams_max && self.budget.is_whole()
    }

    fn open(
        &self,
        kind: StreamKind,
        run: impl Run,
        stopped: impl Future<Output = ()> + 'static,
    ) -> Result<Reply, Problem> {
        let permit = Arc::clone(&self.free).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::overloaded("too many streams are open"))?;
        let (sender, pieces) = mpsc::channel(1);
        let stream = Stream {
            pieces: sender,
            budget: self.budget.clone(),
            keep_alive: self.keep_alive[kind as usize],
            _permit: permit,
            _open: Open::new(self.open[kind as usize].clone()),
        };
        spawn_local(async move {
            tokio::select! {
                // The client that has gone is not told.
                Ok(()) | Err(Gone) = run(stream) => {}
                () = stopped => {}
            }
        });
        Ok(Response::new(Body::Pieces(pieces)))
    }
}

impl Stream {
    /// Sends a piece once the client has taken those before it.
    pub(super) async fn send(&self, piece: impl Into<Bytes>) -> Result<(), Gone> {
        let piece = piece.into();
        let share = tokio::select! {
            share = self.budget.take(piece.len()) => share,
            () = self.pieces.closed() => return Err(Gone),
        };
        self.pieces.send(share.bind(piece)).await.map_err(|_| Gone)
    }

    /// Waits for `news`, and says from time to time that the stream is alive.
    pub(super) async fn idle<T>(
        &self,
        news: impl Future<Output = T>,
        alive: &str,
    ) -> Result<T, Gone> {
        let mut news = std::pin::pin!(news);
        loop {
            tokio::select! {
                news = &mut news => return Ok(news),
                () = self.pieces.closed() => return Err(Gone),
                () = tokio::time::sleep(self.keep_alive) => {
                    self.send(Bytes::copy_from_slice(alive.as_bytes())).await?;
                }
            }
        }
    }
}

impl Open {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Adds one event to `text`: its name, its id if it has one, and its data as JSON, which never has
/// a line break.
pub(super) fn write_event(
    text: &mut String,
    name: &str,
    id: Option<impl Display>,
    data: &impl Serialize,
) {
    let data = serde_json::to_string(data).unwrap_or_default();
    // Writing to a string does not fail.
    let _ok = match id {
        Some(id) => write!(text, "event: {name}\nid: {id}\ndata: {data}\n\n"),
        None => write!(text, "event: {name}\ndata: {data}\n\n"),
    };
}
