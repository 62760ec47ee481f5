//! Which mutants these very sources have caught before: a file below `target/`, so that `make
//! test` hunts again only where something has changed.
//!
//! A check is a function of the sources, and of nothing else: no clock, no chance, no network. So
//! what was caught once need not be caught again as long as no byte of them differs; one byte
//! more, and all is forgotten. Only what was caught is kept: a mutant that survived is hunted
//! again, and so is whichever is asked for by name.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;

use super::tree::sources;

/// What is kept.
pub(crate) struct Caught {
    before: BTreeSet<String>,
    file: Mutex<File>,
}

impl Caught {
    /// What the sources at `root` have caught.
    pub(crate) fn of(root: &Path) -> io::Result<Self> {
        let path = root.join("target/mutants/caught.txt");
        let sources = format!("sources {:016x}", digest(root)?);
        let told = fs::read_to_string(&path).unwrap_or_default();
        let mut told = told.lines();
        let same = told.next() == Some(sources.as_str());
        let before: BTreeSet<_> = told.filter(|_| same).map(str::to_owned).collect();
        let mut file = File::create(path)?;
        writeln!(file, "{sources}")?;
        for name in &before {
            writeln!(file, "{name}")?;
        }
        let file = Mutex::new(file);
        Ok(Self { before, file })
    }

    /// Whether this mutant was.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.before.contains(name)
    }

    /// Keeps that this mutant was; if it cannot, it is only hunted again.
    pub(crate) fn add(&self, name: &str) {
        if let Ok(mut file) = self.file.lock() {
            drop(writeln!(file, "{name}"));
        }
    }
}

/// One number of all that is copied and built.
fn digest(root: &Path) -> io::Result<u64> {
    let mut digest = DefaultHasher::new();
    for path in sources(root)? {
        path.hash(&mut digest);
        fs::read(root.join(&path))?.hash(&mut digest);
    }
    Ok(digest.finish())
}
