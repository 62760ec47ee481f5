//! The replicated state machine of a simulated node: the real store, used as a set of registers.

use bytes::Bytes;
use remember::consensus::{Entry, Index, Position};
use remember::state::{Command, Condition, HistoryLimits, Outcome, Store, View};

/// How many registers clients write.
pub(crate) const REGISTERS: u64 = 5;

/// What fills a command up to its length.
pub(crate) const PADDING: u8 = b'~';

/// What a client writes: a value that no other write has, into one register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Assignment {
    /// Which register.
    pub(crate) register: u64,
    /// The value.
    pub(crate) value: u64,
}

impl Assignment {
    /// As a command with `padding` bytes of nothing.
    pub(crate) fn encode(self, padding: usize) -> Bytes {
        let mut value = self.value.to_le_bytes().to_vec();
        value.resize(value.len() + padding, PADDING);
        let key = Bytes::copy_from_slice(&key(self.register));
        Command::Put {
            key,
            value: value.into(),
            condition: Condition::Always,
        }
        .encode()
    }

    /// Reads a command.
    pub(crate) fn decode(command: &Bytes) -> Self {
        let command = Command::decode(command).expect("a command that a client wrote");
        let Command::Put { key, value, .. } = command else {
            panic!("clients only put, and this is {command:?}");
        };
        Self {
            register: number(&key[1..]),
            value: number(&value),
        }
    }
}

/// One node's copy of the state.
#[derive(Debug)]
pub(crate) struct Replica {
    store: Store,
}

impl Replica {
    /// A state machine that goes on from a snapshot.
    pub(crate) fn resume(view: View) -> Self {
        let limits = HistoryLimits {
            events: 4,
            bytes: 1000,
        };
        Self {
            store: Store::resume(view, limits),
        }
    }

    /// Applies the next entry.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        let outcome = self.store.apply(entry.position(), &entry.payload);
        assert!(
            matches!(outcome, Outcome::Noop | Outcome::Put { .. }),
            "a put that always holds comes to {outcome:?}"
        );
    }

    /// Takes over a snapshot.
    pub(crate) fn replace(&mut self, view: View) {
        drop(self.store.replace(view));
    }

    /// The state, frozen.
    pub(crate) fn view(&self) -> &View {
        self.store.view()
    }

    /// The last applied entry.
    pub(crate) fn applied(&self) -> Position {
        self.view().position()
    }

    /// The last applied index.
    pub(crate) fn index(&self) -> Index {
        self.applied().index
    }

    /// What a register holds.
    pub(crate) fn read(&self, register: u64) -> Option<u64> {
        self.view()
            .find(&key(register))
            .map(|record| number(&record.value))
    }
}

fn key(register: u64) -> [u8; 9] {
    let mut key = [b'r'; 9];
    key[1..].copy_from_slice(&register.to_le_bytes());
    key
}

/// The number at the beginning of `bytes`.
fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}
