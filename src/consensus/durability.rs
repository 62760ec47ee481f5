//! What is on disk, what is on its way there, and what may not be said before it is.
//!
//! Writes form one ordered stream, numbered by [`IoSeq`]; storage reports how far it got with a
//! single number. Two rules live here and nowhere else:
//!
//! - *Durable before told* (Raft 5.2, 5.3): a message that rests on a term or a vote waits in
//!   here until that write is done.
//! - *An overwritten entry is not durable*: when the log is cut, a write that is still on its way
//!   can no longer vouch for the entries that it carried beyond the cut (scenario 19).

use std::collections::VecDeque;
use std::time::Duration;

use super::log::Log;
use super::{
    Epoch, HardState, Index, IoSeq, MemberId, Message, Mono, PeerRecord, Position, Record, Write,
};

/// The most messages that wait for a write; beyond it the oldest is dropped, as a network may.
const HELD_MAX: usize = 1024;

/// The node's view of its storage.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Durability {
    /// The number of the next write.
    next: IoSeq,
    /// All writes up to this one are on disk.
    done: IoSeq,
    /// Writes on their way, oldest first.
    pending: VecDeque<Pending>,
    /// The log is on disk up to here.
    durable: Index,
    /// Entries from here on have not been handed to storage.
    unwritten: Index,
    /// The write that carries the current term and vote.
    hard_state_in: IoSeq,
    hard_state_dirty: bool,
    dirty_base: Option<Position>,
    dirty_peers: Vec<PeerRecord>,
    /// Messages, each with the write that it waits for.
    held: VecDeque<(IoSeq, MemberId, Message)>,
    /// Storage said that there is no room.
    full: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Pending {
    seq: IoSeq,
    /// The last index that this write makes durable.
    covers: Index,
    since: Mono,
}

impl Durability {
    /// Everything up to `last` came from disk.
    pub(super) fn new(last: Index) -> Self {
        Self {
            next: IoSeq(1),
            done: IoSeq(0),
            pending: VecDeque::new(),
            durable: last,
            unwritten: last.next(),
            hard_state_in: IoSeq(0),
            hard_state_dirty: false,
            dirty_base: None,
            dirty_peers: Vec::new(),
            held: VecDeque::new(),
            full: false,
        }
    }

    /// What a node knows of terms when it starts: all that its disk does, and that no member of its
    /// epoch is in a term of an earlier one (R14).
    pub(super) fn begin(&mut self, durable: HardState, epoch: Epoch) -> HardState {
        assert!(
            durable.term.epoch() <= epoch,
            "no term is of an epoch that its cluster is not of (R14)"
        );
        if durable.term >= epoch.floor() {
            return durable;
        }
        self.hard_state_changed();
        HardState {
            term: epoch.floor(),
            vote: None,
        }
    }

    /// The log is on disk up to here.
    pub(super) fn durable(&self) -> Index {
        self.durable
    }

    /// The term or vote changed; the next write carries it.
    pub(super) fn hard_state_changed(&mut self) {
        self.hard_state_dirty = true;
    }

    /// A peer must be remembered; the next write carries it.
    pub(super) fn peer_changed(&mut self, record: PeerRecord) {
        self.dirty_peers.push(record);
    }

    /// The log was cut: the entry at `from` and all behind it are void.
    pub(super) fn truncated(&mut self, from: Index) {
        self.unwritten = self.unwritten.min(from);
        self.void(from);
    }

    fn void(&mut self, from: Index) {
        self.durable = self.durable.min(from.previous());
        for pending in &mut self.pending {
            pending.covers = pending.covers.min(from.previous());
        }
    }

    /// The log now begins behind an own snapshot; the next write says so.
    pub(super) fn compacted(&mut self, base: Position) {
        self.dirty_base = Some(base);
    }

    /// Takes a place in the stream for the installation of a snapshot at `base`. All earlier
    /// changes must have been taken out by [`Self::write`]. Without `keep_log` everything in the
    /// old log beyond `agreed` is void: it says nothing about the new one.
    pub(super) fn install(
        &mut self,
        base: Position,
        keep_log: bool,
        agreed: Index,
        now: Mono,
    ) -> IoSeq {
        assert!(
            !self.hard_state_dirty,
            "changes before a snapshot are written before it"
        );
        if !keep_log {
            self.void(agreed.next());
            self.unwritten = base.index.next();
        }
        self.dirty_base = None;
        self.push(base.index, now)
    }

    fn push(&mut self, covers: Index, now: Mono) -> IoSeq {
        let seq = self.next;
        self.next = seq.next();
        self.pending.push_back(Pending {
            seq,
            covers,
            since: now,
        });
        seq
    }

    /// Everything that changed since the last call, as one write.
    pub(super) fn write(&mut self, hard_state: HardState, log: &Log, now: Mono) -> Option<Write> {
        let mut records = Vec::new();
        // The term precedes its entries, so that an entry on disk implies its term (scenario 17).
        if self.hard_state_dirty {
            self.hard_state_dirty = false;
            self.hard_state_in = self.next;
            records.push(Record::HardState(hard_state));
        }
        records.extend(self.dirty_peers.drain(..).map(Record::Peer));
        let last = log.last().index;
        if self.unwritten <= last {
            records.extend(
                log.range(self.unwritten, last)
                    .into_iter()
                    .map(Record::Entry),
            );
            self.unwritten = last.next();
        }
        if let Some(position) = self.dirty_base.take() {
            records.push(Record::Base {
                position,
                keep_log: true,
            });
        }
        if records.is_empty() {
            return None;
        }
        Some(Write {
            seq: self.push(last, now),
            records,
        })
    }

    /// Storage is done up to `upto`. Gives the messages that may now be sent.
    pub(super) fn completed(&mut self, upto: IoSeq) -> Vec<(MemberId, Message)> {
        assert!(
            upto < self.next,
            "storage completed {upto:?}, which was never asked for"
        );
        self.done = self.done.max(upto);
        while let Some(pending) = self.pending.front().filter(|pending| pending.seq <= upto) {
            self.durable = self.durable.max(pending.covers);
            self.pending.pop_front();
        }
        let ready = self
            .held
            .iter()
            .take_while(|(after, ..)| *after <= self.done)
            .count();
        self.held
            .drain(..ready)
            .map(|(_, to, message)| (to, message))
            .collect()
    }

    /// Holds back a message that rests on the current term or vote until they are durable, or
    /// gives it back if they are.
    pub(super) fn hold(&mut self, to: MemberId, message: Message) -> Option<Message> {
        let Some(after) = self.hard_state_write() else {
            return Some(message);
        };
        if self.held.len() == HELD_MAX {
            self.held.pop_front();
        }
        self.held.push_back((after, to, message));
        None
    }

    /// The write that the current term and vote wait for; `None` when they are durable.
    fn hard_state_write(&self) -> Option<IoSeq> {
        let seq = if self.hard_state_dirty {
            self.next
        } else {
            self.hard_state_in
        };
        (seq > self.done).then_some(seq)
    }

    /// Whether the current term and vote are on disk.
    pub(super) fn hard_state_durable(&self) -> bool {
        self.hard_state_write().is_none()
    }

    /// Storage has, or has no longer, room.
    pub(super) fn full(&mut self, full: bool) {
        self.full = full;
    }

    /// Whether the disk is full, or its oldest write takes longer than `limit` (scenario 52).
    pub(super) fn stalled(&self, now: Mono, limit: Duration) -> bool {
        self.full || self.stalls_at(limit).is_some_and(|at| now >= at)
    }

    /// When the disk will count as stalled if nothing completes.
    pub(super) fn stalls_at(&self, limit: Duration) -> Option<Mono> {
        self.pending
            .front()
            .map(|pending| pending.since.after(limit))
    }
}
