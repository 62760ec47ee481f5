//! The one loop: takes in whatever happened, lets the engine take a turn, and carries out what it
//! asks for, in order.
//!
//! ```text
//!   links --Event--+                          +--> journal (the log's thread)
//!   log's thread --+--> turn --> outputs -----+--> outboxes (links)
//!   clients -------+     ^                    +--> state machine --> answers to clients
//!   time ----------------+
//! ```
//!
//! There is no rule of consensus in here: the order of durable writes and messages is the engine's.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::abstention::Abstention;
use super::aside::drop_aside;
use super::backup::Frozen;
use super::context::{Context, Event, Received};
use super::dialing::Dialing;
use super::handle::{Changed, Request, Shared};
use super::snapshots::{Transfers, push};
use super::waiting::Waiting;
use super::witness::Messenger;
use crate::consensus::{
    self, Boot, Change, Entry, Epoch, Index, Input, IoSeq, LinkEvent, MemberId, Mono, NodeId,
    Output, Position, Presence, Status,
};
use crate::state::Outcome;
use crate::storage::{Completion, FileDisk, Job, Journal};
use crate::wire::Packet;

/// Things taken into one turn at most, so that beats are not delayed by a flood.
const TURN_MAX: usize = 512;
/// How often requests that nobody waits for any more are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// Why a node ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The log failed.
    #[error("the log failed and is not trusted any more: {0}")]
    Storage(crate::storage::Error),
    /// The cluster turned the node away.
    #[error("the cluster turned this node away: {0}")]
    TurnedAway(String),
    /// The cluster goes on without the node.
    #[error("the cluster goes on without this node: {0}")]
    Removed(String),
    /// The terms of the cluster's epoch are used up.
    #[error(
        "no term is left in epoch {0}, so nobody can be elected any more; end all nodes, and let \
         the one with the newest data begin a later epoch with `remember recover`"
    )]
    Exhausted(Epoch),
    /// The log has an entry of a later version.
    #[error(
        "the log has a command of format {0}, which this version does not know; start a version \
         that does"
    )]
    Unsupported(u8),
}

/// What the loop listens to.
pub(super) struct Sources {
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) journal: mpsc::UnboundedReceiver<Completion>,
    pub(super) requests: mpsc::Receiver<Request>,
}

/// The loop's own things.
pub(super) struct Driver {
    context: Rc<Context>,
    shared: Rc<Shared>,
    journal: Journal<FileDisk>,
    /// Jobs that found the journal's queue full.
    backlog: VecDeque<Job<FileDisk>>,
    transfers: Transfers,
    /// The way to the witness, if there is one.
    witness: Messenger,
    dialing: Dialing,
    presence: Presence,
    waiting: Waiting,
    abstention: Abstention,
    /// The newest boot of each peer: words of an older one are not heard any more.
    boots: BTreeMap<MemberId, Boot>,
    origin: Instant,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    /// A snapshot from the leader that this turn may install.
    received: Option<(MemberId, Position, Box<Received>)>,
    /// An own snapshot that is published but whose entries are not all durable yet.
    published: Option<Position>,
    /// Those who wait for the end of this turn.
    turned: Vec<oneshot::Sender<()>>,
    stopped: Option<Stopped>,
    ending: bool,
}

impl Driver {
    pub(super) fn new(
        context: Rc<Context>,
        shared: Rc<Shared>,
        journal: Journal<FileDisk>,
        transfers: Transfers,
        witness: Messenger,
        origin: Instant,
    ) -> Self {
        Self {
            dialing: Dialing::new(Rc::clone(&context)),
            presence: Presence::new(context.settings.engine.election_timeout, uptime()),
            context,
            shared,
            journal,
            backlog: VecDeque::new(),
            transfers,
            witness,
            waiting: Waiting::default(),
            abstention: Abstention::default(),
            boots: BTreeMap::new(),
            origin,
            inputs: Vec::new(),
            outputs: Vec::new(),
            received: None,
            published: None,
            turned: Vec::new(),
            stopped: None,
            ending: false,
        }
    }

    /// Runs until the node is asked to end, or must.
    pub(super) async fn run(mut self, mut sources: Sources) -> Result<(), Stopped> {
        let mut forget_at = Instant::now() + FORGET_EVERY;
        loop {
            let wake_at = self.wake_at().min(forget_at);
            tokio::select! {
                biased;
                Some(completion) = sources.journal.recv() => self.take_completion(completion),
                Some(event) = sources.events.recv() => self.take_event(event),
                Some(request) = sources.requests.recv() => self.take_request(request),
                () = sleep_until(wake_at) => self.inputs.push(Input::Tick),
            }
            self.take_what_waits(&mut sources);
            self.turn();
            for turned in self.turned.drain(..) {
                // Whoever asked may have gone away.
                turned.send(()).unwrap_or_default();
            }
            if self.ending || self.stopped.is_some() {
                break;
            }
            if Instant::now() >= forget_at {
                forget_at = Instant::now() + FORGET_EVERY;
                self.waiting.forget_closed();
            }
        }
        match self.stopped {
            Some(failed @ Stopped::Storage(_)) => Err(failed),
            stopped => {
                // Everything queued becomes durable before the end.
                self.journal.close();
                stopped.map_or(Ok(()), Err)
            }
        }
    }

    /// More of what is there already: one turn, one write and one message a peer serve all of it.
    fn take_what_waits(&mut self, sources: &mut Sources) {
        while let Ok(completion) = sources.journal.try_recv() {
            self.take_completion(completion);
        }
        while self.inputs.len() < TURN_MAX
            && self.received.is_none()
            && let Ok(event) = sources.events.try_recv()
        {
            self.take_event(event);
        }
        while self.inputs.len() < TURN_MAX
            && let Ok(request) = sources.requests.try_recv()
        {
            self.take_request(request);
        }
    }

    fn wake_at(&self) -> Instant {
        let deadline = match &*self.context.engine.borrow() {
            Some((_, node)) => node.deadline(),
            None => self.now(),
        };
        self.origin + deadline.since(Mono::default())
    }

    fn now(&self) -> Mono {
        Mono::at(self.origin.elapsed())
    }

    fn take_completion(&mut self, completion: Completion) {
        match completion {
            Completion::Durable(seq) => self.inputs.push(Input::Durable(seq)),
            Completion::DiskFull(full) => {
                warn!(full, "room on the disk");
                self.inputs.push(Input::DiskFull(full));
            }
            Completion::Failed(error) => self.stopped = Some(Stopped::Storage(error)),
        }
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::Link(peer, event) => self.take_link(peer, event),
            Event::Accepted(hello, address) => {
                let joined = hello.since > Position::START;
                let peer = hello.member.id;
                if joined {
                    self.context.addresses.loosen(peer);
                }
                self.context.addresses.introduce(peer, address);
                self.take_link(peer, LinkEvent::Up(*hello));
            }
            Event::Packet(from, boot, packet, _share) => {
                if self.boots.get(&from) == Some(&boot) {
                    match packet {
                        Packet::Message(message) => {
                            self.inputs.push(Input::Message { from, message });
                        }
                        Packet::Snapshot(snapshot) => self.transfers.take(from, snapshot),
                    }
                }
            }
            Event::SnapshotWritten(position, written) => {
                self.transfers.written(&written);
                if written.is_ok() {
                    self.published = Some(position);
                }
            }
            Event::SnapshotSent(to, delivered) => {
                self.inputs.push(Input::SnapshotSent { to, delivered });
            }
            Event::SnapshotReceived(from, term, position, received) => match received {
                Ok(received) => {
                    let configuration = received.snapshot.snapshot().configuration().clone();
                    self.received = Some((from, position, received));
                    self.inputs.push(Input::SnapshotReceived {
                        from,
                        term,
                        position,
                        configuration,
                    });
                }
                Err(error) => self.transfers.received(from, position, Err(&error)),
            },
            Event::Register(member, reply) => self.change(Change::Learn(member), reply),
            Event::Witness(request, answer) => self.inputs.push(Input::Witness { request, answer }),
            Event::TurnedAway(sentence) => self.stopped = Some(Stopped::TurnedAway(sentence)),
            Event::Removed(since, sentence) => self.removed(since, sentence),
            Event::Welcomed(membership) => {
                self.welcomed();
                self.inputs.push(Input::Welcomed(membership.settled));
            }
        }
    }

    fn take_link(&mut self, peer: NodeId, event: LinkEvent) {
        match &event {
            LinkEvent::Up(hello) => {
                let told = hello.boots.newest();
                // Another disk of this peer has no link any more.
                let is_linked = |member: &MemberId| *member == hello.member;
                self.boots
                    .retain(|member, _| member.id != peer || is_linked(member));
                let boot = self.boots.entry(hello.member).or_insert(told);
                *boot = told.max(*boot);
                self.transfers.link_up(peer);
                // It may belong to the cluster by what has not arrived here.
                self.dialing.choose_again();
            }
            LinkEvent::Ended => self.transfers.link_ended(peer),
            LinkEvent::Refused | LinkEvent::Unreachable => {}
        }
        self.link(peer, matches!(event, LinkEvent::Up(_)));
        self.inputs.push(Input::Link { peer, event });
    }

    fn change(&mut self, change: Change, reply: oneshot::Sender<Changed>) {
        let ticket = self.waiting.change(reply);
        self.inputs.push(Input::Change { ticket, change });
    }

    /// The cluster has just taken this node in.
    pub(super) fn welcomed(&mut self) {
        self.presence.welcomed(uptime());
    }

    /// The cluster goes on without this node. One whose leader heard it ends, as somebody expects;
    /// one that has been away, and was started to join, comes back, if it has not already.
    fn removed(&mut self, since: Position, sentence: String) {
        if self.context.since() > since {
            return;
        }
        let is_asked = self.presence.was_there(uptime()) && !self.context.is_one_of_two();
        if is_asked || !self.context.settings.joins {
            self.stopped = Some(Stopped::Removed(sentence));
        } else if self.context.register_anew(since) {
            info!(sentence, "joining again");
            self.dialing.dial_all_now();
        }
    }

    /// Lets others see whether the link to a peer is up.
    fn link(&self, peer: NodeId, is_up: bool) {
        self.shared.linked.send_if_modified(|linked| {
            if is_up {
                linked.insert(peer)
            } else {
                linked.remove(&peer)
            }
        });
    }

    fn take_request(&mut self, request: Request) {
        let input = match request {
            Request::Propose(command, reply) => Input::Propose {
                ticket: self.waiting.proposal(reply),
                command,
            },
            Request::Read(reply) => Input::Read {
                ticket: self.waiting.read(reply),
            },
            Request::Transfer { to, within, reply } => Input::Transfer {
                ticket: self.waiting.transfer(reply),
                to,
                within,
            },
            Request::Change(change, reply) => {
                self.change(change, reply);
                return;
            }
            Request::Leave => self.abstention.leave(),
            Request::Fit(is_fit) => self.abstention.fit(is_fit),
            Request::Freeze(reply) => {
                self.freeze(reply);
                return;
            }
            Request::Turn(reply) => {
                self.turned.push(reply);
                return;
            }
            Request::End => {
                self.ending = true;
                return;
            }
        };
        self.inputs.push(input);
    }

    fn freeze(&self, reply: oneshot::Sender<Frozen>) {
        let view = self.shared.store.borrow().view().clone();
        if let Some((_, node)) = &*self.context.engine.borrow() {
            let configuration = node.configuration_at(view.position().index);
            // Whoever asked may have gone away.
            drop(reply.send(Frozen {
                view,
                configuration,
            }));
        }
    }

    fn turn(&mut self) {
        let now = self.now();
        let mut outputs = std::mem::take(&mut self.outputs);
        let status = {
            let mut engine = self.context.engine.borrow_mut();
            let Some((_, node)) = &mut *engine else {
                return;
            };
            // The last snapshot of this node may be told once the log holds all of it.
            let told = |at: &mut Position| at.index <= node.status().durable;
            if let Some(position) = self.published.take_if(told) {
                self.inputs.push(Input::SnapshotTaken(position));
            }
            node.turn(now, self.inputs.drain(..), &mut outputs);
            node.status()
        };
        for output in outputs.drain(..) {
            self.carry_out(output);
        }
        self.outputs = outputs;
        // One that the engine did not ask to install is of no use any more.
        if let Some((from, position, received)) = self.received.take() {
            self.transfers.received(from, position, Ok(()));
            drop_aside(received);
        }
        self.submit_backlog();
        self.choose_peers();
        let word = (status.leader).map(|_| (status.term, status.alive.contains(&status.id)));
        self.presence.turned(uptime(), word);
        self.consider_snapshot(&status);
        self.publish(status);
    }

    /// Follows who belongs to the cluster.
    fn choose_peers(&mut self) {
        let context = Rc::clone(&self.context);
        let engine = context.engine.borrow();
        let Some((_, node)) = &*engine else {
            return;
        };
        let Some(named) = self.dialing.choose(node) else {
            return;
        };
        self.context.watch_registration();
        let configuration = node.newest_configuration().clone();
        self.shared.configuration.send_replace(Some(configuration));
        // One that is named again must say anew where it is, and with which start: over a new link.
        let gone = |member: &MemberId, _: &mut Boot| !named.contains(&member.id);
        for (member, _) in self.boots.extract_if(.., gone) {
            if let Some(peer) = self.context.peers.of(member.id) {
                peer.parted.send_replace(Some(member.incarnation));
            }
        }
        self.transfers.keep_only(&named);
        self.shared.linked.send_if_modified(|linked| {
            let before = linked.len();
            linked.retain(|peer| named.contains(peer));
            linked.len() < before
        });
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Write(write) => self.backlog.push_back(Job::Write(write)),
            Output::Send { to, message } => {
                // What cannot be sent now is sent again when that is due.
                let _is_sent = push(&self.context, to, &Packet::Message(message));
            }
            Output::Apply(entries) => self.apply(&entries),
            Output::Accepted { ticket, position } => {
                self.waiting.accepted(ticket, position, self.applied());
            }
            Output::Refused { ticket, refusal } => self.waiting.refused(ticket, refusal),
            Output::Unknown { ticket } => self.waiting.unknown(ticket),
            Output::ReadAt { ticket, index } => {
                self.waiting.read_at(ticket, index, self.applied());
            }
            Output::TransferEnded { ticket, moved } => {
                self.waiting.transfer_ended(ticket, moved);
            }
            Output::ChangeEnded { ticket, outcome } => self.waiting.change_ended(ticket, outcome),
            Output::SendSnapshot { to, term } => self.transfers.send(to, term),
            Output::InstallSnapshot {
                seq,
                position,
                keep_log,
            } => {
                self.install(seq, position, keep_log);
            }
            Output::Part(member) => {
                if let Some(peer) = self.context.peers.of(member.id) {
                    peer.parted.send_replace(Some(member.incarnation));
                }
                self.dialing.choose_again();
            }
            Output::Witness { request, ask } => {
                self.inputs.extend(self.witness.pass_on(request, ask));
            }
            Output::Probe(peer) => {
                if let Some(peer) = self.context.peers.of(peer) {
                    peer.dial_now.notify_one();
                }
            }
            Output::Exhausted(epoch) => self.stopped = Some(Stopped::Exhausted(epoch)),
            Output::Event(event) => tell(&event),
        }
    }

    fn applied(&self) -> Index {
        self.shared.store.borrow().view().position().index
    }

    fn apply(&mut self, entries: &[Entry]) {
        let mut store = self.shared.store.borrow_mut();
        for entry in entries {
            let outcome = store.apply(entry.position(), &entry.payload);
            if let Outcome::Unsupported { format } = outcome {
                self.stopped = Some(Stopped::Unsupported(format));
                return;
            }
            self.waiting.applied(entry.position(), &outcome);
        }
        if let Some(last) = entries.last() {
            self.waiting.applied_to(last.index);
        }
    }

    fn install(&mut self, seq: IoSeq, position: Position, keep_log: bool) {
        let Some((from, _, received)) = self.received.take() else {
            unreachable!("only a snapshot that was received in this turn is installed");
        };
        let Received { snapshot, view } = *received;
        self.transfers.received(from, position, Ok(()));
        info!(?position, "installing a snapshot of the leader");
        let snapshot = Box::new(snapshot);
        self.backlog.push_back(Job::Install {
            seq,
            position,
            keep_log,
            snapshot,
        });
        drop_aside(self.shared.store.borrow_mut().replace(view));
        self.waiting.skipped_to(position.index);
    }

    /// Gives the journal what it has room for; the rest waits, in order. The engine bounds it: it
    /// takes no more once too much is not durable.
    fn submit_backlog(&mut self) {
        while let Some(job) = self.backlog.pop_front() {
            match self.journal.submit(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                    // If its thread has ended, its last report says why.
                    self.backlog.push_front(job);
                    return;
                }
            }
        }
    }

    /// Takes a snapshot when the log has outgrown both its limit and the state.
    fn consider_snapshot(&mut self, status: &Status) {
        let limit = self.context.settings.snapshot_log_bytes;
        if self.published.is_some() || status.log_bytes <= limit {
            return;
        }
        let store = self.shared.store.borrow();
        let view = store.view();
        let outgrown = status.log_bytes as u64 > view.used_bytes();
        let engine = self.context.engine.borrow();
        if let Some((_, node)) = &*engine
            && outgrown
            && view.position().index > status.base.index
        {
            let configuration = node.configuration_at(view.position().index);
            self.transfers.write(view, configuration);
        }
    }

    /// Lets others see where the node is; wakes them only if what they wait for changed.
    fn publish(&self, status: Status) {
        let revision = self.shared.store.borrow().view().revision();
        self.shared.revision.send_if_modified(|seen| {
            let changed = *seen != revision;
            *seen = revision;
            changed
        });
        self.shared.status.send_if_modified(|seen| {
            let key = |status: &Status| {
                let Status {
                    role,
                    term,
                    leader,
                    tickets,
                    established,
                    handing_over,
                    ..
                } = status;
                (*role, *term, *leader, *tickets, *established, *handing_over)
            };
            let changed = key(seen) != key(&status) || seen.alive != status.alive;
            *seen = Rc::new(status);
            changed
        });
    }
}

/// The time since the machine was started, which runs on while it sleeps.
fn uptime() -> Duration {
    // Neither part of it is ever negative.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

fn tell(event: &consensus::Event) {
    match event {
        consensus::Event::RoleChanged { role, term, leader } => {
            info!(?role, term = term.0, leader = leader.map(|id| id.0), "role");
        }
        event => info!(?event, "consensus"),
    }
}

#[cfg(test)]
#[path = "driver_test.rs"]
mod tests;
