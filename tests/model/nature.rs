//! What may happen in a world, and what its nodes do about it.

use super::bounds::Bounds;
use super::memory::Memory;

/// The bounds of a world, and the turns of its nodes.
pub(crate) struct Nature {
    pub(crate) bounds: Bounds,
    pub(crate) memory: Memory,
}
