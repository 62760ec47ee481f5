//! Small histories by chance, held against the definition.

use crate::brute::is_linearizable;
use crate::linearizability::{Answered, Asked, Flaw, History, Operation};
use crate::rng::Rng;

/// More than a history of this size can need.
const STEPS_MAX: u64 = 100_000;

const OPERATIONS_MAX: u64 = 6;
const HISTORIES: u64 = 20_000;

#[test]
fn the_search_agrees_with_the_definition() {
    let (mut yes, mut no) = (0, 0);
    for seed in 0..HISTORIES {
        let mut rng = Rng::new(seed);
        let operations = if rng.chance(600) {
            lived(&mut rng)
        } else {
            invented(&mut rng)
        };
        let mut history = History::default();
        for operation in &operations {
            history.push("k", *operation);
        }
        let told = match history.check(STEPS_MAX) {
            Ok(()) => true,
            Err(Flaw::Violation(account)) => {
                let culprit = account.culprit;
                assert!(operations.contains(&culprit), "seed {seed}: {account}");
                false
            }
            Err(flaw) => panic!("seed {seed}: {flaw}"),
        };
        let defined = is_linearizable(&operations);
        assert_eq!(told, defined, "seed {seed}: {operations:#?}");
        *(if told { &mut yes } else { &mut no }) += 1;
    }
    // A test that only ever sees one verdict shows nothing.
    let enough = HISTORIES / 5;
    assert!(
        yes > enough && no > enough,
        "{yes} are linearizable, {no} not"
    );
}

/// What a client asks, of few values, so that they meet.
fn asked(rng: &mut Rng) -> Asked {
    let mut held = || (!rng.chance(300)).then(|| rng.between(1, 3));
    let (expected, then) = (held(), held());
    match rng.below(6) {
        0 | 1 => Asked::Get,
        2 => Asked::Put(rng.between(1, 3)),
        3 => Asked::Delete,
        _ => Asked::CompareAndSet { expected, then },
    }
}

/// An answer to nothing that happened.
fn answered(rng: &mut Rng, asked: Asked) -> Answered {
    let held = (!rng.chance(300)).then(|| rng.between(1, 3));
    let existed = rng.chance(500);
    match (asked, rng.below(4)) {
        (_, 0) => Answered::Unknown,
        (Asked::Get, _) => Answered::Held(held),
        (Asked::Delete | Asked::CompareAndSet { .. }, 1) => Answered::NotDone,
        (Asked::CompareAndSet { .. }, 2) => Answered::Found(held),
        _ => Answered::Done { existed },
    }
}

/// A time to ask and a time to be told. Several may be the same.
fn times(rng: &mut Rng) -> (u64, u64) {
    let call = rng.between(1, 20);
    (call, call + rng.between(1, 8))
}

fn invented(rng: &mut Rng) -> Vec<Operation> {
    let count = rng.between(1, OPERATIONS_MAX - 1);
    let operations = (0..count).map(|client| {
        let asked = asked(rng);
        let (call, returned) = times(rng);
        Operation {
            client,
            asked,
            answered: answered(rng, asked),
            call,
            returned,
        }
    });
    operations.collect()
}

/// What a register really answered, each operation having taken effect somewhere between its call
/// and its return. Then some answers are forgotten, and perhaps one is replaced by a lie.
fn lived(rng: &mut Rng) -> Vec<Operation> {
    let count = rng.between(1, OPERATIONS_MAX);
    let mut operations: Vec<_> = (0..count)
        .map(|client| {
            let (call, returned) = times(rng);
            let effect = rng.between(2 * call + 1, 2 * returned - 1);
            (effect, client, call, returned, asked(rng))
        })
        .collect();
    operations.sort_unstable_by_key(|(effect, client, ..)| (*effect, *client));
    let mut holds = None;
    let mut lived: Vec<_> = operations
        .into_iter()
        .map(|(_, client, call, returned, asked)| Operation {
            client,
            asked,
            answered: crate::brute::execute(&mut holds, asked),
            call,
            returned,
        })
        .collect();
    let forgotten = rng.below(600);
    for operation in &mut lived {
        if rng.chance(forgotten) {
            operation.answered = Answered::Unknown;
        }
    }
    let lie = rng.place(lived.len());
    if rng.chance(500) {
        lived[lie].answered = answered(rng, lived[lie].asked);
    }
    lived
}
