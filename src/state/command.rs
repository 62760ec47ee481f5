//! What clients replicate, and its bytes in the log.
//!
//! The first byte names the format; the rest is a protobuf message. Both are for ever: a log
//! written today is read by every later version.
//!
//! Replicas must agree on what a command means, so decoding is strict. A field that this version
//! does not know would be skipped by protobuf, and two versions would then do different things with
//! one entry; here it is an error. A new field therefore takes a new format byte, and a node that
//! does not know the byte stops instead of guessing ([`CommandError::Unsupported`]).

use bytes::Bytes;
use prost::Message;

use super::Revision;

/// The longest key, in bytes. The shortest has one byte.
pub const KEY_BYTES_MAX: usize = 1 << 10;

/// The longest value, in bytes. An empty value is a value.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The largest quota that can be set, in bytes: the whole state is in memory.
pub const QUOTA_BYTES_MAX: u64 = 16 << 30;

/// The format that this version writes and reads.
const FORMAT: u8 = 1;

/// One change that a client asks for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// Sets a key to a value.
    Put {
        /// 1 to [`KEY_BYTES_MAX`] bytes.
        key: Bytes,
        /// Up to [`VALUE_BYTES_MAX`] bytes.
        value: Bytes,
        /// What must hold beforehand.
        condition: Condition,
    },
    /// Removes a key.
    Delete {
        /// 1 to [`KEY_BYTES_MAX`] bytes.
        key: Bytes,
        /// What must hold beforehand.
        condition: Condition,
    },
    /// Changes the quota of the whole store, on every node at once (R21).
    SetQuota {
        /// The new quota, up to [`QUOTA_BYTES_MAX`] bytes. It may lie below what is used: then
        /// nothing grows until enough is deleted.
        bytes: u64,
    },
}

/// What must hold for a change to happen: the compare of compare-and-set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// The key's modification revision is this one; [`Revision::ABSENT`] means that the key must
    /// not exist.
    Modified(Revision),
}

impl Condition {
    /// The key must not exist.
    pub const ABSENT: Self = Self::Modified(Revision::ABSENT);

    /// Whether it holds for a key whose modification revision is `current`, or
    /// [`Revision::ABSENT`].
    pub fn holds(self, current: Revision) -> bool {
        match self {
            Self::Always => true,
            Self::Modified(expected) => expected == current,
        }
    }
}

/// Bytes that are no command, or a command that no store accepts.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// No bytes at all.
    #[error("an empty command; the first byte names its format")]
    Empty,
    /// The format of another version of this program.
    #[error(
        "a command of format {given}, this version knows {FORMAT} only; \
         run the newest version that is in the cluster"
    )]
    Unsupported {
        /// The first byte.
        given: u8,
    },
    /// Not a protobuf message of the expected shape.
    #[error("a command that cannot be decoded: {0}")]
    Encoding(#[from] prost::DecodeError),
    /// Decodable, but not as this version writes it: unknown or repeated fields, longer numbers
    /// than needed.
    #[error(
        "a command of {given} bytes whose meaning takes {needed}; fields are unknown to \
             this version, or repeated"
    )]
    NotCanonical {
        /// Its length.
        given: usize,
        /// The length of what was understood.
        needed: usize,
    },
    /// No action, or one of which this version knows nothing.
    #[error("a command without an action; put, delete or set the quota")]
    NoAction,
    /// A key without bytes.
    #[error("an empty key; a key has 1 to {KEY_BYTES_MAX} bytes")]
    EmptyKey,
    /// A key beyond [`KEY_BYTES_MAX`].
    #[error("a key of {bytes} bytes; a key has 1 to {KEY_BYTES_MAX} bytes")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A value beyond [`VALUE_BYTES_MAX`].
    #[error("a value of {bytes} bytes; a value has at most {VALUE_BYTES_MAX}")]
    ValueTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A quota beyond [`QUOTA_BYTES_MAX`].
    #[error("a quota of {bytes} bytes; at most {QUOTA_BYTES_MAX} can be set")]
    QuotaTooLarge {
        /// What was asked for.
        bytes: u64,
    },
}

impl Command {
    /// Its bytes for the log. They are never empty.
    ///
    /// A command that [`check`](Self::check) refuses can be encoded; no store will accept it.
    pub fn encode(&self) -> Bytes {
        Body::from(self.clone()).bytes()
    }

    /// Reads a command and checks its limits. Key and value share the memory of `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, CommandError> {
        let format = *bytes.first().ok_or(CommandError::Empty)?;
        if format != FORMAT {
            return Err(CommandError::Unsupported { given: format });
        }
        let given = bytes.len() - 1;
        let body = Body::decode(bytes.slice(1..))?;
        let needed = body.encoded_len();
        if needed != given {
            return Err(CommandError::NotCanonical { given, needed });
        }
        let command = Self::from(body.action.ok_or(CommandError::NoAction)?);
        command.check()?;
        Ok(command)
    }

    /// Says what is wrong with it, whatever the state of the store. To be asked before a command
    /// is proposed, so that the log holds no refused ones.
    pub fn check(&self) -> Result<(), CommandError> {
        match self {
            Self::Put { key, value, .. } => {
                check_key(key)?;
                match value.len() {
                    bytes if bytes > VALUE_BYTES_MAX => Err(CommandError::ValueTooLong { bytes }),
                    _ => Ok(()),
                }
            }
            Self::Delete { key, .. } => check_key(key),
            Self::SetQuota { bytes } if *bytes > QUOTA_BYTES_MAX => {
                Err(CommandError::QuotaTooLarge { bytes: *bytes })
            }
            Self::SetQuota { .. } => Ok(()),
        }
    }
}

fn check_key(key: &Bytes) -> Result<(), CommandError> {
    match key.len() {
        0 => Err(CommandError::EmptyKey),
        bytes if bytes > KEY_BYTES_MAX => Err(CommandError::KeyTooLong { bytes }),
        _ => Ok(()),
    }
}

/// A command in format 1. Tags 1 and 2 are kept free for the session and the sequence number that
/// will let a client repeat a command without repeating its effect (R20).
#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(oneof = "Action", tags = "3, 4, 5")]
    action: Option<Action>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Action {
    #[prost(message, tag = "3")]
    Put(Put),
    #[prost(message, tag = "4")]
    Delete(Delete),
    #[prost(message, tag = "5")]
    SetQuota(SetQuota),
}

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
    #[prost(uint64, optional, tag = "3")]
    modified: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Delete {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(uint64, optional, tag = "2")]
    modified: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct SetQuota {
    #[prost(uint64, tag = "1")]
    bytes: u64,
}

impl Body {
    #[expect(clippy::expect_used, reason = "a vector never runs out of room")]
    fn bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(1 + self.encoded_len());
        bytes.push(FORMAT);
        self.encode(&mut bytes).expect("a vector grows");
        bytes.into()
    }
}

impl From<Command> for Body {
    fn from(command: Command) -> Self {
        let action = match command {
            Command::Put {
                key,
                value,
                condition,
            } => Action::Put(Put {
                key,
                value,
                modified: condition.into(),
            }),
            Command::Delete { key, condition } => Action::Delete(Delete {
                key,
                modified: condition.into(),
            }),
            Command::SetQuota { bytes } => Action::SetQuota(SetQuota { bytes }),
        };
        Self {
            action: Some(action),
        }
    }
}

impl From<Action> for Command {
    fn from(action: Action) -> Self {
        match action {
            Action::Put(put) => Self::Put {
                key: put.key,
                value: put.value,
                condition: put.modified.into(),
            },
            Action::Delete(delete) => Self::Delete {
                key: delete.key,
                condition: delete.modified.into(),
            },
            Action::SetQuota(quota) => Self::SetQuota { bytes: quota.bytes },
        }
    }
}

impl From<Condition> for Option<u64> {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Always => None,
            Condition::Modified(revision) => Some(revision.0),
        }
    }
}

impl From<Option<u64>> for Condition {
    fn from(modified: Option<u64>) -> Self {
        modified.map_or(Self::Always, |revision| Self::Modified(Revision(revision)))
    }
}

#[cfg(test)]
#[path = "command_test.rs"]
mod tests;
