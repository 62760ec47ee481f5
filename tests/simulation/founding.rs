//! The life of a process: its start, its first start with others (R13), and its end.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use remember::consensus::{
    ClusterId, Founding, Index, Input, Membership, Node, NodeId, Recovered, Report, found,
};

use super::disk::Found;
use super::machine::{Founder, Gone, Life, Member, Process, Requests, Stage};
use super::replica::Replica;
use super::storage::WalQueue;
use super::tally::Counted;
use super::world::{Deed, Event, World, tell};

impl World {
    /// A machine starts its process, unless one runs or it has no power.
    pub(crate) fn start(&mut self, id: NodeId) {
        self.look_at(self.machine(id).epoch);
        let machine = self.machine_mut(id);
        let never = !matches!(machine.gone, None | Some(Gone::Wiped | Gone::OldCopy));
        if machine.process.is_some() || !machine.powered || never || machine.awaits_welcome() {
            return;
        }
        let found = match machine.disk.start() {
            Ok(found) => found,
            Err(error) => return self.start_failed(id, &error),
        };
        self.lives += 1;
        let life = Life(self.lives);
        tell!(
            self,
            "{id:?} starts {:?} at {:?}",
            found.boots.newest(),
            found.image.last()
        );
        if found.membership.is_some() {
            self.start_member(id, life, found);
            return;
        }
        let founder = Box::new(Founder {
            incarnation: found.incarnation,
            name: ClusterId(self.rng.number()),
            reports: BTreeMap::from([(id, Report::Fresh(found.incarnation))]),
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
        self.process_after(id, Duration::ZERO, Deed::Ask);
    }

    pub(crate) fn start_member(&mut self, id: NodeId, life: Life, found: Found) {
        self.machine_mut(id).incarnation = found.incarnation;
        self.enter_cluster(id, &found);
        let Found {
            incarnation: _,
            boots,
            membership,
            image,
            view,
            configuration,
        } = found;
        let membership = membership.expect("a member has one");
        let name = self.name(id);
        self.oracle.joins(name, &membership);
        let known = configuration.iter().chain([&membership.settled]);
        let (kept, dropped) = (self.oracle).recovered(name, boots.newest(), &image, known.cloned());
        if image.base.index > Index(0) {
            self.oracle.hashed(name, image.base.index, view.hash());
        }
        self.tally.count_many(Counted::Recovered, kept);
        self.tally.count_many(Counted::Dropped, dropped);
        assert_eq!(
            view.position(),
            image.base,
            "the snapshot is not what the log begins with"
        );
        let recovered = Recovered {
            member: name,
            boots,
            membership: membership.clone(),
            hard_state: image.hard,
            base: image.base,
            configuration,
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
            replica: Replica::resume(view),
            snapshotting: false,
            incoming: None,
            staged: Vec::new(),
            requests: Requests::default(),
            retired: false,
            asked_witness: None,
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
            let report = Box::new(
                match &self
                    .machine(about)
                    .process
                    .as_ref()
                    .expect("it responds")
                    .stage
                {
                    Stage::Founding(founder) => Report::Fresh(founder.incarnation),
                    Stage::Member(member) => Report::Member(member.membership.clone()),
                },
            );
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
        let configured = self.founders().into_iter().collect();
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
                self.process_after(id, delay, Deed::Adopted(Box::new(membership)));
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

    /// Makes the membership durable: the process is a voter then.
    pub(crate) fn adopted(&mut self, id: NodeId, membership: Membership) {
        let machine = self.machine_mut(id);
        let life = machine.life().expect("it adopts");
        let found = match machine.disk.adopt(membership) {
            Ok(found) => found,
            Err(error) => return self.storage_failed(id, &error),
        };
        if self.ids().first() == Some(&id) {
            self.count(Counted::Founded);
        }
        self.start_member(id, life, found);
    }

    /// A peer has turned this node away: its disk is marked, and it ends (R15).
    pub(crate) fn ends_turned_away(&mut self, id: NodeId, sentence: &str) {
        tell!(self, "{id:?} is turned away: {sentence}");
        let machine = self.machine_mut(id);
        assert_eq!(
            machine.gone,
            Some(Gone::OldCopy),
            "{id:?} is turned away: {sentence}"
        );
        if let Err(error) = machine.disk.quarantine(sentence) {
            self.storage_failed(id, &error);
            return;
        }
        self.stop(id, false);
        self.restart_later(id);
    }

    /// A process ends; with the power, or alone.
    pub(crate) fn stop(&mut self, id: NodeId, power: bool) {
        self.look_at(self.machine(id).epoch);
        let machine = self.machine_mut(id);
        machine.disk.stop_changes();
        let process = machine.process.take();
        let running = process.is_some();
        match process.map(|process| process.stage) {
            None => {}
            Some(Stage::Founding(_)) => self.count(Counted::FoundingCrashes),
            Some(Stage::Member(member)) => {
                // Their clients give up in the end.
                let lost = member.requests.open() as u64;
                self.tally.count_many(Counted::WritesLost, lost);
                if power && member.wal.is_writing() {
                    self.count(Counted::MidWrite);
                }
            }
        }
        let machine = self.machine_mut(id);
        if power {
            machine.disk.cut_power();
        } else {
            machine.disk.kill();
        }
        if running {
            self.end_sessions(id, power);
            self.oracle.stopped(self.name(id));
        }
    }
}
