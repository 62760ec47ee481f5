//! The other nodes that this one has to do with, and the sending side to each.
//!
//! Who they are follows from who belongs to the cluster: the driver has a peer met when it is named
//! and left when it is not. A peer is an id, wherever it runs and on whichever disk; which disk a
//! link leads to is said when the link comes up.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tokio::sync::{Notify, watch};

use super::outbox::Outbox;
use crate::consensus::{Incarnation, MemberId, NodeId};
use crate::wire::Packet;

/// The sending side to one peer.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) outbox: Outbox,
    /// Ends the wait before the next dial (S8).
    pub(super) dial_now: Notify,
    /// On which disk it was removed: the links with that end, in both directions.
    pub(super) parted: watch::Sender<Option<Incarnation>>,
    /// What it was last told about the snapshot that it sends.
    pub(super) acknowledged: RefCell<Option<(MemberId, Packet)>>,
    /// What was said last to be wrong between the two: it is said once, not with every dial.
    pub(super) wrong: RefCell<String>,
}

impl Peer {
    /// Waits until the peer is removed on this disk.
    pub(super) async fn parted(&self, from: Incarnation) {
        let mut parted = self.parted.subscribe();
        parted.mark_unchanged();
        while parted.changed().await.is_ok() {
            if *parted.borrow_and_update() == Some(from) {
                return;
            }
        }
    }
}

/// All of them, by id. All their users run on one thread.
#[derive(Debug, Default)]
pub(super) struct Peers(RefCell<BTreeMap<NodeId, Rc<Peer>>>);

impl Peers {
    /// These, to none of which there is a link.
    pub(super) fn new(ids: impl IntoIterator<Item = NodeId>) -> Self {
        let met = ids.into_iter().map(|id| (id, Rc::default()));
        Self(RefCell::new(met.collect()))
    }

    /// The sending side to a peer, if this node has to do with it.
    pub(super) fn of(&self, id: NodeId) -> Option<Rc<Peer>> {
        self.0.borrow().get(&id).cloned()
    }

    /// The sending side to a peer, from now on if there was none.
    pub(super) fn meet(&self, id: NodeId) -> Rc<Peer> {
        Rc::clone(self.0.borrow_mut().entry(id).or_default())
    }

    /// Has to do with nobody else any more. Whoever still reads from a peer holds on to it: what it
    /// has said may not have been judged yet.
    pub(super) fn leave_all_but(&self, named: &BTreeSet<NodeId>) {
        let mut met = self.0.borrow_mut();
        met.retain(|id, peer| named.contains(id) || Rc::strong_count(peer) > 1);
    }

    /// Who they are.
    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.0.borrow().keys().copied().collect()
    }
}
