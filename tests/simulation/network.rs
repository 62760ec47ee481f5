//! Links between processes, as TCP gives them, and everything that a network does to them.
//!
//! Each ordered pair of nodes has one link, which its first node dials and sends on. A link is a
//! row of sessions; each begins with a handshake of two `Hello`s and belongs to two lives, so that
//! no message ever outlives the boot it was sent to. A session ends at its two ends at different
//! times. Within a session messages are lost, repeated and reordered, worse than TCP would.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use remember::consensus::{Epoch, Input, LinkEvent, MemberId, Message, NodeId, Rejection};
use remember::wire::{Introduction, Verdict};

use super::machine::{Gone, Life};
use super::tally::Counted;
use super::world::{Deed, End, Event, World, tell};

/// Cuts and sessions.
pub(crate) struct Network {
    /// The ways that carry nothing: from, to.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// All sessions that ever were.
    pub(crate) sessions: Vec<Session>,
    /// Those of them that may be open at either end.
    open: Vec<usize>,
    /// How much longer each way takes than the plan says.
    slow: BTreeMap<(NodeId, NodeId), u32>,
    /// Snapshots under way.
    pub(crate) shipments: Vec<Option<super::snapshots::Shipment>>,
}

/// A link's session.
pub(crate) struct Session {
    /// Who dialled, and sends.
    pub(crate) from: NodeId,
    /// The life it sends from.
    pub(crate) from_life: Life,
    /// Who receives.
    pub(crate) to: NodeId,
    /// The life that it sends to.
    pub(crate) to_life: Life,
    /// Who said to be at either end: the one that sends, and the one that receives.
    pub(crate) members: (MemberId, MemberId),
    /// The epochs of the clusters at either end.
    pub(crate) epochs: (Epoch, Epoch),
    /// Whether the sender thinks that it is up.
    pub(crate) sender_open: bool,
    /// Whether the receiver takes what arrives.
    pub(crate) receiver_open: bool,
    /// When the last message arrives.
    pub(crate) last_arrival: Duration,
}

/// The longest that anything is on its way.
pub(crate) const LATEST: Duration = Duration::from_secs(1);

impl Network {
    /// A whole network.
    pub(crate) fn new(ids: &[NodeId]) -> Self {
        let pairs = ids
            .iter()
            .flat_map(|from| ids.iter().map(move |to| ((*from, *to), 1)));
        Self {
            cut: BTreeSet::new(),
            sessions: Vec::new(),
            open: Vec::new(),
            slow: pairs.collect(),
            shipments: Vec::new(),
        }
    }

    /// The sessions that are open at either end, in the order in which they began.
    pub(crate) fn open_sessions(&mut self) -> Vec<usize> {
        let sessions = &self.sessions;
        let is_open = |at: &usize| sessions[*at].sender_open || sessions[*at].receiver_open;
        self.open.retain(is_open);
        self.open.clone()
    }

    /// A session begins. The one before on the same way ends for who receives.
    fn begin(&mut self, session: Session) -> usize {
        for before in self.open_sessions() {
            let before = &mut self.sessions[before];
            if (before.from, before.to) == (session.from, session.to) {
                before.receiver_open = false;
            }
        }
        self.sessions.push(session);
        let at = self.sessions.len() - 1;
        self.open.push(at);
        at
    }

    /// Whether packets of both directions pass.
    pub(crate) fn connects(&self, a: NodeId, b: NodeId) -> bool {
        !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a))
    }

    /// Makes a way take `times` as long.
    pub(crate) fn slow_down(&mut self, from: NodeId, to: NodeId, times: u32) {
        self.slow.insert((from, to), times);
    }

    /// Everything whole and as fast as the plan says.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.slow.values_mut().for_each(|times| *times = 1);
    }
}

impl World {
    /// How long something takes from one machine to another.
    pub(crate) fn latency(&mut self, from: NodeId, to: NodeId) -> Duration {
        let (low, high) = self.plan.weather.micros;
        self.rng.micros(low, high) * self.network.slow.get(&(from, to)).copied().unwrap_or(1)
    }

    /// Sends on the session that is up; what has no session is lost.
    pub(crate) fn send(&mut self, from: NodeId, to: MemberId, message: Message) {
        let session = self.session(from, to.id);
        let session = session.filter(|at| self.network.sessions[*at].members.1 == to);
        let to = to.id;
        let Some(session) = session else {
            self.count(Counted::DeadLinks);
            return;
        };
        let weather = self.plan.weather;
        let cut = self.network.cut.contains(&(from, to));
        if cut || (self.troubled && self.rng.chance(weather.lost)) {
            self.count(Counted::Lost);
            return;
        }
        if self.troubled && self.rng.chance(weather.repeated) {
            self.count(Counted::Repeated);
            let delay = self.latency(from, to) * 3;
            let message = Box::new(message.clone());
            self.after(delay, Event::Arrival { session, message });
        }
        let mut delay = self.latency(from, to);
        if self.troubled && self.rng.chance(weather.late) {
            delay *= u32::try_from(self.rng.between(2, 100)).expect("small");
        }
        let mut at = self.now + delay.min(LATEST);
        let last = self.network.sessions[session].last_arrival;
        if at < last {
            if weather.ordered {
                at = last;
            } else {
                self.count(Counted::Overtaken);
            }
        }
        self.network.sessions[session].last_arrival = at.max(last);
        self.at(
            at,
            Event::Arrival {
                session,
                message: Box::new(message),
            },
        );
    }

    /// The session on which `from` sends to `to`.
    pub(crate) fn session(&self, from: NodeId, to: NodeId) -> Option<usize> {
        self.machine(from).member()?.links.get(&to)?.session
    }

    /// A message is there, if its session still is.
    pub(crate) fn arrive(&mut self, session: usize, message: Box<Message>) {
        let Session {
            from,
            to,
            to_life,
            receiver_open,
            members: (sender, _),
            epochs: (sent_in, heard_in),
            ..
        } = self.network.sessions[session];
        if !receiver_open || self.network.cut.contains(&(from, to)) {
            self.count(Counted::DeadLinks);
            return;
        }
        self.look_at(self.machine(to).epoch);
        let Some(process) = &mut self.machine_mut(to).process else {
            return;
        };
        assert_eq!(
            process.life, to_life,
            "an open session leads to a dead process"
        );
        if process.paused {
            process.deferred.push(Event::Arrival { session, message });
            return;
        }
        assert_eq!(
            sent_in, heard_in,
            "{to:?} hears {from:?} of another cluster: {message:?}"
        );
        tell!(self, "{from:?} -> {to:?} {message:?}");
        self.input(
            to,
            Input::Message {
                from: sender,
                message: *message,
            },
        );
    }

    /// A process dials a peer again, unless it has a link by now or is about to.
    pub(crate) fn redial(&mut self, from: NodeId, to: NodeId) {
        let link = self.member(from).links.entry(to).or_default();
        if link.session.is_none() && link.dialing == 0 {
            self.dial(from, to);
        }
    }

    /// The core wants to know whether a peer is there.
    pub(crate) fn probe(&mut self, from: NodeId, to: NodeId) {
        if self.plan.probes_anew || self.session(from, to).is_none() {
            self.dial(from, to);
        }
    }

    /// A process dials a peer; what comes of it is known later.
    pub(crate) fn dial(&mut self, from: NodeId, to: NodeId) {
        let life = self.machine(from).life().expect("it dials");
        let member = self.member(from);
        let link = member.links.entry(to).or_default();
        if link.dialing >= 2 {
            return;
        }
        link.dialing += 1;
        if self.passes(from, to) {
            let introduction = Box::new(self.member(from).introduction(to));
            let delay = self.latency(from, to);
            self.after(
                delay,
                Event::Knock {
                    from,
                    life,
                    introduction,
                    to,
                },
            );
        } else {
            self.dial_in_vain(from, life, to);
        }
    }

    /// An attempt to dial reaches the machine `to`, or what is left of it.
    pub(crate) fn knock(
        &mut self,
        from: NodeId,
        life: Life,
        introduction: &Introduction,
        to: NodeId,
    ) {
        self.look_at(self.machine(to).epoch);
        if !self.passes(from, to) {
            self.dial_in_vain(from, life, to);
            return;
        }
        let back = self.latency(to, from);
        let machine = self.machine(to);
        let Some(to_life) = machine.life() else {
            let deed = Deed::Undialed(to, Box::new(LinkEvent::Refused));
            self.after(back, Event::Process(from, life, deed));
            return;
        };
        let Some(member) = machine.member().filter(|_| machine.responds()) else {
            self.dial_in_vain(from, life, to);
            return;
        };
        let answer = Box::new(member.introduction(from));
        if !self.belong_together(&answer, introduction) {
            return self.after(back, Event::Process(from, life, Deed::SentAway(to)));
        }
        let hello = introduction.hello().expect("it is a member");
        let member = self.machine(to).member().expect("it answers");
        let verdict = member.node.admit(&hello);
        self.oracle.judged(self.name(to), &hello, &verdict);
        if let Err(rejection) = verdict {
            tell!(self, "{to:?} turns {from:?} away: {rejection}");
            if matches!(rejection, Rejection::Removed { .. }) {
                self.count(Counted::Removed);
                let is_replaced = self.machine(from).is_replaced();
                (self.tally).count_many(Counted::ReplacedTurned, u64::from(is_replaced));
                let deed = Deed::Undialed(to, Box::new(LinkEvent::Unreachable));
                return self.after(back, Event::Process(from, life, deed));
            }
            self.turned_away(hello.member, &rejection);
            let deed = Deed::TurnedAway(rejection.to_string());
            self.after(back, Event::Process(from, life, deed));
            return;
        }
        let session = self.network.begin(Session {
            from,
            from_life: life,
            to,
            to_life,
            members: (hello.member, answer.name()),
            epochs: (epoch_of(introduction), epoch_of(&answer)),
            sender_open: false,
            receiver_open: true,
            last_arrival: self.now,
        });
        let deed = Deed::Greeted {
            session,
            introduction: answer,
        };
        self.after(back, Event::Process(from, life, deed));
        let event = LinkEvent::Up(hello);
        self.input(to, Input::Link { peer: from, event });
    }

    fn turned_away(&mut self, member: MemberId, rejection: &Rejection) {
        self.count(Counted::Turned);
        if self.machine(member.id).gone == Some(Gone::OldCopy) {
            self.count(Counted::OldCopies);
            if let Rejection::OldBoot { met, given, .. } = rejection
                && given.count() > met.count()
            {
                self.count(Counted::BusyCopies);
            }
        }
        self.oracle.turned_away(member, rejection);
    }

    /// The peer took the link: it is up, if the peer's own introduction is taken here.
    pub(crate) fn greeted(&mut self, id: NodeId, session: usize, theirs: &Introduction) {
        let Session {
            to, receiver_open, ..
        } = self.network.sessions[session];
        let ours = self.member(id).introduction(to);
        let together = self.belong_together(&ours, theirs);
        let hello = theirs.hello().expect("it is a member");
        let admitted = self.member(id).node.admit(&hello);
        assert!(together, "{to:?} takes a link that {id:?} refuses");
        self.oracle.judged(self.name(id), &hello, &admitted);
        if let Err(rejection) = &admitted {
            tell!(self, "{id:?} turns {to:?} away: {rejection}");
            if !matches!(rejection, Rejection::Removed { .. }) {
                self.turned_away(hello.member, rejection);
            }
        }
        if admitted.is_err() || !receiver_open {
            self.network.sessions[session].receiver_open = false;
            self.undialed(id, to, LinkEvent::Unreachable);
            // The one before ended when the peer took this one.
            if let Some(old) = self.session(id, to) {
                let is_over = !self.network.sessions[old].receiver_open;
                if is_over {
                    self.session_ended(old, End::Sender);
                }
            }
            return;
        }
        let member = self.member(id);
        let link = member.links.entry(to).or_default();
        link.dialing -= 1;
        let old = link.session.replace(session);
        if let Some(old) = old {
            self.network.sessions[old].sender_open = false;
        }
        self.network.sessions[session].sender_open = true;
        tell!(
            self,
            "{id:?} has a link to {to:?} {:?}",
            hello.boots.newest()
        );
        let event = LinkEvent::Up(hello);
        self.input(id, Input::Link { peer: to, event });
    }

    /// Whether two nodes are of one cluster, by what they say of themselves.
    fn belong_together(&mut self, ours: &Introduction, theirs: &Introduction) -> bool {
        let is_same = epoch_of(ours) == epoch_of(theirs);
        let (me, other) = (ours.name(), theirs.name());
        match ours.judge(theirs) {
            Verdict::Welcome => {
                assert!(
                    is_same,
                    "{me:?} takes {other:?} of another cluster for one of its own"
                );
                true
            }
            Verdict::Refused { sentence, .. } => {
                tell!(self, "{me:?} refuses {other:?}: {sentence}");
                assert!(!is_same, "{me:?} refuses {other:?}, a member: {sentence}");
                self.count(Counted::KeptApart);
                false
            }
            verdict => panic!("two members meet, and it is said: {verdict:?}"),
        }
    }

    /// A peer of another cluster is as good as not there, and not a word to the core.
    pub(crate) fn sent_away(&mut self, id: NodeId, peer: NodeId) {
        let link = self.member(id).links.entry(peer).or_default();
        link.dialing -= 1;
        if link.session.is_none() && link.dialing == 0 {
            let delay = self.rng.millis(5, 100);
            self.process_after(id, delay, Deed::Dial(peer));
        }
    }

    /// Dialling has come to nothing: the core is told, and it is tried again in a while.
    pub(crate) fn undialed(&mut self, id: NodeId, peer: NodeId, event: LinkEvent) {
        self.sent_away(id, peer);
        self.input(id, Input::Link { peer, event });
    }

    /// One end of a session hears that it is over.
    pub(crate) fn session_ended(&mut self, session: usize, end: End) {
        let Session {
            from,
            from_life,
            to,
            ..
        } = self.network.sessions[session];
        if end == End::Receiver {
            self.network.sessions[session].receiver_open = false;
            return;
        }
        if !self.network.sessions[session].sender_open {
            return;
        }
        let process = self
            .machine_mut(from)
            .process
            .as_mut()
            .expect("its session is open");
        assert_eq!(
            process.life, from_life,
            "an open session comes from a dead process"
        );
        if process.paused {
            process.deferred.push(Event::Ended { session, end });
            return;
        }
        self.network.sessions[session].sender_open = false;
        self.network.sessions[session].receiver_open = false;
        let link = self.member(from).links.entry(to).or_default();
        if link.session == Some(session) {
            link.session = None;
            self.input(
                from,
                Input::Link {
                    peer: to,
                    event: LinkEvent::Ended,
                },
            );
            let delay = self.rng.micros(0, 5000);
            self.process_after(from, delay, Deed::Dial(to));
        }
    }

    /// A node ends its sessions with a peer.
    pub(crate) fn part(&mut self, id: NodeId, from: MemberId) {
        let peer = from.id;
        tell!(self, "{id:?} parts from {peer:?}");
        for session in self.network.open_sessions() {
            let open = &mut self.network.sessions[session];
            let (speaker, hearer) = open.members;
            if speaker != from && hearer != from {
                continue;
            }
            if (open.from, open.to) == (id, peer) {
                self.session_ended(session, End::Sender);
            } else if (open.from, open.to) == (peer, id) && open.receiver_open {
                open.receiver_open = false;
                let delay = if self.network.connects(id, peer) {
                    self.latency(id, peer)
                } else {
                    self.rng.millis(500, 4000)
                };
                let end = End::Sender;
                self.after(delay, Event::Ended { session, end });
            }
        }
    }

    /// A process is gone: the far ends of its sessions find out, soon or late.
    pub(crate) fn end_sessions(&mut self, id: NodeId, power: bool) {
        for session in self.network.open_sessions() {
            let Session {
                from,
                to,
                sender_open,
                receiver_open,
                ..
            } = self.network.sessions[session];
            if !sender_open && !receiver_open {
                continue;
            }
            let (other, end) = if from == id {
                self.network.sessions[session].sender_open = false;
                (to, End::Receiver)
            } else if to == id {
                self.network.sessions[session].receiver_open = false;
                (from, End::Sender)
            } else {
                continue;
            };
            let silent = power || !self.network.connects(id, other);
            let delay = if silent {
                self.rng.millis(500, 4000)
            } else {
                self.latency(id, other)
            };
            self.after(delay, Event::Ended { session, end });
        }
    }

    /// Whether packets go from one machine to the other and back.
    pub(crate) fn passes(&self, from: NodeId, to: NodeId) -> bool {
        self.network.connects(from, to) && self.machine(to).powered
    }

    fn dial_in_vain(&mut self, from: NodeId, life: Life, to: NodeId) {
        let delay = self.rng.millis(20, 200);
        let deed = Deed::Undialed(to, Box::new(LinkEvent::Unreachable));
        self.after(delay, Event::Process(from, life, deed));
    }
}

fn epoch_of(introduction: &Introduction) -> Epoch {
    let member = introduction.member.as_ref();
    member.expect("it is a member").membership.epoch
}
