//! The pods of a cluster, watched through the API server.
//!
//! Pods are named after their StatefulSet, `store-0`, `store-1`, ..., and node ids begin at 1, so
//! that pod `store-0` is node 1. What the watch tells is only ever added: a pod that ends, and an
//! API server that answers nothing, take no address away (R10). A pod that comes back has another
//! address, and that is told.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Config, ResourceExt as _};
use tracing::{info, warn};

use super::MemberAddress;
use crate::consensus::NodeId;
use crate::crd::{API_PORT, CLUSTER_LABEL, PEER_PORT, node_number};
use crate::wire::{Address, limits};

/// Why pods cannot be watched at all.
#[derive(Debug, thiserror::Error)]
pub enum PodsError {
    /// The pod's own account, or the address of the API server, is not where it should be.
    #[error(
        "this pod has no account to ask the API server with ({0}); set \
         automountServiceAccountToken, and give the account leave to list pods"
    )]
    NoAccount(#[from] kube::config::InClusterError),
    /// No client can be made of them.
    #[error("no client for the API server: {0}")]
    NoClient(#[from] kube::Error),
}

/// Watches the pods of `cluster` for ever, and tells `found` where each node is, again whenever its
/// pod's address is another one. Errors of the API server are logged, and it is asked again.
///
/// # Errors
/// If the pod's own account is missing or unusable.
pub async fn watch_pods(
    namespace: &str,
    cluster: &str,
    mut found: impl FnMut(NodeId, MemberAddress),
) -> Result<(), PodsError> {
    let client = Client::try_from(Config::incluster()?)?;
    let pods = Api::<Pod>::namespaced(client, namespace);
    let ours = watcher::Config::default().labels(&format!("{CLUSTER_LABEL}={cluster}"));
    let mut seen = pin!(watcher(pods, ours).default_backoff().applied_objects());
    let mut known = BTreeMap::new();
    let mut is_heard = true;
    loop {
        match seen.try_next().await {
            Ok(Some(pod)) => {
                if !is_heard {
                    info!("the API server answers again");
                }
                is_heard = true;
                // Pods change for many reasons, and what a peer says itself is fresher than what
                // is told of it again.
                if let Some((id, address)) = member_of(&pod, cluster)
                    && known.insert(id, (pod.uid(), address.clone()))
                        != Some((pod.uid(), address.clone()))
                {
                    found(id, address);
                }
            }
            // The watch has no end.
            Ok(None) => return Ok(()),
            Err(error) => {
                if is_heard {
                    warn!(%error, "the API server tells nothing of pods; known addresses stay");
                }
                is_heard = false;
            }
        }
    }
}

/// The node that runs in a pod, and where it is; `None` while it has no address, or never will have
/// one again.
fn member_of(pod: &Pod, cluster: &str) -> Option<(NodeId, MemberAddress)> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return None;
    }
    let host = status.pod_ip.clone().filter(|ip| !ip.is_empty())?;
    let id = node_of_pod(&pod.name_any(), cluster)?;
    Some((id, pod_address(&host)))
}

/// Where the node in a pod with this address is reached.
#[must_use]
pub fn pod_address(host: &str) -> MemberAddress {
    let at = |port| Address {
        host: host.to_owned(),
        port,
    };
    MemberAddress {
        peer: at(PEER_PORT),
        api: at(API_PORT),
    }
}

/// The id of the node in the pod with this name; `None` if it is no pod of the cluster.
#[must_use]
pub fn node_of_pod(pod: &str, cluster: &str) -> Option<NodeId> {
    let id = node_number(pod, cluster)?;
    (id <= limits::NODE_ID_MAX).then_some(NodeId(id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).unwrap()
    }

    #[test]
    fn pods_are_numbered_from_0_and_nodes_from_1() {
        assert_eq!(node_of_pod("store-0", "store"), Some(NodeId(1)));
        assert_eq!(node_of_pod("store-12", "store"), Some(NodeId(13)));
        for other in [
            "store",
            "store-",
            "store-x",
            "store-01",
            "store-+1",
            "storage-1",
            "store-9-1",
        ] {
            assert_eq!(node_of_pod(other, "store"), None, "{other}");
        }
        assert_eq!(node_of_pod(&format!("store-{}", u64::MAX), "store"), None);
    }

    #[test]
    fn a_pod_is_reached_where_it_says_and_not_before() {
        let running = pod("store-1", &json!({"phase": "Running", "podIP": "10.1.2.3"}));
        let (id, address) = member_of(&running, "store").unwrap();
        assert_eq!(id, NodeId(2));
        assert_eq!(address.peer.to_string(), "10.1.2.3:7400");
        assert_eq!(address.api.to_string(), "10.1.2.3:7401");
        for status in [
            json!({"phase": "Pending"}),
            json!({"phase": "Pending", "podIP": ""}),
            json!({"phase": "Failed", "podIP": "10.1.2.3"}),
        ] {
            assert_eq!(
                member_of(&pod("store-1", &status), "store"),
                None,
                "{status}"
            );
        }
    }
}
