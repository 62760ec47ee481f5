//! One snapshot on its way to a follower, with a bounded part of it under way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::info;

use super::aside::aside;
use super::context::Context;
use super::snapshots::{Progress, push};
use crate::consensus::{MemberId, Position, Term};
use crate::storage::{self, FileDisk, Snapshots};
use crate::wire::limits::CHUNK_BYTES_MAX;
use crate::wire::{Delivery, Packet, Snapshot};

/// Chunks under way to a follower at most: sent, and not yet on its disk.
pub(super) const WINDOW_CHUNKS: usize = 4;
/// How long a follower that gets a snapshot may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a snapshot was not delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendFailure {
    #[error("{0}")]
    Storage(#[from] storage::Error),
    #[error("there is none")]
    NoSnapshot,
    #[error("the follower is silent")]
    Silent,
    #[error("the follower does not take it")]
    NotTaken,
    #[error("there is no link to the follower, or too much waits for it")]
    NoLink,
    #[error("the link ended")]
    LinkEnded,
}

/// Sends the newest snapshot, and waits until the follower has taken it in.
pub(super) async fn send(
    context: &Context,
    snapshots: Snapshots<FileDisk>,
    to: MemberId,
    term: Term,
    mut progress: watch::Receiver<Option<Progress>>,
) -> Result<(), SendFailure> {
    let newest = aside(move || snapshots.newest()).await?;
    let snapshot = Arc::new(newest.ok_or(SendFailure::NoSnapshot)?);
    let (position, total_bytes) = (snapshot.position(), snapshot.bytes());
    info!(peer = to.id.0, ?position, total_bytes, "sending a snapshot");
    // The follower's own link may be up before the one to it is.
    let say = |part| {
        let sent = push(context, to, &Packet::Snapshot(part));
        sent.then_some(()).ok_or(SendFailure::NoLink)
    };
    say(Snapshot::Begin {
        term,
        position,
        total_bytes,
    })?;
    let (mut offset, mut checksum) = (0, 0);
    while offset < total_bytes {
        let length = (total_bytes - offset).min(CHUNK_BYTES_MAX as u64);
        let snapshot = Arc::clone(&snapshot);
        let read = move || -> Result<_, storage::Error> {
            let mut chunk = vec![0; usize::try_from(length).unwrap_or(CHUNK_BYTES_MAX)];
            snapshot.read_at(&mut chunk, offset)?;
            Ok((crc32c::crc32c_append(checksum, &chunk), chunk))
        };
        let chunk;
        (checksum, chunk) = aside(read).await?;
        if progress.has_changed().is_err() {
            // Over the next link it would be a piece of nothing.
            return Err(SendFailure::LinkEnded);
        }
        let data = Bytes::from(chunk);
        say(Snapshot::Chunk { offset, data })?;
        offset += length;
        let window = (WINDOW_CHUNKS * CHUNK_BYTES_MAX) as u64;
        wait_for(&mut progress, position, |received| {
            received + window > offset
        })
        .await?;
    }
    say(Snapshot::End { checksum })?;
    wait_for(&mut progress, position, |_| false).await
}

/// Waits until enough was received, or all of it is taken in.
async fn wait_for(
    progress: &mut watch::Receiver<Option<Progress>>,
    position: Position,
    enough: impl Fn(u64) -> bool,
) -> Result<(), SendFailure> {
    loop {
        // What it says about an earlier snapshot may be late.
        let said = *progress.borrow_and_update();
        let said = said.filter(|said| said.position == position);
        let (received, delivery) =
            said.map_or((0, Delivery::Coming), |said| (said.received, said.delivery));
        match delivery {
            Delivery::Failed => return Err(SendFailure::NotTaken),
            Delivery::Whole => return Ok(()),
            Delivery::Coming if enough(received) => return Ok(()),
            Delivery::Coming => {}
        }
        match timeout(PATIENCE, progress.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(SendFailure::LinkEnded),
            Err(_) => return Err(SendFailure::Silent),
        }
    }
}
