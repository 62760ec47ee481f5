//! What a cluster that has ended may not leave on the machine: processes, mounts, control groups,
//! networks, files, settings of the kernel.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cluster::Cluster;

/// Everything that is left of a cluster, one line each.
pub(crate) fn of(cluster: &Cluster) -> Vec<String> {
    let directory = cluster.directory();
    let group = format!("remember-{}-n", cluster.name);
    let mut left = processes(&directory.display().to_string(), &group);
    left.extend(mounts(cluster.name));
    left.extend(groups(&group));
    if directory.exists() {
        left.push(format!("directory {}", directory.display()));
    }
    left
}

/// The settings of the kernel that a kubelet would change for the whole machine.
pub(crate) fn tunables() -> Vec<String> {
    let names = [
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "kernel/keys/root_maxkeys",
        "kernel/keys/root_maxbytes",
    ];
    names
        .map(|name| {
            let value = fs::read_to_string(Path::new("/proc/sys").join(name));
            format!("{name} = {}", value.unwrap_or_default().trim())
        })
        .to_vec()
}

/// Processes that name the directory of the cluster, or are in one of its control groups.
fn processes(directory: &str, group: &str) -> Vec<String> {
    let mut left = Vec::new();
    for process in entries(Path::new("/proc")) {
        let read = |file: &str| {
            let bytes = fs::read(process.join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let (command, cgroup) = (read("cmdline"), read("cgroup"));
        if command.contains(directory) || cgroup.contains(group) {
            left.push(format!("process {}: {command}", process.display()));
        }
    }
    left
}

fn mounts(name: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts are told");
    let directory = format!("/cluster-{name}/");
    (mounts.lines())
        .filter(|line| line.contains(&directory))
        .map(|line| format!("mount {line}"))
        .collect()
}

fn groups(prefix: &str) -> Vec<String> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = entries(root);
    (hierarchies.iter().map(PathBuf::as_path).chain([root]))
        .flat_map(entries)
        .filter(|path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with(prefix)
        })
        .map(|path| format!("control group {}", path.display()))
        .collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
