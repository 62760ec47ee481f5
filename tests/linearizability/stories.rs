//! Histories whose verdict a person can tell, and what is said of those that cannot be.

use crate::linearizability::Answered::{Done, Found, Held, Never, NotDone, Unknown};
use crate::linearizability::Asked::{CompareAndSet, Delete, Get, Put};
use crate::linearizability::{Account, Answered, Asked, Flaw, History, Operation};

/// More than any story needs.
const STEPS_MAX: u64 = 100_000;

const NEW: Answered = Done { existed: false };
const REPLACED: Answered = Done { existed: true };

/// A history of one key: when each operation was called and returned, what was asked, what
/// answered.
fn history(operations: &[(u64, u64, Asked, Answered)]) -> History {
    let mut history = History::default();
    for (client, (call, returned, asked, answered)) in (1..).zip(operations) {
        let operation = Operation {
            client,
            asked: *asked,
            answered: *answered,
            call: *call,
            returned: *returned,
        };
        history.push("k", operation);
    }
    history
}

fn demand(operations: &[(u64, u64, Asked, Answered)]) {
    if let Err(flaw) = history(operations).check(STEPS_MAX) {
        panic!("{flaw}");
    }
}

fn account(operations: &[(u64, u64, Asked, Answered)]) -> Account {
    match history(operations).check(STEPS_MAX) {
        Err(Flaw::Violation(account)) => *account,
        other => panic!("no violation is seen: {other:?}"),
    }
}

/// What cannot be placed, by the time of its call.
fn culprit(operations: &[(u64, u64, Asked, Answered)]) -> u64 {
    account(operations).culprit.call
}

fn set(expected: Option<u64>, then: Option<u64>) -> Asked {
    CompareAndSet { expected, then }
}

#[test]
fn one_after_the_other_is_linearizable() {
    demand(&[
        (1, 2, Get, Held(None)),
        (3, 4, Delete, NotDone),
        (5, 6, Put(1), NEW),
        (7, 8, Get, Held(Some(1))),
        (9, 10, set(Some(1), Some(2)), REPLACED),
        (11, 12, set(Some(1), Some(3)), Found(Some(2))),
        (13, 14, set(None, Some(4)), NotDone),
        (15, 16, Delete, REPLACED),
        (17, 18, set(None, Some(5)), NEW),
        (19, 20, set(Some(5), None), REPLACED),
        (21, 22, Get, Held(None)),
    ]);
}

#[test]
fn what_overlaps_may_stand_in_any_order() {
    demand(&[
        (1, 10, Put(1), REPLACED),
        (2, 9, Put(2), NEW),
        (3, 4, Get, Held(Some(2))),
        (5, 8, Get, Held(Some(1))),
    ]);
}

#[test]
fn a_read_behind_a_write_must_see_it() {
    let stale = [
        (1, 2, Put(1), NEW),
        (3, 4, Put(2), REPLACED),
        (5, 6, Get, Held(Some(1))),
    ];
    assert_eq!(culprit(&stale), 5);
}

#[test]
fn two_reads_of_one_write_in_flight_do_not_go_back() {
    let back = [
        (1, 2, Put(1), NEW),
        (3, 20, Put(2), REPLACED),
        (5, 6, Get, Held(Some(2))),
        (7, 8, Get, Held(Some(1))),
    ];
    assert_eq!(culprit(&back), 7);
}

#[test]
fn an_update_that_is_lost_is_seen() {
    let lost = [
        (1, 2, Put(1), NEW),
        (3, 10, set(Some(1), Some(2)), REPLACED),
        (4, 11, set(Some(1), Some(3)), REPLACED),
    ];
    assert_eq!(culprit(&lost), 4);
}

#[test]
fn a_write_that_vanishes_is_seen() {
    let vanished = [(1, 2, Put(1), NEW), (3, 4, Get, Held(None))];
    assert_eq!(culprit(&vanished), 3);
    let created_twice = [(1, 2, Put(1), NEW), (3, 4, Put(2), NEW)];
    assert_eq!(culprit(&created_twice), 3);
}

#[test]
fn two_leaders_at_once_are_seen() {
    // Each side of a split answers its own clients by itself.
    let split = [
        (1, 2, Put(1), NEW),
        (3, 4, Put(2), REPLACED),
        (5, 6, Get, Held(Some(2))),
        (7, 8, set(Some(1), Some(3)), REPLACED),
        (9, 10, Get, Held(Some(3))),
        (11, 12, Get, Held(Some(2))),
    ];
    assert_eq!(culprit(&split), 7);
}

#[test]
fn an_unknown_write_may_take_effect_late_or_never() {
    let unknown = (1, 2, Put(1), Unknown);
    demand(&[unknown, (3, 4, Get, Held(None)), (5, 6, Get, Held(None))]);
    demand(&[
        unknown,
        (3, 4, Get, Held(None)),
        (50, 60, Get, Held(Some(1))),
    ]);
    demand(&[
        unknown,
        (3, 4, Put(2), REPLACED),
        (5, 6, Get, Held(Some(2))),
    ]);
    demand(&[unknown, (3, 4, Put(2), NEW), (5, 6, Get, Held(Some(1)))]);
    demand(&[
        (1, 2, set(None, Some(1)), Unknown),
        (3, 4, Get, Held(Some(1))),
    ]);
}

#[test]
fn an_unknown_write_takes_effect_once_and_not_before_its_call() {
    let twice = [
        (1, 2, Put(1), Unknown),
        (3, 4, Get, Held(Some(1))),
        (5, 6, Put(2), REPLACED),
        (7, 8, Get, Held(Some(1))),
    ];
    assert_eq!(culprit(&twice), 7);
    let early = [(1, 2, Get, Held(Some(1))), (3, 4, Put(1), Unknown)];
    assert_eq!(culprit(&early), 1);
    let compare = [
        (1, 2, Put(1), NEW),
        (3, 4, set(None, Some(2)), Unknown),
        (5, 6, Get, Held(Some(2))),
    ];
    assert_eq!(culprit(&compare), 5);
}

#[test]
fn a_refused_write_never_takes_effect() {
    demand(&[(1, 2, Put(1), Never), (3, 4, Get, Held(None))]);
    let written = [(1, 2, Put(1), Never), (3, 4, Get, Held(Some(1)))];
    assert_eq!(culprit(&written), 3);
    let deleted = [
        (1, 2, Put(1), NEW),
        (3, 4, Delete, Never),
        (5, 6, Get, Held(None)),
    ];
    assert_eq!(culprit(&deleted), 5);
}

#[test]
fn an_answer_to_another_question_explains_nothing() {
    assert_eq!(culprit(&[(1, 2, Get, NEW)]), 1);
    assert_eq!(culprit(&[(1, 2, Delete, NEW)]), 1);
    assert_eq!(culprit(&[(1, 2, Put(1), Held(None))]), 1);
}

#[test]
fn keys_do_not_touch_each_other() {
    let mut history = History::default();
    let operation = |call, asked, answered| Operation {
        client: 1,
        asked,
        answered,
        call,
        returned: call + 1,
    };
    history.push("a", operation(1, Put(1), NEW));
    history.push("b", operation(3, Get, Held(None)));
    assert!(history.check(STEPS_MAX).is_ok());
    assert_eq!(history.len(), 2);
    history.push("b", operation(5, Get, Held(Some(1))));
    let Err(Flaw::Violation(account)) = history.check(STEPS_MAX) else {
        panic!("key b read what was written to key a");
    };
    assert!(account.to_string().starts_with("key b is not"), "{account}");
}

#[test]
fn an_account_leaves_out_what_does_not_matter() {
    let mut long = vec![(1, 2, Put(1), NEW)];
    for time in (10..1000).step_by(10) {
        long.push((time, time + 5, Get, Held(Some(1))));
    }
    long.push((2000, 2001, Put(2), REPLACED));
    long.push((2002, 2003, Get, Held(Some(1))));
    for time in (3000..4000).step_by(10) {
        long.push((time, time + 5, Get, Held(Some(2))));
    }
    let account = account(&long);
    assert_eq!(account.culprit.call, 2002);
    assert_eq!(account.order.len(), 2, "{account}");
    assert!(account.left_over.is_empty(), "{account}");
    assert_eq!(
        account.to_string(),
        "key k is not linearizable.\n\
         An order of 2 operations can be, the last 2 being:\n  \
         [      1 to       2] client 1 puts 1: done, there was nothing; it now holds 1\n  \
         [   2000 to    2001] client 101 puts 2: done, there was a value; it now holds 2\n\
         Then this one cannot be placed, here or earlier:\n  \
         [   2002 to    2003] client 102 gets: 1\n"
    );
}

#[test]
fn a_long_history_with_many_unknown_writes_is_told_in_time() {
    // Every third write is lost on the way to the client; some of those are seen, much later.
    let mut long = Vec::new();
    let mut held = None;
    for round in 1..=1000 {
        let (call, value) = (round * 10, round);
        if round % 3 == 0 {
            long.push((call, call + 1, Put(value), Unknown));
        } else {
            let existed = held.is_some();
            long.push((call, call + 1, Put(value), Done { existed }));
            held = Some(value);
        }
        if round > 30 && round % 9 == 0 {
            held = Some(round - 30 - (round - 30) % 3);
            long.push((call + 2, call + 3, Get, Held(held)));
        }
        long.push((call + 4, call + 5, Get, Held(held)));
    }
    demand(&long);
}

#[test]
fn unknown_operations_that_nobody_can_tell_apart_are_no_burden() {
    let mut hidden: Vec<_> = (1..40)
        .flat_map(|time| [(time, 0, Put(time), Unknown), (time, 0, Delete, Unknown)])
        .collect();
    // Some of them were between these, and which does not matter.
    hidden.extend([
        (100, 101, Put(100), REPLACED),
        (102, 103, Put(101), NEW),
        (104, 105, Delete, REPLACED),
        (106, 107, Put(102), REPLACED),
    ]);
    demand(&hidden);
    hidden.push((108, 109, Get, Held(Some(101))));
    assert_eq!(culprit(&hidden), 108);
}

#[test]
fn a_search_that_is_too_hard_says_so() {
    // Any of these writes may be the one before any of these reads.
    let writes = (1..20).map(|value| (value, 0, Put(value), Unknown));
    let reads = (1..20).map(|value| (100, 200, Get, Held(Some(value))));
    let operations: Vec<_> = writes
        .chain(reads)
        .chain([(300, 301, Get, Held(Some(99)))])
        .collect();
    let flaw = history(&operations).check(1000).unwrap_err();
    assert!(matches!(flaw, Flaw::TooHard { .. }), "{flaw}");
    assert!(flaw.to_string().contains("1000 steps"), "{flaw}");
}
