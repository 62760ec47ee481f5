//! Why something cannot become a frame.

use super::TooLarge;
use super::malformed::Malformed;

/// Why a packet cannot be sent; nothing was written. It is a fault of this node, and its peer
/// would close the link over it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// It is not well formed.
    #[error("not sent: {0}")]
    Malformed(#[from] Malformed),
    /// It does not fit in a frame.
    #[error("not sent: {0}")]
    TooLarge(#[from] TooLarge),
}
