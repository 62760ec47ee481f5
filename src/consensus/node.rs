//! The node: its state, and the one way in.

use super::{Config, ConfigError, Hello, Input, Mono, Output, Recovered, Rejection, Status};

/// One voter. `turn` is the only way to change it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Node {}

impl Node {
    /// A node that starts from what its disk holds. `seed` feeds the randomized timeouts (S5);
    /// two nodes or boots should not share one.
    pub fn new(
        recovered: Recovered,
        config: Config,
        seed: u64,
        now: Mono,
    ) -> Result<Self, ConfigError> {
        let _ = (recovered, seed, now);
        config.check()?;
        Ok(Self {})
    }

    /// Takes in everything that happened since the last turn, in order, and adds to `out` what is
    /// to be done. `now` never goes back. Many inputs in one turn cost one write and one message
    /// a peer, so a driver hands over all it has.
    pub fn turn(
        &mut self,
        now: Mono,
        inputs: impl IntoIterator<Item = Input>,
        out: &mut Vec<Output>,
    ) {
        let _ = (now, out);
        for input in inputs {
            drop(input);
        }
    }

    /// When `turn` must be called again at the latest, with `Input::Tick` if nothing else happened.
    pub fn deadline(&self) -> Mono {
        Mono::default()
    }

    /// How this node introduces itself on every link.
    pub fn hello(&self) -> Hello {
        unimplemented!()
    }

    /// Judges a peer before its link may come up (R13, R15).
    pub fn admit(&self, hello: &Hello) -> Result<(), Rejection> {
        let _ = hello;
        Ok(())
    }

    /// What this node knows now.
    pub fn status(&self) -> Status {
        unimplemented!()
    }
}
