//! The first bytes of both directions of a connection: our protocol, and which versions of it.
//!
//! ```text
//!   offset  size  what                                    (all numbers little-endian)
//!        0     8  "remember"
//!        8     2  the lowest wire version spoken
//!       10     2  the highest wire version spoken
//!       12     4  CRC32C of the twelve bytes before
//! ```
//!
//! The two then speak the highest version that both know.

use std::fmt;

use bytes::{BufMut, BytesMut};

/// What every connection between nodes begins with.
pub const MAGIC: [u8; 8] = *b"remember";
/// The size of the preamble, in bytes.
pub const PREAMBLE_BYTES: usize = 16;

/// A range of wire versions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Versions {
    /// The lowest; not 0.
    pub min: u16,
    /// The highest; not below `min`.
    pub max: u16,
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

/// Why a connection cannot become a link between nodes of one protocol.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PreambleError {
    /// Not our protocol.
    #[error(
        "the other side does not speak the protocol between nodes: its first bytes are {}, {}",
        .0.escape_ascii(), hint(.0)
    )]
    Magic(Vec<u8>),
    /// Our protocol, damaged on its way.
    #[error(
        "the preamble has checksum {found:08x}, {computed:08x} is right; the stream is damaged"
    )]
    Checksum {
        /// The checksum that came.
        found: u32,
        /// The checksum of what came.
        computed: u32,
    },
    /// A range that is none.
    #[error("the preamble offers wire versions {} to {}, which is not a range", .0.min, .0.max)]
    Range(Versions),
    /// No common version.
    #[error(
        "the other side speaks wire version {theirs}, this node {ours}, and they share none; \
         upgrade the older of the two one release at a time"
    )]
    Version {
        /// What this node speaks.
        ours: Versions,
        /// What the other side speaks.
        theirs: Versions,
    },
}

/// What a stranger's first bytes suggest.
fn hint(first: &[u8]) -> &'static str {
    match first {
        [0x15 | 0x16, 0x03, ..] => "which is TLS; switch it on, or off, on both sides",
        [b'A'..=b'Z', b'A'..=b'Z', ..] => "which looks like HTTP; is this the port for peers?",
        _ => "where \"remember\" was due",
    }
}

impl Versions {
    /// What this build speaks.
    pub const OURS: Self = Self { min: 1, max: 1 };

    /// The highest version that both ranges hold.
    pub fn common(self, theirs: Self) -> Result<u16, PreambleError> {
        let highest = self.max.min(theirs.max);
        if highest < self.min.max(theirs.min) {
            return Err(PreambleError::Version { ours: self, theirs });
        }
        Ok(highest)
    }

    /// Appends the preamble that offers these versions.
    pub fn append(self, out: &mut BytesMut) {
        let mut sealed = [0; 12];
        let mut fields = &mut sealed[..];
        fields.put_slice(&MAGIC);
        fields.put_u16_le(self.min);
        fields.put_u16_le(self.max);
        out.put_slice(&sealed);
        out.put_u32_le(crc32c::crc32c(&sealed));
    }

    /// Reads the preamble that `bytes` begin with; `None` while it is not whole. A stranger is
    /// found at its first wrong byte.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, PreambleError> {
        if bytes.iter().zip(&MAGIC).any(|(found, due)| found != due) {
            let first = bytes.iter().copied().take(MAGIC.len()).collect();
            return Err(PreambleError::Magic(first));
        }
        let Some(preamble) = bytes.first_chunk::<PREAMBLE_BYTES>() else {
            return Ok(None);
        };
        let [.., min0, min1, max0, max1, c0, c1, c2, c3] = *preamble;
        let found = u32::from_le_bytes([c0, c1, c2, c3]);
        let computed = crc32c::crc32c(&preamble[..12]);
        if found != computed {
            return Err(PreambleError::Checksum { found, computed });
        }
        let theirs = Self {
            min: u16::from_le_bytes([min0, min1]),
            max: u16::from_le_bytes([max0, max1]),
        };
        if theirs.min == 0 || theirs.min > theirs.max {
            return Err(PreambleError::Range(theirs));
        }
        Ok(Some(theirs))
    }
}
