//! The node: its state, the one way in, and what belongs to no part alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::configurations::Configurations;
use super::durability::Durability;
use super::election::Preference;
use super::forward::Forwards;
use super::log::Log;
use super::rng::Rng;
use super::role::{Candidate, Follower, Leader, RoleState};
use super::witness::Witness;
use super::{
    Boot, Boots, Config, ConfigError, Configuration, Event, HardState, Hello, Index, Input,
    LinkEvent, MemberId, Message, Mono, NodeId, Output, Placed, Position, Recovered, Refusal,
    Rejection, Role, Status, StepDown, Term, VoteRequest,
};

/// Entry bytes behind a snapshot that one turn gives back, roughly: giving back all that a log has
/// grown by takes longer than a beat may wait.
const FORGET_BYTES_MAX: usize = 1 << 20;
/// When the next turn does so, at the latest.
const FORGET_PAUSE: Duration = Duration::from_millis(1);

/// One voter. [`Node::turn`] is the only way to change it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Node {
    pub(super) member: MemberId,
    pub(super) boots: Boots,
    /// Who belongs to the cluster.
    pub(super) configurations: Configurations,
    pub(super) config: Config,
    pub(super) rng: Rng,

    pub(super) hard_state: HardState,
    pub(super) log: Log,
    pub(super) durability: Durability,
    /// Everything up to here is agreed, and has been handed out to be applied.
    pub(super) commit: Index,

    pub(super) role: RoleState,
    /// The newest boot of each peer that was heard of (R15).
    pub(super) met: BTreeMap<MemberId, Boot>,
    /// Those among them who belong to the cluster no more, whose removal is longest ago first. A
    /// disk keeps no such order: those of earlier boots of this node come first, by id.
    pub(super) removed: VecDeque<MemberId>,
    /// Peers that are admitted although the newest configuration here does not name them, because
    /// theirs is newer, each with its boot.
    pub(super) ahead: BTreeMap<MemberId, (Boot, Position)>,
    /// Peers that cannot be reached, as far as this node's links tell.
    pub(super) cut_off: BTreeSet<MemberId>,
    /// Those whose address refused since they were last heard: their processes are gone (R18).
    pub(super) refused: BTreeSet<MemberId>,
    /// Pre-votes that were not granted yet and may still be, each with its time of arrival.
    pub(super) noted: BTreeMap<MemberId, (VoteRequest, Mono)>,
    pub(super) preference: Preference,
    /// Attempts to be elected, for naming them; and those failed since a leader was last known.
    pub(super) rounds: u64,
    pub(super) failed_attempts: u32,
    /// False while this node must not stand: it is leaving, or its application is not ready.
    pub(super) may_stand: bool,
    pub(super) storage_stalled: bool,
    pub(super) forwards: Forwards,
    pub(super) witness: Witness,

    /// The time of this turn.
    pub(super) now: Mono,
    /// What this turn asks for; empty between turns.
    pub(super) outbox: Vec<Output>,
    /// What was last told in `Event::RoleChanged`.
    told: Option<(Role, Term, Option<NodeId>)>,
}

impl Node {
    /// A node that starts from what its disk holds. `seed` feeds the randomized timeouts (S5);
    /// two nodes or boots should not share one. It starts as a candidate (S7).
    ///
    /// # Panics
    /// If `recovered` contradicts itself: a gap in the log, an entry of a term above the durable
    /// one, a term above the cluster's epoch. Storage refuses such a disk before it gets here.
    pub fn new(
        recovered: Recovered,
        config: Config,
        seed: u64,
        now: Mono,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let Recovered {
            member,
            boots,
            membership,
            hard_state,
            base,
            configuration,
            entries,
            peers,
        } = recovered;
        let known = configuration.into_iter().chain([membership.settled]);
        let settled = known.max_by_key(|(position, _)| *position);
        #[expect(clippy::expect_used, reason = "one of them is always there")]
        let settled = settled.expect("a membership has a configuration");
        let configurations = Configurations::new(settled, &entries);
        let log = Log::new(base, entries);
        assert!(
            log.last().term <= hard_state.term,
            "an entry on disk implies its term (R22)"
        );
        let mut durability = Durability::new(log.last().index);
        let hard_state = durability.begin(hard_state, membership.epoch);
        Ok(Self {
            member,
            config,
            rng: Rng::new(seed),
            hard_state,
            durability,
            log,
            commit: base.index,
            role: RoleState::Candidate(Candidate::looking(now)),
            removed: peers
                .iter()
                .map(|peer| peer.member)
                .filter(|member| !configurations.names_since(base.index, *member))
                .collect(),
            met: peers
                .into_iter()
                .map(|peer| (peer.member, peer.boot))
                .collect(),
            configurations,
            ahead: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            refused: BTreeSet::new(),
            noted: BTreeMap::new(),
            preference: Preference::default(),
            rounds: names_of(boots.newest()),
            failed_attempts: 0,
            may_stand: true,
            storage_stalled: false,
            forwards: Forwards::named_from(names_of(boots.newest())),
            witness: Witness::named_from(names_of(boots.newest()), now),
            boots,
            now,
            outbox: Vec::new(),
            told: None,
        })
    }

    /// Takes in everything that happened since the last turn, in order, and adds to `out` what is
    /// to be done. `now` never goes back. Many inputs in one turn cost one write and one message
    /// a peer, so a driver hands over all it has.
    ///
    /// # Panics
    /// If an invariant is broken that safety rests on: a dead node beats a wrong one.
    pub fn turn(
        &mut self,
        now: Mono,
        inputs: impl IntoIterator<Item = Input>,
        out: &mut Vec<Output>,
    ) {
        assert!(
            now >= self.now,
            "time goes back from {:?} to {now:?}",
            self.now
        );
        self.now = now;
        for input in inputs {
            self.take(input);
        }
        // Silence is judged after everything that was waiting has been heard, so that a process
        // that was paused does not blame its leader (scenario 43).
        self.watch_storage();
        self.watch_leader();
        self.watch_candidacy();
        self.reconsider_noted();
        self.watch_followers();
        self.watch_forwards();
        self.flush();
        self.log
            .forget(self.config.retained_bytes, FORGET_BYTES_MAX);
        out.append(&mut self.outbox);
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::Message { from, message } => self.hear(from, message),
            Input::Propose { ticket, command } => self.propose(ticket, command),
            Input::Read { ticket } => self.read(ticket),
            Input::Transfer { ticket, to, within } => self.transfer(ticket, to, within),
            Input::Change { ticket, change } => self.change(ticket, &change),
            Input::Welcomed(settled) => self.configurations.welcomed(settled),
            Input::MayStand(may) => self.may_stand = may,
            Input::Durable(seq) => {
                for (to, message) in self.durability.completed(seq) {
                    self.outbox.push(Output::Send { to, message });
                }
            }
            Input::DiskFull(full) => self.durability.full(full),
            Input::Link { peer, event } => self.link(peer, event),
            Input::Witness { request, answer } => self.witness_answered(request, answer),
            Input::SnapshotTaken(position) => self.snapshot_taken(position),
            Input::SnapshotReceived {
                from,
                term,
                position,
                configuration,
            } => {
                self.snapshot_received(from, term, position, configuration);
            }
            Input::SnapshotSent { to, delivered } => self.snapshot_sent(to, delivered),
        }
    }

    fn hear(&mut self, from: MemberId, message: Message) {
        let belongs = self.knows(from) || self.ahead.contains_key(&from);
        if from == self.member {
            return;
        }
        if !belongs {
            // A link may be older than what is agreed on. Over the next one it says since when it
            // is a member.
            self.part(from);
            return;
        }
        if !self.is_of_this_epoch(message.term()) {
            return;
        }
        self.sees(from);
        if self.configuration().counts(from) {
            self.witness.heard(self.now);
        }
        match message {
            Message::VoteRequest(request) => self.vote_requested(from, request),
            Message::VoteReply(reply) => self.vote_replied(from, &reply),
            Message::Append(append) => self.appended(from, append),
            Message::AppendReply(reply) => self.append_replied(from, &reply),
            Message::Beat(beat) => self.beaten(from, beat),
            Message::BeatReply(reply) => self.beat_replied(from, &reply),
            Message::Commit { term, commit } => self.commit_told(from, term, commit),
            Message::TimeoutNow { term } => self.told_to_stand(from, term),
            Message::SupplyRequest { at, .. } => self.supply_requested(from, at),
            Message::Supply(supply) => self.supplied(from, supply),
            Message::Forward(forward) => self.forwarded(from, forward),
            Message::ForwardReply(reply) => self.forward_replied(from, &reply),
            Message::ReadRequest { request, term } => self.read_requested(from, request, term),
            Message::ReadReply {
                request,
                term,
                index,
            } => {
                self.read_replied(from, request, term, index);
            }
        }
    }

    /// A link is between members of one cluster and epoch, so nobody who keeps the rules says
    /// anything of another one. Taken over, a term of a later epoch would be a token of the cluster
    /// that begins in it (R14).
    pub(super) fn is_of_this_epoch(&self, term: Term) -> bool {
        term.epoch() == self.term().epoch()
    }

    fn link(&mut self, peer: NodeId, event: LinkEvent) {
        match event {
            LinkEvent::Up(hello) if hello.member == self.member => {}
            LinkEvent::Up(hello) => self.link_up(&hello),
            LinkEvent::Ended => self.link_ended(peer),
            LinkEvent::Refused => self.link_refused(peer),
            LinkEvent::Unreachable => self.lose_sight_of(peer),
        }
    }

    /// When `turn` must be called again at the latest, with [`Input::Tick`] if nothing else
    /// happened.
    pub fn deadline(&self) -> Mono {
        let role = match &self.role {
            RoleState::Follower(follower) => self.follower_deadline(follower),
            RoleState::Candidate(candidate) => self.candidate_deadline(candidate),
            RoleState::Leader(leader) => leader.deadline(),
        };
        let storage = self.durability.stalls_at(self.config.disk_stall);
        let storage = storage.filter(|_| !self.storage_stalled);
        let forwards = self.forwards.deadline(self.forward_patience());
        let forget = self.log.can_forget(self.config.retained_bytes);
        let forget = forget.then(|| self.now.after(FORGET_PAUSE));
        [storage, forwards, forget, self.witness_deadline()]
            .into_iter()
            .flatten()
            .fold(role, Mono::min)
    }

    /// How this node introduces itself on every link.
    pub fn hello(&self) -> Hello {
        // While a snapshot is being installed, the entry at the durable index may be forgotten.
        let index = self.durability.durable();
        let held = self.log.term_at(index).map(|term| Position { term, index });
        Hello {
            member: self.member,
            since: self.configuration().since(self.member).unwrap_or_default(),
            boots: self.boots.clone(),
            term: self.hard_state.term,
            durable: held.unwrap_or_default(),
        }
    }

    /// The configuration that an own snapshot of the state right behind `index` begins with: that
    /// entry is applied, and no snapshot covers what is behind it.
    pub fn configuration_at(&self, index: Index) -> Placed {
        self.configurations.at(index).clone()
    }

    /// Judges a peer before its link may come up (R13, R15).
    pub fn admit(&self, hello: &Hello) -> Result<(), Rejection> {
        let met = self.met.get(&hello.member).copied();
        let (position, _) = self.configurations.at(self.commit);
        // Whoever was removed may register, so its past is judged first.
        hello.check_past(met)?;
        // Whoever came later than that is known to others, and to this node before long.
        if !self.knows(hello.member) && hello.since <= *position {
            let id = hello.member.id;
            return Err(Rejection::Removed { id });
        }
        if met == Some(hello.boots.newest()) || hello.term > self.term() {
            return Ok(());
        }
        // A restart must bring back what the peer had acknowledged to this leader in this term.
        match self.acknowledged_by(hello.member) {
            Some(acked) if hello.term < self.term() || hello.durable.index < acked => {
                Err(Rejection::LostData {
                    id: hello.member.id,
                    acked: Position {
                        term: self.term(),
                        index: acked,
                    },
                    given: hello.durable,
                    term: hello.term,
                })
            }
            _ => Ok(()),
        }
    }

    /// What this node knows now.
    pub fn status(&self) -> Status {
        let (tickets, alive) = match &self.role {
            RoleState::Leader(leader) => (leader.tickets, self.alive(leader)),
            RoleState::Follower(follower) if follower.leader.is_some() => {
                (follower.tickets, self.alive_as_told(follower))
            }
            RoleState::Follower(_) | RoleState::Candidate(_) => (0, vec![self.member.id]),
        };
        let leading = self.leading();
        Status {
            id: self.member.id,
            role: self.role_name(),
            term: self.term(),
            leader: self.leader().map(|leader| leader.id),
            tickets,
            alive,
            established: leading.is_some_and(|leader| self.commit >= leader.noop),
            handing_over: leading.is_some_and(|leader| leader.transfer.is_some()),
            commit: self.commit,
            durable: self.durability.durable(),
            last: self.log.last(),
            base: self.log.base(),
            log_bytes: self.log.bytes_behind(self.log.base().index),
            leader_commit: match &self.role {
                RoleState::Leader(leader) => Some(leader.noop),
                RoleState::Follower(follower) => follower.leader_commit,
                RoleState::Candidate(_) => None,
            },
            storage_stalled: self.storage_stalled,
        }
    }
}

// What the parts share.
impl Node {
    /// Whom the leader hears; before its first beat that is known of the two of them only.
    fn alive_as_told(&self, follower: &Follower) -> Vec<NodeId> {
        if !follower.alive.is_empty() {
            return follower.alive.clone();
        }
        let both = follower.leader.into_iter().chain([self.member]);
        let both: BTreeSet<_> = both.map(|member| member.id).collect();
        both.into_iter().collect()
    }

    /// Whether this member belongs to the cluster by what is agreed on, or may yet.
    pub(super) fn knows(&self, member: MemberId) -> bool {
        self.configurations.names_since(self.commit, member)
    }

    /// Who belongs to the cluster, as far as this node knows.
    pub fn configuration(&self) -> &Configuration {
        self.configurations.in_force()
    }

    /// The configuration in force here, and the entry that it came with.
    pub fn newest_configuration(&self) -> &Placed {
        self.configurations.newest()
    }

    /// The newest configuration that this node knows to be agreed on, and its entry.
    pub fn agreed(&self) -> &Placed {
        self.configurations.at(self.commit)
    }

    /// Whether a member was met: then its disk knows its cluster for ever (R15).
    pub fn has_met(&self, member: MemberId) -> bool {
        self.met.contains_key(&member)
    }

    /// Everybody whom this node may have to talk to: who is named by what is agreed on, or by
    /// anything later, and who came with a configuration that has not arrived here.
    pub fn neighbours(&self) -> BTreeSet<NodeId> {
        let named = self.configurations.since(self.commit);
        let named = named.flat_map(|(_, configuration)| configuration.members());
        let all = named.chain(self.ahead.keys().copied());
        all.map(|member| member.id).collect()
    }

    /// Where the next entry of this leader stands.
    pub(super) fn next_position(&self) -> Position {
        Position {
            term: self.term(),
            index: self.log.last().index.next(),
        }
    }

    pub(super) fn term(&self) -> Term {
        self.hard_state.term
    }

    pub(super) fn leading(&self) -> Option<&Leader> {
        match &self.role {
            RoleState::Leader(leader) => Some(leader),
            RoleState::Follower(_) | RoleState::Candidate(_) => None,
        }
    }

    /// The leader known in this term.
    pub(super) fn leader(&self) -> Option<MemberId> {
        match &self.role {
            RoleState::Leader(_) => Some(self.member),
            RoleState::Follower(follower) => follower.leader,
            RoleState::Candidate(_) => None,
        }
    }

    fn role_name(&self) -> Role {
        match self.role {
            RoleState::Leader(_) => Role::Leader,
            RoleState::Follower(_) => Role::Follower,
            RoleState::Candidate(_) => Role::Candidate,
        }
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = MemberId> + use<> {
        let members = self.configuration().members();
        let peers: Vec<_> = members.filter(|member| *member != self.member).collect();
        peers.into_iter()
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outbox.push(Output::Event(event));
    }

    /// Sends what rests on nothing that is not durable.
    pub(super) fn send(&mut self, to: MemberId, message: Message) {
        self.outbox.push(Output::Send { to, message });
    }

    /// Answers a peer: the answer tells this node's term, and waits until that is durable.
    pub(super) fn reply(&mut self, to: MemberId, message: Message) {
        if let Some(message) = self.durability.hold(to, message) {
            self.send(to, message);
        }
    }

    pub(super) fn refuse(&mut self, ticket: super::Ticket, refusal: Refusal) {
        self.outbox.push(Output::Refused { ticket, refusal });
    }

    /// Takes over a higher term: any role becomes a follower that waits for its leader (S3, S5).
    pub(super) fn adopt_term(&mut self, term: Term) {
        assert!(
            term > self.term(),
            "terms only rise: {term:?} after {:?}",
            self.term()
        );
        self.leave_role(StepDown::HigherTerm);
        self.hard_state = HardState { term, vote: None };
        self.durability.hard_state_changed();
        self.preference = Preference::default();
        let follower = self.fresh_follower(None);
        self.role = RoleState::Follower(follower);
    }

    /// Leaves the present role; everybody who waits for something in it is told.
    pub(super) fn leave_role(&mut self, why: StepDown) {
        self.witness.role_left(self.now);
        let looking = RoleState::Candidate(Candidate::looking(self.now));
        match std::mem::replace(&mut self.role, looking) {
            RoleState::Leader(leader) => {
                self.event(Event::SteppedDown {
                    term: self.term(),
                    why,
                });
                self.refuse_reads(leader.reads);
                let changes = leader.change.into_iter();
                (self.outbox).extend(changes.map(|ticket| Output::Unknown { ticket }));
                let ticket = leader.transfer.and_then(|transfer| transfer.ticket);
                if let Some(ticket) = ticket {
                    self.outbox.push(Output::TransferEnded {
                        ticket,
                        moved: true,
                    });
                }
            }
            RoleState::Follower(_) => self.abandon_forwards(),
            RoleState::Candidate(_) => {}
        }
    }

    /// A follower that has just begun to wait.
    pub(super) fn fresh_follower(&mut self, leader: Option<MemberId>) -> Follower {
        Follower {
            leader,
            tickets: 0,
            alive: Vec::new(),
            contact: self.now,
            patience: self.rng.between_one_and_two(self.config.election_timeout),
            evidence: None,
            probed: false,
            // What is agreed stands in every leader's log (Raft 5.4: leader completeness).
            matched: self.commit,
            acknowledged: Index(0),
            owes_reply: false,
            leader_commit: None,
        }
    }

    /// Emits everything that this turn made necessary: once, whatever the number of inputs.
    fn flush(&mut self) {
        self.advance_commit();
        self.watch_change();
        self.keep_alone();
        self.keep_members();
        self.watch_witness();
        self.flush_write();
        self.flush_leader();
        self.flush_follower();
        let leader = self.leader().map(|leader| leader.id);
        let now = (self.role_name(), self.term(), leader);
        if self.told != Some(now) {
            self.told = Some(now);
            let (role, term, leader) = now;
            self.event(Event::RoleChanged { role, term, leader });
        }
    }

    pub(super) fn flush_write(&mut self) {
        if let Some(write) = self.durability.write(self.hard_state, &self.log, self.now) {
            self.outbox.push(Output::Write(write));
        }
    }

    /// Hands out everything up to `commit` to be applied.
    pub(super) fn commit_to(&mut self, commit: Index) {
        if commit > self.commit {
            self.outbox
                .push(Output::Apply(self.log.range(self.commit.next(), commit)));
            let before = self.configurations.at(self.commit).0;
            self.commit = commit;
            if self.configurations.at(commit).0 > before {
                self.part_from_the_removed();
            }
        }
    }
}

/// Where the numbers begin that name this boot's votes and requests: no two boots share one, so an
/// answer to an earlier boot, held back until now, is never taken for an answer to this one.
fn names_of(boot: Boot) -> u64 {
    boot.count() << 32
}

#[cfg(test)]
#[path = "node_test.rs"]
mod tests;
