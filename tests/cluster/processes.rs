//! The processes of nodes in pods, as this machine sees them: found without the API server, so that
//! stories go on while it is gone.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::Cluster;

/// One node that runs in a pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NodeProcess {
    pub(crate) pod: String,
    pub(crate) address: String,
    pid: Pid,
}

impl NodeProcess {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }
}

/// All nodes that run in the pods of a namespace on this cluster.
pub(crate) fn nodes(cluster: &Cluster, namespace: &str) -> Vec<NodeProcess> {
    let group = format!("remember-{}-n", cluster.name);
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let nodes = processes.filter_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let read = |file: &str| fs::read(entry.path().join(file)).ok();
        let cgroup = String::from_utf8(read("cgroup")?).ok()?;
        let command = String::from_utf8(read("cmdline")?).ok()?;
        if !cgroup.contains(&group) || command.split('\0').nth(1) != Some("node") {
            return None;
        }
        let environment = String::from_utf8(read("environ")?).ok()?;
        let variables = environment
            .split('\0')
            .filter_map(|one| one.split_once('='));
        let variables: BTreeMap<_, _> = variables.collect();
        let variable = |name: &str| variables.get(name).map(|value| (*value).to_owned());
        let is_here = variable("REMEMBER_POD_NAMESPACE")? == namespace;
        is_here.then_some(NodeProcess {
            pod: variable("REMEMBER_POD_NAME")?,
            address: variable("REMEMBER_POD_IP")?,
            pid,
        })
    });
    nodes.collect()
}
