//! The consensus core's messages and their encoded twins, both ways.
//!
//! Here a twin gains or loses its shape: every part that must be there is there, every code means
//! something. Whether the parts fit together is `check`'s question, asked of every message that
//! leaves and of every message that comes.

use bytes::{Bytes, BytesMut};

use super::body;
use super::check::{check, check_counts};
use super::frame::append_body;
use super::malformed::{Malformed, required};
use super::{Kind, SendError, TooLarge};
use crate::consensus::{
    Append, AppendOutcome, AppendReply, Ballot, Beat, BeatReply, Entry, Forward, ForwardReply,
    Index, Message, NodeId, Payload, Position, Refusal, Term, Verdict, VoteReply, VoteRequest,
};

/// Appends a message as one frame.
pub(super) fn append(message: &Message, out: &mut BytesMut) -> Result<(), SendError> {
    check(message)?;
    encode(message, out)?;
    Ok(())
}

fn encode(message: &Message, out: &mut BytesMut) -> Result<(), TooLarge> {
    match message {
        Message::VoteRequest(request) => {
            append_body(Kind::VoteRequest, &body::VoteRequest::from(request), out)
        }
        Message::VoteReply(reply) => {
            append_body(Kind::VoteReply, &body::VoteReply::from(reply), out)
        }
        Message::Append(append) => append_body(Kind::Append, &body::Append::from(append), out),
        Message::Supply(supply) => append_body(Kind::Supply, &body::Append::from(supply), out),
        Message::AppendReply(reply) => {
            append_body(Kind::AppendReply, &body::AppendReply::from(reply), out)
        }
        Message::Beat(beat) => append_body(Kind::Beat, &body::Beat::from(beat), out),
        Message::BeatReply(reply) => {
            append_body(Kind::BeatReply, &body::BeatReply::from(reply), out)
        }
        &Message::Commit { term, commit } => {
            let (term, commit) = (term.0, commit.0);
            append_body(Kind::Commit, &body::Commit { term, commit }, out)
        }
        Message::TimeoutNow { term } => {
            append_body(Kind::TimeoutNow, &body::TimeoutNow { term: term.0 }, out)
        }
        &Message::SupplyRequest { term, at } => {
            let (term, at) = (term.0, Some(at.into()));
            append_body(Kind::SupplyRequest, &body::SupplyRequest { term, at }, out)
        }
        Message::Forward(forward) => append_body(Kind::Forward, &body::Forward::from(forward), out),
        Message::ForwardReply(reply) => {
            append_body(Kind::ForwardReply, &body::ForwardReply::from(reply), out)
        }
        &Message::ReadRequest { request, term } => {
            let term = term.0;
            append_body(Kind::ReadRequest, &body::ReadRequest { request, term }, out)
        }
        Message::ReadReply {
            request,
            term,
            index,
        } => {
            let reply = body::ReadReply {
                request: *request,
                term: term.0,
                index: index.map(|index| index.0),
            };
            append_body(Kind::ReadReply, &reply, out)
        }
    }
}

/// Reads the body of a message; `None` if `kind` is not one of a message.
pub(super) fn decode(kind: Kind, bytes: Bytes) -> Option<Result<Message, Malformed>> {
    let message = match kind {
        Kind::VoteRequest => parse::<body::VoteRequest>("VoteRequest", bytes)
            .and_then(|twin| twin.try_into().map(Message::VoteRequest)),
        Kind::VoteReply => parse::<body::VoteReply>("VoteReply", bytes)
            .and_then(|twin| twin.try_into().map(Message::VoteReply)),
        Kind::Append => check_counts(kind, &bytes)
            .and_then(|()| parse::<body::Append>("Append", bytes))
            .and_then(|twin| twin.try_into().map(Message::Append)),
        Kind::AppendReply => parse::<body::AppendReply>("AppendReply", bytes)
            .and_then(|twin| twin.try_into().map(Message::AppendReply)),
        Kind::Beat => parse::<body::Beat>("Beat", bytes).map(|twin| Message::Beat(twin.into())),
        Kind::BeatReply => {
            parse::<body::BeatReply>("BeatReply", bytes).map(|twin| Message::BeatReply(twin.into()))
        }
        Kind::Commit => parse::<body::Commit>("Commit", bytes).map(|twin| Message::Commit {
            term: Term(twin.term),
            commit: Index(twin.commit),
        }),
        Kind::TimeoutNow => {
            parse::<body::TimeoutNow>("TimeoutNow", bytes).map(|twin| Message::TimeoutNow {
                term: Term(twin.term),
            })
        }
        Kind::SupplyRequest => {
            parse::<body::SupplyRequest>("SupplyRequest", bytes).and_then(supply_request)
        }
        Kind::Supply => check_counts(kind, &bytes)
            .and_then(|()| parse::<body::Append>("Supply", bytes))
            .and_then(|twin| twin.try_into().map(Message::Supply)),
        Kind::Forward => check_counts(kind, &bytes)
            .and_then(|()| parse::<body::Forward>("Forward", bytes))
            .map(|twin| Message::Forward(twin.into())),
        Kind::ForwardReply => parse::<body::ForwardReply>("ForwardReply", bytes)
            .and_then(|twin| twin.try_into().map(Message::ForwardReply)),
        Kind::ReadRequest => {
            parse::<body::ReadRequest>("ReadRequest", bytes).map(|twin| Message::ReadRequest {
                request: twin.request,
                term: Term(twin.term),
            })
        }
        Kind::ReadReply => {
            parse::<body::ReadReply>("ReadReply", bytes).map(|twin| Message::ReadReply {
                request: twin.request,
                term: Term(twin.term),
                index: twin.index.map(Index),
            })
        }
        _ => return None,
    };
    Some(message.and_then(|message| check(&message).map(|()| message)))
}

fn supply_request(twin: body::SupplyRequest) -> Result<Message, Malformed> {
    Ok(Message::SupplyRequest {
        term: Term(twin.term),
        at: position(twin.at, "SupplyRequest.at")?,
    })
}

/// Parses a twin; byte fields become slices of `bytes`.
pub(super) fn parse<T: prost::Message + Default>(
    name: &'static str,
    bytes: Bytes,
) -> Result<T, Malformed> {
    T::decode(bytes).map_err(|error| Malformed::new(name, format!("cannot be parsed: {error}")))
}

impl From<Position> for body::Position {
    fn from(position: Position) -> Self {
        Self {
            term: position.term.0,
            index: position.index.0,
        }
    }
}

impl From<body::Position> for Position {
    fn from(twin: body::Position) -> Self {
        Self {
            term: Term(twin.term),
            index: Index(twin.index),
        }
    }
}

/// Unwraps a position that must be there.
pub(super) fn position(
    twin: Option<body::Position>,
    field: &'static str,
) -> Result<Position, Malformed> {
    required(twin, field).map(Position::from)
}

fn unknown_code(field: &'static str, code: u32) -> Malformed {
    Malformed::new(field, format!("is {code}, which stands for nothing"))
}

fn ballot_code(ballot: Ballot) -> u32 {
    match ballot {
        Ballot::Pre => 1,
        Ballot::Real => 2,
    }
}

fn ballot(code: u32, field: &'static str) -> Result<Ballot, Malformed> {
    match code {
        0 => Err(Malformed::missing(field)),
        1 => Ok(Ballot::Pre),
        2 => Ok(Ballot::Real),
        _ => Err(unknown_code(field, code)),
    }
}

fn verdict_code(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Granted => 1,
        Verdict::HasLeader => 2,
        Verdict::LogBehind => 3,
        Verdict::VotedForOther => 4,
        Verdict::StaleTerm => 5,
        Verdict::Held => 6,
    }
}

fn verdict(code: u32) -> Result<Verdict, Malformed> {
    let field = "VoteReply.verdict";
    match code {
        0 => Err(Malformed::missing(field)),
        1 => Ok(Verdict::Granted),
        2 => Ok(Verdict::HasLeader),
        3 => Ok(Verdict::LogBehind),
        4 => Ok(Verdict::VotedForOther),
        5 => Ok(Verdict::StaleTerm),
        6 => Ok(Verdict::Held),
        _ => Err(unknown_code(field, code)),
    }
}

fn refusal_code(refusal: Refusal) -> u32 {
    match refusal {
        Refusal::NotLeader => 1,
        Refusal::HandingOver => 2,
        Refusal::Busy => 3,
        Refusal::Storage => 4,
    }
}

fn refusal(code: u32) -> Result<Refusal, Malformed> {
    match code {
        1 => Ok(Refusal::NotLeader),
        2 => Ok(Refusal::HandingOver),
        3 => Ok(Refusal::Busy),
        4 => Ok(Refusal::Storage),
        _ => Err(unknown_code("ForwardReply.refusal", code)),
    }
}

impl From<&VoteRequest> for body::VoteRequest {
    fn from(request: &VoteRequest) -> Self {
        Self {
            ballot: ballot_code(request.ballot),
            term: request.term.0,
            last: Some(request.last.into()),
            round: request.round,
        }
    }
}

impl TryFrom<body::VoteRequest> for VoteRequest {
    type Error = Malformed;

    fn try_from(twin: body::VoteRequest) -> Result<Self, Malformed> {
        Ok(Self {
            ballot: ballot(twin.ballot, "VoteRequest.ballot")?,
            term: Term(twin.term),
            last: position(twin.last, "VoteRequest.last")?,
            round: twin.round,
        })
    }
}

impl From<&VoteReply> for body::VoteReply {
    fn from(reply: &VoteReply) -> Self {
        Self {
            ballot: ballot_code(reply.ballot),
            round: reply.round,
            term: reply.term.0,
            verdict: verdict_code(reply.verdict),
        }
    }
}

impl TryFrom<body::VoteReply> for VoteReply {
    type Error = Malformed;

    fn try_from(twin: body::VoteReply) -> Result<Self, Malformed> {
        Ok(Self {
            ballot: ballot(twin.ballot, "VoteReply.ballot")?,
            round: twin.round,
            term: Term(twin.term),
            verdict: verdict(twin.verdict)?,
        })
    }
}

impl From<&Entry> for body::Entry {
    fn from(entry: &Entry) -> Self {
        Self {
            term: entry.term.0,
            index: entry.index.0,
            command: match &entry.payload {
                Payload::Command(command) => Some(command.clone()),
                Payload::Noop | Payload::Configuration(_) => None,
            },
            configuration: match &entry.payload {
                Payload::Configuration(configuration) => Some(configuration.into()),
                Payload::Noop | Payload::Command(_) => None,
            },
        }
    }
}

impl TryFrom<body::Entry> for Entry {
    type Error = Malformed;

    fn try_from(twin: body::Entry) -> Result<Self, Malformed> {
        let payload = match (twin.command, twin.configuration) {
            (None, None) => Payload::Noop,
            (Some(command), None) => Payload::Command(command),
            (None, Some(configuration)) => Payload::Configuration(configuration.try_into()?),
            (Some(_), Some(_)) => {
                let fault = "are a command and a configuration at once";
                return Err(Malformed::new("Append.entries", fault));
            }
        };
        Ok(Self {
            term: Term(twin.term),
            index: Index(twin.index),
            payload,
        })
    }
}

impl From<&Append> for body::Append {
    fn from(append: &Append) -> Self {
        Self {
            term: append.term.0,
            prev: Some(append.prev.into()),
            commit: append.commit.0,
            entries: append.entries.iter().map(body::Entry::from).collect(),
        }
    }
}

impl TryFrom<body::Append> for Append {
    type Error = Malformed;

    fn try_from(twin: body::Append) -> Result<Self, Malformed> {
        let entries = twin.entries.into_iter().map(Entry::try_from);
        Ok(Self {
            term: Term(twin.term),
            prev: position(twin.prev, "Append.prev")?,
            entries: entries.collect::<Result<_, _>>()?,
            commit: Index(twin.commit),
        })
    }
}

impl From<&AppendReply> for body::AppendReply {
    fn from(reply: &AppendReply) -> Self {
        let (matched, conflict) = match reply.outcome {
            AppendOutcome::Matched(index) => (Some(index.0), None),
            AppendOutcome::Conflict { rejected, hint } => {
                let rejected = rejected.0;
                let hint = Some(hint.into());
                (None, Some(body::Conflict { rejected, hint }))
            }
        };
        Self {
            term: reply.term.0,
            matched,
            conflict,
        }
    }
}

impl TryFrom<body::AppendReply> for AppendReply {
    type Error = Malformed;

    fn try_from(twin: body::AppendReply) -> Result<Self, Malformed> {
        let outcome = match (twin.matched, twin.conflict) {
            (Some(index), None) => AppendOutcome::Matched(Index(index)),
            (None, Some(conflict)) => AppendOutcome::Conflict {
                rejected: Index(conflict.rejected),
                hint: position(conflict.hint, "AppendReply.conflict.hint")?,
            },
            (Some(_), Some(_)) => {
                let fault = "is both matched and a conflict";
                return Err(Malformed::new("AppendReply.outcome", fault));
            }
            (None, None) => return Err(Malformed::missing("AppendReply.outcome")),
        };
        Ok(Self {
            term: Term(twin.term),
            outcome,
        })
    }
}

impl From<&Beat> for body::Beat {
    fn from(beat: &Beat) -> Self {
        Self {
            term: beat.term.0,
            round: beat.round,
            commit: beat.commit.0,
            tickets: beat.tickets,
            alive: beat.alive.iter().map(|id| id.0).collect(),
        }
    }
}

impl From<body::Beat> for Beat {
    fn from(twin: body::Beat) -> Self {
        Self {
            term: Term(twin.term),
            round: twin.round,
            commit: Index(twin.commit),
            tickets: twin.tickets,
            alive: twin.alive.into_iter().map(NodeId).collect(),
        }
    }
}

impl From<&BeatReply> for body::BeatReply {
    fn from(reply: &BeatReply) -> Self {
        Self {
            term: reply.term.0,
            round: reply.round,
            can_stand: reply.can_stand,
        }
    }
}

impl From<body::BeatReply> for BeatReply {
    fn from(twin: body::BeatReply) -> Self {
        Self {
            term: Term(twin.term),
            round: twin.round,
            can_stand: twin.can_stand,
        }
    }
}

impl From<&Forward> for body::Forward {
    fn from(forward: &Forward) -> Self {
        Self {
            batch: forward.batch,
            term: forward.term.0,
            commands: forward.commands.clone(),
        }
    }
}

impl From<body::Forward> for Forward {
    fn from(twin: body::Forward) -> Self {
        Self {
            batch: twin.batch,
            term: Term(twin.term),
            commands: twin.commands,
        }
    }
}

impl From<&ForwardReply> for body::ForwardReply {
    fn from(reply: &ForwardReply) -> Self {
        Self {
            batch: reply.batch,
            term: reply.term.0,
            first: reply.outcome.ok().map(body::Position::from),
            refusal: reply.outcome.err().map_or(0, refusal_code),
        }
    }
}

impl TryFrom<body::ForwardReply> for ForwardReply {
    type Error = Malformed;

    fn try_from(twin: body::ForwardReply) -> Result<Self, Malformed> {
        let outcome = match (twin.first, twin.refusal) {
            (Some(first), 0) => Ok(first.into()),
            (None, 0) => return Err(Malformed::missing("ForwardReply.outcome")),
            (None, code) => Err(refusal(code)?),
            (Some(_), _) => {
                let fault = "is both a position and a refusal";
                return Err(Malformed::new("ForwardReply.outcome", fault));
            }
        };
        Ok(Self {
            batch: twin.batch,
            term: Term(twin.term),
            outcome,
        })
    }
}
