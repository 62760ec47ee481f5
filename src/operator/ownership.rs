//! Whose an object is that has the name of one of ours.
//!
//! A cluster's objects have names that others may have used before. Nothing is taken over, since
//! what belongs to a cluster is overwritten by it and goes when it goes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::error::Trouble;
use super::validate::Refusal;
use crate::crd::{CLUSTER_LABEL, FIELD_MANAGER, KIND};

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Makes sure that an object that was found may be what is wanted.
///
/// # Errors
/// If it is somebody else's, or that of a cluster which had the name before.
pub(super) fn check(found: &ObjectMeta, wanted: &Value) -> Result<(), Trouble> {
    let text = |pointer: &str| {
        wanted
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let (uid, cluster) = (
        text("/metadata/ownerReferences/0/uid"),
        text("/metadata/ownerReferences/0/name"),
    );
    let owners = found.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    match controllers.next() {
        Some(owner) if owner.uid == uid => Ok(()),
        Some(owner) if owner.kind == KIND && owner.name == cluster => {
            Err(Trouble::Predecessor(format!("{kind} {name}")))
        }
        // One that was left behind on purpose, when a cluster was deleted without its objects.
        None if is_left_behind(found, cluster) => Ok(()),
        _ => Err(Trouble::Refused(Refusal {
            reason: "NameTaken",
            sentence: format!(
                "{kind} {name} is there already and is not of this cluster: delete it if nobody \
                 needs it, or make the cluster under another name"
            ),
        })),
    }
}

fn is_left_behind(found: &ObjectMeta, cluster: &str) -> bool {
    let labels = found.labels.as_ref();
    let label = |name: &str| {
        labels
            .and_then(|labels| labels.get(name))
            .map(String::as_str)
    };
    label(MANAGED_BY) == Some(FIELD_MANAGER) && label(CLUSTER_LABEL) == Some(cluster)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(found: &Value) -> Result<(), Trouble> {
        let wanted = json!({
            "kind": "Service",
            "metadata": {
                "name": "store-leader",
                "ownerReferences": [{"name": "store", "uid": "ours", "kind": KIND}],
            },
        });
        check(&serde_json::from_value(found.clone()).unwrap(), &wanted)
    }

    fn owned_by(kind: &str, name: &str, uid: &str) -> Value {
        let owner = json!({
            "apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "controller": true,
        });
        json!({"ownerReferences": [owner]})
    }

    #[test]
    fn only_what_is_ours_is_taken() {
        assert!(checked(&owned_by(KIND, "store", "ours")).is_ok());
        let of_others = [
            json!({}),
            json!({"labels": {"remember.krest.io/cluster": "store"}}),
            owned_by("Deployment", "store", "theirs"),
            owned_by(KIND, "other", "theirs"),
        ];
        for found in of_others {
            let refused = checked(&found).unwrap_err();
            let sentence = refused.to_string();
            assert!(
                sentence.contains("Service store-leader is there already"),
                "{sentence}"
            );
            assert!(matches!(refused, Trouble::Refused(_)));
        }
    }

    #[test]
    fn what_the_cluster_before_left_goes_first() {
        let left = checked(&owned_by(KIND, "store", "before")).unwrap_err();
        assert!(matches!(left, Trouble::Predecessor(_)), "{left}");
        let orphan = json!({"labels": {
            "remember.krest.io/cluster": "store", "app.kubernetes.io/managed-by": FIELD_MANAGER,
        }});
        assert!(checked(&orphan).is_ok());
    }
}
