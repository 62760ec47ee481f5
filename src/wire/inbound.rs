//! The reading side of a link that is up.

use bytes::BytesMut;

use super::malformed::MalformedFrame;
use super::{Decoder, FrameError, Packet};

/// What an acceptor reads after its welcome, as packets.
///
/// Read into [`space`](Self::space), then take packets until there is none, and again. An error is
/// final: close the link, the dialer makes a new one.
#[derive(Debug)]
pub struct Inbound {
    decoder: Decoder,
    error: Option<LinkError>,
}

/// Why a link must be closed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LinkError {
    /// The stream is not one of frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame's body makes no sense.
    #[error(transparent)]
    Body(#[from] MalformedFrame),
}

impl Inbound {
    /// A link whose handshake is over; `decoder` stands behind it.
    pub(super) fn new(decoder: Decoder) -> Self {
        let error = None;
        Self { decoder, error }
    }

    /// Where to read more bytes into.
    pub fn space(&mut self) -> &mut BytesMut {
        self.decoder.space()
    }

    /// The next packet, well formed, or `None` until more bytes are read.
    pub fn packet(&mut self) -> Result<Option<Packet>, LinkError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let packet = self.advance();
        self.error = packet.as_ref().err().cloned();
        packet
    }

    fn advance(&mut self) -> Result<Option<Packet>, LinkError> {
        let Some(frame) = self.decoder.frame()? else {
            return Ok(None);
        };
        let (offset, kind) = (frame.offset, frame.kind);
        let packet = Packet::decode(frame).map_err(|malformed| MalformedFrame {
            offset,
            kind,
            malformed,
        })?;
        Ok(Some(packet))
    }

    /// Says whether the stream may end here: after whole frames only. The end of a stream says
    /// nothing about the peer (R18).
    pub fn end(&self) -> Result<(), LinkError> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None => Ok(self.decoder.end()?),
        }
    }
}
