//! `remember completion`: what a shell needs to complete the other commands.

use std::io::Write as _;

use clap_complete::Shell;

use super::exit::Exit;

/// Prints the completion script of a shell.
///
/// Where to put it is for the shell to say; for bash:
/// `remember completion bash > /etc/bash_completion.d/remember`.
#[derive(clap::Args, Debug)]
pub(super) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(super) fn run(&self, command: &mut clap::Command) -> anyhow::Result<Exit> {
        // Written in one piece: the generator itself would panic on a broken pipe.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "remember", &mut script);
        std::io::stdout().write_all(&script)?;
        Ok(Exit::Done)
    }
}
