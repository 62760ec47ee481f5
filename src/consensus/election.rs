//! Winning, losing and giving votes (S3-S5, S9).
//!
//! ```text
//!            pre-vote                    vote
//!   looking ----------> a majority says ------> a majority gave theirs, ----> leader
//!      ^                yes                     own vote durable
//!      |                                          |
//!      +--- silence, a lost vote (S5: a tie skips to the next term)
//! ```
//!
//! A pre-vote binds nobody. One that is refused because a leader is heard, or held because a
//! preferred candidate stands, is noted and granted as soon as the reason is gone, so that a
//! candidate need not guess when to ask again.

use std::collections::BTreeSet;

use super::progress::Progress;
use super::role::{Candidate, Leader, RoleState};
use super::{
    Ballot, Beat, Entry, Event, HardState, MemberId, Message, Mono, Node, Output, Payload,
    Position, StepDown, Term, Verdict, VoteReply, VoteRequest,
};

/// The order of candidates (S9): the one with the longer log, then the one with the smaller id.
///
/// It delays a less preferred candidate by one bounded wait for each leaderless time, counted from
/// the first candidate seen, and so can never block an election (scenario 12). The wait is drawn
/// anew each time, so that those who waited for a candidate in vain do not all stand at once.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Preference {
    favourite: Option<(Position, MemberId)>,
    until: Option<Mono>,
}

impl Preference {
    /// Until when this candidate has to let a preferred one go first, which may have passed.
    fn outranks(&self, last: Position, id: MemberId) -> Option<Mono> {
        let favourite = self.favourite?;
        self.until.filter(|_| preferred(favourite, (last, id)))
    }
}

/// Whether candidate `a` is strictly preferred to `b`.
fn preferred(a: (Position, MemberId), b: (Position, MemberId)) -> bool {
    (a.0, b.1) > (b.0, a.1)
}

impl Candidate {
    /// A node that knows no leader and is about to sound out the others.
    pub(super) fn looking(ask_at: Mono) -> Self {
        Self {
            ballot: Ballot::Pre,
            round: 0,
            grants: BTreeSet::new(),
            denials: BTreeSet::new(),
            in_vain: false,
            fuller: BTreeSet::new(),
            supplier: None,
            asked_at: ask_at,
            agreed_at: None,
            ask_at,
            give_up_at: ask_at,
        }
    }
}

// Giving votes.
impl Node {
    pub(super) fn vote_requested(&mut self, from: MemberId, request: VoteRequest) {
        match request.ballot {
            Ballot::Pre => self.pre_vote_requested(from, request),
            Ballot::Real => self.real_vote_requested(from, &request),
        }
    }

    fn pre_vote_requested(&mut self, from: MemberId, request: VoteRequest) {
        let verdict = self.judge_pre_vote(from, &request);
        self.answer_vote(from, &request, verdict);
        if matches!(verdict, Verdict::HasLeader | Verdict::Held) {
            self.noted.insert(from, (request, self.now));
        } else {
            self.noted.remove(&from);
        }
    }

    fn judge_pre_vote(&mut self, from: MemberId, request: &VoteRequest) -> Verdict {
        if request.term <= self.term() {
            return Verdict::StaleTerm;
        }
        if self
            .hears_leader_until(from)
            .is_some_and(|until| self.now < until)
        {
            return Verdict::HasLeader;
        }
        if request.last < self.log.last() {
            return Verdict::LogBehind;
        }
        self.notice_candidate(request.last, from);
        match self.held_until(request.last, from) {
            Some(_) => Verdict::Held,
            None => Verdict::Granted,
        }
    }

    /// A candidate was seen; the first one of a leaderless time starts the wait (S9).
    fn notice_candidate(&mut self, last: Position, id: MemberId) {
        if self.preference.until.is_none() {
            let wait = self.rng.between_one_and_two(self.config.preference_wait);
            self.preference.until = Some(self.now.after(wait));
        }
        let favourite = self.preference.favourite;
        if favourite.is_none_or(|favourite| preferred((last, id), favourite)) {
            self.preference.favourite = Some((last, id));
        }
    }

    /// Until when the pre-vote of this candidate is held back for a preferred one.
    fn held_until(&self, last: Position, id: MemberId) -> Option<Mono> {
        self.preference
            .outranks(last, id)
            .filter(|until| self.now < *until)
    }

    fn real_vote_requested(&mut self, from: MemberId, request: &VoteRequest) {
        if request.term > self.term() {
            self.adopt_term(request.term);
        }
        let verdict = self.judge_vote(from, request);
        if verdict == Verdict::Granted {
            if self.hard_state.vote.is_none() {
                self.hard_state.vote = Some(from);
                self.durability.hard_state_changed();
            }
            self.leave_role(StepDown::HigherTerm);
            self.role = RoleState::Follower(self.fresh_follower(None));
        }
        self.answer_vote(from, request, verdict);
    }

    /// One vote a term, first come, first served, and only to a log that lacks nothing of ours
    /// (Raft 5.2, 5.4.1). Judged anew for a repeated request: the candidate may have restarted.
    fn judge_vote(&self, from: MemberId, request: &VoteRequest) -> Verdict {
        if request.term < self.term() {
            return Verdict::StaleTerm;
        }
        if self.leader().is_some() || self.hard_state.vote.is_some_and(|vote| vote != from) {
            return Verdict::VotedForOther;
        }
        if request.last < self.log.last() {
            return Verdict::LogBehind;
        }
        Verdict::Granted
    }

    fn answer_vote(&mut self, to: MemberId, request: &VoteRequest, verdict: Verdict) {
        let (ballot, round) = (request.ballot, request.round);
        let reply = VoteReply {
            ballot,
            round,
            term: self.term(),
            verdict,
        };
        self.reply(to, Message::VoteReply(reply));
    }

    /// Grants, or finally refuses, the noted pre-votes for which the reason to wait is gone.
    pub(super) fn reconsider_noted(&mut self) {
        if self.noted.is_empty() {
            return;
        }
        // A candidate asks again every heartbeat for as long as it wants to know.
        let (now, patience) = (self.now, self.config.heartbeat * 2);
        self.noted
            .retain(|_, (_, since)| now.since(*since) <= patience);
        for (from, (request, _)) in self.noted.clone() {
            let verdict = self.judge_pre_vote(from, &request);
            if !matches!(verdict, Verdict::HasLeader | Verdict::Held) {
                self.noted.remove(&from);
                self.answer_vote(from, &request, verdict);
            }
        }
    }

    /// When a noted pre-vote may have to be judged anew.
    pub(super) fn noted_deadline(&self) -> Option<Mono> {
        let at = |(from, (request, since)): (&MemberId, &(VoteRequest, Mono))| {
            let leader = self
                .hears_leader_until(*from)
                .filter(|until| self.now < *until);
            let preferred = self.held_until(request.last, *from);
            leader
                .or(preferred)
                .unwrap_or_else(|| since.after(self.config.heartbeat * 2))
        };
        self.noted.iter().map(at).min()
    }
}

// Asking for votes.
impl Node {
    /// Whether this node may ask for votes at all: its own would count, and it is neither leaving
    /// nor stuck on its disk.
    pub(super) fn can_stand(&self) -> bool {
        self.may_stand && !self.storage_stalled && self.configuration().counts(self.member)
    }

    /// Moves an election on: judges what was answered, asks again, gives up.
    pub(super) fn watch_candidacy(&mut self) {
        let RoleState::Candidate(candidate) = &self.role else {
            return;
        };
        let (ballot, asks) = (candidate.ballot, self.now >= candidate.ask_at);
        match ballot {
            Ballot::Pre if !self.can_stand() => {
                self.role = RoleState::Candidate(Candidate::looking(self.now_and_a_heartbeat()));
            }
            Ballot::Pre if candidate.round == 0 => {
                if asks {
                    self.sound_out();
                    self.watch_soundings();
                }
            }
            Ballot::Pre => {
                self.watch_soundings();
                // What was granted long ago says nothing about now.
                if self.sounds_for_too_long() {
                    self.sound_out();
                } else if asks {
                    self.ask_again();
                    self.seek_supply();
                } else if self.needs_supplier() {
                    self.seek_supply();
                }
            }
            Ballot::Real => {
                self.watch_ballot();
                if asks {
                    self.ask_again();
                }
            }
        }
    }

    fn now_and_a_heartbeat(&self) -> Mono {
        self.now.after(self.config.heartbeat)
    }

    fn sounds_for_too_long(&self) -> bool {
        let RoleState::Candidate(candidate) = &self.role else {
            return false;
        };
        let sounding = self.now.since(candidate.asked_at);
        let sounds = candidate.ballot == Ballot::Pre && candidate.round > 0;
        sounds && sounding >= self.config.election_timeout
    }

    /// Begins a pre-vote. It is told of once, however often a node that nobody answers begins anew.
    fn sound_out(&mut self) {
        let Some(term) = self.next_term() else {
            let never = self.now.after(self.config.election_timeout);
            self.role = RoleState::Candidate(Candidate::looking(never));
            return;
        };
        self.notice_candidate(self.log.last(), self.member);
        self.rounds += 1;
        let in_vain = self.sounds_for_too_long()
            || matches!(&self.role, RoleState::Candidate(candidate) if candidate.in_vain);
        let again = matches!(&self.role, RoleState::Candidate(candidate)
            if candidate.ballot == Ballot::Pre && candidate.round > 0);
        if !again {
            self.event(Event::Stands {
                ballot: Ballot::Pre,
                term,
            });
        }
        self.role = RoleState::Candidate(Candidate {
            ballot: Ballot::Pre,
            round: self.rounds,
            grants: BTreeSet::from([self.member]),
            in_vain,
            ask_at: self.now_and_a_heartbeat(),
            ..Candidate::looking(self.now)
        });
        self.ask(self.peers());
    }

    /// Stands in earnest once a majority would agree, unless a preferred candidate is about to.
    fn watch_soundings(&mut self) {
        let (now, alone) = (self.now, self.alone());
        let RoleState::Candidate(candidate) = &mut self.role else {
            return;
        };
        let granted = |member| candidate.grants.contains(&member);
        if self.configurations.in_force().agrees(alone, granted) {
            candidate.agreed_at.get_or_insert(now);
        }
        if self.stands_at().is_some_and(|at| now >= at) {
            self.stand();
            self.watch_ballot();
        }
    }

    /// When a candidate that a majority agrees with stands: it lets a preferred one go first, for
    /// the drawn wait and for as long again as its own pre-vote took, since the other's may take
    /// as long.
    fn stands_at(&self) -> Option<Mono> {
        let RoleState::Candidate(candidate) = &self.role else {
            return None;
        };
        let agreed_at = candidate.agreed_at?;
        let took = agreed_at
            .since(candidate.asked_at)
            .min(self.config.election_timeout);
        let yields_until = self.preference.outranks(self.log.last(), self.member);
        Some(yields_until.map_or(agreed_at, |until| until.max(agreed_at.after(took))))
    }

    /// Begins an election: a new term, and the first vote for itself (Raft 5.2).
    ///
    /// The others are asked while the own vote is on its way to the disk; it counts, and this node
    /// leads, only once it is there.
    pub(super) fn stand(&mut self) {
        let Some(term) = self.next_term() else {
            return;
        };
        self.hard_state = HardState {
            term,
            vote: Some(self.member),
        };
        self.durability.hard_state_changed();
        self.preference = Preference::default();
        self.rounds += 1;
        self.event(Event::Stands {
            ballot: Ballot::Real,
            term,
        });
        let patience = self.rng.between_one_and_two(self.config.election_timeout);
        self.role = RoleState::Candidate(Candidate {
            ballot: Ballot::Real,
            round: self.rounds,
            ask_at: self.now_and_a_heartbeat(),
            give_up_at: self.now.after(patience),
            ..Candidate::looking(self.now)
        });
        self.ask(self.peers());
    }

    /// The term to stand in. Where none is left in this epoch, the node has to end (R14).
    fn next_term(&mut self) -> Option<Term> {
        let next = self.term().next();
        if next.is_none() {
            self.outbox.push(Output::Exhausted(self.term().epoch()));
        }
        next
    }

    fn watch_ballot(&mut self) {
        let own_vote_durable = self.durability.hard_state_durable();
        let alone = self.alone();
        let RoleState::Candidate(candidate) = &mut self.role else {
            return;
        };
        if candidate.ballot == Ballot::Pre {
            return;
        }
        if own_vote_durable {
            candidate.grants.insert(self.member);
        }
        let granted = |member| candidate.grants.contains(&member);
        // One that cannot be reached will not vote either.
        let may_grant = |member| {
            let lost = candidate.denials.contains(&member) || self.cut_off.contains(&member);
            granted(member) || !lost
        };
        if own_vote_durable && self.configurations.in_force().agrees(alone, granted) {
            let tickets = u32::try_from(candidate.grants.len()).unwrap_or(u32::MAX);
            self.lead(tickets);
        } else if !self.configurations.in_force().agrees(alone, may_grant)
            || self.now >= candidate.give_up_at
        {
            self.lose();
        }
    }

    /// This term stays without a leader, as far as this node can tell (S4). The next attempt comes
    /// after a random wait that doubles from the time that this one took, so that two candidates
    /// do not tie for ever (S5).
    fn lose(&mut self) {
        let RoleState::Candidate(candidate) = &self.role else {
            return;
        };
        let took = self
            .now
            .since(candidate.asked_at)
            .max(self.config.preference_wait);
        let wait = took * (1 << self.failed_attempts.min(6));
        self.failed_attempts += 1;
        let wait = wait.min(self.config.election_timeout);
        let ask_at = self.now.after(self.rng.between_one_and_two(wait));
        self.role = RoleState::Candidate(Candidate::looking(ask_at));
    }

    pub(super) fn vote_replied(&mut self, from: MemberId, reply: &VoteReply) {
        if reply.term > self.term() {
            // Seeing a vote is not granting one: the term is all that is taken over (scenario 11).
            self.deposed_by_answer(reply.term);
            return;
        }
        let RoleState::Candidate(candidate) = &mut self.role else {
            return;
        };
        let answers = (candidate.ballot, candidate.round) == (reply.ballot, reply.round);
        let stale = reply.ballot == Ballot::Real && reply.term != self.hard_state.term;
        if !answers || stale {
            return;
        }
        if !self.configurations.in_force().counts(from) {
            return;
        }
        if reply.verdict == Verdict::Granted {
            candidate.grants.insert(from);
        } else if reply.ballot == Ballot::Real {
            candidate.denials.insert(from);
        } else if reply.verdict == Verdict::LogBehind && candidate.in_vain {
            candidate.fuller.insert(from);
        }
    }

    /// An answer told of a higher term. Unlike a request it does not say that anybody is standing,
    /// so this node looks for a leader before long (scenario 8).
    pub(super) fn deposed_by_answer(&mut self, term: Term) {
        self.adopt_term(term);
        let wait = self.rng.between_one_and_two(self.config.preference_wait);
        self.role = RoleState::Candidate(Candidate::looking(self.now.after(wait)));
    }

    /// Asks everyone who has not answered yet; messages may have been lost.
    fn ask_again(&mut self) {
        let at = self.now_and_a_heartbeat();
        let RoleState::Candidate(candidate) = &mut self.role else {
            return;
        };
        if candidate.round == 0 {
            return;
        }
        candidate.ask_at = at;
        let answered: BTreeSet<_> = candidate
            .grants
            .union(&candidate.denials)
            .copied()
            .collect();
        self.ask(self.peers().filter(move |peer| !answered.contains(peer)));
    }

    /// Asks one peer that has just become reachable.
    pub(super) fn ask_newly_linked(&mut self, peer: MemberId) {
        let RoleState::Candidate(candidate) = &self.role else {
            return;
        };
        if candidate.round > 0 && !candidate.grants.contains(&peer) {
            self.ask(std::iter::once(peer));
        }
    }

    fn ask(&mut self, peers: impl Iterator<Item = MemberId>) {
        let RoleState::Candidate(candidate) = &self.role else {
            return;
        };
        let (ballot, round) = (candidate.ballot, candidate.round);
        let term = match ballot {
            Ballot::Pre => self.term().next().unwrap_or_default(),
            Ballot::Real => self.term(),
        };
        let request = VoteRequest {
            ballot,
            term,
            last: self.log.last(),
            round,
        };
        for peer in peers
            .filter(|peer| self.configuration().counts(*peer))
            .collect::<Vec<_>>()
        {
            self.send(peer, Message::VoteRequest(request.clone()));
        }
    }

    /// This node won its term: it says so at once, and appends its no-op (Raft 8).
    fn lead(&mut self, tickets: u32) {
        assert!(
            self.hard_state.vote == Some(self.member),
            "a leader voted for itself"
        );
        let last = self.log.last();
        let followers = self
            .peers()
            .map(|peer| (peer, Progress::new(last.index.next(), self.now)));
        let leader = Leader::new(tickets, last.index.next(), followers.collect(), self.now);
        self.failed_attempts = 0;
        self.preference = Preference::default();
        if self.alone().is_none() {
            // Whoever was elected by the other as well has not lost it.
            self.witness.role_left(self.now);
        }
        self.role = RoleState::Leader(leader);
        self.log.append(Entry {
            term: self.term(),
            index: last.index.next(),
            payload: Payload::Noop,
        });
        self.beat();
    }

    pub(super) fn candidate_deadline(&self, candidate: &Candidate) -> Mono {
        let own = match candidate.ballot {
            Ballot::Pre => self.stands_at().unwrap_or(candidate.ask_at),
            Ballot::Real => candidate.give_up_at,
        };
        let own = own.min(candidate.ask_at);
        self.noted_deadline().map_or(own, |noted| noted.min(own))
    }

    /// The beat that this leader sends now.
    pub(super) fn beat_message(&self, leader: &Leader) -> Message {
        Message::Beat(Beat {
            term: self.term(),
            round: leader.round,
            commit: self.commit,
            tickets: leader.tickets,
            alive: self.alive(leader),
        })
    }
}
