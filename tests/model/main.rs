//! A model check of the very `Node`: every order of events in small worlds, exhaustively.
//!
//! A world is two or three nodes, what is on its way between them, and their platters. From each
//! state, everything that may happen next is tried (by the crate stateright): any message arrives,
//! again, late or never; a node waits in vain; one crashes and has what was durable; a client
//! writes; the voters change. After every step the rules of `ledger` hold. What simulations meet
//! by chance is met here for certain, within these bounds:
//!
//! - Nodes: three voters, a pair, or two and a learner that has caught up and is to vote.
//! - One crash, of a node that is named, which loses what its platter lacks and is there again at
//!   once; one that stays away is one to which nothing comes. Only its disk takes its time.
//! - Time stands still but where a node waits in vain: that takes it to its next deadline. How
//!   often that happens is bounded, and so are leaders that give up, writes (one), changes (one)
//!   and repeated messages (one). Terms and logs are bounded by that.
//! - Of each kind, each link carries one message or two; the next one takes the place of the
//!   oldest. Who is told the same twice is told it once.
//! - In most worlds beats and bare commit indices are lost, and pre-votes arrive at once. A node
//!   that has just been started is not heard with its first pre-votes: it waits before it stands.
//! - The witness of a pair, where there is one, is a register to which requests come late or
//!   never, and from which answers do, whatever has become of the node by then; each comes once.
//!   That a node gives one up is bounded.
//! - One input a turn. No snapshots, reads, forwarded writes or lost links, and no rot: they are
//!   tried in `tests/simulation` and `tests/storage`.
//!
//! ```text
//!   cargo test --profile sim --no-default-features --test model   all worlds
//!   REMEMBER_MODEL=grow cargo test ...                            those with that in their name
//!   REMEMBER_BOUNDS=wide cargo test ...                           with wider bounds
//! ```

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program that tests: it says what it found, and stops at the first violation"
)]

mod bounds;
mod exploration;
#[path = "../simulation/image.rs"]
mod image;
mod ledger;
#[path = "../support/majority.rs"]
mod majority;
mod memory;
mod nature;
mod network;
mod place;
#[path = "../support/register.rs"]
mod register;
mod sight;
mod start;
mod witness;
mod world;

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use bounds::WORLDS;
use exploration::Exploration;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            println!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

/// Explores the worlds that the environment asks for.
fn run() -> Result<(), String> {
    exploration::listen_to_panics();
    let words = env::var("REMEMBER_MODEL").unwrap_or_default();
    let is_wide = match env::var("REMEMBER_BOUNDS").as_deref() {
        Err(_) | Ok("") => false,
        Ok("wide") => true,
        Ok(other) => return Err(format!("REMEMBER_BOUNDS={other} is not \"wide\"")),
    };
    let wanted = WORLDS.iter().filter(|world| world.name.contains(&words));
    let wanted: Vec<_> = wanted.collect();
    if wanted.is_empty() {
        return Err(format!("there is no world {words:?}"));
    }
    let begin = Instant::now();
    for world in &wanted {
        let bounds = if is_wide { world.widened() } else { **world };
        println!("{}", Exploration::of(bounds).run()?);
    }
    let (count, seconds) = (wanted.len(), begin.elapsed().as_secs_f64());
    println!("no rule is broken in {count} worlds, in {seconds:.1} s");
    Ok(())
}
