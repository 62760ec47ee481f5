//! What a log should say, folded in the plainest way, and streams of records to feed it with.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::Bytes;
use remember::consensus::{
    Boot, ClusterId, Configuration, Entry, Epoch, HardState, Incarnation, Index, MemberId,
    Membership, NodeId, Payload, PeerRecord, Placed, Position, Record, Recovered, Seat, Term,
};
use remember::storage::{DataDir, Disk, Error, Opened, WalConfig};

pub(crate) const ID: NodeId = NodeId(1);
pub(crate) const INCARNATION: Incarnation = Incarnation(0xfeed);
/// As small as segments get, so that a short test fills many.
pub(crate) const CONFIG: WalConfig = WalConfig {
    segment_bytes: 16 << 10,
};

pub(crate) fn membership() -> Membership {
    membership_of([(ID, INCARNATION), (NodeId(2), Incarnation(2))])
}

pub(crate) fn membership_of(voters: impl IntoIterator<Item = (NodeId, Incarnation)>) -> Membership {
    let voters = voters.into_iter();
    let voters = voters.map(|(id, incarnation)| MemberId { id, incarnation });
    Membership::founding(ClusterId(7), Epoch::FIRST, voters)
}

/// The configuration that it begins with.
pub(crate) fn founding() -> Placed {
    membership().settled
}

/// Starts a node on `disk`, for the first time or again.
pub(crate) fn start<D: Disk>(disk: &D) -> Result<Opened<D>, Error> {
    let mut directory = DataDir::open(disk.clone(), ID, INCARNATION)?;
    directory.found(membership(), CONFIG)?;
    directory.recover(CONFIG)
}

pub(crate) fn at(term: u64, index: u64) -> Position {
    Position {
        term: Term(term),
        index: Index(index),
    }
}

pub(crate) fn vote(term: u64, id: u64) -> Record {
    Record::HardState(HardState {
        term: Term(term),
        vote: (id > 0).then(|| member(id)),
    })
}

pub(crate) fn entry(term: u64, index: u64, command: &[u8]) -> Record {
    Record::Entry(Entry {
        term: Term(term),
        index: Index(index),
        payload: if command.is_empty() {
            Payload::Noop
        } else {
            Payload::Command(Bytes::copy_from_slice(command))
        },
    })
}

/// Node 2 gives way to node 3, and node 4 learns.
pub(crate) fn change(term: u64, index: u64) -> Record {
    let seat = |id, votes, outgoing| {
        let since = if votes {
            Position::START
        } else {
            at(term, index)
        };
        let seat = Seat {
            since,
            votes,
            outgoing,
        };
        (member(id), seat)
    };
    let seats = [
        seat(1, true, true),
        seat(2, false, true),
        seat(3, true, false),
        seat(4, false, false),
    ];
    let configuration = Configuration::new(seats.into()).unwrap();
    // Either is written, by turns.
    let register = Some(Index(index)).filter(|_| index % 2 == 1);
    Record::Entry(Entry {
        term: Term(term),
        index: Index(index),
        payload: Payload::Configuration(configuration.with_register(register)),
    })
}

pub(crate) fn base(term: u64, index: u64, keep_log: bool) -> Record {
    Record::Base {
        position: at(term, index),
        keep_log,
    }
}

pub(crate) fn peer(id: u64, boot: u64) -> Record {
    Record::Peer(PeerRecord {
        member: member(id),
        boot: Boot(boot),
    })
}

fn member(id: u64) -> MemberId {
    MemberId {
        id: NodeId(id),
        incarnation: Incarnation(id * 100),
    }
}

/// What a stream of records comes to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Model {
    pub(crate) hard_state: HardState,
    pub(crate) base: Position,
    pub(crate) log: BTreeMap<Index, Entry>,
    pub(crate) peers: BTreeMap<MemberId, PeerRecord>,
}

impl Model {
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::HardState(hard_state) => self.hard_state = *hard_state,
            Record::Entry(entry) => {
                self.log.split_off(&entry.index);
                self.log.insert(entry.index, entry.clone());
            }
            Record::Base { position, keep_log } => {
                self.base = *position;
                self.log = self.log.split_off(&position.index.next());
                if !keep_log {
                    self.log.clear();
                }
            }
            Record::Peer(peer) => {
                if peer.boot == Boot::default() {
                    self.peers.remove(&peer.member);
                } else {
                    self.peers.insert(peer.member, *peer);
                }
            }
        }
    }

    pub(crate) fn of(records: &[Record]) -> Self {
        let mut model = Self::default();
        for record in records {
            model.apply(record);
        }
        model
    }

    pub(crate) fn last(&self) -> Index {
        (self.log.last_key_value()).map_or(self.base.index, |(index, _)| *index)
    }

    pub(crate) fn term_at(&self, index: Index) -> Term {
        self.log.get(&index).map_or(self.base.term, |e| e.term)
    }
}

impl From<&Recovered> for Model {
    fn from(recovered: &Recovered) -> Self {
        let mut next = recovered.base.index.next();
        for entry in &recovered.entries {
            assert_eq!(entry.index, next, "recovered entries are consecutive");
            assert!(entry.term <= recovered.hard_state.term);
            next = next.next();
        }
        Self {
            hard_state: recovered.hard_state,
            base: recovered.base,
            log: (recovered.entries.iter().cloned())
                .map(|entry| (entry.index, entry))
                .collect(),
            peers: recovered.peers.iter().map(|p| (p.member, *p)).collect(),
        }
    }
}

/// Random numbers from a seed.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        z ^ (z >> 32)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// The next record that a correct node might write after what `model` knows; no base.
pub(crate) fn any_record(model: &Model, random: &mut Random) -> Record {
    let HardState { term, vote: voted } = model.hard_state;
    let last = model.last().0;
    match random.below(20) {
        _ if term.0 == 0 => vote(1, 0),
        0 => vote(term.0 + 1 + random.below(2), random.below(3)),
        1 if voted.is_none() => vote(term.0, 2),
        2 => peer(2 + random.below(3), random.below(100)),
        3 if last > model.base.index.0 => {
            let length = last - model.base.index.0;
            let index = last - random.below(length.min(4));
            entry(term.0, index, b"another")
        }
        4 if random.below(2) == 0 => change(term.0, last + 1),
        4 => entry(term.0, last + 1, b""),
        5 => entry(term.0, last + 1, &vec![0; 2000]),
        6 => {
            let length = 1 + random.below(6000);
            entry(term.0, last + 1, &random.bytes(length))
        }
        _ => {
            let length = 1 + random.below(300);
            entry(term.0, last + 1, &random.bytes(length))
        }
    }
}

/// A stream of records that a correct node might write; no base.
pub(crate) fn any_records(count: usize, random: &mut Random) -> Vec<Record> {
    let mut model = Model::default();
    (0..count)
        .map(|_| {
            let record = any_record(&model, random);
            model.apply(&record);
            record
        })
        .collect()
}

/// Publishes a snapshot of some state at `position`.
pub(crate) fn publish<D: Disk>(opened: &Opened<D>, position: Position) -> Result<(), Error> {
    let mut writer = opened.snapshots.write(position, &founding())?;
    writer
        .write_all(&state_at(position))
        .map_err(|source| Error::Io {
            action: "write",
            file: "a snapshot".to_owned(),
            source,
        })?;
    writer.finish().map(|_| ())
}

/// The state that [`publish`] writes.
pub(crate) fn state_at(position: Position) -> Vec<u8> {
    Random(position.index.0 << 20 | position.term.0).bytes(1500)
}
