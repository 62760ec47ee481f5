//! The witness of a pair, as an operator sees it (R17): what those who vote say of it, and the
//! object that it is.
//!
//! The object is a ConfigMap that is made empty: what it holds is the members' own. It goes with
//! its cluster, also where volumes stay. A cluster that is made anew on them finds an empty one, as
//! one does whose object somebody has deleted, and to an empty one both members of a pair agree
//! before either may go on without the other. So nothing is lost with it, and what an earlier one
//! held could only mislead. For the same reason it is emptied where it is of an earlier cluster, in
//! whose place the record says that a new epoch has begun (R14): its members would take that for no
//! answer for ever.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use tracing::{info, warn};

use super::apply::in_time;
use super::build::{Component, has_witness, owned};
use super::context::Context;
use super::error::Trouble;
use super::events::{self, News};
use super::patch;
use super::pods::ClusterKey;
use super::route::{Report, View, Witness};
use crate::consensus::{ClusterId, Configuration, NodeId};
use crate::crd::{RememberCluster, witness};

/// The key of the object under which its members keep the register.
const REGISTER: &str = "register";

/// What some nodes say of their witness, taken together. Of those that do not answer, their ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    /// None of them is heard.
    Nobody,
    /// Some were told of no witness: their pods are older than that.
    Untold(BTreeSet<u64>),
    /// It does not answer some.
    Silent(BTreeSet<u64>),
    /// It answers all that are heard.
    Answers,
}

impl Heard {
    /// From nodes with these ids. Those that are not heard say nothing.
    pub(super) fn of(
        nodes: impl IntoIterator<Item = NodeId>,
        reports: &BTreeMap<NodeId, Report>,
    ) -> Self {
        let nodes = nodes.into_iter();
        let said = nodes.filter_map(|id| Some((id.0, reports.get(&id)?.witness)));
        let said: Vec<_> = said.collect();
        let who = |answer| -> BTreeSet<u64> {
            let them = said.iter().filter(|(_, said)| *said == answer);
            them.map(|(id, _)| *id).collect()
        };
        let (untold, silent) = (who(None), who(Some(Witness::Silent)));
        if said.is_empty() {
            Self::Nobody
        } else if !untold.is_empty() {
            Self::Untold(untold)
        } else if !silent.is_empty() {
            Self::Silent(silent)
        } else {
            Self::Answers
        }
    }

    /// From those who have votes, as far as is known who has.
    pub(super) fn of_voters(view: &View) -> Self {
        let voters = view.configuration().into_iter();
        let voters = voters.flat_map(Configuration::voters);
        Self::of(voters.map(|voter| voter.id), &view.reports)
    }
}

/// Whether there is no object, as far as that can be asked.
pub(super) async fn is_missing(key: &ClusterKey, context: &Context) -> bool {
    let objects = Api::<ConfigMap>::namespaced(context.client.clone(), &key.namespace);
    let found = in_time(objects.get_metadata_opt(&witness(&key.name))).await;
    matches!(found, Ok(None))
}

/// Sees to it that there is the object, if one is asked for. Whoever makes it where there was one
/// tells of that. What it holds is no field of ours, so to apply the rest of it leaves that alone.
pub(super) async fn keep(
    cluster: &RememberCluster,
    key: &ClusterKey,
    set: Option<&StatefulSet>,
    view: &View,
    context: &Context,
) -> Result<(), Trouble> {
    if cluster.spec.witness.is_none() {
        return Ok(());
    }
    let name = witness(&key.name);
    let head = owned(cluster, ("v1", "ConfigMap"), &name, Component::Witness);
    let head = head.map_err(Trouble::Refused)?;
    let objects = Api::<ConfigMap>::namespaced(context.client.clone(), &key.namespace);
    let found = in_time(objects.get_opt(&name)).await?;
    if found.is_none() {
        let empty = serde_json::from_value(head.clone()).map_err(kube::Error::SerdeError)?;
        match in_time(objects.create(&patch::signed_whole(), &empty)).await {
            Ok(_) if set.is_some_and(has_witness) => {
                warn!(cluster = %key, name, "the witness was gone, and is made again");
                events::tell(&context.recorder, cluster, vec![made_again(&name)]).await;
            }
            Ok(_) => {}
            Err(trouble) if trouble.is_conflict() => {}
            Err(trouble) => return Err(trouble.into_refused()),
        }
    }
    context.applier.apply(&head).await?;
    let Some((text, seated)) = found.and_then(|found| of_an_earlier_cluster(&found, view)) else {
        return Ok(());
    };
    // One disk of another cluster, alone in it, is heard as well as those that belong here.
    let record = in_time(context.records(cluster, key).read()).await?;
    let founding = record.and_then(|record| record.founding);
    if founding.is_none_or(|founding| founding.cluster.0 != seated.0) {
        return Ok(());
    }
    empty(&objects, key, &name, &text).await
}

/// What the object holds, if it says itself that this is of another cluster than the nodes that are
/// heard, and of which these are.
fn of_an_earlier_cluster(found: &ConfigMap, view: &View) -> Option<(String, ClusterId)> {
    let seated = view
        .seated
        .as_ref()
        .filter(|_| view.configuration().is_some());
    let (cluster, _) = seated?;
    let held = found.data.as_ref()?.get(REGISTER)?;
    let (named, _) = held.strip_prefix("cluster ")?.split_once(',')?;
    let named = u64::from_str_radix(named, 16).ok()?;
    (named != cluster.0).then(|| (held.clone(), *cluster))
}

/// Empties the object of the very text that was seen.
async fn empty(
    objects: &Api<ConfigMap>,
    key: &ClusterKey,
    name: &str,
    held: &str,
) -> Result<(), Trouble> {
    let path = format!("/data/{REGISTER}");
    let taken_out = patch::json(&[
        patch::test(&path, held),
        json!({"op": "remove", "path": path}),
    ])?;
    match in_time(objects.patch(name, &patch::signed(), &taken_out)).await {
        // It has changed since: the next visit sees how.
        Err(trouble) if trouble.is_conflict() => Ok(()),
        emptied => {
            emptied?;
            info!(cluster = %key, name, held, "the witness is rid of an earlier cluster");
            Ok(())
        }
    }
}

fn made_again(name: &str) -> News {
    News {
        is_warning: true,
        reason: "WitnessMadeAgain".to_owned(),
        note: format!(
            "ConfigMap {name} was gone, and is made again, empty: once both of a pair have agreed \
             on what it is to hold, either can go on without the other again, and not before"
        ),
    }
}

#[cfg(test)]
#[path = "witness_test.rs"]
mod tests;
