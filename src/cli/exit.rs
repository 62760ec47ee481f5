//! Exit codes: the same for every command, and part of the interface.

use std::io::{self, Write as _};
use std::process::ExitCode;

/// The exit codes, as `--help` tells them. Keep with [`Exit`].
pub(super) const HELP: &str = "\
Exit codes:
  0  done; also when nobody reads the output any more
  1  the check failed: no leader, nodes that disagree, a lost compare
  2  wrong usage
  3  not found
  4  denied
  5  no node can be reached
  6  timed out; whether a write was done is then not known
A command that is interrupted ends by the signal, which shells tell as 130; `node`, `witness`,
`local` and `hello` end in order and return 0.";

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Denied = 4,
    Unreachable = 5,
    TimedOut = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that knows its exit code.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{sentence}")]
pub(super) struct Failed {
    pub(super) exit: Exit,
    sentence: String,
}

impl Exit {
    /// An error with this exit code.
    pub(super) fn because(self, sentence: impl Into<String>) -> Failed {
        Failed {
            exit: self,
            sentence: sentence.into(),
        }
    }
}

/// Tells an error to whoever started the command, and how that ends.
pub(super) fn told(error: &anyhow::Error) -> Exit {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    };
    // Whoever read the output has read enough.
    if error.chain().any(broken_pipe) {
        return Exit::Done;
    }
    say(&format!("error: {error:#}"));
    of(error)
}

/// The exit code of an error.
pub(super) fn of(error: &anyhow::Error) -> Exit {
    let failed = error.chain().find_map(|cause| cause.downcast_ref());
    failed.map_or(Exit::Failed, |failed: &Failed| failed.exit)
}

/// Narrates one line on stderr. If nobody reads it, it is lost, and that is all.
pub(super) fn say(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}
