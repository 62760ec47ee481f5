//! A simple disk: a durable part, and a queue of writes that are not durable yet.
//!
//! Writes become durable in order, each whole. What a crash leaves is a prefix of them. Torn writes
//! and rotten sectors are the simulation's, over the real log.

use std::collections::{BTreeMap, VecDeque};

use remember::consensus::{
    Boot, Boots, Entry, HardState, Incarnation, Index, IoSeq, MemberId, Membership, NodeId,
    PeerRecord, Position, Record, Recovered,
};

use super::machine::Machine;

/// One disk of one node.
#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) durable: Durable,
    /// What was asked for and is not durable, in order.
    queue: VecDeque<(IoSeq, Work)>,
    /// The place that the next write must have in the stream.
    next: IoSeq,
    /// Whether writes complete only by `write-done`.
    pub(crate) manual: bool,
    /// Whether there is no room for another write.
    pub(crate) full: bool,
}

/// What survives every crash.
#[derive(Clone)]
pub(crate) struct Durable {
    pub(crate) incarnation: Incarnation,
    /// None before the first start.
    pub(crate) boots: Option<Boots>,
    /// None on a fresh disk.
    pub(crate) membership: Option<Membership>,
    pub(crate) hard_state: HardState,
    pub(crate) base: Position,
    /// Consecutive, from right behind `base`.
    pub(crate) entries: Vec<Entry>,
    pub(crate) peers: BTreeMap<MemberId, PeerRecord>,
    /// What the cluster said when it turned this disk away; it never starts again (R15).
    pub(crate) quarantined: Option<String>,
    /// Published snapshots by what they cover.
    pub(crate) snapshots: BTreeMap<Position, Machine>,
}

/// One thing to make durable.
#[derive(Clone)]
pub(crate) enum Work {
    Write(Vec<Record>),
    /// Publish a snapshot, then write its base record.
    Install {
        position: Position,
        keep_log: bool,
        machine: Machine,
    },
}

impl Disk {
    /// A fresh disk.
    pub(crate) fn fresh(incarnation: Incarnation) -> Self {
        Self {
            durable: Durable {
                incarnation,
                boots: None,
                membership: None,
                hard_state: HardState::default(),
                base: Position::START,
                entries: Vec::new(),
                peers: BTreeMap::new(),
                quarantined: None,
                snapshots: BTreeMap::from([(Position::START, Machine::default())]),
            },
            queue: VecDeque::new(),
            next: IoSeq(1),
            manual: false,
            full: false,
        }
    }

    /// Starts the node once more: raises the boot number and says what is there (R15). `nonce` must
    /// be another one at each start, whatever copy of the disk it is.
    pub(crate) fn recover(&mut self, id: NodeId, nonce: u32) -> Result<Recovered, String> {
        let durable = &mut self.durable;
        let boots = match &durable.boots {
            Some(before) => before.next(nonce).ok_or("it was started too often")?,
            None => Boots::first(nonce),
        };
        durable.boots = Some(boots.clone());
        Ok(Recovered {
            member: MemberId {
                id,
                incarnation: durable.incarnation,
            },
            boots,
            membership: durable
                .membership
                .clone()
                .ok_or("the disk is fresh: only `found` can start this node")?,
            hard_state: durable.hard_state,
            base: durable.base,
            configuration: (durable.snapshots.get(&durable.base)).and_then(Machine::configuration),
            entries: durable.entries.clone(),
            peers: durable.peers.values().copied().collect(),
        })
    }

    /// Forgets what is not durable.
    pub(crate) fn lose_pending(&mut self) {
        self.queue.clear();
    }

    /// The state machine as of `base`.
    pub(crate) fn machine(&self) -> Result<Machine, String> {
        let base = self.durable.base;
        let snapshot = self.durable.snapshots.get(&base);
        snapshot
            .cloned()
            .ok_or_else(|| format!("no published snapshot covers the base {base:?}"))
    }

    /// Takes work into the stream. The first write of a boot sets where the stream begins.
    pub(crate) fn queue(&mut self, seq: IoSeq, work: Work, first: bool) -> Result<(), String> {
        if !first && seq != self.next {
            return Err(format!("write {seq:?} came where {:?} was due", self.next));
        }
        self.next = seq.next();
        self.queue.push_back((seq, work));
        Ok(())
    }

    /// Everything queued, the oldest first.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &(IoSeq, Work)> {
        self.queue.iter()
    }

    /// The newest place in the stream that may become durable by itself.
    pub(crate) fn ready(&self) -> Option<IoSeq> {
        let &(seq, _) = self.queue.back()?;
        (!self.manual && !self.full).then_some(seq)
    }

    /// Makes the oldest queued work durable and says which it was.
    pub(crate) fn complete_next(&mut self) -> Result<Option<IoSeq>, String> {
        let Some((seq, work)) = self.queue.pop_front() else {
            return Ok(None);
        };
        match work {
            Work::Write(records) => {
                if records.is_empty() {
                    return Err(format!("write {seq:?} is empty"));
                }
                for record in records {
                    self.durable.record(record)?;
                }
            }
            Work::Install {
                position,
                keep_log,
                machine,
            } => {
                self.durable.snapshots.insert(position, machine);
                self.durable.record(Record::Base { position, keep_log })?;
            }
        }
        Ok(Some(seq))
    }
}

impl Durable {
    /// The end of the durable log.
    pub(crate) fn last(&self) -> Position {
        self.entries.last().map_or(self.base, Entry::position)
    }

    /// The term of the durable entry at `index`; none if it is not there or compacted.
    pub(crate) fn term_at(&self, index: Index) -> Option<Position> {
        if index == self.base.index {
            return Some(self.base);
        }
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        let entry = self.entries.get(usize::try_from(offset).ok()?)?;
        Some(entry.position())
    }

    /// Whether this disk holds the entry at `position`, in its log or in a snapshot.
    pub(crate) fn holds(&self, position: Position) -> bool {
        position.index < self.base.index || self.term_at(position.index) == Some(position)
    }

    /// Makes one record durable, and complains about one that breaks the log.
    pub(crate) fn record(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::HardState(state) => {
                let before = self.hard_state;
                let revoted =
                    state.term == before.term && before.vote.is_some() && before.vote != state.vote;
                if state.term < before.term || revoted {
                    return Err(format!("{state:?} must not replace {before:?}"));
                }
                self.hard_state = state;
            }
            Record::Entry(entry) => self.append(entry)?,
            Record::Base { position, keep_log } => self.rebase(position, keep_log)?,
            Record::Peer(peer) => {
                if peer.boot == Boot::default() {
                    self.peers.remove(&peer.member);
                } else {
                    self.peers.insert(peer.member, peer);
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, entry: Entry) -> Result<(), String> {
        if entry.term > self.hard_state.term {
            return Err(format!(
                "entry {:?} is on disk before its term is",
                entry.position()
            ));
        }
        let last = self.last().index;
        if entry.index <= self.base.index || entry.index > last.next() {
            let (position, base) = (entry.position(), self.base);
            return Err(format!(
                "{position:?} leaves a hole: log {base:?}..{last:?}"
            ));
        }
        let keep = usize::try_from(entry.index.0 - self.base.index.0 - 1).unwrap_or(usize::MAX);
        self.entries.truncate(keep);
        self.entries.push(entry);
        Ok(())
    }

    fn rebase(&mut self, position: Position, keep_log: bool) -> Result<(), String> {
        if !self.snapshots.contains_key(&position) {
            return Err(format!("base {position:?} has no published snapshot"));
        }
        if position.index < self.base.index {
            return Err(format!("base {position:?} is behind {:?}", self.base));
        }
        if keep_log && !self.holds(position) {
            return Err(format!("base {position:?} keeps a log it does not fit"));
        }
        self.entries
            .retain(|entry| keep_log && entry.index > position.index);
        self.base = position;
        Ok(())
    }
}
