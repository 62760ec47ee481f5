//! Linearizability by its definition: every order of every choice of operations, one by one.
//!
//! Slow, and written apart from the checker: it is what the checker is held against. It shares no
//! line with it, not even what a register does.

use crate::linearizability::{Answered, Asked, Operation};

/// Whether some order explains the history of one key.
pub(crate) fn is_linearizable(operations: &[Operation]) -> bool {
    let mut order = Vec::new();
    some_order(operations, &mut order)
}

fn some_order<'a>(operations: &'a [Operation], order: &mut Vec<&'a Operation>) -> bool {
    if is_whole(operations, order) && keeps_time(order) && is_explained(order) {
        return true;
    }
    for operation in operations {
        if !order.iter().any(|other| std::ptr::eq(*other, operation)) {
            order.push(operation);
            if some_order(operations, order) {
                return true;
            }
            order.pop();
        }
    }
    false
}

/// Whether everything stands in the order whose outcome is known.
fn is_whole(operations: &[Operation], order: &[&Operation]) -> bool {
    let known = operations
        .iter()
        .filter(|o| o.answered != Answered::Unknown);
    let mut known = known.map(|operation| order.iter().any(|o| std::ptr::eq(*o, operation)));
    known.all(|stands| stands)
}

/// Whether nothing stands behind what was called only after it had returned.
fn keeps_time(order: &[&Operation]) -> bool {
    let mut pairs =
        (0..order.len()).flat_map(|later| (0..later).map(move |earlier| (earlier, later)));
    pairs.all(|(earlier, later)| {
        let (earlier, later) = (order[earlier], order[later]);
        later.answered == Answered::Unknown || later.returned >= earlier.call
    })
}

/// Whether a register answers like this, one operation after the other.
fn is_explained(order: &[&Operation]) -> bool {
    let mut holds = None;
    order.iter().all(|operation| {
        let answer = execute(&mut holds, operation.asked);
        match operation.answered {
            Answered::Unknown => true,
            // A loser need not be told what was there.
            Answered::NotDone => matches!(answer, Answered::NotDone | Answered::Found(_)),
            told => told == answer,
        }
    })
}

/// A register: what it answers, and what it holds then.
pub(crate) fn execute(holds: &mut Option<u64>, asked: Asked) -> Answered {
    let before = *holds;
    let existed = before.is_some();
    match asked {
        Asked::Get => Answered::Held(before),
        Asked::Put(value) => {
            *holds = Some(value);
            Answered::Done { existed }
        }
        Asked::Delete if existed => {
            *holds = None;
            Answered::Done { existed }
        }
        Asked::Delete => Answered::NotDone,
        Asked::CompareAndSet { expected, then } => {
            if before != expected {
                return Answered::Found(before);
            }
            *holds = then;
            Answered::Done { existed }
        }
    }
}
