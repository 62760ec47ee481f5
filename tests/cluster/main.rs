//! Remember on a real Kubernetes: three nodes with kubelet, containerd and kube-proxy, which
//! `tools/cluster` starts on this machine in namespaces of their own. As root.
//!
//! ```text
//!   make cluster                           all stories, in order, on one cluster
//!   REMEMBER_STORY=image,disk make cluster those with one of these in their name
//! ```
//!
//! A cluster that cannot start is a failure, never a reason to skip. When this process ends,
//! however it ends, its clusters end with it; the logs of a run that failed are kept.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that tests: it says what it found, and stops at the first violation"
)]

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

use cluster::Cluster;
use history::History;

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
    let is_wanted = |name: &str| wanted.split(',').any(|one| name.contains(one));
    let mut chosen: Vec<_> = (stories::STORIES.iter())
        .filter(|(name, ..)| is_wanted(name))
        .collect();
    if !wanted.is_empty() {
        let elsewhere = stories::ELSEWHERE.iter();
        chosen.extend(elsewhere.filter(|(name, ..)| is_wanted(name)));
    }
    if chosen.is_empty() && std::env::var_os(figures::ROUNDS).is_none() {
        println!("no story has '{wanted}' in its name");
        return ExitCode::FAILURE;
    }
    let cluster = Cluster::named("test", 26443, 3);
    let tunables = leftovers::tunables();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        cluster.up(Some(std::process::id()));
        workload::load_image(&cluster);
        workload::provide_volumes(&cluster, VOLUMES);
        let mut history = History::begin(&cluster);
        if let Ok(rounds) = std::env::var(figures::ROUNDS) {
            let rounds = rounds.parse().expect("a number of rounds");
            let figures = figures::FIGURES.iter();
            for (_, measure) in figures.filter(|(name, _)| is_wanted(name)) {
                measure(&cluster, rounds);
            }
            return;
        }
        let mut leaders = 0;
        for story in chosen {
            leaders += stories::tell(&cluster, story);
        }
        let found = history.check();
        assert!(
            found.leaders >= leaders,
            "the stories had {leaders} leaders at least, and the history knows {found:?}"
        );
        println!("at no revision two leaders: {found:?}");
    }));
    if ended.is_err() {
        println!(
            "the logs of the cluster are in {}",
            cluster.down_keeping_logs()
        );
        return ExitCode::FAILURE;
    }
    cluster.down();
    let mut left = leftovers::of(&cluster);
    let changed = leftovers::tunables();
    left.extend(changed.into_iter().filter(|now| !tunables.contains(now)));
    if !left.is_empty() {
        println!(
            "the cluster has ended, but this is left of it:\n{}",
            left.join("\n")
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
