//! The cluster under the storyteller's hand: it carries out what nodes ask for, and tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use remember::consensus::{
    AppendOutcome, Ballot, ClusterId, Config, Entry, Epoch, Event, Index, Input, IoSeq, LinkEvent,
    MemberId, Membership, Message, Mono, Node, NodeId, Output, Position, Record, Rejection, Role,
    Status, Term, Ticket, Verdict,
};

use super::cluster::crash;
use super::disk::{Disk, Work};
use super::machine::Machine;
use super::majority::is_agreed;
use super::message::{boot, command};
use super::narration::{self, Weight};
use super::network::{Fate, Flight, Network};
use super::safety::Ledger;
use super::witness::{Witness, asked};

/// Everything there is in a story.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) seed: u64,
    /// How long a message takes while time runs.
    pub(crate) delay: Duration,
    /// The time since the story began.
    pub(crate) now: Duration,
    pub(crate) members: BTreeMap<NodeId, Member>,
    pub(crate) network: Network,
    pub(crate) ledger: Ledger,
    pub(crate) voice: Voice,
    pub(crate) witness: Witness,
    /// Whether each line tells the time.
    pub(crate) timed: bool,
    tickets: u64,
    /// How often any node was started.
    starts: u32,
    told: Vec<String>,
}

/// How much of what happens is told.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Voice {
    /// Everything.
    #[default]
    Aloud,
    /// News, and no routine.
    Quiet,
    /// Nothing.
    Silent,
}

/// One machine with one disk, and the process on it.
pub(crate) struct Member {
    pub(crate) process: Process,
    /// Which start of any node in this story that was.
    pub(crate) process_number: u32,
    pub(crate) paused: bool,
    pub(crate) disk: Disk,
    pub(crate) backup: Option<Disk>,
    /// How far the node's own clock is ahead of the story's.
    pub(crate) ahead: Duration,
    pub(crate) machine: Machine,
    /// Snapshots that came whole from a leader and wait for `InstallSnapshot`.
    pub(crate) arrived: BTreeMap<Position, Machine>,
    /// Snapshots to be sent, and the term to be told with each.
    pub(crate) due: BTreeMap<NodeId, Term>,
    pub(crate) dials: BTreeSet<NodeId>,
    proposals: BTreeMap<Ticket, Position>,
    reads: BTreeMap<Ticket, Index>,
    /// Whether this boot has written already.
    has_written: bool,
    /// Whether it was there when the cluster was founded.
    pub(crate) is_founder: bool,
}

/// What runs on a machine.
pub(crate) enum Process {
    /// Nothing: dials are refused.
    Off,
    /// The machine has no power: dials are not answered.
    Dark,
    /// A node with a fresh disk that knows no cluster.
    Fresh,
    /// A voter.
    Runs(Box<Node>),
}

impl Member {
    pub(crate) fn new(disk: Disk) -> Self {
        Self {
            process: Process::Fresh,
            process_number: 0,
            paused: false,
            disk,
            backup: None,
            ahead: Duration::ZERO,
            machine: Machine::default(),
            arrived: BTreeMap::new(),
            due: BTreeMap::new(),
            dials: BTreeSet::new(),
            proposals: BTreeMap::new(),
            reads: BTreeMap::new(),
            has_written: false,
            is_founder: true,
        }
    }

    /// The node, if one runs here and is not paused.
    pub(crate) fn awake(&self) -> Option<&Node> {
        match &self.process {
            Process::Runs(node) if !self.paused => Some(node),
            _ => None,
        }
    }

    /// How the node sees itself, if it is awake.
    pub(crate) fn view(&self) -> Option<Status> {
        self.awake().map(Node::status)
    }

    /// Forgets all that a process holds in memory.
    pub(crate) fn stop(&mut self, process: Process) {
        self.process = process;
        self.paused = false;
        self.arrived.clear();
        self.due.clear();
        self.dials.clear();
        self.proposals.clear();
        self.reads.clear();
    }
}

impl World {
    /// A world beside the story, of which nothing is told.
    pub(crate) fn silent(seed: u64, delay: Duration) -> Self {
        Self {
            seed,
            delay,
            voice: Voice::Silent,
            ..Self::default()
        }
    }

    /// Empties the world; the story so far and its tickets go on.
    pub(crate) fn begin_anew(&mut self) {
        *self = Self {
            tickets: self.tickets,
            told: std::mem::take(&mut self.told),
            ..Self::default()
        };
    }

    /// Takes what was told since the last call.
    pub(crate) fn hear(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Adds a line to the story.
    pub(crate) fn tell(&mut self, weight: Weight, line: impl AsRef<str>) {
        let line = line.as_ref();
        let told = match self.voice {
            Voice::Aloud => true,
            Voice::Quiet => weight == Weight::News,
            Voice::Silent => false,
        };
        if told {
            let time = self.timed.then(|| format!("[{}ms] ", self.now.as_millis()));
            self.told
                .push(format!("{}{line}", time.unwrap_or_default()));
        }
    }

    pub(crate) fn member(&self, id: NodeId) -> Result<&Member, String> {
        self.members
            .get(&id)
            .ok_or_else(|| format!("there is no {id:?}"))
    }

    pub(crate) fn member_mut(&mut self, id: NodeId) -> Result<&mut Member, String> {
        self.members
            .get_mut(&id)
            .ok_or_else(|| format!("there is no {id:?}"))
    }

    /// The member that this machine is, with the disk that is in it now.
    pub(crate) fn name(&self, id: NodeId) -> Result<MemberId, String> {
        let incarnation = self.member(id)?.disk.durable.incarnation;
        Ok(MemberId { id, incarnation })
    }

    /// The node, which must run and not be paused.
    pub(crate) fn node(&self, id: NodeId) -> Result<&Node, String> {
        self.member(id)?
            .awake()
            .ok_or_else(|| format!("{id:?} does not run"))
    }

    /// A new ticket, unique in the story.
    pub(crate) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// A node's own clock.
    pub(crate) fn clock(&self, id: NodeId) -> Result<Mono, String> {
        Ok(Mono::at(self.now + self.member(id)?.ahead))
    }

    /// The founded membership that the first disks of all members make.
    pub(crate) fn founded(&self) -> Membership {
        let members = self.members.iter();
        let founders = members.filter(|(_, member)| member.is_founder);
        let voters = founders.map(|(id, member)| MemberId {
            id: *id,
            incarnation: member.disk.durable.incarnation,
        });
        Membership::founding(ClusterId(1), Epoch::FIRST, voters)
    }

    /// Starts a node from its disk.
    pub(crate) fn start(&mut self, id: NodeId) -> Result<(), String> {
        let (config, seed, clock) = (self.config.clone(), self.seed, self.clock(id)?);
        self.starts += 1;
        let nonce = self.starts;
        let member = self.member_mut(id)?;
        let recovered = member.disk.recover(id, nonce)?;
        let seed = seed * 1_000_000 + id.0 * 1_000 + recovered.boots.newest().count();
        member.machine = member.disk.machine()?;
        member.has_written = false;
        member.process_number = nonce;
        let line = format!(
            "{id:?} starts as {}: {}, log {:?}..{:?}",
            boot(recovered.boots.newest()),
            narration::hard_state(&recovered.hard_state),
            recovered.base,
            member.disk.durable.last()
        );
        let node = Node::new(recovered, config, seed, clock).map_err(|wrong| wrong.to_string())?;
        member.stop(Process::Runs(Box::new(node)));
        self.tell(Weight::Routine, line);
        self.ledger.forget_view(id);
        self.observe(id)
    }

    /// Hands inputs to a node as one turn and carries out what it asks for.
    pub(crate) fn turn(&mut self, id: NodeId, inputs: Vec<Input>) -> Result<(), String> {
        let clock = self.clock(id)?;
        let member = self.member_mut(id)?;
        let Process::Runs(node) = &mut member.process else {
            return Err(format!("{id:?} does not run"));
        };
        let mut outputs = Vec::new();
        node.turn(clock, inputs, &mut outputs);
        for output in outputs {
            self.carry_out(id, output)?;
        }
        self.observe(id)?;
        match std::mem::take(&mut self.witness.answers) {
            answers if answers.is_empty() => Ok(()),
            answers => self.turn(id, answers),
        }
    }

    /// Looks at a node after its turn.
    fn observe(&mut self, id: NodeId) -> Result<(), String> {
        let member = self.member(id)?;
        if let Process::Runs(node) = &member.process {
            let (status, last) = (node.status(), member.disk.durable.last());
            self.ledger.check_status(&status, last)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, id: NodeId, output: Output) -> Result<(), String> {
        if let Some((weight, line)) = narration::output(id, &output) {
            self.tell(weight, line);
        }
        match output {
            Output::Write(write) => self.write(id, write.seq, Work::Write(write.records))?,
            Output::Send { to, message } => self.send(id, to, message)?,
            Output::Apply(entries) => self.apply(id, &entries)?,
            Output::Accepted { ticket, position } => {
                self.member_mut(id)?.proposals.insert(ticket, position);
                self.answer(id)?;
            }
            Output::ReadAt { ticket, index } => {
                self.member_mut(id)?.reads.insert(ticket, index);
                self.answer(id)?;
            }
            Output::SendSnapshot { to, term } => {
                self.member_mut(id)?.due.insert(to.id, term);
            }
            Output::InstallSnapshot {
                seq,
                position,
                keep_log,
            } => self.install(id, seq, position, keep_log)?,
            Output::Part(member) => {
                if self.name(member.id) == Ok(member) {
                    self.part(id, member.id)?;
                }
            }
            Output::Probe(peer) => {
                self.member_mut(id)?.dials.insert(peer);
            }
            Output::Exhausted(_) => return crash(self, id, false, None),
            Output::Event(event) => self.note(id, &event)?,
            Output::Witness { request, ask } => asked(self, id, request, ask),
            Output::Refused { .. }
            | Output::Unknown { .. }
            | Output::TransferEnded { .. }
            | Output::ChangeEnded { .. } => {}
        }
        Ok(())
    }

    fn write(&mut self, id: NodeId, seq: IoSeq, work: Work) -> Result<(), String> {
        let member = self.member_mut(id)?;
        let first = !std::mem::replace(&mut member.has_written, true);
        member.disk.queue(seq, work, first)
    }

    fn install(
        &mut self,
        id: NodeId,
        seq: IoSeq,
        position: Position,
        keep_log: bool,
    ) -> Result<(), String> {
        let member = self.member_mut(id)?;
        let machine = member
            .arrived
            .remove(&position)
            .ok_or_else(|| format!("no snapshot at {position:?} has come to {id:?}"))?;
        if machine.index() < member.machine.index() {
            let (old, new) = (member.machine.index(), machine.index());
            return Err(format!(
                "UNSAFE: {id:?} would fall back from {old:?} to {new:?}"
            ));
        }
        member.machine = machine.clone();
        let work = Work::Install {
            position,
            keep_log,
            machine,
        };
        self.write(id, seq, work)?;
        self.answer(id)
    }

    /// Makes queued writes of a disk durable, up to and with `upto`, and tells the node.
    pub(crate) fn complete(&mut self, id: NodeId, upto: IoSeq) -> Result<(), String> {
        self.persist(id, upto)?;
        self.tell(Weight::Routine, format!("{id:?} has {upto:?} on disk"));
        self.turn(id, vec![Input::Durable(upto)])
    }

    /// Makes queued writes of a disk durable without telling anybody.
    pub(crate) fn persist(&mut self, id: NodeId, upto: IoSeq) -> Result<(), String> {
        let oldest = |member: &Member| member.disk.pending().next().map(|(seq, _)| *seq);
        while oldest(self.member(id)?).is_some_and(|seq| seq <= upto) {
            let disk = &mut self.member_mut(id)?.disk;
            disk.complete_next()?;
            let (incarnation, state) = (disk.durable.incarnation, disk.durable.hard_state);
            self.ledger.record_vote(incarnation, state)?;
        }
        Ok(())
    }

    fn send(&mut self, from: NodeId, to: MemberId, message: Message) -> Result<(), String> {
        self.check_promise(from, to, &message)?;
        // A link leads to one disk, not to whatever is in that machine now.
        let is_there = self.name(to.id)? == to;
        let to = to.id;
        let line = narration::sent(from, to, &message);
        let flight = Flight {
            from,
            to,
            message,
            due: self.now + self.delay,
        };
        let fate = if is_there {
            self.network.send(flight)
        } else {
            Fate::NoLink
        };
        let fate = match fate {
            Fate::OnItsWay => "",
            Fate::NoLink => " (no link)",
            Fate::Cut => " (lost)",
        };
        self.tell(Weight::Routine, format!("{line}{fate}"));
        Ok(())
    }

    /// What binds must be durable before it is told: votes and acknowledgements (Raft 5.2, 5.3).
    fn check_promise(&self, from: NodeId, to: MemberId, message: &Message) -> Result<(), String> {
        let disk = &self.member(from)?.disk;
        let broken = match message {
            Message::VoteReply(reply)
                if reply.ballot == Ballot::Real && reply.verdict == Verdict::Granted =>
            {
                !self.ledger.voted(disk.durable.incarnation, reply.term, to)
            }
            Message::AppendReply(reply) => match reply.outcome {
                AppendOutcome::Matched(index) => {
                    let voids = |(_, work): &(IoSeq, Work)| match work {
                        Work::Write(records) => records
                            .iter()
                            .any(|record| matches!(record, Record::Entry(it) if it.index <= index)),
                        Work::Install { .. } => false,
                    };
                    disk.durable.last().index < index || disk.pending().any(voids)
                }
                AppendOutcome::Conflict { .. } => false,
            },
            _ => false,
        };
        if broken {
            Err(format!(
                "UNSAFE: told before it is durable: {}",
                narration::sent(from, to.id, message)
            ))
        } else {
            Ok(())
        }
    }

    fn apply(&mut self, id: NodeId, entries: &[Entry]) -> Result<(), String> {
        for entry in entries {
            let position = entry.position();
            let holds = |member: MemberId| {
                let machine = self.members.get(&member.id);
                let disk = machine.map(|machine| &machine.disk.durable);
                let disk = disk.filter(|disk| disk.incarnation == member.incarnation);
                disk.is_some_and(|disk| disk.holds(position))
            };
            let Process::Runs(node) = &self.member(id)?.process else {
                return Err(format!("{id:?} applies and does not run"));
            };
            let named = self.witness.registers.named_by(node.configuration());
            let is_held = is_agreed(node.configuration(), named, holds);
            self.ledger.record_applied(entry, is_held)?;
            self.member_mut(id)?.machine.apply(entry)?;
        }
        self.answer(id)
    }

    /// Answers the clients whose time has come.
    fn answer(&mut self, id: NodeId) -> Result<(), String> {
        let member = self.member_mut(id)?;
        let applied = member.machine.index();
        let mut lines = Vec::new();
        let (mut acks, mut answered) = (Vec::new(), Vec::new());
        let machine = &member.machine;
        member.proposals.retain(|ticket, position| {
            let Some(truth) = machine.at(position.index) else {
                return true;
            };
            let written = truth == *position;
            acks.extend(written.then_some(position.index));
            let outcome = if written { "written" } else { "not written" };
            lines.push(format!("{id:?} answers {ticket:?}: {outcome}"));
            false
        });
        member.reads.retain(|ticket, index| {
            if *index > applied {
                return true;
            }
            let commands: Vec<String> = machine.commands().map(command).collect();
            answered.push(*ticket);
            lines.push(format!("{id:?} answers {ticket:?}: {}", commands.join(" ")));
            false
        });
        for index in acks {
            self.ledger.record_ack(index);
        }
        for line in lines {
            self.tell(Weight::News, line.trim_end());
        }
        for ticket in answered {
            self.ledger.check_read(ticket, applied)?;
        }
        Ok(())
    }

    fn note(&mut self, id: NodeId, event: &Event) -> Result<(), String> {
        match event {
            Event::RoleChanged {
                role: Role::Leader,
                term,
                ..
            } => {
                let leader = self.name(id)?;
                let Process::Runs(node) = &self.member(id)?.process else {
                    return Err(format!("{id:?} leads and does not run"));
                };
                let configuration = node.configuration().clone();
                let named = self.witness.registers.named_by(&configuration);
                self.ledger
                    .record_leader(leader, *term, &configuration, named)
            }
            _ => Ok(()),
        }
    }

    /// Ends the link of two nodes; each of them dials the other again.
    fn part(&mut self, id: NodeId, peer: NodeId) -> Result<(), String> {
        if self.network.unlink(id, peer) {
            self.member_mut(id)?.dials.insert(peer);
            if self.member(peer)?.awake().is_some() {
                self.tell_link(peer, id, LinkEvent::Ended)?;
                self.member_mut(peer)?.dials.insert(id);
            }
        }
        Ok(())
    }

    /// Lets one node dial another, with all that may come of it (R13, R15, R18).
    pub(crate) fn dial(&mut self, from: NodeId, to: NodeId) -> Result<(), String> {
        if !self.network.passes(from, to) {
            return Ok(());
        }
        match &self.member(to)?.process {
            Process::Off => {
                self.network.unlink(from, to);
                self.tell_link(from, to, LinkEvent::Refused)
            }
            Process::Dark => Ok(()),
            Process::Fresh => Err(format!("{to:?} has a fresh disk: `found` comes first")),
            Process::Runs(_) if self.member(to)?.paused => Ok(()),
            Process::Runs(_) => self.connect(from, to),
        }
    }

    /// Makes a new link between two running nodes, if each admits the other.
    pub(crate) fn connect(&mut self, a: NodeId, b: NodeId) -> Result<(), String> {
        let (hello_a, hello_b) = (self.node(a)?.hello(), self.node(b)?.hello());
        let [its, other] = [a, b].map(|id| self.members[&id].disk.durable.membership.as_ref());
        if its.map(|its| its.cluster) != other.map(|other| other.cluster) {
            let line = format!("{a:?} and {b:?} are of different clusters");
            self.tell(Weight::News, line);
            return Ok(());
        }
        for (host, guest) in [(b, &hello_a), (a, &hello_b)] {
            if let Err(rejection) = self.node(host)?.admit(guest) {
                let line = format!("{host:?} turns {:?} away: {rejection}", guest.member.id);
                self.tell(Weight::News, line);
                if matches!(rejection, Rejection::Removed { .. }) {
                    return Ok(());
                }
                // Its process ends, and the verdict stays on its disk.
                let disk = &mut self.member_mut(guest.member.id)?.disk.durable;
                disk.quarantined = Some(rejection.to_string());
                return crash(self, guest.member.id, false, None);
            }
        }
        self.network.link(a, b);
        self.tell_link(a, b, LinkEvent::Up(hello_b))?;
        self.tell_link(b, a, LinkEvent::Up(hello_a))
    }

    /// Tells a node of a change of a link.
    pub(crate) fn tell_link(
        &mut self,
        to: NodeId,
        peer: NodeId,
        event: LinkEvent,
    ) -> Result<(), String> {
        self.turn(to, vec![Input::Link { peer, event }])
    }
}
