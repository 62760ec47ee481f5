//! The Services of a cluster. Two lead to the user's application by the label that says who leads;
//! the third gives the pods their names.

use serde_json::{Value, json};

use super::{Component, name_of, owned, selector, with};
use crate::crd::{
    PEER_PORT, ROLE_LABEL, RememberCluster, ServicePort, followers_service, leader_service,
    peers_service,
};
use crate::operator::validate::Refusal;

/// `NAME-peers`, and the other two if the user wants any ports of them.
pub(super) fn objects(cluster: &RememberCluster) -> Result<Vec<Value>, Refusal> {
    let name = name_of(cluster);
    let mut objects = vec![peers(cluster)?];
    if !cluster.spec.service.ports.is_empty() {
        objects.push(traffic(cluster, &leader_service(name), "leader")?);
        objects.push(traffic(cluster, &followers_service(name), "follower")?);
    }
    Ok(objects)
}

fn traffic(cluster: &RememberCluster, name: &str, role: &str) -> Result<Value, Refusal> {
    let service = owned(cluster, ("v1", "Service"), name, Component::Traffic)?;
    let ports: Vec<_> = cluster.spec.service.ports.iter().map(port).collect();
    let mut selector = selector(cluster);
    selector[ROLE_LABEL] = role.into();
    let spec = json!({"selector": selector, "ports": ports});
    Ok(with(service, "spec", spec))
}

fn port(port: &ServicePort) -> Value {
    let target = port.target_port.unwrap_or(port.port);
    let mut told = json!({
        "name": port.name, "protocol": "TCP", "port": port.port, "targetPort": target,
    });
    if let Some(protocol) = &port.app_protocol {
        told["appProtocol"] = protocol.as_str().into();
    }
    told
}

/// A name for each pod, from its start to its end: nodes must meet before any of them can become
/// ready (R8).
fn peers(cluster: &RememberCluster) -> Result<Value, Refusal> {
    let name = peers_service(name_of(cluster));
    let service = owned(cluster, ("v1", "Service"), &name, Component::Nodes)?;
    let spec = json!({
        "clusterIP": "None",
        "publishNotReadyAddresses": true,
        "selector": selector(cluster),
        "ports": [{
            "name": "remember-peer", "protocol": "TCP",
            "port": PEER_PORT, "targetPort": PEER_PORT,
        }],
    });
    Ok(with(service, "spec", spec))
}
