//! A machine gets another disk while members may change: another member of the same id (R13).
//!
//! ```text
//!   its disk      old ---+--- gone for ever, or kept aside ----- put back -----> told that it is
//!                        |                                          |            removed
//!   the new one          +--- learns --- votes in its place --------+ away for a while
//! ```
//!
//! Links are one for each id, so of an id only one disk runs at a time.

use std::collections::BTreeSet;
use std::mem;

use remember::consensus::{Change, Configuration, Incarnation, MemberId, NodeId};

use super::disk::Disk;
use super::faults::Mending;
use super::machine::{Gone, Machine};
use super::tally::Counted;
use super::world::{Event, World, tell};

/// A disk that is not in its machine.
pub(crate) struct Aside {
    incarnation: Incarnation,
    disk: Disk,
    /// Whether it is the newer one of the two, and comes back before long.
    returns: bool,
}

impl Machine {
    /// Whether its disk is what it was, and in it to stay: it can be relied on.
    pub(crate) fn is_whole(&self) -> bool {
        self.gone.is_none() && !self.rotted && !self.is_replaced()
    }

    /// Whether the disk in it is an old one that the cluster goes on without.
    pub(crate) fn is_replaced(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.returns)
    }

    /// Whether it waits to be let in by those who have a cluster, and looks for none by itself.
    pub(crate) fn awaits_welcome(&self) -> bool {
        self.spare && self.gone.is_none() && !self.disk.is_member()
    }

    /// Its disk, which is fresh, gets its name before anybody asks for it.
    pub(crate) fn lay_spare_disk(&mut self) {
        let found = self.disk.start().expect("nothing goes wrong yet");
        self.incarnation = found.incarnation;
        self.disk.kill();
        self.spare = true;
    }

    /// Exchanges the disk that is in it with the one aside.
    fn exchange(&mut self) {
        let aside = self.aside.as_mut().expect("a disk is aside");
        mem::swap(&mut aside.disk, &mut self.disk);
        mem::swap(&mut aside.incarnation, &mut self.incarnation);
        aside.returns = !aside.returns;
        // What was to go wrong with a disk does not wait for it to come back.
        self.disk.mend();
    }
}

impl World {
    /// A machine gets an empty disk, if everybody can do without the old one. That is gone for
    /// ever, or kept, and may come back when nobody wants it any more.
    pub(crate) fn replace_disk(&mut self, id: NodeId) {
        let machine = self.machine(id);
        if self.plan.spares == 0 || !self.troubled || machine.recovery.is_some() {
            return;
        }
        let broken = matches!(machine.gone, Some(Gone::Refused | Gone::Rotten));
        let spared = machine.is_whole() && machine.disk.is_member() && self.may_spare(id);
        if !(broken || spared) {
            // It is seldom that everybody is there; whoever wants to exchange a disk waits for it.
            if self.rng.chance(970) {
                let delay = self.rng.millis(20, 200);
                self.after(delay, Event::Mend(Mending::Exchange(id)));
            }
            return;
        }
        let keeps = spared && self.rng.chance(600);
        self.stop(id, true);
        let old = self.name(id);
        let disk = self.lay_fresh_disk(id);
        self.machine_mut(id).aside = keeps.then_some(Aside {
            incarnation: old.incarnation,
            disk,
            returns: false,
        });
        tell!(
            self,
            "{id:?} gets another disk, kept is the old one: {keeps}"
        );
        self.count(Counted::Exchanged);
        self.leave_members_alone();
        self.register_later(self.name(id));
        if keeps {
            self.put_back_later(id);
        }
    }

    /// Takes the disk out of a machine that is off, and puts a fresh one in.
    pub(crate) fn lay_fresh_disk(&mut self, id: NodeId) -> Disk {
        let mut rng = self.rng.fork();
        let machine = self.machine_mut(id);
        let old = mem::replace(&mut machine.disk, Disk::new(id, &mut rng));
        machine.lay_spare_disk();
        machine.copy = None;
        machine.gone = None;
        machine.rotted = false;
        old
    }

    fn put_back_later(&mut self, id: NodeId) {
        let delay = self.rng.millis(300, 3000);
        self.after(delay, Event::Mend(Mending::OldDisk(id)));
    }

    /// Somebody puts the old disk of a machine back. Mostly that is too late: the cluster goes on
    /// with the new one, which is away for as long as the old one is there.
    pub(crate) fn put_back(&mut self, id: NodeId) {
        let machine = self.machine(id);
        let Some(old) = machine.aside.as_ref().map(|aside| MemberId {
            id,
            incarnation: aside.incarnation,
        }) else {
            return;
        };
        if !self.troubled || !machine.is_whole() {
            return;
        }
        let serves = machine.disk.is_member();
        if !self.oracle.agreed().1.names(old) && serves {
            self.stop(id, true);
            let machine = self.machine_mut(id);
            machine.exchange();
            tell!(self, "{id:?} gets its old disk back for a while");
            let stays = self.rng.millis(300, 2000);
            self.after(stays, Event::Mend(Mending::NewDisk(id)));
            self.restart_later(id);
        } else if self.rng.chance(100) && self.may_spare(id) {
            self.stop(id, true);
            let machine = self.machine_mut(id);
            machine.exchange();
            machine.aside = None;
            machine.copy = None;
            tell!(self, "{id:?} gets its old disk back for good");
            self.count(Counted::PutBack);
            self.leave_members_alone();
            self.restart_later(id);
        } else {
            self.put_back_later(id);
        }
    }

    /// The old disk is taken out again, for ever.
    pub(crate) fn end_visit(&mut self, id: NodeId) {
        if !self.machine(id).is_replaced() {
            return;
        }
        self.stop(id, true);
        let machine = self.machine_mut(id);
        machine.exchange();
        machine.aside = None;
        tell!(self, "{id:?} gets its new disk back");
        self.restart_later(id);
    }

    /// A new disk asks whoever leads for the next step on its way to the place of the old one, as
    /// a node does that registers, and asks again until it votes.
    pub(crate) fn register(&mut self, member: MemberId) {
        let machine = self.machine(member.id);
        let is_there = machine.name() == member && machine.is_whole();
        let votes = self.oracle.agreed().1.lets_vote(member);
        if !self.troubled || votes || !(is_there || machine.is_replaced()) {
            return;
        }
        if is_there && self.rng.chance(300) {
            self.welcome(member.id);
        }
        let leaders = self.leaders();
        if is_there && !leaders.is_empty() && self.now >= self.churn_not_before {
            let leader = self.rng.pick(&leaders);
            let configuration = self.member(leader).node.configuration();
            let change = next_step(member, configuration);
            let hands_over = is_replacement(&change) && self.rng.chance(300);
            self.ask_for_change(leader, change);
            if hands_over {
                // Whoever leads next has to be elected by the voters before and after the change.
                self.ask_to_hand_over(leader);
            }
        }
        self.register_later(member);
    }

    pub(crate) fn register_later(&mut self, member: MemberId) {
        let delay = self.rng.millis(20, 300);
        self.after(delay, Event::Mend(Mending::Member(member)));
    }
}

/// What brings a new disk of an id nearer to the place of all others of that id.
fn next_step(member: MemberId, configuration: &Configuration) -> Change {
    if !configuration.names(member) {
        return Change::Learn(member);
    }
    let named = configuration.members().filter(|it| it.id == member.id);
    Change::Vote {
        promoted: BTreeSet::from([member]),
        removed: named.filter(|it| *it != member).collect(),
    }
}

/// Whether a change lets one disk vote in the place of another one of the same id.
pub(crate) fn is_replacement(change: &Change) -> bool {
    match change {
        Change::Learn(_) => false,
        Change::Vote { promoted, removed } => {
            let removed: BTreeSet<_> = removed.iter().map(|member| member.id).collect();
            promoted.iter().any(|member| removed.contains(&member.id))
        }
    }
}
