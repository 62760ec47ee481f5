//! The objects of a manifest.

use std::fmt;

use serde_json::Value;

/// One object, as it is written.
#[derive(Debug)]
pub(crate) struct Object(pub(crate) Value);

/// All objects of a manifest. A key that stands twice is a failure.
pub(crate) fn objects(manifest: &str) -> Vec<Object> {
    let parsed = serde_saphyr::from_multiple(manifest);
    let parsed: Vec<Value> = parsed.unwrap_or_else(|error| panic!("{error}\n{manifest}"));
    let written = parsed.into_iter().filter(|object| !object.is_null());
    written.map(Object).collect()
}

impl Object {
    pub(crate) fn kind(&self) -> &str {
        self.0["kind"].as_str().expect("an object has a kind")
    }

    /// What runs, if it is a pod or makes some.
    pub(crate) fn pod(&self) -> Option<&Value> {
        if self.kind() == "Pod" {
            return Some(&self.0["spec"]);
        }
        self.pod_of_deployment()
    }

    pub(crate) fn pod_of_deployment(&self) -> Option<&Value> {
        (self.kind() == "Deployment").then(|| &self.0["spec"]["template"]["spec"])
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metadata = &self.0["metadata"];
        let place = metadata["namespace"].as_str().unwrap_or("-");
        write!(f, "{} {place}/{}", self.kind(), metadata["name"])
    }
}
