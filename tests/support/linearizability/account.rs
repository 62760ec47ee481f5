//! What is wrong with the history of a key, told as briefly as it can be.
//!
//! Every beginning of a linearizable history is linearizable, so there is a first moment at which
//! a history stops being so: the return of the operation that cannot be placed. What happened later
//! is left out, and so is every operation that only looks and without which the rest is as wrong.

use std::fmt;

use super::search::{Found, search};
use super::{Answered, Content, Operation};

/// How many operations of the consistent order are told.
const TOLD_MAX: usize = 20;

/// Why the history of a key is not linearizable.
#[derive(Debug)]
pub(crate) struct Account {
    key: String,
    /// The longest order that can be, and what the register holds after each operation of it.
    pub(crate) order: Vec<(Operation, Content)>,
    /// The operation without which all could be placed.
    pub(crate) culprit: Operation,
    /// What else stands in no place of that order.
    pub(crate) left_over: Vec<Operation>,
}

impl Account {
    /// The account of a history that is not linearizable.
    pub(super) fn of(key: &str, operations: &[Operation], steps_max: u64) -> Self {
        let (culprit, beginning) = first_failure(operations, steps_max);
        let core = thinned(beginning, &culprit, steps_max);
        let order = match search(&core, steps_max) {
            Found::None(order) => order,
            Found::Order | Found::TooHard => Vec::new(),
        };
        let mut holds = Content::default();
        let told = order.iter().map(|number| {
            holds = core[*number].after(holds).unwrap_or(holds);
            (core[*number], holds)
        });
        let told = told.collect();
        let left_over = (0..core.len()).filter(|number| !order.contains(number));
        let left_over = left_over.map(|number| core[number]);
        Self {
            key: key.to_owned(),
            order: told,
            culprit,
            left_over: left_over
                .filter(|operation| *operation != culprit)
                .collect(),
        }
    }
}

/// What had happened when a moment was over: what had not returned yet is not known.
fn until(operations: &[Operation], moment: u64) -> Vec<Operation> {
    let called = operations.iter().filter(|o| o.call <= moment);
    let called = called.map(|operation| Operation {
        answered: if operation.returned <= moment {
            operation.answered
        } else {
            Answered::Unknown
        },
        ..*operation
    });
    called.collect()
}

/// The operation with whose return the history stops being linearizable, and all until then.
fn first_failure(operations: &[Operation], steps_max: u64) -> (Operation, Vec<Operation>) {
    let mut known: Vec<_> = operations.iter().filter(|o| o.is_known()).collect();
    known.sort_unstable_by_key(|operation| operation.returned);
    // Where the bound is reached, the account is longer than it could be, and still true.
    let mut fails_at = known.len() - 1;
    let mut holds_before = 0;
    while holds_before < fails_at {
        let middle = holds_before.midpoint(fails_at);
        let beginning = until(operations, known[middle].returned);
        if matches!(search(&beginning, steps_max), Found::None(_)) {
            fails_at = middle;
        } else {
            holds_before = middle + 1;
        }
    }
    let culprit = known[fails_at];
    (*culprit, until(operations, culprit.returned))
}

/// The history without what only looks, as far as it stays wrong: in ever smaller pieces.
fn thinned(mut core: Vec<Operation>, culprit: &Operation, steps_max: u64) -> Vec<Operation> {
    let mut piece = core.len();
    while piece > 0 {
        let mut at = 0;
        while at < core.len() {
            let inside = at..(at + piece);
            let keep = |(number, operation): (usize, &Operation)| {
                !inside.contains(&number) || !operation.only_looks() || operation == culprit
            };
            let fewer = core.iter().enumerate().filter(|pair| keep(*pair));
            let fewer: Vec<_> = fewer.map(|(_, operation)| *operation).collect();
            if fewer.len() < core.len() && matches!(search(&fewer, steps_max), Found::None(_)) {
                core = fewer;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    core
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {} is not linearizable.", self.key)?;
        let told = self.order.len().min(TOLD_MAX);
        let count = self.order.len();
        writeln!(
            f,
            "An order of {count} operations can be, the last {told} being:"
        )?;
        for (operation, holds) in &self.order[count - told..] {
            writeln!(f, "  {operation}; it now holds {holds}")?;
        }
        writeln!(f, "Then this one cannot be placed, here or earlier:")?;
        writeln!(f, "  {}", self.culprit)?;
        if !self.left_over.is_empty() {
            writeln!(f, "These might have stood anywhere, and are of no help:")?;
            for operation in &self.left_over {
                writeln!(f, "  {operation}")?;
            }
        }
        Ok(())
    }
}
