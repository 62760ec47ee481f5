//! Many seeds on all cores, and the report.

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::run::{Outcome, Violation, listen_to_panics, run};
use super::scenarios;
use super::tally::Tally;

/// How many seeds are run unless `REMEMBER_SEEDS` says otherwise.
const SEEDS: u64 = 2000;
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
        return replay(seed);
    }
    scenarios::run_all()?;
    let seeds = number("REMEMBER_SEEDS")?.unwrap_or(SEEDS);
    let begin = Instant::now();
    let tally = sweep(seeds)?;
    println!("{tally}");
    println!("{seeds} seeds in {:.1} s", begin.elapsed().as_secs_f64());
    let missing = tally.missing();
    // Few seeds cannot meet everything.
    if seeds >= SEEDS && !missing.is_empty() {
        return Err(format!("never exercised: {}", missing.join("; ")));
    }
    Ok(())
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

/// Runs seeds `0..seeds` on all cores, and adds up what they exercised.
fn sweep(seeds: u64) -> Result<Tally, String> {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Tally::new());
    let failed = Mutex::new(None::<u64>);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || failed.lock().expect("no panic under it").is_some() {
                        return;
                    }
                    match run_checked(seed) {
                        Ok(tally) => total.lock().expect("no panic under it").add(&tally),
                        Err(()) => *failed.lock().expect("no panic under it") = Some(seed),
                    }
                }
            });
        }
    });
    if let Some(seed) = *failed.lock().expect("all threads have ended") {
        replay(seed)?;
        return Err(format!(
            "seed {seed} failed once and not again: it is not deterministic"
        ));
    }
    Ok(total.into_inner().expect("all threads have ended"))
}

/// Runs one seed; some of them twice.
fn run_checked(seed: u64) -> Result<Tally, ()> {
    let Ok(Outcome {
        tally,
        digest,
        lasted,
    }) = run(seed, 0)
    else {
        return Err(());
    };
    if seed < TWICE {
        let again = run(seed, 1).map_or(0, |outcome| outcome.digest);
        assert_eq!(digest, again, "seed {seed} is not deterministic");
    }
    assert!(lasted >= LASTS, "seed {seed} lasts only {lasted:?}");
    Ok(tally)
}

/// Runs one seed with its story.
fn replay(seed: u64) -> Result<(), String> {
    let lines = number("REMEMBER_STORY")?.map_or(STORY_LINES, |lines| {
        usize::try_from(lines).unwrap_or(usize::MAX)
    });
    match run(seed, lines) {
        Ok(outcome) => {
            println!("{}seed {seed}: all is well", outcome.tally);
            Ok(())
        }
        Err(violation) => Err(report(seed, &violation)),
    }
}

fn report(seed: u64, violation: &Violation) -> String {
    let Violation { words, story } = violation;
    format!(
        "{}\nseed {seed}: {words}\nagain: REMEMBER_SEED={seed} REMEMBER_STORY={STORY_LINES} \
         cargo test --profile sim --test simulation",
        story.join("\n")
    )
}
