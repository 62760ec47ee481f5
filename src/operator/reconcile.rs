//! One visit to one cluster: observe, validate, build, apply, report.
//!
//! ```text
//!   RememberCluster --validate, build--> objects --apply--> Kubernetes
//!         |                                                    |
//!         | certificates, record                     StatefulSet, pods, roles
//!         v                                                    v
//!     Router (labels, always)            status, events <-- status.rs <-- roll.rs
//! ```
//!
//! A visit may come at any time, twice, and at the same time as that of another operator: it looks
//! at what is there, not at what has happened. What fails is told in the status and tried again;
//! traffic is routed whatever becomes of the rest.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::Patch;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;
use tracing::{info, warn};

use super::apply::in_time;
use super::build::{Component, Extent, build, owned};
use super::context::Context;
use super::error::Trouble;
use super::events;
use super::founder;
use super::pods::ClusterKey;
use super::record::Fence;
use super::route::{Carrier, Fault};
use super::secrets::Kept;
use super::stamp::Stamp;
use super::status::{Seen, Work, status};
use super::validate::{Refusal, validate};
use super::witness::{self, Heard};
use super::{patch, roll, roller, scale, scaler, secrets};
use crate::crd::{
    ConditionKind, Conditions, RememberCluster, followers_service, leader_service, record,
};

/// How often everything is compared though nothing seems to have changed; Secrets, which are not
/// watched, are among it, and certificates, which grow old.
const LOOK_AGAIN: Duration = Duration::from_mins(5);
/// How soon to look again while something is under way.
const GO_ON: Duration = Duration::from_secs(2);
/// How soon to look again while something is waited for that tells of itself.
const WAITING: Duration = Duration::from_secs(15);
/// How soon to try again what a person has to mend first.
const STALLED: Duration = Duration::from_mins(1);
/// How soon and how late to try again what failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A cluster as it is watched: one that cannot be read stops no other.
pub(super) type Watched = DeserializeGuard<RememberCluster>;

/// Which cluster an object is.
fn key_of(meta: &ObjectMeta) -> ClusterKey {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    ClusterKey {
        namespace: text(&meta.namespace),
        name: text(&meta.name),
    }
}

/// Visits one cluster.
pub(super) async fn reconcile(
    watched: Arc<Watched>,
    context: Arc<Context>,
) -> Result<Action, Trouble> {
    let begun = Instant::now();
    let outcome = match &watched.0 {
        Ok(cluster) => visit(cluster, &context).await,
        Err(invalid) => {
            let refusal = Refusal {
                reason: "Malformed",
                sentence: format!(
                    "this RememberCluster cannot be read: {}; correct it, and see that the \
                     definition of the operator's own version is installed (remember crd)",
                    invalid.error
                ),
            };
            unreadable(&watched, &refusal, &context).await
        }
    };
    let reason = outcome.as_ref().err().map(Trouble::reason);
    context.metrics.reconcile_ends(begun, reason);
    outcome
}

/// What to do after a visit failed.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the controller hands over shares of both"
)]
pub(super) fn after_failure(
    watched: Arc<Watched>,
    trouble: &Trouble,
    context: Arc<Context>,
) -> Action {
    let key = key_of(watched.meta());
    let failures = context.failed(&key);
    warn!(cluster = %key, error = %trouble, failures, "a visit failed; it is tried again");
    let doubled = 2_u32.saturating_pow(failures.min(16));
    Action::requeue(RETRY.0.saturating_mul(doubled).min(RETRY.1))
}

async fn visit(cluster: &RememberCluster, context: &Context) -> Result<Action, Trouble> {
    let key = key_of(&cluster.metadata);
    if cluster.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let worked = work(cluster, &key, context).await;
    let (work, failed) = match worked {
        Ok(Some(work)) => (work, None),
        Ok(None) => return Ok(Action::requeue(LOOK_AGAIN)),
        Err(trouble) => match trouble.refusal() {
            Some(Refusal { reason, sentence }) => {
                let refused = Work::Refused {
                    reason,
                    sentence,
                    is_quoted: !matches!(trouble, Trouble::Refused(_)),
                };
                (refused, None)
            }
            None => (Work::Failed(trouble.reason()), Some(trouble)),
        },
    };
    report(cluster, &key, &work, context).await?;
    if let Some(trouble) = failed {
        return Err(trouble);
    }
    context.succeeded(&key);
    Ok(Action::requeue(match &work {
        Work::Refused { .. } => STALLED,
        Work::Applied { scaling, rolling } => match (scaling, rolling) {
            (scale::Next::Retry(_), _) => GO_ON,
            (scaling, rolling) if scaling.acts() || rolling.acts() => GO_ON,
            (scale::Next::Done, roll::Next::Done) if context.is_settled(&key) => LOOK_AGAIN,
            (scale::Next::Done, roll::Next::Done) => GO_ON,
            // What is waited for wakes it; this is for what was missed.
            _ => WAITING,
        },
        _ if !context.is_settled(&key) => GO_ON,
        _ => LOOK_AGAIN,
    }))
}

/// Makes the objects what they should be, and goes one step further with the pods; `None` if that
/// is left to an operator that started later.
async fn work(
    cluster: &RememberCluster,
    key: &ClusterKey,
    context: &Context,
) -> Result<Option<Work>, Trouble> {
    let sets = Api::<StatefulSet>::namespaced(context.client.clone(), &key.namespace);
    let set = in_time(sets.get_opt(&key.name)).await?;
    // Traffic first, and what it needs: for a cluster that is paused, or whose spec has become bad,
    // as for any other.
    let kept = Kept::read(&context.client, cluster, key).await?;
    let view = context.view(key);
    let extent = Extent::of(
        cluster,
        set.as_ref().map(scaler::running),
        view.configuration(),
        match Heard::of_voters(&view) {
            Heard::Nobody => None,
            heard => Some(heard == Heard::Answers),
        },
    );
    // New pods find theirs when they start, and old ones keep theirs until they have ended.
    let pods = context.pods(key);
    let last = pods.values().filter_map(|pod| pod.id).max();
    let members = last.map_or(0, |id| id.0).max(extent.pods);
    let mut routed = Ok(());
    if kept.is_begun() {
        routed = keep_routed(cluster, key, &kept, members, context).await;
        if let Err(trouble) = &routed {
            warn!(cluster = %key, error = %trouble, "the certificates are not as they should be");
        }
    }
    let stamp = set.as_ref().and_then(Stamp::on);
    let Some(stamp) = context.stamp.against(stamp.as_ref()) else {
        return Ok(None);
    };
    validate(cluster).map_err(Trouble::Refused)?;
    if cluster.spec.paused {
        return Ok(Some(Work::Paused));
    }
    let objects = build(cluster, extent, &context.settings.defaults);
    let mut objects = objects.map_err(Trouble::Refused)?;
    for object in &mut objects {
        stamp.put_on(object);
    }
    routed?;
    if !kept.is_begun() {
        keep_routed(cluster, key, &kept, members, context).await?;
    }
    keep_record(cluster, key, context).await?;
    witness::keep(cluster, key, set.as_ref(), &view, context).await?;
    for object in secrets::heads(cluster, key)?.iter().chain(&objects) {
        let version = set.as_ref().filter(|_| object["kind"] == "StatefulSet");
        let version = version.and_then(|set| set.metadata.resource_version.as_deref());
        match context.applier.apply_to(object, version).await {
            Ok(false) => {}
            Ok(true) => {
                let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
                info!(cluster = %key, %kind, %name, "applied");
            }
            Err(trouble) if trouble.is_outdated() => return Ok(Some(Work::outrun())),
            Err(trouble) => return Err(trouble),
        }
    }
    remove_orphans(cluster, key, context).await?;
    let Some(set) = in_time(sets.get_opt(&key.name)).await? else {
        return Ok(Some(Work::outrun()));
    };
    members_and_pods(cluster, key, &set, context)
        .await
        .map(Some)
}

/// Goes one step further with the members, and if none is due, with the pods.
async fn members_and_pods(
    cluster: &RememberCluster,
    key: &ClusterKey,
    set: &StatefulSet,
    context: &Context,
) -> Result<Work, Trouble> {
    let founded = founder::found(cluster, key, context).await;
    if let Ok(Some(sentence)) = founded {
        // A pod that cannot even start is mended by another one.
        let rolling = roller::roll(cluster, key, set, context).await?;
        let rolling = if rolling.acts() {
            rolling
        } else {
            roll::Next::Wait(sentence)
        };
        let scaling = scale::Next::Done;
        return Ok(Work::Applied { scaling, rolling });
    }
    let scaling = scaler::scale(cluster, key, set, context).await?;
    if !scaling.acts() {
        founded?;
    }
    let rolling = if scaling.acts() {
        roll::Next::Done
    } else {
        roller::roll(cluster, key, set, context).await?
    };
    Ok(Work::Applied { scaling, rolling })
}

/// Renews certificates, and routes with what there is.
async fn keep_routed(
    cluster: &RememberCluster,
    key: &ClusterKey,
    kept: &Kept,
    members: u64,
    context: &Context,
) -> Result<(), Trouble> {
    let renewed = kept.renew(&context.client, cluster, key, members).await;
    let (held, renewed) = match renewed {
        Ok(held) => (held, Ok(())),
        Err(trouble) => (kept.held(), Err(trouble)),
    };
    let routed = context.route(cluster, key, held);
    renewed.and(routed)
}

/// Sees to it that there is a record with a fence that can be read.
async fn keep_record(
    cluster: &RememberCluster,
    key: &ClusterKey,
    context: &Context,
) -> Result<(), Trouble> {
    let head = owned(
        cluster,
        ("v1", "ConfigMap"),
        &record(&key.name),
        Component::Record,
    );
    context
        .applier
        .apply(&head.map_err(Trouble::Refused)?)
        .await?;
    let records = context.records(cluster, key);
    let read = in_time(records.read()).await?;
    if matches!(read.map(|record| record.fence), Some(Fence::Whole(_))) {
        return Ok(());
    }
    let claim = context.claim(key);
    let carrier = Carrier::new(context.client.clone(), key, records);
    match carrier.rebuild(claim.as_ref()).await {
        // Somebody else was faster, or it has just gone: the next visit sees.
        Ok(()) | Err(Fault::Conflict | Fault::Gone) => Ok(()),
        Err(fault) => Err(Trouble::Record(fault.to_string())),
    }
}

/// Services without a port cannot be, so they go with their last one.
async fn remove_orphans(
    cluster: &RememberCluster,
    key: &ClusterKey,
    context: &Context,
) -> Result<(), Trouble> {
    if !cluster.spec.service.ports.is_empty() {
        return Ok(());
    }
    let owner = cluster.uid().unwrap_or_default();
    for name in [leader_service(&key.name), followers_service(&key.name)] {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": &*key.namespace, "name": name},
        });
        context.applier.remove(&service, &owner).await?;
    }
    Ok(())
}

/// Writes the status if it is another one, and tells what is new in it.
async fn report(
    cluster: &RememberCluster,
    key: &ClusterKey,
    work: &Work,
    context: &Context,
) -> Result<(), Trouble> {
    let pods = context.pods(key);
    let view = context.view(key);
    // While work is done, it is made.
    let may_lack = cluster.spec.witness.is_some() && !matches!(work, Work::Applied { .. });
    let after = status(&Seen {
        cluster,
        pods: &pods,
        view: &view,
        work,
        has_lost_witness: may_lack && witness::is_missing(key, context).await,
        tells_unknown: context.may_tell_unheard(key),
        is_late: context.is_late(key),
        now: Time(Timestamp::now()),
    });
    let before = cluster.status.clone().unwrap_or_default();
    if before == after {
        return Ok(());
    }
    let version = cluster.resource_version();
    // A merge leaves what is not mentioned: what is no more is to be said.
    let mut said = json!(after);
    for absent in ["leader", "term", "leaderTransitions", "voters", "members"] {
        if said[absent].is_null() {
            said[absent] = serde_json::Value::Null;
        }
    }
    match write_status(context, key, version, said).await {
        Ok(()) => {}
        // Somebody else has changed it meanwhile, and that change is visited as well.
        Err(Trouble::Kubernetes(kube::Error::Api(status))) if status.code == 409 => return Ok(()),
        Err(Trouble::Kubernetes(kube::Error::Api(status))) if status.code == 404 => return Ok(()),
        Err(trouble) => return Err(trouble),
    }
    context.told_unheard(key);
    events::tell(&context.recorder, cluster, events::news(&before, &after)).await;
    Ok(())
}

async fn write_status(
    context: &Context,
    key: &ClusterKey,
    version: Option<String>,
    said: serde_json::Value,
) -> Result<(), Trouble> {
    let status = json!({"metadata": {"resourceVersion": version}, "status": said});
    let clusters = Api::<Watched>::namespaced(context.client.clone(), &key.namespace);
    let status = Patch::Merge(status);
    in_time(clusters.patch_status(&key.name, &patch::signed(), &status))
        .await
        .map(drop)
}

/// Says of a cluster that nobody can read that it is so, and leaves the rest of its status alone.
async fn unreadable(
    watched: &Watched,
    refusal: &Refusal,
    context: &Context,
) -> Result<Action, Trouble> {
    let key = key_of(watched.meta());
    if context.was_refused(&key, refusal) {
        return Ok(Action::requeue(LOOK_AGAIN));
    }
    let generation = watched.meta().generation;
    let mut told = Conditions::since(&[], generation, Time(Timestamp::now()));
    let (reason, sentence) = (refusal.reason, &refusal.sentence);
    told.say(ConditionKind::Stalled, Some(true), reason, sentence);
    let said = json!({"observedGeneration": generation, "conditions": told.told()});
    write_status(context, &key, watched.meta().resource_version.clone(), said).await?;
    context.refused(&key, refusal);
    Ok(Action::requeue(LOOK_AGAIN))
}
