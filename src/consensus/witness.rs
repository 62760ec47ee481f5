//! A pair that survives the loss of either, by a register that somebody else keeps (R17).
//!
//! ```text
//!             who lost the other              {1} is agreed on, alone
//!   n: pair @ i ----------> n+1: sole 1 @ i -----------------+
//!        ^                    |    ^                         |
//!        |                    +----+ once more,              v
//!        |                      after a restart        2 registers, catches up, votes
//!        +------- n: pair @ j <------------------------------+
//!                  by 1, once both have agreed on j
//! ```
//!
//! *Alone* is who has changed the register to name it, has been told so, and has known no leader
//! since. It counts as both in each set of two that it is one of
//! ([`Configuration::reached`](super::Configuration)): the other can agree on nothing in such a
//! set but with it, or alone; and alone is nobody whom the register does not name. Four rules:
//!
//! - Only an own change that is confirmed makes a node alone. To have read that it is named does
//!   not, for a change of long ago may still be on its way (a restart forgets that one is alone).
//! - Who is named is the only one to take that back, and is alone no more before it asks for it.
//! - Who has a configuration of that very pair, and no earlier one, may change `pair` to its own
//!   name. Both have to agree before other voters count, and again before the two are a pair once
//!   more: so nothing was agreed on without it. Who is named may change that to its own name again.
//! - What the register says of another pair than is agreed on is void: its leader writes what is so
//!   now. Where nothing is written, it first appends its configuration anew, so that whoever was
//!   alone by a register that is lost has followed it since.
//!
//! By mistake the two may be given two registers. So a register carries the index of the entry by
//! which it was made, that entry and every configuration behind it name the index as well, and
//! nobody goes by a register of another one, nor changes it. Two are never made by one entry: of a
//! place one entry is agreed on, a register is written only then, by the leader that appended the
//! entry and in that reign, and once, unless it is certain that it was not. So what a node has in
//! its log says of at most one register that it is valid. Where two logs differ:
//!
//! - One lacks the entry. It goes by the register before, and may go alone by that: then the entry
//!   is not agreed on, nothing was made by it, and the log that has it goes by none.
//! - Once it is agreed on, both have it, and the register before is void for both.
//!
//! Only one that was found empty is made anew. A leader that finds another than was agreed on lets
//! it be: to take it over at each change of leaders would let each of the two be valid by turns.
//!
//! A node that is alone makes itself the only voter as soon as it leads, and needs no register from
//! then on. Whatever the register says or fails to say costs time only: no answer is a no.

use std::collections::BTreeSet;

use super::register::{Answer, Ask, Register, Word};
use super::role::RoleState;
use super::{Event, Index, MemberId, Mono, Node, Output, Upkeep};

/// How many election timeouts pass until a value that needs no change is looked at again, to notice
/// that it was lost.
const LOOK_AGAIN_TIMEOUTS: u32 = 32;
/// How many until it is asked again that did not answer, by a node that does not wait for it.
const ASK_AGAIN_TIMEOUTS: u32 = 4;

/// What a node knows of the register, and wants of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Witness {
    /// What it held when it was last heard of, if anything is known.
    known: Option<Held>,
    /// How far that can be relied on.
    trust: Trust,
    /// What it was to hold by a request of this role that nobody has answered, if there was one.
    unanswered: Option<Register>,
    /// The request under way. One at a time.
    asked: Option<Asked>,
    /// Names requests: no two boots share a name.
    requests: u64,
    /// When it is read again, if there is need.
    read_at: Mono,
    /// When another voter was last heard.
    heard: Mono,
    /// Whether this node counts as both of a pair.
    alone: bool,
    /// The entry that this leader has appended to make the register, which it found empty.
    renewed: Option<Renewal>,
}

/// An entry by which a register is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Renewal {
    index: Index,
    /// Whether one may have been made by it already, somewhere: there must be no second one.
    is_spent: bool,
}

/// How far what a node knows of the register can be relied on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Trust {
    /// It was asked for before this node had its role, and may be of long ago: others may have
    /// changed it, all the while this node did not count.
    Old,
    /// It was asked for since. A change of before may still be on its way there.
    Read,
    /// This node has written it since: whatever was asked for before finds another value.
    Written,
}

/// A value that was told, or that there was none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Held(Option<Register>);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Asked {
    request: u64,
    ask: Ask,
    /// Whether this node is alone once it is confirmed, if it still has its role then.
    to_be_alone: bool,
    /// Whether the role has ended meanwhile in which it was asked.
    is_old: bool,
}

impl Witness {
    pub(super) fn named_from(requests: u64, now: Mono) -> Self {
        Self {
            known: None,
            trust: Trust::Old,
            unanswered: None,
            asked: None,
            requests,
            read_at: now,
            heard: now,
            alone: false,
            renewed: None,
        }
    }

    /// Whether the register holds what is known of it, whatever is on its way there.
    fn is_certain(&self) -> bool {
        self.trust == Trust::Written
    }

    /// Another voter was heard.
    pub(super) fn heard(&mut self, now: Mono) {
        self.heard = now;
    }

    /// The role of this node ends: it is alone no more, nor by what it has asked for.
    pub(super) fn role_left(&mut self, now: Mono) {
        self.alone = false;
        self.renewed = None;
        self.trust = Trust::Old;
        self.unanswered = None;
        self.read_at = now;
        if let Some(asked) = &mut self.asked {
            asked.is_old = true;
        }
    }
}

impl Node {
    /// This member, where its word stands for both of a pair.
    pub(super) fn alone(&self) -> Option<MemberId> {
        self.witness.alone.then_some(self.member)
    }

    /// Whether a cluster of one may become a pair: then the one that is left can go on alone again,
    /// whatever happens to the other on the way. For that this node has to have written its name
    /// since it leads, and to have asked for nothing else: a change that says `pair`, of one that
    /// has shrunk since, may be on its way for long.
    pub(super) fn may_become_a_pair(&self) -> bool {
        let is_certain = self.witness.is_certain();
        let changes = |asked: &Asked| matches!(asked.ask, Ask::Swap { .. });
        if !is_certain || self.witness.asked.as_ref().is_some_and(changes) {
            return false;
        }
        let is_named =
            |held: Register| matches!(held.word, Word::Sole(who, _) if who == self.member);
        let held = self.witness.known.and_then(|held| held.0);
        self.config.witness && held.is_some_and(|held| self.goes_by(held) && is_named(held))
    }

    /// An answer came. One to an earlier boot is none to this one.
    pub(super) fn witness_answered(&mut self, request: u64, answer: Answer) {
        let is_meant = |asked: &mut Asked| asked.request == request;
        let Some(asked) = self.witness.asked.take_if(is_meant) else {
            return;
        };
        let timeout = self.config.election_timeout;
        let looks = matches!(self.role, RoleState::Candidate(_));
        let (later, soon) = if looks {
            (timeout, timeout)
        } else {
            let [later, soon] = [LOOK_AGAIN_TIMEOUTS, ASK_AGAIN_TIMEOUTS];
            (timeout * later, timeout * soon)
        };
        let is_old = asked.is_old;
        let (known, trust, pause) = match (answer, asked.ask) {
            (Answer::Holds(held), _) => (Some(Held(held)), self.trust_in(held), later),
            (Answer::Swapped, Ask::Swap { to, .. }) => {
                let (position, _) = self.configurations.newest();
                let names_this = to.word == Word::Sole(self.member, position.index);
                if asked.to_be_alone && !is_old && names_this && self.goes_by(to) {
                    self.witness.alone = true;
                    self.event(Event::Alone);
                }
                (Some(Held(Some(to))), Trust::Written, later)
            }
            (Answer::Unknown, Ask::Swap { to, .. }) => {
                self.witness.unanswered = Some(to).filter(|_| !is_old);
                let mut pause = soon;
                // Each attempt takes an entry, and one that is read may never be changed.
                if let Some(renewed) = &mut self.witness.renewed {
                    renewed.is_spent = true;
                    pause = later;
                }
                (None, Trust::Old, pause)
            }
            (Answer::Swapped | Answer::Unknown, Ask::Read) => (None, Trust::Old, soon),
        };
        self.witness.known = known;
        self.witness.trust = if is_old { Trust::Old } else { trust };
        self.witness.read_at = if is_old {
            self.now
        } else {
            self.now.after(pause)
        };
        if (known.and_then(|held| held.0)).is_some_and(|held| self.goes_by(held)) {
            self.witness.renewed = None;
        }
    }

    /// How far this can be relied on, which was told now. It was written by this node if that is
    /// what it had asked for, answered or not: no value ever comes again.
    fn trust_in(&self, held: Option<Register>) -> Trust {
        let witness = &self.witness;
        let has_landed = held.is_some() && held == witness.unanswered;
        let is_as_known = Some(Held(held)) == witness.known;
        match witness.trust {
            _ if has_landed => Trust::Written,
            Trust::Written if is_as_known => Trust::Written,
            _ => Trust::Read,
        }
    }

    /// A leader that is alone makes itself the only voter.
    pub(super) fn keep_alone(&mut self) {
        let pair = self.configuration().pair();
        let Some(pair) = pair.filter(|_| self.witness.alone) else {
            return;
        };
        let me = self.member;
        let removed: BTreeSet<_> = pair.into_iter().filter(|it| *it != me).collect();
        self.change_by_itself(Upkeep::Alone, BTreeSet::new(), removed);
    }

    /// Asks what is to be asked now.
    pub(super) fn watch_witness(&mut self) {
        if !self.configuration().pairs(self.member) {
            self.witness.alone = false;
        }
        self.renew_for_witness();
        let due = self.errand().filter(|(at, _)| *at <= self.now);
        let Some((_, errand)) = due else {
            return;
        };
        self.witness.requests += 1;
        let request = self.witness.requests;
        let ask = errand.ask.clone();
        self.witness.asked = Some(Asked { request, ..errand });
        self.outbox.push(Output::Witness { request, ask });
    }

    /// When the register has to be asked, if that is known.
    pub(super) fn witness_deadline(&self) -> Option<Mono> {
        self.errand().map(|(at, _)| at)
    }

    /// What is to be asked next, and when.
    fn errand(&self) -> Option<(Mono, Asked)> {
        let witness = &self.witness;
        if !self.config.witness || witness.asked.is_some() || witness.alone {
            return None;
        }
        let looks = matches!(self.role, RoleState::Candidate(_));
        let (not_before, wanted) = if looks {
            let waits = self.can_stand() && self.configuration().pairs(self.member);
            let lost_at = witness.heard.after(self.config.election_timeout);
            waits.then_some((lost_at, None))?
        } else {
            (self.now, Some(self.word()?))
        };
        let swap = |Held(from)| {
            let to = self.next_value(from, wanted)?;
            Some(Ask::Swap { from, to })
        };
        let (at, ask) = match witness.known.and_then(swap) {
            Some(swap) => (not_before, swap),
            None => (not_before.max(witness.read_at), Ask::Read),
        };
        let asked = Asked {
            request: 0,
            to_be_alone: looks && ask != Ask::Read,
            is_old: false,
            ask,
        };
        Some((at, asked))
    }
}

// What the register is to say, and which one it is.
impl Node {
    /// Whether this is the register that was agreed on: any other says nothing to this node.
    fn goes_by(&self, held: Register) -> bool {
        self.configuration().register() == Some(held.made)
    }

    /// What it is to hold in the place of this, if anything: by `wanted`, or if that is `None`, so
    /// that this candidate is alone. Whatever was made by another entry is left as it is, unless
    /// this leader makes the register.
    fn next_value(&self, found: Option<Register>, wanted: Option<Word>) -> Option<Register> {
        let Some(held) = found.filter(|held| self.goes_by(*held)) else {
            return Register::first(found, wanted?, self.makes()?);
        };
        let word = match wanted {
            None => self.word_alone(held)?,
            Some(word) => self.replaces(held, word).then_some(word)?,
        };
        held.next(word)
    }

    /// What a candidate changes this value to, to be alone: it may do so if it is named already, or
    /// if it is of that very pair, by a configuration that is no earlier: the register may not have
    /// been told of one that adds a learner. A change of the pair that is under way is agreed on by
    /// both as well, so whoever has it may ask, too.
    fn word_alone(&self, held: Register) -> Option<Word> {
        let (position, present) = self.configurations.newest();
        let may = match held.word {
            Word::Sole(named, _) => named == self.member,
            Word::Pair(pair, at) => {
                let mine = present.pair().or_else(|| present.outgoing_pair());
                mine == Some(pair) && at <= position.index
            }
        };
        may.then_some(Word::Sole(self.member, position.index))
    }

    /// What it should say by the configuration that is agreed on: the word of a leader, and of a
    /// follower of one. Each of a pair has the other's acknowledgement of all that is agreed on
    /// from then on, and of what was before: the leader by its own entry, the follower since it
    /// gave the leader its vote.
    fn word(&self) -> Option<Word> {
        let agrees = match &self.role {
            RoleState::Leader(leader) => self.commit >= leader.noop,
            RoleState::Follower(follower) => follower.leader.is_some(),
            RoleState::Candidate(_) => false,
        };
        let (position, present) = self.configurations.newest();
        if !agrees || self.commit < position.index || !present.counts(self.member) {
            return None;
        }
        if let Some(pair) = present.pair() {
            return Some(Word::Pair(pair, position.index));
        }
        let is_only_one = present.is_only(self.member);
        is_only_one.then_some(Word::Sole(self.member, position.index))
    }

    /// Whether this node replaces that value by the word that is true now. Whoever is named takes
    /// that back itself, whether it leads or not, or belongs to the voters no more; and as the only
    /// voter that leads it writes its name anew, once. Everything else is the leader's, if it is
    /// about an earlier configuration.
    fn replaces(&self, held: Register, word: Word) -> bool {
        let (position, present) = self.configurations.newest();
        let leads = self.leading().is_some();
        match held.word {
            Word::Sole(named, _) if named == self.member => {
                matches!(word, Word::Pair(..)) || (leads && !self.witness.is_certain())
            }
            Word::Sole(named, at) => leads && at < position.index && !present.lets_vote(named),
            Word::Pair(_, at) => leads && at < position.index,
        }
    }

    /// Where nothing was ever written, or what was is lost, a leader appends its configuration
    /// anew: nobody who was alone by a value that is lost agrees on that and stays alone. One that
    /// holds something is not to be made, unless this leader has found it empty before, and a late
    /// request has filled it since.
    fn renew_for_witness(&mut self) {
        let witness = &self.witness;
        let is_to_be_made = match witness.known {
            Some(Held(None)) => witness.trust > Trust::Old,
            Some(Held(Some(held))) => witness.renewed.is_some() && !self.goes_by(held),
            None => false,
        };
        let may = self.config.witness && is_to_be_made && witness.asked.is_none();
        let Some(leader) = self.leading().filter(|_| may) else {
            return;
        };
        if self.word().is_none() || self.makes().is_some() {
            return;
        }
        if let Ok(present) = self.changeable(leader).cloned() {
            let index = self.next_position().index;
            self.appoint(present.with_register(Some(index)));
            let is_spent = false;
            self.witness.renewed = Some(Renewal { index, is_spent });
        }
    }

    /// By which entry this leader makes the register: the one that it has appended for that.
    fn makes(&self) -> Option<Index> {
        let fresh = self.witness.renewed.filter(|renewed| !renewed.is_spent);
        let index = fresh.map(|renewed| renewed.index);
        index.filter(|_| index == self.configuration().register())
    }
}
