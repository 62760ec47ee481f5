//! One run of one seed, from the first start to the healed cluster.

use std::cell::RefCell;
use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::plan::Plan;
use super::rng::Rng;
use super::story::Story;
use super::tally::Tally;
use super::world::World;

thread_local! {
    /// What the last panic of this thread said.
    static LAST_WORDS: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What a run that went well leaves.
pub(crate) struct Outcome {
    /// What it exercised.
    pub(crate) tally: Tally,
    /// The hash of everything that every node said.
    pub(crate) digest: u64,
    /// How long it lasted, in simulated time.
    pub(crate) lasted: Duration,
}

/// What a run that went wrong leaves.
pub(crate) struct Violation {
    /// What was violated, and where it was noticed.
    pub(crate) words: String,
    /// What happened before, as far as the story was kept.
    pub(crate) story: Vec<String>,
}

/// Runs one seed, and keeps the last `lines_max` lines of its story.
pub(crate) fn run(seed: u64, lines_max: usize) -> Result<Outcome, Box<Violation>> {
    let mut rng = Rng::new(seed);
    let plan = Plan::of(&mut rng);
    let mut world = World::new(plan, rng, Story::new(lines_max));
    drive(&mut world, |world| {
        world.run_until(world.plan.trouble);
        world.heal();
    })
}

/// Lets `story` happen in a world, and catches whatever it violates.
pub(crate) fn drive(
    world: &mut World,
    story: impl FnOnce(&mut World),
) -> Result<Outcome, Box<Violation>> {
    match catch_unwind(AssertUnwindSafe(|| story(world))) {
        Ok(()) => Ok(Outcome {
            tally: world.tally.clone(),
            digest: world.digest.finish(),
            lasted: world.now,
        }),
        Err(_) => Err(Box::new(Violation {
            words: LAST_WORDS.with_borrow(Clone::clone),
            story: world.story.lines().map(str::to_owned).collect(),
        })),
    }
}

/// Keeps what a panic says for the report, in the place of printing it.
pub(crate) fn listen_to_panics() {
    std::panic::set_hook(Box::new(|info| {
        LAST_WORDS.with_borrow_mut(|words| *words = info.to_string());
    }));
}
