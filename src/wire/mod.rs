//! The wire: what nodes say to each other as bytes.
//!
//! Bytes in, values out. It opens no socket, knows no runtime and no clock; the node's shell moves
//! the bytes. Everything that arrives is hostile until it has passed here: each error says what,
//! where in the stream and why, ends the link for good, and is found before memory is spent on it.
//!
//! A link carries traffic one way, from the node that dialed to the node that accepted, so each
//! ordered pair of nodes has its own. It begins with one round trip:
//!
//! ```text
//!   dialer    preamble, Introduction                       frames: messages, snapshots ...
//!   acceptor                          preamble, Introduction, Verdict
//! ```
//!
//! The parts: [`limits`] is every bound in one place; `preamble` tells our protocol and version
//! from a stranger's; `frame` is the header around each body and `decoder` finds frames in a
//! stream; [`Introduction`] is what a node says of itself, and [`Verdict`] what it is told in
//! return; [`Dialer`] and [`Acceptor`] are the two sides of the handshake, and [`Inbound`] the link
//! behind it; [`Packet`] is what a frame carries; [`Transfer`] follows an incoming snapshot. `body`
//! holds the encoded twins of those values; `message` turns messages into their twins and back,
//! `check` says what makes a message well formed. Whatever [`Inbound::packet`] returns has passed
//! that check, so the consensus core relies on it.
//!
//! Versions: preamble, Introduction and Verdict are the same in every wire version. Bodies are
//! protobuf, and a field that a reader does not know is skipped, so fields may be added without a
//! new version. A new kind of frame, or a new meaning, takes a new version. What each version looks
//! like is pinned byte for byte by `tests/golden/wire`.
//!
//! Commands are slices of the buffer they were read into: free to pass on, but each keeps its
//! whole buffer alive. Whoever keeps a command for long copies it.

#![deny(clippy::disallowed_methods)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod address;
mod body;
mod check;
mod configuration;
mod decoder;
mod frame;
mod handshake;
mod inbound;
mod introduction;
pub mod limits;
mod malformed;
mod message;
mod packet;
mod preamble;
mod send_error;
mod snapshot;
mod transfer;
mod verdict;

pub use address::{Address, Contact, MemberAddress};
pub use check::check;
pub use decoder::Decoder;
pub use frame::{Frame, FrameError, FrameFault, HEADER_BYTES, Kind, Phase, TooLarge, append_frame};
pub use handshake::{Acceptor, Answer, Dialer, HandshakeError};
pub use inbound::{Inbound, LinkError};
pub use introduction::{Introduction, Member};
pub use malformed::{Malformed, MalformedFrame};
pub use packet::Packet;
pub use preamble::{MAGIC, PREAMBLE_BYTES, PreambleError, Versions};
pub use send_error::SendError;
pub use snapshot::{Delivery, Snapshot};
pub use transfer::{Transfer, TransferError};
pub use verdict::{Reason, Verdict, Welcome};
