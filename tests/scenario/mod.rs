//! The runner of scenario scripts: a small world of real nodes under the hand of a storyteller.
//!
//! `story` reads and writes the files, `word` reads arguments, `message` is the text form of what
//! nodes say and `narration` that of what they do. `world` holds the cluster; `disk`, `network` and
//! `machine` are its simple parts, and `safety` watches over it. The verbs are grouped by family:
//! `cluster`, `membership`, `witness`, `link`, `delivery`, `time`, `storage`, `client`,
//! `inspection`.
//!
//! The world is simple on purpose: nothing moves unless a verb says so, so a story can put any two
//! events in any order. Randomness, torn writes and clocks that drift belong to the simulation.

mod client;
mod cluster;
mod delivery;
mod disk;
mod inspection;
mod link;
mod machine;
#[path = "../support/majority.rs"]
mod majority;
mod membership;
mod message;
mod narration;
mod network;
#[path = "../support/register.rs"]
mod register;
#[path = "../support/registers.rs"]
mod registers;
mod safety;
mod storage;
mod story;
mod time;
mod witness;
mod word;
mod world;

pub(crate) use story::{Story, run};
