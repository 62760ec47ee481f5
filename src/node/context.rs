//! What the tasks of one node share. All of them run on one thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, watch};

use super::addresses::Addresses;
use super::outbox::Outbox;
use super::settings::Settings;
use crate::consensus::{
    Boot, Hello, Incarnation, LinkEvent, MemberId, Membership, Node, NodeId, Rejection,
};
use crate::consensus::{Position, Term};
use crate::discovery::MemberAddress;
use crate::state::View;
use crate::storage::{FileDisk, ReceivedSnapshot};
use crate::wire::{Introduction, Member, Packet};

/// Events that wait for the driver at most; beyond it the links stop reading.
pub(super) const EVENTS_MAX: usize = 4096;

/// Something that happened outside the engine.
#[derive(Debug)]
pub(super) enum Event {
    /// The link to a peer changed.
    Link(NodeId, LinkEvent),
    /// A member said something, over a link that began in this boot of it; with its share of the
    /// bytes that may wait.
    Packet(MemberId, Boot, Packet, Option<OwnedSemaphorePermit>),
    /// The own snapshot at this position is published, or could not be.
    SnapshotWritten(Position, Result<(), String>),
    /// A snapshot was sent to a peer whole, or was not.
    SnapshotSent(MemberId, bool),
    /// A snapshot came whole; or what came is of no use.
    SnapshotReceived(MemberId, Term, Position, Result<Box<Received>, String>),
    /// The cluster turned this node away: it must stop and say why (R13, R15).
    TurnedAway(String),
}

/// A snapshot from the leader, verified and restored beside the live state.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) snapshot: ReceivedSnapshot<FileDisk>,
    pub(super) view: View,
}

/// Shared by the driver and the links.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) settings: Settings,
    pub(super) incarnation: Incarnation,
    /// The engine, once the cluster is founded.
    pub(super) engine: RefCell<Option<(Membership, Node)>>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) addresses: Rc<Addresses>,
    own: MemberAddress,
}

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

impl Context {
    pub(super) fn new(
        settings: Settings,
        own: MemberAddress,
        addresses: Rc<Addresses>,
        incarnation: Incarnation,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let peers = settings.peers().map(|id| (id, Peer::default())).collect();
        Self {
            own,
            addresses,
            settings,
            incarnation,
            engine: RefCell::new(None),
            events,
            peers,
        }
    }

    /// How this node introduces itself to the one that it believes to be `expects`.
    pub(super) fn introduction(&self, expects: NodeId) -> Introduction {
        let engine = self.engine.borrow();
        Introduction {
            id: self.settings.id,
            expects,
            incarnation: self.incarnation,
            api: self.own.api.clone(),
            peer: self.own.peer.clone(),
            member: engine
                .as_ref()
                .map(|(membership, node)| Member::new(membership.clone(), &node.hello())),
        }
    }

    /// Judges a member that wants a link (R13, R15).
    pub(super) fn admit(&self, hello: &Hello) -> Result<(), Rejection> {
        match &*self.engine.borrow() {
            Some((_, node)) => node.admit(hello),
            None => Ok(()),
        }
    }

    /// Tells the driver; it is gone only when the node ends.
    pub(super) async fn tell(&self, event: Event) {
        drop(self.events.send(event).await);
    }
}
