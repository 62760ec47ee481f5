//! A stand-in for the driver, for tests of what is built on a [`Handle`]: one node, no log, no
//! peers; its store is real, its answers are as it is told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::addresses::Addresses;
use super::backup::Frozen;
use super::handle::{Attempt, Changed, Handle, Phase, Request, Shared, Unchanged};
use super::witness::WitnessState;
use crate::consensus::{
    Change, ChangeRefusal, ClusterId, Configuration, Incarnation, Index, MemberId, NodeId, Payload,
    Position, Refusal, Role, Seat, Status, Term,
};
use crate::state::{Outcome, Store};
use crate::wire::{Address, MemberAddress};

const CLUSTER: ClusterId = ClusterId(0xc1);
const INCARNATION: Incarnation = Incarnation(u64::MAX);

/// What the stand-in answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mood {
    /// Does as asked.
    Willing,
    /// Refuses, with nothing written.
    Leaderless,
    /// Writes, but loses the answer.
    Forgetful,
    /// Takes a minute to hand over in vain, or as long as it may; then it does as asked.
    SlowAtFirst,
    /// Never answers.
    Silent,
}

/// The stand-in; dropping it ends the node.
#[derive(Debug)]
pub(crate) struct FakeDriver {
    shared: Rc<Shared>,
    mood: Rc<Cell<Mood>>,
    task: tokio::task::JoinHandle<()>,
}

impl FakeDriver {
    /// Node 1 of the members 1 to 3, which leads term 7, and a handle to it.
    pub(crate) fn start(store: Store, request_timeout: Duration) -> (Self, Handle) {
        let addresses = (1..=3).map(|id| {
            let at = |port| Address {
                host: "localhost".to_owned(),
                port,
            };
            let (peer, api) = (at(8100 + id), at(8000 + id));
            (NodeId(id.into()), Some(MemberAddress { peer, api }))
        });
        let shared = Rc::new(Shared {
            revision: watch::Sender::new(store.view().revision()),
            store: RefCell::new(store),
            addresses: Rc::new(Addresses::new(NodeId(1), addresses.collect(), true)),
            status: watch::Sender::new(Rc::new(leading())),
            phase: watch::Sender::new(Phase::Running),
            linked: watch::Sender::default(),
            request_timeout,
            cluster: Cell::new(Some(CLUSTER)),
            configuration: watch::Sender::new(Some((Position::START, configuration()))),
            told: watch::Sender::default(),
            witness: watch::Sender::default(),
            incarnation: INCARNATION,
            pod: Some("uid-1".into()),
        });
        let (sender, requests) = mpsc::channel(64);
        let mood = Rc::new(Cell::new(Mood::Willing));
        let run = run(requests, Rc::clone(&shared), Rc::clone(&mood));
        let handle = Handle {
            requests: sender,
            shared: Rc::clone(&shared),
        };
        let driver = Self {
            shared,
            mood,
            task: tokio::task::spawn_local(run),
        };
        (driver, handle)
    }

    pub(crate) fn feel(&self, mood: Mood) {
        self.mood.set(mood);
    }

    pub(crate) fn be(&self, phase: Phase) {
        self.shared.phase.send_replace(phase);
    }

    /// Is as before the cluster was founded, as far as its name goes.
    pub(crate) fn unfound(&self) {
        self.shared.cluster.set(None);
        self.shared.configuration.send_replace(None);
        self.be(Phase::Founding(BTreeSet::new()));
    }

    /// Founds the cluster.
    pub(crate) fn found(&self) {
        self.shared.cluster.set(Some(CLUSTER));
        self.be(Phase::Running);
    }

    /// The witness answers, or does not.
    pub(crate) fn hear_witness(&self, state: WitnessState) {
        self.shared.witness.send_replace(Some(state));
    }

    /// Calls a member's host something else.
    pub(crate) fn rename(&self, id: NodeId, host: &str) {
        let mut address = self.shared.addresses.of(id).unwrap();
        host.clone_into(&mut address.api.host);
        self.shared.addresses.learn(id, address);
    }

    /// Changes the status, as a turn of the engine would.
    pub(crate) fn turn(&self, change: impl FnOnce(&mut Status)) {
        let mut status = (**self.shared.status.borrow()).clone();
        change(&mut status);
        self.shared.status.send_replace(Rc::new(status));
    }
}

impl Drop for FakeDriver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Nodes 1 and 2 vote, and node 3 learns.
fn configuration() -> Configuration {
    let seat = |id| {
        let member = MemberId {
            id: NodeId(id),
            incarnation: if id == 1 {
                INCARNATION
            } else {
                Incarnation(id)
            },
        };
        let seat = Seat {
            votes: id < 3,
            ..Seat::default()
        };
        (member, seat)
    };
    Configuration::new((1..=3).map(seat).collect()).unwrap()
}

/// Does as asked if it leads, and nobody is left alone.
fn changed(shared: &Shared, change: &Change) -> Changed {
    let refusal = match change {
        _ if shared.status.borrow().role != Role::Leader => ChangeRefusal::NotLeader,
        Change::Vote { removed, .. } if removed.len() == 2 => ChangeRefusal::TooFew(1),
        Change::Vote { .. } | Change::Learn(_) => return Ok(()),
    };
    Err(Unchanged::Refused(refusal))
}

fn leading() -> Status {
    Status {
        id: NodeId(1),
        role: Role::Leader,
        term: Term(7),
        leader: Some(NodeId(1)),
        tickets: 2,
        alive: vec![NodeId(1), NodeId(2)],
        established: true,
        handing_over: false,
        commit: Index(0),
        durable: Index(0),
        last: Position::START,
        base: Position::START,
        log_bytes: 0,
        leader_commit: Some(Index(0)),
        storage_stalled: false,
    }
}

async fn run(mut requests: mpsc::Receiver<Request>, shared: Rc<Shared>, mood: Rc<Cell<Mood>>) {
    let mut unanswered = Vec::new();
    while let Some(request) = requests.recv().await {
        match (request, mood.get()) {
            (Request::Propose(command, reply), Mood::Willing | Mood::SlowAtFirst) => {
                let outcome = apply(&shared, &Payload::Command(command));
                reply.send(Ok(outcome)).ok();
            }
            (Request::Propose(command, reply), Mood::Forgetful) => {
                apply(&shared, &Payload::Command(command));
                reply.send(Err(Attempt::Unknown)).ok();
            }
            (Request::Propose(_, reply), Mood::Leaderless) => {
                reply.send(Err(Attempt::Refused(Refusal::NotLeader))).ok();
            }
            (Request::Read(reply), Mood::Leaderless) => {
                reply.send(Err(Attempt::Refused(Refusal::NotLeader))).ok();
            }
            (Request::Read(reply), Mood::Willing | Mood::SlowAtFirst | Mood::Forgetful) => {
                reply.send(Ok(())).ok();
            }
            (Request::Transfer { within, reply, .. }, Mood::SlowAtFirst) => {
                sleep(within.unwrap_or(Duration::from_mins(1))).await;
                mood.set(Mood::Willing);
                reply.send(false).ok();
            }
            (Request::Transfer { to, reply, .. }, mood) => {
                let done = mood == Mood::Willing;
                if done {
                    let to = to.unwrap_or(NodeId(2));
                    let mut status = (**shared.status.borrow()).clone();
                    status.role = Role::Follower;
                    status.term = status.term.next().unwrap();
                    status.leader = Some(to);
                    status.established = false;
                    shared.status.send_replace(Rc::new(status));
                }
                reply.send(done).ok();
            }
            (Request::Change(change, reply), _) => {
                reply.send(changed(&shared, &change)).ok();
            }
            (Request::Leave | Request::Fit(_), _) => {}
            (Request::End, _) => return,
            (request, Mood::Silent) => unanswered.push(request),
            (Request::Freeze(reply), _) => {
                let view = shared.store.borrow().view().clone();
                let configuration = (Position::START, configuration());
                let frozen = Frozen {
                    view,
                    configuration,
                };
                reply.send(frozen).ok();
            }
            (Request::Turn(reply), _) => {
                reply.send(()).ok();
            }
        }
    }
}

fn apply(shared: &Shared, payload: &Payload) -> Outcome {
    let mut store = shared.store.borrow_mut();
    let position = Position {
        term: Term(7),
        index: store.view().position().index.next(),
    };
    let outcome = store.apply(position, payload);
    shared.revision.send_replace(store.view().revision());
    outcome
}
