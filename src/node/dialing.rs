//! Who is dialled: everybody whom the cluster names, from then on until it names them no more.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::context::Context;
use super::dialer::keep_linked;
use super::task::Task;
use crate::consensus::{Node, NodeId, Position};

/// The dialers of one node.
#[derive(Debug)]
pub(super) struct Dialing {
    context: Rc<Context>,
    dialers: BTreeMap<NodeId, Task<()>>,
    /// By which configurations those were chosen: the newest, and the newest that is agreed on.
    chosen_by: Option<(Position, Position)>,
}

impl Dialing {
    /// Nobody is dialled yet.
    pub(super) fn new(context: Rc<Context>) -> Self {
        Self {
            context,
            dialers: BTreeMap::new(),
            chosen_by: None,
        }
    }

    /// Chooses anew at the next turn: somebody came or went whom no configuration tells of.
    pub(super) fn choose_again(&mut self) {
        self.chosen_by = None;
    }

    /// Dials whoever is named by now, and nobody else; says who that is, if anything may have
    /// changed.
    pub(super) fn choose(&mut self, node: &Node) -> Option<BTreeSet<NodeId>> {
        let by = (node.newest_configuration().0, node.agreed().0);
        if self.chosen_by == Some(by) {
            return None;
        }
        self.chosen_by = Some(by);
        let seats = node.newest_configuration().1.seats();
        for (joined, _) in seats.filter(|(_, seat)| seat.since > Position::START) {
            self.context.addresses.loosen(joined.id);
        }
        let mut named = node.neighbours();
        named.insert(self.context.settings.id);
        self.context.addresses.keep_only(&named);
        named.remove(&self.context.settings.id);
        for peer in &named {
            self.dialers.entry(*peer).or_insert_with(|| {
                self.context.peers.meet(*peer);
                Task::of(keep_linked(Rc::clone(&self.context), *peer))
            });
        }
        self.dialers.retain(|peer, _| named.contains(peer));
        self.context.peers.leave_all_but(&named);
        Some(named)
    }

    /// Nobody waits any longer before the next dial.
    pub(super) fn dial_all_now(&self) {
        for peer in self.context.peers.ids() {
            if let Some(peer) = self.context.peers.of(peer) {
                peer.dial_now.notify_one();
            }
        }
    }
}
