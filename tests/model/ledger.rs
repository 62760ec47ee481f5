//! What must never happen, and what has to be remembered to notice it.
//!
//! It is judged by what nodes say and by what their platters hold, and by nothing that a node
//! believes. The same is held against whole clusters in `tests/simulation/oracle.rs`, which says
//! more about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use remember::consensus::{
    AppendOutcome, Ballot, Configuration, Entry, HardState, Index, MemberId, Message, Payload,
    Position, Term, Verdict,
};

use super::majority::{is_agreed, is_majority};
use super::place::{Place, digest};
use super::register::Kept;

/// What always holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// No term has two leaders, and each has the durable votes of a majority.
    OneLeader,
    /// A leader has everything in its log that leaders before it have committed.
    NothingForgotten,
    /// No disk votes for two in one term.
    OneVote,
    /// A vote and an acknowledgement are on the platter before they are told.
    DurableBeforeTold,
    /// What is committed is on the platters of a majority.
    OnAMajority,
    /// A leader commits nothing but by an entry of its own term (Raft 5.4.2).
    ByItsOwnTerm,
    /// Every node applies the same entries in the same order.
    SameEntries,
    /// Nobody changes the voters before an entry of its own term is committed.
    KnowsWhatIsAgreed,
    /// Nobody is turned away that lost nothing.
    LetIn,
    /// No node stops itself.
    NoAssertion,
}

/// A rule that was broken, and how.
#[derive(Debug)]
pub(crate) struct Breach {
    pub(crate) rule: Rule,
    pub(crate) words: String,
}

/// Everything that was promised.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    leaders: BTreeMap<Term, MemberId>,
    votes: BTreeMap<(MemberId, Term), MemberId>,
    /// By index from 1: the term, and what stands for the rest of the entry.
    committed: Vec<(Term, u64)>,
    /// How far each term's leader committed.
    committed_in: BTreeMap<Term, Index>,
    /// The newest configuration that is committed.
    pub(crate) agreed: Configuration,
    /// What the witness of a pair holds.
    pub(crate) register: Kept,
    pub(crate) has_command: bool,
    /// Whether a candidate took what its log lacked; and whether it gave up something for that.
    pub(crate) has_supplied: bool,
    pub(crate) has_exchanged: bool,
    /// The highest term that anybody had reached when a node crashed.
    pub(crate) crashed_in: Option<Term>,
}

fn demand(holds: bool, rule: Rule, words: impl FnOnce() -> String) -> Result<(), Breach> {
    if holds {
        return Ok(());
    }
    let words = words();
    Err(Breach { rule, words })
}

impl Ledger {
    /// Nothing was promised yet.
    pub(crate) fn new(agreed: Configuration) -> Self {
        Self {
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            committed: Vec::new(),
            committed_in: BTreeMap::new(),
            agreed,
            register: Kept::default(),
            has_command: false,
            has_supplied: false,
            has_exchanged: false,
            crashed_in: None,
        }
    }

    /// A term and a vote reached the platter.
    pub(crate) fn persisted(&mut self, voter: MemberId, state: HardState) -> Result<(), Breach> {
        let HardState { term, vote } = state;
        let Some(vote) = vote else { return Ok(()) };
        let known = *self.votes.entry((voter, term)).or_insert(vote);
        demand(known == vote, Rule::OneVote, || {
            format!("{voter:?} votes for {known:?} and {vote:?} in {term:?}")
        })
    }

    /// A node says something to another.
    pub(crate) fn said(
        &mut self,
        from: &Place,
        to: MemberId,
        message: &Message,
    ) -> Result<(), Breach> {
        let (member, platter) = (from.member, &from.platter);
        match message {
            Message::VoteReply(reply)
                if reply.ballot == Ballot::Real && reply.verdict == Verdict::Granted =>
            {
                // One that a higher term has overtaken on its way to the platter cannot be given
                // to another any more.
                let overtaken = platter.hard.term > reply.term;
                let vote = self.votes.get(&(member, reply.term));
                let told = overtaken || vote == Some(&to);
                demand(told, Rule::DurableBeforeTold, || {
                    format!("{member:?} gives {to:?} a vote that is not durable: {reply:?}")
                })
            }
            Message::AppendReply(reply) => match reply.outcome {
                AppendOutcome::Matched(index) => {
                    let last = platter.last();
                    demand(last.index >= index, Rule::DurableBeforeTold, || {
                        format!("{member:?} acknowledges {index:?}, its platter ends at {last:?}")
                    })
                }
                AppendOutcome::Conflict { .. } => Ok(()),
            },
            Message::Append(append) => self.leads(from, append.term),
            Message::Beat(beat) => self.leads(from, beat.term),
            Message::TimeoutNow { term } => self.leads(from, *term),
            _ => Ok(()),
        }
    }

    fn leads(&mut self, leader: &Place, term: Term) -> Result<(), Breach> {
        let member = leader.member;
        if let Some(known) = self.leaders.get(&term) {
            return demand(*known == member, Rule::OneLeader, || {
                format!("{known:?} and {member:?} lead {term:?}")
            });
        }
        self.leaders.insert(term, member);
        let configuration = leader.node.configuration();
        let voted = |voter: MemberId| self.votes.get(&(voter, term)) == Some(&member);
        let named = self.register.named();
        let is_elected = is_agreed(configuration, named, voted);
        demand(is_elected, Rule::OneLeader, || {
            format!("{member:?} leads {term:?} without the durable votes of {configuration:?}")
        })?;
        let before = self.committed_in.range(..term);
        let Some(index) = before.map(|(_, index)| *index).max() else {
            return Ok(());
        };
        let term = self.committed[place(index)].0;
        let position = Position { term, index };
        let written = leader.written();
        demand(written.covers(position), Rule::NothingForgotten, || {
            let last = written.last();
            format!(
                "{member:?} leads without {position:?}, which is committed; it ends at {last:?}"
            )
        })
    }

    /// A node asks for an entry to be written.
    pub(crate) fn writes(&self, writer: &Place, entry: &Entry) -> Result<(), Breach> {
        let appoints = matches!(entry.payload, Payload::Configuration(_));
        let is_own = writer.leads && entry.term == writer.term;
        let knows = self.committed.iter().any(|(term, _)| *term == entry.term);
        demand(
            !appoints || !is_own || knows,
            Rule::KnowsWhatIsAgreed,
            || {
                format!(
                    "{:?} changes the voters at {:?}",
                    writer.member,
                    entry.position()
                )
            },
        )
    }

    /// A node takes these entries for committed. What happens where a leader counts those of an
    /// earlier term takes more terms than are explored here.
    pub(crate) fn commits(by: &Place, entries: &[Entry]) -> Result<(), Breach> {
        let last = entries.last().map(|last| last.term);
        let is_own = !by.leads || last == Some(by.term);
        demand(is_own, Rule::ByItsOwnTerm, || {
            format!(
                "{:?} leads {:?} and commits one of {last:?}",
                by.member, by.term
            )
        })
    }

    /// A node applies an entry.
    pub(crate) fn applied(
        &mut self,
        by: usize,
        places: &[Arc<Place>],
        entry: &Entry,
    ) -> Result<(), Breach> {
        let (member, position) = (places[by].member, entry.position());
        let seen = (entry.term, digest(&entry.payload));
        if let Some(known) = self.committed.get(place(entry.index)) {
            return demand(*known == seen, Rule::SameEntries, || {
                let known = known.0;
                format!("{member:?} applies {position:?}, others applied one of {known:?}")
            });
        }
        let next = Index(self.committed.len() as u64 + 1);
        demand(entry.index == next, Rule::SameEntries, || {
            format!("{member:?} applies {position:?}, next is {next:?}")
        })?;
        let holds = |member: MemberId| {
            let place = places.iter().find(|place| place.member == member);
            place.is_some_and(|place| place.platter.covers(position))
        };
        let named = self.register.named();
        let (governing, is_held) = match &entry.payload {
            Payload::Configuration(own) => (own, is_agreed(own, named, holds)),
            // Once a change is committed, those who stay agree on what comes behind it.
            Payload::Noop | Payload::Command(_) => (
                &self.agreed,
                is_majority(&self.agreed, named, |seat| seat.votes, holds),
            ),
        };
        demand(is_held, Rule::OnAMajority, || {
            format!("{member:?} commits {position:?}, which no majority of {governing:?} holds")
        })?;
        match &entry.payload {
            Payload::Configuration(configuration) => self.agreed = configuration.clone(),
            Payload::Command(_) => self.has_command = true,
            Payload::Noop => {}
        }
        self.committed.push(seen);
        let term = places[by].term;
        self.committed_in.insert(term, entry.index);
        Ok(())
    }
}

fn place(index: Index) -> usize {
    usize::try_from(index.0 - 1).expect("a short log")
}
