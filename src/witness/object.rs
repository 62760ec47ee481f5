//! A register in a ConfigMap of Kubernetes, under the key `register`.
//!
//! The object is there before anybody asks: an operator, or a person, makes it empty. Without that
//! key it was never written; without the object the answer is no (R17). It is changed by writing
//! the whole of it, with the resource version that was read, which the API server takes only if
//! nobody has changed it since. So an account needs `get` and `update` of that one name, and no
//! more.

use std::fmt;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Error};
use serde_json::{Map, Value};

use super::text;
use crate::consensus::{Answer, Ask, ClusterId, Register};

/// The key in the object's `data`.
const KEY: &str = "register";

/// A ConfigMap. Read loosely, so that everything else in it stays as it is.
#[derive(Clone)]
pub struct Object {
    objects: Api<DynamicObject>,
    name: String,
}

impl Object {
    /// The ConfigMap of this name. `client` must not ask again by itself: a change of the register
    /// is asked for once.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        let resource = ApiResource::erase::<ConfigMap>(&());
        Self {
            objects: Api::namespaced_with(client, namespace, &resource),
            name: name.to_owned(),
        }
    }

    pub(super) async fn ask(&self, cluster: ClusterId, ask: &Ask) -> Result<Answer, String> {
        let (object, held) = self.read(cluster).await?;
        match ask {
            Ask::Swap { from, to } if *from == held => self.replace(cluster, object, *to).await,
            Ask::Swap { .. } | Ask::Read => Ok(Answer::Holds(held)),
        }
    }

    async fn read(&self, cluster: ClusterId) -> Result<(DynamicObject, Option<Register>), String> {
        let object = self.objects.get(&self.name).await;
        let object = object.map_err(|error| failed(&error))?;
        let held = held(cluster, &object)?;
        Ok((object, held))
    }

    async fn replace(
        &self,
        cluster: ClusterId,
        mut object: DynamicObject,
        to: Register,
    ) -> Result<Answer, String> {
        if object.metadata.resource_version.is_none() {
            return Err("it was told without its resource version".to_owned());
        }
        let fields = object.data.as_object_mut();
        let fields = fields.ok_or("it is no ConfigMap")?;
        let data = fields.entry("data").or_insert(Value::Null);
        if data.is_null() {
            *data = Value::Object(Map::new());
        }
        let data = data.as_object_mut().ok_or("its data is no map")?;
        let text = text::write(cluster, Some(to));
        data.insert(KEY.to_owned(), Value::String(text));
        let parameters = PostParams::default();
        match self.objects.replace(&self.name, &parameters, &object).await {
            Ok(after) if held(cluster, &after)? == Some(to) => Ok(Answer::Swapped),
            Ok(_) => Err("it holds something else than was written".to_owned()),
            // Somebody was faster, so nothing was changed.
            Err(Error::Api(status)) if status.code == 409 => {
                let (_, held) = self.read(cluster).await?;
                Ok(Answer::Holds(held))
            }
            Err(error) => Err(failed(&error)),
        }
    }
}

/// What the register in an object holds.
fn held(cluster: ClusterId, object: &DynamicObject) -> Result<Option<Register>, String> {
    match object.data.get("data").and_then(|data| data.get(KEY)) {
        None => Ok(None),
        Some(Value::String(text)) => text::read(cluster, text).map_err(|error| {
            format!(
                "its key {KEY} is of no use: {error}. If the leader of the pair is there, remove \
                 the key, and it writes another one"
            )
        }),
        Some(_) => Err(format!("its key {KEY} is no text")),
    }
}

fn failed(error: &Error) -> String {
    match error {
        Error::Api(status) if status.code == 404 => {
            "there is no such object, so nobody goes on alone; make it, empty".to_owned()
        }
        Error::Api(status) if status.code == 403 => format!(
            "this pod's account may not do that; give it `get` and `update` of this one name: {}",
            status.message
        ),
        Error::Api(status) => format!("the API server says {}: {}", status.code, status.message),
        error => format!("the API server cannot be asked: {error}"),
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configmap/{}", self.name)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Object");
        shown.field("name", &self.name).finish_non_exhaustive()
    }
}
