//! Which configuration is in force: the newest that this node holds, agreed on or not.
//!
//! ```text
//!   settled                         logged
//!   by founding or a snapshot       entries behind it, the last one in force
//! ```
//!
//! A configuration is in force from the moment that its entry is in the log (Raft 6). So nothing is
//! ever agreed on by a configuration that those who agreed did not use, and a log that is cut goes
//! back to the one before. A snapshot that replaces the log takes all of that log's configurations
//! with it, and brings its own (scenario 31).

use std::collections::VecDeque;

use super::{Configuration, Entry, Index, MemberId, Payload, Position};

/// A configuration, and the entry that it came with; [`Position::START`] for the founding one.
pub type Placed = (Position, Configuration);

/// All configurations that this node may still need.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Configurations {
    /// Agreed on, and needs no entry of the log. It may be ahead of the log: whoever was welcomed
    /// knows it before it is fed what came before it.
    settled: Placed,
    /// Those in the log behind it, the oldest first.
    logged: VecDeque<Placed>,
}

impl Configurations {
    /// What a disk holds: what is settled, and the log behind it.
    pub(super) fn new<'a>(settled: Placed, log: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut configurations = Self {
            settled,
            logged: VecDeque::new(),
        };
        for entry in log {
            configurations.appended(entry);
        }
        configurations
    }

    /// The newest, and the entry that it came with.
    pub(super) fn newest(&self) -> &Placed {
        self.logged.back().unwrap_or(&self.settled)
    }

    /// The newest.
    pub(super) fn in_force(&self) -> &Configuration {
        &self.newest().1
    }

    /// What was in force right behind the entry at `agreed`, and everything later, which may yet be
    /// agreed on or be cut.
    pub(super) fn since(&self, agreed: Index) -> impl Iterator<Item = &Placed> {
        let later = (self.logged.iter()).filter(move |placed| placed.0.index > agreed);
        later.chain([self.at(agreed)])
    }

    /// Whether any of those names this member.
    pub(super) fn names_since(&self, agreed: Index, member: MemberId) -> bool {
        let mut all = self.since(agreed);
        all.any(|(_, configuration)| configuration.names(member))
    }

    /// The one that was in force right behind the entry at `index`, which is agreed on.
    pub(super) fn at(&self, index: Index) -> &Placed {
        let until = |placed: &&Placed| placed.0.index <= index;
        self.logged.iter().rfind(until).unwrap_or(&self.settled)
    }

    /// An entry was added to the log.
    pub(super) fn appended(&mut self, entry: &Entry) {
        if let Payload::Configuration(configuration) = &entry.payload
            && entry.position() > self.settled.0
        {
            let placed = (entry.position(), configuration.clone());
            self.logged.push_back(placed);
        }
    }

    /// The log was cut: the entry at `from` and all behind it are void.
    pub(super) fn truncated(&mut self, from: Index) {
        self.logged.retain(|placed| placed.0.index < from);
    }

    /// A newer one is agreed on than this log may have; it counts until the log has come that far.
    pub(super) fn welcomed(&mut self, settled: Placed) {
        if settled.0 > self.settled.0 {
            self.logged.retain(|placed| placed.0 > settled.0);
            self.settled = settled;
        }
    }

    /// The log begins behind an own snapshot at `base`.
    pub(super) fn compacted(&mut self, base: Position) {
        while let Some(placed) = (self.logged).pop_front_if(|placed| placed.0.index <= base.index) {
            self.settled = placed;
        }
    }

    /// The log begins behind a snapshot from elsewhere, with the configuration that was in force
    /// there; what is behind it in the log stays, or goes.
    pub(super) fn rebased(&mut self, base: Position, settled: Placed, keep_log: bool) {
        self.logged
            .retain(|placed| keep_log && placed.0.index > base.index);
        if settled.0 > self.settled.0 {
            self.settled = settled;
        }
        let settled = self.settled.0;
        self.logged.retain(|placed| placed.0 > settled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Incarnation, NodeId, Term};

    fn of(size: u64) -> Configuration {
        Configuration::of_voters((1..=size).map(|id| MemberId {
            id: NodeId(id),
            incarnation: Incarnation(id),
        }))
    }

    fn at(term: u64, index: u64) -> Position {
        Position {
            term: Term(term),
            index: Index(index),
        }
    }

    fn entry(position: Position, size: u64) -> Entry {
        Entry {
            term: position.term,
            index: position.index,
            payload: Payload::Configuration(of(size)),
        }
    }

    /// Three founded it; four and five came with entries 3 and 6.
    fn grown() -> Configurations {
        let log = [entry(at(1, 3), 4), entry(at(2, 6), 5)];
        Configurations::new((Position::START, of(3)), &log)
    }

    #[test]
    fn the_newest_in_the_log_is_in_force_and_a_cut_goes_back() {
        let mut all = grown();
        assert_eq!(all.in_force(), &of(5));
        let sizes = [2, 3, 5, 6].map(|index| all.at(Index(index)).1.clone());
        assert_eq!(sizes, [of(3), of(4), of(4), of(5)]);
        all.truncated(Index(6));
        assert_eq!(all.in_force(), &of(4));
        all.truncated(Index(3));
        assert_eq!(all.in_force(), &of(3));
    }

    #[test]
    fn an_own_snapshot_changes_nothing() {
        let mut all = grown();
        all.compacted(at(1, 4));
        assert_eq!(all.in_force(), &of(5));
        assert_eq!(all.at(Index(5)), &(at(1, 3), of(4)));
        all.truncated(Index(5));
        assert_eq!(all.in_force(), &of(4));
    }

    #[test]
    fn a_welcome_counts_until_the_log_has_come_that_far() {
        let mut all = grown();
        all.welcomed((at(3, 9), of(4)));
        assert_eq!(all.in_force(), &of(4));
        all.welcomed((at(2, 6), of(5)));
        assert_eq!(all.in_force(), &of(4), "that is long ago");
        all.appended(&entry(at(3, 8), 6));
        assert_eq!(all.in_force(), &of(4), "history is fed");
        all.appended(&entry(at(3, 12), 5));
        assert_eq!(all.in_force(), &of(5));
    }

    #[test]
    fn a_snapshot_from_elsewhere_takes_the_logs_own_with_it() {
        let mut kept = grown();
        kept.rebased(at(1, 5), (at(1, 3), of(4)), true);
        assert_eq!(kept.in_force(), &of(5));
        let mut dropped = grown();
        dropped.rebased(at(3, 9), (at(3, 8), of(7)), false);
        assert_eq!(dropped.in_force(), &of(7));
        let mut cut = grown();
        cut.rebased(at(3, 9), (at(1, 3), of(4)), false);
        assert_eq!(cut.in_force(), &of(4), "entry 6 was never agreed on");
        let mut older = grown();
        older.compacted(at(2, 6));
        older.rebased(at(3, 9), (at(2, 6), of(5)), false);
        assert_eq!(older.in_force(), &of(5));
    }
}
