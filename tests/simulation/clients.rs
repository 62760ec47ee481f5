//! Those who use the cluster, and what they may rely on.
//!
//! Two checks look at the same answers. The exact one knows the agreed log: each change stands in
//! it once, comes to what `Registers` says, and keeps real time, because an operation takes effect
//! behind everything that was acknowledged to anybody before it began (`floor`). The other one
//! knows nothing but what clients asked and were told, see `history`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use remember::consensus::{
    Entry, Epoch, Index, Input, NodeId, Payload, Position, Refusal, Term, Ticket,
};
use remember::state::Outcome;

use super::image::Image;
use super::request::{Change, Content, Registers, Request};
use super::tally::Counted;
use super::world::{Event, World, tell};

/// How many registers clients use at once.
const REGISTERS: u64 = 5;
/// After so many operations they go on with other registers, so that no history gets too long.
const OPERATIONS_MAX: usize = 500;

/// All clients of one cluster, and all that they ever asked for.
pub(crate) struct Clients {
    /// What tells their values from those of other clusters.
    epoch: Epoch,
    pub(crate) operations: Vec<Operation>,
    /// What each client waits for.
    waiting: Vec<Option<usize>>,
    /// The newest index that any client knows of.
    floor: Index,
    /// What clients last learned of each register.
    learned: BTreeMap<u64, Content>,
    pub(crate) registers: Registers,
    /// Where the log of the cluster was not yet written for these clients.
    pub(crate) inherited: Index,
    /// The agreed commands, and what they come to.
    commands: BTreeMap<Index, (Bytes, Outcome)>,
    agreed: Index,
    /// Counts calls and answers, in the order in which they happen.
    moments: u64,
    /// Whether clients go on.
    pub(crate) busy: bool,
}

/// One thing that a client asked for.
pub(crate) struct Operation {
    pub(crate) client: Option<usize>,
    pub(crate) request: Request,
    /// What is proposed, if it is a change.
    command: Option<Bytes>,
    /// The newest index that any client knew of when it began.
    floor: Index,
    pub(crate) fate: Fate,
    pub(crate) answer: Option<Answer>,
    /// Where a change to a value stands in the agreed log. Nothing tells two deletes apart.
    agreed_at: Option<Index>,
    /// Whether the client still listens.
    open: bool,
    /// When it was asked, and answered, in moments.
    pub(crate) called: u64,
    pub(crate) returned: u64,
}

/// What became of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// Not known yet, or never.
    Unknown,
    /// It took effect, at this index or in the state of this index.
    Done(Index),
    /// It never takes effect.
    Never,
}

/// What a client was told.
pub(crate) enum Answer {
    /// What its change came to.
    Changed(Outcome),
    /// What a register held.
    Held(Content),
    /// What all registers held.
    Listed(BTreeMap<u64, Content>),
}

impl Clients {
    /// Clients that have asked for nothing yet.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            epoch: Epoch::FIRST,
            operations: Vec::new(),
            waiting: vec![None; count],
            floor: Index(0),
            learned: BTreeMap::new(),
            registers: Registers::new(),
            inherited: Index(0),
            commands: BTreeMap::new(),
            agreed: Index(0),
            moments: 1,
            busy: true,
        }
    }

    /// Those of a cluster that begins anew with this log: all commands in it are agreed on. They
    /// rely on that, and on nothing that the clients of the cluster before were told.
    pub(crate) fn anew(&self, log: &Image, epoch: Epoch) -> Self {
        let last = log.last().index;
        let mut clients = Self {
            epoch,
            inherited: last,
            floor: last,
            agreed: last,
            ..Self::new(self.waiting.len())
        };
        let below = self.commands.range(..=log.base.index);
        for (index, (command, _)) in below {
            clients.inherit(*index, command);
        }
        for entry in &log.entries {
            if let Payload::Command(command) = &entry.payload {
                clients.inherit(entry.index, command);
            }
        }
        clients
    }

    fn inherit(&mut self, index: Index, command: &Bytes) {
        let (outcome, _) = self.registers.apply(index, command);
        self.commands.insert(index, (command.clone(), outcome));
    }

    /// The value that the next operation writes: no other one of any epoch has it.
    fn next_value(&self) -> u64 {
        u64::from(self.epoch.0) << 32 | self.operations.len() as u64
    }

    /// What became of an operation.
    pub(crate) fn fate(&self, operation: usize) -> Fate {
        self.operations[operation].fate
    }

    /// An entry is agreed: its change took effect, once.
    pub(crate) fn committed(&mut self, entry: &Entry) {
        if entry.index <= self.agreed {
            return;
        }
        self.agreed = entry.index;
        let Payload::Command(command) = &entry.payload else {
            return;
        };
        let (outcome, value) = self.registers.apply(entry.index, command);
        let agreed = (command.clone(), outcome);
        self.commands.insert(entry.index, agreed);
        let Some(value) = value else {
            return;
        };
        let number = value.checked_sub(u64::from(self.epoch.0) << 32);
        let operation = number.and_then(|number| usize::try_from(number).ok());
        let operation = operation.and_then(|number| self.operations.get_mut(number));
        let operation = operation.expect("a value that a client wrote");
        assert!(
            operation.agreed_at.is_none(),
            "write {value} is agreed twice, at {:?} and {:?}",
            operation.agreed_at,
            entry.index
        );
        assert!(
            operation.fate != Fate::Never,
            "write {value} is agreed at {:?}, but its client was told that it never is",
            entry.index
        );
        operation.agreed_at = Some(entry.index);
    }

    /// A node has applied an agreed entry: it comes to the same everywhere.
    pub(crate) fn applied(&self, id: NodeId, entry: &Entry, outcome: &Outcome) {
        let due = match self.commands.get(&entry.index) {
            Some((_, due)) => due,
            None => &Outcome::Noop,
        };
        let index = entry.index;
        assert_eq!(outcome, due, "{id:?} applies {index:?} in another way");
    }

    fn begin(&mut self, client: Option<usize>, request: Request, command: Option<Bytes>) -> usize {
        self.moments += 1;
        self.operations.push(Operation {
            client,
            request,
            command,
            floor: self.floor,
            fate: Fate::Unknown,
            answer: None,
            agreed_at: None,
            open: true,
            called: self.moments,
            returned: 0,
        });
        self.operations.len() - 1
    }

    /// The registers that an operation of this number uses.
    pub(crate) fn in_use(number: usize) -> std::ops::Range<u64> {
        let first = (number / OPERATIONS_MAX) as u64 * REGISTERS;
        first..first + REGISTERS
    }

    /// A client learns what became of its operation. Says which client, if it still listens.
    fn end(&mut self, number: usize, fate: Fate, answer: Option<Answer>) -> Option<usize> {
        self.moments += 1;
        let operation = &mut self.operations[number];
        operation.fate = fate;
        operation.answer = answer;
        operation.returned = self.moments;
        if fate == Fate::Never {
            assert!(
                operation.agreed_at.is_none(),
                "write {number} is agreed at {:?}, but its client is told that it never is",
                operation.agreed_at
            );
        }
        if !std::mem::replace(&mut operation.open, false) {
            return None;
        }
        let client = operation.client;
        if let Fate::Done(index) = fate {
            assert!(
                index >= operation.floor,
                "operation {number} took effect at {index:?}, but {:?} was known before it began",
                operation.floor
            );
            self.floor = self.floor.max(index);
            self.learn(number);
        }
        client
    }

    /// A change took effect at `index`: says what it came to.
    fn changed(&self, number: usize, index: Index) -> Outcome {
        let operation = &self.operations[number];
        let (command, outcome) = &self.commands[&index];
        let here = operation.command.as_ref() == Some(command);
        let elsewhere = operation.agreed_at.filter(|at| *at != index);
        assert!(
            here && elsewhere.is_none(),
            "operation {number} is not where its client is told, at {index:?}"
        );
        outcome.clone()
    }

    /// Clients tell each other what they learn.
    fn learn(&mut self, number: usize) {
        let Operation {
            request, answer, ..
        } = &self.operations[number];
        match (request, answer) {
            (Request::Read(register), Some(Answer::Held(content))) => {
                self.learned.insert(*register, *content);
            }
            (Request::List, Some(Answer::Listed(contents))) => {
                for register in Self::in_use(number) {
                    let content = contents.get(&register).copied().unwrap_or_default();
                    self.learned.insert(register, content);
                }
            }
            (Request::Change(change), Some(Answer::Changed(outcome))) => {
                let content = match outcome {
                    Outcome::Put { revision, .. } => Content {
                        value: change.then,
                        revision: *revision,
                    },
                    Outcome::CompareFailed { current } => Content {
                        value: self.registers.written_at(*current),
                        revision: *current,
                    },
                    _ => Content::default(),
                };
                self.learned.insert(change.register, content);
            }
            (request, _) => panic!("{request:?} is done without an answer to it"),
        }
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
        let machines = self.in_cluster();
        let running: Vec<NodeId> = machines
            .filter(|machine| machine.member().is_some())
            .map(|machine| machine.id)
            .collect();
        if running.is_empty() {
            // Once all have left a cluster it is of no use to wait for them.
            if self.in_cluster().next().is_some() {
                self.client_after(pause, client);
            }
            return;
        }
        let id = self.rng.pick(&running);
        let operation = match self.rng.below(100) {
            0..40 => self.ask_to_write(id, Some(client)),
            40..70 => self.ask_to_change(id, Some(client)),
            70..90 => self.ask_to_read(id, Some(client)),
            _ => self.ask_to_list(id, Some(client)),
        };
        self.clients.waiting[client] = Some(operation);
        let patience = self.rng.millis(50, 2000);
        self.after(patience, Event::GiveUp(self.epoch(), operation));
    }

    /// Asks a node to write something new.
    pub(crate) fn ask_to_write(&mut self, id: NodeId, client: Option<usize>) -> usize {
        let change = Change {
            register: self.any_register(),
            then: Some(self.clients.next_value()),
            only_if: None,
        };
        self.propose(id, client, change)
    }

    /// Asks a node to delete something, or to change it if nobody else has.
    fn ask_to_change(&mut self, id: NodeId, client: Option<usize>) -> usize {
        let register = self.any_register();
        let then = self.rng.chance(500);
        let learned = self.clients.learned.get(&register).copied();
        let learned = learned.unwrap_or_default();
        // Deleting what is thought not to be there needs no condition.
        let careful = then || (learned.value.is_some() && self.rng.chance(300));
        let change = Change {
            register,
            then: then.then_some(self.clients.next_value()),
            only_if: careful.then_some(learned),
        };
        self.propose(id, client, change)
    }

    fn propose(&mut self, id: NodeId, client: Option<usize>, change: Change) -> usize {
        let padding = usize::try_from(self.rng.below(self.plan.command_bytes)).expect("short");
        let command = change.encode(padding);
        let request = Request::Change(change);
        let operation = self.clients.begin(client, request, Some(command.clone()));
        let ticket = self.ask_ticket(id, operation);
        self.input(id, Input::Propose { ticket, command });
        operation
    }

    /// Asks a node to read something.
    pub(crate) fn ask_to_read(&mut self, id: NodeId, client: Option<usize>) -> usize {
        let request = Request::Read(self.any_register());
        let operation = self.clients.begin(client, request, None);
        let ticket = self.ask_ticket(id, operation);
        self.input(id, Input::Read { ticket });
        operation
    }

    /// Asks a node to read everything.
    fn ask_to_list(&mut self, id: NodeId, client: Option<usize>) -> usize {
        let operation = self.clients.begin(client, Request::List, None);
        let ticket = self.ask_ticket(id, operation);
        self.input(id, Input::Read { ticket });
        operation
    }

    fn any_register(&mut self) -> u64 {
        let registers = Clients::in_use(self.clients.operations.len());
        registers.start + self.rng.below(REGISTERS)
    }

    fn ask_ticket(&mut self, id: NodeId, operation: usize) -> Ticket {
        let requests = &mut self.member(id).requests;
        let ticket = requests.ticket();
        requests.asked.insert(ticket, operation);
        let request = self.clients.operations[operation].request;
        tell!(
            self,
            "a client asks {id:?} as {ticket:?}: {operation}, {request:?}"
        );
        ticket
    }

    /// A client waits no longer.
    pub(crate) fn stop_waiting(&mut self, operation: usize) {
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
            let outcome = self.clients.changed(operation, applied.index);
            self.count_change(operation, &outcome);
            let answer = Answer::Changed(outcome);
            self.end(operation, Fate::Done(applied.index), Some(answer));
        } else {
            self.count(Counted::WritesVoided);
            self.end(operation, Fate::Never, None);
        }
    }

    fn count_change(&mut self, operation: usize, outcome: &Outcome) {
        let Request::Change(change) = self.clients.operations[operation].request else {
            panic!("a read is answered as a change");
        };
        match (outcome, change.only_if) {
            (Outcome::CompareFailed { .. }, _) => self.count(Counted::ComparesFailed),
            (_, Some(_)) => self.count(Counted::ComparesDone),
            (Outcome::Deleted { .. }, None) => self.count(Counted::Deleted),
            (Outcome::NotFound, None) => self.count(Counted::NotFound),
            _ => {}
        }
    }

    /// A snapshot took the place of entries that clients wait for: nobody can tell them.
    pub(crate) fn void_writes(&mut self, id: NodeId, covered: Index) {
        let requests = &mut self.member(id).requests;
        let later = requests.accepted.split_off(&covered.next());
        let void = std::mem::replace(&mut requests.accepted, later);
        for (operation, _) in void.into_values().flatten() {
            self.count(Counted::WritesLost);
            self.end(operation, Fate::Unknown, None);
        }
    }

    /// Nothing was written.
    pub(crate) fn refused(&mut self, id: NodeId, ticket: Ticket, refusal: Refusal) {
        let operation = self.member(id).requests.asked.remove(&ticket);
        let operation = operation.expect("an open ticket is refused");
        tell!(self, "{id:?} refuses {ticket:?}: {refusal:?}");
        let write = matches!(
            self.clients.operations[operation].request,
            Request::Change(_)
        );
        self.count(if write {
            Counted::WritesRefused
        } else {
            Counted::ReadsRefused
        });
        self.end(operation, Fate::Never, None);
    }

    /// A forwarded write may be written, or not.
    pub(crate) fn unknown(&mut self, id: NodeId, ticket: Ticket) {
        if self.member(id).requests.changes.remove(&ticket).is_some() {
            return;
        }
        let operation = self.member(id).requests.asked.remove(&ticket);
        self.count(Counted::WritesUnknown);
        self.end(
            operation.expect("an open ticket becomes unknown"),
            Fate::Unknown,
            None,
        );
    }

    /// A read may be answered at an index.
    pub(crate) fn read_at(&mut self, id: NodeId, ticket: Ticket, index: Index) {
        let is_replaced = self.machine(id).is_replaced();
        assert!(
            !is_replaced,
            "{id:?} serves reads from a disk that was replaced"
        );
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
            let answer = self.read_now(id, operation, applied);
            self.count(Counted::ReadsDone);
            self.end(operation, Fate::Done(applied), Some(answer));
        }
    }

    fn read_now(&mut self, id: NodeId, operation: usize, applied: Index) -> Answer {
        match self.clients.operations[operation].request {
            Request::Read(register) => {
                let content = self.member(id).replica.read(register);
                let due = self.clients.registers.at(register, applied);
                assert_eq!(content, due, "{id:?} reads {register} at {applied:?}");
                Answer::Held(content)
            }
            Request::List => {
                let contents = self.member(id).replica.list();
                let due = self.clients.registers.all_at(applied);
                assert_eq!(contents, due, "{id:?} lists all at {applied:?}");
                self.count(Counted::ListsDone);
                Answer::Listed(contents)
            }
            Request::Change(_) => panic!("a change is answered as a read"),
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

    fn end(&mut self, operation: usize, fate: Fate, answer: Option<Answer>) {
        if let Some(client) = self.clients.end(operation, fate, answer) {
            let pause = self.rng.micros(1000, self.plan.think_millis * 1000);
            self.client_after(pause, client);
        }
    }

    /// A client of the cluster at hand acts after a while.
    pub(crate) fn client_after(&mut self, delay: Duration, client: usize) {
        self.after(delay, Event::Client(self.epoch(), client));
    }
}
