//! The bytes of a snapshot, made from its state while that is written.

use std::io::{self, Write};

use super::snapshot::{
    CHUNK_BYTES_MAX, CHUNK_HEADER_BYTES, StateSum, encode_end, encode_header, seal_chunk,
};
use crate::consensus::{Placed, Position};

/// Turns the state that is written into it into a snapshot, on its way to `out`. What came out is
/// one only after [`SnapshotEncoder::finish`].
#[derive(Debug)]
pub struct SnapshotEncoder<W> {
    out: W,
    chain: u32,
    sum: StateSum,
    /// Room for a chunk's header, then its state so far.
    chunk: Vec<u8>,
}

impl<W: Write> SnapshotEncoder<W> {
    /// Begins a snapshot of the state as it is behind the entry at `position`, where that
    /// configuration is in force.
    pub fn begin(mut out: W, position: Position, configuration: &Placed) -> io::Result<Self> {
        let (header, chain) = encode_header(position, configuration);
        out.write_all(&header)?;
        let mut chunk = Vec::with_capacity(CHUNK_HEADER_BYTES + CHUNK_BYTES_MAX);
        chunk.resize(CHUNK_HEADER_BYTES, 0);
        Ok(Self {
            out,
            chain,
            sum: StateSum::default(),
            chunk,
        })
    }

    /// Ends it, and gives back where it went.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush_chunk()?;
        self.out.write_all(&encode_end(self.sum, self.chain))?;
        Ok(self.out)
    }

    fn flush_chunk(&mut self) -> io::Result<()> {
        if self.chunk.len() > CHUNK_HEADER_BYTES {
            self.sum.add(&self.chunk[CHUNK_HEADER_BYTES..]);
            self.chain = seal_chunk(&mut self.chunk, self.chain);
            self.out.write_all(&self.chunk)?;
            self.chunk.truncate(CHUNK_HEADER_BYTES);
        }
        Ok(())
    }
}

/// Adds state. After an error the encoder is only good to be dropped.
impl<W: Write> Write for SnapshotEncoder<W> {
    fn write(&mut self, state: &[u8]) -> io::Result<usize> {
        if self.chunk.len() == CHUNK_HEADER_BYTES + CHUNK_BYTES_MAX {
            self.flush_chunk()?;
        }
        let room = CHUNK_HEADER_BYTES + CHUNK_BYTES_MAX - self.chunk.len();
        let count = state.len().min(room);
        self.chunk.extend_from_slice(&state[..count]);
        Ok(count)
    }

    /// Does nothing: a snapshot is whole or not at all.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
