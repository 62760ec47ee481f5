//! The flags of a node that runs in a pod: who it is and who its peers are follow from its pod.

use std::collections::BTreeMap;

use kube::Client;

use super::exit::{Exit, Failed};
use crate::consensus::NodeId;
use crate::crd::REPLICAS_MAX;
use crate::discovery::{PodsError, node_of_pod, pod_address, pod_client};
use crate::wire::MemberAddress;
use crate::wire::limits;

/// Who a node is, and who may be its peers.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: NodeId,
    pub(super) members: BTreeMap<NodeId, Option<MemberAddress>>,
    /// Whether they are pods: reached elsewhere after a restart.
    pub(super) in_pods: bool,
    /// Whether somebody else founds the cluster, or has.
    pub(super) joins: bool,
}

/// Instead of --id and --members, in a pod of a StatefulSet.
#[derive(clap::Args, Debug)]
pub(super) struct PodFlags {
    /// The cluster whose pods are the members: CLUSTER-0 is node 1, and so on. Where they are is
    /// asked of the API server, and remembered for when that is gone
    #[arg(
        long,
        env = "REMEMBER_CLUSTER",
        value_name = "CLUSTER",
        hide_env_values = true
    )]
    #[arg(requires_all = ["pod_name", "pod_namespace", "pod_ip"])]
    pub(super) cluster: Option<String>,
    /// How many pods found the cluster by themselves. If not said, it is the operator that tells
    /// them whose cluster they are, and a pod that comes later registers with the leader
    #[arg(
        long,
        env = "REMEMBER_REPLICAS",
        value_name = "N",
        hide_env_values = true
    )]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=limits::MEMBERS_MAX as u64))]
    replicas: Option<u64>,
    /// The name of this node's pod
    #[arg(
        long,
        env = "REMEMBER_POD_NAME",
        value_name = "POD",
        hide_env_values = true
    )]
    pod_name: Option<String>,
    /// The namespace of this node's pod
    #[arg(
        long,
        env = "REMEMBER_POD_NAMESPACE",
        value_name = "NAMESPACE",
        hide_env_values = true
    )]
    pub(super) pod_namespace: Option<String>,
    /// The address of this node's pod
    #[arg(
        long,
        env = "REMEMBER_POD_IP",
        value_name = "IP",
        hide_env_values = true
    )]
    pod_ip: Option<std::net::IpAddr>,
    /// The uid of this node's pod, told to whoever routes to the leader's pod
    #[arg(
        long,
        env = "REMEMBER_POD_UID",
        value_name = "UID",
        hide_env_values = true
    )]
    pub(super) pod_uid: Option<String>,
}

impl PodFlags {
    /// How the API server is asked; `None` outside of pods.
    pub(super) fn client(&self) -> Result<Option<Client>, PodsError> {
        self.cluster.as_ref().map(|_| pod_client()).transpose()
    }

    /// Who this node is, if its pod says that.
    pub(super) fn place(&self) -> Result<Option<Place>, Failed> {
        let (Some(cluster), Some(pod), Some(ip)) = (&self.cluster, &self.pod_name, self.pod_ip)
        else {
            return Ok(None);
        };
        let replicas = self.replicas.unwrap_or(REPLICAS_MAX);
        let id = node_of_pod(pod, cluster).filter(|id| id.0 <= replicas);
        let id = id.ok_or_else(|| {
            let last = replicas - 1;
            Exit::Usage.because(format!(
                "the pod \"{pod}\" is none of {cluster}-0 to {cluster}-{last}, which are the \
                 members; correct --cluster, --replicas or --pod-name"
            ))
        })?;
        let own = pod_address(&ip.to_string());
        let mut members: BTreeMap<_, _> = (1..=replicas).map(|id| (NodeId(id), None)).collect();
        members.insert(id, Some(own));
        Ok(Some(Place {
            id,
            members,
            in_pods: true,
            joins: self.replicas.is_none(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(pod: &str) -> PodFlags {
        PodFlags {
            cluster: Some("store".to_owned()),
            replicas: Some(3),
            pod_name: Some(pod.to_owned()),
            pod_namespace: Some("default".to_owned()),
            pod_ip: Some([10, 1, 2, 3].into()),
            pod_uid: None,
        }
    }

    #[test]
    fn a_pod_knows_who_it_is_and_where() {
        let place = flags("store-1").place().unwrap().unwrap();
        assert_eq!(place.id, NodeId(2));
        assert_eq!(place.members.len(), 3);
        let own = place.members[&NodeId(2)].as_ref().unwrap();
        assert_eq!(own.peer.to_string(), "10.1.2.3:7400");
        assert!(place.members[&NodeId(1)].is_none());
    }

    #[test]
    fn a_pod_that_is_no_member_is_told_which_are() {
        for pod in ["store-3", "stores-0", "store"] {
            let error = flags(pod).place().unwrap_err().to_string();
            assert!(error.contains("is none of store-0 to store-2"), "{error}");
        }
    }
}
