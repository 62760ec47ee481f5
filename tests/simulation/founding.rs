//! The life of a process: its start, its first start with others (R13), and its end.

use std::collections::{BTreeMap, VecDeque};

use remember::consensus::{
    ClusterId, Founding, HardState, Input, Membership, Node, NodeId, Recovered, Report, found,
};

use super::disk::Found;
use super::machine::{Founder, Gone, Life, Member, Process, Requests, Stage, WalQueue};
use super::tally::Counted;
use super::world::{Deed, Event, World, tell};

impl World {
    /// A machine starts its process, unless one runs or it has no power.
    pub(crate) fn start(&mut self, id: NodeId) {
        let machine = self.machine_mut(id);
        let never = !matches!(machine.gone, None | Some(Gone::Wiped));
        if machine.process.is_some() || !machine.powered || never {
            return;
        }
        let found = machine.disk.start();
        self.lives += 1;
        let life = Life(self.lives);
        tell!(
            self,
            "{id:?} starts {:?} at {:?}",
            found.boot,
            found.image.last()
        );
        if found.membership.is_some() {
            self.start_member(id, life, found);
            return;
        }
        let reports = BTreeMap::from([(id, Report::Fresh(found.incarnation))]);
        let founder = Box::new(Founder {
            incarnation: found.incarnation,
            boot: found.boot,
            name: ClusterId(self.rng.number()),
            reports,
            joining: false,
        });
        let stage = Stage::Founding(founder);
        let process = Process {
            life,
            paused: false,
            deferred: Vec::new(),
            stage,
        };
        self.machine_mut(id).process = Some(process);
        self.process_after(id, std::time::Duration::ZERO, Deed::Ask);
    }

    fn start_member(&mut self, id: NodeId, life: Life, found: Found) {
        let Found {
            incarnation,
            boot,
            membership,
            image,
            replica,
        } = found;
        let membership = membership.expect("a member has one");
        let (kept, dropped) = self.oracle.recovered(id, boot, &image);
        self.tally.count_many(Counted::Recovered, kept);
        self.tally.count_many(Counted::Dropped, dropped);
        assert_eq!(
            replica.applied(),
            image.base,
            "the snapshot is not what the log begins with"
        );
        let recovered = Recovered {
            id,
            incarnation,
            boot,
            membership: membership.clone(),
            hard_state: image.hard,
            base: image.base,
            entries: image.entries.into(),
            peers: image.peers.into_values().collect(),
        };
        let seed = self.rng.number();
        let clock = self.clock(id);
        let node = Node::new(recovered, self.plan.config.clone(), seed, clock);
        let member = Member {
            node: node.expect("the plan's limits work together"),
            membership,
            inbox: VecDeque::new(),
            turn_due: false,
            spins: 0,
            wake: None,
            links: BTreeMap::new(),
            wal: WalQueue::default(),
            replica,
            snapshotting: false,
            staged: Vec::new(),
            requests: Requests::default(),
            retired: false,
        };
        let stage = Stage::Member(Box::new(member));
        let process = Process {
            life,
            paused: false,
            deferred: Vec::new(),
            stage,
        };
        self.machine_mut(id).process = Some(process);
        for peer in self.ids() {
            if peer != id {
                let delay = self.rng.micros(0, 5000);
                self.process_after(id, delay, Deed::Dial(peer));
            }
        }
        self.input(id, Input::Tick);
    }

    /// A process without a cluster asks everybody else what they are.
    pub(crate) fn ask(&mut self, id: NodeId) {
        let machine = self.machine_mut(id);
        let life = machine.life().expect("it asks");
        if machine.founder_mut().is_none() {
            return;
        }
        for about in self.ids() {
            let there = about != id && self.passes(id, about) && self.machine(about).responds();
            if !there {
                continue;
            }
            let report = match &self
                .machine(about)
                .process
                .as_ref()
                .expect("it responds")
                .stage
            {
                Stage::Founding(founder) => Report::Fresh(founder.incarnation),
                Stage::Member(member) => Report::Member(member.membership.clone()),
            };
            let delay = self.latency(about, id);
            self.after(
                delay,
                Event::Process(id, life, Deed::Told { about, report }),
            );
        }
        let delay = self.rng.millis(5, 50);
        self.process_after(id, delay, Deed::Ask);
        self.judge(id);
    }

    /// A process without a cluster hears what another node is, and judges.
    pub(crate) fn told(&mut self, id: NodeId, about: NodeId, report: Report) {
        if let Some(founder) = self.machine_mut(id).founder_mut() {
            founder.reports.insert(about, report);
            self.judge(id);
        }
    }

    fn judge(&mut self, id: NodeId) {
        let configured = self.ids().into_iter().collect();
        let Some(founder) = self.machine_mut(id).founder_mut() else {
            return;
        };
        if founder.joining {
            return;
        }
        match found(id, &configured, &founder.reports, founder.name) {
            Founding::Wait(_) => {}
            Founding::Join(membership) => {
                founder.joining = true;
                let (low, high) = self.plan.sync_micros;
                let delay = self.rng.micros(low, high);
                self.process_after(id, delay, Deed::Adopted(membership));
            }
            Founding::Refused(rejection) => {
                tell!(self, "{id:?} is refused: {rejection}");
                let wiped = self.machine(id).gone == Some(Gone::Wiped);
                assert!(
                    wiped,
                    "{id:?} is refused although nothing happened to it: {rejection}"
                );
                self.count(Counted::Wiped);
                let machine = self.machine_mut(id);
                machine.process = None;
                machine.gone = Some(Gone::Refused);
            }
        }
    }

    /// The membership is durable: the process is a voter now.
    pub(crate) fn adopted(&mut self, id: NodeId, membership: Membership) {
        self.oracle.joins(id, &membership);
        if self.ids().first() == Some(&id) {
            self.count(Counted::Founded);
        }
        let machine = self.machine_mut(id);
        let life = machine.life().expect("it adopts");
        let founder = machine.founder_mut().expect("it has no cluster yet");
        let (incarnation, boot) = (founder.incarnation, founder.boot);
        machine.disk.adopt(membership.clone());
        let image = super::image::Image::default();
        assert_eq!(image.hard, HardState::default());
        let membership = Some(membership);
        let replica = super::replica::Replica::default();
        let found = Found {
            incarnation,
            boot,
            membership,
            image,
            replica,
        };
        self.start_member(id, life, found);
    }

    /// A process ends; with the power, or alone.
    pub(crate) fn stop(&mut self, id: NodeId, power: bool) {
        let Some(process) = self.machine_mut(id).process.take() else {
            return;
        };
        match process.stage {
            Stage::Founding(_) => self.count(Counted::FoundingCrashes),
            Stage::Member(member) => {
                // Their clients give up in the end.
                let lost = member.requests.open() as u64;
                self.tally.count_many(Counted::WritesLost, lost);
                if power && !member.wal.group.is_empty() {
                    self.count(Counted::MidWrite);
                }
            }
        }
        self.end_sessions(id, power);
        self.oracle.stopped(id);
    }
}
