//! The shell around one core, as the real one is: it batches what happens into turns, calls again
//! by the deadline, and carries the outputs out in order. It keeps no rule of its own.

use std::time::Duration;

use remember::consensus::{
    Ballot, Event as Told, Index, Input, Message, Mono, NodeId, Output, Role, StepDown, Suspicion,
    Verdict, Write,
};

use super::storage::Job;
use super::tally::Counted;
use super::world::{Deed, World, place, tell};

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
        self.note_welcomes(id, batch);
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
        let machine = &self.machines[place(id)];
        let node = &machine.member().expect("it has taken a turn").node;
        let configuration = node.configuration();
        (self.oracle).after_turn(machine.name(), &status, configuration);
        self.consider_snapshot(id, &status);
    }

    /// Of the next so many inputs, those that say by which configuration this one belongs.
    fn note_welcomes(&mut self, id: NodeId, batch: usize) {
        let name = self.name(id);
        let inbox = &self.member(id).inbox;
        let welcomes = inbox.iter().take(batch).filter_map(|input| match input {
            Input::Welcomed(settled) => Some(settled.clone()),
            _ => None,
        });
        for settled in welcomes.collect::<Vec<_>>() {
            self.oracle.welcomed(name, &settled);
        }
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
        if deadline.since(machine.clock.read(now)) > Duration::from_hours(24) {
            return;
        }
        let at = machine.clock.when(deadline, now) + slack;
        if member.wake.is_some_and(|wake| wake >= now && wake <= at) {
            return;
        }
        self.member(id).wake = Some(at);
        self.process_after(id, at.saturating_sub(now), Deed::Wake);
    }

    fn carry_out(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Write(write) => self.write(id, write),
            Output::Send { to, message } => {
                self.oracle.sent(self.name(id), to, &message);
                self.count_message(&message);
                self.send(id, to, message);
            }
            Output::Apply(entries) => self.apply(id, &entries),
            Output::Accepted { ticket, position } => self.accepted(id, ticket, position),
            Output::Refused { ticket, refusal } => self.refused(id, ticket, refusal),
            Output::Unknown { ticket } => self.unknown(id, ticket),
            Output::ReadAt { ticket, index } => self.read_at(id, ticket, index),
            Output::TransferEnded { ticket, moved } => self.transfer_ended(id, ticket, moved),
            Output::ChangeEnded { ticket, outcome } => self.change_ended(id, ticket, outcome),
            Output::SendSnapshot { to, term } => {
                self.process_after(id, Duration::ZERO, Deed::Ship { to, term });
            }
            Output::InstallSnapshot {
                seq,
                position,
                keep_log,
            } => {
                self.install_snapshot(id, seq, position, keep_log);
            }
            Output::Part(member) => self.part(id, member),
            Output::Exhausted(epoch) => panic!("{id:?} has no term left in {epoch:?}"),
            Output::Witness { request, ask } => self.ask_witness(id, request, &ask),
            Output::Probe(peer) => self.probe(id, peer),
            Output::Event(event) => self.told_event(id, &event),
        }
    }

    fn write(&mut self, id: NodeId, write: Write) {
        tell!(self, "{id:?} writes {:?} {:?}", write.seq, write.records);
        self.oracle.issued(self.name(id), &write);
        self.queue_job(id, Job::Write(write));
    }

    fn apply(&mut self, id: NodeId, entries: &[remember::consensus::Entry]) {
        assert!(!entries.is_empty(), "nothing to apply is nothing to say");
        for entry in entries {
            self.oracle.applied(self.name(id), entry);
            self.clients.committed(entry);
            let member = self.member(id);
            let outcome = member.replica.apply(entry);
            let hash = member.replica.view().hash();
            self.clients.applied(id, entry, &outcome);
            self.oracle.hashed(self.name(id), entry.index, hash);
            self.resolve_writes(id, entry.position());
        }
        tell!(
            self,
            "{id:?} applied up to {:?}",
            self.machine(id).applied()
        );
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
                let is_replaced = self.machine(id).is_replaced();
                assert!(!is_replaced, "{id:?} leads from a disk that was replaced");
                self.oracle.leads(self.name(id), *term);
                self.demand_token(*term);
                let is_given_up = self.epoch() < self.newest_epoch();
                (self.tally).count_many(Counted::LedOn, u64::from(is_given_up));
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
            Told::Alone => self.count(Counted::Alone),
            Told::Truncated { .. } => self.count(Counted::Truncations),
            Told::Supplied { .. } => self.count(Counted::Supplied),
            Told::StorageStalled(true) => self.count(Counted::StallsNoticed),
            Told::Stands {
                ballot: Ballot::Real,
                term,
            } => self.oracle.stands(*term),
            Told::ChangesVoters {
                why,
                promoted,
                removed,
            } => self.changed_by_itself(id, *why, promoted, removed),
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
