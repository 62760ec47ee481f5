//! One node from start to end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;
use tracing::info;

use super::acceptor::accept;
use super::addresses::Addresses;
use super::context::{Context, EVENTS_MAX};
use super::driver::{Driver, Sources, Stopped};
use super::founding::find_cluster;
use super::handle::{Handle, Phase, Request, Shared};
use super::joining::register;
use super::settings::{Settings, SettingsError};
use super::snapshots::Transfers;
use super::task::Task;
use super::witness::{WitnessState, begin};
use crate::consensus::{
    ClusterId, Incarnation, Index, Membership, Mono, Node, NodeId, Position, Rejection, Role,
    Status, Term,
};
use crate::state::{HistoryLimits, Revision, Store, View};
use crate::storage::{DataDir, FileDisk, Journal, Opened, Snapshots, quarantine};

/// Requests of clients that wait for the driver at most.
const REQUESTS_MAX: usize = 4096;
/// How long a leader that is asked to end may take to hand over.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Why a node did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The settings cannot work.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The data directory cannot be used.
    #[error("{0}")]
    Storage(#[from] crate::storage::Error),
    /// The snapshot cannot be restored.
    #[error("the snapshot in the data directory cannot be restored: {0}")]
    Restore(#[from] crate::state::RestoreError),
    /// A socket or a thread cannot be made.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The cluster does not take this node.
    #[error("{0}")]
    Rejected(#[from] Rejection),
    /// It ended while it ran.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// A node that is starting or running.
#[derive(Debug)]
pub struct Running {
    /// The way to it.
    pub handle: Handle,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), NodeError>>,
}

/// Starts a node on the present thread, which must run a [`tokio::task::LocalSet`]. Peers are
/// taken from `listener`.
///
/// # Errors
/// If the settings or the data directory cannot be used. What goes wrong later is said by
/// [`Running::ended`].
pub fn start(mut settings: Settings, listener: TcpListener) -> Result<Running, NodeError> {
    settings.engine.witness = settings.witness.is_some();
    settings.check()?;
    let disk = FileDisk::open(&settings.data_dir)?;
    let directory = DataDir::open(disk, settings.id, Incarnation(random()?))?;
    let (requests, asked) = mpsc::channel(REQUESTS_MAX);
    let (events, happened) = mpsc::channel(EVENTS_MAX);
    let members = settings.members.clone();
    let addresses = Addresses::new(settings.id, members, settings.addresses_change);
    let addresses = Rc::new(addresses);
    addresses.recall(&settings.data_dir);
    let own = addresses.of(settings.id);
    let own = own.ok_or(SettingsError::NotAMember(settings.id))?;
    let incarnation = directory.identity().incarnation;
    let shared = Rc::new(shared(&settings, Rc::clone(&addresses), incarnation));
    let context = Context::new(settings, own, addresses, incarnation, events);
    let context = Rc::new(context);
    let (stop, stopping) = watch::channel(false);
    let starting = Starting {
        context,
        shared: Rc::clone(&shared),
        directory,
        stopping,
    };
    let handle = Handle { requests, shared };
    let task = spawn_local(starting.run(listener, happened, asked, handle.clone()));
    Ok(Running { handle, stop, task })
}

impl Running {
    /// Asks the node to end: a leader hands over first, for two seconds at most.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the end.
    pub async fn ended(self) -> Result<(), NodeError> {
        self.until(std::future::pending()).await
    }

    /// Waits for the end, and asks for it as [`Running::stop`] does once `signal` is there.
    pub async fn until(mut self, signal: impl Future<Output = ()>) -> Result<(), NodeError> {
        let ended = tokio::select! {
            ended = &mut self.task => ended,
            () = signal => {
                self.stop();
                self.task.await
            }
        };
        ended.unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }
}

/// What a node has before it knows its cluster.
struct Starting {
    context: Rc<Context>,
    shared: Rc<Shared>,
    directory: DataDir<FileDisk>,
    stopping: watch::Receiver<bool>,
}

impl Starting {
    async fn run(
        mut self,
        listener: TcpListener,
        events: mpsc::Receiver<super::context::Event>,
        requests: mpsc::Receiver<Request>,
        handle: Handle,
    ) -> Result<(), NodeError> {
        let accepting = Task::of(accept(Rc::clone(&self.context), listener));
        let keeping = Task::of(keep_addresses(Rc::clone(&self.context)));
        let identity = self.context.settings.tls.clone();
        let freshening = identity.map(|own| Task::of(async move { own.keep_fresh().await }));
        let is_new = self.directory.identity().membership.is_none();
        if is_new {
            let name = ClusterId(random()?);
            let membership = tokio::select! {
                found = first_start(&self.context, name, &self.shared) => found?,
                _ = self.stopping.wait_for(|stop| *stop) => return Ok(()),
            };
            self.directory
                .found(membership, self.context.settings.wal)?;
        }
        let disk = self.directory.disk().clone();
        let origin = Instant::now();
        let (reports, journal_reports) = mpsc::unbounded_channel();
        let Opened {
            recovered,
            wal,
            snapshots,
        } = self.directory.recover(self.context.settings.wal)?;
        let view = restore(&snapshots, recovered.base)?;
        let membership = recovered.membership.clone();
        let cluster = membership.cluster;
        self.shared.cluster.set(Some(cluster));
        info!(
            id = recovered.member.id.0,
            boot = recovered.boots.newest().0,
            entries = recovered.entries.len(),
            "recovered"
        );
        *self.shared.store.borrow_mut() = Store::resume(view, HistoryLimits::default());
        let settings = &self.context.settings;
        let config = settings.engine.clone();
        let engine = Node::new(recovered, config, random()?, Mono::default());
        let engine = engine.map_err(SettingsError::from)?;
        *self.context.engine.borrow_mut() = Some((membership, engine));
        let journal = Journal::start(wal, snapshots.clone(), settings.journal, move |report| {
            // The driver is gone only when the node ends.
            drop(reports.send(report));
        })?;
        let (asked, witness) = begin(&self.context, &self.shared, cluster);
        let transfers = Transfers::new(Rc::clone(&self.context), snapshots);
        self.shared.phase.send_replace(Phase::Running);
        let mut driver = Driver::new(
            Rc::clone(&self.context),
            self.shared,
            journal,
            transfers,
            asked,
            origin,
        );
        if is_new {
            driver.welcomed();
        }
        let sources = Sources {
            events,
            journal: journal_reports,
            requests,
        };
        let stopping = Task::of(hand_over(self.stopping, handle));
        let ended = driver.run(sources).await;
        drop((accepting, keeping, freshening, stopping, witness));
        if let Err(Stopped::TurnedAway(sentence)) = &ended {
            quarantine(&disk, sentence)?;
        }
        Ok(ended?)
    }
}

/// Finds the cluster that this node is to belong to, or founds it (R13, S7).
async fn first_start(
    context: &Rc<Context>,
    name: ClusterId,
    shared: &Shared,
) -> Result<Membership, Rejection> {
    if !context.settings.joins {
        return find_cluster(context, name, &shared.phase).await;
    }
    shared.phase.send_replace(Phase::Joining);
    let mut told = shared.told.subscribe();
    let membership = tokio::select! {
        membership = register(context) => membership,
        told = told.wait_for(Option::is_some) => match told.ok().and_then(|told| told.clone()) {
            Some(membership) => {
                info!(cluster = format!("{:016x}", membership.cluster.0), "told of the founding");
                membership
            }
            None => std::future::pending().await,
        },
    };
    context.is_registered();
    Ok(membership)
}

/// Waits to be stopped, hands over, and lets go of the last way to the driver.
async fn hand_over(mut stopping: watch::Receiver<bool>, handle: Handle) {
    if stopping.wait_for(|stop| *stop).await.is_err() {
        return;
    }
    handle.shared.phase.send_replace(Phase::Stopping);
    let leaving = async {
        // It still votes and replicates, but does not stand again (R9).
        if handle.leave().await.is_ok() {
            // Whether it moved or not, this node ends.
            handle.hand_over(HAND_OVER).await.unwrap_or_default();
        }
    };
    drop(tokio::time::timeout(HAND_OVER, leaving).await);
    drop(handle.requests.send(Request::End).await);
}

async fn keep_addresses(context: Rc<Context>) {
    context.addresses.keep(&context.settings.data_dir).await;
}

pub(super) fn shared(
    settings: &Settings,
    addresses: Rc<Addresses>,
    incarnation: Incarnation,
) -> Shared {
    let others: BTreeSet<NodeId> = settings.peers().collect();
    Shared {
        store: RefCell::default(),
        addresses,
        status: watch::Sender::new(Rc::new(unborn(settings.id))),
        phase: watch::Sender::new(Phase::Founding(others)),
        linked: watch::Sender::default(),
        revision: watch::Sender::new(Revision::START),
        request_timeout: settings.request_timeout,
        cluster: Cell::default(),
        configuration: watch::Sender::default(),
        told: watch::Sender::default(),
        witness: watch::Sender::new(settings.witness.as_ref().map(|_| WitnessState::Silent)),
        incarnation,
        pod: settings.pod.clone(),
    }
}

/// What a node says of itself before its engine runs: a candidate that knows nobody (S7).
fn unborn(id: NodeId) -> Status {
    Status {
        id,
        role: Role::Candidate,
        term: Term::default(),
        leader: None,
        tickets: 0,
        alive: vec![id],
        established: false,
        handing_over: false,
        commit: Index::default(),
        durable: Index::default(),
        last: Position::START,
        base: Position::START,
        log_bytes: 0,
        leader_commit: None,
        storage_stalled: false,
    }
}

pub(super) fn restore(snapshots: &Snapshots<FileDisk>, base: Position) -> Result<View, NodeError> {
    let Some(snapshot) = snapshots.newest()? else {
        return Ok(View::default());
    };
    let view = View::read_from(&mut snapshot.state())?;
    assert!(
        view.position() == base,
        "the snapshot is where the log begins"
    );
    Ok(view)
}

pub(super) fn random() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::other)
}
