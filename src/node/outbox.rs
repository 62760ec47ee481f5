//! What waits to be sent to one peer.
//!
//! Two lanes: beats, votes and answers never wait behind entries (anchored in the election
//! timeout: a leader that is busy feeding must still be heard). Everything in here may be dropped;
//! the engine sends again what matters. So the outbox is bounded, and empty while no link is up.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::BytesMut;
use tokio::sync::Notify;

use crate::consensus::{Incarnation, Message};
use crate::wire::{Packet, SendError};

/// Bytes of one write to the socket, roughly.
const WRITE_BYTES: usize = 256 << 10;
/// Bytes that wait at most in the lane of entries and snapshots; beyond it they are dropped.
const BULK_BYTES_MAX: usize = 32 << 20;
/// Bytes that wait at most in the lane of beats and answers.
const URGENT_BYTES_MAX: usize = 8 << 20;

/// The queue to one peer.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    lanes: RefCell<Lanes>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Lanes {
    /// The disk at the other end of the link, while one is up.
    up_to: Option<Incarnation>,
    urgent: BytesMut,
    /// Whole frames, in pieces of about the size of a write.
    bulk: VecDeque<BytesMut>,
    bulk_bytes: usize,
}

impl Outbox {
    /// Queues a packet, or drops it if no link to that disk is up or too much waits already; says
    /// which.
    pub(super) fn push(&self, to: Incarnation, packet: &Packet) -> Result<bool, SendError> {
        let lanes = &mut *self.lanes.borrow_mut();
        let is_urgent = is_urgent(packet);
        let has_room = if is_urgent {
            lanes.urgent.len() < URGENT_BYTES_MAX
        } else {
            lanes.bulk_bytes < BULK_BYTES_MAX
        };
        if lanes.up_to != Some(to) || !has_room {
            return Ok(false);
        }
        if is_urgent {
            packet.append(&mut lanes.urgent)?;
        } else {
            if lanes
                .bulk
                .back()
                .is_none_or(|piece| piece.len() >= WRITE_BYTES)
            {
                lanes.bulk.push_back(BytesMut::new());
            }
            if let Some(piece) = lanes.bulk.back_mut() {
                let before = piece.len();
                packet.append(piece)?;
                lanes.bulk_bytes += piece.len() - before;
            }
        }
        self.filled.notify_one();
        Ok(true)
    }

    /// A link came up, or went down: what waits was for the one before.
    pub(super) fn reset(&self, up_to: Option<Incarnation>) {
        *self.lanes.borrow_mut() = Lanes {
            up_to,
            ..Lanes::default()
        };
    }

    /// Waits for something to send.
    pub(super) async fn take(&self) -> BytesMut {
        loop {
            if let Some(bytes) = self.try_take() {
                return bytes;
            }
            self.filled.notified().await;
        }
    }

    /// Everything urgent and a piece of the rest, or `None` if nothing waits.
    fn try_take(&self) -> Option<BytesMut> {
        let lanes = &mut *self.lanes.borrow_mut();
        let mut bytes = lanes.urgent.split();
        if let Some(piece) = lanes.bulk.pop_front() {
            lanes.bulk_bytes -= piece.len();
            if bytes.is_empty() {
                return Some(piece);
            }
            bytes.unsplit(piece);
        }
        (!bytes.is_empty()).then_some(bytes)
    }
}

/// Whether a packet may overtake entries. A commit notice may not: it would arrive before what it
/// is about, and be of no use.
fn is_urgent(packet: &Packet) -> bool {
    match packet {
        Packet::Message(message) => !matches!(
            message,
            Message::Append(_) | Message::Supply(_) | Message::Forward(_) | Message::Commit { .. }
        ),
        Packet::Snapshot(_) => false,
    }
}
