//! How the outputs of a node read in a story.

use remember::consensus::{
    Ballot, Event, HardState, Message, NodeId, Output, Record, Role, Status, StepDown, Term, Upkeep,
};

use super::message::{self, boot, entries, kebab, members, nodes};
use super::witness;

/// How much a line matters: a quiet story leaves out what happens all the time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Weight {
    /// Messages, writes and dials.
    Routine,
    /// Anything that a user or an operator would notice.
    News,
}

/// One output of `me`, in words. `None` if the world tells it in its own words.
pub(crate) fn output(me: NodeId, output: &Output) -> Option<(Weight, String)> {
    Some(match output {
        Output::Write(write) => {
            let records: Vec<String> = write.records.iter().map(record).collect();
            let line = format!("{me:?} writes {:?}: {}", write.seq, records.join("; "));
            (Weight::Routine, line)
        }
        Output::Apply(list) => (Weight::News, format!("{me:?} applies {}", entries(list))),
        Output::Accepted { ticket, position } => {
            let line = format!("{me:?} takes {ticket:?} at {position:?}");
            (Weight::News, line)
        }
        Output::Refused { ticket, refusal } => {
            let line = format!("{me:?} refuses {ticket:?}: {}", kebab(refusal));
            (Weight::News, line)
        }
        Output::Unknown { ticket } => {
            let line = format!("{me:?} answers {ticket:?}: unknown, it may or may not be written");
            (Weight::News, line)
        }
        Output::ReadAt { ticket, index } => {
            let line = format!("{me:?} may answer {ticket:?} from {index:?} on");
            (Weight::Routine, line)
        }
        Output::TransferEnded { ticket, moved } => {
            let how = if *moved { "moved" } else { "not moved" };
            (Weight::News, format!("{me:?} ends {ticket:?}: {how}"))
        }
        Output::SendSnapshot { to, term } => {
            let line = format!("{me:?} wants to send a snapshot to {:?} in {term:?}", to.id);
            (Weight::News, line)
        }
        Output::InstallSnapshot {
            seq,
            position,
            keep_log,
        } => {
            let log = if *keep_log { "and keeps" } else { "without" };
            let line = format!(
                "{me:?} installs the snapshot at {position:?} as {seq:?}, {log} the log behind it"
            );
            (Weight::News, line)
        }
        Output::ChangeEnded { ticket, outcome } => {
            let how = match outcome {
                Ok(()) => "done".to_owned(),
                Err(refusal) => refusal.to_string(),
            };
            (Weight::News, format!("{me:?} ends {ticket:?}: {how}"))
        }
        Output::Part(member) => {
            let line = format!("{me:?} parts from {:?}", member.id);
            (Weight::News, line)
        }
        Output::Exhausted(epoch) => {
            let line = format!("{me:?} ends: no term is left in epoch {epoch}");
            (Weight::News, line)
        }
        Output::Probe(peer) => (Weight::Routine, format!("{me:?} dials {peer:?}")),
        Output::Event(it) => (Weight::News, format!("{me:?} {}", event(it))),
        Output::Witness { ask, .. } => {
            let line = format!("{me:?} asks the witness for {}", witness::asks(ask));
            (Weight::Routine, line)
        }
        Output::Send { .. } => return None,
    })
}

/// One record of the log.
pub(crate) fn record(record: &Record) -> String {
    match record {
        Record::HardState(state) => hard_state(state),
        Record::Entry(entry) => entries(std::slice::from_ref(entry)),
        Record::Base { position, keep_log } => {
            let log = if *keep_log { "keep" } else { "void" };
            format!("base {position:?} {log}")
        }
        Record::Peer(peer) if peer.boot.count() == 0 => {
            format!("peer {:?} forgotten", peer.member.id)
        }
        Record::Peer(peer) => format!("peer {:?} {}", peer.member.id, boot(peer.boot)),
    }
}

/// A term and the vote in it.
pub(crate) fn hard_state(state: &HardState) -> String {
    let vote = state
        .vote
        .map_or_else(|| "none".to_owned(), |member| format!("{:?}", member.id));
    format!("{:?} vote={vote}", state.term)
}

/// What happened, as a sentence without its subject.
fn event(event: &Event) -> String {
    match event {
        Event::RoleChanged { role, term, leader } => {
            format!("is now {}", standing(*role, *leader, *term))
        }
        Event::Established { term } => format!("is established in {term:?}"),
        Event::Suspected { leader, why } => format!("suspects {leader:?}: {}", kebab(why)),
        Event::Stands { ballot, term } => match ballot {
            Ballot::Pre => format!("sounds out {term:?}"),
            Ballot::Real => format!("stands for {term:?}"),
        },
        Event::SteppedDown { term, why } => match why {
            StepDown::HigherTerm => format!("steps down from {term:?}: higher term"),
            StepDown::NoQuorum => format!("steps down from {term:?}: no quorum"),
        },
        Event::HandingOver { to } => format!("hands over to {to:?}"),
        Event::ChangesVoters {
            why,
            promoted,
            removed,
        } => {
            let (promoted, removed) = (members(promoted), members(removed));
            match why {
                Upkeep::CaughtUp => format!("lets {promoted} vote by itself"),
                Upkeep::Replaced => format!("replaces {removed} by {promoted} by itself"),
                Upkeep::Dead => format!("lets {removed} go as dead"),
                Upkeep::Alone => format!("goes on without {removed}"),
            }
        }
        Event::Alone => "is alone, as the witness confirms".to_owned(),
        Event::Truncated { from } => format!("drops its log from {from:?} on"),
        Event::Supplied { by, until } => format!("has the log of {by:?} up to {until:?}"),
        Event::StorageStalled(true) => "has a stalled disk".to_owned(),
        Event::StorageStalled(false) => "has a working disk again".to_owned(),
    }
}

/// A role and whom the node follows in it.
fn standing(role: Role, leader: Option<NodeId>, term: Term) -> String {
    let role = kebab(role);
    match leader {
        Some(leader) => format!("{role} in {term:?}, leader {leader:?}"),
        None => format!("{role} in {term:?}, no leader"),
    }
}

/// A node's own view, in one line.
pub(crate) fn status(it: &Status) -> String {
    let flags = [
        (it.established, " established"),
        (it.handing_over, " handing-over"),
        (it.storage_stalled, " stalled"),
    ];
    let flags: String = flags
        .into_iter()
        .filter_map(|(on, name)| on.then_some(name))
        .collect();
    format!(
        "{:?} {} tickets={} alive={} commit={:?} durable={:?} last={:?} base={:?}{flags}",
        it.id,
        standing(it.role, it.leader, it.term),
        it.tickets,
        nodes(&it.alive),
        it.commit,
        it.durable,
        it.last,
        it.base,
    )
}

/// `n1 -> n2` and the message.
pub(crate) fn sent(from: NodeId, to: NodeId, message: &Message) -> String {
    format!("{from:?} -> {to:?} {}", message::print(message))
}
