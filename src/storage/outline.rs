//! What the records of a log come to: the rules of its order, and the replay that obeys them.

use std::collections::BTreeMap;

use crate::consensus::{
    Boot, Entry, HardState, Index, MEMBERS_MAX, MemberId, PeerRecord, Position, REMOVED_MAX, Record,
};

/// More peers than any cluster has, before and after a change, and has removed of late; a log that
/// remembers more is not ours.
pub(super) const PEERS_MAX: usize = 2 * MEMBERS_MAX + REMOVED_MAX;

/// The state of a log without its entries: what every new segment begins with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Outline {
    /// The last term and vote.
    pub(super) hard_state: HardState,
    /// Where the log begins.
    pub(super) base: Position,
    /// The last of each peer.
    pub(super) peers: BTreeMap<MemberId, PeerRecord>,
    /// The index of the last entry. `None` before the first entry of a log whose beginning has
    /// been released.
    pub(super) last: Option<Index>,
}

impl Outline {
    /// A log that begins with its first entry.
    pub(super) fn from_start() -> Self {
        Self {
            last: Some(Index(0)),
            ..Self::default()
        }
    }

    /// Takes the next record in, or says which rule it breaks.
    pub(super) fn admit(&mut self, record: &Record) -> Result<(), &'static str> {
        match record {
            Record::HardState(new) => self.admit_hard_state(*new),
            Record::Entry(entry) => self.admit_entry(entry),
            Record::Base { position, keep_log } => self.admit_base(*position, *keep_log),
            Record::Peer(peer) => {
                if peer.boot == Boot::default() {
                    self.peers.remove(&peer.member);
                } else {
                    self.peers.insert(peer.member, *peer);
                }
                check(self.peers.len() <= PEERS_MAX, "too many peers")
            }
        }
    }

    /// Terms never go back, and a vote is never taken back (Raft 5.2).
    fn admit_hard_state(&mut self, new: HardState) -> Result<(), &'static str> {
        let old = self.hard_state;
        check(new.term >= old.term, "the term went back")?;
        check(
            new.term > old.term || old.vote.is_none() || new.vote == old.vote,
            "a vote was changed within its term",
        )?;
        self.hard_state = new;
        Ok(())
    }

    /// A term is durable before its entries, and the log has no gap.
    fn admit_entry(&mut self, entry: &Entry) -> Result<(), &'static str> {
        check(
            entry.term <= self.hard_state.term,
            "an entry of a term that is not durable",
        )?;
        check(
            entry.index > self.base.index,
            "an entry that a snapshot covers already",
        )?;
        check(
            self.last.is_none_or(|last| entry.index.0 - 1 <= last.0),
            "a gap between entries",
        )?;
        self.last = Some(entry.index);
        Ok(())
    }

    /// What is in a snapshot is committed, so the base never goes back.
    fn admit_base(&mut self, position: Position, keep_log: bool) -> Result<(), &'static str> {
        check(
            position.term <= self.hard_state.term,
            "a snapshot of a term that is not durable",
        )?;
        check(
            position.index > self.base.index || position == self.base,
            "the base went back",
        )?;
        if keep_log {
            check(
                self.last.is_none_or(|last| position.index <= last),
                "a base behind the end of the log",
            )?;
        } else {
            self.last = Some(position.index);
        }
        self.base = position;
        Ok(())
    }

    /// The records that say all this.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> + Clone + '_ {
        let hard_state = Record::HardState(self.hard_state);
        let base = Record::Base {
            position: self.base,
            keep_log: true,
        };
        [hard_state, base]
            .into_iter()
            .chain(self.peers.values().copied().map(Record::Peer))
    }
}

fn check(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// The log as its records bring it back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Replay {
    /// All but the entries.
    pub(super) outline: Outline,
    /// Consecutive, those at or below the base left out.
    pub(super) entries: Vec<Entry>,
}

impl Replay {
    /// Takes the next record in, or says which rule it breaks.
    pub(super) fn apply(&mut self, record: Record) -> Result<(), &'static str> {
        self.outline.admit(&record)?;
        match record {
            Record::Entry(entry) => {
                self.entries.truncate(self.place(entry.index));
                self.entries.push(entry);
            }
            Record::Base { position, keep_log } => {
                let held = self.holds(position);
                if keep_log {
                    check(held != Some(false), "a base that differs from the log")?;
                    let covered = self.place(Index(position.index.0.saturating_add(1)));
                    self.entries.drain(..covered);
                } else {
                    self.entries.clear();
                }
            }
            Record::HardState(_) | Record::Peer(_) => {}
        }
        Ok(())
    }

    /// Whether no record has said anything yet.
    pub(super) fn is_empty(&self) -> bool {
        *self
            == Self {
                outline: Outline::from_start(),
                entries: Vec::new(),
            }
    }

    /// Whether the entry at that index has that term; `None` if there is no entry.
    pub(super) fn holds(&self, position: Position) -> Option<bool> {
        let entry = self.entries.get(self.place(position.index))?;
        (entry.index == position.index).then_some(entry.term == position.term)
    }

    /// How many entries are below `index`.
    fn place(&self, index: Index) -> usize {
        self.entries.partition_point(|entry| entry.index < index)
    }

    /// The entries begin right behind the base.
    pub(super) fn check_whole(&self) -> Result<(), &'static str> {
        let first = self.entries.first().map(|entry| entry.index.0 - 1);
        check(
            first.is_none_or(|before| before == self.outline.base.index.0),
            "the entries behind the newest snapshot are missing",
        )
    }
}
