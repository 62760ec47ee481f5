//! Finds the frames in a stream of bytes, however the stream is cut into pieces.

use bytes::{Buf, Bytes, BytesMut};

use super::frame::Header;
use super::{Frame, FrameError, FrameFault, HEADER_BYTES, Phase, limits};

/// An incremental decoder that owns its read buffer.
///
/// Read into [`space`](Self::space), then take frames until there is none, and again. A frame's
/// body is a slice of the buffer. An error is final: it is returned again for ever.
///
/// Memory: a body's room is reserved only once its header passed the limits of its kind, so the
/// buffer never holds more than the largest allowed frame and one read beyond it.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// How many bytes of the stream were taken out of the buffer.
    taken: u64,
    /// The header whose body is awaited, and where it began.
    header: Option<(u64, Header)>,
    version: u16,
    phase: Phase,
    error: Option<FrameError>,
}

impl Decoder {
    /// A decoder at the beginning of a stream, where only frames of `phase` are allowed; `version`
    /// is the wire version that its kinds are known under.
    pub fn new(phase: Phase, version: u16) -> Self {
        Self {
            buffer: BytesMut::new(),
            taken: 0,
            header: None,
            version,
            phase,
            error: None,
        }
    }

    /// Where to read more bytes into. There is room for the rest of the awaited frame, or for a
    /// read of the usual size.
    pub fn space(&mut self) -> &mut BytesMut {
        let usual = match self.phase {
            Phase::Handshake => limits::HANDSHAKE_READ_BYTES,
            Phase::Link => limits::LINK_READ_BYTES,
        };
        let awaited = match &self.header {
            Some((_, header)) => header.length.saturating_sub(self.buffer.len()),
            None => 0,
        };
        self.buffer.reserve(usual.max(awaited));
        let idle = self.buffer.is_empty() && awaited <= usual;
        if idle && self.buffer.capacity() > limits::KEPT_BYTES_MAX {
            self.buffer = BytesMut::with_capacity(usual);
        }
        &mut self.buffer
    }

    /// The next whole frame, or `None` until more bytes are read.
    pub fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let frame = self.advance();
        if let Err(error) = &frame {
            self.error = Some(error.clone());
            self.buffer = BytesMut::new();
        }
        frame
    }

    fn advance(&mut self) -> Result<Option<Frame>, FrameError> {
        let (offset, header) = match self.header {
            Some(awaited) => awaited,
            None => match self.read_header()? {
                Some(awaited) => awaited,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < header.length {
            return Ok(None);
        }
        self.header = None;
        let body = self.take(header.length);
        let computed = crc32c::crc32c(&body);
        if computed != header.body_checksum {
            let found = header.body_checksum;
            let fault = FrameFault::BodyChecksum { found, computed };
            return Err(FrameError { offset, fault });
        }
        let kind = header.kind;
        Ok(Some(Frame { offset, kind, body }))
    }

    fn read_header(&mut self) -> Result<Option<(u64, Header)>, FrameError> {
        let Some(bytes) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let offset = self.taken;
        let failed = |fault| FrameError { offset, fault };
        let header = Header::parse(*bytes, self.version).map_err(failed)?;
        if header.kind.phase() != self.phase {
            return Err(failed(FrameFault::OutOfPhase(header.kind, self.phase)));
        }
        self.skip(HEADER_BYTES);
        self.header = Some((offset, header));
        Ok(self.header)
    }

    /// Says whether the stream may end here: after whole frames only.
    pub fn end(&self) -> Result<(), FrameError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let (offset, due) = match &self.header {
            Some((offset, header)) => (*offset, header.length),
            None if self.buffer.is_empty() => return Ok(()),
            None => (self.taken, HEADER_BYTES),
        };
        let missing = due.saturating_sub(self.buffer.len());
        let fault = FrameFault::Truncated { missing };
        Err(FrameError { offset, fault })
    }

    /// What is read and not yet taken.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Drops bytes that were looked at through [`unread`](Self::unread).
    pub(super) fn skip(&mut self, count: usize) {
        self.buffer.advance(count);
        self.count(count);
    }

    /// Goes on as the decoder of a link that is up, at the same place in the stream.
    pub(super) fn into_link(mut self, version: u16) -> Self {
        self.phase = Phase::Link;
        self.version = version;
        self
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.count(count);
        self.buffer.split_to(count).freeze()
    }

    fn count(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.taken = self.taken.saturating_add(count);
    }
}
