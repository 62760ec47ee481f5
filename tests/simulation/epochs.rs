//! A disk is recovered: with what it holds, another cluster begins, in a later epoch (R14).
//!
//! ```text
//!   cluster before   3 machines ---- ended, or only cut off ---- they come back, and are refused
//!                       |                                             |
//!   its disk         attempt, power lost, attempt, ...                | one by one, fresh disks
//!                       |                                             v
//!   new cluster         +-- the only voter -------------------- others register, and vote
//! ```
//!
//! Whoever decides that knows little: the disk may lack what was agreed on, and the majority that
//! is thought to be lost may live. Then both clusters go on, and nobody is heard by the other.

use std::time::Duration;

use remember::consensus::{ClusterId, Entry, Epoch, Membership, NodeId, Position, Recovered, Term};
use remember::storage::{Error, Survivor};

use super::disk::Found;
use super::faults::Mending;
use super::image::Image;
use super::machine::{Gone, Machine};
use super::sim_disk::SimDisk;
use super::storage::is_io;
use super::tally::Counted;
use super::world::{Event, World, tell};

/// What a machine's disk is on its way to.
pub(crate) struct Recovery {
    epoch: Epoch,
    /// How many of 1000 others of its cluster are ended for it; they are when it begins.
    ends: Option<u64>,
    /// Whether it was told to be done.
    is_done: bool,
}

impl Machine {
    /// Whether its disk was to begin a cluster in this epoch, and is still to do so, or later.
    pub(crate) fn is_to_begin(&self, epoch: Epoch) -> bool {
        let recovery = self.recovery.as_ref();
        recovery.is_some_and(|it| epoch <= it.epoch && !it.is_done)
    }
}

impl World {
    /// Somebody gives a cluster up, mostly the newest, and chooses a disk to go on with.
    pub(crate) fn give_up(&mut self) {
        if !self.troubled {
            return;
        }
        let under_way = self.machines.iter().any(|it| it.recovery.is_some());
        // Whoever still looks for the cluster that its list founds is to find that one.
        let founders = self.founders().into_iter();
        let mut founders = founders.map(|id| self.machine(id));
        let founded =
            founders.all(|it| it.disk.is_member() || it.gone.is_some() || it.awaits_welcome());
        let newest = self.newest_epoch();
        let any = self.rng.chance(150);
        let whole = self.machines.iter().filter(|machine| {
            machine.is_whole() && machine.disk.is_member() && (any || machine.epoch == newest)
        });
        let choices: Vec<_> = whole.map(|machine| machine.id).collect();
        if under_way || !founded || choices.is_empty() {
            let delay = self.rng.millis(50, 500);
            return self.after(delay, Event::GivenUp);
        }
        let id = self.rng.pick(&choices);
        let mut delay = Duration::ZERO;
        if self.rng.chance(600) {
            // What is agreed on from now on it does not hold.
            let others = self.ids().into_iter().filter(|other| *other != id);
            let ways: Vec<_> = others.flat_map(|it| [(id, it), (it, id)]).collect();
            self.cut(&ways);
            let lasts = self.a_while();
            self.after(lasts, Event::Mend(Mending::Network));
            delay = self.rng.millis(50, 800);
        }
        let epoch = Epoch(newest.0 + u32::try_from(self.rng.between(1, 3)).expect("small"));
        tell!(self, "GIVEN UP for the disk of {id:?}, to begin {epoch:?}");
        let ends = Some(self.rng.pick(&[0, 500, 1000, 1000]));
        let machine = self.machine_mut(id);
        machine.aside = None;
        machine.recovery = Some(Recovery {
            epoch,
            ends,
            is_done: false,
        });
        self.after(delay, Event::Mend(Mending::Recovery(id)));
    }

    /// Tries to let the disk of a machine begin a cluster, until it has.
    pub(crate) fn recover(&mut self, id: NodeId) {
        let Some(recovery) = &mut self.machine_mut(id).recovery else {
            return;
        };
        if recovery.is_done {
            return;
        }
        if let Some(of_1000) = recovery.ends.take() {
            self.end_others(id, of_1000);
        }
        if !self.machine(id).powered {
            return self.recover_later(id);
        }
        self.stop(id, false);
        if self.troubled && self.rng.chance(500) {
            let mut rng = self.rng.fork();
            self.machine_mut(id).disk.lose_power_soon(&mut rng, 30);
        }
        let ended = match self.machine_mut(id).disk.survive() {
            Ok(survivor) => self.begin_anew(id, survivor),
            Err(error) => Err(error),
        };
        let Err(error) = ended else {
            return;
        };
        tell!(self, "{id:?} does not begin anew: {error}");
        if self.machine(id).disk.is_dead() {
            self.count(Counted::RecoveriesCut);
            self.lose_power_for_a_while(id);
        } else {
            assert!(is_io(&error), "a recovery fails without a fault: {error}");
            self.count(Counted::IoErrors);
            self.machine_mut(id).disk.kill();
        }
        self.recover_later(id);
    }

    /// Tries again in a while; the node may be started before that.
    fn recover_later(&mut self, id: NodeId) {
        if self.rng.chance(500) {
            self.restart_later(id);
        }
        let delay = self.rng.millis(10, 1000);
        self.after(delay, Event::Mend(Mending::Recovery(id)));
    }

    fn begin_anew(&mut self, id: NodeId, survivor: Survivor<SimDisk>) -> Result<(), Error> {
        let name = self.name(id);
        let held = &survivor.held().recovered;
        let (membership, boot) = (held.membership.clone(), held.boots.newest());
        let image = Image::of(held);
        let newest = self.newest_epoch();
        let recovery = self.machine_mut(id).recovery.as_mut();
        let recovery = recovery.expect("it is under way");
        if membership.epoch == recovery.epoch {
            // An earlier attempt got to its end, and the power went before it was told so.
            recovery.is_done = true;
        } else {
            self.oracle.brought_back(name, boot, &image);
            let used = survivor.check(membership.epoch);
            assert!(used.is_err(), "{id:?} begins {membership:?} twice");
            if self.rng.chance(200) {
                // Whoever tries again may choose a later one.
                let recovery = self.machine_mut(id).recovery.as_mut();
                let recovery = recovery.expect("it is under way");
                recovery.epoch = Epoch(recovery.epoch.0.max(newest.0) + 1);
            }
            self.write_first_records(id, &image, survivor)?;
        }
        self.machine_mut(id).disk.kill();
        self.restart_later(id);
        Ok(())
    }

    fn write_first_records(
        &mut self,
        id: NodeId,
        image: &Image,
        survivor: Survivor<SimDisk>,
    ) -> Result<(), Error> {
        let name = self.name(id);
        let epoch = self.recovery(id).epoch;
        let cluster = ClusterId(self.rng.number());
        let last = image.last_before(floor(epoch));
        let membership = Membership::anew(cluster, epoch, name, last);
        self.oracle.asked_to_keep(name, &membership.first_records());
        let begun = survivor.begin(cluster, epoch)?;
        assert_eq!(begun, membership, "{id:?} begins another cluster");
        self.recovery(id).is_done = true;
        Ok(())
    }

    fn recovery(&mut self, id: NodeId) -> &mut Recovery {
        let recovery = self.machine_mut(id).recovery.as_mut();
        recovery.expect("one is under way")
    }

    /// Of those that the cluster at hand is left with, some are ended, and so is whoever else runs
    /// on a machine that is chosen.
    fn end_others(&mut self, id: NodeId, of_1000: u64) {
        let others = self.ids().into_iter().filter(|other| *other != id);
        for other in others.collect::<Vec<_>>() {
            let machine = self.machine(other);
            let is_left = machine.disk.is_member() && machine.gone.is_none();
            if is_left && self.rng.chance(of_1000) {
                tell!(self, "{other:?} is ended");
                let power = self.rng.chance(500);
                self.stop(other, power);
                self.machine_mut(other).gone = Some(Gone::Ended);
            }
        }
    }

    /// A node starts on a disk. If that is the first start in a new cluster, the cluster begins.
    pub(crate) fn enter_cluster(&mut self, id: NodeId, found: &Found) {
        let Found {
            boots,
            membership,
            image,
            ..
        } = found;
        let membership = membership.as_ref().expect("a member has one");
        let epoch = membership.epoch;
        let (is_new, is_due) = match &self.machine(id).recovery {
            Some(recovery) => (epoch == recovery.epoch, recovery.is_done),
            None => (false, false),
        };
        assert!(is_new || !is_due, "{id:?} forgets that it was recovered");
        if !is_new {
            self.machine_mut(id).epoch = epoch;
            return self.look_at(epoch);
        }
        let name = self.name(id);
        self.oracle.brought_back(name, boots.newest(), image);
        let is_held = self.holds_all(image, membership);
        self.count(if is_held {
            Counted::RecoveredWhole
        } else {
            Counted::RecoveredBehind
        });
        let is_second = self.epoch() > Epoch::FIRST;
        (self.tally).count_many(Counted::RecoveredAgain, u64::from(is_second));
        let oracle = self.oracle.anew(name, membership);
        let clients = self.clients.anew(image, epoch);
        self.add_cluster(epoch, oracle, clients);
        self.look_at(epoch);
        tell!(self, "{epoch:?} begins with {id:?} at {:?}", image.last());
        let machine = self.machine_mut(id);
        machine.epoch = epoch;
        machine.recovery = None;
        machine.copy = None;
        machine.aside = None;
        for client in 0..self.plan.clients {
            let delay = self.rng.millis(0, 500);
            self.client_after(delay, client);
        }
        self.bring_others_over(id);
    }

    /// Whether a disk holds all that the cluster at hand had agreed on.
    fn holds_all(&self, image: &Image, begun: &Membership) -> bool {
        let index = self.oracle.commit();
        let term = self.oracle.committed_term(index);
        let position = term.map(|term| Position { term, index });
        let held = |it| image.covers(it) && it.index < begun.settled.0.index;
        position.is_none_or(held)
    }

    /// All other machines come to the new cluster sooner or later, most of them.
    fn bring_others_over(&mut self, id: NodeId) {
        let newest = self.newest_epoch();
        let others = self.ids().into_iter().filter(|other| *other != id);
        for other in others.collect::<Vec<_>>() {
            let machine = self.machine_mut(other);
            if machine.awaits_welcome() {
                machine.epoch = newest;
                machine.aside = None;
                let name = machine.name();
                self.register_later(name);
                continue;
            }
            if machine.gone == Some(Gone::Ended) && self.rng.chance(400) {
                let delay = self.rng.millis(10, 2000);
                self.after(delay, Event::Mend(Mending::Ended(other)));
            }
            if self.rng.chance(850) {
                let delay = self.rng.millis(100, 4000);
                self.after(delay, Event::Mend(Mending::Over(other)));
            }
        }
    }

    /// A machine that was ended is started again, as if nothing had been decided.
    pub(crate) fn come_back(&mut self, id: NodeId) {
        let machine = self.machine_mut(id);
        if machine.gone == Some(Gone::Ended) {
            machine.gone = None;
            machine.powered = true;
            self.start(id);
        }
    }

    /// A machine of a cluster that was given up gets a fresh disk, to join the newest.
    pub(crate) fn come_over(&mut self, id: NodeId) {
        let machine = self.machine(id);
        let follows = machine.epoch == self.newest_epoch();
        if !self.troubled || follows || machine.recovery.is_some() {
            return;
        }
        self.stop(id, true);
        self.lay_fresh_disk(id);
        let newest = self.newest_epoch();
        let machine = self.machine_mut(id);
        machine.aside = None;
        machine.epoch = newest;
        tell!(self, "{id:?} gets a fresh disk, to join {newest:?}");
        self.count(Counted::CameOver);
        self.register_later(self.name(id));
    }
}

impl Image {
    /// What a start brought back.
    pub(crate) fn of(recovered: &Recovered) -> Self {
        let peers = recovered.peers.iter();
        Self {
            hard: recovered.hard_state,
            base: recovered.base,
            entries: recovered.entries.iter().cloned().collect(),
            peers: peers.map(|peer| (peer.member, *peer)).collect(),
        }
    }

    /// The last entry of a term below this one.
    fn last_before(&self, term: Term) -> Position {
        let before = self.entries.iter().rfind(|entry| entry.term < term);
        before.map_or(self.base, Entry::position)
    }
}

/// The first term of an epoch.
fn floor(epoch: Epoch) -> Term {
    Term(u64::from(epoch.0) << 32)
}
