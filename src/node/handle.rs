//! A client's way to the node that it runs beside.
//!
//! The node, its server and everything else on its runtime share one thread, so the state is read
//! in place and nothing is locked. A request that was refused with nothing written is tried again
//! here, until it succeeds or its time is up; one that may have been written never is (R20).

use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::addresses::Addresses;
use super::backup::Frozen;
use super::witness::WitnessState;
use crate::consensus::{
    Change, ChangeRefusal, ClusterId, Incarnation, MemberId, Membership, NodeId, Placed, Refusal,
    Role, Status,
};
use crate::state::{Address, ClusterInfo, Command, Outcome, Revision, Store};
use crate::wire::MemberAddress;

/// How long a refused request waits before it is tried again, unless the leader changes first.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// How long a leader that must go waits before it tries again to hand over.
const HAND_OVER_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Among how many followers it divides its time, so that one that is frozen does not take it all.
const HAND_OVER_CHOICES: u32 = 3;

/// Clones are cheap and name the same node.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) shared: Rc<Shared>,
}

/// What the node lets others see; written by the driver alone.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: RefCell<Store>,
    pub(super) addresses: Rc<Addresses>,
    pub(super) status: watch::Sender<Rc<Status>>,
    pub(super) phase: watch::Sender<Phase>,
    /// The peers to which this node's links are up.
    pub(super) linked: watch::Sender<BTreeSet<NodeId>>,
    pub(super) revision: watch::Sender<Revision>,
    pub(super) request_timeout: Duration,
    /// The cluster's name, once it is founded.
    pub(super) cluster: Cell<Option<ClusterId>>,
    /// Who belongs to it, as far as this node knows.
    pub(super) configuration: watch::Sender<Option<Placed>>,
    /// The founding that this node was told of, before it belongs to a cluster.
    pub(super) told: watch::Sender<Option<Membership>>,
    /// Whether its witness answers it, if it has one.
    pub(super) witness: watch::Sender<Option<WitnessState>>,
    pub(super) incarnation: Incarnation,
    pub(super) pod: Option<String>,
}

/// How far the node's life is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Its disk is fresh, and the cluster is not founded: these nodes have not been heard (R13).
    Founding(BTreeSet<NodeId>),
    /// Its disk is fresh, and no leader has registered it yet (S7).
    Joining,
    /// Its log is recovered and its engine runs.
    Running,
    /// It is handing over and about to end.
    Stopping,
}

/// Something asked of the driver.
#[derive(Debug)]
pub(super) enum Request {
    Propose(Bytes, oneshot::Sender<Answer<Outcome>>),
    Read(oneshot::Sender<Answer<()>>),
    Transfer {
        to: Option<NodeId>,
        within: Option<Duration>,
        reply: oneshot::Sender<bool>,
    },
    /// Changes who belongs to the cluster.
    Change(Change, oneshot::Sender<Changed>),
    /// The node is about to end (R9).
    Leave,
    /// Whether the application beside it is fit for a leader (R12).
    Fit(bool),
    /// Says what the state is now, and who belongs to the cluster.
    Freeze(oneshot::Sender<Frozen>),
    /// Answered once the turn that takes it is done.
    Turn(oneshot::Sender<()>),
    /// The node ends; what is queued becomes durable first.
    End,
}

/// What the driver says to one attempt.
pub(super) type Answer<T> = Result<T, Attempt>;

/// Why one attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attempt {
    /// Nothing was written; it may be tried again.
    Refused(Refusal),
    /// Another entry took the place in the log; nothing was written, it may be tried again.
    Overwritten,
    /// It may or may not be written, and must not be tried again (R20).
    Unknown,
}

/// What became of a change of the members.
pub(super) type Changed = Result<(), Unchanged>;

/// Why the members are not changed, or may not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unchanged {
    /// They are not.
    #[error(transparent)]
    Refused(#[from] ChangeRefusal),
    /// Nobody knows.
    #[error(
        "the leader was lost while it changed the members: see whether they are changed before you \
         ask again"
    )]
    Unknown,
    /// They are not: the node is ending.
    #[error("this node is stopping; nothing was changed, ask another node")]
    Stopping,
}

/// Why a node does not take part in a founding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotFounded {
    /// Those founders are others.
    #[error(
        "this is node {} on disk {:016x}, which is none of those founders; look which disk it has \
         now, see /v1/watch",
        .0.id,
        .0.incarnation.0
    )]
    Another(MemberId),
    /// Its disk belongs to another cluster.
    #[error("this node's disk belongs to cluster {:016x} already; nothing was founded", .0.0)]
    Member(ClusterId),
    /// It is not founded, or nobody knows.
    #[error("the node did not take part in the founding in time; ask again")]
    Late,
}

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was written.
    #[error("no leader took the request in time ({0}); nothing was written, ask again")]
    NotTaken(&'static str),
    /// The outcome is not known.
    #[error(
        "the leader was lost, or took too long, after it was sent the command: it may or may not \
         be written; read before you write again"
    )]
    Unknown,
    /// The node is ending.
    #[error("this node is stopping; nothing was written, ask another node")]
    Stopping,
}

impl Handle {
    /// Replicates a command and waits until it is applied here. Valid commands only
    /// ([`Command::check`]).
    pub async fn write(&self, command: &Command) -> Result<Outcome, Failure> {
        let command = command.encode();
        self.attempt(|reply| Request::Propose(command.clone(), reply))
            .await
    }

    /// Waits until this node's state covers everything that was acknowledged anywhere before the
    /// call: what is read from it then, without waiting in between, is linearizable.
    pub async fn catch_up(&self) -> Result<(), Failure> {
        match self.attempt(Request::Read).await {
            Err(Failure::Unknown) => Err(Failure::NotTaken("no leader confirmed the read")),
            read => read,
        }
    }

    async fn attempt<T>(
        &self,
        request: impl Fn(oneshot::Sender<Answer<T>>) -> Request,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.shared.request_timeout;
        let mut status = self.shared.status.subscribe();
        loop {
            let (reply, answer) = oneshot::channel();
            let sent = timeout_at(deadline, self.requests.send(request(reply))).await;
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Failure::Stopping),
                Err(_) => return Err(Failure::NotTaken("the node is overloaded")),
            }
            let reason = match timeout_at(deadline, answer).await {
                Ok(Ok(Ok(done))) => return Ok(done),
                Ok(Ok(Err(Attempt::Unknown)) | Err(_)) | Err(_) => {
                    return Err(Failure::Unknown);
                }
                Ok(Ok(Err(Attempt::Refused(refusal)))) => reason(refusal),
                Ok(Ok(Err(Attempt::Overwritten))) => "the leader changed",
            };
            // Nothing was written: wait for a leader and try again, at most once a while.
            let retry_at = (Instant::now() + RETRY_AFTER).min(deadline);
            status.mark_unchanged();
            tokio::select! {
                () = sleep_until(retry_at) => {}
                _ = status.changed() => {}
            }
            if Instant::now() >= deadline {
                return Err(Failure::NotTaken(reason));
            }
        }
    }

    /// The state as applied here; possibly stale. Not to be held across an `await`.
    pub fn store(&self) -> Ref<'_, Store> {
        self.shared.store.borrow()
    }

    /// The newest revision applied here, for those who wait for changes.
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.shared.revision.subscribe()
    }

    /// The engine's status, for those who wait for changes of role, term or leader. Before the
    /// engine runs it says: candidate, term 0.
    pub fn statuses(&self) -> watch::Receiver<Rc<Status>> {
        self.shared.status.subscribe()
    }

    /// The engine's status now.
    pub fn status(&self) -> Rc<Status> {
        Rc::clone(&self.shared.status.borrow())
    }

    /// How far the node's life is.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.shared.phase.subscribe()
    }

    /// The cluster's name; `None` until it is founded. Known before the phase is
    /// [`Phase::Running`].
    pub fn cluster(&self) -> Option<ClusterId> {
        self.shared.cluster.get()
    }

    /// The life of this node's disk.
    pub fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    /// The uid of the pod that this node runs in, if it was told one.
    pub fn pod(&self) -> Option<&str> {
        self.shared.pod.as_deref()
    }

    /// The cluster-info document (S6) as of now.
    pub fn cluster_info(&self) -> ClusterInfo {
        let known = self.members().into_iter();
        let known = known.filter_map(|(id, address)| Some((id, address?)));
        ClusterInfo::new(&self.shared.status.borrow(), &known.collect())
    }

    /// Every member, dead or alive, and where its API is reached, if that is known. Before the
    /// cluster is founded it is those who are to found it.
    pub fn members(&self) -> Vec<(NodeId, Option<Address>)> {
        let known = self.shared.addresses.apis();
        let Some((_, configuration)) = &*self.shared.configuration.borrow() else {
            return known;
        };
        let mut known: BTreeMap<_, _> = known.into_iter().collect();
        let ids: BTreeSet<_> = configuration.members().map(|member| member.id).collect();
        let reached = |id: NodeId| (id, known.remove(&id).flatten());
        ids.into_iter().map(reached).collect()
    }

    /// Who belongs to the cluster, and with which entry that came; `None` before it is founded.
    pub fn configuration(&self) -> Option<Placed> {
        self.shared.configuration.borrow().clone()
    }

    /// The same, for those who wait for changes.
    pub fn configurations(&self) -> watch::Receiver<Option<Placed>> {
        self.shared.configuration.subscribe()
    }

    /// Whether the witness answers this node; `None` without one (R17).
    pub fn witness(&self) -> Option<WitnessState> {
        *self.shared.witness.borrow()
    }

    /// The same, for those who wait for changes.
    pub fn witnesses(&self) -> watch::Receiver<Option<WitnessState>> {
        self.shared.witness.subscribe()
    }

    /// This node, on its disk.
    pub fn name(&self) -> MemberId {
        MemberId {
            id: self.status().id,
            incarnation: self.shared.incarnation,
        }
    }

    /// Tells this node that it is among the founders of a cluster (R13); returns once that is
    /// durable. To be told again of the cluster that it belongs to is the same as once.
    pub async fn bootstrap(&self, membership: Membership) -> Result<(), NotFounded> {
        let name = self.name();
        if !membership.settled.1.counts(name) {
            return Err(NotFounded::Another(name));
        }
        let told = membership.cluster;
        let mut phases = self.phases();
        let founded = async {
            let waits = |phase: &Phase| matches!(phase, Phase::Founding(_) | Phase::Joining);
            self.shared.told.send_replace(Some(membership));
            phases.wait_for(|phase| !waits(phase)).await.is_ok()
        };
        if self.cluster().is_none() {
            let founded = timeout(self.shared.request_timeout, founded).await;
            if !founded.unwrap_or(false) {
                return Err(NotFounded::Late);
            }
        }
        match self.cluster() {
            Some(cluster) if cluster == told => Ok(()),
            Some(cluster) => Err(NotFounded::Member(cluster)),
            None => Err(NotFounded::Late),
        }
    }

    /// Changes who belongs to the cluster, if this node leads it; returns once that is agreed on.
    pub async fn change(&self, change: Change) -> Result<(), Unchanged> {
        let (reply, changed) = oneshot::channel();
        let sent = self.requests.send(Request::Change(change, reply)).await;
        sent.map_err(|_| Unchanged::Stopping)?;
        changed.await.unwrap_or(Err(Unchanged::Unknown))
    }

    /// Takes in where a member is reached now. Nothing happens if it is no member, or if the node
    /// was told that addresses do not change.
    pub fn learn(&self, id: NodeId, address: MemberAddress) {
        self.shared.addresses.learn(id, address);
    }

    /// Whether the node's loop turns: takes something in, and gets to its end, before `within` is
    /// over. A node that is not founded yet has no such loop; it turns as long as it has not ended.
    pub async fn turns(&self, within: Duration) -> bool {
        let phase = self.shared.phase.borrow().clone();
        if matches!(phase, Phase::Founding(_) | Phase::Joining) {
            return !self.requests.is_closed();
        }
        let (reply, turned) = oneshot::channel();
        let turn = async {
            self.requests.send(Request::Turn(reply)).await.is_ok() && turned.await.is_ok()
        };
        timeout(within, turn).await.unwrap_or(false)
    }

    /// Hands leadership over, to `to` or to the best follower. `false` if this node does not lead,
    /// or still does after an election timeout. One hand-over that is under way ends first.
    pub async fn transfer(&self, to: Option<NodeId>) -> Result<bool, Failure> {
        self.transfer_within(to, None).await
    }

    /// As [`transfer`](Self::transfer), but given up after `within` if that is sooner.
    async fn transfer_within(
        &self,
        to: Option<NodeId>,
        within: Option<Duration>,
    ) -> Result<bool, Failure> {
        let mut statuses = self.statuses();
        tokio::select! {
            _ = statuses.wait_for(|status| !status.handing_over) => {}
            () = self.ended() => return Err(Failure::Stopping),
        }
        let (reply, answer) = oneshot::channel();
        let request = Request::Transfer { to, within, reply };
        let sent = self.requests.send(request).await;
        sent.map_err(|_| Failure::Stopping)?;
        answer.await.map_err(|_| Failure::Stopping)
    }

    /// Hands leadership over to whoever takes it, one follower after the other, until `within` is
    /// over or no other member lives. No follower gets more than its part of that time, however
    /// long an election timeout is. Whether the node leads no more.
    pub async fn hand_over(&self, within: Duration) -> Result<bool, Failure> {
        let leads = || self.status().role == Role::Leader;
        let each = Some(within / HAND_OVER_CHOICES);
        let trying = async {
            while leads() && !self.transfer_within(None, each).await? && leads() {
                if self.status().alive.len() < 2 {
                    break;
                }
                // Whom it need not ask, a leader knows a beat later.
                sleep(HAND_OVER_AGAIN_AFTER).await;
            }
            Ok(!leads())
        };
        let tried = timeout(within, trying).await;
        tried.unwrap_or_else(|_| Ok(!leads()))
    }

    /// Keeps the node from standing for election until it is started again (R9).
    pub async fn leave(&self) -> Result<(), Failure> {
        let sent = self.requests.send(Request::Leave).await;
        sent.map_err(|_| Failure::Stopping)
    }

    /// Says whether the application beside the node is fit for a leader (R12): while it is not,
    /// the node does not stand.
    pub(super) async fn fit(&self, is_fit: bool) -> Result<(), Failure> {
        let sent = self.requests.send(Request::Fit(is_fit)).await;
        sent.map_err(|_| Failure::Stopping)
    }

    /// The peers to which this node's links are up.
    pub(super) fn links(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.shared.linked.subscribe()
    }

    /// Waits until the node has ended.
    pub(super) async fn ended(&self) {
        self.requests.closed().await;
    }
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotLeader => "no leader is known",
        Refusal::HandingOver => "the leader is handing over",
        Refusal::Busy => "the leader is overloaded",
        Refusal::Storage => "the leader's disk is stalled or full",
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeDriver, Mood};
    use super::*;

    #[test]
    fn a_leader_that_must_go_has_time_for_a_second_follower() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (driver, handle) = FakeDriver::start(Store::default(), Duration::from_secs(1));
            driver.feel(Mood::SlowAtFirst);
            let moved = handle.hand_over(Duration::from_millis(1500)).await;
            assert_eq!(moved, Ok(true));
        });
    }
}
