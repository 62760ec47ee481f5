//! Mutants: bugs that are planted into a copy of the sources, each of which a named check catches.
//!
//! That all tests pass says little about the tests. So each patch in this directory plants one
//! plausible bug, and says which check notices it and in what words. A patch that does not apply,
//! a mutant that does not compile, one that survives, and one that is noticed for another reason
//! are failures; so is a check that fails without any bug.
//!
//! ```text
//!   cargo test --test mutants                              all that these sources have not caught
//!   REMEMBER_MUTANT=ack,vote cargo test --test mutants     those whose name holds any of these
//!   REMEMBER_MUTANTS_ALL=1 cargo test --test mutants       each against all: who sees it?
//! ```

#![expect(
    clippy::print_stdout,
    reason = "a program that tests says what it found"
)]

mod caught;
mod check;
mod patch;
mod tree;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use caught::Caught;
use check::{Check, Program, Verdict, shortened};
use patch::Patch;
use tree::Tree;

/// How many copies of the sources there are at most, each of which is built and checked beside the
/// others.
const TREES_MAX: usize = 4;
/// How many mutants there are at least, and how many of them do harm only after a crash, a reorder
/// or a pause.
const MUTANTS_MIN: usize = 24;
const HIDING_MIN: usize = 12;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            println!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

/// A patch, its file, and the check that it names.
struct Mutant {
    patch: Patch,
    file: PathBuf,
    check: Check,
}

fn run() -> Result<(), String> {
    let root = env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo runs this test")?;
    let root = PathBuf::from(root);
    let mutants = mutants(&root)?;
    let hiding = mutants.iter().filter(|mutant| mutant.patch.hides()).count();
    if mutants.len() < MUTANTS_MIN || hiding < HIDING_MIN {
        let all = mutants.len();
        return Err(format!(
            "{all} mutants, {hiding} of them hide: at least {MUTANTS_MIN} and {HIDING_MIN}"
        ));
    }
    let proof = fs::read_to_string(root.join("docs/proof.md"));
    let proof = proof.map_err(|error| format!("docs/proof.md: {error}"))?;
    let wrong = wrong_rows(&proof, &mutants);
    if !wrong.is_empty() {
        let wrong = wrong.join("\n");
        return Err(format!(
            "docs/proof.md does not tell what the patches do\n{wrong}"
        ));
    }
    let chosen = chosen(&mutants)?;
    let trees = thread::available_parallelism().map_or(1, usize::from);
    let trees: Result<Vec<_>, _> = (0..trees.min(TREES_MAX))
        .map(|number| Tree::of(&root, number))
        .collect();
    let trees = trees.map_err(|error| format!("no copy of the sources: {error}"))?;
    if env::var_os("REMEMBER_MUTANTS_ALL").is_some() {
        return compare(&trees[0], &chosen);
    }
    let caught = Caught::of(&root).map_err(|error| format!("target/mutants: {error}"))?;
    let is_named = env::var_os("REMEMBER_MUTANT").is_some();
    let is_left = |mutant: &&&Mutant| is_named || !caught.holds(&mutant.patch.name);
    let left: Vec<_> = chosen.iter().copied().filter(|one| is_left(&one)).collect();
    let known = chosen.len() - left.len();
    if known > 0 {
        println!("these very sources have caught {known} mutants before (target/mutants)");
    }
    if left.is_empty() {
        return Ok(());
    }
    baseline(&trees, &left)?;
    hunt_all(&trees, &left, &caught)
}

/// The mutants that are asked for.
fn chosen(mutants: &[Mutant]) -> Result<Vec<&Mutant>, String> {
    let wanted = env::var("REMEMBER_MUTANT").unwrap_or_default();
    let is_wanted = |name: &str| wanted.split(',').any(|part| name.contains(part));
    let all = mutants.iter();
    let chosen: Vec<_> = all.filter(|one| is_wanted(&one.patch.name)).collect();
    if chosen.is_empty() {
        return Err(format!("no mutant's name holds {wanted:?}"));
    }
    Ok(chosen)
}

/// Has each tree do one thing after another until `next` says that nothing is left; what was
/// complained about.
fn share(trees: &[Tree], next: impl Fn(&Tree) -> Option<Result<(), String>> + Sync) -> Vec<String> {
    let work = |tree: &Tree| {
        let done = std::iter::from_fn(|| next(tree));
        done.filter_map(Result::err).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = trees
            .iter()
            .map(|tree| scope.spawn(|| work(tree)))
            .collect();
        let ends = workers.into_iter().map(thread::ScopedJoinHandle::join);
        ends.flat_map(|end| end.unwrap_or_else(|_| vec!["a worker panicked".to_owned()]))
            .collect()
    })
}

/// Plants each bug, one a tree at a time, and tells of all that were not caught.
fn hunt_all(trees: &[Tree], mutants: &[&Mutant], caught: &Caught) -> Result<(), String> {
    let begin = Instant::now();
    let left = Mutex::new(mutants.iter());
    let complaints = share(trees, |tree| {
        let mutant = left.lock().ok()?.next()?;
        let (name, check) = (&mutant.patch.name, &mutant.check);
        let begin = Instant::now();
        let judged = hunt(tree, mutant);
        let seconds = begin.elapsed().as_secs_f64();
        match &judged {
            Ok(()) => {
                caught.add(name);
                println!("{name}: caught by {check} in {seconds:.1} s");
            }
            Err(complaint) => println!("{name}: {complaint}"),
        }
        Some(judged.map_err(|complaint| format!("{name}: {}", first_line(&complaint))))
    });
    let (all, seconds) = (mutants.len(), begin.elapsed().as_secs_f64());
    if complaints.is_empty() {
        println!("all {all} mutants were caught, in {seconds:.1} s");
        return Ok(());
    }
    let count = complaints.len();
    let complaints = complaints.join("\n");
    Err(format!("{count} of {all} mutants:\n{complaints}"))
}

/// What the table of mutants lacks, and what it has too much.
fn wrong_rows(proof: &str, mutants: &[Mutant]) -> Vec<String> {
    let rows: Vec<_> = mutants.iter().map(|mutant| mutant.patch.row()).collect();
    let told: Vec<_> = proof
        .lines()
        .filter(|line| line.starts_with("| [`"))
        .collect();
    let missing = rows.iter().filter(|row| !told.contains(&row.as_str()));
    let stale = told
        .iter()
        .filter(|line| !rows.iter().any(|row| row == *line));
    let missing = missing.map(|row| format!("+{row}"));
    missing
        .chain(stale.map(|line| format!("-{line}")))
        .collect()
}

/// All patches, by name.
fn mutants(root: &Path) -> Result<Vec<Mutant>, String> {
    let directory = root.join("tests/mutants");
    let entries = fs::read_dir(&directory).map_err(|error| error.to_string())?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "patch"))
        .collect();
    files.sort();
    let read = |file: PathBuf| {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(&file).map_err(|error| format!("{name}: {error}"))?;
        let patch = Patch::parse(&name, &text)?;
        let check = Check::parse(&patch.caught_by).map_err(|error| format!("{name}: {error}"))?;
        Ok(Mutant { patch, file, check })
    };
    files.into_iter().map(read).collect()
}

/// Runs every check that is needed once where nothing is broken.
fn baseline(trees: &[Tree], mutants: &[&Mutant]) -> Result<(), String> {
    let left = Mutex::new(Program::ALL.into_iter());
    let complaints = share(trees, |tree| {
        let program = left.lock().ok()?.next()?;
        Some(baseline_of(program, tree, mutants))
    });
    match complaints.first() {
        None => Ok(()),
        Some(complaint) => Err(complaint.clone()),
    }
}

fn baseline_of(program: Program, tree: &Tree, mutants: &[&Mutant]) -> Result<(), String> {
    let mut checks: Vec<&Check> = Vec::new();
    for Mutant { check, .. } in mutants {
        if check.program == program && !checks.contains(&check) {
            checks.push(check);
        }
    }
    if checks.is_empty() {
        return Ok(());
    }
    let begin = Instant::now();
    let built = if program.is_long() {
        tree.build_original(program)
    } else {
        tree.build(program)
    };
    let executable = built.map_err(|error| format!("without a mutant: {error}"))?;
    for check in &checks {
        match run_check(tree, check, &executable)? {
            Verdict::Passed => {}
            other => return Err(format!("{check} fails without a mutant: {other:?}")),
        }
    }
    let (count, seconds) = (checks.len(), begin.elapsed().as_secs_f64());
    println!("without a mutant, {count} checks of {program:?} pass, in {seconds:.1} s");
    Ok(())
}

/// Plants one bug, and demands that its check notices this very bug.
fn hunt(tree: &Tree, mutant: &Mutant) -> Result<(), String> {
    let Mutant { patch, check, .. } = mutant;
    let executable = plant(tree, mutant, check.program)?;
    match run_check(tree, check, &executable)? {
        Verdict::Failed(said) if patch.says.iter().any(|words| said.contains(words)) => Ok(()),
        Verdict::Failed(said) => {
            let (expected, said) = (&patch.says, shortened(&said));
            Err(format!(
                "is caught, but not for saying {expected:?}\n{said}"
            ))
        }
        Verdict::Passed => {
            let invocation = check.invocation();
            Err(format!(
                "survives {invocation}\nwrite the test that catches it"
            ))
        }
        Verdict::Hung => Err(format!("{check} does not end")),
        Verdict::Died(how) => Err(format!("{check} dies: {how}")),
    }
}

fn plant(tree: &Tree, mutant: &Mutant, program: Program) -> Result<PathBuf, String> {
    tree.restore().map_err(|error| error.to_string())?;
    tree.apply(&mutant.file)?;
    tree.build(program)
}

fn run_check(tree: &Tree, check: &Check, executable: &Path) -> Result<Verdict, String> {
    check
        .run(executable, &tree.root, &tree.transcript())
        .map_err(|error| format!("{check} does not run: {error}"))
}

/// Holds mutants against every program, and tells which of them notice.
fn compare(tree: &Tree, mutants: &[&Mutant]) -> Result<(), String> {
    for mutant in mutants {
        println!("{}:", mutant.patch.name);
        for program in Program::ALL {
            let check = Check::all_of(program);
            let executable = match plant(tree, mutant, program) {
                Ok(executable) => executable,
                Err(complaint) => {
                    println!("  {complaint}");
                    break;
                }
            };
            let begin = Instant::now();
            let found = match run_check(tree, &check, &executable)? {
                Verdict::Passed => "survives".to_owned(),
                Verdict::Failed(said) => format!("caught: {}", reasons(&said)),
                Verdict::Hung => "does not end".to_owned(),
                Verdict::Died(how) => format!("dies: {}", first_line(&how)),
            };
            let seconds = begin.elapsed().as_secs_f64();
            println!("  {program:?}, {seconds:.1} s: {found}");
        }
    }
    Ok(())
}

/// The lines of a transcript that tell why a test failed, or which one did.
fn reasons(said: &str) -> String {
    let mut lines = said.lines().peekable();
    let mut reasons: Vec<&str> = Vec::new();
    while let Some(line) = lines.next() {
        if line.ends_with("... FAILED") || line.starts_with("seed ") {
            reasons.push(line);
        }
        if line.contains("panicked at ") {
            reasons.extend(lines.peek());
        }
    }
    reasons.join("\n    ")
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
