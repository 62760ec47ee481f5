//! Makes objects in Kubernetes what they should be, and writes nothing where they are so already.
//!
//! Objects are applied on the server's side as the field manager `remember-operator`: what the
//! operator says about an object is enforced, and what others add to it stays. Whether an object
//! needs that is not found by comparing fields, since the API server fills in and rewrites many of
//! them: an object that came out of the last application as it went in, and is still that, is left
//! alone. So drift is repaired when it is seen, and a quiet minute has no writes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Mutex;
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta};
use kube::{Api, Client};
use serde_json::Value;

use super::error::Trouble;
use super::ownership;
use crate::crd::FIELD_MANAGER;

/// How long one request may take: the client itself waits for ever.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// An answer of the API server, if it comes in time.
pub(super) async fn in_time<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(REQUEST_WITHIN, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Trouble::Silent(REQUEST_WITHIN)),
    }
}

/// What an object is called, whatever its kind.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    kind: String,
    namespace: String,
    name: String,
}

/// What is known of an object since it was applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Print {
    wanted: u64,
    found: u64,
}

/// Applies objects, and remembers how they came out.
pub(super) struct Applier {
    client: Client,
    prints: Mutex<HashMap<Key, Print>>,
}

impl Applier {
    pub(super) fn new(client: Client) -> Self {
        let prints = Mutex::default();
        Self { client, prints }
    }

    /// Makes an object what it should be; whether that took a write.
    pub(super) async fn apply(&self, wanted: &Value) -> Result<bool, Trouble> {
        self.apply_to(wanted, None).await
    }

    /// The same, if it takes a write only to this very version of the object: what is wanted was
    /// made of that.
    pub(super) async fn apply_to(
        &self,
        wanted: &Value,
        version: Option<&str>,
    ) -> Result<bool, Trouble> {
        let (key, api) = self.api(wanted)?;
        let found = in_time(api.get_opt(&key.name)).await?;
        if let Some(found) = &found {
            ownership::check(&found.metadata, wanted)?;
        }
        let mut print = Print {
            wanted: hash(wanted),
            found: found.map_or(0, |found| fingerprint(found, wanted)),
        };
        let is_there = print.found != 0;
        if is_there && self.known(&key) == Some(print) {
            return Ok(false);
        }
        let owned = PatchParams::apply(FIELD_MANAGER)
            .force()
            .validation_strict();
        let patched = match version {
            Some(version) => {
                let mut wanted = wanted.clone();
                wanted["metadata"]["resourceVersion"] = version.into();
                in_time(api.patch(&key.name, &owned, &Patch::Apply(&wanted))).await
            }
            None => in_time(api.patch(&key.name, &owned, &Patch::Apply(wanted))).await,
        };
        let applied = patched.map_err(Trouble::into_refused)?;
        print.found = fingerprint(applied, wanted);
        self.prints().insert(key, print);
        Ok(true)
    }

    /// Removes an object that is no longer wanted, if it is there and belongs to `owner`.
    pub(super) async fn remove(&self, unwanted: &Value, owner: &str) -> Result<(), Trouble> {
        let (key, api) = self.api(unwanted)?;
        let Some(found) = in_time(api.get_opt(&key.name)).await? else {
            return Ok(());
        };
        let owners = found.metadata.owner_references.unwrap_or_default();
        if owners.iter().all(|one| one.uid != owner) {
            return Ok(());
        }
        let mut this = DeleteParams::default();
        if let Some(uid) = found.metadata.uid {
            this = this.preconditions(kube::api::Preconditions {
                uid: Some(uid),
                resource_version: None,
            });
        }
        self.prints().remove(&key);
        in_time(api.delete(&key.name, &this)).await.map(drop)
    }

    /// Forgets the objects of a cluster that is gone.
    pub(super) fn forget(&self, namespace: &str, cluster: &str) {
        let is_its = |key: &Key| {
            let rest = key.name.strip_prefix(cluster);
            let is_child = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
            key.namespace == namespace && is_child
        };
        // An object of another cluster, named alike, is merely applied once more.
        self.prints().retain(|key, _| !is_its(key));
    }

    fn known(&self, key: &Key) -> Option<Print> {
        self.prints().get(key).copied()
    }

    fn prints(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Print>> {
        // What a panic left behind is at worst a print that is missing.
        let prints = self.prints.lock();
        prints.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn api(&self, object: &Value) -> Result<(Key, Api<DynamicObject>), Trouble> {
        let text = |pointer: &str| {
            let text = object.pointer(pointer).and_then(Value::as_str);
            let text = text.map(str::to_owned);
            text.ok_or_else(|| Trouble::Nameless(pointer.to_owned()))
        };
        let types = TypeMeta {
            api_version: text("/apiVersion")?,
            kind: text("/kind")?,
        };
        let kind = GroupVersionKind::try_from(&types);
        let kind = kind.map_err(|error| Trouble::Nameless(error.to_string()))?;
        let key = Key {
            kind: types.kind,
            namespace: text("/metadata/namespace")?,
            name: text("/metadata/name")?,
        };
        let resource = ApiResource::from_gvk(&kind);
        let api = Api::namespaced_with(self.client.clone(), &key.namespace, &resource);
        Ok((key, api))
    }
}

/// The parts of an object that something is wanted of, but for what changes by itself. Never 0.
fn fingerprint(mut object: DynamicObject, wanted: &Value) -> u64 {
    object.metadata.resource_version = None;
    object.metadata.managed_fields = None;
    if let Value::Object(fields) = &mut object.data {
        fields.retain(|name, _| wanted.get(name).is_some());
    }
    serde_json::to_value(&object).map_or(1, |object| hash(&object).max(1))
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}
