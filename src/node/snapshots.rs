//! Snapshots on the move: written beside the running node, sent to a follower, received from the
//! leader.
//!
//! The bytes never hold up the node's thread for longer than one chunk. What takes long (writing
//! the state, verifying and restoring one that came) happens on threads of its own.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::{info, warn};

use super::context::{Context, Event, Received};
use crate::consensus::{NodeId, Position, Term};
use crate::state::View;
use crate::storage::{FileDisk, IncomingSnapshot, Snapshots};
use crate::wire::limits::CHUNK_BYTES_MAX;
use crate::wire::{Delivery, Packet, Snapshot};

/// Bytes under way to a follower at most.
const WINDOW_BYTES: u64 = 4 * CHUNK_BYTES_MAX as u64;
/// How long a follower may be silent while it gets a snapshot: it has to verify and restore it.
const PATIENCE: Duration = Duration::from_secs(30);

/// All snapshots of one node that are being written, sent or received.
pub(super) struct Transfers {
    context: Rc<Context>,
    snapshots: Snapshots<FileDisk>,
    /// Where each follower that is being sent one got to.
    sending: BTreeMap<NodeId, watch::Sender<(u64, Delivery)>>,
    receiving: Option<Receiving>,
    writing: bool,
}

/// A snapshot on its way from the leader.
struct Receiving {
    from: NodeId,
    term: Term,
    position: Position,
    incoming: IncomingSnapshot<FileDisk>,
}

impl Transfers {
    pub(super) fn new(context: Rc<Context>, snapshots: Snapshots<FileDisk>) -> Self {
        Self {
            context,
            snapshots,
            sending: BTreeMap::new(),
            receiving: None,
            writing: false,
        }
    }

    /// Writes the state beside the running node, unless that is being done.
    pub(super) fn write(&mut self, view: View) {
        if std::mem::replace(&mut self.writing, true) {
            return;
        }
        let (snapshots, events) = (self.snapshots.clone(), self.context.events.clone());
        let position = view.position();
        in_a_thread("snapshot", move || {
            let written = write(&snapshots, &view).map_err(|error| error.clone());
            drop(events.blocking_send(Event::SnapshotWritten(position, written)));
        });
    }

    /// The writing ended.
    pub(super) fn written(&mut self) {
        self.writing = false;
    }

    /// Sends the newest snapshot to a follower.
    pub(super) fn send(&mut self, to: NodeId, term: Term) {
        let (progress, watching) = watch::channel((0, Delivery::Coming));
        self.sending.insert(to, progress);
        let (context, snapshots) = (Rc::clone(&self.context), self.snapshots.clone());
        spawn_local(async move {
            let sent = send(&context, &snapshots, to, term, watching).await;
            if let Err(error) = &sent {
                warn!(peer = to.0, error, "a snapshot was not delivered");
            }
            context.tell(Event::SnapshotSent(to, sent.is_ok())).await;
        });
    }

    /// Takes in what a peer says about a snapshot.
    pub(super) fn take(&mut self, from: NodeId, packet: Snapshot) {
        match packet {
            Snapshot::Ack {
                received, delivery, ..
            } => {
                if let Some(progress) = self.sending.get(&from) {
                    progress.send_replace((received, delivery));
                }
            }
            Snapshot::Begin {
                term,
                position,
                total_bytes,
            } => match self.snapshots.receive(position, total_bytes) {
                Ok(incoming) => {
                    self.receiving = Some(Receiving {
                        from,
                        term,
                        position,
                        incoming,
                    });
                }
                Err(error) => self.fail(from, position, &error.to_string()),
            },
            Snapshot::Chunk { offset, data } => self.add(from, offset, &data),
            Snapshot::End { .. } => self.finish(from),
        }
    }

    fn add(&mut self, from: NodeId, offset: u64, data: &Bytes) {
        let Some(receiving) = self.receiving.as_mut().filter(|it| it.from == from) else {
            return;
        };
        let position = receiving.position;
        match receiving.incoming.append(offset, data) {
            Ok(()) => {
                let received = receiving.incoming.received();
                self.acknowledge(from, position, received, Delivery::Coming);
            }
            Err(error) => {
                self.receiving = None;
                self.fail(from, position, &error.to_string());
            }
        }
    }

    /// Verifies and restores what came, beside the live state.
    fn finish(&mut self, from: NodeId) {
        let Some(receiving) = self.receiving.take_if(|it| it.from == from) else {
            return;
        };
        let Receiving {
            term,
            position,
            incoming,
            ..
        } = receiving;
        let events = self.context.events.clone();
        in_a_thread("restore", move || {
            let restored = restore(incoming).map(Box::new);
            drop(events.blocking_send(Event::SnapshotReceived(from, term, position, restored)));
        });
    }

    /// Tells the sender what became of its snapshot.
    pub(super) fn received(&self, from: NodeId, position: Position, outcome: Result<(), &str>) {
        match outcome {
            Ok(()) => self.acknowledge(from, position, 0, Delivery::Whole),
            Err(error) => self.fail(from, position, error),
        }
    }

    fn fail(&self, from: NodeId, position: Position, error: &str) {
        warn!(
            peer = from.0,
            error, "a snapshot from the leader is of no use"
        );
        self.acknowledge(from, position, 0, Delivery::Failed);
    }

    fn acknowledge(&self, to: NodeId, position: Position, received: u64, delivery: Delivery) {
        let ack = Packet::Snapshot(Snapshot::Ack {
            position,
            received,
            delivery,
        });
        push(&self.context, to, &ack);
    }
}

fn push(context: &Context, to: NodeId, packet: &Packet) {
    if let Some(peer) = context.peers.get(&to)
        && let Err(error) = peer.outbox.push(packet)
    {
        warn!(peer = to.0, %error, "a packet cannot be sent");
    }
}

fn in_a_thread(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
    {
        warn!(%error, name, "no thread for this");
    }
}

fn write(snapshots: &Snapshots<FileDisk>, view: &View) -> Result<(), String> {
    let written = || -> Result<bool, Box<dyn std::error::Error>> {
        let mut writer = snapshots.write(view.position())?;
        view.write_to(&mut writer)?;
        Ok(writer.finish()?)
    };
    match written() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn restore(incoming: IncomingSnapshot<FileDisk>) -> Result<Received, String> {
    let snapshot = incoming.finish().map_err(|error| error.to_string())?;
    let view = View::read_from(&mut snapshot.snapshot().state());
    let view = view.map_err(|error| error.to_string())?;
    Ok(Received { snapshot, view })
}

/// Sends the newest snapshot, with a bounded part of it under way.
async fn send(
    context: &Context,
    snapshots: &Snapshots<FileDisk>,
    to: NodeId,
    term: Term,
    mut progress: watch::Receiver<(u64, Delivery)>,
) -> Result<(), String> {
    let newest = snapshots.newest().map_err(|error| error.to_string())?;
    let snapshot = newest.ok_or("there is none")?;
    let (position, total_bytes) = (snapshot.position(), snapshot.bytes());
    info!(peer = to.0, ?position, total_bytes, "sending a snapshot");
    push(
        context,
        to,
        &Packet::Snapshot(Snapshot::Begin {
            term,
            position,
            total_bytes,
        }),
    );
    let (mut offset, mut checksum) = (0, 0);
    while offset < total_bytes {
        let length = (total_bytes - offset).min(CHUNK_BYTES_MAX as u64);
        let mut chunk = vec![0; usize::try_from(length).unwrap_or(CHUNK_BYTES_MAX)];
        snapshot
            .read_at(&mut chunk, offset)
            .map_err(|error| error.to_string())?;
        checksum = crc32c::crc32c_append(checksum, &chunk);
        let data = Bytes::from(chunk);
        push(
            context,
            to,
            &Packet::Snapshot(Snapshot::Chunk { offset, data }),
        );
        offset += length;
        wait_for(&mut progress, |received| received + WINDOW_BYTES > offset).await?;
    }
    push(context, to, &Packet::Snapshot(Snapshot::End { checksum }));
    wait_for(&mut progress, |_| false).await
}

/// Waits until enough was received, or all of it is verified.
async fn wait_for(
    progress: &mut watch::Receiver<(u64, Delivery)>,
    enough: impl Fn(u64) -> bool,
) -> Result<(), String> {
    let done = progress.wait_for(|(received, delivery)| match delivery {
        Delivery::Coming => enough(*received),
        Delivery::Whole | Delivery::Failed => true,
    });
    let last = timeout(PATIENCE, done)
        .await
        .map_err(|_| "the follower is silent")?;
    match last.map_err(|_| "another one is being sent")?.1 {
        Delivery::Failed => Err("the follower does not take it".to_owned()),
        Delivery::Coming | Delivery::Whole => Ok(()),
    }
}
