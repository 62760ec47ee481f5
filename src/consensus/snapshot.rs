//! Snapshots: the log gives way to one of its own, or is replaced by one from the leader (Raft 7).
//!
//! The driver moves the bytes. The core decides when a follower needs a snapshot, whether one that
//! came still helps, and what it makes of the log.

use super::claim::Claim;
use super::progress::Feed;
use super::role::RoleState;
use super::{MemberId, Node, Output, Placed, Position, Term};

impl Node {
    pub(super) fn snapshot_taken(&mut self, position: Position) {
        assert!(
            position.index <= self.commit,
            "{position:?} was applied before its snapshot"
        );
        // One that a newer snapshot from the leader has overtaken is of no use.
        if position > self.log.base() {
            self.log.compact(position);
            self.configurations.compacted(position);
            self.durability.compacted(position);
        }
    }

    pub(super) fn snapshot_received(
        &mut self,
        from: MemberId,
        term: Term,
        position: Position,
        configuration: Placed,
    ) {
        if term < self.term()
            || !self.is_of_this_epoch(term)
            || position.term > term
            || position.index <= self.commit
        {
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
        // Up to here the old log is the leader's too, and what is on disk of it may be relied on.
        let agreed = match &self.role {
            RoleState::Follower(follower) => follower.matched.max(self.commit),
            RoleState::Candidate(_) | RoleState::Leader(_) => self.commit,
        };
        let seq = self
            .durability
            .install(position, keep_log, agreed, self.now);
        self.log.rebase(position, keep_log);
        self.configurations
            .rebased(position, configuration, keep_log);
        self.meet_the_named();
        self.part_from_the_removed();
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

    pub(super) fn snapshot_sent(&mut self, to: MemberId, delivered: bool) {
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(progress) = leader.followers.get_mut(&to) else {
            return;
        };
        let Feed::Snapshot { base } = progress.feed else {
            return;
        };
        if delivered {
            progress.probe(base.next());
        } else {
            // The next retry asks again, not this very turn.
            progress.probe(progress.matched.next());
            progress.feed = Feed::Probe { asked: true };
        }
    }
}
