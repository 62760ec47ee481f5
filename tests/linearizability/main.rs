//! The checker of linearizability, checked: known histories, and chance against the definition.

#![cfg(test)]

mod brute;
mod chance;
#[path = "../support/linearizability/mod.rs"]
mod linearizability;
#[path = "../simulation/rng.rs"]
#[expect(dead_code, reason = "the simulation uses the rest of it")]
mod rng;
mod stories;
