//! Handing leadership to a chosen follower (Raft 3.10).
//!
//! The leader takes no new commands, waits until the follower has everything on disk, and tells it
//! to stand at once. If that does not succeed within one election timeout, or sooner if so asked,
//! the leader goes on as if nothing had happened (scenarios 50, 51). To give up soon is safe: a
//! follower that stands nonetheless is a candidate like any other. A leader whose disk stalls hands
//! over on its own (scenario 52).

use std::cmp::Reverse;
use std::time::Duration;

use super::progress::Progress;
use super::role::{Leader, RoleState};
use super::{Event, MemberId, Message, Mono, Node, NodeId, Output, StepDown, Term, Ticket};

/// A hand-over in progress.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Transfer {
    /// Who asked; `None` if the leader itself did.
    pub(super) ticket: Option<Ticket>,
    to: MemberId,
    give_up_at: Mono,
    /// When to tell the follower, if it is ready; and again, since messages get lost.
    tell_at: Mono,
}

impl Transfer {
    /// When this must be looked at again.
    pub(super) fn deadline(&self) -> Mono {
        self.give_up_at
    }
}

impl Node {
    pub(super) fn transfer(
        &mut self,
        ticket: Ticket,
        to: Option<NodeId>,
        within: Option<Duration>,
    ) {
        let timeout = self.config.election_timeout;
        let within = within.map_or(timeout, |within| within.min(timeout));
        let target = match &self.role {
            RoleState::Leader(leader) if leader.transfer.is_none() => self.target(leader, to),
            _ => None,
        };
        match target {
            Some(to) => self.hand_over(Some(ticket), to, within),
            None => self.outbox.push(Output::TransferEnded {
                ticket,
                moved: false,
            }),
        }
    }

    /// The follower to hand over to, among those that are heard and say that they could take over:
    /// the given one, or the furthest that was not tried in vain just now.
    fn target(&self, leader: &Leader, to: Option<NodeId>) -> Option<MemberId> {
        let fit = |(member, progress): &(&MemberId, &Progress)| {
            let meant = to.is_none_or(|to| to == member.id);
            let may_lead = self.configuration().lets_vote(**member);
            progress.can_stand && may_lead && self.hears(progress) && meant
        };
        let best = |(id, progress): &(&MemberId, &Progress)| {
            (
                leader.spurned != Some(**id),
                progress.matched,
                Reverse(**id),
            )
        };
        let chosen = leader.followers.iter().filter(fit).max_by_key(best);
        chosen.map(|(id, _)| *id)
    }

    fn hand_over(&mut self, ticket: Option<Ticket>, to: MemberId, within: Duration) {
        let (now, give_up_at) = (self.now, self.now.after(within));
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        leader.transfer = Some(Transfer {
            ticket,
            to,
            give_up_at,
            tell_at: now,
        });
        self.event(Event::HandingOver { to: to.id });
    }

    /// Tells the follower to stand, once its log is complete.
    pub(super) fn flush_transfer(&mut self) {
        let (now, last, term) = (self.now, self.log.last().index, self.term());
        let heartbeat = self.config.heartbeat;
        let RoleState::Leader(Leader {
            transfer: Some(transfer),
            followers,
            ..
        }) = &mut self.role
        else {
            return;
        };
        let ready = followers
            .get(&transfer.to)
            .is_some_and(|progress| progress.matched == last);
        if ready && now >= transfer.tell_at {
            transfer.tell_at = now.after(heartbeat);
            let to = transfer.to;
            self.send(to, Message::TimeoutNow { term });
        }
    }

    /// Gives a hand-over up that takes too long, and begins one when the own disk stalls.
    pub(super) fn watch_transfer(&mut self) {
        let now = self.now;
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        if let Some(transfer) = leader
            .transfer
            .take_if(|transfer| now >= transfer.give_up_at)
        {
            leader.spurned = Some(transfer.to);
            if let Some(ticket) = transfer.ticket {
                let moved = false;
                self.outbox.push(Output::TransferEnded { ticket, moved });
            }
        }
        if self.storage_stalled {
            self.hand_over_by_itself();
        }
    }

    /// Hands over to whoever is fit for it, although nobody asks.
    pub(super) fn hand_over_by_itself(&mut self) {
        let Some(leader) = self.leading() else {
            return;
        };
        if leader.transfer.is_none()
            && let Some(to) = self.target(leader, None)
        {
            self.hand_over(None, to, self.config.election_timeout);
        }
    }

    /// The leader asks this node to take over.
    pub(super) fn told_to_stand(&mut self, from: MemberId, term: Term) {
        if term == self.term() && self.leader() == Some(from) && self.can_stand() {
            self.leave_role(StepDown::HigherTerm);
            self.stand();
        }
    }

    /// Notices when the own disk stalls or recovers.
    pub(super) fn watch_storage(&mut self) {
        let stalled = self.durability.stalled(self.now, self.config.disk_stall);
        if stalled != self.storage_stalled {
            self.storage_stalled = stalled;
            self.event(Event::StorageStalled(stalled));
        }
    }
}
