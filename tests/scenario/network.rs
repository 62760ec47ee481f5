//! A simple network: messages lie in order of sending until a verb moves them.
//!
//! A link is what both nodes know of: it is up, or it is not. A cut is what nobody is told of: the
//! link looks healthy and messages vanish, one way or both.

use std::collections::BTreeSet;
use std::time::Duration;

use remember::consensus::{Message, NodeId};

use super::message::kind;

/// All messages on their way, and the state of all links.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) flights: Vec<Flight>,
    up: BTreeSet<(NodeId, NodeId)>,
    cut: BTreeSet<(NodeId, NodeId)>,
    held: Vec<Choice>,
}

/// A message on its way.
#[derive(Clone)]
pub(crate) struct Flight {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
    /// When it arrives while time runs.
    pub(crate) due: Duration,
}

/// What becomes of a message that was just sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    OnItsWay,
    NoLink,
    Cut,
}

/// Chooses messages: by the way they take, and by kind.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Any way if empty.
    pub(crate) routes: Vec<(NodeId, NodeId)>,
    /// Any kind if none.
    pub(crate) kind: Option<String>,
}

impl Choice {
    pub(crate) fn takes(&self, flight: &Flight) -> bool {
        let way = (flight.from, flight.to);
        (self.routes.is_empty() || self.routes.contains(&way))
            && self
                .kind
                .as_ref()
                .is_none_or(|wanted| wanted == kind(&flight.message))
    }
}

impl Network {
    /// Puts a message on its way, if there is one.
    pub(crate) fn send(&mut self, flight: Flight) -> Fate {
        if !self.linked(flight.from, flight.to) {
            return Fate::NoLink;
        }
        if self.cut.contains(&(flight.from, flight.to)) {
            return Fate::Cut;
        }
        self.flights.push(flight);
        Fate::OnItsWay
    }

    /// Whether both nodes know of a link between them.
    pub(crate) fn linked(&self, a: NodeId, b: NodeId) -> bool {
        self.up.contains(&(a.min(b), a.max(b)))
    }

    /// A new link: what was on the old one is gone.
    pub(crate) fn link(&mut self, a: NodeId, b: NodeId) {
        self.unlink(a, b);
        self.up.insert((a.min(b), a.max(b)));
    }

    /// Ends a link with all that was on it; says whether there was one.
    pub(crate) fn unlink(&mut self, a: NodeId, b: NodeId) -> bool {
        self.flights
            .retain(|it| (it.from, it.to) != (a, b) && (it.from, it.to) != (b, a));
        self.up.remove(&(a.min(b), a.max(b)))
    }

    /// Loses what is on its way to a process that is no more.
    pub(crate) fn ground(&mut self, to: NodeId, from: NodeId) {
        self.flights.retain(|it| (it.from, it.to) != (from, to));
    }

    /// Whether packets pass in both directions, which is what a dial needs.
    pub(crate) fn passes(&self, a: NodeId, b: NodeId) -> bool {
        !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a))
    }

    /// Lets messages from `from` to `to` vanish, those on their way among them.
    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
        self.flights.retain(|it| (it.from, it.to) != (from, to));
    }

    /// Lets messages pass again.
    pub(crate) fn heal(&mut self, from: NodeId, to: NodeId) {
        self.cut.remove(&(from, to));
    }

    /// Keeps such messages on their way until they are released.
    pub(crate) fn hold(&mut self, choice: Choice) {
        self.held.push(choice);
    }

    /// Ends all holds of exactly this choice, or all holds.
    pub(crate) fn release(&mut self, choice: &Choice) {
        let all = choice.routes.is_empty() && choice.kind.is_none();
        self.held.retain(|held| !all && held != choice);
    }

    /// Whether a message is held back.
    pub(crate) fn holds(&self, flight: &Flight) -> bool {
        self.held.iter().any(|choice| choice.takes(flight))
    }
}
