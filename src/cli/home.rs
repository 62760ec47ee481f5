//! The directory that holds what a whole cluster on this machine keeps.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::exit::say;

/// The directory, which goes when this is dropped unless it is to stay.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    stays: bool,
}

impl Home {
    /// Uses the directory that was named, which stays, or makes a fresh one for `command`.
    pub(super) fn open(command: &str, named: Option<PathBuf>, keep: bool) -> anyhow::Result<Self> {
        let (path, stays) = match named {
            Some(path) => (path, true),
            None => (fresh(command)?, keep),
        };
        let made = DirBuilder::new().recursive(stays).mode(0o700).create(&path);
        made.with_context(|| format!("cannot make the directory {}", path.display()))?;
        let path = std::path::absolute(path)?;
        Ok(Self { path, stays })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn fresh(command: &str) -> anyhow::Result<PathBuf> {
    let name = format!("remember-{command}-{:016x}", getrandom::u64()?);
    Ok(std::env::temp_dir().join(name))
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.stays {
            say(&format!("the data stays in {}", self.path.display()));
        } else if let Err(error) = std::fs::remove_dir_all(&self.path) {
            say(&format!("cannot remove {}: {error}", self.path.display()));
        }
    }
}
