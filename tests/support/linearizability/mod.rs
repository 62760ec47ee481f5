//! A checker of linearizability for registers with compare-and-set, one register a key.
//!
//! It is told what clients asked for, when, and what they were answered, and says whether there is
//! one order of all operations that a single register could have answered that way, in which each
//! operation stands between its call and its return. The search is that of Wing and Gong with
//! Lowe's memory of what was tried, as Porcupine does it: see `search`. Keys do not touch each
//! other, so each is checked by itself (Herlihy and Wing, locality).
//!
//! ```text
//!   History: key --> [Operation]      call ----- asked, answered ----- returned
//!        |
//!      check --> Ok, or a Flaw: the Account of what cannot be, or that it was too hard to say
//! ```
//!
//! Not here: who makes the operations, and what time is. Times are numbers that only need to be in
//! the order of what happened. Nothing here waits, draws or depends on an order of hashing.

mod account;
mod search;

use std::collections::BTreeMap;
use std::fmt;

pub(crate) use account::Account;
use search::Found;

/// What a register holds. Writes are told apart best if each has a value of its own.
pub(crate) type Value = u64;

/// What a register holds: a value, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Content(Option<Value>);

/// What a client asks of one key. No value means: there is no such key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// What does it hold?
    Get,
    /// Hold this, whatever was there.
    Put(Value),
    /// Hold nothing, whatever was there.
    Delete,
    /// Hold `then`, if what is there is `expected`.
    CompareAndSet {
        expected: Option<Value>,
        then: Option<Value>,
    },
}

/// What the client was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answered {
    /// The answer of a get.
    Held(Option<Value>),
    /// A write took effect, and this is whether there was something before it.
    Done { existed: bool },
    /// A delete found nothing, or a compare-and-set found something else; nothing changed.
    NotDone,
    /// A compare-and-set found this instead; nothing changed.
    Found(Option<Value>),
    /// Nothing is known: it takes effect at any moment after its call, or never.
    Unknown,
    /// It did not take effect, and never will.
    Never,
}

/// One thing that one client asked, and what came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Operation {
    pub(crate) client: u64,
    pub(crate) asked: Asked,
    pub(crate) answered: Answered,
    /// When it was asked.
    pub(crate) call: u64,
    /// When it was answered: later than `call`. Without meaning if the outcome is unknown.
    pub(crate) returned: u64,
}

/// Everything that clients did, by key, in any order.
#[derive(Clone, Default, Debug)]
pub(crate) struct History {
    keys: BTreeMap<String, Vec<Operation>>,
}

/// Why a history was not found linearizable.
#[derive(Debug)]
pub(crate) enum Flaw {
    /// No order explains it.
    Violation(Box<Account>),
    /// The search was ended by its bound. This is no verdict, and must fail a test.
    TooHard {
        key: String,
        operations: usize,
        steps_max: u64,
    },
}

impl Operation {
    /// What the register holds if this takes effect on what it `holds`, or nothing if it cannot be
    /// next: if it would have been answered otherwise.
    fn after(&self, Content(holds): Content) -> Option<Content> {
        use Answered::{Done, Found, Held, NotDone, Unknown};
        let is_done = |existed: bool| existed == holds.is_some();
        let (then, explains) = match (self.asked, self.answered) {
            (Asked::Get, Held(held)) => (holds, held == holds),
            (Asked::Put(value), Done { existed }) => (Some(value), is_done(existed)),
            (Asked::Put(value), Unknown) => (Some(value), true),
            (Asked::Delete, Done { existed }) => (None, existed && is_done(existed)),
            (Asked::Delete, NotDone) => (holds, holds.is_none()),
            (Asked::Delete, Unknown) => (None, true),
            (Asked::CompareAndSet { expected, then }, Done { existed }) => {
                (then, expected == holds && is_done(existed))
            }
            (Asked::CompareAndSet { expected, then }, Unknown) => (then, expected == holds),
            (Asked::CompareAndSet { expected, .. }, NotDone) => (holds, expected != holds),
            (Asked::CompareAndSet { expected, .. }, Found(found)) => {
                (holds, expected != holds && found == holds)
            }
            // An answer that does not belong to the question explains nothing.
            _ => (holds, false),
        };
        explains.then_some(Content(then))
    }

    /// Whether it must stand in every order.
    fn is_known(&self) -> bool {
        self.answered != Answered::Unknown
    }

    /// Whether it leaves the register as it is, so that a history is no worse without it.
    fn only_looks(&self) -> bool {
        self.asked == Asked::Get || matches!(self.answered, Answered::NotDone | Answered::Found(_))
    }
}

impl History {
    /// Adds an operation on a key.
    ///
    /// # Panics
    /// If it was answered before it was asked.
    pub(crate) fn push(&mut self, key: &str, operation: Operation) {
        assert!(
            !operation.is_known() || operation.call < operation.returned,
            "an operation returns after its call: {operation}"
        );
        // What never takes effect has no place: if its value is ever seen, nobody wrote it.
        if operation.answered != Answered::Never {
            let operations = self.keys.entry(key.to_owned()).or_default();
            operations.push(operation);
        }
    }

    /// How many operations there are that took effect, or may have.
    pub(crate) fn len(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }

    /// Whether the history is linearizable, every key being absent at the start. `steps_max` bounds
    /// the search for each key, in operations tried.
    pub(crate) fn check(&self, steps_max: u64) -> Result<(), Flaw> {
        for (key, operations) in &self.keys {
            match search::search(operations, steps_max) {
                Found::Order => {}
                Found::None(_) => {
                    let account = Account::of(key, operations, steps_max);
                    return Err(Flaw::Violation(Box::new(account)));
                }
                Found::TooHard => {
                    return Err(Flaw::TooHard {
                        key: key.clone(),
                        operations: operations.len(),
                        steps_max,
                    });
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(account) => account.fmt(f),
            Self::TooHard {
                key,
                operations,
                steps_max,
            } => write!(
                f,
                "key {key}: {steps_max} steps did not tell whether its {operations} operations \
                 are linearizable; use the key for less long, or raise the bound"
            ),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let returned = match self.answered {
            Answered::Unknown => "?".to_owned(),
            _ => self.returned.to_string(),
        };
        let (call, client) = (self.call, self.client);
        write!(f, "[{call:>7} to {returned:>7}] client {client} ")?;
        match self.asked {
            Asked::Get => write!(f, "gets")?,
            Asked::Put(value) => write!(f, "puts {value}")?,
            Asked::Delete => write!(f, "deletes")?,
            Asked::CompareAndSet { expected, then } => {
                write!(f, "sets {} to {}", Content(expected), Content(then))?;
            }
        }
        match self.answered {
            Answered::Held(held) => write!(f, ": {}", Content(held)),
            Answered::Done { existed: true } => write!(f, ": done, there was a value"),
            Answered::Done { existed: false } => write!(f, ": done, there was nothing"),
            Answered::NotDone => write!(f, ": not done"),
            Answered::Found(found) => write!(f, ": not done, found {}", Content(found)),
            Answered::Unknown => write!(f, ": not known"),
            Answered::Never => write!(f, ": refused"),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value}"),
            None => write!(f, "nothing"),
        }
    }
}
