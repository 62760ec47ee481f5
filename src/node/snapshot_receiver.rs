//! One snapshot on its way from the leader: each part is checked, written, and only then
//! acknowledged; what is whole is verified and restored beside the live state.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::aside::{aside, drop_aside, in_a_thread};
use super::context::{Context, Event, Received};
use super::snapshot_sender::WINDOW_CHUNKS;
use super::snapshots::acknowledge;
use crate::consensus::{MemberId, Position, Term};
use crate::state::{QUOTA_BYTES_MAX, View};
use crate::storage::{FileDisk, IncomingSnapshot, Snapshots};
use crate::wire::{Delivery, Snapshot, Transfer};

/// Parts that wait to be written at most: a window, its beginning and its end.
const PARTS_MAX: usize = WINDOW_CHUNKS + 2;
/// The largest snapshot, in bytes: the largest state, and what frames it.
const SNAPSHOT_BYTES_MAX: u64 = QUOTA_BYTES_MAX + QUOTA_BYTES_MAX / 1024;
/// How often the leader is told that its snapshot is still being worked on.
const STILL_COMING: Duration = Duration::from_secs(5);

/// What is coming.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Incoming {
    pub(super) from: MemberId,
    pub(super) term: Term,
    pub(super) position: Position,
    pub(super) total_bytes: u64,
}

/// Takes parts in; once it is dropped nothing is told of them any more.
pub(super) struct Receiver {
    pub(super) from: MemberId,
    pub(super) position: Position,
    parts: mpsc::Sender<Snapshot>,
}

/// More came than the window allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("its parts come faster than they are acknowledged")]
pub(super) struct Overrun;

impl Receiver {
    pub(super) fn start(
        context: Rc<Context>,
        snapshots: Snapshots<FileDisk>,
        incoming: Incoming,
    ) -> Self {
        let (parts, coming) = mpsc::channel(PARTS_MAX);
        spawn_local(receive(context, snapshots, incoming, coming));
        Self {
            from: incoming.from,
            position: incoming.position,
            parts,
        }
    }

    /// Takes the next part in.
    pub(super) fn take(&self, part: Snapshot) -> Result<(), Overrun> {
        match self.parts.try_send(part) {
            // Whoever has given up has said so.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Overrun),
        }
    }
}

/// What has come.
struct Begun {
    transfer: Transfer,
    file: IncomingSnapshot<FileDisk>,
}

async fn receive(
    context: Rc<Context>,
    snapshots: Snapshots<FileDisk>,
    incoming: Incoming,
    mut parts: mpsc::Receiver<Snapshot>,
) {
    let Incoming {
        from,
        term,
        position,
        ..
    } = incoming;
    let received = match take_all(&context, snapshots, incoming, &mut parts).await {
        Ok(Some(begun)) => restored(&context, incoming, begun).await,
        Ok(None) => return,
        Err(error) => Err(error),
    };
    if parts.is_closed() {
        return drop_aside(received);
    }
    let received = Event::SnapshotReceived(from, term, position, received);
    context.tell(received).await;
}

/// Puts all parts on the disk; `None` says that nobody wants them any more.
async fn take_all(
    context: &Context,
    snapshots: Snapshots<FileDisk>,
    incoming: Incoming,
    parts: &mut mpsc::Receiver<Snapshot>,
) -> Result<Option<Begun>, String> {
    let mut begun = aside(move || begin(&snapshots, incoming)).await?;
    while let Some(part) = parts.recv().await {
        let ended = matches!(part, Snapshot::End { .. });
        begun = aside(move || begun.take(&part)).await?;
        if ended {
            return Ok(Some(begun));
        }
        if !parts.is_closed() {
            let received = begun.transfer.received();
            tell_coming(context, incoming, received);
        }
    }
    drop_aside(begun);
    Ok(None)
}

fn begin(snapshots: &Snapshots<FileDisk>, incoming: Incoming) -> Result<Begun, String> {
    let Incoming {
        term,
        position,
        total_bytes,
        ..
    } = incoming;
    if total_bytes > SNAPSHOT_BYTES_MAX {
        return Err(format!(
            "it has {total_bytes} bytes, more than any state ({SNAPSHOT_BYTES_MAX})"
        ));
    }
    let file = snapshots.receive(position, total_bytes);
    Ok(Begun {
        transfer: Transfer::new(term, position, total_bytes),
        file: file.map_err(|error| error.to_string())?,
    })
}

impl Begun {
    /// Checks a part and writes it.
    fn take(mut self, part: &Snapshot) -> Result<Self, String> {
        match part {
            Snapshot::Chunk { offset, data } => {
                let checked = self.transfer.piece(*offset, data);
                checked.map_err(|error| error.to_string())?;
                let written = self.file.append(*offset, data);
                written.map_err(|error| error.to_string())?;
            }
            Snapshot::End { checksum } => {
                let checked = self.transfer.end(*checksum);
                checked.map_err(|error| error.to_string())?;
            }
            Snapshot::Begin { .. } | Snapshot::Ack { .. } => {}
        }
        Ok(self)
    }
}

/// Tells the leader that it may go on waiting: so many bytes came so far.
fn tell_coming(context: &Context, incoming: Incoming, received: u64) {
    let Incoming { from, position, .. } = incoming;
    acknowledge(context, from, position, received, Delivery::Coming);
}

/// Verifies and restores what came. It takes a while, of which the leader is told.
async fn restored(
    context: &Context,
    incoming: Incoming,
    begun: Begun,
) -> Result<Box<Received>, String> {
    let (done, mut waiting) = oneshot::channel();
    let received = begun.transfer.received();
    let work = move || drop(done.send(restore(begun.file)));
    if !in_a_thread("restore", work) {
        return Err("there is no thread to restore it".to_owned());
    }
    loop {
        if let Ok(restored) = timeout(STILL_COMING, &mut waiting).await {
            return restored.map_err(|_| "restoring it failed".to_owned())?;
        }
        tell_coming(context, incoming, received);
    }
}

fn restore(file: IncomingSnapshot<FileDisk>) -> Result<Box<Received>, String> {
    let snapshot = file.finish().map_err(|error| error.to_string())?;
    let view = View::read_from(&mut snapshot.snapshot().state());
    let view = view.map_err(|error| error.to_string())?;
    if view.position() != snapshot.snapshot().position() {
        return Err("its head names another entry than its state".to_owned());
    }
    Ok(Box::new(Received { snapshot, view }))
}
