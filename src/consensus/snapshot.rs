//! Snapshots: the log gives way to one of its own, or is replaced by one from the leader (Raft 7).
//!
//! The driver moves the bytes. The core decides when a follower needs a snapshot, whether one that
//! came still helps, and what it makes of the log.

use super::claim::Claim;
use super::progress::Feed;
use super::role::RoleState;
use super::{Node, NodeId, Output, Position, Term};

impl Node {
    pub(super) fn snapshot_taken(&mut self, position: Position) {
        assert!(
            position.index <= self.commit,
            "{position:?} was applied before its snapshot"
        );
        // One that a newer snapshot from the leader has overtaken is of no use.
        if position > self.log.base() {
            self.log.compact(position, self.config.retained_bytes);
            self.durability.compacted(position);
        }
    }

    pub(super) fn snapshot_received(&mut self, from: NodeId, term: Term, position: Position) {
        if term < self.term() || position.index <= self.commit {
            return;
        }
        self.follow(Claim {
            term,
            tickets: 0,
            leader: from,
        });
        // Earlier changes keep their place in the stream, before the snapshot.
        self.flush_write();
        let keep_log = self.log.holds(position);
        let seq = self
            .durability
            .install(position, keep_log, self.commit, self.now);
        self.log.rebase(position, keep_log);
        self.commit = position.index;
        if let RoleState::Follower(follower) = &mut self.role {
            follower.matched = follower.matched.max(position.index);
        }
        self.outbox.push(Output::InstallSnapshot {
            seq,
            position,
            keep_log,
        });
    }

    pub(super) fn snapshot_sent(&mut self, to: NodeId, delivered: bool) {
        let base = self.log.base();
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(progress) = leader.followers.get_mut(&to) else {
            return;
        };
        if progress.feed != Feed::Snapshot {
            return;
        }
        let next = if delivered {
            base.index.next()
        } else {
            progress.matched.next()
        };
        progress.probe(next);
        if !delivered {
            // The next beat tries again, not this very turn.
            progress.feed = Feed::Probe { asked: true };
        }
    }
}
