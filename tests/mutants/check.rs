//! A check of this repository that one run of a test program makes: which program, with what.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The longest that one check may take: much more than its computing, for whatever else this
/// machine does may come first.
const CHECK_SECONDS_MAX: u64 = 1800;
/// How often a running check is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How much of a failure is shown.
const SHOWN_LINES: usize = 40;

/// A test program of the pure layers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Program {
    /// Stories.
    Scenarios,
    /// Whole clusters.
    Simulation,
    /// Interleavings of operators.
    Labelling,
    /// Every order of events in small worlds.
    Model,
    /// The storage code.
    Storage,
    /// Frames.
    Wire,
    /// The tests beside the code.
    Unit,
}

/// What is run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Check {
    /// Which program.
    pub(crate) program: Program,
    /// What of it; empty for all.
    what: String,
}

/// How a check went.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It passed.
    Passed,
    /// It ran, and told that something is wrong.
    Failed(String),
    /// It did not end in time.
    Hung,
    /// It died without telling anything.
    Died(String),
}

impl Program {
    /// All of them, the quick ones first.
    pub(crate) const ALL: [Self; 7] = [
        Self::Unit,
        Self::Wire,
        Self::Scenarios,
        Self::Storage,
        Self::Labelling,
        Self::Model,
        Self::Simulation,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Scenarios => "scenarios",
            Self::Simulation => "simulation",
            Self::Labelling => "labelling",
            Self::Model => "model",
            Self::Storage => "storage",
            Self::Wire => "wire",
            Self::Unit => "unit",
        }
    }

    /// Whether all of its checks are much to compute.
    pub(crate) const fn is_long(self) -> bool {
        matches!(self, Self::Labelling | Self::Model | Self::Simulation)
    }

    /// What cargo is told to build it.
    pub(crate) fn build(self) -> Vec<&'static str> {
        match self {
            Self::Unit => vec!["--lib"],
            _ => vec!["--test", self.word()],
        }
    }
}

impl Check {
    /// Reads a check:
    ///
    /// - `scenarios c23`: the stories whose name holds that;
    /// - `simulation 200`: so many seeds of everything at once; `simulation words`: the stories of
    ///   the simulation whose name holds that, each with all its seeds;
    /// - `model grow`: the worlds of the model check whose name holds that;
    /// - `storage`, `wire` or `unit` and a test's whole name: that test.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (word, what) = text.split_once(' ').unwrap_or((text, ""));
        let program = Program::ALL
            .into_iter()
            .find(|program| program.word() == word)
            .ok_or_else(|| format!("there is no test program {word:?}"))?;
        if what.is_empty() {
            return Err(format!("{text:?} does not say which test"));
        }
        let what = what.to_owned();
        Ok(Self { program, what })
    }

    /// All that a program checks, with some seeds.
    pub(crate) fn all_of(program: Program) -> Self {
        let what = match program {
            Program::Simulation => "100".to_owned(),
            _ => String::new(),
        };
        Self { program, what }
    }

    /// How a person runs it.
    pub(crate) fn invocation(&self) -> String {
        let (variables, arguments) = self.parts();
        let mut words: Vec<String> = variables
            .into_iter()
            .map(|(name, value)| format!("{name}='{value}'"))
            .collect();
        words.push("cargo test --no-default-features".to_owned());
        if self.program.is_long() {
            words.push("--profile sim".to_owned());
        }
        words.extend(self.program.build().into_iter().map(str::to_owned));
        if !arguments.is_empty() {
            words.push("--".to_owned());
        }
        words.extend(arguments);
        words.join(" ")
    }

    /// The environment and the arguments of the program.
    fn parts(&self) -> (Vec<(&'static str, String)>, Vec<String>) {
        let what = || self.what.clone();
        match self.program {
            Program::Scenarios => {
                let test = ["every_story_happens_as_told", "--exact"];
                (
                    vec![("REMEMBER_STORY", what())],
                    test.map(str::to_owned).into(),
                )
            }
            Program::Simulation if self.what.parse::<u64>().is_ok() => {
                let everything = "everything at once".to_owned();
                let variables = vec![
                    ("REMEMBER_SEEDS", what()),
                    ("REMEMBER_SCENARIO", everything),
                ];
                (variables, Vec::new())
            }
            Program::Simulation => (vec![("REMEMBER_SCENARIO", what())], Vec::new()),
            Program::Model => (vec![("REMEMBER_MODEL", what())], Vec::new()),
            _ if self.what.is_empty() => (Vec::new(), Vec::new()),
            _ => (Vec::new(), vec![what(), "--exact".to_owned()]),
        }
    }

    /// Runs it: the program at `executable`, in the directory `root`, for a bounded time. What it
    /// says goes to `transcript`.
    pub(crate) fn run(
        &self,
        executable: &Path,
        root: &Path,
        transcript: &Path,
    ) -> io::Result<Verdict> {
        let (variables, arguments) = self.parts();
        let out = File::create(transcript)?;
        let mut child = Command::new(executable)
            .args(arguments)
            .envs(variables)
            .env("RUST_BACKTRACE", "0")
            .current_dir(root)
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()?;
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if begin.elapsed() > Duration::from_secs(CHECK_SECONDS_MAX) {
                child.kill()?;
                child.wait()?;
                return Ok(Verdict::Hung);
            }
            sleep(LOOK_EVERY);
        };
        let said = String::from_utf8_lossy(&std::fs::read(transcript)?).into_owned();
        Ok(self.judge(status, said))
    }

    fn judge(&self, status: ExitStatus, said: String) -> Verdict {
        // A test that was renamed must not count as one that passed.
        let none = self.program != Program::Simulation && said.contains("\nrunning 0 tests\n");
        match status.code() {
            _ if none => Verdict::Died("there is no such test".to_owned()),
            Some(0) => Verdict::Passed,
            Some(_) => Verdict::Failed(said),
            None => Verdict::Died(format!("{status}\n{}", shortened(&said))),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.program.word(), self.what)
    }
}

/// The last lines of what a program said.
pub(crate) fn shortened(said: &str) -> String {
    let lines: Vec<_> = said.lines().collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    lines[from..].join("\n")
}
