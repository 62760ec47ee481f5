//! A copy of the sources below `target/`, which is mutated and built in the original's place.
//!
//! The copy and its build stay from run to run. Only files that differ are written, so that cargo
//! builds again only what a mutant changed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::check::{Program, shortened};

/// What is copied, from the root.
const COPIED: [&str; 6] = [
    "Cargo.lock",
    "Cargo.toml",
    "clippy.toml",
    "rust-toolchain.toml",
    "src",
    "tests",
];

/// Test programs that are no check. Only that they exist is copied, for cargo: so nothing that is
/// built can come to need them unseen.
const NO_CHECKS: [&str; 3] = ["tests/chart", "tests/cluster", "tests/faults"];

/// The copy.
pub(crate) struct Tree {
    from: PathBuf,
    /// Where the copy is.
    pub(crate) root: PathBuf,
    /// Where it is built, and what its checks say.
    scratch: PathBuf,
}

impl Tree {
    /// A copy of the repository at `from`, one of several.
    pub(crate) fn of(from: &Path, number: usize) -> io::Result<Self> {
        let scratch = from.join("target/mutants").join(number.to_string());
        let tree = Self {
            from: from.to_owned(),
            root: scratch.join("tree"),
            scratch,
        };
        fs::create_dir_all(&tree.root)?;
        tree.restore()?;
        Ok(tree)
    }

    /// Makes it equal to the original again.
    pub(crate) fn restore(&self) -> io::Result<()> {
        let wanted = sources(&self.from)?;
        let mut present = BTreeSet::new();
        files_below(&self.root, Path::new(""), &mut present)?;
        for path in present.difference(&wanted) {
            fs::remove_file(self.root.join(path))?;
        }
        for path in &wanted {
            let (from, to) = (self.from.join(path), self.root.join(path));
            let bytes = fs::read(&from)?;
            if fs::read(&to).ok().as_ref() == Some(&bytes) {
                continue;
            }
            if let Some(directory) = to.parent() {
                fs::create_dir_all(directory)?;
            }
            fs::write(to, bytes)?;
        }
        Ok(())
    }

    /// Applies a patch; it must fit exactly.
    pub(crate) fn apply(&self, patch: &Path) -> Result<(), String> {
        let output = Command::new("git")
            .args(["apply", "--whitespace=nowarn"])
            .arg(patch)
            .current_dir(&self.root)
            // The copy is no repository, and not a part of the one around it.
            .env("GIT_CEILING_DIRECTORIES", &self.scratch)
            .output()
            .map_err(|error| format!("git does not start: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("does not apply: refresh the patch\n{said}"))
    }

    /// Builds a test program, and says where it is.
    pub(crate) fn build(&self, program: Program) -> Result<PathBuf, String> {
        let mut cargo = build_of(program, "mutants", &self.root);
        cargo.arg("--target-dir").arg(self.scratch.join("build"));
        built_by(cargo)
    }

    /// Builds a test program of the original as `make sim` does, so that it computes quickly.
    pub(crate) fn build_original(&self, program: Program) -> Result<PathBuf, String> {
        built_by(build_of(program, "sim", &self.from))
    }

    /// Where what a check says is kept.
    pub(crate) fn transcript(&self) -> PathBuf {
        self.scratch.join("transcript.txt")
    }
}

/// How cargo builds a test program of the sources at `root`.
fn build_of(program: Program, profile: &str, root: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["test", "--locked", "--profile", profile, "--no-run"])
        // The pure layers alone are built sooner.
        .arg("--no-default-features")
        .arg("--message-format=json-render-diagnostics")
        .args(program.build())
        .current_dir(root);
    cargo
}

/// Where the program is that `cargo` builds.
fn built_by(mut cargo: Command) -> Result<PathBuf, String> {
    let output = cargo
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("does not compile\n{}", shortened(&said)));
    }
    let told = String::from_utf8_lossy(&output.stdout);
    let mut executables = told.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    executables
        .next_back()
        .ok_or_else(|| "cargo built no program".to_owned())
}

/// Every file that is copied, from `root`.
pub(crate) fn sources(root: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for name in COPIED {
        files_below(root, Path::new(name), &mut found)?;
    }
    let is_of = |path: &Path| NO_CHECKS.iter().any(|program| path.starts_with(program));
    found.retain(|path| !is_of(path) || path.ends_with("main.rs"));
    Ok(found)
}

/// All files at or below `root/path`, from `root`.
fn files_below(root: &Path, path: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let whole = root.join(path);
    if !whole.is_dir() {
        if whole.exists() {
            found.insert(path.to_owned());
        }
        return Ok(());
    }
    for entry in fs::read_dir(whole)? {
        files_below(root, &path.join(entry?.file_name()), found)?;
    }
    Ok(())
}
