//! The definition of the custom resource, as Kubernetes is given it: `crds/` holds what this
//! writes.

use kube::CustomResourceExt as _;

use super::RememberCluster;

/// The definition cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the definition of the custom resource cannot be written as YAML: {0}")]
pub struct DefinitionError(#[from] serde_saphyr::ser::Error);

/// The definition of `RememberCluster` in YAML.
pub fn definition_yaml() -> Result<String, DefinitionError> {
    Ok(serde_saphyr::to_string(&RememberCluster::crd())?)
}
