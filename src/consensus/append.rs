//! The follower's side of the log (Raft 5.3): take what the leader sends, cut what disagrees,
//! acknowledge what is on disk.
//!
//! An acknowledgement names an index that is both the leader's and durable, at the moment it is
//! sent. No append, empty or repeated, is ever acknowledged beyond that (scenario 18).

use super::claim::Claim;
use super::role::{Follower, RoleState};
use super::{
    Append, AppendOutcome, AppendReply, Beat, BeatReply, Event, Index, MemberId, Message, Node,
    Position, StepDown, Term,
};

impl Node {
    pub(super) fn appended(&mut self, from: MemberId, append: Append) {
        if append.term < self.term() || !append.is_well_formed() {
            return;
        }
        self.follow(Claim {
            term: append.term,
            tickets: 0,
            leader: from,
        });
        let Append {
            prev,
            entries,
            commit,
            ..
        } = append;
        let sent = entries.len() as u64;
        let end = Index(prev.index.0 + sent);
        if end <= self.commit {
            self.matched_to(self.commit, commit, true);
            return;
        }
        // What is agreed is the same everywhere (Raft 5.4), even where this log forgot it under a
        // snapshot; only what lies beyond is compared (scenario 26).
        let known = self.commit.0.saturating_sub(prev.index.0).min(sent);
        let (agreed, news) = entries.split_at(usize::try_from(known).unwrap_or(usize::MAX));
        for entry in agreed {
            let held = self.log.term_at(entry.index);
            assert!(
                held.is_none_or(|term| term == entry.term),
                "log matching at {entry:?}"
            );
        }
        let held = self.log.term_at(prev.index);
        if prev.index <= self.commit && held.is_some_and(|term| term != prev.term) {
            // No leader's log can disagree there; whoever sent this is not one.
            return;
        }
        let prev = agreed.last().map_or(prev, super::Entry::position);
        if prev.index > self.commit && !self.log.holds(prev) {
            self.refuse_append(from, prev);
            return;
        }
        let unheld = news
            .iter()
            .position(|entry| !self.log.holds(entry.position()));
        let Some(unheld) = unheld else {
            self.matched_to(end, commit, true);
            return;
        };
        if self.disk_is_behind() {
            // The leader sends it again.
            return;
        }
        self.extend_log(&news[unheld..]);
        self.matched_to(end, commit, false);
    }

    /// Whether more waits for the disk than may.
    pub(super) fn disk_is_behind(&self) -> bool {
        self.log.bytes_behind(self.durability.durable()) > self.config.pending_bytes_max
    }

    /// Appends what the log does not hold, after cutting what it holds instead.
    pub(super) fn extend_log(&mut self, entries: &[super::Entry]) {
        let Some(first) = entries.first() else { return };
        if first.index <= self.log.last().index {
            assert!(
                first.index > self.commit,
                "an agreed entry is never cut: {:?}",
                first.index
            );
            self.event(Event::Truncated { from: first.index });
            self.log.truncate(first.index);
            self.durability.truncated(first.index);
            self.configurations.truncated(first.index);
        }
        for entry in entries {
            self.configurations.appended(entry);
            self.log.append(entry.clone());
        }
        self.meet_the_named();
    }

    /// The log is the leader's up to `end`; what the leader agreed on up to there is agreed.
    fn matched_to(&mut self, end: Index, leader_commit: Index, owes_reply: bool) {
        let RoleState::Follower(follower) = &mut self.role else {
            return;
        };
        follower.matched = follower.matched.max(end);
        follower.owes_reply |= owes_reply;
        self.learn_commit(leader_commit);
    }

    fn learn_commit(&mut self, leader_commit: Index) {
        let RoleState::Follower(follower) = &mut self.role else {
            return;
        };
        follower.leader_commit.get_or_insert(leader_commit);
        let commit = leader_commit.min(follower.matched);
        self.commit_to(commit);
    }

    /// The last place where this log may agree with one that holds `prev`: nothing up to the commit
    /// index can disagree.
    pub(super) fn may_agree_at(&self, prev: Position) -> Position {
        let agreed_term = self.log.term_at(self.commit).unwrap_or_default();
        let agreed = Position {
            term: agreed_term,
            index: self.commit,
        };
        let hint = self.log.may_agree_at(prev);
        hint.filter(|hint| hint.index > agreed.index)
            .unwrap_or(agreed)
    }

    fn refuse_append(&mut self, to: MemberId, prev: Position) {
        let outcome = AppendOutcome::Conflict {
            rejected: prev.index,
            hint: self.may_agree_at(prev),
        };
        self.reply(
            to,
            Message::AppendReply(AppendReply {
                term: self.term(),
                outcome,
            }),
        );
    }

    /// Follows whoever leads this term or a later one (S3, S5), and restarts the wait for it.
    pub(super) fn follow(&mut self, claim: Claim) {
        if claim.term > self.term() {
            self.adopt_term(claim.term);
        }
        let now = self.now;
        if let RoleState::Follower(follower) = &mut self.role {
            if let Some(followed) = follower.claim(claim.term) {
                let tickets = claim.tickets.max(follower.tickets);
                Claim { tickets, ..claim }.assert_replaces(&followed);
            }
            follower.leader = Some(claim.leader);
            follower.contact = now;
            follower.probed = false;
            if follower.evidence.is_some() {
                // It was accused and still speaks, or these are its last words: ask again (S8).
                self.outbox.push(super::Output::Probe(claim.leader.id));
            }
        } else {
            assert!(
                self.leading().is_none(),
                "election safety: {claim:?} beside this leader"
            );
            self.leave_role(StepDown::HigherTerm);
            self.role = RoleState::Follower(self.fresh_follower(Some(claim.leader)));
        }
        self.preference = super::election::Preference::default();
        self.failed_attempts = 0;
    }

    pub(super) fn beaten(&mut self, from: MemberId, beat: Beat) {
        if beat.term >= self.term() {
            self.follow(Claim {
                term: beat.term,
                tickets: beat.tickets,
                leader: from,
            });
            if let RoleState::Follower(follower) = &mut self.role {
                follower.tickets = beat.tickets;
                follower.alive = beat.alive;
            }
            self.learn_commit(beat.commit);
        }
        // A leader of an earlier term learns of this one from the answer (S5).
        let reply = BeatReply {
            term: self.term(),
            round: beat.round,
            can_stand: self.can_stand(),
        };
        self.reply(from, Message::BeatReply(reply));
    }

    pub(super) fn commit_told(&mut self, from: MemberId, term: Term, commit: Index) {
        if term >= self.term() {
            self.follow(Claim {
                term,
                tickets: 0,
                leader: from,
            });
            self.learn_commit(commit);
        }
    }

    /// Acknowledges what has become durable, and passes on what clients asked (S12).
    pub(super) fn flush_follower(&mut self) {
        let durable = self.durability.durable();
        let RoleState::Follower(Follower {
            leader: Some(leader),
            matched,
            acknowledged,
            owes_reply,
            ..
        }) = &mut self.role
        else {
            self.refuse_queued();
            return;
        };
        let (leader, index) = (*leader, durable.min(*matched));
        if index > *acknowledged || *owes_reply {
            *acknowledged = index;
            *owes_reply = false;
            let outcome = AppendOutcome::Matched(index);
            self.reply(
                leader,
                Message::AppendReply(AppendReply {
                    term: self.term(),
                    outcome,
                }),
            );
        }
        self.forward_queued(leader);
    }
}
