//! Changing who belongs to the cluster (Raft 6, S7).
//!
//! ```text
//!   settled --- voters change ---> joint --- agreed on ---> final --- agreed on ---> settled
//!      +------- a learner comes or goes ----------------------^
//! ```
//!
//! Only a leader whose own no-op is agreed on changes anything (scenario 35), one change at a time.
//! Whoever leads a log that ends in a joint configuration finishes it, so a leader that dies half
//! way leaves nothing undone. A leader that is to go hands over first, and the next one finishes.

use std::collections::BTreeSet;

use super::progress::Progress;
use super::role::{Leader, RoleState};
use super::{
    Boot, Configuration, Entry, MemberId, NODE_ID_MAX, Node, NodeId, Output, Payload, PeerRecord,
    Position, Ticket,
};

/// What is to change.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// Feeds a new member, which counts in nothing yet.
    Learn(MemberId),
    /// Lets learners vote and members go, in one step.
    Vote {
        /// Learners that are to vote. They have caught up.
        promoted: BTreeSet<MemberId>,
        /// Members that are to belong to the cluster no longer.
        removed: BTreeSet<MemberId>,
    },
}

/// Why nothing changes. Asking again is safe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum ChangeRefusal {
    /// Only the leader changes anything.
    #[error("this node does not lead; ask the leader")]
    NotLeader,
    /// The leader does not know yet what is agreed, or is handing over.
    #[error("the leader has just been elected or is about to go; ask again in a moment")]
    Unsettled,
    /// One change at a time.
    #[error("another change is under way; ask again once it is done")]
    UnderWay,
    /// It is there already.
    #[error("node {} belongs to the cluster already", .0.id)]
    Named(MemberId),
    /// Its id runs on another disk: somebody has started the same id twice (R13).
    #[error(
        "node {} is there already, on another disk; give each node an id of its own, or end that \
         one first", .0.id
    )]
    Taken(MemberId),
    /// No node can have this id.
    #[error("{0} is no id of a node; ids are 1 to {max}", max = NODE_ID_MAX)]
    NoId(NodeId),
    /// It is not there, or is no learner.
    #[error("node {} is not a member that this could be done to", .0.id)]
    NotNamed(MemberId),
    /// A member that will be needed is not heard, or lacks what is agreed (R5, scenario 41).
    #[error("node {} would be needed, but is not there or has not caught up", .0.id)]
    Behind(MemberId),
    /// Nobody, or two who can do nothing once one of them is lost, would be left of more.
    #[error("{0} voters would be left; a cluster has one at least, and two only with a witness")]
    TooFew(usize),
    /// More than a cluster may have.
    #[error("the cluster would have {0} members, at most {max} are allowed", max = MEMBERS_MAX)]
    TooMany(usize),
}

/// The most members of a cluster, learners and those who go among them.
pub const MEMBERS_MAX: usize = 64;

/// How many removed members are remembered; beyond it, whose removal is longest ago is forgotten,
/// and an old copy of that one's disk may join as though it were the newest.
pub const REMOVED_MAX: usize = 64;

impl Node {
    /// Begins a change, if one may begin now.
    pub(super) fn change(&mut self, ticket: Ticket, change: &Change) {
        match self.judge_change(change) {
            Ok(next) => {
                self.appoint(next);
                if let RoleState::Leader(leader) = &mut self.role {
                    leader.change = Some(ticket);
                }
            }
            Err(refusal) => {
                let outcome = Err(refusal);
                self.outbox.push(Output::ChangeEnded { ticket, outcome });
            }
        }
    }

    /// The newest configuration, once it and this leader's own entry are agreed on (scenario 35).
    fn agreed_configuration(&self, leader: &Leader) -> Result<&Configuration, ChangeRefusal> {
        let (since, present) = self.configurations.newest();
        if self.commit < leader.noop {
            Err(ChangeRefusal::Unsettled)
        } else if self.commit < since.index {
            Err(ChangeRefusal::UnderWay)
        } else {
            Ok(present)
        }
    }

    /// The present configuration, if a change of it may begin now.
    pub(super) fn changeable(&self, leader: &Leader) -> Result<&Configuration, ChangeRefusal> {
        let present = self.agreed_configuration(leader)?;
        if leader.transfer.is_some() {
            Err(ChangeRefusal::Unsettled)
        } else if present.is_joint() {
            Err(ChangeRefusal::UnderWay)
        } else {
            Ok(present)
        }
    }

    /// The configuration that the change begins with.
    pub(super) fn judge_change(&self, change: &Change) -> Result<Configuration, ChangeRefusal> {
        let leader = self.leading().ok_or(ChangeRefusal::NotLeader)?;
        let present = self.changeable(leader)?;
        let next = match change {
            Change::Learn(MemberId { id, .. }) if !(1..=NODE_ID_MAX).contains(&id.0) => {
                return Err(ChangeRefusal::NoId(*id));
            }
            Change::Learn(member) if present.names(*member) => {
                return Err(ChangeRefusal::Named(*member));
            }
            Change::Learn(member) => {
                self.judge_disk(leader, present, *member)?;
                present.with_learner(*member, self.next_position())
            }
            Change::Vote { promoted, removed } => {
                let mut named = promoted.iter().chain(removed);
                if let Some(member) = named.find(|member| !present.names(**member)) {
                    return Err(ChangeRefusal::NotNamed(*member));
                }
                if let Some(member) = promoted.iter().find(|it| removed.contains(it)) {
                    return Err(ChangeRefusal::NotNamed(*member));
                }
                self.judge_voters(leader, present, promoted, removed)?;
                present.with_voters(promoted, removed)
            }
        };
        let size = next.seats().len();
        if size > MEMBERS_MAX {
            return Err(ChangeRefusal::TooMany(size));
        }
        Ok(next)
    }

    /// Two disks of one id are never there at once (R13).
    fn judge_disk(
        &self,
        leader: &Leader,
        present: &Configuration,
        member: MemberId,
    ) -> Result<(), ChangeRefusal> {
        let is_there = |other: MemberId| {
            let follower = leader.followers.get(&other);
            follower.is_none_or(|follower| !self.is_silent(other, follower))
        };
        let mut others = present.members().filter(|other| other.id == member.id);
        match others.find(|other| is_there(*other)) {
            Some(other) => Err(ChangeRefusal::Taken(other)),
            None => Ok(()),
        }
    }

    /// Whether the cluster can do with the voters that are left.
    fn judge_voters(
        &self,
        leader: &Leader,
        present: &Configuration,
        promoted: &BTreeSet<MemberId>,
        removed: &BTreeSet<MemberId>,
    ) -> Result<(), ChangeRefusal> {
        let before: BTreeSet<_> = present.voters().collect();
        let stays = |member: &MemberId| !removed.contains(member);
        let after: BTreeSet<_> = before.union(promoted).copied().filter(stays).collect();
        if after == before {
            return Ok(());
        }
        // Two cannot lose one of them without a witness, so else two are only grown to (R17).
        let shrinks = after.len() < before.len();
        if after.is_empty() || (after.len() == 2 && shrinks && !self.config.witness) {
            return Err(ChangeRefusal::TooFew(after.len()));
        }
        let behind = |member: &&MemberId| {
            let follower = leader.followers.get(*member);
            follower.is_some_and(|follower| !self.is_fit(**member, follower))
        };
        match after.iter().find(behind) {
            Some(member) => Err(ChangeRefusal::Behind(*member)),
            None => Ok(()),
        }
    }

    /// Whether a follower is heard, and acknowledges what is agreed within an election timeout
    /// (scenario 41).
    pub(super) fn is_fit(&self, member: MemberId, follower: &Progress) -> bool {
        !self.refused.contains(&member)
            && self.hears(follower)
            && follower.keeps_up(self.config.election_timeout, self.now)
    }

    /// Whether a follower's process is gone (R18), or an election timeout has passed since it was
    /// last heard, or the leader elected: who has just been elected has heard nobody yet, which
    /// proves nothing.
    pub(super) fn is_silent(&self, member: MemberId, follower: &Progress) -> bool {
        self.refused.contains(&member)
            || self.now.since(follower.heard) > self.config.election_timeout
    }

    /// Appends a configuration. It is in force from here on.
    pub(super) fn appoint(&mut self, configuration: Configuration) {
        let position = self.next_position();
        let entry = Entry {
            term: position.term,
            index: position.index,
            payload: Payload::Configuration(configuration),
        };
        self.configurations.appended(&entry);
        self.log.append(entry);
        self.feed_the_named();
    }

    /// Feeds everybody whom the configuration names, and nobody else.
    fn feed_the_named(&mut self) {
        let (now, next, me) = (self.now, self.log.last().index.next(), self.member);
        let configuration = self.configurations.in_force();
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        leader
            .followers
            .retain(|member, _| configuration.names(*member));
        for member in configuration.members().filter(|member| *member != me) {
            let new = || Progress::new(next, now);
            leader.followers.entry(member).or_insert_with(new);
        }
        self.cut_off.retain(|member| configuration.names(*member));
        self.refused.retain(|member| configuration.names(*member));
        self.meet_the_named();
    }

    /// Those who were ahead of this node's configuration are members like all others once it names
    /// them.
    pub(super) fn meet_the_named(&mut self) {
        let configuration = self.configurations.in_force();
        let named = |member: &MemberId, _: &mut (Boot, Position)| configuration.names(*member);
        let named: Vec<_> = self.ahead.extract_if(.., named).collect();
        for (member, (boot, _)) in named {
            let _restarted = self.meet(member, boot);
        }
    }

    /// Whoever is named no longer has no link any more: what it said counts in nothing that is to
    /// come. Its newest start stays known, for its disk may come again, and must not be a copy from
    /// before what it has promised meanwhile (R15).
    pub(super) fn part_from_the_removed(&mut self) {
        let mut removed = std::mem::take(&mut self.removed);
        removed.retain(|member| !self.knows(*member));
        let (position, _) = self.configurations.at(self.commit);
        let met = self.met.keys().copied();
        let met = met.filter(|member| !self.knows(*member) && !removed.contains(member));
        let met: Vec<_> = met.collect();
        let ahead = self.ahead.iter();
        let ahead = ahead.filter(|(_, (_, since))| since <= position);
        let gone: BTreeSet<_> = ahead
            .map(|(member, _)| *member)
            .chain(met.clone())
            .collect();
        for member in gone {
            self.ahead.remove(&member);
            self.part(member);
        }
        removed.extend(met);
        let surplus = removed.len().saturating_sub(REMOVED_MAX);
        for member in removed.drain(..surplus) {
            self.met.remove(&member);
            let boot = Boot::default();
            self.durability.peer_changed(PeerRecord { member, boot });
        }
        self.removed = removed;
    }

    /// Ends the links with a member, once a turn.
    pub(super) fn part(&mut self, member: MemberId) {
        let part = Output::Part(member);
        if !self.outbox.contains(&part) {
            self.outbox.push(part);
        }
    }

    /// Moves a change on: the joint configuration is followed by the final one.
    pub(super) fn watch_change(&mut self) {
        let Some(leader) = self.leading() else {
            return;
        };
        let Ok(present) = self.agreed_configuration(leader) else {
            return;
        };
        if !present.is_joint() {
            self.end_change();
        } else if !present.lets_vote(self.member) {
            // It may not lead those who are left; whoever is next goes on from here.
            self.hand_over_by_itself();
        } else if leader.transfer.is_none() {
            let last = present.settled();
            self.appoint(last);
        }
    }

    fn end_change(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        if let Some(ticket) = leader.change.take() {
            let outcome = Ok(());
            self.outbox.push(Output::ChangeEnded { ticket, outcome });
        }
    }
}
