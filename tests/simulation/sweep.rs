//! Many seeds on all cores, and the report.

use std::env;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::run::{Outcome, Violation, listen_to_panics, run};
use super::scenarios::{SCENARIOS, Scenario};
use super::tally::Tally;

/// How many seeds are run unless `REMEMBER_SEEDS` says otherwise, which may cut the scenarios short
/// as well.
const SEEDS: u64 = 5000;
/// What the seeds are called in which anything may happen.
const EVERYTHING: &str = "everything at once";
/// How many of them are run twice, to see that a seed decides everything.
const TWICE: u64 = 20;
/// How much of a failing seed's story is printed.
const STORY_LINES: usize = 400;
/// The least simulated time of a seed.
const LASTS: Duration = Duration::from_secs(20);

/// Runs what the environment asks for.
pub(crate) fn run_all() -> Result<(), String> {
    listen_to_panics();
    if let Some(seed) = number("REMEMBER_SEED")? {
        return replay(seed, env::var("REMEMBER_SCENARIO").ok().as_deref());
    }
    let words = env::var("REMEMBER_SCENARIO").unwrap_or_default();
    let mut wanted = SCENARIOS.iter().filter(|story| story.name.contains(&words));
    let everything = EVERYTHING.contains(&words);
    if !everything && wanted.clone().next().is_none() {
        return Err(format!("there is no scenario {words:?}"));
    }
    let asked = number("REMEMBER_SEEDS")?;
    wanted.try_for_each(|scenario| tell(scenario, asked.unwrap_or(u64::MAX)))?;
    if everything {
        at_once(asked.unwrap_or(SEEDS))
    } else {
        Ok(())
    }
}

/// Tells one scenario, with all its seeds, or with so many of them.
fn tell(scenario: &Scenario, most: u64) -> Result<(), String> {
    let begin = Instant::now();
    let (name, seeds) = (scenario.name, scenario.seeds.min(most));
    let told = |seed| scenario.run(seed, 0).map_err(drop);
    if let Some(seed) = sweep(0..seeds, told) {
        return replay(seed, Some(name)).and_then(|()| Err(changeable(seed)));
    }
    println!(
        "{name}: {seeds} seeds in {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Runs the seeds in which anything may happen.
fn at_once(seeds: u64) -> Result<(), String> {
    let first = number("REMEMBER_FROM")?.unwrap_or(0);
    let begin = Instant::now();
    let total = Mutex::new(Tally::new());
    let failed = sweep(first..first.saturating_add(seeds), |seed| {
        let tally = run_checked(seed, seed - first < TWICE)?;
        total.lock().map_err(drop)?.add(&tally);
        Ok(())
    });
    if let Some(seed) = failed {
        return replay(seed, None).and_then(|()| Err(changeable(seed)));
    }
    let tally = total.into_inner().map_err(|error| error.to_string())?;
    println!(
        "{tally}{EVERYTHING}: {seeds} seeds in {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    let missing = tally.missing();
    // Few seeds cannot meet everything.
    if seeds >= SEEDS && !missing.is_empty() {
        return Err(format!("never exercised: {}", missing.join("; ")));
    }
    Ok(())
}

fn changeable(seed: u64) -> String {
    format!("seed {seed} failed once and not again: it does not decide everything")
}

fn number(name: &str) -> Result<Option<u64>, String> {
    let Ok(text) = env::var(name) else {
        return Ok(None);
    };
    let number = text.replace('_', "").parse();
    number
        .map(Some)
        .map_err(|error| format!("{name}={text} is no number: {error}"))
}

/// Runs these seeds on all cores, until one fails. Says which.
fn sweep(seeds: Range<u64>, run: impl Fn(u64) -> Result<(), ()> + Sync) -> Option<u64> {
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicU64::new(u64::MAX);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.load(Ordering::Relaxed) != u64::MAX {
                        return;
                    }
                    if run(seed).is_err() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    (failed != u64::MAX).then_some(failed)
}

/// Runs one seed, once or twice.
fn run_checked(seed: u64, twice: bool) -> Result<Tally, ()> {
    let Outcome {
        tally,
        digest,
        lasted,
    } = run(seed, 0).map_err(drop)?;
    let decides = !twice || run(seed, 1).is_ok_and(|again| again.digest == digest);
    if decides && lasted >= LASTS {
        Ok(tally)
    } else {
        Err(())
    }
}

/// Runs one seed with its story.
fn replay(seed: u64, name: Option<&str>) -> Result<(), String> {
    let lines = number("REMEMBER_STORY")?.map_or(STORY_LINES, |lines| {
        usize::try_from(lines).unwrap_or(usize::MAX)
    });
    let again = format!("REMEMBER_SEED={seed} REMEMBER_STORY={STORY_LINES}");
    let command = "cargo test --profile sim --test simulation";
    let Some(name) = name else {
        let Outcome { tally, .. } = run(seed, lines)
            .map_err(|violation| report(seed, &violation, &format!("{again} {command}")))?;
        println!("{tally}seed {seed}: all is well");
        return Ok(());
    };
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let scenario = scenario.ok_or_else(|| format!("there is no scenario {name:?}"))?;
    let again = format!("{again} REMEMBER_SCENARIO={name:?} {command}");
    scenario
        .run(seed, lines)
        .map_err(|violation| report(seed, &violation, &again))?;
    println!("{name}, seed {seed}: all is well");
    Ok(())
}

fn report(seed: u64, Violation { words, story }: &Violation, again: &str) -> String {
    format!("{}\nseed {seed}: {words}\nagain: {again}", story.join("\n"))
}
