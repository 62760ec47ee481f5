//! What the clients did and were told, while they do it, and what of it contradicts itself.
//!
//! One clock of plain numbers orders all calls and returns of all clients. Each write has a value
//! of its own, and the store gives each change a revision of its own, so the two name each other.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::linearizability::{Answered, Asked, History, Operation, Value};

/// Steps that the checker may take for one key.
const STEPS_MAX: u64 = 3_000_000;

/// What all clients share.
#[derive(Default)]
pub(crate) struct Record {
    clock: AtomicU64,
    values: AtomicU64,
    acknowledged: AtomicU64,
    /// Raised from time to time: clients then go on to new keys.
    pub(crate) generation: AtomicU64,
    pub(crate) is_over: AtomicBool,
    /// How many disks were exchanged: a node may then forget its term.
    pub(crate) disks: AtomicU64,
    told: Mutex<Vec<Told>>,
    /// Unique keys that were acknowledged, with their values.
    pub(crate) unique: Mutex<Vec<(String, Value)>>,
    /// What somebody saw that must not be.
    objections: Mutex<Vec<String>>,
}

/// One operation, with the revision that came with its answer.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) key: String,
    pub(crate) node: u64,
    pub(crate) operation: Operation,
    pub(crate) revision: Option<u64>,
}

impl Record {
    /// The next moment.
    pub(crate) fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// A value that no other write has.
    pub(crate) fn value(&self) -> Value {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A write was acknowledged.
    pub(crate) fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// How many writes were.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(crate) fn push(&self, told: Told) {
        self.told.lock().unwrap().push(told);
    }

    /// Somebody saw what must not be.
    pub(crate) fn object(&self, objection: String) {
        self.objections.lock().unwrap().push(objection);
    }

    /// The first thing that somebody saw and that must not be.
    pub(crate) fn objection(&self) -> Option<String> {
        self.objections.lock().unwrap().first().cloned()
    }

    /// Holds everything that clients were told against what a store may tell, and counts it.
    pub(crate) fn check(&self) -> Result<usize, String> {
        let told = self.told.lock().unwrap();
        let names = names(&told)?;
        in_order(&told)?;
        let mut history = History::default();
        for one in told.iter() {
            let mut operation = one.operation;
            // Who lost a compare was told a revision; which value that is, somebody else may know.
            let is_compare = matches!(operation.asked, Asked::CompareAndSet { .. });
            if is_compare && operation.answered == Answered::NotDone {
                operation.answered = match one.revision {
                    None => Answered::Found(None),
                    Some(revision) => match names.get(&revision) {
                        Some((_, value)) => Answered::Found(*value),
                        None => Answered::NotDone,
                    },
                };
            }
            history.push(&one.key, operation);
        }
        history.check(STEPS_MAX).map_err(|flaw| flaw.to_string())?;
        Ok(history.len())
    }

    /// Everything, a line each.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for one in self.told.lock().unwrap().iter() {
            let (key, node, operation) = (&one.key, one.node, one.operation);
            let revision = one.revision.map(|r| r.to_string()).unwrap_or_default();
            writeln!(text, "{key} at node {node} {operation} {revision}").unwrap();
        }
        text
    }
}

/// The key and the content that each revision stands for; two of them would be two stores.
fn names(told: &[Told]) -> Result<BTreeMap<u64, (&str, Option<Value>)>, String> {
    let mut names = BTreeMap::new();
    for one in told {
        let content = match (one.operation.asked, one.operation.answered) {
            (_, Answered::Held(held)) => held,
            (Asked::Put(value), Answered::Done { .. }) => Some(value),
            (Asked::CompareAndSet { then, .. }, Answered::Done { .. }) => then,
            (Asked::Delete, Answered::Done { .. }) => None,
            _ => continue,
        };
        let Some(revision) = one.revision else {
            continue;
        };
        let name = (one.key.as_str(), content);
        match names.entry(revision) {
            Entry::Vacant(entry) => {
                entry.insert(name);
            }
            Entry::Occupied(entry) if *entry.get() == name => {}
            Entry::Occupied(entry) => {
                let other = entry.get();
                return Err(format!("revision {revision} is {other:?} and {name:?}"));
            }
        }
    }
    Ok(names)
}

/// Whether all acknowledged changes, of all keys, have revisions in the order of time: none may be
/// lower than one that was acknowledged before it was asked for.
fn in_order(told: &[Told]) -> Result<(), String> {
    let changes = told.iter().filter(|one| {
        matches!(one.operation.answered, Answered::Done { .. }) && one.revision.is_some()
    });
    let mut moments = Vec::new();
    for one in changes {
        moments.push((one.operation.call, true, one));
        moments.push((one.operation.returned, false, one));
    }
    moments.sort_unstable_by_key(|(moment, ..)| *moment);
    let mut floors = BTreeMap::new();
    let mut newest = None;
    for (_, is_call, one) in moments {
        if is_call {
            floors.insert(one.operation.call, newest);
        } else {
            let floor = floors.remove(&one.operation.call).flatten();
            if one.revision <= floor {
                return Err(format!(
                    "key {}: {} got revision {:?}, and {floor:?} was acknowledged before it was \
                     asked for",
                    one.key, one.operation, one.revision
                ));
            }
            newest = newest.max(one.revision);
        }
    }
    Ok(())
}
