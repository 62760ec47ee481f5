//! The replicated state machine of a simulated node: the real store, used as a set of registers.

use std::collections::BTreeMap;

use remember::consensus::{Entry, Index, Position};
use remember::state::{HistoryLimits, Outcome, Record, Store, View};

use super::request::{Content, key, number, register};

/// One node's copy of the state.
#[derive(Debug)]
pub(crate) struct Replica {
    store: Store,
}

impl Replica {
    /// A state machine that goes on from a snapshot.
    pub(crate) fn resume(view: View) -> Self {
        let limits = HistoryLimits {
            events: 4,
            bytes: 1000,
        };
        Self {
            store: Store::resume(view, limits),
        }
    }

    /// Applies the next entry.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Outcome {
        self.store.apply(entry.position(), &entry.payload)
    }

    /// Takes over a snapshot.
    pub(crate) fn replace(&mut self, view: View) {
        drop(self.store.replace(view));
    }

    /// The state, frozen.
    pub(crate) fn view(&self) -> &View {
        self.store.view()
    }

    /// The last applied entry.
    pub(crate) fn applied(&self) -> Position {
        self.view().position()
    }

    /// The last applied index.
    pub(crate) fn index(&self) -> Index {
        self.applied().index
    }

    /// What a register holds.
    pub(crate) fn read(&self, register: u64) -> Content {
        let record = self.view().find(&key(register));
        record.map_or_else(Content::default, |record| content(record))
    }

    /// What all registers hold, read page by page.
    pub(crate) fn list(&self) -> BTreeMap<u64, Content> {
        let mut all = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.view().list(b"r", after.as_deref(), 3);
            let records = page.records.iter();
            all.extend(records.map(|record| (register(&record.key), content(record))));
            after = page.records.last().map(|record| record.key.clone());
            if !page.more {
                return all;
            }
        }
    }
}

fn content(record: &Record) -> Content {
    Content {
        value: Some(number(&record.value)),
        revision: record.modified,
    }
}
