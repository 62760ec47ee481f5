//! The wire from outside: what its bytes look like for ever, and what it does with bytes that no
//! honest node sends.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails, and says why"
)]

#[path = "../support/corpus.rs"]
mod corpus;
mod golden;
mod handshake;
#[path = "../support/hex.rs"]
mod hex;
mod hostile;
mod malformed;
mod random;
mod round_trip;
mod samples;
mod stream;
mod transfer;
