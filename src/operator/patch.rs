//! JSON patches (RFC 6902) with conditions: the API server carries one out as a whole, or refuses
//! it because something is not as it was seen.

use kube::Error;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::crd::FIELD_MANAGER;

/// How whatever this operator patches is signed, so that users see by whom a field was written.
pub(super) fn signed() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// How whatever it creates or replaces is signed.
pub(super) fn signed_whole() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Something has to be exactly this. What is absent cannot be tested for.
pub(super) fn test(path: &str, value: &str) -> Value {
    json!({"op": "test", "path": path, "value": value})
}

/// Something is put there, in place of what is there.
pub(super) fn add(path: &str, value: &str) -> Value {
    json!({"op": "add", "path": path, "value": value})
}

/// The path of a label or annotation, whose name may have a slash.
pub(super) fn path_of(map: &str, name: &str) -> String {
    let name = name.replace('~', "~0").replace('/', "~1");
    format!("/metadata/{map}/{name}")
}

/// All of them as one patch.
pub(super) fn json(operations: &[Value]) -> Result<Patch<()>, Error> {
    let operations = serde_json::to_value(operations).map_err(Error::SerdeError)?;
    let patch = serde_json::from_value(operations).map_err(Error::SerdeError)?;
    Ok(Patch::Json(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_in_names_are_escaped() {
        let path = path_of("labels", "remember.krest.io/role");
        assert_eq!(path, "/metadata/labels/remember.krest.io~1role");
        assert_eq!(path_of("labels", "a~b/c"), "/metadata/labels/a~0b~1c");
    }

    #[test]
    fn a_patch_is_the_list_of_its_operations() {
        let operations = [test("/a", "1"), add("/b", "2")];
        let Patch::Json(patch) = json(&operations).unwrap() else {
            panic!("another kind of patch");
        };
        assert_eq!(serde_json::to_value(patch).unwrap(), json!(operations));
    }
}
