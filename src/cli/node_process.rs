//! What a process of one node of a cluster on this machine is started with. Who starts it watches
//! over it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::{Child, Command};

use super::certs::member_stem;
use super::tls;

/// How much of the end of a log is searched for the last line, in bytes.
const LAST_LINE_BYTES: u64 = 1 << 10;

/// A node's process, before it runs.
#[derive(Clone, Debug)]
pub(super) struct NodeProcess {
    pub(super) node: u8,
    pub(super) members: String,
    /// The file whose presence says that there is a cluster to join, looked for at each start.
    pub(super) joins_if: Option<PathBuf>,
    /// Where it answers questions of health.
    pub(super) admin: String,
    pub(super) data_dir: PathBuf,
    /// Where its output goes.
    pub(super) log: PathBuf,
    /// Where clients reach it over TLS, and the directory of its certificate, if it speaks TLS.
    pub(super) tls: Option<(String, PathBuf)>,
}

impl NodeProcess {
    /// Starts this very program as the node. It ends with the process that started it.
    pub(super) fn start(&self) -> anyhow::Result<Child> {
        let mut command = own_program()?;
        command
            .args(["--color", "never", "node", "--id", &self.node.to_string()])
            .args(["--members", &self.members])
            .args(
                self.joins_if
                    .iter()
                    .any(|it| it.exists())
                    .then_some("--join"),
            )
            .args(["--listen-admin", &self.admin])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--parent-pid", &std::process::id().to_string()])
            // These would lead a node to where another one is.
            .env_remove("REMEMBER_JOIN")
            .env_remove("REMEMBER_LISTEN_PEER")
            .env_remove("REMEMBER_LISTEN_API");
        for variable in tls::VARIABLES {
            command.env_remove(variable);
        }
        if let Some((listen_api, dir)) = &self.tls {
            let file = |stem: &str, ending| dir.join(format!("{stem}.{ending}"));
            let stem = member_stem(u64::from(self.node));
            command
                .env_remove("REMEMBER_ALLOW_PLAIN")
                .args(["--listen-api", listen_api])
                .arg("--tls-cert")
                .arg(file(&stem, "crt"))
                .arg("--tls-key")
                .arg(file(&stem, "key"))
                .arg("--tls-ca")
                .arg(file("ca", "crt"));
        }
        start(command, &self.log)
    }
}

/// This very program, still without arguments.
pub(super) fn own_program() -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find the program itself")?;
    Ok(Command::new(program))
}

/// Starts a server that writes to `log` and hears of no Ctrl-C.
pub(super) fn start(mut command: Command, log: &Path) -> anyhow::Result<Child> {
    let file = OpenOptions::new().create(true).append(true).open(log);
    let file = file.with_context(|| format!("cannot write {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        // Ctrl-C is for this process, which then ends its children in order.
        .process_group(0)
        .kill_on_drop(true);
    command.spawn().context("cannot start a process")
}

/// The last line that a process wrote, to say why it ended.
pub(super) fn last_line(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_LINE_BYTES)))?;
    let mut end = Vec::new();
    file.take(LAST_LINE_BYTES).read_to_end(&mut end)?;
    let end = String::from_utf8_lossy(&end);
    Ok(end.lines().next_back().unwrap_or_default().to_owned())
}
