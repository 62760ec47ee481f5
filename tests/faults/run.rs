//! One run, from the first start of the nodes to the last word.

use std::fs::{self, File};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use crate::clients::{Leaders, User, watch};
use crate::cluster::{Cluster, Membership};
use crate::history::Record;
use crate::network::{self, NODES};
use crate::plan::{DECK, Step, plan, summary};
use crate::rng::Rng;
use crate::{faults, referee, sandbox};

/// How many faults there are, unless `REMEMBER_FAULTS` says otherwise.
const FAULTS: u64 = 200;

/// The plan that every change must pass; what differs from run to run is the moments.
const SEED: u64 = 935_292;

/// Clients that fight over a few keys.
const COMPETITORS: u64 = 10;

/// Clients that write keys of their own.
const COLLECTORS: u64 = 3;

/// After so many faults some of the keys that are fought over are replaced: what nobody knows of a
/// key makes its history harder to check.
const FAULTS_A_GENERATION: usize = 2;

/// Runs, and says what was wrong.
pub(crate) fn run(directory: &Path) -> Result<(), String> {
    sandbox::settle();
    remove_when_interrupted(directory);
    let seed = setting("REMEMBER_FAULT_SEED").unwrap_or(SEED);
    let count = setting("REMEMBER_FAULTS").unwrap_or(FAULTS);
    let steps = plan(
        seed,
        usize::try_from(count).map_err(|error| error.to_string())?,
    );
    println!("seed {seed}: {count} faults: {}", summary(&steps));
    network::build();
    let record = Record::default();
    // Threads print what they find themselves.
    let ended = catch_unwind(AssertUnwindSafe(|| rule(directory, &record, seed, &steps)));
    if ended.is_ok() {
        sandbox::remove(directory);
        return Ok(());
    }
    drop(fs::write(directory.join("history.txt"), record.text()));
    for id in NODES {
        // The small disks go with this process.
        let disk = directory.join(format!("disk-{id}"));
        let kept = directory.join(format!("data-{id}"));
        drop(Command::new("cp").arg("-a").arg(disk).arg(kept).output());
    }
    sandbox::keep(directory);
    let command = format!("REMEMBER_FAULT_SEED={seed} REMEMBER_FAULTS={count} make faults");
    let kept = directory.display();
    Err(format!(
        "{command}: failed; the steps, the history, the nodes' logs and data are in {kept}"
    ))
}

fn rule(directory: &Path, record: &Record, seed: u64, steps: &[Step]) {
    let begun = Instant::now();
    let mut rng = Rng::new(seed).fork();
    let leaders = Leaders::default();
    let mut cluster = Cluster::start(directory, record);
    thread::scope(|scope| {
        let over = Over(record);
        for number in 1..=COMPETITORS {
            let user = User::new(number, record, rng.fork());
            scope.spawn(|| user.compete());
        }
        for number in 1..=COLLECTORS {
            let user = User::new(COMPETITORS + number, record, rng.fork());
            scope.spawn(|| user.collect());
        }
        for node in NODES {
            let leaders = &leaders;
            scope.spawn(move || watch(node, record, leaders));
        }
        cluster.progress("before the first fault");
        let mut told = File::create(directory.join("steps.txt")).expect("a file");
        for (number, step) in (1..).zip(steps) {
            let before = (Instant::now(), record.acknowledged());
            let line = faults::play(&mut cluster, *step);
            let (took, more) = (before.0.elapsed(), record.acknowledged() - before.1);
            let line = format!("{number}: {line}; {more} writes in {} ms", took.as_millis());
            writeln!(told, "{line}").expect("room");
            if number % FAULTS_A_GENERATION == 0 {
                record.generation.fetch_add(1, Ordering::Relaxed);
            }
            if number % 20 == 0 {
                println!("{line}");
            }
        }
        faults::heal_all(&mut cluster);
        drop(over);
    });
    if let Some(objection) = record.objection() {
        panic!("{objection}");
    }
    let faults_took = begun.elapsed().as_secs();
    let state = referee::states_are_equal(&mut cluster);
    let unique = referee::unique_keys_are_there(record);
    let terms = referee::terms_are_sound(&cluster.nodes, &leaders);
    let operations = record.check().unwrap_or_else(|wrong| panic!("{wrong}"));
    let Membership {
        exchanged,
        let_go,
        came_back,
    } = cluster.membership;
    if steps.len() > DECK.len() {
        let met = [exchanged, let_go, came_back];
        assert!(
            met.iter().all(|count| *count > 0),
            "nothing came of it: {met:?}"
        );
    }
    println!(
        "{} faults in {faults_took} s: {exchanged} disks exchanged, {let_go} voters let go, \
         {came_back} of them back; {} acknowledged writes, {unique} of them to keys of their own, \
         all there; {operations} operations are linearizable; {terms} terms, one leader each; \
         all nodes are at {state}",
        steps.len(),
        record.acknowledged(),
    );
}

/// Ends the clients, also when the plan panics.
struct Over<'a>(&'a Record);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// The first process of a namespace ignores what it does not ask for: this asks for Ctrl-C.
fn remove_when_interrupted(directory: &Path) {
    let directory = directory.to_owned();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let mut interrupt = signal(SignalKind::interrupt()).expect("a signal");
            let mut terminate = signal(SignalKind::terminate()).expect("a signal");
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        sandbox::remove(&directory);
        interrupted();
    });
}

#[expect(clippy::exit, reason = "nothing that runs here can be asked to end")]
fn interrupted() -> ! {
    std::process::exit(130)
}
