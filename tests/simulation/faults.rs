//! What goes wrong, and how it is put right again.

use std::time::Duration;

use remember::consensus::{Boot, Input, MemberId, NodeId};

use super::disk::Disk;
use super::hub::HubStage;
use super::machine::Gone;
use super::sim_disk::Fault as DiskFault;
use super::tally::Counted;
use super::world::{Deed, End, Event, World, tell};

/// How long clients think between two requests once nothing goes wrong any more, in milliseconds at
/// most, if not longer: most of what is worth asking for is asked for while things go wrong.
const CALM_THINK_MILLIS: u64 = 200;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// A process is killed; its machine and its page cache live on.
    Kill,
    /// A machine loses power.
    PowerCut,
    /// All machines lose power at once.
    Outage,
    /// A process is stopped for a while, as by SIGSTOP.
    Pause,
    /// A clock jumps forward, or runs at another rate.
    Clock,
    /// The network is cut in some shape.
    Cut,
    /// Some ways become slow.
    Slow,
    /// A disk does not answer for a while.
    DiskStall,
    /// A disk has no room for a while.
    DiskFull,
    /// A disk fails once.
    DiskError,
    /// A machine loses power at one of the next changes of its disk.
    TornWrite,
    /// A bit of a disk flips.
    Rot,
    /// A disk is replaced by an empty one, for ever.
    Wipe,
    /// A disk is replaced by an old copy of it, for ever.
    OldCopy,
    /// A disk is replaced by an empty one, which is let in as another member if members change.
    Replace,
    /// Somebody asks for a hand-over.
    Transfer,
    /// A node is told not to stand for a while.
    Retire,
    /// A node misses what the others agree on, and then is the only one that any of them reaches.
    Hub,
}

impl Fault {
    /// All kinds but [`Fault::Hub`], which is drawn apart.
    pub(crate) const ALL: &[Self] = &[
        Self::Kill,
        Self::PowerCut,
        Self::Outage,
        Self::Pause,
        Self::Clock,
        Self::Cut,
        Self::Slow,
        Self::DiskStall,
        Self::DiskFull,
        Self::DiskError,
        Self::TornWrite,
        Self::Rot,
        Self::Wipe,
        Self::OldCopy,
        Self::Replace,
        Self::Transfer,
        Self::Retire,
    ];
}

/// How something is put right.
pub(crate) enum Mending {
    /// A machine has power again.
    Power(NodeId),
    /// A disk has room again.
    Disk(NodeId),
    /// The network is whole and fast again.
    Network,
    /// The network with that hub looks otherwise.
    Hub(NodeId, HubStage),
    /// A node may stand again.
    Stand(NodeId),
    /// A machine gets another disk, as soon as its old one can be done without.
    Exchange(NodeId),
    /// A disk that came in the place of another one asks to be let in.
    Member(MemberId),
    /// A machine gets its old disk back, perhaps.
    OldDisk(NodeId),
    /// A machine has its new disk again.
    NewDisk(NodeId),
    /// A disk that is to begin another cluster is tried again.
    Recovery(NodeId),
    /// A machine that was ended is started again.
    Ended(NodeId),
    /// A machine gets a fresh disk, with which it comes to the newest cluster.
    Over(NodeId),
}

impl Mending {
    /// Whom it is for.
    fn machine(&self) -> Option<NodeId> {
        match self {
            Self::Network | Self::Hub(..) => None,
            Self::Member(member) => Some(member.id),
            Self::Power(id)
            | Self::Disk(id)
            | Self::Stand(id)
            | Self::Exchange(id)
            | Self::OldDisk(id)
            | Self::NewDisk(id)
            | Self::Recovery(id)
            | Self::Ended(id)
            | Self::Over(id) => Some(*id),
        }
    }
}

impl World {
    /// How long a fault lasts.
    pub(crate) fn a_while(&mut self) -> Duration {
        let longest = if self.troubled {
            self.plan.fault_lasts_millis
        } else {
            100
        };
        self.rng.millis(10, longest)
    }

    /// The next fault comes after a while.
    pub(crate) fn schedule_fault(&mut self) {
        let (low, high) = self.plan.fault_millis;
        let delay = self.rng.millis(low, high);
        self.after(delay, Event::Fault);
    }

    /// Something goes wrong, and will again.
    pub(crate) fn fault(&mut self) {
        if !self.troubled {
            return;
        }
        let kind = self.rng.pick(&self.plan.faults);
        let ids = self.ids();
        let id = self.rng.pick(&ids);
        tell!(self, "FAULT {kind:?} {id:?}");
        let epoch = self.machine(id).epoch;
        self.look_at(epoch);
        match kind {
            // The disks of a cluster that was given up get no care, and the one that is chosen to
            // begin another gets all of it.
            Fault::Rot | Fault::Wipe | Fault::OldCopy | Fault::Replace
                if epoch != self.newest_epoch() || self.machine(id).recovery.is_some() =>
            {
                self.kill(id);
            }
            Fault::Kill => self.kill(id),
            Fault::PowerCut => self.cut_power(id),
            Fault::Outage => self.outage(),
            Fault::Pause => self.pause(id),
            Fault::Clock => self.disturb_clock(id),
            Fault::Cut => self.cut_somehow(),
            Fault::Slow => self.slow_down(),
            Fault::DiskStall => {
                self.count(Counted::DiskStalls);
                let stall = self.a_while();
                self.machine_mut(id).stalled_until = self.now + stall;
            }
            Fault::DiskFull => self.fill_disk(id),
            Fault::DiskError => {
                let faults = [
                    DiskFault::Read,
                    DiskFault::Write,
                    DiskFault::Sync,
                    DiskFault::SyncDir,
                ];
                let fault = self.rng.pick(&faults);
                self.machine_mut(id).disk.fail_next(fault);
            }
            Fault::TornWrite => self.lose_power_soon(id),
            Fault::Rot => self.rot(id),
            Fault::Wipe => self.wipe(id),
            Fault::OldCopy => self.restore(id),
            Fault::Replace => self.replace_disk(id),
            Fault::Transfer => self.ask_to_hand_over(id),
            Fault::Retire => self.retire(id),
            Fault::Hub => self.shape_for(id, HubStage::Missing),
        }
        self.schedule_fault();
    }

    /// Puts something right.
    pub(crate) fn mend(&mut self, mending: &Mending) {
        if let Some(id) = mending.machine() {
            self.look_at(self.machine(id).epoch);
        }
        match mending {
            Mending::Power(id) => {
                self.machine_mut(*id).powered = true;
                self.start(*id);
            }
            Mending::Disk(id) => self.machine_mut(*id).disk.empty(),
            Mending::Network => self.network.heal(),
            Mending::Hub(hub, stage) => self.shape_for(*hub, *stage),
            Mending::Stand(id) => self.allow_to_stand(*id),
            Mending::Exchange(id) => self.replace_disk(*id),
            Mending::Member(member) => self.register(*member),
            Mending::OldDisk(id) => self.put_back(*id),
            Mending::NewDisk(id) => self.end_visit(*id),
            Mending::Recovery(id) => self.recover(*id),
            Mending::Ended(id) => self.come_back(*id),
            Mending::Over(id) => self.come_over(*id),
        }
    }

    /// Everything is put right, and nothing goes wrong any more.
    pub(crate) fn end_trouble(&mut self) {
        tell!(self, "NO MORE FAULTS");
        self.troubled = false;
        self.plan.think_millis = self.plan.think_millis.max(CALM_THINK_MILLIS);
        self.witness_away_until = self.now;
        self.network.heal();
        for id in self.ids() {
            self.look_at(self.machine(id).epoch);
            self.end_visit(id);
            let machine = self.machine_mut(id);
            machine.stalled_until = Duration::ZERO;
            machine.disk.mend();
            machine.powered = true;
            self.recover(id);
            let machine = self.machine(id);
            let life = machine.life();
            if let Some(life) = life {
                self.at(self.now, Event::Resume(id, life));
                self.allow_to_stand(id);
            } else {
                let delay = self.rng.millis(0, 200);
                self.after(delay, Event::Start(id));
            }
        }
    }

    /// A process dies, and is started again after a while.
    pub(crate) fn kill(&mut self, id: NodeId) {
        if self.machine(id).process.is_some() {
            self.count(Counted::Kills);
            self.stop(id, false);
            self.restart_later(id);
        }
    }

    /// A process dies, and is started again at a set time.
    pub(crate) fn stop_for(&mut self, id: NodeId, span: Duration) {
        self.stop(id, false);
        self.after(span, Event::Start(id));
    }

    /// A process that is not there is started after a while.
    pub(crate) fn restart_later(&mut self, id: NodeId) {
        let soon = self.rng.chance(500);
        let delay = if soon {
            self.rng.millis(1, 50)
        } else {
            self.a_while()
        };
        self.after(delay, Event::Start(id));
    }

    /// A machine loses power, and has it again after a while.
    pub(crate) fn cut_power(&mut self, id: NodeId) {
        if self.machine(id).powered {
            self.count(Counted::PowerCuts);
            self.lose_power_for_a_while(id);
        }
    }

    /// Like [`Self::cut_power`], for a machine whose disk has noticed it already.
    pub(crate) fn lose_power_for_a_while(&mut self, id: NodeId) {
        self.lose_power(id);
        let delay = self.a_while();
        self.after(delay, Event::Mend(Mending::Power(id)));
    }

    /// The power fails if it has not yet, unless nothing may fail any more.
    pub(crate) fn lose_power_now(&mut self, id: NodeId) {
        if self.troubled {
            self.cut_power(id);
        }
    }

    fn lose_power_soon(&mut self, id: NodeId) {
        let mut rng = self.rng.fork();
        let machine = self.machine_mut(id);
        if machine.powered {
            machine.disk.lose_power_soon(&mut rng, 12);
        }
        if machine.process.is_some() {
            self.process_after(id, Duration::from_millis(100), Deed::LosePower);
        }
    }

    /// All machines lose power at once, and have it again at nearly the same time.
    pub(crate) fn outage(&mut self) {
        self.count(Counted::Outages);
        let together = self.rng.chance(500);
        let delay = self.rng.millis(100, 1000);
        for id in self.ids() {
            if self.machine(id).powered {
                self.lose_power(id);
                let more = if together {
                    Duration::ZERO
                } else {
                    self.rng.millis(0, 500)
                };
                self.after(delay + more, Event::Mend(Mending::Power(id)));
            }
        }
    }

    fn lose_power(&mut self, id: NodeId) {
        self.stop(id, true);
        self.machine_mut(id).powered = false;
    }

    fn fill_disk(&mut self, id: NodeId) {
        self.count(Counted::DiskFull);
        let room = self.rng.pick(&[0, 1000, 20_000]);
        self.machine_mut(id).disk.fill(room);
        let delay = self.a_while();
        self.after(delay, Event::Mend(Mending::Disk(id)));
    }

    /// Flips a bit under a running node, and starts it anew: it refuses to start, or has lost
    /// nothing.
    fn rot(&mut self, id: NodeId) {
        if !self.may_spare(id) || self.machine(id).member().is_none() {
            return;
        }
        let mut rng = self.rng.fork();
        let machine = self.machine_mut(id);
        machine.rotted = true;
        match machine.disk.rot(&mut rng) {
            Ok(place) => tell!(self, "{id:?} rots: {place}"),
            Err(error) => return self.storage_failed(id, &error),
        }
        self.count(Counted::Rotten);
        self.leave_members_alone();
        if self.rng.chance(500) {
            self.kill(id);
        } else {
            self.cut_power(id);
        }
    }

    fn pause(&mut self, id: NodeId) {
        let pause = self.a_while();
        let Some(process) = self.machine_mut(id).process.as_mut().filter(|p| !p.paused) else {
            return;
        };
        process.paused = true;
        let life = process.life;
        self.count(Counted::Pauses);
        self.after(pause, Event::Resume(id, life));
    }

    fn disturb_clock(&mut self, id: NodeId) {
        let now = self.now;
        if self.rng.chance(500) {
            self.count(Counted::ClockJumps);
            let by = self.rng.millis(1, 5000);
            self.machine_mut(id).clock.jump(now, by);
        } else {
            let off = u32::try_from(self.rng.below(100_001)).expect("small");
            self.machine_mut(id).clock.run_at(now, 950_000 + off);
        }
        let machine = self.machine_mut(id);
        let awake = machine.responds();
        if let Some(member) = machine.member_mut().filter(|_| awake) {
            member.wake = None;
            self.expect_wake(id);
        }
    }

    fn cut_somehow(&mut self) {
        let ids = self.ids();
        let one = self.rng.pick(&ids);
        let mut ways: Vec<(NodeId, NodeId)> = ids
            .iter()
            .flat_map(|a| ids.iter().map(move |b| (*a, *b)))
            .collect();
        ways.retain(|(a, b)| a != b);
        match self.rng.below(7) {
            0 => ways.retain(|(a, b)| *a == one || *b == one),
            1 => ways.retain(|(a, _)| *a == one),
            2 => ways.retain(|(_, b)| *b == one),
            3 | 4 => {
                let side = self.rng.some(&ids, 1, ids.len());
                let bridge = if self.rng.chance(500) {
                    Some(one)
                } else {
                    None
                };
                ways.retain(|(a, b)| side.contains(a) != side.contains(b));
                ways.retain(|(a, b)| Some(*a) != bridge && Some(*b) != bridge);
            }
            5 => ways = self.rng.some(&ways, 1, ways.len()),
            _ => {
                let pairs: Vec<_> = ways.iter().copied().filter(|(a, b)| a < b).collect();
                let pairs = self.rng.some(&pairs, 1, pairs.len());
                ways.retain(|(a, b)| pairs.contains(&(*a.min(b), *a.max(b))));
            }
        }
        self.count(Counted::Cuts);
        self.cut(&ways);
        let delay = self.a_while();
        self.after(delay, Event::Mend(Mending::Network));
    }

    /// Lets these ways carry nothing; sessions on them die in the end, or last until it is over.
    pub(crate) fn cut(&mut self, ways: &[(NodeId, NodeId)]) {
        tell!(self, "cut: {ways:?}");
        self.network.cut.extend(ways);
        for session in self.network.open_sessions() {
            let open = &self.network.sessions[session];
            if !self.network.connects(open.from, open.to) && self.rng.chance(500) {
                for end in [End::Sender, End::Receiver] {
                    let delay = self.a_while();
                    self.after(delay, Event::Ended { session, end });
                }
            }
        }
    }

    fn slow_down(&mut self) {
        let ids = self.ids();
        let times = u32::try_from(self.rng.between(5, 200)).expect("small");
        for from in self.rng.some(&ids, 1, 2) {
            for to in self.rng.some(&ids, 1, ids.len()) {
                self.network.slow_down(from, to, times);
            }
        }
        let delay = self.a_while();
        self.after(delay, Event::Mend(Mending::Network));
    }

    fn wipe(&mut self, id: NodeId) {
        let founders = self.founders();
        let mut members = founders
            .iter()
            .chain([&id])
            .map(|id| &self.machine(*id).disk);
        let founded = members.all(Disk::is_member);
        // A list of founders all of which are empty would found another cluster (R13).
        let is_known = |other: &NodeId| *other != id && self.machine(*other).gone.is_none();
        let remembered = founders.iter().any(is_known);
        let goes_on = self.may_spare(id) && founded && remembered;
        if !goes_on || self.machine(id).gone.is_some() {
            return;
        }
        self.stop(id, true);
        let mut rng = self.rng.fork();
        let machine = self.machine_mut(id);
        machine.disk = Disk::new(id, &mut rng);
        machine.gone = Some(Gone::Wiped);
        self.leave_members_alone();
        self.restart_later(id);
    }

    /// Puts an old copy in the place of a disk, if all that may meet it know of newer boots. It may
    /// have been started elsewhere, more often than the disk itself.
    fn restore(&mut self, id: NodeId) {
        let others = self.whole().into_iter().filter(|other| *other != id);
        let known = others
            .map(|other| self.oracle.remembered_boot(self.name(other), self.name(id)))
            .map(Boot::count)
            .min();
        let old = self
            .machine(id)
            .copy
            .as_ref()
            .map(|(_, boot)| boot.count() + 1);
        if old.is_none() || old > known || !self.may_spare(id) || self.machine(id).gone.is_some() {
            self.copy_disk(id);
            return;
        }
        self.stop(id, true);
        self.oracle.loses_disk(self.name(id));
        let machine = self.machine_mut(id);
        let (disk, boot) = machine.copy.take().expect("there is one");
        machine.disk = disk;
        machine.gone = Some(Gone::OldCopy);
        self.leave_members_alone();
        let starts = self.rng.pick(&[0, 0, 1, 5, 20]);
        for _ in 0..starts {
            let disk = &mut self.machine_mut(id).disk;
            disk.start().expect("nothing goes wrong elsewhere");
            disk.kill();
        }
        tell!(
            self,
            "{id:?} gets back the disk of {boot:?}, started {starts} times since"
        );
        self.restart_later(id);
    }

    /// Takes the copy at a power cut, and cuts the power again so that the copy becomes old. One
    /// from when its node alone had a vote decides alone: nobody who knows better is ever met.
    fn copy_disk(&mut self, id: NodeId) {
        let boot = self.oracle.boot(self.name(id));
        let machine = self.machine(id);
        if machine.copy.is_none() && boot > Boot(0) && !machine.is_replaced() {
            self.cut_power(id);
            let mut rng = self.rng.fork();
            let machine = self.machine_mut(id);
            let copy = machine.disk.copy(&mut rng);
            machine.copy = Some((copy, boot)).filter(|(copy, _)| !copy.decides_alone());
        } else {
            self.kill(id);
        }
    }

    /// A node is asked to let another one lead, whoever that is.
    pub(crate) fn ask_to_hand_over(&mut self, id: NodeId) {
        let ids = self.ids();
        let to = if self.rng.chance(500) {
            None
        } else {
            Some(self.rng.pick(&ids))
        };
        let Some(member) = self.machine_mut(id).member_mut() else {
            return;
        };
        let ticket = member.requests.ticket();
        member.requests.transfers.insert(ticket);
        let within = None;
        self.input(id, Input::Transfer { ticket, to, within });
    }

    fn retire(&mut self, id: NodeId) {
        let Some(member) = self.machine_mut(id).member_mut() else {
            return;
        };
        member.retired = true;
        self.count(Counted::NotStanding);
        self.input(id, Input::MayStand(false));
        let delay = self.a_while();
        self.after(delay, Event::Mend(Mending::Stand(id)));
    }

    fn allow_to_stand(&mut self, id: NodeId) {
        let Some(member) = self.machine_mut(id).member_mut() else {
            return;
        };
        if std::mem::replace(&mut member.retired, false) {
            self.input(id, Input::MayStand(true));
        }
    }
}
