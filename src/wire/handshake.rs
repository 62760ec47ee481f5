//! The two sides of the round trip that every link begins with.
//!
//! ```text
//!   Dialer::new      -- preamble, Introduction -->  Acceptor::introduction
//!   Dialer::answer   <-- preamble, Introduction, Verdict --  Acceptor::answer
//!                    <-- preamble, Verdict --                Acceptor::refuse
//! ```
//!
//! How long a side waits is the shell's to decide; what it may be made to hold is a few kilobytes,
//! or one [`Welcome`](super::Welcome).

use bytes::BytesMut;

use super::malformed::{Malformed, MalformedFrame};
use super::send_error::SendError;
use super::{
    Decoder, Frame, FrameError, Inbound, Introduction, Kind, PREAMBLE_BYTES, Phase, PreambleError,
    Reason, Verdict, Versions,
};

/// Why a handshake failed. The connection must be closed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Not our protocol, or no shared version of it.
    #[error(transparent)]
    Preamble(#[from] PreambleError),
    /// The stream is not one of frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame's body makes no sense.
    #[error(transparent)]
    Body(#[from] MalformedFrame),
    /// A frame that may not come now.
    #[error("{kind:?} came at byte {offset} of the stream, where {due:?} was due")]
    Order {
        /// Where the frame began, in bytes.
        offset: u64,
        /// What came.
        kind: Kind,
        /// What was due.
        due: Kind,
    },
    /// The stream ended too early, though not inside a frame.
    #[error("the other side closed the connection before it had answered")]
    Ended,
}

/// Everything that a stream says before traffic may begin.
#[derive(Debug)]
struct Opening {
    decoder: Decoder,
    version: Option<u16>,
    error: Option<HandshakeError>,
}

impl Opening {
    fn new() -> Self {
        Self {
            decoder: Decoder::new(Phase::Handshake, Versions::OURS.max),
            version: None,
            error: None,
        }
    }

    /// The next whole frame behind the preamble. Errors are final.
    fn frame(&mut self) -> Result<Option<Frame>, HandshakeError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let frame = self.advance();
        self.error = frame.as_ref().err().cloned();
        frame
    }

    fn advance(&mut self) -> Result<Option<Frame>, HandshakeError> {
        if self.version.is_none() {
            let Some(theirs) = Versions::read(self.decoder.unread())? else {
                return Ok(None);
            };
            self.version = Some(Versions::OURS.common(theirs)?);
            self.decoder.skip(PREAMBLE_BYTES);
        }
        Ok(self.decoder.frame()?)
    }

    /// Reads an introduction from a frame that must be one.
    fn introduction(&mut self, frame: Frame) -> Result<Introduction, HandshakeError> {
        let (offset, kind, due) = (frame.offset, frame.kind, Kind::Introduction);
        if kind != due {
            return Err(self.fail(HandshakeError::Order { offset, kind, due }));
        }
        Introduction::decode(frame.body).map_err(|malformed| self.body(offset, kind, malformed))
    }

    fn body(&mut self, offset: u64, kind: Kind, malformed: Malformed) -> HandshakeError {
        let frame = MalformedFrame {
            offset,
            kind,
            malformed,
        };
        self.fail(frame.into())
    }

    fn fail(&mut self, error: HandshakeError) -> HandshakeError {
        self.error = Some(error.clone());
        error
    }

    /// What it means that the stream ended here.
    fn ended(&self) -> HandshakeError {
        match (&self.error, self.decoder.end()) {
            (Some(error), _) => error.clone(),
            (None, Err(error)) if self.version.is_some() => error.into(),
            _ => HandshakeError::Ended,
        }
    }
}

/// The side that opened the connection and wants to send.
#[derive(Debug)]
pub struct Dialer {
    opening: Opening,
    ours: Introduction,
    theirs: Option<Introduction>,
}

/// What a dialer learned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The wire version that both speak.
    pub version: u16,
    /// Who answered; `None` if it refused before it understood who asked.
    pub theirs: Option<Introduction>,
    /// Whether the link is up: the other side's word and, unless that is a refusal, this side's
    /// own judgement. After a `Welcome` there is always somebody in `theirs`.
    pub verdict: Verdict,
}

impl Dialer {
    /// Begins a handshake: what must be sent first is appended to `out`.
    pub fn new(ours: &Introduction, out: &mut BytesMut) -> Result<Self, SendError> {
        let start = out.len();
        Versions::OURS.append(out);
        ours.append(out).inspect_err(|_| out.truncate(start))?;
        Ok(Self {
            opening: Opening::new(),
            ours: ours.clone(),
            theirs: None,
        })
    }

    /// Where to read more bytes into.
    pub fn space(&mut self) -> &mut BytesMut {
        self.opening.decoder.space()
    }

    /// The answer, once it is whole. What is left is the core's own word
    /// ([`Node::admit`](crate::consensus::Node::admit)) on who answered.
    pub fn answer(&mut self) -> Result<Option<Answer>, HandshakeError> {
        while let Some(frame) = self.opening.frame()? {
            if self.theirs.is_none() && frame.kind != Kind::Verdict {
                self.theirs = Some(self.opening.introduction(frame)?);
            } else {
                return self.verdict(frame).map(Some);
            }
        }
        Ok(None)
    }

    fn verdict(&mut self, frame: Frame) -> Result<Answer, HandshakeError> {
        let (offset, kind, due) = (frame.offset, frame.kind, Kind::Verdict);
        if kind != due {
            let order = HandshakeError::Order { offset, kind, due };
            return Err(self.opening.fail(order));
        }
        let verdict = Verdict::decode(frame.body)
            .map_err(|malformed| self.opening.body(offset, kind, malformed))?;
        let theirs = self.theirs.take();
        let verdict = match (&theirs, verdict) {
            (_, refused @ Verdict::Refused { .. }) => refused,
            (Some(theirs), verdict) => match (self.ours.judge(theirs), verdict) {
                (refused @ Verdict::Refused { .. }, _) => refused,
                // Whoever belongs to no cluster has no link, whatever the other says.
                (Verdict::Noted, Verdict::Welcome) => Verdict::Noted,
                (_, verdict) => verdict,
            },
            (None, _) => {
                let due = Kind::Introduction;
                let order = HandshakeError::Order { offset, kind, due };
                return Err(self.opening.fail(order));
            }
        };
        Ok(Answer {
            version: self.opening.version.unwrap_or(Versions::OURS.max),
            theirs,
            verdict,
        })
    }

    /// What it means that the stream ended before there was an answer.
    pub fn ended(&self) -> HandshakeError {
        self.opening.ended()
    }
}

/// The side that was dialed and will read.
#[derive(Debug)]
pub struct Acceptor {
    opening: Opening,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self {
            opening: Opening::new(),
        }
    }
}

impl Acceptor {
    /// Where to read more bytes into.
    pub fn space(&mut self) -> &mut BytesMut {
        self.opening.decoder.space()
    }

    /// The dialer's introduction, once it is whole. On an error, answer with
    /// [`refuse`](Self::refuse) and close.
    pub fn introduction(&mut self) -> Result<Option<Introduction>, HandshakeError> {
        match self.opening.frame()? {
            Some(frame) => self.opening.introduction(frame).map(Some),
            None => Ok(None),
        }
    }

    /// Appends the answer to `out`. After a `Welcome` the link is up and is returned; after
    /// anything else send the answer and close.
    pub fn answer(
        self,
        ours: &Introduction,
        verdict: &Verdict,
        out: &mut BytesMut,
    ) -> Result<Option<Inbound>, SendError> {
        let start = out.len();
        Versions::OURS.append(out);
        let appended = ours.append(out).and_then(|()| verdict.append(out));
        if let Err(error) = appended {
            out.truncate(start);
            return Err(error);
        }
        let up = matches!(verdict, Verdict::Welcome);
        let version = self.opening.version.filter(|_| up);
        Ok(version.map(|version| Inbound::new(self.opening.decoder.into_link(version))))
    }

    /// Appends the answer to a dialer that cannot be understood. A stranger to the protocol gets
    /// none: it could not read it.
    pub fn refuse(error: &HandshakeError, out: &mut BytesMut) -> Result<(), SendError> {
        let reason = match error {
            HandshakeError::Preamble(PreambleError::Version { .. }) => Reason::Version,
            HandshakeError::Preamble(_) | HandshakeError::Ended => return Ok(()),
            _ => Reason::Garbled,
        };
        Versions::OURS.append(out);
        Verdict::refused(reason, &error.to_string()).append(out)
    }

    /// What it means that the stream ended before there was an introduction.
    pub fn ended(&self) -> HandshakeError {
        self.opening.ended()
    }
}
