//! The processes in pods, as this machine sees them: found without the API server, so that stories
//! go on while it is gone.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::Cluster;

/// One program that runs in a pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PodProcess {
    pub(crate) pod: String,
    pub(crate) address: String,
    pid: Pid,
}

impl PodProcess {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// A command that will run in the network of its pod.
    pub(crate) fn enter(&self) -> Command {
        let mut enter = Command::new("nsenter");
        enter.args([
            "--net",
            "--target",
            &self.pid.as_raw_pid().to_string(),
            "--",
        ]);
        enter
    }

    /// The memory that it has of its own or shares with files, in bytes, and what of that is its
    /// own.
    pub(crate) fn resident_bytes(&self) -> [u64; 2] {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_pid()));
        let status = status.unwrap();
        ["VmRSS:", "RssAnon:"].map(|name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.unwrap().trim().trim_end_matches(" kB");
            kib.parse::<u64>().unwrap() << 10
        })
    }
}

/// All nodes that run in the pods of a namespace on this cluster.
pub(crate) fn nodes(cluster: &Cluster, namespace: &str) -> Vec<PodProcess> {
    running(cluster, "node", namespace)
}

/// All apps of the example in the pods of a namespace.
pub(crate) fn apps(cluster: &Cluster, namespace: &str) -> Vec<PodProcess> {
    running(cluster, "hello", namespace)
}

/// All operators.
pub(crate) fn operators(cluster: &Cluster) -> Vec<PodProcess> {
    running(cluster, "operator", crate::helm::NAMESPACE)
}

/// All pods' processes of one command of the program.
fn running(cluster: &Cluster, command_name: &str, namespace: &str) -> Vec<PodProcess> {
    let group = format!("remember-{}-n", cluster.name);
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let nodes = processes.filter_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let read = |file: &str| fs::read(entry.path().join(file)).ok();
        let cgroup = String::from_utf8(read("cgroup")?).ok()?;
        let command = String::from_utf8(read("cmdline")?).ok()?;
        if !cgroup.contains(&group) || command.split('\0').nth(1) != Some(command_name) {
            return None;
        }
        let environment = String::from_utf8(read("environ")?).ok()?;
        let variables = environment
            .split('\0')
            .filter_map(|one| one.split_once('='));
        let variables: BTreeMap<_, _> = variables.collect();
        let variable = |name: &str| variables.get(name).map(|value| (*value).to_owned());
        let is_here = variable("REMEMBER_POD_NAMESPACE")? == namespace;
        is_here.then_some(PodProcess {
            pod: variable("REMEMBER_POD_NAME")?,
            address: variable("REMEMBER_POD_IP").unwrap_or_default(),
            pid,
        })
    });
    nodes.collect()
}
