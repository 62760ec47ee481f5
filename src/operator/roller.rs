//! Carries out what [`super::roll`] decides: one pod at a time, each step claimed first (R3).
//!
//! The record is read before the pods, and the claim holds only if the record is still that: so two
//! operators that decide at the same time cannot end two pods. A step that was claimed and not
//! finished is carried on by whoever sees it.
//!
//! What the nodes say is looked at after both, and once more behind the claim: a node may have lost
//! its vote, or its leader, since.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tracing::info;

use super::apply::in_time;
use super::ask;
use super::context::Context;
use super::error::Trouble;
use super::pods::{ClusterKey, PodView};
use super::record::{Fence, Record, Records, Step, StepKind};
use super::roll::{Next, Sight};
use super::route::{Belief, View};
use super::scaler::running;
use crate::consensus::Term;
use crate::crd::{CLUSTER_LABEL, RememberCluster};

/// Goes one step further, if there is one to go.
pub(super) async fn roll(
    cluster: &RememberCluster,
    key: &ClusterKey,
    set: &StatefulSet,
    context: &Context,
) -> Result<Next, Trouble> {
    let decide = |pods: &BTreeMap<Arc<str>, PodView>, record: Option<&Record>| {
        let view = context.view(key);
        let sight = Sight {
            pods,
            maker: set.metadata.uid.as_deref().unwrap_or_default(),
            replicas: running(set),
            revision: settled_revision(set),
            belief: &view.belief,
            reports: &view.reports,
            configuration: view.configuration(),
            is_lost_with_pods: cluster.spec.is_ephemeral() && has_begun(&view, record),
            step: record.and_then(|record| record.step.as_ref()),
        };
        sight.next()
    };
    // What is watched may lag, and is enough to see that there is nothing to do.
    let cached = decide(&context.pods(key), None);
    if !cached.acts() {
        return Ok(cached);
    }
    let records = context.records(cluster, key);
    let Some(record) = in_time(records.read()).await? else {
        return Ok(Next::Wait(
            "the record of the cluster is being made".to_owned(),
        ));
    };
    let pods = Api::<Pod>::namespaced(context.client.clone(), &key.namespace);
    let (listed, seen) = list(&pods, key).await?;
    let next = decide(&seen, Some(&record));
    match &next {
        Next::Replace { pod, uid } => {
            let version = listed.iter().find(|one| one.name_any() == **pod);
            let end = End {
                pod,
                uid,
                version: version.and_then(Pod::resource_version),
            };
            let is_due = || decide(&seen, Some(&record)) == next;
            if let Some(not_yet) = end.carry_out(&pods, &records, &record, is_due).await? {
                return Ok(not_yet);
            }
            info!(cluster = %key, %pod, "replacing a pod that is not as the spec says");
        }
        Next::HandOver { to } => {
            let view = context.view(key);
            let leads =
                |pod: &&PodView| matches!(&view.belief, Belief::Led(claim) if claim.pod == pod.uid);
            let (Some(leader), Some(dial)) = (seen.values().find(leads), context.dial(key)) else {
                return Ok(Next::Wait("the leader's pod is not there".to_owned()));
            };
            let from = &leader.name;
            info!(cluster = %key, %from, %to, "handing over before a pod is replaced");
            let wish = json!({"to": to.0});
            let asked = ask::post(leader, "/v1/leader/transfer", &wish, &dial).await;
            asked.map_err(Trouble::HandOver)?;
        }
        Next::Done | Next::Wait(_) | Next::Refuse(_) => {}
    }
    Ok(next)
}

/// The pods of a cluster by the API server's own word, and what is known of each.
pub(super) async fn list(
    pods: &Api<Pod>,
    key: &ClusterKey,
) -> Result<(Vec<Pod>, BTreeMap<Arc<str>, PodView>), Trouble> {
    let ours = ListParams::default().labels(&format!("{CLUSTER_LABEL}={}", key.name));
    let listed = in_time(pods.list(&ours)).await?.items;
    let seen = listed.iter().filter_map(PodView::of);
    let seen = seen.map(|(_, pod)| (Arc::clone(&pod.name), pod)).collect();
    Ok((listed, seen))
}

/// Whether there is anything that its disks keep, as far as is known: before the record is read,
/// that it is not known proves nothing.
fn has_begun(view: &View, record: Option<&Record>) -> bool {
    let was_led =
        |record: &Record| record.founding.is_some() || record.fence != Fence::Whole(Term(0));
    view.seated.is_some()
        || view.reports.values().any(|report| report.cluster.is_some())
        || record.is_some_and(was_led)
}

/// The revision that pods should be of, once the StatefulSet's controller has seen its newest spec.
pub(super) fn settled_revision(set: &StatefulSet) -> Option<&str> {
    let status = set.status.as_ref()?;
    let is_settled = status.observed_generation >= set.metadata.generation;
    status.update_revision.as_deref().filter(|_| is_settled)
}

/// A pod that is to end: the very one that was seen, as it was seen.
struct End<'a> {
    pod: &'a str,
    uid: &'a str,
    version: Option<String>,
}

impl End<'_> {
    /// Ends it, if that is still due once the step is claimed; else what to do instead.
    async fn carry_out(
        self,
        pods: &Api<Pod>,
        records: &Records,
        seen: &Record,
        is_due: impl FnOnce() -> bool,
    ) -> Result<Option<Next>, Trouble> {
        let step = Step {
            kind: StepKind::DeletePod,
            pod: self.pod.to_owned(),
            uid: self.uid.to_owned(),
            generation: None,
        };
        if !records.claim(seen, &step).await? {
            return Ok(Some(Next::Wait("another operator takes a step".to_owned())));
        }
        if !is_due() {
            return Ok(Some(Next::Wait("the nodes have just changed".to_owned())));
        }
        let this = DeleteParams::default().preconditions(Preconditions {
            uid: Some(self.uid.to_owned()),
            resource_version: self.version,
        });
        match in_time(pods.delete(self.pod, &this)).await {
            // It has changed since, or is gone: the next visit sees how.
            Err(Trouble::Kubernetes(kube::Error::Api(status)))
                if matches!(status.code, 404 | 409) =>
            {
                Ok(None)
            }
            ended => ended.map(|_| None),
        }
    }
}

#[cfg(test)]
#[path = "roller_test.rs"]
mod tests;
