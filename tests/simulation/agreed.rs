//! What one cluster has agreed on: its log as far as everybody may rely on it, the configurations
//! in it, and what state it comes to.

use std::collections::BTreeMap;

use remember::consensus::{Entry, Index, MemberId, Payload, Placed, Position, Term};

use super::digest::Digest;
use super::image::Image;

/// What a cluster has agreed on.
#[derive(Default)]
pub(crate) struct Agreed {
    /// All configurations that were ever agreed on, the founding one first.
    settled: Vec<Placed>,
    /// How many of them are of clusters before this one.
    inherited: usize,
    /// The entries, by index from 1.
    entries: Vec<Committed>,
    /// How far each term's leader committed.
    reached: BTreeMap<Term, Index>,
    /// The hash of the state by index from 1.
    hashes: Vec<Option<u64>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Committed {
    term: Term,
    digest: u64,
}

impl Agreed {
    /// What a cluster has agreed on that begins anew with a log which ends with who belongs to it:
    /// all that is in that log, agreed on before or not (R14).
    pub(crate) fn anew(&self, log: &Image, founding: &Placed) -> Self {
        let begun = founding.0;
        let kept = place(log.base.index.next());
        let mut entries = self.entries[..kept].to_vec();
        entries.extend(log.entries.iter().map(Committed::of));
        let is_same = |(mine, theirs): &(&Committed, &Committed)| mine == theirs;
        let same = (self.entries.iter().zip(&entries)).take_while(is_same);
        let same = same.count().min(self.hashes.len());
        // Whoever was welcomed keeps a configuration that may lie beyond its log.
        let mut settled = self.settled.clone();
        let inherited = settled.len();
        settled.push(founding.clone());
        Self {
            settled,
            inherited,
            entries,
            reached: BTreeMap::from([(begun.term, begun.index)]),
            hashes: self.hashes[..same].to_vec(),
        }
    }

    /// How far it goes.
    pub(crate) fn end(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    /// The term of the entry at `index`.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        let place = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.entries.get(place).map(|entry| entry.term)
    }

    /// Where the cluster is founded, its first configuration is agreed on.
    pub(crate) fn found(&mut self, configuration: &Placed) {
        if self.settled.is_empty() {
            self.settled.push(configuration.clone());
        }
    }

    /// Adds the next entry, which the leader of `term` has agreed on.
    pub(crate) fn add(&mut self, entry: &Entry, term: Term) {
        if let Payload::Configuration(next) = &entry.payload {
            self.settled.push((entry.position(), next.clone()));
        }
        self.entries.push(Committed::of(entry));
        self.reached.insert(term, entry.index);
    }

    /// Whether this entry is the one at its index.
    pub(crate) fn is_there(&self, entry: &Entry) -> bool {
        self.entries[self.place(entry.index)] == Committed::of(entry)
    }

    /// The last that leaders of terms before this one agreed on.
    pub(crate) fn before(&self, term: Term) -> Option<Position> {
        let reached = self.reached.range(..term).map(|(_, index)| *index);
        let index = reached.max()?;
        let term = self.term_at(index).expect("it is agreed");
        Some(Position { term, index })
    }

    /// The newest configuration.
    pub(crate) fn configuration(&self) -> &Placed {
        self.settled.last().expect("a founded cluster")
    }

    /// The newest one up to `index`.
    pub(crate) fn configuration_at(&self, index: Index) -> &Placed {
        let until = |placed: &&Placed| placed.0.index <= index;
        self.settled.iter().rfind(until).expect("a founded cluster")
    }

    /// All those of this cluster that name this member, the oldest first.
    pub(crate) fn configurations_naming(&self, member: MemberId) -> Vec<Placed> {
        let naming = |placed: &&Placed| placed.1.names(member);
        let own = self.settled[self.inherited..].iter();
        own.filter(naming).cloned().collect()
    }

    /// Whether this configuration was ever agreed on.
    pub(crate) fn has_settled(&self, placed: &Placed) -> bool {
        self.settled.contains(placed)
    }

    /// The hash of the state at `index`: the first that anybody told.
    pub(crate) fn hash_at(&mut self, index: Index, told: u64) -> u64 {
        let place = self.place(index);
        if self.hashes.len() <= place {
            self.hashes.resize(place + 1, None);
        }
        *self.hashes[place].get_or_insert(told)
    }

    fn place(&self, index: Index) -> usize {
        assert!(
            index >= Index(1) && index <= self.end(),
            "{index:?} is not agreed"
        );
        place(index)
    }
}

impl Committed {
    fn of(entry: &Entry) -> Self {
        Self {
            term: entry.term,
            digest: Digest::of(entry),
        }
    }
}

fn place(index: Index) -> usize {
    usize::try_from(index.0 - 1).expect("a short log")
}
