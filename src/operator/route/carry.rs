//! Carries out what [`Labelling`] asks for: one call of it is one request to the API server.
//!
//! Calls that may be made at once are. No rule of R1 is kept here but this: each write names what
//! it rests on, so that the API server refuses it if anything of that has changed. A pod's uid,
//! role and term are enough, and do not clash with what a kubelet writes. What is absent cannot be
//! tested for; then the version of the whole pod is.
//!
//! A request that fails in passing (no answer in time, an API server that is overloaded or
//! starting) says nothing about what has been written, so it is made again, after a while that
//! grows, and for a limited number of rounds.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, ObjectMeta, PartialObjectMeta};
use kube::{Api, Client, Error};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{Answer, Call, Claim, End, Labelling, PodRole, PodSeen};
use crate::consensus::{ClusterId, Term};
use crate::crd::{CLUSTER_LABEL, ROLE_LABEL, TERM_ANNOTATION};
use crate::operator::backoff::Backoff;
use crate::operator::context::lock;
use crate::operator::patch;
use crate::operator::pods::pod_seen;
use crate::operator::{ClusterKey, Fence, Hex, Records};

/// How long the API server may take for one answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How many rounds of calls one attempt may take; then it is given up.
pub const ROUNDS_MAX: u32 = 64;
/// How long to leave the labels to another operator that has raised the fence first: longer than
/// what is left of that takes, as a rule.
pub const OUTRUN_WAIT: Duration = Duration::from_millis(200);
/// How long to wait after a call that failed in passing, and the longest such wait.
const WAIT_FIRST: Duration = Duration::from_millis(25);
const WAIT_MAX: Duration = Duration::from_secs(2);
/// How many pods are listed at once, and how many such pages there may be.
const PAGE_PODS: u32 = 100;
const PAGES_MAX: u32 = 10;

/// Writes the labels of one cluster.
#[derive(Clone)]
pub struct Carrier {
    pods: Api<PartialObjectMeta<Pod>>,
    of_cluster: String,
    records: Records,
    /// Where the fence was seen last; 0 if it was not.
    fence: Arc<AtomicU64>,
}

/// Why a request to the API server came to nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// What was to be read or written is not there.
    #[error("it is not there")]
    Gone,
    /// Something else was there than what was seen.
    #[error("something else is there than what was seen")]
    Conflict,
    /// Someone refuses the request itself.
    #[error("{0}")]
    Denied(String),
    /// It may work another time.
    #[error("the API server does not answer as it should ({0}); it is asked again")]
    Passing(String),
}

/// An attempt that took too many rounds of calls.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("labelling was given up after {ROUNDS_MAX} rounds of calls; the last one: {last}")]
pub struct GaveUp {
    /// What became of the last call that failed.
    pub last: String,
}

/// The details of all pods that were listed, by uid.
type AllDetails = BTreeMap<Arc<str>, Details>;

/// What a list says of a pod beyond what labels are about.
struct Details {
    resource_version: String,
    has_annotations: bool,
}

impl Carrier {
    /// Writes the labels of the pods of `cluster`, under the fence of its record.
    #[must_use]
    pub fn new(client: Client, cluster: &ClusterKey, records: Records) -> Self {
        Self {
            pods: Api::namespaced(client, &cluster.namespace),
            of_cluster: format!("{CLUSTER_LABEL}={}", cluster.name),
            records,
            fence: Arc::default(),
        }
    }

    /// Labels the pod of a claim as the leader, and all others as followers.
    ///
    /// # Errors
    /// If it took too many rounds of calls. What is written then is sound; try again after a while.
    pub async fn label(&self, claim: &Claim) -> Result<End, GaveUp> {
        let begin = |fence| Labelling::begin(claim.term, Arc::clone(&claim.pod), fence);
        let mut labelling = begin(self.fence_seen());
        let details = Mutex::default();
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_MAX);
        let mut last = Fault::Conflict;
        for _ in 0..ROUNDS_MAX {
            let answered = match labelling.calls() {
                Err(End::NoRecord) => {
                    labelling = begin(None);
                    match self.rebuild(Some(claim)).await {
                        Err(Fault::Denied(why)) => return Ok(End::Denied { pod: None, why }),
                        rebuilt => rebuilt,
                    }
                }
                Err(end) => return Ok(end),
                Ok(calls) => {
                    if labelling.is_outrun() {
                        sleep(OUTRUN_WAIT).await;
                    }
                    self.round(&mut labelling, claim.cluster, &calls, &details)
                        .await
                }
            };
            match answered {
                Ok(()) => backoff.reset(),
                Err(fault) => {
                    debug!(%fault, "a call for labels failed");
                    if matches!(fault, Fault::Passing(_)) {
                        sleep(backoff.wait()).await;
                    }
                    last = fault;
                }
            }
        }
        labelling.calls().map_or_else(Ok, |_| {
            let last = last.to_string();
            Err(GaveUp { last })
        })
    }

    /// Makes calls at once, and takes in all their answers. What failed in passing is not taken in
    /// but asked for again: beginning anew each time, an API server that fails every other call
    /// would never let it end.
    async fn round(
        &self,
        labelling: &mut Labelling,
        cluster: ClusterId,
        calls: &[Call],
        details: &Mutex<AllDetails>,
    ) -> Result<(), Fault> {
        let answers = join_all(
            calls
                .iter()
                .map(|call| self.carry_out(cluster, call, details)),
        )
        .await;
        let mut round = Ok(());
        for (call, answered) in calls.iter().zip(answers) {
            match answered {
                Ok(answer) => labelling.answered(call, answer),
                Err(fault @ Fault::Passing(_)) => round = Err(fault),
                Err(fault) => {
                    labelling.answered(call, Answer::from(fault.clone()));
                    round = round.and(Err(fault));
                }
            }
        }
        round
    }

    fn fence_seen(&self) -> Option<Term> {
        let seen = self.fence.load(Ordering::Relaxed);
        (seen > 0).then_some(Term(seen))
    }

    /// Takes the leader's label off a pod, if it still has it, in the term in which it was seen
    /// (R2). Its term stays.
    pub async fn strip(&self, pod: &PodSeen) -> Result<(), Fault> {
        let role = patch::path_of("labels", ROLE_LABEL);
        let mut operations = vec![
            patch::test("/metadata/uid", &pod.uid),
            patch::test(&role, PodRole::Leader.name()),
            patch::add(&role, PodRole::Follower.name()),
        ];
        if let Some(term) = pod.term {
            let path = patch::path_of("annotations", TERM_ANNOTATION);
            operations.insert(2, patch::test(&path, &term.to_string()));
        }
        self.patch(&pod.name, &operations).await
    }

    /// Lists the pods of the cluster, from the API server itself.
    pub async fn list(&self) -> Result<Vec<PodSeen>, Fault> {
        Ok(self.list_with_details().await?.0)
    }

    /// Makes a record that is lost anew, from the highest term on pods and in the claim.
    pub(in crate::operator) async fn rebuild(&self, claim: Option<&Claim>) -> Result<(), Fault> {
        let pods = self.list().await?;
        let written = pods.iter().filter_map(|pod| pod.term).max();
        let claimed = claim.map(|claim| (claim.cluster, claim.term));
        let rebuilt = in_time(self.records.rebuild(written.unwrap_or_default(), claimed)).await;
        rebuilt.map_err(|fault| match fault {
            // There is not even a place for it: the namespace is ending.
            Fault::Gone => Fault::Passing("there is no place for the record".to_owned()),
            other => other,
        })
    }

    /// Reads the fence, and sees to it that it is of this cluster (R2).
    async fn read_fence(&self, cluster: ClusterId) -> Result<Answer, Fault> {
        let record = in_time(self.records.read()).await?;
        let Some(record) = record else {
            return Ok(Answer::Gone);
        };
        // A fence that nobody can read is no fence: it is made anew.
        let Fence::Whole(fence) = record.fence else {
            return Ok(Answer::Gone);
        };
        match record.cluster() {
            Some(recorded) if recorded != cluster => return Err(foreign(recorded, cluster)),
            // Nobody has been labelled yet, or only by an operator that did not say for whom.
            _ if record.fenced != Some(Hex(cluster.0)) => {
                in_time(self.records.bind_fence(&record, cluster)).await?;
            }
            _ => {}
        }
        self.fence.store(fence.0, Ordering::Relaxed);
        Ok(Answer::Fence(fence))
    }

    async fn carry_out(
        &self,
        cluster: ClusterId,
        call: &Call,
        details: &Mutex<AllDetails>,
    ) -> Result<Answer, Fault> {
        match call {
            Call::ReadFence => self.read_fence(cluster).await,
            Call::RaiseFence { from, to } => {
                in_time(self.records.raise_fence(cluster, *from, *to)).await?;
                self.fence.store(to.0, Ordering::Relaxed);
                Ok(Answer::Written)
            }
            Call::ListPods => {
                let (pods, listed) = self.list_with_details().await?;
                *lock(details) = listed;
                Ok(Answer::Pods(pods))
            }
            Call::Mark { seen, role, term } => {
                let operations = (lock(details).get(&seen.uid))
                    .map(|details| mark(seen, details, *role, *term))
                    .ok_or(Fault::Conflict)?;
                self.patch(&seen.name, &operations).await?;
                Ok(Answer::Written)
            }
        }
    }

    async fn list_with_details(&self) -> Result<(Vec<PodSeen>, AllDetails), Fault> {
        let (mut pods, mut details) = (Vec::new(), AllDetails::new());
        // Without a version the list is read from where pods are kept, not from a cache.
        let mut page = ListParams::default()
            .labels(&self.of_cluster)
            .limit(PAGE_PODS);
        for _ in 0..PAGES_MAX {
            let list = in_time(self.pods.list(&page)).await?;
            for pod in list.items {
                if let Some(seen) = pod_seen(&pod.metadata) {
                    details.insert(Arc::clone(&seen.uid), Details::of(pod.metadata));
                    pods.push(seen);
                }
            }
            page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
            if page.continue_token.is_none() {
                return Ok((pods, details));
            }
        }
        Err(Fault::Denied(format!(
            "more than {} pods have the label {}; take it off those that are not of this cluster",
            PAGE_PODS * PAGES_MAX,
            self.of_cluster
        )))
    }

    async fn patch(&self, pod: &str, operations: &[Value]) -> Result<(), Fault> {
        let patch = patch::json(operations).map_err(|error| Fault::from(&error))?;
        in_time(self.pods.patch(pod, &patch::signed(), &patch)).await?;
        Ok(())
    }
}

fn foreign(recorded: ClusterId, claimed: ClusterId) -> Fault {
    let (recorded, claimed) = (Hex(recorded.0), Hex(claimed.0));
    Fault::Denied(format!(
        "it is of cluster {recorded}, and the node that leads is of {claimed}; its pod is labelled \
         once the record says so"
    ))
}

/// Writes role and term on a pod that is as it was seen.
fn mark(seen: &PodSeen, details: &Details, role: PodRole, term: Term) -> Vec<Value> {
    let role_path = patch::path_of("labels", ROLE_LABEL);
    let term_path = patch::path_of("annotations", TERM_ANNOTATION);
    let mut operations = vec![patch::test("/metadata/uid", &seen.uid)];
    if let (Some(role), Some(term)) = (seen.role, seen.term) {
        operations.push(patch::test(&role_path, role.name()));
        operations.push(patch::test(&term_path, &term.to_string()));
    } else {
        let version = &details.resource_version;
        operations.push(patch::test("/metadata/resourceVersion", version));
    }
    if !details.has_annotations {
        operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    operations.push(patch::add(&role_path, role.name()));
    operations.push(patch::add(&term_path, &term.to_string()));
    operations
}

async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Fault> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|error| Fault::from(&error)),
        Err(_) => Err(Fault::Passing(format!("no answer in {CALL_TIMEOUT:?}"))),
    }
}

impl Details {
    fn of(metadata: ObjectMeta) -> Self {
        Self {
            resource_version: metadata.resource_version.unwrap_or_default(),
            has_annotations: metadata.annotations.is_some_and(|all| !all.is_empty()),
        }
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        let Error::Api(status) = error else {
            return Self::Passing(error.to_string());
        };
        // A policy may refuse with any code that it likes, 422 by default.
        let is_policy = ["denied the request", "denied request", "is forbidden"];
        let is_policy = is_policy.iter().any(|words| status.message.contains(words));
        match status.code {
            400..=499 if is_policy => Self::Denied(status.message.clone()),
            404 => Self::Gone,
            // 422 is what a failed test of a patch is called, and 410 what an old list is.
            409 | 410 | 422 => Self::Conflict,
            401 | 408 | 429 => Self::Passing(status.message.clone()),
            400..=499 => Self::Denied(status.message.clone()),
            code => Self::Passing(format!("{code}: {}", status.message)),
        }
    }
}

impl From<Fault> for Answer {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Gone => Self::Gone,
            // Nobody knows whether a call that failed in passing was carried out.
            Fault::Conflict | Fault::Passing(_) => Self::Conflict,
            Fault::Denied(why) => Self::Denied(why),
        }
    }
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Carrier");
        shown.field("of_cluster", &self.of_cluster);
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn fault(code: u16, message: &str) -> Fault {
        let status = Status::failure(message, "").with_code(code);
        Fault::from(&Error::Api(status.boxed()))
    }

    #[test]
    fn refusals_are_told_from_conflicts_and_from_what_passes() {
        let failed_test = "the server rejected our request due to an error in our request";
        assert_eq!(fault(422, failed_test), Fault::Conflict);
        assert_eq!(fault(409, "the object has been modified"), Fault::Conflict);
        assert_eq!(fault(404, "pods \"a\" not found"), Fault::Gone);
        let policies = [
            (
                403,
                "pods \"a\" is forbidden: User \"x\" cannot patch resource",
            ),
            (
                422,
                "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: no",
            ),
            (400, "admission webhook \"w\" denied the request: no"),
            (409, "admission webhook \"w\" denied the request: no"),
            (415, "unsupported media type"),
        ];
        for (code, message) in policies {
            assert_eq!(fault(code, message), Fault::Denied(message.to_owned()));
        }
        for code in [401, 408, 429, 500, 503, 504] {
            let fault = fault(code, "later");
            assert!(matches!(fault, Fault::Passing(_)), "{code}: {fault:?}");
        }
    }

    fn seen(role: Option<PodRole>, term: Option<u64>) -> PodSeen {
        PodSeen {
            name: "a".into(),
            uid: "u".into(),
            role,
            term: term.map(Term),
        }
    }

    fn marked(seen: &PodSeen, has_annotations: bool) -> Value {
        let details = Details {
            resource_version: "41".to_owned(),
            has_annotations,
        };
        json!(mark(seen, &details, PodRole::Leader, Term(7)))
    }

    #[test]
    fn a_mark_rests_on_uid_role_and_term() {
        let pod = seen(Some(PodRole::Follower), Some(6));
        let expected = json!([
            {"op": "test", "path": "/metadata/uid", "value": "u"},
            {"op": "test", "path": "/metadata/labels/remember.krest.io~1role", "value": "follower"},
            {"op": "test", "path": "/metadata/annotations/remember.krest.io~1term", "value": "6"},
            {"op": "add", "path": "/metadata/labels/remember.krest.io~1role", "value": "leader"},
            {"op": "add", "path": "/metadata/annotations/remember.krest.io~1term", "value": "7"},
        ]);
        assert_eq!(marked(&pod, true), expected);
    }

    #[test]
    fn a_mark_on_a_pod_that_says_nothing_rests_on_its_version() {
        let version = json!({"op": "test", "path": "/metadata/resourceVersion", "value": "41"});
        let spoiled = [
            seen(None, Some(6)),
            seen(Some(PodRole::Leader), None),
            seen(None, None),
        ];
        for pod in spoiled {
            let operations = marked(&pod, true);
            assert_eq!(operations[1], version, "{operations}");
            assert_eq!(operations.as_array().unwrap().len(), 4, "{operations}");
        }
        let without = marked(&seen(None, None), false);
        let none = json!({"op": "add", "path": "/metadata/annotations", "value": {}});
        assert_eq!(without[2], none, "{without}");
    }
}
