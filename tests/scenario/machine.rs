//! The replicated state machine of the stories: the list of all that was agreed, in order.

use bytes::Bytes;
use remember::consensus::{Entry, Index, Payload, Placed, Position};

/// Remembers every applied entry, so that two nodes can be compared at any index.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Machine {
    applied: Vec<(Position, Payload)>,
}

impl Machine {
    /// The index of the last applied entry.
    pub(crate) fn index(&self) -> Index {
        self.last().index
    }

    /// The last applied entry's place.
    pub(crate) fn last(&self) -> Position {
        self.applied
            .last()
            .map_or(Position::START, |(position, _)| *position)
    }

    /// The place of the entry applied at `index`.
    pub(crate) fn at(&self, index: Index) -> Option<Position> {
        let offset = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.applied.get(offset).map(|(position, _)| *position)
    }

    /// Applies the next entry.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        let next = self.index().next();
        if entry.index != next {
            return Err(format!(
                "{:?} is applied where {next:?} was due",
                entry.index
            ));
        }
        self.applied.push((entry.position(), entry.payload.clone()));
        Ok(())
    }

    /// All commands in order.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &Bytes> {
        self.applied
            .iter()
            .filter_map(|(_, payload)| match payload {
                Payload::Command(command) => Some(command),
                Payload::Noop | Payload::Configuration(_) => None,
            })
    }

    /// The newest configuration, if any came.
    pub(crate) fn configuration(&self) -> Option<Placed> {
        let mut newest = self.applied.iter().rev();
        newest.find_map(|(position, payload)| match payload {
            Payload::Configuration(configuration) => Some((*position, configuration.clone())),
            Payload::Noop | Payload::Command(_) => None,
        })
    }

    /// The state as it was right after `index`.
    #[must_use]
    pub(crate) fn up_to(&self, index: Index) -> Self {
        let keep = usize::try_from(index.0).unwrap_or(usize::MAX);
        Self {
            applied: self.applied.iter().take(keep).cloned().collect(),
        }
    }
}
