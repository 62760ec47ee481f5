//! The search for an order: what Wing and Gong do, with Lowe's memory, on Porcupine's list.
//!
//! Calls and returns stand in one linked list by time. Whatever is called before the first return
//! in the list may be next. An operation that can be next is lifted out of the list, with its
//! return, and the search goes on from the front; where nothing can be next, the latest one is put
//! back and the search goes on behind it. No state is searched twice: what was done (a set of bits)
//! and what the register then held are remembered together.
//!
//! An operation of unknown outcome has no return, and need not be lifted at all. It is tried only
//! where no other can be next, that is, just in time to explain what somebody saw. Two thoughts
//! keep many of them from making the search long. One that is followed by an unknown put or delete
//! explains nothing: the order is as good without it. And those that nobody could tell apart
//! afterwards stand in for each other, so only the first of them is tried.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Answered, Asked, Content, Operation, Value};

/// What a search came to.
pub(super) enum Found {
    /// There is an order.
    Order,
    /// There is none; this is one that explains as many operations as any does.
    None(Vec<usize>),
    /// The bound was reached.
    TooHard,
}

/// Searches for an order of `operations`, in at most `steps_max` steps.
pub(super) fn search(operations: &[Operation], steps_max: u64) -> Found {
    let mut list = List::new(operations);
    let mut tried = HashSet::new();
    let mut done = Bits::new(operations.len());
    let mut holds = Content::default();
    let mut order: Vec<Lifted> = Vec::new();
    let mut longest: Vec<usize> = Vec::new();
    let (mut known, mut explained) = (0, 0);
    let known_all = operations.iter().filter(|o| o.is_known()).count();
    let (mut at, mut in_need) = (list.first(), false);
    let twins = twins(operations);
    let mut steps = 0;
    while known < known_all {
        if steps > steps_max {
            return Found::TooHard;
        }
        if let Entry::Call(number) = list.entry(at) {
            let operation = &operations[number];
            let follows_unknown = order
                .last()
                .is_some_and(|last| !operations[last.number].is_known());
            let is_tried = if operation.is_known() {
                !in_need
            } else {
                in_need
                    && !(follows_unknown && operation.is_blind())
                    && twins[number].is_none_or(|twin| done.has(twin))
            };
            steps += u64::from(is_tried);
            let next = is_tried.then(|| operation.after(holds)).flatten();
            if let Some(next) = next
                && (operation.is_known() || next != holds)
                && tried.insert((done.with(number), next, operation.is_known()))
            {
                list.lift(at);
                done = done.with(number);
                known += usize::from(operation.is_known());
                order.push(Lifted { at, number, holds });
                holds = next;
                if known > explained {
                    explained = known;
                    longest = order.iter().map(|lifted| lifted.number).collect();
                }
                (at, in_need) = (list.first(), false);
            } else {
                at = list.behind(at);
            }
        } else if in_need {
            let Some(lifted) = order.pop() else {
                return Found::None(longest);
            };
            list.put_back(lifted.at);
            done = done.without(lifted.number);
            holds = lifted.holds;
            in_need = !operations[lifted.number].is_known();
            known -= usize::from(!in_need);
            at = list.behind(lifted.at);
        } else {
            // Only now those whose outcome is not known.
            (at, in_need) = (list.first(), true);
        }
    }
    Found::Order
}

/// For each operation of unknown outcome, the one before it that does the same for all that anybody
/// can see: it deletes as well, or it puts a value as well that nobody ever saw or expected.
fn twins(operations: &[Operation]) -> Vec<Option<usize>> {
    let seen: BTreeSet<Value> = operations.iter().flat_map(Operation::values_seen).collect();
    let mut unknown: Vec<usize> = (0..operations.len()).collect();
    unknown.retain(|number| !operations[*number].is_known());
    unknown.sort_unstable_by_key(|number| (operations[*number].call, *number));
    let mut twins = vec![None; operations.len()];
    let mut latest = BTreeMap::new();
    for number in unknown {
        let puts = match operations[number].asked {
            Asked::Put(value) if !seen.contains(&value) => true,
            Asked::Delete => false,
            _ => continue,
        };
        twins[number] = latest.insert(puts, number);
    }
    twins
}

impl Operation {
    /// Whether it does the same whatever the register holds.
    fn is_blind(&self) -> bool {
        matches!(self.asked, Asked::Put(_) | Asked::Delete)
    }

    /// The values by whose presence its answer can be told from another.
    fn values_seen(&self) -> impl Iterator<Item = Value> {
        let expected = match self.asked {
            Asked::CompareAndSet { expected, .. } => expected,
            _ => None,
        };
        let told = match self.answered {
            Answered::Held(held) | Answered::Found(held) => held,
            _ => None,
        };
        expected.into_iter().chain(told)
    }
}

/// An operation that stands in the order.
struct Lifted {
    at: usize,
    number: usize,
    /// What the register held before it.
    holds: Content,
}

/// What stands at a place of the list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Call(usize),
    Return,
    /// The one place before the first and behind the last.
    End,
}

/// Calls and returns by time, linked both ways through the place 0.
struct List {
    entries: Vec<Entry>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Where the return of a call stands; 0 if it has none.
    returns: Vec<usize>,
}

impl List {
    fn new(operations: &[Operation]) -> Self {
        let mut times = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            // At one time a call stands before a return: they overlap.
            times.push((operation.call, false, number));
            if operation.is_known() {
                times.push((operation.returned, true, number));
            }
        }
        times.sort_unstable();
        let places = times.len() + 1;
        let mut list = Self {
            entries: vec![Entry::End; places],
            next: (1..=places).map(|place| place % places).collect(),
            previous: (0..places)
                .map(|place| (place + places - 1) % places)
                .collect(),
            returns: vec![0; places],
        };
        let mut calls = vec![0; operations.len()];
        for (place, (_, is_return, number)) in (1..).zip(times) {
            if is_return {
                list.entries[place] = Entry::Return;
                list.returns[calls[number]] = place;
            } else {
                list.entries[place] = Entry::Call(number);
                calls[number] = place;
            }
        }
        list
    }

    fn entry(&self, at: usize) -> Entry {
        self.entries[at]
    }

    fn first(&self) -> usize {
        self.next[0]
    }

    fn behind(&self, at: usize) -> usize {
        self.next[at]
    }

    /// Takes a call and its return out. They keep their links, by which they are put back.
    fn lift(&mut self, call: usize) {
        for place in [call, self.returns[call]] {
            if place != 0 {
                let (previous, next) = (self.previous[place], self.next[place]);
                self.next[previous] = next;
                self.previous[next] = previous;
            }
        }
    }

    /// Undoes the latest [`List::lift`] that is not undone.
    fn put_back(&mut self, call: usize) {
        for place in [self.returns[call], call] {
            if place != 0 {
                let (previous, next) = (self.previous[place], self.next[place]);
                self.next[previous] = place;
                self.previous[next] = place;
            }
        }
    }
}

/// Which operations are done.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Bits(Box<[u64]>);

impl Bits {
    fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)].into())
    }

    fn has(&self, number: usize) -> bool {
        self.0[number / 64] & (1 << (number % 64)) != 0
    }

    fn with(&self, number: usize) -> Self {
        let mut bits = self.clone();
        bits.0[number / 64] |= 1 << (number % 64);
        bits
    }

    fn without(&self, number: usize) -> Self {
        let mut bits = self.clone();
        bits.0[number / 64] &= !(1 << (number % 64));
        bits
    }
}
