//! Every bound on what a peer may say, in one place, and whether a node's settings fit in.
//!
//! They belong to the wire version: a node that allowed more would be refused by its peers.

use crate::consensus::{Config, Entry};

pub use crate::consensus::{MEMBERS_MAX, NODE_ID_MAX};
/// The largest log index; far below the end of the integer, so that adding to one is safe.
pub const INDEX_MAX: u64 = 1 << 62;
/// The most entries of an append.
pub const ENTRIES_MAX: usize = 16_384;
/// The most commands of a forward.
pub const COMMANDS_MAX: usize = 16_384;
/// The largest command, in bytes.
pub const COMMAND_BYTES_MAX: usize = 2 << 20;
/// The largest body of an append or a forward, in bytes.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// The largest append size limit of a core, in bytes as [`Entry::size_bytes`] counts them: so
/// many that entries without commands stay within [`ENTRIES_MAX`].
pub const APPEND_BYTES_MAX: usize = Entry::OVERHEAD_BYTES * (ENTRIES_MAX - 1);
/// The most snapshot bytes in one chunk.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// The longest host name, in bytes (that of the DNS).
pub const HOST_BYTES_MAX: usize = 253;
/// The longest sentence of a refusal, in bytes.
pub const SENTENCE_BYTES_MAX: usize = 1024;
/// The longest verdict, in bytes: one that welcomes a member tells where all others are reached.
pub const WELCOME_BYTES_MAX: usize = 48 << 10;
/// How much a decoder reads at a time while peers introduce themselves, in bytes.
pub const HANDSHAKE_READ_BYTES: usize = 4 << 10;
/// How much a decoder reads at a time from a link that is up, in bytes.
pub const LINK_READ_BYTES: usize = 64 << 10;
/// How much room a decoder keeps at most once a large frame is gone, in bytes.
pub const KEPT_BYTES_MAX: usize = 512 << 10;

/// What an entry costs at most in a body beside its command, in bytes: two keys and numbers, and
/// the keys and lengths of the command and of the whole.
const ENTRY_OVERHEAD_BYTES: usize = 10 + 10 + 5 + 5;

const _: () = assert!(
    ENTRIES_MAX * ENTRY_OVERHEAD_BYTES + APPEND_BYTES_MAX + COMMAND_BYTES_MAX < BATCH_BYTES_MAX,
    "every append that a core may make fits in a frame"
);

/// What a member costs at most in a welcome, in bytes: its seat, its id, and two addresses.
const WELCOMED_BYTES: usize = 96 + 2 * (HOST_BYTES_MAX + 16);

const _: () = assert!(
    MEMBERS_MAX * WELCOMED_BYTES + SENTENCE_BYTES_MAX < WELCOME_BYTES_MAX,
    "every welcome fits in a frame"
);

/// A consensus setting that the wire cannot carry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the {setting} is {given}, but peers take at most {most}; lower it")]
pub struct LimitError {
    /// The setting.
    pub setting: &'static str,
    /// Its value, in bytes.
    pub given: usize,
    /// The largest value that fits, in bytes.
    pub most: usize,
}

/// Says whether everything that a core with these settings may send fits on the wire.
pub fn check(config: &Config) -> Result<(), LimitError> {
    let settings = [
        (
            "command size limit",
            config.command_bytes_max,
            COMMAND_BYTES_MAX,
        ),
        (
            "append size limit",
            config.append_bytes_max,
            APPEND_BYTES_MAX,
        ),
    ];
    match settings.into_iter().find(|(_, given, most)| given > most) {
        Some((setting, given, most)) => Err(LimitError {
            setting,
            given,
            most,
        }),
        None => Ok(()),
    }
}
