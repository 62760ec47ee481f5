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
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;
use tracing::{info, warn};

use super::apply::in_time;
use super::context::Context;
use super::error::Trouble;
use super::events;
use super::pods::ClusterKey;
use super::roll::Next;
use super::secrets::Kept;
use super::status::{Seen, Work, status};
use super::validate::{Refusal, validate};
use super::{build, roller};
use crate::crd::followers_service;
use crate::crd::{FIELD_MANAGER, RememberCluster, RememberClusterStatus, leader_service};

/// How often everything is compared though nothing seems to have changed; Secrets, which are not
/// watched, are among it, and certificates, which grow old.
const LOOK_AGAIN: Duration = Duration::from_mins(5);
/// How soon to look again while something is under way.
const GO_ON: Duration = Duration::from_secs(2);
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
        Ok(work) => (work, None),
        Err(trouble) => match trouble.refusal() {
            Some(Refusal { reason, sentence }) => (Work::Refused { reason, sentence }, None),
            None => (Work::Failed(trouble.to_string()), Some(trouble)),
        },
    };
    report(cluster, &key, &work, context).await?;
    if let Some(trouble) = failed {
        return Err(trouble);
    }
    context.succeeded(&key);
    Ok(Action::requeue(match work {
        Work::Refused { .. } => STALLED,
        Work::Applied(Next::Wait(_) | Next::Replace { .. } | Next::HandOver { .. }) => GO_ON,
        _ if context.is_unheard(&key) => GO_ON,
        _ => LOOK_AGAIN,
    }))
}

/// Makes the objects what they should be, and goes one step further with the pods.
async fn work(
    cluster: &RememberCluster,
    key: &ClusterKey,
    context: &Context,
) -> Result<Work, Trouble> {
    // Traffic first: it is routed for a cluster whose spec has become bad as well.
    let kept = Kept::read(&context.client, key).await?;
    if kept.is_whole() {
        context.route(cluster, key, kept.held())?;
    }
    validate(cluster).map_err(Trouble::Refused)?;
    if cluster.spec.paused {
        return Ok(Work::Paused);
    }
    let objects = build::build(cluster, &context.settings.defaults).map_err(Trouble::Refused)?;
    let fence = context.newest_term(key).unwrap_or_default();
    in_time(context.records(cluster, key).rebuild(fence)).await?;
    let held = kept.renew(&context.client, cluster, key).await?;
    context.route(cluster, key, held)?;
    for object in &objects {
        if context.applier.apply(object).await? {
            let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
            info!(cluster = %key, %kind, %name, "applied");
        }
    }
    remove_orphans(cluster, key, context).await?;
    let sets = Api::<StatefulSet>::namespaced(context.client.clone(), &key.namespace);
    let set = in_time(sets.get_opt(&key.name)).await?;
    let next = roller::roll(cluster, key, set.as_ref(), context).await?;
    Ok(Work::Applied(next))
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
    let after = status(&Seen {
        cluster,
        pods: &pods,
        view: &view,
        work,
        tells_unknown: context.may_tell_unheard(key),
        now: Time(Timestamp::now()),
    });
    let before = cluster.status.clone().unwrap_or_default();
    if before == after {
        return Ok(());
    }
    let version = cluster.resource_version();
    match write_status(context, key, version, &after).await {
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
    status: &RememberClusterStatus,
) -> Result<(), Trouble> {
    // A merge leaves what is not mentioned: what is no more is to be said.
    let mut said = json!(status);
    for absent in ["leader", "term", "leaderTransitions", "members"] {
        if said[absent].is_null() {
            said[absent] = serde_json::Value::Null;
        }
    }
    let patch = json!({"metadata": {"resourceVersion": version}, "status": said});
    let clusters = Api::<Watched>::namespaced(context.client.clone(), &key.namespace);
    let by = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(patch);
    in_time(clusters.patch_status(&key.name, &by, &patch))
        .await
        .map(drop)
}

/// Says of a cluster that nobody can read that it is so.
async fn unreadable(
    watched: &Watched,
    refusal: &Refusal,
    context: &Context,
) -> Result<Action, Trouble> {
    let key = key_of(watched.meta());
    if context.refused_before(&key, refusal) {
        return Ok(Action::requeue(LOOK_AGAIN));
    }
    let mut told =
        crate::crd::Conditions::since(&[], watched.meta().generation, Time(Timestamp::now()));
    told.say(
        crate::crd::ConditionKind::Stalled,
        Some(true),
        refusal.reason,
        &refusal.sentence,
    );
    let said = RememberClusterStatus {
        observed_generation: watched.meta().generation,
        conditions: told.told(),
        ..RememberClusterStatus::default()
    };
    write_status(
        context,
        &key,
        watched.meta().resource_version.clone(),
        &said,
    )
    .await?;
    Ok(Action::requeue(LOOK_AGAIN))
}
