//! Five real nodes under 200 faults: processes that are killed and frozen, links that are cut in
//! one direction or both, disks without room. As root, in namespaces of the run's own.
//!
//! ```text
//!   namespaces of the run: processes, mounts, network
//!   +----------------------------------------------------------------+
//!   |  this program: clients, plan, referee            10.77.0.254   |
//!   |      |                                                         |
//!   |   bridge ---+----------+----------+----------+----------+      |
//!   |             |          |          |          |          |      |
//!   |          [node 1]   [node 2]   [node 3]   [node 4]   [node 5]  |  each in a network
//!   |          small disk small disk small disk                      |  of its own
//!   +----------------------------------------------------------------+
//! ```
//!
//! While clients write, read, compare and delete on all nodes, one fault follows the other; between
//! any two of them writes must have been acknowledged. At the end everything heals, and then: every
//! acknowledged write is there, all nodes have the same state, what the clients were told is
//! linearizable, and no term had two leaders.
//!
//! ```text
//!   make faults                                    the 200 faults that a change must pass
//!   REMEMBER_FAULT_SEED=17 REMEMBER_FAULTS=1000 make faults
//! ```
//!
//! When this process ends, however it ends, the kernel ends its namespaces and all that is in them.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that tests: it says what it found, and stops at the first violation"
)]

mod clients;
mod cluster;
mod faults;
mod history;
mod http;
#[path = "../support/linearizability/mod.rs"]
mod linearizability;
mod network;
mod node;
mod plan;
mod referee;
#[path = "../simulation/rng.rs"]
mod rng;
mod run;
mod sandbox;

use std::process::ExitCode;

fn main() -> ExitCode {
    let ended = match sandbox::inside() {
        Some(directory) => run::run(&directory),
        None => sandbox::enter(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("{message}");
            ExitCode::FAILURE
        }
    }
}
