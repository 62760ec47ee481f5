//! All of a world at one moment, and what may happen next.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use remember::consensus::{
    Config, Event, Hello, Input, LinkEvent, Output, Record, Rejection, Ticket,
};

use super::bounds::{Bounds, Left};
use super::ledger::{Breach, Ledger, Rule};
use super::nature::Nature;
use super::network::{Flight, Flights, Kind};
use super::place::Place;
use super::witness::Asked;

/// The nodes, what is between them, and what was promised.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) places: Vec<Arc<Place>>,
    pub(crate) flights: Flights,
    /// What is on its way to the witness and back, the oldest first.
    pub(crate) asked: Vec<Asked>,
    pub(crate) ledger: Arc<Ledger>,
    /// How often something may still happen.
    pub(crate) left: Left,
    /// Who has just been started: whom it asks for pre-votes first, does not hear it.
    pub(crate) hushed: Option<usize>,
    /// Whether the last request was refused.
    pub(crate) refused: bool,
    /// The end of this world, if a rule was broken.
    pub(crate) breach: Option<Arc<Breach>>,
}

/// One thing that may happen.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A message comes.
    Deliver(Arc<Flight>),
    /// It comes, and will come again.
    Repeat(Arc<Flight>),
    /// A node has waited long enough for something that did not happen.
    Tick(usize),
    /// A leader has heard nobody for so long that it gives up, or another node waits for so long.
    Resign(usize),
    /// The platter of a node has everything that was written.
    Sync(usize),
    /// A node loses what it has in memory, and is there again at once.
    Restart(usize),
    /// A client asks a leader to write.
    Propose(usize),
    /// Somebody asks a leader for the next change of the voters.
    Change(usize),
    /// A request comes to the witness.
    AtWitness(Asked),
    /// Its answer comes back.
    Witnessed(Asked),
    /// A node waits for the answer no longer.
    Forsake(usize),
}

impl World {
    /// Everything that may happen now.
    pub(crate) fn steps(&self, bounds: &Bounds) -> Vec<Step> {
        if self.breach.is_some() {
            return Vec::new();
        }
        let left = self.left;
        let flights = || self.flights.iter().cloned();
        let mut steps: Vec<_> = flights().map(Step::Deliver).collect();
        if left.repeats > 0 {
            steps.extend(flights().map(Step::Repeat));
        }
        for (at, place) in self.places.iter().enumerate() {
            let leads = place.leads;
            let may = [
                (place.has_waiting(), Step::Sync(at)),
                (left.ticks > 0 && !leads, Step::Tick(at)),
                (
                    left.resignations > 0 && (leads || bounds.witness || bounds.waits_in_vain(at)),
                    Step::Resign(at),
                ),
                (left.restarts > 0 && bounds.is_frail(at), Step::Restart(at)),
                (left.writes > 0 && leads, Step::Propose(at)),
                (left.changes > 0 && leads, Step::Change(at)),
                (left.forsaken > 0 && self.waits(at), Step::Forsake(at)),
            ];
            steps.extend(
                may.into_iter()
                    .filter_map(|(may, step)| may.then_some(step)),
            );
        }
        steps.extend(self.steps_of_witness());
        steps
    }

    /// The world after a step; `None` where nothing came of it.
    pub(crate) fn after(&self, step: &Step, nature: &Nature) -> Option<Self> {
        let mut next = self.clone();
        let done = next.step(step, nature);
        if let Err(breach) = done {
            return Some(next.ended(breach));
        }
        next.forget_the_stale(nature);
        let is_idle = match step {
            // It may come later, when it means something, or be lost.
            Step::Deliver(flight) | Step::Repeat(flight) => {
                let mut before = self.flights.clone();
                let mut after = next.flights.clone();
                before.remove(flight);
                after.remove(flight);
                before == after
                    && self
                        .places
                        .iter()
                        .zip(&next.places)
                        .all(|(a, b)| a.digest() == b.digest())
            }
            Step::Propose(_) | Step::Change(_) => next.refused,
            _ => false,
        };
        (!is_idle).then_some(next)
    }

    /// The same world with a broken rule, in which nothing happens any more.
    pub(crate) fn ended(&self, breach: Breach) -> Self {
        let breach = Some(Arc::new(breach));
        Self {
            breach,
            ..self.clone()
        }
    }

    fn step(&mut self, step: &Step, nature: &Nature) -> Result<(), Breach> {
        self.refused = false;
        match step {
            Step::Deliver(flight) => {
                self.flights.remove(flight);
                self.deliver(flight, nature)
            }
            Step::Repeat(flight) => {
                self.left.repeats -= 1;
                self.deliver(flight, nature)
            }
            Step::Tick(at) => {
                self.left.ticks -= 1;
                self.tick(*at, nature)
            }
            Step::Resign(at) => {
                self.left.resignations -= 1;
                let silence = Config::default().election_timeout * 2;
                self.places[*at] = Arc::new(self.places[*at].after(silence));
                self.tick(*at, nature)
            }
            Step::Sync(at) => self.sync(*at, nature),
            Step::Restart(at) => {
                self.left.restarts -= 1;
                self.restart(*at, nature)
            }
            Step::Propose(at) => {
                self.left.writes -= 1;
                let (ticket, command) = (Ticket(1), Bytes::from_static(b"w"));
                self.take(*at, &Input::Propose { ticket, command }, nature)
            }
            Step::AtWitness(asked) => {
                self.at_witness(asked);
                Ok(())
            }
            Step::Witnessed(asked) => self.witnessed(asked, nature),
            Step::Forsake(at) => {
                self.left.forsaken -= 1;
                self.forsake(*at, nature)
            }
            Step::Change(at) => {
                let change = nature.bounds.change();
                self.left.changes -= 1;
                let ticket = Ticket(2);
                self.take(*at, &Input::Change { ticket, change }, nature)
            }
        }
    }

    pub(crate) fn deliver(&mut self, flight: &Flight, nature: &Nature) -> Result<(), Breach> {
        let (from, message) = (self.places[flight.from].member, flight.message.clone());
        self.take(flight.to, &Input::Message { from, message }, nature)
    }

    pub(crate) fn take(&mut self, at: usize, input: &Input, nature: &Nature) -> Result<(), Breach> {
        let (place, outputs) = nature.memory.turn(&self.places[at], Some(input));
        self.places[at] = place;
        self.carry_out(at, &outputs, nature)
    }

    pub(crate) fn tick(&mut self, at: usize, nature: &Nature) -> Result<(), Breach> {
        let (place, outputs) = nature.memory.turn(&self.places[at], None);
        self.places[at] = place;
        self.carry_out(at, &outputs, nature)
    }

    /// The platter gets all that waits for it, and the node is told so.
    fn sync(&mut self, at: usize, nature: &Nature) -> Result<(), Breach> {
        let place = Arc::make_mut(&mut self.places[at]);
        let (states, durable) = place.persist();
        for state in states {
            Arc::make_mut(&mut self.ledger).persisted(self.places[at].member, state)?;
        }
        self.take(at, &durable, nature)
    }

    fn restart(&mut self, at: usize, nature: &Nature) -> Result<(), Breach> {
        let terms = self.places.iter().map(|place| place.term);
        let crashed_in = terms.max();
        Arc::make_mut(&mut self.ledger).crashed_in = crashed_in;
        self.flights.remove_to(at);
        Arc::make_mut(&mut self.places[at]).restart();
        self.hushed = Some(at);
        for peer in (0..self.places.len()).filter(|peer| *peer != at) {
            self.link(at, peer, nature)?;
        }
        self.hushed = None;
        Ok(())
    }

    /// Two nodes introduce themselves, unless the one was removed from the cluster of the other.
    pub(crate) fn link(&mut self, a: usize, b: usize, nature: &Nature) -> Result<(), Breach> {
        let hellos = [a, b].map(|at| self.places[at].node.hello());
        let admitted = self.admits(b, &hellos[0])? && self.admits(a, &hellos[1])?;
        if admitted {
            for (at, hello) in [b, a].into_iter().zip(hellos) {
                let (peer, event) = (hello.member.id, LinkEvent::Up(hello));
                self.take(at, &Input::Link { peer, event }, nature)?;
            }
        }
        Ok(())
    }

    /// A message that says nothing to its receiver any more, nor ever will, is not kept.
    fn forget_the_stale(&mut self, nature: &Nature) {
        let Self {
            places, flights, ..
        } = self;
        flights.retain(|flight| {
            let (place, from) = (&places[flight.to], places[flight.from].member);
            let term = flight.message.term();
            let is_past = match Kind::of(&flight.message) {
                Kind::VoteReply | Kind::PreVoteReply | Kind::BeatReply => term <= place.term,
                Kind::Append | Kind::Commit => term < place.term,
                _ => false,
            };
            if !is_past {
                return true;
            }
            let message = flight.message.clone();
            let (after, outputs) = nature
                .memory
                .turn(place, Some(&Input::Message { from, message }));
            after.digest() != place.digest() || !outputs.is_empty()
        });
    }

    fn admits(&self, at: usize, hello: &Hello) -> Result<bool, Breach> {
        match self.places[at].node.admit(hello) {
            Ok(()) => Ok(true),
            Err(Rejection::Removed { .. }) => Ok(false),
            Err(rejection) => Err(Breach {
                rule: Rule::LetIn,
                words: format!("{:?} turns away: {rejection}", self.places[at].member),
            }),
        }
    }

    fn carry_out(&mut self, at: usize, outputs: &[Output], nature: &Nature) -> Result<(), Breach> {
        let (mut instant, mut answers) = (Vec::new(), Vec::new());
        for output in outputs {
            match output {
                Output::Send { to, message } => {
                    Arc::make_mut(&mut self.ledger).said(&self.places[at], *to, message)?;
                    let to = self.places.iter().position(|place| place.member == *to);
                    let is_hushed = self.hushed == Some(at) && Kind::of(message) == Kind::PreVote;
                    let is_lost = is_hushed || nature.bounds.loses(Kind::of(message));
                    if let Some(to) = to.filter(|_| !is_lost) {
                        let is_instant = nature.bounds.brings_at_once(Kind::of(message));
                        let flight = Flight::new(at, to, message.clone());
                        if is_instant {
                            instant.push(flight);
                        } else {
                            self.flights.send(flight, nature.bounds.lane);
                        }
                    }
                }
                Output::Write(write) => {
                    for record in &write.records {
                        if let Record::Entry(entry) = record {
                            self.ledger.writes(&self.places[at], entry)?;
                        }
                    }
                }
                Output::Apply(entries) => {
                    Ledger::commits(&self.places[at], entries)?;
                    for entry in entries {
                        Arc::make_mut(&mut self.ledger).applied(at, &self.places, entry)?;
                    }
                }
                Output::Witness { request, ask } => {
                    answers.extend(self.ask_witness(at, *request, ask, nature));
                }
                Output::Event(Event::Supplied { .. }) => {
                    let cuts =
                        |output: &Output| matches!(output, Output::Event(Event::Truncated { .. }));
                    let ledger = Arc::make_mut(&mut self.ledger);
                    ledger.has_supplied = true;
                    ledger.has_exchanged |= outputs.iter().any(cuts);
                }
                Output::Refused { .. }
                | Output::ChangeEnded {
                    outcome: Err(_), ..
                } => {
                    self.refused = true;
                }
                _ => {}
            }
        }
        if self.places[at].has_waiting() && !nature.bounds.is_frail(at) {
            self.sync(at, nature)?;
        }
        for answer in &answers {
            self.take(at, answer, nature)?;
        }
        instant
            .iter()
            .try_for_each(|flight| self.deliver(flight, nature))
    }

    pub(crate) fn leaders(&self) -> impl Iterator<Item = &Arc<Place>> {
        self.places.iter().filter(|place| place.leads)
    }

    /// Whether this rule holds.
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.breach
            .as_ref()
            .is_none_or(|breach| breach.rule != rule)
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let places = self.places.iter();
        places.for_each(|place| state.write_u64(place.digest()));
        self.flights.hash(state);
        self.asked.hash(state);
        self.ledger.hash(state);
        self.left.hash(state);
        let breach = self.breach.as_ref();
        breach.map(|breach| &breach.words).hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        let digests = |world: &Self| {
            let places = world.places.iter();
            places.map(|place| place.digest()).collect::<Vec<_>>()
        };
        digests(self) == digests(other)
            && self.flights == other.flights
            && self.asked == other.asked
            && self.ledger == other.ledger
            && self.left == other.left
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let views = self.places.iter().map(|place| {
            let status = place.node.status();
            let (role, term) = (status.role, status.term);
            let (last, commit) = (status.last, status.commit);
            format!(
                "{:?} {role:?} {term:?} last {last:?} commit {commit:?}",
                status.id
            )
        });
        f.debug_list().entries(views).finish()
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deliver(flight) => write!(f, "{flight:?}"),
            Self::Repeat(flight) => write!(f, "once more {flight:?}"),
            Self::Tick(at) => write!(f, "n{} waits in vain", at + 1),
            Self::Resign(at) => write!(f, "n{} gives up", at + 1),
            Self::Sync(at) => write!(f, "n{} has all on its platter", at + 1),
            Self::Restart(at) => write!(f, "n{} crashes and starts again", at + 1),
            Self::Propose(at) => write!(f, "a client asks n{} to write", at + 1),
            Self::Change(at) => write!(f, "n{} is asked for a change", at + 1),
            Self::AtWitness(asked) => write!(f, "the witness is asked {asked:?}"),
            Self::Witnessed(asked) => write!(f, "n{} hears of {asked:?}", asked.from + 1),
            Self::Forsake(at) => write!(f, "n{} waits for the witness no longer", at + 1),
        }
    }
}
