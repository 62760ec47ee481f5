//! The log, snapshots and identity of a data directory, on a disk that crashes, lies and rots.

#[path = "support/sim_disk.rs"]
mod sim_disk;
