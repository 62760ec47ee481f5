//! `GET /v1/kv?watch=REV`: the changes of keys with a prefix, as server-sent events.
//!
//! Each change from that revision on is told once, in order. The store keeps the latest changes
//! for all watches together; a client that reads too slowly for that is told `compacted` and has
//! to list again.

use hyper::body::Incoming;
use hyper::{Request, Uri};
use serde::Serialize;

use super::api::Api;
use super::events::{Gone, PIECE_BYTES, Stream, write_event};
use super::listing::{Entry, Tombstone};
use super::metrics::StreamKind;
use super::query::{Query, number};
use super::reply::{Problem, Reply};
use crate::node::Handle;
use crate::state::{Event, Revision};

/// How many changes are taken from the store at once.
const BATCH: usize = 512;

#[derive(Serialize)]
struct CompactedDocument {
    oldest: u64,
    error: String,
}

/// Whether the request for `/v1/kv` is a watch.
pub(super) fn is_meant(uri: &Uri) -> bool {
    let mut parameters = uri.query().unwrap_or_default().split('&');
    parameters.any(|parameter| parameter.split('=').next() == Some("watch"))
}

pub(super) fn answer(api: &Api, request: &Request<Incoming>) -> Result<Reply, Problem> {
    let query = Query::parse(request.uri().query(), &["watch", "prefix"])?;
    let prefix = query.bytes("prefix")?.unwrap_or_default().into_owned();
    let from = match resumed_from(request)? {
        Some(revision) => revision,
        None => match query.raw("watch") {
            Some("now") => api.handle.store().view().revision().next(),
            text => Revision(number("watch", text.unwrap_or_default())?),
        },
    };
    let handle = api.handle.clone();
    api.streams.events(StreamKind::Keys, async move |stream| {
        run(&handle, &prefix, from, &stream).await
    })
}

/// Behind the last event that a client saw before its connection broke.
fn resumed_from(request: &Request<Incoming>) -> Result<Option<Revision>, Problem> {
    let Some(seen) = request.headers().get("last-event-id") else {
        return Ok(None);
    };
    let seen = number("Last-Event-ID", seen.to_str().unwrap_or_default())?;
    Ok(Some(Revision(seen.saturating_add(1))))
}

async fn run(handle: &Handle, prefix: &[u8], from: Revision, stream: &Stream) -> Result<(), Gone> {
    let mut revisions = handle.revisions();
    let mut next = from;
    loop {
        // Marked as seen before the store is read, so that no change is missed in between.
        revisions.borrow_and_update();
        let batch = handle.store().events_since(next, prefix, BATCH);
        let batch = match batch {
            Ok(batch) => batch,
            Err(compacted) => {
                let document = CompactedDocument {
                    oldest: compacted.oldest.0,
                    error: compacted.to_string(),
                };
                let mut text = String::new();
                write_event(&mut text, "compacted", None::<u64>, &document);
                return stream.send(text).await;
            }
        };
        send_all(stream, &batch.events).await?;
        next = batch.next;
        if batch.more {
            // However many changes are of no interest, others get their turn.
            tokio::task::yield_now().await;
            continue;
        }
        // An id alone lets the client resume here although there was nothing for it.
        let alive = format!("id: {}\n\n", next.0.saturating_sub(1));
        if stream.idle(revisions.changed(), &alive).await?.is_err() {
            return Ok(());
        }
    }
}

async fn send_all(stream: &Stream, events: &[Event]) -> Result<(), Gone> {
    let mut text = String::new();
    for event in events {
        let id = Some(event.revision());
        match event {
            Event::Put(record) => write_event(&mut text, "put", id, &Entry::of(record)),
            Event::Deleted { key, revision } => {
                write_event(&mut text, "delete", id, &Tombstone::of(key, *revision));
            }
        }
        if text.len() >= PIECE_BYTES {
            stream.send(std::mem::take(&mut text)).await?;
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    stream.send(text).await
}
