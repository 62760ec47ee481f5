//! One mutant: a patch to `src/` that begins with prose about the bug that it plants.
//!
//! ```text
//!   Title: what the bug does, one line, without a full stop
//!
//!   Prose: how one comes to write this bug, and what it harms.
//!
//!   Breaks: the rule, as docs/rules.md or the Raft dissertation numbers it
//!   Only-after: what must happen before it does harm, see `ONLY_AFTER`
//!   Caught-by: the check, see `Check::parse`
//!   Says: words of the failure that show that it is this bug that was caught; may be repeated
//!
//!   --- a/src/...
//!   +++ b/src/...
//! ```

/// What must happen before a bug does harm. A cut is one of the network; rot is one of the disk.
const ONLY_AFTER: [&str; 6] = ["crash", "reorder", "pause", "cut", "rot", "nothing"];

/// A bug, as its patch describes it.
#[derive(Debug)]
pub(crate) struct Patch {
    /// The file's name, without its end.
    pub(crate) name: String,
    /// What the bug does.
    pub(crate) title: String,
    /// The rule that it breaks.
    pub(crate) breaks: String,
    /// What must happen before it does harm.
    pub(crate) only_after: String,
    /// The check that catches it, as it is written.
    pub(crate) caught_by: String,
    /// What that check says, any of these.
    pub(crate) says: Vec<String>,
}

impl Patch {
    /// Reads the head of a patch, or says what is missing in it.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let (head, _) = text
            .split_once("\n--- ")
            .ok_or_else(|| format!("{name}: changes nothing"))?;
        let mut changed = text.lines().filter(|line| line.starts_with("+++ "));
        if !changed.all(|line| line.starts_with("+++ b/src/")) {
            return Err(format!("{name}: changes more than src/"));
        }
        let all = |key: &str| {
            let lines = head.lines().filter_map(|line| line.strip_prefix(key));
            lines.map(|value| value.trim().to_owned()).collect()
        };
        let one = |key: &str| {
            let found: Vec<String> = all(key);
            match <[String; 1]>::try_from(found) {
                Ok([value]) if !value.is_empty() => Ok(value),
                _ => Err(format!("{name}: needs one line that begins with {key:?}")),
            }
        };
        let patch = Self {
            name: name.to_owned(),
            title: one("Title:")?,
            breaks: one("Breaks:")?,
            only_after: one("Only-after:")?,
            caught_by: one("Caught-by:")?,
            says: all("Says:"),
        };
        if patch.says.iter().all(String::is_empty) {
            return Err(format!("{name}: needs a line that begins with \"Says:\""));
        }
        if !ONLY_AFTER.contains(&patch.only_after.as_str()) {
            return Err(format!("{name}: Only-after must be one of {ONLY_AFTER:?}"));
        }
        let prose = head.lines().filter(|line| !line.trim().is_empty());
        if prose.count() < 6 {
            return Err(format!("{name}: needs some prose about the bug"));
        }
        Ok(patch)
    }

    /// Whether the bug does harm only after a crash, a reorder or a pause.
    pub(crate) fn hides(&self) -> bool {
        ["crash", "reorder", "pause"].contains(&self.only_after.as_str())
    }

    /// Its row in the table of `docs/proof.md`.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the tests of the documents ask")
    )]
    pub(crate) fn row(&self) -> String {
        let Self {
            name,
            title,
            breaks,
            only_after,
            caught_by,
            ..
        } = self;
        let file = format!("../tests/mutants/{name}.patch");
        format!("| [`{name}`]({file}) | {title} | {breaks} | {only_after} | `{caught_by}` |")
    }
}
