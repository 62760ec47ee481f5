//! The leader's side of the log (Raft 5.3, 5.4.2): feed the followers, commit what a majority has
//! on disk, beat, and step down when no majority answers.
//!
//! What to send is derived once a turn from how far each follower is, never from the input that
//! came; so a lost message needs no special case. The leader's own disk counts towards the majority
//! like any other and is not required (Raft 10.2.1).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::lapses::Lapses;
use super::progress::{Feed, Pace, Progress};
use super::read::Reads;
use super::role::{Leader, RoleState};
use super::{
    Append, AppendOutcome, AppendReply, BeatReply, Event, Hello, Index, MemberId, Message, Mono,
    Node, NodeId, Output, Position, StepDown,
};

impl Leader {
    pub(super) fn new(
        tickets: u32,
        noop: Index,
        followers: BTreeMap<MemberId, Progress>,
        now: Mono,
    ) -> Self {
        Self {
            tickets,
            noop,
            followers,
            round: 0,
            beat_at: now,
            retry_at: now,
            rounds_sent: VecDeque::new(),
            reads: Reads::default(),
            transfer: None,
            spurned: None,
            change: None,
            pace: Pace::new(noop, now),
            lapses: Lapses::default(),
        }
    }

    /// When this leader must be looked at again.
    pub(super) fn deadline(&self) -> Mono {
        let transfer = self
            .transfer
            .as_ref()
            .map(super::transfer::Transfer::deadline);
        let own = self.beat_at.min(self.retry_at);
        transfer.map_or(own, |at| at.min(own))
    }

    fn sent_at(&self, round: u64) -> Option<Mono> {
        let (first, _) = self.rounds_sent.front()?;
        let offset = usize::try_from(round.checked_sub(*first)?).ok()?;
        self.rounds_sent.get(offset).map(|(_, at)| *at)
    }
}

impl Node {
    pub(super) fn append_replied(&mut self, from: MemberId, reply: &AppendReply) {
        if reply.term > self.term() {
            self.deposed_by_answer(reply.term);
            return;
        }
        let (now, last, log) = (self.now, self.log.last().index, &self.log);
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(progress) = leader.followers.get_mut(&from) else {
            return;
        };
        if reply.term < self.hard_state.term {
            return;
        }
        match reply.outcome {
            AppendOutcome::Matched(index) if index <= last => {
                progress.acknowledged(index, now);
                progress.count_round(self.commit, self.config.election_timeout, now);
            }
            AppendOutcome::Matched(_) => {}
            AppendOutcome::Conflict { rejected, hint } => {
                // Only an answer to what is still open counts (scenario 25).
                let stale = rejected <= progress.matched || rejected >= progress.next;
                if !stale && !matches!(progress.feed, Feed::Snapshot { .. }) {
                    let agrees = log.may_agree_at(hint).map_or(Index(0), |at| at.index);
                    progress.probe(agrees.next().min(rejected));
                }
            }
        }
    }

    pub(super) fn beat_replied(&mut self, from: MemberId, reply: &BeatReply) {
        if reply.term > self.term() {
            self.deposed_by_answer(reply.term);
            return;
        }
        let term = self.term();
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let sent_at = leader.sent_at(reply.round);
        let sent = reply.round <= leader.round;
        let Some(progress) = leader.followers.get_mut(&from) else {
            return;
        };
        if reply.term == term && sent && reply.round > progress.round {
            progress.round = reply.round;
            progress.heard = sent_at.unwrap_or(progress.heard).max(progress.heard);
            progress.can_stand = reply.can_stand;
            self.confirm_reads();
        }
    }

    /// A peer introduced itself to its leader: it is told at once who leads (S7), and fed from
    /// where its disk ends.
    pub(super) fn welcome(&mut self, peer: MemberId, hello: &Hello, restarted: bool) {
        let last = self.log.last().index;
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(progress) = leader.followers.get_mut(&peer) else {
            return;
        };
        // Both sides of a link that ended dial again; a snapshot on its way goes on.
        if restarted || !matches!(progress.feed, Feed::Snapshot { .. }) {
            progress.probe(hello.durable.index.min(last).next());
        }
        if let RoleState::Leader(leader) = &self.role {
            let beat = self.beat_message(leader);
            self.send(peer, beat);
        }
    }

    /// Commits what a majority has on disk. An entry of an earlier term commits only through one
    /// of this term (Raft 5.4.2, figure 8).
    pub(super) fn advance_commit(&mut self) {
        let RoleState::Leader(leader) = &self.role else {
            return;
        };
        let agreed = self.reached(leader, self.durability.durable(), |progress| {
            progress.matched
        });
        let (established, noop) = (self.commit >= leader.noop, leader.noop);
        if self.log.term_at(agreed) == Some(self.term()) {
            self.commit_to(agreed);
        }
        if !established && self.commit >= noop {
            self.event(Event::Established { term: self.term() });
        }
    }

    /// Feeds every follower, confirms reads and moves a hand-over on.
    pub(super) fn flush_leader(&mut self) {
        if self.leading().is_none() {
            return;
        }
        for peer in self.peers() {
            self.feed(peer);
        }
        self.flush_transfer();
        self.flush_reads();
    }

    fn feed(&mut self, to: MemberId) {
        while let Some(append) = self.next_append(to) {
            self.send(to, Message::Append(append));
        }
        let (commit, term) = (self.commit, self.term());
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(progress) = leader.followers.get_mut(&to) else {
            return;
        };
        if progress.feed == Feed::Replicate && progress.commit_told < commit {
            progress.commit_told = commit;
            self.send(to, Message::Commit { term, commit });
        }
    }

    /// The next append for a follower, if it may get one now.
    fn next_append(&mut self, to: MemberId) -> Option<Append> {
        let (now, term, commit, config, log) = (
            self.now,
            self.hard_state.term,
            self.commit,
            &self.config,
            &self.log,
        );
        let RoleState::Leader(leader) = &mut self.role else {
            return None;
        };
        let progress = leader.followers.get_mut(&to)?;
        let may_send = match progress.feed {
            Feed::Probe { asked } => !asked,
            Feed::Replicate => {
                progress.next <= log.last().index && progress.has_room(config.inflight_bytes_max)
            }
            Feed::Snapshot { .. } => false,
        };
        if !may_send {
            return None;
        }
        let prev_index = progress.next.previous();
        let Some(prev_term) = log.term_at(prev_index) else {
            // Only to a follower that is there: what lies silent is probed for nothing.
            if now.since(progress.heard) <= config.election_timeout {
                progress.feed = Feed::Snapshot {
                    base: log.base().index,
                };
                self.outbox.push(Output::SendSnapshot { to, term });
            }
            return None;
        };
        let bytes_max = match &mut progress.feed {
            Feed::Probe { asked } => {
                *asked = true;
                // One entry at most: it may go to nobody, again and again.
                1
            }
            Feed::Replicate | Feed::Snapshot { .. } => config.append_bytes_max,
        };
        let entries = log.from(progress.next, bytes_max);
        if let Some(last) = entries.last() {
            let bytes = entries.iter().map(super::Entry::size_bytes).sum();
            progress.sent(last.index, bytes, now);
        }
        progress.commit_told = commit;
        let prev = Position {
            term: prev_term,
            index: prev_index,
        };
        let append = Append {
            term,
            prev,
            entries,
            commit,
        };
        assert!(
            append.is_well_formed(),
            "the log is consecutive: {append:?}"
        );
        Some(append)
    }

    /// Starts a new round of beats; the answers confirm that this node still led when it began.
    pub(super) fn beat(&mut self) {
        let (now, heartbeat) = (self.now, self.config.heartbeat);
        let memory = self.config.election_timeout * 2;
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        leader.round += 1;
        leader.beat_at = now.after(heartbeat);
        leader.rounds_sent.push_back((leader.round, now));
        while leader
            .rounds_sent
            .pop_front_if(|(_, at)| now.since(*at) > memory)
            .is_some()
        {}
        if let RoleState::Leader(leader) = &self.role {
            let beat = self.beat_message(leader);
            for peer in self.peers() {
                self.send(peer, beat.clone());
            }
        }
    }

    /// What time demands of a leader: to beat, to send again what may be lost, to step down when a
    /// majority has not heard it for an election timeout (check-quorum, scenario 2).
    pub(super) fn watch_followers(&mut self) {
        let (now, timeout) = (self.now, self.config.election_timeout);
        let heartbeat = self.config.heartbeat;
        let Some(leader) = self.leading() else {
            return;
        };
        let heard = self.reached(leader, now, |progress| progress.heard);
        if now.since(heard) > timeout {
            self.leave_role(StepDown::NoQuorum);
            return;
        }
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        if now >= leader.retry_at {
            leader.retry_at = now.after(heartbeat);
            let last = self.log.last().index;
            leader.pace.count(self.commit, last, timeout, now);
            for progress in leader.followers.values_mut() {
                progress.retry(timeout, now);
                progress.count_round(self.commit, timeout, now);
            }
        }
        if now >= leader.beat_at {
            self.beat();
        }
        self.watch_transfer();
    }

    /// The largest value that is agreed on, of this leader's own and of one for each follower.
    pub(super) fn reached<T: Ord + Copy>(
        &self,
        leader: &Leader,
        own: T,
        of: impl Fn(&Progress) -> T,
    ) -> T {
        self.configuration().reached(self.alone(), |member| {
            if let Some(progress) = leader.followers.get(&member) {
                return of(progress);
            }
            assert!(member == self.member, "{member:?} is fed by its leader");
            own
        })
    }

    /// Whether this leader has heard that follower within one election timeout.
    pub(super) fn hears(&self, follower: &Progress) -> bool {
        follower.round > 0 && self.now.since(follower.heard) <= self.config.election_timeout
    }

    /// The ids that this leader hears, its own among them.
    pub(super) fn alive(&self, leader: &Leader) -> Vec<NodeId> {
        let followers = leader.followers.iter();
        let heard = followers.filter(|(_, progress)| self.hears(progress));
        let ids: BTreeSet<_> = heard
            .map(|(member, _)| member.id)
            .chain([self.member.id])
            .collect();
        ids.into_iter().collect()
    }

    /// What a peer has acknowledged as durable to this node as its leader, if anything.
    pub(super) fn acknowledged_by(&self, peer: MemberId) -> Option<Index> {
        let acked = self.leading()?.followers.get(&peer)?.matched;
        (acked > Index(0)).then_some(acked)
    }
}
