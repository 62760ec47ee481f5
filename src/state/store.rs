//! Applies the log.

use super::history::History;
use super::{Batch, Command, CommandError, Compacted, Event, HistoryLimits, Revision, View};
use crate::consensus::{Payload, Position};

/// The replicated state machine (S2): the present [`View`], and the latest changes for watches.
///
/// Only the view is replicated. The history is this node's own and begins anew with each start
/// and each installed snapshot.
#[derive(Clone, Debug, Default)]
pub struct Store {
    view: View,
    history: History,
}

/// What became of one entry: what its client is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The entry carried no command.
    Noop,
    /// The key has the value.
    Put {
        /// The revision of this change.
        revision: Revision,
        /// Whether the key did not exist before.
        created: bool,
    },
    /// The key is gone.
    Deleted {
        /// The revision of this change.
        revision: Revision,
    },
    /// There was no such key to delete; nothing changed.
    NotFound,
    /// The condition did not hold; nothing changed.
    CompareFailed {
        /// The key's modification revision, or [`Revision::ABSENT`].
        current: Revision,
    },
    /// The put would have grown the state beyond its quota; nothing changed (R21). Deletes, and
    /// puts that do not grow it, are always allowed.
    QuotaExceeded,
    /// The quota is set.
    QuotaSet,
    /// No store accepts this command; nothing changed. [`Command::decode`] would have told before
    /// it was proposed.
    Malformed(CommandError),
    /// The command is of a format that only other versions of this program know. **Not applied:**
    /// other nodes may have understood it, so this store must not go on, and asserts that it does
    /// not. The node stops and says so; a version that knows the format applies the entry.
    Unsupported {
        /// The format.
        format: u8,
    },
}

impl Store {
    /// A store that goes on from a view: a new one from [`View::default`], or one that was read
    /// from a snapshot. Its history begins here.
    pub fn resume(view: View, limits: HistoryLimits) -> Self {
        let history = History::behind(view.revision(), limits);
        Self { view, history }
    }

    /// The present state; for reads, and to be cloned for snapshots.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Puts an installed snapshot in the place of the state and returns the old store, to be
    /// dropped where time does not matter. The history begins anew: a watch from before the
    /// snapshot is told [`Compacted`].
    ///
    /// # Panics
    /// If the snapshot is older than the state: the log never asks for that.
    #[must_use = "dropping a large store takes a while"]
    pub fn replace(&mut self, view: View) -> Self {
        assert!(
            view.position().index >= self.view.position().index
                && view.revision() >= self.view.revision(),
            "an installed snapshot must not take the state back (Raft 7)"
        );
        let limits = self.history.limits();
        std::mem::replace(self, Self::resume(view, limits))
    }

    /// Applies the next entry. Every entry is applied once, in order.
    ///
    /// # Panics
    /// If it is not the next one.
    pub fn apply(&mut self, position: Position, payload: &Payload) -> Outcome {
        let last = self.view.position;
        assert!(
            position.index == last.index.next() && position.term >= last.term,
            "{position:?} does not follow {last:?}: entries are applied in order, each once (S2)"
        );
        let outcome = match payload {
            Payload::Noop | Payload::Configuration(_) => Outcome::Noop,
            Payload::Command(bytes) => match Command::decode(bytes) {
                Ok(command) => self.execute(command),
                Err(CommandError::Unsupported { given }) => {
                    return Outcome::Unsupported { format: given };
                }
                Err(error) => Outcome::Malformed(error),
            },
        };
        self.view.position = position;
        outcome
    }

    fn execute(&mut self, command: Command) -> Outcome {
        let (outcome, record) = self.view.execute(command);
        match (&outcome, record) {
            (Outcome::Put { .. }, Some(record)) => self.history.push(Event::Put(record)),
            (Outcome::Deleted { revision }, Some(record)) => self.history.push(Event::Deleted {
                key: record.key.clone(),
                revision: *revision,
            }),
            _ => {}
        }
        outcome
    }

    /// The changes at `from` and later, of keys that begin with `prefix`, in order: at most
    /// `limit` of them (at least one). Goes on from [`Batch::next`]; each change is then seen
    /// once. A `from` in the future is no error: there is nothing yet.
    ///
    /// The work and the memory of one call are bounded, and the store keeps nothing for those
    /// who ask: a slow watch holds nobody up, and is told [`Compacted`] once it is too late.
    pub fn events_since(
        &self,
        from: Revision,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Batch, Compacted> {
        self.history.since(from, prefix, limit)
    }
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
