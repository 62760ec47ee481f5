//! What an acceptor tells a dialer once both have introduced themselves.

use bytes::{Bytes, BytesMut};

use super::address::{check_contact, contact};
use super::check;
use super::frame::append_body;
use super::malformed::{Malformed, required};
use super::message::{parse, position};
use super::send_error::SendError;
use super::{Contact, Kind, body, limits};
use crate::consensus::{ClusterId, Epoch, Membership, Rejection};

/// Whether a link comes up.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// The link is up: the dialer may send, the acceptor reads.
    Welcome,
    /// Both have heard each other, but at least one belongs to no cluster yet, so there is nothing
    /// to send. Dial again once both do.
    Noted,
    /// The dialer belongs to the cluster from now on (S7): that is agreed. There is no link yet;
    /// dial again once this is durable.
    Registered(Box<Welcome>),
    /// Only the leader registers anybody: this is the one that the acceptor follows.
    AskLeader(Box<Contact>),
    /// The link does not come up, and dialing again changes nothing by itself.
    Refused {
        /// Why, for programs.
        reason: Reason,
        /// Why and how to mend it, for people: at most [`limits::SENTENCE_BYTES_MAX`] bytes, in one
        /// line.
        sentence: String,
    },
}

/// What a new member is told.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Welcome {
    /// The cluster, and the newest configuration that is agreed on, which names the new member.
    pub membership: Membership,
    /// Where the others are reached, as far as the leader knows.
    pub contacts: Vec<Contact>,
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
    /// There is no room for the dialer now: another disk of its id is there, and may be about to
    /// go. It may ask again at a steady pace.
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
    const REGISTERED: u32 = 4;
    const ASK_LEADER: u32 = 5;

    /// A refusal whose sentence is made to fit: one line, cut where it is too long.
    pub fn refused(reason: Reason, sentence: &str) -> Self {
        let sentence = fitted(sentence);
        Self::Refused { reason, sentence }
    }

    /// Appends the verdict as one frame.
    pub fn append(&self, out: &mut BytesMut) -> Result<(), SendError> {
        let coded = |code| body::Verdict {
            code,
            ..body::Verdict::default()
        };
        let twin = match self {
            Self::Welcome => coded(Self::WELCOME),
            Self::Noted => coded(Self::NOTED),
            Self::Registered(welcome) => {
                welcome.check()?;
                body::Verdict {
                    welcome: Some((&**welcome).into()),
                    ..coded(Self::REGISTERED)
                }
            }
            Self::AskLeader(leader) => {
                check_contact(leader, "Verdict.leader")?;
                body::Verdict {
                    leader: Some((&**leader).into()),
                    ..coded(Self::ASK_LEADER)
                }
            }
            Self::Refused { reason, sentence } => body::Verdict {
                reason: reason.code(),
                sentence: fitted(sentence),
                ..coded(Self::REFUSED)
            },
        };
        Ok(append_body(Kind::Verdict, &twin, out)?)
    }

    /// Reads a verdict from the body of its frame.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        parse::<body::Verdict>("Verdict", bytes)?.try_into()
    }
}

impl Welcome {
    fn check(&self) -> Result<(), Malformed> {
        let (settled, configuration) = &self.membership.settled;
        check::members(configuration, "Verdict.welcome.configuration")?;
        check::term(settled.term, "Verdict.welcome.settled")?;
        let epoch = self.membership.epoch;
        check::epoch(epoch, *settled, "Verdict.welcome.epoch")?;
        let field = "Verdict.welcome.contacts";
        check::count(self.contacts.len(), limits::MEMBERS_MAX, field)?;
        (self.contacts.iter()).try_for_each(|contact| check_contact(contact, field))
    }
}

impl From<&Welcome> for body::Welcome {
    fn from(welcome: &Welcome) -> Self {
        let Membership {
            cluster,
            epoch,
            settled,
        } = &welcome.membership;
        Self {
            cluster: Some(cluster.0),
            epoch: epoch.0,
            configuration: Some((&settled.1).into()),
            settled: Some(settled.0.into()),
            contacts: welcome.contacts.iter().map(body::Contact::from).collect(),
        }
    }
}

impl TryFrom<body::Welcome> for Welcome {
    type Error = Malformed;

    fn try_from(twin: body::Welcome) -> Result<Self, Malformed> {
        let configuration = required(twin.configuration, "Verdict.welcome.configuration")?;
        let settled = position(twin.settled, "Verdict.welcome.settled")?;
        let cluster = ClusterId(required(twin.cluster, "Verdict.welcome.cluster")?);
        let settled = (settled, configuration.try_into()?);
        let read = |twin| contact(twin, "Verdict.welcome.contacts");
        let welcome = Self {
            membership: Membership {
                cluster,
                epoch: Epoch(twin.epoch),
                settled,
            },
            contacts: twin
                .contacts
                .into_iter()
                .map(read)
                .collect::<Result<_, _>>()?,
        };
        welcome.check()?;
        Ok(welcome)
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
            Self::REGISTERED => {
                let welcome = required(twin.welcome, "Verdict.welcome")?;
                Ok(Self::Registered(Box::new(welcome.try_into()?)))
            }
            Self::ASK_LEADER => {
                let leader = required(twin.leader, "Verdict.leader")?;
                Ok(Self::AskLeader(Box::new(contact(
                    leader,
                    "Verdict.leader",
                )?)))
            }
            Self::REFUSED => {
                let sentence = twin.sentence;
                let field = "Verdict.sentence";
                check::count(sentence.len(), limits::SENTENCE_BYTES_MAX, field)?;
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
