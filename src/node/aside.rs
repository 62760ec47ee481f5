//! Work that must not hold up the node's thread: whatever waits for the disk, and whatever takes
//! longer than a moment.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::task::{JoinError, spawn_blocking};
use tracing::warn;

/// Does a short piece of work on the runtime's pool, and waits for it. The node does not end before
/// it is done.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work)
        .await
        .map_err(JoinError::try_into_panic)
    {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime is ending, and whoever waits here with it.
        Err(Err(_)) => pending().await,
    }
}

/// Does what takes long on a thread of its own, and says whether it is being done. The node may end
/// before it is.
pub(super) fn in_a_thread(name: &str, work: impl FnOnce() + Send + 'static) -> bool {
    let thread = std::thread::Builder::new().name(name.to_owned());
    match thread.spawn(work) {
        Ok(_) => true,
        Err(error) => {
            warn!(%error, name, "no thread for this");
            false
        }
    }
}

/// Drops what may be large: giving back a state of 200 MB takes a quarter of a second.
pub(super) fn drop_aside(large: impl Send + 'static) {
    in_a_thread("drop", move || drop(large));
}
