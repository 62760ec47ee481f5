//! Clients' commands and reads, on their way to the leader (S12).
//!
//! A command is sent to a leader at most once (R20). If that leader is lost before it answers,
//! the outcome is unknown and said to be so; only an explicit refusal makes asking again safe. The
//! leader drops a batch that it has seen, so a repeated message cannot write twice.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::role::RoleState;
use super::{
    ENTRIES_MAX, Entry, Forward, ForwardReply, Index, MemberId, Message, Mono, Node, Output,
    Payload, Position, Refusal, Term, Ticket,
};

/// What waits for a leader, or to be sent to one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Forwards {
    /// Names batches and read requests; rises for ever, across boots too.
    named: u64,
    commands: BTreeMap<u64, Waiting>,
    reads: BTreeMap<u64, Waiting>,
    /// Taken in during this turn; empty between turns.
    queued_commands: Vec<(Ticket, Bytes)>,
    queued_reads: Vec<Ticket>,
    /// The newest batch heard from each follower, whoever led: a repeat is not answered (R20).
    heard: BTreeMap<MemberId, u64>,
    /// Tickets in all of the above but `heard`.
    count: usize,
    /// Bytes of the commands that they stand for, as [`Entry::size_bytes`] counts them: one that
    /// was sent may still be on its way.
    bytes: usize,
}

/// Requests that were sent to a leader together.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Waiting {
    to: MemberId,
    tickets: Vec<Ticket>,
    /// Of their commands; 0 for reads.
    bytes: usize,
    since: Mono,
}

impl Forwards {
    /// Nothing waits; names are given from `named` on.
    pub(super) fn named_from(named: u64) -> Self {
        Self {
            named,
            ..Self::default()
        }
    }

    /// When the oldest request will have waited for longer than `patience`.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Mono> {
        let commands = self.commands.first_key_value();
        let reads = self.reads.first_key_value();
        let since = commands
            .into_iter()
            .chain(reads)
            .map(|(_, waiting)| waiting.since);
        since.min().map(|since| since.after(patience))
    }

    fn name(&mut self) -> u64 {
        self.named += 1;
        self.named
    }

    /// These requests wait no longer.
    fn ended(&mut self, waiting: &Waiting) {
        self.count -= waiting.tickets.len();
        self.bytes -= waiting.bytes;
    }
}

// The node that clients asked.
impl Node {
    pub(super) fn propose(&mut self, ticket: Ticket, command: Bytes) {
        let fits = (1..=self.config.command_bytes_max).contains(&command.len());
        assert!(
            fits,
            "a command of {} bytes is refused before it gets here",
            command.len()
        );
        match &self.role {
            RoleState::Leader(_) => match self.may_append() {
                Ok(()) => {
                    let position = self.append_command(command);
                    self.outbox.push(Output::Accepted { ticket, position });
                }
                Err(refusal) => self.refuse(ticket, refusal),
            },
            RoleState::Follower(_)
                if self.forwards.count < self.config.waiting_max
                    && self.forwards.bytes < self.config.pending_bytes_max =>
            {
                self.forwards.count += 1;
                self.forwards.bytes += size_bytes(&command);
                self.forwards.queued_commands.push((ticket, command));
            }
            RoleState::Follower(_) => self.refuse(ticket, Refusal::Busy),
            RoleState::Candidate(_) => self.refuse(ticket, Refusal::NotLeader),
        }
    }

    pub(super) fn queue_read(&mut self, ticket: Ticket) {
        if self.forwards.count < self.config.waiting_max {
            self.forwards.count += 1;
            self.forwards.queued_reads.push(ticket);
        } else {
            self.refuse(ticket, Refusal::Busy);
        }
    }

    /// Sends what this turn took in: the commands in batches, the reads as one request.
    pub(super) fn forward_queued(&mut self, leader: MemberId) {
        if self.cut_off.contains(&leader) {
            self.refuse_queued();
            return;
        }
        let (term, since) = (self.term(), self.now);
        let bytes_max = self.config.append_bytes_max;
        let mut queued = std::mem::take(&mut self.forwards.queued_commands)
            .into_iter()
            .peekable();
        while queued.peek().is_some() {
            let (mut tickets, mut commands, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some((ticket, command)) = queued.next_if(|(_, command)| {
                let fits = bytes + size_bytes(command) <= bytes_max;
                commands.is_empty() || (fits && commands.len() < ENTRIES_MAX)
            }) {
                bytes += size_bytes(&command);
                tickets.push(ticket);
                commands.push(command);
            }
            let batch = self.forwards.name();
            self.forwards.commands.insert(
                batch,
                Waiting {
                    to: leader,
                    tickets,
                    bytes,
                    since,
                },
            );
            self.send(
                leader,
                Message::Forward(Forward {
                    batch,
                    term,
                    commands,
                }),
            );
        }
        if !self.forwards.queued_reads.is_empty() {
            let tickets = std::mem::take(&mut self.forwards.queued_reads);
            let request = self.forwards.name();
            self.forwards.reads.insert(
                request,
                Waiting {
                    to: leader,
                    tickets,
                    bytes: 0,
                    since,
                },
            );
            self.send(leader, Message::ReadRequest { request, term });
        }
    }

    /// No leader is known: what was taken in was never sent, so asking again is safe.
    pub(super) fn refuse_queued(&mut self) {
        let commands = std::mem::take(&mut self.forwards.queued_commands);
        let reads = std::mem::take(&mut self.forwards.queued_reads);
        for (_, command) in &commands {
            self.forwards.bytes -= size_bytes(command);
        }
        let tickets = commands.into_iter().map(|(ticket, _)| ticket).chain(reads);
        for ticket in tickets {
            self.forwards.count -= 1;
            self.refuse(ticket, Refusal::NotLeader);
        }
    }

    pub(super) fn forward_replied(&mut self, from: MemberId, reply: &ForwardReply) {
        let expected = |waiting: &Waiting| waiting.to == from;
        if self
            .forwards
            .commands
            .get(&reply.batch)
            .is_some_and(expected)
            && let Some(waiting) = self.forwards.commands.remove(&reply.batch)
        {
            self.forwards.ended(&waiting);
            for (ticket, offset) in waiting.tickets.into_iter().zip(0..) {
                self.outbox.push(match reply.outcome {
                    Ok(Position { term, index }) => {
                        let index = Index(index.0.saturating_add(offset));
                        Output::Accepted {
                            ticket,
                            position: Position { term, index },
                        }
                    }
                    Err(refusal) => Output::Refused { ticket, refusal },
                });
            }
        }
        if reply.term > self.term() {
            self.deposed_by_answer(reply.term);
        }
    }

    pub(super) fn read_replied(
        &mut self,
        from: MemberId,
        request: u64,
        term: Term,
        index: Option<Index>,
    ) {
        let expected = |waiting: &Waiting| waiting.to == from;
        if self.forwards.reads.get(&request).is_some_and(expected)
            && let Some(waiting) = self.forwards.reads.remove(&request)
        {
            self.forwards.ended(&waiting);
            for ticket in waiting.tickets {
                self.outbox.push(match index {
                    Some(index) => Output::ReadAt { ticket, index },
                    None => Output::Refused {
                        ticket,
                        refusal: Refusal::NotLeader,
                    },
                });
            }
        }
        if term > self.term() {
            self.deposed_by_answer(term);
        }
    }

    /// The leader is lost: what was sent to it may or may not be written (R20). Reads are safe to
    /// ask again.
    pub(super) fn abandon_forwards(&mut self) {
        let commands = std::mem::take(&mut self.forwards.commands);
        let reads = std::mem::take(&mut self.forwards.reads);
        self.abandon(commands.into_values(), reads.into_values());
    }

    /// How long a leader may take to answer; it answers at once, so this is a lost message.
    pub(super) fn forward_patience(&self) -> Duration {
        self.config.election_timeout * 10
    }

    pub(super) fn watch_forwards(&mut self) {
        let patience = self.forward_patience();
        if self
            .forwards
            .deadline(patience)
            .is_none_or(|at| self.now < at)
        {
            return;
        }
        let (now, late) = (self.now, |waiting: &Waiting, now: Mono| {
            now >= waiting.since.after(patience)
        });
        let commands: Vec<_> = self
            .forwards
            .commands
            .extract_if(.., |_, waiting| late(waiting, now))
            .collect();
        let reads: Vec<_> = self
            .forwards
            .reads
            .extract_if(.., |_, waiting| late(waiting, now))
            .collect();
        let sent = |(_, waiting)| waiting;
        self.abandon(commands.into_iter().map(sent), reads.into_iter().map(sent));
    }

    fn abandon(
        &mut self,
        commands: impl Iterator<Item = Waiting>,
        reads: impl Iterator<Item = Waiting>,
    ) {
        for waiting in commands {
            self.forwards.ended(&waiting);
            let unknown = waiting.tickets.into_iter();
            (self.outbox).extend(unknown.map(|ticket| Output::Unknown { ticket }));
        }
        for waiting in reads {
            self.forwards.ended(&waiting);
            for ticket in waiting.tickets {
                self.refuse(ticket, Refusal::NotLeader);
            }
        }
    }
}

/// What a command counts against limits of bytes, as it will once it is an entry.
fn size_bytes(command: &Bytes) -> usize {
    Entry::OVERHEAD_BYTES + command.len()
}

// The leader.
impl Node {
    pub(super) fn forwarded(&mut self, from: MemberId, forward: Forward) {
        let Forward {
            batch,
            term,
            commands,
        } = forward;
        let (own_term, limit) = (self.term(), self.config.command_bytes_max);
        let fits = |command: &Bytes| (1..=limit).contains(&command.len());
        if !commands.iter().all(fits) {
            return;
        }
        // The first copy was answered, perhaps with a place in the log that still stands: saying
        // now that nothing was written could be a lie.
        let newest = self.forwards.heard.entry(from).or_default();
        if batch <= *newest {
            return;
        }
        *newest = batch;
        if self.leading().is_none() || term != own_term {
            self.answer_forward(from, batch, Err(Refusal::NotLeader));
            return;
        }
        let outcome = self.may_append().map(|()| {
            let last = self.log.last().index;
            for command in commands {
                self.append_command(command);
            }
            Position {
                term,
                index: last.next(),
            }
        });
        self.answer_forward(from, batch, outcome);
    }

    fn answer_forward(&mut self, to: MemberId, batch: u64, outcome: Result<Position, Refusal>) {
        let reply = ForwardReply {
            batch,
            term: self.term(),
            outcome,
        };
        self.reply(to, Message::ForwardReply(reply));
    }

    /// Whether this leader takes commands now; checked before a batch, which may exceed the limit
    /// by its own size.
    fn may_append(&self) -> Result<(), Refusal> {
        if let Some(transfer) = self.leading().and_then(|leader| leader.transfer.as_ref()) {
            let asked = transfer.ticket.is_some() || !self.storage_stalled;
            return Err(if asked {
                Refusal::HandingOver
            } else {
                Refusal::Storage
            });
        }
        if self.log.bytes_behind(self.commit) > self.config.pending_bytes_max {
            return Err(if self.storage_stalled {
                Refusal::Storage
            } else {
                Refusal::Busy
            });
        }
        Ok(())
    }

    fn append_command(&mut self, command: Bytes) -> Position {
        let position = Position {
            term: self.term(),
            index: self.log.last().index.next(),
        };
        let (term, index) = (position.term, position.index);
        self.log.append(Entry {
            term,
            index,
            payload: Payload::Command(command),
        });
        position
    }
}
