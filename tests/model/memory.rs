//! What nodes did before: the same node does the same with the same input, so it is asked once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use remember::consensus::{Input, Output};

use super::place::{Place, digest};

/// How many parts there are, so that threads seldom wait for each other.
const PARTS: usize = 64;
/// How many turns a part holds; a full one begins anew.
const TURNS_MAX: usize = 1 << 11;

/// A turn: the node after it, and what it asked for.
pub(crate) type Turn = (Arc<Place>, Arc<[Output]>);

/// Turns that were made, by what stands for the node and the input.
pub(crate) struct Memory {
    parts: Vec<Mutex<HashMap<(u64, u64), Turn>>>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Self { parts }
    }

    /// The turn of this node with this input; a tick if there is none.
    pub(crate) fn turn(&self, place: &Arc<Place>, input: Option<&Input>) -> Turn {
        let key = (place.digest(), digest(&input));
        let part = &self.parts[usize::try_from(key.0 ^ key.1).unwrap_or_default() % PARTS];
        let known = part.lock().ok().and_then(|part| part.get(&key).cloned());
        if let Some(known) = known {
            return known;
        }
        let mut after = Place::clone(place);
        let outputs = match input {
            Some(input) => after.take(input.clone()),
            None => after.tick(),
        };
        let turn: Turn = (Arc::new(after), outputs.into());
        if let Ok(mut part) = part.lock() {
            if part.len() == TURNS_MAX {
                part.clear();
            }
            part.insert(key, turn.clone());
        }
        turn
    }
}
