//! What a stream of log records adds up to, worked out without the code under test.

use std::collections::{BTreeMap, VecDeque};

use remember::consensus::{
    Boot, Entry, HardState, Index, MemberId, PeerRecord, Position, Record, Term,
};

/// The state that a node's records describe.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Image {
    /// The term and vote.
    pub(crate) hard: HardState,
    /// Where the log begins.
    pub(crate) base: Position,
    /// The log behind `base`.
    pub(crate) entries: VecDeque<Entry>,
    /// The peers' boots.
    pub(crate) peers: BTreeMap<MemberId, PeerRecord>,
}

impl Image {
    /// Adds one record, and holds the stream to its own rules.
    pub(crate) fn add(&mut self, record: &Record) {
        match record {
            Record::HardState(hard) => self.vote(*hard),
            Record::Entry(entry) => self.append(entry),
            Record::Base { position, keep_log } => self.cut(*position, *keep_log),
            Record::Peer(peer) => {
                if peer.boot == Boot::default() {
                    self.peers.remove(&peer.member);
                } else {
                    self.peers.insert(peer.member, *peer);
                }
            }
        }
    }

    /// The end of the log.
    pub(crate) fn last(&self) -> Position {
        self.entries.back().map_or(self.base, Entry::position)
    }

    /// The entry at `index`, if the log behind `base` has it.
    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        let place = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// The term at `index`: of an entry, or of `base` itself.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    /// Whether the entry at `position` is here, or lies below `base` and so in a snapshot.
    pub(crate) fn covers(&self, position: Position) -> bool {
        position.index < self.base.index || self.term_at(position.index) == Some(position.term)
    }

    fn vote(&mut self, hard: HardState) {
        assert!(
            hard.term >= self.hard.term,
            "the written term went back from {:?} to {:?}",
            self.hard,
            hard
        );
        assert!(
            hard.term > self.hard.term || self.hard.vote.is_none() || hard.vote == self.hard.vote,
            "two votes in one term: {:?}, then {:?}",
            self.hard,
            hard
        );
        self.hard = hard;
    }

    fn append(&mut self, entry: &Entry) {
        assert!(
            entry.index > self.base.index && entry.index <= self.last().index.next(),
            "an entry at {:?} leaves a gap behind {:?}, or lies below base {:?}",
            entry.position(),
            self.last(),
            self.base
        );
        assert!(
            entry.term <= self.hard.term,
            "an entry at {:?} is written before its term (now {:?})",
            entry.position(),
            self.hard.term
        );
        let keep = usize::try_from(entry.index.0 - self.base.index.0 - 1).expect("a short log");
        self.entries.truncate(keep);
        assert!(
            self.last().term <= entry.term,
            "terms fall from {:?} to {:?}",
            self.last(),
            entry.position()
        );
        self.entries.push_back(entry.clone());
    }

    fn cut(&mut self, position: Position, keep_log: bool) {
        assert!(
            position.index >= self.base.index,
            "the base went back from {:?} to {position:?}",
            self.base
        );
        if keep_log {
            assert!(
                self.covers(position),
                "a log is kept that does not hold its new base {position:?}: {:?}..{:?}",
                self.base,
                self.last()
            );
            while self
                .entries
                .front()
                .is_some_and(|entry| entry.index <= position.index)
            {
                self.entries.pop_front();
            }
        } else {
            self.entries.clear();
        }
        self.base = position;
    }
}
