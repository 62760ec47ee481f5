//! The node's log as it stands in memory.
//!
//! The log begins behind a snapshot; what lies behind it, and a short tail before it, is held
//! whole. The state machine lives in memory too, so this is bounded by the driver's habit of
//! taking a snapshot when the log outgrows the state. Nothing here touches a disk.
//!
//! ```text
//!         floor          base                    last
//!   ........|-------------|------------------------|
//!   forgotten  retained for   the log since the snapshot
//!              slow followers
//! ```

use std::collections::VecDeque;

use super::{ENTRIES_MAX, Entry, Index, Position, Term};

/// Entries `floor.index + 1 ..= last.index`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Log {
    floor: Position,
    base: Position,
    entries: VecDeque<Held>,
}

/// An entry and where it ends, in bytes since this log was made: sizes of ranges are differences.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Held {
    entry: Entry,
    end: usize,
}

impl Log {
    /// The log behind a snapshot at `base`. `entries` follow it without a gap.
    pub(super) fn new(base: Position, entries: Vec<Entry>) -> Self {
        let mut log = Self {
            floor: base,
            base,
            entries: VecDeque::new(),
        };
        for entry in entries {
            log.append(entry);
        }
        log
    }

    /// What the newest snapshot covers.
    pub(super) fn base(&self) -> Position {
        self.base
    }

    /// The end of the log.
    pub(super) fn last(&self) -> Position {
        self.entries
            .back()
            .map_or(self.floor, |held| held.entry.position())
    }

    /// Adds an entry at the end: a log is never reordered and has no gaps.
    pub(super) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert!(
            entry.index == last.index.next(),
            "log without gaps: {entry:?} after {last:?}"
        );
        assert!(
            entry.term >= last.term,
            "terms never fall along a log: {entry:?} after {last:?}"
        );
        let start = self.entries.back().map_or(0, |held| held.end);
        let end = start + entry.size_bytes();
        self.entries.push_back(Held { entry, end });
    }

    /// The term of the entry at `index`, if the log still knows it.
    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.floor.index {
            return Some(self.floor.term);
        }
        let held = self.entries.get(self.offset(index)?)?;
        Some(held.entry.term)
    }

    /// Where in `entries` the entry at `index` stands, or would stand.
    fn offset(&self, index: Index) -> Option<usize> {
        usize::try_from(index.0.checked_sub(self.floor.index.0 + 1)?).ok()
    }

    /// Whether the log holds exactly this entry.
    pub(super) fn holds(&self, position: Position) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// The size of all entries behind `after`, in bytes.
    pub(super) fn bytes_behind(&self, after: Index) -> usize {
        let Some(last) = self.entries.back() else {
            return 0;
        };
        match self.offset(after.next()) {
            Some(0) | None => last.end - self.start_bytes(),
            Some(offset) => self
                .entries
                .get(offset - 1)
                .map_or(0, |held| last.end - held.end),
        }
    }

    /// Where the first held entry starts, in bytes since this log was made.
    fn start_bytes(&self) -> usize {
        self.entries
            .front()
            .map_or(0, |held| held.end - held.entry.size_bytes())
    }

    /// The entries from `from` on: as many as fit in `bytes_max` and in one message, but one at
    /// least if there is one. Empty if `from` is forgotten.
    pub(super) fn from(&self, from: Index, bytes_max: usize) -> Vec<Entry> {
        let Some(offset) = self.offset(from) else {
            return Vec::new();
        };
        let behind = self.entries.range(offset.min(self.entries.len())..);
        let start = behind
            .clone()
            .next()
            .map_or(0, |held| held.end - held.entry.size_bytes());
        let fits = |held: &&Held| held.end - start <= bytes_max || held.entry.index == from;
        behind
            .take(ENTRIES_MAX)
            .take_while(fits)
            .map(|held| held.entry.clone())
            .collect()
    }

    /// The entries `from ..= to`, all of which the log holds.
    pub(super) fn range(&self, from: Index, to: Index) -> Vec<Entry> {
        assert!(
            self.floor.index < from && from <= to && to <= self.last().index,
            "the log {:?}..{:?} holds {from:?}..={to:?}",
            self.floor,
            self.last()
        );
        let from_offset = self.offset(from).unwrap_or_default();
        let to_offset = self.offset(to).unwrap_or_default();
        self.entries
            .range(from_offset..=to_offset)
            .map(|held| held.entry.clone())
            .collect()
    }

    /// Drops the entry at `from` and all behind it.
    pub(super) fn truncate(&mut self, from: Index) {
        assert!(
            from > self.base.index,
            "{from:?} is covered by the snapshot {:?}",
            self.base
        );
        if let Some(offset) = self.offset(from) {
            self.entries.truncate(offset);
        }
    }

    /// The last place at or below `prev` where this log may still agree with a log that holds
    /// `prev`: an entry of a later term than `prev` cannot stand before it there (Raft 5.3).
    /// `None` if that place is forgotten.
    pub(super) fn may_agree_at(&self, prev: Position) -> Option<Position> {
        // Neither indices nor terms fall along the log.
        let before = |held: &Held| held.entry.index <= prev.index && held.entry.term <= prev.term;
        let count = self.entries.partition_point(before);
        match count.checked_sub(1).and_then(|last| self.entries.get(last)) {
            Some(held) => Some(held.entry.position()),
            None => Some(self.floor).filter(|floor| floor.term <= prev.term),
        }
    }

    /// A snapshot at `base` is published: the log begins behind it. What it covers is forgotten bit
    /// by bit, but for a tail that slow followers may still need; see [`forget`](Self::forget).
    pub(super) fn compact(&mut self, base: Position) {
        assert!(
            base >= self.base && self.holds(base),
            "{base:?} is in the log"
        );
        self.base = base;
    }

    /// Whether more than `retained_bytes` are held behind the snapshot.
    pub(super) fn can_forget(&self, retained_bytes: usize) -> bool {
        self.bytes_behind(self.floor.index) > self.bytes_behind(self.base.index) + retained_bytes
    }

    /// Forgets entries behind the snapshot until about `bytes` are given back, or `retained_bytes`
    /// are left there.
    pub(super) fn forget(&mut self, retained_bytes: usize, bytes: usize) {
        let left = self.bytes_behind(self.floor.index).saturating_sub(bytes);
        while self.bytes_behind(self.floor.index) > left && self.can_forget(retained_bytes) {
            let Some(forgotten) = self.entries.pop_front() else {
                break;
            };
            self.floor = forgotten.entry.position();
        }
    }

    /// The log begins behind a snapshot from elsewhere; nothing before it is kept.
    pub(super) fn rebase(&mut self, base: Position, keep_log: bool) {
        self.entries
            .retain(|held| keep_log && held.entry.index > base.index);
        self.floor = base;
        self.base = base;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::consensus::Payload;

    const BIG: usize = usize::MAX;

    fn entry(term: u64, index: u64) -> Entry {
        let payload = Payload::Command(Bytes::from(vec![0; 76]));
        let entry = Entry {
            term: Term(term),
            index: Index(index),
            payload,
        };
        assert_eq!(entry.size_bytes(), 100);
        entry
    }

    fn log(terms: &[u64]) -> Log {
        let entries = (1..)
            .zip(terms)
            .map(|(index, term)| entry(*term, index))
            .collect();
        Log::new(Position::START, entries)
    }

    fn at(term: u64, index: u64) -> Position {
        Position {
            term: Term(term),
            index: Index(index),
        }
    }

    #[test]
    fn a_range_is_cut_by_bytes_but_never_below_one_entry() {
        let log = log(&[1, 1, 1, 2]);
        assert_eq!(log.from(Index(1), 250).len(), 2);
        assert_eq!(log.from(Index(4), 1).len(), 1);
        assert_eq!(log.from(Index(5), BIG), []);
        assert_eq!(log.from(Index(9), BIG), []);
        assert_eq!(log.bytes_behind(Index(0)), 400);
        assert_eq!(log.bytes_behind(Index(3)), 100);
        assert_eq!(log.bytes_behind(Index(4)), 0);
    }

    #[test]
    fn compaction_retains_a_tail_and_forgets_the_rest() {
        let mut log = log(&[1, 1, 1, 2, 2]);
        log.compact(at(2, 4));
        log.forget(150, 1);
        assert_eq!(log.bytes_behind(Index(0)), 400, "a little at a time");
        assert!(log.can_forget(150));
        log.forget(150, BIG);
        assert!(!log.can_forget(150));
        assert_eq!((log.base(), log.last()), (at(2, 4), at(2, 5)));
        assert_eq!(log.bytes_behind(Index(4)), 100);
        assert_eq!(
            log.term_at(Index(3)),
            Some(Term(1)),
            "the floor's own term is known"
        );
        assert_eq!(log.term_at(Index(2)), None);
        assert_eq!(log.from(Index(3), BIG), [], "forgotten");
        assert_eq!(log.from(Index(4), BIG).len(), 2);
    }

    #[test]
    fn a_snapshot_from_elsewhere_keeps_only_what_agrees_with_it() {
        let mut kept = log(&[1, 1, 2]);
        kept.rebase(at(1, 2), true);
        assert_eq!((kept.base(), kept.last()), (at(1, 2), at(2, 3)));
        let mut dropped = log(&[1, 1, 1]);
        dropped.rebase(at(2, 9), false);
        assert_eq!(
            (dropped.last(), dropped.term_at(Index(3))),
            (at(2, 9), None)
        );
        dropped.append(entry(2, 10));
        assert_eq!(dropped.bytes_behind(Index(9)), 100);
    }

    #[test]
    fn the_hint_skips_entries_of_later_terms() {
        let log = log(&[1, 2, 5, 5]);
        assert_eq!(log.may_agree_at(at(3, 4)), Some(at(2, 2)));
        assert_eq!(log.may_agree_at(at(5, 9)), Some(at(5, 4)));
    }

    #[test]
    #[should_panic(expected = "covered by the snapshot")]
    fn what_a_snapshot_covers_is_never_cut() {
        let mut log = log(&[1, 1]);
        log.compact(at(1, 2));
        log.forget(0, BIG);
        log.truncate(Index(2));
    }
}
