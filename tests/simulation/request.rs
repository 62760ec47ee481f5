//! What clients ask of the registers, and what they must be answered, worked out in the plainest
//! way and without the code under test.

use std::collections::BTreeMap;

use bytes::Bytes;
use remember::consensus::Index;
use remember::state::{Command, Condition, Outcome, Revision};

/// What fills a command up to its length.
pub(crate) const PADDING: u8 = b'~';

/// What a register is known to hold: a value that no other write has, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Content {
    /// The value.
    pub(crate) value: Option<u64>,
    /// The revision of the change that made it; [`Revision::ABSENT`] if there is no value.
    pub(crate) revision: Revision,
}

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// A change of a register.
    Change(Change),
    /// A linearizable read of a register.
    Read(u64),
    /// A linearizable read of all registers.
    List,
}

/// A put, a delete, or a compare-and-set to a value or to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    /// Of which register.
    pub(crate) register: u64,
    /// To a value that no other change has, or to nothing.
    pub(crate) then: Option<u64>,
    /// Only if the register still holds this.
    pub(crate) only_if: Option<Content>,
}

impl Change {
    /// As a command; a value is followed by `padding` bytes of nothing.
    pub(crate) fn encode(self, padding: usize) -> Bytes {
        let key = Bytes::copy_from_slice(&key(self.register));
        let condition = self.only_if.map_or(Condition::Always, |content| {
            Condition::Modified(content.revision)
        });
        let command = match self.then {
            Some(value) => {
                let mut value = value.to_le_bytes().to_vec();
                value.resize(value.len() + padding, PADDING);
                let value = value.into();
                Command::Put {
                    key,
                    value,
                    condition,
                }
            }
            None => Command::Delete { key, condition },
        };
        command.encode()
    }
}

/// The registers as the agreed log makes them, at every index.
#[derive(Default)]
pub(crate) struct Registers {
    revision: Revision,
    /// Each register's contents, and since when.
    contents: BTreeMap<u64, Vec<(Index, Content)>>,
    /// What each revision wrote.
    written: BTreeMap<Revision, Option<u64>>,
}

impl Registers {
    /// Registers that nothing was ever written to.
    pub(crate) fn new() -> Self {
        Self {
            revision: Revision::START,
            ..Self::default()
        }
    }

    /// The agreed entry at `index` is this command. Says what its client must be told, and which
    /// value it is about to write, whether or not it does.
    pub(crate) fn apply(&mut self, index: Index, command: &Bytes) -> (Outcome, Option<u64>) {
        let command = Command::decode(command).expect("a command that a client wrote");
        let (key, then, condition) = match command {
            Command::Put {
                key,
                value,
                condition,
            } => (key, Some(number(&value)), condition),
            Command::Delete { key, condition } => (key, None, condition),
            Command::SetQuota { .. } => panic!("clients leave the quota alone"),
        };
        let register = register(&key);
        let before = self.at(register, index);
        let current = before.revision;
        let outcome = match (condition, then, before.value) {
            (Condition::Modified(revision), _, _) if revision != current => {
                Outcome::CompareFailed { current }
            }
            (_, None, None) => Outcome::NotFound,
            (_, None, Some(_)) => {
                let revision = self.change(register, index, None);
                Outcome::Deleted { revision }
            }
            (_, Some(value), before) => {
                let revision = self.change(register, index, Some(value));
                let created = before.is_none();
                Outcome::Put { revision, created }
            }
        };
        (outcome, then)
    }

    fn change(&mut self, register: u64, index: Index, value: Option<u64>) -> Revision {
        self.revision = self.revision.next();
        self.written.insert(self.revision, value);
        let revision = match value {
            Some(_) => self.revision,
            None => Revision::ABSENT,
        };
        let contents = self.contents.entry(register).or_default();
        contents.push((index, Content { value, revision }));
        self.revision
    }

    /// What a register holds once the entry at `index` is applied.
    pub(crate) fn at(&self, register: u64, index: Index) -> Content {
        let contents = self.contents.get(&register).map_or(&[][..], Vec::as_slice);
        let behind = contents.partition_point(|(since, _)| *since <= index);
        match behind.checked_sub(1) {
            Some(place) => contents[place].1,
            None => Content::default(),
        }
    }

    /// All registers that hold something once the entry at `index` is applied.
    pub(crate) fn all_at(&self, index: Index) -> BTreeMap<u64, Content> {
        let registers = self.contents.keys();
        let all = registers.map(|register| (*register, self.at(*register, index)));
        all.filter(|(_, content)| content.value.is_some()).collect()
    }

    /// What was written by the change of that revision.
    pub(crate) fn written_at(&self, revision: Revision) -> Option<u64> {
        self.written.get(&revision).copied().flatten()
    }
}

/// The key of a register.
pub(crate) fn key(register: u64) -> [u8; 9] {
    let mut key = [b'r'; 9];
    key[1..].copy_from_slice(&register.to_be_bytes());
    key
}

/// The register of a key.
pub(crate) fn register(key: &[u8]) -> u64 {
    u64::from_be_bytes(key[1..].try_into().expect("nine bytes"))
}

/// The number at the beginning of a value.
pub(crate) fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().expect("eight bytes"))
}
