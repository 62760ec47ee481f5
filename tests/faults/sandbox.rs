//! The namespaces in which a run happens, so that nothing of it can stay behind.
//!
//! The program replaces itself by `unshare`, which starts it again as the first process of a
//! new namespace of processes, with mounts and a network of its own. Should that first process
//! end, the kernel kills all others in there, and takes down the mounts and the networks, which
//! exist nowhere else. What can be left is one directory of logs and data: it is locked as long
//! as any process of its run lives, and the next run removes it, unless it tells of a failure.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, geteuid, set_parent_process_death_signal};

/// Names the run's directory to the program inside.
const INSIDE: &str = "REMEMBER_FAULTS_INSIDE";

/// What every directory of a run is called, before the number of its process.
const PREFIX: &str = "faults-";

/// Its lock, by which a run is known to live.
const LOCK: &str = "lock";

/// Says that a run found something: its directory is kept.
const FAILED: &str = "failed";

/// What runs need, and which package of Debian brings it.
const TOOLS: [(&str, &str); 5] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
];

/// The directory of the run, if this process is inside.
pub(crate) fn inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// Starts this program again inside; returns only if that is not possible.
pub(crate) fn enter() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("the faults need root, for namespaces: run `make faults` as root".to_owned());
    }
    for (tool, package) in TOOLS {
        if Command::new(tool).arg("--version").output().is_err() {
            return Err(format!(
                "missing: {tool}, which the package {package} brings; install it, or run `make \
                 deps` as root on Debian"
            ));
        }
    }
    let all = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    sweep(&all);
    let directory = all.join(format!("{PREFIX}{}", std::process::id()));
    let _lock = lock(&directory).map_err(|error| error.to_string())?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    // Who started this may be killed; then this ends as well, and so does all that is inside.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| error.to_string())?;
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--pid"])
        .args(["--fork", "--kill-child", "--mount-proc", "--"])
        .arg(own)
        .env(INSIDE, directory)
        .exec();
    Err(format!("unshare does not start: {error}"))
}

/// Makes the directory of a run and locks it, for this process and all that come from it.
fn lock(directory: &Path) -> std::io::Result<File> {
    fs::create_dir_all(directory)?;
    let lock = File::create(directory.join(LOCK))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    fcntl_setfd(&lock, FdFlags::empty())?;
    Ok(lock)
}

/// Puts a place for the names of networks where only the run sees it.
pub(crate) fn settle() {
    mount_tmpfs(Path::new("/run"), "1m");
}

/// Mounts an empty file system in memory, which only this run sees.
pub(crate) fn mount_tmpfs(at: &Path, size: &str) {
    fs::create_dir_all(at).expect("a directory to mount at");
    let options = format!("size={size}");
    let at = at.to_str().expect("a path of plain letters");
    demand("mount", &["-t", "tmpfs", "-o", &options, "remember", at]);
}

/// Runs a command that must succeed.
pub(crate) fn demand(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed, which this machine must allow root: {complaint}"
    );
}

/// The run succeeded, or was interrupted: nothing of it stays.
pub(crate) fn remove(directory: &Path) {
    // What is mounted in there hides nothing: its files go with the namespace.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        drop(Command::new("umount").arg("-l").arg(&path).output());
    }
    drop(fs::remove_dir_all(directory));
}

/// The run failed: its directory is kept, and named.
pub(crate) fn keep(directory: &Path) {
    drop(File::create(directory.join(FAILED)));
}

/// Removes the directories of runs that were ended from outside.
fn sweep(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_run = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !is_run || path.join(FAILED).exists() {
            continue;
        }
        let is_held = File::open(path.join(LOCK))
            .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err());
        if !is_held {
            println!("removing what an earlier run left in {}", path.display());
            drop(fs::remove_dir_all(&path));
        }
    }
}
