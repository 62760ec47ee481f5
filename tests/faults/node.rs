//! One node: its process, its disk, its log.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::network::{self, NODES, address};
use crate::sandbox::mount_tmpfs;

/// Where clients reach a node.
const API: u16 = 7401;
/// Where its health is asked for.
const ADMIN: u16 = 7402;

/// The nodes that have a small disk.
pub(crate) const SMALL: [u64; 3] = [1, 2, 3];

/// The size of a small disk: some segments and a snapshot.
const SMALL_SIZE: &str = "40m";

/// After how long a silence a voter is let go, in milliseconds: as soon as may be.
const DEAD_AFTER_MS: &str = "3000";

/// The line in a node's log that tells of its next disk.
pub(crate) const EXCHANGED: &str = "another disk";

/// What a node says when its disk is full.
const FULL: &str = "room on the disk";
/// The last word of a node that was removed, and how often one may take that it was let go for it.
const LEFT: &str = "the cluster goes on without this node";
const EXCUSED_MAX: u32 = 1;
/// What its log says when a snapshot from the leader cannot be taken, and why that is here.
const NO_USE: &str = "a snapshot from the leader is of no use";
const NO_SPACE: &str = "No space left on device";

/// One node of the cluster.
pub(crate) struct Node {
    pub(crate) id: u64,
    /// Whether it knows that there is a cluster, which it joins if it has to.
    pub(crate) joins: bool,
    process: Option<Child>,
    /// How often it ended because it took that it was let go for its removal.
    excused: u32,
    disk: PathBuf,
    log: PathBuf,
}

impl Node {
    /// A node that does not run yet, with a disk of its own.
    pub(crate) fn new(id: u64, directory: &Path) -> Self {
        let disk = directory.join(format!("disk-{id}"));
        if SMALL.contains(&id) {
            mount_tmpfs(&disk, SMALL_SIZE);
        } else {
            fs::create_dir_all(&disk).expect("a directory for a node");
        }
        Self {
            id,
            joins: false,
            process: None,
            excused: 0,
            disk,
            log: directory.join(format!("node-{id}.log")),
        }
    }

    /// Starts the process, unless it runs.
    pub(crate) fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        let members = NODES.map(|id| {
            let ip = address(id);
            format!("{id}={ip}:7400/{ip}:{API}")
        });
        let members = members.collect::<Vec<_>>().join(",");
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let process = network::command(self.id, env!("CARGO_BIN_EXE_remember"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .args(["node", "--id", &self.id.to_string(), "--members", &members])
            .arg("--data-dir")
            .arg(self.disk.join("data"))
            .args(["--listen-api", &format!("0.0.0.0:{API}")])
            .args(["--listen-admin", &format!("{}:{ADMIN}", address(self.id))])
            .args(["--allow-plain", "--log-format", "json"])
            .args(["--request-timeout-ms", "1000"])
            .args(["--dead-after-ms", DEAD_AFTER_MS])
            .args(self.joins.then_some("--join"))
            .args([
                "--segment-bytes",
                "3145728",
                "--snapshot-log-bytes",
                "300000",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .spawn();
        self.process = Some(process.expect("the program was built"));
    }

    /// Ends the process at once, and waits for its end.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the process is this one's child");
            process.wait().expect("the process is this one's child");
        }
    }

    /// Gives a node that does not run an empty disk in the place of the one that it had.
    pub(crate) fn exchange_disk(&self) {
        fs::remove_dir_all(self.disk.join("data")).expect("the node has run");
        let mut log = OpenOptions::new()
            .append(true)
            .open(&self.log)
            .expect("a log");
        writeln!(log, r#"{{"fields":{{"message":"{EXCHANGED}"}}}}"#).expect("room");
    }

    /// Stops the process, or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the node runs");
        kill_process(Pid::from_child(process), signal).expect("the node runs");
    }

    /// What it ended with, if it ended by itself, which no node may. One that was let go may take
    /// that for its removal where words of its leader came late: then whoever looks after it
    /// starts it again, once.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.process.as_mut()?.try_wait().expect("a child")?;
        let is_last_word = |log: &str| log.lines().last().is_some_and(|said| said.contains(LEFT));
        if self.excused < EXCUSED_MAX && is_last_word(&self.log()) {
            self.excused += 1;
            self.process = None;
            self.start();
            return None;
        }
        Some(format!("node {} ended by itself: {status}", self.id))
    }

    pub(crate) fn api(&self) -> SocketAddr {
        api(self.id)
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        socket(self.id, ADMIN)
    }

    /// Everything it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How often its disk was found full: by its log, or by a snapshot, if it is so far behind that
    /// nothing else is sent to it.
    pub(crate) fn times_full(&self) -> usize {
        let log = self.log();
        let by_log = |line: &str| line.contains(FULL) && line.contains("\"full\":true");
        let by_snapshot = |line: &str| line.contains(NO_USE) && line.contains(NO_SPACE);
        let lines = log.lines();
        lines
            .filter(|line| by_log(line) || by_snapshot(line))
            .count()
    }

    /// Leaves no room on a small disk.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file on the small disk");
        for piece in [vec![1; 1 << 16], vec![1; 512]] {
            while filler.write_all(&piece).is_ok() {}
        }
    }

    /// Makes room again.
    pub(crate) fn free(&self) {
        drop(fs::remove_file(self.filler()));
    }

    fn filler(&self) -> PathBuf {
        self.disk.join("filler")
    }
}

/// Where clients reach a node.
pub(crate) fn api(id: u64) -> SocketAddr {
    socket(id, API)
}

fn socket(id: u64, port: u16) -> SocketAddr {
    let ip = address(id).parse().expect("an address");
    SocketAddr::new(ip, port)
}
