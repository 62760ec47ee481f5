//! A task that ends when whoever holds this lets go of it.

use tokio::task::{JoinHandle, spawn_local};

/// A task of the present thread.
#[derive(Debug)]
pub(super) struct Task<T>(JoinHandle<T>);

impl<T: 'static> Task<T> {
    /// Starts it.
    pub(super) fn of(work: impl Future<Output = T> + 'static) -> Self {
        Self(spawn_local(work))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
