//! Whole clusters of real nodes in a simulated world: one seed is one run, the same every time.
//!
//! Each run builds a cluster of 1 to 7 nodes around the real consensus core and the real storage
//! code, lets clients use it while machines, disks, clocks and the network fail in every way that
//! the seed thinks of, and holds every single step against the rules in `oracle`. Then all faults
//! end, and the cluster must heal.
//!
//! ```text
//!   cargo test --profile sim --test simulation              5,000 seeds
//!   REMEMBER_SEEDS=100000 cargo test ...                    more of them
//!   REMEMBER_FROM=5000 cargo test ...                       others: 5,000 from this one on
//!   REMEMBER_SEED=17 cargo test ...                         one of them, with its story
//!   REMEMBER_SCENARIO=chain cargo test ...                  the stories of `scenarios` with that
//!                                                           in their name, nothing else
//!   REMEMBER_SCENARIO='everything at once' cargo test ...   the seeds, and no such story
//! ```

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program that tests: it says what it found, and stops at the first violation"
)]

mod account;
mod agreed;
mod churn;
mod clients;
mod clock;
mod clusters;
mod digest;
mod disk;
mod driver;
mod epochs;
mod faults;
mod founding;
mod healing;
mod history;
mod hub;
mod image;
#[path = "../support/linearizability/mod.rs"]
mod linearizability;
mod machine;
#[path = "../support/majority.rs"]
mod majority;
mod network;
mod oracle;
mod plan;
#[path = "../support/register.rs"]
mod register;
#[path = "../support/registers.rs"]
mod registers;
mod replacing;
mod replica;
mod request;
mod rng;
mod run;
mod scenarios;
#[path = "../support/sim_disk.rs"]
#[expect(dead_code, reason = "each test program uses its own part of it")]
mod sim_disk;
mod snapshots;
mod storage;
mod story;
mod sweep;
mod tally;
mod upkeep;
mod witness;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    match sweep::run_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("{message}");
            ExitCode::FAILURE
        }
    }
}
