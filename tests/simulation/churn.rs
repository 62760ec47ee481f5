//! The members of the cluster change while everything else goes wrong.
//!
//! Some machines are spare at the founding. Now and then whoever leads is asked to let one learn,
//! to let learners vote, or to let members go; who was refused or forgotten half way is asked for
//! again. Who is named is welcomed, which is what a leader does by itself once nodes register.

use std::collections::BTreeSet;
use std::time::Duration;

use remember::consensus::{
    Change, ChangeRefusal, Configuration, Incarnation, Input, MemberId, Membership, NodeId, Ticket,
};

use super::machine::{Life, Machine};
use super::oracle::is_agreed;
use super::tally::Counted;
use super::world::{Event, World, tell};

impl World {
    /// The next change comes after a while.
    pub(crate) fn schedule_churn(&mut self) {
        let (low, high) = self.plan.churn_millis;
        let delay = self.rng.millis(low, high);
        self.after(delay, Event::Churn);
    }

    /// Whoever leads is asked to change something.
    pub(crate) fn churn(&mut self) {
        if !self.troubled {
            return;
        }
        self.schedule_churn();
        // A leader still hears for a moment who is gone for ever. Were that one needed from now on,
        // the change would never be agreed on, and nothing else either.
        if self.now < self.churn_not_before {
            return;
        }
        let leads = |id: &NodeId| {
            let member = self.machine(*id).member();
            member.is_some_and(|member| member.node.status().established)
        };
        let leaders: Vec<_> = self.ids().into_iter().filter(leads).collect();
        if leaders.is_empty() {
            return;
        }
        let leader = self.rng.pick(&leaders);
        let Some(change) = self.some_change(leader) else {
            return;
        };
        tell!(self, "{leader:?} is asked for {change:?}");
        let requests = &mut self.member(leader).requests;
        let ticket = requests.ticket();
        requests.changes.insert(ticket, change.clone());
        self.input(leader, Input::Change { ticket, change });
    }

    fn some_change(&mut self, leader: NodeId) -> Option<Change> {
        let configuration = self.member(leader).node.configuration().clone();
        let named: Vec<_> = configuration.members().collect();
        let learners: Vec<_> = named
            .iter()
            .copied()
            .filter(|member| !configuration.counts(*member))
            .collect();
        let outside: Vec<_> = self
            .machines
            .iter()
            .filter(|machine| machine.gone.is_none() && !machine.rotted)
            .filter(|machine| machine.incarnation != Incarnation(0))
            .map(Machine::name)
            .filter(|member| !named.contains(member))
            .collect();
        // Mostly a leader that lets learners vote by itself is left to do so.
        let leaves_the_rest = self.plan.config.promotes && self.rng.chance(700);
        if !outside.is_empty() && (leaves_the_rest || self.rng.chance(400)) {
            return Some(Change::Learn(self.rng.pick(&outside)));
        }
        if leaves_the_rest {
            return None;
        }
        let promoted: BTreeSet<_> = if learners.is_empty() {
            BTreeSet::new()
        } else {
            self.rng
                .some(&learners, 0, learners.len())
                .into_iter()
                .collect()
        };
        let most = named.len().min(3) - 1;
        let removed = self.rng.some(&named, 0, most).into_iter();
        let removed: BTreeSet<_> = removed.filter(|it| !promoted.contains(it)).collect();
        let is_change = !promoted.is_empty() || !removed.is_empty();
        is_change.then_some(Change::Vote { promoted, removed })
    }

    /// A change is done, or nothing was changed.
    pub(crate) fn change_ended(
        &mut self,
        id: NodeId,
        ticket: Ticket,
        outcome: Result<(), ChangeRefusal>,
    ) {
        let change = self.member(id).requests.changes.remove(&ticket);
        let change = change.expect("somebody asked for it");
        tell!(self, "{id:?} ends {change:?}: {outcome:?}");
        self.count(match (&change, outcome) {
            (_, Err(_)) => Counted::ChangesRefused,
            (Change::Learn(_), Ok(())) => Counted::Learners,
            (Change::Vote { .. }, Ok(())) => Counted::VotersChanged,
        });
        if let (Change::Learn(member), Ok(()) | Err(ChangeRefusal::Named(_))) = (change, outcome) {
            self.welcome(member.id);
        }
    }

    /// Puts what is agreed on the disk of a new member, and starts it. Whoever knows its cluster
    /// already finds its way by itself.
    pub(crate) fn welcome(&mut self, id: NodeId) {
        let (settled, cluster) = (self.oracle.agreed().clone(), self.oracle.cluster());
        let machine = self.machine_mut(id);
        let is_awaited = settled.1.names(machine.name()) && !machine.disk.is_member();
        if !is_awaited || !machine.powered || machine.gone.is_some() || machine.process.is_some() {
            return;
        }
        let membership = Membership { cluster, settled };
        let started = machine.disk.start();
        let adopted = started.and_then(|_| machine.disk.adopt(membership));
        match adopted {
            Ok(found) => {
                tell!(self, "{id:?} is welcomed");
                self.lives += 1;
                let life = Life(self.lives);
                self.start_member(id, life, found);
            }
            Err(error) => self.start_failed(id, &error),
        }
    }

    /// Whoever the leader lets learn is welcomed in the end.
    pub(crate) fn welcome_all(&mut self) {
        for id in self.ids() {
            self.welcome(id);
        }
    }

    /// For a moment nothing changes.
    pub(crate) fn leave_members_alone(&mut self) {
        self.churn_not_before = self.now + self.plan.config.election_timeout * 2;
    }

    /// Those who have to be of one mind in the end: they have their disks, and belong.
    pub(crate) fn obliged(&self) -> Vec<NodeId> {
        let agreed = &self.oracle.agreed().1;
        let whole = self.whole().into_iter();
        whole
            .filter(|id| agreed.names(self.machine(*id).name()))
            .collect()
    }

    /// Whether leaders change anything by themselves. They still hear for a moment who is gone for
    /// ever and may come to need it: one such member a moment is one that they can do without.
    fn keeps_members(&self) -> bool {
        let config = &self.plan.config;
        config.promotes || config.dead_after.is_some()
    }

    /// Whether everybody can go on without this one, by whatever configuration anybody counts.
    pub(crate) fn may_spare(&self, id: NodeId) -> bool {
        let is_whole = |member: MemberId| {
            let machine = self.machine(member.id);
            member.id != id && machine.gone.is_none() && !machine.rotted
        };
        let running = self.machines.iter().filter_map(|machine| machine.member());
        let configurations = running.map(|member| member.node.configuration());
        let goes_on = |configuration: &Configuration| is_agreed(configuration, is_whole);
        // A disk may hold a change that nobody who runs knows of.
        let members = self
            .machines
            .iter()
            .filter(|machine| machine.gone.is_none());
        let mut members = members.filter(|machine| machine.disk.is_member());
        let all_run = members.all(|machine| machine.member().is_some());
        self.oracle.is_founded()
            && (self.now >= self.churn_not_before || !self.keeps_members())
            && (all_run || self.plan.spares == 0)
            && goes_on(&self.oracle.agreed().1)
            && configurations.into_iter().all(goes_on)
    }
}

/// How long nothing may change at first: nobody knows who leads.
pub(crate) const CALM: Duration = Duration::from_millis(500);
