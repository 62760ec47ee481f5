//! The record of a cluster: one small ConfigMap, the same for all operators (R1, R3).
//!
//! It holds the *fence*, below which nobody labels any more, and the *step*: the last destructive
//! step that an operator has claimed. Both are changed by compare-and-set and in no other way, so
//! that of two operators one is told that it was too late. The fence never goes back: a record that
//! is lost, or whose fence somebody has spoiled, is made anew from the highest term that is to be
//! seen ([`Records::rebuild`]).
//!
//! A term says nothing across clusters, and a disk of another one may hold a far higher epoch. So
//! the fence is of one cluster by its name, and is raised for that one only: the recorded one, or
//! before any is recorded, the first that is labelled.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, Patch};
use kube::{Api, Client, Error};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::apply::in_time;
use super::error::Trouble;
use super::founding::{Founding, Hex, Voter};
use super::patch;
use super::pods::{ClusterKey, parse_term};
use crate::consensus::{ClusterId, Term};
use crate::crd::{CLUSTER_LABEL, record};

const FENCE: &str = "fence";
const CLUSTER: &str = "cluster";
const STEP: &str = "step";
const FOUNDING: &str = "founding";
const VOTERS: &str = "voters";

/// The record of one cluster, wherever it is asked for.
#[derive(Clone)]
pub struct Records {
    api: Api<ConfigMap>,
    cluster: ClusterKey,
    owner: OwnerReference,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The fence.
    pub fence: Fence,
    /// For which cluster the fence is raised; `None` before one is known, in a record that is older
    /// than this, or if it cannot be read.
    pub fenced: Option<Hex>,
    /// The last destructive step that was claimed. One that cannot be read is none: whoever takes
    /// a step looks first whether it may be taken.
    pub step: Option<Step>,
    /// What was founded last (R14); `None` before the first founding.
    pub founding: Option<Founding>,
    /// Who votes, as it was believed last.
    pub voters: Vec<Voter>,
    /// The version of the record, for compare-and-set.
    pub resource_version: String,
}

/// The term below which nobody labels any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fence {
    /// As an operator has written it.
    Whole(Term),
    /// Somebody has spoiled it; the least that it can have been.
    Spoiled(Term),
}

/// A step that cannot be taken back.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// What is done.
    pub kind: StepKind,
    /// The pod to which it is done.
    pub pod: String,
    /// That pod's uid, lest its successor be taken for it.
    pub uid: String,
    /// The generation of the StatefulSet that is changed, lest a step that was taken be taken for
    /// the next one; `None` if a pod is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

/// What is done in a step.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    /// A pod is deleted, so that another is made in its place.
    DeletePod,
    /// A pod ends for good: the StatefulSet runs one less.
    LowerReplicas,
}

impl Fence {
    /// The term, or the least that it can have been.
    #[must_use]
    pub fn term(self) -> Term {
        match self {
            Self::Whole(term) | Self::Spoiled(term) => term,
        }
    }
}

impl Record {
    /// The cluster whose record it is, by its name; `None` before one is known.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        let founded = self.founding.as_ref().map(|founding| founding.cluster);
        founded.or(self.fenced).map(|name| ClusterId(name.0))
    }

    fn of(object: ConfigMap) -> Self {
        let data = object.data.unwrap_or_default();
        let fence = data.get(FENCE).map_or("", String::as_str);
        // What can be read at all is believed as a lower bound, however it is spelled. What is no
        // term at all would shut everybody out for ever.
        let least = || {
            let least = fence.trim().parse().map(Term).unwrap_or_default();
            Some(least)
                .filter(|least| *least <= Term::MAX)
                .unwrap_or_default()
        };
        let step = read(&data, STEP, object.metadata.name.as_deref());
        Self {
            founding: read(&data, FOUNDING, object.metadata.name.as_deref()),
            voters: read(&data, VOTERS, object.metadata.name.as_deref()).unwrap_or_default(),
            fenced: (data.get(CLUSTER)).and_then(|name| {
                let read = Hex::try_from(name.clone()).ok();
                // It is tested for as it is spelled.
                read.filter(|read| read.to_string() == *name)
            }),
            fence: parse_term(fence).map_or_else(|| Fence::Spoiled(least()), Fence::Whole),
            step,
            resource_version: object.metadata.resource_version.unwrap_or_default(),
        }
    }
}

impl Records {
    /// The record of `cluster`, which ends with its owner.
    #[must_use]
    pub fn new(client: Client, cluster: ClusterKey, owner: OwnerReference) -> Self {
        Self {
            api: Api::namespaced(client, &cluster.namespace),
            cluster,
            owner,
        }
    }

    fn name(&self) -> String {
        record(&self.cluster.name)
    }

    /// Reads the record; `None` if there is none.
    pub async fn read(&self) -> Result<Option<Record>, Error> {
        let object = self.api.get_opt(&self.name()).await?;
        Ok(object.map(Record::of))
    }

    /// Makes the record, with the fence at a term. That there is one already is as good.
    pub async fn create(&self, fence: Term) -> Result<(), Error> {
        let cluster = self.cluster.name.to_string();
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name()),
                labels: Some(BTreeMap::from([(CLUSTER_LABEL.to_owned(), cluster)])),
                owner_references: Some(vec![self.owner.clone()]),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(FENCE.to_owned(), fence.to_string())])),
            ..ConfigMap::default()
        };
        match self.api.create(&patch::signed_whole(), &object).await {
            Err(Error::Api(status)) if status.is_already_exists() => Ok(()),
            created => created.map(drop),
        }
    }

    /// Raises the fence, if it is still where it was seen, and of this cluster.
    ///
    /// # Panics
    /// If `to` is not above `from`: the fence never goes back.
    pub async fn raise_fence(&self, of: ClusterId, from: Term, to: Term) -> Result<(), Error> {
        assert!(from < to, "a fence at {from} was to be raised to {to}");
        let path = format!("/data/{FENCE}");
        self.patch(&[
            patch::test(&format!("/data/{CLUSTER}"), &Hex(of.0).to_string()),
            patch::test(&path, &from.to_string()),
            patch::add(&path, &to.to_string()),
        ])
        .await
    }

    /// Says for which cluster the fence is raised, if nobody has changed the record since it was
    /// read.
    pub async fn bind_fence(&self, seen: &Record, to: ClusterId) -> Result<(), Error> {
        self.patch(&[
            patch::test("/metadata/resourceVersion", &seen.resource_version),
            patch::add(&format!("/data/{CLUSTER}"), &Hex(to.0).to_string()),
        ])
        .await
    }

    /// Claims a step, if nobody has changed the record since it was read. A conflict says that
    /// another operator was first, or has raised the fence: read it again.
    pub async fn claim_step(&self, seen: &Record, step: &Step) -> Result<(), Error> {
        let step = serde_json::to_string(step).map_err(Error::SerdeError)?;
        self.patch(&[
            patch::test("/metadata/resourceVersion", &seen.resource_version),
            patch::add(&format!("/data/{STEP}"), &step),
        ])
        .await
    }

    /// Claims a step, or finds that it is claimed already and not finished; whether it may be
    /// taken.
    pub(super) async fn claim(&self, seen: &Record, step: &Step) -> Result<bool, Trouble> {
        if seen.step.as_ref() == Some(step) {
            return Ok(true);
        }
        match in_time(self.claim_step(seen, step)).await {
            Err(trouble) if trouble.is_conflict() => Ok(false),
            claimed => claimed.map(|()| true),
        }
    }

    /// Records a founding and who votes, if nobody has changed the record since it was read. The
    /// fence is of that cluster from then on.
    pub async fn found(
        &self,
        seen: &Record,
        founding: &Founding,
        voters: &[Voter],
    ) -> Result<(), Error> {
        let cluster = founding.cluster.to_string();
        let (founding, voters) = (text(founding)?, text(&voters)?);
        self.patch(&[
            patch::test("/metadata/resourceVersion", &seen.resource_version),
            patch::add(&format!("/data/{CLUSTER}"), &cluster),
            patch::add(&format!("/data/{FOUNDING}"), &founding),
            patch::add(&format!("/data/{VOTERS}"), &voters),
        ])
        .await
    }

    /// Makes a record that is lost or spoiled anew, with the fence at the highest term that is
    /// written anywhere or claimed in its cluster, and at least where it can be read. One that is
    /// sound is left alone.
    pub async fn rebuild(
        &self,
        written: Term,
        claimed: Option<(ClusterId, Term)>,
    ) -> Result<(), Error> {
        let name = self.name();
        let found = self.read().await?;
        let recorded = found.as_ref().and_then(Record::cluster);
        let is_its = |(of, _): &(ClusterId, Term)| recorded.is_none_or(|recorded| recorded == *of);
        let claimed = claimed.filter(is_its).map(|(_, term)| term);
        let highest_seen = written.max(claimed.unwrap_or_default());
        let Some(found) = found else {
            warn!(name, fence = %highest_seen, "the cluster's record is lost; it is made anew");
            return self.create(highest_seen).await;
        };
        let Fence::Spoiled(least) = found.fence else {
            return Ok(());
        };
        let fence = highest_seen.max(least);
        warn!(name, %fence, "the fence in the cluster's record is no number; it is written anew");
        let mut data = BTreeMap::from([(FENCE, fence.to_string())]);
        if let Some(cluster) = found.cluster() {
            data.insert(CLUSTER, Hex(cluster.0).to_string());
        }
        if let Some(step) = &found.step {
            data.insert(STEP, text(step)?);
        }
        if let Some(founding) = &found.founding {
            data.insert(FOUNDING, text(founding)?);
            data.insert(VOTERS, text(&found.voters)?);
        }
        self.patch(&[
            patch::test("/metadata/resourceVersion", &found.resource_version),
            serde_json::json!({"op": "add", "path": "/data", "value": data}),
        ])
        .await
    }

    async fn patch(&self, operations: &[serde_json::Value]) -> Result<(), Error> {
        let patch: Patch<()> = patch::json(operations)?;
        let signed = patch::signed();
        let patched = self.api.patch(&self.name(), &signed, &patch).await;
        patched.map(drop)
    }
}

fn text(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(Error::SerdeError)
}

/// What the record says under `key`; `None` if that cannot be read.
fn read<T: DeserializeOwned>(
    data: &BTreeMap<String, String>,
    key: &str,
    name: Option<&str>,
) -> Option<T> {
    let read = serde_json::from_str(data.get(key)?);
    let log = |error| warn!(%error, name, key, "a part of the record cannot be read");
    read.map_err(log).ok()
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Records");
        shown.field("cluster", &self.cluster);
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(data: Option<&[(&str, &str)]>) -> Record {
        let data = data.map(|data| {
            let data = data.iter();
            data.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        });
        Record::of(ConfigMap {
            data,
            ..ConfigMap::default()
        })
    }

    #[test]
    fn a_record_reads_as_it_is_written() {
        let step = Step {
            kind: StepKind::DeletePod,
            pod: "store-1".to_owned(),
            uid: "u".to_owned(),
            generation: None,
        };
        let text = serde_json::to_string(&step).unwrap();
        assert_eq!(text, r#"{"kind":"DeletePod","pod":"store-1","uid":"u"}"#);
        let read = record(Some(&[("fence", "7"), ("step", &text)]));
        assert_eq!(read.fence, Fence::Whole(Term(7)));
        assert_eq!(read.step, Some(step));
    }

    #[test]
    fn the_fence_is_of_the_cluster_that_is_recorded() {
        let name = "00000000000000c1";
        let of = |data: &[(&str, &str)]| record(Some(data)).cluster();
        assert_eq!(of(&[("fence", "7")]), None);
        assert_eq!(of(&[("cluster", name)]), Some(ClusterId(0xc1)));
        for spoiled in ["the first", "c1", ""] {
            assert_eq!(of(&[("cluster", spoiled)]), None, "{spoiled:?}");
        }
        let founding = r#"{"cluster":"00000000000000c2","epoch":1,"voters":[]}"#;
        let both = [("cluster", name), ("founding", founding)];
        assert_eq!(of(&both), Some(ClusterId(0xc2)));
    }

    #[test]
    fn a_spoiled_fence_is_not_taken_for_0() {
        for (fence, least) in [("", 0), ("x", 0), ("-7", 0), (" 7\n", 7), ("+7", 7)] {
            let read = record(Some(&[("fence", fence), ("step", "{")]));
            assert_eq!(read.fence, Fence::Spoiled(Term(least)), "{fence:?}");
            assert_eq!(read.step, None);
        }
        let huge = record(Some(&[("fence", &u64::MAX.to_string())]));
        assert_eq!(huge.fence, Fence::Spoiled(Term(0)));
        assert_eq!(record(None).fence, Fence::Spoiled(Term(0)));
    }
}
