//! The log, snapshots and identity of a data directory, on a disk that crashes, lies and rots.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/hex.rs"]
mod hex;
#[path = "support/sim_disk.rs"]
mod sim_disk;

#[path = "storage/crash.rs"]
mod crash;
#[path = "storage/damage.rs"]
mod damage;
#[path = "storage/data_dir.rs"]
mod data_dir;
#[path = "storage/epochs.rs"]
mod epochs;
#[path = "storage/files.rs"]
mod files;
#[path = "storage/full.rs"]
mod full;
#[path = "storage/golden.rs"]
mod golden;
#[path = "storage/hostile.rs"]
mod hostile;
#[path = "storage/journal.rs"]
mod journal;
#[path = "storage/model.rs"]
mod model;
#[path = "storage/sealing.rs"]
mod sealing;
#[path = "storage/snapshots.rs"]
mod snapshots;
