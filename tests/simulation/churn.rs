//! The members of the cluster change while everything else goes wrong.
//!
//! Some machines are spare at the founding. Now and then whoever leads is asked to let one learn,
//! to let learners vote, or to let members go; who was refused or forgotten half way is asked for
//! again; sometimes somebody else is asked, who has to refuse. Who is named is welcomed, which is
//! what a leader does by itself once nodes register, and may come late.

use std::collections::BTreeSet;
use std::time::Duration;

use remember::consensus::{
    Change, ChangeRefusal, Configuration, Incarnation, Input, MemberId, Membership, NodeId, Ticket,
};

use super::machine::{Life, Machine};
use super::majority::is_agreed;
use super::replacing::is_replacement;
use super::tally::Counted;
use super::world::{Event, World, tell};

impl World {
    /// The next change comes after a while.
    pub(crate) fn schedule_churn(&mut self) {
        let (low, high) = self.plan.churn_millis;
        let delay = self.rng.millis(low, high);
        self.after(delay, Event::Churn);
    }

    /// Whoever leads is asked to change something, or anybody else.
    pub(crate) fn churn(&mut self) {
        if !self.troubled {
            return;
        }
        self.schedule_churn();
        if self.rng.chance(300) {
            self.welcome_all();
        }
        // A leader still hears for a moment who is gone for ever. Were that one needed from now on,
        // the change would never be agreed on, and nothing else either.
        if self.now < self.churn_not_before {
            return;
        }
        let asked = if self.rng.chance(100) {
            let running = (self.in_cluster()).filter(|it| it.member().is_some());
            running.map(|machine| machine.id).collect()
        } else {
            self.leaders()
        };
        if asked.is_empty() {
            return;
        }
        let asked = self.rng.pick(&asked);
        if let Some(change) = self.some_change(asked) {
            self.ask_for_change(asked, change);
        }
    }

    /// Those who lead, and know what is agreed; several if some have not heard of each other.
    pub(crate) fn leaders(&self) -> Vec<NodeId> {
        let leads = |machine: &&Machine| {
            let member = machine.member();
            member.is_some_and(|member| member.node.status().established)
        };
        let leaders = self.in_cluster().filter(leads);
        leaders.map(|machine| machine.id).collect()
    }

    /// A node is asked to change the members.
    pub(crate) fn ask_for_change(&mut self, id: NodeId, change: Change) {
        tell!(self, "{id:?} is asked for {change:?}");
        let requests = &mut self.member(id).requests;
        let ticket = requests.ticket();
        requests.changes.insert(ticket, change.clone());
        self.input(id, Input::Change { ticket, change });
    }

    fn some_change(&mut self, asked: NodeId) -> Option<Change> {
        let configuration = self.member(asked).node.configuration().clone();
        let named: Vec<_> = configuration.members().collect();
        let learners: Vec<_> = named
            .iter()
            .copied()
            .filter(|member| !configuration.counts(*member))
            .collect();
        let outside: Vec<_> = self
            .in_cluster()
            .filter(|machine| machine.is_whole() && machine.incarnation != Incarnation(0))
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
            (_, Err(ChangeRefusal::NotLeader)) => Counted::ChangesMisdirected,
            (_, Err(_)) => Counted::ChangesRefused,
            (Change::Learn(_), Ok(())) => Counted::Learners,
            (Change::Vote { .. }, Ok(())) if is_replacement(&change) => Counted::Replaced,
            (Change::Vote { .. }, Ok(())) => Counted::VotersChanged,
        });
        if outcome.is_ok() {
            self.demand_change(id, &change);
        }
        if let (Change::Learn(member), Ok(()) | Err(ChangeRefusal::Named(_))) = (change, outcome) {
            // Else somebody else does it later.
            if self.rng.chance(700) {
                self.welcome(member.id);
            }
        }
    }

    /// A change that is done is agreed on, to the last step.
    fn demand_change(&self, id: NodeId, change: &Change) {
        let (_, agreed) = self.oracle.agreed_until(self.applied(id));
        let is_done = match change {
            Change::Learn(member) => agreed.names(*member),
            Change::Vote { promoted, removed } => {
                let votes = |member: &MemberId| agreed.lets_vote(*member);
                let left = |member: &MemberId| !agreed.names(*member);
                promoted.iter().all(votes) && removed.iter().all(left)
            }
        };
        assert!(
            is_done && !agreed.is_joint(),
            "{id:?} says that {change:?} is done, but agreed is {agreed:?}"
        );
    }

    /// Puts what is agreed on the disk of a new member, and starts it; a member that comes back and
    /// runs is told. The word may be late, but names that member.
    pub(crate) fn welcome(&mut self, id: NodeId) {
        let machine = self.machine(id);
        let name = machine.name();
        let is_named = self.oracle.is_founded() && self.oracle.agreed().1.names(name);
        let waits = machine.awaits_welcome() && machine.process.is_none();
        let runs = machine.responds() && machine.member().is_some();
        let (waits, runs) = if machine.epoch == self.epoch() {
            (waits, runs)
        } else {
            (false, false)
        };
        if !is_named || !(waits || runs) || !machine.powered {
            return;
        }
        let all = self.oracle.agreed_naming(name);
        let place = if self.rng.chance(300) {
            self.rng.place(all.len())
        } else {
            all.len() - 1
        };
        let is_late = place + 1 < all.len();
        (self.tally).count_many(Counted::WelcomedLate, u64::from(is_late));
        let (settled, (cluster, epoch)) = (all[place].clone(), self.oracle.cluster());
        if runs {
            self.count(Counted::WelcomedBack);
            return self.input(id, Input::Welcomed(settled));
        }
        let machine = self.machine_mut(id);
        let membership = Membership {
            cluster,
            epoch,
            settled,
        };
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
            member.id != id && self.is_there(member) && machine.is_whole()
        };
        let running = self.in_cluster().filter_map(Machine::member);
        let configurations = running.map(|member| member.node.configuration());
        let goes_on = |configuration: &Configuration| is_agreed(configuration, None, is_whole);
        // A disk may hold a change that nobody who runs knows of.
        let members = self.in_cluster().filter(|machine| machine.gone.is_none());
        let mut members = members.filter(|machine| machine.disk.is_member());
        let all_run = members.all(|machine| machine.member().is_some() && !machine.is_replaced());
        // Nor does anybody know what comes of a change that is still to be judged.
        let is_change = |input: &Input| matches!(input, Input::Change { .. });
        let running = self.in_cluster().filter_map(Machine::member);
        let mut inputs = running.flat_map(|member| &member.inbox);
        let is_asked = inputs.any(is_change);
        self.oracle.is_founded()
            && (self.now >= self.churn_not_before || !self.keeps_members())
            && ((all_run && !is_asked) || self.plan.spares == 0)
            && goes_on(&self.oracle.agreed().1)
            && configurations.into_iter().all(goes_on)
    }
}

/// How long nothing may change at first: nobody knows who leads.
pub(crate) const CALM: Duration = Duration::from_millis(500);
