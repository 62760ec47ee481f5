//! The witness of a pair: requests that come late, whatever has become of who asked, and answers.

use remember::consensus::{Answer, Ask, Input};

use super::ledger::Breach;
use super::nature::Nature;
use super::world::{Step, World};

/// A request, and its answer once it was there.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Asked {
    /// Who asked; places are counted from 0.
    pub(crate) from: usize,
    request: u64,
    ask: Ask,
    answer: Option<Answer>,
    /// Whether who asked waits no longer.
    is_forsaken: bool,
}

impl World {
    /// A node asks. Says what it is told at once, if anything.
    pub(crate) fn ask_witness(
        &mut self,
        from: usize,
        request: u64,
        ask: &Ask,
        nature: &Nature,
    ) -> Option<Input> {
        if nature.bounds.witness_at_once {
            let ledger = std::sync::Arc::make_mut(&mut self.ledger);
            let answer = ledger.register.carry_out(ask);
            return Some(Input::Witness { request, answer });
        }
        self.asked.push(Asked {
            from,
            request,
            ask: ask.clone(),
            answer: None,
            is_forsaken: false,
        });
        None
    }

    /// What may happen to requests. One that is not certain to do something may still be lost.
    pub(crate) fn steps_of_witness(&self) -> impl Iterator<Item = Step> {
        self.asked.iter().map(|asked| match asked.answer {
            None => Step::AtWitness(asked.clone()),
            Some(_) => Step::Witnessed(asked.clone()),
        })
    }

    /// A request comes there.
    pub(crate) fn at_witness(&mut self, asked: &Asked) {
        let ledger = std::sync::Arc::make_mut(&mut self.ledger);
        let answer = ledger.register.carry_out(&asked.ask);
        let place = self.asked.iter().position(|other| other == asked);
        let place = place.expect("it is on its way");
        if asked.is_forsaken {
            self.asked.remove(place);
        } else {
            self.asked[place].answer = Some(answer);
        }
    }

    /// An answer comes to whatever runs there now: one to an earlier boot means nothing to it.
    pub(crate) fn witnessed(&mut self, asked: &Asked, nature: &Nature) -> Result<(), Breach> {
        self.asked.retain(|other| other != asked);
        let answer = asked.answer.clone().expect("it was there");
        let request = asked.request;
        self.take(asked.from, &Input::Witness { request, answer }, nature)
    }

    /// Whether a node has asked and was not answered.
    pub(crate) fn waits(&self, at: usize) -> bool {
        let waits = |asked: &Asked| asked.from == at && !asked.is_forsaken;
        self.asked.iter().any(waits)
    }

    /// The newest request of a node is given up; it may come there all the same.
    pub(crate) fn forsake(&mut self, at: usize, nature: &Nature) -> Result<(), Breach> {
        let waits = |asked: &&mut Asked| asked.from == at && !asked.is_forsaken;
        let asked = self.asked.iter_mut().rfind(waits).expect("it waits");
        let request = asked.request;
        if asked.answer.is_some() {
            self.asked
                .retain(|other| (other.from, other.request) != (at, request));
        } else {
            asked.is_forsaken = true;
        }
        let answer = Answer::Unknown;
        self.take(at, &Input::Witness { request, answer }, nature)
    }
}
