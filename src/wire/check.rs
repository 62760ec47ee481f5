//! What makes a message well formed, so that the consensus core need not ask.
//!
//! A message is checked where it leaves, so that a fault shows at its author, and where it comes,
//! so that no peer's fault passes. What depends on the receiver's own state (is the sender a
//! voter, is the term stale) is the core's to judge.

use super::malformed::{Malformed, at_most};
use super::{Kind, limits};
use crate::consensus::{
    Append, AppendOutcome, AppendReply, Beat, Configuration, Entry, Epoch, Forward, ForwardReply,
    Index, Message, NodeId, Payload, Position, Term, VoteRequest,
};

/// Says whether the parts of a message fit together. Well formed means:
///
/// - no term above [`Term::MAX`], no index above [`limits::INDEX_MAX`], and who speaks as a leader
///   or to one has a term that is not 0;
/// - a position has an index exactly if it has a term, and no term above that of its message;
/// - the entries of an append or a supply are consecutive from `prev.index + 1`, their terms never
///   fall and
///   none is above the leader's;
/// - commands are not empty, and neither they nor any list exceed their limit;
/// - `alive` is in strictly rising order.
pub fn check(message: &Message) -> Result<(), Malformed> {
    match message {
        Message::VoteRequest(request) => vote_request(request),
        Message::VoteReply(reply) => term(reply.term, "VoteReply.term"),
        Message::Append(append) | Message::Supply(append) => append_entries(append),
        Message::AppendReply(reply) => append_reply(reply),
        Message::Beat(beat) => heartbeat(beat),
        Message::BeatReply(reply) => term(reply.term, "BeatReply.term"),
        Message::Commit { term, commit } => {
            led_term(*term, "Commit.term")?;
            index(*commit, "Commit.commit")
        }
        Message::TimeoutNow { term } => led_term(*term, "TimeoutNow.term"),
        Message::SupplyRequest { term: t, at } => {
            led_term(*t, "SupplyRequest.term")?;
            position(*at, *t, "SupplyRequest.at")
        }
        Message::Forward(forward) => forwarded(forward),
        Message::ForwardReply(reply) => forward_reply(reply),
        Message::ReadRequest { term, .. } => led_term(*term, "ReadRequest.term"),
        Message::ReadReply { term: t, index, .. } => {
            term(*t, "ReadReply.term")?;
            index.map_or(Ok(()), |at| self::index(at, "ReadReply.index"))
        }
    }
}

fn vote_request(request: &VoteRequest) -> Result<(), Malformed> {
    led_term(request.term, "VoteRequest.term")?;
    position(request.last, request.term, "VoteRequest.last")?;
    if request.last.term >= request.term {
        let fault = "already has an entry of the term that is asked for";
        return Err(Malformed::new("VoteRequest.last", fault));
    }
    Ok(())
}

fn append_entries(append: &Append) -> Result<(), Malformed> {
    led_term(append.term, "Append.term")?;
    position(append.prev, append.term, "Append.prev")?;
    index(append.commit, "Append.commit")?;
    count(append.entries.len(), limits::ENTRIES_MAX, "Append.entries")?;
    let mut prev = append.prev;
    for entry in &append.entries {
        follows(entry, prev)?;
        prev = entry.position();
    }
    if prev.term > append.term {
        let (last, leader) = (prev.term, append.term);
        let fault = format!("are of term {last}, above the leader's {leader}");
        return Err(Malformed::new("Append.entries", fault));
    }
    index(prev.index, "Append.entries")
}

/// Whether an entry may come right after the entry at `prev`.
fn follows(entry: &Entry, prev: Position) -> Result<(), Malformed> {
    if Some(entry.index.0) != prev.index.0.checked_add(1) {
        let fault = format!("are not consecutive: {} after {}", entry.index, prev.index);
        return Err(Malformed::new("Append.entries", fault));
    }
    if entry.term.0 == 0 {
        let fault = format!("have term 0 at index {}, which nobody leads", entry.index);
        return Err(Malformed::new("Append.entries", fault));
    }
    if entry.term < prev.term {
        let fault = format!(
            "go back in term: {} at index {}, after {}",
            entry.term, entry.index, prev.term
        );
        return Err(Malformed::new("Append.entries", fault));
    }
    match &entry.payload {
        Payload::Noop => Ok(()),
        Payload::Command(bytes) => command(bytes, "Append.entries"),
        Payload::Configuration(configuration) => {
            members(configuration, "Append.entries.configuration")
        }
    }
}

fn append_reply(reply: &AppendReply) -> Result<(), Malformed> {
    term(reply.term, "AppendReply.term")?;
    match reply.outcome {
        AppendOutcome::Matched(at) => index(at, "AppendReply.matched"),
        AppendOutcome::Conflict { rejected, hint } => {
            index(rejected, "AppendReply.conflict.rejected")?;
            position(hint, reply.term, "AppendReply.conflict.hint")?;
            if hint.index > rejected {
                let fault = format!("is at {}, above the rejected {rejected}", hint.index);
                return Err(Malformed::new("AppendReply.conflict.hint", fault));
            }
            Ok(())
        }
    }
}

fn heartbeat(beat: &Beat) -> Result<(), Malformed> {
    led_term(beat.term, "Beat.term")?;
    index(beat.commit, "Beat.commit")?;
    at_most(beat.tickets, limits::MEMBERS_MAX as u128, "Beat.tickets")?;
    count(beat.alive.len(), limits::MEMBERS_MAX, "Beat.alive")?;
    for id in &beat.alive {
        node_id(*id, "Beat.alive")?;
    }
    if !beat.alive.is_sorted_by(|before, after| before < after) {
        return Err(Malformed::new("Beat.alive", "is not in rising order"));
    }
    Ok(())
}

fn forwarded(forward: &Forward) -> Result<(), Malformed> {
    let field = "Forward.commands";
    led_term(forward.term, "Forward.term")?;
    count(forward.commands.len(), limits::COMMANDS_MAX, field)?;
    if forward.commands.is_empty() {
        return Err(Malformed::missing(field));
    }
    forward
        .commands
        .iter()
        .try_for_each(|bytes| command(bytes, field))
}

fn forward_reply(reply: &ForwardReply) -> Result<(), Malformed> {
    term(reply.term, "ForwardReply.term")?;
    let Ok(first) = reply.outcome else {
        return Ok(());
    };
    position(first, reply.term, "ForwardReply.first")?;
    if first == Position::START {
        return Err(Malformed::new(
            "ForwardReply.first",
            "is before every entry",
        ));
    }
    Ok(())
}

/// Refuses a term that no token can hold (R14).
pub(super) fn term(term: Term, field: &'static str) -> Result<(), Malformed> {
    at_most(term.0, Term::MAX.0, field)
}

/// Refuses a term that nobody can lead.
pub(super) fn led_term(given: Term, field: &'static str) -> Result<(), Malformed> {
    if given.0 == 0 {
        return Err(Malformed::missing(field));
    }
    term(given, field)
}

pub(super) fn index(index: Index, field: &'static str) -> Result<(), Malformed> {
    at_most(index.0, limits::INDEX_MAX, field)
}

/// Refuses an epoch whose terms do not fit into 63 bits, and a configuration of a later one.
pub(super) fn epoch(epoch: Epoch, settled: Position, field: &'static str) -> Result<(), Malformed> {
    at_most(epoch.0, u128::from(Epoch::MAX.0), field)?;
    let of = settled.term.epoch();
    if of > epoch {
        let fault = format!("is {epoch}, below the {of} of the configuration");
        return Err(Malformed::new(field, fault));
    }
    Ok(())
}

/// Refuses a position that no log of a node in term `now` can hold.
pub(super) fn position(
    position: Position,
    now: Term,
    field: &'static str,
) -> Result<(), Malformed> {
    index(position.index, field)?;
    if position.term > now {
        let fault = format!("is of term {}, above the sender's {now}", position.term);
        return Err(Malformed::new(field, fault));
    }
    if (position.term.0 == 0) != (position.index.0 == 0) {
        let fault = format!("is {position:?}; only the start of a log has a zero, and then two");
        return Err(Malformed::new(field, fault));
    }
    Ok(())
}

/// Refuses an id that no node has.
pub(super) fn node_id(id: NodeId, field: &'static str) -> Result<(), Malformed> {
    if id.0 == 0 {
        return Err(Malformed::new(field, "is or has node 0; ids begin with 1"));
    }
    at_most(id.0, limits::NODE_ID_MAX, field)
}

/// Refuses members that are too many, or have impossible ids, and a register that no entry made.
pub(super) fn members(configuration: &Configuration, field: &'static str) -> Result<(), Malformed> {
    count(configuration.seats().len(), limits::MEMBERS_MAX, field)?;
    configuration
        .register()
        .map_or(Ok(()), |made| index(made, field))?;
    (configuration.members()).try_for_each(|member| node_id(member.id, field))
}

pub(super) fn count(count: usize, most: usize, field: &'static str) -> Result<(), Malformed> {
    if count > most {
        let fault = format!("has length {count}, at most {most} is allowed");
        return Err(Malformed::new(field, fault));
    }
    Ok(())
}

fn command(bytes: &[u8], field: &'static str) -> Result<(), Malformed> {
    if bytes.is_empty() {
        return Err(Malformed::new(field, "has an empty command"));
    }
    let (given, most) = (bytes.len(), limits::COMMAND_BYTES_MAX);
    if given > most {
        let fault = format!("has a command of {given} bytes, at most {most} are allowed");
        return Err(Malformed::new(field, fault));
    }
    Ok(())
}

/// Counts the elements of a batch before it is parsed: an empty element takes two bytes on the
/// wire and many times that in memory.
pub(super) fn check_counts(kind: Kind, body: &[u8]) -> Result<(), Malformed> {
    let (tag, most, field) = match kind {
        Kind::Append | Kind::Supply => (4, limits::ENTRIES_MAX, "Append.entries"),
        Kind::Forward => (3, limits::COMMANDS_MAX, "Forward.commands"),
        _ => return Ok(()),
    };
    let unreadable = || Malformed::new(field, "cannot be counted: the body is not protobuf");
    count(
        occurrences(body, tag, &mut |_| Some(())).ok_or_else(unreadable)?,
        most,
        field,
    )?;
    if kind == Kind::Forward {
        return Ok(());
    }
    let mut members = 0;
    let mut of_entry = |entry: &[u8]| {
        let of_configuration = &mut |configuration: &[u8]| {
            members = members.max(occurrences(configuration, 1, &mut |_| Some(()))?);
            Some(())
        };
        occurrences(entry, 4, of_configuration).map(drop)
    };
    occurrences(body, tag, &mut of_entry).ok_or_else(unreadable)?;
    count(members, limits::MEMBERS_MAX, "Append.entries.configuration")
}

/// How often a field stands in a protobuf body, and each content of it for `see`; `None` if the
/// body is none. The deprecated groups are not known here.
fn occurrences(
    mut body: &[u8],
    tag: u64,
    see: &mut dyn FnMut(&[u8]) -> Option<()>,
) -> Option<usize> {
    let mut found: usize = 0;
    while !body.is_empty() {
        let key = varint(&mut body)?;
        let length = match key & 7 {
            0 => varint(&mut body).map(|_| 0)?,
            1 => 8,
            2 => usize::try_from(varint(&mut body)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (content, rest) = body.split_at_checked(length)?;
        body = rest;
        if key >> 3 == tag {
            found = found.saturating_add(1);
            see(content)?;
        }
    }
    Some(found)
}

/// Takes a number of seven bits a byte, lowest first; bits above 64 are lost.
fn varint(body: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = body.split_first()?;
        *body = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
