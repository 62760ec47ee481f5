//! Carries out what [`super::certificates`] plans: the two Secrets of a cluster are read, and
//! written as a whole if they are still as they were read.
//!
//! Secrets are not watched, so that the operator need not have the right to list them: each visit
//! reads these two.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use serde_json::Value;
use tracing::info;

use super::apply::in_time;
use super::build::{Component, owned};
use super::certificates::{self, Data, Held};
use super::error::Trouble;
use super::pods::ClusterKey;
use super::{ownership, patch};
use crate::crd::{RememberCluster, authority_secret, tls_secret};

/// The two Secrets of a cluster, as they were read.
pub(super) struct Kept {
    authority: Option<Secret>,
    members: Option<Secret>,
}

impl Kept {
    /// Reads them.
    ///
    /// # Errors
    /// Also if one is somebody else's.
    pub(super) async fn read(
        client: &Client,
        cluster: &RememberCluster,
        key: &ClusterKey,
    ) -> Result<Self, Trouble> {
        let secrets = Api::<Secret>::namespaced(client.clone(), &key.namespace);
        let kept = Self {
            authority: in_time(secrets.get_opt(&authority_secret(&key.name))).await?,
            members: in_time(secrets.get_opt(&tls_secret(&key.name))).await?,
        };
        for (found, head) in [&kept.authority, &kept.members]
            .into_iter()
            .zip(heads(cluster, key)?)
        {
            if let Some(found) = found {
                ownership::check(&found.metadata, &head)?;
            }
        }
        Ok(kept)
    }

    /// Whether any of the two is there: then the cluster has been made before.
    pub(super) fn is_begun(&self) -> bool {
        self.authority.is_some() || self.members.is_some()
    }

    /// What they hold.
    pub(super) fn held(&self) -> Held {
        let data = |secret: &Option<Secret>| secret.as_ref().map(data_of);
        Held {
            authority: data(&self.authority),
            members: data(&self.members),
        }
    }

    /// Writes what has to be renewed for so many members, the authority first; what they hold now.
    pub(super) async fn renew(
        &self,
        client: &Client,
        cluster: &RememberCluster,
        key: &ClusterKey,
        members: u64,
    ) -> Result<Held, Trouble> {
        let mut held = self.held();
        let plan = certificates::renew(cluster, members, &held, SystemTime::now());
        let plan = plan.map_err(|error| Trouble::Certificates(error.to_string()))?;
        let secrets = Api::<Secret>::namespaced(client.clone(), &key.namespace);
        if let Some(data) = plan.authority {
            let name = authority_secret(&key.name);
            write(&secrets, cluster, &name, self.authority.as_ref(), &data).await?;
            held.authority = Some(data);
        }
        if let Some(data) = plan.members {
            let name = tls_secret(&key.name);
            write(&secrets, cluster, &name, self.members.as_ref(), &data).await?;
            held.members = Some(data);
        }
        Ok(held)
    }
}

/// The beginnings of the two Secrets, without what they hold.
pub(super) fn heads(cluster: &RememberCluster, key: &ClusterKey) -> Result<[Value; 2], Trouble> {
    Ok([
        head(cluster, &authority_secret(&key.name))?,
        head(cluster, &tls_secret(&key.name))?,
    ])
}

fn head(cluster: &RememberCluster, name: &str) -> Result<Value, Trouble> {
    owned(cluster, ("v1", "Secret"), name, Component::Access).map_err(Trouble::Refused)
}

fn data_of(secret: &Secret) -> Data {
    let data = secret.data.clone().unwrap_or_default();
    data.into_iter()
        .map(|(key, bytes)| (key, bytes.0))
        .collect()
}

/// Makes a Secret, or replaces the very one that was read. A conflict is a failed visit: the next
/// one sees what somebody else has written.
async fn write(
    secrets: &Api<Secret>,
    cluster: &RememberCluster,
    name: &str,
    before: Option<&Secret>,
    data: &Data,
) -> Result<(), Trouble> {
    let bytes = |(key, value): (&String, &Vec<u8>)| (key.clone(), ByteString(value.clone()));
    let data: BTreeMap<_, _> = data.iter().map(bytes).collect();
    let by = patch::signed_whole();
    info!(name, cluster = ?cluster.metadata.name, "writing certificates");
    if let Some(before) = before {
        let mut secret = before.clone();
        secret.data = Some(data);
        return in_time(secrets.replace(name, &by, &secret)).await.map(drop);
    }
    let mut secret: Secret =
        serde_json::from_value(head(cluster, name)?).map_err(kube::Error::SerdeError)?;
    secret.data = Some(data);
    in_time(secrets.create(&by, &secret)).await.map(drop)
}
