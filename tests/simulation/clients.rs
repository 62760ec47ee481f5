//! Those who use the cluster, and what they may rely on.
//!
//! Every write carries a value that no other write has, so the agreed log tells of each operation
//! where it took effect. The log is one order of all writes; the history is linearizable if that
//! order keeps real time: an operation takes effect behind everything that was acknowledged to
//! anybody before it began. `floor` is that mark, and it makes the check exact and cheap.

use std::collections::BTreeMap;

use remember::consensus::{Entry, Index, Input, NodeId, Payload, Position, Refusal, Term, Ticket};

use super::replica::{Assignment, REGISTERS};
use super::tally::Counted;
use super::world::{Event, World, tell};

/// All clients, and all that they ever asked for.
pub(crate) struct Clients {
    operations: Vec<Operation>,
    /// What each client waits for.
    waiting: Vec<Option<usize>>,
    /// The newest index that any client knows of.
    floor: Index,
    /// The agreed values of each register, by index.
    registers: BTreeMap<u64, Vec<(Index, u64)>>,
    agreed: Index,
    /// Whether clients go on.
    pub(crate) busy: bool,
}

/// One thing that a client asked for.
pub(crate) struct Operation {
    client: Option<usize>,
    request: Request,
    /// The newest index that any client knew of when it began.
    floor: Index,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// Where a write stands in the agreed log.
    agreed_at: Option<Index>,
    /// Whether the client still listens.
    open: bool,
}

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// A write of a value that no other write has.
    Write(Assignment),
    /// A linearizable read of a register.
    Read(u64),
}

/// What became of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Not known yet, or never.
    Unknown,
    /// It took effect, at this index or in the state of this index.
    Done(Index),
    /// It never takes effect.
    Never,
}

impl Clients {
    /// Clients that have asked for nothing yet.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            operations: Vec::new(),
            waiting: vec![None; count],
            floor: Index(0),
            registers: BTreeMap::new(),
            agreed: Index(0),
            busy: true,
        }
    }

    /// What became of an operation.
    pub(crate) fn outcome(&self, operation: usize) -> Outcome {
        self.operations[operation].outcome
    }

    /// An entry is agreed: its write took effect, once.
    pub(crate) fn committed(&mut self, entry: &Entry) {
        if entry.index <= self.agreed {
            return;
        }
        self.agreed = entry.index;
        let Payload::Command(command) = &entry.payload else {
            return;
        };
        let Assignment { register, value } = Assignment::decode(command);
        let operation = usize::try_from(value)
            .ok()
            .and_then(|o| self.operations.get_mut(o));
        let operation = operation.expect("a command that a client wrote");
        assert!(
            operation.agreed_at.is_none(),
            "write {value} is agreed twice, at {:?} and {:?}",
            operation.agreed_at,
            entry.index
        );
        assert!(
            operation.outcome != Outcome::Never,
            "write {value} is agreed at {:?}, but its client was told that it never is",
            entry.index
        );
        operation.agreed_at = Some(entry.index);
        self.registers
            .entry(register)
            .or_default()
            .push((entry.index, value));
    }

    fn begin(&mut self, client: Option<usize>, request: Request) -> usize {
        self.operations.push(Operation {
            client,
            request,
            floor: self.floor,
            outcome: Outcome::Unknown,
            agreed_at: None,
            open: true,
        });
        self.operations.len() - 1
    }

    /// A client learns what became of its operation. Says which client, if it still listens.
    fn end(&mut self, number: usize, outcome: Outcome) -> Option<usize> {
        let operation = &mut self.operations[number];
        operation.outcome = outcome;
        match (operation.request, outcome) {
            (Request::Write(_), Outcome::Never) => assert!(
                operation.agreed_at.is_none(),
                "write {number} is agreed at {:?}, but its client is told that it never is",
                operation.agreed_at
            ),
            (Request::Write(_), Outcome::Done(index)) => {
                assert_eq!(
                    operation.agreed_at,
                    Some(index),
                    "write {number} is not where it is"
                );
            }
            _ => {}
        }
        if !std::mem::replace(&mut operation.open, false) {
            return None;
        }
        if let Outcome::Done(index) = outcome {
            assert!(
                index >= operation.floor,
                "operation {number} took effect at {index:?}, but {:?} was known before it began",
                operation.floor
            );
            self.floor = self.floor.max(index);
        }
        operation.client
    }

    /// What a register holds at an index.
    fn value_at(&self, register: u64, index: Index) -> Option<u64> {
        let values = self.registers.get(&register)?;
        let after = values.partition_point(|(at, _)| *at <= index);
        Some(values[after.checked_sub(1)?].1)
    }
}

impl World {
    /// A client asks some node for something, unless it still waits.
    pub(crate) fn client_acts(&mut self, client: usize) {
        let pause = self.rng.micros(1000, self.plan.think_millis * 1000);
        if !self.clients.busy {
            return;
        }
        let waiting = self.clients.waiting[client];
        if waiting.is_some_and(|operation| self.clients.operations[operation].open) {
            return;
        }
        let running = self
            .machines
            .iter()
            .filter(|machine| machine.member().is_some());
        let running: Vec<NodeId> = running.map(|machine| machine.id).collect();
        if running.is_empty() {
            self.after(pause, Event::Client(client));
            return;
        }
        let id = self.rng.pick(&running);
        let operation = if self.rng.chance(650) {
            self.ask_to_write(id, Some(client))
        } else {
            self.ask_to_read(id, Some(client))
        };
        self.clients.waiting[client] = Some(operation);
        let patience = self.rng.millis(50, 2000);
        self.after(patience, Event::GiveUp(operation));
    }

    /// Asks a node to write something new.
    pub(crate) fn ask_to_write(&mut self, id: NodeId, client: Option<usize>) -> usize {
        let register = self.rng.below(REGISTERS);
        let value = self.clients.operations.len() as u64;
        let assignment = Assignment { register, value };
        let padding = usize::try_from(self.rng.below(self.plan.command_bytes)).expect("short");
        let operation = self.clients.begin(client, Request::Write(assignment));
        let requests = &mut self.member(id).requests;
        let ticket = requests.ticket();
        requests.asked.insert(ticket, operation);
        tell!(self, "a client asks {id:?} to write {value} as {ticket:?}");
        self.input(
            id,
            Input::Propose {
                ticket,
                command: assignment.encode(padding),
            },
        );
        operation
    }

    /// Asks a node to read something.
    pub(crate) fn ask_to_read(&mut self, id: NodeId, client: Option<usize>) -> usize {
        let register = self.rng.below(REGISTERS);
        let operation = self.clients.begin(client, Request::Read(register));
        let requests = &mut self.member(id).requests;
        let ticket = requests.ticket();
        requests.asked.insert(ticket, operation);
        tell!(
            self,
            "a client asks {id:?} to read {register} as {ticket:?}"
        );
        self.input(id, Input::Read { ticket });
        operation
    }

    /// A client waits no longer.
    pub(crate) fn give_up(&mut self, operation: usize) {
        let operation = &mut self.clients.operations[operation];
        let waits = std::mem::replace(&mut operation.open, false);
        if let Some(client) = operation.client.filter(|_| waits) {
            self.client_acts(client);
        }
    }

    /// A proposal has its place in the leader's log.
    pub(crate) fn accepted(&mut self, id: NodeId, ticket: Ticket, position: Position) {
        let applied = self.applied(id);
        let requests = &mut self.member(id).requests;
        let operation = requests
            .asked
            .remove(&ticket)
            .expect("an open ticket is accepted");
        if position.index > applied {
            requests
                .accepted
                .entry(position.index)
                .or_default()
                .push((operation, position.term));
            return;
        }
        // The answer of the leader was overtaken by the entry itself.
        let agreed = self
            .oracle
            .committed_term(position.index)
            .expect("it is applied");
        self.resolve_write(
            operation,
            position.term,
            Position {
                term: agreed,
                ..position
            },
        );
    }

    /// An entry was applied: whoever waits for its index is answered.
    pub(crate) fn resolve_writes(&mut self, id: NodeId, applied: Position) {
        let waiting = self.member(id).requests.accepted.remove(&applied.index);
        for (operation, term) in waiting.into_iter().flatten() {
            self.resolve_write(operation, term, applied);
        }
    }

    fn resolve_write(&mut self, operation: usize, accepted_in: Term, applied: Position) {
        if accepted_in == applied.term {
            self.count(Counted::WritesAcked);
            self.end(operation, Outcome::Done(applied.index));
        } else {
            self.count(Counted::WritesVoided);
            self.end(operation, Outcome::Never);
        }
    }

    /// A snapshot took the place of entries that clients wait for: nobody can tell them.
    pub(crate) fn void_writes(&mut self, id: NodeId, covered: Index) {
        let requests = &mut self.member(id).requests;
        let later = requests.accepted.split_off(&covered.next());
        let void = std::mem::replace(&mut requests.accepted, later);
        for (operation, _) in void.into_values().flatten() {
            self.count(Counted::WritesLost);
            self.end(operation, Outcome::Unknown);
        }
    }

    /// Nothing was written.
    pub(crate) fn refused(&mut self, id: NodeId, ticket: Ticket, refusal: Refusal) {
        let operation = self.member(id).requests.asked.remove(&ticket);
        let operation = operation.expect("an open ticket is refused");
        tell!(self, "{id:?} refuses {ticket:?}: {refusal:?}");
        let write = matches!(
            self.clients.operations[operation].request,
            Request::Write(_)
        );
        self.count(if write {
            Counted::WritesRefused
        } else {
            Counted::ReadsRefused
        });
        self.end(operation, Outcome::Never);
    }

    /// A forwarded write may be written, or not.
    pub(crate) fn unknown(&mut self, id: NodeId, ticket: Ticket) {
        let operation = self.member(id).requests.asked.remove(&ticket);
        self.count(Counted::WritesUnknown);
        self.end(
            operation.expect("an open ticket becomes unknown"),
            Outcome::Unknown,
        );
    }

    /// A read may be answered at an index.
    pub(crate) fn read_at(&mut self, id: NodeId, ticket: Ticket, index: Index) {
        let requests = &mut self.member(id).requests;
        let operation = requests
            .asked
            .remove(&ticket)
            .expect("an open ticket is read");
        requests.reads.entry(index).or_default().push(operation);
        self.resolve_reads(id);
    }

    /// Answers the reads whose index is applied.
    pub(crate) fn resolve_reads(&mut self, id: NodeId) {
        let applied = self.applied(id);
        let requests = &mut self.member(id).requests;
        if requests
            .reads
            .first_key_value()
            .is_none_or(|(index, _)| *index > applied)
        {
            return;
        }
        let later = requests.reads.split_off(&applied.next());
        let ready = std::mem::replace(&mut requests.reads, later);
        for operation in ready.into_values().flatten() {
            let Request::Read(register) = self.clients.operations[operation].request else {
                panic!("a write is answered as a read");
            };
            let value = self.member(id).replica.read(register);
            assert_eq!(
                value,
                self.clients.value_at(register, applied),
                "{id:?} reads register {register} at {applied:?}"
            );
            self.count(Counted::ReadsDone);
            self.end(operation, Outcome::Done(applied));
        }
    }

    /// A hand-over is over.
    pub(crate) fn transfer_ended(&mut self, id: NodeId, ticket: Ticket, moved: bool) {
        let open = self.member(id).requests.transfers.remove(&ticket);
        assert!(open, "{id:?} ends a transfer that nobody asked for");
        self.count(if moved {
            Counted::TransfersDone
        } else {
            Counted::TransfersFailed
        });
    }

    fn end(&mut self, operation: usize, outcome: Outcome) {
        if let Some(client) = self.clients.end(operation, outcome) {
            let pause = self.rng.micros(1000, self.plan.think_millis * 1000);
            self.after(pause, Event::Client(client));
        }
    }
}
