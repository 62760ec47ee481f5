//! When a leader is thought to be gone (S8, R18).
//!
//! Three things accuse a leader: silence for longer than this node's patience, an address that
//! refuses connections, and an address that is answered by a newer boot. The end of a link accuses
//! nobody, it only asks for a new connection now. Whatever this node thinks, a quorum of pre-votes
//! must think the same before any term is bumped.

use super::role::{Candidate, Follower, RoleState};
use super::{
    Boot, Event, Hello, MEMBERS_MAX, MemberId, Mono, Node, NodeId, Output, PeerRecord, StepDown,
    Suspicion,
};

impl Follower {
    /// What says that the leader is gone, if anything does.
    fn accused(&self, now: Mono) -> Option<Suspicion> {
        let silent = now.since(self.contact) >= self.patience;
        self.evidence
            .or_else(|| silent.then_some(Suspicion::Silence))
    }
}

impl Node {
    /// Until when this node believes in a leader other than `asking`, or in the one that it has
    /// just helped to elect.
    pub(super) fn hears_leader_until(&self, asking: MemberId) -> Option<Mono> {
        match &self.role {
            RoleState::Leader(_) => Some(self.now.after(self.config.election_timeout)),
            RoleState::Follower(follower) if follower.evidence.is_some() => None,
            RoleState::Follower(follower) => match follower.leader {
                Some(leader) if leader == asking => None,
                Some(_) => Some(follower.contact.after(self.config.election_timeout)),
                None => Some(follower.contact.after(self.config.preference_wait)),
            },
            RoleState::Candidate(_) => None,
        }
    }

    /// Judges the leader by what is known now; a follower that gave up looks for another.
    pub(super) fn watch_leader(&mut self) {
        let probe_at = self.config.election_timeout / 2;
        if let RoleState::Follower(follower) = &mut self.role {
            let silent = self.now.since(follower.contact);
            if let (Some(leader), false, true) =
                (follower.leader, follower.probed, silent >= probe_at)
            {
                follower.probed = true;
                self.outbox.push(Output::Probe(leader.id));
            }
        }
        let RoleState::Follower(follower) = &self.role else {
            return;
        };
        let Some(why) = follower.accused(self.now) else {
            return;
        };
        if let Some(leader) = follower.leader {
            let leader = leader.id;
            self.event(Event::Suspected { leader, why });
        }
        self.leave_role(StepDown::NoQuorum);
        self.role = RoleState::Candidate(Candidate::looking(self.now));
    }

    pub(super) fn follower_deadline(&self, follower: &Follower) -> Mono {
        let stands = follower.contact.after(follower.patience);
        let probe = follower.contact.after(self.config.election_timeout / 2);
        let probes = follower.leader.is_some() && !follower.probed;
        let own = if probes { probe.min(stands) } else { stands };
        self.noted_deadline().map_or(own, |noted| noted.min(own))
    }

    /// A peer introduced itself. A newer boot is remembered durably (R15), and proves that whoever
    /// led under the older one no longer does.
    pub(super) fn link_up(&mut self, hello: &Hello) {
        let peer = hello.member;
        self.sees(peer);
        if !self.knows(peer) {
            let (agreed, _) = self.configurations.at(self.commit);
            if hello.since > *agreed && self.ahead.len() < MEMBERS_MAX {
                let seen = (hello.boots.newest(), hello.since);
                self.ahead.insert(peer, seen);
            } else {
                // What is agreed on was another thing when it was admitted.
                self.part(peer);
            }
            return;
        }
        let restarted = self.meet(peer, hello.boots.newest());
        match &mut self.role {
            RoleState::Follower(follower) => {
                if restarted && follower.leader == Some(peer) {
                    follower.evidence = Some(Suspicion::Restarted);
                }
            }
            RoleState::Candidate(_) => self.ask_newly_linked(peer),
            RoleState::Leader(_) => self.welcome(peer, hello, restarted),
        }
    }

    /// Remembers the newest boot of a peer, durably; says whether it is newer than one before it.
    pub(super) fn meet(&mut self, member: MemberId, boot: Boot) -> bool {
        let met = self.met.get(&member).copied();
        let is_newer = met.is_none_or(|met| boot > met);
        if is_newer {
            self.met.insert(member, boot);
            self.durability.peer_changed(PeerRecord { member, boot });
        }
        is_newer && met.is_some()
    }

    pub(super) fn link_ended(&mut self, peer: NodeId) {
        self.noted.retain(|noted, _| noted.id != peer);
        self.lose_sight_of(peer);
        if self.leader().is_some_and(|leader| leader.id == peer) {
            self.outbox.push(Output::Probe(peer));
            self.abandon_forwards();
        }
    }

    /// It is there: it was heard, or has a link.
    pub(super) fn sees(&mut self, peer: MemberId) {
        self.cut_off.remove(&peer);
        self.refused.remove(&peer);
    }

    /// Whatever disk it runs on, it cannot be reached.
    pub(super) fn lose_sight_of(&mut self, peer: NodeId) {
        self.cut_off.extend(self.disks_of(peer));
    }

    fn disks_of(&self, peer: NodeId) -> Vec<MemberId> {
        let members = self.configurations.in_force().members();
        members.filter(|member| member.id == peer).collect()
    }

    pub(super) fn link_refused(&mut self, peer: NodeId) {
        self.lose_sight_of(peer);
        self.refused.extend(self.disks_of(peer));
        if let RoleState::Follower(follower) = &mut self.role
            && let Some(expected) = follower.leader.or(self.hard_state.vote)
            && expected.id == peer
        {
            follower.evidence = Some(Suspicion::Refused);
        }
    }
}
