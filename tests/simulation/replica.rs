//! The replicated state machine that the simulated nodes feed: registers, and a hash of all that
//! was ever applied.

use bytes::Bytes;
use remember::consensus::{Entry, Index, Payload, Position, Term};

use super::digest::Digest;

/// The names of the registers that clients write.
pub(crate) const REGISTERS: u8 = 5;

/// What fills a command up to its length.
pub(crate) const PADDING: u8 = b'~';

/// What a client writes: a value that no other write has, into one register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Assignment {
    /// Which register.
    pub(crate) register: u8,
    /// The value.
    pub(crate) value: u64,
}

impl Assignment {
    /// As a command of `len` bytes, but at least as many as it takes.
    pub(crate) fn encode(self, len: usize) -> Bytes {
        let mut bytes = vec![self.register];
        bytes.extend_from_slice(&self.value.to_le_bytes());
        bytes.resize(len.max(bytes.len()), PADDING);
        Bytes::from(bytes)
    }

    /// Reads a command.
    pub(crate) fn decode(command: &[u8]) -> Self {
        let value = command[1..9].try_into().expect("eight bytes");
        Self {
            register: command[0],
            value: u64::from_le_bytes(value),
        }
    }
}

/// One node's copy of the state. Its clone is a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Replica {
    applied: Position,
    hash: u64,
    registers: [Option<u64>; REGISTERS as usize],
}

impl Replica {
    /// Applies the next entry, which must be the next.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        assert_eq!(
            entry.index,
            self.applied.index.next(),
            "an entry is applied out of turn"
        );
        if let Payload::Command(command) = &entry.payload {
            let Assignment { register, value } = Assignment::decode(command);
            self.registers[usize::from(register)] = Some(value);
        }
        self.hash = Digest::of(&(self.hash, entry));
        self.applied = entry.position();
    }

    /// The last applied entry.
    pub(crate) fn applied(&self) -> Position {
        self.applied
    }

    /// The last applied index.
    pub(crate) fn index(&self) -> Index {
        self.applied.index
    }

    /// Stands for everything that was applied, in order.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// What a register holds.
    pub(crate) fn read(&self, register: u8) -> Option<u64> {
        self.registers[usize::from(register)]
    }

    /// As the content of a snapshot.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Larger than one chunk of a snapshot file now and then.
        let padding = usize::try_from(self.hash % 3 * 1000).expect("small");
        let numbers = [self.applied.term.0, self.applied.index.0, self.hash];
        let registers = self
            .registers
            .iter()
            .flat_map(|value| [u64::from(value.is_some()), value.unwrap_or_default()]);
        let bytes = numbers
            .into_iter()
            .chain(registers)
            .flat_map(u64::to_le_bytes);
        bytes.chain(std::iter::repeat_n(PADDING, padding)).collect()
    }

    /// Reads the content of a snapshot.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut numbers = bytes
            .chunks_exact(8)
            .map(|number| u64::from_le_bytes(number.try_into().expect("eight bytes")));
        let mut number = || numbers.next().expect("a whole snapshot");
        let term = Term(number());
        let applied = Position {
            term,
            index: Index(number()),
        };
        let hash = number();
        let registers = std::array::from_fn(|_| {
            let (is_some, value) = (number(), number());
            (is_some == 1).then_some(value)
        });
        Self {
            applied,
            hash,
            registers,
        }
    }
}
