//! Carries out what [`super::founding`] decides: writes it into the record of the cluster, if that
//! is still what it was, and tells the founders (R3, R13, R14).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource as _};
use serde_json::json;
use tracing::{info, warn};

use super::apply::in_time;
use super::ask;
use super::build::claim_name;
use super::context::Context;
use super::error::Trouble;
use super::founding::{Founding, Next, Sight, Voter};
use super::pods::{ClusterKey, PodView};
use super::record::Record;
use super::roller::list;
use super::route::{Report, View};
use crate::consensus::{ClusterId, NodeId, Term};
use crate::crd::{REPLICAS_MAX, RememberCluster};

/// How many steps one visit takes at most: recorded, then told.
const STEPS_MAX: usize = 3;

/// Goes as far as it goes; why it does not go on, if it waits for something.
pub(super) async fn found(
    cluster: &RememberCluster,
    key: &ClusterKey,
    context: &Context,
) -> Result<Option<String>, Trouble> {
    for _ in 0..STEPS_MAX {
        let records = context.records(cluster, key);
        let Some(record) = in_time(records.read()).await? else {
            return Ok(Some("the record of the cluster is being made".to_owned()));
        };
        if is_settled(&record, &context.view(key)) {
            return Ok(None);
        }
        let pods = Api::<Pod>::namespaced(context.client.clone(), &key.namespace);
        let (_, pods) = list(&pods, key).await?;
        match decide(cluster, key, context, &record, &pods).await? {
            Next::Settled => return Ok(None),
            Next::Wait(sentence) => return Ok(Some(sentence)),
            Next::Stalled(refusal) => return Err(Trouble::Refused(refusal)),
            Next::Record {
                founding,
                voters,
                lost,
            } => {
                match in_time(records.found(&record, &founding, &voters)).await {
                    Err(trouble) if trouble.is_conflict() => {
                        return Ok(Some("another operator founds the cluster".to_owned()));
                    }
                    written => written?,
                }
                let (epoch, name) = (founding.epoch, founding.cluster.to_string());
                info!(cluster = %key, epoch, name, voters = voters.len(), "recorded");
                if let Some(lost) = lost {
                    tell_loss(cluster, key, context, lost).await;
                }
            }
            Next::Tell(ids) => {
                if let Some(founding) = &record.founding
                    && let Some(late) = tell(key, context, founding, &ids, &pods).await
                {
                    return Ok(Some(late));
                }
            }
        }
    }
    Ok(Some("the founding goes on".to_owned()))
}

/// Whether nothing can have changed since it was recorded: the usual case, which asks for no more.
fn is_settled(record: &Record, view: &View) -> bool {
    let (Some(founding), Some((cluster, (_, seats)))) = (&record.founding, &view.seated) else {
        return false;
    };
    let recorded = record.voters.iter().map(Voter::member);
    let is_known = |report: &Report| report.cluster == Some(*cluster);
    cluster.0 == founding.cluster.0
        && view.reports.values().all(is_known)
        && record.voters.iter().all(|voter| voter.disk.is_some())
        && seats.voters().eq(recorded)
}

async fn decide(
    cluster: &RememberCluster,
    key: &ClusterKey,
    context: &Context,
    record: &Record,
    pods: &BTreeMap<Arc<str>, PodView>,
) -> Result<Next, Trouble> {
    let claims = match cluster.spec.storage {
        Some(_) => Some(claims(key, context).await?),
        None => None,
    };
    let view = context.view(key);
    let told = cluster.status.as_ref().and_then(|status| status.term);
    let told = told.and_then(|term| u64::try_from(term).ok()).map(Term);
    let on_pods = pods.values().filter_map(|pod| pod.term);
    let said = view.reports.values().map(|report| report.term);
    let highest = on_pods.chain(said).chain(told).max().unwrap_or_default();
    let sight = Sight {
        pods,
        replicas: u64::try_from(cluster.spec.replicas).unwrap_or(0),
        reports: &view.reports,
        seated: view
            .seated
            .as_ref()
            .filter(|_| view.no_majority_since.is_none()),
        claims: claims.as_ref(),
        founding: record.founding.as_ref(),
        voters: &record.voters,
        highest: highest.max(record.fence.term()),
        name: ClusterId(getrandom::u64().map_err(|error| Trouble::Record(error.to_string()))?),
    };
    Ok(sight.next())
}

/// The uids of the claims that there are, by node.
///
/// Each is asked for by its name. A list by label would be one call, but it asks for a right more,
/// to list, and believes a label that anybody may take off: a claim without it would count as gone,
/// and with it what proves that an epoch must not begin (R14). And only founding looks at them.
async fn claims(key: &ClusterKey, context: &Context) -> Result<BTreeMap<NodeId, String>, Trouble> {
    let api = Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), &key.namespace);
    let mut claims = BTreeMap::new();
    for id in (1..=REPLICAS_MAX).map(NodeId) {
        let found = in_time(api.get_metadata_opt(&claim_name(&key.name, id))).await?;
        if let Some(uid) = found.and_then(|claim| claim.metadata.uid) {
            claims.insert(id, uid);
        }
    }
    Ok(claims)
}

/// Tells each founder; why not all are told.
async fn tell(
    key: &ClusterKey,
    context: &Context,
    founding: &Founding,
    ids: &[NodeId],
    pods: &BTreeMap<Arc<str>, PodView>,
) -> Option<String> {
    let body = json!(founding);
    let Some(dial) = context.dial(key) else {
        return Some("the certificates of the cluster are being made".to_owned());
    };
    let mut late = None;
    for id in ids {
        let mut of_id = pods.values().filter(|pod| pod.id == Some(*id));
        let told = match of_id.next() {
            Some(pod) => ask::post(pod, "/v1/bootstrap", &body, &dial).await,
            None => Err("its pod is not there".to_owned()),
        };
        match told {
            Ok(()) => info!(cluster = %key, node = %id, "told that it founds the cluster"),
            Err(why) => {
                warn!(cluster = %key, node = %id, why, "a founder cannot be told yet");
                late = Some(format!("node {id} is not told of its founding yet: {why}"));
            }
        }
    }
    late
}

async fn tell_loss(cluster: &RememberCluster, key: &ClusterKey, context: &Context, lost: String) {
    warn!(cluster = %key, lost, "a new epoch begins");
    let event = Event {
        type_: EventType::Warning,
        reason: "DisksLost".to_owned(),
        note: Some(lost),
        action: "Bootstrap".to_owned(),
        secondary: None,
    };
    let about = cluster.object_ref(&());
    if let Err(error) = in_time(context.recorder.publish(&event, &about)).await {
        warn!(%error, "an event is not told");
    }
}
