//! What is on its way between the nodes: lost, repeated and reordered as anybody likes.
//!
//! A message that nobody ever delivers is lost. Of each kind, each link carries a bounded number;
//! one more takes the place of the oldest, which is lost as well.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use remember::consensus::{Ballot, Message};

use super::place::digest;

/// One message on its way. Places are counted from 0.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) message: Message,
    digest: u64,
}

/// Everything that is on its way: by link and kind, the oldest first.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Flights(Vec<Arc<Flight>>);

/// Messages that take each other's place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    PreVote,
    PreVoteReply,
    Vote,
    VoteReply,
    Append,
    AppendReply,
    Beat,
    BeatReply,
    Commit,
    SupplyRequest,
    Supply,
    Other,
}

impl Kind {
    pub(crate) fn of(message: &Message) -> Self {
        match message {
            Message::VoteRequest(request) => match request.ballot {
                Ballot::Pre => Self::PreVote,
                Ballot::Real => Self::Vote,
            },
            Message::VoteReply(reply) => match reply.ballot {
                Ballot::Pre => Self::PreVoteReply,
                Ballot::Real => Self::VoteReply,
            },
            Message::Append(_) => Self::Append,
            Message::AppendReply(_) => Self::AppendReply,
            Message::Beat(_) => Self::Beat,
            Message::BeatReply(_) => Self::BeatReply,
            Message::Commit { .. } => Self::Commit,
            Message::SupplyRequest { .. } => Self::SupplyRequest,
            Message::Supply(_) => Self::Supply,
            Message::TimeoutNow { .. }
            | Message::Forward(_)
            | Message::ForwardReply(_)
            | Message::ReadRequest { .. }
            | Message::ReadReply { .. } => Self::Other,
        }
    }
}

impl Flight {
    pub(crate) fn new(from: usize, to: usize, message: Message) -> Self {
        let digest = digest(&(from, to, &message));
        Self {
            from,
            to,
            message,
            digest,
        }
    }

    fn lane(&self) -> (usize, usize, Kind) {
        (self.from, self.to, Kind::of(&self.message))
    }
}

impl Flights {
    /// Sends one more; at most `most` of its kind stay on that link.
    pub(crate) fn send(&mut self, flight: Flight, most: usize) {
        if self.0.iter().any(|other| other.digest == flight.digest) {
            return;
        }
        let lane = flight.lane();
        let begin = self.0.partition_point(|other| other.lane() < lane);
        let end = self.0.partition_point(|other| other.lane() <= lane);
        self.0.insert(end, Arc::new(flight));
        if end - begin == most {
            self.0.remove(begin);
        }
    }

    /// It has come, and is not on its way any more.
    pub(crate) fn remove(&mut self, flight: &Flight) {
        self.0.retain(|other| other.digest != flight.digest);
    }

    /// Nothing outlives the boot that it was sent to.
    pub(crate) fn remove_to(&mut self, place: usize) {
        self.0.retain(|flight| flight.to != place);
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Flight) -> bool) {
        self.0.retain(|flight| keep(flight));
    }

    /// Nothing is on its way any more.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Flight>> {
        self.0.iter()
    }
}

impl Hash for Flights {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.0.len());
        self.0
            .iter()
            .for_each(|flight| state.write_u64(flight.digest));
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from + 1, self.to + 1);
        write!(f, "n{from} -> n{to}: {:?}", self.message)
    }
}
