//! The simulated world: one time line, the machines on it, and whatever happens next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::Hash;
use std::time::Duration;

use remember::consensus::{
    Answer, Ask, ClusterId, Epoch, Incarnation, LinkEvent, MemberId, Membership, Message, NodeId,
    Output, Placed, Report, Term,
};
use remember::state::View;
use remember::wire::Introduction;

use super::churn::CALM;
use super::clients::Clients;
use super::clock::Clock;
use super::clusters::Clusters;
use super::digest::Digest;
use super::disk::Disk;
use super::faults::Mending;
use super::machine::{Life, Machine, Member};
use super::network::Network;
use super::oracle::Oracle;
use super::plan::Plan;
use super::rng::Rng;
use super::story::Story;
use super::tally::{Counted, Tally};

/// Everything there is in one run.
pub(crate) struct World {
    /// The time since the start.
    pub(crate) now: Duration,
    /// The run's terms.
    pub(crate) plan: Plan,
    /// The run's chance.
    pub(crate) rng: Rng,
    /// The machines, by id.
    pub(crate) machines: Vec<Machine>,
    /// What is between them.
    pub(crate) network: Network,
    /// Which clusters there are.
    pub(crate) clusters: Clusters,
    /// Those who use the one at hand.
    pub(crate) clients: Clients,
    /// Who watches that all is well in it.
    pub(crate) oracle: Oracle,
    /// What was exercised.
    pub(crate) tally: Tally,
    /// What happened, in words.
    pub(crate) story: Story,
    /// The hash of all outputs of all nodes.
    pub(crate) digest: Digest,
    /// Whether faults go on.
    pub(crate) troubled: bool,
    /// How many processes have started.
    pub(crate) lives: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    outputs: Vec<Output>,
    /// No member comes or goes before this time.
    pub(crate) churn_not_before: Duration,
    /// How often members left as dead by the word of one leader, and of which term it was.
    pub(crate) lapses: (Term, BTreeMap<MemberId, u32>),
    /// The witness of a pair cannot be reached before this time.
    pub(crate) witness_away_until: Duration,
}

/// Something that happens at a time.
pub(crate) enum Event {
    /// A machine starts its process.
    Start(NodeId),
    /// A process does something; void if it is another life by then, late if it is paused.
    Process(NodeId, Life, Deed),
    /// A message reaches the far end of its session.
    Arrival {
        session: usize,
        message: Box<Message>,
    },
    /// An attempt to dial reaches the other machine.
    Knock {
        from: NodeId,
        life: Life,
        introduction: Box<Introduction>,
        to: NodeId,
    },
    /// One end of a session learns that it is over.
    Ended { session: usize, end: End },
    /// A stopped process goes on.
    Resume(NodeId, Life),
    /// A client of the cluster of this epoch acts.
    Client(Epoch, usize),
    /// Such a client gives up waiting for an operation.
    GiveUp(Epoch, usize),
    /// A request comes to the witness of the pair of the cluster of this epoch.
    AtWitness {
        epoch: Epoch,
        from: NodeId,
        life: Life,
        request: u64,
        ask: Box<Ask>,
    },
    /// Something goes wrong.
    Fault,
    /// The members change.
    Churn,
    /// A cluster is given up, for another one to begin.
    GivenUp,
    /// Something that went wrong is put right.
    Mend(Mending),
}

/// What a process does or meets.
pub(crate) enum Deed {
    /// Hands its core all that has happened.
    Turn,
    /// Its core asked to be called by now.
    Wake,
    /// Dials a peer.
    Dial(NodeId),
    /// An attempt to dial has come to nothing.
    Undialed(NodeId, Box<LinkEvent>),
    /// A peer took the link, and introduces itself.
    Greeted {
        session: usize,
        introduction: Box<Introduction>,
    },
    /// A peer of another cluster has sent it away.
    SentAway(NodeId),
    /// Storage looks for something to write.
    Write,
    /// Storage has made its group of writes durable.
    Synced,
    /// A snapshot of its own is complete.
    SnapshotMade(Box<(View, Placed)>),
    /// Sends its newest snapshot.
    Ship { to: MemberId, term: Term },
    /// A piece of a snapshot has come.
    Piece { shipment: usize, offset: usize },
    /// No answer to a snapshot came in time.
    SnapshotGivenUp { to: MemberId, shipment: usize },
    /// A snapshot was delivered, or was not.
    SnapshotGone { to: MemberId, delivered: bool },
    /// Asks all other nodes what they know, to found a cluster.
    Ask,
    /// Was told what another node knows.
    Told { about: NodeId, report: Box<Report> },
    /// Makes its membership durable.
    Adopted(Box<Membership>),
    /// Is turned away by a peer, with a sentence.
    TurnedAway(String),
    /// Its witness has answered, or is not waited for any longer.
    Witnessed(u64, Box<Answer>),
    /// The power fails under it.
    LosePower,
}

/// An end of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The end that dialled, and sends.
    Sender,
    /// The end that was dialled, and receives.
    Receiver,
}

/// Small, for it is moved often while it waits: what is large is boxed.
struct Scheduled {
    at: Duration,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Adds a line to the world's story, and builds it only if anybody listens.
macro_rules! tell {
    ($world:expr, $($line:tt)*) => {
        if $world.story.is_told() {
            $world.story.tell($world.now, format_args!($($line)*));
        }
    };
}
pub(crate) use tell;

impl World {
    /// A world that starts all machines at once, with the given membership or none (R13).
    pub(crate) fn new(plan: Plan, mut rng: Rng, story: Story) -> Self {
        let ids: Vec<NodeId> = (1..=plan.nodes + plan.spares).map(NodeId).collect();
        let machines: Vec<Machine> = ids.iter().map(|id| machine(*id, &plan, &mut rng)).collect();
        let mut world = Self {
            now: Duration::ZERO,
            network: Network::new(&ids),
            clusters: Clusters::new(),
            clients: Clients::new(plan.clients),
            oracle: Oracle::default(),
            rng,
            machines,
            tally: Tally::new(),
            story,
            digest: Digest::default(),
            troubled: !plan.faults.is_empty(),
            lives: 0,
            queue: BinaryHeap::new(),
            scheduled: 0,
            outputs: Vec::new(),
            churn_not_before: CALM,
            lapses: (Term::default(), BTreeMap::new()),
            witness_away_until: Duration::ZERO,
            plan,
        };
        let is_apart = world.plan.apart.is_some();
        world.tally.count_many(Counted::Apart, u64::from(is_apart));
        world.lay_spare_disks();
        if !world.plan.founding {
            world.bestow_membership();
        }
        for id in ids {
            let delay = world.rng.micros(0, 20_000);
            world.after(delay, Event::Start(id));
        }
        for client in 0..world.plan.clients {
            let delay = world.rng.millis(0, 500);
            world.client_after(delay, client);
        }
        if world.troubled {
            world.schedule_fault();
        }
        if world.plan.spares > 0 {
            world.schedule_churn();
        }
        for at in world.plan.given_up.clone() {
            world.at(at, Event::GivenUp);
        }
        world
    }

    /// All nodes, by id: those of the founding, then the spare ones.
    pub(crate) fn ids(&self) -> Vec<NodeId> {
        (1..=self.plan.nodes + self.plan.spares)
            .map(NodeId)
            .collect()
    }

    /// Those of the founding.
    pub(crate) fn founders(&self) -> Vec<NodeId> {
        (1..=self.plan.nodes).map(NodeId).collect()
    }

    /// The machine of a node.
    pub(crate) fn machine(&self, id: NodeId) -> &Machine {
        &self.machines[place(id)]
    }

    /// The machine of a node, to be changed.
    pub(crate) fn machine_mut(&mut self, id: NodeId) -> &mut Machine {
        &mut self.machines[place(id)]
    }

    /// The member that a machine is, by the disk that is in it.
    pub(crate) fn name(&self, id: NodeId) -> MemberId {
        self.machine(id).name()
    }

    /// The running voter of a node.
    pub(crate) fn member(&mut self, id: NodeId) -> &mut Member {
        self.machine_mut(id)
            .member_mut()
            .expect("only asked of running voters")
    }

    /// Lets something happen after a while.
    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    /// Lets something happen at a time, which may not be past.
    pub(crate) fn at(&mut self, at: Duration, event: Event) {
        assert!(at >= self.now, "nothing can be scheduled in the past");
        self.scheduled += 1;
        let order = self.scheduled;
        self.queue.push(Reverse(Scheduled { at, order, event }));
    }

    /// Lets the process that now runs on a machine do something after a while.
    pub(crate) fn process_after(&mut self, id: NodeId, delay: Duration, deed: Deed) {
        let life = self
            .machine(id)
            .life()
            .expect("only asked of running processes");
        self.after(delay, Event::Process(id, life, deed));
    }

    /// Runs until `end`.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while self
            .queue
            .peek()
            .is_some_and(|Reverse(next)| next.at <= end)
        {
            self.step();
        }
        self.now = end;
        self.look_at(self.newest_epoch());
    }

    /// Runs for `span`.
    pub(crate) fn run_for(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    /// Takes the vector that outputs are collected in, to spare an allocation a turn.
    pub(crate) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Gives the vector back, empty.
    pub(crate) fn keep_outputs(&mut self, outputs: Vec<Output>) {
        assert!(outputs.is_empty(), "all outputs are carried out");
        self.outputs = outputs;
    }

    /// Makes an output part of the run's identity.
    pub(crate) fn hash(&mut self, thing: &impl Hash) {
        thing.hash(&mut self.digest);
    }

    /// Counts something.
    pub(crate) fn count(&mut self, what: Counted) {
        self.tally.count(what);
    }

    fn step(&mut self) {
        let Some(Reverse(Scheduled { at, event, .. })) = self.queue.pop() else {
            return;
        };
        self.now = at;
        match event {
            Event::Start(id) => self.start(id),
            Event::Process(id, life, deed) => self.act(id, life, deed),
            Event::Arrival { session, message } => self.arrive(session, message),
            Event::Knock {
                from,
                life,
                introduction,
                to,
            } => self.knock(from, life, &introduction, to),
            Event::Ended { session, end } => self.session_ended(session, end),
            Event::Resume(id, life) => self.resume(id, life),
            Event::Client(epoch, client) => {
                self.look_at(epoch);
                self.client_acts(client);
            }
            Event::GiveUp(epoch, operation) => {
                self.look_at(epoch);
                self.stop_waiting(operation);
            }
            Event::AtWitness {
                epoch,
                from,
                life,
                request,
                ask,
            } => {
                self.look_at(epoch);
                self.reach_witness(from, life, request, &ask);
            }
            Event::Fault => self.fault(),
            Event::Churn => {
                self.look_at(self.newest_epoch());
                self.churn();
            }
            Event::GivenUp => self.give_up(),
            Event::Mend(mending) => self.mend(&mending),
        }
    }

    fn act(&mut self, id: NodeId, life: Life, deed: Deed) {
        let Some(process) = &mut self.machine_mut(id).process else {
            return;
        };
        if process.life != life {
            return;
        }
        if process.paused {
            process.deferred.push(Event::Process(id, life, deed));
            return;
        }
        self.look_at(self.machine(id).epoch);
        match deed {
            Deed::Turn => self.turn(id),
            Deed::Wake => self.wake(id),
            Deed::Dial(peer) => self.redial(id, peer),
            Deed::Undialed(peer, event) => self.undialed(id, peer, *event),
            Deed::Greeted {
                session,
                introduction,
            } => self.greeted(id, session, &introduction),
            Deed::SentAway(peer) => self.sent_away(id, peer),
            Deed::Write => self.write_group(id),
            Deed::Synced => self.synced(id),
            Deed::SnapshotMade(made) => self.snapshot_made(id, &made.0, &made.1),
            Deed::Ship { to, term } => self.ship(id, to, term),
            Deed::Piece { shipment, offset } => self.piece(id, shipment, offset),
            Deed::SnapshotGivenUp { to, shipment } => self.snapshot_given_up(id, to, shipment),
            Deed::SnapshotGone { to, delivered } => self.snapshot_gone(id, to, delivered),
            Deed::Ask => self.ask(id),
            Deed::Told { about, report } => self.told(id, about, *report),
            Deed::Adopted(membership) => self.adopted(id, *membership),
            Deed::TurnedAway(sentence) => self.ends_turned_away(id, &sentence),
            Deed::Witnessed(request, answer) => self.witnessed(id, request, *answer),
            Deed::LosePower => self.lose_power_now(id),
        }
    }

    fn resume(&mut self, id: NodeId, life: Life) {
        let now = self.now;
        let Some(process) = &mut self.machine_mut(id).process else {
            return;
        };
        if process.life != life || !process.paused {
            return;
        }
        process.paused = false;
        let deferred = std::mem::take(&mut process.deferred);
        tell!(self, "{id:?} goes on, {} things waited", deferred.len());
        for event in deferred {
            self.at(now, event);
        }
    }

    /// Every disk has its name before anybody asks for it.
    fn lay_spare_disks(&mut self) {
        let founders = place(NodeId(self.plan.nodes)) + 1;
        for machine in &mut self.machines[founders..] {
            machine.lay_spare_disk();
        }
    }

    /// Gives every disk the same membership, as if the cluster had been founded before.
    fn bestow_membership(&mut self) {
        let cluster = ClusterId(self.rng.number());
        let founders = place(NodeId(self.plan.nodes)) + 1;
        let voters = self.machines[..founders].iter_mut().map(|machine| {
            let found = machine.disk.start().expect("nothing goes wrong yet");
            machine.incarnation = found.incarnation;
            MemberId {
                id: machine.id,
                incarnation: found.incarnation,
            }
        });
        let membership = Membership::founding(cluster, Epoch::FIRST, voters);
        for machine in &mut self.machines[..founders] {
            let adopted = machine.disk.adopt(membership.clone());
            adopted.expect("nothing goes wrong yet");
            machine.disk.kill();
        }
    }
}

pub(crate) fn place(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).expect("a small id")
}

fn machine(id: NodeId, plan: &Plan, rng: &mut Rng) -> Machine {
    let shown = rng.millis(0, 1_000_000);
    let rate = 1_000_000 - plan.drift
        + u32::try_from(rng.below(u64::from(plan.drift) * 2 + 1)).expect("a small drift");
    Machine {
        id,
        clock: Clock::new(shown, rate),
        disk: Disk::new(id, rng),
        incarnation: Incarnation(0),
        stalled_until: Duration::ZERO,
        rotted: false,
        copy: None,
        spare: false,
        epoch: Epoch::FIRST,
        recovery: None,
        aside: None,
        powered: true,
        gone: None,
        process: None,
    }
}
