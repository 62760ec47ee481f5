//! The shell around one core, as the real one is: it batches what happens into turns, calls again
//! by the deadline, and carries the outputs out in order. It keeps no rule of its own.

use std::time::Duration;

use remember::consensus::{
    Ballot, Event as Told, Index, Input, IoSeq, Message, Mono, NodeId, Output, Position, Record,
    Role, StepDown, Suspicion, Term, Verdict, Write,
};

use super::machine::{Job, Life};
use super::network::{LATEST, Session};
use super::replica::Replica;
use super::tally::Counted;
use super::world::{Deed, Event, World, tell};

/// How often a disk in trouble is tried again.
const POLL: Duration = Duration::from_millis(20);

/// A snapshot under way from one node to another.
pub(crate) struct Shipment {
    session: usize,
    term: Term,
    replica: Replica,
}

impl World {
    /// Something has happened to a voter; its core hears of it in the next turn.
    pub(crate) fn input(&mut self, id: NodeId, input: Input) {
        let member = self.member(id);
        member.inbox.push_back(input);
        self.expect_turn(id);
    }

    /// The core asked to be called by now.
    pub(crate) fn wake(&mut self, id: NodeId) {
        let now = self.now;
        let machine = self.machine(id);
        let clock = machine.clock.read(now);
        let Some(member) = machine.member() else {
            return;
        };
        if member.wake.is_none_or(|wake| wake > now) {
            return;
        }
        let due = member.node.deadline() <= clock;
        self.member(id).wake = None;
        if due {
            self.expect_turn(id);
        } else {
            self.expect_wake(id);
        }
    }

    /// Hands the core what has happened, and does what it says.
    pub(crate) fn turn(&mut self, id: NodeId) {
        let clock = self.machine(id).clock.read(self.now);
        let batch = self.rng.place(64) + 1;
        let mut outputs = self.take_outputs();
        let member = self.member(id);
        member.turn_due = false;
        let batch = batch.min(member.inbox.len());
        member
            .node
            .turn(clock, member.inbox.drain(..batch), &mut outputs);
        for output in outputs.drain(..) {
            self.hash(&output);
            self.carry_out(id, output);
        }
        self.keep_outputs(outputs);
        let member = self.member(id);
        if member.inbox.is_empty() {
            member.staged.clear();
        }
        let status = member.node.status();
        let spins = batch == 0 && member.node.deadline() <= clock;
        member.spins = if spins { member.spins + 1 } else { 0 };
        assert!(
            member.spins < 5,
            "{id:?} asks to be called again at once, for ever"
        );
        if member.inbox.is_empty() {
            self.expect_wake(id);
        } else {
            self.expect_turn(id);
        }
        self.oracle.after_turn(id, &status);
        self.consider_snapshot(id, &status);
    }

    fn expect_turn(&mut self, id: NodeId) {
        let delay = if self.troubled && self.rng.chance(2) {
            self.rng.millis(1, 50)
        } else {
            self.rng.micros(1, 50)
        };
        let member = self.member(id);
        if !member.turn_due {
            member.turn_due = true;
            self.process_after(id, delay, Deed::Turn);
        }
    }

    /// Calls again when the core's deadline has come, never sooner and a little later.
    pub(crate) fn expect_wake(&mut self, id: NodeId) {
        let now = self.now;
        let slack = self.rng.micros(0, 1000);
        let machine = self.machine(id);
        let member = machine.member().expect("it runs");
        let deadline = member.node.deadline();
        // A core that needs nothing for a day needs nothing in this run.
        if deadline.since(machine.clock.read(now)) > Duration::from_secs(86_400) {
            return;
        }
        let at = machine.clock.when(deadline, now) + slack;
        if member.wake.is_some_and(|wake| wake >= now && wake <= at) {
            return;
        }
        self.member(id).wake = Some(at);
        self.process_after(id, at - now, Deed::Wake);
    }

    fn carry_out(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Write(write) => self.write(id, write),
            Output::Send { to, message } => {
                self.oracle.sent(id, to, &message);
                self.count_message(&message);
                self.send(id, to, message);
            }
            Output::Apply(entries) => self.apply(id, &entries),
            Output::Accepted { ticket, position } => self.accepted(id, ticket, position),
            Output::Refused { ticket, refusal } => self.refused(id, ticket, refusal),
            Output::Unknown { ticket } => self.unknown(id, ticket),
            Output::ReadAt { ticket, index } => self.read_at(id, ticket, index),
            Output::TransferEnded { ticket, moved } => self.transfer_ended(id, ticket, moved),
            Output::SendSnapshot { to, term } => self.send_snapshot(id, to, term),
            Output::InstallSnapshot {
                seq,
                position,
                keep_log,
            } => {
                self.install_snapshot(id, seq, position, keep_log);
            }
            Output::Probe(peer) => self.dial(id, peer),
            Output::Event(event) => self.told_event(id, &event),
        }
    }

    fn write(&mut self, id: NodeId, write: Write) {
        tell!(self, "{id:?} writes {:?} {:?}", write.seq, write.records);
        self.oracle.issued(id, &write);
        self.queue_job(id, Job::Write(write));
    }

    fn queue_job(&mut self, id: NodeId, job: Job) {
        let wal = &mut self.member(id).wal;
        assert_eq!(
            job.seq(),
            wal.last.next(),
            "writes are numbered without a gap"
        );
        wal.last = job.seq();
        wal.waiting.push_back(job);
        self.begin_writing(id);
    }

    /// Storage takes everything that waits as one group, if it is idle and there is room.
    pub(crate) fn begin_writing(&mut self, id: NodeId) {
        let now = self.now;
        let (low, high) = self.plan.sync_micros;
        let delay = self.rng.micros(low, high);
        let machine = self.machine_mut(id);
        let trouble = machine.trouble;
        let Some(member) = machine.member_mut() else {
            return;
        };
        if !member.wal.group.is_empty() || member.wal.waiting.is_empty() {
            return;
        }
        if trouble.full_until > now {
            if !std::mem::replace(&mut member.wal.full, true) {
                self.input(id, Input::DiskFull(true));
            }
            self.process_after(id, POLL, Deed::Retry);
            return;
        }
        let was_full = std::mem::replace(&mut member.wal.full, false);
        member.wal.group = member.wal.waiting.drain(..).collect();
        if was_full {
            self.input(id, Input::DiskFull(false));
        }
        self.write_group(id);
        self.process_after(id, delay, Deed::Synced);
    }

    fn write_group(&mut self, id: NodeId) {
        let machine = self.machine_mut(id);
        let group = std::mem::take(&mut machine.member_mut().expect("it writes").wal.group);
        for job in &group {
            match job {
                Job::Write(write) => machine.disk.write(&write.records),
                Job::Install {
                    keep_log, replica, ..
                } => {
                    machine.disk.publish(Replica::clone(replica));
                    let position = replica.applied();
                    machine.disk.write(&[Record::Base {
                        position,
                        keep_log: *keep_log,
                    }]);
                }
            }
        }
        machine.member_mut().expect("it writes").wal.group = group;
    }

    /// The group is on the platter: the core is told, and the next group begins.
    pub(crate) fn synced(&mut self, id: NodeId) {
        let now = self.now;
        let machine = self.machine_mut(id);
        if machine.trouble.stalled_until > now {
            self.process_after(id, POLL, Deed::Synced);
            return;
        }
        if std::mem::replace(&mut machine.trouble.fails, false) {
            tell!(self, "{id:?} gets EIO, and stops");
            self.count(Counted::IoErrors);
            self.stop(id, false);
            self.restart_later(id);
            return;
        }
        machine.disk.sync();
        let group = std::mem::take(&mut machine.member_mut().expect("it writes").wal.group);
        let seq = group.last().expect("a group is not empty").seq();
        self.oracle.durable(id, seq);
        self.input(id, Input::Durable(seq));
        self.begin_writing(id);
    }

    fn apply(&mut self, id: NodeId, entries: &[remember::consensus::Entry]) {
        assert!(!entries.is_empty(), "nothing to apply is nothing to say");
        for entry in entries {
            self.oracle.applied(id, entry);
            self.clients.committed(entry);
            let member = self.member(id);
            member.replica.apply(entry);
            let hash = member.replica.hash();
            self.oracle.hashed(id, entry.index, hash);
            self.resolve_writes(id, entry.position());
        }
        tell!(
            self,
            "{id:?} applied up to {:?}",
            self.machine(id).applied()
        );
        self.resolve_reads(id);
    }

    fn consider_snapshot(&mut self, id: NodeId, status: &remember::consensus::Status) {
        let limit = self.plan.snapshot_bytes;
        let member = self.member(id);
        let position = member.replica.applied();
        let ripe = status.log_bytes > limit
            && position.index <= status.durable
            && position.index > status.base.index;
        if !ripe || member.snapshotting {
            return;
        }
        member.snapshotting = true;
        let replica = Box::new(member.replica.clone());
        let delay = self.rng.millis(1, 50);
        self.process_after(id, delay, Deed::SnapshotMade(replica));
    }

    /// A snapshot of this node's own state is durable.
    pub(crate) fn snapshot_made(&mut self, id: NodeId, replica: Replica) {
        let position = replica.applied();
        let machine = self.machine_mut(id);
        machine.disk.publish(replica);
        machine.member_mut().expect("it made one").snapshotting = false;
        self.count(Counted::SnapshotsTaken);
        self.input(id, Input::SnapshotTaken(position));
    }

    fn send_snapshot(&mut self, from: NodeId, to: NodeId, term: Term) {
        let Some(session) = self.session(from, to) else {
            self.input(
                from,
                Input::SnapshotSent {
                    to,
                    delivered: false,
                },
            );
            return;
        };
        let replica = self.machine(from).disk.snapshot();
        let replica = replica
            .expect("a log that begins later has a snapshot")
            .clone();
        let chunks = u32::try_from(self.rng.between(1, 8)).expect("few");
        let delay = (self.latency(from, to) * 2 * chunks).min(LATEST);
        tell!(
            self,
            "{from:?} ships a snapshot of {:?} to {to:?}",
            replica.applied()
        );
        let shipment = self.network.shipments.len();
        self.network.shipments.push(Some(Shipment {
            session,
            term,
            replica,
        }));
        let fails = self.troubled && self.rng.chance(200);
        let to_life = self.network.sessions[session].to_life;
        let from_life = self.machine(from).life().expect("it sends");
        if !fails && self.passes(from, to) {
            let deed = Deed::SnapshotCame { from, shipment };
            self.after(delay, Event::Process(to, to_life, deed));
        }
        // The sender gives up in the end, whatever became of the receiver.
        let patience = self.rng.millis(200, 1000) + delay * 2;
        self.forget_shipment_after(from, from_life, to, shipment, patience);
    }

    fn forget_shipment_after(
        &mut self,
        from: NodeId,
        life: Life,
        to: NodeId,
        shipment: usize,
        patience: Duration,
    ) {
        let deed = Deed::SnapshotGivenUp { to, shipment };
        self.after(patience, Event::Process(from, life, deed));
    }

    /// The last chunk of a snapshot is there, if its session still is.
    pub(crate) fn snapshot_came(&mut self, id: NodeId, from: NodeId, shipment: usize) {
        let Some(Shipment {
            session,
            term,
            replica,
        }) = self.network.shipments[shipment].take()
        else {
            return;
        };
        let Session {
            receiver_open,
            from_life,
            ..
        } = self.network.sessions[session];
        let delivered = receiver_open && self.passes(from, id);
        if delivered {
            let position = replica.applied();
            self.member(id).staged.push(replica);
            self.input(
                id,
                Input::SnapshotReceived {
                    from,
                    term,
                    position,
                },
            );
        }
        let delay = self.latency(id, from);
        let deed = Deed::SnapshotGone { to: id, delivered };
        self.after(delay, Event::Process(from, from_life, deed));
    }

    /// No answer to a snapshot came in time.
    pub(crate) fn snapshot_given_up(&mut self, id: NodeId, to: NodeId, shipment: usize) {
        if self.network.shipments[shipment].take().is_some() {
            self.snapshot_gone(id, to, false);
        }
    }

    /// The sender of a snapshot knows what became of it.
    pub(crate) fn snapshot_gone(&mut self, id: NodeId, to: NodeId, delivered: bool) {
        let what = if delivered {
            Counted::SnapshotsSent
        } else {
            Counted::SnapshotsFailed
        };
        self.count(what);
        self.input(id, Input::SnapshotSent { to, delivered });
    }

    fn install_snapshot(&mut self, id: NodeId, seq: IoSeq, position: Position, keep_log: bool) {
        tell!(
            self,
            "{id:?} installs {seq:?} a snapshot of {position:?}, keeps log: {keep_log}"
        );
        self.count(Counted::SnapshotsInstalled);
        let member = self.member(id);
        let staged = member
            .staged
            .iter()
            .position(|replica| replica.applied() == position);
        let replica = member
            .staged
            .swap_remove(staged.expect("a received snapshot is installed"));
        assert!(
            position.index > member.replica.index(),
            "a snapshot of {position:?} takes {id:?} back from {:?}",
            member.replica.applied()
        );
        member.replica = replica.clone();
        self.oracle.installed(id, seq, position, keep_log);
        self.oracle.hashed(id, position.index, replica.hash());
        self.queue_job(
            id,
            Job::Install {
                seq,
                keep_log,
                replica: Box::new(replica),
            },
        );
        self.void_writes(id, position.index);
        self.resolve_reads(id);
    }

    fn told_event(&mut self, id: NodeId, event: &Told) {
        tell!(self, "{id:?} {event:?}");
        match event {
            Told::RoleChanged {
                role: Role::Leader,
                term,
                ..
            } => {
                self.count(Counted::Elections);
                self.oracle.leads(id, *term);
            }
            Told::Suspected { why, .. } => self.count(match why {
                Suspicion::Silence => Counted::SuspectedSilence,
                Suspicion::Refused => Counted::SuspectedRefused,
                Suspicion::Restarted => Counted::SuspectedRestarted,
            }),
            Told::SteppedDown { why, .. } => self.count(match why {
                StepDown::HigherTerm => Counted::SteppedDownTerm,
                StepDown::NoQuorum => Counted::SteppedDownQuorum,
            }),
            Told::Truncated { .. } => self.count(Counted::Truncations),
            Told::StorageStalled(true) => self.count(Counted::StallsNoticed),
            Told::Stands { .. }
            | Told::RoleChanged { .. }
            | Told::Established { .. }
            | Told::HandingOver { .. }
            | Told::StorageStalled(false) => {}
        }
    }

    fn count_message(&mut self, message: &Message) {
        let what = match message {
            Message::VoteRequest(request) if request.ballot == Ballot::Pre => Counted::PreVotes,
            Message::VoteReply(reply) => match reply.verdict {
                Verdict::Held => Counted::PreVotesHeld,
                Verdict::HasLeader => Counted::HasLeader,
                Verdict::LogBehind => Counted::LogBehind,
                Verdict::VotedForOther => Counted::VotedForOther,
                Verdict::Granted | Verdict::StaleTerm => return,
            },
            _ => return,
        };
        self.count(what);
    }

    /// Where a node's clock stands.
    pub(crate) fn clock(&self, id: NodeId) -> Mono {
        self.machine(id).clock.read(self.now)
    }

    /// The index up to which a node has applied.
    pub(crate) fn applied(&self, id: NodeId) -> Index {
        self.machine(id).applied().index
    }
}
