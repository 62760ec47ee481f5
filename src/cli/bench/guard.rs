//! `remember bench exec`: becomes another program that ends with the process that started it.
//!
//! A server of another project does not know how to; and a server that outlives its measurement
//! would spoil the next one.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use tokio::process::Command;

use crate::cli::exit::Exit;
use crate::cli::node::die_with;
use crate::cli::node_process::own_program;

/// Runs a program that ends when this process's parent does.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Exec {
    /// The process to end with
    #[arg(long, value_name = "PID")]
    parent_pid: i32,
    /// The program and its arguments
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

impl Exec {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        die_with(self.parent_pid)?;
        let mut words = self.command.into_iter();
        let program = words.next().unwrap_or_default();
        // Comes back only if there is no such program.
        let error = std::process::Command::new(&program).args(words).exec();
        anyhow::bail!("cannot run {}: {error}", program.display())
    }
}

/// A program that will end with this process, still without arguments.
pub(super) fn guarded(program: &Path) -> anyhow::Result<Command> {
    let mut command = own_program()?;
    command
        .args(["bench", "exec", "--parent-pid"])
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(program);
    Ok(command)
}
