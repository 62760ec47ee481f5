//! One Kubernetes of `tools/cluster`: up, down, and what is asked of it in between.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api;

/// How long something that Kubernetes does by itself may take on a busy machine, and how often to
/// look.
const PATIENCE: Duration = Duration::from_mins(4);
const LOOK: Duration = Duration::from_millis(100);

/// Tells what happens, and on which cluster: threads that tell stories are called as theirs.
macro_rules! say {
    ($($what:tt)*) => {{
        let thread = std::thread::current();
        println!("{:>6} | {}", thread.name().unwrap_or_default(), format_args!($($what)*));
    }};
}
pub(crate) use say;

/// A cluster by its name, standing or not.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) name: &'static str,
    port: u16,
    nodes: u8,
}

impl Cluster {
    pub(crate) const fn named(name: &'static str, port: u16, nodes: u8) -> Self {
        Self { name, port, nodes }
    }

    /// Starts it; with an owner, it ends when that process does.
    pub(crate) fn up(&self, owner: Option<u32>) {
        let owner = owner.map(|id| id.to_string());
        let mut up = self.tool("up");
        up.args(owner);
        say!("{}", demand(&mut up).trim_end());
    }

    /// Gives an image to all its machines.
    pub(crate) fn load(&self, archive: &Path) {
        demand(self.tool("load").arg(archive));
    }

    pub(crate) fn down(&self) {
        demand(&mut self.tool("down"));
    }

    /// Ends it but for its logs, and says where they are.
    pub(crate) fn down_keeping_logs(&self) -> String {
        demand(self.tool("down").arg("--keep-logs"));
        self.directory().join("log").display().to_string()
    }

    /// Everything that it writes.
    pub(crate) fn directory(&self) -> PathBuf {
        let cache = std::env::var_os("REMEMBER_CACHE").map(PathBuf::from);
        let cache = cache.unwrap_or_else(|| {
            let home = std::env::var_os("HOME").expect("a home");
            PathBuf::from(home).join(".cache/remember")
        });
        cache.join(format!("cluster-{}", self.name))
    }

    /// A program of `tools/cluster`, for this cluster.
    pub(crate) fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(root().join("tools/cluster").join(name));
        command
            .env_remove("REMEMBER_KUBERNETES_DIRECTORY")
            .env("REMEMBER_KUBERNETES", self.name)
            .env("REMEMBER_KUBERNETES_PORT", self.port.to_string())
            .env("REMEMBER_KUBERNETES_NODES", self.nodes.to_string());
        command
    }

    /// What kubectl answers, which must succeed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        demand(&mut self.kubectl_command(arguments))
    }

    /// Gives a manifest to kubectl.
    pub(crate) fn apply(&self, manifest: &Value) {
        let file = self.directory().join("manifest.json");
        std::fs::write(&file, manifest.to_string()).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    }

    /// The same, where it may fail.
    pub(crate) fn kubectl_output(&self, arguments: &[&str]) -> Output {
        output_of(&mut self.kubectl_command(arguments))
    }

    /// Kills the API server.
    pub(crate) fn stop_api(&self) {
        demand(self.tool("component").args(["stop", "apiserver"]));
    }

    /// Starts it again, and waits until it answers.
    pub(crate) fn start_api(&self) {
        demand(self.tool("component").args(["start", "apiserver"]));
        wait_for("the API server", || self.is_ready().then_some(()));
    }

    /// A machine without power sends nothing, not even that its connections end.
    pub(crate) fn power_off(&self, node: &str) {
        demand(self.tool("cable").args(["pull", node]));
        demand(self.tool("component").args(["stop", node]));
    }

    /// Lets a machine start again, and waits until Kubernetes has it.
    pub(crate) fn power_on(&self, node: &str) {
        demand(self.tool("cable").args(["plug", node]));
        demand(self.tool("component").args(["start", node]));
        wait_for("the machine to come back", || {
            let known = self.find(&format!("{}/nodes/{node}", api::CORE))?;
            has(&known, "Ready").then_some(())
        });
    }

    /// The names of its machines.
    pub(crate) fn node_names(&self) -> impl Iterator<Item = String> {
        (1..=self.nodes).map(|number| format!("n{number}"))
    }

    /// A command that will run on one of its machines, or in the network of the control plane.
    pub(crate) fn enter(&self, place: &str) -> Command {
        let mut enter = self.tool("enter");
        enter.arg(place);
        enter
    }

    fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let directory = self.directory();
        let cache = directory.parent().expect("a directory in the cache");
        let mut command = Command::new(cache.join("kubernetes/kubectl"));
        command
            .arg("--kubeconfig")
            .arg(directory.join("kubeconfig"))
            .args(arguments);
        command
    }
}

/// The repository. Asked for when the test runs: two clones that share a target directory share its
/// binary.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test"))
}

/// Whether a condition of an object holds.
pub(crate) fn has(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == kind && one["status"] == "True")
}

/// Runs a command that must succeed, and returns what it printed.
pub(crate) fn demand(command: &mut Command) -> String {
    let output = output_of(command);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn output_of(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// Looks again and again until there is something to see.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(LOOK);
    }
}
