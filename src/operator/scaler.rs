//! Carries out what [`super::scale`] decides: asks the leader to change the members, and has the
//! StatefulSet run one pod less, each such step claimed first (R3).
//!
//! A pod ends only by a step that rests on the record, on the pods that there are, and on the very
//! StatefulSet, in the order in which they are read here: of two operators one is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use serde_json::json;
use tracing::info;

use super::apply::in_time;
use super::context::Context;
use super::error::Trouble;
use super::pods::{ClusterKey, PodView, PodViews};
use super::record::{Record, Records, Step, StepKind};
use super::roller::{list, settled_revision};
use super::route::Belief;
use super::scale::{Next, Sight};
use super::{ask, patch};
use crate::crd::RememberCluster;

/// Goes one step further, if there is one to go.
pub(super) async fn scale(
    cluster: &RememberCluster,
    key: &ClusterKey,
    set: &StatefulSet,
    context: &Context,
) -> Result<Next, Trouble> {
    let visit = Visit {
        cluster,
        key,
        context,
    };
    // What is watched may lag, and is enough to see that there is nothing to do.
    let next = visit.decide(&context.pods(key), set, None);
    match next {
        Next::Change { .. } => Ok(visit.change(next).await),
        Next::Lower { .. } => {
            let records = context.records(cluster, key);
            let decide = |pods: &PodViews, set: &StatefulSet, record: &Record| {
                visit.decide(pods, set, Some(record))
            };
            lower(&context.client, &records, key, decide).await
        }
        Next::Done | Next::Wait(_) | Next::Retry(_) | Next::Stalled(_) => Ok(next),
    }
}

/// One visit to one cluster.
struct Visit<'a> {
    cluster: &'a RememberCluster,
    key: &'a ClusterKey,
    context: &'a Context,
}

impl Visit<'_> {
    /// Decides by what the nodes say at this very moment.
    fn decide(
        &self,
        pods: &BTreeMap<Arc<str>, PodView>,
        set: &StatefulSet,
        record: Option<&Record>,
    ) -> Next {
        let view = self.context.view(self.key);
        let sight = Sight {
            cluster: &self.key.name,
            wanted: u64::try_from(self.cluster.spec.replicas).unwrap_or(0),
            running: running(set),
            revision: settled_revision(set),
            maker: set.metadata.uid.as_deref().unwrap_or_default(),
            pods,
            belief: &view.belief,
            reports: &view.reports,
            is_ephemeral: self.cluster.spec.is_ephemeral(),
            configuration: view.configuration(),
            step: record.and_then(|record| record.step.as_ref()),
        };
        sight.next()
    }

    /// Asks the leader to change the members.
    async fn change(&self, next: Next) -> Next {
        let Next::Change { promote, remove } = &next else {
            return next;
        };
        let (pods, view) = (self.context.pods(self.key), self.context.view(self.key));
        let leads =
            |pod: &&PodView| matches!(&view.belief, Belief::Led(claim) if claim.pod == pod.uid);
        let leader = pods.values().find(leads);
        let (Some(leader), Some(dial)) = (leader, self.context.dial(self.key)) else {
            return Next::Retry("the leader's pod is not there".to_owned());
        };
        info!(cluster = %self.key, ?promote, ?remove, "asking the leader to change the members");
        let wish = json!({"promote": promote, "remove": remove});
        let asked = ask::post(leader, "/v1/members", &wish, &dial).await;
        // A leader that is to go itself hands over in the midst, and cannot answer.
        let told = next.sentence().unwrap_or_default();
        let in_vain = |why| Next::Retry(format!("{told}; the leader was asked, but {why}"));
        asked.map_or_else(in_vain, |()| next)
    }
}

/// Has the StatefulSet run one pod less, if the record, the pods and the StatefulSet itself still
/// ask for it, each read from the API server in this order.
async fn lower(
    client: &Client,
    records: &Records,
    key: &ClusterKey,
    decide: impl Fn(&PodViews, &StatefulSet, &Record) -> Next,
) -> Result<Next, Trouble> {
    let Some(record) = in_time(records.read()).await? else {
        let sentence = "the record of the cluster is being made";
        return Ok(Next::Retry(sentence.to_owned()));
    };
    let pods = Api::<Pod>::namespaced(client.clone(), &key.namespace);
    let (_, seen) = list(&pods, key).await?;
    let sets = Api::<StatefulSet>::namespaced(client.clone(), &key.namespace);
    let set = in_time(sets.get(&key.name)).await?;
    let seen = Arc::new(seen);
    let next = decide(&seen, &set, &record);
    if let Next::Lower { pod, uid, to } = &next {
        let step = Step {
            kind: StepKind::LowerReplicas,
            pod: pod.to_string(),
            uid: uid.to_string(),
            generation: set.metadata.generation,
        };
        if !records.claim(&record, &step).await? {
            return Ok(Next::Retry("another operator takes a step".to_owned()));
        }
        // Meanwhile the leader may have given a vote to the very node that would go.
        if decide(&seen, &set, &record) != next {
            return Ok(Next::Retry("the members have just changed".to_owned()));
        }
        info!(cluster = %key, %pod, "a pod without a seat ends");
        run_fewer(&sets, &set, *to).await?;
    }
    Ok(next)
}

/// How many pods a StatefulSet should run: one, where it does not say.
pub(super) fn running(set: &StatefulSet) -> u64 {
    u64::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0)
}

/// Lowers the very StatefulSet that was seen, as it was seen.
async fn run_fewer(sets: &Api<StatefulSet>, set: &StatefulSet, to: u64) -> Result<(), Trouble> {
    let (Some(name), Some(version)) = (&set.metadata.name, &set.metadata.resource_version) else {
        return Ok(());
    };
    let patch = patch::json(&[
        patch::test("/metadata/resourceVersion", version),
        json!({"op": "replace", "path": "/spec/replicas", "value": to}),
    ])?;
    match in_time(sets.patch(name, &patch::signed(), &patch)).await {
        // It has changed since: the next visit sees how.
        Err(trouble) if trouble.is_conflict() => Ok(()),
        lowered => lowered.map(drop),
    }
}

#[cfg(test)]
#[path = "scaler_test.rs"]
pub(super) mod tests;
