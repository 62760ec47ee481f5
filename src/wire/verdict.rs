//! What an acceptor tells a dialer once both have introduced themselves.

use bytes::{Bytes, BytesMut};

use super::frame::append_body;
use super::malformed::Malformed;
use super::message::parse;
use super::{Kind, TooLarge, body, limits};
use crate::consensus::Rejection;

/// Whether a link comes up.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// The link is up: the dialer may send, the acceptor reads.
    Welcome,
    /// Both have heard each other, but at least one belongs to no cluster yet, so there is nothing
    /// to send. Dial again once both do.
    Noted,
    /// The link does not come up, and dialing again changes nothing by itself.
    Refused {
        /// Why, for programs.
        reason: Reason,
        /// Why and how to mend it, for people: at most [`limits::SENTENCE_BYTES_MAX`] bytes, in one
        /// line.
        sentence: String,
    },
}

/// Why a link is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// No wire version is shared.
    Version,
    /// What the dialer said cannot be understood.
    Garbled,
    /// Another node was expected.
    Node,
    /// The two belong to different clusters.
    Cluster,
    /// The dialer is no member, or no longer who it was (R13, R15).
    NotAdmitted,
    /// The dialer was a member once, and the cluster goes on without it.
    Removed,
    /// The acceptor has no room for another link.
    Busy,
    /// Something that only a later version knows.
    Other,
}

impl Reason {
    const KNOWN: [(Self, u32); 8] = [
        (Self::Version, 1),
        (Self::Garbled, 2),
        (Self::Node, 3),
        (Self::Cluster, 4),
        (Self::NotAdmitted, 5),
        (Self::Busy, 6),
        (Self::Other, 7),
        (Self::Removed, 8),
    ];

    fn code(self) -> u32 {
        let code = Self::KNOWN.iter().find(|(reason, _)| *reason == self);
        code.map_or(7, |(_, code)| *code)
    }

    /// Verdicts are read across versions, so a code of a later one is not an error.
    fn of(code: u32) -> Self {
        let reason = Self::KNOWN.iter().find(|(_, known)| *known == code);
        reason.map_or(Self::Other, |(reason, _)| *reason)
    }
}

impl From<&Rejection> for Verdict {
    fn from(rejection: &Rejection) -> Self {
        let reason = match rejection {
            // Nothing is wrong with its disk.
            Rejection::Removed { .. } => Reason::Removed,
            _ => Reason::NotAdmitted,
        };
        Self::refused(reason, &rejection.to_string())
    }
}

impl Verdict {
    const WELCOME: u32 = 1;
    const NOTED: u32 = 2;
    const REFUSED: u32 = 3;

    /// A refusal whose sentence is made to fit: one line, cut where it is too long.
    pub fn refused(reason: Reason, sentence: &str) -> Self {
        let sentence = fitted(sentence);
        Self::Refused { reason, sentence }
    }

    /// Appends the verdict as one frame.
    pub fn append(&self, out: &mut BytesMut) -> Result<(), TooLarge> {
        let (code, reason, sentence) = match self {
            Self::Welcome => (Self::WELCOME, 0, String::new()),
            Self::Noted => (Self::NOTED, 0, String::new()),
            Self::Refused { reason, sentence } => (Self::REFUSED, reason.code(), fitted(sentence)),
        };
        let twin = body::Verdict {
            code,
            reason,
            sentence,
        };
        append_body(Kind::Verdict, &twin, out)
    }

    /// Reads a verdict from the body of its frame.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        parse::<body::Verdict>("Verdict", bytes)?.try_into()
    }
}

/// A sentence in one line, cut where it is too long.
fn fitted(sentence: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut fitted: String = sentence.chars().map(plain).collect();
    fitted.truncate(fitted.floor_char_boundary(limits::SENTENCE_BYTES_MAX));
    fitted
}

impl TryFrom<body::Verdict> for Verdict {
    type Error = Malformed;

    fn try_from(twin: body::Verdict) -> Result<Self, Malformed> {
        match twin.code {
            0 => Err(Malformed::missing("Verdict.code")),
            Self::WELCOME => Ok(Self::Welcome),
            Self::NOTED => Ok(Self::Noted),
            Self::REFUSED => {
                let sentence = twin.sentence;
                let field = "Verdict.sentence";
                super::check::count(sentence.len(), limits::SENTENCE_BYTES_MAX, field)?;
                if sentence.chars().any(char::is_control) {
                    return Err(Malformed::new(field, "has control characters"));
                }
                let reason = Reason::of(twin.reason);
                Ok(Self::Refused { reason, sentence })
            }
            code => {
                let fault = format!("is {code}, which stands for nothing");
                Err(Malformed::new("Verdict.code", fault))
            }
        }
    }
}
