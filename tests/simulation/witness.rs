//! The witness of a pair, behind a network that loses and delays: requests and answers, each by
//! itself, so that a change may come there long after whoever asked for it has given up or died. In
//! some clusters one node has another register than everybody else, by mistake.

use std::time::Duration;

use remember::consensus::{Answer, Ask, Input, NodeId, Register, Word};

use super::machine::Life;
use super::tally::Counted;
use super::world::{Deed, Event, World, tell};

/// How long a request may take until it is given up, in milliseconds.
const PATIENCE_MILLIS: (u64, u64) = (50, 400);
/// How long one may be on its way, in milliseconds, while things go wrong.
const LATE_MILLIS_MAX: u64 = 8000;
/// How many election timeouts may pass until all that is amiss in a register is mended: a node
/// looks at it after 32 of them, which are longer by a clock that runs slow.
const LOOKED_AT_TIMEOUTS: u32 = 40;

impl World {
    /// A node asks. It waits for one answer at a time.
    pub(crate) fn ask_witness(&mut self, id: NodeId, request: u64, ask: &Ask) {
        tell!(self, "{id:?} asks the witness: {ask:?}");
        let life = self.machine(id).life().expect("it runs");
        let before = self.member(id).asked_witness.replace(request);
        assert_eq!(before, None, "{id:?} asks before it was answered");
        let patience = self.rng.millis(PATIENCE_MILLIS.0, PATIENCE_MILLIS.1);
        self.process_after(
            id,
            patience,
            Deed::Witnessed(request, Box::new(Answer::Unknown)),
        );
        if self.troubled && self.rng.chance(20) {
            let away = self.rng.millis(10, self.plan.fault_lasts_millis);
            self.witness_away_until = self.now + away;
        }
        let is_lost = self.now < self.witness_away_until || self.is_unlucky(100);
        if is_lost {
            self.count(Counted::WitnessSilent);
            return;
        }
        let times = if self.is_unlucky(50) { 2 } else { 1 };
        for _ in 0..times {
            let delay = self.way_to_witness();
            let ask = Box::new(ask.clone());
            self.after(
                delay,
                Event::AtWitness {
                    epoch: self.epoch(),
                    from: id,
                    life,
                    request,
                    ask,
                },
            );
        }
    }

    /// A request comes to the witness, whatever has become of the one who asked.
    pub(crate) fn reach_witness(&mut self, from: NodeId, life: Life, request: u64, ask: &Ask) {
        let waits = self.machine(from).life() == Some(life)
            && (self.machine(from).member()).is_some_and(|it| it.asked_witness == Some(request));
        let is_apart = self.plan.apart == Some(from);
        let register = self.oracle.registers.of(is_apart);
        let before = register.named();
        let was_empty = register.0.is_none();
        let answer = register.carry_out(ask);
        let held = register.0;
        tell!(self, "the witness does {ask:?} for {from:?}: {answer:?}");
        if waits && held.is_some_and(|held| !self.agrees_on(from, held)) {
            self.count(Counted::NotAgreedOn);
        }
        match (&answer, ask) {
            (Answer::Swapped, Ask::Swap { to, .. }) => {
                if !waits {
                    self.count(Counted::WitnessLate);
                }
                let agreed = self.oracle.agreed().1.register();
                let leads = self.leaders().contains(&from);
                let is_late = !waits || !leads || agreed != Some(to.made);
                self.oracle.was_filled_late |= was_empty && is_late;
                if before.is_some() && matches!(to.word, Word::Pair(..)) {
                    self.count(Counted::PairsAgain);
                }
            }
            (Answer::Holds(_), Ask::Swap { .. }) => self.count(Counted::WitnessTaken),
            _ => {}
        }
        if self.is_unlucky(100) {
            return;
        }
        let delay = self.way_to_witness();
        let told = Event::Process(from, life, Deed::Witnessed(request, Box::new(answer)));
        self.after(delay, told);
    }

    /// Whether this is the register that a node has agreed on.
    fn agrees_on(&self, id: NodeId, held: Register) -> bool {
        let member = self.machine(id).member();
        member.is_some_and(|it| it.node.configuration().register() == Some(held.made))
    }

    /// An answer has come, or the request is given up.
    pub(crate) fn witnessed(&mut self, id: NodeId, request: u64, answer: Answer) {
        let waits = |asked: &mut u64| *asked == request;
        if self.member(id).asked_witness.take_if(waits).is_some() {
            self.input(id, Input::Witness { request, answer });
        }
    }

    /// How long nodes may need until their register says what was agreed on, once all is well.
    pub(crate) fn registers_last(&self) -> Duration {
        let has_one = self.due_in_register().is_some();
        let timeouts = if has_one { LOOKED_AT_TIMEOUTS } else { 0 };
        self.plan.config.election_timeout * timeouts
    }

    /// Whether all nodes have the register that was agreed on.
    pub(crate) fn has_register(&self) -> bool {
        let held = self.oracle.registers.common.0;
        let agreed = self.oracle.agreed().1.register();
        let is_agreed_on = held.is_some() && held.map(|held| held.made) == agreed;
        is_agreed_on && self.due_in_register().is_some()
    }

    /// Once nothing goes wrong any more, the one voter or the pair have a register that lets either
    /// go on alone. Not where some node has another register, nor where an earlier leader's request
    /// came late and filled one that was found empty: that is for people to mend.
    pub(crate) fn demand_register(&mut self) {
        let Some(due) = self.due_in_register() else {
            return;
        };
        let held = self.oracle.registers.common.0;
        let (_, configuration) = self.oracle.agreed();
        let made = configuration.register();
        let is_earlier = held.is_some_and(|held| Some(held.made) < made);
        if is_earlier && self.oracle.was_filled_late {
            return;
        }
        assert_eq!(
            held.map(|held| held.made),
            made,
            "another one was agreed on"
        );
        let says = held.map(|held| held.word);
        let is_due = match (says, due) {
            // One that voted alone before is named from then on.
            (Some(Word::Sole(said, _)), Word::Sole(named, _)) => said == named,
            (says, due) => says == Some(due),
        };
        assert!(
            is_due,
            "a register says {held:?} where {due:?} was agreed on"
        );
        self.count(Counted::RegistersKept);
    }

    /// What the register of one voter or two should say, if all nodes have the same one.
    fn due_in_register(&self) -> Option<Word> {
        let (position, configuration) = self.oracle.agreed();
        let voters: Vec<_> = configuration.voters().collect();
        if !self.plan.config.witness || self.plan.apart.is_some() {
            return None;
        }
        match voters[..] {
            [only] => Some(Word::Sole(only, position.index)),
            [first, second] => Some(Word::Pair([first, second], position.index)),
            _ => None,
        }
    }

    fn is_unlucky(&mut self, of_thousand: u64) -> bool {
        self.troubled && self.rng.chance(of_thousand)
    }

    fn way_to_witness(&mut self) -> Duration {
        if self.is_unlucky(100) {
            self.rng.millis(1, LATE_MILLIS_MAX)
        } else {
            self.rng.micros(100, 5000)
        }
    }
}
