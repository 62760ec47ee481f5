//! Remember on a real Kubernetes: three nodes with kubelet, containerd and kube-proxy, which
//! `tools/cluster` starts on this machine in namespaces of their own. As root.
//!
//! ```text
//!   make cluster                           all stories, on two clusters side by side
//!   REMEMBER_STORY=image,disk make cluster those with one of these in their name
//! ```
//!
//! Stories mostly wait, so two are told at once; each has a cluster of its own for as long as it
//! lasts, with whose machines and API server it does as it likes. A cluster that cannot start is a
//! failure, never a reason to skip. When this process ends, however it ends, its clusters end with
//! it; the logs of a run that failed are kept.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that tests: it says what it found, and stops at the first violation"
)]

mod api;
mod changes;
mod cluster;
mod custom_resource;
mod discovery;
mod disks;
mod faults;
mod figures;
mod half_api;
mod hello;
mod helm;
mod history;
mod install;
mod leftovers;
mod pair;
mod processes;
mod refusals;
mod scale;
mod seats;
mod stories;
mod unrest;
mod workload;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster::{Cluster, say};
use history::History;
use stories::Story;

/// How many volumes each machine has: a pod that is gone leaves its own behind, in use for ever.
const VOLUMES: usize = 27;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, half_api::COMMAND, pki] => half_api::serve(pki.as_ref()),
        [_, figures::ASKS, address] => figures::ask_for_ever(address),
        [_, changes::WRITES, address] => changes::write_for_ever(address),
        _ => return run(),
    }
    ExitCode::SUCCESS
}

fn run() -> ExitCode {
    let wanted = std::env::var("REMEMBER_STORY").unwrap_or_default();
    let tunables = leftovers::tunables();
    let has_ended_well = match std::env::var(figures::ROUNDS) {
        Ok(rounds) => measure(&wanted, rounds.parse().expect("a number of rounds")),
        Err(_) => tell(&stories::chosen(&wanted)),
    };
    let changed = leftovers::tunables();
    let changed: Vec<_> = (changed.into_iter())
        .filter(|now| !tunables.contains(now))
        .collect();
    if !changed.is_empty() {
        println!(
            "the kernel's settings have changed:\n{}",
            changed.join("\n")
        );
    }
    if has_ended_well && changed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Tells the stories of all clusters side by side; says whether all of them ended well. After a
/// failure no further story begins anywhere.
fn tell(chosen: &[(Cluster, Vec<&Story>)]) -> bool {
    if chosen.is_empty() {
        println!("no story has such a name");
    }
    let has_failed = AtomicBool::new(chosen.is_empty());
    std::thread::scope(|scope| {
        for (cluster, stories) in chosen {
            let has_failed = &has_failed;
            let thread = std::thread::Builder::new().name(cluster.name.to_owned());
            let told = move || {
                let well = on(cluster, || tell_on(cluster, stories, has_failed));
                has_failed.fetch_or(!well, Ordering::Relaxed);
            };
            thread.spawn_scoped(scope, told).expect("a thread");
        }
    });
    !has_failed.into_inner()
}

/// One story after the other, and then what all pods were at every revision.
fn tell_on(cluster: &Cluster, stories: &[&Story], has_failed: &AtomicBool) {
    let mut history = History::begin(cluster);
    let mut leaders = 0;
    for story in stories {
        if has_failed.load(Ordering::Relaxed) {
            say!("the stories from {} on are not told", story.0);
            break;
        }
        leaders += stories::tell(cluster, story);
    }
    let found = history.check();
    assert!(
        found.leaders >= leaders,
        "the stories had {leaders} leaders at least, and the history knows {found:?}"
    );
    say!("at no revision two leaders: {found:?}");
}

/// Measures what is wanted, this many times.
fn measure(wanted: &str, rounds: usize) -> bool {
    let cluster = Cluster::named("test", 26443, 3);
    let figures = figures::FIGURES.iter();
    let figures = figures.filter(|(name, _)| stories::is_wanted(wanted, name));
    on(&cluster, || {
        figures.for_each(|(_, measure)| measure(&cluster, rounds));
    })
}

/// Does something on a cluster that is there meanwhile; says whether that went well, and nothing is
/// left of the cluster.
fn on(cluster: &Cluster, does: impl FnOnce()) -> bool {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        cluster.up(Some(std::process::id()));
        workload::load_image(cluster);
        workload::provide_volumes(cluster, VOLUMES);
        does();
    }));
    if ended.is_err() {
        let logs = cluster.down_keeping_logs();
        say!("the logs of the cluster are in {logs}");
        return false;
    }
    cluster.down();
    let left = leftovers::of(cluster);
    if !left.is_empty() {
        say!(
            "the cluster has ended, but this is left of it:\n{}",
            left.join("\n")
        );
    }
    left.is_empty()
}
