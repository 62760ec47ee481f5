//! Snapshots on the move: written beside the running node, sent to a follower, received from the
//! leader.
//!
//! The node's thread does none of the reading, writing and checking: a heartbeat never waits for
//! the disk. What takes long (writing the state, verifying and restoring one that came) has threads
//! of its own; the pieces of one on its way pass through the runtime's pool.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::aside::in_a_thread;
use super::context::{Context, Event};
use super::snapshot_receiver::{Incoming, Receiver};
use super::snapshot_sender::{SendFailure, send};
use crate::consensus::{MemberId, NodeId, Placed, Position, Term};
use crate::state::View;
use crate::storage::{FileDisk, Snapshots};
use crate::wire::{Delivery, Packet, Snapshot};

/// How long to wait before the state is written again after that has failed.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long a follower is left alone that could not take a snapshot: its disk may be full.
const SEND_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// All snapshots of one node that are being written, sent or received.
pub(super) struct Transfers {
    context: Rc<Context>,
    snapshots: Snapshots<FileDisk>,
    sending: BTreeMap<MemberId, Sending>,
    receiving: Option<Receiver>,
    writing: bool,
    /// When the state may be written next.
    write_at: Instant,
}

/// A snapshot on its way to a follower.
struct Sending {
    /// What the follower last said about it; dropped, it fails.
    progress: watch::Sender<Option<Progress>>,
    task: AbortHandle,
}

/// What a follower says about the snapshot that it is being sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Progress {
    pub(super) position: Position,
    pub(super) received: u64,
    pub(super) delivery: Delivery,
}

impl Transfers {
    pub(super) fn new(context: Rc<Context>, snapshots: Snapshots<FileDisk>) -> Self {
        Self {
            context,
            snapshots,
            sending: BTreeMap::new(),
            receiving: None,
            writing: false,
            write_at: Instant::now(),
        }
    }

    /// Writes the state, and the configuration that is in force with it, beside the running node,
    /// unless that is being done or has just failed.
    pub(super) fn write(&mut self, view: &View, configuration: Placed) {
        if self.writing || Instant::now() < self.write_at {
            return;
        }
        let (snapshots, events) = (self.snapshots.clone(), self.context.events.clone());
        let (view, position) = (view.clone(), view.position());
        self.writing = in_a_thread("snapshot", move || {
            let written =
                write(&snapshots, &view, &configuration).map_err(|error| error.to_string());
            drop(events.blocking_send(Event::SnapshotWritten(position, written)));
        });
    }

    /// The writing ended.
    pub(super) fn written(&mut self, written: &Result<(), String>) {
        self.writing = false;
        if let Err(error) = written {
            warn!(error, "the state could not be written as a snapshot");
            self.write_at = Instant::now() + WRITE_AGAIN_AFTER;
        }
    }

    /// Sends the newest snapshot to a follower, in place of any that is under way: what becomes of
    /// that one, the engine does not wait for any more.
    pub(super) fn send(&mut self, to: MemberId, term: Term) {
        let (progress, watching) = watch::channel(None);
        let (context, snapshots) = (Rc::clone(&self.context), self.snapshots.clone());
        if let Some(replaced) = self.sending.remove(&to) {
            replaced.task.abort();
        }
        let task = spawn_local(async move {
            let mut link = watching.clone();
            let sent = send(&context, snapshots, to, term, watching).await;
            if let Err(error) = &sent {
                warn!(peer = to.id.0, %error, "a snapshot was not delivered");
            }
            if matches!(sent, Err(SendFailure::NotTaken)) {
                // Over its next link it may be another process, with room on its disk.
                let ended = async { while link.changed().await.is_ok() {} };
                drop(timeout(SEND_AGAIN_AFTER, ended).await);
            }
            context.tell(Event::SnapshotSent(to, sent.is_ok())).await;
        });
        let task = task.abort_handle();
        self.sending.insert(to, Sending { progress, task });
    }

    /// Takes in what a peer says about a snapshot.
    pub(super) fn take(&mut self, from: MemberId, packet: Snapshot) {
        match packet {
            Snapshot::Ack {
                position,
                received,
                delivery,
            } => {
                if let Some(sending) = self.sending.get(&from) {
                    sending.progress.send_replace(Some(Progress {
                        position,
                        received,
                        delivery,
                    }));
                }
            }
            Snapshot::Begin {
                term,
                position,
                total_bytes,
            } => {
                let incoming = Incoming {
                    from,
                    term,
                    position,
                    total_bytes,
                };
                let (context, snapshots) = (Rc::clone(&self.context), self.snapshots.clone());
                self.receiving = Some(Receiver::start(context, snapshots, incoming));
            }
            Snapshot::Chunk { .. } | Snapshot::End { .. } => {
                if let Some(receiver) = self.receiving.as_ref().filter(|it| it.from == from)
                    && let Err(overrun) = receiver.take(packet)
                {
                    let position = receiver.position;
                    self.receiving = None;
                    self.received(from, position, Err(&overrun.to_string()));
                }
            }
        }
    }

    /// The link to a peer came up: what it was told last may have been lost with the one before.
    pub(super) fn link_up(&self, peer: NodeId) {
        if let Some(sending) = self.context.peers.of(peer)
            && let Some((to, ack)) = &*sending.acknowledged.borrow()
        {
            push(&self.context, *to, ack);
        }
    }

    /// The link to a peer ended, and with it the snapshot that it was being sent.
    pub(super) fn link_ended(&mut self, peer: NodeId) {
        self.sending.retain(|to, _| to.id != peer);
    }

    /// Sends to nobody else any more.
    pub(super) fn keep_only(&mut self, named: &BTreeSet<NodeId>) {
        self.sending.retain(|to, _| named.contains(&to.id));
    }

    /// Tells the sender what became of its snapshot.
    pub(super) fn received(&self, from: MemberId, position: Position, outcome: Result<(), &str>) {
        let delivery = match outcome {
            Ok(()) => Delivery::Whole,
            Err(error) => {
                warn!(
                    peer = from.id.0,
                    error, "a snapshot from the leader is of no use"
                );
                Delivery::Failed
            }
        };
        acknowledge(&self.context, from, position, 0, delivery);
    }
}

/// Tells the leader how far its snapshot has come.
pub(super) fn acknowledge(
    context: &Context,
    to: MemberId,
    position: Position,
    received: u64,
    delivery: Delivery,
) {
    let ack = Packet::Snapshot(Snapshot::Ack {
        position,
        received,
        delivery,
    });
    push(context, to, &ack);
    if let Some(peer) = context.peers.of(to.id) {
        peer.acknowledged.replace(Some((to, ack)));
    }
}

/// Sends a packet, and says whether it is on its way.
pub(super) fn push(context: &Context, to: MemberId, packet: &Packet) -> bool {
    let Some(peer) = context.peers.of(to.id) else {
        return false;
    };
    peer.outbox
        .push(to.incarnation, packet)
        .unwrap_or_else(|error| {
            warn!(peer = to.id.0, %error, "a packet cannot be sent");
            false
        })
}

fn write(
    snapshots: &Snapshots<FileDisk>,
    view: &View,
    configuration: &Placed,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut writer = snapshots.write(view.position(), configuration)?;
    view.write_to(&mut writer)?;
    // One that a newer one has overtaken is no failure.
    let _published = writer.finish()?;
    Ok(())
}

#[cfg(test)]
#[path = "snapshots_test.rs"]
mod tests;
