//! What the tasks of one node share. All of them run on one thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::info;

use super::addresses::Addresses;
use super::handle::{Changed, Unchanged};
use super::peers::Peers;
use super::settings::Settings;
use crate::consensus::{
    Answer, Boot, ChangeRefusal, Hello, Incarnation, LinkEvent, MemberId, Membership, Node, NodeId,
    Position, Rejection, Term,
};
use crate::state::View;
use crate::storage::{FileDisk, ReceivedSnapshot};
use crate::wire::{Introduction, Member, MemberAddress, Packet, Reason, Verdict, Welcome};

/// Events that wait for the driver at most; beyond it the links stop reading.
pub(super) const EVENTS_MAX: usize = 4096;

/// Something that happened outside the engine.
#[derive(Debug)]
pub(super) enum Event {
    /// The link to a peer changed.
    Link(NodeId, LinkEvent),
    /// A peer has opened a link, and says where it is reached.
    Accepted(Box<Hello>, MemberAddress),
    /// A member said something, over a link that began in this boot of it; with its share of the
    /// bytes that may wait.
    Packet(MemberId, Boot, Packet, Option<OwnedSemaphorePermit>),
    /// The own snapshot at this position is published, or could not be.
    SnapshotWritten(Position, Result<(), String>),
    /// A snapshot was sent to a peer whole, or was not.
    SnapshotSent(MemberId, bool),
    /// A snapshot came whole; or what came is of no use.
    SnapshotReceived(MemberId, Term, Position, Result<Box<Received>, String>),
    /// Somebody wants to belong to the cluster (S7).
    Register(MemberId, oneshot::Sender<Changed>),
    /// The cluster turned this node away: it must stop and say why (R13, R15).
    TurnedAway(String),
    /// The cluster goes on without this node, which said to be a member since that entry. It must
    /// stop and say so, or join again.
    Removed(Position, String),
    /// What became of a request to the witness.
    Witness(u64, Answer),
    /// It joined again.
    Welcomed(Box<Membership>),
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
    pub(super) peers: Peers,
    pub(super) addresses: Rc<Addresses>,
    /// While this node asks everybody whom it dials to register it: since when it said to be a
    /// member as the cluster turned out to go on without it.
    registers: Cell<Option<Position>>,
    own: MemberAddress,
}

impl Context {
    pub(super) fn new(
        settings: Settings,
        own: MemberAddress,
        addresses: Rc<Addresses>,
        incarnation: Incarnation,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let peers = Peers::new(settings.peers());
        Self {
            own,
            addresses,
            settings,
            incarnation,
            engine: RefCell::new(None),
            events,
            peers,
            registers: Cell::default(),
        }
    }

    /// This node, on its disk.
    pub(super) fn name(&self) -> MemberId {
        MemberId {
            id: self.settings.id,
            incarnation: self.incarnation,
        }
    }

    /// Since which entry this node says to be a member.
    pub(super) fn since(&self) -> Position {
        let engine = self.engine.borrow();
        let engine = engine.as_ref();
        let since = engine.and_then(|(_, node)| node.configuration().since(self.name()));
        since.unwrap_or_default()
    }

    /// Whether this node is one of two, and knows of no change: then nobody has asked for its
    /// removal, which needs the word of both, and the other has gone on alone (R17).
    pub(super) fn is_one_of_two(&self) -> bool {
        let engine = self.engine.borrow();
        let pair = (engine.as_ref()).and_then(|(_, node)| node.configuration().pair());
        pair.is_some_and(|pair| pair.contains(&self.name()))
    }

    /// Asks whoever is dialled to register this node, which said to be a member since that entry;
    /// whether that is news.
    pub(super) fn register_anew(&self, since: Position) -> bool {
        self.registers.replace(Some(since)).is_none()
    }

    /// Whether this node asks to be registered.
    pub(super) fn registers(&self) -> bool {
        self.registers.get().is_some()
    }

    /// This node belongs to the cluster, and asks for nothing any more.
    pub(super) fn is_registered(&self) {
        self.registers.set(None);
    }

    /// Takes in that the configuration may have changed. Whoever is named anew is registered, even
    /// if nobody could tell it so: else it would undo its next removal with its next dial.
    pub(super) fn watch_registration(&self) {
        let gone = self.registers.get();
        if gone.is_some_and(|gone| self.since() > gone) {
            self.is_registered();
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
            registers: self.registers(),
        }
    }

    /// Registers a node with the cluster, if this one leads it; what that node is to be told.
    pub(super) async fn register(&self, whom: &Introduction) -> Verdict {
        if whom.member.is_none() && self.is_founder(whom.name()) {
            // It is told by our introduction: that names it, if it was at the founding.
            return Verdict::Noted;
        }
        if let Err(rejection) = self.demand_memory(whom) {
            return Verdict::from(&rejection);
        }
        let (reply, changed) = oneshot::channel();
        self.tell(Event::Register(whom.name(), reply)).await;
        match changed.await {
            Ok(Ok(()) | Err(Unchanged::Refused(ChangeRefusal::Named(_)))) => {
                self.addresses.loosen(whom.id);
                self.addresses.introduce(whom.id, whom.address());
                self.welcome(whom.name())
            }
            Ok(Err(Unchanged::Refused(ChangeRefusal::NotLeader))) => self.send_on(),
            Ok(Err(Unchanged::Refused(refusal @ ChangeRefusal::Taken(_)))) => {
                Verdict::refused(Reason::Busy, &refusal.to_string())
            }
            Ok(Err(unchanged @ Unchanged::Refused(ChangeRefusal::TooMany(_)))) => {
                Verdict::refused(Reason::Other, &unchanged.to_string())
            }
            // It asks again before long.
            Ok(Err(_)) | Err(_) => Verdict::Noted,
        }
    }

    /// Whether it belongs since the founding, and was never met: it may not have heard of that yet.
    fn is_founder(&self, name: MemberId) -> bool {
        let engine = self.engine.borrow();
        engine.as_ref().is_some_and(|(_, node)| {
            let since = node.agreed().1.since(name);
            since == Some(Position::START) && !node.has_met(name)
        })
    }

    /// A member's disk knows its cluster before it says or hears anything as a member.
    fn demand_memory(&self, whom: &Introduction) -> Result<(), Rejection> {
        let (name, engine) = (whom.name(), self.engine.borrow());
        let is_member = engine.as_ref().is_some_and(|(_, node)| {
            let (_, agreed) = node.agreed();
            agreed.counts(name) || node.has_met(name)
        });
        if whom.member.is_none() && is_member {
            return Err(Rejection::Forgetful { id: whom.id });
        }
        Ok(())
    }

    /// Takes in where the others are; what is left of a welcome is to be made durable.
    pub(super) fn settle(&self, welcome: Welcome) -> Membership {
        let Welcome {
            membership,
            contacts,
        } = welcome;
        let (position, configuration) = &membership.settled;
        let seats = configuration.seats();
        for (joined, _) in seats.filter(|(_, seat)| seat.since > Position::START) {
            self.addresses.loosen(joined.id);
        }
        for (id, at) in contacts {
            self.addresses.introduce(id, at);
        }
        info!(
            cluster = format!("{:016x}", membership.cluster.0),
            epoch = membership.epoch.0,
            index = position.index.0,
            members = configuration.seats().len(),
            "registered"
        );
        membership
    }

    fn welcome(&self, whom: MemberId) -> Verdict {
        let engine = self.engine.borrow();
        let Some((membership, node)) = &*engine else {
            return Verdict::Noted;
        };
        let settled = node.agreed().clone();
        if !settled.1.names(whom) {
            return Verdict::Noted;
        }
        let ids: BTreeSet<_> = settled.1.members().map(|member| member.id).collect();
        let reached = |id: NodeId| Some((id, self.addresses.of(id)?));
        let welcome = Welcome {
            membership: Membership {
                cluster: membership.cluster,
                epoch: membership.epoch,
                settled,
            },
            contacts: ids.into_iter().filter_map(reached).collect(),
        };
        Verdict::Registered(Box::new(welcome))
    }

    /// Names the leader, if one is known and where it is.
    fn send_on(&self) -> Verdict {
        let engine = self.engine.borrow();
        let leader = engine.as_ref().and_then(|(_, node)| node.status().leader);
        let contact = leader.and_then(|id| Some((id, self.addresses.of(id)?)));
        contact.map_or(Verdict::Noted, |contact| {
            Verdict::AskLeader(Box::new(contact))
        })
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
