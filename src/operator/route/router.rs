//! One router a cluster: hears its nodes, judges, and has the labels written that follow from it.
//!
//! It holds no rule of its own. What to believe says [`judge`], what to do says [`decide`], in what
//! order it is written says [`Labelling`](super::Labelling). Left here is *when*: one errand at a
//! time; at once; again after a while that grows if it failed; and never any longer for a claim
//! that is no longer believed. From time to time all labels are compared with what the API server
//! itself says.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::streams::Streams;
use super::{
    Act, Belief, Carrier, Claim, Dial, End, Fault, GaveUp, LEADERLESS_MAX, PodSeen, Reports,
    Routed, Verdict, View, decide, judge,
};
use crate::operator::backoff::Backoff;
use crate::operator::{ClusterKey, PodView, PodViews};

/// How often labels are compared with a list from the API server, at least; and by chance up to
/// twice as often, so that many clusters are not compared at once.
const COMPARE_EVERY: Duration = Duration::from_secs(30);
/// How long the watch of pods is given to show what was written.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);
/// How long to wait after an errand that failed, at first and at most.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(2);
/// How long an errand that has begun may go on when the router is told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What a router needs.
pub struct Wiring {
    /// Whose labels it writes.
    pub cluster: ClusterKey,
    /// Writes them.
    pub carrier: Carrier,
    /// The cluster's pods.
    pub pods: watch::Receiver<PodViews>,
    /// Connects to their nodes.
    pub dial: Dial,
    /// Told, once a claim, how long it took from believing it until its pod was seen to get the
    /// label, whoever wrote it. Of a pod that had it before nothing is told.
    pub labelled: Arc<dyn Fn(Duration) + Send + Sync>,
}

/// The router of a cluster while it runs. Dropped, it ends, and so does the router, after an
/// errand that it has begun.
#[derive(Debug)]
pub struct RouterHandle {
    views: watch::Receiver<View>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Hears the nodes of one cluster and has its labels written.
pub struct Router {
    wiring: Wiring,
    streams: Streams,
    heard: watch::Receiver<Reports>,
    view: watch::Sender<View>,
    believed_since: Instant,
    /// The newest claim whose pod was seen to have the label.
    measured: Option<Claim>,
    errand: Option<Errand>,
    hold: Option<Hold>,
    denied: Option<String>,
    compare_at: Instant,
    comparing: Backoff,
}

/// Something that is being done.
struct Errand {
    kind: Kind,
    work: BoxFuture<'static, Done>,
}

#[derive(Clone, Debug)]
enum Kind {
    Label(Claim),
    Strip(PodSeen),
    Compare,
}

enum Done {
    Labelled(Result<End, GaveUp>),
    Stripped(Result<(), Fault>),
    Listed(Result<Vec<PodSeen>, Fault>),
}

/// An act that is not begun before its time.
struct Hold {
    act: Act,
    until: Instant,
    backoff: Backoff,
}

impl RouterHandle {
    /// How it stands, now and whenever that changes.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<View> {
        self.views.clone()
    }

    /// Ends the router, and returns once it has ended.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            warn!(%error, "a router did not end as it should");
        }
    }
}

impl Router {
    /// Starts the router of a cluster.
    #[must_use]
    pub fn spawn(wiring: Wiring) -> RouterHandle {
        let now = Instant::now();
        let (view, views) = watch::channel(View::at(now));
        let (reports, heard) = watch::channel(Reports::new());
        let (stop, stopped) = oneshot::channel();
        let router = Self {
            streams: Streams::new(Arc::clone(&wiring.dial), reports),
            wiring,
            heard,
            view,
            believed_since: now,
            measured: None,
            errand: None,
            hold: None,
            denied: None,
            compare_at: now,
            comparing: Backoff::new(COMPARE_EVERY, COMPARE_EVERY),
        };
        let task = tokio::spawn(router.run(stopped));
        RouterHandle { views, stop, task }
    }

    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        self.compare_later(Instant::now());
        loop {
            let pods = Arc::clone(&self.wiring.pods.borrow_and_update());
            self.streams.follow(pods.values());
            let view = self.observe();
            let seen: Vec<_> = pods.values().map(PodView::seen).collect();
            let act = act_for(&view, &seen);
            self.go_about(&view.belief, act, Instant::now());
            self.publish(view, &pods);
            let wake_at = self.wake_at();
            tokio::select! {
                done = next(&mut self.errand) => self.done(done, Instant::now()),
                changed = self.wiring.pods.changed() => if changed.is_err() { break },
                changed = self.heard.changed() => if changed.is_err() { break },
                () = sleep_until(wake_at) => {}
                _ = &mut stopped => break,
            }
        }
        // Others finish what is left undone here, but later than this one would.
        self.errand = (self.errand.take()).filter(|errand| !matches!(errand.kind, Kind::Compare));
        if self.errand.is_some() {
            drop(timeout(STOP_PATIENCE, next(&mut self.errand)).await);
        }
    }

    /// Takes what is heard now together with since when it is so.
    fn observe(&mut self) -> View {
        let reports = self.heard.borrow_and_update().clone();
        let Verdict { seated, belief } = judge(&reports);
        let before = self.view.borrow();
        let now = Instant::now();
        if belief != before.belief {
            self.believed_since = now;
            let cluster = &self.wiring.cluster;
            match &belief {
                Belief::Led(claim) => info!(
                    namespace = %cluster.namespace, cluster = %cluster.name,
                    node = %claim.id, term = %claim.term, "a majority follows this leader"
                ),
                other => debug!(cluster = %cluster.name, "believed now: {other:?}"),
            }
        }
        let leaderless_since = before.leaderless_since.unwrap_or(now);
        let no_majority_since = before.no_majority_since.unwrap_or(now);
        View {
            leaderless_since: (belief == Belief::Leaderless).then_some(leaderless_since),
            no_majority_since: seated.is_none().then_some(no_majority_since),
            seated: seated.or_else(|| before.seated.clone()),
            belief,
            believed_since: self.believed_since,
            reports,
            routed: before.routed.clone(),
        }
    }

    fn publish(&mut self, mut view: View, pods: &PodViews) {
        view.routed = Routed::of(&view.belief, pods.values(), self.denied.as_deref());
        if let (Belief::Led(claim), Routed::Labelled { .. }) = (&view.belief, &view.routed)
            && self.measured.as_ref() != Some(claim)
        {
            if self.view.borrow().belief == view.belief {
                (self.wiring.labelled)(self.believed_since.elapsed());
            }
            self.measured = Some(claim.clone());
        }
        self.view.send_if_modified(|known| {
            let is_news = *known != view;
            *known = view;
            is_news
        });
    }

    /// Begins the act, unless it is begun already or its time has not come, and drops whatever is
    /// no longer wanted. A write that is dropped may be carried out later all the same: it rests
    /// on what was seen, like any other.
    fn go_about(&mut self, belief: &Belief, act: Act, now: Instant) {
        let is_led_by =
            |claim: &Claim| matches!(belief, Belief::Led(believed) if believed == claim);
        let is_wanted = |errand: &Errand| match &errand.kind {
            Kind::Label(claim) => is_led_by(claim),
            Kind::Strip(_) => !matches!(belief, Belief::Led(_)),
            Kind::Compare => act == Act::Nothing,
        };
        self.errand = self.errand.take().filter(is_wanted);
        if act == Act::Nothing {
            (self.hold, self.denied) = (None, None);
            if self.errand.is_none() && now >= self.compare_at {
                self.begin(Kind::Compare);
            }
            return;
        }
        if self.hold.as_ref().is_none_or(|hold| hold.act != act) {
            self.denied = None;
            self.hold = Some(Hold {
                act: act.clone(),
                until: now,
                backoff: Backoff::new(WAIT_FIRST, WAIT_MAX),
            });
        }
        let is_time = self.hold.as_ref().is_some_and(|hold| hold.until <= now);
        if self.errand.is_none() && is_time {
            self.begin_act(act);
        }
    }

    fn begin_act(&mut self, act: Act) {
        match act {
            Act::Nothing => {}
            Act::Label(claim) => self.begin(Kind::Label(claim)),
            Act::Strip(pod) => self.begin(Kind::Strip(pod)),
        }
    }

    fn begin(&mut self, kind: Kind) {
        let carrier = self.wiring.carrier.clone();
        let work = match kind.clone() {
            Kind::Label(claim) => {
                async move { Done::Labelled(carrier.label(&claim).await) }.boxed()
            }
            Kind::Strip(pod) => async move { Done::Stripped(carrier.strip(&pod).await) }.boxed(),
            Kind::Compare => async move { Done::Listed(carrier.list().await) }.boxed(),
        };
        self.errand = Some(Errand { kind, work });
    }

    /// An errand has come to its end.
    fn done(&mut self, done: Done, now: Instant) {
        let Some(Errand { kind, .. }) = self.errand.take() else {
            return;
        };
        let cluster = self.wiring.cluster.name.to_string();
        match (done, kind) {
            (Done::Labelled(Ok(End::Labelled)), Kind::Label(claim)) => {
                let (node, term) = (claim.id, claim.term);
                info!(cluster, %node, %term, "the leader's pod is labelled");
                self.denied = None;
                self.compare_later(now);
                self.rest(now, SHOWN_WITHIN);
            }
            (Done::Stripped(Ok(())), Kind::Strip(pod)) => {
                let pod = pod.name;
                info!(cluster, %pod, "the leader's label is taken off: nobody leads there");
                self.rest(now, SHOWN_WITHIN);
            }
            (Done::Labelled(Ok(End::Denied { pod, why })), _) => {
                let place = pod.map_or_else(|| "the record".to_owned(), |pod| format!("pod {pod}"));
                self.refused(format!("{place}: {why}"));
                self.try_later(now);
            }
            (Done::Stripped(Err(Fault::Denied(why))), _) => {
                self.refused(why);
                self.try_later(now);
            }
            (Done::Labelled(Ok(end)), _) => {
                debug!(cluster, "labelling ended: {end:?}");
                self.denied = None;
                self.try_later(now);
            }
            (Done::Labelled(Err(error)), _) => {
                warn!(cluster, %error, "the leader's pod is not labelled yet");
                self.try_later(now);
            }
            (Done::Stripped(_), _) => self.try_later(now),
            (Done::Listed(listed), _) => {
                self.compare_later(now);
                match listed {
                    Ok(pods) => self.compared(&pods),
                    Err(error) => debug!(cluster, %error, "labels could not be compared"),
                }
            }
        }
    }

    /// The labels as the API server itself tells them: what the watch has missed is mended.
    fn compared(&mut self, pods: &[PodSeen]) {
        let view = self.view.borrow().clone();
        let act = act_for(&view, pods);
        if act != Act::Nothing {
            let cluster = &self.wiring.cluster.name;
            warn!(%cluster, "labels are not as the watch of pods shows them; they are mended");
            self.begin_act(act);
        }
    }

    fn compare_later(&mut self, now: Instant) {
        self.compare_at = now + self.comparing.wait();
    }

    fn refused(&mut self, why: String) {
        if self.denied.as_ref() != Some(&why) {
            let cluster = &self.wiring.cluster.name;
            warn!(%cluster, why, "labels are refused; allow the operator to write them");
        }
        self.denied = Some(why);
    }

    fn rest(&mut self, now: Instant, wait: Duration) {
        if let Some(hold) = &mut self.hold {
            hold.backoff.reset();
            hold.until = now + wait;
        }
    }

    fn try_later(&mut self, now: Instant) {
        if let Some(hold) = &mut self.hold {
            hold.until = now + hold.backoff.wait();
        }
    }

    /// When there is something to do though nothing happens.
    fn wake_at(&self) -> Instant {
        let held = self.hold.as_ref().filter(|_| self.errand.is_none());
        let held = held.map_or(self.compare_at, |hold| hold.until);
        let leaderless = self.view.borrow().leaderless_since;
        let over = leaderless.map(|since| since + LEADERLESS_MAX);
        let over = over.filter(|over| *over > Instant::now());
        // One that is busy looks again when it is done.
        let idle = self.errand.is_none().then_some(held);
        let far = Instant::now() + COMPARE_EVERY;
        idle.into_iter().chain(over).fold(far, Instant::min)
    }
}

fn act_for(view: &View, pods: &[PodSeen]) -> Act {
    let leaderless = view.leaderless_since.map(|since| since.elapsed());
    let leaderless = leaderless.unwrap_or_default();
    decide(&view.belief, pods, &view.reports, leaderless)
}

/// The end of the errand, if there is one.
async fn next(errand: &mut Option<Errand>) -> Done {
    match errand {
        Some(errand) => (&mut errand.work).await,
        None => pending().await,
    }
}

impl std::fmt::Debug for Wiring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Wiring");
        shown.field("cluster", &self.cluster);
        shown.finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Router");
        shown.field("wiring", &self.wiring);
        shown.finish_non_exhaustive()
    }
}
