//! What the pods of a cluster may ask of the API server: who and where they are, nothing else. They
//! write nothing but what the witness of a pair holds, where there is one (R10, R11, R17).

use serde_json::{Value, json};

use super::{Component, name_of, owned, with};
use crate::crd::{RememberCluster, witness};
use crate::operator::validate::Refusal;

const RBAC: &str = "rbac.authorization.k8s.io";

/// The account that the user's pod names; `None` if it is for the operator to make.
pub(super) fn users_account(cluster: &RememberCluster) -> Option<&str> {
    let pod = cluster.spec.template.written().get("spec")?;
    // The API server reads the second name, which is the older one, where the first is not given.
    ["serviceAccountName", "serviceAccount"]
        .iter()
        .filter_map(|field| pod.get(*field)?.as_str())
        .find(|account| !account.is_empty())
}

/// The account of the pods, and what it may.
pub(super) fn objects(cluster: &RememberCluster) -> Result<Vec<Value>, Refusal> {
    let name = name_of(cluster);
    let own = |kind| owned(cluster, kind, name, Component::Access);
    let users = users_account(cluster);
    let mut objects = Vec::new();
    if users.is_none() {
        objects.push(own(("v1", "ServiceAccount"))?);
    }
    let role = own(("rbac.authorization.k8s.io/v1", "Role"))?;
    let peers =
        json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]});
    let mut rules = vec![peers];
    if cluster.spec.witness.is_some() {
        rules.push(json!({
            "apiGroups": [""], "resources": ["configmaps"],
            "resourceNames": [witness(name)], "verbs": ["get", "update"],
        }));
    }
    objects.push(with(role, "rules", rules.into()));
    let binding = own(("rbac.authorization.k8s.io/v1", "RoleBinding"))?;
    let to = json!({"apiGroup": RBAC, "kind": "Role", "name": name});
    let account = json!([{
        "kind": "ServiceAccount",
        "name": users.unwrap_or(name),
        "namespace": cluster.metadata.namespace,
    }]);
    let binding = with(binding, "roleRef", to);
    objects.push(with(binding, "subjects", account));
    Ok(objects)
}
