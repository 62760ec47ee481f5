//! What clients asked and were told, held against the definition: there is one order of all
//! operations that explains it. The agreed log plays no part in this.

use remember::state::Outcome;

use super::clients::{Answer, Clients, Fate};
use super::linearizability::{Answered, Asked, History, Operation as Told};
use super::request::{Change, Content, Request};
use super::tally::Counted;
use super::world::World;

/// How long the search for an order may take, in operations tried for each register.
const STEPS_MAX: u64 = 1_000_000;

impl World {
    /// Searches for one order of all operations that explains what clients were told, in each
    /// cluster.
    pub(crate) fn demand_linearizability(&mut self) {
        for epoch in self.epochs() {
            self.look_at(epoch);
            let history = self.clients.history();
            self.tally
                .count_many(Counted::Explained, history.len() as u64);
            if let Err(flaw) = history.check(STEPS_MAX) {
                panic!("{flaw}");
            }
        }
    }
}

impl Clients {
    /// All that clients asked and were told.
    fn history(&self) -> History {
        let mut history = History::default();
        for (register, content) in self.registers.all_at(self.inherited) {
            if let Some(value) = content.value {
                history.push(&register.to_string(), held_from_the_first(value));
            }
        }
        for (number, operation) in self.operations.iter().enumerate() {
            let mut push = |register: u64, asked, answered| {
                let told = Told {
                    client: operation.client.map_or(0, |client| client as u64 + 1),
                    asked,
                    answered,
                    call: operation.called,
                    returned: operation.returned,
                };
                history.push(&register.to_string(), told);
            };
            let held = |content: &Content| Answered::Held(content.value);
            match (&operation.request, &operation.answer) {
                (Request::Change(change), answer) => {
                    let answered = match answer {
                        Some(Answer::Changed(outcome)) => self.answered(outcome),
                        _ if operation.fate == Fate::Never => Answered::Never,
                        _ => Answered::Unknown,
                    };
                    push(change.register, asked(change), answered);
                }
                (Request::Read(register), Some(Answer::Held(content))) => {
                    push(*register, Asked::Get, held(content));
                }
                (Request::List, Some(Answer::Listed(contents))) => {
                    for register in Self::in_use(number) {
                        let content = contents.get(&register).copied().unwrap_or_default();
                        push(register, Asked::Get, held(&content));
                    }
                }
                // A read without an answer says nothing.
                (Request::Read(_) | Request::List, _) => {}
            }
        }
        history
    }

    fn answered(&self, outcome: &Outcome) -> Answered {
        match outcome {
            Outcome::Put { created, .. } => Answered::Done { existed: !created },
            Outcome::Deleted { .. } => Answered::Done { existed: true },
            Outcome::NotFound => Answered::NotDone,
            Outcome::CompareFailed { current } => {
                Answered::Found(self.registers.written_at(*current))
            }
            outcome => panic!("no client is told {outcome:?}"),
        }
    }
}

/// What a cluster began with is as good as written before anybody asked for anything.
fn held_from_the_first(value: u64) -> Told {
    Told {
        client: 0,
        asked: Asked::Put(value),
        answered: Answered::Done { existed: false },
        call: 0,
        returned: 1,
    }
}

fn asked(change: &Change) -> Asked {
    match (change.only_if, change.then) {
        (None, Some(value)) => Asked::Put(value),
        (None, None) => Asked::Delete,
        (Some(content), then) => Asked::CompareAndSet {
            expected: content.value,
            then,
        },
    }
}
